"""When failures open, count, are taken charge of and end, and when their clocks are due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import T0, make_event, make_task

from notifier.core import failures
from notifier.core.escalations import Escalation, EscalationStep
from notifier.core.events import EventType
from notifier.core.failures import (
    ClockKind,
    FailureKey,
    FailureState,
    HistoryKind,
    OpenFailure,
    acknowledged,
    after_events,
    concerned_operations,
    due_after,
    renamed,
    unacknowledged,
    with_closings,
)
from notifier.core.model import ClosedFailure, Event
from notifier.core.people import Acknowledgement
from notifier.core.routing import Route, RoutedEvent, RoutingConfig
from notifier.core.severity import Severity
from notifier.core.tickets import operation_of
from notifier.core.windows import parse_window

NOW = T0 + timedelta(hours=1)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ROUTING = RoutingConfig(
    routes=(
        Route(name="failures", channels=("dba",), remind=(30 * MINUTE, HOUR), escalate="night"),
        Route(name="all", channels=("log",)),
    ),
    escalations={
        "night": Escalation(name="night", steps=(EscalationStep(after=15 * MINUTE, channels=("lead",)),)),
    },
)


def event(kind: EventType, job: str, minute: int, **changes: Any) -> Event:
    """Return an event of the one operation, that happened this many minutes after T0."""
    at = T0 + timedelta(minutes=minute)
    status = {EventType.TASK_FAILED: "failed", EventType.TASK_COMPLETED: "completed"}.get(kind, "running")
    task = make_task(job, status=status, ended_at=at if status != "running" else None)
    times = {"observed_at": at, "occurred_at": at if status != "running" else None}
    return make_event(task, type=kind, occurrence=f"{kind}@{minute}", **times | changes)


def failed(job: str, minute: int, **changes: Any) -> Event:
    return event(EventType.TASK_FAILED, job, minute, **changes)


def completed(job: str, minute: int, **changes: Any) -> Event:
    return event(EventType.TASK_COMPLETED, job, minute, **changes)


def stalled(job: str, minute: int) -> Event:
    return event(EventType.TASK_STALLED, job, minute, since=T0 + timedelta(minutes=minute - 10))


def routed(one: Event, *channels: str, routes: tuple[str, ...] = ("failures",)) -> RoutedEvent:
    return RoutedEvent(event=one, routes=routes, channels=channels or ("dba",))


class Record:
    """What is recorded of open failures, as transactions leave it."""

    def __init__(self) -> None:
        self.open: dict[FailureKey, OpenFailure] = {}
        self.closed: list[OpenFailure] = []

    def add(self, *items: RoutedEvent, told: Mapping[str, Sequence[str]] | None = None, now: datetime = NOW) -> None:
        given = {item.event.id: item.channels for item in items} if told is None else told
        self.save(*after_events(items, self.open, given, ROUTING, now))

    def save(self, *changed: OpenFailure) -> None:
        for one in changed:
            key = (one.operation, one.job_id)
            if one.over:
                self.closed.append(one)
                self.open.pop(key, None)
            else:
                self.open[key] = one

    @property
    def one(self) -> OpenFailure:
        [found] = self.open.values()
        return found


OPERATION = operation_of(failed("a", 0)) or ""


def acknowledge(one: OpenFailure, at: datetime = NOW) -> OpenFailure:
    return acknowledged(one, Acknowledgement(event_id=one.latest.id, by="U1", name="Ann", at=at))


def test_a_failure_opens_an_episode_and_further_ones_count() -> None:
    record = Record()
    record.add(routed(failed("a", 0)))
    first = record.one
    assert (first.operation, first.job_id, first.count, first.state) == (OPERATION, "", 1, FailureState.OPEN)
    assert (first.opened_at, first.told) == (T0, ("dba",))
    record.add(routed(failed("b", 20), "dba", "log"), now=NOW + HOUR)
    assert record.one.id == first.id
    assert (record.one.count, record.one.opened_at, record.one.told) == (2, T0, ("dba", "log"))
    assert record.one.latest.job_id == "b"
    assert record.one.clocks == first.clocks


def test_an_older_failure_that_is_found_late_counts_and_begins_it() -> None:
    record = Record()
    record.add(routed(failed("b", 20)))
    record.add(routed(failed("a", 0)))
    assert (record.one.latest.job_id, record.one.opened_at, record.one.count) == ("b", T0, 2)


def test_the_id_depends_on_the_first_event_alone() -> None:
    found = []
    for now in (NOW, NOW + HOUR):
        record = Record()
        record.add(routed(failed("a", 0)), now=now)
        found.append(record.one.id)
    assert found[0] == found[1] == failures.failure_id(failed("a", 0).id)


def test_a_success_closes_what_failed_before_it() -> None:
    record = Record()
    record.add(routed(failed("a", 0)), routed(failed("b", 5)))
    record.add(routed(completed("c", 3)))
    assert record.one.count == 2, "it succeeded before the latest failure"
    record.add(routed(completed("d", 9)))
    [closed] = record.closed
    assert (closed.state, closed.history[-1].kind, closed.history[-1].event_id) == (
        FailureState.RESOLVED,
        HistoryKind.RESOLVED,
        completed("d", 9).id,
    )
    assert not record.open


def test_another_operation_closes_nothing() -> None:
    record = Record()
    record.add(routed(failed("a", 0)))
    other = completed("b", 9)
    assert other.task
    record.add(routed(replace(other, task=replace(other.task, name="ResizeGaussDBV5Flavor"))))
    assert record.one.state is FailureState.OPEN


def test_a_success_says_what_it_closes_to_all_that_were_told() -> None:
    record = Record()
    record.add(routed(failed("a", 0)), routed(failed("b", 5), "dba", "tickets"))
    record.save(acknowledge(record.one))
    quiet, success = routed(completed("x", 1), "log"), routed(completed("c", 9), "log", routes=("all",))
    before, closing = with_closings([quiet, success], record.open, keeping=["tickets"])
    assert before == quiet, "it succeeded before the latest failure"
    assert closing.event.closes == ClosedFailure(
        type=EventType.TASK_FAILED, since=T0, failures=2, acknowledged_by="Ann"
    )
    assert (closing.channels, closing.solves) == (("log", "dba"), ("dba",))


def test_what_failed_in_the_same_batch_is_closed_too() -> None:
    items = [routed(failed("a", 0)), routed(failed("b", 4), "ops"), routed(completed("c", 9), "log")]
    closing = with_closings(items, {})[-1]
    assert closing.event.closes == ClosedFailure(type=EventType.TASK_FAILED, since=T0, failures=2)
    assert closing.channels == ("log", "dba", "ops")
    again = with_closings([*items, routed(completed("d", 10), "log")], {})[-1]
    assert again.event.closes is None


def test_a_failure_after_the_success_opens_another_episode() -> None:
    record = Record()
    record.add(routed(failed("a", 0)), routed(completed("b", 5)), routed(failed("c", 9)))
    assert [one.id for one in record.closed] == [failures.failure_id(failed("a", 0).id)]
    assert (record.one.count, record.one.opened_at) == (1, T0 + 9 * MINUTE)


def test_a_stalled_task_is_a_matter_of_its_own_until_it_goes_on() -> None:
    record = Record()
    record.add(routed(stalled("a", 30)))
    assert (record.one.job_id, record.one.opened_at) == ("a", T0 + 20 * MINUTE)
    record.add(routed(completed("b", 40)))
    assert record.one.job_id == "a", "another task says nothing about it"
    record.add(routed(event(EventType.TASK_PROGRESSED, "a", 50)))
    assert not record.open


def test_a_stalled_task_that_fails_leaves_the_failure_alone_open() -> None:
    record = Record()
    record.add(routed(stalled("a", 30)))
    record.add(routed(failed("a", 40)))
    assert (record.one.job_id, record.one.count, len(record.closed)) == ("", 1, 1)


def test_a_stalled_task_that_completes_says_since_when_it_was_stuck() -> None:
    record = Record()
    record.add(routed(stalled("a", 30)))
    [closing] = with_closings([routed(completed("a", 40), "log")], record.open)
    assert closing.event.closes == ClosedFailure(type=EventType.TASK_STALLED, since=T0 + 20 * MINUTE, failures=1)
    assert closing.solves == ("dba",)


def test_a_vanished_task_is_open_until_its_operation_succeeds() -> None:
    record = Record()
    record.add(routed(event(EventType.TASK_UNLISTED, "a", 10)))
    assert record.one.job_id == ""
    record.add(routed(completed("b", 40)))
    assert not record.open


def test_an_acknowledgement_stops_the_clocks_and_taking_it_back_starts_them() -> None:
    record = Record()
    record.add(routed(failed("a", 0)))
    assert record.one.due_at == NOW + 15 * MINUTE
    taken = acknowledge(record.one)
    assert (taken.state, taken.due_at) == (FailureState.ACKNOWLEDGED, None)
    assert acknowledge(taken, NOW + HOUR) == taken, "the first one counts"
    back = unacknowledged(taken, "Bob", NOW + HOUR)
    assert (back.state, back.acknowledged, back.due_at) == (FailureState.OPEN, None, NOW + HOUR)
    assert [entry.kind for entry in back.history] == [HistoryKind.ACKNOWLEDGED, HistoryKind.REOPENED]


def test_a_failure_that_is_told_opens_what_somebody_had_acknowledged() -> None:
    record = Record()
    record.add(routed(failed("a", 0)))
    record.save(acknowledge(record.one))
    record.add(routed(failed("b", 5)), told={})
    assert (record.one.state, record.one.count) == (FailureState.ACKNOWLEDGED, 2), "nobody was told of it"
    later = NOW + HOUR
    record.add(routed(failed("c", 9)), now=later)
    assert (record.one.state, record.one.acknowledged) == (FailureState.OPEN, None)
    assert record.one.due_at == later + 15 * MINUTE


def test_only_routes_that_ask_for_it_start_clocks() -> None:
    record = Record()
    record.add(routed(failed("a", 0), "log", routes=("all",)))
    assert not record.one.clocks
    record.add(routed(failed("b", 5)), now=NOW + HOUR)
    assert [(clock.kind, clock.name, clock.due_at) for clock in record.one.clocks] == [
        (ClockKind.REMIND, "failures", NOW + HOUR + 30 * MINUTE),
        (ClockKind.ESCALATE, "night", NOW + HOUR + 15 * MINUTE),
    ]


def test_the_severity_is_what_the_routes_set() -> None:
    quiet = replace(ROUTING, routes=(Route(name="failures", channels=("dba",), severity=Severity.WARNING),))
    [one] = after_events([routed(failed("a", 0))], {}, {}, quiet, NOW)
    assert (one.severity, Record().open) == (Severity.WARNING, {})
    [usual] = after_events([routed(failed("a", 0))], {}, {}, ROUTING, NOW)
    assert usual.severity is Severity.ERROR


def test_only_events_that_matter_concern_an_operation() -> None:
    started = event(EventType.TASK_STARTED, "a", 0)
    assert concerned_operations([routed(started)]) == set()
    assert concerned_operations([routed(started)], stalled=["a"]) == {OPERATION}
    for one in (failed("a", 1), completed("a", 2), stalled("a", 30)):
        assert concerned_operations([routed(one)]) == {OPERATION}


def test_a_renamed_source_keeps_its_failures() -> None:
    record = Record()
    record.add(routed(failed("a", 0)))
    moved = renamed(record.one, "production")
    again = failed("b", 9)
    assert again.task
    again = replace(again, source="production", task=replace(again.task, source="production"))
    assert moved.operation == operation_of(again) != record.one.operation
    assert moved.id == record.one.id


# ---- windows ----


WORK = parse_window("daily 09:00-18:00 UTC")
HOLIDAYS_WITHOUT_DATES = parse_window("holidays 09:00-18:00 UTC")
"""Never opens."""


@pytest.mark.parametrize(
    ("hour", "minute", "wait", "due"),
    [
        (10, 0, 15 * MINUTE, (0, 10, 15)),
        (17, 50, 15 * MINUTE, (1, 9, 5)),
        (17, 45, 15 * MINUTE, (1, 9, 0)),
        (3, 0, 15 * MINUTE, (0, 9, 15)),
        (20, 0, 10 * HOUR, (2, 10, 0)),
        (3, 0, timedelta(), (0, 9, 0)),
    ],
)
def test_a_wait_runs_in_its_window_alone(hour: int, minute: int, wait: timedelta, due: tuple[int, int, int]) -> None:
    day, due_hour, due_minute = due
    start = T0.replace(hour=hour, minute=minute)
    expected = T0.replace(hour=due_hour, minute=due_minute) + timedelta(days=day)
    assert due_after(start, wait, WORK) == expected
    assert due_after(start, wait, None) == start + wait


def test_a_window_that_never_opens_makes_nothing_due() -> None:
    assert due_after(T0, HOUR, HOLIDAYS_WITHOUT_DATES) is None
