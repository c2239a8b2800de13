"""How fast accepted events reach their receivers: ours beside task queues, an alert manager and a bare outbox.

All systems send the same events of about 700 bytes to the same receivers. In each round they take turns, so the ratios
count more than the figures. The receivers are a process of their own. Each receiver gets every event once.

burst     all events at once to one receiver. Events/s: from the first submission to the last arrival. Draining/s:
          from the last acknowledgement to the last arrival
paced     100 events a second, each submitted by itself. Milliseconds from its acknowledgement, and from its
          submission, to its arrival
hanging   ten receivers share the events, and one of them reads and never answers. Events/s of the other nine, beside
          their events/s when all ten answer
rate      channels of each kind with 2, 20 and 100 messages a second configured: what they reach after their burst.
          The other systems have no rates

A CPU second is one of the whole system, its database included. It hardly depends on what else the machine does.

    python benchmarks/fanout [--only ours,alertmanager] [--mode burst,paced,hanging,rate] [--events 5000] [--rounds 3]
    python benchmarks/fanout --mode burst --only ours-postgresql,pgqueuer

Redis and Alertmanager are Debian's packages redis-server and prometheus-alertmanager; `make bench-peers` installs the
Python peers. A system that is not installed is left out.
"""

from __future__ import annotations

import argparse
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rates
import services
import work
from systems import SYSTEMS, Submitter, System

sys.path.append(str(Path(__file__).parents[1]))

from figures import Measure, Report, add_arguments

RECEIVERS = 10
"""Receivers of the mode `hanging`."""
WARM_UP = 50
"""Events that are sent before the measurement. Their arrival proves that all processes work."""
FIRST = 1_000_000
"""Number of the first event that is measured."""


class Receivers:
    """The process that receives events."""

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
class Mode:
    """A way of sending events."""

    receivers: int = 1
    hanging: bool = False
    """Whether the last receiver never answers."""
    paced: bool = False

    def job(self, options: argparse.Namespace) -> work.Job:
        if self.paced:
            return work.Job(first=FIRST, count=round(options.rate * options.seconds), rate=options.rate)
        return work.Job(first=FIRST, count=options.events // self.receivers, batch=options.batch)


BURST, PACED = Mode(), Mode(paced=True)
HANGING, ALL_ANSWER = Mode(receivers=RECEIVERS, hanging=True), Mode(receivers=RECEIVERS)

Result = dict[str, float]
"""The values of one system in one round, by the name of the measure. One without a value is absent."""


def run(system: System, mode: Mode, options: argparse.Namespace) -> Result:
    """Measure one system once."""
    with tempfile.TemporaryDirectory(prefix="fanout-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        load = os.getloadavg()[0]
        with receivers(mode.receivers, folder) as target:
            place = work.Place(urls=target.urls, folder=name, profile=options.profile or "")
            try:
                with system.running(place) as submitter:
                    return _measure(submitter, target, mode, options) | {"load": load}
            except Exception:
                for log in sorted(folder.glob("*.log")):
                    print(f"-- {log.name}\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
                raise


def _measure(submitter: Submitter, target: Receivers, mode: Mode, options: argparse.Namespace) -> Result:
    submitter.submit(work.Job(first=0, count=WARM_UP, batch=options.batch))
    target.ask(first=0, count=WARM_UP, seconds=options.limit)
    if mode.hanging:
        target.ask(hang=True)
    job = mode.job(options)
    used = submitter.cpu_seconds()
    submitted = submitter.submit(job)
    report = target.ask(first=job.first, count=job.count, seconds=options.limit)
    until, used = time.monotonic_ns(), submitter.cpu_seconds() - used
    ports = report["arrived"][: max(1, mode.receivers - 1)]  # the same nine of ten whether or not the last one hangs
    arrivals = [(int(number) - job.first, when) for port in ports for number, when in port.items()]
    return judge(submitted, arrivals, until, expected=job.count * len(ports), used=used, repeats=report["duplicates"])


def judge(
    submitted: work.Submitted,
    arrivals: Sequence[tuple[int, int]],
    until: int,
    *,
    expected: int,
    used: float,
    repeats: int,
) -> Result:
    """Return the values of one round; `arrivals` are (position of the event, nanoseconds)."""
    begin, acknowledged = submitted.submitted[0], submitted.accepted[-1]
    end = max(when for _, when in arrivals) if len(arrivals) == expected else until
    late = sum(when > acknowledged for _, when in arrivals)
    used = max(used, 0.01)  # the kernel counts in hundredths of a second
    latencies = sorted((when - submitted.accepted[n]) / 1e6 for n, when in arrivals)
    whole = sorted((when - submitted.submitted[n]) / 1e6 for n, when in arrivals)
    draining = {"draining/s": late / (end - acknowledged) * 1e9} if late else {}
    return {
        "events/s": len(arrivals) / (end - begin) * 1e9,
        "events a CPU s": len(arrivals) / used,
        "µs CPU an event": used / max(len(arrivals), 1) * 1e6,
        "accepted/s": expected / (acknowledged - begin) * 1e9,
        "p50 ms": _quantile(latencies, 0.5),
        "p95 ms": _quantile(latencies, 0.95),
        "p99 ms": _quantile(latencies, 0.99),
        "from submission: p50 ms": _quantile(whole, 0.5),
        "from submission: p99 ms": _quantile(whole, 0.99),
        "lost": expected - len(arrivals),
        "repeats": repeats,
    } | draining


def _quantile(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


# ---- modes ----


def measured(modes: Mapping[str, Mode], systems: Sequence[System], options: argparse.Namespace) -> Mapping[str, Any]:
    """Return the values of every system by measure, one a round. A measure of a second mode begins with its name."""
    found: dict[str, dict[str, list[float]]] = {system.name: {} for system in systems}
    for _ in range(options.rounds):
        for system in systems:
            for prefix, mode in modes.items():
                for measure, value in run(system, mode, options).items():
                    found[system.name].setdefault(prefix + measure, []).append(value)
    return found


def faithful(load: str = "load") -> Sequence[Measure]:
    """Return the columns that show how far the others can be trusted."""
    return Measure(name="lost"), Measure(name="repeats"), Measure(name=load, digits=1)


def show_burst(systems: Sequence[System], options: argparse.Namespace, report: Report) -> None:
    rows = measured({"": BURST}, systems, options)
    on_postgres = {system.name for system in systems if system.store == "postgres"}
    for title, names, peers in (
        ("burst", rows.keys() - on_postgres, ("alertmanager", "raw-outbox")),
        ("burst on PostgreSQL", on_postgres, ("pgqueuer", "procrastinate")),
    ):
        measures = (
            Measure(name="events/s", peers=peers),
            Measure(name="events a CPU s", peers=peers[:1]),
            Measure(name="µs CPU an event"),
            Measure(name="draining/s"),
            Measure(name="accepted/s"),
            *faithful(),
        )
        if names:
            chosen = {name: values for name, values in rows.items() if name in names}
            report.table(f"{title}: {options.events:,} events at once to one receiver", chosen, measures)


def show_paced(systems: Sequence[System], options: argparse.Namespace, report: Report) -> None:
    measures = (
        Measure(name="p50 ms", digits=2, peers=("raw-outbox",)),
        Measure(name="p95 ms", digits=2),
        Measure(name="p99 ms", digits=2),
        Measure(name="from submission: p50 ms", digits=2),
        Measure(name="from submission: p99 ms", digits=2),
        Measure(name="µs CPU an event"),
        *faithful(),
    )
    title = f"paced: {options.rate:g} events a second for {options.seconds:g} s, from acknowledgement to arrival"
    report.table(title, measured({"": PACED}, systems, options), measures)


def show_hanging(systems: Sequence[System], options: argparse.Namespace, report: Report) -> None:
    rows = measured({"": HANGING, "all answer: ": ALL_ANSWER}, systems, options)
    for values in rows.values():
        pairs = zip(values["events/s"], values["all answer: events/s"], strict=True)
        values["of that"] = [hanging / answering for hanging, answering in pairs]
    measures = (
        Measure(name="events/s"),
        Measure(name="all answer: events/s"),
        Measure(name="of that", digits=2),
        Measure(name="events a CPU s"),
        *faithful(),
    )
    report.table(f"hanging: {options.events:,} events to ten receivers, of which one never answers", rows, measures)


RATES = (2, 20, 100)
"""Configured messages a second."""


def show_rate(_: Sequence[System], options: argparse.Namespace, report: Report) -> None:
    rounds = [rates.rates_reached(RATES, concurrency=4, seconds=options.seconds / 3) for _ in range(options.rounds)]
    rows = {kind: {rate: [reached[kind][rate] for reached in rounds] for rate in rounds[0][kind]} for kind in rounds[0]}
    measures = [Measure(name=f"{rate}/s", digits=1) for rate in RATES]
    report.table(
        f"rate: messages a second of our channels, with bursts of {rates.BURST}, by their rate", rows, measures
    )


MODES = {"burst": show_burst, "paced": show_paced, "hanging": show_hanging, "rate": show_rate}


# ---- the command ----


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of systems, with commas: " + ", ".join(s.name for s in SYSTEMS))
    parser.add_argument("--mode", default=",".join(MODES))
    parser.add_argument("--events", type=int, default=5_000, help="of a burst, over all receivers")
    parser.add_argument("--batch", type=int, default=1_000_000, help="events in one submission")
    parser.add_argument("--rate", type=float, default=100.0, help="events a second, paced")
    parser.add_argument("--seconds", type=float, default=10.0, help="duration, paced")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds to wait for arrivals")
    parser.add_argument("--profile", metavar="FOLDER", help="profile ours, which slows it; writes and shows *.prof")
    add_arguments(parser)
    return parser.parse_args()


def chosen_systems(only: str | None) -> Sequence[System]:
    names = only.split(",") if only else [system.name for system in SYSTEMS]
    unknown = set(names) - {system.name for system in SYSTEMS}
    if unknown:
        sys.exit(f"--only: there is no {', '.join(sorted(unknown))}")
    return [system for system in SYSTEMS if system.name in names]


def show_profiles(folder: Path) -> None:
    for path in sorted(folder.glob("*.prof")):
        print(f"\n== {path}")
        pstats.Stats(str(path)).sort_stats("tottime").print_stats(30)


def main() -> None:
    options = arguments()
    modes = options.mode.split(",")
    if set(modes) - MODES.keys():
        sys.exit(f"--mode: choose from {', '.join(MODES)}")
    if options.profile:
        options.profile = str(Path(options.profile).resolve())
        Path(options.profile).mkdir(parents=True, exist_ok=True)
    systems = chosen_systems(options.only)
    absent = {system.name: why for system in systems if (why := system.missing())}
    present = [system for system in systems if system.name not in absent]
    for system in systems:
        print(f"{system.name:18}{absent.get(system.name, system.configuration)}", flush=True)
    report = Report("fanout", options.json)
    for mode in modes:
        MODES[mode](present, options, report)
    if options.profile:
        show_profiles(Path(options.profile))


if __name__ == "__main__":
    main()
