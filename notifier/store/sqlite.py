"""SQLite: the library, connections, and copies of a database that is in use."""

from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

from notifier.core.errors import ConfigurationError, StoreUnreachable
from notifier.store.compiled import CompiledStatement
from notifier.store.errors import BUSY_SECONDS, damaged, translated
from notifier.store.files import create, identity_of, require_same


def sqlite_module() -> ModuleType:
    """Return the newest SQLite at hand: the pysqlite3 wheel's where it is installed, else Python's own."""
    try:
        from pysqlite3 import dbapi2  # noqa: PLC0415 - not on every platform
    except ImportError:
        import sqlite3 as dbapi2  # noqa: PLC0415 - the fallback
    module: ModuleType = dbapi2
    return module


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Return whether a SQLite version is free of the WAL-reset bug, which can corrupt a database with two connections.

    Present from 3.7.0 to 3.51.2; fixed in 3.51.3 and in the back-ports 3.50.7 and 3.44.6 (sqlite.org, "WAL-reset bug").
    Why nothing else is put in where it is not: docs/decisions/0017-the-rollback-journal.md.
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def sqlite_engine(path: Path, *, begin: str, pool_size: int) -> Engine:
    """Return an engine whose transactions start with `begin`, with the settings that make a commit durable.

    All its connections are to the file that the path leads to now; it is not created.
    """
    module, opened = sqlite_module(), identity_of(path)

    def connect() -> Any:  # noqa: ANN401 - the driver's connection
        if opened is not None:
            require_same(path, opened)
        return module.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
            isolation_level=None,
        )

    engine = create_engine(
        URL.create("sqlite", database=str(path)), module=module, creator=connect, pool_size=pool_size, max_overflow=0
    )
    journal = "WAL" if wal_is_safe(module.sqlite_version_info) else "DELETE"

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's connection
        cursor = connection.cursor()
        for pragma in (f"journal_mode={journal}", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    statement = CompiledStatement(text(begin), engine.dialect)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        statement.execute(connection, connection.connection.cursor(), None)

    return engine


def quick_check(engine: Engine) -> None:
    """Raise StoreDamaged unless the pages of a file are in order."""
    with engine.connect() as connection:
        _require_sound(connection.execute(text(_CHECK)).scalar(), engine.url)


def backup(connection: Connection, target: Path) -> None:
    """Copy the database of a connection, which may be in use, as it is at one moment, to a new file.

    Its owner alone can read it. The copy is checked. Raises StoreError, and ConfigurationError where the target exists.
    """
    module = sqlite_module()
    try:
        new = create(target)
    except OSError as error:
        raise StoreUnreachable(f"the copy {target} cannot be written: {error.strerror}") from error
    if not new:
        raise ConfigurationError(f"{target} exists already, and nothing is overwritten: name a new file")
    try:
        with translated(connection.engine.url), closing(module.connect(str(target))) as copy:
            connection.connection.driver_connection.backup(copy)  # type: ignore[union-attr]  # SQLite's own
            _require_sound(copy.execute(_CHECK).fetchone()[0], connection.engine.url)
    except BaseException as error:
        target.unlink()
        if isinstance(error, module.Error):
            raise StoreUnreachable(f"the copy {target} cannot be written: {error}") from error
        raise


_CHECK = "PRAGMA quick_check(1)"


def _require_sound(verdict: object, url: URL) -> None:
    if verdict != "ok":
        raise damaged(url)
