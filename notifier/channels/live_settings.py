"""Settings of chats that keep one message for each task. Light: reading a configuration imports this."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from notifier.channels.settings import ChannelSettings
from notifier.settings.types import Duration


class LiveChatSettings(ChannelSettings):
    """How the messages about one task relate to each other."""

    style: Literal["live", "thread", "post"] = "live"
    """`live`: one message for each task, which changes as the task moves, and every step belongs to it. `thread`: the
    same, but the message does not change. `post`: a message for each event."""
    broadcast: bool = True
    """Whether a failure of a task that has a message is shown as loudly as a first message."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt, with all its requests."""

    @property
    def threads(self) -> bool:
        """Whether later events of a task belong to its first message."""
        return self.style != "post"

    @property
    def live(self) -> bool:
        """Whether the first message of a task changes as the task moves."""
        return self.style == "live"
