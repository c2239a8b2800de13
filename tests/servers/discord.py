"""Discord on loopback: webhooks, and the part of the API for bots that posts, changes and begins threads.

It calls whoever a text names unless `allowed_mentions` says otherwise, also when a message is changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers.http import Answer, HttpServer, Request, reply

WEBHOOK_TOKEN = "obviously-fake-webhook-token"
BOT_TOKEN = "obviously.fake.bot-token"
WEBHOOK = f"/api/webhooks/998877665544332211/{WEBHOOK_TOKEN}"
CHANNEL = "112233445566778899"
FORUM = "112233445566778800"
FIRST_ID = 123456789012345678
_MENTION = re.compile(r"(?<!\\)<@&?\d+>|@(?:here|everyone)(?!\u200b)")
_TEXT, _FORUM_TYPE = 0, 15


@dataclass
class Message:
    """A message that is shown."""

    id: str
    channel: str
    body: dict[str, Any]
    called: list[str]
    """Whom posting or changing it has called."""


@dataclass
class Discord:
    """What the service knows and shows."""

    messages: dict[str, Message] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=lambda: {CHANNEL: _TEXT, FORUM: _FORUM_TYPE})
    """Types of channels by id. A thread has the id of the message that it begins from."""
    posted: int = 0
    archived: set[str] = field(default_factory=set)
    may_begin_threads: bool = True
    removed: bool = False
    """Whether the webhook was removed."""
    remaining: int = 100
    """Requests before the limit."""
    reset_after: str = "0.75"
    nonces: dict[str, Message] = field(default_factory=dict)
    """Messages of the past few minutes by their nonce, deleted ones too."""

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if not request.headers["user-agent"].startswith("DiscordBot ("):
            return _error(403, 40333)
        if self.remaining == 0:
            return self._limited({"message": "You are being rate limited.", "retry_after": 0.75, "global": False}, 429)
        self.remaining -= 1
        body = json.loads(request.body or b"{}")
        if parts.path.startswith("/api/webhooks/"):
            return self._webhook(request.method, parts.path, query, body)
        if request.headers.get("authorization") != f"Bot {BOT_TOKEN}":
            return _error(401, 0)
        return self._api(request.method, parts.path.removeprefix("/api/v10"), body)

    # -- a webhook --

    def _webhook(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> Answer:
        if self.removed:
            return _error(404, 10015)
        if not path.startswith(WEBHOOK):
            return _error(401, 50027)
        channel = query.get("thread_id", CHANNEL)
        match method, path.removeprefix(WEBHOOK):
            case "GET", "":
                return self._ok({"id": "998877665544332211", "name": "GaussDB", "channel_id": CHANNEL})
            case "POST", "":
                answer = self._post(channel, body)
                return answer if query.get("wait") == "true" else reply(204, b"")
            case "PATCH", edited:
                return self._change(edited.removeprefix("/messages/"), body)
        return _error(405, 0)

    # -- the API for bots --

    def _api(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        match method, path.strip("/").split("/"):
            case "GET", asked:
                return self._look(asked)
            case "POST", ["channels", channel, "messages"]:
                return self._post(channel, body)
            case "PATCH", ["channels", _, "messages", message]:
                return self._change(message, body)
            case "POST", ["channels", channel, "messages", message, "threads"]:
                return self._begin_thread(channel, message, body)
        return _error(404, 0)

    def _look(self, asked: list[str]) -> Answer:
        if asked == ["users", "@me"]:
            return self._ok({"id": "887766554433221100", "username": "gaussdb"})
        if asked[0] == "channels" and asked[1] in self.channels:
            return self._ok({"id": asked[1], "name": "dba", "type": self.channels[asked[1]]})
        return _error(404, 10003)

    def _begin_thread(self, channel: str, message: str, body: dict[str, Any]) -> Answer:
        if message not in self.messages:
            return _error(404, 10008)
        if not self.may_begin_threads:
            return _error(403, 50013)
        if message in self.channels:
            return _error(400, 160004)
        if not 1 <= len(body["name"]) <= 100 or channel != self.messages[message].channel:
            return _error(400, 50035)
        self.channels[message] = 11
        return self._ok({"id": message, "name": body["name"]}, 201)

    # -- messages --

    def _post(self, channel: str, body: dict[str, Any]) -> Answer:
        if channel not in self.channels:
            return _error(404, 10003)
        if channel in self.archived:
            return _error(400, 50083)
        if self.channels[channel] == _FORUM_TYPE:
            return _error(400, 220001)
        if problem := _problem(body):
            return _error(400, problem)
        if body.get("enforce_nonce") and body["nonce"] in self.nonces:
            return self._shown(self.nonces[body["nonce"]])
        self.posted += 1
        message = Message(str(FIRST_ID + self.posted - 1), channel, body, _called(body))
        self.messages[message.id] = message
        if "nonce" in body:
            self.nonces[body["nonce"]] = message
        return self._shown(message)

    def _change(self, message: str, body: dict[str, Any]) -> Answer:
        if message not in self.messages:
            return _error(404, 10008)
        if problem := _problem(body):
            return _error(400, problem)
        found = self.messages[message]
        found.body = body
        found.called += _called(body)
        return self._shown(found)

    def _shown(self, message: Message) -> Answer:
        return self._ok({"id": message.id, "channel_id": message.channel, "content": message.body["content"]})

    def _ok(self, value: dict[str, Any], status: int = 200) -> Answer:
        return self._limited(value, status)

    def _limited(self, value: dict[str, Any], status: int) -> Answer:
        headers = {"X-RateLimit-Remaining": str(self.remaining), "X-RateLimit-Reset-After": self.reset_after}
        return reply(status, json.dumps(value).encode(), headers)


def _problem(body: dict[str, Any]) -> int | None:
    """Return the code with which Discord refuses a message."""
    embeds = body.get("embeds", [])
    if not body.get("content") and not embeds:
        return 50006
    texts = [embed["description"] for embed in embeds]
    too_long = len(body.get("content", "")) > 2_000 or any(len(text) > 4_096 for text in texts)
    empty = not all(texts) or len(str(body.get("nonce", ""))) > 25
    return 50035 if too_long or empty or len(embeds) > 10 or sum(map(len, texts)) > 6_000 else None


def _called(body: dict[str, Any]) -> list[str]:
    """Return whom the text of a message calls."""
    named = _MENTION.findall(body.get("content", ""))
    allowed = body.get("allowed_mentions")
    if allowed is None:
        return named
    ids = {*(f"<@{who}>" for who in allowed.get("users", ())), *(f"<@&{who}>" for who in allowed.get("roles", ()))}
    everybody = "everyone" in allowed["parse"]
    return [who for who in named if who in ids or (everybody and who.startswith("@"))]


def _error(status: int, code: int) -> Answer:
    return reply(status, json.dumps({"message": "no", "code": code}).encode())


class DiscordServer(HttpServer):
    """`async with DiscordServer(Discord()) as server:` listens on a free port."""

    def __init__(self, service: Discord) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)
