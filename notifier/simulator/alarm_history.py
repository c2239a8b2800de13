"""GaussDB's alarm history: the alarms that faults raise and that end with them. Pure."""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self

from notifier.simulator.incidents import CRITICAL, Incident
from notifier.simulator.listing import gaussdb_parameters
from notifier.simulator.options import AlarmStart
from notifier.simulator.parameters import MAX_OFFSET
from notifier.simulator.traces import to_ms

ALARMS_KEPT_FOR = timedelta(days=7)
"""Time that alarms can be queried."""
MAX_RECORDS = 50
LEVEL_NAMES = {1: "critical", 2: "major", 3: "minor", 4: "notice"}
DEFAULT_TOP = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmRecord:
    """One alarm at one moment."""

    alarm_id: str
    name: str
    status: str
    kind: str
    level: int
    instance_id: str
    instance_name: str
    begins_at: datetime
    updated_at: datetime

    def at(self, begins_at: datetime, updated_at: datetime) -> Self:
        """Return it with other times."""
        return replace(self, begins_at=begins_at, updated_at=updated_at)

    def wire(self) -> dict[str, Any]:
        """Return it as GaussDB shows it."""
        return {
            "alarm_id": self.alarm_id,
            "name": self.name,
            "status": self.status,
            "alarm_type": self.kind,
            "level": self.level,
            "instance_id": self.instance_id,
            "instance_name": self.instance_name,
            "begin_time": to_ms(self.begins_at),
            "update_time": to_ms(self.updated_at),
        }


def raw_record(wire: Mapping[str, Any], now: datetime) -> AlarmRecord:
    """Build an alarm in the form of the service. Without times it is of this moment."""
    begins_at = datetime.fromtimestamp(wire["begin_time"] / 1000, now.tzinfo) if "begin_time" in wire else now
    updated_at = datetime.fromtimestamp(wire["update_time"] / 1000, now.tzinfo) if "update_time" in wire else begins_at
    return AlarmRecord(
        alarm_id=str(wire["alarm_id"]),
        name=str(wire.get("name", "")),
        status=str(wire.get("status", "alarm")),
        kind=str(wire.get("alarm_type", "MULTI_INSTANCE")),
        level=int(wire.get("level", CRITICAL)),
        instance_id=str(wire.get("instance_id", "")),
        instance_name=str(wire.get("instance_name", "")),
        begins_at=begins_at,
        updated_at=updated_at,
    )


def record_of(incident: Incident, now: datetime) -> AlarmRecord | None:
    """Return the alarm of a fault at this moment, in virtual time; None where no rule is broken or it is too early."""
    rule = incident.kind.rule
    raised_at, ended_at = incident.begins_at + incident.notice, incident.ends_at + incident.notice
    if rule is None or now < raised_at:
        return None
    over = now >= ended_at
    end = "invalid" if incident.abandoned else "ok"
    return AlarmRecord(
        alarm_id=rule_id(rule.name),
        name=rule.name,
        status=end if over else "alarm",
        kind=rule.kind,
        level=rule.level,
        instance_id=incident.instance.id,
        instance_name=incident.instance.name,
        begins_at=raised_at,
        updated_at=ended_at if over else raised_at,
    )


def rule_id(name: str) -> str:
    """Return the id of a rule: `al`, thirteen digits and nine more characters."""
    unique = uuid.uuid5(uuid.NAMESPACE_OID, name)
    return f"al{unique.int % 10**13:013d}{unique.hex[:9]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmQuery:
    """A checked request for one page."""

    since: datetime
    level: int
    offset: int
    limit: int


def parse_alarm_query(query: Mapping[str, str], now: datetime) -> AlarmQuery:
    """Check the parameters of a request. Raises SimulatedError 400. Without a level only critical alarms are meant."""
    given = gaussdb_parameters(query)
    return AlarmQuery(
        since=max(given.local_time("start_time") or now - ALARMS_KEPT_FOR, now - ALARMS_KEPT_FOR),
        level=given.integer("level", min(LEVEL_NAMES), max(LEVEL_NAMES), CRITICAL),
        offset=given.integer("offset", 0, MAX_OFFSET, 0),
        limit=given.integer("limit", 1, MAX_RECORDS, MAX_RECORDS),
    )


def _since(records: Iterable[AlarmRecord], since: datetime, by: AlarmStart) -> list[AlarmRecord]:
    found = [record for record in records if (record.begins_at if by == "begin" else record.updated_at) >= since]
    return sorted(found, key=lambda record: (record.begins_at, record.alarm_id, record.instance_id), reverse=True)


def alarm_page(records: Iterable[AlarmRecord], query: AlarmQuery, by: AlarmStart) -> dict[str, Any]:
    """Return one page of the alarms of a level, the latest first."""
    found = [record for record in _since(records, query.since, by) if record.level == query.level]
    page = found[query.offset : query.offset + query.limit]
    return {"total_count": len(found), "history_records": [record.wire() for record in page]}


def alarm_counts(
    records: Iterable[AlarmRecord], query: Mapping[str, str], now: datetime, by: AlarmStart
) -> dict[str, Any]:
    """Return how many alarms there are, by level and for the instances with the most. Raises SimulatedError 400."""
    given = gaussdb_parameters(query)
    top = given.integer("top_num", 1, MAX_OFFSET, DEFAULT_TOP)
    since = max(given.local_time("start_time") or now - ALARMS_KEPT_FOR, now - ALARMS_KEPT_FOR)
    found = _since(records, since, by)
    by_instance: dict[tuple[str, str], list[AlarmRecord]] = {}
    for record in found:
        by_instance.setdefault((record.instance_id, record.instance_name), []).append(record)
    ranked = sorted(by_instance.items(), key=lambda item: (-len(item[1]), item[0]))
    return {
        "total_alarm_count": len(found),
        "ring_percentage": None,
        "instance_alarm_level_statistics": [
            {
                "instance_id": instance_id,
                "instance_name": name,
                "total_count": len(alike),
                "alarm_level_statistics": _by_level(alike),
            }
            for (instance_id, name), alike in ranked[:top]
        ],
        "total_alarm_level_statistics": _by_level(found),
    }


def _by_level(records: Iterable[AlarmRecord]) -> list[dict[str, Any]]:
    counts = Counter(record.level for record in records)
    return [{"level_name": name, "count": counts[level]} for level, name in LEVEL_NAMES.items()]
