"""Timeline: what ran when, in which order, and when nobody looked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.core.health import judge
from notifier.core.health_facts import Expected
from notifier.core.maintenance import KEPT
from notifier.core.wall_time import day_begins
from notifier.web.maintenance_windows import windows_of
from notifier.web.periods import (
    Period,
    PeriodChart,
    RowsBy,
    chart_of,
    read_period,
    written_time,
)
from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageRequest, PageRoute
from notifier.wording.links import list_path

PERIOD_LENGTHS = (1, 3, 7, 31)
"""Lengths in days that can be chosen."""
MAX_DAYS = 366
"""Maximum length in days that an address may name."""
USUAL_DAYS = 7
MAX_LISTED_MARKS = 150
"""Number of marks up to which the table has a row for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineView:
    """What the page shows."""

    chart: PeriodChart
    days: int
    lengths: tuple[timedelta, ...]
    """Those that can be chosen, and the one that the address names."""
    earlier: str
    """`to` of the period before."""
    later: str | None
    """`to` of the period after; None for the one that ends now, and where this one does."""
    alarms_url: str
    """The list of the alarms of the period."""
    listed: bool
    """Whether the table has a row for each task."""


def read_timeline(request: PageRequest, q: WebReads) -> Page:
    """Return the page."""
    zone = request.localizer.timezone
    period = period_of(request.query, zone, q.now())
    report = judge(request.rules.expected, q.health_facts())
    facts = read_period(q.timeline, q.now_page, period)
    windows = windows_of(q.maintenances(period.now - KEPT), period.since, period.until, period.now, request.localizer)
    facts = replace(facts, windows=windows)
    regions = regions_of(request.rules.expected)
    chart = chart_of(facts, period, report, regions, request.localizer.task_label)
    return Page(template="timeline.html", view=view_of(chart), poll=15 if period.ends_now else 0)


def regions_of(expected: Expected) -> Mapping[str, str]:
    """Return the region of each configured source."""
    return {source.name: source.region for source in expected.sources}


def view_of(chart: PeriodChart) -> TimelineView:
    """Return what the page shows of a chart."""
    period = chart.period
    length = period.until - period.since
    days = round(length / timedelta(days=1))
    after = period.until + length
    return TimelineView(
        chart=chart,
        days=days,
        lengths=tuple(timedelta(days=one) for one in sorted({*PERIOD_LENGTHS, days})),
        earlier=written_time(period.since),
        later=None if period.ends_now or after >= period.now else written_time(after),
        alarms_url=list_path("/tasks", status="raised", **period.query),
        listed=chart.marks <= MAX_LISTED_MARKS and not chart.counted,
    )


def period_of(query: Mapping[str, str], zone: ZoneInfo, now: datetime) -> Period:
    """Return the period that an address names. What cannot be read counts as not given.

    `days` are 24 hours each. `to` is a time, or a date whose end is meant; the period is not after the present.
    """
    minute = now.replace(second=0, microsecond=0)
    until = min(_end(query.get("to", ""), zone) or minute, minute)
    word = query.get("by", "")
    by = next((one for one in RowsBy if one == word), RowsBy.INSTANCE)
    return Period(
        since=until - timedelta(days=_days(query.get("days", ""))),
        until=until,
        now=minute,
        by=by,
        failed_only=query.get("only") == "failed",
        zone=zone,
    )


def _days(text: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_DAYS))
    return min(max(int(text), 1), MAX_DAYS) if is_number else USUAL_DAYS


def _end(text: str, zone: ZoneInfo) -> datetime | None:
    """Return the end of the period, in whole minutes."""
    try:
        if len(text) == len("2026-11-28"):
            moment = day_begins(date.fromisoformat(text) + timedelta(days=1), zone)
        else:
            at = datetime.fromisoformat(text)
            moment = at if at.tzinfo else at.replace(tzinfo=zone)
        return moment.astimezone(UTC).replace(second=0, microsecond=0) if moment.year > MIN_YEAR else None
    except (ValueError, OverflowError):
        return None


MIN_YEAR = 2000
"""Years up to this one are none of the notifier's."""

routes = (PageRoute(path="/timeline", read=read_timeline, tab="timeline"),)
