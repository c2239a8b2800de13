"""The recorded tasks of the benchmark of commands, and what people ask about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.model import Scope, Snapshot, Task, TaskStatus
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction
from notifier.wording.operations import OPERATIONS

INSTANCES = 2_000
LEASE = timedelta(minutes=1)
BATCH = 5_000
_COMMANDS = (
    "failed 24h",
    "failed 30d",
    "failed 7d {instance}",
    "running",
    "recent",
    "recent {instance}",
    "task {task}",
    "instance {instance}",
    "instance gaussdb-prd-{number}",
    "stats 7d",
    "mutes",
    "status",
    "failed 30d gaussdb-prod-1* operation=backup",
    "running environment=production",
    "mute {instance} 2h",
    "unmute {instance}",
    "help",
)
"""One of each kind; most name an instance or a task of many. One name is misspelt."""


def commands(rng: Random) -> Iterator[str]:
    """Yield what people type, without end."""
    while True:
        for command in _COMMANDS:
            number = rng.randrange(INSTANCES)
            yield command.format(
                instance=instance_name(number), number=number, task=f"{rng.randrange(100_000):08x}-c687"
            )


def instance_name(number: int) -> str:
    """Return the name of an instance."""
    return f"gaussdb-prod-{number:04}"


def tasks(count: int, rng: Random, now: datetime) -> Iterator[Task]:
    """Yield tasks of the last thirty days: one in a hundred failed, one in two hundred runs."""
    for number in range(count):
        instance = rng.randrange(INSTANCES)
        created = now.replace(microsecond=0) - timedelta(seconds=rng.randrange(30 * 86_400))
        status = rng.choices([TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.RUNNING], [197, 2, 1])[0]
        yield Task(
            source="prod",
            job_id=f"{number:08x}-c687-4d80-b7b4-42a66c9bb886",
            name=rng.choice(sorted(OPERATIONS)),
            status=status,
            raw_status=status.capitalize(),
            progress=40.0 if status is TaskStatus.RUNNING else None,
            instance_id=f"{instance:030x}in14",
            instance_name=instance_name(instance),
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
    known = list(tasks(count, Random(1), datetime.now(UTC)))
    for start in range(0, count, BATCH):
        await store.transact(lambda tx, start=start: record(tx, known[start : start + BATCH]))  # type: ignore[misc]  # a default
