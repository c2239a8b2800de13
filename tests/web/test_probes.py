"""What probes answer, whatever state the process and its database are in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import httpx
import pytest
from fakes import FakeClock
from starlette.applications import Starlette

from notifier.core.errors import StoreUnreachable
from notifier.core.health_facts import Role
from notifier.store.engine import SqlStore
from notifier.store.queries import Queries
from notifier.store.revision import HEAD
from notifier.telemetry.process import ProcessStage, ProcessStatus
from notifier.web import probes
from notifier.web.probes import HEALTHZ, READYZ, Probes, not_ready

T = TypeVar("T")
SECRET = "postgresql://notifier:hunter2@db.internal/notifier"


class BrokenStore:
    """A database that does not answer, or not in time."""

    def __init__(self, *, silent: bool = False) -> None:
        self.reads = 0
        self._silent = silent

    async def read(self, fn: Callable[[Queries], T]) -> T:  # noqa: ARG002 - of the protocol
        self.reads += 1
        if self._silent:
            await asyncio.Event().wait()
        raise StoreUnreachable(f"no answer from {SECRET}")

    async def transact(self, fn: Callable[[object], T], *, short: bool = False) -> T:
        raise NotImplementedError


def serving() -> ProcessStatus:
    status = ProcessStatus([Role.WEB, Role.POLL])
    status.stage = ProcessStage.SERVING
    return status


def client(store: SqlStore | BrokenStore, process: ProcessStatus, revision: str = HEAD) -> httpx.AsyncClient:
    app = Starlette(routes=Probes(store, FakeClock(), process, revision=revision).routes())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")


async def test_a_process_that_serves_is_ready(store: SqlStore) -> None:
    async with client(store, serving()) as asked:
        found = await asked.get(READYZ)
        head = await asked.head(READYZ)
    assert (found.status_code, head.status_code, head.content) == (200, 200, b"")
    assert found.json() == {"status": "ready", "stage": "serving", "roles": ["poll", "web"], "reasons": []}
    assert found.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("stage", [ProcessStage.STARTING, ProcessStage.STOPPING])
async def test_a_process_that_starts_or_stops_lives_and_is_not_ready(store: SqlStore, stage: ProcessStage) -> None:
    process = serving()
    process.stage = stage
    async with client(store, process) as asked:
        ready, live = await asked.get(READYZ), await asked.get(HEALTHZ)
    assert (ready.status_code, live.status_code) == (503, 200)
    assert ready.json()["reasons"] == [f"the process is {stage}"]


async def test_a_process_on_another_schema_is_not_ready(store: SqlStore) -> None:
    async with client(store, serving(), revision="9999") as asked:
        found = await asked.get(READYZ)
    assert found.status_code == 503
    assert found.json()["reasons"] == [f"the database has schema {HEAD}, this program needs 9999"]


async def test_without_its_database_a_process_lives_and_tells_nothing_secret() -> None:
    store = BrokenStore()
    async with client(store, serving()) as asked:
        live = await asked.get(HEALTHZ)
        assert store.reads == 0
        ready = await asked.get(READYZ)
    assert (live.status_code, ready.status_code) == (200, 503)
    assert ready.json()["reasons"] == ["the database does not answer"]
    assert "db.internal" not in ready.text


async def test_many_who_ask_wait_for_one_read_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "READINESS_TIMEOUT", 0.01)
    store = BrokenStore(silent=True)
    async with client(store, serving()) as asked:
        found = await asyncio.gather(*(asked.get(READYZ) for _ in range(20)))
        again = await asked.get(READYZ)
    assert {one.status_code for one in (*found, again)} == {503}
    assert store.reads == 1


async def test_a_process_whose_work_hangs_does_not_live() -> None:
    process = serving()
    process.alive = lambda: False
    async with client(BrokenStore(), process) as asked:
        found = await asked.get(HEALTHZ)
    assert (found.status_code, found.json()["status"]) == (503, "hung")


def test_every_reason_is_named() -> None:
    assert not_ready(ProcessStage.STARTING, None, HEAD) == ["the process is starting", "the database does not answer"]
