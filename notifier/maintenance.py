"""Read what the cloud plans to do to instances, and announce it.

A list is claimed in one transaction, read while none is open, and recorded in another with the events that follow from
it and their deliveries (`notifier.core.maintenance` decides). The number of the claim fences the recording: of several
replicas, one that was slow records nothing. So a kill before the commit changes nothing, and one after it loses
nothing. Reminders depend on what is recorded and on the time alone: each is announced with the row of its maintenance
locked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from notifier import call_budget
from notifier.call_budget import BudgetTx, Postponed
from notifier.core import retry
from notifier.core.credentials import Credential
from notifier.core.errors import PermissionDenied, SourceError
from notifier.core.maintenance import ListReading, MaintenanceDecision, decide_reminders, next_read
from notifier.core.maintenance_values import MaintenanceList, MaintenanceListState, MaintenanceRecord, MaintenanceRules
from notifier.core.model import SourceOrigin
from notifier.core.rights import SourcePart
from notifier.core.routing import RoutingConfig, route_events
from notifier.planning import Announced, PlanTx, announce, routing_at, with_receivers
from notifier.ports import RightsTx, Store

READ_LEASE = timedelta(minutes=2)
"""Time for which nobody else reads a list that is being read. Longer than reading one takes."""
RETRIES = (timedelta(minutes=1), timedelta(minutes=30))
"""The wait after a list could not be read, and the longest."""
READ_TOGETHER = 20
"""Maximum number of lists that one pass reads, one after the other: the next pass reads the others."""
EXPECTED_LIST_CALLS = 1
"""Calls that a read is charged before it begins. Few projects have more than one page."""
REMINDED_TOGETHER = 500
"""Maximum number of reminders that one transaction announces."""


class MaintenanceReader(Protocol):
    """The list of one source."""

    @property
    def name(self) -> str:
        """Name of the source."""

    @property
    def action(self) -> str:
        """The action that reading takes."""

    @property
    def calls(self) -> int:
        """Number of calls made so far."""

    async def read(self) -> MaintenanceList:
        """Read the list. Raises SourceError."""


class MaintenanceRecords(Protocol):
    """The recorded maintenance, and the claims of the lists."""

    def claim_due(self, names: Collection[str], now: datetime, until: datetime, limit: int) -> Mapping[str, int]:
        """Return the lists to read now with the numbers of their claims; nobody else reads them until a time."""

    def lock(self, name: str, epoch: int) -> MaintenanceListState | None:
        """Return what is recorded of a list, which nobody else changes until the end; None for an older claim."""

    def save_list(self, state: MaintenanceListState) -> None:
        """Record what is known of a list that was locked."""

    def of_source(self, name: str) -> Mapping[str, MaintenanceRecord]:
        """Return what is recorded of the maintenance of a source, by id."""

    def due(self, now: datetime, limit: int) -> Sequence[MaintenanceRecord]:
        """Return what is due for a reminder, but not what somebody else has locked.

        Nobody else changes it until the transaction ends.
        """

    def save(self, records: Sequence[MaintenanceRecord]) -> None:
        """Record maintenance: new one, and such as this transaction has locked."""

    def delete(self, source: str, ids: Collection[str]) -> None:
        """Delete maintenance of a source."""


class MaintenanceTx(PlanTx, BudgetTx, RightsTx, Protocol):
    """What maintenance needs of a transaction."""

    @property
    def maintenance(self) -> MaintenanceRecords:
        """The recorded maintenance, and the claims of the lists."""


class MaintenanceReads(Protocol):
    """What is read to find out whether a reminder is due."""

    def any_due_maintenance(self) -> bool:
        """Return whether a reminder of a maintenance is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceSource:
    """A source whose maintenance is read."""

    reader: MaintenanceReader
    origin: SourceOrigin
    credential: Credential | None = None
    """Pays for the calls; None where nothing limits them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceReport:
    """What came of reading one list."""

    source: str
    listed: int = 0
    complete: bool = False
    fenced: bool = False
    """True where another replica has claimed the list since; nothing was recorded."""
    error: SourceError | None = None
    announced: Announced = field(default_factory=Announced)


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """Reads what the cloud plans, and announces it."""

    sources: Mapping[str, MaintenanceSource]
    """By name."""
    rules: MaintenanceRules
    routing: RoutingConfig

    async def read_due(self, store: Store[MaintenanceTx, MaintenanceReads]) -> Sequence[MaintenanceReport]:
        """Read the lists that are due, one after the other. Raises StoreError."""
        due = await store.transact(self._claim)
        return [report for name, epoch in due.items() if (report := await self._read(store, name, epoch))]

    def _claim(self, tx: MaintenanceTx) -> Mapping[str, int]:
        now = tx.now()
        return tx.maintenance.claim_due(self.sources, now, now + READ_LEASE, READ_TOGETHER)

    async def _read(
        self, store: Store[MaintenanceTx, MaintenanceReads], name: str, epoch: int
    ) -> MaintenanceReport | None:
        """Read one list and record what follows; None where the budget of its credential has no room now."""
        one = self.sources[name]
        try:
            found = await call_budget.spend(
                store, one.credential, EXPECTED_LIST_CALLS, one.reader.read, counter=lambda: one.reader.calls
            )
        except SourceError as error:
            return await store.transact(partial(self._fail, one=one, epoch=epoch, error=error))
        if isinstance(found, Postponed):
            await store.transact(partial(_postpone, name=name, epoch=epoch, until=found.until))
            return None
        return await store.transact(partial(self._record, one=one, epoch=epoch, listed=found))

    def _record(
        self, tx: MaintenanceTx, one: MaintenanceSource, epoch: int, listed: MaintenanceList
    ) -> MaintenanceReport:
        now, name = tx.now(), one.origin.source
        state = tx.maintenance.lock(name, epoch)
        if state is None:
            return MaintenanceReport(source=name, fenced=True)
        tx.rights.have(name, SourcePart.MAINTENANCE)
        known = tx.maintenance.of_source(name)
        reading = ListReading(origin=one.origin, listed=listed, known=known, state=state, rules=self.rules, now=now)
        decision = reading.decide()
        announced = self._announce(tx, decision, now)
        if decision.deleted:
            tx.maintenance.delete(name, decision.deleted)
        after = {**known, **{record.planned.id: record for record in decision.saved}}
        again = next_read(after.values(), self.rules, now)
        tx.maintenance.save_list(replace(state, next_at=again, read_at=now, error=None, failing_since=None, failures=0))
        return MaintenanceReport(source=name, listed=len(listed.planned), complete=listed.complete, announced=announced)

    def _announce(self, tx: MaintenanceTx, decision: MaintenanceDecision, now: datetime) -> Announced:
        """Record what a decision says, and plan its deliveries. What settles something goes to who was told of that."""
        announced = Announced()
        if decision.events:
            routing = routing_at(tx, self.routing, now)
            routed = route_events(decision.events, routing.routes, routing.catalogue)
            announced = announce(tx, with_receivers(tx, routed, routing), self.routing, now)
        if decision.saved:
            tx.maintenance.save(decision.saved)
        return announced

    def _fail(self, tx: MaintenanceTx, one: MaintenanceSource, epoch: int, error: SourceError) -> MaintenanceReport:
        now, name = tx.now(), one.origin.source
        state = tx.maintenance.lock(name, epoch)
        if state is None:
            return MaintenanceReport(source=name, fenced=True)
        since = state.failing_since or now
        if isinstance(error, PermissionDenied):
            again = tx.rights.lack(name, SourcePart.MAINTENANCE, one.reader.action, now).retry_at
        else:
            wait = retry.backoff(state.failures + 1, *RETRIES)
            again = now + max(wait, error.retry_after or wait)
        tx.maintenance.save_list(
            replace(state, next_at=again, error=str(error), failing_since=since, failures=state.failures + 1)
        )
        return MaintenanceReport(source=name, error=error)

    async def remind_due(self, store: Store[MaintenanceTx, MaintenanceReads]) -> Announced:
        """Send the reminders that are due. Raises StoreError."""
        if not await store.read(lambda q: q.any_due_maintenance()):
            return Announced()
        return await store.transact(self._remind)

    def _remind(self, tx: MaintenanceTx) -> Announced:
        now = tx.now()
        origins = {name: one.origin for name, one in self.sources.items()}
        found = tx.maintenance.due(now, REMINDED_TOGETHER)
        return self._announce(tx, decide_reminders(found, origins, self.rules, now), now)


def _postpone(tx: MaintenanceTx, name: str, epoch: int, until: datetime) -> None:
    state = tx.maintenance.lock(name, epoch)
    if state is not None:
        tx.maintenance.save_list(replace(state, next_at=until))
