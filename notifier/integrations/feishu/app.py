"""A channel to a Feishu or Lark group through the bot of an enterprise's own app.

A task has one card, which changes as the task moves. Each step is posted in the card's thread. A loud step that needs
care, and the end of what it reported, is posted in the group too, because a change notifies nobody and a reply in a
thread reaches few. What the group shows of a step that needs care is a copy of the card, and changes with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from notifier.channels.access_tokens import AccessToken, NoAccessToken, stated_token
from notifier.channels.base import Json, encode_json, json_body
from notifier.channels.edited_chat import EditedChat
from notifier.channels.http_chat import Asked, ChatRequest, code_of
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.reply_rules import known_outcome
from notifier.channels.templates import FilledTemplate
from notifier.channels.token_chat import TokenChat
from notifier.core.delivery import (
    Body,
    Delivered,
    GaveUp,
    Outcome,
    Retry,
    Thread,
    Unknown,
)
from notifier.core.identity import MessageRef
from notifier.http import HttpError
from notifier.integrations.feishu.messages import FEISHU, FeishuLayout, short_card
from notifier.integrations.feishu.settings import FeishuSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.sanitize import one_line

_SERVICE = "feishu-app"
_TOKEN_CODES = frozenset({99991661, 99991663})
_SERVER_ERRORS = 500
_MESSAGE_ID = re.compile(r"[\w-]{1,200}", re.ASCII)
KEY_LIMIT = 50
"""Maximum length of the key by which Feishu recognises a repeat within an hour, in characters."""
CHATS_PAGE = 100
MAX_CHATS_PAGES = 10


class FeishuAppChannel(TokenChat[FeishuSettings], EditedChat[FeishuSettings]):
    """Posts to one group with the bot of an app."""

    kind = "feishu"
    markup = FEISHU
    edit_limit = "feishu-edit"
    tables = (_SERVICE,)
    credentials = "app_id and app_secret"
    replies_as = "bot"
    not_valid = "check app_id, app_secret and api_url, and the permission im:message:send_as_bot of the app"
    elsewhere = "api_url is the address of something else, or a login protects the network: check it from this host"
    storm_size = 200
    storm_room = 2_800

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the card as JSON. Group and key are added when it is sent."""
        card = FeishuLayout(self.context.formatter).message(request, filled)
        return json_body(card)

    @property
    def address(self) -> str:
        """URL of the API for messages."""
        return f"{self.settings.api_url}/open-apis/im/v1/messages"

    @property
    def budget_owner(self) -> str:
        """The app."""
        return str(self.settings.app_id)

    # -- requests --

    def post_request(self, message: Json, key: str) -> ChatRequest:
        """Return the request that posts a card in the group. Within an hour a key is posted once."""
        to = {"receive_id": self.settings.chat_id, "uuid": key[:KEY_LIMIT]}
        return ChatRequest(url=f"{self.address}?receive_id_type=chat_id", content=encode_json(_message(message) | to))

    def step_request(self, ref: str, message: Json, key: str) -> ChatRequest:
        """Return the request that posts a card in the thread of another one."""
        more = {"reply_in_thread": True, "uuid": key[:KEY_LIMIT]}
        return ChatRequest(url=f"{self._url_of(ref)}/reply", content=encode_json(_message(message) | more))

    def edit_request(self, ref: str, message: Json) -> ChatRequest:
        """Return the request that changes a card."""
        content = encode_json({"content": _encoded(message)})
        return ChatRequest(method="PATCH", url=self._url_of(ref), content=content)

    def _url_of(self, ref: str) -> str:
        return f"{self.address}/{MessageRef.parse(ref).ts}"

    def owns(self, ref: str) -> bool:
        """Return whether a card is in the group of the settings."""
        return MessageRef.parse(ref).channel == self.settings.chat_id

    def short(self, message: Json) -> Json:
        """Return a card with what happened alone."""
        return short_card(message)

    def live_message(self, thread: Thread, filled: FilledTemplate, *, replaces: bool) -> Json:  # noqa: ARG002 - never
        """Return the card that the message of a thread shows now."""
        return FeishuLayout(self.context.formatter).live(thread, filled)

    async def show(self, thread: Thread) -> Outcome:
        """Change a card to its current state. One that cannot be changed any more stays as it is.

        Feishu says so with many codes: it is recalled, or older than 14 days. The next event begins a new card.
        """
        if not self.owns(thread.ref):
            return GaveUp("the card is in another group")
        message = self.live_message(thread, self.filled_now(thread), replaces=False)
        outcome, _ = await self._edit(thread.ref, message, self.attempt_end())
        return outcome

    async def _edit(self, ref: str, message: Json, end: float) -> Asked:
        outcome, reply = await self.ask(self.edit_request(ref, message), end)
        if reply is not None and reply.succeeded and code_of(reply, "code") == 0:
            return Delivered(reply=outcome.reply), reply
        if reply is not None and self.gone(reply):
            return GaveUp(f"HTTP {reply.status}: code {code_of(reply, 'code')}", reply=outcome.reply), reply
        return outcome, reply

    # -- replies --

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the id of the posted message."""
        found = value_at(reply.data, "data.message_id")
        if not reply.succeeded or code_of(reply, "code") != 0 or not isinstance(found, str):
            return None
        return Delivered(str(MessageRef(str(self.settings.chat_id), found))) if _MESSAGE_ID.fullmatch(found) else None

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means for the message. How long to wait stands in a header of Feishu's own."""
        wait = reply.headers.get("x-ogw-ratelimit-reset")
        if wait and "retry-after" not in reply.headers:
            reply = ParsedReply(reply.status, {**reply.headers, "retry-after": wait}, reply.body)
        outcome = super().outcome(reply, now)
        code = code_of(reply, "code")
        return Retry(f"HTTP {reply.status}: code {code}") if isinstance(outcome, Unknown) and code else outcome

    def gone(self, reply: ParsedReply) -> bool:
        """Return whether Feishu refuses a request about this card, and not for a reason that holds for others too."""
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
        if not reply.succeeded or code_of(reply, "code") != 0:
            return None
        return stated_token(value_at(reply.data, "tenant_access_token"), value_at(reply.data, "expire"))

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
