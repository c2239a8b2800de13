"""Requests that come from a chat, and replies to them. Neutral: no chat's markup, no chat's names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from notifier.core.durations import parse_duration
from notifier.core.people import Person


class ButtonAction(StrEnum):
    """The action of a button. Posted messages carry these values: they stay."""

    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    MUTE = "mute"
    """A menu, whose options are the MUTE_LENGTHS."""
    UNMUTE = "unmute"
    DETAILS = "details"
    CONSOLE = "console"
    """A link. Slack reports clicks on it too."""
    RUNBOOK = "runbook"
    """Another link."""
    PAGE = "page"
    """A link to one of our own pages."""
    ACKNOWLEDGE_STORM = "ack_storm"
    STORM_TASKS = "storm_tasks"
    PAGE_BEFORE = "page_before"
    PAGE_AFTER = "page_after"
    SHARE = "share"
    """Post a reply for everybody in the channel."""


MUTE_LENGTHS = {written: parse_duration(written) for written in ("30m", "2h", "8h", "1d")}
"""Durations that the menu MUTE offers, as buttons write them."""

LINK_ACTIONS = (ButtonAction.CONSOLE, ButtonAction.RUNBOOK, ButtonAction.PAGE)
"""Actions of buttons that are links: nothing is left to do when somebody clicks."""

_PAGE_ACTIONS = (ButtonAction.PAGE_BEFORE, ButtonAction.PAGE_AFTER)
_WITH_ARGUMENT = (ButtonAction.MUTE, ButtonAction.SHARE, *_PAGE_ACTIONS)


@dataclass(frozen=True, slots=True)
class Button:
    """A button of a message or a reply, as a click on it returns it."""

    action: ButtonAction
    target: str = ""
    """For DETAILS, a task's subject; for pages and SHARE, the words of a command; for the two about a storm, its id;
    else the id of the event shown."""
    argument: str = ""
    """For MUTE, the duration; for pages and SHARE, the offset of the first row."""

    @property
    def value(self) -> str:
        """The text that the chat carries; `parse` reads it."""
        return f"{self.argument}:{self.target}" if self.argument else self.target

    @property
    def turns_page(self) -> bool:
        """Whether the reply takes the place of the message with the button."""
        return self.action in _PAGE_ACTIONS

    @classmethod
    def parse(cls, action: str, value: str) -> Button | None:
        """Return the button with this action and value; None for an action of somebody else."""
        try:
            known = ButtonAction(action)
        except ValueError:
            return None
        if known not in _WITH_ARGUMENT:
            return cls(known, value)
        argument, _, target = value.partition(":")
        return cls(known, target, argument)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandRequest:
    """Somebody typed a command."""

    text: str
    """The text after the command's name."""
    person: Person
    direct: bool = True
    """Whether a direct message can reach the person."""
    channel: str = ""
    """Id of the channel in which it was typed; empty where that is none that can be written to directly."""
    may_post: Callable[[], Awaitable[bool | None]] | None = field(default=None, compare=False)
    """Returns whether messages can be posted to that channel, None where the chat does not say. It can cost a call.

    None where there is no doubt.
    """
    replay_key: str | None = None
    """Unique key for replay protection. None for transports that cannot replay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickRequest:
    """Somebody clicked on a button, or chose an option of a menu."""

    button: Button
    person: Person
    message: str = ""
    """Reference of the message with the button, as channels have it (`MessageRef`). Empty for a private reply."""
    replay_key: str | None = None
    """See `CommandRequest.replay_key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyRow:
    """One task of a list."""

    emoji: str
    """Marks the state of the task."""
    label: str
    """Name of the operation."""
    known: bool
    """False where `label` is the API's own name of an undocumented operation."""
    instance: str | None
    place: str = ""
    """Sentence with the environment and the age."""
    detail: str
    """Sentence with the reason of a failure, or else the times and the progress."""
    subject: str
    """The task's `Subject`, for the button that shows its details."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyButton:
    """A button below a reply. A chat without buttons shows those that are links."""

    button: Button
    label: str
    url: str = ""
    """Where it leads; empty for one that asks us for something."""
    options: Sequence[tuple[Button, str]] = ()
    """Options of a menu, with their labels; empty for a plain button."""
    primary: bool = False
    """True for the one to press where somebody has to act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """A reply before any markup, which each chat's renderer makes harmless. Its sentences may have `marks`."""

    title: str
    summary: str = ""
    """Sentence that follows the title on its line."""
    lines: Sequence[str] = ()
    facts: Sequence[tuple[str, str, bool]] = ()
    """Label, value, and whether the value comes from outside. Other values may have marks."""
    rows: Sequence[ReplyRow] = ()
    quote: str | None = None
    """Reason of a failure, as the API gave it."""
    buttons: Sequence[ReplyButton] = ()
    """What can be done about the task that the reply shows."""
    note: str = ""
    """Time and freshness of the data."""
    command: str = ""
    """Words of the command that gives the same reply, for the buttons that share or page it; empty for none."""
    before: int | None = None
    """Offset of the previous page; None where there is none."""
    after: int | None = None
    """Offset of the next page; None where there is none."""
    ok: bool = True
    """False where the request was refused or failed."""
    shared: bool = False
    """Whether everybody in the channel may see the reply."""
