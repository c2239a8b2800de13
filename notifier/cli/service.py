"""`notifier run`, `poll` and `health`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from functools import partial
from typing import Annotated

import structlog
import typer

from notifier import logs, lookup
from notifier.cli import documents, loop
from notifier.cli.common import JsonOption, load_config, now, view_for, write_store
from notifier.cli.output import counted, print_json, print_note, print_text, show
from notifier.cli.serving import serve_until_stopped
from notifier.cli.signals import run_until_signalled
from notifier.config import Config
from notifier.core.delivery import DeliveryState
from notifier.core.errors import StoreError
from notifier.core.health import Expected, HealthReport, Role, unavailable
from notifier.ports import DeliveryFilter, Queries, Transaction
from notifier.service.roles import ALL_ROLES, parse_roles
from notifier.service.service import poll_and_deliver
from notifier.service.stats import Summary
from notifier.wiring.app import open_app

log = structlog.get_logger("notifier")

_FIGURES = ("polls", "events", "deliveries", "failures")


def _roles(text: str) -> frozenset[Role]:
    try:
        return parse_roles(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


RolesOption = Annotated[
    frozenset[Role] | None,
    typer.Option(
        "--only", parser=_roles, metavar="ROLE,…", help="Do only this: poll, deliver, web, or several with commas."
    ),
]


def run(ctx: typer.Context, *, only: RolesOption = None) -> None:
    """Poll and deliver until SIGTERM or Ctrl-C; what is in flight is settled first.

    SIGHUP reads the configuration again and goes on with it, or with the old one if the new one is not valid.
    Any number of these share one PostgreSQL; --only gives each of them a part of the work.
    """
    summaries = run_until_signalled(partial(serve_until_stopped, partial(load_config, ctx), only or ALL_ROLES))
    print_note(_summary(_total(summaries)))


def _total(summaries: Sequence[Summary]) -> Summary:
    figures = {name: sum(getattr(summary, name) for summary in summaries) for name in _FIGURES}
    return Summary(**figures)


def poll(
    ctx: typer.Context,
    *,
    deliver: Annotated[bool, typer.Option("--deliver/--no-deliver", help="Deliver all that is due afterwards.")] = True,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print only what is wrong.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Poll every source once and deliver all that is due, then exit: for cron.

    Exits with 0 when every source was polled and everything was delivered; with 1 when deliveries wait (for another
    try, or parked because their channel is misconfigured) or were given up on and nobody has dismissed them; with the
    code of the gravest error when a source could not be polled; the others are polled all the same.
    --json: {"polls", "events", "deliveries", "failures", "errors": […], "waiting": {"pending", "parked", "dead"}}.
    """
    config = _configured_with_logs(ctx, quiet=quiet)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # a console channel prints too
        summary, waiting = loop.run(_poll(config, deliver=deliver))
    stuck = {state: count for state, count in waiting.items() if count and (deliver or state != "pending")}
    if as_json:
        print_json(_document(summary) | {"waiting": dict(waiting)})
    elif stuck or not quiet:
        print_text(_poll_summary(summary, waiting))
    raise typer.Exit(max((error.exit_code for error in summary.errors), default=1 if stuck else 0))


async def _poll(config: Config, *, deliver: bool) -> tuple[Summary, Mapping[str, int]]:
    async with open_app(config, exclusive=True) as app:
        summary = await poll_and_deliver(app, deliver=deliver)
        return summary, await app.store.read(_waiting)


def _waiting(q: Queries) -> Mapping[str, int]:
    """Count the deliveries that have not arrived, by state: at most `MAX_COUNTED` of each."""
    states = (DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD)
    return {
        str(state): len(q.deliveries(DeliveryFilter(state=state, dismissed=False, limit=MAX_COUNTED)))
        for state in states
    }


MAX_COUNTED = 1000
"""Of what waits, so that a report takes no longer the more there is."""


def _poll_summary(done: Summary, waiting: Mapping[str, int]) -> str:
    more = [
        f"{count:,}{'+' if count == MAX_COUNTED else ''} {state}: notifier deliveries --state {state}"
        for state, count in waiting.items()
        if count
    ]
    return "\n".join([_summary(done), *more])


def _configured_with_logs(ctx: typer.Context, *, quiet: bool) -> Config:
    config = load_config(ctx)
    logs.configure(
        _QUIET_LEVEL.get(config.log.level, config.log.level) if quiet else config.log.level, config.log.format
    )
    return config


_QUIET_LEVEL = {"debug": "warning", "info": "warning"}
"""Levels that would make cron mail the records of a poll in which all is well."""


def _summary(done: Summary) -> str:
    figures = ((done.polls, "poll"), (done.events, "event"), (done.deliveries, "delivery"), (done.failures, "failure"))
    return ", ".join(counted(count, noun) for count, noun in figures)


def _document(done: Summary) -> documents.Document:
    figures = {name: getattr(done, name) for name in _FIGURES}
    return figures | {"errors": [str(error) for error in done.errors]}


def health(ctx: typer.Context, *, as_json: JsonOption = False) -> None:
    """Exit with 0 when all is well, with 1 when anything is not: the findings say what, since when, and what helps.

    Red: a source is not polled, or its list not seen whole, for five polls and at least `alerts.failing_after`, or the
    database refuses its rows; a channel is parked, has delivered nothing or keeps messages waiting for that long;
    messages were given up and neither retried nor dismissed, or wait for a channel that is no longer configured; no
    process polls, delivers or serves the chat; the database cannot be written.
    --json: {"ok", "at", "findings": [{kind, about, red, since, count, reason, commands}],
    "sources": [{name, ok, last_poll_at, failing_since, limit_seconds, error}],
    "channels": [{name, ok, parked_since, waiting_since, failing_since, open_until, paused_until, waiting, dead,
    reason}]}. A kind is stable: database.unavailable, role.not_served, source.not_polled, source.not_whole,
    source.polled_in_future, source.rows_refused, source.removed, channel.parked, channel.failing, channel.waiting,
    channel.dead, channel.removed, chat.disconnected.
    """
    config = load_config(ctx)
    found = _judge_health(config)
    if as_json:
        print_json(documents.health(found))
    else:
        show(view_for(config).health(found), fold=False)
    raise typer.Exit(0 if found.ok else 1)


def _judge_health(config: Config) -> HealthReport:
    try:
        return write_store(config, partial(_prove_writable_and_judge, expected=config.expected))
    except StoreError as error:
        return unavailable(now(), str(error))


def _prove_writable_and_judge(tx: Transaction, expected: Expected) -> HealthReport:
    tx.prove_writable()  # reading goes on to work on a full disk, and on a server that has become read-only
    return lookup.health(tx, expected)
