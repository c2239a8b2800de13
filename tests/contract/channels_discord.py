"""Discord for the contract suite: a webhook, one of a thread, and a bot."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf16_units, whole_escapes

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-webhook-token", "obviously.fake.bot-token")
CHANNEL = "112233445566778899"


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/api/webhooks/998877665544332211/{SECRETS[0]}"}


def in_thread(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"thread_id": "223344556677889900", "style": "post"}


def bot(base: str, _port: int) -> dict[str, Any]:
    return {"bot_token": SECRETS[1], "channel_id": CHANNEL, "api_url": f"{base}/api/v10"}


def texts(body: Body) -> Iterator[str]:
    message = json.loads(body.content)
    yield message["content"]
    yield from (embed["description"] for embed in message["embeds"])


def text(body: Body) -> str:
    return "\n".join(texts(body)).replace("\\", "")


def called(body: Body) -> list[str]:
    message = json.loads(body.content)
    allowed = message["allowed_mentions"]
    shown = re.findall(r"(?<!\\)<@&?\d+>|@(?:here|everyone)(?!\u200b)", message["content"].splitlines()[0])
    ids = {*(f"<@{who}>" for who in allowed.get("users", ())), *(f"<@&{who}>" for who in allowed.get("roles", ()))}
    assert {one for one in shown if one.startswith("<")} == ids, "who is named may be called"
    assert any(one.startswith("@") for one in shown) == (allowed["parse"] == ["everyone"])
    return shown


def refusal(code: int, status: int = 400) -> ServiceReply:
    return json_reply({"code": code, "message": "no"}, status)


MESSAGE = {"id": "123456789012345678", "channel_id": CHANNEL, "content": "…"}
FAILING = (
    Failing(reply=refusal(10015, 404), means="misconfigured"),
    Failing(reply=refusal(50027, 401), means="misconfigured"),
    Failing(reply=refusal(10003, 404), means="misconfigured"),
    Failing(reply=refusal(50001, 403), means="misconfigured"),
    Failing(reply=refusal(50013, 403), means="misconfigured"),
    Failing(reply=refusal(50083), means="misconfigured"),
    Failing(reply=refusal(220001), means="misconfigured"),
    Failing(reply=refusal(50035), means="content"),
    Failing(reply=refusal(50006), means="content"),
    Failing(
        reply=json_reply({"message": "slow", "retry_after": 1.337, "global": False}, 429), means="busy", wait=1.337
    ),
    Failing(reply=json_reply({"code": 20028, "retry_after": 64.5}, 429), means="busy", wait=64.5),
    Failing(reply=json_reply({"code": 0, "message": "401: Unauthorized"}, 401), means="misconfigured"),
    Failing(reply=json_reply({"id": "not a number", "channel_id": CHANNEL}), means="unknown"),
)
SERVICE = HttpService(success=json_reply(MESSAGE), failing=FAILING)

SAMPLE = Sample(
    settings=settings,
    more_modes=(in_thread, bot),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("discord:123456789012345678", "discord:&223456789012345678", "@here", "@everyone"),
    calls=("<@123456789012345678>", "<@&223456789012345678>", "@here", "@everyone"),
    called=called,
    many="discord:{n:018d}",
    service=SERVICE,
    more_services={bot: SERVICE},
    rooms=(
        Room(limit=2_000, size=utf16_units, texts=lambda body: [next(texts(body))], whole=whole_escapes),
        Room(limit=4_096, size=utf16_units, texts=texts, whole=whole_escapes),
        Room(limit=6_000, size=utf16_units, texts=lambda body: ["".join([*texts(body)][1:])]),
    ),
)
