"""The events that the promises require, derived from the lists that polls were shown.

Written from the promises, independently of the program: facts are nested tuples, not digests of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from upstream import Job

Facts = tuple[object, ...]
"""The facts that identify a state of a job."""

STEP = 25
AWAY = timedelta(days=30)
CLOCKS = timedelta(minutes=10)
"""Maximum difference between clocks."""
EMPTY = timedelta(minutes=15)
"""Time that a list must be empty before its tasks count as missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The known state of a job."""

    status: str
    ended_at: datetime | None
    progress: int | None
    facts: Facts
    created_at: datetime
    at: datetime
    """When this state was first seen."""
    missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedEvent:
    """One event that must be notified."""

    type: str
    job_id: str
    facts: Facts
    failed: bool
    recurs: bool = False
    """Whether the same facts are a new event, because the job was in another state in between."""


@dataclass(slots=True)
class Observer:
    """Sees the same lists as the polls and remembers everything."""

    seen: dict[str, Seen] = field(default_factory=dict)
    notified: set[tuple[str, Facts]] = field(default_factory=set)
    scanned_at: datetime | None = None
    last_complete_at: datetime | None = None
    baseline_at: datetime | None = None
    empty_since: datetime | None = None
    unread: set[str] = field(default_factory=set)
    """Jobs that the baseline listed without a status."""

    def observe(
        self, scans: Sequence[Mapping[str, Job]], shown: Mapping[str, Job], *, at: datetime, whole: bool
    ) -> list[ExpectedEvent]:
        """Record one poll with its scans in order, and return the expected events."""
        found = [fresh for notified in self._gap(at) for fresh in self._fresh(notified)]
        for scan in scans:
            found += [
                fresh
                for job in scan.values()
                for notified in self._scan_job(job, at)
                for fresh in self._fresh(notified)
            ]
        if whole:
            self.empty_since = None if shown else self.empty_since or at
        lasted = self.empty_since is None or at - self.empty_since >= EMPTY
        if whole and lasted and (self.last_complete_at is None or at > self.last_complete_at):
            found += [fresh for notified in self._miss(shown, at) for fresh in self._fresh(notified)]
        self.scanned_at, self.last_complete_at = at, at if whole else self.last_complete_at
        self.baseline_at = self.baseline_at or self.last_complete_at
        return found

    def _fresh(self, notified: ExpectedEvent) -> list[ExpectedEvent]:
        facts, times = notified.facts, 1
        while (notified.job_id, facts) in self.notified:
            if not notified.recurs:
                return []
            times += 1
            facts = (*notified.facts, "again", times)
        self.notified.add((notified.job_id, facts))
        if notified.recurs and notified.type != "task.unlisted":
            self.seen[notified.job_id] = replace(self.seen[notified.job_id], facts=facts)
        return [replace(notified, facts=facts)]

    def _gap(self, at: datetime) -> list[ExpectedEvent]:
        if self.scanned_at is None or at - self.scanned_at <= AWAY:
            return []
        return [ExpectedEvent(type="source.gap", job_id="", facts=("gap", self.scanned_at), failed=False)]

    def _scan_job(self, job: Job, at: datetime) -> list[ExpectedEvent]:
        before = self.seen.get(job.job_id)
        if not job.status:
            if before is not None:
                self.seen[job.job_id] = replace(before, missing=0)
            elif self.baseline_at is None:
                self.unread.add(job.job_id)
            return []
        if before is not None and _same_state(before, job):
            return self._scan_progress(before, job)
        facts = _facts(job, before.facts if before else ())
        self.seen[job.job_id] = Seen(
            status=job.status,
            ended_at=job.ended_at,
            progress=job.progress,
            facts=facts,
            created_at=job.created_at,
            at=at,
        )
        if before is None and (self.last_complete_at is None or self._was_so_before(job)):
            return []
        type_, recurs = _type(before, job), before is not None
        return [ExpectedEvent(type=type_, job_id=job.job_id, facts=facts, failed=job.status == "Failed", recurs=recurs)]

    def _was_so_before(self, job: Job) -> bool:
        """Return whether the baseline listed a job without a readable state, which may be the state read now."""
        if job.job_id not in self.unread or self.baseline_at is None:
            return False
        return job.ended_at <= self.baseline_at if job.ended_at else not job.ended

    def _scan_progress(self, before: Seen, job: Job) -> list[ExpectedEvent]:
        self.seen[job.job_id] = replace(
            before, ended_at=job.ended_at or before.ended_at, progress=job.progress, missing=0
        )
        reached, was = ((percent or 0) // STEP * STEP for percent in (job.progress, before.progress))
        if job.status != "Running" or not was < reached < 100:
            return []
        return [
            ExpectedEvent(
                type="task.progressed", job_id=job.job_id, facts=("progress", reached, before.facts), failed=False
            )
        ]

    def _miss(self, shown: Mapping[str, Job], at: datetime) -> list[ExpectedEvent]:
        on = {id_: seen for id_, seen in self.seen.items() if seen.status not in ("Completed", "Failed")}
        gone = {id_: seen for id_, seen in on.items() if id_ not in shown}
        self.seen |= {id_: replace(seen, missing=seen.missing + 1) for id_, seen in gone.items()}
        return [
            ExpectedEvent(type="task.unlisted", job_id=id_, facts=("unlisted", seen.facts), failed=False, recurs=True)
            for id_, seen in gone.items()
            if seen.missing == 1 and (seen.status == "Running" or at - seen.created_at < AWAY - timedelta(days=1))
        ]


def _same_state(before: Seen, job: Job) -> bool:
    if before.ended_at is None:
        # An end that comes later than when the job was seen to be over, by any clock, is another one.
        another_end = job.ended and job.ended_at and job.ended_at > before.at + CLOCKS
    else:
        another_end = job.ended and job.ended_at and job.ended_at != before.ended_at
    return before.status == job.status and not another_end


def _facts(job: Job, previous: Facts) -> Facts:
    return (job.status, job.ended_at) if job.ended and job.ended_at else (job.status, "after", previous)


def _type(before: Seen | None, job: Job) -> str:
    if job.status == "Running":
        return "task.restarted" if before and before.status in ("Completed", "Failed") else "task.started"
    return {"Completed": "task.completed", "Failed": "task.failed"}.get(job.status, "task.changed")
