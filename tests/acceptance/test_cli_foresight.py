"""`notifier stats`, and what `tasks`, `task` and `explain` say about usual times, on a real database file."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from factories import USUAL, make_event, make_missing, make_task
from typer.testing import CliRunner, Result

from notifier.cli.root import app
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.events import EventType
from notifier.core.failures import after_events
from notifier.core.foreseen import OverdueLimit
from notifier.core.model import Scope, Snapshot, Task, TaskStatus
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.store.engine import open_store
from notifier.store.transaction import Transaction

NOW = datetime.now(UTC).replace(microsecond=0)
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
CONFIG = """
timezone: Asia/Shanghai
store: {url: "sqlite:///%s/notifier.db"}
sources:
  - name: prod
    kind: gaussdb
    region: cn-north-4
    project_id: 0611f1bd8b00d5d32f17c017f15b599f
    auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}
channels:
  - {name: dba, kind: console}
expect:
  - instance creation of gauss-* every 26h
"""

Run = Callable[..., Result]


def ended(number: int, **changes: Any) -> Task:
    """Return a task of a week ago or earlier that took nine minutes and some seconds."""
    at = NOW - (7 + number) * DAY
    values: dict[str, Any] = {"status": TaskStatus.COMPLETED, "created_at": at, "instance_id": "in-1"}
    return make_task(
        f"run-{number:02d}", **values | {"ended_at": at + 9 * MINUTE + timedelta(seconds=number)} | changes
    )


RUNNING = make_task(
    "aaaaaaaa-c687-4d80-b7b4-42a66c9bb886",
    status=TaskStatus.RUNNING,
    instance_id="in-1",
    progress=None,
    created_at=NOW - 3 * MINUTE,
)
OVERDUE = make_event(
    replace(RUNNING, created_at=NOW - 31 * MINUTE),
    type=EventType.TASK_OVERDUE,
    observed_at=NOW,
    usual=USUAL,
    overdue=OverdueLimit(seconds=1_500),
)
MISSING = make_missing(observed_at=NOW)


def record(tx: Transaction) -> None:
    claim = tx.polls.claim("prod", "me", NOW, MINUTE)
    assert claim
    running = replace(RUNNING, created_at=datetime.now(UTC) - 3 * MINUTE)  # this file may have been loaded long ago
    tasks = [*map(ended, range(12)), ended(12, status=TaskStatus.FAILED), running]
    tx.polls.record_tasks(
        claim, [TaskWrite(recorded=RecordedTask(task=one, occurrence="o"), fingerprint=b"1") for one in tasks], NOW
    )
    tx.events.record([RoutedEvent(event=event, routes=(), channels=()) for event in (OVERDUE, MISSING)])
    missing = RoutedEvent(event=MISSING, routes=("all",), channels=("dba",))
    tx.failures.save(after_events([missing], {}, {MISSING.id: ("dba",)}, RoutingConfig(), NOW))
    rows = {one.job_id: b"1" for one in tasks}
    tx.polls.record(
        claim, Snapshot(source="prod", taken_at=NOW, fingerprints=rows, complete=True, scope=Scope.FULL), NOW, NOW
    )


async def fill(url: str) -> None:
    store = open_store(url)
    await store.transact(record)
    await store.aclose()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    path = tmp_path / "notifier.yaml"
    path.write_text(CONFIG % tmp_path, encoding="utf-8")
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db"))
    return partial(_invoke, path)


def _invoke(config: Path, *args: str, code: int = 0) -> Result:
    found = CliRunner().invoke(app, ["-c", str(config), *args], env={"COLUMNS": "140"})
    assert found.exit_code == code, found.output
    return found


def document(found: Result) -> Any:
    return json.loads(found.stdout)


def test_stats_show_how_tasks_ended_and_how_long_they_took(run: Run) -> None:
    lines = run("stats").stdout.splitlines()
    assert lines[0].split() == ["Task", "Tasks", "Failed", "p10", "p50", "p90", "Longest", "Histogram"]
    assert lines[1].split()[:5] == ["Instance", "creation", "14", "1", "(8%)"]
    assert "9 min 5 s" in lines[1]
    (found,) = document(run("stats", "--json"))["operations"]
    assert (found["completed"], found["failed"], found["running"]) == (12, 1, 1)
    assert found["failure_rate"] == pytest.approx(1 / 13)
    durations = found["durations"]
    assert sum(durations.pop("bins")) == 12
    assert durations == {"runs": 12, "p10": 541, "p50": 545, "p90": 550, "longest": 551}


def test_stats_can_be_narrowed(run: Run) -> None:
    for chosen in (["--operation", "creation"], ["--operation", "gaussdbv5"], ["--instance", "6568"]):
        assert document(run("stats", "--json", *chosen))["operations"]
    assert document(run("stats", "--json", "--since", "9d"))["operations"][0]["completed"] == 3
    assert run("stats", "--operation", "backup", code=1).stdout == "No matching tasks.\n"
    nobody = document(run("stats", "--json", "--instance", "nobody", code=1))
    assert nobody == {"operations": [], "origins": {"searched": 0, "explained": 0, "lag_p50": None, "lag_p99": None}}


def test_running_tasks_show_what_is_left(run: Run) -> None:
    shown = run("tasks", "--status", "running").stdout
    assert re.search(r"→ about ([1-5] to )?[1-6] min left, usually about 9 min, from 12 runs$", shown, re.MULTILINE)
    shown = run("task", "aaaaaaaa").stdout
    assert re.search(r"^Left +about ([1-5] to )?[1-6] min$", shown, re.MULTILINE)
    assert "from 12 runs on this instance" in shown
    assert document(run("task", "run-01", "--json"))["usual"]["runs"] == 12


def test_explain_names_the_limit_and_its_runs(run: Run) -> None:
    shown = run("explain", "aaaaaaaa").stdout
    assert "Overdue: running 31 min, limit 25 min" in shown
    assert "The limit follows from the usual time: 7 to 10 min, from 14 runs on this instance." in shown
    assert "Latest runs: 9 min, 9 min 1 s, 9 min 2 s" in shown


def test_explain_takes_the_id_of_an_event(run: Run) -> None:
    shown = run("explain", MISSING.id[:8]).stdout
    assert "task.missing" in shown
    assert "every 24 h, 12 intervals" in shown
    (found,) = document(run("explain", MISSING.id, "--json"))["events"]
    assert found["event"]["expectation"]["intervals"] == 12


def test_events_name_the_operation_and_the_instance_that_are_missing(run: Run) -> None:
    shown = run("events", "--type", "task.missing").stdout
    assert "Manual backup" in shown
    assert "gauss-6568-zzh" in shown


def test_a_missing_run_is_acknowledged_and_resolved_by_the_id_that_open_shows(run: Run) -> None:
    assert MISSING.id in run("open").stdout
    assert "acknowledged by you" in run("ack", MISSING.id[:8]).stdout
    assert document(run("open", "--json", "--instance", "6568"))["open"][0]["state"] == "acknowledged"
    run("unack", MISSING.id)
    assert document(run("open", "--json"))["open"][0]["state"] == "open"
    run("ack", MISSING.id[:3], code=1)
    assert "Manual backup" in run("resolve", MISSING.id[:8]).stdout
    run("open", code=1)


def test_a_missing_run_is_resolved_by_its_instance(run: Run) -> None:
    assert "gauss-6568-zzh" in run("resolve", "gauss-6568-zzh", "--reason", "made by hand").stdout
    run("open", code=1)


def test_explain_missing_lists_what_is_expected(run: Run) -> None:
    shown = run("explain", "--missing").stdout
    assert "expect: instance creation of gauss-* every 26h" in shown
    (found,) = document(run("explain", "--missing", "--json"))["expected"]
    assert (found["last_job"], found["overdue"]) == (RUNNING.job_id, False)


def test_explain_wants_an_id_or_missing(run: Run) -> None:
    assert "give the id of a task or an event, or --missing" in run("explain", code=2).output
    run("explain", "--missing", "aaaaaaaa", code=2)


@pytest.mark.usefixtures("run")
def test_check_names_expectations_that_fit_no_recorded_instance(tmp_path: Path) -> None:
    rules = "  - instance creation of gaus-6568* every 26h\n  - {operation: backup, match: [source=prod], every: 26h}\n"
    wrong = tmp_path / "wrong.yaml"
    text = (CONFIG % tmp_path).replace("{kind: aksk, access_key: AKAKAK, secret_key: sksksk}", "{kind: ecs_agency}")
    wrong.write_text(text + rules, encoding="utf-8")
    shown = json.loads(CliRunner().invoke(app, ["-c", str(wrong), "check", "--online", "--json"]).stdout)
    (found,) = (one for one in shown["findings"] if one["what"].startswith("expect"))
    assert found == {
        "ok": True,
        "proven": False,
        "what": "expect[1], line 14",
        "detail": "instance creation of gaus-6568* every 26h fits no instance of a task of the last 45 days",
        "remedy": f"Did you mean {RUNNING.instance_name}?",
    }
