"""Ask every project of an account once, to see where GaussDB is used. Nothing is recorded."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from notifier.clock import SystemClock
from notifier.config.config import Config
from notifier.core.errors import NotifierError, SourceError
from notifier.core.projects import FoundProject, compare_projects
from notifier.sources.access import SourceAccess
from notifier.sources.account_settings import GaussDBAccountSettings
from notifier.sources.failures import detail_of
from notifier.sources.gaussdb import GaussDBSource, TaskQuery
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.iam import AccountReader
from notifier.sources.lists import ApiList
from notifier.sources.payloads import decode_json, mapping_of
from notifier.wiring.channels import http_client
from notifier.wiring.sources import Runtimes

MAX_SURVEYED = 100
"""Maximum number of projects that are asked: each takes one or two calls of the key's budget."""

INSTANCE_LIST = ApiList(
    name="instance list", rows="instances", action="gaussdb:instance:list", policy="GaussDB ReadOnlyAccess"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SurveyedProject:
    """A project, and what is in it."""

    project: FoundProject
    tasks: int = 0
    """Number of tasks of the last month."""
    instances: int | None = None
    """Number of instances; None where it was not asked, because there are tasks, or is not known."""
    error: str | None = None
    """Why its tasks cannot be listed."""

    @property
    def in_use(self) -> bool:
        """Whether it has tasks or instances."""
        return bool(self.tasks or self.instances)


async def survey_projects(config: Config) -> Sequence[SurveyedProject]:
    """Return the projects of the account of a configuration, in the order of their names.

    Raises SourceError where they cannot be listed, and NotifierError where there are none, or too many.
    """
    (account,) = config.accounts
    async with aclosing(http_client(config)) as http:
        runtimes = Runtimes(config, http, SystemClock())
        listed = await AccountReader(account, runtimes.of(account)).read()
        found = compare_projects("", (), listed, taken=(), now=datetime.now(UTC)).found
        chosen = [project for project in found if account.reads(project)]
        if not chosen:
            raise NotifierError(
                f"IAM lists {len(listed)} projects, and none of them is in {', '.join(account.regions)}"
                " where GaussDB is known: check the account and --region"
            )
        if len(chosen) > MAX_SURVEYED:
            raise NotifierError(
                f"the account has {len(chosen)} projects, and at most {MAX_SURVEYED} are asked: name some regions with"
                " --region, or poll all projects with --account"
            )
        return await asyncio.gather(*(_survey(account, project, runtimes) for project in chosen))


async def _survey(account: GaussDBAccountSettings, project: FoundProject, runtimes: Runtimes) -> SurveyedProject:
    settings = next(account.sources(project))
    assert isinstance(settings, GaussDBSettings)  # noqa: S101 - the first one reads the task list
    access = SourceAccess(settings, runtimes.of(settings))
    try:
        page = await GaussDBSource(settings, access).list_page(TaskQuery(limit=1))
    except SourceError as error:
        return SurveyedProject(project=project, error=detail_of(error, access.where))
    if tasks := page.total or len(page.keys):
        return SurveyedProject(project=project, tasks=tasks)
    instances = access.open_list(INSTANCE_LIST, settings.url, f"/v3/{project.project_id}/instances")
    try:
        return SurveyedProject(project=project, instances=await instances.get("limit=1&offset=0", read_instance_count))
    except SourceError:  # its tasks can be listed, which is enough
        return SurveyedProject(project=project)


def read_instance_count(body: bytes) -> int:
    """Return the number of instances of a reply. Raises ValueError for anything else."""
    document = mapping_of(decode_json(body))
    rows = document.get("instances")
    if not isinstance(rows, list):
        raise ValueError("the answer is not an instance list")  # noqa: TRY004 - the caller translates one kind of error
    total = document.get("total_count")
    return total if isinstance(total, int) else len(rows)
