"""From events to deliveries, and from outcomes to what becomes of them."""

from __future__ import annotations

import functools
from datetime import timedelta

import pytest
from factories import T0, make_alert, make_delivery, make_event, make_events, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import retry
from notifier.core.alerts import route_alerts
from notifier.core.delivery import Delivered, DeliveryState, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.events import EventType
from notifier.core.matchers import parse_matcher
from notifier.core.model import Event
from notifier.core.outbox import plan, settle
from notifier.core.routing import ChannelPolicy, DeliveryRouting, Route, RoutingConfig, route_events
from notifier.core.severity import Severity, worst

SCHEDULE = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=5))
ROUTES = (Route(name="all", channels=("dba", "mail")),)


def routing(routes: tuple[Route, ...] = ROUTES, **digest_above: int | None) -> RoutingConfig:
    policies = {
        name: ChannelPolicy(name=name, digest_above=above, digest_size=4) for name, above in digest_above.items()
    }
    return RoutingConfig(routes=routes, policies=policies)


def test_each_event_and_channel_has_one_delivery() -> None:
    events = make_events(3)
    planned = plan(route_events(events, ROUTES), routing(dba=5, mail=5), (), T0)
    pairs = [(event.id, delivery.channel) for delivery in planned for event in delivery.events]
    assert sorted(pairs) == sorted((event.id, channel) for event in events for channel in ("dba", "mail"))
    assert len({delivery.id for delivery in planned}) == 6


def test_too_many_events_become_digests_that_name_all_of_them() -> None:
    events = make_events(10)
    planned = plan(route_events(events, ROUTES), routing(dba=9, mail=None), (), T0)
    digests = [delivery for delivery in planned if delivery.channel == "dba"]
    assert [len(delivery.events) for delivery in digests] == [4, 4, 2]
    assert all(delivery.digest for delivery in digests)
    named = [event for delivery in digests for event in delivery.events]
    assert sorted(event.id for event in named) == sorted(event.id for event in events)
    assert [event.type for event in named] == [EventType.TASK_FAILED] * 5 + [EventType.TASK_COMPLETED] * 5
    assert sum(delivery.channel == "mail" for delivery in planned) == 10


def test_a_last_event_left_over_is_a_message_of_its_own() -> None:
    planned = plan(route_events(make_events(5), ROUTES), routing(dba=2, mail=2), (), T0)
    assert [(len(d.events), d.digest) for d in planned if d.channel == "dba"] == [(4, True), (1, False)]


def test_a_parked_channel_gets_its_deliveries_parked() -> None:
    planned = plan(route_events(make_events(1), ROUTES), routing(dba=5, mail=5), ["dba"], T0)
    assert {d.channel: d.state for d in planned} == {"dba": DeliveryState.PARKED, "mail": DeliveryState.PENDING}


def test_planning_again_gives_the_same_ids() -> None:
    first, second = (plan(route_events(make_events(9), ROUTES), routing(dba=2, mail=20), (), T0) for _ in range(2))
    assert first == second


FAILED_ROUTES = (
    Route(name="backups", match=(parse_matcher("name=Backup"),), channels=("dba",), severity=Severity.INFO),
    Route(name="failures", channels=("dba", "mail"), mention=("@here", "U1")),
    Route(name="dba", match=(parse_matcher("status=failed"),), channels=("dba",), mention=("U1", "S1")),
    Route(name="silent", channels=("mail",)),
)


def planned_routing(*events: Event, digest_above: int = 20) -> dict[str, list[DeliveryRouting]]:
    planned = plan(
        route_events(events, FAILED_ROUTES),
        routing(FAILED_ROUTES, dba=digest_above, mail=digest_above),
        (),
        T0,
    )
    return {name: [one.routing for one in planned if one.channel == name] for name in ("dba", "mail")}


def test_a_delivery_records_what_the_routes_to_its_channel_want() -> None:
    found = planned_routing(make_event())
    assert found == {
        "dba": [DeliveryRouting(routes=("failures", "dba"), mention=("@here", "U1", "S1"))],
        "mail": [DeliveryRouting(routes=("failures", "silent"), mention=("@here", "U1"))],
    }


def test_an_event_that_is_not_loud_mentions_nobody() -> None:
    backup = make_event(make_task("backup", name="Backup"))
    assert planned_routing(backup)["dba"] == [
        DeliveryRouting(routes=("backups", "failures", "dba"), severity=Severity.INFO)
    ]
    staging = make_event(make_task("staging"), environment="staging")
    completed = make_event(make_task("done", status="completed"))
    assert [one.mention for event in (staging, completed) for one in planned_routing(event)["mail"]] == [(), ()]


def test_a_digest_is_as_bad_as_its_worst_event() -> None:
    backups = [make_event(make_task(f"backup-{n}", name="Backup")) for n in range(2)]
    failure = make_event(make_task("failure"), environment="production")
    (mixed,) = planned_routing(*backups, failure, digest_above=1)["dba"]
    assert mixed.severity is Severity.CRITICAL
    assert mixed.mention == ("@here", "U1", "S1")
    (quiet,) = planned_routing(*backups, digest_above=1)["dba"]
    assert (quiet.severity, quiet.mention) == (Severity.INFO, ())


def test_an_alert_that_no_route_takes_wants_nothing() -> None:
    alerts = route_alerts([make_alert()], (), ["mail"])
    (delivery,) = plan(alerts, routing((), mail=1), (), T0)
    assert delivery.routing == DeliveryRouting()


@given(st.lists(st.sampled_from([None, *Severity])), st.lists(st.sampled_from([None, *Severity])))
def test_joining_is_the_worst_that_is_set(first: list[Severity | None], second: list[Severity | None]) -> None:
    one, other = (
        functools.reduce(DeliveryRouting.joined, [DeliveryRouting(severity=each) for each in some], DeliveryRouting())
        for some in (first, second)
    )
    given_any = [each for each in (*first, *second) if each]
    assert one.joined(other).severity == (worst(given_any) if given_any else None)


@pytest.mark.parametrize(
    ("outcome", "state", "wait", "reason"),
    [
        (Delivered("ref"), DeliveryState.DELIVERED, None, None),
        (GaveUp("HTTP 400"), DeliveryState.DEAD, None, "HTTP 400"),
        (Parked("no token", timedelta(minutes=5)), DeliveryState.PARKED, timedelta(minutes=5), "no token"),
        (Parked("HTTP 410"), DeliveryState.PARKED, None, "HTTP 410"),
        (Retry("HTTP 503"), DeliveryState.PENDING, timedelta(seconds=5), "HTTP 503"),
        (Retry("HTTP 429", timedelta(minutes=7)), DeliveryState.PENDING, timedelta(minutes=7), "HTTP 429"),
        (Unknown("no answer"), DeliveryState.PENDING, timedelta(seconds=5), "outcome unknown: no answer"),
    ],
)
def test_an_outcome_decides(outcome: Outcome, state: DeliveryState, wait: timedelta | None, reason: str | None) -> None:
    delivery = make_delivery(attempt=1)
    found = settle(delivery, outcome, started_at=T0, finished_at=T0, schedule=SCHEDULE, chance=0.5)
    assert (found.state, found.reason) == (state, reason)
    assert found.wait == wait
    assert (found.attempt.number, found.attempt.delivery_id) == (1, delivery.id)


def test_a_used_up_schedule_ends_dead_with_the_last_reason() -> None:
    delivery = make_delivery(attempt=4)
    found = settle(delivery, Retry("HTTP 503"), started_at=T0, finished_at=T0, schedule=SCHEDULE, chance=0.5)
    assert (found.state, found.reason) == (DeliveryState.DEAD, "gave up after 4 attempts, last: HTTP 503")


def test_sending_again_by_hand_restarts_the_schedule() -> None:
    delivery = make_delivery(attempt=5, earlier_attempts=4)
    found = settle(delivery, Retry("HTTP 503"), started_at=T0, finished_at=T0, schedule=SCHEDULE, chance=0.5)
    assert (found.state, found.wait) == (DeliveryState.PENDING, SCHEDULE[0])


@given(
    attempt=st.integers(1, 3),
    after=st.none() | st.timedeltas(),
    chance=st.floats(0, 1),
)
def test_a_wait_keeps_to_the_schedule_and_to_what_was_asked(
    attempt: int, after: timedelta | None, chance: float
) -> None:
    wait = retry.delay(SCHEDULE, attempt, after, chance)
    assert wait is not None
    slot = SCHEDULE[attempt - 1]
    asked = min(max(after or timedelta(), timedelta()), timedelta(hours=1))
    tolerance = timedelta(microseconds=2)
    assert max(slot * 0.8, asked) - tolerance <= wait <= max(slot * 1.2, asked) + tolerance


@given(st.integers(0, 10_000))
def test_a_back_off_grows_to_its_limit_and_no_further(failures: int) -> None:
    wait = retry.backoff(failures, timedelta(seconds=1), timedelta(minutes=5))
    assert timedelta(seconds=1) <= wait <= timedelta(minutes=5)


def test_an_event_keeps_its_subject_whatever_its_state() -> None:
    assert make_event(make_task("a", status="running")).subject == make_event(make_task("a")).subject == "prod/a"
