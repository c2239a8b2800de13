"""A reply as one line that may be stored and shown: readable, bounded, harmless, without secrets.

The text comes from outside and may echo the request, whose URL and headers are secrets. The secrets that were sent are
masked, and so is whatever looks like a secret.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from html import unescape
from urllib.parse import quote, unquote, urlsplit

from notifier.logs import MASK, redact
from notifier.wording.sanitize import cut, one_line

REPLY_LIMIT = 300
"""Maximum length of the text that is kept of a reply, in characters."""

_READ_LIMIT = 16_384
"""Maximum size of the part of a body that is read, in bytes."""
_REDACT_LIMIT = 4 * REPLY_LIMIT
"""Maximum length of the text that is searched for secrets, in characters. Longer than what is kept: none is cut off."""
_SHORTEST_SECRET = 4
"""Minimum length of a masked secret, in characters. Masking anything shorter would leave no text."""
_SHORTEST_PART = 8
"""Minimum length of a part of a secret that is masked by itself, in characters."""
_LONGEST_WORD = 16
"""Length from which a path segment of lower-case letters counts as a secret, in characters."""

_CHARSET = re.compile(r"charset=[\"']?([\w.:-]{1,40})", re.IGNORECASE)
_MARKUP = re.compile(r"\s*<[!?a-z]", re.IGNORECASE)
_TAG = re.compile(r"/?[a-z0-9]+", re.IGNORECASE)
_UNSEEN = frozenset({"script", "style", "svg"})


class Secrets:
    """The secrets that a channel sends, masked wherever a reply repeats them."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        parts = {part for secret in secrets for part in _parts(secret)}
        spellings = {spelling for part in parts for spelling in _spellings(part)}
        longest_first = sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def mask(self, text: str) -> str:
        """Return the text with every secret, and every part that gives one away, masked."""
        return self._pattern.sub(MASK, text) if self._pattern else text


NO_SECRETS = Secrets()


def http_reply(status: int, body: bytes, content_type: str = "", *, secrets: Secrets = NO_SECRETS) -> str:
    """Return `HTTP 400: ` and the text of the body, whether JSON, a web page or plain."""
    return reply_line(f"HTTP {status}", _readable(body[:_READ_LIMIT], content_type), secrets=secrets)


def reply_line(head: str, text: str, *, secrets: Secrets = NO_SECRETS) -> str:
    """Return `head: text`, with at most REPLY_LIMIT characters of the text; `head` alone where there is none.

    For a protocol other than HTTP: `reply_line("SMTP 550 5.4.5", message)`.
    """
    safe = secrets.mask(one_line(text[:_READ_LIMIT], _READ_LIMIT))
    kept = cut(redact(safe[:_REDACT_LIMIT]), REPLY_LIMIT)
    return f"{head}: {kept}" if kept else head


def _readable(body: bytes, content_type: str) -> str:
    if b"\0" in body:
        return "(not text)"
    text = _decoded(body, content_type)
    if "html" in content_type or _MARKUP.match(text):
        pieces = dict.fromkeys(" ".join(unescape(piece).split()) for piece in _texts(text))
        return " ".join(filter(None, pieces))  # each piece once: titles are often repeated as headings
    try:
        return json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _decoded(body: bytes, content_type: str) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        named = _CHARSET.search(content_type)
    try:
        return body.decode(named[1] if named else "utf-8", "replace")
    except (LookupError, ValueError):  # no such character set
        return body.decode("utf-8", "replace")


def _texts(markup: str) -> Iterator[str]:
    hidden = ""
    before, *tags = markup.split("<")
    yield before
    for piece in tags:
        inside, _, text = piece.partition(">")
        found = _TAG.match(inside)
        name = found[0].lower() if found else ""
        if hidden:
            hidden = "" if name == f"/{hidden}" else hidden
        elif name in _UNSEEN:
            hidden = name
        if not hidden:
            yield text


def _spellings(part: str) -> tuple[str, ...]:
    return part, unquote(part), quote(part, safe="", errors="replace"), json.dumps(part)[1:-1]


def _parts(secret: str) -> Iterator[str]:
    """Yield what gives a secret away: itself, its words, and the path, path segments and query values of a URL."""
    if len(secret) >= _SHORTEST_SECRET:
        yield secret
    yield from (word for word in secret.split() if len(word) >= _SHORTEST_PART)
    try:
        url = urlsplit(secret)
    except ValueError:
        return
    if not url.netloc:
        return
    written = url.netloc.rpartition("@")[0]
    userinfo = written.split(":")
    if written:  # sent as Basic authentication, without or with the padding
        user, _, password = written.partition(":")
        yield b64encode(f"{unquote(user)}:{unquote(password)}".encode("utf-8", "replace")).decode().rstrip("=")
    values = (pair.rpartition("=")[2] for pair in url.query.split("&"))
    whole = (url.path, url.query, *userinfo, *values)
    yield from (part for part in whole if len(part) >= _SHORTEST_SECRET and part.strip("/"))
    yield from filter(_looks_secret, url.path.split("/"))


def _looks_secret(segment: str) -> bool:
    word = segment.isalpha() and segment.islower() and len(segment) < _LONGEST_WORD
    return len(segment) >= _SHORTEST_PART and not word
