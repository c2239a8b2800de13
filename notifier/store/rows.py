"""Between rows and values: the only place that knows both."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any, TypeAlias

import msgspec

from notifier.core.credentials import CredentialState
from notifier.core.delivery import Attempt, Body, Delivery, DeliveryState, Recipient, Resolution
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.health_facts import Replica, Role
from notifier.core.identity import Subject
from notifier.core.model import ChannelState, Event, SourceState, Task, TaskStatus
from notifier.core.pacing import ChannelHealth
from notifier.core.people import Acknowledgement, Action, Mute, Verb
from notifier.core.routing import DeliveryRouting, RoutedEvent
from notifier.core.storms import Storm

_encode = msgspec.json.Encoder().encode
event_of = msgspec.json.Decoder(Event).decode
"""Reads the facts of an event."""
_decode_recipients = msgspec.json.Decoder(tuple[Recipient, ...]).decode
_decode_routing = msgspec.json.Decoder(DeliveryRouting).decode
_decode_storm = msgspec.json.Decoder(Storm).decode
_decode_names = msgspec.json.Decoder(tuple[str, ...]).decode

_NO_ROUTING = DeliveryRouting()

NamedRow: TypeAlias = Any
"""A row with its columns by name, of SQLAlchemy or of `query_texts`."""

# Columns carry the names of the fields, less those that need a conversion.
_TASK = tuple(field.name for field in fields(Task) if field.name != "status")
_SOURCE = tuple(field.name for field in fields(SourceState) if field.name not in {"tasks", "running"})
_ACKNOWLEDGEMENT = tuple(field.name for field in fields(Acknowledgement))
_MUTE = tuple(field.name for field in fields(Mute))
_ACTION = tuple(field.name for field in fields(Action) if field.name != "verb")
_REPLICA = tuple(field.name for field in fields(Replica) if field.name != "roles")
_ATTEMPT = tuple(field.name for field in fields(Attempt) if field.name != "resolution")
_HEALTH = tuple(field.name for field in fields(ChannelHealth))
_CREDENTIAL = tuple(field.name for field in fields(CredentialState))
_STORM = ("id", "channel", "source", "started_at", "updated_at", "ended_at")
_CHANNEL = tuple(field.name for field in fields(ChannelState) if field.name != "health")
_DELIVERY = tuple(
    field.name
    for field in fields(Delivery)
    if field.name
    not in {
        "state",
        "events",
        "body",
        "thread",
        "ends_trouble",
        "recipients",
        "withheld",
        "reply",
        "routing",
        "storm",
    }
)


def _fields_of(row: object, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def task_values(task: Task) -> dict[str, object]:
    """Return the columns of a task."""
    return _fields_of(task, _TASK) | {"status": str(task.status), "seconds": _seconds(task)}


def written_values(write: TaskWrite, now: datetime) -> dict[str, object]:
    """Return the columns of a task that a poll records."""
    recorded = write.recorded
    return {
        **task_values(recorded.task),
        "fingerprint": write.fingerprint,
        "occurrence": recorded.occurrence,
        "missing": recorded.missing,
        "unlisted": recorded.unlisted,
        "first_seen_at": now,
        "changed_at": recorded.changed_at or _changed_at(recorded.task, now),
    }


def _changed_at(task: Task, now: datetime) -> datetime:
    """Return when a task became as it is. A task that ended last month is not new because we see it only now."""
    return task.ended_at if task.status.terminal and task.ended_at else now


def _seconds(task: Task) -> float | None:
    """Return how long a task took: so that statistics need not read two times of each."""
    if task.created_at is None or task.ended_at is None or task.ended_at < task.created_at:
        return None
    return (task.ended_at - task.created_at).total_seconds()


def task_of(row: NamedRow) -> Task:
    """Read a task."""
    return Task(status=TaskStatus(row.status), **_fields_of(row, _TASK))


def recorded_of(row: NamedRow) -> RecordedTask:
    """Read a task with what the diff needs."""
    return RecordedTask(
        task=task_of(row),
        occurrence=row.occurrence,
        missing=row.missing,
        unlisted=row.unlisted,
        changed_at=row.changed_at,
    )


def source_of(row: NamedRow) -> SourceState:
    """Read a source; the counts of its tasks are optional columns."""
    tasks, running = getattr(row, "tasks", 0), getattr(row, "running", 0)
    return SourceState(tasks=tasks, running=running, **_fields_of(row, _SOURCE))


def credential_of(row: NamedRow) -> CredentialState:
    """Read what is recorded about a credential."""
    return CredentialState(**_fields_of(row, _CREDENTIAL))


def event_values(routed: RoutedEvent) -> dict[str, object]:
    """Return the columns of an event."""
    event = routed.event
    return {
        "id": event.id,
        "type": str(event.type),
        "source": event.source,
        "job_id": event.job_id,
        "occurrence": event.occurrence,
        "observed_at": event.observed_at,
        "facts": _encode(event),
        "routes": _encode(routed.routes).decode(),
        "channels": _encode(routed.channels).decode(),
        "channel_count": len(routed.channels),
    }


def routed_of(row: NamedRow) -> RoutedEvent:
    """Read an event with its routes."""
    return RoutedEvent(
        event=event_of(row.facts), routes=_decode_names(row.routes), channels=_decode_names(row.channels)
    )


def delivery_values(delivery: Delivery) -> dict[str, object]:
    """Return the columns of a delivery that has not been claimed yet."""
    own = {
        "state": str(delivery.state),
        "routing": routing_text(delivery.routing),
        "storm": Subject.parse(delivery.subject).storm or None,
    }
    return _fields_of(delivery, _DELIVERY) | own


def routing_text(routing: DeliveryRouting) -> str | None:
    """Return the column of what routes want of a message; None where they want nothing."""
    return None if routing == _NO_ROUTING else _encode(routing).decode()


def routing_of(encoded: str | None) -> DeliveryRouting:
    """Read what routes want of a message."""
    return _decode_routing(encoded) if encoded else _NO_ROUTING


def copies_text(copies: Sequence[str]) -> str | None:
    """Return the column of the copies of a thread's message; None where there are none."""
    return _encode(copies).decode() if copies else None


def copies_of(encoded: str | None) -> tuple[str, ...]:
    """Read the references of the copies of a thread's message."""
    return _decode_names(encoded) if encoded else ()


def delivery_of(row: NamedRow, events: tuple[Event, ...], storm: Storm | None = None) -> Delivery:
    """Read a delivery."""
    body = None if row.body is None else Body(content=row.body, content_type=row.content_type)
    return Delivery(
        state=DeliveryState(row.state),
        events=events,
        body=body,
        reply=getattr(row, "reply", None),
        recipients=recipients_of(row.recipients),
        routing=routing_of(row.routing),
        storm=storm,
        **_fields_of(row, _DELIVERY),
    )


def storm_values(storm: Storm) -> dict[str, object]:
    """Return the columns of a storm."""
    return _fields_of(storm, _STORM) | {"facts": _encode(storm)}


def storm_of(row: NamedRow) -> Storm:
    """Read a storm. Its source may have another name by now."""
    return replace(_decode_storm(row.facts), source=row.source)


def recipients_of(encoded: str | None) -> tuple[Recipient, ...]:
    """Read what is recorded of the recipients of a delivery."""
    return _decode_recipients(encoded) if encoded else ()


def recipients_values(recipients: tuple[Recipient, ...] | None) -> dict[str, object]:
    """Return the column of recipients; none where it stays as it is."""
    return {} if recipients is None else {"recipients": _encode(recipients).decode() if recipients else None}


def attempt_values(attempt: Attempt) -> dict[str, object]:
    """Return the columns of an attempt."""
    return _fields_of(attempt, _ATTEMPT) | {"resolution": attempt.resolution}


def attempt_of(row: NamedRow) -> Attempt:
    """Read an attempt."""
    return Attempt(resolution=Resolution(row.resolution) if row.resolution else None, **_fields_of(row, _ATTEMPT))


def channel_of(row: NamedRow) -> ChannelState:
    """Read what is recorded about a channel."""
    return ChannelState(health=health_of(row), **_fields_of(row, _CHANNEL))


def health_of(row: NamedRow) -> ChannelHealth:
    """Read the health of a channel, or of a budget of edits."""
    return ChannelHealth(**_fields_of(row, _HEALTH))


def health_values(health: ChannelHealth) -> dict[str, object]:
    """Return the columns of the health of a channel, or of a budget of edits."""
    return _fields_of(health, _HEALTH)


def acknowledgement_of(row: NamedRow) -> Acknowledgement:
    """Read an acknowledgement."""
    return Acknowledgement(**_fields_of(row, _ACKNOWLEDGEMENT))


def mute_of(row: NamedRow) -> Mute:
    """Read a mute."""
    return Mute(**_fields_of(row, _MUTE))


def replica_values(replica: Replica) -> dict[str, object]:
    """Return the columns of a process."""
    return asdict(replica) | {"roles": ",".join(replica.roles)}


def replica_of(row: NamedRow) -> Replica:
    """Read a process; a role that this version does not know is left out."""
    roles = tuple(Role(name) for name in row.roles.split(",") if name in list(Role))
    return Replica(roles=roles, **_fields_of(row, _REPLICA))


def action_values(action: Action) -> dict[str, object]:
    """Return the columns of what a person did."""
    return asdict(action) | {"verb": str(action.verb)}


def action_of(row: NamedRow) -> Action:
    """Read what a person did."""
    return Action(verb=Verb(row.verb), **_fields_of(row, _ACTION))
