"""Sources that share a credential share its budget of calls and its pauses, in one process and in several."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from cloud_sources import open_source
from factories import T0
from fakes import FakeClock, FakeSource
from servers.http import HttpServer, reply

from notifier.config import loading as configuration
from notifier.config.config import Config
from notifier.core.credentials import BURST, Credential
from notifier.core.errors import CredentialsRejected, SourceError, SourceThrottled
from notifier.core.polling import PollRules
from notifier.core.routing import RoutingConfig
from notifier.http import HttpClient
from notifier.poll import PollReport, poll_once
from notifier.sources.gaussdb import GaussDBSource, TaskQuery
from notifier.sources.limiter import CredentialLimiter
from notifier.store.engine import SqlStore
from notifier.wiring.app import App, open_app

KEY = Credential(key="k", calls_per_minute=20, version=lambda: "one")
NAMES = [f"s{n}" for n in range(10)]
RULES = PollRules(
    poll_every=timedelta(seconds=30),
    lease=timedelta(seconds=60),
    calls_per_minute=2,
    credential=KEY,
    configured=frozenset(NAMES),
)
PAGE = b'{"tasks": [], "total_count": 0}'
REFUSED = CredentialsRejected("source s0: credentials rejected")


def ten(clock: FakeClock, *, error: SourceError | None = None) -> list[FakeSource]:
    sources = [FakeSource(clock, name=name) for name in NAMES]
    for source in sources:
        source.error = error
    return sources


async def poll(source: FakeSource, store: SqlStore, owner: str = "me", *, force: bool = False) -> PollReport:
    return await poll_once(source, store, owner=owner, rules=RULES, routing=RoutingConfig(), force=force)


# ---- through the database ----


async def test_ten_sources_of_two_replicas_stay_within_one_budget(store: SqlStore, clock: FakeClock) -> None:
    eager = replace(RULES, poll_every=timedelta(seconds=5))
    calls = 0
    for second in range(0, 90, 2):
        clock.time = T0 + timedelta(seconds=second)
        for n, source in enumerate(ten(clock)):
            report = await poll_once(source, store, owner=f"replica {n % 2}", rules=eager, routing=RoutingConfig())
            calls += report.calls
    assert BURST + 20 < calls <= BURST + 30 + 1  # the last poll may take two


async def test_one_refusal_pauses_all_sources_of_a_credential_everywhere(store: SqlStore, clock: FakeClock) -> None:
    sources = ten(clock, error=REFUSED)
    for n, source in enumerate(sources):
        report = await poll(source, store, owner=f"replica {n % 2}", force=True)
        assert isinstance(report.error, CredentialsRejected)
    assert [len(source.scopes) for source in sources] == [1] + [0] * 9
    states = await store.read(lambda q: q.sources())
    assert {state.name for state in states if state.last_error and "credentials rejected" in state.last_error} == {
        source.name for source in sources
    }


async def test_a_refused_credential_is_tried_by_one_source_then_serves_all(store: SqlStore, clock: FakeClock) -> None:
    sources = ten(clock, error=REFUSED)
    await poll(sources[0], store)
    for source in sources:
        source.error = None
    clock.advance(timedelta(minutes=1))
    assert (await poll(sources[1], store)).succeeded
    assert [(await poll(source, store)).succeeded for source in sources[2:]] == [True] * 8


async def test_a_pause_requested_from_one_source_holds_for_the_others(store: SqlStore, clock: FakeClock) -> None:
    sources = ten(clock)
    sources[0].error = SourceThrottled("slow down", retry_after=timedelta(minutes=5))
    await poll(sources[0], store)
    assert not (await poll(sources[1], store)).polled
    clock.advance(timedelta(minutes=5))
    assert (await poll(sources[1], store)).succeeded


# ---- inside one process ----


def shared(server: HttpServer, http: HttpClient, clock: FakeClock, limiter: CredentialLimiter) -> list[GaussDBSource]:
    return [open_source(entry(server, n), http, clock, n, limiter=limiter) for n in range(10)]


def entry(server: HttpServer, number: int, **changes: Any) -> dict[str, Any]:
    auth = {"kind": "aksk", "access_key": "AK", "secret_key": "SK"}
    place = {"region": "cn-north-4", "endpoint": server.url(""), "project_id": f"p{number}"}
    return {"name": f"s{number}", "kind": "gaussdb", "auth": auth, **place, **changes}


async def ask(sources: Sequence[GaussDBSource]) -> list[object]:
    return await asyncio.gather(*(source.list_page(TaskQuery()) for source in sources), return_exceptions=True)


async def test_ten_sources_that_begin_at_once_try_a_wrong_key_once(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(401)) as server:
        errors = await ask(shared(server, http, clock, CredentialLimiter(20, clock)))
        assert len(server.requests) == 1
    assert all(isinstance(error, CredentialsRejected) for error in errors)
    assert str(errors[3]).startswith("source s3: not polled, for its credential is paused: source s0: credentials")


async def test_an_accepted_key_serves_all_at_once_within_one_budget(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(200, PAGE)) as server:
        sources = shared(server, http, clock, CredentialLimiter(20, clock))
        for _ in range(4):
            await ask(sources)
        assert clock.slept == []
        await ask(sources)
        assert sum(clock.slept) > 0
        assert len(server.requests) == 50


# ---- put together ----


def written(server: HttpServer, folder: Path, secret: str, **changes: Any) -> Config:
    sources = [entry(server, n, **changes) for n in range(10)]
    for source in sources:
        source["auth"] = {**source["auth"], "secret_key": secret}
    text = json.dumps({"sources": sources, "store": {"url": f"sqlite:///{folder / 'n.db'}"}})
    return configuration.loads(text, {})


async def poll_all(app: App) -> list[PollReport]:
    return await asyncio.gather(
        *(
            poll_once(source, app.store, owner="me", rules=app.poll_rules[name], routing=app.routing, force=True)
            for name, source in app.sources.items()
        )
    )


async def test_a_wrong_key_of_ten_sources_is_tried_once_over_several_runs(
    tmp_path: Path,
) -> None:
    async with HttpServer(reply(401)) as server:
        for _ in range(3):
            async with open_app(written(server, tmp_path, "wrong")) as app:
                reports = await poll_all(app)
            assert [type(report.error) for report in reports] == [CredentialsRejected] * 10
        assert len(server.requests) == 1
        server.answers = [reply(200, PAGE)]
        async with open_app(written(server, tmp_path, "right")) as app:
            assert all(report.succeeded for report in await poll_all(app))


async def test_each_source_counts_on_its_share_of_the_largest_budget(tmp_path: Path) -> None:
    async with HttpServer() as server:
        config = written(server, tmp_path, "s", calls_per_minute=60)
    (budget,) = config.call_budgets.values()
    assert (budget.calls_per_minute, budget.share) == (60, 6)


async def test_sources_of_two_kinds_with_one_key_share_one_budget_and_one_pause(tmp_path: Path) -> None:
    async with HttpServer() as server:
        tasks, alarms = (
            entry(server, 0),
            entry(server, 1, kind="gaussdb_events", poll_every="30s", ces_endpoint=server.url("")),
        )
        text = json.dumps({"sources": [tasks, alarms], "store": {"url": f"sqlite:///{tmp_path / 'n.db'}"}})
        config = configuration.loads(text, {})
        (budget,) = config.call_budgets.values()
        assert (budget.sources, budget.promised) == (2, 2 * 1 + 2 * 5)
        async with open_app(config) as app:
            one, other = (app.poll_rules[name].credential for name in ("s0", "s1"))
            assert one is not None
            assert other is not None
            assert (one.key, one.calls_per_minute, one.promised_per_minute) == (other.key, 20, 12)
            assert one.version() == other.version()
            server.answers = [reply(429, headers={"Retry-After": "300"})]
            first, second = [
                await poll_once(
                    app.sources[name], app.store, owner="me", rules=app.poll_rules[name], routing=app.routing
                )
                for name in ("s1", "s0")
            ]
            assert isinstance(first.error, SourceThrottled)
            assert not second.polled
            assert len(server.requests) == 1
