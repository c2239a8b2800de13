"""The audit log of a project (Cloud Trace): its queries, and its pages as values, whatever the bytes are.

A row holds the request and the answer that it records. Of the request only ids of instances are read, of the answer
only ids of jobs, and neither is kept: they may contain passwords.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from notifier.core.errors import RequestRejected, SourceError
from notifier.core.origins import TraceCaller, TraceQuery, TraceRow, plain_id
from notifier.http.huawei_signature import canonical_query
from notifier.origins import FoundTraces
from notifier.ports import CheckResult
from notifier.sources.access import SourceAccess
from notifier.sources.failures import detail_of, says_empty
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.lists import TRACE_LIST
from notifier.sources.payloads import decode_json, line_of, mapping_of, parse_time, rows_of

TRACE_PAGE_SIZE = 200
"""Maximum number of rows of a page."""
MAX_TRACE_PAGES = 5
"""Maximum number of pages of one query. The rows of one instance within an hour fit on one."""
MAX_PERSON_NAME = 128
"""Maximum length of the name of a person or an agency, in characters."""
MAX_URN = 512
"""Maximum length of a principal, in characters. A longer one is not read."""
MAX_BODY = 1_000_000
"""Maximum length of a request or an answer that is searched for ids, in characters."""
MAX_IDS = 50
"""Maximum number of ids that are taken from one request or answer."""
MAX_BODY_DEPTH = 8
"""Maximum depth to which a request or an answer is searched."""
MAX_VALUES = 5_000
"""Maximum number of values of a request or an answer that are visited."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = 946_656_000_000, 4_102_416_000_000
"""Bounds of the times that the log takes, in milliseconds."""


def query_of(wanted: TraceQuery, marker: str = "", *, limit: int = TRACE_PAGE_SIZE) -> str:
    """Return the query of a page, as it is signed and sent. `marker` is that of the page before."""
    given = {
        "trace_type": "system",
        "from": _milliseconds(wanted.start),
        "to": _milliseconds(wanted.end),
        "limit": str(limit),
        "resource_id": wanted.resource_id,
        "trace_name": wanted.trace_name,
        "next": marker,
    }
    return canonical_query((name, value) for name, value in sorted(given.items()) if value)


def _milliseconds(moment: datetime) -> str:
    return str(min(max((moment - _EPOCH) // timedelta(milliseconds=1), _FIRST), _LAST))


class TraceLog:
    """Reads the audit log of the project of a source; implements `origins.TraceReader`."""

    action = TRACE_LIST.action

    def __init__(self, settings: GaussDBSettings, access: SourceAccess) -> None:
        """`access` opens the lists of the source with these settings."""
        self.name = settings.name
        self.keeps_addresses = settings.started_by_address
        self._where = access.where
        self._now = access.clock.now
        self._api = access.open_list(TRACE_LIST, settings.traces_url, f"/v3/{settings.project_id}/traces")

    @property
    def calls(self) -> int:
        """Calls made so far, retries included."""
        return self._api.calls

    async def read(self, query: TraceQuery) -> FoundTraces:
        """Return the rows that answer a query; see `origins.TraceReader.read`."""
        found: list[TraceRow] = []
        marker = ""
        for _ in range(MAX_TRACE_PAGES):
            page = await self._page(query, marker)
            found += page.traces
            if not page.marker or page.marker == marker:
                return FoundTraces(traces=found)
            marker = page.marker
        return FoundTraces(traces=found, whole=False)

    async def check(self) -> Sequence[CheckResult]:
        """Prove with one call that the log may be read."""
        now = self._now()
        what = f"{self._where}: started by"
        try:
            await self._page(TraceQuery(start=now - timedelta(hours=1), end=now), "", limit=1)
        except SourceError as error:
            return [CheckResult(ok=False, what=what, detail=detail_of(error, self._where))]
        return [CheckResult(ok=True, what=what, detail="may read the audit log of Cloud Trace")]

    async def _page(self, query: TraceQuery, marker: str, *, limit: int = TRACE_PAGE_SIZE) -> TracePage:
        try:
            return await self._api.get(query_of(query, marker, limit=limit), decode_trace_page)
        except RequestRejected as error:
            if not says_empty(error):
                raise
            return TracePage(traces=())


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePage:
    """One page of the log."""

    traces: tuple[TraceRow, ...]
    """Its readable rows."""
    marker: str = ""
    """Where the next page begins; the empty string on the last page."""


def decode_trace_page(body: bytes) -> TracePage:
    """Decode one page. Raises ValueError with the reason for anything but a page of the log.

    A row that cannot be read is left out: it names nobody.
    """
    rows, page = rows_of(body, "traces", "meta_data")
    marker = line_of(mapping_of(page.get("meta_data")).get("marker")) or ""
    return TracePage(traces=tuple(filter(None, map(parse_trace, rows[:TRACE_PAGE_SIZE]))), marker=marker)


def parse_trace(row: object) -> TraceRow | None:
    """Decode a row. None for one without a name or a time: it can start nothing."""
    values = mapping_of(row)
    name, at = line_of(values.get("trace_name")), parse_time(values.get("time"))
    if not name or at is None:
        return None
    return TraceRow(
        trace_id=line_of(values.get("trace_id")) or "",
        name=name,
        kind=line_of(values.get("trace_type")) or "",
        at=at,
        recorded_at=parse_time(values.get("record_time")),
        status=_status(values.get("code")),
        resource_id=line_of(values.get("resource_id")) or "",
        resource_name=line_of(values.get("resource_name")) or "",
        job_ids=_ids(values.get("response"), "jobid"),
        instance_ids=_ids(values.get("request"), "instanceid"),
        user=_user(values.get("user")),
        address=_address(values.get("source_ip")),
    )


def _status(value: object) -> int | None:
    """Read the status of an answer: a number, or a text with one. None for codes of other kinds."""
    text = line_of(value) or ""
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else None  # noqa: PLR2004 - of HTTP


def _user(value: object) -> TraceCaller | None:
    """Read who made a request: an object, or a text with one."""
    values = mapping_of(_document(value))
    name, user_name = _name(values.get("name")), _name(values.get("user_name"))
    urn = _principal(values.get("principal_urn"))
    if not (name or user_name or urn):
        return None
    invoked_by = values.get("invoked_by")
    services = invoked_by if isinstance(invoked_by, list) else [invoked_by]
    return TraceCaller(
        name=name,
        user_name=user_name,
        principal_urn=urn,
        invoked_by=tuple(text for service in services[:5] if (text := line_of(service))),
    )


def _name(value: object) -> str:
    text = line_of(value) or ""
    return text if len(text) <= MAX_PERSON_NAME else text[: MAX_PERSON_NAME - 1] + "…"


def _principal(value: object) -> str:
    """Read a principal. One that is too long is not cut: the name is at its end."""
    whole = value if isinstance(value, str) and len(value) <= MAX_URN and value.isprintable() else ""
    return whole.strip()


def _address(value: object) -> str:
    text = line_of(value) or ""
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        return ""


def _document(value: object) -> object:
    """Return a JSON value that may have been sent as a text; None where it cannot be read."""
    if not isinstance(value, str):
        return value
    if len(value) > MAX_BODY or value.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return decode_json(value.encode(errors="replace"))
    except ValueError:
        return None


def _ids(value: object, kind: str) -> frozenset[str]:
    """Return the ids in a request or an answer whose names end with a kind: `job_id`, `jobId`, `target_instance_id`."""
    found = set[str]()
    for id_ in _named_ids(_document(value), kind):
        found.add(plain_id(id_))
        if len(found) >= MAX_IDS:
            break
    return frozenset(found)


def _named_ids(document: object, kind: str) -> Iterator[str]:
    """Yield the texts under names of a kind, breadth first, as far as the bounds allow."""
    level: Sequence[object] = [document]
    visited = 0
    for _ in range(MAX_BODY_DEPTH):
        deeper: list[object] = []
        for one in level:
            if isinstance(one, dict):
                for name, value in one.items():
                    if name.lower().replace("_", "").replace("-", "").endswith(kind) and (id_ := line_of(value)):
                        yield id_
                deeper += one.values()
            elif isinstance(one, list):
                deeper += one
        visited += len(deeper)
        if not deeper or visited > MAX_VALUES:
            return
        level = deeper
