"""Mail: what is written, and what the answers of a real mail server over a socket come to."""

from __future__ import annotations

import email.policy
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import (
    HOSTILE,
    T0,
    hostile_event,
    make_delivery,
    make_event,
    make_events,
    make_gap,
    make_render_request,
    make_task,
)
from fakes import FakeClock
from pydantic import ValidationError
from servers.smtp import LOST, SILENT, TAKEN_AND_LOST, SmtpServer, greeter
from servers.tls import Certificate, make_certificate

from notifier.channels.base import PROBE_AFTER, ChannelContext
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, ResendPolicy, Retry, Unknown
from notifier.core.model import Event
from notifier.http import HttpClient
from notifier.integrations.email.channel import EmailChannel
from notifier.integrations.email.message import message, message_id, thread_id
from notifier.integrations.email.settings import EmailSettings
from notifier.ports import RenderRequest
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language

pytestmark = pytest.mark.both_loops

PASSWORD = "obviously-fake-password"
DBA = "dba@example.com"
ENGLISH = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))


def make_settings(**changes: Any) -> EmailSettings:
    values = {
        "name": "mail",
        "kind": "email",
        "host": "127.0.0.1",
        "security": "none",
        "from": "GaussDB notifier <gaussdb@example.com>",
        "to": ["dba@example.com"],
    }
    return EmailSettings.model_validate(values | changes)


def read(request: RenderRequest, language: Language = "en", **settings: Any) -> EmailMessage:
    """Return the mail of a notice as a mail program reads it."""
    localizer = Localizer(language=language, timezone=ZoneInfo("Asia/Shanghai"))
    return parse(message(request, make_settings(**settings), localizer).as_bytes())


def parse(content: bytes) -> EmailMessage:
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    return mail


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    text = body.get_content()
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


class Page(HTMLParser):
    """The elements of a page, the attributes they have, and the text in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


# ---- what is written ----


class TestMessage:
    def test_a_failure_is_in_the_subject_the_text_and_the_page(self) -> None:
        mail = read(make_render_request())
        assert mail["Subject"] == "[GaussDB] Task failed · Create instance · gauss-6568-zzh"
        for said in (part(mail, "plain"), Page(part(mail, "html")).text):
            assert "Create instance" in said
            assert "gauss-6568-zzh" in said
            assert "The quota of vCPUs is not enough." in said
            assert "31b8ae23-c687-4d80-b7b4-42a66c9bb886" in said
            assert "15 Jan 16:29:20 (UTC+8)" in said

    def test_the_text_part_reads_from_top_to_bottom(self) -> None:
        assert part(read(make_render_request()), "plain") == (
            "Task failed · Create instance · gauss-6568-zzh\n"
            "\n"
            "Started: 15 Jan 16:17:00 (UTC+8)\n"
            "Ended: 15 Jan 16:29:20 (UTC+8)\n"
            "Ran for: 12 min 20 s\n"
            "Instance status: creating\n"
            "Instance ID: fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14\n"
            "\n"
            "Reason:\n"
            "  The quota of vCPUs is not enough.\n"
            "\n"
            "Job 31b8ae23-c687-4d80-b7b4-42a66c9bb886 · prod / cn-north-4\n"
        )

    def test_chinese_survives_in_every_part(self) -> None:
        mail = read(
            make_render_request(make_event(make_task(fail_reason="配额不足。"))),
            language="zh",
            to=["值班 <b@example.com>"],
        )
        assert mail["Subject"] == "[GaussDB] 任务失败 · 创建实例 · gauss-6568-zzh"
        assert mail["To"].addresses[0].display_name == "值班"
        assert "配额不足。" in part(mail, "plain")
        assert "配额不足。" in Page(part(mail, "html")).text
        assert '<html lang="zh">' in part(mail, "html")

    def test_names_and_long_lists_are_read_back_as_configured(self) -> None:
        names = ["王伟", "Doe, John (DBA)", "数据库运维值班组" * 10, "Night shift, all of them (on call) " * 3]
        to = [f'"{name.strip()}" <user{number}@corp.example>' for number, name in enumerate(names)]
        sender: dict[str, Any] = {"from": to[3]}
        mail = read(make_render_request(), to=[*to, "last@corp.example"], **sender)
        assert [one.display_name for one in mail["To"].addresses] == [*map(str.strip, names), ""]
        assert [one.addr_spec for one in mail["To"].addresses][-1] == "last@corp.example"
        assert [one.display_name for one in mail["From"].addresses] == [names[3].strip()]

    def test_the_same_notice_gives_the_same_bytes(self) -> None:
        request, settings = make_render_request(*make_events(3)), make_settings()
        assert message(request, settings, ENGLISH).as_bytes() == message(request, settings, ENGLISH).as_bytes()

    def test_every_line_is_short_and_ends_as_mail_lines_do(self) -> None:
        content = message(make_render_request(hostile_event("中文 " * 5000)), make_settings(), ENGLISH).as_bytes()
        lines = content.split(b"\r\n")
        assert max(map(len, lines)) <= 78
        assert not any(b"\r" in line or b"\n" in line for line in lines)

    def test_a_mail_asks_for_no_automatic_answer(self) -> None:
        assert read(make_render_request())["Auto-Submitted"] == "auto-generated"

    def test_its_date_is_when_the_event_was_observed(self) -> None:
        assert read(make_render_request())["Date"].datetime == T0

    def test_nothing_is_fetched_by_reading_it(self) -> None:
        for request in (make_render_request(), make_render_request(*make_events(3))):
            page = Page(part(read(request), "html"))
            assert not {"img", "link", "script", "iframe", "a", "video", "object"} & set(page.elements)
            assert not {"src", "href", "background"} & page.attributes

    def test_an_event_about_a_source_has_words_too(self) -> None:
        mail = read(make_render_request(make_gap()))
        assert mail["Subject"] == "[GaussDB] Gap in observation · prod"
        assert "2025-12-01" in part(mail, "plain")
        assert mail["References"] is None


class TestThreads:
    def test_every_mail_of_a_task_refers_to_the_same_id(self) -> None:
        started = make_event(make_task(status="running"))
        failed = make_event(make_task())
        mails = [read(make_render_request(event)) for event in (started, failed)]
        assert {mail["References"] for mail in mails} == {thread_id(started)}
        assert {mail["In-Reply-To"] for mail in mails} == {thread_id(failed)}
        assert len({mail["Message-ID"] for mail in mails}) == 2

    def test_other_tasks_have_other_threads(self) -> None:
        assert thread_id(make_event(make_task("a"))) != thread_id(make_event(make_task("b")))
        assert thread_id(make_event(make_task("a"))) != thread_id(make_event(make_task("a", source="test")))

    def test_the_message_id_is_the_delivery_id(self) -> None:
        request = make_render_request()
        assert read(request)["Message-ID"] == f"<{request.delivery_id}@gaussdb-notifier>"


class TestDigest:
    @pytest.mark.parametrize("count", [2, 21, 100])
    def test_it_names_every_job_in_both_parts(self, count: int) -> None:
        events = make_events(count)
        mail = read(make_render_request(*events))
        text, page = part(mail, "plain"), Page(part(mail, "html")).text
        assert all(event.job_id in text and event.job_id in page for event in events)

    def test_failures_come_first_with_their_reasons(self) -> None:
        mail = read(make_render_request(*make_events(4)))
        lines = part(mail, "plain").splitlines()
        assert lines[0] == "2 tasks failed, 2 completed · source prod"
        assert [line.split(" · ")[0] for line in lines[2:]] == ["- Task failed"] * 2 + ["- Task completed"] * 2
        assert "The quota of vCPUs is not enough." in Page(part(mail, "html")).text

    def test_it_belongs_to_no_thread(self) -> None:
        assert read(make_render_request(*make_events(2)))["References"] is None


class TestHostileText:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_it_adds_no_header_and_no_recipient(self, text: str) -> None:
        mail = read(make_render_request(hostile_event(text)))
        assert set(mail.keys()) == set(read(make_render_request()).keys())
        assert len(mail.keys()) == len(set(mail.keys()))
        assert [address.addr_spec for address in mail["To"].addresses] == ["dba@example.com"]
        assert len(mail["Subject"]) <= 200

    @pytest.mark.parametrize("digest", [False, True])
    @pytest.mark.parametrize("text", HOSTILE)
    def test_it_adds_no_element_and_no_attribute(self, text: str, *, digest: bool) -> None:
        def page(planted: str) -> Page:
            events = (hostile_event(planted), make_event()) if digest else (hostile_event(planted),)
            return Page(part(read(make_render_request(*events)), "html"))

        got, harmless = page(text), page("harmless")
        assert set(got.elements) <= set(harmless.elements)
        assert got.attributes <= harmless.attributes

    @pytest.mark.parametrize("text", HOSTILE)
    def test_no_control_character_reaches_the_reader(self, text: str) -> None:
        mail = read(make_render_request(hostile_event(text)))
        shown = mail["Subject"] + part(mail, "plain") + part(mail, "html")
        assert not [char for char in shown if ord(char) < 32 and char != "\n"]
        assert not set(shown) & set("\x7f\x9b\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

    def test_text_like_an_encoded_word_stays_as_written(self) -> None:
        name = "=?utf-8?q?a=0D=0ABcc=3A_victim?="
        assert name in read(make_render_request(make_event(make_task(instance_name=name))))["Subject"]


# ---- settings ----


class TestSettings:
    @pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
    def test_the_port_follows_from_the_security(self, security: str, port: int) -> None:
        assert make_settings(security=security).server_port == port

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"from": "nobody"}, "'nobody' is not a mail address; write user@example.com or Name <user@example.com>"),
            ({"from": "A <a@b.c"}, "'A <a@b.c' is not a mail address"),
            ({"from": "A\r\nBcc: x <a@b.c>"}, "is not a mail address"),
            ({"from": "a@b.c, d@e.f"}, "is not a mail address"),
            ({"to": ["dba@example.com", "@example.com"]}, "'@example.com' is not a mail address"),
            ({"to": ["用户@example.com"]}, "is not a mail address"),
            ({"to": []}, "must have at least 1 entry"),
            ({"username": "notifier"}, "password\n  is missing; give both username and password, or neither"),
            ({"password": PASSWORD}, "username\n  is missing; give both username and password, or neither"),
            (
                {"username": "notifier", "password": PASSWORD, "host": "smtp.example.com"},
                "security\n  must be starttls or tls: a password is not sent in the clear",
            ),
            (
                {"ca_file": "/nonexistent/ca.pem"},
                "ca_file\n  no certificates can be read from /nonexistent/ca.pem: No such file",
            ),
            ({"host": "smtp.example.com/path"}, "'smtp.example.com/path' is not a host; write a name"),
            ({"port": 0}, "must be at least 1"),
        ],
    )
    def test_a_wrong_one_is_refused_with_what_would_be_right(self, changes: dict[str, Any], problem: str) -> None:
        with pytest.raises(ValidationError) as caught:
            make_settings(**changes)
        assert problem in str(caught.value)
        assert PASSWORD not in str(caught.value)

    @pytest.mark.parametrize(
        ("written", "host", "port"),
        [
            ("smtp.example.com", "smtp.example.com", 587),
            ("smtp.example.com:2525", "smtp.example.com", 2525),
            (" smtp.example.com. ", "smtp.example.com", 587),
            ("smtp.example.com.:2525", "smtp.example.com", 2525),
            ("mail_server", "mail_server", 587),
            ("192.0.2.1:25", "192.0.2.1", 25),
            ("::1", "::1", 587),
            ("[::1]", "::1", 587),
            ("[2001:db8::1]:2525", "2001:db8::1", 2525),
        ],
    )
    def test_a_host_may_be_written_with_its_port(self, written: str, host: str, port: int) -> None:
        settings = make_settings(host=written, security="starttls")
        assert (settings.host, settings.server_port) == (host, port)

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"host": "smtp.example.com:587", "port": 25}, "port\n  is 25, and host says 587; give it once"),
            ({"host": "smtps://smtp.example.com:465/x"}, "write `host: smtp.example.com:465` and `security: tls`"),
            ({"host": f"smtp://u:{PASSWORD}@mail"}, "host\n  holds an @; write a name"),
            ({"host": "smtp://mail"}, "write `host: mail` and `security: starttls`"),
            ({"host": "smtp.example.com:smtp"}, "'smtp' is not a port; write `port: 587`"),
            ({"host": "smtp.example.com:0"}, "'0' is not a port"),
            ({"host": "smtp.example.com:"}, "'' is not a port"),
            ({"host": "[::1]:smtp"}, "'smtp' is not a port"),
            ({"host": "smtp example.com"}, "'smtp example.com' is not a host; write a name, smtp.example.com, or"),
            ({"host": "邮件.example.com"}, "in ASCII (xn--5nq051n.example.com)"),
            ({"host": "[smtp.example.com]"}, "is not a host"),
            ({"host": "x" * 300}, "is not a host"),
            ({"host": ""}, "is not a host"),
            ({"port": 465, "security": "starttls"}, "security\n  must be tls with port 465"),
            ({"host": "mail:465", "security": "starttls"}, "security\n  must be tls with port 465"),
            ({"helo": "two words"}, "'two words' is not a host name; write notifier.example.com or an address as [192"),
        ],
    )
    def test_a_place_that_cannot_be_is_refused_with_the_remedy(self, changes: dict[str, Any], problem: str) -> None:
        with pytest.raises(ValidationError) as caught:
            make_settings(**changes)
        assert problem in str(caught.value)
        assert PASSWORD not in str(caught.value)

    @pytest.mark.parametrize("name", ["notifier.example.com", "[192.0.2.1]", "[IPv6:2001:db8::1]", "localhost"])
    def test_any_name_may_be_greeted_with(self, name: str) -> None:
        assert make_settings(helo=name).helo == name

    def test_the_password_is_not_shown(self) -> None:
        assert PASSWORD not in repr(make_settings(username="notifier", password=PASSWORD))


# ---- sending ----


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.aclose()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def context(http: HttpClient) -> ChannelContext:
    return ChannelContext(http=http, clock=FakeClock(), localizer=ENGLISH)


def make_channel(context: ChannelContext, port: int, **changes: Any) -> EmailChannel:
    return EmailChannel(make_settings(port=port, **changes), context)


def rendered(channel: EmailChannel, *events: Event) -> Delivery:
    return make_delivery(*events, channel="mail", body=channel.render(make_render_request(*events, channel="mail")))


async def outcome(context: ChannelContext, port: int, **changes: Any) -> Outcome:
    channel = make_channel(context, port, **changes)
    return await channel.send(rendered(channel))


def plain(got: Outcome) -> Outcome:
    """Return an outcome without what the server said."""
    return replace(got, reply=None) if isinstance(got, Delivered) else replace(got, reply=None, recipients=None)


class TestSending:
    async def test_the_mail_arrives_as_rendered(self, context: ChannelContext) -> None:
        recipients = ["dba@example.com", "On call <oncall@example.com>"]
        async with SmtpServer() as server:
            channel = make_channel(context, server.port, to=recipients)
            delivery = rendered(channel)
            assert await channel.send(delivery) == Delivered(message_id(delivery.id), reply="SMTP 250: OK")
        assert delivery.body
        mail = server.mails[0]
        assert mail.content == delivery.body.content
        assert (mail.sender, mail.recipients) == ("gaussdb@example.com", ("dba@example.com", "oncall@example.com"))
        assert parse(mail.content)["Message-ID"] == message_id(delivery.id)

    @pytest.mark.parametrize("text", HOSTILE)
    async def test_hostile_text_changes_nothing_about_the_envelope(self, context: ChannelContext, text: str) -> None:
        async with SmtpServer() as server:
            channel = make_channel(context, server.port)
            assert isinstance(await channel.send(rendered(channel, hostile_event(text))), Delivered)
        assert [mail.recipients for mail in server.mails] == [("dba@example.com",)]

    async def test_starttls_with_a_login(self, context: ChannelContext, certificate: Certificate) -> None:
        async with SmtpServer(starttls=certificate.server_context(), users={"notifier": PASSWORD}) as server:
            got = await outcome(
                context,
                server.port,
                security="starttls",
                ca_file=certificate.authority,
                username="notifier",
                password=PASSWORD,
            )
        assert isinstance(got, Delivered)
        assert (server.mails[0].encrypted, server.mails[0].user) == (True, "notifier")

    async def test_tls_from_the_first_byte(self, context: ChannelContext, certificate: Certificate) -> None:
        async with SmtpServer(tls=certificate.server_context()) as server:
            got = await outcome(context, server.port, security="tls", ca_file=certificate.authority)
        assert isinstance(got, Delivered)
        assert server.mails[0].encrypted


class TestOutcomes:
    @pytest.mark.parametrize(
        ("replies", "expected"),
        [
            ({"MAIL": "451 greylisted"}, Retry("SMTP 451: sender refused")),
            ({"MAIL": "550 who are you"}, Parked("SMTP 550: sender refused", PROBE_AFTER)),
            ({"RCPT dba@example.com": "450 later"}, Retry(f"{DBA}: SMTP 450: recipient refused")),
            ({"RCPT dba@example.com": "550 unknown"}, Parked(f"{DBA}: SMTP 550: recipient refused", PROBE_AFTER)),
            ({"DATA": "452 disk full"}, Retry(f"{DBA}: SMTP 452: message refused")),
            ({"DATA": "554 looks like spam"}, GaveUp(f"{DBA}: SMTP 554: message refused")),
            ({"DATA": LOST}, Unknown(f"{DBA}: connection to 127.0.0.1 lost after the message was handed over")),
            (
                {"RCPT dba@example.com": LOST},
                Retry(f"{DBA}: connection to 127.0.0.1 lost when recipients were named"),
            ),
        ],
    )
    async def test_an_answer_means(self, context: ChannelContext, replies: dict[str, str], expected: Outcome) -> None:
        async with SmtpServer(replies=replies) as server:
            assert plain(await outcome(context, server.port)) == expected
        assert server.mails == []

    @pytest.mark.parametrize("security", ["starttls", "tls"])
    async def test_an_authority_that_is_not_trusted(
        self, context: ChannelContext, certificate: Certificate, security: str
    ) -> None:
        tls_context = certificate.server_context()
        server = SmtpServer(tls=tls_context) if security == "tls" else SmtpServer(starttls=tls_context)
        async with server:
            got = await outcome(context, server.port, security=security)
        assert isinstance(got, Retry)
        assert got.reason.startswith("certificate of 127.0.0.1 not accepted (")
        assert "name its file as ca_file" in got.reason

    async def test_a_wrong_password_parks_the_channel(self, context: ChannelContext, certificate: Certificate) -> None:
        async with SmtpServer(starttls=certificate.server_context(), users={"notifier": PASSWORD}) as server:
            got = await outcome(
                context,
                server.port,
                security="starttls",
                ca_file=certificate.authority,
                username="notifier",
                password="wrong-fake-password",
            )
        assert plain(got) == Parked("SMTP 535 5.7.8: login refused", PROBE_AFTER)
        assert got.reply == "SMTP 535 5.7.8: Authentication credentials invalid"

    async def test_no_login_where_one_is_required_parks_the_channel(self, context: ChannelContext) -> None:
        async with SmtpServer(users={"notifier": PASSWORD}) as server:
            got = plain(await outcome(context, server.port))
        assert got == Parked("SMTP 530 5.7.0: sender refused", PROBE_AFTER)

    async def test_nothing_is_sent_in_the_clear_when_starttls_is_asked_for(self, context: ChannelContext) -> None:
        async with SmtpServer() as server:
            got = await outcome(context, server.port, security="starttls")
        assert isinstance(got, Parked)
        assert "STARTTLS" in got.reason
        assert server.mails == []

    async def test_a_refused_connection(self, context: ChannelContext) -> None:
        async with SmtpServer() as server:
            pass
        assert await outcome(context, server.port) == Retry("connection refused by 127.0.0.1")

    @pytest.mark.parametrize(
        ("greeting", "expected"),
        [
            (b"554 no service here\r\n", Parked("SMTP 554: the server refuses service", PROBE_AFTER)),
            (b"421 too busy\r\n", Retry("SMTP 421: the server refuses service")),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", Retry("127.0.0.1 does not answer in SMTP; HINT")),
            (b"", Retry("no answer from 127.0.0.1 in time; HINT")),
        ],
    )
    async def test_a_greeting_means(self, context: ChannelContext, greeting: bytes, expected: Retry | Parked) -> None:
        async with greeter(greeting) as port:
            got = plain(await outcome(context, port, timeout=timedelta(milliseconds=150)))
        hint = f"if port {port} speaks TLS from the first byte, as 465 does, set `security: tls`"
        assert got == replace(expected, reason=expected.reason.replace("HINT", hint))

    async def test_a_possible_repeat_has_the_same_message_id(self, context: ChannelContext) -> None:
        async with SmtpServer(replies={"DATA": TAKEN_AND_LOST}) as server:
            channel = make_channel(context, server.port)
            assert channel.resend_policy is ResendPolicy.UNSAFE
            delivery = rendered(channel)
            assert isinstance(await channel.send(delivery), Unknown)
            assert isinstance(await channel.send(replace(delivery, attempt=2, outcome_unknown=True)), Unknown)
        assert [parse(mail.content)["Message-ID"] for mail in server.mails] == [message_id(delivery.id)] * 2

    async def test_the_deadline_holds_after_the_message_was_handed_over(self, context: ChannelContext) -> None:
        async with SmtpServer(replies={"DATA": SILENT}) as server:
            got = await outcome(context, server.port, timeout=timedelta(milliseconds=150))
        assert isinstance(got, Unknown)

    async def test_the_reason_is_ours_and_the_reply_is_the_servers(self, context: ChannelContext) -> None:
        async with SmtpServer(replies={"DATA": "554 5.7.1 <b>spam</b> \x1b[31m"}) as server:
            got = await outcome(context, server.port)
        assert got == GaveUp(
            f"{DBA}: SMTP 554 5.7.1: message refused", reply="SMTP 554 5.7.1: <b>spam</b>", recipients=()
        )


class TestCheck:
    async def test_it_names_sender_and_recipients_and_sends_nothing(self, context: ChannelContext) -> None:
        async with SmtpServer() as server:
            (finding,) = await make_channel(context, server.port).check()
        assert finding.ok
        assert server.mails == []

    @pytest.mark.parametrize(
        ("replies", "detail"),
        [
            ({"MAIL": "550 no"}, "SMTP 550: sender refused (no)"),
            (
                {"RCPT a@example.com": "550 5.1.1 no"},
                "1 of 2 recipients refused: a@example.com: SMTP 550 5.1.1: recipient refused (no)",
            ),
        ],
    )
    async def test_an_smtp_error_names_what_is_refused(
        self, context: ChannelContext, replies: dict[str, str], detail: str
    ) -> None:
        async with SmtpServer(replies=replies) as server:
            (finding,) = await make_channel(context, server.port, to=["a@example.com", "b@example.com"]).check()
        assert (finding.ok, finding.proven, finding.detail) == (False, True, detail)
        assert finding.remedy

    async def test_what_may_pass_is_not_known_to_be_wrong(self, context: ChannelContext) -> None:
        async with SmtpServer(replies={"RCPT a@example.com": "451 4.7.1 greylisted"}) as server:
            (finding,) = await make_channel(context, server.port, to=["a@example.com", "b@example.com"]).check()
        assert (finding.ok, finding.proven) == (True, False)
        assert "a@example.com: SMTP 451 4.7.1: recipient refused (greylisted)" in finding.detail


def test_certificates_are_verified_from_tls_1_2_on(context: ChannelContext) -> None:
    tls_context = context.http.tls
    assert (tls_context.verify_mode, tls_context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert tls_context.minimum_version is ssl.TLSVersion.TLSv1_2
