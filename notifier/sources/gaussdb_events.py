"""The alarms of GaussDB in one project: the events of Cloud Eye, and the alarm history."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from notifier.core.alarms import KERNEL_ALARMS, AlarmFeed
from notifier.core.errors import PermissionDenied, RequestRejected, SourceError
from notifier.core.model import Scope, Snapshot, Task, TaskStatus
from notifier.core.retry import backoff
from notifier.core.rights import RIGHT_PAUSES
from notifier.core.tickets import operation_of_task
from notifier.ports import CheckResult
from notifier.sources import alarm_rows
from notifier.sources.access import SourceAccess
from notifier.sources.alarm_rows import EventName
from notifier.sources.api import ApiClient
from notifier.sources.failures import detail_of, says_empty
from notifier.sources.gaussdb import clock_check_results
from notifier.sources.gaussdb_events_settings import ALARM_WINDOW, GaussDBEventsSettings
from notifier.sources.lists import ALARM_HISTORY, EVENT_NAMES, EVENTS_OF_NAME, ApiList
from notifier.sources.paging import WalkResult
from notifier.sources.payloads import TaskPage
from notifier.sources.walker import ReadPage, Walker

OVERLAP = timedelta(hours=1)
"""How much of what is known is read again: Cloud Eye takes events that are up to an hour late."""
_AHEAD = timedelta(hours=1)
"""How far after now events are asked for: clocks differ."""
_HISTORY_MARGIN = timedelta(minutes=10)
"""What the alarm history is asked for less than its window: it may refuse a time that is just outside."""
MAX_EVENTS_KEPT = 20_000
"""Maximum number of events that are remembered, the latest ones."""
_PREFIX = "GaussDBV5"
"""How the names of most events of GaussDB begin."""

_EMPTY_PAGE = TaskPage(row_keys=alarm_rows.NO_KEYS, total=0)


@dataclass(frozen=True, slots=True)
class FeedRows:
    """What one list showed."""

    tasks: Mapping[str, Task]
    """The alarms by id."""
    digests: Mapping[str, bytes]
    """Digest of each row by id."""
    complete: bool
    unreadable: int = 0


class GaussDBEventsSource:
    """Reads the alarms of one project; implements `ports.TaskSource`.

    Args:
        settings: of this source.
        access: opens its lists.
    """

    def __init__(self, settings: GaussDBEventsSettings, access: SourceAccess) -> None:
        self.name = settings.name
        self.region = settings.region
        self.project_id = settings.project_id
        self._clock = access.clock
        self._where = access.where
        self._feeds: list[_CloudEye | _AlarmHistory] = []
        if AlarmFeed.CLOUD_EYE in settings.feeds:
            self._feeds.append(_CloudEye(settings, access))
        if AlarmFeed.ALARM_HISTORY in settings.feeds:
            skips_events = AlarmFeed.CLOUD_EYE in settings.feeds
            self._feeds.append(_AlarmHistory(settings, access, skips_events=skips_events))
        self._denials = {feed.kind: _Denial() for feed in self._feeds}

    async def fetch(self, scope: Scope) -> Snapshot:  # noqa: ARG002 - alarms have no part that can be read alone
        """Read all alarms of the last seven days; see `ports.TaskSource.fetch`.

        A feed whose right is missing is left out, and tried again slowly, while another one can be read. Where none
        can, each poll tries all of them.
        """
        now, calls = self._clock.now(), self._calls
        resting = {feed.kind for feed in self._feeds if self._denials[feed.kind].rests(self._clock.monotonic())}
        found: list[FeedRows] = []
        denied: PermissionDenied | None = None
        for feed in self._feeds:
            denial = self._denials[feed.kind]
            if feed.kind in resting and len(resting) < len(self._feeds):
                continue
            try:
                found.append(await feed.read(now))
            except PermissionDenied as error:
                denied = error
                denial.record(feed.action, self._clock.monotonic())
            else:
                denial.clear()
        if not found:
            several = PermissionDenied(f"{self._where}: {self._remedies}")
            raise several if denied is None or len(self._lacking) > 1 else denied
        return _snapshot(self.name, found, now, calls=self._calls - calls, skew=self._skew, lacking=self._lacking)

    @property
    def _lacking(self) -> tuple[str, ...]:
        return tuple(denial.action for denial in self._denials.values() if denial.action)

    @property
    def _remedies(self) -> str:
        return f"not allowed to list alarms. Grant the user {', '.join(self._lacking)} in the project."

    @property
    def _clients(self) -> Iterator[ApiClient]:
        return (client for feed in self._feeds for client in feed.clients)

    @property
    def _calls(self) -> int:
        return sum(client.calls for client in self._clients)

    @property
    def _skew(self) -> timedelta | None:
        return next((client.skew for client in self._clients if client.skew is not None), None)

    async def check(self) -> Sequence[CheckResult]:
        """Check endpoints, credentials, the right to each list, and the clock; see `ports.TaskSource.check`."""
        now = self._clock.now()
        found = [await self._checked(probe) for feed in self._feeds for probe in feed.probes(now)]
        return [*found, *clock_check_results(self._where, self._skew)]

    async def _checked(self, probe: _Probe) -> CheckResult:
        what = f"{self._where}: {probe.of.name}"
        try:
            await probe.call()
        except SourceError as error:
            return CheckResult(ok=False, what=what, detail=detail_of(error, self._where))
        return CheckResult(ok=True, what=what, detail=f"may list {probe.of.rows} ({probe.of.action})")

    async def aclose(self) -> None:
        """Release nothing: the connections belong to the shared client."""


@dataclass(slots=True)
class _Denial:
    """Whether the right to a feed is missing, and when it is tried again."""

    action: str = ""
    refusals: int = 0
    until: float = 0.0

    def rests(self, now: float) -> bool:
        return bool(self.action) and now < self.until

    def record(self, action: str, now: float) -> None:
        self.action, self.refusals = action, self.refusals + 1
        self.until = now + backoff(self.refusals, *RIGHT_PAUSES).total_seconds()

    def clear(self) -> None:
        self.action, self.refusals, self.until = "", 0, 0.0


@dataclass(frozen=True, slots=True)
class _Probe:
    """A call that proves the right to a list."""

    of: ApiList
    call: Callable[[], Awaitable[object]]


async def _page(client: ApiClient, query: str, decode: Callable[[bytes], TaskPage]) -> TaskPage:
    """Return a page. Where the service itself answers that there is nothing, it is an empty one."""
    try:
        return await client.get(query, decode)
    except RequestRejected as error:
        if not says_empty(error):
            raise
        return _EMPTY_PAGE


async def _read_all(walker: Walker, read_page: ReadPage) -> WalkResult:
    """Read a list, once more where not all of it was read. An empty one is believed at once."""
    listing = await walker.read(read_page, 1)
    return listing if _is_whole(listing) else await walker.read(read_page, 1)


def _is_whole(listing: WalkResult) -> bool:
    """Return whether everything was read. An empty list is believed at once: absence proves nothing about alarms."""
    if listing.complete or listing.total == 0:
        return True
    last = listing.walks[-1]
    return listing.total is None and last.exhausted and not last.cut_short


# ---- Cloud Eye ----


@dataclass(slots=True)
class _KnownName:
    """What is remembered of the events of one name."""

    latest: datetime | None = None
    count: int = 0
    tasks: dict[str, Task] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)


class _CloudEye:
    """The events of GaussDB in Cloud Eye. Those of a name are read again when it has a new one."""

    kind = AlarmFeed.CLOUD_EYE

    def __init__(self, settings: GaussDBEventsSettings, access: SourceAccess) -> None:
        self._source = settings.name
        self._root = f"/V1.0/{settings.project_id}"
        self._endpoint = settings.cloud_eye_url
        self._access = access
        self._list = access.open_list(EVENT_NAMES, self._endpoint, f"{self._root}/events")
        self._details: dict[str, ApiClient] = {}
        self._walker = Walker(limit=alarm_rows.EVENT_PAGE_SIZE, paging="record")
        self._known: dict[str, _KnownName] = {}
        self.action = EVENT_NAMES.action

    @property
    def clients(self) -> Iterable[ApiClient]:
        return (self._list, *self._details.values())

    async def read(self, now: datetime) -> FeedRows:
        start, end = now - ALARM_WINDOW, now + _AHEAD
        self.action = EVENT_NAMES.action
        listing = await _read_all(
            self._walker,
            lambda offset: _page(self._list, alarm_rows.names_query(start, end, offset), alarm_rows.decode_names),
        )
        rows = {key: row for page in listing.pages() for key, row in page.rows.items()}
        names = [one for row in rows.values() if (one := alarm_rows.parse_name(row)) is not None]
        complete = _is_whole(listing)
        self.action = EVENTS_OF_NAME.action
        for one in names:
            known = self._known.get(one.name)
            if self._is_ours(one) and _has_moved(one, known):
                complete &= await self._read_name(one, start, end)
        self._forget(start)
        tasks = {job_id: task for one in self._known.values() for job_id, task in one.tasks.items()}
        digests = {job_id: digest for one in self._known.values() for job_id, digest in one.digests.items()}
        return FeedRows(tasks=tasks, digests=digests, complete=complete, unreadable=len(rows) - len(names))

    def _is_ours(self, one: EventName) -> bool:
        """Return whether GaussDB may have reported events of a name. The list names the source of the latest alone."""
        named = one.name.startswith(_PREFIX) or one.name in self._known or one.name in KERNEL_ALARMS
        return named or one.source == alarm_rows.GAUSSDB_EVENTS

    async def _read_name(self, one: EventName, start: datetime, end: datetime) -> bool:
        """Read the events of a name, with some that are known. Return whether all were read."""
        known = self._known.setdefault(one.name, _KnownName())
        newer = known.latest is not None and one.latest is not None and one.latest > known.latest
        since = max(start, known.latest - OVERLAP) if newer and known.latest else start
        client = self._detail(one.name)
        listing = await _read_all(
            self._walker,
            lambda offset: _page(client, alarm_rows.events_query(since, end, offset), alarm_rows.decode_events),
        )
        for page in listing.pages():
            for job_id, row in page.rows.items():
                if task := alarm_rows.parse_event(self._source, job_id, row):
                    known.tasks[job_id], known.digests[job_id] = task, page.fingerprints[job_id]
        if whole := _is_whole(listing):
            known.latest, known.count = one.latest, one.count
        return whole

    def _detail(self, name: str) -> ApiClient:
        if name not in self._details:
            path = f"{self._root}/event/{name}"
            self._details[name] = self._access.open_list(EVENTS_OF_NAME, self._endpoint, path)
        return self._details[name]

    def _forget(self, start: datetime) -> None:
        """Drop what is older than the window, and the oldest where there is too much."""
        ages = sorted(at for one in self._known.values() for task in one.tasks.values() if (at := _at(task)))
        oldest = max(start, ages[-MAX_EVENTS_KEPT]) if len(ages) > MAX_EVENTS_KEPT else start
        for one in self._known.values():
            for job_id in [job_id for job_id, task in one.tasks.items() if (at := _at(task)) and at < oldest]:
                del one.tasks[job_id], one.digests[job_id]

    def probes(self, now: datetime) -> Sequence[_Probe]:
        start, end = now - OVERLAP, now
        name = next(iter(self._known), "GaussDBV5FaultyDBInstance")
        return (
            _Probe(
                EVENT_NAMES,
                lambda: _page(self._list, alarm_rows.names_query(start, end, 0), alarm_rows.decode_names),
            ),
            _Probe(
                EVENTS_OF_NAME,
                lambda: _page(self._detail(name), alarm_rows.events_query(start, end, 0), alarm_rows.decode_events),
            ),
        )


def _has_moved(one: EventName, known: _KnownName | None) -> bool:
    """Return whether there may be events of a name that were not read. Fewer than before have only left the window."""
    return known is None or one.latest is None or one.latest != known.latest or one.count > known.count


# ---- the alarm history ----


class _AlarmHistory:
    """The alarm history of GaussDB, read once for each level."""

    kind = AlarmFeed.ALARM_HISTORY
    action = ALARM_HISTORY.action

    def __init__(self, settings: GaussDBEventsSettings, access: SourceAccess, *, skips_events: bool) -> None:
        self._source = settings.name
        self._skips_events = skips_events
        path = f"/v3/{settings.project_id}/alarm-history-record"
        self._list = access.open_list(ALARM_HISTORY, settings.history_url, path)
        self._walker = Walker(limit=alarm_rows.HISTORY_PAGE_SIZE, paging="record")

    @property
    def clients(self) -> Iterable[ApiClient]:
        return (self._list,)

    async def read(self, now: datetime) -> FeedRows:
        tasks: dict[str, Task] = {}
        digests: dict[str, bytes] = {}
        unreadable: set[bytes] = set()
        complete = True
        for level in alarm_rows.HISTORY_LEVELS:
            listing = await self._read_level(level, now)
            complete &= _is_whole(listing)
            for page in listing.pages():
                unreadable |= page.unreadable
                for job_id, row in page.rows.items():
                    if not self._skips_events or alarm_rows.alarm_type(row) != alarm_rows.SYSTEM_EVENTS:
                        tasks[job_id] = alarm_rows.parse_alarm(self._source, job_id, row, now)
                        digests[job_id] = page.fingerprints[job_id]
        return FeedRows(tasks=tasks, digests=digests, complete=complete, unreadable=len(unreadable))

    async def _read_level(self, level: int, now: datetime) -> WalkResult:
        start = now - ALARM_WINDOW + _HISTORY_MARGIN
        return await _read_all(
            self._walker,
            lambda offset: _page(self._list, alarm_rows.history_query(start, level, offset), alarm_rows.decode_history),
        )

    def probes(self, now: datetime) -> Sequence[_Probe]:
        query = alarm_rows.history_query(now - OVERLAP, 1, 0)
        return (_Probe(ALARM_HISTORY, lambda: _page(self._list, query, alarm_rows.decode_history)),)


# ---- together ----


def _snapshot(
    source: str,
    found: Sequence[FeedRows],
    taken_at: datetime,
    *,
    calls: int,
    skew: timedelta | None,
    lacking: tuple[str, ...],
) -> Snapshot:
    """Return all alarms as one list, in the order in which they happened: a fault comes before its end."""
    tasks = with_ends({job_id: task for rows in found for job_id, task in rows.tasks.items()})
    digests = {job_id: digest for rows in found for job_id, digest in rows.digests.items()}
    ordered = sorted(tasks, key=lambda job_id: (_at(tasks[job_id]) or taken_at, tasks[job_id].status.terminal, job_id))
    return Snapshot(
        source=source,
        taken_at=taken_at,
        fingerprints={job_id: digests[job_id] for job_id in ordered},
        parse=tasks.__getitem__,
        complete=all(rows.complete for rows in found),
        scope=Scope.FULL,
        calls=calls,
        total_count=len(tasks),
        unreadable=sum(rows.unreadable for rows in found),
        skew=skew,
        lacking=lacking,
    )


def _at(task: Task) -> datetime | None:
    """Return when an alarm was raised, or when it was reported as over."""
    return task.created_at or task.ended_at


def with_ends(tasks: Mapping[str, Task]) -> Mapping[str, Task]:
    """Add to each fault when it ended, and to each report of an end when the fault had begun, as far as both are known.

    Rows that never change are meant: the alarm history has both times in one row.
    """
    begun, ended = _times(tasks, TaskStatus.RAISED), _times(tasks, TaskStatus.CLEARED)
    return {job_id: _with_other_time(task, begun, ended) for job_id, task in tasks.items()}


def _times(tasks: Mapping[str, Task], status: TaskStatus) -> Mapping[str, Sequence[datetime]]:
    found: dict[str, list[datetime]] = {}
    for task in tasks.values():
        if task.status is status and _is_event(task) and (at := _at(task)):
            found.setdefault(operation_of_task(task), []).append(at)
    return {operation: sorted(times) for operation, times in found.items()}


def _is_event(task: Task) -> bool:
    return task.alarm is not None and task.alarm.feed is AlarmFeed.CLOUD_EYE


def _with_other_time(
    task: Task, begun: Mapping[str, Sequence[datetime]], ended: Mapping[str, Sequence[datetime]]
) -> Task:
    if not _is_event(task) or (at := _at(task)) is None:
        return task
    operation = operation_of_task(task)
    if task.status is TaskStatus.RAISED:
        times = ended.get(operation, ())
        following = bisect_left(times, at)
        return replace(task, ended_at=times[following]) if following < len(times) else task
    times = begun.get(operation, ())
    before = bisect_right(times, at)
    # Faults that were reported again before the end began with the first of them.
    earlier = ended.get(operation, ())
    since = earlier[bisect_left(earlier, at) - 1] if bisect_left(earlier, at) else None
    first = bisect_right(times, since) if since else 0
    return replace(task, created_at=times[first]) if first < before else task
