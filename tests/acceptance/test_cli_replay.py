"""`notifier replay` on real databases, also beside a service that is writing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from factories import make_event, make_task
from sqlalchemy import text
from typer.testing import CliRunner, Result

from notifier.cli.root import app
from notifier.core.model import Event, TaskStatus
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig, route_events
from notifier.planning import announce
from notifier.store.engine import admin_engine, open_store
from notifier.store.migrate import alembic_config
from notifier.store.transaction import Transaction

CONFIG = """
timezone: Asia/Shanghai
language: {language}
store: {{url: "{url}"}}
sources:
  - name: prod
    kind: gaussdb
    region: cn-north-4
    endpoint: http://127.0.0.1:1
    project_id: 0611f1bd8b00d5d32f17c017f15b599f
    auth: {{kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels:
  - {{name: dba, kind: console}}
  - {{name: tickets, kind: webhook, url: "http://127.0.0.1:1/hook"}}
routes:
{routes}
"""
EVERYTHING = '  - {name: all, channels: [dba]}\n  - {name: failures, match: ["status=failed"], channels: [tickets]}'
FAILURES = '  - {name: failures, match: ["status=failed"], channels: [dba]}'
SUCCESSES = '  - {name: successes, match: ["status=completed"], channels: [dba]}'

Replay = Callable[..., Result]


def events() -> list[Event]:
    """Ten tasks that complete, one each hour, and two failures."""
    now = datetime.now(UTC).replace(microsecond=0)
    completed = [
        make_event(
            make_task(f"done-{number}", status=TaskStatus.COMPLETED), observed_at=now - timedelta(hours=30 - number)
        )
        for number in range(10)
    ]
    failed = [make_event(make_task(f"failed-{number}"), observed_at=now - timedelta(hours=number)) for number in (1, 2)]
    return sorted([*completed, *failed], key=lambda event: event.observed_at)


def record(tx: Transaction) -> None:
    routes = (Route(name="all", channels=("dba",)),)
    routing = RoutingConfig(routes=routes, policies={"dba": ChannelPolicy(name="dba")})
    for event in events():
        announce(tx, route_events([event], routes), routing, event.observed_at)


def fill(url: str) -> None:
    store = open_store(url)
    try:
        asyncio.run(store.transact(record))
    finally:
        store.close()


@pytest.fixture
def replay(store_url: str, tmp_path: Path) -> Replay:
    """Return a function that runs `notifier replay` with some routes on a recorded history."""
    fill(store_url)

    def run(*args: str, routes: str = FAILURES, language: str = "en", url: str = store_url) -> Result:
        path = tmp_path / "tried.yaml"
        path.write_text(CONFIG.format(url=url, routes=routes, language=language), encoding="utf-8")
        return CliRunner().invoke(app, ["replay", "-c", str(path), *args])

    return run


def test_the_verdict_compares_the_messages(replay: Replay) -> None:
    shown = replay("--since", "2d")
    assert shown.exit_code == 0, shown.output
    assert "With this configuration, 2 messages would have been sent in 1 d 6 h instead of 12." in shown.output
    assert shown.output.rstrip().endswith("0 failures would have reached nobody.")


def test_a_failure_that_would_reach_nobody_fails_the_check(replay: Replay) -> None:
    shown = replay(routes=SUCCESSES)
    assert shown.exit_code == 1
    assert "failed-1" in shown.output
    assert "no route takes it" in shown.output
    assert "2 failures would have reached nobody." in shown.output
    assert replay("--fail-on", "never", routes=SUCCESSES).exit_code == 0


def test_json_has_all_figures(replay: Replay) -> None:
    found: dict[str, Any] = json.loads(replay("--json", routes=EVERYTHING).stdout)
    assert found["ok"] is True
    assert found["events"] == 12
    assert {name: side["now"]["messages"] for name, side in found["channels"].items()} == {"dba": 12, "tickets": 2}
    assert found["total"]["then"]["messages"] == 12
    assert sum(found["total"]["now"]["by_day"].values()) == 14
    assert len(found["messages"]) == 14
    assert found["unreached"] == found["late"] == found["muted"] == []


@pytest.mark.parametrize("detail", ["channels", "days", "nights", "messages"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_detail_is_shown_in_both_languages(replay: Replay, detail: str, language: str) -> None:
    shown = replay("--show", detail, language=language, routes=EVERYTHING)
    assert shown.exit_code == 0, shown.output
    assert "dba" in shown.output


def test_less_is_replayed_where_less_is_asked_for(replay: Replay) -> None:
    assert json.loads(replay("--json", "--since", "90m").stdout)["events"] == 1
    assert json.loads(replay("--json", "--until", "90m").stdout)["events"] == 11


def test_a_time_without_events_is_an_error(replay: Replay) -> None:
    shown = replay("--since", "10m")
    assert shown.exit_code == 1
    assert "nothing to replay" in shown.output


def test_the_history_may_be_of_another_configuration(replay: Replay, store_url: str, tmp_path: Path) -> None:
    current = tmp_path / "current.yaml"
    current.write_text(CONFIG.format(url=store_url, routes=EVERYTHING, language="en"), encoding="utf-8")
    missing = f"sqlite:///{tmp_path}/missing.db"
    assert replay("--history", str(current), url=missing).exit_code == 0
    assert not (tmp_path / "missing.db").exists()
    assert "missing.db" in replay(url=missing).output


def test_a_history_that_is_called_a_database_and_is_none_is_told(replay: Replay, tmp_path: Path) -> None:
    broken = tmp_path / "copy.db"
    broken.write_bytes(b"\x00\xff" * 100)
    refused = replay("--history", str(broken))
    assert refused.exit_code == 2
    assert "copy.db is not an SQLite database" in " ".join(refused.output.split())


def test_the_history_may_be_a_copy_of_an_earlier_schema(replay: Replay, tmp_path: Path) -> None:
    """A copy for a check may be older than the program. It stays as it is."""
    copy = tmp_path / "copy.db"
    fill(f"sqlite:///{copy}")
    config = alembic_config()
    with admin_engine(f"sqlite:///{copy}") as engine, engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0007")
    before = copy.read_bytes()
    shown = replay("--history", str(copy), url=f"sqlite:///{tmp_path}/missing.db")
    assert shown.exit_code == 0, shown.output
    assert copy.read_bytes() == before


def test_it_reads_beside_a_writer_and_changes_nothing(replay: Replay, store_url: str) -> None:
    with admin_engine(store_url) as engine, engine.begin() as connection:
        counted = text("SELECT count(*), max(seq) FROM events")
        before = connection.execute(counted).one()
        connection.execute(text("UPDATE channels SET failures = failures"))
        assert replay().exit_code == 0
        assert connection.execute(counted).one() == before
