"""The contract of a channel, for the built-in kinds and for those of other packages.

A kind is two classes. Its channel class derives from `BaseChannel` and has `kind`, `render` (pure) and `send` (one
attempt, returns a decision). Its settings class derives from `notifier.channels.settings.ChannelSettings` and lives in
a light module of its own, because commands that only read a configuration import it. `notifier.channels.kinds` finds
both.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from notifier.channels.settings import ChannelSettings
from notifier.core.causes import CauseCatalogue
from notifier.core.delivery import Body, Delivery, Outcome, ResendPolicy, Unknown
from notifier.wording.causes import builtin_catalogue
from notifier.wording.events import EventFormatter
from notifier.wording.links import LinkTemplates

if TYPE_CHECKING:
    from notifier.http import HttpClient
    from notifier.ports import CheckResult, Clock, RenderRequest
    from notifier.wording.localizer import Localizer

PROBE_AFTER = timedelta(minutes=15)
"""Time after which a parked channel is tried again by itself."""

S = TypeVar("S", bound=ChannelSettings)
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelContext:
    """What the program provides to a channel."""

    http: HttpClient
    """Shared by the whole process: a channel does not close it."""
    clock: Clock
    localizer: Localizer
    """Texts and times in the language and time zone of the readers."""
    console_url: str | None = None
    """URL of an instance in the cloud's console, with {region}, {project_id} and {instance_id} to fill in."""
    runbook_url: str | None = None
    """URL of what to do about a failure; see `LinkTemplates.runbook_url`."""
    page_url: str | None = None
    """Address of our own pages; see `LinkTemplates.page_url`."""
    chat_tokens: frozenset[str] = field(default=frozenset(), repr=False)
    """Bot tokens of the apps whose button clicks reach this program."""
    chat_command: str = "/gaussdb"
    """Name of the chat's slash command, for messages that name commands."""
    causes: CauseCatalogue = field(default_factory=builtin_catalogue)
    """Explains the reasons of failed tasks: the built-in causes, after those of the configuration."""

    formatter: EventFormatter = field(init=False, repr=False)
    """Formats events for the readers of the channel. Equal contexts have equal ones."""

    def __post_init__(self) -> None:
        """Make the formatter."""
        links = LinkTemplates(console_url=self.console_url, runbook_url=self.runbook_url, page_url=self.page_url)
        object.__setattr__(self, "formatter", EventFormatter(self.localizer, self.causes, links))


class BaseChannel(ABC, Generic[S]):
    """Implements `ports.Channel` except for `kind`, `render` and `send`."""

    kind: ClassVar[str]
    Settings: ClassVar[type[ChannelSettings]]
    """Settings class of the kind. Set where the entry point names this class; see `notifier.channels.kinds`."""
    resend_policy: ResendPolicy = ResendPolicy.UNSAFE
    keeps_deadline: bool = False
    threads: bool = False
    storm_size: int = 100
    storm_room: int = 1_000_000
    coalesces: bool = False
    multi_recipient: bool = False
    tickets: bool = False
    edit_budget: str | None = None
    body_key: Hashable | None = None

    def __init__(self, settings: S, context: ChannelContext) -> None:
        self.settings = settings
        self.context = replace(context, http=context.http.with_ca_file(settings.ca_file))
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
        """Try once to send; see `ports.Channel.send`."""

    async def find_sent(self, delivery: Delivery) -> Outcome | None:  # noqa: ARG002 - a kind that can ask needs it
        """Return Unknown. A kind whose `resend_policy` is RECONCILABLE asks its service instead."""
        return Unknown(f"the {self.kind} channel has no way to ask")

    def render_problem(self, request: RenderRequest) -> str | None:  # noqa: ARG002 - a kind with templates needs it
        """Return why the template of the settings fails on this request; None where it does not."""
        return None

    async def check(self) -> Sequence[CheckResult]:
        """Return nothing. A kind that can prove something without sending overrides this."""
        return ()

    async def aclose(self) -> None:
        """Do nothing. A kind with connections of its own closes them."""


def stored_body(delivery: Delivery) -> Body:
    """Return the body to send. The caller of `send` has rendered and stored it."""
    if delivery.body is None:
        raise ValueError(f"delivery {delivery.id} was not rendered")
    return delivery.body


def json_body(value: object) -> Body:
    """Return a value as a body of JSON."""
    return Body(content=encode_json(value), content_type="application/json")


def encode_json(value: object) -> bytes:
    """Return a value as JSON, encoded for sending."""
    import msgspec  # noqa: PLC0415 - reading settings must not load it

    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a lone surrogate; sources remove them, but a channel must not depend on that
        plain = msgspec.to_builtins(value)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
