"""What pages read of deliveries."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from notifier.core.delivery_lists import ChannelCounts, DeliveryListing, DeliverySlice, ListedState, PlannedPairs
from notifier.web.frame import CountedDeliveries


class DeliveryReads(CountedDeliveries, Protocol):
    """Lists and counts of deliveries."""

    def counts(self, since: datetime, measured: Collection[str]) -> Sequence[ChannelCounts]:
        """Count the deliveries of each channel by state, and measure the times of messages on some channels."""

    def planned_pairs(self, since: datetime) -> PlannedPairs:
        """Compare what was planned since a time with the deliveries that there are."""

    def page(self, wanted: DeliveryListing) -> DeliverySlice:
        """Return a page of a list."""

    def states(self, ids: Collection[str]) -> Mapping[str, ListedState]:
        """Return the states of these deliveries by id; unknown ones are left out."""
