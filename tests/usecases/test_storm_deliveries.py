"""Many failures at once: what polls plan, what channels with and without threads send, and what their messages show."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

import psycopg
import pytest
from drain import deliver_due
from factories import make_task, mute_request
from fakes import FakeChannel, FakeClock, FakeSource

from notifier import mutes
from notifier.chat.requests import Button, ButtonAction, ChatReply, ClickRequest
from notifier.chat.responder import ChatResponder, ResponderRules
from notifier.core import polling
from notifier.core.delivery import (
    FAILURE_RANK,
    Body,
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    Recipient,
    RecipientState,
    ResendPolicy,
    Retry,
    Thread,
    ThreadUpdate,
    Unknown,
)
from notifier.core.events import EventType
from notifier.core.health_facts import Expected
from notifier.core.identity import Subject
from notifier.core.model import Task, TaskStatus
from notifier.core.outbox import settle
from notifier.core.pacing import Pace
from notifier.core.people import Acknowledgement, Person, Verb
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.core.storms import Storm
from notifier.deliver import DeliveryRules, DeliveryWorker
from notifier.live_messages import MessageEditor
from notifier.people import acknowledge, move, unacknowledge
from notifier.poll import PollReport, poll_once
from notifier.ports import DeliveryFilter, RenderRequest, TaskFilter
from notifier.store.deliveries import Deliveries
from notifier.store.engine import SqlStore, open_store
from notifier.store.schema import storms
from notifier.store.transaction import Transaction
from notifier.wording.causes import builtin_catalogue
from notifier.wording.localizer import Localizer
from notifier.wording.marks import without_marks

T = TypeVar("T")

RULES = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
DELIVERING = DeliveryRules(schedule=(timedelta(seconds=5), timedelta(minutes=5)), lease=timedelta(seconds=60))
POLLS, FAILURES = 5, 400
ALL = 10_000
PATIENCE = 15.0
"""Seconds after which a test that waits for another session fails. None of them waits for it."""


class LiveChannel(FakeChannel):
    """A channel with threads whose messages can be edited. It posts a message in the thread that is known."""

    def __init__(self, name: str = "live", *, storm_size: int = 100) -> None:
        super().__init__(name, concurrency=4, resend_policy=ResendPolicy.RECONCILABLE)
        self.threads, self.edit_budget, self.storm_size = True, "token", storm_size
        self.edit_pace = Pace(per_second=100, burst=100)
        self.rendered_requests: list[RenderRequest] = []
        self.shown: list[Thread] = []

    def render(self, request: RenderRequest) -> Body:
        self.rendered_requests.append(request)
        return super().render(request)

    async def send(self, delivery: Delivery) -> Outcome:
        outcome = await super().send(delivery)
        if not isinstance(outcome, Delivered) or delivery.thread or delivery.storm is None:
            return outcome
        ref = f"C:{delivery.id}"
        return Delivered(ref, thread=ref)

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        await super().find_sent(delivery)
        ref = f"C:{delivery.id}"
        return Delivered(ref, thread=ref)

    async def show(self, thread: Thread) -> Outcome:
        self.shown.append(thread)
        return Delivered()

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        raise AssertionError(f"{thread.subject} has no copy, yet {ref} was to be edited")


def routing_to(*channels: FakeChannel) -> RoutingConfig:
    return RoutingConfig(
        routes=(Route(name="all", channels=tuple(channel.name for channel in channels)),),
        policies={
            channel.name: ChannelPolicy(
                name=channel.name,
                digest_above=channel.digest_above,
                threads=channel.threads,
                storm_size=channel.storm_size,
            )
            for channel in channels
        },
    )


class World:
    """A source that fails in bursts, and channels."""

    def __init__(self, store: SqlStore, clock: FakeClock, *channels: FakeChannel) -> None:
        self.store, self.clock, self.channels = store, clock, channels
        self.polled: SqlStore | DyingStore = store
        self.source = FakeSource(clock)
        self.routing = routing_to(*channels)
        self.rng = random.Random(1)

    async def poll(self, failures: int = 0, *others: Task, owner: str = "me") -> PollReport:
        """Poll when this many more tasks have failed, on one of forty instances each."""
        born = len(self.source.tasks)
        self.source.tasks += [
            make_task(
                f"job-{n:05d}",
                source=self.source.name,
                instance_name=f"prod-{n % 40:02d}",
                ended_at=self.clock.now(),
            )
            for n in range(born, born + failures)
        ]
        self.source.tasks += others
        self.clock.advance(RULES.poll_every)
        return await poll_once(self.source, self.polled, owner=owner, rules=RULES, routing=self.routing, force=True)

    async def deliver(self) -> None:
        for channel in self.channels:
            await deliver_due(channel, self.store, self.clock, self.rng, owner="me", rules=DELIVERING)

    async def edit(self, channel: LiveChannel) -> Sequence[Thread]:
        """Return what messages show now that did not before."""
        before = len(channel.shown)
        await MessageEditor(channel, self.store, self.clock, lease=timedelta(seconds=60)).step()
        return channel.shown[before:]

    async def deliveries(self, channel: str | None = None) -> Sequence[Delivery]:
        found = await self.store.read(lambda q: q.deliveries(DeliveryFilter(channel=channel, limit=ALL)))
        return found[::-1]

    async def storms(self) -> Sequence[Storm]:
        found = {one.storm.id: one.storm for one in await self.deliveries() if one.storm}
        return list(found.values())

    async def check_ledger(self, events: int) -> None:
        ledger = await self.store.read(lambda q: q.ledger())
        assert ledger.unaccounted == ()
        assert (ledger.events, ledger.pairs) == (events, events * len(self.channels))
        for channel in self.channels:
            told = Counter(event.id for delivery in await self.deliveries(channel.name) for event in delivery.events)
            assert (len(told), set(told.values())) == (events, {1})


async def test_two_thousand_failures_are_one_message_and_a_list(store: SqlStore, clock: FakeClock) -> None:
    live, mail = LiveChannel(), FakeChannel("mail")
    world = World(store, clock, live, mail)
    await world.poll()
    for number in range(1, POLLS + 1):
        await world.poll(FAILURES)
        await world.deliver()
        shown = await world.edit(live)
        assert [(thread.storm and thread.storm.total) for thread in shown] == [FAILURES * number]
    in_channel = [delivery for delivery in live.sent if delivery.thread is None]
    assert [len(delivery.events) for delivery in in_channel] == [1]
    assert len(live.sent) == 1 + POLLS * FAILURES // 100
    assert len(mail.sent) == POLLS * FAILURES // 100
    assert [request.opens_storm for request in live.rendered_requests].count(True) == 1
    await world.check_ledger(POLLS * FAILURES)
    assert {delivery.state for delivery in await world.deliveries()} == {DeliveryState.DELIVERED}
    await world.poll(3)
    await world.deliver()
    (thread,) = await world.edit(live)
    assert thread.storm is not None
    assert (thread.storm.ended_at, thread.storm.total) == (clock.now(), POLLS * FAILURES)
    assert [len(delivery.events) for delivery in live.sent[-3:]] == [1, 1, 1]
    await world.poll()
    assert await world.edit(live) == []
    await world.check_ledger(POLLS * FAILURES + 3)


@pytest.mark.parametrize("rows", [40, 1_000])
async def test_batches_of_a_poll_share_the_messages_that_nobody_has_begun_to_send(
    store: SqlStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(polling, "BATCH_ROWS", rows)
    live, mail = LiveChannel(storm_size=25), FakeChannel("mail")
    world = World(store, clock, live, mail)
    await world.poll()
    for number in (1, 2):
        await world.poll(81)
        await world.deliver()
        await world.check_ledger(81 * number)
    # What the first poll planned has been sent by the second.
    assert [len(one.events) for one in mail.sent] == [81, 81]
    assert [len(one.events) for one in live.sent] == [1, 25, 25, 25, 5, 25, 25, 25, 6]


async def test_a_message_that_was_claimed_meanwhile_takes_no_more(
    store: SqlStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = FakeChannel("mail")
    world = World(store, clock, mail)
    await world.poll()
    await world.poll(30)
    known = await store.transact(lambda tx: tx.deliveries.unsent_parts([_storm_of(tx)]))
    claimed = await store.transact(lambda tx: tx.deliveries.claim_due("mail", "me", clock.now(), RULES.lease, 1))
    assert [part.delivery_id for part in known.values()] == [one.id for one in claimed]
    assert await store.transact(lambda tx: tx.deliveries.unsent_parts([_storm_of(tx)])) == {}
    monkeypatch.setattr(Deliveries, "unsent_parts", lambda *_: known)  # it was claimed after this was read
    await world.poll(30)
    assert [len(one.events) for one in await world.deliveries()] == [30, 30]
    await world.check_ledger(60)


async def test_a_failure_does_not_overtake_the_start_of_its_task_in_an_unsent_message(
    store: SqlStore, clock: FakeClock
) -> None:
    mail = FakeChannel("mail")
    world = World(store, clock, mail)
    await world.poll()
    await world.poll(30)
    await world.poll(15, make_task("late", status="running"))
    world.source.tasks[-1] = make_task("late", ended_at=clock.now())
    await world.poll(15)
    await world.deliver()
    told = [event.type for one in mail.sent for event in one.events if event.job_id == "late"]
    assert told == [EventType.TASK_STARTED, EventType.TASK_FAILED]
    assert [len(one.events) for one in mail.sent] == [45, 1, 16]


def _storm_of(tx: Transaction) -> str:
    (storm,) = tx.storms.lasting("prod")
    return storm.id


async def test_lists_of_a_storm_follow_in_its_thread_and_in_order(store: SqlStore, clock: FakeClock) -> None:
    live = LiveChannel(storm_size=10)
    world = World(store, clock, live)
    await world.poll()
    await world.poll(45)
    await world.deliver()
    first, *others = live.sent
    assert {delivery.thread for delivery in others} == {f"C:{first.id}"}
    assert [delivery.id for delivery in live.sent] == [delivery.id for delivery in await world.deliveries()]
    listed = [event.task.instance_name for delivery in others for event in delivery.events if event.task]
    assert listed == sorted(listed, key=str)


async def test_the_next_message_opens_a_storm_whose_first_one_died(store: SqlStore, clock: FakeClock) -> None:
    live = LiveChannel(storm_size=20)
    live.answer = lambda delivery: GaveUp("HTTP 400") if len(delivery.events) == 1 else Delivered("ref")
    world = World(store, clock, live)
    await world.poll()
    await world.poll(50)
    await world.deliver()
    assert [request.opens_storm for request in live.rendered_requests] == [True, True, False, False]
    assert [delivery.thread is None for delivery in live.sent] == [True, True, False, False]
    (thread,) = await world.edit(live)
    assert (thread.ref, thread.storm and thread.storm.total) == (f"C:{live.sent[1].id}", 50)
    await world.check_ledger(50)


async def test_a_first_message_whose_answer_was_lost_is_found_and_keeps_its_thread(
    store: SqlStore, clock: FakeClock
) -> None:
    live = LiveChannel(storm_size=20)
    live.answer = lambda delivery: Unknown("no answer") if len(delivery.events) == 1 else Delivered("ref")
    world = World(store, clock, live)
    await world.poll()
    await world.poll(41)
    await world.deliver()
    assert len(live.sent) == 1
    clock.advance(timedelta(minutes=1))
    await world.deliver()
    assert [delivery.thread for delivery in live.sent] == [None, *[f"C:{live.sent[0].id}"] * 2]
    assert len(live.asked) == 1


async def test_a_storm_that_grows_while_its_first_message_is_sent_is_shown_as_it_is(
    store: SqlStore, clock: FakeClock
) -> None:
    live = LiveChannel()
    world = World(store, clock, live)
    await world.poll()
    await world.poll(30)
    worker = DeliveryWorker(live, store, clock, world.rng, owner="me", rules=DELIVERING)
    await worker.step()
    await world.poll(30)
    await worker.drain()
    assert live.rendered_requests[0].storm is not None
    assert live.rendered_requests[0].storm.total == 30
    (thread,) = await world.edit(live)
    assert (thread.storm and thread.storm.total) == 60


# ---- kills, repeats, several processes ----


class Killed(Exception):
    """The process is gone."""


class DyingStore:
    """The store of a process that claims a poll, records so many batches of it, and dies."""

    def __init__(self, store: SqlStore, batches: int) -> None:
        self.store = store
        self.read, self.listen, self.aclose = store.read, store.listen, store.aclose
        self.left = 2 + batches

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        self.left -= 1
        if self.left < 0:
            raise Killed
        return await self.store.transact(fn, short=short)


@pytest.mark.parametrize("survives", range(5))
async def test_a_poll_that_is_killed_between_batches_loses_and_repeats_nothing(
    store: SqlStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    monkeypatch.setattr(polling, "BATCH_ROWS", 10)
    live, mail = LiveChannel(), FakeChannel("mail")
    world = World(store, clock, live, mail)
    await world.poll()
    world.polled = DyingStore(store, survives)
    with pytest.raises(Killed):
        await world.poll(60)
    world.polled = store
    await world.deliver()
    clock.advance(RULES.lease)
    await world.poll(owner="another")
    await world.poll(owner="another")
    await world.deliver()
    await world.check_ledger(60)
    lasting = await store.transact(lambda tx: tx.storms.lasting("prod"))
    assert lasting == []
    assert {delivery.state for delivery in await world.deliveries()} == {DeliveryState.DELIVERED}
    for storm in await world.storms():
        mine = [one for one in await world.deliveries() if one.storm and one.storm.id == storm.id]
        assert sum(len(one.events) for one in mine) == storm.total


async def test_of_two_processes_only_one_sends_for_a_storm_at_a_time(store: SqlStore, clock: FakeClock) -> None:
    mail = FakeChannel("mail")
    mail.storm_size = 10
    world = World(store, clock, mail)
    await world.poll()
    await world.poll(45)
    claims = []
    for _ in range(5):
        first, second = [
            await store.transact(
                lambda tx, owner=owner: tx.deliveries.claim_due("mail", owner, clock.now(), RULES.lease, 10)  # type: ignore[misc]  # a default
            )
            for owner in ("one", "two")
        ]
        assert second == []
        claims += first
        await store.transact(lambda tx, claimed=first: _settle(tx, claimed, clock))  # type: ignore[misc]  # a default
    assert [delivery.id for delivery in claims] == [delivery.id for delivery in await world.deliveries()]


def _settle(tx: Transaction, claimed: Sequence[Delivery], clock: FakeClock) -> None:
    settlements = [
        settle(one, Delivered("ref"), started_at=clock.now(), finished_at=clock.now(), schedule=(), chance=0)
        for one in claimed
    ]
    tx.deliveries.settle(settlements, clock.now())


@pytest.mark.parametrize("source", ["prod", "zeta"])
async def test_a_poll_and_a_settlement_lock_threads_in_one_order(
    postgres_url: str, clock: FakeClock, source: str
) -> None:
    """Two processes that locked the messages of a storm and of a task in different orders would end each other."""
    live = LiveChannel()
    async with (
        aclosing(open_store(postgres_url, now=clock.now)) as store,
        aclosing(open_store(postgres_url, now=clock.now)) as other,
    ):
        world = World(store, clock, live)
        world.source.name = source
        policies = {name: replace(policy, coalesces=True) for name, policy in world.routing.policies.items()}
        world.routing = replace(world.routing, policies=policies)
        await world.poll()
        world.source.tasks.append(make_task("run", source=source, status="running", instance_name="muted"))
        await world.poll()
        await world.deliver()
        await world.poll(30)
        await world.deliver()
        started, opening = live.sent[:2]
        of_task = ThreadUpdate(subject=started.subject, event_id=started.events[0].id, thread="C:run")
        await store.transact(lambda tx: tx.threads.update("live", [of_task], clock.now()))
        await store.transact(lambda tx: mutes.create(tx, mute_request("muted", timedelta(hours=1)), ALICE))
        world.source.tasks[0] = make_task("run", source=source, instance_name="muted", ended_at=clock.now())

        of_storm = ThreadUpdate(subject=opening.subject, event_id=opening.events[0].id, thread="C:storm")
        loud = threading.Event()

        def settle(tx: Transaction) -> None:
            first, second = sorted([replace(of_task, thread=None, loud=True), of_storm], key=thread_order)
            tx.threads.update("live", [first], clock.now())
            loud.set()
            _wait_for_a_lock(postgres_url)
            tx.threads.update("live", [second], clock.now())

        settling = asyncio.create_task(other.transact(settle))
        await asyncio.to_thread(loud.wait, PATIENCE)
        polled = await world.poll(30)
        await settling
        assert (polled.error, len(polled.events)) == (None, 31)


def thread_order(update: ThreadUpdate) -> tuple[bool, str]:
    """Return where `Threads.update` comes to an update: to the tasks first, then to the storms."""
    return Subject.parse(update.subject).storm != "", update.subject


def _wait_for_a_lock(url: str) -> None:
    """Return once a session of the database waits for another."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as connection:
        end = time.monotonic() + PATIENCE
        while connection.execute(waiting).fetchone() == (0,):
            assert time.monotonic() < end


async def test_recipients_who_lack_a_message_of_a_storm_get_no_later_one(store: SqlStore, clock: FakeClock) -> None:
    mail = FakeChannel("mail")
    mail.storm_size, mail.multi_recipient = 10, True
    waiting = Recipient(address="b@example.com", state=RecipientState.WAITING, reason="busy")
    has_it = Recipient(address="a@example.com", state=RecipientState.DELIVERED)
    mail.answer = lambda _: Retry("busy", recipients=(has_it, waiting))
    world = World(store, clock, mail)
    await world.poll()
    await world.poll(25)
    await world.deliver()
    assert [(len(one.events), set(one.withheld)) for one in mail.sent] == [
        (10, set()),
        (10, {"b@example.com"}),
        (5, {"b@example.com"}),
    ]


# ---- before everything else ----


async def test_failures_go_out_before_everything_that_waits(store: SqlStore, clock: FakeClock) -> None:
    dba = FakeChannel("dba", digest_above=None)
    world = World(store, clock, dba)
    await world.poll()
    running = [make_task(f"run-{n:03d}", status="running") for n in range(50)]
    await world.poll(0, *running)
    failed = {n: make_task(f"run-{n:03d}", ended_at=clock.now()) for n in (7, 30)}
    world.source.tasks = [failed.get(n, task) for n, task in enumerate(running)]
    await world.poll(1)
    await world.deliver()
    told = [(event.job_id, event.type) for delivery in dba.sent for event in delivery.events]
    # What is older about the same task goes out first, so that the order of the task stays.
    assert told[:2] == [("run-007", EventType.TASK_STARTED), ("run-030", EventType.TASK_STARTED)]
    assert sorted(told[2:5]) == [(job_id, EventType.TASK_FAILED) for job_id in ("job-00050", "run-007", "run-030")]
    assert told[5:] == [(f"run-{n:03d}", EventType.TASK_STARTED) for n in range(50) if n not in failed]


async def test_a_parked_channel_gets_its_storm_once_it_works(store: SqlStore, clock: FakeClock) -> None:
    live = LiveChannel(storm_size=20)
    world = World(store, clock, live)
    await world.poll()
    await store.transact(lambda tx: tx.channels.park("live", "no token", None, clock.now()))
    await world.poll(50)
    await world.poll(30)
    await world.deliver()
    assert live.sent == []
    await store.transact(lambda tx: tx.channels.unpark("live", clock.now()))
    await world.deliver()
    assert [len(delivery.events) for delivery in live.sent] == [1, 20, 20, 20, 19]
    assert live.rendered_requests[0].storm is not None
    assert live.rendered_requests[0].storm.total == 80


# ---- what is stored ----


async def test_a_storm_is_read_as_it_was_saved(store: SqlStore, clock: FakeClock) -> None:
    world = World(store, clock, LiveChannel())
    await world.poll()
    await world.poll(30)
    (storm,) = await store.transact(lambda tx: tx.storms.lasting("prod"))
    assert (storm.total, storm.channel, storm.ended_at) == (30, "live", None)
    assert await store.read(lambda q: q.storm(storm.id)) == storm
    assert await store.read(lambda q: q.storm("unknown")) is None
    assert await store.transact(lambda tx: tx.storms.lasting("other")) == []


async def test_a_storm_follows_its_source_to_another_name(store: SqlStore, clock: FakeClock) -> None:
    world = World(store, clock, FakeChannel("mail"))
    await world.poll()
    await world.poll(30)
    world.source.name = "renamed"
    world.source.tasks = [replace(task, source="renamed") for task in world.source.tasks]
    clock.advance(RULES.poll_every)
    await poll_once(world.source, store, owner="me", rules=RULES, routing=world.routing, force=True)
    (storm,) = await world.storms()
    assert (storm.source, storm.ended_at) == ("renamed", clock.now())


async def test_the_storms_of_a_removed_source_end(store: SqlStore, clock: FakeClock) -> None:
    live = LiveChannel()
    world = World(store, clock, live)
    await world.poll()
    await world.poll(30)
    await world.deliver()
    await world.edit(live)
    await store.transact(lambda tx: tx.storms.end(["other"], clock.now()))
    assert await world.edit(live) == []
    await store.transact(lambda tx: tx.storms.end(["prod"], clock.now()))
    (thread,) = await world.edit(live)
    assert (thread.storm and thread.storm.ended_at) == clock.now()


async def test_retention_deletes_storms_that_have_not_grown_for_long(store: SqlStore, clock: FakeClock) -> None:
    world = World(store, clock, FakeChannel("mail"))
    await world.poll()
    await world.poll(30)
    keep = timedelta(days=40)
    await store.transact(lambda tx: tx.retention.prune_people(clock.now() + keep - timedelta(days=1), keep))
    assert len(await world.storms()) == 1
    await store.transact(lambda tx: tx.retention.prune_people(clock.now() + keep + timedelta(days=1), keep))
    assert await world.storms() == []
    with store.writer.connect() as connection:
        assert connection.execute(storms.select()).all() == []
    await world.deliver()
    assert [len(delivery.events) for delivery in await world.deliveries()] == [30]


async def test_messages_of_a_storm_become_digests_where_they_are_moved_to(store: SqlStore, clock: FakeClock) -> None:
    mail = FakeChannel("mail")
    mail.storm_size = 1000
    world = World(store, clock, mail)
    await world.poll()
    await world.poll(150)
    moved = await store.transact(lambda tx: move(tx, "mail", "dba", Person(id="cli:me", name="me")))
    assert moved == 1
    planned = await world.deliveries("dba")
    assert [(len(one.events), one.rank, one.storm) for one in planned] == [
        (100, FAILURE_RANK, None),
        (50, FAILURE_RANK, None),
    ]
    assert (await store.read(lambda q: q.ledger())).unaccounted == ()


async def test_an_event_is_ranked_by_how_bad_its_kind_is(store: SqlStore, clock: FakeClock) -> None:
    world = World(store, clock, FakeChannel("dba"))
    await world.poll()
    await world.poll(1, make_task("done", status="completed"), make_task("on", status="running"))
    ranks = {one.events[0].type: one.rank for one in await world.deliveries()}
    assert ranks == {EventType.TASK_FAILED: 0, EventType.TASK_COMPLETED: 1, EventType.TASK_STARTED: 1}


# ---- what people do about it ----

ALICE, BOB = Person(id="U0ALICE", name="alice"), Person(id="U0BOB", name="bob")


class Chat:
    """A responder, and a person who clicks."""

    def __init__(self, store: SqlStore, clock: FakeClock) -> None:
        english = Localizer(language="en", timezone=ZoneInfo("UTC"))
        rules = ResponderRules(
            localizers={"en": english}, expected=Expected(), live=("live",), causes=builtin_catalogue()
        )
        self.responder = ChatResponder(store, clock, rules, lambda: None)
        self.allow = True

    async def allowed(self) -> bool:
        return self.allow

    async def click(self, action: str, value: str, person: Person = ALICE, message: str = "", key: str = "") -> str:
        """Return the title of the reply; the empty string where the message shows the result."""
        reply = await self.ask(action, value, person, message, key)
        return without_marks(reply.title) if reply else ""

    async def ask(
        self, action: str, value: str, person: Person = ALICE, message: str = "", key: str = ""
    ) -> ChatReply | None:
        button = Button.parse(action, value)
        assert button
        click = ClickRequest(button=button, person=person, message=message, replay_key=key or None)
        return await self.responder.answer(click, "en", self.allowed)


async def test_one_click_acknowledges_every_failure_of_a_storm(store: SqlStore, clock: FakeClock) -> None:
    live = LiveChannel()
    world = World(store, clock, live)
    await world.poll()
    await world.poll(1200)
    await world.deliver()
    await world.edit(live)
    (storm,) = await world.storms()
    # One of them runs again, and one was acknowledged before.
    running = replace(world.source.tasks[0], status=TaskStatus.RUNNING, ended_at=None)
    world.source.tasks[0] = running
    await world.poll(60)
    await world.deliver()
    await world.edit(live)
    taken = Acknowledgement(event_id=live.sent[2].events[0].id, by="U0BOB", name="bob", at=clock.now())
    await store.transact(lambda tx: tx.people.acknowledge(taken))
    chat = Chat(store, clock)
    message = f"C:{live.sent[0].id}"
    chat.allow = False
    assert "not on the list" in await chat.click("ack_storm", storm.id, message=message)
    chat.allow = True
    assert await chat.click("ack_storm", storm.id, message=message, key="k1") == ""
    assert "made before" in await chat.click("ack_storm", storm.id, message=message, key="k1")
    assert "alice has acknowledged this" in await chat.click("ack_storm", storm.id, BOB)
    (action,) = await store.read(lambda q: q.actions(10))
    assert (action.verb, action.target, action.detail, action.by) == (
        Verb.ACKNOWLEDGE,
        str(Subject(storm=storm.id)),
        "1258 failures",
        "U0ALICE",
    )
    left = await store.read(lambda q: q.tasks(TaskFilter(unacknowledged=True)))
    assert left == []
    bobs = await store.read(lambda q: q.acknowledgement(taken.event_id))
    assert bobs == taken
    shown = [thread for thread in await world.edit(live) if thread.storm]
    assert [thread.acknowledged and thread.acknowledged.name for thread in shown] == ["alice"]


async def test_failures_that_come_after_it_are_to_be_acknowledged_again(store: SqlStore, clock: FakeClock) -> None:
    live = LiveChannel()
    world = World(store, clock, live)
    await world.poll()
    await world.poll(30)
    await world.deliver()
    (storm,) = await world.storms()
    chat = Chat(store, clock)
    assert await chat.click("ack_storm", storm.id) == "You have acknowledged 30 tasks"
    await world.poll(20)
    await world.deliver()
    (thread,) = await world.edit(live)
    assert (thread.acknowledged, thread.storm and thread.storm.total) == (None, 50)
    assert await chat.click("ack_storm", storm.id, BOB) == "You have acknowledged 20 tasks"
    await world.poll(0)
    assert "bob has acknowledged" in await chat.click("ack_storm", storm.id)


async def test_the_messages_of_acknowledged_tasks_change_too(store: SqlStore, clock: FakeClock) -> None:
    live = LiveChannel()
    world = World(store, clock, live)
    await world.poll()
    await world.poll(30)
    await world.deliver()
    (storm,) = await world.storms()
    task = world.source.tasks[4]
    (failed,) = [event for one in live.sent for event in one.events if event.job_id == task.job_id]
    begun = ThreadUpdate(subject=failed.subject, event_id=failed.id, thread="C:own")
    await store.transact(lambda tx: tx.threads.update("live", [begun], clock.now()))
    await world.edit(live)
    await Chat(store, clock).click("ack_storm", storm.id)
    shown = {thread.ref: thread.acknowledged for thread in await world.edit(live)}
    assert shown["C:own"] is not None
    assert shown["C:own"].name == "alice"


async def test_the_message_of_a_storm_shows_nothing_of_a_single_failure(store: SqlStore, clock: FakeClock) -> None:
    live = LiveChannel()
    world = World(store, clock, live)
    await world.poll()
    await world.poll(30)
    await world.deliver()
    await world.edit(live)
    (first,) = live.sent[0].events
    await store.transact(lambda tx: acknowledge(tx, first, ALICE))
    await store.transact(lambda tx: unacknowledge(tx, first, BOB))
    assert await world.edit(live) == []


async def test_an_unknown_storm_is_gone(store: SqlStore, clock: FakeClock) -> None:
    chat = Chat(store, clock)
    assert "no longer recorded" in await chat.click("ack_storm", "unknown")
    assert "no longer recorded" in await chat.click("storm_tasks", "unknown")
    assert "no longer recorded" in await chat.click("page_after", "10:storm:unknown")


async def test_the_tasks_of_a_storm_are_listed_page_by_page(store: SqlStore, clock: FakeClock) -> None:
    world = World(store, clock, LiveChannel())
    await world.poll()
    await world.poll(25, make_task("other", status="completed"))
    (storm,) = await world.storms()
    chat = Chat(store, clock)
    chat.allow = False  # whoever may read the channel may read this
    page = await chat.ask("storm_tasks", storm.id)
    seen: list[str] = []
    while page is not None:
        assert page.title == "25 tasks in this storm of failures"
        seen += [row.subject for row in page.rows]
        button = Button(ButtonAction.PAGE_AFTER, page.command, str(page.after))
        page = None if page.after is None else await chat.ask(button.action, button.value)
    assert sorted(seen) == sorted(task.subject for task in world.source.tasks if task.status is TaskStatus.FAILED)
    shared = await chat.ask("share", f"0:{Subject(storm=storm.id)}")
    assert shared is not None
    assert (shared.shared, len(shared.rows)) == (True, 10)
