"""The section `retention`: how long the database keeps records."""

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

RetentionPeriod = Annotated[Duration, Field(ge=timedelta(days=35), le=timedelta(days=36500))] | None
"""For how long something is kept: longer than the month that the API lists, so that nothing of it is told twice."""


class RetentionSettings(Settings):
    """How long is kept what is over; null keeps it for ever. What is pending or parked is always kept."""

    events: RetentionPeriod = timedelta(days=90)
    """Events, with their deliveries and attempts, once all of them are settled."""
    dead: RetentionPeriod = timedelta(days=180)
    """Deliveries that were given up on, with their events: at least as long as events."""
    tasks: RetentionPeriod = timedelta(days=90)
    """Tasks that have ended."""
