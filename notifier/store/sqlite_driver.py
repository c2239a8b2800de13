"""The SQLite library and its connections. Light: without SQLAlchemy."""

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from notifier.store.driver_failures import BUSY_SECONDS
from notifier.store.files import Identity, require_same

SQLITE_PAGE_SIZE = 8_192
"""Size of a page of a new database, in bytes. A delivery with its body takes 2 KiB, so a page of SQLite's usual 4 KiB
holds one, and is written again at each step of that delivery. An existing database keeps its size."""

CACHE_KIB = 8_192
"""Maximum size of the pages that a connection keeps, in KiB. A thousand deliveries take up to 4 MiB, and a query that
lists and counts them reads them three times; SQLite keeps 2,000 KiB."""

KEPT_STATEMENTS = 512
"""Number of statements that a connection keeps prepared. The driver keeps 128, which the schema alone fills, and then
drops the newest for the next one: those of each poll would be prepared again each time."""


@cache
def sqlite_module() -> ModuleType:
    """Return the newest SQLite at hand: the pysqlite3 wheel's where it is installed, else Python's own."""
    try:
        from pysqlite3 import dbapi2  # noqa: PLC0415 - not on every platform
    except ImportError:
        import sqlite3 as dbapi2  # noqa: PLC0415 - the fallback
    module: ModuleType = dbapi2
    # The driver asks each None and each bytes for its methods of adaptation, which takes it 1 µs, unless it finds one
    # here: as long as SQLite takes for the whole row.
    module.register_adapter(type(None), {None: None}.get)
    module.register_adapter(bytes, bytes)
    return module


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Return whether a SQLite version is free of the WAL-reset bug, which can corrupt a database with two connections.

    Present from 3.7.0 to 3.51.2; fixed in 3.51.3 and in the back-ports 3.50.7 and 3.44.6 (sqlite.org, "WAL-reset bug").
    Why nothing else is put in where it is not: docs/decisions/0017-the-rollback-journal.md.
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)


def connect(path: Path, opened: Identity | None) -> Any:  # noqa: ANN401 - the driver's connection
    """Connect to the file that `opened` identifies, with the settings that make a commit durable. It is not created.

    Raises the driver's errors, and StoreReplaced where the path leads to another file by now.
    """
    module = sqlite_module()
    if opened is not None:
        require_same(path, opened)
    connection = module.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_SECONDS,
        check_same_thread=False,
        isolation_level=None,
        cached_statements=KEPT_STATEMENTS,
    )
    journal = "WAL" if wal_is_safe(module.sqlite_version_info) else "DELETE"
    cursor = connection.cursor()
    for pragma in (
        f"page_size={SQLITE_PAGE_SIZE}",  # before the journal, whose mode writes the first page
        f"journal_mode={journal}",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"cache_size=-{CACHE_KIB}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
    return connection
