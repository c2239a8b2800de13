"""When work runs: background jobs, their schedule whatever the system's clock does, and the sources to poll next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeAlias

import structlog
from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from notifier.ports import Clock

log = structlog.get_logger("notifier")

Work: TypeAlias = Callable[[], Awaitable[object]]

OVERDUE_INTERVALS = 3
"""Number of its intervals that a job may be late before the scheduler is woken."""

MAX_POLLS_STARTED = 250
"""Maximum number of polls that one query for due sources starts; the next query starts the others."""

START_SPREAD = 60.0
"""Maximum time over which the first polls of a process are spread, in seconds."""

RESTART_DELAY = 1.0
"""Wait before work that failed is started again, in seconds."""


class Jobs:
    """Runs work in the background, at most one task of each name at a time. A crash ends that task only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped = False

    def start(self, name: str, work: Work) -> None:
        """Start a job, unless its last run has not ended."""
        if name not in self._tasks and not self._stopped:
            self._tasks[name] = asyncio.create_task(_run(name, work), name=name)
            self._tasks[name].add_done_callback(lambda _: self._tasks.pop(name))

    def keep_running(self, name: str, work: Work) -> None:
        """Start a job that lasts as long as the service. When it ends or crashes, it is started again."""

        async def repeat() -> None:
            while True:
                await _run(name, work)
                await self._clock.sleep(RESTART_DELAY)

        self.start(name, repeat)

    async def join(self) -> None:
        """Wait until every job that was started has ended."""
        await asyncio.gather(*self._tasks.values())

    def stop(self) -> Sequence[asyncio.Task[None]]:
        """Cancel every job, start no other, and return the cancelled tasks."""
        self._stopped = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        return tasks


async def _run(name: str, work: Work) -> None:
    try:
        await work()
    except Exception:
        log.exception("job.crashed", job=name)


class _FromNowOn(IntervalTrigger):  # type: ignore[misc]  # it ships no types
    """Skips what was missed. APScheduler would count all of it one by one, for hours after a start in 1970."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        following: datetime = super().get_next_fire_time(previous_fire_time, now)
        return following if following > now else now + self.interval


class Scheduler:
    """Starts jobs at intervals."""

    def __init__(self, jobs: Jobs, clock: Clock) -> None:
        self._jobs = jobs
        self._clock = clock
        # This executor calls at once. The tasks are ours to cancel; other executors log a cancelled one as an error.
        self._scheduler = AsyncIOScheduler(
            timezone=UTC,
            executors={"default": DebugExecutor()},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )

    def every(self, seconds: float, name: str, work: Work, *, at_once: bool = False) -> None:
        """Start a job every `seconds`, the first time then or `at_once`, unless its last run has not ended."""
        first = {"next_run_time": self._clock.now()} if at_once else {}
        trigger = _FromNowOn(seconds=seconds, timezone=UTC)
        self._scheduler.add_job(self._jobs.start, trigger, [name, work], id=name, **first)

    def start(self) -> None:
        """Begin to start jobs."""
        self._scheduler.start()

    def stop(self) -> None:
        """Start no more jobs."""
        self._scheduler.shutdown(wait=False)

    def correct(self) -> None:
        """Run a job now that a changed clock would delay for long, and wake the scheduler where it sleeps too long.

        APScheduler follows the system's clock, which may be set forward and back between two runs. The distance of the
        next run from now shows both. The caller uses a monotonic clock.
        """
        now = self._clock.now()
        for job in self._scheduler.get_jobs():
            off, interval = job.next_run_time - now, job.trigger.interval
            if off > 1.5 * interval:
                log.warning("job.rescheduled", msg="the system's clock was set", job=job.id, off=_seconds(off))
                job.modify(next_run_time=now)
            elif off < -OVERDUE_INTERVALS * interval - timedelta(seconds=1):
                log.warning("job.overdue", msg="the scheduler is woken", job=job.id, off=_seconds(off))
                self._scheduler.wakeup()


def _seconds(duration: timedelta) -> int:
    return round(duration.total_seconds())


class DueSources:
    """Chooses the sources to poll next: those that the database calls due, and each at least every two intervals.

    The second rule covers sources that the database does not know yet and deadlines that a wrong clock left in it; the
    claim of a poll decides. All times are monotonic, in seconds.
    """

    def __init__(self, intervals: Mapping[str, timedelta]) -> None:
        self._intervals = {name: interval.total_seconds() for name, interval in intervals.items()}
        self._not_before = dict.fromkeys(self._intervals, float("-inf"))
        self._ask_at = dict(self._not_before)

    def spread(self, now: float) -> None:
        """Spread the first polls over the first interval, or over `START_SPREAD` where that is shorter."""
        count = len(self._intervals)
        self._not_before = {
            name: now + min(interval, START_SPREAD) * n / count
            for n, (name, interval) in enumerate(self._intervals.items())
        }
        self._ask_at = dict(self._not_before)

    def next(self, due: Sequence[str], now: float) -> Sequence[str]:
        """Return those to poll now, at most `MAX_POLLS_STARTED`. `due` is the database's list, in its order."""
        unasked = (name for name, at in self._ask_at.items() if at <= now)
        known = (name for name in due if self._not_before.get(name, now + 1) <= now)
        chosen = list(islice(dict.fromkeys((*known, *unasked)), MAX_POLLS_STARTED))
        for name in chosen:
            self._ask_at[name] = now + 2 * self._intervals[name]
        return chosen
