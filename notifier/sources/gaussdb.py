"""The task list of GaussDB: one project in one region."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, partial

from notifier.core.errors import (
    CredentialsRejected,
    CredentialsUnreachable,
    PermissionDenied,
    RequestRejected,
    SourceError,
    SourceThrottled,
)
from notifier.core.model import Scope, Snapshot, Task
from notifier.core.retry import CLOCK_TOLERANCE
from notifier.http.huawei_signature import canonical_query
from notifier.ports import CheckResult
from notifier.sources.access import SourceAccess
from notifier.sources.failures import describe_skew, detail_of
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.lists import TASK_LIST
from notifier.sources.page_cache import PageCache
from notifier.sources.paging import WalkResult
from notifier.sources.payloads import Decode, TaskPage, decode_page, parse_task
from notifier.sources.slices import InSlices, SlicedWalk
from notifier.sources.walker import Walker

MAX_WALKS = 4
"""Maximum number of walks over the list in one poll."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class TaskQuery:
    """The parameters of the API but `offset`. None omits one."""

    status: str | None = None
    """`Running`, `Completed` or `Failed`."""
    name: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    limit: int = 100
    """1 to 100."""

    def at(self, offset: int) -> str:
        """Return the query of one page, as it is signed and sent."""
        before, after = self._around_offset
        return f"{before}&offset={offset}{after}"

    @cached_property
    def _around_offset(self) -> tuple[str, str]:
        """The query before and after the offset, encoded once for all pages."""
        wanted: dict[str, str | int | None] = {
            "status": self.status,
            "name": self.name,
            "start_time": _milliseconds(self.start_time),
            "end_time": _milliseconds(self.end_time),
            "limit": self.limit,
        }
        given = [(name, value) for name, value in wanted.items() if value is not None]
        before, after = (
            canonical_query(pair for pair in given if (pair[0] > "offset") is later) for later in (False, True)
        )
        return before, f"&{after}" if after else ""


def _milliseconds(time: datetime | None) -> str | None:
    """Return a time as the API's filters take it: milliseconds since 1970, as a string."""
    return None if time is None else str((time - _EPOCH) // timedelta(milliseconds=1))


@dataclass(slots=True)
class _FullScan:
    """A full scan that goes on over several polls."""

    walk: SlicedWalk
    calls: int = 0
    slices: int = 0


class GaussDBSource:
    """Reads the task list of one project; implements `ports.TaskSource`.

    Args:
        settings: of this source.
        access: opens its lists.
    """

    def __init__(self, settings: GaussDBSettings, access: SourceAccess) -> None:
        self.name = settings.name
        self.region = settings.region
        self.project_id = settings.project_id
        self._clock = access.clock
        self._where = access.where
        self._api = access.open_list(TASK_LIST, settings.url, f"/v3/{settings.project_id}/tasks")
        self._query = TaskQuery(limit=settings.page_size)
        self._walker = Walker(limit=settings.page_size, paging=settings.paging)
        self._pages = {scope: PageCache() for scope in Scope}
        self._scan: _FullScan | None = None

    async def fetch(self, scope: Scope) -> Snapshot:
        """Read the list; see `ports.TaskSource.fetch`."""
        with self._pages[scope].scan() as decode:
            if scope is Scope.FULL:
                return await self._read(self._query, scope, decode)
            # Running tasks first: a task that fails in between is then seen in both states, not missed.
            running = await self._read(replace(self._query, status="Running"), scope, decode)
            failed = await self._read(replace(self._query, status="Failed"), scope, decode)
            return failed.joined_to(running)

    @property
    def scanning(self) -> bool:
        """Whether a full scan has begun and not ended."""
        return self._scan is not None

    async def fetch_slice(self, calls: int) -> Snapshot:
        """Go on with a full scan, or begin one; see `ports.SlicedSource.fetch_slice`."""
        taken_at, before = self._clock.now(), self._api.calls
        scan = self._scan = self._scan or _FullScan(SlicedWalk(self._walk))
        try:
            read = await scan.walk.advance(calls)
        except BaseException:
            self.drop_scan()
            raise
        made = self._api.calls - before
        scan.calls, scan.slices = scan.calls + made, scan.slices + 1
        result = read.result
        shown = build_snapshot(
            self.name,
            read.pages,
            taken_at=taken_at,
            scope=Scope.FULL if result else Scope.ACTIVE,
            complete=result is not None and result.complete,
            total_count=result.total if result else None,
            calls=made,
            skew=self._api.skew,
        )
        if result is None:
            return shown
        self._scan = None
        if scan.slices == 1:
            return shown
        pages = [*result.pages()]
        return replace(
            shown,
            scan_calls=scan.calls,
            unreadable=len({row for page in pages for row in page.unreadable}),
            listed_before={id_ for page in pages for id_ in page.fingerprints} - shown.fingerprints.keys(),
        )

    async def fetch_ended(self) -> Snapshot:
        """Read the latest tasks that have completed; see `ports.SlicedSource.fetch_ended`."""
        taken_at, before = self._clock.now(), self._api.calls
        page = await self.list_page(replace(self._query, status="Completed"))
        return build_snapshot(
            self.name,
            [page],
            taken_at=taken_at,
            scope=Scope.ACTIVE,
            complete=False,
            total_count=None,
            calls=self._api.calls - before,
            skew=self._api.skew,
        )

    def drop_scan(self) -> None:
        """End the full scan where it is; see `ports.SlicedSource.drop_scan`."""
        if self._scan is not None:
            self._scan.walk.cancel()
            self._scan = None

    async def list_page(self, query: TaskQuery, offset: int = 0, decode: Decode = decode_page) -> TaskPage:
        """Return one page of the list. Raises SourceError, after retries if they could help."""
        return await self._api.get(query.at(offset), decode)

    async def check(self) -> Sequence[CheckResult]:
        """Check endpoint, credentials, rights and clock with one call; see `ports.TaskSource.check`."""
        try:
            page = await self.list_page(TaskQuery(limit=1))
        except SourceError as error:
            findings = check_results(self._where, error)
        else:
            total = "an unknown number of" if page.total is None else page.total
            details = (*(good for _, good in _STEPS[:-1]), f"{total} tasks are listed")
            findings = [
                CheckResult(ok=True, what=f"{self._where}: {step}", detail=detail)
                for (step, _), detail in zip(_STEPS, details, strict=True)
            ]
        return [*findings, *clock_check_results(self._where, self._api.skew)]

    async def aclose(self) -> None:
        """End the full scan. The connections belong to the shared client."""
        self.drop_scan()

    async def _walk(self, in_slices: InSlices) -> WalkResult:
        with self._pages[Scope.FULL].scan() as decode:
            read_page = in_slices(partial(self.list_page, self._query, decode=decode))
            return await self._walker.read(read_page, MAX_WALKS)

    async def _read(self, query: TaskQuery, scope: Scope, decode: Decode) -> Snapshot:
        taken_at, calls, full = self._clock.now(), self._api.calls, scope is Scope.FULL
        read_page = partial(self.list_page, query, decode=decode)
        listing = await self._walker.read(read_page, MAX_WALKS if full else 1)
        return build_snapshot(
            self.name,
            listing.pages(),
            taken_at=taken_at,
            scope=scope,
            complete=full and listing.complete,
            total_count=listing.total if full else None,
            calls=self._api.calls - calls,
            skew=self._api.skew,
        )


def build_snapshot(
    source: str,
    pages: Iterable[TaskPage],
    *,
    taken_at: datetime,
    scope: Scope,
    complete: bool,
    total_count: int | None,
    calls: int,
    skew: timedelta | None = None,
) -> Snapshot:
    """Build a snapshot from pages. Of two rows with one id, the one of the later page counts."""
    shown = list(pages)
    fingerprints: dict[str, bytes] = {}
    unreadable: set[bytes] = set()
    for page in shown:
        fingerprints |= page.fingerprints
        unreadable |= page.unreadable
    return Snapshot(
        source=source,
        taken_at=taken_at,
        fingerprints=fingerprints,
        parse=_row_parser(source, shown),
        complete=complete,
        scope=scope,
        calls=calls,
        total_count=total_count,
        unreadable=len(unreadable),
        skew=skew,
    )


def _row_parser(source: str, pages: Sequence[TaskPage]) -> Callable[[str], Task]:
    """Return a function that parses the row of a task. Pages find their rows when the first of these is asked for."""

    @cache
    def page_by_id() -> Mapping[str, TaskPage]:
        found: dict[str, TaskPage] = {}
        for page in pages:
            found.update(dict.fromkeys(page.fingerprints, page))
        return found

    return lambda job_id: parse_task(source, job_id, page_by_id()[job_id].rows[job_id])


# ---- findings ----

_STEPS = (("endpoint", "answers"), ("credentials", "accepted"), ("rights", "may list tasks"))
_FAILED_STEP: Mapping[type[SourceError], int] = {
    CredentialsRejected: 1,
    PermissionDenied: 2,
    RequestRejected: 2,
    SourceThrottled: 2,
}


def check_results(where: str, error: SourceError) -> list[CheckResult]:
    """Return the check results of a failed call: the steps before the one that failed worked."""
    detail = detail_of(error, where)
    if isinstance(error, CredentialsUnreachable):  # the API itself has not been asked
        return [CheckResult(ok=False, what=f"{where}: {_STEPS[1][0]}", detail=detail)]
    failed = _FAILED_STEP.get(type(error), 0)
    worked = [CheckResult(ok=True, what=f"{where}: {step}", detail=good) for step, good in _STEPS[:failed]]
    return [*worked, CheckResult(ok=False, what=f"{where}: {_STEPS[failed][0]}", detail=detail)]


def clock_check_results(where: str, skew: timedelta | None) -> list[CheckResult]:
    """Return whether the clock is right; empty if the service gave no time."""
    if skew is None:
        return []
    if abs(skew) <= CLOCK_TOLERANCE:
        return [CheckResult(ok=True, what=f"{where}: clock", detail="agrees with the service's")]
    detail = f"the clock of this machine is {describe_skew(skew)} the service's"
    remedy = "Set the clock, for example with NTP: signatures fail when it is 15 minutes off."
    return [CheckResult(ok=False, what=f"{where}: clock", detail=detail, remedy=remedy)]
