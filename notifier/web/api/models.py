"""What the API answers and takes, as its description shows it.

Answers are made by `notifier.wording.documents`, which the command line shares, and validated here: a document with
another key than its model has would be a mistake of ours. Times are RFC 3339 in UTC, durations are seconds.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator

from notifier.core.alarms import AlarmFeed, AlarmLevel
from notifier.core.delivery import DeliveryState, RecipientState, Resolution
from notifier.core.events import EventType
from notifier.core.failures import FailureState, HistoryKind
from notifier.core.health import FindingKind
from notifier.core.maintenance_values import MaintenanceStatus
from notifier.core.model import TaskStatus
from notifier.core.mutes import MAX_MUTE, MAX_MUTE_REASON, MAX_SCOPE, MIN_MUTE
from notifier.core.people import Verb
from notifier.core.severity import Severity
from notifier.core.started_by import StartedVia
from notifier.core.tickets import ClosedBy, TicketState
from notifier.core.usual import UsualBasis
from notifier.web.api.moments import parse_moment

Rfc3339 = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time of an answer, as `documents.time` writes it."""
T = TypeVar("T")


def _open(known: type[StrEnum], what: str) -> WithJsonSchema:
    return WithJsonSchema(
        {
            "type": "string",
            "examples": [str(next(iter(known)))],
            "description": f"{what} Open set: later versions may add values. Known: {', '.join(map(str, known))}.",
        }
    )


EventTypeName = Annotated[str, _open(EventType, "What happened.")]
FindingKindName = Annotated[str, _open(FindingKind, "What is wrong.")]
VerbName = Annotated[str, _open(Verb, "What a person did.")]


class AnswerModel(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )


class BodyModel(BaseModel):
    """What a request carries. Unknown keys are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_given(cls, value: object) -> object:
        if value is None:
            raise ValueError("leave the key out instead")
        return value


class PageOf(AnswerModel, Generic[T]):
    """One page of a list."""

    items: list[T]
    """The rows, in the order of the list."""
    next: str | None
    """Cursor of the next page, for the parameter `cursor`; null on the last page. It names the last row of this page,
    so that rows that are added meanwhile repeat and hide none."""


# ---- tasks ----


class InstanceDocument(AnswerModel):
    """An instance of a database, as the cloud named it."""

    id: str | None
    name: str | None
    status: str | None
    """Status in the cloud's words when it was last seen. Open set."""


class UsualDocument(AnswerModel):
    """How long completed runs of an operation took. Most of them took from `low` to `high`."""

    low: float
    """Seconds."""
    middle: float
    """Seconds."""
    high: float
    """Seconds."""
    runs: int
    """Number of runs that were measured."""
    basis: UsualBasis
    """Which runs were measured."""
    slow: float
    """What about one run in twenty exceeds, in seconds; 0 where it was not measured."""
    by_weekday: bool
    """Whether only runs of the same days of the week were measured."""


class AcknowledgementDocument(AnswerModel):
    """Who took charge of a failure, and when."""

    by: str
    """Id of the person, as the way in knows them: `web:NAME`, `token:ID`, `cli:NAME`, or that of a chat."""
    name: str
    """Name of the person. Written by people: show it as text."""
    at: Rfc3339


class MuteDocument(AnswerModel):
    """A mute: it suppresses notifications while its window is open."""

    id: str
    """Short id, such as `7k2m`; of a configured mute its name."""
    covers: str
    """What it covers, as people type it."""
    instance: str | None
    """Id or whole name of the only instance that it covers; null where `match` says what it covers."""
    label: str | None
    """The same as `covers`, for older clients."""
    match: list[str]
    """Matchers, all of which an event has to fit."""
    except_failures: bool
    """Whether events that need somebody are sent as if there were no mute."""
    since: Rfc3339 | None
    """Beginning of the window in force, or of the next one."""
    until: Rfc3339 | None
    """End of that window."""
    by: str
    """Name of the person who made it."""
    reason: str | None
    """Written by people: show it as text."""
    cron: str | None
    """When windows begin, in five fields; null for a single window."""
    timezone: str | None
    """Time zone of `cron`."""
    last: Rfc3339 | None
    """No window begins at or after this time; null where nothing ends the repetition."""
    configured: bool
    """Whether the configuration defines it."""


class MaintenanceMuteDocument(AnswerModel):
    """A mute of the configuration that is in force while a maintenance of an instance is open."""

    name: str
    match: list[str]
    """Matchers, all of which an event has to fit."""
    except_failures: bool
    """Whether events that need somebody are sent as if there were no mute."""
    reason: str | None
    """Written by people: show it as text."""
    instances: list[str]
    """Names of the instances that it covers now: their maintenance is open. Ids where a name is not known."""


class MutePageDocument(PageOf[MuteDocument]):
    """One page of the mutes."""

    during_maintenance: list[MaintenanceMuteDocument]
    """The configured mutes without times of their own: all of them, on each page."""


class AlarmDocument(AnswerModel):
    """What an alarm has that no task has."""

    feed: AlarmFeed
    """The list that it is from."""
    level: AlarmLevel | None
    """How bad the cloud considers it; null where it does not say."""
    node_id: str | None
    """The node that it is about; null for an alarm about the whole instance."""


class TaskDocument(AnswerModel):
    """A task or an alarm as the cloud listed it."""

    source: str
    """Name of the configured source."""
    job_id: str
    """Opaque. Together with `source` it names the task."""
    name: str
    """The cloud's name of the operation. Open set."""
    status: TaskStatus
    raw_status: str
    """Status in the cloud's words. Open set."""
    progress: float | None
    """Per cent, 0 to 100; null where the cloud says nothing."""
    instance: InstanceDocument
    created_at: Rfc3339 | None
    ended_at: Rfc3339 | None
    fail_reason: str | None
    """Why it failed, or what an alarm says, in the cloud's words. Text from outside: show it as text."""
    alarm: AlarmDocument | None
    """Set for an alarm: it was raised at `created_at` and is over since `ended_at`; null for a task."""


class StartedByDocument(AnswerModel):
    """Who started a task, as Cloud Trace names them."""

    name: str | None
    """Name of the user, or of the session of an agency; null where the cloud names nobody."""
    via: Annotated[str, _open(StartedVia, "The way.")]
    agency: str | None
    """Name of the agency that the session acts for."""
    address: str | None
    """IP address of the request; null unless the source keeps it."""


class StoredTaskDocument(TaskDocument):
    """A task with what is known about it."""

    error_code: str | None
    """Error code in the reason, such as `DBS.280277`."""
    cause: str | None
    """Id of the known cause. Open set; a configuration may add causes."""
    means: str | None
    """What the reason means, in the language of the request."""
    action: str | None
    """The next step, in the language of the request."""
    retry: Literal["yes", "after", "no"] | None
    """Whether the same call may be repeated: yes, after the next step, or no; null where the cause is unknown."""
    inferred: bool
    """Whether `means` is a usual meaning and not a certain one."""
    runbook_url: str | None
    first_seen_at: Rfc3339
    changed_at: Rfc3339
    """Time of its end where the cloud gives one; else of the last change that was seen."""
    listed: bool
    """Whether the cloud still lists it."""
    usual: UsualDocument | None
    """How long such tasks usually take; null for tasks that have ended and where too few runs are known."""
    started_by: StartedByDocument | None
    """Who started it; null where that is not known."""
    acknowledged: AcknowledgementDocument | None
    """Who acknowledged its newest event."""
    muted: MuteDocument | None
    """The mute in force that covers it."""


# ---- events ----


class OverdueDocument(AnswerModel):
    """The limit that a task has exceeded."""

    seconds: float
    matcher: str
    """The configured matcher whose limit it is; empty where the limit follows from what is usual."""


class ExpectationDocument(AnswerModel):
    """A run that did not appear."""

    name: str
    """The cloud's name of the operation."""
    every: float
    """Time within which it recurs, in seconds."""
    overdue_at: Rfc3339 | None
    instance_id: str | None
    instance_name: str | None
    last: Rfc3339 | None
    """When the last run began."""
    last_job: str
    expected_at: Rfc3339 | None
    intervals: int
    """Number of intervals from which the rhythm was learned; 0 for a configured expectation."""
    rule: str
    """The configured expectation; empty for a learned one."""
    succeeded: bool
    """Whether only a run that succeeds is enough."""


class PlannedMaintenanceDocument(AnswerModel):
    """A maintenance that the cloud plans, as it is listed."""

    id: str
    name: str
    """Its type as the cloud names it: `RESTART_NODE`. Empty where the cloud names none."""
    status: MaintenanceStatus
    raw_status: str
    """The cloud's word for its status."""
    level: str
    """How the cloud rates it: `critical`, `major`, `minor`, `info`; empty where it does not say."""
    instance_id: str | None
    instance_name: str | None
    impact: str | None
    reason: str | None
    starts_at: Rfc3339 | None
    """Beginning of its window."""
    ends_at: Rfc3339 | None
    planned_at: Rfc3339 | None
    """When it is to be done within its window."""
    latest_at: Rfc3339 | None
    """It is done by then, whether or not somebody authorises it."""
    executed_at: Rfc3339 | None
    created_at: Rfc3339 | None
    updated_at: Rfc3339 | None
    job_id: str
    """The task that does it; empty where it is not known."""
    vanished: bool
    """Whether the cloud no longer lists it, so that how it ended is not known."""


class MaintenanceNoticeDocument(PlannedMaintenanceDocument):
    """A maintenance as it was when an event about it was recorded."""


class MaintenanceDocument(PlannedMaintenanceDocument):
    """A maintenance as it was last listed."""

    source: str
    open: bool
    """Whether it is under way, or is scheduled and its window is open."""
    over: bool
    """Whether it has ended, failed, been cancelled, or is no longer listed."""
    first_seen_at: Rfc3339 | None
    changed_at: Rfc3339 | None
    """When its last change was seen."""
    reminder_at: Rfc3339 | None
    """When the next reminder is sent; null where none follows."""


class EventDocument(AnswerModel):
    """Something that happened, with the task as it was then."""

    event_id: str
    """Stable: the same facts have the same id on every machine."""
    type: EventTypeName
    source: str
    """Empty for an event about a channel, a mute, a report or a rota."""
    region: str
    project_id: str
    environment: str
    labels: dict[str, str]
    severity: Severity
    channel: str
    """The channel that it is about; empty for all others."""
    since: Rfc3339 | None
    """Since when a source or a channel has been failing, or a task made no progress."""
    occurred_at: Rfc3339 | None
    """When it happened by the cloud's clock; null where the cloud does not say."""
    observed_at: Rfc3339
    """When it was detected."""
    late: bool
    """Whether it was found after the notifier had been away."""
    quiet: bool
    """Whether it was recorded without notifying anybody: an alarm that was raised before its list was first read."""
    previous_status: str | None
    detail: str | None
    count: int | None
    counts: dict[str, int]
    task: TaskDocument | None
    usual: UsualDocument | None
    overdue: OverdueDocument | None
    expectation: ExpectationDocument | None
    maintenance: MaintenanceNoticeDocument | None
    started_by: StartedByDocument | None
    """Who started the task, as far as that was known when the event was detected."""


class RoutedEventDocument(EventDocument):
    """An event with the routes that took it."""

    routes: list[str]
    """Names of the routes that took it when it was detected."""
    channels: list[str]
    """Names of the channels that it was planned for."""


# ---- deliveries ----


class EventReference(AnswerModel):
    """An event that a message reports."""

    event_id: str
    type: EventTypeName
    job_id: str
    """Empty for an event about no task."""


class StormReference(AnswerModel):
    """The storm that a message reports."""

    id: str
    failures: int


class RecipientDocument(AnswerModel):
    """One addressee of a message that has several, in different states."""

    address: str
    state: RecipientState
    reason: str | None


class DeliveryDocument(AnswerModel):
    """A message to one channel."""

    delivery_id: str
    channel: str
    subject: str
    """What it is about. Opaque."""
    state: DeliveryState
    attempt: int
    """Number of attempts that were begun."""
    reason: str | None
    """Why it is in this state. May hold text of the receiver: show it as text."""
    rule: str | None
    """Rule that holds or suppresses it, such as `mute:7k2m`."""
    reply: str | None
    """What the receiver replied to the last attempt, shortened. Text from outside."""
    doubtful: bool
    """Whether an earlier attempt may have arrived."""
    ref: str | None
    """What the receiver called the message."""
    digest: bool
    storm: StormReference | None
    created_at: Rfc3339
    available_at: Rfc3339
    """Earliest time of the next attempt."""
    settled_at: Rfc3339 | None
    dismissed_at: Rfc3339 | None
    """When a person accepted that it was not delivered."""
    events: list[EventReference]
    recipients: list[RecipientDocument]


class AttemptDocument(AnswerModel):
    """One try to send a message."""

    number: int
    started_at: Rfc3339
    finished_at: Rfc3339
    outcome: str
    """One of delivered, retry, gave-up, parked, unknown, skipped. Open set."""
    reason: str | None
    reply: str | None
    """What the receiver replied, shortened. Text from outside."""
    doubt: Resolution | None
    """What was done about the attempt before it, where that may have arrived."""


class DeliveryDetail(DeliveryDocument):
    """A message with all its attempts."""

    attempts: list[AttemptDocument]
    """In order."""


class ReleasedDocument(AnswerModel):
    """How many messages are sent again."""

    released: int


class DismissedDocument(AnswerModel):
    """How many messages were dismissed."""

    dismissed: int


# ---- why ----


class TicketWish(AnswerModel):
    """What a route wants of a ticket."""

    priority: str | None
    assignee: str | None
    project: str | None
    labels: list[str]
    fields: dict[str, str]


class RouteWindow(AnswerModel):
    """When a route is active."""

    active: str
    """The window, as it is configured."""
    open: bool
    """Whether it was open at the time of the event."""
    otherwise: str | list[str]
    """What becomes of events while it is closed: `hold`, `drop`, or the channels that are used instead."""
    opens_at: Rfc3339 | None


class RouteVerdictDocument(AnswerModel):
    """How a route, as it is configured now, judges an event."""

    route: str
    matched: bool
    channels: list[str]
    severity: Severity | None
    mention: list[str]
    stop: bool
    template: str | None
    wait: float | None
    """Seconds."""
    group_by: list[str]
    repeats: float | None
    """Seconds."""
    remind: list[float]
    """Seconds."""
    escalate: str | None
    ticket: TicketWish | None
    window: RouteWindow | None
    failed_matcher: str | None
    """The first matcher that did not fit."""
    actual: str | None
    """What the event has in the field of that matcher."""
    skipped_by: str | None
    """The earlier route that ended the search."""


class ChannelRecordDocument(AnswerModel):
    """What became of an event on one channel."""

    channel: str
    planned: bool
    """Whether a route led there when the event was detected."""
    delivery: DeliveryDocument | None
    attempts: list[AttemptDocument]


class EventRecordDocument(AnswerModel):
    """An event, how the routes judge it now, and what became of it on every channel."""

    event: RoutedEventDocument
    routes_now: list[RouteVerdictDocument]
    channels: list[ChannelRecordDocument]


class TicketDocument(AnswerModel):
    """A ticket that was opened for the operation of a task."""

    channel: str
    label: str | None
    url: str | None
    state: TicketState
    closed_at: Rfc3339 | None
    closed_by: ClosedBy | None
    follows: str | None
    """Label of the ticket before it."""


class TaskExplanationDocument(AnswerModel):
    """Why each channel was or was not notified of a task."""

    task: StoredTaskDocument
    events_pruned: bool
    """Whether events of the task have been deleted because of their age."""
    events: list[EventRecordDocument]
    """The oldest first."""
    tickets: list[TicketDocument]
    failures: list[FailureDocument]


# ---- failures ----


class FailureEntry(AnswerModel):
    """One thing that happened to a failure."""

    at: Rfc3339
    kind: HistoryKind
    name: str | None
    """The route, the escalation or the person."""
    number: int | None
    event_id: str | None
    channels: list[str]
    together: int
    """Number of failures that the message was about."""
    reason: str | None
    """Written by people: show it as text."""


class FailureDocument(AnswerModel):
    """A failure of an operation on an instance, from its first event until it is over."""

    id: str
    state: FailureState
    source: str
    environment: str | None
    severity: Severity
    type: EventTypeName
    job_id: str
    """Id of the latest task; empty for a run that did not appear."""
    name: str | None
    """The cloud's name of the operation, or of the type of a maintenance; null where it names none."""
    instance: InstanceDocument | None
    maintenance: MaintenanceNoticeDocument | None
    """The maintenance that waits for authorisation, or that failed; null for anything else."""
    fail_reason: str | None
    """In the cloud's words. Text from outside: show it as text."""
    error_code: str | None
    since: Rfc3339
    failures: int
    """How often it failed."""
    told: list[str]
    """Channels that got a message about it."""
    acknowledged: AcknowledgementDocument | None
    next: Rfc3339 | None
    """When the next reminder or escalation is sent, as far as is known."""
    history: list[FailureEntry]
    """The oldest first."""


# ---- mutes ----

ScopeText = Annotated[str, Field(min_length=1, max_length=MAX_SCOPE, pattern=r"^[^\x00-\x1f\x7f]+$")]
ReasonText = Annotated[str, Field(max_length=MAX_MUTE_REASON, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
"""What a person writes; a line break is a space."""
GivenTime = Annotated[
    datetime, BeforeValidator(parse_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""A time of a request."""
_LENGTH = Field(ge=MIN_MUTE.total_seconds(), le=MAX_MUTE.total_seconds())


class MuteBody(BodyModel):
    """A mute to make. Give `length_seconds` or `until`; with `cron` the length of each window."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"covers": "orders-primary", "length_seconds": 7200, "reason": "resizing"},
                {
                    "covers": "environment=staging type=task.completed",
                    "length_seconds": 14400,
                    "cron": "0 22 * * 6",
                    "timezone": "Asia/Shanghai",
                },
            ],
            "oneOf": [{"required": ["length_seconds"]}, {"required": ["until"]}],
            "dependentRequired": {"timezone": ["cron"], "last": ["cron"], "cron": ["length_seconds"]},
        }
    )

    covers: Annotated[ScopeText, WithJsonSchema({"type": "string", "format": "mute-scope", "minLength": 1})]
    """Id or whole name of an instance, or matchers: `prod-* type=task.completed`."""
    length_seconds: Annotated[int, _LENGTH] | None = None
    """Length of the window, or of each window, in seconds."""
    since: GivenTime | None = None
    """Beginning of the only window; without it, it begins now."""
    until: GivenTime | None = None
    """End of the only window, instead of `length_seconds`."""
    cron: Annotated[str, Field(max_length=100), WithJsonSchema({"type": "string", "format": "cron"})] | None = None
    """When windows begin, in five fields."""
    timezone: Annotated[str, Field(max_length=64), WithJsonSchema({"type": "string", "format": "timezone"})] | None = (
        None
    )
    """Time zone of `cron`; without it, the configured one."""
    last: GivenTime | None = None
    """With `cron`: no window begins at or after this time."""
    except_failures: bool = False
    """Send events that need somebody as if there were no mute."""
    reason: ReasonText | None = None
    """Shown to others."""
    announce: bool | None = None
    """Whether channels are notified when it begins and ends; without it, the notifier decides."""


class ExtendBody(BodyModel):
    """How much later a mute ends."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"length_seconds": 3600}]})

    length_seconds: Annotated[int, _LENGTH]


class SpanDocument(AnswerModel):
    """One window of a mute."""

    since: Rfc3339
    until: Rfc3339


class NamedTask(AnswerModel):
    """A task that needs somebody."""

    name: str
    """The cloud's name of the operation."""
    instance: str | None


class MutePreviewDocument(AnswerModel):
    """What a mute would have held back lately."""

    since: Rfc3339
    """How far back this looks."""
    counts: dict[str, int]
    """Number of events by type."""
    named: list[NamedTask]
    """The latest of them that need somebody."""
    windows: list[SpanDocument]
    """The windows that the mute would have, the next ones."""
    whole: bool
    """False where there were more events than were read."""


class EndedMuteDocument(AnswerModel):
    """A mute whose window was ended."""

    mute: MuteDocument
    """As it was before."""
    held: dict[str, int]
    """Number of events that it held back in this window, by type."""
    next: Rfc3339 | None
    """When its next window begins; null where it is over."""


# ---- the notifier itself ----


class SourceDocument(AnswerModel):
    """A source with its last polls and its number of tasks."""

    name: str
    last_poll_at: Rfc3339 | None
    last_full_at: Rfc3339 | None
    """Time of the last complete scan."""
    baseline_at: Rfc3339 | None
    failing_since: Rfc3339 | None
    last_error: str | None
    tasks: int
    running: int


class SourceHealth(AnswerModel):
    """Health of a configured source."""

    name: str
    ok: bool
    last_poll_at: Rfc3339 | None
    failing_since: Rfc3339 | None
    limit_seconds: float
    """Age of the last good poll up to which the source counts as polled, in seconds."""
    error: str | None


class ChannelHealthDocument(AnswerModel):
    """Health of a channel."""

    name: str
    ok: bool
    parked_since: Rfc3339 | None
    waiting_since: Rfc3339 | None
    failing_since: Rfc3339 | None
    open_until: Rfc3339 | None
    """Time until which its circuit breaker lets nothing through."""
    paused_until: Rfc3339 | None
    """Time until which the receiver asked for a pause."""
    waiting: int
    """Number of messages that are still to be sent."""
    dead: int
    """Number of dead messages that nobody dismissed."""
    reason: str | None


class ChannelDocument(ChannelHealthDocument):
    """A channel with its health and its backlog."""

    configured: bool
    """Whether the configuration has a way to deliver on it."""
    pending: int
    pending_since: Rfc3339 | None
    """Time since which the oldest pending message has waited."""
    parked: int
    dead_since: Rfc3339 | None
    dead_until: Rfc3339 | None
    dead_reason: str | None


class FindingDocument(AnswerModel):
    """One thing that is not as it should be."""

    kind: FindingKindName
    about: str
    """Name of the source or channel; empty for none."""
    red: bool
    """True for a failure, false for a remark."""
    since: Rfc3339 | None
    count: int | None
    reason: str | None
    commands: list[str]
    """Commands that help, ready to paste."""


class OpenFailureCount(AnswerModel):
    """Work for people."""

    unacknowledged: int | None
    commands: list[str]


class HealthDocument(AnswerModel):
    """The verdict on the notifier itself."""

    ok: bool
    """True when no finding is red."""
    at: Rfc3339
    findings: list[FindingDocument]
    """The gravest first."""
    sources: list[SourceHealth]
    channels: list[ChannelHealthDocument]
    open_failures: OpenFailureCount


class UnaccountedPair(AnswerModel):
    """An event and a channel without exactly one delivery record."""

    event_id: str
    channel: str


class ParkedChannel(AnswerModel):
    """A channel on which nothing is sent until its settings are fixed."""

    channel: str
    since: Rfc3339 | None
    reason: str | None


class AuditDocument(AnswerModel):
    """The ledger of every event and every channel that a route sent it to."""

    ok: bool
    """True when every pair has exactly one delivery record."""
    at: Rfc3339
    events: int
    unrouted: int
    """Number of events that no route took."""
    pairs: int
    by_state: dict[str, int]
    """Number of pairs by the state of their delivery."""
    unaccounted: list[UnaccountedPair]
    dead: list[DeliveryDocument]
    """The newest ones."""
    oldest_pending: Rfc3339 | None
    parked: list[ParkedChannel]


class ActionDocument(AnswerModel):
    """One thing that a person did."""

    at: Rfc3339
    by: str
    name: str
    """Name of the person. Written by people: show it as text."""
    verb: VerbName
    target: str
    detail: str | None


class DurationsDocument(AnswerModel):
    """How long completed tasks took, in seconds."""

    runs: int
    p10: float
    p50: float
    p90: float
    longest: float
    bins: list[int]
    """Number of runs in each of eight ranges, equal factors apart, from the shortest to the longest."""


class OperationStatistics(AnswerModel):
    """How the tasks of one operation ended."""

    name: str
    """The cloud's name of the operation."""
    label: str
    """The same in words, in the language of the request."""
    running: int
    completed: int
    failed: int
    other: int
    failure_rate: float | None
    """From 0 to 1, of those that ended; null where none has."""
    durations: DurationsDocument | None


class OriginFiguresDocument(AnswerModel):
    """How many starts of tasks Cloud Trace explained, and how long its rows take to appear."""

    searched: int
    """Tasks whose search has ended."""
    explained: int
    """Those of whom it is known who started them."""
    lag_p50: float | None
    """Seconds from what happened to its row, of half of the rows; null where none is known."""
    lag_p99: float | None


class StatisticsDocument(AnswerModel):
    """How tasks ended and how long they took, by operation, the most frequent first."""

    operations: list[OperationStatistics]
    origins: OriginFiguresDocument
    """Of all operations and instances, whatever else is asked for."""


class CallerDocument(AnswerModel):
    """Who asks."""

    id: str
    """What the record of actions names."""
    name: str
    role: Literal["none", "read", "act", "admin"]
    scopes: list[str]
    """Scopes of the token; empty for a session."""
    way: str
    """How the request shows who asks: token, password, user, proxy, oidc, kiosk or open. Open set."""


# ---- bodies ----


class ResolveBody(BodyModel):
    """Why a failure is over."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "fixed by hand"}]})

    reason: ReasonText | None = None


# ---- errors ----


class ParameterProblem(AnswerModel):
    """One thing that is wrong with a request."""

    place: str
    """Where: `query`, `path`, `header` or `body`."""
    name: str
    """Name of the parameter, or path of the key in the body."""
    message: str


class ProblemDocument(AnswerModel):
    """An error (RFC 9457)."""

    type: str
    """What kind of error it is; stable. `tag:gaussdb-notifier,2026:` and a word."""
    title: str
    status: int
    detail: str | None
    """What is wrong with this request, and what would be right."""
    errors: list[ParameterProblem]
    """What is wrong with which parameter; empty for other errors."""


TaskExplanationDocument.model_rebuild()
