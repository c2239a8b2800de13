"""A month of projects with one credential that never was, polled by the real decisions in virtual time.

A few projects are busy, each has a backup in its night, and now and then many get a task at once. Polls in which
nothing can have changed are counted and not made.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from fakes import START

from notifier.core.credentials import Credential, CredentialState, Urgency, admit, after_success, reserve_early
from notifier.core.model import SourceState
from notifier.core.polling import PollRules, early_calls, is_early, plan_next_poll

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86400))
BUSY_SHARE = 0.05
"""Share of the projects in which people work all day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """What happens, and how it is polled."""

    projects: int = 1000
    days: int = 30
    poll_every: timedelta = 5 * MINUTE
    poll_busy_every: timedelta | None = 5 * SECOND
    calls_per_minute: int = 400
    seed: int = 1

    @property
    def promised_per_minute(self) -> float:
        """Calls that the promised polls take."""
        return self.projects * (MINUTE / self.poll_every)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What it took, and how late each change was found, in seconds."""

    calls: int = 0
    starts: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    longest: timedelta = timedelta()
    """Longest time between two polls of a project."""
    by_minute: dict[int, int] = field(default_factory=dict)
    """Calls that were really made in each minute, without the quiet polls that were only counted."""


def part(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of them lie."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def happenings(month: Month) -> list[list[tuple[timedelta, bool]]]:
    """Return when tasks of each project start (True) and end (False), in order, since the beginning."""
    rng = random.Random(month.seed)
    bursts = [month.days * DAY * rng.random() for _ in range(max(1, month.days // 7))]
    return [sorted(_project(month, number, bursts, rng)) for number in range(month.projects)]


def _project(
    month: Month, number: int, bursts: Sequence[timedelta], rng: random.Random
) -> Iterator[tuple[timedelta, bool]]:
    night = HOUR * rng.uniform(1, 5)
    for day in range(month.days):
        yield from _task(day * DAY + night + MINUTE * rng.uniform(0, 2), rng.lognormvariate(2.5, 0.5))
        tasks = rng.choice([2, 4, 8]) if number < BUSY_SHARE * month.projects else rng.random() < 0.3
        at = day * DAY + HOUR * rng.uniform(8, 18)
        for _ in range(int(tasks)):
            yield from _task(at, rng.lognormvariate(1.5, 0.8))
            at += MINUTE * rng.expovariate(1 / 20)
    for burst in bursts:
        if rng.random() < 0.2:
            yield from _task(burst + MINUTE * rng.uniform(0, 5), rng.lognormvariate(1.5, 0.5))


def _task(start: timedelta, minutes: float) -> Iterator[tuple[timedelta, bool]]:
    yield start, True
    yield start + MINUTE * minutes, False


@dataclass(slots=True, kw_only=True)
class _Project:
    changes: list[tuple[timedelta, bool]]
    state: SourceState
    polled: timedelta
    found: int = 0
    running: int = 0


def poll_month(month: Month) -> Outcome:
    """Poll all projects for the month; the first polls are spread over an interval."""
    rules = PollRules(
        poll_every=month.poll_every,
        poll_busy_every=month.poll_busy_every,
        lease=MINUTE,
        calls_per_minute=month.calls_per_minute / month.projects,
    )
    key = Credential(key="k", calls_per_minute=month.calls_per_minute, promised_per_minute=month.promised_per_minute)
    # What is only counted is not charged: the budget is smaller by what it takes.
    charged = replace(key, calls_per_minute=key.spare_per_minute)
    budget, outcome, end = CredentialState(), Outcome(), month.days * DAY
    state = SourceState(name="p", baseline_at=START, last_full_at=START)
    projects = [_Project(changes=changes, state=state, polled=-MINUTE) for changes in happenings(month)]
    apart = month.poll_every / month.projects
    queue = [(number * apart, number) for number in range(month.projects)]
    for number, project in enumerate(projects):
        project.polled = number * apart
    while queue:
        now, number = heapq.heappop(queue)
        if now >= end:
            continue
        project, at = projects[number], START + now
        early = is_early(project.state, at, rules)
        if early:
            admission = admit(budget, charged, at, 1, urgency=Urgency.EARLY)
            if admission.retry_at is not None:
                latest = project.state.promised_at
                assert latest is not None
                slot, budget = reserve_early(
                    budget, key, at, wanted=admission.retry_at, latest=latest, calls=early_calls(project.state, rules)
                )
                heapq.heappush(queue, (slot - START + rules.due_check_interval / 2, number))
                continue
            budget = after_success(admission.state, charged, at, 0)
        outcome.calls += 1
        outcome.longest = max(outcome.longest, now - project.polled)
        minute = now // MINUTE
        outcome.by_minute[minute] = outcome.by_minute.get(minute, 0) + 1
        news = _find_changes(project, now, outcome)
        plan = plan_next_poll(project.state, at, rules, full_at=at, running=project.running > 0, news=news)
        due = plan.due_at
        if due < plan.promised_at:
            due, budget = reserve_early(budget, key, at, wanted=due, latest=plan.promised_at, calls=1)
        project.state = replace(project.state, promised_at=plan.promised_at, active_at=plan.active_at, last_full_at=at)
        following = due - START + rules.due_check_interval / 2
        project.polled = now
        if due == plan.promised_at and not project.running:
            skipped = _quiet_polls(project, following, month, end)
            outcome.calls += skipped
            following += skipped * month.poll_every
            if skipped:
                project.polled = following - month.poll_every
                project.state = replace(project.state, promised_at=START + following - rules.due_check_interval / 2)
        heapq.heappush(queue, (following, number))
    return outcome


def _find_changes(project: _Project, now: timedelta, outcome: Outcome) -> int:
    """Find what has happened until now; a task that starts and ends between two polls is found twice."""
    before = project.found
    while project.found < len(project.changes) and project.changes[project.found][0] <= now:
        when, starts = project.changes[project.found]
        (outcome.starts if starts else outcome.ends).append((now - when).total_seconds())
        project.running += 1 if starts else -1
        project.found += 1
    return project.found - before


def _quiet_polls(project: _Project, following: timedelta, month: Month, end: timedelta) -> int:
    """Return how many polls from `following` on find nothing and leave the interval as it is."""
    upcoming = project.changes[project.found][0] if project.found < len(project.changes) else end
    active_at = project.state.active_at
    if active_at is not None and START + following - active_at < HOUR:
        return 0  # the interval still grows
    return max(0, (min(upcoming, end) - following) // month.poll_every)
