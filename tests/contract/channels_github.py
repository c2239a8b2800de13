"""Issues on GitHub for the contract suite."""

from __future__ import annotations

from typing import Any

from channels_sample import (
    Failing,
    HttpService,
    Room,
    Sample,
    characters,
    json_reply,
    strings_at,
    ticket_text,
    whole_escapes,
)
from servers.github import TOKEN, GitHubServer
from servers.http import Request

from notifier.core.delivery import Delivery
from notifier.core.tickets import operation_of, ticket_key

SECRETS = (TOKEN,)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"url": base, "token": TOKEN, "project": "acme/ops"}


def by_severity(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"project": {"error": "acme/ops", "critical": "acme/urgent"}, "assignee": "octocat"}


def issue(body: str = "") -> dict[str, Any]:
    return {"number": 12, "html_url": "https://github.com/acme/ops/issues/12", "state": "open", "body": body}


def found(delivery: Delivery) -> list[dict[str, Any]]:
    key = ticket_key("dba", operation_of(delivery.events[0]) or "", 1)
    return [issue(f"text\n\n<!-- {key} -->")]


def is_empty(request: Request) -> bool:
    """Return whether a request opens an issue without a title, which GitHub refuses."""
    return request.method == "POST" and request.body == b"{}"


def refusal(status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Failing:
    means: Any = more.pop("means")
    wait = more.pop("wait", None)
    return Failing(reply=json_reply({"message": message, **more}, status, headers), means=means, wait=wait)


SERVICE = HttpService(
    success=json_reply(issue(), 201),
    failing=(
        refusal(403, "You have exceeded a secondary rate limit.", means="busy", wait=60),
        refusal(403, "You have exceeded a secondary rate limit.", {"Retry-After": "90"}, means="busy", wait=90),
        refusal(429, "API rate limit exceeded for user ID 1.", means="busy", wait=60),
        refusal(
            403,
            "API rate limit exceeded for user ID 1.",
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1768466700"},
            means="busy",
            wait=300,
        ),
        refusal(401, "Bad credentials", means="misconfigured"),
        refusal(403, "Resource not accessible by personal access token", means="misconfigured"),
        refusal(403, "Resource protected by organization SAML enforcement.", means="misconfigured"),
        refusal(403, "Repository was archived so is read-only.", means="misconfigured"),
        refusal(404, "Not Found", means="misconfigured"),
        refusal(410, "Issues are disabled for this repo", means="misconfigured"),
        refusal(301, "Moved Permanently", means="misconfigured"),
        refusal(422, "Validation Failed", errors=[{"resource": "Issue", "field": "assignees"}], means="misconfigured"),
        refusal(422, "Validation Failed", errors=[{"resource": "Issue", "field": "title"}], means="content"),
        refusal(422, "Validation Failed", errors=["body is too long (maximum is 65536 characters)"], means="content"),
        refusal(500, "Server Error", means="later"),
        Failing(reply=json_reply({"id": 1}, 201), means="unknown"),
        Failing(reply=json_reply([issue()], 201), means="unknown"),
        Failing(reply=json_reply(issue(), 200), means="unknown"),
    ),
    statuses=dict.fromkeys((301, 302, 307, 308), "misconfigured"),
    harmless=is_empty,
    lacking={
        "Issues": {
            "GET /api/v3/repos/acme/ops/issues": json_reply([]),
            "GET /api/v3/repos/acme/ops": json_reply({"full_name": "acme/ops", "has_issues": True}),
            "POST /api/v3/repos/acme/ops/issues": json_reply(
                {"message": "Resource not accessible by integration"}, 403
            ),
        },
        "archived": {"GET /api/v3/repos/acme/ops": json_reply({"full_name": "acme/ops", "archived": True})},
    },
    found=lambda delivery: json_reply(found(delivery)),
    absent=json_reply([]),
    tickets=GitHubServer,
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
        Room(limit=256, size=characters, texts=strings_at("title")),
        Room(limit=65_000, size=characters, texts=strings_at("description", "comment"), whole=whole_escapes),
    ),
    digests=False,
)
