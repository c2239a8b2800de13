"""Marks within a sentence: text from outside, what matters most, and times that a chat can show in each reader's zone.

A sentence with marks is parsed once, by `split_marked`. Each service shows a marked part in its own markup.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

# Private-use characters. `strip_controls` removes them from text that comes from outside.
_QUOTE, _STRONG, _TIME, _WORDS, _END = "\ue000", "\ue004", "\ue002", "\ue003", "\ue001"
_ALL = f"{_QUOTE}{_STRONG}{_TIME}{_WORDS}{_END}"
_MARKED = re.compile(
    f"(?P<kind>[{_QUOTE}{_STRONG}])(?P<text>[^{_ALL}]*){_END}"
    f"|{_TIME}(?P<seconds>-?[0-9]{{1,12}})(?P<day>d?){_WORDS}(?P<words>[^{_ALL}]*){_END}"
)
_MARKED_TIME = re.compile(f"{_TIME}-?[0-9]{{1,12}}d?{_WORDS}([^{_ALL}]*){_END}")
_STRAY = re.compile(f"[{_ALL}]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SentencePart(NamedTuple):
    """Part of a sentence. It contains no marks and is never empty."""

    text: str
    quoted: bool = False
    """True for text that comes from outside or that people type. It is shown as code."""
    strong: bool = False
    """True for what matters most in the sentence. It is shown in bold where a service can do that."""
    at: datetime | None = None
    """The time that `text` writes, in whole seconds. None where the part is not a time."""
    day: bool = True
    """False for a time of the day on which the message is sent, whose date says nothing."""


def quoted(text: str) -> str:
    """Mark text within a sentence that comes from outside or that people type. It is shown as code."""
    return f"{_QUOTE}{_bare(text)}{_END}" if text else ""


def strong(text: str) -> str:
    """Mark words of ours that matter most within a sentence. They contain no other marks."""
    return f"{_STRONG}{_bare(text)}{_END}" if text else ""


def heading_of(sentence: str) -> str | None:
    """Return the words of a sentence that is a heading: nothing but words that matter most. None for any other."""
    parts = [*split_marked(sentence)]
    return parts[0].text if len(parts) == 1 and parts[0].strong else None


def dated(moment: datetime, words: str, *, day: bool = True) -> str:
    """Mark a time within a sentence. `words` writes it for readers whose chat shows no time of its own."""
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return f"{_TIME}{seconds}{'d' if day else ''}{_WORDS}{_bare(words)}{_END}"


def split_marked(sentence: str) -> Iterator[SentencePart]:
    """Yield the parts of a sentence in order. A mark that is not part of a pair is left out."""
    plain_from = 0
    for found in _MARKED.finditer(sentence):
        yield from _part(sentence[plain_from : found.start()])
        plain_from = found.end()
        if found["seconds"] is None:
            yield from _part(found["text"], quoted=found["kind"] == _QUOTE, strong=found["kind"] == _STRONG)
        else:
            yield from _part(found["words"], at=_moment(int(found["seconds"])), day=bool(found["day"]))
    yield from _part(sentence[plain_from:])


def without_marks(sentence: str) -> str:
    """Return a sentence without marks."""
    return _bare(_MARKED_TIME.sub(r"\1", sentence) if _TIME in sentence else sentence)


def _bare(text: str) -> str:
    # No mark is printable: one call proves that none is in the text, in any script.
    return text if text.isascii() or text.isprintable() else _STRAY.sub("", text)


def _part(
    text: str, *, quoted: bool = False, strong: bool = False, at: datetime | None = None, day: bool = True
) -> Iterator[SentencePart]:
    if bare := _bare(text):
        yield SentencePart(text=bare, quoted=quoted, strong=strong, at=at, day=day)


def _moment(seconds: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:  # a number that is no time of the calendar
        return None
