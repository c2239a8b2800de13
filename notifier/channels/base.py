"""The contract of a channel, for the built-in kinds and for those of other packages.

A kind is a class that derives from `BaseChannel` and has `kind`, `render` (pure) and `send` (one attempt, returns a
decision), and a settings class that derives from `notifier.channels.settings.ChannelSettings` and lives in a module of
its own: commands that only read a configuration import that one. `notifier.channels.kinds` finds both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from notifier.channels.settings import ChannelSettings
from notifier.core.delivery import Body, Delivery, Outcome, ResendPolicy, Unknown
from notifier.wording.formatter import MessageFormatter

if TYPE_CHECKING:
    from notifier.http import HttpClient
    from notifier.ports import CheckResult, Clock, RenderRequest
    from notifier.wording.localizer import Localizer

PROBE_AFTER = timedelta(minutes=15)
"""Time after which a parked channel is tried again by itself."""

S = TypeVar("S", bound=ChannelSettings)


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
    """Settings class of the kind. Set where the entry point names this class; see `notifier.channels.kinds`."""
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

    @classmethod
    def open(cls, settings: S, context: ChannelContext) -> BaseChannel[S]:
        """Return a channel for these settings. A kind with several classes chooses one here."""
        return cls(settings, context)

    @abstractmethod
    def render(self, request: RenderRequest) -> Body:
        """Return the bytes to send; see `ports.Channel.render`."""

    @abstractmethod
    async def send(self, delivery: Delivery) -> Outcome:
        """Try once; see `ports.Channel.send`."""

    async def find_sent(self, delivery: Delivery) -> Outcome | None:  # noqa: ARG002 - a kind that can ask needs it
        """Say that there is no way to ask; a kind that has one, and whose `resend_policy` says so, asks."""
        return Unknown(f"the {self.kind} channel has no way to ask")

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
        MessageFormatter(localizer).digest_headline(request.events)
        if request.digest
        else MessageFormatter(localizer).describe(request.events[0]).headline
    )


def stored_body(delivery: Delivery) -> Body:
    """Return what is to be sent. Whoever calls `send` has rendered and stored it before."""
    if delivery.body is None:
        raise ValueError(f"delivery {delivery.id} was not rendered")
    return delivery.body
