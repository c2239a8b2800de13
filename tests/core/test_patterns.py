"""Patterns: the meaning that Python gives them, in linear time."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import patterns

LETTERS = "aB7_-. \t\n\x1c\x85\u2028é中Ⅷ٣²'[]:"
"""What the notations of the two engines differ about, and what they do not."""

ATOMS = (
    *(re.escape(letter) for letter in "aB7_-. é中[]:"),
    *(".", r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", r"\n", r"\u4e2d", r"\x41", r"\_", r"\é"),
    *(
        "[aB]",
        "[^aB]",
        r"[\w.-]",
        r"[^\w]",
        r"[\s\d]",
        r"[^\s]",
        r"[]a]",
        r"[^]a]",
        r"[a[b]",
        r"[\]\[]",
    ),
)


def groups(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(("?", "{0,2}", "{2}", "*", "+", "*?"))).map(lambda p: f"(?:{p[0]}){p[1]}"),
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda some: f"({'|'.join(some)})"),
    )


PATTERNS = st.recursive(st.sampled_from(ATOMS), groups, max_leaves=6)


@given(pattern=PATTERNS, text=st.text(LETTERS, max_size=6))
def test_a_pattern_means_what_it_means_in_python(pattern: str, text: str) -> None:
    patterns.check_pattern(pattern)
    assert patterns.matches_pattern(pattern, text) is (re.fullmatch(pattern, text, re.DOTALL) is not None)


@pytest.mark.parametrize("pattern", ["(?i)PROD-.*", r"prod\Z", r"\Aprod", r"(?P<stage>prod|test)-\d+", r"\bprod\b.*"])
@pytest.mark.parametrize("text", ["prod", "PROD-1", "test-42", "prod-1", "production", "prod\n", ""])
def test_groups_flags_and_anchors_mean_the_same_too(pattern: str, text: str) -> None:
    assert patterns.matches_pattern(pattern, text) is (re.fullmatch(pattern, text, re.DOTALL) is not None)


@pytest.mark.parametrize(
    "pattern",
    [
        r"([A-Za-z]+[ .,]?)+\d+",
        "(a+)+b",
        "(a|a)*b",
        "(a|aa)+b",
        "(a*)*b",
        ".*a.*a.*a.*a.*a.*a.*b",
        "(.*)(.*)(.*)(.*)(.*)b",
        r"(\w+\s?)+!",
        "(x?){30}x{30}",
    ],
)
@pytest.mark.parametrize("letter", ["a", "x", "中"])
def test_no_pattern_takes_more_than_linear_time(pattern: str, letter: str) -> None:
    """An engine that backtracks would not be done in the lifetime of this machine."""
    patterns.check_pattern(pattern)
    assert not patterns.matches_pattern(pattern, letter * patterns.MAX_TEXT_LENGTH)


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        (r"(?=.*quota).*", "write it without a look-around (a route can have a second matcher, with =~ or !~)"),
        (r"(?!prod).*", "write it without a look-around (a route can have a second matcher, with =~ or !~)"),
        (r".*(?<=prod)", "write it without a look-around (a route can have a second matcher, with =~ or !~)"),
        (r".*(?<!prod)", "write it without a look-around (a route can have a second matcher, with =~ or !~)"),
        (r"(a|b)\1", "write the alternatives out instead of referring back"),
        (r"(?P<x>a|b)(?P=x)", "write the alternatives out instead of referring back"),
        (r"(a)?(?(1)b|c)", "write the alternatives out instead of referring back"),
        (r"a++b", "leave out what keeps a repetition from giving back"),
        (r"(?>a+)b", "leave out what keeps a repetition from giving back"),
        (r"(?#note)a", "leave the comment out"),
        (r"[a\W]", r"write [^\w] or list the characters instead of \W in brackets"),
        (r"a{2000}", "invalid repetition size"),
        (r"(\w{100}){10}", "Write it more simply"),
    ],
)
def test_what_has_no_linear_time_is_refused_with_a_remedy(pattern: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(remedy)) as caught:
        patterns.check_pattern(pattern)
    assert str(caught.value).startswith(f"{pattern!r} cannot be matched in linear time: ")


def test_of_a_text_without_end_the_beginning_counts() -> None:
    text = "quota " + "x" * patterns.MAX_TEXT_LENGTH + " end"
    assert patterns.matches_pattern("quota.*", text)
    assert not patterns.matches_pattern(".*end", text)


def test_a_text_that_is_none_is_matched_all_the_same() -> None:
    assert patterns.matches_pattern("quota.", "quota\ud83d")


# ---- where there is no RE2 ----


@pytest.fixture
def without_re2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "re2", None)
    monkeypatch.setattr(patterns, "_compiled", patterns._compiled.__wrapped__)


@pytest.mark.usefixtures("without_re2")
@pytest.mark.parametrize(
    "pattern", ["prod-.*", "task[.](failed|stalled)", ".*quota.*exceeded.*", r"(a|b)?c{1,3}", "[(+*]+"]
)
def test_simple_patterns_serve_everywhere(pattern: str) -> None:
    patterns.check_pattern(pattern)
    text = "prod-" + "ab" * patterns.MAX_BACKTRACKING_LENGTH
    assert patterns.matches_pattern(pattern, text) is (
        re.fullmatch(pattern, text[: patterns.MAX_BACKTRACKING_LENGTH], re.DOTALL) is not None
    )


@pytest.mark.usefixtures("without_re2")
@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "((a)|b)*", "(a*)*", ".*.*.*.*b", r"(\w+\s?)+!", "(?=a)b", r"(a)\1", "(a{2,})+"]
)
def test_what_could_backtrack_is_refused_there(pattern: str) -> None:
    with pytest.raises(ValueError, match="cannot be matched in linear time"):
        patterns.check_pattern(pattern)


@pytest.mark.usefixtures("without_re2")
@pytest.mark.parametrize("pattern", [".*a.*b.*", "(a+)+b", r"(a)\1", "a{2,}b{3,}c{4,}"])
def test_a_search_that_could_backtrack_is_refused_there(pattern: str) -> None:
    with pytest.raises(ValueError, match="cannot be matched in linear time"):
        patterns.Search([pattern]).check()


# ---- searching ----


def reference(alternatives: Sequence[str], text: str) -> bool:
    return any(re.search(one, text, re.DOTALL | re.IGNORECASE) for one in alternatives)


@given(alternatives=st.lists(PATTERNS, max_size=3), text=st.text(LETTERS, max_size=6))
def test_a_search_finds_what_python_finds(alternatives: list[str], text: str) -> None:
    search = patterns.Search(alternatives)
    search.check()
    assert search.found_in(text) is reference(alternatives, text)


@pytest.mark.parametrize("engine", ["re2", "python"])
def test_a_search_means_the_same_in_both_engines(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "python":
        monkeypatch.setattr(patterns, "re2", None)
        monkeypatch.setattr(patterns, "_compiled", patterns._compiled.__wrapped__)
    search = patterns.Search([r"\bEIP\b.{0,9}used", "配额(不足|已满)"])
    search.check()
    for text in ("the eip is Used", "弹性EIP已used", "CPU配额不足。", "EIP\nused"):
        assert search.found_in(text), text
    for text in ("equip used", "EIPs used", "配额", "", "eip " + "x" * 10 + " used"):
        assert not search.found_in(text), text
    assert not patterns.Search([]).found_in("anything")


@pytest.mark.parametrize("pattern", ["(?i)PROD-.*x", "(", r"a\1", "(?=a)b"])
def test_a_search_refuses_what_is_no_pattern(pattern: str) -> None:
    search = patterns.Search(["fine", pattern])
    if pattern.startswith("(?i)"):
        search.check()
        assert search.found_in("a prod-1x")
    else:
        with pytest.raises(ValueError, match=re.escape(repr(pattern))):
            search.check()


@pytest.mark.parametrize("letter", ["a", "x", "中"])
def test_no_search_takes_more_than_linear_time(letter: str) -> None:
    search = patterns.Search([r"(a+)+b", "(a|aa)+b", ".*a.*a.*a.*b", r"x{0,60}.{0,60}y", "(.*)(.*)(.*)b"])
    search.check()
    assert not search.found_in(letter * patterns.MAX_TEXT_LENGTH)


# ---- many searches ----


@given(alternatives=st.lists(st.lists(PATTERNS, min_size=1, max_size=2), max_size=4), text=st.text(LETTERS, max_size=8))
def test_a_table_finds_the_first_search_that_finds(alternatives: Sequence[Sequence[str]], text: str) -> None:
    searches = [patterns.Search(some) for some in alternatives]
    first = next((at for at, search in enumerate(searches) if search.found_in(text)), None)
    table = patterns.SearchTable(searches)
    assert table.first_found(text) == first
    assert table._set is not None


def test_a_table_that_is_too_large_is_searched_one_by_one() -> None:
    table = patterns.SearchTable([patterns.Search([f"fault {n}:.{{0,200}}again"]) for n in range(600)])
    assert table._set is None
    assert table.first_found("it was fault 599: once again") == 599
    assert table.first_found("it was none of them") is None


def test_what_proves_that_a_table_works_is_no_finding() -> None:
    assert patterns.SearchTable([patterns.Search(["fault"])]).first_found(patterns._PROBE) is None


@pytest.mark.usefixtures("without_re2")
def test_a_table_works_without_the_engine_too() -> None:
    table = patterns.SearchTable([patterns.Search(["disk"]), patterns.Search(["vCPU", "quota"])])
    assert [table.first_found(text) for text in ("the Quota", "a DISK and a quota", "nothing")] == [1, 0, None]
