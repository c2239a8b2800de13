"""Tickets in Zendesk for the contract suite."""

from __future__ import annotations

from typing import Any

from channels_sample import (
    Failing,
    HttpService,
    Means,
    Room,
    Sample,
    ServiceReply,
    characters,
    json_reply,
    strings_at,
    ticket_text,
)
from servers.zendesk import BASIC, CLOSED_REFUSAL, TOKEN, USER, ZendeskServer

from notifier.core.delivery import Delivery
from notifier.core.tickets import operation_of, ticket_key

SECRETS = (TOKEN, BASIC.removeprefix("Basic "))


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"url": base, "user": USER, "token": TOKEN}


def with_oauth(base: str, _port: int) -> dict[str, Any]:
    return {"url": base, "token": TOKEN, "priority": {"error": "high"}, "assignee": "5", "project": {"error": 360}}


def ticket(external_id: str = "") -> dict[str, Any]:
    return {"id": 12, "status": "new", "external_id": external_id, "subject": "x"}


def found(delivery: Delivery) -> ServiceReply:
    key = ticket_key("dba", operation_of(delivery.events[0]) or "", 1)
    return json_reply({"tickets": [ticket(f"{key}x"), ticket(key)], "count": 2})


def refusal(number: int, error: Any, means: Means, **details: str) -> Failing:
    shown = {field: [{"description": text}] for field, text in details.items()}
    return Failing(reply=json_reply({"error": error, "details": shown}, number), means=means)


SERVICE = HttpService(
    success=json_reply({"ticket": ticket()}, 201),
    failing=(
        refusal(401, "Couldn't authenticate you", "misconfigured"),
        refusal(403, {"title": "Forbidden", "message": "You do not have access to this page"}, "misconfigured"),
        refusal(400, "IdempotentRequestError", "later"),
        refusal(422, "RecordInvalid", "misconfigured", assignee="Assignee: is not an agent"),
        refusal(422, "RecordInvalid", "misconfigured", group_id="Group: is invalid"),
        refusal(422, "RecordInvalid", "later", status=CLOSED_REFUSAL),
        refusal(422, "RecordInvalid", "content", subject="Subject: is too long"),
        refusal(422, "RecordInvalid", "content", base="Cause: is required when solving a ticket"),
        refusal(409, "Conflict", "later"),
        Failing(reply=json_reply({"error": "TooManyRequests"}, 429, {"Retry-After": "93"}), means="busy", wait=93),
        Failing(reply=json_reply({"tickets": [ticket()]}, 201), means="unknown"),
        Failing(reply=json_reply(ticket(), 201), means="unknown"),
    ),
    found=found,
    absent=json_reply({"tickets": [], "count": 0}),
    tickets=ZendeskServer,
)


SAMPLE = Sample(
    settings=settings,
    more_modes=(with_oauth,),
    text=ticket_text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    push=lambda body: next(strings_at("title")(body)),
    service=SERVICE,
    rooms=(
        Room(limit=150, size=characters, texts=strings_at("title")),
        Room(limit=64_000, size=characters, texts=strings_at("description", "comment")),
    ),
    digests=False,
)
