"""A channel that keeps alerts in PagerDuty: one for each failing operation, through the Events API v2.

The key of an alert is its `dedup_key`. A trigger with the key of an open alert adds to that alert, so a repeat does no
harm; one with the key of a resolved alert opens another. Nothing can be read back, and a success needs no comment: the
event that resolves an alert has no text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from notifier.channels.tickets import Draft, KeyedTicketChannel, TicketRefused
from notifier.core.delivery import Retry, Unknown
from notifier.core.severity import Severity
from notifier.core.tickets import RemoteTicket
from notifier.integrations.pagerduty.settings import PagerDutySettings
from notifier.ports import CheckResult

if TYPE_CHECKING:
    from notifier.channels.reply_conditions import ParsedReply
    from notifier.http import Reply

CLIENT = "GaussDB notifier"
PROBE_KEY = "gaussdb-notifier-check"
"""The key of no alert. PagerDuty drops an event that resolves it."""
PAUSE = timedelta(seconds=30)
"""Wait after too many events, as PagerDuty advises. The schedule of retries goes on from there."""
_ACCEPTED = 202
_TOO_MANY = 429
_URL_LIMIT = 1_000
_SHORT_LIMIT = 255


class PagerDutyChannel(KeyedTicketChannel[PagerDutySettings]):
    """Sends events to one integration."""

    kind = "pagerduty"
    title_limit: ClassVar[int] = 1_024
    text_limit: ClassVar[int] = 20_000

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Trigger an alert."""
        await self._trigger(key, draft)
        left_out = [name for name, value in (("assignee", draft.assignee), ("project", draft.project)) if value]
        why = f"an alert has no {' and no '.join(left_out)}" if left_out else ""
        return RemoteTicket(ref=key, label=key, status="triggered", key=key, left_out=why)

    async def add_failure(self, ref: str, draft: Draft, text: str, mark: str) -> None:  # noqa: ARG002 - the draft has it
        """Trigger the alert again: that is noted in its log, or opens another where somebody has resolved it."""
        await self._trigger(ref, draft)

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Do nothing: an event without trouble would open the alert again."""

    async def close(self, ref: str, resolution: str) -> RemoteTicket:  # noqa: ARG002 - the event has no text
        """Resolve the alert."""
        await self._send("resolve", ref)
        return RemoteTicket(ref=ref, label=ref, status="resolved", closed=True, key=ref)

    async def _trigger(self, key: str, draft: Draft) -> None:
        details = payload(draft)
        await self._send("trigger", key, {"payload": details, **links_of(draft, details["source"])})

    async def _send(self, action: str, key: str, more: Mapping[str, Any] = MappingProxyType({})) -> None:
        await self._enqueue({"event_action": action, "dedup_key": key, "client": CLIENT, **more})

    async def _enqueue(self, event: dict[str, Any]) -> None:
        sent = {"routing_key": self.settings.routing_key.get_secret_value(), **event}
        reply = await self.call("POST", f"{self.settings.url}/v2/enqueue", payload=sent, accepted=(_ACCEPTED,))
        if not isinstance(reply.data, dict) or reply.data.get("status") != "success":
            raise self.refusal(reply)

    def refusal(self, reply: ParsedReply, answer: Reply | None = None) -> TicketRefused:
        """Return the error for a reply. PagerDuty does not say how long to wait after too many events."""
        refused = super().refusal(reply, answer)
        outcome = refused.outcome
        if reply.status == _TOO_MANY and isinstance(outcome, Retry) and outcome.after is None:
            return TicketRefused(replace(outcome, after=PAUSE), applied=False)
        return refused

    async def check(self) -> Sequence[CheckResult]:
        """Resolve an alert that does not exist, which PagerDuty drops. Only a trigger proves that it knows the key."""
        what = "PagerDuty"
        try:
            await self._enqueue({"event_action": "resolve", "dedup_key": PROBE_KEY})
        except TicketRefused as error:
            reason, _, remedy = error.outcome.reason.partition("; ")
            if isinstance(error.outcome, Unknown | Retry):
                remedy = remedy or "check url, the network and the proxy"
            return (CheckResult(ok=False, what=what, detail=reason, remedy=remedy or "check routing_key"),)
        detail = f"takes events; only a test alert proves that it knows routing_key: notifier test-send {self.name}"
        return (CheckResult(ok=True, what=what, detail=detail, proven=False),)


def links_of(draft: Draft, source: str) -> dict[str, Any]:
    """Return the links of an alert. PagerDuty shows the first as "View in GaussDB notifier"."""
    named = ((draft.page, CLIENT), (draft.url, source))
    links = [{"href": url, "text": text} for url, text in named if url and len(url) <= _URL_LIMIT]
    return {"client_url": links[0]["href"], "links": links} if links else {}


def payload(draft: Draft) -> dict[str, Any]:
    """Return the alert of a draft."""
    severities = {str(severity) for severity in Severity}
    details: dict[str, Any] = {"details": "\n\n".join((draft.description, *draft.notes))}
    if draft.labels:
        details["labels"] = list(draft.labels)
    return {
        "summary": draft.title,
        "source": (draft.instance or CLIENT)[:_SHORT_LIMIT],
        # A route may name anything.
        "severity": draft.priority if draft.priority in severities else draft.severity,
        "component": draft.instance[:_SHORT_LIMIT],
        "custom_details": details,
        **draft.fields,
    }
