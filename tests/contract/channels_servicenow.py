"""ServiceNow for the contract suite: the creation of an incident, and the search for it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
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
)
from servers.servicenow import CLIENT_ID, CLIENT_SECRET, PASSWORD, TOKEN, USER, ServiceNowServer

from notifier.core.delivery import Delivery

SECRETS = (PASSWORD, b64encode(f"{USER}:{PASSWORD}".encode()).decode(), CLIENT_SECRET, TOKEN)


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"url": base, "user": USER, "password": PASSWORD, "close_code": "Solution provided"}


def with_client(base: str, _port: int) -> dict[str, Any]:
    auth = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
    return {"url": base, "auth": auth, "close_code": "Solution provided"}


def whole(written: str) -> bool:
    """Return whether no HTML begins."""
    return not re.search(r"\[/?code\]", written, re.IGNORECASE)


def incident(key: str) -> dict[str, Any]:
    shown = {"sys_id": "0" * 32, "number": "INC0000001", "state": "1", "correlation_id": key}
    return {name: {"value": value, "display_value": value} for name, value in shown.items()}


def found(delivery: Delivery) -> ServiceReply:
    assert delivery.ticket is not None
    key = delivery.ticket.key
    return json_reply({"result": [incident(f"{key}x"), incident(key)]})


def refusal(status: int, message: str, detail: str = "", headers: dict[str, str] | None = None) -> ServiceReply:
    return json_reply({"error": {"message": message, "detail": detail}, "status": "failure"}, status, headers)


SERVICE = HttpService(
    success=json_reply({"result": incident("gtb-x")}, 201),
    failing=(
        Failing(reply=refusal(401, "User Not Authenticated"), means="misconfigured"),
        Failing(reply=refusal(403, "Operation Failed", "Data Policy Exception: Category"), means="misconfigured"),
        Failing(reply=refusal(400, "Exception while reading request"), means="content"),
        Failing(
            reply=refusal(429, "Rate limit exceeded", headers={"X-RateLimit-Reset": "1768465920"}),
            means="busy",
            wait=120,
        ),
        Failing(reply=json_reply({"result": []}, 201), means="unknown"),
        Failing(reply=json_reply({"result": {"number": "INC0000001"}}, 201), means="unknown"),
    ),
    found=found,
    absent=json_reply({"result": []}),
    tickets=ServiceNowServer,
)

ISSUED = json_reply({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 1799})

SAMPLE = Sample(
    settings=settings,
    more_modes=(with_client,),
    more_services={
        with_client: replace(
            SERVICE, around={"POST /oauth_token.do": ISSUED}, tickets=partial(ServiceNowServer, oauth=True)
        )
    },
    text=ticket_text,
    secrets=SECRETS,
    http={"timeout": "150ms"},
    push=lambda body: str(json.loads(body.content)["title"]),
    service=SERVICE,
    rooms=(
        Room(limit=160, size=characters, texts=strings_at("title")),
        Room(limit=3_500, size=characters, texts=strings_at("description", "comment"), whole=whole),
    ),
    digests=False,
)
