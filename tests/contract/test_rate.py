"""Every kind of channel sends as fast as it is configured to, in virtual time.

What a delivery worker does follows from the pace and the places of its channel, whatever its kind. So every kind makes
the same of every setting, one kind sends in every case, and each of the others in a few of them, in turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from heapq import heappop, heappush
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
from factories import make_delivery, make_events
from fakes import START
from simulation.loop import VirtualLoop
from test_channels import KINDS, make_channel, make_context
from virtual_time import InstantStore, VirtualClock

from notifier.channels.base import BaseChannel
from notifier.channels.settings import ChannelSettings
from notifier.core.delivery import Delivered, Delivery, Outcome, ResendPolicy
from notifier.core.pacing import Pace
from notifier.core.routing import RoutedEvent
from notifier.deliver import SETTLE_DEBOUNCE, DeliveryRules, DeliveryWorker
from notifier.http import HttpClient
from notifier.store.engine import open_store
from notifier.store.transaction import Transaction

COUNT = 50
TAKES = 0.03
"""Virtual seconds that a receiver takes to answer."""
EVERY_CASE = "webhook"
"""The kind that sends in every case."""
RULES = DeliveryRules(schedule=(timedelta(minutes=5),), lease=timedelta(seconds=60))


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    path = tmp_path / "notifier.db"
    path.write_bytes(sqlite_template.read_bytes())
    return path


def times_of_sending(kind: str, path: Path, *, takes: float = TAKES, **changes: Any) -> Sequence[float]:
    """Return when each of COUNT messages began, in virtual seconds after the first one."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        began = runner.run(_send_all(kind, path, takes, changes))
    return [time - began[0] for time in began]


async def _send_all(kind: str, path: Path, takes: float, changes: dict[str, Any]) -> Sequence[float]:
    clock = VirtualClock()
    async with aclosing(HttpClient()) as http, aclosing(open_store(f"sqlite:///{path}", now=clock.now)) as database:
        store = InstantStore(database)
        await store.transact(plan)
        channel = make_channel(kind, make_context(http), **changes)
        began = answer_after(channel, takes)
        worker = DeliveryWorker(channel, store, clock, Random(1), owner="me", rules=RULES)
        while len(began) < COUNT:
            await worker.wait(await worker.step())
        await worker.stop(1, 1)
        await channel.aclose()
        return began


def plan(tx: Transaction) -> None:
    events = make_events(COUNT)
    tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("dba",)) for event in events])
    tx.deliveries.record(
        [make_delivery(event, channel="dba", attempt=0, available_at=START, created_at=START) for event in events]
    )


def answer_after(channel: BaseChannel[ChannelSettings], takes: float) -> list[float]:
    """Replace what goes over the wire: here it is the pace that counts."""
    began: list[float] = []

    async def send(_: Delivery) -> Outcome:
        began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(takes)
        return Delivered()

    channel.send = send  # type: ignore[method-assign, assignment]
    return began


def in_turn(cases: Sequence[Any], each: int) -> Sequence[Any]:
    """Return kinds with cases: one kind with all of them, the others with a few."""
    found = []
    for number, kind in enumerate(KINDS):
        few = [cases[one % len(cases)] for one in range(number * each, (number + 1) * each)]
        found += [(kind, *case) for case in (cases if kind == EVERY_CASE else few)]
    return found


@pytest.mark.parametrize(("kind", "rate", "prefetching"), in_turn(list(product([20, 2], [False, True])), 1))
def test_one_message_at_a_time_reaches_the_configured_rate(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, rate: int, *, prefetching: bool
) -> None:
    resend_policy = ResendPolicy.IDEMPOTENT if prefetching else ResendPolicy.UNSAFE
    monkeypatch.setattr(BaseChannel, "resend_policy", property(lambda _: resend_policy, lambda *_: None))
    began = times_of_sending(kind, path, rate=f"{rate}/s", burst=1, concurrency=1)
    assert began == pytest.approx([n / rate for n in range(COUNT)], abs=0.001)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_that_the_service_bears_is_reached(kind: str, path: Path) -> None:
    began = times_of_sending(kind, path, concurrency=1)
    pace = make_channel(kind, make_context(HttpClient())).pace
    last = max((COUNT - pace.burst) / pace.per_second if pace.per_second else 0, (COUNT - 1) * TAKES)
    assert began[-1] == pytest.approx(last, abs=0.001)


@pytest.mark.parametrize("concurrency", [1, 2, 7])
def test_without_a_rate_every_place_is_always_taken(path: Path, concurrency: int) -> None:
    began = times_of_sending("mattermost", path, rate=None, concurrency=concurrency)
    assert began == pytest.approx([n // concurrency * TAKES for n in range(COUNT)], abs=0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What bounds a channel."""

    rate: int
    burst: int
    takes: float
    concurrency: int

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a channel that say so."""
        return {"rate": f"{self.rate}/s", "burst": self.burst, "concurrency": self.concurrency}

    def earliest_times(self) -> Sequence[float]:
        """Return when each of COUNT messages may begin at the earliest."""
        slots, on_time, times = [0.0] * self.concurrency, 0.0, []
        for _ in range(COUNT):
            begins = max(heappop(slots), on_time - (self.burst - 1) / self.rate)
            on_time = max(on_time, begins) + 1 / self.rate
            heappush(slots, begins + self.takes)
            times.append(begins)
        return times


LIMITS = (
    Limits(rate=20, burst=1, takes=0.2, concurrency=8),
    Limits(rate=20, burst=5, takes=0.2, concurrency=2),
    Limits(rate=5, burst=3, takes=0.7, concurrency=4),
    Limits(rate=50, burst=10, takes=0.01, concurrency=1),
    Limits(rate=50, burst=20, takes=0.1, concurrency=8),
    Limits(rate=300, burst=50, takes=0.002, concurrency=64),
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_makes_the_same_of_its_settings_as_any_other(kind: str) -> None:
    context = make_context(HttpClient())
    for limits in LIMITS:
        channel = make_channel(kind, context, **limits.settings)
        pace = Pace(per_second=limits.rate, burst=limits.burst)
        assert (channel.pace, channel.concurrency) == (pace, limits.concurrency)


@pytest.mark.parametrize(("kind", "limits", "prefetching"), in_turn(list(product(LIMITS, [False, True])), 2))
def test_rate_burst_and_concurrency_are_made_full_use_of(
    path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limits: Limits, *, prefetching: bool
) -> None:
    resend_policy = ResendPolicy.IDEMPOTENT if prefetching else ResendPolicy.UNSAFE
    monkeypatch.setattr(BaseChannel, "resend_policy", property(lambda _: resend_policy, lambda *_: None))
    began = times_of_sending(kind, path, takes=limits.takes, **limits.settings)
    # What is claimed ahead goes out with the next step, which may wait for others that have finished.
    spare = SETTLE_DEBOUNCE if prefetching else 0.0
    for actual, earliest in zip(began, limits.earliest_times(), strict=True):
        assert earliest - 0.001 <= actual <= earliest + 0.001 + spare
