"""A small history for tests of the API: one thing of each kind, and texts that try to break an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from factories import make_delivery, make_event, make_missing, make_task
from fakes import START

from notifier import mutes
from notifier.core.cron import Cron
from notifier.core.delivery import Attempt, DeliveryState
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.events import EventType
from notifier.core.failures import OpenFailure, failure_id
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.matchers import parse_matchers
from notifier.core.model import Event, Task
from notifier.core.mutes import MuteScope, MuteTimes
from notifier.core.outbox import Settlement
from notifier.core.pacing import AttemptSignal
from notifier.core.people import Person
from notifier.core.routing import Route, RoutedEvent
from notifier.core.tickets import happened, operation_of
from notifier.core.wall_time import zone_of
from notifier.mutes import MuteRequest
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

KIM = Person(id="web:kim", name="Kim")
HOSTILE = "<script>alert(1)</script>\u202e'\";--\x07\n\r長😀{{7*7}}%s"
FAILED = make_task("31b8ae23-failed", fail_reason="The quota is not enough. (DBS.280277)")
RUNNING = make_task("31b8ae23-running", status="running", ended_at=None, instance_id="in-2", instance_name="prod-2")
DONE = make_task("77c0ffee-done", status="completed", instance_id="in-3", instance_name="lab-3", source="lab")
STRANGE = make_task("strange-job", name=HOSTILE, fail_reason=HOSTILE, instance_name=HOSTILE, instance_id="in-4")
TASKS = (FAILED, RUNNING, DONE, STRANGE)
EVENTS = tuple(make_event(task) for task in TASKS)
MISSING = make_missing()
EXPECTED = Expected(
    sources=(
        ConfiguredSource(name="prod", region="cn-north-4", project_id="p1", poll_every=timedelta(seconds=30)),
        ConfiguredSource(name="lab", region="cn-east-3", project_id="p2", poll_every=timedelta(seconds=30)),
    ),
    channels=("dba", "mail", "tickets"),
)
ROUTES = (Route(name="everything", match=tuple(parse_matchers("type=task.*")), channels=("dba", "mail", "tickets")),)
FAILURE_ID = failure_id(EVENTS[0].id)


def delivery_of(event: Event, channel: str) -> str:
    return make_delivery(event, channel=channel).id


async def seed(store: SqlStore, at: datetime = START) -> None:
    """Record the history."""
    await store.transact(lambda tx: _write(tx, at))


def _write(tx: Transaction, at: datetime) -> None:
    for source in ("lab", "prod"):
        _record_tasks(tx, source, [task for task in TASKS if task.source == source], at)
    channels = ("dba", "mail", "tickets")
    every = (*EVENTS, MISSING)
    tx.events.record([RoutedEvent(event=event, routes=("everything",), channels=channels) for event in every])
    tx.deliveries.record([make_delivery(event, channel=channel) for event in every for channel in channels])
    tx.channels.park("tickets", "HTTP 401: the token was revoked", None, at)
    for number, event in enumerate(EVENTS):
        _settle(tx, delivery_of(event, "dba"), DeliveryState.DELIVERED, at)
        if number in (0, 3):
            _settle(tx, delivery_of(event, "mail"), DeliveryState.DEAD, at)
    tx.failures.save([_failure(event, at) for event in (EVENTS[0], EVENTS[3], MISSING)])
    mutes.create(tx, MuteRequest(scope=MuteScope(instance="in-2"), times=MuteTimes(length=timedelta(hours=2))), KIM)
    weekly = MuteTimes(length=timedelta(hours=3), cron=Cron.parse("0 2 * * 0", zone_of("Asia/Shanghai")))
    scope = MuteScope(match=tuple(parse_matchers("source=lab")))
    mutes.create(tx, MuteRequest(scope=scope, times=weekly, reason=HOSTILE.replace("\x07\n\r", " ")), KIM)


def _record_tasks(tx: Transaction, source: str, tasks: list[Task], at: datetime) -> None:
    lease = timedelta(minutes=1)
    claim = tx.polls.claim(source, "me", at, lease, poll_every=lease, force=True)
    assert claim
    written = [TaskWrite(recorded=RecordedTask(task=task, occurrence="o"), fingerprint=b"1") for task in tasks]
    assert not tx.polls.record_tasks(claim, written, at)


def _settle(tx: Transaction, delivery_id: str, state: DeliveryState, at: datetime) -> None:
    dead = state is DeliveryState.DEAD
    attempt = Attempt(
        delivery_id=delivery_id,
        number=1,
        started_at=at,
        finished_at=at + timedelta(seconds=1),
        outcome="gave-up" if dead else "delivered",
        reason="550 no such mailbox" if dead else None,
        reply=HOSTILE if dead else "200: ok",
    )
    settlement = Settlement(
        delivery_id=delivery_id,
        state=state,
        wait=None,
        attempt=attempt,
        reason=attempt.reason,
        signal=AttemptSignal.NONE if dead else AttemptSignal.GOOD,
    )
    assert tx.deliveries.settle([settlement], at) == 1


def _failure(event: Event, at: datetime) -> OpenFailure:
    operation = operation_of(event)
    assert operation
    return OpenFailure(
        id=failure_id(event.id),
        operation=operation,
        first_event_id=event.id,
        latest=event,
        opened_at=happened(event),
        severity=event.severity,
        told=("dba",),
        changed_at=at,
    )


def later(number: int, kind: EventType = EventType.TASK_PROGRESSED) -> Event:
    """Return another event."""
    task = replace(RUNNING, progress=float(number % 100))
    return make_event(task, type=kind, occurrence=f"later {number}")
