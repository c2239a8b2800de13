"""The base of ticket channels, with a tracker in memory whose calls are lost, refused or cut at every place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import HOSTILE, T0, hostile_event, make_event, make_task
from fakes import FakeClock
from memory_tickets import Killed, MemoryAlerts, MemorySettings, MemoryTickets, Shop, Tracker, wait

from notifier.channels.base import ChannelContext
from notifier.channels.markup import Markdown
from notifier.channels.ticket_text import PLAIN, Facts, Links, Paragraph, Quote, TextIn, Written, fitted
from notifier.channels.tickets import TicketChannel
from notifier.core.delivery import Body, Delivered, GaveUp, Retry, Skipped, Unknown
from notifier.core.events import EventType
from notifier.core.model import Event, TaskStatus
from notifier.core.routing import DeliveryRouting
from notifier.core.tickets import ClosedBy, TicketFields, TicketState, ticket_key
from notifier.http import HttpClient
from notifier.ports import RenderRequest
from notifier.wording.localizer import Localizer
from notifier.wording.marks import quoted


def failure(number: int = 1) -> Event:
    return make_event(make_task(f"job-{number}", ended_at=T0 + timedelta(minutes=number)))


def success(number: int = 9) -> Event:
    ended = T0 + timedelta(minutes=number)
    return make_event(make_task(f"job-{number}", status=TaskStatus.COMPLETED, ended_at=ended))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def shop(http: HttpClient, clock: FakeClock) -> Shop:
    return make_shop(MemoryTickets, http, clock)


def make_shop(kind: type[MemoryTickets | MemoryAlerts], http: HttpClient, clock: FakeClock, **settings: Any) -> Shop:
    words = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
    context = ChannelContext(http=http, clock=clock, localizer=words)
    channel = kind(MemorySettings(name="ops", kind="memory", **settings), context)
    channel.tracker = Tracker()
    return Shop(channel, clock)


def tracker_of(shop: Shop) -> Tracker:
    channel = shop.channel
    assert isinstance(channel, MemoryTickets | MemoryAlerts)
    return channel.tracker


@contextmanager
def fault(shop: Shop, call: int, ending: str) -> Iterator[None]:
    """Let the call of this number, from now on, end like that."""
    tracker = tracker_of(shop)
    tracker.fault = (len(tracker.calls) + call, ending)
    yield
    tracker.fault = None


class TestOneTicket:
    async def test_failures_open_and_comment_and_a_success_closes(self, shop: Shop) -> None:
        for event in (failure(1), failure(2), failure(3), success()):
            assert isinstance(await shop.attempt(event), Delivered)
        tracker = tracker_of(shop)
        assert tracker.changes == ["create", "comment", "comment", "comment", "close"]
        (record,) = tracker.records.values()
        assert record.ticket.closed
        assert record.draft.title == "gauss-6568-zzh: instance creation failed"
        assert "The quota of vCPUs is not enough." in record.draft.description
        assert "Fixed by job job-9." in record.comments[-1][0]
        assert shop.ticket is not None
        assert (shop.ticket.state, shop.ticket.closed_by, shop.ticket.label) == (TicketState.CLOSED, ClosedBy.US, "T-1")
        assert shop.ticket.solved

    async def test_a_first_failure_asks_for_nothing_before_it_opens(self, shop: Shop) -> None:
        await shop.attempt(failure())
        assert tracker_of(shop).calls == ["create"]

    async def test_a_failure_soon_after_reopens_the_ticket(self, shop: Shop, clock: FakeClock) -> None:
        await shop.attempt(failure())
        await shop.attempt(success())
        wait(clock, 3600)
        await shop.attempt(failure(10))
        assert tracker_of(shop).changes == ["create", "comment", "close", "reopen", "comment"]
        await shop.attempt(success(11))
        assert [record.ticket.closed for record in tracker_of(shop).records.values()] == [True]

    async def test_a_failure_long_after_opens_a_ticket_that_names_the_old_one(
        self, shop: Shop, clock: FakeClock
    ) -> None:
        await shop.attempt(failure())
        await shop.attempt(success())
        wait(clock, 8 * 86_400)
        await shop.attempt(failure(10))
        new = tracker_of(shop).records["T-2"]
        assert new.draft.notes == ("The same operation failed before: see T-1.",)
        assert shop.ticket is not None
        assert (shop.ticket.generation, shop.ticket.label, shop.ticket.previous) == (2, "T-2", "T-1")

    async def test_a_success_without_a_ticket_is_skipped(self, shop: Shop) -> None:
        await shop.attempt(failure())
        tracker_of(shop).records.clear()
        assert isinstance(await shop.attempt(success()), Skipped)
        assert shop.ticket is not None
        assert shop.ticket.state is TicketState.CLOSED

    async def test_a_success_before_the_last_failure_is_skipped(self, shop: Shop) -> None:
        await shop.attempt(failure(5))
        outcome = await shop.attempt(success(4))
        assert isinstance(outcome, Skipped)
        assert outcome.reason == "the operation has failed since"
        assert shop.ticket is not None
        assert not shop.ticket.solved

    async def test_a_failure_that_is_sent_after_the_next_success_opens_nothing(self, shop: Shop) -> None:
        with fault(shop, 1, "refused"):
            await shop.attempt(failure())
        assert isinstance(await shop.attempt(success()), Skipped)
        outcome = await shop.attempt(failure())
        assert isinstance(outcome, Skipped)
        assert outcome.reason == "the operation has succeeded since"
        assert tracker_of(shop).records == {}

    async def test_trouble_that_lasts_past_a_success_leaves_the_ticket_unsolved(self, shop: Shop) -> None:
        for event in (failure(1), success(9)):
            await shop.attempt(event)
        running = make_task("job-0", status=TaskStatus.RUNNING, created_at=T0)
        stuck = make_event(running, type=EventType.TASK_STALLED, since=T0 + timedelta(minutes=5), occurred_at=None)
        assert isinstance(await shop.attempt(stuck), Delivered)
        assert shop.ticket is not None
        assert not shop.ticket.solved
        await shop.attempt(success(12))
        assert [record.ticket.closed for record in tracker_of(shop).records.values()] == [True]

    @pytest.mark.parametrize("content", [b'{"id": "1"}', b"To: ann", b""])
    async def test_a_message_of_another_kind_of_channel_is_given_up(self, shop: Shop, content: bytes) -> None:
        delivery = shop.claim(failure())
        delivery.body = Body(content=content, content_type="text/plain")
        outcome = await shop.channel.send(delivery)
        assert isinstance(outcome, GaveUp)
        assert outcome.reason == "the message was written when the channel was of another kind"
        assert tracker_of(shop).calls == []

    async def test_a_started_task_is_skipped_without_a_call(self, shop: Shop) -> None:
        started = make_event(make_task(status=TaskStatus.RUNNING))
        assert isinstance(await shop.attempt(started), Skipped)
        assert tracker_of(shop).calls == []


class TestPeople:
    async def test_a_ticket_that_somebody_moved_stays_open(self, shop: Shop) -> None:
        await shop.attempt(failure())
        tracker_of(shop).set_state("T-1", "in progress", closed=False)
        await shop.attempt(failure(2))
        outcome = await shop.attempt(success())
        assert isinstance(outcome, Delivered)
        assert outcome.reason == "not closed: somebody has moved T-1 to in progress"
        assert tracker_of(shop).changes == ["create", "comment", "comment"]
        assert shop.ticket is not None
        assert shop.ticket.solved

    async def test_a_ticket_that_somebody_closed_is_left_alone(self, shop: Shop) -> None:
        await shop.attempt(failure())
        tracker_of(shop).set_state("T-1", "rejected", closed=True)
        assert isinstance(await shop.attempt(success()), Skipped)
        await shop.attempt(failure(10))
        assert tracker_of(shop).changes == ["create", "create"]
        assert tracker_of(shop).records["T-1"].comments == []

    async def test_a_ticket_that_somebody_closed_before_we_knew_it_is_followed_by_another(
        self, shop: Shop, clock: FakeClock
    ) -> None:
        with fault(shop, 1, "lost"):
            await shop.attempt(failure(1))  # and given up
        tracker_of(shop).set_state("T-1", "done", closed=True)
        wait(clock, 120)
        await shop.attempt(failure(2))
        assert shop.ticket is not None
        assert (shop.ticket.label, shop.ticket.previous) == ("T-2", "T-1")

    async def test_a_ticket_that_somebody_moved_elsewhere_is_shown_by_its_new_name(self, shop: Shop) -> None:
        await shop.attempt(failure())
        record = tracker_of(shop).records["T-1"]
        record.ticket = replace(record.ticket, label="DEV-1")
        await shop.attempt(failure(2))
        assert shop.ticket is not None
        assert (shop.ticket.ref, shop.ticket.label) == ("T-1", "DEV-1")

    @pytest.mark.parametrize(
        "changes",
        [{"url": "https://other/T-1", "key": ""}, {"key": ticket_key("other", "o", 1)}],
        ids=["on another server", "with another key"],
    )
    async def test_nothing_is_written_to_what_has_the_number_of_a_ticket_elsewhere(
        self, shop: Shop, changes: dict[str, str]
    ) -> None:
        await shop.attempt(failure())
        record = tracker_of(shop).records["T-1"]
        record.ticket = replace(record.ticket, **changes)  # type: ignore[arg-type] # the values of fields by name
        before = record.ticket
        assert isinstance(await shop.attempt(success(2)), Skipped)
        await shop.attempt(failure(3))
        assert (record.ticket, record.comments) == (before, [])
        assert shop.ticket is not None
        assert (shop.ticket.label, shop.ticket.generation) == ("T-2", 2)

    @pytest.mark.parametrize(
        "changes",
        [{"key": ""}, {"key": "SYNC-12"}, {"url": "https://renamed/T-1"}],
        ids=["key removed", "key overwritten", "server renamed"],
    )
    async def test_our_ticket_stays_ours_without_its_key_or_on_a_renamed_server(
        self, shop: Shop, changes: dict[str, str]
    ) -> None:
        await shop.attempt(failure())
        record = tracker_of(shop).records["T-1"]
        record.ticket = replace(record.ticket, **changes)  # type: ignore[arg-type] # the values of fields by name
        await shop.attempt(success(2))
        assert record.ticket.closed

    async def test_a_ticket_that_somebody_reopened_is_commented(self, shop: Shop) -> None:
        await shop.attempt(failure())
        await shop.attempt(success())
        tracker_of(shop).set_state("T-1", "to do", closed=False)
        await shop.attempt(failure(10))
        assert tracker_of(shop).changes == ["create", "comment", "close", "comment"]
        assert shop.ticket is not None
        assert shop.ticket.state is TicketState.OPEN


STORY = [failure(1), failure(2), failure(3), success(4), failure(5), success(6)]
"""Opened, two comments, closed, reopened, closed again."""

ENDINGS = ("killed before", "killed after", "lost", "busy")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("call", range(1, 16))
async def test_every_call_may_be_lost(http: HttpClient, clock: FakeClock, call: int, ending: str) -> None:
    """Whatever happens to one call, the same ticket ends with the same comments, in the same state."""
    shop = make_shop(MemoryTickets, http, clock)
    tracker = tracker_of(shop)
    tracker.fault, tracker.hidden = (call, ending), 2
    for event in STORY:
        for _ in range(20):
            with suppress(Killed):
                if isinstance(await shop.attempt(event), Delivered):
                    break
            wait(clock, 10)
        else:
            pytest.fail(f"{event.job_id} was never delivered")
    (record,) = tracker.records.values()
    assert record.ticket.closed
    assert len(record.comments) == 5
    assert len({mark for _, mark in record.comments}) == 5
    assert shop.ticket is not None
    assert (shop.ticket.state, shop.ticket.closed_by, shop.ticket.solved) == (TicketState.CLOSED, ClosedBy.US, True)


class TestLostAnswers:
    async def test_a_ticket_is_looked_for_until_its_service_shows_it(self, shop: Shop, clock: FakeClock) -> None:
        tracker_of(shop).hidden = 3
        with fault(shop, 1, "lost"):
            await shop.attempt(failure())
        waits = []
        while isinstance(outcome := await shop.attempt(failure()), Retry):
            assert outcome.after is not None
            assert outcome.neutral
            waits.append(outcome.after.total_seconds())
            wait(clock, waits[-1])
        assert isinstance(outcome, Delivered)
        assert waits == [5, 10, 30]
        assert tracker_of(shop).changes == ["create"]

    async def test_after_the_lag_a_possible_duplicate_is_opened_and_says_so(self, shop: Shop, clock: FakeClock) -> None:
        with fault(shop, 1, "killed before"), pytest.raises(Killed):
            await shop.attempt(failure())
        assert isinstance(await shop.attempt(failure()), Retry)
        wait(clock, 61)
        assert isinstance(await shop.attempt(failure()), Delivered)
        (record,) = tracker_of(shop).records.values()
        assert "duplicate" in record.draft.notes[0]

    async def test_a_service_that_knows_a_repeat_is_sent_the_same_draft(
        self, shop: Shop, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(MemoryTickets, "repeatable_for", timedelta(hours=2))
        with fault(shop, 1, "killed before"), pytest.raises(Killed):
            await shop.attempt(failure())
        wait(clock, 3600)
        assert isinstance(await shop.attempt(failure()), Delivered)
        assert tracker_of(shop).records["T-1"].draft.notes == ()

    async def test_a_search_that_is_refused_leaves_the_outcome_unknown(self, shop: Shop) -> None:
        with fault(shop, 1, "killed after"), pytest.raises(Killed):
            await shop.attempt(failure())
        with fault(shop, 1, "refused"):
            found = await shop.channel.find_sent(shop.claim(failure()))
        assert found == Unknown("HTTP 400")

    async def test_what_a_service_leaves_out_is_reported(self, shop: Shop) -> None:
        tracker_of(shop).left_out = "labels were left out"
        outcome = await shop.attempt(failure())
        assert isinstance(outcome, Delivered)
        assert outcome.reason == "labels were left out"

    async def test_the_failure_after_one_that_was_given_up_finds_its_ticket(self, shop: Shop) -> None:
        with fault(shop, 1, "killed after"), pytest.raises(Killed):
            await shop.attempt(failure())
        assert isinstance(await shop.attempt(failure(2)), Delivered)
        (record,) = tracker_of(shop).records.values()
        assert len(record.comments) == 1

    async def test_a_refused_creation_is_repeated_without_looking(self, shop: Shop) -> None:
        with fault(shop, 1, "busy"):
            assert isinstance(await shop.attempt(failure()), Retry)
        await shop.attempt(failure())
        assert tracker_of(shop).calls == ["create", "create"]
        assert tracker_of(shop).records["T-1"].draft.notes == ()

    async def test_a_refusal_is_final_and_the_next_failure_tries_again(self, shop: Shop) -> None:
        with fault(shop, 1, "refused"):
            assert isinstance(await shop.attempt(failure()), GaveUp)
        assert isinstance(await shop.attempt(failure(2)), Delivered)
        assert tracker_of(shop).changes == ["create", "create"]


async def test_alerts_are_kept_by_key_alone(http: HttpClient, clock: FakeClock) -> None:
    shop = make_shop(MemoryAlerts, http, clock)
    for event in (failure(1), failure(2), success(3), failure(4)):
        assert isinstance(await shop.attempt(event), Delivered)
    one, two = tracker_of(shop).records
    assert tracker_of(shop).calls == [f"create {one}", "comment", "comment", "close", f"create {two}"]
    assert shop.ticket is not None
    assert shop.ticket.key == two


class TestRendering:
    async def test_fields_differ_by_severity_and_routes_win(self, http: HttpClient, clock: FakeClock) -> None:
        shop = make_shop(
            MemoryTickets,
            http,
            clock,
            priority={"critical": "Highest", "error": "High"},
            labels=["gaussdb"],
            fields={"team": "dba", "cost": 3},
            fields_by_severity={"error": {"cost": 5}},
        )
        wanted = TicketFields(assignee="ann", labels=("night",), fields=(("team", '"sre"'),))
        body = shop.channel.render(
            RenderRequest(delivery_id="d", events=(failure(),), routing=DeliveryRouting(ticket=wanted))
        )
        delivery = shop.claim(failure())
        delivery.body = body
        await shop.channel.send(delivery)
        draft = tracker_of(shop).records["T-1"].draft
        assert (draft.priority, draft.assignee, draft.project) == ("High", "ann", None)
        assert draft.labels == ("gaussdb", "night")
        assert draft.fields == {"team": "sre", "cost": 5}

    @pytest.mark.parametrize("text", HOSTILE)
    def test_the_same_event_gives_the_same_bytes(self, shop: Shop, text: str) -> None:
        request = RenderRequest(delivery_id="d", events=(hostile_event(text),))
        assert shop.channel.render(request) == shop.channel.render(request)

    async def test_templates_replace_title_and_text(self, http: HttpClient, clock: FakeClock) -> None:
        template = {"title": "{{ data.source }} broke", "text": "Why: {{ data.task.fail_reason }}"}
        shop = make_shop(MemoryTickets, http, clock, templates={"task.failed": template})
        await shop.attempt(failure())
        draft = tracker_of(shop).records["T-1"].draft
        assert draft.title == "prod broke"
        assert "Why: The quota of vCPUs is not enough." in draft.description


class TestMarkup:
    def test_blocks_are_written_in_the_markup_of_a_service(self) -> None:
        blocks = (
            Paragraph(f"Resize failed on {quoted('a*b')}"),
            Quote("no *room*\n``` left"),
            Facts((("Job", "j`1"),)),
            Links((("Console", "https://example.com/a b"),)),
            Written("*as it is*"),
        )
        markdown = TextIn(Markdown(replaced={"*": r"\*"}))
        assert markdown.write(blocks) == (
            "Resize failed on `a*b`\n\n```\nno *room*\nˋˋˋ left\n```\n\n- Job: `jˋ1`\n\n"
            "- [Console](https://example.com/a%20b)\n\n*as it is*"
        )
        assert markdown.escape("a*b") == r"a\*b"

    def test_plain_text_has_marks_of_quotes_only(self) -> None:
        blocks = (Paragraph(f"Resize failed on {quoted('a*b')}"), Quote("no room\nleft"))
        assert PLAIN.write(blocks) == "Resize failed on a*b\n\n> no room\n> left"
        assert PLAIN.escape("a*b") == "a*b"


class TestCutting:
    BLOCKS = (
        Paragraph("Resize failed."),
        Quote("because " * 1000),
        Links((("Console", "https://example.com"),)),
        Facts((("Job", "j1"),)),
    )

    def test_quotes_are_cut_before_blocks_are_left_out(self) -> None:
        text = fitted(PLAIN, self.BLOCKS, 500)
        assert len(text) <= 500
        assert "Job: j1" in text
        assert "…" in text

    def test_the_least_important_blocks_go_first(self) -> None:
        text = fitted(PLAIN, self.BLOCKS, 330)
        assert "Job" not in text
        assert text.startswith("Resize failed.")

    @pytest.mark.parametrize("limit", range(0, 40, 3))
    def test_any_limit_is_kept_in_any_unit(self, limit: int) -> None:
        def size(text: str) -> int:
            return len(text.encode())

        for block in (Paragraph("失败了，请检查 😀😀"), Quote("原因" * 30), Written("文" * 30), self.BLOCKS[3]):
            assert size(fitted(PLAIN, [block], limit, size)) <= limit


def test_the_deadline_has_time_for_several_requests(shop: Shop) -> None:
    channel: TicketChannel[MemorySettings] = shop.channel
    assert channel.deadline == 40
    assert channel.digest_above is None
