"""The page of reports and rotas, a preview of a report, and the expected runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from factories import T0, make_delivery
from fakes import FakeClock
from web_site import SHANGHAI, open_site

from notifier.core.cron import Cron
from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.expectations import Judged, MissingRules
from notifier.core.foreseen import Expectation
from notifier.core.matchers import parse_matchers
from notifier.core.model import own_event
from notifier.core.report_values import Report, ReportCounts
from notifier.core.reports import ReportRules, ReportScope
from notifier.core.rota import DutyPerson, Override, Rota, Rotas, Rotation
from notifier.core.routing import RoutedEvent
from notifier.core.schedules import ScheduledReport, ScheduleState
from notifier.schedules import ScheduleRules, report_event
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction
from notifier.web.pages.expected_runs import expected_view
from notifier.web.pages.reports import rota_row

HOSTILE = '<img src=x onerror="alert(1)">{{ 7 * 7 }}'
DAY = timedelta(days=1)
WEEKLY = ScheduledReport(
    rules=ReportRules(
        name="weekly",
        zone=SHANGHAI,
        channels=("mail",),
        scope=ReportScope(match=tuple(parse_matchers("operation=backup"))),
    ),
    cron=Cron.parse("0 9 * * 1", SHANGHAI),
)


def rota(**changes: object) -> Rota:
    people = (DutyPerson(name="Li Wei", mention=("U1",)), DutyPerson(name="Ann Smith"))
    turns = Rotation(first=date(2026, 1, 5), at=time(9), days=7)
    return replace(Rota(name="dba", zone=SHANGHAI, people=people, rotation=turns), **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _at(clock: FakeClock) -> None:
    clock.time = T0


async def test_without_reports_and_rotas_the_page_says_how_to_get_some(store: SqlStore) -> None:
    async with open_site(store) as site:
        page = (await site.get("/reports")).text
    for section in ("“Reports” in docs/reports.md", "“Rotas and calendars” in docs/rotas.md", "“Missing runs”"):
        assert section in page


async def test_a_report_says_when_it_is_next_and_what_the_last_one_said(store: SqlStore) -> None:
    until = datetime(2026, 1, 12, 1, tzinfo=UTC)
    counts = ReportCounts(completed=90, failed=10)
    made = Report(name="weekly", since=until - 7 * DAY, until=until, timezone="Asia/Shanghai", counts=counts)

    def send(tx: Transaction) -> None:
        event = report_event(made, T0)
        tx.events.record([RoutedEvent(event=event, routes=(), channels=("mail",))])
        delivery = make_delivery(event, channel="mail", subject=event.subject)
        tx.deliveries.record([replace(delivery, state=DeliveryState.DELIVERED, settled_at=T0)])
        state = tx.schedules.lock("report:weekly")
        following = datetime(2026, 1, 19, 1, tzinfo=UTC)
        tx.schedules.save(replace(state, expression=WEEKLY.expression, next_at=following, last_at=until))

    async with open_site(store, schedules=ScheduleRules(reports=[WEEKLY])) as site:
        never = (await site.get("/reports")).text
        await store.transact(send)
        page = (await site.get("/reports")).text
    assert "Mon 19 Jan 09:00" in never
    assert "none was sent yet" in never
    assert "Mon 19 Jan 09:00" in page
    assert "90 completed, 10 failed (10%)" in page
    assert 'aria-label="Delivered"' in page
    assert "<code>operation=backup</code>" in page


async def test_the_last_report_past_retention_has_no_values(store: SqlStore) -> None:
    state = ScheduleState(name="report:weekly", expression="other", last_at=T0 - 200 * DAY)

    def record(tx: Transaction) -> None:
        tx.schedules.lock(state.name)
        tx.schedules.save(state)

    await store.transact(record)
    async with open_site(store, schedules=ScheduleRules(reports=[WEEKLY])) as site:
        page = (await site.get("/reports")).text
    assert "its values are past retention" in page


async def test_a_preview_is_what_the_report_would_say(store: SqlStore) -> None:
    async with open_site(store, schedules=ScheduleRules(reports=[WEEKLY])) as site:
        page = await site.get("/reports/preview/weekly")
        missing = await site.get(f"/reports/preview/{'x' * 50}")
    assert "Report weekly" in page.text
    assert "notifier report weekly --send" in page.text
    assert missing.status_code == 404


def test_a_rota_names_who_is_on_duty_and_who_follows() -> None:
    row = rota_row(rota(), (), T0)
    assert row.person is not None
    assert (row.person.name, row.person.mention) == ("Ann Smith", ())
    assert [name for _, name in row.hand_overs] == ["Li Wei", "Ann Smith", "Li Wei", "Ann Smith"]
    assert row.until == row.hand_overs[0][0] == datetime(2026, 1, 19, 1, tzinfo=UTC)
    assert row.gaps == ()


def test_a_hand_over_stays_at_its_time_where_clocks_are_changed() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    row = rota_row(rota(zone=berlin), (), datetime(2026, 3, 20, tzinfo=UTC))
    assert [at.astimezone(berlin).hour for at, _ in row.hand_overs] == [9, 9, 9, 9]
    assert row.hand_overs[1][0] - row.hand_overs[0][0] == 7 * DAY - timedelta(hours=1)


def test_times_without_anybody_are_named() -> None:
    begins = rota(rotation=Rotation(first=date(2026, 1, 20), at=time(9), days=7))
    row = rota_row(begins, (), T0.replace(second=7))
    assert row.person is None
    assert row.gaps == ((T0, datetime(2026, 1, 20, 1, tzinfo=UTC)),)
    kept = rota_row(rota(rotation=None, calendar="duty"), (), T0)
    assert kept.gaps == ((T0, None),)


def test_an_override_is_two_hand_overs() -> None:
    away = Override(start=T0 + DAY, end=T0 + 2 * DAY, person="Li Wei")
    row = rota_row(rota(overrides=(away,)), (), T0)
    assert row.hand_overs[:2] == ((away.start, "Li Wei"), (away.end, "Ann Smith"))


async def test_names_in_rotas_stay_text(store: SqlStore) -> None:
    people = (DutyPerson(name=HOSTILE, mention=(HOSTILE,)),)
    odd = rota(name=HOSTILE, people=people, fallback=(HOSTILE,))
    async with open_site(store, rotas=Rotas(by_name={HOSTILE: odd})) as site:
        page = (await site.get("/reports")).text
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page


def judged(overdue_at: datetime, **changes: object) -> Judged:
    values: dict[str, object] = {"name": "CreateBackup", "every": 86_400.0, "overdue_at": overdue_at, "intervals": 9}
    expected = Expectation(**values | changes)  # type: ignore[arg-type]
    event = replace(own_event(EventType.TASK_MISSING, "o", T0), source="prod")
    return Judged(event=event, expected=expected)


def test_missing_and_coming_runs_are_counted() -> None:
    view = expected_view([judged(T0 - DAY), judged(T0 + timedelta(hours=5)), judged(T0 + 3 * DAY)], T0, expects=True)
    assert (view.total, view.missing, view.soon) == (3, 1, 1)
    assert [row.missing for row in view.rows] == [True, False, False]


async def test_expected_runs_are_empty_without_expectations(store: SqlStore) -> None:
    async with open_site(store) as site:
        none = (await site.get("/reports/expected")).text
    async with open_site(store, missing=MissingRules(learned=True)) as site:
        yet = (await site.get("/reports/expected")).text
    assert "No run is expected." in none
    assert "No run is expected yet." in yet
