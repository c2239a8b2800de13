"""The connections beneath an exchange: they count every byte, carry one reply at a time and tolerate malformed ones.

aiohttp does the work. This module uses private attributes of it: `BaseConnector._factory`, `BaseProtocol._parser`, and
`_tail` and `_payload` of `ResponseHandler`. `tests/adapters/test_library_parts.py` fails when one of them disappears.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpVersion11, RawResponseMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy

from notifier.http.tolerant import Head, TolerantReader, is_interim, known_head

if TYPE_CHECKING:
    import httpx
    from aiohttp.connector import Connection
    from aiohttp.http_parser import HttpParser
    from aiohttp.tracing import Trace
    from yarl import URL

HEAD_LIMIT = 65_536
"""Maximum size of a reply's head, interim replies included, in bytes. The framing of a body may be as large."""
FIELDS_LIMIT = HEAD_LIMIT // 4
"""Maximum number of header fields of a reply: as many as fit into its head."""

_TLS_ALERT = b"\x15\x03"

_Message = tuple[RawResponseMessage, StreamReader]


class SizeLimitExceeded(aiohttp.ClientError):
    """A reply is larger than its limit."""


@dataclass(slots=True)
class Exchange:
    """State of one exchange. An authentication flow makes several requests in it, one after the other."""

    url: URL
    """URL of the current request, sent exactly as it is written."""
    limit: int
    """Maximum size of a reply's body, in bytes."""
    guard: bool
    tls: ssl.SSLContext
    proxy: httpx.Proxy | None = None
    """The proxy of the current request."""
    in_flight: bool = False
    """Whether the current request has been given a connection."""
    sent: bool = False
    connection: WireProtocol | None = None
    body: bytearray = field(default_factory=bytearray)
    """The part of the reply's body that was read."""

    def start_request(self, url: URL, proxy: httpx.Proxy | None) -> None:
        """Reset the state for the next request of the exchange."""
        self.url, self.proxy, self.in_flight, self.connection = url, proxy, False, None
        self.body.clear()

    @property
    def head(self) -> Head | None:
        """The head of the reply as far as it has arrived; None before its status line."""
        return None if self.connection is None else self.connection.head  # an idle connection counts as empty: false


current_exchange: ContextVar[Exchange] = ContextVar("current")


def open_session(
    connector: WireConnector,
    headers: Mapping[str, str],
    *,
    request_class: type[aiohttp.ClientRequest] = aiohttp.ClientRequest,
    traces: Sequence[aiohttp.TraceConfig] = (),
) -> aiohttp.ClientSession:
    """Return a session without aiohttp's additions: no cookies, no timeouts, no decoding, no small limits."""
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        request_class=request_class,
        trace_configs=list(traces),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(),
        auto_decompress=False,
        max_line_size=HEAD_LIMIT,
        max_field_size=HEAD_LIMIT,
        max_headers=FIELDS_LIMIT,
    )


class WireRequest(aiohttp.ClientRequest):
    """Requests the URL as written, with the TLS context of its exchange. aiohttp would decode `%2F` to another path."""

    def __init__(self, method: str, _url: URL, **options: Any) -> None:  # noqa: ANN401 - the library's
        exchange = current_exchange.get()
        super().__init__(method, exchange.url, **options | {"ssl": exchange.tls})


class WireConnector(aiohttp.TCPConnector):
    """Makes connections that are `WireProtocol`s."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - the library's
        super().__init__(**options)
        self._factory = cast("partial[ResponseHandler]", partial(WireProtocol, self._loop))


class ExchangeConnector(WireConnector):
    """Records that a request is sent, and sends none twice: aiohttp would repeat idempotent ones by itself."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is the library's
    ) -> Connection:
        """Return a connection for the request."""
        exchange = current_exchange.get()
        if exchange.in_flight:
            raise aiohttp.ClientConnectionError("the request was sent once already")
        connection = await super().connect(req, traces, timeout)
        exchange.in_flight = exchange.sent = True  # the request is written without another await
        exchange.connection = cast("WireProtocol", connection.protocol)
        exchange.connection.expect(exchange.limit)
        return connection


class WireProtocol(ResponseHandler):
    """One connection. It is aborted when a reply exceeds its limit: heads, interim replies and framing count too."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._limit: int | None = None
        """Limit of the reply's body, in bytes. None when only a head is expected: for CONNECT, or a WebSocket."""
        self._received = 0
        self._reply: _Parser | None = None
        self.has_received = False
        """Whether any byte has arrived."""

    @property
    def head(self) -> Head | None:
        """The head of the reply as far as it has arrived; None before its status line."""
        return self._reply.head if self._reply else None

    @property
    def irregularity(self) -> str | None:
        """Why the library's parser refused the reply; None when it did not."""
        return self._reply.irregularity if self._reply else None

    @property
    def speaks_tls(self) -> bool:
        """Whether the peer answered a plain-text request with a TLS alert."""
        return self._reply is not None and self._reply.speaks_tls

    def expect(self, limit: int) -> None:
        """Expect a reply with a body of at most `limit` bytes."""
        self._limit, self._reply = limit, None

    def set_response_params(self, **options: Any) -> None:  # noqa: ANN401 - the library's
        """Begin to read a reply. It may have arrived before the request was sent."""
        early, self._tail = self._tail, b""
        super().set_response_params(**options)
        bodyless = self._limit is None or bool(options.get("skip_payload"))
        self._reply = _Parser(self._parser, self, bodyless=bodyless)
        self._parser = cast("HttpParser[Any]", self._reply)
        self._received = 0
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        """Count the bytes, and pass them on while the reply is within its limit."""
        self.has_received = True
        if self._reply is None or self._upgraded:
            super().data_received(data)
            return
        self._received += len(data)
        if self._limit is not None and self._received > self._limit + HEAD_LIMIT:
            self._reply.buffer_head(data)
            self.abort()
            return
        super().data_received(data)
        if self._received > HEAD_LIMIT and self._reply.awaits_head:
            self.abort()

    def abort(self) -> None:
        """End the connection, because a reply is longer than its limit."""
        error, payload = SizeLimitExceeded(), self._payload
        self._parser = None
        self.set_exception(error)
        if payload is not None:
            payload.set_exception(error)
        if self.transport is not None:
            self.transport.abort()


class _Parser:
    """aiohttp's parser of one reply; a tolerant reader takes over when it refuses the head.

    Bytes after the reply close the connection: they could be taken for the answer to the next request.
    """

    def __init__(self, strict: Any, protocol: WireProtocol, *, bodyless: bool) -> None:  # noqa: ANN401 - in C, untyped
        self.irregularity: str | None = None
        self.speaks_tls = False
        self._strict = strict
        self._protocol = protocol
        self._bodyless = bodyless
        self._raw = bytearray()
        """Bytes that arrived before the head was complete."""
        self._head: Head | None = None
        self._payload: StreamReader | None = None
        """The body. Set once the head was handed to aiohttp."""
        self._tolerant: TolerantReader | None = None

    @property
    def head(self) -> Head | None:
        """See `WireProtocol.head`."""
        return self._tolerant.head if self._tolerant else self._head or known_head(bytes(self._raw))

    @property
    def awaits_head(self) -> bool:
        """Whether the head is incomplete."""
        return self._payload is None and (self._tolerant is None or self._tolerant.awaits_head)

    def buffer_head(self, data: bytes) -> None:
        """Keep bytes that belong to the head."""
        if self._payload is None and self._tolerant is None:
            self._raw += data

    # -- the interface of aiohttp's parsers --

    def feed_data(self, data: bytes) -> tuple[Sequence[_Message], bool, bytes]:
        """Return the messages that have begun, whether the protocol changes, and the bytes of the new protocol."""
        if data and self._payload is not None and self._payload.is_eof():
            self._close_connection()
            return (), False, b""
        if self._tolerant:
            return self._feed_tolerant(self._tolerant, data), False, b""
        self.buffer_head(data)
        try:
            messages, upgraded, tail = self._strict.feed_data(data)
        except Exception as error:
            # Without the bytes that the parser quotes: they may repeat parts of our request.
            self.irregularity = str(getattr(error, "message", type(error).__name__)).partition(":")[0]
            arrived = bytes(self._raw)
            head = known_head(arrived)
            past_head = self._payload is not None or (head is not None and head.end is not None)
            if past_head and isinstance(error, LineTooLong):
                self._protocol.abort()  # whichever part of an endless body came in one piece with the head
                return (), False, b""
            if self._payload is not None:
                self._payload.set_exception(aiohttp.ClientPayloadError())
                raise
            self._raw.clear()
            self.speaks_tls = arrived.startswith(_TLS_ALERT)
            self._tolerant = TolerantReader(bodyless=self._bodyless)
            return self._feed_tolerant(self._tolerant, arrived), False, b""
        return self._until_final(messages), upgraded, tail

    def feed_eof(self) -> None:
        """Accept the end of the connection: a status line that arrived still counts. Raises for an incomplete body."""
        if self._payload is not None:
            if not self._payload.is_eof():
                self._strict.feed_eof()
            return
        tolerant = self._tolerant or TolerantReader(bodyless=self._bodyless)
        try:
            tolerant.feed(bytes(self._raw))
        except ValueError:
            return
        tolerant.finish()
        if tolerant.head:
            self._protocol.feed_data(self._message(tolerant, tolerant.head))

    def pause_reading(self) -> None:
        """Pause. A tolerant reader hands its reply over at once, so there is nothing to pause."""
        if not self._tolerant:
            self._strict.pause_reading()

    # -- the reply --

    def _until_final(self, messages: Sequence[_Message]) -> Sequence[_Message]:
        """Return the messages up to the final reply: a further one would answer a request that was not sent yet."""
        for number, (message, payload) in enumerate(messages, start=1):
            if not is_interim(message.code):
                self._head = Head(status=message.code, fields=message.raw_headers)
                self._payload = payload
                self._raw.clear()
                if number < len(messages):
                    self._close_connection()
                return messages[:number]
        return messages

    def _close_connection(self) -> None:
        self._protocol.force_close()
        if self._protocol.transport is not None:
            self._protocol.transport.close()

    def _feed_tolerant(self, tolerant: TolerantReader, data: bytes) -> Sequence[_Message]:
        tolerant.feed(data)
        return (self._message(tolerant, tolerant.head),) if tolerant.done and tolerant.head else ()

    def _message(self, tolerant: TolerantReader, head: Head) -> _Message:
        self._payload = StreamReader(self._protocol, HEAD_LIMIT, loop=self._protocol._loop)  # noqa: SLF001 - our own class
        self._payload.feed_data(tolerant.body)
        if tolerant.cut_short:
            self._payload.set_exception(aiohttp.ClientPayloadError())
        self._payload.feed_eof()
        named = [(_text(name), _text(value)) for name, value in head.fields]
        headers = CIMultiDictProxy(CIMultiDict(named))
        closes, upgrades, chunked = True, False, False
        message = RawResponseMessage(
            HttpVersion11, head.status, "", headers, head.fields, closes, None, upgrades, chunked
        )
        return message, self._payload


def _text(field_: bytes) -> str:
    return field_.decode("utf-8", "surrogateescape")
