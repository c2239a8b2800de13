"""The long form: `make chaos ARGS="--kills 1000 --transitions 100000"`. Exits with 1 when a promise is broken."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from chaos import hosts
from chaos.harness import CONCURRENCY, RunPlan, open_harness, summary
from chaos.hosts import HostFault
from chaos.ledger import Ledger
from chaos.mistakes import MISTAKES
from chaos.oracle import WorldPace
from chaos.postgres import Proxy, Server, postgres

ON_POSTGRES = ("skew", "restarts", "cuts", "partition")
TROUBLES = ("disk", "limit", "lock", "clock", *ON_POSTGRES)
"""Those of the second kind want `--store postgresql`, and two replicas."""


async def run_mistakes(folder: Path, server: Server, only: str) -> bool:
    """Make every mistake, one after the other; return whether each was found for its reason."""
    good = True
    for name, mistake in MISTAKES.items():
        if only not in {"all", name}:
            continue
        place = folder / name
        place.mkdir()
        if mistake.replicas:
            server.empty()
        store = server.url if mistake.replicas else f"sqlite:///{place}/notifier.db"
        plan = RunPlan(folder=place, store=store, variant=name, replicas=1 + mistake.replicas, **mistake.plan)
        ledger = await run_and_reconcile(plan)
        found = mistake.found <= ledger.broken
        good = good and found
        print(f"  {name:20} {'found' if found else 'NOT FOUND'}: {', '.join(sorted(ledger.broken))}", flush=True)
    return good


async def run_and_reconcile(plan: RunPlan, host_fault: HostFault | None = None, *, show: bool = False) -> Ledger:
    """Make one run and return its ledger."""
    async with open_harness(plan) as harness:
        if plan.store.startswith("postgresql"):
            upgraded = await asyncio.to_thread(harness.run_command, "db", "upgrade")
            assert upgraded.returncode == 0, upgraded.stderr
        await harness.run(host_fault)
        if show:
            print(summary(harness), flush=True)
        return await harness.build_ledger()


async def chaos(plan: RunPlan, name: str | None, server: Server | None) -> bool:
    """Make one run beside a fault of the host and print its ledger; return whether every promise was kept."""
    async with AsyncExitStack() as stack:
        host_fault: HostFault | None = None
        match name:
            case "disk":
                disk = stack.enter_context(hosts.small_disk(plan.folder, megabytes=8))
                plan = replace(plan, store=f"sqlite:///{disk}/notifier.db")
                host_fault = hosts.full_disk(disk, 5.0)
            case "limit":
                host_fault = hosts.limit_file_size(5.0)
            case "lock":
                host_fault = hosts.locked(plan.folder / "notifier.db")
            case "clock":
                file = plan.folder / "clock"
                file.write_text("+0")
                plan = replace(plan, env={0: hosts.faked(file)}, patience=120.0)
                host_fault = hosts.clock_jumps(file, ("+3600", "+0", "-3600", "+86400"), 5.0)
            case "skew":
                file = plan.folder / "clock"
                file.write_text("+600")
                plan = replace(plan, env={0: hosts.faked(file)})
            case "restarts" if server:
                host_fault = hosts.restarts(server, 10, 5.0)
            case "cuts" if server:
                host_fault = hosts.cuts(server, 20, 2.0)
            case "partition" if server:
                front = plan.folder / "front"
                front.mkdir()
                proxy = Proxy(server.url, front)
                await proxy.open()
                stack.callback(proxy.close)
                plan = replace(plan, store_of={0: proxy.url})
                host_fault = hosts.partition(proxy, 35.0)
        ledger = await run_and_reconcile(plan, host_fault, show=True)
    print("\n".join(ledger.lines()), flush=True)
    return ledger.ok


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--transitions", type=int, default=0, help="minimum number of required notifications")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--replicas", type=int, default=1, help="more than one needs --store postgresql")
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--pauses", type=int, default=0, help="number of stops longer than the leases")
    parser.add_argument("--seconds", type=float, default=0.0, help="minimum duration")
    parser.add_argument("--tasks", type=int, default=WorldPace().tasks, help="length of the list")
    parser.add_argument("--moves", type=int, default=WorldPace().moves, help="transitions per step")
    parser.add_argument(
        "--singles", type=float, default=WorldPace().singles, help="share of tasks that go to every channel"
    )
    parser.add_argument("--in-flight", type=int, default=CONCURRENCY, help="maximum repeats on a channel after a kill")
    parser.add_argument("--faults", type=float, default=0.02, help="share of spoiled answers of the cloud")
    parser.add_argument("--trouble", choices=TROUBLES, help="fault of the host beside the run")
    parser.add_argument(
        "--mistakes", choices=("all", *MISTAKES), help="make known mistakes instead: each must be found"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    seed = args.seed if args.seed is not None else int(time.time()) % 100_000
    words = sys.argv[1:] if args.seed is not None else [*sys.argv[1:], "--seed", str(seed)]
    print(f'seed {seed}; again with: make chaos ARGS="{" ".join(words)}"', flush=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with postgres() if args.mistakes or args.store == "postgresql" else nullcontext() as server:
        if args.mistakes and server:
            ok = asyncio.run(run_mistakes(folder, server, args.mistakes))
        else:
            ok = asyncio.run(chaos(plan_of(args, seed, folder, server), args.trouble, server))
    print("kept" if ok else f"BROKEN; logs and database are in {folder}", flush=True)
    sys.exit(0 if ok else 1)


def plan_of(args: argparse.Namespace, seed: int, folder: Path, server: Server | None) -> RunPlan:
    return RunPlan(
        folder=folder,
        store=server.url if server else f"sqlite:///{folder}/notifier.db",
        seed=seed,
        replicas=args.replicas,
        kills=args.kills,
        transitions=args.transitions,
        pauses=args.pauses,
        seconds=args.seconds,
        faults=args.faults,
        in_flight=args.in_flight,
        # Where several share a database, one may have to wait for the leases of another that is dead.
        pace=WorldPace(tasks=args.tasks, moves=args.moves, singles=args.singles, dwell=60.0 if server else 12.0),
    )


if __name__ == "__main__":
    main()
