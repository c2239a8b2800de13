"""Marks within a sentence: text that comes from outside, and times that a chat can show in each reader's time zone.

A sentence with marks is parsed once, by `split_marked`. Each service shows a marked part in its own markup.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

# Private-use characters. `strip_controls` removes them from text that comes from outside.
_QUOTE, _TIME, _WORDS, _END = "\ue000", "\ue002", "\ue003", "\ue001"
_ALL = f"{_QUOTE}{_TIME}{_WORDS}{_END}"
_MARKED = re.compile(f"{_QUOTE}([^{_ALL}]*){_END}|{_TIME}(-?[0-9]{{1,12}}){_WORDS}([^{_ALL}]*){_END}")
_STRAY = re.compile(f"[{_ALL}]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePart:
    """Part of a sentence. It contains no marks and is never empty."""

    text: str
    quoted: bool = False
    """True for text that comes from outside or that people type. It is shown as code."""
    at: datetime | None = None
    """The time that `text` writes, in whole seconds. None where the part is not a time."""


def quoted(text: str) -> str:
    """Mark text within a sentence that comes from outside or that people type. It is shown as code."""
    return f"{_QUOTE}{_STRAY.sub('', text)}{_END}" if text else ""


def dated(moment: datetime, words: str) -> str:
    """Mark a time within a sentence. `words` writes it for readers whose chat shows no time of its own."""
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return f"{_TIME}{seconds}{_WORDS}{_STRAY.sub('', words)}{_END}"


def split_marked(sentence: str) -> Iterator[SentencePart]:
    """Yield the parts of a sentence in order. A mark that is not part of a pair is left out."""
    plain_from = 0
    for found in _MARKED.finditer(sentence):
        yield from _part(sentence[plain_from : found.start()])
        plain_from = found.end()
        text, seconds, words = found.groups()
        if seconds is None:
            yield from _part(text, quoted=True)
        else:
            yield from _part(words, at=_moment(int(seconds)))
    yield from _part(sentence[plain_from:])


def without_marks(sentence: str) -> str:
    """Return a sentence without marks."""
    return "".join(part.text for part in split_marked(sentence))


def _part(text: str, *, quoted: bool = False, at: datetime | None = None) -> Iterator[SentencePart]:
    if bare := _STRAY.sub("", text):
        yield SentencePart(text=bare, quoted=quoted, at=at)


def _moment(seconds: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:  # a number that is no time of the calendar
        return None
