"""The one place that knows the concrete classes: from a configuration to things that work."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import structlog

from notifier.clock import SystemClock
from notifier.config import Config, environment
from notifier.config.models import SlackChatSettings
from notifier.core.errors import ConfigurationError, NotifierError
from notifier.core.model import DIRECT, ChannelPolicy
from notifier.core.outbox import Outlook
from notifier.core.watching import WatchedSource
from notifier.deliver import DeliveryRules
from notifier.lookup import Pace
from notifier.poll import PollRules
from notifier.ports import Channel, Clock, Finding, Store, TaskSource
from notifier.prune import PruneReport, PruneRules, prune
from notifier.settings import digest, is_loopback
from notifier.store import migrate
from notifier.store.engine import admin_engine, open_store
from notifier.watch import WatchRules

if TYPE_CHECKING:  # commands that only ask the store do not pay for the network stack
    from pydantic import BaseModel
    from starlette.routing import Route

    from notifier.channels.base import ChannelSettings, Toolbox
    from notifier.chat.room import RoomRules
    from notifier.chat.slack import SlackRules
    from notifier.http import HttpClient
    from notifier.slack.api import WebApi


log = structlog.get_logger("notifier")

POLL_LEASE = timedelta(seconds=15)
"""How long the right to poll holds. It is renewed all the time, so that it need not outlast a poll: short enough for
another to take over soon, long enough for a database that restarts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Everything that the service needs, put together."""

    config: Config
    store: Store
    sources: Mapping[str, TaskSource]
    channels: Mapping[str, Channel]
    clock: Clock
    rng: random.Random
    http: HttpClient | None = None
    """What everything that speaks HTTP shares; None where nothing of it is real."""

    direct: Callable[[str], Channel | None] = lambda _name: None
    """Returns the channel to one person, by its name; None where there is no way to reach people."""

    @property
    def outlook(self) -> Outlook:
        """Who is told."""
        return Outlook(
            routes=self.config.routes,
            policies={
                name: ChannelPolicy(
                    name=name,
                    digest_above=channel.digest_above,
                    digest_size=channel.digest_size,
                    coalesces=channel.coalesces,
                )
                for name, channel in self.channels.items()
            },
        )

    @property
    def watch_rules(self) -> WatchRules:
        """What is watched, and who is told when no route says so."""
        return WatchRules(
            sources=tuple(
                WatchedSource(
                    name=settings.name,
                    region=settings.region,
                    project_id=settings.project_id,
                    poll_every=settings.poll_every,
                    calls_per_minute=settings.calls_per_minute,
                )
                for settings in self.config.sources
            ),
            channels=tuple(self.channels),
            fallback=self.config.alerted,
            failing_after=self.config.alerts.failing_after,
        )

    async def beat(self) -> str | None:
        """Give a sign of life where one is wanted; return why it was not taken, or None."""
        if self.http is None or self.config.heartbeat_url is None:
            return None
        from notifier.heartbeat import beat  # noqa: PLC0415 - with the network stack

        return await beat(self.http, self.config.heartbeat_url.get_secret_value())

    @property
    def delivery_rules(self) -> DeliveryRules:
        """How deliveries are claimed and repeated."""
        return DeliveryRules(schedule=tuple(self.config.delivery.retry), lease=self.config.delivery.lease)

    @property
    def prune_rules(self) -> PruneRules:
        """How long is kept what is over."""
        return _prune_rules(self.config)

    @property
    def channel_digests(self) -> Mapping[str, str]:
        """A digest of each channel's settings, to see that they were mended."""
        return {settings.name: digest(cast("BaseModel", settings)) for settings in self.config.channels}

    def poll_rules(self, source: str) -> PollRules:
        """How one source is polled."""
        settings = next(settings for settings in self.config.sources if settings.name == source)
        return PollRules(
            poll_every=settings.poll_every,
            lease=min(self.config.delivery.lease, POLL_LEASE),
            quiet_baseline=settings.first_poll == "baseline",
            progress_step=settings.progress_step,
            stalled_after=settings.stalled_after,
            calls_per_minute=settings.calls_per_minute,
        )


@asynccontextmanager
async def open_app(config: Config, *, exclusive: bool = False, clock: Clock | None = None) -> AsyncIterator[App]:
    """Open everything and close it at the end.

    `exclusive` is for whoever polls and delivers: it is refused when another service runs on the same SQLite file.
    Raises StoreError when the database cannot be used.
    """
    now = clock.now if clock else None
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        store = open_store(config.store.url, exclusive=exclusive, migrate=config.store.migrate, now=now)
        stack.push_async_callback(store.aclose)
        http = _http(config)
        stack.push_async_callback(http.aclose)
        sources = _build_sources(config, http, clock)
        channels = _build_channels(config, http, clock)
        parts: list[TaskSource | Channel] = [*sources.values(), *channels.values()]
        for part in parts:
            stack.push_async_callback(part.aclose)
        rng = random.Random()  # noqa: S311 - it spreads retries, it keeps no secret
        yield App(
            config=config,
            store=store,
            sources=sources,
            channels=channels,
            clock=clock,
            rng=rng,
            http=http,
            direct=partial(_direct_channel, config, http, clock),
        )


@asynccontextmanager
async def open_lookup(config: Config) -> AsyncIterator[Store]:
    """Open the store alone, beside a service that may be running."""
    store = open_store(config.store.url, migrate=config.store.migrate)
    try:
        yield store
    finally:
        await store.aclose()


@asynccontextmanager
async def open_channel(config: Config, name: str) -> AsyncIterator[Channel]:
    """Open one channel alone. Raises ConfigurationError when there is none of that name."""
    wanted = [settings for settings in config.channels if settings.name == name]
    if not wanted:
        known = ", ".join(settings.name for settings in config.channels) or "none"
        raise ConfigurationError(f"there is no channel {name!r}; configured: {known}")
    http = _http(config)
    try:
        (channel,) = _build_channels(config, http, SystemClock(), only=name).values()
        try:
            yield channel
        finally:
            await channel.aclose()
    finally:
        await http.aclose()


async def check_online(config: Config) -> Sequence[Finding]:
    """Prove the store, every source and every channel, without sending a message."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        http = _http(config)
        stack.push_async_callback(http.aclose)
        parts: list[TaskSource | Channel] = [
            *_build_sources(config, http, clock).values(),
            *_build_channels(config, http, clock).values(),
        ]
        for part in parts:
            stack.push_async_callback(part.aclose)
        findings = await asyncio.gather(*(_check_part(part) for part in parts), _check_chat(config, http))
    return [await _check_store(config), *(finding for some in findings for finding in some)]


async def _check_part(part: TaskSource | Channel) -> Sequence[Finding]:
    found = await part.check()
    kind = getattr(part, "kind", None)
    return [replace(one, what=f"channel {part.name} ({kind})") for one in found] if kind else found


async def _check_store(config: Config) -> Finding:
    try:
        async with open_lookup(config) as store:
            polled = len(await store.read(lambda q: q.sources()))
    except NotifierError as error:
        return Finding(ok=False, what="store", detail=str(error))
    return Finding(ok=True, what="store", detail=f"sources recorded: {polled}")


def database_revision(url: str) -> tuple[str | None, str]:
    """Return the schema's revision (None for an empty database) and the one that this program needs."""
    with admin_engine(url) as engine:
        return migrate.current(engine), migrate.HEAD


def upgrade_database(url: str) -> bool:
    """Bring the schema up to date and return whether there was anything to do. Raises StoreError."""
    with admin_engine(url) as engine:
        return migrate.upgrade(engine)


async def prune_database(config: Config) -> PruneReport:
    """Delete what retention lets go, beside a service that may be running. Raises StoreError."""
    async with open_lookup(config) as store:
        return await prune(store, SystemClock(), _prune_rules(config))


def _prune_rules(config: Config) -> PruneRules:
    keep = config.retention
    return PruneRules(events=keep.events, dead=keep.dead, tasks=keep.tasks)


def _http(config: Config) -> HttpClient:
    from notifier.http import HttpClient  # noqa: PLC0415 - a third of a second that look-ups do not need

    network = config.network
    return HttpClient(proxy=network.proxy_url, allow=network.allow, deny=network.deny)


def _build_sources(config: Config, http: HttpClient, clock: Clock) -> dict[str, TaskSource]:
    from notifier.sources import SOURCES  # noqa: PLC0415 - with the network stack

    built: dict[str, TaskSource] = {}
    for settings in config.sources:
        module, _, name = SOURCES[settings.kind].partition(":")
        source = getattr(import_module(module), name)
        rng = random.Random()  # noqa: S311 - as above
        built[settings.name] = source(settings, http, clock, rng, environ=environment())
    return built


def _build_channels(config: Config, http: HttpClient, clock: Clock, only: str | None = None) -> dict[str, Channel]:
    from notifier.channels.base import load  # noqa: PLC0415 - with the network stack

    toolbox = _toolbox(config, http, clock)
    return {
        settings.name: load(settings.kind)(cast("ChannelSettings", settings), toolbox)
        for settings in config.channels
        if only in {None, settings.name}
    }


def _toolbox(config: Config, http: HttpClient, clock: Clock) -> Toolbox:
    from notifier.channels.base import Toolbox  # noqa: PLC0415 - with the network stack
    from notifier.render import Wording  # noqa: PLC0415 - babel, likewise

    wording = Wording(language=config.language, timezone=ZoneInfo(config.timezone))
    return Toolbox(
        http=http,
        clock=clock,
        wording=wording,
        console_url=config.console_url,
        chat_tokens=frozenset({config.slack_token} if config.slack_token else ()),
    )


# ---- the chat ----


def _direct_channel(config: Config, http: HttpClient, clock: Clock, name: str) -> Channel | None:
    """Return the channel to one person in Slack; None where no bot is configured that could write to them."""
    from notifier.channels.slack import SlackChannel, SlackSettings  # noqa: PLC0415 - with the network stack

    token, chat = config.slack_token, config.chat.slack
    if token is None or chat is None:
        return None
    person = name.removeprefix(DIRECT)
    settings = SlackSettings.model_validate(
        {"name": "direct", "bot_token": token, "channel": person, "api_url": chat.api_url, "style": "post"}
    )
    channel = SlackChannel(settings, _toolbox(config, http, clock))
    channel.name = name
    return channel


@asynccontextmanager
async def open_chat(app: App, wake: Callable[[], None]) -> AsyncIterator[Sequence[Callable[[], Awaitable[None]]]]:
    """Open the doors that are configured; yields what has to run for as long as they are to stay open.

    `wake` is called after somebody changed something that messages are to show. Raises ConfigurationError when the
    address of `web` cannot be taken.
    """
    config = app.config
    if app.http is None or not (config.chat.slack or config.chat.mattermost):
        yield ()
        return
    async with AsyncExitStack() as stack:
        yield await _open_doors(app, app.http, wake, stack)


async def rehearse_listening(config: Config, running: Config) -> None:
    """Prove that the address to listen on can be taken, where it is another than now. Raises ConfigurationError."""
    if config.web and (running.web is None or config.web.listen != running.web.listen):
        from starlette.applications import Starlette  # noqa: PLC0415 - as below

        from notifier.logs import Tally  # noqa: PLC0415 - as below
        from notifier.web.server import Server  # noqa: PLC0415 - as below

        refused = Tally("requests refused", logger="notifier.chat", seconds=SystemClock().monotonic)
        async with Server(Starlette(), config.web.host, config.web.port, refused=refused):
            pass


async def _open_doors(
    app: App, http: HttpClient, wake: Callable[[], None], stack: AsyncExitStack
) -> Sequence[Callable[[], Awaitable[None]]]:
    from starlette.applications import Starlette  # noqa: PLC0415 - only who has a chat pays for it

    from notifier.chat import blocks  # noqa: PLC0415 - as above
    from notifier.chat.directory import Directory  # noqa: PLC0415 - as above
    from notifier.chat.http import Mattermost, Slack  # noqa: PLC0415 - as above
    from notifier.chat.room import ChatRoom  # noqa: PLC0415 - as above
    from notifier.chat.slack import SlackHandler  # noqa: PLC0415 - as above
    from notifier.chat.socket import SocketDoor  # noqa: PLC0415 - as above
    from notifier.logs import Tally  # noqa: PLC0415 - as above
    from notifier.web.server import Server  # noqa: PLC0415 - as above

    config, clock = app.config, app.clock
    room = ChatRoom(app.store, clock, _room_rules(config), wake)
    refused = Tally("requests refused", logger="notifier.chat", seconds=clock.monotonic)
    routes: list[Route] = []
    run: list[Callable[[], Awaitable[None]]] = []
    if (slack := config.chat.slack) is not None:
        directory = Directory(_bot_api(config, http), clock)
        stack.push_async_callback(directory.aclose)
        handler = SlackHandler(room, directory, http, _slack_rules(config), blocks.payload)
        stack.push_async_callback(handler.aclose)
        if slack.mode == "http" and slack.signing_secret:
            secret = slack.signing_secret.get_secret_value()
            routes += Slack(handler=handler, signing_secret=secret, clock=clock, refused=refused).routes()
        if slack.mode == "socket":
            run.append(SocketDoor(handler, _app_api(config, http), clock, proxy=config.network.proxy_url).run)
    if (mattermost := config.chat.mattermost) is not None:
        from notifier.chat import markdown  # noqa: PLC0415 - as above

        routes += Mattermost(
            room=room,
            tokens=mattermost.accepted,
            allowed=mattermost.allow,
            language=config.language,
            render=partial(markdown.payload, language=config.language),
            refused=refused,
        ).routes()
    if routes and config.web:
        server = Server(Starlette(routes=routes), config.web.host, config.web.port, refused=refused)
        await stack.enter_async_context(server)
        log.info("listening", url=server.url, paths=[route.path for route in routes])
    return run


def _room_rules(config: Config) -> RoomRules:
    from notifier.chat.room import RoomRules  # noqa: PLC0415 - as above
    from notifier.render import Wording  # noqa: PLC0415 - as above

    zone = ZoneInfo(config.timezone)
    return RoomRules(
        wordings={language: Wording(language=language, timezone=zone) for language in ("en", "zh")},
        sources={
            settings.name: Pace(poll_every=settings.poll_every, calls_per_minute=settings.calls_per_minute)
            for settings in config.sources
        },
        channels=tuple(settings.name for settings in config.channels),
        command=config.chat.slack.command if config.chat.slack else "/gaussdb",
    )


def _slack_rules(config: Config) -> SlackRules:
    from notifier.chat.slack import RESPONSE_HOSTS, SlackRules  # noqa: PLC0415 - as above

    slack = config.chat.slack or SlackChatSettings.model_construct()
    host = urlsplit(slack.api_url).hostname or ""
    own = {host} if is_loopback(host) else set()
    return SlackRules(
        language=config.language,
        allow=slack.allow,
        direct=config.slack_token is not None,
        response_hosts=RESPONSE_HOSTS | own,
    )


def _bot_api(config: Config, http: HttpClient) -> WebApi | None:
    from notifier.slack.api import WebApi  # noqa: PLC0415 - as above

    if config.chat.slack is None or config.slack_token is None:
        return None
    return WebApi(http=http, url=config.chat.slack.api_url, token=config.slack_token)


def _app_api(config: Config, http: HttpClient) -> WebApi:
    from notifier.slack.api import WebApi  # noqa: PLC0415 - as above

    slack = config.chat.slack
    token = slack.app_token.get_secret_value() if slack and slack.app_token else ""
    return WebApi(http=http, url=slack.api_url if slack else "", token=token)


async def _check_chat(config: Config, http: HttpClient) -> Sequence[Finding]:
    """Prove that Slack would let requests through to us, and what its bot may do for who asks."""
    from notifier.chat import scopes, socket  # noqa: PLC0415 - as above

    slack = config.chat.slack
    if slack is None:
        return ()
    found: list[Finding] = []
    if slack.mode == "socket":
        found += await socket.check(_app_api(config, http))
    if api := _bot_api(config, http):
        found += await scopes.check(api, slack.allow)
    return found
