"""The schema's version, and bringing it up to date."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

import notifier
from notifier.core.errors import SchemaMismatch

if TYPE_CHECKING:  # alembic takes a tenth of a second to import and is needed only when there is something to do
    from alembic.config import Config

HEAD = "0004"
"""The revision that this program needs; a test holds it to the newest migration."""

_LOCK = 7_461_206_019
"""An arbitrary key: replicas that migrate at once take turns on this PostgreSQL advisory lock."""


def migrations_path() -> Path:
    """Return the folder of the migrations: inside an installed package, or beside it in a checkout."""
    package = Path(notifier.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def current(engine: Engine) -> str | None:
    """Return the schema's revision, or None for an empty database."""
    with engine.connect() as connection:
        return _current(connection)


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def require_current(engine: Engine) -> None:
    """Raise SchemaMismatch unless the schema is the one that this program needs."""
    revision = current(engine)
    if revision == HEAD:
        return
    if revision is None or revision < HEAD:
        has = "is empty" if revision is None else f"has schema {revision}"
        raise SchemaMismatch(f"the database {has}, this program needs {HEAD}: run `notifier db upgrade`")
    raise _newer(revision)


def upgrade(engine: Engine) -> bool:
    """Bring the schema up to date in one transaction; return whether there was anything to do.

    Raises SchemaMismatch when the schema is newer than this program.
    """
    revision = current(engine)
    if revision == HEAD:
        return False
    if revision is not None and revision > HEAD:
        raise _newer(revision)
    with engine.begin() as connection:
        _migrate(connection)
    return True


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see above

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def alembic_config() -> Config:
    """Return the configuration that alembic's own commands need too."""
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(migrations_path()))
    return config


def _newer(revision: str) -> SchemaMismatch:
    return SchemaMismatch(
        f"the database has schema {revision}, newer than {HEAD}, the newest this program knows: update the program"
    )
