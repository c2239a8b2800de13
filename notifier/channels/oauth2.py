"""Access tokens from an OAuth 2.0 authorization server, by the grant client_credentials (RFC 6749, 4.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode

from notifier.channels.access_tokens import AccessToken, NoAccessToken
from notifier.channels.auth_settings import OAuth2Client
from notifier.channels.authorization import basic_authorization
from notifier.channels.base import PROBE_AFTER
from notifier.channels.http_channel import MAX_REPLY, outcome_of_error, outcome_of_status
from notifier.channels.reply_conditions import ParsedReply, decompressed
from notifier.channels.reply_rules import known_outcome
from notifier.channels.reply_text import Secrets, http_reply
from notifier.core.delivery import Delivered, Outcome, Parked, Retry
from notifier.http import HttpClient, HttpError, Reply, parse_target

DEFAULT_LIFETIME = timedelta(minutes=5)
"""Lifetime of a token where the server does not state one. A service that refuses it earlier gets another one."""

_SUCCESS, _NOT_FOUND = 200, 404


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """A client that an authorization server knows, and what it asks for."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str = ""
    """Scopes with spaces between them; the empty string for the default of the server."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of the request, such as `audience`."""
    in_body: bool = False
    """Whether the id and the secret are parameters of the request, instead of its header `Authorization`."""

    @classmethod
    def of(cls, client: OAuth2Client, token_url: str) -> ClientCredentials:
        """Return the client of the settings of a channel."""
        return cls(
            token_url=token_url,
            client_id=client.client_id,
            client_secret=client.client_secret.get_secret_value(),
            scope=" ".join(client.scopes),
            parameters=client.parameters,
            in_body=client.credentials == "body",
        )

    @property
    def server(self) -> str:
        """The host of the server, for messages."""
        return parse_target(self.token_url)[0].name

    def request(self) -> tuple[Mapping[str, str], bytes]:
        """Return the headers and the body of a request for a token."""
        form = {"grant_type": "client_credentials", **({"scope": self.scope} if self.scope else {}), **self.parameters}
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if self.in_body:
            form |= {"client_id": self.client_id, "client_secret": self.client_secret}
        else:  # both are encoded as in a form before they are joined: RFC 6749, 2.3.1
            user, password = quote_plus(self.client_id), quote_plus(self.client_secret)
            headers["authorization"] = basic_authorization(user, password)
        return headers, urlencode(form).encode()


async def fetch_token(
    client: ClientCredentials, http: HttpClient, now: datetime, *, deadline: float, secrets: Secrets
) -> AccessToken:
    """Ask for a token. Raises NoAccessToken.

    Args:
        client: who asks.
        http: sends the request.
        now: the current time, for a Retry-After.
        deadline: in seconds, for the whole exchange.
        secrets: masked in the reply that is kept of a refusal.
    """
    headers, content = client.request()
    try:
        reply = await http.exchange(
            "POST", client.token_url, headers=headers, content=content, deadline=deadline, max_bytes=MAX_REPLY
        )
    except HttpError as error:
        outcome = outcome_of_error(error, now)
        cut = isinstance(outcome, Delivered)  # a good status, and the token got lost on the way
        raise NoAccessToken(_named(Retry(str(error)) if cut else outcome, client)) from None
    token = _read_token(ParsedReply(reply.status, reply.headers, reply.body))
    if isinstance(token, AccessToken):
        return token
    outcome = token or _refusal(reply, now)
    raise NoAccessToken(_with_reply(_named(outcome, client), reply, secrets))


def _read_token(reply: ParsedReply) -> AccessToken | Outcome | None:
    """Return the token of a reply, or what is wrong with a successful one; None for a refusal."""
    if reply.status != _SUCCESS:
        return None
    data = reply.data if isinstance(reply.data, dict) else {}
    value = data.get("access_token")
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
        return (
            None if "error" in data else Parked("HTTP 200 without an access_token: check auth.token_url", PROBE_AFTER)
        )
    if str(data.get("token_type", "bearer")).lower() != "bearer":
        return Parked("it issues no bearer tokens, and no others are supported", PROBE_AFTER)
    return AccessToken(value, _lifetime(data.get("expires_in")))


def _lifetime(stated: Any) -> timedelta:  # noqa: ANN401 - JSON
    """Return the stated lifetime. Some servers write the number as text."""
    try:
        return timedelta(seconds=float(stated))
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_LIFETIME


def _refusal(reply: Reply, now: datetime) -> Outcome:
    parsed = ParsedReply(reply.status, reply.headers, reply.body)
    if known := known_outcome("oauth2", parsed, now):
        return known
    if parsed.succeeded:
        return Retry(f"HTTP {reply.status} without a token")
    if reply.status == _NOT_FOUND:
        return Parked(f"HTTP {reply.status}: check auth.token_url", PROBE_AFTER)
    return outcome_of_status(reply.status, reply.headers, now)


def _named(outcome: Outcome, client: ClientCredentials) -> Outcome:
    return replace(outcome, reason=f"no access token from {client.server}: {outcome.reason}")


def _with_reply(outcome: Outcome, reply: Reply, secrets: Secrets) -> Outcome:
    body = decompressed(reply.body, reply.headers.get("content-encoding", ""))
    text = http_reply(reply.status, body, reply.headers.get("content-type", ""), secrets=secrets)
    return replace(outcome, reply=text)
