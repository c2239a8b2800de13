"""The sources that the projects of accounts become."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from notifier.core.projects import MAX_SOURCE_NAME, FoundProject, ProjectListing, present, source_name
from notifier.sources.account_settings import GaussDBAccountSettings
from notifier.sources.cloud_settings import CloudSettings


@dataclass(frozen=True, slots=True)
class FoundSources:
    """What the projects of accounts become."""

    by_account: Mapping[str, Sequence[CloudSettings]]
    """The sources of each account, by its name."""
    displaced: Mapping[str, str]
    """Ids of projects whose alarms are not read, by the name that their source would have: another source has it."""


def found_sources(
    accounts: Sequence[GaussDBAccountSettings], configured: Sequence[CloudSettings], projects: Iterable[FoundProject]
) -> FoundSources:
    """Return the sources of each account.

    A configured source of the same kind and project takes the place of one that would be found, and so does that of an
    account before it: nothing is read twice. A name that a configured source has by now is replaced.
    """
    taken = {source.name for source in configured}
    read = {(source.kind, source.project_id) for source in configured}
    by_account = present(projects)
    found: dict[str, list[CloudSettings]] = {account.name: [] for account in accounts}
    displaced: dict[str, str] = {}
    for account in accounts:
        for project in filter(account.reads, by_account.get(account.name, ())):
            for source in account.sources(_renamed(project, taken)):
                if (source.kind, source.project_id) in read:
                    continue
                if source.name in taken:
                    displaced[source.name] = source.project_id
                    continue
                read.add((source.kind, source.project_id))
                taken.add(source.name)
                found[account.name].append(source)
    return FoundSources(by_account=found, displaced=displaced)


def stand_in(account: GaussDBAccountSettings) -> CloudSettings:
    """Return a source such as an account may become, to judge routes by before anything is found."""
    region = account.some_region
    project = FoundProject(
        account=account.name,
        project_id="0" * 32,
        region=region,
        name=region,
        source=f"{account.name}-{region}"[:MAX_SOURCE_NAME],
        found_at=datetime.min.replace(tzinfo=UTC),
    )
    return next(account.sources(project))


def _renamed(project: FoundProject, taken: set[str]) -> FoundProject:
    """Return a project whose source has a name that nobody else has."""
    if project.source not in taken:
        return project
    listing = ProjectListing(id=project.project_id, name=project.name)
    return replace(project, source=source_name(project.account, listing, taken))
