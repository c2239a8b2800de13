"""One call of the GaussDB API: paced, authorised, within a deadline, tried again where that can help.

Every request of a source goes through here, those of its authentication too. What the service asks for (wait, stop
trying these credentials) holds for the whole source, also for pages that are already on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from random import Random
from typing import TypeVar

import httpx

from notifier.core.errors import (
    CredentialsRejected,
    MalformedReply,
    RequestRejected,
    SourceError,
    SourceThrottled,
    SourceUnreachable,
)
from notifier.http import AddressRefused, HttpClient, HttpError, Reply, ReplyTooLarge
from notifier.ports import Clock
from notifier.sources.failures import classify, clock_skew, repeated
from notifier.sources.huawei_auth import UNGUARDED

DEADLINE = 30.0
"""Seconds that one exchange may take, from looking up the name to the last byte."""
MOST_BYTES = 20_000_000
TRIES = 4
"""Attempts at one call."""
LONGEST_WAIT = timedelta(seconds=30)
"""A longer wait is not sat out inside a poll: the error says when to come back."""

T = TypeVar("T")

_AS_IT_IS = httpx.Auth()
"""A flow is driven here, each of its requests an exchange of its own: httpx sends what it is given."""
_BURST = 40
"""With the 20 calls that follow within the minute it makes 60: what a sister service documents for one user."""
_RETRY_BASE = 1.0
_THROTTLED_BASE = 8.0
_CREDENTIALS_WAITS = (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5))


class TokenBucket:
    """Lets `per_minute` calls through in the long run, and a burst after a rest."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._rate = per_minute / 60
        self._clock = clock
        self._left = float(_BURST)
        self._at = clock.monotonic()

    async def take(self) -> None:
        """Wait for this call's turn."""
        now = self._clock.monotonic()
        self._left = min(self._left + (now - self._at) * self._rate, _BURST) - 1
        self._at = now
        if self._left < 0:
            await self._clock.sleep(-self._left / self._rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hold:
    """Why no call may be made, and until when on the monotonic clock."""

    error: SourceError
    until: float


class Api:
    """Makes the calls of one source.

    Args:
        where: what messages begin with: `source prod`.
        http: shared with everything else.
        auth: a flow that yields what it needs; each of its requests is an exchange of its own.
        clock: tells the time and waits.
        rng: places retries within their jitter.
        calls_per_minute: what the source may use in the long run.
    """

    def __init__(
        self, *, where: str, http: HttpClient, auth: httpx.Auth, clock: Clock, rng: Random, calls_per_minute: float
    ) -> None:
        self.calls = 0
        """Calls made so far, retries included."""
        self.skew: timedelta | None = None
        """How far this machine's clock was ahead of the service's at the last reply."""
        self._where = where
        self._http = http
        self._auth = auth
        self._clock = clock
        self._rng = rng
        self._bucket = TokenBucket(calls_per_minute, clock)
        self._hold: _Hold | None = None
        self._rejections = 0

    async def get(self, url: str, headers: Mapping[str, str], decode: Callable[[bytes], T]) -> T:
        """Return what a successful reply says. Raises SourceError, after retries where they could help.

        `decode` raises ValueError for a body that is not what was asked for.
        """
        for attempt in range(1, TRIES):
            try:
                return await self._attempt(url, headers, decode)
            except SourceError as error:
                if not error.retryable or (error.retry_after or timedelta()) > LONGEST_WAIT:
                    raise
                await self._clock.sleep(self._backoff(error, attempt))
        return await self._attempt(url, headers, decode)

    async def _attempt(self, url: str, headers: Mapping[str, str], decode: Callable[[bytes], T]) -> T:
        await self._bucket.take()
        await self._wait_for_hold()  # after the bucket: what was asked for while this call waited its turn counts too
        self.calls += 1
        try:
            reply = await self._authorised(httpx.Request("GET", url, headers=headers))
            decoded = decode(self._body(reply))
        except SourceError as error:
            raise self._held(error) from error.__cause__
        except ValueError as error:
            raise MalformedReply(f"{self._where}: {error}. Check endpoint if this lasts.") from None
        self._rejections = 0
        return decoded

    def _body(self, reply: Reply) -> bytes:
        now = self._clock.now()
        self.skew = clock_skew(reply.headers, now)
        if reply.status == HTTPStatus.OK:
            return reply.body
        raise classify(reply.status, reply.headers, reply.body, where=self._where, now=now)

    async def _authorised(self, request: httpx.Request) -> Reply:
        """Drive the authentication flow; its last reply is the answer."""
        async with aclosing(self._auth.async_auth_flow(request)) as flow:
            wanted = await anext(flow)
            while True:
                reply = await self._exchange(wanted)
                try:
                    wanted = await flow.asend(_response(reply, wanted))
                except StopAsyncIteration:
                    return reply

    async def _exchange(self, request: httpx.Request) -> Reply:
        try:
            return await self._http.exchange(
                request.method,
                request.url,
                headers=request.headers,
                content=request.content,
                auth=_AS_IT_IS,
                deadline=DEADLINE,
                max_bytes=MOST_BYTES,
                guard=not request.extensions.get(UNGUARDED, False),
            )
        except HttpError as error:
            raise _translated(error, self._where) from error

    # ---- waiting ----

    async def _wait_for_hold(self) -> None:
        """Wait while a hold lasts, or raise its error where that would take long or could lock the account."""
        left = timedelta(seconds=self._hold.until - self._clock.monotonic()) if self._hold else timedelta()
        if not self._hold or left <= timedelta():
            return
        if left > LONGEST_WAIT or not self._hold.error.retryable:
            raise repeated(self._hold.error, left)
        await self._clock.sleep(left.total_seconds())

    def _held(self, error: SourceError) -> SourceError:
        """Note what an error asks of the calls to come, and return it with the wait that this means."""
        wait = error.retry_after or timedelta()
        if isinstance(error, CredentialsRejected):
            usual = _CREDENTIALS_WAITS[min(self._rejections, len(_CREDENTIALS_WAITS) - 1)]
            self._rejections += 1
            wait = max(wait, usual)
        if wait <= timedelta():
            return error
        self._hold = _Hold(error=error, until=self._clock.monotonic() + wait.total_seconds())
        return repeated(error, wait)

    def _backoff(self, error: SourceError, attempt: int) -> float:
        """Return the seconds before the next attempt: full jitter, none where the service itself named a wait."""
        if error.retry_after:
            return 0.0
        base = _THROTTLED_BASE if isinstance(error, SourceThrottled) else _RETRY_BASE
        return self._rng.uniform(0, base * 2 ** (attempt - 1))


def _response(reply: Reply, request: httpx.Request) -> httpx.Response:
    """Return the reply as an authentication flow wants it, its bytes as they came: no header asks httpx to decode."""
    headers = [item for item in reply.headers.multi_items() if item[0] != "content-encoding"]
    return httpx.Response(reply.status, headers=headers, content=reply.body, request=request)


def _translated(error: HttpError, where: str) -> SourceError:
    if isinstance(error, AddressRefused):
        return RequestRejected(f"{where}: {error}. Check endpoint, and network.allow and network.deny.")
    if isinstance(error, ReplyTooLarge):
        return MalformedReply(f"{where}: {error}. Check endpoint: that is no page of a task list.", status=error.status)
    return SourceUnreachable(f"{where}: {error}. Check endpoint, the network and the proxy.")
