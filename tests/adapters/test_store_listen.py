"""Being told by PostgreSQL of what other processes planned: at once, and again after whatever cuts it off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from factories import T0, make_delivery, make_event, make_task
from servers.relay import Relay, relay
from sqlalchemy import make_url
from timeouts import HANG_TIMEOUT

from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.routing import RoutedEvent
from notifier.store import listen
from notifier.store.engine import open_store
from notifier.store.transaction import Transaction

pytestmark = pytest.mark.both_loops

HOUR = timedelta(hours=1)


class Ear:
    """What listens: woken, it says so."""

    def __init__(self) -> None:
        self.heard = 0
        self._news = asyncio.Event()

    def wake(self) -> None:
        self.heard += 1
        self._news.set()

    async def hears(self, act: Awaitable[object] | None = None) -> None:
        """Do something, and wait until it is woken after that."""
        self._news.clear()
        if act is not None:
            await act
        async with asyncio.timeout(HANG_TIMEOUT):
            await self._news.wait()


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Ear]:
    """Listen through a store of its own, as another process does; yield once it does."""
    store, ear = await asyncio.to_thread(open_store, url), Ear()
    task = asyncio.create_task(store.listen(ear.wake))
    try:
        await ear.hears()
        yield ear
    finally:
        task.cancel()
        async with asyncio.timeout(HANG_TIMEOUT):
            await asyncio.gather(task, return_exceptions=True)
        await store.aclose()


async def change(url: str, fn: Callable[[Transaction], object]) -> None:
    """Run `fn` through a store of its own, as another process does."""
    store = open_store(url)
    try:
        await store.transact(fn)
    finally:
        await store.aclose()


async def plan(url: str, *deliveries: Delivery) -> None:
    """Record deliveries, by default one of a failed creation, in one transaction with their events."""
    planned = deliveries or (make_delivery(),)

    def record(tx: Transaction) -> None:
        events = [event for delivery in planned for event in delivery.events]
        tx.events.record([RoutedEvent(event=event, routes=("all",), channels=("dba",)) for event in events])
        tx.deliveries.record(planned)

    await change(url, record)


def waiting(name: str, state: DeliveryState, available: timedelta = timedelta()) -> Delivery:
    return make_delivery(make_event(make_task(name)), state=state, available_at=T0 + available, attempt=0)


DEAD = waiting("dead", DeliveryState.DEAD)
PARKED = waiting("parked", DeliveryState.PARKED)
WAITING = waiting("waiting", DeliveryState.PENDING, HOUR)
CLAIMED = waiting("claimed", DeliveryState.PENDING)


async def test_a_listener_is_notified_of_planned_deliveries(postgres_url: str) -> None:
    async with listening(postgres_url) as one, listening(postgres_url) as other:
        await asyncio.gather(one.hears(), other.hears(), plan(postgres_url))


ALL_DUE: Mapping[str, Callable[[Transaction], object]] = {
    "retry": lambda tx: tx.deliveries.retry([DEAD.id], T0),
    "unpark": lambda tx: tx.channels.unpark("dba", T0),
    "retry now": lambda tx: tx.deliveries.retry_now("dba", T0),
    "release": lambda tx: tx.deliveries.release([(CLAIMED.id, 1)], T0),
    "release claims": lambda tx: tx.replicas.release_claims("me", T0),
}


@pytest.mark.parametrize("due", ALL_DUE.values(), ids=ALL_DUE)
async def test_a_listener_is_notified_of_deliveries_due_again(
    postgres_url: str, due: Callable[[Transaction], object]
) -> None:
    await plan(postgres_url, DEAD, PARKED, WAITING, CLAIMED)
    await change(postgres_url, lambda tx: tx.deliveries.claim_due("dba", "me", T0, HOUR, 1))
    async with listening(postgres_url) as ear:
        await ear.hears(change(postgres_url, due))


async def test_no_notification_comes_for_uncommitted_or_undue_changes(postgres_url: str) -> None:
    def undone(tx: Transaction) -> None:
        tx.deliveries.record([make_delivery()])

    async with listening(postgres_url) as ear:
        before = ear.heard
        with pytest.raises(Exception, match="foreign key"):  # its event is not there
            await change(postgres_url, undone)
        for nothing in ALL_DUE.values():
            await change(postgres_url, nothing)
        await ear.hears(plan(postgres_url))
        assert ear.heard == before + 1


async def test_sqlite_never_calls_and_ends_when_asked(sqlite_url: str) -> None:
    store, ear = open_store(sqlite_url), Ear()
    task = asyncio.create_task(store.listen(ear.wake))
    await store.transact(lambda tx: tx.channels.unpark("dba", T0))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (task.cancelled(), ear.heard) == (True, 0)
    await store.aclose()


# ---- what cuts it off ----


async def end_listeners(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'gaussdb-notifier listening'"
        )


async def test_it_connects_again_when_its_connection_is_ended(postgres_url: str) -> None:
    async with listening(postgres_url) as ear:
        await ear.hears(end_listeners(postgres_url))
        await ear.hears(plan(postgres_url))


@asynccontextmanager
async def remote(url: str) -> AsyncIterator[tuple[Relay, str]]:
    """Yield a network to the server, and the database's URL through it."""
    local = make_url(url)
    async with relay(Path(str(local.query["host"])) / ".s.PGSQL.5432") as network:
        far = local.set(host="127.0.0.1", port=network.port, query={})
        yield network, far.render_as_string(hide_password=False)


async def test_it_connects_again_when_the_network_is_cut(postgres_url: str) -> None:
    async with remote(postgres_url) as (network, url), listening(url) as ear:
        network.cut()
        await ear.hears()
        await ear.hears(plan(postgres_url))


async def test_it_connects_again_when_the_network_swallows_everything(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "PROBE_INTERVAL", 0.1)
    monkeypatch.setattr(listen, "PROBE_TIMEOUT", 0.2)
    async with remote(postgres_url) as (network, url), listening(url) as ear:
        network.freeze()
        await ear.hears()
        await ear.hears(plan(postgres_url))


async def _never(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


async def test_it_ends_at_once_while_an_answer_is_owed(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen, "PROBE_INTERVAL", 0.1)
    monkeypatch.setattr(listen, "PROBE_TIMEOUT", 10 * HANG_TIMEOUT)
    monkeypatch.setattr(psycopg.AsyncConnection, "_try_cancel", _never)  # the driver alone would wait for the server
    async with remote(postgres_url) as (network, url), listening(url):
        network.freeze()
        async with asyncio.timeout(HANG_TIMEOUT):
            await network.swallowed.wait()
