"""The base of chats whose requests carry an access token that ends after a while."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, TypeVar

from notifier.channels.access_tokens import AccessToken, AccessTokens, NoAccessToken
from notifier.channels.base import PROBE_AFTER, ChannelContext
from notifier.channels.http_channel import outcome_of_error, outcome_of_status
from notifier.channels.http_chat import Asked, ChatRequest, HttpChat, code_of
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import known_outcome
from notifier.channels.reply_text import Secrets
from notifier.channels.settings import ChannelSettings
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Unknown
from notifier.http import HttpError, Reply
from notifier.ports import CheckResult
from notifier.settings.secrets import secrets_in

S = TypeVar("S", bound=ChannelSettings)


class TokenChat(HttpChat[S]):
    """Posts with an access token. It is fetched when it is needed, and once more where the service refuses it.

    `deadline` holds for all requests of an attempt together.
    """

    credentials: ClassVar[str]
    """Settings that a token is fetched with, for reasons: `app_id and app_secret`."""

    def __init__(self, settings: S, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self._tokens = AccessTokens(self._fetch_token, context.clock)

    @abstractmethod
    def token_request(self) -> ChatRequest:
        """Return the request for a token."""

    @abstractmethod
    def token_in(self, reply: ParsedReply) -> AccessToken | None:
        """Return the token in a reply; None where it has none."""

    @abstractmethod
    def refuses_token(self, reply: ParsedReply) -> bool:
        """Return whether a reply says that the token of its request is not valid (any more)."""

    @abstractmethod
    def authorized(self, request: ChatRequest, token: str) -> ChatRequest:
        """Return a request with a token."""

    async def ask(self, request: ChatRequest, end: float) -> Asked:
        """Send a request with a token until `end`; see `HttpChat.ask`. Without a token nothing was sent."""
        try:
            return await super().ask(request, end)
        except NoAccessToken as failure:
            return failure.outcome, None

    async def call(self, request: ChatRequest, end: float) -> Reply:
        """Return the reply to a request with a token. Raises HttpError and NoAccessToken."""
        token = await self._tokens.get()
        reply = await super().call(self.authorized(request, token), end)
        if not self.refuses_token(ParsedReply(reply.status, reply.headers, reply.body)):
            return reply
        self._tokens.forget(token)
        return await super().call(self.authorized(request, await self._tokens.get()), end)

    async def check_token(self, what: str) -> CheckResult | None:
        """Return why there is no access token; None where there is one."""
        try:
            await self._tokens.get()
        except NoAccessToken as failure:
            detail, _, remedy = failure.outcome.reason.partition("; ") if failure.outcome.reason else ("", "", "")
            remedy = remedy or "check the address, the network and the proxy"
            return CheckResult(ok=False, what=what, detail=detail, remedy=remedy)
        return None

    def _refusal(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply without a token means."""
        for service in self.tables:
            if known := known_outcome(service, reply, now):
                return known
        code = code_of(reply, "code")
        outcome = outcome_of_status(reply.status, reply.headers, now)
        if isinstance(outcome, GaveUp | Parked) or (isinstance(outcome, Delivered) and code):
            what = f"HTTP {reply.status}" + (f": code {code}" if code else "")
            return Parked(f"{what}; check {self.credentials}", PROBE_AFTER)
        if isinstance(outcome, Delivered):
            return Unknown(f"HTTP {reply.status} without an access token")
        return outcome

    async def _fetch_token(self) -> AccessToken:
        request, now = self.token_request(), self.context.clock.now
        try:
            reply = await super().call(request, self.context.clock.monotonic() + self.deadline / 2)
        except HttpError as error:
            outcome = outcome_of_error(error, now())
            outcome = replace(outcome, reason=f"no access token: {outcome.reason}")
            raise NoAccessToken(self.with_reply(outcome, error)) from error
        parsed = ParsedReply(reply.status, reply.headers, reply.body)
        if token := self.token_in(parsed):
            self.secrets = Secrets((*secrets_in(self.settings.model_dump()), token.value))
            return token
        refused = self._refusal(parsed, now())
        raise NoAccessToken(self.with_reply(replace(refused, reason=f"no access token: {refused.reason}"), reply))
