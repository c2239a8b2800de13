"""How often foresight is right: ours beside a fixed limit, and beside the mean and three standard deviations.

All of them see the same year of sixty instances (`foresight_year.py`), run by run, and know only what has ended before.

end        tasks that run, asked at a quarter, half and three quarters of their time. Error: distance of the foretold
           from the real end, as a share of the duration. Inside: share of ends within the range that was named
overdue    runs that hang. False: alarms about runs that ended well, a year; missed: runs that hung without an alarm.
           Late: how much of the usual time had passed beyond it at the alarm
missing    backups that did not appear. False: alarms although nothing was lost, a year; missed: lost backups without an
           alarm until the next one. Late: hours from when it should have begun to the alarm

    python benchmarks/foresight.py [--seed 1] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from figures import Measure, Report, add_arguments
from foresight_year import BACKUP, Run, Year, year

from notifier.core import usual
from notifier.core.overdue import usual_limit
from notifier.core.rhythm import learn_rhythm

OURS, FIXED, MEAN = "ours", "fixed limit", "mean + 3 deviations"
FIXED_LIMIT = timedelta(hours=2)
FIXED_INTERVAL = timedelta(hours=26)
SLACK = timedelta(minutes=10)
"""What is added to the mean and three deviations: else runs of seconds give most of its alarms."""
ASKED_AT = (0.25, 0.5, 0.75)


# ---- what is known ----


class Past:
    """Durations of completed runs, by operation and instance, the latest last."""

    def __init__(self) -> None:
        self._of_source: dict[str, list[usual.Run]] = defaultdict(list)
        self._by_instance: dict[tuple[str, str], list[usual.Run]] = defaultdict(list)

    def add(self, run: Run) -> None:
        ended = usual.Run(run.seconds, run.began.weekday())
        self._of_source[run.operation].append(ended)
        self._by_instance[run.operation, run.instance].append(ended)

    def usual(self, run: Run) -> usual.Usual | None:
        mine = self._by_instance[run.operation, run.instance][-60:][::-1]
        runs = usual.Runs(of_source=self._of_source[run.operation][-60:][::-1], by_instance={run.instance: mine})
        return usual.usual_of(runs, run.instance, run.began.weekday())

    def plain(self, run: Run) -> Sequence[float]:
        """Return all durations that a mean is made of: of the instance where there are enough, else of the source."""
        mine = self._by_instance[run.operation, run.instance]
        return [one.seconds for one in (mine if len(mine) >= usual.MIN_RUNS else self._of_source[run.operation])]


def with_past(runs: Sequence[Run]) -> Iterator[tuple[Run, Past]]:
    """Yield each run with what had ended when it began."""
    past, ended = Past(), sorted(runs, key=lambda run: run.ended)
    at = 0
    for run in runs:
        while ended[at].ended <= run.began:
            past.add(ended[at])
            at += 1
        yield run, past


# ---- judgements ----


def mean_limit(durations: Sequence[float], slack: timedelta = SLACK) -> timedelta | None:
    if len(durations) < usual.MIN_RUNS:
        return None
    return timedelta(seconds=statistics.fmean(durations) + 3 * statistics.stdev(durations)) + slack


def our_limit(run: Run, past: Past) -> timedelta | None:
    known = past.usual(run)
    return usual_limit(known) if known else None


Limit = Callable[[Run, Past], timedelta | None]
LIMITS: Mapping[str, Limit] = {
    OURS: our_limit,
    FIXED: lambda _run, _past: FIXED_LIMIT,
    MEAN: lambda run, past: mean_limit(past.plain(run)),
}


def overdue(happened: Year, limit: Limit) -> dict[str, float]:
    false = missed = hung = 0
    late: list[float] = []
    for run, past in with_past(happened.runs):
        found = limit(run, past)
        alarm = found is not None and run.seconds > found.total_seconds()
        hung += run.hung
        false += alarm and not run.hung
        missed += run.hung and not alarm
        if alarm and run.hung and found is not None and (known := past.usual(run)):
            late.append((found.total_seconds() - known.middle) / 60)
    return {"false": false, "missed": missed, "of": hung, "late min": statistics.median(late)}


@dataclass(frozen=True, slots=True)
class Expected:
    """When a backup should have appeared, and from when on any run counts as it."""

    overdue_at: datetime
    from_: datetime


def our_expectation(times: Sequence[datetime]) -> Expected | None:
    found = learn_rhythm(times)
    return Expected(found.overdue_at, found.satisfied_from) if found else None


def fixed_expectation(times: Sequence[datetime]) -> Expected | None:
    return Expected(times[-1] + FIXED_INTERVAL, times[-1])


def mean_expectation(times: Sequence[datetime]) -> Expected | None:
    gaps = [(after - before).total_seconds() for before, after in pairwise(times)]
    limit = mean_limit(gaps, timedelta(hours=1))
    return Expected(times[-1] + limit, times[-1]) if limit else None


Expectation = Callable[[Sequence[datetime]], Expected | None]
EXPECTATIONS: Mapping[str, Expectation] = {OURS: our_expectation, FIXED: fixed_expectation, MEAN: mean_expectation}


def missing(happened: Year, expectation: Expectation) -> dict[str, float]:
    false = missed = 0
    late: list[float] = []
    for instance in sorted({run.instance for run in happened.runs}):
        times = [run.began for run in happened.runs if run.instance == instance and run.operation == BACKUP]
        lost = [at for name, at in happened.lost if name == instance]
        alarms = list(_alarms(times, expectation, happened.paused[instance]))
        unheard = set(lost)
        for alarm, since in alarms:
            explaining = [at for at in unheard if since <= at <= alarm]
            false += not explaining and not any(since <= at <= alarm for at in lost)
            late += [(alarm - at) / timedelta(hours=1) for at in explaining]
            unheard.difference_update(explaining)
        missed += len(unheard)
    return {"false": false, "missed": missed, "of": len(happened.lost), "late h": statistics.median(late)}


def _alarms(
    times: Sequence[datetime], expectation: Expectation, paused: tuple[datetime, datetime]
) -> Iterator[tuple[datetime, datetime]]:
    """Yield when an alarm was raised, and the time of the run that was the last then. One for each last run."""
    for count in range(1, len(times)):
        found = expectation(times[max(count - 60, 0) : count])
        if found is None or any(found.from_ < at <= found.overdue_at for at in times[count : count + 20]):
            continue
        if times[count] > found.overdue_at and not paused[0] <= found.overdue_at <= paused[1]:
            yield found.overdue_at, times[count - 1]


def ends(happened: Year, foretell: Callable[[Run, Past, float], tuple[float, float] | None]) -> dict[str, float]:
    errors: list[float] = []
    inside = asked = 0
    for run, past in with_past(happened.runs):
        if run.hung:
            continue
        for share in ASKED_AT:
            asked += 1
            elapsed = run.seconds * share
            found = foretell(run, past, elapsed)
            if found is None:
                continue
            low, high = found
            errors.append(abs((low + high) / 2 + elapsed - run.seconds) / run.seconds)
            inside += low - 5 <= run.seconds - elapsed <= high + 5
    return {
        "error %": 100 * statistics.median(errors),
        "worst tenth %": 100 * statistics.quantiles(errors, n=10)[-1],
        "inside %": 100 * inside / len(errors),
        "answered %": 100 * len(errors) / asked,
    }


def our_end(run: Run, past: Past, elapsed: float) -> tuple[float, float] | None:
    found = usual.remaining(past.usual(run), elapsed, run.progress(elapsed))
    return (found.low, found.high) if found else None


def our_end_without_progress(run: Run, past: Past, elapsed: float) -> tuple[float, float] | None:
    found = usual.remaining(past.usual(run), elapsed)
    return (found.low, found.high) if found else None


def end_by_progress(run: Run, past: Past, elapsed: float) -> tuple[float, float] | None:  # noqa: ARG001 - as the others
    done = run.progress(elapsed) / 100
    return (elapsed / done - elapsed,) * 2 if 0 < done < 1 else None


def end_by_mean(run: Run, past: Past, elapsed: float) -> tuple[float, float] | None:
    known = past.plain(run)
    if len(known) < usual.MIN_RUNS:
        return None
    mean, deviation = statistics.fmean(known), statistics.stdev(known)
    return max(mean - deviation - elapsed, 0.0), max(mean + deviation - elapsed, 0.0)


ENDS = {
    OURS: our_end,
    "ours without progress": our_end_without_progress,
    "progress alone": end_by_progress,
    "mean and deviation": end_by_mean,
}


# ---- the table ----


def rows(found: Mapping[str, Sequence[dict[str, float]]]) -> Mapping[str, Mapping[str, Sequence[float]]]:
    return {name: {key: [one[key] for one in rounds] for key in rounds[0]} for name, rounds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="seed of the first year; each round has the next one")
    add_arguments(parser)
    arguments = parser.parse_args()
    report = Report("foresight", arguments.json)
    years = [year(arguments.seed + number) for number in range(arguments.rounds)]
    counts = (Measure(name="false"), Measure(name="missed"), Measure(name="of"))
    report.table(
        "end",
        rows({name: [ends(one, foretell) for one in years] for name, foretell in ENDS.items()}),
        [Measure(name=name) for name in ("error %", "worst tenth %", "inside %", "answered %")],
    )
    report.table(
        "overdue",
        rows({name: [overdue(one, limit) for one in years] for name, limit in LIMITS.items()}),
        (*counts, Measure(name="late min")),
    )
    report.table(
        "missing",
        rows({name: [missing(one, expected) for one in years] for name, expected in EXPECTATIONS.items()}),
        (*counts, Measure(name="late h", digits=1)),
    )


if __name__ == "__main__":
    main()
