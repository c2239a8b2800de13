"""How grouping, repeats, budgets and flapping are configured, and what `check` says about them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from notifier.config.advice import warnings
from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.core.errors import ConfigurationError
from notifier.core.routing import FlappingLimit
from notifier.wiring.app import routing_config

AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SOURCE: Mapping[str, Any] = {
    "name": "prod",
    "kind": "gaussdb",
    "region": "cn-north-4",
    "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
    "auth": {"kind": "aksk", "access_key": "a", "secret_key": "b"},
}


def config(route: Mapping[str, Any], channel: Mapping[str, Any] | None = None, **more: Any) -> Config:
    document = {
        "sources": [dict(SOURCE)],
        "channels": [{"name": "dba", "kind": "console"} | dict(channel or {})],
        "routes": [{"name": "all", "channels": ["dba"]} | dict(route)],
    }
    return loads(yaml.safe_dump(document | more), {})


def said(route: Mapping[str, Any], channel: Mapping[str, Any] | None = None) -> list[str]:
    found = warnings(config(route, channel), AT)
    return [line for line in found if "collects failures" in line or "never sends digests" in line]


def test_everything_is_off_by_default() -> None:
    found = config({})
    (route,) = found.routes
    assert (route.wait, route.group_by, route.repeats) == (None, (), None)
    routing = routing_config(found, {})
    assert not routing.holds
    assert not routing.counts_repeats
    assert routing.flapping is None
    assert said({}) == []


def test_a_route_collects_and_counts() -> None:
    (route,) = config({"wait": "5m", "group_by": ["instance", "label.team"], "repeats": "6h"}).routes
    assert route.wait == timedelta(minutes=5)
    assert route.group_by == ("instance", "label.team")
    assert route.repeats == timedelta(hours=6)
    (together,) = config({"wait": "5m", "group_by": []}).routes
    assert together.group_by == ()


def test_flapping_has_defaults() -> None:
    found = routing_config(config({}, quiet={"flapping": {}}), {})
    assert found.flapping == FlappingLimit(changes=6, within=timedelta(hours=1))
    assert found.holds


@pytest.mark.parametrize(
    ("route", "channel", "error"),
    [
        ({"group_by": ["instance"]}, {}, "has no effect without wait"),
        ({"wait": "5m", "group_by": ["instanse"]}, {}, "unknown field 'instanse', did you mean 'instance'?"),
        ({"wait": "2d"}, {}, "wait"),
        ({"wait": 5}, {}, "is not a duration; write a number and a unit"),
        ({"repeats": "10s"}, {}, "repeats"),
        ({}, {"budget": "20"}, "'20' is not a budget; write messages per minute, hour or day"),
        ({}, {"budget": "20/s"}, "is not a budget"),
    ],
)
def test_a_mistake_is_named(route: Mapping[str, Any], channel: Mapping[str, Any], error: str) -> None:
    with pytest.raises(ConfigurationError, match="(?s)" + error.replace("?", r"\?")):
        config(route, channel)


@pytest.mark.parametrize("text", ["20/h", "5/m", "100/d"])
def test_a_channel_has_a_budget(text: str) -> None:
    (channel,) = config({}, {"budget": text}).channels
    assert channel.budget == text


@pytest.mark.parametrize(
    ("route", "warned"),
    [
        ({"wait": "15m"}, False),
        ({"wait": "16m"}, True),
        ({"wait": "16m", "severity": "warning"}, False),
        ({"wait": "16m", "match": ["type=task.started"]}, False),
    ],
)
def test_failures_that_wait_for_long_are_pointed_out(route: Mapping[str, Any], *, warned: bool) -> None:
    expected = (
        "Route all collects failures for 16m before anybody is notified. Give it wait: 15m or less, or give failures a"
        " route of their own."
    )
    assert said(route) == ([expected] if warned else [])


@pytest.mark.parametrize(
    ("route", "channel", "what"),
    [
        ({"wait": "5m"}, {"digest_above": None}, "a route"),
        ({"active": "weekdays 09:00-18:00 UTC", "otherwise": "hold"}, {"digest_above": None}, "a route"),
        ({}, {"digest_above": None, "budget": "20/h"}, "budget: 20/h"),
        ({}, {"digest_above": None}, None),
        ({"wait": "5m"}, {"budget": "20/h"}, None),
    ],
)
def test_a_channel_without_digests_that_holds_is_pointed_out(
    route: Mapping[str, Any], channel: Mapping[str, Any], what: str | None
) -> None:
    found = said(route, channel)
    assert len(found) == (what is not None)
    assert all(f"so what {what} holds is sent event by event afterwards" in line for line in found)
