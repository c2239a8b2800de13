"""Tickets in a real Roundup: a resize fails three times and succeeds, while processes die, and between two replicas."""

from __future__ import annotations

import asyncio
import json
import random
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from itertools import count, cycle
from typing import Any, TypeVar
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

import pytest
from factories import make_task, open_channel
from fakes import FakeClock, FakeSource
from servers.roundup import Roundup

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.config.loading import loads
from notifier.core.delivery import DeliveryState
from notifier.core.model import Task
from notifier.http import HttpClient, Reply
from notifier.ports import DeliveryFilter
from notifier.service.service import Service
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction
from notifier.wiring.app import App
from notifier.wording.localizer import Localizer

T = TypeVar("T")

CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: bugs, kind: console}]
routes: [{name: failures, match: [type=task.failed], channels: [bugs]}]
"""
LEASES = timedelta(minutes=2)
_STORIES = count()


class Killed(BaseException):
    """The process is gone."""


class Fuse:
    """Lets so many steps pass: transactions and requests. Then the process is dead."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


class MortalHttp(HttpClient):
    """A client whose process can die before and after each request."""

    fuse: Fuse

    async def exchange(self, *args: Any, **more: Any) -> Reply:
        self.fuse.step()
        reply = await super().exchange(*args, **more)
        self.fuse.step()
        return reply


class MortalStore:
    """A store whose process can die before and after each transaction."""

    def __init__(self, store: SqlStore, fuse: Fuse) -> None:
        self.store, self.serial, self.fuse = store, store.serial, fuse

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        self.fuse.step()
        result = await self.store.transact(fn, short=short)
        self.fuse.step()
        return result

    async def read(self, fn: Callable[[Any], T]) -> T:
        return await self.store.read(fn)

    async def listen(self, wake: Callable[[], None]) -> None:
        await self.store.listen(wake)

    async def aclose(self) -> None:
        await self.store.aclose()


class Story:
    """An instance whose resize fails and at last succeeds, and the tracker with the ticket about that."""

    def __init__(self, roundup: Roundup, url: str) -> None:
        self.roundup, self.url, self.clock = roundup, url, FakeClock()
        self.number = next(_STORIES)
        self.source = FakeSource(self.clock)
        self.chapters: list[list[Task]] = [[]]
        instance = f"instance-{self.number}"  # each story has an operation of its own
        for n, status in enumerate(("failed", "failed", "failed", "completed")):
            ended = self.clock.now() + timedelta(minutes=n)
            job = f"{self.number}-{n}"
            self.chapters.append([make_task(job, instance_id=instance, status=status, ended_at=ended)])

    def channel(self, http: HttpClient) -> BaseChannel[Any]:
        words = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
        settings = {"name": "bugs", "kind": "roundup", "url": self.roundup.url, "user": "demo", "password": "demo"}
        return open_channel("roundup", settings, ChannelContext(http=http, clock=self.clock, localizer=words))

    def service(self, store: Any, channel: Any) -> Service:
        config = loads(CONFIGURATION, {})
        app = App(
            config=config,
            store=store,
            sources={"prod": self.source},
            channels={"bugs": channel},
            clock=self.clock,
            rng=random.Random(1),
        )
        return Service(app)

    def ask(self, path: str) -> Any:
        """Return what the tracker says to a user."""
        headers = {"Authorization": f"Basic {b64encode(b'demo:demo').decode()}"}
        request = Request(f"{self.roundup.url}/rest/data/{path}", headers=headers)  # noqa: S310 - on loopback
        with urlopen(request, timeout=30) as reply:  # noqa: S310 - as above
            return json.load(reply)["data"]

    def tickets(self) -> list[Mapping[str, Any]]:
        """Return the tickets about this story, with the names of their statuses and their texts."""
        found = self.ask("issue?@fields=title,status,messages&@verbose=2")["collection"]
        texts = {
            issue["id"]: [
                self.ask(f"msg/{id_}/content")["data"] for id_ in sorted(int(one["id"]) for one in issue["messages"])
            ]
            for issue in found
        }
        mine = [one for one in found if any(f"instance-{self.number}\n" in text for text in texts[one["id"]])]
        return [{"status": one["status"]["name"], "texts": texts[one["id"]]} for one in mine]

    async def told(self, store: SqlStore) -> None:
        """Check that there is one ticket with the description and three comments, closed, and nothing is left."""
        (ticket,) = self.tickets()
        assert ticket["status"] == "resolved"
        assert [f"Job: {self.number}-{n}" in text for n, text in enumerate(ticket["texts"])] == [True] * 4
        waiting = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING)))
        ledger = await store.read(lambda q: q.ledger())
        assert (waiting, ledger.unaccounted, ledger.by_state[DeliveryState.DELIVERED]) == ([], (), 4), ledger.dead


@pytest.fixture
def story(roundup: Roundup, store_url: str) -> Story:
    return Story(roundup, store_url)


async def test_processes_that_die_again_and_again_leave_one_ticket(story: Story) -> None:
    """Each of them lives a few steps longer or shorter than the one before, so that they die in all places."""
    lives = cycle((23, 37, 17, 53, 29, 67, 31, 43))
    deaths = 0
    while story.chapters:
        fuse = Fuse(next(lives))
        try:
            await _live(story, fuse)
        except Killed:
            deaths += 1
            story.clock.advance(LEASES)
    assert deaths > 4
    store = open_store(story.url)
    await story.told(store)
    await store.aclose()


async def _live(story: Story, fuse: Fuse) -> None:
    async with AsyncExitStack() as stack:
        http = MortalHttp()
        http.fuse = fuse
        stack.push_async_callback(http.aclose)
        store = open_store(story.url, exclusive=True, now=story.clock.now)
        stack.push_async_callback(store.aclose)
        service = story.service(MortalStore(store, fuse), story.channel(http))
        await service.start()
        while story.chapters:
            story.source.tasks = list(story.chapters[0])
            await service.polling.poll(story.source, force=True)
            while await _waiting(store):
                await service.delivering.drain()
                story.clock.advance(timedelta(seconds=40))
            story.chapters.pop(0)
        await service.release()


async def _waiting(store: SqlStore) -> int:
    return len(await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING))))


async def test_two_replicas_keep_one_ticket(roundup: Roundup, postgres_url: str, http: HttpClient) -> None:
    """Both poll and deliver at the same time."""
    story = Story(roundup, postgres_url)
    async with AsyncExitStack() as stack:
        stores = [open_store(postgres_url) for _ in range(2)]
        for store in stores:
            stack.push_async_callback(store.aclose)
        services = [story.service(store, story.channel(http)) for store in stores]
        for service in services:
            await service.start()
        while story.chapters:
            story.source.tasks = list(story.chapters[0])
            await asyncio.gather(*(service.polling.poll(story.source, force=True) for service in services))
            while await _waiting(stores[0]):
                await asyncio.gather(*(service.delivering.drain() for service in services))
            story.chapters.pop(0)
        await story.told(stores[0])
