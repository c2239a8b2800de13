"""The sections `calendars` and `rotas`: what loads, and what each mistake is told."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest
from factories import T0

from notifier.config.advice import warnings
from notifier.config.loading import InvalidConfiguration, loads
from notifier.core.calendars import days_of
from notifier.core.rota import DutyPerson, Rotation

BASE = """\
timezone: Asia/Shanghai
sources: [{name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, auth: {kind: ecs_agency}}]
channels: [{name: ops, kind: console}, {name: hook, kind: webhook, url: "https://hooks.example.com/x"}]
"""
WEEK = "hands_over: monday 09:00, first: 2026-11-30"
ROTA = "rotas: [{name: dba, people: [{name: Li, mention: [U0LI]}, {name: Ann}], %s}]\n"
WEEKLY = ROTA % WEEK


def complaint(text: str) -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        loads(BASE + text, {}, origin="n.yaml")
    (line,) = str(caught.value).splitlines()[-1:]
    return line


def test_a_weekly_rota_loads() -> None:
    config = loads(BASE + WEEKLY, {})
    rota = config.rotas_by_name["dba"]
    assert rota.rotation == Rotation(first=date(2026, 11, 30), at=time(9), days=7)
    assert str(rota.zone) == "Asia/Shanghai"
    assert rota.on_duty(datetime(2026, 11, 30, 1, tzinfo=UTC)) == DutyPerson(name="Li", mention=("U0LI",))


def test_somebody_whom_no_channel_can_mention_is_named() -> None:
    config = loads(BASE + WEEKLY + "routes: [{name: r, channels: [hook], mention: ['@rota:dba']}]\n", {})
    assert [line for line in warnings(config, T0) if "rota" in line] == [
        "Route r cannot mention Ann of the rota dba: none of its channels understands any of the entries."
    ]


def test_overrides_are_times_of_the_rota() -> None:
    text = ROTA % (
        "timezone: Europe/Berlin, hands_over: '09:00', first: 2026-11-30, every: 1d,"
        " overrides: [{from: 2026-12-24, until: 2026-12-24 18:30, person: Ann}]"
    )
    (override,) = loads(BASE + text, {}).rotas_by_name["dba"].overrides
    assert (override.start, override.end) == (
        datetime(2026, 12, 23, 23, tzinfo=UTC),
        datetime(2026, 12, 24, 17, 30, tzinfo=UTC),
    )


def test_a_calendar_of_days_loads() -> None:
    config = loads(BASE + "calendars: [{name: holidays, dates: [2027-01-01, 2027-02-05..2027-02-07]}]\n", {})
    assert days_of(config.calendars[0].dates) == {date(2027, 1, 1), *(date(2027, 2, day) for day in (5, 6, 7))}
    assert config.calendars[0].origin == ""


def test_an_address_is_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "duty.ics"
    file.write_text("BEGIN:VCALENDAR\n", encoding="utf-8")
    text = f"calendars: [{{name: a, url: 'https://example.com/secret.ics'}}, {{name: b, file: {file}}}]\n"
    first, second = loads(BASE + text, {}).calendars
    assert "secret" not in f"{first!r} {first.origin}"
    assert len({first.origin, second.origin, ""}) == 3


OFFICE_HOURS = "escalations: [{name: e, active: weekdays, holidays: ofice, steps: [{after: 1h, channels: [hook]}]}]"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ROTA % "first: 2026-11-30", "hands_over: is missing. Give hands_over and first, or a calendar."),
        (ROTA % "hands_over: monday 09:00, first: 2026-12-01", "2026-12-01 is a tuesday, and hands_over says monday."),
        (
            ROTA % "hands_over: moonday 09:00, first: 2026-11-30",
            "'moonday' is no day of the week. Did you mean monday?",
        ),
        (ROTA % "hands_over: 25:00, first: 2026-11-30", "must be a day and a time such as monday 09:00"),
        (ROTA % "hands_over: monday 09:00, first: 2026-11-30, every: 1d", "cannot be on monday every time"),
        (ROTA % "hands_over: '09:00', first: 2026-11-30, every: 36h", "must be whole days"),
        (ROTA % "calendar: duty", "no calendar is called 'duty'."),
        (
            "calendars: [{name: days, dates: [2027-01-01]}]\n" + ROTA % "calendar: days",
            "is a list of days, which names nobody. Name one with file or url.",
        ),
        (ROTA % "calendar: duty, first: 2026-11-30", "first: has no effect beside calendar."),
        (
            ROTA % f"{WEEK}, overrides: [{{from: 2026-12-24, until: 2026-12-25, person: An}}]",
            "nobody is called 'An'. Did you mean Ann?",
        ),
        (
            ROTA % f"{WEEK}, overrides: [{{from: 2026-12-24, until: 2026-12-24, person: Ann}}]",
            "must be later than from.",
        ),
        (ROTA % "hands_over: monday 09:00, first: 2026-11-30, announce: [opps]", "no channel is called 'opps'."),
        (WEEKLY.replace("Ann", "Li"), "has 'Li' twice."),
        ("calendars: [{name: a}]\n", "needs exactly one of dates, file and url."),
        ("calendars: [{name: a, dates: [2027-02-30]}]\n", "Write a day as 2027-01-01"),
        ("calendars: [{name: a, dates: [2027-02-03..2027-02-01]}]\n", "Write a day as 2027-01-01"),
        ("calendars: [{name: a, url: 'https://example.com/x', refresh: 1s}]\n", "must be at least 5 minutes"),
        (
            "routes: [{name: r, channels: [hook], mention: ['@rota:dbs']}]\n" + WEEKLY,
            "no rota is called 'dbs'. Did you mean dba?",
        ),
        (
            "escalations: [{name: e, steps: [{after: 30m, channels: [hook], mention: ['@rota:dbs']}]}]\n" + WEEKLY,
            "escalations[0].steps[0].mention[0]: no rota is called 'dbs'. Did you mean dba?",
        ),
        (
            "calendars: [{name: office, dates: [2027-01-01]}]\n" + OFFICE_HOURS,
            "escalations[0].holidays: no calendar is called 'ofice'. Did you mean office?",
        ),
        (
            "escalations: [{name: e, steps: [{after: 1h, channels: [hook], active: daily, holidays: office}]}]",
            "escalations[0].steps[0].holidays: no calendar is called 'office'.",
        ),
        (
            "escalations: [{name: e, steps: [{after: 1h, channels: [hook], holidays: [2027-01-01]}]}]",
            "escalations[0].steps[0].holidays: has no effect without active",
        ),
        (
            "routes: [{name: r, channels: [ops], mention: ['@rota:dba']}]\n" + WEEKLY,
            "no channel of this route can mention",
        ),
    ],
)
def test_a_mistake_is_told_with_its_remedy(text: str, problem: str) -> None:
    assert problem in complaint(text)
