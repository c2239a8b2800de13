"""ntfy: what a phone shows, what nothing from outside can do there, and what a check proves."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from chats import FAILED, make_context
from factories import (
    HOSTILE,
    hostile_event,
    make_delivery,
    make_event,
    make_events,
    make_render_request,
    make_task,
    open_channel,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.ntfy import PASSWORD, TOKEN, TOPIC, USER, Ntfy, NtfyServer

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, Outcome, Parked
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.integrations.ntfy.settings import NtfySettings

CONSOLE = "https://console.example.com/cn-north-4"
ATTACKS = [
    *HOSTILE,
    "view, x, https://evil.example; http, y, https://evil.example",
    "https://evil.example",
    "x" * 9_000,
]


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return make_context(http)


@pytest.fixture
async def server() -> AsyncIterator[NtfyServer]:
    async with NtfyServer(Ntfy()) as running:
        yield running


def topic(context: ChannelContext, url: str, **changes: Any) -> BaseChannel[Any]:
    values = {"name": "phone", "kind": "ntfy", "url": url, "topic": TOPIC, "token": TOKEN} | changes
    return open_channel("ntfy", values, context)


async def sent(channel: BaseChannel[Any], *events: Event) -> Outcome:
    events = events or (FAILED,)
    return await channel.send(make_delivery(*events, body=channel.render(make_render_request(*events))))


async def test_a_phone_shows_what_then_why_then_where(server: NtfyServer, context: ChannelContext) -> None:
    unexplained = make_task(fail_reason="Control refused: 64 below 72.\nError code: ABC.123456.")
    outcome = await sent(topic(context, server.url("")), make_event(unexplained, environment="production"))
    assert isinstance(outcome, Delivered)
    assert outcome.ref == "id1"
    (message,) = server.service.messages
    assert message == {
        "topic": TOPIC,
        "title": "🔴 gauss-6568-zzh: instance creation failed (PROD)",
        "message": (
            "Control refused: 64 below 72.\nError code: ABC.123456.\n\n"
            "Instance is creating · ran 12 min 20 s\n\n"
            "Instance creation failed on gauss-6568-zzh · PROD · 16:29:20\n"
            "prod / cn-north-4 · job 31b8ae23"
        ),
        "priority": 5,
        "click": CONSOLE,
        "actions": [{"action": "view", "label": "Open console", "url": CONSOLE}],
    }


async def test_a_user_with_a_password_is_let_in(server: NtfyServer, context: ChannelContext) -> None:
    channel = topic(context, server.url(""), token=None, username=USER, password=PASSWORD)
    assert isinstance(await sent(channel), Delivered)


@pytest.mark.parametrize(
    ("event", "priority", "expected"),
    [
        (FAILED, None, 5),
        (make_event(), None, 4),
        (make_event(environment="staging"), None, 3),
        (make_event(make_task(status="completed")), None, 2),
        (FAILED, 3, 3),
        (FAILED, {"critical": 4}, 4),
        (make_event(), {"critical": 1}, 4),
    ],
)
async def test_the_priority_follows_the_severity(
    server: NtfyServer, context: ChannelContext, event: Event, priority: object, expected: int
) -> None:
    await sent(topic(context, server.url(""), priority=priority), event)
    assert server.service.messages[0]["priority"] == expected


async def test_a_message_is_never_empty_and_never_an_attachment(server: NtfyServer, context: ChannelContext) -> None:
    channel = topic(context, server.url(""), templates={"task.failed": {"title": "t", "text": "验" * 5_000}})
    for events in ((FAILED,), (hostile_event("x" * 9_000),), make_events(20)):
        assert isinstance(await sent(channel, *events), Delivered)
    assert server.service.attachments == 0
    assert all(message["message"] != "triggered" for message in server.service.messages)


async def test_the_topic_is_neither_stored_nor_shown(server: NtfyServer, context: ChannelContext) -> None:
    channel = topic(context, server.url(""))
    assert TOPIC not in channel.render(make_render_request(FAILED)).content.decode()
    outcome = await sent(channel)
    assert outcome.reply
    assert TOPIC not in repr(outcome) + repr(channel.settings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token": "tk_obviously-fake-other"}, "the login is not valid"),
        ({"token": None, "username": USER, "password": "obviously-fake-other"}, "the login is not valid"),
        ({"topic": "obviously-fake-other"}, "may not write to the topic"),
    ],
)
async def test_what_is_wrong_is_named(
    server: NtfyServer, context: ChannelContext, changes: dict[str, Any], words: str
) -> None:
    outcome = await sent(topic(context, server.url(""), **changes))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    assert "obviously-fake" not in repr(outcome)


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(ATTACKS) | st.text("https:/.evil \n,;=ab", max_size=60), st.sampled_from([1, 2]))
def test_nothing_from_outside_is_a_link_or_a_button(text: str, count: int) -> None:
    channel = topic(make_context(HttpClient()), "http://127.0.0.1:9")
    events = [replace(hostile_event(text), environment=text)] * count
    message = json.loads(channel.render(make_render_request(*events)).content)
    assert message.get("click", CONSOLE) == CONSOLE
    assert {action["url"] for action in message.get("actions", ())} <= {CONSOLE}
    assert message.keys() <= {"title", "message", "priority", "click", "actions"}
    assert "\n" not in message["title"]
    assert not re.search(r"://|[a-z]\.[a-z]", message["message"])


async def test_a_check_publishes_nothing_and_says_what_it_proves(server: NtfyServer, context: ChannelContext) -> None:
    channel = topic(context, server.url(""))
    (found,) = await channel.check()
    assert (found.ok, found.proven, found.detail[:18]) == (True, False, "it may not be read")
    server.service.may_read = True
    (found,) = await channel.check()
    assert (found.ok, found.proven, found.detail[:18]) == (True, False, "the server lets us")
    (found,) = await topic(context, server.url(""), token="tk_obviously-fake-other").check()
    assert (found.ok, found.remedy) == (False, "the login is not valid: check token, or username and password")
    assert server.service.messages == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"topic": "a/b"}, "must be the name of a topic"),
        ({"topic": "x" * 65}, "must be the name of a topic"),
        ({"token": "t", "username": "u", "password": "p"}, "not both"),
        ({"username": "u"}, "give username and password together"),
        ({"password": "p"}, "give username and password together"),
        ({"priority": 6}, "at most 5"),
        ({"url": "http://ntfy.example.com"}, "https"),
        ({"url": "https://ntfy.sh/dba"}, "without a user, a path"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        NtfySettings.model_validate({"name": "phone", "topic": "dba"} | changes)
