"""What needs somebody: what is shown of it, how it is counted, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import USUAL, make_event, make_missing, make_storm, make_task
from web_site import SHANGHAI

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.failures import FailureState, HistoryEntry, HistoryKind, OpenFailure, failure_id
from notifier.core.health import FindingKind, HealthFinding, HealthReport, SourceStatus
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.model import Event
from notifier.core.people import Acknowledgement
from notifier.core.severity import Severity
from notifier.core.storms import Storm
from notifier.core.tickets import Ticket, TicketState, operation_of
from notifier.ports import NeedingFailure, RunningTask, ToldChannel
from notifier.web.needs import (
    MAX_SHOWN_REASON,
    SHOWN_FAILURES,
    SHOWN_FINDINGS,
    FailureStreak,
    NeedKind,
    Needs,
    count_needs,
    failure_need,
    read_needs,
    resolved_failure,
    streak_of,
    told_rows,
)
from notifier.web.pages.now import health_lines, running_rows, verdict_of
from notifier.wording.causes import builtin_catalogue
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer

NOW = datetime(2026, 11, 28, 1, 42, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ENGLISH = Localizer(language="en", timezone=SHANGHAI)
FORMATTER = EventFormatter(localizer=ENGLISH, causes=builtin_catalogue())
EXPECTED = Expected(
    sources=[ConfiguredSource(name="prod", region="cn-north-4", project_id="p", poll_every=MINUTE)], channels=["dba"]
)


def opened(event: Event, **changes: Any) -> OpenFailure:
    values: dict[str, Any] = {
        "id": failure_id(event.id),
        "operation": operation_of(event),
        "first_event_id": event.id,
        "latest": event,
        "opened_at": event.occurred_at or event.observed_at,
        "severity": Severity.ERROR,
        "changed_at": NOW,
    }
    return OpenFailure(**values | changes)


def failed(job_id: str = "job", at: datetime = NOW - HOUR, **changes: Any) -> Event:
    return make_event(make_task(job_id, created_at=at - 5 * MINUTE, ended_at=at, **changes), observed_at=at)


@dataclass
class Records:
    """The reads of what needs somebody, over failures in memory."""

    open: Sequence[OpenFailure] = ()
    acknowledged: Sequence[OpenFailure] = ()
    storm_of: Mapping[str, str] = field(default_factory=dict)
    """Id of the storm by id of the failure."""
    known_storms: Sequence[Storm] = ()

    @property
    def now_page(self) -> Records:
        return self

    def needing(self) -> Sequence[NeedingFailure]:
        return [NeedingFailure(one.id, one.job_id, self.storm_of.get(one.id)) for one in self.open]

    def failures(self, ids: Collection[str]) -> Sequence[OpenFailure]:
        return [one for one in self.open if one.id in ids]

    def taken(self, limit: int) -> Sequence[OpenFailure]:
        return self.acknowledged[:limit]

    def last_resolved(self) -> OpenFailure | None:
        return None

    def told(self, event_ids: Collection[str]) -> Mapping[str, Sequence[ToldChannel]]:
        return {id_: [ToldChannel("dba", "d", DeliveryState.DELIVERED, held=False)] for id_ in event_ids}

    def tickets(self, operations: Collection[str]) -> Mapping[str, Sequence[Ticket]]:
        return dict.fromkeys(operations, ())

    def last_successes(self, event_ids: Collection[str], since: datetime) -> Mapping[str, datetime]:
        return dict.fromkeys(event_ids, max(since, NOW - 2 * DAY))

    def storms(self, ids: Collection[str]) -> Mapping[str, Storm]:
        return {one.id: one for one in self.known_storms if one.id in ids}


def needs_of(records: Records, *findings: HealthFinding) -> Needs:
    report = HealthReport(at=NOW, findings=findings)
    return read_needs(records, len(records.open), report, expected=EXPECTED, formatter=FORMATTER)


# ---- one failure ----


def test_a_failure_comes_with_its_reason_what_it_means_and_what_to_do() -> None:
    event = failed(fail_reason="The storage quota is exceeded. Error code: EVS.1042.")
    need = failure_need(opened(event), FORMATTER, (), (), NOW - DAY)
    assert need.reason == "The storage quota is exceeded. Error code: EVS.1042."
    assert need.meaning
    assert need.advice
    assert (need.names.operation, need.names.instance) == ("Instance creation", "gauss-6568-zzh")
    assert need.names.url == "/tasks/prod/job"
    assert need.mute_url == "/mutes?instance=gauss-6568-zzh"
    assert (need.kind, need.streak, need.last_success) == (NeedKind.FAILED, None, NOW - DAY)


def test_a_failure_without_a_reason_says_that_there_is_none() -> None:
    need = failure_need(opened(failed(fail_reason=None)), FORMATTER, (), (), None)
    assert (need.reason, bool(need.no_reason)) == ("", True)


def test_a_very_long_reason_ends_with_an_ellipsis() -> None:
    need = failure_need(opened(failed(fail_reason="x" * 2_000)), FORMATTER, (), (), None)
    assert len(need.reason) == MAX_SHOWN_REASON + 2
    assert need.reason.endswith("x …")


def test_a_stuck_task_says_how_long_such_tasks_take() -> None:
    task = make_task("job", status="running", created_at=NOW - 2 * HOUR)
    event = make_event(task, type=EventType.TASK_STALLED, since=NOW - HOUR, usual=USUAL)
    need = failure_need(opened(event, job_id="job"), FORMATTER, (), (), NOW)
    assert (need.kind, need.progress, need.still_since) == (NeedKind.STUCK, 60.0, NOW - HOUR)
    assert need.usual == (timedelta(minutes=8), timedelta(minutes=10))
    assert (need.began, need.last_success) == (NOW - 2 * HOUR, None)


def test_a_missing_run_leads_to_its_page_and_to_the_runs_of_its_operation() -> None:
    missing = make_missing()
    need = failure_need(opened(missing), FORMATTER, (), (), None)
    assert need.kind is NeedKind.MISSING
    assert need.names.url == f"/missing/{missing.id}"
    assert need.history_url.startswith("/tasks?source=prod&instance=")
    assert len(need.notes) == 2


@pytest.mark.parametrize(
    ("first", "last", "count", "expected"),
    [
        ("2026-11-26T18:10", "2026-11-27T18:10", 2, FailureStreak(days=2, nights=True)),
        ("2026-11-25T18:10", "2026-11-27T18:10", 3, FailureStreak(days=3, nights=True)),
        ("2026-11-26T03:10", "2026-11-27T03:10", 2, FailureStreak(days=2, nights=False)),
        ("2026-11-26T18:10", "2026-11-27T18:10", 5, None),
        ("2026-11-27T18:10", "2026-11-27T18:20", 2, None),
        ("2026-11-27T18:10", "2026-11-27T18:10", 1, None),
    ],
)
def test_failures_on_days_in_a_row(first: str, last: str, count: int, expected: FailureStreak | None) -> None:
    """In Shanghai 18:10 UTC is ten past two at night, and 03:10 UTC is before noon."""
    start, end = (datetime.fromisoformat(at).replace(tzinfo=UTC) for at in (first, last))
    assert streak_of(opened(failed(at=end), opened_at=start, count=count), FORMATTER) == expected


def test_nights_are_counted_by_the_readers_calendar_when_clocks_change() -> None:
    berlin = replace(FORMATTER, localizer=Localizer(language="en", timezone=ZoneInfo("Europe/Berlin")))
    before, after = datetime(2026, 10, 24, 0, 10, tzinfo=UTC), datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    one = opened(failed(at=after), opened_at=before, count=2)
    assert streak_of(one, berlin) == FailureStreak(days=2, nights=True)


def test_channels_that_were_told_come_first_with_their_tickets() -> None:
    told = [
        ToldChannel("night", "d1", DeliveryState.SUPPRESSED, held=False),
        ToldChannel("tickets", "d2", DeliveryState.PARKED, held=False),
        ToldChannel("dba", "d3", DeliveryState.DELIVERED, held=False),
    ]
    ticket = Ticket(
        channel="tickets", operation="o", state=TicketState.OPEN, label="OPS-1", url="https://jira.example/OPS-1"
    )
    assert [(row.name, row.state, row.ref, row.url) for row in told_rows(told, [ticket])] == [
        ("dba", "delivered", None, "/deliveries?channel=dba&state=delivered"),
        ("tickets", "parked", "OPS-1", "https://jira.example/OPS-1"),
        ("night", "suppressed", None, "/deliveries?channel=night&state=suppressed"),
    ]
    hostile = replace(ticket, url="javascript:alert(1)")
    assert [row.url for row in told_rows(told, [hostile]) if row.name == "tickets"] == [None]


@pytest.mark.parametrize(
    ("entry", "by", "succeeded"),
    [
        (HistoryEntry(at=NOW, kind=HistoryKind.RESOLVED, event_id="e"), "", True),
        (HistoryEntry(at=NOW, kind=HistoryKind.RESOLVED, name="Li Wei"), "Li Wei", False),
        (HistoryEntry(at=NOW, kind=HistoryKind.RESOLVED), "", False),
    ],
)
def test_the_last_failure_says_how_it_ended(entry: HistoryEntry, by: str, *, succeeded: bool) -> None:
    over = opened(failed(), state=FailureState.RESOLVED, history=(entry,))
    shown = resolved_failure(over, FORMATTER)
    assert (shown.resolved_by, shown.succeeded, shown.acknowledged_by) == (by, succeeded, "")


# ---- all of them ----


def test_the_latest_failure_comes_first_and_what_may_still_succeed_last() -> None:
    stuck = make_event(make_task("stuck", status="running"), type=EventType.TASK_STALLED, since=NOW - MINUTE)
    found = [opened(failed("old", NOW - 9 * HOUR)), opened(stuck, job_id="stuck"), opened(failed("new", NOW - HOUR))]
    needs = needs_of(Records(open=found))
    assert [need.names.url.rpartition("/")[2] for need in needs.failures] == ["new", "old", "stuck"]
    assert (needs.total, needs.failed, needs.stuck, needs.hidden) == (3, 2, 1, 0)


def test_failures_of_a_storm_are_one_need_and_are_counted_one_by_one() -> None:
    storm = make_storm(id="s")
    found = [opened(failed(f"job-{number}")) for number in range(300)]
    alone = opened(failed("alone"))
    records = Records(open=[*found, alone], storm_of={one.id: "s" for one in found}, known_storms=[storm])
    needs = needs_of(records)
    assert [(one.open, one.total, one.instances) for one in needs.storms] == [(300, 300, 2)]
    assert [need.event_id for need in needs.failures] == [alone.latest.id]
    assert (needs.total, needs.failed, needs.hidden) == (301, 301, 0)


def test_of_a_thousand_failures_the_first_are_shown_and_the_others_counted() -> None:
    needs = needs_of(Records(open=[opened(failed(f"job-{number}")) for number in range(1_000)]))
    assert (len(needs.failures), needs.hidden, needs.total) == (SHOWN_FAILURES, 1_000 - SHOWN_FAILURES, 1_000)


def test_who_takes_care_is_shown_with_what_was_acknowledged() -> None:
    taken = Acknowledgement(event_id="e", by="U1", name="Chen\nJing", at=NOW)
    records = Records(acknowledged=[opened(failed(), state=FailureState.ACKNOWLEDGED, acknowledged=taken)])
    needs = needs_of(records)
    assert (needs.total, [(one.by, one.since) for one in needs.taken]) == (0, [("Chen Jing", NOW)])


PARKED = HealthFinding(kind=FindingKind.CHANNEL_PARKED, about="mail", since=NOW - HOUR, count=4, reason="HTTP 401")
DEAD = HealthFinding(kind=FindingKind.CHANNEL_DEAD, about="mail", since=NOW - DAY, count=2, reason="gone")
BLIND = HealthFinding(kind=FindingKind.SOURCE_NOT_POLLED, about="prod", since=NOW - HOUR, reason="HTTP 401")
REMOVED = HealthFinding(kind=FindingKind.SOURCE_REMOVED, about="lab")


def test_a_channel_is_one_need_whatever_is_wrong_with_it() -> None:
    needs = needs_of(Records(), PARKED, DEAD, BLIND, REMOVED)
    assert [(one.kind, one.about, one.count, one.dead) for one in needs.findings] == [
        (FindingKind.CHANNEL_PARKED, "mail", 4, 2),
        (FindingKind.SOURCE_NOT_POLLED, "prod", 0, 0),
    ]
    assert needs.findings[1].region == "cn-north-4"
    assert needs.total == count_needs(0, HealthReport(at=NOW, findings=(PARKED, DEAD, BLIND, REMOVED))) == 2


# ---- the verdict ----


@pytest.mark.parametrize(
    ("records", "findings", "tone"),
    [
        (Records(), (), "calm"),
        (Records(), (REMOVED,), "calm"),
        (Records(), (DEAD,), "amber"),
        (Records(), (BLIND,), "red"),
        (Records(open=[opened(failed())]), (), "red"),
        (Records(open=[opened(make_missing())]), (), "red"),
    ],
)
def test_the_verdict_is_red_only_where_something_failed_or_nobody_looks(
    records: Records, findings: Sequence[HealthFinding], tone: str
) -> None:
    report = HealthReport(at=NOW, findings=tuple(findings))
    verdict = verdict_of(needs_of(records, *findings), report, running=3, failed_at=None)
    assert (verdict.tone, verdict.needs) == (tone, len(records.open) + sum(one.red for one in findings))
    assert sum(count for _, count in verdict.counts) == verdict.needs


def test_the_verdict_names_what_is_blind_and_since_when() -> None:
    status = SourceStatus(name="prod", ok=False, last_poll_at=NOW - HOUR, limit=HOUR)
    report = HealthReport(at=NOW, sources=(status,), findings=(BLIND,))
    verdict = verdict_of(needs_of(Records(), BLIND), report, running=0, failed_at=None)
    assert (verdict.blind, verdict.all_blind, verdict.blind_since) == (("prod",), True, NOW - HOUR)
    assert verdict.looked_at == NOW - HOUR
    two = replace(report, sources=(status, replace(status, name="lab", last_poll_at=None)))
    verdict = verdict_of(needs_of(Records(), BLIND), two, running=0, failed_at=None)
    assert (verdict.all_blind, verdict.looked_at) == (False, None)


# ---- what runs, and what is well ----


def running(job_id: str, ago: timedelta, **changes: Any) -> RunningTask:
    values: dict[str, Any] = {
        "task": make_task(
            job_id, status="running", created_at=NOW - ago, progress=None, source=changes.pop("source", "prod")
        ),
        "since": NOW - ago,
        "changed_at": NOW - MINUTE,
        "listed": True,
        "newest": EventType.TASK_STARTED,
        "usual": USUAL,
    }
    return RunningTask(**values | changes)


def test_running_tasks_are_in_the_order_in_which_they_end() -> None:
    found = [
        running("unknown", MINUTE, usual=None),
        running("late", MINUTE),
        running("soon", 7 * MINUTE),
        running("stuck", HOUR, newest=EventType.TASK_STALLED),
        running("blind", MINUTE, source="lab"),
    ]
    rows = running_rows(found, {"lab"}, NOW, ENGLISH)
    assert [row.names.url.rpartition("/")[2] for row in rows] == ["soon", "late", "stuck", "blind", "unknown"]
    assert [bool(row.left) for row in rows] == [True, True, False, False, False]
    assert [row.stuck for row in rows] == [False, False, True, False, False]


def test_what_is_well_is_one_line_and_each_fault_a_line_of_its_own() -> None:
    names = ["a", "b", "c", "d", "e"]
    sources = [SourceStatus(name=name, ok=name != "e", last_poll_at=NOW, limit=HOUR) for name in names]
    lines = health_lines(HealthReport(at=NOW, sources=tuple(sources)), {})
    assert [(line.state, line.names, line.more, line.bad) for line in lines] == [
        ("failing", ("e",), 0, True),
        ("polled", ("a", "b", "c"), 1, False),
    ]


def test_a_thousand_sources_that_fail_do_not_make_the_page_endless() -> None:
    names = [f"s{number:03}" for number in range(100)]
    sources = [SourceStatus(name=name, ok=False, last_poll_at=NOW, limit=HOUR) for name in names]
    lines = health_lines(HealthReport(at=NOW, sources=tuple(sources)), {})
    assert len(lines) == SHOWN_FINDINGS + 1
    assert (lines[-1].names, lines[-1].more, lines[-1].bad) == (("s015", "s016", "s017"), 82, True)
    needs = needs_of(Records(), *(replace(BLIND, about=name) for name in names), PARKED)
    assert [one.about for one in needs.first_findings] == names[:SHOWN_FINDINGS]
    assert [one.about for one in needs.last_findings] == ["mail"]
    assert (needs.total, needs.hidden_findings) == (101, 85)
