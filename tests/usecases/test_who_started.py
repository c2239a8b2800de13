"""The search for who started tasks, from the poll that begins it to the message that shows it, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any, TypeVar

import pytest
from factories import make_task
from fakes import START, FakeChannel, FakeClock, FakeSource

from notifier.call_budget import begin
from notifier.core.credentials import BURST, Credential, Urgency
from notifier.core.delivery import Delivered, Thread, ThreadUpdate
from notifier.core.errors import CredentialsRejected, PermissionDenied, SourceError, SourceUnreachable
from notifier.core.events import EventType
from notifier.core.matchers import parse_matcher
from notifier.core.model import Task
from notifier.core.origins import OriginFigures, TraceCaller, TraceQuery, TraceRow
from notifier.core.pacing import Pace
from notifier.core.polling import PollRules
from notifier.core.rights import SourcePart
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.core.started_by import StartedBy, StartedVia
from notifier.deliver import DeliveryRules, DeliveryWorker
from notifier.live_messages import MessageEditor
from notifier.origins import SEARCH_LEASE, UNREACHABLE_WAIT, FoundTraces, SourceSearch, search_origins
from notifier.poll import PollReport, poll_once
from notifier.ports import EventFilter, StoredTask, TaskFilter
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

T = TypeVar("T")

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
RULES = PollRules(
    poll_every=timedelta(seconds=30), lease=timedelta(seconds=60), quiet_baseline=False, finds_origins=True
)
ROUTING = RoutingConfig(routes=(Route(name="all", channels=("dba",)),), policies={"dba": ChannelPolicy(name="dba")})
LI = TraceCaller(name="li.wei", invoked_by=("service.console",))
STARTED = StartedBy(name="li.wei", via=StartedVia.CONSOLE)


class FakeLog:
    """An audit log in memory: rows that tests add, or an error."""

    action = "cts:trace:list"

    def __init__(self, *traces: TraceRow, keeps_addresses: bool = False) -> None:
        self.traces = list(traces)
        self.keeps_addresses = keeps_addresses
        self.calls = 0
        self.error: SourceError | None = None
        self.asked: list[TraceQuery] = []

    async def read(self, query: TraceQuery) -> FoundTraces:
        self.calls += 1
        self.asked.append(query)
        if self.error:
            raise self.error
        return FoundTraces(
            traces=[
                trace
                for trace in self.traces
                if query.start <= trace.at <= query.end
                and query.resource_id in ("", trace.resource_id)
                and query.trace_name in ("", trace.name)
            ]
        )


def row_of(task: Task, **changes: Any) -> TraceRow:
    assert task.created_at is not None
    values: dict[str, Any] = {
        "trace_id": f"trace of {task.job_id}",
        "name": "createInstance",
        "kind": "ConsoleAction",
        "at": task.created_at,
        "recorded_at": task.created_at + 48 * SECOND,
        "status": 202,
        "resource_id": task.instance_id,
        "job_ids": frozenset({task.job_id.replace("-", "").lower()}),
        "user": LI,
        "address": "198.51.100.7",
    }
    return TraceRow(**values | changes)


def running(job_id: str = "job-1", **changes: Any) -> Task:
    return make_task(job_id, status="running", **{"created_at": START} | changes)


async def poll(store: SqlStore, source: FakeSource, rules: PollRules = RULES, **changes: Any) -> PollReport:
    options: dict[str, Any] = {"owner": "me", "rules": rules, "routing": ROUTING, "force": True}
    return await poll_once(source, store, **options | changes)


async def search(
    store: SqlStore, log: FakeLog, credentials: Mapping[str, Credential] | None = None
) -> SourceSearch | None:
    found = await search_origins(store, {"prod": log}, credentials or {})
    return found[0] if found else None


async def stored(store: SqlStore, job_id: str = "job-1") -> StoredTask:
    (found,) = await store.read(lambda q: q.tasks(TaskFilter(job_id=job_id, exact=True)))
    return found


@pytest.fixture
def source(clock: FakeClock) -> FakeSource:
    return FakeSource(clock, running())


async def test_a_new_task_is_searched_for_a_minute_after_its_creation(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    log = FakeLog(row_of(source.tasks[0]))
    clock.advance(59 * SECOND)
    assert await search(store, log) is None
    clock.advance(SECOND)
    report = await search(store, log)
    assert report is not None
    assert [(task.job_id, origin.started_by, origin.lag) for task, origin in report.found] == [
        ("job-1", STARTED, 48 * SECOND)
    ]
    assert (await stored(store)).started_by == STARTED
    clock.advance(HOUR)
    assert await search(store, log) is None
    assert log.calls == 1


async def test_it_is_asked_at_one_five_and_fifteen_minutes_and_then_nothing_is_said(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    log, asked = FakeLog(), list[int]()
    for minute in range(40):
        if await search(store, log):
            asked.append(minute)
        clock.advance(MINUTE)
    assert asked == [1, 5, 15]
    assert (await stored(store)).started_by is None
    assert await store.read(lambda q: q.origin_figures()) == OriginFigures(searched=1, explained=0)


async def test_a_row_that_appears_late_is_found_at_the_next_try(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    log = FakeLog()
    clock.advance(MINUTE)
    await search(store, log)
    log.traces.append(row_of(source.tasks[0], recorded_at=START + 3 * MINUTE))
    clock.advance(4 * MINUTE)
    report = await search(store, log)
    assert report is not None
    assert len(report.found) == 1
    figures = await store.read(lambda q: q.origin_figures(START))
    assert figures == OriginFigures(searched=1, explained=1, lag_p50=180.0, lag_p99=180.0)
    assert (await store.read(lambda q: q.origin_figures(clock.now() + HOUR))).searched == 0


async def test_later_events_say_who_started_the_task_and_routes_match_it(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    clock.advance(MINUTE)
    await search(store, FakeLog(row_of(source.tasks[0])))
    source.tasks = [make_task("job-1", status="failed", created_at=START)]
    route = Route(name="li", channels=("mail",), match=(parse_matcher("started_by=li.*"),))
    other = Route(name="api", channels=("dba",), match=(parse_matcher("started_via=api"),))
    (event,) = (await poll(store, source, routing=replace(ROUTING, routes=(route, other)))).events
    assert (event.type, event.started_by) == (EventType.TASK_FAILED, STARTED)
    newest, first = await store.read(lambda q: q.events(EventFilter(limit=10)))
    assert (newest.channels, newest.event.started_by) == (("mail",), STARTED)
    assert (first.channels, first.event.started_by) == (("dba",), None)


async def test_an_update_of_a_task_leaves_who_started_it(store: SqlStore, clock: FakeClock, source: FakeSource) -> None:
    await poll(store, source)
    clock.advance(MINUTE)
    await search(store, FakeLog(row_of(source.tasks[0])))
    for progress in (70.0, 80.0):
        source.tasks = [running(progress=progress)]
        await poll(store, source)
        assert (await stored(store)).started_by == STARTED


async def test_the_address_is_kept_only_where_that_is_configured(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    source.tasks = [running("job-1"), running("job-2", instance_id="in-2")]
    await poll(store, source)
    clock.advance(MINUTE)
    await search(store, FakeLog(row_of(source.tasks[0])))
    assert (await stored(store)).started_by == STARTED
    clock.advance(4 * MINUTE)
    await search(store, FakeLog(row_of(source.tasks[1]), keeps_addresses=True))
    assert (await stored(store, "job-2")).started_by == replace(STARTED, address="198.51.100.7")


@pytest.mark.parametrize("quiet", [True, False])
async def test_old_tasks_of_a_baseline_are_not_searched_for(
    store: SqlStore, source: FakeSource, *, quiet: bool
) -> None:
    source.tasks = [running("old", created_at=START - 16 * MINUTE), running("new", created_at=START - 5 * MINUTE)]
    await poll(store, source, replace(RULES, quiet_baseline=quiet))
    log = FakeLog()
    report = await search(store, log)
    assert report is not None
    assert report.asked == 1
    assert (await stored(store, "old")).started_by is None


async def test_a_source_without_it_searches_nothing(store: SqlStore, clock: FakeClock, source: FakeSource) -> None:
    await poll(store, source, replace(RULES, finds_origins=False))
    clock.advance(HOUR)
    log = FakeLog(row_of(source.tasks[0]))
    assert await search(store, log) is None
    assert log.calls == 0


async def test_tasks_of_one_instance_share_a_call(store: SqlStore, clock: FakeClock, source: FakeSource) -> None:
    source.tasks = [running(f"job-{n}", name="ResizeGaussDBV5Flavor", created_at=START + n * SECOND) for n in range(5)]
    await poll(store, source)
    clock.advance(2 * MINUTE)
    log = FakeLog(*(row_of(task, name="resizeFlavor") for task in source.tasks))
    report = await search(store, log)
    assert report is not None
    assert (len(report.found), log.calls) == (5, 1)


async def test_manual_backups_of_many_instances_share_a_call(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    source.tasks = [
        running(f"job-{n}", name="BackupSnapshotGaussDBV5InInstance", instance_id=f"in-{n}") for n in range(30)
    ]
    await poll(store, source)
    clock.advance(MINUTE)
    log = FakeLog(row_of(source.tasks[3], name="createManualSnapshot", resource_id="a backup"))
    report = await search(store, log)
    assert report is not None
    assert [task.job_id for task, _ in report.found] == ["job-3"]
    assert log.calls == 1


# ---- rights, budget, faults ----


async def test_a_missing_right_pauses_this_alone_and_is_retried_slowly(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    clock.advance(MINUTE)
    log = FakeLog(row_of(source.tasks[0]))
    log.error = PermissionDenied("source prod: not allowed to list traces", status=403)
    report = await search(store, log)
    assert report is not None
    assert report.missing_right is not None
    facts = await store.read(lambda q: q.health_facts())
    assert [(one.source, one.part, one.action, one.since) for one in facts.missing_rights] == [
        ("prod", SourcePart.STARTED_BY, "cts:trace:list", clock.now())
    ]
    assert (await poll(store, source)).succeeded
    clock.advance(4 * MINUTE)
    assert await search(store, log) is None
    clock.advance(MINUTE)
    assert await search(store, log) is not None
    assert log.calls == 2
    log.error = None
    clock.advance(10 * MINUTE)
    report = await search(store, log)
    assert report is not None
    assert len(report.found) == 1
    assert (await store.read(lambda q: q.health_facts())).missing_rights == []


async def test_a_log_that_does_not_answer_is_asked_again_and_that_is_no_try(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    clock.advance(20 * MINUTE)
    log = FakeLog(row_of(source.tasks[0]))
    log.error = SourceUnreachable("source prod: no answer")
    report = await search(store, log)
    assert report is not None
    assert report.error is log.error
    log.error = None
    assert await search(store, log) is None
    clock.advance(UNREACHABLE_WAIT)
    report = await search(store, log)
    assert report is not None
    assert len(report.found) == 1


async def test_searches_wait_while_less_than_half_of_the_burst_is_left(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    credential = Credential(key="k", calls_per_minute=20)
    await poll(store, source)
    clock.advance(MINUTE)
    await store.transact(lambda tx: begin(tx, credential, tx.now(), BURST - 5, urgency=Urgency.DUE))
    log = FakeLog(row_of(source.tasks[0]))
    report = await search(store, log, {"prod": credential})
    assert report is not None
    assert (log.calls, report.found) == (0, ())
    assert report.postponed_until is not None
    clock.advance(report.postponed_until - clock.now())
    report = await search(store, log, {"prod": credential})
    assert report is not None
    assert len(report.found) == 1


async def test_refused_credentials_pause_all_calls(store: SqlStore, clock: FakeClock, source: FakeSource) -> None:
    credential = Credential(key="k", calls_per_minute=20)
    await poll(store, source)
    clock.advance(MINUTE)
    log = FakeLog()
    log.error = CredentialsRejected("source prod: credentials rejected", status=401)
    await search(store, log, {"prod": credential})
    known = await store.transact(lambda tx: tx.credentials.state("k"))
    assert known.refusal is not None
    assert known.paused_until is not None


# ---- two replicas, and kills ----


async def test_of_two_replicas_one_asks(store: SqlStore, clock: FakeClock, source: FakeSource) -> None:
    await poll(store, source)
    clock.advance(MINUTE)
    first, second = FakeLog(row_of(source.tasks[0])), FakeLog(row_of(source.tasks[0]))
    reports = await asyncio.gather(search(store, first), search(store, second))
    assert first.calls + second.calls == 1
    assert sum(len(report.found) for report in reports if report) == 1


async def test_a_search_whose_process_was_killed_is_taken_over(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    clock.advance(MINUTE)
    until = clock.now() + SEARCH_LEASE
    (left,) = await store.transact(lambda tx: tx.origins.claim_due(["prod"], clock.now(), until, 10))
    log = FakeLog(row_of(source.tasks[0]))
    clock.advance(SEARCH_LEASE - SECOND)
    assert await search(store, log) is None
    clock.advance(SECOND)
    report = await search(store, log)
    assert report is not None
    assert len(report.found) == 1
    assert not await store.transact(lambda tx: tx.origins.settle(left, None, None, clock.now()))
    assert (await stored(store)).started_by == STARTED


class Killed(Exception):
    """The process ends before a commit."""


@pytest.mark.parametrize("kill_at", range(3))
async def test_a_kill_before_any_commit_changes_nothing_and_loses_nothing(
    store: SqlStore, clock: FakeClock, source: FakeSource, kill_at: int
) -> None:
    await poll(store, source)
    clock.advance(MINUTE)
    await begin_thread(store, clock)

    class Mortal:
        """Dies before the commit of one of its transactions."""

        def __init__(self) -> None:
            self.transactions = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
            number, self.transactions = self.transactions, self.transactions + 1

            def work(tx: Transaction) -> T:
                found = fn(tx)
                if number == kill_at:
                    raise Killed
                return found

            return await store.transact(work, short=short)

    log = FakeLog(row_of(source.tasks[0]))
    with pytest.raises(Killed):
        await search_origins(Mortal(), {"prod": log}, {"prod": Credential(key="k", calls_per_minute=60)})
    assert (await stored(store)).started_by is None
    clock.advance(SEARCH_LEASE)
    report = await search(store, log)
    assert report is not None
    assert len(report.found) == 1
    assert (await stored(store)).started_by == STARTED
    channel = LiveFake()
    await editor(channel, store, clock).step()
    assert [thread.event.started_by for thread in channel.shown] == [STARTED]


# ---- what messages show ----


class LiveFake(FakeChannel):
    """A channel whose messages can be edited."""

    def __init__(self) -> None:
        super().__init__("dba")
        self.threads, self.edit_budget = True, "token"
        self.edit_pace = Pace(per_second=1, burst=5)
        self.shown: list[Thread] = []

    async def show(self, thread: Thread) -> Delivered:
        self.shown.append(thread)
        return Delivered()

    async def show_copy(self, thread: Thread, ref: str) -> Delivered:  # noqa: ARG002 - of a live channel
        return Delivered()


def editor(channel: LiveFake, store: SqlStore, clock: FakeClock) -> MessageEditor:
    return MessageEditor(channel, store, clock, lease=MINUTE, origins=True)


async def begin_thread(store: SqlStore, clock: FakeClock) -> None:
    """Record the live message of the newest event."""
    (newest, *_) = await store.read(lambda q: q.events(EventFilter(limit=10)))
    begun = ThreadUpdate(subject=newest.event.subject, event_id=newest.event.id, thread="C:1")
    await store.transact(lambda tx: tx.threads.update("dba", [begun], clock.now()))


async def test_a_live_message_is_edited_when_it_becomes_known(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    await begin_thread(store, clock)
    channel = LiveFake()
    assert (await editor(channel, store, clock).step()).changed == ()
    clock.advance(MINUTE)
    await search(store, FakeLog(row_of(source.tasks[0])))
    await editor(channel, store, clock).step()
    assert [(thread.event.type, thread.event.started_by) for thread in channel.shown] == [
        (EventType.TASK_STARTED, STARTED)
    ]
    assert (await editor(channel, store, clock).step()).changed == ()


def worker(channel: FakeChannel, store: SqlStore, clock: FakeClock) -> DeliveryWorker:
    rules = DeliveryRules(schedule=(10 * SECOND,), lease=MINUTE, origins=True)
    return DeliveryWorker(channel, store, clock, Random(1), owner="me", rules=rules)


async def test_a_message_that_waited_says_who_started_its_task(
    store: SqlStore, clock: FakeClock, source: FakeSource
) -> None:
    await poll(store, source)
    clock.advance(MINUTE)
    await search(store, FakeLog(row_of(source.tasks[0])))
    channel = FakeChannel("dba")
    sender = worker(channel, store, clock)
    await sender.step()
    await sender.drain()
    (sent,) = channel.sent
    assert [event.started_by for event in sent.events] == [STARTED]
