"""DingTalk on loopback: a custom robot with its rules, and the API for the robot of an app.

It refuses what the service refuses, in the order in which it is believed to: token, security, body.
"""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers.http import Answer, HttpServer, Request, reply

TOKEN = "obviously-fake-token"
SECRET = "SECobviously-fake"
APP_KEY, APP_SECRET = "dingdemo", "obviously-fake-app-secret"
ROBOT, GROUP = "dingrobot", "cidDemo=="
HOUR = 3_600_000
"""Age at which a signature is refused, in milliseconds."""


@dataclass
class DingTalk:
    """What the service knows and has posted."""

    now: int = 1_768_465_800_000
    """Its clock, in milliseconds."""
    secret: str | None = None
    keyword: str | None = None
    messages: list[dict[str, Any]] = field(default_factory=list)
    """Bodies of the posted messages."""
    tokens: int = 0
    """Number of access tokens that were issued."""
    valid: set[str] = field(default_factory=set)

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        body = json.loads(request.body or b"{}")
        match parts.path:
            case "/robot/send":
                return self._posted(parse_qs(parts.query), body)
            case "/v1.0/oauth2/accessToken":
                return self._issue(body)
            case "/v1.0/robot/groupMessages/send":
                return self._sent(request.headers.get("x-acs-dingtalk-access-token", ""), body)
        return reply(404, b"Not Found")

    # -- a custom robot --

    def _posted(self, query: dict[str, list[str]], body: dict[str, Any]) -> Answer:
        if query.get("access_token") != [TOKEN]:
            return _code(300005, "token is not exist")
        if self.secret and (wrong := self._signature_problem(query)):
            return _code(310000, wrong)
        if self.keyword and self.keyword not in json.dumps(body, ensure_ascii=False):
            return _code(310000, "keywords not in content")
        content = body.get(body.get("msgtype", ""), {})
        if not content.get("title") or not content.get("text"):
            return _code(400101, "content is missing")
        self.messages.append(body)
        return _code(0, "ok")

    def _signature_problem(self, query: dict[str, list[str]]) -> str:
        (timestamp,), (sign,) = query.get("timestamp", ["0"]), query.get("sign", [""])
        if abs(int(timestamp) - self.now) > HOUR:
            return "invalid timestamp"
        key = str(self.secret)
        expected = b64encode(hmac.new(key.encode(), f"{timestamp}\n{key}".encode(), sha256).digest()).decode()
        return "" if sign == expected else "sign not match"

    # -- the robot of an app --

    def _issue(self, body: dict[str, Any]) -> Answer:
        if body != {"appKey": APP_KEY, "appSecret": APP_SECRET}:
            return _error(400, "invalidClientIdOrSecret")
        self.tokens += 1
        token = f"obviously-fake-access-{self.tokens}"
        self.valid = {token}
        return reply(200, json.dumps({"accessToken": token, "expireIn": 7200}).encode())

    def _sent(self, token: str, body: dict[str, Any]) -> Answer:
        if token not in self.valid:
            return _error(401, "InvalidAuthentication")
        if body.get("robotCode") != ROBOT:
            return _error(400, "invalidParameter.robotCode.auth")
        if body.get("openConversationId") != GROUP:
            return _error(400, "invalidParameter.openConversationId.invalid")
        if not isinstance(body.get("msgParam"), str) or len(body["msgParam"].encode()) > 15_000:
            return _error(400, "invalidParameter.msgParam.invalid")
        self.messages.append(body)
        return reply(200, json.dumps({"processQueryKey": f"key-{len(self.messages)}"}).encode())


class DingTalkServer(HttpServer):
    """`async with DingTalkServer(DingTalk()) as server:` listens on a free port."""

    def __init__(self, service: DingTalk) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)


def _code(code: int, words: str) -> Answer:
    return reply(200, json.dumps({"errcode": code, "errmsg": words}).encode())


def _error(status: int, code: str) -> Answer:
    return reply(status, json.dumps({"code": code, "message": "no", "requestid": "0"}).encode())
