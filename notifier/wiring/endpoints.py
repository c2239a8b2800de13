"""Opens what others call: the chat's transports, and the web server with the page.

Imported only where something of it is configured: it loads the web server.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress

import structlog
from starlette.applications import Starlette
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from notifier.clock import SystemClock
from notifier.config.web import WebSettings
from notifier.core.errors import StoreError
from notifier.http import HttpClient
from notifier.logs import RejectionLog
from notifier.ports import ChatTransport, Clock
from notifier.statistics import TaskMemory
from notifier.telemetry.process import ProcessStatus
from notifier.web.observed import Observed
from notifier.web.server import Server
from notifier.wiring import chat
from notifier.wiring.app import App
from notifier.wiring.doorbell import doorbell_routes
from notifier.wiring.web import build_web, task_memory

log = structlog.get_logger("notifier")


async def open_all(
    app: App, http: HttpClient, *, wake: Callable[[], None], process: ProcessStatus | None, stack: AsyncExitStack
) -> Sequence[ChatTransport]:
    """Open everything until `stack` ends; return the transports that have to be run.

    Raises ConfigurationError when the address of `web` cannot be taken.
    """
    rejections, config = _rejection_log(app.clock), app.config
    opened = await chat.open_transports(
        config,
        app.store,
        http,
        app.clock,
        wake=wake,
        rejections=rejections,
        stack=stack,
        telemetry=app.telemetry,
    )
    if config.web:
        beside: Sequence[BaseRoute] = [*opened.routes, *doorbell_routes(app, config.web)]
        ended = task_memory(config)
        page = build_web(app, config.web, wake=wake, beside=beside, process=process, ended=ended)
        served = Observed(page, app.telemetry)
        stack.enter_context(_read_ahead(app, ended))
        await stack.enter_async_context(server := _server(served, config.web, rejections))
        log.info("web.listening", url=server.url, chat=[route.path for route in opened.routes])
    return opened.transports


@contextmanager
def _read_ahead(app: App, ended: TaskMemory) -> Iterator[None]:
    """Read how tasks ended while the context lasts: who asks for statistics first would wait for that."""

    async def read() -> None:
        with suppress(StoreError):  # the first who asks reads it then
            await app.store.read(ended.refresh)

    reading = asyncio.create_task(read(), name="statistics")
    try:
        yield
    finally:
        reading.cancel()


async def check_listen_address(web: WebSettings) -> None:
    """Raise ConfigurationError where the address cannot be listened on."""
    async with _server(Starlette(), web, _rejection_log(SystemClock())):
        pass


def _server(app: ASGIApp, web: WebSettings, rejections: RejectionLog) -> Server:
    return Server(app, web.host, web.port, rejections=rejections)


def _rejection_log(clock: Clock) -> RejectionLog:
    return RejectionLog("chat.requests_rejected", logger="notifier.chat", seconds=clock.monotonic)
