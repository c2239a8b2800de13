"""What an operator is told when a database fails. Light: without a database library."""

import re
from typing import Final

from notifier.core.errors import ConfigurationError, NotifierError, StoreDamaged, StoreError, StoreUnreachable

BUSY_SECONDS: Final = 10
"""Maximum time that SQLite waits for a lock of another process, in seconds."""

READ_ONLY: Final = "25006"
"""SQLSTATE of a change that PostgreSQL refuses because it is read-only."""

_LOST = re.compile(rf"{READ_ONLY}|08\w{{3}}|57P0[123]")


def is_lost(sqlstate: str | None) -> bool:
    """Return whether an error makes a connection useless: its server is read-only, shuts down, or cannot be reached."""
    return _LOST.fullmatch(sqlstate or "") is not None


def first_line(error: object) -> str:
    """Return the first line of a driver's error, which has no values of rows."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def sqlite_failure(error: object, place: str) -> StoreError:
    """Return the error for one of SQLite's. `place` is the file."""
    message = first_line(error)
    if "malformed" in message or "not a database" in message:
        return damaged(place)
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


def postgres_failure(error: object, place: str, *, operational: bool, lost: bool) -> StoreError:
    """Return the error for one of the PostgreSQL driver's.

    Args:
        error: the driver's.
        place: host and name of the database.
        operational: whether the driver calls it an operational error.
        lost: whether the connection is of no use any more.
    """
    message, sqlstate = first_line(error), getattr(error, "sqlstate", None)
    if sqlstate == READ_ONLY or "session is read-only" in message or "server is in hot standby" in message:
        return StoreUnreachable(
            f"PostgreSQL at {place} takes no changes: it is read-only or a standby, perhaps after a failover;"
            " everything goes on by itself when that name leads to a server that takes changes"
        )
    # An answer of a server carries a code; without a code no server answered.
    if lost or is_lost(sqlstate) or (operational and sqlstate is None):
        return StoreUnreachable(f"PostgreSQL at {place} does not answer: {message}")
    return StoreError(f"the database {place} failed: {message}")


def names_no_database(error: object) -> bool:
    """Return whether a server answered that it has no database of that name. `error` is the driver's."""
    missing = re.search(r'FATAL: +database ".*" does not exist', str(error)) is not None
    return missing or getattr(error, "sqlstate", None) == "3D000"


def no_such_database(failure: NotifierError) -> ConfigurationError:
    """Return the error of a configuration that names a database which its server does not have."""
    return ConfigurationError(f"store.url names a database that does not exist: {failure}")


def damaged(place: str) -> StoreDamaged:
    """Return the error for a file that is not a complete database."""
    return StoreDamaged(
        f"the database file {place} is damaged; restore a copy, or save what can be saved with "
        f"`sqlite3 {place} .recover | sqlite3 recovered.db`. It was left as it is."
    )
