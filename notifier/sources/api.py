"""Calls of the cloud's APIs: paced, authenticated, with a deadline, and retried when that can help.

Every request of a source is made here, those of its authentication included. A pause that the service demands applies
to all sources of the credential, also to pages that are already being requested.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from random import Random
from typing import TypeVar

from notifier.core.errors import (
    MalformedReply,
    RequestRejected,
    SourceError,
    SourceThrottled,
    SourceUnreachable,
)
from notifier.http import AddressRefused, HttpClient, HttpError, Reply, ReplyTooLarge
from notifier.ports import Clock
from notifier.sources.failures import classify, clock_skew, is_error_body
from notifier.sources.huawei_auth import Authentication
from notifier.sources.limiter import MAX_INLINE_WAIT, CredentialLimiter
from notifier.sources.lists import TASK_LIST, ApiList
from notifier.telemetry.outcomes import call_outcome
from notifier.telemetry.ports import SILENT, Telemetry

API_TIMEOUT = 30.0
"""Time limit of one exchange, from resolving the name to the last byte, in seconds."""
MAX_REPLY_BYTES = 20_000_000
MAX_ATTEMPTS = 4
"""Maximum number of attempts at one call."""

T = TypeVar("T")

_RETRY_BASE = 1.0
_THROTTLED_BASE = 8.0


class ApiClient:
    """Makes the calls of one list of a source.

    Args:
        where: beginning of messages: `source prod`.
        url: of all its calls, without a query.
        http: client shared with everything else.
        auth: gives the header fields of each call.
        clock: gives the time and waits.
        rng: chooses the jitter of retries.
        limiter: shared with all other sources of the same credential.
        source: name of the source.
        telemetry: where calls are reported.
        of: what it lists, for errors.
    """

    def __init__(
        self,
        *,
        where: str,
        url: str,
        http: HttpClient,
        auth: Authentication,
        clock: Clock,
        rng: Random,
        limiter: CredentialLimiter,
        source: str = "",
        telemetry: Telemetry = SILENT,
        of: ApiList = TASK_LIST,
    ) -> None:
        self.calls = 0
        """Calls made so far, retries included."""
        self.skew: timedelta | None = None
        """How far this machine's clock was ahead of the service's. Set by each reply; None before the first."""
        self._where = where
        self._url = url
        self._http = http
        self._auth = auth
        self._clock = clock
        self._rng = rng
        self._limiter = limiter
        self._source = source
        self._telemetry = telemetry
        self._of = of

    async def get(self, query: str, decode: Callable[[bytes], T]) -> T:
        """Return the decoded body of a successful reply. Raises SourceError, after retries if they could help.

        Args:
            query: as it is signed and sent.
            decode: raises ValueError for an unexpected body.
        """
        for attempt in range(1, MAX_ATTEMPTS):
            try:
                return await self._attempt(query, decode)
            except SourceError as error:
                if not error.retryable or (error.retry_after or timedelta()) > MAX_INLINE_WAIT:
                    raise
                await self._clock.sleep(self._backoff(error, attempt))
        return await self._attempt(query, decode)

    async def _attempt(self, query: str, decode: Callable[[bytes], T]) -> T:
        async with self._limiter.slot(self._where):
            self.calls += 1
            try:
                decoded = await self._reported(query, decode)
            except SourceError as error:
                raise self._limiter.record_error(error, self._where) from error.__cause__
            self._limiter.record_accepted()
            return decoded

    async def _reported(self, query: str, decode: Callable[[bytes], T]) -> T:
        """Make one attempt, and report how it ended."""
        began, failed = self._clock.monotonic(), None
        with self._telemetry.tracer.span("api.call", source=self._source) as span:
            try:
                return self._decoded(await self._authorised(query), decode)
            except SourceError as error:
                failed = error
                raise
            finally:
                outcome = call_outcome(failed)
                span.set(outcome=outcome)
                self._telemetry.meters.api_called(self._source, outcome, self._clock.monotonic() - began)

    def _decoded(self, reply: Reply, decode: Callable[[bytes], T]) -> T:
        now = self._clock.now()
        self.skew = clock_skew(reply.headers, now)
        error_of = partial(classify, reply.status, reply.headers, reply.body, where=self._where, now=now, of=self._of)
        if reply.status != HTTPStatus.OK:
            raise error_of()
        try:
            return decode(reply.body)
        except ValueError as error:
            if is_error_body(reply.body):
                raise error_of() from None
            raise MalformedReply(f"{self._where}: {error}. Check endpoint if this lasts.") from None

    async def _authorised(self, query: str) -> Reply:
        """Return the reply to a request, which is repeated if it was refused and other header fields may help."""
        while True:
            headers = await self._auth.headers(query)
            reply = await self._exchange(query, headers)
            if not await self._auth.can_repeat(headers, reply):
                return reply

    async def _exchange(self, query: str, headers: Mapping[str, str]) -> Reply:
        try:
            return await self._http.exchange(
                "GET",
                f"{self._url}?{query}" if query else self._url,
                headers=headers,
                deadline=API_TIMEOUT,
                max_bytes=MAX_REPLY_BYTES,
            )
        except HttpError as error:
            raise _api_error(error, self._where, self._of) from error

    def _backoff(self, error: SourceError, attempt: int) -> float:
        """Return the wait before the next attempt, in seconds: full jitter, or none if the service demands a wait."""
        if error.retry_after:
            return 0.0
        base = _THROTTLED_BASE if isinstance(error, SourceThrottled) else _RETRY_BASE
        return self._rng.uniform(0, base * 2 ** (attempt - 1))


def _api_error(error: HttpError, where: str, of: ApiList) -> SourceError:
    if isinstance(error, AddressRefused):
        return RequestRejected(f"{where}: {error}. Check endpoint, and network.allow and network.deny.")
    if isinstance(error, ReplyTooLarge):
        remedy = f"Check endpoint: that is no page of a {of.name}."
        return MalformedReply(f"{where}: {error}. {remedy}", status=error.status)
    return SourceUnreachable(f"{where}: {error}. Check endpoint, the network and the proxy.")
