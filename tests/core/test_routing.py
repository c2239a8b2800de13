"""Which channels an event goes to."""

from __future__ import annotations

import re

import pytest
from factories import make_alert, make_event, make_gap, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.fields import FIELDS, fields_of
from notifier.core.matchers import Matcher, fits, parse_matcher
from notifier.core.model import Event
from notifier.core.routing import Route, channels_of, explain_routes, route_events

FAILURE = make_event(environment="production", labels=(("team", "payments"),))


def route(name: str, *match: str, stop: bool = False) -> Route:
    return Route(name=name, match=tuple(parse_matcher(text) for text in match), channels=(name,), stop=stop)


@pytest.mark.parametrize(
    ("text", "matcher"),
    [
        ("type=task.failed", Matcher(field="type", op="=", value="task.failed")),
        (" instance !~ prod-.* ", Matcher(field="instance", op="!~", value="prod-.*")),
        ("fail_reason=~a=b", Matcher(field="fail_reason", op="=~", value="a=b")),
        ("name!=", Matcher(field="name", op="!=", value="")),
    ],
)
def test_a_matcher_is_field_op_value(text: str, matcher: Matcher) -> None:
    assert parse_matcher(text) == matcher


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "'nonsense' is not a matcher; write field=value"),
        ("instence=x", "unknown field 'instence', did you mean 'instance'?; fields are type,"),
        ("label.Team=a", "unknown field 'label.Team'; fields are type,"),
        ("instance=~[", "'[' is not a regular expression: unterminated character set"),
    ],
)
def test_a_wrong_matcher_error_names_the_right_form(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        parse_matcher(text)


@pytest.mark.parametrize(
    ("text", "fit"),
    [
        ("type=task.failed", True),
        ("type=~task[.].*", True),
        ("instance=~gauss", False),
        ("instance=~gauss-.*", True),
        ("instance!~gauss-.*", False),
        ("previous_status=running", True),
        ("late=false", True),
        ("region!=cn-north-4", False),
        ("status=failed", True),
        ("environment=production", True),
        ("severity=critical", True),
        ("severity=~critical|error", True),
        ("label.team=payments", True),
        ("label.team!=payments", False),
        ("label.tier=", True),
        ("label.tier=~.+", False),
    ],
)
def test_a_regular_expression_must_match_the_whole_value(text: str, *, fit: bool) -> None:
    assert fits(parse_matcher(text), fields_of(FAILURE)) is fit


@pytest.mark.parametrize("event", [FAILURE, make_gap(), make_event(make_task(instance_name=None))])
def test_every_event_has_every_field(event: Event) -> None:
    labels = {f"label.{name}" for name, _ in event.labels}
    assert set(fields_of(event)) == {*FIELDS, *labels}


def test_severity_is_the_default_of_the_event_in_its_environment() -> None:
    """Routes set the severity of messages, so that no matcher can depend on another route."""
    events = [make_event(environment=name) for name in ("", "prod", "Production", "staging")]
    events += [
        make_event(make_task(status="completed"), environment="prod"),
        make_gap(environment="prod"),
        make_alert(),
    ]
    found = [fields_of(event)["severity"] for event in events]
    assert found == ["error", "critical", "critical", "warning", "info", "warning", "error"]


def test_every_matching_route_applies_until_one_has_stop() -> None:
    routes = [route("a"), route("b", "type=task.started"), route("c", "status=failed", stop=True), route("d")]
    verdicts = explain_routes(FAILURE, routes)
    assert channels_of(verdicts) == ("a", "c")
    assert [(v.matched, v.skipped_by) for v in verdicts] == [(True, None), (False, None), (True, None), (False, "c")]
    assert (verdicts[1].failed_matcher, verdicts[1].actual) == (routes[1].match[0], "task.failed")


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "status=failed", "type=task.started", "name=~Create.*"]), st.booleans()),
        max_size=5,
    )
)
def test_an_event_goes_where_the_explanation_says(rules: list[tuple[str, bool]]) -> None:
    routes = [route(f"channel-{n}", *filter(None, [text]), stop=stop) for n, (text, stop) in enumerate(rules)]
    verdicts = explain_routes(FAILURE, routes)
    (found,) = route_events([FAILURE], routes)
    assert found.channels == channels_of(verdicts)
    assert found.routes == tuple(verdict.route.name for verdict in verdicts if verdict.matched)


def test_a_channel_of_two_routes_is_notified_once() -> None:
    assert channels_of(explain_routes(FAILURE, [route("a"), route("a")])) == ("a",)
