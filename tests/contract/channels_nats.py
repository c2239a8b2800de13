"""The nats channel for the contract suite."""

from __future__ import annotations

from typing import Any

from channels_sample import Sample, event_mentions, json_text

SECRETS = ("obviously-fake-password", "obviously-fake-token")


def settings(_base: str, port: int) -> dict[str, Any]:
    login = {"username": "notifier", "password": SECRETS[0]}
    return {"servers": [f"127.0.0.1:{port}"], "tls": False, "subject": "gaussdb.{type}", "timeout": "2s"} | login


def structured(base: str, port: int) -> dict[str, Any]:
    return settings(base, port) | {"format": "structured"}


def with_token(_base: str, port: int) -> dict[str, Any]:
    return settings("", port) | {"username": None, "password": None, "token": SECRETS[1]}


SAMPLE = Sample(
    settings=settings,
    more_modes=(structured, with_token),
    text=json_text,
    secrets=SECRETS,
    mentions=("oncall", "U0123ABCD", "@here", "值班"),
    called=event_mentions,
    raw=True,
)
