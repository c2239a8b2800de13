"""What the promises say must be told, worked out from what polls were shown and from nothing else.

Written from the promises, not from the program: facts are nested tuples here, not digests of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from upstream import Job

Facts = tuple[object, ...]
"""What makes a state of a job this one and no other."""

STEP = 25
AWAY = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of a job."""

    status: str
    ended_at: datetime | None
    progress: int | None
    facts: Facts
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that must be told."""

    type: str
    job_id: str
    facts: Facts
    failed: bool


@dataclass(slots=True)
class Observer:
    """Somebody who sees what the polls see and forgets nothing."""

    seen: dict[str, Seen] = field(default_factory=dict)
    told: set[tuple[str, Facts]] = field(default_factory=set)
    looked_at: datetime | None = None
    whole_at: datetime | None = None

    def look(self, shown: Mapping[str, Job], *, at: datetime, whole: bool) -> list[Told]:
        """Take note of one poll and return what it gives to tell."""
        found = self._gap(at)
        found += [told for job in shown.values() for told in self._look_at(job)]
        if whole and (self.whole_at is None or at > self.whole_at):
            found += self._miss(shown)
        self.looked_at, self.whole_at = at, at if whole else self.whole_at
        fresh = [told for told in found if (told.job_id, told.facts) not in self.told]
        self.told |= {(told.job_id, told.facts) for told in fresh}
        return fresh

    def _gap(self, at: datetime) -> list[Told]:
        if self.looked_at is None or at - self.looked_at <= AWAY:
            return []
        return [Told(type="source.gap", job_id="", facts=("gap", self.looked_at), failed=False)]

    def _look_at(self, job: Job) -> list[Told]:
        before = self.seen.get(job.job_id)
        if before is not None and _same_state(before, job):
            return self._look_at_progress(before, job)
        facts = _facts(job, before.facts if before else ())
        self.seen[job.job_id] = Seen(status=job.status, ended_at=job.ended_at, progress=job.progress, facts=facts)
        if before is None and self.whole_at is None:
            return []
        return [Told(type=_type(before, job), job_id=job.job_id, facts=facts, failed=job.status == "Failed")]

    def _look_at_progress(self, before: Seen, job: Job) -> list[Told]:
        self.seen[job.job_id] = replace(
            before, ended_at=job.ended_at or before.ended_at, progress=job.progress, missing=0
        )
        reached, was = ((percent or 0) // STEP * STEP for percent in (job.progress, before.progress))
        if job.status != "Running" or not was < reached < 100:
            return []
        return [
            Told(type="task.progressed", job_id=job.job_id, facts=("progress", reached, before.facts), failed=False)
        ]

    def _miss(self, shown: Mapping[str, Job]) -> list[Told]:
        gone = {id_: seen for id_, seen in self.seen.items() if seen.status == "Running" and id_ not in shown}
        self.seen |= {id_: replace(seen, missing=seen.missing + 1) for id_, seen in gone.items()}
        return [
            Told(type="task.unlisted", job_id=id_, facts=("unlisted", seen.facts), failed=False)
            for id_, seen in gone.items()
            if seen.missing == 1
        ]


def _same_state(before: Seen, job: Job) -> bool:
    another_end = job.ended and before.ended_at and job.ended_at and job.ended_at != before.ended_at
    return before.status == job.status and not another_end


def _facts(job: Job, previous: Facts) -> Facts:
    return (job.status, job.ended_at) if job.ended and job.ended_at else (job.status, "after", previous)


def _type(before: Seen | None, job: Job) -> str:
    if job.status == "Running":
        return "task.restarted" if before and before.status in ("Completed", "Failed") else "task.started"
    return {"Completed": "task.completed", "Failed": "task.failed"}.get(job.status, "task.changed")
