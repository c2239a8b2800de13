"""What rules hold is released together when the hold ends, on either database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from factories import T0, make_delivery, make_event, make_task

from notifier.core import outbox
from notifier.core.delivery import Delivered, Delivery, DeliveryState, delivery_id
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.routing import DeliveryRouting, HeldEvents, RoutedEvent
from notifier.core.severity import Severity
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

LEASE, MINUTE, HOUR = timedelta(days=1), timedelta(minutes=1), timedelta(hours=1)
END = T0 + HOUR
BUDGET, NIGHT = "budget:20/h", "route:night"


def event_of(job_id: str, kind: EventType = EventType.TASK_STARTED) -> Event:
    return make_event(make_task(job_id), type=kind, occurrence=kind)


def held(event: Event, rule: str = BUDGET, until: datetime = END, **changes: Any) -> Delivery:
    planned: dict[str, Any] = {"attempt": 0, "rule": rule, "available_at": until, "reason": "held by a rule", "rank": 1}
    return make_delivery(event, **planned | changes)


async def put(store: SqlStore, *deliveries: Delivery) -> None:
    def write(tx: Transaction) -> None:
        for one in deliveries:
            tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("dba",)) for event in one.events])
        tx.deliveries.record(deliveries)

    await store.transact(write)


async def claim(store: SqlStore, at: datetime, *, size: int | None = 100, limit: int = 100) -> Sequence[Delivery]:
    return await store.transact(lambda tx: tx.deliveries.claim_due("dba", "me", at, LEASE, limit, digest_size=size))


async def deliver(store: SqlStore, delivery: Delivery, at: datetime) -> None:
    done = outbox.settle(delivery, Delivered(), started_at=at, finished_at=at, schedule=(), chance=0.5)
    await store.transact(lambda tx: tx.deliveries.settle([done], at))


async def recorded(store: SqlStore) -> Sequence[Delivery]:
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(limit=1000)))
    return found[::-1]


async def release_about(store: SqlStore, *events: Event, at: datetime = T0, parked: Sequence[str] = ()) -> None:
    subjects = {"dba": {event.subject for event in events}, "mail": {"prod/other"}}
    await store.transact(lambda tx: tx.holds.release_about(subjects, parked, at))


def jobs(delivery: Delivery) -> list[str]:
    return [event.job_id for event in delivery.events]


async def test_what_a_rule_holds_becomes_one_digest_when_the_hold_ends(store: SqlStore) -> None:
    events = [event_of(job_id) for job_id in "abc"]
    await put(store, *map(held, events))
    assert not await claim(store, END - timedelta(microseconds=1))
    (digest,) = await claim(store, END)
    assert digest.id == delivery_id("dba", *(event.id for event in events))
    assert list(digest.events) == events
    assert digest.digest
    assert digest.rule is None
    assert digest.routing.held == HeldEvents(rule=BUDGET, since=T0)
    assert [one.id for one in await recorded(store)] == [digest.id]
    ledger = await store.read(lambda q: q.ledger())
    assert not ledger.unaccounted
    assert ledger.pairs == 3


async def test_a_single_held_event_goes_out_as_it_is(store: SqlStore) -> None:
    await put(store, one := held(event_of("a")))
    (claimed,) = await claim(store, END)
    assert claimed.id == one.id
    assert not claimed.digest
    assert claimed.rule is None
    assert claimed.reason is None


async def test_many_are_several_digests_in_order_with_the_oldest_alone(store: SqlStore) -> None:
    await put(store, *(held(event_of(f"{number:02}")) for number in range(7)))
    claimed = await claim(store, END, size=3)
    assert [jobs(one) for one in claimed] == [["00"], ["01", "02", "03"], ["04", "05", "06"]]


async def test_a_channel_without_digests_gets_each_event_in_order(store: SqlStore) -> None:
    events = [event_of("b"), event_of("a"), event_of("a", EventType.TASK_FAILED)]
    await put(store, held(events[0]), held(events[1]), held(events[2], rank=0))
    claimed = await claim(store, END, size=None)
    assert [jobs(one) for one in claimed] == [["a"], ["b"]]  # what is older about a failed task goes first
    assert claimed[0].events[0].type is EventType.TASK_STARTED


async def test_rules_of_one_channel_are_released_apart(store: SqlStore) -> None:
    await put(
        store,
        held(event_of("a"), NIGHT),
        held(event_of("b")),
        held(event_of("c"), NIGHT),
        held(event_of("d")),
        held(event_of("e"), "route:other", END + MINUTE),
    )
    claimed = await claim(store, END)
    assert sorted(jobs(one) for one in claimed) == [["a", "c"], ["b", "d"]]
    assert {one.routing.held.rule for one in claimed if one.routing.held} == {BUDGET, NIGHT}


async def test_what_another_rule_holds_about_the_same_task_goes_with_it(store: SqlStore) -> None:
    await put(
        store,
        held(event_of("a"), NIGHT, END + HOUR),
        held(event_of("b"), NIGHT, END + HOUR),
        held(event_of("a", EventType.TASK_COMPLETED)),
        held(event_of("c")),
    )
    (digest,) = await claim(store, END)
    assert jobs(digest) == ["a", "a", "c"]
    assert [jobs(one) for one in await claim(store, END + HOUR)] == [["b"]]


async def test_a_digest_waits_for_an_older_message_about_one_of_its_tasks(store: SqlStore) -> None:
    await put(store, make_delivery(event_of("a"), attempt=0))
    (sending,) = await claim(store, T0)
    await put(store, held(event_of("a", EventType.TASK_COMPLETED)), held(event_of("b")))
    assert [jobs(one) for one in await claim(store, END)] == []
    await deliver(store, sending, END)
    (digest,) = await claim(store, END)
    assert jobs(digest) == ["a", "b"]


async def test_a_group_takes_what_comes_before_its_message(store: SqlStore) -> None:
    await put(store, held(event_of("a"), "group:g:1"), held(event_of("b"), "group:g:1", END + MINUTE))
    (digest,) = await claim(store, END)
    assert jobs(digest) == ["a", "b"]


async def test_something_newer_about_a_task_releases_what_is_held_about_it(store: SqlStore) -> None:
    started, failed = event_of("a"), event_of("a", EventType.TASK_FAILED)
    await put(store, held(started), held(event_of("b")))

    def plan(tx: Transaction) -> None:
        tx.events.record([RoutedEvent(event=failed, routes=("all",), channels=("dba",))])
        tx.deliveries.rank_as_failures("dba", {failed.subject})
        tx.deliveries.record([make_delivery(failed, attempt=0, rank=0)])
        tx.holds.release_about({"dba": {failed.subject}}, (), T0)

    await store.transact(plan)
    (first,) = await claim(store, T0)
    assert list(first.events) == [started]
    assert first.rank == 0
    await deliver(store, first, T0)
    (second,) = await claim(store, T0)
    assert list(second.events) == [failed]
    assert [jobs(one) for one in await claim(store, END)] == [["b"]]


async def test_only_what_is_about_the_named_subjects_is_released(store: SqlStore) -> None:
    await put(store, held(event_of("a")), held(event_of("b")))
    await release_about(store, event_of("c"))
    assert not await claim(store, T0)
    await release_about(store, event_of("a"))
    assert [jobs(one) for one in await claim(store, T0)] == [["a"]]


async def test_parking_leaves_what_is_held_until_its_hold_ends(store: SqlStore) -> None:
    await put(store, held(event_of("a")), held(event_of("b")), held(event_of("c"), NIGHT, END + HOUR))
    await store.transact(lambda tx: tx.channels.park("dba", "wrong token", None, T0))
    assert {one.state for one in await recorded(store)} == {DeliveryState.PENDING}
    assert not await claim(store, END)
    (waiting, digest) = await recorded(store)
    assert digest.state is DeliveryState.PARKED
    assert waiting.rule == NIGHT
    await store.transact(lambda tx: tx.channels.unpark("dba", END))
    assert [jobs(one) for one in await claim(store, END)] == [["a", "b"]]
    assert [jobs(one) for one in await claim(store, END + HOUR)] == [["c"]]


async def test_what_is_released_on_a_parked_channel_is_parked(store: SqlStore) -> None:
    await put(store, held(one := event_of("a")))
    await release_about(store, one, parked=["dba"])
    (found,) = await recorded(store)
    assert found.state is DeliveryState.PARKED
    assert found.rule is None


async def test_a_channel_that_works_again_gets_nothing_held(store: SqlStore) -> None:
    await put(store, held(event_of("a")))
    assert await store.transact(lambda tx: tx.deliveries.retry_now("dba", T0)) == 0
    assert not await claim(store, T0)


async def test_a_hold_can_end_early_and_be_prolonged(store: SqlStore) -> None:
    await put(store, held(event_of("a")), held(event_of("b")), held(event_of("c"), NIGHT))
    await store.transact(lambda tx: tx.holds.prolong("dba", NIGHT, END + HOUR))
    await store.transact(lambda tx: tx.holds.prolong("dba", NIGHT, END))  # never shorter
    assert await store.transact(lambda tx: tx.holds.rules()) == [("dba", BUDGET), ("dba", NIGHT)]
    assert await store.transact(lambda tx: tx.holds.end("dba", BUDGET, T0)) == 2
    assert [jobs(one) for one in await claim(store, T0)] == [["a", "b"]]
    assert not await claim(store, END)
    ((channel, rule, since, until),) = await store.transact(lambda tx: tx.holds.lasting([NIGHT, BUDGET]))
    assert (channel, rule, since, until) == ("dba", NIGHT, T0, END + HOUR)


async def test_a_held_delivery_can_be_dismissed_and_moved(store: SqlStore) -> None:
    await put(store, one := held(event_of("a")), held(event_of("b")))
    await store.transact(lambda tx: tx.deliveries.dismiss([one.id], T0, "not wanted"))
    await store.transact(lambda tx: tx.deliveries.move("dba", "mail", T0, 10))
    found = {(each.channel, jobs(each)[0]): (each.state, each.rule) for each in await recorded(store)}
    assert found == {
        ("dba", "a"): (DeliveryState.DEAD, None),
        ("dba", "b"): (DeliveryState.SUPERSEDED, None),
        ("mail", "b"): (DeliveryState.PENDING, None),
    }


async def test_what_is_held_is_no_backlog(store: SqlStore) -> None:
    await put(store, held(event_of("a")))
    assert not (await store.read(lambda q: q.channel_facts())).backlogs
    assert (await store.read(lambda q: q.ledger())).oldest_pending is None
    await release_about(store, event_of("a"), at=END)
    (backlog,) = (await store.read(lambda q: q.channel_facts())).backlogs
    assert backlog.pending == 1
    assert backlog.pending_since == END
    assert backlog.reason is None


async def test_what_is_held_can_be_listed_by_itself(store: SqlStore) -> None:
    await put(store, one := held(event_of("a")), other := make_delivery(event_of("b"), attempt=0))

    async def listed(*, held: bool) -> list[str]:
        wanted = DeliveryFilter(state=DeliveryState.PENDING, held=held)
        return [each.id for each in await store.read(lambda q: q.deliveries(wanted))]

    assert await listed(held=True) == [one.id]
    assert await listed(held=False) == [other.id]


async def test_a_digest_wants_what_the_routes_of_its_events_want(store: SqlStore) -> None:
    loud = DeliveryRouting(routes=("failures",), severity=Severity.ERROR, mention=("@dba",))
    quiet = DeliveryRouting(routes=("all",))
    await put(
        store,
        held(event_of("a", EventType.TASK_FAILED), routing=loud, rank=0),
        held(event_of("b"), routing=quiet),
    )
    (digest,) = await claim(store, END)
    assert digest.routing.routes == ("failures", "all")
    assert digest.routing.severity is Severity.ERROR
    assert digest.routing.mention == ("@dba",)
    assert digest.rank == 0


async def test_more_than_one_step_releases_are_released_by_the_next(store: SqlStore) -> None:
    await put(store, *(held(event_of(f"{number:04}")) for number in range(1_103)))
    steps = [await claim(store, END) for _ in range(4)]
    assert [sum(len(one.events) for one in step) for step in steps] == [500, 500, 103, 0]
