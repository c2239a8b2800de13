"""The Mattermost channel for the contract suite."""

from __future__ import annotations

from typing import Any

from channels_sample import Sample

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-hook",)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"webhook_url": f"{base}/hooks/{SECRETS[0]}"}


def addressed(base: str, _port: int) -> dict[str, Any]:
    more = {"channel": "dba", "username": "gaussdb", "icon_url": "https://example.com/icon.png"}
    return settings(base, 0) | more


def text(body: Body) -> str:
    return body.content.decode()


SAMPLE = Sample(settings=settings, more_modes=(addressed,), text=text, secrets=SECRETS, http={"timeout": "150ms"})
