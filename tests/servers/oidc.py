"""A provider of OpenID Connect on loopback: it publishes keys, signs people in at once, and signs what it is told to.

It checks what a real provider checks: the client, the redirect URI, the code and its verifier (PKCE).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlencode

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from notifier.logs import RejectionLog
from notifier.web.server import Server

Claims = dict[str, Any]


@cache
def rsa_key(kid: str, number: int = 0) -> RSAKey:  # noqa: ARG001 - one for each number
    """Return a key; making one takes a while."""
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}, auto_kid=False)


@dataclass(frozen=True, slots=True)
class _Grant:
    """What a code stands for."""

    nonce: str
    challenge: str
    redirect_uri: str


@dataclass
class OidcServer:
    """`async with OidcServer(now) as provider:` signs `person` in."""

    now: Callable[[], float]
    client_id: str = "notifier"
    client_secret: str | None = "oidc secret"
    person: Claims = field(default_factory=lambda: {"sub": "42", "preferred_username": "chen", "groups": ["dba"]})
    userinfo: Claims = field(default_factory=lambda: {"sub": "42"})
    changed: Claims = field(default_factory=dict)
    """Claims that the ID token has instead; None takes one away."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """What it publishes instead."""
    refuses: str = ""
    """The error that people come back with."""
    sign: Callable[[OidcServer, Claims], str] | None = None
    """Signs the ID token in another way."""
    asked: list[str] = field(default_factory=list)
    """The paths of all requests."""

    def __post_init__(self) -> None:
        self.keys: list[RSAKey | ECKey] = [rsa_key("first")]
        self._grants: dict[str, _Grant] = {}

    async def __aenter__(self) -> Self:
        routes = [
            Route("/realm/.well-known/openid-configuration", self._configuration),
            Route("/realm/keys", self._published_keys),
            Route("/realm/authorize", self._authorize),
            Route("/realm/token", self._token, methods=["POST"]),
            Route("/realm/userinfo", self._userinfo),
        ]
        rejections = RejectionLog("test", logger="test", seconds=self.now)
        self._server = Server(Starlette(routes=routes), "127.0.0.1", 0, rejections=rejections)
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    @property
    def issuer(self) -> str:
        return f"{self._server.url}/realm"

    def rotate(self) -> None:
        """Sign with a new key from now on; the old one is published no more."""
        self.keys = [ECKey.generate_key("P-256", {"kid": "second", "use": "sig"}, auto_kid=False)]

    async def _configuration(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        content: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=a",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/logout",
        }
        return JSONResponse({name: value for name, value in {**content, **self.metadata}.items() if value is not None})

    async def _published_keys(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        unknown = {"kty": "LATTICE", "kid": "future", "use": "sig"}
        return JSONResponse({"keys": [unknown, *KeySet(list(self.keys)).as_dict(private=False)["keys"]]})

    async def _authorize(self, request: Request) -> Response:
        """Sign `person` in, and send the browser back."""
        query = request.query_params
        assert query["client_id"] == self.client_id
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        assert query["tenant"] == "a"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self._grants[code] = _Grant(query["nonce"], query["code_challenge"], query["redirect_uri"])
        answer = {"error": self.refuses} if self.refuses else {"code": code}
        return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer | {'state': query['state']})}")

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        grant = self._grants.pop(form.get("code", ""), None)
        verified = _encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        known = grant and (verified, form["redirect_uri"]) == (grant.challenge, grant.redirect_uri)
        if not known or not self._is_client(request.headers, form) or grant is None:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        access_token = secrets.token_urlsafe(16)
        now = int(self.now())
        claims = {"iss": self.issuer, "aud": self.client_id, "iat": now, "exp": now + 300, "nonce": grant.nonce}
        claims = {name: value for name, value in (claims | self.person | self.changed).items() if value is not None}
        signed = self.sign(self, claims) if self.sign else self.signed(claims)
        return JSONResponse({"access_token": access_token, "token_type": "Bearer", "id_token": signed})

    def _is_client(self, headers: Mapping[str, str], form: Mapping[str, str]) -> bool:
        if self.client_secret is None:
            return form.get("client_id") == self.client_id and "authorization" not in headers
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, secret = base64.b64decode(encoded).decode().partition(":")
            return (unquote(name), unquote(secret)) == (self.client_id, self.client_secret)
        return (form.get("client_id"), form.get("client_secret")) == (self.client_id, self.client_secret)

    async def _userinfo(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        assert request.headers["authorization"].startswith("Bearer ")
        return JSONResponse(self.userinfo)

    def signed(self, claims: Claims, key: RSAKey | ECKey | None = None) -> str:
        """Return a token, signed with a key of this provider or another one."""
        key = key or self.keys[0]
        algorithm = "RS256" if isinstance(key, RSAKey) else "ES256"
        header = {"alg": algorithm, "kid": key.kid}
        return jwt.encode(header, claims, key, algorithms=[algorithm])


def unsigned(_provider: OidcServer, claims: Claims) -> str:
    """Return a token with the algorithm none."""
    return f"{_unsigned_part('none', claims)}."


def symmetric(provider: OidcServer, claims: Claims) -> str:
    """Return a token that is signed with the public key as the secret of HS256: the confusion of algorithms."""
    part = _unsigned_part("HS256", claims)
    public = provider.keys[0].as_pem(private=False)
    return f"{part}.{_encode(hmac.new(public, part.encode(), hashlib.sha256).digest())}"


def _unsigned_part(algorithm: str, claims: Claims) -> str:
    header = {"alg": algorithm, "typ": "JWT", "kid": "first"}
    return ".".join(_encode(json.dumps(part).encode()) for part in (header, claims))


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
