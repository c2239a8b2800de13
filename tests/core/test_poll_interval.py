"""When a source is polled next: soon while something happens, later while it is quiet, never later than promised."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from factories import T0, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.diff import RecordedTask
from notifier.core.errors import SourceUnreachable
from notifier.core.model import Scope, SourceState
from notifier.core.poll_interval import (
    BUSY_AFTER_CHANGE,
    INTERVAL_STEP,
    RUN_COUNTS_FOR,
    any_runs,
    last_activity,
    poll_interval,
)
from notifier.core.polling import PollRules, is_early, next_scope, pause_after, plan_next_poll

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
BUSY, LONGEST = 5 * SECOND, 5 * MINUTE
FIXED = PollRules(poll_every=LONGEST, lease=MINUTE)
RULES = replace(FIXED, poll_busy_every=BUSY)
KNOWN = SourceState(name="prod", baseline_at=T0, last_full_at=T0, last_poll_at=T0, promised_at=T0 + LONGEST)

DURATIONS = st.timedeltas(timedelta(milliseconds=100), timedelta(days=1))
AGES = st.none() | st.timedeltas(-timedelta(days=400), timedelta(days=400))


@given(busy=DURATIONS, longest=DURATIONS, running=st.booleans(), quiet_for=AGES)
def test_no_interval_is_longer_than_promised(
    busy: timedelta, longest: timedelta, *, running: bool, quiet_for: timedelta | None
) -> None:
    found = poll_interval(busy, longest, running=running, quiet_for=quiet_for)
    assert min(busy, longest) <= found <= longest
    assert poll_interval(None, longest, running=running, quiet_for=quiet_for) == longest


@given(
    DURATIONS, DURATIONS, st.timedeltas(timedelta(), timedelta(days=1)), st.timedeltas(timedelta(), timedelta(days=1))
)
def test_the_interval_never_shrinks_while_nothing_happens(
    busy: timedelta, longest: timedelta, one: timedelta, more: timedelta
) -> None:
    earlier, later = (poll_interval(busy, longest, running=False, quiet_for=each) for each in (one, one + more))
    assert earlier <= later


@pytest.mark.parametrize(
    ("running", "quiet_for", "interval"),
    [
        (True, None, BUSY),
        (True, timedelta(days=3), BUSY),
        (False, None, LONGEST),
        (False, timedelta(), BUSY),
        (False, BUSY_AFTER_CHANGE, BUSY),
        (False, BUSY_AFTER_CHANGE + SECOND, 2 * BUSY),
        (False, BUSY_AFTER_CHANGE + 3 * INTERVAL_STEP, 8 * BUSY),
        (False, BUSY_AFTER_CHANGE + 6 * INTERVAL_STEP, LONGEST),
        (False, timedelta(days=300), LONGEST),
    ],
)
def test_the_interval_grows_step_by_step(*, running: bool, quiet_for: timedelta | None, interval: timedelta) -> None:
    assert poll_interval(BUSY, LONGEST, running=running, quiet_for=quiet_for) == interval


def test_an_activity_of_the_future_ends_with_the_next_poll() -> None:
    assert last_activity(T0 + timedelta(days=9), T0, changed=False) == T0
    assert last_activity(T0 - MINUTE, T0, changed=False) == T0 - MINUTE
    assert last_activity(T0 - MINUTE, T0, changed=True) == T0
    assert last_activity(None, T0, changed=False) is None


def test_a_task_that_hangs_keeps_its_source_busy_for_a_day() -> None:
    row = RecordedTask(task=make_task("a", status="running"), occurrence="", changed_at=T0 - RUN_COUNTS_FOR)
    assert not any_runs([row], T0)
    assert any_runs([replace(row, changed_at=T0 - RUN_COUNTS_FOR + SECOND)], T0)
    assert any_runs([replace(row, changed_at=None)], T0)
    assert not any_runs([replace(row, changed_at=None, unlisted=True)], T0)
    assert not any_runs([replace(row, changed_at=None, task=make_task("a", status="completed"))], T0)


def test_a_poll_that_found_a_change_is_followed_soon_and_a_baseline_is_no_change() -> None:
    soon = plan_next_poll(KNOWN, T0, RULES, full_at=T0, running=False, news=1)
    assert (soon.due_at, soon.promised_at, soon.active_at) == (T0 + 4.5 * SECOND, T0 + LONGEST - SECOND / 2, T0)
    quiet = plan_next_poll(replace(KNOWN, baseline_at=None), T0, RULES, full_at=T0, running=False, news=1000)
    assert (quiet.due_at, quiet.active_at) == (quiet.promised_at, None)
    rung = plan_next_poll(replace(KNOWN, rung_at=T0 - SECOND), T0, RULES, full_at=T0, running=False, news=0)
    assert (rung.due_at, rung.active_at) == (soon.due_at, None), "who rang knows of something"
    fixed = plan_next_poll(KNOWN, T0, FIXED, full_at=T0, running=True, news=5)
    assert fixed.due_at == fixed.promised_at == T0 + LONGEST - SECOND / 2


def test_a_poll_is_early_before_the_promised_time_unless_that_is_wrong() -> None:
    assert is_early(KNOWN, T0 + LONGEST - SECOND, RULES)
    assert not is_early(KNOWN, T0 + LONGEST, RULES)
    assert not is_early(KNOWN, T0 - SECOND, RULES), "left by a clock that was set back"
    assert not is_early(replace(KNOWN, failures=1), T0, RULES)
    assert not is_early(replace(KNOWN, promised_at=None), T0, RULES)


def test_a_full_scan_is_promised_although_early_polls_scan_less() -> None:
    late = plan_next_poll(KNOWN, T0 + 4 * MINUTE, RULES, full_at=T0, running=False, news=0)
    assert late.promised_at == T0 + LONGEST - SECOND / 2
    overdue = plan_next_poll(KNOWN, T0 + 2 * LONGEST, RULES, full_at=T0, running=False, news=0)
    assert overdue.promised_at == T0 + 3 * LONGEST - SECOND / 2


@pytest.mark.parametrize(("calls", "early"), [(1, Scope.FULL), (2, Scope.FULL), (3, Scope.ACTIVE), (40, Scope.ACTIVE)])
def test_early_polls_take_two_calls_at_most(calls: int, early: Scope) -> None:
    state = replace(KNOWN, last_full_calls=calls)
    assert next_scope(state, T0 + SECOND, RULES) is early
    assert next_scope(replace(state, last_full_at=T0 - timedelta(days=1)), T0 + LONGEST, RULES) is Scope.FULL


def test_a_busy_source_that_fails_is_tried_again_soon() -> None:
    assert pause_after(SourceUnreachable(), 1, RULES) == BUSY * 0.8
    assert pause_after(SourceUnreachable(), 30, RULES) == LONGEST
