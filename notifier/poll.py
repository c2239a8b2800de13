"""Poll one task list once and record what changed.

1. Claim the right to poll: the database decides who polls.
2. Scan the list. No transaction is open during that.
3. Compare it with what is recorded. In one transaction: read the tasks that differ, let `notifier.core.polling` decide,
   and write the decision.

A kill before 3 commits changes nothing; a kill after it loses nothing. Where very much has changed, as in a first poll,
3 takes a transaction for each batch of rows, so that nobody else waits long for the database. Each of them is
complete in itself; the last one records the poll, and with it the baseline. After a kill between two of them the next
poll finds what is left.

All times are the database's: replicas whose clocks disagree agree on who polls, when, and how long ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from notifier import call_budget
from notifier.call_budget import Charge, ChargeTx, Postponed
from notifier.core import credentials, history, polling
from notifier.core.credentials import Urgency
from notifier.core.diff import RecordedTask, TaskWrite, has_stalled
from notifier.core.errors import CredentialsRejected, SourceConflict, SourceError, StoreError
from notifier.core.failures import OpenFailures
from notifier.core.history import HistoryFacts, HistoryQuery
from notifier.core.model import Event, Scope, Snapshot, Task, TaskStatus
from notifier.core.polling import (
    DeliveryPlan,
    KnownTasks,
    PlannedEvents,
    PollBatch,
    PollDecision,
    PolledSource,
    PollRules,
    ScanPlan,
)
from notifier.core.rights import SourcePart
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.core.usual import Runs
from notifier.core.usual_memory import UsualMemory
from notifier.planning import (
    PlanContext,
    PlanPeople,
    PlanReads,
    PlanTx,
    TaskResults,
    lock_failures,
    plan_new,
    routing_at,
    with_receivers,
)
from notifier.ports import (
    EventRecords,
    PollClaim,
    PollPlan,
    RightsTx,
    SlicedSource,
    Store,
    TaskSource,
    Transact,
    reads_slices,
)


class PollRecords(Protocol):
    """Claims of sources, and what polls record about sources and tasks."""

    def claim(
        self, source: str, owner: str, now: datetime, lease: timedelta, *, poll_every: timedelta, force: bool
    ) -> PollClaim | None:
        """Take the right to poll, or None while another owner holds it or, unless forced, the source is not due."""

    def bind_source(
        self,
        claim: PollClaim,
        region: str,
        project_id: str,
        *,
        feeds: str,
        configured: Collection[str],
        in_use_since: datetime,
    ) -> PollClaim:
        """Note what the source reads, and return the claim with what is recorded of that."""

    def renew(self, claim: PollClaim, until: datetime) -> bool:
        """Prolong a claim; one that has passed on is left as it is. Return whether it is still ours."""

    def claim_is_current(self, claim: PollClaim) -> bool:
        """Return whether the claim is still the latest; locks the source's row until the transaction ends."""

    def fingerprints(self, claim: PollClaim) -> Mapping[str, bytes]:
        """Return job_id to fingerprint of every recorded task of the source."""

    def recorded_tasks(self, source: str, job_ids: Collection[str]) -> Mapping[str, RecordedTask]:
        """Return those of the tasks that are recorded."""

    def record_tasks(self, claim: PollClaim, updates: Sequence[TaskWrite], now: datetime) -> Sequence[str]:
        """Insert or update tasks; return the ids of those that the database refused: one cannot block the rest."""

    def record_missing(self, source: str, missing: Mapping[str, int], unlisted: Collection[str]) -> None:
        """Set for how many complete polls tasks have been missing, and whether they are reported as unlisted."""

    def record(
        self,
        claim: PollClaim,
        snapshot: Snapshot,
        now: datetime,
        next_poll_at: datetime,
        refused: int = 0,
        *,
        plan: PollPlan,
        rung_poll_at: datetime | None = None,
    ) -> None:
        """Note a poll that worked and release the claim. The first complete full one is the baseline.

        `rung_poll_at` is when the next poll is due if the doorbell was rung for the source since the claim.
        """

    def record_failure(self, claim: PollClaim, error: str, next_poll_at: datetime) -> None:
        """Note a poll that failed and release the claim."""

    def postpone(self, claim: PollClaim, next_poll_at: datetime) -> None:
        """Release a claim under which nothing was done, until a later time."""


class PollEvents(EventRecords, Protocol):
    """The recorded events of tasks."""

    def occurrences(self, source: str, job_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the occurrences of the recorded events of tasks, by job id."""


class PollHistories(TaskResults, Protocol):
    """What is recorded about instances and operations."""

    def read(self, query: HistoryQuery) -> HistoryFacts:
        """Return the facts that a query asks for."""


class NewSearches(Protocol):
    """The search for who started tasks."""

    def expect(self, source: str, first_tries: Mapping[str, datetime]) -> None:
        """Begin the search for new tasks, by job id, each with the time of its first try."""


class PollPeople(PlanPeople, Protocol):
    """The people who subscribed to tasks."""

    def subscribers(self, source: str, job_ids: Collection[str]) -> Mapping[str, Sequence[str]]:
        """Return who wants to know how tasks end, by job id."""


class PollReads(PlanReads, Protocol):
    """What a poll reads without a claim."""

    def runs(self, source: str, name: str) -> Runs:
        """Return the latest completed runs of an operation."""

    def running_tasks(self, source: str) -> Mapping[str, RecordedTask]:
        """Return every recorded task of the source that has not ended."""


class PollTx(PlanTx, ChargeTx, RightsTx, Protocol):
    """What a poll needs of a transaction."""

    @property
    def polls(self) -> PollRecords:
        """Claims of sources, and what polls record about sources and tasks."""

    @property
    def events(self) -> PollEvents:
        """The recorded events of tasks."""

    @property
    def histories(self) -> PollHistories:
        """What is recorded about instances and operations."""

    @property
    def origins(self) -> NewSearches:
        """The search for who started tasks."""

    @property
    def people(self) -> PollPeople:
        """The people who subscribed to tasks."""

    @property
    def queries(self) -> PollReads:
        """What a poll reads without a claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PollReport:
    """What one poll did. The shell logs and counts it."""

    source: str
    polled: bool
    """False when another replica holds the source, or it is not due."""
    scope: Scope = Scope.FULL
    listed: int = 0
    total: int | None = None
    """Number of tasks that the API stated."""
    changed: int = 0
    calls: int = 0
    complete: bool = False
    baseline: bool = False
    """True for the poll that completed the baseline."""
    events: tuple[Event, ...] = ()
    deliveries: int = 0
    batches: int = 1
    """Number of transactions that recorded it."""
    unreadable: int = 0
    """Rows without a usable id or without a status."""
    without_status: tuple[str, ...] = ()
    """Ids of those without a status: what is recorded of these tasks stays as it is."""
    refused: tuple[str, ...] = ()
    """Ids of rows that the database refused to hold."""
    renamed_from: str | None = None
    """The name under which the source was recorded before this poll, where that is another one."""
    fenced: bool = False
    """True when the claim had passed to another replica; nothing was recorded."""
    error: SourceError | None = None

    @property
    def succeeded(self) -> bool:
        """True when the list was read and recorded."""
        return self.polled and not self.fenced and self.error is None


async def poll_once(
    source: TaskSource,
    store: Store[PollTx, PollReads],
    *,
    owner: str,
    rules: PollRules,
    routing: RoutingConfig,
    force: bool = False,
    recording: Transact[PollTx] | None = None,
    usual: UsualMemory | None = None,
) -> PollReport:
    """Poll a source once, if it is due and no other replica does. Raises StoreError; a SourceError is in the report.

    `recording` runs the last transaction that records what was found; None runs it in the store as the others. `usual`
    is what this process remembers of completed runs; None remembers nothing beyond this poll.
    """
    try:
        started = await store.transact(lambda tx: _start(tx, source, owner, rules, force=force), short=True)
    except SourceConflict as error:
        return PollReport(source=source.name, polled=True, error=error)
    if isinstance(started, PollReport):
        return started
    recorded = False
    try:
        report = await _poll_claimed(
            source, store, started, rules=rules, routing=routing, recording=recording, usual=usual
        )
        recorded = report.succeeded
    finally:
        if not recorded and reads_slices(source):
            source.drop_scan()  # rows that were read are not recorded: the scan would not show them again
    return report


async def _poll_claimed(
    source: TaskSource,
    store: Store[PollTx, PollReads],
    started: _StartedPoll,
    *,
    rules: PollRules,
    routing: RoutingConfig,
    recording: Transact[PollTx] | None,
    usual: UsualMemory | None,
) -> PollReport:
    """Scan the list and record what has changed."""
    claim = started.claim
    try:
        seen = await _holding(store, claim, rules.lease, _scan(source, store, claim, started.plan))
    except SourceError as error:
        return await _record_failure(store, started, error, rules)
    if seen is None:
        return PollReport(source=source.name, polled=True, fenced=True)
    # The cloud's time is compared with the one that is recorded, which need not be this host's.
    skew = None if seen.skew is None else seen.skew + (claim.at - seen.taken_at)
    polled = PolledSource(
        name=source.name,
        region=source.region,
        project_id=source.project_id,
        state=claim.state,
        snapshot=replace(seen, taken_at=claim.at, skew=skew),
        rules=rules,
        lacked=started.lacked,
    )
    recorder = _Recorder(
        started=started,
        source=polled,
        routing=routing,
        usual=usual or UsualMemory(),
        scanning=reads_slices(source) and source.scanning,
    )
    return await recorder.run(store, recording or store.transact)


@dataclass(frozen=True, slots=True, kw_only=True)
class _StartedPoll:
    """A poll that may go ahead."""

    claim: PollClaim
    charge: Charge
    plan: ScanPlan
    owner: str
    lacked: bool = False
    """Whether it lacked the right to read a part of its list."""


def _start(tx: PollTx, source: TaskSource, owner: str, rules: PollRules, *, force: bool) -> _StartedPoll | PollReport:
    """Claim the poll and charge its calls to the credential; return a report where it cannot go ahead."""
    claim = tx.polls.claim(source.name, owner, tx.now(), rules.lease, poll_every=rules.poll_every, force=force)
    if claim is None:
        return PollReport(source=source.name, polled=False)
    claim = tx.polls.bind_source(
        claim,
        source.region,
        source.project_id,
        feeds=" ".join(rules.feeds),
        configured=rules.configured,
        in_use_since=claim.at - rules.taken_over_after,
    )
    scanning = source.scanning if reads_slices(source) else None
    plan = polling.plan_scan(claim.state, claim.at, rules, owner=owner, scanning=scanning)
    urgency = Urgency.FORCED if force else polling.urgency_of_poll(claim.state, claim.at, rules)
    charge = call_budget.begin(tx, rules.credential, claim.at, plan.calls, urgency=urgency)
    if isinstance(charge, Charge):
        lacked = bool(rules.feeds) and source.name in tx.rights.lacking(SourcePart.ALARMS)
        return _StartedPoll(claim=claim, charge=charge, plan=plan, owner=owner, lacked=lacked)
    return _postpone(tx, source, claim, charge, rules, urgency=urgency)


def _postpone(
    tx: PollTx, source: TaskSource, claim: PollClaim, wait: Postponed, rules: PollRules, *, urgency: Urgency
) -> PollReport:
    """Release the claim of a poll whose credential has no room, or is paused.

    An early poll waits for its turn again, and at most until the time that was promised. One of many calls waits no
    longer than its patience lasts.
    """
    if wait.refusal is None:
        until, promised_at = wait.until, claim.state.promised_at
        if promised_at and urgency is Urgency.EARLY:
            until = _early_poll(tx, claim, until, promised_at, rules)
        elif promised_at and urgency is Urgency.WHOLE:
            until = min(until, promised_at + rules.patience)
        tx.polls.postpone(claim, until)
        return PollReport(source=source.name, polled=False)
    error = CredentialsRejected(
        credentials.pause_message(f"source {source.name}", wait.refusal), retry_after=wait.until - claim.at
    )
    tx.polls.record_failure(claim, str(error), wait.until)
    return PollReport(source=source.name, polled=True, error=error)


def _early_poll(tx: PollTx, claim: PollClaim, wanted: datetime, latest: datetime, rules: PollRules) -> datetime:
    """Return when a source is polled next that wants to be polled before the time that is promised."""
    calls = polling.early_calls(claim.state, rules)
    return call_budget.reserve(tx, rules.credential, claim.at, wanted=wanted, latest=latest, calls=calls)


async def _holding(
    store: Store[PollTx, PollReads], claim: PollClaim, lease: timedelta, scan: Coroutine[object, object, Snapshot]
) -> Snapshot | None:
    """Scan while renewing the lease: a long list is paced by its call budget and can take many leases.

    Returns None when the claim has passed to another replica: scanning on would only burden the service.
    """
    scanning = asyncio.create_task(scan)
    try:
        while not (await asyncio.wait({scanning}, timeout=lease.total_seconds() / 3))[0]:
            with suppress(StoreError):  # a renewal that fails is tried again; whether the claim held, the fence decides
                if not await store.transact(lambda tx: tx.polls.renew(claim, tx.now() + lease), short=True):
                    return None
        return scanning.result()
    finally:
        scanning.cancel()


async def _scan(source: TaskSource, store: Store[PollTx, PollReads], claim: PollClaim, plan: ScanPlan) -> Snapshot:
    if reads_slices(source):
        return await _scan_in_slices(source, store, claim, plan)
    snapshot = await source.fetch(plan.scope)
    if plan.scope is Scope.ACTIVE and await store.read(lambda q: _any_ended_unseen(q, snapshot)):
        # A task that ran is neither running nor failed now: only the whole list shows what became of it.
        return _whole_after(await source.fetch(Scope.FULL), snapshot)
    return snapshot


async def _scan_in_slices(
    source: SlicedSource, store: Store[PollTx, PollReads], claim: PollClaim, plan: ScanPlan
) -> Snapshot:
    """Scan the active tasks, and go on with a full scan or begin one, where that is planned or needed.

    Of two rows of one task the one that was read later counts. A list that is read in full at once shows everything.
    """
    if source.scanning and not plan.goes_on:
        source.drop_scan()  # another replica has polled, and may have taken the scan over
    if plan.scope is Scope.FULL:
        shown = await source.fetch_slice(plan.slice_calls)
        return shown if shown.scope is Scope.FULL else (await source.fetch(Scope.ACTIVE)).joined_to(shown)
    active = await source.fetch(Scope.ACTIVE)
    unseen = await store.read(lambda q: _any_ended_unseen(q, active))
    if unseen and claim.state.last_full_calls > polling.ACTIVE_SCAN_CALLS:
        # A task that ran is neither running nor failed now. Nearly always it is one of the latest that completed.
        active = (await source.fetch_ended()).joined_to(active)
        unseen = await store.read(lambda q: _any_ended_unseen(q, active))
    if not (plan.slice_calls if plan.goes_on else unseen and plan.may_begin):
        return active
    shown = await source.fetch_slice(plan.slice_calls)
    return shown.joined_to(active) if plan.goes_on or shown.scope is Scope.ACTIVE else _whole_after(shown, active)


def _whole_after(whole: Snapshot, active: Snapshot) -> Snapshot:
    """Return a full scan after an active one that showed that it was needed, with the calls of both."""
    calls = active.calls + whole.calls
    return replace(whole.after(active), calls=calls, scan_calls=whole.scan_calls or whole.calls)


def _any_ended_unseen(queries: PollReads, snapshot: Snapshot) -> bool:
    return any(
        job_id not in snapshot.fingerprints
        for job_id, row in queries.running_tasks(snapshot.source).items()
        if row.task.status is TaskStatus.RUNNING and not row.unlisted
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    """What has been recorded of a poll so far."""

    changed: int = 0
    news: int = 0
    """Number of changed rows that were recorded: others are found changed by each poll."""
    events: tuple[Event, ...] = ()
    deliveries: int = 0
    planned: PlannedEvents = field(default_factory=PlannedEvents)
    storms: int = 0
    """Number of storms that have begun, grown or ended."""
    without_status: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def __add__(self, more: _Progress) -> _Progress:
        return _Progress(**{each.name: getattr(self, each.name) + getattr(more, each.name) for each in fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recorder:
    """Records one snapshot: for each batch it reads what is known, asks for a decision, and applies that."""

    started: _StartedPoll
    source: PolledSource
    routing: RoutingConfig
    usual: UsualMemory
    scanning: bool = False
    """Whether a full scan goes on with the next poll."""

    @property
    def claim(self) -> PollClaim:
        """The right to poll."""
        return self.started.claim

    async def run(self, store: Store[PollTx, PollReads], last: Transact[PollTx]) -> PollReport:
        """Record it in as few transactions as its size allows. Raises StoreError; what is written then stays.

        `last` runs the last one. Deliveries must not be claimed before it: batches add failures to one message.
        """
        known = self.claim.fingerprints
        if known is None:
            known = await store.transact(self._read_fingerprints)
        if known is None:
            return self._report(None)
        # Outside of a transaction: a long list takes milliseconds to compare.
        batches = polling.split_batches(self.source.snapshot, known, quiet=self.source.reading.quiet_new)
        progress: _Progress | None = _Progress()
        for batch in batches:
            if progress is not None:
                transact = last if batch.last else store.transact
                short = len(batch.changed) <= polling.SHORT_BATCH_ROWS
                progress = await transact(partial(self._record_current, batch, progress), short=short)
        return replace(self._report(progress), batches=len(batches))

    def _read_fingerprints(self, tx: PollTx) -> Mapping[str, bytes] | None:
        return tx.polls.fingerprints(self.claim) if tx.polls.claim_is_current(self.claim) else None

    def _record_current(self, batch: PollBatch, progress: _Progress, tx: PollTx) -> _Progress | None:
        """Record a batch and prolong the claim until the next one; return None where it is ours no longer."""
        if batch.last:
            ours = tx.polls.claim_is_current(self.claim)
        else:
            ours = tx.polls.renew(self.claim, tx.now() + self.source.rules.lease)
        return self._record(tx, batch, progress) if ours else None

    def _record(self, tx: PollTx, batch: PollBatch, progress: _Progress) -> _Progress:
        now = tx.now()
        known = self._read(tx, batch)
        routing = self.routing.at(now)
        decision = polling.decide_poll(batch, known, self.source, routing)
        if decision.events and routing.calendars:  # read only where there is something to route
            routing = routing_at(tx, self.routing, now)
            decision = polling.decide_poll(batch, known, self.source, routing)
        stalled = [job_id for job_id, found in known.occurrences.items() if has_stalled(found)]
        decision = self._with_records(tx, decision, stalled)
        progress += self._apply(tx, batch, decision, progress, now, known=known, routing=routing)
        if batch.last:
            running = polling.still_running(known, decision, self.claim.at)
            self._finish(tx, decision, progress, now, running=running)
        return progress

    def _with_records(self, tx: PollTx, decision: PollDecision, stalled: Collection[str]) -> PollDecision:
        """Add what is recorded about the events. The history is read only of tasks that turn out to need care.

        `stalled` has the ids of the tasks that have stalled before.
        """
        known = lock_failures(tx, decision.events, stalled)
        events = with_receivers(tx, decision.events, self.routing, known)
        if tasks := [item.event.task for item in events if item.event.task and not item.event.task.alarm]:
            self._learn(tx, tasks)
            events = self.usual.with_usual(events)
        decision = replace(decision, events=events, failures=known)
        wanted = history.query_for(decision.events, self.source.snapshot.taken_at)
        if wanted is None:
            return decision
        return replace(decision, events=history.with_history(decision.events, wanted, tx.histories.read(wanted)))

    def _learn(self, tx: PollTx, tasks: Collection[Task]) -> None:
        """Read how long these tasks usually take, where that was not done lately."""
        now = self.source.snapshot.taken_at
        for source, name in self.usual.unknown(tasks, now):
            self.usual.remember(source, name, tx.queries.runs(source, name), now)

    def _read(self, tx: PollTx, batch: PollBatch) -> KnownTasks:
        """Read what is recorded of the tasks that the batch may change."""
        name, state, rules = self.source.name, self.source.state, self.source.rules
        changed = tx.polls.recorded_tasks(name, batch.changed)
        running = tx.queries.running_tasks(name) if batch.last else {}
        unchanged = (
            polling.unchanged_since(running, self.source.snapshot.taken_at - rules.stalled_after)
            if rules.stalled_after is not None and state.baseline_at is not None
            else {}
        )
        quiet = self.source.reading.quiet_new
        concerned = polling.may_have_events(batch, changed, running, unchanged, quiet=quiet)
        if old := polling.long_running(batch, running, self.source):
            self._learn(tx, [row.task for row in old.values()])
        overdue = polling.overdue_tasks(batch, running, self.source, self.usual) if old else {}
        occurrences = tx.events.occurrences(name, concerned | overdue.keys())
        self.usual.announced(name, {job_id: occurrences.get(job_id, ()) for job_id in overdue})
        return KnownTasks(
            changed=changed,
            running=running,
            unchanged_since=unchanged,
            overdue=overdue,
            occurrences=occurrences,
            subscribers=tx.people.subscribers(name, concerned),
        )

    def _apply(
        self,
        tx: PollTx,
        batch: PollBatch,
        decision: PollDecision,
        progress: _Progress,
        now: datetime,
        *,
        known: KnownTasks,
        routing: RoutingConfig,
    ) -> _Progress:
        """Write a decision. Which events are new, and what it refuses to hold, is the database's answer."""
        events = tx.events.record(decision.events)
        refused_tasks = {event.job_id for event in events.refused}
        updates = decision.updates_without(refused_tasks)
        refused_rows = tx.polls.record_tasks(self.claim, updates, self.source.snapshot.taken_at)
        if self.source.rules.finds_origins:
            refused = {*refused_rows, *refused_tasks}
            if tries := polling.first_tries(decision, known, refused, self.source):
                tx.origins.expect(self.source.name, tries)
        plan = self._plan(
            tx, events.new, progress, now, routing=routing, open_failures=decision.failures, last=batch.last
        )
        unchanged = {*decision.without_status, *refused_rows, *refused_tasks}
        return _Progress(
            changed=len(batch.changed),
            news=len(set(batch.changed) - unchanged),
            events=tuple(item.event for item in events.new),
            deliveries=len(plan.deliveries),
            planned=plan.planned,
            storms=len(plan.storms),
            without_status=decision.without_status,
            refused=(*refused_rows, *sorted(refused_tasks)),
        )

    def _plan(
        self,
        tx: PollTx,
        new: Sequence[RoutedEvent],
        progress: _Progress,
        now: datetime,
        *,
        routing: RoutingConfig,
        open_failures: OpenFailures,
        last: bool,
    ) -> DeliveryPlan:
        stormy = bool(new) or (last and (self.claim.stormy or progress.storms > 0))
        storms = tx.storms.lasting(self.source.name) if stormy else ()
        if not new and not storms:
            return DeliveryPlan()
        context = PlanContext(
            storms=storms,
            before=progress.planned,
            last=last,
            away_after=self.source.rules.away_after,
            failures=open_failures,
        )
        return plan_new(tx, new, routing, now, context)

    def _finish(self, tx: PollTx, decision: PollDecision, progress: _Progress, now: datetime, *, running: bool) -> None:
        """Record absences, the calls, and the poll itself."""
        rules, snapshot = self.source.rules, self.source.snapshot
        tx.polls.record_missing(self.source.name, decision.missing, decision.unlisted)
        if snapshot.lacking:
            tx.rights.lack(self.source.name, SourcePart.ALARMS, ", ".join(snapshot.lacking), now)
        elif self.source.lacked:
            tx.rights.have(self.source.name, SourcePart.ALARMS)
        call_budget.accept(tx, self.started.charge, now, snapshot.calls)
        state, full = self.claim.state, snapshot.complete and snapshot.scope is Scope.FULL
        full_at = snapshot.taken_at if full else state.last_full_at
        next_poll = polling.plan_next_poll(
            state, self.claim.at, rules, full_at=full_at, running=running, news=progress.news
        )
        latest, due = next_poll.promised_at, next_poll.due_at
        if due < latest:
            due = _early_poll(tx, self.claim, due, latest, rules)
        scanned_by, scanned_at = self._scan_after()
        plan = PollPlan(promised_at=latest, active_at=next_poll.active_at, scanned_by=scanned_by, scanned_at=scanned_at)
        rung = min(due, now + rules.ring_interval)
        tx.polls.record(self.claim, snapshot, now, due, len(set(progress.refused)), plan=plan, rung_poll_at=rung)

    def _scan_after(self) -> tuple[str | None, datetime | None]:
        """Return who is in the middle of a full scan after this poll, and when that went on."""
        plan, state = self.started.plan, self.claim.state
        if not self.scanning:
            return (None, None) if plan.may_begin else (state.scanned_by, state.scanned_at)
        return self.started.owner, state.scanned_at if plan.goes_on and not plan.slice_calls else self.claim.at

    def _report(self, progress: _Progress | None) -> PollReport:
        if progress is None:
            return PollReport(source=self.source.name, polled=True, fenced=True)
        snapshot = self.source.snapshot
        return PollReport(
            source=self.source.name,
            polled=True,
            scope=snapshot.scope,
            listed=snapshot.listed,
            total=snapshot.total_count,
            changed=progress.changed,
            calls=snapshot.calls,
            complete=snapshot.complete,
            baseline=self.claim.state.baseline_at is None and snapshot.complete,
            events=progress.events,
            deliveries=progress.deliveries,
            unreadable=snapshot.unreadable + len(progress.without_status),
            without_status=progress.without_status,
            refused=progress.refused,
            renamed_from=self.claim.renamed_from,
        )


async def _record_failure(
    store: Store[PollTx, PollReads], started: _StartedPoll, error: SourceError, rules: PollRules
) -> PollReport:
    claim = started.claim
    pause = polling.pause_after(error, claim.state.failures + 1, rules)

    def record(tx: PollTx) -> None:
        now = tx.now()
        tx.polls.record_failure(claim, str(error), now + pause)
        call_budget.fail(tx, started.charge, now, error)

    await store.transact(record, short=True)
    return PollReport(source=claim.state.name, polled=True, error=error)
