"""The section `retention`: how long the database keeps records."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from notifier.settings.base import Settings
from notifier.settings.types import Duration

RetentionPeriod = Annotated[Duration, Field(ge=timedelta(days=35), le=timedelta(days=36500))] | None
"""A retention period: longer than the month that the API lists, so that no listed task is notified twice."""


class RetentionSettings(Settings):
    """How long records are kept; null keeps them without limit. Pending and parked deliveries are always kept."""

    events: RetentionPeriod = timedelta(days=90)
    """Events with their deliveries and attempts, once all deliveries are settled."""
    dead: RetentionPeriod = timedelta(days=180)
    """Dead deliveries, with their events: at least as long as events."""
    tasks: RetentionPeriod = timedelta(days=90)
    """Tasks that have ended."""
