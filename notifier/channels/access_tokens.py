"""Access tokens that a service issues for a limited time: fetched when needed, kept, and renewed before they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from notifier.channels.base import PROBE_AFTER
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.ports import Clock


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token and how long it is valid."""

    value: str = field(repr=False)
    lifetime: timedelta
    """Time from its issue to its end, as the service states it."""


_MAX_LIFETIME = 1_000_000
"""Maximum lifetime that is believed, in seconds. A token with another one counts as ended at once."""


def stated_token(value: object, seconds: object) -> AccessToken | None:
    """Return the token that a reply states with its lifetime; None for what cannot be one."""
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        return None
    lifetime = seconds if isinstance(seconds, int | float) and 0 < seconds < _MAX_LIFETIME else 0
    return AccessToken(value, timedelta(seconds=lifetime))


class NoAccessToken(Exception):
    """A token could not be fetched, so the message was not sent. `outcome` is that of the message."""

    def __init__(self, outcome: Outcome) -> None:
        """`outcome` is that of the request for a token.

        Nothing about that request delivers the message, leaves its fate open or judges its content: Delivered and
        Unknown become Retry, and GaveUp becomes Parked.
        """
        super().__init__(outcome.reason)
        self.outcome = _of_the_message(outcome)


def _of_the_message(outcome: Outcome) -> Outcome:
    match outcome:
        case Delivered():
            return Retry(outcome.reason or "the reply has no token", reply=outcome.reply)
        case Unknown():
            return Retry(outcome.reason, reply=outcome.reply)
        case GaveUp():
            return Parked(outcome.reason, PROBE_AFTER, reply=outcome.reply)
    return outcome


_MAX_MARGIN = timedelta(minutes=5)


def use_period(lifetime: timedelta) -> timedelta:
    """Return how long a token is used: all of its lifetime but a tenth, or but five minutes where that is less.

    The rest is for requests under way, and for clocks that do not agree about the end.
    """
    return max(lifetime - min(lifetime / 10, _MAX_MARGIN), timedelta())


class AccessTokens:
    """Keeps one token.

    Args:
        fetch: asks the service for a new token. It has a deadline of its own, and raises NoAccessToken.
        clock: measures how long a token has been in use.
    """

    def __init__(self, fetch: Callable[[], Awaitable[AccessToken]], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value: str | None = None
        self._renew_at = 0.0
        """On the monotonic clock."""
        self._failure: NoAccessToken | None = None
        """That of the latest fetch; None after one that succeeded."""
        self._fetches = 0
        """Number of fetches that have ended, which shows those who waited for one that it took place."""

    async def get(self) -> str:
        """Return a token that is valid for a while. Raises NoAccessToken.

        Callers that come while a token is being fetched wait for it and share the result, also a failure.
        """
        if usable := self._usable():
            return usable
        seen = self._fetches
        async with self._lock:
            if usable := self._usable():
                return usable
            if self._fetches != seen and self._failure:
                raise NoAccessToken(self._failure.outcome)
            return await self._renew()

    def forget(self, token: str) -> None:
        """Drop a token that the service refused, so that the next `get` fetches another one. A later one is kept."""
        if self._value == token:
            self._value = None

    def _usable(self) -> str | None:
        return self._value if self._clock.monotonic() < self._renew_at else None

    async def _renew(self) -> str:
        began = self._clock.monotonic()
        self._value = None
        try:
            token = await self._fetch()
        except NoAccessToken as failure:
            self._failure = failure
            self._fetches += 1
            raise
        # It was issued after the request began, so this never counts it as younger than it is.
        self._value, self._renew_at = token.value, began + use_period(token.lifetime).total_seconds()
        self._failure = None
        self._fetches += 1
        return token.value
