"""A task from its first message to its end in each chat that changes messages by their id, over a real socket."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from drain import deliver_due
from factories import make_task, open_channel
from fakes import FakeClock, FakeSource
from servers.discord import BOT_TOKEN, CHANNEL, WEBHOOK, Discord, DiscordServer
from servers.http import HttpServer
from servers.mattermost import BOT_TOKEN as MATTERMOST_TOKEN
from servers.mattermost import CHANNEL as MATTERMOST_CHANNEL
from servers.mattermost import Mattermost, MattermostServer
from servers.telegram import GROUP, TOKEN, Telegram, TelegramServer

from notifier.channels.base import ChannelContext
from notifier.channels.edited_chat import EditedChat
from notifier.core.model import Task
from notifier.core.people import Acknowledgement
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.deliver import DeliveryRules
from notifier.http import HttpClient
from notifier.live_messages import MessageEditor
from notifier.poll import poll_once
from notifier.ports import DeliveryFilter
from notifier.store.engine import SqlStore
from notifier.wording.localizer import Localizer

POLLING = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
DELIVERING = DeliveryRules(schedule=(timedelta(seconds=5), timedelta(minutes=5)), lease=timedelta(seconds=60))
FIRST_LINES = Callable[[], list[str]]
"""Returns the first line of each message that the chat shows, the oldest first."""


class World:
    """A source with one task, and a channel to a chat."""

    def __init__(self, store: SqlStore, clock: FakeClock, channel: EditedChat[Any], lines: FIRST_LINES) -> None:
        self.store, self.clock, self.channel, self.lines = store, clock, channel, lines
        self.source = FakeSource(clock)
        policy = ChannelPolicy(name=channel.name, threads=channel.threads, coalesces=channel.coalesces)
        routes = (Route(name="all", channels=(channel.name,)),)
        self.routing = RoutingConfig(routes=routes, policies={channel.name: policy})

    async def poll(self, *tasks: Task) -> Sequence[str]:
        """Poll, deliver and edit, and return what the chat shows then."""
        self.source.tasks = list(tasks)
        self.clock.advance(POLLING.poll_every)
        await poll_once(self.source, self.store, owner="me", rules=POLLING, routing=self.routing, force=True)
        await deliver_due(self.channel, self.store, self.clock, random.Random(1), owner="me", rules=DELIVERING)
        return await self.edit()

    async def edit(self) -> Sequence[str]:
        self.clock.advance(timedelta(minutes=1))
        await MessageEditor(self.channel, self.store, self.clock, lease=timedelta(minutes=5)).step()
        return self.lines()

    async def acknowledge(self) -> Sequence[str]:
        """Let a person take charge of the latest event."""
        (latest, *_) = await self.store.read(lambda q: q.deliveries(DeliveryFilter(limit=1)))
        taken = Acknowledgement(event_id=latest.events[0].id, by="1", name="bob", at=self.clock.now())
        await self.store.transact(lambda tx: tx.people.acknowledge(taken))
        return await self.edit()


def discord_lines(service: Discord) -> FIRST_LINES:
    return lambda: [message.body["content"].split("\n")[0] for message in service.messages.values()]


def telegram_lines(service: Telegram) -> FIRST_LINES:
    return lambda: [message.shown.split("\n")[0] for message in service.messages.values()]


def mattermost_lines(service: Mattermost) -> FIRST_LINES:
    return lambda: [post.text.split("\n")[0] for post in service.posts.values()]


def served(kind: str) -> tuple[HttpServer, FIRST_LINES]:
    """Return a server of a kind of chat, and what it shows."""
    if kind == "telegram":
        telegram = Telegram()
        return TelegramServer(telegram), telegram_lines(telegram)
    if kind == "mattermost":
        mattermost = Mattermost()
        return MattermostServer(mattermost), mattermost_lines(mattermost)
    discord = Discord()
    return DiscordServer(discord), discord_lines(discord)


@pytest.fixture(params=["discord-webhook", "discord-bot", "telegram", "mattermost"])
async def world(request: pytest.FixtureRequest, store: SqlStore, clock: FakeClock) -> AsyncIterator[World]:
    server, lines = served(request.param)
    async with server, aclosing(HttpClient()) as http:
        localizer = Localizer(language="en", timezone=ZoneInfo("UTC"))
        modes: dict[str, dict[str, Any]] = {
            "discord-webhook": {"webhook_url": server.url(WEBHOOK)},
            "discord-bot": {"bot_token": BOT_TOKEN, "channel_id": CHANNEL, "api_url": server.url("/api/v10")},
            "telegram": {"bot_token": TOKEN, "chat_id": GROUP, "api_url": server.url("")},
            "mattermost": {
                "server_url": server.url(""),
                "bot_token": MATTERMOST_TOKEN,
                "channel_id": MATTERMOST_CHANNEL,
            },
        }
        kind = request.param.partition("-")[0]
        context = ChannelContext(http=http, clock=clock, localizer=localizer)
        channel = open_channel(kind, {"name": "dba", "kind": kind} | modes[request.param], context)
        assert isinstance(channel, EditedChat)
        yield World(store, clock, channel, lines)


async def test_one_message_follows_a_task_and_its_failure_is_told_aloud(world: World) -> None:
    await world.poll()
    (started,) = await world.poll(make_task(status="running", progress=0.0, ended_at=None))
    assert "started on" in started
    first, step = await world.poll(make_task(status="running", progress=50.0, ended_at=None))
    assert "at 50%" in first
    assert "at 50%" in step
    first, step, failure = await world.poll(make_task(progress=50.0, ended_at=world.clock.now()))
    assert "failed on" in first
    assert "at 50%" in step
    assert "failed on" in failure
    first, step, failure = await world.acknowledge()
    assert first.startswith("✅")
    assert failure.startswith("✅")
    assert "at 50%" in step
    first, *_, end = await world.poll(make_task(status="completed", ended_at=world.clock.now()))
    assert "completed" in first
    assert "completed" in end
