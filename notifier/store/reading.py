"""Look-ups on a connection of their own, beside a running service: without SQLAlchemy, which takes a while to import.

A database in order is read here. One whose schema is not that of this program is left to `engine`, which upgrades it or
says what to do.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from notifier.settings.database_url import PostgresAddress, SqliteAddress, address_of
from notifier.steady_time import SteadyTime
from notifier.store import driver_failures, files
from notifier.store.lookups import Lookups
from notifier.store.postgres_driver import postgres_parameters, require_utf8
from notifier.store.query_texts import query_text
from notifier.store.revision import FIRST_TABLES, HEAD, VERSION_TABLE
from notifier.store.sqlite_driver import connect, sqlite_module
from notifier.store.writable import prove_writable

T = TypeVar("T")


class OtherSchema(Exception):
    """The schema of the database is not the one that this program needs."""


def read(url: str, query: Callable[[Lookups], T]) -> T:
    """Return the result of a query on one consistent view. Raises StoreError, ConfigurationError and OtherSchema."""
    return _on_cursor(url, query, writing=False)


def read_writable(url: str, query: Callable[[Lookups], T]) -> T:
    """Do the same in a transaction that proves that the database takes changes, and changes nothing."""
    return _on_cursor(url, query, writing=True)


class _Reader:
    """The reads on a driver's cursor, in a transaction of the caller."""

    def __init__(self, cursor: Any, database: str) -> None:  # noqa: ANN401 - the driver's
        self._cursor = cursor
        self._database = database

    def query(self, name: str, /, **parameters: object) -> Sequence[Any]:
        return query_text(name, self._database).run(self._cursor, parameters)

    def now(self) -> datetime:
        found = self.query("time")
        if self._database == "postgresql":
            at: datetime = found[0].at
            return at
        return SteadyTime.start().continuing(found[0] if found else None).at


def _on_cursor(url: str, query: Callable[[Lookups], T], *, writing: bool) -> T:
    address = address_of(url)
    if isinstance(address, SqliteAddress):
        database, opened = "sqlite", _sqlite(address.path, writing=writing)
    else:
        database, opened = "postgresql", _postgres(address, writing=writing)
    with opened as cursor:
        if writing:
            prove_writable(cursor, database)
        return query(Lookups(_Reader(cursor, database)))


@contextmanager
def _sqlite(named: Path, *, writing: bool) -> Iterator[Any]:
    """Yield a cursor in a transaction, which is committed at the end."""
    path, _ = files.find(named, may_create=False)
    try:
        with closing(connect(path, files.identity_of(path))) as connection:
            cursor = connection.cursor()
            found = cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            _require_head(cursor, [name for (name,) in found])
            cursor.execute("BEGIN IMMEDIATE" if writing else "BEGIN")
            yield cursor
            connection.commit()
    except sqlite_module().Error as error:
        raise driver_failures.sqlite_failure(error, str(path)) from error
    except UnicodeDecodeError as error:  # SQLite quotes the malformed bytes of the file, which may not be text
        raise driver_failures.damaged(str(path)) from error


@contextmanager
def _postgres(address: PostgresAddress, *, writing: bool) -> Iterator[Any]:
    """Yield a cursor in a transaction, which is committed at the end."""
    parameters = postgres_parameters(address)
    place = f"{parameters.get('host') or 'the local socket'}/{parameters.get('dbname') or ''}"
    import psycopg  # noqa: PLC0415 - an extra, which SQLite does without; `postgres_parameters` says where it is missing

    try:
        with closing(psycopg.connect(**parameters)) as connection:
            require_utf8(connection.info.parameter_status("server_encoding"))
            if not writing:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            cursor = connection.cursor()
            found = cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
            _require_head(cursor, [name for (name,) in found])
            yield cursor
            connection.commit()
    except psycopg.Error as error:
        failure = driver_failures.postgres_failure(
            error, place, operational=isinstance(error, psycopg.OperationalError), lost=False
        )
        if driver_failures.names_no_database(error):
            raise driver_failures.no_such_database(failure) from error
        raise failure from error


def _require_head(cursor: Any, tables: Sequence[str]) -> None:  # noqa: ANN401 - the driver's
    """Raise OtherSchema unless the tables are ours and of this program's revision."""
    if not {VERSION_TABLE, *FIRST_TABLES} <= {*tables}:
        raise OtherSchema
    recorded = cursor.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchall()  # noqa: S608 - our own name
    if [*map(tuple, recorded)] != [(HEAD,)]:
        raise OtherSchema
