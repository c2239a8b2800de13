"""Real time."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

from notifier.steady_time import boot_seconds


class SystemClock:
    """`ports.Clock` of this machine."""

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return monotonic seconds, including those of a suspended machine where the platform counts them.

        A lease must not outlive a long suspension.
        """
        return boot_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


async def wait_until_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event for up to this many seconds, and return whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
