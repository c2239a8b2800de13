"""The Rocket.Chat channel for the contract suite."""

from __future__ import annotations

import json
import re
from typing import Any

from channels_sample import Sample

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


SAMPLE = Sample(
    settings=settings,
    more_modes=(addressed,),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    mentions=("@alice", "@here", "@all"),
    called=called,
    many="@user{n}",
)
