"""The projects of an account: what IAM lists, what is recorded of it, and the names of their sources. Pure.

A project of the cloud belongs to one region, with which its name begins: `cn-north-4`, `cn-north-4_payments`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

MISSING_READS = 3
"""Complete reads in a row that must lack a project before its source is retired."""
MISSING_FOR = timedelta(hours=1)
"""Time that a project must have been missing by then: a fault of IAM lasts less."""
MAX_PROJECTS = 20_000
"""Maximum number of projects of one account that are recorded, the first ones that IAM lists."""
MAX_SOURCE_NAME = 64
"""Maximum length of the name of a source, in characters."""
ALARMS_SUFFIX = "alarms"
"""What the name of the source of a project's alarms ends with, after a dash."""

_REGION = re.compile(r"([a-z]{2}-[a-z]+-[0-9]+)(?:_(.*))?", re.DOTALL)
_ROOM = MAX_SOURCE_NAME - len(ALARMS_SUFFIX) - 1
_ID_LENGTH = 8
"""Characters of a project's id in a name that would not be unique, or not readable, without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectListing:
    """A project as IAM lists it."""

    id: str
    name: str
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProject:
    """A project of an account as it is recorded."""

    account: str
    """Name of the configured account."""
    project_id: str
    region: str
    name: str
    """Name of the project in IAM."""
    source: str
    """Name of the source that reads it. It never changes, also when the project vanishes and returns."""
    found_at: datetime
    missed: int = 0
    """Complete reads in a row that did not list it, or listed it as disabled."""
    missing_since: datetime | None = None
    """Time of the first of these reads; None while it is listed."""
    gone_at: datetime | None = None
    """Time at which its source was retired; None while it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """What is recorded of an account."""

    name: str
    next_at: datetime | None = None
    """Earliest time of the next read of its projects."""
    tried_at: datetime | None = None
    """Time of the last read, complete or not."""
    read_at: datetime | None = None
    """Time of the last complete read."""
    error: str | None = None
    """Why the last read was not complete; None where it was."""
    revision: int = 0
    """Number of times that the set of its sources has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProjects:
    """The projects that are to be read, and which they are."""

    projects: Sequence[FoundProject] = ()
    accounts: Mapping[str, AccountState] = field(default_factory=dict)
    """By name."""

    @property
    def revisions(self) -> Mapping[str, int]:
        """Revision by account."""
        return {name: one.revision for name, one in self.accounts.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectChanges:
    """What a complete read of the list changes."""

    saved: Sequence[FoundProject] = ()
    """The projects whose records change, new ones included."""
    found: Sequence[FoundProject] = ()
    """Those that are read from now on: new ones, and those that returned."""
    missing: Sequence[FoundProject] = ()
    """Those that this read lacks for the first time. They are read on."""
    gone: Sequence[FoundProject] = ()
    """Those whose sources are retired."""
    left_out: int = 0
    """Number of projects that are too many."""

    @property
    def alters_sources(self) -> bool:
        """Whether other sources are to be read than before."""
        return bool(self.found or self.gone)


def region_of(project: str) -> str | None:
    """Return the region that the name of a project begins with; None for a project of no region, such as `MOS`."""
    found = _REGION.fullmatch(project)
    return found[1] if found else None


def source_name(account: str, project: ProjectListing, taken: Collection[str]) -> str:
    """Return a name for the source of a project: `ACCOUNT-REGION`, and with the rest of the project's name if any.

    Where such a name is taken, or nothing of the rest can be part of a name, it ends with the beginning of the id.
    """
    found = _REGION.fullmatch(project.name)
    region, rest = (found[1], found[2]) if found else (project.name, None)
    words = _plain(rest or "")
    short = "-".join(filter(None, (account, region, words)))
    unreadable = bool(rest) and not words
    if not unreadable and len(short) <= _ROOM and short not in taken:
        return short
    identity = _plain(project.id)
    for length in (_ID_LENGTH, len(identity)):
        end = f"-{identity[:length]}"
        name = short[: _ROOM - len(end)].rstrip("-_") + end
        if name not in taken:
            return name
    return next(
        name for name in (f"{account[:20]}-{identity[:32]}-{n}" for n in range(len(taken) + 1)) if name not in taken
    )


def _plain(text: str) -> str:
    """Return what of a text can be part of a name."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-_")


def compare_projects(
    account: str,
    known: Iterable[FoundProject],
    listed: Iterable[ProjectListing],
    *,
    taken: Collection[str],
    now: datetime,
) -> ProjectChanges:
    """Return what a complete read of the list changes.

    Args:
        account: name of the account.
        known: its projects as they are recorded.
        listed: as IAM lists them, in any order. A disabled project counts as not listed.
        taken: names that no new source may have.
        now: time of the read.
    """
    here = {one.id: one for one in listed if one.enabled and region_of(one.name)}
    recorded = {one.project_id: one for one in known}
    names = {*taken, *(one.source for one in recorded.values())}
    saved: list[FoundProject] = []
    found, missing, gone = [], [], []
    for one in recorded.values():
        after = _listed_again(one, here[one.project_id]) if one.project_id in here else _missed(one, now)
        if after != one:
            saved.append(after)
        if one.gone_at and not after.gone_at:
            found.append(after)
        elif after.gone_at and not one.gone_at:
            gone.append(after)
        elif after.missing_since and not one.missing_since:
            missing.append(after)
    new = [one for one in here.values() if one.id not in recorded]
    room = max(MAX_PROJECTS - len(recorded), 0)
    for listing in sorted(new, key=lambda one: (one.name, one.id))[:room]:
        first = FoundProject(
            account=account,
            project_id=listing.id,
            region=region_of(listing.name) or "",
            name=listing.name,
            source=source_name(account, listing, names),
            found_at=now,
        )
        names.add(first.source)
        saved.append(first)
        found.append(first)
    return ProjectChanges(saved=saved, found=found, missing=missing, gone=gone, left_out=max(len(new) - room, 0))


def _listed_again(known: FoundProject, listing: ProjectListing) -> FoundProject:
    return replace(known, name=listing.name, missed=0, missing_since=None, gone_at=None)


def _missed(known: FoundProject, now: datetime) -> FoundProject:
    if known.gone_at:
        return known
    since, missed = known.missing_since or now, min(known.missed + 1, MISSING_READS)
    over = missed >= MISSING_READS and now - since >= MISSING_FOR
    return replace(known, missed=missed, missing_since=since, gone_at=now if over else None)


def present(projects: Iterable[FoundProject]) -> Mapping[str, Sequence[FoundProject]]:
    """Return the projects that are to be read, by account, in the order of their names."""
    found: dict[str, list[FoundProject]] = {}
    for one in sorted(projects, key=lambda one: (one.account, one.source)):
        if one.gone_at is None:
            found.setdefault(one.account, []).append(one)
    return found
