"""Which runs of operations should have begun and did not: by their rhythm, or as `expect` configures it. Pure.

What has not been seen proves nothing while the list is not read. So nothing is missing before a complete scan of the
list has been recorded since it became overdue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from notifier.core.diff import LIST_WINDOW
from notifier.core.events import EventType
from notifier.core.fields import fields_of, operation_kind
from notifier.core.foreseen import Expectation
from notifier.core.matchers import Matcher, first_misfit
from notifier.core.model import Event, SourceOrigin, SourceState, TaskStatus, event_id
from notifier.core.rhythm import MAX_TIMES, learn_rhythm
from notifier.core.tickets import operation_of

SEEN_WITHIN = timedelta(days=45)
"""Age of the oldest run that is looked at: six weeks show a weekly rhythm."""
MAX_EXPECTED = LIST_WINDOW - timedelta(days=2)
"""Longest time within which a run may be expected: older ones are no longer listed."""
MAX_SEEN_RUNS = 50_000
"""Maximum number of tasks of a source that are looked at, the latest ones."""
_DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRuns:
    """A configured expectation: an operation recurs on each instance that the matchers fit."""

    text: str
    """As it is written: `manual backup of prod-* every 26h`."""
    name: str
    """Name of the operation, as the API has it."""
    every: timedelta
    match: tuple[Matcher, ...] = ()
    grace: timedelta = timedelta()
    """Time that a run may be late in addition."""
    succeeded: bool = False
    """Whether only a run that succeeds is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRules:
    """Which runs are expected."""

    expected: tuple[ExpectedRuns, ...] = ()
    learned: bool = False
    """Whether runs are also expected by their rhythm."""
    ignore: tuple[Matcher, ...] = ()
    """Runs that any of these fits are not expected by their rhythm."""

    @property
    def any(self) -> bool:
        """Whether anything may be expected."""
        return bool(self.expected) or self.learned


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRun:
    """A recorded task, as far as it says when an operation ran."""

    name: str
    job_id: str
    instance_id: str | None
    instance_name: str | None
    began: datetime
    """When it was created; when it was first seen where the API does not say."""
    status: TaskStatus
    instance_status: str | None = None
    ended: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A run that is expected, and by when."""

    event: Event
    """The event that it makes where it is missing."""
    expected: Expectation

    @property
    def overdue_at(self) -> datetime:
        """When it counts as missing."""
        return self.expected.overdue_at


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instance:
    id: str | None
    name: str | None
    runs: Sequence[SeenRun]
    """All its tasks, the earliest first."""

    @property
    def gone(self) -> bool:
        """Whether it was deleted: nothing is expected of it."""
        last = self.runs[-1]
        deleted = last.status is TaskStatus.COMPLETED and operation_kind(last.name) == "delete"
        return deleted or (last.instance_status or "").lower() == _DELETED

    def of(self, name: str) -> Sequence[SeenRun]:
        return [run for run in self.runs if run.name == name]


def expected_runs(
    origin: SourceOrigin, state: SourceState, seen: Iterable[SeenRun], rules: MissingRules, now: datetime
) -> Sequence[Judged]:
    """Return the next expected run of each operation on each instance, those that are overdue soonest first.

    Where a configured expectation fits, the rhythm does not count. Nothing is expected before the baseline.
    """
    if state.baseline_at is None:
        return ()
    found: dict[str, Judged] = {}
    for instance in _instances(seen):
        if not instance.gone:
            for expected in _of_instance(origin, state, instance, rules):
                judged = _judged(origin, expected, now)
                if _applies(judged.event, expected, rules):
                    found.setdefault(judged.event.id, judged)
    return sorted(found.values(), key=lambda judged: judged.overdue_at)


def fitting_nothing(
    rules: Sequence[ExpectedRuns], seen: Iterable[tuple[SourceOrigin, SourceState, Iterable[SeenRun]]]
) -> Sequence[int]:
    """Return the positions of the rules that fit none of the instances of these runs, by source.

    Instances that were deleted do not count: nothing is expected of them.
    """
    left = dict(enumerate(rules))
    for origin, state, runs in seen:
        for instance in _instances(runs):
            if instance.gone:
                continue
            fitting = [n for n, rule in left.items() if _configured_for(rule, origin, state, instance)]
            for number in fitting:
                del left[number]
    return list(left)


def missing_runs(expected: Iterable[Judged], state: SourceState, now: datetime) -> Sequence[Judged]:
    """Return those of the expected runs that are missing: overdue, and not in a complete scan since then."""
    scanned = state.last_full_at
    unsure = state.failing_since or state.refused_since or state.empty_since or state.retired_at
    if scanned is None or unsure:
        return ()
    return [judged for judged in expected if judged.overdue_at <= min(now, scanned)]


def _instances(seen: Iterable[SeenRun]) -> Iterator[_Instance]:
    by_key: dict[str, list[SeenRun]] = {}
    for run in seen:
        if key := run.instance_id or run.instance_name:
            by_key.setdefault(key, []).append(run)
    for runs in by_key.values():
        runs.sort(key=lambda run: (run.began, run.job_id))
        yield _Instance(id=runs[-1].instance_id, name=runs[-1].instance_name, runs=runs)


def _of_instance(
    origin: SourceOrigin, state: SourceState, instance: _Instance, rules: MissingRules
) -> Iterator[Expectation]:
    configured: set[str] = set()
    for rule in rules.expected:
        if expected := _configured_for(rule, origin, state, instance):
            configured.add(rule.name)
            yield expected
    if rules.learned:
        for name in sorted({run.name for run in instance.runs} - configured):
            if learned := _learned(name, instance):
                yield learned


def _configured_for(
    rule: ExpectedRuns, origin: SourceOrigin, state: SourceState, instance: _Instance
) -> Expectation | None:
    """Return what a rule expects of an instance; None where its matchers do not fit."""
    expected = _configured(rule, state, instance)
    fields = fields_of(_event(origin, expected, expected.overdue_at))
    return expected if first_misfit(rule.match, fields) is None else None


def _configured(rule: ExpectedRuns, state: SourceState, instance: _Instance) -> Expectation:
    runs = [run for run in instance.of(rule.name) if not rule.succeeded or run.status is TaskStatus.COMPLETED]
    last = runs[-1] if runs else None
    known_since = max(instance.runs[0].began, (state.baseline_at or instance.runs[0].began) - MAX_EXPECTED)
    since = last.began if last else known_since
    return Expectation(
        name=rule.name,
        every=rule.every.total_seconds(),
        overdue_at=since + rule.every + rule.grace,
        instance_id=instance.id,
        instance_name=instance.name,
        last=last.began if last else None,
        last_job=last.job_id if last else "",
        rule=rule.text,
        succeeded=rule.succeeded,
    )


def _learned(name: str, instance: _Instance) -> Expectation | None:
    runs = instance.of(name)[-MAX_TIMES:]
    rhythm = learn_rhythm([run.began for run in runs])
    if rhythm is None:
        return None
    return Expectation(
        name=name,
        every=rhythm.period.total_seconds(),
        overdue_at=rhythm.overdue_at,
        instance_id=instance.id,
        instance_name=instance.name,
        last=runs[-1].began,
        last_job=runs[-1].job_id,
        expected_at=rhythm.expected_at,
        intervals=rhythm.intervals,
    )


def _applies(event: Event, expected: Expectation, rules: MissingRules) -> bool:
    """Return whether an expectation counts: a rhythm does not where a matcher of `ignore` fits."""
    if expected.rule or not rules.ignore:
        return True
    fields = fields_of(event)
    return all(first_misfit((matcher,), fields) is not None for matcher in rules.ignore)


def _judged(origin: SourceOrigin, expected: Expectation, now: datetime) -> Judged:
    return Judged(event=_event(origin, expected, now), expected=expected)


def _event(origin: SourceOrigin, expected: Expectation, now: datetime) -> Event:
    """Return the event of a run that does not appear: one for each last run before it, however often it is judged."""
    event = Event(
        id="",
        type=EventType.TASK_MISSING,
        source=origin.source,
        region=origin.region,
        project_id=origin.project_id,
        environment=origin.environment,
        labels=origin.labels,
        occurrence="",
        observed_at=now,
        occurred_at=None,
        expectation=expected,
    )
    occurrence = f"missing:{operation_of(event)}|after:{expected.last_job}"
    return replace(event, id=event_id(origin.source, "", occurrence), occurrence=occurrence)


@dataclass(slots=True, kw_only=True)
class ExpectationMemory:
    """When each source is judged again, and what was announced. Memory of one process: it only saves reads."""

    due: dict[str, datetime] = field(default_factory=dict)
    announced: dict[str, frozenset[str]] = field(default_factory=dict)
    """Ids of the events that are recorded, by source."""

    def judge_again_at(self, source: str, expected: Mapping[str, datetime], now: datetime, within: timedelta) -> None:
        """Note when a source is judged again: at the next time that something becomes overdue, or after `within`.

        `expected` has the times at which runs become overdue, by event id.
        """
        known = self.announced.get(source, frozenset())
        later = [at for id_, at in expected.items() if id_ not in known]
        self.due[source] = min([now + within, *(max(at, now + _SOON) for at in later)])


_SOON = timedelta(minutes=1)
"""Shortest time until a source is judged again: an overdue run waits for the next complete scan."""
