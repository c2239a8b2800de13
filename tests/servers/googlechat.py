"""The webhook of a space of Google Chat on loopback, with threads by key and repeats by `requestId`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers.http import Answer, HttpServer, Request, reply

KEY, TOKEN = "obviously-fake-key", "obviously-fake-token"
TARGET = f"/v1/spaces/AAAA/messages?key={KEY}&token={TOKEN}"
MESSAGE_BYTES = 32_000
_FALLBACK = "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"


@dataclass
class Message:
    """A message that is shown."""

    name: str
    thread: str
    body: dict[str, Any]

    @property
    def called(self) -> list[str]:
        return re.findall(r"<(users/\w+)>", self.body["text"])


@dataclass
class GoogleChat:
    """What the space shows."""

    messages: list[Message] = field(default_factory=list)
    removed: bool = False
    busy: bool = False
    _by_request: dict[str, Message] = field(default_factory=dict)
    _threads: dict[str, str] = field(default_factory=dict)

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if refused := self._refusal(request, parts.path, query):
            return refused
        body = json.loads(request.body)
        if len(request.body) > MESSAGE_BYTES or not body.get("text"):
            return _error(400, "INVALID_ARGUMENT")
        return self._post(query, body)

    def _refusal(self, request: Request, path: str, query: dict[str, str]) -> Answer | None:
        if query.get("key") != KEY:
            return _error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")
        if self.removed or path != "/v1/spaces/AAAA/messages":
            return _error(404, "NOT_FOUND")
        if query.get("token") != TOKEN:
            return _error(403, "PERMISSION_DENIED")
        if request.method != "POST":
            return _error(401, "UNAUTHENTICATED")
        return _error(429, "RESOURCE_EXHAUSTED") if self.busy else None

    def _post(self, query: dict[str, str], body: dict[str, Any]) -> Answer:
        known = self._by_request.get(query["requestId"])
        if known is None:
            key = body.get("thread", {}).get("threadKey") if query.get("messageReplyOption") == _FALLBACK else None
            number = len(self.messages)
            thread = (
                self._threads.get(key, f"spaces/AAAA/threads/T{number}") if key else f"spaces/AAAA/threads/T{number}"
            )
            if key:
                self._threads[key] = thread
            known = self._by_request[query["requestId"]] = Message(f"spaces/AAAA/messages/M{number}", thread, body)
            self.messages.append(known)
        return reply(200, json.dumps({"name": known.name, "thread": {"name": known.thread}}).encode())


class GoogleChatServer(HttpServer):
    """`async with GoogleChatServer(GoogleChat()) as server:` listens on a free port."""

    def __init__(self, service: GoogleChat) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)


def _error(status: int, word: str, message: str = "no") -> Answer:
    return reply(status, json.dumps({"error": {"code": status, "status": word, "message": message}}).encode())
