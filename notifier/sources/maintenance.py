"""The list of planned maintenance of GaussDB: what the cloud is going to do to the instances of one project.

Two official descriptions of the list disagree about the case of its words and the name of its one type. Both are read:
nothing is filtered by the service, and words are compared whatever their case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from notifier.core.errors import SourceError
from notifier.core.maintenance_values import RESTART_NODE, MaintenanceList, MaintenanceStatus, PlannedMaintenance
from notifier.http.huawei_signature import canonical_query
from notifier.ports import CheckResult
from notifier.sources.access import SourceAccess
from notifier.sources.failures import detail_of
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.lists import MAINTENANCE_LIST
from notifier.sources.payloads import line_of, mapping_of, parse_time, rows_of, text_of

MAINTENANCE_PAGE_SIZE = 100
"""The largest page. The service's default is 10."""
MAX_MAINTENANCE_PAGES = 20
"""Maximum number of pages that are read: what lies ahead comes first, and a project plans few."""
MAX_MAINTENANCE_ROWS = 1_000
"""Maximum number of rows that are taken from one page."""
MAX_MAINTENANCE_TEXT = 500
"""Maximum length of an impact and of a reason, in characters."""
_MAX_TOTAL = 2**31 - 1

_KINDS: Mapping[str, str] = {"RESTAT_NODE": RESTART_NODE}
"""Names that the SDK and the service spell differently."""
_STATUSES = {status.value: status for status in MaintenanceStatus} | {"cancelled": MaintenanceStatus.CANCELED}


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenancePage:
    """One page of the list."""

    planned: tuple[PlannedMaintenance, ...] = ()
    unreadable: int = 0
    """Number of rows without a usable id."""
    total: int | None = None
    """Size of the list as the page states it; None where it states none."""

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.planned) + self.unreadable


def decode_page(body: bytes) -> MaintenancePage:
    """Decode one page. Raises ValueError with the reason for anything but a page of the list.

    Rows never fail: unreadable values become empty, an unknown status UNKNOWN.
    """
    rows, page = rows_of(body, "events", "total_count")
    found = [parse_maintenance(row) for row in rows[:MAX_MAINTENANCE_ROWS]]
    planned = tuple(row for row in found if row)
    return MaintenancePage(planned=planned, unreadable=len(found) - len(planned), total=_total(page.get("total_count")))


def _total(value: object) -> int | None:
    text = line_of(value) or ""
    return int(text) if text.isascii() and text.isdigit() and int(text) <= _MAX_TOTAL else None


def parse_maintenance(row: object) -> PlannedMaintenance | None:
    """Decode a row; None for one without a usable id. Never fails."""
    values = mapping_of(row)
    id_ = line_of(values.get("id"))
    if id_ is None:
        return None
    window = mapping_of(values.get("execution_time_window"))
    kind = (line_of(values.get("type")) or "").upper()
    raw_status = line_of(values.get("status")) or ""
    return PlannedMaintenance(
        id=id_,
        name=_KINDS.get(kind, kind),
        status=_STATUSES.get(raw_status.lower(), MaintenanceStatus.UNKNOWN),
        raw_status=raw_status,
        level=(line_of(values.get("level")) or "").lower(),
        instance_id=line_of(values.get("instance_id")),
        instance_name=line_of(values.get("instance_name")),
        impact=text_of(values.get("impact"), MAX_MAINTENANCE_TEXT),
        reason=text_of(values.get("reason"), MAX_MAINTENANCE_TEXT),
        starts_at=parse_time(window.get("start_time")),
        ends_at=parse_time(window.get("end_time")),
        planned_at=parse_time(window.get("planned_execution_time")),
        latest_at=parse_time(values.get("latest_execution_time")),
        executed_at=parse_time(values.get("execute_time")),
        created_at=parse_time(values.get("created_time")),
        updated_at=parse_time(values.get("update_time")),
        job_id=line_of(values.get("job_id")) or "",
    )


class GaussDBMaintenance:
    """Reads the list of one project; implements `maintenance.MaintenanceReader`."""

    def __init__(self, settings: GaussDBSettings, access: SourceAccess) -> None:
        self.name = settings.name
        """Name of the source."""
        self._where = access.where
        self._api = access.open_list(MAINTENANCE_LIST, settings.url, f"/v3/{settings.project_id}/schedule-events")

    @property
    def action(self) -> str:
        """The action that reading takes."""
        return MAINTENANCE_LIST.action

    @property
    def calls(self) -> int:
        """Number of calls made so far, retries included."""
        return self._api.calls

    async def read(self) -> MaintenanceList:
        """Read the list. Raises SourceError, after retries if they could help.

        Rows may move between pages while these are read. So the list is complete only where all pages state one total
        and the distinct rows reach it.
        """
        pages: list[MaintenancePage] = []
        offset = 0
        while len(pages) < MAX_MAINTENANCE_PAGES:
            page = await self._page(offset)
            pages.append(page)
            offset += page.rows
            if not page.rows or page.total is None or offset >= page.total:
                break
        return joined(pages)

    async def _page(self, offset: int) -> MaintenancePage:
        query = canonical_query((("limit", str(MAINTENANCE_PAGE_SIZE)), ("offset", str(offset))))
        return await self._api.get(query, decode_page)

    async def check(self) -> Sequence[CheckResult]:
        """Prove that the list can be read, with one call."""
        what = f"{self._where}: maintenance"
        try:
            page = await self._page(0)
        except SourceError as error:
            return [CheckResult(ok=False, what=what, detail=detail_of(error, self._where))]
        total = page.rows if page.total is None else page.total
        return [CheckResult(ok=True, what=what, detail=f"{total} are listed")]


def joined(pages: Sequence[MaintenancePage]) -> MaintenanceList:
    """Return the list that pages show. Of two rows with one id, the one of the later page counts."""
    by_id = {row.id: row for page in pages for row in page.planned}
    unreadable = sum(page.unreadable for page in pages)
    totals = {page.total for page in pages}
    total = totals.pop() if len(totals) == 1 else None
    return MaintenanceList(
        planned=tuple(by_id.values()),
        complete=total is not None and len(by_id) + unreadable == total,
        unreadable=unreadable,
    )
