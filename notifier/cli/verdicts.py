"""What each route makes of an event, in words."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from notifier.cli.output import cell
from notifier.cli.views import View
from notifier.core.durations import format_duration
from notifier.core.routing import Otherwise, Route, RouteVerdict
from notifier.core.tickets import TicketFields


def verdict_lines(view: View, verdicts: Sequence[RouteVerdict]) -> RenderableType:
    """Return one line for each route: where it sends the event, or why it does not match."""
    if not verdicts:
        return Text(view.phrase("route.none"), style="dim")
    return Group(*(_verdict_line(view, verdict) for verdict in verdicts))


def _extras(view: View, verdict: RouteVerdict) -> str:
    """Return what else a route does, in parentheses."""
    route = verdict.route
    extras = [
        *_window(view, verdict),
        view.phrase("route.severity", severity=route.severity) if route.severity else "",
        view.phrase("route.mention", names=", ".join(route.mention)) if route.mention else "",
        view.phrase("route.template", name=route.template) if route.template else "",
        view.phrase("route.ticket", wanted=_ticket(route.ticket)) if route.ticket else "",
        _collected(view, route),
        view.phrase("route.repeats", length=format_duration(route.repeats)) if route.repeats else "",
        view.phrase("route.reminds", waits=_waits(route)) if route.remind else "",
        view.phrase("route.escalates", name=route.escalate) if route.escalate else "",
        "stop" if route.stop else "",
    ]
    found = ", ".join(filter(None, extras))
    return f" ({found})" if found else ""


def _window(view: View, verdict: RouteVerdict) -> Iterator[str]:
    """Yield what the window of a route makes of an event."""
    route = verdict.route
    if route.active is None:
        return
    yield view.phrase("route.outside" if route.is_open is False else "route.active", window=route.active)
    if verdict.opens_at:
        yield view.phrase("route.held", until=view.when(verdict.opens_at))
    elif route.withholds is Otherwise.DROP:
        yield view.phrase("route.dropped")


def _ticket(wanted: TicketFields) -> str:
    known = {"priority": wanted.priority, "assignee": wanted.assignee, "project": wanted.project}
    labels = {"labels": ",".join(wanted.labels)}
    return " ".join(f"{name}={value}" for name, value in (known | labels | dict(wanted.fields)).items() if value)


def _waits(route: Route) -> str:
    return ", ".join(map(format_duration, route.remind))


def _collected(view: View, route: Route) -> str:
    if route.wait is None:
        return ""
    length = format_duration(route.wait)
    if route.group_by:
        return view.phrase("route.grouped", length=length, fields=", ".join(route.group_by))
    return view.phrase("route.collected", length=length)


def _verdict_line(view: View, verdict: RouteVerdict) -> Text:
    name = verdict.route.name
    if verdict.matched:
        channels = ", ".join(verdict.route.channels) or view.phrase("no_channel")
        return cell(view.phrase("route.matched", name=name, channels=channels) + _extras(view, verdict), "green")
    if verdict.skipped_by:
        return cell(view.phrase("route.skipped", name=name, by=verdict.skipped_by), "dim")
    values = {"matcher": verdict.failed_matcher, "actual": repr(verdict.actual)}
    return cell(view.phrase("route.unmatched", name=name, **values), "dim")
