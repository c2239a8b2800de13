"""What a report would say now."""

from dataclasses import dataclass
from datetime import datetime

from notifier.schedules import read_report_now, report_event
from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageMissing, PageRequest, PageRoute
from notifier.wording.events import EventFormatter
from notifier.wording.marks import without_marks


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionView:
    """Lines below a heading."""

    heading: str
    lines: tuple[str, ...]
    items: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewView:
    """What a report would say now."""

    name: str
    at: datetime
    title: str
    sections: tuple[SectionView, ...]
    channels: tuple[str, ...]


def read_preview(request: PageRequest, q: WebReads) -> Page:
    """Return what a report would say now. It reads every event of its period, so it is asked for by name alone."""
    name = request.places["name"]
    found = [one for one in request.rules.schedules.reports if one.rules.name == name]
    if not found:
        raise PageMissing(f"there is no report {name[:80]!r}")
    report = read_report_now(q, found[0], None, request.rules.schedules.origins)
    event = report_event(report, q.now())
    message = EventFormatter(request.localizer, request.rules.causes).describe(event)
    sections = tuple(
        SectionView(heading=one.heading, lines=tuple(map(without_marks, one.lines)), items=one.items)
        for one in message.sections
    )
    view = PreviewView(
        name=name,
        at=report.until,
        title=without_marks(message.sentence),
        sections=sections,
        channels=found[0].rules.channels,
    )
    return Page(template="report_preview.html", view=view, poll=0)


routes = (PageRoute(path="/reports/preview/{name}", read=read_preview, tab="reports"),)
