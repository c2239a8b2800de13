"""Identities that have parts, and the text that the database and the buttons of a chat hold.

Each class is the only writer and the only reader of its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What an event is about: a task, a source as a whole, a channel, a mute, a report or a rota. Also a storm.

    On a channel that keeps tickets it is an operation.

    Deliveries about one subject keep their order on each channel. A source's name has neither `/` nor `:` in it.
    """

    CHANNEL_PREFIX: ClassVar[str] = "channel:"
    """How the text begins if it is about a channel, for conditions in SQL."""
    STORM_PREFIX: ClassVar[str] = "storm:"
    """How the text begins if it is a storm."""
    OPERATION_PREFIX: ClassVar[str] = "operation:"
    """How the text begins if it is an operation."""
    MUTE_PREFIX: ClassVar[str] = "mute:"
    """How the text begins if it is about a mute."""
    SCHEDULE_PREFIX: ClassVar[str] = "schedule:"
    """How the text begins if it is about a report or a rota."""

    MAINTENANCE: ClassVar[str] = "maintenance:"
    """How the part begins that names a maintenance, in the place of a task."""

    source: str = ""
    job_id: str = ""
    """The task of the source; the empty string for the source as a whole, whose text every task's begins with. A run
    that did not appear has the id of the event about it, and a maintenance its own id after `maintenance:`."""
    channel: str = ""
    storm: str = ""
    """Id of a storm."""
    operation: str = ""
    """Id of an operation; see `tickets.operation_of`."""
    mute: str = ""
    """Id of a mute."""
    schedule: str = ""
    """A report or a rota: `report:weekly`, `rota:dba`."""

    def __str__(self) -> str:
        if self.mute:
            return f"{self.MUTE_PREFIX}{self.mute}"
        if self.operation:
            return f"{self.OPERATION_PREFIX}{self.operation}"
        if self.schedule:
            return f"{self.SCHEDULE_PREFIX}{self.schedule}"
        if self.storm:
            return f"{self.STORM_PREFIX}{self.storm}"
        return f"{self.CHANNEL_PREFIX}{self.channel}" if self.channel else self.of_task(self.source, self.job_id)

    @staticmethod
    def of_task(source: str, job_id: str) -> str:
        """Return the text of a task's subject: planning needs it several times for each event."""
        return f"{source}/{job_id}"

    @classmethod
    def parse(cls, text: str) -> Subject:
        """Read what `str` wrote."""
        if text.startswith(cls.CHANNEL_PREFIX):
            return cls(channel=text.removeprefix(cls.CHANNEL_PREFIX))
        if text.startswith(cls.STORM_PREFIX):
            return cls(storm=text.removeprefix(cls.STORM_PREFIX))
        if text.startswith(cls.OPERATION_PREFIX):
            return cls(operation=text.removeprefix(cls.OPERATION_PREFIX))
        if text.startswith(cls.MUTE_PREFIX):
            return cls(mute=text.removeprefix(cls.MUTE_PREFIX))
        if text.startswith(cls.SCHEDULE_PREFIX):
            return cls(schedule=text.removeprefix(cls.SCHEDULE_PREFIX))
        source, _, job_id = text.partition("/")
        return cls(source=source, job_id=job_id)


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A message in a chat that numbers messages by channel: Slack's channel id and `ts`."""

    channel: str
    ts: str

    def __str__(self) -> str:
        return f"{self.channel}:{self.ts}"

    @classmethod
    def parse(cls, text: str) -> MessageRef:
        """Read what `str` wrote."""
        channel, _, ts = text.partition(":")
        return cls(channel=channel, ts=ts)


@dataclass(frozen=True, slots=True)
class DirectChannel:
    """A channel that is one person, or one channel of a chat that nobody has configured.

    No configured channel has a colon in its name.
    """

    PREFIX: ClassVar[str] = "dm:"
    """How the name begins, for conditions in SQL."""

    id: str
    """The id of the person or of the channel in the chat; that of a channel in Mattermost after a tilde."""

    @property
    def personal(self) -> bool:
        """True for a person. The ids of channels in Slack begin with C or G, of channels in Mattermost with a tilde."""
        return not self.id.startswith(("C", "G", "~"))

    def __str__(self) -> str:
        return f"{self.PREFIX}{self.id}"

    @classmethod
    def parse(cls, name: str) -> DirectChannel | None:
        """Read the name of a channel; return None for a configured one."""
        return cls(id=name.removeprefix(cls.PREFIX)) if name.startswith(cls.PREFIX) else None
