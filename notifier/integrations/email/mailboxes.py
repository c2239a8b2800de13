"""Mail addresses with names: parsed from the configuration, formatted for a header.

The standard library is not used: its folding differs between the versions of Python and breaks names that are long or
hold a comma (RFC 5322, 3.4; RFC 2047, 5).
"""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

HEADER_LINE_LIMIT = 78
"""Maximum length of a header line, in characters, where the text can be folded."""
_WORDS = 60
"""Maximum length of the part of a name that stays on one line, in characters."""
_NAME_BYTES = 480
"""Maximum size of a name, in bytes: encoded, it fits into the 998 characters of a line.

RFC 2047 limits an encoded word to 45 bytes and splits a longer name. But Python before 3.13.2 reads a space between two
words that is not there, and no server is known to refuse a long word.
"""

_ATEXT = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_MAILBOX = re.compile(
    rf"(?=[^@]{{1,64}}@)({_ATEXT}+(\.{_ATEXT}+)*|\"[\x21\x23-\x3b\x3d\x3f\x41-\x5b\x5d-\x7e]+\")"
    r"@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/?^_`{|}~-]+)*")
_PLAIN = re.compile(r"[\x20\x21\x23-\x3c\x3e\x40-\x5b\x5d-\x7e]+")
"""Visible characters that end no quotes and begin no encoded word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """A mail address and the name to show with it."""

    address: str
    name: str = ""

    @property
    def domain(self) -> str:
        """What follows the @."""
        return self.address.rpartition("@")[2]


def parse_mailbox(text: str) -> Mailbox:
    """Parse `Name <user@host>` or `user@host`. Raises ValueError with a correct example."""
    name, bracket, rest = text.rpartition("<")
    address = rest.removesuffix(">") if bracket else text.strip()
    if _CONTROLS.search(text) or not _MAILBOX.fullmatch(address) or (bracket and not rest.endswith(">")):
        raise ValueError(f"{text!r} is not a mail address; write user@example.com or Name <user@example.com>")
    name = _unquoted(" ".join(name.split()))
    if len(name.encode()) > _NAME_BYTES:
        raise ValueError(f"the name before <{address}> is longer than {_NAME_BYTES} bytes; shorten it")
    return Mailbox(address=address, name=name)


def as_mailbox(text: str) -> Mailbox | None:
    """Return the mailbox that a text names; None where it is none."""
    try:
        return parse_mailbox(text)
    except ValueError:
        return None


def _unquoted(name: str) -> str:
    """Return a name without the quotes around it and without the backslashes inside them."""
    quoted = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', name)
    return " ".join(re.sub(r"\\(.)", r"\1", quoted[1]).split()) if quoted else name


def format_header(name: str, mailboxes: Sequence[Mailbox]) -> str:
    """Return the value of the header `name` for these mailboxes: folded, in ASCII."""
    lines, room = [""], HEADER_LINE_LIMIT - len(name) - len(": ")
    for position, mailbox in enumerate(mailboxes):
        end = "," if position < len(mailboxes) - 1 else ""
        for piece in _pieces(mailbox, end):
            started = f"{lines[-1]} " if lines[-1] else ""
            if lines[-1] and len(started) + len(piece) > room:
                lines.append(piece)
                room = HEADER_LINE_LIMIT - len(" ")
            else:
                lines[-1] = started + piece
    return "\r\n ".join(lines)


def _pieces(mailbox: Mailbox, end: str) -> Iterator[str]:
    """Yield the parts of a mailbox that must not be folded."""
    if not mailbox.name:
        yield mailbox.address + end
        return
    yield from _phrase(mailbox.name)
    yield f"<{mailbox.address}>{end}"


def _phrase(name: str) -> Iterator[str]:
    """Yield the words of a plain name, quoted where needed; else one encoded word."""
    if _PLAIN.fullmatch(name):
        lines = wrap(name, _WORDS, break_long_words=False, break_on_hyphens=False)
        yield from (line if _ATOMS.fullmatch(line) else f'"{line}"' for line in lines)
    else:
        yield f"=?utf-8?b?{b64encode(name.encode()).decode()}?="
