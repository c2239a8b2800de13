"""Planned maintenance of a simulated cloud: announced, followed and over, in every form that the cloud may use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from fakes import FakeClock

from notifier.core.errors import PermissionDenied
from notifier.core.health import FindingKind, judge
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.maintenance_values import MaintenanceRules
from notifier.core.model import SourceOrigin
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.http import HttpClient
from notifier.maintenance import Maintenance, MaintenanceSource
from notifier.ports import EventFilter
from notifier.simulator import Options, Simulator
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.maintenance import GaussDBMaintenance
from notifier.store.engine import SqlStore

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ORIGIN = SourceOrigin(source="simulated", region="cn-north-4", project_id="p")
ROUTING = RoutingConfig(
    routes=(Route(name="all", match=(), channels=("dba",)),), policies={"dba": ChannelPolicy(name="dba")}
)


@dataclass
class Story:
    """A simulated cloud, and a notifier that reads its maintenance."""

    simulator: Simulator
    watch: Maintenance
    reader: GaussDBMaintenance
    store: SqlStore
    clock: FakeClock

    async def pass_time(self, length: timedelta, step: timedelta = timedelta(minutes=10)) -> None:
        until = self.clock.now() + length
        while self.clock.now() < until:
            self.clock.advance(step)
            reports = await self.watch.read_due(self.store)
            assert [report.error for report in reports if report.error] == []
            await self.watch.remind_due(self.store)

    async def told(self) -> dict[str, list[str]]:
        """Return what was announced of each maintenance, in order."""
        found = await self.store.read(lambda q: q.events(EventFilter(limit=1_000)))
        by_id = defaultdict(list)
        for item in reversed(found):
            assert item.event.maintenance is not None
            by_id[item.event.maintenance.id].append(item.event.type.removeprefix("maintenance."))
        return dict(by_id)

    def truth(self) -> dict[str, str]:
        """Return the status of each maintenance that is listed now."""
        rows = self.simulator.cloud.project.maintenance(self.simulator.cloud.now())
        return {str(row["id"]): str(row["status"]).lower() for row in rows}


@pytest.fixture
async def tell(store: SqlStore, clock: FakeClock, http: HttpClient) -> AsyncIterator[Any]:
    """Opens a simulator with the given options, and what watches it."""
    async with AsyncExitStack() as stack:

        async def opened(**options: Any) -> Story:
            simulator = await stack.enter_async_context(Simulator(Options(**options), clock))
            settings = GaussDBSettings(**simulator.source_config() | {"name": "simulated", "maintenance": True})
            reader = GaussDBMaintenance(
                settings, SourceAccess(settings, SourceRuntime(http=http, clock=clock, rng=Random(1)))
            )
            sources = {"simulated": MaintenanceSource(reader=reader, origin=ORIGIN)}
            watch = Maintenance(sources=sources, rules=MaintenanceRules(), routing=ROUTING)
            return Story(simulator=simulator, watch=watch, reader=reader, store=store, clock=clock)

        yield opened


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    """Return a database of one kind: the use case is tested on both."""
    return sqlite_url


FORMS: list[dict[str, Any]] = [
    {},
    {"maintenance_case": "lower", "maintenance_type": "RESTART_NODE", "missing_time": "null", "midnight": "00"},
    {"maintenance_instance": "absent", "missing_time": "absent"},
]


@pytest.mark.parametrize("form", FORMS, ids=["sdk", "page", "sample"])
async def test_every_maintenance_is_told_from_its_plan_to_its_end(tell: Any, form: dict[str, Any]) -> None:
    story = await tell(maintenance_every=timedelta(hours=20), **form)
    await story.pass_time(timedelta(minutes=10))
    before = story.truth()
    await story.pass_time(3 * DAY, step=timedelta(minutes=30))
    told, now = await story.told(), story.truth()
    ends = {"completed": "ended", "failed": "failed", "canceled": "cancelled"}
    assert len(now) > len(before)
    for id_, status in now.items():
        if before.get(id_) in ends:
            assert id_ not in told  # it was over before anybody watched
            continue
        course = told[id_]
        assert course[0] in ("announced", "awaiting", "started")
        assert course.count("reminded") <= 3  # of its authorisation and of its window
        assert (course[-1] == ends[status]) if status in ends else (course[-1] not in ends.values())
        assert course.count("started") <= 1  # one may begin and end between two reads
        if "awaiting" in course and course[-1] != "awaiting":
            assert course.index("awaiting") < len(course) - 1
    # All that waited has been decided since, or waits still.
    waiting = {id_ for id_, status in now.items() if status == "inquiring"}
    failed = {id_ for id_, course in told.items() if course[-1] == "failed"}
    opened = await story.store.read(lambda q: q.open_failures())
    assert {one.latest.maintenance.id for one in opened} == waiting | failed
    # The window ends at midnight, whichever way that is written.
    planned = await story.store.transact(lambda tx: tx.maintenance.of_source("simulated"))
    assert {one.planned.ends_at.hour for one in planned.values()} == {16}
    assert {one.planned.name for one in planned.values()} == {"RESTART_NODE"}


async def test_what_is_told_has_its_instance(tell: Any) -> None:
    story = await tell(maintenance_every=timedelta(hours=20), maintenance_instance="absent")
    await story.pass_time(timedelta(minutes=10))
    found = await story.store.read(lambda q: q.events(EventFilter(limit=10)))
    assert found
    assert all(item.event.maintenance.instance_name for item in found)
    assert all(item.event.maintenance.instance_id is None for item in found)


async def test_a_missing_right_is_named_by_health_and_by_a_check(tell: Any) -> None:
    story = await tell(deny=("gaussdb:instance:listScheduleEvents",))
    (report,) = await story.watch.read_due(story.store)
    assert isinstance(report.error, PermissionDenied)
    assert "gaussdb:instance:listScheduleEvents" in str(report.error)
    source = ConfiguredSource(name="simulated", region="cn-north-4", project_id="p", poll_every=HOUR)
    facts = await story.store.read(lambda q: q.health_facts())
    found = judge(Expected(sources=(source,)), facts).of("simulated", FindingKind.SOURCE_RIGHT_MISSING)
    assert found is not None
    assert not found.red
    (checked,) = await story.reader.check()
    assert not checked.ok
    assert "gaussdb:instance:listScheduleEvents" in checked.detail
    assert await story.told() == {}


async def test_a_check_counts_what_is_listed(tell: Any) -> None:
    story = await tell(maintenance_every=timedelta(hours=20))
    (checked,) = await story.reader.check()
    assert checked.ok
    assert f"{len(story.truth())} are listed" in checked.detail


async def test_a_project_without_maintenance(tell: Any) -> None:
    story = await tell(maintenance_every=None)
    (report,) = await story.watch.read_due(story.store)
    assert (report.listed, report.complete, report.error) == (0, True, None)


async def test_a_long_list_is_read_page_by_page(tell: Any) -> None:
    story = await tell(maintenance_every=timedelta(hours=1))
    listed = await story.reader.read()
    assert listed.complete
    assert len(listed.planned) > 100
    assert {row.id for row in listed.planned} == set(story.truth())
    assert story.reader.calls == -(-len(listed.planned) // 100)
