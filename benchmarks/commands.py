"""What a person waits for after a slash command: answers out of 100,000 tasks, while polls are being recorded.

Each command is answered by the responder of the chat, in this process, over SQLite as the service uses it. Beside it,
for a measure, the same rows counted by SQL alone on a connection of its own. Goal: p99 below 50 ms.

    python benchmarks/commands.py [--tasks 100000] [--times 300]
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

from notifier.chat.requests import Button, ButtonAction, ClickRequest, CommandRequest
from notifier.chat.responder import ChatResponder, ResponderRules
from notifier.clock import SystemClock
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.model import Scope, Snapshot, Task, TaskStatus
from notifier.core.people import Person
from notifier.store.engine import SqlStore, open_store
from notifier.store.transaction import Transaction
from notifier.wording.localizer import Localizer
from notifier.wording.operations import OPERATIONS

INSTANCES = 2_000
LEASE = timedelta(minutes=1)
ALICE = Person(id="U0ALICE", name="alice")


def tasks(count: int, rng: Random) -> Iterator[Task]:
    """Yield tasks of the last thirty days: one in a hundred failed, one in two hundred runs."""
    now = datetime.now(UTC).replace(microsecond=0)
    for number in range(count):
        instance = rng.randrange(INSTANCES)
        created = now - timedelta(seconds=rng.randrange(30 * 86_400))
        status = rng.choices([TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RUNNING], [197, 2, 1])[0]
        yield Task(
            source="prod",
            job_id=f"{number:08x}-c687-4d80-b7b4-42a66c9bb886",
            name=rng.choice(sorted(OPERATIONS)),
            status=status,
            raw_status=status.capitalize(),
            progress=40.0 if status is TaskStatus.RUNNING else None,
            instance_id=f"{instance:030x}in14",
            instance_name=f"gaussdb-prod-{instance:04}",
            instance_status="normal",
            created_at=created,
            ended_at=created + timedelta(minutes=rng.randrange(1, 90)) if status.terminal else None,
            fail_reason="The quota of vCPUs is not sufficient." if status is TaskStatus.FAILED else None,
        )


def record(tx: Transaction, found: Sequence[Task]) -> None:
    """Record tasks as a poll does."""
    now = datetime.now(UTC)
    claim = tx.polls.claim("prod", "bench", now, LEASE, force=True)
    if claim is None:
        raise RuntimeError("somebody else polls")
    tx.polls.fingerprints(claim)
    updates = [TaskWrite(recorded=RecordedTask(task=task, occurrence="o"), fingerprint=b"1") for task in found]
    tx.polls.record_tasks(claim, updates, now)
    seen = Snapshot(source="prod", taken_at=now, fingerprints={}, complete=True, scope=Scope.FULL)
    tx.polls.record(claim, seen, now, now)


async def fill(store: SqlStore, count: int) -> None:
    """Record all tasks. When each last changed is its end, as it is where the API tells it."""
    known = list(tasks(count, Random(1)))
    for start in range(0, count, 5_000):
        await store.transact(lambda tx, start=start: record(tx, known[start : start + 5_000]))  # type: ignore[misc]  # a default


async def keep_polling(store: SqlStore) -> None:
    """Record changes all the time, as many as a large project makes."""
    rng = Random(2)
    while True:
        changed = list(tasks(50, rng))
        await store.transact(lambda tx, changed=changed: record(tx, changed))  # type: ignore[misc]  # a default
        await asyncio.sleep(0.02)


async def measure(times: int, ask: Callable[[], Awaitable[object]]) -> Sequence[float]:
    """Return how long each call took, in milliseconds."""
    took: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        await ask()
        took.append((time.perf_counter() - begun) * 1000)
    return took


def responder_of(store: SqlStore) -> ChatResponder:
    """Return a responder with one source and one channel."""
    localizers = {"en": Localizer(language="en", timezone=ZoneInfo("UTC"))}
    source = ConfiguredSource(name="prod", region="r", project_id="p", poll_every=timedelta(seconds=30))
    rules = ResponderRules(
        localizers=localizers,  # type: ignore[arg-type]  # one language is enough
        expected=Expected(sources=[source], channels=("dba",)),
    )
    return ChatResponder(store, SystemClock(), rules, lambda: None)


COMMANDS = (
    "failed 24h",
    "failed 30d",
    "running",
    "recent",
    "task 0000a",
    "task 00001234-c687",
    "instance gaussdb-prod-0042",
    "instance gaussdb-prod-42",
    "stats 7d",
    "stats 30d",
    "mutes",
    "status",
    "mute gaussdb-prod-0042 2h",
    "unmute gaussdb-prod-0042",
    "watch 00001234-c687",
)


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=300)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notifier.db"
        async with aclosing(open_store(f"sqlite:///{path}")) as store:
            await fill(store, asked.tasks)
            bare = bare_count(path, asked.times)
            print(f"{asked.tasks:,} tasks; bare SQL that counts the failed ones: p50 {bare:.2f} ms")
            polling = asyncio.create_task(keep_polling(store))
            await answer_all(responder_of(store), asked.times, bare)
            polling.cancel()
            with suppress(asyncio.CancelledError):
                await polling


def bare_count(path: Path, times: int) -> float:
    """Return how long a count by SQL alone takes, in milliseconds."""
    took: list[float] = []
    with sqlite3.connect(path) as connection:
        for _ in range(times):
            begun = time.perf_counter()
            connection.execute("SELECT count(*) FROM tasks WHERE status = 'failed'").fetchone()
            took.append((time.perf_counter() - begun) * 1000)
    connection.close()
    return statistics.median(took)


async def answer_all(responder: ChatResponder, times: int, bare: float) -> None:
    """Answer every command so many times, while polls are recorded."""

    async def allowed() -> bool:
        return True

    print(f"{'command':<32}{'p50 ms':>9}{'p99 ms':>9}{'worst':>9}{'of bare':>9}")
    slowest = 0.0
    for words in (*COMMANDS, "(click) details"):
        click = ClickRequest(
            button=Button(ButtonAction.DETAILS, "prod/00001234-c687-4d80-b7b4-42a66c9bb886"), person=ALICE
        )
        request = click if words.startswith("(") else CommandRequest(text=words, person=ALICE)
        took = sorted(await measure(times, lambda request=request: responder.answer(request, "en", allowed)))  # type: ignore[misc]  # a default
        p99 = took[min(int(times * 0.99), times - 1)]
        slowest = max(slowest, p99)
        print(f"{words:<32}{statistics.median(took):>9.2f}{p99:>9.2f}{took[-1]:>9.2f}{took[times // 2] / bare:>9.1f}")
    print(f"the slowest p99 is {slowest:.1f} ms; the goal is below 50 ms: {'kept' if slowest < 50 else 'missed'}")


if __name__ == "__main__":
    asyncio.run(main())
