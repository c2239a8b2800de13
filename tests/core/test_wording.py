from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from factories import (
    T0,
    make_events,
)
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.model import TaskStatus
from notifier.wording.localizer import Localizer
from notifier.wording.operations import OPERATIONS
from notifier.wording.phrases import Language, phrases
from notifier.wording.reasons import reason_templates
from notifier.wording.sanitize import cut, one_line, plain, strip_controls
from notifier.wording.states import by_severity

ENGLISH = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
CHINESE = Localizer(language="zh", timezone=ZoneInfo("Asia/Shanghai"))
FORBIDDEN = [
    *map(chr, range(9)),
    *map(chr, range(11, 32)),
    *map(chr, range(127, 160)),
    *"\u202a\u202e\u2066\u2069\ud800\ue000\ue001\ue002\ue003",
]


# ---- the catalogue ----


def placeholders(phrase: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(phrase) if name}


OTHER_ORDER = frozenset({"headline.title"})
"""Phrases that are given the parts of a sentence and the sentence: Chinese titles begin with what happened."""


def test_both_languages_have_the_same_phrases_and_placeholders() -> None:
    english, chinese = phrases("en"), phrases("zh")
    assert english.keys() == chinese.keys()
    for key in english.keys() - OTHER_ORDER:
        assert placeholders(english[key]) == placeholders(chinese[key]), key


OUTDATED = re.compile("来源|(?<!通知)渠道|静音|通道|确认|迟到|作业|观察中断|放弃")
"""Words that Chinese phrases used for 数据源, 通知渠道, 屏蔽, 认领, 补报, 任务, 监控中断, 停止重试."""


def test_chinese_has_one_word_for_one_thing() -> None:
    texts = dict(phrases("zh")) | {one.literals[0]: one.translation for one in reason_templates("zh")}
    assert {key: text for key, text in texts.items() if OUTDATED.search(text)} == {}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_phrase_has_a_word_that_the_style_forbids(language: Language) -> None:
    forbidden = re.compile(
        r"\b(tell|tells|told|say|says|look|looks|anew|for ever|parked here|meanwhile)\b", re.IGNORECASE
    )
    assert {key: text for key, text in phrases(language).items() if forbidden.search(text)} == {}


REPLIES = ("instance", "task", "row", "watch", "mute", "mutes", "click", "health", "finding", "cli", "note.as_of")
"""Phrases whose times have their dates."""


def test_a_date_in_chinese_has_no_space_beside_it() -> None:
    """Slack may put 今天 there."""
    spaced = re.compile(r"[\u4e00-\u9fff] \{(?:at|until)\}|\{(?:at|until)\} [\u4e00-\u9fff]")
    texts = {key: text for key, text in phrases("zh").items() if key.startswith(REPLIES)}
    assert {key: text for key, text in texts.items() if spaced.search(text)} == {}
    assert len(texts) > 50


def test_the_most_urgent_events_come_first_and_keep_their_order() -> None:
    ordered = by_severity(make_events(4))
    assert [event.job_id for event in ordered] == ["job-00000", "job-00002", "job-00001", "job-00003"]


# ---- labels ----


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_the_documented_operations_have_names_in_both_languages(name: str) -> None:
    assert ENGLISH.task_label(name)[0].isupper()
    assert not CHINESE.task_label(name).isascii()


def test_there_are_ten_documented_operations() -> None:
    assert len(OPERATIONS) == 10
    assert ENGLISH.task_label("CreateGaussDBV5Instance") == "Instance creation"
    assert ENGLISH.task_label("GaussDBV5ExpandClusterDN") == "Adding shards"
    assert CHINESE.task_label("ResizeGaussDBV5Flavor") == "规格变更"


def test_an_unknown_operation_is_shown_as_it_is() -> None:
    assert ENGLISH.task_label("HOTFIX_VERSION_UPGRADE") == "HOTFIX_VERSION_UPGRADE"
    assert ENGLISH.task_label(" \n") == "Unnamed task"


def test_a_status_is_translated_in_any_case_and_shown_if_unknown() -> None:
    assert ENGLISH.status_label("FAILED") == "Failed"
    assert CHINESE.status_label(TaskStatus.RUNNING) == "运行中"
    assert CHINESE.status_label("Pending") == "Pending"


# ---- times and lengths ----


@pytest.mark.parametrize(
    ("zone", "offset"),
    [
        ("Asia/Shanghai", "UTC+8"),
        ("America/Chicago", "UTC-6"),
        ("Asia/Kolkata", "UTC+5:30"),
        ("America/St_Johns", "UTC-3:30"),
        ("Europe/London", "UTC"),
        ("UTC", "UTC"),
    ],
)
def test_a_zone_is_an_offset_and_never_an_abbreviation(zone: str, offset: str) -> None:
    moment = datetime(2025, 11, 14, 1, 22, 5, tzinfo=UTC)
    localizer = Localizer(language="en", timezone=ZoneInfo(zone))
    assert localizer.offset(moment) == offset
    assert localizer.when(moment).endswith(f" ({offset})")


def test_a_time_is_shown_with_or_without_its_date() -> None:
    moment = datetime(2025, 11, 14, 1, 22, 5, tzinfo=UTC)
    assert ENGLISH.day_and_time(moment) == "14 Nov 09:22:05"
    assert CHINESE.day_and_time(moment) == "11月14日 09:22:05"
    assert (ENGLISH.clock(moment), CHINESE.clock(moment, seconds=False)) == ("09:22:05", "09:22")


def test_a_time_is_shown_in_the_readers_zone() -> None:
    moment = datetime(2025, 11, 14, 1, 22, 5, tzinfo=UTC)
    assert ENGLISH.when(moment) == "14 Nov 09:22:05 (UTC+8)"
    assert CHINESE.when(moment) == "11月14日 09:22:05（UTC+8）"
    assert Localizer(language="en", timezone=ZoneInfo("UTC")).when(moment) == "14 Nov 01:22:05 (UTC)"


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/New_York"])
@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)])
def test_the_ends_of_the_calendar_can_be_shown(zone: str, moment: datetime) -> None:
    localizer = Localizer(language="en", timezone=ZoneInfo(zone))
    for offset in (-23, 0, 23):
        there = moment.replace(tzinfo=timezone(timedelta(hours=offset)))
        assert all((localizer.when(there), localizer.day_and_time(there), localizer.clock(there)))
        assert localizer.offset(there).startswith("UTC")


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (-5, "under 1 s", "不到 1 秒"),
        (0.4, "under 1 s", "不到 1 秒"),
        (4, "4 s", "4 秒"),
        (60, "1 min", "1 分钟"),
        (724, "12 min 4 s", "12 分 4 秒"),
        (7800, "2 h 10 min", "2 小时 10 分"),
        (7201, "2 h", "2 小时"),
        (97_200, "1 d 3 h", "1 天 3 小时"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, english: str, chinese: str) -> None:
    assert ENGLISH.duration(timedelta(seconds=seconds)) == english
    assert CHINESE.duration(timedelta(seconds=seconds)) == chinese


@pytest.mark.parametrize(
    ("minutes", "english", "chinese"),
    [(30, "30 min", "30 分钟"), (1440, "24 h", "24 小时"), (90, "1 h 30 min", "1 小时 30 分"), (10_080, "7 d", "7 天")],
)
def test_a_window_of_a_day_is_written_in_hours(minutes: int, english: str, chinese: str) -> None:
    assert ENGLISH.window(timedelta(minutes=minutes)) == english
    assert CHINESE.window(timedelta(minutes=minutes)) == chinese


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (-5, "about 10 s", "约 10 秒"),
        (84, "about 1 min 20 s", "约 1 分 20 秒"),
        (570, "about 10 min", "约 10 分钟"),
        (2471, "about 40 min", "约 40 分钟"),
        (12_000, "about 3 h 30 min", "约 3 小时 30 分"),
        (100_000, "about 1 d 4 h", "约 1 天 4 小时"),
    ],
)
def test_an_estimate_is_rounded_to_a_sensible_step(seconds: float, english: str, chinese: str) -> None:
    assert ENGLISH.estimate(timedelta(seconds=seconds)) == english
    assert CHINESE.estimate(timedelta(seconds=seconds)) == chinese


@pytest.mark.parametrize(
    ("part", "whole", "shown"), [(0, 3, "0%"), (1, 3, "33%"), (1, 300, "<1%"), (299, 300, ">99%"), (3, 3, "100%")]
)
def test_only_nothing_is_no_percent_and_only_the_whole_is_all(part: int, whole: int, shown: str) -> None:
    assert ENGLISH.share(part, whole) == shown


def test_a_known_status_of_an_instance_is_translated() -> None:
    assert (ENGLISH.instance_status("createfail"), CHINESE.instance_status("creating")) == ("creation failed", "创建中")
    assert CHINESE.instance_status("UPGRADE TO BE OBSERVED") == "升级待观察"
    assert CHINESE.instance_status("odd\nstatus") == "odd status"
    assert [CHINESE.knows_instance_status(one) for one in ("BACKING UP", "odd")] == [True, False]


@pytest.mark.parametrize(
    ("ago", "english", "chinese"),
    [
        (None, "never", "从未"),
        (0, "just now", "刚刚"),
        (-0.5, "just now", "刚刚"),
        (119, "1 min 59 s ago", "1 分 59 秒前"),
        (-30, "in 30 s", "30 秒后"),
    ],
)
def test_an_age_is_relative_to_now(ago: float | None, english: str, chinese: str) -> None:
    moment = None if ago is None else T0 - timedelta(seconds=ago)
    assert ENGLISH.age(moment, T0) == english
    assert CHINESE.age(moment, T0) == chinese


# ---- text from outside ----


def test_terminal_sequences_go_as_a_whole() -> None:
    assert strip_controls("\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ \x9b1mbold") == "red link bold"


def test_an_unfinished_terminal_sequence_cannot_swallow_the_rest() -> None:
    assert strip_controls("before \x1b]0;after") == "before ]0;after"


def test_line_breaks_of_every_kind_become_one_kind() -> None:
    assert plain("a\r\nb\rc\u2028d\x85e\n") == "a\nb\nc\nd\ne"
    assert one_line("a\r\nb \t c") == "a b c"


def test_cut_text_ends_with_an_ellipsis() -> None:
    assert cut("abcdef", 6) == "abcdef"
    assert cut("abcdefg", 6) == "abcde…"
    assert cut("abcd efg", 6) == "abcd…"


@given(st.text())
def test_no_control_character_survives(text: str) -> None:
    cleaned = plain(text + "".join(FORBIDDEN) + text)
    assert not set(cleaned) & set(FORBIDDEN)
    assert "\n" not in one_line(text)


# ---- the code ----

PACKAGE = Path(__file__).parent.parent.parent / "notifier"
PREFIXES = {
    "text": "",
    "reply": "",
    "refusal": "",
    "counted": "",
    "word": "table.",
    "phrase": "cli.",
    "_fact": "label.",
    "_time": "label.",
}
"""What the methods that take the key of a phrase put before it."""


def named_phrases() -> Iterator[tuple[str, str]]:
    """Yield a place in the package and a pattern of the keys that it names."""
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "simulator"):  # it has no words for people: its `text` reads a parameter
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="sa"))):
                    pass  # SQLAlchemy's own `text`
                case (
                    ast.Call(func=ast.Attribute(attr=name), args=[key, *_])
                    | ast.Call(func=ast.Name(id="text" as name), args=[_, key, *_])
                ) if name in PREFIXES and (pattern := key_pattern(key)):
                    plural = r"\.one" if name == "counted" else ""
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", re.escape(PREFIXES[name]) + pattern + plural


def key_pattern(key: ast.expr) -> str | None:
    match key:
        case ast.Constant(value=str(text)):
            return re.escape(text)
        case ast.JoinedStr(values=parts):
            return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else ".+" for part in parts)
        case ast.IfExp(body=body, orelse=other):
            return f"(?:{key_pattern(body)}|{key_pattern(other)})"
    return None


def test_every_phrase_that_the_code_names_exists() -> None:
    named = list(named_phrases())
    missing = [
        (place, pattern) for place, pattern in named if not any(re.fullmatch(pattern, key) for key in phrases("en"))
    ]
    assert missing == []
    assert len(named) > 100
