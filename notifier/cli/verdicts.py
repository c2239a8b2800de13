"""What each route makes of an event, in words."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from notifier.cli.output import cell
from notifier.cli.views import View
from notifier.core.routing import Route, RouteVerdict


def verdict_lines(view: View, verdicts: Sequence[RouteVerdict]) -> RenderableType:
    """Return one line for each route: where it sends the event, or why it does not match."""
    if not verdicts:
        return Text(view.phrase("route.none"), style="dim")
    return Group(*(_verdict_line(view, verdict) for verdict in verdicts))


def _extras(view: View, route: Route) -> str:
    """Return what else a route does, in parentheses."""
    severity = view.phrase("route.severity", severity=route.severity) if route.severity else ""
    mention = view.phrase("route.mention", names=", ".join(route.mention)) if route.mention else ""
    extras = ", ".join(filter(None, (severity, mention, "stop" if route.stop else "")))
    return f" ({extras})" if extras else ""


def _verdict_line(view: View, verdict: RouteVerdict) -> Text:
    name = verdict.route.name
    if verdict.matched:
        channels = ", ".join(verdict.route.channels) or view.phrase("no_channel")
        return cell(view.phrase("route.matched", name=name, channels=channels) + _extras(view, verdict.route), "green")
    if verdict.skipped_by:
        return cell(view.phrase("route.skipped", name=name, by=verdict.skipped_by), "dim")
    values = {"matcher": verdict.failed_matcher, "actual": repr(verdict.actual)}
    return cell(view.phrase("route.unmatched", name=name, **values), "dim")
