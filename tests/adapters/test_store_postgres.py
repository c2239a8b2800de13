"""Connections to PostgreSQL: which are kept, what the user may set, and what is said when none can be had."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from factories import T0, make_delivery, make_events
from servers.postgres import Databases, postgres_server
from servers.relay import Relay, relay
from sqlalchemy import URL, Connection, make_url, text

from notifier.core import outbox
from notifier.core.delivery import Delivered, Delivery
from notifier.core.errors import ConfigurationError, NotifierError, StoreUnreachable
from notifier.core.routing import RoutedEvent
from notifier.settings.database_url import PostgresAddress
from notifier.store import listen
from notifier.store.driver_failures import is_lost
from notifier.store.engine import SqlStore, admin_engine, open_store
from notifier.store.planned_events import UnclaimedDeliveries
from notifier.store.polls import FingerprintCache
from notifier.store.postgres_driver import postgres_parameters
from notifier.store.transaction import Transaction

PATIENCE = 60.0
"""Seconds after which a test that waits for a server fails. None of them waits for it."""


_numbers = itertools.count()


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """Let a server take no changes, as one does whose disk is full or that is no primary any more."""
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:

        def switch(to: str) -> None:
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {to}".encode())
            connection.execute("SELECT pg_reload_conf()")
            while _new_session_is(url) != to:
                pass

        switch("on")
        try:
            yield
        finally:
            switch("off")


def _new_session_is(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute("SHOW default_transaction_read_only").fetchone()[0]  # type: ignore[index]  # always a row


def local(url: str) -> Path:
    """Return the socket of a server that is only to be reached by it."""
    return Path(str(make_url(url).query["host"])) / ".s.PGSQL.5432"


def through(network: Relay, url: str) -> str:
    far = make_url(url).set(host="127.0.0.1", port=network.port, query={})
    return far.render_as_string(hide_password=False)


async def write(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.channels.sync({"dba": str(next(_numbers))}, tx.now()))


async def write_for_ever(store: SqlStore) -> None:
    while True:
        await write(store)


async def ends_in(error: type[NotifierError], message: str, store: SqlStore) -> None:
    """Write until that fails: servers tell their sessions of a new configuration when these are idle."""
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(error, match=message):
            await write_for_ever(store)


TAKES_NO_CHANGES = r"takes no changes: it is read-only or a standby"


async def test_a_server_turned_read_only_is_left_at_once_and_used_again(postgres_url: str) -> None:
    async with aclosing(open_store(postgres_url)) as store:
        await write(store)
        with read_only(postgres_url):
            await ends_in(StoreUnreachable, TAKES_NO_CHANGES, store)
            with pytest.raises(StoreUnreachable, match=TAKES_NO_CHANGES):
                await store.read(lambda q: q.sources())
            with pytest.raises(StoreUnreachable, match=TAKES_NO_CHANGES):
                open_store(postgres_url)
        await write(store)


@pytest.fixture
def other_server() -> Iterator[str]:
    """Yield the URL of another server that has the schema."""
    with postgres_server() as server:
        open_store(server.get_uri(), migrate=True).close()
        yield server.get_uri()


@pytest.mark.both_loops
async def test_a_name_that_leads_to_another_server_is_followed(postgres_url: str, other_server: str) -> None:
    name = str(make_url(postgres_url).database)
    with psycopg.connect(other_server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"'.encode())
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    elsewhere = make_url(other_server).set(database=name).render_as_string(hide_password=False)
    open_store(elsewhere, migrate=True).close()
    async with relay(local(postgres_url)) as network, opened(through(network, postgres_url)) as store:
        await write(store)
        with read_only(postgres_url):
            network.path = local(other_server)
            async with asyncio.timeout(PATIENCE):
                while not await _knows_channel(elsewhere):
                    await write(store)  # no connection to the old server is used any more, without an error in between


async def _knows_channel(url: str) -> bool:
    async with aclosing(open_store(url)) as store:
        return bool(await store.read(lambda q: q.channels()))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[SqlStore]:
    """Open a store in a thread: the network that leads to it is served by this loop."""
    store = await asyncio.to_thread(open_store, url)
    try:
        yield store
    finally:
        await store.aclose()


async def test_a_connection_on_which_a_change_is_refused_is_discarded(postgres_url: str) -> None:
    """Poolers and old servers do not report that they are read-only: the first refusal says so."""
    url = f"{postgres_url}&target_session_attrs=any"
    async with aclosing(open_store(url)) as store:
        await write(store)
        with store.writer.connect() as connection:
            before = connection.execute(text("SELECT pg_backend_pid()")).scalar()
        with read_only(postgres_url):
            await ends_in(StoreUnreachable, TAKES_NO_CHANGES, store)
        await write(store)
        with store.writer.connect() as connection:
            assert connection.execute(text("SELECT pg_backend_pid()")).scalar() != before


async def test_a_listener_leaves_a_server_that_becomes_read_only(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen, "PROBE_INTERVAL", 0.05)
    woken = asyncio.Event()
    async with aclosing(open_store(postgres_url)) as store:
        listening = asyncio.create_task(store.listen(woken.set))
        async with asyncio.timeout(PATIENCE):
            await woken.wait()
            with read_only(postgres_url):
                while await asyncio.to_thread(_listeners, postgres_url):
                    pass
                woken.clear()
            await woken.wait()
            assert await asyncio.to_thread(_listeners, postgres_url) == 1
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


def _listeners(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'gaussdb-notifier listening'"
        ).fetchone()
    return int(found[0]) if found else 0


@pytest.mark.parametrize(
    ("sqlstate", "lost"),
    [
        ("25006", True),
        ("57P01", True),
        ("57P02", True),
        ("57P03", True),
        ("08006", True),
        ("08P01", True),
        ("57014", False),
        ("40001", False),
        ("23505", False),
        (None, False),
    ],
)
def test_what_makes_a_connection_useless(sqlstate: str | None, *, lost: bool) -> None:
    assert is_lost(sqlstate) is lost


# ---- what the user sets ----


def shown(store: SqlStore, name: str) -> object:
    with store.writer.connect() as connection:
        return connection.execute(text(f"SHOW {name}")).scalar()


def test_the_users_settings_count_and_ours_stay_beside_them(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA mine")
    url = f"{postgres_url}&options=-csearch_path%3Dmine%20-cstatement_timeout%3D7s&application_name=night%20shift"
    store = open_store(url, migrate=True)
    names = ("search_path", "statement_timeout", "application_name", "timezone", "lock_timeout", "client_encoding")
    assert [shown(store, name) for name in names] == ["mine", "7s", "night shift", "UTC", "10s", "UTF8"]
    store.close()
    with psycopg.connect(postgres_url) as connection:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'mine' AND tablename = 'tasks'"
        assert connection.execute(tables).fetchone() == (1,)


def test_libpqs_environment_variables_count_too(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=5MB")
    monkeypatch.setenv("PGAPPNAME", "from outside")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = open_store(postgres_url)
    names = ("work_mem", "application_name", "timezone", "client_encoding")
    assert [shown(store, name) for name in names] == ["5MB", "from outside", "UTC", "UTF8"]
    store.close()


def test_settings_that_nobody_made_are_ours() -> None:
    parameters = postgres_parameters(PostgresAddress({"host": "h", "dbname": "d"}))
    assert parameters["connect_timeout"] == "10"
    assert parameters["target_session_attrs"] == "read-write"
    assert postgres_parameters(PostgresAddress({"connect_timeout": "3"}))["connect_timeout"] == "3"


async def test_of_several_hosts_the_one_that_takes_changes_is_used(postgres_url: str, other_server: str) -> None:
    name = make_url(postgres_url).database
    with psycopg.connect(other_server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    async with relay(local(other_server)) as standby, relay(local(postgres_url)) as primary:
        with read_only(other_server):
            url = f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{standby.port},127.0.0.1:{primary.port}/{name}"
            async with opened(url) as store:
                await write(store)
    async with aclosing(open_store(postgres_url)) as store:
        assert await store.read(lambda q: q.channels())


# ---- databases that cannot be used ----


def created(server: str, name: str, encoding: str) -> str:
    url = make_url(server).set(database=name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"'.encode())
        connection.execute(f"CREATE DATABASE \"{name}\" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0".encode())
    return _text(url)


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_CN"])
def test_a_database_that_cannot_hold_every_text_is_refused(databases: Databases, encoding: str) -> None:
    url = created(databases.url, f"in_{encoding}", encoding)
    for open_it in (lambda: open_store(url, migrate=True), lambda: admin_engine(url).__enter__()):
        with pytest.raises(ConfigurationError, match=f"a database with the encoding {encoding}.*ENCODING 'UTF8'"):
            open_it()


def test_a_missing_database_is_a_configuration_error(databases: Databases) -> None:
    url = _text(make_url(databases.url).set(database="nobodys"))
    with pytest.raises(ConfigurationError, match=r"store\.url names a database that does not exist") as caught:
        open_store(url)
    assert caught.value.exit_code == 2


# ---- a backlog ----


def plan(planned: Sequence[Delivery], tx: Transaction) -> None:
    routed = [RoutedEvent(event=event, routes=("all",), channels=("dba",)) for one in planned for event in one.events]
    tx.events.record(routed)
    tx.deliveries.record(planned)


def deliver(count: int, tx: Transaction) -> int:
    """Claim deliveries and settle them as delivered, as two steps do; return how many."""
    claimed = tx.deliveries.claim_due("dba", "me", T0, timedelta(minutes=1), count)
    settle = partial(outbox.settle, outcome=Delivered(), started_at=T0, finished_at=T0, schedule=(), chance=0.5)
    return tx.deliveries.settle([settle(delivery) for delivery in claimed], T0)


def rows_read(connection: Connection) -> int:
    """Return how many rows the server has read for a session lately, with those that a condition left out."""
    counted = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
    return int(connection.execute(text(counted)).scalar_one())


async def test_a_claim_does_not_compare_everything_that_waits(postgres_url: str) -> None:
    """The server has no statistics yet, or such of a time when nothing waited: a receiver has been down since."""
    waiting = [make_delivery(event, attempt=0) for event in make_events(1_000)]
    async with aclosing(open_store(postgres_url)) as store:
        await store.transact(partial(plan, waiting))
        with store.writer.begin() as writing:
            before = rows_read(writing)
            assert deliver(100, Transaction(writing, lambda _: T0, FingerprintCache(), UnclaimedDeliveries())) == 100
            assert rows_read(writing) - before < 10 * len(waiting)  # and not several for each of them
        assert await store.transact(partial(deliver, len(waiting))) == len(waiting) - 100
