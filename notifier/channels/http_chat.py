"""The base of chats over HTTP whose success is the reply's own word for it: a code or a text in the body.

A status proves little there: services answer 200 and refuse in the body, and proxies answer 200 with a login page.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, TypeVar

from notifier.channels.base import PROBE_AFTER
from notifier.channels.http_channel import (
    MISCONFIGURED,
    HttpChannel,
    address_problem,
    outcome_of_error,
    outcome_of_status,
)
from notifier.channels.markup import Markup
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import known_outcome
from notifier.channels.settings import ChannelSettings
from notifier.channels.templated import TemplatedChannel
from notifier.core.delivery import Delivered, Delivery, Outcome, Parked, Unknown
from notifier.http import HttpError, ReplyTooLarge
from notifier.ports import CheckResult

S = TypeVar("S", bound=ChannelSettings)

JSON_TYPE: Mapping[str, str] = {"content-type": "application/json"}
PRINTED_LIMIT = 6_000
"""Maximum length of one value that a template prints, in the unit of the markup."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request to a chat. Its URL, headers and content may hold secrets and the time of the attempt."""

    url: str = field(repr=False)
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: JSON_TYPE, repr=False)
    method: str = "POST"


class HttpChat(TemplatedChannel[S], HttpChannel[S]):
    """Posts to a chat. A kind has its markup, `compose`, `request`, `address` and the reply that accepts a message."""

    markup: Markup
    rules: ClassVar[Sequence[str]] = ()
    """Tables of `reply_rules.toml` that apply after that of the kind: services share codes."""
    misconfigured: ClassVar[Collection[int]] = MISCONFIGURED
    """Statuses that park the channel, where no known reply explains them."""
    not_valid: ClassVar[str] = "the webhook is not valid: copy its URL again or make a new one"
    """What to do about `misconfigured`."""
    elsewhere: ClassVar[str] = (
        "webhook_url is the address of something else, or a login protects the server: check it from this host"
    )
    """What to do about a web page in place of a reply."""
    replies_as: ClassVar[str] = "webhook"
    """What replies otherwise, for reasons: `a webhook of mattermost`."""

    @abstractmethod
    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request of an attempt. What was rendered is sent as it is stored; only signatures are new."""

    @abstractmethod
    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return what the reply to a posted message says; None for every other reply."""

    @property
    @abstractmethod
    def address(self) -> str:
        """URL whose reply to GET shows whether something is there."""

    def escape(self, text: str) -> str:
        """Return the text in the markup, in which nothing is markup, a mention or a link."""
        return self.markup.plain(text, PRINTED_LIMIT)

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once."""
        return await self.post(self.request(delivery))

    async def post(self, request: ChatRequest) -> Outcome:
        """Send a request, and return what its reply means for the message."""
        now = self.context.clock.now
        try:
            reply = await self.exchange(request.method, request.url, headers=request.headers, content=request.content)
        except HttpError as error:
            return self.with_reply(self._outcome_of_error(error, now()), error)
        return self.with_reply(self.outcome(ParsedReply(reply.status, reply.headers, reply.body), now()), reply)

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means for the message."""
        if delivered := self.delivered(reply):
            return delivered
        for service in (self.kind, *self.rules):
            if known := known_outcome(service, reply, now):
                return known
        if reply.status in self.misconfigured:
            return Parked(f"HTTP {reply.status}; {self.not_valid}", PROBE_AFTER)
        if reply.succeeded and reply.is_page:
            return Parked(f"HTTP {reply.status} with a web page; {self.elsewhere}", PROBE_AFTER)
        if reply.succeeded:
            return Unknown(f"HTTP {reply.status}, but not the reply of a {self.replies_as} of {self.kind}")
        return outcome_of_status(reply.status, reply.headers, now)

    def _outcome_of_error(self, error: HttpError, now: datetime) -> Outcome:
        if isinstance(error, ReplyTooLarge):  # the chat never replies so much: something else does
            return self.outcome(ParsedReply(error.status, error.headers, error.body), now)
        return outcome_of_error(error, now, status_suffices=False)

    absent: ClassVar[Collection[int]] = (410,)
    """Statuses of a GET that mean that the webhook is gone. Many chats answer 404 to a GET at a valid webhook."""

    async def check(self) -> Sequence[CheckResult]:
        """Ask whether something answers. Only a message proves that it is the webhook."""
        try:
            status = await self.ask_status("GET", self.address)
        except HttpError as error:
            remedy = "check the address, the network and the proxy"
            return (CheckResult(ok=False, what=self.kind, detail=str(error), remedy=remedy),)
        if refused := address_problem(status, absent=self.absent):
            remedy = "check webhook_url"
            return (CheckResult(ok=False, what=self.kind, detail=f"HTTP {status} to GET: {refused}", remedy=remedy),)
        detail = f"answers; only a message proves that it is the webhook: notifier test-send {self.name}"
        return (CheckResult(ok=True, what=self.kind, detail=detail, proven=False),)
