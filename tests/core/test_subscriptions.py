"""Which events a subscription is about, and the channels that it adds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import T0, make_event, make_events, make_gap, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import subscriptions
from notifier.core.events import EventType
from notifier.core.identity import DirectChannel
from notifier.core.model import Event
from notifier.core.mutes import Mute
from notifier.core.outbox import plan_sent
from notifier.core.people import EventSubscription
from notifier.core.polling import plan_deliveries
from notifier.core.routing import ChannelPolicy, RoutedEvent, RoutingConfig
from notifier.core.rulings import mute_rule
from notifier.core.subscriptions import MAX_FILTER_LENGTH, read_filter, subscription_id, with_subscriptions

RUNNING = make_task(status="running", ended_at=None, fail_reason=None, progress=10.0)
EVENTS = {
    "failed": make_event(type=EventType.TASK_FAILED),
    "completed": make_event(make_task(status="completed"), type=EventType.TASK_COMPLETED),
    "started": make_event(RUNNING, type=EventType.TASK_STARTED),
    "progressed": make_event(replace(RUNNING, progress=50.0), type=EventType.TASK_PROGRESSED),
    "stalled": make_event(RUNNING, type=EventType.TASK_STALLED),
    "overdue": make_event(RUNNING, type=EventType.TASK_OVERDUE),
    "reminded": make_event(type=EventType.TASK_REMINDED),
    "unlisted": make_event(RUNNING, type=EventType.TASK_UNLISTED),
    "source": make_gap(type=EventType.SOURCE_FAILING),
    "monitored": make_gap(type=EventType.SOURCE_MONITORED),
}
ALICE, BOB, PLACE = (str(DirectChannel(id_)) for id_ in ("U0ALICE", "U0BOB", "C0OTHER"))


def subscription(matchers: str, channel: str = ALICE) -> EventSubscription:
    return EventSubscription(
        id=f"{channel}:{matchers}", channel=channel, matchers=matchers, by="U0ALICE", name="alice", created_at=T0
    )


def routed(event: Event, *channels: str) -> RoutedEvent:
    return RoutedEvent(event=event, routes=(), channels=channels)


def config(**more: object) -> RoutingConfig:
    return replace(RoutingConfig(direct=ChannelPolicy(name="dm:", digest_above=5)), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("gauss-*", {"failed", "completed", "stalled", "unlisted", "overdue"}),
        ("source=prod", {"failed", "completed", "stalled", "unlisted", "source", "overdue"}),
        ("gauss-* failed", {"failed"}),
        ("failed gauss-*", {"failed"}),
        ("failed stuck", {"failed", "stalled"}),
        ("gauss-* running", {"started"}),
        ("gauss-* started completed", {"started", "completed"}),
        ("vanished overdue", {"unlisted", "overdue"}),
        ("status=running", {"started", "progressed", "stalled", "unlisted", "overdue"}),
        ("progress>=50", {"progressed"}),
        ("type=task.*", {*EVENTS} - {"source", "monitored"}),
        ("source.monitored", {"monitored"}),
        ('fail_reason="failed"', set()),
        ("instance in [failed , stuck]", set()),
        ("environment=production", set()),
        ("other-*", set()),
    ],
)
def test_a_subscription_is_about_what_it_names_or_about_what_matters(text: str, kinds: set[str]) -> None:
    assert {name for name, event in EVENTS.items() if reached(text, event)} == kinds


def reached(text: str, event: Event) -> bool:
    (item,) = with_subscriptions([routed(event)], [subscription(text)], config())
    return item.channels == (ALICE,)


@pytest.mark.parametrize(
    "text", ["", "  ", "enviroment=prod", "duration>soon", "instance in [a", "=", "x" * (MAX_FILTER_LENGTH + 1)]
)
def test_a_wrong_filter_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_filter(text)


@given(st.text(max_size=MAX_FILTER_LENGTH + 10))
def test_any_text_is_a_filter_or_a_value_error(text: str) -> None:
    try:
        matchers = read_filter(text)
    except ValueError:
        return
    assert matchers
    for event in EVENTS.values():
        assert reached(text, event) in (True, False)


def test_the_order_of_the_words_makes_no_other_subscription() -> None:
    ids = {subscription_id(ALICE, read_filter(text)) for text in ("prod-* failed", "failed prod-*", "failed  prod-*")}
    assert len(ids) == 1
    assert subscription_id(BOB, read_filter("prod-* failed")) not in ids


def test_somebody_with_several_fitting_subscriptions_is_added_once() -> None:
    subscribed = [
        subscription("gauss-*"),
        subscription("failed"),
        subscription("failed", BOB),
        subscription("other-*", PLACE),
    ]
    (item,) = with_subscriptions([routed(EVENTS["failed"], "dba")], subscribed, config())
    assert item.channels == ("dba", ALICE, BOB)
    (item,) = with_subscriptions([routed(EVENTS["failed"], "dba", ALICE)], subscribed[:2], config())
    assert item.channels == ("dba", ALICE)


@pytest.mark.parametrize(
    ("before", "after"),
    [((), ("dba",)), (("dba",), ("dba",)), (("second",), ("second",)), (("mail",), ("mail", "dba"))],
)
def test_a_configured_channel_gets_an_event_once_and_as_itself(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    routing = config(places={PLACE: ["dba", "second"]})
    (item,) = with_subscriptions([routed(EVENTS["failed"], *before)], [subscription("failed", PLACE)], routing)
    assert item.channels == after


def test_no_channel_gets_an_alert_about_itself() -> None:
    failing = make_gap(type=EventType.CHANNEL_FAILING, channel=ALICE)
    subscribed = [subscription("channel.failing"), subscription("channel.failing", BOB)]
    (item,) = with_subscriptions([routed(failing)], subscribed, config())
    assert item.channels == (BOB,)


def test_a_subscription_that_cannot_be_read_is_about_nothing() -> None:
    subscribed = [subscription("color=red"), subscription("failed", BOB)]
    (item,) = with_subscriptions([routed(EVENTS["failed"])], subscribed, config())
    assert item.channels == (BOB,)
    assert not subscriptions.is_readable(subscribed[0])


def test_a_mute_holds_for_a_channel_and_not_for_a_person() -> None:
    mute = Mute(
        id="7k2m", since=T0, instance="gauss-6568-zzh", until=T0.replace(year=2100), by="U", name="bob", created_at=T0
    )
    new = with_subscriptions(
        [routed(EVENTS["failed"])], [subscription("failed", who) for who in (ALICE, PLACE)], config()
    )
    planned = plan_deliveries(new, config(), parked=(), rules=(mute_rule([mute], T0),), now=T0)
    assert {one.channel: str(one.state) for one in planned.deliveries} == {ALICE: "pending", PLACE: "suppressed"}


def test_a_person_gets_few_messages_about_a_storm() -> None:
    failures = make_events(2_000)
    new = with_subscriptions([routed(event) for event in failures], [subscription("failed stuck")], config())
    routing = config(direct=ChannelPolicy(name="dm:", digest_above=5, storm_size=250, storm_room=5_500))
    planned = plan_deliveries(new, routing, parked=(), rules=(), now=T0)
    told = {event.id for one in planned.deliveries for event in one.events}
    wanted = {item.event.id for item in new if item.channels}
    assert wanted
    assert told == wanted
    assert len(planned.deliveries) < len(wanted) / 50
    assert {storm.channel for storm in planned.storms} == {ALICE}


@pytest.mark.parametrize(("count", "messages"), [(5, 5), (6, 1)])
def test_several_ends_in_one_poll_are_a_digest(count: int, messages: int) -> None:
    ended = [make_event(make_task(f"job-{n}", status="completed"), type=EventType.TASK_COMPLETED) for n in range(count)]
    assert len(list(plan_sent({ALICE: [routed(event) for event in ended]}, config(), (), T0, {}))) == messages


RECEIVERS = (ALICE, BOB, PLACE, str(DirectChannel("C0CONFIGURED")))
FILTERS = ("failed", "gauss-*", "gauss-0000*", "completed gauss-*", "source=prod", "task.*", "other-*", "odd=odd")


@given(
    st.lists(st.tuples(st.sampled_from(FILTERS), st.sampled_from(RECEIVERS)), max_size=12),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
)
def test_every_subscribed_event_has_one_account_on_each_channel(
    wanted: list[tuple[str, str]],
    count: int,
    parked: bool,  # noqa: FBT001 - drawn by hypothesis
    muted: bool,  # noqa: FBT001 - as above
) -> None:
    routing = config(places={RECEIVERS[-1]: ["dba"]}, policies={"dba": ChannelPolicy(name="dba", digest_above=3)})
    mute = Mute(
        id="7k2m", since=T0, instance="gauss-00001", until=T0.replace(year=2100), by="U", name="b", created_at=T0
    )
    items = [routed(event, *(["dba"] if n % 2 else [])) for n, event in enumerate(make_events(count))]
    new = with_subscriptions(items, [subscription(text, who) for text, who in wanted], routing)
    rules = (mute_rule([mute], T0),) if muted else ()
    planned = plan_deliveries(new, routing, parked=[ALICE] if parked else [], rules=rules, now=T0)
    accounts = sorted((event.id, one.channel) for one in planned.deliveries for event in one.events)
    assert accounts == sorted((item.event.id, channel) for item in new for channel in item.channels)
    assert len(accounts) == len(set(accounts))
    assert RECEIVERS[-1] not in {channel for _, channel in accounts}
