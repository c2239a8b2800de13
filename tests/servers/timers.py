"""Deadlines that pass when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from timeouts import HANG_TIMEOUT


@dataclass(eq=False, slots=True, kw_only=True)
class FakeTimer:
    """A call that is due."""

    due: float
    seconds: float
    call: Callable[[], None]
    timers: list[FakeTimer]

    def cancel(self) -> None:
        if self in self.timers:
            self.timers.remove(self)


class FakeTimers:
    """In place of a loop's `call_later`: time moves only when told."""

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
        """Let time pass, and what is due with it happen."""
        self.now += seconds
        for timer in [timer for timer in self.pending if timer.due <= self.now]:
            timer.cancel()
            timer.call()

    async def armed(self, number: int, seconds: float) -> None:
        """Wait until so many deadlines of this length are running."""
        async with asyncio.timeout(HANG_TIMEOUT):
            while sum(timer.seconds == seconds for timer in self.pending) < number:
                self._changed.clear()
                await self._changed.wait()
