"""The sources that the projects of accounts become."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from notifier.core.projects import FoundProject, ListedProject, present, source_name
from notifier.sources.account_settings import GaussDBAccountSettings
from notifier.sources.base import SourceSettings


def found_sources(
    accounts: Sequence[GaussDBAccountSettings], configured: Sequence[SourceSettings], projects: Iterable[FoundProject]
) -> Mapping[str, Sequence[SourceSettings]]:
    """Return the sources of each account, by its name.

    A configured source of the same kind and project takes the place of one that would be found, and so does that of an
    account before it: nothing is read twice. A name that a configured source has by now is replaced.
    """
    taken = {source.name for source in configured}
    read = {(source.kind, source.project_id) for source in configured}
    by_account = present(projects)
    found: dict[str, list[SourceSettings]] = {account.name: [] for account in accounts}
    for account in accounts:
        for project in filter(account.reads, by_account.get(account.name, ())):
            for source in account.sources(_renamed(project, taken)):
                if (source.kind, source.project_id) not in read:
                    read.add((source.kind, source.project_id))
                    taken.add(source.name)
                    found[account.name].append(source)
    return found


def _renamed(project: FoundProject, taken: set[str]) -> FoundProject:
    """Return a project whose source has a name that nobody else has."""
    if project.source not in taken:
        return project
    listing = ListedProject(id=project.project_id, name=project.name)
    return replace(project, source=source_name(project.account, listing, taken))
