"""`notifier oncall`, and what `check --online` finds about rotas and calendars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from servers.program import completed

CONFIG = """\
timezone: Asia/Shanghai
store: {url: "sqlite:///notifier.db"}
sources: [{name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, auth: {kind: ecs_agency}}]
channels: [{name: ops, kind: console}]
"""
WEEKLY = """\
rotas:
  - {name: dba, people: [{name: Li Wei, mention: [U0LI]}, {name: Ann}], hands_over: monday 09:00, first: 2026-11-30,
     fallback: ["@here"]}
"""
SHIFTS = """\
calendars: [{name: duty, file: duty.ics}]
rotas: [{name: cal, people: [{name: Ann}], calendar: duty}]
"""
CALENDAR = (
    "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Bob\r\n"
    "DTSTART:20260101T000000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "notifier.yaml").write_text(CONFIG + WEEKLY, encoding="utf-8")
    return tmp_path


def test_on_call_shows_who_is_on_duty_at_a_time(home: Path) -> None:
    shown = completed("oncall", "--at", "2026-12-07 12:00", cwd=home)
    assert (shown.returncode, shown.stderr) == (0, "")
    titles, row = shown.stdout.splitlines()
    assert titles.split() == ["Rota", "On", "duty", "Until", "Then"]
    assert row.split() == ["dba", "Ann", "14", "Dec", "09:00:00", "(UTC+8)", "Li", "Wei"]


def test_on_call_writes_json(home: Path) -> None:
    shown = completed("oncall", "dba", "--at", "2026-12-07T09:00", "--json", cwd=home)
    assert json.loads(shown.stdout) == {
        "at": "2026-12-07T01:00:00Z",
        "rotas": [
            {
                "name": "dba",
                "person": "Ann",
                "mention": ["@here"],
                "until": "2026-12-14T01:00:00Z",
                "following": "Li Wei",
            }
        ],
    }


def test_on_call_exits_with_1_while_nobody_is_on_duty(home: Path) -> None:
    shown = completed("oncall", "--at", "2026-11-01", cwd=home)
    assert shown.returncode == 1
    assert shown.stdout.splitlines()[1].split()[:2] == ["dba", "nobody"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["oncall", "dbs"], "there is no rota 'dbs'. Did you mean dba?"),
        (["oncall", "--at", "noon"], "'noon' is not a time"),
        (["oncall", "--at", "0001-01-01"], "'0001-01-01' is not a time"),
    ],
)
def test_a_wrong_word_is_explained(home: Path, arguments: list[str], why: str) -> None:
    shown = completed(*arguments, cwd=home)
    assert shown.returncode == 2
    assert why in shown.stderr


def test_a_check_reads_calendars_and_names_gaps_and_strangers(home: Path) -> None:
    (home / "duty.ics").write_text(CALENDAR, encoding="utf-8")
    (home / "notifier.yaml").write_text(CONFIG + SHIFTS, encoding="utf-8")
    found = json.loads(completed("check", "--online", "--json", cwd=home).stdout)["findings"]
    about = [one for one in found if one["what"].startswith(("calendar", "rota"))]
    assert about[0]["ok"]
    assert about[0]["what"].startswith("calendar duty: ")
    assert "is on duty now" in about[1]["what"]
    assert any(one["detail"].startswith("nobody is on duty from ") and one["ok"] for one in about)
    assert about[-1]["detail"].endswith("nobody can mention them: Bob")


def test_a_check_fails_for_a_calendar_that_cannot_be_read(home: Path) -> None:
    (home / "duty.ics").write_text("<html>", encoding="utf-8")
    (home / "notifier.yaml").write_text(CONFIG + SHIFTS, encoding="utf-8")
    shown = completed("check", "--online", cwd=home)
    assert shown.returncode == 1
    assert "calendar duty: it is not a calendar" in shown.stdout
