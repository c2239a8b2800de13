"""What all calls with one credential share inside this process: a budget, pauses, and caution with an unproven key.

The cloud counts calls by user and locks an access key after a few refusals in a row, whatever the number of projects
it reads. What several processes share is in the database: see `notifier.core.credentials`.
"""

from __future__ import annotations

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
"""A longer wait is not sat out inside a poll: the error says when to come back."""
TRIAL_TIMEOUT = 5.0
"""Seconds of real time that calls wait for the first one with an unproven credential: a silent endpoint of one region
must not hold up the others for longer."""

_REFUSAL_WAITS = (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5))


class TokenBucket:
    """Lets `per_minute` calls through in the long run, and a burst after a rest."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._rate = per_minute / 60
        self._clock = clock
        self._pause_left = float(BURST)
        self._updated_at = clock.monotonic()

    async def take(self) -> None:
        """Wait for this call's turn."""
        now = self._clock.monotonic()
        self._pause_left = min(self._pause_left + (now - self._updated_at) * self._rate, BURST) - 1
        self._updated_at = now
        if self._pause_left < 0:
            await self._clock.sleep(-self._pause_left / self._rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pause:
    """Why no call may be made, who was told so, and until when on the monotonic clock."""

    error: SourceError
    where: str
    until: float


class CredentialLimiter:
    """One credential.

    Args:
        calls_per_minute: what all its calls together may use in the long run.
        clock: tells the time and waits.
    """

    def __init__(self, calls_per_minute: float, clock: Clock) -> None:
        self._clock = clock
        self._bucket = TokenBucket(calls_per_minute, clock)
        self._pause: _Pause | None = None
        self._refusals = 0
        self._proven = False
        self._trial: asyncio.Event | None = None
        """Set when the first call with an unproven credential has ended."""

    @asynccontextmanager
    async def slot(self, where: str) -> AsyncIterator[None]:
        """Wait until a call may be made, and make it inside. Raises the error of a pause that takes too long.

        Until the service has accepted the credential, one call is made at a time: ten at once with a wrong key would
        lock it.
        """
        await self._bucket.take()
        trial = await self._begin_trial()
        try:
            await self._wait_for_pause(where)  # last of all: what was asked for while this call waited counts too
            yield
        finally:
            if trial:
                trial.set()

    def record_accepted(self) -> None:
        """Note that the service took a call with the credential."""
        self._refusals = 0
        self._proven = True

    def record_error(self, error: SourceError, where: str) -> SourceError:
        """Note what an error asks of the calls to come, and return it with the wait that this means."""
        wait = error.retry_after or timedelta()
        if isinstance(error, PermissionDenied):
            self._proven = True  # the service knows who asks
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
            return left  # this call was on its way when another was refused
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
        """Wait while a pause lasts, or raise its error where that would take long or could lock the account."""
        left = self._pause_left()
        if not self._pause or left <= timedelta():
            return
        if left > MAX_INLINE_WAIT or not self._pause.error.retryable:
            raise _pause_error(self._pause, where, left)
        await self._clock.sleep(left.total_seconds())


def _pause_error(pause: _Pause, where: str, left: timedelta) -> SourceError:
    error = pause.error
    text = str(error) if pause.where == where else pause_message(where, str(error))
    return type(error)(text, status=error.status, code=error.code, request_id=error.request_id, retry_after=left)
