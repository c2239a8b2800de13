"""Redmine for the contract suite: the creation of an issue, and the search for it."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from channels_sample import (
    Failing,
    HttpService,
    Room,
    Sample,
    ServiceReply,
    characters,
    json_reply,
    strings_at,
    ticket_text,
    utf8_bytes,
)
from servers.redmine import API_KEY, RedmineServer

from notifier.core.delivery import Delivery

SECRETS = (API_KEY,)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"url": f"{base}/redmine", "api_key": API_KEY, "project": "ops"}


def with_field(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"key_field": 7, "text_format": "markdown"}


def whole(written: str) -> bool:
    """Return whether each tag of code is closed, and each block of Markdown."""
    tags = all(len(re.findall(f"<{tag}>", written)) == written.count(f"</{tag}>") for tag in ("code", "pre"))
    return tags and written.count("```") % 2 == 0


def issue(key: str) -> dict[str, Any]:
    status = {"id": 1, "name": "New", "is_closed": False}
    return {"id": 1, "status": status, "subject": f"x [{key}]", "custom_fields": [{"id": 7, "value": key}]}


def found(delivery: Delivery) -> ServiceReply:
    assert delivery.ticket is not None
    return json_reply({"issues": [issue(delivery.ticket.key)], "total_count": 1})


def refusal(status: int, *errors: str) -> ServiceReply:
    return json_reply({"errors": errors}, status)


SERVICE = HttpService(
    success=json_reply({"issue": issue("gtb-x")}, 201),
    failing=(
        Failing(reply=refusal(422, "Subject is too long (maximum is 255 characters)"), means="content"),
        Failing(reply=refusal(422, "Team cannot be blank"), means="misconfigured"),
        Failing(reply=ServiceReply(status=401), means="misconfigured"),
        Failing(reply=ServiceReply(status=403), means="misconfigured"),
        Failing(reply=ServiceReply(status=404), means="misconfigured"),
        Failing(reply=json_reply({"issue": {"subject": "x"}}, 201), means="unknown"),
    ),
    found=found,
    absent=json_reply({"issues": [], "total_count": 0}),
    tickets=RedmineServer,
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(with_field,),
    text=ticket_text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    push=lambda body: str(json.loads(body.content)["title"]),
    service=SERVICE,
    more_services={
        with_field: HttpService(
            success=SERVICE.success,
            failing=SERVICE.failing,
            found=found,
            absent=SERVICE.absent,
            tickets=partial(RedmineServer, key_field=7),
        )
    },
    rooms=(
        Room(limit=228, size=characters, texts=strings_at("title")),
        Room(limit=65_000, size=utf8_bytes, texts=strings_at("description", "comment"), whole=whole),
    ),
    digests=False,
)
