"""Rows of a timeline: tasks become marks in lanes, crowds of them clusters, storms and gaps columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from notifier.web.charts.lanes import Extent, lanes_of, merged
from notifier.web.charts.scales import TimeScale, between

T = TypeVar("T")

LANE_PITCH = 14
"""Distance between the tops of two lanes, in pixels."""
LANE_TOP = 6
"""Distance of the first lane from the top of its row, in pixels."""
MAX_LANES = 6
"""Maximum number of lanes of single marks in a row, unless a chart has many rows. What finds none is counted in
clusters below them."""
LEVELS = 4
"""Number of shades of clusters."""

_BAR_WIDTH = 0.05
"""Least width of a bar in per cent. A browser draws none without a width, whatever its stroke."""
_BAR_ROOM = 0.6
"""Least width in per cent that a bar takes, with its stroke, on a chart of 900 pixels."""
_DISC_ROOM = 0.9
"""Half of the width in per cent that a disc or a triangle takes there."""
_COLUMN_WIDTH = 0.3
"""Least width of a column, in per cent: what lasted a minute of a week is still seen."""
_SLOT_INSET = 0.1
"""Part of a slot on each side that its cluster leaves free."""


class MarkKind(StrEnum):
    """How a mark looks. The values are classes of the stylesheet."""

    COMPLETED = "completed"
    FAILED = "failed"
    RUNNING = "running"
    STUCK = "stuck"
    RAISED = "raised"
    """An alarm, drawn at the moment at which it was raised."""
    CLEARED = "cleared"
    """An alarm that is over."""
    OTHER = "other"
    """A status that is not known."""

    @property
    def has_sign(self) -> bool:
        """Whether a disc or a triangle marks its end."""
        return self in (MarkKind.FAILED, MarkKind.STUCK, MarkKind.RAISED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartSpan(Generic[T]):
    """Something that lasts, to be drawn."""

    start: datetime
    end: datetime
    """For what runs, the time until which it was seen."""
    kind: MarkKind
    about: T


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartMark(Generic[T]):
    """One span of a row, as it is drawn: a bar, with a sign at its end for some kinds."""

    kind: MarkKind
    x: float
    width: float
    end: float
    """Where the disc or the triangle is centred."""
    lane: int
    about: T

    @property
    def y(self) -> int:
        """Top of the bar, in pixels."""
        return _top(self.lane)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartCluster:
    """Several spans that are drawn as one."""

    x: float
    width: float
    lane: int
    since: datetime
    until: datetime
    counts: Mapping[MarkKind, int]
    level: int = 1
    """Shade, from 1 to LEVELS: how many there are, compared with the fullest cluster of the chart."""

    @property
    def y(self) -> int:
        """Top of it, in pixels."""
        return _top(self.lane)

    @property
    def middle(self) -> float:
        """The middle of it, in per cent."""
        return round(self.x + self.width / 2, 2)

    @property
    def count(self) -> int:
        """The number of spans."""
        return sum(self.counts.values())

    @property
    def alarms(self) -> int:
        """The number of those that are alarms."""
        return self.counts.get(MarkKind.RAISED, 0) + self.counts.get(MarkKind.CLEARED, 0)

    @property
    def tasks(self) -> int:
        """The number of those that are tasks."""
        return self.count - self.alarms

    @property
    def failed(self) -> int:
        """The number of tasks that failed."""
        return self.counts.get(MarkKind.FAILED, 0)


def _top(lane: int) -> int:
    return LANE_TOP + LANE_PITCH * lane


@dataclass(frozen=True, slots=True, kw_only=True)
class ChartRow(Generic[T]):
    """A row of a timeline."""

    marks: tuple[ChartMark[T], ...]
    clusters: tuple[ChartCluster, ...] = ()
    lanes: int = 1

    @property
    def height(self) -> int:
        """Height of the row, in pixels. Rows of one and of two lanes are equally high, as their labels need it."""
        return LANE_TOP + LANE_PITCH * max(self.lanes, 2) + 1


class ChartColumn(NamedTuple, Generic[T]):
    """A period that is shaded over all rows: a storm, or a time that was not observed."""

    x: float
    width: float
    label_x: float | None
    """Where its label is centred, in per cent; None where the label of another column is too near."""
    about: T


class ChartSlot(NamedTuple):
    """A part of the period in which things are counted and not drawn."""

    since: datetime
    until: datetime
    completed: int
    failed: int = 0


def lay_out(
    spans: Sequence[ChartSpan[T]], scale: TimeScale, slots: Sequence[ChartSlot] = (), most: int = MAX_LANES
) -> ChartRow[T]:
    """Return a row of spans and of counts.

    Args:
        spans: in any order. Those that the scale does not show are left out.
        scale: the axis.
        slots: what is counted, where that is too much to be drawn. It takes the first lane.
        most: maximum number of lanes of spans.
    """
    shown = [span for span in spans if scale.shows(span.start, span.end)]
    counted = tuple(_counted(slots, scale))
    first = 1 if slots else 0
    extents = [_extent(span, scale) for span in shown]
    lanes = lanes_of(extents, most)
    marks = [_mark(span, scale, first + lane) for span, lane in zip(shown, lanes, strict=True) if lane is not None]
    crowd = [number for number, lane in enumerate(lanes) if lane is None]
    crowded = tuple(_crowded([shown[n] for n in crowd], [extents[n] for n in crowd], first + most))
    clusters = (*counted, *crowded)
    used = max([one.lane for one in marks] + [one.lane for one in clusters], default=0) + 1
    return ChartRow(marks=tuple(marks), clusters=clusters, lanes=used)


def with_levels(rows: Sequence[ChartRow[T]]) -> tuple[ChartRow[T], ...]:
    """Return the rows of one chart with the shades of their clusters, which compare them with one another."""
    most = max((one.count for row in rows for one in row.clusters), default=1)
    return tuple(
        replace(row, clusters=tuple(replace(one, level=-(-LEVELS * one.count // most)) for one in row.clusters))
        for row in rows
    )


def _mark(span: ChartSpan[T], scale: TimeScale, lane: int) -> ChartMark[T]:
    place = scale.span(span.start, span.end)
    width = max(place.width, _BAR_WIDTH)
    return ChartMark(
        kind=span.kind, x=min(place.x, 100 - width), width=width, end=place.end, lane=lane, about=span.about
    )


def _extent(span: ChartSpan[T], scale: TimeScale) -> Extent:
    place = scale.span(span.start, span.end)
    start, end = place.x, max(place.end, place.x + _BAR_ROOM)
    if span.kind.has_sign:
        return Extent(min(start, place.end - _DISC_ROOM), max(end, place.end + _DISC_ROOM))
    return Extent(start, end)


def _crowded(spans: Sequence[ChartSpan[T]], extents: Sequence[Extent], lane: int) -> Iterable[ChartCluster]:
    """Return clusters of what found no lane. Two never overlap."""
    for extent, numbers in merged(extents):
        x, width = between(extent.start, extent.end)
        some = [spans[number] for number in numbers]
        yield ChartCluster(
            x=x,
            width=width,
            lane=lane,
            since=min(span.start for span in some),
            until=max(span.end for span in some),
            counts=Counter(span.kind for span in some),
        )


def _counted(slots: Iterable[ChartSlot], scale: TimeScale) -> Iterable[ChartCluster]:
    for since, until, completed, failed in slots:
        if (completed or failed) and scale.shows(since, until):
            inset = (until - since) * _SLOT_INSET
            x, width = (round(part, 2) for part in scale.span(since + inset, until - inset))
            counts = {MarkKind.COMPLETED: completed, MarkKind.FAILED: failed}
            yield ChartCluster(x=x, width=width, lane=0, since=since, until=until, counts=counts)


_LABEL_ROOM = 14.0
"""Distance between the labels of two columns, in per cent."""


def columns_of(periods: Iterable[tuple[datetime, datetime, T]], scale: TimeScale) -> tuple[ChartColumn[T], ...]:
    """Return the columns of periods that the scale shows, the earliest first."""
    found: list[ChartColumn[T]] = []
    labelled = -_LABEL_ROOM
    for start, end, about in sorted(periods, key=lambda period: period[:2]):
        if scale.shows(start, end):
            x, width = scale.span(start, end)
            if width < _COLUMN_WIDTH:
                x, width = between(min(max(x - _COLUMN_WIDTH / 2, 0.0), 100 - _COLUMN_WIDTH), x + _COLUMN_WIDTH)
            middle = x + width / 2
            has_room = middle - labelled >= _LABEL_ROOM
            labelled = middle if has_room else labelled
            found.append(ChartColumn(x, width, middle if has_room else None, about))
    return tuple(found)
