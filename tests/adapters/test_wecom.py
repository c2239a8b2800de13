"""WeCom robots: which type a message has, what nothing from outside can do in it, and what a check proves."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from chat_html import parts
from chats import make_context
from factories import HOSTILE, hostile_event, make_delivery, make_event, make_events, make_render_request, make_task
from factories import open_channel as opened
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.http import HttpServer, reply

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, Parked
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.routing import DeliveryRouting
from notifier.http import HttpClient

URL = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=obviously-fake"
FAILED = make_event(
    make_task(
        "def160ec-c3ad-4647-8520-de0a8f84474c",
        name="ResizeGaussDBV5Flavor",
        instance_name="prod-orders-01",
        instance_status="normal",
        fail_reason="控件拒绝：64 小于 72。\n错误码：ABC.123456。",
    ),
    environment="production",
)
MARKUP = {"strong_open", "blockquote_open", "link_open", "bullet_list_open", "list_item_open", "code_inline"}
"""What a message may have besides text."""
ATTACKS = [
    *HOSTILE,
    "<@all>",
    "`<@all>`",
    '<font color="info">ok</font>',
    "[x](https://evil.example)",
    "**x** https://x.com",
]


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return make_context(http, "zh")


def channel(context: ChannelContext, **changes: Any) -> BaseChannel[Any]:
    return opened("wecom", {"name": "dba", "kind": "wecom", "webhook_url": URL} | changes, context)


def message(context: ChannelContext, *events: Event, mention: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    request = replace(make_render_request(*events), routing=DeliveryRouting(routes=("r",), mention=mention))
    found: dict[str, Any] = json.loads(channel(context, **changes).render(request).content)
    return found


def content(found: dict[str, Any]) -> str:
    text: str = found[found["msgtype"]]["content"]
    return text


def test_a_failure_reads_from_what_to_where_it_is_from(context: ChannelContext) -> None:
    found = message(context, FAILED, mention=("wecom:zhangsan", "wecom:lisi"))
    assert found["msgtype"] == "markdown"
    assert content(found).replace("\u200b", "") == (
        '🔴 <font color="warning">规格变更失败</font> · `prod-orders-01` · <font color="warning">生产</font> · 16:29:20'
        " <@zhangsan> <@lisi>\n"
        "\n"
        "> 控件拒绝：64 小于 72。\n"
        "> 错误码：ABC.123456。\n"
        "\n"
        "实例状态 正常 · 运行 12 分 20 秒\n"
        "[打开控制台](https://console.example.com/cn-north-4)\n"
        "\n"
        '<font color="comment">prod / cn-north-4 · 任务 def160ec</font>'
    )


@pytest.mark.parametrize(
    ("type_", "begins"),
    [
        (EventType.TASK_COMPLETED, '🟢 <font color="info">'),
        (EventType.TASK_STALLED, '🟠 <font color="warning">'),
        (EventType.TASK_STARTED, "🔵 **"),
    ],
)
def test_the_colour_is_that_of_the_state(context: ChannelContext, type_: EventType, begins: str) -> None:
    assert content(message(context, replace(FAILED, type=type_))).startswith(begins)


def test_the_newer_markdown_has_no_colours_and_calls_nobody(context: ChannelContext) -> None:
    found = message(context, FAILED, format="markdown_v2")
    assert found["msgtype"] == "markdown_v2"
    assert "<" not in content(found)
    assert "任务 `def160ec`" in content(found)
    called = message(context, FAILED, format="markdown_v2", mention=("wecom:zhangsan",))
    assert called == message(context, FAILED, mention=("wecom:zhangsan",))


def test_numbers_and_everybody_are_called_by_a_text(context: ChannelContext) -> None:
    found = message(context, FAILED, mention=("13800000000", "@all", "wecom:zhangsan"))
    assert found["msgtype"] == "text"
    assert found["text"]["mentioned_list"] == ["@all", "zhangsan"]
    assert found["text"]["mentioned_mobile_list"] == ["13800000000"]
    assert not set("<`*") & set(content(found))
    assert len(content(found).encode()) <= 2_048
    only = message(context, FAILED, mention=("13800000000",))
    assert "mentioned_list" not in only["text"]


@pytest.mark.parametrize("name", ["数据库" * 40, "😀" * 120, "*<" * 60])
@pytest.mark.parametrize("mention", [(), ("@all",), tuple(f"wecom:{'x' * 60}{n:03}" for n in range(30))])
def test_a_digest_of_long_names_fits_and_names_every_job(
    context: ChannelContext, name: str, mention: tuple[str, ...]
) -> None:
    tasks = [make_task(f"{n:08x}-c3ad", instance_name=f"{name[:117]}{n:03}") for n in range(20)]
    for events in ([make_event(task) for task in tasks], [make_event(tasks[0])]):
        found = message(context, *events, mention=mention)
        assert len(content(found).encode()) <= (2_048 if found["msgtype"] == "text" else 4_096)
        assert [event.job_id for event in events if event.job_id[:8] not in content(found)] == []


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(ATTACKS) | st.text("<@all>font`*[]()! \nab", max_size=60), st.sampled_from([1, 2]))
def test_nothing_from_outside_is_a_mention_a_colour_or_a_link(text: str, count: int) -> None:
    made = make_context(HttpClient(), "zh")
    events = [replace(hostile_event(text), environment=text)] * count
    for mention, form in (((), "markdown"), (("@all",), "markdown"), ((), "markdown_v2")):
        found_message = message(made, *events, mention=mention, format=form)
        shown = content(found_message)
        assert len(shown.encode()) <= (2_048 if found_message["msgtype"] == "text" else 4_096)
        assert not re.search(r"<(?!\u200b|font color=\"(?:warning|info|comment)\">|/font>)", shown)
        bare = re.sub(r"`[^`\n]*`", "", shown)
        assert bare.count("`") == 0
        assert set(re.findall(r"\]\(([^)]*)\)", bare)) <= {"https://console.example.com/cn-north-4"}
        assert "https://x" not in bare
        found = set(parts(shown)) if form == "markdown_v2" else set()
        assert {kind for kind, _ in found} <= MARKUP
        assert {address for _, address in found} <= {"", "https://console.example.com/cn-north-4"}


async def test_a_refusal_is_kept_without_our_address(context: ChannelContext) -> None:
    body = b'{"errcode":93000,"errmsg":"invalid webhook url, hint: [1699], from ip: 203.0.113.7, more info"}'
    async with HttpServer(reply(200, body)) as server:
        robot = channel(context, webhook_url=server.url("/send?key=obviously-fake"))
        delivery = make_delivery(FAILED, body=robot.render(make_render_request(FAILED)))
        outcome = await robot.send(delivery)
    assert isinstance(outcome, Parked)
    assert "203.0.113.7" not in repr(outcome)
    assert "from ip: " in str(outcome.reply)


@pytest.mark.parametrize(
    ("body", "ok"),
    [
        (b'{"errcode":93000,"errmsg":"invalid webhook url"}', False),
        (b'{"errcode":40008,"errmsg":"invalid message type"}', True),
        (b'{"errcode":45009,"errmsg":"api freq out of limit"}', True),
        (b"<html><title>Log in</title></html>", True),
    ],
)
async def test_a_check_finds_a_key_that_is_not_valid(
    context: ChannelContext,
    body: bytes,
    ok: bool,  # noqa: FBT001 - a table
) -> None:
    async with HttpServer(reply(200, body)) as server:
        (found,) = await channel(context, webhook_url=server.url("/send?key=obviously-fake")).check()
    assert (found.ok, found.proven) == (ok, not ok)
    assert found.remedy or ok
    assert [json.loads(request.body) for request in server.requests] == [{"msgtype": "markdown"}]


async def test_a_code_of_zero_alone_is_success(context: ChannelContext) -> None:
    async with HttpServer(reply(200, b'{"errcode":0,"errmsg":"ok. Warning: wrong json format. "}')) as server:
        robot = channel(context, webhook_url=server.url("/send?key=obviously-fake"))
        request = make_render_request(*make_events(20))
        outcome = await robot.send(make_delivery(*request.events, body=robot.render(request)))
    assert isinstance(outcome, Delivered)
