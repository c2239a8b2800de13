"""The base of channels that keep tickets: one for each failing operation. `notifier.core.tickets` decides.

A kind is a class that derives from `TicketChannel`, with the calls of its service, and settings that derive from
`notifier.channels.ticket_settings.TicketSettings`. The base renders, looks up what an earlier attempt may have done,
decides, and calls the service step by step. An attempt may end after any step, also because the process is killed: the
next one reads the state again and goes on from there.
"""

from __future__ import annotations

import asyncio
import json
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from notifier.channels.base import PROBE_AFTER, encode_json, stored_body
from notifier.channels.card import CARD_SEPARATOR
from notifier.channels.http_channel import HttpChannel, OutcomeT, outcome_of_error, outcome_of_status
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import known_outcome
from notifier.channels.templated import TemplatedChannel
from notifier.channels.ticket_settings import TicketSettings, for_severity
from notifier.channels.ticket_text import PLAIN, Block, Facts, Links, Paragraph, Quote, TicketMarkup, Written, fitted
from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    GaveUp,
    Outcome,
    Parked,
    ResendPolicy,
    Retry,
    Skipped,
    Unknown,
)
from notifier.core.retry import reset_after
from notifier.core.tickets import (
    ClosedBy,
    RemoteTicket,
    Step,
    Ticket,
    TicketFields,
    TicketState,
    after_closing,
    after_opening,
    as_found,
    comment_mark,
    happened,
    is_strangers,
    next_steps,
    opens_ticket,
    operation_of,
    solves_ticket,
    unsolved,
)
from notifier.http import HttpError, NotSent, ReplyTooLarge
from notifier.ports import CheckResult
from notifier.wording.marks import quoted
from notifier.wording.sanitize import cut

if TYPE_CHECKING:
    from notifier.channels.templates import FilledTemplate
    from notifier.core.severity import Severity
    from notifier.http import Reply
    from notifier.ports import RenderRequest

S = TypeVar("S", bound=TicketSettings)
T = TypeVar("T")

_LABEL = "{label}"
"""Stands for the label of the ticket before, in a text that is stored before it is known."""
_SHORTEST_WAIT = timedelta(seconds=5)
"""Minimum wait before a ticket is looked for again that its service may not show yet."""
_JSON = "application/json"
_ELSEWHERE = "the address is that of something else, or a login protects the service: check it from this host"
_RESOLUTION_LIMIT = 400
"""Maximum length of a resolution before any markup, in characters."""

MAX_REPLY_OF_TICKETS = 1024 * 1024
"""Maximum size of a reply, in bytes: a list of tickets holds their descriptions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A ticket to open. All texts are in the markup of the service, safe and short enough, unless it says otherwise."""

    title: str
    """Plain text of one line, within `title_limit`."""
    description: str
    """Within `text_limit`."""
    notes: tuple[str, ...] = ()
    """Plain sentences of ours, at most 500 characters together, to put behind the description: which ticket this one
    follows, and that it may be a duplicate. A label in them may become a link."""
    previous: str | None = None
    """Label of the ticket that this one follows, for a service that can link them."""
    severity: str = "error"
    """critical, error, warning or info."""
    priority: str | None = None
    """As configured for this severity and route, in the words of the service. None: leave it to the service."""
    assignee: str | None = None
    project: str | None = None
    labels: tuple[str, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Further fields by the API's names, with JSON values. They go into the request as they are, and win."""
    instance: str = ""
    """Plain name or id of the instance; the empty string where there is none."""
    url: str | None = None
    """Link to the instance in the cloud's console."""
    page: str | None = None
    """Link to our page about the task."""


class TicketRefused(Exception):
    """A call did not do what it should.

    Args:
        outcome: what follows for the delivery.
        applied: whether the service may have done what it was asked to, all the same. False where it certainly has
            not: the request was not sent, or refused.
    """

    def __init__(self, outcome: Retry | GaveUp | Parked | Unknown, *, applied: bool) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome
        self.applied = applied


@dataclass(frozen=True, slots=True, kw_only=True)
class _StoredText:
    """What is rendered of an event, and stored: all that any decision may need."""

    title: str
    description: str
    """For a new ticket."""
    comment: str
    """For a ticket that is there."""
    resolution: str
    """One line for the closing of a ticket."""
    duplicate: str
    follows: str
    """Has `{label}` in it."""
    severity: str
    priority: str | None = None
    assignee: str | None = None
    project: str | None = None
    labels: tuple[str, ...] = ()
    fields: dict[str, Any]
    instance: str = ""
    url: str | None = None
    page: str | None = None

    def draft(self, *, previous: str | None, duplicate: bool) -> Draft:
        """Return the ticket to open. `previous` is the label of the one that it follows."""
        notes = (
            *([self.follows.replace(_LABEL, previous)] if previous else ()),
            *([self.duplicate] if duplicate else ()),
        )
        return Draft(
            title=self.title,
            description=self.description,
            notes=notes,
            previous=previous,
            severity=self.severity,
            priority=self.priority,
            assignee=self.assignee,
            project=self.project,
            labels=self.labels,
            fields=self.fields,
            instance=self.instance,
            url=self.url,
            page=self.page,
        )


class TicketChannel(TemplatedChannel[S], HttpChannel[S]):
    """Opens, comments, closes and reopens tickets. A kind implements the calls of its service.

    Each call raises TicketRefused for anything but success; `call` does so for a whole exchange over HTTP. Calls about
    one ticket never overlap, those about different tickets may. `find`, `read` and `has_comment` change nothing.
    """

    tickets = True
    resend_policy = ResendPolicy.RECONCILABLE

    markup: ClassVar[TicketMarkup] = PLAIN
    """Writes descriptions, comments and resolutions."""
    title_limit: ClassVar[int] = 255
    """Maximum length of a title, in characters."""
    text_limit: ClassVar[int] = 30_000
    """Maximum length of a description or a comment, as `text_size` counts it. Leave room for 500 characters of notes,
    and for what the kind adds: the key, and the mark of a comment."""
    index_lag: ClassVar[timedelta] = timedelta()
    """Time for which `find` may miss a ticket that was opened. A lost answer is looked for until it has passed."""
    repeatable_for: ClassVar[timedelta] = timedelta()
    """Time for which the service answers a repeated `create` with the ticket that it opened, provided that the request
    is the same byte for byte. Drafts are the same for so long: none has the note about a duplicate."""
    keyed: ClassVar[bool] = False
    """True where the service recognises our key while a ticket is open, so that opening it again does no harm, and
    where nothing can be read back. See `KeyedTicketChannel`."""

    # -- what a kind implements --

    @abstractmethod
    async def create(self, draft: Draft, key: str) -> RemoteTicket:
        """Open a ticket that holds the key where `find` finds it, and return it as the service has it now.

        Called once for a key, or again after `index_lag` where an earlier call may have been lost.
        """

    @abstractmethod
    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:
        """Return the tickets that hold the key, open and closed ones, the oldest first.

        `project` is where the delivery would open it (`Draft.project`), for services that search one project at a time;
        another delivery may have opened it in another one of the configuration.

        Services match prefixes, substrings, or everything where they drop a filter: each result has the key that its
        record holds in `RemoteTicket.key`, and the base leaves out those with another one.
        """

    @abstractmethod
    async def read(self, ref: str) -> RemoteTicket | None:
        """Return a ticket by its `ref`; None where it does not exist any more, or has moved out of sight."""

    @abstractmethod
    async def comment(self, ref: str, text: str, mark: str) -> None:
        """Add a comment: the text, and the mark where it disturbs least and where `has_comment` finds it.

        The state of the ticket stays as it is. Where the service changes it with a comment, set it back in the same
        request.
        """

    async def add_failure(self, ref: str, draft: Draft, text: str, mark: str) -> None:  # noqa: ARG002 - for other kinds
        """Report a further failure on an open ticket: a comment, unless a kind raises its alert again.

        `draft` is the ticket that the failure would open if there were none.
        """
        await self.comment(ref, text, mark)

    @abstractmethod
    async def has_comment(self, ref: str, mark: str) -> bool | None:
        """Return whether a comment of the ticket has the mark; None where the service does not say.

        Only the latest comments need to be read, 100 of them at most.
        """

    @abstractmethod
    async def close(self, ref: str, resolution: str) -> RemoteTicket:
        """Close an open ticket, and return it as it is then. The comment with the details is there already.

        `resolution` is one line in the markup of the service, for a service that wants a reason. A ticket that turns
        out to be closed already is a success. Where the service ignores what it does not allow, read the state again
        and raise TicketRefused.
        """

    @abstractmethod
    async def reopen(self, ref: str) -> RemoteTicket:
        """Open a closed ticket again, and return it as it is then. One that turns out to be open is a success."""

    # -- requests --

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        payload: object = None,
        accepted: Collection[int] = (200, 201, 202, 204),
        empty: bool = False,
        max_bytes: int = MAX_REPLY_OF_TICKETS,
    ) -> ParsedReply:
        """Exchange JSON over HTTP and return the reply if its status is one of `accepted`. Raises TicketRefused.

        A success without JSON in its body is no success, unless it may be `empty`. Other statuses have the meaning that
        `reply_rules.toml` gives them for the kind; else the usual one.
        """
        fields = {"accept": _JSON, **({"content-type": _JSON} if payload is not None else {}), **(headers or {})}
        content = None if payload is None else encode_json(payload)
        try:
            reply = await self.context.http.exchange(
                method,
                url,
                headers=fields,
                content=content,
                deadline=self.settings.timeout.total_seconds(),
                max_bytes=max_bytes,
            )
        except ReplyTooLarge as error:
            raise self._refused(Unknown(f"HTTP {error.status}, with a reply that is too large"), error) from None
        except HttpError as error:
            raise self._refused(outcome_of_error(error, self.context.clock.now()), error) from None
        parsed = ParsedReply(reply.status, reply.headers, reply.body)
        if reply.status in accepted and (empty or not parsed.succeeded or parsed.data is not None):
            return parsed
        raise self.refusal(parsed, reply)

    def read_as(self, reply: ParsedReply, type_: type[T]) -> T:
        """Return the JSON of a reply as a type of msgspec. Raises TicketRefused where it is something else."""
        import msgspec  # noqa: PLC0415 - reading settings must not load it

        try:
            return msgspec.convert(reply.data, type_)
        except msgspec.ValidationError:
            raise TicketRefused(
                Unknown(f"HTTP {reply.status}, but not the reply of {self.kind}"), applied=True
            ) from None

    def refusal(self, reply: ParsedReply, answer: Reply | None = None) -> TicketRefused:
        """Return the error for a reply that is not the one that was wanted."""
        outcome = known_outcome(self.kind, reply, self.context.clock.now())
        if outcome is None and reply.succeeded:
            outcome = (
                Parked(f"HTTP {reply.status} with a web page; {_ELSEWHERE}", PROBE_AFTER)
                if reply.is_page
                else Unknown(f"HTTP {reply.status}, but not the reply of {self.kind}")
            )
        if outcome is None:
            outcome = outcome_of_status(reply.status, reply.headers, self.context.clock.now())
        if isinstance(outcome, Retry) and outcome.after is None and reply.status == HTTPStatus.TOO_MANY_REQUESTS:
            outcome = replace(outcome, after=reset_after(reply.headers, self.context.clock.now()))
        return self._refused(outcome, answer, reply.status)

    def _refused(self, outcome: Outcome, answer: Reply | HttpError | None, status: int | None = None) -> TicketRefused:
        if isinstance(outcome, Delivered | Skipped):  # a status of success where something else was wanted
            outcome = Unknown("the reply is not the one that was expected")
        unsent = isinstance(answer, NotSent)
        status = answer.status if answer is not None else status
        applied = not unsent and (status is None or not 300 <= status < 500)  # noqa: PLR2004 - redirects and refusals
        return TicketRefused(self.with_reply(outcome, answer) if answer is not None else outcome, applied=applied)

    # -- messages --

    def escape(self, text: str) -> str:
        """Return one line of text in the markup of the service."""
        return self.markup.escape(text)

    def text_size(self, text: str) -> int:
        """Return the length of a description as the service counts it: characters, unless a kind overrides it."""
        return len(text)

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return all texts that any decision may need. Which ticket they are for is known when they are sent."""
        event, localizer = request.events[0], self.context.localizer
        message = self.context.formatter.describe(event, request.routing)
        links = Links(
            tuple(
                (localizer.text(name), url)
                for name, url in (
                    ("page.link", message.page.url),
                    ("console.console", message.console_url),
                    ("console.runbook", message.runbook_url),
                )
                if url
            )
        )
        facts = Facts(tuple((fact.label, fact.value) for fact in message.facts))
        if filled.text is not None:
            body: list[Block] = [Paragraph(message.sentence), Written(filled.text), links]
        else:
            told = (message.reason_note, message.meaning, message.advice, *message.notes, message.late)
            body = [Paragraph(message.sentence)]
            body += [Quote(message.reason)] if message.reason else []
            body += [Paragraph(sentence) for sentence in told if sentence]
            body += [block for block in (links, facts) if block.rows]
        own_title = self.markup.unescape(filled.title) if filled.title else ""
        # The facts of the built-in text have the job.
        job = message.named_job(quoted(message.job)) if filled.text is not None else ""
        about = CARD_SEPARATOR.join(filter(None, (message.origin, quoted(message.environment), job, message.history)))
        body += [Paragraph(about)]
        more: list[Block] = [Paragraph(localizer.text("ticket.more_alert" if self.keyed else "ticket.more"))]
        fixed = localizer.text("ticket.fixed", job=message.job) if solves_ticket(event) else ""
        comment = [*body[:1], Paragraph(fixed), *body[1:]] if fixed else body
        stored = self._with_fields(
            _StoredText(
                title=cut(own_title or message.headline.title, self.title_limit),
                description=self._write([*body, *more]),
                comment=self._write(comment),
                resolution=self.markup.write(
                    [Paragraph(cut(f"{own_title or message.summary}. {fixed}".strip(), _RESOLUTION_LIMIT))]
                ),
                duplicate=localizer.text("ticket.duplicate"),
                follows=localizer.text("ticket.follows", label=_LABEL),
                severity=request.severity,
                fields={},
                instance=message.subject,
                url=message.console_url or None,
                page=message.page.url or None,
            ),
            request.severity,
            request.routing.ticket or TicketFields(),
        )
        return Body(content=encode_json(stored), content_type=_JSON)

    def _write(self, blocks: Sequence[Block]) -> str:
        return fitted(self.markup, blocks, self.text_limit, self.text_size)

    def _with_fields(self, text: _StoredText, severity: Severity, routed: TicketFields) -> _StoredText:
        """Return a text with what the routes want, and else with what the channel has configured for its severity."""
        settings = self.settings
        of_route = {name: json.loads(value) for name, value in routed.fields if name not in settings.own_fields}
        return replace(
            text,
            priority=routed.priority or for_severity(settings.priority, severity),
            assignee=routed.assignee or for_severity(settings.assignee, severity),
            project=routed.project or for_severity(settings.project, severity),
            labels=tuple(dict.fromkeys((*(for_severity(settings.labels, severity) or ()), *routed.labels))),
            fields={**settings.fields, **settings.fields_by_severity.get(severity, {}), **of_route},
        )

    # -- attempts --

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Do what the event asks for, as far as it is not done yet."""
        return await self._visit(delivery, looking=False)

    async def find_sent(self, delivery: Delivery) -> Outcome | None:
        """Look for what an earlier attempt may have done; see `ports.Channel.find_sent`.

        None where something is left to do: `attempt` looks again at each step, and leaves out what is done. Unknown
        where the service refuses to say.
        """
        try:
            outcome = await self._visit(delivery, looking=True)
        except _LeftToDo:
            return None
        if isinstance(outcome, GaveUp | Parked):
            return Unknown(outcome.reason, reply=outcome.reply)
        return None if isinstance(outcome, Skipped) else outcome

    async def _visit(self, delivery: Delivery, *, looking: bool) -> Outcome:
        if delivery.digest:
            return GaveUp("a digest has no ticket: its events are of several operations")
        visit = _Visit(self, delivery, looking=looking)
        try:
            async with asyncio.timeout(self.deadline):
                outcome = await visit.act()
        except TicketRefused as error:
            outcome = error.outcome
        except TimeoutError:
            outcome = Unknown(f"not done within {self.deadline:.0f} s")
        return replace(outcome, ticket=visit.ticket)


def refused_check(what: str, error: TicketRefused) -> CheckResult:
    """Return the result of a check whose question was refused: the reason has a remedy, or nothing was reached."""
    detail, _, remedy = error.outcome.reason.partition("; ")
    return CheckResult(ok=False, what=what, detail=detail, remedy=remedy or "check url, the network and the proxy")


class KeyedTicketChannel(TicketChannel[S]):
    """A ticket channel whose service knows an alert by our key, and nothing can be read back from it.

    Opening the same key again does no harm. A kind implements `create`, whose `RemoteTicket.ref` is the key,
    `add_failure`, `comment` and `close`, all of which may be called again. Nobody says whether a person has closed an
    alert, so `add_failure` raises it again. An alert that we closed is never reopened: the next failure opens one with
    a key of its own.
    """

    keyed = True
    resend_policy = ResendPolicy.IDEMPOTENT

    async def find_sent(self, delivery: Delivery) -> Outcome | None:  # noqa: ARG002 - nothing can be asked
        """Return Unknown: what may have been sent is sent again."""
        return Unknown(f"{self.kind} says nothing about an alert")

    async def find(self, key: str, project: str | None) -> Sequence[RemoteTicket]:  # noqa: ARG002 - nothing to ask
        """Return nothing."""
        return ()

    async def read(self, ref: str) -> RemoteTicket | None:  # noqa: ARG002 - as above
        """Return None. The base takes what is recorded."""
        return None

    async def has_comment(self, ref: str, mark: str) -> bool | None:  # noqa: ARG002 - as above
        """Return None. The base does not ask."""
        return None

    async def reopen(self, ref: str) -> RemoteTicket:
        """Fail: the base does not ask for it."""
        raise NotImplementedError(ref)


class _LeftToDo(Exception):
    """Something has to be written, and the visit only looks."""


class _Visit:
    """One attempt to do with a ticket what an event asks for."""

    def __init__(self, channel: TicketChannel[Any], delivery: Delivery, *, looking: bool) -> None:
        """With `looking`, nothing is written: `act` raises _LeftToDo instead."""
        event = delivery.events[0]
        self.ticket = delivery.ticket or Ticket(
            channel=channel.name, operation=operation_of(event) or "", wanted_by=delivery.id, failed_at=happened(event)
        )
        """What is known of the ticket, with what this attempt does."""
        self._channel = channel
        self._event = event
        self._delivery = delivery
        self._looking = looking
        self._first = delivery.attempt <= 1
        """Whether no earlier attempt can have done anything."""
        self._left_out = ""
        self._now = channel.context.clock.now()

    async def act(self) -> Outcome:
        """Read, decide, and take the steps. Raises TicketRefused; `ticket` then has what was done before."""
        if opens_ticket(self._event):
            return await self._after_failure()
        if solves_ticket(self._event):
            return await self._after_success()
        return Skipped("only failures and successes of tasks change tickets")

    async def _after_failure(self) -> Outcome:
        recorded = self.ticket
        remote = await self._read()
        if recorded.ref is None and remote is not None:
            if self._ours:
                return await self._adopt(remote)
            self.ticket = recorded = after_opening(recorded, remote)
        if remote is not None and not self._first and recorded.state is TicketState.CLOSED and not remote.closed:
            self.ticket = after_opening(recorded, remote)  # an earlier attempt opened it again
        decision = next_steps(self.ticket, remote, self._event, self._now, self._channel.settings.rules)
        if remote is not None:
            self.ticket = as_found(self.ticket, remote, self._now)
        if decision.outdated:
            return Skipped(decision.reason)
        for step in decision.steps:
            await self._take(step)
        self.ticket = unsolved(self.ticket)
        return Delivered(ref=self.ticket.ref, reason=self._left_out or None)

    async def _after_success(self) -> Outcome:
        recorded = self.ticket
        remote = await self._read()
        if remote is not None and recorded.ref is None:
            self.ticket = recorded = after_opening(recorded, remote)
        if remote is not None and remote.closed and await self._closed_before(recorded):
            self.ticket = after_closing(recorded, remote, self._now)
            return self._solved(Delivered(ref=self.ticket.ref))
        decision = next_steps(recorded, remote, self._event, self._now, self._channel.settings.rules)
        if remote is not None:
            self.ticket = as_found(recorded, remote, self._now)
        elif recorded.ref is not None:
            self.ticket = replace(recorded, state=TicketState.CLOSED, closed_by=ClosedBy.PERSON, closed_at=self._now)
        if decision.outdated:
            return Skipped(decision.reason)
        if not decision.steps:
            return self._solved(Skipped(decision.reason))
        for step in decision.steps:
            await self._take(step)
        left_open = None if Step.CLOSE in decision.steps else f"not closed: {decision.reason}"
        return self._solved(Delivered(ref=self.ticket.ref, reason=left_open))

    def _solved(self, outcome: OutcomeT) -> OutcomeT:
        self.ticket = replace(self.ticket, solved_at=happened(self._event))
        return outcome

    async def _closed_before(self, recorded: Ticket) -> bool:
        """Return whether an earlier attempt of this delivery closed the ticket: its comment is there."""
        if self._first or recorded.state is TicketState.CLOSED or self._channel.keyed:
            return False
        assert recorded.ref is not None  # noqa: S101 - it was read
        return await self._channel.has_comment(recorded.ref, self._mark) is not False

    # -- reading --

    async def _read(self) -> RemoteTicket | None:
        """Return the ticket as its service has it; None where there is none."""
        ticket = self.ticket
        if self._channel.keyed:
            return self._assumed()
        if ticket.ref is not None:
            remote = await self._channel.read(ticket.ref)
            return None if remote is None or is_strangers(ticket, remote) else remote
        return await self._look_up() if ticket.attempted_at is not None else None

    def _assumed(self) -> RemoteTicket | None:
        """Return what is recorded of an alert that cannot be read."""
        ticket = self.ticket
        lost = ticket.attempted_at is not None and solves_ticket(self._event)
        if ticket.ref is None and not lost:
            return None
        return RemoteTicket(
            ref=ticket.ref or ticket.key,
            label=ticket.label or ticket.key,
            url=ticket.url,
            status=ticket.status or "",
            closed=ticket.state is TicketState.CLOSED,
            final=True,
        )

    async def _look_up(self) -> RemoteTicket | None:
        """Return the ticket that an earlier attempt may have opened. Raises TicketRefused while it may be hidden."""
        ticket, lag = self.ticket, self._channel.index_lag
        found = next(
            (one for one in await self._channel.find(ticket.key, self._project) if one.key == ticket.key), None
        )
        waited = self._now - (ticket.attempted_at or self._now)
        if found is not None or waited >= lag:
            return found
        wait = min(max(waited * 2, _SHORTEST_WAIT), lag - max(waited, timedelta()) + _SHORTEST_WAIT)
        why = f"an earlier attempt may have opened {ticket.key}, which the service may not show yet"
        raise TicketRefused(Retry(why, wait, neutral=True), applied=True)

    async def _adopt(self, remote: RemoteTicket) -> Outcome:
        """Record a ticket that was found by its key. The failure is in it, unless another delivery opened it."""
        ours = self._ours
        opened = after_opening(self.ticket, remote)
        self.ticket = unsolved(as_found(opened, remote, self._now))
        if not ours:
            await self._comment()
        return Delivered(ref=remote.ref)

    @property
    def _ours(self) -> bool:
        """Whether an earlier attempt of this delivery opened the ticket, if one was opened."""
        return self.ticket.wanted_by == self._delivery.id and not self._first

    # -- writing --

    @property
    def _mark(self) -> str:
        return comment_mark(self._delivery.id)

    @property
    def _text(self) -> _StoredText:
        return _decoded(stored_body(self._delivery).content)

    @property
    def _project(self) -> str | None:
        return self._text.project if self._delivery.body is not None else None

    def _before_writing(self) -> None:
        if self._looking:
            raise _LeftToDo

    async def _take(self, step: Step) -> None:
        match step:
            case Step.OPEN:
                await self._open()
            case Step.REOPEN:
                self._before_writing()
                self.ticket = after_opening(self.ticket, await self._channel.reopen(self._ref))
            case Step.COMMENT:
                await self._comment()
            case Step.CLOSE:
                self._before_writing()
                remote = await self._channel.close(self._ref, self._text.resolution)
                self.ticket = after_closing(self.ticket, remote, self._channel.context.clock.now())

    @property
    def _ref(self) -> str:
        assert self.ticket.ref is not None  # noqa: S101 - only an opened ticket is changed
        return self.ticket.ref

    async def _open(self) -> None:
        """Open the ticket, or the next one, unless an earlier attempt did so."""
        ticket = self.ticket
        if ticket.ref is not None:
            following = ticket.next_generation(self._delivery.id)
            ticket = self.ticket = replace(following, attempted_at=ticket.attempted_at)
            if ticket.attempted_at is not None and not self._channel.keyed and (found := await self._look_up()):
                await self._adopt(found)
                return
        self._before_writing()
        self.ticket = replace(ticket, attempted_at=self._channel.context.clock.now())
        again = ticket.attempted_at is not None and self._now - ticket.attempted_at >= self._channel.repeatable_for
        draft = self._text.draft(previous=ticket.previous, duplicate=again)
        try:
            remote = await self._channel.create(draft, ticket.key)
        except TicketRefused as error:
            if not error.applied:
                self.ticket = ticket
            raise
        self.ticket = after_opening(self.ticket, remote)
        self._left_out = remote.left_out

    async def _comment(self) -> None:
        """Comment, unless an earlier attempt did so."""
        if not self._first and not self._channel.keyed:
            known = await self._channel.has_comment(self._ref, self._mark)
            if known:
                return
            if known is None and self._looking:
                raise TicketRefused(Unknown("the service does not say which comments there are"), applied=True)
        self._before_writing()
        text = self._text
        if opens_ticket(self._event):
            draft = text.draft(previous=self.ticket.previous, duplicate=False)
            await self._channel.add_failure(self._ref, draft, text.comment, self._mark)
        else:
            await self._channel.comment(self._ref, text.comment, self._mark)


def _decoded(content: bytes) -> _StoredText:
    """Read what `compose` wrote. Raises TicketRefused for anything else."""
    import msgspec  # noqa: PLC0415 - reading settings must not load it

    try:
        return msgspec.json.decode(content, type=_StoredText)
    except msgspec.DecodeError:
        what = "the message was written when the channel was of another kind"
        raise TicketRefused(GaveUp(what), applied=False) from None
