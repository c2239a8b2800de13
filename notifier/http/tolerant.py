"""Read an HTTP/1 reply that a strict parser refuses: every part that can be understood counts, above all the status.

A receiver that answered `200` has accepted the message, however malformed the rest of its reply is. Sending the request
again would deliver the message twice. Pure: bytes in, a reply out.
"""

import re
from dataclasses import dataclass

Fields = tuple[tuple[bytes, bytes], ...]

_STATUS_LINE = re.compile(rb"[\r\n]*HTTP/\d[.\d]*[ \t]+(\d{3})(?=[ \t\r\n])[^\n]*", re.IGNORECASE)
_BEGINNING = re.compile(rb"[\r\n]*(?:H|HT|HTT|HTTP|HTTP/[^\n]*)?", re.IGNORECASE)
_BLANK_LINE = re.compile(rb"\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9a-f]{1,15})[ \t]*(?:[;\r]|$)", re.IGNORECASE)
_CHUNK_BEGINS = re.compile(rb"[\r \t]*(?:[0-9a-f]|$)", re.IGNORECASE)
_LENGTH = re.compile(rb"\+?(\d{1,15})\b")
_BODYLESS = frozenset({101, 204, 205, 304})


def is_interim(status: int) -> bool:
    """Return whether a status is informational, so that the final reply is still to come."""
    return 100 <= status < 200 and status != 101  # noqa: PLR2004 - the class, but for the one that ends HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status and header fields of a reply, as far as they have arrived."""

    status: int
    fields: Fields = ()
    end: int | None = None
    """Offset of the body; None while the head is incomplete."""


def read_head(raw: bytes) -> Head | None:
    """Return the final reply's head; None until its status line is complete. Raises ValueError for other bytes."""
    at = 0
    while line := _STATUS_LINE.match(raw, at):
        status = int(line[1])
        blank = _BLANK_LINE.search(raw, line.end())
        if not is_interim(status):
            fields = _fields(raw[line.end() : blank.start() if blank else None])
            return Head(status=status, fields=fields, end=blank.end() if blank else None)
        if blank is None:
            return None
        at = blank.end()
    if not _BEGINNING.fullmatch(raw, at):
        raise ValueError("not HTTP")
    return None


def known_head(raw: bytes) -> Head | None:
    """Return the head of the final reply as far as it has arrived; None before its status line, or without HTTP."""
    try:
        return read_head(raw)
    except ValueError:
        return None


def _fields(head: bytes) -> Fields:
    found: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\n"):
        name, colon, value = line.partition(b":")
        if line[:1] in (b" ", b"\t") and found:  # a folded line
            found[-1] = (found[-1][0], b" ".join(filter(None, (found[-1][1], line.strip()))))
        elif colon and name.strip():
            found.append((name.strip(), value.strip().replace(b"\0", b"")))
    return tuple(found)


class TolerantReader:
    """Reads one reply piece by piece. It is `done` when no more bytes are expected, or when the connection ended."""

    def __init__(self, *, bodyless: bool) -> None:
        """`bodyless`: whether the reply to this request has no body."""
        self.done = False
        self.cut_short = False
        """Whether the connection ended before the announced body was complete."""
        self._bodyless = bodyless
        self._head: Head | None = None
        """Set once the head is complete."""
        self._raw = bytearray()
        self._parsed = 0
        """Offset of the first byte of the body that is not decoded yet."""
        self._body = bytearray()
        self._chunked = False
        self._length: int | None = None

    @property
    def awaits_head(self) -> bool:
        """Whether the head is incomplete."""
        return self._head is None

    @property
    def head(self) -> Head | None:
        """The head as far as it has arrived; None before its status line."""
        return self._head or known_head(bytes(self._raw))

    @property
    def body(self) -> bytes:
        """The part of the body that has arrived, without its framing."""
        return bytes(self._body)

    @property
    def body_size(self) -> int:
        """Size of that part, in bytes."""
        return len(self._body)

    def feed(self, data: bytes) -> None:
        """Accept more bytes. Raises ValueError when they cannot be an HTTP reply."""
        before = len(self._raw)
        self._raw += data
        if self._head is None:
            self._find_head(before)
        if self._head and not self.done:
            self._read_body()

    def _find_head(self, before: int) -> None:
        # Parse only when a head may have become complete: a peer that sends byte by byte must not cause as many parses.
        blanks = [found.end() for found in _BLANK_LINE.finditer(self._raw, max(before - 2, 0))]
        if before and not blanks:
            return
        head = read_head(bytes(self._raw))
        if head and head.end is not None:
            self._head = head
            self._begin_body(head, head.end)
        elif blanks and head is None:  # nothing but interim replies so far
            del self._raw[: blanks[-1]]

    def finish(self) -> None:
        """Accept the end of the connection: no more bytes will arrive."""
        self.cut_short = not self.done and (self.awaits_head or self._chunked or self._length is not None)
        self.done = True

    def _begin_body(self, head: Head, end: int) -> None:
        self._parsed = end
        values = [(name.lower(), value) for name, value in head.fields]
        self._chunked = any(name == b"transfer-encoding" and b"chunked" in value.lower() for name, value in values)
        lengths = (_LENGTH.match(value) for name, value in values if name == b"content-length")
        self._length = next((int(found[1]) for found in lengths if found), None)
        self.done = self._bodyless or head.status in _BODYLESS

    def _read_body(self) -> None:
        if self._chunked:
            while not self.done and self._read_chunk():
                pass
            return
        left = None if self._length is None else self._length - len(self._body)
        part = self._raw[self._parsed :][:left]
        self._body += part
        self._parsed += len(part)
        self.done = len(self._body) == self._length

    def _read_chunk(self) -> bool:
        """Read one chunk; return whether a complete one was there."""
        line_end = self._raw.find(b"\n", self._parsed)
        if line_end < 0:
            self.done = not _CHUNK_BEGINS.match(self._raw, self._parsed)
            return False
        line = bytes(self._raw[self._parsed : line_end])
        begin = line_end + 1
        if not line.strip():  # the end of the chunk before
            self._parsed = begin
            return True
        found = _CHUNK_SIZE.match(line)
        size = int(found[1], 16) if found else 0
        if size == 0:  # the last chunk, or no chunk at all: nothing after it can be decoded
            self.done = True
        elif len(self._raw) < begin + size:
            return False
        self._body += self._raw[begin : begin + size]
        self._parsed = begin + size
        return True
