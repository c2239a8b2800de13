"""A scan that recognises pages shows exactly what one shows that decodes them all."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
from fakes import START, FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.core.errors import SourceUnreachable
from notifier.core.model import Scope, Snapshot
from notifier.http import HttpClient
from notifier.sources import payloads
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.gaussdb import GaussDBSource, TaskQuery
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.page_cache import PageCache
from notifier.sources.payloads import Decode, TaskPage, decode_page, split_page

PAGE_SIZE = 5
SETTINGS = GaussDBSettings.model_validate(
    {
        "name": "prod",
        "kind": "gaussdb",
        "region": "cn-north-4",
        "project_id": "p1",
        "page_size": PAGE_SIZE,
        "auth": {"kind": "aksk", "access_key": "ak", "secret_key": "obviously-fake-secret-key"},
    }
)


def body(rows: Sequence[object], total: object = None) -> bytes:
    return json.dumps({"tasks": rows, "total_count": len(rows) if total is None else total}).encode()


# ---- one page ----


ROWS: st.SearchStrategy[list[Any]] = st.lists(
    st.one_of(
        st.fixed_dictionaries({"job_id": st.sampled_from(["a", "b", "c", " a", "\x00", "", 7, None, [], {}])}),
        st.dictionaries(st.sampled_from(["job_id", "status", "tasks"]), st.text(max_size=3), max_size=2),
        st.sampled_from([None, 1, "[", "]", [], [[]], {}]),
    ),
    max_size=4,
)
ENVELOPES = st.dictionaries(
    st.sampled_from(["total_count", "error_code", "note", "links", "[", "]", "tasks\u0000"]),
    st.one_of(st.integers(-1, 9), st.sampled_from(["", "[", "]", '"tasks": [', "5"]), ROWS),
    max_size=3,
)
BODIES = st.builds(
    lambda before, rows, after: json.dumps({**before, "tasks": rows, **after}, ensure_ascii=False).encode(),
    ENVELOPES,
    ROWS,
    ENVELOPES,
)
RAW = st.sampled_from(
    [
        b"",
        b"[]",
        b"{}",
        b"]{[",
        b'{"tasks": [',
        b'{"tasks": null}',
        b'{"x": [1, 2], "tasks": null, "total_count": 0}',
        b'{"tasks": [1], "x": [2], "total_count": 5}',
        b'{"tasks": [{"job_id": "a"}], "total_count": 1, "x": [2]}',
        b'{"tasks": [{"job_id": "a"}], "total_count": 1, "x": [2], "total_count": 3}',
        b'{"tasks": [{"job_id": "a"}], "tasks": [{"job_id": "b"}], "total_count": 2}',
        b'{"tasks": 5, "tasks": [{"job_id": "b"}], "total_count": 2}',
        b'{"note": "a[b", "tasks": [{"job_id": "a"}], "total_count": 1}',
        b'{"tasks": [{"job_id": "a"}], "total_count": 1, "note": "]"}',
        b'{"tasks": [{"job_id": "a"},], "total_count": 1}',
        b'{"tasks": [{"job_id": "\xff"}], "total_count": 1}',
        b'\xef\xbb\xbf{"tasks": [{"job_id": "a"}], "total_count": 1}',
        b'{"tasks": [{"job_id": "a\x01b"}], "total_count": 1}',
        b'{"tasks": [{"job_id": "a"}], "total_count": 1e999}',
        b'{"tasks": [{"job_id": "a"}], "total_count": %b}' % (b"9" * 5000),
    ]
)


def outcome(decode: Decode, body: bytes) -> object:
    """Return all that a page shows, in order, or the reason why it is none."""
    try:
        page = decode(body)
    except ValueError as error:
        return str(error)
    return (
        list(page.fingerprints.items()),
        page.unreadable,
        page.total,
        {job_id: bytes(row) for job_id, row in page.rows.items()},
    )


@settings(max_examples=500)
@given(st.lists(st.one_of(BODIES, RAW), min_size=1, max_size=6), st.integers(1, 3))
def test_a_recognised_page_shows_what_a_decoded_one_shows(bodies: list[bytes], scans: int) -> None:
    cache = PageCache()
    for _ in range(scans):
        with cache.scan() as decode:
            for one in bodies:
                assert outcome(decode, one) == outcome(decode_page, one)


@settings(max_examples=500)
@given(st.one_of(BODIES, RAW))
def test_a_page_decodes_the_same_however_it_is_split(whole: bytes) -> None:
    """The way around splitting is the reference: the one decoder that reads the body at once."""
    with pytest.MonkeyPatch.context() as patch:
        split = outcome(decode_page, whole)
        patch.setattr(payloads, "split_page", lambda _: None)
        assert split == outcome(decode_page, whole)


@given(st.lists(st.one_of(st.text(max_size=3), st.integers(), st.none(), st.just("x" * 300)), max_size=5))
def test_ids_are_plain_only_if_each_is_usable_as_it_is(ids: list[object]) -> None:
    if payloads._are_plain(ids):
        assert [payloads._usable_id(value) for value in ids] == ids


@pytest.mark.parametrize("ids", [[], ["a"], ["a", "b-1"], ["中"], ["x" * 255]])
def test_usual_ids_are_plain(ids: list[object]) -> None:
    assert payloads._are_plain(ids)


def test_the_total_of_a_recognised_page_is_decoded_each_time() -> None:
    cache = PageCache()
    totals = []
    for total in (1, 7, "9", None, -1):
        with cache.scan() as decode:
            totals.append(decode(body([{"job_id": "a"}], total)).total)
    assert totals == [1, 7, 9, 1, None]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the pages that are decoded, as `pages`."""
    count, whole = Counter[str](), payloads.SplitPage.decode

    def counted(split: payloads.SplitPage) -> TaskPage | None:
        count["pages"] += 1
        return whole(split)

    monkeypatch.setattr(payloads.SplitPage, "decode", counted)
    return count


def test_a_recognised_page_is_not_decoded_until_a_row_is_wanted(decoded: Counter[str]) -> None:
    cache = PageCache()
    page = body([{"job_id": "a", "status": "Running"}])
    with cache.scan() as decode:
        first = decode(page)
    decoded.clear()
    with cache.scan() as decode:
        again = decode(page)
    assert (again.fingerprints, decoded["pages"]) == (first.fingerprints, 0)
    assert again.row_keys is first.row_keys
    assert (bytes(again.rows["a"]), decoded["pages"]) == (b'{"job_id": "a", "status": "Running"}', 1)


def test_only_pages_of_the_last_scan_are_kept() -> None:
    cache = PageCache()
    for rows in (["a", "b"], ["b"], ["c"]):
        with cache.scan() as decode:
            for row in rows:
                decode(body([{"job_id": row}]))
    assert kept(cache) == [["c"]]


def kept(cache: PageCache) -> list[list[str]]:
    return [list(keys.fingerprints) for keys in cache._known.values()]


def test_a_scan_that_fails_keeps_the_pages_that_it_read() -> None:
    cache = PageCache()
    with cache.scan() as decode:
        for row in ("a", "b", "c"):
            decode(body([{"job_id": row}]))

    def fail() -> None:
        with cache.scan() as decode:
            for row in ("x", "b"):
                decode(body([{"job_id": row}]))
            raise SourceUnreachable

    with pytest.raises(SourceUnreachable):
        fail()
    assert kept(cache) == [["c"], ["x"], ["b"]]


def test_a_page_that_changed_replaces_the_one_it_was() -> None:
    cache = PageCache()
    with cache.scan() as decode:
        for row in ("a", "b", "c"):
            decode(body([{"job_id": row}]))
    with cache.scan() as decode:
        for row, left in (("new", ["b", "c"]), ("b", ["c"]), ("c", []), ("more", [])):
            decode(body([{"job_id": row}]))
            assert kept(cache) == [[one] for one in left]
    assert kept(cache) == [["new"], ["b"], ["c"], ["more"]]


def test_another_body_with_equal_rows_is_not_taken_for_a_page() -> None:
    cache, page = PageCache(), body([{"job_id": "a"}])
    with cache.scan() as decode:
        decode(page)
    split = split_page(page)
    assert split
    with cache.scan() as decode, pytest.raises(ValueError, match="neither tasks nor total_count"):
        decode(b'{"rows": %b}' % bytes(split.encoded))


# ---- whole scans ----


Change = Callable[[list[dict[str, Any]]], object]


@dataclass
class Listed:
    """A list whose pages are cut from its rows at each request; it may change between two requests."""

    rows: list[dict[str, Any]]
    changes: list[Change]

    def page(self, query: TaskQuery, offset: int) -> bytes:
        if self.changes:
            self.changes.pop(0)(self.rows)
        wanted = [row for row in self.rows if query.status in (None, row.get("status"))]
        return body(wanted[offset : offset + query.limit], len(wanted))


class CachingSource(GaussDBSource):
    """The real source over a list in memory."""

    def __init__(self, listed: Listed) -> None:
        runtime = SourceRuntime(http=HttpClient(), clock=FakeClock(), rng=Random(1))
        super().__init__(SETTINGS, SourceAccess(SETTINGS, runtime))
        self.listed = listed

    async def list_page(self, query: TaskQuery, offset: int = 0, decode: Decode = decode_page) -> TaskPage:
        await asyncio.sleep(0)
        return decode(self.listed.page(query, offset))


class DecodingSource(CachingSource):
    """The same without a memory."""

    async def list_page(self, query: TaskQuery, offset: int = 0, decode: Decode = decode_page) -> TaskPage:
        del decode
        return await super().list_page(query, offset)


STATUSES = st.sampled_from(["Running", "Completed", "Failed", ""])
ONE_ROW = st.builds(
    lambda job_id, status: {"job_id": job_id, "status": status},
    st.one_of(*[st.integers(0, 30).map("task-{}".format)] * 9, st.sampled_from([None, "", 5, " task-1 ", "task\x00"])),
    STATUSES,
)
PLACE = st.floats(0, 0.999)


def _at(rows: list[dict[str, Any]], place: float) -> int:
    return int(place * len(rows))


def _insert(place: float, row: dict[str, Any]) -> Change:
    return lambda rows: rows.insert(_at(rows, place), row)


def _delete(place: float) -> Change:
    return lambda rows: rows.__delitem__(slice(_at(rows, place), _at(rows, place) + 1))


def _finish(place: float, status: str) -> Change:
    def change(rows: list[dict[str, Any]]) -> None:
        if rows:
            rows[_at(rows, place)] = rows[_at(rows, place)] | {"status": status}

    return change


def _move(place: float, to: float) -> Change:
    def change(rows: list[dict[str, Any]]) -> None:
        if rows:
            rows.insert(_at(rows, to), rows.pop(_at(rows, place)))

    return change


CHANGES = st.one_of(
    st.just(len),
    st.builds(_insert, st.one_of(st.just(0.0), PLACE), ONE_ROW),
    st.builds(_delete, PLACE),
    st.builds(_finish, PLACE, STATUSES),
    st.builds(_move, PLACE, PLACE),
    st.just(list.reverse),
    st.just(list.clear),
)
POLLS = st.lists(st.tuples(st.sampled_from(Scope), st.lists(CHANGES, max_size=6)), min_size=2, max_size=5)


def shown(snapshot: Snapshot) -> object:
    """Return all that a snapshot shows, its rows included."""
    return (
        list(snapshot.fingerprints.items()),
        [snapshot.parse(job_id) for job_id in snapshot.fingerprints],
        [shown(earlier) for earlier in snapshot.earlier],
        replace(snapshot, fingerprints={}, parse=len, earlier=()),  # type: ignore[arg-type]  # only compared
    )


@settings(max_examples=400, deadline=None)
@given(st.lists(ONE_ROW, max_size=30), POLLS)
def test_polls_with_and_without_a_cache_show_the_same(
    rows: list[dict[str, Any]], polls: list[tuple[Scope, list[Change]]]
) -> None:
    cached, decoded = CachingSource(Listed([*rows], [])), DecodingSource(Listed([*rows], []))

    async def poll_all() -> None:
        for scope, changes in polls:
            for source in (cached, decoded):
                source.listed.changes = [*changes]
            assert shown(await cached.fetch(scope)) == shown(await decoded.fetch(scope))

    asyncio.run(poll_all())


def test_a_list_that_stands_still_is_decoded_once(decoded: Counter[str]) -> None:
    rows = [{"job_id": f"task-{number}", "status": "Running"} for number in range(100)]
    source = CachingSource(Listed(rows, []))
    first = asyncio.run(source.fetch(Scope.FULL))
    assert decoded["pages"] == 25
    second = asyncio.run(source.fetch(Scope.FULL))
    assert (decoded["pages"], second.complete, second.taken_at) == (25, True, START)
    assert shown(first) == shown(second)
