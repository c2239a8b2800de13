"""Signing in at a provider of OpenID Connect: authorization code with PKCE, state and nonce.

State, nonce and verifier follow from a random secret in a cookie that lasts some minutes. So nothing is stored here,
and any replica can finish what another has begun. Authlib and joserfc validate what the provider signs; every request
to it goes through the program's own client and its rules.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, TypeAlias
from urllib.parse import urlencode, urlsplit

import structlog

from notifier.http import HttpClient, HttpError, Reply
from notifier.ports import Clock
from notifier.settings.types import is_loopback
from notifier.web.access.names import clean_name
from notifier.web.access.paths import safe_next
from notifier.web.access.rules import OidcRules

log = structlog.get_logger("notifier.web")

FLOW_LASTS: Final = 600
"""Time for signing in at the provider, in seconds."""
METADATA_LASTS: Final = 3600.0
"""Time after which the provider's configuration and keys are read again, in seconds."""
FAILURE_PAUSE: Final = 5.0
"""Time after a failed reading of them in which the provider is not asked again, in seconds."""
KEYS_PAUSE: Final = 60.0
"""Least time between two readings of keys because a token names an unknown one, in seconds."""
LEEWAY: Final = 60
"""Difference that the clocks may have, in seconds."""
DEADLINE: Final = 10.0
_MAX_BYTES: Final = 512 * 1024
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a key of the provider alone. With a symmetric one, or none, anybody could make a token."""
_MAX_GROUPS: Final = 500
_MAX_GROUP: Final = 200

JsonValues: TypeAlias = Mapping[str, Any]
OidcProblem: TypeAlias = Literal["denied", "expired", "provider", "token", "name"]
"""Why somebody could not sign in: refused there; begun too long ago or elsewhere; the provider does not work; its token
is not valid; it gives no name."""


class OidcRefused(Exception):
    """Somebody could not sign in. The message is for the log."""

    def __init__(self, problem: OidcProblem, why: str, *, repeated: bool = False) -> None:
        """`repeated` is whether it was refused without asking the provider again."""
        super().__init__(why)
        self.problem: OidcProblem = problem
        self.repeated = repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcFlow:
    """What was begun in one browser. Its cookie is the only memory of it."""

    secret: str
    next: str
    """Where to lead afterwards."""

    @classmethod
    def begun(cls, next_: str) -> Self:
        """Begin."""
        return cls(secret=secrets.token_urlsafe(32), next=next_)

    @classmethod
    def parse(cls, cookie: str) -> Self | None:
        """Read a cookie; None where it is none."""
        secret, _, encoded = cookie.partition(".")
        try:
            next_ = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except ValueError:
            return None
        return cls(secret=secret, next=safe_next(next_)) if secret else None

    @property
    def cookie(self) -> str:
        """The value of the cookie."""
        return f"{self.secret}.{base64.urlsafe_b64encode(self.next.encode()).decode().rstrip('=')}"

    def derived(self, what: Literal["state", "nonce", "verifier"]) -> str:
        """Return one of the values that only this browser has."""
        return _encode(hmac.new(self.secret.encode(), what.encode(), hashlib.sha256).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcIdentity:
    """Who signed in at the provider."""

    name: str
    groups: tuple[str, ...]
    next: str
    """Where to lead now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Provider:
    """What a provider publishes."""

    metadata: JsonValues
    keys: JsonValues
    read_at: float


class OidcClient:
    """Signs people in at one provider."""

    def __init__(self, rules: OidcRules, http: HttpClient, clock: Clock) -> None:
        self._rules = rules
        self._http = http
        self._clock = clock
        self._provider: _Provider | None = None
        self._failed: tuple[float, OidcRefused] | None = None
        self._reading = asyncio.Lock()

    async def begin(self, flow: OidcFlow) -> str:
        """Return the address at the provider where somebody signs in. Raises OidcRefused."""
        endpoint = _endpoint((await self._read_provider()).metadata, "authorization_endpoint")
        challenge = _encode(hashlib.sha256(flow.derived("verifier").encode()).digest())
        query = {
            "response_type": "code",
            "client_id": self._rules.client_id,
            "redirect_uri": self._rules.redirect_uri,
            "scope": " ".join(self._rules.scopes),
            "state": flow.derived("state"),
            "nonce": flow.derived("nonce"),
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    async def finish(self, flow: OidcFlow | None, answer: Mapping[str, str]) -> OidcIdentity:
        """Return who signed in, by the answer that the provider sent back with the browser. Raises OidcRefused."""
        if flow is None or not hmac.compare_digest(answer.get("state", "").encode(), flow.derived("state").encode()):
            raise OidcRefused("expired", "the state is not that of this browser")
        # RFC 9207: an answer of another provider is not taken for one of this.
        if answer.get("iss", self._rules.issuer) != self._rules.issuer:
            raise OidcRefused("token", "another issuer answered")
        if "error" in answer or "code" not in answer:
            raise OidcRefused("denied", f"the provider refused: {answer.get('error', 'no code')[:60]}")
        tokens = await self._exchange_code(flow, answer["code"])
        claims = await self._validated(tokens, flow.derived("nonce"))
        claims = await self._with_user_info(claims, tokens)
        given = claims.get(self._rules.name_claim)
        name = clean_name(given) if isinstance(given, str) else None
        if name is None:
            raise OidcRefused("name", f"the provider gives no usable claim {self._rules.name_claim}")
        return OidcIdentity(name=name, groups=_groups(claims.get(self._rules.groups_claim)), next=flow.next)

    async def check(self) -> None:
        """Prove that the provider publishes what signing in takes. Raises OidcRefused."""
        provider = await self._read_provider()
        for name in ("authorization_endpoint", "token_endpoint"):
            _endpoint(provider.metadata, name)
        if not _signing_keys(provider.keys):
            raise OidcRefused("provider", "it publishes no key that signs")

    def logout_address(self) -> str | None:
        """Return where somebody signs out at the provider too; None where it is not known to have that."""
        endpoint = self._provider.metadata.get("end_session_endpoint") if self._provider else None
        if not isinstance(endpoint, str) or not _is_safe(endpoint):
            return None
        query = {"client_id": self._rules.client_id, "post_logout_redirect_uri": f"{self._rules.home}/login"}
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    # ---- what the provider publishes ----

    async def _read_provider(self, *, newer_than: float | None = None) -> _Provider:
        """Return what the provider publishes, read at most an hour ago, or later than a time where one is given."""
        async with self._reading:
            now, known = self._clock.monotonic(), self._provider
            wanted = now - METADATA_LASTS if newer_than is None else newer_than
            if known is not None and known.read_at > wanted:
                return known
            if self._failed and now < self._failed[0] + FAILURE_PAUSE:
                before = self._failed[1]
                raise OidcRefused(before.problem, str(before), repeated=True)
            try:
                self._provider = await self._ask_provider(now)
            except OidcRefused as error:
                self._failed = now, error
                raise
            return self._provider

    async def _ask_provider(self, now: float) -> _Provider:
        metadata = await self._get(f"{self._rules.issuer.rstrip('/')}/.well-known/openid-configuration")
        if metadata.get("issuer") != self._rules.issuer:
            raise OidcRefused("provider", f"its configuration names another issuer: {metadata.get('issuer')}")
        return _Provider(metadata=metadata, keys=await self._get(_endpoint(metadata, "jwks_uri")), read_at=now)

    async def _get(self, url: str, headers: Mapping[str, str] | None = None) -> JsonValues:
        return _json_of(await self._request("GET", url, headers=headers))

    async def _request(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Reply:
        try:
            reply = await self._http.exchange(
                method, url, headers=headers, content=content, deadline=DEADLINE, max_bytes=_MAX_BYTES
            )
        except HttpError as error:
            raise OidcRefused("provider", str(error)) from None
        if reply.status != 200:  # noqa: PLR2004 - the only good one
            raise OidcRefused("provider", f"{urlsplit(url).path} answered {reply.status}")
        return reply

    # ---- tokens ----

    async def _exchange_code(self, flow: OidcFlow, code: str) -> JsonValues:
        from authlib.oauth2.auth import ClientAuth  # noqa: PLC0415 - an extra

        metadata = (await self._read_provider()).metadata
        endpoint = _endpoint(metadata, "token_endpoint")
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._rules.redirect_uri,
            "code_verifier": flow.derived("verifier"),
        }
        method = _client_auth_method(metadata, has_secret=self._rules.client_secret is not None)
        if method == "none":
            fields["client_id"] = self._rules.client_id
        auth = ClientAuth(self._rules.client_id, self._rules.client_secret, method)
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        url, headers, body = auth.prepare("POST", endpoint, headers, urlencode(fields))
        content = body.encode() if isinstance(body, str) else body
        headers = {name: str(value) for name, value in headers.items() if name != "Content-Length"}
        return _json_of(await self._request("POST", url, headers=headers, content=content))

    async def _validated(self, tokens: JsonValues, nonce: str) -> JsonValues:
        """Return the claims of the ID token. Raises OidcRefused for one that is not what this sign-in was to get."""
        from authlib.oidc.core import CodeIDToken  # noqa: PLC0415 - an extra
        from joserfc.errors import JoseError  # noqa: PLC0415

        encoded = tokens.get("id_token")
        if not isinstance(encoded, str):
            raise OidcRefused("token", "the provider sent no ID token")
        options = {
            "iss": {"essential": True, "value": self._rules.issuer},
            "aud": {"essential": True, "value": self._rules.client_id},
        }
        params = {
            "nonce": nonce,
            "client_id": self._rules.client_id,
            "access_token": tokens.get("access_token"),
        }
        try:
            claims, header = await self._decoded(encoded)
            token = CodeIDToken(claims, header, options, params)
            token.validate(now=int(self._clock.now().timestamp()), leeway=LEEWAY)
        except (JoseError, ValueError, TypeError) as error:  # a malformed claim raises either of the latter
            raise OidcRefused("token", f"the ID token is not valid: {type(error).__name__}: {error}") from None
        if not hmac.compare_digest(str(token.get("nonce", "")).encode(), nonce.encode()):
            raise OidcRefused("token", "the ID token has another nonce")
        return dict(token)

    async def _decoded(self, encoded: str) -> tuple[JsonValues, JsonValues]:
        """Return the claims and the header of a signed token. Keys are read again where it names an unknown one."""
        from joserfc import jws, jwt  # noqa: PLC0415 - an extra

        provider = await self._read_provider()
        kid = jws.extract_compact(encoded.encode()).headers().get("kid")
        if kid is not None and kid not in {key.get("kid") for key in _signing_keys(provider.keys)}:
            newer_than = min(provider.read_at, self._clock.monotonic() - KEYS_PAUSE)
            provider = await self._read_provider(newer_than=newer_than)
        token = jwt.decode(encoded, _key_set(provider.keys), algorithms=list(_ALGORITHMS))
        return token.claims, token.header

    async def _with_user_info(self, claims: JsonValues, tokens: JsonValues) -> JsonValues:
        """Add what the provider says only when it is asked, as far as it is needed."""
        missing = {self._rules.name_claim, self._rules.groups_claim} - claims.keys()
        metadata = (await self._read_provider()).metadata
        access_token = tokens.get("access_token")
        if not missing or "userinfo_endpoint" not in metadata or not isinstance(access_token, str):
            return claims
        headers = {"Authorization": f"Bearer {access_token}", "Accept": "application/json"}
        found = await self._get(_endpoint(metadata, "userinfo_endpoint"), headers)
        if found.get("sub") != claims["sub"]:
            raise OidcRefused("token", "the user info is about somebody else")
        return {**found, **claims}


def _client_auth_method(metadata: JsonValues, *, has_secret: bool) -> str:
    supported = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not has_secret:
        return "none"
    return "client_secret_basic" if "client_secret_basic" in supported else "client_secret_post"


def _signing_keys(keys: JsonValues) -> Sequence[JsonValues]:
    listed = keys.get("keys")
    found = [key for key in listed if isinstance(key, dict)] if isinstance(listed, list) else []
    return [key for key in found if key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"]


def _key_set(keys: JsonValues) -> Any:  # noqa: ANN401 - of the library
    from joserfc.jwk import KeySet  # noqa: PLC0415 - an extra

    return KeySet.import_key_set({"keys": [dict(key) for key in _signing_keys(keys)]})


def _endpoint(metadata: JsonValues, name: str) -> str:
    address = metadata.get(name)
    if not isinstance(address, str) or not _is_safe(address):
        raise OidcRefused("provider", f"its configuration has no usable {name}")
    return address


def _is_safe(url: str) -> bool:
    """Return whether nobody else can read what is sent to an address."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def _json_of(reply: Reply) -> JsonValues:
    try:
        found = json.loads(reply.body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OidcRefused("provider", "it answered something that is no JSON object")
    return found


def _groups(claim: object) -> tuple[str, ...]:
    listed = [claim] if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return tuple(group for group in listed[:_MAX_GROUPS] if isinstance(group, str) and len(group) <= _MAX_GROUP)


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
