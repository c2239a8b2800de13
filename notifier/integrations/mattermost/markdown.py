"""The Markdown of Mattermost and of Rocket.Chat, safe against text from outside. Pure.

Text from outside cannot become markup, a mention or a link. What cannot be escaped is broken by a zero-width character:
mentions, channels, emoji and addresses. Mattermost takes a backslash before markup; Rocket.Chat shows backslashes, so
that its markup is replaced by characters that look alike.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby, takewhile
from urllib.parse import quote

from notifier.wording.marks import split_marked
from notifier.wording.sanitize import cut

ZERO_WIDTH_SPACE = "\u200b"
_BACKTICK = "\u02cb"
"""Replaces a backtick, which could end the code."""
_ELLIPSIS = "…"
_OUTSIDE = " ·:：,，"
"""Spaces and separators, which stay outside of bold text."""
_MENTIONS = re.compile("[@#<]")
_COMMAND = re.compile(r"`([^`]*)`")
_UNSAFE_IN_ADDRESS = re.compile(r"[\s@()<>\[\]\"'`|\\]")


@dataclass(frozen=True, kw_only=True)
class Markdown:
    """The Markdown of one server."""

    active: re.Pattern[str]
    """Characters that begin a mention, a channel, an entity, an emoji or an address, where one follows them."""
    replaced: Mapping[str, str]
    """What each character of markup is replaced by."""
    active_in_code: re.Pattern[str]
    """As `active`, of those that also work within code."""
    strong: str
    """What stands before and after bold text."""

    def code(self, text: str, limit: int) -> str:
        """Return inline code of at most `limit` characters, in which nothing is markup."""
        line = self._inert(" ".join(text.split()))
        return f"`{cut(line, max(limit - 2, 1)) or ' '}`"

    def fence(self, text: str, limit: int) -> str:
        """Return a code block of at most `limit` characters that nothing in the text can close."""
        return f"```\n{cut(self._inert(text), max(limit - 8, 1))}\n```"

    def plain(self, text: str, limit: int) -> str:
        """Return a line of at most `limit` characters in which nothing is markup, a mention or a link."""
        line = self.active.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", " ".join(text.split()).replace("`", _BACKTICK))
        safe = self._replaced(line)
        return safe if len(safe) < limit else self._replaced(line[: self._fitting(line, limit - 1)]) + _ELLIPSIS

    def _replaced(self, line: str) -> str:
        return self._markup.sub(lambda found: self.replaced[found[0]], line)

    @cached_property
    def _markup(self) -> re.Pattern[str]:
        return re.compile(f"[{re.escape(''.join(self.replaced))}]")

    def _fitting(self, line: str, room: int) -> int:
        """Return the number of characters that fit once replaced, so that none is cut from its backslash."""
        sizes = accumulate(len(self.replaced.get(char, char)) for char in line)
        return sum(1 for _ in takewhile(lambda size: size <= room, sizes))

    def block_quote(self, text: str, limit: int) -> str:
        """Return a block quote of at most `limit` characters. No line of it begins a list, a heading or a table."""
        shown: list[str] = []
        left = limit
        for line in text.splitlines():
            quoted = f"> {ZERO_WIDTH_SPACE}{self.plain(line, left)}" if left > len(_ELLIPSIS) else ""
            if not quoted or len(quoted) + 1 > left:
                break
            shown.append(quoted)
            left -= len(quoted) + 1
        return "\n".join(shown)

    def unformatted(self, text: str, limit: int) -> str:
        """Return a line of at most `limit` characters for a place without markup, in which nothing is a mention."""
        return cut(_MENTIONS.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", " ".join(text.split())), limit)

    def bold(self, text: str, limit: int) -> str:
        """Return a line of about `limit` characters in bold. Spaces and separators around it stay as they are."""
        bare = text.strip(_OUTSIDE)
        if not any(map(str.isalnum, bare)):
            return _around(text, self.plain(text, limit))
        shown = f"{self.strong}{self.plain(bare, limit - 2 * len(self.strong))}{self.strong}"
        begin, _, end = text.partition(bare)
        return f"{begin}{shown}{end}"

    def sentence(self, sentence: str, limit: int, *, bold: bool = False) -> str:
        """Return a sentence whose quoted parts are code. Times are words: there is no markup for them.

        `limit` holds for each of its parts, in characters.
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

    def link(self, title: str, url: str) -> str:
        """Return a link. What could end its address or mention somebody is escaped; `title` is a phrase of ours."""
        address = _UNSAFE_IN_ADDRESS.sub(lambda found: quote(found[0], safe=""), url)
        return f"[{self.plain(title, len(title) * 2 + 1)}]({address})"

    def _inert(self, text: str) -> str:
        return self.active_in_code.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text.replace("`", _BACKTICK))


def _around(text: str, shown: str) -> str:
    """Return what is shown of a text, between the spaces around it; of spaces alone nothing else."""
    if not (bare := text.strip()):
        return text
    begin, _, end = text.partition(bare)
    return f"{begin}{shown}{end}"


_NOTHING = re.compile(r"(?!)")
_ADDRESS = r"(?<=[^\W_])\.(?=[^\W\d_])|(?<=\d)\.(?=\d)|(?<=[^\W\d_]):(?=[^\W_]|//)|(?<=\d):(?=[^\W\d_]|//)"
"""A dot or a colon within an address; not those of an error code or a time of day, which people copy."""
_EMOJI = r"(?<!\d):(?=[\w+.-]+:)|(?<=\d):(?!\d\d:\d)(?=[\w+.-]+:)"
"""A colon that begins the name of an emoji; not that of a time of day."""

MATTERMOST = Markdown(
    active=re.compile(rf"[@~<&$]|{_EMOJI}|{_ADDRESS}"),
    replaced={char: f"\\{char}" for char in r"\`*_{}[]()#+!|>-"},
    active_in_code=_NOTHING,
    strong="**",
)
ROCKETCHAT = Markdown(
    # A colon or a semicolon may begin an emoticon, a plus sign a telephone number, a backslash a formula.
    active=re.compile(rf"[@#&\[\]\\]|[:;=](?=[^\s\w])|:(?=[^\W\d])|\+(?=[(\d])|{_EMOJI}|{_ADDRESS}"),
    replaced={"*": "∗", "_": "ˍ", "~": "∼", "<": "‹", ">": "›", "|": "❘", "$": "＄"},
    # The server looks for mentions in the whole text, code included.
    active_in_code=re.compile("[@#]"),
    strong="*",
)
