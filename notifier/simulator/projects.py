"""The account of a simulated cloud: its projects by region, and the lists of IAM."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from notifier.simulator.iam import DOMAIN_ID
from notifier.simulator.options import Options
from notifier.simulator.parameters import QueryParameters
from notifier.simulator.project import SimulatedProject
from notifier.simulator.replies import SimulatedError

MAX_PROJECT_PAGE = 5000
"""Largest page of the project list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProject:
    """One project of the account."""

    id: str
    name: str
    """Name of its region, for a project inside of one followed by an underscore and its own name."""
    parent_id: str
    enabled: bool = True

    @property
    def region(self) -> str:
        """The region of the project."""
        return self.name.partition("_")[0]

    def wire(self, url: str) -> dict[str, Any]:
        """Return it as IAM shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "parent_id": self.parent_id,
            "domain_id": DOMAIN_ID,
            "description": "",
            "enabled": self.enabled,
            "is_domain": False,
            "links": {"self": f"{url}/v3/projects/{self.id}"},
        }


def project_id(options: Options, name: str) -> str:
    """Return the id of a project: that of the options for the first one, the same for a name and seed for others."""
    return options.project_id if name == options.region else uuid.uuid5(_NAMESPACE, f"{options.seed}/{name}").hex


_NAMESPACE = uuid.UUID("6b1d5b0e-6a32-4d8e-9f6f-2a1f0c8f1f7a")


def listed_projects(options: Options) -> list[AccountProject]:
    """Return the projects of the account: that of the credentials first, then the others as they were chosen."""
    names = dict.fromkeys((options.region, *options.projects))
    return [
        AccountProject(
            id=project_id(options, name),
            name=name,
            parent_id=project_id(options, name.partition("_")[0]) if "_" in name else DOMAIN_ID,
            enabled=name not in options.disabled_projects,
        )
        for name in names
    ]


class Account:
    """The projects of an account. Each has a world of its own, which is built when it is first read."""

    def __init__(self, options: Options, start: datetime) -> None:
        self._options = options
        self._start = start
        self.projects = listed_projects(options)
        self.first = SimulatedProject(options, start)
        """The project of the credentials."""
        self._open: dict[str, SimulatedProject] = {options.project_id: self.first}

    def find(self, wanted_id: str) -> SimulatedProject | None:
        """Return an enabled project."""
        listed = next((one for one in self.projects if one.id == wanted_id and one.enabled), None)
        if listed and wanted_id not in self._open:
            self._open[wanted_id] = SimulatedProject(self._of(listed), self._start)
        return self._open.get(wanted_id) if listed else None

    def _of(self, listed: AccountProject) -> Options:
        seed = uuid.uuid5(_NAMESPACE, f"{self._options.seed}/{listed.id}").int % 2**63
        return replace(
            self._options, seed=seed, region=listed.region, project_id=listed.id, projects=(), disabled_projects=()
        )

    def add(self, name: str, *, enabled: bool) -> None:
        """Add a project, or enable or disable it. The project of the credentials stays the first."""
        names = [one.name for one in self.projects]
        disabled = {one.name for one in self.projects if not one.enabled} - {name} | (set() if enabled else {name})
        changed = replace(
            self._options, projects=tuple(dict.fromkeys([*names, name])), disabled_projects=tuple(sorted(disabled))
        )
        self.projects = listed_projects(changed)

    def remove(self, name: str) -> None:
        """Remove a project."""
        self.projects = [one for one in self.projects if one.name != name]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectQuery:
    """A checked request for the project list."""

    exact: Mapping[str, str]
    enabled: bool | None
    page: int
    per_page: int | None
    """None for all projects at once."""


def parse_project_query(query: Mapping[str, str]) -> ProjectQuery:
    """Check the parameters of a request. Raises SimulatedError 400."""
    given = QueryParameters(
        query, refuse=lambda name: SimulatedError(400, "", f"Invalid value of the parameter {name}.")
    )
    paged = [name for name in ("page", "per_page") if given.value(name) is not None]
    if len(paged) == 1:
        raise given.refused("per_page" if paged == ["page"] else "page")
    enabled = given.choice("enabled", ("true", "false"))
    return ProjectQuery(
        exact={name: query[name] for name in ("name", "domain_id", "parent_id") if query.get(name)},
        enabled=None if enabled is None else enabled == "true",
        page=given.integer("page", 1, MAX_PROJECT_PAGE, 1),
        per_page=given.integer("per_page", 1, MAX_PROJECT_PAGE, 1) if paged else None,
    )


def project_page(projects: Sequence[AccountProject], query: ProjectQuery, url: str) -> dict[str, Any]:
    """Return one page of the projects, with links to the pages before and after it."""
    rows = [row for row in (one.wire(url) for one in projects) if _matches(row, query)]
    size = query.per_page or len(rows) or 1
    first = (query.page - 1) * size
    link = _PageLinks(query, url)
    return {
        "links": {
            "self": link.to(query.page),
            "previous": link.to(query.page - 1) if query.page > 1 else None,
            "next": link.to(query.page + 1) if first + size < len(rows) else None,
        },
        "projects": rows[first : first + size],
    }


def _matches(row: Mapping[str, Any], query: ProjectQuery) -> bool:
    fits = all(row[name] == value for name, value in query.exact.items())
    return fits and query.enabled in (None, row["enabled"])


class _PageLinks:
    def __init__(self, query: ProjectQuery, url: str) -> None:
        self._query = query
        self._url = f"{url}/v3/projects"

    def to(self, page: int) -> str:
        """Return the address of a page of the same query."""
        fields: dict[str, str | int] = dict(self._query.exact)
        if self._query.enabled is not None:
            fields["enabled"] = str(self._query.enabled).lower()
        if self._query.per_page is not None:
            fields |= {"page": page, "per_page": self._query.per_page}
        return f"{self._url}?{urlencode(fields)}" if fields else self._url


def auth_project_list(projects: Sequence[AccountProject], url: str) -> dict[str, Any]:
    """Return the projects that the credentials may use, without pages."""
    return {"links": {"self": f"{url}/v3/auth/projects"}, "projects": [one.wire(url) for one in projects]}


def auth_domain_list(options: Options, url: str) -> dict[str, Any]:
    """Return the account of the credentials."""
    domain = {
        "id": DOMAIN_ID,
        "name": options.domain,
        "enabled": True,
        "description": "",
        "links": {"self": f"{url}/v3/domains/{DOMAIN_ID}"},
    }
    return {"links": {"self": f"{url}/v3/auth/domains"}, "domains": [domain]}
