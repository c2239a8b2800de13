"""The gateway before all services: credentials, throttling, faults and rights, and the log of calls."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from starlette.requests import Request

from notifier.ports import Clock
from notifier.simulator import iam
from notifier.simulator.auth import Key, SignatureVerifier, SignedRequest
from notifier.simulator.faults import NO_FAULT, Fault, Faults, error_for, parse_faults
from notifier.simulator.options import Options
from notifier.simulator.replies import throttled, unauthenticated
from notifier.simulator.rights import CloudService, denied

MAX_LOGGED_CALLS = 10_000
WINDOW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One answered request, for `request_log`. It contains no credentials."""

    at: datetime
    method: str
    path: str
    query: Mapping[str, str]
    language: str
    by: str
    """`key`, `token` or the empty string for a request without valid credentials."""
    status: int
    """0 after a reset of the connection."""
    fault: str


@dataclass(slots=True, kw_only=True)
class SimulatedExchange:
    """A request being answered, with its credentials and fault."""

    request: Request
    arrived: SignedRequest
    request_id: str
    by: str = ""
    scope: str | None = None
    """Project of its token; None for a token of the account and for a key."""
    fault: Fault = field(default=NO_FAULT)

    @property
    def language(self) -> str:
        """Value of the header X-Language."""
        return self.arrived.headers.get("x-language", "en-us").lower()

    @property
    def origin(self) -> str:
        """Address at which the client reached the cloud, without a path."""
        return f"{self.request.url.scheme}://{self.request.url.netloc}"

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query."""
        return self.request.query_params


async def receive_exchange(request: Request, request_id: str) -> SimulatedExchange:
    """Read a complete request."""
    raw = request.scope["headers"]
    headers = {name.decode("latin-1").lower(): value.decode("utf-8", "replace") for name, value in raw}
    arrived = SignedRequest(
        method=request.method,
        path=request.scope["raw_path"].decode("latin-1"),
        query=request.scope["query_string"].decode("latin-1"),
        headers=headers,
        body=await request.body(),
    )
    return SimulatedExchange(request=request, arrived=arrived, request_id=request_id)


class Gateway:
    """What all services of a simulated cloud share."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self.options = options
        self.clock = clock
        self.began = clock.now()
        self.start = options.start or self.began
        self.faults = Faults(parse_faults(options.faults), options.random("faults"))
        self.tokens = iam.Tokens(options.random("tokens"))
        self.agency = iam.Agency(options.random("agency"), options.credential_life)
        self.log: deque[Call] = deque(maxlen=MAX_LOGGED_CALLS)
        self.denied = set(options.deny)
        """Actions that the credentials lack now."""
        self._verifier = SignatureVerifier()
        self._request_ids = options.random("request ids")
        self._recent: deque[datetime] = deque()
        self._key = Key(access=options.access_key, secret=options.secret_key, token=options.security_token)

    def now(self) -> datetime:
        """Return virtual time."""
        return self.start + (self.clock.now() - self.began) * self.options.speed

    def new_request_id(self) -> str:
        """Return the next request id: 32 hexadecimal digits."""
        return f"{self._request_ids.getrandbits(128):032x}"

    def admit(self, exchange: SimulatedExchange, service: CloudService, action: str) -> None:
        """Check credentials, throttling, the fault of a request and the right to it.

        Raises SimulatedError for a refused request.
        """
        exchange.by = self.authenticate(exchange)
        self._throttle(self.clock.now())
        exchange.fault = self.faults.next(service)
        refusal = error_for(exchange.fault, by_token=exchange.by == "token", service=service)
        if refusal:
            raise refusal
        if action in self.denied:
            raise denied(service, action)

    def authenticate(self, exchange: SimulatedExchange) -> str:
        """Return `key` or `token`. Raises SimulatedError 401."""
        now, arrived = self.clock.now(), exchange.arrived
        if "authorization" in arrived.headers:
            keys = {self._key.access: self._key, **self.agency.keys}
            self._verifier.admit(arrived, keys, now)
            return "key"
        if "x-auth-token" not in arrived.headers:
            raise unauthenticated("x-auth-token not found")
        exchange.scope = self.tokens.project_of(arrived.headers["x-auth-token"], now)
        return "token"

    def _throttle(self, now: datetime) -> None:
        limit = self.options.calls_per_minute
        if limit is None:
            return
        while self._recent and self._recent[0] <= now - WINDOW:
            self._recent.popleft()
        if len(self._recent) >= limit:
            wait = self._recent[0] + WINDOW - now
            raise throttled(limit, retry_after=int(wait.total_seconds()) + 1 if self.options.retry_after else None)
        self._recent.append(now)
