"""A Slack channel: posted to with a bot token, or through an incoming webhook, the degraded mode.

With a token a task has one message that is changed as the task moves; what happens to it is said in that message's
thread, and what must not be missed is shown in the channel too, for a change notifies nobody.

The text of a message is made in `messages`, and `errors` says what each answer means: both are pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from hashlib import sha256
from types import MappingProxyType
from typing import ClassVar, Protocol

import structlog

from notifier.channels import rate_limits as limits
from notifier.channels.base import ChannelContext, stored_body
from notifier.channels.http_channel import HttpChannel
from notifier.channels.reply_conditions import ParsedReply, decompressed
from notifier.channels.reply_rules import says_failed
from notifier.channels.reply_text import http_reply, reply_line
from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    GaveUp,
    Outcome,
    Parked,
    ResendPolicy,
    Retry,
    Thread,
    Unknown,
    delivery_id,
)
from notifier.core.events import NEEDS_CARE
from notifier.core.identity import MessageRef
from notifier.http import AddressRefused, HttpClient, HttpError, NotSent, ReplyTooLarge, partial_reply
from notifier.integrations.slack.api import MAX_REPLY, SlackResponse, WebApi, encoded
from notifier.integrations.slack.blockkit import Json
from notifier.integrations.slack.errors import (
    PROBE_AFTER,
    REMEDIES,
    ContentRefused,
    MessageGone,
    NextPage,
    channel_remedy,
    channel_verdict,
    error_text,
    find_in_history,
    history_remedy,
    is_failure,
    outcome_of,
    token_remedy,
)
from notifier.integrations.slack.messages import (
    as_plain_text,
    live,
    payload,
    replacement_message,
    reply,
    without_buttons,
)
from notifier.integrations.slack.settings import CHANNEL_ID, HISTORY_DELAY, SlackSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.sanitize import one_line

POST_SCOPE = "chat:write"
POST_PUBLIC_SCOPE = "chat:write.public"
"""With this a bot need not be in a public channel."""


CLOCK_SKEW = timedelta(minutes=1)
"""How far our clock may be ahead of Slack's: a look-up begins that long before the delivery was planned."""
PAGE_SIZE = 100
MAX_PAGES = 10
MAX_PAGE = 4 * 1024 * 1024
"""Bytes of one page of history: a hundred messages as long as they can be."""


log = structlog.get_logger(__name__)


def _unsent(error: HttpError) -> Outcome:
    if isinstance(error, AddressRefused):
        return Parked(str(error), PROBE_AFTER)
    return Retry(str(error)) if isinstance(error, NotSent) else Unknown(str(error))


# ---- the two modes ----


class Transport(Protocol):
    """A way to hand a message to Slack."""

    async def post(self, message: Json, deadline: float) -> SlackResponse:
        """Post and return the answer. Raises HttpError."""

    async def check(self, deadline: float) -> Sequence[CheckResult]:
        """Prove that posting could work, without posting. Raises HttpError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bot:
    """Posts with a bot token through the Web API."""

    api: WebApi
    channel: str
    cost: str
    """What it means that nothing can be looked up."""

    async def post(self, message: Json, deadline: float) -> SlackResponse:
        return await self.api.call("chat.postMessage", deadline, message | {"channel": self.channel})

    async def change(self, message: Json, ref: MessageRef, deadline: float) -> SlackResponse:
        """Make a message look like this one. Raises HttpError."""
        shown = {name: message.get(name, []) for name in ("text", "blocks", "attachments")}
        return await self.api.call("chat.update", deadline, shown | {"channel": ref.channel, "ts": ref.ts})

    async def history(
        self,
        deadline: float,
        *,
        oldest: datetime | None = None,
        thread: MessageRef | None = None,
        cursor: str = "",
        limit: int = PAGE_SIZE,
    ) -> SlackResponse:
        """Return a page of the channel's history since `oldest`, or of a thread's. Raises HttpError."""
        query = {
            "channel": thread.channel if thread else self.channel,
            "ts": (thread and thread.ts) or None,
            "include_all_metadata": "true",
            "limit": limit,
            "oldest": f"{oldest.timestamp():.6f}" if oldest else None,
            "cursor": cursor or None,
        }
        method = "conversations.replies" if thread else "conversations.history"
        return await self.api.call(method, deadline, query=query, max_bytes=MAX_PAGE)

    async def check(self, deadline: float) -> Sequence[CheckResult]:
        answer = await self.api.call("auth.test", deadline, {})
        if answer.data.get("ok") is not True:
            why = answer.code or f"HTTP {answer.status}"
            return (CheckResult(ok=False, what="Slack token", detail=why, remedy=token_remedy(answer.data)),)
        bot = one_line(str(answer.data.get("user", "?")))
        who = CheckResult(
            ok=True, what="Slack token", detail=f"@{bot} in {one_line(str(answer.data.get('team', '?')))}"
        )
        granted = answer.headers.get("x-oauth-scopes")
        scopes = None if granted is None else frozenset(re.split(r"[\s,]+", granted))
        if scopes is not None and POST_SCOPE not in scopes:
            return who, _missing_scope()
        return (who, *await self._check_channel(deadline, posts_anywhere=POST_PUBLIC_SCOPE in (scopes or ())))

    async def _check_channel(self, deadline: float, *, posts_anywhere: bool) -> Sequence[CheckResult]:
        """Ask about the channel and its history, as far as the bot may."""
        what = "Slack channel"
        if not CHANNEL_ID.fullmatch(self.channel):
            detail = f"{self.channel} is a name: only posting tells whether the bot may post there"
            remedy = "set `channel` to its ID, for example C0123ABCD"
            return (CheckResult(ok=True, what=what, detail=detail, remedy=remedy, proven=False),)
        info = await self.api.call("conversations.info", deadline, query={"channel": self.channel})
        history = await self.history(deadline, limit=1)
        found = channel_verdict(info, history, posts_anywhere=posts_anywhere)
        detail = f"{self.channel}: {found.detail}"
        if found.wrong:
            return (CheckResult(ok=False, what=what, detail=detail, remedy=channel_remedy(found.wrong)),)
        return (CheckResult(ok=True, what=what, detail=detail, proven=found.proven), self._reads(history))

    def _reads(self, history: SlackResponse) -> CheckResult:
        """Say whether messages can be looked up. Posting works without: what it costs is a repeat now and then."""
        what = "Slack look-up"
        if history.data.get("ok") is True:
            return CheckResult(ok=True, what=what, detail="what was posted can be looked up")
        detail = f"{history.code or f'HTTP {history.status}'}: {self.cost}"
        return CheckResult(
            ok=True, what=what, detail=detail, remedy=history_remedy(history, self.channel), proven=False
        )


def _missing_scope() -> CheckResult:
    remedy = f"add the bot scope {POST_SCOPE} under OAuth & Permissions and reinstall the app"
    return CheckResult(ok=False, what="Slack scopes", detail=f"{POST_SCOPE} is missing", remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Webhook:
    """Posts through an incoming webhook, whose answer is a word."""

    http: HttpClient
    url: str = field(repr=False)

    async def post(self, message: Json, deadline: float) -> SlackResponse:
        return await self._send({key: value for key, value in message.items() if key != "metadata"}, deadline)

    async def check(self, deadline: float) -> Sequence[CheckResult]:
        """Post an empty text: a webhook that works refuses just that."""
        answer = await self._send({"text": ""}, deadline)
        alive = answer.code in ("no_text", "invalid_payload") or answer.data.get("ok") is True
        if alive:
            return (CheckResult(ok=True, what="Slack webhook", detail="answers"),)
        why = answer.code or f"HTTP {answer.status}"
        return (
            CheckResult(ok=False, what="Slack webhook", detail=why, remedy=REMEDIES.get(answer.code, _HOOK_REMEDY)),
        )

    async def _send(self, message: Json, deadline: float) -> SlackResponse:
        try:
            reply = await self.http.exchange(
                "POST",
                self.url,
                headers={"content-type": "application/json"},
                content=encoded(message),
                deadline=deadline,
                max_bytes=MAX_REPLY,
            )
        except HttpError as error:
            reply = partial_reply(error)
        received = ParsedReply(reply.status, reply.headers, reply.body)
        return SlackResponse(status=reply.status, headers=reply.headers, data=_said(received), body=reply.body)


def _said(reply: ParsedReply) -> Json:
    """Return the answer of a webhook as the Web API would put it: any 2xx is good that does not say otherwise."""
    said = reply.data if isinstance(reply.data, dict) else {"error": reply.text}
    failed = bool(said.get("error")) if isinstance(reply.data, dict) else is_failure(reply.text)
    good = reply.succeeded and not (failed or reply.is_page or says_failed(reply))
    return {"ok": True} if good else said | {"ok": False}


_HOOK_REMEDY = "check the URL against the app's page Incoming Webhooks"


# ---- the channel ----


_SendCall = Callable[[Json, float], Awaitable[SlackResponse]]
"""How a message is handed over, within so many seconds. Raises HttpError."""


class SlackChannel(HttpChannel[SlackSettings]):
    """Posts to one Slack channel."""

    kind: ClassVar[str] = "slack"
    Settings = SlackSettings

    def __init__(self, settings: SlackSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.resend_policy = ResendPolicy.RECONCILABLE if settings.can_search else ResendPolicy.UNSAFE
        self.threads = self.coalesces = settings.threads
        token = settings.bot_token.get_secret_value() if settings.bot_token else ""
        self.edits = f"edits:{sha256(token.encode()).hexdigest()[:16]}" if settings.live else None
        limit = limits.rate_limit("slack-edit")
        self.edit_pace = replace(self.pace, per_second=limit.per_second, burst=limit.burst)
        self._clickable = bool(token) and token in context.chat_tokens

    def render(self, request: RenderRequest) -> Body:
        """Return the message as JSON; where it goes is added when it is sent."""
        message = payload(request, self.context.localizer, self.context.console_url)
        return Body(content=encoded(message), content_type="application/json")

    async def send(self, delivery: Delivery) -> Outcome:
        """Post once, in the thread of the task where there is one; in a new message where that is gone."""
        end = self._deadline_at(self.settings.timeout.total_seconds())
        message = json.loads(stored_body(delivery).content)
        if delivery.thread:
            outcome = await self._send_with_fallback(
                partial(self._reply, delivery, MessageRef.parse(delivery.thread)), message, end
            )
            if not isinstance(outcome, MessageGone):
                return outcome
        outcome = await self._send_with_fallback(self._post, message, end)
        if isinstance(outcome, Delivered) and self._begins_thread(delivery):
            return replace(outcome, thread=outcome.ref)
        return GaveUp(outcome.reason, reply=outcome.reply) if isinstance(outcome, MessageGone) else outcome

    async def show(self, thread: Thread) -> Outcome:
        """Make a message look as it should now; post it anew where it is gone."""
        end = self._deadline_at(self.settings.timeout.total_seconds())
        localizer, console_url = self.context.localizer, self.context.console_url
        message = live(thread, localizer, console_url)
        outcome = await self._send_with_fallback(partial(self._change, MessageRef.parse(thread.ref)), message, end)
        if not isinstance(outcome, MessageGone):
            return replace(outcome, ref=None) if isinstance(outcome, Delivered) else outcome
        log.warning("a message is gone; posting it anew", channel=self.name, job=thread.event.job_id)
        message = replacement_message(thread, delivery_id(self.name, thread.event.id), localizer, console_url)
        outcome = await self._send_with_fallback(self._post, message, end)
        if isinstance(outcome, Delivered):
            return replace(outcome, thread=outcome.ref)
        return GaveUp(outcome.reason, reply=outcome.reply) if isinstance(outcome, MessageGone) else outcome

    def _begins_thread(self, delivery: Delivery) -> bool:
        return self.threads and not delivery.digest and delivery.events[0].task is not None

    def _deadline_at(self, seconds: float) -> float:
        return self.context.clock.monotonic() + seconds

    async def _send_with_fallback(self, call: _SendCall, message: Json, end: float) -> Outcome | MessageGone:
        """Send a message in one of the ways below; once more as plain text where Slack refuses the layout."""
        message = message if self._clickable else without_buttons(message)
        outcome = await self._exchange(call, message, end)
        if isinstance(outcome, ContentRefused):
            log.warning("slack refused the layout; sending plain text", channel=self.name, reason=outcome.reason)
            outcome = await self._exchange(call, as_plain_text(message), end)
        if isinstance(outcome, ContentRefused):
            return GaveUp(f"{outcome.reason}, also as plain text", reply=outcome.reply)
        return outcome

    async def _exchange(self, call: _SendCall, message: Json, end: float) -> Outcome | ContentRefused | MessageGone:
        clock = self.context.clock
        try:
            answer = await call(message, end - clock.monotonic())
        except HttpError as error:
            return self.with_reply(_unsent(error), error)
        return replace(outcome_of(answer, clock.now()), reply=self._reply_line(answer))

    def _reply_line(self, answer: SlackResponse) -> str:
        said = "" if self.settings.webhook_url else error_text(answer)
        if said:
            return reply_line(f"HTTP {answer.status}", said, secrets=self.secrets)
        content_type = answer.headers.get("content-type", "")
        body = decompressed(answer.body, answer.headers.get("content-encoding", ""))
        return http_reply(answer.status, body, content_type, secrets=self.secrets)

    async def _post(self, message: Json, deadline: float) -> SlackResponse:
        return await self._transport.post(message, deadline)

    async def _reply(self, delivery: Delivery, thread: MessageRef, message: Json, deadline: float) -> SlackResponse:
        alert = delivery.events[0].type in NEEDS_CARE
        place = {"channel": thread.channel, "thread_ts": thread.ts} | (
            {"reply_broadcast": True} if alert and self.settings.broadcast else {}
        )
        return await self._bot.api.call("chat.postMessage", deadline, reply(message, whole=alert) | place)

    async def _change(self, ref: MessageRef, message: Json, deadline: float) -> SlackResponse:
        return await self._bot.change(message, ref, deadline)

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        """Search the history since the delivery was planned for the message that carries its id.

        That of the task's thread, where there is one, else the channel's.
        """
        if not self.settings.can_search:
            return Unknown("only a bot can look a message up, and only in a channel that is given by its ID")
        await self.context.clock.sleep(HISTORY_DELAY)
        end = self._deadline_at(self.settings.search_timeout.total_seconds())
        found: Outcome | MessageGone | None = MessageGone("no thread")
        if delivery.thread:
            found = await self._search(delivery, MessageRef.parse(delivery.thread), end)
        if isinstance(found, MessageGone):
            found = await self._search(delivery, None, end)
            if isinstance(found, Delivered) and self._begins_thread(delivery):
                return replace(found, thread=found.ref)
        return Unknown(found.reason) if isinstance(found, MessageGone) else found

    async def _search(self, delivery: Delivery, thread: MessageRef | None, end: float) -> Outcome | MessageGone | None:
        cursor = ""
        for _ in range(MAX_PAGES):
            found = await self._page(delivery, thread, cursor, end - self.context.clock.monotonic())
            if not isinstance(found, NextPage):
                return found
            cursor = found.cursor
        return Unknown(f"not among the first {MAX_PAGES * PAGE_SIZE} messages since it was planned, and there are more")

    async def _page(
        self, delivery: Delivery, thread: MessageRef | None, cursor: str, deadline: float
    ) -> Outcome | NextPage | MessageGone | None:
        oldest = delivery.created_at - CLOCK_SKEW
        try:
            answer = await self._bot.history(deadline, oldest=oldest, thread=thread, cursor=cursor)
        except (AddressRefused, ReplyTooLarge) as error:
            return Unknown(str(error))
        except HttpError as error:
            return Retry(f"looking for an earlier message, {error}")
        found = find_in_history(answer, delivery, self._bot.channel, self.context.clock.now())
        return replace(found, reply=self._reply_line(answer)) if isinstance(found, Retry | Unknown) else found

    async def check(self) -> Sequence[CheckResult]:
        """Ask Slack who the bot is and what it may do, or whether the webhook answers. Posts nothing."""
        seconds = self.settings.timeout.total_seconds()
        try:
            return await self._transport.check(seconds)
        except HttpError as error:
            remedy = "check the address, the network and the proxy"
            return (CheckResult(ok=False, what="Slack", detail=str(error), remedy=remedy),)

    @cached_property
    def _transport(self) -> Transport:
        url = self.settings.webhook_url
        return _Webhook(http=self.context.http, url=url.get_secret_value()) if url else self._bot

    @cached_property
    def _bot(self) -> _Bot:
        settings = self.settings
        token = settings.bot_token.get_secret_value() if settings.bot_token else ""
        api = WebApi(http=self.context.http, url=settings.api_url, token=token)
        return _Bot(api=api, channel=settings.channel or "", cost=_COSTS[self.on_unknown])


_COSTS: Mapping[str, str] = MappingProxyType(
    {
        "resend": "a message whose answer is lost is posted again, and may be seen twice",
        "hold": "a message whose answer is lost is held until somebody decides",
    }
)
