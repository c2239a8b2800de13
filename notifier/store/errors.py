"""Turning the database libraries' exceptions into ours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from notifier.core.errors import StoreDamaged, StoreError, StoreUnreachable

BUSY_SECONDS: Final = 10
"""Maximum time that SQLite waits for a lock of another process, in seconds."""

READ_ONLY: Final = "25006"
"""SQLSTATE of a change that PostgreSQL refuses because it is read-only."""

_LOST = re.compile(rf"{READ_ONLY}|08\w{{3}}|57P0[123]")


def is_lost(sqlstate: str | None) -> bool:
    """Return whether an error makes a connection useless: its server is read-only, shuts down, or cannot be reached."""
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
        # SQLite quotes the malformed bytes of the file, which may not be text.
        raise damaged(url) from error
    except SQLAlchemyError as error:
        raise StoreError(f"the database failed: {type(error).__name__}") from error


def _translate(error: DBAPIError, url: URL) -> StoreError:
    message = next(iter(str(error.orig).splitlines()), "") or type(error.orig).__name__
    place = place_of(url)
    if "malformed" in message or "not a database" in message:
        return damaged(url)
    if url.get_backend_name() == "postgresql":
        return _of_postgres(error, message, place)
    if "is locked" in message:
        return StoreError(
            f"the database {place} is locked: another program, perhaps a backup or a shell, has held it for more than"
            f" {BUSY_SECONDS} s; end that program (`fuser {place}` finds it)"
        )
    if "unable to open" in message or "readonly" in message or "disk I/O" in message or "full" in message:
        return StoreUnreachable(
            f"the database {place} cannot be written: {message}; check the disk and the file's rights"
        )
    return StoreError(f"the database {place} failed: {message}")


def _of_postgres(error: DBAPIError, message: str, place: str) -> StoreError:
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate == READ_ONLY or "session is read-only" in message or "server is in hot standby" in message:
        return StoreUnreachable(
            f"PostgreSQL at {place} takes no changes: it is read-only or a standby, perhaps after a failover;"
            " everything goes on by itself when that name leads to a server that takes changes"
        )
    # An answer of a server carries a code; without a code no server answered.
    unanswered = isinstance(error, OperationalError) and sqlstate is None
    if error.connection_invalidated or unanswered or is_lost(sqlstate):
        return StoreUnreachable(f"PostgreSQL at {place} does not answer: {message}")
    return StoreError(f"the database {place} failed: {message}")


def place_of(url: URL) -> str:
    """Return the name of a database in messages: its file, or its host and name."""
    if url.get_backend_name() == "sqlite":
        return url.database or ""
    return f"{url.host or 'the local socket'}/{url.database or ''}"


def names_no_database(error: Exception) -> bool:
    """Return whether a server answered that it has no database of that name."""
    cause = getattr(error.__cause__, "orig", None)
    missing = re.search(r'FATAL: +database ".*" does not exist', str(cause)) is not None
    return missing or getattr(cause, "sqlstate", None) == "3D000"


def damaged(url: URL) -> StoreDamaged:
    """Return the error for a file that is not a complete database."""
    return StoreDamaged(
        f"the database file {url.database} is damaged; restore a copy, or save what can be saved with "
        f"`sqlite3 {url.database} .recover | sqlite3 recovered.db`. It was left as it is."
    )
