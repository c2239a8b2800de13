"""What a timeline draws: rows, counts, blind times, and the period that an address names. Pure but for two pages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import make_alert, make_gap, make_storm, make_task
from fakes import START
from hypothesis import given
from hypothesis import strategies as st
from web_site import SHANGHAI, open_site

from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.events import EventType
from notifier.core.health import FindingKind, HealthFinding, HealthReport, SourceStatus
from notifier.core.model import Event, Task, TaskStatus
from notifier.core.storms import Storm
from notifier.ports import FailedRow, RowKey, TimelineTask
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction
from notifier.web.charts.rows import MarkKind
from notifier.web.maintenance_windows import PlannedWindow
from notifier.web.pages.timeline import MAX_DAYS, period_of, view_of
from notifier.web.periods import (
    MAX_FAILED_MARKS,
    MAX_MARKS,
    MAX_NAMED_ROWS,
    MAX_SLOTS,
    BlindTime,
    Period,
    PeriodChart,
    PeriodFacts,
    RowsBy,
    blind_times,
    chart_of,
    read_period,
)

NOW = datetime(2026, 11, 28, 1, 42, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEK = Period(since=NOW - 7 * DAY, until=NOW, now=NOW, zone=SHANGHAI)
WELL = HealthReport(at=NOW)
BERLIN = ZoneInfo("Europe/Berlin")


def task(number: int, ago: timedelta, status: TaskStatus = TaskStatus.COMPLETED, **changes: Any) -> TimelineTask:
    made = TimelineTask(
        source="prod",
        job_id=f"job-{number}",
        name="Backup",
        instance_id=f"i-{number % 7}",
        instance_name=f"prod-{number % 7}",
        status=status,
        start=NOW - ago - HOUR,
        end=NOW - ago,
    )
    return made._replace(**changes)


@dataclass
class Records:
    """The reads of a timeline, over tasks in memory."""

    all: Sequence[TimelineTask] = ()
    storms_of: Sequence[Storm] = ()
    events: Sequence[Event] = ()
    stuck_jobs: Collection[tuple[str, str]] = field(default_factory=set)

    def tasks(
        self, since: datetime, until: datetime, limit: int, *, failed_only: bool = False
    ) -> Sequence[TimelineTask]:
        fitting = [one for one in self.all if one.end >= since and one.start < until]
        latest = sorted(fitting, key=lambda one: one.end, reverse=True)
        return [one for one in latest if not failed_only or one.status is TaskStatus.FAILED][:limit]

    def running(self, until: datetime, limit: int) -> Sequence[TimelineTask]:
        return [one for one in self.all if one.status is TaskStatus.RUNNING and one.start < until][:limit]

    def stuck(self, running: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        return set(running) & set(self.stuck_jobs)

    def failed_by_row(
        self, since: datetime, until: datetime, by: RowKey, slots: Sequence[datetime], limit: int
    ) -> Sequence[FailedRow]:
        found = self.tasks(since, until, limit, failed_only=True)
        by_row: dict[tuple[str, str], list[TimelineTask]] = {}
        for one in found:
            by_row.setdefault((one.source, RowsBy(by).key(one)), []).append(one)
        return [FailedRow(*row, some[0].instance_name, self._count(slots, some)) for row, some in by_row.items()]

    def _count(self, slots: Sequence[datetime], fitting: Sequence[TimelineTask]) -> Sequence[int]:
        return [sum(since <= one.end < until for one in fitting) for since, until in pairwise(slots)]

    def ended_by_source(self, slots: Sequence[datetime]) -> Mapping[str, Sequence[int]]:
        done = [one for one in self.all if not one.status.of_alarm]
        return {
            of: self._count(slots, [one for one in done if one.source == of]) for of in {one.source for one in done}
        }

    def completed_by_instance(self, ids: Collection[str], slots: Sequence[datetime]) -> Mapping[str, Sequence[int]]:
        done = [one for one in self.all if one.status is TaskStatus.COMPLETED]
        return {id_: self._count(slots, [one for one in done if one.instance_id == id_]) for id_ in ids}

    def completed_by_name(
        self, source: str, names: Collection[str], slots: Sequence[datetime]
    ) -> Mapping[str, Sequence[int]]:
        done = [one for one in self.all if one.status is TaskStatus.COMPLETED and one.source == source]
        return {name: self._count(slots, [one for one in done if one.name == name]) for name in names}

    def blind(self, since: datetime) -> Sequence[Event]:
        return [event for event in self.events if event.observed_at >= since]

    def storms(self, since: datetime, until: datetime) -> Sequence[Storm]:
        return [storm for storm in self.storms_of if storm.started_at < until and storm.updated_at >= since]


def drawn(records: Records, period: Period = WEEK) -> PeriodChart:
    return chart_of(read_period(records, records, period), period, WELL, {"prod": "cn-north-4"})


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    """Return a database of one kind: what is read is tested on both by `test_page_reads`."""
    return sqlite_url


# ---- rows ----


def test_an_empty_period_has_its_sources_and_nothing_else() -> None:
    chart = drawn(Records())
    assert [(group.source, group.lanes) for group in chart.groups] == [("prod", ())]
    assert (chart.tasks, chart.failed, chart.counted) == (0, 0, False)
    by_source = drawn(Records(), replace(WEEK, by=RowsBy.SOURCE))
    assert [lane.label for group in by_source.groups for lane in group.lanes] == ["prod"]


def test_of_a_thousand_sources_those_with_tasks_are_drawn_and_few_others() -> None:
    regions = dict.fromkeys([f"s{number:04}" for number in range(1000)], "cn-north-4")
    period = replace(WEEK, by=RowsBy.SOURCE)
    records = Records([task(1, HOUR, source="s0999"), task(2, 2 * HOUR, TaskStatus.FAILED, source="gone")])
    chart = chart_of(read_period(records, records, period), period, WELL, regions)
    names = [group.source for group in chart.groups]
    assert (len(names), names[0], names[-2:]) == (MAX_NAMED_ROWS, "s0000", ["s0999", "gone"])
    assert (chart.tasks, chart.failed, chart.quiet) == (2, 1, 1001 - MAX_NAMED_ROWS)


def test_rows_are_those_of_the_instances_in_the_order_of_their_names() -> None:
    tasks = [
        task(1, HOUR, TaskStatus.FAILED),
        task(1, 2 * HOUR, job_id="other"),
        task(2, 3 * HOUR, source="lab", instance_id=None, instance_name="named"),
        task(3, 4 * HOUR, instance_id=None, instance_name=None),
    ]
    groups = {group.source: group for group in drawn(Records(tasks)).groups}
    assert list(groups) == ["prod", "lab"]
    assert [(lane.label, lane.failed, lane.tasks) for lane in groups["prod"].lanes] == [("", 0, 1), ("prod-1", 1, 2)]
    assert [(lane.label, lane.url) for lane in groups["lab"].lanes] == [
        ("named", "/tasks?source=lab&instance=named&since=2026-11-21T01:42Z")
    ]
    assert groups["prod"].lanes[1].failed_url == f"{groups['prod'].lanes[1].url}&status=failed"
    past = drawn(Records(tasks), replace(WEEK, until=NOW - HOUR / 2))
    assert past.groups[0].lanes[0].url.endswith("&since=2026-11-21T01:42Z&until=2026-11-28T01:12Z")


def test_a_task_that_runs_is_drawn_until_now_and_a_stuck_one_says_so() -> None:
    running = [task(number, timedelta(), TaskStatus.RUNNING, start=NOW - 3 * HOUR) for number in (1, 2)]
    chart = drawn(Records(running, stuck_jobs={("prod", "job-2")}))
    marks = [mark for lane in chart.groups[0].lanes for mark in lane.row.marks]
    assert [(mark.kind, mark.about.end, mark.end) for mark in marks] == [
        (MarkKind.RUNNING, None, chart.now_x),
        (MarkKind.STUCK, None, chart.now_x),
    ]
    assert marks[0].about.url == "/tasks/prod/job-1"


def test_only_failures_are_drawn_where_only_they_are_wanted() -> None:
    tasks = [task(1, HOUR), task(2, HOUR, TaskStatus.FAILED), task(3, timedelta(), TaskStatus.RUNNING)]
    chart = drawn(Records(tasks), replace(WEEK, failed_only=True))
    assert (chart.tasks, chart.failed) == (1, 1)


def test_rows_of_operations_have_the_names_that_people_know() -> None:
    period = replace(WEEK, by=RowsBy.TYPE)
    facts = read_period(Records([task(1, HOUR)]), Records(), period)
    (group,) = chart_of(facts, period, WELL, {}, lambda name: f"<{name}>").groups
    assert [(lane.label, lane.url) for lane in group.lanes] == [
        ("<Backup>", "/tasks?source=prod&type=Backup&since=2026-11-21T01:42Z")
    ]


# ---- planned maintenance ----


def window(instance_id: str, name: str, ago: timedelta, **changes: Any) -> PlannedWindow:
    made = PlannedWindow(
        source="prod",
        instance_id=instance_id,
        instance_name=name,
        what="Maintenance",
        status="ended",
        start=NOW - ago,
        end=NOW - ago + 2 * HOUR,
    )
    return made._replace(**changes)


def with_windows(windows: Sequence[PlannedWindow], period: Period = WEEK, count: int = 1) -> PeriodChart:
    records = Records([task(n, HOUR, instance_id="i-1", instance_name="orders") for n in range(count)])
    facts = replace(read_period(records, records, period), windows=windows)
    return chart_of(facts, period, WELL, {"prod": "cn-north-4"})


def windows_by_row(chart: PeriodChart) -> dict[str, list[str]]:
    return {
        lane.label: [column.about.instance_id for column in lane.windows]
        for group in chart.groups
        for lane in group.lanes
    }


def test_windows_are_in_the_row_of_their_instance() -> None:
    """One without an id is in the rows of all instances with its name."""
    same = [window("i-1", "renamed", 5 * HOUR), window("", "orders", 9 * HOUR)]
    others = [window("i-2", "orders", 3 * HOUR), window("", "crm", 3 * HOUR), window("i-1", "", HOUR, source="lab")]
    chart = with_windows([*same, *others])
    rows = {(group.source, lane.key): len(lane.windows) for group in chart.groups for lane in group.lanes}
    assert rows == {("prod", "i-1"): 2, ("prod", "i-2"): 2, ("prod", "crm"): 1, ("lab", "i-1"): 1}
    _, column = [one for group in chart.groups for lane in group.lanes if lane.key == "i-2" for one in lane.windows]
    assert (round(column.x, 1), round(column.width, 1)) == (96.8, 1.2)
    assert (chart.tasks, chart.has_windows) == (1, True)


def test_rows_of_sources_have_all_windows_and_rows_of_operations_none() -> None:
    windows = [window("i-1", "orders", 5 * HOUR), window("i-2", "crm", 3 * HOUR)]
    assert windows_by_row(with_windows(windows, replace(WEEK, by=RowsBy.SOURCE))) == {"prod": ["i-1", "i-2"]}
    by_type = with_windows(windows, replace(WEEK, by=RowsBy.TYPE))
    assert (windows_by_row(by_type), by_type.has_windows) == ({"Backup": []}, False)
    assert [len(group.windows) for group in by_type.groups] == [2]


def test_where_tasks_are_counted_only_known_rows_have_windows() -> None:
    chart = with_windows([window("i-1", "", 5 * HOUR), window("i-2", "crm", 3 * HOUR)], count=MAX_MARKS + 1)
    assert chart.counted
    assert windows_by_row(chart) == {"orders": ["i-1"]}
    assert [len(group.windows) for group in chart.groups] == [2]


# ---- many ----


@pytest.mark.parametrize("by", RowsBy)
@pytest.mark.parametrize("failures", [0, 10, MAX_FAILED_MARKS + 1])
def test_many_tasks_are_counted_and_none_is_lost(by: RowsBy, failures: int) -> None:
    statuses = [TaskStatus.FAILED] * failures + [TaskStatus.COMPLETED] * (MAX_MARKS + 1)
    tasks = [
        task(number, timedelta(minutes=10 * number + 1), status, name=f"Name-{number % 3}")
        for number, status in enumerate(statuses)
    ]
    chart = drawn(Records(tasks), replace(WEEK, by=by))
    shown = sum(one.end >= WEEK.since for one in tasks)
    assert (chart.counted, chart.counts_failed) == (True, failures > MAX_FAILED_MARKS)
    assert (chart.tasks, chart.failed) == (shown, failures)


@pytest.mark.parametrize("by", RowsBy)
@pytest.mark.parametrize("failures", [10, MAX_FAILED_MARKS + 1])
def test_alarms_are_not_counted_as_tasks(by: RowsBy, failures: int) -> None:
    """They are on the same instances, under the name of their own source."""
    statuses = [TaskStatus.FAILED] * failures + [TaskStatus.COMPLETED] * MAX_MARKS
    tasks = [task(number, timedelta(minutes=10 * number + 1), status) for number, status in enumerate(statuses)]
    alarms = [
        task(number, timedelta(minutes=number), status, source="prod-alarms")
        for number, status in enumerate([TaskStatus.RAISED, TaskStatus.CLEARED] * 40)
    ]
    period, records = replace(WEEK, by=by), Records([*tasks, *alarms])
    chart = chart_of(read_period(records, records, period), period, WELL, {"prod": "cn-north-4", "prod-alarms": ""})
    assert (chart.counted, chart.leaves_out_alarms) == (True, True)
    assert (chart.tasks, chart.failed) == (sum(one.end >= WEEK.since for one in tasks), failures)
    assert not any(group.lanes for group in chart.groups if group.source == "prod-alarms" and by is not RowsBy.SOURCE)
    assert not drawn(Records(tasks), replace(WEEK, by=by)).leaves_out_alarms


def test_a_crowd_says_how_many_are_alarms() -> None:
    crowd = [task(0, HOUR, status) for status in [TaskStatus.RAISED] * 20 + [TaskStatus.COMPLETED] * 30]
    chart = drawn(Records([one._replace(job_id=f"j{number}") for number, one in enumerate(crowd)]))
    clusters = [one for group in chart.groups for lane in group.lanes for one in lane.row.clusters]
    drawn_singly = [mark.kind for group in chart.groups for lane in group.lanes for mark in lane.row.marks]
    assert sum(one.alarms for one in clusters) + drawn_singly.count(MarkKind.RAISED) == 20
    assert sum(one.tasks for one in clusters) + drawn_singly.count(MarkKind.COMPLETED) == 30
    assert any(one.alarms for one in clusters)


def test_a_thousand_rows_share_one_beyond_the_most_important() -> None:
    tasks = [
        task(number, timedelta(minutes=number), instance_id=f"i-{number}", instance_name=f"prod-{number:04}")
        for number in range(1_000)
    ]
    tasks += [task(5_000, HOUR, TaskStatus.FAILED, instance_id="bad", instance_name="worst")]
    chart = drawn(Records(tasks))
    (group,) = chart.groups
    assert len(group.lanes) <= MAX_NAMED_ROWS + 1
    assert "worst" in [lane.label for lane in group.lanes]
    assert [lane.rest for lane in group.lanes] == [False] * (len(group.lanes) - 1) + [True]
    assert chart.tasks == 1_001


@given(st.integers(1, MAX_DAYS), st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - given one
def test_slots_follow_one_another_and_cover_the_period(days: int, now: datetime) -> None:
    now = now.replace(second=0, microsecond=0)
    period = Period(since=now - days * DAY, until=now, now=now, zone=BERLIN)
    slots = period.slots
    assert sorted(set(slots)) == list(slots)
    assert slots[0] <= period.since
    assert slots[-1] > period.until
    assert len(slots) <= max(MAX_SLOTS + 2, 38)


def test_a_day_on_which_clocks_change_is_one_slot() -> None:
    until = datetime(2026, 10, 27, 12, tzinfo=UTC)
    period = Period(since=until - 7 * DAY, until=until, now=until, zone=BERLIN)
    lengths = {after - before for before, after in pairwise(period.slots)}
    assert lengths == {24 * HOUR, 25 * HOUR}


# ---- columns ----


def test_storms_are_columns_of_their_source() -> None:
    storm = make_storm(source="prod", started_at=NOW - DAY, updated_at=NOW - DAY + HOUR, total=8)
    chart = drawn(Records([task(1, HOUR), task(2, HOUR, source="lab")], storms_of=[storm]))
    storms = {group.source: [column.about.total for column in group.storms] for group in chart.groups}
    assert storms == {"prod": [8], "lab": []}


def test_blind_times_are_joined_and_the_last_may_go_on() -> None:
    recovered = make_alert(EventType.SOURCE_RECOVERED, since=NOW - 5 * HOUR, observed_at=NOW - 4 * HOUR)
    gap = make_gap(detail=f"{(NOW - 4.5 * HOUR).isoformat()}/{(NOW - 3 * HOUR).isoformat()}", observed_at=NOW)
    unreadable = make_gap(detail="from then to now", observed_at=NOW)
    failing = SourceStatus(
        name="lab", ok=True, last_poll_at=NOW - HOUR, limit=HOUR, failing_since=NOW - timedelta(minutes=9)
    )
    silent = SourceStatus(name="drill", ok=False, last_poll_at=NOW - HOUR, limit=HOUR)
    report = HealthReport(
        at=NOW,
        sources=(failing, silent),
        findings=(HealthFinding(kind=FindingKind.SOURCE_NOT_POLLED, about="drill", since=NOW - HOUR),),
    )
    assert list(blind_times([recovered, gap, unreadable], report, NOW)) == [
        BlindTime("drill", NOW - HOUR, None),
        BlindTime("lab", NOW - timedelta(minutes=9), None),
        BlindTime("prod", NOW - 5 * HOUR, NOW - 3 * HOUR),
    ]


# ---- what an address names ----


@pytest.mark.parametrize(
    ("query", "days", "until"),
    [
        ({}, 7, NOW),
        ({"days": "1"}, 1, NOW),
        ({"days": "0"}, 1, NOW),
        ({"days": "99999999999999999999"}, 7, NOW),
        ({"days": "-3"}, 7, NOW),
        ({"days": "٣"}, 7, NOW),
        ({"to": "2026-11-26"}, 7, datetime(2026, 11, 26, 16, tzinfo=UTC)),
        ({"to": "2026-11-20T10:00Z"}, 7, datetime(2026, 11, 20, 10, tzinfo=UTC)),
        ({"to": "2026-11-20T10:00"}, 7, datetime(2026, 11, 20, 2, tzinfo=UTC)),
        ({"to": "2999-01-01"}, 7, NOW),
        ({"to": "9999-12-31"}, 7, NOW),
        ({"to": "0001-01-01T00:00Z"}, 7, NOW),
        ({"to": "0001-01-01"}, 7, NOW),
        ({"to": "yesterday"}, 7, NOW),
    ],
)
def test_an_address_names_a_period(query: Mapping[str, str], days: int, until: datetime) -> None:
    period = period_of(query, SHANGHAI, NOW + timedelta(seconds=16))
    assert (period.until - period.since, period.until) == (timedelta(days=days), until)
    assert period.ends_now is (until == NOW)


def test_an_address_names_rows_and_failures() -> None:
    period = period_of({"by": "type", "only": "failed"}, SHANGHAI, NOW)
    assert (period.by, period.failed_only) == (RowsBy.TYPE, True)
    unknown = period_of({"by": "colour", "only": "good"}, SHANGHAI, NOW)
    assert (unknown.by, unknown.failed_only) == (RowsBy.INSTANCE, False)


def test_links_lead_to_the_periods_before_and_after() -> None:
    def links(until: datetime) -> tuple[str, str | None]:
        period = replace(WEEK, since=until - 7 * DAY, until=until)
        view = view_of(chart_of(PeriodFacts(), period, WELL, {}))
        return view.earlier, view.later

    assert links(NOW) == ("2026-11-21T01:42Z", None)
    assert links(NOW - 7 * DAY) == ("2026-11-14T01:42Z", None)
    assert links(NOW - 14 * DAY) == ("2026-11-07T01:42Z", "2026-11-21T01:42Z")


# ---- the page ----


def record(tx: Transaction, *tasks: Task) -> None:
    claim = tx.polls.claim("prod", "me", START, HOUR, poll_every=HOUR, force=True)
    assert claim
    writes = [TaskWrite(recorded=RecordedTask(task=one, occurrence="o"), fingerprint=b"1") for one in tasks]
    assert not tx.polls.record_tasks(claim, writes, START)


HOSTILE = "<script>alert('x')</script>\"&{{ 7 * 7 }}"


async def test_texts_from_outside_are_texts(store: SqlStore) -> None:
    hostile = make_task("job", name=HOSTILE, instance_name=HOSTILE, instance_id=HOSTILE)
    await store.transact(lambda tx: record(tx, hostile))
    async with open_site(store) as site:
        for by in RowsBy:
            page = (await site.get(f"/timeline?by={by}")).text
            assert "<script>alert" not in page
            assert "&lt;script&gt;alert" in page or by is RowsBy.SOURCE
            assert "{{ 7 * 7 }}" in page or by is RowsBy.SOURCE


async def test_an_empty_database_says_where_to_look(store: SqlStore) -> None:
    async with open_site(store) as site:
        page = await site.get("/timeline?days=1")
        assert (page.status_code, "No task ran in this time." in page.text) == (200, True)
        assert "这段时间没有任务" in (await site.get("/timeline", headers={"Accept-Language": "zh"})).text
