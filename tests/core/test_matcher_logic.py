"""What follows from matchers without an event."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.matcher_logic import exclusion, fits_everything, includes
from notifier.core.matchers import Matcher, first_misfit, fits, parse_matcher


def read(*texts: str) -> list[Matcher]:
    return [parse_matcher(text) for text in texts]


@pytest.mark.parametrize(
    "texts",
    [
        ("type=task.failed", "type=task.started"),
        ("type=task.*", "type in [source.gap, channel.failing]"),
        ("type=~task.*", "type!~task.*"),
        ("severity=critical", "severity not in [critical, error]"),
        ("status=failed", "status!=failed"),
        ("instance=a", "instance=b"),
        ("instance in [a, b]", "instance in [c, d]"),
        ("instance=prod-1", "instance!=prod-*"),
        ("instance=prod-*", "instance=test-*"),
        ("instance=*-a", "instance=*-b"),
        ("instance in [prod-*, live-*]", "instance=test-*"),
        ("instance=a*", "instance="),
        ("progress>80", "progress<20"),
        ("progress>50", "progress<=50"),
        ("progress=40", "progress>50"),
        ("duration>1h", "duration<=60m"),
        ("label.team=a", "label.team=b"),
        ("late=true", "late=false"),
    ],
)
def test_matchers_that_no_event_fits_together_are_found(texts: tuple[str, ...]) -> None:
    assert exclusion(read("region=x", *texts)) == tuple(read(*texts))


def test_three_matchers_may_exclude_each_other_where_no_two_of_them_do() -> None:
    texts = ("severity!=critical", "severity!=error", "severity in [critical, error]")
    assert exclusion(read(*texts)) == tuple(read(*texts))


@pytest.mark.parametrize(
    "texts",
    [
        (),
        ("type=task.failed", "type=task.*"),
        ("instance=prod-*", "instance=*-1"),
        ("instance=prod-*", "instance=prod-db-*"),
        ("instance=prod*", "instance=prod"),
        ("instance=?a", "instance=b*"),
        ("instance in [prod-*, live-*]", "instance=live-1"),
        ("instance=~a", "instance=~b"),
        ("instance=a", "instance_id=b"),
        ("progress>=50", "progress<=50"),
        ("progress>20", "progress<80"),
        ("progress!=5", "progress=6"),
    ],
)
def test_matchers_that_an_event_may_fit_together_are_not_doubted(texts: tuple[str, ...]) -> None:
    assert exclusion(read(*texts)) is None


@pytest.mark.parametrize(
    ("matcher", "match", "included"),
    [
        ("instance=*", [], True),
        ("instance in [x, *]", [], True),
        ("instance=prod-*", ["instance=prod-1"], True),
        ("instance=prod-*", ["instance=prod-db-*"], True),
        ("instance in [prod-*, live-*]", ["instance in [prod-1, live-*]"], True),
        ("instance=prod-*", ["instance in [prod-1, test-1]"], False),
        ("instance=prod-*", ["instance=pro*"], False),
        ("instance=prod-*", ["instance_id=prod-1"], False),
        ("instance!=test-*", ["instance=prod-1"], True),
        ("instance!=test-*", ["instance=prod-*"], False),
        ("instance=~prod.*", ["instance in [prod-1, prod-2]"], True),
        ("instance=~prod.*", ["instance=~prod.*"], True),
        ("type=task.*", ["type in [task.failed, task.stalled]"], True),
        ("type!=source.gap", ["type=task.*"], True),
        ("type=task.failed", ["type=task.*"], False),
        ("progress>50", ["progress>60"], True),
        ("progress>50", ["progress>=50"], False),
        ("progress>=50", ["progress>50"], True),
        ("progress<=50", ["progress<50"], True),
        ("progress<50", ["progress<=50"], False),
        ("progress>50", ["progress<60"], False),
        ("progress>50", [], False),
        ("duration>30m", ["duration=1h"], True),
        ("progress!=50", ["progress>60"], False),
    ],
)
def test_what_matchers_include_is_known_where_it_is_certain(matcher: str, match: list[str], *, included: bool) -> None:
    assert includes(parse_matcher(matcher), read(*match)) is included


def test_only_globs_of_everything_fit_everything() -> None:
    texts = ["instance=*", "instance=**", "instance in [a, *]", "instance=?", "instance!=*", "instance=", "progress>0"]
    assert [fits_everything(parse_matcher(text)) for text in texts] == [True, True, True, *[False] * 4]


VALUES = st.sampled_from(["", "a", "ab", "b", "ba", "abc", "*"])
GLOBS = st.sampled_from(["a", "b", "a*", "*b", "?", "a?", "ab*", "", "*", "b*a", "abc"])
TEXTS = st.one_of(
    st.tuples(st.sampled_from(["=", "!="]), GLOBS).map("".join),
    st.tuples(st.sampled_from(["=~", "!~"]), st.sampled_from(["a", "a.*", "b?", ".*"])).map("".join),
    st.tuples(st.sampled_from([" in ", " not in "]), st.lists(GLOBS, min_size=1, max_size=3)).map(
        lambda pair: f"{pair[0]}[{', '.join(repr(one) for one in pair[1])}]"
    ),
).map(lambda text: f"instance{text}")
NUMBERS = st.tuples(st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), st.sampled_from(["20", "30", "30", "40"])).map(
    lambda pair: f"progress{''.join(pair)}"
)
MATCH = st.one_of(st.lists(TEXTS, max_size=4), st.lists(NUMBERS, max_size=4)).map(lambda texts: read(*texts))


@given(match=MATCH, value=VALUES, number=st.sampled_from(["", "10", "20", "25", "30", "35", "40", "50"]))
def test_no_event_fits_what_is_said_to_exclude_itself(match: list[Matcher], value: str, number: str) -> None:
    found = exclusion(match)
    assert found is None or first_misfit(found, {"instance": value, "progress": number}) is not None


@given(
    match=MATCH,
    matcher=st.one_of(TEXTS, NUMBERS).map(parse_matcher),
    value=VALUES,
    number=st.sampled_from(["", "10", "20", "25", "30", "35", "40", "50"]),
)
def test_what_is_included_is_fitted_by_all_that_fits(
    match: list[Matcher], matcher: Matcher, value: str, number: str
) -> None:
    event = {"instance": value, "progress": number}
    if includes(matcher, match) and first_misfit(match, event) is None:
        assert fits(matcher, event)
