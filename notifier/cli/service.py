"""`notifier run`, `poll` and `health`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import nullcontext, redirect_stdout
from functools import partial
from typing import Annotated

import typer

from notifier import logs, lookup
from notifier.cli import documents
from notifier.cli.desk import AsJson, ask, configured, now, view
from notifier.cli.output import emit, note, say, show
from notifier.cli.signals import until_signalled
from notifier.config import Config
from notifier.service import Summary, poll_and_deliver, serve
from notifier.wiring import open_app


def run(ctx: typer.Context) -> None:
    """Poll and deliver until SIGTERM or Ctrl-C; what is in flight is settled first."""
    config = _configured_with_logs(ctx)
    note(_summary(until_signalled(partial(_serve, config))))


async def _serve(config: Config, stop: asyncio.Event) -> Summary:
    async with open_app(config, exclusive=True) as app:
        return await serve(app, stop=stop)


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
        summary = asyncio.run(_poll(config, deliver=deliver))
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
    return f"{done.polls} polls, {done.events} events, {done.deliveries} deliveries, {done.failures} failures"


def _document(done: Summary) -> documents.Document:
    figures = {name: getattr(done, name) for name in ("polls", "events", "deliveries", "failures")}
    return figures | {"errors": [str(error) for error in done.errors]}


def health(ctx: typer.Context, *, as_json: AsJson = False) -> None:
    """Exit with 0 when the last good poll of every source is recent and the store answers, else with 1.

    Recent: no older than five polls, or five minutes if that is longer.
    --json: {"ok", "at", "sources": [{name, ok, last_poll_at, limit_seconds, error}]}.
    """
    config = configured(ctx)
    every = {source.name: source.poll_every for source in config.sources}
    found = ask(config, lambda q: lookup.health(q.sources(), every, now()))
    if as_json:
        emit(documents.health(found))
    else:
        show(view(config).health(found))
    raise typer.Exit(0 if found.ok else 1)
