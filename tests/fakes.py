"""Fakes of our own ports. The tests use the real implementation of everything else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal

from notifier.core.delivery import Body, Delivered, Delivery, Outcome, ResendPolicy
from notifier.core.errors import SourceError
from notifier.core.model import Scope, Snapshot, Task
from notifier.core.pacing import Pace
from notifier.ports import CheckResult, Clock, RenderRequest

START = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)


class FakeClock:
    """A clock that advances only by `advance` and `sleep`."""

    def __init__(self, start: datetime = START) -> None:
        self.time = start
        self.ticks = 0.0
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, delta: timedelta) -> datetime:
        self.time += delta
        self.ticks += delta.total_seconds()
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(timedelta(seconds=seconds))


def snapshot_of(
    tasks: Iterable[Task],
    at: datetime = START,
    *,
    source: str = "prod",
    complete: bool = True,
    scope: Scope = Scope.FULL,
    calls: int = 1,
) -> Snapshot:
    """Return the snapshot of these tasks; of two with one id, the later counts."""
    rows = {task.job_id: task for task in tasks}
    return Snapshot(
        source=source,
        taken_at=at,
        fingerprints={job_id: hashlib.sha256(repr(task).encode()).digest() for job_id, task in rows.items()},
        parse=rows.__getitem__,
        complete=complete,
        scope=scope,
        calls=calls,
        total_count=len(rows),
    )


class FakeSource:
    """A task list in memory: the next poll reads `tasks`, or raises `error`."""

    region = "cn-north-4"
    project_id = "0611f1bd8b00d5d32f17c017f15b599f"

    def __init__(self, clock: Clock, *tasks: Task, name: str = "prod") -> None:
        self.clock = clock
        self.tasks = list(tasks)
        self.name = name
        self.complete = True
        self.calls = 1
        self.error: SourceError | None = None
        self.scopes: list[Scope] = []

    async def fetch(self, scope: Scope) -> Snapshot:
        self.scopes.append(scope)
        if self.error is not None:
            raise self.error
        active = [task for task in self.tasks if task.status in {"running", "failed"}]
        full = scope is Scope.FULL
        return snapshot_of(
            self.tasks if full else active,
            self.clock.now(),
            source=self.name,
            complete=full and self.complete,
            scope=scope,
            calls=self.calls if full else 2,
        )

    async def check(self) -> Sequence[CheckResult]:
        return ()

    async def aclose(self) -> None:
        pass


class FakeChannel:
    """A channel that records deliveries; `answer` decides each outcome."""

    kind: ClassVar[str] = "fake"

    def __init__(
        self,
        name: str = "dba",
        *,
        concurrency: int = 1,
        digest_above: int | None = 20,
        resend_policy: ResendPolicy = ResendPolicy.UNSAFE,
    ) -> None:
        self.name = name
        self.concurrency = concurrency
        self.digest_above = digest_above
        self.digest_size = 100
        self.storm_size, self.storm_room = 100, 1_000_000
        self.threads = False
        self.coalesces = False
        self.tickets = False
        self.multi_recipient = False
        self.edit_budget: str | None = None
        self.deadline = 10.0
        self.keeps_deadline = False
        self.pace = Pace()
        self.resend_policy = resend_policy
        self.on_unknown: Literal["resend", "hold"] = "resend"
        self.body_key: Hashable | None = None
        self.found: Outcome | None = None
        self.sent: list[Delivery] = []
        self.asked: list[Delivery] = []
        self.rendered = 0
        self.answer: Callable[[Delivery], Outcome] = lambda _: Delivered("ref")

    def render(self, request: RenderRequest) -> Body:
        self.rendered += 1
        text = " ".join(event.id for event in request.events)
        return Body(content=f"{self.rendered} {text}".encode(), content_type="text/plain")

    async def send(self, delivery: Delivery) -> Outcome:
        self.sent.append(delivery)
        return self.answer(delivery)

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        self.asked.append(delivery)
        return self.found

    async def check(self) -> Sequence[CheckResult]:
        return ()

    async def aclose(self) -> None:
        pass
