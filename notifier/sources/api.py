"""Calls of the GaussDB API: paced, authenticated, with a deadline, and retried when that can help.

Every request of a source is made here, those of its authentication included. A pause that the service demands applies
to all sources of the credential, also to pages that are already being requested.
"""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from http import HTTPStatus
from random import Random
from typing import TypeVar

import httpx

from notifier.core.errors import (
    CredentialsUnreachable,
    MalformedReply,
    RequestRejected,
    SourceError,
    SourceThrottled,
    SourceUnreachable,
)
from notifier.http import AddressRefused, HttpClient, HttpError, Reply, ReplyTooLarge
from notifier.ports import Clock
from notifier.sources.failures import classify, clock_skew, is_error_body
from notifier.sources.huawei_auth import ISSUER, Issuer
from notifier.sources.limiter import MAX_INLINE_WAIT, CredentialLimiter

API_TIMEOUT = 30.0
"""Time limit of one exchange, from resolving the name to the last byte, in seconds."""
MAX_REPLY_BYTES = 20_000_000
MAX_ATTEMPTS = 4
"""Maximum number of attempts at one call."""

T = TypeVar("T")

_NO_AUTH = httpx.Auth()
"""Passed to httpx, because this module drives the flow: each of its requests is an exchange of its own."""
_RETRY_BASE = 1.0
_THROTTLED_BASE = 8.0


class ApiClient:
    """Makes the calls of one source.

    Args:
        where: beginning of messages: `source prod`.
        http: client shared with everything else.
        auth: authentication flow; each of its requests is an exchange of its own.
        clock: gives the time and waits.
        rng: chooses the jitter of retries.
        limiter: shared with all other sources of the same credential.
    """

    def __init__(
        self, *, where: str, http: HttpClient, auth: httpx.Auth, clock: Clock, rng: Random, limiter: CredentialLimiter
    ) -> None:
        self.calls = 0
        """Calls made so far, retries included."""
        self.skew: timedelta | None = None
        """How far this machine's clock was ahead of the service's. Set by each reply; None before the first."""
        self._where = where
        self._http = http
        self._auth = auth
        self._clock = clock
        self._rng = rng
        self._limiter = limiter

    async def get(self, url: str, headers: Mapping[str, str], decode: Callable[[bytes], T]) -> T:
        """Return the decoded body of a successful reply. Raises SourceError, after retries if they could help.

        `decode` raises ValueError for an unexpected body.
        """
        for attempt in range(1, MAX_ATTEMPTS):
            try:
                return await self._attempt(url, headers, decode)
            except SourceError as error:
                if not error.retryable or (error.retry_after or timedelta()) > MAX_INLINE_WAIT:
                    raise
                await self._clock.sleep(self._backoff(error, attempt))
        return await self._attempt(url, headers, decode)

    async def _attempt(self, url: str, headers: Mapping[str, str], decode: Callable[[bytes], T]) -> T:
        async with self._limiter.slot(self._where):
            self.calls += 1
            try:
                reply = await self._authorised(httpx.Request("GET", url, headers=headers))
                decoded = self._decoded(reply, decode)
            except SourceError as error:
                raise self._limiter.record_error(error, self._where) from error.__cause__
            self._limiter.record_accepted()
            return decoded

    def _decoded(self, reply: Reply, decode: Callable[[bytes], T]) -> T:
        now = self._clock.now()
        self.skew = clock_skew(reply.headers, now)
        if reply.status != HTTPStatus.OK:
            raise classify(reply.status, reply.headers, reply.body, where=self._where, now=now)
        try:
            return decode(reply.body)
        except ValueError as error:
            if is_error_body(reply.body):
                raise classify(reply.status, reply.headers, reply.body, where=self._where, now=now) from None
            raise MalformedReply(f"{self._where}: {error}. Check endpoint if this lasts.") from None

    async def _authorised(self, request: httpx.Request) -> Reply:
        """Drive the authentication flow and return its last reply."""
        async with aclosing(self._auth.async_auth_flow(request)) as flow:
            wanted = await anext(flow)
            while True:
                try:
                    reply = await self._exchange(wanted)
                except SourceError as error:
                    wanted = await flow.athrow(error)  # a flow that needs a reply raises it again
                    continue
                try:
                    wanted = await flow.asend(_httpx_response(reply, wanted))
                except StopAsyncIteration:
                    return reply

    async def _exchange(self, request: httpx.Request) -> Reply:
        issuer: Issuer | None = request.extensions.get(ISSUER)
        try:
            return await self._http.exchange(
                request.method,
                request.url,
                headers=request.headers,
                content=request.content,
                auth=_NO_AUTH,
                deadline=issuer.seconds if issuer else API_TIMEOUT,
                max_bytes=MAX_REPLY_BYTES,
                guard=issuer.guarded if issuer else True,
            )
        except HttpError as error:
            raise _issuer_error(error, issuer) if issuer else _api_error(error, self._where) from error

    def _backoff(self, error: SourceError, attempt: int) -> float:
        """Return the wait before the next attempt, in seconds: full jitter, or none if the service demands a wait."""
        if error.retry_after:
            return 0.0
        base = _THROTTLED_BASE if isinstance(error, SourceThrottled) else _RETRY_BASE
        return self._rng.uniform(0, base * 2 ** (attempt - 1))


def _httpx_response(reply: Reply, request: httpx.Request) -> httpx.Response:
    """Return the reply for an authentication flow, without the header that would make httpx decode the body."""
    headers = [item for item in reply.headers.multi_items() if item[0] != "content-encoding"]
    return httpx.Response(reply.status, headers=headers, content=reply.body, request=request)


def _issuer_error(error: HttpError, issuer: Issuer) -> SourceError:
    kind = RequestRejected if isinstance(error, AddressRefused) else CredentialsUnreachable
    return kind(f"{issuer.where}: {error}. {issuer.remedy}")


def _api_error(error: HttpError, where: str) -> SourceError:
    if isinstance(error, AddressRefused):
        return RequestRejected(f"{where}: {error}. Check endpoint, and network.allow and network.deny.")
    if isinstance(error, ReplyTooLarge):
        return MalformedReply(f"{where}: {error}. Check endpoint: that is no page of a task list.", status=error.status)
    return SourceUnreachable(f"{where}: {error}. Check endpoint, the network and the proxy.")
