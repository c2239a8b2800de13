"""A channel that keeps incidents in ServiceNow, by its Table API.

ServiceNow has no idempotency key: the key of a ticket is its `correlation_id`. A filter on a field that does not exist
or may not be read is dropped without an error, so that a search then returns incidents of anybody.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import quote, urlencode

import msgspec

from notifier.channels.access_tokens import AccessToken, AccessTokens, NoAccessToken
from notifier.channels.authorization import basic_authorization
from notifier.channels.base import PROBE_AFTER, ChannelContext, Json
from notifier.channels.markup import ZERO_WIDTH_SPACE
from notifier.channels.oauth2 import ClientCredentials, fetch_token
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.ticket_text import Block, PlainTicketMarkup, TicketMarkup, Written
from notifier.channels.tickets import Draft, TicketChannel, TicketRefused
from notifier.core.delivery import GaveUp, Parked, Retry
from notifier.core.tickets import RemoteTicket
from notifier.integrations.servicenow.settings import IMPACT_URGENCY, ServiceNowSettings
from notifier.ports import CheckResult

_TABLE = "incident"
_READ = ("sys_id", "number", "state", "correlation_id", "resolved_at", "closed_at")
_FOUND_LIMIT = 20
_NOT_FOUND, _UNAUTHORIZED = 404, 401
_NOBODYS_KEY = "gtb-check"
"""A key that no ticket has."""
_CODE = re.compile(r"\[(?=/?code\])", re.IGNORECASE)
"""Begins HTML within a journal."""
_SENDER = "gaussdb-notifier"
_FILTER_REMEDY = "let the user read the field correlation_id of incidents"


class JournalMarkup(PlainTicketMarkup):
    """Plain text, in which nothing from outside begins HTML."""

    def escape(self, text: str) -> str:
        """Return the text, in which `[code]` is not a tag."""
        return _CODE.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text)

    def unescape(self, text: str) -> str:
        """Return a line as plain text."""
        return text.replace(ZERO_WIDTH_SPACE, "")

    def _block(self, block: Block) -> str:
        written = super()._block(block)
        return written if isinstance(block, Written) else self.escape(written)


class _Shown(msgspec.Struct):
    """A value, and what people see of it in the language of the user."""

    value: str | None = None
    display_value: str | None = None


class _Incident(msgspec.Struct):
    """An incident, with the fields that the user may read."""

    sys_id: _Shown | str
    number: _Shown | str = ""
    state: _Shown | str = ""
    correlation_id: _Shown | str | None = None
    resolved_at: _Shown | str = ""
    closed_at: _Shown | str = ""


class _One(msgspec.Struct):
    result: _Incident


class _Many(msgspec.Struct):
    result: list[_Incident]


class _Journal(msgspec.Struct):
    work_notes: _Shown | str | None = None
    comments: _Shown | str | None = None


class _Journals(msgspec.Struct):
    result: _Journal


class ServiceNowChannel(TicketChannel[ServiceNowSettings]):
    """Keeps incidents of one instance."""

    kind = "servicenow"
    markup: ClassVar[TicketMarkup] = JournalMarkup()
    title_limit = 160
    # The description has 4,000 characters; longer ones are cut without an error.
    text_limit = 3_400

    def __init__(self, settings: ServiceNowSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self._header, self._tokens = "", AccessTokens(self._fetch_token, context.clock)
        if settings.user is not None and settings.password is not None:
            self._header = basic_authorization(settings.user, settings.password.get_secret_value())
            self.mask_too(self._header.rpartition(" ")[2])

    # -- calls --

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Open an incident whose `correlation_id` is the key. One that did not keep it is reported."""
        payload = {
            "short_description": draft.title,
            "description": "\n\n".join((draft.description, *draft.notes)),
            "correlation_display": _SENDER,
            **_impact_and_urgency(draft.priority),
            **({"assignment_group": draft.project} if draft.project else {}),
            **({"assigned_to": draft.assignee} if draft.assignee else {}),
            **draft.fields,
            "correlation_id": key,
        }
        reply = await self._ask("POST", "", payload=payload, accepted=(200, 201))
        opened = self._remote(self.read_as(reply, _One).result)
        if opened.key == key:
            return opened
        what = (
            "ServiceNow did not keep correlation_id: let the user write it, or no incident is found after a lost answer"
        )
        return replace(opened, left_out=what)

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:  # noqa: ARG002 - all are searched
        """Search for the key. Raises TicketRefused where other incidents are returned: the filter was dropped."""
        reply = await self._ask("GET", "", query=_search(key) | {"sysparm_limit": _FOUND_LIMIT})
        found = [self._remote(one) for one in self.read_as(reply, _Many).result]
        ours = [one for one in found if one.key == key]
        if found and not ours:
            what = f"ServiceNow drops the filter on correlation_id, so that nothing can be found; {_FILTER_REMEDY}"
            raise TicketRefused(Parked(what, PROBE_AFTER), applied=False)
        return ours

    async def read(self, ref: str) -> RemoteTicket | None:
        """Return an incident; None where it does not exist or may not be read."""
        reply = await self._ask("GET", ref, accepted=(200, 404))
        if reply.status == _NOT_FOUND and isinstance(value_at(reply.data, "error"), dict):
            return None
        if not reply.succeeded:
            raise self.refusal(reply)
        return self._remote(self.read_as(reply, _One).result)

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add an entry to the journal, with its mark at the end."""
        payload: Json = {self.settings.comment_field: f"{text}\n\n{mark}"}
        reply = await self._ask("PATCH", ref, payload=payload)
        self.read_as(reply, _One)

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether an entry of the journal has the mark; None where the journal may not be read.

        The display value of a journal field is the text of all its entries.
        """
        reply = await self._ask("GET", ref, fields=("work_notes", "comments"))
        journal = self.read_as(reply, _Journals).result
        entries = getattr(journal, self.settings.comment_field)
        return None if entries is None else mark in _display(entries)

    async def close(self, ref: str, resolution: str) -> RemoteTicket:
        """Resolve an incident."""
        settings = self.settings
        notes = {"close_code": settings.close_code, "close_notes": resolution, **settings.close_fields}
        return await self._move(ref, {"state": settings.resolved_state, **notes}, closed=True)

    async def reopen(self, ref: str) -> RemoteTicket:
        """Set a resolved incident back to work."""
        return await self._move(ref, {"state": self.settings.reopened_state}, closed=False)

    async def _move(self, ref: str, payload: Mapping[str, object], *, closed: bool) -> RemoteTicket:
        before = await self.read(ref)
        if before is None:
            raise TicketRefused(GaveUp(f"incident {ref} is gone"), applied=False)
        if before.closed is closed:
            return before
        reply = await self._ask("PATCH", ref, payload=payload)
        after = self._remote(self.read_as(reply, _One).result)
        if after.closed is not closed:
            what = f"{after.label} is still {after.status}: a rule of the instance did not let the state change"
            raise TicketRefused(GaveUp(what), applied=True)
        return after

    async def _ask(
        self,
        method: str,
        ref: str,
        *,
        query: Mapping[str, object] | None = None,
        fields: Sequence[str] = _READ,
        payload: Json | Mapping[str, object] | None = None,
        accepted: Collection[int] = (200,),
    ) -> ParsedReply:
        asked = {"sysparm_display_value": "all", "sysparm_fields": ",".join(fields), **(query or {})}
        path = f"/{quote(ref, safe='')}" if ref else ""
        url = f"{self.settings.url}/api/now/table/{_TABLE}{path}?{urlencode(asked)}"
        if self._header:
            basic = {"authorization": self._header}
            return await self.call(method, url, headers=basic, payload=payload, accepted=accepted)
        token = await self._token()
        # A token that is refused is replaced once: it may have been revoked. The refused request had no effect.
        reply = await self.call(
            method, url, headers=_bearer(token), payload=payload, accepted=(*accepted, _UNAUTHORIZED)
        )
        if reply.status != _UNAUTHORIZED:
            return reply
        self._tokens.forget(token)
        headers = _bearer(await self._token())
        return await self.call(method, url, headers=headers, payload=payload, accepted=accepted)

    async def _token(self) -> str:
        try:
            return await self._tokens.get()
        except NoAccessToken as error:
            outcome = error.outcome
            assert isinstance(outcome, Retry | Parked)  # noqa: S101 - what NoAccessToken makes of a failure
            raise TicketRefused(outcome, applied=False) from None

    async def _fetch_token(self) -> AccessToken:
        settings, clock = self.settings, self.context.clock
        assert settings.auth is not None  # noqa: S101 - else there is a user
        client = ClientCredentials.of(settings.auth, settings.auth.token_url or f"{settings.url}/oauth_token.do")
        deadline = settings.timeout.total_seconds()
        token = await fetch_token(client, self.context.http, clock.now(), deadline=deadline, secrets=self.secrets)
        self.mask_too(token.value)
        return token

    def _remote(self, incident: _Incident) -> RemoteTicket:
        settings, ref, state = self.settings, _value(incident.sys_id), _value(incident.state)
        closed = state in settings.closed_states
        at = _moment(incident.closed_at) or _moment(incident.resolved_at)
        uri = quote(f"{_TABLE}.do?sys_id={ref}", safe="")
        return RemoteTicket(
            ref=ref,
            label=_value(incident.number) or ref,
            url=f"{settings.url}/nav_to.do?uri={uri}",
            status=_display(incident.state),
            closed=closed,
            final=state in settings.final_states,
            closed_at=at if closed else None,
            key=_value(incident.correlation_id or ""),
        )

    # -- check --

    async def check(self) -> Sequence[CheckResult]:
        """Search for a key that nobody has, and read an incident. Only a test ticket proves the right to write."""
        try:
            reply = await self._ask("GET", "", query=_search(_NOBODYS_KEY) | {"sysparm_limit": 1})
            if self.read_as(reply, _Many).result:
                return [_failed("drops the filter on correlation_id", _FILTER_REMEDY)]
            some = self.read_as(await self._ask("GET", "", query={"sysparm_limit": 1}), _Many).result
        except TicketRefused as error:
            remedy = "check url and the credential, and give the user a role that reads and writes incidents"
            return [_failed(error.outcome.reason, remedy)]
        if some and some[0].correlation_id is None:
            return [_failed("the user may not read correlation_id of incidents", _FILTER_REMEDY)]
        detail = f"reads incidents; only a test ticket proves that it may write: notifier test-send {self.name}"
        return [CheckResult(ok=True, what="servicenow", detail=detail, proven=False)]


def _failed(detail: str, remedy: str) -> CheckResult:
    return CheckResult(ok=False, what="servicenow", detail=detail, remedy=remedy)


def _bearer(token: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {token}"}


def _search(key: str) -> dict[str, object]:
    return {"sysparm_query": f"correlation_id={key}^ORDERBYsys_created_on"}


def _impact_and_urgency(priority: str | None) -> Mapping[str, str]:
    """Return both fields. A route may name anything as its priority."""
    if priority is None:
        return {}
    found = IMPACT_URGENCY.fullmatch(priority)
    if found is None:
        what = "the priority of a route is no impact and urgency; write them as 2/1"
        raise TicketRefused(Parked(what), applied=False)
    return {"impact": found[1], "urgency": found[2]}


def _value(shown: _Shown | str) -> str:
    return shown if isinstance(shown, str) else shown.value or ""


def _display(shown: _Shown | str) -> str:
    return shown if isinstance(shown, str) else shown.display_value or shown.value or ""


def _moment(shown: _Shown | str) -> datetime | None:
    """Return a time, which values have in UTC."""
    try:
        return datetime.strptime(_value(shown), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
