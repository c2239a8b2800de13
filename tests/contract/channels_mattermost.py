"""The Mattermost channel for the contract suite: a webhook, one with more settings, and a bot."""

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

SECRETS = ("obviously-fake-hook", "obviously-fake-bot-token")
CHANNEL = "channel0000000000000000001"
POST = "post0000000000000000000001"


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/hooks/{SECRETS[0]}"}


def addressed(base: str, _port: int) -> dict[str, Any]:
    more = {"channel": "dba", "username": "gaussdb", "icon_url": "https://example.com/icon.png"}
    return settings(base, 0) | more


def bot(base: str, _port: int) -> dict[str, Any]:
    return {"server_url": base, "bot_token": SECRETS[1], "channel_id": CHANNEL}


def text(body: Body) -> str:
    return body.content.decode()


def called(body: Body) -> list[str]:
    return re.findall(r"(?<!\w)@[A-Za-z0-9][\w.-]*", json.loads(body.content)["text"])


def refusal(error: str, status: int) -> ServiceReply:
    return json_reply({"id": error, "message": "no", "status_code": status}, status)


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
PERMISSION = refusal("api.context.permissions.app_error", 403)
NO_CHANNEL = refusal("app.channel.get.existing.app_error", 404)
ME = json_reply({"id": "bot00000000000000000000001", "username": "gaussdb", "is_bot": True})
KNOWN = json_reply({"id": CHANNEL, "display_name": "DBA", "delete_at": 0})
ARCHIVED = json_reply({"id": CHANNEL, "display_name": "DBA", "delete_at": 1})
BOT_SERVICE = HttpService(
    success=json_reply({"id": POST, "channel_id": CHANNEL, "root_id": "", "message": "…"}, 201),
    failing=(
        Failing(reply=refusal("api.context.session_expired.app_error", 401), means="misconfigured"),
        Failing(reply=PERMISSION, means="misconfigured"),
        Failing(reply=NO_CHANNEL, means="misconfigured"),
        Failing(reply=refusal("api.post.create_post.can_not_post_to_deleted.error", 400), means="misconfigured"),
        Failing(reply=refusal("model.post.is_valid.message_length.app_error", 400), means="content"),
        Failing(reply=refusal("api.post.deduplicate_create_post.pending", 500), means="later"),
        Failing(reply=json_reply({"id": "not an id", "channel_id": CHANNEL}, 201), means="unknown"),
    ),
    lacking={
        "bot_token": {"GET /api/v4/users/me": refusal("api.context.session_expired.app_error", 401)},
        "channel_id": {"GET /api/v4/users/me": ME, "GET /api/v4/channels/": NO_CHANNEL},
        "archived": {"GET /api/v4/users/me": ME, "GET /api/v4/channels/": ARCHIVED},
        "add the bot": {
            "GET /api/v4/users/me": ME,
            f"GET /api/v4/channels/{CHANNEL}/members/me": refusal("app.channel.get_member.missing.app_error", 404),
            f"GET /api/v4/channels/{CHANNEL}": KNOWN,
        },
        "the channel, and let its role": {"GET /api/v4/users/me": ME, "GET /api/v4/channels/": PERMISSION},
    },
)
ROOMS = (
    Room(limit=16_383, size=characters, texts=strings_at("text"), whole=whole_escapes),
    Room(limit=16_383, size=characters, texts=strings_at("value", "fallback")),
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(addressed, bot),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("@alice", "@dba-team", "@a.b_c", "@here", "@channel", "@all"),
    called=called,
    many="@user{n}",
    service=SERVICE,
    more_services={bot: BOT_SERVICE},
    rooms=ROOMS,
)
