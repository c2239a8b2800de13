"""`notifier run`: the service under one configuration after the other, until the process is asked to stop."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import structlog
import typer

from notifier import logs
from notifier.cli import event_loop, garbage, startup
from notifier.cli.configured import load_written_config
from notifier.cli.output import print_note
from notifier.cli.poll import SUMMARY_FIELDS, summary_line
from notifier.cli.systemd import Systemd
from notifier.clock import wait_until_set
from notifier.config.advice import suspicious_values
from notifier.config.changes import changes
from notifier.config.config import Config
from notifier.config.files import environment
from notifier.core.errors import NotifierError
from notifier.core.health_facts import Role
from notifier.service.roles import ALL_ROLES, parse_roles, writes_data
from notifier.service.service import serve
from notifier.service.stats import Summary
from notifier.telemetry.ports import Telemetry
from notifier.wiring.app import App, open_app, rehearse_listening
from notifier.wiring.discovery import with_recorded_projects
from notifier.wiring.telemetry import open_telemetry

log = structlog.get_logger("notifier")

STOP_GRACE = 5.0
"""Time that a stop may take after `delivery.stop_within` has passed, in seconds."""

RESUME_DELAY = 5.0
"""Time until a service that failed after a reload starts again, in seconds."""


def _roles(text: str) -> frozenset[Role]:
    try:
        return parse_roles(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


RolesOption = Annotated[
    frozenset[Role] | None,
    typer.Option(
        "--only", parser=_roles, metavar="ROLE,…", help="Roles of this process: poll, deliver, web (default: all)."
    ),
]


def run(ctx: typer.Context, *, only: RolesOption = None) -> None:
    """Poll and deliver until SIGTERM or Ctrl-C; deliveries in flight are settled first.

    SIGHUP reloads the configuration; the old one stays in use if the new one is not valid. Any number of processes can
    share one PostgreSQL database; --only gives each of them a part of the work.
    """
    serving = partial(serve_until_stopped, partial(load_written_config, ctx), only or ALL_ROLES)
    done = event_loop.run_until_signalled(serving)
    totals = {name: sum(getattr(summary, name) for summary in done) for name in SUMMARY_FIELDS}
    print_note(summary_line(Summary(**totals)))


async def serve_until_stopped(
    load: Callable[[], Config], roles: Collection[Role], stop: asyncio.Event
) -> Sequence[Summary]:
    """Serve with one configuration after the other; return what was done with each.

    `load` reads the configuration. It runs in a thread because it may block.
    """
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    if startup.early_hangups:
        hangup.set()
    config = await _load_unless_stopped(stop, event_loop.in_thread(load))
    return await ReloadingService(load, roles, stop, hangup).serve(config) if config else ()


class ReloadingService:
    """The service of one process, from its first configuration to its last."""

    def __init__(
        self, load: Callable[[], Config], roles: Collection[Role], stop: asyncio.Event, hangup: asyncio.Event
    ) -> None:
        """Serve until `stop` is set; reload the configuration when `hangup` is set."""
        self._load = load
        self._roles = roles
        self._stop = stop
        self._hangup = hangup
        self._systemd = Systemd(environment())
        self._first_started_at: datetime | None = None
        self._last_working: Config | None = None
        """The latest configuration that served. None before the first one has ended."""

    async def serve(self, config: Config) -> Sequence[Summary]:
        """Serve with this configuration and those that follow it; return what was done with each."""
        done: list[Summary] = []
        while not self._stop.is_set():
            logs.configure(config.log.level, config.log.format)
            for suspicion in suspicious_values(config):
                log.warning("config.suspicious", msg=suspicion)
            try:
                summary, following = await self._serve_one(config)
            except NotifierError as error:
                if self._last_working is None:
                    raise
                log.error("reload.reverted", msg="the service goes on with the old configuration", error=str(error))  # noqa: TRY400 - the message says enough
                config = self._last_working
                await wait_until_set(self._stop, RESUME_DELAY)
            else:
                done.append(summary)
                self._last_working, config = config, following
        return done

    async def _serve_one(self, config: Config) -> tuple[Summary, Config]:
        """Serve with one configuration; return what was done and the configuration that follows."""
        complete = await with_recorded_projects(config)
        async with open_telemetry(complete, self._roles) as telemetry:
            return await self._serve_observed(complete, telemetry)

    async def _serve_observed(self, config: Config, telemetry: Telemetry) -> tuple[Summary, Config]:
        exclusive = writes_data(self._roles)
        async with open_app(config, exclusive=exclusive, expect_new=True, telemetry=telemetry) as app:
            garbage.leave_out_what_lasts()
            if self._first_started_at is None and writes_data(self._roles):
                self._first_started_at = await app.store.transact(lambda tx: tx.now())
            reloading = asyncio.create_task(self._reload(config))
            try:
                summary = await self._serve(app, reloading)
                return summary, reloading.result() if reloading.done() else config.as_written
            finally:
                reloading.cancel()

    async def _serve(self, app: App, reloading: asyncio.Task[Config]) -> Summary:
        replaced = asyncio.Event()
        serving = asyncio.create_task(
            serve(app, stop=replaced, roles=self._roles, polling_since=self._first_started_at, supervisor=self._systemd)
        )
        stopping = asyncio.create_task(self._stop.wait())
        changing = asyncio.create_task(app.sources_changed.wait())
        waiting: list[asyncio.Task[Any]] = [serving, stopping, reloading, changing]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        changing.cancel()
        replaced.set()
        if self._stop.is_set():
            self._systemd.stopping()
            log.info("service.stopping", msg="deliveries in flight are settled first")
            _exit_after(app.config.delivery.stop_within.total_seconds() + STOP_GRACE)
        return await serving

    async def _reload(self, running: Config) -> Config:
        """Wait for a SIGHUP after which the configuration is usable, and return it. Until then the old one serves."""
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            self._systemd.reloading()
            log.info("reload.started")
            try:
                found = await event_loop.in_thread(self._load)
                elsewhere = found.store.url != running.store.url and writes_data(self._roles)
                # In a thread with a loop of its own: a database that does not answer must not block the service.
                rehearsal = partial(_rehearse, found, exclusive=elsewhere)
                await event_loop.in_thread(lambda rehearsal=rehearsal: event_loop.run(rehearsal()))  # type: ignore[misc]  # defaults
                if Role.WEB in self._roles:
                    await rehearse_listening(found, running)
            except NotifierError as error:
                log.error("reload.failed", msg="the old configuration stays in use", error=str(error))  # noqa: TRY400 - the message says enough
            except Exception:  # channels of other packages may raise anything
                log.exception("reload.failed", msg="the old configuration stays in use")
            else:
                log.info("reload.finished", **changes(running.as_written, found.as_written))
                return found
            self._systemd.ready()


async def _load_unless_stopped(stop: asyncio.Event, future: asyncio.Future[Config]) -> Config | None:
    """Wait for a configuration; return None where a stop comes first."""
    stopping = asyncio.create_task(stop.wait())
    waiting: list[asyncio.Future[Any]] = [stopping, future]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping
    return future.result() if future.done() else None


async def _rehearse(config: Config, *, exclusive: bool) -> None:
    """Open and close everything, without a request; not exclusively where the service holds the same database."""
    async with open_app(config, exclusive=exclusive):
        pass


def _exit_after(seconds: float) -> None:
    """End the process after this time even if closing the store blocks, as it does when a database is silent."""
    timer = threading.Timer(seconds, _exit_now)
    timer.daemon = True
    timer.start()


def _exit_now() -> None:
    log.error("service.stop_timed_out", msg="the next process resolves unsettled deliveries")
    os._exit(1)
