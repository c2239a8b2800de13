"""The task list of the simulated cloud, step by step, and the events that must follow from it. Pure and seeded.

The list changes in steps. Between two steps it does not change, so that every sweep reads one state of it. A sweep is
*whole* when every row was returned. It is *confirmed* when the same process, undisturbed since, requests the first page
again: only then has it certainly recorded what it read. Then the list changes.

A client that requests too little would never have a whole sweep and nothing would be required of it. Therefore a list
that has not changed for `dwell` undisturbed seconds counts as read.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

ABSENCES = 4
"""Number of confirmed sweeps without a running task after which it must be reported as unlisted."""
SINGLES = "CreateGaussDBV5Instance"
"""Name of the tasks that are sent to every channel; others go to the first channel alone."""
OTHERS = "BackupSnapshotGaussDBV5InInstance"

RUNNING, COMPLETED, FAILED = "Running", "Completed", "Failed"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One event: a task entered its nth state, or is no longer listed after its nth state."""

    job_id: str
    version: int
    unlisted: bool = False


@dataclass(slots=True, kw_only=True)
class State:
    """One state of one task, and whether it was read."""

    status: str
    ended_at: str | None
    shown: bool = False
    confirmed: bool = False
    baseline: bool = False
    """Part of the first list: it must not be notified."""
    first_whole: float | None = None
    """Time of the first whole sweep while the task was in this state."""


@dataclass(slots=True, kw_only=True)
class Task:
    """One task with all its states; the last is the current one."""

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
    """An event that may or must be notified, and on which channels."""

    types: frozenset[str]
    single: bool
    required: bool
    since: float | None
    """Earliest time at which it could be notified; None if unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldPace:
    """How fast the world changes."""

    tasks: int = 300
    """The list stays about as long as this."""
    moves: int = 20
    """Transitions in one step."""
    singles: float = 0.2
    """Share of the tasks that are sent to every channel."""
    ended_at_birth: float = 0.3
    """Share of the new tasks that are first seen when they have ended."""
    regress: float = 0.2
    """Share of the moves that make an ended task run again."""
    deleted: float = 0.005
    """Share of the moves that delete a running task."""
    dwell: float = 12.0
    """Undisturbed time after which a list must have been read, in seconds."""
    blind_steps: float = 0.3
    """Probability that the list changes after a disturbance without a confirmed sweep."""


class Oracle:
    """The world. `index` is the number of a program; times are in monotonic seconds."""

    def __init__(self, seed: int, pace: WorldPace) -> None:
        self.pace = pace
        self.tasks: dict[str, Task] = {}
        self.listed: dict[str, Task] = {}
        self.gone: list[Task] = []
        """Tasks that were deleted while they ran."""
        self.baseline = False
        """Whether the first list has been confirmed. The world changes only after that."""
        self.still = False
        """Set to stop all changes."""
        self.blind = False
        """Set while no program can record what it reads: then no sweep is confirmed."""
        self.steps = 0
        self.sweeps = 0
        self.transitions = 0
        """Confirmed states that had to be notified."""
        self.owed = [0, 0]
        """Events that must be notified on the first channel, and on all channels."""
        self._rng = random.Random(f"truth {seed}")
        self._clock = datetime(2026, 1, 15, 8, tzinfo=UTC)
        self._left: dict[int, set[str]] = {}
        """Rows not yet returned in the current sweep, by program; empty after a whole sweep."""
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
        """Start, finish, restart and delete tasks."""
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
        """Remove the oldest finished and confirmed tasks until the list has its length."""
        surplus = len(self.listed) - self.pace.tasks
        ended = (task for task in reversed(self.listed.values()) if task.now.status != RUNNING and task.now.confirmed)
        for _, task in zip(range(surplus), list(ended), strict=False):
            self._remove(task)

    def _remove(self, task: Task) -> None:
        task.listed = False
        del self.listed[task.job_id]

    # -- sweeps --

    def start_sweep(self, index: int, now: float) -> None:
        """Record a request for the first page: it confirms the whole sweep before."""
        if self._left.get(index) == set() and not self.blind:
            self._confirm()
            if not self.still:
                self.step()
                self._left.clear()
                self._calm_since = now
        self._left[index] = set(self.listed)

    def show_rows(self, index: int, job_ids: Iterable[str], now: float) -> bool:
        """Record the rows returned to a program; return whether its sweep is now whole."""
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
        """Record that a program (None: all) was killed, stopped or cut off: its sweep may be lost."""
        for one in [index] if index is not None else list(self._left):
            self._left.pop(one, None)
        self._calm_since = now
        if self.baseline and not self.still and self._rng.random() < self.pace.blind_steps:
            self.step()
            self._left.clear()

    def exempt(self, until: float) -> None:
        """Record a failure of the service: the time until then does not count as time to read the list."""
        self._calm_since = max(self._calm_since, until)

    def tick(self, now: float) -> None:
        """Let time pass: a list that has not changed for long enough counts as read."""
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
        """Return every event that may be notified, and whether it must."""
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
    """Return whether a state must be notified: it is confirmed, and differs from every state that may be recorded.

    Each end is a different one. A running task may already be recorded as running if the state in between was not read.
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
    """Return whether a deleted task must be reported as unlisted: it was confirmed as running."""
    return task.now.confirmed and task.now.status == RUNNING


def _types(task: Task, version: int) -> frozenset[str]:
    status = task.states[version - 1].status
    if status == RUNNING:
        return frozenset({"task.started", "task.restarted"})
    return frozenset({"task.completed" if status == COMPLETED else "task.failed"})


def _row(task: Task) -> bytes:
    """Return a task as the API writes it; the status of its instance is the number of its state."""
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
        "fail_reason": "Timed out. Error code: DBS.111205." if state.status == FAILED else None,
        "created_at": task.created_at,
        "ended_at": state.ended_at,
    }
    return json.dumps(row, separators=(",", ":")).encode()
