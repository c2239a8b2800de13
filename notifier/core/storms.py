"""Storms: many failures of one source within a short time, which one message per channel reports.

Pure. A storm begins when one poll gives a channel more failures than its `digest_above`. It grows with each poll that
brings more than half as many, and it ends with the first that does not. `notifier.core.storm_plan` decides that and
plans the deliveries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from notifier.core.causes import error_code
from notifier.core.ids import shorten_ids
from notifier.core.model import Event, id_of
from notifier.core.people import Acknowledgement


@dataclass(frozen=True, slots=True, kw_only=True)
class StormGroup:
    """The failures of a storm that have one reason and one operation."""

    code: str
    """Error code of the reason; the empty string where it has none."""
    operation: str
    """The API's name of the operation."""
    count: int
    reason: str = ""
    """Reason of the first of them, as the API wrote it, at most MAX_STORM_REASON characters."""


MAX_STORM_REASON = 300
"""Maximum length of a stored reason of a group, in characters."""
MAX_GROUPS = 50
"""Maximum number of groups. Failures beyond them are counted in the total alone."""
MAX_STORM_INSTANCE = 100
"""Maximum length of a stored name of an instance, in characters."""
MAX_INSTANCES = 2_000
"""Maximum number of instances. Failures beyond them are counted in the total alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """Many failures of one source, as one channel reports them."""

    id: str
    channel: str
    source: str
    region: str = ""
    environment: str = ""
    started_at: datetime
    """Time of the first failure: its end as the API gives it, else when it was detected."""
    updated_at: datetime
    """Time at which the latest failures were detected."""
    ended_at: datetime | None = None
    """Time of the poll that found it over; None while it lasts."""
    total: int = 0
    latest: int = 0
    """Number of failures that the latest poll added."""
    groups: tuple[StormGroup, ...] = ()
    """The most frequent first."""
    instances: tuple[tuple[str, int], ...] = ()
    """Number of failures by name of the instance, or its id; the most frequent first."""
    opened_by: str = ""
    """Id of the delivery that reports it first. Of a claimed delivery it is its own id, too, where a channel with
    threads has no message about the storm, because the delivery that was to begin with it is dead."""
    acknowledged: Acknowledgement | None = None
    """Who took charge of all its failures; None again when it has grown since."""


def storm_id(channel: str, first_event_id: str) -> str:
    """Return the id of the storm of a channel that begins with this event."""
    return id_of(f"storm\x1f{channel}\x1f{first_event_id}")


def happened(event: Event) -> datetime:
    """Return when a failure happened, or when it was detected where that is not known."""
    return event.occurred_at or event.observed_at


def begin(channel: str, events: Sequence[Event]) -> Storm:
    """Return the storm that begins with these failures of one source; there is at least one. It lacks `opened_by`."""
    first = min(events, key=age_of)
    empty = Storm(
        id=storm_id(channel, first.id),
        channel=channel,
        source=first.source,
        region=first.region,
        environment=first.environment,
        started_at=happened(first),
        updated_at=first.observed_at,
    )
    return grow(empty, events)


def age_of(event: Event) -> tuple[datetime, str]:
    """Return a key that sorts failures by when they happened."""
    return happened(event), event.id


def grow(storm: Storm, events: Sequence[Event]) -> Storm:
    """Return a storm with these failures added, all of which one poll has found. It may have added some before."""
    if not events:
        return storm
    at = max(event.observed_at for event in events)
    before = storm.latest if at == storm.updated_at else 0
    return replace(
        storm,
        updated_at=at,
        total=storm.total + len(events),
        latest=before + len(events),
        groups=_grouped(storm.groups, events),
        instances=_counted(storm.instances, events),
        acknowledged=None,
    )


def end(storm: Storm, at: datetime) -> Storm:
    """Return a storm that a poll at this time found over."""
    return replace(storm, ended_at=at)


# ---- groups ----

_VARIABLE = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?=[a-f]*\d)[0-9a-f]{8,}\w*|\d+")


def _grouped(groups: Iterable[StormGroup], events: Iterable[Event]) -> tuple[StormGroup, ...]:
    found = {_key(group.code, group.operation, group.reason): group for group in groups}
    for group in _groups_of(events):
        key = _key(group.code, group.operation, group.reason)
        known = found.get(key)
        if known is not None:
            found[key] = replace(known, count=known.count + 1)
        elif len(found) < MAX_GROUPS:
            found[key] = group
    return tuple(sorted(found.values(), key=lambda group: -group.count))


def _groups_of(events: Iterable[Event]) -> Iterator[StormGroup]:
    for event in events:
        reason = (event.task and event.task.fail_reason) or ""
        operation = event.task.name if event.task else ""
        yield StormGroup(code=error_code(reason) or "", operation=operation, count=1, reason=reason[:MAX_STORM_REASON])


def _key(code: str, operation: str, reason: str) -> tuple[str, str, str]:
    return (code, operation, "") if code else ("", operation, fold_reason(reason))


def fold_reason(reason: str) -> str:
    """Return a reason without what differs from task to task: numbers, ids, case and spaces."""
    return " ".join(_VARIABLE.sub("#", reason.casefold()).split())


# ---- instances ----

LISTED_NAME, LISTED_ID = 120, 100
"""Maximum length of a name and of an id in a list, in characters: `NAME_LIMIT` and `ID_LIMIT` of the wording."""
_AROUND_NAME, _AROUND_ID = 16, 4
"""Characters that stand around a name and an id: the number of tasks, a bullet, marks and a separator."""


def _counted(instances: Iterable[tuple[str, int]], events: Iterable[Event]) -> tuple[tuple[str, int], ...]:
    counts = dict(instances)
    for event in events:
        name = instance_of(event)[:MAX_STORM_INSTANCE]
        if name and (name in counts or len(counts) < MAX_INSTANCES):
            counts[name] = counts.get(name, 0) + 1
    return _most_frequent(counts)


def _most_frequent(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: -item[1]))


def fitting(events: Sequence[Event], size: int, room: int) -> int:
    """Return how many events, from the first on, fit into a list of so many tasks and characters."""
    short = shorten_ids({event.job_id for event in events})
    names: set[str] = set()
    length = 0
    for count, event in enumerate(events):
        name = instance_of(event)
        length += listed_length(short[event.job_id], "" if name in names else name)
        if count >= size or length > room:
            return count
        names.add(name)
    return len(events)


def listed_length(shown_id: str, name: str) -> int:
    """Return how many characters a task takes in a list by instance; `name` is empty where the list has it already.

    Longer ids and names are cut where they are shown.
    """
    named = min(len(name), LISTED_NAME) + _AROUND_NAME if name else 0
    return min(len(shown_id), LISTED_ID) + _AROUND_ID + named


def instance_of(event: Event) -> str:
    """Return the name of the instance of a failure, or its id; the empty string where neither is known.

    A name of spaces and invisible characters is none.
    """
    names = (event.task.instance_name, event.task.instance_id) if event.task else ()
    return next((name for name in names if name and any(map(_is_visible, name))), "")


def _is_visible(char: str) -> bool:
    return char.isprintable() and not char.isspace()
