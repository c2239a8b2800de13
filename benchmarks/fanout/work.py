"""What every system under test is given to do, and the conversation with the process that does it.

Standard library only: this runs on the project's interpreter and on the peers'.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

TIMEOUT = 10
"""Seconds that everybody waits for a receiver's answer."""

CONCURRENCY = 64
"""Requests that everybody who can say so has in flight to one receiver."""

FAIL_REASON = (
    "The quota of vCPUs is not enough: 96 are needed for this specification, 64 are left in the project. "
    "Ask for a larger quota or choose a smaller specification, then create the instance again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a system runs: handed to each of its processes in the environment."""

    urls: Sequence[str]
    """The receivers; every event goes to each of them."""
    folder: str
    """Its own, empty at the start."""
    store: str = ""
    """The URL of the database that was started for it."""
    profile: str = ""
    """A folder for profiles, or nothing."""

    def environment(self) -> dict[str, str]:
        return os.environ | {"FANOUT": json.dumps(asdict(self))}


def place() -> Place:
    return Place(**json.loads(os.environ["FANOUT"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Events to submit: numbers from `first` on."""

    first: int
    count: int
    rate: float | None = None
    """Events a second, each submitted by itself at its own time; None for as fast as can be."""
    batch: int = 1_000_000
    """Events that are handed over at once in a burst, by those who can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """When each event was handed over and when that was acknowledged: nanoseconds of the monotonic clock."""

    submitted: Sequence[int]
    accepted: Sequence[int]


def job_id(number: int) -> str:
    """Return what the receiver finds in a body, whoever wrapped it."""
    return f"bench-{number:08d}"


def body(number: int) -> bytes:
    """Return an event as our own webhook channel writes it, for those who have no format of their own."""
    task = {
        "job_id": job_id(number),
        "name": "CreateGaussDBV5Instance",
        "label": "Create instance",
        "status": "failed",
        "raw_status": "Failed",
        "progress": None,
        "instance": {"id": f"{number:032x}in14", "name": f"gauss-{number:08d}", "status": "creating"},
        "created_at": "2026-01-15T08:17:00Z",
        "ended_at": "2026-01-15T08:29:20Z",
        "fail_reason": FAIL_REASON,
    }
    data = {
        "event_id": f"00000000-0000-5000-8000-{number:012d}",
        "source": "prod",
        "region": "cn-north-4",
        "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
        "late": False,
        "previous_status": "running",
        "task": task,
    }
    envelope = {"type": "task.failed", "timestamp": "2026-01-15T08:29:20Z", "data": data}
    return json.dumps(envelope, separators=(",", ":")).encode()


Accept = Callable[[Sequence[int]], Awaitable[None]]
"""Takes events by their numbers, each for every receiver; returns when that is acknowledged."""


async def serve(accept: Accept, *, at_once: int = 1_000_000) -> None:
    """Say that we are ready, then do jobs until the conversation ends. `at_once` bounds what `accept` is given."""
    print("ready", flush=True)
    while asked := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(asdict(await _do(Job(**json.loads(asked)), accept, at_once))), flush=True)


async def _do(job: Job, accept: Accept, at_once: int) -> Submitted:
    submitted: list[int] = []
    accepted: list[int] = []
    start = time.monotonic()
    for position, numbers in enumerate(_batches(job, at_once)):
        if job.rate is not None:
            await asyncio.sleep(start + position / job.rate - time.monotonic())
        submitted += [time.monotonic_ns()] * len(numbers)
        await accept(numbers)
        accepted += [time.monotonic_ns()] * len(numbers)
    return Submitted(submitted=submitted, accepted=accepted)


def _batches(job: Job, at_once: int) -> Iterator[Sequence[int]]:
    size = 1 if job.rate is not None else min(job.batch, at_once)
    numbers = range(job.first, job.first + job.count)
    return (numbers[start : start + size] for start in range(0, job.count, size))


def line(value: object) -> str:
    """Write a line of the conversation."""
    return json.dumps(value) + "\n"


def answer(said: str) -> Any:  # noqa: ANN401 - JSON
    """Read a line of the conversation; nothing means that the other process ended."""
    if not said:
        raise RuntimeError("the process ended; its log is in the folder of the run")
    return json.loads(said)
