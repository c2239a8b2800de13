"""The goals, and what the benchmarks measured: a table in Markdown, from the files that `make bench` writes.

python benchmarks/goals.py [build/bench]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from figures import NO_FIGURE, Rows, Values, ratios, text

Figure = Callable[[Rows], Values]
"""Takes the rows of a table and returns one value for each round; none where something was not measured."""
FETCHED, LISTED, UNCHANGED = "fetch and decode", "SDK's listing", "poll, 0 % changed"


def of(row: str, measure: str) -> Figure:
    """Return a figure as it was measured."""
    return lambda rows: rows.get(row, {}).get(measure, ())


def over(row: str, peer: str, measure: str) -> Figure:
    """Return a figure as a multiple of that of a peer."""
    return lambda rows: ratios(of(row, measure)(rows), of(peer, measure)(rows))


def share_of_rate(rows: Rows) -> Values:
    """Return the smallest share of its configured rate that a channel reached, for each round."""
    columns = [(float(rate.removesuffix("/s")), values) for row in rows.values() for rate, values in row.items()]
    shares = [[value / rate for value in values] for rate, values in columns]
    return [min(values) for values in zip(*shares, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A row of the table. Its limit is one of `at_least` and `at_most`."""

    what: str
    benchmark: str
    table: str
    figure: Figure
    cpu: Figure | None = None
    """The same in processor time, which hardly depends on what else the machine does."""
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    digits: int = 2

    def limit(self) -> str:
        sign, limit = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {limit:g}{self.unit}"

    def verdict(self, values: Values) -> str:
        """Return whether the median of the rounds keeps the limit."""
        if not values:
            return NO_FIGURE
        found = median(values)
        too_low = self.at_least is not None and found < self.at_least
        too_high = self.at_most is not None and found > self.at_most
        return "no" if too_low or too_high else "yes"


def _poll_goals() -> Iterator[Goal]:
    for tasks in ("1,000", "10,000", "100,000"):
        yield Goal(
            what=f"unchanged poll of {tasks} tasks, times faster than the SDK's bare listing",
            benchmark="poll",
            table=f"{tasks} tasks",
            figure=over(LISTED, UNCHANGED, "s"),
            cpu=over(LISTED, UNCHANGED, "CPU s"),
            at_least=4,
        )


GOALS = (
    Goal(
        what="burst on SQLite, events/s: of Alertmanager",
        benchmark="fanout",
        table="burst",
        figure=over("ours", "alertmanager", "events/s"),
        at_least=1,
    ),
    Goal(
        what="burst on SQLite, events a CPU second: of Alertmanager",
        benchmark="fanout",
        table="burst",
        figure=over("ours", "alertmanager", "events a CPU s"),
        at_least=1.3,
    ),
    Goal(
        what="burst on SQLite, events/s: of a bare SQLite outbox",
        benchmark="fanout",
        table="burst",
        figure=over("ours", "raw-outbox", "events/s"),
        cpu=over("ours", "raw-outbox", "events a CPU s"),
        at_least=0.65,
    ),
    Goal(
        what="burst on PostgreSQL, events/s: of pgqueuer",
        benchmark="fanout",
        table="burst on PostgreSQL",
        figure=over("ours-postgresql", "pgqueuer", "events/s"),
        cpu=over("ours-postgresql", "pgqueuer", "events a CPU s"),
        at_least=1,
    ),
    Goal(
        what="100 events a second, acknowledgement to arrival: p50",
        benchmark="fanout",
        table="paced",
        figure=of("ours", "p50 ms"),
        at_most=1,
        unit=" ms",
    ),
    Goal(
        what="100 events a second, acknowledgement to arrival: p99",
        benchmark="fanout",
        table="paced",
        figure=of("ours", "p99 ms"),
        at_most=4,
        unit=" ms",
    ),
    Goal(
        what="nine receivers beside one that hangs, of their events/s when all answer",
        benchmark="fanout",
        table="hanging",
        figure=of("ours", "of that"),
        at_least=0.9,
    ),
    Goal(
        what="every kind of channel, of its configured rate (the lowest)",
        benchmark="fanout",
        table="rate",
        figure=share_of_rate,
        at_least=0.95,
    ),
    *_poll_goals(),
    Goal(
        what="unchanged poll of 100,000 tasks, of fetching and decoding on bare aiohttp",
        benchmark="poll",
        table="100,000 tasks",
        figure=over(UNCHANGED, FETCHED, "s"),
        cpu=over(UNCHANGED, FETCHED, "CPU s"),
        at_most=1.5,
    ),
    Goal(
        what="first poll of 100,000 tasks, CPU time for each",
        benchmark="poll",
        table="100,000 tasks",
        figure=of("first poll", "µs CPU a task"),
        at_most=40,
        unit=" µs",
        digits=1,
    ),
    Goal(
        what="first poll of 100,000 tasks, longest wait of another transaction",
        benchmark="poll",
        table="100,000 tasks",
        figure=of("first poll", "others wait ms"),
        at_most=100,
        unit=" ms",
        digits=0,
    ),
    Goal(
        what="5,000 sources, one poll a minute each: share of a core",
        benchmark="many_sources",
        table="5,000 sources",
        figure=of("service", "% of a core"),
        at_most=50,
        unit=" %",
        digits=1,
    ),
    Goal(
        what="5,000 sources: memory",
        benchmark="many_sources",
        table="5,000 sources",
        figure=of("service", "MiB"),
        at_most=238,  # 250 MB
        unit=" MiB",
        digits=0,
    ),
    Goal(
        what="5,000 sources: lag of the event loop, p99",
        benchmark="many_sources",
        table="5,000 sources",
        figure=of("service", "lag p99 ms"),
        cpu=of("service", "own p99 ms"),
        at_most=50,
        unit=" ms",
        digits=1,
    ),
    Goal(
        what="5,000 sources: start",
        benchmark="many_sources",
        table="5,000 sources",
        figure=of("restart", "start s"),
        cpu=of("restart", "start CPU s"),
        at_most=2,
        unit=" s",
    ),
    Goal(
        what="one idle source: share of a core",
        benchmark="many_sources",
        table="idle",
        figure=of("restart", "% of a core"),
        at_most=0.5,
        unit=" %",
    ),
    Goal(
        what="one idle source: memory",
        benchmark="many_sources",
        table="idle",
        figure=of("restart", "MiB"),
        at_most=86,  # 90 MB
        unit=" MiB",
        digits=0,
    ),
    *(
        Goal(
            what=f"`notifier {command}`, whole process",
            benchmark="startup",
            table="whole commands",
            figure=of(f"notifier {command}", "wall ms"),
            cpu=of(f"notifier {command}", "CPU ms"),
            at_most=limit,
            unit=" ms",
            digits=0,
        )
        for command, limit in {"--help": 80, "tasks": 350, "check": 500, "health": 300}.items()
    ),
    *(
        Goal(
            what=f"{what}: p99",
            benchmark="commands",
            table=table,
            figure=of(row, "p99 ms"),
            cpu=of(row, "CPU ms each"),
            at_most=limit,
            unit=" ms",
            digits=1,
        )
        for what, table, row, limit in (
            ("failures of an instance in chat, among 100,000 tasks", "one after the other", "ours", 30),
            ("every kind of command in chat", "one after the other", "ours, every kind of command", 30),
            ("2,000 such lists of failures at once", "2,000 at once", "ours", 3_000),
            ("2,000 commands of every kind at once", "2,000 at once", "ours, every kind of command", 3_000),
        )
    ),
)


def lines(documents: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table; `documents` are what benchmarks wrote, by name."""
    yield "| what | goal | measured | in CPU time | kept |"
    yield "|---|---:|---:|---:|---|"
    for goal in GOALS:
        rows: Rows = documents.get(goal.benchmark, {}).get("tables", {}).get(goal.table, {})
        values = goal.figure(rows)
        cpu = text(goal.cpu(rows), goal.digits) if goal.cpu else NO_FIGURE
        yield f"| {goal.what} | {goal.limit()} | {text(values, goal.digits)} | {cpu} | {goal.verdict(values)} |"


def main(arguments: Sequence[str]) -> None:
    """Print the table, and on what it was measured."""
    paths = sorted(Path(arguments[0] if arguments else "build/bench").glob("*.json"))
    documents = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    for name, document in documents.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in document["machine"].items()))
    print("\n" + "\n".join(lines(documents)))


if __name__ == "__main__":
    main(sys.argv[1:])
