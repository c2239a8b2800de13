"""A preview of a Slack message, as closely as a terminal can show it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from notifier.wording.sanitize import strip_controls

BlockJson = dict[str, Any]

_FENCE = re.compile(r"```\n?(.*?)\n?```", re.DOTALL)
_PIECE = re.compile(r"`(?P<code>[^`\n]+)`|\*(?P<bold>[^*\n]+)\*|<[^<>|]*\|(?P<words>[^<>]*)>|<(?P<bare>[^<>|]*)>")
_MENTION = re.compile(r"^(@|!subteam\^|!)")
_CODE = "cyan"
_BUTTONS = {"primary": "bold green", "danger": "bold red"}


def is_block_kit(payload: object) -> bool:
    """Return whether a body is a message in Block Kit."""
    if not isinstance(payload, dict):
        return False
    attachments = payload.get("attachments") or ()
    return bool(payload.get("blocks")) or any("blocks" in attachment for attachment in attachments)


def draw_message(payload: BlockJson) -> RenderableType:
    """Return a message: its blocks, and each attachment behind a bar in its colour."""
    return Group(*_message(payload))


def _message(payload: BlockJson) -> Iterator[RenderableType]:
    yield from _blocks(payload.get("blocks") or ())
    for attachment in payload.get("attachments") or ():
        inner = Group(*_blocks(attachment.get("blocks") or ()))
        yield _Bar(inner, str(attachment.get("color") or "white"))


@dataclass(frozen=True, slots=True)
class _Bar:
    """Content with a coloured bar before each line."""

    inner: RenderableType
    colour: str
    mark: str = "▌ "

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bar = Segment(self.mark, Style(color=self.colour))
        for line in console.render_lines(self.inner, options.update(width=options.max_width - 2), pad=False):
            yield bar
            yield from line
            yield Segment.line()


def _blocks(blocks: Sequence[BlockJson]) -> Iterator[RenderableType]:
    for block in blocks:
        match block.get("type"):
            case "section":
                yield from _section(block)
            case "rich_text":
                yield from map(_rich, block.get("elements", ()))
            case "context":
                yield Text("   ", style="dim").join(_text(element, "dim") for element in block.get("elements", ()))
            case "actions":
                yield _buttons(block.get("elements", ()))


def _section(block: BlockJson) -> Iterator[RenderableType]:
    if text := block.get("text"):
        yield from _parts(str(text.get("text", "")))
    if fields := block.get("fields"):
        yield _fields(fields)
    if accessory := block.get("accessory"):
        yield Padding(_buttons([accessory]), (0, 0, 0, 4))


_RICH_STYLES = {"bold": "bold", "italic": "italic", "code": _CODE}


def _rich(element: BlockJson) -> RenderableType:
    """Return a paragraph, a quote behind a thin bar, or a list, in which nothing is markup."""
    inner = element.get("elements", ())
    match element.get("type"):
        case "rich_text_list":
            return Group(*(Padding(Text.assemble("• ", _rich_words(item)), (0, 0, 0, 1)) for item in inner))
        case "rich_text_quote":
            return _Bar(_rich_words(element), "white", mark="▏ ")
    return _rich_words(element)


def _rich_words(element: BlockJson) -> Text:
    pieces = Text()
    for one in element.get("elements", ()):
        styles = [_RICH_STYLES[name] for name in one.get("style", ()) if name in _RICH_STYLES]
        pieces.append("\n".join(map(strip_controls, str(one.get("text", "")).split("\n"))), style=" ".join(styles))
    return pieces


def _fields(fields: Sequence[BlockJson]) -> Table:
    """Return a grid of fields in two columns."""
    grid = Table.grid(padding=(0, 4, 0, 0))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    texts = [_text(field) for field in fields]
    for start in range(0, len(texts), 2):
        grid.add_row(*texts[start : start + 2])
    return grid


def _buttons(elements: Sequence[BlockJson]) -> Text:
    return Text("  ").join(_button(element) for element in elements)


def _button(element: BlockJson) -> Text:
    label = _plain(element.get("text") or element.get("placeholder") or {})
    mark = " ▾" if element.get("type") == "static_select" else " ↗" if element.get("url") else ""
    return Text(f"[ {label}{mark} ]", style=_BUTTONS.get(str(element.get("style")), "bold"))


def _plain(text: BlockJson) -> str:
    return " ".join(strip_controls(str(text.get("text", ""))).split())


def _parts(markup: str) -> Iterator[RenderableType]:
    """Yield the paragraphs and the code blocks of a text."""
    end = 0
    for fence in _FENCE.finditer(markup):
        if before := markup[end : fence.start()].strip("\n"):
            yield _inline(before)
        yield Padding(Text(_shown(fence[1]), style=_CODE), (0, 0, 0, 2))
        end = fence.end()
    if after := markup[end:].strip("\n"):
        yield _inline(after)


def _text(text: BlockJson, style: str = "") -> Text:
    return _inline(str(text.get("text", "")), style)


def _inline(markup: str, style: str = "") -> Text:
    """Return text with bold, code, and the labels of links and dates."""
    text = Text(style=style)
    end = 0
    for piece in _PIECE.finditer(markup):
        text.append(_shown(markup[end : piece.start()]))
        _append(text, piece)
        end = piece.end()
    return text.append(_shown(markup[end:]))


def _append(text: Text, piece: re.Match[str]) -> None:
    if piece["code"] is not None:
        text.append(_shown(piece["code"]), style=_CODE)
    elif piece["bold"] is not None:
        text.append_text(Text.assemble((_inline(piece["bold"]).plain, "bold")))
    else:
        text.append(_shown(piece["words"] if piece["words"] is not None else _MENTION.sub("@", piece["bare"])))


def _shown(markup: str) -> str:
    """Return text without entities and without control characters."""
    return "\n".join(strip_controls(line) for line in unescape(markup).split("\n"))
