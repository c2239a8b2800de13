"""What adaptive polling takes, and how soon it finds changes: `python benchmarks/adaptive_polling.py`.

A month of 1,000 projects with one credential, in virtual time and with the real decisions. Compared with fixed polling
that promises the same, and with fixed polling that makes as many calls.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from polled_month import Month, Outcome, part, poll_month

SPARED = (("starts", 0.5), ("starts", 0.99), ("ends", 0.5), ("ends", 0.99))


def line(name: str, month: Month, outcome: Outcome) -> str:
    """Return the figures of one way to poll."""
    minutes = month.days * 24 * 60
    delays = " ".join(f"{part(getattr(outcome, what), share):8.1f}" for what, share in SPARED)
    longest = outcome.longest.total_seconds()
    return f"{name:34} {outcome.calls:11,} {outcome.calls / minutes:9.1f} {delays} {longest:9.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--projects", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--calls-per-minute", type=int, default=400)
    asked = parser.parse_args()
    month = Month(projects=asked.projects, days=asked.days, calls_per_minute=asked.calls_per_minute)
    print(f"{month.projects} projects, {month.days} days, a budget of {month.calls_per_minute} calls a minute")
    print(f"{'':34} {'calls':>11} {'a minute':>9} {'start 50':>8} {'99 %':>8} {'end 50':>8} {'99 %':>8} {'longest':>9}")
    adaptive = poll_month(month)
    print(line("5 min, 5 s while busy", month, adaptive), flush=True)
    same_promise = replace(month, poll_busy_every=None)
    print(line("fixed, equal promise: 5 min", same_promise, poll_month(same_promise)), flush=True)
    seconds = month.days * 86_400 * month.projects / adaptive.calls
    same_calls = replace(month, poll_busy_every=None, poll_every=timedelta(seconds=seconds), calls_per_minute=10**6)
    print(line(f"fixed, equal calls: {seconds:.0f} s", same_calls, poll_month(same_calls)), flush=True)
    same_delay = replace(month, poll_busy_every=None, poll_every=timedelta(seconds=30), calls_per_minute=10**6)
    print(line("fixed, 30 s", same_delay, poll_month(same_delay)), flush=True)


if __name__ == "__main__":
    main()
