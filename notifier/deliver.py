"""Send what is due on one channel, and record what became of it.

A `Courier` works in turns. One turn is one transaction: it settles the attempts that have ended since the last one and
claims what may go out now, as far as the channel's pace, its pauses and its circuit breaker allow.

1. Claim: each delivery gets the number of its attempt, and its lease begins.
2. Render what has no body yet, and store the bodies before the first byte goes out: a repeat is byte-identical. Not
   with the claim: a message that kills whoever renders it must have its attempt counted.
3. Begin: an attempt counts from the turn that lets it out, so that a kill costs nothing to what only waited.
4. Send, several subjects at once. No transaction is open meanwhile, and the next turn does not wait for it.
5. Settle with a later turn, each guarded by its attempt number.

A kill between 4 and 5 is the one that repeats a message: with the same id and the same bytes.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import TypeAlias, cast

from notifier.core import outbox, pacing, recipients
from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    ResendPolicy,
    Resolution,
    Retry,
    Unknown,
)
from notifier.core.errors import StoreError
from notifier.core.outbox import Settlement
from notifier.ports import Channel, Clock, RenderRequest, Store, ThreadUpdate, Transaction

SENT_WITHIN = 0.8
"""Share of a lease: what is not sent by then is given up as unknown."""

BEGUN_WITHIN = 0.2
"""Share of a lease in which a message may begin in any case; later only where the channel's deadline still fits in."""

PREFETCH = 4
"""Messages claimed ahead for each one in flight, where a repeat does no harm: a kill while they are rendered leaves all
of them in doubt."""

BATCH = 128
"""Ended attempts that are worth a transaction at once, or half of what may be on its way; fewer wait for LINGER while
there is enough to send."""

SETTLE_DEBOUNCE = 0.02
"""Seconds that an ended attempt waits for others to be settled with."""

IDLE_INTERVAL = 1.0
"""Seconds between two looks for due deliveries when nothing wakes the courier: another process may plan some."""


Claim: TypeAlias = "tuple[str, int]"
"""A delivery's id and the number of its attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRules:
    """How deliveries are claimed and repeated."""

    schedule: tuple[timedelta, ...]
    """The waits after the first, second … attempt; then a delivery is dead."""
    lease: timedelta
    """How long a claim holds; longer than any channel's deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What one turn on one channel did. The shell logs and counts it."""

    channel: str
    settled: tuple[tuple[Delivery, Settlement], ...] = ()
    claimed: int = 0
    retry_in: timedelta | None = None
    """When the channel's pace allows more, where it did not allow all."""


class RenderCache:
    """The latest bodies that channels with an equal `body_key` share: one event for ten receivers is rendered once."""

    def __init__(self, size: int = 1000) -> None:
        """Remember `size` bodies at most."""
        self._kept: OrderedDict[Hashable, Body] = OrderedDict()
        self._size = size

    def render(self, channel: Channel, delivery: Delivery) -> Body | None:
        """Return the body of a delivery; None where the channel fails, which must cost that message only."""
        with suppress(Exception):
            return self._render(channel, delivery)
        return None

    def _render(self, channel: Channel, delivery: Delivery) -> Body:
        request = RenderRequest(delivery_id=delivery.id, events=delivery.events, digest=delivery.digest)
        if channel.body_key is None:
            return channel.render(request)
        key = (channel.body_key, request.digest, tuple(event.id for event in request.events))
        body = self._kept.get(key) or channel.render(request)
        self._kept[key] = body
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    begun: Collection[str]
    """Ids of those that had been claimed ahead and are sent now."""
    claimed: Sequence[Delivery]
    at_once: int
    """How many of the claimed, the first ones, are sent now."""
    retry_in: timedelta | None
    closed: bool
    """False while the circuit breaker is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _StepRequest:
    """What a courier asks of a turn."""

    finished: Sequence[tuple[Delivery, Settlement]]
    released: Collection[Claim]
    ahead: Sequence[Claim]
    """What was claimed ahead, as much of it as there are free places."""
    free_slots: int
    """How many may be sent at once, those claimed ahead with them."""
    demand: int
    """How many may be claimed."""


def _take_step(tx: Transaction, channel: Channel, owner: str, lease: timedelta, request: _StepRequest) -> _Step:
    """Settle what has ended, give back what was not sent, begin what waits, and claim as much as there is room for."""
    was = tx.channels.health(
        channel.name
    )  # waits for whoever else takes a turn on it, so that the time is asked after it
    now = tx.now()
    if request.finished:
        tx.deliveries.settle([settlement for _, settlement in request.finished], now)
        if channel.threads:
            tx.threads.update(channel.name, [told for one in request.finished for told in _told(*one)], now)
    if request.released:
        tx.deliveries.release(request.released, now)
    health = pacing.after(was, [(one.signal, one.pause) for _, one in request.finished], now, channel.pace)
    if was.open_until and not health.open_until:
        tx.deliveries.retry_now(channel.name, now)
    begun = tx.deliveries.mark_begun(request.ahead, begun=True) if request.ahead and not health.open_until else ()
    at_once = request.free_slots - len(begun)
    allowed = pacing.allowance(health, channel.pace, now, request.demand)
    claimed = (
        tx.deliveries.claim_due(channel.name, owner, now, lease, allowed.count, at_once=at_once)
        if allowed.count
        else ()
    )
    health = pacing.charge(health, channel.pace, now, len(claimed))
    if health != was:
        tx.channels.save_health(channel.name, health)
    retry_in = allowed.retry_in if len(claimed) == allowed.count else None
    if channel.threads and claimed:
        claimed = _with_threads(
            claimed, tx.queries.thread_refs(channel.name, [_subject(delivery) for delivery in claimed])
        )
    if channel.multi_recipient and claimed:
        withheld = tx.deliveries.withheld([delivery.id for delivery in claimed])
        claimed = [replace(delivery, withheld=withheld.get(delivery.id, frozenset())) for delivery in claimed]
    return _Step(begun=begun, claimed=claimed, at_once=at_once, retry_in=retry_in, closed=not health.open_until)


def _subject(delivery: Delivery) -> str:
    """Return what a thread is kept about: one task. A digest begins none, nor does what is said of ourselves."""
    return delivery.events[0].subject if not delivery.digest and delivery.events[0].task else ""


def _with_threads(claimed: Sequence[Delivery], threads: Mapping[str, str]) -> Sequence[Delivery]:
    return [replace(delivery, thread=threads.get(_subject(delivery))) for delivery in claimed]


def _told(delivery: Delivery, settlement: Settlement) -> Iterator[ThreadUpdate]:
    # What was given up on is shown all the same where the channel has a message to show it in.
    if settlement.state in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        thread = settlement.thread if _subject(delivery) else None
        yield from (
            ThreadUpdate(subject=event.subject, event_id=event.id, thread=thread)
            for event in delivery.events
            if event.task
        )


class DeliveryWorker:
    """Delivers on one channel. It shares nothing with the couriers of others but the database.

    Whoever drives it calls `turn` and `rest` for ever and `finish` at the end, or `drain` once.
    """

    def __init__(
        self,
        channel: Channel,
        store: Store,
        clock: Clock,
        rng: random.Random,
        *,
        owner: str,
        rules: DeliveryRules,
        bodies: RenderCache | None = None,
    ) -> None:
        """Deliver on `channel` as `owner`: a name that no other process has."""
        self.channel = channel
        self._store = store
        self._clock = clock
        self._rng = rng
        self._owner = owner
        self._rules = rules
        self._bodies = bodies or RenderCache()
        self._queued: deque[tuple[Delivery, float]] = deque()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._finished: list[tuple[Delivery, Settlement]] = []
        self._unreported: list[tuple[Delivery, Settlement]] = []
        self._released: list[Claim] = []
        self._deadlines: set[asyncio.Timeout] = set()
        self._stopping = False
        self._wakeup, self._batch_ready = asyncio.Event(), asyncio.Event()

    def wake(self) -> None:
        """End the rest: something may be due."""
        self._wakeup.set()
        self._batch_ready.set()

    async def step(self, *, claiming: bool = True) -> DeliveryReport:
        """Settle, claim and begin to send. Raises StoreError; what was to be settled is settled by the next turn."""
        self._wakeup.clear()
        self._batch_ready.clear()
        self._release_queued(self._is_late)
        finished, self._finished = self._finished, []
        released, self._released = self._released, []
        claimed_at = self._clock.monotonic()
        free_slots = self.channel.concurrency - len(self._in_flight)
        request = _StepRequest(
            finished=finished,
            released=released,
            ahead=[_claim_of(delivery) for delivery, _ in islice(self._queued, free_slots)],
            free_slots=free_slots,
            demand=self._demand() if claiming else 0,
        )
        try:
            step = await self._store.transact(
                lambda tx: _take_step(tx, self.channel, self._owner, self._rules.lease, request)
            )
        except StoreError:
            # The receivers have answered: a database that fails just now must not make them hear the same thing twice.
            self._finished[:0], self._released[:0] = finished, released
            raise
        self._unreported += finished
        await self._dispatch(step, len(request.ahead), claimed_at)
        settled, self._unreported = tuple(self._unreported), []
        return DeliveryReport(
            channel=self.channel.name, settled=settled, claimed=len(step.claimed), retry_in=step.retry_in
        )

    async def wait(self, report: DeliveryReport) -> None:
        """Wait until there is something to do: woken, attempts have ended, or it is time to look again."""
        look = IDLE_INTERVAL if report.retry_in is None else min(IDLE_INTERVAL, report.retry_in.total_seconds())
        if await wait_until_set(self._wakeup, look):
            await wait_until_set(self._batch_ready, SETTLE_DEBOUNCE)

    async def drain(self) -> DeliveryReport:
        """Take turns until nothing is due and nothing is on its way; report all of it. Raises StoreError.

        What only the channel's rate holds back is waited for, but no pause and no open breaker.
        """
        settled: list[tuple[Delivery, Settlement]] = []
        try:
            while True:
                report = await self._step_with_retries(self._rules.lease.total_seconds())
                settled += report.settled
                if not (report.claimed or self._in_flight or self._queued or self._finished or self._released):
                    if report.retry_in and report.retry_in <= self.channel.pace.interval:
                        await self._clock.sleep(report.retry_in.total_seconds())
                        continue
                    return replace(report, settled=tuple(settled))
                await self._wait_for_one()
        finally:
            self._cancel_all()

    async def stop(self, grace: float, settled_within: float) -> DeliveryReport:
        """Claim no more, give what is being sent `grace` seconds, then cut it; settle that and give back the rest.

        What is cut has an unknown outcome, as if its answer had been lost. Raises StoreError when it could not be
        settled within so many seconds more.
        """
        self._stopping = True
        self._release_queued()
        end = asyncio.get_running_loop().time() + grace
        for limit in self._deadlines:
            limit.reschedule(min(limit.when() or end, end))
        if self._in_flight:
            await asyncio.wait(self._in_flight, timeout=grace + settled_within / 2)
        self._cancel_all()  # a channel that does not let itself be cut
        return await self._step_with_retries(settled_within, claiming=False)

    # -- claims --

    def _demand(self) -> int:
        ahead = PREFETCH if self.channel.resend_policy is ResendPolicy.IDEMPOTENT else 0
        return max(self.channel.concurrency * (1 + ahead) - len(self._queued) - len(self._in_flight), 0)

    async def _step_with_retries(self, seconds: float, *, claiming: bool = True) -> DeliveryReport:
        """Take a turn; while something is to be settled, again and again for so many seconds."""
        give_up = self._clock.monotonic() + seconds
        while True:
            try:
                return await self.step(claiming=claiming)
            except StoreError:
                if not self._finished or self._clock.monotonic() >= give_up:
                    raise
            await self._clock.sleep(1)

    async def _dispatch(self, step: _Step, ahead: int, claimed_at: float) -> None:
        """Send what a turn lets out, and get ready what it claimed."""
        if step.closed:
            for delivery, since in [self._queued.popleft() for _ in range(ahead)]:
                if delivery.id in step.begun:  # else its lease has passed on
                    self._start(delivery, since)
        elif self._queued:
            self._release_queued()
            self.wake()
        try:
            ready = await self._render(step.claimed, step.at_once)
        except StoreError:
            self._released += map(_claim_of, step.claimed)
            raise
        for delivery in ready[: step.at_once]:
            self._start(delivery, claimed_at)
        self._queued.extend((delivery, claimed_at) for delivery in ready[step.at_once :])

    def _start(self, delivery: Delivery, claimed_at: float) -> None:
        work = self._send(delivery, claimed_at)
        self._in_flight.add(asyncio.create_task(work, name=f"send {self.channel.name}"))

    def _release_queued(self, which: Callable[[float], bool] = lambda _: True) -> None:
        self._released += [_claim_of(delivery) for delivery, since in self._queued if which(since)]
        self._queued = deque(item for item in self._queued if not which(item[1]))

    def _is_late(self, claimed_at: float) -> bool:
        """Tell whether too much of a lease has passed for a message to begin."""
        lease, held = self._rules.lease.total_seconds(), self._clock.monotonic() - claimed_at
        return held > max(lease * SENT_WITHIN - self.channel.deadline, lease * BEGUN_WITHIN)

    def _cancel_all(self) -> None:
        for task in self._in_flight:
            task.cancel()

    # -- bodies --

    async def _render(self, claimed: Sequence[Delivery], at_once: int) -> Sequence[Delivery]:
        """Render what has no body and store that; what is not sent at once has not begun from then on."""
        fresh = [d for d in claimed if d.body is None and not outbox.attempts_exhausted(d, self._rules.schedule)]
        first, suspects = [d for d in fresh if _first_try(d)], [d for d in fresh if not _first_try(d)]
        claims = [_claim_of(delivery) for delivery in claimed]
        kept: dict[str, Body] = {}
        if suspects:
            for suspect in suspects:
                # Each alone, while no other claim has begun: if it kills us, it uses up no attempts but its own.
                await self._store.transact(partial(_begin_only, claims, {_claim_of(suspect)}))
                kept |= await self._store_bodies([suspect], ())
            await self._store.transact(partial(_begin_only, claims, {*claims[:at_once], *map(_claim_of, first)}))
        if first:
            kept |= await self._store_bodies(first, claims[at_once:])
        return [replace(delivery, body=kept[delivery.id]) if delivery.id in kept else delivery for delivery in claimed]

    async def _store_bodies(self, fresh: Sequence[Delivery], later: Collection[Claim]) -> Mapping[str, Body]:
        rendered = {delivery.id: self._bodies.render(self.channel, delivery) for delivery in fresh}
        bodies = {id_: body for id_, body in rendered.items() if body is not None}
        unbegun = [claim for claim in map(_claim_of, fresh) if claim in later]

        def store(tx: Transaction) -> Mapping[str, Body]:
            if unbegun:
                tx.deliveries.mark_begun(unbegun, begun=False)
            return tx.deliveries.save_bodies(bodies)

        return await self._store.transact(store)

    # -- sending --

    async def _send(self, delivery: Delivery, claimed_at: float) -> None:
        """Send one message, unless too much of its lease has passed."""
        try:
            if self._is_late(claimed_at):
                self._released.append(_claim_of(delivery))
            else:
                held = self._clock.monotonic() - claimed_at
                settlement = await self._attempt(delivery, self._rules.lease.total_seconds() * SENT_WITHIN - held)
                self._finished.append((delivery, settlement))  # not in one line: a turn meanwhile takes the list away
        finally:
            # Before anybody is woken: a turn counts the places that are taken, and this one is free.
            self._in_flight.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._wakeup.set()
        worth_it = len(self._finished) >= min(BATCH, self.channel.concurrency / 2)
        if worth_it or len(self._queued) < self.channel.concurrency:
            self._batch_ready.set()

    async def _wait_for_one(self) -> None:
        if self._in_flight:
            finished, _ = await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                task.result()

    async def _attempt(self, delivery: Delivery, within: float) -> Settlement:
        started = self._clock.now()
        outcome, resolution = await self._outcome(delivery, within)
        return outbox.settle(
            delivery,
            outcome,
            started_at=started,
            finished_at=self._clock.now(),
            schedule=self._rules.schedule,
            chance=self._rng.random(),
            resolution=resolution,
        )

    async def _outcome(self, delivery: Delivery, within: float) -> tuple[Outcome, Resolution | None]:
        if outbox.attempts_exhausted(delivery, self._rules.schedule):
            return GaveUp("no attempt ever reported back: sending it may be what stops the program"), None
        if delivery.body is None:
            return GaveUp(f"the {self.channel.kind} channel cannot put this event into words"), None
        resolution: Resolution | None = None
        try:
            async with self._limited(within):
                if recipients.may_have_arrived(delivery):
                    known, resolution = await self._resolve(delivery)
                    if known is not None:
                        return known, resolution
                    if resolution is not Resolution.HELD:
                        delivery = recipients.with_unknown_waiting(delivery)
                return await self.channel.send(delivery), resolution
        except TimeoutError:
            end = "the program was stopped" if self._stopping else "the claim's lease ends"
            return Unknown(f"no answer before {end}"), resolution
        except Exception as error:  # noqa: BLE001 - as with rendering; whether it was sent, nobody knows
            return Unknown(f"the {self.channel.kind} channel failed: {type(error).__name__}"), resolution

    @asynccontextmanager
    async def _limited(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError after so many seconds, or when a stop comes before."""
        async with asyncio.timeout(seconds) as limit:
            self._deadlines.add(limit)
            try:
                yield
            finally:
                self._deadlines.discard(limit)

    async def _resolve(self, delivery: Delivery) -> tuple[Outcome | None, Resolution | None]:
        """Find out what became of an earlier attempt; an outcome of None says to send it again."""
        channel = self.channel
        if channel.resend_policy is ResendPolicy.IDEMPOTENT:
            return None, Resolution.REPEATED
        found = (
            await channel.find_sent(delivery)
            if channel.resend_policy is ResendPolicy.RECONCILABLE
            else Unknown("no way to ask")
        )
        match found:
            case None:
                return None, Resolution.ABSENT
            case Delivered():
                return found, Resolution.ARRIVED
            case Retry():
                return found, None
        return (
            (_held(delivery, found.reason), Resolution.HELD)
            if channel.on_unknown == "hold"
            else (None, Resolution.RISKED)
        )


def _held(delivery: Delivery, why: str) -> GaveUp | None:
    """Leave it to a person to send again what may have arrived; None where some recipients certainly lack it."""
    if recipients.anyone_waits(delivery):
        return None
    last = f"{delivery.reason}; " if delivery.recipients and delivery.reason else ""
    return GaveUp(f"{last}it may have arrived ({why}); `notifier retry` sends it again")


def _claim_of(delivery: Delivery) -> Claim:
    return delivery.id, delivery.attempt


def _begin_only(claims: Collection[Claim], begun: Collection[Claim], tx: Transaction) -> None:
    tx.deliveries.mark_begun([claim for claim in claims if claim not in begun], begun=False)
    tx.deliveries.mark_begun(begun, begun=True)


def _first_try(delivery: Delivery) -> bool:
    return delivery.attempt == delivery.earlier_attempts + 1


async def deliver_due(
    channel: Channel, store: Store, clock: Clock, rng: random.Random, *, owner: str, rules: DeliveryRules
) -> DeliveryReport:
    """Deliver all that is due on a channel now. Raises StoreError."""
    return await DeliveryWorker(channel, store, clock, rng, owner=owner, rules=rules).drain()


async def wait_until_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event at most so long, and tell whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
