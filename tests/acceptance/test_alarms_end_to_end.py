"""Alarms, with the program, the simulated cloud and a group that shows cards: raised, cleared, open, and not twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from fakes import FakeClock
from servers.feishu import APP_ID, APP_SECRET, CHAT, Feishu, FeishuServer

from notifier.config.loading import loads
from notifier.core.events import EventType
from notifier.core.failures import FailureState, OpenFailure
from notifier.core.model import TaskStatus
from notifier.poll import PollReport
from notifier.ports import EventFilter, TaskFilter
from notifier.service.service import Service
from notifier.simulator import Options, Simulator
from notifier.wiring.app import App, open_app
from notifier.wiring.checks import check_online

CONFIGURATION = """
store: {url: "${STORE}", migrate: true}
sources:
  - {name: alarms, kind: gaussdb_events, region: "${REGION}", project_id: "${PROJECT}", endpoint: "${CLOUD}",
     ces_endpoint: "${CLOUD}", auth: {kind: aksk, access_key: "${AK}", secret_key: "${SK}"}, calls_per_minute: 600}
channels:
  - {name: dba, kind: feishu, app_id: "${APP}", app_secret: "${SECRET}", chat_id: "${CHAT}", api_url: "${API}",
     rate: null}
routes: [{name: raised, match: [type=alarm.raised], channels: [dba]}]
"""
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
INSTANCE, NODE = "ce2dce50f365430abe161bab79495a6ein14", "5a9cd1d7c2d54d2c8d1b2c3d4e5f6a7bno14"
QUIET: dict[str, Any] = {
    "static": 0,
    "incident_every": None,
    "other_events": False,
    "failure_events": False,
    "maintenance_every": None,
}


class Cloud:
    """The program, a simulated cloud, and a group that shows its cards. All have one clock."""

    def __init__(self, simulator: Simulator, group: FeishuServer, clock: FakeClock) -> None:
        self.simulator = simulator
        self.clock = clock
        self.known: dict[str, str] = {}
        self._group = group

    def use(self, app: App) -> None:
        """Go on with this process."""
        self.app = app
        self.service = Service(app)

    async def go_on(self, length: timedelta = MINUTE) -> PollReport:
        """Let time pass, then poll, remind and notify."""
        self.clock.advance(length)
        report = await self.service.polling.poll(self.app.sources["alarms"], force=True)
        await self.service.reminding.run()
        await self.service.delivering.drain()
        assert report is not None
        return report

    def report(self, name: str, age: timedelta = timedelta(), *, node: str = NODE, text: str = "") -> None:
        """Put an event into Cloud Eye that happened some time ago."""
        at = self.simulator.cloud.now() - age
        places = {"gaussdbv5_instance_id": INSTANCE, "gaussdbv5_node_id": node}
        event = {
            "event_name": name,
            "time": round(at.timestamp() * 1000),
            "detail": {
                "content": text,
                "event_level": "Major",
                "resource_name": "orders-prod",
                "dimensions": [{"name": key, "value": value} for key, value in places.items() if value],
            },
        }
        self.simulator.cloud.project.put_event(event, self.simulator.cloud.now())

    def alarm(self, status: str, begun: int, **more: Any) -> None:
        """Put an alarm of the history, or replace it. It began this many milliseconds after 1970."""
        now = self.simulator.cloud.now()
        changed = {"update_time": round(now.timestamp() * 1000)} if status != "alarm" else {}
        row = {"alarm_id": "al1", "name": "disk usage", "status": status, "level": 3, "begin_time": begun}
        place = {"instance_id": INSTANCE, "instance_name": "orders-prod"}
        self.simulator.cloud.project.put_alarm(row | place | changed | more, now)

    @property
    def ms(self) -> int:
        return round(self.simulator.cloud.now().timestamp() * 1000)

    async def open(self) -> list[OpenFailure]:
        return list(await self.app.store.read(lambda q: q.open_failures()))

    async def statuses(self) -> list[TaskStatus]:
        found = await self.app.store.read(lambda q: q.tasks(TaskFilter(limit=1_000)))
        return sorted(one.task.status for one in found)

    async def types(self) -> list[EventType]:
        found = await self.app.store.read(lambda q: q.events(EventFilter(limit=1_000)))
        return sorted(one.event.type for one in found if one.event.type.startswith("alarm."))

    @property
    def cards(self) -> list[str]:
        """The texts of the messages about the instance."""
        shown = self._group.service.messages.values()
        cards = ["\n".join(texts(message.card)).replace("\u200b", "") for message in shown]
        return [card for card in cards if "orders-prod" in card]


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (value[key] for key in ("content",) if isinstance(value.get(key), str))
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


def known_of(simulator: Simulator, store: str, api: str = "") -> dict[str, str]:
    return {
        "STORE": store,
        "CLOUD": simulator.url,
        "REGION": simulator.options.region,
        "PROJECT": simulator.options.project_id,
        "AK": simulator.options.access_key,
        "SK": simulator.options.secret_key,
        "APP": APP_ID,
        "SECRET": APP_SECRET,
        "CHAT": CHAT,
        "API": api or simulator.url,
    }


Open = Callable[..., Any]


@pytest.fixture
async def opened(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Open]:
    """Opens the program with a simulated cloud; called with the same cloud again it is a restarted program."""
    async with AsyncExitStack() as stack:

        async def start(cloud: Cloud | None = None, *, polled: bool = True, **options: Any) -> Cloud:
            if cloud is None:
                simulator = await stack.enter_async_context(Simulator(Options(**QUIET | options), clock))
                group = await stack.enter_async_context(FeishuServer(Feishu()))
                cloud = Cloud(simulator, group, clock)
                cloud.known = known_of(simulator, sqlite_url, group.url(""))
            cloud.use(await stack.enter_async_context(open_app(loads(CONFIGURATION, cloud.known), clock=clock)))
            if polled:
                await cloud.go_on()
            return cloud

        yield start


async def test_a_node_fails_and_recovers(opened: Open) -> None:
    cloud = await opened()
    cloud.report("GaussDBV5FaultyDBNode", text='{"message": "Its host failed."}')
    await cloud.go_on()
    (open_,) = await cloud.open()
    (card,) = cloud.cards
    assert (open_.state, open_.latest.type) == (FailureState.OPEN, EventType.ALARM_RAISED)
    assert all(text in card for text in ("Node fault", "Its host failed.", "open a service ticket"))
    cloud.report("GaussDBV5FaultyDBNodeRecovered", node="another")
    await cloud.go_on()
    assert len(await cloud.open()) == 1
    cloud.report("GaussDBV5FaultyDBNodeRecovered")
    await cloud.go_on(5 * MINUTE)
    assert await cloud.open() == []
    # No route takes what is cleared: who was told of the fault is told of its end.
    assert len(cloud.cards) == 2
    assert any("Node fault cleared" in card and "It ends the alarm" in card for card in cloud.cards)


async def test_an_alarm_of_the_history_is_one_message_that_changes(opened: Open) -> None:
    cloud = await opened()
    begun = cloud.ms
    cloud.alarm("alarm", begun)
    await cloud.go_on()
    assert [one.severity for one in await cloud.open()] == ["warning"]
    for _ in range(3):
        report = await cloud.go_on()
        assert report.changed == 0
    cloud.alarm("ok", begun)
    await cloud.go_on()
    assert await cloud.open() == []
    assert await cloud.statuses() == [TaskStatus.CLEARED]
    assert await cloud.types() == [EventType.ALARM_CLEARED, EventType.ALARM_RAISED]
    assert any("disk usage" in card and "cleared" in card for card in cloud.cards)


async def test_what_was_raised_before_is_open_and_nobody_is_told(opened: Open) -> None:
    cloud = await opened(polled=False)
    cloud.report("GaussDBV5FaultyDBNode", 6 * 60 * MINUTE)
    cloud.report("GaussDBV5FaultyDBInstance", 5 * DAY, node="")
    cloud.report("GaussDBV5InstanceRecovered", 4 * DAY, node="")
    cloud.report("StateTransitionAlarm", 2 * DAY)
    cloud.report("ComponentStatusAlarm", 2 * 60 * MINUTE)
    await cloud.go_on()
    assert sorted(one.latest.task.name for one in await cloud.open() if one.latest.task) == [
        "ComponentStatusAlarm",
        "GaussDBV5FaultyDBNode",
    ]
    assert len(await cloud.statuses()) == 5
    assert cloud.cards == []
    cloud.report("GaussDBV5FaultyDBNodeRecovered")
    await cloud.go_on()
    assert [one.latest.task.name for one in await cloud.open() if one.latest.task] == ["ComponentStatusAlarm"]


async def test_an_alarm_without_an_end_lapses_a_day_after_its_last_repeat(opened: Open) -> None:
    cloud = await opened()
    cloud.report("ComponentStatusAlarm")
    await cloud.go_on()
    await cloud.go_on(23 * 60 * MINUTE)
    cloud.report("ComponentStatusAlarm")
    await cloud.go_on()
    assert [one.count for one in await cloud.open()] == [2]
    await cloud.go_on(23 * 60 * MINUTE)
    assert len(await cloud.open()) == 1
    await cloud.go_on(60 * MINUTE)
    assert await cloud.open() == []


async def test_a_fault_that_is_listed_after_its_end_stays_closed(opened: Open) -> None:
    cloud = await opened()
    cloud.report("GaussDBV5FaultyDBNodeRecovered")
    await cloud.go_on()
    cloud.report("GaussDBV5FaultyDBNode", 20 * MINUTE)
    await cloud.go_on()
    assert await cloud.open() == []
    assert any("Node fault" in card and "Cleared" in card for card in cloud.cards)


async def test_a_restart_reads_the_week_again_and_tells_nothing_twice(opened: Open) -> None:
    cloud = await opened()
    cloud.report("GaussDBV5FaultyDBNode")
    cloud.alarm("alarm", cloud.ms)
    await cloud.go_on()
    before, cards = await cloud.types(), len(cloud.cards)
    await opened(cloud, polled=False)
    cloud.report("StateTransitionAlarm")
    report = await cloud.go_on()
    assert (report.changed, report.listed, report.complete) == (1, 3, True)
    assert await cloud.types() == sorted([*before, EventType.ALARM_RAISED])
    assert len(cloud.cards) == cards + 1


async def test_details_are_read_only_of_names_that_have_moved(opened: Open) -> None:
    cloud = await opened()
    for name in ("StateTransitionAlarm", "ProcessStatusAlarm", "ComponentStatusAlarm"):
        cloud.report(name)
    assert (await cloud.go_on()).calls == 1 + 4 + 3
    assert (await cloud.go_on()).calls == 1 + 4
    cloud.report("ProcessStatusAlarm")
    assert (await cloud.go_on()).calls == 1 + 4 + 1


@pytest.mark.parametrize(
    ("action", "shown"),
    [
        ("ces:events:list", "ces:events:list"),
        ("ces:events:get", "ces:events:get"),
        ("gaussdb:alarm:list", "GaussDB ReadOnlyAccess"),
    ],
)
async def test_a_missing_right_stops_its_feed_alone(opened: Open, action: str, shown: str) -> None:
    cloud = await opened(deny=(action,))
    of_history = action == "gaussdb:alarm:list"
    cloud.report("GaussDBV5FaultyDBNode")
    cloud.alarm("alarm", cloud.ms)
    report = await cloud.go_on()
    assert report.succeeded
    facts = await cloud.app.store.read(lambda q: q.health_facts())
    assert [one.action for one in facts.missing_rights] == [shown]
    assert len(cloud.cards) == 1
    cloud.simulator.cloud.denied.clear()
    cloud.clock.advance(60 * MINUTE)
    await cloud.go_on()
    # What the feed had hidden is open, and nobody is called for it.
    names = {one.latest.task.name for one in await cloud.open() if one.latest.task}
    assert names == {"GaussDBV5FaultyDBNode", "disk usage"}
    assert len(cloud.cards) == 1
    assert not (await cloud.app.store.read(lambda q: q.health_facts())).missing_rights
    if of_history:
        cloud.report("GaussDBV5FaultyDBNodeRecovered")
    await cloud.go_on()


async def test_without_any_right_the_source_fails_and_says_what_to_grant(opened: Open) -> None:
    cloud = await opened(deny=("ces:events:list", "gaussdb:alarm:list"))
    for _ in range(2):
        report = await cloud.go_on(10 * MINUTE)
        assert not report.succeeded
        assert report.error is not None
        assert "Grant the user ces:events:list, GaussDB ReadOnlyAccess in the project." in str(report.error)
    cloud.simulator.cloud.denied.remove("gaussdb:alarm:list")
    assert (await cloud.go_on(MINUTE * 5)).succeeded, "no feed rests where none can be read"


@pytest.mark.parametrize("fault", ["408", "429", "500", "truncate", "html", "reset"])
async def test_a_fault_of_a_list_loses_nothing(opened: Open, fault: str) -> None:
    cloud = await opened()
    cloud.report("GaussDBV5FaultyDBNode")
    cloud.simulator.cloud.faults.script(fault, "pass", fault, fault)
    for _ in range(4):
        await cloud.go_on(5 * MINUTE)
    assert len(await cloud.open()) == 1
    assert len(cloud.cards) == 1


async def test_check_names_the_action_that_is_missing(sqlite_url: str) -> None:
    async with Simulator(Options(**QUIET, deny=("ces:events:get",))) as simulator:
        config = loads(CONFIGURATION, known_of(simulator, sqlite_url))
        found = {one.what: one for one in await check_online(config) if "alarms:" in one.what}
        wrong = [one for one in found.values() if not one.ok]
    assert [one.what for one in wrong] == ["source alarms: detail of a Cloud Eye event"]
    assert "ces:events:get" in wrong[0].detail
    assert {"source alarms: list of Cloud Eye events", "source alarms: alarm history"} < set(found)


async def test_a_week_of_faults_is_told_once_and_nothing_stays_open_for_ever(opened: Open) -> None:
    cloud = await opened(
        static=None, every=6 * DAY, incident_every=60 * MINUTE, event_lag=3 * MINUTE, other_events=True
    )
    for _ in range(40):
        report = await cloud.go_on(20 * MINUTE)
        assert report.complete
    events = await cloud.app.store.read(lambda q: q.events(EventFilter(limit=1_000)))
    ids = [one.event.id for one in events]
    assert len(ids) == len(set(ids))
    assert EventType.ALARM_CLEARED in await cloud.types()
    now = cloud.clock.now()
    assert all(one.ends_at is None or one.ends_at > now for one in await cloud.open())
