"""Run the program through seeded disasters in virtual time: `python tests/simulation/run.py --seeds 50000`.

One seed decides everything: the number of processes, the list of the cloud, lost messages, kills, clock changes, and
the order of events. The same seed gives the same run, byte for byte.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

from sqlalchemy import func, select

sys.path.insert(0, str(Path(__file__).parent.parent))

from notifier import logs
from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.core.delivery import DeliveryState, ResendPolicy
from notifier.core.pacing import Pace
from notifier.store.engine import SqlStore, open_store
from notifier.store.schema import storms, threads
from simulation.checks import find_violations
from simulation.loop import VirtualLoop
from simulation.replica import Replica
from simulation.world import LEASE, START, Cloud, Receiver, World

UNSHOWN = select(func.count()).select_from(threads).where(threads.c.due_at.is_not(None))
LASTING = select(func.count()).select_from(storms).where(storms.c.ended_at.is_(None))
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
DISASTERS = 12.0
"""Duration of the faults, in seconds of virtual time."""
HEALING = 240.0
"""Time after which the outbox must be empty, in seconds of virtual time."""

CONFIGURATION = """
store: {url: STORE}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}, first_poll: notify}
channels: [{name: hook, kind: console}, {name: chat, kind: console BUDGET}, {name: mail, kind: console BUDGET}]
routes:
  - {name: everything, channels: [hook] EVERYTHING}
  - {name: people, match: ["type!=task.started"], channels: [chat, mail] PEOPLE}
delivery: {retry: [1s, 2s, 5s, 10s, 10s, 10s, 10s, 10s, 10s, 20s, 20s, 20s]}
"""
QUIET: Sequence[Mapping[str, str]] = (
    {},
    {"EVERYTHING": ", wait: 3s", "PEOPLE": ", wait: 7s, group_by: [type, job_id]"},
    {},
    {"BUDGET": ", budget: 3/m"},
    {"PEOPLE": ', active: "08:31-23:00 UTC", otherwise: hold', "EVERYTHING": ", wait: 1s, group_by: [job_id]"},
    {"BUDGET": ", budget: 5/m", "PEOPLE": ", wait: 2s, repeats: 1m"},
)
"""What the configuration of a run keeps back, by the remainder of its seed: it runs from 08:30 on."""
LONG_EVERY = 5
"""One in so many lists is long: it is scanned in slices, polled at two intervals, and limited by a budget."""
PACES = {
    "hook": (2, Pace(opens_after=5, probes=(timedelta(seconds=2), timedelta(seconds=5)))),
    "chat": (1, Pace(per_second=5, burst=3, opens_after=3, probes=(timedelta(seconds=1), timedelta(seconds=4)))),
    "mail": (1, Pace(opens_after=4, probes=(timedelta(seconds=3),))),
}
DIGEST_ABOVE = {"hook": None, "chat": 2, "mail": 1}
RESEND_POLICIES = {"hook": ResendPolicy.IDEMPOTENT, "chat": ResendPolicy.RECONCILABLE, "mail": ResendPolicy.UNSAFE}


def configuration(replicas: int, quiet: Mapping[str, str], *, long: bool = False) -> Config:
    """Return the configuration of all processes: short leases, and a shared database for several processes.

    A `long` list is polled more often while something happens.
    """
    text = CONFIGURATION.replace("STORE", "sqlite:///x.db" if replicas == 1 else "postgresql://u:p@h/d")
    for place in ("BUDGET", "EVERYTHING", "PEOPLE"):
        text = text.replace(f" {place}", quiet.get(place, ""))
    config = loads(text, {})
    (source,) = config.sources
    adaptive = {"poll_every": timedelta(seconds=4), "poll_busy_every": timedelta(seconds=0.5), "calls_per_minute": 600}
    quick = source.model_copy(update=adaptive if long else {"poll_every": timedelta(seconds=1)})
    lease = config.delivery.model_copy(update={"lease": timedelta(seconds=LEASE)})
    return config.model_copy(update={"sources": (quick,), "delivery": lease})


@contextmanager
def database(template: Path) -> Iterator[Path]:
    """Yield a copy of an empty database, in memory where there is such a folder."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(shutil.copy(template, folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The result of one seed."""

    seed: int
    wrong: tuple[str, ...]
    messages: int
    trace: tuple[str, ...]


def simulate(seed: int, template: Path) -> Run:
    """Run one seed."""
    with database(template) as path, asyncio.Runner(loop_factory=VirtualLoop) as runner:
        world, wrong = runner.run(_simulate(seed, path))
        messages = sum(len(receiver.arrivals) for receiver in world.receivers)
        return Run(seed=seed, wrong=tuple(wrong), messages=messages, trace=tuple(world.trace))


async def _simulate(seed: int, path: Path) -> tuple[World, Sequence[str]]:
    rng, loop = Random(seed), asyncio.get_running_loop()
    receivers = [
        Receiver(
            name=name,
            resend_policy=resend_policy,
            rng=Random(rng.random()),
            live=name == "chat",
            digest_above=DIGEST_ABOVE[name],
        )
        for name, resend_policy in RESEND_POLICIES.items()
    ]
    world = World(rng=rng, cloud=Cloud(Random(rng.random())), receivers=receivers)
    store = open_store(f"sqlite:///{path}", now=lambda: START + timedelta(seconds=loop.time()))
    try:
        replicas, long = rng.choice([1, 1, 2, 2, 3]), seed % LONG_EVERY == 0
        processes = Processes(world, store, replicas, QUIET[seed % len(QUIET)], long=long)
        await processes.run_disasters()
        world.heal()
        await processes.drain_outbox()
        wrong = store._read(lambda q: list(find_violations(world, q)))
        await processes.end()
    finally:
        store.close()
    return world, wrong


class Processes:
    """The running processes and their successors."""

    def __init__(self, world: World, store: SqlStore, replicas: int, quiet: Mapping[str, str], *, long: bool) -> None:
        self.long = long
        self.world = world
        self.store = store
        self.config = configuration(replicas, quiet, long=long)
        self.started = 0
        self.replicas = [self._start() for _ in range(replicas)]
        self.killed: list[Replica] = []

    def _start(self) -> Replica:
        self.started += 1
        replica = Replica(self.started, self.config, self.world, self.store, PACES, long=self.long)
        replica.start()
        self._add_to_trace(replica, "starts")
        return replica

    def _add_to_trace(self, replica: Replica, what: str) -> None:
        self.world.add_to_trace(asyncio.get_running_loop().time(), f"process {replica.process.number}", what)

    async def run_disasters(self) -> None:
        """Let the world change and faults happen, one after the other or several at once."""
        loop, rng = asyncio.get_running_loop(), self.world.rng
        disasters: list[asyncio.Task[None]] = []
        while loop.time() < DISASTERS:
            await asyncio.sleep(rng.expovariate(2.0))
            self.world.cloud.change(START + timedelta(seconds=loop.time()))
            if rng.random() < 0.25:
                disaster = rng.choice(
                    [self._kill, self._stop, self._set_clock, self._outage, self._outage, self._delete_a_message]
                )
                disasters.append(asyncio.create_task(disaster()))
        await asyncio.gather(*disasters)

    async def _kill(self) -> None:
        number = self.world.rng.randrange(len(self.replicas))
        replica = self.replicas[number]
        if not replica.alive:
            return
        self._add_to_trace(replica, "is killed")
        begin = asyncio.get_running_loop().time()
        self.world.disturbances.append((begin, float("inf"), replica.process.number))
        replica.kill()
        await replica.wait_until_gone()
        await asyncio.sleep(self.world.rng.uniform(0, 4))
        self.replicas[number] = self._start()

    async def _stop(self) -> None:
        """SIGSTOP, and SIGCONT after its leases may have ended."""
        replica = self.world.rng.choice(self.replicas)
        begin, seconds = asyncio.get_running_loop().time(), self.world.rng.uniform(0.5, 14)
        self._add_to_trace(replica, f"stands still for {seconds:.1f} s")
        self.world.disturbances.append((begin, begin + seconds + 8, replica.process.number))
        replica.process.running.clear()
        await asyncio.sleep(seconds)
        replica.process.running.set()

    async def _set_clock(self) -> None:
        replica = self.world.rng.choice(self.replicas)
        replica.clock.ahead = timedelta(seconds=self.world.rng.choice([-86400, -3600, -90, 0, 90, 3600, 86400]))
        self._add_to_trace(replica, f"has its clock set: {replica.clock.ahead}")

    async def _delete_a_message(self) -> None:
        there = [posted for receiver in self.world.receivers for posted in receiver.posted.values()]
        if there:
            self.world.rng.choice(there).deleted = True

    async def _outage(self) -> None:
        rng = self.world.rng
        where, what = rng.choice(
            [
                (self.world, "database_down"),
                (self.world, "cloud_down"),
                *((receiver, state) for receiver in self.world.receivers for state in ("down", "silent")),
            ]
        )
        begin, seconds = asyncio.get_running_loop().time(), rng.uniform(0.2, 9)
        self.world.add_to_trace(begin, "the world", f"{what.replace('_', ' is ')} for {seconds:.1f} s")
        if where is self.world and what == "database_down":
            self.world.blackouts.append((begin, begin + seconds))
        setattr(where, what, True)
        await asyncio.sleep(seconds)
        setattr(where, what, False)

    async def drain_outbox(self) -> None:
        """Wait until the latest state of every task is delivered and nothing is left to send."""
        loop = asyncio.get_running_loop()
        end = loop.time() + HEALING
        pause = 4.0  # in which every process polls
        while loop.time() < end and (pause > 1 or self._unsettled()):
            await asyncio.sleep(pause)
            pause = 1.0

    def _unsettled(self) -> int:
        by_state = self.store._read(lambda q: q.ledger()).by_state
        unsettled = by_state[DeliveryState.PENDING] + by_state[DeliveryState.PARKED]
        with self.store._reader.connect() as connection:
            unshown: int = connection.execute(UNSHOWN).scalar_one()
            lasting: int = connection.execute(LASTING).scalar_one()  # a storm ends with a poll
        return unsettled + unshown + lasting

    async def end(self) -> None:
        for replica in self.replicas:
            replica.kill()
            await replica.wait_until_gone()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=500, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="run this one and show what happened in it")
    asked = parser.parse_args(arguments)
    silence_logs()
    with tempfile.TemporaryDirectory() as folder:
        template = make_template(Path(folder))
        if asked.seed is not None:
            return _show(simulate(asked.seed, template))
        return _run_all(range(asked.first, asked.first + asked.seeds), template)


def silence_logs() -> None:
    """Disable the log: thousands of runs would fill it."""
    logs.configure("error", "json", Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - as long as this runs


def make_template(folder: Path) -> Path:
    """Return an empty database with the schema, to copy."""
    path = folder / "template.db"
    open_store(f"sqlite:///{path}").close()
    return path


def _show(run: Run) -> int:
    print("\n".join(run.trace))
    print(f"seed {run.seed}: {run.messages} messages, " + ("\n".join(run.wrong) or "nothing wrong"))
    return bool(run.wrong)


def _run_all(seeds: Sequence[int], template: Path) -> int:
    failed = messages = 0
    with ProcessPoolExecutor(os.cpu_count(), initializer=silence_logs) as pool:
        for run in pool.map(simulate, seeds, [template] * len(seeds), chunksize=10):
            messages += run.messages
            if run.wrong:
                failed += 1
                print(f"seed {run.seed}: {'; '.join(run.wrong)}\n  again: {repeat_command(run.seed)}", flush=True)
    print(f"{len(seeds)} seeds, {messages} messages, failed: {failed}")
    return bool(failed)


def repeat_command(seed: int) -> str:
    return f"PYTHONHASHSEED=0 python tests/simulation/run.py --seed {seed}"


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a run
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606 - itself
    sys.exit(main())
