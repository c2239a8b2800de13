"""The one place that knows the concrete classes: from a configuration to things that work."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast
from zoneinfo import ZoneInfo

import structlog

from notifier.clock import SystemClock
from notifier.config import Config, environment
from notifier.core.credentials import Credential
from notifier.core.delivery import delivery_id
from notifier.core.errors import ConfigurationError, NotifierError, StoreMissing
from notifier.core.health import REMOVED_SOURCES_NOTE, removed_sources
from notifier.core.identity import DirectChannel
from notifier.core.model import Event
from notifier.core.routing import ChannelPolicy, RoutingConfig
from notifier.deliver import DeliveryRules
from notifier.monitor import MonitorRules
from notifier.poll import PollRules
from notifier.ports import Channel, ChatTransport, CheckResult, Clock, DatabaseFile, RenderRequest, Store, TaskSource
from notifier.retention import PruneReport, PruneRules, prune
from notifier.settings.base import digest
from notifier.store import migrate
from notifier.store.engine import SqlStore, admin_engine, copy_database, open_store
from notifier.store.errors import place_of

log = structlog.get_logger("notifier")

if TYPE_CHECKING:  # commands that only ask the store do not pay for the network stack
    from pydantic import BaseModel

    from notifier.channels.base import ChannelContext
    from notifier.http import HttpClient


POLL_LEASE = timedelta(seconds=15)
"""How long the right to poll holds. It is renewed all the time, so that it need not outlast a poll: short enough for
another to take over soon, long enough for a database that restarts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Everything that the service needs, put together."""

    config: Config
    store: Store
    file: DatabaseFile | None = None
    """The store, where it is a file."""
    sources: Mapping[str, TaskSource]
    channels: Mapping[str, Channel]
    clock: Clock
    rng: random.Random
    http: HttpClient | None = None
    """What everything that speaks HTTP shares; None where nothing of it is real."""

    credentials: Mapping[str, Credential] = field(default_factory=dict)
    """What each source is polled with, by the source's name."""

    direct: Callable[[str], Channel | None] = lambda _name: None
    """Returns the channel to one person, by its name; None where there is no way to reach people."""

    @property
    def routing(self) -> RoutingConfig:
        """Who is told."""
        return RoutingConfig(
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
    def monitor_rules(self) -> MonitorRules:
        """What is watched, and who is told when no route says so."""
        return MonitorRules(expected=self.config.expected, fallback=self.config.alert_channels)

    async def send_heartbeat(self, *, well: bool = True) -> str | None:
        """Give a sign of life, or of trouble, where one is wanted; return why it was not taken, or None."""
        trouble = None if well else self.config.heartbeat_fail_url
        url = trouble or self.config.heartbeat_url
        if self.http is None or url is None:
            return None
        from notifier.http.heartbeat import send_heartbeat  # noqa: PLC0415 - with the network stack

        return await send_heartbeat(self.http, url.get_secret_value())

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

    @property
    def poll_rules(self) -> Mapping[str, PollRules]:
        """How each source is polled."""
        lease, budgets = min(self.config.delivery.lease, POLL_LEASE), self.config.call_budgets
        configured = frozenset(settings.name for settings in self.config.sources)
        return {
            settings.name: PollRules(
                poll_every=settings.poll_every,
                lease=lease,
                quiet_baseline=settings.first_poll == "baseline",
                progress_step=settings.progress_step,
                stalled_after=settings.stalled_after,
                calls_per_minute=budgets[settings.credential].share,
                credential=self.credentials.get(settings.name),
                configured=configured,
            )
            for settings in self.config.sources
        }


@asynccontextmanager
async def open_app(
    config: Config, *, exclusive: bool = False, expect_new: bool = False, clock: Clock | None = None
) -> AsyncIterator[App]:
    """Open everything and close it at the end.

    `exclusive` is for whoever polls and delivers: it is refused when another service runs on the same SQLite file.
    A database that had to be created is logged as a warning, for its place may be the wrong one, or as information
    where that is `expect_new`.
    Raises StoreError when the database cannot be used.
    """
    now = clock.now if clock else None
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        store = open_store(config.store.url, exclusive=exclusive, migrate=config.store.migrate, now=now)
        stack.push_async_callback(store.aclose)
        if config.store.removed_sources:
            log.warning("store.left_behind", hint=config.store.removed_sources)
        if store.created:
            note = log.info if expect_new else log.warning
            note("store.created", database=store.place, hint="a new database: first polls are quiet baselines")
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
            file=store,
            sources=sources,
            channels=channels,
            clock=clock,
            rng=rng,
            http=http,
            credentials=_credentials(config),
            direct=partial(_direct_channel, config, http, clock),
        )


@asynccontextmanager
async def open_existing_store(config: Config) -> AsyncIterator[SqlStore]:
    """Open the store alone, beside a service that may be running. It is never created by this."""
    store = open_store(config.store.url, create=False, migrate=config.store.migrate)
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


async def check_online(config: Config) -> Sequence[CheckResult]:
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


async def check_words(config: Config, samples: Mapping[str, Sequence[Event]]) -> Mapping[str, Sequence[str | None]]:
    """Say of each event, by the channel that it would go to, why the channel would not put it into words as it is set.

    None where it would; channels whose words cannot be set are left out. Nobody is asked.
    """
    from notifier.channels.base import BaseChannel  # noqa: PLC0415 - with the network stack

    found: dict[str, Sequence[str | None]] = {}
    for settings in config.channels:
        if not settings.has_template or settings.name not in samples:
            continue
        async with open_channel(config, settings.name) as channel:
            assert isinstance(channel, BaseChannel)  # noqa: S101 - every kind is one
            requests = [
                RenderRequest(delivery_id=delivery_id(channel.name, event.id), events=(event,))
                for event in samples[channel.name]
            ]
            found[channel.name] = [channel.render_problem(request) for request in requests]
    return found


async def _check_part(part: TaskSource | Channel) -> Sequence[CheckResult]:
    found = await part.check()
    kind = getattr(part, "kind", None)
    return [replace(one, what=f"channel {part.name} ({kind})") for one in found] if kind else found


async def _check_store(config: Config) -> CheckResult:
    try:
        async with open_existing_store(config) as store:
            polled, place = await store.read(lambda q: q.source_states()), store.place
    except StoreMissing as error:
        return CheckResult(ok=True, what="store", detail=str(error))
    except NotifierError as error:
        return CheckResult(ok=False, what="store", detail=str(error))
    left = removed_sources(polled, source_places(config))
    detail = f"{place}: sources recorded: {len(polled)}"
    if not left:
        return CheckResult(ok=True, what="store", detail=detail)
    names = ", ".join(state.name for state in left)
    return CheckResult(
        ok=True,
        proven=False,
        what="store",
        detail=f"{detail}; recorded under names that are not configured: {names}",
        remedy=REMOVED_SOURCES_NOTE,
    )


def database_revision(url: str) -> tuple[str, str | None, str]:
    """Return what the database is called, its schema's revision (None where it is empty) and the one that is needed.

    Raises StoreError.
    """
    with admin_engine(url) as engine:
        return place_of(engine.url), migrate.current(engine), migrate.HEAD


def upgrade_database(url: str) -> bool:
    """Bring the schema up to date and return whether there was anything to do. Raises StoreError."""
    with admin_engine(url, create=True) as engine:
        return migrate.upgrade(engine)


def backup_database(url: str, target: Path) -> None:
    """Copy a SQLite database, also beside a running service. Raises StoreError and ConfigurationError."""
    copy_database(url, target)


async def prune_database(config: Config) -> PruneReport:
    """Delete what retention lets go, beside a service that may be running. Raises StoreError."""
    async with open_existing_store(config) as store:
        return await prune(store, SystemClock(), _prune_rules(config))


def source_places(config: Config) -> Mapping[str, tuple[str, str]]:
    """Return region and project of each configured source, by name."""
    return {settings.name: (settings.region, settings.project_id) for settings in config.sources}


def _prune_rules(config: Config) -> PruneRules:
    keep = config.retention
    configured = frozenset(settings.name for settings in config.sources)
    return PruneRules(
        events=keep.events, dead=keep.dead, tasks=keep.tasks, configured=configured, expected=config.expected
    )


def _http(config: Config) -> HttpClient:
    from notifier.http import HttpClient  # noqa: PLC0415 - a third of a second that look-ups do not need

    network = config.network
    return HttpClient(
        proxy=network.proxy_url,
        no_proxy=network.no_proxy,
        allow=network.allow,
        deny=network.deny,
        ca_file=network.ca_file,
    )


def _build_sources(config: Config, http: HttpClient, clock: Clock) -> dict[str, TaskSource]:
    from notifier.sources import SOURCES  # noqa: PLC0415 - with the network stack
    from notifier.sources.account import CredentialLimiter  # noqa: PLC0415 - likewise

    built: dict[str, TaskSource] = {}
    accounts = {
        credential: CredentialLimiter(budget.calls_per_minute, clock)
        for credential, budget in config.call_budgets.items()
    }
    language = "zh-cn" if config.language == "zh" else "en-us"
    for settings in config.sources:
        module, _, name = SOURCES[settings.kind].partition(":")
        source = getattr(import_module(module), name)
        rng = random.Random()  # noqa: S311 - as above
        built[settings.name] = source(
            settings,
            http.with_ca_file(settings.ca_file),
            clock,
            rng,
            environ=environment(),
            account=accounts[settings.credential],
            language=language,
        )
    return built


def _credentials(config: Config) -> dict[str, Credential]:
    """Return what each source is polled with."""
    return {
        settings.name: Credential(
            key=hashlib.sha256(settings.credential.encode()).hexdigest(),
            calls_per_minute=config.call_budgets[settings.credential].calls_per_minute,
            version=partial(_digest_once, settings.auth),
        )
        for settings in config.sources
    }


_digest_once = cache(digest)


def _build_channels(config: Config, http: HttpClient, clock: Clock, only: str | None = None) -> dict[str, Channel]:
    from notifier.channels.kinds import channel_class  # noqa: PLC0415 - with the network stack

    context = _channel_context(config, http, clock)
    return {
        settings.name: channel_class(settings.kind)(settings, context)
        for settings in config.channels
        if only in {None, settings.name}
    }


def _channel_context(config: Config, http: HttpClient, clock: Clock) -> ChannelContext:
    from notifier.channels.base import ChannelContext  # noqa: PLC0415 - with the network stack
    from notifier.wording.localizer import Localizer  # noqa: PLC0415 - babel, likewise

    localizer = Localizer(language=config.language, timezone=ZoneInfo(config.timezone))
    return ChannelContext(
        http=http,
        clock=clock,
        localizer=localizer,
        console_url=config.console_url,
        chat_tokens=frozenset({config.slack_token} if config.slack_token else ()),
    )


def _direct_channel(config: Config, http: HttpClient, clock: Clock, name: str) -> Channel | None:
    """Return the channel to one person in Slack; None where no bot is configured that could write to them."""
    from pydantic import ValidationError  # noqa: PLC0415 - as below

    from notifier.channels.nobody import UndeliverableChannel  # noqa: PLC0415 - as below
    from notifier.integrations.slack.channel import SlackChannel  # noqa: PLC0415 - with the network stack
    from notifier.integrations.slack.settings import SlackSettings  # noqa: PLC0415 - as above

    token, chat = config.slack_token, config.chat.slack
    if token is None or chat is None:
        return None
    direct = DirectChannel.parse(name)
    person = direct.person if direct else name
    context = _channel_context(config, http, clock)
    channel: Channel
    try:
        settings = SlackSettings.model_validate(
            {
                "name": "direct",
                "bot_token": token,
                "channel": person,
                "api_url": chat.api_url,
                "ca_file": chat.ca_file,
                "style": "post",
            }
        )
    except ValidationError:
        channel = UndeliverableChannel(f"{person!r} is not the id of a person in Slack", context)
    else:
        channel = SlackChannel(settings, context)
    channel.name = name
    return channel


# ---- the chat ----


@asynccontextmanager
async def open_chat(app: App, wake: Callable[[], None]) -> AsyncIterator[Sequence[ChatTransport]]:
    """Open the doors that are configured; yields what has to run for as long as they are to stay open.

    `wake` is called after somebody changed something that messages are to show. Raises ConfigurationError when the
    address of `web` cannot be taken.
    """
    if app.http is None or not (app.config.chat.slack or app.config.chat.mattermost):
        yield ()
        return
    from notifier.wiring import chat as chat_wiring  # noqa: PLC0415 - only who has a chat pays for it

    async with AsyncExitStack() as stack:
        yield await chat_wiring.open_transports(app.config, app.store, app.http, app.clock, wake=wake, stack=stack)


async def rehearse_listening(config: Config, running: Config) -> None:
    """Prove that the address to listen on can be taken, where it is another than now. Raises ConfigurationError."""
    if config.web and (running.web is None or config.web.listen != running.web.listen):
        from notifier.wiring import chat as chat_wiring  # noqa: PLC0415 - as above

        await chat_wiring.check_listen_address(config.web)


async def _check_chat(config: Config, http: HttpClient) -> Sequence[CheckResult]:
    if config.chat.slack is None:
        return ()
    from notifier.wiring import chat as chat_wiring  # noqa: PLC0415 - as above

    return await chat_wiring.check(config, config.chat.slack, http)
