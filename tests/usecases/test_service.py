"""The service's own decisions; its life as a process is in the acceptance tests."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from fakes import FakeClock

from notifier.service import Service
from notifier.wiring import App


class SteppedClock(FakeClock):
    """A system clock that is set by `step` while the service sleeps; then the watch ends."""

    def __init__(self, step: timedelta) -> None:
        super().__init__()
        self.step = step

    async def sleep(self, seconds: float) -> None:
        if self.slept:
            raise asyncio.CancelledError
        await super().sleep(seconds)
        self.time += self.step


@pytest.mark.parametrize(
    ("step", "anew"), [(timedelta(hours=-1), True), (timedelta(seconds=-1), False), (timedelta(hours=1), False)]
)
async def test_a_clock_that_is_set_back_makes_every_tick_due_anew(step: timedelta, *, anew: bool) -> None:
    clock = SteppedClock(step)
    service = Service(cast("App", SimpleNamespace(clock=clock, channels={})))
    ticks = AsyncIOScheduler(timezone=UTC)
    far = datetime(2099, 1, 1, tzinfo=UTC)
    ticks.add_job(lambda: None, "interval", hours=1, next_run_time=far)
    ticks.start(paused=True)
    with pytest.raises(asyncio.CancelledError):
        await service.watch_clock(ticks)
    (job,) = ticks.get_jobs()
    assert (job.next_run_time < far) is anew
    ticks.shutdown(wait=False)
