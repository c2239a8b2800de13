"""How durations of an operation are distributed: quantiles and a small histogram. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

BINS = 8
"""Number of bars of a histogram. Their bounds are equal factors apart."""
BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True, kw_only=True)
class DurationSpread:
    """Durations of completed tasks, in seconds."""

    runs: int
    p10: float
    p50: float
    p90: float
    longest: float
    bins: tuple[int, ...]
    """Number of runs in each of BINS ranges from the shortest to the longest; one where all are equal."""

    @property
    def bars(self) -> str:
        """A histogram in one line of text: `▁▂▇█▃▁ ▁`. A bar for each range, a space for none."""
        most = max(self.bins)
        return "".join(BARS[math.ceil(n / most * len(BARS)) - 1] if n else " " for n in self.bins)


def spread_of(durations: Iterable[float]) -> DurationSpread | None:
    """Return how durations in seconds are distributed; None without any."""
    ordered = sorted(durations)
    if not ordered:
        return None
    return DurationSpread(
        runs=len(ordered),
        p10=_quantile(ordered, 0.1),
        p50=_quantile(ordered, 0.5),
        p90=_quantile(ordered, 0.9),
        longest=ordered[-1],
        bins=_bins([math.log(max(seconds, 1.0)) for seconds in ordered]),
    )


def _quantile(ordered: list[float], share: float) -> float:
    """Return the smallest value that at least this share of the values do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def _bins(logs: list[float]) -> tuple[int, ...]:
    low, high = logs[0], logs[-1]
    if high <= low:
        return (len(logs),)
    counts = [0] * BINS
    for log in logs:
        counts[min(int((log - low) / (high - low) * BINS), BINS - 1)] += 1
    return tuple(counts)
