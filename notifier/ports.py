"""What the use cases need from the outside world, and nothing more.

Two colours, one border: the network is async; the store is plain synchronous code that runs in a store thread,
inside one transaction, through `Store.transact` and `Store.read`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeVar

from notifier.core.alerts import DeadLetters
from notifier.core.credentials import CredentialState
from notifier.core.delivery import Attempt, Body, Delivery, DeliveryState, Outcome, ResendPolicy, Thread
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.health import Expected, HealthFacts, Replica
from notifier.core.model import ChannelState, Event, Scope, Snapshot, SourceState, Task, TaskStatus
from notifier.core.outbox import Settlement
from notifier.core.pacing import ChannelHealth, Pace
from notifier.core.people import Acknowledgement, Action, Mute, Subscription
from notifier.core.routing import RoutedEvent

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
    """False where nothing is known to be wrong and only sending would tell; shown as `!`."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest:
    """What a channel is asked to put into words: one event, or a digest of several."""

    delivery_id: str
    events: tuple[Event, ...]
    digest: bool = False


class Channel(Protocol):
    """A way to tell people. `render` is pure; `send` is one attempt with a total deadline and returns a decision."""

    name: str
    kind: ClassVar[str]
    concurrency: int
    """Deliveries of different subjects in flight at once."""
    deadline: float
    """Seconds that one `send` takes at most."""
    pace: Pace
    """What the service bears, kept to by all replicas together."""
    resend_policy: ResendPolicy
    """What it can do about an attempt whose outcome is unknown."""
    on_unknown: Literal["resend", "hold"]
    """What to do where `repeat` is risky, or the service could not say."""
    body_key: Hashable | None
    """Channels with equal keys make the same bytes of the same events, so that these are rendered once; None for
    bytes that are this delivery's own."""
    digest_above: int | None
    digest_size: int
    threads: bool
    """True where it says more about a task under the message that spoke of it first."""
    edits: str | None
    """None where a message stays as it was sent. Else the name under which the budget of changes is kept, which
    channels with the same name share: see `LiveChannel`."""
    coalesces: bool
    """See `ChannelPolicy.coalesces`."""
    multi_recipient: bool
    """True where one attempt may be for several recipients: see `Delivery.recipients`."""

    def render(self, request: RenderRequest) -> Body:
        """Return the bytes to send. The same notice gives the same bytes. No I/O."""

    async def send(self, delivery: Delivery) -> Outcome:
        """Try once to send `delivery.body` (never None here). Raises nothing but CancelledError."""

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        """Ask the service whether an earlier attempt of a delivery arrived; only asked where `repeat` is look-up.

        Returns Delivered for one that did, None for one that did not, Retry to ask again later, and Unknown where the
        service does not say. Raises nothing but CancelledError.
        """

    async def check(self) -> Sequence[CheckResult]:
        """Prove that it could send, without sending a message where the service allows that."""

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


# ---- the store ----


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadUpdate:
    """A channel was told of an event: what its thread about the subject shows from now on."""

    subject: str
    event_id: str
    thread: str | None = None
    """The reference of a new thread; None leaves the one that is there, if any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatistics:
    """How the tasks of one name fared. Durations are of those that completed and tell both times."""

    name: str
    running: int
    completed: int
    failed: int
    other: int
    mean: timedelta | None
    longest: timedelta | None

    @property
    def count(self) -> int:
        """All of them."""
        return self.running + self.completed + self.failed + self.other


@dataclass(frozen=True, slots=True, kw_only=True)
class PollClaim:
    """The right to poll one source until its lease ends, and what was recorded about it."""

    epoch: int
    """The fence: a poll is recorded only while the source still carries this number."""
    at: datetime
    """When it was claimed, by the time of `Transaction.now`."""
    state: SourceState
    formerly: str | None = None
    """The name under which its history was recorded until now; None where that has not changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsRecorded:
    """What became of events that were to be recorded; the rest were there already."""

    new: tuple[RoutedEvent, ...]
    refused: tuple[Event, ...]
    """Those that the database cannot hold."""


class EventCursor(NamedTuple):
    """A place in the row of events, the oldest first."""

    observed_at: datetime
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsPruned:
    """What became of the oldest events."""

    events: int
    """Deleted."""
    deliveries: int
    """Deleted with them."""
    last: EventCursor | None
    """The last event that was looked at; None when there are no more that are old enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks a look-up wants; None means any."""

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
    unacknowledged: bool = False
    """True for those alone whose newest event is one of `NEEDS_CARE` that nobody has acknowledged."""
    limit: int = 50
    offset: int = 0
    """How many of those that fit are left out first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events a look-up wants; None means any."""

    type: str | None = None
    since: datetime | None = None
    source: str | None = None
    job_id: str | None = None
    """A job id or its beginning."""
    exact: bool = False
    """True when `job_id` is whole."""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries a look-up wants; None means any."""

    state: DeliveryState | None = None
    channel: str | None = None
    event_ids: Collection[str] | None = None
    ids: Collection[str] | None = None
    """Delivery ids or their beginnings."""
    dismissed: bool | None = None
    """True for those that a person dismissed, False for all others."""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTask:
    """A task with what the store knows beyond the API."""

    task: Task
    first_seen_at: datetime
    changed_at: datetime
    """When it ended, where upstream says; else when it was last seen to change."""
    listed: bool
    events_pruned: bool = False
    """True when there were events about it that retention has deleted."""
    acknowledged: Acknowledgement | None = None
    """Who takes care of its newest event; None where nobody does."""
    muted: Mute | None = None
    """The mute of its instance that is in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The account of promise P3: every (event, channel) pair that routing asked for, by where it stands."""

    events: int
    unrouted: int
    """Events that no route wanted."""
    pairs: int
    by_state: Mapping[DeliveryState, int]
    unaccounted: tuple[tuple[str, str], ...]
    """(event id, channel) pairs that have no delivery, or more than one. Must be empty."""
    dead: tuple[Delivery, ...] = ()
    oldest_pending: datetime | None = None


class Queries(Protocol):
    """Indexed reads, for look-ups."""

    def now(self) -> datetime:
        """Return the time by which all that share this database agree on leases and waits.

        That of the PostgreSQL server; of this host, steady through steps of the system's clock, with SQLite.
        """

    def sources(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name."""

    def source_states(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name, without the counts of its tasks: they take a while."""

    def due_sources(self) -> Sequence[str]:
        """Return the sources whose time to be polled has come and that nobody holds, the most overdue first."""

    def health_facts(self) -> HealthFacts:
        """Return everything that health is judged by, and when that was asked."""

    def channels(self) -> Sequence[ChannelState]:
        """Return what is recorded about channels, by name."""

    def tasks(self, wanted: TaskFilter) -> Sequence[StoredTask]:
        """Return tasks, the most recently changed first."""

    def events(self, wanted: EventFilter) -> Sequence[RoutedEvent]:
        """Return events, the newest first."""

    def deliveries(self, wanted: DeliveryFilter) -> Sequence[Delivery]:
        """Return deliveries, the newest first."""

    def delivery_ids(self, wanted: DeliveryFilter) -> Sequence[str]:
        """Return the ids of all deliveries that fit, whatever the limit, the oldest first."""

    def attempts(self, delivery_id: str) -> Sequence[Attempt]:
        """Return the attempts of a delivery in order."""

    def running_tasks(self, source: str) -> Mapping[str, RecordedTask]:
        """Return every recorded task of the source that has not ended."""

    def ledger(self) -> Ledger:
        """Count every pair."""

    def count_tasks(self, wanted: TaskFilter) -> int:
        """Count the tasks that fit, whatever the limit and the offset."""

    def event(self, event_id: str) -> RoutedEvent | None:
        """Return one event."""

    def latest_event(self, source: str, job_id: str) -> RoutedEvent | None:
        """Return the newest event of a task."""

    def statistics(self, since: datetime) -> Sequence[TaskStatistics]:
        """Count the tasks that changed at or after this time, by name, the most frequent first."""

    def instances(self, wanted: str, limit: int) -> Sequence[tuple[str | None, str | None]]:
        """Return ids and names of instances of recorded tasks with this id or name."""

    def recent_instance_names(self, limit: int) -> Sequence[str]:
        """Return the names of the instances of this many recorded tasks, those that changed last first, each once."""

    def mutes(self, now: datetime) -> Sequence[Mute]:
        """Return the mutes that are in force, those that end first first."""

    def acknowledgement(self, event_id: str) -> Acknowledgement | None:
        """Return who acknowledged an event."""

    def acknowledgements(self, subjects: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Acknowledgement]:
        """Return who acknowledged the newest event of tasks, by source and job id."""

    def actions(self, limit: int) -> Sequence[Action]:
        """Return what people did, the newest first."""

    def is_live_message(self, ref: str) -> bool:
        """Tell whether a message is a thread's, so that it shows by itself what people do."""

    def thread_refs(self, channel: str, subjects: Collection[str]) -> Mapping[str, str]:
        """Return the references of a channel's threads by subject."""

    def direct_channels(self) -> Sequence[str]:
        """Return the names of channels to one person that have something to send."""


class Polls(Protocol):
    """Claims of sources, and what polls record about sources, tasks and credentials."""

    def claim(
        self,
        source: str,
        owner: str,
        now: datetime,
        lease: timedelta,
        *,
        poll_every: timedelta = timedelta(),
        force: bool = False,
    ) -> PollClaim | None:
        """Take the right to poll, or None while another owner holds it or, unless forced, the source is not due.

        A source whose next poll lies further ahead than `poll_every`, and than any pause after a failure, is due: a
        clock that has been set back since left that time behind.
        """

    def bind_source(
        self,
        claim: PollClaim,
        region: str,
        project_id: str,
        *,
        configured: Collection[str] | None = None,
        in_use_since: datetime | None = None,
    ) -> PollClaim:
        """Note what the source reads, and return the claim with what is recorded of that.

        A new name for what was recorded under one that is not configured any more takes over its history. A name that
        now stands for something else forgets what it read before. Raises SourceConflict, so that nothing is forgotten,
        where another replica has polled that later than `in_use_since`.

        Args:
            claim: on the source.
            region: where it reads, with `project_id`.
            project_id: what it reads.
            configured: the names of all configured sources; None where they are not known.
            in_use_since: None where there is no other replica.
        """

    def renew(self, claim: PollClaim, until: datetime) -> bool:
        """Prolong a claim; one that has passed on is left as it is. Return whether it is still ours."""

    def claim_is_current(self, claim: PollClaim) -> bool:
        """Tell whether the claim is still the latest; locks the source's row until the transaction ends."""

    def fingerprints(self, claim: PollClaim) -> Mapping[str, bytes]:
        """Return job_id to fingerprint of every recorded task of the source."""

    def unchanged_tasks(self, source: str, before: datetime) -> Mapping[str, datetime]:
        """Return the running tasks of a source that were last seen to change at or before a time, and when that was."""

    def recorded_tasks(self, source: str, job_ids: Collection[str]) -> Mapping[str, RecordedTask]:
        """Return those of the tasks that are recorded."""

    def record_tasks(self, claim: PollClaim, updates: Sequence[TaskWrite], now: datetime) -> Sequence[str]:
        """Insert or update tasks; return the ids of those that the database refused: one cannot block the rest."""

    def record_missing(self, source: str, missing: Mapping[str, int], unlisted: Collection[str]) -> None:
        """Set for how many complete polls tasks have been missing, and whether they are said to be unlisted."""

    def record(
        self, claim: PollClaim, snapshot: Snapshot, now: datetime, next_poll_at: datetime, refused: int = 0
    ) -> None:
        """Note a poll that worked and release the claim. The first complete full one is the baseline.

        `refused` is the number of rows that the database did not store.
        """

    def record_failure(self, claim: PollClaim, error: str, next_poll_at: datetime) -> None:
        """Note a poll that failed and release the claim."""

    def postpone(self, claim: PollClaim, next_poll_at: datetime) -> None:
        """Release a claim under which nothing was done, until a later time."""

    def retire_sources(self, names: Collection[str], now: datetime) -> None:
        """Note that sources are not configured any more: their tasks count as running no longer.

        The next poll of one takes that back.
        """

    def credential(self, key: str) -> CredentialState:
        """Return what is recorded about a credential; locks its row until the transaction ends."""

    def save_credential(self, key: str, state: CredentialState) -> None:
        """Record what became of a credential."""

    def announce(self, source: str, was: datetime | None, since: datetime | None) -> bool:
        """Note since when a source is said to be failing; return False when another replica has meanwhile.

        `was` is what was noted when that was decided.
        """


class Events(Protocol):
    """The events of tasks, sources and channels."""

    def record(self, routed: Sequence[RoutedEvent]) -> EventsRecorded:
        """Insert events; an id that is already there is left as it is."""

    def occurrences(self, source: str, job_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the occurrences of the recorded events of tasks, by job id."""


class Deliveries(Protocol):
    """The outbox: deliveries from their plan to their settlement."""

    def record(self, planned: Sequence[Delivery]) -> None:
        """Insert deliveries of events that are new, so that none can be there already."""

    def claim_due(
        self, channel: str, owner: str, now: datetime, lease: timedelta, limit: int, *, at_once: int | None = None
    ) -> Sequence[Delivery]:
        """Claim deliveries of a channel that are due, oldest first, at most one of each lane.

        A claim adds one to `attempt` and pushes `available_at` forward by the lease. The first `at_once` of them (None:
        all) are to be sent at once and have begun with the claim, and so has what has no body yet and is rendered for
        the first time; the others begin with `note_begun`. An earlier claim whose holder died leaves the delivery
        doubtful where it had begun; where it had not, its attempt does not count.
        """

    def withheld(self, delivery_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Return the recipients to whom older deliveries about the same subjects are still on their way, by delivery.

        Such an older one has reached others; it does not keep them waiting for what comes after it.
        """

    def mark_begun(self, claims: Collection[tuple[str, int]], *, begun: bool) -> Collection[str]:
        """Note whether claims have begun to be rendered or sent; return the ids of those that are still held.

        A claim is a delivery's id and the number of its attempt.
        """

    def save_bodies(self, bodies: Mapping[str, Body]) -> Mapping[str, Body]:
        """Store rendered bodies by delivery id; return what is to be sent: the first body that a delivery ever had.

        One that the database cannot hold is left out.
        """

    def settle(self, settlements: Sequence[Settlement], now: datetime) -> int:
        """Apply settlements that are still current, note every attempt, and return how many applied."""

    def release(self, claims: Collection[tuple[str, int]], now: datetime) -> None:
        """Undo claims of deliveries that were certainly not sent: they are due at once, and no attempt is counted.

        A claim is a delivery's id and the number of its attempt; one that is no longer the latest is left alone.
        """

    def retry_now(self, channel: str, now: datetime) -> int:
        """Make waiting deliveries of a channel due now, with a fresh schedule: it works again. Return how many."""

    def retry(self, delivery_ids: Collection[str], now: datetime) -> int:
        """Make dead or parked deliveries pending again with a fresh schedule and return how many."""

    def dismiss(self, delivery_ids: Collection[str], now: datetime, reason: str) -> int:
        """Note that people accept that these were not delivered; return how many changed.

        Dead ones stay as they are but for that. Those that wait, and that nobody is sending, become dead with `reason`.
        """

    def move(self, channel: str, to: str, now: datetime, limit: int) -> int:
        """Plan on another channel what waits on a channel, the oldest first; return how many deliveries were moved.

        The old ones are superseded. An event that the other channel has a delivery for already is not planned again.
        """

    def abandon(self, expected: Expected, before: datetime, now: datetime, limit: int) -> int:
        """Give up what has waited since before a time for channels that are not configured; return how many."""

    def supersede_progress(self, channel: str, by: Mapping[str, str]) -> Sequence[str]:
        """Let progress that waits to be told give way, where no attempt has been made; return its event ids.

        `by` has the id of the event that takes its place, by subject.
        """


class Channels(Protocol):
    """The health of channels, parking, and what was announced of them."""

    def parked(self) -> Mapping[str, ChannelState]:
        """Return the channels that are parked, by name; none of them can be unparked until the transaction ends."""

    def lock(self) -> None:
        """Let nobody else change any channel until the transaction ends: to be asked for before changing several."""

    def health(self, channel: str) -> ChannelHealth:
        """Return how a channel is; nobody else can change it until the transaction ends."""

    def save_health(self, channel: str, health: ChannelHealth) -> None:
        """Record how a channel is."""

    def unpark(self, channel: str, now: datetime) -> int:
        """Make the parked deliveries of a channel pending again, in order, and return how many."""

    def unpark_due(self, now: datetime) -> Sequence[str]:
        """Unpark every channel whose probe time has come and return their names."""

    def sync(self, digests: Mapping[str, str], now: datetime) -> Sequence[str]:
        """Note each configured channel's settings digest; unpark and return those whose settings changed."""

    def announce(self, channel: str, was: datetime | None, since: datetime | None) -> bool:
        """Do the same for a channel."""

    def announce_given_up(self, channel: str, was: datetime | None, until: datetime) -> bool:
        """Note up to when the dead deliveries of a channel are told; return False as the other two do."""

    def given_up(self, channel: str, since: datetime) -> DeadLetters | None:
        """Count the dead deliveries of a channel that died later than this and are not about a channel themselves."""


class Threads(Protocol):
    """Live messages: what each shows, and which are to be edited."""

    def update(self, channel: str, told: Sequence[ThreadUpdate], now: datetime) -> None:
        """Note new threads, and that threads are to show these events; a thread shows no older one than before."""

    def refresh(self, spared: Mapping[Event, Collection[str]], now: datetime) -> None:
        """Let the threads about the subjects of these events show them, but on the channels that are told of each.

        Those show it once they have been told.
        """

    def claim_edits(self, channel: str, now: datetime, lease: timedelta, limit: int) -> Sequence[Thread]:
        """Claim threads whose message does not look as it should, the most urgent first, until the lease ends.

        A failure comes before another end, an end before an acknowledgement, and progress last. The same message is
        claimed for mere progress at most every twenty seconds.
        """

    def mark_rendered(self, thread: Thread, now: datetime, ref: str | None = None) -> None:
        """Note that a thread's message looks as its revision asks for; `ref` is that of a new message."""

    def postpone_edit(self, thread: Thread, at: datetime) -> None:
        """Let a message that could not be changed wait."""


class People(Protocol):
    """Acknowledgements, mutes, subscriptions, and who did what."""

    def acknowledge(self, acknowledgement: Acknowledgement) -> Acknowledgement:
        """Record who acknowledged an event, unless somebody has; return who did. Threads that show it change."""

    def mute(self, mute: Mute) -> None:
        """Record a mute in place of an earlier one of the same instance. Threads about it change."""

    def unmute(self, instance: str, now: datetime) -> Mute | None:
        """End the mute of an instance and return it; None when there is none in force. Threads about it change."""

    def subscribe(self, watch: Subscription) -> bool:
        """Record a wish; return False when it was there already."""

    def subscribers(self, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return who wants to know how tasks end, by job id."""

    def pop_subscribers(self, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return who wants to know how tasks ended, by job id, and forget that they do."""

    def record_action(self, action: Action) -> None:
        """Record what a person did."""

    def record_request(self, key: str, now: datetime) -> bool:
        """Note a request that changes something; return False when it was noted within the last ten minutes."""


class Retention(Protocol):
    """Deletion of what is past retention, in batches."""

    def pruning_time(self) -> datetime | None:
        """Return the time that age is counted back from: that of the newest good poll, while a source has any.

        None while the last poll of every source failed, or where the newest good one was recorded by a clock that
        disagrees with the cloud's: nobody knows then how old anything is.
        """

    def prune_events(
        self, before: datetime, dead_before: datetime | None, after: EventCursor | None, limit: int
    ) -> EventsPruned:
        """Look at the next events that are old enough, and delete those whose accounts are all closed.

        A delivery goes with the last of its events. An event that lacks an account stays, for the audit to show.

        Args:
            before: when an event must have been seen at the latest, and each of its deliveries settled.
            dead_before: the same for dead deliveries; None keeps them.
            after: where to go on; None for the oldest.
            limit: events to look at.
        """

    def prune_tasks(self, keep: timedelta, limit: int) -> int:
        """Delete tasks that are over and that the list cannot name any more; return how many.

        Age is counted back from the last complete look at the task's source: while nobody looks, nothing grows old.
        The source notes how far it has forgotten, so that a task that is listed again all the same is no news.
        """

    def prune_sources(self, configured: Collection[str], before: datetime, limit: int) -> int:
        """Delete tasks of sources that are not configured any more and were polled last before this time.

        Return how many were deleted. With the last of its tasks a source is deleted too.
        """

    def prune_people(self, now: datetime, keep: timedelta) -> int:
        """Delete threads, acknowledgements and watches older than this that nothing needs any more, and ended mutes.

        Return how many were deleted.
        """


class Replicas(Protocol):
    """What a process records about itself, and what it releases."""

    def report(self, replica: Replica) -> None:
        """Record how a process is. A new one takes the place of others that ended long ago."""

    def release_claims(self, owner: str | None, now: datetime) -> None:
        """Give back at once every claim of an owner, or of anybody, of polls and of deliveries.

        What became of deliveries that had begun is not known, so they are doubtful.
        """

    def reset_future_deadlines(self, now: datetime) -> bool:
        """Where a poll is recorded after now, the clock was set back meanwhile: end every wait, and return True.

        For a database that follows a host's clock, when its only service starts. What is tried too early by this is
        refused once more; what is not would wait for as long as the clock was ahead.
        """

    def prove_writable(self) -> None:
        """Write something that changes nothing. Raises StoreError where the database cannot be written."""


class Transaction(Protocol):
    """One write transaction: all of it happens or none of it."""

    @property
    def queries(self) -> Queries:
        """The reads, which see what this transaction has written."""

    @property
    def polls(self) -> Polls:
        """Claims of sources, and what polls record about sources, tasks and credentials."""

    @property
    def events(self) -> Events:
        """The events of tasks, sources and channels."""

    @property
    def deliveries(self) -> Deliveries:
        """The outbox: deliveries from their plan to their settlement."""

    @property
    def channels(self) -> Channels:
        """The health of channels, parking, and what was announced of them."""

    @property
    def threads(self) -> Threads:
        """Live messages: what each shows, and which are to be edited."""

    @property
    def people(self) -> People:
        """Acknowledgements, mutes, subscriptions, and who did what."""

    @property
    def retention(self) -> Retention:
        """Deletion of what is past retention, in batches."""

    @property
    def replicas(self) -> Replicas:
        """What a process records about itself, and what it releases."""

    def now(self) -> datetime:
        """Return the time by which all that share this database agree on leases and waits."""


class DatabaseFile(Protocol):
    """The file of a database that is one, which somebody may take from under the service."""

    async def verify(self) -> None:
        """Raise StoreReplaced when its name leads to another file now, or to none. Cheap."""

    async def rescue(self) -> Path:
        """Copy what the open file holds to a new one beside it, and return that. Raises StoreError."""


class Store(Protocol):
    """The database: the only queue, the only lock and the only memory."""

    async def transact(self, fn: Callable[[Transaction], T]) -> T:
        """Run `fn` in one write transaction in a store thread. Raises StoreError."""

    async def read(self, fn: Callable[[Queries], T]) -> T:
        """Run `fn` on one consistent view, without waiting for a writer. Raises StoreError."""

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever another process has planned deliveries, until cancelled.

        A hint that saves time and nothing more: what it misses is found by looking. Where no other process can write
        (SQLite), it never calls.
        """

    async def aclose(self) -> None:
        """Release connections and locks."""
