"""Replies in Slack's Block Kit. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from notifier.chat.reports import PAGE_ROWS
from notifier.chat.requests import Button, ButtonAction, ChatReply, Row, split_quoted, without_marks
from notifier.integrations.slack.blockkit import (
    BLOCK_LIMIT,
    BUTTON_VALUE_LIMIT,
    TEXT_LIMIT,
    Json,
    button_element,
    code_block,
    escape,
    inline_code,
    joined,
    mrkdwn,
    section,
)
from notifier.wording.phrases import Language, text

LINE_LIMIT = 280
"""Maximum length of a sentence, in characters."""
NAME_LIMIT = 140
"""Maximum length of a label or an instance in a list, in characters."""
LINES = 25
"""Maximum number of sentences. With ten rows or a reason they fit into one message of Slack's."""
FACTS = 10
_WARNING = "⚠️"


def reply_message(answer: ChatReply, language: Language) -> Json:
    """Return a reply as the answer to a slash command, or as a message to a response_url."""
    return {
        "response_type": "in_channel" if answer.shared else "ephemeral",
        "text": escape(without_marks(answer.title), TEXT_LIMIT),
        "blocks": list(_blocks(answer, language)),
    }


def _blocks(answer: ChatReply, language: Language) -> Iterator[Json]:
    yield section(_title(answer))
    if answer.lines:
        yield from map(section, joined((sentence(line) for line in _first(answer.lines)), BLOCK_LIMIT))
    if answer.facts:
        yield {"type": "section", "fields": [mrkdwn(_field(*fact)) for fact in answer.facts[:FACTS]]}
    if answer.quote:
        yield section(code_block(answer.quote, BLOCK_LIMIT))
    yield from (_row(row, language) for row in answer.rows[:PAGE_ROWS])
    if answer.note:
        yield {"type": "context", "elements": [mrkdwn(sentence(answer.note))]}
    if elements := list(_buttons(answer, language)):
        yield {"type": "actions", "elements": elements}


def _title(answer: ChatReply) -> str:
    whole = sentence(answer.title)
    if not answer.ok:
        return f"{_WARNING} {whole}"
    # A bold text cannot have code in it everywhere.
    return whole if "`" in whole else f"*{whole}*"


def sentence(text: str, limit: int = LINE_LIMIT) -> str:
    """Return a sentence in markup, its quoted parts as code, at most `limit` characters long."""
    shown: list[str] = []
    left = limit
    for part, is_quoted in split_quoted(text):
        if left < 4:  # noqa: PLR2004 - two backticks, a character and an ellipsis
            break
        shown.append(inline_code(part, left) if is_quoted else escape(part, left))
        left -= len(shown[-1])
    return "".join(shown) or "…"


def _first(lines: Sequence[str]) -> Sequence[str]:
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], "…"]


def _field(label: str, value: str, outside: bool) -> str:  # noqa: FBT001 - as `Answer.facts` has it
    return f"*{label}*\n{(inline_code if outside else escape)(value, NAME_LIMIT)}"


def _row(row: Row, language: Language) -> Json:
    label = (escape if row.known else inline_code)(row.label, NAME_LIMIT)
    named = f"  ·  {inline_code(row.instance, NAME_LIMIT)}" if row.instance else ""
    shown = section(f"{row.state.tone.emoji} *{label}*{named}\n{sentence(row.detail)}")
    if len(row.subject) > BUTTON_VALUE_LIMIT:
        return shown
    details = Button(ButtonAction.DETAILS, row.subject)
    return shown | {"accessory": button_element(details, text(language, "button.details"))}


def _buttons(answer: ChatReply, language: Language) -> Iterator[Json]:
    if not answer.command or answer.shared:
        return
    here = 0 if answer.before is None else answer.before + PAGE_ROWS
    choices = (
        (ButtonAction.PAGE_BEFORE, "button.before", answer.before),
        (ButtonAction.PAGE_AFTER, "button.after", answer.after),
        (ButtonAction.SHARE, "button.share", here),
    )
    for action, label, offset in choices:
        button = Button(action, answer.command, str(offset))
        if offset is not None and len(button.value) <= BUTTON_VALUE_LIMIT:
            yield button_element(button, text(language, label, n=PAGE_ROWS))
