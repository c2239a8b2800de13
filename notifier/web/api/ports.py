"""What the API needs of the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Protocol

from notifier.core.delivery import Delivery
from notifier.core.failures import OpenFailure
from notifier.core.people import Action
from notifier.core.routing import RoutedEvent
from notifier.lookup import Lookup
from notifier.mutes import MuteRecords
from notifier.people import PeopleReads, PeopleTx
from notifier.ports import DeliveryFilter, EventFilter, EventHorizon, StoredAnswer


class NumberedReads(Lookup, Protocol):
    """Reads for lists in pages."""

    def numbered_events(self, wanted: EventFilter) -> Sequence[tuple[int, RoutedEvent]]:
        """Return events with their numbers, the newest first."""

    def numbered_deliveries(self, wanted: DeliveryFilter) -> Sequence[tuple[int, Delivery]]:
        """Return deliveries with their numbers, the newest first."""

    def numbered_actions(self, limit: int, before: int | None = None) -> Sequence[tuple[int, Action]]:
        """Return what people did with its numbers, the newest first; with `before` those of smaller numbers alone."""


class EventStreamReads(Protocol):
    """Events in the order of their numbers."""

    def horizon(self) -> EventHorizon:
        """Return the largest number that has been given, and the transactions that may still commit a smaller one."""

    def writers(self) -> Collection[str]:
        """Return the transactions that may be writing events."""

    def events(self, after: int, until: int, limit: int) -> Sequence[tuple[int, RoutedEvent]]:
        """Return the events with larger numbers than `after`, up to `until`, in order."""


class StreamReads(Protocol):
    """Reads for the stream of events."""

    @property
    def event_stream(self) -> EventStreamReads:
        """Events in the order of their numbers."""


class FailureFeedReads(Protocol):
    """The failures that changed last."""

    def latest(self, limit: int) -> Sequence[OpenFailure]:
        """Return the failures that changed last, over or not, the latest first."""


class ApiReads(NumberedReads, PeopleReads, StreamReads, Protocol):
    """Reads for answers."""

    @property
    def failure_feed(self) -> FailureFeedReads:
        """The failures that changed last."""

    def event(self, event_id: str) -> RoutedEvent | None:
        """Return one event."""


class IdempotencyRecords(Protocol):
    """Answers that a request with the same key gets again."""

    def lock(self, key: str) -> bool:
        """Return whether no other transaction works on this key; none does from then on until this one ends."""

    def find(self, key: str, now: datetime) -> StoredAnswer | None:
        """Return the answer that was recorded for a key; None without one, or where it is a day old."""

    def save(self, key: str, answer: StoredAnswer, now: datetime) -> None:
        """Record the answer for a locked key."""


class ApiTx(PeopleTx, Protocol):
    """The parts of a transaction that changes use."""

    @property
    def queries(self) -> ApiReads:
        """Reads that see what the transaction has written."""

    @property
    def mutes(self) -> MuteRecords:
        """The recorded mutes."""

    @property
    def idempotency(self) -> IdempotencyRecords:
        """Answers that a request with the same key gets again."""
