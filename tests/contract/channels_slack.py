"""The Slack channel, as an incoming webhook and with a token, for the contract suite."""

from __future__ import annotations

import json
import re
from typing import Any

from channels_sample import Sample

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-hook", "xoxb-obviously-fake-token")


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/services/T000/B000/{SECRETS[0]}"}


def bot(base: str, _port: int) -> dict[str, Any]:
    return {"bot_token": SECRETS[1], "channel": "C0GAUSS", "api_url": f"{base}/api/", "timeout": "1s"}


def text(body: Body) -> str:
    return body.content.decode()


def called(body: Body) -> list[str]:
    content = json.loads(body.content)
    first, *others = content["blocks"]
    assert "<" not in content["text"]
    assert not re.search(r"<[@!](?!date)", json.dumps((others, content["attachments"])))
    return re.findall(r"<(?:@|!(?!date))[^>]*>", first["text"]["text"])


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
)
