"""What several use cases need of the outside. What one of them needs of the store stands at the head of its module.

Two colours, one border: the network is async; the store is plain synchronous code that runs inside one transaction,
through `Store.transact` and `Store.read`: in a store thread, or where it is short on the event loop's.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, Self, TypeGuard, TypeVar

from notifier.core.delivery import Body, Delivery, DeliveryState, Outcome, ResendPolicy, Thread
from notifier.core.distribution import DurationSpread
from notifier.core.events import EventType
from notifier.core.listings import ANY_INSTANCE, InstanceMatch
from notifier.core.model import ChannelState, Event, Scope, Snapshot, SourceState, Task, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.pacing import Pace
from notifier.core.people import Acknowledgement, Verb
from notifier.core.rights import MissingRight, SourcePart
from notifier.core.routing import DeliveryRouting, RoutedEvent
from notifier.core.severity import Severity
from notifier.core.started_by import StartedBy
from notifier.core.storms import Storm
from notifier.core.tickets import TicketLink
from notifier.core.usual import Usual

T = TypeVar("T")


class Clock(Protocol):
    """Time, passed in so that tests own it."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back, for measuring intervals inside this process."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One line of `notifier check`."""

    ok: bool
    what: str
    detail: str = ""
    remedy: str = ""
    proven: bool = True
    """False where nothing is known to be wrong and only a message would prove it. Shown as `!`."""


class TaskSource(Protocol):
    """A task list that can be read."""

    name: str
    region: str
    project_id: str

    async def fetch(self, scope: Scope) -> Snapshot:
        """Read the list. Raises SourceError; a list that cannot be proven whole is returned as incomplete."""

    async def check(self) -> Sequence[CheckResult]:
        """Prove credentials, endpoint and rights with one cheap call. Never raises SourceError."""

    async def aclose(self) -> None:
        """Release connections."""


class SlicedSource(TaskSource, Protocol):
    """A task list that can be too long to be read in full by one poll: a full scan of it goes on over several."""

    @property
    def scanning(self) -> bool:
        """Whether a full scan has begun and not ended."""

    async def fetch_slice(self, calls: int) -> Snapshot:
        """Go on with the full scan, or begin one, and make at most so many calls.

        Returns the rows that they show: as an active scan while the full one goes on, and as the full one when it has
        ended. Raises SourceError, which ends it too.
        """

    async def fetch_ended(self) -> Snapshot:
        """Read the latest tasks that have completed, in one call. Raises SourceError."""

    def drop_scan(self) -> None:
        """End the full scan where it is. The next one begins with the beginning of the list."""


def reads_slices(source: TaskSource) -> TypeGuard[SlicedSource]:
    """Return whether a full scan of a source can go on over several polls.

    Each poll asks this several times: `isinstance` with a protocol would cost a tenth of a poll that finds nothing.
    """
    return hasattr(source, "fetch_slice")


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """The content of one message: an event, or a digest of several."""

    delivery_id: str
    events: tuple[Event, ...]
    digest: bool = False
    routing: DeliveryRouting = field(default_factory=DeliveryRouting)
    """What the routes want of the message."""
    storm: Storm | None = None
    """The storm that the events are part of."""
    opens_storm: bool = False
    """True for the message that reports a storm first; the others of the storm follow it."""
    tickets: tuple[TicketLink, ...] = ()
    """The latest tickets of the operation of the event."""

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Return the request for the message of a delivery."""
        storm = delivery.storm
        return cls(
            delivery_id=delivery.id,
            events=delivery.events,
            digest=delivery.digest,
            routing=delivery.routing,
            storm=storm,
            opens_storm=storm is not None and storm.opened_by == delivery.id,
            tickets=delivery.tickets,
        )

    @property
    def severity(self) -> Severity:
        """How bad the worst of the events is: what the routes set, else the default."""
        return self.routing.severity_of(self.events)

    @property
    def mention(self) -> tuple[str, ...]:
        """Whom the message mentions: nobody where it is not loud, or where no event needs somebody.

        The entries of the configuration, for all kinds of channels: a channel takes those that its kind understands.
        Of the messages of a storm only the first mentions anybody.
        """
        if not self.routing.mention:
            return ()
        follows = self.storm is not None and not self.opens_storm
        needed = not follows and any(event.calls_somebody for event in self.events)
        return self.routing.mention if needed and self.severity.loud else ()


class Channel(Protocol):
    """A destination of messages. `render` is pure; `send` is one attempt within a deadline and returns a decision."""

    name: str
    kind: ClassVar[str]
    concurrency: int
    """Maximum number of deliveries in flight, each of another subject."""
    deadline: float
    """Maximum time of one `send`, in seconds."""
    keeps_deadline: bool
    """Whether `send` ends within `deadline` by itself. Else the worker watches over it."""
    pace: Pace
    """Rate limit of the service, for all replicas together."""
    resend_policy: ResendPolicy
    """How an attempt with an unknown outcome may be repeated."""
    on_unknown: Literal["resend", "hold"]
    """What to do where `resend_policy` is UNSAFE, or the service does not know the outcome."""
    body_key: Hashable | None
    """Channels with equal keys render the same bytes for the same events, which are then rendered once. None where the
    bytes belong to one delivery."""
    digest_above: int | None
    digest_size: int
    storm_size: int
    """Tasks that one message of a storm lists at most."""
    storm_room: int
    """Maximum length of such a list, in characters, as `storms.listed_length` counts them."""
    threads: bool
    """Whether later messages about a task are sent to the thread of its first one."""
    edit_budget: str | None
    """None where a message stays as it was sent. Else the name under which the budget of changes is kept, which
    channels with the same name share: see `LiveChannel`."""
    coalesces: bool
    """See `ChannelPolicy.coalesces`."""
    multi_recipient: bool
    """Whether one attempt may have several recipients: see `Delivery.recipients`."""
    tickets: bool
    """Whether it keeps tickets: see `ChannelPolicy.tickets`, `Delivery.ticket` and `Delivered.ticket`."""

    def render(self, request: RenderRequest) -> Body:
        """Return the bytes to send. The same request gives the same bytes. No I/O."""

    async def send(self, delivery: Delivery) -> Outcome:
        """Try once to send `delivery.body` (never None here). Raises nothing but CancelledError."""

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        """Ask the service whether an earlier attempt arrived. Called only where `resend_policy` is RECONCILABLE.

        Returns Delivered for one that did, None for one that did not, Retry to ask again later, and Unknown where the
        service does not say. Raises nothing but CancelledError.
        """

    async def check(self) -> Sequence[CheckResult]:
        """Prove that the channel could send, without a message where the service allows that."""

    async def aclose(self) -> None:
        """Release connections."""


class ChatTransport(Protocol):
    """A connection through which a chat reaches us, that has to be kept up."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can come through it now; None while it is open."""

    async def run(self) -> None:
        """Keep it open until cancelled."""


class LiveChannel(Channel, Protocol):
    """A channel whose messages can be made to look different once they are sent."""

    edit_pace: Pace
    """What the service bears of changes, on all channels of that name and by all replicas together."""

    async def show(self, thread: Thread) -> Outcome:
        """Make a thread's message look as it should now. May be repeated freely: it sets a state.

        Delivered with a `thread` of its own says that the message was gone and a new one took its place. Raises
        nothing but CancelledError.
        """

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        """Make one of `thread.copies` look like the thread's message. May be repeated freely.

        None where it is gone: it is never posted again. Raises nothing but CancelledError.
        """


# ---- the store ----


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatistics:
    """The results of the tasks of one name."""

    name: str
    running: int
    completed: int
    failed: int
    other: int
    durations: DurationSpread | None = None
    """How long the completed ones took; None where no time of both is known."""

    @property
    def count(self) -> int:
        """The number of all tasks of the name."""
        return self.running + self.completed + self.failed + self.other


@dataclass(frozen=True, slots=True, kw_only=True)
class PollClaim:
    """The right to poll one source until its lease ends, and what was recorded about it."""

    epoch: int
    """The fence: a poll is recorded only while the source still has this number."""
    at: datetime
    """Time of the claim, by the database's clock."""
    state: SourceState
    renamed_from: str | None = None
    """The name under which its history was recorded until now; None where that has not changed."""
    stormy: bool = False
    """Whether storms of the source may not have ended. No other poll can begin one while the claim is current."""
    fingerprints: Mapping[str, bytes] | None = field(default=None, compare=False, repr=False)
    """Fingerprint of every recorded task by job id; None where this process does not know them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollPlan:
    """What a poll records for the next ones, besides the time when the next one is due."""

    promised_at: datetime | None = None
    """Time by which the next poll is promised; None where that is when it is due."""
    active_at: datetime | None = None
    """See `SourceState.active_at`; likewise the next two."""
    scanned_by: str | None = None
    scanned_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsRecorded:
    """The result of recording events. Those in neither tuple were recorded before."""

    new: tuple[RoutedEvent, ...]
    refused: tuple[Event, ...]
    """Events that the database cannot hold."""


class EventCursor(NamedTuple):
    """A position in the sequence of events, the oldest first."""

    observed_at: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventHorizon:
    """How far the events can be read without missing one that is being written."""

    number: int
    """The largest number of an event that has been given."""
    writers: Collection[str] = ()
    """Transactions that may still commit an event with a smaller number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAnswer:
    """What a request of the API was answered, for requests with the same key."""

    fingerprint: str
    """Digest of the method, the path and the body of the request."""
    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsPruned:
    """The result of one batch of pruning."""

    events: int
    """Number of deleted events."""
    deliveries: int
    """Number of deliveries deleted with them."""
    last: EventCursor | None
    """The last event that was examined; None when no more are old enough."""


class TaskCursor(NamedTuple):
    """A position in a list of tasks, the most recently changed first."""

    changed_at: datetime
    job_id: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """The tasks that a query asks for; None means any."""

    status: TaskStatus | None = None
    since: datetime | None = None
    """Created, ended or last changed at or after this time."""
    instance: str | None = None
    """Instance id, or a part of the instance name."""
    instance_id: str | None = None
    instance_name: str | None = None
    """The whole name."""
    source: str | None = None
    job_id: str | None = None
    """A job id or its beginning."""
    exact: bool = False
    """True when `job_id` is whole."""
    storm: str | None = None
    """Id of a storm whose failures are of these tasks."""
    sources: Collection[str] | None = None
    """Names of sources, one of which it is."""
    names: Collection[str] | None = None
    """Names of tasks as the API has them, one of which it has."""
    instances: InstanceMatch = ANY_INSTANCE
    """What the instance has to fit. Names of instances are compared whatever their case."""
    unacknowledged: bool = False
    """True for tasks whose newest event needs care and is not acknowledged."""
    after: TaskCursor | None = None
    """Only tasks behind this one in the list."""
    limit: int = 50
    offset: int = 0
    """Number of matching tasks to skip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """The events that a query asks for; None means any."""

    type: str | None = None
    since: datetime | None = None
    source: str | None = None
    job_id: str | None = None
    """A job id or its beginning."""
    id: str | None = None
    """An event id or its beginning."""
    exact: bool = False
    """True when `job_id` is whole."""
    types: Collection[str] | None = None
    """Types, one of which it has."""
    sources: Collection[str] | None = None
    """Names of sources, one of which it is about."""
    names: Collection[str] | None = None
    """Names of tasks as the API has them, one of which its task has."""
    instances: InstanceMatch = ANY_INSTANCE
    """What the instance of its task has to fit. Names of instances are compared whatever their case."""
    rule: str | None = None
    """Name of a rule that suppressed them on a channel, such as `mute:7k2m`."""
    before: int | None = None
    """Only events with a smaller number than this: older ones."""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """The deliveries that a query asks for; None means any."""

    state: DeliveryState | None = None
    channel: str | None = None
    event_ids: Collection[str] | None = None
    id: str | None = None
    """A delivery id or its beginning."""
    dismissed: bool | None = None
    """True for those that a person dismissed, False for all others."""
    held: bool | None = None
    """True for those that a rule holds now, False for all others."""
    before: int | None = None
    """Only deliveries with a smaller number than this: older ones."""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFilter:
    """The actions of people that a query asks for; None means any."""

    since: datetime | None = None
    by: str | None = None
    """Id or name of who acted."""
    verb: Verb | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """A task with what the store knows beyond the API."""

    task: Task
    first_seen_at: datetime
    changed_at: datetime
    """Its end time where the API gives one; else the time when a change was last seen."""
    listed: bool
    events_pruned: bool = False
    """True when there were events about it that retention has deleted."""
    acknowledged: Acknowledgement | None = None
    """The acknowledgement of its newest event; None where there is none."""
    muted: Mute | None = None
    """The mute of its instance that is in force."""
    newest: EventType | None = None
    """Type of its newest event; None where none is recorded."""
    usual: Usual | None = None
    """How long such tasks usually take; None where too few runs are known, or where that was not asked for."""
    started_by: StartedBy | None = None
    """Who started it; None where that is not known."""


class NeedingFailure(NamedTuple):
    """An open failure that nobody has acknowledged, with what groups such failures."""

    id: str
    job_id: str
    """See `OpenFailure.job_id`."""
    storm: str | None
    """Id of the storm that its latest event is part of."""


class ToldChannel(NamedTuple):
    """What became of an event on a channel that was to be notified."""

    channel: str
    delivery_id: str
    state: DeliveryState
    held: bool
    """Whether a rule holds it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTask:
    """A task that has not ended, with what its newest event says."""

    task: Task
    since: datetime
    """When it was created, or first seen where the API does not say."""
    changed_at: datetime
    """When a change of it was last seen."""
    listed: bool
    newest: EventType | None
    """Type of its newest event; None where none is recorded."""
    usual: Usual | None
    """How long such tasks usually took at that event."""

    @property
    def stuck(self) -> bool:
        """Whether it has stalled or is overdue."""
        return self.newest in (EventType.TASK_STALLED, EventType.TASK_OVERDUE)


class HeldMessages(NamedTuple):
    """Messages that a rule holds."""

    rule: str
    number: int
    until: datetime
    """When the first of them goes out."""


RowKey = Literal["instance", "type", "source"]
"""What tells rows of a timeline apart."""


class FailedRow(NamedTuple):
    """How many tasks of a row of a timeline failed."""

    source: str
    key: str
    """What was asked for: the instance by its id or its name, the name of the task, or the empty string."""
    instance_name: str | None
    """The latest one that is known."""
    counts: Sequence[int]
    """In each slot."""


class TimelineTask(NamedTuple):
    """A task, as timelines show it."""

    source: str
    job_id: str
    name: str
    instance_id: str | None
    instance_name: str | None
    status: TaskStatus
    start: datetime
    """When it was created, or first seen where the API does not say."""
    end: datetime
    """When it ended; of one that has not, when a change was last seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The ledger of promise P3: every (event, channel) pair that routing asked for, by state."""

    events: int
    unrouted: int
    """Number of events that no route matched."""
    pairs: int
    by_state: Mapping[DeliveryState, int]
    unaccounted: tuple[tuple[str, str], ...]
    """(event id, channel) pairs that have no delivery, or more than one. Must be empty."""
    dead: tuple[Delivery, ...] = ()
    oldest_pending: datetime | None = None


class DatabaseTime(Protocol):
    """The clock that all who share a database agree on."""

    def now(self) -> datetime:
        """Return the time of the database."""


class EventRecords(Protocol):
    """The recorded events."""

    def record(self, routed: Sequence[RoutedEvent]) -> EventsRecorded:
        """Insert events; an id that is already there is left as it is."""


class DeliveryRecords(Protocol):
    """The planned deliveries."""

    def record(self, planned: Sequence[Delivery]) -> None:
        """Insert deliveries of events that are new, so that none can be there already."""


class ParkedChannels(Protocol):
    """The channels that are parked."""

    def parked(self) -> Mapping[str, ChannelState]:
        """Return the channels that are parked, by name; none of them can be unparked until the transaction ends."""


class SourceRights(Protocol):
    """Rights that parts of sources lack; see `notifier.core.rights`."""

    def lack(self, source: str, part: SourcePart, action: str, now: datetime) -> MissingRight:
        """Record that the service refused a part of a source for want of a right, and return when it is tried again."""

    def have(self, source: str, part: SourcePart) -> None:
        """Record that a part of a source has its right."""

    def lacking(self, part: SourcePart) -> Collection[str]:
        """Return the sources whose part lacks a right."""

    def paused(self, part: SourcePart, now: datetime) -> Collection[str]:
        """Return the sources whose part is not to be tried now."""


class RightsTx(Protocol):
    """What it takes to record missing rights inside a transaction."""

    @property
    def rights(self) -> SourceRights:
        """Rights that parts of sources lack."""


class KnownOrigins(Protocol):
    """Who started tasks."""

    def started_by(self, wanted: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StartedBy]:
        """Return who started tasks, by source and job id, as far as that is known."""


class DatabaseFile(Protocol):
    """The file of a SQLite database, which may be deleted or replaced while the service runs."""

    async def verify(self) -> None:
        """Raise StoreReplaced if its path leads to another file now, or to none. Cheap."""

    async def rescue(self) -> Path:
        """Copy the open file to a new one beside it, and return its path. Raises StoreError."""


Tx_co = TypeVar("Tx_co", covariant=True)
Reads_co = TypeVar("Reads_co", covariant=True)


class Store(Protocol[Tx_co, Reads_co]):
    """The database: the only queue, the only lock and the only memory.

    `Tx_co` is what a use case needs of a transaction and `Reads_co` what it reads outside one: two small protocols at
    the head of its module, which the parts of `notifier.store.transaction.Transaction` satisfy.
    """

    async def transact(self, fn: Callable[[Tx_co], T], *, short: bool = False) -> T:
        """Run `fn` in one write transaction. Raises StoreError.

        It does nothing but read and write through its transaction, for it may run twice. The caller waits for its end
        even when it is cancelled.

        Args:
            fn: runs in a store thread, or where it is short perhaps on the event loop's thread.
            short: promises that `fn` takes at most a few milliseconds: it touches at most a few hundred rows and waits
                for nothing but the database. SQLite may then do without a thread, if it would answer at once.
        """

    async def read(self, fn: Callable[[Reads_co], T]) -> T:
        """Run `fn` on one consistent view, without waiting for a writer. Raises StoreError."""


class Transact(Protocol[Tx_co]):
    """Runs transactions as `Store.transact` does, with more around them or in them."""

    async def __call__(self, fn: Callable[[Tx_co], T], *, short: bool = False) -> T:
        """Run `fn` in one write transaction; see `Store.transact`. Raises StoreError."""
