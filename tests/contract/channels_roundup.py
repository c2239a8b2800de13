"""Tickets in Roundup for the contract suite; a real one is in `test_roundup`."""

from __future__ import annotations

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
)
from servers.http import Request
from servers.roundup_rest import PASSWORD, USER, RoundupServer

from notifier.core.delivery import Delivery
from notifier.core.tickets import operation_of, ticket_key

SECRETS = (PASSWORD,)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"url": f"{base}/tracker", "user": USER, "password": PASSWORD}


def by_severity(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"priority": {"critical": "critical", "error": "urgent"}, "assignee": "demo"}


def issue(title: str = "t") -> dict[str, Any]:
    return {"id": "12", "title": title, "status": {"id": "1", "name": "unread"}, "messages": []}


def found(delivery: Delivery) -> ServiceReply:
    key = ticket_key("dba", operation_of(delivery.events[0]) or "", 1)
    return json_reply({"data": {"collection": [issue(f"text [{key}]")]}})


def refusal(status: int, message: str, means: Any) -> Failing:
    return Failing(reply=json_reply({"error": {"status": status, "msg": message}}, status), means=means)


def is_empty(request: Request) -> bool:
    """Return whether a request opens a ticket without a title, which Roundup refuses."""
    return request.method == "POST" and request.body == b"{}"


SERVICE = HttpService(
    success=json_reply({"data": {"id": "12"}}, 201),
    around={
        "GET /tracker/rest/data/issue/12": json_reply({"data": {"id": "12", "attributes": issue(), "@etag": '"1"'}}),
        "POST /tracker/rest/data/msg": json_reply({"data": {"id": "3"}}, 201),
    },
    failing=(
        Failing(reply=ServiceReply(status=401, body=b"Invalid Login"), means="misconfigured"),
        refusal(403, "Permission Denied", "misconfigured"),
        refusal(400, 'property "priority": sky-high is not a priority.', "content"),
        refusal(429, "Api rate limits exceeded.", "later"),
        refusal(500, "An error occurred", "later"),
        Failing(reply=json_reply({"data": {}}, 201), means="unknown"),
    ),
    harmless=is_empty,
    found=found,
    absent=json_reply({"data": {"collection": []}}),
    tickets=RoundupServer,
)


SAMPLE = Sample(
    settings=settings,
    more_modes=(by_severity,),
    text=ticket_text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    push=lambda body: next(strings_at("title")(body)),
    service=SERVICE,
    rooms=(
        Room(limit=200, size=characters, texts=strings_at("title")),
        Room(limit=30_000, size=characters, texts=strings_at("description", "comment")),
    ),
    digests=False,
)
