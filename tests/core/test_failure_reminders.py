"""Which reminders and escalations are due, what they are about, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import T0, make_event, make_task

from notifier.core import reminders
from notifier.core.delivery import Delivery, DeliveryState
from notifier.core.escalations import Escalation, EscalationStep
from notifier.core.events import EventType
from notifier.core.failures import (
    FailureState,
    HistoryKind,
    OpenFailure,
    acknowledged,
    after_events,
    unacknowledged,
)
from notifier.core.model import Event
from notifier.core.people import Acknowledgement
from notifier.core.polling import plan_deliveries
from notifier.core.reminders import MAX_REMINDED, MAX_REMINDERS, MUTES_ASKED_EVERY, DueDecision, decide_due, with_steps
from notifier.core.routing import ChannelPolicy, Otherwise, Route, RoutedEvent, RoutingConfig
from notifier.core.severity import Severity
from notifier.core.tickets import Step, Ticket, TicketRules, next_steps
from notifier.core.windows import Window, parse_window

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FAILURES = Route(name="failures", channels=("dba", "tickets"), remind=(30 * MINUTE, HOUR))
POLICIES = {"tickets": ChannelPolicy(name="tickets", tickets=True, digest_above=None)}
REMINDING = RoutingConfig(routes=(FAILURES,), policies=POLICIES)
STEPS = (
    EscalationStep(after=15 * MINUTE, channels=("lead",), mention=("U1",), severity=Severity.CRITICAL),
    EscalationStep(after=HOUR, channels=("boss",)),
)


def escalating(*steps: EscalationStep, active: Window | None = None, repeat: timedelta | None = None) -> RoutingConfig:
    escalation = Escalation(name="night", steps=steps or STEPS, active=active, repeat=repeat)
    return RoutingConfig(
        routes=(Route(name="failures", channels=("dba",), escalate="night"),), escalations={"night": escalation}
    )


def failed(n: int = 0, **changes: Any) -> Event:
    task = make_task(f"job-{n:05d}", instance_id=f"in-{n:05d}", instance_name=f"prod-{n:05d}")
    return make_event(task, occurred_at=T0, **changes)


def opened(routing: RoutingConfig, *events: Event, now: datetime = T0) -> list[OpenFailure]:
    items = [RoutedEvent(event=one, routes=("failures",), channels=("dba",)) for one in events or [failed()]]
    told = {item.event.id: item.channels for item in items}
    return list(after_events(items, {}, told, routing.at(now), now))


def never_muted(event: Event) -> None:  # noqa: ARG001 - a mute of nothing
    return None


class Run:
    """Failures, and what was sent of them, as time goes by."""

    def __init__(self, routing: RoutingConfig, *events: Event, now: datetime = T0) -> None:
        self.routing = routing
        self.failures = {one.id: one for one in opened(routing, *events, now=now)}
        self.sent: list[tuple[datetime, RoutedEvent]] = []
        self.muted_until: datetime | None = None

    @property
    def one(self) -> OpenFailure:
        [found] = self.failures.values()
        return found

    @property
    def times(self) -> list[timedelta]:
        return [at - T0 for at, _ in self.sent]

    def save(self, changed: Iterable[OpenFailure]) -> None:
        self.failures |= {one.id: one for one in changed}

    def step(self, now: datetime) -> DueDecision:
        until = self.muted_until if self.muted_until and self.muted_until > now else None
        decision = decide_due(list(self.failures.values()), self.routing.at(now), lambda _: until, now)
        self.save(decision.changed)
        self.sent += [(now, item) for item in decision.events]
        return decision

    def until(self, end: datetime) -> None:
        """Decide whenever something is due, as a service does that is never late."""
        while (due := min(filter(None, (one.due_at for one in self.failures.values())), default=None)) and due <= end:
            self.step(due)


def test_reminders_follow_the_waits_of_the_route_and_the_last_one_repeats() -> None:
    run = Run(REMINDING)
    run.until(T0 + 4 * HOUR)
    assert run.times == [30 * MINUTE, 90 * MINUTE, 150 * MINUTE, 210 * MINUTE]
    for number, (at, item) in enumerate(run.sent, start=1):
        event, about = item.event, item.event.follow_up
        assert about
        assert (event.type, event.since, event.observed_at) == (EventType.TASK_REMINDED, T0, at)
        assert (about.number, about.failures, about.event_id, about.delay_seconds) == (number, 1, failed().id, 0)
        assert (item.routes, item.channels) == (("failures",), ("dba",)), "tickets have their own way"
    assert len({item.event.id for _, item in run.sent}) == len(run.sent)


def test_reminders_end_with_one_that_says_so() -> None:
    run = Run(REMINDING)
    run.until(T0 + 300 * DAY)
    last = [item.event.follow_up.last for _, item in run.sent if item.event.follow_up]
    assert last == [False] * (MAX_REMINDERS - 1) + [True]
    assert (run.one.state, run.one.due_at) == (FailureState.OPEN, None)


def test_after_an_absence_there_is_one_reminder_that_says_how_late_it_is() -> None:
    run = Run(REMINDING)
    late = T0 + 10 * HOUR
    run.step(late)
    [(_, item)] = run.sent
    assert item.event.follow_up
    assert item.event.follow_up.delay_seconds == timedelta(hours=9, minutes=30).total_seconds()
    assert run.one.due_at == late + HOUR


def test_after_an_absence_every_step_is_taken_once_and_in_order() -> None:
    run = Run(escalating())
    late = T0 + 10 * HOUR
    while run.one.due_at:
        run.step(late)
    assert [item.channels for _, item in run.sent] == [("lead",), ("boss",)]
    assert [item.event.follow_up.number for _, item in run.sent if item.event.follow_up] == [1, 2]


def test_an_escalation_tells_who_was_told_and_in_the_words_of_its_step() -> None:
    run = Run(escalating())
    run.until(T0 + 2 * HOUR)
    assert run.times == [15 * MINUTE, HOUR]
    (_, first), (_, second) = run.sent
    assert first.event.follow_up
    assert second.event.follow_up
    assert (first.event.follow_up.told, second.event.follow_up.told) == (("dba",), ("dba", "lead"))
    assert run.one.told == ("dba", "lead", "boss")
    [planned] = planned_deliveries(run.routing, [first])
    assert (planned.routing.severity, planned.routing.mention) == (Severity.CRITICAL, ("U1",))
    [planned] = planned_deliveries(run.routing, [second])
    assert (planned.routing.severity, planned.routing.mention) == (None, ())


def planned_deliveries(routing: RoutingConfig, items: Sequence[RoutedEvent]) -> Sequence[Delivery]:
    return plan_deliveries(items, with_steps(routing), parked=(), rules=(), now=T0).deliveries


def test_a_step_opens_a_ticket_and_a_reminder_does_not() -> None:
    escalation = Escalation(name="night", steps=(EscalationStep(after=15 * MINUTE, channels=("tickets",)),))
    routing = replace(REMINDING, routes=(replace(FAILURES, escalate="night"),), escalations={"night": escalation})
    run = Run(routing)
    run.until(T0 + 40 * MINUTE)
    assert [(item.event.type, item.channels) for _, item in run.sent] == [
        (EventType.TASK_ESCALATED, ("tickets",)),
        (EventType.TASK_REMINDED, ("dba",)),
    ]
    (_, escalated), _ = run.sent
    plan = plan_deliveries([escalated], with_steps(routing), parked=(), rules=(), now=T0)
    [ticket] = plan.deliveries
    assert ticket.state is DeliveryState.PENDING
    assert [(one.channel, one.failed_at) for one in plan.wanted] == [("tickets", T0)]
    steps = next_steps(Ticket(channel="tickets", operation="o"), None, escalated.event, T0, TicketRules()).steps
    assert steps == (Step.OPEN,)


def test_the_last_step_is_repeated_until_somebody_acknowledges() -> None:
    run = Run(escalating(repeat=2 * HOUR))
    run.until(T0 + 6 * HOUR)
    assert run.times == [15 * MINUTE, HOUR, 3 * HOUR, 5 * HOUR]
    assert [item.channels for _, item in run.sent[1:]] == [("boss",)] * 3
    run.until(T0 + 300 * DAY)
    assert len(run.sent) == len(STEPS) + MAX_REMINDERS
    assert run.sent[-1][1].event.follow_up
    assert run.sent[-1][1].event.follow_up.last


def test_nothing_is_sent_while_somebody_takes_care_and_all_of_it_afterwards() -> None:
    run = Run(REMINDING)
    run.until(T0 + 30 * MINUTE)
    by = Acknowledgement(event_id=failed().id, by="U1", name="Ann", at=T0 + 40 * MINUTE)
    run.save([acknowledged(run.one, by)])
    run.until(T0 + DAY)
    assert run.times == [30 * MINUTE]
    back = T0 + 2 * DAY
    run.save([unacknowledged(run.one, "Ann", back)])
    run.step(back)
    run.until(back + 2 * HOUR)
    assert run.times[1:] == [2 * DAY + 30 * MINUTE, 2 * DAY + 90 * MINUTE]
    assert len({item.event.id for _, item in run.sent}) == len(run.sent), "numbers never begin again"


def test_a_mute_postpones_what_is_due() -> None:
    run = Run(REMINDING)
    run.muted_until = T0 + 5 * HOUR
    run.until(T0 + 6 * HOUR)
    assert run.times == [5 * HOUR, 6 * HOUR]
    assert run.sent[0][1].event.follow_up
    assert run.sent[0][1].event.follow_up.delay_seconds == 0, "it was postponed, and is not late"


def test_what_a_mute_postponed_comes_within_minutes_where_the_mute_is_ended_early() -> None:
    run = Run(REMINDING)
    run.muted_until = T0 + 5 * HOUR
    run.until(T0 + HOUR)
    assert run.sent == []
    assert run.one.next_at == T0 + 5 * HOUR, "people are shown the end of the mute"
    run.muted_until = None
    run.until(T0 + HOUR + MUTES_ASKED_EVERY)
    [when] = run.times
    assert HOUR < when <= HOUR + MUTES_ASKED_EVERY
    assert run.one.next_at == T0 + when + HOUR


def test_what_is_muted_does_not_go_along_with_what_is_due() -> None:
    [muted, other] = opened(REMINDING, failed(1), failed(2))
    due = T0 + 30 * MINUTE
    decision = decide_due(
        [muted, other], REMINDING.at(due), lambda event: due + MINUTE if event == muted.latest else None, due
    )
    assert decision.events == decide_due([other], REMINDING.at(due), never_muted, due).events != ()
    assert {one.id: one.number for one in decision.changed} == {muted.id: 0, other.id: 1}


@pytest.mark.parametrize("otherwise", [Otherwise.HOLD, Otherwise.DROP])
def test_the_window_of_the_route_holds_one_reminder_until_it_opens(otherwise: Otherwise) -> None:
    window = parse_window("daily 06:00-09:00 UTC")
    route = replace(FAILURES, active=window, otherwise=otherwise)
    run = Run(replace(REMINDING, routes=(route,)), now=T0)
    run.until(T0 + DAY)
    opening = T0.replace(hour=6, minute=0) + DAY - T0
    assert run.times == [opening, opening + HOUR, opening + 2 * HOUR]
    assert [at - T0 for at, _ in run.sent[:1]] == [opening]


def test_a_route_that_drops_an_event_never_reminds_of_it() -> None:
    route = replace(FAILURES, active=parse_window("daily 06:00-07:00 UTC"), otherwise=Otherwise.DROP)
    assert Run(replace(REMINDING, routes=(route,))).one.clocks == ()


def test_a_reminder_goes_where_the_route_leads_at_that_time() -> None:
    route = replace(FAILURES, active=parse_window("daily 06:00-09:30 UTC"), otherwise=("night",))
    run = Run(replace(REMINDING, routes=(route,)))
    run.until(T0 + 2 * HOUR)
    assert [item.channels for _, item in run.sent] == [("dba",), ("night",)]


def test_steps_wait_for_their_window_and_count_its_hours_alone() -> None:
    work = parse_window("daily 09:00-18:00 UTC")
    steps = (replace(STEPS[0], active=work), STEPS[1])
    run = Run(escalating(*steps))
    run.until(T0 + DAY)
    assert run.times == [45 * MINUTE, HOUR], "the wait begins at nine"


def test_steps_wait_over_a_holiday_of_23_hours() -> None:
    """On that day the clocks of Berlin change."""
    saturday = datetime(2026, 3, 28, 17, 50, tzinfo=ZoneInfo("Europe/Berlin"))
    work = parse_window("daily 09:00-18:00 Europe/Berlin", calendar="office")
    routing = escalating(active=work).with_holidays({"office": [date(2026, 3, 29)]})
    run = Run(routing, now=saturday)
    run.until(saturday + 3 * DAY)
    first, _ = run.sent[0]
    assert first == datetime(2026, 3, 30, 9, 5, tzinfo=ZoneInfo("Europe/Berlin"))


def test_a_step_whose_window_never_opens_is_never_taken() -> None:
    run = Run(escalating(active=parse_window("holidays 09:00-18:00 UTC")))
    assert run.one.clocks == ()


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        # Clocks go forward in that night: the window of 22:00 to 06:00 is an hour shorter.
        ("Europe/Berlin", "2026-03-29", 7),
        ("America/New_York", "2026-03-08", 7),
        # And back: it is an hour longer.
        ("Europe/Berlin", "2026-10-25", 9),
        ("America/New_York", "2026-11-01", 9),
        # Half an hour on Lord Howe Island, and never in Shanghai.
        ("Australia/Lord_Howe", "2026-04-05", 8.5),
        ("Asia/Shanghai", "2026-03-29", 8),
    ],
)
def test_a_wait_over_a_night_in_which_clocks_change_is_exact(zone: str, day: str, expected: float) -> None:
    """A step after as much as the night lasts, less a minute, is due in that night; one after more, in the next."""
    night = parse_window(f"daily 22:00-06:00 {zone}")
    evening = datetime.fromisoformat(f"{day}T22:00").replace(tzinfo=ZoneInfo(zone)) - DAY
    morning = datetime.fromisoformat(f"{day}T06:00").replace(tzinfo=ZoneInfo(zone))
    lasts = timedelta(hours=expected)
    begin = evening.astimezone(T0.tzinfo)
    assert morning.astimezone(T0.tzinfo) - begin == lasts
    steps = (replace(STEPS[0], after=lasts - MINUTE, active=night), replace(STEPS[1], after=lasts, active=night))
    run = Run(escalating(*steps), now=begin)
    run.until(begin + 2 * DAY)
    assert [at for at, _ in run.sent] == [begin + lasts - MINUTE, evening + DAY]


@pytest.mark.parametrize(
    ("zone", "local"),
    [
        ("Europe/Berlin", "2026-10-25T02:30"),
        ("America/New_York", "2026-11-01T01:30"),
        ("Europe/Berlin", "2026-03-29T01:45"),
        ("Asia/Shanghai", "2026-03-29T01:45"),
    ],
)
def test_waits_are_of_real_time_whatever_the_clocks_show(zone: str, local: str) -> None:
    begin = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)).astimezone(T0.tzinfo)
    run = Run(REMINDING, now=begin)
    run.until(begin + 3 * HOUR)
    assert [at - begin for at, _ in run.sent] == [30 * MINUTE, 90 * MINUTE, 150 * MINUTE]


# ---- together ----


def test_what_is_due_together_is_one_message_that_names_the_worst() -> None:
    events = [failed(n, environment="staging" if n % 2 else "production") for n in range(2_000)]
    run = Run(REMINDING, *events)
    decision = run.step(T0 + 30 * MINUTE)
    assert len(decision.events) == MAX_REMINDED
    assert all(item.event.follow_up and item.event.follow_up.together == 2_000 for item in decision.events)
    assert {item.event.environment for item in decision.events} == {"production"}
    [message] = planned_deliveries(run.routing, decision.events)
    assert (message.channel, message.digest, len(message.events)) == ("dba", True, MAX_REMINDED)
    assert {one.due_at for one in run.failures.values()} == {T0 + 90 * MINUTE}
    entries = [one.history[-1] for one in run.failures.values()]
    assert {(entry.kind, entry.together, entry.channels) for entry in entries} == {
        (HistoryKind.REMINDED, 2_000, ("dba",))
    }


def test_failures_that_came_one_after_the_other_come_to_be_told_together() -> None:
    run = Run(REMINDING)
    for n in range(1, 40):
        run.save(opened(REMINDING, failed(n), now=T0 + n * MINUTE))
    run.until(T0 + 5 * HOUR)
    messages = len({at for at, _ in run.sent})
    assert messages < 20, "and not one for each of the failures and each of the waits"
    for one in run.failures.values():
        reminded = [entry.at for entry in one.history]
        waits = [after - before for before, after in pairwise(reminded)]
        assert all(HOUR - reminders.MAX_AHEAD <= wait <= HOUR for wait in waits)


def test_no_channel_gets_two_messages_about_one_failure_at_once() -> None:
    routes = (FAILURES, Route(name="also", channels=("dba", "ops"), remind=(30 * MINUTE,)))
    routing = RoutingConfig(routes=routes, policies=POLICIES)
    item = RoutedEvent(event=failed(), routes=("failures", "also"), channels=("dba", "ops"))
    [one] = after_events([item], {}, {item.event.id: item.channels}, routing, T0)
    decision = decide_due([one], routing, never_muted, T0 + 30 * MINUTE)
    assert sorted(channel for each in decision.events for channel in each.channels) == ["dba", "ops"]


def test_what_the_configuration_has_no_more_is_not_sent() -> None:
    [reminded] = opened(REMINDING)
    [escalated] = opened(escalating())
    empty = RoutingConfig(routes=(Route(name="failures", channels=("dba",)),))
    decision = decide_due([reminded, escalated], empty, never_muted, T0 + DAY)
    assert not decision.events
    assert [one.due_at for one in decision.changed] == [None, None]


def test_fewer_steps_than_were_taken_end_an_escalation() -> None:
    run = Run(escalating())
    run.until(T0 + 30 * MINUTE)
    run.routing = escalating(STEPS[0])
    run.until(T0 + DAY)
    assert run.times == [15 * MINUTE]
