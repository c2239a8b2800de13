"""`notifier maintenance`, and what other commands say of it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from factories import make_maintenance
from servers.program import completed

from notifier.core.maintenance import ListReading
from notifier.core.maintenance_values import (
    MaintenanceList,
    MaintenanceListState,
    MaintenanceRules,
    MaintenanceStatus,
)
from notifier.core.model import SourceOrigin
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig, route_events
from notifier.planning import announce
from notifier.store.engine import open_store
from notifier.store.transaction import Transaction

CONFIG = """\
timezone: Asia/Shanghai
store: {url: "sqlite:///notifier.db"}
sources: [{name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, maintenance: true,
           auth: {kind: aksk, access_key: a, secret_key: s}}]
channels: [{name: ops, kind: console}]
routes: [{name: all, channels: [ops]}]
mutes: [{name: upkeep, match: [source=prod], during: maintenance, except_failures: true}]
"""
ORIGIN = SourceOrigin(source="prod", region="cn-north-4", project_id="p1")
ROUTING = RoutingConfig(
    routes=(Route(name="all", match=(), channels=("ops",)),), policies={"ops": ChannelPolicy(name="ops")}
)
DAY = timedelta(days=1)


def seed(tx: Transaction) -> None:
    now = tx.now().replace(microsecond=0)
    asking = make_maintenance(
        MaintenanceStatus.INQUIRING,
        instance_name="billing",
        impact="Instance Intermittent Disconnection",
        reason="ECS_RESTART",
        starts_at=now + DAY,
        ends_at=now + 2 * DAY,
        latest_at=now + 3 * DAY,
        updated_at=now,
    )
    running = replace(asking, id="m-2", status=MaintenanceStatus.EXECUTING, instance_name="orders", starts_at=now)
    over = replace(asking, id="m-3", status=MaintenanceStatus.COMPLETED, instance_name="old")
    decision = ListReading(
        origin=ORIGIN,
        listed=MaintenanceList(planned=(asking, running, over), complete=True),
        known={},
        state=MaintenanceListState(name="prod"),
        rules=MaintenanceRules(),
        now=now,
    ).decide()
    announce(tx, route_events(decision.events, ROUTING.routes), ROUTING, now)
    tx.maintenance.save(decision.saved)


async def fill(url: str) -> None:
    store = open_store(url)
    await store.transact(seed)
    await store.aclose()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "notifier.yaml").write_text(CONFIG, encoding="utf-8")
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db"))
    return tmp_path


def run(home: Path, *words: str, code: int = 0) -> str:
    shown = completed(*words, cwd=home)
    assert (shown.returncode, shown.stderr) == (code, ""), shown.stdout
    return shown.stdout


def document(home: Path, *words: str, code: int = 0) -> Any:
    return json.loads(run(home, *words, "--json", code=code))


def test_what_is_planned_is_listed(home: Path) -> None:
    lines = run(home, "maintenance").splitlines()
    assert [name in " ".join(lines) for name in ("orders", "billing", "old")] == [True, True, False]
    assert lines[1].index("under way") > 0
    assert "The host restarts · short disconnections" in lines[2]
    listed = document(home, "maintenance")["maintenances"]
    assert [(one["id"], one["status"], one["open"]) for one in listed] == [
        ("m-2", "executing", True),
        ("m-1", "inquiring", False),
    ]
    assert [one["id"] for one in document(home, "maintenance", "--all")["maintenances"]] == ["m-2", "m-1", "m-3"]
    assert [one["id"] for one in document(home, "maintenance", "BILL")["maintenances"]] == ["m-1"]
    assert document(home, "maintenance", "--source", "test", code=1) == {"maintenances": []}
    assert "No maintenance is planned" in run(home, "maintenance", "nothing", code=1)


def test_what_waits_is_open_and_can_be_acknowledged(home: Path) -> None:
    (event_id,) = [
        one["event_id"] for one in document(home, "events")["events"] if one["type"] == "maintenance.awaiting"
    ]
    assert "waits for authorisation" in run(home, "open")
    (waiting,) = document(home, "open")["open"]
    assert (waiting["name"], waiting["instance"]["name"]) == ("RESTART_NODE", "billing")
    assert (waiting["maintenance"]["id"], waiting["maintenance"]["status"]) == ("m-1", "inquiring")
    run(home, "ack", event_id[:8])
    assert "nobody takes care" not in run(home, "open")
    assert "Maintenance (node restart)" in run(home, "events")


def test_mutes_during_maintenance_are_listed(home: Path) -> None:
    shown = run(home, "mutes")
    assert "upkeep: source=prod, while a maintenance of the instance is open; now: orders; failures" in shown
    assert document(home, "mutes")["during_maintenance"] == [
        {
            "name": "upkeep",
            "match": ["source=prod"],
            "except_failures": True,
            "reason": None,
            "instances": ["orders"],
        }
    ]
