"""The search of a service for who started tasks."""

from functools import partial

import structlog

from notifier.core.errors import StoreError
from notifier.core.rights import SourcePart
from notifier.origins import SourceSearch, search_origins
from notifier.service.reporting import ErrorThrottle
from notifier.wiring.app import App
from notifier.wiring.stores import Transaction

log = structlog.get_logger("notifier")

SEARCH_INTERVAL = 5
"""Time between two passes that make the searches that are due, in seconds."""


def _keep(tx: Transaction, sources: frozenset[str]) -> None:
    tx.origins.keep(sources)
    tx.rights.keep(SourcePart.STARTED_BY, sources)
    tx.rights.retry(SourcePart.STARTED_BY, tx.now())


class Searching:
    """Searches Cloud Trace for who started tasks, and logs what came of it."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._store_errors = ErrorThrottle("origins.paused", "origins.resumed")
        self._errors = {name: ErrorThrottle("origins.failed", "origins.recovered") for name in app.trace_logs}
        self._lacking: set[str] = set()

    @property
    def needed(self) -> bool:
        """Whether the start of any task is searched for."""
        return bool(self._app.trace_logs)

    async def start(self) -> None:
        """End the searches of sources that search no more, and retry where a right was missing. Raises StoreError."""
        await self._app.store.transact(partial(_keep, sources=frozenset(self._app.trace_logs)))

    async def run(self) -> None:
        """Make the searches that are due."""
        try:
            searches = await search_origins(self._app.store, self._app.trace_logs, self._app.credentials)
        except StoreError as error:
            self._store_errors.failed(error, self._app.clock.monotonic())
            return
        self._store_errors.recovered()
        for one in searches:
            self._log(one)

    def _log(self, search: SourceSearch) -> None:
        source = search.source
        if right := search.missing_right:
            new = source not in self._lacking
            self._lacking.add(source)
            (log.warning if new else log.debug)(
                "origins.right_missing", source=source, action=right.action, retry_at=right.retry_at.isoformat()
            )
        elif search.error:
            self._errors[source].failed(search.error, self._app.clock.monotonic(), source=source)
        elif search.postponed_until:
            log.debug("origins.postponed", source=source, until=search.postponed_until.isoformat())
        else:
            self._errors[source].recovered(source=source)
            if source in self._lacking:
                self._lacking.discard(source)
                log.info("origins.right_granted", source=source)
            found = len(search.found)
            log.debug("origins.searched", source=source, tasks=search.asked, found=found)
