"""The Slack channel, as an incoming webhook and with a token, for the contract suite."""

from __future__ import annotations

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


SAMPLE = Sample(settings=settings, more_modes=(bot,), text=text, secrets=SECRETS, http={"timeout": "150ms"})
