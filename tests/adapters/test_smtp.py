"""What a mail server can do at every step of a conversation, over sockets, and what each of it comes to."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aiohappyeyeballs import AddrInfoType
from factories import make_delivery, make_render_request
from fakes import FakeClock
from servers.smtp import LOST, SILENT, TAKEN_AND_LOST, RawSmtpServer, SmtpServer
from servers.tls import Certificate

from notifier.channels.base import PROBE_AFTER, ChannelContext
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.http import HttpClient, sockets
from notifier.integrations.email.channel import EmailChannel
from notifier.integrations.email.settings import EmailSettings
from notifier.integrations.email.smtp import SmtpReply
from notifier.wording.localizer import Localizer

pytestmark = pytest.mark.both_loops

A, B, C = "a@example.com", "b@example.com", "c@example.com"
USER, PASSWORD = "notifier", "obviously-fake-password"
PLAIN = b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    async with aclosing(HttpClient()) as http:
        yield ChannelContext(http=http, clock=FakeClock(), localizer=Localizer(language="en", timezone=ZoneInfo("UTC")))


def make_channel(context: ChannelContext, port: int, **changes: Any) -> EmailChannel:
    values = {"host": "127.0.0.1", "port": port, "security": "none", "from": "gaussdb@example.com", "to": [A, B]}
    return EmailChannel(EmailSettings.model_validate({"name": "mail", "kind": "email"} | values | changes), context)


def rendered(channel: EmailChannel) -> Delivery:
    return make_delivery(channel="mail", body=channel.render(make_render_request(channel="mail")))


async def outcome(context: ChannelContext, server: RawSmtpServer | SmtpServer, **changes: Any) -> Outcome:
    channel = make_channel(context, server.port, **changes)
    return await channel.send(rendered(channel))


def after(delivery: Delivery, got: Outcome) -> Delivery:
    """Return the delivery as the next attempt finds it."""
    assert not isinstance(got, Delivered)
    assert got.recipients is not None
    return replace(delivery, recipients=got.recipients)


# ---- who gets it ----


class TestRecipients:
    @pytest.mark.parametrize("refusal", ["451 4.7.1 greylisted", "452 4.5.3 too many", "421 4.3.2 closing", LOST])
    async def test_a_recipient_refused_for_now_is_retried_alone(self, context: ChannelContext, refusal: str) -> None:
        async with RawSmtpServer({f"RCPT TO:<{B}>": [refusal, "250 2.1.5 OK"]}) as server:
            channel = make_channel(context, server.port)
            delivery = rendered(channel)
            first = await channel.send(delivery)
            assert isinstance(first, Retry)
            assert first.reason.startswith(f"1 of 2 recipients have it; {B}: ")
            assert server.recipients == [(A,)]
            second = await channel.send(after(delivery, first))
        assert isinstance(second, Delivered)
        assert server.recipients == [(A,), (B,)]
        assert len({mail.content for mail in server.mails}) == 1

    async def test_one_refused_for_good_is_a_dead_letter_that_names_it(self, context: ChannelContext) -> None:
        async with RawSmtpServer({f"RCPT TO:<{B}>": "550 5.1.1 no such user"}) as server:
            got = await outcome(context, server, to=[A, B, C])
        assert server.recipients == [(A, C)]
        assert isinstance(got, GaveUp)
        assert got.reason == f"2 of 3 recipients have it; {B}: SMTP 550 5.1.1: recipient refused"
        assert got.reply == "SMTP 550 5.1.1: no such user"

    async def test_all_refused_for_good_park_the_channel(self, context: ChannelContext) -> None:
        async with RawSmtpServer({"RCPT": "550 5.7.1 relaying denied"}) as server:
            got = await outcome(context, server)
        assert isinstance(got, Parked)
        assert (got.reason, got.probe_after) == ("all recipients: SMTP 550 5.7.1: recipient refused", PROBE_AFTER)
        assert not any("DATA" in heard for heard in server.transcript)

    async def test_a_lost_answer_leaves_only_its_own_recipients_unknown(self, context: ChannelContext) -> None:
        script = {f"RCPT TO:<{B}>": "451 later", "CONTENT": TAKEN_AND_LOST}
        async with RawSmtpServer(script) as server:
            got = await outcome(context, server)
        assert isinstance(got, Retry)
        assert [(one.address, str(one.state)) for one in got.recipients or ()] == [(A, "unknown"), (B, "waiting")]

    async def test_a_permanent_refusal_affects_only_its_own_recipients(self, context: ChannelContext) -> None:
        async with RawSmtpServer({f"RCPT TO:<{B}>": "451 later", "CONTENT": "554 5.6.0 no"}) as server:
            got = await outcome(context, server)
        assert isinstance(got, Retry)
        assert [(one.address, str(one.state)) for one in got.recipients or ()] == [(A, "refused"), (B, "waiting")]

    async def test_a_server_that_hangs_up_on_everybody_is_left_alone(self, context: ChannelContext) -> None:
        async with RawSmtpServer({"RCPT": "421 4.3.2 go away"}) as server:
            got = await outcome(context, server, to=[f"user{number}@example.com" for number in range(20)])
        assert isinstance(got, Retry)
        assert len(server.transcript) == 5

    async def test_without_outstanding_recipients_it_does_not_connect(self, context: ChannelContext) -> None:
        async with RawSmtpServer({f"RCPT TO:<{B}>": "550 no"}) as server:
            channel = make_channel(context, server.port)
            delivery = rendered(channel)
            first = await channel.send(delivery)
            second = await channel.send(after(delivery, first))
        assert isinstance(second, GaveUp)
        assert len(server.transcript) == 1

    async def test_a_failed_connection_changes_nothing_on_record(self, context: ChannelContext) -> None:
        async with RawSmtpServer({f"RCPT TO:<{B}>": "451 later"}) as server:
            channel = make_channel(context, server.port)
            delivery = rendered(channel)
            first = await channel.send(delivery)
        assert await channel.send(after(delivery, first)) == Retry("connection refused by 127.0.0.1")


# ---- where it broke ----

BEFORE = ["GREETING", "EHLO", "AUTH", "MAIL", "RCPT", "DATA"]
"""Every step at which nothing of the message has been sent."""


def login(step: str) -> dict[str, str]:
    return {"username": USER, "password": PASSWORD} if step == "AUTH" else {}


class TestStages:
    @pytest.mark.parametrize("on_unknown", ["resend", "hold"])
    @pytest.mark.parametrize("how", [LOST, "421 4.3.2 shutting down", "451 4.3.0 later"])
    @pytest.mark.parametrize("step", BEFORE)
    async def test_what_was_not_handed_over_is_tried_again(
        self, context: ChannelContext, step: str, how: str, on_unknown: str
    ) -> None:
        async with RawSmtpServer({step: how}) as server:
            got = await outcome(context, server, on_unknown=on_unknown, **login(step))
        assert isinstance(got, Retry), got
        assert server.mails == []

    @pytest.mark.parametrize("step", BEFORE)
    async def test_silence_before_it_was_handed_over_is_tried_again(self, context: ChannelContext, step: str) -> None:
        async with RawSmtpServer({step: SILENT}) as server:
            got = await outcome(context, server, timeout=timedelta(milliseconds=200), **login(step))
        assert isinstance(got, Retry), got
        assert "no answer from 127.0.0.1 in time" in got.reason

    @pytest.mark.parametrize("how", [LOST, TAKEN_AND_LOST, SILENT, "what?"])
    async def test_no_answer_after_it_was_handed_over_is_unknown(self, context: ChannelContext, how: str) -> None:
        async with RawSmtpServer({"CONTENT": how}) as server:
            got = await outcome(context, server, timeout=timedelta(seconds=3))
        assert isinstance(got, Unknown), got

    @pytest.mark.parametrize(
        ("how", "kind"),
        [("421 closing", Retry), ("451 later", Retry), ("552 5.2.2 full", Retry), ("554 5.7.1 spam", GaveUp)],
    )
    async def test_an_answer_to_the_message_decides(self, context: ChannelContext, how: str, kind: type) -> None:
        async with RawSmtpServer({"CONTENT": how}) as server:
            got = await outcome(context, server)
        assert isinstance(got, kind), got

    @pytest.mark.parametrize("how", [LOST, SILENT, "421 bye"])
    async def test_an_error_after_success_changes_no_outcome(self, context: ChannelContext, how: str) -> None:
        async with RawSmtpServer({"QUIT": how}) as server:
            got = await outcome(context, server)
        assert isinstance(got, Delivered)

    async def test_dots_at_the_beginning_of_lines_arrive_as_they_are(self, context: ChannelContext) -> None:
        async with RawSmtpServer() as server:
            channel = make_channel(context, server.port)
            delivery = rendered(channel)
            assert delivery.body
            body = replace(delivery.body, content=b".\r\n..x\r\n" + delivery.body.content)
            assert isinstance(await channel.send(replace(delivery, body=body)), Delivered)
        assert server.mails[0].content == body.content

    async def test_a_server_that_knows_no_ehlo_is_greeted_as_of_old(self, context: ChannelContext) -> None:
        async with RawSmtpServer({"EHLO": "502 5.5.1 not implemented"}) as server:
            assert isinstance(await outcome(context, server), Delivered)
        assert server.transcript[0][1] == "HELO example.com"


# ---- codes ----


class TestCodes:
    @pytest.mark.parametrize(
        ("code", "text"),
        [
            (550, "5.4.5 Daily user sending limit exceeded"),
            (550, "5.4.5-Daily\n5.4.5 limit"),
            (552, "5.2.2 mailbox full"),
            (550, "4.2.1 later"),
            (554, "5.3.0 other"),
            (554, "5.3.1 full"),
            (554, "5.3.2 not now"),
            (554, "5.3.5 misconfigured"),
            (550, "5.4.3 directory"),
            (550, "5.5.3 too many recipients"),
            (550, "5.7.28 flood"),
            (550, "5.7.233 tenant limit"),
            (550, "5.1.90 daily limit"),
            (550, "5.7.1 Our system has detected an unusual rate of mail"),
            (550, "Connection frequency limited"),
            (550, "#5.2.2 full"),
            (552, "Too many recipients"),
            (550, "Mailbox is full"),
            (552, "Requested mail action aborted: exceeded storage allocation"),
            (552, "insufficient system storage"),
            (552, "mailbox is over quota"),
            (451, "5.7.1 no"),
            (421, ""),
        ],
    )
    def test_it_passes(self, code: int, text: str) -> None:
        assert SmtpReply(code=code, text=text).is_temporary

    @pytest.mark.parametrize(
        ("code", "text"),
        [
            (550, "5.1.1 no such user"),
            (550, "#5.1.0 address rejected"),
            (550, "5.2.1 disabled"),
            (552, "5.3.4 message too big"),
            (554, "5.3.3 not capable"),
            (550, "5.7.1 relaying denied"),
            (550, "5.4.1 access denied"),
            (550, "5.4.50 unknown"),
            (550, "5.22.2 unknown"),
            (550, "15.4.5 unknown"),
            (535, "5.7.8 bad credentials"),
            (554, "message size exceeds the limit"),
            (550, ""),
        ],
    )
    def test_it_is_final(self, code: int, text: str) -> None:
        assert not SmtpReply(code=code, text=text).is_temporary

    @pytest.mark.parametrize("step", ["GREETING", "AUTH", "MAIL", "RCPT", "DATA", "CONTENT"])
    async def test_it_passes_at_every_step(self, context: ChannelContext, step: str) -> None:
        async with RawSmtpServer({step: "550 5.4.5 Daily user sending limit exceeded"}) as server:
            got = await outcome(context, server, **login(step))
        assert isinstance(got, Retry), got
        assert got.reply == "SMTP 550 5.4.5: Daily user sending limit exceeded"


# ---- what the server said ----


class TestReplies:
    async def test_the_servers_reply_to_a_message_is_kept(self, context: ChannelContext) -> None:
        async with RawSmtpServer() as server:
            got = await outcome(context, server)
        assert got.reply == "SMTP 250 2.0.0: queued as 4711"

    @pytest.mark.parametrize(
        "echo", [PASSWORD, PLAIN, b64encode(PASSWORD.encode()).decode(), PLAIN.rstrip("=")[:40] + PLAIN[40:]]
    )
    async def test_no_password_is_kept_whatever_it_repeats(self, context: ChannelContext, echo: str) -> None:
        async with RawSmtpServer({"AUTH": f"535 5.7.8 you said {echo}, which is wrong"}) as server:
            channel = make_channel(context, server.port, username=USER, password=PASSWORD)
            got = await channel.send(rendered(channel))
            (finding,) = await channel.check()
        assert isinstance(got, Parked)
        assert "which is wrong" in (got.reply or "")
        for said in (repr(got), repr(finding)):
            assert PASSWORD not in said
            assert PLAIN[:20] not in said
            assert b64encode(PASSWORD.encode()).decode()[:16] not in said

    async def test_a_long_reply_is_cut_and_made_harmless(self, context: ChannelContext) -> None:
        said = "\n".join(f"550-5.7.1 line {number} \x1b[31m\u202e" for number in range(90)) + "\n550 5.7.1 end"
        async with RawSmtpServer({"CONTENT": said}) as server:
            reply = (await outcome(context, server)).reply or ""
        assert reply.startswith("SMTP 550 5.7.1: line 0 line 1 ")
        assert len(reply) <= 330
        assert not set(reply) & set("\x1b\u202e\n")


# ---- getting in ----


class TestLogin:
    async def try_to(
        self, context: ChannelContext, offered: str, script: Mapping[str, str | Sequence[str]]
    ) -> tuple[Outcome, list[list[str]]]:
        greeting = {"EHLO": f"250-mail.test\n250 AUTH {offered}"}
        async with RawSmtpServer(greeting | dict(script)) as server:
            return await outcome(context, server, username=USER, password=PASSWORD), server.transcript

    async def test_login_without_a_user_name_in_the_command(self, context: ChannelContext) -> None:
        script = {
            "AUTH LOGIN ": "501 5.5.2 no argument",
            "AUTH LOGIN": "334 VXNlcm5hbWU6",
            f"ANSWER {USER}": "334 UGFzc3dvcmQ6",
        }
        got, (heard,) = await self.try_to(context, "LOGIN", script)
        assert isinstance(got, Delivered)
        assert heard[1:4] == ["AUTH LOGIN", b64encode(USER.encode()).decode(), b64encode(PASSWORD.encode()).decode()]

    @pytest.mark.parametrize("how", [LOST, "421 4.7.0 closing", "500 what", "535 5.7.8 no"])
    @pytest.mark.parametrize(("first", "then"), [("PLAIN", "LOGIN"), ("PLAIN", "CRAM-MD5"), ("LOGIN", "CRAM-MD5")])
    async def test_where_one_way_does_not_work_the_next_is_tried(
        self, context: ChannelContext, first: str, then: str, how: str
    ) -> None:
        got, transcript = await self.try_to(context, f"{then} {first}", {f"AUTH {first}": how})
        assert isinstance(got, Delivered)
        assert len(transcript) == (2 if how in (LOST, "421 4.7.0 closing") else 1)

    async def test_a_server_that_hangs_up_in_the_middle_of_cram_md5(self, context: ChannelContext) -> None:
        script = {"AUTH CRAM-MD5": "334 PDE+", "ANSWER": LOST}
        got, transcript = await self.try_to(context, "CRAM-MD5", script)
        assert isinstance(got, Retry)
        assert len(transcript) == 1

    async def test_every_way_that_is_refused_is_tried_once(self, context: ChannelContext) -> None:
        got, transcript = await self.try_to(context, "PLAIN LOGIN CRAM-MD5", {"AUTH": "535 5.7.8 no"})
        assert isinstance(got, Parked)
        ways = [line.split()[1] for heard in transcript for line in heard if line.startswith("AUTH")]
        assert sorted(ways) == ["CRAM-MD5", "LOGIN", "PLAIN"]

    async def test_no_way_that_is_known_here(self, context: ChannelContext) -> None:
        got, _ = await self.try_to(context, "GSSAPI", {})
        assert got == Parked(
            "127.0.0.1 offers no way to log in that is known here: PLAIN, LOGIN, CRAM-MD5", PROBE_AFTER
        )

    async def test_the_name_that_it_greets_with(self, context: ChannelContext) -> None:
        async with RawSmtpServer() as server:
            await outcome(context, server)
            await outcome(context, server, helo="notifier.corp.example")
        assert [heard[0] for heard in server.transcript] == ["EHLO example.com", "EHLO notifier.corp.example"]


# ---- ports, TLS and addresses ----


def named(*found: str) -> Callable[..., Awaitable[list[AddrInfoType]]]:
    """Return what finds these addresses for every name."""

    async def find_addresses(_rule: object, _host: str, port: int) -> list[AddrInfoType]:
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (one, port)) for one in found]

    return find_addresses


class TestConnecting:
    @pytest.mark.parametrize("security", ["none", "starttls"])
    async def test_plain_text_to_a_tls_port_is_reported(
        self, context: ChannelContext, certificate: Certificate, security: str
    ) -> None:
        async with RawSmtpServer(tls=certificate.server_context()) as server:
            channel = make_channel(context, server.port, security=security)
            got = await channel.send(rendered(channel))
            (finding,) = await channel.check()
        assert isinstance(got, Retry)
        assert "set `security: tls`" in got.reason
        assert "set `security: tls`" in finding.detail

    async def test_tls_to_a_plain_port_is_reported(self, context: ChannelContext) -> None:
        async with RawSmtpServer() as server:
            channel = make_channel(context, server.port, security="tls")
            got = await channel.send(rendered(channel))
            (finding,) = await channel.check()
        assert isinstance(got, Retry)
        assert "set `security: starttls`" in got.reason
        assert "set `security: starttls`" in finding.detail

    async def test_the_rule_about_addresses_holds_for_mail(self) -> None:
        async with (
            RawSmtpServer() as server,
            aclosing(HttpClient(deny=[ip_network("127.0.0.0/8")])) as http,
        ):
            context = ChannelContext(
                http=http, clock=FakeClock(), localizer=Localizer(language="en", timezone=ZoneInfo("UTC"))
            )
            for host in ("127.0.0.1", "localhost"):
                got = await outcome(context, server, host=host)
                assert isinstance(got, Parked)
                assert "an address that network.deny lists" in got.reason
        assert server.transcript == []

    @pytest.mark.parametrize("security", ["starttls", "tls"])
    async def test_what_http_trusts_mail_trusts_too(self, certificate: Certificate, security: str) -> None:
        tls_context = certificate.server_context()
        async with (
            SmtpServer(tls=tls_context) if security == "tls" else SmtpServer(starttls=tls_context) as server,
            aclosing(HttpClient(ca_file=certificate.authority)) as http,
        ):
            context = ChannelContext(
                http=http, clock=FakeClock(), localizer=Localizer(language="en", timezone=ZoneInfo("UTC"))
            )
            got = await outcome(context, server, security=security)
        assert isinstance(got, Delivered)

    async def test_the_next_address_is_tried_while_the_first_is_silent(
        self, context: ChannelContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as silent:
            # Its queue is full, so that the next one who comes waits for an answer.
            silent.bind(("127.0.0.2", 0))
            silent.listen(0)
            port = silent.getsockname()[1]
            waiting = [socket.socket() for _ in range(3)]
            for one in waiting:
                one.setblocking(False)  # noqa: FBT003 - the socket's own way
                one.connect_ex(("127.0.0.2", port))
            async with RawSmtpServer(port=port) as server:
                monkeypatch.setattr(sockets, "find_addresses", named("127.0.0.2", "127.0.0.1"))
                got = await outcome(context, server, host="mail.example.com", timeout=timedelta(seconds=40))
            for one in waiting:
                one.close()
        assert isinstance(got, Delivered)

    async def test_a_name_without_an_address(self, context: ChannelContext) -> None:
        async with RawSmtpServer() as server:
            got = await outcome(context, server, host="nowhere.invalid")
        assert isinstance(got, Retry)
        assert got.reason.startswith("no address found for nowhere.invalid")
