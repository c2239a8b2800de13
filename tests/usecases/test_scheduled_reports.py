"""Reports and hand-overs: each once, whatever is missed, changed, killed or shared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from factories import make_event, make_task
from fakes import FakeClock

from notifier.core.calendars import CalendarEntry
from notifier.core.cron import Cron
from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.model import Event, SourceOrigin
from notifier.core.reports import ReportRules
from notifier.core.rota import DutyPerson, Override, Rota, Rotation
from notifier.core.routing import Budget, ChannelPolicy, RoutedEvent, RoutingConfig
from notifier.core.schedules import ScheduledReport
from notifier.planning import Announced
from notifier.ports import DeliveryFilter, EventFilter
from notifier.schedules import SETTLED_AFTER, ScheduleRules, run_schedules
from notifier.store.engine import SqlStore, open_store

ZONE = ZoneInfo("Asia/Shanghai")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ROUTING = RoutingConfig(policies={name: ChannelPolicy(name=name) for name in ("dba", "mail")})
ORIGINS = {"prod": SourceOrigin(source="prod", region="r", project_id="p", environment="production")}
DAILY = ScheduledReport(
    rules=ReportRules(name="daily", zone=ZONE, channels=("dba", "mail")), cron=Cron.parse("0 9 * * *", ZONE)
)
NINE = datetime(2026, 1, 16, 1, tzinfo=UTC)
"""The first time that the report is due: 09:00 in its zone."""
MADE = NINE + SETTLED_AFTER
"""When it is made."""


def rules(*reports: ScheduledReport, rotas: tuple[Rota, ...] = ()) -> ScheduleRules:
    return ScheduleRules(reports=reports, rotas=rotas, origins=ORIGINS)


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    store = open_store(store_url, now=clock.now)
    yield store
    await store.aclose()


async def run(store: SqlStore, wanted: ScheduleRules) -> Announced:
    return await run_schedules(store, wanted, ROUTING)


async def told(store: SqlStore) -> list[Event]:
    """Return the events that were announced, the oldest first."""
    found = await store.read(lambda q: q.events(EventFilter(limit=100)))
    return [item.event for item in reversed(found) if item.event.type.traits.scheduled]


async def record(store: SqlStore, clock: FakeClock, kind: EventType, job: str, *channels: str) -> None:
    status = "completed" if kind is EventType.TASK_COMPLETED else "failed"
    event = make_event(make_task(job, status=status), type=kind, source="prod", observed_at=clock.now(), occurrence=job)
    await store.transact(lambda tx: tx.events.record([RoutedEvent(event=event, routes=(), channels=channels)]))


async def test_a_report_is_sent_once_to_each_channel_when_it_is_due(store: SqlStore, clock: FakeClock) -> None:
    assert await run(store, rules(DAILY)) == Announced()
    clock.time = NINE - timedelta(seconds=1)
    await record(store, clock, EventType.TASK_FAILED, "in-time")
    assert await run(store, rules(DAILY)) == Announced()
    clock.time = NINE
    await record(store, clock, EventType.TASK_FAILED, "for-the-next")
    assert await run(store, rules(DAILY)) == Announced()
    clock.time = MADE
    first = await run(store, rules(DAILY))
    assert (len(first.events), len(first.deliveries)) == (1, 2)
    assert await run(store, rules(DAILY)) == Announced()
    (event,) = await told(store)
    assert event.report
    assert (event.report.since, event.report.until) == (NINE - DAY, NINE)
    assert event.report.counts.failed == 1
    planned = await store.read(lambda q: q.deliveries(DeliveryFilter()))
    assert sorted((one.channel, one.state) for one in planned) == [
        ("dba", DeliveryState.PENDING),
        ("mail", DeliveryState.PENDING),
    ]
    assert {one.subject for one in planned} == {"schedule:report:daily"}


async def test_every_event_is_in_exactly_one_report(store: SqlStore, clock: FakeClock) -> None:
    await run(store, rules(DAILY))
    number = 0
    for hours in (3, 8, 9, 2, 22, 26, 55, 1, 24):
        clock.advance(hours * HOUR)
        for _ in range(hours % 4):
            number += 1
            await record(store, clock, EventType.TASK_FAILED, f"job-{number}")
        await run(store, rules(DAILY))
    clock.advance(DAY)
    await run(store, rules(DAILY))
    reports = [event.report for event in await told(store) if event.report]
    assert sum(report.counts.failed for report in reports) == number
    assert all(one.until == other.since for one, other in pairwise(reports))


async def test_after_a_time_without_a_service_there_is_one_report(store: SqlStore, clock: FakeClock) -> None:
    await run(store, rules(DAILY))
    clock.time = MADE
    await run(store, rules(DAILY))
    clock.time = NINE + 3 * DAY + HOUR
    await record(store, clock, EventType.TASK_COMPLETED, "late")
    assert len((await run(store, rules(DAILY))).events) == 1
    reports = [event.report for event in await told(store) if event.report]
    assert [(report.since, report.until) for report in reports] == [(NINE - DAY, NINE), (NINE, NINE + 3 * DAY)]


async def test_no_budget_holds_a_report(store: SqlStore, clock: FakeClock) -> None:
    budget = Budget(messages=1, within=HOUR, text="1/h")
    tight = replace(
        ROUTING, policies={"dba": ChannelPolicy(name="dba", budget=budget), "mail": ChannelPolicy(name="mail")}
    )
    weekly = replace(DAILY, rules=replace(DAILY.rules, name="weekly"))
    await run(store, rules(DAILY, weekly))
    clock.time = MADE
    await run_schedules(store, rules(DAILY, weekly), tight)
    planned = await store.read(lambda q: q.deliveries(DeliveryFilter(channel="dba")))
    assert [(one.rule, one.available_at) for one in planned] == [(None, MADE), (None, MADE)]


async def test_a_period_of_its_own_reaches_back_as_far_as_it_says(store: SqlStore, clock: FakeClock) -> None:
    weekly = replace(DAILY, rules=replace(DAILY.rules, period=7 * DAY))
    await run(store, rules(weekly))
    clock.time = MADE
    await run(store, rules(weekly))
    (event,) = await told(store)
    assert event.report
    assert event.report.since == NINE - 7 * DAY


async def test_a_changed_schedule_counts_from_now_on(store: SqlStore, clock: FakeClock) -> None:
    await run(store, rules(DAILY))
    noon = replace(DAILY, cron=Cron.parse("0 12 * * *", ZONE))
    clock.time = MADE
    assert await run(store, rules(noon)) == Announced()
    clock.time = MADE + 3 * HOUR
    assert len((await run(store, rules(noon))).events) == 1


async def test_of_two_replicas_one_sends_the_report(store: SqlStore, clock: FakeClock) -> None:
    await run(store, rules(DAILY))
    clock.time = MADE

    class Behind:
        """A replica that has read what is due, and writes after another one has."""

        async def read(self, fn: object) -> object:
            found: object = await store.read(fn)  # type: ignore[arg-type]  # any query
            assert len((await run(store, rules(DAILY))).events) == 1
            return found

        async def transact(self, fn: object, *, short: bool = False) -> object:
            return await store.transact(fn, short=short)  # type: ignore[arg-type]  # as above

    assert await run_schedules(Behind(), rules(DAILY), ROUTING) == Announced()  # type: ignore[arg-type]  # as above
    assert len(await told(store)) == 1


async def test_a_kill_before_the_commit_loses_and_repeats_nothing(store: SqlStore, clock: FakeClock) -> None:
    await run(store, rules(DAILY))
    clock.time = MADE

    class Killed(Exception):
        pass

    class Dying:
        async def read(self, fn: object) -> object:
            return await store.read(fn)  # type: ignore[arg-type]  # any query

        async def transact(self, fn: object, *, short: bool = False) -> object:
            def write(tx: object) -> None:
                fn(tx)  # type: ignore[operator]  # a function of a transaction
                raise Killed

            return await store.transact(write, short=short)

    with pytest.raises(Killed):
        await run_schedules(Dying(), rules(DAILY), ROUTING)  # type: ignore[arg-type]  # as above
    assert await told(store) == []
    assert len((await run(store, rules(DAILY))).events) == 1


LI, ANN = DutyPerson(name="Li Wei"), DutyPerson(name="Ann")
ROTA = Rota(
    name="dba",
    zone=ZONE,
    people=(LI, ANN),
    rotation=Rotation(first=datetime(2026, 1, 12, tzinfo=UTC).date(), at=time(9), days=7),
    announce=("dba",),
)
MONDAY = datetime(2026, 1, 19, 1, tzinfo=UTC)


async def test_a_hand_over_is_announced_once(store: SqlStore, clock: FakeClock) -> None:
    wanted = rules(rotas=(ROTA,))
    assert await run(store, wanted) == Announced()  # who is on duty already has not just taken over
    clock.time = MONDAY - timedelta(seconds=1)
    assert await run(store, wanted) == Announced()
    clock.time = MONDAY
    assert len((await run(store, wanted)).events) == 1
    assert await run(store, wanted) == Announced()
    (event,) = await told(store)
    found = event.handed_over
    assert found
    assert (found.person, found.former, found.until, found.following) == ("Ann", "Li Wei", MONDAY + 7 * DAY, "Li Wei")
    clock.time = MONDAY + 7 * DAY
    assert len((await run(store, wanted)).events) == 1


async def test_an_override_and_its_end_are_hand_overs(store: SqlStore, clock: FakeClock) -> None:
    swap = Override(start=MONDAY - DAY, end=MONDAY - DAY / 2, person="Ann")
    wanted = rules(rotas=(replace(ROTA, overrides=(swap,)),))
    names = []
    for at in (clock.now(), swap.start, swap.end, MONDAY):
        clock.time = at
        await run(store, wanted)
    names = [event.handed_over.person for event in await told(store) if event.handed_over]
    assert names == ["Ann", "Li Wei", "Ann"]


async def test_a_calendar_hands_over_and_nobody_may_follow(store: SqlStore, clock: FakeClock) -> None:
    shift = CalendarEntry(summary="Ann", starts_at=clock.now() + HOUR, ends_at=clock.now() + 2 * HOUR)
    await store.transact(lambda tx: tx.calendars.claim_due({"duty": "1"}, clock.now(), clock.now()))
    await store.transact(lambda tx: tx.calendars.save_copy("duty", "1", [shift], clock.now(), clock.now()))
    wanted = rules(rotas=(replace(ROTA, rotation=None, calendar="duty"),))
    for _ in range(4):
        await run(store, wanted)
        clock.advance(HOUR)
    found = [event.handed_over for event in await told(store)]
    assert [(one.person, one.former) for one in found if one] == [("Ann", None), (None, "Ann")]
