"""Access of a command to the store, also beside a running service."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from notifier.cli import event_loop
from notifier.cli.output import print_note
from notifier.config.config import Config
from notifier.wiring.stores import AppStore, Queries, Transaction, open_existing_store

T = TypeVar("T")


def read_store(config: Config, query: Callable[[Queries], T]) -> T:
    """Return the result of a query."""
    return _on_store(config, lambda store: store.read(query))


def write_store(config: Config, action: Callable[[Transaction], T]) -> T:
    """Change the store in one transaction."""
    return _on_store(config, lambda store: store.transact(action))


def _on_store(config: Config, work: Callable[[AppStore], Awaitable[T]]) -> T:
    """Run work on the store. Warn on stderr when the database is not where the configuration says."""
    if config.store.left_behind_note:
        print_note(f"warning: {config.store.left_behind_note}")

    async def run() -> T:
        async with open_existing_store(config) as store:
            return await work(store)

    return event_loop.run(run())
