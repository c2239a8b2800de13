"""A message in the markup of a chat, in the parts of which every kind of chat makes its own layout. Pure.

`notifier.wording` decides what stands in a message and in which order. A `Card` has each part as text in which nothing
from outside is markup, a mention or a link. A kind puts the parts where its service has a place for them, or takes the
whole as one text from `CardLayout.text`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from urllib.parse import urlsplit

from notifier.channels.markup import Markup, cut_to, fitting_lines
from notifier.channels.templates import BUILT_IN, FilledTemplate
from notifier.core.delivery import Thread
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.severity import Severity
from notifier.core.tickets import TicketLink
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.marks import quoted
from notifier.wording.message import Fact, ListedInstance, Message, SummaryMessage
from notifier.wording.sanitize import one_line
from notifier.wording.states import EventState
from notifier.wording.summary import SummaryFormatter

QUOTE_LINES = 12
"""Maximum number of lines of a reason."""
CARD_SEPARATOR = " · "
"""Stands between the parts of a line."""
SETTLED_EMOJI = "✅"
"""Stands for the state of a message that somebody has acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLimits:
    """Maximum lengths of parts of a card, in the unit of the markup's `size`."""

    quote: int = 3_000
    """Length of the quoted reason."""
    line: int = 3_000
    """Length of a line that lists the tasks of an instance; more tasks begin another line."""
    part: int = 500
    """Length of a part of a line. Names and ids are shorter, also when they are escaped."""
    short_reason: int = 200
    """Length of a reason in a list of reasons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLink:
    """A link to what people may want to open."""

    label: str
    """Plain phrase; of a ticket it has its label, which comes from outside."""
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardLine:
    """An item of a list, in markup, with its bullet."""

    text: str
    short: str
    """What remains where there is no room for `text`: it still names the jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSection:
    """A list below a heading: the events of one state, or the tasks of a storm."""

    state: EventState
    heading: str
    """In markup, bold."""
    lines: tuple[CardLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A message in markup. Parts that it lacks are empty. None of its texts contains a mention."""

    state: EventState
    """Its name, glyph and colours: for a digest, those of the worst event."""
    severity: Severity
    emoji: str
    """Begins `headline`."""
    headline: str
    """What happened, where and when, in one line."""
    title: str
    """`headline` for a place without markup, without its emoji: `prod-orders-01: flavor change failed (PROD)`."""
    push: str
    """What a notification shows, for a place without markup: it says why and when too."""
    mention: tuple[str, ...] = ()
    """Entries of `routes[].mention`: see `RenderRequest.mention`. A kind drops those that it does not understand."""
    text: str = ""
    """What a template of the settings has instead of `quote`, `lines` and `facts`; the last two are empty then."""
    reason: str = ""
    """Why, as written: untrusted plain text of at most QUOTE_LINES lines, for a place where nothing is markup."""
    quote: str = ""
    """Why: a block quote of `reason`, or a sentence that says that no reason is known."""
    more: str = ""
    """How many lines of the reason are left out."""
    conditions: str = ""
    """How bad it is, in one line: `Instance is normal · ran 10 min 22 s, stopped at 96%`. `facts` have it too."""
    details: tuple[str, ...] = ()
    """What follows from it and what to do now; of a storm, the reasons and the instances."""
    facts: tuple[Fact, ...] = ()
    """Everything known as plain labels and values; the values come from outside."""
    links: tuple[CardLink, ...] = ()
    about: str = ""
    """Where it is from, which job it is, and how often that has happened."""
    sections: tuple[CardSection, ...] = ()
    """The events of a digest, or the tasks of a storm."""
    settled: bool = False
    """True where somebody took charge: `emoji` and `headline` show that instead of the state. Only on a card that is
    edited."""
    notes: tuple[str, ...] = ()
    """What people have done about it: who took charge, and who muted the instance. Only on a card that is edited."""

    @property
    def lines(self) -> tuple[str, ...]:
        """How bad it is and what to do now, the most important first."""
        return (self.conditions, *self.details) if self.conditions else self.details


@dataclass(frozen=True, slots=True)
class CardLayout:
    """Makes cards in the markup of one service, for readers of one language."""

    markup: Markup
    formatter: EventFormatter
    limits: CardLimits = CardLimits()

    @property
    def localizer(self) -> Localizer:
        """Texts in the language of the readers."""
        return self.formatter.localizer

    def card(self, request: RenderRequest, filled: FilledTemplate = BUILT_IN) -> Card:
        """Return the card of a message, with what the templates replace."""
        if request.digest or request.storm:
            summary = SummaryFormatter(self.formatter).describe(request)
            return self.summary(summary, request.mention, filled)
        message = self.formatter.describe(request.events[0], request.routing)
        return self.single(message, request.mention, filled, request.tickets)

    def live(self, thread: Thread, filled: FilledTemplate = BUILT_IN) -> Card:
        """Return the card that the message of a thread shows now, with what people have done about it."""
        mention = RenderRequest(delivery_id="", events=(thread.event,), routing=thread.routing).mention
        if storm := thread.storm:
            severity = thread.routing.severity or thread.event.severity
            card = self.summary(SummaryFormatter(self.formatter).live(storm, severity, [thread.event]), mention)
            near = storm.started_at
        else:
            message = self.formatter.describe(thread.event, thread.routing)
            card = self.single(message, mention, filled, thread.tickets)
            near = thread.event.observed_at
        acknowledged = thread.acknowledged
        notes = tuple(self._notes(acknowledged, thread.mute, near))
        if not acknowledged:
            return replace(card, notes=notes)
        headline = f"{SETTLED_EMOJI}{card.headline.removeprefix(card.emoji)}"
        return replace(card, emoji=SETTLED_EMOJI, headline=headline, notes=notes, settled=True)

    def _notes(self, acknowledged: Acknowledgement | None, mute: Mute | None, near: datetime) -> Iterator[str]:
        text = self.localizer.text
        if acknowledged:
            at = self.formatter.dated(acknowledged.at, near)
            who = quoted(one_line(acknowledged.name))
            yield f"{SETTLED_EMOJI} {self.sentence(text('message.acknowledged', who=who, at=at))}"
        if mute:
            yield f"🔕 {self.sentence(self.formatter.muted(mute, near))}"

    # -- one event --

    def single(
        self,
        message: Message,
        mention: tuple[str, ...] = (),
        filled: FilledTemplate = BUILT_IN,
        tickets: Sequence[TicketLink] = (),
    ) -> Card:
        """Return the card of one event."""
        own = bool(filled.text)
        reason = "\n".join(line for line in message.reason.splitlines() if line.strip())
        lines = reason.splitlines()
        quote = self._quote(lines) if reason else self.sentence(message.reason_note)
        shown = len(quote.split(self.markup.line_break)) if quote else 0
        left_out = len(lines) - shown if reason else 0
        return Card(
            state=message.state,
            severity=message.severity,
            emoji=message.emoji,
            headline=self._titled(message.emoji, filled) or self._headline(message),
            title=self._title(filled, message.headline.title),
            push=self.markup.unformatted(filled.title or message.headline.push, self.limits.part),
            mention=mention,
            text=filled.text or "",
            reason="\n".join(lines[:QUOTE_LINES]),
            quote=quote,
            more=self.localizer.counted("message.more_lines", left_out) if left_out else "",
            conditions="" if own else CARD_SEPARATOR.join(map(self.sentence, message.conditions)),
            details=() if own else tuple(self._details(message)),
            facts=() if own else message.facts,
            links=self._links(message, message.runbook_url, tickets),
            about=self._about(message, tickets),
            sections=() if own else tuple(self._sections(message)),
        )

    def _sections(self, message: Message) -> Iterator[CardSection]:
        for one in filter(lambda section: section.heading, message.sections):
            bullet = self.markup.bullet if one.items else ""
            lines = tuple(f"{bullet}{self.sentence(line)}" for line in one.lines)
            yield CardSection(
                state=message.state,
                heading=self.bold(one.heading),
                lines=tuple(CardLine(text=line, short=line) for line in lines),
            )

    def _quote(self, lines: Sequence[str]) -> str:
        return self.markup.block_quote("\n".join(lines[:QUOTE_LINES]), self.limits.quote)

    def _title(self, filled: FilledTemplate, built_in: str) -> str:
        own = self.markup.unescaped(filled.title) if filled.title else ""
        return self.markup.unformatted(own or built_in, self.limits.part)

    def _titled(self, emoji: str, filled: FilledTemplate) -> str:
        return f"{emoji} {cut_to(filled.title, self.limits.part, self.markup.size)}" if filled.title else ""

    def _headline(self, message: Message) -> str:
        """Return what happened where and when, in one line."""
        what = self.sentence(message.sentence, bold=True)
        parts = (what, self._environment(message), self.sentence(message.when), self.sentence(message.late, bold=True))
        return f"{message.emoji} {CARD_SEPARATOR.join(filter(None, parts))}"

    def _details(self, message: Message) -> Iterator[str]:
        yield from (self.sentence(line) for one in message.sections if not one.heading for line in one.lines)
        yield from map(self.sentence, message.notes)
        for name, text in (("means", message.meaning), ("try", message.advice)):
            if text:
                label = self.bold(self.localizer.text(f"message.{name}"))
                yield f"{label} {self.markup.commands(text, self.limits.part)}"

    def _about(self, message: Message, tickets: Sequence[TicketLink]) -> str:
        """Return where it is from, which job it is, how often that has happened, and the tickets without a link."""
        job = message.named_job(self.code(message.job))
        named = (self.plain(self._ticket(one)) for one in tickets if not _opens(one.url or ""))
        parts = (self.sentence(message.origin), job, self.plain(message.history), *named)
        return CARD_SEPARATOR.join(filter(None, parts))

    def _ticket(self, ticket: TicketLink) -> str:
        """Return a ticket in plain words: `Ticket OPS-12`."""
        return self.localizer.text("message.ticket", label=one_line(ticket.label))

    # -- several --

    def summary(
        self, summary: SummaryMessage, mention: tuple[str, ...] = (), filled: FilledTemplate = BUILT_IN
    ) -> Card:
        """Return the card of a digest, or of a part of a storm."""
        own = bool(filled.text)
        return Card(
            state=summary.state,
            severity=summary.severity,
            emoji=summary.emoji,
            headline=self._titled(summary.emoji, filled) or self._summed_up(summary),
            title=self._title(filled, summary.title),
            push=self.markup.unformatted(summary.push, self.limits.part),
            mention=mention,
            text=filled.text or "",
            details=() if own else tuple(self._overview(summary)),
            links=self._links(summary),
            sections=() if own else (*self._groups(summary), *self._listed(summary)),
        )

    def _summed_up(self, summary: SummaryMessage) -> str:
        parts = (
            self.sentence(summary.sentence, bold=True),
            self._environment(summary),
            self.sentence(summary.since),
            self.sentence(summary.origin),
        )
        return f"{summary.emoji} {CARD_SEPARATOR.join(filter(None, parts))}"

    def _overview(self, summary: SummaryMessage) -> Iterator[str]:
        """Yield the progress of a storm, its reasons and its instances."""
        yield from filter(None, [self.sentence(summary.progress)])
        for reason in summary.reasons:
            named = (self.plain if reason.known else self.code)(reason.operation) if reason.operation else ""
            why = self.markup.plain(reason.reason, self.limits.short_reason)
            text = self.localizer.text("headline.why", head=named, why=why) if named else why
            code = self.code(reason.code) if reason.code else ""
            yield self.markup.bullet + " ".join(filter(None, (self.bold(reason.count), code, text)))
        yield from map(self.sentence, filter(None, (summary.more_reasons, summary.instances)))

    def _groups(self, summary: SummaryMessage) -> Iterator[CardSection]:
        for state, messages in groupby(summary.events, key=lambda message: message.state):
            heading = self.bold(self.localizer.text(f"verb.{state.name}").capitalize())
            lines = tuple(self._item(message, summary) for message in messages)
            yield CardSection(state=state, heading=heading, lines=lines)

    def _item(self, message: Message, summary: SummaryMessage) -> CardLine:
        """Return one event of a digest in one line."""
        environment = message.environment if message.environment != summary.environment else ""
        name = self.code(message.subject) if message.operation and message.subject else ""
        parts = (name, self.sentence(message.detail), self.plain(environment), self.plain(message.why))
        job = self.code(message.job) if message.job else ""
        text = CARD_SEPARATOR.join(filter(None, (*parts, job)))
        return CardLine(text=f"{self.markup.bullet}{text}", short=f"{self.markup.bullet}{job or text}")

    def _listed(self, summary: SummaryMessage) -> Iterator[CardSection]:
        """Yield the list that names every task of a storm by its instance."""
        if not summary.tasks:
            return
        count = self.localizer.counted("tasks", sum(len(instance.tasks) for instance in summary.tasks))
        heading = self.bold(self.localizer.text("storm.listed", tasks=count))
        lines = tuple(line for instance in summary.tasks for line in self._tasks(instance))
        yield CardSection(state=summary.state, heading=heading, lines=lines)

    def _tasks(self, instance: ListedInstance) -> Iterator[CardLine]:
        """Yield the tasks of one instance in lines of limited length."""
        begin = f"{self.markup.bullet}{self.code(instance.name)}"
        size = self.markup.size
        jobs: list[str] = []
        for job in map(self.code, instance.tasks):
            if jobs and size(" ".join((begin, *jobs, job))) > self.limits.line:
                yield self._listed_line(begin, jobs)
                jobs = []
            jobs.append(job)
        yield self._listed_line(begin, jobs)

    def _listed_line(self, begin: str, jobs: Sequence[str]) -> CardLine:
        listed = " ".join(jobs)
        return CardLine(text=f"{begin} {listed}", short=f"{self.markup.bullet}{listed}")

    # -- parts --

    def sentence(self, sentence: str, *, bold: bool = False) -> str:
        """Return a sentence with marks in markup."""
        return self.markup.sentence(sentence, self.limits.part, bold=bold)

    def plain(self, text: str) -> str:
        """Return a part of a line in which nothing is markup."""
        return self.markup.plain(text, self.limits.part)

    def code(self, text: str) -> str:
        """Return a part of a line as code."""
        return self.markup.code(text, self.limits.part)

    def bold(self, text: str) -> str:
        """Return a part of a line in bold."""
        return self.markup.bold(text, self.limits.part)

    def link_line(self, card: Card) -> str:
        """Return the links of a card in one line; empty for none."""
        return CARD_SEPARATOR.join(self.markup.link(link.label, link.url) for link in card.links)

    def _environment(self, message: Message | SummaryMessage) -> str:
        return self.bold(message.environment) if message.production else self.plain(message.environment)

    def _links(
        self, message: Message | SummaryMessage, runbook_url: str = "", tickets: Sequence[TicketLink] = ()
    ) -> tuple[CardLink, ...]:
        label = self.localizer.text
        links = (
            CardLink(label=message.page_label, url=message.page.url),
            CardLink(label=label("mail.open_console"), url=message.console_url),
            CardLink(label=label("mail.runbook"), url=runbook_url),
            *(CardLink(label=self._ticket(one), url=one.url or "") for one in tickets),
        )
        return tuple(link for link in links if _opens(link.url))

    # -- the whole as one text --

    def text(self, card: Card, limit: int, mention: str = "") -> str:
        """Return a whole card as one text of at most `limit`, with the mentions at the end of its first line.

        Where the room is short, the least important lines are left out: first links, then how bad it is and what to do,
        then the reason. The headline and the line with the job stay. Lists are shortened line by line to the jobs
        before any line is left out. `limits` has to leave room for the parts that stay.
        """
        markup = self.markup
        first = cut_to(f"{card.headline} {mention}".rstrip(), limit, markup.size)
        paragraph = 2 * markup.size(markup.line_break)
        room = limit - markup.size(first) - paragraph
        if card.sections:
            listed = self.lists(card.sections, room)
            lists = self._paragraphs(*(markup.line_break.join((one.heading, text)) for one, text in listed))
            above = self._fitting(
                (*card.notes, *card.lines, self.link_line(card)), room - markup.size(lists) - paragraph
            )
            return self._paragraphs(first, above, lists)
        about = card.about if markup.size(card.about) <= room else ""
        room -= markup.size(about) + paragraph if about else 0
        if card.text:
            link_line = self.link_line(card)
            text = cut_to(card.text, room, markup.size)
            fits = markup.size(text) + paragraph + markup.size(link_line) <= room
            return self._paragraphs(first, text, link_line if fits else "", about)
        why = card.quote if markup.size(card.quote) <= room else ""
        room -= markup.size(why) + paragraph if why else 0
        more = card.more if why and card.more and markup.size(card.more) <= room else ""
        room -= markup.size(more) + paragraph if more else 0
        return self._paragraphs(
            first, why, more, self._fitting((*card.notes, *card.lines, self.link_line(card)), room), about
        )

    def _fitting(self, lines: Sequence[str], room: int) -> str:
        line_break = self.markup.line_break
        found = fitting_lines(filter(None, lines), room, self.markup.size, gap=self.markup.size(line_break))
        return line_break.join(found)

    def lists(self, sections: Sequence[CardSection], room: int) -> Sequence[tuple[CardSection, str]]:
        """Return sections, each with its lines as one text, that fit into the room with their headings.

        The lines are whole, else short, else as many short ones as fit and the number of the others.
        """
        line_break, size = self.markup.line_break, self.markup.size
        gap = size(line_break)
        for short in (False, True):
            texts = [line_break.join(line.short if short else line.text for line in one.lines) for one in sections]
            if sum(size(one.heading) + size(text) + 3 * gap for one, text in zip(sections, texts, strict=True)) <= room:
                return list(zip(sections, texts, strict=True))
        lines = [line.short for one in sections for line in one.lines]
        room -= sum(size(one.heading) + 3 * gap for one in sections)
        room -= size(self.localizer.counted("message.more_lines", len(lines))) + gap
        kept: list[tuple[CardSection, list[str]]] = []
        for one in sections:
            fitting = list(fitting_lines((line.short for line in one.lines), room, size, gap=gap))
            room -= sum(size(line) + gap for line in fitting)
            kept.append((one, fitting))
        left_out = len(lines) - sum(len(fitting) for _, fitting in kept)
        kept[-1][1].append(self.localizer.counted("message.more_lines", left_out))
        return [(one, line_break.join(fitting)) for one, fitting in kept if fitting]

    def _paragraphs(self, *paragraphs: str) -> str:
        return (2 * self.markup.line_break).join(filter(None, paragraphs))


def _opens(url: str) -> bool:
    """Return whether a browser can open an address; some services refuse a whole message for one that is wrong."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
