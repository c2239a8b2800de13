"""Builds the page from a configuration."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from sqlalchemy import make_url
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from notifier import __version__
from notifier.config.advice import warnings
from notifier.config.config import Config
from notifier.config.effective import effective_configuration
from notifier.config.web import WebSettings
from notifier.statistics import TaskMemory
from notifier.store.errors import place_of
from notifier.telemetry.process import ProcessStatus
from notifier.web.application import build_application
from notifier.web.configured import ShownConfiguration
from notifier.web.parts import WebParts, WebRules, nothing_is_lost
from notifier.web.security import known_names
from notifier.wiring.access import build_access
from notifier.wiring.app import App
from notifier.wiring.chat import command_of, link_templates, localizers
from notifier.wiring.operations import operation_routes


def build_web(
    app: App,
    web: WebSettings,
    *,
    wake: Callable[[], None],
    beside: Sequence[BaseRoute],
    process: ProcessStatus | None = None,
    ended: TaskMemory | None = None,
) -> ASGIApp:
    """Return what the web server serves. `beside` are the routes that chats call; probes show `process`."""
    rules = web_rules(app, ended)
    access, sign_in = build_access(app, web, rules)
    parts = WebParts(
        rules=rules,
        store=app.store,
        clock=app.clock,
        access=access,
        wake=wake,
        listen=partial(_listen, app),
        verify=app.file.verify if app.file else nothing_is_lost,
        names=known_names(web.host, web.url, web.hosts),
    )
    operations = operation_routes(app, access, process or ProcessStatus(()), parts.names)
    return build_application(parts, [*beside, *operations], sign_in)


async def _listen(app: App, hear: Callable[[], None]) -> None:
    """Call a function whenever this process, or with PostgreSQL another one, has planned deliveries."""
    app.listeners.add(hear)
    try:
        await app.store.listen(hear)
    finally:
        app.listeners.discard(hear)


def web_rules(app: App, ended: TaskMemory | None = None) -> WebRules:
    """Return what is configured, as far as pages show it or depend on it. `ended` is what was read ahead."""
    config: Config = app.config
    return WebRules(
        version=__version__,
        url=config.web.url if config.web else None,
        language=config.language,
        localizers=localizers(config),
        expected=config.expected,
        routing=app.routing,
        causes=config.cause_catalogue,
        links=link_templates(config),
        rotas=app.routing.rotas,
        schedules=app.schedule_rules,
        missing=app.foresight.rules,
        command=command_of(config),
        configuration=shown_configuration(config),
        ended=ended or task_memory(config),
    )


def task_memory(config: Config) -> TaskMemory:
    """Return a memory of ended tasks that is empty."""
    return TaskMemory(ZoneInfo(config.timezone), config.cause_catalogue)


def shown_configuration(config: Config) -> ShownConfiguration:
    """Return what pages show of a configuration."""

    @lru_cache(maxsize=1)
    def remarks(hour: datetime) -> Sequence[str]:
        return tuple(warnings(config, hour))

    return ShownConfiguration(
        values=effective_configuration(config),
        kinds={channel.name: channel.kind for channel in config.channels},
        store=place_of(make_url(config.store.url)),
        remarks=lambda at: remarks(at.replace(minute=0, second=0, microsecond=0)),
    )
