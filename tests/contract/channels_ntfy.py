"""A topic of ntfy for the contract suite."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf8_bytes

from notifier.core.delivery import Body

SECRETS = ("tk_obviously-fake", "obviously-fake-topic", "obviously-fake-password")


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"url": base, "topic": SECRETS[1], "token": SECRETS[0]}


def with_password(base: str, _port: int) -> dict[str, Any]:
    return {"url": base, "topic": SECRETS[1], "username": "notifier", "password": SECRETS[2]}


def message(body: Body) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body.content)
    return found


def text(body: Body) -> str:
    found = message(body)
    return f"{found['title']}\n{found['message']}"


def refusal(code: int) -> ServiceReply:
    return json_reply({"code": code, "http": code // 100, "error": "no", "link": "https://ntfy.sh/docs"}, code // 100)


def title(body: Body) -> str:
    found: str = message(body)["title"]
    return found.replace("\u200b", "")  # what other chats would take for a mention is broken


SAMPLE = Sample(
    settings=settings,
    push=title,
    more_modes=(with_password,),
    text=text,
    secrets=(*SECRETS, b64encode(f"notifier:{SECRETS[2]}".encode()).decode()),
    http={"timeout": "150ms"},
    service=HttpService(
        success=json_reply({"id": "oPGs8rXqfT9k", "time": 1, "expires": 2, "event": "message", "topic": "t"}),
        failing=(
            Failing(reply=refusal(42901), means="busy"),
            Failing(reply=refusal(42908), means="busy", wait=3600),
            Failing(reply=refusal(42909), means="misconfigured"),
            Failing(reply=refusal(40101), means="misconfigured"),
            Failing(reply=refusal(40301), means="misconfigured"),
            Failing(reply=refusal(41301), means="content"),
            Failing(reply=refusal(40024), means="content"),
            Failing(reply=refusal(50701), means="later"),
            Failing(reply=json_reply({"id": "x", "event": "keepalive"}), means="unknown"),
            Failing(reply=json_reply({"event": "message"}), means="unknown"),
        ),
    ),
    rooms=(
        Room(limit=4_096, size=utf8_bytes, texts=lambda body: [message(body)["message"]]),
        Room(limit=600, size=utf8_bytes, texts=lambda body: [message(body)["title"]]),
    ),
)
