"""The Mattermost channel for the contract suite."""

from __future__ import annotations

import json
import re
from typing import Any

from channels_sample import (
    Failing,
    HttpService,
    Room,
    Sample,
    ServiceReply,
    characters,
    json_reply,
    strings_at,
    whole_escapes,
)

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-hook",)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/hooks/{SECRETS[0]}"}


def addressed(base: str, _port: int) -> dict[str, Any]:
    more = {"channel": "dba", "username": "gaussdb", "icon_url": "https://example.com/icon.png"}
    return settings(base, 0) | more


def text(body: Body) -> str:
    return body.content.decode()


def called(body: Body) -> list[str]:
    return re.findall(r"(?<!\w)@[A-Za-z0-9][\w.-]*", json.loads(body.content)["text"])


SERVICE = HttpService(
    success=ServiceReply(body=b"ok"),
    failing=(
        Failing(reply=json_reply({"id": "web.incoming_webhook.invalid.app_error"}, 400), means="misconfigured"),
        Failing(reply=json_reply({"id": "web.incoming_webhook.channel_locked.app_error"}, 403), means="misconfigured"),
        Failing(reply=json_reply({"id": "api.context.permissions.app_error"}, 403), means="misconfigured"),
        Failing(reply=json_reply({"id": "web.incoming_webhook.text.length.app_error"}, 400), means="content"),
        Failing(reply=ServiceReply(body=b"OK, but from somebody else"), means="unknown"),
    ),
)
ROOMS = (
    Room(limit=16_383, size=characters, texts=strings_at("text"), whole=whole_escapes),
    Room(limit=16_383, size=characters, texts=strings_at("value", "fallback")),
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(addressed,),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("@alice", "@dba-team", "@a.b_c", "@here", "@channel", "@all"),
    called=called,
    many="@user{n}",
    service=SERVICE,
    rooms=ROOMS,
)
