"""Real time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """`ports.Clock`, for real."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back; those of a suspended machine count, where the platform can tell.

        What is ours until a lease ends is not ours any more after a long sleep.
        """
        return _seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SteadyTime:
    """The system's time as it was when this was made, and the seconds since: a stepped system clock does not move it.

    It counts the seconds of a suspended machine, as `SystemClock.monotonic` does.
    """

    def __init__(self) -> None:
        """Start from what the system's clock says now."""
        self._start = datetime.now(UTC)
        self._since = _seconds()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self._start + timedelta(seconds=_seconds() - self._since)


def _seconds() -> float:
    # Only Linux has a clock that goes on while the machine is suspended.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
