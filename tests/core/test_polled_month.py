"""Adaptive polling over days of many projects: never later than promised, with fewer calls, within the budget."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from polled_month import Month, Outcome, happenings, part, poll_month

from notifier.core.credentials import BURST

MONTH = Month(projects=40, days=2, calls_per_minute=20)
"""Promised polls take 8 calls a minute, and leave 12 to those of busy projects."""
TIGHT = replace(MONTH, calls_per_minute=9)


@pytest.fixture(scope="module")
def adaptive() -> Outcome:
    return poll_month(MONTH)


@pytest.fixture(scope="module")
def fixed() -> Outcome:
    return poll_month(replace(MONTH, poll_busy_every=None))


def test_fixed_polls_are_counted_as_often_as_they_are_due(fixed: Outcome) -> None:
    assert fixed.calls == pytest.approx(MONTH.projects * MONTH.days * 288, abs=MONTH.projects)


@pytest.mark.parametrize("month", [MONTH, TIGHT])
def test_no_project_is_polled_later_than_promised_and_every_change_is_found(month: Month) -> None:
    outcome = poll_month(month)
    assert outcome.longest <= month.poll_every
    assert max(outcome.starts + outcome.ends) <= month.poll_every.total_seconds()
    last = month.days * timedelta(days=1) - month.poll_every
    wanted = sum(when <= last for project in happenings(month) for when, _ in project)
    assert wanted <= len(outcome.starts) + len(outcome.ends)


def test_ends_are_found_in_seconds_with_a_few_more_calls(adaptive: Outcome, fixed: Outcome) -> None:
    seconds = MONTH.projects * MONTH.days * 86_400 / adaptive.calls
    equal = poll_month(
        replace(MONTH, poll_busy_every=None, poll_every=timedelta(seconds=seconds), calls_per_minute=10**6)
    )
    assert fixed.calls < adaptive.calls < 2 * fixed.calls
    assert part(adaptive.ends, 0.5) < 15
    assert part(adaptive.ends, 0.5) < part(equal.ends, 0.5) / 4
    assert part(adaptive.ends, 0.5) < part(fixed.ends, 0.5) / 8


@pytest.mark.parametrize("month", [MONTH, TIGHT])
def test_polls_of_busy_projects_stay_within_what_is_left_of_the_budget(month: Month) -> None:
    outcome = poll_month(month)
    spare = month.calls_per_minute - month.promised_per_minute
    hours: dict[int, int] = {}
    for minute, calls in outcome.by_minute.items():
        hours[minute // 60] = hours.get(minute // 60, 0) + calls
    promised = month.promised_per_minute * 60
    assert max(hours.values()) <= BURST + spare * 60 + promised
