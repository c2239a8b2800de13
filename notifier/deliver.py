"""Send what is due on one channel, and record what becomes of it.

A `DeliveryWorker` works in steps. A step is one transaction: it settles the attempts that have finished since the last
one and claims what may go out now, as far as the channel's pace, its pauses and its circuit breaker allow.

1. Claim: each delivery gets the number of its attempt, and its lease begins. A worker that has nothing to do can claim
   in the transaction that plans the deliveries: see `DeliveryPlanner`.
2. Render what has no body yet, and store the bodies before the first byte goes out: a repeat is byte-identical. This is
   not part of the claim: a message that kills the process while it is rendered must have its attempt counted.
3. Begin: what is sent at once begins with its claim. What is queued is set back once its body is stored, and begins
   with the step that lets it out: a kill costs it no attempt.
4. Send, several subjects at once. No transaction is open meanwhile, and the next step does not wait for it.
5. Settle in a later step, each guarded by its attempt number.

A kill between 4 and 5 is the one that repeats a message: with the same id and the same bytes.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Generic, Protocol, TypeAlias, TypeVar

from notifier.clock import wait_until_set
from notifier.core import dispatch, outbox, pacing, recipients
from notifier.core.delivery import Body, Delivery, Outcome, ResendPolicy, Resolution, ThreadUpdate, Unknown
from notifier.core.errors import StoreError
from notifier.core.outbox import Settlement
from notifier.core.pacing import ChannelHealth, Pace
from notifier.core.people import NOTIFIER, Action, EventSubscription, Verb
from notifier.core.tickets import TicketLink, operation_of
from notifier.ports import Channel, Clock, DatabaseTime, KnownOrigins, RenderRequest, Store


class DeliveryQueue(Protocol):
    """Claims and settlements of deliveries."""

    def claim_due(
        self,
        channel: str,
        owner: str,
        now: datetime,
        lease: timedelta,
        limit: int,
        *,
        at_once: int | None = None,
        digest_size: int | None = None,
    ) -> Sequence[Delivery]:
        """Claim deliveries of a channel that are due: failures first, then the oldest; at most one of each subject.

        What a rule held and holds no longer is released before, in digests of `digest_size` events; None makes none.
        """

    def withheld(self, delivery_ids: Collection[str]) -> Mapping[str, frozenset[str]]:
        """Return the recipients who still lack an older delivery about the same subjects, by delivery."""

    def mark_begun(self, claims: Collection[tuple[str, int]], *, begun: bool) -> Collection[str]:
        """Record whether claims have begun to be rendered or sent; return the ids of those that are still held."""

    def save_bodies(self, bodies: Mapping[str, Body], queued: Collection[tuple[str, int]] = ()) -> Mapping[str, Body]:
        """Store bodies by delivery id; return the bodies to send: the first that each delivery ever had.

        The claims that are `queued` have not begun any more.
        """

    def settle(self, settlements: Sequence[Settlement], now: datetime) -> int:
        """Apply settlements that are still current, record every attempt, and return how many applied."""

    def release(self, claims: Collection[tuple[str, int]], now: datetime) -> None:
        """Undo claims of deliveries that were certainly not sent: they are due at once, and no attempt is counted."""

    def retry_now(self, channel: str, now: datetime) -> int:
        """Make the channel's waiting deliveries due now, with new schedules, as its breaker closes; return how many."""


class HealthRecords(Protocol):
    """The health of channels."""

    def health(self, channel: str) -> ChannelHealth:
        """Return the health of a channel. Nobody else can change it until the transaction ends."""

    def save_health(self, channel: str, health: ChannelHealth) -> None:
        """Record the health of a channel."""


class TicketRecords(Protocol):
    """The tickets of operations, on channels that keep them."""

    def claim(self, claimed: Sequence[Delivery], now: datetime) -> Sequence[Delivery]:
        """Return claimed deliveries with their tickets, and record that those of failures may be opened from now on."""

    def current(self, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        """Return the settlements that change a ticket and are those of the latest attempts, before they are applied."""

    def record(self, settlements: Sequence[Settlement], now: datetime) -> Collection[str]:
        """Record what attempts did with tickets.

        Return the ids of the deliveries whose tickets other messages show from now on.
        """

    def links(self, operations: Collection[str], *, held: bool = False) -> Mapping[str, Sequence[TicketLink]]:
        """Return what messages show of the latest tickets of operations, by operation.

        Nobody changes those that are `held` until the transaction ends.
        """


class SubscriptionRecords(Protocol):
    """The subscriptions to events."""

    def event_subscriptions(self) -> Sequence[EventSubscription]:
        """Return the subscriptions of all people and channels of the chat to events, the oldest first."""

    def end_subscriptions(self, ids: Collection[str]) -> Sequence[EventSubscription]:
        """Delete subscriptions to events; return those that were there, the oldest first."""

    def record_action(self, action: Action) -> None:
        """Record what somebody did."""


class ThreadRecords(Protocol):
    """What the messages of tasks show."""

    def touch_subjects(self, subjects: Collection[str], now: datetime) -> None:
        """Let the messages about these subjects change, on all channels: something else about them is to be shown."""

    def update(self, channel: str, updates: Sequence[ThreadUpdate], now: datetime) -> None:
        """Record new threads and the events that threads show. A thread never goes back to an older event."""


class ThreadReads(Protocol):
    """The references of messages."""

    def thread_refs(self, channel: str, subjects: Collection[str]) -> Mapping[str, str]:
        """Return the references of a channel's threads by subject."""

    def loud_threads(self, channel: str, subjects: Collection[str]) -> Collection[str]:
        """Return those of the subjects of which a loud message of the channel reported something bad that lasts."""


class SteppedChannel(Protocol):
    """What a step needs to know of the channel it is taken on; see `ports.Channel`."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def pace(self) -> Pace:
        """When messages may be sent on it."""

    @property
    def threads(self) -> bool:
        """Whether it has threads."""

    @property
    def tickets(self) -> bool:
        """Whether it keeps tickets."""

    @property
    def multi_recipient(self) -> bool:
        """Whether one attempt may have several recipients."""

    @property
    def digest_above(self) -> int | None:
        """Number of events above which they become digests; None where they never do."""

    @property
    def digest_size(self) -> int:
        """Events that a digest names at most."""


class DeliveryTx(DatabaseTime, Protocol):
    """What the delivery of messages needs of a transaction."""

    @property
    def deliveries(self) -> DeliveryQueue:
        """Claims and settlements of deliveries."""

    @property
    def channels(self) -> HealthRecords:
        """The health of channels."""

    @property
    def tickets(self) -> TicketRecords:
        """The tickets of operations."""

    @property
    def origins(self) -> KnownOrigins:
        """Who started tasks."""

    @property
    def people(self) -> SubscriptionRecords:
        """The subscriptions to events."""

    @property
    def threads(self) -> ThreadRecords:
        """What the messages of tasks show."""

    @property
    def queries(self) -> ThreadReads:
        """The references of messages."""


class PlannedDeliveries(DeliveryQueue, Protocol):
    """Claims and settlements, beside deliveries that are planned in the same transaction."""

    @property
    def planned_channels(self) -> Collection[str]:
        """The channels for which this transaction has planned deliveries that wait to be sent."""


class PlanningTx(DeliveryTx, Protocol):
    """What a transaction needs in which deliveries are planned and claimed."""

    @property
    def deliveries(self) -> PlannedDeliveries:
        """Claims and settlements, beside the planned deliveries."""

    @property
    def after_commit(self) -> list[Callable[[], None]]:
        """Steps that the store takes once the transaction has committed."""


T = TypeVar("T")
PlanningTxT = TypeVar("PlanningTxT", bound=PlanningTx)

SETTLE_DEBOUNCE = 0.02
"""Time a finished attempt may wait so that several are settled in one transaction, in seconds."""

IDLE_INTERVAL = 1.0
"""Time between two queries for due deliveries when nothing wakes the worker, in seconds: others may plan some."""

Claim: TypeAlias = "tuple[str, int]"
"""A delivery's id and the number of its attempt."""

Settled: TypeAlias = "tuple[Delivery, Settlement]"
"""A delivery as it was claimed, and what becomes of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """How deliveries are claimed and repeated."""

    schedule: tuple[timedelta, ...]
    """The waits after the first, second … attempt. After the last one a delivery is dead."""
    lease: timedelta
    """How long a claim holds. It is longer than any channel's deadline."""
    tickets: bool = False
    """Whether any channel keeps tickets."""
    origins: bool = False
    """Whether it is searched for who started tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What one step on one channel did."""

    channel: str
    settled: tuple[Settled, ...] = ()
    claimed: int = 0
    retry_in: timedelta | None = None
    """When the channel's pace allows more, where it did not allow all."""


class RenderCache:
    """The latest bodies that channels with an equal `body_key` share: one event for ten receivers is rendered once."""

    def __init__(self, size: int = 1000) -> None:
        self._bodies: OrderedDict[Hashable, Body] = OrderedDict()
        self._size = size
        self._sharing: dict[Hashable, list[str]] = {}

    def renderer(self, channel: Channel) -> Callable[[Delivery], Body | None]:
        """Return a function that renders the deliveries of a channel. Where the channel fails, it returns None."""
        alike: list[str] = [] if channel.body_key is None else self._sharing.setdefault(channel.body_key, [])
        if channel.name not in alike:
            alike.append(channel.name)
        return partial(self._render, channel, alike)

    def _render(self, channel: Channel, alike: list[str], delivery: Delivery) -> Body | None:
        with suppress(Exception):  # a failure must cost that message only
            request = RenderRequest.of(delivery)
            return channel.render(request) if len(alike) == 1 else self._shared(channel, id(alike), request)
        return None

    def _shared(self, channel: Channel, group: int, request: RenderRequest) -> Body:
        events = tuple(event.id for event in request.events)
        key = (group, request.digest, events, request.routing, request.storm, request.opens_storm, request.tickets)
        body = self._bodies.get(key) or channel.render(request)
        self._bodies[key] = body
        if len(self._bodies) > self._size:
            self._bodies.popitem(last=False)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepRequest:
    """What a worker wants of a step."""

    finished: Sequence[Settled]
    released: Collection[Claim]
    queued: Sequence[Claim]
    """The oldest of the queue, as many as there are free slots."""
    free_slots: int
    """How many may be sent at once, queued ones included."""
    demand: int
    """How many may be claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    begun: Collection[str]
    """Ids of the queued deliveries that are sent now."""
    claimed: Sequence[Delivery]
    at_once: int
    """How many of the claimed, the first ones, are sent now."""
    retry_in: timedelta | None
    closed: bool
    """False while the circuit breaker is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reservation:
    """Free slots of a worker that takes no step until the transaction has ended in which it may claim."""

    request: _StepRequest
    claimed_at: float
    ended: asyncio.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class _JoinedClaim:
    """What was claimed in the transaction that planned it."""

    step: _Step
    claimed_at: float


def _take_step(
    tx: DeliveryTx, channel: SteppedChannel, owner: str, rules: DeliveryRules, request: _StepRequest
) -> _Step:
    before = tx.channels.health(channel.name)
    now = tx.now()  # read last: the line above waits for a step of another process on this channel
    plan = dispatch.plan_step(before, [one for _, one in request.finished], channel.pace, now, request.demand)
    changing: Sequence[Settlement] = ()
    if request.finished:
        settlements = [settlement for _, settlement in request.finished]
        if channel.tickets:
            changing = tx.tickets.current(settlements)
        tx.deliveries.settle(settlements, now)
        _end_subscriptions(tx, channel.name, settlements, now)
        if channel.threads:
            outdated = _outdated(tx, request.finished, rules)
            updates = [update for one in request.finished for update in dispatch.thread_updates(*one)]
            tx.threads.update(channel.name, updates, now)
            if outdated:
                tx.threads.touch_subjects(outdated, now)
    if request.released:
        tx.deliveries.release(request.released, now)
    if plan.breaker_closes:
        tx.deliveries.retry_now(channel.name, now)
    begun = tx.deliveries.mark_begun(request.queued, begun=True) if request.queued and plan.closed else ()
    at_once, most = request.free_slots - len(begun), plan.allowed.count
    claimed = _claim(tx, channel, owner, rules.lease, now, most, at_once) if most else ()
    health = pacing.charge(plan.health, channel.pace, now, len(claimed))
    if health != before:
        tx.channels.save_health(channel.name, health)
    claimed = _with_context(tx, channel, claimed)
    # Tickets after deliveries, and threads last: in the order in which a poll locks the same rows.
    ticketed = tx.tickets.record(changing, now) if changing else ()
    claimed = _with_newest(tx, channel, claimed, rules, now)
    if ticketed:
        shown = {event.subject for one, _ in request.finished if one.id in ticketed for event in one.events}
        tx.threads.touch_subjects(shown, now)
    return _Step(
        begun=begun,
        claimed=claimed,
        at_once=at_once,
        retry_in=plan.allowed.retry_in if len(claimed) == most else None,
        closed=not health.open_until,
    )


def _claim(  # noqa: PLR0917 - of a step
    tx: DeliveryTx, channel: SteppedChannel, owner: str, lease: timedelta, now: datetime, most: int, at_once: int
) -> Sequence[Delivery]:
    size = None if channel.tickets or channel.digest_above is None else channel.digest_size
    return tx.deliveries.claim_due(channel.name, owner, now, lease, most, at_once=at_once, digest_size=size)


def _end_subscriptions(tx: DeliveryTx, channel: str, settlements: Sequence[Settlement], now: datetime) -> None:
    """End the subscriptions of a receiver that takes no message any more, and record that nobody asked for it."""
    gone = next((one for one in settlements if one.receiver_gone), None)
    if gone is None:
        return
    theirs = [one.id for one in tx.people.event_subscriptions() if one.channel == channel]
    for one in tx.people.end_subscriptions(theirs):
        detail = f"{channel}: {gone.reason}"
        tx.people.record_action(
            Action(
                at=now,
                by=NOTIFIER.id,
                name=NOTIFIER.name,
                verb=Verb.UNSUBSCRIBE,
                target=one.matchers,
                detail=detail,
            )
        )


def deliver_at_once(
    tx: DeliveryTx, channel: SteppedChannel, answer: Callable[[Delivery], Outcome], *, owner: str, rules: DeliveryRules
) -> Sequence[Settled]:
    """Deliver all that is due on a channel within one transaction, where sending takes no time: in virtual time.

    `answer` stands in for sending. The steps are those of a `DeliveryWorker`.
    """
    delivered: list[Settled] = []
    finished: Sequence[Settled] = ()
    while True:
        most = dispatch.MAX_CLAIMED
        request = _StepRequest(finished=finished, released=(), queued=(), free_slots=most, demand=most)
        step = _take_step(tx, channel, owner, rules, request)
        delivered += finished
        if not step.claimed:
            return delivered
        now = tx.now()
        finished = [(one, _settled_at(one, answer(one), now, rules)) for one in step.claimed]


def _settled_at(delivery: Delivery, outcome: Outcome, now: datetime, rules: DeliveryRules) -> Settlement:
    return outbox.settle(delivery, outcome, started_at=now, finished_at=now, schedule=rules.schedule, chance=0)


def _with_context(tx: DeliveryTx, channel: SteppedChannel, claimed: Sequence[Delivery]) -> Sequence[Delivery]:
    """Add the threads that messages belong to, and the recipients that must not get them now."""
    if channel.threads and claimed:
        threads = tx.queries.thread_refs(channel.name, [dispatch.thread_subject(delivery) for delivery in claimed])
        ending = [delivery.subject for delivery in claimed if delivery.subject in threads and _ends_well(delivery)]
        loud = tx.queries.loud_threads(channel.name, ending) if ending else ()
        claimed = [
            dispatch.opening_storm(
                replace(
                    delivery,
                    thread=threads.get(dispatch.thread_subject(delivery)),
                    ends_trouble=delivery.subject in loud and _ends_well(delivery),
                )
            )
            for delivery in claimed
        ]
    if channel.multi_recipient and claimed:
        withheld = tx.deliveries.withheld([delivery.id for delivery in claimed])
        claimed = [replace(delivery, withheld=withheld.get(delivery.id, frozenset())) for delivery in claimed]
    return claimed


def _outdated(tx: DeliveryTx, finished: Sequence[Settled], rules: DeliveryRules) -> Collection[str]:
    """Return the subjects of new live messages about which more has become known while they were on their way."""
    tickets = _with_newer_tickets(tx, finished) if rules.tickets else ()
    return {*tickets, *(_with_newer_origins(tx, finished) if rules.origins else ())}


def _with_newest(
    tx: DeliveryTx, channel: SteppedChannel, claimed: Sequence[Delivery], rules: DeliveryRules, now: datetime
) -> Sequence[Delivery]:
    """Add what is known beyond the events by now."""
    if rules.tickets and claimed:
        claimed = _with_tickets(tx, channel, claimed, now)
    return _with_origins(tx, claimed) if rules.origins and claimed else claimed


def _with_newer_tickets(tx: DeliveryTx, finished: Sequence[Settled]) -> Collection[str]:
    """Return the subjects of new live messages whose tickets were opened while the messages were on their way."""
    begun = {
        one.events[0].subject: (operation, one.tickets)
        for one, settlement in finished
        if settlement.thread and not one.digest and (operation := operation_of(one.events[0]))
    }
    links = tx.tickets.links({operation for operation, _ in begun.values()}, held=True) if begun else {}
    return [subject for subject, (operation, shown) in begun.items() if tuple(links.get(operation, ())) != shown]


def _with_tickets(
    tx: DeliveryTx, channel: SteppedChannel, claimed: Sequence[Delivery], now: datetime
) -> Sequence[Delivery]:
    """Add the tickets of operations: to change them, or to show them."""
    if channel.tickets:
        return tx.tickets.claim(claimed, now)
    operations = {one.id: operation_of(one.events[0]) for one in claimed if not one.digest}
    links = tx.tickets.links({operation for operation in operations.values() if operation})
    if not links:
        return claimed
    return [replace(one, tickets=tuple(links.get(operations.get(one.id) or "", ()))) for one in claimed]


def _with_origins(tx: DeliveryTx, claimed: Sequence[Delivery]) -> Sequence[Delivery]:
    """Add who started tasks to events that were detected before that was known, and that are not rendered yet."""
    fresh = [one for one in claimed if one.body is None]
    unexplained = dispatch.unexplained(event for one in fresh for event in one.events)
    known = tx.origins.started_by(unexplained) if unexplained else {}
    if not known:
        return claimed
    return [
        replace(one, events=tuple(dispatch.explained(event, known) for event in one.events))
        if one.body is None
        else one
        for one in claimed
    ]


def _with_newer_origins(tx: DeliveryTx, finished: Sequence[Settled]) -> set[str]:
    """Return the subjects of new live messages of which it became known on their way who started the task."""
    begun = [one.events[0] for one, settlement in finished if settlement.thread and not one.digest]
    unexplained = dispatch.unexplained(begun)
    known = tx.origins.started_by(unexplained) if unexplained else {}
    return {event.subject for event in begun if (event.source, event.job_id) in known and event.started_by is None}


def _ends_well(delivery: Delivery) -> bool:
    return not delivery.digest and dispatch.ends_well(delivery.events[0])


class DeliveryWorker:
    """Delivers on one channel. It shares nothing with the workers of other channels but the database.

    Its driver calls `step` and `wait` in a loop and `stop` at the end, or `drain` once.
    """

    def __init__(
        self,
        channel: Channel,
        store: Store[DeliveryTx, object],
        clock: Clock,
        rng: random.Random,
        *,
        owner: str,
        rules: DeliveryRules,
        cache: RenderCache | None = None,
    ) -> None:
        """Deliver on `channel` as `owner`, a name that no other process has."""
        self.channel = channel
        self._store = store
        self._clock = clock
        self._rng = rng
        self._owner = owner
        self._rules = rules
        self._render = (cache or RenderCache()).renderer(channel)
        self._start_within = dispatch.start_within(rules.lease, channel.deadline)
        self._answer_within = rules.lease.total_seconds() * dispatch.SENT_WITHIN
        self._queued: deque[tuple[Delivery, float]] = deque()
        """Claimed ahead, with the time of the claim: the oldest first."""
        self._in_flight: dict[Claim, asyncio.Task[None]] = {}
        self._finished: list[Settled] = []
        self._committed: list[Settled] = []
        """Settled, and not reported yet."""
        self._released: list[Claim] = []
        self._cut = False
        """Whether the attempts in flight are cancelled because the program stops."""
        self._wakeup = asyncio.Event()
        self._work_due = False
        """Whether a step has been asked for since the last one."""
        self._waiting = False
        self._reservation: _Reservation | None = None
        self._joined: _JoinedClaim | None = None
        self._debounce: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """End the wait: something may be due."""
        self._work_due = True
        self._wakeup.set()

    async def step(self, *, claiming: bool = True) -> DeliveryReport:
        """Settle, claim and begin to send. Raises StoreError; the next step settles what this one could not.

        A claim that joined another transaction is such a step: what it claimed is begun, and nothing else is done.
        """
        if self._reservation:
            await self._reservation.ended.wait()
        joined, self._joined = self._joined, None
        if joined and claiming:
            return await self._begin_joined(joined)
        if joined:
            self._released += map(_claim_of, joined.step.claimed)
        return await self._step(claiming=claiming)

    async def _step(self, *, claiming: bool) -> DeliveryReport:
        self._wakeup.clear()
        self._work_due = False
        if self._debounce:
            self._debounce.cancel()
            self._debounce = None
        self._release_late()
        committing, self._finished = self._finished, []
        releasing, self._released = self._released, []
        claimed_at = self._clock.monotonic()
        free_slots = self._free_slots
        request = _StepRequest(
            finished=committing,
            released=releasing,
            queued=[_claim_of(delivery) for delivery, _ in islice(self._queued, free_slots)],
            free_slots=free_slots,
            demand=self._demand() if claiming else 0,
        )
        try:
            step = await self._store.transact(
                lambda tx: _take_step(tx, self.channel, self._owner, self._rules, request), short=True
            )
        except StoreError:
            # The receivers have answered: a failure of the database must not send them the same message again.
            self._finished[:0], self._released[:0] = committing, releasing
            raise
        self._committed += committing
        await self._dispatch(step, len(request.queued), claimed_at)
        settled, self._committed = tuple(self._committed), []
        return DeliveryReport(
            channel=self.channel.name, settled=settled, claimed=len(step.claimed), retry_in=step.retry_in
        )

    async def wait(self, report: DeliveryReport) -> None:
        """Wait until the worker is woken, attempts have finished, or the next query is due."""
        if self._wakeup.is_set():
            await asyncio.sleep(0)  # what has just begun writes its first byte before the next transaction
            return
        idle = IDLE_INTERVAL if report.retry_in is None else min(IDLE_INTERVAL, report.retry_in.total_seconds())
        self._waiting = True
        try:
            await wait_until_set(self._wakeup, idle)
        finally:
            self._waiting = False

    async def drain(self) -> DeliveryReport:
        """Take steps until nothing is due and nothing is in flight; report all of it. Raises StoreError.

        It waits for the channel's rate, but for no pause and no open breaker.
        """
        settled: list[Settled] = []
        try:
            while True:
                report = await self._step_persistently(self._rules.lease.total_seconds())
                settled += report.settled
                if not (report.claimed or self._in_flight or self._queued or self._finished or self._released):
                    if report.retry_in and report.retry_in <= self.channel.pace.interval:
                        await self._clock.sleep(report.retry_in.total_seconds())
                        continue
                    return replace(report, settled=tuple(settled))
                if self._in_flight:
                    finished, _ = await asyncio.wait(self._in_flight.values(), return_when=asyncio.FIRST_COMPLETED)
                    for task in finished:
                        task.result()
        finally:
            self._cancel_in_flight()

    async def stop(self, grace: float, settle_timeout: float) -> DeliveryReport:
        """Claim no more, give what is in flight `grace` seconds, then cancel it; settle that and release the rest.

        A cancelled attempt has an unknown outcome, as if its answer had been lost. Raises StoreError when it could not
        be settled within another `settle_timeout` seconds.
        """
        self._release_queued()
        cut = asyncio.get_running_loop().call_later(grace, self._cut_in_flight)
        if self._in_flight:
            await asyncio.wait(self._in_flight.values(), timeout=grace + settle_timeout / 2)
        cut.cancel()
        self._cancel_in_flight()  # for a channel that swallows its cancellation
        return await self._step_persistently(settle_timeout, claiming=False)

    # -- claims that join another transaction --

    def reserve(self) -> bool:
        """Reserve the free slots for a transaction that plans deliveries. False while there is something else to do.

        Then the worker takes no step until `end_reservation`.
        """
        # What has finished is settled before others begin: a kill repeats no more than `concurrency` messages.
        busy = not self._waiting or self._reservation or self._joined or self._queued or self._finished
        if busy or self._free_slots <= 0:
            return False
        free_slots, demand = self._free_slots, self._demand()
        request = _StepRequest(finished=(), released=(), queued=(), free_slots=free_slots, demand=demand)
        self._reservation = _Reservation(request=request, claimed_at=self._clock.monotonic(), ended=asyncio.Event())
        return True

    def claim_reserved(self, tx: DeliveryTx) -> _Step:
        """Claim for the reserved slots, within the transaction that has planned the deliveries."""
        assert self._reservation is not None  # noqa: S101 - the caller has made one
        return _take_step(tx, self.channel, self._owner, self._rules, self._reservation.request)

    def end_reservation(self, claimed: _Step | None) -> None:
        """Take steps again; the first one begins what was claimed, where that is committed."""
        assert self._reservation is not None  # noqa: S101 - as above
        reservation, self._reservation = self._reservation, None
        if claimed is not None:
            self._joined = _JoinedClaim(step=claimed, claimed_at=reservation.claimed_at)
            self._wakeup.set()
        reservation.ended.set()

    async def _begin_joined(self, joined: _JoinedClaim) -> DeliveryReport:
        self._wakeup.clear()
        if self._work_due:
            self._wakeup.set()
        await self._dispatch(joined.step, 0, joined.claimed_at)
        claimed, retry_in = len(joined.step.claimed), joined.step.retry_in
        return DeliveryReport(channel=self.channel.name, claimed=claimed, retry_in=retry_in)

    # -- claims --

    @property
    def _free_slots(self) -> int:
        return self.channel.concurrency - len(self._in_flight)

    def _demand(self) -> int:
        busy = len(self._queued) + len(self._in_flight)
        return dispatch.demand(self.channel.concurrency, self.channel.resend_policy, busy)

    async def _step_persistently(self, seconds: float, *, claiming: bool = True) -> DeliveryReport:
        """Take a step; repeat a failed one for this many seconds while there are finished attempts to settle."""
        give_up = self._clock.monotonic() + seconds
        while True:
            try:
                return await self.step(claiming=claiming)
            except StoreError:
                if not self._finished or self._clock.monotonic() >= give_up:
                    raise
            await self._clock.sleep(1)

    async def _dispatch(self, step: _Step, queued: int, claimed_at: float) -> None:
        """Send what a step lets out, and prepare what it claimed."""
        loop = asyncio.get_running_loop()  # asked once: it is a call of the system in some versions of Python
        if step.closed:
            for delivery, since in [self._queued.popleft() for _ in range(queued)]:
                if delivery.id in step.begun:  # otherwise another process has claimed it
                    self._start(loop, delivery, since)
        elif self._queued:
            self._release_queued()
            self.wake()
        try:
            await self._set_bodies(step.claimed, step.at_once)
        except StoreError:
            self._released += map(_claim_of, step.claimed)
            raise
        for delivery in step.claimed[: step.at_once]:
            self._start(loop, delivery, claimed_at)
        self._queued.extend((delivery, claimed_at) for delivery in step.claimed[step.at_once :])

    def _start(self, loop: asyncio.AbstractEventLoop, delivery: Delivery, claimed_at: float) -> None:
        self._in_flight[_claim_of(delivery)] = loop.create_task(self._send(delivery, claimed_at))

    def _release_queued(self) -> None:
        self._released += [_claim_of(delivery) for delivery, _ in self._queued]
        self._queued.clear()

    def _release_late(self) -> None:
        """Release what was queued for so long that it may not begin any more."""
        latest = self._clock.monotonic() - self._start_within
        while self._queued and self._queued[0][1] < latest:
            self._released.append(_claim_of(self._queued.popleft()[0]))

    def _cut_in_flight(self) -> None:
        self._cut = True
        self._cancel_in_flight()

    def _cancel_in_flight(self) -> None:
        for task in self._in_flight.values():
            task.cancel()

    # -- bodies --

    async def _set_bodies(self, claimed: Sequence[Delivery], at_once: int) -> None:
        """Render what has no body and store that; what is not sent at once is marked as not begun."""
        fresh = [d for d in claimed if d.body is None and not dispatch.attempts_exhausted(d, self._rules.schedule)]
        first = [delivery for delivery in fresh if dispatch.is_first_attempt(delivery)]
        suspects = [delivery for delivery in fresh if not dispatch.is_first_attempt(delivery)]
        claims = [_claim_of(delivery) for delivery in claimed]
        bodies: dict[str, Body] = {}
        if suspects:
            for suspect in suspects:
                # Each alone, while no other claim has begun: if it kills us, it uses up no attempts but its own.
                await self._store.transact(partial(_begin_only, claims, {_claim_of(suspect)}), short=True)
                bodies |= await self._store_bodies([suspect], ())
            begun = {*claims[:at_once], *map(_claim_of, first)}
            await self._store.transact(partial(_begin_only, claims, begun), short=True)
        if first:
            bodies |= await self._store_bodies(first, set(claims[at_once:]))
        for delivery in fresh:
            delivery.body = bodies.get(delivery.id)

    async def _store_bodies(self, fresh: Sequence[Delivery], later: Collection[Claim]) -> Mapping[str, Body]:
        rendered = {delivery.id: self._render(delivery) for delivery in fresh}
        bodies = {id_: body for id_, body in rendered.items() if body is not None}
        queued = [claim for claim in map(_claim_of, fresh) if claim in later]
        return await self._store.transact(lambda tx: tx.deliveries.save_bodies(bodies, queued), short=True)

    # -- sending --

    async def _send(self, delivery: Delivery, claimed_at: float) -> None:
        """Send one message, unless too much of its lease has passed."""
        held = self._clock.monotonic() - claimed_at
        try:
            if held > self._start_within:
                self._released.append(_claim_of(delivery))
            else:
                started_at = self._clock.now()
                outcome, resolution = await self._outcome(delivery, self._answer_within - held)
                settlement = outbox.settle(
                    delivery,
                    outcome,
                    started_at=started_at,
                    finished_at=self._clock.now(),
                    schedule=self._rules.schedule,
                    chance=self._rng.random(),
                    resolution=resolution,
                )
                self._finished.append((delivery, settlement))
        finally:
            # Before the worker is woken: its step counts the free slots, and this is one.
            del self._in_flight[_claim_of(delivery)]
        if dispatch.settles_at_once(len(self._finished), len(self._queued), self.channel.concurrency):
            self.wake()
        elif self._debounce is None:
            self._debounce = asyncio.get_running_loop().call_later(SETTLE_DEBOUNCE, self.wake)

    async def _outcome(self, delivery: Delivery, within: float) -> tuple[Outcome, Resolution | None]:
        """Send one message, which must be answered within this many seconds."""
        if refused := dispatch.refuse(delivery, self._rules.schedule, self.channel.kind):
            return refused, None
        resolution: Resolution | None = None
        try:
            if recipients.may_have_arrived(delivery):
                async with asyncio.timeout(within):
                    known, resolution = await self._resolve(delivery)
                    if resolution is not Resolution.HELD:
                        delivery = recipients.with_unknown_waiting(delivery)
                    outcome = await self.channel.send(delivery) if known is None else known
            elif self.channel.keeps_deadline and self.channel.deadline <= within:
                outcome = await self.channel.send(delivery)
            else:
                async with asyncio.timeout(within):
                    outcome = await self.channel.send(delivery)
        except TimeoutError:
            outcome = Unknown("no answer before the claim's lease ends")
        except asyncio.CancelledError:
            if not self._cut:
                raise
            outcome = Unknown("no answer before the program was stopped")
        except Exception as error:  # noqa: BLE001 - as with rendering; whether it was sent, nobody knows
            outcome = Unknown(f"the {self.channel.kind} channel failed: {type(error).__name__}")
        return outcome, resolution

    async def _resolve(self, delivery: Delivery) -> tuple[Outcome | None, Resolution | None]:
        """Find out what became of an earlier attempt; an outcome of None means that it is sent again."""
        found: Outcome | None = Unknown("no way to ask")
        if self.channel.resend_policy is ResendPolicy.IDEMPOTENT:
            return None, Resolution.REPEATED
        if self.channel.resend_policy is ResendPolicy.RECONCILABLE:
            found = await self.channel.find_sent(delivery)
        return dispatch.resolve(delivery, found, self.channel.on_unknown)


class DeliveryPlanner(Generic[PlanningTxT]):
    """Runs transactions that plan deliveries, and gets what they planned on its way.

    A worker that is idle claims in the same transaction: that saves a commit before its message. Any other is woken.
    """

    def __init__(
        self,
        store: Store[PlanningTxT, object],
        workers: Sequence[DeliveryWorker],
        *,
        joining: bool,
        planned: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `planned` after each transaction that has planned deliveries.

        `joining` is whether workers claim in them. On PostgreSQL they do not: the row of a channel would be locked
        after those of deliveries, which the step of another process locks the other way round; locked before them,
        every step on that channel would wait for the rest of a poll.
        """
        self._store = store
        self._workers = {worker.channel.name: worker for worker in workers}
        self._joining = joining
        self._planned = planned

    async def transact(self, fn: Callable[[PlanningTxT], T], *, short: bool = False) -> T:
        """Run `fn` in one write transaction, as `Store.transact` does. Raises StoreError.

        A claim that fails undoes nothing: then `fn` runs once more, and nothing is claimed with it.
        """
        joining = self._workers.items() if self._joining else ()
        planning = _Planning(fn, {name: worker for name, worker in joining if worker.reserve()})
        try:
            try:
                return await self._store.transact(planning.run, short=short)
            except Exception:
                if not planning.claim_failed:
                    raise
            planning.end()
            return await self._store.transact(planning.run, short=short)
        finally:
            planning.end()
            for name in self._workers.keys() & planning.unclaimed:
                self._workers[name].wake()
            if planning.planned:
                self._planned()


class _Planning(Generic[PlanningTxT, T]):
    """One transaction that plans deliveries, and the workers that may claim in it."""

    def __init__(self, fn: Callable[[PlanningTxT], T], joining: Mapping[str, DeliveryWorker]) -> None:
        self._fn = fn
        self._joining = joining
        self.claim_failed = False
        self.planned: Collection[str] = ()
        """The channels that deliveries were planned for, once the transaction has committed."""
        self._claims: Mapping[str, _Step] = {}

    @property
    def unclaimed(self) -> Collection[str]:
        return set(self.planned) - self._claims.keys()

    def run(self, tx: PlanningTxT) -> T:
        """Plan, and claim. What was claimed counts only after the commit: the store may run this twice."""
        self.claim_failed = False
        result = self._fn(tx)
        planned = tx.deliveries.planned_channels
        self.claim_failed = True
        claims = {name: self._joining[name].claim_reserved(tx) for name in sorted(self._joining.keys() & planned)}
        self.claim_failed = False
        tx.after_commit.append(partial(self._committed, planned, claims))
        return result

    def _committed(self, planned: Collection[str], claims: Mapping[str, _Step]) -> None:
        self.planned, self._claims = planned, claims

    def end(self) -> None:
        """Let the workers go on."""
        joining, self._joining = self._joining, {}
        for name, worker in joining.items():
            worker.end_reservation(self._claims.get(name))


def _claim_of(delivery: Delivery) -> Claim:
    return delivery.id, delivery.attempt


def _begin_only(claims: Collection[Claim], begun: Collection[Claim], tx: DeliveryTx) -> None:
    tx.deliveries.mark_begun([claim for claim in claims if claim not in begun], begun=False)
    tx.deliveries.mark_begun(begun, begun=True)
