"""Two processes with one account: whichever asks, both poll what is found, and neither polls what is gone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from servers.http import Answer, HttpServer, Request, reply

from notifier.cli import run
from notifier.cli.run import ReloadingService
from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.core.health_facts import Role
from notifier.service import service
from notifier.store.engine import SqlStore, open_store
from notifier.wiring.app import App, open_app
from notifier.wiring.stores import Transaction


class Cloud(HttpServer):
    """IAM with some projects, and an empty task list in each of them."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = list(names)

    def next_answer(self, request: Request) -> Answer:
        if request.target == "/v3/auth/projects":
            listed = [{"id": f"id-{name}", "name": name, "enabled": True} for name in self.names]
            return reply(200, json.dumps({"projects": listed, "links": {}}).encode())
        return reply(200, b'{"tasks": [], "total_count": 0}')


class Opened:
    """The apps that services opened, by their sources."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.apps: list[App] = []
        self._news = asyncio.Condition()
        patch.setattr(run, "open_app", self._open)

    @asynccontextmanager
    async def _open(self, config: Config, **how: Any) -> AsyncIterator[App]:
        async with open_app(config, **how) as app:
            async with self._news:
                self.apps.append(app)
                self._news.notify_all()
            yield app

    async def wait_for(self, sources: set[str], times: int) -> None:
        """Wait until so many apps with these sources were opened."""
        async with self._news:
            await self._news.wait_for(lambda: sum(app.sources.keys() == sources for app in self.apps) >= times)


@pytest.fixture(autouse=True)
def leave_logging_as_it_was(records: object) -> None:
    """Each configuration sets it up."""


async def test_every_replica_opens_its_sources_when_projects_change(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DISCOVERY_INTERVAL", 0.05)
    monkeypatch.setattr(run, "_exit_after", lambda _: None)
    opened, stop = Opened(monkeypatch), asyncio.Event()
    async with Cloud("cn-north-4") as cloud:
        account = {"name": "acme", "kind": "gaussdb_account", "endpoint": cloud.url(""), "iam_endpoint": cloud.url("")}
        auth = {"kind": "aksk", "access_key": "AK", "secret_key": "SK"}
        text = json.dumps({"store": {"url": postgres_url}, "sources": [account | {"auth": auth}]})
        config = loads(text, {})
        replicas = [
            asyncio.create_task(ReloadingService(lambda: config, frozenset(Role), stop, asyncio.Event()).serve(config))
            for _ in range(2)
        ]
        store = open_store(postgres_url)
        try:
            await opened.wait_for({"acme-cn-north-4"}, 2)
            cloud.names.append("cn-east-3")
            await ask_again(store)
            await opened.wait_for({"acme-cn-north-4", "acme-cn-east-3"}, 2)
            cloud.names.remove("cn-north-4")
            for _ in range(3):
                await ask_again(store)
            await opened.wait_for({"acme-cn-east-3"}, 2)
        finally:
            stop.set()
            await asyncio.gather(*replicas)
            await store.aclose()
    asked = [request for request in cloud.requests if request.target == "/v3/auth/projects"]
    assert len(asked) == 5


def make_due(tx: Transaction) -> None:
    """Let the account be asked now, and its missing projects have been missing for long."""
    tx.projects.postpone("acme", tx.now())
    missing = [one for one in tx.projects.known("acme") if one.missing_since]
    tx.projects.save([replace(one, missing_since=tx.now() - timedelta(days=1)) for one in missing])


async def ask_again(store: SqlStore) -> None:
    """Let the account be asked, and wait until the answer is recorded."""
    before = await read_at(store)
    await store.transact(make_due)
    while await read_at(store) == before:
        pass


async def read_at(store: SqlStore) -> datetime | None:
    return (await store.read(lambda q: q.accounts()))["acme"].read_at
