"""Advice about routes: what failed tasks reach at which hour, and routes that take nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from factories import make_event, make_task
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.config.advice import warnings
from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.config.reach import ReachLevel, reached_by_failure
from notifier.core.routing import RoutingConfig, route_events
from notifier.core.rulings import Hold, Suppress, ruling_on, window_rule

AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
"""A Thursday."""
SHANGHAI = ZoneInfo("Asia/Shanghai")
SOURCE: dict[str, Any] = {
    "name": "prod",
    "kind": "gaussdb",
    "region": "cn-north-4",
    "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
    "auth": {"kind": "aksk", "access_key": "a", "secret_key": "b"},
}
WORK = "weekdays 09:00-18:00"
ZONE = "(Asia/Shanghai)"
NIGHTS = "Mon 18:00-Tue 09:00, Tue 18:00-Wed 09:00, Wed 18:00-Thu 09:00, Thu 18:00-Fri 09:00"
OTHERWISE_TEXT = "otherwise: hold, or a channel."
REMEDY = ": give a route for them otherwise: hold, or a channel."
HAVE_STOP = "which come before it and have stop, take all of them."
SOME = ": no route takes all of them then."


def config(*routes: Mapping[str, Any], sources: Sequence[Mapping[str, Any]] = (), **more: Any) -> Config:
    named = {name for route in routes for key in ("channels", "otherwise") for name in route.get(key, ())}
    channels = [{"name": name, "kind": "console"} for name in sorted(named - set("holddrop")) or ["log"]]
    document = {
        "timezone": "Asia/Shanghai",
        "sources": [SOURCE | dict(one) for one in sources or [{}]],
        "channels": channels,
        "routes": [{"name": f"r{n}"} | dict(route) for n, route in enumerate(routes, start=1)],
    }
    return loads(yaml.safe_dump(document | more), {})


def said(*routes: Mapping[str, Any], about: str = "", **more: Any) -> list[str]:
    return [line for line in warnings(config(*routes, **more), AT) if about in line and "No route leads" not in line]


ALL: dict[str, Any] = {"channels": ["dba"]}
ALL_AT_WORK = ALL | {"active": WORK}
BACKUPS: dict[str, Any] = {"channels": ["team"], "match": ["operation=backup"]}


@pytest.mark.parametrize(
    ("routes", "lines"),
    [
        ([ALL], []),
        ([ALL | {"match": ["instance=*"]}], []),
        ([ALL_AT_WORK | {"otherwise": ["night"]}], []),
        ([ALL_AT_WORK | {"otherwise": "drop"}, {"channels": ["log"]}], []),
        (
            [ALL_AT_WORK | {"otherwise": "drop"}],
            [f"Failed tasks reach nobody on {NIGHTS}, Fri 18:00-Mon 09:00 {ZONE}{REMEDY}"],
        ),
        (
            [ALL | {"active": "mon-fri", "otherwise": "drop"}],
            [f"Failed tasks reach nobody on Sat 00:00-Mon 00:00 {ZONE}{REMEDY}"],
        ),
        (
            [ALL | {"active": "mon-fri", "otherwise": "hold"}],
            [f"Failed tasks wait for the window of a route on Sat 00:00-Mon 00:00 {ZONE}, up to 2d."],
        ),
        (
            [
                ALL | {"active": "mon-fri", "otherwise": "hold"},
                ALL | {"active": "sun 12:00-24:00", "otherwise": "hold"},
            ],
            [f"Failed tasks wait for the window of a route on Sat 00:00-Sun 12:00 {ZONE}, up to 1d12h."],
        ),
        (
            [ALL | {"active": "mon-fri UTC", "otherwise": "drop"}, BACKUPS],
            [f"Only some failed tasks reach anybody on Sat 08:00-Mon 08:00 {ZONE}{SOME}"],
        ),
        ([BACKUPS], ["Only some failed tasks would reach a channel (team): no route takes all of them."]),
        (
            [ALL | {"match": ["type=task.started"]}],
            ['A failed task would reach no channel: add a route with match: ["type=task.failed"].'],
        ),
        ([BACKUPS | {"stop": True}, ALL], []),
        (
            [BACKUPS | {"stop": True, "active": "mon-fri", "otherwise": "drop"}, ALL],
            [f"Only some failed tasks reach anybody on Sat 00:00-Mon 00:00 {ZONE}{SOME}"],
        ),
        (
            [BACKUPS | {"active": "mon-fri", "otherwise": "hold", "stop": True}, ALL],
            [f"Some failed tasks wait for the window of a route on Sat 00:00-Mon 00:00 {ZONE}, up to 2d."],
        ),
        (
            [
                ALL | {"active": WORK, "otherwise": "drop", "holidays": ["2026-12-25"]},
                ALL | {"active": "18:00-09:00; weekend", "otherwise": "drop"},
            ],
            [f"On holidays failed tasks reach nobody at 09:00-18:00 {ZONE}: give a route {OTHERWISE_TEXT}"],
        ),
    ],
)
def test_the_hours_are_named_at_which_failures_reach_nobody(routes: list[Mapping[str, Any]], lines: list[str]) -> None:
    assert said(*routes, about="ailed task") == lines


def test_hours_are_named_by_source() -> None:
    routes: list[Mapping[str, Any]] = [
        ALL | {"match": ["source=prod"], "active": "mon-fri", "otherwise": "drop"},
        ALL | {"match": ["source!=prod"]},
    ]
    found = said(*routes, sources=[{}, {"name": "test"}, {"name": "dev"}], about="ailed task")
    assert found == [f"Failed tasks of prod reach nobody on Sat 00:00-Mon 00:00 {ZONE}{REMEDY}"]


def test_what_every_failure_reaches_depends_on_the_hour() -> None:
    (reach,) = reached_by_failure(config(ALL_AT_WORK | {"otherwise": ["night"]}, {"channels": ["log"]}), AT)
    assert (reach.surely, reach.possibly, reach.gaps, reach.complete) == (("log",), ("dba", "night"), (), True)


@pytest.mark.parametrize(
    ("routes", "line"),
    [
        (
            [ALL | {"match": ["instance=a", "instance=b"]}],
            "Route r1 takes no event: instance=a and instance=b exclude each other.",
        ),
        (
            [ALL | {"match": ["source=prod", "environment=testing"]}],
            "Route r1 takes no event: no source and no type of event fits all of its matchers.",
        ),
        (
            [ALL | {"stop": True}, BACKUPS],
            "Route r2 takes no event: route r1, which comes before it and has stop, takes all of them. Move r2 up.",
        ),
        (
            [ALL | {"stop": True, "match": ["instance=prod-*"]}, ALL | {"match": ["instance=prod-db-*", "late=false"]}],
            "Route r2 takes no event: route r1, which comes before it and has stop, takes all of them. Move r2 up.",
        ),
        (
            [
                ALL | {"stop": True, "match": ["source=prod"]},
                ALL | {"stop": True, "match": ["source=test"]},
                BACKUPS | {"match": ["type=task.failed"]},
            ],
            f"Route r3 takes no event: routes r1 and r2, {HAVE_STOP} Move r3 up.",
        ),
    ],
)
def test_a_route_that_takes_nothing_is_named(routes: list[Mapping[str, Any]], line: str) -> None:
    sources: list[Mapping[str, Any]] = [{}, {"name": "test", "environment": "testing"}]
    assert said(*routes, sources=sources, about="takes no event") == [line]


@pytest.mark.parametrize(
    "routes",
    [
        [BACKUPS | {"stop": True}, ALL],
        [ALL | {"stop": True, "match": ["type=task.failed"]}, ALL],
        [ALL | {"stop": True, "match": ["source=prod"]}, ALL],
        [ALL | {"stop": True, "match": ["status=failed"]}, ALL | {"match": ["type=task.failed"]}],
        [ALL | {"stop": True, "match": ["instance=prod-1"]}, ALL | {"match": ["instance=prod-*"]}],
        [ALL | {"stop": True, "match": ["late=false"]}, ALL | {"match": ["late=true"]}],
    ],
)
def test_a_route_that_takes_something_is_not_doubted(routes: list[Mapping[str, Any]]) -> None:
    assert said(*routes, sources=[{}, {"name": "test"}], about="takes no event") == []


def test_a_window_that_never_opens_is_named() -> None:
    route = ALL | {"active": "holidays", "otherwise": "hold", "holidays": ["2020-01-01"]}
    assert said(route, about="never opens") == [
        "The window of route r1 never opens: no holiday is to come. Give it days, or other hours."
    ]
    assert said(route | {"holidays": ["2027-01-01"]}, about="never opens") == []


def test_a_channel_that_is_named_elsewhere_is_in_use() -> None:
    routes = [ALL_AT_WORK | {"otherwise": ["night"]}]
    channels = [{"name": name, "kind": "console"} for name in ("dba", "night", "ops", "lost")]
    more: dict[str, Any] = {"channels": channels, "alerts": {"channels": ["ops"]}}
    found = [line for line in warnings(config(*routes, **more), AT) if "No route leads" in line]
    assert found == ["No route leads to the channel lost."]


def test_a_thousand_sources_and_fifty_routes_are_judged_soon() -> None:
    """The work grows with the distinct kinds of sources, not with sources times routes times hours."""
    sources = [{"name": f"s{n}", "environment": f"e{n % 7}", "labels": {"team": f"t{n % 40}"}} for n in range(1000)]
    routes: list[dict[str, Any]] = [
        {
            "channels": [f"c{n % 10}"],
            "match": [f"label.team=t{n}", "type in [task.failed, task.stalled]", f"instance=prod-{n}*"],
            "active": f"weekdays {n % 9:02}:30-{n % 9 + 10:02}:00 Europe/Berlin",
            "otherwise": "hold",
            "mention": [],
            "stop": n % 5 == 0,
        }
        for n in range(40)
    ]
    routes += [{"channels": ["c1"], "match": [f"source=s{n}"], "stop": True} for n in range(9)] + [
        {"channels": ["all"]}
    ]
    found = config(*routes, sources=sources)
    started = time.process_time()
    list(warnings(found, AT))
    assert time.process_time() - started < 15


# ---- against what routing does ----

ACTIVE = st.sampled_from([None, WORK, "mon-fri 22:00-06:00; weekend", "daily 00:00-12:00 UTC", "sat"])
OTHERWISE = st.sampled_from(["hold", "drop", ["a"], ["b", "c"]])
MATCH = st.lists(
    st.sampled_from(["type=task.failed", "type=task.started", "instance=prod-*", "instance=*", "source=prod"]),
    max_size=2,
    unique=True,
)


@st.composite
def routes_of(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for _ in range(draw(st.integers(1, 4))):
        route: dict[str, Any] = {"channels": draw(st.sampled_from([["a"], ["b"], ["a", "c"]])), "match": draw(MATCH)}
        if active := draw(ACTIVE):
            route |= {"active": active, "otherwise": draw(OTHERWISE)}
        found.append(route | {"stop": draw(st.booleans())})
    return found


def told_now(config: Config, instance: str, at: datetime) -> tuple[ReachLevel, timedelta]:
    """Return what becomes of a failure by the rules that deliver it."""
    routing = RoutingConfig(routes=config.routes).at(at)
    event = make_event(make_task(instance_name=instance), observed_at=at)
    (item,) = route_events([event], routing.routes)
    rule = window_rule(routing.routes, at)
    rulings = [ruling_on(item, channel, [rule] if rule else []) for channel in item.channels]
    if None in rulings:
        return ReachLevel.NOW, timedelta()
    held = [ruling.until - at for ruling in rulings if isinstance(ruling, Hold)]
    assert all(isinstance(ruling, Hold | Suppress) for ruling in rulings)
    return (ReachLevel.LATE, min(held)) if held else (ReachLevel.NOBODY, timedelta())


@settings(max_examples=40, deadline=None)
@given(routes=routes_of(), hour=st.integers(0, 7 * 24 - 1), half=st.booleans())
def test_the_hours_are_those_at_which_routing_sends_nothing(
    routes: list[dict[str, Any]], hour: int, *, half: bool
) -> None:
    """Two instances stand for all: one that the routes about instances take, and one that they do not."""
    found = config(*routes, channels=[{"name": name, "kind": "console"} for name in "abc"])
    at = datetime(2026, 11, 23, tzinfo=SHANGHAI) + timedelta(hours=hour, minutes=30 * half)
    expected = min(told_now(found, instance, at) for instance in ("prod-1", "test-1"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notifier.config.reach.MAX_NAMED_HOURS", 1000)
        (reach,) = reached_by_failure(found, at)
    gaps = [gap for gap in reach.gaps if covers(gap.hours, at)]
    assert [gap.level for gap in gaps] == ([] if expected[0] is ReachLevel.NOW else [expected[0]])


DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def covers(hours: str, at: datetime) -> bool:
    """Return whether a time is in hours as they are written."""
    if not hours:
        return True
    minute = (at.weekday() * 24 + at.hour) * 60 + at.minute

    def place(text: str) -> int:
        day, clock = text.split(" ")
        return (DAYS.index(day) * 24 + int(clock[:2])) * 60 + int(clock[3:])

    for span in hours.removesuffix(f" {ZONE}").split(", "):
        start, end = map(place, span.split("-"))
        if (start <= minute < end) if start < end else (minute >= start or minute < end):
            return True
    return False


@pytest.mark.parametrize(
    ("matcher", "lines"),
    [
        ("cause=quota-*", []),
        ("cause in [quota-disk, eip]", []),
        ("cause=~quota.*", []),
        ("cause=", []),
        ("cause=quota-dsk", ["cause=quota-dsk of route r1: no cause is called 'quota-dsk'. Did you mean quota-disk?"]),
    ],
)
def test_a_cause_that_is_not_known_is_named(matcher: str, lines: list[str]) -> None:
    assert said(ALL | {"match": [matcher]}, about="no cause") == lines


@pytest.mark.parametrize("matcher", ["started_by=li.*", "started_via=console", "started_by="])
def test_a_matcher_of_who_started_a_task_needs_a_source_that_searches(matcher: str) -> None:
    route = ALL | {"match": [matcher]}
    assert said(route, about="started_by: true") == [
        f"{matcher} of route r1 fits nothing that is known: no source has started_by: true."
    ]


@pytest.mark.parametrize(
    ("section", "about"),
    [
        ({"expect": ["backup of prod-* every 26h"]}, ["expect reports task.missing, and no route takes it"]),
        ({"foresight": {"missing": {"enabled": True}}}, ["foresight.missing reports task.missing"]),
        ({"foresight": {"overdue": {"enabled": True}}}, ["foresight.overdue reports task.overdue"]),
        ({"foresight": {"overdue": {"limits": {"operation=restore": "4h"}}}}, []),
    ],
)
def test_judgements_that_no_route_takes_are_told(section: dict[str, Any], about: list[str]) -> None:
    for match, expected in (["type=task.failed"], about), (["type=task.*"], []):
        route = {"name": "a", "match": match, "channels": ["dba"]}
        found = [line for line in warnings(config(route, **section), AT) if "nobody is told" in line]
        assert len(found) == len(expected)
        assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


def test_mistakes_in_matchers_of_judgements_mutes_and_reports_are_told() -> None:
    route = {"name": "a", "match": ["type=task.*"], "channels": ["dba"]}
    found = config(
        route,
        mutes=[{"name": "m", "match": ["operation=restroe"], "cron": "0 1 * * 0", "length": "1h"}],
        foresight={
            "overdue": {
                "enabled": True,
                "limits": {"operation=restroe": "4h"},
                "ignore": ["environment=nowhere", "source=*", "cause=quota-*"],
            },
            "missing": {"ignore": ["cause=nonsense"]},
        },
        expect=[{"operation": "backup", "match": ["label.teem=pay"], "every": "26h"}],
    )
    told = [line for line in warnings(found, AT) if "No route leads" not in line]
    for start in (
        "operation=restroe of the mute m: did you mean restore?",
        "operation=restroe of foresight.overdue.limits: did you mean restore?",
        "environment=nowhere of foresight.overdue.ignore fits nothing: no source has the environment 'nowhere'.",
        "label.teem=pay of expect fits nothing: no source has the label 'teem'.",
        "cause=nonsense of foresight.missing.ignore: no cause is called 'nonsense'.",
    ):
        assert [line for line in told if line.startswith(start)], (start, told)
    assert not [line for line in told if line.startswith(("source=*", "cause=quota"))]
