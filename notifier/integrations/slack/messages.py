"""What Slack is told of events: pure functions from events to messages in Block Kit.

A message says nothing of the channel, the token or the mode, so that what waited for a mended configuration goes out
under the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import quote

from notifier.chat.requests import MUTE_LENGTHS, Button, ButtonAction
from notifier.core.delivery import Thread
from notifier.core.durations import parse_duration
from notifier.core.events import NEEDS_CARE
from notifier.core.model import Event
from notifier.core.people import Acknowledgement, Mute
from notifier.integrations.slack.blockkit import (
    BLOCK_LIMIT,
    BUTTON_VALUE_LIMIT,
    FIELD_LIMIT,
    MESSAGE_LIMIT,
    TEXT_LIMIT,
    Json,
    Style,
    bar,
    button_element,
    code,
    date,
    escape,
    fence,
    joined,
    mrkdwn,
    plain_text,
    section,
)
from notifier.integrations.slack.errors import key_of
from notifier.ports import RenderRequest
from notifier.wording.formatter import MessageFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.message import Fact, Message
from notifier.wording.sanitize import one_line
from notifier.wording.states import by_severity, state_of

SETTLED_COLOUR = "#8D8D8D"
"""Of what somebody has acknowledged or muted."""
NOTE_LIMIT = 300
"""Of what is said of an acknowledgement or a mute."""
URL_LIMIT = 2_700
"""Of a link; Slack's is 3,000. A longer one is left out."""
LINE_LIMIT = 300
"""Of a line of a digest."""
PIECE_LIMIT = 8
"""Of a piece of such a line: where there is less room, it is left out."""

_HEADINGS = 700
"""Characters of a digest's headline and of its headings, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What people have done about what a message says."""

    acknowledged: Acknowledgement | None = None
    mute: Mute | None = None


def event_message(request: RenderRequest, localizer: Localizer, console_url: str | None = None) -> Json:
    """Return a message as `chat.postMessage` takes it, but for the channel."""
    events = by_severity(request.events)
    layout = _digest(events, localizer) if request.digest else _single(events[0], localizer, Annotations(), console_url)
    job = None if request.digest else events[0].job_id
    return layout | _envelope(request.delivery_id, job)


def live_message(thread: Thread, localizer: Localizer, console_url: str | None = None) -> Json:
    """Return what a thread's message shows now: text, blocks and attachments, all of which an edit has to name."""
    return _single(
        thread.event, localizer, Annotations(acknowledged=thread.acknowledged, mute=thread.mute), console_url
    )


def replacement_message(thread: Thread, key: str, localizer: Localizer, console_url: str | None = None) -> Json:
    """Return the same as a message to post, for when the one that was to be changed is gone."""
    return live_message(thread, localizer, console_url) | _envelope(key, thread.event.job_id)


def thread_reply(message: Json, *, whole: bool) -> Json:
    """Return a message as it is said in a thread, whose first message has the buttons: whole, or its headline."""
    return message | {"attachments": [_without_actions(one) for one in message["attachments"]] if whole else []}


def without_buttons(message: Json) -> Json:
    """Return a message without the buttons that nobody would hear of; links stay."""
    return message | {"attachments": [_links_only(one) for one in message["attachments"]]}


def _envelope(key: str, job_id: str | None) -> Json:
    job = {} if job_id is None else {"job_id": one_line(job_id)}
    return {
        "metadata": {"event_type": "gaussdb_task", "event_payload": {"key": key} | job},
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _without_actions(attachment: Json) -> Json:
    return attachment | {"blocks": [block for block in attachment["blocks"] if block["type"] != "actions"]}


def _links_only(attachment: Json) -> Json:
    blocks = (_only_links(block) if block["type"] == "actions" else block for block in attachment["blocks"])
    return attachment | {"blocks": [block for block in blocks if block.get("elements") != []]}


def _only_links(block: Json) -> Json:
    return block | {"elements": [element for element in block["elements"] if "url" in element]}


def _single(event: Event, localizer: Localizer, annotations: Annotations, console_url: str | None) -> Json:
    message = MessageFormatter(localizer).describe(event)
    settled = annotations.acknowledged or annotations.mute
    blocks = [
        *_details(message),
        *_notes(annotations, localizer),
        *_actions(event, localizer, annotations, console_url),
    ]
    return {
        "text": escape(f"{message.state.tone.emoji} {message.headline}", TEXT_LIMIT),
        "blocks": [section(_headline(message))],
        "attachments": [{"color": SETTLED_COLOUR if settled else message.state.tone.colour, "blocks": blocks}],
    }


def _headline(message: Message) -> str:
    label = _label(message)(message.label, LINE_LIMIT) if message.label else ""
    subject = code(message.subject, LINE_LIMIT) if message.subject else ""
    return "  ·  ".join(filter(None, (f"{message.state.tone.emoji} *{message.title}*", label, subject)))


def _label(message: Message) -> Style:
    return escape if message.known else code


def _details(message: Message) -> Iterator[Json]:
    if message.facts:
        yield {"type": "section", "fields": [mrkdwn(_field(fact)) for fact in message.facts[:10]]}
    if message.reason:
        label = f"*{message.reason_label}*\n"
        yield section(label + fence(message.reason, BLOCK_LIMIT - len(label)))
    yield _context(_footer(message))


def _field(fact: Fact) -> str:
    return f"*{fact.label}*\n{_value(fact)}"


def _value(fact: Fact) -> str:
    if fact.at is not None:
        return date(fact.at, fact.value, FIELD_LIMIT)
    if fact.percent is not None:
        return f"`{bar(fact.percent)}` *{fact.value}*"
    return (code if fact.quoted else escape)(fact.value, FIELD_LIMIT)


def _footer(message: Message) -> str:
    job = f"{message.job.label} {code(message.job.value, FIELD_LIMIT)}" if message.job else ""
    return "  ·  ".join(filter(None, (job, escape(message.origin, FIELD_LIMIT))))


def _notes(annotations: Annotations, localizer: Localizer) -> Iterator[Json]:
    if ack := annotations.acknowledged:
        at = date(ack.at, localizer.when(ack.at), FIELD_LIMIT)
        who = escape(one_line(ack.name), NOTE_LIMIT)
        yield _context(f"✅ {localizer.text('note.acknowledged', who=who, at=at)}")
    if mute := annotations.mute:
        until = date(mute.until, localizer.when(mute.until), FIELD_LIMIT)
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
    if event.type in NEEDS_CARE and not annotations.acknowledged:
        label = localizer.text("button.acknowledge")
        yield button_element(Button(ButtonAction.ACKNOWLEDGE, event.id), label) | {"style": "primary"}
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
                "text": plain_text(
                    localizer.text("button.mute_for", length=localizer.duration(parse_duration(length)))
                ),
                "value": Button(ButtonAction.MUTE, event.id, length).value,
            }
            for length in MUTE_LENGTHS
        ],
    }


def _console(event: Event, localizer: Localizer, console_url: str | None) -> Iterator[Json]:
    url = console_link(event, console_url) if console_url else ""
    if 0 < len(url) <= URL_LIMIT:
        yield button_element(Button(ButtonAction.CONSOLE), localizer.text("button.console")) | {"url": url}


def console_link(event: Event, template: str) -> str:
    """Fill in where in the console an event is: {region}, {project_id} and {instance_id}, each made safe in a URL."""
    known = {
        "region": event.region,
        "project_id": event.project_id,
        "instance_id": (event.task and event.task.instance_id) or "",
    }
    for name, value in known.items():
        template = template.replace(f"{{{name}}}", quote(value, safe=""))
    return template


def _digest(events: Sequence[Event], localizer: Localizer) -> Json:
    """Lay out many events in top-level blocks: the body of an attachment would be folded."""
    mark = state_of(events[0]).digest_emoji
    counts = MessageFormatter(localizer).digest_headline(events)
    headline = f"{mark} *{escape(counts, LINE_LIMIT)}*"
    return {
        "text": escape(f"{mark} {counts}", TEXT_LIMIT),
        "blocks": [section(headline), *map(section, joined(_lines(events, localizer), BLOCK_LIMIT))],
        "attachments": [],
    }


def _lines(events: Sequence[Event], localizer: Localizer) -> Iterator[str]:
    """Yield a line for each event under a heading for each state: a colour alone does not tell everybody."""
    room = min(LINE_LIMIT, (MESSAGE_LIMIT - _HEADINGS) // len(events) - 1)
    for state, group in groupby(events, key=state_of):
        yield f"*{localizer.text(f'verb.{state.name}').capitalize()}*"
        yield from (_line(MessageFormatter(localizer).describe(event), room) for event in group)


def _line(message: Message, room: int) -> str:
    """Return a line of at most `room` characters. The job id has the first claim on them, then the instance.

    Without a job, what happened comes first and then to which source or channel.
    """
    head = f"• {message.state.tone.emoji} "
    left = room - len(head)
    pieces: list[str] = []
    for style, text in _pieces_by_priority(message):
        if text and left >= PIECE_LIMIT:
            pieces.append(style(text, left))
            left -= len(pieces[-1]) + len(" · ")
    return head + " · ".join(reversed(pieces) if message.job else pieces)


def _pieces_by_priority(message: Message) -> Iterator[tuple[Style, str | None]]:
    if message.job:
        yield code, message.job.value
        yield code, message.subject
        yield _label(message), message.label
    else:
        yield escape, message.title
        yield code, message.subject
        yield code, message.reason


def as_plain_text(message: Json) -> Json:
    """Return the same message without layout, for when Slack refuses the layout: nothing that it says is lost.

    Of the metadata the key stays, by which it can be looked up and which cannot be refused.
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
