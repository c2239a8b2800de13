"""Real time."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Self


class SystemClock:
    """`ports.Clock` of this machine."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return monotonic seconds, including those of a suspended machine where the platform counts them.

        A lease must not outlive a long suspension.
        """
        return _seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyTime:
    """A time read once from the system's clock that then follows the boot clock, which nobody can set.

    The seconds of a suspended machine count, as in `SystemClock.monotonic`.
    """

    boot: str
    """The start of the machine from which the seconds count; empty where the platform does not provide it."""
    at: datetime
    seconds: float

    @classmethod
    def start(cls) -> Self:
        """Start at the present time of the system's clock."""
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
    # Only Linux has a clock that counts while the machine is suspended.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


async def wait_until_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for up to this many seconds, and return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
