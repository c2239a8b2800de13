"""What the pages Now and Timeline read, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from factories import USUAL, make_alert, make_delivery, make_event, make_gap, make_storm, make_task
from fakes import START
from sqlalchemy import create_engine

from notifier.core.delivery import DeliveryState
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.events import EventType
from notifier.core.failures import FailureState, OpenFailure, failure_id
from notifier.core.identity import Subject
from notifier.core.model import Event, Task, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.routing import RoutedEvent
from notifier.core.severity import Severity
from notifier.core.tickets import Ticket, TicketState, operation_of
from notifier.store.engine import SqlStore, open_store
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def record_tasks(tx: Transaction, *tasks: Task) -> None:
    for source in sorted({task.source for task in tasks}):
        claim = tx.polls.claim(source, "me", START, HOUR, poll_every=HOUR, force=True)
        assert claim
        mine = [RecordedTask(task=task, occurrence="o") for task in tasks if task.source == source]
        assert not tx.polls.record_tasks(claim, [TaskWrite(recorded=one, fingerprint=b"1") for one in mine], START)


def record_events(tx: Transaction, *events: Event) -> None:
    tx.events.record([RoutedEvent(event=event, routes=(), channels=()) for event in events])


def opened(event: Event, **changes: object) -> OpenFailure:
    made = OpenFailure(
        id=failure_id(event.id),
        operation=operation_of(event) or "",
        first_event_id=event.id,
        latest=event,
        opened_at=START,
        severity=Severity.ERROR,
        changed_at=START,
    )
    return replace(made, **changes)  # type: ignore[arg-type] # fields of the class


def failed(job_id: str, **changes: object) -> Event:
    return make_event(make_task(job_id, name=f"Operation-{job_id}", **changes))


# ---- what needs somebody ----


async def test_failures_are_grouped_by_their_storm_the_latest_change_first(store: SqlStore) -> None:
    alone, stormy, taken, over = (failed(name) for name in ("alone", "stormy", "taken", "over"))
    storm = make_storm()

    def write(tx: Transaction) -> None:
        record_events(tx, alone, stormy, taken, over)
        tx.storms.save(storm, START)
        tx.deliveries.record([make_delivery(alone), make_delivery(stormy, subject=str(Subject(storm=storm.id)))])
        tx.failures.save(
            [
                opened(alone, changed_at=START),
                opened(stormy, changed_at=START + HOUR),
                opened(taken, state=FailureState.ACKNOWLEDGED),
                opened(over, state=FailureState.RESOLVED),
            ]
        )

    await store.transact(write)
    needing = await store.read(lambda q: q.now_page.needing())
    assert [(one.id, one.storm) for one in needing] == [
        (failure_id(stormy.id), storm.id),
        (failure_id(alone.id), None),
    ]
    found = await store.read(lambda q: q.now_page.failures([failure_id(alone.id)]))
    assert [one.latest.id for one in found] == [alone.id]
    assert not await store.read(lambda q: q.now_page.failures([]))
    assert [one.latest.id for one in await store.read(lambda q: q.now_page.taken(5))] == [taken.id]
    last = await store.read(lambda q: q.now_page.last_resolved())
    assert last
    assert last.latest.id == over.id


async def test_what_became_of_an_event_is_told_for_each_channel(store: SqlStore) -> None:
    event, other = failed("one"), failed("two")

    def write(tx: Transaction) -> None:
        record_events(tx, event, other)
        tx.deliveries.record(
            [
                make_delivery(event, channel="dba", state=DeliveryState.DELIVERED),
                make_delivery(event, channel="mail", rule="budget:20/h"),
                make_delivery(other, channel="dba"),
            ]
        )

    await store.transact(write)
    told = await store.read(lambda q: q.now_page.told([event.id]))
    assert {(one.channel, one.state, one.held) for one in told[event.id]} == {
        ("dba", DeliveryState.DELIVERED, False),
        ("mail", DeliveryState.PENDING, True),
    }
    assert told.keys() == {event.id}
    assert not await store.read(lambda q: q.now_page.told([]))


async def test_tickets_that_were_opened_are_found_by_operation(store: SqlStore) -> None:
    wanted = Ticket(channel="ops", operation="wanted", attempted_at=START)
    known = Ticket(channel="ops", operation="known", state=TicketState.OPEN, ref="7", label="OPS-7")

    def write(tx: Transaction) -> None:
        for one in (wanted, known):
            tx.tickets._record(one, START)

    await store.transact(write)
    found = await store.read(lambda q: q.now_page.tickets(["wanted", "known"]))
    assert {operation: [one.label for one in some] for operation, some in found.items()} == {"known": ["OPS-7"]}


async def test_the_last_success_is_of_the_same_operation_and_instance(store: SqlStore) -> None:
    event = make_event(make_task("failed", instance_id="i-1"))
    completed = TaskStatus.COMPLETED
    runs = [
        make_task("mine", status=completed, instance_id="i-1", ended_at=START - 3 * DAY),
        make_task("older", status=completed, instance_id="i-1", ended_at=START - 4 * DAY),
        make_task("elsewhere", status=completed, instance_id="i-2", ended_at=START - DAY),
        make_task("another", status=completed, instance_id="i-1", name="Other", ended_at=START - DAY),
    ]

    def write(tx: Transaction) -> None:
        assert event.task
        record_tasks(tx, event.task, *runs)
        record_events(tx, event)

    await store.transact(write)
    found = await store.read(lambda q: q.now_page.last_successes([event.id], START - 31 * DAY))
    assert found == {event.id: START - 3 * DAY}
    assert not await store.read(lambda q: q.now_page.last_successes([event.id], START - 2 * DAY))


# ---- what runs ----


async def test_running_tasks_come_with_what_their_newest_event_says(store: SqlStore) -> None:
    running = make_task("running", status="running")
    started = make_event(running, usual=USUAL)
    stalled = make_event(running, type=EventType.TASK_STALLED, occurrence="stalled", usual=USUAL)

    def write(tx: Transaction) -> None:
        record_tasks(tx, running, make_task("new", status="running"), make_task("failed"))
        record_events(tx, started, stalled)

    await store.transact(write)
    found = {one.task.job_id: one for one in await store.read(lambda q: q.now_page.running())}
    assert found.keys() == {"running", "new"}
    assert (found["running"].usual, found["running"].newest) == (USUAL, EventType.TASK_STALLED)
    assert found["running"].stuck
    assert (found["new"].usual, found["new"].stuck) == (None, False)
    assert await store.read(lambda q: q.now_page.count_running()) == 2
    pairs = [("prod", "running"), ("prod", "new")]
    assert set(await store.read(lambda q: q.timeline.stuck(pairs))) == {("prod", "running")}


# ---- what was kept quiet ----


async def test_events_that_a_mute_held_back_in_its_window_are_counted_once(store: SqlStore) -> None:
    before, one, two = failed("before"), failed("one"), failed("two")
    mute = Mute(
        id="7k2m",
        instance="i",
        since=START - HOUR,
        until=START + HOUR,
        by="me",
        name="me",
        created_at=START,
        due_at=START,
    )

    def write(tx: Transaction) -> None:
        record_events(tx, before, one, two)
        tx.mutes.save(mute, START)
        tx.mutes.save(replace(mute, id="over", since=START - 3 * HOUR, until=START - 2 * HOUR), START)
        quiet: dict[str, Any] = {"state": DeliveryState.SUPPRESSED, "rule": mute.rule}
        tx.deliveries.record(
            [
                make_delivery(before, created_at=START - 2 * HOUR, **quiet),
                *(make_delivery(one, channel=name, created_at=START, **quiet) for name in ("dba", "mail")),
                make_delivery(two, created_at=START, **quiet),
            ]
        )

    await store.transact(write)
    assert await store.read(lambda q: q.now_page.count_held_back(q.now())) == {"7k2m": 2}


async def test_held_messages_are_counted_by_rule(store: SqlStore) -> None:
    events = [failed(str(number)) for number in range(3)]

    def write(tx: Transaction) -> None:
        record_events(tx, *events)
        tx.deliveries.record(
            [
                make_delivery(events[0], rule="window:nights", available_at=START + 2 * HOUR),
                make_delivery(events[1], rule="window:nights", available_at=START + HOUR),
                make_delivery(events[2]),
            ]
        )

    await store.transact(write)
    assert list(await store.read(lambda q: q.now_page.held())) == [("window:nights", 2, START + HOUR)]


async def test_a_storm_on_two_channels_is_one(store: SqlStore) -> None:
    larger = make_storm(id="a", channel="dba", total=8, started_at=START - HOUR, updated_at=START)
    same = make_storm(id="b", channel="mail", total=7, started_at=START - HOUR, updated_at=START)
    long_ago = make_storm(id="c", started_at=START - 9 * DAY, updated_at=START - 9 * DAY, ended_at=START - 9 * DAY)

    def write(tx: Transaction) -> None:
        for storm in (larger, same, long_ago):
            tx.storms.save(storm, START)

    await store.transact(write)
    assert [one.id for one in await store.read(lambda q: q.now_page.storms(START - DAY, START))] == ["a"]
    assert [one.id for one in await store.read(lambda q: q.now_page.storms(START - 10 * DAY, START))] == ["a", "c"]


# ---- timelines ----


def ended(job_id: str, at: datetime, **changes: object) -> Task:
    given = {"status": TaskStatus.COMPLETED, "created_at": at - HOUR, "ended_at": at} | changes
    return make_task(job_id, **given)


async def test_a_period_has_the_tasks_that_overlap_it(store: SqlStore) -> None:
    since, until = START - 2 * DAY, START - DAY

    def write(tx: Transaction) -> None:
        record_tasks(
            tx,
            ended("before", since - HOUR),
            ended("at its beginning", since + timedelta(minutes=1)),
            ended("within", since + 5 * HOUR, status=TaskStatus.FAILED),
            ended("across its end", until + timedelta(minutes=1)),
            ended("after", until + 5 * HOUR),
            make_task("runs", status="running", created_at=until - HOUR),
            make_task("began later", status="running", created_at=until + HOUR),
        )

    await store.transact(write)
    found = await store.read(lambda q: q.timeline.tasks(since, until, 10))
    assert [task.job_id for task in found if task.status is not TaskStatus.RUNNING] == [
        *("across its end", "within", "at its beginning")
    ]
    assert [one.job_id for one in await store.read(lambda q: q.timeline.tasks(since, until, 1))] == ["runs"]
    only = await store.read(lambda q: q.timeline.tasks(since, until, 10, failed_only=True))
    assert [(task.job_id, task.start, task.end) for task in only] == [("within", since + 4 * HOUR, since + 5 * HOUR)]
    assert [task.job_id for task in await store.read(lambda q: q.timeline.running(until, 10))] == ["runs"]


async def test_tasks_are_counted_in_slots(store: SqlStore) -> None:
    slots = [START - 2 * DAY, START - DAY, START]

    def write(tx: Transaction) -> None:
        record_tasks(
            tx,
            ended("first", slots[0], instance_id="i-1"),
            ended("second", slots[1] - timedelta(microseconds=1), instance_id="i-1"),
            ended("third", slots[1], instance_id="i-2", name="Other"),
            ended("failed", slots[1], instance_id="i-1", status=TaskStatus.FAILED),
            ended("outside", START, instance_id="i-1"),
            ended("elsewhere", slots[0], source="lab", instance_id="i-3"),
        )

    await store.transact(write)
    by_source = await store.read(lambda q: q.timeline.ended_by_source(slots))
    assert by_source == {"lab": [1, 0], "prod": [2, 2]}
    failed = await store.read(lambda q: q.timeline.failed_by_row(slots[0], slots[-1], "instance", slots, 5))
    assert [tuple(one) for one in failed] == [("prod", "i-1", "gauss-6568-zzh", [0, 1])]
    keys = await store.read(
        lambda q: [q.timeline.failed_by_row(slots[0], slots[-1], by, slots, 5)[0].key for by in ("type", "source")]
    )
    assert keys == ["CreateGaussDBV5Instance", ""]
    by_instance = await store.read(lambda q: q.timeline.completed_by_instance(["i-1", "i-2", "i-9"], slots))
    assert by_instance == {"i-1": [2, 0], "i-2": [0, 1], "i-9": [0, 0]}
    by_name = await store.read(
        lambda q: q.timeline.completed_by_name("prod", ["CreateGaussDBV5Instance", "Other"], slots)
    )
    assert by_name == {"CreateGaussDBV5Instance": [2, 0], "Other": [0, 1]}


async def test_alarms_are_not_counted_among_the_tasks_that_ended(store: SqlStore) -> None:
    slots = [START - DAY, START]

    def write(tx: Transaction) -> None:
        claim = tx.polls.claim("alarms", "me", START, HOUR, poll_every=HOUR, force=True)
        assert claim
        tx.polls.bind_source(claim, "cn-north-4", "p1", feeds="cloud_eye alarm_history")
        record_tasks(tx, ended("task", slots[0]), ended("alarm", slots[0], source="alarms", status=TaskStatus.CLEARED))

    await store.transact(write)
    assert await store.read(lambda q: q.timeline.ended_by_source(slots)) == {"prod": [1]}


async def test_blind_times_are_found_by_the_events_that_name_them(store: SqlStore) -> None:
    recovered, gap = make_alert(EventType.SOURCE_RECOVERED), make_gap()

    def write(tx: Transaction) -> None:
        record_events(tx, recovered, gap, make_alert(EventType.SOURCE_FAILING), failed("task"))

    await store.transact(write)
    found = await store.read(lambda q: q.timeline.blind(recovered.observed_at))
    assert {event.id for event in found} == {recovered.id, gap.id}
    assert not await store.read(lambda q: q.timeline.blind(recovered.observed_at + HOUR))


# ---- indexes ----

LARGE = ("tasks", "events", "deliveries", "delivery_events", "attempts", "failures")
"""Tables that grow with time. None may be read as a whole."""


async def test_no_read_of_a_page_scans_a_table_that_grows(sqlite_url: str) -> None:
    """SQLite says `SCAN tasks` where it reads a table, and `SCAN tasks USING INDEX` where it goes along an index."""
    engine = create_engine(sqlite_url)
    store, seen = open_store(sqlite_url, now=lambda: START), list[str]()

    def read(q: Queries) -> None:
        driver: Any = q._session.connection.connection.driver_connection
        driver.set_trace_callback(seen.append)
        slots = [START - DAY, START]
        q.now_page.needing()
        q.now_page.failures(["f"])
        q.now_page.taken(5)
        q.now_page.last_resolved()
        q.now_page.told(["e"])
        q.now_page.tickets(["o"])
        q.now_page.last_successes(["e"], START - DAY)
        q.now_page.running()
        q.now_page.count_running()
        q.now_page.count_held_back(START)
        q.now_page.held()
        q.timeline.tasks(START - DAY, START, 5)
        q.timeline.tasks(START - DAY, START, 5, failed_only=True)
        q.timeline.running(START, 5)
        q.timeline.stuck([("prod", "job")])
        q.timeline.failed_by_row(START - DAY, START, "instance", slots, 5)
        q.timeline.ended_by_source(slots)
        q.timeline.completed_by_instance(["i"], slots)
        q.timeline.completed_by_name("prod", ["n"], slots)
        q.timeline.blind(START - DAY)
        driver.set_trace_callback(None)

    await store.read(read)
    await store.aclose()
    statements = [statement for statement in seen if statement.startswith(("SELECT", "WITH"))]
    assert len(statements) == 20
    with engine.connect() as connection:
        plans = {
            statement: [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}")]
            for statement in statements
        }
    engine.dispose()
    scans = {
        statement: [step for step in plan if step in {f"SCAN {name}" for name in LARGE}]
        for statement, plan in plans.items()
    }
    assert {statement: found for statement, found in scans.items() if found} == {}
