"""A replay: the same configuration sends the same messages, and another one sends what it says."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from drain import deliver_due
from factories import make_alert, make_task, mute_request
from fakes import START, FakeChannel, FakeClock, FakeSource

from notifier import mutes as mute_acts
from notifier.core import alerts
from notifier.core.calendars import CalendarEntry
from notifier.core.cron import Cron
from notifier.core.delivery import DeliveryState
from notifier.core.escalations import Escalation, EscalationStep
from notifier.core.events import EventType
from notifier.core.identity import DirectChannel
from notifier.core.matchers import parse_matcher
from notifier.core.model import SourceOrigin, Task
from notifier.core.mutes import MuteTimes
from notifier.core.people import Person, TaskSubscription
from notifier.core.polling import PollRules
from notifier.core.replays import FailureFate, RecordedHistory
from notifier.core.routing import ChannelPolicy, Otherwise, Route, RoutingConfig
from notifier.core.severity import Severity
from notifier.core.windows import parse_window
from notifier.deliver import DeliveryRules
from notifier.failures import remind_once
from notifier.mutes import ConfiguredMute
from notifier.people import acknowledge_task
from notifier.planning import announce
from notifier.poll import poll_once
from notifier.replay import ReplayedSource, ReplayResult, ReplayRules, VirtualTime, replay
from notifier.store.engine import SqlStore
from notifier.store.memory import MemoryStore
from notifier.store.transaction import Transaction

POLL_EVERY = timedelta(seconds=30)
RULES = PollRules(poll_every=POLL_EVERY, lease=timedelta(seconds=60), quiet_baseline=False)
DELIVERING = DeliveryRules(schedule=(timedelta(seconds=5),), lease=timedelta(seconds=60), tickets=True)
ZONE = ZoneInfo("Asia/Shanghai")
ORIGIN = SourceOrigin(source="prod", region=FakeSource.region, project_id=FakeSource.project_id)


def routes(*found: Route) -> RoutingConfig:
    names = dict.fromkeys(name for route in found for name in route.channels)
    return RoutingConfig(routes=found, policies={name: ChannelPolicy(name=name) for name in names})


def route(name: str, *matchers: str, to: Sequence[str] = ("dba",), mention: Sequence[str] = ()) -> Route:
    return Route(name=name, match=tuple(map(parse_matcher, matchers)), channels=tuple(to), mention=tuple(mention))


ALL = routes(route("all"))


@dataclass
class Past:
    """A service that ran: it polled, and delivered what it planned at once."""

    store: SqlStore
    clock: FakeClock
    routing: RoutingConfig
    source: FakeSource = field(init=False)

    def __post_init__(self) -> None:
        self.source = FakeSource(self.clock)

    async def poll(self, *tasks: Task, after: timedelta = POLL_EVERY) -> None:
        """Poll after some time, and find these tasks besides those that were there."""
        self.clock.advance(after)
        shown = {task.job_id: task for task in (*self.source.tasks, *tasks)}
        self.source.tasks = [*shown.values()]
        await poll_once(self.source, self.store, owner="me", rules=RULES, routing=self.routing, force=True)
        await self.deliver()

    async def deliver(self) -> None:
        names = {*self.routing.policies, *(await self.store.read(lambda q: q.direct_channels()))}
        for name in sorted(names):
            channel = FakeChannel(name, concurrency=8)
            await deliver_due(channel, self.store, self.clock, random.Random(1), owner="me", rules=DELIVERING)

    async def history(self, since: timedelta = timedelta(days=1)) -> RecordedHistory:
        now = self.clock.advance(timedelta(seconds=1))
        return await self.store.read(lambda q: q.recorded_history(now - since, now))


@pytest.fixture
async def past(store: SqlStore, clock: FakeClock) -> Past:
    service = Past(store=store, clock=clock, routing=ALL)
    await service.poll()
    return service


def replayed(
    history: RecordedHistory,
    routing: RoutingConfig,
    *,
    origin: SourceOrigin = ORIGIN,
    sources: Iterable[str] = ("prod",),
    mutes: Sequence[ConfiguredMute] = (),
) -> ReplayResult:
    source = ReplayedSource(origin=origin, poll_every=POLL_EVERY, away_after=RULES.away_after)
    rules = ReplayRules(
        routing=routing,
        sources=dict.fromkeys(sources, source),
        fallback=tuple(routing.policies),
        mutes=mutes,
        zone=ZONE,
    )
    time = VirtualTime(history.since)
    store = MemoryStore(time.now)
    try:
        result = replay(history, rules, store, time)
        assert store.run(lambda tx: tx.queries.ledger()).unaccounted == ()
        return result
    finally:
        store.close()


def job(number: int, status: str, **changes: object) -> Task:
    return make_task(
        f"job-{number:04}", status=status, instance_id=f"id-{number}", instance_name=f"db-{number}", **changes
    )


def sent(result: ReplayResult) -> list[tuple[str, str]]:
    return [(one.delivery.channel, one.delivery.id) for one in result.now.messages]


async def test_the_same_configuration_would_have_sent_the_same_messages(past: Past) -> None:
    """Single messages, a digest, a storm that lasts for several polls, and what follows it."""
    await past.poll(job(1, "running"))
    await past.poll(job(1, "completed"), job(2, "failed"))
    await past.poll(*(job(number, "completed") for number in range(10, 40)))
    await past.poll(*(job(number, "failed") for number in range(100, 400)))
    await past.poll(*(job(number, "failed") for number in range(400, 450)))
    for _ in range(3):
        await past.poll()
    await past.poll(*(job(number, "failed") for number in range(500, 512)))
    history = await past.history()
    result = replayed(history, ALL)
    assert sorted(sent(result)) == sorted((one.channel, one.id) for one in history.deliveries)
    assert result.now.total == result.then.total
    assert result.ok


async def test_fewer_events_are_sent_where_routes_take_fewer(past: Past) -> None:
    await past.poll(job(1, "running"), job(2, "running"))
    await past.poll(job(1, "completed"), job(2, "failed"))
    result = replayed(await past.history(), routes(route("failures", "status=failed", to=("dba", "mail"))))
    assert [(name, of.messages) for name, of in result.now.by_channel.items()] == [("dba", 1), ("mail", 1)]
    assert (result.then.total.messages, result.then.by_channel["dba"].messages) == (4, 4)
    assert result.ok


async def test_a_failure_that_no_route_takes_reaches_nobody(past: Past) -> None:
    await past.poll(job(1, "failed"), job(2, "completed"))
    result = replayed(await past.history(), routes(route("successes", "status=completed")))
    (lost,) = result.now.unreached
    assert (lost.event.job_id, lost.fate, lost.told_at) == ("job-0001", FailureFate.UNROUTED, None)
    assert not result.ok
    assert result.then.unreached == []


async def test_environment_and_labels_are_those_of_the_configuration_that_is_tried(past: Past) -> None:
    await past.poll(job(1, "failed"))
    tried = routes(route("production", "environment=production", "label.team=payments", "severity=critical"))
    assert not replayed(await past.history(), tried).ok
    origin = replace(ORIGIN, environment="production", labels=(("team", "payments"),))
    result = replayed(await past.history(), tried, origin=origin)
    assert result.ok
    assert result.notes.changed_sources == ["prod"]
    assert result.now.messages[0].delivery.events[0].severity is Severity.CRITICAL


async def test_events_of_a_source_that_is_not_polled_any_more_are_left_out(past: Past) -> None:
    await past.poll(job(1, "failed"))
    result = replayed(await past.history(), ALL, sources=("staging",))
    assert result.notes.left_out == {"prod": 1}
    assert (result.now.total.messages, result.then.total.messages) == (0, 1)
    assert result.now.failures == []


async def test_people_who_asked_for_a_task_get_it_as_they_did(past: Past) -> None:
    await past.poll(job(1, "running"))
    asked = TaskSubscription(source="prod", job_id="job-0001", person="U1", created_at=past.clock.now())
    await past.store.transact(lambda tx: tx.people.subscribe(asked))
    await past.poll(job(1, "failed"))
    result = replayed(await past.history(), routes(route("none", "status=unknown")))
    assert sent(result)[0][0] == str(DirectChannel("U1"))
    assert result.ok


async def test_mentions_are_counted_by_whom_they_call(past: Past) -> None:
    await past.poll(job(1, "failed"), job(2, "failed"), job(3, "completed"))
    result = replayed(await past.history(), routes(route("all", mention=("@here", "S1"))))
    assert result.now.mentioned == {"@here": 2, "S1": 2}
    assert result.then.mentioned == {}


async def test_nights_and_days_are_the_readers(past: Past) -> None:
    """16:30 UTC is half past midnight in Shanghai, on the next day."""
    await past.poll(job(1, "failed"), after=timedelta(hours=8))
    (figures,) = replayed(await past.history(), ALL).now.by_channel.values()
    assert figures.by_night_hour == {0: 1}
    assert [day.isoformat() for day in figures.by_day] == ["2026-01-16"]


async def test_a_record_that_begins_later_than_asked_is_said(past: Past) -> None:
    await past.poll(job(1, "failed"))
    assert replayed(await past.history(timedelta(days=30)), ALL).notes.begins == START + 2 * POLL_EVERY
    await past.poll(job(2, "failed"), after=timedelta(days=2))
    assert replayed(await past.history(timedelta(days=1)), ALL).notes.begins is None


async def test_alerts_of_our_own_go_where_the_configuration_sends_them(past: Past) -> None:
    about_source, about_channel = make_alert(EventType.SOURCE_FAILING), make_alert(channel="gone")
    events = [replace(event, observed_at=past.clock.now()) for event in (about_source, about_channel)]
    routed = alerts.route_alerts(events, (), ("dba",))
    await past.store.transact(lambda tx: announce(tx, routed, past.routing, tx.now()))
    past.clock.advance(timedelta(seconds=1))
    tried = routes(route("mail", "status=failed", to=("mail",)))
    result = replayed(await past.history(), tried)
    assert [(one.delivery.channel, one.delivery.events[0].type) for one in result.now.messages] == [
        ("mail", EventType.SOURCE_FAILING)
    ]
    assert result.notes.channel_alerts == 1


async def test_acknowledgements_happen_when_they_did(past: Past) -> None:
    await past.poll(job(1, "failed"))
    past.clock.advance(timedelta(minutes=7))
    await past.store.transact(lambda tx: acknowledge_task(tx, job(1, "failed"), Person(id="U1", name="Ana")))
    past.clock.advance(timedelta(minutes=1))
    history = await past.history()
    time = VirtualTime(history.since)
    store = MemoryStore(time.now)
    source = ReplayedSource(origin=ORIGIN, poll_every=POLL_EVERY, away_after=RULES.away_after)
    replay(history, ReplayRules(routing=ALL, sources={"prod": source}, zone=ZONE), store, time)
    (event,) = (item.event for item in history.events)
    (known,) = history.acknowledgements
    assert store.run(lambda tx: tx.queries.acknowledgement(event.id)) == known
    store.close()


async def test_one_ticket_is_opened_for_an_operation_and_closed_by_its_success(past: Past) -> None:
    for number, status in enumerate(("failed", "failed", "completed", "failed"), start=1):
        ended = past.clock.now() + timedelta(seconds=20)
        await past.poll(replace(job(number, status, ended_at=ended), instance_id="id-1"), after=timedelta(minutes=10))
    tried = routes(route("all", to=("desk",)))
    policies = {"desk": ChannelPolicy(name="desk", tickets=True, digest_above=None)}
    result = replayed(await past.history(), replace(tried, policies=policies))
    assert result.now.tickets == 1
    assert [one.delivery.state for one in result.now.messages] == [DeliveryState.DELIVERED] * 4


async def test_reminders_are_those_of_the_configuration_and_end_with_the_history(past: Past) -> None:
    past.routing = reminding(timedelta(hours=1))
    await past.poll(job(1, "failed"))
    for _ in range(2):
        past.clock.advance(timedelta(hours=1))
        await past.store.transact(lambda tx: remind_once(tx, past.routing))
        await past.deliver()
    past.clock.advance(timedelta(minutes=1))
    history = await past.history()
    assert replayed(history, ALL).now.by_type == {"task.failed": 1}
    again = replayed(history, past.routing)
    assert again.now.by_type == again.then.by_type == {"task.failed": 1, "task.reminded": 2}
    assert replayed(history, reminding(timedelta(minutes=30))).now.by_type == {"task.failed": 1, "task.reminded": 4}


def reminding(wait: timedelta) -> RoutingConfig:
    (found,) = ALL.routes
    return replace(ALL, routes=(replace(found, remind=(wait,)),))


async def test_what_people_muted_is_muted_when_it_was(past: Past) -> None:
    """A mute suppresses what its time has, wherever the tried configuration sends it, and sums it up at its end."""
    await past.poll(job(1, "failed"))
    ana, tried = Person(id="U1", name="Ana"), routes(route("mail", to=("mail",)))
    await past.store.transact(lambda tx: mute_acts.create(tx, mute_request("db-1", timedelta(hours=2)), ana))
    await past.poll(job(2, "failed"), replace(job(3, "failed"), instance_id="id-1"), after=timedelta(hours=1))
    past.clock.advance(timedelta(minutes=1))
    await past.store.transact(lambda tx: mute_acts.end(tx, "db-1", ana))
    await past.poll(replace(job(4, "failed"), instance_id="id-1"), after=timedelta(minutes=5))
    result = replayed(await past.history(), tried)
    sent_jobs = [event.job_id for one in result.now.messages for event in one.delivery.events if event.job_id]
    assert sent_jobs == ["job-0001", "job-0002", "job-0004"]
    assert result.now.by_channel["mail"].muted == 1
    assert [one.event.job_id for one in result.now.muted] == ["job-0003"]
    assert result.now.by_type["mute.ended"] == 1
    assert result.ok


async def test_the_mutes_of_the_configuration_are_in_force_and_recur(past: Past) -> None:
    """From nine to ten o'clock UTC, every day."""
    for number in range(1, 6):
        await past.poll(job(number, "failed"), after=timedelta(hours=12) if number > 1 else timedelta(minutes=45))
    times = MuteTimes(length=timedelta(hours=1), cron=Cron.parse("0 9 * * *", "UTC"))
    nightly = ConfiguredMute(name="nightly", match=(parse_matcher("type=task.failed"),), times=times)
    result = replayed(await past.history(timedelta(days=5)), ALL, mutes=(nightly,))
    assert [one.event.job_id for one in result.now.muted] == ["job-0001", "job-0003", "job-0005"]
    assert result.now.by_type == {"task.failed": 2, "mute.ended": 2}


async def test_a_failure_that_repeats_is_counted_and_reaches_somebody(past: Past) -> None:
    for number in range(1, 4):
        await past.poll(replace(job(number, "failed"), instance_id="id-1"), after=timedelta(minutes=5))
    (found,) = ALL.routes
    policies = {"dba": ChannelPolicy(name="dba", threads=True, coalesces=True)}
    counting = replace(ALL, routes=(replace(found, repeats=timedelta(hours=1)),), policies=policies)
    result = replayed(await past.history(), counting)
    assert [one.fate for one in result.now.failures] == [FailureFate.TOLD, FailureFate.COUNTED, FailureFate.COUNTED]
    assert (result.now.total.messages, dict(result.now.total.suppressed)) == (1, {"repeat": 2})
    assert result.ok


async def test_what_a_window_holds_is_late_and_what_it_drops_reaches_nobody(past: Past) -> None:
    """It is 16:30 in Shanghai at first, and half an hour later the window has closed until the next morning."""
    await past.poll(job(1, "failed"))
    await past.poll(job(2, "failed"), after=timedelta(hours=2))
    past.clock.advance(timedelta(hours=1))
    (found,) = ALL.routes
    daytime = replace(found, active=parse_window("daily 09:00-18:00 Asia/Shanghai"))
    held = replayed(await past.history(), replace(ALL, routes=(daytime,)))
    assert [(one.event.job_id, one.delay) for one in held.now.late] == [("job-0002", timedelta(hours=14, minutes=29))]
    assert (held.ok, held.notes.still_held) == (True, 1)
    dropping = replace(daytime, otherwise=Otherwise.DROP)
    dropped = replayed(await past.history(), replace(ALL, routes=(dropping,)))
    (lost,) = dropped.now.unreached
    assert (lost.event.job_id, lost.fate) == ("job-0002", FailureFate.DROPPED)
    assert not dropped.ok


@pytest.mark.parametrize("days_off", [0, 30])
async def test_steps_wait_over_the_holidays_of_recorded_calendars(past: Past, days_off: int) -> None:
    """No route has a window: the calendar is read for the escalation alone."""
    day = past.clock.now().date() - timedelta(days=days_off)

    def record_office(tx: Transaction) -> None:
        tx.calendars.claim_due({"office": "1"}, tx.now(), tx.now())
        tx.calendars.save_copy("office", "1", [CalendarEntry(first_day=day, last_day=day)], tx.now(), tx.now())

    await past.store.transact(record_office)
    await past.poll(job(1, "failed"))
    past.clock.advance(timedelta(hours=3))
    (found,) = ALL.routes
    step = EscalationStep(after=timedelta(hours=1), channels=found.channels)
    night = Escalation(name="night", steps=(step,), active=parse_window("daily", calendar="office"))
    escalating = replace(ALL, routes=(replace(found, escalate="night"),), escalations={"night": night})
    result = replayed(await past.history(), escalating)
    assert result.now.by_type == {"task.failed": 1} | ({"task.escalated": 1} if days_off else {})


async def test_the_history_is_only_read(past: Past) -> None:
    await past.poll(job(1, "failed"))
    before = await past.store.read(lambda q: (q.ledger(), q.channels(), q.source_states()))
    replayed(await past.history(), routes(route("mail", to=("mail",))))
    assert await past.store.read(lambda q: (q.ledger(), q.channels(), q.source_states())) == before
