"""The section `alerts`: notifications about the notifier itself."""

from __future__ import annotations

from datetime import timedelta

from pydantic import (
    Field,
)

from notifier.core.health_facts import FAILING_AFTER
from notifier.settings.base import Settings
from notifier.settings.types import (
    Duration,
)


class AlertSettings(Settings):
    """What the program says of itself: that it cannot see a source, or cannot speak on a channel."""

    channels: tuple[str, ...] | None = None
    """Names of channels for the alerts that no route takes; absent: all. None is told of its own failure."""
    failing_after: Duration = Field(default=FAILING_AFTER, ge=timedelta(seconds=10), le=timedelta(days=1))
    """How long a channel may fail before that is an alert. One that is misconfigured is one at once."""
