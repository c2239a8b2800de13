"""The section `mutes`: what loads, and what each mistake is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifier.config.loading import InvalidConfiguration, loads

HOUR = timedelta(hours=1)
BASE = """\
timezone: Asia/Shanghai
sources: [{name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, auth: {kind: ecs_agency}}]
channels: [{name: ops, kind: console}]
"""
MUTE = "mutes: [{name: patches, match: [source=prod], %s}]\n"


def complaint(text: str) -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        loads(BASE + text, {}, origin="n.yaml")
    (line,) = str(caught.value).splitlines()[-1:]
    return line


def test_a_recurring_mute_loads() -> None:
    more = "cron: '0 22 * * 6', length: 4h, until: '2027-06-01', except_failures: true, reason: patch day"
    (mute,) = loads(BASE + MUTE % more, {}).configured_mutes
    assert (mute.name, list(map(str, mute.match)), mute.except_failures) == ("patches", ["source=prod"], True)
    assert (mute.times.schedule, mute.times.timezone, mute.times.length) == ("0 22 * * 6", "Asia/Shanghai", 4 * HOUR)
    assert mute.times.last == datetime(2027, 5, 31, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("more", "length"),
    [
        ("from: 2026-12-05 22:00, until: 2026-12-06 02:00", 4 * HOUR),
        ("from: '2026-12-05 22:00', length: 30m", HOUR / 2),
        ("from: 2026-12-05 15:00, length: 1h, timezone: Europe/London", HOUR),
    ],
)
def test_a_single_window_loads(more: str, length: timedelta) -> None:
    (mute,) = loads(BASE + MUTE % more, {}).configured_mutes
    since = datetime(2026, 12, 5, 15 if "London" in more else 14, tzinfo=UTC)
    assert (mute.times.since, mute.times.length, mute.times.cron) == (since, length, None)


def test_a_mute_during_maintenance_loads() -> None:
    config = loads(BASE + MUTE % "during: maintenance, except_failures: true, reason: restarts", {})
    (mute,) = config.maintenance_mutes
    assert (mute.name, mute.rule, mute.except_failures, mute.reason) == ("patches", "mute:patches", True, "restarts")
    assert config.configured_mutes == ()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("cron: '0 22 * * 6'", "mutes[0].length: is missing: how long a window stays open, for example 4h."),
        ("length: 4h", "mutes[0].cron: is missing, or from with until or length: a mute needs a window."),
        ("cron: '61 * * * *', length: 1h", "mutes[0].cron: is wrong: '61 * * * *' is not a schedule"),
        ("cron: '0 * * * *', length: 2h", "mutes[0].length: is wrong: it begins again 1h after it began and lasts 2h"),
        ("cron: '0 2 * * *', length: 40d", "mutes[0].length: is wrong: a mute lasts from 1m to 30d, not 40d."),
        ("cron: '0 2 * * *', length: 1h, from: 2026-12-05", "mutes[0].from: has no effect beside cron."),
        ("from: 2026-12-05", "mutes[0].until: or length says when the window closes."),
        ("from: 2026-12-05, until: 2026-12-01", "mutes[0].until: is wrong: it would end before it begins."),
        ("from: sat 22:00, length: 1h", "mutes[0].from: has no date; write a date, or a date and a time of day"),
        ("from: soon, length: 1h", "mutes[0].from: is no time; write a date, or a date and a time of day"),
        ("from: 2026-02-30, length: 1h", "mutes[0].from: there is no day 2026-02-30."),
        ("from: 2026-12-05, length: 1h, timezone: Mars", "no time zone is called 'Mars'"),
        ("during: lunch", "mutes[0].during"),
        ("during: maintenance, length: 1h", "mutes[0].length: has no effect beside during"),
        ("during: maintenance, from: 2026-12-05", "mutes[0].from: has no effect beside during"),
        ("during: maintenance, announce: true", "mutes[0].announce: has no effect beside during"),
    ],
)
def test_each_mistake_gets_one_clear_error(more: str, why: str) -> None:
    assert why in complaint(MUTE % more)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{name: 2bcf, match: [source=prod], from: 2026-12-05, length: 1h}", "looks like the id of a mute of a person"),
        ("{name: x, match: [], from: 2026-12-05, length: 1h}", "mutes[0].match"),
        ("{name: x, match: [sauce=a], from: 2026-12-05, length: 1h}", "unknown field 'sauce'"),
        ("{name: x, match: [source=lab], from: 2026-12-05, length: 1h}", "no source is called 'lab'"),
    ],
)
def test_a_mute_has_a_name_and_covers_something(entry: str, why: str) -> None:
    assert why in complaint(f"mutes: [{entry}]\n")


def test_two_mutes_cannot_have_one_name() -> None:
    entry = "{name: x, match: [source=prod], from: 2026-12-05, length: 1h}"
    assert "the name is taken by mutes[0]" in complaint(f"mutes: [{entry}, {entry}]\n")
