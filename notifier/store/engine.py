"""Opening the database: connections, the one-service lock of SQLite, schema version, and `transact` and `read`.

SQLite has one writer and `BEGIN IMMEDIATE`: a transaction that reads and then writes would otherwise fail at once,
whatever the busy timeout says. Its journal is WAL only where the library is free of the WAL-reset bug.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from notifier.core.errors import (
    ConfigurationError,
    NotifierError,
    SchemaMismatch,
    StoreError,
)
from notifier.settings.database_url import PostgresAddress, SqliteAddress, address_of
from notifier.steady_time import SteadyTime
from notifier.store import driver_failures, files, statements
from notifier.store.errors import names_no_database, place_of, translated
from notifier.store.migrate import current, require_current, upgrade
from notifier.store.planned_events import UnclaimedDeliveries
from notifier.store.polls import FingerprintCache
from notifier.store.postgres import POSTGRES_THREADS, dump_command, postgres_engine
from notifier.store.postgres_driver import APPLICATION, postgres_parameters, require_utf8
from notifier.store.queries import Queries, ViewQueries
from notifier.store.revision import HEAD, KNOWN
from notifier.store.session import Session
from notifier.store.shared_time import SharedTime, begin
from notifier.store.sqlite import backup, quick_check, sqlite_engine
from notifier.store.sqlite_driver import sqlite_module, wal_is_safe
from notifier.store.transaction import Transaction
from notifier.store.writing import PooledWriter, SqliteWriter, WouldWait, Writer
from notifier.telemetry.ports import SILENT, Meters, TransactionKind

T = TypeVar("T")

Time = Callable[[Session], datetime]
"""Returns the time that all processes on the database agree on."""

READERS = 4
BATCH_LIMIT = 64
"""Maximum number of requests of this process that share a transaction."""


def _uncancellable() -> Future[Any]:
    """Return a future that is running: one that a caller could cancel would end the writer when it gets its result."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()
    return future


@dataclass(frozen=True, slots=True)
class _Request:
    """A transaction that a caller waits for."""

    fn: Callable[[Transaction], Any]
    result: Future[Any] = field(default_factory=_uncancellable)


class SqlStore:
    """A `ports.Store` on SQLite or PostgreSQL."""

    def __init__(
        self,
        writer: Engine,
        reader: Engine,
        *,
        writing: Writer,
        times: tuple[Time, Time],
        lock: files.ServiceLock | None = None,
        file: Path | None = None,
        created: bool = False,
        listening: Mapping[str, Any] | None = None,
    ) -> None:
        """Use `open_store`; it decides what is passed here."""
        self.writer = writer
        self._reader = reader
        self._writing = writing
        self._time, self._time_of_reads = times
        self._lock = lock
        self.created = created
        self._file = file
        self._opened = files.identity_of(file) if file else None
        self._listening = listening
        self.meters: Meters = SILENT.meters
        """Counts the transactions. Set by whoever serves the counters."""
        self._cache = FingerprintCache()
        self._planned = UnclaimedDeliveries()
        self._waiting: deque[_Request] = deque()
        threads = 1 if writing.serial else POSTGRES_THREADS
        self._writers = ThreadPoolExecutor(threads, thread_name_prefix="store-write")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")

    @property
    def serial(self) -> bool:
        """Whether no two transactions on the database ever run beside each other: SQLite."""
        return self._writing.serial

    @property
    def place(self) -> str:
        """The file of the database, or its host and name, as messages name it."""
        return place_of(self.writer.url)

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        """Run `fn` in one write transaction. Raises StoreError.

        A caller waits for its end even when it is cancelled. Nothing can stop the transaction in its thread, and it
        must not claim afterwards what a stop has released.
        With one writer, the requests that arrive during a commit share the next transaction, and so one commit. Then
        `fn` may run twice, so it must do nothing but read and write through its transaction.
        A short one runs on the event loop's thread where it has to wait for nothing, neither an earlier request nor
        another process nor a slow disk: see `notifier.store.writing`.
        """
        if short and not self._waiting:
            with suppress(WouldWait):
                (result,) = self._transact([fn], here=True)
                return result
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
        if self._listening is None:
            await asyncio.Event().wait()
            return
        from notifier.store.listen import listen  # noqa: PLC0415 - with the driver, which SQLite does without

        await listen(self._listening, wake)

    async def verify(self) -> None:
        """Raise StoreReplaced if the path of a SQLite database leads to another file now, or to none."""
        if self._file and self._opened:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._readers, files.require_same, self._file, self._opened)

    async def rescue(self) -> Path:
        """Copy a database whose file was lost or replaced to a new file; return its path. Raises StoreError."""
        if self._file is None:
            raise StoreError("only a database in a file can be copied")
        copy = Path(f"{self._file}.rescued-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        await asyncio.get_running_loop().run_in_executor(self._writers, self._writing.copy, copy)
        return copy

    async def aclose(self) -> None:
        """Wait for what is running, then release connections and the lock."""
        self.close()

    def close(self) -> None:
        """Do the same as `aclose`, outside an event loop."""
        for executor in (self._writers, self._readers):
            executor.shutdown(wait=True)
        self._writing.close()
        for engine in {self.writer, self._reader}:
            engine.dispose()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _serve(self) -> None:
        most = BATCH_LIMIT if self.serial else 1
        with self._writing.turn():  # before requests leave the queue: while there are any, none overtakes them
            requests = [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]
            answers = self._answers(requests) if requests else ()
        for answer in answers:
            answer()

    def _answers(self, requests: Sequence[_Request]) -> Sequence[Callable[[], None]]:
        """Run requests, and return the steps that give each its result."""
        try:
            results = self._transact([request.fn for request in requests])
        except BaseException as error:  # noqa: BLE001 - it is the caller's
            if len(requests) == 1 or isinstance(error.__cause__, OperationalError):  # each of them would fail alike
                return [partial(request.result.set_exception, error) for request in requests]
            # One of them failed, and none has changed anything: run each by itself.
            return [answer for request in requests for answer in self._answers([request])]
        return [partial(request.result.set_result, result) for request, result in zip(requests, results, strict=True)]

    def _transact(self, fns: Sequence[Callable[[Transaction], T]], *, here: bool = False) -> Sequence[T]:
        """Run functions in one transaction. Raises StoreError, and WouldWait `here` on the event loop's thread."""
        after_commit: list[Callable[[], None]] = []
        begin = self._writing.begin_here if here else self._writing.begin
        with self._measured("write"), translated(self.writer.url), begin() as connection, ExitStack() as ended:
            results = []
            for fn in fns:
                tx = Transaction(connection, self._time, self._cache, self._planned)
                ended.callback(tx.close)
                results.append(fn(tx))
                after_commit += tx.after_commit
        for step in after_commit:
            step()
        return results

    def _read(self, fn: Callable[[Queries], T]) -> T:
        with self._measured("read"), translated(self._reader.url), self._reader.begin() as connection:
            session = Session(connection, self._time_of_reads)
            try:
                return fn(ViewQueries(session))
            finally:
                session.close()

    @contextmanager
    def _measured(self, kind: TransactionKind) -> Iterator[None]:
        """Report how long a transaction took. One that would have had to wait has not begun, and is not counted."""
        began = perf_counter()
        try:
            yield
        except WouldWait:
            raise
        except BaseException as error:
            self.meters.transacted(kind, perf_counter() - began, failed=isinstance(error, StoreError))
            raise
        self.meters.transacted(kind, perf_counter() - began, failed=False)


def open_store(
    url: str,
    *,
    exclusive: bool = False,
    create: bool = True,
    migrate: bool = False,
    now: Callable[[], datetime] | None = None,
) -> SqlStore:
    """Open the database at `url`, check its schema version and return the store.

    Args:
        url: `sqlite:///path`, or `postgresql://user:password@host/database`.
        exclusive: take the lock that keeps a second service off a SQLite file.
        create: create a SQLite file where there is none.
        migrate: bring a PostgreSQL schema up to date; SQLite does so by itself, except beside a service of
            an earlier version.
        now: returns the time, instead of the PostgreSQL server or, with SQLite, of this host.

    Raises:
        StoreError: it cannot be used; the message says why and what to do.
        ConfigurationError: the URL is not one of these two.
    """
    address = address_of(url)
    time: Time | None = None if now is None else lambda _: now()
    if isinstance(address, SqliteAddress):
        return _open_sqlite(address.path, exclusive=exclusive, create=create, time=time)
    return _open_postgres(address, migrate=migrate, time=time or _server_time)


# ---- SQLite ----


def _open_sqlite(named: Path, *, exclusive: bool, create: bool, time: Time | None) -> SqlStore:
    path, created = files.find(named, may_create=create)
    with ExitStack() as undo:
        held = undo.enter_context(closing(files.ServiceLock(path))) if exclusive else None
        if exclusive:
            files.protect(path)
        writer = sqlite_engine(path, begin="BEGIN IMMEDIATE", pool_size=2)  # one connection stays with transactions
        undo.callback(writer.dispose)
        reader = sqlite_engine(path, begin="BEGIN", pool_size=READERS)
        undo.callback(reader.dispose)
        with translated(reader.url):
            if exclusive:
                quick_check(reader)
            found = current(reader)  # read without the write lock, which a running service may hold
            if found != HEAD:
                if not exclusive:
                    _require_no_earlier_service(path, found)
                upgrade(writer)
            if exclusive and time is None:  # no other process waits for a deadline of the former clock
                with writer.begin() as connection:
                    begin(connection, SteadyTime.start())
        undo.pop_all()
    times = (time, time) if time else (SharedTime(writing=True), SharedTime(writing=False))
    writing = SqliteWriter(writer, wal=wal_is_safe(sqlite_module().sqlite_version_info))
    return SqlStore(writer, reader, writing=writing, times=times, lock=held, file=path, created=created)


def _require_no_earlier_service(path: Path, found: str | None) -> None:
    """Raise SchemaMismatch if a service runs on an earlier schema: it would go on writing to the newer one."""
    if found in KNOWN and found != HEAD and files.service_runs(path):
        raise SchemaMismatch(
            f"the database {path} has schema {found}, this program needs {HEAD}, and a service of an earlier version"
            " runs on it: stop that service and start this version"
        )


# ---- PostgreSQL ----


def _server_time(session: Session) -> datetime:
    found: datetime = session.execute(statements.SERVER_TIME).scalar_one()
    return found


def _open_postgres(address: PostgresAddress, *, migrate: bool, time: Time) -> SqlStore:
    with ExitStack() as undo:
        engine = _connected(address)
        undo.callback(engine.dispose)
        with translated(engine.url):
            if migrate:
                upgrade(engine)
            else:
                require_current(engine)
        undo.pop_all()
    reader = engine.execution_options(isolation_level="REPEATABLE READ")
    parameters = postgres_parameters(address) | {"application_name": f"{APPLICATION} listening"}
    return SqlStore(engine, reader, writing=PooledWriter(engine), times=(time, time), listening=parameters)


def _connected(address: PostgresAddress) -> Engine:
    """Return an engine whose database is there and can hold what we have."""
    engine = postgres_engine(address, READERS)
    try:
        with translated(engine.url), engine.connect() as connection:
            require_utf8(str(connection.execute(text("SHOW server_encoding")).scalar()))
    except NotifierError as error:
        engine.dispose()
        if names_no_database(error):
            raise driver_failures.no_such_database(error) from error
        raise
    return engine


def copy_database(url: str, target: Path) -> None:
    """Copy a SQLite database, also in use, to a new file. Raises StoreError, or ConfigurationError with a remedy."""
    address = address_of(url)
    if isinstance(address, PostgresAddress):
        raise ConfigurationError(
            f"PostgreSQL copies its databases by a program of its own. Run: {dump_command(address, target)}"
        )
    path, _ = files.find(address.path, may_create=False)
    engine = sqlite_engine(path, begin="BEGIN", pool_size=1)
    try:
        with translated(engine.url), engine.connect() as connection:
            backup(connection, target)
    finally:
        engine.dispose()


def upgrade_database(url: str) -> bool:
    """Upgrade the schema and return whether anything changed. Raises StoreError."""
    with admin_engine(url, create=True) as engine:
        if engine.dialect.name == "sqlite" and engine.url.database:
            _require_no_earlier_service(Path(engine.url.database), current(engine))
        return upgrade(engine)


@contextmanager
def admin_engine(url: str, *, create: bool = False) -> Iterator[Engine]:
    """Yield an engine for work on the schema, whatever version that has."""
    address = address_of(url)
    if isinstance(address, PostgresAddress):
        engine = _connected(address)
    else:
        path, _ = files.find(address.path, may_create=create)
        engine = sqlite_engine(path, begin="BEGIN IMMEDIATE", pool_size=1)
    try:
        with translated(engine.url):
            yield engine
    finally:
        engine.dispose()
