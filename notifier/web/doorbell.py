"""The doorbell over HTTP: `POST /doorbell/{source}` and `POST /doorbell`.

A request is measured, then authenticated, and only then its address is read, so that nobody learns the names of sources
without a proof. Its body is read by what verifies its signature, and by nothing else.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from notifier import doorbell
from notifier.chat.endpoints import InvalidRequest, read_body
from notifier.core.doorbell import MIN_INTERVAL
from notifier.core.errors import StoreError
from notifier.core.health_facts import ConfiguredSource
from notifier.doorbell import Caller, CallerKind, DoorbellTx, Knock, KnockKind, Refusal, RingRefused, RingReport
from notifier.logs import RejectionLog
from notifier.ports import Clock, Store
from notifier.telemetry.ports import Meters, NoMeters
from notifier.web.access.addresses import TrustedProxies, client_of
from notifier.web.access.throttle import CallThrottle, LoginThrottle, Tries
from notifier.web.api.problems import ApiProblem
from notifier.web.security import bearer_of

log = structlog.get_logger("notifier.web")

DOORBELL_PATH: Final = "/doorbell"
CALLS: Final = Tries(burst=60, seconds=1.0)
"""How often one token, secret or topic may ring."""
MAX_RINGS: Final = 100
"""Number of sources that an answer lists."""
MAX_LOGGED_SOURCES: Final = 10
"""Number of sources that a record of the log names."""
STORE_RETRY: Final = 5
"""Seconds after which a request may be repeated that found the database unreachable."""
NO_CALLER: Final = "none"
"""Label of requests that show no proof."""
FORGERIES: Final = frozenset({Refusal.UNPROVEN, Refusal.FORBIDDEN, Refusal.EXPIRED})
"""Refusals that count as an attempt to get in."""

_PROBLEMS: Final[Mapping[Refusal, tuple[int, str]]] = {
    Refusal.UNPROVEN: (401, "unauthorized"),
    Refusal.FORBIDDEN: (403, "forbidden"),
    Refusal.EXPIRED: (401, "unauthorized"),
    Refusal.MALFORMED: (400, "malformed"),
    Refusal.TOO_LARGE: (413, "too-large"),
    Refusal.MEDIA_TYPE: (415, "media-type"),
    Refusal.UNKNOWN_SOURCE: (404, "not-found"),
    Refusal.THROTTLED: (429, "too-many-attempts"),
    Refusal.UNAVAILABLE: (503, "unavailable"),
}
_INVALID: Final[Mapping[int, Refusal]] = {413: Refusal.TOO_LARGE}
_SELECTION: Final = frozenset({"region", "project_id"})
_NO_PROOF = (
    "send the header Authorization: Bearer TOKEN, or a request that is signed as in Standard Webhooks or by SMN, "
    "whichever is configured in doorbell"
)


class TokenCaller:
    """Proves requests by a token in the header Authorization."""

    kind = CallerKind.TOKEN

    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [token.encode() for token in tokens]

    def claims(self, headers: Mapping[str, str]) -> bool:
        """Return whether a request has a token."""
        return bearer_of(headers) is not None

    async def prove(self, headers: Mapping[str, str], body: bytes) -> Knock:  # noqa: ARG002 - a token covers no body
        """Return the knock of a request with a right token. Raises RingRefused."""
        given = (bearer_of(headers) or "").encode()
        # All are compared, so that the time of an answer does not depend on which is right.
        right = [number for number, token in enumerate(self._tokens) if hmac.compare_digest(token, given)]
        if not right:
            raise RingRefused(Refusal.UNPROVEN, "the token is not one of the doorbell")
        return Knock(caller=CallerKind.TOKEN, identity=f"{CallerKind.TOKEN}:{right[0]}")

    async def confirm(self, knock: Knock) -> None:
        """Do nothing: no such request asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorbellRules:
    """What the doorbell may do."""

    sources: Sequence[ConfiguredSource]
    min_interval: timedelta = MIN_INTERVAL
    trusted: TrustedProxies = field(default_factory=TrustedProxies)
    """Proxies whose statement of where a request comes from is believed."""


class DoorbellRoutes:
    """The endpoints that ring."""

    def __init__(
        self,
        rules: DoorbellRules,
        callers: Sequence[Caller],
        store: Store[DoorbellTx, object],
        clock: Clock,
        *,
        rejections: RejectionLog,
        meters: Meters | None = None,
    ) -> None:
        """`callers` are asked in order which kind a request is of. `rejections` counts what is refused."""
        self._rules = rules
        self._callers = callers
        self._store = store
        self._clock = clock
        self._rejections = rejections
        self._meters = meters or NoMeters()
        self._calls = CallThrottle(CALLS)
        self._forgeries = LoginThrottle()

    def routes(self) -> Sequence[Route]:
        """Return POST /doorbell and POST /doorbell/{source}."""
        return [Route(path, self._answer, methods=["POST"]) for path in (DOORBELL_PATH, f"{DOORBELL_PATH}/{{source}}")]

    async def _answer(self, request: Request) -> Response:
        caller = next((one for one in self._callers if one.claims(request.headers)), None)
        outcome, response = await self._outcome(request, caller)
        self._meters.rang(str(caller.kind) if caller else NO_CALLER, outcome)
        return response

    async def _outcome(self, request: Request, caller: Caller | None) -> tuple[str, Response]:
        """Return what came of a request, in a word, and its answer."""
        try:
            body = await read_body(request)
            return await self._obey(await self._admit(request, caller, body), caller, request)
        except InvalidRequest as error:
            refused = RingRefused(_INVALID.get(error.status, Refusal.MALFORMED), f"the body is {error}")
        except RingRefused as error:
            refused = error
        except StoreError as error:
            log.warning("doorbell.store_failed", error=str(error))
            why = "the database cannot be reached now; repeat the request later"
            refused = RingRefused(Refusal.UNAVAILABLE, why, retry_in=STORE_RETRY)
        return str(refused.refusal), self._refuse(request, refused)

    async def _admit(self, request: Request, caller: Caller | None, body: bytes) -> Knock:
        """Return what a request is about once it has proved who sends it. Raises RingRefused."""
        if caller is None:
            raise RingRefused(Refusal.UNPROVEN, _NO_PROOF)
        knock = await caller.prove(request.headers, body)
        if wait := self._calls.wait_of(knock.identity, self._clock.monotonic()):
            raise RingRefused(Refusal.THROTTLED, "this caller rings too often", retry_in=wait)
        return knock

    def _refuse(self, request: Request, error: RingRefused) -> Response:
        """Count a refusal; slow down whoever keeps trying to get in.

        A right proof is never refused for that: tokens and keys are too long to be guessed, and a stranger behind the
        same proxy must not lock out the cloud.
        """
        self._rejections.count(str(error.refusal))
        if error.refusal in FORGERIES:
            address = client_of(request, self._rules.trusted)
            if wait := self._forgeries.wait_of(address, self._clock.monotonic(), known=False):
                error = RingRefused(Refusal.THROTTLED, "too many requests without a proof", retry_in=wait)
        return _problem(error)

    async def _obey(self, knock: Knock, caller: Caller | None, request: Request) -> tuple[str, Response]:
        if caller and knock.kind is KnockKind.CONFIRM:
            try:
                await doorbell.confirm(self._store, knock, caller)
            except RingRefused as error:
                log.warning("doorbell.not_confirmed", topic=knock.topic, error=str(error))
                raise
            log.info("doorbell.confirmed", topic=knock.topic)
            return "confirmed", JSONResponse({"confirmed": knock.topic})
        if knock.kind is KnockKind.END:
            await doorbell.end(self._store, knock)
            log.warning("doorbell.unsubscribed", topic=knock.topic, remedy=UNSUBSCRIBED_REMEDY)
            return "unsubscribed", JSONResponse({"unsubscribed": knock.topic})
        names = self._chosen(knock, request)
        report = await doorbell.ring(self._store, knock, names, self._rules.min_interval)
        _log_ring(knock, report)
        return "repeated" if report.repeated else "rung", _rung(report)

    def _chosen(self, knock: Knock, request: Request) -> Collection[str]:
        """Return the names of the sources that an address is about. Raises RingRefused where there are none."""
        query = request.query_params
        if not query.keys() <= _SELECTION or len(query.multi_items()) > len(query):
            why = "an address may choose by region and project_id, each once, and by nothing else"
            raise RingRefused(Refusal.MALFORMED, why)
        if (name := request.path_params.get("source")) is not None:
            names = [one.name for one in self._rules.sources if one.name == name]
            if query:
                raise RingRefused(Refusal.MALFORMED, "an address with the name of a source chooses by nothing else")
            if not names:
                raise RingRefused(Refusal.UNKNOWN_SOURCE, "no source has this name")
            return names
        region, project_id = query.get("region"), query.get("project_id")
        if not query:  # a topic rings the sources of its own project
            region, project_id = knock.region, knock.project_id
        names = [
            one.name
            for one in self._rules.sources
            if region in (None, one.region) and project_id in (None, one.project_id)
        ]
        if not names:
            why = "no source reads this region and project; name one in the address: /doorbell/SOURCE"
            raise RingRefused(Refusal.UNKNOWN_SOURCE, why)
        return names


UNSUBSCRIBED_REMEDY = "subscribe the address again on the topic's page in the console, or remove it from doorbell.smn"


def _log_ring(knock: Knock, report: RingReport) -> None:
    effects = Counter(str(ring.effect) for ring in report.rings)
    names = [ring.source for ring in report.rings]
    more = len(names) - MAX_LOGGED_SOURCES
    shown = [*names[:MAX_LOGGED_SOURCES], *([f"and {more} more"] if more > 0 else [])]
    (log.debug if report.repeated else log.info)(
        "doorbell.rung", caller=str(knock.caller), topic=knock.topic, sources=shown, **effects
    )


def _rung(report: RingReport) -> Response:
    """Answer what follows from a ring: when each source is polled, as far as that is known."""
    listed = [
        {
            "source": ring.source,
            "effect": str(ring.effect),
            "next_poll_at": ring.next_poll_at.isoformat() if ring.next_poll_at else None,
        }
        for ring in report.rings[:MAX_RINGS]
    ]
    document = {"repeated": report.repeated, "sources": len(report.rings), "rings": listed}
    return JSONResponse(document, status_code=202, headers={"Cache-Control": "no-store"})


def _problem(error: RingRefused) -> Response:
    status, word = _PROBLEMS[error.refusal]
    headers = {} if error.retry_in is None else {"Retry-After": str(max(1, ceil(error.retry_in)))}
    if status == 401:  # noqa: PLR2004 - as RFC 9110 wants it
        headers["WWW-Authenticate"] = "Bearer"
    return ApiProblem(status, word, str(error), headers=headers).response()
