"""Lanes: marks of a row that would cover one another are drawn below one another."""

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple


class Extent(NamedTuple):
    """What a mark covers of its row, in per cent, with the room that a disc at its end takes."""

    start: float
    end: float


def lanes_of(extents: Sequence[Extent], most: int) -> tuple[int | None, ...]:
    """Return the lane of each mark, from 0: the first one that is free; None where `most` lanes are taken.

    Marks that come in the order of their beginning take the fewest lanes. No two in a lane overlap.
    """
    free = list(range(most))
    taken: list[tuple[float, int]] = []
    found: list[int | None] = [None] * len(extents)
    for number in sorted(range(len(extents)), key=lambda number: extents[number]):
        start, end = extents[number]
        while taken and taken[0][0] <= start:
            heappush(free, heappop(taken)[1])
        if free:
            lane = found[number] = heappop(free)
            heappush(taken, (max(end, start), lane))
    return tuple(found)


def merged(extents: Sequence[Extent]) -> Sequence[tuple[Extent, Sequence[int]]]:
    """Join the extents that overlap. Return each joined one with the numbers of those that it covers, in order."""
    joined: list[tuple[Extent, list[int]]] = []
    for number in sorted(range(len(extents)), key=lambda number: extents[number]):
        one = extents[number]
        if joined and one.start < joined[-1][0].end:
            before, numbers = joined[-1]
            joined[-1] = Extent(before.start, max(before.end, one.end)), [*numbers, number]
        else:
            joined.append((one, [number]))
    return joined
