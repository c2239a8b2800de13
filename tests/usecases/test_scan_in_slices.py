"""A full scan of a long list goes on over several polls, while each of them scans the active tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from factories import T0, make_task
from fakes import FakeClock, FakeSource, snapshot_of

from notifier.core.credentials import BURST, Credential
from notifier.core.errors import SourceUnreachable
from notifier.core.events import EventType
from notifier.core.model import Scope, Snapshot, SourceState, Task
from notifier.core.polling import PollRules
from notifier.core.routing import RoutingConfig
from notifier.poll import PollReport, poll_once
from notifier.ports import reads_slices
from notifier.store.engine import SqlStore

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
RULES = PollRules(poll_every=30 * SECOND, lease=MINUTE)
"""A budget of 20 calls a minute: 20 for the first slice of a scan, then 16 a minute, 8 for each poll."""
CALLS = 45
"""Number of pages of the list: three slices after the first."""


class LongList(FakeSource):
    """A list whose pages have one row each, the newest task first."""

    def __init__(self, clock: FakeClock, tasks: Sequence[Task]) -> None:
        super().__init__(clock, *tasks)
        self.shown: set[str] | None = None
        self.slices: list[int] = []
        self.ended = 0
        self.whole_calls = 0

    @property
    def scanning(self) -> bool:
        return self.shown is not None

    async def fetch_slice(self, calls: int) -> Snapshot:
        self.scopes.append(Scope.FULL)
        if self.error is not None:
            self.drop_scan()
            raise self.error
        before = self.shown if self.shown is not None else set[str]()
        rows = [task for task in self.tasks if task.job_id not in before][:calls]
        self.slices.append(len(rows))
        self.whole_calls = len(rows) + (self.whole_calls if self.scanning else 0)
        self.shown = before | {task.job_id for task in rows}
        shown = snapshot_of(rows, self.clock.now(), complete=False, scope=Scope.ACTIVE, calls=len(rows))
        if any(task.job_id not in self.shown for task in self.tasks):
            return shown
        self.drop_scan()
        return replace(
            shown,
            scope=Scope.FULL,
            complete=self.complete,
            listed_before=before - shown.fingerprints.keys(),
            scan_calls=self.whole_calls,
        )

    async def fetch_ended(self) -> Snapshot:
        self.ended += 1
        rows = [task for task in self.tasks if task.status == "completed"][:2]
        return snapshot_of(rows, self.clock.now(), complete=False, scope=Scope.ACTIVE, calls=1)

    def drop_scan(self) -> None:
        self.shown = None

    def set(self, *tasks: Task) -> None:
        """Change tasks of the list; new ones come first."""
        changed = {task.job_id: task for task in tasks}
        known = [changed.pop(task.job_id, task) for task in self.tasks]
        self.tasks = [*changed.values(), *known]


def old(number: int) -> Task:
    return make_task(f"old {number}", status="completed", ended_at=T0 - timedelta(hours=number + 1))


@dataclass
class Polled:
    store: SqlStore
    clock: FakeClock
    source: LongList
    rules: PollRules = RULES

    async def poll(self, owner: str = "a", source: LongList | None = None) -> PollReport:
        report = await poll_once(
            source or self.source, self.store, owner=owner, rules=self.rules, routing=RoutingConfig()
        )
        self.clock.advance(self.rules.poll_every)
        return report

    async def until_whole(self) -> list[PollReport]:
        reports = [await self.poll()]
        while not reports[-1].complete:
            reports.append(await self.poll())
        return reports

    async def state(self) -> SourceState:
        (state,) = await self.store.read(lambda q: q.sources())
        return state


@pytest.fixture
async def polled(store: SqlStore, clock: FakeClock) -> Polled:
    source = LongList(clock, [old(number) for number in range(CALLS)])
    return Polled(store, clock, source)


def types(report: PollReport) -> list[EventType]:
    return [event.type for event in report.events]


async def test_a_list_that_fits_into_one_poll_is_read_as_a_whole(polled: Polled) -> None:
    polled.source.tasks = polled.source.tasks[:20]
    report = await polled.poll()
    assert reads_slices(polled.source)
    assert (report.complete, report.baseline, report.calls, polled.source.scopes) == (True, True, 20, [Scope.FULL])
    assert (await polled.state()).scanned_by is None


async def test_a_baseline_of_many_pages_takes_several_polls_and_is_quiet(polled: Polled) -> None:
    reports = await polled.until_whole()
    assert polled.source.slices == [20, 8, 8, 8, 1]
    assert [report.scope for report in reports] == [Scope.ACTIVE] * 4 + [Scope.FULL]
    assert [report.baseline for report in reports] == [False] * 4 + [True]
    assert reports[-1].listed == CALLS
    assert [event for report in reports for event in report.events if event.job_id] == []
    state = await polled.state()
    assert (state.last_full_calls, state.scanned_by) == (CALLS, None)
    assert (await polled.poll()).changed == 0


async def begin_second_scan(polled: Polled) -> None:
    """Poll until the scan after the baseline has begun."""
    await polled.until_whole()
    while not polled.source.scanning:
        await polled.poll()


async def test_active_tasks_are_found_at_the_pace_of_polls_during_a_full_scan(polled: Polled) -> None:
    await begin_second_scan(polled)
    polled.source.set(make_task("new", status="running"))
    assert types(await polled.poll()) == [EventType.TASK_STARTED]
    assert polled.source.scanning
    polled.source.set(make_task("new", status="failed"))
    assert types(await polled.poll()) == [EventType.TASK_FAILED]


async def test_what_an_active_scan_showed_later_wins_over_older_rows(polled: Polled) -> None:
    """A task is running when the full scan shows it, fails while that goes on, and the scan ends."""
    running = make_task("new", status="running")
    await polled.until_whole()
    polled.source.set(running)
    while not polled.source.scanning:
        await polled.poll()
    polled.source.set(make_task("new", status="failed"))
    reports = await polled.until_whole()
    assert [types(report) for report in reports if report.events] == [[EventType.TASK_FAILED]]
    assert reports[-1].listed == CALLS + 1
    for _ in range(3):
        assert (await polled.poll()).events == ()


async def test_a_task_that_completes_during_a_full_scan_is_found_by_the_same_poll(polled: Polled) -> None:
    await polled.until_whole()
    polled.source.set(make_task("new", status="running"))
    while not polled.source.scanning:
        await polled.poll()
    polled.source.set(make_task("new", status="completed", ended_at=polled.clock.now()))
    report = await polled.poll()
    assert types(report) == [EventType.TASK_COMPLETED]
    assert (polled.source.ended, report.calls <= 2 + 8 + 1) == (1, True)


async def test_a_completed_task_among_the_latest_takes_no_full_scan(polled: Polled) -> None:
    await polled.until_whole()
    polled.source.set(make_task("new", status="running"))
    assert types(await polled.poll()) == [EventType.TASK_STARTED]
    polled.source.set(make_task("new", status="completed", ended_at=polled.clock.now()))
    report = await polled.poll()
    assert (types(report), report.calls, report.scope) == ([EventType.TASK_COMPLETED], 3, Scope.ACTIVE)


async def test_a_completed_task_that_is_not_among_the_latest_begins_a_full_scan(polled: Polled) -> None:
    polled.source.tasks[30] = make_task("old 30", status="running")
    await polled.until_whole()
    polled.source.set(make_task("old 30", status="completed", ended_at=polled.clock.now()))
    assert types(await polled.poll()) == []
    assert polled.source.scanning
    reports = await polled.until_whole()
    assert [types(report) for report in reports if report.events] == [[EventType.TASK_COMPLETED]]


async def test_absence_counts_only_when_a_full_scan_is_complete(polled: Polled) -> None:
    polled.source.set(make_task("gone", status="running"))
    await polled.until_whole()
    polled.source.tasks = polled.source.tasks[1:]
    found: list[EventType] = []
    scans = 0
    while not found:
        report = await polled.poll()
        scans += report.complete
        found = types(report)
        assert not found or report.complete
    assert (found, scans) == ([EventType.TASK_UNLISTED], 2)


async def test_tasks_of_earlier_parts_are_not_absent(polled: Polled) -> None:
    polled.source.set(make_task("running", status="running"))
    hidden = replace(make_task("running", status="running"), raw_status="")
    await polled.until_whole()
    for _ in range(4):
        await begin_second_scan(polled)
        polled.source.set(hidden)  # no active scan shows it, and the slices that are left do not either
        assert [report.events for report in await polled.until_whole() if report.events] == []
        polled.source.set(make_task("running", status="running"))


async def test_a_restart_in_the_middle_begins_the_scan_again_and_loses_nothing(polled: Polled) -> None:
    await begin_second_scan(polled)
    polled.source.set(make_task("old 40", status="failed"))
    restarted = LongList(polled.clock, polled.source.tasks)
    again = Polled(polled.store, polled.clock, restarted)
    report = await again.poll("b")
    assert not restarted.scanning, "the other process may go on with its scan"
    assert types(report) == [EventType.TASK_FAILED]
    polled.clock.advance(RULES.scan_given_up_after)
    reports = [await again.poll("b")]
    assert restarted.slices[0] == 20
    while not reports[-1].complete:
        reports.append(await again.poll("b"))
    assert sum(restarted.slices) == CALLS


async def test_one_of_two_replicas_scans_in_full_and_both_scan_the_active_tasks(polled: Polled) -> None:
    await begin_second_scan(polled)
    other = LongList(polled.clock, polled.source.tasks)
    reports = [await polled.poll("b", other)]
    while not reports[-1].complete:
        reports.append(await (polled.poll("b", other) if len(reports) % 2 == 0 else polled.poll("a")))
    assert set(other.scopes) == {Scope.ACTIVE}
    assert (other.slices, reports[-1].listed) == ([], CALLS)


@pytest.mark.parametrize("how", ["error", "fenced", "killed"])
async def test_a_scan_whose_rows_were_not_recorded_begins_again(polled: Polled, how: str) -> None:
    await begin_second_scan(polled)
    polled.source.set(make_task("old 21", status="failed"))
    fetch_slice, source = polled.source.fetch_slice, polled.source
    if how == "error":
        source.error = SourceUnreachable("down")
    elif how == "fenced":

        async def overtaken(calls: int) -> Snapshot:
            found = await fetch_slice(calls)
            now = polled.clock.now()
            await polled.store.transact(lambda tx: tx.polls.claim("prod", "b", now + 2 * MINUTE, MINUTE, force=True))
            return found

        source.fetch_slice = overtaken  # type: ignore[method-assign]
    else:

        async def hang(calls: int) -> Snapshot:  # noqa: ARG001 - never answered
            await asyncio.Event().wait()
            raise AssertionError

        source.fetch_slice = hang  # type: ignore[method-assign]
    if how == "killed":
        task = asyncio.create_task(polled.poll())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    else:
        assert not (await polled.poll()).succeeded
    assert not source.scanning
    source.error, source.fetch_slice = None, fetch_slice  # type: ignore[method-assign]
    polled.clock.advance(RULES.scan_given_up_after + 3 * MINUTE)
    before = sum(source.slices)
    found = [await polled.poll()]
    while not found[-1].complete:
        found.append(await polled.poll())
    assert sum(source.slices) - before == CALLS
    assert [event.job_id for report in found for event in report.events if event.job_id] == ["old 21"]


async def test_parts_stay_within_the_budget(polled: Polled) -> None:
    key = Credential(key="k", calls_per_minute=20, promised_per_minute=2, version=lambda: "one")
    polled.rules = replace(RULES, credential=key)
    minutes, calls, complete = 60, 0, 0
    for _ in range(minutes * 2):
        report = await polled.poll()
        calls += report.calls
        complete += report.complete
    assert calls <= BURST + 20 * minutes
    assert complete >= 0.7 * minutes * 16 / CALLS
