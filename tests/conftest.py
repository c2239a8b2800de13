"""Shared fixtures: a real PostgreSQL, a store on either database, a clock that stands still."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path

import psycopg
import pytest
import structlog
import uvloop
from fakes import FakeClock
from hypothesis import HealthCheck, settings
from servers.postgres import Databases, postgres_server
from servers.roundup import Roundup, roundup_server
from servers.synapse import Synapse, synapse_server
from servers.tls import Certificate, make_certificate
from shared_statements import shared_statements

from notifier import logs
from notifier.http import HttpClient
from notifier.store.engine import SqlStore, open_store

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what it starts in the background, and the programs under test would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("explore", parent=settings.get_profile("suite"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

_LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run a test on the loop of the standard library, one marked `both_loops` also on the one that the service uses."""
    return {name: loop for name, loop in _LOOPS.items() if name == "asyncio" or item.get_closest_marker("both_loops")}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is collected to no search for garbage: it stays, and to search it takes seconds each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """Compile each statement once in a session: every test that opens a store would compile all that it runs."""
    with shared_statements():
        yield


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with aclosing(HttpClient()) as client:
        yield client


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Start a PostgreSQL for the databases of tests."""
    with postgres_server() as server:
        yield Databases(server.get_uri())


@pytest.fixture(scope="session")
def roundup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roundup]:
    """Start a Roundup; skip the test where it is not installed."""
    with roundup_server(tmp_path_factory.mktemp("roundup")) as server:
        yield server


@pytest.fixture(scope="session")
def synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    """Start a Synapse with a low rate limit for messages of a user; skip the test where it is not installed."""
    limit, plenty = {"per_second": 2, "burst_count": 12}, {"per_second": 1000, "burst_count": 1000}
    limits = {"rc_message": limit, "rc_room_creation": plenty, "rc_joins": {"local": plenty}}
    limits["rc_login"] = dict.fromkeys(("address", "account", "failed_attempts"), plenty)
    with synapse_server(tmp_path_factory.mktemp("synapse"), **limits) as server:
        yield server


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """Return the URL of a database with the schema and no rows."""
    with databases.database() as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a SQLite file with the schema and nothing in it, to copy."""
    path = tmp_path_factory.mktemp("template") / "notifier.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """Return the URL of a file with the schema and no rows."""
    shutil.copyfile(sqlite_template, tmp_path / "notifier.db")
    return f"sqlite:///{tmp_path}/notifier.db"


@pytest.fixture(params=["sqlite", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of a fresh database: every test that uses it runs on both."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    """Return a store whose time is that of the test's clock, as if all replicas had the same."""
    store = open_store(store_url, now=clock.now)
    yield store
    await store.aclose()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def records() -> Iterator[io.StringIO]:
    """Log into memory, and leave logging as it was found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database with nothing in it."""
    if request.param == "sqlite":
        (tmp_path / "notifier.db").touch()
        return f"sqlite:///{tmp_path}/notifier.db"
    url: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url
