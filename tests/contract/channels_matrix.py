"""A room of Matrix for the contract suite."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf8_bytes, whole_html
from servers.http import Request

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-token",)
ROOM = "/_matrix/client/v3/rooms/%21demo%3Aexample.org"


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"homeserver": base, "access_token": SECRETS[0], "room_id": "!demo:example.org"}


def each_event(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"style": "post"}


def text(body: Body) -> str:
    message = json.loads(body.content)
    plain: str = message["body"]
    return plain


def called(body: Body) -> list[str]:
    message = json.loads(body.content)
    mentions = message["m.mentions"]
    found = [*mentions.get("user_ids", ()), *(["@room"] if mentions.get("room") else [])]
    first = message["body"].splitlines()[0]
    assert [who for who in found if who not in first] == [], "who is called is named"
    return found


def edits(body: Body) -> Iterator[str]:
    """Yield the event that shows such a text once it has changed, which is larger than the first one."""
    yield json.dumps({"m.new_content": json.loads(body.content), "body": "x" * 3_000}, ensure_ascii=False)


def transaction(request: Request) -> str:
    return request.target.rpartition("/")[2]


def refusal(status: int, code: str, **more: Any) -> ServiceReply:
    return json_reply({"errcode": code, "error": "no", **more}, status)


JOINED = {
    "GET /_matrix/client/v3/account/whoami": json_reply({"user_id": "@bot:example.org", "device_id": "D1"}),
    f"GET {ROOM}/state/m.room.member/": json_reply({"membership": "join"}),
}

SERVICE = HttpService(
    lacking={
        "power level": {
            **JOINED,
            f"GET {ROOM}/state/m.room.power_levels": json_reply({"events_default": 50}),
            f"GET {ROOM}/state/m.room.create": json_reply({"room_version": "10"}),
        },
        "not in the room": {**JOINED, f"GET {ROOM}/state/m.room.member/": json_reply({"membership": "leave"})},
    },
    success=json_reply({"event_id": "$event"}),
    around={f"GET {ROOM}/state/m.room.encryption": refusal(404, "M_NOT_FOUND")},
    failing=(
        Failing(reply=refusal(429, "M_LIMIT_EXCEEDED", retry_after_ms=4_130), means="busy", wait=4),
        Failing(reply=refusal(401, "M_UNKNOWN_TOKEN", soft_logout=False), means="misconfigured"),
        Failing(reply=refusal(403, "M_FORBIDDEN"), means="misconfigured"),
        Failing(reply=refusal(403, "M_RESOURCE_LIMIT_EXCEEDED"), means="misconfigured"),
        Failing(reply=refusal(404, "M_UNRECOGNIZED"), means="misconfigured"),
        Failing(reply=refusal(413, "M_TOO_LARGE"), means="content"),
        Failing(reply=refusal(400, "M_UNKNOWN"), means="content"),
        Failing(reply=refusal(500, "M_UNKNOWN"), means="later"),
        Failing(reply=json_reply({"event_id": ""}), means="unknown"),
        Failing(reply=json_reply({"event_id": 7}), means="unknown"),
    ),
    repeat_key=transaction,
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(each_event,),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("@alice:example.org", "@room"),
    called=called,
    many="@user{n}:example.org",
    service=SERVICE,
    rooms=(
        Room(limit=60_000, size=utf8_bytes, texts=edits),
        Room(
            limit=24_000,
            size=utf8_bytes,
            texts=lambda body: [json.loads(body.content)["formatted_body"]],
            whole=whole_html,
        ),
    ),
)
