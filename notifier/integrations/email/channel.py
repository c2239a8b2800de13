"""Sends mail to a submission server (RFC 5321, 6409), with a text and an HTML part, one thread for each task."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from socket import socket

from notifier.channels.base import PROBE_AFTER, BaseChannel, stored_body
from notifier.channels.reply_text import Secrets, reply_line
from notifier.core.delivery import Body, Delivered, Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.recipients import combined_outcome, outstanding
from notifier.http import AddressRefused, HttpError
from notifier.integrations.email.message import message, message_id
from notifier.integrations.email.settings import EmailSettings
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

MOST_CONNECTIONS = 5
"""Maximum connections of one attempt, where the server hangs up on a recipient that it refuses."""


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
    Settings = EmailSettings
    multi_recipient = True

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
