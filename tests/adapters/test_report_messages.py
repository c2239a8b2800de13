"""Reports and hand-overs as channels show them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from channel_samples import console_text, mail, part
from factories import HOSTILE, T0, make_render_request
from message_samples import FORMATTERS

from notifier.cli.samples import sample_event
from notifier.core.events import EventType
from notifier.core.report_values import ListedTask, OverdueBackup, Report, ReportCounts
from notifier.wording.marks import without_marks
from notifier.wording.reports import ReportFormatter

SAMPLE = sample_event(EventType.REPORT_DUE, T0)
HANDED_OVER = sample_event(EventType.ROTA_HANDED_OVER, T0)


def shown(report: Report) -> list[str]:
    sections = ReportFormatter(FORMATTERS["en"], report).sections()
    return [without_marks(line) for section in sections for line in (section.heading, *section.lines) if line]


def test_a_report_without_anything_to_say_is_short() -> None:
    assert SAMPLE.report
    empty = Report(name="x", since=SAMPLE.report.since, until=T0, timezone="UTC", counts=ReportCounts())
    assert shown(empty) == ["8 Jan 16:30:00 to 15 Jan 16:30:00"]
    assert ReportFormatter(FORMATTERS["en"], empty).counts() == "no task ended"


def test_bars_are_as_long_as_their_numbers() -> None:
    assert SAMPLE.report
    bars = [line for line in shown(SAMPLE.report) if line.startswith("01-")]
    assert [(line.count("█"), line.split()[-1]) for line in bars] == [
        (0, "0"),
        (8, "2"),
        (4, "1"),
        (0, "0"),
        (0, "0"),
        (20, "5"),
        (4, "1"),
    ]


def test_lists_say_how_many_they_leave_out() -> None:
    assert SAMPLE.report
    lines = shown(replace(SAMPLE.report, open_total=12, backups_total=2))
    assert lines[lines.index("Open failures: 12") + 2] == "and 11 more"
    assert "No backup within 26 h: 2" in lines


def test_a_mail_draws_its_bars_and_says_why_it_is_sent() -> None:
    found = mail(make_render_request(SAMPLE), "en")
    html, text = part(found, "html"), part(found, "plain")
    assert 'width="100%"><tr><td bgcolor="#c62828"' in html
    assert "█" not in html
    assert "01-13 ████████████████████ 5" in text
    assert 'Sent because the report "sample" goes to channel' in text
    assert 'Sent because the rota "sample" announces' in part(mail(make_render_request(HANDED_OVER), "en"), "plain")


def test_a_console_of_80_columns_shows_a_report() -> None:
    lines = console_text(make_render_request(SAMPLE), "en", 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("gauss-archive: none recorded" in line for line in lines)


@pytest.mark.parametrize("text", HOSTILE)
def test_names_from_outside_do_no_harm(text: str) -> None:
    assert SAMPLE.report
    task = ListedTask(source=text, job_id=text, name=text, instance=text, since=None, failures=1)
    report = replace(
        SAMPLE.report, open=(task,), running=(task,), backups=(OverdueBackup(source=text, instance=text, last=None),)
    )
    event = replace(SAMPLE, report=report)
    html = part(mail(make_render_request(event), "en"), "html")
    assert "<script" not in html
    assert "<img" not in html
