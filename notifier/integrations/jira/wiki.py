"""The wiki markup of Jira Data Center, safe against text from outside. Pure."""

import re
from dataclasses import dataclass, field

from notifier.channels.markup import ADDRESS, ZERO_WIDTH_SPACE, Markup, cut_to, fitting_lines, inert_address
from notifier.channels.ticket_text import TextIn

_ESCAPED = "[]{}!|*_^~-+?#"
"""Characters that a backslash makes plain text."""
_MENTION = re.compile(r"\[(?=~)")
_NOFORMAT = re.compile(r"\{(?=noformat)", re.IGNORECASE)


def _replacements() -> dict[str, str]:
    # Two backslashes are a line break, and one may take the meaning from what follows it.
    return {"\\": "∖", **{char: f"\\{char}" for char in _ESCAPED}}


@dataclass(frozen=True, kw_only=True)
class WikiMarkup(Markup):
    """Markup in which code is shown in a monospaced face. What it contains is escaped like any other text."""

    active: re.Pattern[str] = field(default_factory=lambda: re.compile(rf"\[(?=~)|{ADDRESS}"))
    replaced: dict[str, str] = field(default_factory=_replacements)
    strong: tuple[str, str] = ("*", "*")
    bullet: str = "* "

    def code(self, text: str, limit: int) -> str:
        """Return inline code; see `Markup.code`."""
        return f"{{{{{self.plain(text, max(limit - 4, 1)) or ' '}}}}}"

    def fence(self, text: str, limit: int) -> str:
        """Return a code block; see `Markup.fence`."""
        begin, end = "{noformat}\n", "\n{noformat}"
        inert = _MENTION.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", _NOFORMAT.sub(rf"\g<0>{ZERO_WIDTH_SPACE}", text))
        return f"{begin}{cut_to(inert, max(limit - len(begin + end), 1))}{end}"

    def block_quote(self, text: str, limit: int) -> str:
        """Return a block quote; see `Markup.block_quote`."""
        return "\n".join(fitting_lines((f"bq. {self.plain(line, limit)}" for line in text.splitlines()), limit))

    def link(self, title: str, url: str) -> str:
        """Return a link; see `Markup.link`."""
        return f"[{self._replace(' '.join(title.split()))}|{inert_address(url)}]"


WIKI = WikiMarkup()
_ESCAPES = re.compile(rf"\\([{re.escape(_ESCAPED)}])")


class WikiText(TextIn):
    """Descriptions and comments in wiki markup."""

    def __init__(self) -> None:
        super().__init__(WIKI)

    def unescape(self, text: str) -> str:
        """Return a line as plain text; see `TicketMarkup.unescape`."""
        return _ESCAPES.sub(r"\1", text).replace(ZERO_WIDTH_SPACE, "")
