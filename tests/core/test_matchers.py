"""Matchers: how they are read, and what they fit."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from fnmatch import fnmatchcase

import pytest
from factories import T0, make_event, make_gap, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.causes import Cause, CauseCatalogue, Retryable
from notifier.core.events import EventType
from notifier.core.fields import CLOSED_FIELDS, FIELDS, NUMBER_FIELDS, OPERATION_KINDS, fields_of, operation_kind
from notifier.core.matchers import Matcher, first_misfit, fits, fitting, parse_matcher, parse_matchers
from notifier.wording.operations import OPERATIONS

QUOTA = Cause(id="quota", match=("quota",), means={"en": "Too few."}, do={}, retry=Retryable.AFTER)
CATALOGUE = CauseCatalogue([QUOTA])
LABELS = (("team", "payments"),)
FAILED = make_event(
    make_task(name="BackupSnapshotGaussDBV5InInstance", instance_name="prod-pay-01", fail_reason="DBS.280277: a quota"),
    environment="production",
    labels=LABELS,
)
RUNNING = make_event(make_task(status="running", progress=40.5, instance_name="test*1"), observed_at=T0)
GAP = make_gap()
EVENTS = {"failed": FAILED, "running": RUNNING, "gap": GAP}


def fields(name: str) -> Mapping[str, str]:
    return fields_of(EVENTS[name], catalogue=CATALOGUE)


@pytest.mark.parametrize(
    ("text", "fitted"),
    [
        # globs over the whole value
        ("instance=prod-*", "failed"),
        ("instance=*-01", "failed"),
        ("instance=prod-???-01", "failed"),
        ("instance=prod-*-*-01", ""),
        ("instance=prod", ""),
        ("instance=PROD-*", ""),
        ("instance=*", "failed running gap"),
        ("instance=?*", "failed running"),
        ("instance!=prod-*", "running gap"),
        ("instance=test*1", "running"),
        ("instance=[tp]*", ""),
        ("fail_reason=*quota*", "failed"),
        ("type=task.*", "failed running"),
        ("label.team=pay*", "failed"),
        ("label.team!=pay*", "running gap"),
        # lists
        ("instance in [prod-pay-01, other]", "failed"),
        ("instance in [prod-*, test*]", "failed running"),
        ("instance not in [prod-*, test*]", "gap"),
        ("source  not  in [ staging,'prod' ]", ""),
        ('label.team in ["a, b", payments]', "failed"),
        ('label.team in [""]', "running gap"),
        ("type in [task.failed, source.*]", "failed gap"),
        ("instance in[prod-pay-01]", "failed"),
        # numbers: what is not known is neither more nor less
        ("progress<50", "running"),
        ("progress < 40.5%", ""),
        ("progress<=40.5", "running"),
        ("progress>=40.5", "running"),
        ("progress=40.50", "running"),
        ("progress>0", "running"),
        ("progress=", "failed gap"),
        ("progress!=40.5", "failed gap"),
        ("progress in [25, 40.5%]", "running"),
        ('progress in ["", 1]', "failed gap"),
        ("duration>10m", "failed running"),
        ("duration>12m30s", "running"),
        ("duration=13m", "running"),
        ("duration<1w", "failed running"),
        # what follows from the reason and from the name
        ("error_code=DBS.280277", "failed"),
        ("error_code=DBS.*", "failed"),
        ("cause=quota", "failed"),
        ("cause!=quota", "running gap"),
        ("operation=backup", "failed"),
        ("operation in [backup, create]", "failed running"),
        # expressions
        ("instance=~prod-.*|x", "failed"),
        ("instance!~.+", "gap"),
        ("late=true", "gap"),
    ],
)
def test_a_matcher_fits_the_events_that_a_reader_expects(text: str, fitted: str) -> None:
    matcher = parse_matcher(text)
    assert " ".join(name for name in EVENTS if fits(matcher, fields(name))) == fitted


@pytest.mark.parametrize("op", ["=", "!=", "=~", "!~", "in", "not in"])
def test_a_matcher_is_read_again_from_its_own_text(op: str) -> None:
    value = "[a, 'b, c']" if "in" in op else "a.*"
    matcher = Matcher(field="instance", op=op, value=value)
    assert parse_matcher(str(matcher)) == matcher


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a matcher; write field=value"),
        ("instance", "'instance' is not a matcher; write field=value"),
        ("instance in prod", "the values of a list are in brackets; write [prod]"),
        ("instance in", "the values of a list are in brackets; write [a, b]"),
        ("instance in [", "[ is not a list: its closing bracket is missing"),
        ("instance in [a, b", "[a, b is not a list: its closing bracket is missing"),
        ("instance in [a, b] c", "[a, b] c is not a list: nothing may follow its closing bracket"),
        ("instance in [a [b]]", "[a [b]] is not a list: separate values by commas, and quote"),
        ("instance in [it's]", "[it's] is not a list: separate values by commas, and quote"),
        ("instance in ['a]", "['a] is not a list: separate values by commas, and quote"),
        ("instance in [a,,b]", "a value is missing in [a,,b]; remove the comma"),
        ("instance in [a, ]", "a value is missing in [a, ]; remove the comma"),
        ("instance in []", "the list of instance is empty; name values, for example instance in [a, b]"),
        ("instance in [ ]", "the list of instance is empty"),
        ("type=task.faild", "type is never 'task.faild'. Did you mean task.failed?"),
        ("type in [task.failed, tsk.*]", "type is never 'tsk.*'. It is one of: task.started,"),
        ("severity>error", "severities are named, not compared; write severity in [critical]"),
        ("severity>=error", "severities are named, not compared; write severity in [critical, error]"),
        ("severity<warning", "severities are named, not compared; write severity in [info]"),
        ("severity<info", "severities are named, not compared; write severity in [error, critical]"),
        ("severity>high", "severity is a text, and > compares numbers (progress and duration)"),
        ("label.tier<3", "label.tier is a text, and < compares numbers"),
        ("progress>abc", "progress>abc: 'abc' is not a percentage; write a number from 0 to 100"),
        ("progress>", "progress>: '' is not a percentage"),
        ("progress=101", "progress=101: '101' is not a percentage"),
        ("progress<0", "progress<0 fits nothing: progress is never below 0"),
        ("progress>100%", "progress>100% fits nothing: progress is never above 100%"),
        ("progress=~5.", "progress is a number, and =~ compares texts; write for example progress<50"),
        ("duration>30", "duration>30: '30' has no unit; write for example 30m for minutes or 30h for hours"),
        ("duration>soon", "duration>soon: 'soon' is not a duration; write a number and a unit"),
        ("duration<0s", "duration<0s fits nothing: duration is never below 0s"),
        ("duration in [30m, 40]", "duration in [30m, 40]: '40' has no unit"),
    ],
)
def test_an_impossible_matcher_gets_an_error_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        parse_matcher(text)


VALUES = st.text("ab*?.-é\n", max_size=8)


@given(glob=VALUES, text=VALUES)
def test_a_glob_means_what_it_means_to_a_shell(glob: str, text: str) -> None:
    assert fits(Matcher(field="instance", op="=", value=glob), {"instance": text}) is fnmatchcase(text, glob)


@given(text=VALUES)
def test_a_value_fits_itself_though_it_looks_like_a_glob(text: str) -> None:
    """Configurations that compared with an asterisk take what they took."""
    assert fits(Matcher(field="fail_reason", op="=", value=text), {"fail_reason": text})


@given(
    op=st.sampled_from(["=", "=~", "in"]),
    value=st.sampled_from(["a", "a*", "b.", "[a]", ""]),
    actual=st.sampled_from(["a", "ab", "b-", "", "c"]),
)
def test_a_negative_matcher_fits_exactly_what_its_positive_form_does_not(op: str, value: str, actual: str) -> None:
    value = f'["{value}", x]' if op == "in" else value
    negative = {"=": "!=", "=~": "!~", "in": "not in"}[op]
    found = [fits(Matcher(field="instance", op=one, value=value), {"instance": actual}) for one in (op, negative)]
    assert sorted(found) == [False, True]


@given(st.text(alphabet="instance prog<>=!~[],'\"*?.0m%", max_size=30))
def test_any_text_is_a_matcher_that_can_be_compared_or_a_value_error(text: str) -> None:
    try:
        matcher = parse_matcher(text)
    except ValueError:
        return
    assert fits(matcher, fields("failed")) in (True, False)


HOSTILE = ["a" * 60_000, "a" * 60_000 + "b", "ab" * 30_000, "*" * 60_000, ""]


@pytest.mark.parametrize(
    "pattern",
    ["*a*a*a*a*a*a*a*a*a*a*b", "a*" * 200 + "c", "*" * 500, "?*" * 100 + "c", "*" + "?" * 100 + "b", "*ab" * 50 + "c*"],
)
def test_no_glob_takes_long(pattern: str) -> None:
    """An engine that tries again what an asterisk took would need longer than the universe is old."""
    matchers = [parse_matcher(f"fail_reason={pattern}"), parse_matcher(f"fail_reason not in [x, {pattern}]")]
    started = time.process_time()
    for matcher in matchers:
        for text in HOSTILE:
            fits(matcher, {"fail_reason": text})
    assert time.process_time() - started < 10


@pytest.mark.parametrize("text", ["a=" + " " * 60_000 + "x", "[" * 60_000, "a in [" + "'" * 60_001, "a " * 30_000])
def test_no_text_takes_long_to_read(text: str) -> None:
    started = time.process_time()
    for read in (parse_matcher, parse_matchers):
        with suppress(ValueError):
            read(text)
    assert time.process_time() - started < 10


def test_every_documented_operation_has_a_kind() -> None:
    assert {operation_kind(name) for name in OPERATIONS} == set(OPERATION_KINDS)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("RestoreGaussDBV5InInstanceToExistedInst", "restore"),
        ("CloneGaussDBV5NewInstance", "restore"),
        ("GaussDBV5ExpandClusterDN", "expand"),
        ("RebootInstance", "restart"),
        ("UpgradeGaussDBForOpenGaussKernel", "upgrade"),
        ("DBSwitchover", "db"),
        ("GaussDB", "gauss"),
        ("备份", "备份"),
        ("", ""),
    ],
)
def test_the_kind_of_an_operation_is_its_first_word(name: str, kind: str) -> None:
    assert operation_kind(name) == kind


def test_the_duration_is_the_time_of_the_task_when_the_event_was_detected() -> None:
    created = T0 - timedelta(hours=2)
    tasks = [
        make_task(status="running", created_at=created),
        make_task(status="completed", created_at=created, ended_at=T0 - timedelta(minutes=30)),
        make_task(status="completed", created_at=created, ended_at=None),
        make_task(status="running", created_at=None),
        make_task(status="running", created_at=T0 + timedelta(minutes=1)),
    ]
    found = [fields_of(make_event(task, observed_at=T0), ["duration"])["duration"] for task in tasks]
    assert found == ["2h", "1h30m", "", "", "0s"]


def test_what_matchers_read_as_a_number_is_written_so_that_they_can() -> None:
    for event in EVENTS.values():
        found = fields_of(event)
        assert all(read(found[name]) >= 0 for name, read in NUMBER_FIELDS.items() if found[name])


def test_without_a_catalogue_no_cause_is_known_but_the_code_is() -> None:
    found = fields_of(FAILED, ["cause", "error_code"])
    assert (found["cause"], found["error_code"]) == ("", "DBS.280277")


# ---- words that people type ----


@pytest.mark.parametrize(
    ("text", "matchers"),
    [
        ("prod-* failed", ["instance=prod-*", "status=failed"]),
        ("source=prod type=backup", ["source=prod", "operation=backup"]),
        ("type!=backup", ["operation!=backup"]),
        ("type=~task.*", ["type=~task.*"]),
        ("backup", ["operation=backup"]),
        ("task.failed", ["type=task.failed"]),
        ("task.*", ["type=task.*"]),
        ("critical", ["severity=critical"]),
        ("prod-1 prod-2", ["instance in [prod-1, prod-2]"]),
        ("failed running", ["status in [failed, running]"]),
        ("prod-1 prod-1", ["instance=prod-1"]),
        ("'my instance' other", ['instance in ["my instance", other]']),
        ("instance = 'my instance'", ["instance=my instance"]),
        ("duration > 30m progress<50%", ["duration>30m", "progress<50%"]),
        ("source not in [prod, 'a, b'] *", ["instance=*", "source not in [prod, 'a, b']"]),
        ("label.team=\u201cpay ments\u201d", ["label.team=pay ments"]),
        ("fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14", ["instance_id=fe2bd7a6d5e34ec8a2d0f0ae3b4d3bcain14"]),
    ],
)
def test_typed_words_become_matchers(text: str, matchers: list[str]) -> None:
    assert list(map(str, parse_matchers(text))) == matchers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name what is meant, for example prod-* failed"),
        ("  ", "name what is meant"),
        ("instance in prod", "'in' stands alone; write field=value"),
        ("source in [prod", "[prod is not a list: its closing bracket is missing"),
        ("= prod", "'=' stands alone"),
        ("sorce=prod", "unknown field 'sorce', did you mean 'source'?"),
        ("task.faild", "type is never 'task.faild'. Did you mean task.failed?"),
    ],
)
def test_typed_words_that_mean_nothing_get_an_error_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        parse_matchers(text)


@given(st.text(alphabet="prod-* failed in[]=<'\"“,", max_size=30))
def test_any_typed_text_is_matchers_or_a_value_error(text: str) -> None:
    try:
        found = parse_matchers(text)
    except ValueError:
        return
    assert first_misfit(found, fields("failed")) in (None, *found)


def test_closed_fields_are_fields_and_numbers_too() -> None:
    assert {*CLOSED_FIELDS, *NUMBER_FIELDS} <= set(FIELDS)
    assert set(CLOSED_FIELDS["type"]) == set(EventType)


@pytest.mark.parametrize(
    "text", ["failed prod-*", "label.team=a", "source!=prod status=failed", "duration>5m progress<50"]
)
@pytest.mark.parametrize("instance", ["prod-1", "other", ""])
def test_prepared_matchers_judge_as_they_do_one_by_one(text: str, instance: str) -> None:
    match = parse_matchers(text)
    known = {"instance": instance, "status": "failed", "duration": "10m", "progress": "7"}
    seen = dict.fromkeys(FIELDS, "") | known
    assert fitting(match)(seen) is (first_misfit(match, seen) is None)
