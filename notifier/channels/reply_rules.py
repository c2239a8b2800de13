"""Replies that services are known to give, and their outcomes. Pure.

Many services answer 200 and refuse in the body, and many use one status both for what no repeat can change and for what
a person has to fix. The words of each service are data, in `reply_rules.toml`.
"""

import re
import tomllib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import Field

from notifier.channels.base import PROBE_AFTER
from notifier.channels.reply_conditions import Condition, ParsedReply, Texts, as_text, value_at
from notifier.core.delivery import GaveUp, Outcome, Parked, Retry
from notifier.core.retry import retry_after
from notifier.settings.types import Duration


class _Known(Condition):
    """A reply that a service is known to give, and what it means."""

    other_than: Mapping[str, Texts] = Field(default_factory=dict)
    means: Literal["misconfigured", "busy", "later", "content"]
    remedy: str = ""
    wait: Duration | None = None
    source: str = ""

    def fits(self, reply: ParsedReply) -> bool:
        """Return whether a reply is this one."""
        others = ((as_text(value_at(reply.data, place)), values) for place, values in self.other_than.items())
        return self.mismatch(reply) is None and all(found not in ("null", *values) for found, values in others)

    def _quoted(self, reply: ParsedReply) -> str:
        """Return the words of the reply: only known ones, and numbers."""
        found = ((place, value_at(reply.data, place)) for place in (*self.values, *self.other_than))
        words = (value if isinstance(value, str) else f"{place} {as_text(value)}" for place, value in found)
        known = {*(text for texts in self.values.values() for text in texts)}
        shown = (text if text in known or re.fullmatch(r"[\w.]+ -?[\w.]{1,30}", text) else "refused" for text in words)
        contained = (text for text in self.contains or () if text in reply.text)
        return ", ".join((*shown, *contained))

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return the outcome for the message."""
        quoted = self._quoted(reply)
        reason = f"HTTP {reply.status}: {quoted}" if quoted else f"HTTP {reply.status}"
        match self.means:
            case "misconfigured":
                return Parked(f"{reason}; {self.remedy}", PROBE_AFTER)
            case "busy":
                return Retry(reason, retry_after(reply.headers, now) or self.wait)
            case "later":
                return Retry(reason, retry_after(reply.headers, now))
        return GaveUp(reason)


@cache
def known_replies(service: str) -> tuple[_Known, ...]:
    """Return the replies that `reply_rules.toml` has for a service."""
    table = tomllib.loads(files(__package__).joinpath("reply_rules.toml").read_text(encoding="utf-8"))
    return tuple(map(_Known.model_validate, table.get(service, ())))


def known_outcome(service: str, reply: ParsedReply, now: datetime) -> Outcome | None:
    """Return the outcome of a reply that a service is known to give; None for any other."""
    return next((row.outcome(reply, now) for row in known_replies(service) if row.fits(reply)), None)


def says_failed(reply: ParsedReply) -> bool:
    """Return whether a body is known to mean, from any service, that the message was refused."""
    return any(row.fits(reply) for row in known_replies("webhook"))
