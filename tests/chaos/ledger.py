"""Compare what was shown, what arrived, and the program's own audit. Pure.

A repeat is explained if the outcome of the attempt before it was unknown: no answer was given, or the process was
killed, stopped or cut off from its database before it could record the answer.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from chaos.oracle import Expected, Key

SHOWN = 8
"""Maximum number of violations of one kind that are printed."""


VIOLATIONS = (
    "lost",
    "disorder",
    "unexplained",
    "rekeyed",
    "rewritten",
    "phantom",
    "baseline",
    "unaccounted",
    "untrue",
    "impatient",
    "slow",
    "conduct",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedEvent:
    """One event of a message."""

    key: Key | None
    """None for an event that is not about a task."""
    type: str
    single: bool


@dataclass(slots=True, kw_only=True)
class Arrival:
    """One complete request with a valid signature."""

    channel: str
    id: str
    digest: str
    """Digest of the body."""
    reported: tuple[ReportedEvent, ...]
    at: float
    done: float | None = None
    outcome: Literal["acknowledged", "refused", "unknown"] = "unknown"
    """The answer to the sender; unknown if it got none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """An incident after which a sender may not know an outcome: a kill, a stop, a database failure."""

    kind: str
    start: float
    end: float
    late: bool = False
    """Explains repeats sent during it: a resumed process finishes the deliveries that it had claimed."""

    def excuses(self, before: Arrival, after: Arrival, settle: float) -> bool:
        """Return whether it explains that `before`, acknowledged, was sent again as `after`."""
        if self.late:
            return self.start <= after.at <= self.end
        done = before.done or before.at
        return before.at - _UNREAD <= self.end and self.start <= min(after.at, done + settle)


_UNREAD = 1.0
"""Time that a request may wait to be read after its sender was killed, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerLimits:
    """The limits of a run."""

    first: str
    """The channel that gets every event."""
    all: tuple[str, ...]
    in_flight: int
    """Messages of one channel that one process has in flight: as many repeats may a disturbance cost."""
    settle: float = 10.0
    """Seconds that a process may take to note an answer, so how long before a disturbance it can have been given."""
    latency: float | None = None
    """Seconds within which a healthy channel must have been told in 99 of 100 cases, while nothing is disturbed."""
    healthy: str | None = None


@dataclass(slots=True, kw_only=True)
class Ledger:
    """The result of a comparison. Every list in `violations` must be empty."""

    required: int = 0
    delivered: int = 0
    optional: int = 0
    """Delivered but not required: shown, and perhaps not recorded before a kill."""
    messages: int = 0
    retried: int = 0
    explained: int = 0
    worst: int = 0
    """Maximum number of repeats that one disturbance caused on one channel."""
    latencies: tuple[float, ...] = ()
    violations: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in VIOLATIONS})

    @property
    def ok(self) -> bool:
        return not any(self.violations.values())

    @property
    def broken(self) -> set[str]:
        """Names of the violations."""
        return {name for name, found in self.violations.items() if found}

    def add(self, name: str, what: object) -> None:
        self.violations[name].append(str(what))

    def lines(self) -> Iterator[str]:
        """Yield the ledger as lines of text."""
        counts = ("required", "delivered", "optional", "messages", "retried", "explained", "worst")
        for name in counts:
            yield f"  {_LABELS.get(name, name):36}{getattr(self, name):>9,}"
        if self.latencies:
            p50, p99 = (quantile(self.latencies, share) for share in (0.5, 0.99))
            yield f"  {'healthy channel, p50 / p99 seconds':36}{p50:>9.2f} / {p99:.2f}"
        for name, found in self.violations.items():
            yield f"  {_LABELS.get(name, name):36}{len(found):>9,}{'   <-- must be 0' if found else ''}"
            yield from (f"      {what}" for what in found[:SHOWN])


_LABELS = {
    "required": "events x channels required",
    "delivered": "  of which delivered",
    "optional": "delivered beside those",
    "retried": "messages sent again after a refusal",
    "explained": "duplicates with an explanation",
    "worst": "  most after one kill on one channel",
    "lost": "lost",
    "disorder": "out of order",
    "unexplained": "duplicates without an explanation",
    "rekeyed": "same event under another id",
    "rewritten": "same id with another body",
    "phantom": "never shown, or told wrongly",
    "baseline": "baseline told",
    "unaccounted": "unaccounted by its own audit",
    "untrue": "its audit differs from what arrived",
    "impatient": "Retry-After ignored",
    "slow": "healthy channel held up",
    "conduct": "tracebacks, wrong exits, forgeries",
}


def reconcile(  # noqa: PLR0917 - each is one side of the account
    expected: Mapping[Key, Expected],
    baseline: Iterable[Key],
    arrivals: Sequence[Arrival],
    disturbances: Sequence[Disturbance],
    limits: LedgerLimits,
    audit: Mapping[str, Any] | None,
) -> Ledger:
    """Compare all of it.

    Args:
        expected: what may be told and what of it must.
        baseline: states that were there at first and must not be told.
        arrivals: what arrived, in order.
        disturbances: what excuses a repeat.
        limits: what is allowed.
        audit: what `notifier audit --json` said after everything was delivered; None when it was not asked.
    """
    ledger = Ledger(messages=len({(a.channel, a.id) for a in arrivals}))
    acknowledged = _acknowledged(arrivals)
    _check_losses(ledger, expected, acknowledged, limits)
    _check_truth(ledger, expected, frozenset(baseline), arrivals, limits)
    _check_identity(ledger, arrivals)
    _check_repeats(ledger, arrivals, disturbances, limits)
    _check_order(ledger, arrivals)
    _check_latency(ledger, expected, acknowledged, disturbances, limits)
    if audit is not None:
        _check_audit(ledger, audit, arrivals)
    return ledger


Pair = tuple[str, Key]


def _acknowledged(arrivals: Iterable[Arrival]) -> dict[Pair, float]:
    """Return when each event was first acknowledged on each channel."""
    found: dict[Pair, float] = {}
    for arrival in arrivals:
        if arrival.outcome == "acknowledged" and arrival.done is not None:
            for reported in arrival.reported:
                if reported.key:
                    found.setdefault((arrival.channel, reported.key), arrival.done)
    return found


def channels_of(single: bool, limits: LedgerLimits) -> tuple[str, ...]:  # noqa: FBT001 - it reads as what it is
    """Return the channels that get a task's events."""
    return limits.all if single else (limits.first,)


def _check_losses(
    ledger: Ledger, expected: Mapping[Key, Expected], acknowledged: Mapping[Pair, float], limits: LedgerLimits
) -> None:
    for key, one in expected.items():
        for channel in channels_of(one.single, limits):
            got = (channel, key) in acknowledged
            if one.required:
                ledger.required += 1
                ledger.delivered += got
                if not got:
                    ledger.add("lost", f"{_name(key)} ({'/'.join(sorted(one.types))}) on {channel}")
            else:
                ledger.optional += got


def _check_truth(
    ledger: Ledger,
    expected: Mapping[Key, Expected],
    baseline: frozenset[Key],
    arrivals: Iterable[Arrival],
    limits: LedgerLimits,
) -> None:
    seen: set[tuple[str, ReportedEvent]] = set()
    for arrival in arrivals:
        for reported in arrival.reported:
            if reported.key is None or (arrival.channel, reported) in seen:
                continue
            seen.add((arrival.channel, reported))
            one = expected.get(reported.key)
            what = f"{reported.type} of {_name(reported.key)} on {arrival.channel}"
            if reported.key in baseline:
                ledger.add("baseline", what)
            elif one is None or reported.type not in one.types:
                ledger.add("phantom", what)
            elif arrival.channel not in channels_of(one.single, limits):
                ledger.add("phantom", f"{what}, where it does not belong")


def _check_identity(ledger: Ledger, arrivals: Iterable[Arrival]) -> None:
    """An id has one body; an event has one id on a channel, and no other event has it."""
    bodies: dict[tuple[str, str], str] = {}
    ids: dict[Pair, str] = {}
    for arrival in arrivals:
        if bodies.setdefault((arrival.channel, arrival.id), arrival.digest) != arrival.digest:
            ledger.add("rewritten", f"{arrival.id} on {arrival.channel}")
        for reported in arrival.reported:
            if reported.key and ids.setdefault((arrival.channel, reported.key), arrival.id) != arrival.id:
                ledger.add("rekeyed", f"{_name(reported.key)} on {arrival.channel}")


def _check_repeats(
    ledger: Ledger, arrivals: Sequence[Arrival], disturbances: Sequence[Disturbance], limits: LedgerLimits
) -> None:
    spent: Counter[tuple[int, str]] = Counter()
    by_id: dict[tuple[str, str], list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        by_id[arrival.channel, arrival.id].append(arrival)
    for (channel, id_), tries in by_id.items():
        for before, after in pairwise(tries):
            if before.outcome == "refused":
                ledger.retried += 1
            elif before.outcome == "unknown":
                ledger.explained += 1
            else:
                excuses = [n for n, one in enumerate(disturbances) if one.excuses(before, after, limits.settle)]
                # The one that has excused the fewest: each may excuse as many as were in flight.
                best = min(excuses, key=lambda n: spent[n, channel], default=None)
                if best is None:
                    waited = f"taken at {before.at:.2f} and again {after.at - before.at:.2f} s later"
                    ledger.add("unexplained", f"{id_} on {channel}, {waited}{_last_disturbance(before, disturbances)}")
                    continue
                spent[best, channel] += 1
                if spent[best, channel] <= limits.in_flight:
                    ledger.explained += 1
                else:
                    ledger.add("unexplained", f"{id_} on {channel}: number {spent[best, channel]} after one kill")
    ledger.worst = max(spent.values(), default=0)


def _last_disturbance(arrival: Arrival, disturbances: Sequence[Disturbance]) -> str:
    """Return the last disturbance before an arrival, as a hint."""
    last = max((one for one in disturbances if one.start <= arrival.at), key=lambda one: one.start, default=None)
    return f"; {arrival.at - last.start:.2f} s after a {last.kind}" if last else ""


def _check_order(ledger: Ledger, arrivals: Iterable[Arrival]) -> None:
    """A later state is not told before the earlier one is acknowledged. A repeat of what was acknowledged is none."""
    first: dict[Pair, Arrival] = {}
    acknowledged: dict[Pair, float] = {}
    by_task: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for arrival in arrivals:
        for reported in arrival.reported:
            if reported.key and first.setdefault((arrival.channel, reported.key), arrival) is arrival:
                by_task[arrival.channel, reported.key.job_id].append(reported.key)
            if reported.key and arrival.outcome == "acknowledged" and arrival.done is not None:
                acknowledged.setdefault((arrival.channel, reported.key), arrival.done)
    for (channel, _), keys in by_task.items():
        for earlier, later in pairwise(sorted(keys)):
            start = first[channel, later].at
            if first[channel, earlier].at > start:
                ledger.add("disorder", f"{_name(later)} before {_name(earlier)} on {channel}")
            elif acknowledged.get((channel, earlier), math.inf) > start:
                ledger.add("disorder", f"{_name(later)} while {_name(earlier)} was not acknowledged on {channel}")


def _check_latency(
    ledger: Ledger,
    expected: Mapping[Key, Expected],
    acknowledged: Mapping[Pair, float],
    disturbances: Sequence[Disturbance],
    limits: LedgerLimits,
) -> None:
    if limits.healthy is None:
        return
    calm = 5.0
    waits = []
    for key, one in expected.items():
        done = acknowledged.get((limits.healthy, key))
        if done is None or one.since is None:
            continue
        if not any(d.start <= done and one.since - calm <= d.end for d in disturbances):
            waits.append(done - one.since)
    ledger.latencies = tuple(sorted(waits))
    if limits.latency is not None and waits and quantile(ledger.latencies, 0.99) > limits.latency:
        ledger.add(
            "slow", f"p99 {quantile(ledger.latencies, 0.99):.2f} s on {limits.healthy}, at most {limits.latency}"
        )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value that this share of sorted values does not exceed."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def _check_audit(ledger: Ledger, audit: Mapping[str, Any], arrivals: Iterable[Arrival]) -> None:
    for one in audit["unaccounted"]:
        ledger.add("unaccounted", one)
    states = audit["by_state"]
    reported = {(a.channel, t.key or a.id) for a in arrivals if a.outcome != "refused" for t in a.reported}
    certain = {(a.channel, t.key or a.id) for a in arrivals if a.outcome == "acknowledged" for t in a.reported}
    delivered = states.get("delivered", 0)
    if not len(certain) <= delivered <= len(reported):
        ledger.add(
            "untrue", f"{delivered} delivered by its account, {len(certain)} to {len(reported)} by the receiver's"
        )
    for state in ("pending", "dead", "parked", "doubtful"):
        if states.get(state):
            ledger.add("untrue", f"{states[state]} {state} after everything was answered")


def _name(key: Key) -> str:
    return f"{key.job_id} {'gone after ' if key.unlisted else ''}v{key.version}"
