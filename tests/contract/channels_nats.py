"""The nats channel for the contract suite."""

from __future__ import annotations

import json
from typing import Any

from channels_sample import Sample

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-password", "obviously-fake-token")


def settings(_base: str, port: int) -> dict[str, Any]:
    login = {"username": "notifier", "password": SECRETS[0]}
    return {"servers": [f"127.0.0.1:{port}"], "tls": False, "subject": "gaussdb.{type}", "timeout": "2s"} | login


def structured(base: str, port: int) -> dict[str, Any]:
    return settings(base, port) | {"format": "structured"}


def with_token(_base: str, port: int) -> dict[str, Any]:
    return settings("", port) | {"username": None, "password": None, "token": SECRETS[1]}


def text(body: Body) -> str:
    return json.dumps(json.loads(body.content), ensure_ascii=False)


def called(body: Body) -> list[str]:
    found: list[str] = json.loads(body.content)["data"].get("mention", [])
    return found


SAMPLE = Sample(
    settings=settings,
    more_modes=(structured, with_token),
    text=text,
    secrets=SECRETS,
    mentions=("oncall", "U0123ABCD", "@here", "值班"),
    called=called,
    raw=True,
)
