"""The deliveries that this process has planned and nobody has claimed yet, with their events."""

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from threading import Lock

from notifier.core.delivery import Delivery

MAX_PLANNED = 5_000
"""Maximum number of deliveries that are kept. Each takes about 1 KB with its event."""


class UnclaimedDeliveries:
    """Deliveries by id, so that the first claim of one need not read and decode the event that was just written."""

    def __init__(self, size: int = MAX_PLANNED) -> None:
        self._size = size
        self._kept: dict[str, Delivery] = {}
        self._lock = Lock()
        self.wanted = False
        """Whether this process claims deliveries. One that only polls would keep them for nothing."""

    def keep(self, planned: Collection[Delivery]) -> None:
        """Keep deliveries whose plan has been committed. The oldest give way where there are too many."""
        if not self.wanted:
            return
        with self._lock:
            self._kept |= {one.id: one for one in planned}
            for id_ in list(islice(self._kept, max(len(self._kept) - self._size, 0))):
                del self._kept[id_]

    def take(self, delivery_ids: Iterable[str]) -> Mapping[str, Delivery]:
        """Return those deliveries that are kept, by id, and keep them no longer."""
        with self._lock:
            found = [self._kept.pop(id_, None) for id_ in delivery_ids]
        return {one.id: one for one in found if one is not None}
