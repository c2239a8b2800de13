"""A failure that repeats an open one is counted on its message, on either database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from factories import T0, make_event, make_task

from notifier.core import dispatch, outbox
from notifier.core.delivery import Delivered, Delivery, DeliveryState, Thread
from notifier.core.model import Event, RepeatedFailure
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig, route_events
from notifier.planning import announce, with_receivers
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

HOUR = timedelta(hours=1)
ROUTING = RoutingConfig(
    routes=(Route(name="all", channels=("live",), repeats=6 * HOUR),),
    policies={"live": ChannelPolicy(name="live", threads=True, coalesces=True)},
)


def failed(number: int, at: datetime) -> Event:
    return make_event(make_task(f"job-{number}", ended_at=at), occurred_at=at, observed_at=at)


def completed(number: int, at: datetime) -> Event:
    return make_event(make_task(f"job-{number}", status="completed", ended_at=at), occurred_at=at, observed_at=at)


async def notify(store: SqlStore, event: Event) -> Sequence[Delivery]:
    """Plan an event as a poll does, and return the deliveries of it."""

    def plan(tx: Transaction) -> Sequence[Delivery]:
        routed = with_receivers(tx, route_events([event], ROUTING.routes), ROUTING)
        return announce(tx, routed, ROUTING, event.observed_at).deliveries

    return await store.transact(plan)


async def deliver(store: SqlStore, at: datetime) -> Sequence[Delivery]:
    def step(tx: Transaction) -> Sequence[Delivery]:
        claimed = tx.deliveries.claim_due("live", "me", at, HOUR, 10, digest_size=100)
        for one in claimed:
            taken = Delivered(one.id, thread=one.id)
            done = outbox.settle(one, taken, started_at=at, finished_at=at, schedule=(), chance=0.5)
            tx.deliveries.settle([done], at)
            tx.threads.update("live", list(dispatch.thread_updates(one, done)), at)
        return claimed

    return await store.transact(step)


async def edits(store: SqlStore, at: datetime) -> Sequence[Thread]:
    def claim(tx: Transaction) -> Sequence[Thread]:
        found = tx.threads.claim_edits("live", at, HOUR, 10)
        for thread in found:
            tx.threads.mark_rendered(thread, at)
        return found

    return await store.transact(claim)


async def test_a_repeat_is_counted_on_the_first_message(store: SqlStore) -> None:
    await notify(store, first := failed(1, T0))
    await deliver(store, T0)
    for number in (2, 3):
        (planned,) = await notify(store, failed(number, T0 + number * HOUR))
        assert (planned.state, planned.rule) == (DeliveryState.SUPPRESSED, "repeat")
        assert first.id[:8] in (planned.reason or "")
    assert not await deliver(store, T0 + 3 * HOUR)
    (thread,) = await edits(store, T0 + 3 * HOUR)
    assert thread.event.id == first.id
    assert thread.event.repeats == RepeatedFailure(since=T0, failures=3, last=T0 + 3 * HOUR)
    assert not (await store.read(lambda q: q.ledger())).unaccounted


async def test_the_success_that_follows_says_how_many_there_were(store: SqlStore) -> None:
    await notify(store, failed(1, T0))
    await notify(store, failed(2, T0 + HOUR))
    (closing,) = await notify(store, completed(3, T0 + 2 * HOUR))
    assert closing.state is DeliveryState.PENDING
    (event,) = closing.events
    assert event.closes is not None
    assert event.closes.failures == 2
    (afterwards,) = await notify(store, failed(4, T0 + 3 * HOUR))
    assert afterwards.state is DeliveryState.PENDING


async def test_a_later_message_says_how_often_it_has_failed(store: SqlStore) -> None:
    await notify(store, failed(1, T0))
    (later,) = await notify(store, failed(2, T0 + 7 * HOUR))
    (event,) = later.events
    assert event.repeats == RepeatedFailure(since=T0, failures=2)


async def test_a_message_that_shows_something_later_stays(store: SqlStore) -> None:
    await notify(store, failed(1, T0))
    await deliver(store, T0)
    restarted = make_event(
        make_task("job-1", status="running", ended_at=None), occurrence="again", observed_at=T0 + HOUR
    )
    await notify(store, restarted)
    await deliver(store, T0 + HOUR)
    await edits(store, T0 + HOUR)
    await notify(store, failed(2, T0 + 2 * HOUR))
    assert not await edits(store, T0 + 2 * HOUR)
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.SUPPRESSED)))
    assert [one.rule for one in found] == ["repeat"]
