"""The base of chats over HTTP whose success is the reply's own word for it: a code or a text in the body.

A status proves little there: services answer 200 and refuse in the body, and proxies answer 200 with a login page.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
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
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.reply_rules import known_outcome
from notifier.channels.settings import ChannelSettings
from notifier.channels.templated import TemplatedChannel
from notifier.core.delivery import Delivered, Delivery, Outcome, Parked, Unknown
from notifier.core.retry import http_date
from notifier.http import HttpError, Reply, ReplyTooLarge
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


Asked = tuple[Outcome, ParsedReply | None]
"""What a reply means for the message, and the reply where there is one."""

_SHORTEST = 0.001
"""Time of a request for which none is left, in seconds: it fails as one whose time is over."""


class HttpChat(TemplatedChannel[S], HttpChannel[S]):
    """Posts to a chat. A kind has its markup, `compose`, `request`, `address` and the reply that accepts a message."""

    markup: Markup
    tables: ClassVar[Sequence[str]] = ()
    """Tables of `reply_rules.toml`; the first row of them that fits a reply decides. Default: that of the kind."""
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
        return (await self.ask(request, self.attempt_end()))[0]

    def attempt_end(self) -> float:
        """Return the time on the monotonic clock at which an attempt that begins now has to end."""
        return self.context.clock.monotonic() + self.deadline

    async def ask(self, request: ChatRequest, end: float) -> Asked:
        """Send a request until `end`. Return what its reply means, and the reply where there is one."""
        now = self.context.clock.now
        try:
            reply = await self.call(request, end)
        except HttpError as error:
            return self.with_reply(self.outcome_of_error(error, now()), error), None
        parsed = ParsedReply(reply.status, reply.headers, reply.body)
        return self.with_reply(self.outcome(parsed, now()), reply), parsed

    async def call(self, request: ChatRequest, end: float) -> Reply:
        """Return the reply to a request that has to come until `end`. Raises HttpError."""
        left = max(end - self.context.clock.monotonic(), _SHORTEST)
        content = request.content or None
        return await self.exchange(request.method, request.url, headers=request.headers, content=content, deadline=left)

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means for the message."""
        if delivered := self.delivered(reply):
            return delivered
        for service in self.tables or (self.kind,):
            if known := known_outcome(service, reply, now):
                return known
        if reply.status in self.misconfigured:
            return Parked(f"HTTP {reply.status}; {self.not_valid}", PROBE_AFTER)
        if reply.succeeded and reply.is_page:
            return Parked(f"HTTP {reply.status} with a web page; {self.elsewhere}", PROBE_AFTER)
        if reply.succeeded:
            return Unknown(f"HTTP {reply.status}, but not the reply of a {self.replies_as} of {self.kind}")
        return outcome_of_status(reply.status, reply.headers, now)

    def outcome_of_error(self, error: HttpError, now: datetime) -> Outcome:
        """Return what an exchange without a usable reply means for the message."""
        if isinstance(error, ReplyTooLarge):  # the chat never replies so much: something else does
            return self.outcome(ParsedReply(error.status, error.headers, error.body), now)
        return outcome_of_error(error, now, status_suffices=False)

    # -- check --

    absent: ClassVar[Collection[int]] = (410,)
    """Statuses of a GET that mean that the webhook is gone. Many chats answer 404 to a GET at a valid webhook."""

    def probe(self) -> ChatRequest:
        """Return a request that posts nothing, and whose reply may prove that something is wrong."""
        return ChatRequest(method="GET", url=self.address, content=b"", headers={})

    def probe_problem(self, reply: ParsedReply) -> tuple[str, str] | None:
        """Return what the reply to `probe` proves to be wrong, and the remedy; None where it proves nothing."""
        if refused := address_problem(reply.status, absent=self.absent):
            return f"HTTP {reply.status} to GET: {refused}", "check webhook_url"
        return None

    def parked_problem(self, reply: ParsedReply, *, proven: bool) -> tuple[str, str] | None:
        """Return why a reply to `probe` parks the channel, and the remedy; None where it does not.

        `proven` is whether the code of a reply that was accepted is about more than the empty message.
        """
        outcome = self.outcome(reply, self.context.clock.now())
        if not isinstance(outcome, Parked) or (reply.succeeded and not proven):
            return None
        detail, _, remedy = outcome.reason.partition("; ")
        return detail, remedy

    def failed_check(self, what: str, reply: ParsedReply) -> CheckResult:
        """Return the result of a check that a reply ended."""
        outcome = self.outcome(reply, self.context.clock.now())
        detail, _, remedy = (outcome.reason or f"HTTP {reply.status}").partition("; ")
        return CheckResult(ok=False, what=what, detail=detail, remedy=remedy or self.not_valid)

    async def check(self) -> Sequence[CheckResult]:
        """Ask whether something answers. Only a message proves that it is the webhook."""
        try:
            reply = await self._ask(self.probe())
        except HttpError as error:
            remedy = "check the address, the network and the proxy"
            return (CheckResult(ok=False, what=self.kind, detail=str(error), remedy=remedy),)
        if problem := self.probe_problem(reply):
            return (CheckResult(ok=False, what=self.kind, detail=problem[0], remedy=problem[1]),)
        detail = f"answers; only a message proves that it is the webhook: notifier test-send {self.name}"
        return (CheckResult(ok=True, what=self.kind, detail=detail, proven=False),)

    async def _ask(self, request: ChatRequest) -> ParsedReply:
        """Return the reply to a harmless request, or what arrived of it. Raises HttpError where nothing did."""
        try:
            reply = await self.call(request, self.attempt_end())
        except HttpError as error:
            if error.status is None:
                raise
            return ParsedReply(error.status, error.headers, error.body)
        return ParsedReply(reply.status, reply.headers, reply.body)


def code_of(reply: ParsedReply, place: str) -> int | None:
    """Return the number at a place of a reply's JSON; None where there is none."""
    value = value_at(reply.data, place)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


SIGNATURE_CLOCK_TOLERANCE = timedelta(minutes=50)
"""Difference between our clock and a reply's `Date` above which a refused signature is due to the clock. Services
accept signatures that are up to an hour old."""


def due_to_clock(
    outcome: Outcome, reply: ParsedReply, now: datetime, tolerance: timedelta = SIGNATURE_CLOCK_TOLERANCE
) -> Outcome:
    """Return the outcome of a refused signature. Its remedy is the clock where the reply proves that ours is wrong."""
    date = http_date(reply.headers.get("date", ""))
    if date is None or abs(date - now) <= tolerance or not isinstance(outcome, Parked):
        return outcome
    wrong = f"the clock of this host is wrong: the service has {date:%Y-%m-%d %H:%M:%S} UTC"
    return replace(outcome, reason=f"{outcome.reason.partition('; ')[0]}; {wrong}")
