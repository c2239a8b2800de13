"""Interfaces between the chats and the responder that answers all of them."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from notifier.chat.requests import ChatReply, ClickRequest, CommandRequest
from notifier.core.model import SourceState
from notifier.core.people import Acknowledgement
from notifier.core.routing import RoutedEvent
from notifier.core.storms import Storm
from notifier.lookup import CalendarReads
from notifier.mutes import MuteRecords
from notifier.people import PeopleReads, PeopleRecords, PeopleTx
from notifier.ports import TaskFilter
from notifier.wording.phrases import Language


class ChatReads(PeopleReads, CalendarReads, Protocol):
    """Reads for replies."""

    def source_states(self) -> Sequence[SourceState]:
        """Return every source ever polled, by name, without the counts of its tasks, which take longer."""

    def count_tasks(self, wanted: TaskFilter) -> int:
        """Count the matching tasks, whatever the limit and the offset."""

    def count_by_source(self, wanted: TaskFilter) -> Mapping[str, int]:
        """Count the matching tasks by source, whatever the limit and the offset."""

    def fail_reasons(self, wanted: TaskFilter) -> Sequence[str]:
        """Return the reasons of matching tasks, as many as the limit, the most recently changed first."""

    def event(self, event_id: str) -> RoutedEvent | None:
        """Return one event."""

    def storm(self, storm_id: str) -> Storm | None:
        """Return one storm."""

    def acknowledgement(self, event_id: str) -> Acknowledgement | None:
        """Return who acknowledged an event."""

    def is_live_message(self, ref: str, event_id: str, channels: Collection[str]) -> bool:
        """Return whether a message with a button about this event shows acknowledgements and mutes by itself.

        `channels` are those whose messages change.
        """


class ChatRecords(PeopleRecords, Protocol):
    """Records of what people do, and of the requests for it."""

    def record_request(self, key: str, now: datetime) -> bool:
        """Record a request that changes something; return False where it was recorded in the last ten minutes."""


class ChatTx(PeopleTx, Protocol):
    """The parts of a transaction that requests from a chat use."""

    @property
    def queries(self) -> ChatReads:
        """The reads that replies are made of."""

    @property
    def people(self) -> ChatRecords:
        """What people do, and the requests that did it."""

    @property
    def mutes(self) -> MuteRecords:
        """The recorded mutes."""


PermissionCheck = Callable[[], Awaitable[bool]]
"""Return whether the requester may make changes, or raise PermissionDenied. Called lazily: it can cost an API call."""


class ActionDenied(Exception):
    """The requester may not make changes. The message is the key of the phrase that says why."""


class BadRequest(Exception):
    """A request that no chat sends: a field is missing or malformed. The message names the field."""


class Responder(Protocol):
    """Answers requests from the store, whichever chat and transport they came through."""

    async def answer(
        self, request: CommandRequest | ClickRequest, language: Language, may_change: PermissionCheck
    ) -> ChatReply | None:
        """Do what was asked for and return the reply; None where the message itself shows the result.

        Mistakes in commands and a store that fails are replies, never exceptions.
        """
