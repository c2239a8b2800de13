"""Open failures from the poll to the message: what closes them, what reminds of them, and what people do about them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import T0, make_task, mute_request
from fakes import FakeChannel, FakeClock, FakeSource

from notifier import failures, mutes, people
from notifier.config.loading import loads
from notifier.core.delivery import Delivered, Delivery, DeliveryState, Outcome, Thread
from notifier.core.events import EventType
from notifier.core.failures import FailureState, OpenFailure, chosen
from notifier.core.matchers import parse_matchers
from notifier.core.model import ClosedFailure, Event, Task
from notifier.core.mutes import MuteScope, MuteTimes
from notifier.core.pacing import Pace
from notifier.core.people import Person
from notifier.core.reminders import MAX_REMINDED
from notifier.live_messages import MessageEditor
from notifier.mutes import MuteRequest
from notifier.ports import DeliveryFilter
from notifier.service.service import Service, poll_and_deliver
from notifier.store.engine import SqlStore, open_store
from notifier.wiring.app import App
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.marks import without_marks
from notifier.wording.open_failures import FailureFormatter

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ANN = Person(id="U1", name="Ann")
CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: dba, kind: console}, {name: lead, kind: console}, {name: log, kind: console}]
routes:
  - {name: failures, match: ["type in [task.failed, task.stalled]"], channels: [dba],
     remind: [30m, 1h], escalate: night}
  - {name: successes, match: [type=task.completed], channels: [log]}
escalations:
  - {name: night, steps: [{after: 45m, channels: [lead]}]}
"""


class Office:
    """A service with three channels, and the time of the test."""

    def __init__(self, store: SqlStore, clock: FakeClock) -> None:
        self.clock, self.store, self.source = clock, store, FakeSource(clock)
        self.channels = {name: FakeChannel(name) for name in ("dba", "lead", "log")}
        self.app = App(
            config=loads(CONFIGURATION, {}),
            store=store,
            sources={"prod": self.source},
            channels=dict(self.channels),
            clock=clock,
            rng=random.Random(1),
        )
        self.service = Service(self.app)
        self.tasks: dict[str, Task] = {}

    async def see(self, *tasks: Task) -> None:
        """Poll a list that has these tasks too, and deliver what is due."""
        self.tasks |= {task.job_id: task for task in tasks}
        self.source.tasks = list(self.tasks.values())
        await self.service.polling.poll(self.source, force=True)
        await self.service.delivering.drain()

    async def wait(self, length: timedelta, *, step: timedelta = 5 * MINUTE) -> None:
        """Let time go by, with reminders every five minutes."""
        end = self.clock.now() + length
        while self.clock.now() < end:
            self.clock.advance(min(step, end - self.clock.now()))
            await self.service.reminding.run()
            await self.service.delivering.drain()

    def task(self, job: str, status: str = "failed", instance: str = "prod-01", **changes: object) -> Task:
        ended = self.clock.now() if status != "running" else None
        names = {"instance_id": f"id of {instance}", "instance_name": instance}
        return make_task(job, status=status, ended_at=ended, **names | changes)

    def sent(self, channel: str, *kinds: EventType) -> list[Event]:
        """Return the events that a channel got, of these types or of any."""
        events = [event for delivery in self.channels[channel].sent for event in delivery.events]
        return [event for event in events if not kinds or event.type in kinds]

    async def open(self) -> Sequence[OpenFailure]:
        return await self.store.read(lambda q: q.open_failures())

    async def acknowledge(self, job: str) -> None:
        await self.store.transact(lambda tx: people.acknowledge_task(tx, self.tasks[job], ANN))


class LiveChat(FakeChannel):
    """A chat whose messages show tasks. Replies of loud trouble are copies."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.threads, self.edit_budget = True, "token"
        self.edit_pace = Pace(per_second=1_000, burst=1_000)
        self.shown: list[Thread] = []
        self.answer = self._post

    def _post(self, delivery: Delivery) -> Outcome:
        ref = f"ref {len(self.sent)}"
        return Delivered(ref, copy=ref) if delivery.thread else Delivered(ref, thread=ref)

    async def show(self, thread: Thread) -> Outcome:
        self.shown.append(thread)
        return Delivered()

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:  # noqa: ARG002 - of any
        return Delivered()


REMINDED, ESCALATED = EventType.TASK_REMINDED, EventType.TASK_ESCALATED


@pytest.fixture
async def office(store: SqlStore, clock: FakeClock) -> Office:
    made = Office(store, clock)
    await made.service.start()
    await made.see()
    return made


async def test_a_success_closes_the_failure_where_that_was_told(office: Office) -> None:
    begin = office.clock.now()
    await office.see(office.task("a"))
    office.clock.advance(20 * MINUTE)
    await office.see(office.task("b"))
    await office.acknowledge("b")
    assert [(one.count, one.told, one.state) for one in await office.open()] == [
        (2, ("dba",), FailureState.ACKNOWLEDGED)
    ]
    office.clock.advance(20 * MINUTE)
    await office.see(office.task("c", "completed"))
    closing = ClosedFailure(type=EventType.TASK_FAILED, since=begin, failures=2, acknowledged_by="Ann")
    for channel in ("dba", "log"):
        (event,) = office.sent(channel, EventType.TASK_COMPLETED)
        assert event.closes == closing
    assert office.sent("lead") == []
    assert await office.open() == []
    office.clock.advance(20 * MINUTE)
    await office.see(office.task("d", "completed"))
    assert len(office.sent("dba", EventType.TASK_COMPLETED)) == 1, "nothing is open any more"
    ledger = await office.store.read(lambda q: q.ledger())
    assert ledger.unaccounted == ()


async def test_a_mute_hides_a_failure_and_its_closing_but_not_that_it_is_open(office: Office) -> None:
    await office.see(office.task("z", "completed"))
    await office.store.transact(lambda tx: mutes.create(tx, mute_request("prod-01", HOUR), ANN))
    await office.see(office.task("a"))
    (one,) = await office.open()
    assert one.told == ()
    await office.wait(50 * MINUTE)
    assert office.sent("dba") == office.sent("lead") == []
    await office.wait(20 * MINUTE)
    assert [event.type for event in office.sent("dba")] == [REMINDED], "a mute postpones what is due"
    assert [event.type for event in office.sent("lead")] == [ESCALATED]


async def test_a_mute_but_failures_lets_reminders_and_escalations_pass(office: Office) -> None:
    times = MuteTimes(length=5 * HOUR)
    request = MuteRequest(scope=MuteScope(match=parse_matchers("prod-*")), times=times, except_failures=True)
    await office.store.transact(lambda tx: mutes.create(tx, request, ANN))
    await office.see(office.task("a"))
    await office.wait(HOUR)
    assert REMINDED in {event.type for event in office.sent("dba")}
    assert ESCALATED in {event.type for event in office.sent("lead")}


async def test_what_a_mute_postponed_comes_soon_after_it_was_ended_early(office: Office) -> None:
    await office.see(office.task("z", "completed"))
    await office.store.transact(lambda tx: mutes.create(tx, mute_request("prod-01", 24 * HOUR), ANN))
    await office.see(office.task("a"))
    await office.wait(HOUR)
    assert office.sent("dba") == office.sent("lead") == []
    await office.store.transact(lambda tx: mutes.end(tx, "prod-01", ANN))
    await office.wait(10 * MINUTE)
    assert [event.type for event in office.sent("dba")] == [REMINDED]
    assert [event.type for event in office.sent("lead")] == [ESCALATED]


async def test_reminders_and_escalations_come_until_somebody_acknowledges(office: Office) -> None:
    await office.see(office.task("a"))
    await office.wait(100 * MINUTE)
    assert len(office.sent("dba", REMINDED)) == 2
    (escalated,) = office.sent("lead", ESCALATED)
    assert escalated.follow_up
    assert escalated.follow_up.told == ("dba",)
    await office.acknowledge("a")
    await office.wait(DAY, step=HOUR)
    assert len(office.sent("dba", REMINDED)) == 2
    await office.store.transact(lambda tx: people.unacknowledge_task(tx, office.tasks["a"], ANN))
    await office.wait(40 * MINUTE)
    assert len(office.sent("dba", REMINDED)) == 3
    await office.see(office.task("b", "completed"))
    assert [event.closes is not None for event in office.sent("lead", EventType.TASK_COMPLETED)] == [True]
    sent = len(office.sent("dba"))
    await office.wait(DAY, step=HOUR)
    assert len(office.sent("dba")) == sent


async def test_a_reminder_leaves_the_failure_the_latest_event_of_its_task(office: Office) -> None:
    await office.see(office.task("a"))
    await office.wait(40 * MINUTE)
    (reminder,) = office.sent("dba", REMINDED)
    latest = await office.store.read(lambda q: q.latest_event("prod", "a"))
    assert latest
    assert latest.event.id == reminder.care_id
    await office.acknowledge("a")
    assert [one.state for one in await office.open()] == [FailureState.ACKNOWLEDGED]


async def test_a_live_message_goes_on_showing_the_failure(office: Office) -> None:
    """A reminder is a reply that the channel shows too; the task's message stays that of the failure."""
    office.channels["dba"] = dba = LiveChat("dba")
    office.app.channels["dba"] = dba  # type: ignore[index]  # a mapping of the test
    office.service = Service(office.app)
    await office.service.start()
    await office.see(office.task("a"))
    await office.wait(35 * MINUTE)
    (failed,) = office.sent("dba", EventType.TASK_FAILED)
    (reminder,) = [one for one in dba.sent if one.events[0].type is REMINDED]
    assert reminder.thread == "ref 1"
    await MessageEditor(dba, office.store, office.clock, lease=MINUTE, tickets=False).step()
    assert dba.shown == [], "nothing about the failure has changed"
    await office.acknowledge("a")
    await MessageEditor(dba, office.store, office.clock, lease=MINUTE, tickets=False).step()
    (thread,) = dba.shown
    assert (thread.event.id, thread.ref, thread.copies) == (failed.id, "ref 1", ("ref 2",))
    assert thread.routing.routes == ("failures",)


async def test_a_person_resolves_by_job_or_by_instance(office: Office) -> None:
    await office.see(office.task("job-a"), office.task("job-b", name="ResizeGaussDBV5Flavor"))
    await office.see(office.task("job-c", instance="prod-02"))

    async def resolve(wanted: str) -> people.Resolved:
        return await office.store.transact(lambda tx: people.resolve(tx, wanted, ANN, "known"))

    assert len((await resolve("job-")).candidates) == 3, "it is not clear which one is meant"
    assert await resolve("nothing") == people.Resolved()
    assert [one.latest.job_id for one in (await resolve("job-c")).failures] == ["job-c"]
    assert {one.latest.job_id for one in (await resolve("prod-01")).failures} == {"job-a", "job-b"}
    assert await office.open() == []
    acknowledged = await office.store.read(lambda q: q.latest_event("prod", "job-a"))
    assert acknowledged
    taken = await office.store.read(lambda q: q.acknowledgement(acknowledged.event.id))
    assert taken
    assert taken.name == "Ann"
    office.clock.advance(MINUTE)
    await office.see(office.task("job-d", "completed"))
    assert office.sent("dba", EventType.TASK_COMPLETED) == [], "the success closes nothing"
    actions = await office.store.read(lambda q: q.actions(10))
    assert [(action.verb, action.detail) for action in actions] == [("resolve", "known")] * 3


async def test_a_storm_is_acknowledged_and_reminded_of_as_one(office: Office) -> None:
    office.channels["dba"].digest_above = 20
    await office.see(*(office.task(f"job-{n:04}", instance=f"prod-{n:04}") for n in range(2_000)))
    assert len(await office.open()) == 2_000
    sent = len(office.channels["dba"].sent)
    await office.wait(35 * MINUTE)
    (reminder,) = office.channels["dba"].sent[sent:]
    assert reminder.digest
    assert len(reminder.events) == MAX_REMINDED
    await office.wait(15 * MINUTE)
    (escalation,) = office.channels["lead"].sent
    assert [event.follow_up.together for event in escalation.events if event.follow_up] == [2_000] * MAX_REMINDED
    (storm,) = await office.store.transact(lambda tx: tx.storms.lasting("prod"))
    await office.store.transact(lambda tx: people.acknowledge_storm(tx, storm.id, ANN))
    assert {one.state for one in await office.open()} == {FailureState.ACKNOWLEDGED}
    await office.wait(DAY, step=HOUR)
    assert len(office.channels["dba"].sent) == sent + 1


async def test_successes_after_a_storm_go_out_together(office: Office) -> None:
    office.channels["dba"].digest_above = 20
    names = [f"{n:04}" for n in range(60)]
    await office.see(*(office.task(f"job-{name}", instance=f"prod-{name}") for name in names))
    sent = len(office.channels["dba"].sent)
    for name in names[:30]:  # one after the other, each found by a poll of its own
        office.clock.advance(timedelta(seconds=10))
        await office.see(office.task(f"again-{name}", "completed", instance=f"prod-{name}"))
    assert len(office.channels["dba"].sent) == sent
    assert len(office.sent("log", EventType.TASK_COMPLETED)) == 30, "a route leads there"
    assert len(await office.open()) == 30
    office.clock.advance(10 * MINUTE)
    await office.see()
    (together,) = office.channels["dba"].sent[sent:]
    assert together.digest
    assert {event.job_id for event in together.events} == {f"again-{name}" for name in names[:30]}
    assert all(event.closes for event in together.events)
    ledger = await office.store.read(lambda q: q.ledger())
    assert ledger.unaccounted == ()


async def test_a_stalled_task_that_moves_on_without_an_event_is_not_reminded_of(office: Office) -> None:
    running = make_task("a", status="running", progress=60.0)
    await office.see(running)
    office.clock.advance(2 * HOUR)
    await office.see(running)
    assert [one.latest.type for one in await office.open()] == [EventType.TASK_STALLED]
    await office.see(make_task("a", status="running", progress=61.0))
    await office.wait(HOUR)
    assert await office.open() == []
    assert office.sent("dba", REMINDED) == []


async def test_retention_keeps_what_is_open_and_prunes_what_is_closed(office: Office) -> None:
    await office.see(office.task("a"), office.task("b", instance="prod-02"), office.task("c", instance="prod-03"))
    await office.acknowledge("b")
    office.clock.advance(MINUTE)
    await office.see(office.task("d", "completed", instance="prod-03"))
    later = office.clock.now() + DAY

    def prune(tx: object) -> int:
        return tx.failures.prune(later)  # type: ignore[attr-defined,no-any-return]  # the whole transaction

    assert await office.store.transact(prune) == 2
    assert [one.latest.job_id for one in await office.open()] == ["a"]


async def test_two_replicas_send_each_reminder_once(postgres_url: str, clock: FakeClock) -> None:
    stores = [open_store(postgres_url, now=clock.now) for _ in range(2)]
    offices = [Office(store, clock) for store in stores]
    try:
        first = offices[0]
        await first.service.start()
        await first.see()
        await first.see(*(first.task(f"job-{n}", instance=f"prod-{n}") for n in range(30)))
        seen: list[Event] = []
        for _ in range(40):
            clock.advance(7 * MINUTE)
            routing = first.app.routing
            reports = await asyncio.gather(*(failures.remind(store, routing=routing) for store in stores * 2))
            seen += [event for report in reports for event in report.events]
        ids = [event.id for event in seen]
        assert len(ids) == len(set(ids))
        found = await stores[1].read(lambda q: q.open_failures())
        numbers = {one.id: [entry.number for entry in one.history if entry.kind == "reminded"] for one in found}
        assert {tuple(each) for each in numbers.values()} == {(1, 2, 3, 4)}
        escalations = [[entry for entry in one.history if entry.kind == "escalated"] for one in found]
        assert {len(each) for each in escalations} == {1}
        waiting = await stores[0].read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PENDING, limit=500)))
        carried = [(event.id, one.channel) for one in waiting for event in one.events if event.follow_up]
        assert len(carried) == len(set(carried)) == len(ids)
    finally:
        for store in stores:
            await store.aclose()


class Boom(Exception):
    """The process dies."""


@pytest.mark.parametrize("inside", [True, False])
async def test_a_kill_at_any_step_loses_no_reminder_and_sends_none_twice(office: Office, *, inside: bool) -> None:
    """A transaction that dies leaves everything due; one that is committed before the process dies leaves nothing."""
    await office.see(office.task("a"))
    due: list[datetime] = []
    for _ in range(6):
        (before,) = await office.open()
        assert before.due_at
        office.clock.advance(before.due_at - office.clock.now() + MINUTE)
        due.append(office.clock.now())
        await die(office, inside=inside)
        (after,) = await office.open()
        assert (after == before) is inside
        await failures.remind(office.store, routing=office.app.routing)
    await office.service.delivering.drain()
    sent = [*office.sent("dba", REMINDED), *office.sent("lead", ESCALATED)]
    assert sorted(event.observed_at for event in sent) == due
    assert len({event.id for event in sent}) == len(sent) == 6
    assert (await office.open())[0].opened_at == T0


async def die(office: Office, *, inside: bool) -> None:
    """Send what is due in a process that dies in the transaction, or after it."""

    def work(tx: object) -> None:
        failures.remind_once(tx, office.app.routing)  # type: ignore[arg-type]  # the whole transaction
        if inside:
            raise Boom

    if inside:
        with pytest.raises(Boom):
            await office.store.transact(work)
    else:
        await office.store.transact(work)


async def test_a_missing_run_is_open_until_its_operation_succeeds_or_somebody_resolves_it(office: Office) -> None:
    text = CONFIGURATION.replace("task.stalled", "task.missing") + "expect: [manual backup of prod-* every 26h]\n"
    app = replace(office.app, config=loads(text, {}))
    backup: dict[str, Any] = {"name": app.config.expect[0].name, "fail_reason": None, "created_at": office.clock.now()}
    office.source.tasks = [office.task("b1", "completed", **backup)]
    await poll_and_deliver(app)
    for length in (27 * HOUR, 31 * MINUTE, 15 * MINUTE):  # missing, reminded, escalated
        office.clock.advance(length)
        await poll_and_deliver(app)
    assert [event.type for event in office.sent("dba")][-2:] == [EventType.TASK_MISSING, REMINDED]
    (escalated,) = office.sent("lead", ESCALATED)
    assert escalated.follow_up
    assert escalated.follow_up.type is EventType.TASK_MISSING
    (found,) = chosen(await office.open(), instance="prod-01")
    words = FailureFormatter(EventFormatter(Localizer(language="en", timezone=ZoneInfo("UTC"))), office.clock.now())
    assert without_marks(words.message(found).sentence) == "Manual backup is missing on prod-01"
    assert without_marks(words.cause(found)) == "Last run 15 Jan 08:30:00"
    failed = office.task("b2", **backup | {"created_at": office.clock.now()})
    office.source.tasks = [*office.source.tasks, failed]
    await poll_and_deliver(app)
    assert [(one.count, one.latest.type) for one in await office.open()] == [(2, EventType.TASK_FAILED)]
    done = office.task("b3", "completed", **backup | {"created_at": office.clock.now()})
    office.source.tasks = [*office.source.tasks, done]
    await poll_and_deliver(app)
    assert await office.open() == []
    assert office.sent("lead", EventType.TASK_COMPLETED)[0].closes
    office.clock.advance(27 * HOUR)
    await poll_and_deliver(app)
    resolved = await office.store.transact(lambda tx: people.resolve(tx, "prod-01", ANN))
    assert [one.latest.type for one in resolved.failures] == [EventType.TASK_MISSING]
    assert await office.open() == []
