"""Make calls within the budget of a credential, whatever they are for.

The cloud counts the calls of a user and locks an access key after a few refusals, however many lists are read with it.
So polls and all other calls (who began a task, maintenance, discovery) are charged here, to one budget, and observe one
pause. The database keeps both for all replicas; `notifier.core.credentials` decides.

Polls call `begin`, `accept` and `fail` inside their own transactions. Everything else calls `spend`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

from notifier.core import credentials
from notifier.core.credentials import Credential, CredentialState, Urgency
from notifier.core.errors import SourceError
from notifier.ports import DatabaseTime, Store

T = TypeVar("T")


class CredentialRecords(Protocol):
    """The budgets and pauses of credentials."""

    def state(self, key: str) -> CredentialState:
        """Return what is recorded about a credential; locks its row until the transaction ends."""

    def save(self, key: str, state: CredentialState) -> None:
        """Record the state of a credential."""


class ChargeTx(Protocol):
    """What it takes to charge calls inside a transaction."""

    @property
    def credentials(self) -> CredentialRecords:
        """The budgets and pauses of credentials."""


class BudgetTx(ChargeTx, DatabaseTime, Protocol):
    """What `spend` needs of a transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Calls that may be made: they are charged already."""

    credential: Credential | None
    """None where nothing limits the calls."""
    calls: int
    """Number of calls that were charged."""
    trial: bool = False
    """Whether they try a credential that was refused before, on behalf of all that use it."""
    paused: bool = False
    """Whether a refusal or a pause was recorded when they were charged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed:
    """Calls that may not be made now. Nothing was charged."""

    until: datetime
    """When to ask again, by the database's clock."""
    refusal: str | None = None
    """Why the credential is paused, where the service refused it."""


def begin(
    tx: ChargeTx, credential: Credential | None, now: datetime, calls: int, *, urgency: Urgency
) -> Charge | Postponed:
    """Charge calls that are about to be made, or return until when they have to wait."""
    if credential is None:
        return Charge(credential=None, calls=calls)
    known = tx.credentials.state(credential.key)
    admission = credentials.admit(known, credential, now, calls, urgency=urgency)
    if admission.retry_at is not None:
        return Postponed(until=admission.retry_at, refusal=admission.refusal)
    tx.credentials.save(credential.key, admission.state)
    paused = known.refusal is not None or known.paused_until is not None
    return Charge(credential=credential, calls=calls, trial=admission.trial, paused=paused)


def accept(tx: ChargeTx, charge: Charge, now: datetime, made: int) -> None:
    """Record that the service accepted the credential, and correct the charge to the number of calls made."""
    if charge.credential is None:
        return
    known = tx.credentials.state(charge.credential.key)
    state = credentials.after_success(known, charge.credential, now, made - charge.calls)
    if state != known:
        tx.credentials.save(charge.credential.key, state)


def fail(tx: ChargeTx, charge: Charge, now: datetime, error: SourceError, made: int | None = None) -> None:
    """Record what an error means for all calls with the credential: a refusal or a throttle pauses them.

    `made` is the number of calls made until then; None where it is not known.
    """
    if charge.credential is None:
        return
    known = tx.credentials.state(charge.credential.key)
    state = known if made is None else credentials.charge(known, charge.credential, now, made - charge.calls)
    state = credentials.after_failure(state, charge.credential, now, error, trial=charge.trial)
    if state != known:
        tx.credentials.save(charge.credential.key, state)


def reserve(
    tx: ChargeTx, credential: Credential | None, now: datetime, *, wanted: datetime, latest: datetime, calls: int
) -> datetime:
    """Return when a poll may be made that comes before `latest`, the time that was promised: at `wanted`, or later.

    Sources with the same credential share what is left of its budget; see `credentials.reserve_early`.
    """
    if credential is None:
        return min(wanted, latest)
    known = tx.credentials.state(credential.key)
    slot, state = credentials.reserve_early(known, credential, now, wanted=wanted, latest=latest, calls=calls)
    if state != known:
        tx.credentials.save(credential.key, state)
    return slot


async def spend(
    store: Store[BudgetTx, object],
    credential: Credential | None,
    calls: int,
    work: Callable[[], Awaitable[T]],
    *,
    counter: Callable[[], int],
) -> T | Postponed:
    """Do work that calls the cloud, and return its result; or do nothing and return when to ask again.

    The calls wait while less than half of the burst is left, and during every pause, so that polls are not delayed by
    them. Raises StoreError, and what `work` raises; a SourceError is recorded first, so that a
    refusal or a throttle pauses all calls with the credential, on all lists and in all replicas.

    Args:
        store: keeps the budget.
        credential: pays for the calls; None where nothing limits them.
        calls: how many are expected. They are charged before the first one is made.
        work: makes them.
        counter: returns how many calls were made so far, such as `ApiClient.calls`: the charge is corrected to what
            it grows by.
    """
    started = await store.transact(
        lambda tx: begin(tx, credential, tx.now(), calls, urgency=Urgency.BACKGROUND),
        short=True,
    )
    if isinstance(started, Postponed):
        return started
    before = counter()
    try:
        result = await work()
    except SourceError as error:
        await store.transact(partial(_fail, charge=started, error=error, made=counter() - before), short=True)
        raise
    made = counter() - before
    if credential is not None and (started.paused or made != calls):
        await store.transact(partial(_accept, charge=started, made=made), short=True)
    return result


def _accept(tx: BudgetTx, *, charge: Charge, made: int) -> None:
    accept(tx, charge, tx.now(), made)


def _fail(tx: BudgetTx, *, charge: Charge, error: SourceError, made: int) -> None:
    fail(tx, charge, tx.now(), error, made)
