"""Doubles at our own ports. Everything else in the tests is the real thing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)


class FakeClock:
    """Time that moves only when told; `sleep` moves it."""

    def __init__(self, start: datetime = START) -> None:
        self.time = start
        self.ticks = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, delta: timedelta) -> datetime:
        self.time += delta
        self.ticks += delta.total_seconds()
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(timedelta(seconds=seconds))
