"""DingTalk: signatures, keywords, access tokens, and what nothing from outside can do in a message."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chat_html import parts
from chats import FAILED, delivery_of, make_context
from factories import (
    HOSTILE,
    T0,
    hostile_event,
    make_events,
    make_render_request,
    open_channel,
)
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.dingtalk import APP_KEY, APP_SECRET, GROUP, ROBOT, SECRET, TOKEN, DingTalk, DingTalkServer
from servers.http import HttpServer, reply

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, Outcome, Parked
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.integrations.dingtalk.settings import DingTalkSettings
from notifier.integrations.dingtalk.signature import sign, signed_url

ATTACKS = [
    *HOSTILE,
    "@all",
    "@13800000000",
    "[x](dingtalk://dingtalkclient/page/link?url=evil)",
    "![x](https://evil.example/pixel.png)",
    "<font color=#f00>x</font> **x** _x_ https://evil.example",
    "# x\n> y\n- z",
]


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return make_context(http, "zh")


@pytest.fixture
async def server() -> AsyncIterator[DingTalkServer]:
    async with DingTalkServer(DingTalk()) as running:
        yield running


def robot(server: HttpServer, context: ChannelContext, **changes: Any) -> BaseChannel[Any]:
    url = server.url(f"/robot/send?access_token={TOKEN}")
    return open_channel("dingtalk", {"name": "dba", "kind": "dingtalk", "webhook_url": url} | changes, context)


def app(server: HttpServer, context: ChannelContext, **changes: Any) -> BaseChannel[Any]:
    keys = {"app_key": APP_KEY, "app_secret": APP_SECRET, "robot_code": ROBOT, "conversation_id": GROUP}
    values = {"name": "dba", "kind": "dingtalk", "api_url": server.url("")} | keys | changes
    return open_channel("dingtalk", values, context)


async def sent(channel: BaseChannel[Any], *events: Event, mention: tuple[str, ...] = ()) -> Outcome:
    return await channel.send(delivery_of(channel, *events or (FAILED,), mention=mention))


# ---- a custom robot ----


def test_a_signature_is_the_services() -> None:
    assert sign("SECdemo", 1_700_000_000_000) == "lOvVf9TQCVugV68mGbSZCg0gzOl1SVjxWi1MyVZCUuA="
    url = signed_url("https://x/send?access_token=t", "SECdemo", T0)
    assert re.fullmatch(r"https://x/send\?access_token=t&timestamp=1768465800000&sign=[\w%-]+%3D", url)


async def test_each_attempt_is_signed_for_its_time(server: DingTalkServer, context: ChannelContext) -> None:
    server.service.secret = SECRET
    channel = robot(server, context, secret=SECRET)
    delivery = delivery_of(channel, FAILED)
    assert isinstance(await channel.send(delivery), Delivered)
    clock = context.clock
    assert isinstance(clock, FakeClock)
    clock.advance(timedelta(hours=2))
    server.service.now += 7_200_000
    assert isinstance(await channel.send(replace(delivery, attempt=2)), Delivered)
    first, second = server.requests
    assert first.target != second.target
    assert first.body == second.body


@pytest.mark.parametrize(
    ("service", "changes", "words"),
    [
        (DingTalk(secret=SECRET), {}, "set `secret`"),
        (DingTalk(secret=SECRET), {"secret": "SECwrong"}, "set `secret`"),
        (DingTalk(secret=SECRET, now=0), {"secret": SECRET}, "check the clock of this host"),
        (DingTalk(keyword="数据库"), {}, "set `keyword`"),
        (DingTalk(), {"webhook_url": "/robot/send?access_token=other"}, "there is no such robot"),
    ],
)
async def test_a_rule_that_refuses_is_named(
    context: ChannelContext, service: DingTalk, changes: dict[str, str], words: str
) -> None:
    async with DingTalkServer(service) as server:
        if "webhook_url" in changes:
            changes = {"webhook_url": server.url(changes["webhook_url"])}
        outcome = await sent(robot(server, context, **changes))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    assert "obviously" not in repr(outcome)


async def test_a_wrong_clock_is_named_where_the_reply_proves_it(context: ChannelContext) -> None:
    body = b'{"errcode":310000,"errmsg":"invalid timestamp"}'
    async with HttpServer(reply(200, body, {"Date": "Thu, 15 Jan 2026 10:31:00 GMT"})) as server:
        outcome = await sent(robot(server, context, secret=SECRET))
    assert isinstance(outcome, Parked)
    assert "the clock of this host is wrong: the service has 2026-01-15 10:31:00 UTC" in outcome.reason


async def test_a_keyword_ends_each_message(server: DingTalkServer, context: ChannelContext) -> None:
    server.service.keyword = "数据库"
    channel = robot(server, context, keyword="数据库")
    for events in ((FAILED,), make_events(50)):
        assert isinstance(await sent(channel, *events), Delivered)
    assert all(message["markdown"]["text"].endswith("\n数据库") for message in server.service.messages)


async def test_whom_the_routes_name_is_called_and_nobody_else(server: DingTalkServer, context: ChannelContext) -> None:
    channel = robot(server, context)
    await sent(channel, FAILED, mention=("dingtalk:manager123", "13800000000", "U0123ABCD"))
    await sent(channel, FAILED)
    called, calm = server.service.messages
    assert called["at"] == {"isAtAll": False, "atUserIds": ["manager123"], "atMobiles": ["13800000000"]}
    assert called["markdown"]["text"].splitlines()[0].rstrip().endswith(" @manager123 @13800000000")
    assert calm["at"] == {"isAtAll": False}


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(ATTACKS) | st.text("@<>![]()*_`\\# \nab", max_size=60), st.sampled_from([1, 2]))
def test_nothing_from_outside_is_a_mention_a_link_or_markup(text: str, count: int) -> None:
    channel = open_channel(
        "dingtalk",
        {"name": "dba", "kind": "dingtalk", "webhook_url": "https://oapi.dingtalk.com/robot/send?access_token=x"},
        make_context(HttpClient(), "zh"),
    )
    events = [replace(hostile_event(text), environment=text)] * count
    shown = json.loads(channel.render(make_render_request(*events)).content)["markdown"]["text"]
    bare = re.sub(r"\\.", "", shown)
    assert set(re.findall(r"\]\(([^)]*)\)", bare)) <= {"https://console.example.com/cn-north-4"}
    assert not re.search(r"[@<](?!\u200b)|!\[|`|_", bare)
    assert "*" not in re.sub(r"\*\*[^*\n]+\*\*", "", bare)
    assert "https://evil" not in shown
    found = set(parts(shown))
    assert {kind for kind, _ in found} <= {
        "strong_open",
        "blockquote_open",
        "link_open",
        "bullet_list_open",
        "list_item_open",
    }
    assert {address for _, address in found} <= {"", "https://console.example.com/cn-north-4"}


@pytest.mark.parametrize(
    ("service", "changes", "ok"),
    [
        (DingTalk(), {}, True),
        (DingTalk(secret=SECRET), {"secret": SECRET}, True),
        (DingTalk(keyword="数据库"), {"keyword": "数据库"}, True),
        (DingTalk(secret=SECRET), {"secret": "SECwrong"}, False),
    ],
)
async def test_a_check_finds_what_is_not_valid_and_posts_nothing(
    context: ChannelContext,
    service: DingTalk,
    changes: dict[str, str],
    ok: bool,  # noqa: FBT001 - a table
) -> None:
    async with DingTalkServer(service) as server:
        (found,) = await robot(server, context, **changes).check()
    assert (found.ok, found.proven) == (ok, not ok)
    assert found.remedy or ok
    assert service.messages == []


# ---- the robot of an app ----


async def test_one_access_token_serves_many_messages(server: DingTalkServer, context: ChannelContext) -> None:
    channel = app(server, context)
    assert [await sent(channel), await sent(channel, *make_events(50))] == [
        replace(Delivered("key-1"), reply='HTTP 200: {"processQueryKey": "key-1"}'),
        replace(Delivered("key-2"), reply='HTTP 200: {"processQueryKey": "key-2"}'),
    ]
    assert server.service.tokens == 1
    first = server.service.messages[0]
    assert first["msgKey"] == "sampleMarkdown"
    parameters = json.loads(first["msgParam"])
    assert parameters.keys() == {"title", "text"}
    assert "创建实例失败" in parameters["title"]


async def test_a_refused_token_is_fetched_again_once(server: DingTalkServer, context: ChannelContext) -> None:
    channel = app(server, context)
    await sent(channel)
    server.service.valid.clear()
    assert isinstance(await sent(channel), Delivered)
    assert server.service.tokens == 2
    assert len(server.service.messages) == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"app_secret": "wrong-secret"}, "check app_key and app_secret"),
        ({"robot_code": "other"}, "check robot_code"),
        ({"conversation_id": "cidOther"}, "check conversation_id"),
    ],
)
async def test_a_wrong_setting_is_named(
    server: DingTalkServer, context: ChannelContext, changes: dict[str, str], words: str
) -> None:
    outcome = await sent(app(server, context, **changes))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    assert "obviously-fake" not in repr(outcome)
    assert server.service.messages == []


async def test_a_check_proves_the_key_and_the_secret(server: DingTalkServer, context: ChannelContext) -> None:
    good, group = await app(server, context).check()
    assert (good.ok, good.proven, group.ok, group.proven) == (True, True, True, False)
    (bad,) = await app(server, context, app_secret="wrong-secret").check()
    assert not bad.ok
    assert bad.remedy == "check app_key and app_secret"
    assert server.service.messages == []


# ---- settings ----

HOOK = {"webhook_url": "https://oapi.dingtalk.com/robot/send?access_token=x"}
KEYS = {"app_key": "a", "app_secret": "b", "robot_code": "c", "conversation_id": "cid"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "is missing; give it for a custom robot"),
        (HOOK | KEYS, "not both"),
        ({"app_key": "a"}, "is missing; the robot of an app needs it"),
        (KEYS | {"secret": "SECx"}, "belongs to a custom robot"),
        ({"webhook_url": "http://oapi.dingtalk.com/robot/send"}, "https"),
    ],
)
def test_settings_of_two_kinds_of_robots_are_not_mixed(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DingTalkSettings.model_validate({"name": "dba"} | values)
