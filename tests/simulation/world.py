"""The world around the program: the cloud with its history, receivers that record, and faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from factories import make_task

from notifier.core.delivery import Body, Delivered, Delivery, GaveUp, Outcome, Parked, ResendPolicy, Retry, Unknown
from notifier.core.model import Task, TaskStatus
from notifier.core.storms import Storm

START = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)

LEASE = 6.0
"""Duration of a claim, in seconds."""

State = tuple[str, str, datetime | None]
"""A task's id, status and end time, which distinguish its states."""

# Probabilities of faults.
REFUSED, COMMITTED_UNANSWERED = 0.03, 0.02


def state_of(task: Task) -> State:
    return (task.job_id, str(task.status), task.ended_at)


class Cloud:
    """A task list that changes, with its history of states."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self.tasks: dict[str, Task] = {}
        self.history: list[State] = []

    def change(self, now: datetime) -> None:
        """Start a task, or change an existing one."""
        known = list(self.tasks.values())
        fresh = not known or (len(known) < 8 and self._rng.random() < 0.4)
        task = make_task(f"job-{len(known)}", status="running") if fresh else self._rng.choice(known)
        if task.status.terminal:
            after = replace(task, status=TaskStatus.RUNNING, raw_status="Running", ended_at=None, fail_reason=None)
        elif fresh and self._rng.random() < 0.5:
            after = replace(task, ended_at=None)
        else:
            status = self._rng.choice([TaskStatus.FAILED, TaskStatus.COMPLETED])
            after = replace(task, status=status, raw_status=str(status).capitalize(), ended_at=now)
        self.tasks[after.job_id] = after
        self.history.append(state_of(after))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message that a receiver accepted."""

    at: float
    replica: int
    """Number of the sending process."""
    channel: str
    delivery: Delivery
    body: Body | None


@dataclass(slots=True, kw_only=True)
class Posted:
    """An editable message."""

    subject: str
    shows: str
    """The id of the event that it shows, or what it shows of a storm: see `shown_of`."""
    deleted: bool = False
    copy_of: str = ""
    """Id of the delivery that it was posted for beside the first message of its task; empty for a first message."""


def shown_of(storm: Storm) -> str:
    """Return what a message shows of a storm. As it is posted it shows nothing: an edit must follow."""
    return f"{storm.total} failures, ended at {storm.ended_at}"


@dataclass(frozen=True, slots=True)
class _TakenUnanswered:
    """The receiver accepts the message, and its answer is lost."""


@dataclass(slots=True, kw_only=True)
class Receiver:
    """The service at the other end of a channel. It outlives every process."""

    name: str
    resend_policy: ResendPolicy
    rng: Random
    live: bool = False
    """Whether its messages can be changed."""
    digest_above: int | None = 20
    """More failures than this in one poll are a storm."""
    healed: bool = False
    down: bool = False
    """Refuses everything."""
    silent: bool = False
    """Accepts connections and never answers."""
    arrivals: list[Arrival] = field(default_factory=list)
    offered: list[tuple[float, str, str, str]] = field(default_factory=list)
    """Time, event, subject and delivery of each event in a message that was sent to it."""
    unanswered: set[str] = field(default_factory=set)
    """Deliveries that had an attempt without an answer."""
    refused_for_good: set[str] = field(default_factory=set)
    posted: dict[str, Posted] = field(default_factory=dict)
    """Messages by their reference, where the receiver's can be changed."""

    def take(self, delivery: Delivery, replica: int, now: float) -> Outcome | None:
        """Decide the outcome of a message; None for no answer."""
        outcome = self._decide(delivery)
        if isinstance(outcome, Delivered | _TakenUnanswered):
            self.arrivals.append(
                Arrival(at=now, replica=replica, channel=self.name, delivery=delivery, body=delivery.body)
            )
        if outcome is None or isinstance(outcome, Unknown | _TakenUnanswered):
            self.unanswered.add(delivery.id)
        if isinstance(outcome, GaveUp):
            self.refused_for_good.add(delivery.id)
        return self.rng.choice([None, Unknown("reset")]) if isinstance(outcome, _TakenUnanswered) else outcome

    # -- live messages --

    def post(self, delivery: Delivery, *, copy: bool = False) -> str:
        """Post the message of a delivery once, and return its reference."""
        event = delivery.events[0]
        ref = f"{'copy' if copy else 'ref'} of {delivery.id}"
        subject, shows = (delivery.subject, "") if delivery.storm else (event.subject, event.id)
        self.posted.setdefault(ref, Posted(subject=subject, shows=shows, copy_of=delivery.id if copy else ""))
        return ref

    def exists(self, ref: str) -> bool:
        """Tell whether a message has not been deleted."""
        return not self.posted[ref].deleted

    def change(self, ref: str, shows: str) -> Outcome | None:
        """Edit a message, or fail; None for no answer, possibly after the edit."""
        answer = self.rng.choices(["good", "busy", "broken", "unanswered"], weights=[80, 6, 6, 8])[0]
        if self.down or (answer == "broken" and not self.healed):
            return Retry("HTTP 503")
        if self.silent:
            return None
        if answer == "busy" and not self.healed:
            return Retry("HTTP 429", timedelta(seconds=self.rng.randint(1, 3)))
        self.posted[ref].shows = shows
        return Unknown("reset") if answer == "unanswered" and not self.healed else Delivered()

    def _decide(self, delivery: Delivery) -> Outcome | _TakenUnanswered | None:
        if self.down:
            return Retry("HTTP 503")
        if self.silent:
            return None
        answers: list[Outcome | _TakenUnanswered] = [
            Delivered(f"ref of {delivery.id}"),
            Retry("HTTP 500"),
            Retry("HTTP 429", timedelta(seconds=self.rng.randint(1, 5))),
            Parked("wrong token", timedelta(seconds=3)),
            GaveUp("HTTP 400"),
            Unknown("reset before it was read"),
            _TakenUnanswered(),
        ]
        return answers[0] if self.healed else self.rng.choices(answers, weights=[72, 5, 3, 1, 1, 4, 14])[0]

    def find_sent(self, delivery: Delivery) -> Outcome | None:
        """Return whether it has a message."""
        if self.down or self.silent:
            return Retry("HTTP 503")
        has = any(arrival.delivery.id == delivery.id for arrival in self.arrivals)
        return Delivered(f"ref of {delivery.id}") if has else None


@dataclass(slots=True, kw_only=True)
class World:
    """State that outlives every process, and the faults of all processes."""

    rng: Random
    cloud: Cloud
    receivers: Sequence[Receiver]
    healed: bool = False
    database_down: bool = False
    cloud_down: bool = False
    recorded: list[tuple[float, Sequence[State]]] = field(default_factory=list)
    """Time and states of each poll that the program recorded. A stopped process reports late."""
    disturbances: list[tuple[float, float, int]] = field(default_factory=list)
    """Start, end and process number of each kill or stop."""
    blackouts: list[tuple[float, float]] = field(default_factory=list)
    """Start and end of each outage of the database."""
    trace: list[str] = field(default_factory=list)

    def happens(self, chance: float) -> bool:
        return not self.healed and self.rng.random() < chance

    def heal(self) -> None:
        """End all faults."""
        self.healed, self.database_down, self.cloud_down = True, False, False
        for receiver in self.receivers:
            receiver.healed, receiver.down, receiver.silent = True, False, False

    def add_to_trace(self, now: float, who: str, what: str) -> None:
        self.trace.append(f"{now:9.3f} {who:10} {what}")
