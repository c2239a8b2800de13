"""What happens to a service: the cloud moves, people act, receivers fail, processes die, time passes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from hypothesis import strategies as st

INSTANCES = 6
OPERATIONS = ("CreateManualBackup", "EnlargeVolume", "RestartInstance")

Move: TypeAlias = Literal["start", "progress", "complete", "fail"]


@dataclass(frozen=True, slots=True)
class CloudMove:
    """A task begins or changes. `place` chooses the instance, and the operation."""

    move: Move
    place: int
    count: int = 1
    """Number of instances to which that happens."""


@dataclass(frozen=True, slots=True)
class Poll:
    """A poll, after the cloud has moved."""

    moves: tuple[CloudMove, ...] = ()
    crash: int | None = None
    """The transaction in which the process dies, just before its commit; None where it lives."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes. A service that sleeps does nothing in it; one that runs does what is due, when it is."""

    length: timedelta
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class Deliver:
    """Every channel delivers what is due; `answers` are the receivers' in turn."""

    answers: tuple[Literal["taken", "later", "refused", "gone"], ...] = ("taken",)


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Somebody acknowledges the latest event of a task that needs care."""

    place: int


@dataclass(frozen=True, slots=True)
class Mute:
    """Somebody mutes what words name."""

    scope: str
    length: timedelta


@dataclass(frozen=True, slots=True)
class Unmute:
    """Somebody ends the mutes of what words name."""

    scope: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A person, or a channel of the chat, wants events that fit."""

    receiver: str
    matchers: str


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """The service goes on with the other configuration."""


Happening: TypeAlias = Poll | Wait | Deliver | Acknowledge | Mute | Unmute | Subscribe | Reconfigure

SCOPES = ("db-1", "db-2", "db-*", "source=prod", "status=failed environment=staging")
FILTERS = ("db-1", "status=failed", "source=prod type=task.completed", "db-* failed")


def cloud_moves() -> st.SearchStrategy[CloudMove]:
    """A change in the cloud; one in eight concerns many instances at once."""
    return st.builds(
        CloudMove,
        move=st.sampled_from(("start", "progress", "complete", "fail", "fail")),
        place=st.integers(0, INSTANCES * len(OPERATIONS) - 1),
        count=st.sampled_from((1, 1, 1, 1, 1, 1, 1, 30)),
    )


def polls(*, crashes: bool) -> st.SearchStrategy[Poll]:
    """A poll that finds up to four changes."""
    return st.builds(
        Poll,
        moves=st.lists(cloud_moves(), max_size=4).map(tuple),
        crash=st.none() | st.integers(1, 2) if crashes else st.none(),
    )


def waits() -> st.SearchStrategy[Wait]:
    """Time that passes, from a minute to more than a day."""
    minutes = (1, 3, 10, 30, 45, 61, 180, 600, 1500)
    return st.builds(
        Wait, length=st.sampled_from([timedelta(minutes=count) for count in minutes]), asleep=st.booleans()
    )


def mutes() -> st.SearchStrategy[Mute | Unmute]:
    """Somebody mutes something, or ends that."""
    lengths = st.sampled_from([timedelta(minutes=count) for count in (5, 90, 600)])
    scopes = st.sampled_from(SCOPES)
    return st.one_of(st.builds(Mute, scope=scopes, length=lengths), st.builds(Unmute, scope=scopes))


def subscriptions() -> st.SearchStrategy[Subscribe]:
    """A person, or a channel of the chat, subscribes."""
    return st.builds(Subscribe, receiver=st.sampled_from(("U1", "U2", "C9")), matchers=st.sampled_from(FILTERS))


def deliveries() -> st.SearchStrategy[Deliver]:
    """A round of deliveries."""
    answers = st.lists(st.sampled_from(("taken", "taken", "later", "refused", "gone")), min_size=1, max_size=4)
    return st.builds(Deliver, answers=answers.map(tuple))


def happenings(*, crashes: bool = True, size: int = 25) -> st.SearchStrategy[list[Happening]]:
    """A history."""
    found: st.SearchStrategy[Happening] = st.one_of(
        polls(crashes=crashes),
        polls(crashes=crashes),
        waits(),
        deliveries(),
        mutes(),
        subscriptions(),
        st.builds(Acknowledge, place=st.integers(0, INSTANCES * len(OPERATIONS) - 1)),
        st.just(Reconfigure()),
    )
    return st.lists(found, min_size=3, max_size=size)
