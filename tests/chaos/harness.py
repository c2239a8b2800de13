"""One run of chaos: a cloud, a receiver, a database, the programs between them, and the resulting ledger."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from servers.fork_server import ForkServer
from timeouts import HANG_TIMEOUT

from chaos.cloud import PROJECT, Cloud
from chaos.killer import COMMAND, KEPT, Killer, Program
from chaos.ledger import Ledger, LedgerLimits, reconcile
from chaos.oracle import SINGLES, Key, Oracle, WorldPace
from chaos.receiver import BOOK, PROFILES, SECRET, STEADY, Receiver, ReceiverProfile
from chaos.wire import Wakeup

CONCURRENCY = 4
MAX_BACKLOG = 400
"""Number of events that are due and not delivered yet, beside those of a few steps, above which the world waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """The plan of one run. The same plan has the same world, faults and kinds of kills, but not the same instants."""

    folder: Path
    store: str
    seed: int = 1
    replicas: int = 1
    kills: int = 0
    transitions: int = 0
    pauses: int = 0
    pause: float = 35.0
    seconds: float = 0.0
    """Minimum duration after the start, in seconds."""
    life: float = 0.8
    terms: float = 0.05
    faults: float = 0.02
    pace: WorldPace = field(default_factory=WorldPace)
    profiles: Mapping[str, ReceiverProfile] = field(default_factory=lambda: PROFILES)
    variant: str | None = None
    """A mistake to make on purpose: see `mistakes`."""
    env: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Additional environment by program number. Such a program is started without the fork server."""
    latency: float | None = None
    in_flight: int = CONCURRENCY
    """Maximum number of repeats on a channel after a kill."""
    patience: float = HANG_TIMEOUT
    """Time without an arrival after which missing events count as lost, in seconds."""
    store_of: Mapping[int, str] = field(default_factory=dict)
    """Another URL of the database, by program number."""


class Harness:
    """The parts of one run."""

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.wakeup = Wakeup()
        self.oracle = Oracle(plan.seed, plan.pace)
        self.cloud = Cloud(self.oracle, self.wakeup, plan.seed, faults=plan.faults)
        self.receiver = Receiver(self.wakeup, plan.seed, plan.profiles)
        mistake = f"from chaos import mistakes; mistakes.apply_mistake({plan.variant!r})" if plan.variant else "pass"
        self.fork_server = ForkServer(os.environ, mistake)
        self.programs = [
            Program(
                index=index,
                config=plan.folder / f"notifier-{index}.yaml",
                log=plan.folder / f"notifier-{index}.log",
                fork_server=None if index in plan.env else self.fork_server,
                env=plan.env.get(index, {}),
            )
            for index in range(plan.replicas)
        ]
        self.killer = Killer(self.cloud, self.receiver, self.wakeup, self.programs, plan.seed)
        self.began = time.monotonic()
        self.drained = 0.0

    # -- configuration --

    def configure(self) -> None:
        for program in self.programs:
            program.config.write_text(json.dumps(self.document(program.index)), encoding="utf-8")

    def document(self, index: int) -> dict[str, Any]:
        """Return the configuration of one program, with the shortest waits that are accepted."""
        source = {
            "name": "prod",
            "kind": "gaussdb",
            "region": "cn-north-4",
            "endpoint": self.cloud.endpoints[index].url,
            "project_id": PROJECT,
            "auth": {"kind": "aksk", "access_key": "QTWAOYTTINDUT2QVKYUC", "secret_key": "fake"},
            "poll_every": "100ms",
            "calls_per_minute": 1_000_000,
        }
        return {
            "store": {"url": self.plan.store_of.get(index, self.plan.store)},
            "sources": [source],
            "channels": [self._channel(name) for name in self.plan.profiles],
            "routes": [
                {"name": "everything", "channels": [BOOK]},
                *(
                    [{"name": "singles", "match": [f"name={SINGLES}"], "channels": self._singles}]
                    if self._singles
                    else []
                ),
            ],
            "delivery": {"retry": ["200ms"] * 100, "lease": "30s"},
            "log": {"format": "json"},
        }

    @property
    def _singles(self) -> list[str]:
        return [name for name in self.plan.profiles if name != BOOK]

    def _channel(self, name: str) -> dict[str, Any]:
        found = {
            "name": name,
            "kind": "webhook",
            "url": self.receiver.url(name),
            "secret": SECRET,
            "timeout": "2s",
            "concurrency": CONCURRENCY,
        }
        return found | ({"digest_above": 5, "digest_size": 100} if name == BOOK else {})

    @property
    def limits(self) -> LedgerLimits:
        return LedgerLimits(
            first=BOOK,
            all=tuple(self.plan.profiles),
            in_flight=self.plan.in_flight,
            healthy=STEADY,
            latency=self.plan.latency,
        )

    # -- a run --

    async def run(self, beside: Callable[[Harness], Awaitable[None]] | None = None) -> None:
        """Start everything, run the plan (and `beside`), heal, and wait until all is delivered."""
        for program in self.programs:
            await program.start()
        pacing = asyncio.create_task(self._advance_world())
        try:
            for program in self.programs:
                await self.killer.wait_until_up(program)
            self.began = time.monotonic()
            works = [self._kill_programs(), self._pause(), self._wait_until_done()]
            await asyncio.gather(*works, *([beside(self)] if beside else []))
            pacing.cancel()
            await self._settle()
        finally:
            pacing.cancel()

    async def _kill_programs(self) -> None:
        while self.killer.kills < self.plan.kills:
            await self.killer.kill_one(life=self.plan.life, terms=self.plan.terms)

    async def _pause(self) -> None:
        while self.killer.pauses < self.plan.pauses:
            await self.killer.pause(self.plan.pause)

    async def _wait_until_done(self) -> None:
        while self.oracle.transitions < self.plan.transitions or time.monotonic() - self.began < self.plan.seconds:
            await asyncio.sleep(0.2)

    async def _advance_world(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.oracle.still = self.backlog > MAX_BACKLOG + 4 * self.plan.pace.moves
            if any(endpoint.requests_seen for endpoint in self.cloud.endpoints):
                self.oracle.tick(self.cloud.now())
            else:
                self.oracle.exempt(self.cloud.now())

    @property
    def backlog(self) -> int:
        """Number of due events that are not delivered yet, on all channels."""
        first, all_ = self.oracle.owed
        owed = first + all_ * (len(self.plan.profiles) - 1)
        return owed - sum(len(keys) for keys in self.receiver.acknowledged.values())

    def missing(self) -> int:
        """Count due events that are not delivered."""
        owed = [(key, one) for key, one in self.oracle.expected().items() if one.required]
        return sum(
            key not in self.receiver.acknowledged[channel]
            for key, one in owed
            for channel in ([BOOK, *self._singles] if one.single else [BOOK])
        )

    async def _settle(self) -> None:
        """Heal everything, stop the world, and wait until nothing is missing or nothing arrives any more."""
        start = time.monotonic()
        self.oracle.still = True
        self.cloud.faults = 0.0
        self.receiver.heal()
        sweeps, arrivals, since = self.oracle.sweeps + 6, -1, start
        while time.monotonic() - since < self.plan.patience:
            await asyncio.sleep(0.2)
            self.oracle.tick(self.cloud.now())
            if arrivals != len(self.receiver.arrivals):
                arrivals, since = len(self.receiver.arrivals), time.monotonic()
            elif self.oracle.sweeps >= sweeps and not self.missing() and await self._nothing_pending():
                break
        await asyncio.sleep(0.5)  # for superfluous repeats
        self.drained = time.monotonic() - start

    async def _nothing_pending(self) -> bool:
        """Ask the program itself: a delivery that arrived may wait to be sent again."""
        audit = await asyncio.to_thread(self.audit)
        return audit is not None and not audit["by_state"].get("pending")

    async def close(self) -> None:
        for program in self.programs:
            await program.kill()
        self.fork_server.close()
        self.cloud.close()
        await self.receiver.close()

    # -- the ledger --

    async def build_ledger(self) -> Ledger:
        """Stop the programs, run their audit, and reconcile."""
        for program in self.programs:
            if program.running and (code := await program.end()) != 0:
                self.killer.misconduct.append(f"program {program.index} ended with {code} at the end")
        audit = await asyncio.to_thread(self.audit)
        ledger = reconcile(
            self.oracle.expected(),
            self._baseline(),
            self.receiver.arrivals,
            self.killer.disturbances,
            self.limits,
            audit,
        )
        for what in self.receiver.impatient:
            ledger.add("impatient", what)
        if self.cloud.impatient:
            ledger.add("impatient", f"{self.cloud.impatient} requests to the cloud")
        for what in (*self.killer.misconduct, *self.receiver.forged, *self._tracebacks()):
            ledger.add("conduct", what)
        return ledger

    def audit(self) -> Mapping[str, Any] | None:
        """Return the program's own audit; None if its output cannot be read."""
        done = self.run_command("audit", "--json")
        try:
            found: Mapping[str, Any] = json.loads(done.stdout)
        except ValueError:
            self.killer.misconduct.append(f"audit ended with {done.returncode}: {done.stderr.strip()[-200:]}")
            return None
        return found

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the program."""
        command = [*COMMAND, *arguments, "-c", str(self.programs[0].config)]
        env = {name: os.environ[name] for name in KEPT if name in os.environ}
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_TIMEOUT, env=env)  # noqa: S603 - ours

    def _baseline(self) -> list[Key]:
        return [
            Key(task.job_id, version)
            for task in self.oracle.tasks.values()
            for version, state in enumerate(task.states, 1)
            if state.baseline
        ]

    def _tracebacks(self) -> list[str]:
        return [
            f"program {program.index} wrote a traceback: {program.log_text.partition('Traceback')[2][-300:]!r}"
            for program in self.programs
            if "Traceback" in program.log_text
        ]


@asynccontextmanager
async def open_harness(plan: RunPlan) -> AsyncIterator[Harness]:
    """Open everything for a run, and leave nothing running."""
    harness = Harness(plan)
    await harness.cloud.open(plan.replicas)
    await harness.receiver.open()
    harness.configure()
    try:
        yield harness
    finally:
        await harness.close()


def summary(harness: Harness) -> str:
    """Return the figures of a run, in lines."""
    seconds = time.monotonic() - harness.began
    killer, oracle = harness.killer, harness.oracle
    kinds = ", ".join(f"{count} {name}" for name, count in sorted(harness.cloud.spoiled.items())) or "none"
    active = max(seconds - harness.drained, 0.1)
    rates = f"{killer.kills / active * 60:.0f} kills/min, {oracle.transitions / active:.0f} transitions/s"
    return (
        f"  {killer.kills} kills, {killer.terms} terms, {killer.pauses} pauses in {seconds:.0f} s: {rates},"
        f" {harness.drained:.1f} s to settle\n"
        f"  {oracle.steps:,} steps, {oracle.sweeps:,} confirmed sweeps, {oracle.transitions:,} transitions,"
        f" {harness.cloud.requests:,} pages asked for\n"
        f"  faults of the cloud: {kinds}"
    )
