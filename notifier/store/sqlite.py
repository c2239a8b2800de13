"""SQLite: the library, connections, and copies of a database that is in use."""

from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL

from notifier.core.errors import ConfigurationError, StoreUnreachable
from notifier.store.compiled import CompiledStatement
from notifier.store.driver_failures import damaged
from notifier.store.errors import translated
from notifier.store.files import create, identity_of
from notifier.store.sqlite_driver import connect, sqlite_module


def sqlite_engine(path: Path, *, begin: str, pool_size: int) -> Engine:
    """Return an engine whose transactions start with `begin`, with the settings that make a commit durable.

    All its connections are to the file that the path leads to now; it is not created.
    """
    opened = identity_of(path)
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        module=sqlite_module(),
        creator=lambda: connect(path, opened),
        pool_size=pool_size,
        max_overflow=0,
    )

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
        raise damaged(str(url.database))
