"""What people type to mute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from notifier.core.mute_words import MuteWords, WrittenTime, parse_written_time, read_mute_words
from notifier.core.mutes import MuteScope, MuteTimes, WrongMute

HOURS = {n: timedelta(hours=n) for n in (1, 2, 4)}
SHANGHAI, NEW_YORK = ZoneInfo("Asia/Shanghai"), ZoneInfo("America/New_York")
NOW = datetime(2026, 12, 2, 10, 30, tzinfo=UTC)
"""A Wednesday; 18:30 in Shanghai."""


def local(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prod-* 2h resizing", MuteWords(covers=("prod-*",), length=HOURS[2], reason="resizing")),
        ("prod-* type=task.completed 2h", MuteWords(covers=("prod-*", "type=task.completed"), length=HOURS[2])),
        ("prod-* failed backup 2h", MuteWords(covers=("prod-*", "failed", "backup"), length=HOURS[2])),
        ("prod-* 2h but failures", MuteWords(covers=("prod-*",), length=HOURS[2], except_failures=True)),
        (
            "prod-* 2h resizing it except failed",
            MuteWords(covers=("prod-*",), length=HOURS[2], except_failures=True, reason="resizing it"),
        ),
        (
            "source=staging sat 22:00 4h",
            MuteWords(covers=("source=staging",), start=WrittenTime(day="sat", clock="22:00"), length=HOURS[4]),
        ),
        (
            "gauss-1 from tomorrow 6:30 until 8:00 patching",
            MuteWords(
                covers=("gauss-1",),
                start=WrittenTime(day="tomorrow", clock="6:30"),
                end=WrittenTime(clock="8:00"),
                reason="patching",
            ),
        ),
        (
            "gauss-1 2026-12-05T22:00 for 4h",
            MuteWords(covers=("gauss-1",), start=WrittenTime(day="2026-12-05", clock="22:00"), length=HOURS[4]),
        ),
        ("gauss-1 until Saturday", MuteWords(covers=("gauss-1",), end=WrittenTime(day="sat"))),
        (
            "instance in [a, b] label.team=pay 1h",
            MuteWords(covers=("instance", "in", "[a,", "b]", "label.team=pay"), length=HOURS[1]),
        ),
        (
            "operation=backup every day 02:00 1h",
            MuteWords(covers=("operation=backup",), cron="0 2 * * *", length=HOURS[1]),
        ),
        ("a=b every mon-fri at 9:15 1h", MuteWords(covers=("a=b",), cron="15 9 * * 1-5", length=HOURS[1])),
        ("x every sat,sun 22:00 4h", MuteWords(covers=("x",), cron="0 22 * * 6,0", length=HOURS[4])),
        ("x every fri-sun 22:00 4h", MuteWords(covers=("x",), cron="0 22 * * 5-7", length=HOURS[4])),
        ("x cron", MuteWords(covers=("x",), reason="cron")),
        ("satellite 2h", MuteWords(covers=("satellite",), length=HOURS[2])),
        ("x 2h satellite 3h", MuteWords(covers=("x",), length=HOURS[2], reason="satellite 3h")),
    ],
)
def test_words_are_taken_apart(text: str, words: MuteWords) -> None:
    assert read_mute_words(text.split()) == words


def test_a_schedule_is_one_quoted_word() -> None:
    words = read_mute_words(["x", "cron", "0 22 * * 6", "4h", "patch", "day"])
    assert words == MuteWords(covers=("x",), cron="0 22 * * 6", length=HOURS[4], reason="patch day")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("x from soon 2h", "time"),
        ("x until later", "time"),
        ("x every moonday 22:00 2h", "every"),
        ("x every sat soon 2h", "time"),
    ],
)
def test_wrong_times_are_named(text: str, key: str) -> None:
    with pytest.raises(WrongMute) as caught:
        read_mute_words(text.split())
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("19:00", "2026-12-02 19:00"),
        ("18:30", "2026-12-03 18:30"),
        ("sat 22:00", "2026-12-05 22:00"),
        ("wed 18:00", "2026-12-09 18:00"),
        ("wed 19:00", "2026-12-02 19:00"),
        ("tomorrow", "2026-12-03 00:00"),
        ("2026-12-05", "2026-12-05 00:00"),
        ("2026-12-05 22:00", "2026-12-05 22:00"),
        ("2026-12-05t22:00", "2026-12-05 22:00"),
    ],
)
def test_a_written_time_is_the_next_one_that_it_can_mean(text: str, expected: str) -> None:
    assert parse_written_time(text).resolve(NOW, SHANGHAI) == local(expected)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "sat 22:00 2h"])
def test_other_texts_are_no_time(text: str) -> None:
    with pytest.raises(WrongMute):
        parse_written_time(text)


def test_a_skipped_time_is_when_the_clock_has_moved_on() -> None:
    before = datetime(2027, 3, 13, 20, tzinfo=UTC)
    assert parse_written_time("2027-03-14 02:30").resolve(before, NEW_YORK) == local("2027-03-14 03:00", NEW_YORK)


def test_times_follow_from_the_words() -> None:
    words = read_mute_words(["x", "sat", "22:00", "until", "02:00"])
    since = local("2026-12-05 22:00")
    until = since + HOURS[4]
    assert words.times(NOW, SHANGHAI) == MuteTimes(length=HOURS[4], since=since, until=until)
    assert read_mute_words(["x", "2h"]).times(NOW, SHANGHAI) == MuteTimes(length=HOURS[2])
    recurring = read_mute_words(["x", "every", "sat", "22:00", "4h", "until", "2027-01-01"]).times(NOW, SHANGHAI)
    assert (recurring.schedule, recurring.timezone) == ("0 22 * * 6", "Asia/Shanghai")
    assert recurring.last == local("2027-01-01 00:00")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("x", "length"),
        ("x every sat 22:00", "length"),
        ("x until 2026-02-30", "time"),
    ],
)
def test_words_without_an_end_are_no_times(text: str, key: str) -> None:
    with pytest.raises(WrongMute) as caught:
        read_mute_words(text.split()).times(NOW, SHANGHAI)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("words", "instance", "match"),
    [
        (["gauss-1"], "gauss-1", []),
        (["gauss 1"], "gauss 1", []),
        (["instance=gauss-1"], "gauss-1", []),
        (["prod-*"], None, ["instance=prod-*"]),
        (["gauss-1", "operation=backup"], None, ["instance=gauss-1", "operation=backup"]),
        (["source=staging"], None, ["source=staging"]),
        (["failed"], None, ["status=failed"]),
    ],
)
def test_one_plain_name_is_an_instance_and_all_else_matches(
    words: list[str], instance: str | None, match: list[str]
) -> None:
    scope = MuteScope.parse(words)
    assert (scope.instance, list(map(str, scope.match))) == (instance, match)


def test_what_is_no_matcher_is_refused_with_the_reason() -> None:
    with pytest.raises(WrongMute, match="unknown field 'sauce'") as caught:
        MuteScope.parse(["sauce=staging"])
    assert caught.value.key == "matcher"


def test_an_end_that_a_person_named_is_exact_whenever_the_mute_is_made() -> None:
    read_at = datetime(2026, 12, 1, 3, 0, 0, 250_000, UTC)
    times = read_mute_words(["prod-*", "until", "18:00"]).times(read_at, ZoneInfo("UTC"))
    window = times.first_window(read_at + timedelta(seconds=2))
    assert window.until == datetime(2026, 12, 1, 18, tzinfo=UTC)
