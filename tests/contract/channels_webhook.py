"""The webhook channel for the contract suite."""

from __future__ import annotations

from typing import Any

from channels_sample import Failing, HttpService, Sample, ServiceReply, event_mentions, json_reply, json_text

SECRETS = ("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "obviously-fake-path", "obviously-fake-bearer")
CLIENT_SECRET, ACCESS_TOKEN = "obviously-fake-client", "obviously-fake-access-token"


def settings(base: str, _port: int) -> dict[str, Any]:
    secret, path, bearer = SECRETS
    return {"url": f"{base}/hooks/{path}", "secret": secret, "headers": {"Authorization": f"Bearer {bearer}"}}


def templated(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {
        "body_template": '{"text": {{ headline | tojson }}, "id": {{ (data.event_id or "") | tojson }}}'
    }


def by_type(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"templates": {"task.*": '{"text": {{ headline | tojson }}}'}}


def binary(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"format": "cloudevents-binary"}


def structured(base: str, _port: int) -> dict[str, Any]:
    auth = {"kind": "basic", "username": "notifier", "password": SECRETS[2]}
    return settings(base, 0) | {"format": "cloudevents-structured", "headers": {}, "auth": auth}


def with_token(base: str, _port: int) -> dict[str, Any]:
    return settings(base, 0) | {"headers": {}, "auth": {"kind": "bearer", "token": SECRETS[2]}}


def oauth2(base: str, _port: int) -> dict[str, Any]:
    auth = {"kind": "oauth2", "token_url": f"{base}/token", "client_id": "notifier", "client_secret": CLIENT_SECRET}
    return settings(base, 0) | {"format": "cloudevents-binary", "headers": {}, "auth": auth}


SERVICE = HttpService(
    repeat_key=lambda request: request.headers["webhook-id"],
    failing=(
        Failing(reply=json_reply({"errcode": 45009, "errmsg": "api freq out of limit"}), means="busy", wait=600),
        Failing(reply=json_reply({"errcode": 93000}), means="misconfigured"),
        Failing(reply=json_reply({"errcode": -1}), means="later"),
        Failing(reply=json_reply({"code": 9499}), means="content"),
        Failing(reply=json_reply({"ok": False}), means="later"),
        Failing(reply=ServiceReply(body=b"Webhook message delivery failed with error: 500"), means="later"),
    ),
)

CLIENT = HttpService(
    around={"POST /token": json_reply({"access_token": ACCESS_TOKEN, "token_type": "Bearer", "expires_in": 3600})},
    harmless=lambda request: request.method == "OPTIONS",  # asks for permission to send CloudEvents
    repeat_key=lambda request: request.headers["ce-id"],
    statuses={415: "misconfigured"},
)

SAMPLE = Sample(
    settings=settings,
    more_modes=(templated, by_type, binary, structured, with_token, oauth2),
    text=json_text,
    secrets=(*SECRETS, CLIENT_SECRET, ACCESS_TOKEN),
    http={"timeout": "150ms"},
    mentions=("oncall", "U0123ABCD", "@here", "值班"),
    called=event_mentions,
    service=SERVICE,
    more_services={oauth2: CLIENT},
    raw=True,
)
