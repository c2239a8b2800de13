"""The mail of a request: its headers, and the parts of `notifier.integrations.email.content`. Pure."""

import re
import uuid
from datetime import UTC
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime

from notifier.channels.templates import BUILT_IN, FilledTemplate
from notifier.core.model import NAMESPACE, Event
from notifier.core.severity import is_production
from notifier.integrations.email.content import html_part, mail_content, text_part, with_template
from notifier.integrations.email.mailboxes import format_header
from notifier.integrations.email.settings import EmailSettings
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.sanitize import one_line

DOMAIN = "gaussdb-notifier"
"""Right-hand side of the message ids."""
SUBJECT_LIMIT = 200
"""Maximum length of a subject, in characters."""


def message(
    request: RenderRequest, settings: EmailSettings, formatter: EventFormatter, filled: FilledTemplate = BUILT_IN
) -> EmailMessage:
    """Return the mail of a request, with what the templates of the channel replace.

    The same request gives the same bytes: nothing in it comes from a clock.
    """
    content = with_template(mail_content(request, formatter, settings.name), filled)
    mail = EmailMessage(policy=_POLICY)
    mail.set_raw("From", format_header("From", [settings.from_mailbox]))
    mail.set_raw("To", format_header("To", settings.to_mailboxes))
    if copies := settings.cc_mailboxes(request.mention):
        mail.set_raw("Cc", format_header("Cc", copies))
    mail.set_raw("Subject", _encoded("Subject", one_line(content.subject, SUBJECT_LIMIT)))
    for name, value in _headers(request).items():
        mail.set_raw(name, value if _PLAIN_VALUE.fullmatch(value) else _encoded(name, value))
    mail.set_content(text_part(content, formatter.localizer), cte="quoted-printable")
    mail.add_alternative(html_part(content, formatter.localizer), subtype="html", cte="quoted-printable")
    # Quoted-printable never writes "=_", so no text can forge the boundary.
    mail.set_boundary(f"=_{request.delivery_id}")
    return mail


_POLICY = SMTP_POLICY.clone(refold_source="none")
"""Keeps the library from folding again: its folding breaks some names and spaces."""
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9<][A-Za-z0-9 @:;,.+<>_-]{0,180}")
"""Values of headers that need no encoding. None of them can be read as an encoded word."""
_UNSAFE_IN_LIST_ID = re.compile(r"[^a-z0-9-]+")


def _encoded(name: str, value: str) -> str:
    """Return text as encoded words throughout, of which no header or encoded word can be read that is not ours.

    The library's own folding drops spaces between encoded words, and reads some texts as encoded.
    """
    return Header(value, "utf-8", header_name=name).encode(linesep="\r\n")


def _headers(request: RenderRequest) -> dict[str, str]:
    """Return the headers that say what the mail is about, for filters and for the order of mails."""
    first, last = request.events[0], request.events[-1]
    single = not request.digest and not request.storm
    sources = {event.source for event in request.events}
    source = one_line(sources.pop()) if len(sources) == 1 else ""
    task = first.task if single else None
    instance = one_line((task and (task.instance_name or task.instance_id)) or "")
    headers = {
        "Date": format_datetime(last.observed_at.astimezone(UTC)),
        "Message-ID": message_id(request.delivery_id),
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "List-Id": f"<{_list_label(source)}.{DOMAIN}>",
        "X-GaussDB-Event": first.type.value if single else "digest",
        "X-GaussDB-Source": source,
        "X-GaussDB-Severity": request.severity.value,
        "X-GaussDB-Instance": instance,
    }
    if _is_important(request):
        headers |= {"Importance": "high", "X-Priority": "1"}
    if thread := _thread(request):
        # Every mail of a task or a storm answers one mail that was never sent: mail programs show them as one thread.
        headers |= {"In-Reply-To": thread, "References": thread}
    return {name: value for name, value in headers.items() if value}


def _list_label(source: str) -> str:
    """Return the first part of a List-Id, one label of at most 63 safe characters (RFC 2919)."""
    label = _UNSAFE_IN_LIST_ID.sub("-", source.casefold()).strip("-")[:63].strip("-")
    return label or "all"


def _is_important(request: RenderRequest) -> bool:
    """Return whether somebody should act in production. Nothing else disturbs whoever hears important mails only."""
    urgent = (event for event in request.events if event.calls_somebody)
    return request.severity.loud and any(is_production(event.environment) for event in urgent)


def _thread(request: RenderRequest) -> str:
    if request.storm:
        return _reference(request.storm.id)
    first = request.events[0]
    return "" if request.digest or first.task is None else thread_id(first)


def message_id(delivery_id: str) -> str:
    """Return the Message-ID of a delivery: the same at every attempt."""
    return f"<{delivery_id}@{DOMAIN}>"


def thread_id(event: Event) -> str:
    """Return the id that every mail about the event's task refers to."""
    return _reference(event.subject)


def _reference(about: str) -> str:
    return f"<{uuid.uuid5(NAMESPACE, about)}@{DOMAIN}>"
