"""Real time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from time import monotonic


class SystemClock:
    """`ports.Clock`, for real."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SteadyTime:
    """The system's time as it was when this was made, and the seconds since: a stepped system clock does not move it.

    It counts the seconds of a suspended machine where the platform can tell (CLOCK_BOOTTIME, Linux).
    """

    def __init__(self) -> None:
        """Start from what the system's clock says now."""
        self._start = datetime.now(UTC)
        self._since = _seconds()

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self._start + timedelta(seconds=_seconds() - self._since)


def _seconds() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
