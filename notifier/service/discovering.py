"""The accounts of a service: their projects are found, and other sources are opened where they have changed."""

from collections.abc import Sequence
from functools import partial

import structlog

from notifier.core.errors import StoreError
from notifier.core.projects import FoundProject
from notifier.core.rights import SourcePart
from notifier.discovery import DiscoveryReport, discover_projects
from notifier.service.reporting import ErrorThrottle, some_names
from notifier.wiring.app import App
from notifier.wiring.stores import Transaction

log = structlog.get_logger("notifier")

DISCOVERY_INTERVAL = 30
"""Time between two searches for accounts that are due, and for changes that other processes recorded, in seconds."""


def _keep(tx: Transaction, accounts: Sequence[str]) -> None:
    tx.rights.keep(SourcePart.PROJECTS, accounts)


class Discovering:
    """Finds the projects of accounts, and notices when their sources are others than those of this process."""

    def __init__(self, app: App, *, asks: bool) -> None:
        """`asks` is whether this process asks the cloud; another one only notices what is recorded."""
        self._app = app
        self._readers = app.project_readers if asks else ()
        self._configured = frozenset(one.name for one in app.config.as_written.sources)
        self._failing: set[str] = set()
        self._errors = ErrorThrottle("discovery.failed", "discovery.recovered")

    @property
    def needed(self) -> bool:
        """Whether any account is configured."""
        return bool(self._app.config.accounts)

    async def start(self) -> None:
        """Delete what is recorded of rights of accounts that are no longer configured. Raises StoreError."""
        await self._app.store.transact(partial(_keep, accounts=[one.name for one in self._app.config.accounts]))

    async def run(self) -> Sequence[DiscoveryReport]:
        """Ask the accounts that are due, and return what came of it.

        Where other sources are recorded than this process has, the app learns it.
        """
        app = self._app
        try:
            reports = await discover_projects(app.store, self._readers, app.credentials, self._configured)
            recorded = await app.store.read(lambda q: q.accounts())
        except StoreError as error:
            self._errors.failed(error, app.clock.monotonic())
            return ()
        self._errors.recovered()
        for report in reports:
            self._log(report)
        if any(
            name in recorded and recorded[name].revision != app.config.revisions.get(name, 0)
            for name in (account.name for account in app.config.accounts)
        ):
            log.info("sources.changed", msg="the projects of an account have changed: the service opens its sources")
            app.sources_changed.set()
        return reports

    def _log(self, report: DiscoveryReport) -> None:
        account, changes = report.account, report.changes
        if report.error:
            self._failing.add(account)
            log.warning("account.failed", account=account, error=str(report.error), msg="what is known is read on")
            return
        if account in self._failing:
            self._failing.discard(account)
            log.info("account.recovered", account=account)
        if changes.found:
            log.info("project.found", account=account, sources=_sources_of(changes.found))
        if changes.missing:
            what = "IAM does not list them; they are read on until they were missing for long enough"
            log.warning("project.missing", msg=what, account=account, sources=_sources_of(changes.missing))
        if changes.gone:
            log.warning("project.gone", account=account, sources=_sources_of(changes.gone))
        if changes.left_out:
            log.warning("project.too_many", account=account, left_out=changes.left_out)


def _sources_of(projects: Sequence[FoundProject]) -> Sequence[str]:
    return some_names([one.source for one in projects])
