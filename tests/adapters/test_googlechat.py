"""Google Chat: threads by key, repeats, and what nothing from outside can do in a text or a card."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from channels_googlechat import paragraphs, texts
from chats import COMPLETED, FAILED, HALF, STARTED, bare, delivery_of, make_context
from factories import (
    HOSTILE,
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
from servers.googlechat import KEY, TARGET, TOKEN, GoogleChat, GoogleChatServer
from servers.http import HttpServer

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, Parked, Retry
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.tickets import TicketLink
from notifier.http import HttpClient
from notifier.integrations.googlechat.settings import GoogleChatSettings
from notifier.wording.phrases import Language

ATTACKS = [
    *HOSTILE,
    "<users/all> <users/123456789012345678901>",
    "<https://evil.example|x> https://evil.example",
    "*x* _x_ ~x~ `x` ```x```",
    '<a href="https://evil.example">x</a> <font color="#f00">x</font> &lt;b&gt;',
    "* x\n- y\n> z",
]


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return make_context(http)


@pytest.fixture
async def server() -> AsyncIterator[GoogleChatServer]:
    async with GoogleChatServer(GoogleChat()) as running:
        yield running


def space(server: HttpServer, context: ChannelContext, target: str = TARGET, **changes: Any) -> BaseChannel[Any]:
    values = {"name": "dba", "kind": "googlechat", "webhook_url": server.url(target)}
    return open_channel("googlechat", values | changes, context)


def name(number: int) -> str:
    return f"spaces/AAAA/messages/M{number}"


# ---- messages ----


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_space_takes_every_type_of_message(
    server: GoogleChatServer, http: HttpClient, language: Language
) -> None:
    channel = space(server, make_context(http, language))
    messages = [(make_event_of(type_),) for type_ in EventType]
    for number, events in enumerate((*messages, make_events(2), make_events(50))):
        delivery = replace(delivery_of(channel, *events, mention=["google:all"]), id=f"delivery-{number}")
        assert isinstance(await channel.send(delivery), Delivered)
    assert len(server.service.messages) == len(messages) + 2


async def test_a_notification_says_what_where_and_why(server: GoogleChatServer, context: ChannelContext) -> None:
    event = make_event(make_task(instance_name="prod_orders-01", fail_reason="no VM"), environment="production")
    channel = space(server, context)
    mention = ["google:123456789012345678901", "google:alice", "@all"]
    assert bare(await channel.send(delivery_of(channel, event, mention=mention))) == Delivered(name(0), thread=name(0))
    (message,) = server.service.messages
    assert message.called == ["users/123456789012345678901"]
    assert message.body["text"].split("\n") == [
        "🔴 *Instance creation failed on* `prod_orders-01` · *PROD* · 16:29:20 <users/123456789012345678901>",
        "│ \u200bno VM",
    ]
    (section,) = message.body["cardsV2"][0]["card"]["sections"]
    *lines, buttons = section["widgets"]
    assert lines[-1]["textParagraph"]["text"].endswith("job 31b8ae23")
    (button,) = buttons["buttonList"]["buttons"]
    assert button["onClick"]["openLink"]["url"] == "https://console.example.com/cn-north-4"


def test_a_template_writes_the_text(context: ChannelContext) -> None:
    templates = {"task.failed": {"title": "*{{ data.task.name }}*", "text": "{{ data.task.fail_reason }} _x_"}}
    values = {"name": "dba", "kind": "googlechat", "webhook_url": f"https://chat.googleapis.com{TARGET}"}
    channel = open_channel("googlechat", values | {"templates": templates}, context)
    event = make_event(make_task(fail_reason="*no* <users/all>"), environment="production")
    first, *card = texts(channel.render(make_render_request(event)))
    assert first == "🔴 *CreateGaussDBV5Instance*\n∗no∗ ‹users/all> _x_"
    assert card == ["prod / cn-north-4 · job 31b8ae23"]


def test_a_ticket_is_a_button(context: ChannelContext) -> None:
    values = {"name": "dba", "kind": "googlechat", "webhook_url": f"https://chat.googleapis.com{TARGET}"}
    ticket = TicketLink(channel="tickets", label="OPS-12 <users/all>", url="https://tickets.example.com/OPS-12")
    request = replace(make_render_request(FAILED), tickets=(ticket,))
    message = json.loads(open_channel("googlechat", values, context).render(request).content)
    *_, buttons = message["cardsV2"][0]["card"]["sections"][0]["widgets"]
    assert buttons["buttonList"]["buttons"][-1] == {
        "text": "Ticket OPS-12 <users/all>",
        "onClick": {"openLink": {"url": "https://tickets.example.com/OPS-12"}},
    }
    assert "<users/all>" not in message["text"]


# ---- threads ----


async def test_the_steps_of_a_task_are_in_the_thread_of_its_first_message(
    server: GoogleChatServer, context: ChannelContext
) -> None:
    channel = space(server, context)
    await channel.send(delivery_of(channel, STARTED))
    assert bare(await channel.send(delivery_of(channel, HALF, thread=name(0)))) == Delivered(name(1))
    first, step = server.service.messages
    assert first.thread == step.thread
    assert list(step.body) == ["text", "thread"]
    assert "\n" not in step.body["text"]


async def test_a_loud_failure_is_a_message_of_its_own(server: GoogleChatServer, context: ChannelContext) -> None:
    channel = space(server, context)
    await channel.send(delivery_of(channel, STARTED))
    outcome = await channel.send(delivery_of(channel, FAILED, thread=name(0), mention=["google:all"]))
    assert bare(outcome) == Delivered(name(1))
    first, failure = server.service.messages
    assert first.thread != failure.thread
    assert failure.called == ["users/all"]
    assert "cardsV2" in failure.body


@pytest.mark.parametrize(("changes", "event"), [({"broadcast": False}, FAILED), ({}, replace(FAILED, environment="x"))])
async def test_a_failure_that_is_not_loud_stays_in_the_thread_as_a_whole(
    server: GoogleChatServer, context: ChannelContext, changes: dict[str, Any], event: Event
) -> None:
    channel = space(server, context, **changes)
    await channel.send(delivery_of(channel, STARTED))
    await channel.send(delivery_of(channel, event, thread=name(0)))
    first, failure = server.service.messages
    assert first.thread == failure.thread
    assert "cardsV2" in failure.body


async def test_the_end_of_trouble_is_a_message_of_its_own(server: GoogleChatServer, context: ChannelContext) -> None:
    channel = space(server, context)
    await channel.send(delivery_of(channel, FAILED))
    await channel.send(replace(delivery_of(channel, COMPLETED, thread=name(0)), ends_trouble=True))
    assert len({message.thread for message in server.service.messages}) == 2


async def test_digests_begin_no_thread_and_a_storm_does(server: GoogleChatServer, context: ChannelContext) -> None:
    channel = space(server, context)
    assert bare(await channel.send(delivery_of(channel, *make_events(20)))) == Delivered(name(0))
    delivery = delivery_of(channel, FAILED)
    storm = make_storm(opened_by=delivery.id)
    assert bare(await channel.send(replace(delivery, storm=storm))) == Delivered(name(1), thread=name(1))


async def test_without_threads_each_message_stands_alone(server: GoogleChatServer, context: ChannelContext) -> None:
    channel = space(server, context, style="post")
    assert not channel.threads
    assert bare(await channel.send(delivery_of(channel, STARTED))) == Delivered(name(0))
    await channel.send(delivery_of(channel, FAILED))
    assert len({message.thread for message in server.service.messages}) == 2


async def test_a_repeat_has_the_same_request_id(server: GoogleChatServer, context: ChannelContext) -> None:
    channel = space(server, context)
    delivery = delivery_of(channel, FAILED)
    first, again = await channel.send(delivery), await channel.send(replace(delivery, attempt=2))
    assert first == again
    assert len(server.service.messages) == 1


# ---- replies ----


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (TARGET.replace(KEY, "wrong"), "the key of the webhook is not valid"),
        (TARGET.replace(TOKEN, "wrong"), "make a new one"),
        (TARGET.replace("AAAA", "BBBB"), "make a new one"),
    ],
)
async def test_a_url_that_is_refused_is_explained(
    server: GoogleChatServer, context: ChannelContext, target: str, words: str
) -> None:
    channel = space(server, context, target)
    outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Parked)
    assert words in outcome.reason
    assert "obviously-fake" not in repr(outcome)


async def test_a_space_that_is_busy_gets_a_pause(server: GoogleChatServer, context: ChannelContext) -> None:
    server.service.busy = True
    channel = space(server, context)
    outcome = await channel.send(delivery_of(channel, FAILED))
    assert isinstance(outcome, Retry)
    assert outcome.after is not None
    assert outcome.after.total_seconds() == 30


async def test_a_check_posts_nothing(server: GoogleChatServer, context: ChannelContext) -> None:
    (found,) = await space(server, context).check()
    assert (found.ok, found.proven) == (True, False)
    assert server.service.messages == []


# ---- text from outside ----


class Links(HTMLParser):
    """Collects the links and the tags of a card's text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(f"{tag} {attrs}" if attrs else tag)


@settings(max_examples=settings().max_examples // 3)
@given(st.sampled_from(ATTACKS) | st.text("@<>|*_`~&\"'/ \nab", max_size=60), st.sampled_from([1, 2]))
def test_nothing_from_outside_is_a_mention_a_link_or_markup(text: str, count: int) -> None:
    values = {"name": "dba", "kind": "googlechat", "webhook_url": f"https://chat.googleapis.com{TARGET}"}
    channel = open_channel("googlechat", values, make_context(HttpClient()))
    events = [replace(hostile_event(text), environment=text)] * count
    body = channel.render(make_render_request(*events))
    shown = next(texts(body))
    assert not re.search("<(?!\u200b)", shown)
    bare = re.sub(r"`[^`\n]*`", "", shown)
    assert not re.search("[`_~]", bare)
    assert "*" not in re.sub(r"\*[^*\n]+\*", "", bare)
    assert "https://evil" not in bare
    for line in shown.splitlines()[1:]:
        assert not re.match(r"\s*([-*>#]|\d+\.) ", line), line
    for paragraph in paragraphs(body):
        parser = Links()
        parser.feed(paragraph)
        assert parser.tags <= {"b", "br"}
        assert "https://evil" not in paragraph


# ---- settings ----


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://chat.googleapis.com/v1/spaces/AAAA/messages", "lacks key and token"),
        ("https://chat.googleapis.com/v1/spaces/AAAA/messages?key=x", "lacks token"),
        ("http://chat.googleapis.com/v1/spaces/AAAA/messages?key=x&token=y", "https"),
    ],
)
def test_a_url_that_was_not_copied_whole_is_refused(url: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        GoogleChatSettings.model_validate({"name": "dba", "webhook_url": url})


@pytest.mark.parametrize("entry", ["google:alice", "users/all", "google:0123456", "<users/all>", "@all"])
def test_entries_of_other_forms_are_refused(entry: str) -> None:
    assert not GoogleChatSettings.accepts_mention(entry)
