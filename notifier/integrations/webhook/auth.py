"""The header `Authorization` of a webhook: fixed, or with a token of an authorization server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from notifier.channels.access_tokens import AccessToken, AccessTokens, NoAccessToken
from notifier.channels.authorization import basic_authorization
from notifier.channels.http_channel import MAX_REPLY
from notifier.channels.oauth2 import ClientCredentials, fetch_token
from notifier.core.delivery import Retry
from notifier.http import Reply
from notifier.integrations.webhook.auth_settings import WebhookBasicAuth, WebhookBearerAuth, WebhookOAuth2
from notifier.ports import CheckResult

if TYPE_CHECKING:
    from notifier.channels.http_channel import HttpChannel

_UNAUTHORIZED = 401


def static_authorization(auth: WebhookBasicAuth | WebhookBearerAuth | WebhookOAuth2 | None) -> Mapping[str, str]:
    """Return the header that is the same in every request; none for tokens that are issued."""
    match auth:
        case WebhookBasicAuth():
            return {"Authorization": basic_authorization(auth.username, auth.password.get_secret_value())}
        case WebhookBearerAuth():
            return {"Authorization": f"Bearer {auth.token.get_secret_value()}"}
    return {}


class TokenBearer:
    """Sends the requests of a channel with a token that an authorization server issued."""

    def __init__(self, auth: WebhookOAuth2, channel: HttpChannel[Any]) -> None:
        self._client = ClientCredentials.of(auth, auth.token_url)
        self._channel = channel
        self._tokens = AccessTokens(self._fetch, channel.context.clock)

    async def _fetch(self) -> AccessToken:
        channel = self._channel
        token = await fetch_token(
            self._client,
            channel.context.http,
            channel.context.clock.now(),
            deadline=channel.deadline / 2,  # the other half is for the message
            secrets=channel.secrets,
        )
        channel.mask_too(token.value)
        return token

    async def exchange(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes) -> Reply:
        """Send a request within the deadline of the channel. Raises NoAccessToken or HttpError.

        A token that the receiver refuses is replaced once: it may have been revoked. The refused request had no effect.
        """
        exchange = self._channel.context.http.exchange
        request = partial(exchange, method, url, content=content, max_bytes=MAX_REPLY)
        until = asyncio.get_running_loop().time() + self._channel.deadline
        token, reply = await self._attempt(request, headers, until)
        if reply.status == _UNAUTHORIZED:
            self._tokens.forget(token)
            _, reply = await self._attempt(request, headers, until)
        return reply

    async def _attempt(
        self, request: Callable[..., Awaitable[Reply]], headers: Mapping[str, str], until: float
    ) -> tuple[str, Reply]:
        """Return the token that was used, and the reply."""
        late = NoAccessToken(Retry("the access token came too late for the deadline of the message"))
        try:
            async with asyncio.timeout_at(until):
                token = await self._tokens.get()
        except TimeoutError:
            raise late from None
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            raise late
        return token, await request(headers={**headers, **_bearer(token)}, deadline=left)

    async def check(self) -> tuple[Mapping[str, str], list[CheckResult]]:
        """Fetch a token. Return the header for it and what that proved."""
        what = "webhook token"
        try:
            token = await self._tokens.get()
        except NoAccessToken as error:
            reason = error.outcome.reason or ""
            return {}, [CheckResult(ok=False, what=what, detail=reason, remedy="check auth, with the reason above")]
        return _bearer(token), [CheckResult(ok=True, what=what, detail=f"{self._client.server} issued a token")]


def _bearer(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}
