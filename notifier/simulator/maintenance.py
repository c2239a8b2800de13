"""Maintenance that GaussDB announces, from the announcement to its end. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta
from random import Random
from typing import Any

from notifier.simulator.incidents import SWITCHOVER, Happening, Happenings, Incident, Residents, incident
from notifier.simulator.listing import BEIJING, gaussdb_parameters, write_time
from notifier.simulator.options import Options
from notifier.simulator.parameters import MAX_OFFSET
from notifier.simulator.world import RowInstance

ANNOUNCED_SINCE = timedelta(days=10)
"""Age of the oldest announcement at the start."""
MAX_MAINTENANCE_PAGE = 100
DEFAULT_MAINTENANCE_ROWS = 10
MAINTENANCE_STATUSES = ("WAITING", "INQUIRING", "SCHEDULED", "EXECUTING", "COMPLETED", "FAILED", "CANCELED")
TYPES = ("RESTAT_NODE", "RESTART_NODE")
MAINTENANCE_LEVELS = ("CRITICAL", "MAJOR", "MINOR", "INFO")
SORT_FIELDS = (
    "planned_execution_time",
    "created_time",
    "execution_time_window",
    "execute_time",
    "latest_execution_time",
)
"""Those of the SDK and those of the page."""
_WITHOUT_CASE = {"status", "type", "level", "order"}
ORDERS = ("DESC", "ASC")
_COUNTED = {
    "inquiring_count": "INQUIRING",
    "schedule_count": "SCHEDULED",
    "executing_count": "EXECUTING",
    "failed_count": "FAILED",
}
CANCELLED, FAILED = 0.1, 0.1
"""Shares of events that are cancelled and that fail."""
WINDOW_BEGINS = time(22)
"""Local time at which windows begin; they end at midnight."""
Stamp = Callable[[datetime], datetime]
"""Returns the time to show for a virtual time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedMaintenance:
    """The planned course of one event, in virtual time."""

    id: str
    instance: RowInstance
    level: str
    reason: str
    created_at: datetime
    planned_at: datetime
    window: tuple[datetime, datetime]
    latest_at: datetime | None
    """Time by which it happens without an agreement; None where nobody has to agree."""
    steps: tuple[tuple[datetime, str], ...]
    """Each status and the time from which it holds, the first at `created_at`."""
    begins_at: datetime | None = None
    """Time at which it begins; None where it is cancelled before."""
    outage: Incident | None = None
    """The switchover that it causes."""

    def status(self, now: datetime) -> tuple[str, datetime]:
        """Return the status at a moment and since when it holds."""
        at, status = [step for step in self.steps if step[0] <= now][-1]
        return status, at


def authorised(event: AnnouncedMaintenance, now: datetime) -> AnnouncedMaintenance:
    """Return an event to which somebody agrees now; others than those that wait for it stay as they are."""
    if event.status(now)[0] != "INQUIRING":
        return event
    asked, *later = event.steps
    steps = [step for step in later if step[1] != "SCHEDULED"]
    return replace(event, steps=(asked, (now, "SCHEDULED"), *steps))


def cancelled(event: AnnouncedMaintenance, now: datetime) -> AnnouncedMaintenance:
    """Return an event that is cancelled now; one that has begun stays as it is."""
    if event.status(now)[0] not in {"INQUIRING", "SCHEDULED"}:
        return event
    past = tuple(step for step in event.steps if step[0] <= now)
    return replace(event, steps=(*past, (now, "CANCELED")), begins_at=None, outage=None)


class MaintenancePlan(Happenings[AnnouncedMaintenance]):
    """The announcements up to a moment."""

    def __init__(self, options: Options, start: datetime, residents: Residents) -> None:
        self._options = options
        self._rng = options.random("maintenance")
        super().__init__(self._plan(start), residents, lambda event: event.created_at)

    def change(self, event_id: str, change: Callable[[AnnouncedMaintenance], AnnouncedMaintenance]) -> bool:
        """Change a listed event, and return whether there is one."""
        found = [event.id == event_id for event in self._known]
        self._known = [change(event) if event.id == event_id else event for event in self._known]
        return any(found)

    def _plan(self, start: datetime) -> Iterator[Happening[AnnouncedMaintenance]]:
        every = self._options.maintenance_every
        if every is None:
            return
        at = start - ANNOUNCED_SINCE
        opening = [(start - timedelta(hours=1), True), (start + timedelta(minutes=3), False)]
        while True:
            at += every * self._rng.uniform(0.5, 1.5)
            while opening and opening[0][0] <= at:
                began, inquiring = opening.pop(0)
                yield self._event(began, inquiring=inquiring, calm=True)
            yield self._event(at, inquiring=self._rng.random() < 0.4)  # noqa: PLR2004 - some wait for an agreement

    def _event(self, at: datetime, *, inquiring: bool, calm: bool = False) -> Happening[AnnouncedMaintenance]:
        chance = self._rng.getrandbits(32)
        of = plan_maintenance(self._rng, self._options, at, inquiring=inquiring, calm=calm)
        return Happening(at=at, chance=chance, of=of)


def plan_maintenance(
    rng: Random, options: Options, at: datetime, *, inquiring: bool, calm: bool
) -> Callable[[RowInstance], AnnouncedMaintenance]:
    """Return an event for an instance to be named, `calm` for one that is neither cancelled nor fails.

    It draws as many numbers for each course.
    """
    number = rng.getrandbits(128)
    day = (at.astimezone(BEIJING) + timedelta(days=rng.randrange(1, 4))).date()
    opens_at = datetime.combine(day, WINDOW_BEGINS, BEIJING)
    closes_at = datetime.combine(day + timedelta(days=1), time(0), BEIJING)
    planned_at = opens_at + timedelta(minutes=rng.randrange(0, 90))
    agreed_after, takes, fate = rng.uniform(0.1, 0.9), timedelta(minutes=rng.uniform(4, 25)), rng.random()
    level, reason = rng.choices(("MAJOR", "MINOR", "CRITICAL", "INFO"), (5, 3, 1, 1))[0], rng.choice(_REASONS)
    outage = incident(rng, options, planned_at + takes / 2, SWITCHOVER, timedelta(minutes=2))
    dropped = not calm and fate < CANCELLED
    failed = not calm and CANCELLED <= fate < CANCELLED + FAILED
    agreed_at = at + (planned_at - at) * agreed_after
    steps = [(at, "INQUIRING" if inquiring else "SCHEDULED")]
    if dropped:
        steps.append((agreed_at, "CANCELED"))
    else:
        if inquiring:
            steps.append((agreed_at, "SCHEDULED"))
        steps += [(planned_at, "EXECUTING"), (planned_at + takes, "FAILED" if failed else "COMPLETED")]
    return lambda instance: AnnouncedMaintenance(
        id=f"{number:032x}",
        instance=instance,
        level=level,
        reason=reason,
        created_at=at,
        planned_at=planned_at,
        window=(opens_at, closes_at),
        latest_at=closes_at if inquiring else None,
        steps=tuple(steps),
        begins_at=None if dropped else planned_at,
        outage=None if dropped else outage(instance),
    )


_REASONS = ("ECS_RESTART", "HOST_MAINTENANCE", "OS_UPGRADE")


# ---- rows ----


def maintenance_row(event: AnnouncedMaintenance, now: datetime, options: Options, stamp: Stamp) -> dict[str, Any]:
    """Return an event as GaussDB shows it at a virtual moment."""
    status, updated_at = event.status(now)
    begun_at = event.begins_at if event.begins_at and event.begins_at <= now else None
    fields: dict[str, object] = {
        "id": event.id,
        "instance_id": event.instance.id,
        "instance_name": event.instance.name,
        "db_type": "GaussDB",
        "created_time": write_time(stamp(event.created_at)),
        "update_time": write_time(stamp(updated_at)),
        "type": options.maintenance_type,
        "impact": "Instance Intermittent Disconnection",
        "status": _cased(status, options),
        "reason": event.reason,
        "level": _cased(event.level, options),
        "execution_time_window": {
            "planned_execution_time": write_time(stamp(event.planned_at)),
            "start_time": write_time(stamp(event.window[0])),
            "end_time": write_window_end(stamp(event.window[1]), options),
        },
        "execute_time": write_time(stamp(begun_at)) if begun_at else _MISSING[options.missing_time],
        "latest_execution_time": (
            write_time(stamp(event.latest_at)) if event.latest_at else _MISSING[options.missing_time]
        ),
    }
    if options.maintenance_instance == "absent":
        del fields["instance_id"]
    return {name: value for name, value in fields.items() if value is not _ABSENT}


_ABSENT: object = object()
_MISSING: Mapping[str, object] = {"empty": "", "null": None, "absent": _ABSENT}


def _cased(text: str, options: Options) -> str:
    return text.lower() if options.maintenance_case == "lower" else text


def write_window_end(end: datetime, options: Options) -> str:
    """Return the end of a window; midnight is `T24:00:00` of the day that ends, or `T00:00:00` of the next."""
    text = write_time(end)
    if options.midnight == "00" or "T00:00:00" not in text:
        return text
    return write_time(end - timedelta(days=1)).replace("T00:00:00", "T24:00:00")


# ---- the list ----


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceQuery:
    """A checked request for one page."""

    exact: Mapping[str, str]
    sort_field: str
    descending: bool
    offset: int
    limit: int


def parse_maintenance_query(query: Mapping[str, str]) -> MaintenanceQuery:
    """Check the parameters of a request. Raises SimulatedError 400. Case does not matter."""
    upper = {name: value.upper() if name in _WITHOUT_CASE else value for name, value in query.items()}
    given = gaussdb_parameters(upper)
    for name, allowed in (("status", MAINTENANCE_STATUSES), ("type", TYPES), ("level", MAINTENANCE_LEVELS)):
        given.choice(name, allowed)
    return MaintenanceQuery(
        exact={name: upper[name] for name in ("id", "instance_id", "status", "type", "level") if upper.get(name)},
        sort_field=given.choice("sort_field", SORT_FIELDS) or "created_time",
        descending=given.choice("order", ORDERS) != "ASC",
        offset=given.integer("offset", 0, MAX_OFFSET, 0),
        limit=given.integer("limit", 1, MAX_MAINTENANCE_PAGE, DEFAULT_MAINTENANCE_ROWS),
    )


def maintenance_page(rows: Iterable[Mapping[str, Any]], query: MaintenanceQuery) -> dict[str, Any]:
    """Return one page of the events, and how many there are in each status that waits for something."""
    found = [row for row in rows if all(_same(row.get(name), value) for name, value in query.exact.items())]
    found.sort(key=lambda row: (_sort_key(row, query.sort_field), str(row.get("id"))), reverse=query.descending)
    counts = {name: sum(str(row.get("status")).upper() == status for row in found) for name, status in _COUNTED.items()}
    page = found[query.offset : query.offset + query.limit]
    return {"total_count": len(found), **counts, "events": [dict(row) for row in page]}


def _same(value: object, wanted: str) -> bool:
    return str(value).upper() == wanted.upper()


def _sort_key(row: Mapping[str, Any], field: str) -> str:
    if field in {"planned_execution_time", "execution_time_window"}:
        return str((row.get("execution_time_window") or {}).get("planned_execution_time", ""))
    return str(row.get(field) or "")
