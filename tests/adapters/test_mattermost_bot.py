"""A Mattermost bot: posts that change, threads, deleted posts, repeats, what the check finds, and its settings."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    T0,
    make_delivery,
    make_event,
    make_event_of,
    make_events,
    make_render_request,
    make_task,
    open_channel,
)
from fakes import FakeClock
from pydantic import ValidationError
from servers.mattermost import BOT_TOKEN, CHANNEL, Mattermost, MattermostServer, Post

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, Thread, delivery_id
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.routing import DeliveryRouting
from notifier.http import HttpClient
from notifier.integrations.mattermost.settings import MattermostSettings
from notifier.wording.localizer import Localizer

STARTED = make_event(make_task(status="running", progress=0.0, ended_at=None), environment="production")
HALF = replace(
    make_event(make_task(status="running", progress=50.0, ended_at=None), environment="production"),
    type=EventType.TASK_PROGRESSED,
)
FAILED = make_event(environment="production")
BOT = {"server_url": "https://chat.example.com", "bot_token": BOT_TOKEN, "channel_id": CHANNEL}


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    async with aclosing(HttpClient()) as http:
        localizer = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
        yield ChannelContext(http=http, clock=FakeClock(), localizer=localizer)


@pytest.fixture
async def server() -> AsyncIterator[MattermostServer]:
    async with MattermostServer(Mattermost()) as running:
        yield running


def bot(server: MattermostServer, context: ChannelContext, **changes: Any) -> Any:
    values = {"name": "dba", "kind": "mattermost"} | BOT | {"server_url": server.url("")}
    return open_channel("mattermost", values | changes, context)


def delivery_of(
    channel: BaseChannel[Any], *events: Event, thread: str | None = None, mention: Sequence[str] = ()
) -> Delivery:
    routing = DeliveryRouting(routes=("r",), mention=tuple(mention))
    request = replace(make_render_request(*events), routing=routing)
    made = make_delivery(*events, body=channel.render(request))
    return replace(made, id=request.delivery_id, thread=thread, routing=routing)


def thread_of(ref: str, event: Event = FAILED, **changes: Any) -> Thread:
    routing = DeliveryRouting(routes=("r",), mention=("@dba-oncall",))
    return Thread(channel="dba", subject=event.subject, ref=ref, event=event, revision=2, routing=routing, **changes)


def post_id(number: int) -> str:
    """Return the id of a post, by its number from 0."""
    return f"post{number + 1:022d}"


def ref(number: int) -> str:
    return f"{CHANNEL}:{post_id(number)}"


def bare(outcome: Outcome | None) -> Outcome | None:
    return replace(outcome, reply=None) if outcome else None


def attached(post: Post) -> str:
    """Return the texts of the attachments."""
    return "\n".join(one["text"] for one in post.body["props"]["attachments"])


async def test_mattermost_takes_every_type_of_message(server: MattermostServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    messages = [(make_event_of(type_),) for type_ in EventType]
    for number, events in enumerate((*messages, make_events(2), make_events(25))):
        delivery = replace(delivery_of(channel, *events, mention=["@here"]), id=f"delivery-{number}")
        assert isinstance(await channel.send(delivery), Delivered)
    assert len(server.service.posts) == len(messages) + 2


async def test_a_post_changes_with_its_task(server: MattermostServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    outcome = await channel.send(delivery_of(channel, FAILED, mention=["@dba-oncall", "U0123ABCD"]))
    assert bare(outcome) == Delivered(ref(0), thread=ref(0))
    (post,) = server.service.posts.values()
    assert post.text.endswith(" @dba-oncall")
    taken = Acknowledgement(event_id=FAILED.id, by="1", name="@everyone", at=T0)
    muted = Mute(id="7k2m", since=T0, instance="i", by="1", name="bob", until=T0, created_at=T0, reason="@all planned")
    assert bare(await channel.show(thread_of(ref(0), acknowledged=taken, mute=muted))) == Delivered()
    assert list(server.service.posts) == [post_id(0)]
    assert post.text.startswith("✅ **Instance creation failed on**")
    assert "✅ `@everyone`, " in attached(post)
    assert "by `bob`: `@all planned`" in attached(post)


async def test_a_step_is_a_line_in_the_thread_that_mentions_nobody(
    server: MattermostServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    step = delivery_of(channel, HALF, thread=ref(0), mention=["@here", "@a.b_c"])
    assert bare(await channel.send(step)) == Delivered(ref(1))
    post = server.service.posts[post_id(1)]
    assert post.root == post_id(0)
    assert "\n" not in post.text
    assert "@" not in post.text
    assert post.body["props"] == {"attachments": []}


async def test_a_loud_failure_is_a_post_of_its_own_that_changes_too(
    server: MattermostServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    outcome = await channel.send(delivery_of(channel, FAILED, thread=ref(0), mention=["@here"]))
    assert bare(outcome) == Delivered(ref(1), copy=ref(1))
    post = server.service.posts[post_id(1)]
    assert (post.root, post.text[-6:]) == ("", " @here")
    completed = make_event(make_task(status="completed"), environment="production")
    assert bare(await channel.show_copy(thread_of(ref(0), completed), ref(1))) == Delivered()
    assert "completed" in post.text


async def test_broadcast_can_be_switched_off(server: MattermostServer, context: ChannelContext) -> None:
    channel = bot(server, context, broadcast=False)
    await channel.send(delivery_of(channel, STARTED))
    assert bare(await channel.send(delivery_of(channel, FAILED, thread=ref(0)))) == Delivered(ref(1))
    post = server.service.posts[post_id(1)]
    assert post.root == post_id(0)
    assert attached(post), "what needs care is posted whole"


async def test_a_deleted_post_is_posted_again_and_mentions_nobody(
    server: MattermostServer, context: ChannelContext
) -> None:
    """Under a key of its own: for that of the first one the server would look for the deleted post."""
    channel = bot(server, context)
    await channel.send(replace(delivery_of(channel, FAILED), id=delivery_id("dba", FAILED.id)))
    del server.service.posts[post_id(0)]
    assert await channel.show_copy(thread_of(ref(0)), ref(0)) is None
    assert bare(await channel.show(thread_of(ref(0)))) == Delivered(ref(1), thread=ref(1))
    (post,) = server.service.posts.values()
    assert "@" not in post.text


async def test_a_step_of_a_deleted_post_begins_another(server: MattermostServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    del server.service.posts[post_id(0)]
    assert bare(await channel.send(delivery_of(channel, HALF, thread=ref(0)))) == Delivered(ref(1), thread=ref(1))
    (post,) = server.service.posts.values()
    assert post.root == ""


async def test_a_missing_right_to_edit_is_not_taken_for_a_deleted_post(
    server: MattermostServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    server.service.may_edit = False
    outcome = await channel.show(thread_of(ref(0)))
    assert isinstance(outcome, Parked)
    assert outcome.reason.endswith("let its role post there and edit its posts")
    assert len(server.service.posts) == 1


async def test_a_post_that_may_not_change_any_more_stays(server: MattermostServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, STARTED))
    server.service.edit_limit_over = True
    assert isinstance(await channel.show(thread_of(ref(0))), GaveUp)
    assert len(server.service.posts) == 1


async def test_a_post_of_another_channel_is_left_alone(server: MattermostServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    elsewhere = f"channel0000000000000000009:{post_id(0)}"
    for other in (elsewhere, f"{CHANNEL}:../users", "1.2"):
        assert isinstance(await channel.show(thread_of(other)), GaveUp)
        assert await channel.show_copy(thread_of(ref(0)), other) is None
    assert server.requests == []
    assert bare(await channel.send(delivery_of(channel, HALF, thread=elsewhere))) == Delivered(ref(0), thread=ref(0))


async def test_a_repeat_after_a_lost_answer_is_shown_once(server: MattermostServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    delivery = delivery_of(channel, FAILED)
    first, again = [await channel.send(replace(delivery, attempt=n, outcome_unknown=n > 1)) for n in (1, 2)]
    assert bare(first) == bare(again) == Delivered(ref(0), thread=ref(0))
    assert len(server.service.posts) == 1


@pytest.mark.parametrize("text", HOSTILE)
async def test_text_from_outside_mentions_nobody(server: MattermostServer, context: ChannelContext, text: str) -> None:
    channel = bot(server, context)
    event = make_event(make_task(instance_name=f"@all {text}"[:64], fail_reason=f"{text}\n@channel"))
    await channel.send(delivery_of(channel, event))
    await channel.send(delivery_of(channel, replace(HALF, task=event.task), thread=ref(0)))
    for post in server.service.posts.values():
        shown = re.sub(r"`[^`]*`", "", f"{post.text}\n{attached(post)}")  # nothing is a mention in code
        assert "@all" not in shown
        assert "@channel" not in shown


async def test_what_was_rendered_for_a_webhook_is_posted_by_a_bot(
    server: MattermostServer, context: ChannelContext
) -> None:
    hook = open_channel("mattermost", {"name": "dba", "webhook_url": "https://c.example.com/hooks/x"}, context)
    assert isinstance(await bot(server, context).send(delivery_of(hook, FAILED)), Delivered)
    (post,) = server.service.posts.values()
    assert "failed on" in post.text
    assert attached(post)


async def test_the_check_names_the_bot_and_its_channel(server: MattermostServer, context: ChannelContext) -> None:
    me, channel = await bot(server, context).check()
    assert (me.ok, me.detail) == (True, "gaussdb")
    assert (channel.ok, channel.proven) == (True, False)
    assert channel.detail.startswith("the bot is in DBA; only a message proves")
    assert [request.method for request in server.requests] == ["GET"] * 3
    server.service.member = False
    _, channel = await bot(server, context).check()
    assert (channel.ok, channel.detail) == (False, "the bot is not in DBA")
    server.service.archived = True
    _, channel = await bot(server, context).check()
    assert (channel.ok, channel.detail) == (False, "DBA is archived")
    (me,) = await bot(server, context, bot_token="obviously-fake-other").check()
    assert (me.ok, me.remedy) == (False, "check bot_token, and that the bot and its token are enabled")


async def test_a_server_below_a_path_is_reached(server: MattermostServer, context: ChannelContext) -> None:
    await bot(server, context, server_url=server.url("/chat/")).check()
    assert [request.target for request in server.requests] == ["/chat/api/v4/users/me"]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "webhook_url is missing; give it, or server_url, bot_token, channel_id for a bot"),
        ({"bot_token": "t", "channel_id": CHANNEL}, "server_url is missing; a bot needs it"),
        (BOT | {"webhook_url": "https://c.example.com/hooks/x"}, "not both"),
        (BOT | {"channel": "dba"}, "belongs to a webhook"),
        (BOT | {"channel_id": "dba"}, "channel_id"),
        (BOT | {"server_url": "http://chat.example.com"}, "https"),
        ({"webhook_url": "https://c.example.com/hooks/x", "style": "live"}, "live needs a bot"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError) as refused:
        MattermostSettings.model_validate({"name": "ops"} | values)
    error = refused.value.errors()[0]
    assert problem in f"{'.'.join(map(str, error['loc']))} {error['msg']} {error}"


def test_a_webhook_keeps_no_threads() -> None:
    settings = MattermostSettings.model_validate({"name": "ops", "webhook_url": "https://c.example.com/hooks/x"})
    assert (settings.threads, settings.live) == (False, False)
