"""Real time."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Self


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyTime:
    """A time that the system's clock told once and that goes on with the boot clock, which nobody sets.

    The seconds of a suspended machine count, as they do in `SystemClock.monotonic`.
    """

    boot: str
    """Which start of the machine the seconds count from. The empty string where the platform does not say."""
    at: datetime
    seconds: float

    @classmethod
    def start(cls) -> Self:
        """Begin with what the system's clock says now."""
        return cls(boot=_boot(), at=datetime.now(UTC), seconds=_seconds())

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self.at + timedelta(seconds=_seconds() - self.seconds)


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _seconds() -> float:
    # Only Linux has a clock that goes on while the machine is suspended.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


async def wait_until_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for up to this many seconds, and return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
