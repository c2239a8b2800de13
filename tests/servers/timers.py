"""Timers that a test advances."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from timeouts import HANG_TIMEOUT


@dataclass(eq=False, slots=True, kw_only=True)
class FakeTimer:
    """A scheduled call."""

    due: float
    seconds: float
    call: Callable[[], None]
    timers: list[FakeTimer]

    def cancel(self) -> None:
        if self in self.timers:
            self.timers.remove(self)


class FakeTimers:
    """Replaces a loop's `call_later`: time advances only by `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pending: list[FakeTimer] = []
        self._changed = asyncio.Event()

    def later(self, seconds: float, call: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(due=self.now + seconds, seconds=seconds, call=call, timers=self.pending)
        self.pending.append(timer)
        self._changed.set()
        return timer

    def advance(self, seconds: float) -> None:
        """Advance the time and run the calls that become due."""
        self.now += seconds
        for timer in [timer for timer in self.pending if timer.due <= self.now]:
            timer.cancel()
            timer.call()

    async def armed(self, number: int, seconds: float) -> None:
        """Wait until `number` timers of this length are running."""
        async with asyncio.timeout(HANG_TIMEOUT):
            while sum(timer.seconds == seconds for timer in self.pending) < number:
                self._changed.clear()
                await self._changed.wait()
