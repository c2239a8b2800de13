"""One message a task in Slack: posted, replied to, changed, acknowledged, muted, deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from factories import T0, decision, make_delivery, make_event, make_render_request, make_task
from fakes import FakeClock
from servers.slack import ACCEPTED_THEN_SILENT, CHANNEL, TOKEN, SlackServer, mrkdwn_texts, refused, slack_server

from notifier.channels.base import ChannelContext, Json
from notifier.core.delivery import Delivered, Delivery, GaveUp, Retry, Thread, Unknown
from notifier.core.events import EventType
from notifier.core.model import Event, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.routing import DeliveryRouting
from notifier.core.severity import Severity
from notifier.core.tickets import TicketLink
from notifier.http import HttpClient
from notifier.integrations.slack.channel import SlackChannel
from notifier.integrations.slack.messages import event_message, live_message
from notifier.integrations.slack.settings import SlackSettings
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer

ENGLISH = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
FAILED = make_event(make_task(progress=60))
STARTED = make_event(make_task(status="running", ended_at=None, fail_reason=None), type=EventType.TASK_STARTED)
HALF = make_event(
    make_task(status="running", ended_at=None, fail_reason=None, progress=50.0), type=EventType.TASK_PROGRESSED
)
COMPLETED = make_event(make_task(status="completed", fail_reason=None), type=EventType.TASK_COMPLETED)
ALICE = Acknowledgement(event_id=FAILED.id, by="U0ALICE", name="alice <!channel>", at=T0)
WINDOW = Mute(
    id="7k2m",
    since=T0,
    instance="gauss-6568-zzh",
    until=T0 + timedelta(hours=2),
    by="U0BOB",
    name="bob",
    created_at=T0,
    reason="*resize*",
)


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        running.scopes = "chat:write,channels:history"
        yield running


@pytest.fixture
async def context() -> AsyncIterator[ChannelContext]:
    http = HttpClient()
    console = "https://console.example.com/?region={region}#/{instance_id}"
    yield ChannelContext(
        http=http, clock=FakeClock(), localizer=ENGLISH, chat_tokens=frozenset({TOKEN}), console_url=console
    )
    await http.aclose()


def bot(server: SlackServer, context: ChannelContext, **settings: object) -> SlackChannel:
    values = {"name": "dba", "bot_token": TOKEN, "channel": CHANNEL, "api_url": server.api_url, "timeout": "1s"}
    return SlackChannel(SlackSettings.model_validate(values | settings), context)


def delivery_of(channel: SlackChannel, event: Event, thread: str | None = None) -> Delivery:
    return replace(make_delivery(event, body=channel.render(make_render_request(event))), thread=thread)


async def begin(channel: SlackChannel, event: Event = STARTED) -> str:
    """Post the first message of a task and return the reference of its thread."""
    outcome = await channel.send(delivery_of(channel, event))
    assert isinstance(outcome, Delivered)
    assert outcome.thread
    return outcome.thread


def thread_of(ref: str, event: Event = FAILED, **annotations: object) -> Thread:
    return replace(
        Thread(channel="dba", subject=event.subject, ref=ref, event=event, revision=1),
        **annotations,  # type: ignore[arg-type]  # what people did
    )


def actions(message: Json) -> list[str]:
    blocks = message["attachments"][0]["blocks"]
    return [element["action_id"] for block in blocks if block["type"] == "actions" for element in block["elements"]]


# ---- steps ----


async def test_a_step_in_the_thread_is_one_line(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    assert decision(await channel.send(delivery_of(channel, HALF, ref))) == Delivered("C0GAUSS:1768465800.000002")
    step = server.messages[1]
    assert step["thread_ts"] == ref.partition(":")[2]
    assert "reply_broadcast" not in step
    assert step["attachments"] == []
    assert list(mrkdwn_texts(step)) == [
        "🔵 *Instance creation is at 50% on* `gauss-6568-zzh`  ·  <!date^1768465020^{time_secs}|16:17:00>"
    ]


async def test_a_failure_is_broadcast_as_a_copy_of_the_message(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    outcome = await channel.send(delivery_of(channel, FAILED, ref))
    assert decision(outcome) == Delivered("C0GAUSS:1768465800.000002", copy="C0GAUSS:1768465800.000002")
    reply = server.messages[1]
    assert reply["reply_broadcast"] is True
    await channel.show(thread_of(ref))
    shown = ("text", "blocks", "attachments")
    assert [reply[name] for name in shown] == [server.messages[0][name] for name in shown]
    assert actions(reply) == ["acknowledge", "console", "mute", "details"]


@pytest.mark.parametrize(
    "settings",
    [
        {"event": replace(FAILED, environment="staging")},
        {"event": FAILED, "routing": DeliveryRouting(severity=Severity.WARNING)},
    ],
)
async def test_a_failure_that_is_not_loud_stays_in_the_thread(
    server: SlackServer, context: ChannelContext, settings: dict[str, Any]
) -> None:
    channel = bot(server, context)
    delivery = delivery_of(channel, settings.pop("event"), await begin(channel))
    outcome = await channel.send(replace(delivery, **settings))
    assert decision(outcome) == Delivered("C0GAUSS:1768465800.000002")
    assert "reply_broadcast" not in server.messages[1]
    assert actions(server.messages[1]) == ["console"]
    assert len(list(mrkdwn_texts(server.messages[1]))) > 1


async def test_the_end_of_trouble_is_shown_where_the_trouble_was(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    delivery = replace(delivery_of(channel, COMPLETED, await begin(channel)), ends_trouble=True)
    assert decision(await channel.send(delivery)) == Delivered("C0GAUSS:1768465800.000002")
    reply = server.messages[1]
    assert reply["reply_broadcast"] is True
    assert actions(reply) == ["console"]
    assert len(list(mrkdwn_texts(reply))) > 1
    quiet = bot(server, context, broadcast=False)
    await quiet.send(replace(delivery, id="another"))
    assert "reply_broadcast" not in server.messages[2]


async def test_a_copy_is_edited_like_the_message(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    outcome = await channel.send(delivery_of(channel, FAILED, ref))
    assert isinstance(outcome, Delivered)
    assert outcome.copy
    for thread in (
        thread_of(ref, acknowledged=ALICE),
        thread_of(ref, mute=WINDOW),
        thread_of(ref),
        thread_of(ref, COMPLETED),
    ):
        assert decision(await channel.show(thread)) == Delivered()
        for _ in range(2):  # repeated freely
            copied = await channel.show_copy(thread, outcome.copy)
            assert copied is not None
            assert decision(copied) == Delivered()
            for name in ("text", "blocks", "attachments"):
                assert server.messages[1][name] == server.messages[0][name]
    assert server.messages[1]["reply_broadcast"] is True
    assert len(server.messages) == 2


async def test_a_copy_that_is_gone_is_not_posted_again(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    outcome = await channel.send(delivery_of(channel, FAILED, ref))
    assert isinstance(outcome, Delivered)
    assert outcome.copy
    server.delete(outcome.copy.partition(":")[2])
    assert await channel.show_copy(thread_of(ref), outcome.copy) is None
    assert len(server.messages) == 1
    server.faults.append(refused("ratelimited", 429))
    assert isinstance(await channel.show_copy(thread_of(ref), ref), Retry)


async def test_a_copy_whose_answer_was_lost_is_found(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    delivery = delivery_of(channel, FAILED, await begin(channel))
    server.faults.append(ACCEPTED_THEN_SILENT)
    assert isinstance(await channel.send(delivery), Unknown)
    found = await channel.find_sent(delivery)
    assert found is not None
    assert decision(found) == Delivered("C0GAUSS:1768465800.000002", copy="C0GAUSS:1768465800.000002")


@pytest.mark.parametrize("kind", [EventType.TASK_STALLED, EventType.TASK_UNLISTED])
async def test_what_needs_somebody_is_shown_in_the_channel_too(
    server: SlackServer, context: ChannelContext, kind: EventType
) -> None:
    channel = bot(server, context)
    event = replace(HALF, type=kind, since=HALF.observed_at - timedelta(hours=1))
    ref = await begin(channel)
    await channel.send(delivery_of(channel, event, ref))
    assert server.messages[1]["reply_broadcast"] is True
    await channel.show(thread_of(ref, event))
    assert actions(server.messages[0])[0] == actions(server.messages[1])[0] == "acknowledge"
    assert server.messages[0]["attachments"][0]["color"] == "#ECB22E"


async def test_broadcasting_can_be_switched_off(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context, broadcast=False)
    await channel.send(delivery_of(channel, FAILED, await begin(channel)))
    assert "reply_broadcast" not in server.messages[1]


async def test_an_end_that_is_good_is_a_quiet_step(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.send(delivery_of(channel, COMPLETED, await begin(channel)))
    assert "reply_broadcast" not in server.messages[1]


async def test_where_the_thread_is_gone_a_new_message_begins_another(
    server: SlackServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    server.delete(ref.partition(":")[2])
    outcome = decision(await channel.send(delivery_of(channel, FAILED, ref)))
    assert outcome == Delivered("C0GAUSS:1768465800.000002", thread="C0GAUSS:1768465800.000002")
    assert "thread_ts" not in server.messages[0]
    assert "acknowledge" in actions(server.messages[0])


async def test_a_step_whose_answer_was_lost_is_found_in_its_thread(
    server: SlackServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    server.faults.append(ACCEPTED_THEN_SILENT)
    delivery = delivery_of(channel, HALF, ref)
    assert isinstance(await channel.send(delivery), Unknown)
    assert decision(await channel.find_sent(delivery)) == Delivered("C0GAUSS:1768465800.000002")
    assert await channel.find_sent(delivery_of(channel, COMPLETED, ref)) is None


async def test_of_a_thread_that_is_gone_the_channel_is_searched(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    server.delete(ref.partition(":")[2])
    posted = await begin(channel, FAILED)
    assert decision(await channel.find_sent(delivery_of(channel, FAILED, ref))) == Delivered(posted, thread=posted)


async def test_a_reply_that_is_found_in_the_channel_begins_no_thread(
    server: SlackServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    delivery = delivery_of(channel, FAILED, ref)
    server.faults.append(ACCEPTED_THEN_SILENT)
    assert isinstance(await channel.send(delivery), Unknown)
    server.delete(ref.partition(":")[2])
    found = await channel.find_sent(delivery)
    assert found is not None
    assert decision(found) == Delivered("C0GAUSS:1768465800.000002", copy="C0GAUSS:1768465800.000002")


async def test_a_style_without_threads_posts_each_event(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context, style="post")
    assert (channel.threads, channel.coalesces, channel.edit_budget) == (False, False, None)
    assert decision(await channel.send(delivery_of(channel, STARTED))) == Delivered("C0GAUSS:1768465800.000001")


def test_a_thread_whose_message_stays_is_a_style_too(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context, style="thread")
    assert (channel.threads, channel.edit_budget) == (True, None)


def test_channels_of_one_token_share_a_budget_of_changes(server: SlackServer, context: ChannelContext) -> None:
    first, second = bot(server, context), bot(server, context, name="other", channel="C0OTHER")
    assert first.edit_budget == second.edit_budget
    assert TOKEN not in str(first.edit_budget)
    assert bot(server, context, bot_token="xoxb-another").edit_budget != first.edit_budget


# ---- the live message ----


async def test_a_change_names_everything_so_that_nothing_old_stays(
    server: SlackServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    assert decision(await channel.show(thread_of(ref, COMPLETED))) == Delivered()
    shown = server.messages[0]
    assert next(mrkdwn_texts(shown)).startswith("🟢 *Instance creation completed on* `gauss-6568-zzh`  ·  ")
    assert shown["attachments"][0]["color"] == "#2EB67D"
    assert actions(shown) == ["console", "mute", "details"]
    assert set(server.edits[0]) == {"channel", "ts", "text", "blocks", "attachments"}


async def test_progress_is_drawn_with_what_is_left(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.show(thread_of(await begin(channel), HALF))
    texts = list(mrkdwn_texts(server.messages[0]))
    assert "▓▓▓▓▓▓░░░░░░ 50%  ·  about 5 to 30 min left  ·  running 13 min" in texts


async def test_the_acknowledging_person_replaces_the_button(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel, FAILED)
    assert actions(server.messages[0]) == ["acknowledge", "console", "mute", "details"]
    await channel.show(thread_of(ref, acknowledged=ALICE))
    shown = server.messages[0]
    assert actions(shown) == ["unacknowledge", "console", "mute", "details"]
    assert shown["attachments"][0]["color"] == "#8D8D8D"
    assert next(mrkdwn_texts(shown)).startswith("✅ `alice &lt;!channel&gt;`, <!date^")


async def test_a_mute_is_shown_and_can_be_ended(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await channel.show(thread_of(await begin(channel, FAILED), mute=WINDOW))
    shown = server.messages[0]
    assert actions(shown) == ["acknowledge", "console", "unmute", "details"]
    (note,) = (text for text in mrkdwn_texts(shown) if text.startswith("🔕 Muted until <!date^"))
    assert note.endswith(" by bob: `*resize*`")


async def test_a_deleted_message_is_posted_again(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    server.delete(ref.partition(":")[2])
    assert decision(await channel.show(thread_of(ref))) == Delivered(
        "C0GAUSS:1768465800.000002", thread="C0GAUSS:1768465800.000002"
    )
    assert server.messages[0]["metadata"]["event_payload"]["key"]


async def test_a_layout_that_is_refused_is_shown_as_text(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    server.faults.append(refused("invalid_blocks"))
    assert decision(await channel.show(thread_of(ref))) == Delivered()
    assert (server.messages[0]["blocks"], server.messages[0]["attachments"]) == ([], [])
    server.faults += [refused("invalid_blocks"), refused("no_text")]
    assert isinstance(await channel.show(thread_of(ref)), GaveUp)


async def test_a_change_that_comes_too_soon_waits(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    ref = await begin(channel)
    server.faults.append(refused("ratelimited", 429))
    assert isinstance(await channel.show(thread_of(ref)), Retry)


# ---- buttons ----


async def test_without_a_chat_only_links_are_shown(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, replace(context, chat_tokens=frozenset()))
    ref = await begin(channel, FAILED)
    assert actions(server.messages[0]) == ["console"]
    await channel.show(thread_of(ref))
    assert actions(server.messages[0]) == ["console"]


async def test_a_copy_without_a_chat_has_links_only(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, replace(context, chat_tokens=frozenset()))
    await channel.send(delivery_of(channel, FAILED, await begin(channel)))
    assert actions(server.messages[1]) == ["console"]


async def test_without_a_chat_and_a_console_there_are_no_buttons(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, replace(context, chat_tokens=frozenset(), console_url=None))
    await begin(channel, FAILED)
    assert actions(server.messages[0]) == []


async def test_an_instance_name_cannot_break_out_of_a_link(server: SlackServer, context: ChannelContext) -> None:
    channel = bot(server, context)
    await begin(channel, make_event(make_task(instance_id="a|b>&#/../?x=y", status=TaskStatus.FAILED)))
    (url,) = (
        element["url"]
        for block in server.messages[0]["attachments"][0]["blocks"]
        for element in block.get("elements", ())
        if element.get("url")
    )
    assert url == "https://console.example.com/?region=cn-north-4#/a%7Cb%3E%26%23%2F..%2F%3Fx%3Dy"


async def test_a_task_whose_name_is_too_long_for_a_button_has_none(
    server: SlackServer, context: ChannelContext
) -> None:
    channel = bot(server, context)
    await begin(channel, make_event(make_task("j" * 3_000)))
    assert "details" not in actions(server.messages[0])


def test_a_message_links_the_tickets_of_its_operation() -> None:
    formatter = EventFormatter(Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai")))
    tickets = (
        TicketLink(channel="ops", label="OPS-12", url="https://jira.example.com/browse/OPS-12?a=1&b=2"),
        TicketLink(channel="page", label="<!channel>", url="javascript:alert(1)"),
    )
    request = replace(make_render_request(make_event()), tickets=tickets)
    thread = Thread(channel="dba", subject="s", ref="C:1", event=make_event(), revision=1, tickets=tickets)
    for message in (event_message(request, formatter), live_message(thread, formatter)):
        (line,) = [text for text in mrkdwn_texts(message) if "Ticket" in text]
        assert "<https://jira.example.com/browse/OPS-12?a=1&amp;b=2|Ticket OPS-12>" in line
        assert line.endswith("Ticket &lt;!channel&gt;")
