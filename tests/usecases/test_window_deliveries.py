"""Routes with hours, on a real database: what a poll plans at which hour, and what is read for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from factories import T0, make_task
from fakes import FakeClock, FakeSource

from notifier.core.calendars import CalendarEntry
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.matchers import parse_matcher
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Otherwise, Route, RoutingConfig
from notifier.core.severity import Severity
from notifier.core.windows import parse_window
from notifier.monitor import MonitorRules, run_monitor
from notifier.poll import poll_once
from notifier.ports import DeliveryFilter, EventFilter
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction

RULES = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
CHANNELS = ("dba", "oncall", "log")
WORK = parse_window("weekdays 08:00-09:00")
"""T0 is at 08:30 on a Thursday."""
EVENING = T0 + timedelta(hours=12)


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    store = open_store(store_url, now=clock.now)
    yield store
    await store.aclose()


def routing(*routes: Route) -> RoutingConfig:
    return RoutingConfig(routes=routes, policies={name: ChannelPolicy(name=name) for name in CHANNELS})


def work(otherwise: Otherwise | tuple[str, ...], **more: object) -> Route:
    route = Route(name="work", channels=("dba",), active=WORK, otherwise=otherwise)
    return replace(route, match=(parse_matcher("type=task.failed"),), **more)  # type: ignore[arg-type]


async def failure_at(store: SqlStore, clock: FakeClock, at: datetime, config: RoutingConfig) -> list[Delivery]:
    """Poll a source, and once more at a time at which a task has failed; return the deliveries."""
    source = FakeSource(clock)
    source.tasks = [make_task("old", status="completed")]
    await poll_once(source, store, owner="me", rules=RULES, routing=config, force=True)
    clock.advance(at - clock.now())
    source.tasks = [*source.tasks, make_task("a", status="failed", ended_at=at, created_at=at - timedelta(minutes=1))]
    await poll_once(source, store, owner="me", rules=RULES, routing=config, force=True)
    return sorted(await store.read(lambda q: q.deliveries(DeliveryFilter())), key=lambda one: one.channel)


async def routed(store: SqlStore) -> list[tuple[str, ...]]:
    found = await store.read(lambda q: q.events(EventFilter()))
    return [item.channels for item in found]


def record_office(tx: Transaction, day: date) -> None:
    tx.calendars.claim_due({"office": "1"}, tx.now(), tx.now())
    tx.calendars.save_copy("office", "1", [CalendarEntry(first_day=day, last_day=day)], tx.now(), tx.now())


async def test_outside_its_window_a_route_leads_to_its_other_channels(store: SqlStore, clock: FakeClock) -> None:
    (delivery,) = await failure_at(store, clock, EVENING, routing(work(("oncall",))))
    assert (delivery.channel, delivery.state, delivery.rule) == ("oncall", DeliveryState.PENDING, None)
    assert delivery.routing.routes == ("work",)
    assert await routed(store) == [("oncall",)]


async def test_while_its_window_is_open_it_leads_to_its_own(store: SqlStore, clock: FakeClock) -> None:
    (delivery,) = await failure_at(store, clock, T0 + timedelta(minutes=5), routing(work(("oncall",))))
    assert (delivery.channel, delivery.rule) == ("dba", None)


async def test_what_is_held_waits_for_the_window(store: SqlStore, clock: FakeClock) -> None:
    (delivery,) = await failure_at(store, clock, EVENING, routing(work(Otherwise.HOLD)))
    opening = T0.replace(hour=8, minute=0) + timedelta(days=1)
    assert (delivery.state, delivery.rule, delivery.available_at) == (DeliveryState.PENDING, "route:work", opening)
    assert delivery.reason == f"route work is active from {opening.isoformat(timespec='minutes')} on"


async def test_what_is_dropped_has_its_record(store: SqlStore, clock: FakeClock) -> None:
    (delivery,) = await failure_at(store, clock, EVENING, routing(work(Otherwise.DROP)))
    assert (delivery.state, delivery.rule) == (DeliveryState.SUPPRESSED, "route:work")
    assert delivery.reason == "route work is active only at weekdays 08:00-09:00"


async def test_a_closed_route_sets_nothing_of_what_an_open_one_sends(store: SqlStore, clock: FakeClock) -> None:
    closed = work(Otherwise.HOLD, severity=Severity.CRITICAL, mention=("@here",), template="night")
    (delivery,) = await failure_at(store, clock, EVENING, routing(closed, Route(name="all", channels=("dba",))))
    assert (delivery.rule, delivery.routing.routes) == (None, ("all",))
    assert (delivery.routing.severity, delivery.routing.mention, delivery.routing.template) == (None, (), None)


@pytest.mark.parametrize("calendar", [None, "office", "another"])
async def test_the_holidays_of_a_recorded_calendar_close_a_window(
    store: SqlStore, clock: FakeClock, calendar: str | None
) -> None:
    await store.transact(lambda tx: record_office(tx, T0.date()))
    config = routing(work(("oncall",), active=replace(WORK, calendar=calendar)))
    (delivery,) = await failure_at(store, clock, T0 + timedelta(minutes=5), config)
    assert delivery.channel == ("oncall" if calendar == "office" else "dba")
    assert await routed(store) == [(delivery.channel,)]


async def test_alerts_follow_the_hours_too(store: SqlStore, clock: FakeClock) -> None:
    """The first poll of a source is announced."""
    config = routing(replace(work(("log",)), match=(parse_matcher("type=source.monitored"),)))
    source = FakeSource(clock)
    await poll_once(source, store, owner="me", rules=RULES, routing=config, force=True)
    clock.advance(EVENING - clock.now())
    known = ConfiguredSource(
        name="prod", region=source.region, project_id=source.project_id, poll_every=timedelta(days=1)
    )
    rules = MonitorRules(expected=Expected(sources=[known], channels=CHANNELS), fallback=("dba",))
    await run_monitor(store, rules=rules, routing=config, polling_since=T0)
    assert ("log",) in await routed(store)
