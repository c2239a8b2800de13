"""The robot of a WeCom group for the contract suite."""

from __future__ import annotations

import json
import re
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf8_bytes
from servers.http import Request

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-key",)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/cgi-bin/webhook/send?key={SECRETS[0]}"}


def refusal(code: int, text: str = "no") -> ServiceReply:
    return json_reply({"errcode": code, "errmsg": text})


def has_no_content(request: Request) -> bool:
    return request.body == b'{"msgtype":"markdown"}'


def whole(text: str) -> bool:
    """Return whether colours and code are closed, and each `<` is of our own markup."""
    ours = re.sub(r'<font color="(info|comment|warning)">|</font>|<@[\w.@-]+>', "", text)
    balanced = text.count("<font") == text.count("</font>") and text.count("`") % 2 == 0
    return balanced and not re.search("<(?!\u200b)", ours)


def newer(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"format": "markdown_v2"}


def text(body: Body) -> str:
    message = json.loads(body.content)
    shown: str = message[message["msgtype"]]["content"]
    return shown


def called(body: Body) -> list[str]:
    message = json.loads(body.content)
    listed = message["text"] if message["msgtype"] == "text" else {}
    users = [*listed.get("mentioned_list", ()), *re.findall("<@([^>]*)>", text(body))]
    return [*users, *listed.get("mentioned_mobile_list", ())]


SERVICE = HttpService(
    success=refusal(0, "ok. Warning: wrong json format. "),
    failing=(
        Failing(reply=refusal(45009, "api freq out of limit"), means="busy", wait=60),
        Failing(reply=refusal(93000, "invalid webhook url, hint: [1], from ip: 203.0.113.7"), means="misconfigured"),
        Failing(reply=refusal(40008, "invalid message type"), means="content"),
        Failing(reply=refusal(-1, "system busy"), means="later"),
        Failing(reply=refusal(99999), means="later"),
        Failing(reply=json_reply({"errmsg": "ok"}), means="unknown"),
        Failing(reply=json_reply({"errcode": False}), means="later"),
    ),
    harmless=has_no_content,
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(newer,),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("wecom:zhangsan", "wecom:li.si@example", "@all", "13800000000"),
    calls=("zhangsan", "li.si@example", "@all", "13800000000"),
    called=called,
    many="wecom:user{n}",
    service=SERVICE,
    rooms=(Room(limit=4_096, size=utf8_bytes, texts=lambda body: [text(body)], whole=whole),),
)
