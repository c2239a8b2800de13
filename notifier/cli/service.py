"""`notifier run`, `poll` and `health`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from functools import partial
from typing import Annotated

import structlog
import typer

from notifier import logs, lookup
from notifier.cli import documents, loop
from notifier.cli.desk import AsJson, change, configured, now, view
from notifier.cli.output import counted, emit, note, say, show
from notifier.cli.serving import serve_until_stopped
from notifier.cli.signals import until_signalled
from notifier.config import Config
from notifier.core.errors import StoreError
from notifier.core.health import Expected, Health, Role, unavailable
from notifier.ports import Transaction
from notifier.service import EVERY_ROLE, Summary, poll_and_deliver, roles_of
from notifier.wiring import open_app

log = structlog.get_logger("notifier")

_FIGURES = ("polls", "events", "deliveries", "failures")


def _roles(text: str) -> frozenset[Role]:
    try:
        return roles_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Only = Annotated[
    frozenset[Role] | None,
    typer.Option(
        "--only", parser=_roles, metavar="ROLE,…", help="Do only this: poll, deliver, web, or several with commas."
    ),
]


def run(ctx: typer.Context, *, only: Only = None) -> None:
    """Poll and deliver until SIGTERM or Ctrl-C; what is in flight is settled first.

    SIGHUP reads the configuration again and goes on with it, or with the old one if the new one is not valid.
    Any number of these share one PostgreSQL; --only gives each of them a part of the work.
    """
    stints = until_signalled(partial(serve_until_stopped, partial(configured, ctx), only or EVERY_ROLE))
    note(_summary(_total(stints)))


def _total(stints: Sequence[Summary]) -> Summary:
    figures = {name: sum(getattr(stint, name) for stint in stints) for name in _FIGURES}
    return Summary(**figures)


def poll(
    ctx: typer.Context,
    *,
    deliver: Annotated[bool, typer.Option("--deliver/--no-deliver", help="Deliver all that is due afterwards.")] = True,
    as_json: AsJson = False,
) -> None:
    """Poll every source once and deliver all that is due, then exit: for cron.

    Exits with the code of the gravest error when a source could not be polled; the others are polled all the same.
    --json: {"polls", "events", "deliveries", "failures", "errors": […]}.
    """
    config = _configured_with_logs(ctx)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # a console channel prints too
        summary = loop.run(_poll(config, deliver=deliver))
    if as_json:
        emit(_document(summary))
    else:
        say(_summary(summary))
    raise typer.Exit(max((error.exit_code for error in summary.errors), default=0))


async def _poll(config: Config, *, deliver: bool) -> Summary:
    async with open_app(config, exclusive=True) as app:
        return await poll_and_deliver(app, deliver=deliver)


def _configured_with_logs(ctx: typer.Context) -> Config:
    config = configured(ctx)
    logs.configure(config.log.level, config.log.format)
    return config


def _summary(done: Summary) -> str:
    figures = ((done.polls, "poll"), (done.events, "event"), (done.deliveries, "delivery"), (done.failures, "failure"))
    return ", ".join(counted(count, noun) for count, noun in figures)


def _document(done: Summary) -> documents.Document:
    figures = {name: getattr(done, name) for name in _FIGURES}
    return figures | {"errors": [str(error) for error in done.errors]}


def health(ctx: typer.Context, *, as_json: AsJson = False) -> None:
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
    config = configured(ctx)
    found = _judged(config)
    if as_json:
        emit(documents.health(found))
    else:
        show(view(config).health(found), fold=False)
    raise typer.Exit(0 if found.ok else 1)


def _judged(config: Config) -> Health:
    try:
        return change(config, partial(_judge, expected=config.expected))
    except StoreError as error:
        return unavailable(now(), str(error))


def _judge(tx: Transaction, expected: Expected) -> Health:
    tx.prove_writable()  # reading goes on to work on a full disk, and on a server that has become read-only
    return lookup.health(tx, expected)
