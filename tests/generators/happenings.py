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
    """Time passes."""

    length: timedelta


@dataclass(frozen=True, slots=True)
class Deliver:
    """Every channel delivers what is due; `answers` are the receivers' in turn."""

    answers: tuple[Literal["taken", "later", "refused", "gone"], ...] = ("taken",)


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Somebody acknowledges the latest event of a task that needs care."""

    place: int


@dataclass(frozen=True, slots=True)
class Reconfigure:
    """The service goes on with the other configuration."""


Happening: TypeAlias = Poll | Wait | Deliver | Acknowledge | Reconfigure


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
    return st.sampled_from([Wait(timedelta(minutes=count)) for count in minutes])


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
        st.builds(Acknowledge, place=st.integers(0, INSTANCES * len(OPERATIONS) - 1)),
        st.just(Reconfigure()),
    )
    return st.lists(found, min_size=3, max_size=size)
