"""Which announcements follow from lists of planned maintenance: times on both sides of every limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from factories import T0, make_maintenance

from notifier.core.events import EventType
from notifier.core.maintenance import (
    CLOSE,
    CLOSE_EVERY,
    EMPTY_AFTER,
    KEPT,
    ListReading,
    MaintenanceDecision,
    decide_reminders,
    next_read,
    next_reminder,
)
from notifier.core.maintenance_values import (
    MaintenanceList,
    MaintenanceListState,
    MaintenanceNotice,
    MaintenanceRecord,
    MaintenanceRules,
    MaintenanceStatus,
    PlannedMaintenance,
)
from notifier.core.model import Event, SourceOrigin
from notifier.core.severity import Severity

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3_600, 86_400))
ORIGIN = SourceOrigin(source="prod", region="cn-north-4", project_id="p", environment="production")
RULES = MaintenanceRules()
ANNOUNCED, AWAITING, CHANGED, REMINDED, STARTED, ENDED, FAILED, CANCELLED = (
    kind for kind in EventType if kind.about_maintenance
)
SCHEDULED = MaintenanceStatus.SCHEDULED
INQUIRING = MaintenanceStatus.INQUIRING
EXECUTING = MaintenanceStatus.EXECUTING
COMPLETED = MaintenanceStatus.COMPLETED
CANCELED = MaintenanceStatus.CANCELED
UNKNOWN = MaintenanceStatus.UNKNOWN


class World:
    """What is recorded of one source, and the reads of its list."""

    def __init__(self, rules: MaintenanceRules = RULES) -> None:
        self.known: dict[str, MaintenanceRecord] = {}
        self.state = MaintenanceListState(name="prod")
        self.rules = rules

    def read(
        self, *rows: PlannedMaintenance, at: timedelta = timedelta(), complete: bool = True, unreadable: int = 0
    ) -> list[EventType]:
        return [event.type for event in self.decide(*rows, at=at, complete=complete, unreadable=unreadable).events]

    def decide(
        self, *rows: PlannedMaintenance, at: timedelta = timedelta(), complete: bool = True, unreadable: int = 0
    ) -> MaintenanceDecision:
        listed = MaintenanceList(planned=rows, complete=complete, unreadable=unreadable)
        now = T0 + at
        decision = ListReading(
            origin=ORIGIN, listed=listed, known=self.known, state=self.state, rules=self.rules, now=now
        ).decide()
        self.apply(decision)
        self.state = replace(self.state, read_at=now)
        return decision

    def remind(self, at: timedelta, origins: Mapping[str, SourceOrigin] | None = None) -> list[Event]:
        now = T0 + at
        due = [one for one in self.known.values() if one.due_at and one.due_at <= now]
        decision = decide_reminders(due, {"prod": ORIGIN} if origins is None else origins, self.rules, now)
        self.apply(decision)
        return list(decision.events)

    def apply(self, decision: MaintenanceDecision) -> None:
        self.known |= {one.planned.id: one for one in decision.saved}
        for id_ in decision.deleted:
            del self.known[id_]


# ---- the first read ----


@pytest.mark.parametrize(
    ("first", "announced"),
    [
        (make_maintenance(), [ANNOUNCED]),
        (make_maintenance(MaintenanceStatus.WAITING), [ANNOUNCED]),
        (make_maintenance(UNKNOWN), [ANNOUNCED]),
        (make_maintenance(INQUIRING), [AWAITING]),
        (make_maintenance(EXECUTING), [STARTED]),
        (make_maintenance(COMPLETED), []),
        (make_maintenance(CANCELED), []),
        (make_maintenance(MaintenanceStatus.FAILED), []),
        (make_maintenance(starts_at=None, ends_at=None, latest_at=None), [ANNOUNCED]),
        (make_maintenance(starts_at=T0 - DAY, ends_at=T0, latest_at=None), []),
        (make_maintenance(starts_at=T0 - DAY, ends_at=T0 + SECOND, latest_at=None), [ANNOUNCED]),
        (make_maintenance(starts_at=T0 - DAY, ends_at=T0 - HOUR, latest_at=T0 + SECOND), [ANNOUNCED]),
        (make_maintenance(starts_at=T0 - DAY, ends_at=T0 - HOUR, latest_at=T0), []),
        (make_maintenance(INQUIRING, starts_at=T0 - DAY, ends_at=T0 - HOUR, latest_at=T0 - HOUR), [AWAITING]),
    ],
)
def test_the_first_list_announces_what_lies_ahead(first: PlannedMaintenance, announced: list[EventType]) -> None:
    world = World()
    assert world.read(first) == announced
    assert world.read(first, at=5 * MINUTE) == []
    assert world.known["m-1"].planned == first


def test_rows_that_were_over_long_ago_are_not_recorded() -> None:
    world = World()
    world.read(make_maintenance(COMPLETED, updated_at=T0 - KEPT))
    assert world.known == {}
    world.read(make_maintenance(COMPLETED, updated_at=T0 - KEPT + SECOND))
    assert world.known["m-1"].over


def test_what_is_over_is_deleted_after_thirty_days() -> None:
    world, over = World(), make_maintenance(COMPLETED, updated_at=T0 - HOUR)
    world.read(over)
    world.read(over, at=KEPT - HOUR - SECOND)
    assert list(world.known) == ["m-1"]
    world.read(over, at=KEPT - HOUR)
    assert world.known == {}


def test_a_row_that_left_the_list_is_deleted_after_thirty_days() -> None:
    world = World()
    world.read(make_maintenance(COMPLETED, updated_at=None, starts_at=None, ends_at=None, latest_at=None))
    world.read(at=KEPT - SECOND)
    assert list(world.known) == ["m-1"]
    world.read(at=KEPT)
    assert world.known == {}


# ---- changes ----


@pytest.mark.parametrize(
    ("before", "after", "announced"),
    [
        (make_maintenance(INQUIRING), make_maintenance(), [ANNOUNCED]),
        (make_maintenance(), make_maintenance(INQUIRING), [AWAITING]),
        (make_maintenance(), make_maintenance(EXECUTING), [STARTED]),
        (make_maintenance(INQUIRING), make_maintenance(EXECUTING), [STARTED]),
        (make_maintenance(EXECUTING), make_maintenance(), [ANNOUNCED]),
        (make_maintenance(MaintenanceStatus.WAITING), make_maintenance(), []),
        (make_maintenance(EXECUTING), make_maintenance(COMPLETED), [ENDED]),
        (make_maintenance(EXECUTING), make_maintenance(MaintenanceStatus.FAILED), [FAILED]),
        (make_maintenance(), make_maintenance(COMPLETED), [ENDED]),
        (make_maintenance(), make_maintenance(CANCELED), [CANCELLED]),
        (make_maintenance(INQUIRING), make_maintenance(CANCELED), [CANCELLED]),
        (make_maintenance(COMPLETED), make_maintenance(COMPLETED, updated_at=T0), []),
        (make_maintenance(COMPLETED), make_maintenance(MaintenanceStatus.FAILED), [FAILED]),
        (make_maintenance(CANCELED), make_maintenance(), [ANNOUNCED]),
        (make_maintenance(), make_maintenance(UNKNOWN), []),
        (make_maintenance(EXECUTING), make_maintenance(UNKNOWN), []),
        (make_maintenance(), make_maintenance(impact="more", reason="other", level="minor", updated_at=T0), []),
        (make_maintenance(), make_maintenance(starts_at=T0 + 3 * DAY), [CHANGED]),
        (make_maintenance(), make_maintenance(ends_at=T0 + 3 * DAY), [CHANGED]),
        (make_maintenance(), make_maintenance(planned_at=T0 + 2 * DAY), [CHANGED]),
        (make_maintenance(INQUIRING), make_maintenance(INQUIRING, latest_at=T0 + 6 * DAY), [CHANGED]),
        (make_maintenance(EXECUTING), make_maintenance(EXECUTING, ends_at=T0 + 3 * DAY), []),
        (make_maintenance(), make_maintenance(starts_at=None, ends_at=None, latest_at=None), []),
        (make_maintenance(starts_at=None, ends_at=None, latest_at=None), make_maintenance(), [CHANGED]),
    ],
)
def test_a_change_is_announced(
    before: PlannedMaintenance, after: PlannedMaintenance, announced: list[EventType]
) -> None:
    world = World()
    world.read(before)
    assert world.read(after, at=5 * MINUTE) == announced
    assert world.read(after, at=10 * MINUTE) == []


def test_a_plan_keeps_the_times_and_the_status_that_a_later_row_leaves_out() -> None:
    world = World()
    world.read(make_maintenance(job_id="j"))
    world.read(
        make_maintenance(UNKNOWN, starts_at=None, ends_at=None, latest_at=None, instance_id=None, instance_name=None)
    )
    kept = world.known["m-1"].planned
    assert kept == replace(make_maintenance(job_id="j"), raw_status="UNKNOWN")


def test_a_changed_plan_says_what_it_was() -> None:
    world = World()
    world.read(make_maintenance())
    (event,) = world.decide(
        make_maintenance(starts_at=T0 + 3 * DAY, ends_at=T0 + 4 * DAY, latest_at=T0 + 9 * DAY)
    ).events
    notice = event.maintenance
    assert notice is not None
    assert (notice.former_starts_at, notice.former_ends_at) == (T0 + 2 * DAY, T0 + 2 * DAY + 4 * HOUR)
    assert (notice.former_latest_at, notice.starts_at) == (T0 + 5 * DAY, T0 + 3 * DAY)


def test_a_state_that_is_reached_again_is_announced_again() -> None:
    world = World()
    seen = [
        event.id
        for number, status in enumerate((SCHEDULED, INQUIRING, SCHEDULED, INQUIRING))
        for event in world.decide(make_maintenance(status, updated_at=T0 + number * MINUTE), at=number * MINUTE).events
    ]
    assert len(seen) == len({*seen}) == 4
    world = World()
    times = [T0 + 2 * DAY, T0 + 3 * DAY, T0 + 2 * DAY, T0 + 3 * DAY]
    moved = [
        event.id
        for number, start in enumerate(times)
        for event in world.decide(make_maintenance(starts_at=start, updated_at=None), at=number * MINUTE).events
    ]
    assert len(moved) == len({*moved}) == 4


def test_the_same_facts_have_the_same_id_on_any_machine() -> None:
    ids = {World().decide(make_maintenance(), at=at).events[0].id for at in (timedelta(), HOUR)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("found", "announced"),
    [
        (make_maintenance(COMPLETED, executed_at=T0 + SECOND), [ENDED]),
        (make_maintenance(COMPLETED, executed_at=T0), []),
        (make_maintenance(MaintenanceStatus.FAILED, updated_at=T0 + SECOND), [FAILED]),
        (make_maintenance(MaintenanceStatus.FAILED, updated_at=T0), []),
        (make_maintenance(CANCELED, updated_at=T0 + SECOND), []),
        (make_maintenance(COMPLETED, updated_at=None), []),
    ],
)
def test_what_happened_between_two_lists_is_announced(found: PlannedMaintenance, announced: list[EventType]) -> None:
    world = World()
    world.read()
    assert world.read(found, at=5 * MINUTE) == announced


# ---- rows that vanish ----


def test_a_row_is_gone_after_two_complete_lists_without_it() -> None:
    world, other = World(), make_maintenance(id="m-2")
    world.read(make_maintenance(), other)
    assert world.read(other, at=5 * MINUTE) == []
    assert world.read(other, at=10 * MINUTE, complete=False) == []
    assert world.read(other, at=15 * MINUTE) == [CANCELLED]
    assert world.known["m-1"].vanished
    assert world.known["m-1"].over
    assert world.read(other, at=20 * MINUTE) == []


def test_a_row_that_is_listed_again_in_between_is_not_gone() -> None:
    world, other = World(), make_maintenance(id="m-2")
    world.read(make_maintenance(), other)
    world.read(other, at=5 * MINUTE)
    world.read(make_maintenance(), other, at=10 * MINUTE)
    assert world.read(other, at=15 * MINUTE) == []


@pytest.mark.parametrize(("after", "announced"), [(EMPTY_AFTER - SECOND, []), (EMPTY_AFTER, [CANCELLED])])
def test_an_empty_list_counts_after_fifteen_minutes(after: timedelta, announced: list[EventType]) -> None:
    world = World()
    world.read(make_maintenance())
    assert world.read(at=MINUTE) == []
    assert world.read(at=MINUTE + after) == announced


def test_a_row_without_an_id_may_be_the_one_that_is_missing() -> None:
    world = World()
    world.read(make_maintenance())
    assert world.read(at=MINUTE, unreadable=1) == []
    assert world.read(at=2 * MINUTE, unreadable=1) == [CANCELLED]


@pytest.mark.parametrize(
    ("known", "announced"),
    [
        (make_maintenance(EXECUTING), ENDED),
        (make_maintenance(starts_at=T0 + 5 * MINUTE), CANCELLED),
        (make_maintenance(starts_at=T0 + 2 * MINUTE), ENDED),
        (make_maintenance(starts_at=None, planned_at=T0 + MINUTE), ENDED),
    ],
)
def test_what_vanishes_after_its_beginning_is_over(known: PlannedMaintenance, announced: EventType) -> None:
    world, other = World(), make_maintenance(id="m-2")
    world.read(known, other)
    world.read(other, at=MINUTE)
    (event,) = world.decide(other, at=2 * MINUTE).events
    assert event.type is announced
    assert event.maintenance is not None
    assert event.maintenance.vanished


@pytest.mark.parametrize(
    ("listed", "announced"),
    [
        (make_maintenance(), [ANNOUNCED]),
        (make_maintenance(COMPLETED), []),
        (make_maintenance(CANCELED), []),
        (make_maintenance(MaintenanceStatus.FAILED), [FAILED]),
    ],
)
def test_a_row_that_comes_back(listed: PlannedMaintenance, announced: list[EventType]) -> None:
    world, other = World(), make_maintenance(id="m-2")
    world.read(make_maintenance(), other)
    world.read(other, at=MINUTE)
    world.read(other, at=2 * MINUTE)
    assert world.read(listed, other, at=3 * MINUTE) == announced
    assert not world.known["m-1"].vanished


# ---- reminders ----


def test_people_are_reminded_a_day_and_an_hour_before() -> None:
    world = World()
    world.read(make_maintenance())
    assert world.remind(DAY - SECOND) == []
    (day,) = world.remind(DAY)
    assert (day.type, day.severity) == (REMINDED, Severity.WARNING)
    assert world.remind(2 * DAY - HOUR - SECOND) == []
    (hour,) = world.remind(2 * DAY - HOUR)
    assert day.id != hour.id
    assert world.known["m-1"].due_at is None


def test_one_reminder_follows_a_time_without_a_service() -> None:
    world = World()
    world.read(make_maintenance())
    assert len(world.remind(2 * DAY - MINUTE)) == 1
    assert world.known["m-1"].due_at is None


@pytest.mark.parametrize(("at", "sent"), [(2 * DAY - SECOND, 1), (2 * DAY, 0)])
def test_nobody_is_reminded_of_what_has_begun(at: timedelta, sent: int) -> None:
    world = World()
    world.read(make_maintenance())
    assert len(world.remind(at)) == sent
    assert world.known["m-1"].due_at is None


@pytest.mark.parametrize(
    ("begins", "due"),
    [
        (26 * HOUR, 25 * HOUR),
        (26 * HOUR + SECOND, 2 * HOUR + SECOND),
        (HOUR + 5 * MINUTE, None),
        (HOUR + 5 * MINUTE + SECOND, 5 * MINUTE + SECOND),
        (30 * MINUTE, None),
    ],
)
def test_no_reminder_follows_soon_after_an_announcement(begins: timedelta, due: timedelta | None) -> None:
    world = World()
    world.read(make_maintenance(starts_at=T0 + begins))
    assert world.known["m-1"].due_at == (None if due is None else T0 + due)


def test_a_changed_time_is_reminded_of_anew() -> None:
    world = World()
    world.read(make_maintenance())
    world.remind(2 * DAY - HOUR)
    world.read(make_maintenance(starts_at=T0 + 4 * DAY), at=2 * DAY - 30 * MINUTE)
    assert world.known["m-1"].due_at == T0 + 3 * DAY


def test_an_authorisation_is_reminded_of_before_its_deadline() -> None:
    world = World()
    world.read(make_maintenance(INQUIRING))
    assert world.known["m-1"].due_at == T0 + 4 * DAY
    world = World()
    world.read(make_maintenance(INQUIRING, latest_at=None))
    assert world.known["m-1"].due_at == T0 + DAY


@pytest.mark.parametrize("status", [EXECUTING, COMPLETED])
def test_nothing_reminds_of_what_runs_or_is_over(status: MaintenanceStatus) -> None:
    world = World()
    world.read(make_maintenance())
    world.read(make_maintenance(status), at=MINUTE)
    assert world.known["m-1"].due_at is None


def test_reminders_can_be_left_out_and_a_removed_source_has_none() -> None:
    world = World(MaintenanceRules(remind_before=()))
    world.read(make_maintenance())
    assert world.known["m-1"].due_at is None
    world = World()
    world.read(make_maintenance())
    assert world.remind(DAY, origins={}) == []
    assert world.known["m-1"].due_at == T0 + 2 * DAY - HOUR


def test_a_record_without_a_message_has_no_reminder() -> None:
    world = World()
    world.read(make_maintenance(starts_at=T0 - DAY, ends_at=T0 - HOUR, latest_at=None))
    assert next_reminder(world.known["m-1"], RULES.remind_before) is None


# ---- when to read ----


@pytest.mark.parametrize(
    ("planned", "wait"),
    [
        (make_maintenance(starts_at=T0 + CLOSE), CLOSE_EVERY),
        (make_maintenance(starts_at=T0 + CLOSE + SECOND), RULES.every),
        (make_maintenance(EXECUTING), CLOSE_EVERY),
        (make_maintenance(COMPLETED, starts_at=T0), RULES.every),
        (make_maintenance(starts_at=T0 - DAY, ends_at=T0 - CLOSE + SECOND, latest_at=None), CLOSE_EVERY),
        (make_maintenance(starts_at=T0 - DAY, ends_at=T0 - CLOSE, latest_at=None), RULES.every),
        (make_maintenance(starts_at=None, ends_at=None), RULES.every),
    ],
)
def test_a_list_is_read_more_often_around_a_window(planned: PlannedMaintenance, wait: timedelta) -> None:
    record = MaintenanceRecord(source="prod", planned=planned, first_seen_at=T0, changed_at=T0)
    assert next_read([record], RULES, T0) == T0 + wait


# ---- what a maintenance is ----


@pytest.mark.parametrize(
    ("planned", "at", "is_open"),
    [
        (make_maintenance(), T0 + 2 * DAY - SECOND, False),
        (make_maintenance(), T0 + 2 * DAY, True),
        (make_maintenance(), T0 + 2 * DAY + 4 * HOUR - SECOND, True),
        (make_maintenance(), T0 + 2 * DAY + 4 * HOUR, False),
        (make_maintenance(INQUIRING), T0 + 2 * DAY, False),
        (make_maintenance(EXECUTING), T0 + 9 * DAY, True),
        (make_maintenance(COMPLETED), T0 + 2 * DAY, False),
        (make_maintenance(ends_at=None), T0 + 2 * DAY, False),
    ],
)
def test_a_window_is_open(planned: PlannedMaintenance, at: datetime, *, is_open: bool) -> None:
    assert planned.is_open(at) is is_open


@pytest.mark.parametrize(
    ("kind", "level", "environment", "severity"),
    [
        (AWAITING, "critical", "production", Severity.CRITICAL),
        (AWAITING, "critical", "", Severity.ERROR),
        (AWAITING, "major", "production", Severity.ERROR),
        (AWAITING, "major", "staging", Severity.WARNING),
        (AWAITING, "info", "production", Severity.WARNING),
        (AWAITING, "", "", Severity.WARNING),
        (FAILED, "major", "", Severity.ERROR),
        (ANNOUNCED, "critical", "production", Severity.WARNING),
        (ANNOUNCED, "minor", "production", Severity.WARNING),
        (ANNOUNCED, "info", "production", Severity.INFO),
        (STARTED, "major", "production", Severity.WARNING),
        (ENDED, "critical", "production", Severity.INFO),
        (CANCELLED, "critical", "production", Severity.INFO),
    ],
)
def test_how_bad_an_event_is(kind: EventType, level: str, environment: str, severity: Severity) -> None:
    (event,) = World().decide(make_maintenance()).events
    notice = replace(MaintenanceNotice.of(make_maintenance()), level=level)
    assert replace(event, type=kind, environment=environment, maintenance=notice).severity is severity
