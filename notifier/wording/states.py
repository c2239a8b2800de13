"""How events look: one table gives each type its state, with colours, marks and the words that depend on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from notifier.core.diff import TYPES_BY_STATUS
from notifier.core.events import EventType
from notifier.core.maintenance_values import MaintenanceStatus
from notifier.core.model import Event, TaskStatus
from notifier.core.severity import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Tone:
    """The colours of a state, for each place that can show one."""

    colour: str
    """Colour of the bar beside a message."""
    badge: str
    """Background dark enough for white letters."""
    emoji: str
    """Stands for the colour where none can be shown, and for readers who cannot tell colours apart."""
    terminal: str
    """Style on a terminal, as rich names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventState:
    """What an event says about its task, source, channel, store or mute."""

    name: str
    """Part of the keys of its phrases: `verb.failed`."""
    glyph: str
    """Mark at the beginning of a line of plain text; no two states share one."""
    tone: Tone
    status: TaskStatus | None = None
    """Status of the task. None where the event carries no task."""
    length_label: str | None = None
    """Label of the time since the task was created; None where that says nothing."""
    progress_label: str = "progress"
    verb_suffices: bool = False
    """True where the verb says as much as the whole clause, which has neither a progress nor a status."""

    @property
    def digest_emoji(self) -> str:
        """Emoji of a digest whose most urgent events are in this state."""
        return "🚨" if self.status is TaskStatus.FAILED else self.tone.emoji


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """The row of one type of event."""

    state: EventState
    sample_detail: str | None = None
    """Reason in a sample event."""
    sample_counts: tuple[tuple[str, int], ...] = ()
    """Counts in a sample event."""
    sample_status: MaintenanceStatus | None = None
    """Status of the maintenance in a sample event."""


_RED = Tone(colour="#E01E5A", badge="#c62828", emoji="🔴", terminal="bold red")
_AMBER = Tone(colour="#ECB22E", badge="#b26a00", emoji="🟠", terminal="bold yellow")
_BLUE = Tone(colour="#36C5F0", badge="#1565c0", emoji="🔵", terminal="bold blue")
_GREEN = Tone(colour="#2EB67D", badge="#2e7d32", emoji="🟢", terminal="bold green")
_UNSURE = replace(_AMBER, emoji="❔")
_GREY = Tone(colour="#8D8D8D", badge="#5f6b7a", emoji="⚪", terminal="bold magenta")

_FAILED = EventState(
    name="failed",
    glyph="✗",
    tone=_RED,
    status=TaskStatus.FAILED,
    length_label="ran_for",
    progress_label="stopped_at",
    verb_suffices=True,
)
_FAILING = EventState(name="failing", glyph="‼", tone=_RED)
_GAVE_UP = EventState(name="gave_up", glyph="⊘", tone=_RED)
_GAP = EventState(name="gap", glyph="!", tone=_AMBER)
_UNLISTED = EventState(
    name="unlisted", glyph="?", tone=_UNSURE, status=TaskStatus.RUNNING, progress_label="last_progress"
)
_STALLED = EventState(name="stalled", glyph="…", tone=_AMBER, status=TaskStatus.RUNNING, length_label="running_for")
_ESCALATED = EventState(name="escalated", glyph="⇑", tone=_RED, status=TaskStatus.FAILED, length_label="ran_for")
_REMINDED = EventState(name="reminded", glyph="◷", tone=_RED, status=TaskStatus.FAILED, length_label="ran_for")
_OVERDUE = EventState(
    name="overdue", glyph="»", tone=replace(_AMBER, emoji="⏳"), status=TaskStatus.RUNNING, length_label="running_for"
)
_RAISED = EventState(name="raised", glyph="▲", tone=_RED, status=TaskStatus.RAISED, verb_suffices=True)
_CLEARED = EventState(
    name="cleared", glyph="△", tone=_GREEN, status=TaskStatus.CLEARED, length_label="lasted", verb_suffices=True
)
_MISSING = EventState(name="missing", glyph="∅", tone=_RED)
_RESTARTED = EventState(
    name="restarted", glyph="↻", tone=replace(_BLUE, badge=_AMBER.badge), status=TaskStatus.RUNNING, verb_suffices=True
)
_CHANGED = EventState(name="changed", glyph="~", tone=_GREY, status=TaskStatus.UNKNOWN)
_COMPLETED = EventState(
    name="completed", glyph="✓", tone=_GREEN, status=TaskStatus.COMPLETED, length_label="took", verb_suffices=True
)
_RECOVERED = EventState(name="recovered", glyph="✔", tone=_GREEN)
_MONITORED = EventState(name="monitored", glyph="◉", tone=replace(_BLUE, emoji="👁"))
_MUTED = EventState(name="muted", glyph="⊖", tone=replace(_GREY, emoji="🔕"))
_UNMUTED = EventState(name="unmuted", glyph="⊕", tone=replace(_BLUE, emoji="🔔"))
_RUNNING = EventState(name="running", glyph="▶", tone=_BLUE, status=TaskStatus.RUNNING, verb_suffices=True)
_PROGRESSED = EventState(
    name="progressed",
    glyph="▷",
    tone=replace(_BLUE, terminal="blue"),
    status=TaskStatus.RUNNING,
    length_label="running_for",
)

_REPORTED = EventState(name="reported", glyph="≡", tone=replace(_GREY, emoji="📊"))
_HANDED_OVER = EventState(name="handed_over", glyph="⇄", tone=replace(_BLUE, emoji="📟"))

_WENT_WRONG = EventState(name="went_wrong", glyph="✘", tone=_RED, verb_suffices=True)
_AWAITING = EventState(name="awaiting", glyph="⚑", tone=replace(_AMBER, emoji="✋"))
_IMMINENT = EventState(name="imminent", glyph="⚠", tone=replace(_AMBER, emoji="⏰"))
_UNDER_WAY = EventState(name="under_way", glyph="⚙", tone=replace(_AMBER, emoji="🚧"), verb_suffices=True)
_MOVED = EventState(name="moved", glyph="⇢", tone=replace(_BLUE, emoji="🗓"))
_PLANNED = EventState(name="planned", glyph="⚒", tone=replace(_BLUE, emoji="🛠"))
_DONE = EventState(name="done", glyph="☑", tone=_GREEN, verb_suffices=True)
_CALLED_OFF = EventState(name="called_off", glyph="⊗", tone=_GREY, verb_suffices=True)

EVENT_ROWS: Mapping[EventType, EventRow] = MappingProxyType(
    {
        EventType.TASK_ESCALATED: EventRow(state=_ESCALATED),
        EventType.TASK_FAILED: EventRow(state=_FAILED),
        EventType.TASK_REMINDED: EventRow(state=_REMINDED),
        EventType.ALARM_RAISED: EventRow(state=_RAISED),
        EventType.SOURCE_FAILING: EventRow(
            state=_FAILING, sample_detail="no answer from gaussdb.example.com within 20 s"
        ),
        EventType.CHANNEL_FAILING: EventRow(state=_FAILING, sample_detail="connection refused by hooks.example.com"),
        EventType.STORE_REPLACED: EventRow(
            state=_FAILING, sample_detail="the database file notifier.db was deleted; saved as notifier.db.rescued"
        ),
        EventType.CHANNEL_GAVE_UP: EventRow(state=_GAVE_UP, sample_detail="gave up after 9 attempts, last: HTTP 503"),
        EventType.MAINTENANCE_FAILED: EventRow(state=_WENT_WRONG, sample_status=MaintenanceStatus.FAILED),
        EventType.MAINTENANCE_AWAITING: EventRow(state=_AWAITING, sample_status=MaintenanceStatus.INQUIRING),
        EventType.SOURCE_GAP: EventRow(state=_GAP),
        EventType.TASK_UNLISTED: EventRow(state=_UNLISTED),
        EventType.TASK_MISSING: EventRow(state=_MISSING),
        EventType.TASK_STALLED: EventRow(state=_STALLED),
        EventType.TASK_OVERDUE: EventRow(state=_OVERDUE),
        EventType.MAINTENANCE_STARTED: EventRow(state=_UNDER_WAY, sample_status=MaintenanceStatus.EXECUTING),
        EventType.MAINTENANCE_REMINDED: EventRow(state=_IMMINENT, sample_status=MaintenanceStatus.SCHEDULED),
        EventType.MAINTENANCE_CHANGED: EventRow(state=_MOVED, sample_status=MaintenanceStatus.SCHEDULED),
        EventType.MAINTENANCE_ANNOUNCED: EventRow(state=_PLANNED, sample_status=MaintenanceStatus.SCHEDULED),
        EventType.TASK_RESTARTED: EventRow(state=_RESTARTED),
        EventType.TASK_CHANGED: EventRow(state=_CHANGED),
        EventType.TASK_COMPLETED: EventRow(state=_COMPLETED),
        EventType.ALARM_CLEARED: EventRow(state=_CLEARED),
        EventType.SOURCE_RECOVERED: EventRow(state=_RECOVERED),
        EventType.CHANNEL_RECOVERED: EventRow(state=_RECOVERED),
        EventType.SOURCE_MONITORED: EventRow(
            state=_MONITORED, sample_counts=(("failed", 4), ("listed", 19), ("running", 1))
        ),
        EventType.MAINTENANCE_ENDED: EventRow(state=_DONE, sample_status=MaintenanceStatus.COMPLETED),
        EventType.MAINTENANCE_CANCELLED: EventRow(state=_CALLED_OFF, sample_status=MaintenanceStatus.CANCELED),
        EventType.MUTE_ENDED: EventRow(state=_UNMUTED),
        EventType.MUTE_STARTED: EventRow(state=_MUTED),
        EventType.ROTA_HANDED_OVER: EventRow(state=_HANDED_OVER),
        EventType.REPORT_DUE: EventRow(state=_REPORTED),
        EventType.TASK_STARTED: EventRow(state=_RUNNING),
        EventType.TASK_PROGRESSED: EventRow(state=_PROGRESSED),
    }
)
"""Every type of event, the most urgent state first."""

QUIET_EMOJI = "⭕"
"""Stands for a red one where a message disturbs nobody: hollow, so that it differs by shape too."""

STATES = tuple(dict.fromkeys(row.state for row in EVENT_ROWS.values()))
"""Every state, the most urgent first."""


def emoji_of(state: EventState, severity: Severity) -> str:
    """Return the emoji of a message."""
    return QUIET_EMOJI if state.tone.emoji == _RED.emoji and not severity.loud else state.tone.emoji


def state_of(event: Event) -> EventState:
    """Return the state that colours and marks an event."""
    return EVENT_ROWS[event.type].state


def state_of_status(status: TaskStatus) -> EventState:
    """Return the state that marks a task in a list."""
    return EVENT_ROWS[TYPES_BY_STATUS[status]].state


def state_of_task(status: TaskStatus, newest: EventType | None, *, listed: bool) -> EventState:
    """Return the state that marks a task in a list, where its newest event and the list are known."""
    if status.terminal:
        return state_of_status(status)
    if not listed:
        return _UNLISTED
    stuck = status is TaskStatus.RUNNING and newest is EventType.TASK_STALLED
    return _STALLED if stuck else state_of_status(status)


def by_severity(events: Sequence[Event]) -> tuple[Event, ...]:
    """Return the events with the most urgent first, else in the order given."""
    return tuple(sorted(events, key=lambda event: STATES.index(state_of(event))))
