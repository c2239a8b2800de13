"""Which runs are expected next, and by when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifier import lookup
from notifier.core.expectations import Judged
from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageRequest, PageRoute
from notifier.wording.links import task_path

MAX_EXPECTED_ROWS = 200
"""Maximum number of expected runs that are listed, those that are overdue soonest."""
SOON = timedelta(hours=24)
"""Runs that are expected within this time are counted at the top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRow:
    """A run that should begin."""

    source: str
    name: str
    instance: str
    last: datetime | None
    last_url: str | None
    expected_at: datetime | None
    """None for a configured expectation."""
    overdue_at: datetime
    missing: bool
    """Whether it has not begun in time."""
    every: timedelta
    rule: str
    """The configured expectation, as it is written; empty for a learned one."""
    intervals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedView:
    """Which runs are expected."""

    at: datetime
    rows: tuple[ExpectedRow, ...]
    total: int
    missing: int
    soon: int
    """Number of runs that are overdue within a day, unless they begin."""
    expects: bool


def read_expected(request: PageRequest, q: WebReads) -> Page:
    """Return which runs are expected next. It reads the runs of six weeks, so it is no part of another page."""
    found = lookup.expected_now(q, request.rules.expected.sources, request.rules.missing)
    view = expected_view(found, q.now(), expects=request.rules.missing.any)
    return Page(template="expected_runs.html", view=view, poll=0)


def expected_view(found: Sequence[Judged], now: datetime, *, expects: bool) -> ExpectedView:
    """Return what the page shows of expected runs."""
    return ExpectedView(
        at=now,
        rows=tuple(_expected_row(one, now) for one in found[:MAX_EXPECTED_ROWS]),
        total=len(found),
        missing=sum(one.overdue_at <= now for one in found),
        soon=sum(now < one.overdue_at <= now + SOON for one in found),
        expects=expects,
    )


def _expected_row(judged: Judged, now: datetime) -> ExpectedRow:
    one, source = judged.expected, judged.event.source
    return ExpectedRow(
        source=source,
        name=one.name,
        instance=one.instance_name or one.instance_id or "",
        last=one.last,
        last_url=task_path(source, one.last_job) if one.last_job else None,
        expected_at=one.expected_at,
        overdue_at=one.overdue_at,
        missing=one.overdue_at <= now,
        every=one.period,
        rule=one.rule,
        intervals=one.intervals,
    )


routes = (PageRoute(path="/reports/expected", read=read_expected, tab="reports"),)
