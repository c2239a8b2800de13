"""Printing to the terminal. Text from outside is data: never markup, colour or cursor movement.

With `--json` a command writes one document to stdout and nothing else; errors and progress go to stderr.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from notifier.cli.startup import discard_stdout
from notifier.core.errors import NotifierError
from notifier.wording.sanitize import strip_controls
from notifier.wording.terminal import shows_colours

FULL_ID_WIDTH = 110
"""Terminal width from which whole ids are shown, in columns. Narrower ones show the beginnings."""

SHORT_ID_LENGTH = 8


class _Console(Console):
    """Raises BrokenPipeError when the reader went away; rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


UNBOUNDED_WIDTH = 100_000
"""Width of what is not a terminal, in columns: a pipe or a file gets whole lines."""


def stdout() -> Console:
    """Return a console on the current stdout; colours only when it is a terminal."""
    return _console(sys.stdout, width=None if sys.stdout.isatty() else UNBOUNDED_WIDTH)


def stderr() -> Console:
    """Return a console on the current stderr."""
    return _console(sys.stderr)


def _console(stream: TextIO, width: int | None = None) -> Console:
    """Return a console without markup; where colours are not wanted, without bold and dim text too."""
    system: Literal["auto"] | None = "auto" if shows_colours(stream) else None
    return _Console(file=stream, width=width, color_system=system, markup=False, highlight=False, emoji=False)


def show(*renderables: RenderableType, fold: bool = True) -> None:
    """Print to stdout. Lines longer than the terminal are folded between words, or left to the terminal."""
    console = stdout()
    with _writing_stdout():
        if console.is_terminal:
            for renderable in renderables:
                console.print(renderable, soft_wrap=not fold)
        else:
            for line in _lines(console, renderables):
                sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


def _lines(console: Console, renderables: Iterable[RenderableType]) -> Iterator[str]:
    """Return plain lines without trailing spaces."""
    for renderable in renderables:
        with console.capture() as capture:
            console.print(renderable)
        yield from map(str.rstrip, capture.get().splitlines())


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document to stdout."""
    print_text(json.dumps(document, indent=2, ensure_ascii=False))


def print_text(text: str) -> None:
    """Print text of the program to stdout without folding, so that it can be pasted."""
    with _writing_stdout():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


@contextmanager
def _writing_stdout() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise NotifierError(f"cannot write to stdout: {error.strerror or error}") from error


_PLURALS = {"delivery": "deliveries"}


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 poll`, `2 polls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {_PLURALS.get(noun, f'{noun}s')}"


def print_note(text: str) -> None:
    """Print a remark to stderr."""
    stderr().print(Text(text), soft_wrap=True)


def print_error(message: str) -> None:
    """Print an error to stderr, in one block. Its text may come from outside."""
    first, *more = strip_controls(message).splitlines() or [""]
    lines = "\n".join([first, *(f"       {line}" for line in more)])
    stderr().print(Text.assemble(("error: ", "bold red"), lines), soft_wrap=True)


def cell(value: object, style: str = "") -> Text:
    """Return text from outside as one harmless line; a missing value is shown as a dash."""
    text = " ".join(strip_controls("" if value is None else str(value)).split())
    return Text(text, style=style) if text else Text("–", style="dim")


def block(value: str, style: str = "") -> Text:
    """Return text from outside as harmless lines."""
    return Text("\n".join(strip_controls(line) for line in value.splitlines()), style=style)


def reply_line(word: str, reply: str | None) -> Sequence[RenderableType]:
    """Return a line with the receiver's reply to an attempt after a word, where there is one."""
    return [indented(Text.assemble((f"{word} ", "dim"), cell(reply)))] if reply else []


class Column(NamedTuple):
    """A column of a table."""

    title: str
    rigid: bool = False
    """True for short values that stay on one line, however narrow the terminal is."""


class TableRow(NamedTuple):
    """A row of a table: cells, and notes on their own lines below."""

    cells: Sequence[Text]
    notes: Sequence[Text] = ()


MIN_CELL_WIDTH = 8
"""Minimum width of a folded cell, in columns."""
_GAP = 2


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table without frames: long words are folded, never cut, and notes are complete."""

    columns: Sequence[Column]
    rows: Sequence[TableRow]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Print the rows; those between two notes form one grid of the same columns."""
        widths = self._widths(options.max_width)
        block_rows = [[Text(column.title, style="bold") for column in self.columns]]
        for row in self.rows:
            block_rows.append([*row.cells])
            if row.notes:
                yield self._grid(widths, block_rows)
                yield from (indented(note) for note in row.notes)
                block_rows = []
        if block_rows:
            yield self._grid(widths, block_rows)

    def _widths(self, available: int) -> Sequence[int]:
        texts = [[column.title for column in self.columns], *([cell.plain for cell in row.cells] for row in self.rows)]
        widths = [max(map(cell_len, column)) for column in zip(*texts, strict=True)]
        excess = available - _GAP * (len(widths) - 1) - sum(widths)
        while excess < 0:
            foldable = [
                at for at, column in enumerate(self.columns) if not column.rigid and widths[at] > MIN_CELL_WIDTH
            ]
            if not foldable:
                break
            widths[max(foldable, key=widths.__getitem__)] -= 1
            excess += 1
        return widths

    def _grid(self, widths: Sequence[int], rows: Iterable[Sequence[Text]]) -> Table:
        built = Table.grid(padding=(0, _GAP, 0, 0))
        for column, width in zip(self.columns, widths, strict=True):
            built.add_column(width=width, overflow="ellipsis" if column.rigid else "fold", no_wrap=column.rigid)
        for row in rows:
            built.add_row(*row)
        return built


MIN_PARAGRAPH_WIDTH = 16
"""Minimum width of a paragraph, in columns, however narrow the terminal is."""


def indented(inner: RenderableType) -> Padding:
    """Return content that is indented by two columns."""
    return Padding(inner, (0, 0, 0, 2), expand=False)


def pairs(rows: Iterable[tuple[str, Text]]) -> Table:
    """Return names and values in two columns."""
    built = Table.grid(padding=(0, 2, 0, 0))
    built.add_column(style="dim", no_wrap=True)
    built.add_column(overflow="fold")
    for name, value in rows:
        built.add_row(Text(name), value)
    return built


def short(identifier: str, width: int) -> Text:
    """Return an id, or its beginning where the terminal is narrow."""
    return cell(identifier if width >= FULL_ID_WIDTH else identifier[:SHORT_ID_LENGTH])


def paragraph(text: Text, width: int, *, first: str = "", indent: int = 0) -> Text:
    """Return text folded between words under an indent, the first line after `first`."""
    lines = text.wrap(stderr(), max(width - indent, MIN_PARAGRAPH_WIDTH))
    begin = Text(first.ljust(indent), style=text.style)
    folded = Text("\n").join(Text.assemble(begin if n == 0 else " " * indent, line) for n, line in enumerate(lines))
    folded.no_wrap, folded.overflow = True, "ignore"
    return folded
