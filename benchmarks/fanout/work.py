"""The jobs of a system under test, and the protocol between the benchmark and the process that does them.

It imports the standard library only, because it runs on the interpreters of the project and of the peers.
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
"""Time that every system waits for the answer of a receiver, in seconds."""

CONCURRENCY = 64
"""Requests in flight to one receiver, of every system with such a setting."""

FAIL_REASON = (
    "The quota of vCPUs is not enough: 96 are needed for this specification, 64 are left in the project. "
    "Ask for a larger quota or choose a smaller specification, then create the instance again."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The surroundings of a system. Each of its processes gets them in the environment."""

    urls: Sequence[str]
    """URLs of the receivers. Every event goes to each of them."""
    folder: str
    """A folder for the files of the system, empty at the start."""
    store: str = ""
    """URL of the database that was started for the system; empty for none."""
    profile: str = ""
    """A folder for profiles; empty for none."""

    def environment(self) -> dict[str, str]:
        return os.environ | {"FANOUT": json.dumps(asdict(self))}


def place() -> Place:
    return Place(**json.loads(os.environ["FANOUT"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Events to submit. Their numbers begin with `first`."""

    first: int
    count: int
    rate: float | None = None
    """Events a second, each submitted by itself at its own time; None for a burst."""
    batch: int = 1_000_000
    """Most events of one submission in a burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """When each event was submitted and when it was acknowledged, in nanoseconds of the monotonic clock."""

    submitted: Sequence[int]
    accepted: Sequence[int]


def job_id(number: int) -> str:
    """Return the job id of an event. The receiver searches every body for it."""
    return f"bench-{number:08d}"


def body(number: int) -> bytes:
    """Return an event in the format of our webhook channel, for systems without a format of their own."""
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
"""Submits events by their numbers, each for every receiver. Returns when they are acknowledged."""


async def serve(accept: Accept, *, at_once: int = 1_000_000) -> None:
    """Report that the system is ready, then do jobs until stdin ends. `accept` gets at most `at_once` events."""
    print("ready", flush=True)
    while asked := await asyncio.to_thread(sys.stdin.readline):
        done = await _do(Job(**json.loads(asked)), accept, at_once)
        # Not with asdict, which copies each of the times while the system is being measured.
        print(json.dumps({"submitted": done.submitted, "accepted": done.accepted}), flush=True)


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
    """Return a message of the protocol."""
    return json.dumps(value) + "\n"


def answer(message: str) -> Any:  # noqa: ANN401 - JSON
    """Return the content of a message. One without its end means that the other process has ended."""
    if not message.endswith("\n"):
        raise RuntimeError("the process ended; its log is in the folder of the run")
    return json.loads(message)
