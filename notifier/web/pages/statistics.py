"""Statistics: how tasks of each type end and how long they take, day by day, and why they fail."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from notifier.core.ended_tasks import AcknowledgedFigures, CauseResults, PeriodResults, ToldFigures, Totals, TypeResults
from notifier.core.origins import OriginFigures
from notifier.statistics import PERIODS, OngoingRun, TaskFigures
from notifier.web.charts.measures import (
    BoxMarks,
    BoxValues,
    DayBar,
    DayCount,
    RateBar,
    box_marks,
    box_values,
    day_bars,
    rate_bar,
    wilson,
)
from notifier.web.charts.scales import LogScale, LogTick, log_scale, log_ticks, share_limit
from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageRequest, PageRoute
from notifier.wording.links import list_path, task_path
from notifier.wording.phrases import Language

MAX_TYPES = 30
"""Maximum number of types that have a row, those with the most tasks."""
MAX_CAUSES = 8
"""Maximum number of causes that have a row, those with the most failures."""
MAX_NAMED_INSTANCES = 2
"""Maximum number of instances that are named for a cause; more are counted."""
MAX_DOTS = 6
"""Maximum number of durations of a type that are drawn beyond its whisker, apart from each other."""
MIN_FOR_LIMIT = 5
"""Number of ended tasks from which the interval of a rate is within the axis."""
_DOT_STEP = 1.04
"""Factor by which two durations differ at least that are drawn as two dots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnTask:
    """What a dot is about: a duration, or a task that runs."""

    url: str
    seconds: float
    instance: str = ""
    """Of a task that runs."""
    running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRow:
    """How tasks of one type ended."""

    name: str
    """As the API has it."""
    url: str
    failed_url: str
    rate: RateBar
    runs: int
    """Number of completed tasks whose duration is known."""
    values: BoxValues | None
    """None where too few durations are known."""
    longest: float | None
    marks: BoxMarks[DrawnTask]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRow:
    """How tasks ended on a day."""

    at: datetime
    completed: int
    failed: int
    in_storms: int
    url: str
    failed_url: str
    storm_url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseRow:
    """Failures for one cause."""

    code: str
    meaning: str
    """The empty string where it is not known."""
    failures: int
    instances: tuple[str, ...]
    """Names of the instances; empty where there are too many to name."""
    instance_count: int
    sources: tuple[str, ...]
    last: datetime
    url: str | None
    """None for failures without a code: nothing finds them in a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatisticsView:
    """What the page shows."""

    length: int
    """Of the period, in days."""
    source: str | None
    """The only source that it is about."""
    sources: tuple[str, ...]
    first: datetime
    """Beginning of the first day."""
    last: datetime
    """Beginning of the last day."""
    totals: Totals
    origins: OriginFigures
    """How many starts were explained in the period, of all sources."""
    before: Totals | None
    in_storms: int
    told: ToldFigures
    acknowledged: AcknowledgedFigures
    types: tuple[TypeRow, ...]
    other_types: int
    limit: float
    """End of the axis of rates, as a share."""
    ticks: tuple[LogTick, ...]
    bars: tuple[DayBar, ...]
    days: tuple[DayRow, ...]
    """Those on which tasks ended, the latest first."""
    causes: tuple[CauseRow, ...]
    other_causes: int
    other_failures: int
    ended_url: str
    failed_url: str


def read_statistics(request: PageRequest, q: WebReads) -> Page:
    """Return the page."""
    length, source = period_of(request.query.get("days", "")), request.query.get("source") or None
    figures = request.rules.ended.figures(q, length, source)
    at = q.now().replace(second=0, microsecond=0)
    origins = q.origin_figures(figures.days.begins(figures.days.first))
    view = statistics_view(figures, length, source, at, language=request.language, origins=origins)
    return Page(template="statistics.html", view=view)


def period_of(days: str) -> int:
    """Return the length of the period that is asked for, in days; the usual one for any other text."""
    return next((length for length in PERIODS if str(length) == days), PERIODS[1])


def statistics_view(
    figures: TaskFigures,
    length: int,
    source: str | None,
    at: datetime,
    *,
    language: Language,
    origins: OriginFigures,
) -> StatisticsView:
    """Return what the page shows, at a time of which the seconds do not matter."""
    results, days = figures.results, figures.days
    lists = TaskLists(first=results.days[0].day, source=source)
    shown = results.types[:MAX_TYPES]
    drawn = [_Drawn(one, [task for task in figures.running if task.name == one.name], at, lists) for one in shown]
    scale = log_scale([seconds for one in drawn for seconds in one.extent])
    limit = share_limit(
        [wilson(one.failed, one.ended).high for one in shown if one.ended >= MIN_FOR_LIMIT] or [_USUAL_LIMIT]
    )
    return StatisticsView(
        length=length,
        source=source,
        sources=figures.sources,
        first=days.begins(days.first),
        last=days.begins(days.last),
        totals=results.totals,
        origins=origins,
        before=figures.before,
        in_storms=results.in_storms,
        told=results.told,
        acknowledged=figures.acknowledged,
        types=tuple(one.row(scale, limit) for one in drawn),
        other_types=len(results.types) - len(shown),
        limit=limit,
        ticks=log_ticks(scale),
        bars=day_bars(
            [
                DayCount(one.begins, one.completed, one.failed, storm=2 * one.in_storms > one.failed)
                for one in results.days
            ]
        ),
        days=tuple(_day_rows(results, lists)),
        causes=tuple(_cause_row(one, lists, language) for one in results.causes[:MAX_CAUSES]),
        other_causes=len(results.causes[MAX_CAUSES:]),
        other_failures=sum(one.failures for one in results.causes[MAX_CAUSES:]),
        ended_url=lists.url(status=("completed", "failed")),
        failed_url=lists.url(status="failed"),
    )


_USUAL_LIMIT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLists:
    """The addresses of the lists of the tasks that are counted."""

    first: date
    source: str | None

    def url(self, **wanted: str | Sequence[str]) -> str:
        """Return the address of the tasks of the period that fit."""
        return self._url({"since": self.first.isoformat()}, wanted)

    def day(self, day: date, **wanted: str | Sequence[str]) -> str:
        """Return the address of the tasks of a day that fit."""
        return self._url({"on": day.isoformat()}, wanted)

    def _url(self, when: dict[str, str], wanted: dict[str, str | Sequence[str]]) -> str:
        of = {"source": self.source} if self.source else {}
        return f"/tasks?{urlencode(wanted | of | when, doseq=True)}"


class _Drawn:
    """The durations of one type that are drawn."""

    def __init__(self, of: TypeResults, running: Sequence[OngoingRun], at: datetime, lists: TaskLists) -> None:
        self._of = of
        self._url = lists.url(type=of.name)
        self._failed_url = lists.url(status="failed", type=of.name)
        self._completed_url = lists.url(status="completed", type=of.name)
        self._values = box_values(of.seconds)
        self._dots = list(_beyond(of.seconds, self._values))
        self._running = [(task.stuck, _running(task, at)) for task in running]

    @property
    def extent(self) -> Iterator[float]:
        """All durations that are drawn."""
        if self._values:
            yield from (self._values.low, self._values.high)
        yield from self._dots
        yield from (one.seconds for _, one in self._running)

    def row(self, scale: LogScale, limit: float) -> TypeRow:
        """Return the row of the type."""
        dots = [(seconds, DrawnTask(url=self._completed_url, seconds=seconds)) for seconds in self._dots]
        return TypeRow(
            name=self._of.name,
            url=self._url,
            failed_url=self._failed_url,
            rate=rate_bar(self._of.failed, self._of.ended, limit),
            runs=len(self._of.seconds),
            values=self._values,
            longest=self._of.seconds[-1] if self._of.seconds else None,
            marks=box_marks(
                self._values,
                scale,
                dots=dots,
                running=[(one.seconds, one) for stuck, one in self._running if not stuck],
                stuck=[(one.seconds, one) for stuck, one in self._running if stuck],
            ),
        )


def _beyond(seconds: Sequence[float], values: BoxValues | None) -> Iterator[float]:
    """Yield the durations that are drawn by themselves, the longest first, none too near to the one before."""
    drawn, last = 0, None
    for one in reversed(seconds):
        if drawn == MAX_DOTS or (values is not None and one <= values.high):
            return
        if last is None or one * _DOT_STEP < last or values is None:
            drawn, last = drawn + 1, one
            yield max(one, 1.0)


def _running(task: OngoingRun, at: datetime) -> DrawnTask:
    return DrawnTask(
        url=task_path(task.source, task.job_id),
        seconds=max((at - task.began) / timedelta(seconds=1), 1.0),
        instance=task.instance,
        running=True,
    )


def _day_rows(results: PeriodResults, lists: TaskLists) -> Iterable[DayRow]:
    for one in reversed(results.days):
        if one.completed or one.failed:
            yield DayRow(
                at=one.begins,
                completed=one.completed,
                failed=one.failed,
                in_storms=one.in_storms,
                url=lists.day(one.day),
                failed_url=lists.day(one.day, status="failed"),
                storm_url=list_path("/tasks", storm=one.storm) if one.storm else None,
            )


def _cause_row(one: CauseResults, lists: TaskLists, language: Language) -> CauseRow:
    explanation, few = one.cause.explanation, len(one.instances) <= MAX_NAMED_INSTANCES
    code = one.cause.key.code
    return CauseRow(
        code=code,
        meaning=explanation.means(language) or "",
        failures=one.failures,
        instances=tuple(sorted(one.instances)) if few else (),
        instance_count=len(one.instances),
        sources=tuple(sorted(one.sources)),
        last=one.last,
        url=lists.url(status="failed", code=code) if code else None,
    )


routes = (PageRoute(path="/statistics", read=read_statistics, tab="statistics"),)
