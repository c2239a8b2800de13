"""Events stay in memory from the plan of their delivery to its first claim, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import T0, make_delivery, make_event, make_events, make_storm, make_task
from fakes import FakeClock
from sqlalchemy import update

from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.routing import RoutedEvent
from notifier.store import rows
from notifier.store.engine import SqlStore, open_store
from notifier.store.planned_events import UnclaimedDeliveries
from notifier.store.schema import deliveries, events
from notifier.store.transaction import Transaction

LEASE = timedelta(seconds=60)
OTHERWISE = "as the database has it"
"""Detail of the events that tests write into the database behind the store's back."""


@pytest.fixture
async def other(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    """Return the store of another process on the same database."""
    other = open_store(store_url, now=clock.now)
    yield other
    await other.aclose()


def plan(tx: Transaction, *planned: Delivery) -> None:
    carried = [event for one in planned for event in one.events]
    tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("dba",)) for event in carried])
    tx.deliveries.record(planned)


def change_facts(tx: Transaction, *changed: Event) -> None:
    for event in changed:
        routed = RoutedEvent(event=replace(event, detail=OTHERWISE), routes=(), channels=())
        (facts,) = rows.event_columns([routed])["facts"]
        tx.deliveries._session.execute(update(events).where(events.c.id == event.id).values(facts=facts))


def claim_in(tx: Transaction) -> Sequence[Delivery]:
    return tx.deliveries.claim_due("dba", "me", T0, LEASE, 10)


async def claim(store: SqlStore) -> Sequence[Delivery]:
    return await store.transact(claim_in)


def details(claimed: Sequence[Delivery]) -> list[str | None]:
    return [event.detail for one in claimed for event in one.events]


async def test_a_claim_takes_the_events_that_its_process_has_planned(store: SqlStore) -> None:
    planned = [make_delivery(event, attempt=0) for event in make_events(2)]
    assert not await claim(store)
    await store.transact(lambda tx: plan(tx, *planned))
    await store.transact(lambda tx: change_facts(tx, planned[0].events[0]))
    assert {one.id: one.events for one in await claim(store)} == {one.id: one.events for one in planned}


async def test_a_claim_in_the_transaction_that_plans_takes_its_events(store: SqlStore) -> None:
    planned = make_delivery(attempt=0)

    def plan_and_claim(tx: Transaction) -> Sequence[Delivery]:
        plan(tx, planned)
        change_facts(tx, *planned.events)
        return claim_in(tx)

    assert details(await store.transact(plan_and_claim)) == [None]


async def test_another_process_reads_what_is_recorded(store: SqlStore, other: SqlStore) -> None:
    planned = [make_delivery(event, attempt=0) for event in make_events(2)]
    await store.transact(lambda tx: plan(tx, *planned))
    assert {one.id: one.events for one in await claim(other)} == {one.id: one.events for one in planned}


async def test_what_was_rolled_back_is_not_kept(store: SqlStore, other: SqlStore) -> None:
    planned = make_delivery(attempt=0)

    def fail(tx: Transaction) -> None:
        plan(tx, planned)
        raise LookupError

    assert not await claim(store)
    with pytest.raises(LookupError):
        await store.transact(fail)
    await other.transact(lambda tx: plan(tx, planned))
    await other.transact(lambda tx: change_facts(tx, *planned.events))
    assert details(await claim(store)) == [OTHERWISE]


async def test_a_delivery_that_was_planned_at_another_time_is_another(store: SqlStore) -> None:
    planned = make_delivery(attempt=0)
    later = planned.created_at + timedelta(seconds=1)

    def restore(tx: Transaction) -> None:
        change_facts(tx, *planned.events)
        tx.deliveries._session.execute(update(deliveries).values(created_at=later))

    assert not await claim(store)
    await store.transact(lambda tx: plan(tx, planned))
    await store.transact(restore)
    assert details(await claim(store)) == [OTHERWISE]


async def test_messages_that_can_get_more_events_are_read(store: SqlStore) -> None:
    storm = make_storm()
    first, second, third = (make_event(make_task(f"job-{n}"), type=EventType.TASK_FAILED) for n in range(3))
    of_storm = make_delivery(first, attempt=0, subject=f"storm:{storm.id}")
    digest = make_delivery(second, third, attempt=0)
    assert not await claim(store)
    await store.transact(lambda tx: plan(tx, of_storm, digest))
    await store.transact(lambda tx: change_facts(tx, first, second, third))
    assert details(await claim(store)) == [OTHERWISE] * 3


async def test_a_second_claim_reads_what_is_recorded(store: SqlStore) -> None:
    planned = make_delivery(attempt=0)
    assert not await claim(store)
    await store.transact(lambda tx: plan(tx, planned))
    await store.transact(lambda tx: change_facts(tx, *planned.events))
    (first,) = await claim(store)
    await store.transact(lambda tx: tx.deliveries.release([(first.id, first.attempt)], T0))
    assert details(await claim(store)) == [OTHERWISE]


def test_no_more_are_kept_than_there_is_room_for() -> None:
    kept, planned = UnclaimedDeliveries(size=2), [make_delivery(event, attempt=0) for event in make_events(3)]
    kept.wanted = True
    kept.keep(planned[:1])
    kept.keep(planned[1:])
    assert list(kept.take([one.id for one in planned]).values()) == planned[1:]
    assert not kept.take([one.id for one in planned])


def test_a_process_that_never_claims_keeps_nothing() -> None:
    kept, planned = UnclaimedDeliveries(), make_delivery(state=DeliveryState.PENDING)
    kept.keep([planned])
    assert not kept.take([planned.id])
