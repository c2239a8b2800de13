"""Events as messages in Block Kit: pure functions.

A message contains nothing of the channel, the token or the mode, so that messages that wait for a changed configuration
are sent under the new one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from urllib.parse import quote

from notifier.channels.base import Json
from notifier.chat.requests import MUTE_LENGTHS, Button, ButtonAction
from notifier.core.delivery import Thread
from notifier.core.durations import parse_duration
from notifier.core.model import Event
from notifier.core.people import Acknowledgement, Mute
from notifier.core.routing import DeliveryRouting
from notifier.integrations.slack.blockkit import (
    BLOCK_LIMIT,
    BUTTON_VALUE_LIMIT,
    FIELD_LIMIT,
    MESSAGE_LIMIT,
    TEXT_LIMIT,
    Style,
    button_element,
    code_block,
    date_markup,
    escape,
    inline_code,
    joined,
    mrkdwn,
    plain_text,
    progress_bar,
    section,
)
from notifier.integrations.slack.errors import key_of
from notifier.integrations.slack.mentions import mention_markup
from notifier.ports import RenderRequest
from notifier.wording.formatter import Fact, Message, MessageFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.sanitize import one_line
from notifier.wording.states import by_severity, state_of

SETTLED_COLOUR = "#8D8D8D"
"""Colour of a message that somebody has acknowledged or muted."""
NOTE_LIMIT = 300
"""Maximum length of a name or a reason in a note about an acknowledgement or a mute, in characters."""
URL_LIMIT = 2_700
"""Maximum length of a link, in characters; Slack's is 3,000. A longer one is left out."""
DIGEST_LINE_LIMIT = 300
"""Maximum length of a line of a digest, in characters."""
PIECE_LIMIT = 8
"""Minimum length of a part of such a line, in characters. With less space left, the part is left out."""

_HEADINGS = 700
"""Maximum length of a digest's headline and headings together, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """The acknowledgement and the mute that a message shows."""

    acknowledged: Acknowledgement | None = None
    mute: Mute | None = None


def event_message(request: RenderRequest, localizer: Localizer, console_url: str | None = None) -> Json:
    """Return a message for `chat.postMessage`, without the channel."""
    events = by_severity(request.events)
    layout = _digest(events, localizer) if request.digest else _single(events[0], localizer, Annotations(), console_url)
    job = None if request.digest else events[0].job_id
    return _with_mention(layout, request.mention) | _envelope(request.delivery_id, job)


def _with_mention(layout: Json, mention: Sequence[str]) -> Json:
    """Add whom a message mentions after its headline. Slack notifies them of a post, not of an edit with the same."""
    markup = mention_markup(mention)
    if not markup:
        return layout
    headline, *blocks = layout["blocks"]
    text = layout["text"], headline["text"]["text"]
    shown, first = (f"{one} {markup}" for one in text)
    return layout | {"text": shown, "blocks": [section(first), *blocks]}


def live_message(thread: Thread, localizer: Localizer, console_url: str | None = None) -> Json:
    """Return the current content of a thread's message: text, blocks and attachments, which an edit must all name."""
    annotations = Annotations(acknowledged=thread.acknowledged, mute=thread.mute)
    return _with_mention(_single(thread.event, localizer, annotations, console_url), thread.routing.mention)


def replacement_message(thread: Thread, key: str, localizer: Localizer, console_url: str | None = None) -> Json:
    """Return a thread's message for `chat.postMessage`, to replace one that is gone. It mentions nobody."""
    return live_message(replace(thread, routing=DeliveryRouting()), localizer, console_url) | _envelope(
        key, thread.event.job_id
    )


def thread_reply(message: Json, *, whole: bool) -> Json:
    """Return a message for a thread that never changes: whole, with its links but no buttons; or its headline."""
    return without_buttons(message) if whole else message | {"attachments": []}


def without_buttons(message: Json) -> Json:
    """Return a message without buttons, for a channel whose clicks do not arrive. Links stay."""
    return message | {"attachments": [_links_only(one) for one in message["attachments"]]}


def _envelope(key: str, job_id: str | None) -> Json:
    job = {} if job_id is None else {"job_id": one_line(job_id)}
    return {
        "metadata": {"event_type": "gaussdb_task", "event_payload": {"key": key} | job},
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _links_only(attachment: Json) -> Json:
    blocks = (_only_links(block) if block["type"] == "actions" else block for block in attachment["blocks"])
    return attachment | {"blocks": [block for block in blocks if block.get("elements") != []]}


def _only_links(block: Json) -> Json:
    return block | {"elements": [element for element in block["elements"] if "url" in element]}


def _single(event: Event, localizer: Localizer, annotations: Annotations, console_url: str | None) -> Json:
    message = MessageFormatter(localizer).describe(event)
    settled = annotations.acknowledged or annotations.mute
    actions = _actions(event, localizer, annotations, console_url)
    blocks = [*_details(message), *_notes(annotations, localizer), *actions]
    return {
        "text": escape(f"{message.state.tone.emoji} {message.headline}", TEXT_LIMIT),
        "blocks": [section(_headline(message))],
        "attachments": [{"color": SETTLED_COLOUR if settled else message.state.tone.colour, "blocks": blocks}],
    }


def _headline(message: Message) -> str:
    label = _label(message)(message.label, DIGEST_LINE_LIMIT) if message.label else ""
    subject = inline_code(message.subject, DIGEST_LINE_LIMIT) if message.subject else ""
    return "  ·  ".join(filter(None, (f"{message.state.tone.emoji} *{message.title}*", label, subject)))


def _label(message: Message) -> Style:
    return escape if message.known else inline_code


def _details(message: Message) -> Iterator[Json]:
    if message.facts:
        fields = (f"*{fact.label}*\n{_value(fact)}" for fact in message.facts[:10])
        yield {"type": "section", "fields": [*map(mrkdwn, fields)]}
    if message.reason:
        label = f"*{message.reason_label}*\n"
        yield section(label + code_block(message.reason, BLOCK_LIMIT - len(label)))
    job = f"{message.job.label} {inline_code(message.job.value, FIELD_LIMIT)}" if message.job else ""
    yield _context("  ·  ".join(filter(None, (job, escape(message.origin, FIELD_LIMIT)))))


def _value(fact: Fact) -> str:
    if fact.at is not None:
        return date_markup(fact.at, fact.value, FIELD_LIMIT)
    if fact.percent is not None:
        return f"`{progress_bar(fact.percent)}` *{fact.value}*"
    return (inline_code if fact.quoted else escape)(fact.value, FIELD_LIMIT)


def _notes(annotations: Annotations, localizer: Localizer) -> Iterator[Json]:
    if ack := annotations.acknowledged:
        at = date_markup(ack.at, localizer.when(ack.at), FIELD_LIMIT)
        who = escape(one_line(ack.name), NOTE_LIMIT)
        yield _context(f"✅ {localizer.text('note.acknowledged', who=who, at=at)}")
    if mute := annotations.mute:
        until = date_markup(mute.until, localizer.when(mute.until), FIELD_LIMIT)
        who = escape(one_line(mute.name), NOTE_LIMIT)
        why = f": {escape(one_line(mute.reason), NOTE_LIMIT)}" if mute.reason else ""
        yield _context(f"🔕 {localizer.text('note.muted', who=who, until=until)}{why}")


def _context(text: str) -> Json:
    return {"type": "context", "elements": [mrkdwn(text)]}


def _actions(event: Event, localizer: Localizer, annotations: Annotations, console_url: str | None) -> Iterator[Json]:
    if event.task is None:
        return
    elements = [*_buttons(event, localizer, annotations), *_console(event, localizer, console_url)]
    yield {"type": "actions", "elements": elements}


def _buttons(event: Event, localizer: Localizer, annotations: Annotations) -> Iterator[Json]:
    task = event.task
    if event.type.traits.needs_care and not annotations.acknowledged:
        label = localizer.text("button.acknowledge")
        yield button_element(Button(ButtonAction.ACKNOWLEDGE, event.id), label) | {"style": "primary"}
    if annotations.acknowledged:
        yield button_element(Button(ButtonAction.UNACKNOWLEDGE, event.id), localizer.text("button.take_back"))
    if annotations.mute:
        yield button_element(Button(ButtonAction.UNMUTE, event.id), localizer.text("button.unmute"))
    elif task and (task.instance_id or task.instance_name):
        yield _mute_menu(event, localizer)
    if len(event.subject) <= BUTTON_VALUE_LIMIT:
        yield button_element(Button(ButtonAction.DETAILS, event.subject), localizer.text("button.details"))


def _mute_menu(event: Event, localizer: Localizer) -> Json:
    return {
        "type": "static_select",
        "action_id": ButtonAction.MUTE.value,
        "placeholder": plain_text(localizer.text("button.mute")),
        "options": [
            {
                "text": plain_text(localizer.text("button.mute_for", length=localizer.duration(parse_duration(one)))),
                "value": Button(ButtonAction.MUTE, event.id, one).value,
            }
            for one in MUTE_LENGTHS
        ],
    }


def _console(event: Event, localizer: Localizer, console_url: str | None) -> Iterator[Json]:
    url = console_link(event, console_url) if console_url else ""
    if 0 < len(url) <= URL_LIMIT:
        yield button_element(Button(ButtonAction.CONSOLE), localizer.text("button.console")) | {"url": url}


def console_link(event: Event, template: str) -> str:
    """Fill {region}, {project_id} and {instance_id} of a template with an event's, each escaped for URLs."""
    known = {
        "region": event.region,
        "project_id": event.project_id,
        "instance_id": (event.task and event.task.instance_id) or "",
    }
    for name, value in known.items():
        template = template.replace(f"{{{name}}}", quote(value, safe=""))
    return template


def _digest(events: Sequence[Event], localizer: Localizer) -> Json:
    """Return a digest in top-level blocks: Slack would fold the body of an attachment."""
    mark = state_of(events[0]).digest_emoji
    counts = MessageFormatter(localizer).digest_headline(events)
    headline = f"{mark} *{escape(counts, DIGEST_LINE_LIMIT)}*"
    return {
        "text": escape(f"{mark} {counts}", TEXT_LIMIT),
        "blocks": [section(headline), *map(section, joined(_lines(events, localizer), BLOCK_LIMIT))],
        "attachments": [],
    }


def _lines(events: Sequence[Event], localizer: Localizer) -> Iterator[str]:
    """Yield a heading for each state and a line for each event: not everybody can tell colours apart."""
    limit = min(DIGEST_LINE_LIMIT, (MESSAGE_LIMIT - _HEADINGS) // len(events) - 1)
    for state, group in groupby(events, key=state_of):
        yield f"*{localizer.text(f'verb.{state.name}').capitalize()}*"
        yield from (_line(MessageFormatter(localizer).describe(event), limit) for event in group)


def _line(message: Message, limit: int) -> str:
    """Return a line of at most `limit` characters. The job id is cut last, before it the instance.

    Without a job, the line begins with what happened, then names the source or the channel.
    """
    head = f"• {message.state.tone.emoji} "
    left = limit - len(head)
    pieces: list[str] = []
    for style, text in _pieces_by_priority(message):
        if text and left >= PIECE_LIMIT:
            pieces.append(style(text, left))
            left -= len(pieces[-1]) + len(" · ")
    return head + " · ".join(reversed(pieces) if message.job else pieces)


def _pieces_by_priority(message: Message) -> Iterator[tuple[Style, str | None]]:
    if message.job:
        yield inline_code, message.job.value
        yield inline_code, message.subject
        yield _label(message), message.label
    else:
        yield escape, message.title
        yield inline_code, message.subject
        yield inline_code, message.reason


def plain_text_message(message: Json) -> Json:
    """Return a message without layout but with all its text, for a layout that Slack refuses.

    Of the metadata it keeps the key, with which the message can be found again and which Slack cannot refuse.
    """
    attached = (block for attachment in message["attachments"] for block in attachment["blocks"])
    texts = [text for block in (*message["blocks"], *attached) for text in _texts(block)]
    kept = {key: value for key, value in message.items() if key not in ("blocks", "attachments")}
    text = {"text": "\n".join(texts)}
    if "metadata" not in message:
        return kept | text
    return kept | text | {"metadata": message["metadata"] | {"event_payload": {"key": key_of(message)}}}


def _texts(block: Json) -> Iterator[str]:
    if block["type"] == "actions":
        return
    parts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
    yield from (part["text"] for part in parts if part)
