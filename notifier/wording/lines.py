"""Text for terminals in logical lines, which are stored without a width and wrapped where they are printed."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from notifier.wording.columns import columns, wrapped

CONTENT_TYPE = "application/vnd.gaussdb-notifier.lines+json"
"""Content type of encoded lines."""
MIN_ROOM = 20
"""Minimum width of the text of a line, in columns. A narrower terminal cuts it."""
RIGHT_EDGE = 120
"""Maximum column at which text on the right ends: on a wide terminal it would be far from what it belongs to."""
_GAP = 2


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a line in one style."""

    text: str
    """Without line breaks and control characters."""
    style: str = ""
    """Style as rich names it; empty for none."""
    whole: bool = False
    """True for a code or a command, which is not divided at its spaces."""


@dataclass(frozen=True, slots=True)
class Line:
    """A logical line."""

    spans: tuple[Span, ...]
    indent: int = 0
    """Number of spaces before it."""
    hang: int = 0
    """Number of spaces before each line that continues it."""
    gutter: str = ""
    """Mark after these spaces, on the line and on each that continues it."""
    right: tuple[Span, ...] = ()
    """Text at the right edge."""
    wraps: bool = True
    """False for a link of ours, which a terminal follows only where it was printed in one piece."""


def encode(lines: Iterable[Line]) -> bytes:
    """Return lines as JSON."""
    shown = [
        {
            "spans": [_written(span) for span in line.spans],
            "indent": line.indent,
            "hang": line.hang,
            "gutter": line.gutter,
            "right": [_written(span) for span in line.right],
            "wraps": line.wraps,
        }
        for line in lines
    ]
    # A lone surrogate cannot be encoded.
    return json.dumps({"lines": shown}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def decode(content: bytes) -> Sequence[Line]:
    """Return encoded lines."""
    return [
        Line(
            spans=tuple(Span(*span) for span in line["spans"]),
            indent=line["indent"],
            hang=line["hang"],
            gutter=line["gutter"],
            right=tuple(Span(*span) for span in line["right"]),
            wraps=line["wraps"],
        )
        for line in json.loads(content)["lines"]
    ]


def printed(line: Line, width: int | None) -> Iterator[tuple[Span, ...]]:
    """Yield the printed lines of a logical line on a terminal of `width` columns; one line where that is None."""
    before = Span(" " * line.indent + line.gutter)
    if width is None or not line.wraps:
        gap = (Span(" " * _GAP),) if line.right else ()
        yield (before, *line.spans, *gap, *line.right)
        return
    spans = _with_right(line, width)
    text = "".join(span.text for span in spans)
    continued = Span(" " * line.hang + line.gutter)
    first, room = (max(width - columns(span.text), MIN_ROOM) for span in (before, continued))
    together = [*_whole(spans), (len(text) - sum(len(span.text) for span in line.right), len(text))]
    for number, (begin, end) in enumerate(wrapped(text, room, first=first, whole=together)):
        yield (continued if number else before, *_part(spans, begin, end))


def _written(span: Span) -> list[Any]:
    return [span.text, span.style, span.whole] if span.whole else [span.text, span.style]


def _with_right(line: Line, width: int) -> tuple[Span, ...]:
    """Return the spans of a line with its right ones at the right edge, or after the others where there is no room."""
    if not line.right:
        return line.spans
    used = line.indent + sum(columns(span.text) for span in (*line.spans, *line.right))
    gap = max(min(width, RIGHT_EDGE) - used, _GAP)
    return (*line.spans, Span(" " * gap), *line.right)


def _whole(spans: Iterable[Span]) -> Iterator[tuple[int, int]]:
    begin = 0
    for span in spans:
        end = begin + len(span.text)
        if span.whole:
            yield begin, end
        begin = end


def _part(spans: Iterable[Span], begin: int, end: int) -> Iterator[Span]:
    """Yield what stands between two positions of the text of spans."""
    at = 0
    for span in spans:
        text = span.text[max(begin - at, 0) : max(end - at, 0)]
        at += len(span.text)
        if text:
            yield replace(span, text=text)
