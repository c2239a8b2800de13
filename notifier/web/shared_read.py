"""A read of the database that many may ask for: it runs once at a time, and nobody waits for it for long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from notifier.core.errors import StoreError
from notifier.ports import Clock

T = TypeVar("T")

ANSWER_LASTS = 1.0
"""Time for which an answer of the database counts, in seconds: asking more often costs nothing."""


class SharedRead(Generic[T]):
    """Shares the result of a read among all who ask while it runs, and for a while afterwards."""

    def __init__(self, read: Callable[[], Awaitable[T]], clock: Clock, *, timeout: float) -> None:
        """Let callers wait for `timeout` seconds."""
        self._read = read
        self._clock = clock
        self._timeout = timeout
        self._running: asyncio.Future[T] | None = None
        self._known: tuple[float, T] | None = None

    async def get(self) -> T | None:
        """Return the result; None where the database fails or does not answer in time."""
        if self._known is not None and self._clock.monotonic() - self._known[0] < ANSWER_LASTS:
            return self._known[1]
        if self._running is None:
            self._running = asyncio.ensure_future(self._read())
            self._running.add_done_callback(self._ended)
        done, _ = await asyncio.wait({self._running}, timeout=self._timeout)
        for ended in done:
            return None if isinstance(ended.exception(), StoreError) else ended.result()
        return None

    def _ended(self, running: asyncio.Future[T]) -> None:
        self._running = None
        if not running.cancelled() and running.exception() is None:
            self._known = self._clock.monotonic(), running.result()
