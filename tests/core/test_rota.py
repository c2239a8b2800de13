"""Rotas: who is on duty, who follows, and whom a message mentions."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.calendars import CalendarEntry, days_of
from notifier.core.rota import DutyPerson, Override, Rota, Rotas, Rotation, rota_named

BERLIN = ZoneInfo("Europe/Berlin")
ANN, BEN, CAI = (
    DutyPerson(name="Ann", mention=("U0ANN",)),
    DutyPerson(name="Ben"),
    DutyPerson(name="蔡明", mention=("@cai",)),
)
WEEKLY = Rota(
    name="dba",
    zone=BERLIN,
    people=(ANN, BEN, CAI),
    rotation=Rotation(first=date(2026, 3, 2), at=time(9), days=7),
    fallback=("@here",),
)


def local(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("at", "person"),
    [
        ("2026-03-02T08:59:59", None),
        ("2026-03-02T09:00", ANN),
        ("2026-03-09T08:59:59", ANN),
        ("2026-03-09T09:00", BEN),
        ("2026-03-16T09:00", CAI),
        ("2026-03-23T09:00", ANN),
        ("2026-03-30T08:59:59", ANN),  # summer time has begun in the night before
        ("2026-03-30T09:00", BEN),
        ("2026-10-26T08:59:59", ANN),  # and ended
        ("2026-10-26T09:00", BEN),
    ],
)
def test_a_hand_over_stays_at_its_time_of_day(at: str, person: DutyPerson | None) -> None:
    assert WEEKLY.on_duty(local(at)) == person


def test_duty_names_the_next_hand_over() -> None:
    duty = WEEKLY.duty(local("2026-03-28T12:00"))
    assert (duty.person, duty.until, duty.following) == (ANN, local("2026-03-30T09:00"), BEN)
    before = WEEKLY.duty(local("2026-02-01T00:00"))
    assert (before.person, before.until, before.following) == (None, local("2026-03-02T09:00"), ANN)
    alone = Rota(name="solo", zone=BERLIN, people=(ANN,), rotation=WEEKLY.rotation)
    assert alone.duty(local("2026-05-01T00:00")).until is None


def test_an_override_counts_while_it_lasts() -> None:
    swap = Override(start=local("2026-03-10T00:00"), end=local("2026-03-11T00:00"), person="蔡明")
    rota = Rota(name="dba", zone=BERLIN, people=WEEKLY.people, rotation=WEEKLY.rotation, overrides=(swap,))
    assert rota.on_duty(local("2026-03-09T23:59")) == BEN
    assert rota.duty(local("2026-03-10T12:00")).person == CAI
    assert rota.duty(local("2026-03-10T12:00")).until == local("2026-03-11T00:00")
    assert rota.on_duty(local("2026-03-11T00:00")) == BEN


ENTRIES = (
    CalendarEntry(summary="On call: ann", starts_at=local("2026-03-02T09:00"), ends_at=local("2026-03-09T09:00")),
    CalendarEntry(summary="ben", starts_at=local("2026-03-04T18:00"), ends_at=local("2026-03-05T09:00")),
    CalendarEntry(summary="Dana", first_day=date(2026, 3, 10), last_day=date(2026, 3, 11)),
)
KEPT = Rota(name="cal", zone=BERLIN, people=(ANN, BEN), calendar="oncall", fallback=("@here",))


@pytest.mark.parametrize(
    ("at", "name", "mentions"),
    [
        ("2026-03-03T12:00", "Ann", ("U0ANN",)),
        ("2026-03-04T20:00", "Ben", ("@here",)),  # whom nothing mentions
        ("2026-03-05T09:00", "Ann", ("U0ANN",)),
        ("2026-03-09T12:00", None, ("@here",)),
        ("2026-03-10T00:00", "Dana", ("@here",)),
        ("2026-03-12T00:00", None, ("@here",)),
    ],
)
def test_a_calendar_names_who_is_on_duty(at: str, name: str | None, mentions: tuple[str, ...]) -> None:
    person = KEPT.on_duty(local(at), ENTRIES)
    assert (person.name if person else None) == name
    assert KEPT.mentions(local(at), ENTRIES) == mentions


def test_gaps_are_the_times_with_nobody() -> None:
    found = list(KEPT.gaps(local("2026-03-01T00:00"), local("2026-03-15T00:00"), ENTRIES))
    assert found == [
        (local("2026-03-01T00:00"), local("2026-03-02T09:00")),
        (local("2026-03-09T09:00"), local("2026-03-10T00:00")),
        (local("2026-03-12T00:00"), local("2026-03-15T00:00")),
    ]
    assert list(WEEKLY.gaps(local("2026-03-02T09:00"), local("2026-05-01T00:00"))) == []


def test_a_mention_of_a_rota_becomes_the_mentions_of_who_is_on_duty() -> None:
    rotas = Rotas(by_name={"dba": WEEKLY, "cal": KEPT}, entries={"oncall": ENTRIES})
    at = local("2026-03-03T12:00")
    assert rotas.mentions(("S0TEAM", "@rota:dba", "@rota:cal", "U0ANN"), at) == ("S0TEAM", "U0ANN")
    assert rotas.mentions(("@rota:gone",), at) == ()
    assert (rota_named("@rota:dba"), rota_named("@dba")) == ("dba", None)


def test_strangers_are_named_while_their_shifts_last() -> None:
    assert KEPT.strangers(local("2026-03-01T00:00"), ENTRIES) == {"Dana"}
    assert KEPT.strangers(local("2026-03-12T00:00"), ENTRIES) == frozenset()


def test_the_longest_name_in_a_summary_counts() -> None:
    people = (DutyPerson(name="Li"), DutyPerson(name="Li Wei"), DutyPerson(name="Wei"))
    rota = Rota(name="dba", zone=BERLIN, people=people)
    assert rota.named("Duty: LI WEI (primary)").name == "Li Wei"
    assert rota.named("Liam").name == "Liam"


def test_days_of_a_calendar_are_those_of_its_whole_days() -> None:
    long = CalendarEntry(summary="New Year", first_day=date(2027, 2, 6), last_day=date(2027, 2, 8))
    assert days_of([long, *ENTRIES[:2]]) == {date(2027, 2, 6), date(2027, 2, 7), date(2027, 2, 8)}


@given(
    zone=st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    days=st.sampled_from([1, 2, 7, 14]),
    hour=st.sampled_from([0, 1, 2, 3, 9]),
    minutes=st.integers(0, 366 * 24 * 60),
)
def test_exactly_one_is_on_duty_and_shifts_follow_each_other(zone: str, days: int, hour: int, minutes: int) -> None:
    people = (ANN, BEN, CAI)
    rotation = Rotation(first=date(2026, 1, 5), at=time(hour, 30), days=days)
    rota = Rota(name="dba", zone=ZoneInfo(zone), people=people, rotation=rotation)
    at = local("2026-01-06T12:00", rota.zone) + timedelta(minutes=minutes)
    duty = rota.duty(at)
    assert duty.person
    assert duty.until
    assert duty.following == people[(people.index(duty.person) + 1) % 3]
    wall = duty.until.astimezone(rota.zone)
    assert wall.hour * 60 + wall.minute in (hour * 60 + 30, hour * 60 + 60)  # later only where the time is skipped
    assert rota.on_duty(duty.until - timedelta(microseconds=1)) == duty.person
    assert rota.on_duty(duty.until) == duty.following
