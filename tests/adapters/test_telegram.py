"""Telegram: live messages, replies, moved groups, refused layouts, and what nothing from outside can do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from channels_telegram import texts
from chats import COMPLETED, FAILED, HALF, STARTED, bare, delivery_of, make_context, thread_of
from factories import (
    HOSTILE,
    T0,
    hostile_event,
    make_event,
    make_event_of,
    make_events,
    make_render_request,
    make_storm,
    make_task,
    open_channel,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.http import HttpServer
from servers.telegram import GROUP, MOVED, TOKEN, Telegram, TelegramServer, active, read_html

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Delivered, GaveUp, Parked
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.people import Acknowledgement
from notifier.core.tickets import TicketLink
from notifier.http import HttpClient
from notifier.integrations.telegram.settings import TelegramSettings
from notifier.ports import LiveChannel
from notifier.wording.phrases import Language

ATTACKS = [
    *HOSTILE,
    "@alice_dba #tag /start $USD",
    "https://evil.example evil.example alice@evil.example",
    '<a href="tg://user?id=1">x</a> <b>x</b> &lt;b&gt;',
]


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return make_context(http)


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with TelegramServer(Telegram()) as running:
        yield running


def bot(server: HttpServer, context: ChannelContext, **changes: Any) -> Any:
    values = {"name": "dba", "kind": "telegram", "bot_token": TOKEN, "chat_id": GROUP, "api_url": server.url("")}
    return open_channel("telegram", values | changes, context)


def ref(number: int, chat: int = GROUP) -> str:
    return f"{chat}:{number}"


# ---- posting ----


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_telegram_takes_every_type_of_message(
    server: TelegramServer, http: HttpClient, language: Language
) -> None:
    channel = bot(server, make_context(http, language))
    messages = [(make_event_of(type_),) for type_ in EventType]
    for events in (*messages, make_events(2), make_events(20)):
        assert isinstance(await channel.send(delivery_of(channel, *events)), Delivered)
    assert all(message.body["parse_mode"] == "HTML" for message in server.service.messages.values())


async def test_a_message_says_what_where_and_why(server: TelegramServer, context: ChannelContext) -> None:
    event = make_event(make_task(instance_name="prod_orders-01", fail_reason="no VM"), environment="production")
    channel = bot(server, context)
    mention = ["telegram:alice_dba", "telegram:987654321|On call", "@alice", "@all"]
    assert bare(await channel.send(delivery_of(channel, event, mention=mention))) == Delivered(ref(1), thread=ref(1))
    (message,) = server.service.messages.values()
    assert message.called == ["@alice_dba", "tg://user?id=987654321"]
    assert message.shown.split("\n")[:3] == [
        "🔴 Instance creation failed on prod_orders-01 · PROD · 16:29:20 @alice_dba On call",
        "",
        "no VM",
    ]
    assert message.shown.endswith("job 31b8ae23")
    assert read_html(message.body["text"]).links == ["https://console.example.com/cn-north-4"]
    assert message.body["link_preview_options"] == {"is_disabled": True}


@pytest.mark.parametrize(
    ("event", "changes", "silent"),
    [
        (FAILED, {}, False),
        (COMPLETED, {}, True),
        (replace(FAILED, environment="staging"), {}, True),
        (COMPLETED, {"quiet": False}, False),
    ],
)
async def test_what_is_not_loud_has_no_sound(
    server: TelegramServer,
    context: ChannelContext,
    event: Event,
    changes: dict[str, Any],
    silent: bool,  # noqa: FBT001 - a table
) -> None:
    channel = bot(server, context, **changes)
    await channel.send(delivery_of(channel, event))
    assert server.service.messages[1].body["disable_notification"] is silent


async def test_a_topic_can_be_set(server: TelegramServer, context: ChannelContext) -> None:
    channel = bot(server, context, topic_id=7)
    await channel.send(delivery_of(channel, FAILED))
    assert server.service.messages[1].body["message_thread_id"] == 7
    wrong = bot(server, context, topic_id=8)
    outcome = await wrong.send(delivery_of(wrong, FAILED))
    assert isinstance(outcome, Parked)
    assert "set topic_id to another one" in outcome.reason


async def test_a_refused_layout_is_sent_as_plain_text(server: TelegramServer, context: ChannelContext) -> None:
    server.service.refuse_html = True
    channel = bot(server, context)
    event = make_event(make_task(fail_reason="a < b & c"), environment="production")
    assert isinstance(await channel.send(delivery_of(channel, event)), Delivered)
    (message,) = server.service.messages.values()
    assert "parse_mode" not in message.body
    assert "a < b & c" in message.shown
    assert "<code>" not in message.shown


async def test_a_template_with_a_wrong_tag_costs_no_message(server: TelegramServer, context: ChannelContext) -> None:
    channel = bot(server, context, templates={"task.failed": "<b>{{ data.task.fail_reason }}</i> <x>"})
    assert isinstance(await channel.send(delivery_of(channel, FAILED)), Delivered)
    assert "quota" in server.service.messages[1].shown


async def test_a_group_that_has_moved_is_followed(server: TelegramServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    server.service.moved = True
    outcome = await channel.send(delivery_of(channel, HALF, thread=ref(1)))
    assert bare(outcome) == Delivered(ref(2, MOVED))
    assert "reply_parameters" not in server.service.messages[2].body
    asked = len(server.requests)
    assert bare(await channel.send(delivery_of(channel, FAILED))) == Delivered(ref(3, MOVED), thread=ref(3, MOVED))
    assert len(server.requests) == asked + 1


# ---- steps and changes ----


async def test_a_step_is_a_reply_without_a_sound(server: TelegramServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref(1)))) == Delivered(ref(2))
    step = server.service.messages[2]
    assert step.body["reply_parameters"] == {"message_id": 1, "allow_sending_without_reply": True}
    assert step.body["disable_notification"] is True
    assert "\n" not in step.shown


async def test_a_loud_failure_is_a_reply_with_a_sound_that_changes_too(
    server: TelegramServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    outcome = await channel.send(delivery_of(channel, FAILED, thread=ref(1), mention=["telegram:alice_dba"]))
    assert bare(outcome) == Delivered(ref(2), copy=ref(2))
    step = server.service.messages[2]
    assert step.body["reply_parameters"]["message_id"] == 1
    assert step.body["disable_notification"] is False
    assert step.called == ["@alice_dba"]
    assert bare(await channel.show_copy(thread_of(ref(1), COMPLETED), ref(2))) == Delivered()
    assert "completed" in server.service.messages[2].shown


async def test_the_end_of_trouble_has_a_sound(server: TelegramServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    delivery = replace(delivery_of(channel, COMPLETED, thread=ref(1)), ends_trouble=True)
    assert bare(await channel.send(delivery)) == Delivered(ref(1))
    assert server.service.messages[1].body["disable_notification"] is False


async def test_a_message_shows_its_latest_state(server: TelegramServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    acknowledged = Acknowledgement(event_id=FAILED.id, by="1", name="<b>@alice_dba</b>", at=T0)
    thread = thread_of(ref(1), FAILED, acknowledged=acknowledged)
    for _ in "ab":  # the second change changes nothing, which Telegram refuses
        assert bare(await channel.show(thread)) == Delivered()
    (message,) = server.service.messages.values()
    assert message.shown.startswith("✅ Instance creation failed")
    assert "✅ <b>@\u200balice_dba<" in message.shown


async def test_a_deleted_message_is_posted_again_without_a_sound(
    server: TelegramServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, FAILED))
    server.service.messages.clear()
    assert await channel.show_copy(thread_of(ref(1)), ref(1)) is None
    assert bare(await channel.show(thread_of(ref(1)))) == Delivered(ref(1), thread=ref(1))
    (message,) = server.service.messages.values()
    assert (message.called, message.body["disable_notification"]) == ([], True)


async def test_digests_begin_no_thread_and_a_storm_does(server: TelegramServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    assert bare(await channel.send(delivery_of(channel, *make_events(20)))) == Delivered(ref(1))
    delivery = delivery_of(channel, FAILED)
    storm = make_storm(opened_by=delivery.id)
    assert bare(await channel.send(replace(delivery, storm=storm))) == Delivered(ref(2), thread=ref(2))


@pytest.mark.parametrize("foreign", ["C0123ABCD:1768465800.000001", "om_1", "-100999:1", f"{GROUP}:x", ""])
async def test_a_message_of_another_chat_is_neither_changed_nor_answered(
    server: TelegramServer, context: ChannelContext, foreign: str
) -> None:
    """Each chat numbers its messages from 1, so that the number alone would be that of another message."""
    channel: LiveChannel = bot(server, context)
    assert isinstance(await channel.show(thread_of(foreign)), GaveUp)
    assert await channel.show_copy(thread_of(foreign), foreign) is None
    assert server.requests == []
    outcome = await channel.send(delivery_of(bot(server, context), HALF, thread=foreign))
    assert bare(outcome) == Delivered(ref(1), thread=ref(1))
    assert "reply_parameters" not in server.service.messages[1].body


async def test_a_public_name_stands_for_the_number_of_its_chat(server: TelegramServer, context: ChannelContext) -> None:
    channel = bot(server, context, chat_id="@dba_alerts")
    await channel.send(delivery_of(channel, STARTED))
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref(1)))) == Delivered(ref(2))
    assert bare(await channel.show(thread_of(ref(1)))) == Delivered()


@pytest.mark.parametrize("event", [HALF, FAILED])
async def test_a_message_of_another_topic_is_not_answered(
    server: TelegramServer, context: ChannelContext, event: Event
) -> None:
    """Telegram refuses an answer to a message of another topic, whatever `allow_sending_without_reply` says."""
    await bot(server, context).send(delivery_of(bot(server, context), STARTED))
    channel = bot(server, context, topic_id=7)
    outcome = await channel.send(delivery_of(channel, event, thread=ref(1)))
    assert bare(outcome) == Delivered(ref(2), thread=ref(2))


# ---- check ----


@pytest.mark.parametrize(
    ("service", "changes", "words"),
    [
        (Telegram(), {"bot_token": "123456789:wrong"}, "check bot_token"),
        (Telegram(), {"chat_id": -100999}, "check chat_id"),
        (Telegram(member={"status": "left"}), {}, "let the bot into the chat"),
        (Telegram(member={"status": "restricted", "can_send_messages": False}), {}, "let the bot send messages"),
        (Telegram(chat={"id": GROUP, "type": "channel", "title": "DBA"}), {}, "make the bot an administrator"),
        (Telegram(chat={"id": GROUP, "type": "supergroup", "title": "DBA"}), {"topic_id": 7}, "leave topic_id out"),
    ],
)
async def test_a_check_names_what_is_wrong(
    context: ChannelContext, service: Telegram, changes: dict[str, Any], words: str
) -> None:
    async with TelegramServer(service) as server:
        failed = [one for one in await bot(server, context, **changes).check() if not one.ok]
    assert len(failed) == 1
    assert words in failed[0].remedy
    assert service.messages == {}


@pytest.mark.parametrize(
    "service",
    [
        Telegram(),
        Telegram(member={"status": "administrator"}),
        Telegram(chat={"id": GROUP, "type": "private", "first_name": "x"}),
        Telegram(
            chat={"id": GROUP, "type": "channel", "title": "DBA"},
            member={"status": "administrator", "can_post_messages": True},
        ),
    ],
)
async def test_a_check_proves_what_the_bot_may_do(context: ChannelContext, service: Telegram) -> None:
    async with TelegramServer(service) as server:
        found = await bot(server, context).check()
    assert [(one.ok, one.proven) for one in found] == [(True, True), (True, True)]
    assert found[0].detail == "@gaussdb_bot"


# ---- text from outside ----


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(ATTACKS) | st.text("@#/$<>&\"'. \nab", max_size=60), st.sampled_from([1, 2]))
def test_nothing_from_outside_is_a_mention_a_link_or_markup(text: str, count: int) -> None:
    values = {"name": "dba", "kind": "telegram", "bot_token": TOKEN, "chat_id": GROUP}
    channel = open_channel("telegram", values, make_context(HttpClient()))
    events = [replace(hostile_event(text), environment=text)] * count
    (shown,) = texts(channel.render(make_render_request(*events)))
    parsed = read_html(shown)
    assert (parsed.problem, parsed.called) == ("", [])
    assert set(parsed.links) <= {"https://console.example.com/cn-north-4"}
    assert active(shown) == []
    assert not re.search(r"(?<!\w)[@/][A-Za-z]", parsed.shown), "in code neither"


async def test_a_ticket_is_a_link_with_an_inert_label(context: ChannelContext) -> None:
    async with HttpServer() as server:
        ticket = TicketLink(channel="tickets", label="OPS-12 <b> @here", url="https://tickets.example.com/OPS-12")
        request = replace(make_render_request(FAILED), tickets=(ticket,))
        parsed = read_html(next(texts(bot(server, context).render(request))))
    assert "https://tickets.example.com/OPS-12" in parsed.links
    assert "Ticket OPS-12 <b> @" in parsed.shown
    assert parsed.problem == ""


# ---- settings ----


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bot_token": "obviously-fake"}, "as BotFather shows it"),
        ({"bot_token": "123:a/../b"}, "as BotFather shows it"),
        ({"chat_id": "DBA"}, "match"),
        ({"chat_id": True}, "must be text"),
        ({"api_url": "http://telegram.example.com"}, "https"),
        ({"topic_id": 0}, "at least 1"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TelegramSettings.model_validate({"name": "dba", "bot_token": TOKEN, "chat_id": GROUP} | changes)


@pytest.mark.parametrize("chat", [GROUP, str(GROUP), 987654321, "@dba_alerts"])
def test_a_chat_is_a_number_or_a_name(chat: str | int) -> None:
    values = {"name": "dba", "bot_token": TOKEN, "chat_id": chat}
    assert TelegramSettings.model_validate(values).chat_id == str(chat)


@pytest.mark.parametrize("entry", ["@alice_dba", "telegram:123456789", "telegram:1234|<b>", "telegram:a-b-c-d", "all"])
def test_entries_of_other_forms_are_refused(entry: str) -> None:
    assert not TelegramSettings.accepts_mention(entry)
