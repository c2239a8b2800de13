"""What one round of deliveries does, on either database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import pytest
from factories import make_delivery, make_event, make_events, make_task
from fakes import FakeChannel, FakeClock

from notifier.core.errors import StoreError
from notifier.core.model import Delivered, Delivery, DeliveryState, Event, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.outbox import RoutedEvent
from notifier.deliver import DeliveryReport, DeliveryRules, deliver_due
from notifier.ports import DeliveryFilter, Notice, Transaction
from notifier.store.engine import SqlStore

T = TypeVar("T")

RULES = DeliveryRules(schedule=(timedelta(seconds=5), timedelta(minutes=5)), lease=timedelta(seconds=60))


async def put(store: SqlStore, clock: FakeClock, *events: Event, channel: str = "dba") -> list[Delivery]:
    deliveries = [
        make_delivery(event, channel=channel, attempt=0, available_at=clock.now(), created_at=clock.now())
        for event in events
    ]

    def record(tx: Transaction) -> None:
        tx.record_events([RoutedEvent(event=event, routes=("all",), channels=(channel,)) for event in events])
        tx.record_deliveries(deliveries)

    await store.transact(record)
    return deliveries


async def deliver(store: SqlStore, channel: FakeChannel, clock: FakeClock) -> DeliveryReport:
    return await deliver_due(channel, store, clock, random.Random(1), owner="me", rules=RULES)


async def only(store: SqlStore) -> Delivery:
    (found,) = await store.read(lambda q: q.deliveries(DeliveryFilter()))
    return found


async def test_a_due_delivery_is_sent_and_accounted_for(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    report = await deliver(store, FakeChannel(), clock)
    found = await only(store)
    assert [settlement.state for _, settlement in report.settled] == [DeliveryState.DELIVERED]
    assert (found.state, found.ref, found.settled_at) == (DeliveryState.DELIVERED, "ref", clock.now())
    assert (await deliver(store, FakeChannel(), clock)).settled == ()


async def test_a_repeat_has_the_same_id_and_the_same_bytes(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()
    answers: list[Outcome] = [Retry("HTTP 503"), Unknown("no answer"), Delivered()]
    channel.answer = lambda _: answers.pop(0)
    for _ in range(3):
        await deliver(store, channel, clock)
        clock.advance(timedelta(minutes=10))
    assert len({(delivery.id, delivery.body) for delivery in channel.sent}) == 1
    assert [delivery.attempt for delivery in channel.sent] == [1, 2, 3]
    assert (channel.rendered, (await only(store)).state) == (1, DeliveryState.DELIVERED)


async def test_the_body_is_stored_before_it_is_sent(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()

    async def killed(delivery: Delivery) -> Outcome:
        raise asyncio.CancelledError(delivery.id)

    channel.send = killed  # type: ignore[method-assign]  # the process dies here
    with pytest.raises(asyncio.CancelledError):
        await deliver(store, channel, clock)
    assert (await only(store)).body is not None


async def test_a_killed_sender_costs_one_lease_and_nothing_else(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    await store.transact(lambda tx: tx.claim_due("dba", "killed", clock.now(), RULES.lease, 1))
    channel = FakeChannel()
    await deliver(store, channel, clock)
    assert channel.sent == []
    clock.advance(RULES.lease)
    await deliver(store, channel, clock)
    assert [delivery.attempt for delivery in channel.sent] == [2]


async def test_a_used_up_schedule_ends_in_the_dead_letters(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()
    channel.answer = lambda _: Retry("HTTP 503")
    for _ in range(5):
        await deliver(store, channel, clock)
        clock.advance(timedelta(hours=1))
    found = await only(store)
    assert (len(channel.sent), found.state) == (3, DeliveryState.DEAD)
    assert found.reason == "gave up after 3 attempts, last: HTTP 503"


async def test_retry_after_is_honoured(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()
    channel.answer = lambda _: Retry("HTTP 429", timedelta(minutes=30))
    await deliver(store, channel, clock)
    assert (await only(store)).available_at == clock.now() + timedelta(minutes=30)
    clock.advance(timedelta(minutes=29))
    await deliver(store, channel, clock)
    assert len(channel.sent) == 1


async def test_order_is_kept_within_a_subject_and_nothing_waits_for_another(store: SqlStore, clock: FakeClock) -> None:
    started, failed = make_event(make_task("a", status="running")), make_event(make_task("a"))
    other = make_event(make_task("b"))
    await put(store, clock, started, failed, other)
    channel = FakeChannel(concurrency=8)
    channel.answer = lambda delivery: Retry("HTTP 503") if delivery.events[0].id == started.id else Delivered()
    await deliver(store, channel, clock)
    await deliver(store, channel, clock)
    assert [delivery.events[0].id for delivery in channel.sent] == [started.id, other.id]
    channel.answer = lambda _: Delivered()
    clock.advance(timedelta(minutes=1))
    await deliver(store, channel, clock)
    await deliver(store, channel, clock)
    assert [delivery.events[0].id for delivery in channel.sent][2:] == [started.id, failed.id]


async def test_a_broken_channel_parks_all_its_deliveries(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(3))
    channel = FakeChannel()
    channel.answer = lambda _: Parked("wrong token", timedelta(minutes=5))
    await deliver(store, channel, clock)
    assert (await deliver(store, channel, clock)).settled == ()
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PARKED)))
    assert len(found) == 3
    clock.advance(timedelta(minutes=5))
    await store.transact(lambda tx: tx.unpark_due(clock.now()))
    channel.answer = lambda _: Delivered()
    for _ in range(3):
        await deliver(store, channel, clock)
    assert [d.events[0].job_id for d in channel.sent] == ["job-00000", "job-00000", "job-00001", "job-00002"]


async def test_what_is_given_up_on_can_be_sent_again_by_hand(store: SqlStore, clock: FakeClock) -> None:
    (delivery,) = await put(store, clock, make_event())
    channel = FakeChannel()
    channel.answer = lambda _: GaveUp("HTTP 400")
    await deliver(store, channel, clock)
    assert (await only(store)).state is DeliveryState.DEAD
    await store.transact(lambda tx: tx.retry([delivery.id], clock.now()))
    channel.answer = lambda _: Delivered()
    await deliver(store, channel, clock)
    assert len({(sent.id, sent.body) for sent in channel.sent}) == 1
    assert (await only(store)).state is DeliveryState.DELIVERED


class Clumsy(FakeChannel):
    """A channel from elsewhere, with faults."""

    def render(self, notice: Notice) -> object:  # type: ignore[override]  # it fails before it returns
        raise ZeroDivisionError(notice.delivery_id)


async def test_a_channel_that_cannot_render_an_event_costs_that_message_only(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    await deliver(store, Clumsy(), clock)
    found = await only(store)
    assert (found.state, found.reason) == (
        DeliveryState.DEAD,
        "the fake channel cannot put this event into words",
    )


async def test_a_channel_that_crashes_while_sending_is_an_unknown_outcome(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()

    def crash(_: Delivery) -> Outcome:
        raise ZeroDivisionError

    channel.answer = crash
    await deliver(store, channel, clock)
    assert (await only(store)).reason == "outcome unknown: the fake channel failed: ZeroDivisionError"


async def test_two_replicas_never_send_the_same_delivery(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(40))
    channels = [FakeChannel(concurrency=7), FakeChannel(concurrency=7)]

    await asyncio.gather(
        *(
            deliver_due(channel, store, clock, random.Random(1), owner=str(n), rules=RULES)
            for n, channel in enumerate(channels)
        )
    )
    sent = [delivery.id for channel in channels for delivery in channel.sent]
    assert len(sent) == len(set(sent)) == 40


async def test_every_delivery_ends_in_exactly_one_account(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(20))
    channel = FakeChannel(concurrency=4)
    answers: Sequence[Outcome] = (Delivered(), GaveUp("no"), Retry("later"), Unknown("?"))
    channel.answer = lambda delivery: answers[int(delivery.events[0].job_id[-2:]) % 4]
    await deliver(store, channel, clock)
    ledger = await store.read(lambda q: q.ledger())
    assert (ledger.pairs, sum(ledger.by_state.values()), ledger.unaccounted) == (20, 20, ())
    assert ledger.by_state[DeliveryState.DELIVERED] == ledger.by_state[DeliveryState.DEAD] == 5


class BrokenStore:
    """A store whose database fails for a while at settling."""

    def __init__(self, store: SqlStore, failures: int) -> None:
        self.store = store
        self.failures = failures
        self.read, self.listen, self.aclose = store.read, store.listen, store.aclose

    async def transact(self, fn: Callable[[Transaction], T]) -> T:
        def run(tx: Transaction) -> T:
            watched = cast("Transaction", _Failing(tx, self))
            return fn(watched)

        return await self.store.transact(run)


class _Failing:
    def __init__(self, tx: Transaction, broken: BrokenStore) -> None:
        self._tx = tx
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        if name == "settle" and self._broken.failures:
            self._broken.failures -= 1
            raise StoreError("the disk is full")
        return getattr(self._tx, name)


async def test_an_acknowledged_message_is_not_repeated_because_the_database_failed_just_then(
    store: SqlStore, clock: FakeClock
) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()
    broken = BrokenStore(store, failures=5)
    await deliver_due(channel, broken, clock, random.Random(1), owner="me", rules=RULES)
    clock.advance(RULES.lease)
    await deliver(store, channel, clock)
    assert (len(channel.sent), (await only(store)).state) == (1, DeliveryState.DELIVERED)


async def test_a_database_that_stays_broken_leaves_the_message_to_the_next_claim(
    store: SqlStore, clock: FakeClock
) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()
    broken = BrokenStore(store, failures=1000)
    with pytest.raises(StoreError, match="the disk is full"):
        await deliver_due(channel, broken, clock, random.Random(1), owner="me", rules=RULES)
    clock.advance(RULES.lease)
    await deliver(store, channel, clock)
    assert len({(sent.id, sent.body) for sent in channel.sent}) == 1
    assert (await only(store)).state is DeliveryState.DELIVERED


async def test_a_channel_that_never_answers_is_given_up_on_before_another_may_claim(
    store: SqlStore, clock: FakeClock
) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()

    async def hang(_: Delivery) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    channel.send = hang  # type: ignore[method-assign, assignment]  # it hangs
    rules = replace(RULES, lease=timedelta(milliseconds=5))
    await deliver_due(channel, store, clock, random.Random(1), owner="me", rules=rules)
    assert (await only(store)).reason == "outcome unknown: no answer before the claim's lease ends"


@pytest.mark.parametrize("outcome", [Delivered("\ud83d"), Retry("a\x00b"), GaveUp("x" * 100_000)])
async def test_what_a_receiver_says_never_undoes_the_account_of_another(
    store: SqlStore, clock: FakeClock, outcome: Outcome
) -> None:
    await put(store, clock, *make_events(2))
    channel = FakeChannel(concurrency=2)
    channel.answer = lambda delivery: outcome if delivery.events[0].job_id == "job-00000" else Delivered()
    await deliver(store, channel, clock)
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.DELIVERED)))
    assert "job-00001" in {delivery.events[0].job_id for delivery in found}
