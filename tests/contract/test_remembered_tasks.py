"""What statistics are read from: what a process remembers is what the database holds, whatever has happened to it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from factories import T0, make_delivery, make_event, make_task
from fakes import FakeClock
from sqlalchemy import update

from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.model import Task, TaskStatus
from notifier.core.people import Acknowledgement
from notifier.core.routing import RoutedEvent
from notifier.ports import TaskFilter
from notifier.statistics import PERIODS, SourceRevision, TaskFigures, TaskMemory
from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.schema import deliveries
from notifier.store.task_changes import MARKS_KEPT, TaskChanges
from notifier.store.transaction import Transaction
from notifier.wording.causes import builtin_catalogue

SHANGHAI = ZoneInfo("Asia/Shanghai")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NAMES = ("CreateBackup", "ResizeGaussDBV5Flavor", "DeleteGaussDBV5Instance")
REASONS = ("No flavor is left (Ecs.0319).", "Error code: DBS.280277.", "Refused.", None)


def new_memory() -> TaskMemory:
    return TaskMemory(SHANGHAI, builtin_catalogue())


def shown(figures: TaskFigures) -> object:
    """Return all that figures say, without what is only in memory once: the objects of causes."""
    results = figures.results
    failed = sorted((one.source, one.job_id, one.at, one.day, one.cause.key, one.facts) for one in results.failed)
    causes = [(one.cause.key, one.failures, sorted(one.instances), one.sources, one.last) for one in results.causes]
    said = (results.types, results.days, results.in_storms, results.told, failed, causes)
    return (figures.days, figures.sources, figures.before, figures.acknowledged, sorted(figures.running), said)


class History:
    """A random history of one database, by several processes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.recorded: dict[tuple[str, str], datetime | None] = {}
        """When each task changed that has ended; None for one that runs."""

    def task(self, source: str, now: datetime) -> Task:
        rng = self.rng
        status = rng.choice(("completed", "completed", "failed", "running"))
        ended = now - rng.choice((timedelta(seconds=9), HOUR, 3 * DAY, 40 * DAY, 100 * DAY, -HOUR, -30 * HOUR))
        known = status != "running" and rng.random() < 0.9
        return make_task(
            f"job-{rng.randrange(40)}",
            source=source,
            name=rng.choice(NAMES),
            status=status,
            instance_id=f"in-{rng.randrange(4)}",
            created_at=ended - timedelta(minutes=rng.randrange(1, 300)),
            ended_at=ended if known else None,
            fail_reason=rng.choice(REASONS) if status == "failed" else None,
        )

    def poll(self, tx: Transaction) -> None:
        now, source = tx.now(), self.rng.choice(("prod", "staging"))
        claim = tx.polls.claim(source, "me", now, HOUR, force=True)
        assert claim
        found = {one.job_id: one for one in (self.task(source, now) for _ in range(self.rng.randrange(1, 5)))}
        known = tx.polls.recorded_tasks(source, list(found))
        writes = [
            TaskWrite(
                recorded=RecordedTask(task=one, occurrence="o"),
                fingerprint=b"1",
                was=before.changed_at if before and before.task.status.terminal else None,
            )
            for one in found.values()
            for before in (known.get(one.job_id),)
        ]
        tx.polls.record_tasks(claim, writes, now)
        for one in found.values():
            if one.status is TaskStatus.FAILED:
                self.tell(tx, one, now)
        tx.polls.postpone(claim, now)

    def tell(self, tx: Transaction, task: Task, now: datetime) -> None:
        event = make_event(task, observed_at=now, occurrence=f"{task.ended_at}|{now.isoformat()}")
        if not tx.events.record([RoutedEvent(event=event, routes=(), channels=("dba",))]).new:
            return
        state = self.rng.choice((DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.SUPPRESSED))
        tx.deliveries.record([self.delivery(make_delivery(event, channel="dba"), state, now)])
        if self.rng.random() < 0.3:
            tx.people.acknowledge(Acknowledgement(event_id=event.id, by="u", name="Chen Jing", at=now))

    def delivery(self, planned: Delivery, state: DeliveryState, now: datetime) -> Delivery:
        return replace(planned, state=state, settled_at=now if state is DeliveryState.DELIVERED else None)

    def step(self, tx: Transaction) -> None:
        kind = self.rng.choices(("poll", "prune", "rename", "replace", "remove"), (20, 3, 1, 1, 1))[0]
        if kind == "poll":
            self.poll(tx)
        elif kind == "prune":
            source = self.rng.choice(("prod", "staging"))
            old = [one.task.job_id for one in tx.queries.tasks(TaskFilter(source=source)) if self.rng.random() < 0.2]
            tx.retention._delete_tasks(source, old)
        elif kind == "remove":
            tx.retention.prune_sources({"prod"}, tx.now() + HOUR, 1_000)
        else:
            self.bind(tx, kind)

    def bind(self, tx: Transaction, kind: str) -> None:
        """Give a source's history to a new name, or another list to a name."""
        now = tx.now()
        claim = tx.polls.claim("prod", "me", now, HOUR, force=True)
        assert claim
        tx.polls.bind_source(claim, "r", self.rng.choice(("p1", "p2")))
        if kind == "rename":
            other = tx.polls.claim("renamed", "me", now, HOUR, force=True)
            assert other
            tx.polls.bind_source(other, "r", "p1", configured={"renamed"})


@pytest.mark.parametrize("seed", range(2))
async def test_what_is_remembered_is_what_all_of_the_database_says(
    store: SqlStore, clock: FakeClock, seed: int
) -> None:
    history, memory = History(seed), new_memory()
    for _ in range(40):
        await store.transact(history.step)
        clock.time += history.rng.choice((timedelta(seconds=30), HOUR, 9 * HOUR, 2 * DAY))
        if history.rng.random() < 0.6:
            source = history.rng.choice((None, "prod", "renamed"))
            length = history.rng.choice(PERIODS)

            def both(q: Queries, source: str | None = source, length: int = length) -> tuple[object, object]:
                return shown(memory.figures(q, length, source)), shown(new_memory().figures(q, length, source))

            kept, read = await store.read(both)
            assert kept == read


async def test_figures_count_the_rows_of_the_table(store: SqlStore) -> None:
    history = History(9)
    for _ in range(30):
        await store.transact(history.poll)
    figures, rows = await store.read(lambda q: (new_memory().figures(q, 90), q.tasks(TaskFilter(limit=1_000))))
    since, until = figures.days.begins(figures.days.first), figures.days.ends
    ended = [one for one in rows if one.task.status.terminal and since <= one.changed_at < until]
    by_name = Counter((one.task.name, one.task.status) for one in ended)
    assert {(one.name, one.completed, one.failed) for one in figures.results.types} == {
        (name, by_name[name, TaskStatus.COMPLETED], by_name[name, TaskStatus.FAILED]) for name, _ in by_name
    }
    assert sum(len(one.seconds) for one in figures.results.types) == sum(
        one.task.status is TaskStatus.COMPLETED and one.task.ended_at is not None for one in ended
    )


async def test_names_of_sources_that_are_none_are_not_remembered(store: SqlStore) -> None:
    history, memory = History(2), new_memory()
    await store.transact(history.poll)
    for name in ("no-such-source", "another"):
        figures = await store.read(partial(memory.figures, length=30, source=name))
        assert (figures.results.totals.ended, len(figures.results.days)) == (0, 30)
    assert not {source for _, source in memory._periods} - {None}


async def test_a_failure_is_told_once_its_message_is_delivered(store: SqlStore, clock: FakeClock) -> None:
    task = make_task("job-1")
    event = make_event(task)
    planned = replace(make_delivery(event, channel="dba"), id="d1")

    def poll(tx: Transaction) -> None:
        claim = tx.polls.claim("prod", "me", T0, HOUR, force=True)
        assert claim
        tx.polls.fingerprints(claim)
        tx.polls.record_tasks(claim, [TaskWrite(recorded=RecordedTask(task=task, occurrence="o"), fingerprint=b"")], T0)
        tx.events.record([RoutedEvent(event=event, routes=(), channels=("dba",))])
        tx.deliveries.record([planned])

    memory = new_memory()
    await store.transact(poll)
    before = await store.read(lambda q: memory.figures(q, 7))
    assert (before.results.told.number, before.results.told.median) == (0, None)
    clock.time += timedelta(minutes=2)
    await store.transact(_deliver)
    after = await store.read(lambda q: memory.figures(q, 7))
    assert (after.results.told.number, after.results.told.median) == (1, 40.0 + 120.0)


def _deliver(tx: Transaction) -> None:
    session = tx.queries._session  # a worker's settlement would take a claim first
    session.execute(update(deliveries).values(state="delivered", settled_at=tx.now()))


async def test_old_marks_are_deleted_but_the_latest_of_a_source(store: SqlStore, clock: FakeClock) -> None:
    history = History(3)
    for _ in range(3):
        await store.transact(history.poll)
    clock.time += MARKS_KEPT + 200 * DAY
    revisions = await store.read(lambda q: q.ended_tasks.revisions())
    await store.transact(lambda tx: TaskChanges(tx.queries._session).prune(tx.now()))
    assert await store.read(lambda q: q.ended_tasks.revisions()) == revisions
    for one in revisions:
        kept, latest = await store.read(partial(_marks, one))
        assert sorted(kept) == sorted(latest)


def _marks(one: SourceRevision, q: Queries) -> tuple[Collection[int], Collection[int]]:
    """Return all marks of a source, and those of its latest revision."""
    reads = q.ended_tasks
    return reads.changed_slots(one.source, 0), reads.changed_slots(one.source, one.revision - 1)
