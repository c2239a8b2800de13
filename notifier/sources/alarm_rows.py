"""Alarms of GaussDB: the events of Cloud Eye and the alarm history, from bytes to tasks, whatever the bytes are.

Pages are keyed like those of the task list, so that the same walker reads them and knows when they are whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from notifier.core.alarms import FAULT_OF_RECOVERY, AlarmFacts, AlarmFeed, AlarmLevel
from notifier.core.model import Task, TaskStatus, id_of
from notifier.core.retry import CLOCK_TOLERANCE
from notifier.http.huawei_signature import canonical_query
from notifier.sources.payloads import (
    RowBytes,
    RowKeys,
    TaskPage,
    decode_json,
    line_of,
    mapping_of,
    page_of_rows,
    parse_time,
    rows_of,
    sanitize_text,
)

GAUSSDB_EVENTS = "SYS.GAUSSDBV5"
"""GaussDB as the source of events."""
SYSTEM_EVENTS = "EVENT.SYS"
"""The type of events, and of alarm rules about events, that the cloud reports by itself."""
EVENT_PAGE_SIZE = 100
HISTORY_PAGE_SIZE = 50
HISTORY_LEVELS: Mapping[int, AlarmLevel] = {
    1: AlarmLevel.CRITICAL,
    2: AlarmLevel.MAJOR,
    3: AlarmLevel.MINOR,
    4: AlarmLevel.INFO,
}
"""Levels as the alarm history numbers them. Without a level it lists the first alone."""

MAX_CONTENT = 2_000
"""Maximum length of what an alarm says, in characters."""
MAX_CONTENT_LINES = 20
MAX_CONTENT_DEPTH = 3

NO_KEYS = RowKeys({}, frozenset())
"""Keys of a page without rows."""
_INSTANCE, _NODE = "gaussdbv5_instance_id", "gaussdbv5_node_id"
_LEVELS = {level.value: level for level in AlarmLevel}
_SAYING = ("message", "msg", "reason", "description", "content", "detail", "error_msg")
"""Names in a content whose values are sentences. They come first, without their names."""
_SILENT = frozenset({"enterpriseprojectid", "groupid"})
"""Names in a content that say nothing about an alarm."""
_EVENT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
_CHINA = timedelta(hours=8)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# ---- queries ----


def names_query(start: datetime, end: datetime, offset: int) -> str:
    """Return the query of a page of the names of events in a period."""
    return _query({"event_type": SYSTEM_EVENTS, **_period(start, end), "start": offset, "limit": EVENT_PAGE_SIZE})


def events_query(start: datetime, end: datetime, offset: int) -> str:
    """Return the query of a page of the events of one name."""
    paging = {"start": offset, "limit": EVENT_PAGE_SIZE}
    return _query({"event_type": SYSTEM_EVENTS, "event_source": GAUSSDB_EVENTS, **_period(start, end), **paging})


def history_query(start: datetime, level: int, offset: int) -> str:
    """Return the query of a page of the alarms of one level since a time."""
    since = f"{start.astimezone(UTC) + _CHINA:%Y-%m-%dT%H:%M:%S}+0800"
    return _query({"start_time": since, "level": level, "offset": offset, "limit": HISTORY_PAGE_SIZE})


def _period(start: datetime, end: datetime) -> Mapping[str, int]:
    return {name: (at - _EPOCH) // timedelta(milliseconds=1) for name, at in (("from", start), ("to", end))}


def _query(given: Mapping[str, str | int]) -> str:
    return canonical_query((name, str(value)) for name, value in sorted(given.items()))


# ---- pages ----


def decode_names(body: bytes) -> TaskPage:
    """Decode a page of the names of events. Raises ValueError with the reason for anything else; so do the next two."""
    return _keyed(body, "events", "meta_data", lambda row: line_of(row.get("event_name")))


def decode_events(body: bytes) -> TaskPage:
    """Decode a page of the events of one name."""
    return _keyed(body, "event_info", "meta_data", lambda row: line_of(row.get("event_id")))


def decode_history(body: bytes) -> TaskPage:
    """Decode a page of the alarm history."""
    return _keyed(body, "history_records", "total_count", _history_id)


def _keyed(body: bytes, name: str, count: str, key_of: Callable[[Mapping[str, object]], str | None]) -> TaskPage:
    rows, page = rows_of(body, name, count)
    raws = [json.dumps(row, sort_keys=True).encode() for row in rows]
    counted = page.get(count)
    total = counted.get("total") if isinstance(counted, dict) else counted
    return page_of_rows(raws, [key_of(mapping_of(row)) for row in rows], total)


def _history_id(row: Mapping[str, object]) -> str | None:
    """Return the id of an alarm: it is of one rule, and began on an instance at one time. None without a rule."""
    rule, began = line_of(row.get("alarm_id")), line_of(row.get("begin_time"))
    if not rule or not began:
        return None
    return id_of("\x1f".join(("alarm", rule, line_of(row.get("instance_id")) or "", began)))


# ---- rows ----


@dataclass(frozen=True, slots=True, kw_only=True)
class EventName:
    """A row of the list of names: one name with its latest event."""

    name: str
    """One that can be part of an address."""
    source: str
    """Service that its latest event is from."""
    latest: datetime | None
    count: int


def parse_name(row: RowBytes) -> EventName | None:
    """Decode a row of the list of names; None for a name that no address can have."""
    values = _values(row)
    name, count = line_of(values.get("event_name")) or "", line_of(values.get("event_count")) or ""
    if not _EVENT_NAME.fullmatch(name):
        return None
    return EventName(
        name=name,
        source=line_of(values.get("latest_event_source")) or "",
        latest=parse_time(values.get("latest_occur_time")),
        count=int(count) if count.isascii() and count.isdigit() else 0,
    )


def parse_event(source: str, job_id: str, row: RowBytes) -> Task | None:
    """Decode an event; None for one of another service. What cannot be read of it is left out."""
    values = _values(row)
    detail = mapping_of(values.get("detail"))
    if (line_of(values.get("event_source")) or GAUSSDB_EVENTS) != GAUSSDB_EVENTS:
        return None
    named = line_of(values.get("event_name")) or ""
    fault, at = FAULT_OF_RECOVERY.get(named), parse_time(values.get("time"))
    places = dict(_dimensions(detail.get("dimensions")))
    level = line_of(detail.get("event_level")) or ""
    return Task(
        source=source,
        job_id=job_id,
        name=fault or named,
        status=TaskStatus.CLEARED if fault else TaskStatus.RAISED,
        raw_status=line_of(detail.get("event_state")) or "event",
        instance_id=places.get(_INSTANCE) or line_of(detail.get("resource_id")),
        instance_name=line_of(detail.get("resource_name")),
        created_at=None if fault else at,
        ended_at=at if fault else None,
        fail_reason=readable_content(detail.get("content")),
        alarm=AlarmFacts(feed=AlarmFeed.CLOUD_EYE, level=_LEVELS.get(level.lower()), node_id=places.get(_NODE)),
    )


def _dimensions(value: object) -> Iterator[tuple[str, str]]:
    for one in value[:MAX_CONTENT_LINES] if isinstance(value, list) else ():
        name, place = (line_of(mapping_of(one).get(key)) for key in ("name", "value"))
        if name and place:
            yield name, place


def parse_alarm(source: str, job_id: str, row: RowBytes, now: datetime) -> Task:
    """Decode an alarm of the history.

    `update_time` is documented as the time of the rule's last change, so it counts as the end only where it may be one.
    """
    values = _values(row)
    status, level = (line_of(values.get(name)) or "" for name in ("status", "level"))
    over = status.lower() in ("ok", "invalid")
    began, changed = (parse_time(values.get(name)) for name in ("begin_time", "update_time"))
    ended = changed if over and changed and (began or changed) <= changed <= now + CLOCK_TOLERANCE else None
    return Task(
        source=source,
        job_id=job_id,
        name=line_of(values.get("name")) or "",
        status=TaskStatus.CLEARED if over else TaskStatus.RAISED,
        raw_status=status or "alarm",
        instance_id=line_of(values.get("instance_id")),
        instance_name=line_of(values.get("instance_name")),
        created_at=began,
        ended_at=ended,
        alarm=AlarmFacts(
            feed=AlarmFeed.ALARM_HISTORY,
            level=HISTORY_LEVELS.get(int(level)) if level.isascii() and level.isdigit() else _LEVELS.get(level.lower()),
        ),
    )


def alarm_type(row: RowBytes) -> str:
    """Return what the rule of an alarm of the history is about: `EVENT.SYS` for events."""
    return line_of(_values(row).get("alarm_type")) or ""


def _values(row: RowBytes) -> Mapping[str, object]:
    return mapping_of(decode_json(bytes(row)))


# ---- what an alarm says ----


def readable_content(value: object) -> str | None:
    """Return what an alarm says, as plain text; None for nothing. Of JSON each value is a line with its name."""
    text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else ""
    document = _json_in(text)
    if document is not None:
        found = sorted(_lines(document, "", MAX_CONTENT_DEPTH), key=lambda line: not line[0])
        text = "\n".join(line for _, line in found[:MAX_CONTENT_LINES])
    return sanitize_text(text, MAX_CONTENT).strip() or None


def _json_in(text: str) -> object | None:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return decode_json(text.encode(errors="replace"))
    except ValueError:
        return None


def _lines(value: object, name: str, depth: int) -> Iterator[tuple[bool, str]]:
    """Yield lines, and for each whether it is a sentence."""
    inner: Sequence[tuple[str, object]] = ()
    if isinstance(value, dict):
        inner = [(str(key), one) for key, one in value.items()]
    elif isinstance(value, list):
        inner = [(name, one) for one in value]
    else:
        plain, key = line_of(value), name.lower().replace("_", "").replace("-", "")
        if plain and key not in _SILENT:
            says = not name or name.lower() in _SAYING
            yield says, plain if says else f"{name}: {plain}"
    for key, one in inner[:MAX_CONTENT_LINES] if depth else ():
        yield from _lines(one, key, depth - 1)
