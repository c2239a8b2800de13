"""What the API reads and records: pages of lists, events in order, and answers for repeated requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar

from factories import make_delivery, make_event, make_task
from fakes import START, FakeClock
from sqlalchemy import create_engine, text

from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.model import Task
from notifier.core.people import Action, Verb
from notifier.core.routing import RoutedEvent
from notifier.ports import DeliveryFilter, EventFilter, StoredAnswer, TaskCursor, TaskFilter
from notifier.store.engine import SqlStore, open_store
from notifier.store.idempotency import KEPT_FOR
from notifier.store.transaction import Transaction

LEASE = timedelta(minutes=1)
T = TypeVar("T")


def record_tasks(tasks: list[Task], tx: Transaction) -> None:
    for source in sorted({task.source for task in tasks}):
        claim = tx.polls.claim(source, "me", START, LEASE, poll_every=LEASE, force=True)
        assert claim
        mine = [RecordedTask(task=task, occurrence="o") for task in tasks if task.source == source]
        assert not tx.polls.record_tasks(claim, [TaskWrite(recorded=one, fingerprint=b"1") for one in mine], START)


async def test_pages_of_tasks_have_every_task_once_where_times_and_ids_are_equal(store: SqlStore) -> None:
    many = [
        make_task(f"job-{n}", source=source, ended_at=START - timedelta(minutes=n // 3))
        for n in range(9)
        for source in ("lab", "prod")
    ]
    await store.transact(partial(record_tasks, many))
    found, after = list[Task](), None
    while True:
        wanted = TaskFilter(after=after, limit=4)
        page = await store.read(lambda q, wanted=wanted: q.tasks(wanted))  # type: ignore[misc]
        if not page:
            break
        found += [stored.task for stored in page]
        last = page[-1]
        after = TaskCursor(changed_at=last.changed_at, job_id=last.task.job_id, source=last.task.source)
    assert len(found) == len(many)
    assert {(task.source, task.job_id) for task in found} == {(task.source, task.job_id) for task in many}
    assert all(a.ended_at >= b.ended_at for a, b in pairwise(found) if a.ended_at and b.ended_at)


async def test_numbers_page_events_deliveries_and_actions(store: SqlStore) -> None:
    events = [make_event(occurrence=str(n)) for n in range(5)]

    def write(tx: Transaction) -> None:
        tx.events.record([RoutedEvent(event=event, routes=(), channels=("dba",)) for event in events])
        tx.deliveries.record([make_delivery(event, channel="dba") for event in events])
        for n in range(5):
            tx.people.record_action(Action(at=START, by="U1", name="kim", verb=Verb.RETRY, target=str(n)))

    await store.transact(write)
    pages: dict[str, Callable[[Any, int | None], Any]] = {
        "events": lambda q, before: q.numbered_events(EventFilter(before=before, limit=2)),
        "deliveries": lambda q, before: q.numbered_deliveries(DeliveryFilter(before=before, limit=2)),
        "actions": lambda q, before: q.numbered_actions(2, before),
    }
    for name, page in pages.items():
        numbers, before = list[int](), None
        while rows := await store.read(lambda q, page=page, before=before: page(q, before)):  # type: ignore[misc]
            numbers += [number for number, _ in rows]
            before = numbers[-1]
        assert len(numbers) == 5, name
        assert sorted(numbers, reverse=True) == numbers


# ---- events in order ----


async def test_the_stream_reads_events_in_order_up_to_the_horizon(store: SqlStore) -> None:
    assert (await store.read(lambda q: q.event_stream.horizon())).number == 0
    events = [make_event(occurrence=str(n)) for n in range(5)]
    routed = [RoutedEvent(event=event, routes=(), channels=()) for event in events]
    await store.transact(lambda tx: tx.events.record(routed))
    horizon = await store.read(lambda q: q.event_stream.horizon())
    assert (horizon.number, list(horizon.writers)) == (5, [])
    found = await store.read(lambda q: q.event_stream.events(0, horizon.number, 3))
    assert [item.event.id for _, item in found] == [event.id for event in events[:3]]
    rest = await store.read(lambda q: q.event_stream.events(found[-1][0], horizon.number, 10))
    assert [item.event.id for _, item in rest] == [event.id for event in events[3:]]


async def test_the_horizon_names_a_transaction_that_may_commit_a_smaller_number(
    postgres_url: str, clock: FakeClock
) -> None:
    store, engine = open_store(postgres_url, now=clock.now), create_engine(postgres_url.replace("://", "+psycopg://"))
    first, second = (
        [RoutedEvent(event=make_event(occurrence=name), routes=(), channels=())] for name in ("first", "second")
    )
    insert = text(
        "INSERT INTO events (id, type, source, job_id, occurrence, observed_at, facts, routes, channels, channel_count)"
        " SELECT 'slow', type, source, job_id, 'slow', observed_at, facts, routes, channels, 0 FROM events LIMIT 1"
    )
    try:
        await store.transact(lambda tx: tx.events.record(first))
        with engine.connect() as slow:
            slow.execute(insert)  # number 2, not committed
            await store.transact(lambda tx: tx.events.record(second))
            horizon = await store.read(lambda q: q.event_stream.horizon())
            assert horizon.number == 3
            assert len(horizon.writers) == 1
            assert await store.read(lambda q: q.event_stream.writers()) == horizon.writers
            slow.commit()
        assert not await store.read(lambda q: q.event_stream.writers())
        found = await store.read(lambda q: q.event_stream.events(1, horizon.number, 10))
        assert [number for number, _ in found] == [2, 3]
    finally:
        engine.dispose()
        await store.aclose()


# ---- answers for repeated requests ----

KEY = "0f" * 32
ANSWER = StoredAnswer(fingerprint="f", status=201, body=b'{"id": "7k2m"}')


async def test_an_answer_is_kept_for_a_day(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.idempotency.save(KEY, ANSWER, START))
    assert await store.transact(lambda tx: tx.idempotency.find(KEY, START + KEPT_FOR)) == ANSWER
    late = START + KEPT_FOR + timedelta(seconds=1)
    assert await store.transact(lambda tx: tx.idempotency.find(KEY, late)) is None
    await store.transact(lambda tx: tx.idempotency.save(KEY, ANSWER, late))
    assert await store.transact(lambda tx: tx.idempotency.find(KEY, late)) == ANSWER


async def test_a_transaction_that_fails_records_no_answer(store: SqlStore) -> None:
    def fails(tx: Transaction) -> None:
        assert tx.idempotency.lock(KEY)
        tx.idempotency.save(KEY, ANSWER, START)
        raise RuntimeError

    try:
        await store.transact(fails)
    except RuntimeError:
        pass
    else:
        raise AssertionError
    assert await store.transact(lambda tx: tx.idempotency.find(KEY, START)) is None


async def test_one_transaction_at_a_time_has_a_key(store: SqlStore) -> None:
    def take(tx: Transaction) -> bool:
        if not tx.idempotency.lock(KEY):
            return False
        if tx.idempotency.find(KEY, START) is None:
            tx.idempotency.save(KEY, ANSWER, START)
            return True
        return False

    assert sum(await asyncio.gather(*(store.transact(take) for _ in range(8)))) == 1
