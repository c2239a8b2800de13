"""The types of events, and what each means to planning, to the store and to the log. Looks are in `wording.states`."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType

from notifier.core.severity import Severity, severity_in


class EditUrgency(IntEnum):
    """How soon a live message shows something new. The values are stored."""

    PROGRESS = 0
    """Waits: a message that shows nothing but progress is edited rarely."""
    PERSON = 1
    """An acknowledgement, a mute, or an event that fits none of the others."""
    END = 2
    FAILURE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTraits:
    """What follows from the type of an event."""

    ends_task: bool = False
    """True where the task has ended in a status that we know."""
    needs_care: bool = False
    """True where somebody should act: it can be acknowledged, and is never notified by an edit alone."""
    settles: bool = False
    """True where a maintenance that needed somebody no longer does."""
    follows_up: bool = False
    """True for a reminder or an escalation: it is about an open failure and changes nothing about its task."""
    alert: bool = False
    """True where the notifier reports itself: such an event goes to the channels of `alerts` when no route takes it."""
    scheduled: bool = False
    """True for a report or a hand-over: it goes to the channels that its own configuration names, and routes take none
    of them."""
    bad_news: bool = False
    """True for an alert that is logged as an error."""
    severity: Severity = Severity.INFO
    """How bad the event is in an environment without a name; see `severity.severity_in`."""
    critical_in_production: bool = False
    """True where an error becomes critical in production."""
    urgency: EditUrgency = EditUrgency.PERSON

    @property
    def calls_somebody(self) -> bool:
        """True where somebody should act, so that a message may mention people."""
        return self.acknowledgeable or self.bad_news

    @property
    def acknowledgeable(self) -> bool:
        """True where a person can take charge of what the event is about."""
        return self.needs_care or self.follows_up

    def rated(self, level: Severity, environment: str) -> Severity:
        """Return how bad the event is where the cloud rates it, in an environment where no route sets it.

        Only what needs somebody is worse than a warning, and is at least one; what is over is information.
        """
        if self.severity is Severity.INFO:
            return Severity.INFO
        if not self.needs_care:
            return max(level, Severity.WARNING, key=list(Severity).index)
        least = min(level, Severity.WARNING, key=list(Severity).index)
        usual = Severity.ERROR if least is Severity.CRITICAL else least
        return severity_in(environment, usual, critical_in_production=least is Severity.CRITICAL)

    def severity_in(self, environment: str) -> Severity:
        """Return how bad the event is in an environment where no route sets it."""
        return severity_in(environment, self.severity, critical_in_production=self.critical_in_production)


class EventType(StrEnum):
    """Everything that can be notified. The values are stored, and are named in configurations."""

    TASK_STARTED = "task.started"
    TASK_PROGRESSED = "task.progressed"
    TASK_COMPLETED = "task.completed"
    TASK_FAILED = "task.failed"
    TASK_RESTARTED = "task.restarted"
    TASK_CHANGED = "task.changed"
    TASK_UNLISTED = "task.unlisted"
    TASK_STALLED = "task.stalled"
    TASK_REMINDED = "task.reminded"
    TASK_ESCALATED = "task.escalated"
    TASK_OVERDUE = "task.overdue"
    TASK_MISSING = "task.missing"
    ALARM_RAISED = "alarm.raised"
    ALARM_CLEARED = "alarm.cleared"
    MAINTENANCE_ANNOUNCED = "maintenance.announced"
    MAINTENANCE_AWAITING = "maintenance.awaiting"
    MAINTENANCE_CHANGED = "maintenance.changed"
    MAINTENANCE_REMINDED = "maintenance.reminded"
    MAINTENANCE_STARTED = "maintenance.started"
    MAINTENANCE_ENDED = "maintenance.ended"
    MAINTENANCE_FAILED = "maintenance.failed"
    MAINTENANCE_CANCELLED = "maintenance.cancelled"
    SOURCE_FAILING = "source.failing"
    SOURCE_RECOVERED = "source.recovered"
    SOURCE_GAP = "source.gap"
    SOURCE_MONITORED = "source.monitored"
    CHANNEL_FAILING = "channel.failing"
    CHANNEL_RECOVERED = "channel.recovered"
    CHANNEL_GAVE_UP = "channel.gave_up"
    STORE_REPLACED = "store.replaced"
    MUTE_STARTED = "mute.started"
    MUTE_ENDED = "mute.ended"
    REPORT_DUE = "report.due"
    ROTA_HANDED_OVER = "rota.handed_over"

    @property
    def traits(self) -> EventTraits:
        """What follows from the type."""
        return _TRAITS[self]

    @property
    def about_task(self) -> bool:
        """True where the event carries a task or an alarm; one about a run that is missing has none."""
        return self.startswith(("task.", "alarm.")) and self is not EventType.TASK_MISSING

    @property
    def about_maintenance(self) -> bool:
        """True where the event carries a maintenance that the cloud plans."""
        return self.startswith("maintenance.")

    @property
    def about_source(self) -> bool:
        """True where the event belongs to a source: it is about the source, or about what happens in its project."""
        return self.startswith(("task.", "alarm.", "source.", "maintenance."))


_TRAITS: Mapping[EventType, EventTraits] = MappingProxyType(
    {
        EventType.TASK_STARTED: EventTraits(),
        EventType.TASK_PROGRESSED: EventTraits(urgency=EditUrgency.PROGRESS),
        EventType.TASK_COMPLETED: EventTraits(ends_task=True, urgency=EditUrgency.END),
        EventType.TASK_FAILED: EventTraits(
            ends_task=True,
            needs_care=True,
            urgency=EditUrgency.FAILURE,
            severity=Severity.ERROR,
            critical_in_production=True,
        ),
        EventType.TASK_RESTARTED: EventTraits(),
        EventType.TASK_CHANGED: EventTraits(),
        EventType.TASK_UNLISTED: EventTraits(needs_care=True, urgency=EditUrgency.FAILURE, severity=Severity.ERROR),
        EventType.TASK_STALLED: EventTraits(needs_care=True, urgency=EditUrgency.FAILURE, severity=Severity.ERROR),
        EventType.TASK_REMINDED: EventTraits(follows_up=True, severity=Severity.ERROR, critical_in_production=True),
        EventType.TASK_ESCALATED: EventTraits(follows_up=True, severity=Severity.ERROR, critical_in_production=True),
        EventType.TASK_OVERDUE: EventTraits(needs_care=True, urgency=EditUrgency.FAILURE, severity=Severity.WARNING),
        EventType.TASK_MISSING: EventTraits(
            needs_care=True, urgency=EditUrgency.FAILURE, severity=Severity.ERROR, critical_in_production=True
        ),
        # The level of an alarm decides how bad it is: see `Event.severity`.
        EventType.ALARM_RAISED: EventTraits(
            needs_care=True, urgency=EditUrgency.FAILURE, severity=Severity.ERROR, critical_in_production=True
        ),
        EventType.ALARM_CLEARED: EventTraits(ends_task=True, urgency=EditUrgency.END),
        EventType.MAINTENANCE_ANNOUNCED: EventTraits(settles=True, severity=Severity.WARNING),
        EventType.MAINTENANCE_AWAITING: EventTraits(
            needs_care=True, urgency=EditUrgency.FAILURE, severity=Severity.ERROR, critical_in_production=True
        ),
        EventType.MAINTENANCE_CHANGED: EventTraits(severity=Severity.WARNING),
        EventType.MAINTENANCE_REMINDED: EventTraits(severity=Severity.WARNING),
        EventType.MAINTENANCE_STARTED: EventTraits(settles=True, severity=Severity.WARNING),
        EventType.MAINTENANCE_ENDED: EventTraits(settles=True, urgency=EditUrgency.END),
        EventType.MAINTENANCE_FAILED: EventTraits(
            needs_care=True, urgency=EditUrgency.FAILURE, severity=Severity.ERROR, critical_in_production=True
        ),
        EventType.MAINTENANCE_CANCELLED: EventTraits(settles=True, urgency=EditUrgency.END),
        EventType.SOURCE_FAILING: EventTraits(
            alert=True, bad_news=True, severity=Severity.ERROR, critical_in_production=True
        ),
        EventType.SOURCE_RECOVERED: EventTraits(alert=True),
        EventType.SOURCE_MONITORED: EventTraits(alert=True),
        EventType.SOURCE_GAP: EventTraits(severity=Severity.WARNING),
        EventType.CHANNEL_FAILING: EventTraits(alert=True, bad_news=True, severity=Severity.ERROR),
        EventType.CHANNEL_RECOVERED: EventTraits(alert=True),
        EventType.CHANNEL_GAVE_UP: EventTraits(alert=True, bad_news=True, severity=Severity.ERROR),
        EventType.STORE_REPLACED: EventTraits(alert=True, bad_news=True, severity=Severity.CRITICAL),
        EventType.MUTE_STARTED: EventTraits(),
        EventType.MUTE_ENDED: EventTraits(),
        EventType.REPORT_DUE: EventTraits(scheduled=True),
        EventType.ROTA_HANDED_OVER: EventTraits(scheduled=True),
    }
)
