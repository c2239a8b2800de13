"""Feishu on loopback: a custom bot with its rules, and the API for the bot of an app, with cards that change."""

from __future__ import annotations

import hmac
import json
import re
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers.http import Answer, HttpServer, Request, reply

HOOK = "obviously-fake-hook"
SECRET = "obviously-fake-secret"
APP_ID, APP_SECRET = "cli_demo", "obviously-fake-app-secret"
CHAT = "oc_demo"
HOUR = 3_600
CARD_SIZE = 30_000
"""Maximum size of a card of an app, in bytes."""
BODY_SIZE = 20_000


@dataclass
class Message:
    """A message in the group."""

    card: dict[str, Any]
    root: str | None = None
    """The message in whose thread it is."""
    recalled: bool = False
    edits: int = 0


@dataclass
class Feishu:
    """What the service knows and has posted."""

    now: int = 1_768_465_800
    """Its clock, in seconds."""
    secret: str | None = None
    keyword: str | None = None
    cards: list[dict[str, Any]] = field(default_factory=list)
    """Cards that the custom bot has posted."""
    messages: dict[str, Message] = field(default_factory=dict)
    """Messages of the app's bot by id."""
    keys: dict[str, str] = field(default_factory=dict)
    """Ids of messages by the key of their request."""
    tokens: int = 0
    valid: set[str] = field(default_factory=set)
    chats: list[str] = field(default_factory=lambda: [CHAT])
    """Groups that the bot is in."""
    may_list: bool = True

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        body = json.loads(request.body or b"{}")
        if parts.path.startswith("/open-apis/bot/v2/hook/"):
            return self._hook(parts.path, body, len(request.body))
        if parts.path == "/open-apis/auth/v3/tenant_access_token/internal":
            return self._issue(body)
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            return _code(99991663, "Invalid access token for authorization", 400)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/open-apis/im/v1/chats":
            return self._listed(query)
        return self._about_messages(request.method, parts.path, query, body)

    def _about_messages(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        found = re.fullmatch(r"/open-apis/im/v1/messages(?:/([\w-]+))?(/reply)?", path)
        if not found:
            return reply(404, b"404 page not found")
        ref, is_reply = found.groups()
        if ref is None:
            return self._sent(query, body)
        return self._replied(ref, body) if is_reply else self._patched(method, ref, body)

    # -- a custom bot --

    def _hook(self, path: str, body: dict[str, Any], size: int) -> Answer:
        if path.rpartition("/")[2] != HOOK:
            return _code(19001, "param invalid: incoming webhook access token invalid")
        if not self._is_signed(body):
            return _code(19021, "sign match fail or timestamp is not within one hour from current time")
        card = body.get("card")
        if body.get("msg_type") != "interactive" or not isinstance(card, dict) or "elements" not in card:
            return _code(9499, "Bad Request")
        if size > BODY_SIZE:
            return _code(19036, "too large")
        if self.keyword and self.keyword not in card["header"]["title"]["content"]:
            return _code(19024, "Key Words Not Found")
        check_card(card)
        self.cards.append(card)
        return reply(200, json.dumps({"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}}).encode())

    def _is_signed(self, body: dict[str, Any]) -> bool:
        if not self.secret:
            return True
        timestamp = str(body.get("timestamp", ""))
        sign = b64encode(hmac.new(f"{timestamp}\n{self.secret}".encode(), b"", sha256).digest()).decode()
        return timestamp.isdigit() and abs(int(timestamp) - self.now) <= HOUR and sign == body.get("sign")

    # -- the bot of an app --

    def _issue(self, body: dict[str, Any]) -> Answer:
        if body != {"app_id": APP_ID, "app_secret": APP_SECRET}:
            return _code(10014, "app secret invalid")
        self.tokens += 1
        token = f"t-obviously-fake-{self.tokens}"
        self.valid = {token}
        return reply(200, json.dumps({"code": 0, "msg": "ok", "tenant_access_token": token, "expire": 7200}).encode())

    def _listed(self, query: dict[str, str]) -> Answer:
        if not self.may_list:
            return _code(99991672, "Access denied. One of the following scopes is required", 400)
        start = int(query.get("page_token", "0"))
        items = [{"chat_id": chat, "name": f"Group {chat}"} for chat in self.chats[start : start + 2]]
        more = start + 2 < len(self.chats)
        return _data({"items": items, "has_more": more, "page_token": str(start + 2) if more else ""})

    def _sent(self, query: dict[str, str], body: dict[str, Any]) -> Answer:
        if query.get("receive_id_type") != "chat_id" or body.get("receive_id") not in self.chats:
            return _code(230002, "Bot/User can NOT be out of the chat.", 400)
        return self._new(body, root=None)

    def _replied(self, ref: str, body: dict[str, Any]) -> Answer:
        if (root := self.messages.get(ref)) is None or root.recalled:
            return _code(230011, "The message was withdrawn.", 400)
        return self._new(body, root=ref if body.get("reply_in_thread") else None)

    def _new(self, body: dict[str, Any], root: str | None) -> Answer:
        key = body["uuid"]
        assert 0 < len(key) <= 50
        if key not in self.keys:
            self.keys[key] = f"om_{len(self.messages) + 1}"
            self.messages[self.keys[key]] = Message(card=_card(body), root=root)
        return _data({"message_id": self.keys[key]})

    def _patched(self, method: str, ref: str, body: dict[str, Any]) -> Answer:
        assert method == "PATCH"
        message = self.messages.get(ref)
        if message is None or message.recalled:
            return _code(230011, "The message was withdrawn.", 400)
        assert message.card["config"]["update_multi"] is True
        message.card = _card(body)
        message.edits += 1
        return _data({})


def _card(body: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(body["content"], str)
    assert len(body["content"].encode()) <= CARD_SIZE
    card: dict[str, Any] = json.loads(body["content"])
    check_card(card)
    return card


def check_card(card: dict[str, Any]) -> None:
    """Check that a card has nothing that would make the service refuse it, or draw it oddly."""
    assert card["config"]["update_multi"] is True
    assert card["elements"]
    for element in card["elements"]:
        assert element["tag"] in {"div", "action", "note"}
        texts = [element["text"]] if "text" in element else [one["text"] for one in element.get("fields", ())]
        texts += element.get("elements", ())
        texts += [one["text"] for one in element.get("actions", ())]
        assert texts
        for text in texts:
            assert text["tag"] in {"plain_text", "lark_md"}
            assert text["content"]
        for button in element.get("actions", ()):
            assert re.fullmatch(r"https?://[^\s]+", button["url"])


class FeishuServer(HttpServer):
    """`async with FeishuServer(Feishu()) as server:` listens on a free port."""

    def __init__(self, service: Feishu) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)


def _code(code: int, words: str, status: int = 200) -> Answer:
    return reply(status, json.dumps({"code": code, "msg": words}).encode())


def _data(data: dict[str, Any]) -> Answer:
    return reply(200, json.dumps({"code": 0, "msg": "success", "data": data}).encode())
