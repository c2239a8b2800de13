"""Background tasks of a service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import structlog

from notifier.ports import Clock

log = structlog.get_logger("notifier")

Work: TypeAlias = Callable[[], Awaitable[object]]

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
