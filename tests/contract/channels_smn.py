"""A topic of SMN for the contract suite."""

from __future__ import annotations

import json
from typing import Any

from channels_sample import Failing, HttpService, Room, Sample, ServiceReply, characters, json_reply, utf8_bytes
from servers.smn import ACCESS_KEY, SECRET_KEY, URN

from notifier.core.delivery import Body

SECRETS = (SECRET_KEY, "obviously-fake-security-token")


def settings(base: str, _port: int) -> dict[str, Any]:
    return {"topic_urn": URN, "access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "endpoint": base}


def temporary(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"security_token": SECRETS[1]}


def message(body: Body) -> dict[str, str]:
    found: dict[str, str] = json.loads(body.content)
    return found


def texts(body: Body) -> dict[str, str]:
    found: dict[str, str] = json.loads(message(body)["message_structure"])
    return found


def without_brackets(text: str) -> bool:
    return not set("[]【】") & set(text)


def refusal(status: int, code: str) -> ServiceReply:
    return json_reply({"code": code, "message": "no", "request_id": "r"}, status)


def gateway(status: int, code: str) -> ServiceReply:
    return json_reply({"error_code": code, "error_msg": "no", "request_id": "r"}, status)


SAMPLE = Sample(
    settings=settings,
    more_modes=(temporary,),
    text=lambda body: texts(body)["default"],
    secrets=SECRETS,
    http={"timeout": "150ms"},
    service=HttpService(
        success=json_reply({"message_id": "message", "request_id": "r"}),
        failing=(
            Failing(reply=refusal(403, "SMN.0008"), means="content"),
            Failing(reply=refusal(403, "SMN.0009"), means="content"),
            Failing(reply=refusal(403, "SMN.0001"), means="misconfigured"),
            Failing(reply=refusal(404, "SMN.0006"), means="misconfigured"),
            Failing(reply=refusal(400, "SMN.0005"), means="misconfigured"),
            Failing(reply=refusal(403, "SMN.0065"), means="later"),
            Failing(reply=refusal(500, "SMN.0016"), means="later"),
            Failing(reply=refusal(200, "SMN.0190"), means="later"),
            Failing(reply=gateway(401, "APIGW.0301"), means="misconfigured"),
            Failing(reply=gateway(429, "APIGW.0308"), means="busy", wait=60),
            Failing(reply=json_reply({"request_id": "r"}), means="unknown"),
            Failing(reply=json_reply({"message_id": ""}), means="unknown"),
        ),
    ),
    rooms=(
        Room(limit=512, size=utf8_bytes, texts=lambda body: [message(body)["subject"]]),
        Room(limit=490, size=characters, texts=lambda body: [texts(body)["sms"]], whole=without_brackets),
        Room(limit=262_144, size=utf8_bytes, texts=lambda body: [message(body)["message_structure"]]),
    ),
)
