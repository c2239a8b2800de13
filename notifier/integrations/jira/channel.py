"""A channel that keeps issues in Jira: Cloud by version 3 of its API, Data Center by version 2.

Both have no idempotency key: the key of a ticket is a label, which a search finds once it is indexed.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from notifier.channels.authorization import basic_authorization
from notifier.channels.base import PROBE_AFTER, BaseChannel, ChannelContext, Json
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.ticket_text import TicketMarkup
from notifier.channels.tickets import Draft, TicketChannel, TicketRefused
from notifier.core.delivery import GaveUp, Parked
from notifier.core.tickets import RemoteTicket, is_ticket_key
from notifier.integrations.jira.adf import ADF, document
from notifier.integrations.jira.check import JiraCheck
from notifier.integrations.jira.settings import JiraSettings
from notifier.integrations.jira.transitions import DONE, JiraTransition, choose, read_transitions
from notifier.integrations.jira.wiki import WikiText

if TYPE_CHECKING:
    from notifier.http import Reply
    from notifier.ports import CheckResult

_FIELDS = "status,labels,created,resolutiondate"
_FOUND_LIMIT = 50
"""Maximum number of issues that a search returns. More than one has a key only where people cloned an issue."""
_COMMENTS_READ = 100
_OUR_TEXTS = frozenset({"summary", "description", "comment"})
"""Fields that the program writes. The others come from the configuration."""
_NOT_FOUND = 404
_BAD_REQUEST = 400


class JiraChannel(TicketChannel[JiraSettings]):
    """Keeps issues; what the two deployments share."""

    kind = "jira"
    search_path: ClassVar[str]

    def __init__(self, settings: JiraSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        token = settings.token.get_secret_value()
        header = basic_authorization(settings.user, token) if settings.user else f"Bearer {token}"
        self.mask_too(header.rpartition(" ")[2])
        self._authorization = {"authorization": header}

    @classmethod
    def open(cls, settings: JiraSettings, context: ChannelContext) -> BaseChannel[JiraSettings]:
        """Return the channel of the deployment."""
        return (CloudJira if settings.deployment == "cloud" else DataCenterJira)(settings, context)

    # -- differences of the deployments --

    @property
    @abstractmethod
    def api(self) -> str:
        """URL of the API, without a slash at its end."""

    @abstractmethod
    def text(self, written: str, notes: Sequence[str] = (), *, mark: str = "") -> str | Json:
        """Return a text as the API takes it, with sentences and the mark of a comment behind it."""

    @abstractmethod
    def person(self, name: str) -> Json:
        """Return an assignee as the API takes it."""

    # -- calls --

    async def ask(
        self, method: str, path: str, payload: object = None, *, accepted: Collection[int] = (200,), empty: bool = False
    ) -> ParsedReply:
        """Call the API; see `TicketChannel.call`."""
        url = f"{self.api}/{path}"
        return await self.call(
            method, url, headers=self._authorization, payload=payload, accepted=accepted, empty=empty
        )

    def refusal(self, reply: ParsedReply, answer: Reply | None = None) -> TicketRefused:
        """Return the error for a reply; one that refuses a field of the configuration parks the channel."""
        refused = sorted(_refused_fields(reply) - _OUR_TEXTS)
        if reply.status == _BAD_REQUEST and refused:
            what = f"Jira refuses {', '.join(refused)}; check the settings, and what the issue type and its screen have"
            parked = Parked(f"HTTP {reply.status}: {what}", PROBE_AFTER)
            return TicketRefused(self.with_reply(parked, answer) if answer else parked, applied=False)
        return super().refusal(reply, answer)

    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Create an issue that has the key among its labels."""
        reply = await self.ask("POST", "issue", {"fields": self._fields(draft, key)}, accepted=(200, 201))
        ref, label = value_at(reply.data, "id"), value_at(reply.data, "key")
        if not (isinstance(ref, str) and isinstance(label, str)):
            raise self.refusal(reply)
        opened = RemoteTicket(ref=ref, label=label, url=self._browse(label), key=key)
        try:  # the reply to the creation has no state
            return replace(await self._get(ref) or opened, key=key)
        except TicketRefused:
            return opened

    def _fields(self, draft: Draft, key: str) -> Json:
        own = draft.fields.get("labels")
        labels = [*draft.labels, *(own if isinstance(own, list | tuple) else ())]
        return {
            "project": _named(draft.project or "", "key"),
            "issuetype": _named(self.settings.issue_type, "name"),
            "summary": draft.title,
            "description": self.text(draft.description, draft.notes),
            **({"priority": _named(draft.priority, "name")} if draft.priority else {}),
            **({"assignee": self.person(draft.assignee)} if draft.assignee else {}),
            **draft.fields,
            "labels": [*dict.fromkeys("_".join(str(label).split()) for label in labels), key],
        }

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:  # noqa: ARG002 - a person may have moved it
        """Search all projects for the label. People who clone an issue copy it, so that the oldest one is ours."""
        asked = {
            "jql": f'labels = "{key}" ORDER BY created ASC',
            "fields": _FIELDS.split(","),
            "maxResults": _FOUND_LIMIT,
        }
        reply = await self.ask("POST", self.search_path, asked)
        found = value_at(reply.data, "issues")
        if not isinstance(found, list):
            raise self.refusal(reply)
        return [issue for one in found if (issue := self._issue(one, key))]

    async def read(self, ref: str) -> RemoteTicket | None:
        """Return an issue. One that is closed, and that no transition opens again, is final."""
        issue = await self._get(ref)
        if issue is None or not issue.closed:
            return issue
        ways = await self._transitions(f"issue/{quote(ref)}/transitions")
        return replace(issue, final=choose(ways, self.settings.reopen_transition, {}, closes=False) is None)

    async def _get(self, ref: str) -> RemoteTicket | None:
        reply = await self.ask("GET", f"issue/{quote(ref)}?fields={_FIELDS}", accepted=(200, 404))
        if reply.status == _NOT_FOUND and isinstance(value_at(reply.data, "errorMessages"), list):
            return None
        issue = self._issue(reply.data)
        if issue is None:
            raise self.refusal(reply)
        return issue

    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add a comment with its mark at the end."""
        body = {"body": self.text(text, mark=mark)}
        reply = await self.ask("POST", f"issue/{quote(ref)}/comment", body, accepted=(200, 201))
        if value_at(reply.data, "id") is None:
            raise self.refusal(reply)

    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether one of the latest comments has the mark."""
        path = f"issue/{quote(ref)}/comment?orderBy=-created&maxResults={_COMMENTS_READ}"
        reply = await self.ask("GET", path)
        comments = value_at(reply.data, "comments")
        if not isinstance(comments, list):
            raise self.refusal(reply)
        return any(mark in json.dumps(value_at(one, "body")) for one in comments)

    async def close(self, ref: str, resolution: str) -> RemoteTicket:  # noqa: ARG002 - the comment has the reason
        """Take the transition that is configured, or one to a state of the category Done."""
        return await self._move(ref, self.settings.close_transition, self.settings.close_fields, closes=True)

    async def reopen(self, ref: str) -> RemoteTicket:
        """Take the transition that is configured, or one to a state of another category than Done."""
        return await self._move(ref, self.settings.reopen_transition, {}, closes=False)

    async def _move(self, ref: str, wanted: str | None, given: Mapping[str, Any], *, closes: bool) -> RemoteTicket:
        before = await self._present(ref)
        if before.closed is closes:
            return before
        path = f"issue/{quote(ref)}/transitions"
        taken = choose(await self._transitions(path), wanted, given, closes=closes)
        verb = "closes" if closes else "reopens"
        if taken is None:
            named = f"named {wanted}" if wanted else f"that {verb} it"
            what = f"{before.label} is {before.status} and has no transition {named}; check the workflow and the rights"
            raise TicketRefused(GaveUp(what), applied=False)
        if missing := taken.missing(given):
            what = f"{before.label}: the transition {taken.name} needs {', '.join(missing)}; set close_fields"
            raise TicketRefused(GaveUp(what), applied=False)
        shown = {name: value for name, value in given.items() if name in taken.screen}
        payload = {"transition": {"id": taken.id}, **({"fields": shown} if shown else {})}
        await self.ask("POST", path, payload, accepted=(200, 204), empty=True)
        after = await self._present(ref)
        if after.closed is not closes:
            what = f"{after.label} is {after.status}: the transition {taken.name} is not one that {verb} it"
            raise TicketRefused(GaveUp(what), applied=True)
        return after

    async def _present(self, ref: str) -> RemoteTicket:
        issue = await self._get(ref)
        if issue is None:
            raise TicketRefused(GaveUp(f"issue {ref} is gone"), applied=False)
        return issue

    async def _transitions(self, path: str) -> Sequence[JiraTransition]:
        reply = await self.ask("GET", f"{path}?expand=transitions.fields")
        found = read_transitions(reply.data)
        if found is None:
            raise self.refusal(reply)
        return found

    def _issue(self, data: object, key: str = "") -> RemoteTicket | None:
        """Return an issue of a reply; None for something else."""
        ref, label, status = (value_at(data, place) for place in ("id", "key", "fields.status.name"))
        if not (isinstance(ref, str) and isinstance(label, str) and isinstance(status, str)):
            return None
        closed = value_at(data, "fields.status.statusCategory.key") == DONE
        labels = value_at(data, "fields.labels")
        return RemoteTicket(
            ref=ref,
            label=label,
            url=self._browse(label),
            status=status,
            closed=closed,
            closed_at=_moment(value_at(data, "fields.resolutiondate")) if closed else None,
            key=_key_among(labels, key),
        )

    def _browse(self, label: str) -> str:
        return f"{self.settings.site}/browse/{quote(label)}"

    async def check(self) -> Sequence[CheckResult]:
        """Prove the credential, the rights in each project, the issue type and its required fields."""
        return await JiraCheck(self.settings, self.ask, self.context.clock.now()).results()


class CloudJira(JiraChannel):
    """Jira Cloud."""

    markup: ClassVar[TicketMarkup] = ADF
    search_path = "search/jql"
    index_lag = timedelta(minutes=3)

    @property
    def api(self) -> str:
        """URL of the API: at the site, or at that of all sites for one with an id."""
        settings = self.settings
        host = f"{settings.api_url}/ex/jira/{settings.cloud_id}" if settings.cloud_id else settings.site
        return f"{host}/rest/api/3"

    def text(self, written: str, notes: Sequence[str] = (), *, mark: str = "") -> Json:
        """Return a document; see `JiraChannel.text`."""
        return document(written, notes, browse=f"{self.settings.site}/browse/", mark=mark)

    def person(self, name: str) -> Json:
        """Return an account by its id."""
        return {"id": name}


class DataCenterJira(JiraChannel):
    """Jira Data Center."""

    markup: ClassVar[TicketMarkup] = WikiText()
    search_path = "search"
    index_lag = timedelta(minutes=1)

    @property
    def api(self) -> str:
        """URL of the API."""
        return f"{self.settings.site}/rest/api/2"

    def text(self, written: str, notes: Sequence[str] = (), *, mark: str = "") -> str:
        """Return wiki markup; see `JiraChannel.text`. Keys of issues in it become links by themselves."""
        return "\n\n".join((written, *notes, *([f"{{{{{mark}}}}}"] if mark else ())))

    def person(self, name: str) -> Json:
        """Return a user by the name."""
        return {"name": name}


def _named(value: str, by: str) -> Json:
    """Return a reference by id where the value is a number; names are localised, and ids are not."""
    return {"id": value} if value.isascii() and value.isdigit() else {by: value}


def _key_among(labels: object, wanted: str) -> str:
    """Return the wanted key if it is among the labels; else the only key among them, or nothing."""
    keys = [one for one in labels if is_ticket_key(one)] if isinstance(labels, list) else []
    return wanted if wanted in keys else "" if wanted or len(keys) != 1 else keys[0]


def _refused_fields(reply: ParsedReply) -> frozenset[str]:
    errors = value_at(reply.data, "errors")
    return frozenset(map(str, errors)) if isinstance(errors, dict) else frozenset()


def _moment(text: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo else None
