"""Telegram for the contract suite: a bot in a group, and in a topic of one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf16_units, whole_html

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-bot-token",)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"bot_token": f"123456789:{SECRETS[0]}", "chat_id": "-1001234567890", "api_url": base}


def topic(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"topic_id": 7, "style": "post"}


def texts(body: Body) -> Iterator[str]:
    yield json.loads(body.content)["text"]


def text(body: Body) -> str:
    return unescape(re.sub(r"</?(a|b|blockquote|code)\b[^>]*>", "", next(texts(body))))


def called(body: Body) -> list[str]:
    return re.findall(r'@[A-Za-z]\w+|(?<=<a href=")tg://user\?id=\d+', next(texts(body)))


def refusal(description: str, status: int = 400, **parameters: int) -> ServiceReply:
    reply = {"ok": False, "error_code": status, "description": description}
    return json_reply(reply | ({"parameters": parameters} if parameters else {}), status)


SERVICE = HttpService(
    success=json_reply({"ok": True, "result": {"message_id": 42, "chat": {"id": -1001234567890}, "text": "…"}}),
    failing=(
        Failing(reply=refusal("Bad Request: chat not found"), means="misconfigured"),
        Failing(reply=refusal("Forbidden: bot was kicked from the supergroup chat", 403), means="misconfigured"),
        Failing(reply=refusal("Bad Request: not enough rights to send text messages"), means="misconfigured"),
        Failing(reply=refusal("Bad Request: message thread not found"), means="misconfigured"),
        Failing(reply=refusal("Unauthorized", 401), means="misconfigured"),
        Failing(reply=refusal("Not Found", 404), means="misconfigured"),
        Failing(reply=refusal("Bad Request: message is too long"), means="content"),
        Failing(reply=refusal("Bad Request: can't parse entities: Unsupported start tag"), means="content"),
        Failing(reply=refusal("Too Many Requests: retry after 35", 429, retry_after=35), means="busy", wait=35),
        Failing(reply=refusal("Bad Gateway", 502), means="later"),
        Failing(reply=json_reply({"ok": False}), means="unknown"),
        Failing(reply=json_reply({"ok": True, "result": True}), means="unknown"),
    ),
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(topic,),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("telegram:alice_dba", "telegram:123456789|On call"),
    calls=("@alice_dba", "tg://user?id=123456789"),
    called=called,
    many="telegram:user{n:03d}",
    service=SERVICE,
    rooms=(Room(limit=4_096, size=utf16_units, texts=texts, whole=whole_html),),
)
