"""The base of channels over HTTP: requests, the meaning of a status or an error, and the reply kept with an attempt."""

from collections.abc import Collection, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

from notifier.channels.base import PROBE_AFTER, BaseChannel, S
from notifier.channels.reply_conditions import decompressed
from notifier.channels.reply_text import Secrets, http_reply
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.retry import retry_after
from notifier.http import AddressRefused, HttpError, NotSent, Reply
from notifier.settings.secrets import secrets_in

OutcomeT = TypeVar("OutcomeT", bound=Outcome)

MAX_REPLY = 64 * 1024
"""Maximum size of a reply, in bytes."""


class HttpChannel(BaseChannel[S]):
    """Base of a channel that posts over HTTP."""

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        deadline: float | None = None,
    ) -> Coroutine[Any, Any, Reply]:
        """Send one request within `deadline` seconds (None: those of the channel). Raises HttpError when awaited."""
        within = self.deadline if deadline is None else deadline
        return self.context.http.exchange(
            method, url, headers=headers, content=content, deadline=within, max_bytes=MAX_REPLY
        )

    async def ask_status(self, method: str, url: str, *, headers: Mapping[str, str] | None = None) -> int:
        """Return the status of the reply to a harmless request. Raises HttpError where there is none."""
        try:
            return (await self.exchange(method, url, headers=headers)).status
        except HttpError as error:
            if error.status is None:
                raise
            return error.status

    def with_reply(self, outcome: OutcomeT, answer: Reply | HttpError) -> OutcomeT:
        """Return the outcome with the reply of the receiver as one line that may be stored and shown, without secrets.

        `answer` is a reply, or an error of `HttpClient.exchange`, which may hold a part of one.
        """
        if answer.status is None:
            return outcome
        content_type = answer.headers.get("content-type", "")
        body = decompressed(answer.body, answer.headers.get("content-encoding", ""))
        return replace(outcome, reply=http_reply(answer.status, body, content_type, secrets=self.secrets))

    @cached_property
    def secrets(self) -> Secrets:
        """The secrets of the settings, and those of `mask_too`, which are masked in replies."""
        return Secrets((*secrets_in(self.settings.model_dump()), *self._masked_too))

    def mask_too(self, secret: str) -> None:
        """Mask one more secret in replies from now on, such as an issued token, besides the one before it."""
        self._masked_too = (*self._masked_too[-1:], secret)
        vars(self).pop("secrets", None)

    _masked_too: tuple[str, ...] = ()


_RETRYABLE = frozenset({408, 425, 429})
_WRONG_CONTENT = frozenset({400, 413, 422})
_GONE = 410
MISCONFIGURED = frozenset({401, 403, 404, 405, _GONE})
"""Statuses that a receiver would give to every message until somebody fixes the URL or the credentials."""


def outcome_of_status(status: int, headers: Mapping[str, str], now: datetime) -> Outcome:
    """Return what a status means for the delivery.

    Only 2xx is success. A redirect is not followed and counts as a failure. A refusal of the content is final. A
    refusal of any message parks the channel, with probes, because receivers deploy bugs and fix them. Others are
    retried.
    """
    reason = f"HTTP {status}"
    match status:
        case _ if 200 <= status < 300:  # noqa: PLR2004 - the class of success
            return Delivered()
        case _ if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
            return Retry(f"{reason}: redirect not followed")
        case _ if status in _WRONG_CONTENT:
            return GaveUp(reason)
        case _ if status in MISCONFIGURED:
            gone = status == _GONE
            what = "the receiver is gone" if gone else "check the URL and the credentials that the receiver wants"
            return Parked(f"{reason}: {what}", None if gone else PROBE_AFTER)
        case _ if status in _RETRYABLE or status >= 500:  # noqa: PLR2004 - the class of server errors
            return Retry(reason, retry_after(headers, now))
    return Retry(reason)


def address_problem(status: int, *, absent: Collection[int] = (404, 410)) -> str:
    """Return what the status of a harmless request proves to be wrong with an address; empty where it proves nothing.

    `absent`: statuses that mean that nothing is there, whatever the method.
    """
    if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
        return "it redirects, and no redirect is followed: set the address that it leads to"
    if status == 407:  # noqa: PLR2004 - as the standard has it
        return "the proxy wants a user and a password"
    return "nothing is there" if status in absent else ""


def outcome_of_error(error: HttpError, now: datetime, *, status_suffices: bool = True) -> Outcome:
    """Return what an exchange without a complete reply means for the delivery.

    `status_suffices` is False for a service whose success is in the body: a 2xx whose body was lost is then unknown.
    """
    if isinstance(error, AddressRefused):
        return Parked(str(error), PROBE_AFTER)
    if isinstance(error, NotSent):
        return Retry(str(error))
    if error.status is None or (not status_suffices and 200 <= error.status < 300):  # noqa: PLR2004 - as above
        return Unknown(str(error))
    return outcome_of_status(error.status, error.headers, now)
