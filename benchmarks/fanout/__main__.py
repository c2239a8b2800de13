"""How fast events that a system accepted are received: ours beside task queues, an alert manager and a bare outbox.

All of them send the same events of about 700 bytes to the same receivers, in turn, in one run; what counts is the
ratios. The receivers are a process of their own. Every event is told to each receiver once.

burst     all events at once to one receiver: events/s is from the first submission to the last arrival;
          "draining" is what was not yet received at the last acknowledgement, over the time that it took from there
paced     100 events a second, each submitted by itself: milliseconds from its acknowledgement to its arrival, and
          from its submission
hanging   ten receivers share the events; one reads and never answers. Events/s of the nine until all of theirs are
          received; who does not get there in time is shown with what arrived over the whole time

    python benchmarks/fanout [--only ours,celery] [--events 5000] [--mode burst,paced,hanging] [--rounds 3]

Redis and Alertmanager are Debian's packages redis-server and prometheus-alertmanager; the Python peers come by
`make bench-peers`. Who is not installed is left out.
"""

from __future__ import annotations

import argparse
import os
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import services
import work
from systems import SYSTEMS, Submitter, System

RECEIVERS = 10
WARM_UP = 50
"""Events that are sent before anything is measured: it also tells that everything is up."""
FIRST = 1_000_000
"""The number of the first event that counts."""


class Receivers:
    """The process that is sent to."""

    def __init__(self, process: Any, count: int) -> None:  # noqa: ANN401 - a Popen of text
        self._process = process
        self.urls = [f"http://127.0.0.1:{port}/hooks" for port in work.answer(process.stdout.readline())]
        assert len(self.urls) == count

    def ask(self, **command: object) -> Any:  # noqa: ANN401 - JSON
        self._process.stdin.write(work.line(command))
        self._process.stdin.flush()
        return work.answer(self._process.stdout.readline())


@contextmanager
def receivers(count: int, folder: Path) -> Iterator[Receivers]:
    command = [sys.executable, str(services.HERE / "receiver.py"), str(count)]
    with services.process(command, folder / "receiver.log", talk=True) as process:
        yield Receivers(process, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one system did in one run."""

    rate: float
    """Events a second, from the first submission to the last arrival."""
    draining: float | None
    """Events a second after the last acknowledgement; None when all had arrived by then."""
    accepting: float
    per_cpu: float
    """Events a second of processor time of the whole system, its database included: it hardly depends on the load."""
    latencies: Sequence[float] = ()
    """Milliseconds from acknowledgement to arrival, sorted."""
    from_submission: Sequence[float] = ()
    expected: int
    received: int
    duplicates: int
    size: int
    load: float
    """Of the machine, just before."""

    @property
    def complete(self) -> bool:
        return self.received == self.expected


def run(system: System, mode: str, options: argparse.Namespace) -> Result:
    """Measure one system once."""
    count = RECEIVERS if mode == "hanging" else 1
    with tempfile.TemporaryDirectory(prefix="fanout-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        load = os.getloadavg()[0]
        with receivers(count, folder) as target:
            place = work.Place(urls=target.urls, folder=name, profile=options.profile or "")
            try:
                with system.running(place) as submitter:
                    return _measure(submitter, target, mode, load, options)
            except Exception:
                for log in sorted(folder.glob("*.log")):
                    print(f"-- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
                raise


def _measure(submitter: Submitter, target: Receivers, mode: str, load: float, options: argparse.Namespace) -> Result:
    submitter.submit(work.Job(first=0, count=WARM_UP, batch=options.batch))
    target.ask(first=0, count=WARM_UP, seconds=options.limit)
    if mode == "hanging":
        target.ask(hang=True)
    jobs: Mapping[str, work.Job] = {
        "burst": work.Job(first=FIRST, count=options.events, batch=options.batch),
        "paced": work.Job(first=FIRST, count=round(options.rate * options.seconds), rate=options.rate),
        "hanging": work.Job(first=FIRST, count=options.events // RECEIVERS, batch=options.batch),
    }
    job = jobs[mode]
    used = submitter.cpu_seconds()
    submitted = submitter.submit(job)
    report = target.ask(first=job.first, count=job.count, seconds=options.limit)
    until, used = time.monotonic_ns(), submitter.cpu_seconds() - used
    ports = report["arrived"][:-1] if mode == "hanging" else report["arrived"]
    arrivals = [(int(number) - job.first, when) for port in ports for number, when in port.items()]
    return judge(submitted, arrivals, until, expected=job.count * len(ports), used=used, report=report, load=load)


def judge(
    submitted: work.Submitted,
    arrivals: Sequence[tuple[int, int]],
    until: int,
    *,
    expected: int,
    used: float,
    report: Mapping[str, Any],
    load: float,
) -> Result:
    """Work out the figures; `arrivals` are (position of the event, nanoseconds)."""
    begin, acknowledged = submitted.submitted[0], submitted.accepted[-1]
    end = max(when for _, when in arrivals) if len(arrivals) == expected else until
    late = sum(when > acknowledged for _, when in arrivals)
    per_event = expected / len(submitted.accepted)
    return Result(
        rate=len(arrivals) / (end - begin) * 1e9,
        draining=late / (end - acknowledged) * 1e9 if late else None,
        per_cpu=len(arrivals) / max(used, 0.01),  # the clock of the kernel ticks in hundredths
        accepting=len(submitted.accepted) * per_event / (acknowledged - begin) * 1e9,
        latencies=sorted((when - submitted.accepted[n]) / 1e6 for n, when in arrivals),
        from_submission=sorted((when - submitted.submitted[n]) / 1e6 for n, when in arrivals),
        expected=expected,
        received=len(arrivals),
        duplicates=report["duplicates"],
        size=report["size"],
        load=load,
    )


# ---- what is shown ----


def show_rates(results: Mapping[str, Sequence[Result]]) -> None:
    head = ("events/s", "least-most", "x ours", "draining/s", "accepted/s", "a cpu second")
    ours = _median(result.rate for result in results.get("ours", ()))
    rows = {}
    for name, runs in results.items():
        rates = [result.rate for result in runs]
        rows[name] = (
            f"{_median(rates):,.0f}",
            f"{min(rates):,.0f}-{max(rates):,.0f}",
            f"{_median(rates) / ours:.2f}",
            f"{_median(result.draining for result in runs if result.draining is not None):,.0f}",
            f"{_median(result.accepting for result in runs):,.0f}",
            f"{_median(result.per_cpu for result in runs):,.0f}",
        )
    table(head, rows, results)


def show_latencies(results: Mapping[str, Sequence[Result]]) -> None:
    head = ("p50 ms", "p95", "p99", "x ours' p50", "submitted: p50", "p99")
    ours = _median(_share(result.latencies, 0.5) for result in results.get("ours", ()))
    rows = {}
    for name, runs in results.items():
        accepted = [_median(_share(result.latencies, share) for result in runs) for share in (0.5, 0.95, 0.99)]
        submitted = [_median(_share(result.from_submission, share) for result in runs) for share in (0.5, 0.99)]
        figures = (*accepted, accepted[0] / ours, *submitted)
        rows[name] = tuple(f"{figure:.2f}" for figure in figures)
    table(head, rows, results)


def table(head: Sequence[str], rows: Mapping[str, Sequence[str]], results: Mapping[str, Sequence[Result]]) -> None:
    """Print the rows and, after them, what says how far they can be trusted. What there is no figure for is nan."""
    print(" " * 18 + "".join(f"{cell:>15}" for cell in (*head, "received", "repeats", "load")))
    for name, row in rows.items():
        runs = results[name]
        repeats, load = sum(result.duplicates for result in runs), _median(result.load for result in runs)
        print(f"{name:18}" + "".join(f"{cell:>15}" for cell in (*row, _received(runs), repeats, f"{load:.1f}")))


def _received(runs: Sequence[Result]) -> str:
    worst = min(runs, key=lambda run: run.received)
    return "all" if worst.complete else f"{worst.received:,}/{worst.expected:,}"


def _median(values: Iterable[float]) -> float:
    return statistics.median([*values] or [float("nan")])


def _share(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


def show_profiles(folder: Path) -> None:
    for path in sorted(folder.glob("*.prof")):
        print(f"\n== {path}")
        pstats.Stats(str(path)).sort_stats("tottime").print_stats(30)


# ---- the command ----


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of systems, with commas: " + ", ".join(s.name for s in SYSTEMS))
    parser.add_argument("--mode", default="burst,paced,hanging")
    parser.add_argument("--events", type=int, default=5_000, help="of a burst, over all receivers")
    parser.add_argument("--batch", type=int, default=1_000_000, help="events a submission, of those who take many")
    parser.add_argument("--rate", type=float, default=100.0, help="events a second, paced")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long, paced")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds to wait for arrivals")
    parser.add_argument("--rounds", type=int, default=1, help="in each round every system takes its turn")
    parser.add_argument(
        "--profile", metavar="FOLDER", help="profile ours, the last run of it, which slows it; writes and shows *.prof"
    )
    return parser.parse_args()


def chosen(only: str | None) -> Sequence[System]:
    names = only.split(",") if only else [system.name for system in SYSTEMS]
    unknown = set(names) - {system.name for system in SYSTEMS}
    if unknown:
        sys.exit(f"--only: there is no {', '.join(sorted(unknown))}")
    return [system for system in SYSTEMS if system.name in names]


def main() -> None:
    options = arguments()
    shown = {"burst": show_rates, "paced": show_latencies, "hanging": show_rates}
    modes = options.mode.split(",")
    if set(modes) - shown.keys():
        sys.exit(f"--mode: choose from {', '.join(shown)}")
    if options.profile:
        options.profile = str(Path(options.profile).resolve())
        Path(options.profile).mkdir(parents=True, exist_ok=True)
    absent = {system.name: why for system in chosen(options.only) if (why := system.missing())}
    present = [system for system in chosen(options.only) if system.name not in absent]
    for system in present:
        print(f"{system.name:18}{system.configuration}")
    for name, why in absent.items():
        print(f"{name:18}left out: {why}")
    for mode in modes:
        results: dict[str, list[Result]] = {}
        for _ in range(options.rounds):
            for system in present:
                results.setdefault(system.name, []).append(run(system, mode, options))
        sizes = sorted({result.size for runs in results.values() for result in runs})
        print(f"\n{mode}: bodies of {sizes[0] if sizes else 0:,} to {sizes[-1] if sizes else 0:,} bytes")
        shown[mode](results)
    if options.profile:
        show_profiles(Path(options.profile))


if __name__ == "__main__":
    main()
