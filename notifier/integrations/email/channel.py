"""Mail with a text and an HTML part, one thread for each task.

`message` makes the bytes; `EmailChannel.send` hands them to a submission server (RFC 5321, 6409).
"""

from __future__ import annotations

import asyncio
import re
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import format_datetime
from functools import cache, cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from notifier.channels.base import PROBE_AFTER, BaseChannel, ChannelSettings, headline, stored_body
from notifier.channels.reply_text import Secrets, reply_line
from notifier.core.delivery import Body, Delivered, Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.model import NAMESPACE, Event
from notifier.core.recipients import combined_outcome, outstanding
from notifier.integrations.email import mailboxes
from notifier.integrations.email.mailboxes import Mailbox
from notifier.integrations.email.smtp import (
    CommandRefused,
    ConnectionLost,
    ServerUnusable,
    SmtpError,
    SmtpReply,
    SmtpSession,
    SmtpStage,
    SubmissionServer,
)
from notifier.ports import CheckResult, RenderRequest
from notifier.settings.base import Duration, Secret, is_loopback
from notifier.settings.explain import problem
from notifier.wording.formatter import ID_LIMIT, EventState, Localizer, by_severity, one_line

if TYPE_CHECKING:
    from socket import socket

    from jinja2 import Template

DOMAIN = "gaussdb-notifier"
"""The right-hand side of our message ids."""
SUBJECT_LIMIT = 200
ROW_REASON_LIMIT = 300
"""Characters of a reason in a line of a digest."""
MOST_CONNECTIONS = 5
"""Connections of one attempt, where the server hangs up on a recipient that it refuses."""

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_LAST_PORT = 65535
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_HELO = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f.:]+\]|\[IPv6:[0-9A-Fa-f.:]+\])")

# ---- settings ----


class EmailSettings(ChannelSettings):
    """A submission server, who writes and who reads."""

    kind: Literal["email"]
    host: str
    """A name or an address; `host:port` is taken apart."""
    port: int | None = Field(default=None, ge=1, le=_LAST_PORT)
    """587 with starttls, 465 with tls, 25 with none, unless given."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password: Secret | None = None
    helo: str | None = None
    """The name that we greet the server with (EHLO); the sender's domain unless given."""
    sender: str = Field(alias="from")
    """`Name <address>` or an address."""
    to: Annotated[tuple[str, ...], Field(min_length=1, max_length=100)]
    timeout: Duration = Field(default=timedelta(seconds=30), gt=timedelta(0), le=timedelta(seconds=45))
    """For the whole exchange with the server."""

    @model_validator(mode="before")
    @classmethod
    def _split_host(cls, data: Any) -> Any:  # noqa: ANN401 - whatever was written
        if not isinstance(data, Mapping) or not isinstance(data.get("host"), str):
            return data
        host, port = _host_and_port(data["host"])
        if port is None:
            return {**data, "host": host}
        if data.get("port") not in (None, port, str(port)):
            raise problem("port", f"is {data['port']}, and host says {port}; give it once")
        return {**data, "host": host, "port": port}

    @field_validator("helo")
    @classmethod
    def _check_helo(cls, text: str | None) -> str | None:
        if text is not None and not _HELO.fullmatch(text):
            raise ValueError(f"{text!r} is not a host name; write notifier.example.com or an address as [192.0.2.1]")
        return text

    @field_validator("sender")
    @classmethod
    def _check_sender(cls, text: str) -> str:
        mailboxes.parse(text)
        return text

    @field_validator("to")
    @classmethod
    def _check_to(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            mailboxes.parse(text)
        return texts

    @model_validator(mode="after")
    def _check_login(self) -> EmailSettings:
        if (self.username is None) != (self.password is None):
            raise problem(
                "password" if self.username else "username", "is missing; give both username and password, or neither"
            )
        if self.username is not None and self.security == "none" and not is_loopback(self.host):
            raise problem("security", "must be starttls or tls: a password is not sent in the clear")
        return self

    @model_validator(mode="after")
    def _check_port(self) -> EmailSettings:
        if self.port == _PORTS["tls"] and self.security != "tls":
            raise problem("security", "must be tls with port 465, where TLS begins with the first byte")
        return self

    @property
    def server_port(self) -> int:
        """The port given, or the usual one."""
        return self.port or _PORTS[self.security]

    @property
    def from_mailbox(self) -> Mailbox:
        """Who writes."""
        return mailboxes.parse(self.sender)

    @property
    def to_mailboxes(self) -> Sequence[Mailbox]:
        """Who reads."""
        return [mailboxes.parse(text) for text in self.to]


def _host_and_port(text: str) -> tuple[str, int | None]:
    """Read `host`, `host:port`, an address or `[address]:port`. Raises an error that says what would be right."""
    written = text.strip().removesuffix(".")
    if "@" in written:  # never quoted: there may be a password in it
        raise problem("host", "holds an @; write a name, smtp.example.com, and give `username` and `password` apart")
    scheme, _, rest = written.rpartition("://")
    if scheme:
        security = {"smtps": "tls", "smtp": "starttls"}.get(scheme.lower(), "starttls, tls or none")
        raise problem(
            "host", f"is a URL; write `host: {rest.partition('/')[0] or 'smtp.example.com'}` and `security: {security}`"
        )
    host, port = written, None
    if bracketed := re.fullmatch(r"\[([^\]]*)\](?::(.*))?", written):
        host, port = bracketed.groups()
    elif written.count(":") == 1:
        host, port = written.split(":")
        host = host.removesuffix(".")
    if not _is_address(host) and (bracketed or not _NAME.fullmatch(host)):
        raise problem(
            "host", f"{text!r} is not a host{_ascii_hint(host)}; write a name, smtp.example.com, or an address"
        )
    if port is not None and not (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) <= _LAST_PORT):
        raise problem("host", f"{port!r} is not a port; write `port: 587`, a number from 1 to {_LAST_PORT}")
    return host, int(port) if port else None


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _ascii_hint(host: str) -> str:
    """Return how a name in another script is written for the network."""
    if host.isascii():
        return ""
    try:
        return f" in ASCII ({host.encode('idna').decode()})"
    except UnicodeError:
        return " in ASCII"


# ---- the message ----


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
    said = localizer.describe(events[0])
    facts = [f"{fact.label}: {fact.value}" for fact in said.facts]
    reason = [said.reason_label + ":", *(f"  {line}" for line in (said.reason or "").splitlines())]
    blocks = [said.headline, "\n".join(facts), "\n".join(reason) if said.reason else "", said.footer]
    html = _pages()["single"].render(title=said.headline, said=said, colour=_COLOURS[said.state], **_page(localizer))
    return "\n\n".join(filter(None, blocks)) + "\n", html


def _digest(events: Sequence[Event], localizer: Localizer) -> tuple[str, str]:
    title = localizer.digest_headline(events)
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
    said = localizer.describe(event)
    return _Row(
        title=said.title,
        label=said.label or "",
        subject=said.subject or "",
        job=one_line(event.job_id, ID_LIMIT),
        reason=one_line(said.reason or "", ROW_REASON_LIMIT),
        line=f"{said.title} · {localizer.digest_line(event)}" if event.task else localizer.digest_line(event),
        colour=_COLOURS[said.state],
    )


def _page(localizer: Localizer) -> dict[str, object]:
    return {"language": localizer.language, "label": lambda name: localizer.text(f"label.{name}")}


_COLOURS: Mapping[EventState, str] = {
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


# ---- what an answer means ----


def outcome_of_failure(error: SmtpError) -> Outcome:
    """Return what a broken conversation means for those whom it was for.

    What passes by itself is tried again. Other refusals need somebody to correct the settings, or the mailbox; one of
    the message itself is final. Whoever got no answer after the message was handed over may have it.
    """
    match error:
        case CommandRefused() if error.reply.passes:
            return Retry(str(error))
        case CommandRefused() if error.stage >= SmtpStage.DATA:
            return GaveUp(str(error))
        case ConnectionLost() if error.stage is SmtpStage.CONTENT:
            return Unknown(str(error))
        case ConnectionLost():
            return Retry(str(error))
    return Parked(str(error), PROBE_AFTER)


# ---- the channel ----


class EmailChannel(BaseChannel[EmailSettings]):
    """Hands mails to one submission server, with a connection for each.

    A repeat has the same Message-ID, by which some mail stores know it; nothing promises that they all do.
    """

    kind = "email"
    multi_recipient = True
    Settings: ClassVar[type[ChannelSettings]] = EmailSettings

    def render(self, request: RenderRequest) -> Body:
        """Return the whole mail, headers included."""
        mail = message(request, self.settings, self.context.localizer)
        return Body(content=mail.as_bytes(), content_type="message/rfc822")

    async def send(self, delivery: Delivery) -> Outcome:
        """Hand the stored mail over to those recipients who do not have it yet."""
        addresses = [mailbox.address for mailbox in self.settings.to_mailboxes]
        wanted = outstanding(delivery, addresses)
        outcomes: dict[str, Outcome] = {}
        session = SmtpSession(self._server)
        try:
            async with self._deadline(session):
                await self._hand_over(session, delivery, wanted, outcomes)
        except SmtpError as error:
            failure = self._outcome(error)
            if not outcomes and error.stage < SmtpStage.RECIPIENT:
                return failure  # it is about none of them
            outcomes |= {address: failure for address in wanted if address not in outcomes}
        return combined_outcome(delivery, addresses, outcomes)

    async def _hand_over(
        self, session: SmtpSession, delivery: Delivery, wanted: Sequence[str], outcomes: dict[str, Outcome]
    ) -> None:
        """Hand the mail over, and add to `outcomes` what comes of it for each address as soon as that is known.

        A server that hangs up on one recipient is connected to once more, for the others.
        """
        for _ in range(MOST_CONNECTIONS):
            left = [address for address in wanted if address not in outcomes]
            if not left:
                return
            async with session.connected():
                accepted = await self._name(session, left, outcomes)
                if accepted and session.open:
                    reply = await session.content(stored_body(delivery).content)
                    taken = self._with_reply(Delivered(message_id(delivery.id)), reply)
                    outcomes |= dict.fromkeys(accepted, taken)
        hung_up = Retry(f"{self.settings.host} hung up on other recipients")
        outcomes |= {address: hung_up for address in wanted if address not in outcomes}

    async def _name(
        self, session: SmtpSession, addresses: Sequence[str], outcomes: dict[str, Outcome]
    ) -> Collection[str]:
        """Name sender and recipients until the server hangs up; return those that it accepts."""
        await session.sender(self.settings.from_mailbox.address)
        for address in addresses:
            if refusal := await session.recipient(address):
                outcomes[address] = self._outcome(refusal)
            if not session.open:
                break
        return [address for address in addresses if address not in outcomes]

    async def check(self) -> Sequence[CheckResult]:
        """Connect, log in and name sender and recipients, then leave without a message."""
        addresses = [mailbox.address for mailbox in self.settings.to_mailboxes]
        refusals: dict[str, Outcome] = {}
        session = SmtpSession(self._server)
        try:
            async with self._deadline(session), session.connected():
                await self._name(session, addresses, refusals)
        except SmtpError as error:
            return [_finding(self._outcome(error))]
        return [_accepted(self.settings, refusals)]

    # -- what it is made of --

    @cached_property
    def _server(self) -> SubmissionServer:
        settings = self.settings
        return SubmissionServer(
            host=settings.host,
            port=settings.server_port,
            security=settings.security,
            helo=settings.helo or settings.from_mailbox.domain,
            connect=self._connect,
            tls=lambda: self.context.http.tls,
            username=settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
        )

    async def _connect(self, host: str, port: int) -> socket:
        from notifier.http import AddressRefused, HttpError  # noqa: PLC0415 - with the network stack

        try:
            return await self.context.http.connect(host, port)
        except AddressRefused as error:
            raise ServerUnusable(str(error), stage=SmtpStage.CONNECT) from error
        except HttpError as error:
            raise ConnectionLost(str(error), stage=SmtpStage.CONNECT) from error

    @asynccontextmanager
    async def _deadline(self, session: SmtpSession) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self.settings.timeout.total_seconds()):
                yield
        except TimeoutError as error:
            raise session.deadline_exceeded() from error

    def _outcome(self, error: SmtpError) -> Outcome:
        return self._with_reply(outcome_of_failure(error), error.reply)

    def _with_reply(self, outcome: Outcome, reply: SmtpReply | None) -> Outcome:
        return (
            replace(outcome, reply=reply_line(reply.name, reply.words, secrets=self._sent_secrets))
            if reply
            else outcome
        )

    @cached_property
    def _sent_secrets(self) -> Secrets:
        """The password in every way in which it is sent, for a server may repeat what it was told."""
        password, user = self._server.password, self._server.username
        if password is None:
            return Secrets()
        sent = (password, f"\0{user}\0{password}")
        return Secrets((password, *(b64encode(text.encode()).decode().rstrip("=") for text in sent)))


def _accepted(settings: EmailSettings, refusals: Mapping[str, Outcome]) -> CheckResult:
    if not refusals:
        return CheckResult(ok=True, what="email", detail=f"{settings.host} accepts the sender and every recipient")
    only_now = all(isinstance(outcome, Retry) for outcome in refusals.values())
    detail = "; ".join(f"{address}: {_words(outcome)}" for address, outcome in refusals.items())
    detail = f"{len(refusals)} of {len(settings.to)} recipients refused: {detail}"
    if only_now:
        return CheckResult(ok=True, what="email", detail=f"{detail}; that may pass", proven=False)
    return CheckResult(ok=False, what="email", detail=detail, remedy="correct `to`")


def _finding(outcome: Outcome) -> CheckResult:
    remedy = "check host, port, security, username and addresses"
    return CheckResult(ok=False, what="email", detail=_words(outcome), remedy=remedy)


def _words(outcome: Outcome) -> str:
    reason = "" if isinstance(outcome, Delivered) else outcome.reason
    said = (outcome.reply or "").partition(": ")[2]
    return f"{reason} ({said})" if said else reason
