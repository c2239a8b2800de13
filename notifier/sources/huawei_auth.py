"""Authentication at Huawei Cloud: signed requests, IAM tokens, and the temporary keys of an ECS instance.

The flows are `httpx.Auth`: they yield requests and receive replies, and do no I/O themselves. Their driver sends the
requests, and throws in the error of a request without a reply. Tokens and keys are kept and shared between concurrent
requests: one login serves all.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httpx

from notifier.core.errors import CredentialsRejected, MalformedReply, SourceError
from notifier.ports import Clock
from notifier.settings.explain import find_non_ascii
from notifier.sources.failures import INVALID_TOKEN, classify, with_wait
from notifier.sources.payloads import parse_time
from notifier.sources.signature import Credentials, canonical_query, create_signature

ISSUER = "issuer"
"""Request extension that holds the `Issuer` of a request which does not go to the API itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A service that issues tokens or keys, and how to call it."""

    where: str
    """Beginning of its errors."""
    remedy: str
    """End of its errors."""
    seconds: float = 30.0
    """Time limit of one exchange, in seconds."""
    guarded: bool = True
    """False for the metadata service: its link-local address would be refused."""


TICKET_TIMEOUT = 2.0
"""Time limit for the ticket of the metadata service, in seconds. A container's network may swallow the PUT."""
KEYS_TIMEOUT = 5.0
"""Time limit for its keys, in seconds: it is on the same host."""

_SIGNED = frozenset({"host", "x-sdk-date", "x-project-id", "x-security-token", "x-language"})
_EXPIRES_SOON = timedelta(minutes=40)
_BEFORE_EXPIRY = timedelta(minutes=30)
_DEFAULT_TOKEN_LIFETIME = timedelta(hours=1)
_LOGIN_INTERVAL = 60.0
_METADATA_TOKEN_SECONDS = "21600"  # noqa: S105 - a length of time, not a token


def sign_request(request: httpx.Request, credentials: Credentials, project_id: str, now: datetime) -> None:
    """Set or replace date, project, security token and signature in the headers of a request."""
    request.headers["X-Sdk-Date"] = now.strftime("%Y%m%dT%H%M%SZ")
    request.headers["X-Project-Id"] = project_id
    request.headers.pop("X-Security-Token", None)
    if credentials.security_token:
        request.headers["X-Security-Token"] = credentials.security_token
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    request.headers["Authorization"] = create_signature(
        credentials,
        method=request.method,
        path=path,
        query=canonical_query(_pairs(query)),
        headers={name: value for name, value in request.headers.items() if name in _SIGNED},
        body=request.content,
    ).authorization


def _pairs(query: str) -> Iterable[tuple[str, str]]:
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        yield unquote(name), unquote(value)


class AkSkAuth(httpx.Auth):
    """Signs with an access key. Each attempt has its own signature, because one expires after 15 minutes."""

    requires_request_body = True

    def __init__(self, credentials: Credentials, *, project_id: str, clock: Clock) -> None:
        self._credentials = credentials
        self._project_id = project_id
        self._clock = clock

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign and send."""
        sign_request(request, self._credentials, self._project_id, self._clock.now())
        yield request


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    """On the monotonic clock."""


class TokenAuth(httpx.Auth):
    """Logs in to IAM with a password and sends the issued token.

    The token is renewed well before it expires, and once when the service refuses it. A login that IAM refused is not
    repeated within a minute: wrong passwords lock the account. Raises SourceError for an error of IAM.
    """

    def __init__(
        self, *, where: str, endpoint: str, domain: str, username: str, password: str, project_id: str, clock: Clock
    ) -> None:
        self._where = f"{where}: IAM {endpoint}"
        self._issuer = Issuer(where=self._where, remedy="Check auth.iam_endpoint, the network and the proxy.")
        self._url = f"{endpoint}/v3/auth/tokens?nocatalog=true"
        self._body = login_body(domain, username, password, project_id)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: _Token | None = None
        self._refusal: SourceError | None = None
        self._next_login = float("-inf")

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Log in if needed and send; if the token is refused, log in once more and send again."""
        refused: _Token | None = None
        while True:
            async with self._lock:
                if self._needs_login(refused):
                    if self._token:  # renewed at most once a minute, and the old one is used until then
                        self._next_login = self._clock.monotonic() + _LOGIN_INTERVAL
                    reply = yield self._login()
                    await reply.aread()
                    self._token = self._read_token(reply)
            token = self._current_token()
            if token is refused:
                return
            request.headers["X-Auth-Token"] = token.value
            response = yield request
            if not await _token_refused(response):
                return
            refused = token

    def _login(self) -> httpx.Request:
        return httpx.Request("POST", self._url, headers=_JSON, content=self._body, extensions={ISSUER: self._issuer})

    def _needs_login(self, refused: _Token | None) -> bool:
        now = self._clock.monotonic()
        expired = self._token is None or self._token is refused or now >= self._token.renew_at
        return expired and now >= self._next_login

    def _current_token(self) -> _Token:
        if self._token:
            return self._token
        wait = timedelta(seconds=max(self._next_login - self._clock.monotonic(), 0))
        raise with_wait(self._refusal or CredentialsRejected(f"{self._where}: no token"), wait)

    def _read_token(self, reply: httpx.Response) -> _Token:
        value = reply.headers.get("x-subject-token", "")
        if reply.status_code == HTTPStatus.CREATED and value and not find_non_ascii(value):
            return _Token(value=value, renew_at=self._clock.monotonic() + self._use_period(reply).total_seconds())
        error = _login_error(reply, self._where, self._clock.now())
        if not error.retryable:
            self._refusal = error
            self._next_login = self._clock.monotonic() + _LOGIN_INTERVAL
        raise error

    def _use_period(self, reply: httpx.Response) -> timedelta:
        stated = _json_object(reply.content).get("token")
        token = stated if isinstance(stated, dict) else {}
        expires = parse_time(token.get("expires_at"))
        issued = parse_time(token.get("issued_at")) or self._clock.now()
        return token_use_period(expires - issued if expires else _DEFAULT_TOKEN_LIFETIME)


_JSON = {"Content-Type": "application/json;charset=utf8"}


def login_body(domain: str, username: str, password: str, project_id: str) -> bytes:
    """Return the request for a token of one project."""
    user = {"domain": {"name": domain}, "name": username, "password": password}
    identity = {"methods": ["password"], "password": {"user": user}}
    return json.dumps({"auth": {"identity": identity, "scope": {"project": {"id": project_id}}}}).encode()


def token_use_period(life: timedelta) -> timedelta:
    """Return how long to use a token: three quarters of its lifetime or half an hour less, at least half."""
    return max(life * 0.5, min(life * 0.75, life - _BEFORE_EXPIRY))


def _login_error(reply: httpx.Response, where: str, now: datetime) -> SourceError:
    if reply.is_success:
        return MalformedReply(f"{where}: the answer carries no token. Check auth.iam_endpoint.")
    return classify(reply.status_code, reply.headers, reply.content, where=where, now=now)


async def _token_refused(response: httpx.Response) -> bool:
    if response.status_code == HTTPStatus.FORBIDDEN:
        return INVALID_TOKEN.encode() in await response.aread()
    return response.status_code == HTTPStatus.UNAUTHORIZED


class EcsAgencyAuth(httpx.Auth):
    """Signs with the temporary keys that the metadata service issues to an ECS instance with an agency.

    They are renewed when less than 40 minutes remain. While renewal fails, the old ones are used until they expire.
    """

    requires_request_body = True

    def __init__(self, *, where: str, metadata_url: str, project_id: str, clock: Clock, hint: str = "") -> None:
        self._where = f"{where}: metadata service {metadata_url}"
        self._url = metadata_url
        self._project_id = project_id
        self._clock = clock
        self._hint = hint or "Give the ECS instance an agency for GaussDB, or use another auth.kind."
        self._lock = asyncio.Lock()
        self._credentials = _NO_KEYS
        self._next_renewal = float("-inf")

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Fetch keys if needed, sign and send; keys that the service refuses are dropped."""
        await request.aread()
        async with self._lock:
            if self._needs_fetch():
                self._next_renewal = self._clock.monotonic() + _LOGIN_INTERVAL
                try:
                    ticket = yield self._request("PUT", "/meta-data/latest/api/token", TICKET_TIMEOUT, _TICKET_LIFE)
                    await ticket.aread()
                    with_ticket = _ticket_header(ticket)
                except SourceError:  # a service without tickets may also not answer at all
                    with_ticket = {}
                try:
                    reply = yield self._request("GET", "/openstack/latest/securitykey", KEYS_TIMEOUT, with_ticket)
                    await reply.aread()
                    self._credentials = self._keys(reply)
                except SourceError:
                    if self._credentials.remaining(self._clock.now()) <= timedelta(0):
                        raise
        sign_request(request, self._credentials, self._project_id, self._clock.now())
        response = yield request
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            self._credentials = _NO_KEYS

    def _request(self, method: str, path: str, seconds: float, headers: Mapping[str, str]) -> httpx.Request:
        issuer = Issuer(where=self._where, remedy=self._hint, seconds=seconds, guarded=False)
        return httpx.Request(method, f"{self._url}{path}", headers=headers, extensions={ISSUER: issuer})

    def _needs_fetch(self) -> bool:
        left = self._credentials.remaining(self._clock.now())
        return left <= timedelta(0) or (left < _EXPIRES_SOON and self._clock.monotonic() >= self._next_renewal)

    def _keys(self, reply: httpx.Response) -> Credentials:
        if not reply.is_success:
            error = classify(reply.status_code, reply.headers, reply.content, where=self._where, now=self._clock.now())
            if error.retryable:
                raise error
            raise CredentialsRejected(f"{self._where}: no keys (HTTP {reply.status_code}). {self._hint}")
        try:
            return read_securitykey(reply.content)
        except ValueError:
            raise MalformedReply(f"{self._where}: the answer holds no keys. {self._hint}") from None


_NO_KEYS = Credentials(access_key="", secret_key="", expires_at=datetime.min.replace(tzinfo=UTC))
_TICKET_LIFE = {"X-Metadata-Token-Ttl-Seconds": _METADATA_TOKEN_SECONDS}


def _ticket_header(reply: httpx.Response) -> Mapping[str, str]:
    """Return the header with the ticket that newer metadata services require; empty for older ones."""
    ticket = reply.text.strip() if reply.is_success else ""
    return {} if not ticket or find_non_ascii(ticket) else {"X-Metadata-Token": ticket}


def read_securitykey(body: bytes) -> Credentials:
    """Read the keys from a reply of the metadata service. Raises ValueError."""
    found = _json_object(body).get("credential")
    if not isinstance(found, dict):
        raise ValueError("no credential")  # noqa: TRY004 - the caller translates one kind of error
    texts = [found.get(name) for name in ("access", "secret", "securitytoken")]
    access, secret, token = (text if isinstance(text, str) else "" for text in texts)
    if not access or not secret or find_non_ascii(access + secret + token):
        raise ValueError("no credential")
    expires_at = parse_time(found.get("expires_at"))
    return Credentials(access_key=access, secret_key=secret, security_token=token or None, expires_at=expires_at)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
