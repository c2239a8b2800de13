"""Lists of tasks for people: pages have every task once, counts agree with them, and bounds are said."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from factories import make_event
from stored_tasks import NAMES, SOURCES, T0, Stored, add_event, add_failure, many, of_kind, stuck_failure, write

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.failures import FailureState
from notifier.core.row_counts import RowCount
from notifier.core.task_lists import (
    TaskGroup,
    TaskListEntry,
    TaskListFilter,
    TaskListPage,
    TaskPlace,
    ToldShare,
    told_share,
    total,
)
from notifier.store import schema, task_list
from notifier.store.engine import SqlStore, open_store
from notifier.store.session import Session
from notifier.store.task_list import TaskList


def fits(one: Stored, wanted: TaskListFilter) -> bool:
    """Say the same as the database, in Python."""
    task, reason = one.task, (one.task.fail_reason or "").lower()
    text, name = wanted.text.lower(), (task.instance_name or "").lower()
    begins = len(text) >= task_list.MIN_BEGINNING and task.job_id.startswith(wanted.text)
    named = bool(text in name and task.instance_name)
    failed = one.group is TaskGroup.FAILED
    return (
        (not wanted.groups or one.group in wanted.groups)
        and (wanted.since is None or one.changed_at >= wanted.since)
        and (wanted.until is None or one.changed_at < wanted.until)
        and wanted.source in {"", task.source}
        and wanted.name in {"", task.name}
        and wanted.instance in {"", task.instance_name, task.instance_id}
        and (not wanted.code or (failed and wanted.code.lower() in reason))
        and (
            not text or named or (failed and text in reason) or begins or wanted.text in {task.job_id, task.instance_id}
        )
    )


def some_filter(rng: random.Random) -> TaskListFilter:
    def maybe(values: Sequence[Any], otherwise: Any) -> Any:
        return rng.choice(values) if rng.random() < 0.35 else otherwise

    return TaskListFilter(
        groups=tuple(rng.sample(list(TaskGroup), rng.randrange(1, 4))) if rng.random() < 0.4 else (),
        since=maybe([T0 - timedelta(hours=h) for h in range(9)], None),
        until=maybe([T0 - timedelta(hours=h) for h in range(9)], None),
        source=maybe([*SOURCES, "none"], ""),
        name=maybe([*NAMES, "none"], ""),
        instance=maybe(["prod-orders", "prod_orders", "in-2", "staging%", "none"], ""),
        code=maybe(["EVS.1042", "evs", "none"], ""),
        text=maybe(["orders", "prod_", "%", "quota", "配额", "job-01", "job-005", "in-1", "o", "/", "none"], ""),
        oldest_first=rng.random() < 0.3,
    )


async def every_page(store: SqlStore, wanted: TaskListFilter, limit: int) -> list[TaskListPage]:
    found: list[TaskListPage] = []
    after: TaskPlace | None = None
    while not found or after is not None:
        page = await store.read(lambda q, after=after: q.task_list.listing(wanted).page(limit, after))  # type: ignore[misc] # a default
        assert len(page.rows) <= limit
        assert len(found) < 500
        found.append(page)
        after = page.following
    return found


def keys(pages: Iterable[TaskListPage]) -> list[tuple[str, str]]:
    return [(row.task.source, row.task.job_id) for page in pages for row in page.rows]


@pytest.mark.parametrize("bound", [None, 9])
async def test_pages_have_each_fitting_task_once_and_counts_agree(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, bound: int | None
) -> None:
    """With a bound of few tasks, more pages are empty; nothing is lost or repeated."""
    if bound:
        monkeypatch.setattr(task_list, "SCANNED", bound)
    stored = many(7)
    write(store, stored)
    by_key = {one.key: one for one in stored}
    rng = random.Random(3)
    for _ in range(24):
        wanted = some_filter(rng)
        pages = await every_page(store, wanted, rng.choice([1, 4, 13, 50]))
        listed = keys(pages)
        fitting = [one for one in stored if fits(one, wanted)]
        assert Counter(listed) == Counter(one.key for one in fitting), wanted
        times = [by_key[key].changed_at for key in listed]
        assert times == sorted(times, reverse=not wanted.oldest_first)
        assert all(row.group is by_key[row.task.source, row.task.job_id].group for page in pages for row in page.rows)
        counts = await store.read(lambda q, wanted=wanted: q.task_list.listing(wanted).counts())  # type: ignore[misc] # a default
        whole = replace(wanted, groups=())
        exact = Counter(one.group for one in stored if fits(one, whole))
        for group, counted in counts.items():
            assert counted.number <= exact[group]
            assert counted.more or counted.number == exact[group], (group, wanted)


async def test_what_is_added_between_two_pages_neither_hides_nor_repeats_older_tasks(store: SqlStore) -> None:
    stored = many(5, 40)
    write(store, stored)
    wanted, after = TaskListFilter(), None
    listed: list[tuple[str, str]] = []
    for number in range(100):
        page = await store.read(lambda q, after=after: q.task_list.listing(wanted).page(7, after))  # type: ignore[misc] # a default
        listed += keys([page])
        after = page.following
        if after is None:
            break
        write(store, [of_kind(TaskGroup.FAILED, number, job_id=f"new-{number}", changed_at=T0 + timedelta(minutes=1))])
    assert Counter(listed) == Counter(one.key for one in stored)


async def test_one_task_at_a_time_where_all_changed_together(store: SqlStore) -> None:
    stored = [
        of_kind(TaskGroup.FAILED, n, source=source, job_id=f"j{n}", changed_at=T0)
        for n in range(6)
        for source in SOURCES
    ]
    write(store, stored)
    pages = await every_page(store, TaskListFilter(), 1)
    assert Counter(keys(pages)) == Counter(one.key for one in stored)


async def test_counts_stop_at_a_thousand(store: SqlStore) -> None:
    write(store, [of_kind(TaskGroup.COMPLETED, n, job_id=f"j{n}", changed_at=T0) for n in range(1_003)])
    counts = await store.read(lambda q: q.task_list.listing(TaskListFilter()).counts())
    assert counts[TaskGroup.COMPLETED] == RowCount(1_000, more=True)
    assert total(counts) == RowCount(1_000, more=True)


# ---- what the list says of a task ----


async def listed(store: SqlStore, **wanted: Any) -> Sequence[TaskListEntry]:
    return (await store.read(lambda q: q.task_list.listing(TaskListFilter(**wanted)).page(50))).rows


async def test_a_row_says_what_became_of_the_newest_event(store: SqlStore) -> None:
    running = of_kind(TaskGroup.RUNNING, 1)
    write(store, [running])
    first = make_event(running.task, type=EventType.TASK_STARTED, id="e-1")
    newest = make_event(running.task, type=EventType.TASK_PROGRESSED, id="e-2", occurrence="2")
    add_event(store, first, {"dba": (DeliveryState.DELIVERED, None)})
    add_event(
        store,
        newest,
        {
            "dba": (DeliveryState.DELIVERED, None),
            "mail": (DeliveryState.PARKED, None),
            "chat": (DeliveryState.SUPPRESSED, "mute:1"),
        },
    )
    (row,) = await listed(store)
    assert row.told == ToldShare(delivered=1, planned=3, worst=DeliveryState.PARKED, muted=True)
    assert row.newest == newest


async def test_open_tasks_are_those_of_failures_that_nobody_has_acknowledged(store: SqlStore) -> None:
    stored = [of_kind(TaskGroup.FAILED, n) for n in range(4)]
    write(store, stored)
    states = (FailureState.OPEN, FailureState.OPEN, FailureState.ACKNOWLEDGED, FailureState.RESOLVED)
    for number, (one, state) in enumerate(zip(stored, states, strict=True)):
        event = make_event(one.task, type=EventType.TASK_FAILED, id=f"e-{number}", occurrence=f"{number}")
        add_event(store, event, {"dba": (DeliveryState.DELIVERED, None)})
        failure = stuck_failure(
            one.task, operation=f"op-{number}", job_id="", latest=event, id=f"f-{number}", state=state
        )
        add_failure(store, failure)
    assert {row.task.job_id for row in await listed(store, unacknowledged=True)} == {"job-000", "job-001"}
    assert await store.read(lambda q: q.task_list.count_unacknowledged()) == RowCount(2)


async def test_the_tasks_of_a_storm(store: SqlStore) -> None:
    stored = [of_kind(TaskGroup.FAILED, n) for n in range(3)]
    write(store, stored)
    for number, one in enumerate(stored):
        event = make_event(one.task, type=EventType.TASK_FAILED, id=f"e-{number}", occurrence=f"{number}")
        add_event(store, event, {"dba": (DeliveryState.DELIVERED, None)})
    with store.writer.begin() as connection:
        some = schema.delivery_events.c.event_id.in_(["e-0", "e-2"])
        ids = sa.select(schema.delivery_events.c.delivery_id).where(some)
        connection.execute(sa.update(schema.deliveries).where(schema.deliveries.c.id.in_(ids)).values(storm="s1"))
    assert {row.task.job_id for row in await listed(store, storm="s1")} == {"job-000", "job-002"}
    assert await listed(store, storm="s2") == ()


async def test_running_tasks_of_a_source_that_is_not_polled_any_more_are_others(store: SqlStore) -> None:
    write(store, [of_kind(TaskGroup.RUNNING, 1, source="gone"), of_kind(TaskGroup.RUNNING, 2, source="prod")])
    with store.writer.begin() as connection:
        connection.execute(sa.insert(schema.sources), [{"name": "gone", "retired_at": T0}])
    assert [row.task.source for row in await listed(store, groups=(TaskGroup.OTHER,))] == ["gone"]
    assert [row.task.source for row in await listed(store, groups=(TaskGroup.RUNNING,))] == ["prod"]


async def test_an_instance_is_found_by_its_id_its_name_and_among_namesakes(store: SqlStore) -> None:
    write(
        store,
        [
            of_kind(TaskGroup.FAILED, 1, instance_id="in-1", instance_name="orders"),
            of_kind(TaskGroup.FAILED, 2, instance_id="in-2", instance_name="orders"),
            of_kind(TaskGroup.FAILED, 3, instance_id=None, instance_name="orders"),
            of_kind(TaskGroup.FAILED, 4, instance_id=None, instance_name="other"),
        ],
    )
    found = {
        name: {row.task.job_id for row in await listed(store, instance=name)} for name in ("orders", "in-2", "other")
    }
    assert found == {"orders": {"job-001", "job-002", "job-003"}, "in-2": {"job-002"}, "other": {"job-004"}}


async def test_an_empty_database_has_no_tasks(store: SqlStore) -> None:
    for wanted in (TaskListFilter(), TaskListFilter(text="x"), TaskListFilter(instance="x", groups=(TaskGroup.STUCK,))):
        listing = partial(lambda q, wanted: q.task_list.listing(wanted), wanted=wanted)
        assert await store.read(lambda q, listing=listing: listing(q).page(50)) == TaskListPage()  # type: ignore[misc] # a default
        counts = await store.read(lambda q, listing=listing: listing(q).counts())  # type: ignore[misc] # a default
        assert total(counts) == RowCount()


async def test_an_answer_says_how_far_back_it_searched(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_list, "SCANNED", 10)
    write(store, [of_kind(TaskGroup.FAILED, n, fail_reason="quota" if n == 30 else "other") for n in range(40)])
    first, *others = await every_page(store, TaskListFilter(code="quota"), 5)
    assert (first.rows, first.searched_to) == ((), T0 - timedelta(minutes=10))
    assert first.following == TaskPlace(T0 - timedelta(minutes=10))
    assert keys(others) == [("prod", "job-030")] or {job for _, job in keys(others)} == {"job-030"}
    assert others[-1].following is None


# ---- figures ----


@pytest.mark.parametrize(
    ("accounts", "planned", "share"),
    [
        ([], 0, ToldShare(0, 0)),
        ([], 2, ToldShare(0, 2)),
        ([(DeliveryState.DELIVERED, None)] * 2, 2, ToldShare(2, 2)),
        ([(DeliveryState.DELIVERED, None), (DeliveryState.DEAD, None)], 2, ToldShare(1, 2, DeliveryState.DEAD)),
        ([(DeliveryState.SUPPRESSED, "mute:a")], 1, ToldShare(0, 1, DeliveryState.SUPPRESSED, muted=True)),
        (
            [(DeliveryState.SUPPRESSED, "mute:a"), (DeliveryState.SUPPRESSED, "route:b")],
            2,
            ToldShare(0, 2, DeliveryState.SUPPRESSED),
        ),
    ],
)
def test_what_became_of_an_event_is_summed_up(
    accounts: list[tuple[DeliveryState, str | None]], planned: int, share: ToldShare
) -> None:
    assert told_share(accounts, planned) == share


def test_a_sum_of_capped_numbers_is_capped() -> None:
    assert RowCount(600) + RowCount(400) == RowCount(1_000)
    assert RowCount(600) + RowCount(401) == RowCount(1_000, more=True)
    assert RowCount(1, more=True) + RowCount(1) == RowCount(2, more=True)


# ---- plans ----

_PLANNED = (
    TaskListFilter(),
    TaskListFilter(since=T0),
    TaskListFilter(groups=(TaskGroup.FAILED,)),
    TaskListFilter(groups=(TaskGroup.STUCK, TaskGroup.RUNNING), source="prod"),
    TaskListFilter(source="prod", since=T0),
    TaskListFilter(name="CreateGaussDBV5Instance", source="prod"),
    TaskListFilter(instance="prod-orders"),
    TaskListFilter(code="EVS.1042", source="prod"),
    TaskListFilter(text="prod-orders", source="prod"),
    TaskListFilter(text="%"),
    TaskListFilter(storm="s1"),
    TaskListFilter(unacknowledged=True),
)


@pytest.mark.parametrize("wanted", _PLANNED, ids=lambda one: repr(one)[14:].replace("None", "")[:40])
def test_no_statement_reads_all_tasks_or_events(sqlite_url: str, wanted: TaskListFilter) -> None:
    """Each range ends at a limit or at the `SCANNED`-th task; nothing else grows with what is recorded."""
    store = open_store(sqlite_url)
    write(store, many(1, 30))
    asked: list[tuple[str, Any]] = []

    def read(connection: sa.Connection) -> None:
        sa.event.listen(connection, "before_cursor_execute", lambda *of: asked.append((of[2], of[3])))
        listing = TaskList(Session(connection, lambda _: T0)).listing(wanted)
        listing.page(50)
        listing.page(50, TaskPlace(T0, "job-001", "prod"))
        listing.counts()

    with store.writer.connect() as connection:
        read(connection)
    with store.writer.connect() as connection:
        plans = [
            step.detail
            for statement, parameters in asked
            for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    store.close()
    assert any(step.startswith("SEARCH tasks USING") for step in plans)
    whole = [step for step in plans if re.match(r"SCAN (tasks|events|deliveries|delivery_events|attempts)\b", step)]
    assert whole == []
