"""The parts of Slack messages: text that is safe whatever it contains, and blocks.

Escaping, markup and limits: docs.slack.dev. Sizes count characters after escaping, and stay 10 % below a limit.
Rich text has no markup: what it contains is shown as it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import zip_longest

from notifier.channels.base import Json
from notifier.chat.requests import Button
from notifier.wording.marks import SentencePart, split_marked

Style = Callable[[str, int], str]
"""Formats a text as markup of a maximum length, in characters."""

TEXT_LIMIT = 180
"""Maximum length of the text for notifications and screen readers. Slack splits a message beyond 4,000 characters."""
BLOCK_LIMIT = 2_700
"""Maximum length of a text object; Slack's is 3,000."""
FIELD_LIMIT = 400
"""Maximum length of a field; Slack's is 2,000. Ten of them with a reason and headings fit into MESSAGE_LIMIT."""
MESSAGE_LIMIT = 9_000
"""Maximum length of all blocks together. Slack documents none, but has refused 11,341 characters."""
BUTTON_VALUE_LIMIT = 1_800
"""Maximum length of the value of a button; Slack's is 2,000."""
SENTENCE_LIMIT = 280
"""Maximum length of a sentence, in characters."""

SETTLED_COLOUR = "#8D8D8D"
"""Colour of a message that somebody has acknowledged or muted."""

SEPARATOR = "  ·  "
"""Stands between the parts of a line."""

_CELLS = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_BACKTICK = "\u02cb"
"""Replaces a backtick, which has no escape."""

# ---- text ----


def escape(text: str, limit: int) -> str:
    """Escape mentions, links and entities. The result has at most `limit` characters."""
    escaped = _escaped(text)
    if len(escaped) <= limit:
        return escaped
    return _escaped(text[: _fitting(text, limit - 1)]) + "…"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _fitting(text: str, limit: int) -> int:
    """Return the number of characters that fit once escaped, so that no entity is cut."""
    used = 0
    for index, char in enumerate(text):
        used += len(_escaped(char))
        if used > limit:
            return index
    return len(text)


def inline_code(text: str, limit: int) -> str:
    """Return inline code of at most `limit` characters on one line: a line break would end it."""
    return f"`{escape(' '.join(text.split()).replace('`', _BACKTICK), limit - 2)}`"


def code_block(text: str, limit: int) -> str:
    """Return a code block of at most `limit` characters that nothing in the text can close."""
    return f"```{escape(text.replace('`', _BACKTICK), limit - 6)}```"


_HARMLESS = re.compile(r"(?:[^\W_]|[ .,;()'\"+%=?!/…·—–、，。；：（）-])+")
"""Text without a character of any markup, mention, emoji or link with a scheme."""


def literal(text: str, limit: int) -> str:
    """Return text from outside as it is where nothing in it can be markup; else as code."""
    return (escape if _HARMLESS.fullmatch(text) else inline_code)(text, limit)


_LINKABLE = re.compile(r"https?://[^\s<>|]{1,2000}")


def linked(text: str, url: str | None, limit: int = FIELD_LIMIT) -> str:
    """Return text from outside as a link; without one where the address cannot be part of Slack's markup."""
    shown = escape(text, limit)
    return f"<{url.replace('&', '&amp;')}|{shown}>" if url and _LINKABLE.fullmatch(url) else shown


def date_markup(moment: datetime, words: str, limit: int, *, day: bool = True) -> str:
    """Return a time that Slack shows in each reader's time zone, and as `words` where it cannot."""
    if moment <= _EPOCH:
        return escape(words, limit)
    pattern = "{date_short_pretty} {time_secs}" if day else "{time_secs}"
    return f"<!date^{int(moment.timestamp())}^{pattern}|{escape(words, limit)}>"


def progress_bar(percent: float) -> str:
    """Return a percentage as a bar."""
    full = int(percent / 100 * _CELLS)
    return "▓" * full + "░" * (_CELLS - full)


# ---- sentences ----

_BESIDE_MARKUP = re.compile(r"[\s.,;:()，。；：（）、]")
"""Characters beside which Slack takes an asterisk or a backtick for the begin or the end of markup."""
_WORDS = re.compile(r"(?P<before>\W*)(?P<words>.*?)(?P<after>\s*)", re.DOTALL)
_AFTER_HAN, _BEFORE_HAN = re.compile(r"(?<=[\u4e00-\u9fff]) $"), re.compile(r"^ (?=[\u4e00-\u9fff])")
_HEAD_END = " · "


def sentence(text: str, limit: int = SENTENCE_LIMIT, *, bold: bool = False, quote: Style = inline_code) -> str:
    """Return a sentence in markup, at most `limit` characters long.

    Quoted parts are formatted by `quote`, times are date tokens. With `bold` the rest is bold, up to a first ` · `.
    """
    if text.isascii() and not bold:  # no part is marked
        return escape(text, limit - 1) or "…"
    parts = list(_emphasised(_closed_up(list(split_marked(text))), bold=bold))
    shown = ""
    for part, following in zip_longest(parts, parts[1:]):
        left = limit - len(shown)
        if left < 6:  # noqa: PLR2004 - two pairs of marks, a character and an ellipsis
            break
        markup = _marked(part, left - 1, shown, following, quote)
        shown += f" {markup}" if _touch(shown[-1:], markup[:1]) else markup
    return shown or "…"


def _touch(before: str, after: str) -> bool:
    """Return whether inline code would touch a letter, so that Slack would not take it for code."""
    if not before or not after or "`" not in (before, after):
        return False
    return not _BESIDE_MARKUP.fullmatch(before if after == "`" else after)


def _closed_up(parts: Sequence[SentencePart]) -> Iterator[SentencePart]:
    """Yield the parts without spaces between Han characters and a date, which Slack may begin with a Han character."""
    dates = [False, *(part.at is not None and part.day for part in parts), False]
    for part, after_date, before_date in zip(parts, dates, dates[2:], strict=False):
        text = _BEFORE_HAN.sub("", part.text) if after_date else part.text
        text = _AFTER_HAN.sub("", text) if before_date else text
        yield part if text is part.text else part._replace(text=text)


def _emphasised(parts: Iterable[SentencePart], *, bold: bool) -> Iterator[SentencePart]:
    """Yield the parts with what is bold marked as strong."""
    for part in parts:
        if part.quoted or part.at is not None or not bold:
            yield part
        elif _HEAD_END in part.text:
            head, _, rest = part.text.partition(_HEAD_END)
            yield part._replace(text=head, strong=True)
            yield part._replace(text=f"{SEPARATOR}{rest}")
            bold = False
        else:
            yield part._replace(strong=True)


def _marked(part: SentencePart, limit: int, before: str, following: SentencePart | None, quote: Style) -> str:
    if part.quoted:
        return quote(part.text, limit)
    if part.at is not None:
        token = date_markup(part.at, part.text, limit, day=part.day)
        if len(token) <= limit:
            return token
    if not part.strong:
        return escape(part.text, limit)
    marked_next = following is not None and (following.quoted or following.at is not None)
    after = "`" if marked_next else following.text[:1] if following else ""
    return _bold(escape(part.text, limit - 2), before[-1:], after)


def _bold(text: str, before: str, after: str) -> str:
    """Return text in bold where Slack shows it so between these characters; else as it is."""
    found = _WORDS.fullmatch(text)
    if found is None or not found["words"]:
        return text
    around = (before + found["before"])[-1:], (found["after"] + after)[:1]
    if not all(_BESIDE_MARKUP.fullmatch(char) for char in around if char):
        return text
    return f"{found['before']}*{found['words']}*{found['after']}"


# ---- blocks ----


def section(text: str) -> Json:
    """Return a section of one text in markup."""
    return {"type": "section", "text": mrkdwn(text)}


def context(*texts: str) -> Json:
    """Return small grey texts in markup, at most ten."""
    return {"type": "context", "elements": [mrkdwn(text) for text in texts]}


def mrkdwn(text: str) -> Json:
    """Return a text object in markup."""
    # Verbatim: an address or a #name in an instance's name stays text.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def plain_text(text: str) -> Json:
    """Return a text object without markup."""
    return {"type": "plain_text", "text": text, "emoji": True}


def rich_text(*elements: Json) -> Json:
    """Return a block of quotes, lists and paragraphs."""
    return {"type": "rich_text", "elements": list(elements)}


def rich_quote(*texts: Json) -> Json:
    """Return a quote for `rich_text`."""
    return {"type": "rich_text_quote", "elements": list(texts)}


def rich_paragraph(*texts: Json) -> Json:
    """Return a paragraph for `rich_text`."""
    return {"type": "rich_text_section", "elements": list(texts)}


def rich_list(items: Iterable[Sequence[Json]]) -> Json:
    """Return a list with bullets for `rich_text`."""
    return {"type": "rich_text_list", "style": "bullet", "elements": [rich_paragraph(*texts) for texts in items]}


def words(text: str, *styles: str) -> Json:
    """Return a text, which is not empty, for a quote or a paragraph. Styles are `bold`, `italic` and `code`."""
    style = {"style": dict.fromkeys(styles, True)} if styles else {}
    return {"type": "text", "text": text} | style


def marked_words(text: str, *styles: str) -> Iterator[Json]:
    """Yield the parts of a text in which commands stand in backticks."""
    for index, part in enumerate(text.split("`")):
        if part:
            yield words(part, *(("code",) if index % 2 else styles))


def button_element(button: Button, label: str, **more: str) -> Json:
    """Return the element of a button. `more` may have a `url` and a `style`."""
    value = {"value": button.value} if button.value else {}
    return {"type": "button", "action_id": button.action.value, "text": plain_text(label)} | value | more


def menu_element(button: Button, label: str, options: Iterable[tuple[Button, str]]) -> Json:
    """Return the element of a menu, whose options are buttons with their labels."""
    return {
        "type": "static_select",
        "action_id": button.action.value,
        "placeholder": plain_text(label),
        "options": [{"text": plain_text(shown), "value": option.value} for option, shown in options],
    }


def texts_of(block: Json) -> Iterator[str]:
    """Yield the texts of a block without its buttons, as markup."""
    match block["type"]:
        case "actions":
            return
        case "rich_text":
            yield from (escape(_bare(element), MESSAGE_LIMIT * 5) for element in block["elements"])
        case _:
            parts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
            yield from (part["text"] for part in parts if part)


def _bare(element: Json) -> str:
    if element["type"] == "text":
        return str(element["text"])
    separator = "\n" if element["type"] == "rich_text_list" else ""
    return separator.join(map(_bare, element["elements"]))
