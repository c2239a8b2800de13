"""Which row of the audit log (Cloud Trace) started a task, and whom it names.

Pure. `plan_queries` decides what to ask for, `find_origin` decides which of the rows started a task, and
`next_try_at` decides when to ask again: rows appear in the log some time after what they record.

The best proof is the id of the job in the answer that the row records. Without one a row counts where its name fits
the operation, it is of the same instance, it is less than two minutes away from the task's creation, and it is the
only one. Where two rows could be it, nobody is named: a wrong name is worse than none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from types import MappingProxyType

from notifier.core.started_by import StartedBy, StartedVia

SEARCH_WINDOW = timedelta(minutes=10)
"""How far before and after the creation of a task its row is searched for."""
NEAR = timedelta(minutes=2)
"""A row that does not name the job counts only if it is less than this away from the task's creation."""
TRY_AFTER = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
"""Age of a task at each try. How long a row takes to appear is documented nowhere."""
LOG_REACH = timedelta(days=7)
"""How far back the log can be read."""
BASELINE_AGE = timedelta(minutes=15)
"""Age up to which a task that the baseline finds is searched for: people still ask who has just started it."""
LONGEST_WINDOW = timedelta(hours=1)
"""Longest time that one query covers. Tasks that were created further apart are asked for separately."""
REFUSED_FROM = 400
"""Lowest HTTP status of a request that started nothing."""


# ---- rows of the log ----


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCaller:
    """Who made a request, as a row names them. Texts are the empty string where the row has none."""

    name: str = ""
    user_name: str = ""
    principal_urn: str = ""
    """`iam::<account>:user:<name>`, `sts::<account>:assumed-agency:<agency>/<session>`, and others."""
    invoked_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow:
    """One row of the log: what matching and naming need of it. Nothing else of a request is ever kept."""

    trace_id: str
    name: str
    """Name of the operation in the log: `resizeFlavor`."""
    kind: str
    """`ConsoleAction`, `ApiCall` or `SystemAction`."""
    at: datetime
    """When it happened."""
    recorded_at: datetime | None = None
    """When the log had it; None where the row does not say."""
    status: int | None = None
    """HTTP status of the request's answer; None where the row has none."""
    resource_id: str = ""
    resource_name: str = ""
    job_ids: frozenset[str] = frozenset()
    """Ids of jobs in the answer, as `plain_id` writes them."""
    instance_ids: frozenset[str] = frozenset()
    """Ids of instances in the request, as `plain_id` writes them."""
    user: TraceCaller | None = None
    """None where the row names nobody."""
    address: str = ""
    """IP address of the request; the empty string where the row has none."""

    @property
    def lag(self) -> timedelta | None:
        """How long the row took to appear; None where that is not known."""
        return None if self.recorded_at is None else max(self.recorded_at - self.at, timedelta())


def plain_id(value: str) -> str:
    """Return an id without dashes and case: one service writes the same id in both forms."""
    return value.replace("-", "").lower()


# ---- whom a row names ----

_SESSION = re.compile(r"sts::[^:]*:(?P<kind>[^:]+):(?P<holder>[^/]*)/(?P<session>.+)")
_USER = re.compile(r"iam::[^:]*:user:(?P<name>.+)")
_SERVICE_NAME = re.compile(r"op_[a-z0-9_]+", re.IGNORECASE)
"""The agency of a service of the cloud that acts for the account: `account/op_service`."""
_CONSOLE = "service.console"


def is_person(trace: TraceRow) -> bool:
    """Return whether the row names somebody other than the cloud: a user, or the session of an agency."""
    return started_by(trace).via is not StartedVia.SYSTEM


def started_by(trace: TraceRow, *, with_address: bool = False) -> StartedBy:
    """Return whom a row names, and the way."""
    user = trace.user
    if user is None:
        return StartedBy(name="", via=StartedVia.SYSTEM)
    session, own = _SESSION.fullmatch(user.principal_urn), _USER.fullmatch(user.principal_urn)
    principal = session["session"].rpartition("/")[2] if session else own["name"] if own else ""
    account, _, plain = (user.user_name or user.name).rpartition("/")  # `account/agency` where an agency acts
    name = principal or plain
    if not name or _SERVICE_NAME.fullmatch(plain or name):
        return StartedBy(name=name, via=StartedVia.SYSTEM)
    acts_for_agency = session["kind"] == "assumed-agency" if session else bool(account and not own)
    return StartedBy(
        name=name,
        via=_way_of(trace, user, acts_for_agency=acts_for_agency),
        agency=session["holder"] if session and acts_for_agency else "",
        address=trace.address if with_address else "",
    )


def _way_of(trace: TraceRow, user: TraceCaller, *, acts_for_agency: bool) -> StartedVia:
    if trace.kind == "ConsoleAction" or user.invoked_by == (_CONSOLE,):
        return StartedVia.CONSOLE
    if trace.kind == "SystemAction":
        return StartedVia.SYSTEM
    return StartedVia.AGENCY if acts_for_agency else StartedVia.API


# ---- which row started a task ----

_CREATE = ("createInstance",)
_RESTORE = ("restoreInstance",)
_ACTION = ("instanceAction",)
_BACKUP = ("createManualSnapshot",)
_UPGRADE = ("upgradeVersion",)

STARTING_TRACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "CreateGaussDBV5Instance": _CREATE,
        "CloneGaussDBV5NewInstance": (*_CREATE, *_RESTORE),
        "DeleteGaussDBV5Instance": ("deleteInstance",),
        "ResizeGaussDBV5Flavor": ("resizeFlavor",),
        "GaussDBV5ExpandClusterCN": _ACTION,
        "GaussDBV5ExpandClusterDN": _ACTION,
        "EnlargeGaussDBV5Volume": (*_ACTION, "resizeVolume"),
        "BackupSnapshotGaussDBV5InInstance": _BACKUP,
        "RestoreGaussDBV5InInstance": _RESTORE,
        "RestoreGaussDBV5InInstanceToExistedInst": _RESTORE,
    }
)
"""Names in the log of what can start an operation, by the API's name of the operation."""

_UPGRADES = re.compile(r"upgrade|hot_?patch|hot_?fix", re.IGNORECASE)
"""What the undocumented names of upgrade tasks are expected to have."""


def trace_names(operation: str) -> tuple[str, ...]:
    """Return the names in the log of what can start an operation; none where that is not known."""
    return STARTING_TRACES.get(operation) or (_UPGRADE if _UPGRADES.search(operation) else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedTask:
    """A task whose start is searched for in the log."""

    source: str
    job_id: str
    name: str
    """The API's name of the operation."""
    instance_id: str = ""
    instance_name: str = ""
    created_at: datetime | None = None
    """When it was created; None where the list did not say, and only a row that names the job counts."""
    seen_at: datetime
    """When it was first seen."""

    @property
    def began_at(self) -> datetime:
        """The time around which its row is searched for."""
        return self.created_at or self.seen_at


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundOrigin:
    """The row that started a task, and whom it names."""

    started_by: StartedBy
    trace_id: str
    lag: timedelta | None = None
    """How long the row took to appear in the log."""


def find_origin(
    task: StartedTask,
    traces: Collection[TraceRow],
    others: Iterable[StartedTask] = (),
    *,
    last: bool,
    whole: bool = True,
    with_address: bool = False,
) -> FoundOrigin | None:
    """Return which row started a task, or None where none is known to have.

    Args:
        task: whose start is searched for.
        traces: rows of the log around its creation.
        others: other tasks of the source from that time: a row that fits one of these as well proves nothing.
        last: True where nobody asks again. Before that no row counts that names no person: the row of the person may
            come later than that of the result.
        whole: False where there are more rows than were read, so that one that fits may not be the only one.
        with_address: whether to keep the address that the request came from.
    """
    wanted = plain_id(task.job_id)
    proven = [trace for trace in traces if wanted in trace.job_ids]
    known = proven or (_only_fit(task, traces, others) if whole else [])
    people = [trace for trace in known if is_person(trace)]
    chosen = min(people or (known if last else ()), key=lambda trace: (trace.at, trace.trace_id), default=None)
    if chosen is None:
        return None
    return FoundOrigin(
        started_by=started_by(chosen, with_address=with_address), trace_id=chosen.trace_id, lag=chosen.lag
    )


def _only_fit(task: StartedTask, traces: Collection[TraceRow], others: Iterable[StartedTask]) -> Sequence[TraceRow]:
    """Return the only row without a job that fits the task; none where two do, or where it fits another task too."""
    fitting = list({trace.trace_id: trace for trace in traces if _fits(task, trace)}.values())
    people = [trace for trace in fitting if is_person(trace)]
    candidates = people or fitting  # the result of an asynchronous operation is a second row, without a user
    if len(candidates) != 1:
        return ()
    proven = frozenset[str]().union(*(trace.job_ids for trace in traces))
    rivals = (one for one in others if one.job_id != task.job_id and plain_id(one.job_id) not in proven)
    return () if any(_fits(rival, candidates[0]) for rival in rivals) else candidates


def _fits(task: StartedTask, trace: TraceRow) -> bool:
    """Return whether a row that names no job can have started a task."""
    if task.created_at is None or trace.job_ids or trace.name not in trace_names(task.name):
        return False
    if trace.status is not None and trace.status >= REFUSED_FROM:
        return False
    return abs(trace.at - task.created_at) < NEAR and _concerns(task, trace)


def _concerns(task: StartedTask, trace: TraceRow) -> bool:
    """Return whether a row is about the instance of a task."""
    instance = plain_id(task.instance_id)
    if instance and instance in {plain_id(trace.resource_id), *trace.instance_ids}:
        return True
    # What failed to be created may have no id; its name is in the row all the same.
    creates = trace.name in _CREATE and (not trace.resource_id or not instance)
    return creates and bool(task.instance_name) and trace.resource_name == task.instance_name


# ---- what to ask for ----


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceQuery:
    """One query of the log: all rows of an instance, or all rows with a name, in a time."""

    start: datetime
    end: datetime
    resource_id: str = ""
    trace_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedQuery:
    """A query, and the tasks whose rows it may find."""

    query: TraceQuery
    tasks: tuple[StartedTask, ...]


def query_stages(task: StartedTask, *, last: bool) -> tuple[tuple[TraceQuery, ...], ...]:
    """Return what to ask for a task, stage by stage: a stage is needed only where the ones before it found nothing.

    The resource of a backup may be the backup, and that of a failed creation is missing: these are asked for by the
    name of the row. What an instance's rows say of a backup is asked for once, at the last try.
    """
    by_instance = (_around(task, resource_id=task.instance_id),) if task.instance_id else ()
    names = trace_names(task.name)
    by_name = tuple(_around(task, trace_name=name) for name in names)
    if names == _BACKUP:
        return (by_name, by_instance) if last and by_instance else (by_name,)
    if not by_instance:
        return (by_name,) if by_name else ()
    seldom_by_instance = bool({*_CREATE, *_RESTORE}.intersection(names))
    return (by_instance, by_name) if seldom_by_instance else (by_instance,)


def _around(task: StartedTask, *, resource_id: str = "", trace_name: str = "") -> TraceQuery:
    start, end = task.began_at - SEARCH_WINDOW, task.began_at + SEARCH_WINDOW
    return TraceQuery(start=start, end=end, resource_id=resource_id, trace_name=trace_name)


def plan_queries(wanted: Iterable[tuple[StartedTask, TraceQuery]]) -> Sequence[PlannedQuery]:
    """Return as few queries as ask for the same: those of one instance, or of one name, share one where they are near.

    A shared query covers at most `LONGEST_WINDOW` more than each of them.
    """
    apart: defaultdict[tuple[str, str], list[tuple[StartedTask, TraceQuery]]] = defaultdict(list)
    for task, query in wanted:
        apart[query.resource_id, query.trace_name].append((task, query))
    planned: list[PlannedQuery] = []
    for _, asked in sorted(apart.items()):
        run: list[PlannedQuery] = []
        for task, query in sorted(asked, key=lambda one: (one[1].start, one[0].job_id)):
            if run and query.start - run[-1].query.start <= LONGEST_WINDOW:
                joined = replace(run[-1].query, end=max(run[-1].query.end, query.end))
                run[-1] = PlannedQuery(query=joined, tasks=(*run[-1].tasks, task))
            else:
                run.append(PlannedQuery(query=query, tasks=(task,)))
        planned += run
    return planned


# ---- when to ask ----


def first_try_at(task: StartedTask) -> datetime:
    """Return when the log is asked for a task first. One that was found late is asked for at once."""
    return max(_asked_from(task) + TRY_AFTER[0], task.seen_at)


def next_try_at(task: StartedTask, tries: int, now: datetime) -> datetime | None:
    """Return when to ask again after `tries` tries, of which the last was now; None where it was the last one.

    What would have been asked by now is asked once.
    """
    ahead = (_asked_from(task) + age for age in TRY_AFTER[tries:])
    return next((at for at in ahead if at > now), None)


def _asked_from(task: StartedTask) -> datetime:
    """Return the time from which tries count: the cloud's clock may be ahead of the database's."""
    return min(task.began_at, task.seen_at)


def is_last_try(task: StartedTask, tries: int, now: datetime) -> bool:
    """Return whether nothing is asked after the try that happens now, which follows `tries` others."""
    return next_try_at(task, tries + 1, now) is None


def worth_asking(task: StartedTask, *, baseline: bool) -> bool:
    """Return whether a task that is new is searched for: of those that a baseline finds only the youngest are.

    The log reaches back a week.
    """
    return task.seen_at - task.began_at <= (BASELINE_AGE if baseline else LOG_REACH)


# ---- what is recorded ----


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginSearch:
    """The search for the start of a task, as it is recorded."""

    task: StartedTask
    tries: int = 0
    claimed_until: datetime
    """When another process may take it over; it fences what is recorded of the search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginFigures:
    """How well starts are explained, and how long rows of the log take to appear."""

    searched: int = 0
    """Number of tasks whose search has ended."""
    explained: int = 0
    """Number of those whose start was found."""
    lag_p50: float | None = None
    """Seconds from what happened to its row in the log, of half of the rows; None where none is known."""
    lag_p99: float | None = None


def figures_of(searched: int, explained: int, lags: Sequence[float]) -> OriginFigures:
    """Return the figures of searches that have ended; `lags` are in seconds."""
    ordered = sorted(lags)
    return OriginFigures(
        searched=searched,
        explained=explained,
        lag_p50=_percentile(ordered, 50),
        lag_p99=_percentile(ordered, 99),
    )


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the smallest value that at least so many percent do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1] if ordered else None
