"""Messages about several events in Block Kit, digests and storms: pure functions."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from notifier.channels.base import Json
from notifier.channels.card import SETTLED_EMOJI
from notifier.channels.templates import BUILT_IN, FilledTemplate
from notifier.chat.requests import Button, ButtonAction
from notifier.core.delivery import Thread
from notifier.core.people import Acknowledgement
from notifier.core.storms import Storm, fitting
from notifier.integrations.slack.blockkit import (
    BLOCK_LIMIT,
    FIELD_LIMIT,
    MESSAGE_LIMIT,
    SEPARATOR,
    SETTLED_COLOUR,
    Style,
    button_element,
    context,
    escape,
    inline_code,
    literal,
    rich_list,
    rich_text,
    section,
    sentence,
    texts_of,
    words,
)
from notifier.integrations.slack.templates import body_sections, own_title, push_text
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.marks import quoted
from notifier.wording.message import ListedInstance, Message, ReasonCount, SummaryMessage
from notifier.wording.sanitize import cut, joined, one_line
from notifier.wording.summary import SummaryFormatter

CHAT_HINT = "chat_hint"
"""Id of a block of grey texts whose last one is a command to type in the chat."""
PART_SIZE = 250
"""Maximum number of tasks in a message of a storm."""
PART_ROOM = 7_800
"""Maximum length of the list in a message of a storm's thread, in characters, so that it fits into MESSAGE_LIMIT."""
FIRST_PART_ROOM = 5_500
"""Maximum length of the list in a message that also sums up the storm, in characters."""

DIGEST_LINE_LIMIT = 300
"""Maximum length of a line of a digest, in characters."""
PIECE_LIMIT = 8
"""Minimum length of a part of such a line, in characters. With less space left, the part is left out."""
_HEADINGS = 300
"""Maximum length of the headings of a digest together, in characters."""
GROUP_LIMIT = 160
"""Maximum length of a reason and its operation in a storm, in characters."""
INSTANCES_LIMIT = 900
"""Maximum length of the line that names instances of a storm, in characters."""


def summary(request: RenderRequest, formatter: EventFormatter, command: str, filled: FilledTemplate) -> Json:
    """Return the layout of a digest, or of a part of a storm. `command` is the name of the chat's command."""
    message = SummaryFormatter(formatter).describe(request)
    if request.storm is None:
        return _digest(message, command, filled)
    # More come in a first message only where the one that was to be first has failed for good.
    if request.opens_storm and fitting(request.events, PART_SIZE, FIRST_PART_ROOM) == len(request.events):
        return _Storm(message, request.storm, formatter, command).layout()
    return _part(message)


def live_storm(thread: Thread, storm: Storm, formatter: EventFormatter, command: str) -> Json:
    """Return the layout of the message of a storm as it is now."""
    severity = thread.routing.severity or thread.event.severity
    message = SummaryFormatter(formatter).live(storm, severity, [thread.event])
    return _Storm(message, storm, formatter, command, thread.acknowledged).layout()


def _first_line(message: SummaryMessage) -> str:
    environment = literal(message.environment, FIELD_LIMIT) if message.environment else ""
    parts = (
        sentence(message.sentence, bold=True),
        f"*{environment}*" if message.production else environment,
        *(sentence(part) for part in (message.since, message.progress) if part),
    )
    return SEPARATOR.join(filter(None, parts))


def _grey_line(texts: Iterable[str], command: str) -> Json:
    return context(SEPARATOR.join(filter(None, texts)), inline_code(command, FIELD_LIMIT)) | {"block_id": CHAT_HINT}


# ---- storms ----


@dataclass(frozen=True)
class _Storm:
    """The layout of the message that sums up a storm."""

    message: SummaryMessage
    storm: Storm
    formatter: EventFormatter
    command: str
    acknowledged: Acknowledgement | None = None

    @property
    def localizer(self) -> Localizer:
        return self.formatter.localizer

    def layout(self) -> Json:
        emoji, colour = self.message.emoji, self.message.state.tone.colour
        start = emoji
        if self.acknowledged:
            emoji, colour = SETTLED_EMOJI, SETTLED_COLOUR
            who = acknowledged_by(self.acknowledged, self.formatter, self.storm.started_at)
            start = f"{emoji} {who}{SEPARATOR[:-1]}"
        return {
            "text": push_text(emoji, self.message.push, BUILT_IN),
            "blocks": [section(f"{start} {_first_line(self.message)}")],
            "attachments": [
                {"color": colour, "blocks": blocks} for blocks in (list(self._blocks()), self._list()) if blocks
            ],
        }

    def _blocks(self) -> Iterator[Json]:
        message = self.message
        if message.reasons:
            items = [list(self._reason(reason)) for reason in message.reasons]
            more = [[words(message.more_reasons)]] if message.more_reasons else []
            yield rich_text(rich_list([*items, *more]))
        yield section("\n".join(map(self._line, filter(None, (message.instances, self._first_task)))))
        if buttons := list(self._buttons()):
            yield {"type": "actions", "elements": buttons}
        in_thread = "" if self._lists_tasks else self.localizer.text("storm.in_thread")
        origin = sentence(message.origin, quote=literal)
        yield _grey_line((origin, in_thread), f"{self.command} {message.command}")

    def _list(self) -> list[Json]:
        """Return the list of tasks where no thread has it. It stands last, because Slack folds what is long."""
        return [rich_text(rich_list(map(_instance, self.message.tasks)))] if self._lists_tasks else []

    def _line(self, text: str) -> str:
        return sentence(text, INSTANCES_LIMIT)

    def _reason(self, reason: ReasonCount) -> Iterator[Json]:
        yield words(f"{reason.count} ", "bold")
        if reason.code:
            yield words(reason.code, "code")
            yield words(" ")
        about = reason.reason
        if reason.operation:
            about = self.localizer.text("storm.about", operation=reason.operation, reason=about)
        yield words(cut(about, GROUP_LIMIT))

    @property
    def _lists_tasks(self) -> bool:
        """True where there is no thread that lists the tasks: the message has more than the first one."""
        return sum(len(one.tasks) for one in self.message.tasks) > 1

    @property
    def _first_task(self) -> str:
        """The one task that no message in the thread lists."""
        if self._lists_tasks or not self.message.tasks:
            return ""
        (first,) = self.message.tasks
        return self.localizer.text("storm.first", name=quoted(first.name), job=quoted(first.tasks[0]))

    def _buttons(self) -> Iterator[Json]:
        text, n = self.localizer.text, self.storm.total
        if not self.acknowledged:
            style = {"style": "primary"} if self.message.severity.loud else {}
            button = Button(ButtonAction.ACKNOWLEDGE_STORM, self.storm.id)
            yield button_element(button, text("button.acknowledge_all", n=n), **style)
        yield button_element(Button(ButtonAction.STORM_TASKS, self.storm.id), text("button.show_all", n=n))
        if self.message.page.url:
            yield page_button(self.message)
        if self.message.console_url:
            yield button_element(Button(ButtonAction.CONSOLE), text("button.console"), url=self.message.console_url)


def page_button(message: Message | SummaryMessage) -> Json:
    """Return the button that opens the page of a message which has one."""
    return button_element(Button(ButtonAction.PAGE), message.page_label, url=message.page.url)


def acknowledged_by(ack: Acknowledgement, formatter: EventFormatter, near: datetime) -> str:
    """Return who took charge, and when: `Alice, 04:56`. The date is left out where `near` is on the same day."""
    who, at = quoted(one_line(ack.name)), formatter.dated(ack.at, near)
    return sentence(formatter.localizer.text("message.acknowledged", who=who, at=at), quote=literal)


def _part(message: SummaryMessage) -> Json:
    """Return a list of tasks by instance. Everything is named, nothing is cut."""
    return {
        "text": push_text(message.emoji, message.push, BUILT_IN),
        "blocks": [
            section(f"{message.emoji} {_first_line(message)}"),
            rich_text(rich_list(map(_instance, message.tasks))),
            *_page(message),
        ],
        "attachments": [],
    }


def _page(message: SummaryMessage) -> Iterator[Json]:
    """Yield a line of buttons with the link to the page, where there is one."""
    if message.page.url:
        yield {"type": "actions", "elements": [page_button(message)]}


def _instance(listed: ListedInstance) -> Sequence[Json]:
    # One element for all ids: with one for each, a list of 250 tasks would have three times as many bytes.
    count = f" {len(listed.tasks)}: " if len(listed.tasks) > 1 else ": "
    return [words(listed.name, "code"), words(count), words(" ".join(task or "?" for task in listed.tasks), "code")]


# ---- digests ----


def _digest(message: SummaryMessage, command: str, filled: FilledTemplate) -> Json:
    """Return a digest in top-level blocks: Slack would fold the body of an attachment."""
    first = section(f"{message.emoji} {own_title(filled) or _first_line(message)}")
    grey = _grey_line([sentence(message.origin, quote=literal)], f"{command} {message.command}")
    if filled.text:
        lines = list(body_sections(filled.text))
    else:
        left = MESSAGE_LIMIT - sum(len(text) for block in (first, grey) for text in texts_of(block))
        lines = list(map(section, joined(_lines(message.events, left), BLOCK_LIMIT)))
    return {
        "text": push_text(message.emoji, message.push, filled),
        "blocks": [first, *lines, *_page(message), grey],
        "attachments": [],
    }


def _lines(messages: Sequence[Message], left: int) -> Iterator[str]:
    """Yield a heading for each state and a line for each event: not everybody can tell colours apart.

    Together they have at most `left` characters.
    """
    limit = min(DIGEST_LINE_LIMIT, (left - _HEADINGS) // len(messages) - 1)
    for _, group in groupby(messages, key=lambda message: message.state):
        same = list(group)
        yield f"*{same[0].verb.capitalize()}*"
        yield from (_line(message, limit) for message in same)


def _line(message: Message, limit: int) -> str:
    """Return a line of at most `limit` characters: the name, what it is about, why, and last the id.

    The id is cut last, before it the name. Without a task, what happened stands first, then why.
    """
    head = f"• {message.emoji} "
    left = limit - len(head)
    pieces: dict[str, str] = {}
    for place, style, text in _pieces_by_priority(message):
        if text and left >= PIECE_LIMIT:
            pieces[place] = style(text, left)
            left -= len(pieces[place]) + len(" · ")
    return head + " · ".join(pieces[place] for place in ("name", "what", "why", "id") if place in pieces)


def _pieces_by_priority(message: Message) -> Iterator[tuple[str, Style, str]]:
    if message.job:
        yield "id", inline_code, message.job
        yield "name", inline_code, message.subject
        yield "what", escape if message.known else inline_code, message.operation
    else:
        yield "what", sentence, message.sentence
    yield "why", literal, message.why
