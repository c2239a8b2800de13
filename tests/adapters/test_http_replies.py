"""Replies that break the rules of HTTP: a status line that was read decides, and no reply costs more than its limit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from zoneinfo import ZoneInfo

import pytest
from factories import make_delivery, make_event, make_render_request, open_channel
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.http import Answer, HttpServer, raw, reply
from structlog.testing import capture_logs

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Delivered, Outcome
from notifier.http import HttpClient, HttpError, NoAnswer, Reply, ReplyTooLarge, tolerant
from notifier.http.replies import HEAD_LIMIT
from notifier.http.tolerant import TolerantReader, read_head
from notifier.wording.localizer import Localizer

pytestmark = pytest.mark.both_loops

OK = b"HTTP/1.1 200 OK\r\n"
MANY_HEADERS = b"".join(b"X-%d: y\r\n" % number for number in range(1000))
MAX_BYTES = 10_000
FOREVER = 60.0
"""Seconds: a deadline that no test waits for."""


async def post(http: HttpClient, server: HttpServer, deadline: float = FOREVER) -> Reply:
    return await http.exchange("POST", server.url("/hook"), content=b"{}", deadline=deadline, max_bytes=MAX_BYTES)


def then_closes(content: bytes) -> Answer:
    """Write these bytes, in two parts, and close the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        middle = len(content) // 2
        writer.write(content[:middle])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(content[middle:])
        await writer.drain()
        writer.close()

    return answer


FRAMED = [
    (OK + b"Set-Cookie: a=" + b"x" * 9_000 + b"\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (OK + b"X-" + b"x" * 9_000 + b": y\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (OK + MANY_HEADERS + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 200 " + b"O" * 9_000 + b"\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nnull", 204, b""),
    (b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, b""),
    (b"HTTP/1.1 304 Not Modified\r\n\r\nnull", 304, b""),
    (OK + b"X-Kind : teapot\r\nContent-Length : 2\r\n\r\nok", 200, b"ok"),
    (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (OK + b"Content-Length: 2, 2\r\n\r\nok", 200, b"ok"),
    (OK + b"Content-Length: 2\r\nContent-Length: 7\r\n\r\nok", 200, b"ok"),
    (OK + b"Content-Length: +2\r\n\r\nok", 200, b"ok"),
    (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200, b"ok"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n2 ;x=y\r\nok\r\n0\r\nTrailer: z\r\n\r\n", 200, b"ok"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n", 200, b"ok"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\nok", 200, b""),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok and more\r\n0\r\n\r\n", 200, b"ok"),
    (OK + b"Content-Length: 2\r\n\r\nok and more", 200, b"ok"),
    (OK + b"Content-Length: 2\r\n\r\nokHTTP/1.1 500 Later\r\nContent-Length: 0\r\n\r\n", 200, b"ok"),
    (OK + b": no name\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (OK + b"no colon\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (OK + b"X-\xc3\xa4: \xff\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (OK + b"X-Zero: a\0b\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (OK + b"X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok"),
    (b"\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1  200  OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/3.7 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"http/1.1 200 ok\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 503 Busy\r\nRetry-After : 7\r\nContent-Length: 2\r\n\r\nok", 503, b"ok"),
    (b"HTTP/1.1 999 Unheard of\r\nContent-Length: 2\r\n\r\nok", 999, b"ok"),
]
UNFRAMED = [
    (OK + b"Content-Length: two\r\n\r\nok", 200, b"ok"),
    (OK + b"Content-Length: -1\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.0 200 OK\r\n\r\nok", 200, b"ok"),
    (b"HTTP/1.1 200 OK\r\n\r\nok", 200, b"ok"),
]


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        *((raw(content), status, body) for content, status, body in FRAMED),
        *((then_closes(content), status, body) for content, status, body in [*FRAMED, *UNFRAMED]),
    ],
)
async def test_a_reply_that_can_be_understood_is_one(
    http: HttpClient, answer: Answer, *, status: int, body: bytes
) -> None:
    async with HttpServer(answer) as server:
        got = await post(http, server)
    assert (got.status, got.body) == (status, body)
    assert len(server.requests) == 1


async def test_the_headers_of_a_strange_reply_are_read_too(http: HttpClient) -> None:
    content = b"HTTP/1.1 429 Slow\r\nRetry-After : 7\r\nX-Folded: a\r\n\tb\r\nContent-Length: 0\r\n\r\n"
    async with HttpServer(raw(content)) as server:
        got = await post(http, server)
    assert (got.headers["retry-after"], got.headers["x-folded"]) == ("7", "a b")


@pytest.mark.parametrize(
    "content",
    [
        OK + b"X: y",
        OK + b"X",
        OK,
        OK + b"Content-Length: 100\r\n\r\nonly this",
        OK + b"Content-Length: 100\r\nContent-Length: 100\r\n\r\nonly this",
        OK + b"Transfer-Encoding: chunked\r\n\r\n64\r\nonly this",
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nonly\r\nthis is no size\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n64\r\nonly this",
        OK + b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
@pytest.mark.parametrize("ending", [then_closes, raw])
async def test_the_status_counts_when_the_rest_is_lost(
    http: HttpClient, ending: Callable[[bytes], Answer], content: bytes
) -> None:
    async with HttpServer(ending(content)) as server:
        assert await status_of(post(http, server, deadline=0.2 if ending is raw else FOREVER)) == 200
    assert len(server.requests) == 1


async def status_of(exchange: Awaitable[Reply]) -> int | None:
    try:
        return (await exchange).status
    except HttpError as error:
        return error.status


async def test_what_arrived_of_the_body_comes_with_the_error(http: HttpClient) -> None:
    content = OK + b"Content-Type: text/x\r\nContent-Length: 100\r\n\r\nonly this"
    async with HttpServer(raw(content)) as server:
        with pytest.raises(NoAnswer) as caught:
            await post(http, server, deadline=0.2)
    assert (caught.value.status, caught.value.headers["content-type"]) == (200, "text/x")
    assert caught.value.body == b"only this"


@pytest.mark.parametrize(
    "content", [b"", b"HTTP", b"HTTP/1.1 20", b"HTTP/1.1 2000 OK\r\n\r\n", b"220 smtp\r\n\r\n", b"\x15\x03\x03\0\2\2F"]
)
async def test_what_holds_no_status_line_leaves_the_outcome_open(http: HttpClient, content: bytes) -> None:
    async with HttpServer(then_closes(content)) as server:
        assert await status_of(post(http, server)) is None


@given(garbage=st.binary(max_size=300), cut=st.integers(0, 300))
@settings(max_examples=150)
async def test_after_a_status_line_anything_may_follow(garbage: bytes, cut: int) -> None:
    client = HttpClient()
    content = b"HTTP/1.1 201 Created\r\n" + garbage
    pieces = content[: 22 + cut], content[22 + cut :]

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    async with HttpServer(answer) as server:
        assert await status_of(post(client, server)) == 201
    await client.aclose()


@given(
    content=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda rest: OK + rest)),
    cuts=st.lists(st.integers(0, 220), max_size=5),
)
def test_the_tolerant_reader_does_not_care_how_bytes_are_cut(content: bytes, cuts: list[int]) -> None:
    def read(*pieces: bytes) -> object:
        reader = TolerantReader(bodyless=False)
        try:
            for piece in pieces:
                reader.feed(piece)
        except ValueError:
            return None, b""
        reader.finish()
        return reader.head, reader.body

    bounds = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    assert read(content) == read(*(content[a:b] for a, b in itertools.pairwise(bounds)))


def test_a_head_is_known_before_it_is_whole() -> None:
    found = read_head(OK + b"X: y\r\nZ")
    assert found is not None
    assert (found.status, found.fields, found.end) == (200, ((b"X", b"y"),), None)


async def test_what_comes_unasked_answers_no_request(http: HttpClient) -> None:
    """A second reply on a kept connection would make the next message count as delivered before it is sent."""
    speak, hung_up = asyncio.Event(), asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        if hung_up.is_set():
            await reply(500)(writer)
        else:
            await reply(200)(writer)
            await speak.wait()
            await reply(200)(writer)
            await reader.read()
            hung_up.set()
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server, asyncio.timeout(FOREVER):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        ask = partial(http.exchange, "POST", url, content=b"{}", deadline=FOREVER, max_bytes=MAX_BYTES)
        assert (await ask()).status == 200
        speak.set()
        await hung_up.wait()
        assert (await ask()).status == 500


async def test_a_reply_may_come_before_the_request_was_read(http: HttpClient) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 2\r\n\r\nok")
        await reader.readuntil(b"{}")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        got = await http.exchange("POST", url, content=b"{}", deadline=FOREVER, max_bytes=MAX_BYTES)
    assert (got.status, got.body) == (200, b"ok")


async def test_the_parsers_words_are_for_the_log_only(http: HttpClient) -> None:
    content = OK + b"X-Echo : /hook/obviously-fake\r\nContent-Length: 2\r\n\r\nok"
    async with HttpServer(raw(content)) as server:
        with capture_logs() as logged:
            await post(http, server)
    (record,) = logged
    assert (record["event"], record["host"]) == ("reply.irregular", f"127.0.0.1:{server.port}")
    assert record["problem"]
    assert "fake" not in str(logged)


# ---- limits ----


PIECES = (100, 5_000, 70_000)
"""Bytes that arrive together, with and without the head among them: fewer and more than any limit of a parser."""


def without_end(beginning: bytes, piece: bytes) -> Callable[[int], Answer]:
    """Return an answer that writes a beginning and then the same piece for ever, so many bytes at a time."""

    def in_pieces(size: int) -> Answer:
        async def answer(writer: asyncio.StreamWriter) -> None:
            written = beginning
            while True:
                writer.write(written + piece * (size // len(piece)))
                written = b""
                await writer.drain()
                await asyncio.sleep(0)  # the client reads

        return answer

    return in_pieces


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), None),
        (without_end(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"), None),
        (without_end(b"HTTP/1.1 ", b"2"), None),
        (without_end(b"HTTP/1.1 100 ", b"x"), None),
        (without_end(b"", b"\r\n"), None),
        (without_end(b"HTTP/1.1 200 ", b"x"), 200),
        (without_end(OK, b"X: y\r\n"), 200),
        (without_end(OK, b"x"), 200),
        (without_end(OK + b"X: ", b"x"), 200),
        (without_end(OK + b"X: y\r\n", b" folded\r\n"), 200),
        (without_end(CHUNKED + b"1", b";x=y"), 200),
        (without_end(CHUNKED, b"0"), 200),
        (without_end(CHUNKED, b"1;x=" + b"y" * 50 + b"\r\nz\r\n"), 200),
        (without_end(CHUNKED, b"1\r\nz\r\n"), 200),
        (without_end(CHUNKED + b"0\r\n", b"X: y\r\n"), 200),
        (without_end(CHUNKED + b"0\r\nX: ", b"y"), 200),
        (
            without_end(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n1", b";x=y"),
            200,
        ),
        (without_end(OK + b"X : y\r\n", b"X: y\r\n"), 200),
        (without_end(OK + b"X : y\r\n\r\n", b"y"), 200),
    ],
)
@pytest.mark.parametrize("size", PIECES)
async def test_no_reply_costs_more_than_its_limit(
    http: HttpClient, answer: Callable[[int], Answer], status: int | None, size: int
) -> None:
    async with HttpServer(answer(size)) as server:
        with pytest.raises(HttpError) as caught:
            await post(http, server)
    assert isinstance(caught.value, ReplyTooLarge if status else NoAnswer)
    assert caught.value.status == status
    assert str(caught.value) == f"reply of 127.0.0.1:{server.port} is longer than {MAX_BYTES} bytes"


def test_a_head_that_comes_byte_by_byte_is_not_read_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(raw: bytes) -> object:
        read.append(len(raw))
        return read_head(raw)

    monkeypatch.setattr(tolerant, "read_head", counted)
    reader = TolerantReader(bodyless=False)
    content = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + OK + b"X : y\r\n" * 5000
    for number in range(len(content)):
        reader.feed(content[number : number + 1])
    assert reader.awaits_head
    assert len(read) <= 2002
    assert max(read) < 100
    assert reader.head is not None
    assert reader.head.status == 200


async def test_a_head_just_below_its_limit_is_read(http: HttpClient) -> None:
    end = b"\r\nContent-Length: 2\r\n\r\n"
    head = OK + b"X: "
    head += b"y" * (HEAD_LIMIT - len(head) - len(end)) + end
    async with HttpServer(raw(head + b"ok")) as server:
        assert (await post(http, server)).body == b"ok"


# ---- what it means for a message ----

TAKEN = [
    OK + b"Set-Cookie: a=" + b"x" * 9_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    OK + MANY_HEADERS + b"Content-Length: 2\r\n\r\nok",
    OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    OK + b"X-Kind : teapot\r\nContent-Length: 2\r\n\r\nok",
    OK + b"Content-Length: 2\r\n\r\nok and more",
]


@pytest.mark.parametrize("content", TAKEN)
@pytest.mark.parametrize(
    ("kind", "url"),
    [("webhook", "url"), ("slack", "webhook_url"), ("mattermost", "webhook_url")],
)
async def test_a_receiver_that_took_the_message_is_believed(
    http: HttpClient, kind: str, url: str, content: bytes
) -> None:
    async with HttpServer(raw(content)) as server:
        outcome = await sent(http, kind, {url: server.url("/hook")})
    assert isinstance(outcome, Delivered), outcome
    assert outcome.reply == "HTTP 200: ok"


@pytest.mark.parametrize(("kind", "url"), [("webhook", "url"), ("slack", "webhook_url")])
async def test_a_status_is_believed_when_the_rest_is_lost(http: HttpClient, kind: str, url: str) -> None:
    async with HttpServer(then_closes(OK + b"Content-Length: 100\r\n\r\nok")) as server:
        assert isinstance(await sent(http, kind, {url: server.url("/hook")}), Delivered)


async def sent(http: HttpClient, kind: str, where: dict[str, str]) -> Outcome:
    localizer = Localizer(language="en", timezone=ZoneInfo("UTC"))
    context = ChannelContext(http=http, clock=FakeClock(), localizer=localizer)
    channel = open_channel(kind, {"name": "ops", "kind": kind} | where, context)
    event = make_event()
    return await channel.send(make_delivery(event, body=channel.render(make_render_request(event))))
