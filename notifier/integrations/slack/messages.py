"""Messages about events in Block Kit: pure functions.

A message contains nothing of the channel, the token or the mode, so that messages that wait for a changed configuration
are sent under the new one. The first line says what happened to what, where and when; the quote below it says why. The
bar beside the rest has the colour of the state.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from notifier.channels.base import Json
from notifier.channels.card import SETTLED_EMOJI
from notifier.channels.templates import BUILT_IN, FilledTemplate
from notifier.chat.requests import MUTE_LENGTHS, Button, ButtonAction
from notifier.core.delivery import Thread
from notifier.core.ids import shorten_id
from notifier.core.model import Event, Task
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.routing import DeliveryRouting
from notifier.core.tickets import TicketLink
from notifier.integrations.slack.blockkit import (
    BLOCK_LIMIT,
    BUTTON_VALUE_LIMIT,
    FIELD_LIMIT,
    SEPARATOR,
    SETTLED_COLOUR,
    button_element,
    context,
    inline_code,
    linked,
    literal,
    marked_words,
    menu_element,
    progress_bar,
    rich_paragraph,
    rich_quote,
    rich_text,
    section,
    sentence,
    texts_of,
    words,
)
from notifier.integrations.slack.errors import key_of
from notifier.integrations.slack.mentions import mention_markup
from notifier.integrations.slack.summaries import CHAT_HINT, acknowledged_by, live_storm, page_button, summary
from notifier.integrations.slack.templates import body_sections, own_title, push_text
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.marks import quoted, split_marked
from notifier.wording.message import Message
from notifier.wording.sanitize import cut, joined, one_line

QUOTED_LINES = 6
"""Maximum number of lines of a reason."""
QUOTED_LIMIT = 300
"""Maximum length of a reason, in characters."""
DETAILS_HINT = "details_hint"
"""Id of the block of a reason whose last words name the button that shows all of it."""
ADVICE_LIMIT = 900
"""Maximum length of what a reason means, and of what to do about it, in characters."""
NOTE_LIMIT = 300
"""Maximum length of a note about an acknowledgement or a mute, in characters."""


COMMAND = "/gaussdb"
"""Usual name of the chat's command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The acknowledgement, the mute and the tickets that a message shows."""

    acknowledged: Acknowledgement | None = None
    mute: Mute | None = None
    tickets: tuple[TicketLink, ...] = ()

    @property
    def settled(self) -> bool:
        """True where nobody needs to act any more."""
        return self.acknowledged is not None or self.mute is not None


def event_message(
    request: RenderRequest, formatter: EventFormatter, command: str = COMMAND, filled: FilledTemplate = BUILT_IN
) -> Json:
    """Return a message for `chat.postMessage`, without the channel.

    `command` is the name of the chat's command, `filled` what the templates of the channel replace.
    """
    if request.digest or request.storm:
        layout = summary(request, formatter, command, filled)
    else:
        annotations = Annotations(tickets=request.tickets)
        layout = _Layout(request.events[0], request.routing, annotations, formatter, filled).message()
    layout = _with_mention(layout, request.mention)
    return layout | _envelope(request.delivery_id, None if request.digest else request.events[0].job_id)


def live_message(
    thread: Thread, formatter: EventFormatter, command: str = COMMAND, filled: FilledTemplate = BUILT_IN
) -> Json:
    """Return the current content of a thread's message: text, blocks and attachments, which an edit must all name."""
    if thread.storm:
        return _with_mention(live_storm(thread, thread.storm, formatter, command), thread.routing.mention)
    annotations = Annotations(acknowledged=thread.acknowledged, mute=thread.mute, tickets=thread.tickets)
    layout = _Layout(thread.event, thread.routing, annotations, formatter, filled).message()
    return _with_mention(layout, thread.routing.mention)


def replacement_message(
    thread: Thread, key: str, formatter: EventFormatter, command: str = COMMAND, filled: FilledTemplate = BUILT_IN
) -> Json:
    """Return a thread's message for `chat.postMessage`, to replace one that is gone. It mentions nobody."""
    quiet = replace(thread, routing=replace(thread.routing, mention=()))
    return live_message(quiet, formatter, command, filled) | _envelope(
        key, None if thread.storm else thread.event.job_id
    )


def thread_reply(message: Json, *, whole: bool) -> Json:
    """Return a message for a thread that never changes: whole, with links but no buttons; or what happened alone."""
    return without_buttons(message) if whole else message | {"attachments": []}


def without_buttons(message: Json) -> Json:
    """Return a message without what only a chat whose requests arrive can do. Links stay."""
    blocks = list(map(_without_requests, message["blocks"]))
    return message | {"blocks": blocks, "attachments": [_links_only(one) for one in message["attachments"]]}


def _envelope(key: str, job_id: str | None) -> Json:
    job = {} if job_id is None else {"job_id": one_line(job_id)}
    return {
        "metadata": {"event_type": "gaussdb_task", "event_payload": {"key": key} | job},
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _with_mention(layout: Json, mention: Sequence[str]) -> Json:
    """Add whom a message mentions to its first line. Slack notifies them of a post, not of an edit with the same."""
    markup = mention_markup(mention)
    if not markup:
        return layout
    first, *blocks = layout["blocks"]
    return layout | {"blocks": [section(f"{first['text']['text']}  {markup}"), *blocks]}


def _links_only(attachment: Json) -> Json:
    blocks = map(_without_requests, attachment["blocks"])
    return attachment | {"blocks": [block for block in blocks if block.get("elements") != []]}


def _without_requests(block: Json) -> Json:
    if block.get("block_id") == CHAT_HINT:
        return block | {"elements": block["elements"][:-1]}
    if block.get("block_id") == DETAILS_HINT:
        (quote,) = block["elements"]
        return block | {"elements": [rich_quote(*quote["elements"][:-1])]}
    if block["type"] != "actions":
        return block
    return block | {"elements": [element for element in block["elements"] if "url" in element]}


@dataclass(frozen=True)
class _Layout:
    """The layout of the message about one event."""

    event: Event
    routing: DeliveryRouting
    annotations: Annotations
    formatter: EventFormatter
    filled: FilledTemplate = BUILT_IN

    @property
    def localizer(self) -> Localizer:
        return self.formatter.localizer

    def message(self) -> Json:
        message = self.formatter.describe(self.event, self.routing)
        emoji = SETTLED_EMOJI if self.annotations.acknowledged else message.emoji
        colour = SETTLED_COLOUR if self.annotations.settled else message.state.tone.colour
        return {
            "text": push_text(emoji, message.headline.push, self.filled),
            "blocks": [section(self._first_line(message)), *self._why(message)],
            "attachments": [{"color": colour, "blocks": list(self._rest(message))}],
        }

    # -- what, where and when --

    def _first_line(self, message: Message) -> str:
        start = message.emoji
        if ack := self.annotations.acknowledged:
            start = f"{SETTLED_EMOJI} {acknowledged_by(ack, self.formatter, self.event.observed_at)}{SEPARATOR[:-1]}"
        environment = literal(message.environment, FIELD_LIMIT) if message.environment else ""
        where = f"*{environment}*" if message.production else environment
        when = "" if self._names_time(message) else sentence(message.when)
        line = SEPARATOR.join(filter(None, (sentence(message.sentence, bold=True), where, when)))
        line = own_title(self.filled) or line
        return f"{start} {line}" + (f"\n🕓 {sentence(message.late)}" if message.late else "")

    def _names_time(self, message: Message) -> bool:
        """Return whether the message gives the time otherwise, or the length of what it is about."""
        return self.event.since is not None or any(part.at for part in split_marked(message.sentence))

    # -- why --

    def _why(self, message: Message) -> Iterator[Json]:
        if self.filled.text:
            yield from body_sections(self.filled.text)
        elif message.reason:
            yield self._quote(message.reason)
        elif message.reason_note:
            yield rich_text(rich_quote(words(message.reason_note)))

    def _quote(self, reason: str) -> Json:
        shown = cut("\n".join(reason.split("\n")[:QUOTED_LINES]), QUOTED_LIMIT)
        hidden = reason.count("\n") - shown.count("\n")
        if not hidden:
            return rich_text(rich_quote(words(shown)))
        more = words(f"\n{self.localizer.counted('message.more_lines', hidden)}", "italic")
        details = self.localizer.text("message.in_details", details=self.localizer.text("button.details"))
        return rich_text(rich_quote(words(shown), more, words(details, "italic"))) | {"block_id": DETAILS_HINT}

    # -- how bad, and what now --

    def _rest(self, message: Message) -> Iterator[Json]:
        if not self.filled.text:
            yield from self._explained(message)
        if mute := self.annotations.mute:
            note = self.formatter.muted(mute, self.event.observed_at)
            yield context(f"🔕 {sentence(note, 2 * NOTE_LIMIT, quote=literal)}")
        if elements := list(self._buttons(message)):
            yield {"type": "actions", "elements": elements}
        yield context(self._identifiers(message))

    def _explained(self, message: Message) -> Iterator[Json]:
        if message.conditions:
            yield section(_conditions(message))
        yield from _sections(message)
        if message.notes:
            yield section("\n".join(map(sentence, message.notes)))
        if paragraphs := list(self._advice(message)):
            yield rich_text(*paragraphs)

    def _advice(self, message: Message) -> Iterator[Json]:
        if message.meaning:
            yield rich_paragraph(words(cut(message.meaning, ADVICE_LIMIT)))
        if message.advice:
            heading = words(self.localizer.text("message.try"), "bold")
            yield rich_paragraph(heading, words("  "), *marked_words(cut(message.advice, ADVICE_LIMIT)))

    # -- buttons --

    def _buttons(self, message: Message) -> Iterator[Json]:
        if message.operation:
            yield from self._charge(message)
        yield from self._links(message)
        if task := self.event.task:
            yield from self._requests(task)

    def _charge(self, message: Message) -> Iterator[Json]:
        """Yield the button with which somebody takes charge, or gives that back."""
        text = self.localizer.text
        if self.annotations.acknowledged:
            yield button_element(Button(ButtonAction.UNACKNOWLEDGE, self.event.care_id), text("button.take_back"))
        elif self.event.type.traits.acknowledgeable:
            style = {"style": "primary"} if message.severity.loud else {}
            yield button_element(
                Button(ButtonAction.ACKNOWLEDGE, self.event.care_id), text("button.acknowledge"), **style
            )

    def _links(self, message: Message) -> Iterator[Json]:
        text = self.localizer.text
        if message.page.url:
            yield page_button(message)
        if message.console_url:
            yield button_element(Button(ButtonAction.CONSOLE), text("button.console"), url=message.console_url)
        if message.runbook_url:
            yield button_element(Button(ButtonAction.RUNBOOK), text("button.runbook"), url=message.runbook_url)

    def _requests(self, task: Task) -> Iterator[Json]:
        """Yield what can be asked for about a task."""
        text, mute = self.localizer.text, self.annotations.mute
        if mute and mute.instance is not None:
            yield button_element(Button(ButtonAction.UNMUTE, self.event.care_id), text("button.unmute"))
        elif mute is None and (task.instance_id or task.instance_name):
            yield self._mute_menu()
        if len(self.event.subject) <= BUTTON_VALUE_LIMIT:
            yield button_element(Button(ButtonAction.DETAILS, self.event.subject), text("button.details"))

    def _mute_menu(self) -> Json:
        options = (
            (
                Button(ButtonAction.MUTE, self.event.care_id, one),
                self.localizer.text("button.mute_for", length=self.localizer.duration(length)),
            )
            for one, length in MUTE_LENGTHS.items()
        )
        return menu_element(Button(ButtonAction.MUTE), self.localizer.text("button.mute"), options)

    # -- where it is from --

    def _identifiers(self, message: Message) -> str:
        text, project = self.localizer.text, self.event.project_id
        parts = [sentence(message.origin, quote=literal)]
        if message.job:
            parts.append(sentence(message.named_job(quoted(message.job))))
        elif project:
            parts.append(text("message.project", project=inline_code(shorten_id(project), FIELD_LIMIT)))
        parts += [
            linked(text("message.ticket", label=one_line(one.label)), one.url) for one in self.annotations.tickets
        ]
        return SEPARATOR.join(filter(None, (*parts, sentence(message.history) if message.history else "")))


def _sections(message: Message) -> Iterator[Json]:
    """Yield the sections of a report, each in a block."""
    for one in message.sections:
        bullet = "• " if one.items else ""
        heading = [f"*{literal(one.heading, FIELD_LIMIT)}*"] if one.heading else []
        lines = [*heading, *(f"{bullet}{sentence(line)}" for line in one.lines)]
        yield from map(section, joined(lines, BLOCK_LIMIT))


def _conditions(message: Message) -> str:
    """Return how bad it is in one line, which begins with a bar where the task moves."""
    drawn = f"{progress_bar(message.percent)} " if message.percent is not None else ""
    return drawn + SEPARATOR.join(map(sentence, message.conditions))


def plain_text_message(message: Json) -> Json:
    """Return a message without layout but with all its text, for a layout that Slack refuses.

    Of the metadata it keeps the key, with which the message can be found again and which Slack cannot refuse.
    """
    attached = (block for attachment in message["attachments"] for block in attachment["blocks"])
    texts = [text for block in (*message["blocks"], *attached) for text in texts_of(block)]
    kept = {key: value for key, value in message.items() if key not in ("blocks", "attachments")}
    text = {"text": "\n".join(texts)}
    if "metadata" not in message:
        return kept | text
    return kept | text | {"metadata": message["metadata"] | {"event_payload": {"key": key_of(message)}}}
