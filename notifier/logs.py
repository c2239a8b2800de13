"""Log records: one line each, on stderr, without secrets.

Callers choose what a record contains. This is the second line of defence: the texts of libraries and exceptions are
masked, cut and escaped.
"""

import json
import logging
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from notifier.wording.terminal import shows_colours

Format = Literal["auto", "json", "console"]

LOG_FIELD_LIMIT = 2048
"""Maximum size of one field, in bytes of UTF-8."""

MASK = "***"

_HANDLER = "notifier"

_URL_LOGGERS = (
    "aiohttp",
    "alembic",
    "apscheduler",
    "httpcore",
    "httpcore2",
    "httpx",
    "httpx2",
    "slack_sdk",
    "sqlalchemy",
    "uvicorn.access",
)
"""Loggers that stay at WARNING: below it they log every tick, statement or URL, and a URL can be a secret."""

_SECRET_KEY = re.compile(
    r"secret|token|passw|passphrase|authorization|credential|cookie|signature|(api|access|private|signing)_?key|webhook_url",
    re.IGNORECASE,
)

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"whsec_[\w+/=-]+"), f"whsec_{MASK}"),
    (re.compile(r"gdbn_\w+"), f"gdbn_{MASK}"),
    (re.compile(r"\$scrypt\$[\w=,+/$-]+"), f"$scrypt${MASK}"),
    (re.compile(r"\b(xox[a-z]|xapp)-[\w-]+"), rf"\1-{MASK}"),
    (re.compile(r"(hooks\.slack(?:-gov)?\.com)/[^\s\"'<>]+"), rf"\1/{MASK}"),
    (re.compile(r"://[^\s/@\"']+@"), f"://{MASK}@"),
    (re.compile(r"\b(SDK-HMAC-SHA256|Bearer|Basic) +[^\"'\n]+", re.IGNORECASE), rf"\1 {MASK}"),
    (
        re.compile(
            # Matches begin at a word, not at each hyphen: a long chain of hyphens would take quadratic time.
            r"((?<![\w-])[\w-]*(?:secret|token|passw(?:or)?d|passphrase|authorization|signature|cookie"
            r"|(?:api|access|private|signing)[_-]?key)[\w-]*[\"']?\s*[:=]\s*[\"']?)"
            r"[^\s\"',;&|}]+",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\bMII[\w+/=-]{60,}"), MASK),  # an IAM token is a CMS message in base64
)

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, direction overrides and lone surrogates."""


class RejectionLog:
    """Counts rejections that strangers cause, in one record at once and then at most one every `pause` seconds.

    `seconds` is a monotonic clock. Rejections since the last record are counted in the next one.
    """

    def __init__(self, event: str, *, logger: str, seconds: Callable[[], float], pause: float = 60.0) -> None:
        self._event = event
        self._log = structlog.get_logger(logger)
        self._seconds = seconds
        self._pause = pause
        self._counts = Counter[str]()
        self._next = float("-inf")

    def count(self, reason: str) -> None:
        """Count one rejection. `reason` is a word of ours, never text from outside."""
        self._counts[reason] += 1
        if (now := self._seconds()) >= self._next:
            reasons = ", ".join(f"{reason} ({number})" for reason, number in self._counts.most_common())
            self._log.warning(self._event, reasons=reasons)
            self._counts.clear()
            self._next = now + self._pause


def configure(
    level: str = "info",
    format: Format = "auto",  # noqa: A002 - named as in the configuration
    stream: TextIO | None = None,
) -> None:
    """Write every record of this process and of its libraries to `stream` (stderr) at `level` and above.

    `format` is `json` (an object a line), `console` (for people) or `auto`: console on a terminal, else json.
    A second call replaces the first.
    """
    stream = stream or sys.stderr
    as_console = format == "console" or (format == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.name = _HANDLER
    handler.setFormatter(_formatter(_console(colours=shows_colours(stream)) if as_console else (_json,)))
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if h.name != _HANDLER] + [handler]
    root.setLevel(level.upper())
    for name in _URL_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_context_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _context_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _formatter(render: Sequence[Processor]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_context_processors(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            guard,
            *render,
        ],
    )


def guard(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    """Return a record with its secrets masked and its long fields cut."""
    return {key: _cut(_masked(key, value)) for key, value in record.items()}


def redact(text: str) -> str:
    """Return `text` with its secrets masked, as far as their form shows them."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _masked(key: str, value: object) -> object:
    if _SECRET_KEY.search(key):
        return MASK
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): _masked(str(name), item) for name, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_masked("", item) for item in value]
        case _:
            return redact(str(value))


def _cut(value: object) -> object:
    """Shorten from the middle: the beginning and the end of a traceback matter most."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= LOG_FIELD_LIMIT:
        return value
    keep = LOG_FIELD_LIMIT // 2 - 20
    head, tail = (part.decode("utf-8", "ignore") for part in (data[:keep], data[-keep:]))
    return f"{head} [{len(data) - 2 * keep} bytes cut] {tail}"


def _json(_logger: WrappedLogger, _method: str, record: EventDict) -> str:
    first = {key: record[key] for key in ("timestamp", "level", "event") if key in record}
    line = json.dumps({**first, **record}, ensure_ascii=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _console(*, colours: bool) -> tuple[Processor, ...]:
    return (_escape, structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0, pad_level=False))


def _escape(_logger: WrappedLogger, _method: str, record: EventDict) -> EventDict:
    """Make control characters visible. The renderer would spread a field named `exception` over many lines."""
    return {"traceback" if key == "exception" else key: _visible(value) for key, value in record.items()}


def _visible(value: object) -> object:
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(value))
