"""The Markdown of GitHub and GitLab, and their references, for tickets. Pure.

Both link what looks like a person, an issue, a label or an address, and tell people that they are mentioned; GitLab
also obeys lines that begin with a slash. None of that happens within code. A comment of HTML is not shown: it carries
the keys by which tickets and comments are found again.
"""

import re
from collections.abc import Iterable, Sequence

from notifier.channels.markup import ADDRESS, EMOJI, ZERO_WIDTH_SPACE, Markdown
from notifier.channels.ticket_text import Block, Paragraph, Quote, TextIn

_REFERENCE = r"""[@#!~%&$^](?=[\w"'])|\bGH(?=-\d)"""
"""What begins the name of a person, an issue, a merge request, a label, a milestone, an epic, a snippet or an alert."""
_PUNCTUATION = r"\`*_{}[]()<>#+!|~&-"

GFM = Markdown(
    active=re.compile(rf"{_REFERENCE}|{EMOJI}|{ADDRESS}"),
    replaced={char: f"\\{char}" for char in _PUNCTUATION},
    strong=("**", "**"),
)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_COMMAND = re.compile(r"^/", re.MULTILINE)
_HIDDEN = re.compile(r"<!-- (gt[bc]-[a-z0-9]+) -->")


class GfmText(TextIn):
    """The text of a ticket in this Markdown."""

    def __init__(self) -> None:
        super().__init__(GFM)

    def escape(self, text: str) -> str:
        """Return the text with its markup escaped. At the beginning of a line it is no command."""
        return _COMMAND.sub(r"\/", super().escape(text))

    def unescape(self, text: str) -> str:
        """Return the text without the backslashes and invisible spaces of `escape`."""
        return _ESCAPED.sub(r"\1", text.replace(ZERO_WIDTH_SPACE, ""))

    def _block(self, block: Block) -> str:
        if isinstance(block, Quote):
            # A code block is enough. The space protects where something before it has broken the block.
            return super()._block(Quote(_COMMAND.sub(" /", block.text)))
        written = super()._block(block)
        return _COMMAND.sub(r"\/", written) if isinstance(block, Paragraph) else written


def with_hidden(key: str, *paragraphs: str) -> str:
    """Return the paragraphs with a key behind them that is not shown."""
    return "\n\n".join((*filter(None, paragraphs), f"<!-- {key} -->"))


def hidden_key(text: str | None) -> str:
    """Return the last hidden key of a text: those before it may come from outside. Empty where there is none."""
    found = _HIDDEN.findall(text or "")
    return found[-1] if found else ""


def parts_of(ref: str) -> tuple[str, str]:
    """Return the project and the number of a reference such as `owner/name#12`; no project where it has no `#`."""
    project, _, number = ref.rpartition("#")
    return project, number


def inert_title(title: str) -> str:
    """Return a title in which nothing mentions somebody or refers to something."""
    return re.sub(_REFERENCE, rf"\g<0>{ZERO_WIDTH_SPACE}", title)


def left_out(wanted: Iterable[str], found: Iterable[str]) -> Sequence[str]:
    """Return the labels or names that a service left out, whatever the case of letters."""
    there = {name.casefold() for name in found}
    return [name for name in wanted if name.casefold() not in there]
