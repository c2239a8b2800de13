"""Text from outside: control characters are removed and the length is bounded. Channels escape for their own markup."""

import re
from collections.abc import Iterable, Iterator

NAME_LIMIT = 120
"""Maximum length of an instance name or of an unknown task name, in characters."""
ID_LIMIT = 100
"""Maximum length of an identifier, in characters; real ones have 32 to 36."""
DETAIL_LIMIT = 300
"""Maximum length of a reason within one line of a digest, in characters."""
REASON_LIMIT = 20_000
"""Maximum length of a reason, in characters; a channel may show fewer."""

_ESCAPE_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b[\]PX^_]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
)
_LINE_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# U+E000 to U+E004 are the characters of `notifier.wording.marks`.
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ue000-\ue004]")


def strip_controls(text: str) -> str:
    r"""Remove terminal sequences, controls, bidi overrides, lone surrogates and marks. Every line break becomes \n."""
    if text.isprintable():  # nearly every name: one call proves that nothing of that is in it
        return text
    return _CONTROLS.sub("", _LINE_BREAKS.sub("\n", _ESCAPE_SEQUENCES.sub("", text)))


def plain(text: str, limit: int = REASON_LIMIT) -> str:
    """Return text that is safe to show on several lines, at most `limit` characters long."""
    return cut(strip_controls(text).strip(), limit)


def one_line(text: str, limit: int = NAME_LIMIT) -> str:
    """Return text that is safe to show within a line, at most `limit` characters long."""
    if text.isprintable() and "  " not in text:  # nearly always: its only white space is the blank
        return cut(text.strip(), limit)
    return cut(" ".join(strip_controls(text).split()), limit)


def cut(text: str, limit: int) -> str:
    """Return the text, or its beginning and an ellipsis when it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


def joined(lines: Iterable[str], limit: int) -> Iterator[str]:
    """Yield the lines, joined to texts of at most `limit` characters. A longer line is a text of its own."""
    text = ""
    for line in lines:
        if text and len(text) + 1 + len(line) > limit:
            yield text
            text = ""
        text = f"{text}\n{line}" if text else line
    if text:
        yield text
