"""A channel to a chat of Telegram with a bot.

A step of a task is a reply to its message, without a sound. A loud one has a sound, and changes with the message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import structlog

from notifier.channels.base import ChannelContext, Json, encode_json, json_body
from notifier.channels.edited_chat import EditedChat
from notifier.channels.http_chat import Asked, ChatRequest, code_of
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Outcome, Parked, Thread
from notifier.core.identity import MessageRef
from notifier.http import HttpError
from notifier.integrations.telegram.messages import TELEGRAM, TelegramLayout, short, without_markup
from notifier.integrations.telegram.settings import TelegramSettings
from notifier.ports import CheckResult
from notifier.wording.sanitize import one_line

if TYPE_CHECKING:
    from notifier.ports import RenderRequest

_REFUSED = 400
_UNCHANGED = "message is not modified"
_GONE = ("message to edit not found", "message to be replied not found", "MESSAGE_ID_INVALID")
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_LAYOUT = "can't parse entities"

log = structlog.get_logger(__name__)


class TelegramChannel(EditedChat[TelegramSettings]):
    """Posts to one chat."""

    kind = "telegram"
    markup = TELEGRAM
    edit_limit = "telegram-edit"
    replies_as = "bot"
    not_valid = "check bot_token and chat_id, and that the bot may post there"
    elsewhere = "api_url is the address of something else, or a login protects the network: check it from this host"
    storm_size = 80
    storm_room = 2_200

    def __init__(self, settings: TelegramSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self._chat = settings.chat_id

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON. The chat is added when it is sent."""
        silent = self.settings.quiet and not request.severity.loud
        message = TelegramLayout(self.context.formatter).message(request, filled, silent=silent)
        return json_body(message)

    @property
    def address(self) -> str:
        """URL of a method that changes nothing."""
        return self._url("getMe")

    @property
    def budget_owner(self) -> str:
        """The bot."""
        return self.settings.bot_token.get_secret_value()

    def _url(self, method: str) -> str:
        return f"{self.settings.api_url}/bot{self.settings.bot_token.get_secret_value()}/{method}"

    # -- requests --

    def post_request(self, message: Json, key: str) -> ChatRequest:  # noqa: ARG002 - Telegram knows no keys
        """Return the request that posts a message."""
        return self._send(message)

    def step_request(self, ref: str, message: Json, key: str) -> ChatRequest:  # noqa: ARG002 - as above
        """Return the request that posts a reply to a message without a sound."""
        return self._send(message | {"disable_notification": True} | _reply_to(ref))

    def loud_request(self, ref: str, message: Json, key: str) -> ChatRequest:  # noqa: ARG002 - as above
        """Return the request that posts a reply to a message with a sound."""
        return self._send(message | {"disable_notification": False} | _reply_to(ref))

    def edit_request(self, ref: str, message: Json) -> ChatRequest:
        """Return the request that changes a message."""
        at = MessageRef.parse(ref)
        return self._call("editMessageText", message | {"chat_id": at.channel, "message_id": int(at.ts)})

    def _send(self, message: Json) -> ChatRequest:
        topic = {"message_thread_id": self.settings.topic_id} if self.settings.topic_id else {}
        return self._call("sendMessage", message | {"chat_id": self._chat} | topic)

    def _call(self, method: str, body: Json) -> ChatRequest:
        return ChatRequest(url=self._url(method), content=encode_json(body))

    def short(self, message: Json) -> Json:
        """Return what happened alone, in one line."""
        return short(message)

    def live_message(self, thread: Thread, filled: FilledTemplate, *, replaces: bool) -> Json:
        """Return what the message of a thread shows now."""
        return TelegramLayout(self.context.formatter).live(thread, filled, replaces=replaces)

    # -- replies --

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the chat and the id of the message. A change that changes nothing has been made."""
        if reply.status == _REFUSED and _UNCHANGED in _description(reply):
            return Delivered()
        chat, message = code_of(reply, "result.chat.id"), code_of(reply, "result.message_id")
        posted = reply.succeeded and value_at(reply.data, "ok") is True
        return Delivered(str(MessageRef(str(chat), str(message)))) if posted and chat and message else None

    def owns(self, ref: str) -> bool:
        """Return whether a reference is of a message of this chat: each chat numbers its messages from 1."""
        at = MessageRef.parse(ref)
        here = at.channel == self._chat or (self._chat.startswith("@") and _NUMBER.fullmatch(at.channel) is not None)
        return here and at.ts.isascii() and at.ts.isdigit()

    def gone(self, reply: ParsedReply) -> bool:
        """Return whether a reply says that a message does not exist (any more)."""
        return reply.status == _REFUSED and any(words in _description(reply) for words in _GONE)

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means. How long to wait stands in the body."""
        wait = code_of(reply, "parameters.retry_after")
        if wait is not None and wait >= 0 and "retry-after" not in reply.headers:
            reply = ParsedReply(reply.status, {**reply.headers, "retry-after": str(wait)}, reply.body)
        return super().outcome(reply, now)

    async def ask(self, request: ChatRequest, end: float) -> Asked:
        """Send a request; once more where its layout is refused, or its group has got a new id."""
        outcome, reply = await super().ask(request, end)
        changed = self._changed(json.loads(request.content or b"{}"), reply) if reply is not None else None
        return await super().ask(replace(request, content=encode_json(changed)), end) if changed else (outcome, reply)

    def _changed(self, body: Json, reply: ParsedReply) -> Json | None:
        """Return the body to send instead of a refused one; None where a reply asks for none."""
        if moved := code_of(reply, "parameters.migrate_to_chat_id"):
            msg = "the group has a new id, which is used until the program ends: set chat_id to it"
            log.warning("telegram.chat_moved", msg=msg, channel=self.name, chat_id=moved)
            self._chat = str(moved)
            return {name: value for name, value in body.items() if name != "reply_parameters"} | {"chat_id": moved}
        if reply.status == _REFUSED and _LAYOUT in _description(reply) and "parse_mode" in body:
            log.warning("telegram.layout_refused", msg="sending plain text", channel=self.name)
            return without_markup(body)
        return None

    # -- check --

    async def check(self) -> Sequence[CheckResult]:
        """Ask who the bot is, for the chat, and what the bot may do there."""
        try:
            me = await self._get("getMe")
            bot = value_at(me.data, "result.username")
            if not _ok(me) or not isinstance(bot, str):
                return (self._failed("Telegram bot", me, "check bot_token: BotFather shows it"),)
            found = CheckResult(ok=True, what="Telegram bot", detail=f"@{one_line(bot)}")
            return found, await self._check_chat(code_of(me, "result.id") or 0)
        except HttpError as error:
            remedy = "check api_url, the network and the proxy"
            return (CheckResult(ok=False, what="Telegram", detail=str(error), remedy=remedy),)

    async def _check_chat(self, bot: int) -> CheckResult:
        """Return whether the bot may post to the chat. Raises HttpError."""
        what = "Telegram chat"
        chat = await self._get("getChat", chat_id=self._chat)
        if not _ok(chat):
            return self._failed(what, chat, "check chat_id, and let the bot into the chat")
        kind, name = (value_at(chat.data, f"result.{key}") for key in ("type", "title"))
        if kind == "private":
            return CheckResult(ok=True, what=what, detail="a chat with a person")
        title = one_line(str(name))
        if self.settings.topic_id and value_at(chat.data, "result.is_forum") is not True:
            return CheckResult(ok=False, what=what, detail=f"{title} has no topics", remedy="leave topic_id out")
        member = await self._get("getChatMember", chat_id=self._chat, user_id=str(bot))
        if not _ok(member):
            detail = f"{title}; only a message proves that the bot may post there: notifier test-send {self.name}"
            return CheckResult(ok=True, what=what, detail=detail, proven=False)
        if problem := _problem(member, is_channel=kind == "channel"):
            return CheckResult(ok=False, what=what, detail=f"{title}: {problem[0]}", remedy=problem[1])
        return CheckResult(ok=True, what=what, detail=title)

    async def _get(self, method: str, **query: str) -> ParsedReply:
        url = f"{self._url(method)}?{urlencode(query)}" if query else self._url(method)
        return await self._ask(ChatRequest(method="GET", url=url, content=b"", headers={}))

    def _failed(self, what: str, reply: ParsedReply, remedy: str) -> CheckResult:
        outcome = self.outcome(reply, self.context.clock.now())
        reason = outcome.reason if isinstance(outcome, Parked) else f"HTTP {reply.status}"
        detail, _, known = reason.partition("; ")
        return CheckResult(ok=False, what=what, detail=detail, remedy=known or remedy)


def _problem(member: ParsedReply, *, is_channel: bool) -> tuple[str, str] | None:
    """Return why a member of a chat may not post there, and the remedy."""
    status = value_at(member.data, "result.status")
    if status in ("left", "kicked"):
        return "the bot is not in it", "add the bot to the chat"
    if status == "restricted" and value_at(member.data, "result.can_send_messages") is not True:
        return "the bot may not send messages", "let the bot send messages"
    if is_channel and value_at(member.data, "result.can_post_messages") is not True:
        return "the bot may not post", "make the bot an administrator of the channel that may post messages"
    return None


def _reply_to(ref: str) -> Json:
    message = int(MessageRef.parse(ref).ts)
    return {"reply_parameters": {"message_id": message, "allow_sending_without_reply": True}}


def _ok(reply: ParsedReply) -> bool:
    return reply.succeeded and value_at(reply.data, "ok") is True


def _description(reply: ParsedReply) -> str:
    """Return what Telegram says about a refused request."""
    text = value_at(reply.data, "description")
    return text if isinstance(text, str) else ""
