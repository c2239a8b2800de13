"""Which events a mute covers, when it is in force, and its steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import T0, make_event, make_missing, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.core import mutes
from notifier.core.cron import Cron
from notifier.core.events import EventType
from notifier.core.matchers import parse_matchers
from notifier.core.model import Event, SourceOrigin
from notifier.core.mutes import (
    MAX_MUTE,
    HeldBack,
    Mute,
    MutesInForce,
    MuteSpan,
    MuteTimes,
    WrongMute,
    concerned_channels,
    ended_early,
    named_task,
    new_mute_id,
    next_step,
    redefined,
    same_definition,
    unnamed,
    upcoming,
    window_event,
)
from notifier.core.routing import Route, RoutedEvent
from notifier.core.rulings import Suppress, mute_rule, ruling_on

HOUR = timedelta(hours=1)
ZONES = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago")


def make_mute(covers: str = "source=prod", **more: Any) -> Mute:
    values: dict[str, Any] = {
        "id": "7k2m",
        "since": T0,
        "until": T0 + 2 * HOUR,
        "by": "U1",
        "name": "bob",
        "created_at": T0,
        "match": parse_matchers(covers),
        "due_at": T0,
    }
    return Mute(**values | more)


def of_instance(name: str, **more: Any) -> Mute:
    return make_mute(match=(), instance=name, **more)


COMPLETED = make_event(
    make_task("job-1", status="completed", instance_id="in-1", instance_name="prod-orders-01", name="BackupSnapshotX"),
    type=EventType.TASK_COMPLETED,
    environment="production",
    labels=(("team", "pay"),),
)
FAILED = make_event(make_task("job-2", status="failed", instance_id="in-1", instance_name="prod-orders-01"))
STALLED = make_event(make_task("job-3", status="running", instance_name="other"), type=EventType.TASK_STALLED)


# ---- what covers what ----


@pytest.mark.parametrize(
    ("mute", "covered"),
    [
        (of_instance("in-1"), [COMPLETED, FAILED]),
        (of_instance("prod-orders-01"), [COMPLETED, FAILED]),
        (of_instance("prod-orders"), []),
        (of_instance("in-1", except_failures=True), [COMPLETED]),
        (make_mute("prod-*"), [COMPLETED, FAILED]),
        (make_mute("prod-* type=task.failed"), [FAILED]),
        (make_mute("failed"), [FAILED]),
        (make_mute("operation=backup"), [COMPLETED]),
        (make_mute("label.team=pay"), [COMPLETED]),
        (make_mute("environment=production"), [COMPLETED]),
        (make_mute("source=prod"), [COMPLETED, FAILED, STALLED]),
        (make_mute("source=prod", except_failures=True), [COMPLETED]),
        (make_mute("source=staging"), []),
        (make_mute("instance in [other, another]"), [STALLED]),
    ],
)
def test_a_mute_covers_what_it_names(mute: Mute, covered: Sequence[Event]) -> None:
    events = (COMPLETED, FAILED, STALLED)
    assert [event for event in events if mute.covers(event, T0)] == list(covered)
    in_force = MutesInForce([mute], T0)
    assert [event for event in events if in_force.covering(event)] == list(covered)


def test_a_mute_is_in_force_from_its_beginning_until_its_end() -> None:
    mute = make_mute()
    before, end = T0 - timedelta(seconds=1), T0 + 2 * HOUR
    assert [mute.covers(FAILED, at) for at in (before, T0, end - timedelta(seconds=1), end)] == [
        False,
        True,
        True,
        False,
    ]


def test_alerts_about_the_notifier_itself_are_not_muted() -> None:
    failing = replace(FAILED, type=EventType.SOURCE_FAILING, task=None)
    assert not make_mute("source=prod").covers(failing, T0)
    assert MutesInForce([make_mute("source=prod")], T0).covering(failing) is None


def test_the_mute_that_ends_first_is_named() -> None:
    first, second = of_instance("in-1", id="2bbb"), make_mute("prod-*", id="2ccc")
    assert MutesInForce([first, second], T0).covering(FAILED) == first
    assert MutesInForce([second, first], T0).covering(FAILED) == second
    excepting = replace(first, except_failures=True)
    assert MutesInForce([excepting, second], T0).covering(FAILED) == second


def test_a_task_without_events_is_muted_by_its_instance_alone() -> None:
    in_force = MutesInForce([make_mute("source=prod", id="2bbb"), of_instance("in-1")], T0)
    task = FAILED.task
    assert task
    found = in_force.about(task, None)
    assert found is not None
    assert found.id == "7k2m"
    newest = in_force.about(task, FAILED)
    assert newest is not None
    assert newest.id == "2bbb"


def test_a_suppressed_event_names_the_mute_and_its_reason() -> None:
    mute = make_mute("prod-* operation=backup", reason="patching", match=parse_matchers("prod-* failed"))
    item = RoutedEvent(event=FAILED, routes=("all",), channels=("dba", "dm:U1"))
    rules = (mute_rule([mute], T0),)
    until = mute.until.isoformat(timespec="minutes")
    reason = f"prod-* status=failed is muted until {until} by bob: patching"
    assert ruling_on(item, "dba", rules) == Suppress(rule="mute:7k2m", reason=reason)
    assert ruling_on(item, "dm:U1", rules) is None
    assert ruling_on(replace(item, solves=("dba",)), "dba", rules) is None


# ---- times ----


@pytest.mark.parametrize(
    ("times", "key"),
    [
        (MuteTimes(length=timedelta(seconds=1)), "mute"),
        (MuteTimes(length=MAX_MUTE + HOUR), "mute"),
        (MuteTimes(length=HOUR, since=T0 - HOUR), "past"),
        (MuteTimes(length=HOUR, since=T0 + timedelta(days=400)), "ahead"),
        (MuteTimes(length=HOUR, cron=Cron.parse("*/10 * * * *", "UTC")), "overlap"),
        (MuteTimes(length=24 * HOUR + HOUR, cron=Cron.parse("0 2 * * *", "UTC")), "overlap"),
        (MuteTimes(length=HOUR, cron=Cron.parse("0 2 * * *", "UTC"), last=T0 - HOUR), "past"),
    ],
)
def test_a_mute_that_cannot_be_is_refused(times: MuteTimes, key: str) -> None:
    with pytest.raises(WrongMute) as caught:
        times.first_window(T0)
    assert caught.value.key == key


def test_the_first_window_is_the_open_one_or_the_next() -> None:
    nightly = MuteTimes(length=4 * HOUR, cron=Cron.parse("0 22 * * *", "Asia/Shanghai"))
    at_23 = datetime(2026, 12, 2, 15, tzinfo=UTC)
    begin = datetime(2026, 12, 2, 14, tzinfo=UTC)
    assert nightly.first_window(at_23) == MuteSpan(begin, begin + 4 * HOUR)
    assert nightly.first_window(begin + 4 * HOUR) == MuteSpan(begin + 24 * HOUR, begin + 28 * HOUR)
    assert MuteTimes(length=HOUR).first_window(T0) == MuteSpan(T0, T0 + HOUR)


@pytest.mark.parametrize(
    ("zone", "day", "wall", "begins", "ends"),
    [
        # The clock skips 02:30: the window begins when it has moved on, and lasts as long as ever.
        ("America/New_York", "2027-03-13", "30 2", "2027-03-14T07:00Z", "2027-03-14T09:00Z"),
        ("Europe/Berlin", "2027-03-27", "30 2", "2027-03-28T01:00Z", "2027-03-28T03:00Z"),
        ("Australia/Lord_Howe", "2027-10-02", "15 2", "2027-10-02T15:30Z", "2027-10-02T17:30Z"),
        ("America/Santiago", "2027-09-04", "30 0", "2027-09-05T04:00Z", "2027-09-05T06:00Z"),
        # The clock shows 01:30 twice: the window begins the first time only, and is over the second hour too.
        ("America/New_York", "2027-11-06", "30 1", "2027-11-07T05:30Z", "2027-11-07T07:30Z"),
        ("Europe/Berlin", "2027-10-30", "30 2", "2027-10-31T00:30Z", "2027-10-31T02:30Z"),
        ("Australia/Lord_Howe", "2027-04-03", "45 1", "2027-04-03T14:45Z", "2027-04-03T16:45Z"),
        ("America/Santiago", "2027-04-03", "30 23", "2027-04-04T02:30Z", "2027-04-04T04:30Z"),
    ],
)
def test_windows_keep_their_length_where_clocks_change(zone: str, day: str, wall: str, begins: str, ends: str) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    cron = Cron.parse(f"{wall} * * *", zone)
    found = mutes.next_window(cron, 2 * HOUR, None, noon)
    assert found == MuteSpan(datetime.fromisoformat(begins), datetime.fromisoformat(ends))
    # There is one window a day, whatever the clocks do.
    mute = make_mute(since=found.since, until=found.until, cron=cron.text, timezone=zone, length=2 * HOUR)
    days = [window.since.astimezone(ZoneInfo(zone)).date() for window in upcoming(mute, 8)]
    assert days == [days[0] + timedelta(days=n) for n in range(8)]


@pytest.mark.parametrize("zone", ZONES)
def test_every_window_of_a_year_follows_the_one_before(zone: str) -> None:
    cron = Cron.parse("30 1 * * *", zone)
    mute = make_mute(cron=cron.text, timezone=zone, length=2 * HOUR)
    first = mutes.next_window(cron, 2 * HOUR, None, datetime(2027, 1, 1, tzinfo=UTC))
    assert first
    mute = replace(mute, since=first.since, until=first.until, due_at=first.since)
    seen = [mute.since]
    while len(seen) < 366:
        step = next_step(mute, mute.due_at or T0)
        assert step
        mute = step.mute
        if not step.begins:
            seen.append(mute.since)
    assert seen == [window.since for window in upcoming(replace(mute, since=first.since, until=first.until), 366)]


def test_a_mute_recurs_until_its_last_day() -> None:
    mute = make_mute(cron="0 2 * * *", timezone="UTC", length=HOUR, last=T0 + timedelta(days=2))
    assert len(list(upcoming(mute, 10))) == 3
    assert list(upcoming(make_mute(), 10)) == [MuteSpan(T0, T0 + 2 * HOUR)]


def test_a_preview_knows_which_windows_were_open() -> None:
    nightly = MuteTimes(length=4 * HOUR, cron=Cron.parse("0 22 * * *", "UTC"))
    midnight = datetime(2026, 12, 2, tzinfo=UTC)
    assert [mutes.was_open(nightly, midnight + n * HOUR) for n in (-3, -2, 0, 1, 2)] == [False, True, True, True, False]


# ---- steps ----


def test_a_window_begins_and_ends_once() -> None:
    mute = make_mute()
    begun = next_step(mute, T0)
    assert begun == mutes.MuteStep(replace(mute, begun=True, due_at=mute.until), begins=True)
    assert next_step(begun.mute, T0) is None
    over = next_step(begun.mute, mute.until)
    assert over == mutes.MuteStep(replace(begun.mute, due_at=None), begins=False)
    assert next_step(over.mute, mute.until + HOUR) is None


def test_a_mute_that_recurs_moves_to_a_window_that_is_not_over() -> None:
    mute = make_mute(
        cron="0 2 * * *", timezone="UTC", length=HOUR, begun=True, announced=("dba",), ended_by="bob",
        due_at=T0 + 2 * HOUR,
    )  # fmt: skip
    back_after_a_week = T0 + timedelta(days=7)
    step = next_step(mute, back_after_a_week)
    assert step
    after = step.mute
    assert (after.begun, after.announced, after.ended_by, after.due_at) == (False, (), None, after.since)
    assert after.since <= back_after_a_week + timedelta(days=1)
    assert after.until > back_after_a_week


def test_a_person_ends_a_window_or_all_of_them() -> None:
    nightly = make_mute(cron="0 2 * * *", timezone="UTC", length=2 * HOUR, begun=True, due_at=T0 + 2 * HOUR)
    at = T0 + HOUR
    once = ended_early(nightly, at, "ann", for_good=False)
    assert (once.until, once.due_at, once.ended_by, once.recurs) == (at, at, "ann", True)
    step = next_step(once, at)
    assert step
    assert step.mute.due_at is not None
    for_good = next_step(ended_early(nightly, at, "ann", for_good=True), at)
    assert for_good
    assert for_good.mute.due_at is None


def test_a_window_that_has_not_begun_is_gone_without_a_step() -> None:
    planned = make_mute(since=T0 + HOUR, due_at=T0 + HOUR)
    gone = ended_early(planned, T0, "ann", for_good=True)
    assert (gone.due_at, gone.is_open(T0 + HOUR)) == (None, False)


def test_a_configured_window_that_is_redefined_stays_or_ends() -> None:
    known = make_mute(configured=True, cron="0 2 * * *", timezone="UTC", length=2 * HOUR, begun=True)
    known = replace(known, due_at=known.until, announced=("dba",))
    at = T0 + HOUR
    longer = replace(known, begun=False, announced=(), until=T0 + 3 * HOUR, length=3 * HOUR, created_at=at)
    assert same_definition(known, replace(known, begun=False, created_at=at))
    assert not same_definition(known, longer)
    kept = redefined(known, longer, at)
    assert (kept.since, kept.until, kept.due_at, kept.announced) == (T0, longer.until, longer.until, ("dba",))
    elsewhen = replace(longer, since=T0 + 9 * HOUR, until=T0 + 12 * HOUR, due_at=T0 + 9 * HOUR)
    ended = redefined(known, elsewhen, at)
    assert (ended.since, ended.until, ended.due_at) == (T0, at, at)
    assert redefined(replace(known, since=T0 + 5 * HOUR, begun=False), elsewhen, at).since == elsewhen.since


def test_a_configured_mute_that_was_over_begins_another_window() -> None:
    over = make_mute(configured=True, due_at=None, begun=True)
    at = T0 + HOUR
    again = redefined(over, make_mute(configured=True, reason="again"), at)
    assert (again.since, again.due_at, again.begun) == (at, at, False)
    past = redefined(over, make_mute(configured=True, reason="again"), T0 + 5 * HOUR)
    assert past.due_at is None


# ---- ids ----


def test_ids_are_short_and_none_is_given_twice() -> None:
    taken: set[str] = set()
    for number in range(500):
        taken.add(new_mute_id(f"{number % 7}", taken))
    assert len(taken) == 500
    assert {len(one) for one in taken} == {4}
    assert new_mute_id("facts", ()) == new_mute_id("facts", ())


# ---- whom a window concerns ----

ORIGINS = [
    SourceOrigin(source="prod", region="r", project_id="p", environment="production", labels=(("team", "pay"),)),
    SourceOrigin(source="lab", region="r", project_id="p", environment="staging"),
]


def route(name: str, match: str = "", **more: Any) -> Route:
    return Route(name=name, match=parse_matchers(match) if match else (), channels=(name,), **more)


ROUTES = [
    route("lab", "source=lab"),
    route("failures", "type=task.failed"),
    route("orders", "prod-orders-*"),
    route("pay", "label.team=pay"),
    route("silenced", "source=prod", stop=True),
    route("rest"),
]


@pytest.mark.parametrize(
    ("mute", "channels"),
    [
        (make_mute("source=lab"), ["lab", "failures", "orders", "rest"]),
        (make_mute("source=prod"), ["failures", "orders", "pay", "silenced"]),
        (make_mute("source=prod", except_failures=True), ["orders", "pay", "silenced"]),
        (make_mute("label.team=pay completed"), ["orders", "pay", "silenced"]),
        (make_mute("environment=staging failed"), ["lab", "failures", "orders", "rest"]),
        (make_mute("source=lab instance=test-1"), ["lab", "failures", "rest"]),
        (make_mute("source=lab instance in [test-1, prod-orders-02]"), ["lab", "failures", "orders", "rest"]),
        (make_mute("source=nowhere"), []),
    ],
)
def test_a_beginning_concerns_the_routes_of_what_is_covered(mute: Mute, channels: list[str]) -> None:
    assert list(concerned_channels(mute, ROUTES, ORIGINS)) == channels


def test_a_mute_of_one_instance_concerns_routes_that_name_it() -> None:
    mute = of_instance("in-1", label="test-1")
    assert concerned_channels(mute, ROUTES, ORIGINS[1:]) == ("lab", "failures", "rest")
    assert "orders" in concerned_channels(replace(mute, label="prod-orders-02"), ROUTES, ORIGINS[1:])


@pytest.mark.parametrize(
    ("mute", "announces"),
    [
        (of_instance("in-1"), False),
        (of_instance("in-1", since=T0 + HOUR), True),
        (make_mute("prod-*"), True),
        (make_mute("prod-*", cron="0 2 * * *"), False),
        (make_mute("prod-*", cron="0 2 * * *", announce=True), True),
        (make_mute("prod-*", announce=False), False),
    ],
)
def test_beginnings_that_are_no_news_are_not_announced(mute: Mute, *, announces: bool) -> None:
    assert mute.announces is announces


def test_the_events_of_a_window_are_known_by_mute_and_beginning() -> None:
    mute = make_mute("prod-*", reason="patching", ended_by="ann")
    held = HeldBack(counts=((EventType.TASK_COMPLETED, 3),), named=(("X", "orders"),), channels=("dba",))
    ended = window_event(mute, EventType.MUTE_ENDED, T0 + HOUR, held=held)
    assert ended.mute
    assert (ended.mute.held, ended.mute.named, ended.mute.ended_by) == ((("task.completed", 3),), held.named, "ann")
    assert ended.subject == "mute:7k2m"
    again = window_event(replace(mute, until=T0), EventType.MUTE_ENDED, T0 + 3 * HOUR)
    assert again.id == ended.id
    assert window_event(mute, EventType.MUTE_STARTED, T0).id != ended.id
    assert window_event(replace(mute, since=T0 + HOUR), EventType.MUTE_ENDED, T0).id != ended.id


# ---- any mutes, any events ----

NAMES = ("a", "b", "c")
scopes = st.one_of(
    st.sampled_from(NAMES).map(lambda name: {"instance": name, "match": ()}),
    st.sampled_from(["*", "a", "source=s1", "failed", "b failed", "source=s2 completed"]).map(
        lambda text: {"match": parse_matchers(text)}
    ),
)
any_mute = st.builds(
    lambda scope, begin, length, but: make_mute(
        **scope, since=T0 + begin * HOUR, until=T0 + (begin + length) * HOUR, except_failures=but
    ),
    scopes,
    st.integers(-3, 3),
    st.integers(1, 4),
    st.booleans(),
)
any_event = st.builds(
    lambda job, source, name, kind: make_event(
        make_task(str(job), source=source, instance_name=name, instance_id=None, status=kind.removeprefix("task.")),
        type=EventType(kind),
        source=source,
    ),
    st.integers(0, 99),
    st.sampled_from(["s1", "s2"]),
    st.sampled_from(NAMES),
    st.sampled_from(["task.failed", "task.completed"]),
)


@given(st.lists(any_mute, max_size=6), st.lists(any_event, max_size=8, unique_by=lambda event: event.id))
def test_each_event_is_sent_or_suppressed_by_a_mute_that_covers_it(known: list[Mute], events: list[Event]) -> None:
    known = [replace(mute, id=str(number)) for number, mute in enumerate(known)]
    rule, by_rule = mute_rule(known, T0), {mute.rule: mute for mute in known}
    for event in events:
        ruling = rule(RoutedEvent(event=event, routes=(), channels=("dba",)), "dba")
        covering = [mute for mute in known if mute.covers(event, T0)]
        if ruling is None:
            assert covering == []
        else:
            assert by_rule[ruling.rule] == covering[0]


def test_what_is_not_named_is_counted() -> None:
    counts = (("task.completed", 4), ("task.failed", 7), ("task.stalled", 1))
    named = (("CreateGaussDBV5Instance", "prod-1"),) * 5
    assert unnamed(counts, named) == 3
    assert unnamed(counts[:1], ()) == 0
    assert unnamed((("task.failed", 2),), named[:2]) == 0


def test_a_missing_run_is_named_as_a_task_is() -> None:
    assert named_task(make_missing()) == ("BackupSnapshotGaussDBV5InInstance", "gauss-6568-zzh")
