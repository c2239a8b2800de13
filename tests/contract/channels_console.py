"""The console channel for the contract suite."""

from __future__ import annotations

from typing import Any

from channels_sample import Sample

from notifier.core.delivery import Body


def settings(_base: str, _port: int) -> dict[str, Any]:
    return {}


def brief(_base: str, _port: int) -> dict[str, Any]:
    return {"style": "line"}


def own(_base: str, _port: int) -> dict[str, Any]:
    return {"templates": {"*": {"title": "{{ headline }}"}}}


def text(body: Body) -> str:
    return body.content.decode()


SAMPLE = Sample(settings=settings, more_modes=(brief, own), text=text, remote=False)
