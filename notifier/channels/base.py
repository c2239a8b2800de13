"""What every kind of channel stands on, built-in or from a package of somebody else.

A kind is a class that derives from `BaseChannel` and is named in the entry point group `notifier.channels`. It has
`kind`, `Settings`, `render` (pure) and `send` (one attempt, returns a decision).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, ClassVar, Generic, Literal, Protocol, TypeVar

from pydantic import Field

from notifier.channels import rate_limits as limits
from notifier.channels.rate_limits import Rate, RateLimit
from notifier.channels.reply_text import Secrets, http_reply, unpacked
from notifier.core.delivery import Body, Delivered, Delivery, GaveUp, Outcome, Parked, ResendPolicy, Retry, Unknown
from notifier.core.errors import ConfigurationError
from notifier.core.pacing import Pace
from notifier.core.retry import retry_after
from notifier.ports import CheckResult, Clock, RenderRequest
from notifier.settings.base import CaFile, Duration, Settings, secrets_in
from notifier.settings.explain import NAME_PATTERN, did_you_mean

if TYPE_CHECKING:
    # The configuration imports every kind in use to read its settings; it must not pay for the network stack.
    from notifier.http import HttpClient, HttpError
    from notifier.wording.formatter import Localizer

GROUP = "notifier.channels"
PROBE_AFTER = timedelta(minutes=15)
"""When a parked channel is tried again unasked."""

ChannelName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]


_PACE = Pace()


class BreakerSettings(Settings):
    """When a channel that fails is left alone, and for how long."""

    opens_after: int = Field(default=_PACE.opens_after, ge=1, le=1000)
    """Failures in a row after which nothing is sent but one message now and then, to probe."""
    probes: tuple[Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(hours=1))], ...] = Field(
        default=_PACE.probes, min_length=1, max_length=20
    )
    """Waits before the first, second … probe; the last one repeats."""


class ChannelSettings(Settings):
    """Fields that every kind has. A kind adds `kind: Literal["…"]` and its own."""

    name: ChannelName
    digest_above: Annotated[int, Field(ge=1)] | None = 20
    """More events than this in one poll become digests; null sends each event by itself."""
    digest_size: int = Field(default=100, ge=2, le=100)
    """Events that one digest names at most."""
    concurrency: int = Field(default=1, ge=1, le=256)
    """Messages about different tasks in flight at once."""
    on_unknown: Literal["resend", "hold"] = "resend"
    """What to do with a message that may have arrived, where there is no way to ask: send it again, or hold it
    until somebody decides with `notifier retry`."""
    rate: Rate | None = limits.AUTO
    """Messages in the long run, of all replicas together: `1/s`, `30/m`, `500/h`. `auto` is what the service bears,
    null is no limit."""
    burst: int | None = Field(default=None, ge=1, le=1000)
    """Messages at once after a rest; null is what the service bears."""
    breaker: BreakerSettings = BreakerSettings()
    """When the channel is left alone because it fails."""

    ca_file: CaFile = None
    """PEM file of authorities to trust besides those of the operating system and of `network.ca_file`."""

    @property
    def limit(self) -> RateLimit:
        """What the service bears: what `limits.toml` knows of the kind. A kind of your own may know better."""
        return limits.known(getattr(self, "kind", ""))

    @property
    def pace(self) -> Pace:
        """What is kept to: the service's limit, but for what is configured."""
        return Pace(
            per_second=self._per_second(),
            burst=self.burst or self.limit.burst,
            opens_after=self.breaker.opens_after,
            probes=self.breaker.probes,
        )

    def _per_second(self) -> float | None:
        if self.rate == limits.AUTO:
            return self.limit.per_second
        return limits.per_second(self.rate) if self.rate else None

    @property
    def deadline(self) -> timedelta:
        """How long one attempt takes at most: a kind's `timeout`, where it has one.

        With the look-up before it, where a kind has one.
        """
        timeout: timedelta = getattr(self, "timeout", timedelta(seconds=10))
        return timeout


S = TypeVar("S", bound=ChannelSettings)
OutcomeT = TypeVar("OutcomeT", bound=Outcome)


class PartialReply(Protocol):
    """A reply over HTTP, or as much of one as arrived."""

    @property
    def status(self) -> int | None:
        """None where not even a status line arrived."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Looked up by lower-case names."""

    @property
    def body(self) -> bytes:
        """The bytes as they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelContext:
    """What a channel is given to work with."""

    http: HttpClient
    """Shared with everything else: a channel does not close it."""
    clock: Clock
    localizer: Localizer
    """Neutral words for an event, in the language and time zone of the readers."""
    console_url: str | None = None
    """Where an instance is found in the console, with {region}, {project_id} and {instance_id} to be filled in."""
    chat_tokens: frozenset[str] = field(default=frozenset(), repr=False)
    """The bot tokens of the apps whose clicks this program hears of."""


class BaseChannel(ABC, Generic[S]):
    """Holds the settings and the tools; implements `ports.Channel` but for the three methods that make a kind."""

    kind: ClassVar[str]
    Settings: ClassVar[type[ChannelSettings]]
    resend_policy: ResendPolicy = ResendPolicy.UNSAFE
    threads: bool = False
    coalesces: bool = False
    multi_recipient: bool = False
    edits: str | None = None
    body_key: Hashable | None = None

    def __init__(self, settings: S, context: ChannelContext) -> None:
        self.settings = settings
        self.context = (
            replace(context, http=context.http.with_ca_file(settings.ca_file)) if settings.ca_file else context
        )
        self.name = settings.name
        self.concurrency = settings.concurrency
        self.deadline = settings.deadline.total_seconds()
        self.pace = settings.pace
        self.on_unknown = settings.on_unknown
        self.digest_above = settings.digest_above
        self.digest_size = settings.digest_size

    @abstractmethod
    def render(self, request: RenderRequest) -> Body:
        """Return the bytes to send; see `ports.Channel.render`."""

    @abstractmethod
    async def send(self, delivery: Delivery) -> Outcome:
        """Try once; see `ports.Channel.send`."""

    async def find_sent(self, delivery: Delivery) -> Outcome | None:  # noqa: ARG002 - a kind that can ask needs it
        """Say that there is no way to ask; a kind that has one, and whose `repeat` says so, asks."""
        return Unknown(f"the {self.kind} channel has no way to ask")

    def with_reply(self, outcome: OutcomeT, answer: PartialReply) -> OutcomeT:
        """Return the outcome with what the receiver replied, fit to be stored and shown; no secret of ours is in it.

        An answer is a reply over HTTP, or an error of `HttpClient.exchange`, which may have brought a part of one.
        """
        if answer.status is None:
            return outcome
        content_type = answer.headers.get("content-type", "")
        body = unpacked(answer.body, answer.headers.get("content-encoding", ""))
        return replace(outcome, reply=http_reply(answer.status, body, content_type, secrets=self.secrets))

    @cached_property
    def secrets(self) -> Secrets:
        """The secrets of its settings, to be masked where a reply repeats them."""
        return Secrets(secrets_in(self.settings.model_dump()))

    def render_problem(self, request: RenderRequest) -> str | None:  # noqa: ARG002 - a kind with templates needs it
        """Say why this notice would not be put into words as the settings want it; None where it would."""
        return None

    async def check(self) -> Sequence[CheckResult]:
        """Find nothing to prove; a kind that can prove something says so."""
        return ()

    async def aclose(self) -> None:
        """Release nothing; a kind with connections of its own closes them."""


def headline(request: RenderRequest, localizer: Localizer) -> str:
    """Return one line for people: what happened, or how much of what for a digest."""
    return (
        localizer.digest_headline(request.events) if request.digest else localizer.describe(request.events[0]).headline
    )


def stored_body(delivery: Delivery) -> Body:
    """Return what is to be sent. Whoever calls `send` has rendered and stored it before."""
    if delivery.body is None:
        raise ValueError(f"delivery {delivery.id} was not rendered")
    return delivery.body


# ---- finding kinds ----


def installed_kinds() -> Sequence[str]:
    """Return the names of all kinds that are installed."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load(kind: str) -> type[BaseChannel[ChannelSettings]]:
    """Import and return the class of a kind. Raises ConfigurationError that names the near ones."""
    found = {point.value: point for point in entry_points(group=GROUP, name=kind)}
    if not found:
        remedy = did_you_mean(kind, installed_kinds(), otherwise="Known kinds")
        raise ConfigurationError(f"unknown channel kind {kind!r}. {remedy}")
    if len(found) > 1:
        raise ConfigurationError(f"channel kind {kind!r} is claimed by {' and '.join(sorted(found))}; uninstall one")
    value, point = found.popitem()
    try:
        channel: type[BaseChannel[ChannelSettings]] = point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"channel kind {kind!r} cannot be loaded from {value}: {error}") from error
    return channel


# ---- rules that HTTP channels share ----

_RETRYABLE = frozenset({408, 425, 429})
_WRONG_CONTENT = frozenset({400, 413, 422})
_GONE = 410
MISCONFIGURED = frozenset({401, 403, 404, 405, _GONE})
"""A receiver that answers so to one message answers so to all, until somebody mends the URL or the credentials."""


def outcome_of_status(status: int, headers: Mapping[str, str], now: datetime) -> Outcome:
    """Return what a status means for the delivery.

    2xx only is success. A redirect is not followed and counts as a failure. What the receiver refuses for its
    content is final. What it refuses whatever the content parks the channel: receivers deploy bugs and mend them, so
    that it is probed. Other refusals are tried again.
    """
    reason = f"HTTP {status}"
    match status:
        case _ if 200 <= status < 300:  # noqa: PLR2004 - the class of success
            return Delivered()
        case _ if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
            return Retry(f"{reason}: redirect not followed")
        case _ if status in _WRONG_CONTENT:
            return GaveUp(reason)
        case _ if status in MISCONFIGURED:
            gone = status == _GONE
            what = "the receiver is gone" if gone else "check the URL and the credentials that the receiver wants"
            return Parked(f"{reason}: {what}", None if gone else PROBE_AFTER)
        case _ if status in _RETRYABLE or status >= 500:  # noqa: PLR2004 - the class of server errors
            return Retry(reason, retry_after(headers, now))
    return Retry(reason)


def address_problem(status: int, *, asked: Collection[int] = (404, 410)) -> str:
    """Return what an answer to a harmless question says is wrong with an address; empty where nothing is certain.

    `asked`: statuses by which the receiver says that nothing is there, whatever the method.
    """
    if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
        return "it redirects, and no redirect is followed: set the address that it leads to"
    if status == 407:  # noqa: PLR2004 - as the standard has it
        return "the proxy wants a user and a password"
    return "nothing is there" if status in asked else ""


def outcome_of_error(error: HttpError, now: datetime) -> Outcome:
    """Return what an exchange without a usable reply means for the delivery."""
    from notifier.http import AddressRefused, NotSent  # noqa: PLC0415 - see the imports above

    if isinstance(error, AddressRefused):
        return Parked(str(error), PROBE_AFTER)
    if isinstance(error, NotSent):
        return Retry(str(error))
    if error.status is not None:
        return outcome_of_status(error.status, error.headers, now)
    return Unknown(str(error))
