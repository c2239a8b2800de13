"""What the simulated cloud shows, step by step, and what follows from that for whoever watches it. Pure and seeded.

The list moves in steps. Between two steps it stands still, so that a sweep, however it walks, sees one state of it.
A sweep has seen it *whole* when every row has been given; it is *confirmed* when the same process, not disturbed
since, asks for the first page again: only then has it certainly survived what it saw. Then the list moves on.

A client that asks for too little never sees it whole and would set its own exam: so a list that has stood still for
`dwell` undisturbed seconds must have been seen all the same.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

ABSENCES = 4
"""Confirmed sweeps without a running task after which it must have been said to be no longer listed."""
SINGLES = "CreateGaussDBV5Instance"
"""The name of tasks that every channel hears of; the others go to the first channel alone."""
OTHERS = "BackupSnapshotGaussDBV5InInstance"

RUNNING, COMPLETED, FAILED = "Running", "Completed", "Failed"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One thing to tell: a task took its nth state, or is no longer listed since its nth state."""

    job_id: str
    version: int
    unlisted: bool = False


@dataclass(slots=True, kw_only=True)
class State:
    """One state of one task, and what became of it."""

    status: str
    ended_at: str | None
    shown: bool = False
    confirmed: bool = False
    baseline: bool = False
    """Part of the list that the first sweeps saw: it must not be told."""
    first_whole: float | None = None
    """When a sweep first saw all of the list while the task was in this state."""


@dataclass(slots=True, kw_only=True)
class Task:
    """One task with all its states; the last is the present one."""

    job_id: str
    name: str
    created_at: str
    states: list[State] = field(default_factory=list)
    listed: bool = True
    absent: int = 0
    row: bytes = b""

    @property
    def now(self) -> State:
        return self.states[-1]

    @property
    def key(self) -> Key:
        return Key(self.job_id, len(self.states))


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What may or must be told under a key, on which channels."""

    types: frozenset[str]
    single: bool
    required: bool
    since: float | None
    """When it could first be told; None when that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldPace:
    """How the world moves."""

    tasks: int = 300
    """The list stays about as long as this."""
    moves: int = 20
    """Transitions in one step."""
    singles: float = 0.2
    """Share of the tasks that every channel hears of."""
    ended_at_birth: float = 0.3
    """Share of the new tasks that are first seen when they have ended."""
    regress: float = 0.2
    """Share of the moves that make an ended task run again."""
    deleted: float = 0.005
    """Share of the moves that delete a running task."""
    dwell: float = 12.0
    """Undisturbed seconds after which a list must have been seen."""
    blind_steps: float = 0.3
    """How often the list moves on after a disturbance, though nobody is known to have seen it."""


class Oracle:
    """The world. `who` is a number that stands for one running program; times are seconds that only grow."""

    def __init__(self, seed: int, pace: WorldPace) -> None:
        self.pace = pace
        self.tasks: dict[str, Task] = {}
        self.listed: dict[str, Task] = {}
        self.gone: list[Task] = []
        """Tasks that were deleted while they ran."""
        self.baseline = False
        """Whether the first list has been confirmed: only then does the world begin to move."""
        self.still = False
        """Set to let the world stand still."""
        self.blind = False
        """Set while nobody can record what it sees: then nobody survives it either."""
        self.steps = 0
        self.sweeps = 0
        self.transitions = 0
        """Confirmed states that had to be told."""
        self.owed = [0, 0]
        """Things that must be told on the first channel, and on all."""
        self._rng = random.Random(f"truth {seed}")
        self._clock = datetime(2026, 1, 15, 8, tzinfo=UTC)
        self._left: dict[int, set[str]] = {}
        """Rows that a sweep has not been given yet, by who makes it; empty when it has seen all."""
        self._calm_since = 0.0
        for _ in range(pace.tasks):
            self._create_task()

    # -- the world --

    def _stamp(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.strftime("%Y-%m-%dT%H:%M:%S+0000")

    def _create_task(self) -> None:
        name = SINGLES if self._rng.random() < self.pace.singles else OTHERS
        task = Task(job_id=f"job-{len(self.tasks):06}", name=name, created_at=self._stamp())
        self.tasks[task.job_id] = task
        # Newest first, as the API lists them.
        self.listed = {task.job_id: task} | self.listed
        ended = self._rng.random() < self.pace.ended_at_birth
        self._move(task, self._end() if ended else RUNNING)

    def _end(self) -> str:
        return self._rng.choice((COMPLETED, COMPLETED, FAILED))

    def _move(self, task: Task, status: str) -> None:
        task.states.append(State(status=status, ended_at=None if status == RUNNING else self._stamp()))
        task.row = _row(task)

    def step(self) -> None:
        """Let tasks begin, end, begin again and go."""
        self.steps += 1
        rows = list(self.listed.values())
        touched: set[str] = set()
        for _ in range(self.pace.moves):
            chance, task = self._rng.random(), self._rng.choice(rows)
            if task.job_id in touched:
                continue
            touched.add(task.job_id)
            if task.now.status != RUNNING and chance < self.pace.regress:
                self._move(task, RUNNING)
            elif task.now.status == RUNNING and chance < self.pace.deleted:
                self._remove(task)
                self.gone.append(task)
            elif task.now.status == RUNNING and chance < 0.7:
                self._move(task, self._end())
            else:
                self._create_task()
        self._age()

    def _age(self) -> None:
        """Drop the oldest tasks that have ended and been seen so, until the list is as long as it should be."""
        surplus = len(self.listed) - self.pace.tasks
        ended = (task for task in reversed(self.listed.values()) if task.now.status != RUNNING and task.now.confirmed)
        for _, task in zip(range(surplus), list(ended), strict=False):
            self._remove(task)

    def _remove(self, task: Task) -> None:
        task.listed = False
        del self.listed[task.job_id]

    # -- what is seen of it --

    def start_sweep(self, index: int, now: float) -> None:
        """Note that a program asks for the first page: what it saw whole before, it has survived."""
        if self._left.get(index) == set() and not self.blind:
            self._confirm()
            if not self.still:
                self.step()
                self._left.clear()
                self._calm_since = now
        self._left[index] = set(self.listed)

    def show_rows(self, index: int, job_ids: Iterable[str], now: float) -> bool:
        """Note that a program was given these rows; return whether it has seen all of the list with them."""
        left = self._left.get(index)
        for job_id in job_ids:
            if task := self.listed.get(job_id):
                task.now.shown = True
        if not left:
            return False
        left.difference_update(job_ids)
        if left:
            return False
        for task in self.listed.values():
            task.now.first_whole = task.now.first_whole or now
        return True

    def disturb(self, index: int | None, now: float) -> None:
        """Note that a program (None: all of them) was killed, stopped or cut off: what it has seen may be forgotten."""
        for one in [index] if index is not None else list(self._left):
            self._left.pop(one, None)
        self._calm_since = now
        if self.baseline and not self.still and self._rng.random() < self.pace.blind_steps:
            self.step()
            self._left.clear()

    def exempt(self, until: float) -> None:
        """Note that the service itself failed: nobody must have seen anything because of the time until then."""
        self._calm_since = max(self._calm_since, until)

    def tick(self, now: float) -> None:
        """Let time pass: what has stood still for long enough must have been seen."""
        if self.blind:
            self._calm_since = now
        if now - self._calm_since > self.pace.dwell:
            self._confirm()
            self._calm_since = now
            if not self.still:
                self.step()
                self._left.clear()

    def _confirm(self) -> None:
        self.sweeps += 1
        for task in self.gone:
            task.absent += 1
            if task.absent == ABSENCES and unlisted_required(task):
                self._owe(task)
        for task in self.listed.values():
            state = task.now
            if state.confirmed:
                continue
            state.confirmed = True
            if not self.baseline:
                state.baseline = True
            elif state_required(task, len(task.states)):
                self.transitions += 1
                self._owe(task)
        self.baseline = True

    def _owe(self, task: Task) -> None:
        self.owed[0] += 1
        self.owed[1] += task.name == SINGLES

    def expected(self) -> Mapping[Key, Expected]:
        """Return all that may be told, and what of it must."""
        return dict(self._expected())

    def _expected(self) -> Iterator[tuple[Key, Expected]]:
        for task in self.tasks.values():
            single = task.name == SINGLES
            for version, state in enumerate(task.states, 1):
                if (state.shown or state.confirmed) and not state.baseline:
                    yield (
                        Key(task.job_id, version),
                        Expected(
                            types=_types(task, version),
                            single=single,
                            required=state_required(task, version),
                            since=state.first_whole,
                        ),
                    )
        for task in self.gone:
            yield (
                Key(task.job_id, len(task.states), unlisted=True),
                Expected(
                    types=frozenset({"task.unlisted"}),
                    single=task.name == SINGLES,
                    required=task.absent >= ABSENCES and unlisted_required(task),
                    since=None,
                ),
            )


def state_required(task: Task, version: int) -> bool:
    """Tell whether a state must have been told: it was survived, and differs from whatever may be recorded before it.

    Every end is another end. A task that runs may be recorded as running already when what came between was not seen.
    """
    state = task.states[version - 1]
    if not state.confirmed or state.baseline:
        return False
    if state.status != RUNNING:
        return True
    for before in reversed(task.states[: version - 1]):
        if before.shown and before.status == RUNNING:
            return False
        if before.confirmed:
            return True
    return True


def unlisted_required(task: Task) -> bool:
    """Tell whether it must be said that a deleted task is gone: it was seen running, for certain."""
    return task.now.confirmed and task.now.status == RUNNING


def _types(task: Task, version: int) -> frozenset[str]:
    status = task.states[version - 1].status
    if status == RUNNING:
        return frozenset({"task.started", "task.restarted"})
    return frozenset({"task.completed" if status == COMPLETED else "task.failed"})


def _row(task: Task) -> bytes:
    """Write a task as the API does; the status of its instance says which of its states this is."""
    state = task.now
    row: dict[str, Any] = {
        "instance_info": {
            "instance_id": f"{task.job_id}in14",
            "instance_name": "gauss-77",
            "instance_status": f"v{len(task.states)}",
        },
        "job_id": task.job_id,
        "name": task.name,
        "status": state.status,
        "process": None,
        "fail_reason": "Timed out. Error code: DBS.280277." if state.status == FAILED else None,
        "created_at": task.created_at,
        "ended_at": state.ended_at,
    }
    return json.dumps(row, separators=(",", ":")).encode()
