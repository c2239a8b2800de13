"""The stored bytes of a message, as people can read them: no more than a page holds, and without secrets."""

import email
import email.policy
import json
from dataclasses import dataclass
from email.message import EmailMessage

from notifier.core.delivery import Body
from notifier.logs import redact
from notifier.wording.sanitize import strip_controls

SHOWN = 6_000
"""Characters of a body that are shown."""
READ = 200_000
"""Bytes of a body that are read for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownBody:
    """The beginning of a stored message."""

    kind: str
    """Its media type, without parameters."""
    size: int
    """Number of stored bytes."""
    text: str
    whole: bool


def shown_body(body: Body) -> ShownBody:
    """Return what is shown of a body: JSON on lines of its own, of a mail its subject and text, all else as it is."""
    kind = body.content_type.partition(";")[0].strip().lower()
    text = _readable(kind, body.content[:READ])
    clean = redact(strip_controls(text)).strip()
    whole = len(clean) <= SHOWN and len(body.content) <= READ
    return ShownBody(kind=kind, size=len(body.content), text=clean[:SHOWN], whole=whole)


def _readable(kind: str, content: bytes) -> str:
    text = content.decode("utf-8", "replace")
    if kind.endswith("json"):
        try:
            return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
        except (ValueError, RecursionError):  # cut, or no JSON
            return text
    if kind.startswith("message/"):
        return _mail(content) or text
    return text


def _mail(content: bytes) -> str:
    """Return the subject and the plain text of a mail; empty where it has none."""
    mail = email.message_from_bytes(content, _class=EmailMessage, policy=email.policy.default)
    part = mail.get_body(("plain",))
    try:
        found = part.get_content() if part else ""
    except (LookupError, ValueError):  # an unknown character set
        return ""
    return f"{mail['Subject'] or ''}\n\n{found}" if found else ""
