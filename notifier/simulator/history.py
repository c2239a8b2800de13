"""The events of a simulated project, generated from a seed, task by task. Pure."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain
from random import Random

from notifier.simulator import catalogue
from notifier.simulator.catalogue import Reason, TaskKind
from notifier.simulator.options import Options
from notifier.simulator.world import LISTED_FOR, RowInstance, TaskRow, TaskTimeline, World

FLEET = 12
"""Number of instances at the beginning."""
SMALLEST_FLEET = 6
LARGEST_FLEET = 40
"""Maximum number of instances with tasks. Beyond it the oldest get no more tasks, so that long runs stay bounded."""
CREATING_KINDS = (catalogue.CREATE, catalogue.CLONE)
"""The kinds that create an instance."""
PROGRESS_MARKS = tuple(range(5, 100, 5))
"""Percentages at which a running task reports progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The planned course of one task."""

    job_id: str
    kind: TaskKind
    instance: RowInstance
    created_at: datetime
    takes: timedelta
    fails_with: Reason | None = None
    fails_at: int = 0
    """Progress in percent at which it fails."""
    runs_again_after: timedelta | None = None
    deleted_after: timedelta | None = None
    """Time after its end at which a user deletes its row."""
    ends_as: str | None = None
    """Undocumented final status."""


class TaskGenerator:
    """Generates plans. The same seed and times give the same plans."""

    def __init__(self, options: Options, purpose: str) -> None:
        self._rng = options.random(purpose)
        self._options = options
        self._fleet = [_new_instance(self._rng) for _ in range(FLEET)]

    def plan(self, created_at: datetime, kind: TaskKind | None = None) -> Plan:
        """Plan a task that begins at this time, of the given or a random kind."""
        kind = kind or self._kind()
        plan = Plan(
            job_id=str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            kind=kind,
            instance=self._instance(kind),
            created_at=created_at,
            takes=timedelta(seconds=self._rng.uniform(kind.minutes[0] * 60, kind.minutes[1] * 60)),
            deleted_after=timedelta(hours=self._rng.uniform(1, 72)) if self._chance(self._options.deleting) else None,
            ends_as="Canceled" if self._chance(self._options.strange / 2) else None,
        )
        return self.failing(plan) if self._chance(self._options.failing) else plan

    def failing(self, plan: Plan) -> Plan:
        """Return the plan with a failure, and perhaps a second run."""
        if plan.kind in CREATING_KINDS:
            self._fleet = [instance for instance in self._fleet if instance.id != plan.instance.id]
        again = timedelta(minutes=self._rng.uniform(3, 8)) if self._chance(self._options.regress) else None
        return replace(
            plan,
            fails_with=self._rng.choice(plan.kind.reasons),
            fails_at=self._rng.choice(PROGRESS_MARKS[:-1]),
            runs_again_after=again,
            ends_as=None,
        )

    def gap(self) -> timedelta:
        """Return the time until the next task: half to one and a half times the average."""
        return self._options.every * self._rng.uniform(0.5, 1.5)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _kind(self) -> TaskKind:
        if self._chance(self._options.strange / 2):
            return self._rng.choice(catalogue.UNDOCUMENTED_KINDS)
        return self._rng.choices(catalogue.TASK_KINDS, [kind.weight for kind in catalogue.TASK_KINDS])[0]

    def _instance(self, kind: TaskKind) -> RowInstance:
        """Choose from the half of the fleet that has been idle longest: two tasks at once are rare."""
        if kind in CREATING_KINDS:
            self._fleet = [*self._fleet[1 - LARGEST_FLEET :], _new_instance(self._rng)]
            return self._fleet[-1]
        instance = self._fleet.pop(self._rng.randrange(len(self._fleet) // 2))
        if kind is not catalogue.DELETE or len(self._fleet) < SMALLEST_FLEET:
            self._fleet.append(instance)
        return instance


def _new_instance(rng: Random) -> RowInstance:
    number = rng.randrange(1000, 10000)
    usual = f"{rng.choice(catalogue.STAGES)}-{rng.choice(catalogue.SERVICES)}-{number % 90 + 10}"
    name = rng.choice((usual, f"gauss-{number}"))
    return RowInstance(id=f"{rng.getrandbits(128):032x}in14", name=name, status="normal")


# ---- from a plan to rows ----


def _running(plan: Plan, progress: int) -> TaskRow:
    return TaskRow(
        job_id=plan.job_id,
        name=plan.kind.name,
        status="Running",
        instance=replace(plan.instance, status=plan.kind.during),
        progress=progress,
        created_at=plan.created_at,
    )


def _completed(plan: Plan, at: datetime) -> TaskRow:
    instance = replace(plan.instance, status=plan.kind.after)
    status = plan.ends_as or "Completed"
    return replace(_running(plan, 0), status=status, instance=instance, progress=None, ended_at=at)


def _failed(plan: Plan, at: datetime) -> TaskRow:
    return replace(_running(plan, 0), status="Failed", progress=None, reason=plan.fails_with, ended_at=at)


def _run(plan: Plan, begins_at: datetime, until: int) -> Iterator[tuple[datetime, TaskRow]]:
    yield begins_at, _running(plan, 0)
    for percent in PROGRESS_MARKS:
        if percent <= until:
            yield begins_at + plan.takes * (percent / 100), _running(plan, percent)


def _attempts(plan: Plan) -> Iterator[tuple[datetime, TaskRow]]:
    begins_at = plan.created_at
    if plan.fails_with:
        yield from _run(plan, begins_at, plan.fails_at)
        fails_at = begins_at + plan.takes * ((plan.fails_at + 3) / 100)
        yield fails_at, _failed(plan, fails_at)
        if plan.runs_again_after is None:
            return
        begins_at = fails_at + plan.runs_again_after
    yield from _run(plan, begins_at, 100)
    ends_at = begins_at + plan.takes
    yield ends_at, _completed(plan, ends_at)


def build_timeline(plan: Plan) -> TaskTimeline:
    """Return every row of a plan, up to the moment when it is no longer listed."""
    steps = tuple(_attempts(plan))
    gone_at = unlisted_at = plan.created_at + LISTED_FOR
    if plan.deleted_after is not None:
        gone_at = min(gone_at, steps[-1][0] + plan.deleted_after)
    return TaskTimeline(
        job_id=plan.job_id,
        begins_at=plan.created_at,
        steps=(*steps, (gone_at, None)),
        deleted_at=gone_at if gone_at < unlisted_at else None,
    )


def _opening(generator: TaskGenerator, start: datetime) -> Iterator[Plan]:
    """Plan running tasks at the start, so that an observer soon sees each kind of change."""
    minute = timedelta(minutes=1)
    create = generator.failing(generator.plan(start - 6 * minute, catalogue.CREATE))
    yield replace(create, takes=12 * minute, fails_at=80, runs_again_after=None, deleted_after=None)
    for began, kind, takes in (
        (-4, catalogue.RESIZE, 9),
        (-3, catalogue.BACKUP_NOW, 5),
        (1, catalogue.ENLARGE, 5),
        (3, catalogue.CLONE, 12),
    ):
        calm = replace(generator.plan(start + began * minute, kind), fails_with=None, ends_as=None, deleted_after=None)
        yield replace(calm, takes=takes * minute)


def _future(generator: TaskGenerator, start: datetime) -> Iterator[Plan]:
    at = start + timedelta(minutes=3)
    while True:
        at += generator.gap()
        yield generator.plan(at)


def evolving_world(options: Options, start: datetime) -> World:
    """Return a world with thirty days of history that continues without end."""
    generator, extra = TaskGenerator(options, "history"), TaskGenerator(options, "spare")
    apart = LISTED_FOR / (options.backlog + 1)
    past = (generator.plan(start - LISTED_FOR + apart * number) for number in range(1, options.backlog + 1))
    plans = chain(past, _opening(generator, start), _future(generator, start))

    def timeline_of(plan: Plan) -> TaskTimeline:
        timeline = build_timeline(plan)
        return _in_real_time(timeline, start, options.speed) if options.stamps == "real" else timeline

    world = World(timelines=map(timeline_of, plans), invent=lambda now: timeline_of(extra.plan(now)))
    world.advance(start)
    return world


def in_real_time(time: datetime, start: datetime, speed: float) -> datetime:
    """Return the real time at which the virtual time comes, for a simulation that begins at `start` in both."""
    return start + (time - start) / speed


def _in_real_time(timeline: TaskTimeline, start: datetime, speed: float) -> TaskTimeline:
    """Return the timeline with the real times at which its rows are shown."""

    def real(time: datetime) -> datetime:
        return in_real_time(time, start, speed)

    def stamped(row: TaskRow) -> TaskRow:
        return replace(row, created_at=real(row.created_at), ended_at=row.ended_at and real(row.ended_at))

    steps = tuple((at, row and stamped(row)) for at, row in timeline.steps)
    return replace(timeline, steps=steps, deleted_at=timeline.deleted_at and real(timeline.deleted_at))


def static_world(options: Options, start: datetime, size: int) -> World:
    """Return a world with `size` rows, one in fifty of them running, that changes only by control requests."""
    generator, extra = TaskGenerator(options, "history"), TaskGenerator(options, "spare")
    apart = (LISTED_FOR - timedelta(days=1)) / max(size, 1)
    plans = (generator.plan(start - timedelta(hours=1) - apart * (size - number)) for number in range(size))
    rows = (_settled(plan, number) for number, plan in enumerate(plans))
    return World(timelines=iter(()), rows=rows, invent=lambda now: build_timeline(extra.plan(now)))


def _settled(plan: Plan, number: int) -> TaskRow:
    if number % 50 == 0:
        return _running(plan, number % 100)
    ended_at = plan.created_at + plan.takes
    return _failed(plan, ended_at) if plan.fails_with else _completed(plan, ended_at)
