"""The projects of accounts as they are recorded, and when each account is to be asked again."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import bindparam, select, update

from notifier.core.projects import FoundProject
from notifier.store import rows
from notifier.store.schema import accounts, projects
from notifier.store.session import Session

_LOCK = select(accounts).where(accounts.c.name == bindparam("of_name")).with_for_update()
_CHANGING = ("region", "name", "missed", "missing_since", "gone_at")
"""Columns of a recorded project that a later read can change."""


class Projects:
    """Reads and writes of accounts and their projects."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def claim_due(self, origins: Mapping[str, str], now: datetime, until: datetime) -> Collection[str]:
        """Return the names of the accounts to ask now, and let nobody else ask them until a time.

        An account is due when its time has come, when it was never asked, or when it is asked in another way than
        before. `origins` has a digest of how each is asked.
        """
        due = []
        for name, origin in sorted(origins.items()):
            row = self._session.lock_named(accounts, _LOCK, name)
            if row.origin != origin or row.next_at is None or row.next_at <= now:
                self._update(name, {"next_at": until, "origin": origin})
                due.append(name)
        return due

    def known(self, account: str) -> Sequence[FoundProject]:
        """Return the recorded projects of an account, which nobody else changes until the transaction ends."""
        self._session.lock_named(accounts, _LOCK, account)
        found = self._session.execute(select(projects).where(projects.c.account == account))
        return [rows.project_of(row) for row in found]

    def names(self) -> Collection[str]:
        """Return the names of the sources of all projects."""
        return {row.source for row in self._session.execute(select(projects.c.source))}

    def save(self, changed: Sequence[FoundProject]) -> None:
        """Record projects, new ones and changed ones."""
        if not changed:
            return
        insert = self._session.insert(projects)
        keys = [projects.c.account, projects.c.project_id]
        changing = {name: insert.excluded[name] for name in _CHANGING}
        upsert = insert.on_conflict_do_update(index_elements=keys, set_=changing)
        self._session.execute(upsert, [asdict(one) for one in changed])

    def save_read(self, account: str, now: datetime, next_at: datetime, *, altered: bool) -> None:
        """Record a complete read. `altered` is whether other sources are to be read than before."""
        values: dict[str, object] = {"read_at": now, "tried_at": now, "next_at": next_at, "error": None}
        self._update(account, values | ({"revision": accounts.c.revision + 1} if altered else {}))

    def save_failure(self, account: str, error: str, now: datetime, next_at: datetime) -> None:
        """Record that an account could not be asked."""
        self._update(account, {"tried_at": now, "next_at": next_at, "error": error})

    def postpone(self, account: str, until: datetime) -> None:
        """Let an account be asked at a time."""
        self._update(account, {"next_at": until})

    def _update(self, account: str, values: Mapping[str, object]) -> None:
        self._session.execute(update(accounts).where(accounts.c.name == account).values(values))
