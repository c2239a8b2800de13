"""What the address of the list of tasks asks for. All state of the page is in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from starlette.datastructures import QueryParams

from notifier.core.durations import parse_duration
from notifier.core.outbox import UNSTORABLE
from notifier.core.task_lists import TaskGroup, TaskListFilter, TaskPlace
from notifier.core.wall_time import day_begins
from notifier.web.cursors import WrongCursor, decode_cursor, encode_cursor

WEEK = "7d"
"""How far back the list goes where nothing else is asked for."""
ALL = "all"
"""Stands for no limit of time."""
MAX_PARAMETER = 200
"""Maximum length of a parameter, in characters; the rest is left out."""
_LIST = "tasks"
"""Name of the list, for its cursors."""
_DAY = timedelta(days=1)
_LONGEST = timedelta(days=36_500)

Density = Literal["normal", "compact"]
ListOrder = Literal["newest", "oldest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksQuery:
    """The parameters, as far as they make sense."""

    groups: tuple[TaskGroup, ...] = ()
    name: str = ""
    """Of the operation, as the API has it: the parameter `type`."""
    source: str = ""
    instance: str = ""
    code: str = ""
    text: str = ""
    """The parameter `q`."""
    storm: str = ""
    is_open: bool = False
    since: str = ""
    """As it was written: `7d`, `all`, a date or a time."""
    until: str = ""
    day: str = ""
    """A date of the reader's time zone, the only one: the parameter `on`."""
    order: ListOrder = "newest"
    density: Density = "normal"
    after: TaskPlace | None = None
    begins: datetime | None = None
    """Beginning of the period; None for no limit."""
    ends: datetime | None = None

    @property
    def wanted(self) -> TaskListFilter:
        """What is asked of the store."""
        return TaskListFilter(
            groups=self.groups,
            since=self.begins,
            until=self.ends,
            source=self.source,
            name=self.name,
            instance=self.instance,
            code=self.code,
            text=self.text,
            storm=self.storm,
            unacknowledged=self.is_open,
            oldest_first=self.order == "oldest",
        )

    @property
    def is_narrow(self) -> bool:
        """Whether anything but the period is asked for."""
        named = (self.groups, self.name, self.source, self.instance, self.code, self.text, self.storm)
        return any(named) or self.is_open


def read_query(query: QueryParams, zone: ZoneInfo, now: datetime) -> TasksQuery:
    """Read the parameters of an address. What makes no sense is left out."""
    values = {name: UNSTORABLE.sub("", query.get(name, "")).strip()[:MAX_PARAMETER] for name in _TEXTS}
    named = [one.strip() for value in query.getlist("status") for one in value.split(",")]
    is_open = query.get("open") == "1"
    day = _date_of(values["on"])
    since = values["since"] if _moment(values["since"], zone, now) or values["since"] == ALL else ""
    until = values["until"] if _moment(values["until"], zone, now, ends=True) else ""
    if not since and not (day or is_open or values["storm"] or until):
        since = WEEK
    bounds = _moment(since, zone, now), _moment(until, zone, now, ends=True)
    begins, ends = _day_bounds(day, zone) if day else bounds
    return TasksQuery(
        groups=tuple(group for group in TaskGroup if group.value in named),
        name=values["type"],
        source=values["source"],
        instance=values["instance"],
        code=values["code"],
        text=values["q"],
        storm=values["storm"],
        is_open=is_open,
        since="" if day else since,
        until="" if day else until,
        day=day.isoformat() if day else "",
        order="oldest" if query.get("sort") == "oldest" else "newest",
        density="compact" if query.get("density") == "compact" else "normal",
        after=place_of(query.get("after", "")),
        begins=begins,
        ends=ends,
    )


_TEXTS = ("type", "source", "instance", "code", "q", "storm", "since", "until", "on")


def _moment(text: str, zone: ZoneInfo, now: datetime, *, ends: bool = False) -> datetime | None:
    """Return the time that a parameter names: an age, a date or a time. A date `ends` with its last moment."""
    if (day := _date_of(text)) is not None:
        begins, following = _day_bounds(day, zone)
        return following if ends else begins
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(UTC) if at.tzinfo else None
    except (ValueError, OverflowError):
        pass
    try:
        return now.replace(second=0, microsecond=0) - min(parse_duration(text), _LONGEST)
    except (ValueError, OverflowError):
        return None


def _date_of(text: str) -> date | None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if date(1970, 1, 2) <= found <= date(9000, 1, 1) else None


def _day_bounds(day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    return day_begins(day, zone), day_begins(day + _DAY, zone)


# ---- the place in the list ----


def place_text(place: TaskPlace) -> str:
    """Return the parameter `after` of a place: opaque, and safe in an address."""
    return encode_cursor(_LIST, place)


def place_of(text: str) -> TaskPlace | None:
    """Read what `place_text` wrote; return None for anything else."""
    try:
        return decode_cursor(_LIST, text, TaskPlace)
    except WrongCursor:
        return None
