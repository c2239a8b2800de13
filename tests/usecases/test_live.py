"""A message editor: it edits out-of-date messages within its budget and repeats failed edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import make_event, make_task
from fakes import START, FakeChannel, FakeClock

from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Thread, ThreadUpdate, Unknown
from notifier.core.dispatch import EDIT_RETRY_AFTER
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.pacing import Pace
from notifier.core.routing import RoutedEvent
from notifier.live_messages import EDIT_BATCH, EditReport, MessageEditor
from notifier.store.engine import SqlStore

LEASE = timedelta(seconds=60)


class LiveFake(FakeChannel):
    """A channel whose messages can be edited. It returns `answers` in order, then Delivered."""

    def __init__(self, name: str = "dba", answers: Sequence[Outcome | Exception] = (), burst: int = 5) -> None:
        super().__init__(name)
        self.threads, self.edit_budget = True, "token"
        self.edit_pace = Pace(per_second=1, burst=burst)
        self.answers = list(answers)
        self.shown: list[Thread] = []
        self.copies: dict[str, Outcome | None] = {}
        """What becomes of edits of copies that are not simply made, by reference."""
        self.copied: list[tuple[str, EventType]] = []

    async def show(self, thread: Thread) -> Outcome:
        self.shown.append(thread)
        answer = self.answers.pop(0) if self.answers else Delivered()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        self.copied.append((ref, thread.event.type))
        return self.copies.get(ref, Delivered())


def events_of(job_id: str) -> tuple[Event, Event]:
    task = make_task(job_id)
    return (
        make_event(task, type=EventType.TASK_STARTED, occurrence=f"{job_id}-1"),
        make_event(task, occurrence=f"{job_id}-2"),
    )


async def to_change(store: SqlStore, *job_ids: str, channel: str = "dba") -> None:
    """Record messages of these tasks that are out of date."""
    for job_id in job_ids:
        for number, event in enumerate(events_of(job_id)):
            routed = [RoutedEvent(event=event, routes=(), channels=())]
            updates = [ThreadUpdate(subject=event.subject, event_id=event.id, thread=None if number else f"C:{job_id}")]
            await store.transact(lambda tx, routed=routed: tx.events.record(routed))  # type: ignore[misc]  # a default
            await store.transact(lambda tx, updates=updates: tx.threads.update(channel, updates, START))  # type: ignore[misc]  # likewise


def editor(channel: LiveFake, store: SqlStore, clock: FakeClock) -> MessageEditor:
    return MessageEditor(channel, store, clock, lease=LEASE)


def outcomes(report: EditReport) -> list[Outcome]:
    return [outcome for _, outcome in report.changed]


async def test_what_is_out_of_date_is_changed_once(store: SqlStore, clock: FakeClock) -> None:
    await to_change(store, "job-1", "job-2")
    channel = LiveFake()
    assert outcomes(await editor(channel, store, clock).step()) == [Delivered(), Delivered()]
    assert [thread.event.type for thread in channel.shown] == [EventType.TASK_FAILED] * 2
    assert outcomes(await editor(channel, store, clock).step()) == []


async def test_channels_of_one_token_share_a_budget(store: SqlStore, clock: FakeClock) -> None:
    await to_change(store, *(f"job-{n}" for n in range(4)))
    await to_change(store, *(f"job-{n}" for n in range(4)), channel="other")
    first, second = LiveFake(), LiveFake("other")
    assert len((await editor(first, store, clock).step()).changed) == 4
    report = await editor(second, store, clock).step()
    assert len(report.changed) == 1
    assert report.retry_in is not None
    clock.advance(timedelta(seconds=10))
    assert len((await editor(second, store, clock).step()).changed) == 3


async def test_a_pause_that_is_asked_for_holds_for_all(store: SqlStore, clock: FakeClock) -> None:
    await to_change(store, "job-1", "job-2")
    channel = LiveFake(answers=[Retry("ratelimited", timedelta(seconds=30))], burst=1)
    await editor(channel, store, clock).step()
    clock.advance(timedelta(seconds=29))
    assert outcomes(await editor(channel, store, clock).step()) == []
    clock.advance(timedelta(seconds=2))
    assert outcomes(await editor(channel, store, clock).step()) == [Delivered()]


async def test_what_may_or_may_not_have_happened_is_done_again(store: SqlStore, clock: FakeClock) -> None:
    for outcome in (Unknown("no answer"), Retry("HTTP 503"), Parked("wrong token", EDIT_RETRY_AFTER)):
        await to_change(store, f"job-{type(outcome).__name__}")
        channel = LiveFake(answers=[outcome])
        assert outcomes(await editor(channel, store, clock).step()) == [outcome]
        clock.advance(timedelta(seconds=1))
        assert outcomes(await editor(channel, store, clock).step()) == []
        clock.advance(EDIT_RETRY_AFTER)
        assert outcomes(await editor(channel, store, clock).step()) == [Delivered()]


async def test_what_is_refused_is_left_until_the_next_change(store: SqlStore, clock: FakeClock) -> None:
    await to_change(store, "job-1", "job-2")
    channel = LiveFake(answers=[GaveUp("invalid_blocks"), RuntimeError("a bug")])
    report = await editor(channel, store, clock).step()
    assert outcomes(report) == [GaveUp("invalid_blocks"), GaveUp("the fake channel failed: RuntimeError")]
    clock.advance(timedelta(hours=1))
    assert outcomes(await editor(channel, store, clock).step()) == []


async def test_a_new_message_is_the_one_that_is_changed_next(store: SqlStore, clock: FakeClock) -> None:
    await to_change(store, "job-1")
    await editor(LiveFake(answers=[Delivered("C:9", thread="C:9")]), store, clock).step()
    subject = events_of("job-1")[0].subject
    assert await store.read(lambda q: q.thread_refs("dba", [subject])) == {subject: "C:9"}


async def test_another_process_goes_on_when_a_lease_is_over(store: SqlStore, clock: FakeClock) -> None:
    await to_change(store, "job-1")
    await store.transact(
        lambda tx: tx.threads.claim_edits("dba", clock.now(), LEASE, 1)
    )  # a process that is killed then
    channel = LiveFake()
    assert outcomes(await editor(channel, store, clock).step()) == []
    clock.advance(LEASE)
    assert outcomes(await editor(channel, store, clock).step()) == [Delivered()]


async def test_a_full_turn_is_followed_by_the_next_at_once(store: SqlStore, clock: FakeClock) -> None:
    await to_change(store, *(f"job-{n}" for n in range(EDIT_BATCH + 1)))
    channel = LiveFake(burst=100)
    one = editor(channel, store, clock)
    full = await one.step()
    assert len(full.changed) == EDIT_BATCH
    with pytest.raises(StopIteration):  # it does not wait
        one.wait(full).send(None)
    assert len((await one.step()).changed) == 1


# ---- copies ----


async def with_copies(store: SqlStore, job_id: str, *copies: str) -> Event:
    """Record a message with copies, all of them out of date; return the event that they are to show."""
    await to_change(store, job_id)
    _, failed = events_of(job_id)
    for copy in copies:
        told = [ThreadUpdate(subject=failed.subject, event_id=failed.id, copy=copy)]
        await store.transact(lambda tx, told=told: tx.threads.update("dba", told, START))  # type: ignore[misc]  # a default
    return failed


async def test_copies_change_with_their_message(store: SqlStore, clock: FakeClock) -> None:
    await with_copies(store, "job-1", "C:8", "C:9")
    channel = LiveFake()
    assert outcomes(await editor(channel, store, clock).step()) == [Delivered()]
    assert channel.copied == [("C:8", EventType.TASK_FAILED), ("C:9", EventType.TASK_FAILED)]
    assert outcomes(await editor(channel, store, clock).step()) == []


async def test_copies_of_a_message_that_is_replaced_change_too(store: SqlStore, clock: FakeClock) -> None:
    failed = await with_copies(store, "job-1", "C:8")
    channel = LiveFake()
    await editor(channel, store, clock).step()
    ended = replace(failed, type=EventType.TASK_COMPLETED, id="ended", occurrence="job-1-3")
    await store.transact(lambda tx: tx.events.record([RoutedEvent(event=ended, routes=(), channels=())]))
    replacing = [ThreadUpdate(subject=ended.subject, event_id=ended.id, thread="C:10")]
    await store.transact(lambda tx: tx.threads.update("dba", replacing, START))
    await editor(channel, store, clock).step()
    assert channel.copied[1:] == [("C:8", EventType.TASK_COMPLETED)]


async def test_a_copy_that_fails_keeps_nothing_else_stale_and_is_repeated(store: SqlStore, clock: FakeClock) -> None:
    await with_copies(store, "job-1", "C:7", "C:8", "C:9")
    channel = LiveFake()
    channel.copies["C:8"] = Retry("HTTP 503")
    assert outcomes(await editor(channel, store, clock).step()) == [Retry("HTTP 503")]
    assert [ref for ref, _ in channel.copied] == ["C:7", "C:8", "C:9"]
    assert len(channel.shown) == 1
    del channel.copies["C:8"]
    clock.advance(EDIT_RETRY_AFTER + timedelta(seconds=1))
    assert outcomes(await editor(channel, store, clock).step()) == [Delivered()]
    assert [ref for ref, _ in channel.copied[3:]] == ["C:7", "C:8", "C:9"]


async def test_a_copy_that_is_gone_is_dropped(store: SqlStore, clock: FakeClock) -> None:
    failed = await with_copies(store, "job-1", "C:8", "C:9")
    channel = LiveFake()
    channel.copies["C:8"] = None
    assert outcomes(await editor(channel, store, clock).step()) == [Delivered()]
    await store.transact(lambda tx: tx.threads.touch_event(failed.id, clock.now()))
    await editor(channel, store, clock).step()
    assert [ref for ref, _ in channel.copied] == ["C:8", "C:9", "C:9"]


async def test_a_new_message_is_recorded_though_a_copy_fails(store: SqlStore, clock: FakeClock) -> None:
    failed = await with_copies(store, "job-1", "C:8")
    channel = LiveFake(answers=[Delivered("C:9", thread="C:9")])
    channel.copies["C:8"] = Unknown("no answer")
    await editor(channel, store, clock).step()
    assert await store.read(lambda q: q.thread_refs("dba", [failed.subject])) == {failed.subject: "C:9"}


async def test_each_edit_of_a_copy_is_charged(store: SqlStore, clock: FakeClock) -> None:
    await with_copies(store, "job-1", "C:8", "C:9")
    await with_copies(store, "job-2", "D:8", "D:9")
    channel = LiveFake(burst=5)
    first = await editor(channel, store, clock).step()
    assert (len(first.changed), len(channel.copied)) == (1, 2)  # both messages would take six edits
    assert outcomes(await editor(channel, store, clock).step()) == [Delivered()]  # the first is always edited
    third = await editor(channel, store, clock).step()
    assert (third.changed, third.retry_in is not None) == ((), True)
    clock.advance(timedelta(seconds=1))
    assert (await editor(channel, store, clock).step()).retry_in is not None  # six edits were made, of five


async def test_an_edit_is_repeated_where_a_process_was_killed_between_copies(store: SqlStore, clock: FakeClock) -> None:
    await with_copies(store, "job-1", "C:8")
    (killed,) = await store.transact(lambda tx: tx.threads.claim_edits("dba", clock.now(), LEASE, 5))
    assert killed.copies == ("C:8",)
    channel = LiveFake()
    assert outcomes(await editor(channel, store, clock).step()) == []
    clock.advance(LEASE)
    assert outcomes(await editor(channel, store, clock).step()) == [Delivered()]
    assert channel.copied == [("C:8", EventType.TASK_FAILED)]
