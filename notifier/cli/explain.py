"""`notifier explain`: why each channel was notified of a task or not."""

from collections.abc import Iterable
from functools import partial

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from notifier import lookup
from notifier.cli import documents
from notifier.cli.common import JsonOption, SourceOption, load_config, read_store, view_for
from notifier.cli.output import cell, indented, pairs, print_json, reply_line, show
from notifier.cli.route import verdict_lines
from notifier.cli.tasks import JobArgument, require_task
from notifier.cli.views import STATE_STYLES, View, possible_arrival
from notifier.config import Config
from notifier.core.delivery import Attempt, Delivery, DeliveryState, Recipient, RecipientState, Resolution
from notifier.core.routing import channels_of
from notifier.lookup import ChannelRecord, EventRecord, TaskExplanation
from notifier.wiring.stores import Queries
from notifier.wording.states import state_of


def explain(
    ctx: typer.Context, *, job_id: JobArgument, source: SourceOption = None, as_json: JsonOption = False
) -> None:
    """Explain a failure, and why each channel was notified of each change of the task or not.

    --json: {"task": {…}, "events_pruned", "events": [{event, routes_now: [{route, matched, channels, severity, mention,
    failed_matcher, actual, skipped_by}], channels: [{channel, planned, delivery, attempts: [{number, started_at,
    finished_at, outcome, reason, reply, doubt}]}]}]}.
    """
    config = load_config(ctx)
    view = view_for(config)
    found = read_store(config, partial(_explain, job_id=job_id, source=source, config=config, view=view))
    if as_json:
        print_json(documents.explanation(found, view.explained(found.task.task), view.localizer.language))
    else:
        show(explanation(view, found))


def _explain(q: Queries, job_id: str, source: str | None, config: Config, view: View) -> TaskExplanation:
    stored = require_task(q, job_id, source, view)
    return lookup.explain_task(q, stored, config.routes, [settings.name for settings in config.channels])


def explanation(view: View, found: TaskExplanation) -> RenderableType:
    """Return, for every event of a task, the verdict of each route and the outcome on each channel."""
    task = found.task.task
    heading = cell(f"{view.localizer.task_label(task.name)} · {task.instance_name or ''} · {task.job_id}", "bold")
    about = [*view.reason(task), *([pairs(facts)] if (facts := [*view.people_facts(found.task)]) else [])]
    pruned = [Text("Its earlier events were pruned (retention.events).")] if found.task.events_pruned else []
    if not found.events and not pruned:
        baseline = (
            "No channel was notified: the task was already listed at the first poll of its source (the quiet baseline),"
            " and no change has been recorded since."
        )
        return Group(heading, *about, Text(baseline))
    return Group(heading, *about, *pruned, *(_event_account(view, account) for account in found.events))


def _event_account(view: View, account: EventRecord) -> RenderableType:
    event = account.routed.event
    late = ", found late" if event.late else ""
    return Group(
        Text(""),
        cell(f"{view.when(event.observed_at)}  {event.type}{late}", state_of(event).tone.terminal),
        indented(verdict_lines(account.verdicts)),
        *_changed_routes(account),
        *(indented(channel_account(view, c)) for c in account.channels),
    )


def _changed_routes(account: EventRecord) -> Iterable[RenderableType]:
    then = set(account.routed.channels)
    if then != set(channels_of(account.verdicts)):
        names = ", ".join(sorted(then)) or "no channel"
        yield indented(cell(f"Routes have changed since: at the time it went to {names}.", "yellow"))


def channel_account(view: View, account: ChannelRecord) -> RenderableType:
    """Return the outcome of one event on one channel, with every attempt."""
    return Group(
        Text.assemble(cell(account.channel, "bold"), ": ", _delivery_outcome(view, account)),
        *(indented(_recipient(view, r)) for r in (account.delivery.recipients if account.delivery else ())),
        *(indented(attempt_lines(view, a)) for a in account.attempts),
    )


def _delivery_outcome(view: View, account: ChannelRecord) -> Text:
    delivery = account.delivery
    if delivery is None and account.planned:
        return Text("unaccounted: a route leads here and there is no delivery", style="bold red")
    if delivery is None:
        return Text("not notified, no route leads here", style="dim")
    words = (
        delivery.state,
        _together(delivery),
        _due(view, delivery),
        possible_arrival(delivery) and f"({possible_arrival(delivery)})",
    )
    reason = f": {view.localizer.reason(delivery.reason)}" if delivery.reason else ""
    return cell(" ".join(filter(None, words)) + reason, STATE_STYLES[delivery.state])


def _together(delivery: Delivery) -> str:
    """Return what other events the message is about, or nothing."""
    if delivery.storm:
        return f"in a storm of {delivery.storm.total} failures"
    return f"in a digest of {len(delivery.events)}" if delivery.digest else ""


def _due(view: View, delivery: Delivery) -> str:
    if delivery.settled_at:
        return view.when(delivery.settled_at)
    if delivery.state is not DeliveryState.PENDING:
        return ""
    if delivery.available_at <= view.now:
        return f"due since {view.when(delivery.available_at)}"
    return f"next try {view.age(delivery.available_at)}"


def attempt_lines(view: View, attempt: Attempt) -> RenderableType:
    """Return one attempt: when it was made, its outcome, and how an earlier unknown outcome was resolved."""
    reason = f": {view.localizer.reason(attempt.reason)}" if attempt.reason else ""
    took = (attempt.finished_at - attempt.started_at).total_seconds()
    line = cell(f"{attempt.number}. {view.when(attempt.started_at)}, {attempt.outcome} after {took:.1f} s{reason}")
    resolution = [indented(cell(_RESOLUTIONS[attempt.resolution], "yellow"))] if attempt.resolution else []
    return Group(line, *resolution, *reply_line(attempt.reply))


_RESOLUTIONS = {
    Resolution.ARRIVED: "the service has the message of the earlier attempt: nothing was sent again",
    Resolution.ABSENT: "the service does not have the message of the earlier attempt: sent again",
    Resolution.REPEATED: "the earlier attempt may have arrived: sent again, and the receiver knows a repeat by its id",
    Resolution.RISKED: "the earlier attempt may have arrived, which cannot be checked: sent again, perhaps twice",
    Resolution.HELD: "the earlier attempt may have arrived, which cannot be checked: held, as on_unknown requires",
}


def _recipient(view: View, recipient: Recipient) -> Text:
    reason = f": {view.localizer.reason(recipient.reason)}" if recipient.reason else ""
    state, style = _RECIPIENTS[recipient.state]
    return cell(f"{recipient.address} {state}{reason}", style)


_RECIPIENTS = {
    RecipientState.WAITING: ("waits", "yellow"),
    RecipientState.DELIVERED: ("has it", "green"),
    RecipientState.REFUSED: ("refused it", "red"),
    RecipientState.UNKNOWN: ("may have it", "yellow"),
}
