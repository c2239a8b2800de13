"""What channels over HTTP share: what a status or an error means for a delivery, and the reply kept with an attempt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from typing import Protocol, TypeVar

from notifier.channels.base import PROBE_AFTER, BaseChannel, S
from notifier.channels.reply_conditions import decompressed
from notifier.channels.reply_text import Secrets, http_reply
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.retry import retry_after
from notifier.http import AddressRefused, HttpError, NotSent
from notifier.settings.secrets import secrets_in

OutcomeT = TypeVar("OutcomeT", bound=Outcome)


class PartialReply(Protocol):
    """A reply over HTTP, or as much of one as arrived."""

    @property
    def status(self) -> int | None:
        """None where not even a status line arrived."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Looked up by lower-case names."""

    @property
    def body(self) -> bytes:
        """The bytes as they came."""


class HttpChannel(BaseChannel[S]):
    """Base of a channel that posts over HTTP."""

    def with_reply(self, outcome: OutcomeT, answer: PartialReply) -> OutcomeT:
        """Return the outcome with what the receiver replied, fit to be stored and shown; no secret of ours is in it.

        An answer is a reply over HTTP, or an error of `HttpClient.exchange`, which may have brought a part of one.
        """
        if answer.status is None:
            return outcome
        content_type = answer.headers.get("content-type", "")
        body = decompressed(answer.body, answer.headers.get("content-encoding", ""))
        return replace(outcome, reply=http_reply(answer.status, body, content_type, secrets=self.secrets))

    @cached_property
    def secrets(self) -> Secrets:
        """The secrets of its settings, to be masked where a reply repeats them."""
        return Secrets(secrets_in(self.settings.model_dump()))


_RETRYABLE = frozenset({408, 425, 429})
_WRONG_CONTENT = frozenset({400, 413, 422})
_GONE = 410
MISCONFIGURED = frozenset({401, 403, 404, 405, _GONE})
"""A receiver that answers so to one message answers so to all, until somebody mends the URL or the credentials."""


def outcome_of_status(status: int, headers: Mapping[str, str], now: datetime) -> Outcome:
    """Return what a status means for the delivery.

    2xx only is success. A redirect is not followed and counts as a failure. What the receiver refuses for its
    content is final. What it refuses whatever the content parks the channel: receivers deploy bugs and mend them, so
    that it is probed. Other refusals are tried again.
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


def address_problem(status: int, *, asked: Collection[int] = (404, 410)) -> str:
    """Return what an answer to a harmless question says is wrong with an address; empty where nothing is certain.

    `asked`: statuses by which the receiver says that nothing is there, whatever the method.
    """
    if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
        return "it redirects, and no redirect is followed: set the address that it leads to"
    if status == 407:  # noqa: PLR2004 - as the standard has it
        return "the proxy wants a user and a password"
    return "nothing is there" if status in asked else ""


def outcome_of_error(error: HttpError, now: datetime) -> Outcome:
    """Return what an exchange without a usable reply means for the delivery."""
    if isinstance(error, AddressRefused):
        return Parked(str(error), PROBE_AFTER)
    if isinstance(error, NotSent):
        return Retry(str(error))
    if error.status is not None:
        return outcome_of_status(error.status, error.headers, now)
    return Unknown(str(error))
