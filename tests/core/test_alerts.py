"""When the program says that it is blind or mute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from factories import PROJECT_ID, REGION, T0
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import alerts
from notifier.core.alerts import (
    AlertDecision,
    AlertEdge,
    Announcement,
    DeadLetters,
    Introduction,
    UnreportedDeadLetters,
    channel_edge,
    dead_letters_since,
    decide_alerts,
    source_edge,
)
from notifier.core.events import EventType
from notifier.core.health_facts import Backlog, ConfiguredSource, Expected, HealthFacts
from notifier.core.identity import Subject
from notifier.core.matchers import Matcher
from notifier.core.model import ChannelState, SourceState
from notifier.core.pacing import ChannelHealth
from notifier.core.routing import Route
from notifier.core.severity import Severity

MINUTE = timedelta(minutes=1)
PROD = ConfiguredSource(name="prod", region=REGION, project_id=PROJECT_ID, poll_every=timedelta(seconds=30))
AFTER = 5 * MINUTE


def source(**state: Any) -> SourceState:
    """A source whose polls have seen the whole list."""
    whole: dict[str, Any] = {"last_full_at": state.get("last_poll_at"), "last_full_calls": 1}
    return SourceState(name="prod", **whole | state)


def channel(failing_since: datetime | None = None, good_at: datetime | None = None, **state: Any) -> ChannelState:
    return ChannelState(name="dba", health=ChannelHealth(failing_since=failing_since, good_at=good_at), **state)


def edge_of(state: ChannelState, now: datetime, **backlog: Any) -> AlertEdge | None:
    expected = Expected(channels=["dba"], failing_after=AFTER)
    return channel_edge(state, Backlog(channel=state.name, **backlog), expected, now)


# ---- sources ----


def test_a_source_that_is_polled_has_no_alert() -> None:
    assert source_edge(PROD, source(last_poll_at=T0 - MINUTE), T0, T0 - 60 * MINUTE) is None


def test_a_source_is_failing_after_five_polls_and_five_minutes() -> None:
    failing = source(last_poll_at=T0 - 9 * MINUTE, failing_since=T0)
    polling_since = T0 - 60 * MINUTE
    assert source_edge(PROD, failing, T0 + 5 * MINUTE - timedelta(seconds=1), polling_since) is None
    assert source_edge(PROD, failing, T0 + 5 * MINUTE, polling_since) == AlertEdge(failing=True, since=T0 - 9 * MINUTE)
    slow = ConfiguredSource(name="prod", region=REGION, project_id=PROJECT_ID, poll_every=2 * MINUTE)
    assert source_edge(slow, failing, T0 + 9 * MINUTE, polling_since) is None
    assert source_edge(slow, failing, T0 + 10 * MINUTE, polling_since)


def test_silence_is_loud_even_when_no_poll_fails() -> None:
    assert source_edge(PROD, source(last_poll_at=T0), T0 + 5 * MINUTE, T0 - MINUTE) == AlertEdge(failing=True, since=T0)


def test_a_source_never_polled_is_failing_since_monitoring_began() -> None:
    assert source_edge(PROD, source(), T0 + 4 * MINUTE, T0) is None
    assert source_edge(PROD, source(), T0 + 5 * MINUTE, T0) == AlertEdge(failing=True, since=T0)


def test_after_a_downtime_a_source_has_its_full_time_again() -> None:
    long_ago = T0 - timedelta(days=2)
    for state in (source(last_poll_at=long_ago), source(last_poll_at=long_ago, failing_since=long_ago + MINUTE)):
        assert source_edge(PROD, state, T0 + 4 * MINUTE, T0) is None
        assert source_edge(PROD, state, T0 + 5 * MINUTE, T0)
    assert source_edge(PROD, source(last_poll_at=long_ago, failing_since=T0), T0 + MINUTE, None) is None


def test_a_source_whose_list_is_never_seen_whole_is_failing() -> None:
    for whole in (None, T0 - timedelta(days=1)):
        state = source(last_poll_at=T0 + 10 * MINUTE, last_full_at=whole)
        assert source_edge(PROD, state, T0 + 4 * MINUTE, T0) is None
        why = "its list is read, but never whole: ends of tasks may be missing"
        assert source_edge(PROD, state, T0 + 10 * MINUTE, T0) == AlertEdge(failing=True, since=whole or T0, why=why)
        announced = source(last_poll_at=T0 + 10 * MINUTE, last_full_at=whole, announced_since=T0)
        assert source_edge(PROD, announced, T0 + 10 * MINUTE, T0) is None
    well = source(last_poll_at=T0 + 10 * MINUTE, announced_since=T0)
    assert source_edge(PROD, well, T0 + 10 * MINUTE, T0) == AlertEdge(failing=False, since=T0)


def test_a_long_list_gets_the_time_its_call_budget_needs() -> None:
    long = SourceState(name="prod", last_poll_at=T0, last_full_calls=200)
    assert source_edge(PROD, long, T0 + 19 * MINUTE, T0) is None
    assert source_edge(PROD, long, T0 + 20 * MINUTE, T0)


def test_a_source_recovers_with_a_good_poll_and_not_with_time() -> None:
    since = T0 - 10 * MINUTE
    assert source_edge(PROD, source(failing_since=since, announced_since=since), T0, since) is None
    assert source_edge(PROD, source(last_poll_at=since, announced_since=since), T0, since) is None
    assert source_edge(PROD, source(announced_since=since), T0, since) is None
    well = source(last_poll_at=T0 - MINUTE, announced_since=since)
    assert source_edge(PROD, well, T0, since) == AlertEdge(failing=False, since=since)


# ---- channels ----


def test_a_parked_channel_is_failing_at_once() -> None:
    assert edge_of(channel(parked_since=T0), T0) == AlertEdge(failing=True, since=T0)


def test_a_channel_that_takes_nothing_is_failing_after_a_while() -> None:
    assert edge_of(channel(failing_since=T0), T0 + AFTER - MINUTE) is None
    assert edge_of(channel(failing_since=T0), T0 + AFTER) == AlertEdge(failing=True, since=T0)


def test_a_probe_of_a_parked_channel_is_no_recovery_and_no_failure() -> None:
    probed = channel(announced_since=T0)
    parked_again = channel(announced_since=T0, parked_since=T0 + AFTER)
    assert edge_of(probed, T0 + AFTER) is None
    assert edge_of(parked_again, T0 + AFTER) is None


def test_a_channel_recovers_when_it_has_delivered() -> None:
    assert edge_of(channel(announced_since=T0, good_at=T0 - MINUTE), T0 + AFTER) is None
    well = channel(announced_since=T0, good_at=T0 + MINUTE)
    assert edge_of(well, T0 + AFTER) == AlertEdge(failing=False, since=T0)
    again = channel(announced_since=T0, good_at=T0 + MINUTE, failing_since=T0 + 2 * MINUTE)
    assert edge_of(again, T0 + AFTER) is None


def test_an_unconfigured_channel_is_failing_while_messages_wait() -> None:
    gone = ChannelState(name="old")
    assert edge_of(gone, T0 + AFTER - MINUTE, pending=3, pending_since=T0) is None
    edge = edge_of(gone, T0 + AFTER, pending=3, pending_since=T0)
    assert edge
    assert (edge.failing, edge.since) == (True, T0)
    assert "(3): notifier move old OTHER-CHANNEL, or notifier dismiss --channel old" in (edge.why or "")
    announced = replace(gone, announced_since=T0)
    assert edge_of(announced, T0 + AFTER, pending=3, pending_since=T0) is None
    assert edge_of(announced, T0 + AFTER) == AlertEdge(failing=False, since=T0)


def test_dead_letters_are_announced_once_an_hour() -> None:
    assert dead_letters_since(channel(), T0) == T0 - timedelta(days=1)
    assert dead_letters_since(channel(given_up_until=T0), T0 + 59 * MINUTE) is None
    assert dead_letters_since(channel(given_up_until=T0), T0 + 60 * MINUTE) == T0


# ---- whatever happens ----

MOMENTS = st.none() | st.integers(0, 120).map(lambda minutes: T0 + minutes * MINUTE)


@given(st.lists(st.tuples(MOMENTS, MOMENTS), max_size=30))
def test_a_source_alternates_between_failing_and_recovered(
    story: list[tuple[datetime | None, datetime | None]],
) -> None:
    announced: datetime | None = None
    said: list[bool] = []
    for minute, (last_poll_at, failing_since) in enumerate(story):
        state = source(last_poll_at=last_poll_at, failing_since=failing_since, announced_since=announced)
        if edge := source_edge(PROD, state, T0 + (minute + 60) * MINUTE, T0):
            announced = edge.since if edge.failing else None
            said.append(edge.failing)
    assert said == [number % 2 == 0 for number in range(len(said))]


@given(st.lists(st.tuples(MOMENTS, MOMENTS, MOMENTS), max_size=30))
def test_a_channel_alternates_between_failing_and_recovered(story: list[tuple[datetime | None, ...]]) -> None:
    announced: datetime | None = None
    said: list[bool] = []
    for minute, (parked, failing, good) in enumerate(story):
        state = channel(parked_since=parked, failing_since=failing, good_at=good, announced_since=announced)
        if edge := edge_of(state, T0 + (minute + 60) * MINUTE):
            announced = edge.since if edge.failing else None
            said.append(edge.failing)
    assert said == [number % 2 == 0 for number in range(len(said))]


# ---- what is said, and to whom ----

FAILING, RECOVERED = AlertEdge(failing=True, since=T0, why="HTTP 503"), AlertEdge(failing=False, since=T0)


def test_an_event_carries_what_people_need() -> None:
    event = alerts.source_event(PROD, FAILING, T0 + AFTER)
    assert (event.type, event.source, event.region, event.project_id) == (
        EventType.SOURCE_FAILING,
        "prod",
        REGION,
        PROJECT_ID,
    )
    assert (event.since, event.detail, event.observed_at) == (T0, "HTTP 503", T0 + AFTER)
    in_production = replace(PROD, environment="production", labels=(("team", "payments"),))
    for edge, severity in ((FAILING, Severity.CRITICAL), (RECOVERED, Severity.INFO)):
        event = alerts.source_event(in_production, edge, T0 + AFTER)
        assert (event.environment, event.labels) == ("production", (("team", "payments"),))
        assert event.severity is severity
    found = DeadLetters(count=2, first=T0, last=T0 + MINUTE, reason="HTTP 400")
    gave_up = alerts.dead_letters_event("dba", found, T0 + AFTER)
    assert (gave_up.channel, gave_up.count, gave_up.since, gave_up.detail) == ("dba", 2, T0, "HTTP 400")


def test_the_id_of_an_event_follows_from_facts_alone() -> None:
    once, again = (
        alerts.channel_event("dba", replace(FAILING, why=why), T0 + n * MINUTE) for n, why in enumerate(("a", "b"))
    )
    assert once.id == again.id
    different = (
        alerts.channel_event("dba", FAILING, T0),
        alerts.channel_event("ops", FAILING, T0),
        alerts.channel_event("dba", RECOVERED, T0),
        alerts.channel_event("dba", AlertEdge(failing=True, since=T0 + MINUTE), T0),
        alerts.source_event(PROD, FAILING, T0),
        alerts.source_event(PROD, RECOVERED, T0),
    )
    keys = [(event.source, event.job_id, event.occurrence) for event in different]
    assert len({event.id for event in different}) == len(set(keys)) == len(different)


def test_failing_and_recovered_keep_their_order() -> None:
    failing, recovered = (alerts.channel_event("dba", edge, T0) for edge in (FAILING, RECOVERED))
    assert failing.subject == recovered.subject == str(Subject(channel="dba"))
    failing, recovered = (alerts.source_event(PROD, edge, T0) for edge in (FAILING, RECOVERED))
    assert failing.subject == recovered.subject == "prod/"


ALERT_TYPES = Route(
    name="alerts", match=(Matcher(field="type", op="=~", value="channel[.].*"),), channels=("dba", "ops")
)


@pytest.mark.parametrize(
    ("about", "routes", "fallback", "notified"),
    [
        ("dba", [], ("dba", "mail", "ops"), ("mail", "ops")),
        ("dba", [ALERT_TYPES], ("mail",), ("ops",)),
        ("mail", [ALERT_TYPES], ("mail",), ("dba", "ops")),
        ("dba", [Route(name="all", channels=("dba",))], ("dba", "mail"), ("mail",)),
        ("dba", [], ("dba",), ()),
        ("dba", [], (), ()),
    ],
)
def test_a_channel_alert_skips_itself_and_falls_back_to_all_others(
    about: str, routes: list[Route], fallback: tuple[str, ...], notified: tuple[str, ...]
) -> None:
    (routed,) = alerts.route_alerts([alerts.channel_event(about, FAILING, T0)], routes, fallback)
    assert routed.channels == notified


def test_a_route_can_ask_for_the_channel_that_an_event_is_about() -> None:
    about = Route(name="r", match=(Matcher(field="channel", op="=", value="dba"),), channels=("ops",))
    events = [alerts.channel_event(name, FAILING, T0) for name in ("dba", "mail")]
    assert [item.channels for item in alerts.route_alerts(events, [about], ("sms",))] == [("ops",), ("sms",)]


def test_what_is_decided_here_is_what_falls_back() -> None:
    found = DeadLetters(count=1, first=T0, last=T0, reason=None)
    made = {alerts.dead_letters_event("dba", found, T0).type, alerts.store_event("deleted", T0).type}
    made.add(alerts.monitored_event(Introduction(source=PROD, baseline_at=T0), {}, T0).type)
    for edge in (FAILING, RECOVERED):
        made |= {alerts.source_event(PROD, edge, T0).type, alerts.channel_event("dba", edge, T0).type}
    assert made == {kind for kind in EventType if kind.traits.alert}


# ---- what to announce ----


def decide(expected: Expected, *states: ChannelState, backlogs: Sequence[Backlog] = ()) -> AlertDecision:
    facts = HealthFacts(at=T0, sources=[source(last_poll_at=T0)], channels=states, backlogs=backlogs)
    return decide_alerts(replace(expected, sources=[PROD], failing_after=AFTER), facts, None)


def introductions(**state: Any) -> Sequence[Introduction]:
    facts = HealthFacts(at=T0, sources=[source(last_poll_at=T0, **state), SourceState(name="removed", baseline_at=T0)])
    return decide_alerts(Expected(sources=[PROD]), facts, None).introduced


def test_a_source_is_introduced_from_its_baseline_on() -> None:
    assert introductions() == ()
    assert introductions(baseline_at=T0) == (Introduction(source=PROD, baseline_at=T0),)
    assert introductions(baseline_at=T0, introduced_at=T0) == ()


def test_there_is_nothing_to_announce_while_all_is_well() -> None:
    decision = decide(Expected(channels=["dba"]), channel(good_at=T0))
    assert (decision, list(decision.batches(100))) == (AlertDecision(), [])


def test_sources_are_announced_a_few_at_a_time_and_channels_last() -> None:
    sources = [replace(PROD, name=f"prod-{n}") for n in range(5)]
    states = [SourceState(name=one.name, last_poll_at=T0, last_full_at=T0, baseline_at=T0) for one in sources[:2]]
    failing = ChannelState(name="dba", parked_since=T0)
    facts = HealthFacts(at=T0, sources=states, channels=[failing])
    decision = decide_alerts(Expected(sources=sources, channels=["dba"]), facts, T0 - 60 * MINUTE)
    parts = list(decision.batches(2))
    assert [(len(part.sources), len(part.introduced), len(part.channels)) for part in parts] == [
        (2, 0, 0),
        (1, 0, 0),
        (0, 2, 0),
        (0, 0, 1),
    ]
    assert tuple(one for part in parts for one in part.sources) == decision.sources


def test_the_recovery_of_a_removed_channel_is_noted_without_an_event() -> None:
    decision = decide(Expected(), channel(announced_since=T0 - AFTER))
    assert decision.channels == (Announcement(name="dba", was=T0 - AFTER, since=None, event=None),)


def test_dead_letters_are_counted_from_where_the_last_report_ended() -> None:
    reported = T0 - timedelta(hours=2)
    dead = Backlog(channel="dba", dead=1, dead_since=T0 - MINUTE, dead_until=T0 - MINUTE)
    decision = decide(Expected(channels=["dba"]), channel(given_up_until=reported), backlogs=[dead])
    assert decision.channels == (UnreportedDeadLetters(channel="dba", was=reported, since=reported),)
