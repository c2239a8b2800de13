"""How bad events are, by type and environment."""

from __future__ import annotations

from typing import Any

import pytest
from factories import T0

from notifier.cli.samples import sample_event
from notifier.core.events import EventType
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import Severity, is_production, severity_in, worst
from notifier.ports import RenderRequest

LOUD = {Severity.CRITICAL, Severity.ERROR}


@pytest.mark.parametrize("severity", list(Severity))
def test_only_the_two_worst_are_loud(severity: Severity) -> None:
    assert severity.loud == (severity in LOUD)


@pytest.mark.parametrize("name", ["production", "Production", " PROD ", "生产", "生产环境"])
def test_production_is_known_however_it_is_written(name: str) -> None:
    assert is_production(name)


@pytest.mark.parametrize("name", ["", "staging", "preproduction", "预生产"])
def test_other_environments_are_not_production(name: str) -> None:
    assert not is_production(name)


@pytest.mark.parametrize("kind", list(EventType))
def test_another_environment_is_never_loud_and_production_never_quieter(kind: EventType) -> None:
    traits = kind.traits
    found = {
        name: severity_in(name, traits.severity, critical_in_production=traits.critical_in_production)
        for name in ("", "production", "staging")
    }
    order = list(Severity)
    assert found["staging"] not in LOUD
    assert order.index(found["production"]) <= order.index(found[""]) <= order.index(found["staging"])


def test_the_worst_of_several_counts() -> None:
    assert worst([Severity.INFO, Severity.ERROR, Severity.WARNING]) is Severity.ERROR
    assert worst([]) is Severity.INFO


def request(kind: EventType, **routing: Any) -> RenderRequest:
    return RenderRequest(delivery_id="d", events=(sample_event(kind, T0),), routing=DeliveryRouting(**routing))


def test_people_are_mentioned_only_where_somebody_is_needed() -> None:
    assert request(EventType.TASK_FAILED, mention=("@here",)).mention == ("@here",)
    assert request(EventType.TASK_COMPLETED, mention=("@here",), severity=Severity.CRITICAL).mention == ()
    assert request(EventType.TASK_FAILED, mention=("@here",), severity=Severity.WARNING).mention == ()


def test_what_several_routes_want_is_joined() -> None:
    one = DeliveryRouting(routes=("a",), severity=Severity.WARNING, mention=("@x",))
    other = DeliveryRouting(routes=("b", "a"), severity=Severity.ERROR, mention=("@x", "@y"))
    assert one.joined(other) == DeliveryRouting(routes=("a", "b"), severity=Severity.ERROR, mention=("@x", "@y"))
    assert DeliveryRouting().joined(DeliveryRouting()) == DeliveryRouting()
