"""Authentication at Huawei Cloud: signed requests, IAM tokens, and the temporary keys of an ECS instance.

A login holds keys or a token, and is shared by all lists that are read with it. For each list it makes an
authentication, which gives the header fields of a request before it is sent, and hears of a refusal afterwards.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Protocol

from notifier.core.errors import (
    CredentialsRejected,
    CredentialsUnreachable,
    MalformedReply,
    RequestRejected,
    SourceError,
)
from notifier.http import AddressRefused, HttpClient, HttpError, Reply
from notifier.http.huawei_signature import Credentials, RequestSigner
from notifier.ports import Clock
from notifier.settings.explain import find_non_ascii
from notifier.sources.failures import INVALID_TOKEN, classify, with_wait
from notifier.sources.payloads import parse_time

MAX_ISSUER_REPLY_BYTES = 1_000_000
"""Maximum size of a reply that carries a token or keys, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest:
    """What all requests of a list have in common; they differ in their queries."""

    host: str
    """Value of `Host`."""
    path: str
    """The path as it is sent."""
    project_id: str
    """Value of `X-Project-Id`, which is signed; the empty string sends none."""
    language: str
    """Value of `X-Language`."""


class Authentication(Protocol):
    """Authenticates the requests of a list."""

    async def headers(self, query: str) -> Mapping[str, str]:
        """Return the header fields of a request with this query, which is sent at once. Raises SourceError."""

    async def can_repeat(self, used: Mapping[str, str], reply: Reply) -> bool:
        """Return whether a request with these header fields was refused, and new ones may help. Raises SourceError."""


class CloudLogin(Protocol):
    """Keys or a token, and what renews them."""

    def requests(self, request: ApiRequest) -> Authentication:
        """Return what authenticates the requests of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A service that issues tokens or keys."""

    http: HttpClient
    where: str
    """Beginning of its errors."""
    remedy: str
    """End of its errors."""
    guarded: bool = True
    """False for the metadata service: its link-local address would be refused."""

    async def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | None = None, seconds: float = 30.0
    ) -> Reply:
        """Return its reply. Raises SourceError if there is none within this time."""
        try:
            return await self.http.exchange(
                method,
                url,
                headers=headers,
                content=content,
                deadline=seconds,
                max_bytes=MAX_ISSUER_REPLY_BYTES,
                guard=self.guarded,
            )
        except HttpError as error:
            kind = RequestRejected if isinstance(error, AddressRefused) else CredentialsUnreachable
            raise kind(f"{self.where}: {error}. {self.remedy}") from error


TICKET_TIMEOUT = 2.0
"""Time limit for the ticket of the metadata service, in seconds. A container's network may swallow the PUT."""
KEYS_TIMEOUT = 5.0
"""Time limit for its keys, in seconds: it is on the same host."""

_EXPIRES_SOON = timedelta(minutes=40)
_BEFORE_EXPIRY = timedelta(minutes=30)
_DEFAULT_TOKEN_LIFETIME = timedelta(hours=1)
_LOGIN_INTERVAL = 60.0
_METADATA_TOKEN_SECONDS = "21600"  # noqa: S105 - a length of time, not a token


class SignedHeaders:
    """Makes the header fields of requests that an access key signs."""

    def __init__(self, credentials: Credentials, request: ApiRequest) -> None:
        self._common = {"Host": request.host, "X-Language": request.language}
        if request.project_id:
            self._common["X-Project-Id"] = request.project_id
        if credentials.security_token:
            self._common["X-Security-Token"] = credentials.security_token
        self._signer = RequestSigner(credentials, method="GET", path=request.path, headers=self._common)

    def at(self, now: datetime, query: str) -> Mapping[str, str]:
        """Return the header fields of a request with this query. A signature expires after 15 minutes."""
        date = now.strftime("%Y%m%dT%H%M%SZ")
        return {**self._common, "X-Sdk-Date": date, "Authorization": self._signer.authorization(query, date)}


class AkSkLogin:
    """Signs with an access key. Each attempt has its own signature."""

    def __init__(self, credentials: Credentials, clock: Clock) -> None:
        self._credentials = credentials
        self._clock = clock

    def requests(self, request: ApiRequest) -> Authentication:
        """Return what signs the requests of a list; see `CloudLogin`."""
        return _AkSkAuth(SignedHeaders(self._credentials, request), self._clock)


class _AkSkAuth:
    def __init__(self, signed: SignedHeaders, clock: Clock) -> None:
        self._signed = signed
        self._clock = clock

    async def headers(self, query: str) -> Mapping[str, str]:
        """Return the header fields of a request; see `Authentication`."""
        return self._signed.at(self._clock.now(), query)

    async def can_repeat(self, used: Mapping[str, str], reply: Reply) -> bool:  # noqa: ARG002 - of the protocol
        """Return False: the key would be refused again."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Token:
    value: str = field(repr=False)
    renew_at: float
    """On the monotonic clock."""


class TokenLogin:
    """Logs in to IAM with a password and sends the issued token.

    The token is renewed well before it expires, and once when the service refuses it. A login that IAM refused is not
    repeated within a minute: wrong passwords lock the account.
    """

    def __init__(
        self,
        *,
        http: HttpClient,
        where: str,
        endpoint: str,
        domain: str,
        username: str,
        password: str,
        project_id: str,
        clock: Clock,
    ) -> None:
        self._where = f"{where}: IAM {endpoint}"
        self._issuer = Issuer(
            http=http, where=self._where, remedy="Check auth.iam_endpoint, the network and the proxy."
        )
        self._url = f"{endpoint}/v3/auth/tokens?nocatalog=true"
        self._body = login_body(domain, username, password, project_id)
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: _Token | None = None
        self._refusal: SourceError | None = None
        self._next_login = float("-inf")

    def requests(self, request: ApiRequest) -> Authentication:
        """Return what adds the token to the requests of a list; see `CloudLogin`."""
        return _TokenAuth(self, request.language)

    async def token(self, refused: str | None = None) -> str:
        """Return a token, after a login if one is needed: where there is none but a refused one. Raises SourceError."""
        await self._log_in_instead_of(refused)
        return self._current_token().value

    async def _log_in_instead_of(self, refused: str | None) -> None:
        """Log in unless there is a token to use other than the refused one."""
        if not self._needs_login(refused):
            return
        async with self._lock:
            if self._needs_login(refused):
                if self._token:  # renewed at most once a minute, and the old one is used until then
                    self._next_login = self._clock.monotonic() + _LOGIN_INTERVAL
                self._token = self._read_token(
                    await self._issuer.exchange("POST", self._url, headers=_JSON, content=self._body)
                )

    def _needs_login(self, refused: str | None) -> bool:
        now = self._clock.monotonic()
        expired = self._token is None or self._token.value == refused or now >= self._token.renew_at
        return expired and now >= self._next_login

    def _current_token(self) -> _Token:
        if self._token:
            return self._token
        wait = timedelta(seconds=max(self._next_login - self._clock.monotonic(), 0))
        raise with_wait(self._refusal or CredentialsRejected(f"{self._where}: no token"), wait)

    def _read_token(self, reply: Reply) -> _Token:
        value = reply.headers.get("x-subject-token", "")
        if reply.status == HTTPStatus.CREATED and value and not find_non_ascii(value):
            return _Token(value=value, renew_at=self._clock.monotonic() + self._use_period(reply).total_seconds())
        error = _login_error(reply, self._where, self._clock.now())
        if not error.retryable:
            self._refusal = error
            self._next_login = self._clock.monotonic() + _LOGIN_INTERVAL
        raise error

    def _use_period(self, reply: Reply) -> timedelta:
        stated = _json_object(reply.body).get("token")
        token = stated if isinstance(stated, dict) else {}
        expires = parse_time(token.get("expires_at"))
        issued = parse_time(token.get("issued_at")) or self._clock.now()
        return token_use_period(expires - issued if expires else _DEFAULT_TOKEN_LIFETIME)


class _TokenAuth:
    def __init__(self, login: TokenLogin, language: str) -> None:
        self._login = login
        self._language = language

    async def headers(self, query: str) -> Mapping[str, str]:  # noqa: ARG002 - of the protocol
        """Return the header fields of a request, after a login if one is needed."""
        return {"X-Language": self._language, "X-Auth-Token": await self._login.token()}

    async def can_repeat(self, used: Mapping[str, str], reply: Reply) -> bool:
        """Log in again if the token was refused; return whether there is another one now."""
        refused = used["X-Auth-Token"]
        return _token_refused(reply) and await self._login.token(refused) != refused


_JSON = {"Content-Type": "application/json;charset=utf8"}


def login_body(domain: str, username: str, password: str, project_id: str) -> bytes:
    """Return the request for a token of one project, or of the whole account where none is given."""
    user = {"domain": {"name": domain}, "name": username, "password": password}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"id": project_id}} if project_id else {"domain": {"name": domain}}
    return json.dumps({"auth": {"identity": identity, "scope": scope}}).encode()


def token_use_period(life: timedelta) -> timedelta:
    """Return how long to use a token: three quarters of its lifetime or half an hour less, at least half."""
    return max(life * 0.5, min(life * 0.75, life - _BEFORE_EXPIRY))


def _login_error(reply: Reply, where: str, now: datetime) -> SourceError:
    if _is_success(reply):
        return MalformedReply(f"{where}: the answer carries no token. Check auth.iam_endpoint.")
    return classify(reply.status, reply.headers, reply.body, where=where, now=now)


def _is_success(reply: Reply) -> bool:
    return HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES


def _token_refused(reply: Reply) -> bool:
    if reply.status == HTTPStatus.FORBIDDEN:
        return INVALID_TOKEN.encode() in reply.body
    return reply.status == HTTPStatus.UNAUTHORIZED


class EcsAgencyLogin:
    """Signs with the temporary keys that the metadata service issues to an ECS instance with an agency.

    They are renewed when less than 40 minutes remain. While renewal fails, the old ones are used until they expire.
    """

    def __init__(self, *, http: HttpClient, where: str, metadata_url: str, clock: Clock, hint: str = "") -> None:
        self._where = f"{where}: metadata service {metadata_url}"
        self._url = metadata_url
        self._clock = clock
        self._hint = hint or "Give the ECS instance an agency for GaussDB, or use another auth.kind."
        self._issuer = Issuer(http=http, where=self._where, remedy=self._hint, guarded=False)
        self._lock = asyncio.Lock()
        self._credentials = _NO_KEYS
        self._next_renewal = float("-inf")

    def requests(self, request: ApiRequest) -> Authentication:
        """Return what signs the requests of a list; see `CloudLogin`."""
        return _EcsAgencyAuth(self, request, self._clock)

    async def keys(self) -> Credentials:
        """Return the keys to sign with, new ones if they are needed. Raises SourceError."""
        if self._needs_fetch():
            async with self._lock:
                if self._needs_fetch():
                    await self._fetch()
        return self._credentials

    def drop(self, refused: Credentials) -> None:
        """Drop keys that the service refuses."""
        if self._credentials is refused:
            self._credentials = _NO_KEYS

    async def _fetch(self) -> None:
        self._next_renewal = self._clock.monotonic() + _LOGIN_INTERVAL
        try:
            ticket = await self._call("PUT", "/meta-data/latest/api/token", TICKET_TIMEOUT, _TICKET_LIFE)
            with_ticket = _ticket_header(ticket)
        except SourceError:  # a service without tickets may also not answer at all
            with_ticket = {}
        try:
            self._credentials = self._read_keys(
                await self._call("GET", "/openstack/latest/securitykey", KEYS_TIMEOUT, with_ticket)
            )
        except SourceError:
            if self._credentials.remaining(self._clock.now()) <= timedelta(0):
                raise

    async def _call(self, method: str, path: str, seconds: float, headers: Mapping[str, str]) -> Reply:
        return await self._issuer.exchange(method, f"{self._url}{path}", headers=headers, seconds=seconds)

    def _needs_fetch(self) -> bool:
        left = self._credentials.remaining(self._clock.now())
        return left <= timedelta(0) or (left < _EXPIRES_SOON and self._clock.monotonic() >= self._next_renewal)

    def _read_keys(self, reply: Reply) -> Credentials:
        if not _is_success(reply):
            error = classify(reply.status, reply.headers, reply.body, where=self._where, now=self._clock.now())
            if error.retryable:
                raise error
            raise CredentialsRejected(f"{self._where}: no keys (HTTP {reply.status}). {self._hint}")
        try:
            return read_securitykey(reply.body)
        except ValueError:
            raise MalformedReply(f"{self._where}: the answer holds no keys. {self._hint}") from None


class _EcsAgencyAuth:
    def __init__(self, login: EcsAgencyLogin, request: ApiRequest, clock: Clock) -> None:
        self._login = login
        self._request = request
        self._clock = clock
        self._keys = _NO_KEYS
        self._signed = SignedHeaders(_NO_KEYS, request)

    async def headers(self, query: str) -> Mapping[str, str]:
        """Return the header fields of a request, with new keys if they are needed."""
        keys = await self._login.keys()
        if keys is not self._keys:
            self._keys, self._signed = keys, SignedHeaders(keys, self._request)
        return self._signed.at(self._clock.now(), query)

    async def can_repeat(self, used: Mapping[str, str], reply: Reply) -> bool:  # noqa: ARG002 - of the protocol
        """Return False, and drop keys that the service refuses."""
        if reply.status == HTTPStatus.UNAUTHORIZED:
            self._login.drop(self._keys)
        return False


_NO_KEYS = Credentials(access_key="", secret_key="", expires_at=datetime.min.replace(tzinfo=UTC))
_TICKET_LIFE = {"X-Metadata-Token-Ttl-Seconds": _METADATA_TOKEN_SECONDS}


def _ticket_header(reply: Reply) -> Mapping[str, str]:
    """Return the header with the ticket that newer metadata services require; empty for older ones."""
    ticket = reply.body.decode("utf-8", errors="replace").strip() if _is_success(reply) else ""
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
