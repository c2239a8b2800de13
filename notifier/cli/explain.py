"""`notifier explain`: why each channel was notified of a task or not."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from notifier import lookup
from notifier.cli.common import JsonOption, SourceOption, require_source, view_for
from notifier.cli.configured import load_config, load_outline
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, indented, pairs, print_json, reply_line, show
from notifier.cli.tasks import require_task
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
from notifier.core.expectations import Judged
from notifier.core.model import Event, Task
from notifier.core.routing import channels_of
from notifier.core.tickets import Ticket
from notifier.core.usual import Run, Runs, Usual, UsualBasis
from notifier.lookup import ChannelRecord, EventRecord, Lookup, TaskExplanation
from notifier.wording import documents
from notifier.wording.events import EventFormatter
from notifier.wording.marks import without_marks
from notifier.wording.message import usual_span
from notifier.wording.open_failures import FailureFormatter
from notifier.wording.states import state_of


def explain(
    ctx: typer.Context,
    *,
    job_id: Annotated[
        str | None, typer.Argument(metavar="JOB_ID", help="Job id or event id, or its beginning.", show_default=False)
    ] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Show which runs are expected, by when and why.")] = False,
    source: SourceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Explain a failure, and why each channel was notified of each change of the task or not.

    Of an overdue task it shows the limit and the runs that it follows from. --missing lists the next expected run of
    each operation, those that are overdue first.

    --json: {"task": {…}, "events_pruned", "events": [{event, routes_now: [as the routes of notifier route], channels:
    [{channel, planned, delivery, attempts: [{number, started_at, finished_at, outcome, reason, reply, doubt}]}]}],
    "tickets": [{channel, label, url, state, closed_at, closed_by, follows}], "failures": […]}; see
    `notifier open --help` for the keys of a failure. Of an event alone {"events": […]}; with --missing {"expected":
    [{source, name, instance_id, instance_name, every, last, last_job, expected_at, overdue_at, overdue, intervals,
    rule, succeeded}]}.
    """
    if missing is (job_id is not None):
        raise typer.BadParameter("give the id of a task or an event, or --missing", param_hint="JOB_ID")
    if missing:
        _explain_missing(ctx, source, as_json=as_json)
        return
    config = load_outline(ctx)
    view = view_for(config)
    found = read_store(ctx, config, partial(_explain, job_id=job_id or "", source=source, config=config, view=view))
    if isinstance(found, EventRecord):
        shown, document = event_account(view, found), documents.event_explanation(found)
    else:
        shown = explanation(view, found)
        document = documents.explanation(found, view.explained(found.task.task), view.localizer.language)
    if as_json:
        print_json(document)
    else:
        show(shown)


def _explain(q: Lookup, job_id: str, source: str | None, config: Outline, view: View) -> TaskExplanation | EventRecord:
    about = (config.routes, config.channel_names, config.cause_catalogue)
    if not lookup.find_task(q, job_id, source=source).known and (found := lookup.explain_event(q, job_id, *about)):
        return found
    return lookup.explain_task(q, require_task(q, job_id, source, view), *about)


def _explain_missing(ctx: typer.Context, source: str | None, *, as_json: bool) -> None:
    from notifier.config.foresight import missing_rules  # noqa: PLC0415 - only this reads the whole configuration

    config = load_config(ctx)
    require_source(config, source)
    rules = missing_rules(config.foresight, config.expect)
    sources = [one for one in config.expected.sources if source in (None, one.name)]
    found = read_store(ctx, load_outline(ctx), partial(lookup.expected_now, sources=sources, rules=rules))
    view = view_for(config)
    if as_json:
        print_json({"expected": [documents.expected_run(one, view.now) for one in found]})
    else:
        show(_expected_runs(view, found) if found else Text(view.phrase("no_expectations")))


def _expected_runs(view: View, found: Sequence[Judged]) -> TextTable:
    columns = ("overdue_at", "task", "instance", "last_run", "expected", "based_on")
    return view.table(columns, (_expected_run(view, one) for one in found))


def _expected_run(view: View, judged: Judged) -> TableRow:
    expected, overdue = judged.expected, judged.overdue_at <= view.now
    if expected.rule:
        based = view.phrase("based.rule", rule=expected.rule)
    else:
        every = view.localizer.period(expected.period)
        based = view.localizer.counted("cli.based.rhythm", expected.intervals, every=every)
    cells = (
        cell(view.when(judged.overdue_at), "bold red" if overdue else ""),
        cell(view.localizer.task_label(expected.name)),
        cell(expected.instance_name or expected.instance_id),
        cell(view.when(expected.last)),
        cell(view.when(expected.expected_at)),
        cell(based),
    )
    return TableRow(cells)


MAX_SHOWN_RUNS = 12
"""Maximum number of runs that explain a limit, the latest ones."""


def _judgement(view: View, event: Event, runs: Runs | None) -> Iterator[Text]:
    """Yield why a task counted as overdue: its limit, and the runs that this follows from."""
    limit, task, usual, localizer = event.overdue, event.task, event.usual, view.localizer
    if limit is None or task is None or task.created_at is None:
        return
    elapsed = localizer.duration(event.observed_at - task.created_at)
    yield cell(view.phrase("overdue.running", elapsed=elapsed, limit=localizer.duration(limit.length)))
    if limit.matcher:
        yield cell(view.phrase("overdue.fixed", rule=limit.matcher))
    if usual is None:
        return
    if not limit.matcher:
        measured = localizer.counted(f"usual.{usual.basis}", usual.runs, length=usual_span(usual, localizer))
        yield cell(view.phrase("overdue.usual", usual=measured))
    middle, slow = (localizer.duration(timedelta(seconds=seconds)) for seconds in (usual.middle, usual.slow))
    yield cell(view.phrase("overdue.half", middle=middle, slow=slow), "dim")
    if usual.by_weekday:
        yield cell(view.phrase("overdue.weekday"), "dim")
    if shown := _runs(usual, task, runs):
        lengths = [localizer.duration(timedelta(seconds=run.seconds)) for run in shown[:MAX_SHOWN_RUNS]]
        yield cell(view.phrase("overdue.runs", runs=localizer.text("condition.separator").join(lengths)), "dim")


def _runs(usual: Usual, task: Task, runs: Runs | None) -> Sequence[Run]:
    """Return the runs that a usual duration is measured on, as they are recorded now."""
    if runs is None:
        return ()
    if usual.basis is UsualBasis.INSTANCE:
        return runs.by_instance.get(task.instance_id or "", ())
    return runs.of_source if usual.basis is UsualBasis.SOURCE else runs.everywhere


def explanation(view: View, found: TaskExplanation) -> RenderableType:
    """Return, for every event of a task, the verdict of each route and the outcome on each channel."""
    task = found.task.task
    heading = cell(f"{view.localizer.task_label(task.name)} · {task.instance_name or ''} · {task.job_id}", "bold")
    about = [
        *view.reason(task),
        *([pairs(facts)] if (facts := [*view.origin_facts(found.task), *view.people_facts(found.task)]) else []),
    ]
    about += [_ticket(view, ticket) for ticket in found.tickets]
    words = FailureFormatter(EventFormatter(view.localizer), view.now)
    about += [cell(without_marks(line)) for one in found.failures for line in words.history(one)]
    pruned = [Text(view.phrase("events_pruned"))] if found.task.events_pruned else []
    if not found.events and not pruned:
        return Group(heading, *about, Text(view.phrase("baseline")))
    return Group(heading, *about, *pruned, *(event_account(view, account, found.runs) for account in found.events))


def _ticket(view: View, ticket: Ticket) -> Text:
    """Return a ticket of the operation: its label, its channel, its state and its address."""
    key = f"ticket.{ticket.state}" if ticket.closed_by is None else f"ticket.closed_by_{ticket.closed_by}"
    at = view.when(ticket.closed_at) if ticket.closed_at else ""
    state = view.phrase(key, at=at)
    line = view.phrase("ticket.line", label=ticket.label, channel=ticket.channel, state=state)
    return cell(f"{line}  {ticket.url}" if ticket.url else line)


def event_account(view: View, account: EventRecord, runs: Runs | None = None) -> RenderableType:
    """Return one event: what it is based on, the verdict of each route, and the outcome on each channel."""
    event = account.routed.event
    shown = view.phrase("found_late", event=event.type) if event.late else event.type
    heading = cell(f"{view.when(event.observed_at)}  {shown}", state_of(event).tone.terminal)
    if event.quiet:  # no route was asked
        return Group(Text(""), heading, indented(cell(view.phrase("raised_before"))))
    return Group(
        Text(""),
        heading,
        *map(indented, _judgement(view, event, runs)),
        *map(indented, _expectation(view, event)),
        indented(verdict_lines(view, account.verdicts)),
        *_changed_routes(view, account),
        *(indented(channel_account(view, c)) for c in account.channels),
    )


def _expectation(view: View, event: Event) -> Iterator[RenderableType]:
    """Yield what a missing run was expected by."""
    if event.expectation:
        yield _expected_runs(view, [Judged(event=event, expected=event.expectation)])


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
