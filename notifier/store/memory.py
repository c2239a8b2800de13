"""A store in memory whose time its owner sets, for what runs in virtual time."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.pool import StaticPool

from notifier.store.migrate import upgrade
from notifier.store.planned_events import UnclaimedDeliveries
from notifier.store.polls import FingerprintCache
from notifier.store.queries import Queries
from notifier.store.session import Session
from notifier.store.sqlite_driver import sqlite_module
from notifier.store.transaction import Transaction

T = TypeVar("T")


class MemoryStore:
    """A `ports.Store` of one owner, on SQLite. Everything runs at once, in the caller's thread; nothing outlasts it."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        """`now` returns the time of the database."""
        self._engine = _engine()
        upgrade(self._engine)
        self._connection = self._engine.connect()
        self._now = now
        self._cache = FingerprintCache()
        self._planned = UnclaimedDeliveries()
        self._planned.wanted = True

    def run(self, fn: Callable[[Transaction], T]) -> T:
        """Run `fn` in one transaction."""
        with self._connection.begin():
            tx = Transaction(self._connection, lambda _: self._now(), self._cache, self._planned)
            result = fn(tx)
        for step in tx.after_commit:
            step()
        return result

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:  # noqa: ARG002 - all run here
        """Do the same, as a `ports.Store` does."""
        return self.run(fn)

    async def read(self, fn: Callable[[Queries], T]) -> T:
        """Run `fn` on what has been written."""
        with self._connection.begin():
            return fn(Queries(Session(self._connection, lambda _: self._now())))

    def close(self) -> None:
        """Discard everything."""
        self._connection.close()
        self._engine.dispose()


def _engine() -> Engine:
    module = sqlite_module()
    engine = create_engine(
        "sqlite://",
        module=module,
        creator=lambda: module.connect(":memory:", isolation_level=None, check_same_thread=False),
        poolclass=StaticPool,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: object) -> None:
        connection.execute(text("BEGIN"))  # type: ignore[attr-defined]  # SQLAlchemy's own connection

    return engine
