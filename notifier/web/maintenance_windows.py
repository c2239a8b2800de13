"""Windows of planned maintenance, as a timeline draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from notifier.core.maintenance_values import MaintenanceRecord, MaintenanceStatus, Phase
from notifier.wording.localizer import Localizer
from notifier.wording.maintenance import maintenance_label, maintenance_status

MAX_WINDOWS = 200
"""Maximum number of windows of a period, the latest ones."""


class PlannedWindow(NamedTuple):
    """When a maintenance is planned, as its mark names it."""

    source: str
    instance_id: str
    instance_name: str
    what: str
    status: str
    start: datetime
    end: datetime
    """Of one without an end, its beginning, or the present while it is under way."""

    @property
    def instance(self) -> str:
        """Name of the instance; its id where the name is not known."""
        return self.instance_name or self.instance_id

    @property
    def key(self) -> str:
        """Return what tells the row of its instance from the others of its source."""
        return self.instance_id or self.instance_name

    def is_of(self, key: str, name: str) -> bool:
        """Return whether it is of the instance of a row: ids are compared where both are known, else names.

        The name of a row is its key where it has no other.
        """
        if self.instance_id and key != name:
            return self.instance_id == key
        return bool(key) and (name == self.instance_name or key == self.key)


def windows_of(
    records: Iterable[MaintenanceRecord], since: datetime, until: datetime, now: datetime, localizer: Localizer
) -> Sequence[PlannedWindow]:
    """Return the windows that overlap a period, the earliest first. Cancelled maintenance has none."""
    found = [
        window
        for one in records
        if one.planned.status is not MaintenanceStatus.CANCELED and (window := _window(one, now, localizer))
        if window.start <= until and window.end >= since
    ]
    return sorted(found, key=lambda window: (window.start, window.source, window.key))[-MAX_WINDOWS:]


def _window(one: MaintenanceRecord, now: datetime, localizer: Localizer) -> PlannedWindow | None:
    planned = one.planned
    start = planned.begins_at or planned.executed_at
    if start is None:
        return None
    end = planned.ends_at or (now if one.phase is Phase.RUNNING else start)
    return PlannedWindow(
        source=one.source,
        instance_id=planned.instance_id or "",
        instance_name=planned.instance_name or "",
        what=maintenance_label(planned, localizer),
        status=maintenance_status(one, localizer),
        start=start,
        end=max(start, end),
    )
