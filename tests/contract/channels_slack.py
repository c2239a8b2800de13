"""The Slack channel, as an incoming webhook and with a token, for the contract suite."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
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
    whole_entities,
)
from servers.http import Request

from notifier.core.delivery import Body, Delivery

SECRETS = ("obviously-fake-hook", "xoxb-obviously-fake-token")


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/services/T000/B000/{SECRETS[0]}"}


def bot(base: str, _port: int) -> dict[str, Any]:
    return {"bot_token": SECRETS[1], "channel": "C0GAUSS", "api_url": f"{base}/api/", "timeout": "1s"}


def text(body: Body) -> str:
    return "\n".join(strings_at("text", "url")(body))


def called(body: Body) -> list[str]:
    content = json.loads(body.content)
    first, *others = content["blocks"]
    assert "<" not in content["text"]
    assert not re.search(r"<[@!](?!date)", json.dumps((others, content["attachments"])))
    return re.findall(r"<(?:@|!(?!date))[^>]*>", first["text"]["text"])


def marked_up(body: Body) -> Iterator[str]:
    """Yield the text of notifications and those of the layout that are markup."""
    message = json.loads(body.content)
    yield message["text"]
    yield from (value["text"] for value in objects(message) if value.get("type") == "mrkdwn")


def objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from objects(inner)


def refusal(code: str, status: int = 200) -> ServiceReply:
    return json_reply({"ok": False, "error": code}, status)


def history(delivery: Delivery) -> ServiceReply:
    metadata = {"event_type": "gaussdb_task", "event_payload": {"key": delivery.id}}
    return json_reply({"ok": True, "messages": [{"ts": "1768465800.000001", "metadata": metadata}]})


def changes_nothing(request: Request) -> bool:
    return request.body == b'{"text":""}' or request.target == "/api/auth.test"


WEBHOOK = HttpService(
    harmless=changes_nothing,
    failing=(
        Failing(reply=ServiceReply(status=404, body=b"no_service"), means="misconfigured"),
        Failing(reply=ServiceReply(status=403, body=b"action_prohibited"), means="misconfigured"),
        Failing(reply=ServiceReply(status=400, body=b"invalid_payload"), means="content"),
    ),
)
BOT = HttpService(
    lacking={
        "chat:write": {
            "POST /api/auth.test": json_reply(
                {"ok": True, "user": "gaussdb", "team": "acme"}, headers={"x-oauth-scopes": "channels:history"}
            )
        },
    },
    harmless=changes_nothing,
    success=json_reply({"ok": True, "channel": "C0GAUSS", "ts": "1768465800.000001"}),
    failing=(
        Failing(reply=refusal("invalid_auth"), means="misconfigured"),
        Failing(reply=refusal("not_in_channel"), means="misconfigured"),
        Failing(reply=refusal("msg_too_long"), means="content"),
        Failing(reply=refusal("ratelimited", 429), means="busy"),
    ),
    found=history,
    absent=json_reply({"ok": True, "messages": [], "has_more": False}),
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(bot,),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("U0123ABCD", "W0123ABCD", "S0123ABCD", "@here", "@channel", "@everyone"),
    calls=("<@U0123ABCD>", "<@W0123ABCD>", "<!subteam^S0123ABCD>", "<!here>", "<!channel>", "<!everyone>"),
    called=called,
    many="U{n:04d}",
    service=WEBHOOK,
    more_services={bot: BOT},
    rooms=(
        Room(limit=3_000, size=characters, texts=marked_up, whole=whole_entities),
        Room(limit=3_000, size=characters, texts=strings_at("text")),
    ),
)
