"""The statistics of the page over a long history, while tasks go on ending.

100,000 tasks of three sources in 90 days, 300,000 events, 1,000,000 attempts. Each round ends a few tasks as a poll
does, then asks for 7, 30 and 90 days. The first answer of a process reads the whole history; it is a figure of its own.

    python benchmarks/ended_tasks.py [--tasks 100000] [--rounds 100] [--url postgresql://...]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import insert

from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.model import Task, TaskStatus
from notifier.statistics import PERIODS, TaskMemory
from notifier.store import schema
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction
from notifier.wording.causes import builtin_catalogue

SOURCES = ("prod", "staging", "archive")
NAMES = {
    "CreateBackup": 330.0,
    "EnlargeGaussDBV5Volume": 320.0,
    "ResizeGaussDBV5Flavor": 590.0,
    "CreateGaussDBV5Instance": 720.0,
    "DeleteGaussDBV5Instance": 180.0,
    "RestoreGaussDBV5InNewInstance": 960.0,
    "RestoreGaussDBV5InstanceInOriginal": 660.0,
    "AddGaussDBV5Nodes": 470.0,
    "RestartGaussDBV5Instance": 60.0,
}
REASONS = (
    "The VM did not become active in time. Error code: DBS.280277, task %s.",
    "Flavor is sold out (Ecs.0319), request %s.",
    "The object storage did not answer, request %s: OBS.0503.",
    "Request %s was refused.",
)
DAYS, ZONE = 90, ZoneInfo("Asia/Shanghai")
BATCH = 5_000


def history(rng: random.Random, number: int, now: datetime) -> Iterator[tuple[dict[str, object], ...]]:
    """Yield a task with its event, and its deliveries with their attempts."""
    for n in range(number):
        name = rng.choice(list(NAMES))
        failed = rng.random() < 0.1
        ended = now - timedelta(days=DAYS) * rng.random()
        seconds = NAMES[name] * rng.lognormvariate(0, 0.4)
        job_id, source = f"{n:08x}-job", SOURCES[n % 3]
        yield (
            {
                "source": source,
                "job_id": job_id,
                "fingerprint": b"0123456789abcdef",
                "name": name,
                "status": "failed" if failed else "completed",
                "raw_status": "Failed" if failed else "Completed",
                "instance_id": f"{n % 400:032x}in14",
                "instance_name": f"gauss-{n % 400}",
                "created_at": ended - timedelta(seconds=seconds),
                "ended_at": ended,
                "fail_reason": rng.choice(REASONS) % job_id if failed else None,
                "seconds": seconds,
                "occurrence": f"ended|{ended}",
                "first_seen_at": ended,
                "changed_at": ended,
            },
        )


def fill(store: SqlStore, number: int, now: datetime) -> None:
    """Record a history. Three events for each task; three channels each, and some attempts that failed first."""
    rng = random.Random(7)
    facts = b"x" * 900
    with store.writer.begin() as connection:
        for source in SOURCES:
            connection.execute(insert(schema.sources).values(name=source, baseline_at=now - timedelta(days=DAYS)))
        rows: dict[str, list[dict[str, object]]] = {}
        for n, (task,) in enumerate(history(rng, number, now)):
            rows.setdefault("tasks", []).append(task)
            for kind in ("task.started", "task.progressed", f"task.{task['status']}"):
                _add_event(rows, rng, task, kind, facts)
            if n % BATCH == BATCH - 1 or n == number - 1:
                for table in ("tasks", "events", "deliveries", "delivery_events", "attempts"):
                    connection.execute(insert(getattr(schema, table)), rows.pop(table))


def _add_event(
    rows: dict[str, list[dict[str, object]]], rng: random.Random, task: dict[str, object], kind: str, facts: bytes
) -> None:
    ended = task["ended_at"]
    assert isinstance(ended, datetime)
    at = ended + timedelta(seconds=rng.uniform(2, 30))
    event = f"{task['job_id']}-{kind}"
    keys = {"source": task["source"], "job_id": task["job_id"], "occurrence": kind}
    lists = {"routes": "[]", "channels": '["dba","mail","hook"]', "channel_count": 3}
    rows.setdefault("events", []).append(
        {"id": event, "type": kind, **keys, "observed_at": at, "facts": facts, **lists}
    )
    for channel in ("dba", "mail", "hook"):
        delivery, attempts = f"{event}-{channel}", 1 + (rng.random() < 0.12)
        subject = {"channel": channel, "subject": f"{task['source']}/{task['job_id']}"}
        rows.setdefault("deliveries", []).append(
            {
                "id": delivery,
                **subject,
                "state": "delivered",
                "digest": False,
                "attempt": attempts,
                "available_at": at,
                "created_at": at,
                "settled_at": at + timedelta(seconds=rng.uniform(0.1, 9)),
                "body": b"y" * 200,
            }
        )
        rows.setdefault("delivery_events", []).append(
            {"delivery_id": delivery, "event_id": event, **subject, "position": 0}
        )
        rows.setdefault("attempts", []).extend(
            {
                "delivery_id": delivery,
                "number": number + 1,
                "started_at": at,
                "finished_at": at,
                "outcome": "delivered" if number + 1 == attempts else "retry",
            }
            for number in range(attempts)
        )


def end_some(tx: Transaction, *, rng: random.Random, round_: int) -> None:
    """Record that three tasks of a source have ended."""
    now, source = tx.now(), SOURCES[round_ % 3]
    claim = tx.polls.claim(source, "bench", now, timedelta(minutes=1), force=True)
    if claim is None:
        return
    tx.polls.fingerprints(claim)
    writes = [
        TaskWrite(
            recorded=RecordedTask(
                task=Task(
                    source=source,
                    job_id=f"round-{round_}-{n}",
                    name=rng.choice(list(NAMES)),
                    status=TaskStatus.FAILED if n == 0 else TaskStatus.COMPLETED,
                    raw_status="Completed",
                    created_at=now - timedelta(minutes=5),
                    ended_at=now - timedelta(seconds=9),
                ),
                occurrence="ended",
            ),
            fingerprint=b"0",
        )
        for n in range(3)
    ]
    tx.polls.record_tasks(claim, writes, now)
    tx.polls.postpone(claim, now)


async def measure(store: SqlStore, rounds: int) -> None:
    """Print how long the answers take."""
    memory, rng = TaskMemory(ZONE, builtin_catalogue()), random.Random(1)
    began = time.perf_counter()
    await store.read(lambda q: memory.figures(q, 90))
    print(f"first answer of a process: {1000 * (time.perf_counter() - began):.0f} ms")
    names = (*(f"{days} d" for days in PERIODS), "nothing changed", "poll")
    took: dict[str, list[float]] = {name: [] for name in names}
    cpu: dict[str, list[float]] = {name: [0.0] for name in names}
    for round_ in range(rounds):
        for days in PERIODS:
            began = time.perf_counter()
            await store.transact(partial(end_some, rng=rng, round_=round_ * 10 + days))
            took["poll"].append(time.perf_counter() - began)
            began, computed = time.perf_counter(), time.process_time()
            await store.read(partial(memory.figures, length=days))
            took[f"{days} d"].append(time.perf_counter() - began)
            cpu[f"{days} d"].append(time.process_time() - computed)
        began, computed = time.perf_counter(), time.process_time()
        await store.read(lambda q: memory.figures(q, 90))
        took["nothing changed"].append(time.perf_counter() - began)
        cpu["nothing changed"].append(time.process_time() - computed)
    for what, found in took.items():
        found.sort()
        p99 = found[max(len(found) * 99 // 100 - 1, 0)]
        print(
            f"{what:>16}: median {1000 * statistics.median(found):6.2f} ms, 99 % {1000 * p99:6.2f} ms,"
            f" median of the CPU {1000 * statistics.median(cpu[what]):6.2f} ms"
        )


async def main() -> None:
    """Record, then measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--url")
    parser.add_argument("--keep", type=Path, help="SQLite file to fill, or to use again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{options.keep or Path(folder, 'history.db')}"
        fresh = not (options.keep and options.keep.exists())
        async with aclosing(open_store(url, migrate=True)) as store:
            if fresh:
                began = time.perf_counter()
                fill(store, options.tasks, datetime.now(UTC))
                print(f"recorded in {time.perf_counter() - began:.0f} s")
            await measure(store, options.rounds)


if __name__ == "__main__":
    asyncio.run(main())
