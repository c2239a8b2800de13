"""PagerDuty for the contract suite: alerts through the Events API."""

from __future__ import annotations

import json
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, characters, json_reply
from servers.http import Request
from servers.pagerduty import ROUTING_KEY, PagerDutyServer

from notifier.core.delivery import Body


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"routing_key": ROUTING_KEY, "url": base}


def text(body: Body) -> str:
    stored = json.loads(body.content)
    return "\n".join(stored[name] for name in ("title", "instance", "description", "comment", "resolution"))


def resolves_nothing(request: Request) -> bool:
    sent = json.loads(request.body)
    return (sent["event_action"], sent["dedup_key"]) == ("resolve", "gaussdb-notifier-check")


def refusal(*errors: str, status: int = 400) -> ServiceReply:
    return json_reply({"status": "invalid event", "message": "Event object is invalid", "errors": errors}, status)


SAMPLE = Sample(
    settings=settings,
    text=text,
    secrets=(ROUTING_KEY,),
    http={"timeout": "150ms"},
    service=HttpService(
        success=json_reply({"status": "success", "message": "Event processed", "dedup_key": "gtb"}, 202),
        failing=(
            Failing(reply=refusal("'payload.summary' is too long"), means="content"),
            Failing(reply=refusal("'routing_key' is invalid"), means="misconfigured"),
            Failing(
                reply=refusal("Length of 'routing_key' is incorrect (should be 32 characters)"), means="misconfigured"
            ),
            Failing(reply=json_reply({"status": "throttle exceeded"}, 429), means="busy", wait=30),
            Failing(reply=json_reply({"status": "accepted"}, 202), means="unknown"),
        ),
        harmless=resolves_nothing,
        tickets=PagerDutyServer,
    ),
    rooms=(
        Room(limit=1_024, size=characters, texts=lambda body: [json.loads(body.content)["title"]]),
        Room(limit=20_000, size=characters, texts=lambda body: [json.loads(body.content)["description"]]),
    ),
    digests=False,
)
