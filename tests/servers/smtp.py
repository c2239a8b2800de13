"""Mail servers on loopback: one that keeps to the protocol (aiosmtpd), and one that breaks it as it is told."""

from __future__ import annotations

import asyncio
import re
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

LOST = "lost"
"""A scripted reply: cut the connection instead."""
TAKEN_AND_LOST = "taken and lost"
"""A scripted reply to DATA: take the mail, then cut the connection instead of saying so."""
SILENT = "silent"
"""A scripted reply: never answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail that was taken."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    encrypted: bool
    user: str | None


class SmtpServer:
    """`async with SmtpServer() as server:` listens on a free port; `server.mails` is what it took.

    `replies` scripts refusals by command, for a recipient by address: `{"DATA": "452 full", "RCPT a@b": "550 no"}`.
    With `users` only they may send.
    """

    def __init__(
        self,
        *,
        starttls: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        users: Mapping[str, str] | None = None,
        replies: Mapping[str, str] | None = None,
    ) -> None:
        self.mails: list[Mail] = []
        self.connections = 0
        self._tls = tls
        self._users = users
        self._replies = dict(replies or {})
        self._options: dict[str, Any] = {
            "hostname": "mail.test",
            "tls_context": starttls,
            "require_starttls": starttls is not None,
            "auth_require_tls": starttls is not None,
        }
        if users is not None:
            self._options |= {"authenticator": self._authenticate}
        self._sessions: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._session, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._sessions:
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    def _session(self) -> SMTP:
        self.connections += 1
        return _TrackedSession(self._sessions, self, loop=asyncio.get_running_loop(), **self._options)

    def _authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> Any:
        assert self._users is not None
        assert isinstance(data, LoginPassword)
        known = self._users.get(data.login.decode()) == data.password.decode()
        return AuthResult(success=known, handled=False, auth_data=data.login.decode())

    # -- hooks of aiosmtpd --

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self._users is not None and not session.authenticated:
            return "530 5.7.0 Authentication required"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return await self._say("MAIL", server)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        answer = await self._say(f"RCPT {address}", server)
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - the same
        answer = await self._say("DATA", server)
        if answer.startswith("250") or answer == TAKEN_AND_LOST:
            self.mails.append(_mail(server, session, envelope))
        return answer

    async def _say(self, command: str, server: SMTP) -> str:
        answer = self._replies.get(command, "250 OK")
        if answer == SILENT:
            await asyncio.Event().wait()
        if answer in (LOST, TAKEN_AND_LOST):
            cast("asyncio.Transport", server.transport).abort()  # uvloop's is one that does not derive from it
        return answer


class _TrackedSession(SMTP):
    """One connection, whose task the server can cancel when it stops."""

    def __init__(self, tasks: set[asyncio.Task[None]], handler: SmtpServer, **options: Any) -> None:
        self._tasks = tasks
        super().__init__(handler, **options)

    async def _handle_client(self) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await super()._handle_client()


def _mail(server: SMTP, session: Session, envelope: Envelope) -> Mail:
    assert isinstance(envelope.content, bytes)
    assert server.transport
    return Mail(
        sender=envelope.mail_from or "",
        recipients=tuple(envelope.rcpt_tos),
        content=envelope.content,
        encrypted=server.transport.get_extra_info("sslcontext") is not None,
        user=session.auth_data,
    )


@asynccontextmanager
async def greeter(greeting: bytes) -> AsyncIterator[int]:
    """Listen on a port where whoever connects gets `greeting` and nothing else."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class RawSmtpServer:
    """Speaks what it is told to, by the beginning of a command; `GREETING` and `CONTENT` are commands too.

    `{"RCPT TO:<b@": "451 4.7.1 later"}` answers so each time, `{"DATA": [LOST, "354 go on"]}` once the one and then the
    other. An answer of 421 hangs up. `transcript` is what it heard, connection by connection.
    """

    def __init__(
        self,
        replies: Mapping[str, str | Sequence[str]] | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self.transcript: list[list[str]] = []
        self.mails: list[Mail] = []
        self._tls = tls
        self._replies = {
            command: [reply] if isinstance(reply, str) else list(reply) for command, reply in (replies or {}).items()
        }
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        patience = 0.3 if self._tls else None
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._tls, ssl_handshake_timeout=patience
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def recipients(self) -> list[tuple[str, ...]]:
        """The recipients of each mail that was taken."""
        return [mail.recipients for mail in self.mails]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        heard: list[str] = []
        self.transcript.append(heard)
        try:
            await self._converse(reader, writer, heard)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # it ends, whoever ended it
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[str]) -> None:
        accepted: list[str] = []
        sender = ""
        going = await self._answer(writer, "GREETING", "220 mail.test ESMTP")
        while going and (line := await reader.readline()):
            command = line.decode().rstrip("\r\n")
            heard.append(command)
            reply = await self._answer(writer, command, _usual(command))
            if command.startswith("MAIL FROM:"):
                accepted, sender = [], command.partition(":")[2].strip("<>")
            elif command.startswith("RCPT TO:") and reply.startswith("25"):
                accepted.append(command.partition(":")[2].strip("<>"))
            elif command.startswith("AUTH") and reply.startswith("334"):
                reply = await self._questions(reader, writer, heard, 2 if command == "AUTH LOGIN" else 1)
            elif command == "DATA" and reply.startswith("354"):
                content = await reader.readuntil(b"\r\n.\r\n")
                reply = await self._answer(writer, "CONTENT", "250 2.0.0 queued as 4711")
                if reply.startswith("250") or reply == TAKEN_AND_LOST:
                    told = re.sub(rb"(?m)^\.", b"", content.removesuffix(b".\r\n"))
                    self.mails.append(
                        Mail(
                            sender=sender,
                            recipients=tuple(accepted),
                            content=told,
                            encrypted=self._tls is not None,
                            user=None,
                        )
                    )
            going = reply if command != "QUIT" and not reply.startswith("421") else ""
            going = "" if reply in (LOST, TAKEN_AND_LOST) else going

    async def _questions(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[str], count: int
    ) -> str:
        """Hear what a way to log in asks for, and say what the script says about each answer."""
        reply = "334 "
        for left in reversed(range(count)):
            if reply.startswith("334"):
                answer = (await reader.readline()).decode().strip()
                heard.append(answer)
                usual = "334 UGFzc3dvcmQ6" if left else "235 2.7.0 welcome"
                reply = await self._answer(writer, f"ANSWER {b64decode(answer).decode()}", usual)
        return reply

    async def _answer(self, writer: asyncio.StreamWriter, command: str, usual: str) -> str:
        script = next((script for start, script in self._replies.items() if command.startswith(start)), [usual])
        reply = script.pop(0) if len(script) > 1 else script[0]
        if reply == SILENT:
            await asyncio.Event().wait()
        if reply in (LOST, TAKEN_AND_LOST):
            writer.transport.abort()
            return reply
        writer.write(reply.replace("\n", "\r\n").encode() + b"\r\n")
        await writer.drain()
        return reply


_USUAL = {
    "EHLO": "250-mail.test\n250-AUTH PLAIN LOGIN CRAM-MD5\n250 ENHANCEDSTATUSCODES",
    "AUTH PLAIN": "235 2.7.0 welcome",
    "AUTH": "334 PDEyMzRAbWFpbC50ZXN0Pg==",
    "DATA": "354 go on",
    "QUIT": "221 bye",
}


def _usual(command: str) -> str:
    return next((reply for start, reply in _USUAL.items() if command.startswith(start)), "250 2.0.0 OK")
