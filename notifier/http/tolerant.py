"""Reading a reply over HTTP/1 that a strict parser refuses: whatever can be understood counts, the status first of all.

A receiver that has answered `200` has taken the message, however odd the rest of its reply is; to repeat the request
would send the message twice. Pure: bytes in, a reply out.
"""

from __future__ import annotations

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
    """Tell whether another reply follows one of this status."""
    return 100 <= status < 200 and status != 101  # noqa: PLR2004 - the class, but for the one that ends HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The status line of a reply and its header fields, as far as they arrived."""

    status: int
    fields: Fields = ()
    end: int | None = None
    """Where the body begins; None where the head is not whole."""


def read_head(raw: bytes) -> Head | None:
    """Return the head of the final reply, after any interim ones; None before its status line is whole.

    Raises ValueError where what arrived cannot be the beginning of a reply over HTTP.
    """
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
    """Reads one reply piece by piece. It is `done` when nothing more is expected, or when the connection ended."""

    def __init__(self, *, bodyless: bool) -> None:
        """`bodyless`: whether the request was one that is answered by a head alone."""
        self.done = False
        self.cut_short = False
        """Whether more was announced than arrived before the connection ended."""
        self._bodyless = bodyless
        self._head: Head | None = None
        """Once it is whole."""
        self._raw = bytearray()
        self._parsed = 0
        """Where the part of the body begins that was not understood yet."""
        self._body = bytearray()
        self._chunked = False
        self._length: int | None = None

    @property
    def awaits_head(self) -> bool:
        """Whether the head is not whole yet."""
        return self._head is None

    @property
    def head(self) -> Head | None:
        """The head, or as much of it as arrived; None before its status line."""
        if self._head:
            return self._head
        try:
            return read_head(bytes(self._raw))
        except ValueError:
            return None

    @property
    def body(self) -> bytes:
        """What arrived of the body, its framing taken off."""
        return bytes(self._body)

    def feed(self, data: bytes) -> None:
        """Take more bytes. Raises ValueError where they cannot be a reply over HTTP."""
        before = len(self._raw)
        self._raw += data
        if self._head is None:
            self._find_head(before)
        if self._head and not self.done:
            self._read_body()

    def _find_head(self, before: int) -> None:
        # Read only where a head may have become whole: who sends it byte by byte must not make it read as often.
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
        """Take it that the connection ended: what arrived is all there will be."""
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
        """Read one chunk; return whether there was a whole one."""
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
        if size == 0:  # the last one, or no chunk at all: nothing after it can be understood
            self.done = True
        elif len(self._raw) < begin + size:
            return False
        self._body += self._raw[begin : begin + size]
        self._parsed = begin + size
        return True
