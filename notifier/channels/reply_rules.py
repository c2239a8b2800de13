"""What services are known to say in their replies, beyond the status.

Many services answer 200 whatever happened and say in the body that they refused, and many use one status both for what
no repeat can change and for what a person has to fix. The words of each are data, in `reply_rules.toml`. Pure.
"""

from __future__ import annotations

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
        """Tell whether it is this reply."""
        others = ((as_text(value_at(reply.data, place)), values) for place, values in self.other_than.items())
        return self.mismatch(reply) is None and all(found not in ("null", *values) for found, values in others)

    def _says(self, reply: ParsedReply) -> str:
        """Return what was said, of it only words that we know and numbers."""
        found = ((place, value_at(reply.data, place)) for place in (*self.values, *self.other_than))
        told = (value if isinstance(value, str) else f"{place} {as_text(value)}" for place, value in found)
        known = {*(text for texts in self.values.values() for text in texts)}
        shown = (text if text in known or re.fullmatch(r"[\w.]+ -?[\w.]{1,30}", text) else "refused" for text in told)
        words = (text for text in self.contains or () if text in reply.text)
        return ", ".join((*shown, *words))

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what becomes of the message."""
        reason = f"HTTP {reply.status}: {self._says(reply)}"
        match self.means:
            case "misconfigured":
                return Parked(f"{reason}; {self.remedy}", PROBE_AFTER)
            case "busy":
                return Retry(reason, retry_after(reply.headers, now) or self.wait)
            case "later":
                return Retry(reason, retry_after(reply.headers, now))
        return GaveUp(reason)


@cache
def known(service: str) -> tuple[_Known, ...]:
    """Return what `reply_rules.toml` has of a service; nothing where it has none."""
    table = tomllib.loads(files(__package__).joinpath("reply_rules.toml").read_text(encoding="utf-8"))
    return tuple(map(_Known.model_validate, table.get(service, ())))


def known_outcome(service: str, reply: ParsedReply, now: datetime) -> Outcome | None:
    """Return what a reply means of which the service's words are known; None where they are not."""
    return next((row.outcome(reply, now) for row in known(service) if row.fits(reply)), None)


def says_failed(reply: ParsedReply) -> bool:
    """Tell whether a body says that the message was not taken, whoever it may be that replies."""
    return any(row.fits(reply) for row in known("webhook"))
