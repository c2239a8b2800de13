"""Lines of a terminal: how wide they are, and where they end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.wording.columns import columns, shortened, wrapped
from notifier.wording.lines import RIGHT_EDGE, Line, Span, decode, encode, printed

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=120) | st.text("ab 数据，。（）-", max_size=120)


def lines_of(text: str, room: int, *whole: str) -> list[str]:
    bounds = [(text.index(one), text.index(one) + len(one)) for one in whole]
    return [text[begin:end] for begin, end in wrapped(text, room, whole=bounds)]


def shown(line: Line, width: int | None) -> list[str]:
    return ["".join(span.text for span in spans) for spans in printed(line, width)]


# ---- wrapping ----


@pytest.mark.parametrize(
    ("text", "room", "expected"),
    [
        ("", 10, [""]),
        ("one two three", 7, ["one two", "three"]),
        ("one  two", 4, ["one", "two"]),
        ("job def160ec-c3ad", 10, ["job", "def160ec-c", "3ad"]),
        ("等待虚拟机就绪超时。错误码", 10, ["等待虚拟机", "就绪超时。", "错误码"]),
        ("就绪超时，错误码", 8, ["就绪超", "时，错误", "码"]),
        ("错误码：DBS.280277。", 10, ["错误码：", "DBS.280277", "。"]),
        ("（平时约 8 分钟）", 9, ["（平时约", "8 分钟）"]),
        ("    indented code", 12, ["    indented", "code"]),
    ],
)
def test_a_line_ends_where_a_reader_would_end_it(text: str, room: int, expected: list[str]) -> None:
    assert lines_of(text, room) == expected


def test_a_command_is_divided_only_where_it_is_wider_than_a_line() -> None:
    text = "send again: `notifier retry --all-dead` now"
    assert lines_of(text, 30, "`notifier retry --all-dead`") == ["send again:", "`notifier retry --all-dead`", "now"]
    assert lines_of(text, 20, "`notifier retry --all-dead`") == ["send again:", "`notifier retry", "--all-dead` now"]


@given(TEXT, st.integers(2, 60), st.integers(2, 60))
def test_lines_fit_and_lose_nothing_but_spaces(text: str, room: int, first: int) -> None:
    bounds = wrapped(text, room, first=first)
    lines = [text[begin:end] for begin, end in bounds]
    assert columns(lines[0]) <= first
    assert all(columns(line) <= room for line in lines[1:])
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(a[1] <= b[0] for a, b in pairwise(bounds))


@given(st.lists(st.text("abc123", min_size=1, max_size=12), min_size=1).map(" ".join), st.integers(12, 60))
def test_no_word_is_divided_that_fits(text: str, room: int) -> None:
    assert [word for line in lines_of(text, room) for word in line.split()] == text.split()


# ---- names ----


@given(TEXT, st.integers(3, 60))
def test_a_shortened_name_has_both_ends_and_fits(name: str, limit: int) -> None:
    short = shortened(name, limit)
    assert columns(short) <= limit
    if short != name:
        begin, _, end = short.partition("…")
        assert name.startswith(begin)
        assert name.endswith(end.rpartition("…")[2])


# ---- lines ----


def test_the_right_part_stands_at_the_edge_of_the_terminal_but_not_far_away() -> None:
    line = Line((Span("left"),), hang=2, right=(Span("PROD", "bold"), Span(" prod")))
    assert shown(line, None) == ["left  PROD prod"]
    assert shown(line, 20) == ["left" + "PROD prod".rjust(16)]
    assert len(shown(line, 500)[0]) == RIGHT_EDGE
    assert shown(Line((Span("l" * 18),), hang=2, right=(Span("PROD"), Span(" prod"))), 24) == ["l" * 18, "  PROD prod"]


def test_a_continued_line_hangs_and_keeps_its_gutter() -> None:
    line = Line((Span("one two three four five"),), indent=2, hang=2, gutter="│ ")
    assert shown(line, 24) == ["  │ one two three four", "  │ five"]
    assert shown(line, None) == ["  │ one two three four five"]


def test_a_link_stays_in_one_piece() -> None:
    line = Line((Span("Console https://console.example.com/" + "x" * 50),), indent=2, wraps=False)
    assert shown(line, 40) == ["  Console https://console.example.com/" + "x" * 50]


spans = st.builds(Span, TEXT, st.sampled_from(["", "bold red"]), st.booleans())
parts = st.lists(spans, max_size=4).map(tuple)


@given(
    st.builds(Line, parts, st.integers(0, 12), st.integers(0, 12), st.sampled_from(["", "│ "]), parts, st.booleans())
)
def test_lines_are_read_as_they_were_written(line: Line) -> None:
    assert decode(encode([line, line])) == [line, line]
    whole = "".join(shown(line, None))
    for width in (30, 80):
        assert "".join("".join(shown(line, width)).replace("│ ", "").split()) == "".join(
            whole.replace("│ ", "").split()
        )
