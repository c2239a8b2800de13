"""The polls of a service."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial

import structlog

from notifier.core.errors import StoreError
from notifier.poll import PollReport, poll_once
from notifier.ports import TaskSource, Transact
from notifier.service.monitoring import Heartbeat
from notifier.service.reporting import ErrorThrottle, PollLog
from notifier.service.scheduler import DueSources, Jobs
from notifier.service.stats import RunStats
from notifier.telemetry.outcomes import describe_poll
from notifier.wiring.app import App
from notifier.wiring.stores import Transaction

log = structlog.get_logger("notifier")


class Polling:
    """Polls the sources that are due."""

    def __init__(
        self,
        app: App,
        *,
        owner: str,
        stats: RunStats,
        jobs: Jobs,
        heartbeat: Heartbeat,
        planning: Transact[Transaction],
        wake: Callable[[], None],
    ) -> None:
        """Run the last transaction of a poll in `planning`, which gets its deliveries on their way.

        `wake` does that for deliveries of other transactions.
        """
        self._app = app
        self._owner = owner
        self._stats = stats
        self._jobs = jobs
        self._heartbeat = heartbeat
        self._planning = planning
        self._wake = wake
        self._rules = app.poll_rules
        self._routing = app.routing
        self._due = DueSources({name: rules.poll_every for name, rules in self._rules.items()})
        intervals = (rules.due_check_interval for rules in self._rules.values())
        self.interval = min(intervals, default=timedelta(seconds=1)).total_seconds()
        """Time between two queries for due sources, in seconds."""
        self._log = PollLog()
        self._query = ErrorThrottle("poll.paused", "poll.recovered")

    def spread(self) -> None:
        """Spread the first polls of this process."""
        self._due.spread(self._app.clock.monotonic())

    async def poll_due(self) -> None:
        """Start to poll the sources that are due: one query, however many sources there are.

        The database decides whether a source is due, so that any number of replicas polls as often as one would.
        """
        due: Sequence[str] = ()
        try:
            due = await self._app.store.read(lambda q: q.due_sources())
            self._query.recovered()
        except StoreError as error:
            self._query.failed(error, self._app.clock.monotonic())
        # All at once: polls that begin and end together share transactions, which halves what they cost.
        for name in self._due.next(due, self._app.clock.monotonic()):
            self._jobs.start(f"poll {name}", partial(self.poll, self._app.sources[name]))

    async def poll(self, source: TaskSource, *, force: bool = False, send_heartbeat: bool = True) -> PollReport | None:
        """Poll a source once, log and count it. Return None when the database failed.

        `send_heartbeat` lets a good poll send one.
        """
        began = self._app.clock.monotonic()
        try:
            with self._app.telemetry.tracer.span("poll", source=source.name) as span:
                report = await poll_once(
                    source,
                    self._app.store,
                    owner=self._owner,
                    rules=self._rules[source.name],
                    routing=self._routing,
                    force=force,
                    recording=self._planning,
                    usual=self._app.usual,
                )
                describe_poll(span, report)
        except StoreError as error:
            log.error("poll.not_recorded", source=source.name, error=str(error))  # noqa: TRY400 - the sentence is enough
            self._stats.poll_not_recorded(source.name, error)
            return None
        self._stats.polled(report, self._app.clock.monotonic() - began)
        self._log.polled(report)
        if report.deliveries and report.batches > 1:
            self._wake()
        if report.succeeded and send_heartbeat and self._heartbeat.due:
            self._jobs.start("heartbeat", self._heartbeat.beat)
        return report
