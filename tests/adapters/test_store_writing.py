"""Where a write transaction runs: in a thread, or on that of the event loop where it has to wait for nothing."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from notifier.core.errors import StoreError, StoreUnreachable
from notifier.store import statements
from notifier.store.engine import SqlStore, open_store
from notifier.store.queries import Queries
from notifier.store.sqlite import sqlite_engine
from notifier.store.sqlite_driver import sqlite_module, wal_is_safe
from notifier.store.transaction import Transaction
from notifier.store.writing import DISK_LIMIT, DISK_RETRY, DiskSpeed, SqliteWriter, WouldWait

pytestmark = pytest.mark.skipif(
    not wal_is_safe(sqlite_module().sqlite_version_info),
    reason="a rollback journal is written in a thread",
)


@pytest.fixture
async def opened(sqlite_url: str) -> AsyncIterator[SqlStore]:
    """Return a store that has written before."""
    store = open_store(sqlite_url)
    await store.transact(_add("first"))
    yield store
    await store.aclose()


class _Refused(Exception):
    pass


class _add:  # noqa: N801 - called as a function
    """Adds a channel, and remembers where."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.thread = ""

    def __call__(self, tx: Transaction) -> None:
        self.thread = threading.current_thread().name
        tx.channels.health(self.name)


async def names(store: SqlStore) -> list[str]:
    return [state.name for state in await store.read(lambda q: q.channels())]


async def test_a_short_transaction_runs_on_the_event_loops_thread(opened: SqlStore) -> None:
    short, other = _add("short"), _add("other")
    await opened.transact(short, short=True)
    await opened.transact(other)
    assert (short.thread, other.thread) == (threading.current_thread().name, "store-write_0")
    assert await names(opened) == ["first", "other", "short"]


async def test_a_short_transaction_overtakes_nothing_that_waits(opened: SqlStore) -> None:
    may_go_on = threading.Event()
    order: list[str] = []

    def wait(_: Transaction) -> None:
        may_go_on.wait(10)
        order.append("first")

    first = asyncio.create_task(opened.transact(wait))
    await asyncio.sleep(0)
    second = asyncio.create_task(opened.transact(lambda _: order.append("second")))
    third = asyncio.create_task(opened.transact(lambda _: order.append("third"), short=True))
    await asyncio.sleep(0)
    assert order == []
    may_go_on.set()
    await asyncio.gather(first, second, third)
    assert order == ["first", "second", "third"]


async def test_a_short_transaction_waits_for_another_process_in_a_thread(opened: SqlStore, tmp_path: Path) -> None:
    short = _add("short")
    with closing(sqlite_module().connect(str(tmp_path / "notifier.db"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(opened.transact(short, short=True))
        for _ in range(5):  # the event loop goes on meanwhile
            await asyncio.sleep(0)
        assert (waiting.done(), short.thread) == (False, "")
        other.execute("COMMIT")
    await waiting
    assert short.thread == "store-write_0"
    await opened.transact(short, short=True)
    assert short.thread == threading.current_thread().name


@pytest.mark.parametrize("short", [True, False])
async def test_a_failure_leaves_no_cursor_that_would_reset_the_statements_of_others(
    opened: SqlStore, *, short: bool
) -> None:
    """Its traceback may be freed in any thread, at any time."""
    cursors: list[Any] = []

    def fail(tx: Transaction) -> None:
        tx.channels.health("never")
        cursors.append(tx.queries._session._driver_cursor())
        raise _Refused

    def fail_to_read(q: Queries) -> None:
        cursors.append(q._session._driver_cursor())
        raise _Refused

    with pytest.raises(_Refused):
        await opened.transact(fail, short=short)
    with pytest.raises(_Refused):
        await opened.read(fail_to_read)
    assert len(cursors) == 2
    for cursor in cursors:
        with pytest.raises(sqlite_module().ProgrammingError, match="closed cursor"):
            cursor.execute("SELECT 1")


async def test_a_short_transaction_that_fails_changes_nothing(opened: SqlStore) -> None:
    def fail(tx: Transaction) -> None:
        tx.channels.health("never")
        raise _Refused

    with pytest.raises(_Refused):
        await opened.transact(fail, short=True)
    with pytest.raises(StoreError, match="no such table"):
        await opened.transact(lambda tx: tx.queries._session.execute(text("SELECT * FROM nowhere")), short=True)
    assert await names(opened) == ["first"]
    await opened.transact(_add("next"), short=True)
    assert await names(opened) == ["first", "next"]


async def test_steps_after_a_short_commit_are_taken(opened: SqlStore) -> None:
    taken: list[str] = []
    await opened.transact(lambda tx: tx.after_commit.append(lambda: taken.append("step")), short=True)
    assert taken == ["step"]


@pytest.mark.parametrize("short", [True, False])
async def test_a_connection_that_broke_is_opened_again(opened: SqlStore, *, short: bool) -> None:
    def break_off(tx: Transaction) -> None:
        tx.queries._session.connection.connection.driver_connection.close()  # type: ignore[union-attr]  # SQLite's own
        tx.channels.health("never")

    with pytest.raises(StoreError):
        await opened.transact(break_off, short=short)
    again = _add("again")
    await opened.transact(again, short=True)
    await opened.transact(_add("short"), short=True)
    assert (again.thread, await names(opened)) == ("store-write_0", ["again", "first", "short"])


async def test_only_a_thread_waits_for_locks(opened: SqlStore) -> None:
    def patience(tx: Transaction) -> object:
        return tx.queries._session.execute(text("PRAGMA busy_timeout")).scalar()

    assert [await opened.transact(patience, short=short) for short in (True, False, True)] == [0, 10_000, 0]


async def test_a_store_is_closed_after_a_short_transaction(sqlite_url: str) -> None:
    store = open_store(sqlite_url, exclusive=True)
    for name in ("a", "b"):
        await store.transact(_add(name), short=True)
    await store.aclose()
    open_store(sqlite_url, exclusive=True).close()


def test_a_rollback_journal_is_never_written_on_the_event_loops_thread(tmp_path: Path) -> None:
    (tmp_path / "notifier.db").touch()
    engine = sqlite_engine(tmp_path / "notifier.db", begin="BEGIN IMMEDIATE", pool_size=1)
    writer = SqliteWriter(engine, wal=False)
    with writer.turn(), writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (n)")
    with pytest.raises(WouldWait), writer.begin_here():
        pass
    writer.close()
    engine.dispose()


# ---- the disk ----


def speed_after(*waits: float) -> DiskSpeed:
    speed = DiskSpeed()
    for wait in waits:
        speed.record(wait, 100.0)
    return speed


@pytest.mark.parametrize(
    ("waits", "fast"),
    [
        ([], True),
        ([0.0002] * 100, True),
        ([0.0002] * 50 + [0.5], True),  # once: the journal was copied into the database
        ([0.008] * 3, True),
        ([0.008] * 8, False),
        ([0.008] * 8 + [0.0002] * 8, True),
    ],
)
def test_the_latest_commits_tell_whether_the_disk_is_fast(waits: list[float], *, fast: bool) -> None:
    assert speed_after(*waits).is_fast(100.0) is fast


def test_a_slow_disk_is_tried_again_now_and_then() -> None:
    speed = speed_after(*[0.008] * 8)
    assert not speed.is_fast(100.0 + DISK_RETRY / 2)
    assert speed.is_fast(100.0 + DISK_RETRY)
    speed.record(DISK_LIMIT, 100.0 + DISK_RETRY)
    assert not speed.is_fast(100.0 + DISK_RETRY)


async def test_a_slow_disk_sends_short_transactions_to_the_thread(opened: SqlStore) -> None:
    speed = speed_after(*[0.008] * 8)
    speed._next_try = float("inf")
    assert isinstance(opened._writing, SqliteWriter)
    opened._writing._disk = speed
    short = _add("short")
    await opened.transact(short, short=True)
    assert short.thread == "store-write_0"


# ---- commits that fail ----


def _break_a_reference(tx: Transaction) -> None:
    """Write what the database refuses only when it is committed."""
    session = tx.queries._session
    session.execute(text("PRAGMA defer_foreign_keys=ON"))
    session.execute(
        statements.RECORD_DELIVERED_EVENT,
        [dict.fromkeys(("delivery_id", "event_id", "channel"), "none") | {"subject": "", "position": 0}],
    )


@contextmanager
def _full_disk(path: Path) -> Iterator[None]:
    """Let no file of this process become larger than the database is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _write_much(tx: Transaction) -> None:
    for number in range(2000):
        tx.channels.health(f"channel-{number}" * 20)


@pytest.mark.parametrize("short", [True, False])
async def test_a_refused_commit_leaves_a_connection_that_works(opened: SqlStore, *, short: bool) -> None:
    for _ in range(2):
        with pytest.raises(StoreError, match="FOREIGN KEY"):
            await opened.transact(_break_a_reference, short=short)
        await opened.transact(_add("next"), short=short)
    assert await names(opened) == ["first", "next"]


@pytest.mark.parametrize("short", [True, False])
async def test_a_full_disk_leaves_a_connection_that_works(opened: SqlStore, tmp_path: Path, *, short: bool) -> None:
    with _full_disk(tmp_path / "notifier.db"):
        for _ in range(2):
            with pytest.raises(StoreUnreachable, match="cannot be written"):
                await opened.transact(_write_much, short=short)
    await opened.transact(_add("next"), short=short)
    assert await names(opened) == ["first", "next"]
