"""What a mail says, before its headers: an event, a digest or a storm as a text and as an HTML part. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from notifier.channels.templates import FilledTemplate
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.tickets import TicketLink, web_address
from notifier.ports import RenderRequest
from notifier.wording.columns import columns
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.marks import quoted, split_marked, without_marks
from notifier.wording.message import Fact, ListedInstance, Message, SummaryMessage
from notifier.wording.reports import MessageSection
from notifier.wording.sanitize import DETAIL_LIMIT, cut, one_line, strip_controls
from notifier.wording.states import EVENT_ROWS, EventState
from notifier.wording.summary import SummaryFormatter

MAIL_TITLE_LIMIT = 200
"""Maximum length of the headline of a template, in characters."""
MAIL_TEXT_LIMIT = 20_000
"""Maximum length of the body of a template, in characters."""

_SEPARATOR = " · "
_INDENT = "  "
_COMMAND = re.compile(r"`([^`]*)`")
_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A job id that a shell takes as one word."""
_MERGED = frozenset({"created_at", "took", "ran_for"})
"""Facts of a task that has ended which the row of its end has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One labelled line."""

    label: str
    value: str
    """Plain text of one line."""
    url: str = ""
    """Where it leads; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One event of a digest."""

    title: str
    more: str
    reason: str
    console_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The events of a digest that are in one state."""

    title: str
    state: EventState
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MailContent:
    """Everything that a mail says, as plain text. Parts that are empty are left out."""

    state: EventState
    subject: str
    preheader: str
    badge: str
    """The state in one word: `FAILED`."""
    place: str
    """Where: `PROD · cn-north-4`, and how late it was reported."""
    title: str
    text: str = ""
    """Lines of a template, which replace the reason and all that follows from it."""
    reason: str = ""
    """Several lines of text from outside."""
    notes: tuple[str, ...] = ()
    meaning: str = ""
    advice: str = ""
    """May have commands in backticks."""
    page_url: str = ""
    page_label: str = ""
    """What a button with the link to our page says."""
    console_url: str = ""
    runbook_url: str = ""
    rows: tuple[Row, ...] = ()
    counts: tuple[str, ...] = ()
    """How many failed why, one line for each reason, and on which instances."""
    groups: tuple[Group, ...] = ()
    listed: str = ""
    """Title of `tasks`."""
    tasks: tuple[ListedInstance, ...] = field(default=())
    sections: tuple[MessageSection, ...] = ()
    """What a report says."""
    because: str = ""
    """Why the reader gets this mail, with marks."""
    command: str = ""
    """Command that explains it; empty where there is none."""


def mail_content(request: RenderRequest, formatter: EventFormatter, channel: str) -> MailContent:
    """Return what the mail of a request says. `channel` is the name of the channel that it is sent to."""
    if request.digest or request.storm:
        return _summary_content(request, formatter, channel)
    return _event_content(request, formatter, channel)


def with_template(content: MailContent, filled: FilledTemplate) -> MailContent:
    """Return the content with the subject and the body of a template. Why the reader gets the mail stays."""
    if title := one_line(filled.title or "", MAIL_TITLE_LIMIT):
        content = replace(content, subject=title, title=title)
    text = cut(strip_controls(filled.text or ""), MAIL_TEXT_LIMIT)
    if not text:
        return content
    return MailContent(
        state=content.state,
        subject=content.subject,
        preheader=one_line(text, DETAIL_LIMIT),
        badge=content.badge,
        place=content.place,
        title=content.title,
        text=text,
        page_url=content.page_url,
        page_label=content.page_label,
        console_url=content.console_url,
        runbook_url=content.runbook_url,
        because=content.because,
        command=content.command,
    )


# -- one event --


def _event_content(request: RenderRequest, formatter: EventFormatter, channel: str) -> MailContent:
    event, localizer = request.events[0], formatter.localizer
    message = formatter.describe(event, request.routing)
    return MailContent(
        state=message.state,
        subject=_marked_title(message.state, message.headline.short_title),
        preheader=message.headline.preheader,
        badge=message.verb.upper(),
        place=_SEPARATOR.join(
            filter(None, (message.environment, _region(event, message), without_marks(message.late)))
        ),
        title=_title(message, localizer),
        reason=message.reason,
        notes=tuple(map(without_marks, filter(None, (message.reason_note, *message.notes)))),
        meaning=message.meaning,
        advice=message.advice,
        page_url=message.page.url,
        page_label=message.page_label,
        console_url=message.console_url,
        runbook_url=message.runbook_url,
        sections=tuple(_without_marks(one) for one in message.sections),
        rows=(*_ticket_rows(request.tickets, localizer), *_rows(message, localizer)),
        because=_because(request, localizer, channel),
        command=f"notifier explain {message.job}" if _PLAIN_ID.fullmatch(message.job) else "",
    )


def _without_marks(one: MessageSection) -> MessageSection:
    return replace(one, lines=tuple(map(without_marks, one.lines)))


def _title(message: Message, localizer: Localizer) -> str:
    if not message.operation or not message.subject:
        return without_marks(message.sentence)
    return localizer.text("mail.title", clause=without_marks(message.clause), subject=message.subject)


def _region(event: Event, message: Message) -> str:
    """Return the region where the environment names the source; else the source with it."""
    region = one_line(event.region)
    return region if region and message.environment else without_marks(message.origin)


def _ticket_rows(tickets: Iterable[TicketLink], localizer: Localizer) -> Iterator[Row]:
    for one in tickets:
        url = web_address(one.url) or ""
        yield Row(label=localizer.text("label.ticket"), value=one_line(one.label), url=url)


def _rows(message: Message, localizer: Localizer) -> Iterator[Row]:
    facts = {fact.name: fact for fact in message.facts}
    ended = facts.get("ended_at")
    length = facts.get("ran_for") or facts.get("took")
    for fact in message.facts:
        if ended and fact.name in _MERGED:
            continue
        if fact.name == "instance_status" and message.history:
            yield Row(label=localizer.text("label.history"), value=message.history)
        yield Row(label=fact.label, value=_value(fact, length, localizer) if fact is ended else fact.value)


def _value(ended: Fact, length: Fact | None, localizer: Localizer) -> str:
    return localizer.text("mail.ended", at=ended.value, length=length.value) if length else ended.value


# -- several --


def _summary_content(request: RenderRequest, formatter: EventFormatter, channel: str) -> MailContent:
    localizer = formatter.localizer
    summary = SummaryFormatter(formatter).describe(request)
    title = _SEPARATOR.join(filter(None, (without_marks(summary.sentence), without_marks(summary.since))))
    urls = {message.console_url for message in summary.events}
    shared_url = urls.pop() if len(urls) == 1 else ""
    jobs = sum(len(instance.tasks) for instance in summary.tasks)
    listed = localizer.text("storm.listed", tasks=localizer.counted("tasks", jobs)) if jobs else ""
    return MailContent(
        state=summary.state,
        subject=_marked_title(summary.state, summary.title),
        preheader=_digest_preheader(summary),
        badge=localizer.text(f"verb.{summary.state.name}").upper(),
        place=_SEPARATOR.join(filter(None, (summary.environment, without_marks(summary.origin)))),
        title=title,
        counts=tuple(_counts(summary, localizer)),
        page_url=summary.page.url,
        page_label=summary.page_label,
        console_url=summary.console_url or shared_url,
        groups=tuple(_groups(summary, localizer, links=not shared_url)),
        listed=listed,
        tasks=summary.tasks,
        because=_because(request, localizer, channel),
    )


def _counts(summary: SummaryMessage, localizer: Localizer) -> Iterator[str]:
    for reason in summary.reasons:
        named = f"{reason.operation}{localizer.text('headline.why_separator')}" if reason.operation else ""
        yield " ".join(filter(None, (reason.count, reason.code, f"{named}{reason.reason}")))
    yield from map(without_marks, filter(None, (summary.more_reasons, summary.instances)))


def _digest_preheader(summary: SummaryMessage) -> str:
    if summary.events:
        return "; ".join(event.headline.line for event in summary.events[:3])
    return without_marks(_SEPARATOR.join(filter(None, (*(r.reason for r in summary.reasons[:2]), summary.instances))))


def _groups(summary: SummaryMessage, localizer: Localizer, *, links: bool) -> Iterator[Group]:
    for state, messages in groupby(summary.events, key=lambda message: message.state):
        items = tuple(_item(message, summary, link=links) for message in messages)
        yield Group(title=localizer.text(f"verb.{state.name}").capitalize(), state=state, items=items)


def _item(message: Message, summary: SummaryMessage, *, link: bool) -> Item:
    job = message.named_job(message.job)
    environment = message.environment if message.environment != summary.environment else ""
    named = message.subject if message.operation else ""
    return Item(
        title=named or without_marks(message.clause),
        more=_SEPARATOR.join(filter(None, (without_marks(message.detail) if named else "", environment, job))),
        reason=one_line(message.reason, DETAIL_LIMIT),
        console_url=message.console_url if link else "",
    )


# -- parts --


def _marked_title(state: EventState, title: str) -> str:
    """Return a title behind the mark of its state, unless it begins with the state in brackets."""
    return title if title.startswith("【") else f"{state.glyph} {title}"


def _because(request: RenderRequest, localizer: Localizer, channel: str) -> str:
    routes, name = request.routing.routes, quoted(channel)
    if routes:
        names = '", "'.join(map(quoted, routes))
        what = _what(request.events, localizer)
        return localizer.counted("mail.because", len(routes), routes=names, what=what, channel=name)
    if len(request.events) == 1 and request.events[0].type.traits.scheduled:
        kind, _, about = request.events[0].about.partition(":")
        return localizer.text(f"mail.because_{kind}", name=quoted(one_line(about)), channel=name)
    if all(event.mute for event in request.events):
        return localizer.text("mail.because_mute", channel=name)
    alerts = not any(event.task for event in request.events)
    return localizer.text("mail.because_alert" if alerts else "mail.because_direct", channel=name)


def _what(events: Sequence[Event], localizer: Localizer) -> str:
    kinds = {event.type for event in events}
    if not any(event.task for event in events):
        return localizer.text("mail.what.alerts")
    sources = ", ".join(quoted(one_line(source)) for source in sorted({event.source for event in events if event.task}))
    kind = kinds.pop() if len(kinds) == 1 else "tasks"
    return localizer.text(f"mail.what.{kind}", source=sources)


# -- as text --


def text_part(content: MailContent, localizer: Localizer) -> str:
    """Return the text part."""
    blocks = [
        [_SEPARATOR.join(filter(None, (content.badge, content.place))), content.title],
        [line.rstrip() for line in content.text.split("\n")],
        [f"{_INDENT}{line}".rstrip() for line in content.reason.splitlines()],
        [*content.notes],
        [*content.counts],
        *([one.heading, *(f"{'- ' if one.items else ''}{line}" for line in one.lines)] for one in content.sections),
        [*_aligned(_text_rows(content, localizer))],
        *([f"{group.title}", *_text_items(group.items)] for group in content.groups),
        [content.listed, *(f"{_INDENT}{one.name}{_INDENT}{', '.join(one.tasks)}" for one in content.tasks)],
    ]
    shown = "\n\n".join("\n".join(block).lstrip("\n") for block in blocks if any(block))
    why = localizer.text("mail.why", command=content.command) if content.command else ""
    return f"{shown}\n--\n{without_marks(content.because)}{why}\n"


def _text_rows(content: MailContent, localizer: Localizer) -> Iterator[Row]:
    links = {"page.link": content.page_url, "mail.console": content.console_url, "mail.runbook": content.runbook_url}
    said = {"means": content.meaning, "try": content.advice}
    yield from (Row(label=localizer.text(f"message.{name}"), value=text) for name, text in said.items() if text)
    yield from (Row(label=localizer.text(name), value=url) for name, url in links.items() if url)
    yield from content.rows


def _aligned(rows: Iterable[Row]) -> Iterator[str]:
    shown = list(rows)
    width = max((columns(row.label) for row in shown), default=0)
    for row in shown:
        value = f"{row.value}{_INDENT}{row.url}" if row.url else row.value
        yield f"{row.label}{' ' * (width - columns(row.label) + 2)}{value}"


def _text_items(items: Iterable[Item]) -> Iterator[str]:
    for item in items:
        yield "- " + _SEPARATOR.join(filter(None, (item.title, item.more)))
        if item.reason:
            yield f"{_INDENT}{item.reason}"


# -- as HTML --


def html_part(content: MailContent, localizer: Localizer) -> str:
    """Return the HTML part. It loads nothing from elsewhere; its links are those of the configuration."""
    failed = EVENT_ROWS[EventType.TASK_FAILED].state.tone.badge
    return _page().render(mail=content, language=localizer.language, text=localizer.text, failed=failed)


@cache
def _page() -> Template:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"commands": _with_commands, "names": _with_names}
    return environment.get_template("mail.html.j2")


def _with_commands(text: str) -> Markup:
    """Return sentences whose commands in backticks are code."""
    parts = _COMMAND.split(text)  # every other one was in backticks
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(parts)
    )


def _with_names(sentence: str) -> Markup:
    """Return a sentence whose marked names are bold."""
    return Markup("").join(
        Markup("<b>{}</b>").format(part.text) if part.quoted else escape(part.text) for part in split_marked(sentence)
    )
