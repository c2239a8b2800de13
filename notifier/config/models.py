"""What a configuration is made of. The settings of sources and channels live beside their code, found by `kind`."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from notifier.channels import kinds as channel_kinds
from notifier.channels.settings import ChannelSettings
from notifier.core.durations import format_duration
from notifier.core.errors import ConfigurationError
from notifier.core.events import EventType
from notifier.core.health import ConfiguredSource, Expected
from notifier.core.model import TaskStatus
from notifier.core.routing import Matcher, Route, fits, parse_matcher
from notifier.deliver import SENT_WITHIN
from notifier.settings.base import Origin, Settings
from notifier.settings.database_url import SqliteAddress, parse_address
from notifier.settings.explain import (
    SLACK_ID_PATTERN,
    SLACK_WORKSPACE_PATTERN,
    FixedMessageError,
    Loc,
    closest_match,
    did_you_mean,
    error_detail,
    setting_error,
)
from notifier.settings.types import (
    AsciiSecret,
    CaFile,
    Duration,
    HttpsUrl,
    HttpUrl,
    Name,
    Secret,
    SlackAppToken,
    SlackBotToken,
    is_loopback,
)
from notifier.sources import kinds as source_kinds
from notifier.sources.base import SourceSettings

# ---- parts that are found by kind ----


def _by_kind(find: Callable[[str], type[Settings]]) -> PlainValidator:
    def validate(value: object, info: ValidationInfo) -> object:
        if isinstance(value, Settings):
            return value
        if not isinstance(value, Mapping):
            raise FixedMessageError("must be a mapping with a name and a kind.")
        return _settings_class(value, find).model_validate(value, context=info.context)

    return PlainValidator(validate)


def _settings_class(value: Mapping[str, object], find: Callable[[str], type[Settings]]) -> type[Settings]:
    kind = value.get("kind")
    if not isinstance(kind, str):
        raise setting_error("kind", "is missing." if kind is None else "must be text.")
    try:
        return find(kind)
    except ConfigurationError as error:
        raise setting_error("kind", str(error)) from error


Source = Annotated[SerializeAsAny[SourceSettings], _by_kind(source_kinds.settings_class), WithJsonSchema({})]
Channel = Annotated[SerializeAsAny[ChannelSettings], _by_kind(channel_kinds.settings_class), WithJsonSchema({})]


# ---- values ----


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, LookupError, ValueError):
        cities = [zone for zone in available_timezones() if "/" in zone and not zone.startswith("Etc/")]
        guess = closest_match(name, sorted(cities), likeness=0.7)
        hint = f"Did you mean {guess}?" if guess else "Write it as Asia/Shanghai or UTC."
        raise ValueError(f"no time zone is called {name!r}. {hint}") from None
    return name


Timezone = Annotated[str, AfterValidator(_timezone)]


def _network(text: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(str(text))
    except ValueError as error:
        hint = "the address has bits outside the mask" if "host bits" in str(error) else "that is not one"
        raise ValueError(f"must be a network such as 10.0.0.0/8; {hint}.") from None


Network = Annotated[
    ipaddress.IPv4Network | ipaddress.IPv6Network,
    PlainValidator(_network),
    WithJsonSchema({"type": "string", "examples": ["10.0.0.0/8", "fd00::/8"]}),
]


def _proxy_exception(text: object) -> str | ipaddress.IPv4Network | ipaddress.IPv6Network:
    if isinstance(text, str):
        with suppress(ValueError):
            return ipaddress.ip_network(text.strip("[]"), strict=False)
        name = text.removeprefix("*") if text.startswith("*.") else text
        if re.fullmatch(r"\*|\.?[^\s/:@*\[\]?#.,;|]+(\.[^\s/:@*\[\]?#.,;|]+)*\.?", name):
            return name
    raise FixedMessageError("must be a host such as corp.example, a network such as 10.0.0.0/8, or *: no URL, no port.")


ProxyException = Annotated[
    str | ipaddress.IPv4Network | ipaddress.IPv6Network,
    PlainValidator(_proxy_exception),
    WithJsonSchema({"type": "string", "examples": ["corp.example", "10.0.0.0/8", "*"]}),
]


def _database_url(secret: SecretStr, info: ValidationInfo) -> SecretStr:
    address = parse_address(secret.get_secret_value())
    if isinstance(address, SqliteAddress) and ((info.context or Origin()).directory / address.path).is_dir():
        raise FixedMessageError("names a folder. Name a file in it, for example sqlite:////var/lib/notifier.db.")
    return secret


DatabaseUrl = Annotated[Secret, AfterValidator(_database_url)]


def split_address(text: str) -> tuple[str, int]:
    """Split `127.0.0.1:8080` or `[::1]:8080` into host and port. Raises ValueError with an example."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):  # noqa: PLR2004 - the last port
        raise FixedMessageError("must be ADDRESS:PORT, for example 127.0.0.1:8080 or [::1]:8080.")
    return host, int(port)


def _address(text: str) -> str:
    split_address(text)
    return text


RetentionPeriod = Annotated[Duration, Field(ge=timedelta(days=35), le=timedelta(days=36500))] | None
"""For how long something is kept: longer than the month that the API lists, so that nothing of it is told twice."""


# ---- sections ----


class StoreSettings(Settings):
    """Where everything is remembered."""

    database: DatabaseUrl = Field(default=SecretStr("sqlite:///notifier.db"), alias="url")
    """`sqlite:///notifier.db`, beside this file, or `postgresql://user:password@host/database`, one host or several."""
    migrate: bool = False
    """Whether `run` may upgrade a PostgreSQL database. SQLite always upgrades itself."""

    _left_behind: Path | None = PrivateAttr(default=None)

    def model_post_init(self, context: object) -> None:
        """Let a relative path start at the configuration file, as all paths in it do.

        Earlier versions let it start at the working directory: a database that is there, and not here, stays in use.
        """
        address = parse_address(self.url)
        if not isinstance(context, Origin) or not isinstance(address, SqliteAddress):
            return
        here = context.directory / address.path
        if here != address.path and address.path.is_file() and not here.exists():
            self._left_behind = here
        else:
            self.__dict__["database"] = SecretStr(f"sqlite:///{here}")  # the model is frozen once it is made

    @property
    def url(self) -> str:
        """The database's address, password included; a relative path starts at the working directory."""
        return self.database.get_secret_value()

    @property
    def left_behind_note(self) -> str | None:
        """What to do about a database that an earlier version created in the working directory; None without one."""
        if self._left_behind is None:
            return None
        place = Path(self.url.removeprefix("sqlite:///")).absolute()
        return (
            f"the database is {place}, where an earlier version created it; a relative store.url now starts at the"
            f" configuration file. Stop the service and move it to {self._left_behind}, or write its full path:"
            f" store.url: sqlite:///{place}"
        )


_VALUES: Mapping[str, Collection[str]] = {
    "type": [kind.value for kind in EventType],
    "status": [status.value for status in TaskStatus],
    "late": ["true", "false"],
}
"""Fields with a closed set of values: a typing mistake in one of these would silently match nothing."""


def _matcher(text: object) -> Matcher:
    if not isinstance(text, str):
        raise FixedMessageError("must be text such as type=task.failed.")
    matcher = parse_matcher(text)
    if wrong := _impossible_reason(matcher, _VALUES.get(matcher.field, ())):
        raise ValueError(wrong)
    return matcher


def _impossible_reason(matcher: Matcher, known: Collection[str]) -> str | None:
    """Say why a matcher cannot be meant as it is written: no event has such a value."""
    if known and matcher.op in ("=", "!=") and matcher.value not in known:
        hint = did_you_mean(matcher.value, known, otherwise="It is one of")
        return f"{matcher.field} is never {matcher.value!r}. {hint}"
    if known and matcher.op == "=~" and not any(fits(matcher, {matcher.field: value}) for value in known):
        return f"matches no {matcher.field}. The whole value must match; it is one of {', '.join(known)}."
    return None


class RouteSettings(Settings):
    """Which events go to which channels. Every route that matches applies, until one says stop."""

    name: Name
    match: tuple[Annotated[Matcher, PlainValidator(_matcher), WithJsonSchema({"type": "string"})], ...] = ()
    """All of these must fit: `field=value`, `field!=value`, `field=~regex`, `field!~regex`. None fits everything."""
    channels: tuple[str, ...] = Field(min_length=1)
    """Names of channels."""
    stop: bool = False
    """Whether the routes after this one are left out for an event that matches."""


def _route(value: object, info: ValidationInfo) -> Route:
    if isinstance(value, Route):
        return value
    found = RouteSettings.model_validate(value, context=info.context)
    return Route(name=found.name, match=found.match, channels=found.channels, stop=found.stop)


class DeliverySettings(Settings):
    """How hard delivery tries."""

    retry: tuple[Annotated[Duration, Field(ge=timedelta(0), le=timedelta(days=30))], ...] = Field(
        default=tuple(timedelta(seconds=seconds) for seconds in (5, 30, 300, 1800, 7200, 18000, 36000, 36000)),
        max_length=100,
    )
    """Waits between tries; after the last one a delivery is dead and waits for `notifier retry`."""
    lease: Duration = Field(default=timedelta(seconds=60), ge=timedelta(seconds=5), le=timedelta(hours=1))
    """How long a delivery belongs to the process that took it, and another waits after that process was killed. A
    quarter longer, at least, than any one try may last."""
    stop_within: Duration = Field(default=timedelta(seconds=10), ge=timedelta(0), le=timedelta(minutes=10))
    """How long a stop waits for receivers that have not answered; then their exchanges are cut, the outcome is unknown,
    and the next process finds out. The program ends within five seconds more."""


class AlertSettings(Settings):
    """What the program says of itself: that it cannot see a source, or cannot speak on a channel."""

    channels: tuple[str, ...] | None = None
    """Names of channels for the alerts that no route takes; absent: all. None is told of its own failure."""
    failing_after: Duration = Field(default=timedelta(minutes=5), ge=timedelta(seconds=10), le=timedelta(days=1))
    """How long a channel may fail before that is an alert. One that is misconfigured is one at once."""


class RetentionSettings(Settings):
    """How long is kept what is over; null keeps it for ever. What is pending or parked is always kept."""

    events: RetentionPeriod = timedelta(days=90)
    """Events, with their deliveries and attempts, once all of them are settled."""
    dead: RetentionPeriod = timedelta(days=180)
    """Deliveries that were given up on, with their events: at least as long as events."""
    tasks: RetentionPeriod = timedelta(days=90)
    """Tasks that have ended."""


class SlackChatSettings(Settings):
    """Look-ups from Slack."""

    mode: Literal["socket", "http"] = "socket"
    """`socket` needs no address of our own; `http` is called at /slack/commands and /slack/interactions."""
    app_token: SlackAppToken | None = None
    """Begins with xapp-. For socket mode."""
    signing_secret: AsciiSecret | None = None
    """Proves that a request is from Slack. For http mode."""
    bot_token: SlackBotToken | None = None
    """To learn people's languages and to send direct messages; absent: that of the first Slack channel with one."""
    api_url: HttpsUrl = "https://slack.com/api/"
    ca_file: CaFile = None
    """PEM file of authorities to trust for `api_url` besides the usual ones."""
    command: str = Field(default="/gaussdb", pattern=r"^/[a-z0-9_-]{1,31}$")
    """How replies name the command that people type."""
    allow: tuple[Annotated[str, Field(pattern=SLACK_ID_PATTERN)], ...] = ()
    """Ids of users (`U0123ABCD`) and user groups (`S0123ABCD`) who may acknowledge and mute; none given: all members of
    the workspaces below."""
    workspaces: tuple[Annotated[str, Field(pattern=SLACK_WORKSPACE_PATTERN)], ...] = ()
    """Ids of workspaces (`T0123ABCD`) and organizations (`E0123ABCD`) whose members are answered; none given: the bot's
    own. Who belongs to another one, in a channel that is shared with it, is told nothing."""
    guests: bool = False
    """Whether guests of these workspaces may acknowledge and mute too, where `allow` names nobody."""

    @model_validator(mode="after")
    def _mode_has_its_secret(self) -> Self:
        if self.mode == "socket" and self.app_token is None:
            raise setting_error("app_token", "is missing or empty; socket mode needs it.")
        if self.mode == "http" and self.signing_secret is None:
            raise setting_error("signing_secret", "is missing or empty; http mode needs it.")
        return self


class MattermostChatSettings(Settings):
    """Look-ups from Mattermost: a slash command that is called at /mattermost/commands."""

    token: AsciiSecret | None = None
    """Proves that a request is from Mattermost, which shows it once the slash command is made."""
    tokens: tuple[AsciiSecret, ...] = ()
    """More tokens: each slash command has one of its own, and so has each team."""
    allow: tuple[str, ...] = ()
    """Ids of the users who may acknowledge and mute. Whoever knows a token can claim to be any of them."""

    @model_validator(mode="after")
    def _has_a_token(self) -> Self:
        if not self.accepted:
            raise setting_error("token", "is missing or empty. Give token, or token_file with the path of a file.")
        if not all(self.tokens):
            raise setting_error("tokens", "must not hold an empty one.")
        return self

    @property
    def accepted(self) -> tuple[str, ...]:
        """All the tokens."""
        return tuple(token.get_secret_value() for token in (self.token, *self.tokens) if token)


class ChatSettings(Settings):
    """Where look-ups can be asked for."""

    slack: SlackChatSettings | None = None
    mattermost: MattermostChatSettings | None = None


class WebSettings(Settings):
    """The page, /api, /metrics, /healthz and /readyz."""

    listen: Annotated[str, AfterValidator(_address)] = "127.0.0.1:8080"
    """ADDRESS:PORT; port 0 takes a free one."""
    password: Secret | None = None
    """Required unless `listen` is a loopback address."""

    @property
    def host(self) -> str:
        """The address of `listen`."""
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        """The port of `listen`."""
        return split_address(self.listen)[1]

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _not_open_to_all(self) -> Self:
        if self.password is None and not self.loopback:
            raise setting_error("password", "is missing or empty; only a page on 127.0.0.1 goes without.")
        return self


class NetworkSettings(Settings):
    """Where connections may go. Link-local and metadata addresses are always out of reach."""

    allow: tuple[Network, ...] = ()
    """If any are given, only these networks may be reached."""
    deny: tuple[Network, ...] = ()
    """Networks that may not be reached."""
    proxy: HttpUrl | None = None
    """An HTTP proxy for all that speaks HTTP. Proxies in the environment are not looked at."""
    no_proxy: tuple[ProxyException, ...] = ()
    """What is reached without the proxy: hosts with all below them (`corp.example`), networks (`10.0.0.0/8`, for
    addresses that are written out), `*` for all. This machine always is."""
    ca_file: CaFile = None
    """PEM file of authorities to trust besides those of the operating system, everywhere."""

    @property
    def proxy_url(self) -> str | None:
        """The proxy's address, password included."""
        return self.proxy.get_secret_value() if self.proxy else None


class LogSettings(Settings):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is `console` on a terminal, else `json`: one object a line."""


def _needs_web(place: Loc, what: str, caller: str, otherwise: str) -> ValidationError:
    why = f"{what}needs the section web, for {caller} to call. Add web: {{listen: 127.0.0.1:8080}}{otherwise}."
    return ValidationError.from_exception_data("settings", [error_detail(place, why)], hide_input=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBudget:
    """What the sources of one credential may use together."""

    calls_per_minute: int
    sources: int

    @property
    def share(self) -> float:
        """Calls in a minute that each of them can count on."""
        return self.calls_per_minute / self.sources


class Config(Settings):
    """A whole configuration, valid in itself: names are unique and routes lead to channels that exist."""

    language: Literal["en", "zh"] = "en"
    """Of messages, mails and pages."""
    timezone: Timezone = "UTC"
    """For times that people read, for example Asia/Shanghai."""
    # Validated, not made here: what a relative path starts at is known only then.
    store: StoreSettings = Field(default_factory=dict, validate_default=True)
    sources: tuple[Source, ...] = Field(min_length=1)
    """The task lists to watch."""
    channels: tuple[Channel, ...] = ()
    """The ways to tell people."""
    routes: tuple[Annotated[Route, PlainValidator(_route), PlainSerializer(asdict), WithJsonSchema({})], ...] = ()
    """Who is told what."""
    delivery: DeliverySettings = DeliverySettings()
    alerts: AlertSettings = AlertSettings()
    retention: RetentionSettings = RetentionSettings()
    chat: ChatSettings = ChatSettings()
    web: WebSettings | None = None
    """Absent: no page is served."""
    console_url: Annotated[str, Field(pattern=r"^https?://[^\s<>|]+$", max_length=1000)] | None = (
        "https://console.huaweicloud.com/console/?region={region}#/home"
    )
    """What the button to the console opens; {region}, {project_id} and {instance_id} are filled in. null: no button."""
    network: NetworkSettings = NetworkSettings()
    log: LogSettings = LogSettings()
    heartbeat_url: HttpUrl | None = None
    """Fetched after every successful poll, so that silence can be noticed elsewhere."""
    heartbeat_fail_url: HttpUrl | None = None
    """Fetched instead while `notifier health` is red, and at once when that begins."""

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
    def _callback_has_web(self) -> Self:
        if self.web is None and self.chat.slack and self.chat.slack.mode == "http":
            raise _needs_web(("chat", "slack", "mode"), "http ", "Slack", ", or choose socket")
        if self.web is None and self.chat.mattermost:
            raise _needs_web(("chat", "mattermost"), "", "Mattermost", "")
        return self

    @property
    def alert_channels(self) -> tuple[str, ...]:
        """The channels for the alerts that no route takes."""
        named = self.alerts.channels
        return tuple(channel.name for channel in self.channels) if named is None else named

    @cached_property
    def call_budgets(self) -> Mapping[str, CallBudget]:
        """The budget of calls of each credential that sources use."""
        by_credential: dict[str, list[int]] = {}
        for source in self.sources:
            by_credential.setdefault(source.credential, []).append(source.calls_per_minute)
        return {
            credential: CallBudget(calls_per_minute=max(rates), sources=len(rates))
            for credential, rates in by_credential.items()
        }

    @property
    def expected(self) -> Expected:
        """What health is judged against."""
        return Expected(
            sources=tuple(
                ConfiguredSource(
                    name=source.name,
                    region=source.region,
                    project_id=source.project_id,
                    poll_every=source.poll_every,
                    calls_per_minute=self.call_budgets[source.credential].share,
                )
                for source in self.sources
            ),
            channels=tuple(channel.name for channel in self.channels),
            direct=self.slack_token is not None,
            chat=bool(self.chat.slack or self.chat.mattermost),
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
    def unused_sections(self) -> tuple[str, ...]:
        """Sections that are there and valid, for which this version has no function yet."""
        called = self.chat.mattermost or (self.chat.slack and self.chat.slack.mode == "http")
        return ("web",) if self.web and not called else ()
