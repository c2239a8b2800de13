"""`notifier run`, `poll` and `health`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from datetime import datetime
from functools import partial
from typing import Annotated

import structlog
import typer

from notifier import logs, lookup
from notifier.cli import documents, loop
from notifier.cli.desk import AsJson, ask, configured, now, view
from notifier.cli.output import counted, emit, note, say, show
from notifier.cli.serving import serve_until_stopped
from notifier.cli.signals import until_signalled
from notifier.config import Config
from notifier.core.errors import NotifierError, StoreError
from notifier.lookup import ChannelHealth, Health, Pace
from notifier.ports import Queries
from notifier.service import EVERY_ROLE, Role, Summary, poll_and_deliver, roles_of
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
    """Exit with 0 when every source is polled, every channel delivers and the store answers, else with 1.

    Polled: the last good poll, and the last time the list was seen whole, are no older than five polls, or five
    minutes if that is longer; a list of thousands of tasks is given the time that its call budget asks for.
    Delivers: the channel is not parked, and for more than five minutes neither has all that was sent on it failed, nor
    has anything been pending.
    --json: {"ok", "at", "sources": [{name, ok, last_poll_at, failing_since, limit_seconds, error}],
    "channels": [{name, ok, parked_since, waiting_since, failing_since, open_until, paused_until, reason}]}.
    """
    config = configured(ctx)
    found, channels = _ask_health(config)
    if as_json:
        emit(documents.health(found, channels))
    else:
        show(view(config).health(found, channels))
    raise typer.Exit(0 if found.ok and all(channel.ok for channel in channels) else 1)


def _ask_health(config: Config) -> tuple[Health, Sequence[ChannelHealth]]:
    try:
        return ask(config, partial(_health, config=config, at=now()))
    except StoreError as error:
        # A health check knows 0 and 1; what else container runtimes make of other codes is up to them.
        raise NotifierError(str(error)) from error


def _health(q: Queries, config: Config, at: datetime) -> tuple[Health, Sequence[ChannelHealth]]:
    paces = {
        source.name: Pace(poll_every=source.poll_every, calls_per_minute=config.call_budgets[source.credential].share)
        for source in config.sources
    }
    names = [channel.name for channel in config.channels]
    return lookup.health(q.sources(), paces, at), lookup.channel_health(q, names, at)
