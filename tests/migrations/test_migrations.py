"""The schema, its versions, and what happens when they do not fit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from notifier.core.errors import SchemaMismatch
from notifier.store import migrate, revision
from notifier.store.engine import admin_engine, open_store
from notifier.store.schema import metadata


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    """Yield an engine on a database that has the schema."""
    open_store(store_url, migrate=True).close()
    with admin_engine(store_url) as engine:
        yield engine


def test_the_migrations_end_where_the_tables_are(engine: Engine) -> None:
    with engine.connect() as connection:
        assert (
            compare_metadata(
                MigrationContext.configure(connection, opts={"version_table": revision.VERSION_TABLE}), metadata
            )
            == []
        )


def described(engine: Engine) -> Mapping[str, object]:
    """Return all that a database knows about its tables, whatever the order of their columns."""
    found: dict[str, object] = {}
    with engine.connect() as connection:
        seen = inspect(connection)
        for name in seen.get_table_names():
            columns = {one["name"]: {**one, "type": str(one["type"])} for one in seen.get_columns(name)}
            parts = (seen.get_unique_constraints, seen.get_check_constraints, seen.get_foreign_keys)
            found[name] = (columns, seen.get_pk_constraint(name), *(sorted(map(str, part(name))) for part in parts))
        indices = {
            "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name",
            "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname",
        }
        found["indices"] = connection.execute(text(indices[engine.dialect.name])).all()
        found["revision"] = connection.execute(text("SELECT version_num FROM notifier_schema")).all()
    return found


def test_a_new_database_is_what_the_migrations_lead_to(engine: Engine) -> None:
    """A new one is created at once, without them."""
    created = described(engine)
    with engine.begin() as connection:
        metadata.drop_all(connection)
        connection.execute(text(f"DROP TABLE {revision.VERSION_TABLE}"))
        config = migrate.alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    assert described(engine) == created
    assert len(created) > 10


def test_a_new_database_is_created_without_the_library_of_migrations(tmp_path: Path) -> None:
    """It would stay in the memory of the service until its next start."""
    opening = "import sys; from notifier.store import engine; engine.open_store(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", opening, f"sqlite:///{tmp_path}/new.db"], capture_output=True, text=True, check=True
    )
    assert {"sqlalchemy", "alembic"} & {*done.stdout.split()} == {"sqlalchemy"}
    assert (tmp_path / "new.db").exists()


def test_the_program_needs_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(migrate.alembic_config()).get_heads() == [revision.HEAD]


def test_migrating_twice_does_nothing(engine: Engine) -> None:
    assert migrate.upgrade(engine) is False
    assert migrate.current(engine) == revision.HEAD


def test_a_migration_can_be_taken_back(engine: Engine) -> None:
    with engine.begin() as connection:
        config = migrate.alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == [revision.VERSION_TABLE]


def test_a_schema_from_the_future_is_refused(engine: Engine, store_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE notifier_schema SET version_num = '9999'"))
    with pytest.raises(SchemaMismatch, match=r"schema 9999, newer than .*update the program"):
        open_store(store_url, migrate=True)


def test_an_empty_postgresql_is_migrated_only_when_asked(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    with pytest.raises(SchemaMismatch, match=r"is empty, this program needs .*: run `notifier db upgrade`"):
        open_store(postgres_url)
    open_store(postgres_url, migrate=True).close()
    open_store(postgres_url).close()


def test_an_empty_sqlite_file_is_migrated_by_itself(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/new.db").close()
    assert (tmp_path / "new.db").exists()
