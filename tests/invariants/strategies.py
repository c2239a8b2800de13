"""Hypothesis strategies for changes, lists, crashes and waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from scenario import ANSWERS as EVERY_ANSWER
from scenario import Answer, CrashPoint
from upstream import COMPLETED, FAILED, ODD, RUNNING, Change, Order, Presentation, Repeats, RowStyle

STATUSES = (RUNNING, COMPLETED, FAILED, *ODD)
ROW_STYLES: st.SearchStrategy[RowStyle] = st.sampled_from(("plain", "chinese", "nulls", "strings"))
REPEATS: st.SearchStrategy[Repeats] = st.sampled_from(("none", "same", "stale first", "stale last"))
CONFLICTS: st.SearchStrategy[Repeats] = st.sampled_from(("same", "stale first", "stale last"))
STEADY_ORDERS: st.SearchStrategy[Order] = st.sampled_from(("newest", "oldest", "shuffled"))
ANSWERS: st.SearchStrategy[list[Answer]] = st.lists(st.sampled_from(EVERY_ANSWER), max_size=3)
PROGRESS = (None, 0, 10, 30, 60, 80, 100)


def changes(*kinds: str) -> st.SearchStrategy[Change]:
    """A change in the cloud, of these kinds or of any."""
    usual = ("create", "create", "become", "become", "become", "progress", "reword", "tell end", "delete", "relist")
    return st.builds(
        Change,
        kind=st.sampled_from(kinds or usual),
        place=st.integers(0, 9),
        status=st.sampled_from((RUNNING, COMPLETED, FAILED, *STATUSES)),
        progress=st.sampled_from(PROGRESS),
        says_when=st.booleans(),
    )


def presentations() -> st.SearchStrategy[Presentation]:
    """A presentation of the list to one poll."""
    shown = st.builds(
        Presentation,
        order=st.sampled_from(("newest", "oldest", "shuffled", "unstable")),
        style=ROW_STYLES,
        repeats=REPEATS,
        moves=st.lists(st.tuples(st.integers(0, 6), changes()), max_size=3).map(tuple),
        fault=st.sampled_from((None, None, "refused", "unreachable", "empty", "blank", "short", "no total")),
        at=st.integers(0, 4),
        passes=st.booleans(),
    )
    return shown.map(_possible)


def faulty_presentations() -> st.SearchStrategy[Presentation]:
    """A presentation with a fault that lasts until the end of the poll."""
    return st.builds(
        Presentation,
        order=STEADY_ORDERS,
        style=ROW_STYLES,
        repeats=REPEATS,
        fault=st.sampled_from(("refused", "unreachable", "empty", "short", "no total")),
        at=st.integers(0, 2),
        passes=st.just(value=False),
    )


def still_presentations() -> st.SearchStrategy[Presentation]:
    """A presentation of a list that does not change during the poll."""
    return presentations().map(lambda presentation: replace(presentation, moves=()))


def _possible(presentation: Presentation) -> Presentation:
    # A list that has no order and changes proves nothing, and no promise covers it. A service that repeatedly states
    # that it has no task is believed.
    moves = () if presentation.order == "unstable" else presentation.moves
    return replace(presentation, moves=moves, passes=presentation.passes or presentation.fault == "blank")


def crash_points() -> st.SearchStrategy[CrashPoint]:
    """An instant of a crash. A poll has two transactions, a round of deliveries up to three."""
    return st.builds(CrashPoint, transaction=st.integers(1, 3), committed=st.booleans())


def waits() -> st.SearchStrategy[timedelta]:
    """A period without polls."""
    minutes, days = (1, 10, 120), (3, 31, 40)
    return st.sampled_from([*(timedelta(minutes=n) for n in minutes), *(timedelta(days=n) for n in days)])


def examples(count: int, **how: Any) -> settings:
    """Return settings for `count` examples, and ten times as many in the profile `explore`."""
    return settings(max_examples=count * settings().max_examples // 100, **how)
