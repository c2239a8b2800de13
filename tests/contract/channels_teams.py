"""The workflow of a Teams channel for the contract suite."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, json_reply, utf8_bytes

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-signature",)


def settings(base: str, _port: int) -> dict[str, Any]:
    path = "/powerautomate/automations/direct/workflows/0a1b2c3d/triggers/manual/paths/invoke"
    return {"webhook_url": f"{base}{path}?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig={SECRETS[0]}"}


def card(body: Body) -> dict[str, Any]:
    (attachment,) = json.loads(body.content)["attachments"]
    found: dict[str, Any] = attachment["content"]
    return found


def shown(value: object) -> Iterator[str]:
    """Yield the lines of a card, from top to bottom."""
    if isinstance(value, list):
        for inner in value:
            yield from shown(inner)
    elif isinstance(value, dict):
        if value.get("type") == "RichTextBlock":
            yield "".join(run["text"] for run in value["inlines"])
        elif value.get("type") == "TextBlock":
            yield value["text"]
        yield from shown(value.get("items", []))


def text(body: Body) -> str:
    return "\n".join((card(body)["fallbackText"], *shown(card(body)["body"])))


def called(body: Body) -> list[str]:
    entities = card(body)["msteams"].get("entities", [])
    marks = [mark for line in text_blocks(card(body)["body"]) for mark in re.findall("<at>[^<]*</at>", line)]
    assert [entity["text"] for entity in entities] == marks, "who is called is named in the text"
    return [entity["mentioned"]["id"] for entity in entities]


def text_blocks(value: object) -> Iterator[str]:
    """Yield the texts that are Markdown, and in which a mark calls somebody."""
    if isinstance(value, dict):
        if value.get("type") == "TextBlock":
            yield value["text"]
        for inner in value.values():
            yield from text_blocks(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from text_blocks(inner)


def refusal(code: str, status: int) -> ServiceReply:
    return json_reply({"error": {"code": code, "message": "no"}}, status)


SERVICE = HttpService(
    failing=(
        Failing(reply=refusal("DirectApiAuthorizationRequired", 401), means="misconfigured"),
        Failing(reply=refusal("AuthorizationFailed", 403), means="misconfigured"),
        Failing(reply=refusal("WorkflowNotFound", 404), means="misconfigured"),
        Failing(reply=refusal("WorkflowTriggerIsNotEnabled", 400), means="misconfigured"),
        Failing(reply=refusal("TriggerInputSchemaMismatch", 400), means="content"),
        Failing(reply=json_reply({}, 429, {"Retry-After": "30"}), means="busy", wait=30),
        Failing(
            reply=ServiceReply(
                body=b"Webhook message delivery failed with error: Microsoft Teams endpoint returned "
                b"HTTP error 429 with ContextId"
            ),
            means="busy",
            wait=60,
        ),
        Failing(reply=json_reply({"success": False}), means="later"),
    ),
)

SAMPLE = Sample(
    settings=settings,
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    push=lambda body: next(shown(card(body)["body"])),
    mentions=("teams:alice@example.com", "teams:bob@example.com|On call", "teams:7f3c2a10-4b1e-4c8e-9d2a-0123456789ab"),
    calls=("alice@example.com", "bob@example.com", "7f3c2a10-4b1e-4c8e-9d2a-0123456789ab"),
    called=called,
    many="teams:user{n}@example.com",
    service=SERVICE,
    rooms=(Room(limit=24_000, size=utf8_bytes, texts=lambda body: [body.content.decode()]),),
)
