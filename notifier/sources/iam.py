"""The projects of an account, as IAM lists them.

`GET /v3/auth/projects` lists those that the user may use, in one answer, and needs no right. Where a service refuses
it or does not have it, `GET /v3/projects` lists those of the whole account, in pages, to users who may list them.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import timedelta

from notifier.core.errors import PermissionDenied, RequestRejected, SourceError
from notifier.core.projects import MAX_PROJECTS, ProjectListing, region_of
from notifier.ports import CheckResult
from notifier.settings.words import PROJECT_ID_PATTERN
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.account_settings import GaussDBAccountSettings
from notifier.sources.failures import detail_of
from notifier.sources.lists import ApiList
from notifier.sources.payloads import decode_json, mapping_of, sanitize_text

PROJECT_LIST = ApiList(
    name="project list",
    rows="projects",
    action="iam:projects:listProjects",
    policy="IAM ReadOnlyAccess",
    of_project=False,
)
PROJECTS_PER_PAGE = 1000
"""Number of projects in one page. IAM takes 5,000 at most."""
MAX_PROJECT_PAGES = MAX_PROJECTS // PROJECTS_PER_PAGE
MAX_NAMED_REGIONS = 5
"""Maximum number of regions that a check names."""
MAX_PROJECT_NAME = 255
"""Maximum length of the name of a project that is kept, in characters."""


class AccountReader:
    """Reads the list of the projects of one account."""

    def __init__(self, settings: GaussDBAccountSettings, runtime: SourceRuntime) -> None:
        """Raises ConfigurationError for a credentials file that cannot be read."""
        self.name = settings.name
        """Of the account, as it is configured."""
        self.discover_every: timedelta = settings.discover_every
        """Time from one complete read to the next."""
        self.origin = hashlib.sha256(f"{settings.credential} {settings.iam_url}".encode()).hexdigest()
        """A digest of whom it asks, and how."""
        self.action = PROJECT_LIST.action
        """The right that it needs where it has to list the projects of the whole account."""
        access = SourceAccess(settings.for_iam, runtime)
        self._where = access.where
        self._mine = access.open_list(PROJECT_LIST, settings.iam_url, "/v3/auth/projects")
        self._all = access.open_list(PROJECT_LIST, settings.iam_url, "/v3/projects")

    @property
    def calls(self) -> int:
        """Calls made so far, retries included."""
        return self._mine.calls + self._all.calls

    async def read(self) -> Sequence[ProjectListing]:
        """Return the projects of the account, all of them. Raises SourceError."""
        try:
            found, complete = await self._mine.get("", read_projects)
        except (PermissionDenied, RequestRejected):
            return await self._read_pages()
        return found if complete else await self._read_pages()

    async def _read_pages(self) -> Sequence[ProjectListing]:
        found: dict[str, ProjectListing] = {}
        for page in range(1, MAX_PROJECT_PAGES + 1):
            listed, _ = await self._all.get(f"page={page}&per_page={PROJECTS_PER_PAGE}", read_projects)
            before = len(found)
            found |= {one.id: one for one in listed}
            if len(listed) < PROJECTS_PER_PAGE or len(found) == before:  # the second where pages are not supported
                return list(found.values())
        return list(found.values())

    async def check(self) -> Sequence[CheckResult]:
        """Return whether the projects can be listed, and how many there are."""
        try:
            found = [one for one in await self.read() if one.enabled and region_of(one.name)]
        except SourceError as error:
            return [CheckResult(ok=False, what=self._where, detail=detail_of(error, self._where))]
        regions = {region_of(one.name) for one in found}
        detail = f"projects listed: {len(found)}, in {', '.join(sorted(filter(None, regions))[:MAX_NAMED_REGIONS])}"
        more = f" and {len(regions) - MAX_NAMED_REGIONS} more regions" if len(regions) > MAX_NAMED_REGIONS else ""
        return [CheckResult(ok=True, what=self._where, detail=detail + more if found else "projects listed: 0")]


def read_projects(body: bytes) -> tuple[Sequence[ProjectListing], bool]:
    """Return the projects of a reply, and whether there is no further page. Raises ValueError for anything else.

    A row that cannot be one of a project is passed over.
    """
    document = mapping_of(decode_json(body))
    rows = document.get("projects")
    if not isinstance(rows, list):
        raise ValueError("the answer is not a project list")  # noqa: TRY004 - the caller translates one kind of error
    following = mapping_of(document.get("links")).get("next")
    return [found for row in rows if (found := _project(row))], not following


def _project(row: object) -> ProjectListing | None:
    values = mapping_of(row)
    identity, name = values.get("id"), values.get("name")
    if not isinstance(identity, str) or not re.fullmatch(PROJECT_ID_PATTERN, identity) or not isinstance(name, str):
        return None
    return ProjectListing(
        id=identity, name=sanitize_text(name, MAX_PROJECT_NAME), enabled=values.get("enabled") is not False
    )
