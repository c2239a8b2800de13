"""The limits that all calls with one credential share in this process: a budget, pauses, and a trial of unproven keys.

The cloud counts calls by user and locks an access key after a few refusals in a row, however many projects it reads.
The limits that several processes share are in the database: see `notifier.core.credentials`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from notifier.core.credentials import BURST, pause_message
from notifier.core.errors import CredentialsRejected, PermissionDenied, SourceError
from notifier.ports import Clock
from notifier.sources.failures import with_wait

MAX_INLINE_WAIT = timedelta(seconds=30)
"""Longest wait inside a poll. After a longer one the poll fails, and its error states when to retry."""
TRIAL_TIMEOUT = 5.0
"""Time that calls wait for the first one with an unproven credential, in seconds of real time: a silent endpoint of one
region must not delay the others for longer."""

_REFUSAL_WAITS = (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5))


class TokenBucket:
    """Permits `per_minute` calls in the long run, and a burst after a pause."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._rate = per_minute / 60
        self._clock = clock
        self._pause_left = float(BURST)
        self._updated_at = clock.monotonic()

    async def take(self) -> None:
        """Wait until this call fits into the budget."""
        now = self._clock.monotonic()
        self._pause_left = min(self._pause_left + (now - self._updated_at) * self._rate, BURST) - 1
        self._updated_at = now
        if self._pause_left < 0:
            await self._clock.sleep(-self._pause_left / self._rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pause:
    """Why no call may be made, which source met the error, and until when on the monotonic clock."""

    error: SourceError
    where: str
    until: float


class CredentialLimiter:
    """Limits the calls of one credential.

    Args:
        calls_per_minute: budget of all its calls together, in the long run.
        clock: gives the time and waits.
    """

    def __init__(self, calls_per_minute: float, clock: Clock) -> None:
        self._clock = clock
        self._bucket = TokenBucket(calls_per_minute, clock)
        self._pause: _Pause | None = None
        self._refusals = 0
        self._proven = False
        self._trial: asyncio.Event | None = None
        """Set when the first call with an unproven credential has finished."""

    @asynccontextmanager
    async def slot(self, where: str) -> AsyncIterator[None]:
        """Wait until a call may be made, and make it inside the context. Raises the error of a pause that is too long.

        Until the service has accepted the credential, one call is made at a time: ten at once with a wrong key would
        lock it.
        """
        await self._bucket.take()
        trial = await self._begin_trial()
        try:
            await self._wait_for_pause(where)  # last: a pause that began while this call waited counts too
            yield
        finally:
            if trial:
                trial.set()

    def record_accepted(self) -> None:
        """Record that the service accepted the credential."""
        self._refusals = 0
        self._proven = True

    def record_error(self, error: SourceError, where: str) -> SourceError:
        """Record the pause that an error demands of later calls, and return the error with the resulting wait."""
        wait = error.retry_after or timedelta()
        if isinstance(error, PermissionDenied):
            self._proven = True  # the service recognised the credential
        if isinstance(error, CredentialsRejected):
            wait = max(wait, self._refusal_wait())
        if wait <= timedelta():
            return error
        if wait > self._pause_left():
            self._pause = _Pause(error=error, where=where, until=self._clock.monotonic() + wait.total_seconds())
        return with_wait(error, wait)

    def _refusal_wait(self) -> timedelta:
        self._proven = False
        left = self._pause_left()
        if self._pause and isinstance(self._pause.error, CredentialsRejected) and left > timedelta():
            return left  # this call was in flight when another was refused
        wait = _REFUSAL_WAITS[min(self._refusals, len(_REFUSAL_WAITS) - 1)]
        self._refusals += 1
        return wait

    async def _begin_trial(self) -> asyncio.Event | None:
        deadline = asyncio.get_running_loop().time() + TRIAL_TIMEOUT
        while not self._proven and self._trial and not self._trial.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._trial.wait()
            except TimeoutError:
                return None
        if self._proven:
            return None
        self._trial = asyncio.Event()
        return self._trial

    def _pause_left(self) -> timedelta:
        return timedelta(seconds=self._pause.until - self._clock.monotonic()) if self._pause else timedelta()

    async def _wait_for_pause(self, where: str) -> None:
        """Wait for the end of a pause, or raise its error if that takes long or could lock the account."""
        left = self._pause_left()
        if not self._pause or left <= timedelta():
            return
        if left > MAX_INLINE_WAIT or not self._pause.error.retryable:
            error = self._pause.error
            raise with_wait(error, left, None if self._pause.where == where else pause_message(where, str(error)))
        await self._clock.sleep(left.total_seconds())
