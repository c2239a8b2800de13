"""Replies in Slack's Block Kit. Pure."""

from collections.abc import Iterator, Sequence

from notifier.channels.base import Json
from notifier.chat.replies import PAGE_ROWS
from notifier.chat.requests import Button, ButtonAction, ChatReply, ReplyRow
from notifier.integrations.slack.blockkit import (
    BLOCK_LIMIT,
    BUTTON_VALUE_LIMIT,
    SEPARATOR,
    TEXT_LIMIT,
    button_element,
    code_block,
    escape,
    inline_code,
    literal,
    menu_element,
    mrkdwn,
    section,
    sentence,
)
from notifier.wording.marks import without_marks
from notifier.wording.phrases import Language, text
from notifier.wording.sanitize import joined

LABEL_LIMIT = 140
"""Maximum length of a label or an instance in a list, in characters."""
LINE_LIMIT = 420
"""Maximum length of one of the sentences, in characters: a finding with a date, a reason and two commands."""
LINES_LIMIT = 7_000
"""Maximum length of all sentences. With ten rows or a reason they fit into one message of Slack's."""
FACTS = 10
_WARNING = "⚠️"


def reply_message(reply: ChatReply, language: Language) -> Json:
    """Return a reply as the answer to a slash command, or as a message to a response_url."""
    return {
        "response_type": "in_channel" if reply.shared else "ephemeral",
        "text": escape(without_marks(reply.title), TEXT_LIMIT),
        "blocks": list(_blocks(reply, language)),
    }


def _blocks(reply: ChatReply, language: Language) -> Iterator[Json]:
    yield section(_title(reply))
    if reply.lines:
        yield from map(section, joined(_lines(reply.lines), BLOCK_LIMIT))
    if reply.facts:
        yield {"type": "section", "fields": [mrkdwn(_field(*fact)) for fact in reply.facts[:FACTS]]}
    if reply.quote:
        yield section(code_block(reply.quote, BLOCK_LIMIT))
    yield from (_row(row, language) for row in reply.rows[:PAGE_ROWS])
    if reply.note:
        yield {"type": "context", "elements": [mrkdwn(sentence(reply.note))]}
    if elements := [*_actions(reply), *_buttons(reply, language)]:
        yield {"type": "actions", "elements": elements}


def _lines(lines: Sequence[str]) -> Iterator[str]:
    left = LINES_LIMIT
    for line in lines:
        shown = sentence(line, LINE_LIMIT)
        left -= len(shown) + 1
        if left < 0:
            yield "…"
            return
        yield shown


def _title(reply: ChatReply) -> str:
    whole = sentence(reply.title)
    if not reply.ok:
        whole = f"{_WARNING} {whole}"
    # A bold text cannot have code in it everywhere.
    elif "`" not in whole:
        whole = f"*{whole}*"
    return f"{whole}{SEPARATOR}{sentence(reply.summary)}" if reply.summary else whole


def _field(label: str, value: str, outside: bool) -> str:  # noqa: FBT001 - as `ChatReply.facts` has it
    return f"*{label}*\n{(inline_code if outside else sentence)(value, LABEL_LIMIT)}"


def _row(row: ReplyRow, language: Language) -> Json:
    label = f"*{escape(row.label, LABEL_LIMIT)}*" if row.known else inline_code(row.label, LABEL_LIMIT)
    named = inline_code(row.instance, LABEL_LIMIT) if row.instance else ""
    place = sentence(row.place, LABEL_LIMIT, quote=literal) if row.place else ""
    line = SEPARATOR.join(filter(None, (f"{row.emoji} {label}", named, place)))
    shown = section(f"{line}\n{sentence(row.detail)}")
    if len(row.subject) > BUTTON_VALUE_LIMIT:
        return shown
    details = Button(ButtonAction.DETAILS, row.subject)
    return shown | {"accessory": button_element(details, text(language, "button.details"))}


def _actions(reply: ChatReply) -> Iterator[Json]:
    """Yield what can be done about a task. To a reply that everybody sees only links are added: it never changes."""
    for one in reply.buttons:
        if one.url:
            yield button_element(Button(one.button.action), one.label, url=one.url)
        elif not reply.shared and len(one.button.value) <= BUTTON_VALUE_LIMIT:
            style = {"style": "primary"} if one.primary else {}
            yield (
                menu_element(one.button, one.label, one.options)
                if one.options
                else button_element(one.button, one.label, **style)
            )


def _buttons(reply: ChatReply, language: Language) -> Iterator[Json]:
    if not reply.command or reply.shared:
        return
    here = 0 if reply.before is None else reply.before + PAGE_ROWS
    choices = (
        (ButtonAction.PAGE_BEFORE, "button.before", reply.before),
        (ButtonAction.PAGE_AFTER, "button.after", reply.after),
        (ButtonAction.SHARE, "button.share", here),
    )
    for action, label, offset in choices:
        button = Button(action, reply.command, str(offset))
        if offset is not None and len(button.value) <= BUTTON_VALUE_LIMIT:
            yield button_element(button, text(language, label, n=PAGE_ROWS))
