"""The program put together from a configuration. Only this package names concrete classes of the rim."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

import structlog

from notifier.calendars import CalendarReader
from notifier.channels.rate_limits import parse_budget
from notifier.clock import SystemClock
from notifier.config.config import Config
from notifier.config.foresight import missing_rules
from notifier.config.sections import FlappingSettings
from notifier.core.credentials import Credential
from notifier.core.doorbell import MIN_INTERVAL
from notifier.core.polling import PollRules
from notifier.core.rota import Rotas
from notifier.core.routing import ChannelPolicy, FlappingLimit, RoutingConfig
from notifier.core.usual_memory import UsualMemory
from notifier.deliver import DeliveryRules
from notifier.discovery import ProjectReader
from notifier.foresight import Foresight
from notifier.http import HttpClient
from notifier.http.heartbeat import send_heartbeat
from notifier.maintenance import Maintenance, MaintenanceReader
from notifier.monitor import MonitorRules
from notifier.mutes import MuteRouting
from notifier.origins import TraceReader
from notifier.ports import Channel, ChatTransport, Clock, DatabaseFile, TaskSource
from notifier.schedules import ScheduleRules
from notifier.settings.base import settings_digest
from notifier.store.engine import open_store
from notifier.telemetry.ports import SILENT, Telemetry
from notifier.telemetry.process import ProcessStatus
from notifier.wiring.calendars import build_calendars
from notifier.wiring.channels import build_channels, direct_channel, direct_places, direct_policy, http_client
from notifier.wiring.discovery import build_project_readers
from notifier.wiring.maintenance import build_maintenance, build_maintenance_lists
from notifier.wiring.schedules import schedule_rules
from notifier.wiring.sources import Runtimes, build_access, build_credentials, build_sources, build_trace_logs
from notifier.wiring.stores import AppStore, source_places
from notifier.wiring.telemetry import require_traces

log = structlog.get_logger("notifier")

POLL_LEASE = timedelta(seconds=15)
"""Time that a claim to poll holds. It is renewed during a poll, so it need not outlast one: short enough for another
process to take over soon, long enough for a database that restarts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Everything that the service needs."""

    config: Config
    store: AppStore
    file: DatabaseFile | None = None
    """The store, where it is a file."""
    sources: Mapping[str, TaskSource]
    channels: Mapping[str, Channel]
    clock: Clock
    rng: random.Random
    http: HttpClient | None = None
    """The client that all share; None in tests whose parts use no network."""
    listeners: set[Callable[[], None]] = field(default_factory=set)
    """Called after this process has planned deliveries, or has changed what is due."""
    usual: UsualMemory = field(default_factory=UsualMemory)
    """What this process remembers of completed runs."""
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    """The credential of each source and account, by its name."""
    trace_logs: Mapping[str, TraceReader] = field(default_factory=dict)
    """The audit logs in which it is searched for who started tasks, by the source's name."""
    calendars: Sequence[CalendarReader] = ()
    """The calendars to read; see `notifier.calendars`."""
    project_readers: Sequence[ProjectReader] = ()
    """What lists the projects of each account; see `notifier.discovery`."""
    sources_changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when other sources are to be read than those of this app: it has to be opened again."""
    maintenance_lists: Sequence[MaintenanceReader] = ()
    """The lists of planned maintenance to read; see `notifier.maintenance`."""
    direct: Callable[[str], Channel | None] = lambda _name: None
    """Returns the channel to one person, by its name; None where there is no way to reach people."""
    telemetry: Telemetry = SILENT
    """Where this process reports what it does."""

    @property
    def routing(self) -> RoutingConfig:
        """The routes and the channels that they lead to."""
        return routing_config(self.config, self.channels)

    @property
    def schedule_rules(self) -> ScheduleRules:
        """The reports, and the rotas whose hand-overs are announced."""
        return schedule_rules(self.config)

    @property
    def monitor_rules(self) -> MonitorRules:
        """What is monitored, and the channels for events that no route takes."""
        return MonitorRules(expected=self.config.expected, fallback=self.config.alert_channels)

    @property
    def mute_rules(self) -> MuteRouting:
        """Whom the windows of mutes concern."""
        origins = (source.origin for source in self.config.expected.sources)
        return MuteRouting(routing=self.routing, origins=tuple(origins))

    @property
    def delivery_rules(self) -> DeliveryRules:
        """How deliveries are claimed and repeated."""
        keeping = any(channel.tickets for channel in self.channels.values())
        return DeliveryRules(
            schedule=tuple(self.config.delivery.retry),
            lease=self.config.delivery.lease,
            tickets=keeping,
            origins=bool(self.trace_logs),
        )

    @property
    def channel_digests(self) -> Mapping[str, str]:
        """A digest of each channel's settings, which shows that they were changed."""
        return {settings.name: settings_digest(settings) for settings in self.config.channels}

    @property
    def poll_rules(self) -> Mapping[str, PollRules]:
        """How each source is polled."""
        lease, budgets = min(self.config.delivery.lease, POLL_LEASE), self.config.call_budgets
        configured = frozenset(source_places(self.config))
        ring_interval = self.config.doorbell.min_interval if self.config.doorbell else MIN_INTERVAL
        return {
            settings.name: replace(
                settings.poll_rules(
                    lease=lease,
                    calls_per_minute=budgets[settings.credential].share,
                    credential=self.credentials.get(settings.name),
                    configured=configured,
                ),
                overdue=self.config.foresight.overdue.rules,
                ring_interval=ring_interval,
            )
            for settings in self.config.sources
        }

    @property
    def foresight(self) -> Foresight:
        """Which runs are expected."""
        rules = missing_rules(self.config.foresight, self.config.expect)
        return Foresight(rules=rules, routing=self.routing, sources=self.config.expected.sources)

    @property
    def maintenance(self) -> Maintenance:
        """What reads and announces planned maintenance."""
        return build_maintenance(self.config, self.maintenance_lists, self.credentials, self.routing)

    async def send_heartbeat(self, *, well: bool = True) -> str | None:
        """Signal success or failure to the configured address. Return why that failed, or None."""
        url = (None if well else self.config.heartbeat_fail_url) or self.config.heartbeat_url
        return await send_heartbeat(self.http, url.get_secret_value()) if self.http and url else None


def _flapping_limit(settings: FlappingSettings | None) -> FlappingLimit | None:
    return None if settings is None else FlappingLimit(changes=settings.changes, within=settings.within)


def routing_config(config: Config, channels: Mapping[str, Channel]) -> RoutingConfig:
    """Return the routes and the channels that they lead to."""
    budgets = {each.name: parse_budget(each.budget) for each in config.channels if each.budget}
    return RoutingConfig(
        routes=config.routes,
        rotas=Rotas(by_name=config.rotas_by_name),
        catalogue=config.cause_catalogue,
        escalations=config.escalations_by_name,
        flapping=_flapping_limit(config.quiet.flapping),
        during_maintenance=config.maintenance_mutes,
        policies={
            name: ChannelPolicy(
                name=name,
                digest_above=channel.digest_above,
                digest_size=channel.digest_size,
                threads=channel.threads,
                storm_size=channel.storm_size,
                storm_room=channel.storm_room,
                coalesces=channel.coalesces,
                tickets=channel.tickets,
                budget=budgets.get(name),
            )
            for name, channel in channels.items()
        },
        direct=direct_policy(config),
        places=direct_places(config),
    )


@asynccontextmanager
async def open_app(
    config: Config,
    *,
    exclusive: bool = False,
    expect_new: bool = False,
    clock: Clock | None = None,
    telemetry: Telemetry = SILENT,
) -> AsyncIterator[App]:
    """Open everything and close it at the end. Raises StoreError when the database cannot be used.

    `exclusive` is for processes that poll or deliver: it is refused when another one uses the same SQLite file.
    The creation of a database is logged as a warning, for its place may be wrong, unless it is `expect_new`.
    """
    require_traces(config.telemetry.traces)
    now = clock.now if clock else None
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        store = open_store(config.store.url, exclusive=exclusive, migrate=config.store.migrate, now=now)
        store.meters = telemetry.meters
        stack.push_async_callback(store.aclose)
        if config.store.left_behind_note:
            log.warning("store.left_behind", hint=config.store.left_behind_note)
        if store.created:
            hint = "a new database: first polls are quiet baselines"
            (log.info if expect_new else log.warning)("store.created", database=store.place, hint=hint)
        http = http_client(config)
        stack.push_async_callback(http.aclose)
        runtimes = Runtimes(config, http, clock, telemetry)
        access = build_access(config, runtimes)
        sources = build_sources(config, access)
        channels = build_channels(config, http, clock)
        parts: list[TaskSource | Channel] = [*sources.values(), *channels.values()]
        for part in parts:
            stack.push_async_callback(part.aclose)
        yield App(
            config=config,
            store=store,
            file=store,
            sources=sources,
            channels=channels,
            clock=clock,
            rng=random.Random(),  # noqa: S311 - it spreads retries, it is no secret
            http=http,
            credentials=build_credentials(config),
            trace_logs=build_trace_logs(config, access),
            calendars=build_calendars(config, http),
            project_readers=build_project_readers(config, runtimes),
            maintenance_lists=build_maintenance_lists(config, access),
            direct=partial(direct_channel, config, http, clock),
            telemetry=telemetry,
        )


@asynccontextmanager
async def open_endpoints(
    app: App, wake: Callable[[], None], process: ProcessStatus | None = None
) -> AsyncIterator[Sequence[ChatTransport]]:
    """Open what others call: the web server and the transports of the chat. Yield the transports that have to run.

    `wake` is called after somebody changed something that messages show. `process` is what probes show of this process;
    None where there is no service. Raises ConfigurationError when the address of `web` cannot be taken.
    """
    if app.http is None or not (app.config.chat.slack or app.config.chat.mattermost or app.config.web):
        yield ()
        return
    from notifier.wiring import endpoints  # noqa: PLC0415 - only who is called pays for the web server

    async with AsyncExitStack() as stack:
        yield await endpoints.open_all(app, app.http, wake=wake, process=process, stack=stack)


async def rehearse_listening(config: Config, running: Config) -> None:
    """Prove that the address to listen on can be taken, where it differs from now. Raises ConfigurationError."""
    if config.web and (running.web is None or config.web.listen != running.web.listen):
        from notifier.wiring import endpoints  # noqa: PLC0415 - as above

        await endpoints.check_listen_address(config.web)
