"""Discord: live messages, threads, whom a change calls, rate limits, and what nothing from outside can do."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from channels_discord import texts
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
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.discord import BOT_TOKEN, CHANNEL, FIRST_ID, FORUM, WEBHOOK, Discord, DiscordServer
from servers.http import HttpServer, reply

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Delivered, GaveUp, Parked, Retry, delivery_id
from notifier.core.events import EventType
from notifier.core.people import Acknowledgement
from notifier.core.tickets import TicketLink
from notifier.http import HttpClient
from notifier.integrations.discord.settings import DiscordSettings
from notifier.ports import LiveChannel
from notifier.wording.phrases import Language

USER = "discord:123456789012345678"
ATTACKS = [
    *HOSTILE,
    "<@123456789012345678> <@&1> <#1> </x:1> <t:1> <:x:1>",
    "[x](https://evil.example) https://evil.example",
    "**x** __x__ ~~x~~ ||x|| `x`",
    "# x\n> y\n- z\n-# w",
    "\\",
]


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return make_context(http)


@pytest.fixture
async def server() -> AsyncIterator[DiscordServer]:
    async with DiscordServer(Discord()) as running:
        yield running


def hook(server: HttpServer, context: ChannelContext, **changes: Any) -> Any:
    values = {"name": "dba", "kind": "discord", "webhook_url": server.url(WEBHOOK)}
    return open_channel("discord", values | changes, context)


def bot(server: HttpServer, context: ChannelContext, **changes: Any) -> Any:
    values = {"name": "dba", "kind": "discord", "bot_token": BOT_TOKEN, "channel_id": CHANNEL}
    return open_channel("discord", values | {"api_url": server.url("/api/v10")} | changes, context)


def ref(number: int, channel: str = CHANNEL) -> str:
    """Return the reference of a message, by its number from 0."""
    return f"{channel}:{FIRST_ID + number}"


# ---- a webhook ----


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_discord_takes_every_type_of_message(server: DiscordServer, http: HttpClient, language: Language) -> None:
    channel = hook(server, make_context(http, language))
    messages = [(make_event_of(type_),) for type_ in EventType]
    for events in (*messages, make_events(2), make_events(25)):
        assert isinstance(await channel.send(delivery_of(channel, *events, mention=[USER])), Delivered)
    assert len(server.service.messages) == len(messages) + 2


async def test_a_notification_says_what_where_and_why(server: DiscordServer, context: ChannelContext) -> None:
    event = make_event(make_task(instance_name="prod_orders-01", fail_reason="no VM"), environment="production")
    channel = hook(server, context)
    outcome = await channel.send(delivery_of(channel, event, mention=[USER, "@here", "U0123ABCD"]))
    assert bare(outcome) == Delivered(ref(0), thread=ref(0))
    (message,) = server.service.messages.values()
    assert message.body["content"].split("\n") == [
        "🔴 **Instance creation failed on** `prod_orders-01` · **PROD** · 16:29:20 <@123456789012345678> @here",
        "> \u200bno VM",
    ]
    assert message.called == ["<@123456789012345678>", "@here"]
    (embed,) = message.body["embeds"]
    assert embed["color"] == 0xE01E5A
    assert embed["description"].endswith("job `31b8ae23`")


async def test_a_change_shows_the_latest_and_calls_nobody(server: DiscordServer, context: ChannelContext) -> None:
    """Without `allowed_mentions`, a change would call everybody whom the text seems to name."""
    channel = hook(server, context)
    hostile = replace(FAILED, task=make_task(fail_reason="@everyone <@223456789012345678>"))
    await channel.send(delivery_of(channel, STARTED))
    acknowledged = Acknowledgement(event_id=FAILED.id, by="1", name="@everyone", at=T0)
    assert bare(await channel.show(thread_of(ref(0), hostile, acknowledged=acknowledged))) == Delivered()
    (message,) = server.service.messages.values()
    assert message.called == []
    assert message.body["allowed_mentions"] == {"parse": []}
    assert message.body["content"].startswith("✅ **Instance creation failed")
    assert "<@123456789012345678>" in message.body["content"], "whom it called before stays named"


async def test_a_step_of_a_webhook_is_a_line_in_the_channel(server: DiscordServer, context: ChannelContext) -> None:
    channel = hook(server, context)
    await channel.send(delivery_of(channel, STARTED))
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref(0)))) == Delivered(ref(1))
    step = server.service.messages[str(FIRST_ID + 1)]
    assert "\n" not in step.body["content"]
    assert step.body["embeds"] == []


async def test_a_loud_failure_is_a_message_of_its_own_that_changes_too(
    server: DiscordServer, context: ChannelContext
) -> None:
    channel = hook(server, context)
    await channel.send(delivery_of(channel, STARTED))
    outcome = await channel.send(delivery_of(channel, FAILED, thread=ref(0), mention=[USER]))
    assert bare(outcome) == Delivered(ref(1), copy=ref(1))
    assert server.service.messages[str(FIRST_ID + 1)].called == ["<@123456789012345678>"]
    assert bare(await channel.show_copy(thread_of(ref(0), COMPLETED), ref(1))) == Delivered()
    assert "completed" in server.service.messages[str(FIRST_ID + 1)].body["content"]


@pytest.mark.parametrize("mode", [hook, bot])
async def test_a_deleted_message_is_posted_again_and_calls_nobody(
    server: DiscordServer, context: ChannelContext, mode: Callable[..., Any]
) -> None:
    """Under a key of its own: for that of the first one Discord would return the deleted message."""
    channel = mode(server, context)
    await channel.send(replace(delivery_of(channel, FAILED), id=delivery_id("dba", FAILED.id)))
    del server.service.messages[str(FIRST_ID)]
    assert await channel.show_copy(thread_of(ref(0)), ref(0)) is None
    assert bare(await channel.show(thread_of(ref(0)))) == Delivered(ref(1), thread=ref(1))
    (message,) = server.service.messages.values()
    assert message.called == []
    assert "<@" not in message.body["content"]


async def test_a_thread_of_the_channel_can_be_set(server: DiscordServer, context: ChannelContext) -> None:
    server.service.channels["223344556677889900"] = 11
    channel = hook(server, context, thread_id="223344556677889900")
    await channel.send(delivery_of(channel, FAILED))
    await channel.show(thread_of(ref(0)))
    assert [request.target.partition("?")[2] for request in server.requests] == [
        "wait=true&thread_id=223344556677889900",
        "thread_id=223344556677889900",
    ]


async def test_a_removed_webhook_parks_the_channel(server: DiscordServer, context: ChannelContext) -> None:
    server.service.removed = True
    channel = hook(server, context)
    outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Parked)
    assert "the webhook was removed" in outcome.reason
    assert outcome.probe_after is None
    assert isinstance(await channel.show(thread_of(ref(0))), GaveUp), "Discord restricts who goes on trying"
    (found,) = await channel.check()
    assert (found.ok, found.remedy) == (False, "the webhook was removed: make a new one and set webhook_url to its URL")


# ---- rate limits ----


async def test_no_request_is_made_that_discord_would_refuse(server: DiscordServer, context: ChannelContext) -> None:
    server.service.remaining = 1
    channel = hook(server, context)
    assert isinstance(await channel.send(delivery_of(channel, FAILED)), Delivered)
    outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Retry)
    assert outcome.after == timedelta(seconds=0.75)
    assert len(server.requests) == 1
    cast("FakeClock", context.clock).advance(timedelta(seconds=1))
    server.service.remaining = 5
    assert isinstance(await channel.send(delivery_of(channel, FAILED)), Delivered)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "soon", ""])
async def test_a_limit_that_is_no_number_stops_nothing(context: ChannelContext, value: str) -> None:
    message = json.dumps({"id": str(FIRST_ID), "channel_id": CHANNEL}).encode()
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": value}
    async with HttpServer(reply(200, message, headers)) as server:
        channel = hook(server, context)
        for _ in "ab":
            assert isinstance(await channel.send(delivery_of(channel, FAILED)), Delivered)


async def test_the_limit_of_changes_delays_no_message(server: DiscordServer, context: ChannelContext) -> None:
    channel = hook(server, context)
    await channel.send(delivery_of(channel, STARTED))
    server.service.remaining = 1
    assert isinstance(await channel.show(thread_of(ref(0))), Delivered)
    assert isinstance(await channel.show(thread_of(ref(0))), Retry)
    server.service.remaining = 5
    assert isinstance(await channel.send(delivery_of(channel, FAILED)), Delivered)


# ---- a bot ----


async def test_a_step_is_a_line_in_a_thread_of_the_message(server: DiscordServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    thread = str(FIRST_ID)
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref(0)))) == Delivered(ref(1, thread))
    done = delivery_of(channel, COMPLETED, thread=ref(0))
    assert bare(await channel.send(replace(done, id="b" * 32))) == Delivered(ref(2, thread))
    assert [message.channel for message in server.service.messages.values()] == [CHANNEL, thread, thread]
    begun = [request for request in server.requests if request.target.endswith("/threads")]
    assert [json.loads(request.body)["name"] for request in begun] == [
        "🔵 Instance creation is at 50% on gauss-6568-zzh · PROD · 16:17:00"
    ]


async def test_a_thread_that_somebody_else_began_is_used(server: DiscordServer, context: ChannelContext) -> None:
    """Two processes may begin it at once."""
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    server.service.channels[str(FIRST_ID)] = 11
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref(0)))) == Delivered(ref(1, str(FIRST_ID)))


async def test_without_the_right_to_begin_threads_steps_are_in_the_channel(
    server: DiscordServer, context: ChannelContext
) -> None:
    server.service.may_begin_threads = False
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref(0)))) == Delivered(ref(1))


async def test_a_step_of_an_archived_thread_is_in_the_channel(server: DiscordServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    server.service.channels[str(FIRST_ID)] = 11
    server.service.archived.add(str(FIRST_ID))
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref(0)))) == Delivered(ref(1))


async def test_a_step_of_a_deleted_message_begins_another(server: DiscordServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    del server.service.messages[str(FIRST_ID)]
    outcome = await channel.send(replace(delivery_of(channel, HALF, thread=ref(0)), id="b" * 32))
    assert bare(outcome) == Delivered(ref(1), thread=ref(1))


async def test_a_failure_that_is_not_loud_stays_in_the_thread_as_a_whole(
    server: DiscordServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    quiet = replace(FAILED, environment="staging")
    assert bare(await channel.send(delivery_of(channel, quiet, thread=ref(0)))) == Delivered(ref(1, str(FIRST_ID)))
    assert server.service.messages[str(FIRST_ID + 1)].body["embeds"]


async def test_the_end_of_trouble_is_shown_in_the_channel(server: DiscordServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    delivery = replace(delivery_of(channel, COMPLETED, thread=ref(0)), ends_trouble=True)
    assert bare(await channel.send(delivery)) == Delivered(ref(0))


async def test_a_repeat_within_minutes_is_shown_once(server: DiscordServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    delivery = delivery_of(channel, FAILED)
    first, again = await channel.send(delivery), await channel.send(replace(delivery, attempt=2))
    assert first == again
    assert len(server.service.messages) == 1


async def test_digests_begin_no_thread_and_a_storm_does(server: DiscordServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    assert bare(await channel.send(delivery_of(channel, *make_events(20)))) == Delivered(ref(0))
    delivery = delivery_of(channel, FAILED)
    storm = make_storm(opened_by=delivery.id)
    assert bare(await channel.send(replace(delivery, storm=storm))) == Delivered(ref(1), thread=ref(1))


async def test_channels_of_one_bot_share_the_budget_of_changes(server: DiscordServer, context: ChannelContext) -> None:
    one, two, other = bot(server, context), bot(server, context, name="b"), bot(server, context, bot_token="x.y.z")
    assert one.edit_budget == two.edit_budget != other.edit_budget
    assert bot(server, context, style="thread").edit_budget is None
    assert not bot(server, context, style="post").threads
    assert BOT_TOKEN not in str(one.edit_budget)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bot_token": "wrong"}, "bot_token"),
        ({"channel_id": "998877665544332299"}, "channel_id"),
        ({"channel_id": FORUM}, "forum"),
    ],
)
async def test_a_wrong_setting_is_named(
    server: DiscordServer, context: ChannelContext, changes: dict[str, str], words: str
) -> None:
    channel = bot(server, context, **changes)
    outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    found = [one for one in await channel.check() if not one.ok]
    assert len(found) == 1
    assert words in found[0].remedy
    assert server.service.messages == {}


async def test_a_check_proves_the_bot_and_finds_the_channel(server: DiscordServer, context: ChannelContext) -> None:
    me, channel = await bot(server, context).check()
    assert (me.ok, me.proven, me.detail) == (True, True, "gaussdb")
    assert (channel.ok, channel.proven) == (True, False)
    (webhook,) = await hook(server, context).check()
    assert (webhook.ok, webhook.proven, webhook.detail) == (True, True, "GaussDB")
    assert server.service.messages == {}


async def test_a_change_that_discord_refuses_is_not_repeated(context: ChannelContext) -> None:
    async with HttpServer(reply(400, b'{"code": 50035}')) as server:
        assert isinstance(await hook(server, context).show(thread_of(ref(0))), GaveUp)


@pytest.mark.parametrize("foreign", ["C0123ABCD:1768465800.000001", "om_1", "!a:b/$c", f"{CHANNEL}:../x", ""])
async def test_a_message_of_another_chat_is_neither_changed_nor_answered(
    server: DiscordServer, context: ChannelContext, foreign: str
) -> None:
    channel: LiveChannel = bot(server, context)
    assert isinstance(await channel.show(thread_of(foreign)), GaveUp)
    assert await channel.show_copy(thread_of(foreign), foreign) is None
    assert server.requests == []
    outcome = await channel.send(delivery_of(bot(server, context), HALF, thread=foreign))
    assert bare(outcome) == Delivered(ref(0), thread=ref(0))


# ---- text from outside ----


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(ATTACKS) | st.text("@<>![]()*_`~|\\:# \nab", max_size=60), st.sampled_from([1, 2]))
def test_nothing_from_outside_is_a_mention_a_link_or_markup(text: str, count: int) -> None:
    values = {"name": "dba", "kind": "discord", "webhook_url": "https://discord.com/api/webhooks/1/x"}
    channel = open_channel("discord", values, make_context(HttpClient()))
    events = [replace(hostile_event(text), environment=text)] * count
    body = channel.render(make_render_request(*events))
    assert json.loads(body.content)["allowed_mentions"] == {"parse": []}
    for shown in texts(body):
        bare = re.sub(r"\\.", "", re.sub(r"`[^`\n]*`", "", shown))
        assert set(re.findall(r"\]\(([^)]*)\)", bare)) <= {"https://console.example.com/cn-north-4"}
        assert not re.search(r"[@<](?!\u200b)|[`_~|]", bare)
        assert "*" not in re.sub(r"\*\*[^*\n]+\*\*", "", bare)
        assert "https://evil" not in re.sub(r"`[^`\n]*`", "", shown)
        for line in shown.splitlines():
            assert not re.match(r"\s*(#|-#|>(?! \u200b)|\d+\. |[*+] )", line), line


async def test_a_ticket_is_a_link_with_an_inert_label(context: ChannelContext) -> None:
    async with HttpServer() as server:
        ticket = TicketLink(channel="tickets", label="OPS-12 @here](x)", url="https://tickets.example.com/OPS-12")
        request = replace(make_render_request(FAILED), tickets=(ticket,))
        shown = "\n".join(texts(hook(server, context).render(request)))
    assert "[Ticket OPS-12 @\u200bhere\\](x)](https://tickets.example.com/OPS-12)" in shown


# ---- settings ----

URL = {"webhook_url": "https://discord.com/api/webhooks/1/x"}
KEYS = {"bot_token": "a.b.c", "channel_id": CHANNEL}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "is missing; give it, or bot_token and channel_id"),
        (URL | KEYS, "not both"),
        ({"bot_token": "a.b.c"}, "is missing; a bot needs it"),
        (KEYS | {"thread_id": CHANNEL}, "belongs to a webhook"),
        (KEYS | {"channel_id": "#dba"}, "match"),
        (URL | {"style": "thread"}, "a webhook begins no threads"),
        ({"webhook_url": "http://discord.com/api/webhooks/1/x"}, "https"),
    ],
)
def test_settings_of_a_webhook_and_of_a_bot_are_not_mixed(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DiscordSettings.model_validate({"name": "dba"} | values)


@pytest.mark.parametrize("entry", ["<@123456789012345678>", "discord:alice", "discord:1", "@all", "123456789012345678"])
def test_entries_of_other_forms_are_refused(entry: str) -> None:
    assert not DiscordSettings.accepts_mention(entry)
