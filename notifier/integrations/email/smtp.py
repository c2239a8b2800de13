"""A session with a mail submission server (RFC 5321, 6409).

aiosmtplib speaks the protocol. This adds the stage at which a session failed, which tells whether the message may have
been accepted; the next login mechanism where the server hangs up on one; and errors in plain words. A session has no
deadline of its own: the caller sets one.
"""

from __future__ import annotations

import re
import ssl
import tomllib
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

import aiosmtplib

if TYPE_CHECKING:
    from socket import socket

Security = Literal["starttls", "tls", "none"]


class SmtpStage(IntEnum):
    """The progress of a session."""

    CONNECT = 0
    GREETING = 1
    HELLO = 2
    STARTTLS = 3
    LOGIN = 4
    SENDER = 5
    RECIPIENT = 6
    DATA = 7
    """DATA was sent, and nothing of the message."""
    CONTENT = 8
    """The whole message was sent: the server may have accepted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpReply:
    """A status code with its text, of which each line is a line of the reply."""

    code: int
    text: str

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code (RFC 2034) at the beginning of the text, such as `5.4.5`."""
        found = _ENHANCED.match(self.text)
        return found[0].removeprefix("#") if found else None

    @property
    def words(self) -> str:
        """The text without the enhanced code, which each line repeats."""
        return "\n".join(_ENHANCED.sub("", line, count=1).strip() for line in self.text.splitlines())

    @property
    def name(self) -> str:
        """The codes as people write them: `SMTP 550 5.4.5`."""
        return " ".join(filter(None, (f"SMTP {self.code}", self.enhanced)))

    @property
    def is_temporary(self) -> bool:
        """Whether the server may accept the same command later."""
        if 400 <= self.code < 500:  # noqa: PLR2004 - the transient class of replies
            return True
        enhanced = _ENHANCED.match(self.text)
        if enhanced is None:
            return bool(_codes().texts.search(self.text))
        class_, subject, detail = enhanced.groups()
        if class_ == "4" or _codes().is_temporary(subject, detail):
            return True
        return subject == "7" and bool(_codes().texts.search(self.text))


_ENHANCED = re.compile(r"#?([245])\.(\d{1,3})\.(\d{1,3})(?!\d|\.\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Codes:
    """The content of `smtp_codes.toml`."""

    later: frozenset[str]
    final: frozenset[str]
    texts: re.Pattern[str]

    def is_temporary(self, subject: str, detail: str) -> bool:
        code = f"{subject}.{detail}"
        return code in self.later or (f"{subject}.*" in self.later and code not in self.final)


@cache
def _codes() -> _Codes:
    tables = tomllib.loads(files(__package__).joinpath("smtp_codes.toml").read_text("utf-8"))
    later, final = (frozenset(code for entry in tables[key] for code in entry["codes"]) for key in ("later", "final"))
    texts = "|".join(pattern for entry in tables["texts"] for pattern in entry["patterns"])
    return _Codes(later=later, final=final, texts=re.compile(texts, re.IGNORECASE))


class SmtpError(Exception):
    """The session failed. The message is a sentence of ours without any words of the server."""

    def __init__(self, message: str, *, stage: SmtpStage, reply: SmtpReply | None = None) -> None:
        super().__init__(message)
        self.stage = stage
        self.reply = reply


class CommandRefused(SmtpError):
    """The server refused a command."""

    reply: SmtpReply


class ConnectionLost(SmtpError):
    """No reply, no connection, or a reply that is not SMTP."""


class ServerUnusable(SmtpError):
    """The server cannot be used with these settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionServer:
    """A submission server, and how to connect and log in to it."""

    host: str
    port: int
    security: Security
    helo: str
    """The name sent with EHLO."""
    connect: Callable[[str, int], Awaitable[socket]]
    """Opens a connection. Raises OSError."""
    tls: Callable[[], ssl.SSLContext]
    """Called where `security` wants TLS."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)


class SmtpSession:
    """Connections to one server, one after the other; `stage` is the progress of the current one.

    Raises SmtpError for every error of the library and of the network. For a deadline of the caller see
    `deadline_exceeded`.
    """

    def __init__(self, server: SubmissionServer) -> None:
        """Connect with `connected`, as often as needed."""
        self.server = server
        self.stage = SmtpStage.CONNECT
        self._smtp = aiosmtplib.SMTP(start_tls=False)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Connect and log in; at the end quit and close the connection."""
        try:
            with self._translated():
                await self._open()
                yield
            with suppress(aiosmtplib.SMTPException):
                if self._smtp.protocol:  # no reply is awaited: waiting could lose the outcome of the message
                    self._smtp.protocol.write(b"QUIT\r\n")
        finally:
            self._smtp.close()

    def deadline_exceeded(self) -> ConnectionLost:
        """Return the error of a session that a deadline ended at the current stage."""
        return ConnectionLost(f"no answer from {self.server.host} in time{self._tls_hint()}", stage=self.stage)

    @property
    def open(self) -> bool:
        """False once the server has hung up."""
        return self._smtp.is_connected

    async def sender(self, address: str) -> None:
        """Announce the sender."""
        self.stage = SmtpStage.SENDER
        await self._smtp.mail(address)

    async def recipient(self, address: str) -> SmtpError | None:
        """Announce a recipient; return the refusal, if any. The server may have hung up with it."""
        self.stage = SmtpStage.RECIPIENT
        try:
            with self._translated():
                await self._smtp.rcpt(address)
        except SmtpError as error:
            return error
        return None

    async def content(self, content: bytes) -> SmtpReply:
        """Send the message and return the reply of the server."""
        self.stage = SmtpStage.DATA
        go_ahead = await self._smtp.execute_command(b"DATA")
        protocol = self._smtp.protocol
        if go_ahead.code != aiosmtplib.SMTPStatus.start_input or protocol is None:
            raise aiosmtplib.SMTPDataError(go_ahead.code, go_ahead.message)
        protocol.write(_as_data(content))
        self.stage = SmtpStage.CONTENT
        answer = await protocol.read_response()
        if not 200 <= answer.code < 300:  # noqa: PLR2004 - the class of success
            raise aiosmtplib.SMTPDataError(answer.code, answer.message)
        return SmtpReply(code=answer.code, text=answer.message)

    # -- connecting --

    async def _open(self) -> None:
        """Connect, greet, encrypt and log in, trying the mechanisms that the server offers until one works."""
        tried: dict[str, aiosmtplib.SMTPException] = {}
        await self._connect()
        while self.server.username is not None and not await self._log_in(tried):
            self._smtp.close()  # the server hung up on one mechanism, and there is another
            await self._connect()

    async def _connect(self) -> None:
        self.stage = SmtpStage.CONNECT
        server = self.server
        tls = None if server.security == "none" else server.tls()
        opened = await server.connect(server.host, server.port)
        self.stage = SmtpStage.GREETING
        self._smtp = aiosmtplib.SMTP(
            hostname=server.host,
            sock=opened,
            local_hostname=server.helo,
            timeout=None,
            use_tls=server.security == "tls",
            start_tls=False,
            tls_context=tls,
        )
        try:
            await self._smtp.connect()
        except BaseException:
            opened.close()
            raise
        await self._hello()
        if server.security == "starttls":
            self.stage = SmtpStage.STARTTLS
            if not self._smtp.supports_extension("starttls"):
                raise ServerUnusable(f"{server.host} does not offer STARTTLS", stage=self.stage)
            await self._smtp.starttls()
            await self._hello()

    async def _hello(self) -> None:
        self.stage = SmtpStage.HELLO
        try:
            await self._smtp.ehlo()
        except aiosmtplib.SMTPHeloError as error:
            if not self.open or 400 <= error.code < 500:  # noqa: PLR2004 - the transient class of replies
                raise
            await self._smtp.helo()

    async def _log_in(self, tried: dict[str, aiosmtplib.SMTPException]) -> bool:
        """Log in. Return False where the server hung up and another mechanism is left."""
        self.stage = SmtpStage.LOGIN
        offered = [mechanism for mechanism in _MECHANISMS if mechanism in self._smtp.server_auth_methods]
        if not offered and not tried:
            known = ", ".join(_MECHANISMS).upper()
            what = f"{self.server.host} offers no way to log in that is known here: {known}"
            raise ServerUnusable(what, stage=self.stage)
        first = True
        for mechanism in [mechanism for mechanism in offered if mechanism not in tried]:
            if not self.open:
                return False
            try:
                await _MECHANISMS[mechanism](self._smtp, self.server.username or "", self.server.password or "")
            except aiosmtplib.SMTPAuthenticationError as error:
                tried[mechanism] = error
            except aiosmtplib.SMTPServerDisconnected as error:
                if not first:
                    return False  # it hung up after the previous mechanism
                tried[mechanism] = error
            else:
                return True
            first = False
        raise min(tried.values(), key=_error_rank)

    # -- errors --

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn errors of the library and of the network into SmtpError."""
        try:
            yield
        except aiosmtplib.SMTPResponseException as error:
            raise self._refusal(SmtpReply(code=error.code, text=error.message)) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise ConnectionLost(self._loss(error), stage=self.stage) from error

    def _refusal(self, reply: SmtpReply) -> SmtpError:
        if 400 <= reply.code < 600:  # noqa: PLR2004 - the classes of refusals
            what = _REFUSALS.get(self.stage, "the server refuses service")
            return CommandRefused(f"{reply.name}: {what}", stage=self.stage, reply=reply)
        return ConnectionLost(f"{self.server.host} does not answer in SMTP{self._tls_hint()}", stage=self.stage)

    def _loss(self, error: Exception) -> str:
        host, causes = self.server.host, list(_causes(error))
        if certificate := next((cause for cause in causes if isinstance(cause, ssl.SSLCertVerificationError)), None):
            from notifier.http.errors import certificate_problem  # noqa: PLC0415 - with the network stack

            return f"certificate of {host} not accepted ({certificate_problem(certificate)})"
        if tls := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
            plain = self.server.security == "tls" and tls.reason in _NOT_TLS
            hint = f": port {self.server.port} does not answer in TLS; set `security: starttls`, or none"
            return f"no TLS with {host}{hint if plain else ''}"
        return f"connection to {host} lost {_WHEN[self.stage]}{self._tls_hint()}"

    def _tls_hint(self) -> str:
        """Return a hint for a server that does not greet: its port may expect TLS from the first byte."""
        if self.stage is not SmtpStage.GREETING or self.server.security == "tls":
            return ""
        return f"; if port {self.server.port} speaks TLS from the first byte, as 465 does, set `security: tls`"


def _as_data(content: bytes) -> bytes:
    """Return content as DATA wants it: leading dots doubled, a line with one dot at the end (RFC 5321, 4.5.2)."""
    ended = content if content.endswith(b"\r\n") else content + b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", ended) + b".\r\n"


def _error_rank(error: aiosmtplib.SMTPException) -> int:
    """Rank errors of a login: temporary refusals first, then permanent ones, then lost connections."""
    code = getattr(error, "code", 0)
    return code if 400 <= code < 600 else 600  # noqa: PLR2004 - the classes of refusals


# ---- login mechanisms ----


async def _login(smtp: aiosmtplib.SMTP, username: str, password: str) -> None:
    """Answer two prompts. The user name is not sent with the command: not every server accepts it there."""
    answer = await smtp.execute_command(b"AUTH", b"LOGIN")
    for secret in (username, password):
        if answer.code != aiosmtplib.SMTPStatus.auth_continue:
            break
        answer = await smtp.execute_command(b64encode(secret.encode()))
    if answer.code != aiosmtplib.SMTPStatus.auth_successful:
        raise aiosmtplib.SMTPAuthenticationError(answer.code, answer.message)


async def _cram_md5(smtp: aiosmtplib.SMTP, username: str, password: str) -> None:
    try:
        await smtp.auth_crammd5(username, password)
    except ValueError as error:  # a Python without MD5, as some are built
        raise aiosmtplib.SMTPAuthenticationError(504, "no MD5 here") from error


_LogIn = Callable[[aiosmtplib.SMTP, str, str], Awaitable[object]]
_MECHANISMS: dict[str, _LogIn] = {"plain": aiosmtplib.SMTP.auth_plain, "login": _login, "cram-md5": _cram_md5}
"""Most common first. All go over TLS, or to this machine."""


# ---- words of errors ----

_REFUSALS = {
    SmtpStage.LOGIN: "login refused",
    SmtpStage.SENDER: "sender refused",
    SmtpStage.RECIPIENT: "recipient refused",
    SmtpStage.DATA: "message refused",
    SmtpStage.CONTENT: "message refused",
}
_WHEN = {
    SmtpStage.CONNECT: "before anything was sent",
    SmtpStage.GREETING: "before it greeted",
    SmtpStage.HELLO: "at the greeting",
    SmtpStage.STARTTLS: "while encrypting it",
    SmtpStage.LOGIN: "while logging in",
    SmtpStage.SENDER: "when the sender was named",
    SmtpStage.RECIPIENT: "when recipients were named",
    SmtpStage.DATA: "before the message was handed over",
    SmtpStage.CONTENT: "after the message was handed over",
}
_NOT_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "UNKNOWN_PROTOCOL", "HTTP_REQUEST"}
)
"""Reasons that versions of OpenSSL give for a reply that is not TLS."""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    cause: BaseException | None = error
    while cause:
        yield cause
        cause = cause.__cause__
