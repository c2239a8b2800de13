"""Markup of chats, safe against text from outside. Pure.

Text from outside cannot become markup, a mention or a link. What a service lets us escape is escaped. What it does not
is broken by a zero-width character (mentions, channels, emoji and addresses), or replaced by a character that looks
alike.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, groupby, takewhile
from urllib.parse import quote

from notifier.wording.marks import split_marked

ZERO_WIDTH_SPACE = "\u200b"
BACKTICK = "\u02cb"
"""Replaces a backtick, which could end the code."""
ELLIPSIS = "…"
NOTHING_ACTIVE = re.compile(r"(?!)")
"""Matches nowhere."""
ADDRESS = r"(?<=[^\W_])\.(?=[^\W\d_])|(?<=\d)\.(?=\d)|(?<=[^\W\d_]):(?=[^\W_]|//)|(?<=\d):(?=[^\W\d_]|//)"
"""A dot or a colon within an address; not those of an error code or a time of day, which people copy."""
EMOJI = r"(?<!\d):(?=[\w+.-]+:)|(?<=\d):(?!\d\d:\d)(?=[\w+.-]+:)"
"""A colon that begins the name of an emoji; not that of a time of day."""
_OUTSIDE = " ·:：,，"
"""Spaces and separators, which stay outside of bold text."""
_MENTIONS = re.compile("[@#<]")
_COMMAND = re.compile(r"`([^`]*)`")
_UNSAFE_IN_ADDRESS = re.compile(r"[\s@()<>\[\]\"'`|\\]")

# ---- units ----

Size = Callable[[str], int]
"""Returns the length of a text in the unit in which a service counts. The lengths of parts add up to that of the
whole."""

characters: Size = len
"""Code points."""


def utf8_bytes(text: str) -> int:
    """Return the length in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def utf16_units(text: str) -> int:
    """Return the length in units of UTF-16: an emoji has two."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "replace")) // 2


def json_bytes(text: str) -> int:
    """Return the length in bytes of UTF-8 within a string of JSON, where a line break and a quote have two."""
    return utf8_bytes(json.dumps(text, ensure_ascii=False)) - 2


def cut_to(text: str, limit: int, size: Size = characters) -> str:
    """Return the text, or its beginning and an ellipsis where `size` is above `limit`. No code point is divided."""
    if size(text) <= limit:
        return text
    return text[: _fitting_count(text, limit - size(ELLIPSIS), size)].rstrip() + ELLIPSIS


def _fitting_count(parts: Iterable[str], room: int, size: Size) -> int:
    """Return the number of parts, from the first on, that fit into the room together."""
    return sum(1 for _ in takewhile(lambda used: used <= room, accumulate(map(size, parts))))


def fitting_lines(lines: Iterable[str], limit: int, size: Size = characters, *, gap: int = 1) -> Iterator[str]:
    """Yield the lines that fit into `limit` together with the breaks between them, each `gap` long.

    A line for which no room is left is left out, and a shorter one after it may fit.
    """
    left = limit + gap
    for line in lines:
        if (needed := size(line) + gap) <= left:
            left -= needed
            yield line


# ---- markup ----


@dataclass(frozen=True, kw_only=True)
class Markup(ABC):
    """The markup of one service. Every limit is a length in the unit of `size`."""

    active: re.Pattern[str] = NOTHING_ACTIVE
    """Characters that begin a mention, a channel, an entity, an emoji or an address, where one follows them."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """What each character of markup is replaced by."""
    active_in_code: re.Pattern[str] = NOTHING_ACTIVE
    """As `active`, of those that also work within code."""
    strong: tuple[str, str] = ("", "")
    """What stands before and after bold text."""
    bullet: str = "- "
    """Begins an item of a list."""
    line_break: str = "\n"
    """Stands between two lines."""
    size: Size = characters
    """Returns the length of a text as the service counts it."""

    @abstractmethod
    def code(self, text: str, limit: int) -> str:
        """Return inline code, in which nothing is markup."""

    @abstractmethod
    def fence(self, text: str, limit: int) -> str:
        """Return a code block that nothing in the text can close."""

    @abstractmethod
    def block_quote(self, text: str, limit: int) -> str:
        """Return a block quote of as many lines as fit. No line of it begins a list, a heading or a table."""

    @abstractmethod
    def link(self, title: str, url: str) -> str:
        """Return a link. What could end its address or mention somebody is escaped; `title` is a phrase of ours."""

    def plain(self, text: str, limit: int) -> str:
        """Return a line in which nothing is markup, a mention or a link."""
        return self._escaped(self.active.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", self._one_line(text)), limit)

    def unformatted(self, text: str, limit: int) -> str:
        """Return a line for a place without markup, in which nothing is a mention."""
        return cut_to(_MENTIONS.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", " ".join(text.split())), limit, self.size)

    def unescaped(self, text: str) -> str:
        """Return markup with its escapes replaced by what they stand for, for a place where nothing is markup."""
        return self._escapes.sub(lambda found: self._originals[found[0]], text)

    def bold(self, text: str, limit: int) -> str:
        """Return a line of about `limit` in bold. Spaces and separators around it stay as they are."""
        bare = text.strip(_OUTSIDE)
        if not any(map(str.isalnum, bare)):
            return _around(text, self.plain(text, limit))
        begin_mark, end_mark = self.strong
        shown = f"{begin_mark}{self.plain(bare, limit - self.size(begin_mark + end_mark))}{end_mark}"
        begin, _, end = text.partition(bare)
        return f"{begin}{shown}{end}"

    def sentence(self, sentence: str, limit: int, *, bold: bool = False) -> str:
        """Return a sentence whose quoted parts are code. Times are words: there is no markup for them.

        `limit` holds for each of its parts.
        """
        shown: list[str] = []
        for quoted, parts in groupby(split_marked(sentence), key=lambda part: part.quoted):
            text = "".join(part.text for part in parts)
            write = self.code if quoted else self.bold if bold else self.plain
            shown.append(_around(text, write(text.strip(), limit)))
        return "".join(shown)

    def commands(self, text: str, limit: int) -> str:
        """Return sentences of ours whose commands in backticks are code. `limit` holds for each part."""
        parts = enumerate(_COMMAND.split(text))  # every other one was in backticks
        return "".join(self.code(part, limit) if n % 2 else _around(part, self.plain(part, limit)) for n, part in parts)

    def _one_line(self, text: str) -> str:
        return " ".join(text.split())

    def _escaped(self, line: str, limit: int) -> str:
        """Return a line with its markup replaced, cut so that no character is cut from what replaces it."""
        safe = self._replace(line)
        if self.size(safe) < limit:
            return safe
        pieces = (self.replaced.get(char, char) for char in line)
        fitting = _fitting_count(pieces, limit - self.size(ELLIPSIS), self.size)
        return self._replace(line[:fitting]) + ELLIPSIS

    def _replace(self, line: str) -> str:
        return self._markup.sub(lambda found: self.replaced[found[0]], line)

    @cached_property
    def _originals(self) -> Mapping[str, str]:
        return {escape: char for char, escape in self.replaced.items() if len(escape) > 1}

    @cached_property
    def _escapes(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self._originals))) if self._originals else NOTHING_ACTIVE

    @cached_property
    def _markup(self) -> re.Pattern[str]:
        return re.compile(f"[{re.escape(''.join(self.replaced))}]") if self.replaced else NOTHING_ACTIVE


@dataclass(frozen=True, kw_only=True)
class Markdown(Markup):
    """The Markdown of one service."""

    link_form: str = "[{title}]({address})"
    """A link, with {title} and {address} to fill in."""
    quote_mark: str = f"> {ZERO_WIDTH_SPACE}"
    """Begins a line of a block quote, and keeps what follows from being the beginning of a line."""
    has_code: bool = True
    """False where the service shows the marks of inline code: it is plain text then."""

    def code(self, text: str, limit: int) -> str:
        """Return inline code; see `Markup.code`."""
        if not self.has_code:
            return self.plain(text, limit)
        line = self._inert(" ".join(text.split()))
        return f"`{cut_to(line, max(limit - 2, 1), self.size) or ' '}`"

    def fence(self, text: str, limit: int) -> str:
        """Return a code block; see `Markup.fence`."""
        return f"```\n{cut_to(self._inert(text), max(limit - 8, 1), self.size)}\n```"

    def block_quote(self, text: str, limit: int) -> str:
        """Return a block quote; see `Markup.block_quote`."""
        shown: list[str] = []
        left = limit
        break_size = self.size(self.line_break)
        for line in text.splitlines():
            quoted = f"{self.quote_mark}{self.plain(line, left)}" if left > self.size(ELLIPSIS) else ""
            if not quoted or self.size(quoted) + break_size > left:
                break
            shown.append(quoted)
            left -= self.size(quoted) + break_size
        return self.line_break.join(shown)

    def link(self, title: str, url: str) -> str:
        """Return a link; see `Markup.link`."""
        shown = self.plain(title, self.size(title) * 2 + self.size(ELLIPSIS))
        return self.link_form.format(title=shown, address=inert_address(url))

    def _one_line(self, text: str) -> str:
        return " ".join(text.split()).replace("`", BACKTICK)

    def _inert(self, text: str) -> str:
        return self.active_in_code.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text.replace("`", BACKTICK))


HTML_ENTITIES: Mapping[str, str] = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
"""Characters of HTML and what shows them."""


@dataclass(frozen=True, kw_only=True)
class Html(Markup):
    """The part of HTML that a service shows: bold, code, block quotes and links."""

    replaced: Mapping[str, str] = field(default_factory=lambda: HTML_ENTITIES)
    strong: tuple[str, str] = ("<b>", "</b>")
    bullet: str = "• "

    def code(self, text: str, limit: int) -> str:
        """Return inline code; see `Markup.code`."""
        line = self.active_in_code.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", " ".join(text.split()))
        return self._within("code", self._escaped(line, self._room("code", limit)))

    def fence(self, text: str, limit: int) -> str:
        """Return a code block; see `Markup.fence`."""
        inert = self.active_in_code.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text)
        return self._within("pre", self._escaped(inert, self._room("pre", limit)))

    def block_quote(self, text: str, limit: int) -> str:
        """Return a block quote; see `Markup.block_quote`."""
        shown: list[str] = []
        left = self._room("blockquote", limit)
        for line in text.splitlines():
            quoted = self.plain(line, left) if left > self.size(ELLIPSIS) else ""
            if self.size(quoted) + self.size(self.line_break) > left:
                break
            shown.append(quoted)
            left -= self.size(quoted) + self.size(self.line_break)
        return self._within("blockquote", self.line_break.join(shown)) if shown else ""

    def link(self, title: str, url: str) -> str:
        """Return a link; see `Markup.link`."""
        shown = self._replace(" ".join(title.split()))
        return f'<a href="{self._replace(inert_address(url))}">{shown}</a>'

    def _room(self, tag: str, limit: int) -> int:
        return limit - self.size(self._within(tag, ""))

    def _within(self, tag: str, safe: str) -> str:
        return f"<{tag}>{safe}</{tag}>"


@dataclass(frozen=True, kw_only=True)
class PlainMarkup(Markup):
    """The text of a service without markup. What it makes active by itself (mentions, addresses) is broken."""

    bullet: str = "• "

    def code(self, text: str, limit: int) -> str:
        """Return the text in one line."""
        return self.plain(text, limit)

    def fence(self, text: str, limit: int) -> str:
        """Return the text."""
        return cut_to(self.active.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text), limit, self.size)

    def block_quote(self, text: str, limit: int) -> str:
        """Return the lines that fit."""
        lines = (self.plain(line, limit) for line in text.splitlines())
        return self.line_break.join(fitting_lines(lines, limit, self.size, gap=self.size(self.line_break)))

    def link(self, title: str, url: str) -> str:
        """Return the title and the address."""
        return f"{' '.join(title.split())}: {inert_address(url)}"


def inert_address(url: str) -> str:
    """Return a URL in which nothing ends a link or mentions somebody."""
    return _UNSAFE_IN_ADDRESS.sub(lambda found: quote(found[0], safe=""), url)


def _around(text: str, shown: str) -> str:
    """Return what is shown of a text, between the spaces around it; of spaces alone nothing else."""
    if not (bare := text.strip()):
        return text
    begin, _, end = text.partition(bare)
    return f"{begin}{shown}{end}"
