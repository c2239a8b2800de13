"""Mail with a text and an HTML part, one thread for each task.

`message` makes the bytes; `EmailChannel.send` hands them to a submission server (RFC 5321, 6409).
"""

from __future__ import annotations

import asyncio
import re
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import aiosmtplib
from pydantic import Field, field_validator, model_validator

from notifier.channels.base import PROBE_AFTER, BaseChannel, ChannelSettings, headline, stored_body
from notifier.core.model import NAMESPACE, Body, Delivered, Delivery, Event, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.ports import Finding, Notice
from notifier.render import ID_LIMIT, State, Wording, by_severity, one_line
from notifier.settings import Duration, Secret, is_loopback
from notifier.validation import problem

if TYPE_CHECKING:
    from jinja2 import Template

DOMAIN = "gaussdb-notifier"
"""The right-hand side of our message ids."""
SUBJECT_LIMIT = 200
ROW_REASON_LIMIT = 300
"""Characters of a reason in a line of a digest."""
GOODBYE_SECONDS = 1.0

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_MAILBOX = re.compile(r"[\x21-\x7e]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")

# ---- settings ----


class EmailSettings(ChannelSettings):
    """A submission server, who writes and who reads."""

    kind: Literal["email"]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]+$", max_length=253)]
    port: int | None = Field(default=None, ge=1, le=65535)
    """587 with starttls, 465 with tls, 25 with none, unless given."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: Secret | None = None
    ca_file: Path | None = None
    """PEM file of the authorities to trust instead of the public ones."""
    sender: str = Field(alias="from")
    """`Name <address>` or an address."""
    to: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    timeout: Duration = Field(default=timedelta(seconds=30), gt=timedelta(0), le=timedelta(seconds=45))
    """For the whole exchange with the server."""

    @field_validator("sender")
    @classmethod
    def _check_sender(cls, text: str) -> str:
        parse_address(text)
        return text

    @field_validator("to")
    @classmethod
    def _check_to(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            parse_address(text)
        return texts

    @field_validator("ca_file")
    @classmethod
    def _check_ca_file(cls, path: Path | None) -> Path | None:
        if path is not None:
            _trust(path)
        return path

    @model_validator(mode="after")
    def _check_login(self) -> EmailSettings:
        if (self.username is None) != (self.password is None):
            raise problem(
                "password" if self.username else "username", "is missing; give both username and password, or neither"
            )
        if self.username is not None and self.security == "none" and not is_loopback(self.host):
            raise problem("security", "must be starttls or tls: a password is not sent in the clear")
        return self

    @property
    def deadline(self) -> timedelta:
        """How long an attempt takes at most, the goodbye included."""
        return self.timeout + timedelta(seconds=GOODBYE_SECONDS)

    @property
    def server_port(self) -> int:
        """The port given, or the usual one."""
        return self.port or _PORTS[self.security]


def parse_address(text: str) -> Address:
    """Read `Name <user@host>` or `user@host`. Raises ValueError that says what would be right."""
    name, bracket, rest = text.rpartition("<")
    mailbox = rest.removesuffix(">") if bracket else text.strip()
    if _CONTROLS.search(text) or not _MAILBOX.fullmatch(mailbox) or (bracket and not rest.endswith(">")):
        raise ValueError(f"{text!r} is not a mail address; write user@example.com or Name <user@example.com>")
    try:
        return Address(display_name=name.strip().strip('"'), addr_spec=mailbox)
    except Exception as error:  # the parser raises whatever its grammar trips over
        raise ValueError(
            f"{text!r} is not a mail address; write user@example.com or Name <user@example.com>"
        ) from error


def _trust(ca_file: Path | None) -> ssl.SSLContext:
    import certifi  # noqa: PLC0415 - only a channel that connects pays for the bundle

    try:
        context = ssl.create_default_context(cafile=ca_file or certifi.where())
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ca_file: no certificates can be read from {ca_file}: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


# ---- the message ----


def message(notice: Notice, settings: EmailSettings, wording: Wording) -> EmailMessage:
    """Return the mail of a notice. The same notice gives the same bytes: nothing in it comes from a clock."""
    mail = EmailMessage(policy=SMTP_POLICY)
    for name, value in _headers(notice, settings).items():
        mail[name] = value
    mail.set_raw("Subject", _encoded("Subject", _subject(notice, wording)))
    text, html = (_digest if notice.digest else _single)(notice.events, wording)
    mail.set_content(text, cte="quoted-printable")
    mail.add_alternative(html, subtype="html", cte="quoted-printable")
    # Quoted-printable never writes "=_", so no text can forge the boundary.
    mail.set_boundary(f"=_{notice.delivery_id}")
    return mail


def _headers(notice: Notice, settings: EmailSettings) -> dict[str, str | Address | list[Address]]:
    first, last = notice.events[0], notice.events[-1]
    headers: dict[str, str | Address | list[Address]] = {
        "From": parse_address(settings.sender),
        "To": [parse_address(text) for text in settings.to],
        "Date": format_datetime(last.observed_at.astimezone(UTC)),
        "Message-ID": message_id(notice.delivery_id),
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "X-GaussDB-Event": "digest" if notice.digest else first.type.value,
    }
    if not notice.digest and first.task:
        # Every mail of a task answers the same mail, which was never sent: readers show them as one thread.
        headers |= {"In-Reply-To": thread_id(first), "References": thread_id(first)}
    return headers


def message_id(delivery_id: str) -> str:
    """Return the Message-ID of a delivery: the same at every attempt."""
    return f"<{delivery_id}@{DOMAIN}>"


def thread_id(event: Event) -> str:
    """Return the id that every mail about the event's task refers to."""
    return f"<{uuid.uuid5(NAMESPACE, event.subject)}@{DOMAIN}>"


def _subject(notice: Notice, wording: Wording) -> str:
    return one_line(f"[GaussDB] {headline(notice, wording)}", SUBJECT_LIMIT)


def _encoded(name: str, text: str) -> str:
    """Return a header's text as encoded words throughout.

    The message's own folding drops spaces between encoded words, and would decode what looks like one in the text.
    """
    return Header(text, "utf-8", header_name=name).encode(linesep="\r\n")


def _single(events: Sequence[Event], wording: Wording) -> tuple[str, str]:
    said = wording.describe(events[0])
    facts = [f"{fact.label}: {fact.value}" for fact in said.facts]
    reason = [said.reason_label + ":", *(f"  {line}" for line in (said.reason or "").splitlines())]
    blocks = [said.headline, "\n".join(facts), "\n".join(reason) if said.reason else "", said.footer]
    html = _pages()["single"].render(title=said.headline, said=said, colour=_COLOURS[said.state], **_page(wording))
    return "\n\n".join(filter(None, blocks)) + "\n", html


def _digest(events: Sequence[Event], wording: Wording) -> tuple[str, str]:
    title = wording.digest_headline(events)
    rows = [_row(event, wording) for event in by_severity(events)]
    html = _pages()["digest"].render(title=title, rows=rows, **_page(wording))
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


def _row(event: Event, wording: Wording) -> _Row:
    said = wording.describe(event)
    return _Row(
        title=said.title,
        label=said.label or "",
        subject=said.subject or "",
        job=one_line(event.job_id, ID_LIMIT),
        reason=one_line(said.reason or "", ROW_REASON_LIMIT),
        line=f"{said.title} · {wording.digest_line(event)}" if event.task else wording.digest_line(event),
        colour=_COLOURS[said.state],
    )


def _page(wording: Wording) -> dict[str, object]:
    return {"language": wording.language, "label": lambda name: wording.text(f"label.{name}")}


_COLOURS: Mapping[State, str] = {
    "failed": "#c62828",
    "failing": "#c62828",
    "gave_up": "#c62828",
    "gap": "#b26a00",
    "unlisted": "#b26a00",
    "stalled": "#b26a00",
    "restarted": "#b26a00",
    "changed": "#5f6b7a",
    "completed": "#2e7d32",
    "recovered": "#2e7d32",
    "running": "#1565c0",
    "progressed": "#1565c0",
}
"""Dark enough for white letters on them."""

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
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - reading settings must not load jinja

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return {"single": environment.from_string(_FRAME % _SINGLE), "digest": environment.from_string(_FRAME % _DIGEST)}


# ---- what a failure means ----


def outcome_of_failure(error: Exception, host: str, *, handed_over: bool) -> Outcome:
    """Return what a failed conversation means for the delivery.

    Before the message itself was handed over a 4xx passes by itself and a 5xx needs somebody to mend the settings;
    afterwards a 5xx is about this message, and silence leaves open whether it was taken.
    """
    match error:
        case aiosmtplib.SMTPDataError():
            return _refused(error.code, "message refused", permanent=GaveUp)
        case _ if handed_over:
            return Unknown(f"connection to {host} lost after the message was handed over")
        case aiosmtplib.SMTPResponseException() if error.code < 0:
            return Retry(f"{host} does not answer in SMTP")
        case aiosmtplib.SMTPResponseException():
            return _refused(error.code, _refusal(error), permanent=_parked)
        case aiosmtplib.SMTPConnectError() | OSError():
            return Retry(_no_connection(error, host))
    return _parked(f"{host} does not offer what the settings ask for (STARTTLS, or a way to log in)")


def _refused(code: int, what: str, *, permanent: Callable[[str], Outcome]) -> Outcome:
    reason = f"SMTP {code}: {what}"
    return permanent(reason) if code >= 500 else Retry(reason)  # noqa: PLR2004 - the permanent class of replies


def _parked(reason: str) -> Outcome:
    return Parked(reason, PROBE_AFTER)


def _refusal(error: aiosmtplib.SMTPResponseException) -> str:
    match error:
        case aiosmtplib.SMTPAuthenticationError():
            return "login refused"
        case aiosmtplib.SMTPSenderRefused():
            return "sender refused"
        case aiosmtplib.SMTPRecipientRefused():
            return "all recipients refused"
    return "the server refuses service"


def _no_connection(error: Exception, host: str) -> str:
    causes = (error, error.__cause__, getattr(error.__cause__, "__cause__", None))
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"connection refused by {host}"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return f"no TLS with {host}, or its certificate is not accepted"
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return f"no answer from {host} in time"
    return f"no connection to {host}"


# ---- the channel ----


class EmailChannel(BaseChannel[EmailSettings]):
    """Hands mails to one submission server, with a connection for each.

    A repeat has the same Message-ID, by which some mail stores know it; nothing promises that they all do.
    """

    kind = "email"
    Settings: ClassVar[type[ChannelSettings]] = EmailSettings

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return _trust(self.settings.ca_file)

    def render(self, notice: Notice) -> Body:
        """Return the whole mail, headers included."""
        mail = message(notice, self.settings, self.toolbox.wording)
        return Body(content=mail.as_bytes(), content_type="message/rfc822")

    async def send(self, delivery: Delivery) -> Outcome:
        """Hand the stored mail over. Recipients that are refused while others are not are noted in the reference."""
        content = stored_body(delivery).content
        handed_over = False
        try:
            async with self._conversation() as smtp:
                refusals = await self._address(smtp)
                handed_over = True
                await smtp.data(content)
        except (aiosmtplib.SMTPException, OSError) as error:
            return outcome_of_failure(error, self.settings.host, handed_over=handed_over)
        return Delivered(_reference(delivery, self.settings, refusals))

    async def check(self) -> Sequence[Finding]:
        """Connect, log in and name sender and recipients, then leave without a message."""
        try:
            async with self._conversation() as smtp:
                refusals = await self._address(smtp)
        except (aiosmtplib.SMTPException, OSError) as error:
            return [_finding(outcome_of_failure(error, self.settings.host, handed_over=False))]
        return [_accepted(self.settings, refusals)]

    @asynccontextmanager
    async def _conversation(self) -> AsyncIterator[aiosmtplib.SMTP]:
        smtp = self._client()
        try:
            async with asyncio.timeout(self.settings.timeout.total_seconds()):
                yield smtp
            await _part(smtp)
        finally:
            smtp.close()

    def _client(self) -> aiosmtplib.SMTP:
        settings = self.settings
        return aiosmtplib.SMTP(
            hostname=settings.host,
            port=settings.server_port,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            local_hostname=parse_address(settings.sender).domain,
            timeout=None,  # one deadline around the whole conversation instead
            use_tls=settings.security == "tls",
            start_tls=settings.security == "starttls",
            tls_context=None if settings.security == "none" else self._tls,
        )

    async def _address(self, smtp: aiosmtplib.SMTP) -> Sequence[int]:
        """Connect and name sender and recipients; return the codes of refused recipients, raise if all are."""
        await smtp.connect()
        await smtp.mail(parse_address(self.settings.sender).addr_spec)
        answers = [await _name_recipient(smtp, parse_address(text).addr_spec) for text in self.settings.to]
        refusals = [answer for answer in answers if answer]
        if len(refusals) == len(answers):
            raise min(refusals, key=lambda refusal: refusal.code)
        return [refusal.code for refusal in refusals]


async def _name_recipient(smtp: aiosmtplib.SMTP, address: str) -> aiosmtplib.SMTPRecipientRefused | None:
    try:
        await smtp.rcpt(address)
    except aiosmtplib.SMTPRecipientRefused as refusal:
        return refusal
    return None


async def _part(smtp: aiosmtplib.SMTP) -> None:
    """Say goodbye, but not for long: the answer that counts is already there."""
    with suppress(aiosmtplib.SMTPException, OSError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await smtp.quit()


def _reference(delivery: Delivery, settings: EmailSettings, refusals: Sequence[int]) -> str:
    reference = message_id(delivery.id)
    return f"{reference} ({_some_refused(settings, refusals)})" if refusals else reference


def _some_refused(settings: EmailSettings, refusals: Sequence[int]) -> str:
    codes = ", ".join(map(str, sorted(set(refusals))))
    return f"{len(refusals)} of {len(settings.to)} recipients refused: SMTP {codes}"


def _accepted(settings: EmailSettings, refusals: Sequence[int]) -> Finding:
    if refusals:
        return Finding(ok=False, what="email", detail=_some_refused(settings, refusals), remedy="correct `to`")
    return Finding(ok=True, what="email", detail=f"{settings.host} accepts the sender and every recipient")


def _finding(outcome: Outcome) -> Finding:
    detail = "" if isinstance(outcome, Delivered) else outcome.reason
    return Finding(ok=False, what="email", detail=detail, remedy="check host, port, security, username and addresses")
