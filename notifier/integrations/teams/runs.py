"""Text of adaptive cards in runs, which have a style each and no markup. Pure.

What a `TextBlock` shows is Markdown. A `TextRun` shows its text as it is, so nothing from outside can become markup,
a link or a mention there, and names look as people copy them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from notifier.channels.base import Json
from notifier.channels.markup import PlainMarkup, Size, json_bytes

_BOLD, _CODE, _END = "\ue000", "\ue001", "\ue002"
"""Stand for the styles until the text is divided into runs. Nothing from outside contains them."""
_STYLED = re.compile(f"([{_BOLD}{_CODE}][^{_BOLD}{_CODE}{_END}]*{_END})")
_MARKS = re.compile(f"[{_BOLD}{_CODE}{_END}]")
_STYLES: dict[str, dict[str, Any]] = {_BOLD: {"weight": "Bolder"}, _CODE: {"fontType": "Monospace"}}


@dataclass(frozen=True, kw_only=True)
class RunMarkup(PlainMarkup):
    """Text with marks of styles: see `block` and `unstyled`."""

    replaced: dict[str, str] = field(default_factory=lambda: dict.fromkeys((_BOLD, _CODE, _END), ""))
    strong: tuple[str, str] = (_BOLD, _END)
    size: Size = json_bytes

    def code(self, text: str, limit: int) -> str:
        """Return the text in one line in a monospaced font."""
        return f"{_CODE}{self.plain(text, limit)}{_END}"


RUNS = RunMarkup()


def block(text: str, *, style: Json | None = None, **layout: Any) -> Json:  # noqa: ANN401 - JSON
    """Return the block that shows a line in runs. `style` is of each run, `layout` of the block."""
    return {"type": "RichTextBlock", "inlines": list(_runs(text, style or {})), **layout}


def unstyled(text: str) -> str:
    """Return a line without its marks."""
    return _MARKS.sub("", text)


def _runs(text: str, style: Json) -> Iterator[Json]:
    for piece in filter(None, _STYLED.split(text)):
        yield {"type": "TextRun", "text": unstyled(piece), **style, **_STYLES.get(piece[0], {})}
