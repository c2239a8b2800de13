"""The Slack channel, as an incoming webhook, for the contract suite."""

from __future__ import annotations

from typing import Any

from channels_sample import Sample

from notifier.core.model import Body

SECRETS = ("obviously-fake-hook",)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/services/T000/B000/{SECRETS[0]}"}


def text(body: Body) -> str:
    return body.content.decode()


SAMPLE = Sample(settings=settings, text=text, secrets=SECRETS, http={"timeout": "150ms"})
