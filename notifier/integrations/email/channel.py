"""The mail channel: submits each mail to a server (RFC 5321, 6409) and accounts for each recipient."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from socket import socket

from notifier.channels.base import PROBE_AFTER, stored_body
from notifier.channels.reply_text import Secrets, reply_line
from notifier.channels.templated import TemplatedChannel
from notifier.channels.templates import FilledTemplate
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
    """Return what a failed session means for the recipients without an outcome of their own.

    A temporary refusal is retried. A permanent one of the message is final; any other parks the channel until somebody
    corrects the settings or the mailbox. A connection lost after the message was sent leaves the outcome unknown.
    """
    match error:
        case CommandRefused() if error.reply.is_temporary:
            return Retry(str(error))
        case CommandRefused() if error.stage >= SmtpStage.DATA:
            return GaveUp(str(error))
        case ConnectionLost() if error.stage is SmtpStage.CONTENT:
            return Unknown(str(error))
        case ConnectionLost():
            return Retry(str(error))
    return Parked(str(error), PROBE_AFTER)


class EmailChannel(TemplatedChannel[EmailSettings]):
    """Submits mails, one on each connection. A repeat has the same Message-ID, for which some mail stores drop it."""

    kind = "email"
    multi_recipient = True
    storm_size = 1_000

    def escape(self, text: str) -> str:
        """Return the text: the text part has no markup, and the HTML part escapes whole lines."""
        return text

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the whole mail, headers included."""
        mail = message(request, self.settings, self.context.formatter, filled)
        return Body(content=mail.as_bytes(), content_type="message/rfc822")

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Submit the stored mail for the recipients who do not have it yet."""
        copies = self.settings.cc_mailboxes(RenderRequest.of(delivery).mention)
        addresses = [mailbox.address for mailbox in (*self.settings.to_mailboxes, *copies)]
        wanted = outstanding(delivery, addresses)
        outcomes: dict[str, Outcome] = {}
        session = SmtpSession(self._server)
        try:
            async with self._deadline(session):
                await self._submit(session, delivery, wanted, outcomes)
        except SmtpError as error:
            failure = self._outcome(error)
            if not outcomes and error.stage < SmtpStage.RECIPIENT:
                return failure  # it concerns the channel, not a recipient
            outcomes |= {address: failure for address in wanted if address not in outcomes}
        return combined_outcome(delivery, addresses, outcomes)

    async def _submit(
        self, session: SmtpSession, delivery: Delivery, wanted: Sequence[str], outcomes: dict[str, Outcome]
    ) -> None:
        """Submit the mail and collect the outcomes by address. Reconnect where the server hangs up on a recipient."""
        for _ in range(MOST_CONNECTIONS):
            left = [address for address in wanted if address not in outcomes]
            if not left:
                return
            async with session.connected():
                accepted = await self._announce(session, left, outcomes)
                if accepted and session.open:
                    reply = await session.content(stored_body(delivery).content)
                    taken = self._with_reply(Delivered(message_id(delivery.id)), reply)
                    outcomes |= dict.fromkeys(accepted, taken)
        hung_up = Retry(f"{self.settings.host} hung up on other recipients")
        outcomes |= {address: hung_up for address in wanted if address not in outcomes}

    async def _announce(
        self, session: SmtpSession, addresses: Sequence[str], outcomes: dict[str, Outcome]
    ) -> Collection[str]:
        """Announce sender and recipients until the server hangs up; return the recipients that it accepts."""
        await session.sender(self.settings.from_mailbox.address)
        for address in addresses:
            if refusal := await session.recipient(address):
                outcomes[address] = self._outcome(refusal)
            if not session.open:
                break
        return [address for address in addresses if address not in outcomes]

    async def check(self) -> Sequence[CheckResult]:
        """Connect, log in, announce sender and recipients, and quit without a message."""
        addresses = [mailbox.address for mailbox in self.settings.to_mailboxes]
        refusals: dict[str, Outcome] = {}
        session = SmtpSession(self._server)
        try:
            async with self._deadline(session), session.connected():
                await self._announce(session, addresses, refusals)
        except SmtpError as error:
            detail, remedy = _described(self._outcome(error)), "check host, port, security, username and addresses"
            return [CheckResult(ok=False, what="email", detail=detail, remedy=remedy)]
        return [_recipient_check(self.settings, refusals)]

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
        if reply is None:
            return outcome
        return replace(outcome, reply=reply_line(reply.name, reply.words, secrets=self._sent_secrets))

    @cached_property
    def _sent_secrets(self) -> Secrets:
        """The password in each encoding that is sent. A server may repeat it in a reply."""
        password, user = self._server.password, self._server.username
        if password is None:
            return Secrets()
        sent = (password, f"\0{user}\0{password}")
        return Secrets((password, *(b64encode(text.encode()).decode().rstrip("=") for text in sent)))


def _recipient_check(settings: EmailSettings, refusals: Mapping[str, Outcome]) -> CheckResult:
    if not refusals:
        return CheckResult(ok=True, what="email", detail=f"{settings.host} accepts the sender and every recipient")
    temporary = all(isinstance(outcome, Retry) for outcome in refusals.values())
    detail = "; ".join(f"{address}: {_described(outcome)}" for address, outcome in refusals.items())
    detail = f"{len(refusals)} of {len(settings.to)} recipients refused: {detail}"
    if temporary:
        return CheckResult(ok=True, what="email", detail=f"{detail}; that may pass", proven=False)
    return CheckResult(ok=False, what="email", detail=detail, remedy="correct `to`")


def _described(outcome: Outcome) -> str:
    reason = "" if isinstance(outcome, Delivered) else outcome.reason
    reply = (outcome.reply or "").partition(": ")[2]
    return f"{reason} ({reply})" if reply else reason
