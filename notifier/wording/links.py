"""Links to the cloud's console and to runbooks, which are templates of the configuration, and to our own pages."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, urlencode

from notifier.core.causes import Explanation
from notifier.core.events import EventType
from notifier.core.maintenance_values import PlannedMaintenance
from notifier.core.model import Event, SourceOrigin
from notifier.core.report_values import Report

URL_LIMIT = 2_700
"""Maximum length of a link, in characters; Slack's is 3,000. A longer one is left out."""

RUNBOOK_PLACEHOLDERS = (
    "error_code",
    "cause",
    "operation",
    "source",
    "environment",
    "region",
    "project_id",
    "instance_id",
)
"""What the template of a runbook may name."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


ANCHOR_LENGTH = 8
"""Number of characters of the id of an event, or of a delivery, in the anchor of a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageLink:
    """A link to one of our own pages."""

    place: str = ""
    """Which page: `page.{place}` is the phrase of a button. Empty where there is none."""
    url: str = ""
    """Its whole address. Empty for none."""


NO_PAGE = PageLink()
"""There is no page."""


def event_anchor(event_id: str) -> str:
    """Return the id of an event's element on the page of its task."""
    return f"e-{event_id[:ANCHOR_LENGTH]}"


def delivery_anchor(delivery_id: str) -> str:
    """Return the id of a delivery's element on the page of its task."""
    return f"d-{delivery_id[:ANCHOR_LENGTH]}"


def list_path(path: str, **wanted: str) -> str:
    """Return the path of a list that is narrowed to what is wanted. Parameters that are empty are left out."""
    query = urlencode({name: value for name, value in wanted.items() if value}, safe=":")
    return f"{path}?{query}" if query else path


def task_path(source: str, job_id: str) -> str:
    """Return the path of the page of a task. A browser would take a job id of dots for a folder: it leads to the list.

    Nothing else in a job id has a meaning in the path.
    """
    if job_id in {".", ".."}:
        return list_path("/tasks", source=source, q=job_id)
    return f"/tasks/{_escaped(source)}/{_escaped(job_id)}"


MAINTENANCE_PATH = "/#maintenance"
"""Path of the place that lists planned maintenance."""


_OWN_PAGES: Mapping[str, str] = {
    "maintenance": MAINTENANCE_PATH,
    "mutes": "/mutes",
    "reports": "/reports",
    "now": "/",
}


def missing_path(event_id: str) -> str:
    """Return the path of the page of a run that did not appear, by the id of the event about it."""
    return f"/missing/{_escaped(event_id)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTemplates:
    """The configured templates."""

    console_url: str | None = None
    """With {region}, {project_id} and {instance_id}; what is not known is left empty."""
    runbook_url: str | None = None
    """With names of RUNBOOK_PLACEHOLDERS. There is no link where one of those that it names is not known."""

    page_url: str | None = None
    """Address of our own pages, without a slash at its end: the setting `web.url`. None links to none of them."""

    def console(self, event: Event) -> str:
        """Return the link to an event's instance; the empty string for none."""
        if event.matter is None or self.console_url is None:
            return ""
        return _bounded(_filled(self.console_url, _values(event)))

    def instance_console(self, origin: SourceOrigin, planned: PlannedMaintenance) -> str:
        """Return the link to the instance of a maintenance; the empty string for none."""
        if self.console_url is None:
            return ""
        values = {
            "region": origin.region,
            "project_id": origin.project_id,
            "source": origin.source,
            "environment": origin.environment,
            "instance_id": planned.instance_id or "",
            "operation": planned.name,
        }
        return _bounded(_filled(self.console_url, values))

    def region_console(self, region: str) -> str:
        """Return the link to the console for a region as a whole; the empty string where the template needs more."""
        if self.console_url is None or "{instance_id}" in self.console_url or "{project_id}" in self.console_url:
            return ""
        return _bounded(_filled(self.console_url, {"region": region}))

    def runbook(self, event: Event, explanation: Explanation) -> str:
        """Return the link to what to do about an event; the empty string for none.

        A cause that has a runbook of its own leads there.
        """
        if explanation.runbook_url:
            return _bounded(explanation.runbook_url)
        if event.matter is None or self.runbook_url is None:
            return ""
        if not event.type.traits.acknowledgeable:
            return ""
        cause = explanation.cause.id if explanation.cause else ""
        values = _values(event) | {"error_code": explanation.code or "", "cause": cause}
        if not all(values.get(name) for name, _ in _parsed(self.runbook_url)[1]):
            return ""
        return _bounded(_filled(self.runbook_url, values))

    # -- our own pages --

    def page(self, event: Event) -> PageLink:
        """Return the link to the page about an event: of a task, with the place of the event on it."""
        if event.expectation:
            return self._page("run", missing_path(event.care_id))
        if event.task:
            path = task_path(event.source, event.task.job_id)
            return self._page("task", path if "?" in path else f"{path}#{event_anchor(event.id)}")
        if event.channel:
            return self._page("deliveries", list_path("/deliveries", channel=event.channel))
        if event.report:
            return self._page("tasks", _of_report(event.report))
        place = "maintenance" if event.maintenance else "mutes" if event.mute else "reports" if event.about else "now"
        return self._page(place, _OWN_PAGES[place])

    def list_page(self, place: str, path: str, **wanted: str) -> PageLink:
        """Return the link to one of our lists, narrowed to what is wanted; an empty text is not."""
        return self._page(place, list_path(path, **wanted))

    def storm_page(self, storm_id: str) -> PageLink:
        """Return the link to the tasks of a storm."""
        return self._page("tasks", list_path("/tasks", storm=storm_id))

    def digest_page(self, events: Sequence[Event]) -> PageLink:
        """Return the link to what a digest is about: the tasks since the first of its events, or what is open."""
        if any(event.follow_up for event in events):
            return self._page("tasks", "/tasks?open=1")
        tasks = [event for event in events if event.task]
        if not tasks:
            return self._shared_page(events)
        sources = {event.source for event in tasks}
        failed = all(event.type is EventType.TASK_FAILED for event in tasks)
        path = list_path(
            "/tasks",
            status="failed" if failed else "",
            source=sources.pop() if len(sources) == 1 else "",
            since=_moment(min(event.occurred_at or event.observed_at for event in tasks)),
        )
        return self._page("tasks", path)

    def _shared_page(self, events: Sequence[Event]) -> PageLink:
        """Return the page of all events where they have one; else the overview."""
        found = {self.page(event) for event in events}
        if len(found) == 1:
            return found.pop()
        places = {link.place for link in found}
        paths = {"deliveries": "/deliveries", "run": "/tasks?open=1"}
        place = places.pop() if len(places) == 1 else ""
        return self._page("tasks" if place == "run" else place, paths[place]) if place in paths else self._now()

    def _now(self) -> PageLink:
        return self._page("now", "/")

    def _page(self, place: str, path: str) -> PageLink:
        url = "" if self.page_url is None else _bounded(f"{self.page_url}{path}")
        return PageLink(place=place, url=url) if url else NO_PAGE


def _of_report(report: Report) -> str:
    """Return the path of the tasks that changed in the period of a report."""
    return list_path("/tasks", since=_moment(report.since), until=_moment(report.until))


def _moment(moment: datetime) -> str:
    """Return a time as the pages take it: its second, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _values(event: Event) -> dict[str, str]:
    about = event.matter
    return {
        "region": event.region,
        "project_id": event.project_id,
        "source": event.source,
        "environment": event.environment,
        "instance_id": (about and about.instance_id) or "",
        "operation": about.name if about else "",
    }


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Fill a template; each value is escaped for URLs. Names in braces that are not ours stay."""
    url, placeholders = _parsed(template)
    for name, literal in placeholders:
        url += (_escaped(values[name]) if name in values else f"{{{name}}}") + literal
    return url


@lru_cache(maxsize=64)
def _parsed(template: str) -> tuple[str, Sequence[tuple[str, str]]]:
    """Return what stands before the first placeholder, and the name of each with what stands behind it."""
    first, *others = _PLACEHOLDER.split(template)
    return first, tuple(zip(others[::2], others[1::2], strict=True))


def _escaped(value: str) -> str:
    # Ids and names of regions are not changed by `quote`, which takes longer than the rest of a link.
    return value if value.isascii() and value.replace("-", "").isalnum() else quote(value, safe="")


def _bounded(url: str) -> str:
    return url if len(url) <= URL_LIMIT else ""
