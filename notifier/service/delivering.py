"""The deliveries and message edits of a service."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import structlog

from notifier.core.errors import StoreError
from notifier.deliver import DeliveryPlanner, DeliveryReport, DeliveryWorker, RenderCache
from notifier.live_messages import MessageEditor
from notifier.ports import Channel, LiveChannel
from notifier.service.reporting import ErrorThrottle, log_deliveries, log_edits
from notifier.service.scheduler import RESTART_DELAY, Jobs
from notifier.service.stats import RunStats
from notifier.wiring.app import App
from notifier.wiring.stores import Transaction

log = structlog.get_logger("notifier")

R = TypeVar("R")
T = TypeVar("T")

SETTLE_TIMEOUT = 2.0
"""Maximum time that a stop takes to settle what was in flight, after `delivery.stop_within`, in seconds."""


class Worker(Protocol[R]):
    """Works in steps, each of which returns a report."""

    def wake(self) -> None:
        """End the wait."""

    async def step(self) -> R:
        """Do what there is to do now. Raises StoreError."""

    async def wait(self, report: R) -> None:
        """Wait until there may be something to do."""


class Delivering:
    """Runs the delivery workers and message editors of a process."""

    def __init__(self, app: App, channels: Mapping[str, Channel], *, owner: str, stats: RunStats, jobs: Jobs) -> None:
        self._app = app
        self._owner = owner
        self._stats = stats
        self._jobs = jobs
        self._render_cache = RenderCache()
        self._workers = [self._worker(channel) for channel in channels.values()]
        self._editors = [
            MessageEditor(
                cast("LiveChannel", channel),
                app.store,
                app.clock,
                lease=app.delivery_rules.lease,
                tickets=app.delivery_rules.tickets,
                origins=app.delivery_rules.origins,
            )
            for channel in channels.values()
            if channel.edit_budget
        ]
        self._planner = DeliveryPlanner(app.store, self._workers, joining=app.store.serial, planned=self._wake_editors)
        self._stopping = False

    def _worker(self, channel: Channel) -> DeliveryWorker:
        app, cache = self._app, self._render_cache
        return DeliveryWorker(
            channel, app.store, app.clock, app.rng, owner=self._owner, rules=app.delivery_rules, cache=cache
        )

    async def plan(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        """Run a transaction that plans deliveries, as `Store.transact` does. Raises StoreError.

        Idle workers claim in it what is planned for their channels; others are woken.
        """
        with self._app.telemetry.tracer.span("plan"):
            return await self._planner.transact(fn, short=short)

    def wake(self) -> None:
        """Make every worker query for due work now."""
        for worker in self._workers:
            worker.wake()
        self._wake_editors()

    def _wake_editors(self) -> None:
        for editor in self._editors:
            editor.wake()
        for hear in tuple(self._app.listeners):
            hear()

    def loops(self) -> Mapping[str, Coroutine[Any, Any, None]]:
        """Return what has to run, by name, until `stop` is called."""
        deliver = {f"deliver {worker.channel.name}": self._deliver(worker) for worker in self._workers}
        edit = {f"edit {editor.channel.name}": self._edit(editor) for editor in self._editors}
        return deliver | edit

    async def _deliver(self, worker: DeliveryWorker) -> None:
        name = worker.channel.name
        await self._drive(name, worker, self._delivered, ErrorThrottle("delivery.paused", "delivery.recovered"))
        with suppress(StoreError):
            self._delivered(await worker.stop(self._stop_within, SETTLE_TIMEOUT))

    async def _edit(self, editor: MessageEditor) -> None:
        await self._drive(editor.channel.name, editor, log_edits, ErrorThrottle("edit.paused", "edit.recovered"))

    async def _drive(
        self, channel: str, worker: Worker[R], handle: Callable[[R], None], throttle: ErrorThrottle
    ) -> None:
        """Take steps until the service stops. No failure of one worker ends another."""
        while not self._stopping:
            try:
                report = await worker.step()
                throttle.recovered(channel=channel)
                handle(report)
                await worker.wait(report)
            except StoreError as error:
                throttle.failed(error, self._app.clock.monotonic(), channel=channel)
                await self._app.clock.sleep(RESTART_DELAY)
            except Exception:
                log.exception("worker.crashed", channel=channel)
                await self._app.clock.sleep(RESTART_DELAY)

    def _delivered(self, report: DeliveryReport) -> None:
        self._stats.delivered(report)
        log_deliveries(report)
        if report.settled:
            self._wake_editors()

    async def stop(self, loops: Sequence[asyncio.Task[None]]) -> None:
        """End the loops: what is in flight gets `delivery.stop_within` to be answered."""
        self._stopping = True
        self.wake()
        if loops:
            await asyncio.wait(loops, timeout=self._stop_within + 2 * SETTLE_TIMEOUT)
        for loop in loops:
            loop.cancel()
        await asyncio.gather(*loops, return_exceptions=True)

    @property
    def _stop_within(self) -> float:
        return self._app.config.delivery.stop_within.total_seconds()

    async def unpark_due(self) -> None:
        """Let parked channels try again whose probe is due."""
        names: Sequence[str] = ()
        with suppress(StoreError):
            names = await self._app.store.transact(lambda tx: tx.channels.unpark_due(tx.now()))
        for name in names:
            log.info("channel.probed", channel=name)

    async def drain(self) -> None:
        """Deliver and edit all that is due. Raises StoreError."""
        await asyncio.gather(*map(self._drain, self._workers))
        await asyncio.gather(*map(self._drain, await self._direct_workers()))
        for editor in self._editors:
            while (report := await editor.step()).changed:
                log_edits(report)

    async def _drain(self, worker: DeliveryWorker) -> None:
        self._delivered(await worker.drain())

    async def deliver_direct(self) -> None:
        """Start to send people what they asked for in person. One who cannot be reached delays nobody else."""
        try:
            workers = await self._direct_workers()
        except StoreError as error:
            log.error("delivery.direct_paused", error=str(error))  # noqa: TRY400 - the sentence is enough
            return
        for worker in workers:
            self._jobs.start(f"deliver {worker.channel.name}", partial(self._drain_direct, worker))

    async def _direct_workers(self) -> Sequence[DeliveryWorker]:
        """Return workers for the people who have a message waiting."""
        names = await self._app.store.read(lambda q: q.direct_channels())
        channels = [self._app.direct(name) for name in names]
        return [self._worker(channel) for channel in channels if channel]

    async def _drain_direct(self, worker: DeliveryWorker) -> None:
        try:
            await self._drain(worker)
        except StoreError as error:
            log.error("delivery.direct_paused", channel=worker.channel.name, error=str(error))  # noqa: TRY400 - as above
