"""The webhook of a space of Google Chat for the contract suite."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf8_bytes, whole_html

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-key", "obviously-fake-token")


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/v1/spaces/AAAA/messages?key={SECRETS[0]}&token={SECRETS[1]}"}


def alone(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"style": "post"}


def paragraphs(body: Body) -> Iterator[str]:
    """Yield the texts of the card."""
    for card in json.loads(body.content).get("cardsV2", ()):
        for section in card["card"]["sections"]:
            for widget in section["widgets"]:
                if "textParagraph" in widget:
                    yield widget["textParagraph"]["text"]


def texts(body: Body) -> Iterator[str]:
    yield json.loads(body.content)["text"]
    yield from paragraphs(body)


def text(body: Body) -> str:
    card = "\n".join(paragraphs(body)).replace("<br>", "\n")
    return f"{json.loads(body.content)['text']}\n{unescape(re.sub('<[^>]*>', '', card))}"


def called(body: Body) -> list[str]:
    first, *others = json.loads(body.content)["text"].split("\n")
    assert not any("<users/" in line for line in others)
    return re.findall(r"<(users/\w+)>", first)


def whole_code(text: str) -> bool:
    """Return whether all code of a text is closed."""
    return text.count("`") % 2 == 0


def refusal(status: int, word: str, message: str = "no") -> ServiceReply:
    return json_reply({"error": {"code": status, "status": word, "message": message}}, status)


NAME = "spaces/AAAA/messages/BBBB.CCCC"
SERVICE = HttpService(
    success=json_reply({"name": NAME, "thread": {"name": "spaces/AAAA/threads/BBBB"}}),
    failing=(
        Failing(reply=refusal(400, "INVALID_ARGUMENT"), means="content"),
        Failing(reply=refusal(400, "INVALID_ARGUMENT", "API key not valid."), means="misconfigured"),
        Failing(reply=refusal(401, "UNAUTHENTICATED"), means="misconfigured"),
        Failing(reply=refusal(403, "PERMISSION_DENIED"), means="misconfigured"),
        Failing(reply=refusal(404, "NOT_FOUND"), means="misconfigured"),
        Failing(reply=refusal(429, "RESOURCE_EXHAUSTED"), means="busy", wait=30),
        Failing(reply=refusal(503, "UNAVAILABLE"), means="later"),
        Failing(reply=json_reply({"name": "users/1"}), means="unknown"),
    ),
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(alone,),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("google:123456789012345678901", "google:all"),
    calls=("users/123456789012345678901", "users/all"),
    called=called,
    many="google:1234567{n:03d}",
    service=SERVICE,
    rooms=(
        Room(limit=32_000, size=utf8_bytes, texts=lambda body: [body.content.decode()]),
        Room(limit=4_096, size=utf8_bytes, texts=lambda body: [next(texts(body))], whole=whole_code),
        Room(limit=32_000, size=utf8_bytes, texts=lambda body: [*paragraphs(body), ""], whole=whole_html),
    ),
)
