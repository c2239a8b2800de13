"""Reports: their numbers agree with a count by hand, whatever was recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import T0, make_event, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.events import EventType
from notifier.core.maintenance_values import MaintenanceRecord, MaintenanceStatus, PlannedMaintenance
from notifier.core.matchers import parse_matcher
from notifier.core.model import Event, SourceOrigin, Task
from notifier.core.report_values import MAX_LISTED, Report, ReportCounts
from notifier.core.reports import (
    LastSuccess,
    ReportFacts,
    ReportRules,
    ReportScope,
    bars_of,
    make_report,
    overdue_backups,
)
from notifier.core.usual import Run, Runs

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SHANGHAI = ZoneInfo("Asia/Shanghai")
ORIGINS = {
    name: SourceOrigin(source=name, region="r", project_id="p", environment=environment)
    for name, environment in (("prod", "production"), ("lab", "staging"))
}
WEEKLY = ReportRules(name="weekly", zone=SHANGHAI, channels=("dba",))
NAMES = ("BackupSnapshotGaussDBV5InInstance", "ResizeGaussDBV5Flavor", "CreateGaussDBV5Instance")
ENDS = (EventType.TASK_COMPLETED, EventType.TASK_FAILED, EventType.TASK_UNLISTED, EventType.TASK_STARTED)


def ended(number: int, kind: EventType, at: datetime, *, source: str = "prod", **task: object) -> Event:
    values = {"status": "completed" if kind is EventType.TASK_COMPLETED else "failed", "created_at": at - HOUR}
    found = make_task(f"job-{number}", source=source, ended_at=at, **values | task)
    environment = ORIGINS[source].environment
    return make_event(found, type=kind, source=source, observed_at=at, environment=environment, occurrence=str(number))


def report(
    *events: Event, rules: ReportRules = WEEKLY, since: datetime = T0, until: datetime = T0 + 7 * DAY, **facts: object
) -> Report:
    return make_report(rules, since, until, ReportFacts(events=events, **facts), ORIGINS)  # type: ignore[arg-type]  # the fields of the value


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(ENDS),
        st.integers(-8 * 24 * 60, 8 * 24 * 60),
        st.sampled_from(["prod", "lab"]),
        st.sampled_from(NAMES),
        st.sampled_from(["prod-a", "prod-b", "lab-1"]),
    ),
    max_size=60,
)


@given(
    made=EVENTS,
    hours=st.sampled_from([1, 24, 7 * 24, 30 * 24]),
    sources=st.sampled_from([(), ("prod",), ("lab", "prod")]),
    match=st.sampled_from([(), ("instance=prod-*",), ("operation=backup", "environment=production")]),
)
def test_the_numbers_are_those_of_a_count_by_hand(
    made: list[tuple[EventType, int, str, str, str]], hours: int, sources: tuple[str, ...], match: tuple[str, ...]
) -> None:
    length = timedelta(hours=hours)
    events = [
        ended(n, kind, T0 + timedelta(minutes=minute), source=source, name=name, instance_name=instance)
        for n, (kind, minute, source, name, instance) in enumerate(made)
    ]
    scope = ReportScope(sources=frozenset(sources), match=tuple(map(parse_matcher, match)))
    rules = ReportRules(name="x", zone=SHANGHAI, channels=("dba",), scope=scope)
    found = report(*events, rules=rules, until=T0 + length, first_at=T0 - length)

    def by_hand(kind: EventType, since: datetime, until: datetime, operation: str | None = None) -> int:
        number = 0
        for its, minute, source, name, instance in made:
            at = T0 + timedelta(minutes=minute)
            wanted = its is kind and since <= at < until and (not sources or source in sources)
            if "instance=prod-*" in match:
                wanted = wanted and instance.startswith("prod-")
            if "operation=backup" in match:
                wanted = wanted and name.startswith("Backup") and source == "prod"
            number += wanted and operation in (None, name)
        return number

    for counts, since in ((found.counts, T0), (found.before, T0 - length)):
        assert counts == ReportCounts(
            completed=by_hand(EventType.TASK_COMPLETED, since, since + length),
            failed=by_hand(EventType.TASK_FAILED, since, since + length),
            unlisted=by_hand(EventType.TASK_UNLISTED, since, since + length),
        )
    assert {(one.name, one.completed, one.failed) for one in found.operations} == {
        (name, completed, failed)
        for name in NAMES
        for completed in [by_hand(EventType.TASK_COMPLETED, T0, T0 + length, name)]
        for failed in [by_hand(EventType.TASK_FAILED, T0, T0 + length, name)]
        if completed or failed
    }
    assert sum(bar.failed for bar in found.bars) == found.counts.failed
    assert [bar.start for bar in found.bars] == [T0, *(bar.end for bar in found.bars[:-1])]
    assert found.bars[-1].end == T0 + length
    assert len(found.bars) <= 15


def test_the_period_before_is_left_out_where_it_was_not_recorded_whole() -> None:
    assert report(first_at=T0 - 7 * DAY).before == ReportCounts()
    assert report(first_at=T0 - 7 * DAY + timedelta(seconds=1)).before is None
    assert report().before is None


@pytest.mark.parametrize(
    ("zone", "since", "length", "starts"),
    [
        ("UTC", "2026-01-15T09:00", DAY, ["09", "12", "15", "18", "21", "00", "03", "06"]),
        ("Asia/Shanghai", "2026-01-15T01:00", 3 * DAY, ["15", "16", "17", "18"]),
        ("Europe/Berlin", "2026-03-28T11:00", 2 * DAY, ["28", "29", "30"]),
    ],
)
def test_bars_are_days_of_the_zone_or_parts_of_one(zone: str, since: str, length: timedelta, starts: list[str]) -> None:
    begin = datetime.fromisoformat(since).replace(tzinfo=UTC)
    bars = bars_of([], begin, begin + length, ZoneInfo(zone))
    style = "%H" if length <= DAY else "%d"
    assert [bar.start.astimezone(ZoneInfo(zone)).strftime(style) for bar in bars] == starts
    assert all(one.end == other.start for one, other in pairwise(bars))


def test_slow_tasks_are_those_that_took_longer_than_usual() -> None:
    slow = ended(1, EventType.TASK_COMPLETED, T0 + DAY, name=NAMES[1], created_at=T0 + DAY - 3 * HOUR)
    fine = ended(2, EventType.TASK_COMPLETED, T0 + DAY, name=NAMES[1], created_at=T0 + DAY - HOUR)
    other = ended(3, EventType.TASK_COMPLETED, T0 + DAY, name=NAMES[2], created_at=T0 + DAY - 9 * HOUR)
    (found,) = report(slow, fine, other, runs={("prod", NAMES[1]): Runs(of_source=[Run(3600.0, 0)] * 9)}).slowest
    assert (found.job_id, found.seconds, found.usual_seconds) == ("job-1", 3 * 3600.0, 3600.0)


def running(job: str, hours: int) -> Task:
    return make_task(job, status="running", ended_at=None, created_at=T0 - hours * HOUR, source="prod")


def test_running_tasks_are_listed_the_longest_first() -> None:
    found = report(running=[running("a", 1), running("b", 5), make_task("c", source="gone", status="running")])
    assert ([one.job_id for one in found.running], found.running_total) == (["b", "a"], 2)


def success(instance: str, kind: str, hours: float | None, source: str = "prod") -> LastSuccess:
    at = None if hours is None else T0 - timedelta(hours=hours)
    return LastSuccess(source=source, instance_id=f"id-{instance}", instance_name=instance, name=kind, at=at)


BACKUP, CREATE, DELETE = NAMES[0], NAMES[2], "DeleteGaussDBV5Instance"


def test_instances_without_a_recent_backup_are_named() -> None:
    successes = [
        success("fresh", BACKUP, 25),
        success("old", BACKUP, 27),
        success("older", BACKUP, 300),
        success("never", CREATE, 500),
        success("failing", BACKUP, None),
        success("unmade", CREATE, None),
        success("unmade", "CloneGaussDBV5NewInstance", None),
        success("deleted", BACKUP, 300),
        success("deleted", DELETE, 100),
        success("again", BACKUP, 300),
        success("again", DELETE, 200),
        success("again", CREATE, 100),
        success("elsewhere", BACKUP, 300, source="gone"),
    ]
    found = overdue_backups(successes, WEEKLY, T0, ORIGINS)
    assert [one.instance for one in found] == ["failing", "never", "again", "older", "old"]
    scope = ReportScope(match=(parse_matcher("instance=old*"), parse_matcher("operation=restore")))
    rules = ReportRules(name="x", zone=SHANGHAI, channels=(), scope=scope, backup_after=2 * DAY)
    assert [one.instance for one in overdue_backups(successes, rules, T0, ORIGINS)] == ["older"]


# ---- maintenance ----


def planned(id_: str, source: str = "prod", **changes: Any) -> MaintenanceRecord:
    begins = T0 + timedelta(days=2)
    known = PlannedMaintenance(
        id=id_, name="RESTART_NODE", status=MaintenanceStatus.SCHEDULED, instance_name="orders", starts_at=begins
    )
    return MaintenanceRecord(source=source, planned=replace(known, **changes), first_seen_at=T0, changed_at=T0)


def test_a_report_lists_the_maintenance_that_lies_ahead() -> None:
    found = [planned("1"), planned("2", status=MaintenanceStatus.COMPLETED), planned("3", source="unknown")]
    shown = report(maintenance=found)
    assert [(one.instance, one.status) for one in shown.maintenance] == [("orders", MaintenanceStatus.SCHEDULED)]
    assert shown.maintenance_total == 1
    many = report(maintenance=[planned(str(number)) for number in range(MAX_LISTED + 2)])
    assert (len(many.maintenance), many.maintenance_total) == (MAX_LISTED, MAX_LISTED + 2)
