"""The short form: some kills, a replica that stops beyond its leases, a disk that fills up, a database that is locked.

All of it runs at once, because most of it is waiting; each subtest looks at what became of one part. `make chaos` runs
each for minutes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos import hosts
from chaos.harness import RunPlan, open_harness
from chaos.ledger import Ledger
from chaos.mistakes import MISTAKES
from chaos.oracle import WorldPace
from chaos.postgres import Server, postgres
from chaos.receiver import BOOK, PROFILES, ReceiverProfile

SHORT = WorldPace(tasks=80, moves=8)
CALM_PROFILES: Mapping[str, ReceiverProfile] = {name: {} for name in PROFILES}
"""Every channel answers well."""
IN_FLIGHT = 4
"""Repeats that a kill may cost a channel: what a delivery worker has in flight, and what it is just noting."""
QUICK_MISTAKES = [name for name, mistake in MISTAKES.items() if mistake.quick]


def plan_of(folder: Path, name: str, **more: object) -> RunPlan:
    place = folder / name
    place.mkdir()
    values: dict[str, object] = {"folder": place, "store": f"sqlite:///{place}/notifier.db", "pace": SHORT}
    return RunPlan(**values | more)  # type: ignore[arg-type] # each test says what it changes


async def run_plan(plan: RunPlan, host_fault: hosts.HostFault | None = None) -> Ledger:
    async with open_harness(plan) as harness:
        if plan.store.startswith("postgresql"):
            upgraded = await asyncio.to_thread(harness.run_command, "db", "upgrade")
            assert upgraded.returncode == 0, upgraded.stderr
        await harness.run(host_fault)
        return await harness.build_ledger()


async def damaged(folder: Path, copies: int) -> list[tuple[int, str]]:
    """Poll once with each of so many damaged copies of a database; return how that ended and what was said."""
    plan = plan_of(folder, "damaged", transitions=100, profiles={BOOK: {}})
    found = []
    async with open_harness(plan) as harness:
        await harness.run()
        await harness.programs[0].end()
        database = plan.folder / "notifier.db"
        document = harness.document(0)
        for number in range(copies):
            copy = plan.folder / f"copy-{number}.db"
            hosts.damage(database, copy, number)
            config = plan.folder / f"copy-{number}.yaml"
            config.write_text(json.dumps(document | {"store": {"url": f"sqlite:///{copy}"}}), encoding="utf-8")
            log = plan.folder / f"copy-{number}.log"
            with log.open("ab") as stderr:
                child = harness.fork_server.start(["poll", "-c", str(config)], stderr=stderr.fileno())
            found.append((await child.wait(), log.read_text()))
    return found


async def at_once(folder: Path, server: Server) -> Mapping[str, object]:
    """Run everything; return what became of each part, or how it failed, by name."""
    database = folder / "locked" / "notifier.db"
    replicas = replace(SHORT, dwell=60.0)
    parts: dict[str, Coroutine[Any, Any, object]] = {
        "kills": run_plan(plan_of(folder, "kills", kills=30, life=0.3, in_flight=IN_FLIGHT)),
        "replicas": run_plan(
            plan_of(
                folder,
                "replicas",
                store=server.url,
                replicas=2,
                kills=3,
                terms=0.0,
                pauses=1,
                pause=32.0,
                pace=replicas,
                in_flight=IN_FLIGHT,
            )
        ),
        "locked": run_plan(plan_of(folder, "locked", profiles=CALM_PROFILES), hosts.locked(database)),
        "disk": run_plan(plan_of(folder, "disk", profiles=CALM_PROFILES), hosts.limit_file_size(3.0)),
        "damaged": damaged(folder, 8),
    } | {name: run_plan(plan_of(folder, name, variant=name, **MISTAKES[name].plan)) for name in QUICK_MISTAKES}
    results = await asyncio.gather(*parts.values(), return_exceptions=True)
    return dict(zip(parts, results, strict=True))


def test_the_short_chaos(tmp_path: Path, subtests: pytest.Subtests) -> None:
    """One test, so that one process runs it: all of it at once is what makes it short."""
    with postgres() as server:
        outcomes = asyncio.run(at_once(tmp_path, server))
    for name in ("kills", "replicas", "locked", "disk"):
        with subtests.test("nothing is lost, repeated without a cause or out of order", run=name):
            ledger = ledger_of(outcomes, name)
            assert ledger.ok, "\n".join(ledger.lines())
            assert ledger.required > 0
    for name in QUICK_MISTAKES:
        with subtests.test("a mistake is found for its reason", mistake=name):
            ledger = ledger_of(outcomes, name)
            assert MISTAKES[name].found <= ledger.broken, "\n".join(ledger.lines())
    with subtests.test("a damaged database is refused in a clear sentence, or works"):
        assert_refused_or_works(outcomes["damaged"])


def ledger_of(outcomes: Mapping[str, object], name: str) -> Ledger:
    found = outcomes[name]
    if isinstance(found, BaseException):
        raise found
    assert isinstance(found, Ledger)
    return found


def assert_refused_or_works(found: object) -> None:
    assert isinstance(found, list), found
    for code, log_text in found:
        assert "Traceback" not in log_text, log_text
        assert "this is a defect" not in log_text, log_text
        assert code in (0, 1, 3), log_text
    assert any("is damaged" in log_text for _, log_text in found)
