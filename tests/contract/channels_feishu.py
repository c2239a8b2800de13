"""Bots of Feishu for the contract suite: custom ones, signed and not, and those of apps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf8_bytes
from servers.http import Request

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-hook", "obviously-fake-secret", "obviously-fake-app-secret", "t-obviously-fake-token")


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/open-apis/bot/v2/hook/{SECRETS[0]}"}


def signed(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"secret": SECRETS[1], "keyword": "GaussDB"}


def app(base: str, _port: int) -> dict[str, Any]:
    return {"app_id": "cli_demo", "app_secret": SECRETS[2], "chat_id": "oc_demo", "api_url": base}


def contents(value: object) -> Iterator[str]:
    """Yield the texts of a card in the order in which they are read, with the addresses of its buttons."""
    if isinstance(value, dict):
        yield from (text for key in ("content", "url") if isinstance(text := value.get(key), str))
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from contents(inner)


def marked_up(body: Body) -> Iterator[str]:
    """Yield the texts in which there is markup."""

    def within(value: object) -> Iterator[str]:
        if isinstance(value, dict) and value.get("tag") == "lark_md":
            yield value["content"]
        elif isinstance(value, dict | list):
            for inner in value.values() if isinstance(value, dict) else value:
                yield from within(inner)

    return within(json.loads(body.content))


def whole(body_or_text: str) -> bool:
    """Return whether no entity and no tag was cut in two, and nothing begins a tag but our mentions."""
    ours = re.sub(r"<at id=\w+></at>", "", body_or_text)
    return "<" not in ours and not re.search(r"&(?!(lt|gt);)(?=[a-z#])", re.sub(r"&\u200b|& ", "", ours))


def text(body: Body) -> str:
    return "\n".join(contents(json.loads(body.content)))


def called(body: Body) -> list[str]:
    return [who for shown in marked_up(body) for who in re.findall(r"<at id=(\w+)></at>", shown)]


def whole_body(body: Body) -> Iterator[str]:
    """Yield a card as it is sent by an app: JSON within a text of JSON."""
    yield json.dumps(body.content.decode(), ensure_ascii=False)


def refusal(code: int, status: int = 200, **more: object) -> ServiceReply:
    return json_reply({"code": code, "msg": "no", "data": {}, **more}, status)


def has_no_card(request: Request) -> bool:
    return "card" not in json.loads(request.body)


HOOK = HttpService(
    success=json_reply({"StatusCode": 0, "StatusMessage": "success", "code": 0, "data": {}, "msg": "success"}),
    failing=(
        Failing(reply=refusal(11232), means="busy", wait=60),
        Failing(reply=refusal(19021), means="misconfigured"),
        Failing(reply=refusal(19022), means="misconfigured"),
        Failing(reply=refusal(19024), means="misconfigured"),
        Failing(reply=refusal(9499), means="content"),
        Failing(reply=refusal(9499, 400), means="content"),
        Failing(reply=refusal(99999), means="later"),
        Failing(reply=refusal(19021, StatusCode=0), means="misconfigured"),
        Failing(reply=json_reply({"StatusCode": 0, "StatusMessage": "success"}), means="delivered"),
        Failing(reply=json_reply({"msg": "success"}), means="unknown"),
    ),
    harmless=has_no_card,
)
APP = HttpService(
    success=json_reply({"code": 0, "msg": "success", "data": {"message_id": "om_1"}}),
    around={
        "POST /open-apis/auth/v3/tenant_access_token/internal": json_reply(
            {"code": 0, "msg": "ok", "tenant_access_token": SECRETS[3], "expire": 7200}
        )
    },
    failing=(
        Failing(reply=refusal(99991400, 429), means="busy", wait=10),
        Failing(
            reply=json_reply({"code": 99991400, "msg": "no"}, 400, {"x-ogw-ratelimit-reset": "41"}),
            means="busy",
            wait=41,
        ),
        Failing(reply=refusal(99991663, 400), means="misconfigured"),
        Failing(reply=refusal(230002, 400), means="misconfigured"),
        Failing(reply=refusal(230099, 400), means="content"),
        Failing(reply=refusal(230099), means="later"),
        Failing(reply=json_reply({"code": 0, "data": {}}), means="unknown"),
    ),
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(signed, app),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("ou_0123abcd", "@all"),
    calls=("ou_0123abcd", "all"),
    called=called,
    many="ou_user{n}",
    service=HOOK,
    more_services={app: APP},
    rooms=(
        Room(limit=19_000, size=utf8_bytes, texts=lambda body: [body.content.decode()]),
        Room(limit=30_000, size=utf8_bytes, texts=whole_body),
        Room(limit=19_000, size=utf8_bytes, texts=lambda body: [*marked_up(body), ""], whole=whole),
    ),
)
