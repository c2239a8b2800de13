"""The decision that everything else hangs on: what changed between two polls."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from factories import T0, make_task
from fakes import snapshot_of
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.diff import DiffRules, RecordedTask, changed_ids, compare, diff, occurrence_of
from notifier.core.events import EventType
from notifier.core.model import Scope, Task, TaskStatus, event_id

RULES = DiffRules(observed_at=T0)
RUNNING, FAILED, COMPLETED = (make_task(status=status) for status in ("running", "failed", "completed"))
PENDING = make_task(status="unknown", raw_status="Pending")
CANCELED = make_task(status="unknown", raw_status="Canceled")


def recorded(task: Task, **changes: object) -> RecordedTask:
    return replace(RecordedTask(task=task, occurrence=occurrence_of(task, "")), **changes)  # type: ignore[arg-type] # test values


@pytest.mark.parametrize(
    ("before", "after", "type_"),
    [
        (None, RUNNING, EventType.TASK_STARTED),
        (None, FAILED, EventType.TASK_FAILED),
        (None, COMPLETED, EventType.TASK_COMPLETED),
        (None, PENDING, EventType.TASK_CHANGED),
        (PENDING, RUNNING, EventType.TASK_STARTED),
        (PENDING, CANCELED, EventType.TASK_CHANGED),
        (RUNNING, COMPLETED, EventType.TASK_COMPLETED),
        (RUNNING, FAILED, EventType.TASK_FAILED),
        (RUNNING, CANCELED, EventType.TASK_CHANGED),
        (FAILED, RUNNING, EventType.TASK_RESTARTED),
        (COMPLETED, RUNNING, EventType.TASK_RESTARTED),
        (FAILED, COMPLETED, EventType.TASK_COMPLETED),
        (FAILED, replace(FAILED, ended_at=T0), EventType.TASK_FAILED),
    ],
)
def test_a_change_of_state_is_one_transition(before: Task | None, after: Task, type_: EventType) -> None:
    _, (found,) = compare(recorded(before) if before else None, after, RULES)
    assert (found.type, found.before, found.after) == (type_, before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (FAILED, replace(FAILED, fail_reason="the same in Chinese")),
        (FAILED, replace(FAILED, instance_status="deleted", instance_name="renamed")),
        (replace(FAILED, ended_at=None), FAILED),
        (RUNNING, replace(RUNNING, progress=70.0)),
        (RUNNING, replace(RUNNING, progress=None)),
        (RUNNING, replace(RUNNING, raw_status="RUNNING")),
    ],
)
def test_what_is_no_change_of_state_is_recorded_quietly(before: Task, after: Task) -> None:
    row, transitions = compare(recorded(before), after, RULES)
    assert transitions == ()
    assert row
    assert (row.task, row.occurrence) == (after, recorded(before).occurrence)


def test_an_end_that_a_row_leaves_out_is_kept() -> None:
    """Else a second failure, told after such a row, would pass for the first."""
    row, transitions = compare(recorded(FAILED), replace(FAILED, ended_at=None), RULES)
    assert (row, transitions) == (recorded(FAILED), ())
    _, (again,) = compare(row, replace(FAILED, ended_at=T0), RULES)
    assert again.type is EventType.TASK_FAILED


@pytest.mark.parametrize(
    ("before", "after", "step", "crossed"),
    [
        (None, 30.0, 25, "25"),
        (10.0, 80.0, 25, "75"),
        (25.0, 49.9, 25, None),
        (60.0, 50.0, 25, None),
        (90.0, 100.0, 25, None),
        (10.0, 80.0, 0, None),
        (4.0, 5.0, 5, "5"),
    ],
)
def test_each_step_of_progress_is_notified_once(
    before: float | None, after: float, step: int, crossed: str | None
) -> None:
    was = recorded(replace(RUNNING, progress=before))
    _, transitions = compare(was, replace(RUNNING, progress=after), replace(RULES, progress_step=step))
    assert [t.occurrence.partition("|")[0] for t in transitions] == ([f"progress:{crossed}"] if crossed else [])


def test_a_baseline_is_quiet_for_new_rows_and_sees_known_ones_change() -> None:
    quiet = replace(RULES, quiet_new=True)
    assert compare(None, FAILED, quiet)[1] == ()
    assert [t.type for t in compare(recorded(RUNNING), FAILED, quiet)[1]] == [EventType.TASK_FAILED]


def test_an_end_is_named_by_its_time_a_start_by_its_predecessor() -> None:
    assert occurrence_of(FAILED, "anything") == "failed@2026-01-15T08:29:20+00:00"
    assert occurrence_of(RUNNING, "") == "running|after:"
    assert occurrence_of(RUNNING, "a") != occurrence_of(RUNNING, "b")


def test_a_raw_status_of_any_length_makes_a_short_occurrence() -> None:
    endless = make_task(status="unknown", raw_status="x" * 20_000)
    assert len(occurrence_of(endless, "")) < 100


def test_an_unknown_status_in_another_case_is_no_change() -> None:
    shouted = replace(CANCELED, raw_status="CANCELED")
    assert compare(recorded(CANCELED), shouted, RULES)[1] == ()


def test_a_raw_status_equal_to_our_own_is_another_occurrence() -> None:
    snapshot, live = snapshot_of([make_task("other")]), {"a": recorded(RUNNING, missing=1)}
    (unlisted,) = diff(snapshot, [], {}, live, RULES).transitions
    named_so = make_task(status="unknown", raw_status="unlisted")
    assert unlisted.occurrence != occurrence_of(named_so, recorded(RUNNING).occurrence)


@given(st.lists(st.sampled_from([RUNNING, replace(FAILED, ended_at=None), PENDING]), max_size=12))
def test_every_visible_change_of_a_flapping_task_has_its_own_id(shown: list[Task]) -> None:
    row: RecordedTask | None = None
    ids = []
    for task in shown:
        row, transitions = compare(row, task, RULES)
        ids += [event_id("prod", task.job_id, t.occurrence) for t in transitions if t.type != "task.progressed"]
    changes = sum(1 for a, b in zip([None, *shown], shown, strict=False) if a is None or a.status != b.status)
    assert len(ids) == len(set(ids)) == changes


# ---- absence ----


def missing(live: RecordedTask, **how: object) -> tuple[dict[str, int], list[EventType]]:
    snapshot = snapshot_of([make_task("other")], **how)  # type: ignore[arg-type] # test values
    changes = diff(snapshot, [], {}, {live.task.job_id: live}, RULES)
    return dict(changes.missing), [t.type for t in changes.transitions]


def test_a_running_task_is_unlisted_after_two_complete_polls() -> None:
    live = recorded(RUNNING)
    assert missing(live) == ({RUNNING.job_id: 1}, [])
    assert missing(replace(live, missing=1)) == ({RUNNING.job_id: 2}, [EventType.TASK_UNLISTED])


def test_a_warning_is_given_once() -> None:
    assert missing(recorded(RUNNING, missing=2, unlisted=True)) == ({}, [])


def test_the_same_snapshot_again_counts_nothing() -> None:
    live = {RUNNING.job_id: recorded(RUNNING, missing=1)}
    again = diff(snapshot_of([make_task("other")]), [], {}, live, replace(RULES, last_complete_at=T0))
    assert (dict(again.missing), again.transitions) == ({}, ())


@pytest.mark.parametrize("how", [{"complete": False}, {"complete": False, "scope": Scope.ACTIVE}])
def test_absence_in_an_incomplete_poll_proves_nothing(how: dict[str, object]) -> None:
    assert missing(recorded(RUNNING, missing=1), **how) == ({}, [])


def test_a_task_that_returns_unchanged_is_counted_from_zero_again() -> None:
    live = recorded(RUNNING, missing=1)
    changes = diff(snapshot_of([RUNNING]), [], {}, {RUNNING.job_id: live}, RULES)
    assert (dict(changes.missing), changes.transitions) == ({RUNNING.job_id: 0}, ())


# ---- a whole poll ----


def test_only_rows_that_differ_are_parsed_and_written() -> None:
    old, new = make_task("a"), make_task("b")
    snapshot = snapshot_of([old, new])
    known = {"a": snapshot.fingerprints["a"], "gone": b"x"}
    changed = changed_ids(snapshot, known)
    changes = diff(snapshot, changed, {}, {}, RULES)
    assert (changed, set(changes.updates)) == (["b"], {"b"})


def test_transitions_come_in_the_order_in_which_they_happened() -> None:
    tasks = [make_task(f"job-{n}", ended_at=T0 - timedelta(minutes=n)) for n in (1, 3, 2)]
    changes = diff(snapshot_of(tasks), [t.job_id for t in tasks], {}, {}, RULES)
    assert [t.after.job_id for t in changes.transitions] == ["job-3", "job-2", "job-1"]


@pytest.mark.parametrize(
    ("late_after", "ended", "late"),
    [
        (None, timedelta(days=2), False),
        (timedelta(minutes=5), timedelta(days=2), True),
        (timedelta(minutes=5), timedelta(minutes=1), False),
        (timedelta(minutes=5), None, True),
    ],
)
def test_what_happened_while_we_were_away_is_late(
    late_after: timedelta | None, ended: timedelta | None, *, late: bool
) -> None:
    task = make_task(ended_at=T0 - ended if ended else None)
    _, (found,) = compare(None, task, replace(RULES, late_after=late_after))
    assert found.late is late


@pytest.mark.parametrize("status", list(TaskStatus))
def test_reading_the_same_row_again_changes_nothing(status: TaskStatus) -> None:
    row, _ = compare(None, make_task(status=status), RULES)
    assert row
    assert compare(row, row.task, RULES) == (row, ())
