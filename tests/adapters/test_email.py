"""Mail: what is written, and what the answers of a real mail server over a socket come to."""

from __future__ import annotations

import email.policy
import re
import ssl
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
    USUAL,
    hostile_event,
    make_alert,
    make_delivery,
    make_event,
    make_event_of,
    make_events,
    make_gap,
    make_render_request,
    make_storm,
    make_task,
)
from fakes import FakeClock
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from servers.smtp import LOST, SILENT, TAKEN_AND_LOST, SmtpServer, greeter
from servers.tls import Certificate

from notifier.channels.base import PROBE_AFTER, ChannelContext
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, ResendPolicy, Retry, Unknown
from notifier.core.events import EventType
from notifier.core.ids import shorten_ids
from notifier.core.model import Event, TaskHistory
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import Severity
from notifier.core.storms import StormGroup
from notifier.core.tickets import TicketLink
from notifier.http import HttpClient
from notifier.integrations.email.channel import EmailChannel
from notifier.integrations.email.content import html_part, mail_content, text_part
from notifier.integrations.email.message import message, message_id, thread_id
from notifier.integrations.email.settings import EmailSettings
from notifier.ports import RenderRequest
from notifier.wording.columns import columns
from notifier.wording.events import EventFormatter
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language
from notifier.wording.sanitize import one_line

pytestmark = pytest.mark.both_loops

PASSWORD = "obviously-fake-password"
DBA = "dba@example.com"
LINKS = LinkTemplates(
    console_url="https://console.example.com/?region={region}#{instance_id}",
    runbook_url="https://wiki.example.com/{error_code}",
)
FORMATTERS: dict[Language, EventFormatter] = {
    "en": EventFormatter(Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai")), links=LINKS),
    "zh": EventFormatter(Localizer(language="zh", timezone=ZoneInfo("Asia/Shanghai")), links=LINKS),
}
ENGLISH = FORMATTERS["en"]


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
    return parse(message(request, make_settings(**settings), FORMATTERS[language]).as_bytes())


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
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value for name, value in attrs if name == "href" and value]

    def handle_data(self, data: str) -> None:
        self.text += data


def failed(**changes: Any) -> Event:
    """Return a failure in production of which everything is known."""
    task = make_task(
        "def160ec-c3ad-4647-8520-de0a8f84474c",
        name="ResizeGaussDBV5Flavor",
        instance_name="prod-orders-01",
        instance_status="normal",
        progress=96.0,
        fail_reason="The widget refused to turn.\nError code: ABC.123456.",
    )
    values = {"environment": "production", "history": TaskHistory(failures=3), "usual": USUAL}
    return make_event(task, **values | changes)


def routed(*events: Event, **changes: Any) -> RenderRequest:
    values = {"routes": ("failures",)}
    return replace(make_render_request(*events), routing=DeliveryRouting(**values | changes))


def storm_request(count: int, *, opens: bool = True, name: str = "ledger-{n}", job: str = "{n:08}") -> RenderRequest:
    tasks = (
        make_task(f"{job.format(n=n)}-c3ad-4647-8520-de0a8f84474c", instance_name=name.format(n=n % 40))
        for n in range(count)
    )
    events = tuple(make_event(task, environment="production") for task in tasks)
    group = StormGroup(code="OBS.0503", operation="BackupSnapshotGaussDBV5InInstance", count=300, reason="down")
    storm = make_storm(latest=count, groups=(group,))
    request = routed(*events)
    return replace(request, digest=True, storm=storm, opens_storm=opens)


# ---- what is written ----


class TestMessage:
    def test_a_failure_is_in_the_subject_the_text_and_the_page(self) -> None:
        mail = read(routed(failed()))
        assert mail["Subject"] == "✗ prod-orders-01: flavor change failed (PROD)"
        for said in (part(mail, "plain"), Page(part(mail, "html")).text):
            assert "Flavor change failed on prod-orders-01" in said
            assert "The widget refused to turn." in said
            assert "def160ec-c3ad-4647-8520-de0a8f84474c" in said
            assert "15 Jan 16:29:20 (UTC+8), after 12 min 20 s" in said

    def test_the_text_part_reads_from_top_to_bottom(self) -> None:
        assert part(read(routed(failed())), "plain") == (
            "FAILED · PROD · cn-north-4\n"
            "Flavor change failed on prod-orders-01\n"
            "\n"
            "  The widget refused to turn.\n"
            "  Error code: ABC.123456.\n"
            "\n"
            "Console          https://console.example.com/?region=cn-north-4#fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14\n"
            "Runbook          https://wiki.example.com/ABC.123456\n"
            "Ended            15 Jan 16:29:20 (UTC+8), after 12 min 20 s\n"
            "Stopped at       96%\n"
            "Usually          7 to 10 min, from 14 runs on this instance\n"
            "History          3 failures on this instance in 24 h\n"
            "Instance status  normal\n"
            "Job              def160ec-c3ad-4647-8520-de0a8f84474c\n"
            "Instance ID      fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14\n"
            "--\n"
            'Sent because route "failures" sends failed tasks of prod to channel "mail". '
            "Why: notifier explain def160ec\n"
        )

    def test_it_reads_as_well_in_chinese(self) -> None:
        mail = read(routed(failed()), language="zh", to=["值班 <b@example.com>"])
        assert mail["Subject"] == "【失败】prod-orders-01 规格变更（生产）"
        assert mail["To"].addresses[0].display_name == "值班"
        assert '<html lang="zh">' in part(mail, "html")
        lines = part(mail, "plain").splitlines()
        assert lines[:2] == ["失败 · 生产 · cn-north-4", "prod-orders-01 规格变更失败"]
        assert "结束时间  1月15日 16:29:20（UTC+8），运行 12 分 20 秒" in lines
        assert lines[-1] == (
            "您收到此邮件，是因为路由 failures 将数据源 prod 的失败任务发往通知渠道 mail。"
            "查看原因：notifier explain def160ec"
        )

    def test_what_is_known_of_the_reason_stands_before_the_links(self) -> None:
        mail = read(routed(make_event(make_task(fail_reason="The quota of vCPUs is not sufficient."))))
        text, page = part(mail, "plain"), Page(part(mail, "html")).text
        for said in (text, page):
            assert said.index("quota of servers") < said.index("Free unused servers") < said.index("onsole")

    def test_commands_are_code_in_the_page(self) -> None:
        mail = read(make_render_request(make_alert(EventType.CHANNEL_GAVE_UP)))
        assert "<code>notifier retry --all-dead --channel dba</code>" in part(mail, "html")
        assert "`notifier retry --all-dead --channel dba`" in part(mail, "plain")

    def test_a_late_mail_says_so_in_its_first_line(self) -> None:
        mail = read(routed(failed(late=True, away_since=T0 - timedelta(hours=1))))
        assert part(mail, "plain").startswith("FAILED · PROD · cn-north-4 · Reported 40 s late: the notifier was down")

    def test_the_preheader_continues_the_subject(self) -> None:
        html = part(read(routed(failed())), "html")
        hidden = re.search(r'<div style="display:none[^>]*>([^<]*)</div>', html)
        assert hidden
        assert hidden[1].startswith("The widget refused to turn (ABC.123456). 16:29. Instance is normal. Ran 12 min")

    @pytest.mark.parametrize(
        ("name", "language", "subject"),
        [
            ("pg", "en", "✗ pg: flavor change failed (PROD)"),
            ("orders-replica-of-sales", "en", "✗ orders-replica-of-sales: flavor change failed (PROD)"),
            ("x" * 30 + "-01", "en", f"✗ {'x' * 12}…{'x' * 8}-01: flavor change failed (PROD) · {'x' * 30}-01"),
            ("数据库" * 7, "en", f"✗ 数据库数据库…据库数据库: flavor change failed (PROD) · {'数据库' * 7}"),
            ("pg", "zh", "【失败】pg 规格变更（生产）"),
            ("x" * 30 + "-01", "zh", f"【失败】{'x' * 12}…{'x' * 8}-01 规格变更（生产） · {'x' * 30}-01"),
        ],
    )
    def test_what_matters_fits_the_list_of_mails(self, name: str, language: Language, subject: str) -> None:
        task = make_task(name="ResizeGaussDBV5Flavor", instance_name=name)
        assert read(make_render_request(make_event(task, environment="production")), language)["Subject"] == subject

    @given(st.text(min_size=1, max_size=150), st.sampled_from(["en", "zh"]))
    def test_where_and_what_are_within_41_columns(self, name: str, language: Language) -> None:
        task = make_task(name="ResizeGaussDBV5Flavor", instance_name=name, instance_id=None)
        subject = read(make_render_request(make_event(task)), language)["Subject"]
        where = subject.partition(" · ")[0].removesuffix(": flavor change failed").removesuffix(" 规格变更")
        assert columns(where) <= (26 if language == "en" else 32)
        assert one_line(name) in subject

    @pytest.mark.parametrize(
        ("routing", "said"),
        [
            ({"routes": ("a", "b")}, 'routes "a", "b" send failed tasks of prod to channel "mail"'),
            ({"routes": ()}, 'Sent to channel "mail"'),
        ],
    )
    def test_the_last_line_says_why_it_was_sent(self, routing: dict[str, Any], said: str) -> None:
        for kind in ("plain", "html"):
            text = part(read(routed(failed(), **routing)), kind)
            assert said in (text if kind == "plain" else Page(text).text)

    def test_an_alert_without_a_route_says_that_it_is_one(self) -> None:
        text = part(read(routed(make_alert(EventType.SOURCE_FAILING), routes=())), "plain")
        assert 'Sent because channel "mail" receives the alerts of the notifier.' in text

    @pytest.mark.parametrize("language", ["en", "zh"])
    @pytest.mark.parametrize("environment", ["production", "staging", ""])
    @pytest.mark.parametrize("severity", [None, *Severity])
    def test_every_event_says_the_same_in_both_parts(
        self, language: Language, environment: str, severity: Severity | None
    ) -> None:
        for kind in EventType:
            event = replace(make_event_of(kind), environment=environment)
            mail = read(routed(event, severity=severity), language)
            page = Page(part(mail, "html"))
            shown = "".join([page.text.casefold(), *map(str.casefold, page.links)])
            words = part(mail, "plain").replace("`", "").casefold().split()
            drawn = [word for word in words if set(word) == {"█"}]  # the page has cells of a table for them
            assert [word for word in words if word not in (*drawn, "--", "·") and word not in shown] == []
            assert mail["X-GaussDB-Severity"] == (severity or event.severity)

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
        storm = storm_request(50)
        assert message(storm, settings, ENGLISH).as_bytes() == message(storm, settings, ENGLISH).as_bytes()

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
        for request in (routed(failed()), make_render_request(*make_events(3)), storm_request(3)):
            html = part(read(request), "html")
            page = Page(html)
            assert not {"img", "link", "script", "iframe", "video", "object", "style"} & set(page.elements)
            assert not {"src", "background"} & page.attributes
            assert "url(" not in html
            assert all(link.startswith(("https://console.example.com/", "https://wiki.example")) for link in page.links)

    def test_a_page_suits_phones_and_both_colour_schemes(self) -> None:
        html = part(read(routed(failed())), "html")
        assert '<meta name="viewport" content="width=device-width">' in html
        assert '<meta name="color-scheme" content="light dark">' in html
        assert "max-width:640px" in html
        assert html.count("white-space:nowrap") == 7, "each label"
        assert html.count("display:inline-block") == 2, "two buttons"

    def test_an_event_about_a_source_has_words_too(self) -> None:
        mail = read(make_render_request(make_gap()))
        assert mail["Subject"].startswith("! prod was not monitored from ")
        assert mail["References"] is None


class TestHeaders:
    def test_filters_can_sort_by_source_severity_and_instance(self) -> None:
        mail = read(routed(failed()))
        assert mail["List-Id"] == "<prod.gaussdb-notifier>"
        named = [mail[f"X-GaussDB-{name}"] for name in ("Source", "Severity", "Instance", "Event")]
        assert named == ["prod", "critical", "prod-orders-01", "task.failed"]

    @pytest.mark.parametrize(
        ("request_", "important"),
        [
            (routed(failed()), True),
            (routed(failed(), severity=Severity.WARNING), False),
            (routed(failed(environment="staging")), False),
            (routed(failed(environment="staging"), severity=Severity.CRITICAL), False),
            (routed(failed(environment="")), False),
            (routed(make_event(make_task(status="completed"), environment="production")), False),
            (routed(failed(), make_event(make_task(status="completed"))), True),
            (storm_request(3), True),
        ],
    )
    def test_only_loud_failures_in_production_are_important(self, request_: RenderRequest, important: bool) -> None:  # noqa: FBT001 - a table
        mail = read(request_)
        expected = ("high", "1") if important else (None, None)
        assert (mail["Importance"], mail["X-Priority"]) == expected

    def test_people_whom_a_route_mentions_get_a_copy(self) -> None:
        mail = read(routed(failed(), mention=("Ann <ann@example.com>", "U0123ABCD")))
        assert [str(address) for address in mail["Cc"].addresses] == ["Ann <ann@example.com>"]
        assert read(routed(failed(environment="staging"), mention=("ann@example.com",)))["Cc"] is None

    @pytest.mark.parametrize("text", [*HOSTILE, "值班", "a b", "x" * 300, "=?utf-8?q?a=0D=0ABcc=3A_victim?="])
    def test_values_from_outside_stay_values(self, text: str) -> None:
        event = replace(hostile_event(text), source=text, environment="production")
        mail = read(make_render_request(event))
        assert re.fullmatch(r"<[a-z0-9-]{1,63}\.gaussdb-notifier>", mail["List-Id"])
        assert len(mail.keys()) == len(set(mail.keys()))
        assert (mail["X-GaussDB-Instance"] or "") == one_line(text)
        assert (mail["X-GaussDB-Source"] or "") == one_line(text)


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
        mail = read(routed(*make_events(4)))
        assert mail["Subject"] == "✗ 2 tasks failed, 2 completed: 2 × The quota of vCPUs is not enough"
        lines = part(mail, "plain").splitlines()
        assert lines[:2] == ["FAILED · prod", "2 tasks failed, 2 completed"]
        assert lines[lines.index("Failed") :] == [
            "Failed",
            "- gauss-00000 · Instance creation · job job-00000",
            "  The quota of vCPUs is not enough.",
            "- gauss-00002 · Instance creation · job job-00002",
            "  The quota of vCPUs is not enough.",
            "",
            "Completed",
            "- gauss-00001 · Instance creation · job job-00001",
            "- gauss-00003 · Instance creation · job job-00003",
            "--",
            'Sent because route "failures" sends tasks of prod to channel "mail".',
        ]
        assert "The quota of vCPUs is not enough." in Page(part(mail, "html")).text

    def test_one_with_an_alert_among_tasks_is_sent_for_the_tasks(self) -> None:
        text = part(read(routed(*make_events(2), make_gap())), "plain")
        assert text.endswith('Sent because route "failures" sends tasks of prod to channel "mail".\n')

    def test_it_is_a_list_in_groups(self) -> None:
        elements = Page(part(read(routed(*make_events(4))), "html")).elements
        assert "table" not in elements
        assert (elements.count("h2"), elements.count("ul"), elements.count("li")) == (2, 2, 4)

    def test_similar_ids_can_be_told_apart(self) -> None:
        ids = [f"def160ec-c3ad-4647-8520-{n:012}" for n in range(2)]
        text = part(read(make_render_request(*(make_event(make_task(id_)) for id_ in ids))), "plain")
        assert all(id_ in text for id_ in ids)

    def test_it_belongs_to_no_thread(self) -> None:
        assert read(make_render_request(*make_events(2)))["References"] is None


class TestStorm:
    def test_it_has_reasons_and_instances_before_the_list(self) -> None:
        mail = read(storm_request(3))
        assert mail["Subject"] == "✗ 300 tasks failed (PROD): 300 × OBS.0503"
        assert part(mail, "plain") == (
            "FAILED · PROD · prod / cn-north-4\n"
            "300 tasks failed within 1 min · since 16:30:00\n"
            "\n"
            "300 × OBS.0503 Manual backup. Down\n"
            "2 instances, most: ledger-0 (8), ledger-1 (8)\n"
            "\n"
            "3 tasks, by instance\n"
            "  ledger-0  00000000\n"
            "  ledger-1  00000001\n"
            "  ledger-2  00000002\n"
            "--\n"
            'Sent because route "failures" sends failed tasks of prod to channel "mail".\n'
        )
        assert read(storm_request(3), "zh")["Subject"] == "【失败】300 个任务（生产）：OBS.0503 300 个"

    def test_mails_of_one_storm_are_one_thread(self) -> None:
        first, second = read(storm_request(3)), read(storm_request(4, opens=False))
        assert first["References"] == second["References"] is not None
        assert second["Subject"] == "✗ 4 of 300 failures (PROD): 300 × OBS.0503"

    @pytest.mark.parametrize("language", ["en", "zh"])
    @pytest.mark.parametrize("opens", [True, False])
    @pytest.mark.parametrize(
        ("name", "job"), [("ledger-{n}", "{n:08}"), ("数" * 200 + "{n}", "{n:064}"), ("<b>{n:0300}", "job {n:060}")]
    )
    def test_it_names_every_task_whatever_their_names(
        self,
        name: str,
        job: str,
        opens: bool,  # noqa: FBT001 - a table
        language: Language,
    ) -> None:
        size = EmailChannel.storm_size
        request = storm_request(size, opens=opens, name=name, job=job)
        mail = read(request, language)
        shown = shorten_ids({event.job_id for event in request.events})
        for said in (part(mail, "plain"), Page(part(mail, "html")).text):
            listed = said.rpartition("by instance" if language == "en" else "按实例列出")[2]
            assert sum(listed.count(text) >= 1 for text in set(shown.values())) == len(set(shown.values()))
        assert len(mail.as_bytes()) < 5_000_000


class TestHostileText:
    @pytest.mark.parametrize("text", HOSTILE)
    def test_it_adds_no_header_and_no_recipient(self, text: str) -> None:
        mail = read(make_render_request(hostile_event(text)))
        assert set(mail.keys()) <= set(read(make_render_request()).keys())
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
        assert all(link.startswith("https://console.example.com/") for link in got.links)

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
def context(http: HttpClient) -> ChannelContext:
    return ChannelContext(http=http, clock=FakeClock(), localizer=ENGLISH.localizer)


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


def test_a_mail_links_the_tickets_of_its_operation() -> None:
    tickets = (
        TicketLink(channel="ops", label="OPS-12", url="https://jira.example.com/browse/OPS-12"),
        TicketLink(channel="page", label="<b>P1</b>", url="javascript:alert(1)"),
    )
    formatter = EventFormatter(Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai")))
    content = mail_content(replace(make_render_request(make_event()), tickets=tickets), formatter, "mail")
    page = html_part(content, formatter.localizer)
    assert '<a href="https://jira.example.com/browse/OPS-12" style="color:inherit">OPS-12</a>' in page
    assert "javascript" not in page
    assert "&lt;b&gt;P1&lt;/b&gt;" in page
    text = text_part(content, formatter.localizer)
    assert re.search(r"^Ticket +OPS-12  https://jira\.example\.com/browse/OPS-12$", text, re.MULTILINE)
