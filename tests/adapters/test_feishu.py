"""Feishu: signatures, cards that change, threads, access tokens, and what nothing from outside can do in a card."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from chats import bare, delivery_of, make_context, thread_of
from factories import (
    HOSTILE,
    T0,
    hostile_event,
    make_delivery,
    make_event,
    make_events,
    make_render_request,
    make_storm,
    make_task,
    open_channel,
)
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.feishu import APP_ID, APP_SECRET, CHAT, HOOK, SECRET, Feishu, FeishuServer, Message, check_card
from servers.http import HttpServer, reply

from notifier.channels.base import BaseChannel, ChannelContext, Json
from notifier.core.delivery import Delivered, GaveUp, Parked, Retry
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.tickets import TicketLink
from notifier.http import HttpClient
from notifier.integrations.feishu.settings import FeishuSettings
from notifier.integrations.feishu.signature import sign
from notifier.ports import LiveChannel

STARTED = make_event(make_task(status="running", ended_at=None, fail_reason=None), type=EventType.TASK_STARTED)
HALF = make_event(
    make_task(status="running", ended_at=None, fail_reason=None, progress=50.0), type=EventType.TASK_PROGRESSED
)
FAILED = make_event(make_task(progress=60, fail_reason="控件拒绝：64 小于 72。"), environment="production")
COMPLETED = make_event(make_task(status="completed", fail_reason=None), type=EventType.TASK_COMPLETED)
ALICE = Acknowledgement(event_id=FAILED.id, by="U0ALICE", name="alice <at id=all></at>", at=T0)
WINDOW = Mute(
    id="7k2m",
    since=T0,
    instance="gauss-6568-zzh",
    until=T0 + timedelta(hours=2),
    by="U0BOB",
    name="bob",
    created_at=T0,
    reason="*resize*",
)
ATTACKS = [
    *HOSTILE,
    "<at id=all></at>",
    '<at user_id="all">x</at>',
    "&lt;at id=all&gt;",
    "[x](https://evil.example) ![x](img_v2)",
    "**x** ~~x~~ <font color='red'>x</font>",
]


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return make_context(http, "zh")


@pytest.fixture
async def server() -> AsyncIterator[FeishuServer]:
    async with FeishuServer(Feishu()) as running:
        yield running


def hook(server: HttpServer, context: ChannelContext, **changes: Any) -> BaseChannel[Any]:
    url = server.url(f"/open-apis/bot/v2/hook/{HOOK}")
    return open_channel("feishu", {"name": "dba", "kind": "feishu", "webhook_url": url} | changes, context)


def app(server: HttpServer, context: ChannelContext, **changes: Any) -> BaseChannel[Any]:
    values = {"name": "dba", "kind": "feishu", "api_url": server.url("")}
    keys = {"app_id": APP_ID, "app_secret": APP_SECRET, "chat_id": CHAT}
    return open_channel("feishu", values | keys | changes, context)


def texts(card: object, *tags: str) -> Iterator[str]:
    """Yield the texts of a card that have one of these tags."""
    if isinstance(card, dict) and card.get("tag") in tags and "content" in card:
        yield card["content"]
    if isinstance(card, dict | list):
        for inner in card.values() if isinstance(card, dict) else card:
            yield from texts(inner, *tags)


# ---- a custom bot ----


def test_a_signature_is_the_services() -> None:
    assert sign("demo", 100) == "jquNHnVOwmDRfw+vqTIrY5dooJAgi5EcRtLsQE4wfXg="
    assert sign("demo", 1_700_000_000) == "8oT2n3SMKFfEnDoiwer8BUM/SjKLwe9SqoEIHlhDTKo="


async def test_each_attempt_is_signed_for_its_time(server: FeishuServer, context: ChannelContext) -> None:
    server.service.secret = SECRET
    channel = hook(server, context, secret=SECRET)
    delivery = delivery_of(channel, FAILED)
    assert isinstance(await channel.send(delivery), Delivered)
    cast("FakeClock", context.clock).advance(timedelta(hours=2))
    server.service.now += 7_200
    assert isinstance(await channel.send(replace(delivery, attempt=2)), Delivered)
    first, second = server.service.cards
    assert first == second


@pytest.mark.parametrize(
    ("service", "changes", "words"),
    [
        (Feishu(secret=SECRET), {}, "set `secret`"),
        (Feishu(secret=SECRET), {"secret": "wrong-secret"}, "set `secret`"),
        (Feishu(keyword="数据库"), {}, "set `keyword`"),
        (Feishu(), {"webhook_url": "/open-apis/bot/v2/hook/other"}, "there is no such bot"),
    ],
)
async def test_a_rule_that_refuses_is_named(
    context: ChannelContext, service: Feishu, changes: dict[str, str], words: str
) -> None:
    async with FeishuServer(service) as server:
        if "webhook_url" in changes:
            changes = {"webhook_url": server.url(changes["webhook_url"])}
        channel = hook(server, context, **changes)
        outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    assert "obviously" not in repr(outcome)


async def test_a_wrong_clock_is_named_where_the_reply_proves_it(context: ChannelContext) -> None:
    body = b'{"code":19021,"msg":"sign match fail"}'
    async with HttpServer(reply(200, body, {"Date": "Thu, 15 Jan 2026 10:31:00 GMT"})) as server:
        channel = hook(server, context, secret=SECRET)
        outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Parked)
    assert "the clock of this host is wrong: the service has 2026-01-15 10:31:00 UTC" in outcome.reason


async def test_a_card_answers_the_six_questions_in_order(server: FeishuServer, context: ChannelContext) -> None:
    channel = hook(server, context)
    await channel.send(delivery_of(channel, FAILED, mention=("ou_0123abcd", "U0123ABCD")))
    (card,) = server.service.cards
    assert card["header"] == {
        "template": "red",
        "title": {"tag": "plain_text", "content": "🔴 创建实例失败 · gauss-6568-zzh · 生产 · 16:29:20"},
    }
    mention, why, fields, links, about = card["elements"]
    assert mention["text"]["content"] == "<at id=ou_0123abcd></at>"
    assert why["text"] == {"tag": "plain_text", "content": "控件拒绝：64 小于 72。"}
    assert [one["text"]["content"] for one in fields["fields"]] == [
        "**结束时间**\n1月15日 16:29:20（UTC+8）",
        "**运行时长**\n12 分 20 秒",
        "**停止于**\n60%",
        "**实例状态**\n创建中",
    ]
    assert [(one["text"]["content"], one["url"]) for one in links["actions"]] == [
        ("打开控制台", "https://console.example.com/cn-north-4")
    ]
    assert about["elements"][0]["content"].startswith("prod / cn-north-4 · 任务 ")


@pytest.mark.parametrize(
    ("event", "template"),
    [(FAILED, "red"), (COMPLETED, "green"), (STARTED, "blue"), (replace(HALF, type=EventType.TASK_STALLED), "orange")],
)
def test_the_head_has_the_colour_of_the_state(event: Event, template: str) -> None:
    channel = open_channel(
        "feishu",
        {"name": "dba", "kind": "feishu", "webhook_url": "https://open.feishu.cn/open-apis/bot/v2/hook/x"},
        make_context(HttpClient(), "zh"),
    )
    card = json.loads(channel.render(make_render_request(event)).content)
    assert card["header"]["template"] == template


async def test_a_ticket_is_a_button(server: FeishuServer, context: ChannelContext) -> None:
    channel = hook(server, context)
    tickets = (TicketLink(channel="ops", label="OPS-12", url="https://tickets.example.com/OPS-12"),)
    body = channel.render(replace(make_render_request(FAILED), tickets=tickets))
    await channel.send(make_delivery(FAILED, body=body))
    (actions,) = [element["actions"] for element in server.service.cards[0]["elements"] if element["tag"] == "action"]
    assert [(one["text"]["content"], one["type"]) for one in actions] == [
        ("打开控制台", "primary"),
        ("工单 OPS-12", "default"),
    ]


async def test_a_keyword_ends_each_title(server: FeishuServer, context: ChannelContext) -> None:
    server.service.keyword = "数据库"
    channel = hook(server, context, keyword="数据库")
    for events in ((FAILED,), make_events(50)):
        assert isinstance(await channel.send(delivery_of(channel, *events)), Delivered)


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(ATTACKS) | st.text("<>&;[]()*~`_! \nat", max_size=60), st.sampled_from([1, 2]))
def test_nothing_from_outside_is_a_mention_a_link_or_markup(text: str, count: int) -> None:
    channel = open_channel(
        "feishu",
        {"name": "dba", "kind": "feishu", "webhook_url": "https://open.feishu.cn/open-apis/bot/v2/hook/x"},
        make_context(HttpClient(), "zh"),
    )
    events = [replace(hostile_event(text), environment=text)] * count
    card = json.loads(channel.render(make_render_request(*events)).content)
    check_card(card)
    for shown in texts(card, "lark_md"):
        assert not set("<>~") & set(shown)
        assert not re.search(r"\]\(|!\[", shown)
        assert "*" not in re.sub(r"\*\*[^*\n]+\*\*", "", shown)
    for shown in texts(card, "plain_text"):
        assert "https://evil" not in shown


@pytest.mark.parametrize(
    ("service", "changes", "ok"),
    [
        (Feishu(), {}, True),
        (Feishu(secret=SECRET), {"secret": SECRET}, True),
        (Feishu(keyword="数据库"), {"keyword": "数据库"}, True),
        (Feishu(secret=SECRET), {"secret": "wrong-secret"}, False),
    ],
)
async def test_a_check_finds_what_is_not_valid_and_posts_nothing(
    context: ChannelContext,
    service: Feishu,
    changes: dict[str, str],
    ok: bool,  # noqa: FBT001 - a table
) -> None:
    async with FeishuServer(service) as server:
        (found,) = await hook(server, context, **changes).check()
    assert (found.ok, found.proven) == (ok, not ok)
    assert found.remedy or ok
    assert service.cards == []


# ---- the bot of an app: posting ----


async def begin(channel: BaseChannel[Any], event: Event = STARTED) -> str:
    """Post the first card of a task and return the reference of its thread."""
    outcome = await channel.send(delivery_of(channel, event))
    assert isinstance(outcome, Delivered)
    assert outcome.thread == outcome.ref
    return str(outcome.thread)


def message_of(server: FeishuServer, ref: str) -> Message:
    return server.service.messages[ref.partition(":")[2]]


async def test_a_step_is_one_line_in_the_thread(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    ref = await begin(channel)
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref))) == Delivered("oc_demo:om_2")
    step = server.service.messages["om_2"]
    assert step.root == ref.partition(":")[2]
    assert list(texts(step.card, "plain_text")) == ["🔵 创建实例进行到 50% · gauss-6568-zzh · 16:17:00"]
    assert server.service.tokens == 1


async def test_a_loud_failure_is_a_card_of_its_own_that_changes_too(
    server: FeishuServer, context: ChannelContext
) -> None:
    channel = app(server, context)
    ref = await begin(channel)
    outcome = await channel.send(delivery_of(channel, FAILED, thread=ref, mention=("ou_0123abcd",)))
    assert bare(outcome) == Delivered("oc_demo:om_2", copy="oc_demo:om_2")
    copy = server.service.messages["om_2"]
    assert copy.root is None
    assert copy.card["header"]["template"] == "red"
    assert "<at id=ou_0123abcd></at>" in list(texts(copy.card, "lark_md"))


@pytest.mark.parametrize(("changes", "event"), [({"broadcast": False}, FAILED), ({}, replace(FAILED, environment="x"))])
async def test_a_failure_that_is_not_loud_stays_in_the_thread_as_a_whole(
    server: FeishuServer, context: ChannelContext, changes: dict[str, Any], event: Event
) -> None:
    channel = app(server, context, **changes)
    ref = await begin(channel)
    assert bare(await channel.send(delivery_of(channel, event, thread=ref))) == Delivered("oc_demo:om_2")
    step = server.service.messages["om_2"]
    assert step.root == ref.partition(":")[2]
    assert "控件拒绝：64 小于 72。" in list(texts(step.card, "plain_text"))


async def test_the_end_of_trouble_is_shown_in_the_group(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    ref = await begin(channel)
    delivery = delivery_of(channel, COMPLETED, thread=ref, ends_trouble=True)
    assert bare(await channel.send(delivery)) == Delivered("oc_demo:om_2")
    assert server.service.messages["om_2"].root is None


async def test_a_step_whose_thread_is_gone_begins_another(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    ref = await begin(channel)
    message_of(server, ref).recalled = True
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref))) == Delivered(
        "oc_demo:om_2", thread="oc_demo:om_2"
    )
    assert server.service.messages["om_2"].root is None


async def test_a_repeat_has_the_same_key(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    delivery = delivery_of(channel, FAILED)
    first, again = await channel.send(delivery), await channel.send(replace(delivery, attempt=2))
    assert first == again
    assert len(server.service.messages) == 1


async def test_digests_begin_no_thread_and_a_storm_does(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    assert bare(await channel.send(delivery_of(channel, *make_events(20)))) == Delivered("oc_demo:om_1")
    delivery = delivery_of(channel, FAILED)
    storm = make_storm(opened_by=delivery.id)
    assert bare(await channel.send(replace(delivery, storm=storm))) == Delivered("oc_demo:om_2", thread="oc_demo:om_2")


@pytest.mark.parametrize(
    ("style", "threads", "edits"), [("live", True, True), ("thread", True, False), ("post", False, False)]
)
async def test_a_style_decides_about_threads_and_changes(
    server: FeishuServer, context: ChannelContext, style: str, *, threads: bool, edits: bool
) -> None:
    channel = app(server, context, style=style)
    assert (channel.threads, channel.coalesces, channel.edit_budget is not None) == (threads, threads, edits)
    outcome = await channel.send(delivery_of(channel, STARTED))
    assert isinstance(outcome, Delivered)
    assert (outcome.thread is not None) == threads


# ---- the bot of an app: changing ----


def live(channel: BaseChannel[Any]) -> LiveChannel:
    return cast("LiveChannel", channel)


async def test_a_card_shows_the_present_state(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    ref = await begin(channel)
    assert bare(await live(channel).show(thread_of(ref, FAILED))) == Delivered()
    message = message_of(server, ref)
    assert message.edits == 1
    sent: Json = json.loads(channel.render(make_render_request(FAILED)).content)
    assert message.card == sent


async def test_a_card_shows_who_took_charge_and_a_mute(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    ref = await begin(channel, FAILED)
    await live(channel).show(thread_of(ref, FAILED, acknowledged=ALICE, mute=WINDOW))
    card = message_of(server, ref).card
    assert card["header"]["template"] == "grey"
    assert card["header"]["title"]["content"].startswith("✅ 创建实例失败")
    (notes,) = [text for text in texts(card, "lark_md") if "alice" in text]
    assert notes.startswith("✅ alice &lt;at id=all&gt;&lt;/at&gt;")
    assert "🔕" in notes
    assert "∗resize∗" in notes


async def test_a_storm_shows_its_progress(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    ref = await begin(channel)
    await live(channel).show(thread_of(ref, FAILED, storm=make_storm(ended_at=T0)))
    card = message_of(server, ref).card
    assert card["header"]["title"]["content"].startswith("🚨 ")
    assert any("gauss-6568-zzh" in text for text in texts(card, "plain_text"))


async def test_a_card_that_cannot_be_changed_stays_as_it_is(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    ref = await begin(channel)
    message_of(server, ref).recalled = True
    outcome = await live(channel).show(thread_of(ref, FAILED))
    assert isinstance(outcome, GaveUp)
    assert await live(channel).show_copy(thread_of(ref, FAILED), ref) is None
    assert len(server.service.messages) == 1


async def test_cards_of_another_group_are_left_alone(server: FeishuServer, context: ChannelContext) -> None:
    ref = await begin(app(server, context))
    server.service.chats.append("oc_other")
    channel = app(server, context, chat_id="oc_other")
    assert isinstance(await live(channel).show(thread_of(ref, FAILED)), GaveUp)
    assert await live(channel).show_copy(thread_of(ref, FAILED), ref) is None
    assert message_of(server, ref).edits == 0
    outcome = await channel.send(delivery_of(channel, HALF, thread=ref))
    assert bare(outcome) == Delivered("oc_other:om_2", thread="oc_other:om_2")


@pytest.mark.parametrize(
    ("status", "body", "headers", "wait"),
    [
        (429, b'{"code":99991400,"msg":"request trigger frequency limit"}', {"x-ogw-ratelimit-reset": "17"}, 17),
        (400, b'{"code":99991400,"msg":"request trigger frequency limit"}', {}, 10),
        (503, b"busy", {}, None),
    ],
)
async def test_a_change_that_comes_too_early_is_repeated(
    context: ChannelContext, status: int, body: bytes, headers: dict[str, str], wait: int | None
) -> None:
    token = b'{"code":0,"tenant_access_token":"t-obviously-fake","expire":7200}'
    async with HttpServer(reply(200, token), reply(status, body, headers)) as server:
        outcome = await live(app(server, context)).show(thread_of("oc_demo:om_1", FAILED))
    assert isinstance(outcome, Retry)
    assert outcome.after == (None if wait is None else timedelta(seconds=wait))


# ---- the bot of an app: tokens and checks ----


async def test_a_refused_token_is_fetched_again_once(server: FeishuServer, context: ChannelContext) -> None:
    channel = app(server, context)
    await begin(channel)
    server.service.valid.clear()
    assert isinstance(await channel.send(delivery_of(channel, FAILED)), Delivered)
    assert server.service.tokens == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"app_secret": "wrong-secret"}, "check app_id and app_secret"),
        ({"chat_id": "oc_other"}, "add the bot to the group"),
    ],
)
async def test_a_wrong_setting_is_named(
    server: FeishuServer, context: ChannelContext, changes: dict[str, str], words: str
) -> None:
    channel = app(server, context, **changes)
    outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    assert "obviously-fake" not in repr(outcome)
    assert server.service.messages == {}


@pytest.mark.parametrize(
    ("service", "changes", "last"),
    [
        (Feishu(), {}, (True, True, "Group oc_demo")),
        (Feishu(chats=["oc_1", "oc_2", "oc_3", CHAT]), {}, (True, True, "Group oc_demo")),
        (Feishu(chats=["oc_1", "oc_2", "oc_3"]), {}, (False, True, "the bot is not in oc_demo")),
        (Feishu(may_list=False), {}, (True, False, "cannot be listed")),
        (Feishu(), {"app_secret": "wrong-secret"}, (False, True, "no access token: HTTP 200: code 10014")),
    ],
)
async def test_a_check_proves_the_keys_and_the_group(
    context: ChannelContext, service: Feishu, changes: dict[str, str], last: tuple[bool, bool, str]
) -> None:
    async with FeishuServer(service) as server:
        *_, found = await app(server, context, **changes).check()
    assert (found.ok, found.proven) == last[:2]
    assert last[2] in found.detail
    assert found.remedy or found.ok
    assert service.messages == {}


# ---- settings ----

HOOK_URL = {"webhook_url": "https://open.feishu.cn/open-apis/bot/v2/hook/x"}
KEYS = {"app_id": "cli_x", "app_secret": "b", "chat_id": "oc_x"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "is missing; give it for a custom bot"),
        (HOOK_URL | KEYS, "not both"),
        ({"app_id": "a"}, "is missing; the bot of an app needs it"),
        (KEYS | {"secret": "x"}, "belongs to a custom bot"),
        (KEYS | {"chat_id": "DBA"}, "chat_id"),
        (HOOK_URL | {"style": "live"}, "needs an app"),
    ],
)
def test_settings_of_two_kinds_of_bots_are_not_mixed(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        FeishuSettings.model_validate({"name": "dba"} | values)
