"""The whole configuration: its sections, and the rules between them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from notifier.channels.settings import ChannelSettings
from notifier.channels.templates import named_key
from notifier.config.accounts import found_sources, stand_in
from notifier.config.calendars import CalendarSettings, RotaSettings
from notifier.config.causes import CauseFileSetting, repeated_ids
from notifier.config.chat import ChatSettings
from notifier.config.doorbell import DoorbellSettings
from notifier.config.entries import ChannelEntry, Source, SourceDefaults
from notifier.config.escalations import EscalationSettings, EscalationStepSettings
from notifier.config.foresight import ExpectEntry, ForesightSettings
from notifier.config.links import ConsoleUrl, RunbookUrl, default_console_url
from notifier.config.mutes import MuteSettings
from notifier.config.network import NetworkSettings
from notifier.config.reports import ReportSettings
from notifier.config.routes import RouteEntry, unknown_calendar
from notifier.config.sections import (
    AlertSettings,
    DeliverySettings,
    LogSettings,
    MaintenanceSettings,
    QuietSettings,
    RetentionSettings,
)
from notifier.config.store import StoreSettings
from notifier.config.telemetry import TelemetrySettings
from notifier.config.timezones import Timezone
from notifier.config.web import WebSettings
from notifier.core.causes import CauseCatalogue
from notifier.core.dispatch import SENT_WITHIN
from notifier.core.durations import format_duration
from notifier.core.escalations import Escalation
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.projects import FoundProject
from notifier.core.rota import Rota, rota_named
from notifier.core.routing import Route
from notifier.mutes import ConfiguredMute
from notifier.settings.base import Settings
from notifier.settings.effective import WrittenValue
from notifier.settings.explain import Loc, error_detail
from notifier.settings.types import HttpUrl
from notifier.settings.words import did_you_mean
from notifier.sources.account_settings import GaussDBAccountSettings
from notifier.sources.cloud_settings import CloudSettings
from notifier.wording.causes import builtin_catalogue


def _needs_web(place: Loc, what: str, caller: str, otherwise: str) -> ValidationError:
    why = f"{what}needs the section web, for {caller} to call. Add web: {{listen: 127.0.0.1:8080}}{otherwise}."
    return ValidationError.from_exception_data("settings", [error_detail(place, why)], hide_input=True)


def _no_shifts(name: str, calendars: Mapping[str, CalendarSettings]) -> str | None:
    """Return why a calendar says nothing about who is on duty; None where it may."""
    if name not in calendars:
        return f"no calendar is called {name!r}. {did_you_mean(name, calendars, otherwise='Calendars')}"
    return None if calendars[name].origin else "is a list of days, which names nobody. Name one with file or url."


def _accepted(mentions: Iterable[str], channels: Iterable[ChannelSettings]) -> bool:
    return any(channel.accepts_mention(one) for one in mentions for channel in channels)


def _unmentionable(entry: str, channels: Iterable[ChannelSettings], section: object = "routes") -> str:
    """Return why none of the channels of a route or a step can mention an entry, and what they understand."""
    what = "step" if section == "escalations" else "route"
    forms = {channel.kind: channel.mention_forms for channel in channels if channel.mention_forms}
    if not forms:
        return f"no channel of this {what} can mention anybody, so {entry!r} has no effect. Remove it."
    known = "; ".join(f"{kind} takes {form}" for kind, form in forms.items())
    whom = "anybody of" if rota_named(entry) else ""
    return f"no channel of this {what} can mention {' '.join(filter(None, (whom, repr(entry))))}: {known}."


def _no_template(name: str, channels: Iterable[ChannelSettings]) -> str:
    """Return that none of a route's channels has a template of this name, and what they have."""
    known = sorted({key.removeprefix("@") for channel in channels for key in channel.templates if key[0] == "@"})
    hint = did_you_mean(name, known, otherwise="Templates") if known else "Add it there:"
    example = f" templates: {{{named_key(name)!r}: …}}." if not known else ""
    return f"no channel of this route has the template {name!r}. {hint}{example}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBudget:
    """The calls that the sources of one credential may make together."""

    calls_per_minute: int
    sources: int
    promised: float = 0
    """Calls per minute that the polls of all the sources take at least, by their `poll_every`."""

    @property
    def share(self) -> float:
        """Calls per minute for each of the sources."""
        return self.calls_per_minute / self.sources


class Config(Settings):
    """A complete, consistent configuration: names are unique and routes lead to existing channels."""

    language: Literal["en", "zh"] = "en"
    """Language of messages, mails and pages."""
    timezone: Timezone = "UTC"
    """Time zone of displayed times, for example Asia/Shanghai."""
    # The default is validated like input, because only then the start of relative paths is known.
    store: StoreSettings = Field(default_factory=dict, validate_default=True)
    source_defaults: SourceDefaults = ()
    """Settings that every source takes where it does not give its own, such as auth and poll_every. Labels are merged
    by name. A setting that only some kinds of sources have applies to those."""
    sources: tuple[Source, ...] = Field(min_length=1)
    """The task lists to poll."""
    channels: tuple[ChannelEntry, ...] = ()
    """The channels that notify people."""
    # Before the routes, whose windows name them.
    calendars: tuple[CalendarSettings, ...] = ()
    """Holidays and shifts that a calendar keeps: a list of days, an iCalendar file, or its address."""
    routes: tuple[RouteEntry, ...] = ()
    """Which events go to which channels."""
    rotas: tuple[RotaSettings, ...] = ()
    """Who is on duty when. `@rota:NAME` in a `mention` becomes that person."""
    reports: tuple[ReportSettings, ...] = ()
    """Summaries that are sent at the times of a schedule."""
    escalations: tuple[EscalationSettings, ...] = ()
    """What follows where nobody acknowledges a failure; routes name them as `escalate`."""
    mutes: tuple[MuteSettings, ...] = ()
    """Maintenance windows: what is not to be notified when."""
    foresight: ForesightSettings = ForesightSettings()
    expect: tuple[ExpectEntry, ...] = Field(default=(), max_length=1000)
    """Operations that should begin again and again, such as manual backup of prod-* every 26h: `task.missing` is
    reported where one does not."""
    maintenance: MaintenanceSettings = MaintenanceSettings()
    delivery: DeliverySettings = DeliverySettings()
    alerts: AlertSettings = AlertSettings()
    quiet: QuietSettings = QuietSettings()
    retention: RetentionSettings = RetentionSettings()
    chat: ChatSettings = ChatSettings()
    web: WebSettings | None = None
    """The HTTP server; absent: none."""
    doorbell: DoorbellSettings | None = None
    """Requests that mean "poll this source now"; absent: none are taken."""
    console_url: ConsoleUrl | None = None
    """URL behind Open console; {region}, {project_id} and {instance_id} are replaced. null: no link. Default: GaussDB's
    list of instances. Huawei does not document the parameter region of that page; if the list opens in another region,
    give your own URL."""
    runbook_url: RunbookUrl | None = None
    """URL of your instructions for a failed task; {error_code}, {cause}, {operation}, {source}, {environment},
    {region}, {project_id} and {instance_id} are replaced. A message in which one of them has no value has no link."""
    causes: tuple[CauseFileSetting, ...] = ()
    """Files that explain reasons of failed tasks. Their entries come before the built-in ones; see docs/causes.md."""
    network: NetworkSettings = NetworkSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    heartbeat_url: HttpUrl | None = None
    """URL fetched after every successful poll, so that a monitoring service can alert when that stops."""
    heartbeat_fail_url: HttpUrl | None = None
    """URL fetched instead while `notifier health` is red, and at once when it turns red."""

    _written: Mapping[tuple[str | int, ...], WrittenValue] = PrivateAttr(default_factory=dict)
    _as_written: "Config | None" = PrivateAttr(default=None)
    _found: Mapping[str, tuple[str, ...]] = PrivateAttr(default_factory=dict)
    _revisions: Mapping[str, int] = PrivateAttr(default_factory=dict)
    _displaced: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _default_console(cls, data: object) -> object:
        """Add the default of `console_url`, which depends on the language. A null in the file stays."""
        return {"console_url": default_console_url(data), **data} if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _lease_outlasts_every_attempt(self) -> Self:
        slowest = max(self.channels, key=lambda channel: channel.deadline, default=None)
        if slowest and slowest.deadline > self.delivery.lease * SENT_WITHIN:
            needed = format_duration(timedelta(seconds=math.ceil(slowest.deadline.total_seconds() / SENT_WITHIN)))
            what = (
                f"must be at least {needed}: an attempt of the channel {slowest.name} may take "
                f"{format_duration(slowest.deadline)}. Give a longer lease, or that channel a shorter timeout."
            )
            found = [error_detail(("delivery", "lease"), what)]
            raise ValidationError.from_exception_data("settings", found, hide_input=True)
        return self

    @model_validator(mode="after")
    def _every_mention_is_understood(self) -> Self:
        channels = {channel.name: channel for channel in self.channels}
        mentioning: list[tuple[Loc, Route | EscalationStepSettings]] = [
            *((("routes", number), route) for number, route in enumerate(self.routes)),
            *(
                (("escalations", number, "steps", place), step)
                for number, one in enumerate(self.escalations)
                for place, step in enumerate(one.steps)
            ),
        ]
        found = [
            error_detail((*place, "mention", position), _unmentionable(entry, leading, place[0]))
            for place, route in mentioning
            for leading in [[channels[name] for name in route.all_channels if name in channels]]
            for position, entry in enumerate(route.mention)
            if leading and not _accepted(self.mentions_of(entry), leading)
        ]
        if found:
            raise ValidationError.from_exception_data("settings", found, hide_input=True)
        return self

    @model_validator(mode="after")
    def _no_ticket_channel_gets_a_report(self) -> Self:
        keeping = {channel.name for channel in self.channels if channel.keeps_tickets}
        named = [(("reports", number, "channels"), one.channels) for number, one in enumerate(self.reports)]
        named += [(("rotas", number, "announce"), one.announce) for number, one in enumerate(self.rotas)]
        why = "keeps tickets, which take no such message. Name another channel."
        found = [
            error_detail((*place, position), f"the channel {name} {why}")
            for place, names in named
            for position, name in enumerate(names)
            if name in keeping
        ]
        if found:
            raise ValidationError.from_exception_data("settings", found, hide_input=True)
        return self

    @model_validator(mode="after")
    def _every_rota_has_its_calendar(self) -> Self:
        calendars = {calendar.name: calendar for calendar in self.calendars}
        found = [
            error_detail(("rotas", number, "calendar"), why)
            for number, rota in enumerate(self.rotas)
            if rota.calendar and (why := _no_shifts(rota.calendar, calendars))
        ]
        if found:
            raise ValidationError.from_exception_data("settings", found, hide_input=True)
        return self

    @model_validator(mode="after")
    def _every_escalation_has_its_calendars(self) -> Self:
        known = {calendar.name for calendar in self.calendars}
        found = [
            error_detail(("escalations", number, *place), unknown_calendar(name, self.calendars))
            for number, escalation in enumerate(self.escalations)
            for place, name in escalation.named_calendars
            if name not in known
        ]
        if found:
            raise ValidationError.from_exception_data("settings", found, hide_input=True)
        return self

    @model_validator(mode="after")
    def _every_ticket_has_a_channel(self) -> Self:
        keeping = {channel.name for channel in self.channels if channel.keeps_tickets}
        known = {channel.name for channel in self.channels}
        found = [
            error_detail(
                ("routes", number, "ticket"), "has no effect: no channel of this route keeps tickets. Remove it."
            )
            for number, route in enumerate(self.routes)
            if route.ticket and known.issuperset(route.all_channels) and keeping.isdisjoint(route.all_channels)
        ]
        if found:
            raise ValidationError.from_exception_data("settings", found, hide_input=True)
        return self

    @model_validator(mode="after")
    def _every_template_exists(self) -> Self:
        channels = {channel.name: channel for channel in self.channels}
        found = [
            error_detail(("routes", number, "template"), _no_template(route.template, leading))
            for number, route in enumerate(self.routes)
            for leading in [[channels[name] for name in route.all_channels if name in channels]]
            if route.template and not any(named_key(route.template) in channel.templates for channel in leading)
        ]
        if found:
            raise ValidationError.from_exception_data("settings", found, hide_input=True)
        return self

    @model_validator(mode="after")
    def _callback_has_web(self) -> Self:
        if self.web is None and self.chat.slack and self.chat.slack.mode == "http":
            raise _needs_web(("chat", "slack", "mode"), "http ", "Slack", ", or choose socket")
        if self.web is None and self.chat.mattermost:
            raise _needs_web(("chat", "mattermost"), "", "Mattermost", "")
        if self.web is None and self.doorbell:
            raise _needs_web(("doorbell",), "", "whoever rings", "")
        return self

    @model_validator(mode="after")
    def _ids_of_causes_are_unique(self) -> Self:
        if found := list(repeated_ids(self.causes)):
            raise ValidationError.from_exception_data("settings", found, hide_input=True)
        return self

    @cached_property
    def cause_catalogue(self) -> CauseCatalogue:
        """The causes that explain the reasons of failed tasks: those of `causes`, then the built-in ones."""
        own = [entry.cause() for file in self.causes for entry in file.entries]
        return builtin_catalogue().extended(own) if own else builtin_catalogue()

    @cached_property
    def escalations_by_name(self) -> Mapping[str, Escalation]:
        """The escalations as values of the core."""
        return {one.name: one.escalation(self.timezone, self.calendars) for one in self.escalations}

    @property
    def maintenance_sources(self) -> tuple[CloudSettings, ...]:
        """The sources whose planned maintenance is read."""
        return tuple(one for one in self.sources if one.reads_maintenance)

    @cached_property
    def configured_mutes(self) -> tuple[ConfiguredMute, ...]:
        """The mutes as values of their use case."""
        return tuple(one.mute(self.timezone) for one in self.mutes if one.during is None)

    @cached_property
    def maintenance_mutes(self) -> tuple[MaintenanceMute, ...]:
        """The mutes that are in force while a maintenance of an instance is open."""
        return tuple(one.maintenance_mute for one in self.mutes if one.during is not None)

    @cached_property
    def rotas_by_name(self) -> Mapping[str, Rota]:
        """The rotas as values of the core."""
        return {one.name: one.rota(self.timezone) for one in self.rotas}

    @property
    def as_written(self) -> "Config":
        """The configuration as its file has it: with its accounts, and without the sources that they become."""
        return self._as_written or self

    @property
    def accounts(self) -> tuple[GaussDBAccountSettings, ...]:
        """The accounts whose projects are found."""
        return tuple(one for one in self.as_written.sources if isinstance(one, GaussDBAccountSettings))

    @property
    def found_sources(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the sources that each account has become."""
        return self._found

    @property
    def displaced_alarms(self) -> Mapping[str, str]:
        """Ids of found projects whose alarms are not read, by the name of the source that has the place of theirs."""
        return self._displaced

    @property
    def revisions(self) -> Mapping[str, int]:
        """The revision of the projects of each account that were recorded when this was made."""
        return self._revisions

    def with_stand_ins(self) -> "Config":
        """Return the configuration with a source for each account that has none yet, for remarks about routes."""
        alone = [account for account in self.accounts if not self._found.get(account.name)]
        if not alone:
            return self
        return self._with_sources((*self.sources, *map(stand_in, alone)))

    def with_fewer_found(self, most: int) -> "Config":
        """Return the configuration with at most so many of the sources that each account has become."""
        left_out = {name for names in self._found.values() for name in names[most:]}
        return self._with_sources(tuple(one for one in self.sources if one.name not in left_out)) if left_out else self

    def _with_sources(self, sources: tuple[Source, ...]) -> "Config":
        fields = {name: getattr(self, name) for name in Config.model_fields}
        made = Config.model_construct(**fields | {"sources": sources})
        made._written, made._as_written = self._written, self.as_written  # noqa: SLF001 - of the same class
        made._found, made._revisions = self._found, self._revisions  # noqa: SLF001 - as above
        made._displaced = self._displaced  # noqa: SLF001 - as above
        return made

    def with_found(self, projects: Iterable[FoundProject], revisions: Mapping[str, int]) -> "Config":
        """Return the configuration with the sources that recorded projects become in the place of their accounts.

        `revisions` says by account which projects these are. A configuration without accounts stays the same.
        """
        written = self.as_written
        if not self.accounts:
            return self
        configured = [one for one in written.sources if not isinstance(one, GaussDBAccountSettings)]
        made = found_sources(self.accounts, configured, projects)
        found = made.by_account
        sources = tuple(source for one in written.sources for source in found.get(one.name, [one]))
        expanded = written._with_sources(sources)  # noqa: SLF001 - of the same class
        expanded._found = {name: tuple(one.name for one in those) for name, those in found.items()}  # noqa: SLF001 - as above
        expanded._revisions, expanded._displaced = revisions, made.displaced  # noqa: SLF001 - as above
        return expanded

    @property
    def written_places(self) -> Mapping[tuple[str | int, ...], WrittenValue]:
        """Where each value is written, by its path; empty where that is not known."""
        return self._written

    def remember_places(self, written: Mapping[tuple[str | int, ...], WrittenValue]) -> None:
        """Remember where each value is written."""
        self._written = written

    def mentions_of(self, entry: str) -> tuple[str, ...]:
        """Return everybody whom an entry of a `mention` may stand for: of a rota, all who may be on duty."""
        name = rota_named(entry)
        if name is None:
            return (entry,)
        rota = self.rotas_by_name.get(name)
        return (*(who for person in rota.people for who in person.mention), *rota.fallback) if rota else ()

    @property
    def source_names(self) -> tuple[str, ...]:
        """Names of the sources."""
        return tuple(source.name for source in self.sources)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(channel.name for channel in self.channels)

    @property
    def alert_channels(self) -> tuple[str, ...]:
        """Channels for alerts that no route matches."""
        named = self.alerts.channels
        return self.channel_names if named is None else named

    @cached_property
    def call_budgets(self) -> Mapping[str, CallBudget]:
        """Budget of calls by credential."""
        by_credential: dict[str, list[Source]] = {}
        for source in self.sources:
            by_credential.setdefault(source.credential, []).append(source)
        for account in self.accounts:  # which may have no source yet
            by_credential.setdefault(account.credential, [account])
        return {
            credential: CallBudget(
                calls_per_minute=max(source.calls_per_minute for source in sharing),
                sources=len(sharing),
                promised=sum(source.promised_per_minute for source in sharing),
            )
            for credential, sharing in by_credential.items()
        }

    @cached_property
    def expected(self) -> Expected:
        """The configured parts that health is judged against."""
        return Expected(
            sources=tuple(
                ConfiguredSource(
                    name=source.name,
                    region=source.region,
                    project_id=source.project_id,
                    poll_every=source.poll_every,
                    poll_busy_every=source.poll_busy_every,
                    calls_per_minute=self.call_budgets[source.credential].share,
                    environment=source.environment,
                    labels=source.sorted_labels,
                )
                for source in self.sources
            ),
            accounts=tuple(account.name for account in self.accounts),
            channels=self.channel_names,
            direct=self.slack_token is not None or self.mattermost_bot is not None,
            chat=bool(self.chat.slack or self.chat.mattermost),
            doorbell=self.doorbell is not None,
            topics=self.doorbell.topics if self.doorbell else (),
            failing_after=self.alerts.failing_after,
        )

    @property
    def slack_token(self) -> str | None:
        """The bot token of the chat: its own, or that of the first Slack channel that has one."""
        if self.chat.slack is None:
            return None
        channels = (getattr(channel, "bot_token", None) for channel in self.channels if channel.kind == "slack")
        found = next(filter(None, (self.chat.slack.bot_token, *channels)), None)
        return found.get_secret_value() if found else None

    @property
    def mattermost_bot(self) -> ChannelSettings | None:
        """The channel whose bot sends direct messages in Mattermost: the first one with a bot, where a chat is."""
        if self.chat.mattermost is None:
            return None
        bots = (one for one in self.channels if one.kind == "mattermost" and getattr(one, "bot_token", None))
        return next(bots, None)
