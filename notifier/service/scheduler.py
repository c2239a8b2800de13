"""When work runs: background jobs, their schedule, and the sources to poll next."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import TypeAlias

import structlog

from notifier.ports import Clock

log = structlog.get_logger("notifier")

Work: TypeAlias = Callable[[], Awaitable[object]]

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


class Scheduler:
    """Starts jobs at intervals. The time is that of the event loop, which nobody can set."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._intervals: dict[str, tuple[float, Work]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def every(self, seconds: float, name: str, work: Work) -> None:
        """Start a job every `seconds`, unless its last run has not ended."""
        self._intervals[name] = (seconds, work)

    def start(self, *at_once: str) -> None:
        """Begin to start jobs: those that are named at once, the others after their interval."""
        now = asyncio.get_running_loop().time()
        for name, (seconds, _) in self._intervals.items():
            self._start_at(now if name in at_once else now + seconds, name)

    def stop(self) -> None:
        """Start no more jobs."""
        for timer in self._timers.values():
            timer.cancel()

    def _start_at(self, when: float, name: str) -> None:
        self._timers[name] = asyncio.get_running_loop().call_at(when, self._start, when, name)

    def _start(self, when: float, name: str) -> None:
        seconds, work = self._intervals[name]
        self._jobs.start(name, work)
        # Where the loop was held up, what it missed is made up for by one start.
        self._start_at(max(when, asyncio.get_running_loop().time() - seconds) + seconds, name)


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
