"""Tables of what was measured: medians, ranges over the rounds, and ratios to a peer of the same rounds.

A benchmark measures everything once in each round, so that ours and a peer see the same machine. A ratio is the median
of the ratios of the rounds. With --json the values are also written to a file, from which goals.py makes its table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NO_FIGURE = "-"

Values = Sequence[float]
"""The values of one measure, one for each round."""
Rows = Mapping[str, Mapping[str, Values]]
"""The values of every system, by its name and the name of the measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A column of a table."""

    name: str
    """With its unit, as in "p50 ms"."""
    digits: int = 0
    """Decimal places."""
    peers: Sequence[str] = ()
    """Rows with which every row is compared, each in a column of its own; those that were not measured are left out."""


def add_arguments(parser: argparse.ArgumentParser, *, rounds: int = 3) -> None:
    """Add the options that every benchmark has."""
    parser.add_argument("--rounds", type=int, default=rounds, help="in each round everything is measured once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the values to this file")


def text(values: Values, digits: int = 0) -> str:
    """Return the median and, unless all values look the same, the range."""
    if not values:
        return NO_FIGURE
    median, least, most = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return median if least == most else f"{median} ({least}-{most})"


def ratios(values: Values, peers: Values) -> Values:
    """Return the ratio of each round to the peer's value of the same round."""
    return [value / peer for value, peer in zip(values, peers, strict=True) if peer] if values and peers else []


class Report:
    """The tables of one benchmark."""

    def __init__(self, name: str, path: Path | None = None) -> None:
        self._path = path
        self._document: dict[str, Any] = {"benchmark": name, "machine": machine(), "tables": {}}

    def table(self, title: str, rows: Rows, measures: Sequence[Measure]) -> None:
        """Print a table, and write it to the file."""
        print(f"\n{title}")
        print(render(rows, measures), flush=True)
        self._document["tables"][title.partition(":")[0]] = {name: dict(values) for name, values in rows.items()}
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self._document, indent=1), encoding="utf-8")


def render(rows: Rows, measures: Sequence[Measure]) -> str:
    """Return a table in columns."""
    shown = [measure for measure in measures if any(values.get(measure.name) for values in rows.values())]
    lines = [["", *(cell for measure in shown for cell in _heads(measure, rows))]]
    lines += [[name, *(cell for measure in shown for cell in _cells(measure, name, rows))] for name in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def _heads(measure: Measure, rows: Rows) -> Sequence[str]:
    return [measure.name, *(f"/ {peer}" for peer in measure.peers if peer in rows)]


def _cells(measure: Measure, name: str, rows: Rows) -> Sequence[str]:
    values = rows[name].get(measure.name, ())
    peers = [rows[peer].get(measure.name, ()) for peer in measure.peers if peer in rows]
    return [text(values, measure.digits), *(text(ratios(values, peer), 2) for peer in peers)]


def machine() -> Mapping[str, object]:
    """Return on what this runs."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
