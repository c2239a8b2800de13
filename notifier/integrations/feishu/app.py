"""A channel to a Feishu or Lark group through the bot of an enterprise's own app.

A task has one card, which changes as the task moves. Each step is posted in the card's thread. A loud step that needs
care, and the end of what it reported, is posted in the group too, because a change notifies nobody and a reply in a
thread reaches few. What the group shows of a step that needs care is a copy of the card, and changes with it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import structlog

from notifier.channels import rate_limits
from notifier.channels.access_tokens import AccessToken, NoAccessToken
from notifier.channels.base import PROBE_AFTER, ChannelContext, Json, encode_json, stored_body
from notifier.channels.http_channel import outcome_of_status
from notifier.channels.http_chat import ChatRequest, code_of
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.reply_rules import known_outcome
from notifier.channels.templates import FilledTemplate
from notifier.channels.token_chat import TokenChat
from notifier.core import dispatch
from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    GaveUp,
    Outcome,
    Parked,
    Retry,
    Thread,
    Unknown,
    delivery_id,
)
from notifier.http import HttpError
from notifier.integrations.feishu.messages import FEISHU, FeishuLayout, thread_step
from notifier.integrations.feishu.settings import FeishuSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.sanitize import one_line

_SERVICE = "feishu-app"
_TOKEN_CODES = frozenset({99991661, 99991663})
_SERVER_ERRORS = 500
_ID_LIMIT = 200
KEY_LIMIT = 50
"""Maximum length of the key by which Feishu recognises a repeat within an hour, in characters."""
CHATS_PAGE = 100
MAX_CHATS_PAGES = 10

log = structlog.get_logger(__name__)


class FeishuAppChannel(TokenChat[FeishuSettings]):
    """Posts to one group with the bot of an app."""

    kind = "feishu"
    markup = FEISHU
    tables = (_SERVICE,)
    replies_as = "bot"
    not_valid = "check app_id, app_secret and api_url, and the permission im:message:send_as_bot of the app"
    elsewhere = "api_url is the address of something else, or a login protects the network: check it from this host"
    storm_size = 200
    storm_room = 2_800

    def __init__(self, settings: FeishuSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.threads = self.coalesces = settings.threads
        self.edit_budget = sha256(f"feishu {settings.app_id}".encode()).hexdigest()[:16] if settings.live else None
        limit = rate_limits.rate_limit("feishu-edit")
        self.edit_pace = replace(self.pace, per_second=limit.per_second, burst=limit.burst)

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the card as JSON. Group and key are added when it is sent."""
        card = FeishuLayout(self.context.formatter).message(request, filled)
        return Body(content=encode_json(card), content_type="application/json")

    @property
    def address(self) -> str:
        """URL of the API for messages."""
        return f"{self.settings.api_url}/open-apis/im/v1/messages"

    # -- posting --

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once: in the thread of the task where there is one, in the group where that is gone or too quiet."""
        end, card = self.attempt_end(), json.loads(stored_body(delivery).content)
        aloud = self.settings.broadcast and dispatch.is_broadcast(delivery)
        if delivery.thread and not aloud:
            whole = delivery.events[0].type.traits.needs_care or delivery.storm is not None
            step = self._reply(delivery.thread, thread_step(card, whole=whole), delivery.id)
            outcome, reply = await self.ask(step, end)
            if reply is None or not self._refused(reply):
                return outcome
        outcome, _ = await self.ask(self._post(card, delivery.id), end)
        if not isinstance(outcome, Delivered):
            return outcome
        if delivery.thread and aloud:
            changes = self.edit_budget is not None and not delivery.ends_trouble
            return replace(outcome, copy=outcome.ref) if changes else outcome
        return replace(outcome, thread=outcome.ref) if self._begins_thread(delivery) else outcome

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request that posts the stored card in the group."""
        return self._post(json.loads(stored_body(delivery).content), delivery.id)

    def _begins_thread(self, delivery: Delivery) -> bool:
        if delivery.storm:
            return self.threads and delivery.storm.opened_by == delivery.id
        return self.threads and not delivery.digest and delivery.events[0].task is not None

    def _post(self, card: Json, key: str) -> ChatRequest:
        message = _message(card) | {"receive_id": self.settings.chat_id, "uuid": key[:KEY_LIMIT]}
        return ChatRequest(url=f"{self.address}?receive_id_type=chat_id", content=encode_json(message))

    def _reply(self, ref: str, card: Json, key: str) -> ChatRequest:
        message = _message(card) | {"reply_in_thread": True, "uuid": key[:KEY_LIMIT]}
        return ChatRequest(url=f"{self.address}/{ref}/reply", content=encode_json(message))

    # -- changing --

    async def show(self, thread: Thread) -> Outcome:
        """Change a card to its current state. A card that cannot be changed any more stays as it is."""
        return await self._change(thread, thread.ref)

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        """Change a copy of a card to the card's current state."""
        return await self._change(thread, ref)

    async def _change(self, thread: Thread, ref: str) -> Outcome:
        card = FeishuLayout(self.context.formatter).live(thread, self._filled_now(thread))
        content = encode_json({"content": _encoded(card)})
        request = ChatRequest(method="PATCH", url=f"{self.address}/{ref}", content=content)
        outcome, reply = await self.ask(request, self.attempt_end())
        if reply is not None and reply.succeeded and code_of(reply, "code") == 0:
            return Delivered(reply=outcome.reply)
        # Feishu says with many codes that a card cannot be changed: it is recalled, or older than 14 days.
        if reply is not None and self._refused(reply):
            return GaveUp(f"HTTP {reply.status}: code {code_of(reply, 'code')}", reply=outcome.reply)
        return outcome

    def _filled_now(self, thread: Thread) -> FilledTemplate:
        """Return what the templates make of the event that a card shows; log where one fails."""
        about = RenderRequest(
            delivery_id=delivery_id(self.name, thread.event.id),
            events=(thread.event,),
            routing=thread.routing,
            storm=thread.storm,
        )
        filled = self.filled(about)
        if filled.failure:
            self.log_failure(about, filled.failure)
        return filled

    # -- replies --

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the id of the posted message."""
        ref = value_at(reply.data, "data.message_id")
        posted = reply.succeeded and code_of(reply, "code") == 0 and isinstance(ref, str) and 0 < len(ref) <= _ID_LIMIT
        return Delivered(ref) if posted and ref.isascii() and ref.isprintable() and "/" not in ref else None

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means for the message. How long to wait stands in a header of Feishu's own."""
        wait = reply.headers.get("x-ogw-ratelimit-reset")
        if wait and "retry-after" not in reply.headers:
            reply = ParsedReply(reply.status, {**reply.headers, "retry-after": wait}, reply.body)
        outcome = super().outcome(reply, now)
        code = code_of(reply, "code")
        return Retry(f"HTTP {reply.status}: code {code}") if isinstance(outcome, Unknown) and code else outcome

    def _refused(self, reply: ParsedReply) -> bool:
        """Return whether Feishu refuses this request, and not for a reason that holds for others too."""
        if reply.status >= _SERVER_ERRORS or not code_of(reply, "code"):
            return False
        known = known_outcome(_SERVICE, reply, self.context.clock.now())
        return known is None or isinstance(known, GaveUp)

    # -- access tokens --

    def token_request(self) -> ChatRequest:
        """Return the request for a token."""
        secret = self.settings.app_secret.get_secret_value() if self.settings.app_secret else ""
        content = encode_json({"app_id": self.settings.app_id, "app_secret": secret})
        return ChatRequest(
            url=f"{self.settings.api_url}/open-apis/auth/v3/tenant_access_token/internal", content=content
        )

    def token_in(self, reply: ParsedReply) -> AccessToken | None:
        """Return the token in a reply."""
        token, seconds = value_at(reply.data, "tenant_access_token"), value_at(reply.data, "expire")
        if not reply.succeeded or code_of(reply, "code") != 0 or not isinstance(token, str):
            return None
        lifetime = seconds if isinstance(seconds, int | float) and 0 < seconds < 10**6 else 0
        usable = token and token.isascii() and token.isprintable()
        return AccessToken(token, timedelta(seconds=lifetime)) if usable else None

    def token_refused(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply without a token means."""
        if known := known_outcome(_SERVICE, reply, now):
            return known
        code = code_of(reply, "code")
        outcome = outcome_of_status(reply.status, reply.headers, now)
        if isinstance(outcome, GaveUp | Parked) or (isinstance(outcome, Delivered) and code):
            what = f"HTTP {reply.status}" + (f": code {code}" if code else "")
            return Parked(f"{what}; check app_id and app_secret", PROBE_AFTER)
        if isinstance(outcome, Delivered):
            return Unknown(f"HTTP {reply.status} without an access token")
        return outcome

    def refuses_token(self, reply: ParsedReply) -> bool:
        """Return whether a token is not valid (any more)."""
        return code_of(reply, "code") in _TOKEN_CODES

    def authorized(self, request: ChatRequest, token: str) -> ChatRequest:
        """Return a request with a token in its header."""
        return replace(request, headers={**request.headers, "authorization": f"Bearer {token}"})

    # -- check --

    async def check(self) -> Sequence[CheckResult]:
        """Fetch an access token, which proves the keys, and look for the group among those of the bot."""
        if (failed := await self.check_token("Feishu app")) is not None:
            return (failed,)
        token = CheckResult(ok=True, what="Feishu app", detail="app_id and app_secret are valid")
        return token, await self._check_group()

    async def _check_group(self) -> CheckResult:
        what, page, end = "Feishu group", "", self.attempt_end()
        for _ in range(MAX_CHATS_PAGES):
            reply = await self._chats(page, end)
            if reply is None or code_of(reply, "code") != 0:
                why = f"the groups of the bot cannot be listed{'' if reply is None else f' (HTTP {reply.status})'}"
                detail = f"{why}; only a message proves that it is in it: notifier test-send {self.name}"
                return CheckResult(ok=True, what=what, detail=detail, proven=False)
            items = value_at(reply.data, "data.items")
            for item in items if isinstance(items, list) else ():
                if value_at(item, "chat_id") == self.settings.chat_id:
                    return CheckResult(ok=True, what=what, detail=one_line(str(value_at(item, "name"))))
            page = str(value_at(reply.data, "data.page_token") or "")
            if not page:
                remedy = "add the bot to the group, or set chat_id to the ID of a group that it is in"
                detail = f"the bot is not in {self.settings.chat_id}"
                return CheckResult(ok=False, what=what, detail=detail, remedy=remedy)
        detail = f"not among the first {MAX_CHATS_PAGES * CHATS_PAGE} groups of the bot, and there are more"
        return CheckResult(ok=True, what=what, detail=detail, proven=False)

    async def _chats(self, page: str, end: float) -> ParsedReply | None:
        """Return a page of the groups of the bot; None where there is no reply."""
        url = f"{self.settings.api_url}/open-apis/im/v1/chats?page_size={CHATS_PAGE}"
        more = f"&page_token={page}" if page.isascii() and page.replace("_", "").replace("-", "").isalnum() else ""
        try:
            reply = await self.call(ChatRequest(method="GET", url=f"{url}{more}", content=b"", headers={}), end)
        except (HttpError, NoAccessToken):
            return None
        return ParsedReply(reply.status, reply.headers, reply.body)


def _message(card: Json) -> dict[str, Any]:
    return {"msg_type": "interactive", "content": _encoded(card)}


def _encoded(card: Json) -> str:
    return encode_json(card).decode()
