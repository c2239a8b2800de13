"""The connections through which a process writes, and where its transactions run.

With SQLite there is one such connection, and it stays open. A short transaction takes less time on it than handing it
to a thread and back does, during which the event loop and the thread would also wait for each other at each row. So it
runs on the event loop's thread, unless that would have to wait: for another transaction, for another process, or for a
slow disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, RootTransaction
from sqlalchemy.exc import DBAPIError

from notifier.core.errors import StoreError
from notifier.store.driver_failures import BUSY_SECONDS
from notifier.store.errors import translated
from notifier.store.sqlite import backup

DISK_LIMIT = 0.001
"""Time that a commit may wait for the disk on the event loop's thread, in seconds, on average."""
DISK_RETRY = 1.0
"""Time after which a short transaction tries again whether the disk is fast, in seconds."""
_WEIGHT = 1 / 8
"""Weight of the latest commit in the average."""


class WouldWait(Exception):
    """A transaction would have to wait before it begins. It has changed nothing."""


class DiskSpeed:
    """Decides by the latest commits whether the event loop may wait for the disk."""

    def __init__(self) -> None:
        self._average = 0.0
        self._next_try = 0.0

    def is_fast(self, now: float) -> bool:
        """Return whether the next commit on the event loop's thread is likely to be short; `now` is monotonic."""
        return self._average <= DISK_LIMIT or now >= self._next_try

    def record(self, waited: float, now: float) -> None:
        """Take in how long a commit on the event loop's thread waited, in seconds.

        A single slow one, when the journal is copied into the database, counts for no more than twice the limit.
        """
        self._average += (min(waited, 2 * DISK_LIMIT) - self._average) * _WEIGHT
        self._next_try = now + DISK_RETRY


class Writer(Protocol):
    """Gives the transactions that write their connections."""

    @property
    def serial(self) -> bool:
        """Return whether one transaction runs at a time."""

    def turn(self) -> AbstractContextManager[object]:
        """Wait until a transaction of this process may begin. Its connection is used within this."""

    def begin(self) -> AbstractContextManager[Connection]:
        """Begin a transaction, in a turn. It is committed at the end, and rolled back after an exception."""

    def begin_here(self) -> AbstractContextManager[Connection]:
        """Begin one on the event loop's thread, without a turn. Raises WouldWait where it has to wait for anything."""

    def copy(self, target: Path) -> None:
        """Copy the database as its open connection has it. Raises StoreError."""

    def close(self) -> None:
        """Release the connections."""


class PooledWriter:
    """Writes beside each other, each on a connection of the pool: PostgreSQL."""

    serial = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def turn(self) -> AbstractContextManager[object]:
        """Return at once."""
        return nullcontext()

    def begin(self) -> AbstractContextManager[Connection]:
        """Begin a transaction."""
        return self._engine.begin()

    def begin_here(self) -> AbstractContextManager[Connection]:
        """Raise WouldWait: each statement waits for the server."""
        raise WouldWait

    def copy(self, target: Path) -> None:
        """Raise StoreError."""
        raise StoreError(f"only a database in a file can be copied to {target}")

    def close(self) -> None:
        """Leave the connections to the pool."""


class SqliteWriter:
    """Writes one after the other on one connection, which stays open."""

    serial = True

    def __init__(self, engine: Engine, *, wal: bool) -> None:
        """`wal`: whether the journal is a write-ahead log. With the other kind a commit waits for readers."""
        self._engine = engine
        self._wal = wal
        self._turn = threading.Lock()
        self._connection: Connection | None = None
        self._patience: int | None = None
        self._disk = DiskSpeed()

    def turn(self) -> AbstractContextManager[object]:
        """Wait until no other transaction of this process runs."""
        return self._turn

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """Begin a transaction, in a turn. It waits for another process for up to BUSY_SECONDS."""
        connection = self._open()
        self._set_patience(connection, BUSY_SECONDS)
        with self._returned_after_failure(), connection.begin():
            yield connection

    @contextmanager
    def begin_here(self) -> Iterator[Connection]:
        """Begin one on the event loop's thread, without a turn. Raises WouldWait where it has to wait for anything."""
        if not self._turn.acquire(blocking=False):
            raise WouldWait
        try:
            connection = self._connection
            if connection is None or not self._wal or not self._disk.is_fast(time.monotonic()):
                raise WouldWait
            transaction = self._begin_at_once(connection)
            with self._returned_after_failure(), transaction:
                yield connection
                began, computed = time.monotonic(), time.thread_time()
                transaction.commit()
                ended = time.monotonic()
                self._disk.record(ended - began - (time.thread_time() - computed), ended)
        finally:
            self._turn.release()

    def _begin_at_once(self, connection: Connection) -> RootTransaction:
        self._set_patience(connection, 0)
        try:
            return connection.begin()
        except DBAPIError as error:  # another process writes, or the file cannot be used: a thread finds out which
            raise WouldWait from error

    def _set_patience(self, connection: Connection, seconds: int) -> None:
        """Set how long SQLite waits for a lock of another process. In a write-ahead log only a beginning waits."""
        if seconds != self._patience:
            connection.connection.cursor().execute(f"PRAGMA busy_timeout={1000 * seconds}")
            self._patience = seconds

    @contextmanager
    def _returned_after_failure(self) -> Iterator[None]:
        """Give the connection back to the pool after an exception, without a transaction.

        SQLAlchemy counts one as ended whose commit failed. SQLite ends it only after some failures, as a full disk.
        """
        try:
            yield
        except BaseException:
            self._undo()
            self.close()
            raise

    def _undo(self) -> None:
        if self._connection is None or self._connection.invalidated:
            return
        try:
            self._connection.connection.rollback()
        except self._engine.dialect.loaded_dbapi.Error as error:  # only the end of the connection undoes it
            self._connection.invalidate(error)

    def copy(self, target: Path) -> None:
        """Copy the database to a new file. Raises StoreError.

        The connection is the open one: a new one would lead to another file, where the first was replaced.
        """
        with self._turn, translated(self._engine.url):
            backup(self._open(), target)

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
            self._patience = None
        return self._connection

    def close(self) -> None:
        """Give the connection back to the pool."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
