"""What pages read of mutes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from notifier.core.mutes import Mute
from notifier.core.routing import RoutedEvent


class MuteReads(Protocol):
    """Reads of mutes that are over, and of what mutes have held back."""

    def over(self, since: datetime, before: datetime, after: str, limit: int) -> Sequence[Mute]:
        """Return the mutes that ended since a time, the latest first, and of those those after another one."""

    def events_of_instance(self, instance: str, since: datetime, limit: int) -> Sequence[RoutedEvent]:
        """Return the latest events since a time about tasks of an instance, by its name or its id."""

    def held_messages(self, ids: Collection[str]) -> Mapping[str, int]:
        """Count the messages that mutes have held back, in all their windows, by id of the mute and with a limit."""
