"""`notifier report`: printed, as JSON, and sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from factories import make_event, make_task
from servers.program import completed

from notifier.core.events import EventType
from notifier.core.routing import RoutedEvent
from notifier.ports import DeliveryFilter
from notifier.store.engine import open_store

CONFIG = """\
store: {url: "sqlite:///notifier.db"}
sources: [{name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, auth: {kind: ecs_agency}}]
channels: [{name: ops, kind: console}]
reports: [{name: daily, schedule: "0 9 * * *", channels: [ops], period: 1d}]
"""


@pytest.fixture
async def home(tmp_path: Path) -> Path:
    (tmp_path / "notifier.yaml").write_text(CONFIG, encoding="utf-8")
    store = open_store(f"sqlite:///{tmp_path}/notifier.db")
    failed = make_event(make_task("job-1"), source="prod", observed_at=datetime.now(UTC) - timedelta(hours=2))
    await store.transact(lambda tx: tx.events.record([RoutedEvent(event=failed, routes=(), channels=())]))
    await store.aclose()
    return tmp_path


async def planned(home: Path) -> int:
    store = open_store(f"sqlite:///{home}/notifier.db")
    found = await store.read(lambda q: q.deliveries(DeliveryFilter()))
    await store.aclose()
    assert all(one.events[0].type is EventType.REPORT_DUE for one in found)
    return len(found)


async def test_a_report_is_printed_and_not_sent(home: Path) -> None:
    shown = completed("report", "daily", cwd=home)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Report daily: 0 completed, 1 failed (100%)")
    short = completed("report", "daily", "--since", "1h", cwd=home)
    assert short.stdout.startswith("Report daily: no task ended")
    assert await planned(home) == 0


async def test_a_report_is_sent_on_request(home: Path) -> None:
    shown = completed("report", "daily", "--send", cwd=home)
    assert shown.stdout.splitlines()[-1] == "Planned for ops."
    assert await planned(home) == 1


async def test_a_report_is_written_as_json(home: Path) -> None:
    found = json.loads(completed("report", "daily", "--json", cwd=home).stdout)["report"]
    assert (found["name"], found["counts"]) == ("daily", {"completed": 0, "failed": 1, "unlisted": 0, "alarms": 0})
    assert sum(bar["failed"] for bar in found["bars"]) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["dayly"], "there is no report 'dayly'. Did you mean daily?"), (["daily", "--since", "90d"], "at most 35d")],
)
def test_a_wrong_word_is_explained(home: Path, arguments: list[str], why: str) -> None:
    shown = completed("report", *arguments, cwd=home)
    assert shown.returncode == 2
    assert why in shown.stderr
