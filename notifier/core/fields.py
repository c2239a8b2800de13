"""What matchers see of an event: its fields as texts."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType

from notifier.core.alarms import AlarmLevel
from notifier.core.causes import CauseCatalogue, Explanation, error_code
from notifier.core.durations import format_duration, parse_duration
from notifier.core.events import EventType
from notifier.core.foreseen import Expectation
from notifier.core.maintenance_values import MaintenanceNotice
from notifier.core.model import Event, Task, TaskStatus
from notifier.core.severity import Severity
from notifier.core.started_by import StartedBy, StartedVia

_EVENT_FIELDS = (
    "type",
    "severity",
    "source",
    "environment",
    "region",
    "project_id",
    "job_id",
    "previous_status",
    "channel",
)

_TASK_FIELDS: Mapping[str, Callable[[Task], str | None]] = {
    "name": lambda task: task.name,
    "operation": lambda task: operation_kind(task.name),
    "status": lambda task: task.status,
    "raw_status": lambda task: task.raw_status,
    "instance": lambda task: task.instance_name,
    "instance_id": lambda task: task.instance_id,
    "instance_status": lambda task: task.instance_status,
    "fail_reason": lambda task: task.fail_reason,
    "progress": lambda task: None if task.progress is None else f"{task.progress:g}",
    "level": lambda task: task.alarm.level if task.alarm else None,
    "node_id": lambda task: task.alarm.node_id if task.alarm else None,
}

_PLANNED_FIELDS: Mapping[str, Callable[[Expectation | MaintenanceNotice], str | None]] = {
    "name": lambda planned: planned.name,
    "operation": lambda planned: operation_kind(planned.name),
    "instance": lambda planned: planned.instance_name,
    "instance_id": lambda planned: planned.instance_id,
}
"""Fields of a run that did not appear, and of a maintenance. They have no others of a task."""

_EXPLAINED_FIELDS: Mapping[str, Callable[[Explanation], str | None]] = {
    "error_code": lambda explanation: explanation.code,
    "cause": lambda explanation: explanation.cause.id if explanation.cause else None,
}
"""Fields that follow from the reason of a failed task."""

ORIGIN_FIELDS: Mapping[str, Callable[[StartedBy], str]] = {
    "started_by": lambda origin: origin.name,
    "started_via": lambda origin: origin.via,
}
"""Fields of who started a task. They are empty while that is not known."""

_MEASURED_FIELDS = ("duration", "late")

FIELDS: tuple[str, ...] = (*_EVENT_FIELDS, *_TASK_FIELDS, *_EXPLAINED_FIELDS, *ORIGIN_FIELDS, *_MEASURED_FIELDS)
"""Every field that a matcher can name, besides the labels of sources."""

LABEL_PREFIX = "label."
"""How the field of a label begins: `label.team`."""

CLOSED_FIELDS: Mapping[str, Collection[str]] = MappingProxyType(
    {
        "type": tuple(kind.value for kind in EventType),
        "status": tuple(status.value for status in TaskStatus),
        "late": ("true", "false"),
        "severity": tuple(severity.value for severity in Severity),
        "level": tuple(level.value for level in AlarmLevel),
        "started_via": tuple(way.value for way in StartedVia),
    }
)
"""Allowed values of fields with a closed set: a typing mistake in one would silently match nothing."""

_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%?", re.ASCII)


def _percent(text: str) -> float:
    found = _PERCENT.fullmatch(text)
    if found is None or float(found[1]) > 100:  # noqa: PLR2004 - percent
        raise ValueError(f"{text!r} is not a percentage; write a number from 0 to 100")
    return float(found[1])


def _seconds(text: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        raise ValueError(f"{text!r} has no unit; write for example {text}m for minutes or {text}h for hours")
    return parse_duration(text).total_seconds()


NUMBER_FIELDS: Mapping[str, Callable[[str], float]] = MappingProxyType({"progress": _percent, "duration": _seconds})
"""Fields that are compared as numbers, with what reads their texts: percent, and a time such as `1h30m` in seconds.
The readers raise ValueError with what would be right."""

OPERATION_KINDS = ("backup", "restore", "create", "delete", "enlarge", "expand", "resize")
"""What `operation_kind` returns for the documented tasks. The set is open: other names give other words."""

_SYNONYMS: Mapping[str, str] = {"clone": "restore", "reboot": "restart"}
"""Words of the API that people know by another: cloning restores a backup to a new instance."""

_SERVICE = re.compile(r"GaussDB(?:V\d+)?(?:For[A-Z][a-z]+)?")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def operation_kind(name: str) -> str:
    """Return what a task does in one word: `backup` for `BackupSnapshotGaussDBV5InInstance`.

    It is the first word of the API's name that does not name the service, in lower case; `clone` counts as `restore`.
    """
    word = _WORD.search(_SERVICE.sub("", name, count=1) or name)
    kind = (word[0] if word else name).lower()
    return _SYNONYMS.get(kind, kind)


def duration_of(event: Event) -> timedelta | None:
    """Return how long the task of an event took, or had been running when the event was detected. None if not known."""
    task = event.task
    if task is None or task.created_at is None or (task.status.terminal and task.ended_at is None):
        return None
    end = task.ended_at if task.status.terminal and task.ended_at else event.observed_at
    return max(end - task.created_at, timedelta())


def fields_of(event: Event, names: Iterable[str] = FIELDS, catalogue: CauseCatalogue | None = None) -> dict[str, str]:
    """Return what matchers see of an event: the fields of these names, and its labels.

    What is not known is the empty string, and so is a label without entry. Without the catalogue of causes, no cause
    is known.
    """
    return {name: _field_of(event, name, catalogue) for name in names} | label_fields(event.labels)


def _field_of(event: Event, name: str, catalogue: CauseCatalogue | None) -> str:
    if name in _TASK_FIELDS:
        planned = event.expectation or event.maintenance
        if planned and name in _PLANNED_FIELDS:
            return _PLANNED_FIELDS[name](planned) or ""
        return (_TASK_FIELDS[name](event.task) or "") if event.task else ""
    if name in _EXPLAINED_FIELDS:
        return _explained_field(event, name, catalogue)
    if name in ORIGIN_FIELDS:
        return ORIGIN_FIELDS[name](event.started_by) if event.started_by else ""
    return _measured_field(event, name) if name in _MEASURED_FIELDS else str(getattr(event, name) or "")


def _measured_field(event: Event, name: str) -> str:
    if name == "late":
        return "true" if event.late else "false"
    length = duration_of(event)
    return "" if length is None else format_duration(length)


def derived_fields(fields: Mapping[str, str], catalogue: CauseCatalogue) -> dict[str, str]:
    """Return what follows from other fields of an event: from the name of its task, and from its reason."""
    name, reason = fields.get("name"), fields.get("fail_reason")
    explanation = catalogue.explain(reason) if reason else Explanation()
    known = {field: read(explanation) or "" for field, read in _EXPLAINED_FIELDS.items() if reason}
    return known | ({"operation": operation_kind(name)} if name else {})


def _explained_field(event: Event, name: str, catalogue: CauseCatalogue | None) -> str:
    reason = event.task.fail_reason if event.task else None
    if not reason:
        return ""
    explanation = catalogue.explain(reason) if catalogue else Explanation(code=error_code(reason))
    return _EXPLAINED_FIELDS[name](explanation) or ""


def label_fields(labels: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields of the labels of a source."""
    return {f"{LABEL_PREFIX}{name}": text for name, text in labels}
