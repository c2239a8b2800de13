"""Decode pages of the task list: from bytes to values, whatever the bytes are.

The cost of a page matters: a list of 100,000 tasks is read at every poll and hardly any row has changed. So a row is
only identified and hashed at first; `parse_task` decodes it when its task is needed.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple, TypeGuard, cast

import msgspec

from notifier.core.model import Task, TaskStatus
from notifier.sources.documents import is_error

MAX_REASON_LENGTH = 20_000
"""Maximum length of a failure reason, in characters; longer ones are cut."""
MAX_NAME_LENGTH = 255
"""Maximum length of any other text, in characters, and of a usable job_id: databases index these."""
_MAX_TOTAL = 2**31 - 1
"""The largest offset that the API documents; a larger total is an error."""
_MAX_INTEGER_DIGITS = 400
_DIGEST_SIZE = 16

_MAX_DEPTH = 50
"""Maximum depth of nesting that is decoded; a page of the API has four levels."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND, _LAST_SECOND = 10**8, 7 * 10**9
"""Range of plausible times, 1973 to 2191, in seconds since 1970. Larger numbers are in a finer unit."""
_FIRST_TIME, _LAST_TIME = (_EPOCH + timedelta(seconds=seconds) for seconds in (_FIRST_SECOND, _LAST_SECOND))
_UNITS = (1, 10**3, 10**6, 10**9)
"""Units per second of a numeric time. The four ranges of plausible numbers do not overlap."""

_STATUSES = {status.value: status for status in (TaskStatus.RUNNING, TaskStatus.COMPLETED, TaskStatus.FAILED)}

# Control characters other than tab and newline, and lone surrogates: databases, terminals and mail break on them.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


RowBytes = bytes | msgspec.Raw
"""A row as received."""


class RowKeys(NamedTuple):
    """What identifies the rows of one page."""

    fingerprints: Mapping[str, bytes]
    """Digest of each row by job_id, in the order of the page; of two rows with one id, the later."""
    unreadable: frozenset[bytes]
    """Digests of rows without a usable job_id."""


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """One page of the list, with undecoded rows."""

    row_keys: RowKeys
    total: int | None
    """Size of the list as stated by the page; None if absent, or smaller than the page itself."""
    read_rows: Callable[[], Mapping[str, RowBytes]] = field(default=dict, compare=False)
    """Returns the rows as received, by job_id."""

    @property
    def fingerprints(self) -> Mapping[str, bytes]:
        """Digest of each row with an id; see `RowKeys`."""
        return self.row_keys.fingerprints

    @property
    def unreadable(self) -> frozenset[bytes]:
        """Digest of each row without one; see `RowKeys`."""
        return self.row_keys.unreadable

    @property
    def keys(self) -> AbstractSet[str | bytes]:
        """Keys of all rows: the id, or the digest of a row without one."""
        fingerprints, unreadable = self.row_keys
        return fingerprints.keys() | unreadable if unreadable else fingerprints.keys()

    @cached_property
    def rows(self) -> Mapping[str, RowBytes]:
        """The rows as received, by job_id."""
        return self.read_rows()


Decode = Callable[[bytes], TaskPage]
"""Decodes the body of a reply. Raises ValueError for anything but a page of a task list."""


# ---- a page ----


class _Page(msgspec.Struct):
    tasks: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET
    total_count: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Key(msgspec.Struct, gc=False):
    job_id: str | int | None = None


class _Keys(msgspec.Struct):
    tasks: list[_Key] | None = None


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_keys = msgspec.json.Decoder(_Keys).decode
_decode_rows = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_row_keys = msgspec.json.Decoder(list[_Key]).decode
_UNDECODABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_page(body: bytes) -> TaskPage:
    """Decode one page. Raises ValueError with the reason for anything but a page of a task list.

    One bad row does not affect the others: when the fast decoder refuses the page, a tolerant one takes over.
    """
    split = split_page(body)
    if page := split and split.decode():
        return page
    try:
        return page_of_rows(*_decode_fast(body))
    except _UNDECODABLE:
        return page_of_rows(*_decode_tolerantly(body))


@dataclass(frozen=True, slots=True)
class SplitPage:
    """A page whose rows have not been decoded yet."""

    encoded: memoryview
    """What was received in the place of the rows. It is one JSON array, or no page decodes from it."""
    total_count: object
    """Unchecked."""

    def decode(self) -> TaskPage | None:
        """Return the page; None where its rows are not to be read in this way, or where there are none."""
        try:
            rows, ids = _decode_rows(self.encoded), [key.job_id for key in _decode_row_keys(self.encoded)]
        except _UNDECODABLE:
            return None
        return page_of_rows(rows, ids, self.total_count) if rows else None

    def with_keys(self, row_keys: RowKeys) -> TaskPage:
        """Return the page, of which it is known what `decode` finds in its rows."""
        total = _count(self.total_count, at_least=len(row_keys.fingerprints) + len(row_keys.unreadable))
        return TaskPage(row_keys=row_keys, total=total, read_rows=self._read_rows)

    def _read_rows(self) -> Mapping[str, RowBytes]:
        page = self.decode()
        return page.rows if page else {}


def split_page(body: bytes) -> SplitPage | None:
    """Separate the rows of a page from the rest of it, which alone is decoded. None for a page of another shape.

    The rest is decoded with an empty array in the place of all that is between the first `[` and the last `]`. If that
    array is the value of `tasks`, so is what it stands for, provided that this is one array.
    """
    start, end = body.find(b"["), body.rfind(b"]") + 1
    if not 0 <= start < end:
        return None
    try:
        page = _decode_page(b"%b[]%b" % (body[:start], body[end:]))
        total_count = _total_count(page)
    except _UNDECODABLE:
        return None
    return SplitPage(memoryview(body)[start:end], total_count) if page.tasks == [] else None


def _total_count(page: _Page) -> object:
    return None if page.total_count is msgspec.UNSET else msgspec.json.decode(page.total_count)


_Parts = tuple[Sequence[RowBytes], Sequence[object], object]
"""The rows, the job_id of each, and total_count, all unchecked."""


def _decode_fast(body: bytes) -> _Parts:
    page = _decode_page(body)
    if page.tasks is msgspec.UNSET and page.total_count is msgspec.UNSET:
        raise ValueError("the answer has neither tasks nor total_count")
    if not page.tasks:
        _raise_if_error(decode_json(body))
    return page.tasks or (), [key.job_id for key in _decode_keys(body).tasks or ()], _total_count(page)


def _decode_tolerantly(body: bytes) -> _Parts:
    rows, page = rows_of(body, "tasks", "total_count")
    return (
        [json.dumps(row).encode() for row in rows],
        [row.get("job_id") if isinstance(row, dict) else None for row in rows],
        page.get("total_count"),
    )


def rows_of(body: bytes, name: str, other: str) -> tuple[Sequence[object], Mapping[str, object]]:
    """Return the rows of a page of a list, and the page. Raises ValueError with the reason for anything else.

    `name` is the key of the rows, and `other` another one that pages have.
    """
    page = decode_json(body)
    if not isinstance(page, dict) or not {name, other} & page.keys():
        raise ValueError(f"the answer has neither {name} nor {other}")
    rows = page.get(name) or []
    if not rows:
        _raise_if_error(page)
    if not isinstance(rows, list):
        raise ValueError(f"{name} is not a list")  # noqa: TRY004 - the caller translates one kind of error
    return rows, page


def _raise_if_error(page: object) -> None:
    """Raise ValueError for a page without rows that contains an error: it could be taken for an empty list."""
    if isinstance(page, dict) and is_error(page):
        raise ValueError("the answer is an error, not a list")


def decode_json(body: bytes) -> object:
    """Decode any JSON that a service or a proxy may send. Raises ValueError with the reason for anything else.

    Values that are nested deeper than `_MAX_DEPTH` become None, as do numbers of absurd length.
    """
    text = body.decode("utf-8-sig", errors="replace")
    if text.lstrip().startswith("<"):
        raise ValueError("the answer is a web page, not JSON: a proxy or a login page may be in between")
    try:
        return _parse(text)
    except RecursionError:
        return _parse(_flattened(text))


def _parse(text: str) -> object:
    try:
        return json.loads(text, strict=False, parse_int=_integer)
    except ValueError:
        raise ValueError("the answer is not JSON, or was cut short") from None


_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]+|[\]}]+', re.DOTALL)


def _flattened(text: str) -> str:
    """Return a JSON text with `null` in place of everything nested deeper than `_MAX_DEPTH`.

    The parsers recurse: one deeply nested value would make the whole page unreadable.
    """
    kept: list[str] = []
    depth = shown_to = 0
    for token in _STRUCTURE.finditer(text):
        if token[0][0] in "[{":
            depth += len(token[0])
            if depth > _MAX_DEPTH >= depth - len(token[0]):
                cut = token.end() - (depth - _MAX_DEPTH)
                kept += (text[shown_to:cut], "null")
        elif token[0][0] in "]}":
            deeper, depth = depth, depth - len(token[0])
            if deeper > _MAX_DEPTH >= depth:
                shown_to = token.start() + deeper - _MAX_DEPTH
    return "".join((*kept, text[shown_to:] if depth <= _MAX_DEPTH else ""))


def _integer(text: str) -> int | None:
    return int(text) if len(text) <= _MAX_INTEGER_DIGITS else None


def page_of_rows(raws: Sequence[RowBytes], ids: Sequence[object], total_count: object) -> TaskPage:
    """Return a page of rows with their ids, and the size that it states. Ids and size are unchecked."""
    digests = [sha256(raw).digest()[:_DIGEST_SIZE] for raw in raws]
    usable = ids if _are_plain(ids) else [_usable_id(value) for value in ids]
    rows = {job_id: raw for job_id, raw in zip(usable, raws, strict=True) if job_id}
    fingerprints = {job_id: digest for job_id, digest in zip(usable, digests, strict=True) if job_id}
    unreadable = frozenset(digest for job_id, digest in zip(usable, digests, strict=True) if not job_id)
    total = _count(total_count, at_least=len(rows) + len(unreadable))
    return TaskPage(row_keys=RowKeys(fingerprints, unreadable), total=total, read_rows=lambda: rows)


def _are_plain(ids: Sequence[object]) -> TypeGuard[Sequence[str]]:
    """Return whether each id is usable as it is. One look at all of them together is cheap."""
    try:
        together = "".join(cast("Sequence[str]", ids))
    except TypeError:
        return False
    if not together.isprintable() or " " in together:
        return False
    lengths = [*map(len, cast("Sequence[str]", ids))]
    return 0 not in lengths and max(lengths, default=0) <= MAX_NAME_LENGTH


def _usable_id(value: object) -> str | None:
    text = value.strip() if type(value) is str else line_of(value)
    if text is None or not 0 < len(text) <= MAX_NAME_LENGTH:
        return None
    return text if text.isprintable() else line_of(text)


def _count(value: object, *, at_least: int) -> int | None:
    """Read total_count: a number, or a string with one. None for anything else and for impossible values."""
    number = _number(value)
    if number is None or not number.is_integer() or not at_least <= number <= _MAX_TOTAL:
        return None
    return int(number)


# ---- a row ----


def parse_task(source: str, job_id: str, row: RowBytes) -> Task:
    """Decode a row. Never fails: unreadable values become None, an unknown status UNKNOWN."""
    values = mapping_of(_row(row))
    instance = mapping_of(values.get("instance_info"))
    raw_status = line_of(values.get("status")) or ""
    return Task(
        source=source,
        job_id=job_id,
        name=line_of(values.get("name")) or "",
        status=_STATUSES.get(raw_status.lower(), TaskStatus.UNKNOWN),
        raw_status=raw_status,
        progress=parse_progress(values.get("process")),
        instance_id=line_of(instance.get("instance_id")),
        instance_name=line_of(instance.get("instance_name")),
        instance_status=line_of(instance.get("instance_status")),
        created_at=parse_time(values.get("created_at")),
        ended_at=parse_time(values.get("ended_at")),
        fail_reason=text_of(values.get("fail_reason"), MAX_REASON_LENGTH),
    )


def _row(row: RowBytes) -> object:
    try:
        return msgspec.json.decode(row)
    except _UNDECODABLE:
        pass
    try:
        return decode_json(bytes(row))
    except ValueError:
        return None


def mapping_of(value: object) -> Mapping[str, object]:
    """Return a JSON object, or an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def parse_progress(value: object) -> float | None:
    """Read a percentage: `60`, `"60"`, `"60%"`, `60.5`. Clamped to 0 to 100; None for anything else."""
    number = _number(value.strip().removesuffix("%") if isinstance(value, str) else value)
    return None if number is None else min(max(number, 0.0), 100.0)


def parse_time(value: object) -> datetime | None:
    """Read a time, as UTC; None for anything else, and for a local time without a zone.

    Documented is ISO 8601 with an offset, `2022-08-05T08:15:07+0800`. A number, or a text with one, counts seconds,
    milliseconds, microseconds or nanoseconds since 1970, depending on its magnitude. Placeholders such as the first
    second of 1970 or of the year 1 give None.
    """
    if value is None:
        return None
    time = _time_as_documented(value) if isinstance(value, str) else None
    if time is None:
        number = _number(value)
        if number is not None:
            return _time_of_number(number)
        try:
            time = _time_of_text(value) if isinstance(value, str) else None
        except (ValueError, OverflowError):
            return None
    return time if time and _FIRST_TIME <= time < _LAST_TIME else None


def _time_as_documented(text: str) -> datetime | None:
    """Read a time in the documented form, and fast; None for all others."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if _DOCUMENTED_TIME.fullmatch(text) else None
    except (ValueError, OverflowError):
        return None


def _time_of_number(number: float) -> datetime | None:
    unit = next((unit for unit in _UNITS if _FIRST_SECOND <= number / unit < _LAST_SECOND), None)
    return None if unit is None else _EPOCH + timedelta(seconds=number / unit)


_DOCUMENTED_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}[+-]\d{4}", re.ASCII)
_ZONE = re.compile(r"\s*(Z|UTC|GMT|[+-]\d{2}(:?\d{2}){0,2})$", re.IGNORECASE)
_MIDNIGHT = re.compile(r"(?<=[T ])24(?=(:?00){0,2}([.,]0+)?$)")
_LEAP_SECOND = re.compile(r"(?<=:\d\d:)60")


def _time_of_text(text: str) -> datetime | None:
    text = text.strip()
    zone = _ZONE.search(text)
    if zone is None:
        return None
    local, extra = text[: zone.start()].upper(), timedelta()
    # ISO 8601 permits two spellings that Python refuses: the end of a day, and a leap second.
    if _MIDNIGHT.search(local):
        local, extra = _MIDNIGHT.sub("00", local), timedelta(days=1)
    elif _LEAP_SECOND.search(local):
        local, extra = _LEAP_SECOND.sub("59", local), timedelta(seconds=1)
    offset = "Z" if zone[1].isalpha() else zone[1]
    time = datetime.fromisoformat(local + offset)
    # Without a time of day, the day was taken for an offset.
    return None if time.tzinfo is None else time.astimezone(UTC) + extra


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def sanitize_text(text: str, longest: int) -> str:
    """Return a text that is safe for databases, terminals and mails: unsafe characters as U+FFFD, cut with `…`."""
    text = _UNSAFE.sub("\ufffd", text.replace("\r\n", "\n"))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def text_of(value: object, longest: int) -> str | None:
    """Return a text or a number as a text that is safe to store, with at most so many characters. None for all else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return sanitize_text(str(value), longest).strip() or None


def line_of(value: object) -> str | None:
    """Return a text or a number as one line that is safe to store, at most `MAX_NAME_LENGTH` long; else None."""
    if type(value) is str and len(value) <= MAX_NAME_LENGTH and value.isprintable():
        return value.strip() or None  # nothing in it to replace: faster than to look for each thing
    text = text_of(value, MAX_NAME_LENGTH)
    return text and text.replace("\n", " ").replace("\t", " ")
