"""`notifier run`, `poll` and `health`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import structlog
import typer

from notifier import logs, lookup
from notifier.cli import documents, loop
from notifier.cli.desk import AsJson, ask, configured, now, view
from notifier.cli.output import counted, emit, note, say, show
from notifier.cli.signals import until_signalled
from notifier.config import Config
from notifier.core.errors import NotifierError, StoreError
from notifier.lookup import ChannelHealth, Health, Pace
from notifier.ports import Queries
from notifier.service import EVERY_ROLE, Role, Summary, poll_and_deliver, roles_of, serve, works
from notifier.wiring import App, open_app, rehearse_listening

log = structlog.get_logger("notifier")

END_WITHIN = 5.0
"""Seconds that a stop takes at most after the time that receivers had to answer."""

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
    stints = until_signalled(partial(_serve, partial(configured, ctx), configured(ctx), only or EVERY_ROLE))
    note(_summary(_total(stints)))


async def _serve(
    load: Callable[[], Config], config: Config, roles: Collection[Role], stop: asyncio.Event
) -> Sequence[Summary]:
    """Serve with one configuration after the other; return what was done with each."""
    done: list[Summary] = []
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    while not stop.is_set():
        logs.configure(config.log.level, config.log.format)
        async with open_app(config, exclusive=works(roles)) as app:
            reloading = asyncio.create_task(_reload(load, config, roles, hangup))
            done.append(await _serve_until(app, roles, stop, reloading))
        config = reloading.result() if reloading.done() else config
        reloading.cancel()
    return done


async def _reload(
    load: Callable[[], Config], running: Config, roles: Collection[Role], hangup: asyncio.Event
) -> Config:
    """Wait for a SIGHUP that finds a configuration that can be used, and return it. Until then the old one serves."""
    while True:
        await hangup.wait()
        hangup.clear()
        try:
            found = load()
            # In a thread of its own: a database that does not answer must not hold up what is being served.
            elsewhere = found.store.url != running.store.url
            await asyncio.to_thread(loop.run, _rehearse(found, exclusive=elsewhere and works(roles)))
            if Role.WEB in roles:
                await rehearse_listening(found, running)
        except NotifierError as error:
            log.error("the old configuration stays: the new one cannot be used", error=str(error))  # noqa: TRY400 - the sentence is enough
        except Exception:  # a channel may come from anywhere
            log.exception("the old configuration stays: the new one cannot be used")
        else:
            return found


async def _rehearse(config: Config, *, exclusive: bool) -> None:
    """Open everything and close it, without a word to any service. Not exclusively where we hold the lock already."""
    async with open_app(config, exclusive=exclusive):
        pass


async def _serve_until(
    app: App, roles: Collection[Role], stop: asyncio.Event, reloading: asyncio.Task[Config]
) -> Summary:
    enough = asyncio.Event()
    serving = asyncio.create_task(serve(app, stop=enough, roles=roles))
    stopping = asyncio.create_task(stop.wait())
    waiting: list[asyncio.Task[Any]] = [serving, stopping, reloading]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    enough.set()
    if stop.is_set():
        _end_within(app.config.delivery.stop_within.total_seconds() + END_WITHIN)
    return await serving


def _end_within(seconds: float) -> None:
    """End the process after so many seconds, whatever holds it up: a database that is silent blocks what closes it."""
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    log.error("the stop takes too long: what is not settled is in doubt, and the next process finds out")
    os._exit(1)


def _total(stints: Sequence[Summary]) -> Summary:
    figures = {name: sum(getattr(stint, name) for stint in stints) for name in _FIGURES}
    return replace(stints[-1], **figures)


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
