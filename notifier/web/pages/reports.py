"""Reports and rotas: what is sent when and to whom, and who is on duty."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from urllib.parse import quote

from notifier.core.calendars import CalendarEntry
from notifier.core.delivery import DeliveryState
from notifier.core.report_values import Report
from notifier.core.rota import Duty, DutyPerson, Rota
from notifier.core.routing import RoutedEvent
from notifier.core.schedules import ScheduledReport, ScheduleState
from notifier.ports import DeliveryFilter, EventFilter
from notifier.schedules import report_event_id
from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageRequest, PageRoute

AHEAD = timedelta(days=28)
"""How far hand-overs and times without anybody are looked for."""
MAX_HAND_OVERS = 6
"""Maximum number of hand-overs of a rota that are listed."""
MAX_GAPS = 6
"""Maximum number of times without anybody that are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastReport:
    """The last report, as it was sent."""

    event_id: str
    report: Report
    told: tuple[tuple[str, DeliveryState], ...]
    """What became of it on each channel that it was planned for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """A configured report."""

    name: str
    cron: str
    zone: str
    channels: tuple[str, ...]
    sources: tuple[str, ...]
    """Names of the sources that it is about; empty for all."""
    match: tuple[str, ...]
    """What the tasks fit that it is about."""
    next_at: datetime
    last_at: datetime | None
    """For which time it was last sent."""
    last: LastReport | None
    """None where it was never sent, or where retention has deleted it."""
    preview_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRow:
    """Somebody on duty."""

    name: str
    mention: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RotaRow:
    """A rota."""

    name: str
    zone: str
    person: PersonRow | None
    """Who is on duty; None for nobody."""
    until: datetime | None
    fallback: tuple[str, ...]
    """Who is mentioned where nobody is on duty."""
    hand_overs: tuple[tuple[datetime, str | None], ...]
    """When somebody else is on duty, and who: None for nobody."""
    gaps: tuple[tuple[datetime, datetime | None], ...]
    """Times without anybody. None where one lasts longer than hand-overs are looked for."""
    calendar: str | None
    """Name of the calendar that keeps it."""
    strangers: tuple[str, ...]
    """Names in the calendar that none of the people has."""
    announce: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsView:
    """What the page shows."""

    reports: tuple[ReportRow, ...]
    rotas: tuple[RotaRow, ...]
    expects: bool
    """Whether any run is expected."""


def read_reports(request: PageRequest, q: WebReads) -> Page:
    """Return the page."""
    rules, now = request.rules, q.now()
    states = q.schedules()
    view = ReportsView(
        reports=tuple(_report_rows(rules.schedules.reports, states, q, now)),
        rotas=tuple(_rota_rows(rules.rotas.by_name, q, now)),
        expects=rules.missing.any,
    )
    return Page(template="reports.html", view=view, poll=60)


def _report_rows(
    reports: Sequence[ScheduledReport], states: Mapping[str, ScheduleState], q: WebReads, now: datetime
) -> Iterator[ReportRow]:
    for one in reports:
        state = states.get(one.name)
        known = state is not None and state.expression == one.expression and state.next_at is not None
        last_at = state.last_at if state else None
        yield ReportRow(
            name=one.rules.name,
            cron=one.cron.text,
            zone=str(one.cron.zone),
            channels=one.rules.channels,
            sources=tuple(sorted(one.rules.scope.sources)),
            match=tuple(map(str, one.rules.scope.match)),
            next_at=state.next_at if known and state and state.next_at else one.cron.after(now),
            last_at=last_at,
            last=_last_report(one.rules.name, last_at, q) if last_at else None,
            preview_url=f"/reports/preview/{quote(one.rules.name, safe='')}",
        )


def _last_report(name: str, until: datetime, q: WebReads) -> LastReport | None:
    event_id = report_event_id(name, until)
    found = q.events(EventFilter(id=event_id, limit=1))
    if not found or found[0].event.report is None:
        return None
    return LastReport(event_id=event_id, report=found[0].event.report, told=_told(found[0], q))


def _told(routed: RoutedEvent, q: WebReads) -> tuple[tuple[str, DeliveryState], ...]:
    deliveries = q.deliveries(DeliveryFilter(event_ids=[routed.event.id], limit=len(routed.channels) or 1))
    return tuple(sorted((one.channel, one.state) for one in deliveries))


def _rota_rows(rotas: Mapping[str, Rota], q: WebReads, now: datetime) -> Iterator[RotaRow]:
    names = [rota.calendar for rota in rotas.values() if rota.calendar]
    entries = q.calendar_entries(names) if names else {}
    for rota in rotas.values():
        yield rota_row(rota, entries.get(rota.calendar or "", ()), now)


def rota_row(rota: Rota, entries: Sequence[CalendarEntry], now: datetime) -> RotaRow:
    """Return what the page shows of a rota. `entries` are those of its calendar."""
    duty: Duty = rota.duty(now, entries)
    end = now + AHEAD
    changes = islice(rota.hand_overs(now, end, entries), MAX_HAND_OVERS)
    gaps = islice(rota.gaps(now, end, entries), MAX_GAPS)
    return RotaRow(
        name=rota.name,
        zone=str(rota.zone),
        person=_person(duty.person),
        until=duty.until,
        fallback=rota.fallback,
        hand_overs=tuple((at, person.name if person else None) for at, person in changes),
        gaps=tuple((_minute(begin), None if until == end else until) for begin, until in gaps),
        calendar=rota.calendar,
        strangers=tuple(sorted(rota.strangers(now, entries))) if rota.calendar else (),
        announce=rota.announce,
    )


def _person(person: DutyPerson | None) -> PersonRow | None:
    return None if person is None else PersonRow(name=person.name, mention=person.mention)


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


routes = (PageRoute(path="/reports", read=read_reports, tab="reports"),)
