"""SMN of one region: a gateway that verifies signatures, and topics that take messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from notifier.simulator.auth import Key, SignatureVerifier, SignedRequest
from notifier.simulator.replies import SimulatedError
from servers.http import Answer, HttpServer, Request, reply

PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
URN = f"urn:smn:cn-north-4:{PROJECT}:dba"
ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "obviously-fake-secret-key"
SUBJECT_LIMIT, MESSAGE_LIMIT, SMS_LIMIT = 512, 262_144, 490
DAY = 86_400


@dataclass(kw_only=True)
class Smn:
    """What the service knows and has stored."""

    now: Callable[[], datetime]
    token: str | None = None
    """Security token that belongs to the access key."""
    may_read: bool = True
    may_publish: bool = True
    messages: list[dict[str, Any]] = field(default_factory=list)
    verifier: SignatureVerifier = field(default_factory=SignatureVerifier)

    def answer(self, request: Request) -> Answer:
        headers = dict(request.headers)
        signed = SignedRequest(method=request.method, path=request.target, query="", headers=headers, body=request.body)
        keys = {ACCESS_KEY: Key(access=ACCESS_KEY, secret=SECRET_KEY, token=self.token)}
        try:
            self.verifier.admit(signed, keys, self.now())
        except SimulatedError:
            words = {"error_msg": "Incorrect IAM authentication information", "error_code": "APIGW.0301"}
            return reply(401, json.dumps(words).encode())
        place = [unquote(part) for part in request.target.split("/")]
        if place[:5] != ["", "v2", PROJECT, "notifications", "topics"] or request.headers["x-project-id"] != PROJECT:
            return reply(404, b'{"error_code": "APIGW.0101", "error_msg": "no such API"}')
        if place[5] != URN:
            return _error(404, "SMN.0006")
        if request.method == "GET":
            topic = {"topic_urn": URN, "name": "dba", "display_name": "DBA"}
            return reply(200, json.dumps(topic).encode()) if self.may_read else _error(403, "SMN.0001")
        return self._published(json.loads(request.body)) if self.may_publish else _error(403, "SMN.0001")

    def _published(self, message: dict[str, Any]) -> Answer:
        texts = json.loads(message["message_structure"])
        if not 0 < len(message["subject"].encode()) <= SUBJECT_LIMIT or "\n" in message["subject"]:
            return _error(403, "SMN.0008")
        whole = len(message["message_structure"].encode()) <= MESSAGE_LIMIT
        sms = texts["sms"]
        if not texts.get("default") or not whole or len(sms) > SMS_LIMIT or set("[]【】") & set(sms):
            return _error(403, "SMN.0009")
        if not isinstance(message["time_to_live"], str) or not 0 < int(message["time_to_live"]) <= DAY:
            return _error(400, "SMN.0007")
        self.messages.append(message)
        done = {"message_id": f"message-{len(self.messages)}", "request_id": "r"}
        return reply(200, json.dumps(done).encode())


class SmnServer(HttpServer):
    """`async with SmnServer(Smn(now=clock.now)) as server:` listens on a free port."""

    def __init__(self, service: Smn) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)


def _error(status: int, code: str) -> Answer:
    return reply(status, json.dumps({"code": code, "message": "no", "request_id": "r"}).encode())
