"""The text of tickets before any markup, and how it is written and cut for a service. Pure.

A text is a sequence of blocks, the most important first. Text from outside stands in `Quote`, in the marked parts of a
`Paragraph` (`notifier.wording.marks`), and in values of `Facts`; a `TicketMarkup` makes all of it harmless.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from notifier.channels.markup import Markup
from notifier.wording.marks import without_marks
from notifier.wording.sanitize import cut, plain

_NO_LIMIT = 1_000_000
"""Stands for no limit: whole blocks are cut before they are written."""
_QUOTE_ROOMS = (4_000, 1_000, 300)
"""Lengths to which quoted text is cut, one after the other, before whole blocks are left out, in characters."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One sentence or several, which may have marks."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Quote:
    """Text from outside, of several lines: the reason of a failure."""

    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Labelled values. Values may come from outside; labels are ours."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Links:
    """Labelled links of the configuration: http or https, without spaces."""

    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """Lines in the markup of the service already: what a template of the configuration makes."""

    text: str


Block = Paragraph | Quote | Facts | Links | Written


class TicketMarkup(ABC):
    """The markup of a service. Stateless."""

    @abstractmethod
    def write(self, blocks: Sequence[Block]) -> str:
        """Return the text as the service takes it. Nothing from outside becomes markup, a mention or a command.

        A service that takes a structure instead of text (Jira's ADF) returns it as JSON.
        """

    @abstractmethod
    def escape(self, text: str) -> str:
        """Return one line of text from outside, for a template: see `TemplatedChannel.escape`."""

    def unescape(self, text: str) -> str:
        """Return a line that a template made as plain text: titles have no markup, and would show what escapes it."""
        return text


class PlainTicketMarkup(TicketMarkup):
    """Plain text, for services that have no markup, or that show it as it is written."""

    def write(self, blocks: Sequence[Block]) -> str:
        """Return paragraphs with an empty line between them."""
        return "\n\n".join(filter(None, map(self._block, blocks)))

    def escape(self, text: str) -> str:
        """Return the text: nothing in it is markup."""
        return text

    def _block(self, block: Block) -> str:
        match block:
            case Paragraph(sentence):
                return without_marks(sentence)
            case Quote(text):
                return "\n".join(f"> {line}" for line in plain(text).splitlines())
            case Facts(rows) | Links(rows):
                return "\n".join(f"{label}: {value}" for label, value in rows)
            case Written(text):
                return text


PLAIN = PlainTicketMarkup()


class TextIn(TicketMarkup):
    """The text in a `Markup`, for services with Markdown, Textile or wiki markup. What is quoted is a code block."""

    def __init__(self, markup: Markup) -> None:
        self._markup = markup

    def write(self, blocks: Sequence[Block]) -> str:
        """Return paragraphs with an empty line between them."""
        return "\n\n".join(filter(None, map(self._block, blocks)))

    def escape(self, text: str) -> str:
        """Return the text with its markup escaped."""
        return self._markup.plain(text, _NO_LIMIT)

    def _block(self, block: Block) -> str:
        markup = self._markup
        match block:
            case Paragraph(sentence):
                return markup.sentence(sentence, _NO_LIMIT)
            case Quote(text):
                return markup.fence(plain(text), _NO_LIMIT)
            case Facts(rows):
                return "\n".join(
                    f"{markup.bullet}{markup.plain(key, 100)}: {markup.code(value, 300)}" for key, value in rows
                )
            case Links(rows):
                return "\n".join(f"{markup.bullet}{markup.link(title, url)}" for title, url in rows)
            case Written(text):
                return text


def fitted(markup: TicketMarkup, blocks: Sequence[Block], limit: int, size: Callable[[str], int] = len) -> str:
    """Return the text with at most `limit` units, as `size` counts them, by leaving out the least important part.

    Quotes are cut first; then the last blocks are left out, one after the other. A first block that is too long by
    itself is cut.
    """
    for shorter in _shorter(blocks):
        text = markup.write(shorter)
        if size(text) <= limit:
            return text
    return _first_cut(markup, blocks[0], limit, size) if blocks else ""


def _shorter(blocks: Sequence[Block]) -> Iterator[Sequence[Block]]:
    yield blocks
    for room in _QUOTE_ROOMS:
        blocks = [replace(block, text=cut(block.text, room)) if isinstance(block, Quote) else block for block in blocks]
        yield blocks
    for kept in range(len(blocks) - 1, 0, -1):
        yield blocks[:kept]


def _first_cut(markup: TicketMarkup, block: Block, limit: int, size: Callable[[str], int]) -> str:
    """Return the longest beginning of a block that fits, found by halves. It is cut before it is written."""
    low, high = 0, _length(block)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(markup.write([_beginning(block, middle)])) <= limit else (low, middle - 1)
    return markup.write([_beginning(block, low)]) if low else ""


def _length(block: Block) -> int:
    return len(block.rows) if isinstance(block, Facts | Links) else len(_text(block))


def _beginning(block: Block, length: int) -> Block:
    if isinstance(block, Facts | Links):
        return replace(block, rows=block.rows[:length])
    if isinstance(block, Paragraph):  # a mark that is cut in two would leave its half
        return Paragraph(cut(without_marks(block.sentence), length))
    return replace(block, text=cut(block.text, length))


def _text(block: Paragraph | Quote | Written) -> str:
    return block.sentence if isinstance(block, Paragraph) else block.text
