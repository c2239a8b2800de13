"""SMN: signatures that its gateway accepts, texts that each protocol takes, and what a check proves."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chats import FAILED, delivery_of, make_context
from factories import HOSTILE, hostile_event, make_events, make_render_request, open_channel
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.http import HttpServer, reply
from servers.smn import ACCESS_KEY, PROJECT, SECRET_KEY, URN, Smn, SmnServer

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.integrations.smn.settings import SmnSettings

ATTACKS = [
    *HOSTILE,
    "[KEY] 【签名】 x",
    "@all <@all> #room",
    "https://evil.example www.evil.example",
    "x" * 3_000,
    "验" * 3_000,
]


def without_console(http: HttpClient) -> ChannelContext:
    """Return a context without a link to a console, so that a text has no link at all."""
    return replace(make_context(http, "zh"), console_url=None)


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return without_console(http)


@pytest.fixture
async def server(context: ChannelContext) -> AsyncIterator[SmnServer]:
    async with SmnServer(Smn(now=context.clock.now)) as running:
        yield running


def topic(context: ChannelContext, endpoint: str, **changes: Any) -> BaseChannel[Any]:
    key = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    values = {"name": "sms", "kind": "smn", "topic_urn": URN, "endpoint": endpoint} | key | changes
    return open_channel("smn", values, context)


async def sent(channel: BaseChannel[Any], *events: Event) -> Outcome:
    return await channel.send(delivery_of(channel, *events or (FAILED,)))


async def test_a_signed_message_is_stored(server: SmnServer, context: ChannelContext) -> None:
    outcome = await sent(topic(context, server.url("")))
    assert isinstance(outcome, Delivered)
    assert outcome.ref == "message-1"
    (message,) = server.service.messages
    assert message["subject"] == "【失败】gauss-6568-zzh 创建实例（生产）"
    assert message["time_to_live"] == "3600"
    texts = json.loads(message["message_structure"])
    assert texts["default"].startswith(
        "🔴 创建实例失败 · gauss-6568-zzh · 生产 · 16:29:20\n\nThe quota of vCPUs is not enough."
    )
    assert texts["sms"].startswith("（生产）gauss-6568-zzh 创建实例失败：")


async def test_a_temporary_key_sends_its_token(server: SmnServer, context: ChannelContext) -> None:
    server.service.token = "obviously-fake-security-token"
    assert isinstance(await sent(topic(context, server.url(""))), Parked)
    channel = topic(context, server.url(""), security_token="obviously-fake-security-token")
    assert isinstance(await sent(channel), Delivered)


async def test_each_attempt_is_signed_for_its_time(server: SmnServer, context: ChannelContext) -> None:
    channel = topic(context, server.url(""))
    delivery = delivery_of(channel, FAILED)
    clock = context.clock
    assert isinstance(clock, FakeClock)
    for attempt in (1, 2):
        assert isinstance(await channel.send(replace(delivery, attempt=attempt)), Delivered)
        clock.advance(timedelta(hours=1))
    first, second = server.requests
    assert first.body == second.body
    assert first.headers["authorization"] != second.headers["authorization"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdkcore")
async def test_the_signature_is_that_of_the_official_sdk(
    server: SmnServer, context: ChannelContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URN in the path has colons, which are percent-encoded once."""
    monkeypatch.delenv("HOME", raising=False)  # it writes there on import
    await sent(topic(context, server.url("")))
    (request,) = server.requests
    credentials = importlib.import_module("huaweicloudsdkcore.auth.credentials").BasicCredentials(
        ACCESS_KEY, SECRET_KEY, PROJECT
    )
    sdk_request = importlib.import_module("huaweicloudsdkcore.sdk_request").SdkRequest
    names = {"host": "Host", "x-project-id": "X-Project-Id", "content-type": "Content-Type", "x-sdk-date": "X-Sdk-Date"}
    copy = sdk_request(
        method="POST",
        schema="http",
        host=request.headers["host"],
        resource_path=request.target,
        header_params={shown: request.headers[name] for name, shown in names.items()},
        body=request.body.decode(),
        query_params=[],
    )
    signer = importlib.import_module("huaweicloudsdkcore.signer.signer").Signer(credentials)
    assert signer.sign(copy).header_params["Authorization"] == request.headers["authorization"]
    assert request.target == f"/v2/{PROJECT}/notifications/topics/urn%3Asmn%3Acn-north-4%3A{PROJECT}%3Adba/publish"


@pytest.mark.parametrize(
    ("changes", "service", "words"),
    [
        ({"secret_key": "obviously-fake-other"}, {}, "check access_key and secret_key"),
        ({"access_key": "OTHER"}, {}, "check access_key and secret_key"),
        ({"topic_urn": f"urn:smn:cn-north-4:{PROJECT}:other"}, {}, "check topic_urn"),
        ({"project_id": "other"}, {}, "check topic_urn, access_key"),
        ({}, {"may_publish": False}, "smn:topic:publish"),
    ],
)
async def test_what_is_wrong_is_named(
    server: SmnServer, context: ChannelContext, changes: dict[str, Any], service: dict[str, Any], words: str
) -> None:
    for name, value in service.items():
        setattr(server.service, name, value)
    outcome = await sent(topic(context, server.url(""), **changes))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    assert "obviously-fake" not in repr(outcome)
    assert server.service.messages == []


async def test_a_wrong_clock_is_named_where_the_reply_proves_it(context: ChannelContext) -> None:
    body = b'{"error_code": "APIGW.0301", "error_msg": "signature expired"}'
    for date, wrong in (("Thu, 15 Jan 2026 08:50:00 GMT", True), ("Thu, 15 Jan 2026 08:35:00 GMT", False)):
        async with HttpServer(reply(401, body, {"Date": date})) as server:
            outcome = await sent(topic(context, server.url("")))
        assert isinstance(outcome, Parked)
        assert ("the clock of this host is wrong" in outcome.reason) is wrong


async def test_a_bad_subject_is_no_bad_credential(context: ChannelContext) -> None:
    async with HttpServer(reply(403, b'{"code": "SMN.0008", "message": "no"}')) as server:
        assert isinstance(await sent(topic(context, server.url(""))), GaveUp)


@settings(max_examples=settings().max_examples // 3, deadline=None)
@given(st.sampled_from(ATTACKS) | st.text("[]【】@<#:/. \nab", max_size=60), st.sampled_from([1, 2]))
def test_every_text_is_one_that_the_service_takes(text: str, count: int) -> None:
    channel = topic(without_console(HttpClient()), "http://127.0.0.1:9")
    events = [replace(hostile_event(text), environment=text)] * count
    message = json.loads(channel.render(make_render_request(*events)).content)
    texts = json.loads(message["message_structure"])
    assert 0 < len(message["subject"].encode()) <= 512
    assert "\n" not in message["subject"] + texts["sms"]
    assert 0 < len(texts["sms"]) <= 490
    assert not set("[]【】") & set(texts["sms"])
    assert not re.search(r"[@<#](?!\u200b)|://", texts["default"])


async def test_a_digest_is_whole_in_mails_and_summed_up_in_an_sms(server: SmnServer, context: ChannelContext) -> None:
    await sent(topic(context, server.url("")), *make_events(100))
    texts = json.loads(server.service.messages[0]["message_structure"])
    assert all(f"job-{number:05}" in texts["default"] for number in range(100))
    assert "job-" not in texts["sms"]


async def test_a_check_publishes_nothing_and_says_what_it_proves(server: SmnServer, context: ChannelContext) -> None:
    channel = topic(context, server.url(""))
    (found,) = await channel.check()
    assert (found.ok, found.proven, found.detail[:16]) == (True, False, "the topic exists")
    server.service.may_read = False
    (found,) = await channel.check()
    assert (found.ok, found.proven, found.detail[:16]) == (True, False, "the key may not ")
    for changes, words in (
        ({"secret_key": "obviously-fake-other"}, "check access_key"),
        ({"topic_urn": f"urn:smn:cn-north-4:{PROJECT}:other"}, "check topic_urn"),
    ):
        (found,) = await topic(context, server.url(""), **changes).check()
        assert not found.ok
        assert words in found.remedy
    assert server.service.messages == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"topic_urn": "dba"}, "must be the URN of a topic"),
        ({"topic_urn": f"{URN}\nx"}, "must be the URN of a topic"),
        ({"time_to_live": "7d"}, "must be at most 1 day"),
        ({"endpoint": "http://smn.example.com"}, "https"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, str], words: str) -> None:
    values = {"name": "sms", "topic_urn": URN, "access_key": "A", "secret_key": "s"}
    with pytest.raises(ValidationError, match=words):
        SmnSettings.model_validate(values | changes)


def test_region_and_project_are_those_of_the_topic() -> None:
    values = {"name": "sms", "access_key": "A", "secret_key": "s"}
    own = SmnSettings.model_validate(values | {"topic_urn": URN})
    assert (own.url, own.project) == ("https://smn.cn-north-4.myhuaweicloud.com", PROJECT)
    european = SmnSettings.model_validate(values | {"topic_urn": "urn:smn:eu-west-101:p:t", "project_id": "mine"})
    assert (european.url, european.project) == ("https://smn.eu-west-101.myhuaweicloud.eu", "mine")
