"""Robots of DingTalk for the contract suite: custom ones, signed and not, and those of apps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf8_bytes, whole_escapes
from servers.http import Request

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-token", "SECobviously-fake", "obviously-fake-app-secret", "obviously-fake-access-token")


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/robot/send?access_token={SECRETS[0]}"}


def signed(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"secret": SECRETS[1], "keyword": "GaussDB"}


def app(base: str, _port: int) -> dict[str, Any]:
    return {
        "app_key": "dingdemo",
        "app_secret": SECRETS[2],
        "robot_code": "dingdemo",
        "conversation_id": "cidDemo==",
        "api_url": base,
    }


def content(body: Body) -> dict[str, str]:
    message = json.loads(body.content)
    found: dict[str, str] = json.loads(message["msgParam"]) if "msgParam" in message else message["markdown"]
    return found


def text(body: Body) -> str:
    return content(body)["text"].replace("\\", "")


def parameters(body: Body) -> Iterator[str]:
    """Yield the whole parameters of a message, as an app has them."""
    yield json.dumps(content(body), ensure_ascii=False)


def called(body: Body) -> list[str]:
    at = json.loads(body.content)["at"]
    found = [*at.get("atUserIds", ()), *at.get("atMobiles", ()), *(["@all"] if at["isAtAll"] else [])]
    shown = re.findall(r"@(?!\u200b)[\w.$-]+", text(body).splitlines()[0])
    assert [f"@{who.removeprefix('@')}" for who in found] == shown, "who is called is highlighted"
    return found


def refusal(code: int, words: str = "no") -> ServiceReply:
    return json_reply({"errcode": code, "errmsg": words})


def error(code: str, status: int = 400) -> ServiceReply:
    return json_reply({"code": code, "message": "no", "requestid": "0"}, status)


def has_no_content(request: Request) -> bool:
    return request.body == b'{"msgtype":"markdown"}'


ROBOT = HttpService(
    success=refusal(0, "ok"),
    failing=(
        Failing(
            reply=json_reply({"status": 1111, "wait": 5, "source": "x5", "punish": "deny", "errcode": 130101}),
            means="busy",
            wait=600,
        ),
        Failing(reply=refusal(300005, "token is not exist"), means="misconfigured"),
        Failing(reply=refusal(310000, "keywords not in content"), means="misconfigured"),
        Failing(reply=refusal(310000, "invalid timestamp"), means="misconfigured"),
        Failing(reply=refusal(310000, "sign not match"), means="misconfigured"),
        Failing(reply=refusal(-1, "system busy"), means="later"),
        Failing(reply=refusal(88), means="later"),
        Failing(reply=json_reply({"errmsg": "ok"}), means="unknown"),
    ),
    harmless=has_no_content,
)
APP = HttpService(
    success=json_reply({"processQueryKey": "key"}),
    around={"POST /v1.0/oauth2/accessToken": json_reply({"accessToken": SECRETS[3], "expireIn": 7200})},
    failing=(
        Failing(reply=error("invalidParameter.robotCode.empty"), means="misconfigured"),
        Failing(reply=error("invalidParameter.openConversationId.invalid"), means="misconfigured"),
        Failing(reply=error("invalidParameter.msgParam.invalid"), means="content"),
        Failing(reply=error("Forbidden.AccessDenied.QpsLimitForApi", 403), means="busy", wait=60),
        Failing(reply=error("InvalidAuthentication", 401), means="misconfigured"),
        Failing(reply=json_reply({"processQueryKey": ""}), means="unknown"),
    ),
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(signed, app),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("dingtalk:manager123", "13800000000", "@all"),
    calls=("manager123", "13800000000", "@all"),
    called=called,
    many="dingtalk:user{n}",
    service=ROBOT,
    more_services={app: APP},
    rooms=(
        Room(limit=15_000, size=utf8_bytes, texts=parameters),
        Room(limit=15_000, size=utf8_bytes, texts=lambda body: [content(body)["text"]], whole=whole_escapes),
    ),
)
