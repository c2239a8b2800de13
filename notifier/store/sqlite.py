"""SQLite: the library, connections, and the lock that keeps a second service off a file."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

from notifier.core.errors import StoreInUse, StoreUnreachable
from notifier.store.errors import BUSY_SECONDS, damaged


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


def sqlite_url(path: Path) -> URL:
    """Return the database library's name for a file."""
    return URL.create("sqlite", database=str(path))


def lock(path: Path) -> IO[bytes]:
    """Keep other services off a database file until what is returned is closed. Raises StoreError."""
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


def quick_check(engine: Engine) -> None:
    """Raise StoreDamaged unless the pages of a file are in order."""
    with engine.connect() as connection:
        verdict = connection.execute(text("PRAGMA quick_check(1)")).scalar()
    if verdict != "ok":
        raise damaged(engine.url)
