"""The whole program with the bot of a Feishu app: one card a task, which moves with it, and a storm in one thread."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import make_task
from fakes import START, FakeClock, FakeSource
from servers.feishu import APP_ID, APP_SECRET, CHAT, Feishu, FeishuServer, Message
from servers.http import Answer, Request, silence

from notifier import people
from notifier.config.loading import loads
from notifier.core.ids import shorten_ids
from notifier.core.model import Task
from notifier.core.people import Person
from notifier.service.service import Service
from notifier.wiring.app import App, open_app

CONFIGURATION = """
language: zh
store: {url: "${STORE}", migrate: true}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}, first_poll: notify}
channels:
  - {name: dba, kind: feishu, app_id: "${APP}", app_secret: "${SECRET}", chat_id: "${CHAT}", api_url: "${API}",
     timeout: 1s, rate: null}
routes: [{name: everything, channels: [dba]}]
"""


class LostAnswers(FeishuServer):
    """Takes a message, and does not answer as often as it is told."""

    lost = 0

    def next_answer(self, request: Request) -> Answer:
        answer = super().next_answer(request)
        if self.lost and request.target.startswith("/open-apis/im/v1/messages"):
            self.lost -= 1
            return silence()
        return answer


def running(progress: float | None = None, job_id: str = "job-1") -> Task:
    return make_task(job_id, status="running", ended_at=None, fail_reason=None, progress=progress)


def failed(job_id: str = "job-1") -> Task:
    return make_task(job_id, ended_at=START, fail_reason="配额不足：64 小于 72 <at id=all></at>")


def completed(job_id: str = "job-1") -> Task:
    return make_task(job_id, status="completed", ended_at=START, fail_reason=None)


class Harness:
    """A program with one source, and the group that it posts to."""

    def __init__(self, app: App, clock: FakeClock, server: LostAnswers) -> None:
        self.source = FakeSource(clock)
        self.app = replace(app, sources={"prod": self.source})
        self.clock = clock
        self.server = server
        self.service = Service(self.app)

    async def see(self, *tasks: Task) -> None:
        """Let the cloud show these tasks, a minute later, and notify of what changed."""
        self.clock.advance(timedelta(minutes=1))
        self.source.tasks = list(tasks)
        await self.service.polling.poll(self.source, force=True)
        await self.notify()

    async def notify(self, after: timedelta = timedelta(seconds=30)) -> None:
        self.clock.advance(after)
        await self.service.delivering.drain()

    @property
    def group(self) -> list[Message]:
        """The messages that the group shows."""
        return [message for message in self.server.service.messages.values() if message.root is None]

    @property
    def steps(self) -> list[Message]:
        """The messages in threads."""
        return [message for message in self.server.service.messages.values() if message.root is not None]


@pytest.fixture
async def harness(store_url: str, clock: FakeClock) -> AsyncIterator[Harness]:
    async with LostAnswers(Feishu()) as server:
        known = {"STORE": store_url, "APP": APP_ID, "SECRET": APP_SECRET, "CHAT": CHAT, "API": server.url("")}
        async with open_app(loads(CONFIGURATION, known), clock=clock) as app:
            yield Harness(app, clock, server)


def title(message: Message) -> str:
    if "header" in message.card:
        return str(message.card["header"]["title"]["content"])
    return str(message.card["elements"][0]["text"]["content"])


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (value[key] for key in ("content",) if isinstance(value.get(key), str))
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


async def test_a_task_has_one_card_and_every_step_in_its_thread(harness: Harness) -> None:
    await harness.see(running())
    await harness.see(running(50))
    await harness.see(completed())
    (card,) = harness.group
    assert title(card).startswith("🟢 创建实例已完成")
    assert card.edits == 2
    assert [title(step)[:9] for step in harness.steps] == ["🔵 创建实例进行到", "🟢 创建实例已完成"]


async def test_a_loud_failure_is_seen_in_the_group_and_acknowledged_in_both_places(harness: Harness) -> None:
    await harness.see(running())
    await harness.see(failed())
    card, copy = harness.group
    assert title(card) == title(copy)
    assert title(card).startswith("🔴 创建实例失败")
    assert card.card == copy.card
    assert not any(text.startswith("<at") for text in texts(copy.card))
    person = Person(id="ou_alice", name="alice")
    await harness.app.store.transact(lambda tx: people.acknowledge_task(tx, replace(failed(), source="prod"), person))
    await harness.notify()
    assert title(card).startswith("✅ 创建实例失败")
    assert card.card == copy.card
    await harness.see(running())
    assert title(card).startswith("🔵 创建实例已重新运行")


async def test_a_storm_is_one_card_and_its_thread_names_every_task(harness: Harness) -> None:
    names = [f"job-{n}" for n in range(1, 40)]
    await harness.see(*map(failed, names))
    (storm,) = harness.group
    assert "39 个任务失败" in title(storm)
    said = "\n".join(text for message in (storm, *harness.steps) for text in texts(message.card))
    short = shorten_ids(set(names))
    assert [name for name in names if not re.search(rf"\b{short[name]}\b", said)] == []


async def test_a_message_whose_answer_is_lost_is_posted_once(harness: Harness) -> None:
    harness.server.lost = 1
    await harness.see(running())
    for _ in range(5):
        await harness.notify(timedelta(minutes=2))
    assert len(harness.server.service.messages) == 1
    posts = [one for one in harness.server.requests if one.target.startswith("/open-apis/im/v1/messages")]
    assert len(posts) >= 2
    await harness.see(completed())
    (card,) = harness.group
    assert title(card).startswith("🟢 创建实例已完成")
    ledger = await harness.app.store.read(lambda q: q.ledger())
    assert ledger.unaccounted == ()


async def test_a_card_that_somebody_recalled_is_left_alone(harness: Harness) -> None:
    await harness.see(running())
    (card,) = harness.group
    card.recalled = True
    await harness.see(completed())
    assert card.edits == 0
    assert title(harness.group[-1]).startswith("🟢 创建实例已完成")
