"""Databases as earlier versions left them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from sqlalchemy import Connection, Engine, text

from notifier.settings.database_url import PostgresAddress, SqliteAddress, parse_address
from notifier.store import migrate
from notifier.store.postgres import postgres_engine
from notifier.store.revision import VERSION_TABLE
from notifier.store.sqlite import sqlite_engine


@contextmanager
def plain(url: str) -> Iterator[Engine]:
    """Yield an engine that asks nothing about what is there."""
    address = parse_address(url)
    if isinstance(address, SqliteAddress):
        engine = sqlite_engine(address.path, begin="BEGIN IMMEDIATE", pool_size=1)
    else:
        assert isinstance(address, PostgresAddress)
        engine = postgres_engine(address, 1)
    yield engine
    engine.dispose()


def at(connection: Connection, revision: str) -> None:
    """Make what a version left that recorded its revision where all programs do."""
    config = migrate.alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
    connection.execute(text(f"DROP TABLE {VERSION_TABLE}"))
    key = "version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)"
    connection.execute(text(f"CREATE TABLE alembic_version ({key})"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
