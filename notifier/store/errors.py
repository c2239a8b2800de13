"""Turning the database libraries' exceptions into ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from notifier.core.errors import StoreDamaged, StoreError, StoreUnreachable

BUSY_SECONDS: Final = 10
"""How long SQLite waits for a lock that another process holds."""

READ_ONLY: Final = "25006"
"""What PostgreSQL calls a change that it refuses because it is read-only."""

_LOST = re.compile(rf"{READ_ONLY}|08\w{{3}}|57P0[123]")


def is_lost(sqlstate: str | None) -> bool:
    """Tell whether a connection is of no use after an error: its server is read-only now, is going away, or is gone."""
    return _LOST.fullmatch(sqlstate or "") is not None


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
        raise damaged(url) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database failed: {type(error).__name__}") from error


def _translate(error: DBAPIError, url: URL) -> StoreError:
    said = next(iter(str(error.orig).splitlines()), "") or type(error.orig).__name__
    place = place_of(url)
    if "malformed" in said or "not a database" in said:
        return damaged(url)
    if url.get_backend_name() == "postgresql":
        return _of_postgres(error, said, place)
    if "is locked" in said:
        return StoreError(
            f"the database {place} is locked: another program, perhaps a backup or a shell, has held it for more than"
            f" {BUSY_SECONDS} s; end that program (`fuser {place}` finds it)"
        )
    if "unable to open" in said or "readonly" in said or "disk I/O" in said or "full" in said:
        return StoreUnreachable(f"the database {place} cannot be written: {said}; check the disk and the file's rights")
    return StoreError(f"the database {place} failed: {said}")


def _of_postgres(error: DBAPIError, said: str, place: str) -> StoreError:
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate == READ_ONLY or "session is read-only" in said or "server is in hot standby" in said:
        return StoreUnreachable(
            f"PostgreSQL at {place} takes no changes: it is read-only or a standby, perhaps after a failover;"
            " everything goes on by itself when that name leads to a server that takes changes"
        )
    # What a server says of a statement carries a code; without one, none answered.
    unanswered = isinstance(error, OperationalError) and sqlstate is None
    if error.connection_invalidated or unanswered or is_lost(sqlstate):
        return StoreUnreachable(f"PostgreSQL at {place} does not answer: {said}")
    return StoreError(f"the database {place} failed: {said}")


def place_of(url: URL) -> str:
    """Return what a database is called where people read of it: its file, or its host and name."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return f"{url.host or 'the local socket'}/{url.database or ''}"


def names_no_database(error: Exception) -> bool:
    """Tell whether a server answered that it has no database of that name."""
    said = getattr(error.__cause__, "orig", None)
    missing = re.search(r'FATAL: +database ".*" does not exist', str(said)) is not None
    return missing or getattr(said, "sqlstate", None) == "3D000"


def damaged(url: URL) -> StoreDamaged:
    """Return what to say of a file that is no database, or not a whole one."""
    return StoreDamaged(
        f"the database file {url.database} is damaged; restore a copy, or save what can be saved with "
        f"`sqlite3 {url.database} .recover | sqlite3 recovered.db`. It was left as it is."
    )
