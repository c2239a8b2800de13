"""`notifier audit`: the ledger of every event and channel, and what people did."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from notifier import lookup
from notifier.cli.common import JsonOption, LimitOption, SinceOption, now, time_before_now, truncation_note, view_for
from notifier.cli.configured import load_outline
from notifier.cli.health import channel_findings
from notifier.cli.help_format import ReadableCommand, ReadableGroup
from notifier.cli.lookups import read_store
from notifier.cli.output import TableRow, TextTable, cell, pairs, print_json, show
from notifier.cli.views import View
from notifier.core.delivery import DeliveryState
from notifier.core.health import HealthReport
from notifier.core.health_facts import Expected
from notifier.core.model import ChannelState
from notifier.core.people import Action, Verb
from notifier.lookup import Audit, Lookup
from notifier.ports import ActionFilter, Ledger
from notifier.wording import documents

MAX_DEAD_SHOWN = 10
"""Maximum number of dead deliveries that an audit shows."""

audit = typer.Typer(
    cls=ReadableGroup,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@audit.callback()
def ledger(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Prove that every event has exactly one delivery record on each channel that a route sent it to.

    Exits with 1 when any is unaccounted. Dead and parked deliveries are accounted for; `notifier health` exits with 1
    because of them.
    --json: {ok, at, events, unrouted, pairs, by_state, unaccounted, dead, oldest_pending,
    parked: [{channel, since, reason}], findings: as `notifier health` has them}.
    """
    if ctx.invoked_subcommand is not None:
        return
    config = load_outline(ctx)
    found, parked, health = read_store(ctx, config, partial(_audit, expected=config.expected))
    if as_json:
        findings = [documents.health_finding(finding) for finding in health.findings]
        print_json(documents.audit(found, parked) | {"findings": findings})
    else:
        view = view_for(config)
        show(channel_findings(view, health), fold=False)
        show(audit_report(view, found))
    raise typer.Exit(0 if found.ok else 1)


def _audit(q: Lookup, expected: Expected) -> tuple[Audit, Sequence[ChannelState], HealthReport]:
    parked = [channel for channel in q.channels() if channel.parked_since]
    return lookup.audit_ledger(q, now()), parked, lookup.health_report(q, expected)


def audit_report(view: View, found: Audit) -> RenderableType:
    """Return the ledger, and the verdict last."""
    ledger = found.ledger
    names = {state: view.localizer.text(f"delivery_state.{state}").capitalize() for state in DeliveryState}
    counts = ((names[state], ledger.by_state.get(state, 0)) for state in DeliveryState)
    rows = (
        (view.phrase("audit.events"), ledger.events),
        (view.phrase("audit.unrouted"), ledger.unrouted),
        (view.phrase("audit.pairs"), ledger.pairs),
        *((f"  {name}", count) for name, count in counts if count),
    )
    oldest = ledger.oldest_pending
    return Group(
        pairs((name, cell(f"{count:,}")) for name, count in rows),
        *([cell(view.phrase("audit.oldest", at=view.when(oldest)))] if oldest else []),
        *(
            cell(view.phrase("audit.missing", event=event_id, channel=channel), "red")
            for event_id, channel in ledger.unaccounted
        ),
        *_dead(view, ledger),
        cell(view.phrase("audit.verdict", n=len(ledger.unaccounted)), "bold green" if found.ok else "bold red"),
    )


def _dead(view: View, ledger: Ledger) -> Iterable[RenderableType]:
    if ledger.dead:
        yield Text("")
        yield view.deliveries(ledger.dead[:MAX_DEAD_SHOWN])
    if len(ledger.dead) > MAX_DEAD_SHOWN:
        command = "notifier deliveries --state dead"
        yield cell(view.phrase("audit.dead", n=MAX_DEAD_SHOWN, command=command), "dim")


@audit.command("log", cls=ReadableCommand)
def audit_log(
    ctx: typer.Context,
    *,
    since: SinceOption = None,
    by: Annotated[
        str | None, typer.Option("--by", metavar="WHO", help="Show what this person did, by id or whole name.")
    ] = None,
    verb: Annotated[Verb | None, typer.Option("--verb", help="Show this kind of action only.")] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """List what people did, newest first: mute, acknowledge, retry, move, sign in, make tokens and so on.

    Exits with 1 when there is nothing.
    --json: {"actions": [{at, by, name, verb, target, detail}]}.
    """
    config = load_outline(ctx)
    wanted = ActionFilter(since=time_before_now(since), by=by, verb=verb)
    found = read_store(ctx, config, lambda q: q.actions(limit + 1, wanted))
    listed = found[:limit]
    if as_json:
        print_json({"actions": [documents.action(one) for one in listed]})
    else:
        view = view_for(config)
        none = "audit.no_action" if wanted == ActionFilter() else "audit.no_such_action"
        shown = _actions(view, listed) if listed else view.phrase(none)
        show(shown, *truncation_note(view, found, limit))
    raise typer.Exit(0 if listed else 1)


def _actions(view: View, found: Sequence[Action]) -> TextTable:
    return view.table(("when", "by", "action", "about"), (_action_row(view, row) for row in found))


def _action_row(view: View, row: Action) -> TableRow:
    action = view.localizer.text(f"action.{row.verb}")
    cells = (cell(view.when(row.at)), cell(row.name), cell(action, "bold"), cell(row.target))
    return TableRow(cells, [cell(view.localizer.reason(row.detail))] if row.detail else ())
