"""What one poll decides: how much of the list to read, what has changed, which events that makes and who gets them.

Pure. `notifier.poll` reads what is recorded, asks here, and writes the decision. It takes two steps, because only the
database knows which events are new: `decide_poll` decides what to record, and `plan_deliveries` plans for the events
that turned out to be new.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from notifier.core import doorbell, outbox, retry
from notifier.core.credentials import Credential, Urgency
from notifier.core.delivery import Delivery
from notifier.core.diff import (
    LIST_WINDOW,
    DiffRules,
    RecordedTask,
    TaskWrite,
    changed_ids,
    diff,
    new_transitions,
    overdue,
    overdue_occurrence,
    stalled,
)
from notifier.core.errors import CredentialsRejected, PermissionDenied, RequestRejected, SourceError
from notifier.core.failures import OpenFailures, key_opened_by
from notifier.core.foreseen import OverdueLimit
from notifier.core.model import Event, Scope, Snapshot, SourceOrigin, SourceState, TaskStatus, Transition
from notifier.core.origins import StartedTask, first_try_at, worth_asking
from notifier.core.outbox import SortedEvents
from notifier.core.overdue import OverdueRules, limit_of
from notifier.core.poll_interval import any_runs, last_activity, poll_interval
from notifier.core.routing import RoutedEvent, RoutingConfig, route_events
from notifier.core.rulings import Rule
from notifier.core.started_by import StartedBy
from notifier.core.storm_plan import StormContext, failures_of, plan_storms
from notifier.core.storms import Storm
from notifier.core.ticket_plan import WantedTicket, ticket_subject, wanted_tickets
from notifier.core.usual_memory import UsualMemory

BATCH_ROWS = 200
"""Rows recorded in one transaction, at most: about 40 ms of work, during which nobody else can write to SQLite."""
QUIET_BATCH_ROWS = 250
"""Likewise in a quiet baseline, whose rows make no events."""
SHORT_BATCH_ROWS = 20
"""Rows that are recorded in a few milliseconds at most."""

ACTIVE_SCAN_CALLS = 2
"""Calls that a scan of the active tasks takes."""
ONE_POLL_CALLS = 20
"""Calls that one poll may make for a full scan at once: half of the burst of a credential. A list that takes more is
scanned over several polls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRules:
    """How one source is polled."""

    poll_every: timedelta
    """The longest time from one poll to the next."""
    lease: timedelta
    poll_busy_every: timedelta | None = None
    """The time from one poll to the next while something happens; None where it is always the same."""
    quiet_baseline: bool = True
    progress_step: int = 25
    stalled_after: timedelta | None = None
    """Time without progress after which a task counts as stalled; None never reports one."""
    overdue: OverdueRules | None = None
    """How long tasks may run; None reports none as overdue."""
    calls_per_poll: int = 1
    """Calls that a poll takes at least."""
    calls_per_minute: float = 20
    """The source's share of what its credential may use."""
    credential: Credential | None = None
    """What it is polled with; None where nothing limits the calls."""
    feeds: tuple[str, ...] = ()
    """Names of the lists of alarms that it reads, in order; empty for a task list."""
    list_window: timedelta = LIST_WINDOW
    """How far back its list reaches."""
    finds_origins: bool = False
    """Whether it is searched for who started its tasks."""
    configured: frozenset[str] = frozenset()
    """Names of all configured sources."""
    environment: str = ""
    """See `Event.environment`; likewise the next one."""
    labels: tuple[tuple[str, str], ...] = ()
    ring_interval: timedelta = doorbell.MIN_INTERVAL
    """Time from the end of a poll to the next one that a ring of the doorbell may cause."""

    @property
    def due_check_interval(self) -> timedelta:
        """Interval between checks whether the source is due: what another replica leaves undone is soon taken over."""
        return min(timedelta(seconds=1), self.poll_every, self.poll_busy_every or self.poll_every)

    @property
    def adaptive(self) -> bool:
        """Whether the source is polled more often while something happens."""
        return self.poll_busy_every is not None and self.poll_busy_every < self.poll_every

    @property
    def polls_per_minute(self) -> float:
        """Number of promised polls."""
        return timedelta(minutes=1) / self.poll_every

    @property
    def calls_for_full_scans(self) -> float:
        """Calls per minute that promised full scans may take. Early polls need half of the share."""
        return self.calls_per_minute / 2 if self.adaptive else self.calls_per_minute

    @property
    def full_scan_pace(self) -> float:
        """Calls per minute for full scans of a list that is too long for one in each poll."""
        left = self.calls_for_full_scans - ACTIVE_SCAN_CALLS * self.polls_per_minute
        return max(left, self.calls_per_minute / 4)

    @property
    def slice_calls(self) -> int:
        """Calls that one poll may make for a full scan: a few at once, or what its pace leaves for each poll."""
        return max(ONE_POLL_CALLS, int(self.full_scan_pace / self.polls_per_minute))

    @property
    def scan_given_up_after(self) -> timedelta:
        """How long after its last slice the full scan of another replica counts as given up."""
        return max(self.away_after, timedelta(minutes=2 / self.full_scan_pace))

    @property
    def taken_over_after(self) -> timedelta:
        """How long after its last poll another replica that reads something else under this name counts as gone."""
        return max(2 * self.poll_every, timedelta(minutes=5))

    @property
    def patience(self) -> timedelta:
        """How long after its time a poll that takes many calls may wait for room for all of them."""
        return max(self.poll_every, timedelta(minutes=1))

    @property
    def away_after(self) -> timedelta:
        """Time without a poll after which the poller counts as having been away, and what it finds as late."""
        return max(5 * self.poll_every, timedelta(minutes=5))


# ---- before the list is read, and after it could not be ----


def next_scope(state: SourceState, now: datetime, rules: PollRules, *, in_slices: bool = False) -> Scope:
    """Choose between a full and an active scan, so that the calls stay within the budget.

    A full scan in slices makes the calls of its first slice at once, and the others later at the same pace.

    Active scans take few calls each; what they leave of the budget decides how often a full one fits in.
    """
    if state.baseline_at is None or state.last_full_at is None or rules.feeds:
        return Scope.FULL  # alarms have no part that can be read alone
    if state.last_full_calls * rules.polls_per_minute <= rules.calls_for_full_scans:
        early = rules.adaptive and state.last_full_calls > ACTIVE_SCAN_CALLS
        return Scope.ACTIVE if early and now < due_after(state.last_full_at, rules.poll_every, rules) else Scope.FULL
    calls = min(state.last_full_calls, rules.slice_calls) if in_slices else state.last_full_calls
    due = state.last_full_at + timedelta(minutes=calls / rules.full_scan_pace)
    return Scope.FULL if now >= due else Scope.ACTIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanPlan:
    """What one poll reads of the list."""

    scope: Scope
    """FULL begins a full scan; ACTIVE may go on with one."""
    calls: int
    """Calls that the poll is charged with before it makes any."""
    slice_calls: int = 0
    """Calls for the full scan, where that can go on over several polls."""
    goes_on: bool = False
    """Whether this process is in the middle of a full scan."""
    may_begin: bool = True
    """Whether a full scan may begin where the active one shows that it is needed."""


def plan_scan(state: SourceState, now: datetime, rules: PollRules, *, owner: str, scanning: bool | None) -> ScanPlan:
    """Plan what a poll reads.

    A full scan that does not fit into one poll goes on in slices, as the budget allows, while each poll scans the
    active tasks. One of several replicas makes it; the others leave it alone until it is given up.

    Args:
        state: as recorded.
        now: when the poll begins.
        rules: of the source.
        owner: the process that polls.
        scanning: whether it is in the middle of a full scan; None where the source reads its list as a whole.
    """
    known = max(rules.calls_per_poll, state.last_full_calls)
    if scanning is None:
        full = next_scope(state, now, rules) is Scope.FULL
        return ScanPlan(scope=Scope.FULL if full else Scope.ACTIVE, calls=known if full else ACTIVE_SCAN_CALLS)
    if scanning and state.scanned_by == owner:
        due = _slice_due(state, now, rules)
        return ScanPlan(scope=Scope.ACTIVE, calls=ACTIVE_SCAN_CALLS + due, slice_calls=due, goes_on=True)
    if _is_scanned_elsewhere(state, now, rules, owner):
        return ScanPlan(scope=Scope.ACTIVE, calls=ACTIVE_SCAN_CALLS, may_begin=False)
    due = rules.slice_calls
    if next_scope(state, now, rules, in_slices=True) is Scope.ACTIVE:
        return ScanPlan(scope=Scope.ACTIVE, calls=ACTIVE_SCAN_CALLS, slice_calls=due)
    calls = known if known <= due else due + ACTIVE_SCAN_CALLS
    return ScanPlan(scope=Scope.FULL, calls=calls, slice_calls=due)


def _slice_due(state: SourceState, now: datetime, rules: PollRules) -> int:
    """Return by how many calls a full scan may go on now, at its pace since its last slice."""
    since = timedelta() if state.scanned_at is None else max(now - state.scanned_at, timedelta())
    return min(int(since / timedelta(minutes=1) * rules.full_scan_pace), rules.slice_calls)


def _is_scanned_elsewhere(state: SourceState, now: datetime, rules: PollRules, owner: str) -> bool:
    if state.scanned_by in (None, owner) or state.scanned_at is None:
        return False
    return timedelta() <= now - state.scanned_at <= rules.scan_given_up_after


@dataclass(frozen=True, slots=True, kw_only=True)
class NextPoll:
    """When a source is polled next."""

    due_at: datetime
    """As soon as what happens there asks for it and the budget allows it."""
    promised_at: datetime
    """At the latest."""
    active_at: datetime | None
    """When something changed last."""


def plan_next_poll(
    state: SourceState, claimed_at: datetime, rules: PollRules, *, full_at: datetime | None, running: bool, news: int
) -> NextPoll:
    """Plan the next poll after one that succeeded.

    Args:
        state: as recorded before the poll.
        claimed_at: when it began.
        rules: of the source.
        full_at: when the last complete full scan began, this one included. The next one is promised too.
        running: whether a task runs.
        news: number of rows that had changed. Those of a baseline are no news.
    """
    promised_at = due_after(claimed_at, rules.poll_every, rules)
    if rules.adaptive and full_at is not None and full_at + rules.poll_every > claimed_at:
        promised_at = min(promised_at, due_after(full_at, rules.poll_every, rules))
    changed = news > 0 and state.baseline_at is not None
    active_at = last_activity(state.active_at, claimed_at, changed=changed)
    # Who rang knows of something that is about to be listed.
    busy_since = [min(at, claimed_at) for at in (active_at, state.rung_at) if at is not None]
    quiet_for = claimed_at - max(busy_since) if busy_since else None
    interval = poll_interval(rules.poll_busy_every, rules.poll_every, running=running, quiet_for=quiet_for)
    return NextPoll(
        due_at=min(due_after(claimed_at, interval, rules), promised_at),
        promised_at=promised_at,
        active_at=active_at,
    )


def still_running(known: KnownTasks, decision: PollDecision, now: datetime) -> bool:
    """Return whether a task runs after what the last batch of a poll records."""
    written = (write.recorded for write in decision.updates.values())
    return any_runs((*written, *(row for id_, row in known.running.items() if id_ not in decision.updates)), now)


def due_after(claimed_at: datetime, interval: timedelta, rules: PollRules) -> datetime:
    """Return when a source is due after a poll that succeeded.

    That is half a check early: checks do not fall on the very moment, and so the interval is right on average.
    """
    return claimed_at + interval - rules.due_check_interval / 2


def is_early(state: SourceState, now: datetime, rules: PollRules) -> bool:
    """Return whether a poll now comes before the time that was promised, so that it can wait until then.

    What was promised further ahead than `poll_every` was left by a clock that has since been set back.
    """
    promised = state.promised_at
    return promised is not None and not state.failures and now < promised <= now + rules.poll_every


def urgency_of_poll(state: SourceState, now: datetime, rules: PollRules) -> Urgency:
    """Return how long a poll can wait that is due now, where nobody forces it.

    A poll of alarms takes many calls. Started with room for one, it would delay the polls of all task lists with the
    same credential. So it waits until there is room for all of its calls, but not forever: budgets may be too small.
    """
    if is_early(state, now, rules):
        return Urgency.EARLY
    if not rules.feeds or state.promised_at is None or state.failures:
        return Urgency.DUE
    return Urgency.WHOLE if state.promised_at <= now < state.promised_at + rules.patience else Urgency.DUE


def early_calls(state: SourceState, rules: PollRules) -> int:
    """Return the calls that an early poll takes: those of an active scan, or of a list that takes no more."""
    known = max(rules.calls_per_poll, state.last_full_calls)
    return known if rules.feeds else min(known, ACTIVE_SCAN_CALLS)


def pause_after(error: SourceError, failures: int, rules: PollRules) -> timedelta:
    """Return how long to leave a source alone after a failed poll.

    What a person must fix is tried slowly; five rejections in a row lock an access key for five minutes.
    """
    if isinstance(error, CredentialsRejected | PermissionDenied | RequestRejected):
        wait = retry.backoff(failures, max(rules.poll_every, timedelta(minutes=1)), timedelta(minutes=5))
    else:
        first = min(rules.poll_every, rules.poll_busy_every or rules.poll_every)
        wait = retry.backoff(failures, first * 0.8, max(rules.poll_every, timedelta(minutes=2)))
    return max(wait, error.retry_after or timedelta())


# ---- what to record of it ----


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledSource:
    """A source that has been scanned: the same for all batches of a poll."""

    name: str
    region: str
    project_id: str
    state: SourceState
    """As recorded when the poll was claimed."""
    snapshot: Snapshot
    rules: PollRules
    lacked: bool = False
    """Whether a right was missing before this poll, so that a part of its list had not been read."""

    @property
    def origin(self) -> SourceOrigin:
        """What its events carry about it."""
        return SourceOrigin(
            source=self.name,
            region=self.region,
            project_id=self.project_id,
            environment=self.rules.environment,
            labels=self.rules.labels,
        )

    @property
    def reading(self) -> DiffRules:
        """How its rows are compared with what is recorded."""
        rules = diff_rules(self.state, self.snapshot, self.rules)
        regained = self.lacked and not self.snapshot.lacking
        return replace(rules, quiet_until=self.state.last_poll_at) if regained else rules


@dataclass(frozen=True, slots=True, kw_only=True)
class PollBatch:
    """Rows to record in one transaction."""

    snapshot: Snapshot
    """The scan that shows them."""
    changed: Sequence[str]
    """Ids of the rows that are new or differ from what is recorded."""
    last: bool
    """True for the batch that ends the poll: with it absences are counted and stalled tasks found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTasks:
    """What is recorded about the tasks that a batch may change."""

    changed: Mapping[str, RecordedTask] = field(default_factory=dict)
    """The changed rows, as last recorded."""
    running: Mapping[str, RecordedTask] = field(default_factory=dict)
    """Every task that has not ended. Empty but for the last batch, as is the next one."""
    unchanged_since: Mapping[str, datetime] = field(default_factory=dict)
    """Running tasks that have not changed for `stalled_after`, and since when."""
    overdue: Mapping[str, OverdueLimit] = field(default_factory=dict)
    """Running tasks that have exceeded a limit, with that; see `overdue_tasks`. Empty but for the last batch."""
    occurrences: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Occurrences of the events of the tasks, by job id."""
    subscribers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """People who want to know how the tasks end, by job id."""

    def started_by(self, job_id: str) -> StartedBy | None:
        """Return who started a task, as far as that is recorded."""
        row = self.changed.get(job_id) or self.running.get(job_id)
        return row.started_by if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PollDecision:
    """What one batch of a poll records, before deliveries are planned."""

    events: tuple[RoutedEvent, ...]
    """With the channels of subscribers. Some may be recorded already."""
    updates: Mapping[str, TaskWrite]
    missing: Mapping[str, int]
    unlisted: Collection[str]
    without_status: tuple[str, ...]
    failures: OpenFailures = field(default_factory=dict)
    """Open failures of the operations that the events concern, locked by the transaction."""

    def updates_without(self, refused: Collection[str]) -> Sequence[TaskWrite]:
        """Return the updates but those of tasks whose event was refused: the next poll finds their change again."""
        return [update for job_id, update in self.updates.items() if job_id not in refused]


def first_tries(
    decision: PollDecision, known: KnownTasks, refused: Collection[str], source: PolledSource
) -> Mapping[str, datetime]:
    """Return the new tasks whose start is searched for, by job id, each with the time of the first try."""
    found: dict[str, datetime] = {}
    for job_id, write in decision.updates.items():
        if job_id in known.changed or job_id in refused:
            continue
        task = write.recorded.task
        started = StartedTask(
            source=source.name,
            job_id=job_id,
            name=task.name,
            created_at=task.created_at,
            seen_at=source.snapshot.taken_at,
        )
        if worth_asking(started, baseline=source.state.baseline_at is None):
            found[job_id] = first_try_at(started)
    return found


def split_batches(snapshot: Snapshot, known: Mapping[str, bytes], *, quiet: bool = False) -> Sequence[PollBatch]:
    """Return what to record in the order in which it was shown; the last batch may be empty.

    In a quiet baseline the batches are larger.
    """
    rows = QUIET_BATCH_ROWS if quiet else BATCH_ROWS
    found: list[PollBatch] = []
    before: set[str] = set()
    for shown in (*snapshot.earlier, snapshot):
        changed = changed_ids(shown, known)
        # What was shown in another state earlier in this poll has changed again.
        changed += (before & shown.fingerprints.keys()).difference(changed)
        before.update(changed)
        found += [
            PollBatch(snapshot=shown, changed=changed[start : start + rows], last=False)
            for start in range(0, len(changed), rows)
        ]
    if not found or found[-1].snapshot is not snapshot:
        found.append(PollBatch(snapshot=snapshot, changed=(), last=False))
    return [*found[:-1], replace(found[-1], last=True)]


def may_have_events(
    batch: PollBatch, recorded: Collection[str], running: Collection[str], unchanged: Collection[str], *, quiet: bool
) -> set[str]:
    """Return the tasks that the batch may make events of: of no other need events and subscribers be read.

    In a quiet baseline a row that has not been recorded makes none.
    """
    changed = [job_id for job_id in batch.changed if not quiet or job_id in recorded]
    return {*changed, *unchanged, *(job_id for job_id in running if job_id not in batch.snapshot.fingerprints)}


def unchanged_since(running: Mapping[str, RecordedTask], before: datetime) -> Mapping[str, datetime]:
    """Return the running tasks that last changed at or before a time, and when that was."""
    return {
        job_id: row.changed_at
        for job_id, row in running.items()
        if row.task.status is TaskStatus.RUNNING and row.changed_at is not None and row.changed_at <= before
    }


_NO_LIMIT = OverdueLimit(seconds=0)


def overdue_tasks(
    batch: PollBatch, running: Mapping[str, RecordedTask], source: PolledSource, usual: UsualMemory
) -> Mapping[str, OverdueLimit]:
    """Return the listed tasks that have run for longer than they may, and the limit of each.

    One whose event is known to be recorded is left out. `usual` has what was read of their operations.
    """
    rules = source.rules.overdue
    if rules is None or source.state.baseline_at is None:
        return {}
    found: dict[str, OverdueLimit] = {}
    for job_id, row in long_running(batch, running, source).items():
        (judged,) = overdue({job_id: row}, {job_id: _NO_LIMIT}, source.reading)
        limit = limit_of(outbox.task_event(judged, source.origin), usual.usual(row.task), rules)
        known = limit is None or usual.is_announced(source.name, job_id, overdue_occurrence(row, limit))
        if limit and not known and _elapsed(row, source) > limit.length:
            found[job_id] = limit
    return found


def long_running(
    batch: PollBatch, running: Mapping[str, RecordedTask], source: PolledSource
) -> Mapping[str, RecordedTask]:
    """Return the listed tasks that still run, as they are now, for so long that one may be overdue."""
    rules, changed, shown = source.rules.overdue, frozenset(batch.changed), batch.snapshot
    if rules is None:
        return {}
    shortest = rules.shortest
    old = {
        job_id: replace(row, task=shown.parse(job_id)) if job_id in changed else row
        for job_id, row in running.items()
        if job_id in shown.fingerprints and not row.unlisted and _elapsed(row, source) > shortest
    }
    return {job_id: row for job_id, row in old.items() if row.task.status is TaskStatus.RUNNING}


def _elapsed(row: RecordedTask, source: PolledSource) -> timedelta:
    """Return how long a task has existed, by the cloud's clock; nothing where that is not known."""
    if row.task.created_at is None:
        return timedelta()
    return source.snapshot.taken_at - (source.snapshot.skew or timedelta()) - row.task.created_at


def diff_rules(state: SourceState, snapshot: Snapshot, rules: PollRules) -> DiffRules:
    """Return how the rows of a poll are compared: as a baseline, and as late after an absence."""
    now = snapshot.taken_at
    away = state.last_poll_at is not None and now - state.last_poll_at > rules.away_after
    return DiffRules(
        observed_at=now,
        quiet_new=rules.quiet_baseline and state.baseline_at is None,
        progress_step=rules.progress_step,
        late_after=rules.away_after if away else None,
        pruned_to=state.pruned_to,
        last_complete_at=state.last_full_at,
        baseline_at=state.baseline_at,
        empty_since=state.empty_since,
        skew=snapshot.skew,
    )


def decide_poll(batch: PollBatch, known: KnownTasks, source: PolledSource, routing: RoutingConfig) -> PollDecision:
    """Compare a batch with what is recorded; decide its events, whom they go to, and what to record of its tasks."""
    reading = source.reading
    changes = diff(batch.snapshot, batch.changed, known.changed, known.running, reading)
    unchanging = _stalled(batch, known, reading)
    news = {each.after.job_id for each in (*unchanging, *changes.transitions)}
    late = _overdue(batch, known, source, apart_from=news)
    transitions = new_transitions([*changes.transitions, *unchanging, *late], known.occurrences)
    changed_tasks = (
        outbox.task_event(each, source.origin, known.started_by(each.after.job_id))
        for each in transitions
        if not each.quiet
    )
    away_since = source.state.last_poll_at
    events = [*_gap(source), *(replace(one, away_since=away_since) if one.late else one for one in changed_tasks)]
    noted = (outbox.task_event(each, source.origin) for each in transitions if each.quiet)
    quiet = [RoutedEvent(event=one, routes=(), channels=()) for one in noted if key_opened_by(one)]
    repeated = {each.after.job_id: each.occurrence for each in transitions if each.recurs}
    return PollDecision(
        events=(
            *quiet,
            *outbox.with_subscribers(route_events(events, routing.routes, routing.catalogue), known.subscribers),
        ),
        updates={
            job_id: TaskWrite(
                recorded=replace(row, occurrence=repeated[job_id]) if job_id in repeated else row,
                fingerprint=batch.snapshot.fingerprints[job_id] if row.task.raw_status else b"",
                was=_ended_at(known.changed.get(job_id)),
            )
            for job_id, row in changes.updates.items()
        },
        missing=changes.missing,
        unlisted=changes.unlisted,
        without_status=changes.unreadable,
    )


def _ended_at(before: RecordedTask | None) -> datetime | None:
    return before.changed_at if before and before.task.status.terminal else None


def _stalled(batch: PollBatch, known: KnownTasks, reading: DiffRules) -> Sequence[Transition]:
    """Return which of the tasks that are listed as they were have been so for too long."""
    listed = sorted(known.unchanged_since.keys() & batch.snapshot.fingerprints.keys() & known.running.keys())
    changed = frozenset(batch.changed)
    rows = {job_id: known.running[job_id] for job_id in listed if job_id not in changed}
    return stalled(rows, known.unchanged_since, reading)


def _overdue(
    batch: PollBatch, known: KnownTasks, source: PolledSource, apart_from: Collection[str]
) -> Sequence[Transition]:
    """Return which tasks have exceeded their limit. One that is stalled, or has changed right now, is news already."""
    if not known.overdue:
        return ()
    rows = long_running(batch, known.running, source)
    rows = {job_id: rows[job_id] for job_id in sorted(known.overdue.keys() & rows.keys()) if job_id not in apart_from}
    return overdue(rows, known.overdue, source.reading)


def _gap(source: PolledSource) -> Iterator[Event]:
    last, now = source.state.last_poll_at, source.snapshot.taken_at
    if last is not None and now - last > source.rules.list_window:
        yield outbox.gap_event(source.origin, last, now)


# ---- what to send ----


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedEvents:
    """Number of events that were planned to be sent, by channel."""

    apart: Mapping[str, int] = field(default_factory=Counter)
    """Events that are no part of a storm."""
    failures: Mapping[str, int] = field(default_factory=Counter)
    """Failed tasks, in storms or not."""

    def __add__(self, more: PlannedEvents) -> PlannedEvents:
        return PlannedEvents(
            apart=Counter(self.apart) + Counter(more.apart), failures=Counter(self.failures) + Counter(more.failures)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPlan:
    """What follows from the events that were new."""

    deliveries: tuple[Delivery, ...] = ()
    extending: Mapping[str, Delivery] = field(default_factory=dict)
    """By id of an unsent delivery of a storm: the failures that it takes, as the delivery that reports them if it was
    sent by now."""
    superseding: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By channel and subject: the event in whose favour progress gives way that no attempt has been made to send."""
    storms: Sequence[Storm] = ()
    """Storms that have begun, grown or ended."""
    planned: PlannedEvents = field(default_factory=PlannedEvents)
    """What the deliveries report."""
    failed: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By channel: the subjects of failures. What waits about these is sent as soon as the failures are."""
    sent: Mapping[str, Collection[str]] = field(default_factory=dict)
    """By channel: the subjects of what is sent at once. What rules hold about these is sent before it. Empty where no
    rule can hold anything."""
    shown: Mapping[Event, Collection[str]] = field(default_factory=dict)
    """Events about tasks, for the threads that exist already, each with the channels that get a delivery of it."""
    ended: Sequence[str] = ()
    """Ids of the tasks that have ended: their subscriptions are answered."""
    wanted: Sequence[WantedTicket] = ()
    """The tickets that deliveries ask for."""


def plan_deliveries(
    new: Sequence[RoutedEvent],
    routing: RoutingConfig,
    *,
    parked: Collection[str],
    rules: Sequence[Rule],
    now: datetime,
    before: PlannedEvents | None = None,
    storms: StormContext | None = None,
) -> DeliveryPlan:
    """Plan the deliveries of events that have just been recorded, and what they make needless.

    `rules` are asked in order about each event on each channel; see `notifier.core.rulings`. `before` is what earlier
    batches of the same poll have planned.
    """
    before = before or PlannedEvents()
    found = outbox.sort_out(new, rules)
    sent = found.sent
    context = replace(storms or StormContext(), before=before.failures)
    stormy = plan_storms(sent, routing, parked, now, context)
    apart = {
        channel: left
        for channel, items in sent.items()
        if (left := [item for item in items if item.event.id not in stormy.taken.get(channel, ())])
    }
    failed = {channel: failures for channel, items in sent.items() if (failures := failures_of(items))}
    keeping = frozenset(routing.ticket_channels)
    coalescing = [name for name, policy in routing.policies.items() if policy.coalesces]
    superseding = {
        name: {item.event.subject: item.event.id for item in new if name in item.channels} for name in coalescing
    }
    shown = (item.event for item in new if coalescing and item.event.task and not item.event.follow_up)
    planned = (
        *outbox.plan_held(found.held, routing, now),  # first: what is sent about the same task releases it, in order
        *outbox.plan_sent(apart, routing, parked, now, before.apart),
    )
    getting = _channels_by_event(found)
    return DeliveryPlan(
        deliveries=(*stormy.deliveries, *planned, *outbox.plan_suppressed(found.suppressed, now)),
        wanted=wanted_tickets(planned) if keeping else (),
        extending=stormy.extending,
        storms=stormy.storms,
        planned=PlannedEvents(
            apart={channel: len(items) for channel, items in apart.items()},
            failures={channel: len(items) for channel, items in failed.items()},
        ),
        failed=_subjects(failed, keeping),
        sent=_subjects(sent, keeping) if routing.holds else {},
        superseding={name: by for name, by in superseding.items() if by},
        shown={event: tuple(getting.get(event.id, ())) for event in shown},
        ended=[item.event.job_id for item in new if outbox.ends(item.event)],
    )


def _subjects(
    by_channel: Mapping[str, Sequence[RoutedEvent]], keeping: Collection[str]
) -> Mapping[str, Collection[str]]:
    """Return the subjects of the deliveries of events, by channel. `keeping` are the channels that keep tickets."""
    return {
        channel: {
            ticket_subject(item.event) if channel in keeping and item.event.task else item.event.subject
            for item in items
        }
        for channel, items in by_channel.items()
    }


def _channels_by_event(found: SortedEvents) -> Mapping[str, Collection[str]]:
    """Return the channels that are sent each event now, by event id.

    On all others a message that is there already shows it, although a rule holds or suppresses it: an edit disturbs
    nobody, and a message must not show what is past.
    """
    channels: dict[str, list[str]] = {}
    for channel, items in found.sent.items():
        for item in items:
            channels.setdefault(item.event.id, []).append(channel)
    return channels
