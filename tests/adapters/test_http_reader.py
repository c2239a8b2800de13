"""The reader of replies, without a network: however the bytes are cut, the result is the same."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Iterable

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_http_replies import FRAMED, UNFRAMED

from notifier.http.errors import AddressRefused
from notifier.http.replies import HEAD_LIMIT, Headers, NotHttp, ReplyError, ReplyReader, ReplyTooLong
from notifier.http.targets import parse_target, render_request

OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 1000
REPLIES = [content for content, _, _ in [*FRAMED, *UNFRAMED]]


def read(pieces: Iterable[bytes], *, bodyless: bool = False, ends: bool = True) -> object:
    """Return all that a reader knows in the end: the error, status, header fields, body, and whether it is complete."""
    reader = ReplyReader(bodyless=bodyless, limit=LIMIT)
    error: type[ReplyError] | None = None
    try:
        for piece in pieces:
            if not reader.done:
                reader.feed(piece)
        if ends:
            reader.finish()
    except ReplyError as raised:
        error = NotHttp if isinstance(raised, NotHttp) else type(raised)
    head = reader.head
    return error, head and (head.status, head.fields), reader.body, reader.done


def cut(content: bytes, cuts: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted(min(one, len(content)) for one in cuts), len(content)]
    return [content[begin:end] for begin, end in itertools.pairwise(bounds)]


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("bodyless", [True, False])
@pytest.mark.parametrize("content", REPLIES)
def test_a_reply_byte_by_byte_is_the_same_as_in_one_piece(content: bytes, *, bodyless: bool, ends: bool) -> None:
    pieces = [content[number : number + 1] for number in range(len(content))]
    assert read(pieces, bodyless=bodyless, ends=ends) == read([content], bodyless=bodyless, ends=ends)


@pytest.mark.parametrize("content", [reply for reply in REPLIES if len(reply) < 500])
def test_a_reply_cut_anywhere_is_the_same_as_in_one_piece(content: bytes) -> None:
    for at in range(1, len(content)):
        assert read([content[:at], content[at:]]) == read([content]), at


FIELDS = st.sampled_from(
    [
        b"Content-Length: 3\r\n",
        b"Content-Length: 300\r\n",
        b"Content-Length: 3000\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive\r\n",
        b"X-Kind: teapot\r\n",
        b"X-Empty:\r\n",
        b"X-Bad : y\r\n",
        b" folded\r\n",
        b"X-Bare: LF\n",
    ]
)
BODIES = st.sampled_from(
    [
        b"",
        b"abc",
        b"abcdef",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"3;x=y\r\nabc\r\n0\r\nT: z\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"x" * 2000,
    ]
)
STARTS = st.sampled_from(
    [OK, b"HTTP/1.1 204 N\r\n", b"HTTP/1.0 200\r\n", b"HTTP/1.1 100 C\r\n\r\n" + OK, b"http/9 500 x\n", b""]
)


@given(
    content=st.one_of(
        st.builds(
            lambda start, fields, body: start + b"".join(fields) + b"\r\n" + body,
            STARTS,
            st.lists(FIELDS, max_size=4),
            st.one_of(BODIES, st.binary(max_size=60)),
        ),
        st.binary(max_size=120),
    ),
    cuts=st.lists(st.integers(0, 2500), max_size=8),
    bodyless=st.booleans(),
    ends=st.booleans(),
)
@example(content=OK + b"\r\n" + b"x" * 2000, cuts=[500], bodyless=False, ends=True)
def test_any_bytes_give_the_same_result_however_they_are_cut(
    content: bytes, cuts: list[int], *, bodyless: bool, ends: bool
) -> None:
    whole, pieces = (
        read([content], bodyless=bodyless, ends=ends),
        read(cut(content, cuts), bodyless=bodyless, ends=ends),
    )
    if isinstance(whole, tuple) and whole[0] is ReplyTooLong:  # how much of an endless body arrives is chance
        assert isinstance(pieces, tuple)
        assert (pieces[0], pieces[1] and pieces[1][0]) == (ReplyTooLong, whole[1] and whole[1][0])
    else:
        assert pieces == whole


@pytest.mark.parametrize(
    ("content", "keeps"),
    [
        (OK + b"Content-Length: 2\r\n\r\nok", True),
        (OK + b"Content-Length: 2\r\nUpgrade: h2\r\nConnection: Upgrade\r\n\r\nok", True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nTrailer: z\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", False),
        (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", False),
        (OK + b"Content-Length: 2\r\n\r\nok and more", False),
        (OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Content-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 204 No Content\r\n\r\nnull", False),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", False),
        (OK + b"X-Bad : y\r\nContent-Length: 2\r\n\r\nok", False),
    ],
)
def test_a_connection_is_kept_only_after_a_reply_that_follows_the_rules(content: bytes, *, keeps: bool) -> None:
    reader = ReplyReader(bodyless=False, limit=LIMIT)
    reader.feed(content)
    assert (reader.done, reader.keep) == (True, keeps)


@pytest.mark.parametrize(
    ("content", "keeps"),
    [
        (OK + b"Content-Length: 2000\r\n\r\n", True),
        (b"HTTP/1.1 103 Early\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\n", True),
        (OK + b"Content-Length: 2\r\n\r\nok", False),
        (OK + b"Content-Length: 2\r\n\r\n\r\n\r\n", False),
    ],
)
def test_the_reply_to_head_ends_with_its_head(content: bytes, *, keeps: bool) -> None:
    reader = ReplyReader(bodyless=True, limit=LIMIT)
    reader.feed(content)
    assert (reader.reply().status, reader.reply().body, reader.keep) == (200, b"", keeps)


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_a_head_without_end_costs_no_more_than_its_limit(size: int) -> None:
    reader = ReplyReader(bodyless=False, limit=1 << 30)
    reader.feed(OK)
    line = b"X: " + b"y" * size + b"\r\n"
    for _ in range((HEAD_LIMIT - len(OK)) // len(line)):
        reader.feed(line)
    with pytest.raises(ReplyTooLong):
        reader.feed(line)
    assert reader.head is not None
    assert reader.head.status == 200


def test_a_reader_that_is_done_needs_no_garbage_collector() -> None:
    """Its parser refers to it; a cycle would keep the body of every reply until the next collection."""
    reader = ReplyReader(bodyless=False, limit=LIMIT)
    reader.feed(OK + b"Content-Length: 2\r\n\r\nok")
    gone = weakref.ref(reader)
    gc.disable()
    try:
        del reader
        assert gone() is None
    finally:
        gc.enable()


def test_headers_are_found_in_any_case_and_joined() -> None:
    headers = Headers(((b"X-Kind", b"teapot"), (b"x-kind", b"\xc3\xa4"), (b"Other", b"\xff")))
    assert (headers["x-kind"], headers["X-KIND"], headers.get("other")) == ("teapot, ä", "teapot, ä", "ÿ")
    assert ("X-kind" in headers, "missing" in headers, headers.get("missing", "-")) == (True, False, "-")
    assert dict(headers) == {"x-kind": "teapot, ä", "other": "ÿ"}


# ---- requests ----


def test_a_request_is_written_as_given() -> None:
    request = render_request("POST", "h:81", "/a?b", {"User-Agent": "x", "X-A": "ä", "user-agent": "y"}, b"{}")
    assert request == (
        "POST /a?b HTTP/1.1\r\nHost: h:81\r\nuser-agent: y\r\nX-A: ä\r\nContent-Length: 2\r\n\r\n{}".encode()
    )
    assert b"content-length: 0" in render_request("POST", "h", "/", {}).lower()
    assert b"content-length" not in render_request("GET", "h", "/", {}).lower()


@pytest.mark.parametrize("value", ["a\r\nX-B: c", "a\nb", "a\rb", "a\0b"])
def test_a_header_cannot_add_another_one(value: str) -> None:
    with pytest.raises(ValueError, match="contains a line break"):
        render_request("POST", "h", "/", {"X-A": value})


AUTHORITIES = st.one_of(
    st.sampled_from(
        [
            "h",
            "H.example:443",
            "u@xn--zz-:80",
            "u:p%20@h:80",
            "[::1]:8080",
            "münchen.example",
            "h..",
            "",
            "a b",
            "h:x",
            "@",
        ]
    ),
    st.from_regex(r"[a1-]{1,3}(\.[a-c0-3-]{1,3}){0,4}(:[0-9]{0,5})?", fullmatch=True),
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){3}(:80)?", fullmatch=True),
)
PARTS = st.text(alphabet="ab/.?#%2Fz~!$&'()*+,;=:@[]\\^|`{}\" <>äé\x00\n_-", max_size=20)


@settings(max_examples=500)
@given(scheme=st.sampled_from(["http", "https", "HTTP", "ftp", ""]), authority=AUTHORITIES, rest=PARTS)
@example(scheme="https", authority="h", rest="/x?")
@example(scheme="https", authority="h", rest="/a/../b?c={d}")
def test_a_url_means_what_it_means_to_httpx(scheme: str, authority: str, rest: str) -> None:
    url = f"{scheme}://{authority}{rest}"
    try:
        origin, path = parse_target(url)
    except AddressRefused:
        origin, path = None, ""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.raw_host:
        assert origin is None
    else:
        assert origin is not None
        assert (origin.scheme, origin.host, path) == (parsed.scheme, parsed.raw_host.decode(), parsed.raw_path.decode())
        assert origin.port == (parsed.port or {"http": 80, "https": 443}[parsed.scheme])
