"""The markup of Redmine, safe against text from outside. Pure.

Redmine links people, issues, revisions, wiki pages and addresses in the text that a reader gets, whatever the markup
escapes, and obeys macros. So what begins one of these is broken by a zero-width character, also within code.
"""

import re
from dataclasses import dataclass, field, replace

from notifier.channels.gfm import GFM, GfmText
from notifier.channels.markup import ADDRESS, ZERO_WIDTH_SPACE, Markup, cut_to, fitting_lines, inert_address
from notifier.channels.ticket_text import TextIn

_REFERENCE = r"[@#](?=\w)|\[(?=\[)|\{(?=\{)|(?<!\w)r(?=\d)"
"""What begins a person, an issue, a wiki page, a macro or a revision."""
_AT_BOUNDARY = r"""(?<![^\W_])(?=[*_\-+^~%?!"|=#>])"""
"""The place before a character that begins formatting, an image, a table, a list or a quote."""
_BLOCK = r"^(?=(?:h[1-6]|bq|p|fn\d|table|notextile)[^\s]{0,40}\.)"
_TAG = r"<(?=[/!\w])"
_TITLE_END = r'"(?=:)'
_IN_CODE = re.compile(rf"@(?=\w)|\{{(?=\{{)|{_TAG}")


@dataclass(frozen=True, kw_only=True)
class TextileMarkup(Markup):
    """Redmine's Textile. Code is within tags: `@` around it would look like a mention."""

    active: re.Pattern[str] = field(
        default_factory=lambda: re.compile(f"{_REFERENCE}|{_TAG}|{_TITLE_END}|{_AT_BOUNDARY}|{_BLOCK}|{ADDRESS}")
    )
    active_in_code: re.Pattern[str] = field(default_factory=lambda: _IN_CODE)
    strong: tuple[str, str] = ("*", "*")
    bullet: str = "* "

    def code(self, text: str, limit: int) -> str:
        """Return inline code; see `Markup.code`."""
        return self._within("code", " ".join(text.split()), limit)

    def fence(self, text: str, limit: int) -> str:
        """Return a code block; see `Markup.fence`."""
        return self._within("pre", text, limit)

    def block_quote(self, text: str, limit: int) -> str:
        """Return a block quote; see `Markup.block_quote`."""
        return "\n".join(fitting_lines((f"> {self.plain(line, limit)}" for line in text.splitlines()), limit))

    def link(self, title: str, url: str) -> str:
        """Return a link; see `Markup.link`."""
        return f'"{" ".join(title.split()).replace(chr(34), "")}":{inert_address(url)}'

    def _within(self, tag: str, text: str, limit: int) -> str:
        begin, end = f"<{tag}>", f"</{tag}>"
        inert = self.active_in_code.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text)
        return f"{begin}{cut_to(inert, max(limit - len(begin + end), 1), self.size) or ' '}{end}"


TEXTILE = TextileMarkup()
MARKDOWN = replace(GFM, active=re.compile(f"{GFM.active.pattern}|{_REFERENCE}|{_TAG}"), active_in_code=_IN_CODE)


class TextileText(TextIn):
    """Descriptions and notes in Textile."""

    def __init__(self) -> None:
        super().__init__(TEXTILE)

    def unescape(self, text: str) -> str:
        """Return a line as plain text; see `TicketMarkup.unescape`."""
        return text.replace(ZERO_WIDTH_SPACE, "")


class RedmineMarkdown(GfmText):
    """Descriptions and notes in the Markdown of Redmine."""

    def __init__(self) -> None:
        TextIn.__init__(self, MARKDOWN)
