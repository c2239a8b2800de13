"""Planned maintenance on the page, in the API and in the calendar feed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import make_maintenance
from fakes import START
from stored_tasks import of_kind
from stored_tasks import write as write_tasks
from web_site import Site, open_site

from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.maintenance import ListReading
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.maintenance_values import (
    MaintenanceList,
    MaintenanceListState,
    MaintenanceRecord,
    MaintenanceRules,
    MaintenanceStatus,
    PlannedMaintenance,
)
from notifier.core.matchers import parse_matchers
from notifier.core.model import SourceOrigin
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig, route_events
from notifier.core.task_lists import TaskGroup
from notifier.planning import announce
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction
from notifier.wording.links import LinkTemplates

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ORIGIN = SourceOrigin(source="prod", region="cn-north-4", project_id="p")
SOURCE = ConfiguredSource(name="prod", region="cn-north-4", project_id="p", poll_every=HOUR)
ROUTING = RoutingConfig(
    routes=(Route(name="all", match=(), channels=("dba",)),), policies={"dba": ChannelPolicy(name="dba")}
)
AHEAD = make_maintenance(
    instance_name="orders-<prod>", impact="Instance Intermittent Disconnection", reason="ECS_RESTART"
)
ASKING = replace(AHEAD, id="m-2", status=MaintenanceStatus.INQUIRING, instance_name="billing")
UNNAMED = replace(
    AHEAD,
    id="m-3",
    name="NEW;KIND",
    instance_id=None,
    instance_name="crm",
    starts_at=None,
    ends_at=None,
    latest_at=None,
)
RUNNING = replace(AHEAD, id="m-5", status=MaintenanceStatus.EXECUTING, instance_name="ledger")
OVER = replace(AHEAD, id="m-4", status=MaintenanceStatus.COMPLETED, instance_name="old", updated_at=START)


def write(tx: Transaction) -> None:
    decision = ListReading(
        origin=ORIGIN,
        listed=MaintenanceList(planned=(AHEAD, ASKING, UNNAMED, OVER), complete=True),
        known={},
        state=MaintenanceListState(name="prod"),
        rules=MaintenanceRules(),
        now=tx.now(),
    ).decide()
    announce(tx, route_events(decision.events, ROUTING.routes), ROUTING, tx.now())
    tx.maintenance.save(decision.saved)


def as_recorded(planned: PlannedMaintenance) -> MaintenanceRecord:
    return MaintenanceRecord(source="prod", planned=planned, first_seen_at=START, changed_at=START)


@pytest.fixture
async def site(store: SqlStore) -> AsyncIterator[Site]:
    await store.transact(write)
    links = LinkTemplates(console_url="https://console.example.com/#{instance_id}")
    async with open_site(store, expected=Expected(sources=(SOURCE,)), links=links) as site:
        yield site


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    """Return a database of one kind: what is read is tested on both with the use case."""
    return sqlite_url


async def test_now_lists_what_lies_ahead_and_what_waits_for_somebody(site: Site) -> None:
    page = (await site.get("/")).text
    card = page.partition('id="maintenance"')[2].partition("</section>")[0]
    assert [name in card for name in ("orders-&lt;prod&gt;", "billing", "crm", "old")] == [True, True, True, False]
    assert "https://console.example.com/#in14" in card
    assert "no time is set" in card
    needs = page.partition('id="needs"')[2].partition("</section>")[0]
    assert "To authorise" in needs
    assert "billing" in needs
    assert "Maintenance (node restart)" in needs
    assert "Authorise it in the console" in needs
    assert "whether or not somebody authorises it" in needs


async def test_now_in_chinese(site: Site) -> None:
    page = (await site.get("/", headers={"Accept-Language": "zh"})).text
    assert "维护（重启节点）" in page
    assert "无论是否授权" in page


async def test_the_verdict_counts_what_waits_for_authorisation(store: SqlStore) -> None:
    await store.transact(write)
    async with open_site(store) as site:
        assert "1 maintenance to authorise" in (await site.get("/")).text
        assert "1 项维护待授权" in (await site.get("/", headers={"Accept-Language": "zh"})).text


async def test_what_waits_is_acknowledged_on_the_page(site: Site, store: SqlStore) -> None:
    (failure,) = await store.read(lambda q: q.open_failures())
    answer = await site.post("/now/acknowledge", event=failure.latest.id)
    assert answer.status_code == 303
    (failure,) = await store.read(lambda q: q.open_failures())
    assert failure.acknowledged is not None


async def test_the_api_lists_it_page_by_page(site: Site) -> None:
    first = (await site.program.get("/api/v1/maintenances?limit=2")).json()
    assert [one["id"] for one in first["items"]] == ["m-1", "m-2"]
    assert (first["items"][0]["status"], first["items"][0]["open"], first["items"][0]["over"]) == (
        "scheduled",
        False,
        False,
    )
    rest = (await site.program.get(f"/api/v1/maintenances?limit=2&cursor={first['next']}")).json()
    assert [one["id"] for one in rest["items"]] == ["m-3"]
    every = (await site.program.get("/api/v1/maintenances?over=true&source=prod")).json()
    assert [one["id"] for one in every["items"]] == ["m-1", "m-2", "m-3", "m-4"]
    some = (await site.program.get("/api/v1/maintenances?instance=BILL")).json()
    assert [one["id"] for one in some["items"]] == ["m-2"]
    assert (await site.program.get("/api/v1/maintenances?source=other")).json()["items"] == []


async def test_the_calendar_has_what_has_a_time(site: Site) -> None:
    calendar = (await site.program.get("/feeds/mutes.ics")).text.replace("\r\n ", "")
    assert calendar.count("BEGIN:VEVENT") == 2
    assert "SUMMARY:Maintenance: Maintenance (node restart) (orders-<prod>)" in calendar
    assert f"DTSTART:{START + 2 * DAY:%Y%m%dT%H%M%SZ}" in calendar
    assert "waits for authorisation · The host restarts · short disconnections" in calendar


async def test_mutes_during_maintenance_are_on_the_page_and_in_the_api(store: SqlStore) -> None:
    await store.transact(write)
    await store.transact(lambda tx: tx.maintenance.save([as_recorded(RUNNING)]))
    mute = MaintenanceMute(name="upkeep", match=parse_matchers("source=prod"), except_failures=True, reason="<host>")
    async with open_site(store, routing=replace(ROUTING, during_maintenance=(mute,))) as site:
        card = (await site.get("/mutes")).text.partition('id="during"')[2].partition("</section>")[0]
        assert [
            part in card for part in ("source=prod", "all but failures", "&lt;host&gt;", "1 instance now", "ledger")
        ]
        assert "under mutes: upkeep" in card
        whole = (await site.get("/mutes")).text
        assert ("Muted only during maintenance." in whole, "Every message goes out." in whole) == (True, False)
        page = (await site.get("/mutes", headers={"Accept-Language": "zh"})).text
        assert "维护期间" in page.partition('id="during"')[2].partition("</section>")[0]
        answer = (await site.program.get("/api/v1/mutes")).json()
    assert answer["items"] == []
    assert answer["during_maintenance"] == [
        {
            "name": "upkeep",
            "match": ["source=prod"],
            "except_failures": True,
            "reason": "<host>",
            "instances": ["ledger"],
        }
    ]


async def test_the_page_has_no_part_for_mutes_that_are_not_configured(site: Site) -> None:
    assert 'id="during"' not in (await site.get("/mutes")).text
    assert (await site.program.get("/api/v1/mutes")).json()["during_maintenance"] == []


async def test_the_api_names_the_maintenance_that_is_an_open_failure(site: Site) -> None:
    (failure,) = (await site.program.get("/api/v1/failures")).json()["items"]
    assert failure["name"] == "RESTART_NODE"
    assert failure["instance"] == {"id": "in14", "name": "billing", "status": None}
    assert (failure["maintenance"]["id"], failure["maintenance"]["status"]) == ("m-2", "inquiring")
    assert failure["fail_reason"] is None


async def test_the_page_of_a_task_names_the_maintenance_that_it_does(store: SqlStore) -> None:
    ids = ("0A1b-2c", "other")
    write_tasks(store, [of_kind(TaskGroup.COMPLETED, n, job_id=one, source="prod") for n, one in enumerate(ids)])
    await store.transact(lambda tx: tx.maintenance.save([as_recorded(replace(RUNNING, job_id="0a1b2C"))]))
    async with open_site(store, expected=Expected(sources=(SOURCE,))) as site:
        identity = (await site.get("/tasks/prod/0A1b-2c")).text.partition('id="identity"')[2]
        assert "Maintenance (node restart)</a>" in identity
        assert "under way" in identity
        assert "Maintenance" not in (await site.get("/tasks/prod/other")).text.partition('id="identity"')[2]


async def test_the_timeline_draws_windows_that_have_begun(store: SqlStore) -> None:
    begun = replace(RUNNING, starts_at=START - 2 * HOUR, ends_at=START + 2 * HOUR, instance_name="<ledger>")
    planned = [
        begun,
        replace(begun, id="m-6", instance_name="over", status=MaintenanceStatus.COMPLETED, ends_at=START - HOUR),
        replace(begun, id="m-7", instance_name="called-off", status=MaintenanceStatus.CANCELED),
        replace(begun, id="m-8", instance_name="early", starts_at=START - 9 * DAY, ends_at=START - 8 * DAY),
        replace(begun, id="m-9", instance_name="later", starts_at=START + HOUR),
        replace(begun, id="m-0", instance_name="no-end", starts_at=START - 9 * DAY, ends_at=None),
    ]
    own = [replace(one, instance_id=None) for one in planned]
    await store.transact(lambda tx: tx.maintenance.save(list(map(as_recorded, own))))
    async with open_site(store, expected=Expected(sources=(SOURCE,))) as site:
        page = (await site.get("/timeline")).text
        chinese = (await site.get("/timeline", headers={"Accept-Language": "zh"})).text
    assert page.count('class="c-window"') == 4  # three windows and the legend
    names = ("&lt;ledger&gt;", "over", "no-end", "called-off", "early", "later")
    assert [f"{name}: " in page for name in names] == [True, True, True, False, False, False]
    assert "Maintenance (node restart) · &lt;ledger&gt;: under way, 14:30 – 18:30" in page
    assert "<title>Maintenance (node restart) · over: over, 14:30 – 15:30</title>" in page
    assert "Maintenance window" in page
    assert "维护窗口" in chinese
    assert "&lt;ledger&gt;：执行中，14:30 – 18:30" in chinese
