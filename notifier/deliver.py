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
from notifier.core.errors import StoreError
from notifier.core.model import Body, Delivered, Delivery, DeliveryState, Doubt, GaveUp, Outcome, Repeat, Retry, Unknown
from notifier.core.outbox import Settlement
from notifier.ports import Channel, Clock, Notice, Store, Told, Transaction

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

LINGER = 0.02
"""Seconds that an ended attempt waits for others to be settled with."""

LOOK_EVERY = 1.0
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
    again_in: timedelta | None = None
    """When the channel's pace allows more, where it did not allow all."""


class Bodies:
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
        notice = Notice(delivery_id=delivery.id, events=delivery.events, digest=delivery.digest)
        if channel.body_key is None:
            return channel.render(notice)
        key = (channel.body_key, notice.digest, tuple(event.id for event in notice.events))
        body = self._kept.get(key) or channel.render(notice)
        self._kept[key] = body
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    begun: Collection[str]
    """Ids of those that had been claimed ahead and are sent now."""
    claimed: Sequence[Delivery]
    at_once: int
    """How many of the claimed, the first ones, are sent now."""
    again_in: timedelta | None
    closed: bool
    """False while the circuit breaker is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What a courier asks of a turn."""

    ended: Sequence[tuple[Delivery, Settlement]]
    unsent: Collection[Claim]
    ahead: Sequence[Claim]
    """What was claimed ahead, as much of it as there are free places."""
    places: int
    """How many may be sent at once, those claimed ahead with them."""
    room: int
    """How many may be claimed."""


def _take_turn(tx: Transaction, channel: Channel, owner: str, lease: timedelta, wish: _Wish) -> _Turn:
    """Settle what has ended, give back what was not sent, begin what waits, and claim as much as there is room for."""
    was = tx.health(channel.name)  # waits for whoever else takes a turn on it, so that the time is asked after it
    now = tx.now()
    if wish.ended:
        tx.settle([settlement for _, settlement in wish.ended], now)
        if channel.threads:
            tx.tell_threads(channel.name, [told for one in wish.ended for told in _told(*one)], now)
    if wish.unsent:
        tx.give_back(wish.unsent, now)
    health = pacing.after(was, [(one.sign, one.pause) for _, one in wish.ended], now, channel.pace)
    if was.open_until and not health.open_until:
        tx.hasten(channel.name, now)
    begun = tx.note_begun(wish.ahead, begun=True) if wish.ahead and not health.open_until else ()
    at_once = wish.places - len(begun)
    allowed = pacing.allowance(health, channel.pace, now, wish.room)
    claimed = tx.claim_due(channel.name, owner, now, lease, allowed.count, at_once=at_once) if allowed.count else ()
    health = pacing.spent(health, channel.pace, now, len(claimed))
    if health != was:
        tx.keep_health(channel.name, health)
    again_in = allowed.again_in if len(claimed) == allowed.count else None
    if channel.threads and claimed:
        claimed = _with_threads(claimed, tx.threads(channel.name, [_subject(delivery) for delivery in claimed]))
    if channel.several and claimed:
        withheld = tx.withheld([delivery.id for delivery in claimed])
        claimed = [replace(delivery, withheld=withheld.get(delivery.id, frozenset())) for delivery in claimed]
    return _Turn(begun=begun, claimed=claimed, at_once=at_once, again_in=again_in, closed=not health.open_until)


def _subject(delivery: Delivery) -> str:
    """Return what a thread is kept about: one task. A digest begins none, nor does what is said of ourselves."""
    return delivery.events[0].subject if not delivery.digest and delivery.events[0].task else ""


def _with_threads(claimed: Sequence[Delivery], threads: Mapping[str, str]) -> Sequence[Delivery]:
    return [replace(delivery, thread=threads.get(_subject(delivery))) for delivery in claimed]


def _told(delivery: Delivery, settlement: Settlement) -> Iterator[Told]:
    # What was given up on is shown all the same where the channel has a message to show it in.
    if settlement.state in (DeliveryState.DELIVERED, DeliveryState.DEAD):
        thread = settlement.thread if _subject(delivery) else None
        yield from (
            Told(subject=event.subject, event_id=event.id, thread=thread) for event in delivery.events if event.task
        )


class Courier:
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
        bodies: Bodies | None = None,
    ) -> None:
        """Deliver on `channel` as `owner`: a name that no other process has."""
        self.channel = channel
        self._store = store
        self._clock = clock
        self._rng = rng
        self._owner = owner
        self._rules = rules
        self._bodies = bodies or Bodies()
        self._waiting: deque[tuple[Delivery, float]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._ended: list[tuple[Delivery, Settlement]] = []
        self._unreported: list[tuple[Delivery, Settlement]] = []
        self._unsent: list[Claim] = []
        self._limits: set[asyncio.Timeout] = set()
        self._stopping = False
        self._news, self._enough = asyncio.Event(), asyncio.Event()

    def wake(self) -> None:
        """End the rest: something may be due."""
        self._news.set()
        self._enough.set()

    async def turn(self, *, claiming: bool = True) -> DeliveryReport:
        """Settle, claim and begin to send. Raises StoreError; what was to be settled is settled by the next turn."""
        self._news.clear()
        self._enough.clear()
        self._give_back_waiting(self._is_late)
        ended, self._ended = self._ended, []
        unsent, self._unsent = self._unsent, []
        claimed_at = self._clock.monotonic()
        places = self.channel.concurrency - len(self._workers)
        wish = _Wish(
            ended=ended,
            unsent=unsent,
            ahead=[_claim_of(delivery) for delivery, _ in islice(self._waiting, places)],
            places=places,
            room=self._room() if claiming else 0,
        )
        try:
            turn = await self._store.transact(
                lambda tx: _take_turn(tx, self.channel, self._owner, self._rules.lease, wish)
            )
        except StoreError:
            # The receivers have answered: a database that fails just now must not make them hear the same thing twice.
            self._ended[:0], self._unsent[:0] = ended, unsent
            raise
        self._unreported += ended
        await self._follow(turn, len(wish.ahead), claimed_at)
        settled, self._unreported = tuple(self._unreported), []
        return DeliveryReport(
            channel=self.channel.name, settled=settled, claimed=len(turn.claimed), again_in=turn.again_in
        )

    async def rest(self, report: DeliveryReport) -> None:
        """Wait until there is something to do: woken, attempts have ended, or it is time to look again."""
        look = LOOK_EVERY if report.again_in is None else min(LOOK_EVERY, report.again_in.total_seconds())
        if await set_within(self._news, look):
            await set_within(self._enough, LINGER)

    async def drain(self) -> DeliveryReport:
        """Take turns until nothing is due and nothing is on its way; report all of it. Raises StoreError.

        What only the channel's rate holds back is waited for, but no pause and no open breaker.
        """
        settled: list[tuple[Delivery, Settlement]] = []
        try:
            while True:
                report = await self._persistent_turn(self._rules.lease.total_seconds())
                settled += report.settled
                if not (report.claimed or self._workers or self._waiting or self._ended or self._unsent):
                    if report.again_in and report.again_in <= self.channel.pace.interval:
                        await self._clock.sleep(report.again_in.total_seconds())
                        continue
                    return replace(report, settled=tuple(settled))
                await self._some_work()
        finally:
            self._abandon()

    async def finish(self, grace: float, settled_within: float) -> DeliveryReport:
        """Claim no more, give what is being sent `grace` seconds, then cut it; settle that and give back the rest.

        What is cut has an unknown outcome, as if its answer had been lost. Raises StoreError when it could not be
        settled within so many seconds more.
        """
        self._stopping = True
        self._give_back_waiting()
        end = asyncio.get_running_loop().time() + grace
        for limit in self._limits:
            limit.reschedule(min(limit.when() or end, end))
        if self._workers:
            await asyncio.wait(self._workers, timeout=grace + settled_within / 2)
        self._abandon()  # a channel that does not let itself be cut
        return await self._persistent_turn(settled_within, claiming=False)

    # -- claims --

    def _room(self) -> int:
        ahead = PREFETCH if self.channel.repeat is Repeat.SAFE else 0
        return max(self.channel.concurrency * (1 + ahead) - len(self._waiting) - len(self._workers), 0)

    async def _persistent_turn(self, seconds: float, *, claiming: bool = True) -> DeliveryReport:
        """Take a turn; while something is to be settled, again and again for so many seconds."""
        give_up = self._clock.monotonic() + seconds
        while True:
            try:
                return await self.turn(claiming=claiming)
            except StoreError:
                if not self._ended or self._clock.monotonic() >= give_up:
                    raise
            await self._clock.sleep(1)

    async def _follow(self, turn: _Turn, ahead: int, claimed_at: float) -> None:
        """Send what a turn lets out, and get ready what it claimed."""
        if turn.closed:
            for delivery, since in [self._waiting.popleft() for _ in range(ahead)]:
                if delivery.id in turn.begun:  # else its lease has passed on
                    self._start(delivery, since)
        elif self._waiting:
            self._give_back_waiting()
            self.wake()
        try:
            ready = await self._with_bodies(turn.claimed, turn.at_once)
        except StoreError:
            self._unsent += map(_claim_of, turn.claimed)
            raise
        for delivery in ready[: turn.at_once]:
            self._start(delivery, claimed_at)
        self._waiting.extend((delivery, claimed_at) for delivery in ready[turn.at_once :])

    def _start(self, delivery: Delivery, claimed_at: float) -> None:
        work = self._work(delivery, claimed_at)
        self._workers.add(asyncio.create_task(work, name=f"send {self.channel.name}"))

    def _give_back_waiting(self, which: Callable[[float], bool] = lambda _: True) -> None:
        self._unsent += [_claim_of(delivery) for delivery, since in self._waiting if which(since)]
        self._waiting = deque(item for item in self._waiting if not which(item[1]))

    def _is_late(self, claimed_at: float) -> bool:
        """Tell whether too much of a lease has passed for a message to begin."""
        lease, held = self._rules.lease.total_seconds(), self._clock.monotonic() - claimed_at
        return held > max(lease * SENT_WITHIN - self.channel.deadline, lease * BEGUN_WITHIN)

    def _abandon(self) -> None:
        for worker in self._workers:
            worker.cancel()

    # -- bodies --

    async def _with_bodies(self, claimed: Sequence[Delivery], at_once: int) -> Sequence[Delivery]:
        """Render what has no body and store that; what is not sent at once has not begun from then on."""
        fresh = [d for d in claimed if d.body is None and not outbox.worn_out(d, self._rules.schedule)]
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
                tx.note_begun(unbegun, begun=False)
            return tx.save_bodies(bodies)

        return await self._store.transact(store)

    # -- sending --

    async def _work(self, delivery: Delivery, claimed_at: float) -> None:
        """Send one message, unless too much of its lease has passed."""
        try:
            if self._is_late(claimed_at):
                self._unsent.append(_claim_of(delivery))
            else:
                held = self._clock.monotonic() - claimed_at
                settlement = await self._attempt(delivery, self._rules.lease.total_seconds() * SENT_WITHIN - held)
                self._ended.append((delivery, settlement))  # not in one line: a turn meanwhile takes the list away
        finally:
            # Before anybody is woken: a turn counts the places that are taken, and this one is free.
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._news.set()
        worth_it = len(self._ended) >= min(BATCH, self.channel.concurrency / 2)
        if worth_it or len(self._waiting) < self.channel.concurrency:
            self._enough.set()

    async def _some_work(self) -> None:
        if self._workers:
            ended, _ = await asyncio.wait(self._workers, return_when=asyncio.FIRST_COMPLETED)
            for worker in ended:
                worker.result()

    async def _attempt(self, delivery: Delivery, within: float) -> Settlement:
        started = self._clock.now()
        outcome, doubt = await self._outcome(delivery, within)
        return outbox.settle(
            delivery,
            outcome,
            started_at=started,
            finished_at=self._clock.now(),
            schedule=self._rules.schedule,
            chance=self._rng.random(),
            doubt=doubt,
        )

    async def _outcome(self, delivery: Delivery, within: float) -> tuple[Outcome, Doubt | None]:
        if outbox.worn_out(delivery, self._rules.schedule):
            return GaveUp("no attempt ever reported back: sending it may be what stops the program"), None
        if delivery.body is None:
            return GaveUp(f"the {self.channel.kind} channel cannot put this event into words"), None
        doubt: Doubt | None = None
        try:
            async with self._limited(within):
                if recipients.in_doubt(delivery):
                    known, doubt = await self._resolve(delivery)
                    if known is not None:
                        return known, doubt
                    if doubt is not Doubt.HELD:
                        delivery = recipients.sent_again(delivery)
                return await self.channel.send(delivery), doubt
        except TimeoutError:
            end = "the program was stopped" if self._stopping else "the claim's lease ends"
            return Unknown(f"no answer before {end}"), doubt
        except Exception as error:  # noqa: BLE001 - as with rendering; whether it was sent, nobody knows
            return Unknown(f"the {self.channel.kind} channel failed: {type(error).__name__}"), doubt

    @asynccontextmanager
    async def _limited(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError after so many seconds, or when a stop comes before."""
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    async def _resolve(self, delivery: Delivery) -> tuple[Outcome | None, Doubt | None]:
        """Find out what became of an earlier attempt; an outcome of None says to send it again."""
        channel = self.channel
        if channel.repeat is Repeat.SAFE:
            return None, Doubt.REPEATED
        found = await channel.look_up(delivery) if channel.repeat is Repeat.LOOK_UP else Unknown("no way to ask")
        match found:
            case None:
                return None, Doubt.ABSENT
            case Delivered():
                return found, Doubt.ARRIVED
            case Retry():
                return found, None
        return (_held(delivery, found.reason), Doubt.HELD) if channel.on_unknown == "hold" else (None, Doubt.RISKED)


def _held(delivery: Delivery, why: str) -> GaveUp | None:
    """Leave it to a person to send again what may have arrived; None where some recipients certainly lack it."""
    if recipients.some_certainly_wait(delivery):
        return None
    last = f"{delivery.reason}; " if delivery.recipients and delivery.reason else ""
    return GaveUp(f"{last}it may have arrived ({why}); `notifier retry` sends it again")


def _claim_of(delivery: Delivery) -> Claim:
    return delivery.id, delivery.attempt


def _begin_only(claims: Collection[Claim], begun: Collection[Claim], tx: Transaction) -> None:
    tx.note_begun([claim for claim in claims if claim not in begun], begun=False)
    tx.note_begun(begun, begun=True)


def _first_try(delivery: Delivery) -> bool:
    return delivery.attempt == delivery.earlier_attempts + 1


async def deliver_due(
    channel: Channel, store: Store, clock: Clock, rng: random.Random, *, owner: str, rules: DeliveryRules
) -> DeliveryReport:
    """Deliver all that is due on a channel now. Raises StoreError."""
    return await Courier(channel, store, clock, rng, owner=owner, rules=rules).drain()


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event at most so long, and tell whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await event.wait()
    return False
