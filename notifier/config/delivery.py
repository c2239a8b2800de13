"""The section `delivery`: retries, leases and the end of the service."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import (
    Field,
)

from notifier.settings.base import Settings
from notifier.settings.types import (
    Duration,
)


class DeliverySettings(Settings):
    """How hard delivery tries."""

    retry: tuple[Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=30))], ...] = Field(
        default=tuple(timedelta(seconds=seconds) for seconds in (5, 30, 300, 1800, 7200, 18000, 36000, 36000)),
        max_length=100,
    )
    """Waits between tries; after the last one a delivery is dead and waits for `notifier retry`."""
    lease: Duration = Field(default=timedelta(seconds=60), ge=timedelta(seconds=5), le=timedelta(hours=1))
    """How long a delivery belongs to the process that took it, and another waits after that process was killed. A
    quarter longer, at least, than any one try may last."""
    stop_within: Duration = Field(default=timedelta(seconds=10), ge=timedelta(0), le=timedelta(minutes=10))
    """How long a stop waits for receivers that have not answered; then their exchanges are cut, the outcome is unknown,
    and the next process finds out. The program ends within five seconds more."""
