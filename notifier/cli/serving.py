"""Serve under one configuration after the other, until the process is asked to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog

from notifier import logs
from notifier.cli import loop, process
from notifier.cli.check import suspicious_values
from notifier.cli.systemd import Systemd
from notifier.config import Config, environment
from notifier.config.changes import changes
from notifier.core.errors import NotifierError
from notifier.deliver import wait_until_set
from notifier.service.roles import Role, writes_data
from notifier.service.service import serve
from notifier.service.stats import Summary
from notifier.wiring.app import App, open_app, rehearse_listening

log = structlog.get_logger("notifier")

STOP_GRACE = 5.0
"""Seconds that a stop takes at most after the time that receivers had to answer."""

RESUME_DELAY = 5.0
"""Seconds until a service that could not go on after a reload tries again."""


async def serve_until_stopped(
    load: Callable[[], Config], roles: Collection[Role], stop: asyncio.Event
) -> Sequence[Summary]:
    """Serve with one configuration after the other; return what was done with each.

    `load` reads the configuration; it may take its time, and is called in a thread of its own.
    """
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
    if process.hangups:
        hangup.set()
    config = await _load_unless_stopped(stop, loop.in_thread(load))
    return await ReloadingService(load, roles, stop, hangup).serve(config) if config else ()


class ReloadingService:
    """One process, from its first configuration to its last."""

    def __init__(
        self, load: Callable[[], Config], roles: Collection[Role], stop: asyncio.Event, hangup: asyncio.Event
    ) -> None:
        """Serve until `stop` is set, and load the configuration anew when `hangup` is."""
        self._load = load
        self._roles = roles
        self._stop = stop
        self._hangup = hangup
        self._systemd = Systemd(environment())
        self._first_started_at: datetime | None = None
        self._last_working: Config | None = None
        """The latest configuration that has served."""

    async def serve(self, config: Config) -> Sequence[Summary]:
        """Serve with this configuration and those that follow it; return what was done with each."""
        done: list[Summary] = []
        while not self._stop.is_set():
            logs.configure(config.log.level, config.log.format)
            for suspicion in suspicious_values(config):
                log.warning("this part of the configuration may be a mistake", what=suspicion)
            try:
                summary, following = await self._serve_one(config)
            except NotifierError as error:
                if self._last_working is None:
                    raise
                log.error("the service cannot go on; the old configuration is taken up", error=str(error))  # noqa: TRY400 - the sentence is enough
                config = self._last_working
                await wait_until_set(self._stop, RESUME_DELAY)
            else:
                done.append(summary)
                self._last_working, config = config, following
        return done

    async def _serve_one(self, config: Config) -> tuple[Summary, Config]:
        """Serve with one configuration; return what was done and the one that follows."""
        async with open_app(config, exclusive=writes_data(self._roles), expect_new=True) as app:
            if self._first_started_at is None and writes_data(self._roles):
                self._first_started_at = await app.store.transact(lambda tx: tx.now())
            reloading = asyncio.create_task(self._reload(config))
            try:
                summary = await self._serve(app, reloading)
                return summary, reloading.result() if reloading.done() else config
            finally:
                reloading.cancel()

    async def _serve(self, app: App, reloading: asyncio.Task[Config]) -> Summary:
        replaced = asyncio.Event()
        serving = asyncio.create_task(
            serve(app, stop=replaced, roles=self._roles, polling_since=self._first_started_at, supervisor=self._systemd)
        )
        stopping = asyncio.create_task(self._stop.wait())
        waiting: list[asyncio.Task[Any]] = [serving, stopping, reloading]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        replaced.set()
        if self._stop.is_set():
            self._systemd.stopping()
            log.info("stopping: what is in flight is settled first")
            _exit_after(app.config.delivery.stop_within.total_seconds() + STOP_GRACE)
        return await serving

    async def _reload(self, running: Config) -> Config:
        """Wait for a SIGHUP that finds a usable configuration, and return that. Until then the old one serves."""
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            self._systemd.reloading()
            log.info("reloading the configuration")
            try:
                found = await loop.in_thread(self._load)
                # In a thread: a database that does not answer must not hold up what is being served.
                elsewhere = found.store.url != running.store.url and writes_data(self._roles)
                await loop.in_thread(lambda found=found, new=elsewhere: loop.run(_rehearse(found, exclusive=new)))  # type: ignore[misc]  # defaults
                if Role.WEB in self._roles:
                    await rehearse_listening(found, running)
            except NotifierError as error:
                log.error("the old configuration stays: the new one cannot be used", error=str(error))  # noqa: TRY400 - the sentence is enough
            except Exception:  # a channel may come from anywhere
                log.exception("the old configuration stays: the new one cannot be used")
            else:
                log.info("reloaded: the new configuration is taken up", **changes(running, found))
                return found
            self._systemd.ready()


async def _load_unless_stopped(stop: asyncio.Event, future: asyncio.Future[Config]) -> Config | None:
    """Wait for a configuration; None where a stop comes first."""
    stopping = asyncio.create_task(stop.wait())
    waiting: list[asyncio.Future[Any]] = [stopping, future]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    with suppress(asyncio.CancelledError):
        await stopping
    return future.result() if future.done() else None


async def _rehearse(config: Config, *, exclusive: bool) -> None:
    """Open everything and close it, without a word to any service. Not exclusively where we hold the lock already."""
    async with open_app(config, exclusive=exclusive):
        pass


def _exit_after(seconds: float) -> None:
    """End the process after so many seconds, whatever holds it up: a database that is silent blocks what closes it."""
    timer = threading.Timer(seconds, _exit_now)
    timer.daemon = True
    timer.start()


def _exit_now() -> None:
    log.error("the stop takes too long: what is not settled is in doubt, and the next process finds out")
    os._exit(1)
