"""A model of the cloud: its jobs, and what one poll sees of them. Pure except for `ListView`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

from notifier.core.errors import CredentialsRejected, SourceUnreachable
from notifier.sources.gaussdb import TaskQuery

RUNNING, COMPLETED, FAILED = "Running", "Completed", "Failed"
ODD = ("Pending", "Canceled", "unlisted", "progress:25|running", "执行中", "")
"""Undocumented statuses; two of them resemble words of this program."""
LISTED = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A task as the cloud knows it."""

    job_id: str
    status: str
    created_at: datetime
    ended_at: datetime | None = None
    over_at: datetime | None = None
    """End time, even if the list does not show it yet."""
    progress: int | None = None
    reason: str | None = None

    @property
    def ended(self) -> bool:
        return self.status in (COMPLETED, FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change in the cloud. `place` selects the job, modulo their number."""

    kind: Literal["create", "become", "progress", "reword", "tell end", "delete", "relist"]
    place: int = 0
    status: str = RUNNING
    progress: int | None = None
    says_when: bool = True
    """Whether a final status has an end time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """The state of the cloud, the newest job last."""

    jobs: Mapping[str, Job] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()

    def listed(self, now: datetime) -> list[Job]:
        """Return what the API lists: at most a month back, less what was deleted."""
        fresh = (job for job in self.jobs.values() if now - job.created_at <= LISTED)
        return [job for job in fresh if job.job_id not in self.deleted]

    def with_job(self, job: Job) -> Cloud:
        return replace(self, jobs={**self.jobs, job.job_id: job})


def changed(cloud: Cloud, change: Change, now: datetime) -> Cloud:
    """Return the cloud after a change. Without a job to act on it is unchanged."""
    if change.kind == "create":
        return cloud.with_job(_created(len(cloud.jobs), change, now))
    if change.kind == "relist":
        return replace(cloud, deleted=frozenset())
    listed = cloud.listed(now)
    if not listed:
        return cloud
    job = listed[change.place % len(listed)]
    if change.kind == "delete":
        return replace(cloud, deleted=cloud.deleted | {job.job_id})
    return cloud.with_job(_moved(job, change, now))


def _created(number: int, change: Change, now: datetime) -> Job:
    return _moved(Job(job_id=f"job-{number}", status=RUNNING, created_at=now), replace(change, kind="become"), now)


def _moved(job: Job, change: Change, now: datetime) -> Job:
    match change.kind:
        case "become":
            over = now if change.status in (COMPLETED, FAILED) else None
            ends = over if change.says_when else None
            reason = f"reason of {now:%H:%M:%S}" if change.status == FAILED else None
            return replace(
                job, status=change.status, ended_at=ends, over_at=over, progress=change.progress, reason=reason
            )
        case "tell end":
            return replace(job, ended_at=job.over_at) if job.ended else job
        case "reword":
            return replace(job, reason=f"reworded at {now:%H:%M:%S}")
        case _:
            return replace(job, progress=change.progress)


# ---- one poll ----

Order = Literal["newest", "oldest", "shuffled", "unstable"]
RowStyle = Literal["plain", "chinese", "nulls", "strings"]
Repeats = Literal["none", "same", "stale first", "stale last"]
Fault = Literal["refused", "unreachable", "empty", "blank", "short", "no total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Presentation:
    """How the list is shown to one poll."""

    order: Order = "newest"
    style: RowStyle = "plain"
    repeats: Repeats = "none"
    """Duplicate rows of a page, possibly with an older state of the job."""
    moves: tuple[tuple[int, Change], ...] = ()
    """Changes before requests of the poll, by request number."""
    fault: Fault | None = None
    at: int = 0
    """First request with the fault; unless `passes`, later ones have it too."""
    passes: bool = True


WHOLE = Presentation()


def as_styled(job: Job, style: RowStyle) -> Job:
    """Return the job as rows of this style show it: a row may leave out how far it is and when it ended."""
    return replace(job, ended_at=None, progress=None, reason=None) if style == "nulls" else job


def stale(job: Job) -> Job:
    """Return an older state of the job."""
    return replace(job, status=RUNNING, ended_at=None, progress=None, reason=None)


def row(job: Job, style: RowStyle) -> dict[str, Any]:
    """Return the row as JSON values, in one of the observed forms of the API."""
    values: dict[str, Any] = {
        "job_id": job.job_id,
        "name": "CreateGaussDBV5Instance",
        "status": job.status,
        "process": job.progress,
        "created_at": f"{job.created_at:%Y-%m-%dT%H:%M:%S%z}",
        "ended_at": job.ended_at and f"{job.ended_at:%Y-%m-%dT%H:%M:%S%z}",
        "fail_reason": job.reason,
        "instance_info": {"instance_id": "fe2b", "instance_name": "gauss-6568", "instance_status": "creating"},
    }
    match style:
        case "chinese":
            return values | {"fail_reason": job.reason and f"原因 {job.reason}"}
        case "nulls":
            del values["ended_at"]
            return values | {"instance_info": None, "fail_reason": None}
        case "strings":
            east = job.ended_at and job.ended_at.astimezone(timezone(timedelta(hours=8))).isoformat()
            process = None if job.progress is None else f"{job.progress}%"
            return values | {"process": process, "ended_at": east, "fail_reason": 42, "flavour": ["extra", {}]}
        case _:
            return values


@dataclass(slots=True)
class ListView:
    """The list as shown to one poll, request by request. It records what it showed."""

    cloud: Cloud
    presentation: Presentation
    now: datetime
    by_pages: bool = False
    """Whether `offset` is the number of a page rather than of a record."""
    requests: int = 0
    shown: dict[str, Job] = field(default_factory=dict)
    """Latest row by job."""
    scans: list[dict[str, Job]] = field(default_factory=list)
    """Rows by job for each scan of this poll: of the running jobs, the failed ones, or all."""
    asked: str | None = ""
    """Status filter of the current scan."""
    throughout: set[str] = field(default_factory=set)
    """Jobs that were listed during the whole poll."""
    began: bool = False

    def begin(self) -> None:
        """Reset: a poll may scan twice and keep only the second scan."""
        self.shown, self.began, self.asked = {}, False, ""

    def page(self, query: TaskQuery, offset: int) -> bytes:
        """Answer a request. Raises SourceError if the fault demands it."""
        number, self.requests = self.requests, self.requests + 1
        if query.status != self.asked:
            self.scans.append({})
            self.asked = query.status
        for _, change in filter(lambda move: move[0] == number, self.presentation.moves):
            self.cloud = changed(self.cloud, change, self.now)
        asked_for = [job for job in self._in_order(number) if _wanted(job, query)]
        self._track_listed({job.job_id for job in asked_for})
        start = max(offset - 1, 0) * query.limit if self.by_pages else offset
        page = asked_for[start : start + query.limit]
        return self._body(page, len(asked_for), self._fault(number))

    def _track_listed(self, listed: set[str]) -> None:
        self.throughout = self.throughout & listed if self.began else listed
        self.began = True

    def _fault(self, number: int) -> Fault | None:
        presentation = self.presentation
        hit = number == presentation.at or (number > presentation.at and not presentation.passes)
        return presentation.fault if hit else None

    def _in_order(self, number: int) -> Sequence[Job]:
        jobs = self.cloud.listed(self.now)
        match self.presentation.order:
            case "newest":
                return jobs[::-1]
            case "oldest":
                return jobs
            case order:
                salt = str(number) if order == "unstable" else ""
                return sorted(jobs, key=lambda job: hashlib.sha256(f"{salt}{job.job_id}".encode()).digest())

    def _body(self, jobs: Sequence[Job], total: int, fault: Fault | None) -> bytes:
        if fault == "refused":
            raise CredentialsRejected
        if fault == "unreachable":
            raise SourceUnreachable
        if fault in ("empty", "blank"):
            return json.dumps({"tasks": [], "total_count": total if fault == "empty" else 0}).encode()
        jobs = jobs[: len(jobs) // 2] if fault == "short" else jobs
        rows = [as_styled(version, self.presentation.style) for job in jobs for version in self._versions(job)]
        self.shown |= {job.job_id: job for job in rows}
        self.scans[-1].update({job.job_id: job for job in rows})
        body = {"tasks": [row(job, self.presentation.style) for job in rows]}
        return json.dumps(body if fault == "no total" else body | {"total_count": total}).encode()

    def _versions(self, job: Job) -> Sequence[Job]:
        match self.presentation.repeats:
            case "none":
                return [job]
            case "same":
                return [job, job]
            case "stale first":
                return [stale(job), job]
            case "stale last":
                return [job, stale(job)]


def _wanted(job: Job, query: TaskQuery) -> bool:
    if query.start_time is not None and job.created_at < query.start_time:
        return False
    return query.status is None or job.status == query.status
