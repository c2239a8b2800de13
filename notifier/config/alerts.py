"""The section `alerts`: notifications about the notifier itself."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from notifier.core.health_facts import FAILING_AFTER
from notifier.settings.base import Settings
from notifier.settings.types import Duration


class AlertSettings(Settings):
    """Notifications about the notifier itself: it cannot poll a source, or cannot deliver to a channel."""

    channels: tuple[str, ...] | None = None
    """Channels for alerts that no route matches; absent: all channels. No channel is notified of its own failure."""
    failing_after: Duration = Field(default=FAILING_AFTER, ge=timedelta(seconds=10), le=timedelta(days=1))
    """How long a channel may fail before an alert. A misconfigured channel causes one at once."""
