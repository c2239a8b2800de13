"""A channel that keeps alerts in Jira Service Management Operations: one for each failing operation.

The key of an alert is its alias. To create the alias of an open alert counts one more occurrence, so a repeat does no
harm; that of a closed alert makes a new one. Requests are accepted at once and done later: each one is looked up by its
id until it is done, so that the next one about the alert comes after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from notifier.channels.reply_conditions import value_at
from notifier.channels.tickets import Draft, KeyedTicketChannel, TicketRefused
from notifier.core.delivery import Parked, Retry
from notifier.core.severity import Severity
from notifier.core.tickets import RemoteTicket
from notifier.integrations.jsm.settings import USUAL_PRIORITIES, JsmSettings
from notifier.ports import CheckResult
from notifier.wording.sanitize import one_line

if TYPE_CHECKING:
    from notifier.channels.reply_conditions import ParsedReply

SOURCE = "GaussDB notifier"
LOOK_UP_AFTER = (0.3, 0.7, 1.5, 2.5)
"""Waits before a request is looked up, one after the other, in seconds. One that is not done then is left alone."""
MAX_TAGS, TAG_LIMIT = 20, 50
ENTITY_LIMIT = 512
_ACCEPTED = 202
_NOT_FOUND = 404
_NO_REQUEST = "00000000-0000-0000-0000-000000000000"
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_PRIORITY = re.compile(r"P[1-5]")


@dataclass(frozen=True, slots=True)
class RequestResult:
    """What became of a request that JSM had accepted."""

    done: bool
    words: str
    """JSM's own."""


class JsmChannel(KeyedTicketChannel[JsmSettings]):
    """Sends requests to one integration."""

    kind = "jsm"
    title_limit: ClassVar[int] = 130
    text_limit: ClassVar[int] = 14_000

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Create an alert, or count one more occurrence of it. Raises TicketRefused where JSM refuses it later."""
        status = await self._send("", alert(draft, key))
        if status is not None and not status.done:
            raise TicketRefused(Retry(f"JSM refused the alert: {status.words}", neutral=True), applied=False)
        left_out = [name for name, value in (("assignee", draft.assignee), ("project", draft.project)) if value]
        why = f"an alert has no {' and no '.join(left_out)}" if left_out else ""
        return RemoteTicket(ref=key, label=key, status="open", key=key, left_out=why)

    async def add_failure(self, ref: str, draft: Draft, text: str, mark: str) -> None:
        """Create the alert again, which counts an occurrence or opens another alert, and add a note."""
        await self.create(draft, ref)
        await self.comment(ref, text, mark)

    async def comment(self, ref: str, text: str, mark: str) -> None:  # noqa: ARG002 - notes cannot be read back
        """Add a note. That of an alert which somebody has closed or deleted may be refused, and nobody misses it."""
        await self._send(f"/{quote(ref, safe='')}/notes?identifierType=alias", {"note": text, "source": SOURCE})

    async def close(self, ref: str, resolution: str) -> RemoteTicket:
        """Close the alert. JSM refuses that later for one that somebody has closed: that is as good."""
        note = {"note": resolution, "source": SOURCE}
        await self._send(f"/{quote(ref, safe='')}/close?identifierType=alias", note)
        return RemoteTicket(ref=ref, label=ref, status="closed", closed=True, key=ref)

    # -- requests --

    async def _send(self, path: str, content: Mapping[str, Any]) -> RequestResult | None:
        """Send a request, and return what became of it; None where JSM does not say so within some seconds."""
        reply = await self.call(
            "POST", self._alerts + path, headers=self._headers, payload=content, accepted=(_ACCEPTED,)
        )
        request_id = value_at(reply.data, "requestId")
        if not isinstance(request_id, str) or not _REQUEST_ID.fullmatch(request_id):
            raise self.refusal(reply)
        for seconds in LOOK_UP_AFTER:
            await self.context.clock.sleep(seconds)
            if (found := await self._look_up(request_id)) is not None:
                return found
        return None

    async def _look_up(self, request_id: str) -> RequestResult | None:
        """Return what became of a request; None where that is not known. JSM has accepted it in any case."""
        try:
            reply = await self.call("GET", f"{self._alerts}/requests/{request_id}", headers=self._headers)
        except TicketRefused:
            return None
        return _result(reply)

    @property
    def _alerts(self) -> str:
        return f"{self.settings.url}/jsm/ops/integration/v2/alerts"

    @property
    def _headers(self) -> Mapping[str, str]:
        return {"authorization": f"GenieKey {self.settings.api_key.get_secret_value()}"}

    async def check(self) -> Sequence[CheckResult]:
        """Look up a request that does not exist. JSM refuses a wrong key before it misses the request."""
        what = "JSM Operations"
        try:
            await self.call(
                "GET", f"{self._alerts}/requests/{_NO_REQUEST}", headers=self._headers, accepted=(_NOT_FOUND,)
            )
        except TicketRefused as error:
            reason, _, remedy = error.outcome.reason.partition("; ")
            known = isinstance(error.outcome, Parked) and remedy
            remedy = remedy if known else "check url, the network and the proxy"
            return (CheckResult(ok=False, what=what, detail=reason, remedy=remedy),)
        detail = (
            f"api_key is not refused; only a test alert proves that it may create some: notifier test-send {self.name}"
        )
        return (CheckResult(ok=True, what=what, detail=detail, proven=False),)


def _result(reply: ParsedReply) -> RequestResult | None:
    """Return the result in the reply to a look-up; None where it has none."""
    for place in ("data.isSuccess", "data.success", "isSuccess", "success"):
        done = value_at(reply.data, place)
        if isinstance(done, bool):
            words = value_at(reply.data, place.replace("isSuccess", "status").replace("success", "status"))
            return RequestResult(done, one_line(str(words or "no reason given"), 200))
    return None


def alert(draft: Draft, key: str) -> dict[str, Any]:
    """Return the alert of a draft."""
    usual = USUAL_PRIORITIES[Severity(draft.severity)]
    # A route may name anything.
    priority = draft.priority if draft.priority and _PRIORITY.fullmatch(draft.priority) else usual
    links = {name: url for name, url in (("page", draft.page), ("console", draft.url)) if url}
    return {
        "message": draft.title,
        "alias": key,
        "description": "\n\n".join((draft.description, *draft.notes)),
        "priority": priority,
        "tags": [label[:TAG_LIMIT] for label in ("gaussdb", *draft.labels)][:MAX_TAGS],
        "entity": draft.instance[:ENTITY_LIMIT],
        "source": SOURCE,
        **({"details": links} if links else {}),
        **draft.fields,
    }
