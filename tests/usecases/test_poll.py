"""What one poll does, on either database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from factories import T0, make_task
from fakes import FakeClock, FakeSource
from sqlalchemy import Executable

from notifier.core import polling
from notifier.core.credentials import Credential
from notifier.core.delivery import DeliveryState, Parked
from notifier.core.errors import SourceConflict, SourceUnreachable
from notifier.core.events import EventType
from notifier.core.health import removed_sources
from notifier.core.model import Scope, Snapshot, SourceOrigin, Task, TaskHistory, TaskStatus, Transition
from notifier.core.outbox import settle, task_event
from notifier.core.people import TaskSubscription
from notifier.core.polling import PollRules
from notifier.core.routing import ChannelPolicy, Route, RoutingConfig, route_events
from notifier.poll import PollReport, _StartedPoll, poll_once
from notifier.ports import DeliveryFilter, EventFilter, TaskFilter
from notifier.store import statements
from notifier.store.compiled import Parameters, Result
from notifier.store.engine import SqlStore, open_store
from notifier.store.histories import Histories
from notifier.store.session import Session
from notifier.store.transaction import Transaction

T = TypeVar("T")

RULES = PollRules(poll_every=timedelta(seconds=30), lease=timedelta(seconds=60))
ROUTING = RoutingConfig(
    routes=(Route(name="all", channels=("dba",)),), policies={"dba": ChannelPolicy(name="dba", digest_above=20)}
)
RUNNING = make_task("a", status="running")
FAILED = make_task("a", status="failed")
OTHER = make_task("other", status="completed")


@pytest.fixture
def source(clock: FakeClock) -> FakeSource:
    return FakeSource(clock)


async def poll(source: FakeSource, store: SqlStore, rules: PollRules = RULES, owner: str = "me") -> PollReport:
    return await poll_once(source, store, owner=owner, rules=rules, routing=ROUTING, force=True)


async def notified(store: SqlStore) -> list[tuple[EventType, str]]:
    """Return type and job of every event, the oldest first."""
    found = await store.read(lambda q: q.events(EventFilter(limit=1000)))
    return [(item.event.type, item.event.job_id) for item in reversed(found)]


async def test_the_first_poll_is_a_quiet_baseline(store: SqlStore, source: FakeSource) -> None:
    source.tasks = [make_task(f"job-{n}") for n in range(5)]
    report = await poll(source, store)
    assert (report.baseline, report.changed, report.events, report.deliveries) == (True, 5, (), 0)
    assert (await poll(source, store)).changed == 0


async def test_an_unchanged_poll_takes_these_statements_and_no_other(
    store: SqlStore, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = replace(RULES, credential=Credential(key="k", calls_per_minute=60), stalled_after=timedelta(hours=1))
    source.tasks = [RUNNING, OTHER]
    for _ in range(2):
        await poll(source, store, rules)
    names = {id(statement): name for name, statement in vars(statements).items()}
    ran: list[str | None] = []
    execute = Session.execute

    def traced(self: Session, statement: Executable, parameters: Parameters | None = None) -> Result:
        ran.append(names.get(id(statement)))
        return execute(self, statement, parameters)

    monkeypatch.setattr(Session, "execute", traced)
    assert (await poll(source, store, rules)).changed == 0
    assert ran == [
        *("CLAIM_POLL", "CREDENTIAL", "SAVE_CREDENTIAL"),
        *("EPOCH", "RUNNING_TASKS", "CREDENTIAL", "RECORD_POLL"),
    ]


async def test_what_was_pruned_during_a_poll_is_recorded_by_the_next(store: SqlStore, source: FakeSource) -> None:
    """The comparison is made outside of transactions, with what was recorded when the poll was claimed."""
    source.tasks = [OTHER]
    await poll(source, store)

    class Pruned:
        async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
            found = await store.transact(fn, short=short)
            if isinstance(found, _StartedPoll):
                await store.transact(lambda tx: tx.retention._delete_tasks("prod", ["other"]))
            return found

        read = store.read

    report = await poll_once(source, Pruned(), owner="me", rules=RULES, routing=ROUTING, force=True)
    assert (report.changed, report.succeeded) == (0, True)
    assert (await poll(source, store)).changed == 1


@pytest.mark.parametrize("reason", ["a lone surrogate \ud83d", "a byte \ud800 more"])
async def test_refused_rows_stay_recorded_until_a_full_scan_has_none(
    store: SqlStore, source: FakeSource, clock: FakeClock, reason: str
) -> None:
    good, poison = make_task("good"), make_task("poison", fail_reason=reason)

    async def recorded() -> tuple[int, object]:
        await poll(source, store)
        (state,) = await store.read(lambda q: q.source_states())
        return state.refused_rows, state.refused_since

    source.tasks = [good, poison]
    assert await recorded() == (1, T0)
    clock.advance(RULES.poll_every)
    assert await recorded() == (1, T0)
    source.calls = 1_000  # the next poll reads the active tasks only, and proves nothing about the others
    await poll(source, store)
    source.tasks = [good]
    clock.advance(RULES.poll_every)
    assert (await recorded(), source.scopes[-1]) == ((1, T0), Scope.ACTIVE)
    clock.advance(timedelta(days=1))
    assert (await recorded(), source.scopes[-1]) == ((0, None), Scope.FULL)


async def test_a_start_and_end_between_two_polls_is_notified(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    source.tasks = [FAILED]
    (event,) = (await poll(source, store)).events
    assert (event.type, event.previous_status, event.late) == (EventType.TASK_FAILED, None, False)


async def test_a_baseline_waits_for_a_poll_that_is_whole(store: SqlStore, source: FakeSource) -> None:
    source.tasks, source.complete = [RUNNING], False
    assert (await poll(source, store)).baseline is False
    source.tasks = [FAILED, make_task("b")]
    assert [event.job_id for event in (await poll(source, store)).events] == ["a"]
    source.complete = True
    assert (await poll(source, store)).baseline is True
    source.tasks.append(make_task("c"))
    assert [event.job_id for event in (await poll(source, store)).events] == ["c"]


async def test_events_and_deliveries_are_there_when_the_snapshot_is(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    source.tasks = [FAILED]
    report = await poll(source, store)
    ledger = await store.read(lambda q: q.ledger())
    assert (report.deliveries, ledger.events, ledger.pairs, ledger.unaccounted) == (1, 1, 1, ())


async def test_polling_the_same_list_again_writes_no_event(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    source.tasks = [FAILED, replace(RUNNING, job_id="b")]
    for _ in range(3):
        await poll(source, store)
    assert len(await notified(store)) == 2


async def test_an_event_found_again_after_a_restore_has_the_same_id(
    store: SqlStore, source: FakeSource, sqlite_url: str
) -> None:
    await poll(source, store)
    source.tasks = [FAILED]
    (event,) = (await poll(source, store)).events
    restored = open_store(sqlite_url.replace("notifier.db", "restored.db"), now=source.clock.now)
    source.tasks = []
    await poll(source, restored)
    source.tasks = [FAILED]
    (again,) = (await poll(source, restored)).events
    await restored.aclose()
    assert again.id == event.id


async def test_a_running_task_that_is_gone_is_unlisted_once(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.tasks = [RUNNING, OTHER]
    await poll(source, store)
    source.tasks = [OTHER]
    for _ in range(4):
        clock.advance(RULES.poll_every)
        await poll(source, store)
    assert await notified(store) == [(EventType.TASK_UNLISTED, "a")]


async def test_stalled_tasks_are_queried_only_where_that_is_wanted(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.tasks = [replace(RUNNING, progress=50.0)]
    for _ in range(3):
        await poll(source, store)
        clock.advance(timedelta(days=1))
    assert await notified(store) == []


async def test_changes_during_our_absence_are_notified_as_late(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await poll(source, store)
    clock.advance(timedelta(days=2))
    source.tasks = [FAILED]
    assert [event.late for event in (await poll(source, store)).events] == [True]


async def test_an_absence_longer_than_the_api_remembers_is_notified(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await poll(source, store)
    since = clock.now()
    until = clock.advance(timedelta(days=31))
    (event,) = (await poll(source, store)).events
    assert (event.type, event.detail) == (EventType.SOURCE_GAP, f"{since.isoformat()}/{until.isoformat()}")
    assert (await poll(source, store)).events == ()


async def test_many_events_for_one_channel_make_few_messages(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await poll(source, store)
    clock.advance(timedelta(days=1))
    source.tasks = [make_task(f"job-{n}") for n in range(2000)]
    report = await poll(source, store)
    deliveries = await store.read(lambda q: q.deliveries(DeliveryFilter(limit=100)))
    assert (len(report.events), len(deliveries)) == (2000, 20)
    assert {event.job_id for delivery in deliveries for event in delivery.events} == {t.job_id for t in source.tasks}


async def test_deliveries_for_a_parked_channel_wait_with_the_others(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    source.tasks = [FAILED]
    await poll(source, store)
    (claimed,) = await store.transact(
        lambda tx: tx.deliveries.claim_due("dba", "me", source.clock.now(), RULES.lease, 1)
    )
    parked = settle(claimed, Parked("no token"), started_at=T0, finished_at=T0, schedule=(), chance=0.5)
    await store.transact(lambda tx: tx.deliveries.settle([parked], source.clock.now()))
    source.tasks.append(make_task("b"))
    await poll(source, store)
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(state=DeliveryState.PARKED)))
    assert len(found) == 2


# ---- the last word on a task ----


DONE = make_task("a", status="completed")
CANCELED = make_task("a", status="unknown", raw_status="Canceled", ended_at=T0)


async def show(store: SqlStore, source: FakeSource, *shown: Task, rules: PollRules = RULES) -> list[PollReport]:
    """Poll once for each of these states of one task."""
    reports = []
    for task in shown:
        source.tasks = [task]
        source.clock.advance(RULES.poll_every)  # type: ignore[attr-defined]  # a FakeClock
        reports.append(await poll(source, store, rules))
    return reports


async def test_a_live_message_shows_the_end_that_was_shown_again(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    await show(store, source, DONE, RUNNING, DONE)
    latest = await store.read(lambda q: q.latest_event("prod", "a"))
    assert latest
    assert latest.event.type is EventType.TASK_COMPLETED


async def subscribe_to(store: SqlStore, job_id: str = "a") -> None:
    await store.transact(
        lambda tx: tx.people.subscribe(TaskSubscription(source="prod", job_id=job_id, person="U1", created_at=tx.now()))
    )


async def answers(store: SqlStore) -> list[EventType]:
    """Return what the person was sent, the oldest first."""
    found = await store.read(lambda q: q.deliveries(DeliveryFilter(channel="dm:U1", limit=9)))
    return [event.type for delivery in reversed(found) for event in delivery.events]


@pytest.mark.parametrize(
    "end", [DONE, FAILED, CANCELED, replace(FAILED, ended_at=None)], ids=["done", "failed", "canceled", "no time"]
)
async def test_a_subscription_is_answered_once_however_the_task_ends(
    store: SqlStore, source: FakeSource, end: Task
) -> None:
    await poll(source, store)
    await show(store, source, RUNNING)
    await subscribe_to(store)
    await show(store, source, replace(RUNNING, progress=90.0), end, RUNNING, end)
    assert len(await answers(store)) == 1


async def test_a_subscription_to_a_restarted_task_is_answered(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    await show(store, source, RUNNING, DONE, RUNNING)
    await subscribe_to(store)
    await show(store, source, DONE)
    assert await answers(store) == [EventType.TASK_COMPLETED]


async def test_a_subscription_to_a_canceled_task_waits_for_its_end(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    await show(store, source, RUNNING)
    await subscribe_to(store)
    await show(store, source, replace(CANCELED, ended_at=None))
    assert await answers(store) == []
    await show(store, source, CANCELED, replace(CANCELED, ended_at=None), CANCELED)
    assert await answers(store) == [EventType.TASK_CHANGED]


async def test_a_subscriber_is_notified_of_unlisted_and_of_the_end(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    await show(store, source, RUNNING)
    await subscribe_to(store)
    await show(store, source, OTHER, OTHER)
    await show(store, source, DONE)
    assert await answers(store) == [EventType.TASK_UNLISTED, EventType.TASK_COMPLETED]


# ---- rows that tell less, or otherwise, than before ----

FRACTION = timedelta(milliseconds=783)


@pytest.mark.parametrize("now_told", [FRACTION, timedelta()])
async def test_an_end_recorded_by_an_earlier_version_is_recognised(
    store: SqlStore, source: FakeSource, now_told: timedelta
) -> None:
    """Earlier versions named an end to the microsecond; the task may be unknown now, its project having changed."""
    end = T0.replace(microsecond=0)
    old = Transition(
        type=EventType.TASK_FAILED,
        before=None,
        after=replace(FAILED, ended_at=end + FRACTION),
        occurrence=f"failed@{(end + FRACTION).isoformat()}",
        observed_at=T0,
        late=False,
    )
    await poll(source, store)
    event = task_event(old, SourceOrigin(source=source.name, region=source.region, project_id=source.project_id))
    await store.transact(lambda tx: tx.events.record(route_events([event], ())))
    (report,) = await show(store, source, replace(FAILED, ended_at=end + now_told))
    assert (report.events, report.changed) == ((), 1)


BLANK = make_task("a", status="unknown", raw_status="")


@pytest.mark.parametrize("state", [RUNNING, DONE, FAILED, CANCELED], ids=lambda task: task.raw_status)
async def test_a_row_without_a_status_leaves_the_known_state(store: SqlStore, source: FakeSource, state: Task) -> None:
    await poll(source, store)
    _, blank, again = await show(store, source, state, BLANK, state)
    assert (blank.events, blank.unreadable, blank.without_status) == ((), 1, ("a",))
    assert (again.events, again.unreadable) == ((), 0)
    (stored,) = await store.read(lambda q: q.tasks(TaskFilter()))
    assert stored.task == state


# ---- several looks in one poll ----


async def test_a_state_only_in_the_first_scan_of_a_poll_is_notified(
    store: SqlStore, source: FakeSource, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The active scan shows a new task running; when the whole list is read it has completed."""
    source.calls, source.tasks = 100, [make_task("b", status="running")]
    await poll(source, store)
    clock.advance(RULES.poll_every)
    fetch = source.fetch

    async def moving(scope: Scope) -> Snapshot:
        source.tasks = [RUNNING if scope is Scope.ACTIVE else DONE, make_task("b", status="completed")]
        return await fetch(scope)

    monkeypatch.setattr(source, "fetch", moving)
    await poll(source, store)
    assert source.scopes == [Scope.FULL, Scope.ACTIVE, Scope.FULL]
    assert await notified(store) == [
        (EventType.TASK_STARTED, "a"),
        (EventType.TASK_COMPLETED, "a"),
        (EventType.TASK_COMPLETED, "b"),
    ]


# ---- several at once, and failures ----


async def test_two_replicas_make_one_event(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    source.tasks = [FAILED]
    first = await store.transact(
        lambda tx: tx.polls.claim("prod", "other", source.clock.now(), RULES.lease, force=True)
    )
    assert first is not None
    assert (await poll(source, store)).polled is False
    assert await notified(store) == []


async def test_a_poll_that_lost_its_claim_records_nothing(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    await poll(source, store)
    source.tasks = [FAILED]
    fetch = source.fetch

    async def slow(scope: Scope) -> object:
        """Take longer than the lease; another replica polls meanwhile."""
        source.fetch = fetch  # type: ignore[method-assign]  # only the first poll is slow
        clock.advance(timedelta(minutes=2))
        await poll(source, store, owner="other")
        return await fetch(scope)

    source.fetch = slow  # type: ignore[method-assign, assignment]  # as above
    assert (await poll(source, store)).fenced is True
    assert await notified(store) == [(EventType.TASK_FAILED, "a")]


class WatchedStore:
    """A store that tells when it has been written to."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.read, self.listen, self.aclose = store.read, store.listen, store.aclose
        self.written = asyncio.Event()

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        result = await self.store.transact(fn, short=short)
        self.written.set()
        return result


async def test_a_poll_that_takes_longer_than_its_lease_keeps_it(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    """A long list is paced by its call budget; another replica must not take it over meanwhile."""
    await poll(source, store)
    lease, watched, fetch = timedelta(milliseconds=3), WatchedStore(store), source.fetch

    async def slow(scope: Scope) -> Snapshot:
        watched.written.clear()
        clock.advance(lease)
        await watched.written.wait()
        taken = await store.transact(lambda tx: tx.polls.claim("prod", "other", clock.now(), lease, force=True))
        assert taken is None
        return await fetch(scope)

    source.fetch = slow  # type: ignore[method-assign]  # this poll is slow
    source.tasks = [FAILED]
    rules = replace(RULES, lease=lease)
    report = await poll_once(source, watched, owner="me", rules=rules, routing=ROUTING, force=True)
    assert (report.fenced, len(report.events)) == (False, 1)


async def test_a_failing_source_is_recorded_and_paused(store: SqlStore, source: FakeSource) -> None:
    source.error = SourceUnreachable("no answer from the cloud")
    report = await poll(source, store)
    (state,) = await store.read(lambda q: q.sources())
    assert (report.error, state.last_error) == (source.error, "no answer from the cloud")
    assert state.next_poll_at is not None
    assert state.next_poll_at > source.clock.now()


# ---- big recordings ----


class BatchStore:
    """A store that counts what each transaction records, and that dies before the transaction of a number commits."""

    def __init__(self, store: SqlStore, dies_in: int | None = None) -> None:
        self.store = store
        self.read, self.listen, self.aclose = store.read, store.listen, store.aclose
        self.dies_in = dies_in
        self.recorded: list[int] = []

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        def counted(tx: Transaction) -> tuple[T, int]:
            before = tx.queries.count_tasks(TaskFilter())
            result = fn(tx)
            if self.dies_in == len(self.recorded):
                raise Dies
            return result, tx.queries.count_tasks(TaskFilter()) - before

        result, recorded = await self.store.transact(counted, short=short)
        self.recorded.append(recorded)
        return result


class Dies(Exception):
    """The process is killed."""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(polling, "BATCH_ROWS", 10)
    monkeypatch.setattr(polling, "QUIET_BATCH_ROWS", 10)
    return 10


async def poll_in(store: BatchStore, source: FakeSource, rules: PollRules = RULES) -> PollReport:
    return await poll_once(source, store, owner="me", rules=rules, routing=ROUTING, force=True)


@pytest.mark.parametrize("rows", [0, 1, 10, 11, 95])
async def test_a_long_baseline_takes_a_transaction_for_each_batch(
    store: SqlStore, source: FakeSource, small_batches: int, rows: int
) -> None:
    source.tasks = [make_task(f"job-{n}") for n in range(rows)]
    batches = BatchStore(store)
    report = await poll_in(batches, source)
    assert (report.baseline, report.changed, report.events) == (True, rows, ())
    assert (sum(batches.recorded), max(batches.recorded) <= small_batches) == (rows, True)
    assert (await poll(source, store)).changed == 0


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(("rows", "batches"), [(10, 1), (25, 3)])
async def test_only_the_last_transaction_of_a_poll_may_claim(
    store: SqlStore, source: FakeSource, rows: int, batches: int
) -> None:
    """A delivery that is claimed before it takes no more failures of the poll: a storm is one message."""
    await poll(source, store)
    source.tasks = [make_task(f"job-{n}", status="failed") for n in range(rows)]
    planned = []

    async def recording(fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        def run(tx: Transaction) -> T:
            result = fn(tx)
            planned.append(len(tx.queries.deliveries(DeliveryFilter(limit=1_000))))
            return result

        return await store.transact(run, short=short)

    report = await poll_once(source, store, owner="me", rules=RULES, routing=ROUTING, force=True, recording=recording)
    assert (report.batches, planned) == (batches, [report.deliveries])


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("quiet", [True, False])
async def test_a_kill_during_a_baseline_neither_floods_nor_loses(
    store: SqlStore, source: FakeSource, clock: FakeClock, *, quiet: bool
) -> None:
    rules = replace(RULES, quiet_baseline=quiet)
    tasks = [make_task(f"job-{n}", status="running") for n in range(95)]
    for dies_in in (2, 3, 4):
        source.tasks = tasks
        with pytest.raises(Dies):
            await poll_in(BatchStore(store, dies_in), source, rules)
        clock.advance(RULES.lease)
    seen = await store.read(lambda q: q.count_tasks(TaskFilter()))
    assert 0 < seen < 95
    source.tasks = [make_task("job-0", status="failed"), *tasks[1:]]
    clock.advance(RULES.poll_every)
    assert (await poll(source, store, rules)).baseline
    await poll(source, store, rules)
    events = await notified(store)
    started = [job_id for type_, job_id in events if type_ is EventType.TASK_STARTED]
    assert (sorted(started) == sorted(task.job_id for task in tasks)) is not quiet
    assert (EventType.TASK_FAILED, "job-0") in events
    assert len(events) == 1 + (0 if quiet else 95)
    assert (await store.read(lambda q: q.ledger())).unaccounted == ()


@pytest.mark.usefixtures("small_batches")
async def test_a_storm_is_digests_whatever_the_batches(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    await poll(source, store)
    clock.advance(RULES.poll_every)
    source.tasks = [make_task(f"job-{n}") for n in range(95)]
    report = await poll(source, store)
    deliveries = await store.read(lambda q: q.deliveries(DeliveryFilter(limit=200)))
    single = [delivery for delivery in deliveries if not delivery.digest]
    assert (len(report.events), len(single) <= 20, len(deliveries) <= 20 + 10) == (95, True, True)


@pytest.mark.usefixtures("small_batches")
async def test_a_recording_that_lost_its_claim_stops(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [make_task(f"job-{n}") for n in range(95)]
    batches = BatchStore(store)
    transact = batches.transact

    async def overtaken(fn: Callable[[Transaction], T], *, short: bool = False) -> T:
        if len(batches.recorded) == 4:
            clock.advance(2 * RULES.lease)
            await store.transact(lambda tx: tx.polls.claim("prod", "other", clock.now(), RULES.lease, force=True))
        return await transact(fn, short=short)

    batches.transact = overtaken  # type: ignore[method-assign]  # another replica comes in between
    assert (await poll_in(batches, source)).fenced
    assert sum(batches.recorded) < 95


# ---- names ----


def elsewhere(source: FakeSource, *tasks: Task, name: str = "prod", project_id: str = "another") -> FakeSource:
    """Return a source of another name or project."""
    other = FakeSource(source.clock, *(replace(task, source=name) for task in tasks), name=name)
    other.project_id = project_id
    return other


async def test_a_renamed_source_goes_on_where_it_was(store: SqlStore, source: FakeSource, clock: FakeClock) -> None:
    source.tasks = [RUNNING, OTHER]
    await poll(source, store)
    await subscribe_to(store)
    (started,) = await show(store, source, replace(RUNNING, progress=90.0))
    clock.advance(RULES.poll_every)
    renamed = elsewhere(source, DONE, OTHER, name="production", project_id=source.project_id)
    report = await poll(renamed, store)
    assert (report.renamed_from, report.baseline) == ("prod", False)
    assert await notified(store) == [(EventType.TASK_PROGRESSED, "a"), (EventType.TASK_COMPLETED, "a")]
    assert await answers(store) == [EventType.TASK_COMPLETED]
    (state,) = await store.read(lambda q: q.sources())
    assert (state.name, state.tasks, state.running) == ("production", 2, 0)
    first, second = await store.read(lambda q: q.events(EventFilter(source="production")))
    assert second.event.id == started.events[0].id
    assert (await poll(renamed, store)).renamed_from is None
    ledger = await store.read(lambda q: q.ledger())
    assert (ledger.unaccounted, first.event.source) == ((), "production")


async def test_deliveries_of_a_renamed_source_keep_their_order(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    await show(store, source, RUNNING)
    renamed = elsewhere(source, DONE, name="production", project_id=source.project_id)
    await poll(renamed, store)
    claimed = await store.transact(lambda tx: tx.deliveries.claim_due("dba", "me", source.clock.now(), RULES.lease, 9))
    assert [event.type for delivery in claimed for event in delivery.events] == [EventType.TASK_STARTED]


async def test_a_second_source_of_the_same_list_takes_nothing_away(store: SqlStore, source: FakeSource) -> None:
    rules = replace(RULES, configured=frozenset({"prod", "twin"}))
    source.tasks = [RUNNING]
    await poll(source, store, rules)
    twin = elsewhere(source, RUNNING, name="twin", project_id=source.project_id)
    assert (await poll(twin, store, rules)).baseline
    assert [state.tasks for state in await store.read(lambda q: q.sources())] == [1, 1]


async def test_a_name_another_replica_uses_for_another_project_is_refused(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.tasks = [RUNNING]
    await poll(source, store, owner="one")
    other = elsewhere(source, FAILED)
    for _ in range(3):
        clock.advance(RULES.poll_every)
        refused = await poll(other, store, owner="two")
        assert isinstance(refused.error, SourceConflict)
        assert "one" in str(refused.error)
        assert (await poll(source, store, owner="one")).error is None
    assert await notified(store) == []
    (state,) = await store.read(lambda q: q.sources())
    assert (state.tasks, state.last_error) == (1, None)


@pytest.mark.parametrize("how", ["stopped", "gone", "same process"])
async def test_a_project_changed_in_the_configuration_is_taken_over(
    store: SqlStore, source: FakeSource, clock: FakeClock, how: str
) -> None:
    source.tasks = [RUNNING]
    await poll(source, store, owner="one")
    if how == "stopped":
        await store.transact(lambda tx: tx.replicas.release_claims("one", tx.now()))
    if how == "gone":
        clock.advance(RULES.taken_over_after)
    report = await poll(elsewhere(source, FAILED), store, owner="one" if how == "same process" else "two")
    assert (report.error, report.baseline) == (None, True)


async def test_what_is_recorded_under_no_configured_name_is_found(store: SqlStore, source: FakeSource) -> None:
    await poll(source, store)
    states = await store.read(lambda q: q.source_states())
    same, another = (source.region, source.project_id), (source.region, "another")
    configured: Sequence[Mapping[str, tuple[str, str]]] = (
        {"prod": same},
        {"prod": another},
        {"new": same},
        {"new": another},
        {},
    )
    found = [[state.name for state in removed_sources(states, places)] for places in configured]
    assert found == [[], [], [], ["prod"], ["prod"]]


async def test_tasks_of_a_source_that_is_configured_no_more_do_not_run(store: SqlStore, source: FakeSource) -> None:
    source.tasks = [RUNNING]
    await poll(source, store)

    async def running() -> tuple[int, int]:
        (state,) = await store.read(lambda q: q.sources())
        return state.running, await store.read(lambda q: q.count_tasks(TaskFilter(status=TaskStatus.RUNNING)))

    assert await running() == (1, 1)
    await store.transact(lambda tx: tx.polls.retire_sources(["prod"], tx.now()))
    assert await running() == (0, 0)
    await poll(source, store)
    assert await running() == (1, 1)


# ---- the interval ----


@pytest.mark.parametrize("hours", [0.01, 2, 3, 6, 24, 24 * 30])
async def test_a_source_is_polled_at_its_interval_however_long_that_is(
    store: SqlStore, source: FakeSource, clock: FakeClock, hours: float
) -> None:
    rules = replace(RULES, poll_every=timedelta(hours=hours))
    await poll(source, store, rules)
    at = []
    for _ in range(20):
        clock.advance(rules.poll_every / 10)
        if (await poll_once(source, store, owner="me", rules=rules, routing=ROUTING)).polled:
            at.append(clock.now())
    assert len(at) == 2
    assert at[1] - at[0] == rules.poll_every


@pytest.mark.parametrize("hours", [0.01, 2, 6, 24])
async def test_a_time_left_over_from_a_wrong_clock_is_not_waited_for(
    store: SqlStore, source: FakeSource, clock: FakeClock, hours: float
) -> None:
    rules = replace(RULES, poll_every=timedelta(hours=hours))
    clock.advance(timedelta(days=100))
    await poll(source, store, rules)
    clock.advance(-timedelta(days=100))
    assert (await poll_once(source, store, owner="other", rules=rules, routing=ROUTING)).polled


# ---- the call budget ----


async def test_between_full_scans_running_and_failed_tasks_are_scanned(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.calls = 100
    await poll(source, store)
    clock.advance(RULES.poll_every)
    source.tasks = [make_task("b", status="running")]
    assert [event.type for event in (await poll(source, store)).events] == [EventType.TASK_STARTED]
    assert source.scopes == [Scope.FULL, Scope.ACTIVE]


async def test_a_running_task_that_ended_unseen_triggers_a_full_scan(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.calls, source.tasks = 100, [RUNNING]
    await poll(source, store)
    clock.advance(RULES.poll_every)
    source.tasks = [make_task("a", status="completed")]
    assert [event.type for event in (await poll(source, store)).events] == [EventType.TASK_COMPLETED]
    assert source.scopes == [Scope.FULL, Scope.ACTIVE, Scope.FULL]


async def test_an_unlisted_task_triggers_no_further_full_scan(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    source.calls, source.tasks = 100, [RUNNING, OTHER]
    await poll(source, store)
    source.tasks = [OTHER]
    for _ in range(2):
        clock.advance(RULES.poll_every)
        await poll(source, store)
    source.scopes.clear()
    clock.advance(RULES.poll_every)
    await poll(source, store)
    assert source.scopes == [Scope.ACTIVE]


# ---- the history of an event ----


async def histories(store: SqlStore) -> dict[tuple[EventType, str], TaskHistory | None]:
    found = await store.read(lambda q: q.events(EventFilter(limit=1000)))
    return {(item.event.type, item.event.job_id): item.event.history for item in found}


async def test_a_failure_has_the_history_of_its_instance_and_operation(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    def ended(job_id: str, hours: float, minutes: float = 8, **more: Any) -> Task:
        at = T0 - timedelta(hours=hours)
        task = {"status": "completed", "instance_id": "in-1", "fail_reason": None}
        times = {"created_at": at - timedelta(minutes=minutes), "ended_at": at}
        return make_task(job_id, **(task | times | more))

    failed: dict[str, Any] = {"status": "failed"}
    before = [
        ended("ok-1", 80, 7),
        ended("ok-2", 72, 8),
        ended("old", 50, **failed),
        ended("ok-3", 49, 30),
        ended("recent", 20, instance_id="in-1", **failed, name="ResizeFlavor"),
        ended("elsewhere", 3, instance_id="in-2", **failed),
        ended("unnamed", 2, instance_id=None, instance_name="x", **failed),
    ]
    source.tasks = before
    await poll(source, store)
    clock.advance(RULES.poll_every)
    source.tasks = [
        *before,
        ended("first", 0.2, **failed),
        ended("second", 0.1, **failed),
        ended("third", 0.1, instance_id=None, instance_name="x", **failed),
        ended("done", 0.1),
    ]
    report = await poll(source, store)
    assert len(report.events) == 4
    found = await histories(store)
    # The operation failed two days ago and succeeded an hour later; "recent" was another operation.
    assert found[EventType.TASK_FAILED, "first"] == TaskHistory(failures=2, recovered_after=3_600)
    assert found[EventType.TASK_FAILED, "second"] == TaskHistory(failures=3)
    assert found[EventType.TASK_FAILED, "third"] == TaskHistory(failures=2)
    assert found[EventType.TASK_COMPLETED, "done"] is None
    await poll(source, store)
    assert await histories(store) == found  # recorded once


async def test_a_stuck_task_and_one_that_vanished_have_a_history_too(
    store: SqlStore, source: FakeSource, clock: FakeClock
) -> None:
    running = make_task("a", status="running", instance_id="in-1", progress=40.0, ended_at=None, fail_reason=None)
    source.tasks = [running, make_task("b", instance_id="in-1", ended_at=T0)]
    rules = replace(RULES, stalled_after=timedelta(minutes=5))
    await poll(source, store, rules)
    clock.advance(timedelta(minutes=6))
    await poll(source, store, rules)
    source.tasks = source.tasks[1:]
    for _ in range(2):
        clock.advance(RULES.poll_every)
        await poll(source, store, rules)
    found = await histories(store)
    expected = TaskHistory(failures=1)
    assert found == {(EventType.TASK_STALLED, "a"): expected, (EventType.TASK_UNLISTED, "a"): expected}


@pytest.mark.parametrize("poison", ["a lone surrogate \ud83d", "a byte \x00"])
async def test_what_cannot_be_stored_has_no_history_and_delays_nobody(
    store: SqlStore, source: FakeSource, poison: str
) -> None:
    await poll(source, store)
    source.tasks = [
        make_task("a", instance_id=poison),
        make_task("b", name=poison),
        make_task("c", instance_id=None, instance_name=poison),
        make_task("good", instance_id="in-1"),
    ]
    await poll(source, store)
    assert (await histories(store))[EventType.TASK_FAILED, "good"] == TaskHistory(failures=1)


async def test_nothing_is_read_of_the_history_without_a_failure(
    store: SqlStore, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the history was read")

    monkeypatch.setattr(Histories, "read", refuse)
    source.tasks = [make_task(f"job-{n}") for n in range(5)]
    await poll(source, store)  # a quiet baseline
    source.tasks = [*source.tasks, RUNNING, OTHER]
    await poll(source, store)
    assert (await poll(source, store)).changed == 0
