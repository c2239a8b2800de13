"""What changed between two polls: the decision that everything else hangs on.

Rules, in the order they are applied to a row:

1. The status decides, never the localised reason. A row whose status is the one recorded makes no transition,
   unless it ended again at another time, or its progress crossed a step that is wanted.
2. A row without a status proves nothing about the task: what is recorded stays.
3. A row never seen before makes a transition too, also when it has already ended: it started and ended between
   two polls. Only the baseline, the first complete poll of a source, takes new rows quietly, and rows that were
   over so long ago that they may have been pruned.
4. Absence proves nothing unless the snapshot is full and complete, and each of its rows has an id; an empty list
   proves nothing until it has lasted. A task that has not ended and is missing from two such snapshots in a row is
   reported as no longer listed; never as completed or failed.
5. A state that is reached a second time is notified a second time: the last event of a task shows its state.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from notifier.core.events import EventType
from notifier.core.foreseen import OverdueLimit
from notifier.core.model import Scope, Snapshot, Task, TaskStatus, Transition
from notifier.core.retry import CLOCK_TOLERANCE
from notifier.core.started_by import StartedBy

MISSING_BEFORE_UNLISTED = 2
"""Complete polls in a row that must lack a running task before it is reported as no longer listed."""

LIST_WINDOW = timedelta(days=30)
"""How far back the API lists tasks ("at most the last month")."""

EMPTY_BEFORE_UNLISTED = timedelta(minutes=15)
"""Time for which a list must have been empty before its tasks count as missing from it.

A service that has lost its way answers so too, and longer than one poll. No single task is gone in that way."""

_LONGEST_KEY = 64
_UNREAD = "unread"
"""Occurrence of a task that was first listed after the baseline, and of which no row has had a status yet."""
_SKEW_ERROR = timedelta(seconds=2)
"""How wrong a measured skew may be: the cloud tells its time in whole seconds, and an answer takes a while."""
_PRECISIONS = (timedelta(seconds=1), timedelta(milliseconds=1), timedelta(microseconds=1))
"""Units in which the API may give the time of an end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTask:
    """A task as it was last recorded."""

    task: Task
    occurrence: str
    missing: int = 0
    """Complete polls in a row that no longer listed it."""
    unlisted: bool = False
    """True once it was reported as no longer listed."""
    changed_at: datetime | None = field(default=None, compare=False)
    """When it was last seen to change, or its end where that is known. None for the time of the poll that records it.
    For a task that is over without a known end it stays at when that was first seen."""
    started_by: StartedBy | None = field(default=None, compare=False)
    """Who started it; None where that is not known. Not written with the task: `notifier.origins` records it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskWrite:
    """What one row of a poll changes in the store."""

    recorded: RecordedTask
    fingerprint: bytes
    """Empty for a row without a status, so that the next poll reads it again."""
    was: datetime | None = None
    """`changed_at` of the task as it was recorded before, where it had ended by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffRules:
    """How one poll of one source is read."""

    observed_at: datetime
    quiet_new: bool = False
    """The baseline: rows never seen before make no transition."""
    progress_step: int = 25
    """Percent between two progress transitions; 0 makes none."""
    late_after: timedelta | None = None
    """Set when the poller had been away: what happened longer ago than this is late."""
    pruned_to: datetime | None = None
    """A task never seen before that was over by then makes no transition: it may have been notified and pruned."""
    last_complete_at: datetime | None = None
    """When the last full and complete snapshot was taken: the same one again counts no absence twice."""
    baseline_at: datetime | None = None
    """When the baseline was recorded; None until then."""
    empty_since: datetime | None = None
    """When the list was first found empty; None where the last full and complete snapshot had rows."""
    skew: timedelta | None = None
    """How far the time of polls is ahead of the cloud's; None where that is not known."""
    quiet_until: datetime | None = None
    """Alarms that were raised by then make quiet transitions: their list could not be read before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a poll changes: rows to write, transitions, absences to count."""

    updates: Mapping[str, RecordedTask]
    unreadable: tuple[str, ...] = ()
    """Ids of the rows without a status."""
    transitions: tuple[Transition, ...]
    missing: Mapping[str, int]
    """job_id to its new count of complete polls without it."""
    unlisted: frozenset[str]


def changed_ids(snapshot: Snapshot, known: Mapping[str, bytes]) -> list[str]:
    """Return the ids of rows that are new or differ from what is recorded."""
    recorded = known.get
    return [job_id for job_id, fingerprint in snapshot.fingerprints.items() if recorded(job_id) != fingerprint]


def diff(
    snapshot: Snapshot,
    changed: Iterable[str],
    recorded: Mapping[str, RecordedTask],
    running: Mapping[str, RecordedTask],
    rules: DiffRules,
) -> Changes:
    """Compare a snapshot with what is recorded.

    Args:
        snapshot: what the API showed.
        changed: the ids that `changed_ids` found.
        recorded: those of them that are recorded.
        running: every recorded task that has not ended.
        rules: how to read this poll.
    """
    updates: dict[str, RecordedTask] = {}
    transitions: list[Transition] = []
    rows = {job_id: snapshot.parse(job_id) for job_id in changed}
    for job_id, task in rows.items():
        after, found = compare(recorded.get(job_id), task, rules)
        if after:
            updates[job_id] = after
        transitions += found
    missing = _count_missing(snapshot, running, rules)
    unlisted = [
        running[job_id]
        for job_id, count in missing.items()
        if count >= MISSING_BEFORE_UNLISTED and not running[job_id].unlisted
    ]
    transitions += [_unlisted(gone, rules) for gone in unlisted if not _aged_out(gone.task, rules)]
    return Changes(
        updates=updates,
        unreadable=tuple(job_id for job_id, task in rows.items() if not task.raw_status),
        transitions=tuple(sorted(transitions, key=_event_order)),
        missing={job_id: count for job_id, count in missing.items() if job_id not in updates},
        unlisted=frozenset(gone.task.job_id for gone in unlisted),
    )


def compare(
    before: RecordedTask | None, task: Task, rules: DiffRules
) -> tuple[RecordedTask | None, tuple[Transition, ...]]:
    """Return what to record of one row, None for nothing, and the transitions it makes: none or one."""
    if not task.raw_status:
        return None if before else RecordedTask(task=task, occurrence="" if rules.quiet_new else _UNREAD), ()
    before = None if before and before.occurrence == _UNREAD else before
    known = before if before and before.task.raw_status else None
    if known and not _state_changed(known.task, task) and not _ended_again(known, task, rules):
        return _same_state(known, task, rules)
    occurrence = occurrence_of(task, before.occurrence if before else "")
    after = RecordedTask(task=task, occurrence=occurrence)
    if _is_quiet(before, task, rules) and not known:
        return after, ()
    if known is None and _was_raised_before(task, rules):
        return after, _quiet_alarm(task, occurrence, rules)
    previous = known.task if known else None
    found = _transition(_type_of(previous, task), previous, task, occurrence, rules)
    return after, (replace(found, recurs=known is not None),)


def _was_raised_before(task: Task, rules: DiffRules) -> bool:
    """Return whether an alarm that is listed for the first time is no news."""
    if task.status is TaskStatus.RAISED and rules.quiet_until and task.created_at:
        return rules.quiet_new or task.created_at <= rules.quiet_until
    return task.status.of_alarm and rules.quiet_new


def _quiet_alarm(task: Task, occurrence: str, rules: DiffRules) -> tuple[Transition, ...]:
    """Return the transition of an alarm that may still be there: it is open, though nobody hears of it."""
    if task.status is not TaskStatus.RAISED or task.ended_at is not None:
        return ()
    return (replace(_transition(EventType.ALARM_RAISED, None, task, occurrence, rules), quiet=True, late=False),)


def _is_quiet(before: RecordedTask | None, task: Task, rules: DiffRules) -> bool:
    """Return whether the first state that is read of a task is recorded without a transition."""
    if before is None:
        return (rules.quiet_new and task.alarm is None) or _maybe_pruned(task, rules)
    # The baseline listed it, and could not read it: only an end that came later is news.
    if task.ended_at is None:
        return not task.status.terminal
    return rules.baseline_at is None or task.ended_at <= rules.baseline_at


def _maybe_pruned(task: Task, rules: DiffRules) -> bool:
    last_word = task.ended_at or task.created_at
    if task.status is TaskStatus.RUNNING or last_word is None or rules.pruned_to is None:
        return False
    return last_word <= rules.pruned_to


def occurrence_of(task: Task, previous: str) -> str:
    """Return the canonical upstream facts of a task's state.

    An end is named by its time, in whole seconds: the API does not always give more. Anything else is named by what
    came before it, so that a task that fails, runs and fails again makes three occurrences; a digest keeps the chain
    from growing.
    """
    if task.status.terminal and task.ended_at is not None:
        return f"{task.status}@{task.ended_at.astimezone(UTC).isoformat(timespec='seconds')}"
    return f"{_status_key(task)}|after:{_digest(previous)}"


_FRACTION = re.compile(r"(?<=[0-9])\.[0-9]+(?=\+00:00$)")


def new_transitions(transitions: Iterable[Transition], taken: Mapping[str, Collection[str]]) -> Sequence[Transition]:
    """Return the transitions that are news, each with an occurrence that no event of its task has yet.

    A state reached a second time, with the same facts, is news: a list that lags shows an ended task as running, then
    as ended again. Everything else whose occurrence is taken has been notified.

    Args:
        transitions: what the diff found.
        taken: job_id to the occurrences of its events.
    """
    # Earlier versions named an end to the microsecond.
    known = {job_id: {_FRACTION.sub("", occurrence) for occurrence in names} for job_id, names in taken.items()}
    found = (_distinct(transition, known.get(transition.after.job_id, ())) for transition in transitions)
    return [transition for transition in found if transition]


def _distinct(transition: Transition, taken: Collection[str]) -> Transition | None:
    if transition.occurrence not in taken:
        return transition
    if not transition.recurs:
        return None
    times = 2
    while (occurrence := f"{transition.occurrence}|again:{times}") in taken:
        times += 1
    return replace(transition, occurrence=occurrence)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def _status_key(task: Task) -> str:
    if task.status is not TaskStatus.UNKNOWN:
        return task.status
    # An occurrence is a key: nothing that upstream writes may make it too long for an index, or equal to another.
    status = task.raw_status.lower()
    return f"unknown:{status if len(status) <= _LONGEST_KEY else _digest(status)}"


def _state_changed(before: Task, after: Task) -> bool:
    if _status_key(before) != _status_key(after):
        return True
    if after.alarm or after.status is TaskStatus.RUNNING or after.ended_at is None:
        return False  # an alarm that is cleared stays cleared, whenever its row is written again
    if before.ended_at is None:
        # An end time that arrives late belongs to the same end. Where it alone shows that there is an end, it is news.
        return after.status is TaskStatus.UNKNOWN
    return not _same_end(before.ended_at, after.ended_at)


def _ended_again(before: RecordedTask, task: Task, rules: DiffRules) -> bool:
    """Return whether a task whose end had no time has ended again: later than it was first seen to be over."""
    seen = before.changed_at
    if not task.status.terminal or task.ended_at is None or before.task.ended_at is not None or seen is None:
        return False
    if rules.skew is None:
        return task.ended_at > seen + CLOCK_TOLERANCE
    return task.ended_at > seen - rules.skew + _SKEW_ERROR


def _same_end(one: datetime, other: datetime) -> bool:
    """Return whether two times may be one, given with different precision: cut off or rounded."""
    return abs(one - other) < max(_precision(one), _precision(other))


def _precision(time: datetime) -> timedelta:
    second, millisecond, microsecond = _PRECISIONS
    if time.microsecond == 0:
        return second
    return millisecond if time.microsecond % 1000 == 0 else microsecond


def _same_state(before: RecordedTask, task: Task, rules: DiffRules) -> tuple[RecordedTask, tuple[Transition, ...]]:
    ended = _with_known_end(task, before.task)
    over = ended.status.terminal and ended.ended_at is None
    after = RecordedTask(task=ended, occurrence=before.occurrence, changed_at=before.changed_at if over else None)
    step = _step_crossed(before.task, task, rules.progress_step)
    if step is None:
        return after, ()
    occurrence = f"progress:{step}|{before.occurrence}"
    return after, (_transition(EventType.TASK_PROGRESSED, before.task, task, occurrence, rules),)


def _with_known_end(task: Task, before: Task) -> Task:
    """Return the task with the end that an earlier row had: without it another end would pass for the same one."""
    known = None if task.status is TaskStatus.RUNNING else before.ended_at
    if known and task.alarm:
        return replace(task, ended_at=known)
    if known is None or (task.ended_at is not None and _precision(task.ended_at) < _precision(known)):
        return task
    return replace(task, ended_at=known)


def _step_crossed(before: Task, after: Task, step: int) -> int | None:
    """Return the highest step crossed, in percent; None at 0 and at 100, which are the start and the end."""
    if not step or after.status is not TaskStatus.RUNNING or after.progress is None:
        return None
    reached, was = (int((progress or 0) // step) * step for progress in (after.progress, before.progress))
    return reached if was < reached < 100 else None  # noqa: PLR2004 - percent


TYPES_BY_STATUS: Mapping[TaskStatus, EventType] = MappingProxyType(
    {
        TaskStatus.RUNNING: EventType.TASK_STARTED,
        TaskStatus.COMPLETED: EventType.TASK_COMPLETED,
        TaskStatus.FAILED: EventType.TASK_FAILED,
        TaskStatus.UNKNOWN: EventType.TASK_CHANGED,
        TaskStatus.RAISED: EventType.ALARM_RAISED,
        TaskStatus.CLEARED: EventType.ALARM_CLEARED,
    }
)
"""Type of the event when a task is first seen in a status."""


def _type_of(before: Task | None, after: Task) -> EventType:
    if before is not None and before.status.terminal and after.status is TaskStatus.RUNNING:
        return EventType.TASK_RESTARTED
    return TYPES_BY_STATUS[after.status]


def _transition(type_: EventType, before: Task | None, after: Task, occurrence: str, rules: DiffRules) -> Transition:
    return Transition(
        type=type_,
        before=before,
        after=after,
        occurrence=occurrence,
        observed_at=rules.observed_at,
        late=_late(type_, after, rules),
    )


def happened_at(type_: EventType, task: Task) -> datetime | None:
    """Return when the transition happened, as the API gives it, or None where it does not."""
    if type_ in (EventType.TASK_STARTED, EventType.ALARM_RAISED):
        return task.created_at
    return task.ended_at if type_.traits.ends_task else None


def _late(type_: EventType, task: Task, rules: DiffRules) -> bool:
    if rules.late_after is None:
        return False
    when = happened_at(type_, task)
    return when is None or rules.observed_at - when > rules.late_after


def _count_missing(snapshot: Snapshot, running: Mapping[str, RecordedTask], rules: DiffRules) -> dict[str, int]:
    """Return the new counts of those whose count changes: one more when absent, zero when back."""
    back = {job_id: 0 for job_id, row in running.items() if row.missing and snapshot.lists(job_id)}
    if not _proves_absence(snapshot, rules):
        return back
    gone = {job_id: row.missing + 1 for job_id, row in running.items() if not snapshot.lists(job_id)}
    return back | {job_id: count for job_id, count in gone.items() if not running[job_id].unlisted}


def _proves_absence(snapshot: Snapshot, rules: DiffRules) -> bool:
    if not (snapshot.complete and snapshot.scope is Scope.FULL):
        return False
    if rules.last_complete_at is not None and rules.observed_at <= rules.last_complete_at:
        return False
    if not snapshot.listed:
        return rules.empty_since is not None and rules.observed_at - rules.empty_since >= EMPTY_BEFORE_UNLISTED
    # Any of the rows without an id may be the one that seems to be absent.
    return not snapshot.unreadable


def _aged_out(task: Task, rules: DiffRules) -> bool:
    """Return whether a task in a state that we do not know may have left the list because of its age alone."""
    age = None if task.created_at is None else rules.observed_at - task.created_at
    return task.status is TaskStatus.UNKNOWN and age is not None and age >= LIST_WINDOW - timedelta(days=1)


def _unlisted(row: RecordedTask, rules: DiffRules) -> Transition:
    occurrence = f"unlisted|after:{_digest(row.occurrence)}"
    # One that was reported as unlisted is not counted again until it has been listed again.
    return replace(_transition(EventType.TASK_UNLISTED, row.task, row.task, occurrence, rules), recurs=True)


def stalled(rows: Mapping[str, RecordedTask], since: Mapping[str, datetime], rules: DiffRules) -> list[Transition]:
    """Return which tasks have made no progress since these times: once for each progress that they stop at."""
    return [
        replace(_transition(EventType.TASK_STALLED, row.task, row.task, _stalled_at(row), rules), since=since[job_id])
        for job_id, row in rows.items()
        if row.task.status is TaskStatus.RUNNING and row.task.progress is not None and not row.unlisted
    ]


def overdue(
    rows: Mapping[str, RecordedTask], limits: Mapping[str, OverdueLimit], rules: DiffRules
) -> Sequence[Transition]:
    """Return which tasks have exceeded their limit: once for each limit."""
    return [
        replace(
            _transition(EventType.TASK_OVERDUE, row.task, row.task, overdue_occurrence(row, limits[job_id]), rules),
            overdue=limits[job_id],
        )
        for job_id, row in rows.items()
    ]


def overdue_occurrence(row: RecordedTask, limit: OverdueLimit) -> str:
    """Return the occurrence of a task that exceeds a limit. What is usual changes a little with each run."""
    return f"overdue:{f'{limit.seconds:g}' if limit.matcher else 'usual'}|after:{_digest(row.occurrence)}"


_STALLED = "stalled:"
"""How the occurrence of a stalled task begins."""


def _stalled_at(row: RecordedTask) -> str:
    return f"{_STALLED}{row.task.progress}|after:{_digest(row.occurrence)}"


def has_stalled(occurrences: Iterable[str]) -> bool:
    """Return whether a task with these occurrences has ever stalled."""
    return any(one.startswith(_STALLED) for one in occurrences)


def _event_order(transition: Transition) -> tuple[datetime, str]:
    when = happened_at(transition.type, transition.after)
    return when or transition.observed_at, transition.after.job_id
