"""Between rows and values: the only place that knows both."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, TypeAlias

import msgspec

from notifier.core.access import ApiToken, SignedInBy, TokenScope, WebSession
from notifier.core.alarms import AlarmFacts
from notifier.core.calendars import CalendarAge, CalendarEntry, StoredCalendar
from notifier.core.credentials import CredentialState
from notifier.core.delivery import Attempt, Body, Delivery, DeliveryState, Recipient, Resolution
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.doorbell import TopicSubscription
from notifier.core.expectations import SeenRun
from notifier.core.failures import OpenFailure
from notifier.core.health_facts import Replica, Role
from notifier.core.identity import Subject
from notifier.core.maintenance_values import MaintenanceListState, MaintenanceRecord
from notifier.core.matchers import Matcher, parse_matcher
from notifier.core.model import ChannelState, Event, SourceState, Task, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.pacing import ChannelHealth
from notifier.core.people import Acknowledgement, Action, EventSubscription, Verb
from notifier.core.projects import AccountState, FoundProject
from notifier.core.rights import MissingRight, SourcePart
from notifier.core.routing import DeliveryRouting, RoutedEvent
from notifier.core.started_by import StartedBy
from notifier.core.storms import Storm
from notifier.core.tickets import ClosedBy, Ticket, TicketState
from notifier.core.usual import MAX_RUNS, Run, Runs
from notifier.store.values import Columns

_encode = msgspec.json.Encoder().encode
event_of = msgspec.json.Decoder(Event).decode
"""Reads the facts of an event."""
_decode_recipients = msgspec.json.Decoder(tuple[Recipient, ...]).decode
_decode_routing = msgspec.json.Decoder(DeliveryRouting).decode
_decode_storm = msgspec.json.Decoder(Storm).decode
failure_of = msgspec.json.Decoder(OpenFailure).decode
"""Reads the facts of an open failure."""
_decode_entries = msgspec.json.Decoder(tuple[CalendarEntry, ...]).decode
_decode_started_by = msgspec.json.Decoder(StartedBy).decode
_decode_alarm = msgspec.json.Decoder(AlarmFacts).decode
_decode_names = msgspec.json.Decoder(tuple[str, ...]).decode

maintenance_of = msgspec.json.Decoder(MaintenanceRecord).decode
"""Reads the facts of a maintenance."""

_NO_ROUTING = DeliveryRouting()

NamedRow: TypeAlias = Any
"""A row with its columns by name, of SQLAlchemy or of `query_texts`."""


class _Fields:
    """Several fields of an object, or columns of a row."""

    __slots__ = ("_values_of", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)
        self._values_of = attrgetter(*self.names)

    def of(self, row: object) -> dict[str, Any]:
        """Return their values by name."""
        return dict(zip(self.names, self._values_of(row), strict=True))


# Columns carry the names of the fields, less those that need a conversion.
_TASK = _Fields(field.name for field in fields(Task) if field.name not in {"status", "alarm"})
_SOURCE = _Fields(field.name for field in fields(SourceState) if field.name not in {"tasks", "running"})
_ACKNOWLEDGEMENT = _Fields(field.name for field in fields(Acknowledgement))
_MUTE = _Fields(field.name for field in fields(Mute) if field.name not in {"match", "length", "announced"})
_EVENT_SUBSCRIPTION = _Fields(field.name for field in fields(EventSubscription))
_ACTION = _Fields(field.name for field in fields(Action) if field.name != "verb")
_SESSION = _Fields(field.name for field in fields(WebSession) if field.name not in {"how", "groups"})
_TOKEN = _Fields(field.name for field in fields(ApiToken) if field.name != "scopes")
_REPLICA = _Fields(field.name for field in fields(Replica) if field.name != "roles")
_ATTEMPT = _Fields(name for name in Attempt._fields if name != "resolution")
_HEALTH = _Fields(field.name for field in fields(ChannelHealth))
_CREDENTIAL = _Fields(field.name for field in fields(CredentialState))
_RIGHT = _Fields(field.name for field in fields(MissingRight) if field.name != "part")
_MAINTENANCE_LIST = _Fields(field.name for field in fields(MaintenanceListState))
_PROJECT = _Fields(field.name for field in fields(FoundProject))
_ACCOUNT = _Fields(field.name for field in fields(AccountState))
_TOPIC = _Fields(field.name for field in fields(TopicSubscription))
_STORM = _Fields(("id", "channel", "source", "started_at", "updated_at", "ended_at"))
_FAILURE = _Fields(("id", "operation", "job_id", "opened_at", "due_at", "changed_at"))
_TICKET = _Fields(field.name for field in fields(Ticket) if field.name not in {"state", "closed_by"})
_CHANNEL = _Fields(field.name for field in fields(ChannelState) if field.name != "health")
_DELIVERY = _Fields(
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
        "ticket",
        "tickets",
    }
)


def task_values(task: Task) -> dict[str, object]:
    """Return the columns of a task."""
    return _TASK.of(task) | {
        "status": str(task.status),
        "seconds": _seconds(task),
        "alarm": _encode(task.alarm).decode() if task.alarm else None,
    }


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
        "changed_at": changed_at_of(write, now),
    }


def changed_at_of(write: TaskWrite, now: datetime) -> datetime:
    """Return when a task became as it is. A task that ended last month is not new because we see it only now."""
    task = write.recorded.task
    if task.status is TaskStatus.RAISED and write.was is None:
        return task.created_at or now
    return write.recorded.changed_at or (task.ended_at if task.status.terminal and task.ended_at else now)


def _seconds(task: Task) -> float | None:
    """Return how long a task took: so that statistics need not read two times of each. None for an alarm."""
    if task.alarm or task.created_at is None or task.ended_at is None or task.ended_at < task.created_at:
        return None
    return (task.ended_at - task.created_at).total_seconds()


def task_of(row: NamedRow) -> Task:
    """Read a task."""
    alarm = _alarm_of(row.alarm) if row.alarm else None
    return Task(status=TaskStatus(row.status), alarm=alarm, **_TASK.of(row))


@lru_cache  # many alarms have the same
def _alarm_of(encoded: str) -> AlarmFacts:
    return _decode_alarm(encoded)


def recorded_of(row: NamedRow) -> RecordedTask:
    """Read a task with what the diff needs."""
    return RecordedTask(
        task=task_of(row),
        occurrence=row.occurrence,
        missing=row.missing,
        unlisted=row.unlisted,
        changed_at=row.changed_at,
        started_by=started_by_of(row.started_by),
    )


def started_by_text(value: StartedBy) -> str:
    """Return the column of who started a task."""
    return _encode(value).decode()


def started_by_of(encoded: str | None) -> StartedBy | None:
    """Read who started a task."""
    return _decode_started_by(encoded) if encoded else None


def seen_run_of(row: NamedRow) -> SeenRun:
    """Read when a task ran."""
    return SeenRun(
        name=row.name,
        job_id=row.job_id,
        instance_id=row.instance_id,
        instance_name=row.instance_name,
        instance_status=row.instance_status,
        began=row.created_at or row.first_seen_at,
        ended=row.ended_at,
        status=TaskStatus(row.status),
    )


def runs_of(of_source: Iterable[NamedRow], everywhere: Iterable[NamedRow]) -> Runs:
    """Read completed runs: their seconds, their ends, and within the source their instances; the latest first."""
    runs: list[Run] = []
    by_instance: defaultdict[str, list[Run]] = defaultdict(list)
    for seconds, ended_at, instance in of_source:
        run = _run_of(seconds, ended_at)
        runs.append(run)
        if instance and len(by_instance[instance]) < MAX_RUNS:
            by_instance[instance].append(run)
    return Runs(of_source=runs[:MAX_RUNS], by_instance=by_instance, everywhere=[_run_of(*row) for row in everywhere])


def _run_of(seconds: float, ended_at: datetime) -> Run:
    return Run(seconds, (ended_at - timedelta(seconds=seconds)).weekday())


def source_of(row: NamedRow) -> SourceState:
    """Read a source; the counts of its tasks are optional columns."""
    tasks, running = getattr(row, "tasks", 0), getattr(row, "running", 0)
    return SourceState(tasks=tasks, running=running, **_SOURCE.of(row))


def credential_of(row: NamedRow) -> CredentialState:
    """Read what is recorded about a credential."""
    return CredentialState(**_CREDENTIAL.of(row))


def maintenance_columns(records: Sequence[MaintenanceRecord]) -> Columns:
    """Return the columns of maintenance."""
    return {
        "source": [record.source for record in records],
        "id": [record.planned.id for record in records],
        "over": [record.over for record in records],
        "due_at": [record.due_at for record in records],
        "changed_at": [record.changed_at for record in records],
        "facts": [_encode(record) for record in records],
    }


def maintenance_list_of(row: NamedRow) -> MaintenanceListState:
    """Read what is recorded of reading a list of maintenance."""
    return MaintenanceListState(**_MAINTENANCE_LIST.of(row))


def event_columns(routed: Sequence[RoutedEvent]) -> Columns:
    """Return the columns of events."""
    events = [item.event for item in routed]
    return {
        "id": [event.id for event in events],
        "type": [str(event.type) for event in events],
        "source": [event.source for event in events],
        "job_id": [event.recorded_job_id for event in events],
        "occurrence": [event.occurrence for event in events],
        "observed_at": [event.observed_at for event in events],
        "facts": [_encode(event) for event in events],
        "routes": [_names_text(item.routes) for item in routed],
        "channels": [_names_text(item.channels) for item in routed],
        "channel_count": [len(item.channels) for item in routed],
    }


def event_facts(event: Event) -> bytes:
    """Return the facts of an event, as `event_of` reads them."""
    return _encode(event)


def channels_values(channels: tuple[str, ...]) -> dict[str, object]:
    """Return the columns of the channels that an event goes to."""
    return {"channels": _names_text(channels), "channel_count": len(channels)}


@lru_cache  # many events have the same
def _names_text(names: tuple[str, ...]) -> str:
    return _encode(names).decode()


def routed_of(row: NamedRow) -> RoutedEvent:
    """Read an event with its routes."""
    return RoutedEvent(
        event=event_of(row.facts), routes=_decode_names(row.routes), channels=_decode_names(row.channels)
    )


def delivery_columns(deliveries: Sequence[Delivery]) -> Columns:
    """Return the columns of deliveries that have not been claimed yet."""
    return {
        **{name: [getattr(one, name) for one in deliveries] for name in _DELIVERY.names},
        "state": [str(one.state) for one in deliveries],
        "routing": [routing_text(one.routing) for one in deliveries],
        "storm": [_storm_in(one.subject) for one in deliveries],
    }


def _storm_in(subject: str) -> str | None:
    return Subject.parse(subject).storm if subject.startswith(Subject.STORM_PREFIX) else None


def delivered_event_columns(deliveries: Iterable[Delivery]) -> Columns:
    """Return the columns of the events of deliveries."""
    carried = [(one, position, event) for one in deliveries for position, event in enumerate(one.events)]
    return {
        "delivery_id": [one.id for one, _, _ in carried],
        "event_id": [event.id for _, _, event in carried],
        "channel": [one.channel for one, _, _ in carried],
        "subject": [
            one.subject if one.subject.startswith(Subject.OPERATION_PREFIX) else event.subject
            for one, _, event in carried
        ],
        "position": [position for _, position, _ in carried],
    }


@lru_cache  # a plan makes few of them, for many deliveries
def routing_text(routing: DeliveryRouting) -> str | None:
    """Return the column of what routes want of a message; None where they want nothing."""
    return None if routing == _NO_ROUTING else _encode(routing).decode()


@lru_cache  # as above
def routing_of(encoded: str | None) -> DeliveryRouting:
    """Read what routes want of a message."""
    return _decode_routing(encoded) if encoded else _NO_ROUTING


def copies_text(copies: Sequence[str]) -> str | None:
    """Return the column of the copies of a thread's message; None where there are none."""
    return _encode(copies).decode() if copies else None


def copies_of(encoded: str | None) -> tuple[str, ...]:
    """Read the references of the copies of a thread's message."""
    return _decode_names(encoded) if encoded else ()


_STATES = {str(state): state for state in DeliveryState}
"""Several times as fast as the enumeration's own look-up."""


def delivery_of(row: NamedRow, events: tuple[Event, ...], storm: Storm | None = None) -> Delivery:
    """Read a delivery."""
    body = None if row.body is None else Body(content=row.body, content_type=row.content_type)
    return Delivery(
        state=_STATES[row.state],
        events=events,
        body=body,
        reply=getattr(row, "reply", None),
        recipients=recipients_of(row.recipients),
        routing=routing_of(row.routing),
        storm=storm,
        **_DELIVERY.of(row),
    )


def events_by_delivery(found: Iterable[tuple[str, bytes]]) -> Mapping[str, Sequence[Event]]:
    """Read events by the id of their delivery, in their order, from pairs of that id and the facts."""
    carried: dict[str, list[Event]] = {}
    for delivery_id, facts in found:
        carried.setdefault(delivery_id, []).append(event_of(facts))
    return carried


def deliveries_of(
    found: Iterable[NamedRow], carried: Mapping[str, Sequence[Event]], storms: Mapping[str, Storm]
) -> list[Delivery]:
    """Read deliveries, each with its events and its storm."""
    return [delivery_of(row, tuple(carried.get(row.id, ())), storms.get(row.storm)) for row in found]


def ticket_values(ticket: Ticket) -> dict[str, object]:
    """Return the columns of a ticket."""
    return _TICKET.of(ticket) | {"key": ticket.key, "state": str(ticket.state), "closed_by": ticket.closed_by}


def ticket_of(row: NamedRow) -> Ticket:
    """Read a ticket."""
    closed_by = ClosedBy(row.closed_by) if row.closed_by else None
    return Ticket(state=TicketState(row.state), closed_by=closed_by, **_TICKET.of(row))


def failure_columns(found: Sequence[OpenFailure]) -> Columns:
    """Return the columns of open failures."""
    return {
        **{name: [getattr(one, name) for one in found] for name in _FAILURE.names},
        "state": [str(one.state) for one in found],
        "source": [one.latest.source for one in found],
        "latest_event_id": [one.latest.id for one in found],
        "facts": [_encode(one) for one in found],
    }


def storm_values(storm: Storm) -> dict[str, object]:
    """Return the columns of a storm."""
    return _STORM.of(storm) | {"facts": _encode(storm)}


def storm_of(row: NamedRow) -> Storm:
    """Read a storm. Its source may have another name by now."""
    return replace(_decode_storm(row.facts), source=row.source)


def recipients_of(encoded: str | None) -> tuple[Recipient, ...]:
    """Read what is recorded of the recipients of a delivery."""
    return _decode_recipients(encoded) if encoded else ()


def recipients_values(recipients: tuple[Recipient, ...] | None) -> dict[str, object]:
    """Return the column of recipients; none where it stays as it is."""
    return {} if recipients is None else {"recipients": _encode(recipients).decode() if recipients else None}


def attempt_columns(attempts: Sequence[Attempt]) -> Columns:
    """Return the columns of attempts."""
    own = {"resolution": [one.resolution and str(one.resolution) for one in attempts]}
    return own | {name: [getattr(one, name) for one in attempts] for name in _ATTEMPT.names}


def attempt_of(row: NamedRow) -> Attempt:
    """Read an attempt."""
    return Attempt(resolution=Resolution(row.resolution) if row.resolution else None, **_ATTEMPT.of(row))


def channel_of(row: NamedRow) -> ChannelState:
    """Read what is recorded about a channel."""
    return ChannelState(health=health_of(row), **_CHANNEL.of(row))


def health_of(row: NamedRow) -> ChannelHealth:
    """Read the health of a channel, or of a budget of edits."""
    return ChannelHealth(**_HEALTH.of(row))


def health_values(health: ChannelHealth) -> dict[str, object]:
    """Return the columns of the health of a channel, or of a budget of edits."""
    return _HEALTH.of(health)


def project_of(row: NamedRow) -> FoundProject:
    """Read a project of an account."""
    return FoundProject(**_PROJECT.of(row))


def account_of(row: NamedRow) -> AccountState:
    """Read what is recorded of an account."""
    return AccountState(**_ACCOUNT.of(row))


def calendar_of(row: NamedRow) -> StoredCalendar:
    """Read a calendar."""
    return StoredCalendar(
        name=row.name,
        entries=entries_of(row.entries),
        fetched_at=row.fetched_at,
        tried_at=row.tried_at,
        error=row.error,
        origin=row.origin or "",
    )


def acknowledgement_of(row: NamedRow) -> Acknowledgement:
    """Read an acknowledgement."""
    return Acknowledgement(**_ACKNOWLEDGEMENT.of(row))


def mute_values(mute: Mute) -> dict[str, object]:
    """Return the columns of a mute."""
    return _MUTE.of(mute) | {
        "matchers": _names_text(tuple(map(str, mute.match))) if mute.match else None,
        "seconds": mute.length and mute.length.total_seconds(),
        "announced": _names_text(mute.announced) if mute.announced else None,
    }


def mute_of(row: NamedRow) -> Mute:
    """Read a mute."""
    return Mute(
        match=_match_of(row.matchers) if row.matchers else (),
        length=None if row.seconds is None else timedelta(seconds=row.seconds),
        announced=_decode_names(row.announced) if row.announced else (),
        **_MUTE.of(row),
    )


@lru_cache(maxsize=1_024)  # the same mutes are read for each poll with events
def _match_of(encoded: str) -> tuple[Matcher, ...]:
    return tuple(map(parse_matcher, _decode_names(encoded)))


def event_subscription_of(row: NamedRow) -> EventSubscription:
    """Read a subscription to events."""
    return EventSubscription(**_EVENT_SUBSCRIPTION.of(row))


def replica_values(replica: Replica) -> dict[str, object]:
    """Return the columns of a process."""
    return asdict(replica) | {"roles": ",".join(replica.roles)}


def replica_of(row: NamedRow) -> Replica:
    """Read a process; a role that this version does not know is left out."""
    roles = tuple(Role(name) for name in row.roles.split(",") if name in list(Role))
    return Replica(roles=roles, **_REPLICA.of(row))


def entries_text(entries: Sequence[CalendarEntry]) -> bytes:
    """Return the column of the entries of a calendar."""
    return _encode(tuple(entries))


def entries_of(encoded: bytes | None) -> tuple[CalendarEntry, ...]:
    """Read the entries of a calendar."""
    return _decode_entries(encoded) if encoded else ()


def topic_of(row: NamedRow) -> TopicSubscription:
    """Read what is recorded of the subscription of the doorbell to a topic."""
    return TopicSubscription(**_TOPIC.of(row))


def calendar_age_of(row: NamedRow) -> CalendarAge:
    """Read how old the last good copy of a calendar is."""
    return CalendarAge(name=row.name, fetched_at=row.fetched_at, tried_at=row.tried_at, error=row.error)


def right_values(right: MissingRight) -> dict[str, object]:
    """Return the columns of a missing right."""
    return asdict(right) | {"part": str(right.part)}


def right_of(row: NamedRow) -> MissingRight:
    """Read a missing right."""
    return MissingRight(part=SourcePart(row.part), **_RIGHT.of(row))


def action_values(action: Action) -> dict[str, object]:
    """Return the columns of what a person did."""
    return asdict(action) | {"verb": str(action.verb)}


def action_of(row: NamedRow) -> Action:
    """Read what a person did."""
    return Action(verb=Verb(row.verb), **_ACTION.of(row))


def session_values(session: WebSession) -> dict[str, object]:
    """Return the columns of a session of a browser."""
    return _SESSION.of(session) | {"how": str(session.how), "groups": _encode(session.groups).decode()}


def session_of(row: NamedRow) -> WebSession:
    """Read a session of a browser."""
    return WebSession(how=SignedInBy(row.how), groups=_decode_names(row.groups), **_SESSION.of(row))


def token_values(token: ApiToken) -> dict[str, object]:
    """Return the columns of a token of the API."""
    return _TOKEN.of(token) | {"scopes": " ".join(sorted(token.scopes))}


def token_of(row: NamedRow) -> ApiToken:
    """Read a token of the API."""
    return ApiToken(scopes=frozenset(map(TokenScope, row.scopes.split())), **_TOKEN.of(row))
