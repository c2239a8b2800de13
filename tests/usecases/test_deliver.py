"""Deliveries from claim to settlement, on either database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest
from drain import deliver_due
from factories import make_delivery, make_event, make_events, make_task
from fakes import FakeChannel, FakeClock
from simulation.loop import VirtualLoop
from virtual_time import InstantStore, VirtualClock

from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    Parked,
    ResendPolicy,
    Resolution,
    Retry,
    Unknown,
)
from notifier.core.errors import StoreError
from notifier.core.model import Event
from notifier.core.pacing import Pace
from notifier.core.routing import RoutedEvent
from notifier.deliver import SETTLE_DEBOUNCE, DeliveryReport, DeliveryRules, DeliveryWorker, RenderCache
from notifier.ports import Clock, DeliveryFilter, RenderRequest, Store
from notifier.store.engine import SqlStore, open_store
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction

T = TypeVar("T")

RULES = DeliveryRules(schedule=(timedelta(seconds=5), timedelta(minutes=5)), lease=timedelta(seconds=60))


async def put(store: Store[Transaction, Queries], clock: Clock, *events: Event, channel: str = "dba") -> list[Delivery]:
    deliveries = [
        make_delivery(event, channel=channel, attempt=0, available_at=clock.now(), created_at=clock.now())
        for event in events
    ]

    def record(tx: Transaction) -> None:
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=(channel,)) for event in events])
        tx.deliveries.record(deliveries)

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
    await store.transact(lambda tx: tx.deliveries.claim_due("dba", "killed", clock.now(), RULES.lease, 1))
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


async def test_order_is_kept_within_a_subject_and_no_other_waits(store: SqlStore, clock: FakeClock) -> None:
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
    await store.transact(lambda tx: tx.channels.unpark_due(clock.now()))
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
    await store.transact(lambda tx: tx.deliveries.retry([delivery.id], clock.now()))
    channel.answer = lambda _: Delivered()
    await deliver(store, channel, clock)
    assert len({(sent.id, sent.body) for sent in channel.sent}) == 1
    assert (await only(store)).state is DeliveryState.DELIVERED


class FailingChannel(FakeChannel):
    """A channel of another package, with a defect."""

    def render(self, request: RenderRequest) -> object:  # type: ignore[override]  # it fails before it returns
        raise ZeroDivisionError(request.delivery_id)


async def test_a_channel_that_cannot_render_an_event_loses_that_one_only(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    await deliver(store, FailingChannel(), clock)
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
    """A store whose database fails to settle for a while."""

    def __init__(self, store: SqlStore, failures: int) -> None:
        self.store = store
        self.failures = failures
        self.read, self.listen, self.aclose = store.read, store.listen, store.aclose

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        def run(tx: Transaction) -> T:
            watched = cast("Transaction", _Failing(tx, self))
            return fn(watched)

        return await self.store.transact(run, short=short)


class _Failing:
    def __init__(self, tx: Transaction, broken: BrokenStore) -> None:
        self._tx = tx
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        return _FailingDeliveries(self._tx, self._broken) if name == "deliveries" else getattr(self._tx, name)


class _FailingDeliveries:
    def __init__(self, tx: Transaction, broken: BrokenStore) -> None:
        self._tx = tx
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        if name == "settle" and self._broken.failures:
            self._broken.failures -= 1
            raise StoreError("the disk is full")
        return getattr(self._tx.deliveries, name)


async def test_an_acknowledged_message_survives_a_failing_database(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()
    broken = BrokenStore(store, failures=5)
    await deliver_due(channel, broken, clock, random.Random(1), owner="me", rules=RULES)
    clock.advance(RULES.lease)
    await deliver(store, channel, clock)
    assert (len(channel.sent), (await only(store)).state) == (1, DeliveryState.DELIVERED)


async def test_a_broken_database_leaves_the_message_to_the_next_claim(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel = FakeChannel()
    broken = BrokenStore(store, failures=1000)
    with pytest.raises(StoreError, match="the disk is full"):
        await deliver_due(channel, broken, clock, random.Random(1), owner="me", rules=RULES)
    clock.advance(RULES.lease)
    await deliver(store, channel, clock)
    assert len({(sent.id, sent.body) for sent in channel.sent}) == 1
    assert (await only(store)).state is DeliveryState.DELIVERED


@pytest.mark.parametrize("keeps_deadline", [False, True])
async def test_a_silent_channel_is_cut_before_another_may_claim(
    store: SqlStore, clock: FakeClock, *, keeps_deadline: bool
) -> None:
    """Also one that ends by itself, where its deadline does not fit into the lease."""
    await put(store, clock, make_event())
    channel = FakeChannel()
    channel.keeps_deadline = keeps_deadline

    async def hang(_: Delivery) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    channel.send = hang  # type: ignore[method-assign, assignment]  # it hangs
    rules = replace(RULES, lease=timedelta(milliseconds=5))
    await deliver_due(channel, store, clock, random.Random(1), owner="me", rules=rules)
    assert (await only(store)).reason == "outcome unknown: no answer before the claim's lease ends"


@pytest.mark.parametrize(
    ("keeps_deadline", "lease", "repeated", "timers"),
    [(True, 60, False, 0), (False, 60, False, 1), (True, 12, False, 1), (True, 60, True, 1)],
)
async def test_a_timer_watches_only_over_what_does_not_end_by_itself(
    store: SqlStore,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    *,
    keeps_deadline: bool,
    lease: int,
    repeated: bool,
    timers: int,
) -> None:
    """Its deadline of 10 s fits into 80 % of a minute and not of 12 s. Asking about an attempt takes time too."""
    channel, set_timers = FakeChannel(resend_policy=ResendPolicy.RECONCILABLE), 0
    if repeated:
        await lose_the_answer(store, channel, clock)
    else:
        await put(store, clock, make_event())
    channel.keeps_deadline = keeps_deadline
    timeout = asyncio.timeout

    def counted(delay: float | None) -> asyncio.Timeout:
        nonlocal set_timers
        set_timers += 1
        return timeout(delay)

    monkeypatch.setattr(asyncio, "timeout", counted)
    rules = replace(RULES, lease=timedelta(seconds=lease))
    await deliver_due(channel, store, clock, random.Random(1), owner="me", rules=rules)
    assert (set_timers, (await only(store)).state) == (timers, DeliveryState.DELIVERED)


@pytest.mark.parametrize("outcome", [Delivered("\ud83d"), Retry("a\x00b"), GaveUp("x" * 100_000)])
async def test_a_receivers_words_never_undo_anothers_delivery_record(
    store: SqlStore, clock: FakeClock, outcome: Outcome
) -> None:
    await put(store, clock, *make_events(2))
    channel = FakeChannel(concurrency=2)
    channel.answer = lambda delivery: outcome if delivery.events[0].job_id == "job-00000" else Delivered()
    await deliver(store, channel, clock)
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.DELIVERED)))
    assert "job-00001" in {delivery.events[0].job_id for delivery in found}


# ---- unknown outcomes ----


async def lose_the_answer(store: SqlStore, channel: FakeChannel, clock: FakeClock) -> None:
    """Send the only delivery once, and get no answer."""
    await put(store, clock, make_event())
    channel.answer = lambda _: Unknown("no answer")
    await deliver(store, channel, clock)
    channel.answer = lambda _: Delivered("sent")
    clock.advance(timedelta(minutes=1))


async def resolutions(store: SqlStore) -> list[Resolution | None]:
    found = await only(store)
    return [attempt.resolution for attempt in await store.read(lambda q: q.attempts(found.id))]


async def test_where_the_receiver_knows_a_repeat_it_is_repeated(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel(resend_policy=ResendPolicy.IDEMPOTENT)
    await lose_the_answer(store, channel, clock)
    await deliver(store, channel, clock)
    assert (len(channel.sent), channel.asked, await resolutions(store)) == (2, [], [None, Resolution.REPEATED])
    assert (await only(store)).outcome_unknown is False


async def test_what_the_service_has_is_not_sent_again(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel(resend_policy=ResendPolicy.RECONCILABLE)
    channel.found = Delivered("found")
    await lose_the_answer(store, channel, clock)
    await deliver(store, channel, clock)
    assert (len(channel.sent), len(channel.asked), await resolutions(store)) == (1, 1, [None, Resolution.ARRIVED])
    assert ((await only(store)).state, (await only(store)).ref) == (DeliveryState.DELIVERED, "found")


async def test_a_message_the_service_lacks_is_sent_again_and_known(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel(resend_policy=ResendPolicy.RECONCILABLE)
    await lose_the_answer(store, channel, clock)
    channel.answer = lambda _: Retry("HTTP 503")
    await deliver(store, channel, clock)
    assert (len(channel.sent), await resolutions(store)) == (2, [None, Resolution.ABSENT])
    assert (await only(store)).outcome_unknown is False


async def test_while_the_service_cannot_be_asked_nothing_is_sent(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel(resend_policy=ResendPolicy.RECONCILABLE)
    channel.found = Retry("HTTP 503")
    await lose_the_answer(store, channel, clock)
    await deliver(store, channel, clock)
    assert (len(channel.sent), (await only(store)).outcome_unknown) == (1, True)


@pytest.mark.parametrize("resend_policy", [ResendPolicy.UNSAFE, ResendPolicy.RECONCILABLE])
async def test_an_unknowable_outcome_is_repeated_at_a_risk(
    store: SqlStore, clock: FakeClock, resend_policy: ResendPolicy
) -> None:
    channel = FakeChannel(resend_policy=resend_policy)
    channel.found = Unknown("no scope to ask")
    await lose_the_answer(store, channel, clock)
    await deliver(store, channel, clock)
    assert (len(channel.sent), await resolutions(store)) == (2, [None, Resolution.RISKED])


async def test_an_unknowable_outcome_is_held_on_request_for_a_person(store: SqlStore, clock: FakeClock) -> None:
    channel = FakeChannel()
    channel.on_unknown = "hold"
    await lose_the_answer(store, channel, clock)
    await deliver(store, channel, clock)
    held = await only(store)
    assert (len(channel.sent), held.state, await resolutions(store)) == (1, DeliveryState.DEAD, [None, Resolution.HELD])
    await store.transact(lambda tx: tx.deliveries.retry([held.id], clock.now()))
    await deliver(store, channel, clock)
    assert (len(channel.sent), (await only(store)).state) == (2, DeliveryState.DELIVERED)


async def test_a_claim_that_never_reported_back_is_unknown(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    await store.transact(lambda tx: tx.deliveries.claim_due("dba", "killed", clock.now(), RULES.lease, 1))
    clock.advance(RULES.lease)
    channel = FakeChannel(resend_policy=ResendPolicy.RECONCILABLE)
    await deliver(store, channel, clock)
    assert (len(channel.asked), await resolutions(store)) == (1, [Resolution.ABSENT])


async def test_claims_released_at_a_start_are_unknown(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    await store.transact(lambda tx: tx.deliveries.claim_due("dba", "killed", clock.now(), RULES.lease, 1))
    await store.transact(lambda tx: tx.replicas.release_claims(None, clock.now()))
    assert (await only(store)).outcome_unknown is True


# ---- pace ----


async def test_a_rate_is_kept_by_all_replicas_together(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(20))
    channels = [FakeChannel(concurrency=8), FakeChannel(concurrency=8)]
    workers = [worker_of(channel, store, clock) for channel in channels]
    sent = []
    for channel in channels:
        channel.pace = Pace(per_second=1, burst=3)
    for _ in range(4):
        for worker in workers:
            await worker.wait(await worker.step())
        sent.append(sum(len(channel.sent) for channel in channels))
        clock.advance(timedelta(seconds=1))
    assert sent == [3, 4, 5, 6]


async def test_a_single_poll_waits_for_what_only_the_rate_holds_back(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(20))
    channel = FakeChannel(concurrency=8)
    channel.pace = Pace(per_second=1, burst=3)
    before = clock.now()
    await deliver(store, channel, clock)
    assert (len(channel.sent), await pending(store)) == (20, 0)
    assert timedelta(seconds=17) <= clock.now() - before <= timedelta(seconds=18)


async def test_a_requested_pause_holds_for_all_messages_of_a_channel(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(3))
    channel = FakeChannel()
    channel.answer = lambda _: Retry("HTTP 429", timedelta(seconds=30))
    await deliver(store, channel, clock)
    clock.advance(timedelta(seconds=29))
    await deliver(store, channel, clock)
    assert len(channel.sent) == 1
    channel.answer = lambda _: Delivered()
    clock.advance(timedelta(seconds=1))
    await deliver(store, channel, clock)
    assert (len(channel.sent), await pending(store)) == (4, 0)


async def test_a_dead_channel_is_probed_and_messages_keep_their_attempts(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(50))
    channel = FakeChannel()
    channel.answer = lambda _: Retry("connection refused")
    await deliver(store, channel, clock)
    assert len(channel.sent) == 5
    for _ in range(3):
        clock.advance(timedelta(seconds=60))
        await deliver(store, channel, clock)
    assert (len(channel.sent), await pending(store)) == (8, 50)


async def test_waiting_messages_go_out_at_once_when_a_probe_arrives(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(9))
    channel = FakeChannel(concurrency=3)
    channel.answer = lambda _: Retry("connection refused")
    for _ in range(3):
        await deliver(store, channel, clock)
        clock.advance(timedelta(seconds=60))
    channel.answer = lambda _: Delivered()
    await deliver(store, channel, clock)
    assert await pending(store) == 0


# ---- steps ----


async def pending(store: SqlStore) -> int:
    return len(await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING))))


class BlockingChannel(FakeChannel):
    """A channel that answers once it is opened."""

    def __init__(self, concurrency: int, resend_policy: ResendPolicy = ResendPolicy.UNSAFE) -> None:
        super().__init__(concurrency=concurrency, resend_policy=resend_policy)
        self.open = asyncio.Event()
        self.hanging: str | None = None

    async def send(self, delivery: Delivery) -> Outcome:
        outcome = await super().send(delivery)
        if self.hanging in {None, delivery.events[0].job_id}:
            await self.open.wait()
        return outcome


def worker_of(channel: FakeChannel, store: SqlStore, clock: FakeClock) -> DeliveryWorker:
    return DeliveryWorker(channel, store, clock, random.Random(1), owner="me", rules=RULES)


async def test_a_hanging_message_holds_up_only_its_subject(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(30))
    channel = BlockingChannel(concurrency=2)
    channel.hanging = "job-00000"
    worker = worker_of(channel, store, clock)
    while await pending(store) > 1:
        await worker.wait(await worker.step())
    assert len(channel.sent) == 30
    channel.open.set()
    await worker.stop(1, 1)
    assert await pending(store) == 0


async def test_a_stop_settles_in_flight_work_and_releases_the_rest(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(10))
    channel = BlockingChannel(concurrency=2, resend_policy=ResendPolicy.IDEMPOTENT)
    worker = worker_of(channel, store, clock)
    await worker.step()
    await asyncio.sleep(0)
    channel.open.set()
    report = await worker.stop(1, 1)
    left = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING)))
    assert (len(channel.sent), len(report.settled), len(left)) == (2, 2, 8)
    assert {(d.outcome_unknown, d.attempt - d.earlier_attempts, d.available_at) for d in left} == {
        (False, 0, clock.now())
    }


async def test_deliveries_not_begun_within_their_lease_are_released(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(3))
    channel = BlockingChannel(concurrency=1, resend_policy=ResendPolicy.IDEMPOTENT)
    worker = worker_of(channel, store, clock)
    await worker.step()
    await asyncio.sleep(0)
    clock.advance(RULES.lease * 0.7)
    channel.open.set()
    await worker.wait(await worker.step())
    assert len(channel.sent) == 1
    await worker.drain()
    assert (len(channel.sent), await pending(store)) == (3, 0)


async def test_one_event_for_channels_that_render_alike_is_rendered_once(store: SqlStore, clock: FakeClock) -> None:
    event, cache = make_event(), RenderCache()
    channels = [FakeChannel("one"), FakeChannel("two"), FakeChannel("other")]
    for channel, key in zip(channels, ("alike", "alike", "different"), strict=True):
        channel.body_key = key
    workers = [
        DeliveryWorker(channel, store, clock, random.Random(1), owner="me", rules=RULES, cache=cache)
        for channel in channels
    ]
    for worker in workers:
        await put(store, clock, event, channel=worker.channel.name)
        await worker.drain()
    assert [channel.rendered for channel in channels] == [1, 0, 1]
    assert channels[0].sent[0].body == channels[1].sent[0].body


async def test_a_body_the_database_cannot_hold_costs_only_its_message(
    store: SqlStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(store, clock, *make_events(2))
    channel = FakeChannel(concurrency=2)
    good = Body(content=b"y", content_type="text/plain")
    bad = Body(content=b"x", content_type="\ud83d")
    render = {"job-00000": bad, "job-00001": good}
    monkeypatch.setattr(channel, "render", lambda request: render[request.events[0].job_id])
    await deliver(store, channel, clock)
    assert [delivery.events[0].job_id for delivery in channel.sent] == ["job-00001"]
    assert await pending(store) == 0


async def test_a_late_release_does_not_undo_a_newer_claim(store: SqlStore, clock: FakeClock) -> None:
    """The answer to a step may be lost after its commit: the worker then releases the same claims once more."""
    (delivery,) = await put(store, clock, make_event())
    claim = partial(claim_one, now=clock.now())
    await store.transact(claim)
    await store.transact(lambda tx: tx.deliveries.release([(delivery.id, 1)], clock.now()))
    await store.transact(claim)
    await store.transact(lambda tx: tx.deliveries.release([(delivery.id, 1)], clock.now()))
    assert await store.transact(claim) == []


def claim_one(tx: Transaction, now: datetime) -> Sequence[Delivery]:
    return tx.deliveries.claim_due("dba", "me", now, RULES.lease, 1)


class Fatal(BaseException):
    """Ends the process."""


async def test_a_message_that_kills_its_renderer_is_given_up(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel, kills = FakeChannel(), 0

    def die(_: RenderRequest) -> Body:
        raise Fatal

    channel.render = die  # type: ignore[method-assign, assignment]  # this message is deadly
    while (await only(store)).state is DeliveryState.PENDING:
        try:
            await deliver(store, channel, clock)
        except Fatal:
            kills += 1
        clock.advance(RULES.lease)
    assert (kills, (await only(store)).state, channel.sent) == (3, DeliveryState.DEAD, [])


async def killed_while_sending(store: SqlStore, clock: FakeClock, channel: BlockingChannel) -> None:
    """Kill a process while its receivers hang, and start the next one."""
    worker = worker_of(channel, store, clock)
    await worker.step()
    await asyncio.sleep(0)
    worker._cancel_in_flight()
    clock.advance(timedelta(seconds=2))
    await store.transact(lambda tx: tx.replicas.release_claims(None, clock.now()))


@pytest.mark.parametrize("resend_policy", ResendPolicy)
async def test_kills_cost_only_what_was_being_sent(
    store: SqlStore, clock: FakeClock, resend_policy: ResendPolicy
) -> None:
    """Of twenty messages for a receiver that hangs, four are in flight. The others have no attempt."""
    await put(store, clock, *make_events(20))
    channel = BlockingChannel(concurrency=4, resend_policy=resend_policy)
    for _ in range(2):
        await killed_while_sending(store, clock, channel)
    left = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING)))
    sent = {delivery.id for delivery in channel.sent}
    assert len(sent) == 4
    tries = {delivery.id: delivery.attempt - delivery.earlier_attempts for delivery in left}
    assert {tries[id_] for id_ in sent} == {2}
    assert {tries[id_] for id_ in tries.keys() - sent} == {0}
    assert {delivery.id for delivery in left if delivery.outcome_unknown} == sent
    for _ in range(10):
        await killed_while_sending(store, clock, channel)
    channel.open.set()
    await deliver(store, channel, clock)
    assert len({delivery.id for delivery in channel.sent}) == 20
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.DEAD)))
    assert {delivery.id for delivery in found} == sent


@pytest.mark.parametrize("resend_policy", ResendPolicy)
@pytest.mark.parametrize("position", [0, 3, 7, 19])
async def test_a_deadly_message_takes_no_other_with_it(
    store: SqlStore, clock: FakeClock, resend_policy: ResendPolicy, position: int
) -> None:
    await put(store, clock, *make_events(20))
    deadly, channel, kills = f"job-{position:05}", FakeChannel(concurrency=4, resend_policy=resend_policy), 0
    render = channel.render

    def die(request: RenderRequest) -> Body:
        if request.events[0].job_id == deadly:
            raise Fatal
        return render(request)

    channel.render = die  # type: ignore[method-assign]  # one message is deadly
    while await pending(store):
        try:
            await deliver(store, channel, clock)
        except Fatal:
            kills += 1
        clock.advance(RULES.lease)
    states = {d.events[0].job_id: d.state for d in await store.read(lambda q: q.deliveries(DeliveryFilter(limit=99)))}
    assert kills == len(RULES.schedule) + 1
    assert states.pop(deadly) is DeliveryState.DEAD
    assert set(states.values()) == {DeliveryState.DELIVERED}


async def test_a_delivery_claimed_ahead_is_rendered_first_and_begins_later(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, *make_events(3))
    channel = BlockingChannel(concurrency=1, resend_policy=ResendPolicy.IDEMPOTENT)
    worker = worker_of(channel, store, clock)
    await worker.step()
    assert channel.rendered == 3
    channel.open.set()
    for count in (1, 2, 3):
        await worker.wait(await worker.step())
        assert len(channel.sent) == count
    await worker.stop(1, 1)
    assert await pending(store) == 0


@pytest.mark.parametrize("keeps_deadline", [False, True])
@pytest.mark.parametrize("resend_policy", ResendPolicy)
async def test_a_stop_cuts_silent_receivers_and_leaves_them_unknown(
    store: SqlStore, clock: FakeClock, resend_policy: ResendPolicy, *, keeps_deadline: bool
) -> None:
    await put(store, clock, *make_events(10))
    channel = BlockingChannel(concurrency=2, resend_policy=resend_policy)
    channel.keeps_deadline = keeps_deadline
    worker = worker_of(channel, store, clock)
    await worker.step()
    await asyncio.sleep(0)
    report = await worker.stop(0, 1)
    assert [settlement.reason for _, settlement in report.settled] == [
        "outcome unknown: no answer before the program was stopped"
    ] * 2
    left = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING)))
    assert {d.id for d in left if d.outcome_unknown} == {delivery.id for delivery in channel.sent}
    assert {d.attempt - d.earlier_attempts for d in left if not d.outcome_unknown} == {0}


async def test_a_stop_does_not_wait_for_a_channel_that_cannot_be_cut(store: SqlStore, clock: FakeClock) -> None:
    await put(store, clock, make_event())
    channel = BlockingChannel(concurrency=1)
    release = asyncio.Event()

    async def stubborn(_: Delivery) -> Outcome:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()
        return Delivered()

    channel.send = stubborn  # type: ignore[method-assign, assignment]  # it swallows cancellation
    worker = worker_of(channel, store, clock)
    await worker.step()
    await asyncio.sleep(0)
    (task,) = worker._in_flight.values()
    assert (await worker.stop(0, 0)).settled == ()
    assert await pending(store) == 1
    release.set()
    await task


# ---- the debounce of settlements, in virtual time ----


@pytest.mark.parametrize(("answering", "expected"), [(1, SETTLE_DEBOUNCE), (3, SETTLE_DEBOUNCE), (4, 0.0), (8, 0.0)])
def test_few_finished_attempts_wait_for_others_and_half_of_all_do_not(
    tmp_path: Path, sqlite_template: Path, answering: int, expected: float
) -> None:
    path = tmp_path / "notifier.db"
    path.write_bytes(sqlite_template.read_bytes())
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(waited(path, answering)) == pytest.approx(expected)


async def waited(path: Path, answering: int) -> float:
    """Return how long a worker with a full queue waits while this many of its eight messages are answered."""
    clock = VirtualClock()
    store = open_store(f"sqlite:///{path}", now=clock.steady)
    channel = FakeChannel(concurrency=8, resend_policy=ResendPolicy.IDEMPOTENT)
    send, answered = channel.send, {f"job-{n:05}" for n in range(answering)}

    async def answer(delivery: Delivery) -> Outcome:
        if delivery.events[0].job_id not in answered:
            await asyncio.Event().wait()
        return await send(delivery)

    channel.send = answer  # type: ignore[method-assign]  # the others are silent
    worker = DeliveryWorker(channel, InstantStore(store), clock, random.Random(1), owner="me", rules=RULES)
    async with aclosing(store):
        await put(InstantStore(store), clock, *make_events(20))
        report = await worker.step()
        begun = clock.monotonic()
        await worker.wait(report)
        worker._cancel_in_flight()
        return clock.monotonic() - begun
