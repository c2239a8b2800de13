"""Look at one task list once, and record what changed.

1. Claim the right to poll: the database decides who polls.
2. Read the list. No transaction is open meanwhile.
3. In one transaction: compare with what is recorded, make events, plan deliveries, record all of it.

A kill before 3 commits changes nothing; a kill after it loses nothing. Where very much has changed, as in a first poll,
3 takes a transaction for each batch of rows, so that nobody else waits long for the database. Each of them is
complete in itself; the last one records the poll, and with it the baseline. After a kill between two of them the next
poll finds what is left.

The time is the database's throughout: replicas whose clocks disagree agree on who polls, when, and how long ago.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

from notifier.core import credentials, outbox, retry
from notifier.core.credentials import Credential
from notifier.core.delivery import Delivery
from notifier.core.diff import LIST_WINDOW, DiffRules, changed_ids, diff, new_transitions, stalled
from notifier.core.errors import (
    CredentialsRejected,
    PermissionDenied,
    RequestRejected,
    SourceConflict,
    SourceError,
    StoreError,
)
from notifier.core.model import Event, Scope, Snapshot, SourceState, TaskStatus, Transition
from notifier.core.people import Mute
from notifier.core.routing import RoutedEvent, RoutingConfig, route_events
from notifier.ports import EventsRecorded, PollClaim, Queries, Store, TaskSource, TaskWrite, Transaction

BATCH_ROWS = 200
"""Rows recorded in one transaction, at most: about 40 ms of work, during which nobody else can write to SQLite."""

ACTIVE_SCAN_CALLS = 2
"""Calls that a look at the active tasks takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollRules:
    """How one source is polled."""

    poll_every: timedelta
    lease: timedelta
    quiet_baseline: bool = True
    progress_step: int = 25
    stalled_after: timedelta | None = None
    """For how long a task may make no progress before that is told; None never tells."""
    calls_per_minute: float = 20
    """The source's share of what its credential may use."""
    credential: Credential | None = None
    """What it is polled with; None where nothing limits the calls."""
    configured: frozenset[str] = frozenset()
    """Names of all configured sources."""

    @property
    def due_check_interval(self) -> timedelta:
        """How often to look whether the source is due: what another replica leaves undone is then soon taken over."""
        return min(timedelta(seconds=1), self.poll_every)

    @property
    def taken_over_after(self) -> timedelta:
        """How long after its last poll another replica that reads something else under this name counts as gone."""
        return max(2 * self.poll_every, timedelta(minutes=5))

    @property
    def away_after(self) -> timedelta:
        """Silence longer than this means that we had been away, and that what is found then is late."""
        return max(5 * self.poll_every, timedelta(minutes=5))


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """What one poll did. The shell logs and counts it."""

    source: str
    polled: bool
    """False when another replica holds the source, or it is not due."""
    scope: Scope = Scope.FULL
    listed: int = 0
    total: int | None = None
    """How many tasks the API said there are."""
    changed: int = 0
    calls: int = 0
    complete: bool = False
    baseline: bool = False
    """True for the poll that completed the baseline."""
    events: tuple[Event, ...] = ()
    deliveries: int = 0
    unreadable: int = 0
    """Rows without a usable id or without a status."""
    without_status: tuple[str, ...] = ()
    """Ids of those without a status: what is recorded of these tasks stays as it is."""
    refused: tuple[str, ...] = ()
    """Ids of rows that the database refused to hold."""
    formerly: str | None = None
    """The name under which the source was recorded before this poll, where that is another one."""
    fenced: bool = False
    """True when the claim had passed to another replica meanwhile; nothing was recorded."""
    error: SourceError | None = None

    @property
    def good(self) -> bool:
        """True when the list was read and recorded."""
        return self.polled and not self.fenced and self.error is None


async def poll_once(
    source: TaskSource,
    store: Store,
    *,
    owner: str,
    rules: PollRules,
    routing: RoutingConfig,
    force: bool = False,
) -> PollReport:
    """Poll a source once, if it is due and no other replica does. Raises StoreError; a SourceError is in the report."""
    try:
        begun = await store.transact(lambda tx: _begin(tx, source, owner, rules, force=force))
    except SourceConflict as error:
        return PollReport(source=source.name, polled=True, error=error)
    if isinstance(begun, PollReport):
        return begun
    claim = begun.claim
    try:
        seen = await _holding(store, claim, rules.lease, _look(source, store, claim, rules))
    except SourceError as error:
        return await _note_failure(store, begun, error, rules)
    if seen is None:
        return PollReport(source=source.name, polled=True, fenced=True)
    # The cloud's time is compared with the one that is recorded, which need not be this host's.
    skew = None if seen.skew is None else seen.skew + (claim.at - seen.taken_at)
    snapshot = replace(seen, taken_at=claim.at, skew=skew)
    recording = _Recording(source=source, claim=claim, snapshot=snapshot, rules=rules, routing=routing)
    return await recording.run(store)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """A poll that may go ahead."""

    claim: PollClaim
    trial: bool = False
    """Whether it tries a credential that was refused before, on behalf of all that use it."""


def _begin(tx: Transaction, source: TaskSource, owner: str, rules: PollRules, *, force: bool) -> _Begun | PollReport:
    """Claim the poll and charge its calls to the credential; return a report where it cannot go ahead."""
    claim = tx.polls.claim(source.name, owner, tx.now(), rules.lease, poll_every=rules.poll_every, force=force)
    if claim is None:
        return PollReport(source=source.name, polled=False)
    claim = tx.polls.bind_source(
        claim,
        source.region,
        source.project_id,
        configured=rules.configured,
        in_use_since=claim.at - rules.taken_over_after,
    )
    if rules.credential is None:
        return _Begun(claim=claim)
    known = tx.polls.credential(rules.credential.key)
    admission = credentials.admit(known, rules.credential, claim.at, _expected_calls(claim, rules), force=force)
    if admission.retry_at is None:
        tx.polls.save_credential(rules.credential.key, admission.state)
        return _Begun(claim=claim, trial=admission.trial)
    if admission.refusal is None:
        tx.polls.postpone(claim, admission.retry_at)
        return PollReport(source=source.name, polled=False)
    error = CredentialsRejected(
        credentials.pause_message(f"source {source.name}", admission.refusal),
        retry_after=admission.retry_at - claim.at,
    )
    tx.polls.record_failure(claim, str(error), admission.retry_at)
    return PollReport(source=source.name, polled=True, error=error)


def _expected_calls(claim: PollClaim, rules: PollRules) -> int:
    full = next_scope(claim.state, claim.at, rules) is Scope.FULL
    return max(1, claim.state.last_full_calls) if full else ACTIVE_SCAN_CALLS


async def _holding(
    store: Store, claim: PollClaim, lease: timedelta, look: Coroutine[object, object, Snapshot]
) -> Snapshot | None:
    """Look, renewing the lease meanwhile: a long list is paced by its call budget and can take many leases.

    Returns None when the claim has passed to another replica: looking on would only burden the service.
    """
    looking = asyncio.create_task(look)
    try:
        while not (await asyncio.wait({looking}, timeout=lease.total_seconds() / 3))[0]:
            with suppress(StoreError):  # a renewal that fails is tried again; whether the claim held, the fence decides
                if not await store.transact(lambda tx: tx.polls.renew(claim, tx.now() + lease)):
                    return None
        return looking.result()
    finally:
        looking.cancel()


async def _look(source: TaskSource, store: Store, claim: PollClaim, rules: PollRules) -> Snapshot:
    scope = next_scope(claim.state, claim.at, rules)
    snapshot = await source.fetch(scope)
    if scope is Scope.ACTIVE and await store.read(lambda q: _ended_unseen(q, snapshot)):
        # A task that ran is neither running nor failed now: only the whole list says what became of it.
        return (await source.fetch(Scope.FULL)).after(snapshot)
    return snapshot


def next_scope(state: SourceState, now: datetime, rules: PollRules) -> Scope:
    """Choose between a full look and a look at the active tasks, so that the calls stay within the budget.

    Active looks take few calls each; what they leave of the budget decides how often a full one fits in.
    """
    if state.baseline_at is None or state.last_full_at is None:
        return Scope.FULL
    polls_per_minute = timedelta(minutes=1) / rules.poll_every
    if state.last_full_calls * polls_per_minute <= rules.calls_per_minute:
        return Scope.FULL
    left = max(rules.calls_per_minute - ACTIVE_SCAN_CALLS * polls_per_minute, rules.calls_per_minute / 4)
    due = state.last_full_at + timedelta(minutes=state.last_full_calls / left)
    return Scope.FULL if now >= due else Scope.ACTIVE


def _ended_unseen(queries: Queries, snapshot: Snapshot) -> bool:
    live = queries.running_tasks(snapshot.source)
    return any(
        job_id not in snapshot.fingerprints
        for job_id, row in live.items()
        if row.task.status is TaskStatus.RUNNING and not row.unlisted
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What has been recorded of a poll so far."""

    changed: int = 0
    events: tuple[Event, ...] = ()
    deliveries: int = 0
    planned: Counter[str] = field(default_factory=Counter)
    """Events by channel."""
    without_status: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __add__(self, more: _Done) -> _Done:
        return _Done(**{each.name: getattr(self, each.name) + getattr(more, each.name) for each in fields(self)})


_Batch = tuple[Snapshot, Sequence[str]]
"""Ids of rows to record, and the snapshot that shows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recording:
    """Compares a snapshot with what is recorded and writes what differs."""

    source: TaskSource
    claim: PollClaim
    snapshot: Snapshot
    rules: PollRules
    routing: RoutingConfig

    async def run(self, store: Store) -> PollReport:
        """Write it, in as few transactions as its size allows. Raises StoreError; what is written then stays."""
        done, rest = await store.transact(self._begin)
        for number, batch in enumerate(rest, start=1):
            if done is not None:
                done = await store.transact(partial(self._go_on, batch, done, last=number == len(rest)))
        return self._report(done)

    def _begin(self, tx: Transaction) -> tuple[_Done | None, Sequence[_Batch]]:
        """Write everything, or nothing yet and return the batches to write it in."""
        if not tx.polls.claim_is_current(self.claim):
            return None, ()
        batches = _batches(self.snapshot, tx.polls.fingerprints(self.claim))
        if len(batches) > 1:
            return _Done(), batches
        return self._record(tx, batches[0], _Done(), last=True), ()

    def _go_on(self, batch: _Batch, done: _Done, tx: Transaction, *, last: bool) -> _Done | None:
        if not tx.polls.renew(self.claim, tx.now() + self.rules.lease):
            return None
        return done + self._record(tx, batch, done, last=last)

    def _record(self, tx: Transaction, batch: _Batch, done: _Done, *, last: bool) -> _Done:
        """Compare, decide and write one batch; the last one counts absences too and records the poll."""
        now, (shown, changed), name = tx.now(), batch, self.source.name
        reading = replace(diff_rules(self.claim.state, self.snapshot.taken_at, self.rules), skew=self.snapshot.skew)
        changes = diff(
            shown,
            changed,
            tx.polls.recorded_tasks(name, changed),
            tx.queries.running_tasks(name) if last else {},
            reading,
        )
        found = [*changes.transitions, *(self._stalled(tx, frozenset(changed), reading) if last else ())]
        transitions = new_transitions(
            found, tx.events.occurrences(name, {transition.after.job_id for transition in found})
        )
        told = self._tell(tx, transitions)
        # A task whose event cannot be stored is left as it was recorded: the next poll finds the change again.
        untold = {event.job_id for event in told.refused}
        renamed = {transition.after.job_id: transition.occurrence for transition in transitions if transition.recurs}
        updates = [
            TaskWrite(
                recorded=replace(row, occurrence=renamed.get(job_id, row.occurrence)),
                fingerprint=shown.fingerprints[job_id] if row.task.raw_status else b"",
            )
            for job_id, row in changes.updates.items()
            if job_id not in untold
        ]
        refused = (*tx.polls.record_tasks(self.claim, updates, self.snapshot.taken_at), *sorted(untold))
        deliveries = plan(tx, told.new, self.routing, now, done.planned)
        if last:
            tx.polls.record_missing(name, changes.missing, changes.unlisted)
            if self.rules.credential:
                _accept(tx, self.rules.credential, now, self.snapshot.calls - _expected_calls(self.claim, self.rules))
            # Half a look early: looks do not fall on the very moment, and on average the interval is the one asked for.
            due = self.claim.at + self.rules.poll_every - self.rules.due_check_interval / 2
            tx.polls.record(self.claim, self.snapshot, now, due, len({*done.refused, *refused}))
        return _Done(
            changed=len(changed),
            events=tuple(item.event for item in told.new),
            deliveries=len(deliveries),
            planned=Counter(channel for item in told.new for channel in item.channels),
            without_status=changes.unreadable,
            refused=refused,
        )

    def _tell(self, tx: Transaction, transitions: Sequence[Transition]) -> EventsRecorded:
        source, state = self.source, self.claim.state
        found = [outbox.task_event(transition, source.region, source.project_id) for transition in transitions]
        routed = route_events(_gap(source, state, self.snapshot.taken_at) + found, self.routing.routes)
        wanted = [event.job_id for event in found if outbox.concerns_subscribers(event)]
        told = tx.events.record(
            outbox.with_subscribers(routed, tx.people.subscribers(source.name, wanted) if wanted else {})
        )
        if ended := [item.event.job_id for item in told.new if outbox.ends(item.event)]:
            tx.people.pop_subscribers(source.name, ended)
        return told

    def _stalled(self, tx: Transaction, changed: Collection[str], reading: DiffRules) -> Sequence[Transition]:
        """Return which of the tasks that are listed as they were have been so for too long."""
        snapshot = self.snapshot
        if self.rules.stalled_after is None or self.claim.state.baseline_at is None:
            return ()
        since = tx.polls.unchanged_tasks(snapshot.source, snapshot.taken_at - self.rules.stalled_after)
        still = [job_id for job_id in since if job_id in snapshot.fingerprints and job_id not in changed]
        if not still:
            return ()
        return stalled(tx.polls.recorded_tasks(snapshot.source, still), since, reading)

    def _report(self, done: _Done | None) -> PollReport:
        if done is None:
            return PollReport(source=self.source.name, polled=True, fenced=True)
        snapshot = self.snapshot
        return PollReport(
            source=self.source.name,
            polled=True,
            scope=snapshot.scope,
            listed=len(snapshot.fingerprints),
            total=snapshot.total_count,
            changed=done.changed,
            calls=snapshot.calls,
            complete=snapshot.complete,
            baseline=self.claim.state.baseline_at is None and snapshot.complete,
            events=done.events,
            deliveries=done.deliveries,
            unreadable=snapshot.unreadable + len(done.without_status),
            without_status=done.without_status,
            refused=done.refused,
            formerly=self.claim.formerly,
        )


def _batches(snapshot: Snapshot, known: Mapping[str, bytes]) -> Sequence[_Batch]:
    """Return what to record, in the order in which it was shown; there is always a last batch, if an empty one."""
    found: list[_Batch] = []
    before: set[str] = set()
    for shown in (*snapshot.earlier, snapshot):
        changed = changed_ids(shown, known)
        # What was shown in another state earlier in this poll has changed again.
        changed += (before & shown.fingerprints.keys()).difference(changed)
        before.update(changed)
        found += [(shown, changed[start : start + BATCH_ROWS]) for start in range(0, len(changed), BATCH_ROWS)]
    return found if found and found[-1][0] is snapshot else [*found, (snapshot, ())]


def _accept(tx: Transaction, credential: Credential, now: datetime, calls: int) -> None:
    known = tx.polls.credential(credential.key)
    state = credentials.accepted(known, credential, now, calls)
    if state != known:
        tx.polls.save_credential(credential.key, state)


def plan(
    tx: Transaction,
    routed: Sequence[RoutedEvent],
    routing: RoutingConfig,
    now: datetime,
    before: Mapping[str, int] = MappingProxyType({}),
) -> Sequence[Delivery]:
    """Plan and record the deliveries of events that have just been recorded, and settle what they make needless.

    `before` counts the events that the same poll has given each channel already.
    """
    if not routed:
        return ()
    mutes = tx.queries.mutes(now)
    deliveries = outbox.plan(routed, routing.policies, tx.channels.parked(), now, mutes, before)
    tx.deliveries.record(deliveries)
    for name, policy in routing.policies.items():
        by = {item.event.subject: item.event.id for item in routed if name in item.channels}
        if policy.coalesces and by:
            tx.deliveries.supersede_progress(name, by)
    if any(policy.coalesces for policy in routing.policies.values()):
        tx.threads.refresh(_spared(routed, mutes, now), now)
    return deliveries


def _spared(routed: Sequence[RoutedEvent], mutes: Sequence[Mute], now: datetime) -> Mapping[Event, Collection[str]]:
    """Return the events about tasks with the channels that are told: all others show them without a word."""
    about_tasks = (item for item in routed if item.event.task)
    return {item.event: () if outbox.muted_by(item.event, mutes, now) else item.channels for item in about_tasks}


def diff_rules(state: SourceState, now: datetime, rules: PollRules) -> DiffRules:
    """Return how the rows of this poll are read: as a baseline, and as late after an absence."""
    away = state.last_poll_at is not None and now - state.last_poll_at > rules.away_after
    return DiffRules(
        observed_at=now,
        quiet_new=rules.quiet_baseline and state.baseline_at is None,
        progress_step=rules.progress_step,
        late_after=rules.away_after if away else None,
        forgotten_to=state.forgotten_to,
        last_complete_at=state.last_full_at,
        baseline_at=state.baseline_at,
        empty_since=state.empty_since,
    )


def _gap(source: TaskSource, state: SourceState, now: datetime) -> list[Event]:
    if state.last_poll_at is None or now - state.last_poll_at <= LIST_WINDOW:
        return []
    return [outbox.gap_event(source.name, source.region, source.project_id, state.last_poll_at, now)]


async def _note_failure(store: Store, begun: _Begun, error: SourceError, rules: PollRules) -> PollReport:
    claim = begun.claim
    pause = pause_after(error, claim.state.failures + 1, rules)

    def record_failure(tx: Transaction) -> None:
        now = tx.now()
        tx.polls.record_failure(claim, str(error), now + pause)
        if rules.credential:
            key = rules.credential.key
            known = tx.polls.credential(key)
            tx.polls.save_credential(key, credentials.failed(known, rules.credential, now, error, trial=begun.trial))

    await store.transact(record_failure)
    return PollReport(source=claim.state.name, polled=True, error=error)


def pause_after(error: SourceError, failures: int, rules: PollRules) -> timedelta:
    """Return how long to leave a source alone after a failed poll.

    What a person must mend is tried slowly; five rejections in a row lock an access key for five minutes.
    """
    if isinstance(error, CredentialsRejected | PermissionDenied | RequestRejected):
        wait = retry.backoff(failures, max(rules.poll_every, timedelta(minutes=1)), timedelta(minutes=5))
    else:
        wait = retry.backoff(failures, rules.poll_every * 0.8, max(rules.poll_every, timedelta(minutes=2)))
    return max(wait, error.retry_after or timedelta())
