"""What became of each task of a world, for the lists that follow from tasks. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from notifier.simulator.catalogue import DELETE, Reason
from notifier.simulator.history import CREATING_KINDS
from notifier.simulator.world import EARLIEST, AnyRow, RawRow, RowInstance, TaskRow, TaskTimeline, World


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEnd:
    """One end of a task: it has two when it failed and ran again."""

    at: datetime
    status: str
    reason: Reason | None = None

    @property
    def failed(self) -> bool:
        """Whether the task failed at that moment."""
        return self.status == "Failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStory:
    """A task from its beginning to its end, also what is still to come."""

    job_id: str
    name: str
    instance: RowInstance | None
    created_at: datetime
    ends: tuple[TaskEnd, ...] = ()
    deleted_at: datetime | None = None
    """Time at which a user deletes its row."""


class StoryBook:
    """The stories of a world. Each is derived once, for a timeline never changes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[str, TaskStory] = {}

    def stories(self) -> list[TaskStory]:
        """Return the story of every task that has begun, also those that are no longer listed."""
        world = self._world
        timelines = {**world.timelines, **world.invented}
        known = {job_id: self._known.get(job_id) or timeline_story(timelines[job_id]) for job_id in timelines}
        self._known = known
        by_hand = (row_story(row) for row in world.placed.values() if row.created_at != EARLIEST)
        return [*(story for job_id, story in known.items() if job_id not in world.placed), *by_hand]


def stories(world: World) -> list[TaskStory]:
    """Return the story of every task of a world that has begun."""
    return StoryBook(world).stories()


def timeline_story(timeline: TaskTimeline) -> TaskStory:
    """Return the story of a generated task."""
    rows = [(at, row) for at, row in timeline.steps if row is not None]
    first = rows[0][1]
    return TaskStory(
        job_id=timeline.job_id,
        name=first.name,
        instance=first.instance,
        created_at=first.created_at,
        ends=tuple(TaskEnd(at=row.ended_at, status=row.status, reason=row.reason) for _, row in rows if row.ended_at),
        deleted_at=timeline.deleted_at,
    )


def row_story(row: AnyRow) -> TaskStory:
    """Return the story of a row that follows no timeline."""
    reason = row.reason if isinstance(row, TaskRow) else None
    ended = (TaskEnd(at=row.ended_at, status=row.status, reason=reason),) if row.ended_at else ()
    return TaskStory(job_id=row.job_id, name=row.name, instance=_instance(row), created_at=row.created_at, ends=ended)


def _instance(row: AnyRow) -> RowInstance | None:
    return row.instance_of() if isinstance(row, RawRow) else row.instance


RECENT_TASKS = 400
"""Number of tasks, the latest at a moment, that show which instances exist: ten for each of the largest fleet."""


def residents(world: World, at: datetime) -> list[RowInstance]:
    """Return the instances that existed at a moment, in the order in which their last tasks began."""
    found: dict[str, RowInstance] = {}
    for instance, gone in _appearances(world, at):
        found.pop(instance.id, None)
        if not gone:
            found[instance.id] = instance
    return list(found.values())


def _appearances(world: World, at: datetime) -> Iterator[tuple[RowInstance, bool]]:
    rows = sorted((row for row in world.first_rows if row.created_at <= at), key=lambda row: row.created_at)
    for row in rows:
        if isinstance(row, TaskRow) and row.instance:
            yield row.instance, _gone(row)
    begun = (timeline for timeline in reversed(world.timelines.values()) if timeline.begins_at <= at)
    for timeline in reversed(list(islice(begun, RECENT_TASKS))):
        last = next(row for moment, row in reversed(timeline.steps) if row is not None and moment <= at)
        if last.instance:
            yield last.instance, _gone(last)


def _gone(row: TaskRow) -> bool:
    creating = row.name in {kind.name for kind in CREATING_KINDS}
    return (row.name == DELETE.name and row.status == "Completed") or (creating and row.status != "Completed")
