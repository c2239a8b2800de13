"""What may be forgotten and what may not, on both databases."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import T0, make_delivery, make_event, make_events, make_task
from fakes import FakeClock, FakeSource
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, event, func, insert, select, text, update

from notifier import lookup
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.errors import CredentialsRejected
from notifier.core.events import EventType
from notifier.core.model import Event, Scope, Snapshot, TaskStatus
from notifier.core.polling import PollRules
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.poll import PollReport, poll_once
from notifier.ports import DeliveryFilter, EventFilter, TaskFilter
from notifier.retention import PRUNE_PAUSE, PruneReport, PruneRules, PruneStep, first_batch, prune
from notifier.store.engine import SqlStore, open_store
from notifier.store.schema import attempts, deliveries, delivery_events, events, metadata, tasks

DAY = timedelta(days=1)
RULES = PruneRules(events=90 * DAY, dead=180 * DAY, tasks=90 * DAY)
OPEN = (DeliveryState.PENDING, DeliveryState.PARKED)


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    """Yield a store whose time is the test's."""
    store = open_store(store_url, now=clock.now)
    yield store
    await store.aclose()


def at(days: float) -> datetime:
    """Return the time so many days ago."""
    return T0 - days * DAY


async def put(store: SqlStore, *batches: Delivery, channels: Collection[str] | None = None) -> None:
    """Record deliveries, each with an attempt, and the events that they carry."""
    wanted: dict[str, tuple[Event, list[str]]] = {}
    for delivery in batches:
        for carried in delivery.events:
            wanted.setdefault(carried.id, (carried, []))[1].append(delivery.channel)
    routed = [
        RoutedEvent(event=carried, routes=("all",), channels=tuple(channels or told))
        for carried, told in wanted.values()
    ]
    await store.transact(lambda tx: tx.events.record(routed))
    await store.transact(lambda tx: tx.deliveries.record(batches))

    def tried(connection: Connection) -> None:
        for delivery in batches:
            times = {"started_at": T0, "finished_at": T0}
            values = {"delivery_id": delivery.id, "number": 1, "outcome": "x", **times}
            connection.execute(insert(attempts).values(values))
            settled_at = None if delivery.state in OPEN else delivery.available_at
            mine = deliveries.c.id == delivery.id
            connection.execute(update(deliveries).where(mine).values(settled_at=settled_at, body=b"x" * 2000))

    change(store, tried)


def change(store: SqlStore, action: Callable[[Connection], object]) -> None:
    with store.writer.begin() as connection:
        action(connection)


def settled(*carried: Event, days: float, state: str = "delivered", **changes: Any) -> Delivery:
    """Return a delivery that was settled so many days ago; a pending or parked one that was due then."""
    return make_delivery(*carried, state=DeliveryState(state), available_at=at(days), created_at=at(days), **changes)


def old_event(job_id: str = "a", days: float = 100) -> Event:
    return make_event(make_task(job_id), observed_at=at(days))


def rows(store: SqlStore) -> Mapping[str, int]:
    """Return how many rows each table has, less those that have none."""
    with store.writer.begin() as connection:
        counted = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.tables.values()
        }
    return {name: count for name, count in counted.items() if count}


async def audit(store: SqlStore) -> lookup.Audit:
    return await store.read(lambda q: lookup.audit_ledger(q, T0))


async def told(store: SqlStore) -> Sequence[tuple[EventType, str]]:
    found = await store.read(lambda q: q.events(EventFilter(limit=1000)))
    return [(item.event.type, item.event.job_id) for item in reversed(found)]


async def batches(store: SqlStore, size: int) -> Sequence[PruneReport]:
    """Prune in batches of a size, without the pauses, and return what each did."""
    step: PruneStep | None = first_batch(RULES, size)
    reports = []
    while step is not None:
        report, step = await store.transact(step)
        reports.append(report)
    return reports


# ---- events and deliveries ----


@pytest.mark.parametrize("state", ["delivered", "suppressed", "superseded"])
async def test_old_settled_events_are_pruned_with_all_that_belongs_to_them(
    store: SqlStore, clock: FakeClock, state: str
) -> None:
    await put(store, settled(old_event(), days=95, state=state), settled(old_event(), days=91, channel="mail"))
    assert await prune(store, clock, RULES) == PruneReport(events=1, deliveries=2)
    assert rows(store) == {}


@pytest.mark.parametrize("state", OPEN)
async def test_a_pending_or_parked_delivery_keeps_its_whole_event(
    store: SqlStore, clock: FakeClock, state: str
) -> None:
    await put(store, settled(old_event(), days=95), settled(old_event(), days=95, state=state, channel="mail"))
    before = rows(store)
    assert await prune(store, clock, RULES) == PruneReport()
    assert rows(store) == before
    assert (await audit(store)).ok


@pytest.mark.parametrize(("seen", "closed"), [(100, 80), (80, 80)])
async def test_what_is_young_stays(store: SqlStore, clock: FakeClock, seen: int, closed: int) -> None:
    await put(store, settled(old_event(days=seen), days=closed))
    assert await prune(store, clock, RULES) == PruneReport()


@pytest.mark.parametrize(
    ("days", "dead", "gone"),
    [(170, 180, False), (190, 180, True), (80, 35, False), (100, 35, True), (9999, None, False)],
)
async def test_what_is_dead_has_a_time_of_its_own_that_is_no_shorter(
    store: SqlStore, clock: FakeClock, days: int, dead: int | None, *, gone: bool
) -> None:
    await put(store, settled(old_event(days=9999), days=days, state="dead"))
    rules = replace(RULES, dead=None if dead is None else dead * DAY)
    assert (await prune(store, clock, rules)).events == int(gone)


async def test_an_event_that_nobody_wanted_goes_by_its_age(store: SqlStore, clock: FakeClock) -> None:
    routed = [RoutedEvent(event=old_event(job, days), routes=(), channels=()) for job, days in (("a", 91), ("b", 89))]
    await store.transact(lambda tx: tx.events.record(routed))
    assert await prune(store, clock, RULES) == PruneReport(events=1)
    assert [job for _, job in await told(store)] == ["b"]


async def test_a_digest_goes_with_the_last_of_its_events(store: SqlStore, clock: FakeClock) -> None:
    first, second = old_event("a"), old_event("b")
    digest, waiting = settled(first, second, days=95), settled(second, days=95, state="pending", channel="mail")
    await put(store, digest, waiting)
    assert await prune(store, clock, RULES) == PruneReport(events=1)
    (kept,) = await store.read(lambda q: q.deliveries(DeliveryFilter(channel="dba")))
    assert (kept.id, kept.events) == (digest.id, (second,))
    assert (await audit(store)).ok
    change(store, lambda c: c.execute(update(deliveries).values(state="delivered", settled_at=at(91))))
    assert await prune(store, clock, RULES) == PruneReport(events=1, deliveries=2)
    assert rows(store) == {}


async def test_an_event_that_lacks_a_delivery_stays_for_the_audit(store: SqlStore, clock: FakeClock) -> None:
    await put(store, settled(old_event(), days=95), channels=["dba", "mail"])
    assert not (await audit(store)).ok
    assert await prune(store, clock, RULES) == PruneReport()
    assert not (await audit(store)).ok


async def test_batches_are_small_and_pause_between_them(store: SqlStore, clock: FakeClock) -> None:
    old = [replace(found, observed_at=at(100)) for found in make_events(7)]
    await put(
        store, *(settled(found, days=95, state="parked" if n == 0 else "delivered") for n, found in enumerate(old))
    )
    assert [report.events for report in await batches(store, 3)] == [2, 3, 1, 0]
    await prune(store, clock, RULES)
    assert clock.slept == [PRUNE_PAUSE]


async def test_nothing_is_pruned_with_unlimited_retention(store: SqlStore, clock: FakeClock) -> None:
    await put(store, settled(old_event(days=9999), days=9999))
    assert await prune(store, clock, PruneRules()) == PruneReport()
    assert clock.slept == []


async def test_a_delivery_being_resent_by_hand_is_not_pruned(postgres_url: str, clock: FakeClock) -> None:
    store, other = (open_store(postgres_url, now=clock.now) for _ in range(2))
    await put(store, settled(old_event(), days=200, state="dead"))
    with other.writer.begin() as connection:
        connection.execute(update(deliveries).values(state="pending", settled_at=None))
        assert await prune(store, clock, RULES) == PruneReport()
    assert rows(store)["deliveries"] == 1
    await store.aclose()
    await other.aclose()


_CASES = st.lists(
    st.tuples(
        st.integers(60, 200),  # days since the event was seen
        st.dictionaries(
            st.sampled_from(["dba", "mail", "tickets"]),
            st.tuples(st.sampled_from(list(DeliveryState)), st.integers(0, 200)),
        ),
    ),
    max_size=8,
)


def _mixed(
    cases: Sequence[tuple[int, Mapping[str, tuple[DeliveryState, int]]]], *, digests: bool
) -> Iterator[Delivery]:
    """Return the deliveries of a case; with digests, one a channel carries all of its events."""
    seen = [(old_event(f"job-{n}", days), on) for n, (days, on) in enumerate(cases)]
    if digests:
        for channel in ("dba", "mail", "tickets"):
            if carried := [found for found, on in seen if channel in on]:
                state, days = next(on[channel] for _, on in seen if channel in on)
                yield settled(*carried, days=days, state=state, channel=channel)
    else:
        for found, on in seen:
            for channel, (state, days) in on.items():
                yield settled(found, days=days, state=state, channel=channel)


@pytest.fixture(scope="module")
def shared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('shared')}/notifier.db"


@given(cases=_CASES, digests=st.booleans(), batch=st.integers(1, 4))
@settings(max_examples=60)
async def test_pruning_touches_nothing_open_and_leaves_the_ledger_whole(
    shared_sqlite: str, cases: list[tuple[int, Mapping[str, tuple[DeliveryState, int]]]], batch: int, *, digests: bool
) -> None:
    clock = FakeClock()
    store = open_store(shared_sqlite, now=clock.now)
    try:
        for table in reversed(metadata.sorted_tables):
            change(store, lambda connection, table=table: connection.execute(delete(table)))  # type: ignore[misc] # bound
        unwanted = [
            RoutedEvent(event=old_event(f"job-{n}", days), routes=(), channels=())
            for n, (days, on) in enumerate(cases)
            if not on
        ]
        await store.transact(lambda tx: tx.events.record(unwanted))
        await put(store, *_mixed(cases, digests=digests))
        open_before = await _open(store)
        await batches(store, batch)
        assert await _open(store) == open_before
        assert (await audit(store)).ok
        assert not _left_over(store)
        assert await prune(store, clock, RULES) == PruneReport()
    finally:
        await store.aclose()


async def _open(store: SqlStore) -> Sequence[Delivery]:
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(limit=1000)))
    return [replace(delivery, events=tuple(delivery.events)) for delivery in found if delivery.state in OPEN]


def _left_over(store: SqlStore) -> Sequence[str]:
    """Return the deliveries that carry nothing."""
    carried = select(delivery_events.c.delivery_id)
    with store.writer.begin() as connection:
        return connection.execute(select(deliveries.c.id).where(deliveries.c.id.not_in(carried))).scalars().all()


# ---- tasks ----

POLL = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
FAILED, RUNNING = make_task("a", status="failed"), make_task("a", status="running")


@pytest.fixture
def source(clock: FakeClock) -> FakeSource:
    return FakeSource(clock)


async def poll(source: FakeSource, store: SqlStore) -> PollReport:
    return await poll_once(source, store, owner="me", rules=POLL, routing=RoutingConfig(), force=True)


async def recorded(store: SqlStore) -> Mapping[str, TaskStatus]:
    found = await store.read(lambda q: q.tasks(TaskFilter(limit=1000)))
    return {item.task.job_id: item.task.status for item in found}


async def months_later(store: SqlStore, source: FakeSource, clock: FakeClock) -> int:
    """Let a task list be seen, then seen without it 100 days later; return how many tasks are pruned then."""
    await poll(source, store)
    source.tasks = []
    clock.advance(100 * DAY)
    await poll(source, store)
    return (await prune(store, clock, RULES)).tasks


async def test_a_task_that_ended_long_ago_is_pruned(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [FAILED, make_task("b", status="unknown"), make_task("c", status="completed", ended_at=None)]
    assert await months_later(store, source, clock) == 3
    assert await recorded(store) == {}


async def test_a_running_task_is_never_pruned(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [RUNNING]
    assert await months_later(store, source, clock) == 0
    assert await recorded(store) == {"a": TaskStatus.RUNNING}


async def test_a_task_without_a_time_of_its_own_is_kept(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [replace(FAILED, ended_at=None, created_at=None)]
    assert await months_later(store, source, clock) == 0


async def test_nothing_ages_while_nothing_is_scanned(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [FAILED]
    await poll(source, store)
    clock.advance(1000 * DAY)
    assert (await prune(store, clock, RULES)).tasks == 0
    source.complete = False
    await poll(source, store)
    assert (await prune(store, clock, RULES)).tasks == 0


async def test_a_pruned_task_that_is_listed_again_is_not_notified_again(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await poll(source, store)
    source.tasks = [FAILED]
    assert await months_later(store, source, clock) == 1
    before = await told(store)
    assert (EventType.TASK_FAILED, "a") not in before  # the event that told it is forgotten too
    source.tasks = [FAILED]
    assert (await poll(source, store)).changed == 1
    assert await recorded(store) == {"a": TaskStatus.FAILED}
    assert await told(store) == before
    assert (await prune(store, clock, RULES)).tasks == 0  # it was seen a moment ago


@pytest.mark.parametrize(
    ("again", "type_"),
    [
        (RUNNING, EventType.TASK_STARTED),
        (replace(FAILED, ended_at=T0 + 99 * DAY), EventType.TASK_FAILED),
        (make_task("new", ended_at=T0 + 99 * DAY), EventType.TASK_FAILED),
    ],
)
async def test_changes_of_a_task_after_it_was_pruned_are_notified(
    store: SqlStore, source: FakeSource, clock: FakeClock, again: Any, type_: EventType
) -> None:
    source.tasks = [FAILED]
    assert await months_later(store, source, clock) == 1
    source.tasks = [again]
    await poll(source, store)
    assert (await told(store))[-1] == (type_, again.job_id)


async def test_tasks_go_in_batches_too(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [make_task(f"job-{n}") for n in range(5)]
    await poll(source, store)
    clock.advance(100 * DAY)
    await poll(source, store)
    assert await store.transact(lambda tx: tx.retention.prune_tasks(90 * DAY, 3)) == 3
    assert await store.transact(lambda tx: tx.retention.prune_tasks(90 * DAY, 3)) == 2


# ---- cost ----


@contextmanager
def statements(store: SqlStore) -> Iterator[list[tuple[str, Any]]]:
    """Collect every statement with its values."""
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, values: object, _ctx: object, _many: object) -> None:
        seen.append((statement, values))

    event.listen(store.writer, "before_cursor_execute", note)
    yield seen
    event.remove(store.writer, "before_cursor_execute", note)


async def test_every_statement_goes_by_an_index(
    store: SqlStore, store_url: str, source: FakeSource, clock: FakeClock
) -> None:
    source.tasks = [FAILED]
    await poll(source, store)
    clock.advance(100 * DAY)
    await poll(source, store)
    await put(store, settled(old_event(), days=95), settled(old_event("b"), days=95, state="parked"))
    postgres = store_url.startswith("postgresql")
    with statements(store) as seen:
        await batches(store, 1)
    seen = [(said, values) for said, values in seen if re.search(r"\b(FROM|UPDATE) ", said)]
    assert len(seen) > 8
    with store.writer.connect() as connection:
        if postgres:  # for a few rows it would take no index unless it must
            connection.execute(text("SET enable_seqscan = off"))
        for statement, values in seen:
            explain = "EXPLAIN " if postgres else "EXPLAIN QUERY PLAN "
            plan = "\n".join(str(row) for row in connection.exec_driver_sql(explain + statement, values))
            big = "|".join(table.name for table in (events, deliveries, delivery_events, attempts, tasks))
            assert not re.search(rf"(SCAN|Seq Scan on) ({big})\b", plan), f"{statement}\n{plan}"
            assert not re.search(r"TEMP B-TREE|ix_deliveries_\w*state", plan), f"{statement}\n{plan}"


async def test_a_sqlite_file_stops_growing(sqlite_url: str, clock: FakeClock) -> None:
    store = open_store(sqlite_url, now=clock.now)
    pages = []
    for month in range(12):
        found = [make_event(make_task(f"job-{month:02}-{n:03}"), observed_at=clock.now()) for n in range(200)]
        days = (T0 - clock.now()) / DAY
        await put(store, *(settled(one, days=days) for one in found))
        clock.advance(30 * DAY)
        await prune(store, clock, RULES)
        change(store, lambda connection: pages.append(connection.exec_driver_sql("PRAGMA page_count").scalar_one()))
    assert rows(store)["events"] == 2 * 200
    assert max(pages[4:]) < 1.02 * pages[3]
    await store.aclose()


# ---- a clock that is wrong ----


async def test_a_failed_poll_ages_nothing_whatever_the_clock_reads(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    """A clock a hundred days ahead: the cloud refuses its signatures, so that nobody knows how old anything is."""
    await poll(source, store)
    await put(store, settled(old_event(days=1), days=1))
    clock.advance(100 * DAY)
    assert await prune(store, clock, RULES) == PruneReport()
    source.error = CredentialsRejected()
    await poll(source, store)
    assert await prune(store, clock, RULES) == PruneReport()
    source.error = None
    await poll(source, store)
    assert await prune(store, clock, RULES) == PruneReport(events=1, deliveries=1)


async def test_a_failing_source_does_not_stop_pruning_while_another_polls(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    broken = FakeSource(clock, name="broken")
    broken.project_id = "another"
    broken.error = CredentialsRejected()
    await put(store, settled(old_event(), days=95))
    await poll(broken, store)
    assert await prune(store, clock, RULES) == PruneReport()
    await poll(source, store)
    assert await prune(store, clock, RULES) == PruneReport(events=1, deliveries=1)


@pytest.mark.parametrize(
    ("skew", "gone"), [(None, 1), (timedelta(minutes=9), 1), (timedelta(minutes=11), 0), (-100 * DAY, 0)]
)
async def test_nothing_is_pruned_by_a_clock_that_disagrees_with_the_cloud(  # noqa: PLR0917 - fixtures
    store: SqlStore,
    source: FakeSource,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    skew: timedelta | None,
    gone: int,
) -> None:
    """A token is taken whatever the clock says, so that polls succeed all the same."""
    fetch = source.fetch

    async def skewed(scope: Scope) -> Snapshot:
        return replace(await fetch(scope), skew=skew)

    monkeypatch.setattr(source, "fetch", skewed)
    await put(store, settled(old_event(), days=95))
    await poll(source, store)
    assert (await prune(store, clock, RULES)).events == gone


async def test_events_of_a_running_task_stay(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    """Else it would be told again that it stands still."""
    stuck = replace(POLL, stalled_after=timedelta(hours=1))
    await poll(source, store)
    source.tasks = [RUNNING]
    reports = []
    for _ in range(5):
        reports.append(await poll_once(source, store, owner="me", rules=stuck, routing=RoutingConfig(), force=True))
        clock.advance(40 * DAY)
        await prune(store, clock, RULES)
    assert [event.type for report in reports for event in report.events if event.job_id] == [
        EventType.TASK_STARTED,
        EventType.TASK_STALLED,
    ]


async def test_a_task_remembers_that_it_had_events(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [FAILED, make_task("b")]
    await poll(source, store)
    await put(store, settled(old_event("a"), days=95))
    await prune(store, clock, RULES)
    source.tasks = [replace(FAILED, fail_reason="reworded"), make_task("b")]
    await poll(source, store)
    found = await store.read(lambda q: q.tasks(TaskFilter()))
    assert {item.task.job_id: item.events_pruned for item in found} == {"a": True, "b": False}


# ---- sources that are configured no more ----


async def test_records_of_a_removed_source_are_deleted_in_time(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    gone = FakeSource(clock, *(replace(make_task(f"job-{n}", status="running"), source="gone") for n in range(7)))
    gone.name, gone.project_id = "gone", "another"
    await poll(gone, store)
    rules = replace(RULES, configured=frozenset({"prod"}))
    for days, left in ((89, 7), (2, 0)):
        clock.advance(days * DAY)
        await poll(source, store)
        await prune(store, clock, rules)
        assert len(await recorded(store)) == left
    assert [state.name for state in await store.read(lambda q: q.sources())] == ["prod"]
