"""Cloud Eye: events of failed tasks, of faults and of other services. Pure."""

import json
import string
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Self

from notifier.simulator import catalogue
from notifier.simulator.incidents import Incident
from notifier.simulator.options import Options
from notifier.simulator.parameters import MAX_OFFSET, QueryParameters
from notifier.simulator.replies import SimulatedError
from notifier.simulator.stories import TaskStory
from notifier.simulator.traces import to_ms
from notifier.simulator.world import LISTED_FOR, RowInstance

GAUSSDB_NAMESPACE = "SYS.GAUSSDBV5"
MAX_CLOUD_EYE_ROWS = 100
EARLIEST_MS, LATEST_MS = 1_111_111_111_111, 9_999_999_999_999
"""Bounds of `from` and `to`, in milliseconds."""
EVENT_TYPES = ("EVENT.SYS", "EVENT.CUSTOM")
SUB_EVENT_TYPES = ("SUB_EVENT.OPS", "SUB_EVENT.PLAN", "SUB_EVENT.CUSTOM")
EVENT_LEVELS = ("Critical", "Major", "Minor", "Info")
EVENT_STATES = ("normal", "warning", "incident")

FAILURES: Mapping[str, str] = {
    catalogue.CREATE.name: "GaussDBV5CreateInstanceFailed",
    catalogue.ADD_NODES.name: "GaussDBV5ExpandClusterFailed",
    catalogue.ADD_SHARDS.name: "GaussDBV5ExpandClusterFailed",
    catalogue.ENLARGE.name: "GaussDBV5EnlargeVolumeFailed",
    catalogue.BACKUP_NOW.name: "GaussDBV5FullBackupFailed",
    catalogue.CLONE.name: "GaussDBV5RestoreFromBcakupFailed",
    catalogue.RESTORE_HERE.name: "GaussDBV5RestoreFromBcakupFailed",
    catalogue.RESTORE_THERE.name: "GaussDBV5RestoreFromBcakupFailed",
    "HotPatchGaussDBV5Instance": "GaussDBV5UpgradeHotfixFailed",
}
"""Event of a failed task, by the task's name. "Bcakup" is how the service writes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEyeEvent:
    """One event. It never changes."""

    event_id: str
    name: str
    source: str
    time: datetime
    listed_at: datetime
    """Time from which the list shows it."""
    detail: Mapping[str, Any]

    def field(self, name: str) -> str:
        """Return a text of its detail."""
        return str(self.detail.get(name) or "")

    def at(self, time: datetime, listed_at: datetime) -> Self:
        """Return it with other times."""
        return replace(self, time=time, listed_at=listed_at)

    def wire(self) -> dict[str, Any]:
        """Return it as the service shows it."""
        return {
            "event_id": self.event_id,
            "event_name": self.name,
            "event_source": self.source,
            "time": to_ms(self.time),
            "detail": dict(self.detail),
        }


def raw_event(wire: Mapping[str, Any], now: datetime) -> CloudEyeEvent:
    """Build an event in the form of the service's detail. Without a time it is of this moment."""
    time = datetime.fromtimestamp(wire["time"] / 1000, now.tzinfo) if "time" in wire else now
    detail = {"event_type": "EVENT.SYS", "sub_event_type": "SUB_EVENT.OPS", **wire.get("detail", {})}
    unique = uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(wire, sort_keys=True)).hex
    return CloudEyeEvent(
        event_id=str(wire.get("event_id") or f"ev{to_ms(time)}{unique[:11]}"),
        name=str(wire["event_name"]),
        source=str(wire.get("event_source", GAUSSDB_NAMESPACE)),
        time=time,
        listed_at=time,
        detail=detail,
    )


def _event_id(rng: Random, listed_at: datetime) -> str:
    return f"ev{to_ms(listed_at)}{''.join(rng.choices(string.ascii_letters + string.digits, k=11))}"


def _detail(instance: RowInstance, node_id: str | None, content: str, *, recovered: bool, user: str) -> dict[str, Any]:
    dimensions = [{"name": "gaussdbv5_instance_id", "value": instance.id}]
    if node_id:
        dimensions.append({"name": "gaussdbv5_node_id", "value": node_id})
    return {
        "content": content,
        "group_id": "",
        "resource_id": instance.id,
        "resource_name": instance.name,
        "event_state": "normal" if recovered else "warning",
        "event_level": "Major",
        "event_user": user,
        "event_type": "EVENT.SYS",
        "sub_event_type": "SUB_EVENT.OPS",
        "dimensions": dimensions,
    }


class EventWriter:
    """Derives the events of faults and failed tasks. The same seed gives each the same events."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._written: dict[TaskStory, tuple[CloudEyeEvent, ...]] = {}

    def of_tasks(self, stories: Iterable[TaskStory], pace: float) -> Iterator[CloudEyeEvent]:
        """Return the events of failed tasks, in the time of their rows. Each is derived once."""
        failed = [story for story in stories if any(end.failed for end in story.ends)]
        self._written = {story: self._written.get(story) or tuple(self.of_task(story, pace)) for story in failed}
        for events in self._written.values():
            yield from events

    def of_incident(self, incident: Incident) -> Iterator[CloudEyeEvent]:
        """Return the event of a fault and that of its end, in virtual time."""
        rng = self._options.random(f"events/{incident.id}")
        content = json.dumps({"message": incident.content}) if rng.random() < 0.5 else incident.content  # noqa: PLR2004 - both forms occur
        for name, at in ((incident.kind.event, incident.begins_at), (incident.kind.recovery, incident.ends_at)):
            if name:
                recovered = name == incident.kind.recovery
                text = "" if recovered else content
                detail = _detail(incident.instance, incident.node_id, text, recovered=recovered, user="")
                listed_at = at + incident.notice
                event_id = _event_id(rng, listed_at)
                yield CloudEyeEvent(
                    event_id=event_id, name=name, source=GAUSSDB_NAMESPACE, time=at, listed_at=listed_at, detail=detail
                )

    def of_task(self, story: TaskStory, pace: float) -> Iterator[CloudEyeEvent]:
        """Return an event for each failure of a task, in the time of the task's row."""
        name = FAILURES.get(story.name)
        if name is None or not self._options.failure_events or story.instance is None:
            return
        rng = self._options.random(f"events/{story.job_id}")
        for end in (end for end in story.ends if end.failed):
            listed_at = end.at + self._options.event_lag * rng.uniform(0.5, 1.5) / pace
            content = json.dumps({"enterpriseProjectId": "0", "reason": end.reason.en if end.reason else ""})
            detail = _detail(story.instance, None, content, recovered=False, user="")
            event_id = _event_id(rng, listed_at)
            yield CloudEyeEvent(
                event_id=event_id, name=name, source=GAUSSDB_NAMESPACE, time=end.at, listed_at=listed_at, detail=detail
            )


class OtherEvents:
    """Events of other services and of an application, which share the list."""

    def __init__(self, options: Options, start: datetime) -> None:
        self._rng = options.random("other events")
        self._at = start - LISTED_FOR
        self._known: list[CloudEyeEvent] = []
        self._on = options.other_events

    def until(self, now: datetime) -> list[CloudEyeEvent]:
        """Return the events up to a moment, as long as they are listed."""
        while self._on and self._at <= now:
            self._known.append(self._event(self._at))
            self._at += timedelta(hours=self._rng.uniform(2, 7))
        self._known = [event for event in self._known if event.time > now - LISTED_FOR]
        return self._known

    def _event(self, at: datetime) -> CloudEyeEvent:
        name, source, kind, sub_kind = self._rng.choice(_OTHERS)
        resource = f"{self._rng.getrandbits(128):032x}"
        detail = {
            "content": "",
            "group_id": "",
            "resource_id": resource,
            "resource_name": f"other-{resource[:4]}",
            "event_state": "normal",
            "event_level": "Minor",
            "event_user": "",
            "event_type": kind,
            "sub_event_type": sub_kind,
            "dimensions": [],
        }
        event_id = _event_id(self._rng, at)
        return CloudEyeEvent(event_id=event_id, name=name, source=source, time=at, listed_at=at, detail=detail)


_OTHERS = (
    ("rebootServer", "SYS.ECS", "EVENT.SYS", "SUB_EVENT.OPS"),
    ("startAutoRecovery", "SYS.ECS", "EVENT.SYS", "SUB_EVENT.OPS"),
    ("endAutoRecovery", "SYS.ECS", "EVENT.SYS", "SUB_EVENT.OPS"),
    ("instance_reboot_scheduled", "SYS.ECS", "EVENT.SYS", "SUB_EVENT.PLAN"),
    ("modifyBandwidth", "SYS.VPC", "EVENT.SYS", "SUB_EVENT.OPS"),
    ("healthCheckUnhealthy", "SYS.ELB", "EVENT.SYS", "SUB_EVENT.OPS"),
    ("nightly_batch_done", "acme.batch", "EVENT.CUSTOM", "SUB_EVENT.CUSTOM"),
)


# ---- the list and the detail ----


@dataclass(frozen=True, slots=True, kw_only=True)
class EventQuery:
    """A checked request for one page of the list or of a detail."""

    since: datetime | None
    until: datetime | None
    start: int
    limit: int
    name: str | None
    source: str | None
    exact: Mapping[str, str]
    """Fields of the detail and their values."""


def event_parameters(query: Mapping[str, str]) -> QueryParameters:
    """Return the parameters of a request to Cloud Eye, with its errors."""
    problem = "The URL parameter is invalid or does not exist."
    return QueryParameters(query, refuse=lambda name: SimulatedError(400, "ces.0013", f"{problem} ({name})"))


def parse_event_list(query: Mapping[str, str]) -> EventQuery:
    """Check the parameters of a request for the list. Raises SimulatedError 400."""
    given = event_parameters(query)
    for name in ("from", "to"):
        given.integer(name, EARLIEST_MS, LATEST_MS, EARLIEST_MS)
    return _parsed(given, query, given.value("event_name"), ("event_type", "sub_event_type"))


def parse_event_detail(query: Mapping[str, str], name: str) -> EventQuery:
    """Check the parameters of a request for a detail. Raises SimulatedError 400."""
    given = event_parameters(query)
    if given.value("event_type") is None:
        raise given.refused("event_type")
    given.choice("event_level", EVENT_LEVELS)
    given.choice("event_state", EVENT_STATES)
    fields = ("event_type", "sub_event_type", "event_level", "event_user", "event_state")
    return _parsed(given, query, name, fields)


def _parsed(given: QueryParameters, query: Mapping[str, str], name: str | None, fields: tuple[str, ...]) -> EventQuery:
    given.choice("event_type", EVENT_TYPES)
    given.choice("sub_event_type", SUB_EVENT_TYPES)
    since, until = given.period("from", "to")
    return EventQuery(
        since=since,
        until=until,
        start=given.integer("start", 0, MAX_OFFSET, 0),
        limit=given.integer("limit", 1, MAX_CLOUD_EYE_ROWS, MAX_CLOUD_EYE_ROWS),
        name=name,
        source=given.value("event_source"),
        exact={field: query[field] for field in fields if query.get(field)},
    )


def matching_events(events: Iterable[CloudEyeEvent], query: EventQuery) -> list[CloudEyeEvent]:
    """Return the events that a query selects, newest first."""
    found = [event for event in events if _matches(event, query)]
    return sorted(found, key=lambda event: (event.time, event.event_id), reverse=True)


def _matches(event: CloudEyeEvent, query: EventQuery) -> bool:
    if query.name not in (None, event.name) or (query.source or event.source) != event.source:
        return False
    if any(event.field(name) != value for name, value in query.exact.items()):
        return False
    return not (query.since and event.time < query.since) and not (query.until and event.time > query.until)


def event_list(events: Iterable[CloudEyeEvent], query: EventQuery) -> dict[str, Any]:
    """Return one page of the list: a row for each name, that of the latest event first."""
    by_name: dict[tuple[str, str], list[CloudEyeEvent]] = {}
    for event in matching_events(events, query):
        by_name.setdefault((event.name, event.field("event_type")), []).append(event)
    rows = [
        {
            "event_name": name,
            "event_type": kind,
            "sub_event_type": alike[0].field("sub_event_type"),
            "event_count": len(alike),
            "latest_occur_time": to_ms(alike[0].time),
            "latest_event_source": alike[0].source,
        }
        for (name, kind), alike in by_name.items()
    ]
    return {"events": rows[query.start : query.start + query.limit], "meta_data": {"total": len(rows)}}


def event_detail(events: Iterable[CloudEyeEvent], query: EventQuery) -> dict[str, Any]:
    """Return one page of the events of a name."""
    found = matching_events(events, query)
    page = found[query.start : query.start + query.limit]
    return {
        "event_name": query.name,
        "event_type": query.exact["event_type"],
        "sub_event_type": found[0].field("sub_event_type") if found else "",
        "event_users": sorted({event.field("event_user") for event in found} - {""}),
        "event_sources": sorted({event.source for event in found}),
        "event_info": [event.wire() for event in page],
        "meta_data": {"total": len(found)},
    }
