"""Subscriptions in Mattermost: commands over HTTP, and messages by the bot of a configured channel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from factories import make_task
from fakes import START, FakeClock, FakeSource
from servers.mattermost import BOT_TOKEN, CHANNEL, Mattermost, MattermostServer, direct_with
from test_slack_chat import free_port

from notifier.config.loading import loads
from notifier.core.delivery import DeliveryState
from notifier.core.model import Task
from notifier.ports import DeliveryFilter
from notifier.service.service import Service
from notifier.wiring.app import App, open_app, open_endpoints

TOKEN = "obviously-fake-token"
ALICE, BOSS = "alice000000000000000000001", "boss0000000000000000000001"
OTHER = "other000000000000000000001"
CONFIGURATION = """
store: {url: "sqlite:///FOLDER/notifier.db", migrate: true}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}, first_poll: notify}
channels:
  - {name: dba, kind: mattermost, server_url: "SERVER", bot_token: BOT, channel_id: CHANNEL}
routes: [{name: nothing, match: ["instance=nothing"], channels: [dba]}]
chat: {mattermost: {token: obviously-fake-token, allow: [BOSS]}}
web: {listen: "127.0.0.1:PORT"}
"""


def failed(job_id: str) -> Task:
    return make_task(job_id, ended_at=START)


@dataclass
class Harness:
    """A program with one source, and the Mattermost that it posts to."""

    app: App
    clock: FakeClock
    service: Service
    source: FakeSource
    mattermost: Mattermost
    client: httpx.AsyncClient
    url: str

    async def type(self, text: str, user: str = ALICE, channel: str = OTHER, name: str = "ops") -> str:
        form = {"command": "/gaussdb", "text": text, "user_id": user, "user_name": user[:5]}
        form |= {"channel_id": channel, "channel_name": name}
        answer = await self.client.post(self.url, data=form, headers={"Authorization": f"Token {TOKEN}"})
        return str(answer.json()["text"])

    async def see(self, *tasks: Task) -> None:
        self.clock.advance(timedelta(minutes=1))
        self.source.tasks = list(tasks)
        await self.service.polling.poll(self.source, force=True)
        self.clock.advance(timedelta(seconds=30))
        await self.service.delivering.drain()
        assert (await self.app.store.read(lambda q: q.ledger())).unaccounted == ()

    def posts(self, channel: str) -> int:
        return sum(post.channel == channel for post in self.mattermost.posts.values())


@pytest.fixture
async def harness(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Harness]:
    port, mattermost = free_port(), Mattermost(people={ALICE}, joined={OTHER})
    async with MattermostServer(mattermost) as server:
        values = {"FOLDER": str(tmp_path), "SERVER": server.url(), "BOT": BOT_TOKEN, "CHANNEL": CHANNEL}
        text = CONFIGURATION
        for key, value in (values | {"BOSS": BOSS, "PORT": str(port)}).items():
            text = text.replace(
                key if key != "BOT" else "bot_token: BOT", value if key != "BOT" else f"bot_token: {value}"
            )
        async with open_app(loads(text, {}), clock=clock) as opened:
            source = FakeSource(clock)
            app = replace(opened, sources={"prod": source})
            async with open_endpoints(app, lambda: None), httpx.AsyncClient() as client:
                url = f"http://127.0.0.1:{port}/mattermost/commands"
                yield Harness(app, clock, Service(app), source, mattermost, client, url)


async def test_a_person_and_a_channel_get_what_they_subscribed_to(harness: Harness) -> None:
    assert "You will get a direct message about `gauss-* failed`" in await harness.type("subscribe gauss-* failed")
    assert "You will get a direct message about `failed`" in await harness.type("subscribe failed")
    assert "not on the list" in await harness.type("subscribe here failed")
    assert "invite the bot" in await harness.type("subscribe here failed", user=BOSS)
    assert "Only a channel" in await harness.type("subscribe here failed", user=BOSS, name=f"{ALICE}__{BOSS}")
    await harness.see(failed("job-1"))
    assert (harness.posts(direct_with(ALICE)), harness.posts(OTHER), harness.posts(CHANNEL)) == (1, 1, 0)
    listed = await harness.type("subscriptions")
    assert ("**Your subscriptions: 2**" in listed, "Subscriptions of this channel: 1" in listed) == (True, True)
    await harness.type("unsubscribe all")
    await harness.see(failed("job-2"))
    assert (harness.posts(direct_with(ALICE)), harness.posts(OTHER)) == (1, 2)


async def test_a_configured_channel_gets_a_subscribed_event_as_itself(harness: Harness) -> None:
    await harness.type("subscribe here failed", user=BOSS, channel=CHANNEL)
    await harness.see(failed("job-1"))
    (delivery,) = await harness.app.store.read(lambda q: q.deliveries(DeliveryFilter()))
    assert (delivery.channel, delivery.state, harness.posts(CHANNEL)) == ("dba", DeliveryState.DELIVERED, 1)


async def test_somebody_who_watches_a_task_gets_a_direct_message(harness: Harness) -> None:
    await harness.see(make_task("job-1", status="running", ended_at=None, fail_reason=None))
    assert "direct message when this task ends" in await harness.type("watch job-1")
    await harness.see(make_task("job-1", status="completed", ended_at=START, fail_reason=None))
    assert harness.posts(direct_with(ALICE)) == 1


async def test_the_subscriptions_of_a_person_who_is_gone_end(harness: Harness) -> None:
    await harness.type("subscribe failed")
    harness.mattermost.people.clear()
    await harness.see(failed("job-1"))
    (dead,) = await harness.app.store.read(lambda q: q.deliveries(DeliveryFilter()))
    assert dead.state is DeliveryState.DEAD
    assert not await harness.app.store.read(lambda q: q.event_subscriptions())
    assert (await harness.app.store.read(lambda q: q.actions(1)))[0].by == "notifier"


@pytest.mark.parametrize(
    ("code", "left"),
    [("api.post.create_post.can_not_post_to_deleted.error", 0), ("api.context.permissions.app_error", 1)],
)
async def test_an_archived_channel_ends_its_subscription_and_one_without_the_bot_does_not(
    harness: Harness, code: str, left: int
) -> None:
    await harness.type("subscribe here failed", user=BOSS)
    harness.mattermost.refusing[OTHER] = code
    await harness.see(failed("job-1"))
    (dead,) = await harness.app.store.read(lambda q: q.deliveries(DeliveryFilter()))
    assert dead.state is DeliveryState.DEAD
    assert len(await harness.app.store.read(lambda q: q.event_subscriptions())) == left
