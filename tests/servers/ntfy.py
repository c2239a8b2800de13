"""An ntfy server: topics with access rights, and what it does with messages that are empty, too long or misplaced."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any

from servers.http import Answer, HttpServer, Request, reply

TOKEN, TOPIC = "tk_obviously-fake", "obviously-fake-topic"
USER, PASSWORD = "notifier", "obviously-fake-password"
MESSAGE_LIMIT = 4_096


@dataclass
class Ntfy:
    """What the server knows and has published."""

    may_read: bool = False
    may_write: bool = True
    messages: list[dict[str, Any]] = field(default_factory=list)
    attachments: int = 0

    def answer(self, request: Request) -> Answer:
        if (request.method, request.target) == ("GET", f"/{TOPIC}/auth"):
            if not self._known(request):
                return _error(401, 40101, "unauthorized")
            return reply(200, b'{"success":true}') if self.may_read else _error(403, 40301, "forbidden")
        if request.method != "POST":
            return _error(404, 40401, "page not found")
        if not self._known(request):
            return _error(401, 40101, "unauthorized")
        if request.target == "/":
            return self._published(json.loads(request.body))
        return self._published({"topic": request.target.strip("/"), "message": request.body.decode()})

    def _known(self, request: Request) -> bool:
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            return b64decode(credential).decode() == f"{USER}:{PASSWORD}"
        return (scheme, credential) == ("Bearer", TOKEN)

    def _published(self, message: dict[str, Any]) -> Answer:
        if message["topic"] != TOPIC or not self.may_write:
            return _error(403, 40301, "forbidden")
        if message.get("priority", 3) not in range(1, 6):
            return _error(400, 40007, "invalid request: priority")
        text = message.get("message") or "triggered"
        self.attachments += len(text.encode()) > MESSAGE_LIMIT
        self.messages.append(message | {"message": text})
        done = {"id": f"id{len(self.messages)}", "time": 1, "expires": 2, "event": "message", "topic": TOPIC}
        return reply(200, json.dumps(done).encode())


class NtfyServer(HttpServer):
    """`async with NtfyServer(Ntfy()) as server:` listens on a free port."""

    def __init__(self, service: Ntfy) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)


def _error(status: int, code: int, words: str) -> Answer:
    return reply(status, json.dumps({"code": code, "http": status, "error": words}).encode())
