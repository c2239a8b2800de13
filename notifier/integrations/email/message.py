"""The mail of an event or a digest: headers, a text and an HTML part. Pure."""

import uuid
from datetime import UTC
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from notifier.channels.base import headline
from notifier.core.model import NAMESPACE, Event
from notifier.integrations.email.mailboxes import format_header
from notifier.integrations.email.settings import EmailSettings
from notifier.ports import RenderRequest
from notifier.wording.formatter import MessageFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.sanitize import ID_LIMIT, one_line
from notifier.wording.states import by_severity

DOMAIN = "gaussdb-notifier"
"""Right-hand side of the message ids."""
SUBJECT_LIMIT = 200
"""Maximum length of a subject, in characters."""
DIGEST_REASON_LIMIT = 300
"""Maximum length of a reason in a row of a digest, in characters."""


def message(request: RenderRequest, settings: EmailSettings, localizer: Localizer) -> EmailMessage:
    """Return the mail of a request. The same request gives the same bytes: nothing in it comes from a clock."""
    mail = EmailMessage(policy=_POLICY)
    mail.set_raw("From", format_header("From", [settings.from_mailbox]))
    mail.set_raw("To", format_header("To", settings.to_mailboxes))
    if copies := settings.cc_mailboxes(request.mention):
        mail.set_raw("Cc", format_header("Cc", copies))
    for name, value in _headers(request).items():
        mail[name] = value
    # Encoded words throughout: the library's own folding drops spaces between them, and reads some texts as encoded.
    title = one_line(f"[GaussDB] {headline(request, localizer)}", SUBJECT_LIMIT)
    subject = Header(title, "utf-8", header_name="Subject")
    mail.set_raw("Subject", subject.encode(linesep="\r\n"))
    text, html = (_digest_parts if request.digest else _event_parts)(request, localizer)
    mail.set_content(text, cte="quoted-printable")
    mail.add_alternative(html, subtype="html", cte="quoted-printable")
    # Quoted-printable never writes "=_", so no text can forge the boundary.
    mail.set_boundary(f"=_{request.delivery_id}")
    return mail


_POLICY = SMTP_POLICY.clone(refold_source="none")
"""Keeps the library from folding again: its folding breaks some names and spaces."""


def _headers(request: RenderRequest) -> dict[str, str]:
    first, last = request.events[0], request.events[-1]
    headers = {
        "Date": format_datetime(last.observed_at.astimezone(UTC)),
        "Message-ID": message_id(request.delivery_id),
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "X-GaussDB-Event": "digest" if request.digest else first.type.value,
    }
    if not request.digest and first.task:
        # Every mail of a task answers one mail that was never sent: mail programs show them as one thread.
        headers |= {"In-Reply-To": thread_id(first), "References": thread_id(first)}
    return headers


def message_id(delivery_id: str) -> str:
    """Return the Message-ID of a delivery: the same at every attempt."""
    return f"<{delivery_id}@{DOMAIN}>"


def thread_id(event: Event) -> str:
    """Return the id that every mail about the event's task refers to."""
    return f"<{uuid.uuid5(NAMESPACE, event.subject)}@{DOMAIN}>"


def _event_parts(request: RenderRequest, localizer: Localizer) -> tuple[str, str]:
    message = MessageFormatter(localizer).describe(request.events[0])
    facts = "\n".join(f"{fact.label}: {fact.value}" for fact in message.facts)
    lines = (message.reason or "").splitlines()
    reason = "\n".join((f"{message.reason_label}:", *(f"  {line}" for line in lines))) if lines else ""
    text = "\n\n".join(filter(None, (message.headline, facts, reason, message.footer))) + "\n"
    return text, _html("event", localizer, title=message.headline, message=message)


def _digest_parts(request: RenderRequest, localizer: Localizer) -> tuple[str, str]:
    formatter = MessageFormatter(localizer)
    title = formatter.digest_headline(request.events)
    rows = [(event, formatter.describe(event)) for event in by_severity(request.events)]
    lines = (
        f"- {message.title} · {formatter.digest_line(event)}" if event.task else f"- {formatter.digest_line(event)}"
        for event, message in rows
    )
    return "\n".join((title, "", *lines, "")), _html("digest", localizer, title=title, rows=rows)


def _html(template: str, localizer: Localizer, **values: object) -> str:
    return (
        _templates()
        .get_template(f"{template}.html.j2")
        .render(
            language=localizer.language,
            label=lambda name: localizer.text(f"label.{name}"),
            id_limit=ID_LIMIT,
            reason_limit=DIGEST_REASON_LIMIT,
            **values,
        )
    )


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["one_line"] = one_line
    return environment
