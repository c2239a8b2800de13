"""Find the projects of accounts, record them, and notice when others are to be read than before.

An account is claimed in one transaction, its list read while none is open, and what differs is recorded in another, so
any number of replicas asks as often as one would. Sources are made of what is recorded: a start without IAM reads what
was known. A list that cannot be read, or lacks projects now and then, retires nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from notifier.call_budget import BudgetTx, Postponed, spend
from notifier.core.credentials import Credential
from notifier.core.errors import PermissionDenied, SourceError
from notifier.core.projects import FoundProject, ProjectChanges, ProjectListing, compare_projects
from notifier.core.rights import SourcePart
from notifier.ports import RightsTx, Store

DISCOVERY_LEASE = timedelta(minutes=5)
"""Time for which nobody else asks an account that is being asked. Longer than reading its list takes."""
DISCOVERY_RETRY = timedelta(minutes=5)
"""Wait after a list could not be read."""
DISCOVERY_CALLS = 1
"""Calls that are charged before a list is read."""
NO_PROJECTS = "IAM lists no project of the account, so what is known stays. Check auth and iam_endpoint."


class ProjectReader(Protocol):
    """The list of the projects of one account."""

    name: str
    """Name of the account."""
    origin: str
    """A digest of whom it asks, and how. An account that is asked in another way is due at once."""
    discover_every: timedelta
    """Time from one complete read to the next."""
    action: str
    """The right that it needs."""

    @property
    def calls(self) -> int:
        """Calls made so far, retries included."""

    async def read(self) -> Sequence[ProjectListing]:
        """Return all projects of the account. Raises SourceError."""


class ProjectRecords(Protocol):
    """Accounts and their projects as they are recorded."""

    def claim_due(self, origins: Mapping[str, str], now: datetime, until: datetime) -> Collection[str]:
        """Return the names of the accounts to ask now, and let nobody else ask them until a time."""

    def known(self, account: str) -> Sequence[FoundProject]:
        """Return the recorded projects of an account, which nobody else changes until the transaction ends."""

    def names(self) -> Collection[str]:
        """Return the names of the sources of all projects."""

    def save(self, changed: Sequence[FoundProject]) -> None:
        """Record projects, new ones and changed ones."""

    def save_read(self, account: str, now: datetime, next_at: datetime, *, altered: bool) -> None:
        """Record a complete read. `altered` is whether other sources are to be read than before."""

    def save_failure(self, account: str, error: str, now: datetime, next_at: datetime) -> None:
        """Record that an account could not be asked."""

    def postpone(self, account: str, until: datetime) -> None:
        """Let an account be asked at a time."""


class DiscoveryTx(BudgetTx, RightsTx, Protocol):
    """What discovery needs of a transaction."""

    @property
    def projects(self) -> ProjectRecords:
        """Accounts and their projects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryReport:
    """What came of asking one account."""

    account: str
    changes: ProjectChanges = field(default_factory=ProjectChanges)
    error: SourceError | None = None
    """Why its list was not read; what is known stays. None where it was read, or has to wait for other calls."""


async def discover_projects(
    store: Store[DiscoveryTx, object],
    readers: Sequence[ProjectReader],
    credentials: Mapping[str, Credential],
    configured: Collection[str],
) -> Sequence[DiscoveryReport]:
    """Ask the accounts that are due, one after the other. Raises StoreError.

    Args:
        store: keeps what is found.
        readers: one for each account.
        credentials: which credential each account's calls are charged to, by the account's name.
        configured: names that no new source may have.
    """
    origins = {reader.name: reader.origin for reader in readers}
    due = await store.transact(partial(_claim, origins=origins))
    return [
        await _ask(store, reader, credentials.get(reader.name), configured) for reader in readers if reader.name in due
    ]


def _claim(tx: DiscoveryTx, *, origins: Mapping[str, str]) -> Collection[str]:
    now = tx.now()
    return tx.projects.claim_due(origins, now, now + DISCOVERY_LEASE)


async def _ask(
    store: Store[DiscoveryTx, object],
    reader: ProjectReader,
    credential: Credential | None,
    configured: Collection[str],
) -> DiscoveryReport:
    try:
        listed = await spend(store, credential, DISCOVERY_CALLS, reader.read, counter=lambda: reader.calls)
    except SourceError as error:
        return await _fail(store, reader, error)
    if isinstance(listed, Postponed):
        until = listed.until
        await store.transact(lambda tx: tx.projects.postpone(reader.name, until))
        return DiscoveryReport(account=reader.name)
    changes = await store.transact(partial(_record, reader=reader, listed=listed, configured=configured))
    if changes is None:
        return await _fail(store, reader, SourceError(NO_PROJECTS))
    return DiscoveryReport(account=reader.name, changes=changes)


def _record(
    tx: DiscoveryTx, *, reader: ProjectReader, listed: Sequence[ProjectListing], configured: Collection[str]
) -> ProjectChanges | None:
    """Record what a complete read changes; None where it lists nothing although something is known."""
    now, known = tx.now(), tx.projects.known(reader.name)
    if not listed and any(one.gone_at is None for one in known):
        return None
    taken = {*configured, *tx.projects.names()}
    changes = compare_projects(reader.name, known, listed, taken=taken, now=now)
    tx.projects.save(changes.saved)
    tx.rights.have(reader.name, SourcePart.PROJECTS)
    tx.projects.save_read(reader.name, now, now + reader.discover_every, altered=changes.alters_sources)
    return changes


async def _fail(store: Store[DiscoveryTx, object], reader: ProjectReader, error: SourceError) -> DiscoveryReport:
    wait = max(min(reader.discover_every, DISCOVERY_RETRY), error.retry_after or timedelta())

    def record(tx: DiscoveryTx) -> None:
        now = tx.now()
        next_at = now + wait
        if isinstance(error, PermissionDenied):
            next_at = tx.rights.lack(reader.name, SourcePart.PROJECTS, reader.action, now).retry_at
        tx.projects.save_failure(reader.name, str(error), now, next_at)

    await store.transact(record)
    return DiscoveryReport(account=reader.name, error=error)
