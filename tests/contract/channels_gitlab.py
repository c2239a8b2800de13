"""Issues on GitLab for the contract suite."""

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
    whole_escapes,
)
from servers.gitlab import TOKEN, GitLabServer

from notifier.core.delivery import Delivery
from notifier.core.tickets import operation_of, ticket_key

SECRETS = (TOKEN,)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"url": base, "token": TOKEN, "project": "acme/ops"}


def by_severity(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"project": {"error": "42", "critical": "acme/urgent"}, "assignee": "7"}


def issue(description: str = "") -> dict[str, Any]:
    url = "https://gitlab.com/acme/ops/-/issues/12"
    return {"id": 1_012, "iid": 12, "web_url": url, "state": "opened", "description": description}


def found(delivery: Delivery) -> ServiceReply:
    key = ticket_key("dba", operation_of(delivery.events[0]) or "", 1)
    return json_reply([issue(f"text\n\n<!-- {key} -->")])


def refusal(status: int, value: Any, means: Means) -> Failing:
    return Failing(reply=json_reply(value, status), means=means)


LIMITED = b"This endpoint has been requested too many times. Try again later."

SERVICE = HttpService(
    success=json_reply(issue(), 201),
    failing=(
        refusal(401, {"message": "401 Unauthorized"}, "misconfigured"),
        refusal(401, {"error": "invalid_token", "error_description": "Token is expired."}, "misconfigured"),
        refusal(403, {"error": "insufficient_scope", "scope": "api"}, "misconfigured"),
        refusal(403, {"message": "403 Forbidden"}, "misconfigured"),
        refusal(404, {"message": "404 Project Not Found"}, "misconfigured"),
        refusal(400, {"error": "milestone_id is invalid"}, "misconfigured"),
        refusal(400, {"message": {"title": ["is too long (maximum is 255 characters)"]}}, "content"),
        Failing(reply=ServiceReply(status=429, body=LIMITED), means="busy"),
        Failing(reply=ServiceReply(status=429, body=LIMITED, headers={"Retry-After": "40"}), means="busy", wait=40),
        refusal(500, {"message": "500 Internal Server Error"}, "later"),
        Failing(reply=json_reply({"id": 1_012}, 201), means="unknown"),
        Failing(reply=json_reply([issue()], 201), means="unknown"),
        Failing(reply=json_reply(issue(), 200), means="unknown"),
    ),
    statuses=dict.fromkeys((301, 302, 307, 308), "misconfigured"),
    found=found,
    absent=json_reply([]),
    tickets=GitLabServer,
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
        Room(limit=255, size=characters, texts=strings_at("title")),
        Room(limit=1_000_000, size=characters, texts=strings_at("description", "comment"), whole=whole_escapes),
    ),
    digests=False,
)
