"""The accounts whose projects are found, and the configuration with the sources that they become."""

from collections.abc import Sequence

from notifier.config.config import Config
from notifier.core.errors import StoreMissing
from notifier.sources.iam import AccountReader
from notifier.wiring.sources import Runtimes
from notifier.wiring.stores import open_existing_store


def build_project_readers(config: Config, runtimes: Runtimes) -> Sequence[AccountReader]:
    """Return what lists the projects of each account."""
    return [AccountReader(settings, runtimes.of(settings)) for settings in config.accounts]


async def with_recorded_projects(config: Config) -> Config:
    """Return a configuration with the sources that its accounts have become. Raises StoreError.

    Without a database nothing has been found yet.
    """
    if not config.accounts:
        return config
    try:
        async with open_existing_store(config) as store:
            found = await store.read(lambda q: q.found_projects())
    except StoreMissing:
        return config.with_found((), {})
    return config.with_found(found.projects, found.revisions)
