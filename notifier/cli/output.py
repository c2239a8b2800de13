"""What the terminal shows: text from outside is data here, never markup, colour or cursor movement.

A listing with `--json` writes one document to stdout and nothing else; errors and progress go to stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from notifier.core.errors import NotifierError
from notifier.render import strip_controls

WIDE = 110
"""Columns from which on whole ids are shown; below, their first characters, which every command accepts."""

SHORT_ID = 8

LEAST_ROOM = 16
"""Columns below which a shortened reason says too little; what is beside it is folded instead."""


class _Console(Console):
    """Leaves a reader that went away to whoever prints; rich would end the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def stdout() -> Console:
    """Return a console on the present stdout; colours only when it is a terminal."""
    return _Console(file=sys.stdout, markup=False, highlight=False, emoji=False)


def stderr() -> Console:
    """Return a console on the present stderr."""
    return _Console(file=sys.stderr, markup=False, highlight=False, emoji=False)


def show(*renderables: RenderableType, fold: bool = True) -> None:
    """Print to stdout, one after the other; lines longer than the terminal are folded between words, or left to it."""
    console = stdout()
    with _writing():
        for renderable in renderables:
            console.print(renderable, soft_wrap=not fold)


def emit(document: dict[str, Any]) -> None:
    """Print a JSON document to stdout."""
    say(json.dumps(document, indent=2, ensure_ascii=False))


def say(text: str) -> None:
    """Print text of our own to stdout as it is: nothing is folded, so that it can be pasted."""
    with _writing():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise NotifierError(f"cannot write to stdout: {error.strerror or error}") from error


def drop_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_PLURALS = {"delivery": "deliveries"}


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 poll`, `2 polls`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {_PLURALS.get(noun, f'{noun}s')}"


def note(text: str) -> None:
    """Print a remark for people to stderr."""
    stderr().print(Text(text), soft_wrap=True)


def complain(message: str) -> None:
    """Print an error to stderr, in one block; its text may come from outside."""
    first, *more = strip_controls(message).splitlines() or [""]
    lines = "\n".join([first, *(f"       {line}" for line in more)])
    stderr().print(Text.assemble(("error: ", "bold red"), lines), soft_wrap=True)


@contextmanager
def working(text: str) -> Iterator[None]:
    """Show a spinner on stderr while something takes time; nothing where that is no terminal."""
    console = stderr()
    if not console.is_terminal:
        yield
        return
    # Live would otherwise catch what is written to stdout meanwhile, and print it on stderr.
    with Live(
        Spinner("dots", Text(text)), console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    ):
        yield


def cell(value: object, style: str = "") -> Text:
    """Return text from outside as one harmless line; nothing known is shown as a dash."""
    text = " ".join(strip_controls("" if value is None else str(value)).split())
    return Text(text, style=style) if text else Text("–", style="dim")


def block(value: str, style: str = "") -> Text:
    """Return text from outside as harmless lines."""
    return Text("\n".join(strip_controls(line) for line in value.splitlines()), style=style)


def replied(reply: str | None) -> Sequence[RenderableType]:
    """Return a line below an attempt with what the receiver replied, where it did."""
    return [Padding(Text.assemble(("replied: ", "dim"), cell(reply)), (0, 0, 0, 2))] if reply else []


FIRM = frozenset({"Changed", "Failed", "Ended", "Id", "Job", "Seen", "State", "Status", "Tries", "When"})
"""Columns that stay on one line: their values are short, and a half of one means nothing."""


def table(columns: Sequence[str], rows: Iterable[Sequence[Text]]) -> Table:
    """Return a table without frames that folds long words rather than cutting them, but for `FIRM` columns."""
    built = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        firm = column in FIRM
        built.add_column(column, overflow="ellipsis" if firm else "fold", no_wrap=firm)
    for row in rows:
        built.add_row(*row)
    return built


def pairs(rows: Iterable[tuple[str, Text]]) -> Table:
    """Return names and values in two columns."""
    built = Table.grid(padding=(0, 2, 0, 0))
    built.add_column(style="dim", no_wrap=True)
    built.add_column(overflow="fold")
    for name, value in rows:
        built.add_row(Text(name), value)
    return built


def room(width: int, rows: Iterable[Sequence[Text]]) -> int:
    """Return how many columns one more column would have beside these, or `LEAST_ROOM` where that is too few."""
    widest: Iterator[int] = (max(text.cell_len for text in column) + 2 for column in zip(*rows, strict=True))
    return max(LEAST_ROOM, width - sum(widest))


def shortened(text: Text, width: int) -> Text:
    """Return the text, with its end cut off where it is wider."""
    cut = text.copy()
    cut.truncate(width, overflow="ellipsis")
    return cut


def short(identifier: str, width: int) -> Text:
    """Return an id, or its beginning where the terminal is narrow."""
    return cell(identifier if width >= WIDE else identifier[:SHORT_ID])


_STEPS = ((timedelta(days=2), 86400, "d"), (timedelta(hours=2), 3600, "h"), (timedelta(minutes=2), 60, "min"))


def length(span: timedelta) -> str:
    """Return a length of time in its largest sensible unit: `45 s`, `12 min`, `5 h`, `3 d`."""
    for least, seconds, unit in _STEPS:
        if span >= least:
            return f"{int(span.total_seconds()) // seconds} {unit}"
    return f"{max(0, int(span.total_seconds()))} s"


def age(then: datetime | None, now: datetime) -> str:
    """Return how long ago, or how far ahead, a time is."""
    if then is None:
        return "never"
    return f"{length(now - then)} ago" if then <= now else f"in {length(then - now)}"
