"""The short sections of a configuration: `delivery`, `alerts`, `quiet`, `retention` and `log`."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from notifier.core.health_facts import FAILING_AFTER
from notifier.core.maintenance_values import MaintenanceRules
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


class AlertSettings(Settings):
    """Notifications about the notifier itself: it cannot poll a source, or cannot deliver to a channel."""

    channels: tuple[str, ...] | None = None
    """Channels for alerts that no route matches; absent: all channels. No channel is notified of its own failure."""
    failing_after: Duration = Field(default=FAILING_AFTER, ge=timedelta(seconds=10), le=timedelta(days=1))
    """How long a source, channel or role may fail before an alert. A misconfigured channel causes one at once."""


class FlappingSettings(Settings):
    """When the result of an operation on an instance counts as flapping."""

    changes: int = Field(default=6, ge=2, le=100)
    """Changes from success to failure and back within the time, from which on one message says so and others wait."""
    within: Duration = Field(default=timedelta(hours=1), ge=timedelta(minutes=5), le=timedelta(days=1))
    """The time in which changes are counted, and for which the result must stay the same until what waits is sent."""


_MAINTENANCE = MaintenanceRules()


class MaintenanceSettings(Settings):
    """How the maintenance that the cloud plans is read and announced, on sources with `maintenance: true`."""

    every: Duration = Field(default=_MAINTENANCE.every, ge=timedelta(minutes=1), le=timedelta(days=1))
    """Time between two reads of a source's list. From an hour before a window until it is over: at most 1m."""
    remind_before: tuple[Annotated[Duration, Field(ge=timedelta(minutes=5), le=timedelta(days=30))], ...] = Field(
        default=_MAINTENANCE.remind_before, max_length=5
    )
    """How long before a window, or before the last moment of an authorisation, people are reminded. Empty: never."""

    @property
    def rules(self) -> MaintenanceRules:
        """The settings as a value of the core."""
        return MaintenanceRules(every=self.every, remind_before=self.remind_before)


class QuietSettings(Settings):
    """What keeps messages back besides routes, budgets and mutes."""

    flapping: FlappingSettings | None = None
    """Operations whose result keeps changing; null sends every event."""


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


class LogSettings(Settings):
    """The log on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal, else `json`: one object per line."""
