"""`notifier explain`: why each channel was notified of a task or not."""

from collections.abc import Iterable
from functools import partial

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from notifier import lookup
from notifier.cli import documents
from notifier.cli.common import JsonOption, SourceOption, view_for
from notifier.cli.configured import load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import cell, indented, pairs, print_json, reply_line, show
from notifier.cli.tasks import JobArgument, require_task
from notifier.cli.verdicts import verdict_lines
from notifier.cli.views import STATE_STYLES, View
from notifier.config.outline import Outline
from notifier.core.delivery import (
    Attempt,
    Delivery,
    DeliveryState,
    Recipient,
    RecipientState,
    Resolution,
    is_held,
)
from notifier.core.routing import channels_of
from notifier.core.tickets import Ticket
from notifier.lookup import ChannelRecord, EventRecord, Lookup, TaskExplanation
from notifier.wording.events import EventFormatter
from notifier.wording.marks import without_marks
from notifier.wording.open_failures import FailureFormatter
from notifier.wording.states import state_of


def explain(
    ctx: typer.Context, *, job_id: JobArgument, source: SourceOption = None, as_json: JsonOption = False
) -> None:
    """Explain a failure, and why each channel was notified of each change of the task or not.

    --json: {"task": {…}, "events_pruned", "events": [{event, routes_now: [as the routes of notifier route], channels:
    [{channel, planned, delivery, attempts: [{number, started_at, finished_at, outcome, reason, reply, doubt}]}]}],
    "tickets": [{channel, label, url, state, closed_at, closed_by, follows}], "failures": […]}; see
    `notifier open --help` for the keys of a failure.
    """
    config = load_outline(ctx)
    view = view_for(config)
    found = read_store(ctx, config, partial(_explain, job_id=job_id, source=source, config=config, view=view))
    if as_json:
        print_json(documents.explanation(found, view.explained(found.task.task), view.localizer.language))
    else:
        show(explanation(view, found))


def _explain(q: Lookup, job_id: str, source: str | None, config: Outline, view: View) -> TaskExplanation:
    stored = require_task(q, job_id, source, view)
    return lookup.explain_task(q, stored, config.routes, config.channel_names, config.cause_catalogue)


def explanation(view: View, found: TaskExplanation) -> RenderableType:
    """Return, for every event of a task, the verdict of each route and the outcome on each channel."""
    task = found.task.task
    heading = cell(f"{view.localizer.task_label(task.name)} · {task.instance_name or ''} · {task.job_id}", "bold")
    about = [*view.reason(task), *([pairs(facts)] if (facts := [*view.people_facts(found.task)]) else [])]
    about += [_ticket(view, ticket) for ticket in found.tickets]
    words = FailureFormatter(EventFormatter(view.localizer), view.now)
    about += [cell(without_marks(line)) for one in found.failures for line in words.history(one)]
    pruned = [Text(view.phrase("events_pruned"))] if found.task.events_pruned else []
    if not found.events and not pruned:
        return Group(heading, *about, Text(view.phrase("baseline")))
    return Group(heading, *about, *pruned, *(_event_account(view, account) for account in found.events))


def _ticket(view: View, ticket: Ticket) -> Text:
    """Return a ticket of the operation: its label, its channel, its state and its address."""
    key = f"ticket.{ticket.state}" if ticket.closed_by is None else f"ticket.closed_by_{ticket.closed_by}"
    at = view.when(ticket.closed_at) if ticket.closed_at else ""
    state = view.phrase(key, at=at)
    line = view.phrase("ticket.line", label=ticket.label, channel=ticket.channel, state=state)
    return cell(f"{line}  {ticket.url}" if ticket.url else line)


def _event_account(view: View, account: EventRecord) -> RenderableType:
    event = account.routed.event
    shown = view.phrase("found_late", event=event.type) if event.late else event.type
    return Group(
        Text(""),
        cell(f"{view.when(event.observed_at)}  {shown}", state_of(event).tone.terminal),
        indented(verdict_lines(view, account.verdicts)),
        *_changed_routes(view, account),
        *(indented(channel_account(view, c)) for c in account.channels),
    )


def _changed_routes(view: View, account: EventRecord) -> Iterable[RenderableType]:
    then = set(account.routed.channels)
    if then != set(channels_of(account.verdicts)):
        names = ", ".join(sorted(then)) or view.phrase("no_channel")
        yield indented(cell(view.phrase("routes_changed", names=names), "yellow"))


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
        return Text(view.phrase("unaccounted"), style="bold red")
    if delivery is None:
        return Text(view.phrase("no_route"), style="dim")
    remark = view.possible_arrival(delivery)
    settled = f" {view.when(delivery.settled_at)}" if delivery.settled_at else ""
    clauses = (f"{view.delivery_state(delivery)}{settled}", _due(view, delivery), _together(view, delivery))
    words = view.phrase("separator").join(filter(None, clauses))
    if remark:
        words = f"{words} {view.phrase('remark', remark=remark)}"
    return cell(_with_reason(view, words, delivery.reason), STATE_STYLES[delivery.state])


def _with_reason(view: View, words: str, reason: str | None) -> str:
    return view.phrase("outcome", words=words, why=view.localizer.reason(reason)) if reason else words


def _together(view: View, delivery: Delivery) -> str:
    """Return what other events the message is about, or nothing."""
    if delivery.storm:
        return view.phrase("in_storm", n=delivery.storm.total)
    return view.phrase("in_digest", n=len(delivery.events)) if delivery.digest else ""


def _due(view: View, delivery: Delivery) -> str:
    """Return when a pending delivery is sent next, or nothing."""
    if delivery.settled_at or delivery.state is not DeliveryState.PENDING:
        return ""
    if is_held(delivery) and delivery.available_at > view.now:
        return view.phrase("held_until", age=view.age(delivery.available_at))
    if delivery.available_at <= view.now:
        return view.phrase("due_since", at=view.when(delivery.available_at))
    return view.phrase("next_try", age=view.age(delivery.available_at))


def attempt_lines(view: View, attempt: Attempt) -> RenderableType:
    """Return one attempt: when it was made, its outcome, and how an earlier unknown outcome was resolved."""
    took = (attempt.finished_at - attempt.started_at).total_seconds()
    line = view.phrase(
        "attempt",
        n=attempt.number,
        at=view.when(attempt.started_at),
        outcome=view.outcome(attempt),
        seconds=f"{took:.1f}",
    )
    resolution = [_resolution(view, attempt.resolution)] if attempt.resolution else []
    return Group(
        cell(_with_reason(view, line, attempt.reason)), *resolution, *reply_line(view.phrase("replied"), attempt.reply)
    )


def _resolution(view: View, resolution: Resolution) -> RenderableType:
    return indented(cell(view.phrase(f"resolution.{resolution}"), "yellow"))


def _recipient(view: View, recipient: Recipient) -> Text:
    line = view.phrase(f"recipient.{recipient.state}", address=recipient.address)
    return cell(_with_reason(view, line, recipient.reason), _RECIPIENT_STYLES[recipient.state])


_RECIPIENT_STYLES = {
    RecipientState.WAITING: "yellow",
    RecipientState.DELIVERED: "green",
    RecipientState.REFUSED: "red",
    RecipientState.UNKNOWN: "yellow",
}
