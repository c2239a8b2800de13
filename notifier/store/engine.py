"""Opening the database: connections, the one-service lock of SQLite, schema version, and `transact` and `read`.

SQLite has one writer thread and `BEGIN IMMEDIATE`: a transaction that reads and then writes would otherwise fail at
once, whatever the busy timeout says. Its journal is WAL only where the library is free of the WAL-reset bug.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import IO, Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, func, make_url, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from notifier.clock import SteadyTime
from notifier.core.errors import ConfigurationError, StoreDamaged, StoreError, StoreInUse, StoreUnreachable
from notifier.ports import Queries, Transaction
from notifier.store.migrate import HEAD, current, require_current, upgrade
from notifier.store.outbox import SqlTransaction
from notifier.store.polls import Memory
from notifier.store.queries import SqlQueries

T = TypeVar("T")

Time = Callable[[Connection], datetime]
"""Tells the time that all who share the database agree on."""

READERS = 4
POSTGRES_THREADS = 8
MOST_TOGETHER = 64
"""Requests of this process that share a transaction, at most."""
BUSY_SECONDS = 10
"""How long SQLite waits for a lock that another process holds."""


def sqlite_module() -> ModuleType:
    """Return the newest SQLite at hand: the pysqlite3 wheel's where it is installed, else Python's own."""
    try:
        from pysqlite3 import dbapi2  # noqa: PLC0415 - not on every platform
    except ImportError:
        import sqlite3 as dbapi2  # noqa: PLC0415 - the fallback
    module: ModuleType = dbapi2
    return module


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Tell whether a SQLite version is free of the WAL-reset bug, which can corrupt a database with two connections.

    Present from 3.7.0 to 3.51.2; fixed in 3.51.3 and in the back-ports 3.50.7 and 3.44.6 (sqlite.org, "WAL-reset bug").
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def _uncancellable() -> Future[Any]:
    """Return a future that is running: one that a caller could cancel would end the writer when it gets its result."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(frozen=True, slots=True)
class _Request:
    """A transaction that somebody waits for."""

    fn: Callable[[Transaction], Any]
    result: Future[Any] = field(default_factory=_uncancellable)


class SqlStore:
    """A `ports.Store` on SQLite or PostgreSQL."""

    def __init__(
        self, writer: Engine, reader: Engine, *, time: Time, threads: int, lock: IO[bytes] | None = None
    ) -> None:
        """Use `open_store`; it decides what is passed here."""
        self.writer = writer
        self._reader = reader
        self._time = time
        self._lock = lock
        self._memory = Memory()
        self._waiting: deque[_Request] = deque()
        self._together = threads == 1
        self._writers = ThreadPoolExecutor(threads, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    async def transact(self, fn: Callable[[Transaction], T]) -> T:
        """Run `fn` in one write transaction in a store thread. Raises StoreError.

        A caller waits for its end however often it is cancelled: nothing stops the transaction, and it must not take
        afterwards what a stop has released.
        With one writer, what is asked for while it commits goes together into the next transaction: one commit for all.
        `fn` may then run twice, so that it must do nothing but read and write through its transaction.
        """
        request = _Request(fn)
        self._waiting.append(request)
        self._writers.submit(self._serve)
        running: asyncio.Future[T] = asyncio.wrap_future(request.result)
        cancelled: asyncio.CancelledError | None = None
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            running.exception()  # asked for, so that asyncio does not report it as lost
            raise cancelled
        return running.result()

    async def read(self, fn: Callable[[Queries], T]) -> T:
        """Run `fn` on one consistent view, without waiting for a writer. Raises StoreError."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, fn)

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever another process has planned deliveries, until cancelled; never with SQLite."""
        if self.writer.dialect.name != "postgresql":
            await asyncio.Event().wait()
        from notifier.store.listen import listen  # noqa: PLC0415 - with the driver, which SQLite does without

        await listen(_connect_parameters(self.writer), wake)

    async def aclose(self) -> None:
        """Wait for what is running, then release connections and the lock."""
        self.close()

    def close(self) -> None:
        """Do the same outside an event loop."""
        for executor in (self._writers, self._readers):
            executor.shutdown(wait=True)
        for engine in {self.writer, self._reader}:
            engine.dispose()
        if self._lock is not None:
            self._lock.close()

    def _serve(self) -> None:
        most = MOST_TOGETHER if self._together else 1
        if requests := [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]:
            self._answer(requests)

    def _answer(self, requests: Sequence[_Request]) -> None:
        try:
            results = self._transact([request.fn for request in requests])
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            if len(requests) == 1 or isinstance(error.__cause__, OperationalError):  # which would befall each of them
                for request in requests:
                    request.result.set_exception(error)
            else:  # One is to blame, and none has done anything: each again, by itself.
                for request in requests:
                    self._answer([request])
        else:
            for request, result in zip(requests, results, strict=True):
                request.result.set_result(result)

    def _transact(self, fns: Sequence[Callable[[Transaction], object]]) -> Sequence[object]:
        """Run functions in one transaction. Raises StoreError."""
        after_commit: list[Callable[[], None]] = []
        with translated(self.writer.url), self.writer.begin() as connection:
            results = []
            for fn in fns:
                tx = SqlTransaction(connection, self._memory, self._time)
                results.append(fn(tx))
                after_commit += tx.after_commit
        for step in after_commit:
            step()
        return results

    def _read(self, fn: Callable[[Queries], T]) -> T:
        with translated(self._reader.url), self._reader.begin() as connection:
            return fn(SqlQueries(connection, self._time))


def open_store(
    url: str, *, exclusive: bool = False, migrate: bool = False, now: Callable[[], datetime] | None = None
) -> SqlStore:
    """Open the database at `url`, check its schema version and return the store.

    Args:
        url: `sqlite:///path`, or `postgresql://user:password@host/database`.
        exclusive: take the lock that keeps a second service off a SQLite file.
        migrate: bring a PostgreSQL schema up to date; SQLite always does so by itself.
        now: tells the time instead of the PostgreSQL server, or of this host with SQLite.

    Raises:
        StoreError: it cannot be used; the message says why and what to do.
        ConfigurationError: the URL is not one of these two.
    """
    parsed = parse_url(url)
    time: Time | None = None if now is None else lambda _: now()
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, exclusive=exclusive, time=time or _host_time())
    return _open_postgres(parsed, migrate=migrate, time=time or _server_time)


def parse_url(url: str) -> URL:
    """Read a database URL. Raises ConfigurationError without repeating it: it may hold a password."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            "store.url is not a database URL; write sqlite:///notifier.db or postgresql://…"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        return parsed
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise ConfigurationError(f"store.url: {parsed.drivername!r} is not supported; use sqlite:/// or postgresql://")


# ---- SQLite ----


def _host_time() -> Time:
    steady = SteadyTime()
    return lambda _: steady.now()


def _open_sqlite(url: URL, *, exclusive: bool, time: Time) -> SqlStore:
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("store.url: SQLite needs a file, for example sqlite:///notifier.db")
    path = Path(url.database)
    if not path.parent.is_dir():
        raise StoreUnreachable(f"the folder of the database does not exist: {path.parent}; create it or mend store.url")
    with ExitStack() as undo:
        lock = undo.enter_context(_lock(path)) if exclusive else None
        writer = sqlite_engine(url, begin="BEGIN IMMEDIATE", pool_size=1)
        undo.callback(writer.dispose)
        reader = sqlite_engine(url, begin="BEGIN", pool_size=READERS)
        undo.callback(reader.dispose)
        with translated(url):
            if exclusive:
                _quick_check(reader)
            if current(reader) != HEAD:  # asked without the write lock, which a running service may hold
                upgrade(writer)
        undo.pop_all()
    return SqlStore(writer, reader, time=time, threads=1, lock=lock)


def _lock(path: Path) -> IO[bytes]:
    name = Path(f"{path}.lock")
    try:
        file = name.open("a+b")
    except OSError as error:
        raise StoreUnreachable(f"cannot write beside the database: {name}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(20).decode("ascii", "replace").strip()
        file.close()
        raise StoreInUse(
            f"another notifier already runs on {path}"
            + (f" (process {holder})" if holder else "")
            + "; stop it, or use PostgreSQL to run several"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    return file


def sqlite_engine(url: URL, *, begin: str, pool_size: int) -> Engine:
    """Return an engine whose transactions start with `begin`, with the settings that make a commit durable."""
    module = sqlite_module()
    engine = create_engine(
        url,
        module=module,
        pool_size=pool_size,
        max_overflow=0,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
    )
    journal = "WAL" if wal_is_safe(module.sqlite_version_info) else "DELETE"

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
        cursor = connection.cursor()
        for pragma in (f"journal_mode={journal}", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _quick_check(engine: Engine) -> None:
    with engine.connect() as connection:
        verdict = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    if verdict != "ok":
        raise _damaged(engine.url)


# ---- PostgreSQL ----


def _server_time(connection: Connection) -> datetime:
    """Ask the server: `now()` would stand still within a transaction."""
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)


def _open_postgres(url: URL, *, migrate: bool, time: Time) -> SqlStore:
    engine = postgres_engine(url)
    with ExitStack() as undo:
        undo.callback(engine.dispose)
        with translated(url):
            if migrate:
                upgrade(engine)
            else:
                require_current(engine)
        undo.pop_all()
    reader = engine.execution_options(isolation_level="REPEATABLE READ")
    return SqlStore(engine, reader, time=time, threads=POSTGRES_THREADS)


_POSTGRES_LIMITS = {
    "application_name": "gaussdb-notifier",
    "connect_timeout": 10,
    "prepare_threshold": None,  # a pooler that hands out connections by transaction knows no prepared statements
    # A network that swallows packets must end in an error: within these seconds, or milliseconds, of silence.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    # A replica that was stopped inside a transaction must not hold the others up for much longer than its lease. The
    # zone: a time near the year 9999 or 1 could not be loaded in every other one.
    "options": "-c timezone=UTC -c lock_timeout=10s -c statement_timeout=60s"
    " -c idle_in_transaction_session_timeout=20s",
}


def postgres_engine(url: URL) -> Engine:
    """Return an engine with enough connections for the store's threads."""
    try:
        return create_engine(
            url,
            pool_size=POSTGRES_THREADS + READERS,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args=_POSTGRES_LIMITS,
        )
    except ModuleNotFoundError:
        raise ConfigurationError(
            "PostgreSQL needs the psycopg driver: pip install 'gaussdb-notifier[postgres]'"
        ) from None


def _connect_parameters(engine: Engine) -> dict[str, Any]:
    """Return what the driver needs for one more connection like those of the engine."""
    _, parameters = engine.dialect.create_connect_args(engine.url)
    return {**parameters, **_POSTGRES_LIMITS, "application_name": "gaussdb-notifier listening"}


@contextmanager
def admin_engine(url: str) -> Iterator[Engine]:
    """Yield an engine for looking after the schema, without asking what version it has."""
    parsed = parse_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    engine = sqlite_engine(parsed, begin="BEGIN IMMEDIATE", pool_size=1) if sqlite else postgres_engine(parsed)
    try:
        with translated(parsed):
            yield engine
    finally:
        engine.dispose()


# ---- errors ----


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Turn the database library's exceptions into ours, once, without the statement and its values."""
    try:
        yield
    except DBAPIError as error:
        raise _translate(error, url) from error
    except UnicodeDecodeError as error:
        if url.get_backend_name() != "sqlite":
            raise
        # SQLite says what is malformed in the bytes of the file, which are no text any more.
        raise _damaged(url) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database failed: {type(error).__name__}") from error


def _translate(error: DBAPIError, url: URL) -> StoreError:
    said = str(error.orig).splitlines()[0] if str(error.orig) else type(error.orig).__name__
    place = _place(url)
    if "malformed" in said or "not a database" in said:
        return _damaged(url)
    if url.get_backend_name() == "postgresql" and _unreachable(error, said):
        return StoreUnreachable(f"PostgreSQL at {place} does not answer: {said}")
    if "is locked" in said:
        return StoreError(
            f"the database {place} is locked: another program, perhaps a backup or a shell, has held it for more than"
            f" {BUSY_SECONDS} s; end that program (`fuser {place}` finds it)"
        )
    if "unable to open" in said or "readonly" in said or "disk I/O" in said or "full" in said:
        return StoreUnreachable(f"the database {place} cannot be written: {said}; check the disk and the file's rights")
    return StoreError(f"the database {place} failed: {said}")


def _place(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return f"{url.host or 'the local socket'}/{url.database or ''}"


def _unreachable(error: DBAPIError, said: str) -> bool:
    """Tell whether no server answered: what a server says of a statement carries a code."""
    unanswered = isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) is None
    return error.connection_invalidated or unanswered or "connection" in said


def _damaged(url: URL) -> StoreDamaged:
    return StoreDamaged(
        f"the database file {url.database} is damaged; restore a copy, or save what can be saved with "
        f"`sqlite3 {url.database} .recover | sqlite3 recovered.db`. It was left as it is."
    )
