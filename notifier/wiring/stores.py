"""Access to the database alone, without the rest of the program."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

from notifier.clock import SystemClock
from notifier.config.config import Config
from notifier.ports import Store
from notifier.retention import PruneReport, PruneRules, prune
from notifier.store import migrate, revision
from notifier.store.engine import SqlStore, admin_engine, copy_database, open_store, upgrade_database
from notifier.store.errors import place_of
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction

__all__ = ["Queries", "Transaction", "copy_database", "upgrade_database"]  # what it passes on, besides its own names


class AppStore(Store[Transaction, Queries], Protocol):
    """The store of a running service."""

    @property
    def serial(self) -> bool:
        """Whether no two transactions on the database ever run beside each other: SQLite."""

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever another process has planned deliveries, until cancelled.

        It only saves time: idle workers find by themselves what it misses. Where no other process can write (SQLite),
        it never calls.
        """

    async def aclose(self) -> None:
        """Release connections and locks."""


@asynccontextmanager
async def open_existing_store(config: Config) -> AsyncIterator[SqlStore]:
    """Open the store, also beside a running service. It is never created here. Raises StoreError."""
    store = open_store(config.store.url, create=False, migrate=config.store.migrate)
    try:
        yield store
    finally:
        await store.aclose()


def database_revision(url: str) -> tuple[str, str | None, str]:
    """Return a database's display name, its revision (None if empty) and the required revision. Raises StoreError."""
    with admin_engine(url) as engine:
        return place_of(engine.url), migrate.current(engine), revision.HEAD


async def prune_database(config: Config) -> PruneReport:
    """Delete what is past its retention, also beside a running service. Raises StoreError."""
    async with open_existing_store(config) as store:
        return await prune(store, SystemClock(), prune_rules(config))


def prune_rules(config: Config) -> PruneRules:
    """Return the retention of each kind of record."""
    retention = config.retention
    return PruneRules(
        events=retention.events,
        dead=retention.dead,
        tasks=retention.tasks,
        configured=frozenset(source_places(config)),
        expected=config.expected,
    )


def source_places(config: Config) -> Mapping[str, tuple[str, str]]:
    """Return region and project of each configured source, by name."""
    return {settings.name: (settings.region, settings.project_id) for settings in config.sources}
