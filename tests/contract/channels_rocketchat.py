"""The Rocket.Chat channel for the contract suite."""

from __future__ import annotations

import json
import re
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, characters, json_reply, strings_at

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-hook",)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/hooks/0123abc/{SECRETS[0]}"}


def addressed(base: str, _port: int) -> dict[str, Any]:
    more = {"channel": "#dba", "alias": "gaussdb", "emoji": ":rotating_light:"}
    return settings(base, 0) | more


def text(body: Body) -> str:
    return body.content.decode()


def called(body: Body) -> list[str]:
    return re.findall(r"(?<!\w)@[A-Za-z0-9][\w.-]*", json.loads(body.content)["text"])


SERVICE = HttpService(
    success=json_reply({"success": True}),
    failing=(
        Failing(reply=json_reply({"success": False}), means="later"),
        Failing(reply=json_reply({"success": False, "error": "invalid-channel"}, 400), means="misconfigured"),
        Failing(reply=json_reply({"success": False, "error": "Service Unavailable"}, 503), means="misconfigured"),
        Failing(reply=json_reply({"success": False, "error": "error-message-size-exceeded"}, 400), means="content"),
        Failing(
            reply=json_reply({"success": False, "errorType": "error-too-many-requests"}, 429), means="busy", wait=60
        ),
    ),
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(addressed,),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("@alice", "@here", "@all"),
    called=called,
    many="@user{n}",
    service=SERVICE,
    rooms=(Room(limit=5_000, size=characters, texts=strings_at("text", "value", "fallback")),),
)
