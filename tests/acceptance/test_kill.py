"""The real program, killed and stopped at chosen moments: nothing is lost, and what is repeated is the same.

The moments are events on the wire (a page asked for, a message received), never times, so that each is hit every time.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
import pytest
from servers.cloud import WatchedCloud, watched_cloud
from servers.moments import Moments
from servers.program import Program
from servers.receiver import SECRET, Received, Receiver
from timeouts import HANG_TIMEOUT
from typer.testing import CliRunner, Result

from notifier.cli.root import app
from notifier.core.delivery import Delivery, DeliveryState
from notifier.ports import DeliveryFilter, Ledger
from notifier.store.engine import open_store

STORY: Sequence[Mapping[str, str]] = (
    {"a": "Running", "b": "Failed"},
    {"a": "Failed", "c": "Running"},
    {"a": "Running", "c": "Completed"},
    {"a": "Completed", "d": "Completed"},
)
"""What the cloud shows, one after the other; a task that is not named stays as it was."""

TOLD = {
    "a": ["task.started", "task.failed", "task.restarted", "task.completed"],
    "b": ["task.failed"],
    "c": ["task.started", "task.completed"],
    "d": ["task.completed"],
}
"""What has to be told of it, task by task, in this order."""


class House:
    """A cloud, a receiver, a database, and one program at a time that works between them."""

    def __init__(self, folder: Path, store_url: str, cloud: WatchedCloud, receiver: Receiver) -> None:
        self.config = folder / "notifier.yaml"
        self.store_url = store_url
        self.cloud = cloud
        self.receiver = receiver
        self.moments = cloud.moments
        self._stack = AsyncExitStack()
        self.configure()

    @property
    def kills(self) -> int:
        return self.moments.count["kill"]

    async def aclose(self) -> None:
        await self._stack.aclose()

    def configure(self, **more: Any) -> None:
        document = {
            "store": {"url": self.store_url},
            "sources": [self.cloud.source()],
            "channels": [self.channel("/hook")],
            # What the program reports of itself depends on the time; here only tasks count.
            "routes": [{"name": "tasks", "match": ["type=~task[.].*"], "channels": ["hook"]}],
            "alerts": {"channels": []},
            "log": {"format": "json"},
        }
        self.config.write_text(json.dumps(document | more), encoding="utf-8")

    def channel(self, path: str) -> dict[str, Any]:
        return {"name": "hook", "kind": "webhook", "url": self.receiver.url(path), "secret": SECRET, "concurrency": 1}

    # -- the program --

    async def start(self) -> Program:
        self.program = await self._stack.enter_async_context(Program(self.config, self.moments))
        return self.program

    async def kill_and_restart(self) -> None:
        await self.moments.happen("kill")
        await self.program.kill()
        await self.let_leases_end()
        await self.start()

    async def let_leases_end(self) -> None:
        """On PostgreSQL, where nobody can tell a dead process from a slow one, a restart waits for its claims to end.

        Here they end at once. On SQLite the program itself sees that it is alone.
        """
        if self.store_url.startswith("postgresql"):
            await asyncio.to_thread(end_sessions, self.store_url)
            store = open_store(self.store_url)
            await store.transact(lambda tx: tx.replicas.release_claims(None, datetime.now(UTC)))
            await store.aclose()

    # -- what is known of it --

    def notifier(self, *args: str) -> Result:
        return CliRunner().invoke(app, [*args, "-c", str(self.config)])

    async def ledger(self) -> Ledger:
        store = open_store(self.store_url)
        try:
            return await store.read(lambda q: q.ledger())
        finally:
            await store.aclose()

    async def deliveries(self) -> Sequence[Delivery]:
        store = open_store(self.store_url)
        try:
            return await store.read(lambda q: q.deliveries(DeliveryFilter()))
        finally:
            await store.aclose()

    async def settled(self, pairs: int) -> None:
        """Wait until so many deliveries have been made and none waits; the program's polls set the pace."""
        while (await self.ledger()).by_state[DeliveryState.DELIVERED] != pairs:
            await self.moments.news()


def told(messages: Sequence[Received]) -> dict[str, list[str]]:
    """Return what was told of each task, in order, where repeats in a row count once."""
    found: dict[str, list[str]] = {}
    for message in messages:
        found.setdefault(message.job_id, []).append(message.told["type"])
    return {job_id: [told for told, _ in groupby(types)] for job_id, types in found.items()}


END_OTHERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def end_sessions(url: str) -> None:
    """End what the server still does for a process that is gone."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(END_OTHERS)


@asynccontextmanager
async def open_house(folder: Path, store_url: str) -> AsyncIterator[House]:
    """Open it all around the body of a test, which fails when it lasts too long, and leave nothing running."""
    moments = Moments()
    async with watched_cloud(moments) as cloud, Receiver(moments) as receiver, asyncio.timeout(HANG_TIMEOUT):
        house = House(folder, store_url, cloud, receiver)
        try:
            yield house
        except BaseException as error:
            error.add_note(f"told: {told(receiver.received)}\nmoments: {dict(moments.count)}\n{house.program.log}")
            raise
        finally:
            await house.aclose()


async def assert_accounted(house: House) -> None:
    """Compare what the cloud has shown with what the receiver got, and with what the program says of itself."""
    received = house.receiver.received
    assert told(received) == told(house.receiver.answered) == TOLD
    assert house.receiver.forged == []
    assert len({(one.id, one.body) for one in received}) == len({one.id for one in received}) == 8
    repeats = Counter(one.id for one in received if one.accepted)
    assert repeats.total() - len(repeats) <= house.kills
    audit = await asyncio.to_thread(house.notifier, "audit", "--json")
    found = json.loads(audit.stdout)
    assert (audit.exit_code, found["ok"], found["unaccounted"]) == (0, True, [])
    assert (found["pairs"], found["by_state"]) == (8, found["by_state"] | {"delivered": 8})


# ---- kill -9 ----

MOMENTS = {
    "before pages are answered": [("page asked", 1), ("page asked", 2), ("page asked", 6)],
    "when pages have been read": [("page given", 1), ("page given", 3), ("page given", 6)],
    "before messages are answered": [("request", 1), ("request", 2), ("request", 6)],
    "when messages have been answered": [("answer", 1), ("answer", 4), ("answer", 8)],
}
"""The first pages are those of the baseline; 1 and 2 are a program that dies again as soon as it starts."""


@pytest.mark.parametrize("moments", MOMENTS.values(), ids=MOMENTS)
async def test_a_kill_loses_nothing_and_repeats_at_most_one_message(
    tmp_path: Path, store_url: str, moments: Sequence[tuple[str, int]]
) -> None:
    async with open_house(tmp_path, store_url) as house:
        for name, number in moments:
            house.moments.at(name, number, house.kill_and_restart)
        await house.start()
        await house.cloud.recorded()
        await house.cloud.tell(STORY)
        await house.settled(8)
        assert house.kills == len(moments)
        await assert_accounted(house)


async def test_a_backlog_goes_out_in_order_after_a_kill(tmp_path: Path, store_url: str) -> None:
    async with open_house(tmp_path, store_url) as house:
        house.configure(delivery={"retry": ["200ms"] * 100})
        house.receiver.status = 503
        await house.start()
        await house.cloud.recorded()
        await house.cloud.tell(STORY)
        await house.kill_and_restart()
        house.receiver.status = 200
        await house.settled(8)
        await assert_accounted(house)


# ---- a graceful stop ----

STOPS = [signal.SIGTERM, signal.SIGINT]


async def hold_first_of(house: House, statuses: Mapping[str, str]) -> None:
    """Start, and let these tasks be told; the first message is in flight when this returns."""
    await house.start()
    await house.cloud.recorded()
    house.receiver.hold()
    house.cloud.show(statuses)
    await house.moments.until(lambda: house.moments.count["request"] == 1)
    await house.cloud.recorded()


@pytest.mark.parametrize("stop", STOPS)
async def test_a_stop_settles_in_flight_work_and_the_next_process_continues(
    tmp_path: Path, store_url: str, stop: signal.Signals
) -> None:
    async with open_house(tmp_path, store_url) as house:
        house.configure(delivery={"lease": "1h"})
        await hold_first_of(house, {"a": "Failed", "b": "Failed"})
        house.program.send(stop)
        await house.program.said("stopping")
        house.receiver.release()
        assert await house.program.ended() == 0, house.program.log
        states = {delivery.state: delivery.attempt - delivery.earlier_attempts for delivery in await house.deliveries()}
        assert states == {DeliveryState.DELIVERED: 1, DeliveryState.PENDING: 0}
        await house.start()  # no lease of the first one is waited for: that would take longer than this test may last
        house.cloud.show({"c": "Failed"})
        await house.settled(3)
        assert len(house.receiver.received) == 3
        assert_calm(house)


async def test_a_stop_cuts_a_silent_receiver_and_the_next_process_resends(tmp_path: Path, store_url: str) -> None:
    async with open_house(tmp_path, store_url) as house:
        house.configure(delivery={"stop_within": "0s", "retry": ["0s", "0s"]})
        await hold_first_of(house, {"a": "Failed"})
        house.program.send(signal.SIGTERM)
        assert await house.program.ended() == 0, house.program.log
        assert "no answer before the program was stopped" in house.program.log
        (left,) = await house.deliveries()
        assert (left.state, left.outcome_unknown) == (DeliveryState.PENDING, True)
        house.receiver.release()
        await house.start()
        await house.settled(1)
        assert len({(message.id, message.body) for message in house.receiver.received}) == 1


@pytest.mark.parametrize("stop", STOPS)
async def test_a_stop_during_a_poll_leaves_it_to_the_next_process(
    tmp_path: Path, store_url: str, stop: signal.Signals
) -> None:
    async with open_house(tmp_path, store_url) as house:
        await house.start()
        await house.cloud.recorded()
        codes: list[int] = []

        async def stop_it() -> None:
            house.program.send(stop)
            codes.append(await house.program.ended())

        house.cloud.show({"a": "Failed"})
        house.moments.next("page asked", stop_it)
        await house.moments.until(lambda: codes == [0])
        assert_calm(house)
        await house.start()
        await house.settled(1)


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_it_at_once_and_costs_one_repeat(
    tmp_path: Path, sqlite_url: str, stop: signal.Signals, code: int
) -> None:
    async with open_house(tmp_path, sqlite_url) as house:
        await hold_first_of(house, {"a": "Failed"})
        house.program.send(stop)
        await house.program.said("stopping")
        house.program.send(stop)
        assert await house.program.ended() == code
        assert_calm(house)
        house.receiver.release()
        await house.start()
        await house.settled(1)
        assert len({(one.id, one.body) for one in house.receiver.received}) == 1


def assert_calm(house: House) -> None:
    records = [json.loads(line) for line in house.program.log.splitlines() if line.startswith("{")]
    assert [record for record in records if record["level"] not in ("info", "debug")] == []
    assert "Traceback" not in house.program.log


# ---- another configuration ----


async def test_a_new_configuration_takes_over_without_loss_or_repeats(tmp_path: Path, store_url: str) -> None:
    async with open_house(tmp_path, store_url) as house:
        await hold_first_of(house, {"a": "Failed", "b": "Failed"})
        house.configure(channels=[house.channel("/new")])
        house.program.send(signal.SIGHUP)
        await house.program.said("reload.finished")
        house.receiver.release()
        house.cloud.show({"c": "Failed"})
        await house.settled(3)
        assert [one.path for one in house.receiver.received] == ["/hook", "/new", "/new"]
        house.program.send(signal.SIGTERM)
        assert await house.program.ended() == 0
        assert_calm(house)
        assert "3 events, 3 deliveries, 0 failures" in house.program.log.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"routes": [{"name": "everything", "channels": ["nobody"]}]}, "nobody"),
        ({"store": {"url": "sqlite:////no/such/folder/notifier.db"}}, "the folder of the database does not exist"),
    ],
    ids=["invalid", "of no use"],
)
async def test_an_unusable_configuration_is_refused_and_the_old_one_stays(
    tmp_path: Path, sqlite_url: str, change: dict[str, Any], said: str
) -> None:
    async with open_house(tmp_path, sqlite_url) as house:
        await house.start()
        await house.cloud.recorded()
        house.configure(**change)
        house.program.send(signal.SIGHUP)
        await house.program.said("the old configuration stays", said)
        house.cloud.show({"a": "Failed"})
        house.configure()
        await house.settled(1)
        assert house.program.log.count('"level": "error"') == 1


# ---- two on one file ----


async def test_a_second_service_on_one_file_is_refused_queries_work(tmp_path: Path, sqlite_url: str) -> None:
    async with open_house(tmp_path, sqlite_url) as house:
        first = await house.start()
        await house.cloud.recorded()
        second = await house.start()
        assert await second.ended() == 1
        assert f"another notifier already runs on {tmp_path}/notifier.db (process {first.pid})" in second.log
        tasks = await asyncio.to_thread(house.notifier, "tasks", "--json")
        assert (tasks.exit_code, len(json.loads(tasks.stdout)["tasks"])) == (0, 3)
        await first.kill()
        third = await house.start()
        await third.said("service.started")
