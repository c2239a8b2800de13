"""A service in virtual time, on a system whose clock is set while it runs."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers import base as scheduler_module
from apscheduler.triggers import interval as trigger_module
from fakes import FakeSource, snapshot_of
from simulation.loop import VirtualLoop
from virtual_time import InstantStore, VirtualClock

from notifier.config.loading import loads
from notifier.core.health_facts import Role
from notifier.core.model import Scope, Snapshot
from notifier.service.service import HOUSEKEEPING_INTERVAL, Service
from notifier.store.engine import open_store
from notifier.wiring.app import App

CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}, poll_every: 2s}
channels: [{name: dba, kind: console}]
routes: [{name: everything, channels: [dba]}]
"""
SECONDS = 60
HOUR = timedelta(hours=1)


class CountingSource(FakeSource):
    """Records when it is read, in virtual seconds."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.read_at: list[float] = []

    async def fetch(self, scope: Scope) -> Snapshot:
        self.read_at.append(asyncio.get_running_loop().time())
        return snapshot_of([], self.clock.now(), scope=scope)


class CountingSupervisor:
    """Counts the signs of life."""

    interval = 1.0

    def __init__(self) -> None:
        self.polling_since = False
        self.signs = 0

    def ready(self) -> None:
        self.polling_since = True

    def alive(self) -> None:
        self.signs += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> VirtualClock:
    """Let the scheduler follow a system's clock that the test sets."""
    clock = VirtualClock()

    class Datetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return clock.now().astimezone(tz)

    monkeypatch.setattr(scheduler_module, "datetime", Datetime)
    monkeypatch.setattr(trigger_module, "datetime", Datetime)
    return clock


async def run_service(
    path: Path, clock: VirtualClock, steps: list[tuple[float, timedelta]]
) -> tuple[CountingSource, CountingSupervisor]:
    """Run for `SECONDS`. Each step is a moment and the offset to which the system's clock is set then."""
    store, source, supervisor = (
        open_store(f"sqlite:///{path}", now=clock.steady),
        CountingSource(clock),
        CountingSupervisor(),
    )
    app = App(
        config=loads(CONFIGURATION, {}),
        store=InstantStore(store),
        sources={"prod": source},
        channels={},
        clock=clock,
        rng=random.Random(1),
    )
    stop = asyncio.Event()
    running = asyncio.create_task(Service(app, {Role.POLL}).run(stop, supervisor))
    for moment, ahead in [*steps, (SECONDS, clock.ahead)]:
        await asyncio.sleep(moment - clock.monotonic())
        clock.ahead = ahead if moment < SECONDS else clock.ahead
    stop.set()
    await running
    await store.aclose()
    return source, supervisor


STEPS: dict[str, list[tuple[float, timedelta]]] = {
    "none": [],
    "forward": [(10.0, HOUR)],
    "forward by many years": [(10.0, 500_000 * HOUR)],
    "back": [(10.0, -HOUR)],
    "a day back": [(10.0, -24 * HOUR)],
    "forward and back within two seconds": [(11.0, HOUR), (13.0, timedelta())],
    "back and forward within two seconds": [(11.0, -HOUR), (13.0, timedelta())],
    "forward and back between two looks": [(10.1, HOUR), (12.4, timedelta())],
    "again and again": [(10.0 + n, HOUR * (n % 3 - 1)) for n in range(20)],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_polls_go_on_whatever_the_systems_clock_does(
    tmp_path: Path, sqlite_template: Path, clock: VirtualClock, steps: list[tuple[float, timedelta]]
) -> None:
    path = tmp_path / "notifier.db"
    path.write_bytes(sqlite_template.read_bytes())
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        source, supervisor = runner.run(run_service(path, clock, steps))
    times = [0.0, *source.read_at, float(SECONDS)]
    longest = max(later - earlier for earlier, later in pairwise(times))
    assert longest <= 2 + 1 + HOUSEKEEPING_INTERVAL
    assert source.read_at[0] == 0
    assert supervisor.polling_since
    assert supervisor.signs >= SECONDS - 2
