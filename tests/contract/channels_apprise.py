"""The Apprise channel for the contract suite."""

from __future__ import annotations

import json
from typing import Any

from channels_sample import Room, Sample, characters

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-password", "obviously-fake-path")


def settings(base: str, _port: int) -> dict[str, Any]:
    place = base.partition("://")[2]
    return {"url": f"json://notifier:{SECRETS[0]}@{place}/{SECRETS[1]}", "timeout": "10s"}


def text(body: Body) -> str:
    message = json.loads(body.content)
    return f"{message['title']}\n{message['body']}"


SAMPLE = Sample(
    settings=settings,
    text=text,
    secrets=SECRETS,
    unreachable="no connection to the service of Apprise",
    can_ask=False,
    rooms=(Room(limit=2_000, size=characters, texts=lambda body: [text(body)]),),
)
