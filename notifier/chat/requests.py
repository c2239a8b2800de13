"""What people ask for in a chat, whichever door it came through, and what they are answered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from notifier.core.people import Person
from notifier.wording.states import EventState

_BEGIN, _END = "\ue000", "\ue001"


def quoted(text: str) -> str:
    """Mark words within a sentence that come from outside, or are to be typed as they are: they are shown as code."""
    return f"{_BEGIN}{text.replace(_BEGIN, '').replace(_END, '')}{_END}" if text else ""


def split_quoted(sentence: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a sentence, each with whether it is quoted."""
    for index, part in enumerate(re.split(f"{_BEGIN}([^{_END}]*){_END}", sentence)):
        if part:
            yield part, index % 2 == 1


def without_marks(sentence: str) -> str:
    """Return a sentence without the marks."""
    return "".join(part for part, _ in split_quoted(sentence))


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """Somebody typed a command."""

    text: str
    """What follows the command's name."""
    person: Person
    direct: bool = True
    """Whether a direct message can reach them."""
    replay_key: str | None = None
    """What makes the request this one and no other, where it could be replayed; None where it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickRequest:
    """Somebody clicked on a button or chose from a menu of `notifier.chat.buttons`."""

    action: str
    value: str
    """What the button, or the chosen option, carries."""
    person: Person
    message: str = ""
    """The reference of the message that it is on, as channels give it: a Slack channel and ts."""
    replay_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One task of a list."""

    state: EventState
    """What marks it."""
    label: str
    """Which operation."""
    known: bool
    """False where `label` is the API's own name of the operation."""
    instance: str | None
    said: str
    """When, how far, and why: in words, partly from outside."""
    subject: str
    """`source/job_id`: what a button for details carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """A reply, before any markup. Whatever of it may come from outside is neutralised by who shows it.

    Its sentences (title, lines, note, and what rows say) may have parts that are `quoted`.
    """

    title: str
    lines: Sequence[str] = ()
    """Sentences, in their order."""
    facts: Sequence[tuple[str, str, bool]] = ()
    """Label, value, and whether the value is from outside."""
    rows: Sequence[Row] = ()
    quote: str | None = None
    """Text from outside, as it came: a reason."""
    note: str = ""
    """What was looked at and when."""
    command: str = ""
    """The words that give the same reply again: for the buttons that share or page it; empty for none."""
    before: int | None = None
    """The offset of the page before, and of the page after; None where there is none."""
    after: int | None = None
    good: bool = True
    """False where what was asked for was not done."""
    shared: bool = False
    """True when all in the channel are to see it."""
