"""A list whose rows now and then tell less, or otherwise, than before: no state is lost and none is made up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import groupby
from typing import Any, Literal

from factories import T0
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.diff import DiffRules, RecordedTask, changed_ids, diff, new_transitions
from notifier.core.events import EventType
from notifier.core.model import Scope, TaskStatus, event_id
from notifier.sources.gaussdb import build_snapshot
from notifier.sources.payloads import decode_page

Glitch = Literal["none", "east", "number", "fraction", "no status", "empty status", "no end", "no id"]
Status = Literal["Running", "Completed", "Failed", "Canceled"]

SECOND = timedelta(seconds=1)
LOST = {"no status", "empty status", "no id"}
"""Glitches by which a row says nothing about the state of its task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Poll:
    """What happens to the jobs before a poll, how the list shows them, and whether a kill undoes the recording."""

    become: Mapping[int, Status]
    glitches: Sequence[Glitch]
    killed: bool


JOBS = range(3)
STATUSES: Sequence[Status] = ("Running", "Completed", "Failed", "Canceled")
GLITCHES: Sequence[Glitch] = (
    "none",
    "east",
    "number",
    "fraction",
    "no status",
    "empty status",
    "no end",
    "no id",
)
POLLS = st.builds(
    Poll,
    become=st.dictionaries(st.sampled_from(JOBS), st.sampled_from(STATUSES), max_size=2),
    glitches=st.lists(st.sampled_from(GLITCHES), min_size=len(JOBS), max_size=len(JOBS)),
    killed=st.booleans(),
)


@dataclass(frozen=True, slots=True)
class Job:
    """A task as it is."""

    status: Status
    ended_at: datetime | None


def row(number: int, job: Job, glitch: Glitch) -> dict[str, Any]:
    """Return what the list shows of a job."""
    shown: dict[str, Any] = {
        "job_id": f"job-{number}",
        "name": "CreateGaussDBV5Instance",
        "status": job.status,
        "created_at": "2026-01-15T08:00:00+0000",
        "ended_at": job.ended_at and job.ended_at.strftime("%Y-%m-%dT%H:%M:%S+0000"),
    }
    match glitch:
        case "east" if job.ended_at:
            shown["ended_at"] = job.ended_at.astimezone(timezone(timedelta(hours=8))).strftime("%Y-%m-%dT%H:%M:%S%z")
        case "number" if job.ended_at:
            shown["ended_at"] = int(job.ended_at.timestamp()) * 1000
        case "fraction" if job.ended_at:
            shown["ended_at"] = (job.ended_at + timedelta(milliseconds=783)).isoformat()
        case "no status":
            shown["status"] = None
        case "empty status":
            shown["status"] = ""
        case "no end":
            del shown["ended_at"]
        case "no id":
            del shown["job_id"]
        case _:
            pass
    return shown


@dataclass(slots=True)
class Memory:
    """What is recorded, as the database would hold it."""

    fingerprints: dict[str, bytes] = field(default_factory=dict)
    tasks: dict[str, RecordedTask] = field(default_factory=dict)
    told: dict[str, list[tuple[str, EventType]]] = field(default_factory=dict)
    """Occurrence and type of each event, by job."""

    def poll(self, rows: Sequence[Mapping[str, Any]], at: datetime) -> None:
        page = decode_page(json.dumps({"tasks": rows, "total_count": len(rows)}).encode())
        how: dict[str, Any] = {"scope": Scope.FULL, "complete": True, "total_count": len(rows), "calls": 1}
        snapshot = build_snapshot("prod", [page], taken_at=at, **how)
        changed = changed_ids(snapshot, self.fingerprints)
        live = {id_: it for id_, it in self.tasks.items() if it.task.status is TaskStatus.RUNNING}
        rules = DiffRules(
            observed_at=at, progress_step=0, baseline_at=T0, last_complete_at=at - SECOND, skew=timedelta()
        )
        changes = diff(snapshot, changed, self.tasks, live, rules)
        taken = {job_id: [occurrence for occurrence, _ in told] for job_id, told in self.told.items()}
        told = new_transitions(changes.transitions, taken)
        for transition in told:
            self.told.setdefault(transition.after.job_id, []).append((transition.occurrence, transition.type))
        renamed = {transition.after.job_id: transition.occurrence for transition in told if transition.recurs}
        for job_id, update in changes.updates.items():
            occurrence = renamed.get(job_id, update.occurrence)
            self.tasks[job_id] = replace(update, occurrence=occurrence, changed_at=update.changed_at or at)
            self.fingerprints[job_id] = snapshot.fingerprints[job_id] if update.task.raw_status else b""
        for job_id, count in changes.missing.items():
            gone = job_id in changes.unlisted
            self.tasks[job_id] = replace(self.tasks[job_id], missing=count, unlisted=gone)


_TYPES = {
    "Completed": EventType.TASK_COMPLETED,
    "Failed": EventType.TASK_FAILED,
    "Canceled": EventType.TASK_CHANGED,
}


def as_told(job: Job, glitch: Glitch, before: Sequence[Job]) -> list[Job]:
    """Return the state that a row tells, if any."""
    if glitch in LOST:
        return []
    if glitch != "no end" or job.ended_at is None:
        return [job]
    if before and before[-1].status == job.status:
        return []  # whether it is the same end, only a row that tells the time can say
    return [replace(job, ended_at=None)] if job.status == "Canceled" else [job]


def demanded(shown: Sequence[Job]) -> list[EventType]:
    """Return what is to be told of the states of a job that recorded polls have shown, in their order."""
    types: list[EventType] = []
    before: Job | None = None
    for job, _ in groupby(shown):
        if job.status == "Running":
            ended = before is not None and before.status in ("Completed", "Failed")
            types.append(EventType.TASK_RESTARTED if ended else EventType.TASK_STARTED)
        else:
            types.append(_TYPES[job.status])
        before = job
    return types


@given(st.lists(POLLS, min_size=1, max_size=20))
def test_every_state_of_a_row_is_notified_once_and_in_order(polls: Sequence[Poll]) -> None:
    memory, at = Memory(), T0.astimezone(UTC)
    jobs: dict[int, Job] = {}
    shown: dict[int, list[Job]] = {number: [] for number in JOBS}
    for poll in polls:
        at += 10 * SECOND
        for number, status in poll.become.items():
            jobs[number] = Job(status, None if status == "Running" else at)
        at += SECOND
        glitches = {number: poll.glitches[number] for number in jobs}
        if poll.killed:
            continue
        memory.poll([row(number, job, glitches[number]) for number, job in jobs.items()], at)
        for number, job in jobs.items():
            shown[number] += as_told(job, glitches[number], shown[number])
    for number in JOBS:
        told = memory.told.get(f"job-{number}", [])
        assert [type_ for _, type_ in told] == demanded(shown[number])
        ids = [event_id("prod", f"job-{number}", occurrence) for occurrence, _ in told]
        assert len(ids) == len(set(ids))
