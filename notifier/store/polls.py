"""The writes of a poll. One named method a statement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import TypeVar

from sqlalchemy import Boolean, Connection, Table, Update, bindparam, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from notifier.core.credentials import CredentialState
from notifier.core.delivery import Delivery
from notifier.core.diff import RecordedTask
from notifier.core.errors import SourceConflict
from notifier.core.identity import Subject
from notifier.core.model import Scope, Snapshot, SourceState, Task, TaskStatus
from notifier.core.routing import RoutedEvent
from notifier.ports import EventsRecorded, PollClaim
from notifier.ports import Update as TaskUpdate
from notifier.store import rows
from notifier.store.queries import SqlQueries, chunks
from notifier.store.schema import credentials, deliveries, delivery_events, events, sources, tasks, threads, watches

T = TypeVar("T")

LONGEST_PAUSE = timedelta(hours=2)
"""No poll is held for longer than this, and no source that is polled more often is left alone for longer."""

UNUSED_CREDENTIAL = timedelta(days=30)
"""A credential without a call for this long is forgotten when another one is used for the first time."""

CHANNEL = "gaussdb_notifier"
"""What PostgreSQL calls the notification that there may be deliveries to make. It carries nothing."""

_TELL = select(func.pg_notify(CHANNEL, ""))

_MOVED = ("last_error", "failing_since", "failures", "announced_since", "clock_skew")
"""What else is known of a source under any name."""

_FORGOTTEN = ("baseline_at", "last_poll_at", "last_full_at", "last_full_calls", "forgotten_to", "empty_since")
"""What is known of a source only for as long as it reads the same list."""


# Statements that run at every poll are built once: building one costs several times what the database takes for it.
_FREE = or_(
    sources.c.claimed_until.is_(None),
    sources.c.claimed_until <= bindparam("now"),
    sources.c.claimed_by == bindparam("owner"),
    # A time further ahead than any wait is left over from a clock that has been set back since.
    sources.c.claimed_until > bindparam("latest_end"),
)
_DUE = or_(
    bindparam("forced", type_=Boolean),
    sources.c.next_poll_at.is_(None),
    sources.c.next_poll_at <= bindparam("now"),
    sources.c.next_poll_at > bindparam("latest_start"),
)
_CLAIM = (
    update(sources)
    .where(sources.c.name == bindparam("of"), _FREE, _DUE)
    .values(claimed_by=bindparam("owner"), claimed_until=bindparam("until"), epoch=sources.c.epoch + 1, retired_at=None)
    .returning(sources)
)
_EPOCH = select(sources.c.epoch).where(sources.c.name == bindparam("of")).with_for_update()
_UNCHANGED = select(tasks.c.job_id, tasks.c.changed_at).where(
    tasks.c.source == bindparam("of"),
    tasks.c.status == TaskStatus.RUNNING,
    tasks.c.changed_at <= bindparam("before"),
)
_CREDENTIAL = select(credentials).where(credentials.c.key == bindparam("of")).with_for_update()
_SAVE_CREDENTIAL = (
    update(credentials)
    .where(credentials.c.key == bindparam("of"))
    .values({field.name: bindparam(f"new_{field.name}") for field in fields(CredentialState)})
)


@cache
def _note_poll(names: tuple[str, ...]) -> Update:
    """Return the statement that notes these facts about a source and releases its claim."""
    noted: dict[str, object] = {name: bindparam(f"new_{name}") for name in names}
    released = {"polled_by": sources.c.claimed_by, "claimed_by": None, "claimed_until": None}
    return update(sources).where(sources.c.name == bindparam("of")).values(noted | released)


def _new(values: Mapping[str, object]) -> dict[str, object]:
    return {f"new_{name}": value for name, value in values.items()}


class Memory:
    """The fingerprints that this process recorded last, so that an unchanged list costs no read of the table.

    A claim's number says whether they still hold: it grows by one with every claim, so when ours follows the one
    under which we recorded, nobody has recorded anything in between.
    """

    def __init__(self) -> None:
        """Remember nothing."""
        self._kept: dict[str, tuple[int, dict[str, bytes]]] = {}

    def recall(self, claim: PollClaim) -> dict[str, bytes] | None:
        """Return what is recorded for the claim's source, if we know it."""
        epoch, fingerprints = self._kept.get(claim.state.name, (None, None))
        return fingerprints if epoch in (claim.epoch - 1, claim.epoch) else None

    def forget(self, source: str) -> None:
        """Drop what is remembered of a source."""
        self._kept.pop(source, None)

    def keep(self, claim: PollClaim, fingerprints: dict[str, bytes]) -> None:
        """Remember what is recorded while a claim is held."""
        self._kept[claim.state.name] = (claim.epoch, fingerprints)

    def update(self, claim: PollClaim, fresh: Mapping[str, bytes]) -> None:
        """Remember what was recorded under a claim, once it is committed."""
        epoch, fingerprints = self._kept.get(claim.state.name, (None, {}))
        if epoch == claim.epoch:
            fingerprints.update(fresh)


class PollStatements(SqlQueries):
    """The part of `ports.Transaction` that polling needs."""

    def __init__(self, connection: Connection, memory: Memory, time: Callable[[Connection], datetime]) -> None:
        """Work through `connection`; what `after_commit` holds is for the caller to do once that has committed."""
        super().__init__(connection, time)
        self.after_commit: list[Callable[[], None]] = []
        self._memory = memory
        self._told = False

    def claim_poll(
        self,
        source: str,
        owner: str,
        now: datetime,
        lease: timedelta,
        *,
        poll_every: timedelta = timedelta(),
        force: bool = False,
    ) -> PollClaim | None:
        """Take the right to poll, or None while another owner holds it or, unless forced, the source is not due."""
        wanted = {
            "of": source,
            "owner": owner,
            "now": now,
            "until": now + lease,
            "latest_end": now + LONGEST_PAUSE,
            "latest_start": now + max(LONGEST_PAUSE, poll_every),
            "forced": force,
        }
        row = self.connection.execute(_CLAIM, wanted).one_or_none()
        if row is None and self._is_new(source):
            row = self.connection.execute(_CLAIM, wanted).one_or_none()
        return PollClaim(epoch=row.epoch, at=now, state=rows.source_of(row)) if row else None

    def _is_new(self, source: str) -> bool:
        """Record a source that is not there yet, and tell whether that is so."""
        inserted = self._insert(sources).values(name=source).on_conflict_do_nothing().returning(sources.c.name)
        return self.connection.execute(inserted).scalar() is not None

    def point_at(
        self,
        claim: PollClaim,
        region: str,
        project_id: str,
        *,
        configured: Collection[str] | None = None,
        in_use_since: datetime | None = None,
    ) -> PollClaim:
        """Note what the source reads, and return the claim with what is recorded of that; see `ports.Transaction`."""
        state = claim.state
        if (state.region, state.project_id) == (region, project_id):
            return claim
        formerly: str | None = None
        if state.region is None and state.project_id is None:
            new = state.last_poll_at is None and state.failures == 0
            former = self._former(state.name, region, project_id, configured or ()) if new else None
            if former is not None:
                self._rename(former.name, state.name)
                state, formerly = replace(former, name=state.name), former.name
        else:
            self._refuse_conflict(state, in_use_since)
            self._memory.forget(state.name)
            self.connection.execute(delete(tasks).where(tasks.c.source == state.name))
            state = SourceState(name=state.name)
        state = replace(state, region=region, project_id=project_id)
        kept = {name: getattr(state, name) for name in (*_FORGOTTEN, *(_MOVED if formerly else ()))}
        fresh = kept | {"region": region, "project_id": project_id}
        self.connection.execute(update(sources).where(sources.c.name == state.name).values(fresh))
        return replace(claim, state=state, formerly=formerly)

    def retire_sources(self, names: Collection[str], now: datetime) -> None:
        """Note that sources are not configured any more."""
        retired = (sources.c.name.in_(list(names)), sources.c.retired_at.is_(None))
        self.connection.execute(update(sources).where(*retired).values(retired_at=now))

    def _refuse_conflict(self, state: SourceState, in_use_since: datetime | None) -> None:
        """Raise SourceConflict where another replica still polls what the name stood for."""
        mine = select(sources.c.polled_by, sources.c.claimed_by).where(sources.c.name == state.name)
        polled_by, me = self.connection.execute(mine).one()
        if in_use_since is None or state.last_poll_at is None or state.last_poll_at <= in_use_since:
            return
        if polled_by not in (None, me):
            raise SourceConflict(
                f"source {state.name}: {polled_by} polls project {state.project_id} in {state.region} under this name. "
                "Give this one another name, or stop the other replica: it is taken over a while after its last poll."
            )

    def _former(self, name: str, region: str, project_id: str, configured: Collection[str]) -> SourceState | None:
        """Return what is recorded of the same list under a name that is not configured any more, the latest."""
        same = (sources.c.region == region, sources.c.project_id == project_id, sources.c.name != name)
        # Names alone: thousands of sources may read the same project, and each asks this at its first poll.
        names = self.connection.execute(select(sources.c.name).where(*same)).scalars()
        left = [other for other in names if other not in configured]
        if not left:
            return None
        latest = select(sources).order_by(sources.c.last_poll_at.is_(None), sources.c.last_poll_at.desc()).limit(1)
        return rows.source_of(self.connection.execute(latest.where(sources.c.name.in_(left))).one())

    def _rename(self, former: str, name: str) -> None:
        """Let all that is recorded under a source's former name belong to it under its new one.

        The facts of events stay as they were told, and so do their ids.
        """
        for source in (former, name):
            self._memory.forget(source)
        self.connection.execute(delete(sources).where(sources.c.name == former))
        for table in (tasks, watches):
            self.connection.execute(update(table).where(table.c.source == former).values(source=name))
        told = events.alias()
        again = exists().where(
            told.c.source == name, told.c.job_id == events.c.job_id, told.c.occurrence == events.c.occurrence
        )
        self.connection.execute(update(events).where(events.c.source == former, ~again).values(source=name))
        # Deliveries and messages about a task go on in its order and under its message.
        for column in (deliveries.c.lane, delivery_events.c.subject, threads.c.subject):
            about = column.startswith(str(Subject(source=former)), autoescape=True)
            moved = literal(name) + func.substr(column, len(former) + 1)
            self.connection.execute(update(column.table).where(about).values({column.name: moved}))

    def renew_poll(self, claim: PollClaim, until: datetime) -> bool:
        """Prolong a claim; one that has passed on is left as it is. Return whether it is still ours."""
        mine = (sources.c.name == claim.state.name, sources.c.epoch == claim.epoch)
        return self.connection.execute(update(sources).where(*mine).values(claimed_until=until)).rowcount == 1

    def still_holds(self, claim: PollClaim) -> bool:
        """Tell whether the claim is still the latest; locks the source's row until the transaction ends."""
        return self.connection.execute(_EPOCH, {"of": claim.state.name}).scalar() == claim.epoch

    def fingerprints(self, claim: PollClaim) -> Mapping[str, bytes]:
        """Return job_id to fingerprint of every recorded task of the source."""
        recalled = self._memory.recall(claim)
        known = self._select_fingerprints(claim.state.name) if recalled is None else recalled
        # Nothing else has been recorded under this claim, or it was by this process and is remembered.
        self.after_commit.append(partial(self._memory.keep, claim, known))
        return known

    def _select_fingerprints(self, source: str) -> dict[str, bytes]:
        statement = select(tasks.c.job_id, tasks.c.fingerprint).where(tasks.c.source == source)
        return {job_id: fingerprint for job_id, fingerprint in self.connection.execute(statement)}  # noqa: C416 - dict() of rows is slower

    def unchanged(self, source: str, before: datetime) -> Mapping[str, datetime]:
        """Return the running tasks of a source that were last seen to change at or before a time, and when that was."""
        found = self.connection.execute(_UNCHANGED, {"of": source, "before": before})
        return {row.job_id: row.changed_at for row in found}

    def recorded(self, source: str, job_ids: Collection[str]) -> Mapping[str, RecordedTask]:
        """Return those of the tasks that are recorded."""
        found: dict[str, RecordedTask] = {}
        for some in chunks(job_ids):
            statement = rows.select_tasks().where(tasks.c.source == source, tasks.c.job_id.in_(some))
            found |= {row.job_id: rows.recorded_of(row) for row in self.connection.execute(statement)}
        return found

    def occurrences(self, source: str, job_ids: Collection[str]) -> Mapping[str, Collection[str]]:
        """Return the occurrences of the recorded events of tasks, by job id."""
        found: dict[str, set[str]] = {}
        for some in chunks(job_ids):
            of = (events.c.source == source, events.c.job_id.in_(some))
            for job_id, occurrence in self.connection.execute(select(events.c.job_id, events.c.occurrence).where(*of)):
                found.setdefault(job_id, set()).add(occurrence)
        return found

    def record_tasks(self, claim: PollClaim, updates: Sequence[TaskUpdate], now: datetime) -> Sequence[str]:
        """Insert or update tasks; return the ids of those that the database refused."""
        if not updates:
            return []
        source = claim.state.name
        values = [
            rows.task_values(change.recorded.task)
            | {
                "source": source,
                "fingerprint": change.fingerprint,
                "occurrence": change.recorded.occurrence,
                "missing": change.recorded.missing,
                "unlisted": change.recorded.unlisted,
                "first_seen_at": now,
                "changed_at": change.recorded.changed_at or _changed_at(change.recorded.task, now),
            }
            for change in updates
        ]
        insert = self._insert(tasks)
        kept = ("source", "job_id", "first_seen_at", "events_pruned")
        changed = {column.name: insert.excluded[column.name] for column in tasks.columns if column.name not in kept}
        statement = insert.on_conflict_do_update(index_elements=["source", "job_id"], set_=changed)
        refused = self._isolated(values, lambda some: self.connection.execute(statement, some))
        fresh = {str(value["job_id"]): change.fingerprint for value, change in zip(values, updates, strict=True)}
        for value in refused:
            del fresh[str(value["job_id"])]
        self.after_commit.append(partial(self._memory.update, claim, fresh))
        return [str(value["job_id"]) for value in refused]

    def record_missing(self, source: str, missing: Mapping[str, int], unlisted: Collection[str]) -> None:
        """Set for how many complete polls tasks have been missing, and whether they are said to be unlisted."""
        if not missing:
            return
        statement = (
            update(tasks)
            .where(tasks.c.source == source, tasks.c.job_id == bindparam("of"))
            .values(missing=bindparam("count"), unlisted=bindparam("gone"))
        )
        counted = [{"of": job_id, "count": n, "gone": job_id in unlisted} for job_id, n in missing.items()]
        self.connection.execute(statement, counted)

    def record_events(self, routed: Sequence[RoutedEvent]) -> EventsRecorded:
        """Insert events; an id that is already there is left as it is."""
        known: set[str] = set()
        for some in chunks([item.event.id for item in routed]):
            known |= set(self.connection.execute(select(events.c.id).where(events.c.id.in_(some))).scalars())
        fresh = [item for item in routed if item.event.id not in known]
        refused = {item.event.id for item in self._isolated(fresh, self._insert_events)}
        return EventsRecorded(
            new=tuple(item for item in fresh if item.event.id not in refused),
            refused=tuple(item.event for item in fresh if item.event.id in refused),
        )

    def _insert_events(self, routed: Sequence[RoutedEvent]) -> None:
        self.connection.execute(events.insert(), [rows.event_values(item) for item in routed])

    def record_deliveries(self, planned: Sequence[Delivery]) -> None:
        """Insert deliveries of events that are new, so that none can be there already."""
        if not planned:
            return
        self.connection.execute(deliveries.insert(), [rows.delivery_values(delivery) for delivery in planned])
        self.connection.execute(delivery_events.insert(), list(_members(planned)))
        self._tell_others()

    def record_poll(
        self, claim: PollClaim, snapshot: Snapshot, now: datetime, next_poll_at: datetime, refused: int = 0
    ) -> None:
        """Note a poll that worked and release the claim. The first complete full one is the baseline.

        `refused` is the number of rows that the database did not store.
        """
        noted: dict[str, object] = {
            "last_poll_at": now,
            "clock_skew": None if snapshot.skew is None else snapshot.skew.total_seconds(),
            "last_error": None,
            "failing_since": None,
            "failures": 0,
            "next_poll_at": next_poll_at,
        }
        if refused or snapshot.scope is Scope.FULL:  # an active scan leaves out rows that may still be refused
            noted["refused_rows"] = refused
            noted["refused_since"] = (claim.state.refused_since or now) if refused else None
        if snapshot.scope is Scope.FULL:
            noted["last_full_calls"] = snapshot.calls
            if snapshot.complete:
                noted["empty_since"] = None if snapshot.fingerprints else claim.state.empty_since or snapshot.taken_at
                noted["last_full_at"] = snapshot.taken_at
                noted["baseline_at"] = claim.state.baseline_at or snapshot.taken_at
        self.connection.execute(_note_poll(tuple(noted)), _new(noted) | {"of": claim.state.name})

    def record_poll_failure(self, claim: PollClaim, error: str, next_poll_at: datetime) -> None:
        """Note a poll that failed and release the claim."""
        self.connection.execute(
            update(sources)
            .where(sources.c.name == claim.state.name, sources.c.epoch == claim.epoch)
            .values(
                last_error=error,
                failing_since=claim.state.failing_since or self.now(),
                failures=sources.c.failures + 1,
                next_poll_at=next_poll_at,
                claimed_by=None,
                claimed_until=None,
            )
        )

    def postpone_poll(self, claim: PollClaim, next_poll_at: datetime) -> None:
        """Release a claim under which nothing was done, until a later time."""
        mine = (sources.c.name == claim.state.name, sources.c.epoch == claim.epoch)
        released = {"next_poll_at": next_poll_at, "claimed_by": None, "claimed_until": None}
        self.connection.execute(update(sources).where(*mine).values(released))

    def credential(self, key: str) -> CredentialState:
        """Return what is recorded about a credential; locks its row until the transaction ends."""
        row = self.connection.execute(_CREDENTIAL, {"of": key}).one_or_none()
        if row is None:
            # What no source uses any more is of no use either.
            unused = credentials.c.rate_at < self.now() - UNUSED_CREDENTIAL
            self.connection.execute(delete(credentials).where(unused))
            self.connection.execute(self._insert(credentials).values(key=key).on_conflict_do_nothing())
            row = self.connection.execute(_CREDENTIAL, {"of": key}).one()
        return rows.credential_of(row)

    def save_credential(self, key: str, state: CredentialState) -> None:
        """Record what became of a credential."""
        self.connection.execute(_SAVE_CREDENTIAL, _new(asdict(state)) | {"of": key})

    def _tell_others(self) -> None:
        """Let all who listen look for deliveries once this is committed. With SQLite there is nobody else."""
        if not self._told and self.connection.dialect.name == "postgresql":
            self.connection.execute(_TELL)
            self._told = True

    def _insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        return postgresql.insert(table) if self.connection.dialect.name == "postgresql" else sqlite.insert(table)

    def _isolated(self, values: Sequence[T], execute: Callable[[Sequence[T]], object]) -> Sequence[T]:
        """Write rows so that one the database refuses costs only itself; return the refused."""
        if not values:
            return []
        try:
            with self.connection.begin_nested():
                execute(values)
        except (DBAPIError, UnicodeEncodeError) as error:
            if not _row_is_to_blame(error):
                raise
            if len(values) == 1:
                return values
            return [row for value in values for row in self._isolated([value], execute)]
        return []


def _changed_at(task: Task, now: datetime) -> datetime:
    """Return when a task came to be as it is: what ended last month is no news because we see it only now."""
    return task.ended_at if task.status.terminal and task.ended_at else now


def _row_is_to_blame(error: DBAPIError | UnicodeEncodeError) -> bool:
    """Tell what a row can cause (text that cannot be stored, a key too long for an index) from what concerns all."""
    too_long = getattr(getattr(error, "orig", None), "sqlstate", None) == "54000"
    return too_long or isinstance(error, DataError | IntegrityError | UnicodeEncodeError)


def _members(planned: Iterable[Delivery]) -> Iterable[dict[str, object]]:
    for delivery in planned:
        for position, event in enumerate(delivery.events):
            yield {
                "delivery_id": delivery.id,
                "event_id": event.id,
                "channel": delivery.channel,
                "subject": event.subject,
                "position": position,
            }
