"""The mail of an event or a digest: headers, a text and an HTML part. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from functools import cache

from jinja2 import Environment, StrictUndefined, Template

from notifier.channels.base import headline
from notifier.core.model import NAMESPACE, Event
from notifier.integrations.email import mailboxes
from notifier.integrations.email.settings import EmailSettings
from notifier.ports import RenderRequest
from notifier.wording.formatter import MessageFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.sanitize import ID_LIMIT, one_line
from notifier.wording.states import by_severity

DOMAIN = "gaussdb-notifier"
"""The right-hand side of our message ids."""
SUBJECT_LIMIT = 200
ROW_REASON_LIMIT = 300
"""Characters of a reason in a line of a digest."""


def message(request: RenderRequest, settings: EmailSettings, localizer: Localizer) -> EmailMessage:
    """Return the mail of a notice. The same notice gives the same bytes: nothing in it comes from a clock."""
    mail = EmailMessage(policy=_POLICY)
    mail.set_raw("From", mailboxes.header("From", [settings.from_mailbox]))
    mail.set_raw("To", mailboxes.header("To", settings.to_mailboxes))
    for name, value in _headers(request).items():
        mail[name] = value
    mail.set_raw("Subject", _encoded("Subject", _subject(request, localizer)))
    text, html = (_digest if request.digest else _single)(request.events, localizer)
    mail.set_content(text, cte="quoted-printable")
    mail.add_alternative(html, subtype="html", cte="quoted-printable")
    # Quoted-printable never writes "=_", so no text can forge the boundary.
    mail.set_boundary(f"=_{request.delivery_id}")
    return mail


_POLICY = SMTP_POLICY.clone(refold_source="none")
"""What is folded here stays so: the library's own folding breaks some names and spaces."""


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
        # Every mail of a task answers the same mail, which was never sent: readers show them as one thread.
        headers |= {"In-Reply-To": thread_id(first), "References": thread_id(first)}
    return headers


def message_id(delivery_id: str) -> str:
    """Return the Message-ID of a delivery: the same at every attempt."""
    return f"<{delivery_id}@{DOMAIN}>"


def thread_id(event: Event) -> str:
    """Return the id that every mail about the event's task refers to."""
    return f"<{uuid.uuid5(NAMESPACE, event.subject)}@{DOMAIN}>"


def _subject(request: RenderRequest, localizer: Localizer) -> str:
    return one_line(f"[GaussDB] {headline(request, localizer)}", SUBJECT_LIMIT)


def _encoded(name: str, text: str) -> str:
    """Return a header's text as encoded words throughout.

    The message's own folding drops spaces between encoded words, and would decode what looks like one in the text.
    """
    return Header(text, "utf-8", header_name=name).encode(linesep="\r\n")


def _single(events: Sequence[Event], localizer: Localizer) -> tuple[str, str]:
    said = MessageFormatter(localizer).describe(events[0])
    facts = [f"{fact.label}: {fact.value}" for fact in said.facts]
    reason = [said.reason_label + ":", *(f"  {line}" for line in (said.reason or "").splitlines())]
    blocks = [said.headline, "\n".join(facts), "\n".join(reason) if said.reason else "", said.footer]
    html = _pages()["single"].render(title=said.headline, said=said, colour=said.state.tone.badge, **_page(localizer))
    return "\n\n".join(filter(None, blocks)) + "\n", html


def _digest(events: Sequence[Event], localizer: Localizer) -> tuple[str, str]:
    title = MessageFormatter(localizer).digest_headline(events)
    rows = [_row(event, localizer) for event in by_severity(events)]
    html = _pages()["digest"].render(title=title, rows=rows, **_page(localizer))
    return "\n".join([title, "", *(f"- {row.line}" for row in rows), ""]), html


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """An event in a digest."""

    title: str
    label: str
    subject: str
    job: str
    reason: str
    line: str
    """All of it but the reason, in words."""
    colour: str


def _row(event: Event, localizer: Localizer) -> _Row:
    said = MessageFormatter(localizer).describe(event)
    return _Row(
        title=said.title,
        label=said.label or "",
        subject=said.subject or "",
        job=one_line(event.job_id, ID_LIMIT),
        reason=one_line(said.reason or "", ROW_REASON_LIMIT),
        line=f"{said.title} · {MessageFormatter(localizer).digest_line(event)}"
        if event.task
        else MessageFormatter(localizer).digest_line(event),
        colour=said.state.tone.badge,
    )


def _page(localizer: Localizer) -> dict[str, object]:
    return {"language": localizer.language, "label": lambda name: localizer.text(f"label.{name}")}


# Text and background keep the reader's own colours, so that the page is right in a light and in a dark mail program.
_FRAME = """\
<!doctype html>
<html lang="{{ language }}">
<head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>{{ title }}</title></head>
<body style="font-family: system-ui, -apple-system, 'Segoe UI', sans-serif; font-size: 15px; line-height: 1.45">
%s
</body>
</html>
"""
_SINGLE = """\
<p><span style="background: {{ colour }}; color: #fff; padding: 3px 10px; border-radius: 4px; font-weight: 600">\
{{ said.title }}</span></p>
<h1 style="font-size: 19px; margin: 12px 0">{{ [said.label, said.subject] | select | join(" · ") }}</h1>
<table role="presentation" cellpadding="0" cellspacing="0">
{% for fact in said.facts %}\
<tr><td style="padding: 2px 20px 2px 0; opacity: .7; vertical-align: top">{{ fact.label }}</td>\
<td style="padding: 2px 0">{{ fact.value }}</td></tr>
{% endfor %}\
</table>
{% if said.reason %}\
<p style="margin: 14px 0 4px; opacity: .7">{{ said.reason_label }}</p>
<pre style="margin: 0; padding: 8px 12px; border-left: 4px solid {{ colour }}; white-space: pre-wrap; \
overflow-wrap: anywhere; font-family: ui-monospace, Menlo, Consolas, monospace">{{ said.reason }}</pre>
{% endif %}\
<p style="margin-top: 18px; font-size: 13px; opacity: .7">{{ said.footer }}</p>"""
_DIGEST = """\
<h1 style="font-size: 19px; margin: 12px 0">{{ title }}</h1>
<table cellpadding="0" cellspacing="0" style="border-collapse: collapse; font-size: 14px">
<tr style="text-align: left">{% for name in ("state", "task", "instance", "job") %}\
<th style="padding: 4px 14px 4px 0">{{ label(name) }}</th>{% endfor %}</tr>
{% for row in rows %}\
<tr style="vertical-align: top; border-top: 1px solid #8884">
<td style="padding: 4px 14px 4px 0"><span style="background: {{ row.colour }}; color: #fff; padding: 1px 7px; \
border-radius: 4px; white-space: nowrap">{{ row.title }}</span></td>
<td style="padding: 4px 14px 4px 0">{{ row.label }}</td>
<td style="padding: 4px 14px 4px 0">{{ row.subject }}</td>
<td style="padding: 4px 0; overflow-wrap: anywhere">{{ row.job }}\
{% if row.reason %}<br><span style="opacity: .7">{{ row.reason }}</span>{% endif %}</td></tr>
{% endfor %}\
</table>"""


@cache
def _pages() -> dict[str, Template]:
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return {"single": environment.from_string(_FRAME % _SINGLE), "digest": environment.from_string(_FRAME % _DIGEST)}
