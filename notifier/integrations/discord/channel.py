"""A channel to Discord through a webhook, and what both ways to post share.

A webhook changes its own messages and begins no threads: a step is a line in the channel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

from notifier import __version__
from notifier.channels.base import ChannelContext, Json, encode_json, json_body
from notifier.channels.edited_chat import EditedChat
from notifier.channels.http_chat import Asked, ChatRequest, code_of
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Outcome, Parked, Retry, Thread
from notifier.core.identity import MessageRef
from notifier.http import HttpError
from notifier.integrations.discord.messages import DISCORD, DiscordLayout, short
from notifier.integrations.discord.settings import DiscordSettings
from notifier.ports import CheckResult
from notifier.wording.sanitize import one_line

if TYPE_CHECKING:
    from notifier.integrations.discord.bot import DiscordBotChannel
    from notifier.ports import RenderRequest

UNKNOWN_CHANNEL = 10003
UNKNOWN_MESSAGE = 10008
_WEBHOOK_GONE = frozenset({10015, 50027})
"""Codes of a webhook that never comes back. Discord restricts addresses that go on using one."""
_RATE_LIMITED = 429
_SNOWFLAKE = re.compile(r"[0-9]{1,20}")
_LONGEST_PAUSE = 3600.0
"""Maximum pause that a header may ask for, in seconds."""
HEADERS = {
    "content-type": "application/json",
    "User-Agent": f"DiscordBot (gaussdb-notifier, {__version__})",
}
"""Headers of every request; Discord wants programs to name themselves in this form."""


class DiscordSender(EditedChat[DiscordSettings]):
    """The part that both ways to post share: messages, replies and rate limits."""

    kind = "discord"
    markup = DISCORD
    edit_limit = "discord-edit"
    storm_size = 100
    storm_room = 4_500

    def __init__(self, settings: DiscordSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self._free_at: Mapping[str, float] = {}
        """Time on the monotonic clock before which Discord takes no request of a kind."""

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON."""
        message = DiscordLayout(self.context.formatter).message(request, filled)
        return json_body(message)

    def short(self, message: Json) -> Json:
        """Return what happened alone, in one line."""
        return short(message)

    def live_message(self, thread: Thread, filled: FilledTemplate, *, replaces: bool) -> Json:
        """Return what the message of a thread shows now."""
        return DiscordLayout(self.context.formatter).live(thread, filled, replaces=replaces)

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the channel and the id of the posted message. Without `wait` there would be none."""
        ref = MessageRef(channel=_snowflake(reply, "channel_id"), ts=_snowflake(reply, "id"))
        return Delivered(str(ref)) if reply.succeeded and ref.ts and ref.channel else None

    def owns(self, ref: str) -> bool:
        """Return whether a reference has the form that messages of Discord have."""
        at = MessageRef.parse(ref)
        return _is_snowflake(at.channel) and _is_snowflake(at.ts)

    def gone(self, reply: ParsedReply) -> bool:
        """Return whether a reply says that a message does not exist (any more)."""
        return code_of(reply, "code") == UNKNOWN_MESSAGE

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means for the message. How long to wait stands in the body, to the millisecond."""
        wait = value_at(reply.data, "retry_after")
        usable = isinstance(wait, int | float) and not isinstance(wait, bool) and 0 <= wait <= _LONGEST_PAUSE
        if reply.status == _RATE_LIMITED and usable and "retry-after" not in reply.headers:
            reply = ParsedReply(reply.status, {**reply.headers, "retry-after": str(wait)}, reply.body)
        outcome = super().outcome(reply, now)
        gone = isinstance(outcome, Parked) and code_of(reply, "code") in _WEBHOOK_GONE
        return replace(outcome, probe_after=None) if isinstance(outcome, Parked) and gone else outcome

    async def ask(self, request: ChatRequest, end: float) -> Asked:
        """Send a request, unless Discord said before that it would be one too many."""
        now, bucket = self.context.clock.monotonic, _bucket(request)
        if (left := self._free_at.get(bucket, 0.0) - now()) > 0:
            return Retry("the rate limit of Discord is used up", timedelta(seconds=left)), None
        outcome, reply = await super().ask(request, end)
        if reply is not None and reply.headers.get("x-ratelimit-remaining") == "0":
            pause = _seconds(reply.headers.get("x-ratelimit-reset-after", ""))
            waiting = {name: at for name, at in self._free_at.items() if at > now()}
            self._free_at = {**waiting, bucket: now() + pause}
        return outcome, reply

    async def look(self, what: str, url: str, remedy: str, **headers: str) -> ParsedReply | CheckResult:
        """Return the reply to a GET that succeeded, or what is wrong."""
        request = ChatRequest(method="GET", url=url, content=b"", headers={**HEADERS, **headers})
        try:
            reply = await self._ask(request)
        except HttpError as error:
            remedy = "check the address, the network and the proxy"
            return CheckResult(ok=False, what=what, detail=str(error), remedy=remedy)
        if reply.succeeded and isinstance(reply.data, dict) and _snowflake(reply, "id"):
            return reply
        outcome = self.outcome(reply, self.context.clock.now())
        if isinstance(outcome, Parked):
            detail, _, known = outcome.reason.partition("; ")
            return CheckResult(ok=False, what=what, detail=detail, remedy=known or remedy)
        detail = f"HTTP {reply.status}, which proves nothing"
        return CheckResult(ok=True, what=what, detail=detail, proven=False)


class DiscordChannel(DiscordSender):
    """Posts through a webhook."""

    @classmethod
    def open(cls, settings: DiscordSettings, context: ChannelContext) -> Self | DiscordBotChannel:
        """Return a channel for these settings: through a webhook, or with a bot."""
        from notifier.integrations.discord.bot import DiscordBotChannel  # noqa: PLC0415 - it derives from this module

        return cls(settings, context) if settings.webhook_url else DiscordBotChannel(settings, context)

    @property
    def address(self) -> str:
        """URL of the webhook."""
        return self.settings.webhook_url.get_secret_value() if self.settings.webhook_url else ""

    @property
    def budget_owner(self) -> str:
        """The webhook: Discord limits each by itself."""
        return self.address

    def post_request(self, message: Json, key: str) -> ChatRequest:  # noqa: ARG002 - webhooks have no keys
        """Return the request that posts a message, and waits until Discord has stored it."""
        return ChatRequest(url=self._url(wait="true"), content=encode_json(message), headers=HEADERS)

    def step_request(self, ref: str, message: Json, key: str) -> ChatRequest:  # noqa: ARG002 - see below
        """Return the request that posts a step as a line in the channel: a webhook begins no threads."""
        return self.post_request(message, key)

    def edit_request(self, ref: str, message: Json) -> ChatRequest:
        """Return the request that changes a message."""
        url = self._url(f"/messages/{MessageRef.parse(ref).ts}")
        return ChatRequest(method="PATCH", url=url, content=encode_json(message), headers=HEADERS)

    def _url(self, suffix: str = "", **query: str) -> str:
        parts = urlsplit(self.address)
        if self.settings.thread_id:
            query["thread_id"] = self.settings.thread_id
        asked = "&".join(filter(None, (parts.query, urlencode(query))))
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}{suffix}", query=asked))

    async def check(self) -> Sequence[CheckResult]:
        """Ask for the webhook, which proves that it exists. It may post wherever it is."""
        remedy = "copy the URL of the webhook again or make a new one"
        found = await self.look("Discord webhook", self.address, remedy)
        if isinstance(found, CheckResult):
            return (found,)
        return (CheckResult(ok=True, what="Discord webhook", detail=one_line(str(value_at(found.data, "name")))),)


def _snowflake(reply: ParsedReply, place: str) -> str:
    """Return an id at a place of a reply; the empty string where there is none."""
    value: Any = value_at(reply.data, place)
    return value if isinstance(value, str) and _is_snowflake(value) else ""


def _is_snowflake(text: str) -> bool:
    return bool(_SNOWFLAKE.fullmatch(text))


def _bucket(request: ChatRequest) -> str:
    """Return what Discord counts a request with: those of its method to the same channel or webhook."""
    return f"{request.method} {request.url.partition('?')[0].rpartition('/')[0]}"


def _seconds(text: str) -> float:
    """Return the seconds that a header has, at most an hour; 0 for what is none."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(max(value, 0.0), _LONGEST_PAUSE) if math.isfinite(value) else 0.0
