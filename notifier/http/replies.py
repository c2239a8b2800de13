"""Replies, and the reader that turns bytes into one. Pure: bytes in, a reply out.

`httptools` reads what follows the rules. A reply that it refuses is read again by `TolerantReader`, from its first
byte: a receiver that answered `200` has accepted the message, however malformed the rest is. So the result does not
depend on how the bytes were cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from notifier.http.tolerant import Fields, Head, TolerantReader, is_interim, known_head, read_head

HEAD_LIMIT = 65_536
"""Maximum size of a reply's head, interim replies included, in bytes. The framing of a body may be as large."""

_TLS_ALERT = b"\x15\x03"


class Headers(Mapping[str, str]):
    """Header fields of a reply, by name in any case. Values of a repeated field are joined by commas."""

    __slots__ = ("_fields", "_values")

    def __init__(self, fields: Fields = ()) -> None:
        self._fields = fields
        self._values: dict[str, str] | None = None
        """Values by name in lower case. Built when a header is first asked for: most replies are read without."""

    def _by_name(self) -> dict[str, str]:
        if self._values is None:
            self._values = {}
            for raw_name, raw_value in self._fields:
                name, value = _text(raw_name).lower(), _text(raw_value)
                self._values[name] = f"{self._values[name]}, {value}" if name in self._values else value
        return self._values

    def __getitem__(self, name: str) -> str:
        return self._by_name()[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name())

    def __len__(self) -> int:
        return len(self._by_name())


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete reply. `body` holds the bytes as received, never decompressed."""

    status: int
    headers: Headers
    body: bytes


class ReplyError(Exception):
    """The bytes that arrived are no complete reply."""


class ReplyTooLong(ReplyError):
    """The reply is larger than its limit."""


class ReplyCutShort(ReplyError):
    """The connection ended before the reply was complete."""


class NotHttp(ReplyError):
    """The peer does not answer in HTTP."""


class TlsAlert(NotHttp):
    """The peer answered a plain-text request with a TLS alert."""


class _Stop(Exception):
    """Raised in a call of the strict parser to stop it."""


class ReplyReader:
    """Reads one reply piece by piece. It is `done` when the reply is complete."""

    def __init__(self, *, bodyless: bool, limit: int) -> None:
        """`bodyless`: whether the reply to this request has no body. `limit`: maximum size of the body, in bytes."""
        self.done = False
        self.keep = False
        """Whether the connection may carry another request. Set with the last byte of the reply."""
        self.irregularity: str | None = None
        """Why the strict parser refused the reply; None when it did not."""
        self._bodyless = bodyless
        self._limit = limit
        self._raw: list[bytes] = []
        """All bytes that arrived."""
        self._received = 0
        self._strict: HttpResponseParser | None = HttpResponseParser(self)
        """None once it has ended: it and the reader refer to each other, and would wait for the garbage collector."""
        self._tolerant: TolerantReader | None = None
        """Set when the strict parser refused the reply."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head: Head | None = None
        """The final reply's head, as the strict parser read it."""
        self._body: list[bytes] = []
        self._body_size = 0

    @property
    def head(self) -> Head | None:
        """The head of the reply as far as it has arrived; None before its status line."""
        return self._tolerant.head if self._tolerant else self._head or known_head(b"".join(self._raw))

    @property
    def body(self) -> bytes:
        """The part of the body that has arrived, without its framing."""
        return self._tolerant.body if self._tolerant else b"".join(self._body)

    def reply(self) -> Reply:
        """Return the reply, once it is complete."""
        head = self.head
        if head is None or not self.done:
            raise ValueError("the reply is not complete")
        return Reply(status=head.status, headers=Headers(head.fields), body=self.body)

    def feed(self, data: bytes) -> None:
        """Accept more bytes. Raises ReplyTooLong or NotHttp."""
        self._raw.append(data)
        self._received += len(data)
        if self._tolerant:
            self._feed_tolerant(self._tolerant, data)
        elif self._strict:
            self._feed_strict(self._strict, data)
        head_is_long = self._received > HEAD_LIMIT and self._awaits_head
        if self._body_size > self._limit or self._received > self._limit + HEAD_LIMIT or head_is_long:
            raise ReplyTooLong

    def finish(self) -> None:
        """Accept the end of the connection: no more bytes will arrive. Raises ReplyCutShort for an incomplete reply."""
        if self.done:
            return
        # A body may end with the connection. The tolerant reader knows when, and nothing else needs to.
        tolerant = self._tolerant or self._read_again()
        tolerant.finish()
        if tolerant.cut_short:
            raise ReplyCutShort
        self._end(keep=False)

    @property
    def _awaits_head(self) -> bool:
        return self._tolerant.awaits_head if self._tolerant else self._head is None

    def _feed_strict(self, strict: HttpResponseParser, data: bytes) -> None:
        try:
            strict.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self.done:
                self.irregularity = str(error)
                self._read_again()

    def _read_again(self) -> TolerantReader:
        """Let the tolerant reader take over."""
        self._tolerant, self._strict = TolerantReader(bodyless=self._bodyless), None
        self._feed_tolerant(self._tolerant, b"".join(self._raw))
        return self._tolerant

    def _feed_tolerant(self, tolerant: TolerantReader, data: bytes) -> None:
        try:
            tolerant.feed(data)
        except ValueError:
            raise (TlsAlert if b"".join(self._raw).startswith(_TLS_ALERT) else NotHttp) from None
        self._body_size = tolerant.body_size
        if tolerant.done:
            self._end(keep=False)

    def _end(self, *, keep: bool) -> None:
        self.done, self.keep, self._strict = True, keep, None

    # ---- called by the strict parser ----

    def on_message_begin(self) -> None:
        """Begin a reply. A further one would answer a request that was not sent yet: the connection has to end."""
        if self.done:
            self.keep = False
            raise _Stop

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field. Those that follow a chunked body are ignored."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """End a head. One of an interim reply is forgotten."""
        strict = cast("HttpResponseParser", self._strict)  # it calls this
        status = strict.get_status_code()
        if is_interim(status):
            self._fields.clear()
            return
        self._head = Head(status=status, fields=tuple(self._fields))
        if self._bodyless:
            whole = read_head(b"".join(self._raw))
            self._end(keep=bool(whole and whole.end == self._received) and strict.should_keep_alive())
            raise _Stop

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(data)
        self._body_size += len(data)

    def on_message_complete(self) -> None:
        """End a reply, unless it is an interim one."""
        if self._head:
            keep = cast("HttpResponseParser", self._strict).should_keep_alive()
            self._end(keep=keep and self._head.status != HTTPStatus.SWITCHING_PROTOCOLS)
