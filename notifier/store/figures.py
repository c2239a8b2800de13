"""Counts for those who monitor the program: each is bounded, or read from an index alone."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import column, func, or_, select, table

from notifier.core.credentials import CredentialState
from notifier.core.delivery import DeliveryState
from notifier.core.failures import FailureState
from notifier.store import rows
from notifier.store.revision import VERSION_TABLE
from notifier.store.schema import credentials, deliveries, delivery_events, events, failures, tasks
from notifier.store.session import Session

MAX_JUDGED_FAILURES = 1_000
"""Maximum number of open failures whose severity is read. It is a part of what is recorded of each."""

MAX_RECKONED_EVENTS = 2_000
"""Maximum number of the latest events whose deliveries are counted."""


class Figures:
    """Reads of figures, on one consistent view."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def revision(self) -> str | None:
        """Return the revision of the schema."""
        recorded = table(VERSION_TABLE, column("version_num"))
        return self._session.execute(select(recorded.c.version_num)).scalar()

    def tasks(self) -> Mapping[tuple[str, str], int]:
        """Return the number of recorded tasks by source and status."""
        of = (tasks.c.source, tasks.c.status)
        found = self._session.execute(select(*of, func.count()).group_by(*of))
        return {(source, status): number for source, status, number in found}

    def open_failures(self) -> Mapping[tuple[str | None, bool], int]:
        """Return the number of open failures by severity and whether somebody has acknowledged them.

        Where there are very many, the severity of those that follow is None: that of each costs a little.
        """
        states = (FailureState.OPEN, FailureState.ACKNOWLEDGED)
        unresolved = or_(*(failures.c.state == str(state) for state in states))
        counted = self._session.execute(
            select(failures.c.state, func.count()).where(unresolved).group_by(failures.c.state)
        )
        rest = Counter({state == FailureState.ACKNOWLEDGED: number for state, number in counted})
        some = select(failures.c.state, failures.c.facts).where(unresolved).limit(MAX_JUDGED_FAILURES)
        judged = Counter[tuple[str | None, bool]](
            (str(rows.failure_of(facts).severity), state == FailureState.ACKNOWLEDGED)
            for state, facts in self._session.execute(some)
        )
        for (_, acknowledged), number in judged.items():
            rest[acknowledged] -= number
        return judged + Counter({(None, acknowledged): number for acknowledged, number in rest.items()})

    def held(self) -> Mapping[str, int]:
        """Return the number of deliveries that rules hold now, by channel."""
        held = (deliveries.c.state == str(DeliveryState.PENDING), deliveries.c.rule.is_not(None))
        found = self._session.execute(
            select(deliveries.c.channel, func.count()).where(*held).group_by(deliveries.c.channel)
        )
        return dict(map(tuple, found))

    def credentials(self) -> Mapping[str, CredentialState]:
        """Return what is recorded of credentials, by their digests."""
        return {row.key: rows.credential_of(row) for row in self._session.execute(select(credentials))}

    def unaccounted(self, since: datetime) -> int:
        """Count the latest events since a time whose number of deliveries is not what routing asked for."""
        latest = (
            select(events.c.id, events.c.channel_count)
            .where(events.c.observed_at >= since)
            .order_by(events.c.observed_at.desc(), events.c.seq.desc())
            .limit(MAX_RECKONED_EVENTS)
            .subquery()
        )
        pairs = (
            select(func.count())
            .select_from(delivery_events)
            .where(delivery_events.c.event_id == latest.c.id)
            .scalar_subquery()
        )
        found: int = self._session.execute(
            select(func.count()).select_from(latest).where(latest.c.channel_count != pairs)
        ).scalar_one()
        return found
