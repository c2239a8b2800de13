"""The search for who started each task, for all replicas, and what it found."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, or_, select, tuple_, update

from notifier.core.origins import NEAR, FoundOrigin, OriginSearch, StartedTask
from notifier.core.started_by import StartedBy
from notifier.store import rows
from notifier.store.schema import origins, tasks
from notifier.store.session import Session, chunks

LONGEST_SEARCH_WAIT = timedelta(hours=2)
"""A wait longer than this is left over from a clock that has since been set back."""
MAX_SIBLINGS = 200
"""Maximum number of tasks that are compared with those of one search."""

_TASK = (
    *(tasks.c.source, tasks.c.job_id, tasks.c.name, tasks.c.instance_id, tasks.c.instance_name),
    *(tasks.c.created_at, tasks.c.first_seen_at),
)


class Origins:
    """Reads and writes of searches."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def expect(self, source: str, first_tries: Mapping[str, datetime]) -> None:
        """Begin the search for new tasks, by job id, each with the time of its first try."""
        for some in chunks(list(first_tries)):
            begun = [{"source": source, "job_id": id_, "tries": 0, "next_at": first_tries[id_]} for id_ in some]
            self._session.execute(self._session.insert(origins).values(begun).on_conflict_do_nothing())

    def claim_due(self, sources: Collection[str], now: datetime, until: datetime, limit: int) -> Sequence[OriginSearch]:
        """Claim searches of these sources that are due, the newest first, until a time; nobody else has them then."""
        due = or_(origins.c.next_at <= now, origins.c.next_at > now + LONGEST_SEARCH_WAIT)
        found: list[OriginSearch] = []
        for some in chunks(list(sources)):
            statement = (
                select(*_TASK, origins.c.tries)
                .join_from(origins, tasks, and_(tasks.c.source == origins.c.source, tasks.c.job_id == origins.c.job_id))
                .where(origins.c.next_at.is_not(None), due, origins.c.source.in_(some))
                .order_by(tasks.c.first_seen_at.desc(), tasks.c.job_id)
                .limit(limit - len(found))
                .with_for_update(of=origins, skip_locked=True)
            )
            rows_due = self._session.execute(statement).all()
            found += [OriginSearch(task=_task_of(row), tries=row.tries, claimed_until=until) for row in rows_due]
            if len(found) >= limit:
                break
        self._move([(one.task.source, one.task.job_id) for one in found], until)
        return found

    def _move(self, keys: Collection[tuple[str, str]], until: datetime) -> None:
        for some in chunks(list(keys)):
            mine = tuple_(origins.c.source, origins.c.job_id).in_(some)
            self._session.execute(update(origins).where(mine).values(next_at=until))

    def siblings(self, wanted: Collection[StartedTask]) -> Sequence[StartedTask]:
        """Return the tasks of the same instances that were created at about the same time, these included."""
        known = [one for one in wanted if one.created_at]
        if not known:
            return ()
        times = [one.created_at for one in known if one.created_at]
        of_instance = or_(
            tasks.c.instance_id.in_(sorted({one.instance_id for one in known if one.instance_id})),
            tasks.c.instance_name.in_(sorted({one.instance_name for one in known if one.instance_name})),
        )
        near = (tasks.c.created_at >= min(times) - 2 * NEAR, tasks.c.created_at <= max(times) + 2 * NEAR)
        source = {one.source for one in known}
        statement = select(*_TASK).where(of_instance, *near, tasks.c.source.in_(source)).limit(MAX_SIBLINGS)
        return [_task_of(row) for row in self._session.execute(statement)]

    def settle(self, search: OriginSearch, found: FoundOrigin | None, next_at: datetime | None, now: datetime) -> bool:
        """Record a try; return False, and change nothing, where another process has claimed the search since.

        What was found ends the search, and so does `next_at` of None.
        """
        over = found is not None or next_at is None
        values: dict[str, object] = {
            "tries": search.tries + 1,
            "next_at": None if over else next_at,
            "ended_at": now if over else None,
        }
        if found:
            values |= {"trace_id": found.trace_id, "lag": found.lag.total_seconds() if found.lag is not None else None}
        if self._session.execute(update(origins).where(*_is(search)).values(values)).rowcount != 1:
            return False
        if found:
            own = (tasks.c.source == search.task.source, tasks.c.job_id == search.task.job_id)
            started_by = rows.started_by_text(found.started_by)
            self._session.execute(update(tasks).where(*own).values(started_by=started_by))
        return True

    def postpone(self, searches: Collection[OriginSearch], until: datetime) -> None:
        """Let searches wait that could not be made. It counts as no try."""
        for one in searches:
            self._session.execute(update(origins).where(*_is(one)).values(next_at=until))

    def started_by(self, wanted: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], StartedBy]:
        """Return who started tasks, by source and job id, as far as that is known."""
        found: dict[tuple[str, str], StartedBy] = {}
        columns = (tasks.c.source, tasks.c.job_id, tasks.c.started_by)
        for some in chunks(list(wanted)):
            of_tasks = tuple_(tasks.c.source, tasks.c.job_id).in_(some)
            statement = select(*columns).where(of_tasks, tasks.c.started_by.is_not(None))
            for row in self._session.execute(statement):
                if value := rows.started_by_of(row.started_by):
                    found[row.source, row.job_id] = value
        return found

    def keep(self, sources: Collection[str]) -> None:
        """End the searches of sources that search no more."""
        waiting = (origins.c.next_at.is_not(None), origins.c.source.not_in(list(sources)))
        self._session.execute(delete(origins).where(*waiting))


def _is(search: OriginSearch) -> tuple[ColumnElement[bool], ...]:
    """Return which search a claim is on, while it holds."""
    return (
        origins.c.source == search.task.source,
        origins.c.job_id == search.task.job_id,
        origins.c.next_at == search.claimed_until,
    )


def _task_of(row: rows.NamedRow) -> StartedTask:
    return StartedTask(
        source=row.source,
        job_id=row.job_id,
        name=row.name,
        instance_id=row.instance_id or "",
        instance_name=row.instance_name or "",
        created_at=row.created_at,
        seen_at=row.first_seen_at,
    )
