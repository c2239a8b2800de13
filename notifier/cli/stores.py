"""Access of a command to the store, also beside a running service."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeVar

from notifier.cli import event_loop
from notifier.cli.output import print_note
from notifier.config.config import Config
from notifier.core.rota import Duty, Rota
from notifier.core.routing import Route, calendars_of
from notifier.lookup import Lookup, known_routes, people_on_duty
from notifier.wiring.stores import AppStore, Queries, Transaction, open_existing_store

T = TypeVar("T")


def read_whole_store(config: Config, query: Callable[[Lookup], T]) -> T:
    """Return the result of a query, where `lookups.read_store` cannot: a schema may have to be upgraded first."""
    return _run(config, lambda store: store.read(query))


def read_whole_writable_store(config: Config, query: Callable[[Lookup], T]) -> T:
    """Do the same where the store takes changes. Raises StoreError where it does not."""

    def prove(tx: Transaction) -> T:
        tx.replicas.prove_writable()
        return query(tx.queries)

    return _run(config, lambda store: store.transact(prove))


def read_duties(config: Config, rotas: Mapping[str, Rota], at: datetime) -> Sequence[tuple[Rota, Duty]]:
    """Return who is on duty at a time by each rota. The store is opened only where a calendar decides it."""
    if not any(rota.calendar for rota in rotas.values()):
        return [(rota, rota.duty(at)) for rota in rotas.values()]
    return _on_store(config, lambda store: store.read(lambda q: people_on_duty(q, rotas, at)))


def read_routes(config: Config) -> Sequence[Route]:
    """Return the routes with the holidays of their windows. The store is opened only where it has one of them."""
    recorded = {calendar.name for calendar in config.calendars if calendar.origin}
    if recorded.isdisjoint(calendars_of(config.routes)):
        return config.routes
    return _on_store(config, lambda store: store.read(lambda q: known_routes(q, config.routes)))


def read_store_with(config: Config, query: Callable[[Queries], T]) -> T:
    """Return the result of a query that takes more than look-ups have."""
    return _on_store(config, lambda store: store.read(query))


def write_store(config: Config, action: Callable[[Transaction], T]) -> T:
    """Change the store in one transaction."""
    return _on_store(config, lambda store: store.transact(action))


def _on_store(config: Config, work: Callable[[AppStore], Awaitable[T]]) -> T:
    """Run work on the store. Warn on stderr when the database is not where the configuration says."""
    if config.store.left_behind_note:
        print_note(f"warning: {config.store.left_behind_note}")
    return _run(config, work)


def _run(config: Config, work: Callable[[AppStore], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_existing_store(config) as store:
            return await work(store)

    return event_loop.run(run())
