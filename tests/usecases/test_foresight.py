"""Foresight of polls: usual times in events, and overdue tasks, on either database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import T0, make_task
from fakes import FakeClock, FakeSource
from sqlalchemy import Executable

from notifier.core.delivery import Delivery
from notifier.core.errors import StoreUnreachable
from notifier.core.events import EventType
from notifier.core.expectations import ExpectedRuns, MissingRules, SeenRun
from notifier.core.foreseen import OverdueLimit
from notifier.core.health_facts import ConfiguredSource
from notifier.core.matchers import parse_matcher
from notifier.core.model import Task
from notifier.core.overdue import FixedLimit, OverdueRules
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig
from notifier.core.usual import Runs, Usual, UsualBasis
from notifier.core.usual_memory import UsualMemory
from notifier.foresight import Foresight
from notifier.poll import PollReport, poll_once
from notifier.ports import DeliveryFilter, EventFilter
from notifier.store.compiled import Parameters, Result
from notifier.store.deliveries import Deliveries
from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.session import Session

RULES = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
ROUTING = RoutingConfig(
    routes=(Route(name="all", channels=("dba",)),), policies={"dba": ChannelPolicy(name="dba", digest_above=20)}
)


@pytest.fixture
def source(clock: FakeClock) -> FakeSource:
    return FakeSource(clock)


async def poll(source: FakeSource, store: SqlStore, rules: PollRules = RULES) -> PollReport:
    return await poll_once(source, store, owner="me", rules=rules, routing=ROUTING, force=True)


MINUTE = timedelta(minutes=1)
LIMITED = replace(RULES, overdue=OverdueRules())
ALSO_LIMITED = replace(
    RULES,
    overdue=OverdueRules(limits=(FixedLimit(match=parse_matcher("operation=create"), limit=timedelta(hours=2)),)),
)


def runs(count: int, minutes: float = 10, **changes: Any) -> list[Task]:
    """Return completed tasks of one operation, one a day."""
    ends = [T0 - timedelta(days=day) for day in range(1, count + 1)]
    done: dict[str, Any] = {"status": "completed", "fail_reason": None, "instance_id": "in-1"}
    return [
        make_task(f"run-{day}", **done | {"created_at": end - minutes * MINUTE, "ended_at": end} | changes)
        for day, end in enumerate(ends)
    ]


def begun(minutes: float = 0, job_id: str = "now", **changes: Any) -> Task:
    return make_task(
        job_id,
        **{"status": "running", "progress": None, "instance_id": "in-1", "created_at": T0 - minutes * MINUTE} | changes,
    )


async def test_events_of_tasks_carry_how_long_these_usually_take(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.tasks = runs(9)
    await poll(source, store)
    source.tasks = [*source.tasks, begun(), begun(job_id="other", name="another")]
    known, unknown = sorted((await poll(source, store)).events, key=lambda event: event.job_id)
    assert known.usual == Usual(low=600, middle=600, high=600, runs=9, basis=UsualBasis.INSTANCE, slow=600)
    assert unknown.usual is None
    clock.advance(9 * MINUTE)
    source.tasks = [*source.tasks[:-2], make_task("now", instance_id="in-2", ended_at=clock.now())]
    (failed,) = (await poll(source, store)).events
    assert failed.usual
    assert failed.usual.basis is UsualBasis.SOURCE


async def test_what_is_far_longer_than_usual_is_overdue_once(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    memory = UsualMemory()

    async def events() -> list[EventType]:
        report = await poll_once(source, store, owner="me", rules=LIMITED, routing=ROUTING, force=True, usual=memory)
        return [event.type for event in report.events]

    source.tasks = [*runs(9), begun()]
    assert await events() == []
    clock.advance(24 * MINUTE)
    assert await events() == []
    clock.advance(2 * MINUTE)
    assert await events() == [EventType.TASK_OVERDUE]
    clock.advance(timedelta(hours=1))
    assert await events() == []
    memory = UsualMemory()  # of another process
    assert await events() == []
    (item, *_) = await store.read(lambda q: q.events(EventFilter(limit=1)))
    assert item.event.overdue == OverdueLimit(seconds=1_500)
    assert item.event.usual
    assert item.event.late is False


async def test_a_fixed_limit_takes_the_place_of_the_usual_one(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.tasks = [*runs(9), begun()]
    await poll(source, store, ALSO_LIMITED)
    clock.advance(119 * MINUTE)
    assert (await poll(source, store, ALSO_LIMITED)).events == ()
    clock.advance(2 * MINUTE)
    (event,) = (await poll(source, store, ALSO_LIMITED)).events
    assert event.overdue == OverdueLimit(seconds=7_200, matcher="operation=create")
    lower = replace(
        RULES,
        overdue=OverdueRules(limits=(FixedLimit(match=parse_matcher("instance=gauss-*"), limit=timedelta(hours=1)),)),
    )
    assert [event.type for event in (await poll(source, store, lower)).events] == [EventType.TASK_OVERDUE]


@pytest.mark.parametrize(
    "rules",
    [
        RULES,
        replace(RULES, overdue=OverdueRules(usual=False)),
        replace(RULES, overdue=OverdueRules(ignore=(parse_matcher("instance=gauss-*"),))),
    ],
)
async def test_what_is_not_judged_is_never_overdue(
    store: SqlStore, source: FakeSource, clock: FakeClock, rules: PollRules
) -> None:
    source.tasks = [*runs(9), begun()]
    await poll(source, store, rules)
    clock.advance(timedelta(days=1))
    assert (await poll(source, store, rules)).events == ()


async def test_without_enough_runs_nothing_is_overdue(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [*runs(7), begun()]
    await poll(source, store, LIMITED)
    clock.advance(timedelta(days=1))
    assert (await poll(source, store, LIMITED)).events == ()


async def test_a_task_that_goes_on_is_overdue_too_and_a_stuck_one_is_reported_once(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    rules = replace(LIMITED, stalled_after=timedelta(minutes=20), progress_step=0)
    moving, stuck = begun(progress=10.0), begun(progress=10.0, job_id="stuck")
    source.tasks = [*runs(9), moving, stuck]
    await poll(source, store, rules)
    found = []
    for step in range(1, 8):
        clock.advance(5 * MINUTE)
        source.tasks = [*source.tasks[:-2], replace(moving, progress=10.0 + step), stuck]
        found += [(step, event.type, event.job_id) for event in (await poll(source, store, rules)).events]
    assert found == [(4, EventType.TASK_STALLED, "stuck"), (6, EventType.TASK_OVERDUE, "now")]


async def test_after_an_absence_an_overdue_task_is_reported_late(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.tasks = [*runs(9), begun()]
    await poll(source, store, LIMITED)
    clock.advance(timedelta(hours=5))
    (event,) = (await poll(source, store, LIMITED)).events
    assert (event.type, event.late) == (EventType.TASK_OVERDUE, True)


async def test_the_runs_are_read_once_in_a_quarter_of_an_hour(
    store: SqlStore, source: FakeSource, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, str]] = []
    original = Queries.runs

    def counted(self: Queries, source: str, name: str) -> Runs:
        read.append((source, name))
        return original(self, source, name)

    monkeypatch.setattr(Queries, "runs", counted)
    memory = UsualMemory()
    source.tasks = [*runs(9), begun(11)]
    for _ in range(10):
        await poll_once(source, store, owner="me", rules=LIMITED, routing=ROUTING, force=True, usual=memory)
        clock.advance(2 * MINUTE)
    assert read == [("prod", "CreateGaussDBV5Instance")] * 2


async def test_an_unchanged_poll_reads_no_more_for_a_task_that_is_overdue(
    store: SqlStore, source: FakeSource, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    execute, query = Session.execute, Session.query

    def executed(self: Session, statement: Executable, parameters: Parameters | None = None) -> Result:
        ran.append("execute")
        return execute(self, statement, parameters)

    def queried(self: Session, name: str, /, **parameters: object) -> Sequence[Any]:
        ran.append(name)
        return query(self, name, **parameters)

    async def statements(rules: PollRules) -> list[str]:
        ran.clear()
        await poll_once(source, store, owner="me", rules=rules, routing=ROUTING, force=True, usual=memory)
        return [*ran]

    memory = UsualMemory()
    source.tasks = [*runs(9), begun()]
    await statements(LIMITED)
    clock.advance(timedelta(hours=1))
    for _ in range(2):  # it is announced, and seen to be
        await statements(LIMITED)
    monkeypatch.setattr(Session, "execute", executed)
    monkeypatch.setattr(Session, "query", queried)
    assert await statements(LIMITED) == await statements(RULES)
    assert "completed_runs" not in ran


# ---- runs that do not begin ----

HOUR = timedelta(hours=1)
EXPECTED = ExpectedRuns(text="instance creation of gauss-* every 26h", name="CreateGaussDBV5Instance", every=26 * HOUR)
CONFIGURED = ConfiguredSource(name="prod", region="cn-north-4", project_id="p", poll_every=timedelta(seconds=30))


def foresight(rules: MissingRules | None = None) -> Foresight:
    return Foresight(rules=rules or MissingRules(expected=(EXPECTED,)), routing=ROUTING, sources=[CONFIGURED])


async def missing(store: SqlStore) -> list[str]:
    found = await store.read(lambda q: q.events(EventFilter(type="task.missing", limit=100)))
    return [item.event.expectation.last_job for item in found if item.event.expectation]


async def test_a_run_that_does_not_begin_is_reported_once_by_any_number_of_replicas(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    mine, theirs = foresight(), foresight()
    source.tasks = runs(3)
    await poll(source, store)
    for watching in (mine, theirs):
        assert (await watching.run(store)).events == ()
    clock.advance(3 * HOUR)
    assert (await mine.run(store)).events == ()  # nobody has looked since
    await poll(source, store)
    clock.advance(MINUTE)
    reports = [await watching.run(store) for watching in (mine, theirs, mine)]
    assert [len(report.events) for report in reports] == [1, 0, 0]
    assert len(reports[0].deliveries) == 1
    assert await missing(store) == ["run-0"]
    assert (await foresight().run(store)).events == ()  # after a restart
    (delivery,) = await store.read(lambda q: q.deliveries(DeliveryFilter(limit=10)))
    assert delivery.events[0].type is EventType.TASK_MISSING


async def test_the_run_that_appears_late_closes_it(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = runs(3)
    clock.advance(3 * HOUR)
    await poll(source, store)
    (event,) = (await foresight().run(store)).events
    clock.advance(HOUR)
    source.tasks = [*source.tasks, make_task("late", status="completed", instance_id="in-1", ended_at=clock.now())]
    (success,) = (await poll(source, store)).events
    assert success.closes
    assert success.closes.type is EventType.TASK_MISSING
    assert success.closes.since == event.observed_at
    clock.advance(HOUR)
    assert (await foresight().run(store)).events == ()
    clock.advance(26 * HOUR)
    await poll(source, store)
    assert len((await foresight().run(store)).deliveries) == 1
    assert await missing(store) == ["late", "run-0"]


async def test_a_rhythm_is_expected_to_go_on(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = runs(20)
    await poll(source, store)
    watching = foresight(MissingRules(learned=True))
    clock.advance(HOUR)
    await poll(source, store)
    assert (await watching.run(store)).events == ()
    clock.advance(4 * HOUR)
    await poll(source, store)
    (event,) = (await watching.run(store)).events
    assert event.expectation
    assert event.expectation.intervals == 19


async def test_nothing_is_read_where_nothing_is_expected(
    store: SqlStore, source: FakeSource, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    original = Queries.seen_runs

    def counted(self: Queries, source: str, since: datetime) -> Sequence[SeenRun]:
        reads.append(source)
        return original(self, source, since)

    monkeypatch.setattr(Queries, "seen_runs", counted)
    source.tasks = runs(3)
    await poll(source, store)
    await foresight(MissingRules()).run(store)
    assert reads == []
    watching = foresight()
    for _ in range(20):
        await watching.run(store)
        clock.advance(MINUTE / 2)
    assert reads == ["prod"]


async def test_a_source_that_was_never_polled_expects_nothing(store: SqlStore) -> None:
    assert (await foresight().run(store)).events == ()


async def test_what_fails_halfway_is_announced_as_a_whole_the_next_time(
    store: SqlStore, source: FakeSource, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: Deliveries, _planned: Sequence[Delivery]) -> None:
        raise StoreUnreachable("the disk is full")

    source.tasks = runs(3)
    clock.advance(3 * HOUR)
    await poll(source, store)
    watching = foresight()
    with monkeypatch.context() as broken:
        broken.setattr(Deliveries, "record", fail)
        with pytest.raises(StoreUnreachable):
            await watching.run(store)
    assert await missing(store) == []
    assert len((await watching.run(store)).deliveries) == 1
    assert await missing(store) == ["run-0"]
