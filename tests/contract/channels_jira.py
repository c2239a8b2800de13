"""Jira for the contract suite: the creation of an issue, and the search for it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, characters, json_reply
from servers.http import Request
from servers.jira import CLOUD_ID, TOKEN, USER, JiraServer, is_document, shown
from servers.tickets import TicketServer

from notifier.core.delivery import Body, Delivery

SECRETS = (TOKEN, b64encode(f"{USER}:{TOKEN}".encode()).decode())


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"deployment": "cloud", "url": f"{base}/jira", "user": USER, "token": TOKEN, "project": "OPS"}


def scoped(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"cloud_id": CLOUD_ID, "api_url": base}


def data_center(base: str, _port: int) -> dict[str, Any]:
    return {"deployment": "data_center", "url": f"{base}/jira", "token": TOKEN, "project": "OPS"}


def texts(body: Body) -> list[str]:
    stored = json.loads(body.content)
    return [stored["description"], stored["comment"]]


def text(body: Body) -> str:
    stored = json.loads(body.content)
    shown_texts = (_read(one) for one in (*texts(body), stored["resolution"]))
    return "\n".join([stored["title"], stored["instance"], *shown_texts])


def _read(written: str) -> str:
    return shown(json.loads(written)) if written.startswith('{"type":"doc"') else written


def whole(written: str) -> bool:
    """Return whether a document is one that Jira takes, and whether wiki markup closes what it opens."""
    if written.startswith('{"type":"doc"'):
        return is_document(json.loads(written))
    return written.count("{noformat}") % 2 == 0 and written.count("{{") == written.count("}}")


def searches(request: Request) -> bool:
    return "/search" in request.target


def issue(*labels: str) -> dict[str, Any]:
    status = {"name": "To Do", "statusCategory": {"key": "new"}}
    fields = {"status": status, "labels": labels, "resolutiondate": None}
    return {"id": "10000", "key": "OPS-1", "fields": fields}


def found(delivery: Delivery) -> ServiceReply:
    assert delivery.ticket is not None
    return json_reply({"issues": [issue("gtb-other"), issue(delivery.ticket.key)], "isLast": True})


def refusal(status: int, **errors: str) -> ServiceReply:
    return json_reply({"errorMessages": [], "errors": errors}, status)


def without(right: str, api: str) -> dict[str, ServiceReply]:
    rights = ("BROWSE_PROJECTS", "CREATE_ISSUES", "ADD_COMMENTS", "TRANSITION_ISSUES")
    permissions = {name: {"havePermission": name != right} for name in rights}
    return {
        f"GET {api}/myself": json_reply({"displayName": "GaussDB notifier"}),
        f"GET {api}/mypermissions": json_reply({"permissions": permissions}),
    }


def service(api: str, server: Callable[[Callable[[], datetime], timedelta], TicketServer]) -> HttpService:
    return HttpService(
        lacking={
            "Create Issues": without("CREATE_ISSUES", api),
            "Add Comments": without("ADD_COMMENTS", api),
            "Transition Issues": without("TRANSITION_ISSUES", api),
        },
        success=json_reply({"id": "10000", "key": "OPS-1", "self": "https://example.atlassian.net"}, 201),
        around={f"GET {api}/issue/10000?": json_reply(issue())},
        failing=(
            Failing(reply=refusal(400, summary="too long"), means="content"),
            Failing(reply=refusal(400, priority="The priority selected is invalid."), means="misconfigured"),
            Failing(reply=refusal(400, customfield_10010="Team is required."), means="misconfigured"),
            Failing(reply=json_reply({"errorMessages": ["Client must be authenticated"]}, 401), means="misconfigured"),
            Failing(reply=json_reply({"key": "OPS-1"}, 201), means="unknown"),
            Failing(
                reply=json_reply({}, 429, {"X-RateLimit-Reset": "2026-01-15T08:32Z"}),
                means="busy",
                wait=120,
            ),
        ),
        harmless=searches,
        tickets=lambda now: server(now, timedelta(seconds=50)),
        found=found,
        absent=json_reply({"issues": [], "isLast": True}),
    )


SAMPLE = Sample(
    settings=settings,
    more_modes=(scoped, data_center),
    text=text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    service=service("/jira/rest/api/3", JiraServer),
    more_services={
        scoped: service(f"/ex/jira/{CLOUD_ID}/rest/api/3", partial(JiraServer, scoped=True)),
        data_center: service("/jira/rest/api/2", partial(JiraServer, deployment="data_center")),
    },
    rooms=(
        Room(limit=255, size=characters, texts=lambda body: [json.loads(body.content)["title"]]),
        Room(limit=32_767, size=characters, texts=texts, whole=whole),
    ),
    digests=False,
)
