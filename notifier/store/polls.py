"""What polls record about sources and tasks."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import case, delete, exists, func, literal, select, update

from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.errors import SourceConflict
from notifier.core.identity import Subject
from notifier.core.model import Scope, Snapshot, SourceState, TaskStatus
from notifier.ports import PollClaim, PollPlan
from notifier.store import rows, statements
from notifier.store.maintenances import Maintenances
from notifier.store.open_failures import Failures
from notifier.store.schema import (
    deliveries,
    delivery_events,
    events,
    missing_rights,
    origins,
    sources,
    storms,
    subscriptions,
    tasks,
    threads,
)
from notifier.store.session import Session
from notifier.store.statements import new_values
from notifier.store.task_changes import TaskChanges

LONGEST_PAUSE = timedelta(hours=2)
"""Maximum lease of a poll, and maximum pause of a source that is polled more often."""

_KEPT_BY_RENAMED = ("last_error", "failing_since", "failures", "announced_since", "clock_skew")
"""What else is known of a source under any name."""

_RESET_BY_NEW_LIST = (
    "baseline_at",
    "last_poll_at",
    "last_full_at",
    "last_full_calls",
    "pruned_to",
    "empty_since",
    "introduced_at",
    "active_at",
    "promised_at",
    "scanned_by",
    "scanned_at",
)
"""What is known of a source only for as long as it reads the same list."""


class FingerprintCache:
    """The fingerprints that this process recorded last, so that an unchanged list costs no read of the table.

    The epoch of a claim tells whether they are still right. It grows by one with every claim: if ours follows the one
    under which we recorded, no other process has recorded anything in between.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, dict[str, bytes]]] = {}

    def get(self, claim: PollClaim) -> dict[str, bytes] | None:
        """Return what is recorded for the claim's source, if that is known."""
        epoch, fingerprints = self._kept.get(claim.state.name, (None, None))
        return fingerprints if epoch in (claim.epoch - 1, claim.epoch) else None

    def drop(self, source: str) -> None:
        """Drop the fingerprints of a source."""
        self._kept.pop(source, None)

    def put(self, claim: PollClaim, fingerprints: dict[str, bytes]) -> None:
        """Keep what is recorded while a claim is held."""
        self._kept[claim.state.name] = (claim.epoch, fingerprints)

    def follow(self, claim: PollClaim) -> None:
        """Keep under a claim what is kept from the one before it."""
        if (fingerprints := self.get(claim)) is not None:
            self.put(claim, fingerprints)

    def update(self, claim: PollClaim, fresh: Mapping[str, bytes]) -> None:
        """Add what was recorded under a claim, once it is committed."""
        epoch, fingerprints = self._kept.get(claim.state.name, (None, {}))
        if epoch == claim.epoch:
            fingerprints.update(fresh)


class Polls:
    """Claims of sources, and what polls record under them."""

    def __init__(self, session: Session, cache: FingerprintCache) -> None:
        """`cache` belongs to the process."""
        self._session = session
        self._cache = cache

    def claim(
        self,
        source: str,
        owner: str,
        now: datetime,
        lease: timedelta,
        *,
        poll_every: timedelta = timedelta(),
        force: bool = False,
    ) -> PollClaim | None:
        """Claim a source, or return None while another owner holds it or, unless forced, it is not due.

        A source whose next poll lies further ahead than `poll_every`, and than any pause after a failure, is due: a
        clock that has been set back since left that time behind.
        """
        parameters = {
            "source": source,
            "owner": owner,
            "now": now,
            "until": now + lease,
            "latest_end": now + LONGEST_PAUSE,
            "latest_start": now + max(LONGEST_PAUSE, poll_every),
            "force": force,
        }
        row = self._session.execute(statements.CLAIM_POLL, parameters).one_or_none()
        if row is None and self._insert(source):
            row = self._session.execute(statements.CLAIM_POLL, parameters).one_or_none()
        if row is None:
            return None
        claim = PollClaim(epoch=row.epoch, at=now, state=rows.source_of(row), stormy=bool(row.stormy))
        # Nobody records anything under another claim before this one is out of date, and that is checked by its epoch.
        self._session.after_commit.append(partial(self._cache.follow, claim))
        return replace(claim, fingerprints=self._cache.get(claim))

    def _insert(self, source: str) -> bool:
        """Record a source; return False when it was recorded already."""
        insert = self._session.insert(sources).values(name=source).on_conflict_do_nothing()
        return self._session.execute(insert.returning(sources.c.name)).scalar() is not None

    def bind_source(
        self,
        claim: PollClaim,
        region: str,
        project_id: str,
        *,
        feeds: str = "",
        configured: Collection[str] | None = None,
        in_use_since: datetime | None = None,
    ) -> PollClaim:
        """Record what the source reads, and return the claim with what is known of that list.

        A new name for what was recorded under one that is no longer configured takes over its history. A name that now
        stands for another list loses what was recorded of the former list. Raises SourceConflict, so that nothing is
        lost, where another replica has polled the former list later than `in_use_since`.

        Args:
            claim: on the source.
            region: where it reads, with `project_id`.
            project_id: what it reads.
            feeds: see `SourceState.feeds`.
            configured: the names of all configured sources; None where they are not known.
            in_use_since: None where there is no other replica.
        """
        state = claim.state
        if (state.region, state.project_id, state.feeds) == (region, project_id, feeds):
            return claim
        renamed_from: str | None = None
        if state.region is None and state.project_id is None:
            new = state.last_poll_at is None and state.failures == 0
            former = self._former(state.name, (region, project_id, feeds), configured or ()) if new else None
            if former is not None:
                self._rename(former.name, state.name)
                state, renamed_from = replace(former, name=state.name), former.name
        else:
            self._refuse_conflict(state, in_use_since)
            self._cache.drop(state.name)
            for table in (tasks, origins, missing_rights):
                self._session.execute(delete(table).where(table.c.source == state.name))
            Maintenances(self._session).drop(state.name)
            TaskChanges(self._session).mark_whole(state.name)
            state = SourceState(name=state.name)
        state = replace(state, region=region, project_id=project_id, feeds=feeds)
        kept = {
            name: getattr(state, name) for name in (*_RESET_BY_NEW_LIST, *(_KEPT_BY_RENAMED if renamed_from else ()))
        }
        fresh = kept | {"region": region, "project_id": project_id, "feeds": feeds}
        self._session.execute(update(sources).where(sources.c.name == state.name).values(fresh))
        return replace(
            claim,
            state=state,
            renamed_from=renamed_from,
            stormy=claim.stormy or renamed_from is not None,
            fingerprints=self._cache.get(claim),
        )

    def retire_sources(self, names: Collection[str], now: datetime) -> None:
        """Record that sources are no longer configured, so that their tasks no longer count as running.

        The next poll of a source takes that back.
        """
        retired = (sources.c.name.in_(list(names)), sources.c.retired_at.is_(None))
        self._session.execute(update(sources).where(*retired).values(retired_at=now))

    def _refuse_conflict(self, state: SourceState, in_use_since: datetime | None) -> None:
        """Raise SourceConflict where another replica still polls what the name stood for."""
        mine = select(sources.c.polled_by, sources.c.claimed_by).where(sources.c.name == state.name)
        polled_by, me = self._session.execute(mine).one()
        if in_use_since is None or state.last_poll_at is None or state.last_poll_at <= in_use_since:
            return
        if polled_by not in (None, me):
            raise SourceConflict(
                f"source {state.name}: {polled_by} polls project {state.project_id} in {state.region} under this name. "
                "Give this one another name, or stop the other replica: it is taken over a while after its last poll."
            )

    def _former(self, name: str, what: tuple[str, str, str], configured: Collection[str]) -> SourceState | None:
        """Return what is recorded of the same list under a name that is no longer configured, the latest one."""
        region, project_id, feeds = what
        same = (sources.c.region == region, sources.c.project_id == project_id, sources.c.feeds == feeds)
        # Names alone: thousands of sources may read the same project, and each asks this at its first poll.
        names = self._session.execute(select(sources.c.name).where(*same, sources.c.name != name)).scalars()
        left = [other for other in names if other not in configured]
        if not left:
            return None
        latest = select(sources).order_by(sources.c.last_poll_at.is_(None), sources.c.last_poll_at.desc()).limit(1)
        return rows.source_of(self._session.execute(latest.where(sources.c.name.in_(left))).one())

    def _rename(self, former: str, name: str) -> None:
        """Give all that is recorded under a source's former name to its new one.

        The facts and ids of events stay as people were notified of them.
        """
        for source in (former, name):
            self._cache.drop(source)
        self._session.execute(delete(sources).where(sources.c.name == former))
        self._session.execute(delete(missing_rights).where(missing_rights.c.source == former))
        for table in (tasks, origins, subscriptions, storms):
            self._session.execute(update(table).where(table.c.source == former).values(source=name))
        for source in (former, name):
            TaskChanges(self._session).mark_whole(source)
        Failures(self._session).rename(former, name)
        Maintenances(self._session).rename(former, name)
        known = events.alias()
        again = exists().where(
            known.c.source == name, known.c.job_id == events.c.job_id, known.c.occurrence == events.c.occurrence
        )
        self._session.execute(update(events).where(events.c.source == former, ~again).values(source=name))
        # Deliveries and messages about a task continue in its order and under its message.
        for column in (deliveries.c.subject, delivery_events.c.subject, threads.c.subject):
            about = column.startswith(str(Subject(source=former)), autoescape=True)
            moved = literal(name) + func.substr(column, len(former) + 1)
            self._session.execute(update(column.table).where(about).values({column.name: moved}))

    def renew(self, claim: PollClaim, until: datetime) -> bool:
        """Prolong a claim. Return False, and change nothing, where another owner has claimed the source since."""
        mine = (sources.c.name == claim.state.name, sources.c.epoch == claim.epoch)
        return self._session.execute(update(sources).where(*mine).values(claimed_until=until)).rowcount == 1

    def claim_is_current(self, claim: PollClaim) -> bool:
        """Return whether the claim is still the latest; locks the source's row until the transaction ends."""
        return self._session.execute(statements.EPOCH, {"source": claim.state.name}).scalar() == claim.epoch

    def lock_source(self, name: str) -> SourceState | None:
        """Return a source, which nobody else changes until the transaction ends; None before its first poll."""
        row = self._session.execute(statements.LOCK_SOURCE, {"of_source": name}).one_or_none()
        return rows.source_of(row) if row else None

    def fingerprints(self, claim: PollClaim) -> Mapping[str, bytes]:
        """Return job_id to fingerprint of every recorded task of the source."""
        kept = self._cache.get(claim)
        known = self._select_fingerprints(claim.state.name) if kept is None else kept
        # Nothing else has been recorded under this claim, or this process recorded and remembers it.
        self._session.after_commit.append(partial(self._cache.put, claim, known))
        return known

    def _select_fingerprints(self, source: str) -> dict[str, bytes]:
        found = self._session.execute(statements.FINGERPRINTS, {"source": source})
        return {job_id: fingerprint for job_id, fingerprint in found}  # noqa: C416 - dict() of rows is slower

    def recorded_tasks(self, source: str, job_ids: Collection[str]) -> Mapping[str, RecordedTask]:
        """Return those of the tasks that are recorded."""
        if not job_ids:
            return {}
        found = self._session.execute(statements.RECORDED_TASKS, {"source": source, "ids": job_ids})
        return {row.job_id: rows.recorded_of(row) for row in found}

    def record_tasks(self, claim: PollClaim, writes: Sequence[TaskWrite], now: datetime) -> Sequence[str]:
        """Insert or update tasks; return the ids of those that the database refused: one cannot block the rest."""
        if not writes:
            return []
        refused = {
            write.recorded.task.job_id for write in self._session.insert_isolated(writes, partial(self._write, now))
        }
        written = [write for write in writes if write.recorded.task.job_id not in refused]
        fresh = {write.recorded.task.job_id: write.fingerprint for write in written}
        TaskChanges(self._session).mark(claim.state.name, _times_of_ended(written, now))
        self._session.after_commit.append(partial(self._cache.update, claim, fresh))
        return [*refused]

    def _write(self, now: datetime, writes: Sequence[TaskWrite]) -> None:
        self._session.execute(statements.RECORD_TASK, [rows.written_values(write, now) for write in writes])

    def record_missing(self, source: str, missing: Mapping[str, int], unlisted: Collection[str]) -> None:
        """Set how many complete polls in a row lacked each task, and whether it counts as unlisted."""
        if missing:
            counted = [
                {"of_source": source, "of_job_id": job_id, "new_missing": count, "new_unlisted": job_id in unlisted}
                for job_id, count in missing.items()
            ]
            self._session.execute(statements.RECORD_MISSING, counted)

    def record(
        self,
        claim: PollClaim,
        snapshot: Snapshot,
        now: datetime,
        next_poll_at: datetime,
        refused: int = 0,
        *,
        plan: PollPlan = PollPlan(),  # noqa: B008 - frozen
        rung_poll_at: datetime | None = None,
    ) -> None:
        """Record a good poll and its refused rows; release the claim. The first complete full one is the baseline.

        `rung_poll_at` is when the next poll is due if the doorbell was rung for the source since the claim.
        """
        state, full = claim.state, snapshot.scope is Scope.FULL
        complete = full and snapshot.complete
        lately_refused = (refused, (state.refused_since or now) if refused else None)
        if not refused and not full:  # an active scan leaves out rows that may still be refused
            lately_refused = (state.refused_rows, state.refused_since)
        empty_since = None if snapshot.listed else state.empty_since or snapshot.taken_at
        polled = {
            "last_poll_at": now,
            "next_poll_at": next_poll_at,
            "rung_poll_at": rung_poll_at or next_poll_at,
            "clock_skew": None if snapshot.skew is None else snapshot.skew.total_seconds(),
            "refused_rows": lately_refused[0],
            "refused_since": lately_refused[1],
            "last_full_calls": snapshot.scan_calls or snapshot.calls if full else state.last_full_calls,
            "last_full_at": snapshot.taken_at if complete else state.last_full_at,
            "empty_since": empty_since if complete else state.empty_since,
            "baseline_at": state.baseline_at or (snapshot.taken_at if complete else None),
            "active_at": plan.active_at,
            "promised_at": plan.promised_at or next_poll_at,
            "scanned_by": plan.scanned_by,
            "scanned_at": plan.scanned_at,
        }
        self._session.execute(statements.RECORD_POLL, new_values(polled) | {"source": state.name})

    def record_failure(self, claim: PollClaim, error: str, next_poll_at: datetime) -> None:
        """Record a failed poll and release the claim."""
        self._release(
            claim,
            next_poll_at,
            last_error=error,
            failing_since=claim.state.failing_since or self._session.now(),
            failures=sources.c.failures + 1,
        )

    def postpone(self, claim: PollClaim, next_poll_at: datetime) -> None:
        """Release a claim under which nothing was done, until a later time. A ring that led to it waits with it."""
        still_rung = case((sources.c.rung_epoch == claim.epoch - 1, claim.epoch), else_=sources.c.rung_epoch)
        self._release(claim, next_poll_at, rung_epoch=still_rung)

    def _release(self, claim: PollClaim, next_poll_at: datetime, **values: object) -> None:
        mine = (sources.c.name == claim.state.name, sources.c.epoch == claim.epoch)
        released = {"next_poll_at": next_poll_at, "claimed_by": None, "claimed_until": None}
        self._session.execute(update(sources).where(*mine).values(values | released))

    def announce(self, source: str, was: datetime | None, since: datetime | None) -> bool:
        """Record since when a source is announced as failing, where that is still `was`; return whether it is."""
        return self._session.swap(sources, source, "announced_since", was, since)

    def introduce(self, source: str, now: datetime) -> bool:
        """Record that people are notified that a source is monitored; return whether that was not recorded before."""
        return self._session.swap(sources, source, "introduced_at", None, now)

    def task_counts(self, source: str, failed_since: datetime) -> Mapping[str, int]:
        """Return how many tasks of a source are `listed`, `running`, and have `failed` since a time.

        Of a source that lists alarms, only the number of its `alarms`.
        """
        failed = (tasks.c.status == TaskStatus.FAILED, tasks.c.changed_at >= failed_since)
        listed = (tasks.c.source == source, ~tasks.c.unlisted)
        row = self._session.execute(
            select(
                func.count().label("listed"),
                func.count().filter(tasks.c.status == TaskStatus.RUNNING).label("running"),
                func.count().filter(*failed).label("failed"),
            ).where(*listed)
        ).one()
        feeds = self._session.execute(select(sources.c.feeds).where(sources.c.name == source)).scalar()
        if feeds:
            return {"alarms": row.listed}
        return dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to columns by name


def _times_of_ended(writes: Sequence[TaskWrite], now: datetime) -> Iterator[datetime]:
    """Yield when tasks changed that have ended, or had ended as they were recorded before."""
    for write in writes:
        if write.recorded.task.status.terminal:
            yield rows.changed_at_of(write, now)
        if write.was is not None:
            yield write.was
