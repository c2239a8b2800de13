"""One process with several configurations: what a reload must keep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from notifier.cli import run
from notifier.cli.run import ReloadingService
from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.core.errors import ConfigurationError, StoreError, StoreUnreachable
from notifier.core.health_facts import Role
from notifier.core.projects import ProjectListing, compare_projects
from notifier.service.stats import Summary
from notifier.wiring.app import App, open_app
from notifier.wiring.stores import Transaction

CONFIGURATION = """
store: {url: "sqlite:///FOLDER/notifier.db"}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     endpoint: "http://127.0.0.1:1", auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}
channels: [{name: dba, kind: console}]
routes: [{name: everything, channels: [dba]}]
"""


class Process:
    """A process whose services only record that they ran."""

    def __init__(self, config: Config, patch: pytest.MonkeyPatch) -> None:
        self.config = config
        self.stop, self.hangup = asyncio.Event(), asyncio.Event()
        self.served: list[tuple[Config, datetime | None]] = []
        self.failures: list[StoreError | ConfigurationError] = []
        self.apps: list[App] = []
        self.ran = asyncio.Event()
        patch.setattr(run, "open_app", self.open_app)
        patch.setattr(run, "serve", self.serve)
        patch.setattr(run, "RESUME_DELAY", 0.0)
        patch.setattr(run, "_exit_after", lambda _: None)
        patch.setattr(run, "_rehearse", self.rehearse)

    async def rehearse(self, _config: Config, *, exclusive: bool) -> None:
        pass

    @asynccontextmanager
    async def open_app(self, config: Config, **how: Any) -> AsyncIterator[App]:
        if self.served and self.failures:
            raise self.failures.pop(0)
        async with open_app(config, **how) as app:
            self.apps.append(app)
            yield app

    async def serve(self, app: App, *, stop: asyncio.Event, polling_since: datetime | None, **_: Any) -> Summary:
        self.served.append((app.config, polling_since))
        self.ran.set()
        await stop.wait()
        return Summary(polls=1)

    def run(self, load: Callable[[], Config]) -> asyncio.Task[Any]:
        service = ReloadingService(load, frozenset(Role), self.stop, self.hangup)
        return asyncio.create_task(service.serve(self.config))

    async def again(self) -> None:
        """Wait for the next service."""
        self.ran.clear()
        await self.ran.wait()


@pytest.fixture
def config(sqlite_url: str) -> Config:
    return loads(CONFIGURATION.replace("sqlite:///FOLDER/notifier.db", sqlite_url), {})


@pytest.fixture(autouse=True)
def leave_logging_as_it_was(records: object) -> None:
    """Each configuration sets it up."""


def other(config: Config) -> Config:
    return config.model_copy(update={"language": "zh"})


async def test_hangups_do_not_restart_the_grace_time_of_sources(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(config, monkeypatch)
    running = process.run(lambda: config)
    for _ in range(3):
        await process.again()
        process.hangup.set()
    await process.again()
    process.stop.set()
    assert [summary.polls for summary in await running] == [1] * 4
    first, *later = [polling_since for _, polling_since in process.served]
    assert first is not None
    assert later == [first] * 3


@pytest.mark.parametrize("count", [1, 3])
async def test_a_service_that_cannot_open_the_new_configuration_continues(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    process = Process(config, monkeypatch)
    running = process.run(lambda: other(config))
    await process.again()
    process.failures = [StoreUnreachable("the database does not answer")] * count
    process.hangup.set()
    await process.again()
    process.stop.set()
    await running
    assert [served.language for served, _ in process.served] == ["en", "en"]
    assert capsys.readouterr().err.count('"event": "reload.reverted"') == count


async def test_a_service_that_never_ran_ends_with_its_error(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(config, monkeypatch)

    async def refuse(*_: object, **__: object) -> Summary:
        raise ConfigurationError("web.listen: cannot listen")

    monkeypatch.setattr(run, "serve", refuse)
    with pytest.raises(ConfigurationError):
        await process.run(lambda: config)


ACCOUNT = """
store: {url: "sqlite:///FOLDER/notifier.db"}
sources: [{name: acme, kind: gaussdb_account, auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}]
"""


async def test_other_projects_of_an_account_open_the_service_again(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = loads(ACCOUNT.replace("sqlite:///FOLDER/notifier.db", sqlite_url), {})
    process = Process(config, monkeypatch)
    running = process.run(lambda: config)
    await process.again()
    app = process.apps[-1]
    await app.store.transact(lambda tx: record(tx, "cn-north-4"))
    app.sources_changed.set()
    await process.again()
    assert process.apps[-1].sources.keys() == {"acme-cn-north-4"}
    process.hangup.set()
    await process.again()
    process.stop.set()
    await running
    assert [[source.name for source in served.sources] for served, _ in process.served] == [
        [],
        ["acme-cn-north-4"],
        ["acme-cn-north-4"],
    ]


def record(tx: Transaction, *names: str) -> None:
    projects = [ProjectListing(id=name, name=name) for name in names]
    now = tx.now()
    tx.projects.save(compare_projects("acme", tx.projects.known("acme"), projects, taken=(), now=now).saved)
    tx.projects.save_read("acme", now, now, altered=True)
