"""The section `delivery`: retries, leases and the end of the service."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from notifier.settings.base import Settings
from notifier.settings.types import Duration


class DeliverySettings(Settings):
    """Retries and leases of deliveries."""

    retry: tuple[Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=30))], ...] = Field(
        default=tuple(timedelta(seconds=seconds) for seconds in (5, 30, 300, 1800, 7200, 18000, 36000, 36000)),
        max_length=100,
    )
    """Waits between attempts. After the last one a delivery is dead, until `notifier retry`."""
    lease: Duration = Field(default=timedelta(seconds=60), ge=timedelta(seconds=5), le=timedelta(hours=1))
    """How long a claimed delivery belongs to one process; after that process is killed, another waits as long. At least
    a quarter longer than one attempt may take."""
    stop_within: Duration = Field(default=timedelta(seconds=10), ge=timedelta(0), le=timedelta(minutes=10))
    """How long a stop waits for unanswered requests. Then they are cut, their outcome is unknown, and the next process
    resolves it. The program ends at most five seconds later."""
