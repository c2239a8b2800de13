"""Tokens, hashed passwords and the record of actions, on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from notifier.cli.common import current_user
from notifier.cli.root import app
from notifier.core.access import TOKEN_PATTERN, is_token
from notifier.store.engine import admin_engine, open_store
from notifier.store.schema import metadata
from notifier.web.access.passwords import accepts

CONFIG = """
store: {url: "sqlite:///%s"}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, auth: {kind: aksk, access_key: a, secret_key: s}}
channels: [{name: log, kind: console}]
"""

Run = Callable[..., Result]


@pytest.fixture
def database(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/n.db"
    open_store(url).close()
    (tmp_path / "notifier.yaml").write_text(CONFIG % f"{tmp_path}/n.db", encoding="utf-8")
    return url


@pytest.fixture
def run(database: str, tmp_path: Path) -> Run:  # noqa: ARG001 - it is there
    def command(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        found = CliRunner().invoke(app, [*words, "--config", str(tmp_path / "notifier.yaml")], input=stdin)
        assert found.exit_code == code, found.output
        return found

    return command


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_token_is_printed_once_and_alone(run: Run, database: str) -> None:
    """So that a script can take it: TOKEN=$(notifier token create …)."""
    made = run("token", "create", "grafana", "--scope", "read,metrics")
    secret = made.stdout.strip()
    assert re.fullmatch(TOKEN_PATTERN, secret)
    assert is_token(secret)
    assert "grafana" in made.stderr
    (listed,) = document(run("token", "list", "--json"))["tokens"]
    assert (listed["name"], listed["scopes"], listed["used_at"]) == ("grafana", ["metrics", "read"], None)
    assert listed["by"] == current_user().id
    lasts = datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=364) < lasts <= timedelta(days=365)
    with admin_engine(database) as engine, engine.connect() as connection:
        kept = repr([connection.execute(select(table)).all() for table in metadata.sorted_tables])
    assert listed["id"] in kept
    assert secret not in kept


def test_a_token_may_last_for_good(run: Run) -> None:
    made = document(run("token", "create", "ci", "--scope", "act", "--expires", "never", "--json"))
    assert is_token(made["secret"])
    assert made["token"]["expires_at"] is None
    assert "never" in run("token", "list").stdout


def test_a_revoked_token_is_gone(run: Run) -> None:
    run("token", "create", "ci", "--scope", "read")
    assert "ci" in run("token", "revoke", "ci").stdout
    run("token", "list", code=1)
    assert "notifier token list" in run("token", "revoke", "ci", code=1).stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["x", "--scope", "wirte"], 2, "scopes are read, act, admin, metrics"),
        (["x"], 2, "--scope"),
        (["a\nb", "--scope", "read"], 2, "characters that can be seen"),
        (["x", "--scope", "read", "--expires", "5"], 2, "not a duration"),
        (["taken", "--scope", "read"], 1, "is called 'taken' already"),
    ],
)
def test_a_mistake_makes_no_token(run: Run, words: list[str], code: int, said: str) -> None:
    run("token", "create", "taken", "--scope", "read")
    refused = run("token", "create", *words, code=code)
    assert said in refused.stderr
    assert len(document(run("token", "list", "--json"))["tokens"]) == 1


def test_the_record_of_actions_can_be_narrowed(run: Run) -> None:
    run("token", "create", "one", "--scope", "read")
    run("token", "create", "two", "--scope", "read")
    run("token", "revoke", "one")

    def listed(*words: str) -> list[tuple[str, str]]:
        return [(one["verb"], one["target"]) for one in document(run("audit", "log", "--json", *words))["actions"]]

    assert listed() == [("revoke_token", "one"), ("create_token", "two"), ("create_token", "one")]
    assert listed("--verb", "create_token") == [("create_token", "two"), ("create_token", "one")]
    assert listed("--by", current_user().id, "--limit", "1") == [("revoke_token", "one")]
    assert listed("--by", current_user().name, "--since", "1h", "--verb", "revoke_token") == [("revoke_token", "one")]
    assert "No such action" in run("audit", "log", "--by", "somebody", code=1).stdout
    assert "create token" in run("audit", "log").stdout


def test_a_password_is_hashed_from_a_pipe() -> None:
    done = CliRunner().invoke(app, ["hash-password"], input="correct horse battery\n")
    assert done.exit_code == 0
    assert accepts(done.stdout.strip(), "correct horse battery")
    assert "horse" not in done.stdout


@pytest.mark.parametrize("typed", ["short\n", "\n", "", "with a \u200b hidden one\n", "x" * 1025])
def test_a_password_that_cannot_be_used_is_refused(typed: str) -> None:
    done = CliRunner().invoke(app, ["hash-password"], input=typed)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert typed.strip() not in done.stderr or not typed.strip()
