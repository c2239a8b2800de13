"""Jira Service Management Operations for the contract suite: alerts through an integration."""

from __future__ import annotations

import json
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, characters, json_reply
from servers.jsm import API, API_KEY, JsmServer

from notifier.core.delivery import Body


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"api_key": API_KEY, "url": base}


def texts(body: Body) -> list[str]:
    stored = json.loads(body.content)
    return [stored["description"], stored["comment"]]


def text(body: Body) -> str:
    stored = json.loads(body.content)
    return "\n".join((stored["title"], stored["instance"], *texts(body), stored["resolution"]))


def refusal(status: int, words: str = "no") -> ServiceReply:
    return json_reply({"message": words, "took": 0.1, "requestId": "0"}, status)


SAMPLE = Sample(
    settings=settings,
    text=text,
    secrets=(API_KEY,),
    http={"timeout": "150ms"},
    service=HttpService(
        success=json_reply({"result": "Request will be processed", "took": 0.1, "requestId": "00000001-request"}, 202),
        around={f"GET {API}/requests/": json_reply({"data": {"isSuccess": True, "status": "Created alert"}})},
        failing=(
            Failing(reply=refusal(401, "Could not authenticate"), means="misconfigured"),
            Failing(reply=refusal(403, "You are not authorized"), means="misconfigured"),
            Failing(reply=refusal(422, "message is too long"), means="content"),
            Failing(reply=refusal(429, "You are making too many requests!"), means="busy"),
            Failing(reply=json_reply({"result": "Request will be processed"}, 202), means="unknown"),
        ),
        tickets=JsmServer,
    ),
    rooms=(
        Room(limit=130, size=characters, texts=lambda body: [json.loads(body.content)["title"]]),
        Room(limit=15_000, size=characters, texts=texts),
    ),
    digests=False,
)
