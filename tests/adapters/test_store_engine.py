"""Opening a database: durability, the lock, and what is said when it cannot be used."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from fakes import FakeClock
from sqlalchemy import create_engine, text

from notifier.core.errors import (
    ConfigurationError,
    NotifierError,
    StoreDamaged,
    StoreError,
    StoreInUse,
    StoreUnreachable,
)
from notifier.ports import TaskFilter
from notifier.store.engine import SqlStore, copy_database, open_store
from notifier.store.errors import translated
from notifier.store.sqlite_driver import SQLITE_PAGE_SIZE, sqlite_module, wal_is_safe
from notifier.store.transaction import Transaction


def pragma(store: SqlStore, name: str) -> object:
    with store.writer.connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar()


def test_a_commit_on_sqlite_survives_a_power_cut(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    wal = wal_is_safe(sqlite_module().sqlite_version_info)
    assert pragma(store, "synchronous") == 2
    assert pragma(store, "foreign_keys") == 1
    assert pragma(store, "journal_mode") == ("wal" if wal else "delete")
    store.close()


def test_a_new_database_has_larger_pages(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/new.db")
    assert pragma(store, "page_size") == SQLITE_PAGE_SIZE == 8192
    store.close()


def test_a_database_keeps_the_size_of_its_pages(tmp_path: Path) -> None:
    earlier = sqlite_module().connect(tmp_path / "earlier.db")
    earlier.execute("PRAGMA page_size=4096")
    earlier.execute("CREATE TABLE anything (id INTEGER)")  # from now on the file has pages of this size
    earlier.execute("DROP TABLE anything")
    earlier.close()
    store = open_store(f"sqlite:///{tmp_path}/earlier.db")
    assert pragma(store, "page_size") == 4096
    store.close()
    copy_database(f"sqlite:///{tmp_path}/earlier.db", tmp_path / "copy.db")
    assert (tmp_path / "copy.db").read_bytes()[16:18] == (4096).to_bytes(2, "big")


def test_a_commit_on_postgresql_survives_a_power_cut(postgres_url: str) -> None:
    store = open_store(postgres_url)
    with store.writer.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"
    store.close()


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 4), True),
    ],
)
def test_wal_is_used_only_where_the_library_is_free_of_its_bug(version: tuple[int, ...], *, safe: bool) -> None:
    assert wal_is_safe(version) is safe


async def test_a_second_service_on_a_file_is_refused_and_queries_are_not(sqlite_url: str) -> None:
    first = open_store(sqlite_url, exclusive=True)
    with pytest.raises(StoreInUse, match=r"another notifier already runs on .*notifier[.]db \(process \d+\); stop it"):
        open_store(sqlite_url, exclusive=True)
    beside = open_store(sqlite_url)
    assert await beside.read(lambda q: q.tasks(TaskFilter())) == []
    beside.close()
    first.close()
    open_store(sqlite_url, exclusive=True).close()


def test_a_damaged_file_with_a_binary_error_text_is_refused(tmp_path: Path, sqlite_url: str) -> None:
    open_store(sqlite_url).close()
    path = tmp_path / "notifier.db"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \xc0ABLE"))
    with pytest.raises(StoreDamaged, match="is damaged"):
        open_store(sqlite_url, exclusive=True)


def test_a_damaged_file_is_refused_and_left_as_it_is(tmp_path: Path, sqlite_url: str) -> None:
    open_store(sqlite_url).close()
    path = tmp_path / "notifier.db"
    broken = bytearray(path.read_bytes())
    broken[4096:] = b"\xff" * (len(broken) - 4096)
    path.write_bytes(broken)
    with pytest.raises(StoreDamaged, match=r"is damaged; restore a copy, or save what can be saved with .*recover"):
        open_store(sqlite_url, exclusive=True)
    assert path.read_bytes() == broken


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("nonsense", ConfigurationError, "store.url must be sqlite:///FILE or postgresql"),
        ("mysql://user:secret@host/db", ConfigurationError, "store.url must be sqlite:///FILE or"),
        ("sqlite://", ConfigurationError, "store.url must name a file"),
        ("sqlite:////nowhere/at/all.db", StoreUnreachable, "folder of the database does not exist: /nowhere/at"),
        ("postgresql://user:hunter2@127.0.0.1:1/db", StoreUnreachable, "PostgreSQL at 127.0.0.1/db does not answer"),
    ],
)
def test_an_unusable_database_is_named_with_remedy_without_password(
    url: str, error: type[NotifierError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notifier.db").write_text("this is a letter, not a database\n" * 100)
    with pytest.raises(StoreDamaged, match="is damaged"):
        open_store(f"sqlite:///{tmp_path}/notifier.db")


async def test_a_caller_cancelled_in_a_transaction_waits_for_its_end(store: SqlStore, clock: FakeClock) -> None:
    began, may_end = threading.Event(), threading.Event()

    def slowly(tx: Transaction) -> None:
        began.set()
        may_end.wait(10)
        tx.polls.claim("prod", "me", clock.now(), timedelta(minutes=1))

    caller = asyncio.create_task(store.transact(slowly))
    await asyncio.to_thread(began.wait, 10)
    caller.cancel()
    for _ in range(5):  # turns of the loop, more than a cancellation takes
        await asyncio.sleep(0)
    waits = not caller.done()
    may_end.set()
    await asyncio.gather(caller, return_exceptions=True)
    (claimed,) = await store.read(lambda q: q.sources())
    assert (waits, caller.cancelled(), claimed.name) == (True, True, "prod")


@pytest.mark.both_loops
@pytest.mark.parametrize("cancellations", [1, 2, 5])
async def test_a_cancelled_caller_harms_nobody_sharing_its_commit(store: SqlStore, cancellations: int) -> None:
    may_go_on = threading.Event()
    callers = [asyncio.create_task(store.transact(lambda _: may_go_on.wait(10)))]
    callers += [asyncio.create_task(store.transact(lambda _, n=n: n)) for n in range(1, 6)]  # type: ignore[misc]  # mypy cannot infer a default
    await asyncio.sleep(0)
    cancelled = callers[::2]
    for _ in range(cancellations):
        for caller in cancelled:
            caller.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    may_go_on.set()
    async with asyncio.timeout(60):
        results = await asyncio.gather(*callers, return_exceptions=True)
        later = await store.transact(lambda _: "later")
    assert [isinstance(result, asyncio.CancelledError) for result in results] == [True, False] * 3
    assert (results[1::2], later) == ([1, 3, 5], "later")


def test_a_locked_database_error_names_how_to_find_the_holder(sqlite_url: str) -> None:
    engine = create_engine(sqlite_url, connect_args={"timeout": 0, "isolation_level": None})
    with engine.connect() as holder:
        holder.exec_driver_sql("BEGIN IMMEDIATE")
        refused = pytest.raises(StoreError, match=r"is locked: another program.*fuser")
        with refused, translated(engine.url), engine.connect() as late:
            late.exec_driver_sql("BEGIN IMMEDIATE")
    engine.dispose()
