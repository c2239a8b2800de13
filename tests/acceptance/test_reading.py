"""The whole way in: a simulated task list over a socket, read, compared and recorded, however it pages and fails."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any, get_args

import pytest
from fakes import FakeClock
from typer.testing import CliRunner, Result

from notifier.cli.root import app as program
from notifier.config import loading as configuration
from notifier.core.events import EventType
from notifier.core.model import Event, Scope, TaskStatus
from notifier.core.polling import ONE_POLL_CALLS
from notifier.poll import PollReport
from notifier.ports import EventFilter, StoredTask, TaskFilter
from notifier.service.service import Service
from notifier.simulator import Options, Simulator
from notifier.simulator.options import Offset, Order
from notifier.simulator.server import AuthKind
from notifier.wiring.app import open_app

MANY = 100_000
"""A limit that no list here reaches."""
EAGER: Mapping[str, Any] = {"first_poll": "notify", "poll_every": "30s", "calls_per_minute": 6000}
"""Tells of its first poll too, so that each task makes an event, and looks at the whole list each time."""
FRUGAL: Mapping[str, Any] = {"calls_per_minute": 20}
SWEEPS = 20
"""Polls after which a list that keeps failing by chance has been seen whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One source of a notifier that has nobody to tell, beside the cloud that it reads."""

    name: str
    service: Service
    simulator: Simulator
    clock: FakeClock

    async def poll(self) -> PollReport:
        """Look once, due or not, and let five minutes pass: longer than anybody asks to wait."""
        report = await self.service.polling.poll(self.service.app.sources[self.name], force=True)
        assert report is not None
        self.clock.advance(timedelta(minutes=5))
        return report

    async def tick(self) -> PollReport | None:
        """Look if it is due, and let the half minute pass until the next tick."""
        report = await self.service.polling.poll(self.service.app.sources[self.name])
        self.clock.advance(timedelta(seconds=30))
        return report

    async def recorded(self) -> dict[str, StoredTask]:
        """Return every task in the database, by job_id."""
        wanted = TaskFilter(source=self.name, limit=MANY)
        rows = await self.service.app.store.read(lambda q: q.tasks(wanted))
        return {row.task.job_id: row for row in rows}

    async def events(self) -> list[Event]:
        """Return every event that there is."""
        wanted = EventFilter(source=self.name, limit=MANY)
        return [routed.event for routed in await self.service.app.store.read(lambda q: q.events(wanted))]

    async def told(self) -> Counter[str]:
        """Return how many events tell of each task as one that was not known before."""
        return Counter(event.job_id for event in await self.events() if event.previous_status is None)

    @property
    def listed(self) -> set[str]:
        """The ids that the cloud lists now."""
        return set(self.simulator.cloud.world.rows)

    def calls(self, path: str = "/tasks") -> int:
        """Return how often the cloud was asked for this."""
        return sum(call.path.endswith(path) for call in self.simulator.request_log)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How one cloud behaves, and what the configuration says of the source that reads it."""

    auth: AuthKind = "aksk"
    source: Mapping[str, Any] = field(default_factory=dict)
    cloud: Options

    def source_config(self, simulator: Simulator, name: str) -> dict[str, Any]:
        return {**simulator.source_config(self.auth, name), **EAGER, **self.source}


def setup(auth: AuthKind = "aksk", source: Mapping[str, Any] | None = None, **cloud: Any) -> Setup:
    return Setup(auth=auth, source=source or {}, cloud=Options(**cloud))


@asynccontextmanager
async def readings(store_url: str, *setups: Setup) -> AsyncIterator[Sequence[Reading]]:
    """Open one notifier with a source for each of these clouds."""
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        clouds = [await stack.enter_async_context(Simulator(one.cloud, clock)) for one in setups]
        names = [f"s{number}" for number in range(len(clouds))]
        sources = [one.source_config(cloud, name) for one, cloud, name in zip(setups, clouds, names, strict=True)]
        document = json.dumps({"store": {"url": store_url}, "sources": sources})
        app = await stack.enter_async_context(open_app(configuration.loads(document, {}), exclusive=True, clock=clock))
        service = Service(app)
        yield [
            Reading(name=name, service=service, simulator=cloud, clock=clock)
            for name, cloud in zip(names, clouds, strict=True)
        ]


@asynccontextmanager
async def reading(
    store_url: str, auth: AuthKind = "aksk", source: Mapping[str, Any] | None = None, **cloud: Any
) -> AsyncIterator[Reading]:
    """Open a notifier with one source."""
    async with readings(store_url, setup(auth, source, **cloud)) as (at,):
        yield at


@pytest.fixture(autouse=True)
def _logged(records: io.StringIO) -> Iterator[None]:
    """Keep what is logged off the screen, and hold it to the rule that it names no secret."""
    yield
    assert "simulated-" not in records.getvalue()


# ---- every task, exactly once ----


@pytest.mark.parametrize("auth", ["aksk", "token"])
@pytest.mark.parametrize("size", [0, 1, 100, 101, 250])
async def test_a_list_of_any_size_is_read_whole_and_notified_once(store_url: str, size: int, auth: AuthKind) -> None:
    every_way = itertools.product(get_args(Offset), ("newest", "oldest", "shuffled"))
    setups = [setup(auth, static=size, offset=offset, order=order) for offset, order in every_way]
    async with readings(store_url, *setups) as sources:
        for at in sources:
            first, second = await at.poll(), await at.poll()
            assert (first.complete, first.listed, len(first.events)) == (True, size, size), at.simulator.options
            assert (second.complete, second.listed, second.changed, second.events) == (True, size, 0, ())
            assert await at.told() == Counter(at.listed)
            assert (await at.recorded()).keys() == at.listed
            assert at.calls("/auth/tokens") == (auth == "token")


@pytest.mark.parametrize(("offset", "order"), [("record", "newest"), ("page", "shuffled")])
async def test_ten_thousand_tasks_are_read_whole_and_each_notified_once(
    store_url: str, offset: Offset, order: Order
) -> None:
    async with reading(store_url, static=10_000, offset=offset, order=order) as at:
        report = await at.poll()
        assert (report.complete, report.listed, len(report.events)) == (True, 10_000, 10_000)
        assert await at.told() == Counter(at.listed)
        assert report.calls == at.calls() <= 111


async def test_ten_thousand_tasks_stay_within_sixty_calls_a_minute(
    sqlite_url: str,
) -> None:
    """Sixty a minute is what a sister service documents for one user; this one documents nothing."""
    async with reading(sqlite_url, source=FRUGAL, static=10_000, calls_per_minute=60) as at:
        parts = [await at.poll()]
        while not parts[-1].complete:
            parts.append(await at.poll())
        assert len(parts) == ceil(111 / ONE_POLL_CALLS)
        assert (parts[-1].scope, parts[-1].listed) == (Scope.FULL, 10_000)
        assert await at.told() == Counter(at.listed)
        assert {call.status for call in at.simulator.request_log} == {200}


@pytest.mark.parametrize("size", [101, 250, 1000])
async def test_a_list_in_changing_order_is_whole_only_when_it_is(store_url: str, size: int) -> None:
    async with reading(store_url, static=size, order="unstable", seed=size) as at:
        for _ in range(SWEEPS):
            report = await at.poll()
            assert report.error is None
            assert not report.complete or report.listed == size
        assert await at.told() == Counter(at.listed)


@pytest.mark.parametrize(("language", "ascii_only"), [("en-us", True), ("zh-cn", False)])
async def test_reasons_are_recorded_in_the_language_that_is_asked_for(
    store_url: str, language: str, *, ascii_only: bool
) -> None:
    async with reading(store_url, source={"language": language}, static=60) as at:
        await at.poll()
        rows = (await at.recorded()).values()
        reasons = [row.task.fail_reason for row in rows if row.task.status is TaskStatus.FAILED]
        assert reasons
        assert all(reason and reason.isascii() == ascii_only for reason in reasons)


async def test_the_same_reasons_in_another_language_change_no_state(store_url: str) -> None:
    async with reading(store_url, source={"language": "en-us"}, static=60) as at:
        assert len((await at.poll()).events) == 60
    async with reading(store_url, source={"language": "zh-cn"}, static=60) as at:
        report = await at.poll()
        assert report.changed > 0
        assert report.events == ()


# ---- a list that moves and a service that fails ----

FAULTS = (
    "insert",
    "delete",
    "429",
    "429-bare",
    "500",
    "503",
    "slow=0.01",
    "truncate",
    "html",
    "short",
    "empty",
    "reset",
)


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_fault_at_any_call_loses_no_task_and_doubles_none(sqlite_url: str, fault: str) -> None:
    places = list(itertools.product(("record", "page"), range(4)))
    async with readings(sqlite_url, *(setup(static=250, offset=offset) for offset, _ in places)) as sources:
        for at, (_, position) in zip(sources, places, strict=True):
            before = at.listed
            at.simulator.script(*["pass"] * position, fault)
            report = await at.poll()
            ever = before | at.listed
            await check_claim(at, report, before, ever)
            await check_made_good(at, ever)


async def check_claim(at: Reading, report: PollReport, before: set[str], ever: set[str]) -> None:
    """Hold a poll to what it says: nothing is made up, and the list was whole if it was called so."""
    recorded = (await at.recorded()).keys()
    assert recorded <= ever
    assert not report.complete or before & at.listed <= recorded


async def check_made_good(at: Reading, ever: set[str]) -> None:
    """See that the next poll finds what those before it missed, and that each task was told once."""
    at.simulator.cloud.faults.clear()
    assert (await at.poll()).complete
    told = await at.told()
    assert at.listed <= told.keys() <= ever
    assert set(told.values()) == {1}


@pytest.mark.parametrize("offset", get_args(Offset))
async def test_random_faults_lose_double_and_overstate_nothing(sqlite_url: str, offset: Offset) -> None:
    chances = "429=1:.06,500:.06,truncate:.06,html:.06,reset:.06,shift:.2,short:.05,empty:.05,blank:.02"
    setups = [setup(static=330, seed=seed, offset=offset, faults=chances) for seed in range(6)]
    async with readings(sqlite_url, *setups) as sources:
        for at in sources:
            ever = at.listed
            for _ in range(4):
                before = at.listed
                report = await at.poll()
                ever |= at.listed
                await check_claim(at, report, before, ever)
            await check_made_good(at, ever)


async def test_a_list_that_is_never_whole_never_reports_a_task_gone(store_url: str) -> None:
    async with reading(store_url, static=250) as at:
        await at.poll()
        at.simulator.cloud.faults.script(*["pass", "empty"] * 40)
        reports = [await at.poll() for _ in range(4)]
        assert not any(report.complete for report in reports)
        assert all(report.events == () for report in reports)
        assert all(row.listed for row in (await at.recorded()).values())


async def test_tasks_that_run_are_followed_to_their_end(store_url: str) -> None:
    """An hour of an evolving project, polled every half a minute: each end that the list shows is told exactly once."""
    async with reading(store_url, source={"first_poll": "baseline"}, backlog=30, failing=0.3, deleting=0.0) as at:
        for _ in range(120):
            report = await at.tick()
            assert report is not None
            assert report.error is None
        await at.poll()
        events = await at.events()
        ends = Counter(event.job_id for event in events if event.task and event.task.status.terminal)
        ended = {
            row.job_id
            for row in at.simulator.cloud.world.rows.values()
            if row.ended_at and row.ended_at > at.simulator.cloud.start
        }
        assert ends == Counter(ended)
        assert {EventType.TASK_FAILED, EventType.TASK_COMPLETED} <= {event.type for event in events}


# ---- credentials ----


async def test_a_wrong_key_is_never_tried_in_a_hot_loop(sqlite_url: str, records: io.StringIO) -> None:
    wrong = {"auth": {"kind": "aksk", "access_key": Options().access_key, "secret_key": "not-the-key"}}
    async with reading(sqlite_url, source=wrong, static=3) as at:
        for _ in range(60):
            await at.tick()
        assert 3 <= at.calls() <= 9
        assert {call.status for call in at.simulator.request_log} == {401}
        error = (await at.service.app.store.read(lambda q: q.sources()))[0].last_error or ""
        assert "reach the limit" not in error
        assert error.startswith("source s0: credentials rejected (HTTP 401; APIGW.0301; ")
        assert error.endswith("Check auth.secret_key, and that the clock of this machine is right.")
    assert "not-the-key" not in records.getvalue()


def notifier(folder: Path, *args: str) -> Result:
    return CliRunner().invoke(program, ["-c", str(folder / "notifier.yaml"), *args])


@pytest.mark.parametrize(("auth", "key"), [("aksk", "secret_key"), ("token", "password")])
@pytest.mark.usefixtures("records")
async def test_wrong_credentials_are_one_clear_error_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: AuthKind, key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    async with Simulator(Options(static=3)) as simulator:
        source = simulator.source_config(auth)
        source["auth"][key] = "not-the-right-one"
        (tmp_path / "notifier.yaml").write_text(json.dumps({"sources": [source]}), encoding="utf-8")
        found = await asyncio.to_thread(notifier, tmp_path, "poll", "--json")
        assert found.exit_code == 1
        (error,) = json.loads(found.stdout)["errors"]
        assert error.startswith("source simulator")
        assert "credentials rejected (HTTP 401" in error
        assert f"auth.{key}" in error
        assert "not-the-right-one" not in found.output
        assert len(simulator.request_log) == 1


async def test_a_revoked_token_is_renewed_exactly_once(sqlite_url: str) -> None:
    async with reading(sqlite_url, "token", static=950) as at:
        await at.poll()
        assert at.calls("/auth/tokens") == 1
        at.simulator.cloud.tokens.revoke()
        report = await at.poll()
        assert (report.complete, report.error) == (True, None)
        assert at.calls("/auth/tokens") == 2


# ---- the budget ----


def busiest(calls: list[float], window: float) -> int:
    """Return the most calls within any span of so many seconds."""
    return max((sum(start <= call < start + window for call in calls) for start in calls), default=0)


@pytest.mark.parametrize("size", [0, 100, 250, 1500])
async def test_a_source_in_steady_state_keeps_to_twenty_calls_a_minute(sqlite_url: str, size: int) -> None:
    async with reading(sqlite_url, source=FRUGAL, static=size) as at:
        for _ in range(120):
            await at.tick()
        times = [(call.at - at.simulator.cloud.began).total_seconds() for call in at.simulator.request_log]
        steady = [time for time in times if time >= 600]
        assert steady
        assert len(steady) <= 20 * 50 + 50
        assert busiest(steady, 60) <= 60
