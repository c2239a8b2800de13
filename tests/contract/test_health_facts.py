"""What health is judged by, and what people decide about messages that did not arrive, on either database."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from factories import T0, make_alert, make_delivery, make_event, make_task
from fakes import FakeClock
from sqlalchemy import insert

from notifier import mutes, people
from notifier.core.alerts import decide_alerts
from notifier.core.delivery import DeliveryState, GaveUp, Outcome, Parked, Retry
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.health import judge, shortest_poll_limit
from notifier.core.health_facts import Backlog, ConfiguredSource, Expected, Replica, Role
from notifier.core.model import Event
from notifier.core.outbox import settle
from notifier.core.people import Person, Verb
from notifier.core.routing import RoutedEvent
from notifier.ports import DeliveryFilter, Ledger, TaskFilter
from notifier.store.engine import SqlStore, open_store
from notifier.store.schema import sources
from notifier.store.transaction import Transaction

MINUTE = timedelta(minutes=1)
BOB = Person(id="cli:bob", name="bob")


def planned(tx: Transaction, channel: str, *events: Event, at: datetime = T0) -> None:
    tx.events.record([RoutedEvent(event=event, routes=(), channels=(channel,)) for event in events])
    for event in events:
        delivery = make_delivery(
            event, channel=channel, subject=event.subject, attempt=0, created_at=at, available_at=at
        )
        tx.deliveries.record([delivery])


def events(count: int, prefix: str = "job") -> Sequence[Event]:
    return [make_event(make_task(f"{prefix}-{n}")) for n in range(count)]


def end(tx: Transaction, channel: str, outcome: Outcome, limit: int = 10) -> None:
    now = tx.now()
    for delivery in tx.deliveries.claim_due(channel, "me", now, MINUTE, limit):
        ended = settle(delivery, outcome, started_at=now, finished_at=now, schedule=(MINUTE,), chance=0.5)
        tx.deliveries.settle([ended], now)


async def backlog(store: SqlStore, channel: str = "dba") -> Backlog:
    found = (await store.read(lambda q: q.health_facts())).backlogs
    return next((one for one in found if one.channel == channel), Backlog(channel=channel))


async def ids(store: SqlStore, **wanted: object) -> Sequence[str]:
    return await store.read(lambda q: q.delivery_ids(DeliveryFilter(**wanted)))  # type: ignore[arg-type]  # its fields


async def ledger(store: SqlStore) -> Ledger:
    return await store.read(lambda q: q.ledger())


async def test_the_backlog_of_a_channel_is_counted_by_state(store: SqlStore, clock: FakeClock) -> None:
    await store.transact(lambda tx: planned(tx, "dba", *events(3)))
    await store.transact(lambda tx: end(tx, "dba", GaveUp("HTTP 400", reply="HTTP 400: no such field"), limit=1))
    clock.advance(MINUTE)
    await store.transact(lambda tx: end(tx, "dba", Retry("HTTP 503"), limit=1))
    await store.transact(lambda tx: planned(tx, "mail", *events(1, "mail")))
    assert await backlog(store) == Backlog(
        channel="dba",
        pending=2,
        pending_since=T0,
        reason="HTTP 503",
        dead=1,
        dead_since=T0,
        dead_until=T0,
        dead_reason="HTTP 400: no such field",
    )
    await store.transact(lambda tx: end(tx, "mail", Parked("HTTP 410")))
    assert await backlog(store, "mail") == Backlog(channel="mail", parked=1)
    assert await backlog(store, "other") == Backlog(channel="other")


async def test_what_is_sent_again_has_waited_since_then(store: SqlStore, clock: FakeClock) -> None:
    await store.transact(lambda tx: planned(tx, "dba", *events(1)))
    await store.transact(lambda tx: end(tx, "dba", GaveUp("HTTP 400")))
    clock.advance(timedelta(days=3))
    dead = await ids(store, state=DeliveryState.DEAD)
    assert await store.transact(lambda tx: people.retry(tx, dead, "dba", BOB)) == 1
    found = await backlog(store)
    assert (found.pending, found.pending_since, found.dead) == (1, T0 + timedelta(days=3), 0)


async def test_a_dismissed_delivery_no_longer_counts_and_can_be_sent(store: SqlStore, clock: FakeClock) -> None:
    await store.transact(lambda tx: planned(tx, "dba", *events(2)))
    await store.transact(lambda tx: end(tx, "dba", GaveUp("HTTP 400")))
    dead = await ids(store, state=DeliveryState.DEAD)
    assert await store.transact(lambda tx: people.dismiss(tx, dead[:1], "dba", BOB)) == 1
    assert await store.transact(lambda tx: people.dismiss(tx, dead[:1], "dba", BOB)) == 0
    assert (await backlog(store)).dead == 1
    assert await ids(store, dismissed=True) == dead[:1]
    assert await store.transact(lambda tx: people.retry(tx, dead, "dba", BOB)) == 2
    clock.advance(MINUTE)
    await store.transact(lambda tx: end(tx, "dba", GaveUp("HTTP 400")))
    assert (await backlog(store)).dead == 2


async def test_a_waiting_delivery_dies_when_dismissed_unless_in_flight(store: SqlStore, clock: FakeClock) -> None:
    await store.transact(lambda tx: planned(tx, "old", *events(2)))
    (sending,) = await store.transact(lambda tx: tx.deliveries.claim_due("old", "me", tx.now(), MINUTE, 1))
    waiting = await ids(store, channel="old")
    assert await store.transact(lambda tx: people.dismiss(tx, waiting, "old", BOB)) == 1
    assert (await backlog(store, "old")).waiting == 1
    clock.advance(2 * MINUTE)  # whoever was sending it never came back
    assert await store.transact(lambda tx: people.dismiss(tx, [sending.id], "old", BOB)) == 1
    assert await backlog(store, "old") == Backlog(channel="old")
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(channel="old")))
    assert {(one.state, one.reason) for one in found} == {(DeliveryState.DEAD, "dismissed by bob")}
    assert (await ledger(store)).unaccounted == ()


@pytest.mark.parametrize("parked", [False, True])
async def test_what_waits_is_moved_in_order_and_stays_accounted_for(store: SqlStore, *, parked: bool) -> None:
    await store.transact(lambda tx: planned(tx, "old", *events(3)))
    if parked:
        await store.transact(lambda tx: planned(tx, "new", make_event(make_task("other"))))
        await store.transact(lambda tx: end(tx, "new", Parked("HTTP 410")))
    assert await store.transact(lambda tx: people.move(tx, "old", "new", BOB)) == 3
    assert await store.transact(lambda tx: people.move(tx, "old", "new", BOB)) == 0
    state = DeliveryState.PARKED if parked else DeliveryState.PENDING
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(channel="new", state=state)))
    assert [one.events[0].job_id for one in reversed(found) if "other" not in one.subject] == [
        "job-0",
        "job-1",
        "job-2",
    ]
    old = await store.read(lambda q: q.deliveries(DeliveryFilter(channel="old")))
    assert {(one.state, one.reason) for one in old} == {(DeliveryState.SUPERSEDED, "moved to new")}
    assert (await ledger(store)).unaccounted == ()


async def test_a_moved_digest_omits_what_the_other_channel_has(store: SqlStore) -> None:
    three = events(3)

    def plan(tx: Transaction) -> None:
        routed = [
            RoutedEvent(event=event, routes=(), channels=("old", "new")[: 2 - n]) for n, event in enumerate(three[:2])
        ]
        tx.events.record([*routed, RoutedEvent(event=three[2], routes=(), channels=("old",))])
        tx.deliveries.record(
            [
                make_delivery(*three, channel="old", subject="", digest=True, attempt=0),
                make_delivery(three[0], channel="new", subject=three[0].subject, attempt=0),
            ]
        )

    await store.transact(plan)
    assert (await ledger(store)).unaccounted == ()
    assert await store.transact(lambda tx: people.move(tx, "old", "new", BOB)) == 1
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(channel="new")))
    assert [[event.job_id for event in one.events] for one in reversed(found)] == [["job-0"], ["job-1", "job-2"]]
    assert (await ledger(store)).unaccounted == ()


async def test_an_alert_about_a_channel_is_not_moved_to_that_channel(store: SqlStore) -> None:
    await store.transact(lambda tx: planned(tx, "old", make_alert(channel="new")))
    assert await store.transact(lambda tx: people.move(tx, "old", "new", BOB)) == 1
    assert await ids(store, channel="new") == []
    assert (await ledger(store)).unaccounted == ()


@pytest.mark.parametrize(("channels", "direct"), [(("dba",), True), (("dba",), False), (("dba", "old"), False)])
async def test_waiting_too_long_for_a_removed_channel_is_given_up(
    store: SqlStore, clock: FakeClock, channels: Sequence[str], *, direct: bool
) -> None:
    for number, channel in enumerate(("dba", "old", "dm:U1")):
        await store.transact(lambda tx, c=channel, n=number: planned(tx, c, *events(2, str(n))))  # type: ignore[misc]  # a lambda's defaults
    expected = Expected(channels=channels, direct=direct)
    clock.advance(timedelta(days=91))
    await store.transact(lambda tx: planned(tx, "old", *events(1, "young"), at=clock.now()))
    before = clock.now() - timedelta(days=90)
    while await store.transact(lambda tx: tx.deliveries.abandon(expected, before, tx.now(), 1)):
        pass
    gone = {"old", "dm:U1"} - set(channels) - ({"dm:U1"} if direct else set())
    dead = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.DEAD)))
    assert {one.channel for one in dead} == gone
    assert len(dead) == 2 * len(gone)
    assert {one.reason for one in dead} <= {"its channel is no longer configured"}


async def test_what_people_do_is_recorded(store: SqlStore) -> None:
    task = make_task("job-0")
    failure = make_event(task)

    def act(tx: Transaction) -> None:
        planned(tx, "old", failure)
        people.acknowledge(tx, failure, BOB)
        people.acknowledge(tx, failure, Person(id="U2", name="eve"))  # bob does already
        people.unacknowledge(tx, failure, Person(id="U2", name="eve"))
        people.unacknowledge(tx, failure, BOB)  # nobody does any more
        people.acknowledge(tx, failure, BOB)
        mutes.mute_task(tx, replace(task, instance_id="in-1", instance_name="orders"), timedelta(hours=2), BOB)
        mutes.end(tx, "in-1", BOB)
        mutes.end(tx, "in-1", BOB)  # it is over
        people.subscribe(tx, task, BOB)
        people.subscribe(tx, task, BOB)
        people.move(tx, "old", "new", BOB)
        people.release_parked(tx, "new", BOB)  # nothing is parked

    await store.transact(act)
    found = await store.read(lambda q: q.actions(10))
    assert [(one.verb, one.target, one.by) for one in reversed(found)] == [
        (Verb.ACKNOWLEDGE, "prod/job-0", "cli:bob"),
        (Verb.UNACKNOWLEDGE, "prod/job-0", "U2"),
        (Verb.ACKNOWLEDGE, "prod/job-0", "cli:bob"),
        (Verb.MUTE, "orders", "cli:bob"),
        (Verb.UNMUTE, "orders", "cli:bob"),
        (Verb.WATCH, "prod/job-0", "cli:bob"),
        (Verb.MOVE, "old → new", "cli:bob"),
    ]
    assert found[0].detail == "1 delivery"
    assert found[-2].detail == "acknowledged by bob"
    assert await store.read(lambda q: q.actions(1)) == found[:1]


async def test_the_person_who_acknowledged_the_newest_event_is_known(store: SqlStore) -> None:
    old, new = (make_event(make_task("a"), occurrence=name) for name in ("old", "new"))
    other = make_event(make_task("b"))

    def act(tx: Transaction) -> None:
        claim = tx.polls.claim("prod", "me", T0, timedelta(minutes=1))
        assert claim is not None
        tx.polls.fingerprints(claim)
        written = [RecordedTask(task=make_task(job), occurrence="o") for job in ("a", "b", "c")]
        tx.polls.record_tasks(claim, [TaskWrite(recorded=one, fingerprint=b"1") for one in written], T0)
        planned(tx, "dba", old, other)
        people.acknowledge(tx, old, BOB)
        people.acknowledge(tx, other, BOB)
        planned(tx, "dba", new)

    await store.transact(act)
    found = await store.read(lambda q: q.tasks(TaskFilter()))
    assert {one.task.job_id: one.acknowledged and one.acknowledged.name for one in found} == {
        "a": None,
        "b": "bob",
        "c": None,
    }


async def test_processes_report_themselves_and_old_ones_are_pruned(store: SqlStore, clock: FakeClock) -> None:
    async def report(owner: str, **more: object) -> None:
        one = Replica(owner=owner, roles=(Role.POLL, Role.WEB), started_at=clock.now(), seen_at=clock.now())
        await store.transact(lambda tx: tx.replicas.report(replace(one, **more)))  # type: ignore[arg-type]  # its fields

    async def known() -> Sequence[Replica]:
        return (await store.read(lambda q: q.health_facts())).replicas

    await report("killed")
    await report("stopped")
    clock.advance(MINUTE)
    await report("stopped", started_at=T0, stopped_at=clock.now())
    assert [(one.owner, one.seen_at, one.stopped_at, one.roles) for one in await known()] == [
        ("killed", T0, None, (Role.POLL, Role.WEB)),
        ("stopped", T0 + MINUTE, T0 + MINUTE, (Role.POLL, Role.WEB)),
    ]
    clock.advance(timedelta(hours=2))
    await report("next")
    assert [one.owner for one in await known()] == ["killed", "next"]
    clock.advance(timedelta(days=8))
    await report("last")
    assert [one.owner for one in await known()] == ["last"]


async def test_to_prove_that_a_file_can_be_written_something_is(sqlite_url: str, clock: FakeClock) -> None:
    """To begin a transaction and to end it writes nothing, so that it works on a full disk."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))

    def files() -> Sequence[bytes]:
        return [file.read_bytes() for file in (path, Path(f"{path}-wal")) if file.exists()]

    async with aclosing(open_store(sqlite_url, now=clock.now)) as store:
        before = files()
        await store.transact(lambda tx: tx.queries.health_facts())
        assert files() == before
        await store.transact(lambda tx: tx.replicas.prove_writable())
        assert files() != before
        assert (await store.read(lambda q: q.health_facts())).backlogs == []


async def test_a_database_that_can_be_written_proves_it(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.replicas.prove_writable())


# ---- sources that need no judgement ----

TIMES = (None, T0 - 2 * MINUTE, T0 - 5 * MINUTE, T0 - timedelta(days=1), T0 + MINUTE, T0 + 2 * MINUTE)
"""Of polls: young, as old as the limit, old, as far ahead as is tolerated, and further ahead."""


@pytest.mark.parametrize("seed", range(3))
async def test_the_sources_left_out_change_no_verdict(store: SqlStore, clock: FakeClock, seed: int) -> None:
    rng = random.Random(seed)
    clock.time = T0

    def seldom(value: object) -> object:
        return value if rng.random() < 0.1 else None

    names = [f"source-{n}" for n in range(300)]
    recorded = [
        {
            "name": name,
            "last_poll_at": rng.choice((*TIMES, *[TIMES[1]] * 10)),
            "last_full_at": rng.choice((*TIMES, *[TIMES[1]] * 10)),
            "baseline_at": T0 - timedelta(days=2),
            "introduced_at": None if rng.random() < 0.1 else T0 - timedelta(days=1),
            "failing_since": seldom(T0 - 6 * MINUTE),
            "announced_since": seldom(T0 - 3 * MINUTE),
            "refused_rows": int(rng.random() < 0.1),
            "last_full_calls": rng.choice((1, 1, 500)),
        }
        for name in names[:280]
    ]
    with store.writer.begin() as connection:
        connection.execute(insert(sources), recorded)
    slow = [timedelta(hours=1) if n % 50 == 0 else timedelta(seconds=20) for n in range(300)]
    expected = Expected(
        sources=[
            ConfiguredSource(name=name, region="r", project_id=name, poll_every=every)
            for name, every in zip(names[20:], slow[20:], strict=True)
        ]
    )
    everything = await store.read(lambda q: q.health_facts())
    some = await store.read(lambda q: q.health_facts(quiet_for=shortest_poll_limit(expected)))
    assert {*some.quiet, *(state.name for state in some.sources)} == {*names[:280]}
    assert len(some.quiet) > 30
    for since in (None, T0 - MINUTE, T0 - timedelta(days=2)):
        assert decide_alerts(expected, some, since) == decide_alerts(expected, everything, since)
        verdicts = [judge(expected, facts, since) for facts in (some, everything)]
        red, all_red = ([one for one in verdict.findings if one.red] for verdict in verdicts)
        assert red == all_red
