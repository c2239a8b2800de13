"""The statements of look-ups: the files that are compiled ahead of time, and what a text becomes of parameters."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing

import psycopg
import pytest
from factories import T0

from notifier.store import query_statements
from notifier.store.query_texts import path_of, query_text

DATABASES = ["sqlite", "postgresql"]


def names(database: str) -> list[str]:
    return re.findall(r"^-- name: (\w+)$", path_of(database).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("database", DATABASES)
def test_the_files_are_in_step_with_the_statements(database: str) -> None:
    """`make queries` writes them."""
    assert path_of(database).read_text(encoding="utf-8") == query_statements.written(database)


def test_both_databases_have_the_same_statements() -> None:
    assert names("sqlite") == names("postgresql")
    assert len(set(names("sqlite"))) == len(names("sqlite"))


@pytest.mark.parametrize("name", names("sqlite"))
def test_sqlite_takes_every_variant_of_a_statement(name: str, sqlite_url: str) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        for given in variants(name, "sqlite"):
            query_text(name, "sqlite").run(connection.cursor(), given)


@pytest.mark.parametrize("name", names("postgresql"))
def test_postgresql_takes_every_variant_of_a_statement(name: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        for given in variants(name, "postgresql"):
            query_text(name, "postgresql").run(connection.cursor(), given)


def variants(name: str, database: str) -> Iterator[Mapping[str, object]]:
    """Yield parameters with no condition, with each alone, and with all of them."""
    others: Mapping[str, object] = {
        "event_ids": ["a"],
        "since": T0,
        "changed_since": T0,
        "instance_like": "%a%",
        "after_changed_at": T0,
        "before": 1,
    }
    text = query_text(name, database)
    optional = re.findall(r"/\*if (\w+)\*/", text.sql)
    fixed: Mapping[str, object] = {
        "limit": 1,
        "offset": 0,
        "ids": ["a"],
        "now": T0,
        "since": T0,
        "until": T0,
        "after_changed_at": T0,
        "before": 1,
    }
    always = {one: fixed.get(one, "a") for one in text.takes if one not in {*optional, "instance_like"}}
    given = {one: others.get(one, "a") for one in (*optional, "instance_like")}
    yield always
    yield from (always | {one: given[one], "instance_like": "%a%"} for one in optional)
    yield always | given


def test_sqlite_finds_tasks_and_deliveries_by_index(sqlite_url: str) -> None:
    plans = {
        ("tasks", "job_id"): "ix_tasks_job_id",
        ("tasks", "status"): "ix_tasks_status_changed_at",
        ("deliveries", "state"): "ix_deliveries_state_seq",
        ("unacknowledged_count", "state"): "ix_failures_state_changed_at",
        ("deliveries", "id"): "sqlite_autoindex_deliveries_1",
    }
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        for (name, condition), index in plans.items():
            text = query_text(name, "sqlite")
            parameters = dict.fromkeys(text.takes, "a") | {"limit": 10, "offset": 0}
            plan = connection.execute(f"EXPLAIN QUERY PLAN {text.text({condition})}", parameters).fetchall()
            assert any(index in row[3] for row in plan), plan


def test_a_parameter_that_is_none_counts_as_not_given() -> None:
    text = query_text("events", "sqlite")
    assert "events.type" in text.text({"type"}).partition("WHERE")[2]
    assert "events.type" not in text.text(set()).partition("WHERE")[2]
