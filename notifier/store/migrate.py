"""The schema's version, and bringing it up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    TableClause,
    column,
    insert,
    inspect,
    select,
    table,
    text,
    update,
)

import notifier
from notifier.core.errors import SchemaMismatch
from notifier.store.errors import place_of
from notifier.store.revision import FIRST_TABLES, HEAD, KNOWN, VERSION_TABLE
from notifier.store.schema import metadata

if TYPE_CHECKING:  # alembic takes a tenth of a second and 8 MB, and is needed only for a database of an earlier version
    from alembic.config import Config

_SHARED_TABLE = "alembic_version"
"""Where versions of this program before schema 0004 recorded it."""

_TASK_COLUMNS = frozenset({"job_id", "fingerprint", "occurrence"})

_LOCK = 7_461_206_019
"""An arbitrary key: replicas that migrate at once take turns on this PostgreSQL advisory lock."""


def migrations_path() -> Path:
    """Return the folder of the migrations: inside an installed package, or beside it in a checkout."""
    package = Path(notifier.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def current(engine: Engine) -> str | None:
    """Return the schema's revision, or None for an empty database. Raises SchemaMismatch for another program's."""
    with engine.connect() as connection:
        return _found(connection).revision


class _Found(NamedTuple):
    """The revision that a database records."""

    revision: str | None
    ours: bool
    """True when our own table records it; False for the table that other programs have too, or for none."""


def _found(connection: Connection) -> _Found:
    """Read the revision. Raises SchemaMismatch unless the tables are those of that revision."""
    tables, place = _tables(connection), place_of(connection.engine.url)
    if VERSION_TABLE in tables:
        revision = _recorded(connection, VERSION_TABLE)
        if revision in KNOWN and not tables >= FIRST_TABLES:
            raise SchemaMismatch(
                f"the database {place} says that it has schema {revision}, and lacks the table"
                f" {min(FIRST_TABLES - tables)}: restore a copy of it"
            )
        return _Found(revision, ours=True)
    if not tables & {_SHARED_TABLE, *metadata.tables}:
        return _Found(None, ours=False)
    revision = _recorded(connection, _SHARED_TABLE) if tables >= {_SHARED_TABLE, *FIRST_TABLES} else None
    if revision not in KNOWN or not _columns(connection, "tasks") >= _TASK_COLUMNS:
        raise SchemaMismatch(
            f"the database {place} belongs to another program: give the notifier one of its own, or in"
            " PostgreSQL a schema of its own with ?options=-csearch_path%3Dnotifier in store.url"
        )
    return _Found(revision, ours=False)


def _tables(connection: Connection) -> frozenset[str]:
    """Return the names of the tables where ours are or would be created: not all that can be seen from there."""
    return frozenset(inspect(connection).get_table_names(schema=connection.dialect.default_schema_name))


def _columns(connection: Connection, name: str) -> frozenset[str]:
    found = inspect(connection).get_columns(name, schema=connection.dialect.default_schema_name)
    return frozenset(one["name"] for one in found)


def _version_in(name: str) -> TableClause:
    return table(name, column("version_num"))


def _recorded(connection: Connection, name: str) -> str | None:
    """Return the one revision that a version table holds."""
    if "version_num" not in _columns(connection, name):
        return None
    revisions = list(connection.execute(select(_version_in(name).c.version_num)).scalars())
    return str(revisions[0]) if len(revisions) == 1 else None


def require_current(engine: Engine) -> None:
    """Raise SchemaMismatch unless the schema is the one that this program needs."""
    revision = current(engine)
    if revision == HEAD:
        return
    if revision is None or revision in KNOWN:
        has = "is empty" if revision is None else f"has schema {revision}"
        raise SchemaMismatch(f"the database {has}, this program needs {HEAD}: run `notifier db upgrade`")
    raise _newer(revision)


def upgrade(engine: Engine) -> bool:
    """Bring the schema up to date in one transaction; return whether that changed it. Raises SchemaMismatch."""
    with engine.connect() as connection:
        found = _found(connection)
    if found == _Found(HEAD, ours=True):
        return False
    if found.revision not in {None, *KNOWN}:
        raise _newer(str(found.revision))
    with engine.begin() as connection:
        _migrate(connection)
    return True


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found = _found(connection)  # again: the former holder of the lock may have migrated it
    if found == _Found(None, ours=False):
        _create(connection)
    else:
        _run_migrations(connection, found)


def _create(connection: Connection) -> None:
    """Create in an empty database what the migrations lead to; a test holds the two together."""
    metadata.create_all(connection, checkfirst=False)
    # As alembic creates it.
    key = PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc")
    version = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32), nullable=False), key)
    version.create(connection)
    connection.execute(insert(version).values(version_num=HEAD))


def _run_migrations(connection: Connection, found: _Found) -> None:
    from alembic import command  # noqa: PLC0415 - see above

    config = alembic_config()
    config.attributes["connection"] = connection
    if found.revision is not None and not found.ours:
        command.stamp(config, found.revision)
        # An earlier version, started by mistake, reads its own table and refuses the newer schema.
        connection.execute(update(_version_in(_SHARED_TABLE)).values(version_num=HEAD))
    command.upgrade(config, "head")


def alembic_config() -> Config:
    """Return the configuration that alembic's own commands need too."""
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    # The parser reads a percent sign as the start of a reference.
    config.set_main_option("script_location", str(migrations_path()).replace("%", "%%"))
    return config


def _newer(revision: str) -> SchemaMismatch:
    return SchemaMismatch(
        f"the database has schema {revision}, newer than {HEAD}, the newest this program knows: update the program"
    )
