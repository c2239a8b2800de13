"""Times that follow the boot clock, which nobody can set."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Self


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
        return cls(boot=_boot(), at=datetime.now(UTC), seconds=boot_seconds())

    def continuing(self, recorded: Any) -> Self:  # noqa: ANN401 - a row
        """Return the present of a time that was recorded with `boot`, `at` and `seconds`: it stays steady.

        Where none was recorded (None), or the machine has started since, that is this one.
        """
        if recorded is None or recorded.boot != self.boot:
            return self
        steady = recorded.at + timedelta(seconds=self.seconds - recorded.seconds)
        return replace(self, at=steady)

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self.at + timedelta(seconds=boot_seconds() - self.seconds)


@cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def boot_seconds() -> float:
    """Return monotonic seconds, including those of a suspended machine where the platform counts them."""
    # Only Linux has a clock that counts while the machine is suspended.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
