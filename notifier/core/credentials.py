"""What may be done with a credential now: its budget of calls, and its pause after a refusal.

The cloud counts calls by user and locks an access key after a few refusals in a row, whatever the number of projects
it reads. So both belong to the credential, and the database keeps them for all replicas. Values and decisions only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from notifier.core import pacing, retry
from notifier.core.errors import CredentialsRejected, SourceError, SourceThrottled

BURST = 40
"""Calls at once after a pause. With the 20 that follow within the minute they make 60: what a sister service documents
for one user."""
BACKGROUND_RESERVE = BURST // 2
"""Calls of the burst that background calls leave to polls."""
EARLY_RESERVE = BURST * 3 // 4
"""Calls of the burst that early polls leave to promised ones and to background calls, which would otherwise starve."""
EARLY_BURST = BURST // 4
"""Early polls at once after a pause."""
TRIAL_DURATION = timedelta(minutes=1)
"""Time for which one poll alone may try a credential that was refused."""
TRIALS_BY_POLLS = timedelta(minutes=15)
"""Time after a pause in which polls alone may try a refused credential: one of them is due by then, if there is any."""
REFUSAL_PAUSES = (timedelta(minutes=1), timedelta(minutes=5))
"""The pause after the first refusal, and the longest: an access key stays locked for five minutes."""
THROTTLE_PAUSE = timedelta(seconds=30)
"""The pause after a throttled call whose reply does not say how long to wait: time for ten calls of a usual budget."""
MAX_CREDENTIAL_WAIT = timedelta(hours=2)
"""A wait longer than this is left over from a clock that has since been set back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An access key, an IAM user or a machine's agency, with which any number of sources are polled."""

    key: str
    """A digest of who it is: the database knows it by this alone."""
    calls_per_minute: float
    """What all its sources together may use in the long run."""
    promised_per_minute: float = 0
    """Calls that the promised polls of all its sources take at least."""
    version: Callable[[], str] = field(default=str, compare=False)
    """Returns a digest that changes with the secret: a pause after a refusal does not outlive a corrected secret."""

    @property
    def pace(self) -> pacing.Pace:
        """The budget."""
        return pacing.Pace(per_second=self.calls_per_minute / 60, burst=BURST)

    @property
    def spare_per_minute(self) -> float:
        """Calls that promised polls leave to early ones; not more than nothing where they need the whole budget."""
        return self.calls_per_minute - self.promised_per_minute


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialState:
    """What is recorded about a credential. The times are those of the database's clock."""

    rate_at: datetime | None = None
    """When the next call would be on time if there were no bursts."""
    paused_until: datetime | None = None
    refusal: str | None = None
    """Why the service refused it, from the first refusal until a call is accepted; None during any other pause."""
    refused_version: str | None = None
    """The version that was refused."""
    refusals: int = 0
    """Refusals in a row."""
    early_at: datetime | None = None
    """When the next early poll would be on time if there were no bursts."""


class Urgency(StrEnum):
    """How long calls can wait."""

    FORCED = "forced"
    """A person waits: whatever the budget says, but not with a credential that was just refused."""
    DUE = "due"
    """They were promised for now: as soon as there is room for one call. They may try a refused credential again."""
    WHOLE = "whole"
    """They were promised for now, but are many: as soon as there is room for all of them."""
    BACKGROUND = "background"
    """Nobody waits: only while half of the burst is left. A refused credential is left to polls, if there are any."""
    EARLY = "early"
    """A poll before the time that was promised: likewise, and only while three quarters of the burst are left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Whether calls may be made now."""

    state: CredentialState
    """The state to record."""
    retry_at: datetime | None = None
    """When to ask again; None for calls that may be made."""
    refusal: str | None = None
    """Why the credential is paused, where the service refused it."""
    trial: bool = False
    """True for the one poll that tries a refused credential again."""


def admit(state: CredentialState, credential: Credential, now: datetime, calls: int, *, urgency: Urgency) -> Admission:
    """Decide whether `calls` calls may be made, and charge them to the budget.

    A budget with room for one call admits a poll with many: the others then wait for longer. Background calls leave
    half of the burst to polls, or wait until it is full; what was refused is tried again by polls alone.
    """
    state = _drop_impossible_waits(state, now)
    force, reserve = urgency is Urgency.FORCED, _RESERVES.get(urgency)
    refused = state.refusal is not None and state.refused_version == credential.version()
    paused = state.paused_until is not None and state.paused_until > now
    if paused and (refused or (state.refusal is None and not force)):
        return Admission(state=state, retry_at=state.paused_until, refusal=state.refusal)
    if refused and reserve and state.paused_until and now < state.paused_until + TRIALS_BY_POLLS:
        return Admission(state=state, retry_at=state.paused_until + TRIALS_BY_POLLS, refusal=state.refusal)
    room_at = _room_at(state, credential, now, 1 if reserve is None else min(reserve + calls, BURST))
    if room_at > now and not force:
        return Admission(state=state, retry_at=room_at)
    charged = charge(state, credential, now, calls)
    if not refused:
        return Admission(state=charged)
    return Admission(state=replace(charged, paused_until=now + TRIAL_DURATION), trial=True)


_RESERVES = {Urgency.WHOLE: 0, Urgency.BACKGROUND: BACKGROUND_RESERVE, Urgency.EARLY: EARLY_RESERVE}


def reserve_early(
    state: CredentialState, credential: Credential, now: datetime, *, wanted: datetime, latest: datetime, calls: int
) -> tuple[datetime, CredentialState]:
    """Return when a source may be polled before the time that was promised, and the state to record.

    Early polls share what promised ones leave of the budget: each waits for those that were planned before it, so that
    sources that want the same get the same. Where there is no room before `latest`, that is the answer, and nothing is
    taken.
    """
    if credential.spare_per_minute <= 0:
        return latest, state
    apart = timedelta(minutes=1 / credential.spare_per_minute)
    line = max(_drop_impossible_waits(state, now).early_at or now, now)
    slot = max(wanted, line - EARLY_BURST * apart)
    if slot >= latest:
        return latest, state
    return slot, replace(state, early_at=line + calls * apart)


def _room_at(state: CredentialState, credential: Credential, now: datetime, calls: int) -> datetime:
    """Return when so many calls of the burst are left."""
    return (state.rate_at or now) - credential.pace.interval * (BURST - calls)


def charge(state: CredentialState, credential: Credential, now: datetime, calls: int) -> CredentialState:
    """Return the state after calls were charged, or given back where the number is negative."""
    if not calls:
        return state
    health = pacing.ChannelHealth(rate_at=state.rate_at)
    return replace(state, rate_at=pacing.charge(health, credential.pace, now, calls).rate_at)


def after_success(state: CredentialState, credential: Credential, now: datetime, calls: int) -> CredentialState:
    """Return the state after a success that took `calls` more calls, or fewer, than were charged."""
    rate_at = charge(state, credential, now, calls).rate_at
    paused_until = None if state.refusal else state.paused_until
    return CredentialState(rate_at=rate_at, paused_until=paused_until, early_at=state.early_at)


def after_failure(
    state: CredentialState, credential: Credential, now: datetime, error: SourceError, *, trial: bool
) -> CredentialState:
    """Return the state after calls that failed: refusals pause it ever longer, others for what the service asked.

    A refusal counts once: of calls that were refused together, the first pauses the credential for all.
    """
    if not isinstance(error, CredentialsRejected):
        least = THROTTLE_PAUSE if isinstance(error, SourceThrottled) else timedelta()
        until = now + (error.retry_after or least)
        return replace(state, paused_until=max(state.paused_until or until, until)) if until > now else state
    version = credential.version()
    known = state.refusal is not None and state.refused_version == version
    if known and not trial and state.paused_until and state.paused_until > now:
        return state
    wait = retry.backoff(state.refusals + 1, *REFUSAL_PAUSES)
    return replace(
        state,
        paused_until=now + max(wait, error.retry_after or wait),
        refusal=str(error),
        refused_version=version,
        refusals=state.refusals + 1,
    )


def calls_left(state: CredentialState, credential: Credential, now: datetime) -> int:
    """Return the number of calls that may be made at once now: none while the credential is paused."""
    state = _drop_impossible_waits(state, now)
    if state.paused_until and state.paused_until > now:
        return 0
    return pacing.allowance(pacing.ChannelHealth(rate_at=state.rate_at), credential.pace, now, BURST).count


def pause_message(where: str, why: str) -> str:
    """Return the error of a source that is not polled because another source's poll with its credential was refused."""
    return f"{where}: {_PAUSED}{why.rpartition(_PAUSED)[2]}"


_PAUSED = "not polled, for its credential is paused: "


def _drop_impossible_waits(state: CredentialState, now: datetime) -> CredentialState:
    far = now + MAX_CREDENTIAL_WAIT
    return replace(
        state,
        rate_at=None if state.rate_at and state.rate_at > far else state.rate_at,
        early_at=None if state.early_at and state.early_at > far else state.early_at,
        paused_until=None if state.paused_until and state.paused_until > far else state.paused_until,
    )
