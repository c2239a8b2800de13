"""Tickets from the poll to the tracker, and what other channels and `explain` show of them."""

from __future__ import annotations

import random
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from factories import make_event, make_task
from fakes import FakeChannel, FakeClock, FakeSource
from memory_tickets import MemorySettings, MemoryTickets, Tracker

from notifier import lookup
from notifier.channels.base import ChannelContext
from notifier.config.loading import loads
from notifier.core.delivery import Delivered, Delivery, Outcome, Thread
from notifier.core.model import Task
from notifier.core.pacing import Pace
from notifier.core.tickets import TicketLink
from notifier.http import HttpClient
from notifier.live_messages import MessageEditor
from notifier.ports import RenderRequest, TaskFilter
from notifier.service.service import Service
from notifier.store.engine import SqlStore
from notifier.wiring.app import App
from notifier.wording.localizer import Localizer

CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: dba, kind: console}, {name: ops, kind: console}]
routes:
  - {name: failures, match: [type=task.failed], channels: [ops]}
  - {name: everything, channels: [dba]}
"""


class Chat(FakeChannel):
    """A chat whose messages show tasks, and what each of them shows."""

    def __init__(self) -> None:
        super().__init__("dba")
        self.threads, self.edit_budget = True, "token"
        self.edit_pace = Pace(per_second=1_000, burst=1_000)
        self.shown: list[Thread] = []
        self.requests: list[RenderRequest] = []
        self.answer = self._post

    def _post(self, delivery: Delivery) -> Outcome:
        self.requests.append(RenderRequest.of(delivery))
        return Delivered("ref", thread=None if delivery.thread else f"ref of {delivery.id}")

    async def show(self, thread: Thread) -> Outcome:
        self.shown.append(thread)
        return Delivered()

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        raise NotImplementedError(thread, ref)


class Office:
    """A service with a chat and a tracker."""

    def __init__(self, store: SqlStore, http: HttpClient, clock: FakeClock) -> None:
        self.clock, self.store, self.chat, self.source = clock, store, Chat(), FakeSource(clock)
        words = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
        context = ChannelContext(http=http, clock=clock, localizer=words)
        self.tickets = MemoryTickets(MemorySettings(name="ops", kind="memory"), context)
        self.tickets.tracker = Tracker()
        config = loads(CONFIGURATION, {})
        self.app = App(
            config=config,
            store=store,
            sources={"prod": self.source},
            channels={"dba": self.chat, "ops": self.tickets},
            clock=clock,
            rng=random.Random(1),
        )
        self.service = Service(self.app)

    async def see(self, *tasks: Task) -> None:
        """Poll a list, and deliver what is due, on one channel after the other."""
        self.source.tasks = list(tasks)
        await self.service.polling.poll(self.source, force=True)
        await self.service.delivering.drain()
        editor = MessageEditor(self.chat, self.store, self.clock, lease=timedelta(minutes=1), tickets=True)
        await editor.step()


@pytest.fixture
async def office(store: SqlStore, http: HttpClient, clock: FakeClock) -> Office:
    made = Office(store, http, clock)
    await made.service.start()
    await made.see()
    return made


def task(job: str, status: str, clock: FakeClock) -> Task:
    return make_task(job, status=status, ended_at=clock.now())


LINK = TicketLink(channel="ops", label="T-1", url="https://t/T-1")


async def test_the_message_of_the_task_shows_the_ticket_once_it_is_opened(office: Office) -> None:
    failed = task("a", "failed", office.clock)
    await office.see(failed)
    shown = [*(request.tickets for request in office.chat.requests), *(thread.tickets for thread in office.chat.shown)]
    assert shown[-1] == (LINK,)
    office.clock.advance(timedelta(minutes=5))
    again = task("b", "failed", office.clock)
    await office.see(failed, again)
    assert office.chat.requests[-1].tickets == (LINK,)


async def test_a_success_that_no_route_sends_there_closes_the_ticket(office: Office) -> None:
    failed = task("a", "failed", office.clock)
    await office.see(failed)
    office.clock.advance(timedelta(minutes=5))
    await office.see(failed, task("b", "completed", office.clock))
    assert office.tickets.tracker.changes == ["create", "comment", "close"]
    office.clock.advance(timedelta(minutes=5))
    await office.see(failed, task("c", "completed", office.clock))
    assert office.tickets.tracker.changes == ["create", "comment", "close"]
    ledger = await office.store.read(lambda q: q.ledger())
    assert ledger.unaccounted == ()


async def test_a_success_of_another_operation_closes_nothing(office: Office) -> None:
    failed = task("a", "failed", office.clock)
    await office.see(failed)
    office.clock.advance(timedelta(minutes=5))
    await office.see(failed, make_task("b", status="completed", name="Resize", ended_at=office.clock.now()))
    assert office.tickets.tracker.changes == ["create"]


async def test_explain_names_the_tickets_of_the_operation(office: Office) -> None:
    await office.see(task("a", "failed", office.clock))

    def explained(q: lookup.Lookup) -> lookup.TaskExplanation:
        (stored,) = q.tasks(TaskFilter(job_id="a"))
        return lookup.explain_task(q, stored, office.app.config.routes, ("dba", "ops"))

    (found,) = (await office.store.read(explained)).tickets
    assert (found.channel, found.label, found.state) == ("ops", "T-1", "open")
    assert make_event(task("a", "failed", office.clock)).task is not None
