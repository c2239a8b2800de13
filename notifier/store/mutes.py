"""Mutes: their definitions and windows. A mute is locked before channels, deliveries and threads."""

from collections.abc import Collection, Sequence
from datetime import datetime

from notifier.core.mutes import Mute
from notifier.store import rows, statements
from notifier.store.session import Session
from notifier.store.threads import Threads


class RecordedMutes:
    """Writes of mutes. Live messages that show one change with it."""

    def __init__(self, session: Session, threads: Threads) -> None:
        self._session = session
        self._threads = threads

    def save(self, mute: Mute, now: datetime) -> None:
        """Record a mute, and let the messages change that may show it."""
        self._session.execute(statements.SAVE_MUTE, rows.mute_values(mute))
        if mute.instance is not None:
            self._threads.touch_instance(mute.instance, now)
        else:
            self._threads.touch_matching(mute, now)

    def step(self, mute: Mute) -> None:
        """Record a mute after a step that messages show already."""
        self._session.execute(statements.SAVE_MUTE, rows.mute_values(mute))

    def lock(self, mute_id: str) -> Mute | None:
        """Return a mute, which nobody else changes until the transaction ends; None where it is unknown."""
        row = self._session.execute(statements.LOCK_MUTE, {"id": mute_id}).one_or_none()
        return None if row is None else rows.mute_of(row)

    def hold(self, mutes: Collection[Mute], now: datetime) -> Sequence[Mute]:
        """Return those of the mutes that are in force, as they are now. None ends until the transaction ends.

        So the sum at the end of a mute has everything that it suppressed.
        """
        if not self._session.is_postgresql:  # one transaction writes at a time, and sees what it began with
            return list(mutes)
        held = self._session.execute(statements.HOLD_MUTES, {"ids": sorted(mute.id for mute in mutes), "now": now})
        return [rows.mute_of(row) for row in held]

    def ids(self) -> Collection[str]:
        """Return the ids of all recorded mutes."""
        return set(self._session.execute(statements.MUTE_IDS).scalars())

    def configured(self) -> Sequence[Mute]:
        """Return the mutes of the configuration of which a step is left, by id."""
        return [rows.mute_of(row) for row in self._session.execute(statements.CONFIGURED_MUTES)]

    def prune(self, before: datetime) -> int:
        """Delete mutes that were over before a time; return how many."""
        return self._session.execute(statements.DROP_MUTES, {"before": before}).rowcount
