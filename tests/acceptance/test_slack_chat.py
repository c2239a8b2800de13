"""The whole program with Slack: one live message a task, clicks and commands, through the real slack-sdk."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import httpx
import pytest
from factories import make_task
from fakes import START, FakeClock, FakeSource
from pydantic import SecretStr
from servers.slack import (
    ACCEPTED_THEN_SILENT,
    APP_TOKEN,
    CHANNEL,
    HTML_500,
    TOKEN,
    Json,
    SlackServer,
    blocks_of,
    click_payload,
    command_form,
    mrkdwn_texts,
    shown_texts,
    slack_server,
)

from notifier.config.chat import ChatSettings
from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.config.web import WebSettings
from notifier.core.delivery import DeliveryState
from notifier.core.matchers import Matcher
from notifier.core.model import Task
from notifier.core.routing import Route
from notifier.ports import DeliveryFilter
from notifier.service.service import Service
from notifier.wiring.app import App, open_app, open_endpoints

CONFIGURATION = """
store: {url: "${STORE}", migrate: true}
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}, first_poll: notify}
channels:
  - {name: dba, kind: slack, bot_token: "${TOKEN}", channel: "${CHANNEL}", api_url: "${API}", timeout: 1s}
routes: [{name: everything, channels: [dba]}]
chat: {slack: {app_token: "${APP_TOKEN}", api_url: "${API}", allow: [ALLOWED]}}
"""
INSTANCE = "gauss-6568-zzh"


def running(progress: float | None = None, job_id: str = "job-1") -> Task:
    return make_task(job_id, status="running", ended_at=None, fail_reason=None, progress=progress)


def failed(job_id: str = "job-1") -> Task:
    return make_task(job_id, ended_at=START, fail_reason="The quota of vCPUs is exceeded: 64 < 72 <!channel>")


def completed(job_id: str = "job-1") -> Task:
    return make_task(job_id, status="completed", ended_at=START, fail_reason=None)


SIGNING_SECRET = "obviously-fake-signing-secret"


def signed(body: bytes, clock: FakeClock) -> dict[str, str]:
    """Return the headers of a request of Slack's."""
    at = f"{clock.now().timestamp():.0f}"
    digest = hmac.new(SIGNING_SECRET.encode(), f"v0:{at}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": at,
        "X-Slack-Signature": f"v0={digest}",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


class Harness:
    """A program with one source, and the Slack that it posts to."""

    def __init__(self, app: App, clock: FakeClock, slack: SlackServer) -> None:
        self.source = FakeSource(clock)
        self.app = replace(app, sources={"prod": self.source})
        self.clock = clock
        self.slack = slack
        self.service = Service(self.app)
        self.changed = asyncio.Event()
        """Set when somebody has changed something from the chat."""

    async def click(self, action: str, value: str, user: str = "U0ALICE", ts: str = "") -> None:
        """Let somebody click on something that changes something, and wait until it has."""
        self.changed.clear()
        await self.slack.click(action, value, user, ts)
        await self.changed.wait()

    async def see(self, *tasks: Task) -> None:
        """Let the cloud show these tasks, a minute later, and tell what changed."""
        self.clock.advance(timedelta(minutes=1))
        self.source.tasks = list(tasks)
        await self.service.polling.poll(self.source, force=True)
        await self.tell()

    async def tell(self) -> None:
        self.clock.advance(timedelta(seconds=30))
        await self.service.delivering.drain()

    async def restart(self) -> None:
        """Let another process go on from the database."""
        self.service = Service(self.app)

    @property
    def channel(self) -> list[Json]:
        """What stands in the channel."""
        return [message for message in self.slack.messages if "thread_ts" not in message]

    @property
    def thread(self) -> list[Json]:
        """What was said in threads."""
        return [message for message in self.slack.messages if "thread_ts" in message]

    async def states(self) -> Sequence[DeliveryState]:
        found = await self.app.store.read(lambda q: q.deliveries(DeliveryFilter(channel="dba")))
        return [delivery.state for delivery in found][::-1]

    async def latest(self) -> str:
        """Return the id of the latest event of job-1."""
        routed = await self.app.store.read(lambda q: q.latest_event("prod", "job-1"))
        assert routed
        return routed.event.id


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with slack_server() as running_server:
        running_server.scopes = "chat:write,channels:history,commands,users:read,usergroups:read,im:write"
        running_server.channels |= {"U0ALICE"}  # people can be written to
        yield running_server


def configuration(slack: SlackServer, store: str, allow: str = "") -> Config:
    known = {"STORE": store, "TOKEN": TOKEN, "CHANNEL": CHANNEL, "API": slack.api_url, "APP_TOKEN": APP_TOKEN}
    return loads(CONFIGURATION.replace("ALLOWED", allow), known)


@pytest.fixture
async def harness(slack: SlackServer, store_url: str, clock: FakeClock) -> AsyncIterator[Harness]:
    async with open_app(configuration(slack, store_url), clock=clock) as app:
        yield Harness(app, clock, slack)


@asynccontextmanager
async def connected(harness: Harness) -> AsyncIterator[SlackServer]:
    """Open the transports, and wait until Slack can reach them."""
    async with open_endpoints(harness.app, harness.changed.set) as transports:
        tasks = [asyncio.ensure_future(transport.run()) for transport in transports]
        try:
            await harness.slack.connected.wait()
            yield harness.slack
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def headline(message: Json) -> str:
    return next(mrkdwn_texts(message))


def elements(message: Json) -> list[Json]:
    return [element for block in blocks_of(message) if block["type"] == "actions" for element in block["elements"]]


def actions(message: Json) -> list[str]:
    return [element["action_id"] for element in elements(message)]


def shown_text(message: Json | None) -> str:
    assert message is not None
    return "\n".join(mrkdwn_texts(message))


# ---- one live message a task ----


async def test_a_task_has_one_live_message_and_every_step_in_its_thread(harness: Harness) -> None:
    await harness.see(running())
    assert headline(harness.channel[0]).startswith("🔵 *Instance creation started on* ")
    await harness.see(running(50))
    (message,) = harness.channel
    assert headline(message).startswith("🔵 *Instance creation is at 50% on* ")
    assert any(text.startswith("▓▓▓▓▓▓░░░░░░ 50%") for text in mrkdwn_texts(message))
    await harness.see(failed())
    (message,) = harness.channel
    assert headline(message).startswith("🔴 *Instance creation failed on* ")
    assert actions(message) == ["acknowledge", "console", "mute", "details"]
    assert [headline(step).partition(" on*")[0] for step in harness.thread] == [
        "🔵 *Instance creation is at 50%",
        "🔴 *Instance creation failed",
    ]
    assert [step.get("reply_broadcast", False) for step in harness.thread] == [False, True]
    assert not any("<!channel>" in text for one in harness.slack.messages for text in mrkdwn_texts(one))
    assert await harness.states() == [DeliveryState.DELIVERED] * 3


async def test_an_end_that_is_good_is_shown_quietly(harness: Harness) -> None:
    await harness.see(running())
    await harness.see(completed())
    (message,) = harness.channel
    assert headline(message).startswith("🟢 *Instance creation completed on* ")
    assert not any(step.get("reply_broadcast") for step in harness.thread)


async def test_a_restart_goes_on_with_the_same_message(harness: Harness) -> None:
    await harness.see(running())
    await harness.restart()
    await harness.see(failed())
    assert len(harness.channel) == 1


async def test_undelivered_progress_gives_way(harness: Harness) -> None:
    await harness.see(running())
    harness.source.tasks = [running(50)]
    await harness.service.polling.poll(harness.source, force=True)
    harness.source.tasks = [failed()]
    await harness.service.polling.poll(harness.source, force=True)
    await harness.tell()
    assert await harness.states() == [DeliveryState.DELIVERED, DeliveryState.SUPERSEDED, DeliveryState.DELIVERED]
    ledger = await harness.app.store.read(lambda q: q.ledger())
    assert ledger.unaccounted == ()


async def test_a_message_that_somebody_deleted_becomes_a_new_one(harness: Harness) -> None:
    await harness.see(running())
    harness.slack.delete(harness.slack.ts_of(0))
    await harness.see(failed())
    (message,) = harness.channel
    assert headline(message).startswith("🔴 *Instance creation failed on* ")
    await harness.see(running())
    assert headline(harness.channel[0]).startswith("🔵 *Instance creation restarted on* ")


async def test_a_change_whose_answer_was_lost_is_made_again(harness: Harness) -> None:
    await harness.see(running())
    harness.source.tasks = [completed()]
    await harness.service.polling.poll(harness.source, force=True)
    await asyncio.gather(*(worker.drain() for worker in harness.service.delivering._workers))
    harness.slack.faults.append(ACCEPTED_THEN_SILENT)  # the change
    await harness.tell()
    await harness.tell()
    message = harness.channel[0]
    assert headline(message).startswith("🟢 *Instance creation completed on* ")


async def test_a_storm_is_one_message_and_live_messages_show_the_end(harness: Harness) -> None:
    await harness.see(running())
    await harness.see(failed(), *(failed(f"job-{n}") for n in range(2, 40)))
    message, storm = harness.channel
    assert headline(message).startswith("🔴 *Instance creation failed on* ")
    assert headline(storm).startswith("🚨 *39 tasks failed within 3 min*")
    listed = [step for step in harness.thread if headline(step).startswith("🚨 ")]
    named = "\n".join(text for one in (storm, *listed) for text in shown_texts(one))
    assert set(re.findall(r"job-\d+", named)) == {f"job-{n}" for n in range(1, 40)}
    assert not any("reply_broadcast" in one for one in listed)


async def test_a_live_message_moves_even_if_no_route_takes_the_event(
    slack: SlackServer, sqlite_url: str, clock: FakeClock
) -> None:
    config = configuration(slack, sqlite_url)
    failures = Route(name="failures", match=(Matcher(field="type", op="=", value="task.failed"),), channels=("dba",))
    async with open_app(config.model_copy(update={"routes": (failures,)}), clock=clock) as app:
        harness = Harness(app, clock, slack)
        await harness.see(running())
        assert slack.messages == []
        await harness.see(failed())
        await harness.see(running())
        (message,) = slack.messages
        assert headline(message).startswith("🔵 *Instance creation restarted on* ")


# ---- clicks ----


async def test_the_first_acknowledgement_is_shown_to_a_second_person(harness: Harness) -> None:
    await harness.see(running())
    await harness.see(failed())
    event = await harness.latest()
    async with connected(harness) as slack:
        await harness.click("acknowledge", event)
        await harness.tell()
        (message,) = harness.channel
        assert "acknowledge" not in actions(message)
        assert headline(message).startswith("✅ alice, <!date^")
        await slack.click("acknowledge", event, user="U0BOB")
        assert "`alice` has acknowledged this" in shown_text(await slack.replies.get())
        await slack.click("acknowledge", event)
        assert shown_text(await slack.replies.get()) == "*You have acknowledged this*"


async def test_the_copy_in_the_channel_has_buttons_and_changes_with_the_message(harness: Harness) -> None:
    await harness.see(running())
    await harness.see(failed())
    event = await harness.latest()
    copy = harness.slack.ts_of(1)

    def both() -> tuple[str, list[str]]:
        message, shown = harness.slack.messages[0], harness.slack.at(copy)
        for name in ("text", "blocks", "attachments"):
            assert shown[name] == message[name]
        return message["attachments"][0]["color"], actions(shown)

    red, buttons = both()
    assert buttons[0] == "acknowledge"
    async with connected(harness) as slack:
        await harness.click("acknowledge", event, ts=copy)
        await harness.tell()
        grey, buttons = both()
        assert (buttons[0], grey != red) == ("unacknowledge", True)
        await harness.click("unacknowledge", event, "U0BOB", ts=copy)
        await harness.tell()
        assert both() == (red, ["acknowledge", *buttons[1:]])
        assert slack.replies.empty()  # the copy itself shows what was done
        await harness.click("mute", f"2h:{event}", ts=copy)
        await harness.tell()
        assert "unmute" in both()[1]
        await harness.click("unmute", event, ts=copy)
    edits = len(harness.slack.edits)
    await harness.see(running())
    assert "acknowledge" not in both()[1]
    assert len(harness.slack.edits) == edits + 2
    await harness.see(running(50))
    assert [edit["ts"] for edit in harness.slack.edits[edits + 2 :]] == [harness.slack.ts_of(0)]  # progress costs one
    await harness.see(completed())
    green, buttons = both()
    assert (green not in (red, grey), "acknowledge" in buttons) == (True, False)
    assert [step.get("reply_broadcast", False) for step in harness.thread] == [True, False, False, True]
    assert actions(harness.thread[-1]) == ["console"]
    await harness.see(running())
    await harness.see(completed())  # nothing bad has been reported since
    assert not harness.thread[-1].get("reply_broadcast")


async def test_the_end_of_a_failure_that_began_the_message_is_shown_too(harness: Harness) -> None:
    await harness.see(failed())
    await harness.see(running())
    await harness.see(completed())
    assert [step.get("reply_broadcast", False) for step in harness.thread] == [False, True]


async def test_a_copy_that_somebody_deleted_is_left_alone(harness: Harness) -> None:
    await harness.see(running())
    await harness.see(failed())
    harness.slack.delete(harness.slack.ts_of(1))
    await harness.see(running())
    posted = len(harness.slack.messages)
    edits = len(harness.slack.edits)
    await harness.see(completed())
    assert len(harness.slack.edits) == edits + 1
    assert len(harness.slack.messages) == posted + 1


async def test_a_copy_whose_answer_was_lost_is_found_and_changes(harness: Harness) -> None:
    await harness.see(running())
    harness.source.tasks = [failed()]
    await harness.service.polling.poll(harness.source, force=True)
    harness.slack.faults.append(ACCEPTED_THEN_SILENT)
    harness.slack.now = harness.clock.now().timestamp()
    await harness.tell()
    harness.clock.advance(timedelta(minutes=5))
    await harness.tell()
    assert [step.get("reply_broadcast") for step in harness.thread] == [True]
    copy = harness.slack.ts_of(1)
    async with connected(harness):
        await harness.click("acknowledge", await harness.latest(), ts=copy)
        await harness.tell()
    assert actions(harness.slack.at(copy))[0] == "unacknowledge"


async def test_a_storm_is_acknowledged_and_listed_as_a_whole(harness: Harness) -> None:
    await harness.see(running())
    await harness.see(*(failed(f"job-{n}") for n in range(2, 40)))
    storm = harness.channel[-1]
    values = {element["action_id"]: element["value"] for element in elements(storm) if "value" in element}
    async with connected(harness) as slack:
        await slack.click("storm_tasks", values["storm_tasks"])
        listed = await slack.replies.get()
        assert listed["response_type"] == "ephemeral"
        assert "*38 tasks" in shown_text(listed)
        await harness.click("ack_storm", values["ack_storm"])
        await harness.tell()
        assert headline(harness.channel[-1]).startswith("✅ alice, <!date^")
        assert "ack_storm" not in actions(harness.channel[-1])


async def test_a_click_on_a_message_that_never_changes_is_answered(
    slack: SlackServer, sqlite_url: str, clock: FakeClock
) -> None:
    config = configuration(slack, sqlite_url)
    (channel,) = config.channels
    never = config.model_copy(update={"channels": [channel.model_copy(update={"style": "thread"})]})
    async with open_app(never, clock=clock) as app:
        harness = Harness(app, clock, slack)
        await harness.see(running())
        await harness.see(failed())
        event = await harness.latest()
        async with connected(harness):
            await harness.click("acknowledge", event)
            assert shown_text(await slack.replies.get()) == "*You have acknowledged this*"
            await harness.click("unacknowledge", event, ts=slack.ts_of(1))
            assert shown_text(await slack.replies.get()) == "The acknowledgement by `alice` is taken back"
        await harness.tell()
        assert slack.edits == []


async def test_two_simultaneous_clicks_are_one_acknowledgement(harness: Harness) -> None:
    await harness.see(failed())
    event = await harness.latest()
    async with connected(harness) as slack:
        await asyncio.gather(slack.click("acknowledge", event), slack.click("acknowledge", event, user="U0BOB"))
        assert "has acknowledged this" in shown_text(await slack.replies.get())
        assert slack.replies.empty()


async def test_a_click_on_an_old_message_gets_its_present_state(harness: Harness) -> None:
    await harness.see(failed())
    event = await harness.latest()
    await harness.see(running())
    await harness.see(completed())
    async with connected(harness) as slack:
        await slack.click("acknowledge", event)
        assert "This is over: Instance creation completed" in shown_text(await slack.replies.get())
        await slack.click("acknowledge", "no such event")
        assert "is no longer recorded" in shown_text(await slack.replies.get())


async def test_a_muted_instance_is_not_notified_but_its_message_shows_the_end(harness: Harness) -> None:
    await harness.see(running())
    event = await harness.latest()
    async with connected(harness) as slack:
        await slack.click("mute", f"2h:{event}")
        assert f"`{INSTANCE}` is muted until" in shown_text(await slack.replies.get())
        await harness.tell()
        assert "unmute" in actions(harness.channel[0])
        await harness.see(failed())
        assert headline(harness.channel[0]).startswith("🔴 *Instance creation failed on* ")
        assert harness.thread == []
        assert (await harness.states())[-1] is DeliveryState.SUPPRESSED
        await slack.click("unmute", await harness.latest())
        assert "is no longer muted" in shown_text(await slack.replies.get())
        await harness.tell()
        assert "mute" in actions(harness.channel[0])


async def test_details_are_shown_to_their_requester_and_can_be_shared(harness: Harness) -> None:
    await harness.see(failed())
    async with connected(harness) as slack:
        await slack.click("details", "prod/job-1")
        reply = await slack.replies.get()
        assert reply["response_type"] == "ephemeral"
        assert "Instance creation · `gauss-6568-zzh`: Failed" in shown_text(reply)
        assert "```The quota of vCPUs is exceeded: 64 &lt; 72 &lt;!channel&gt;```" in shown_text(reply)
        await slack.click("share", "0:task job-1")
        assert (await slack.replies.get())["response_type"] == "in_channel"


async def test_only_listed_people_may_make_changes(slack: SlackServer, sqlite_url: str, clock: FakeClock) -> None:
    slack.groups["S0DBA"] = ["U0CAROL"]
    config = configuration(slack, sqlite_url, "U0ALICE, S0DBA")
    async with open_app(config, clock=clock) as app:
        harness = Harness(app, clock, slack)
        await harness.see(failed())
        event = await harness.latest()
        async with connected(harness):
            await slack.click("acknowledge", event, user="U0MALLORY")
            assert "not on the list of people" in shown_text(await slack.replies.get())
            assert "not on the list" in shown_text(await slack.type_command(f"mute {INSTANCE} 2h", user="U0MALLORY"))
            assert "is muted until" in shown_text(await slack.type_command(f"mute {INSTANCE} 2h", user="U0CAROL"))


# ---- commands ----


async def test_commands_are_answered_over_socket_mode(harness: Harness) -> None:
    await harness.see(failed(), *(running(40, f"job-{n}") for n in range(2, 14)))
    async with connected(harness) as slack:
        failures = await slack.type_command("failed 24h")
        assert failures is not None
        assert failures["response_type"] == "ephemeral"
        assert shown_text(failures).startswith("*1 task failed in the last 24 h*")
        running_ones = await slack.type_command("running")
        assert shown_text(running_ones).startswith("*12 tasks running*")
        assert "1–10 of 12" in shown_text(running_ones)
        await slack.click("page_after", "10:running")
        page = await slack.replies.get()
        assert page["replace_original"] is True
        assert "11–12 of 12" in shown_text(page)
        assert "Did you mean: `/gaussdb failed 24h`" in shown_text(await slack.type_command("faild 24h"))
        assert shown_text(await slack.type_command("status")).startswith("*All is well*")
        assert shown_text(await slack.type_command("help")).startswith("*Commands, typed after /gaussdb*")
        assert "1 completed" not in shown_text(await slack.type_command("stats"))


async def test_both_transports_lead_to_the_same_responder(
    slack: SlackServer, sqlite_url: str, clock: FakeClock
) -> None:
    port = free_port()
    config = configuration(slack, sqlite_url)
    chat = config.chat.slack
    assert chat is not None
    by_http = chat.model_copy(update={"mode": "http", "signing_secret": SecretStr(SIGNING_SECRET)})
    web = WebSettings(listen=f"127.0.0.1:{port}")
    config = config.model_copy(update={"chat": ChatSettings(slack=by_http), "web": web})
    async with open_app(config, clock=clock) as app, open_endpoints(app, lambda: None), httpx.AsyncClient() as client:
        await Harness(app, clock, slack).see(failed())
        url = f"http://127.0.0.1:{port}"
        form = urlencode(command_form("failed 24h", "U0ALICE", slack.response_url)).encode()
        answer = await client.post(f"{url}/slack/commands", content=form, headers=signed(form, clock))
        assert shown_text(answer.json()).startswith("*1 task failed in the last 24 h*")
        payload = click_payload("details", "prod/job-1", "U0ALICE", slack.response_url)
        form = urlencode({"payload": json.dumps(payload)}).encode()
        answer = await client.post(f"{url}/slack/interactions", content=form, headers=signed(form, clock))
        assert (answer.status_code, answer.content) == (200, b"")
        assert "gauss-6568-zzh" in shown_text(await slack.replies.get())
        forged = signed(form, clock) | {"X-Slack-Signature": f"v0={'0' * 64}"}
        assert (await client.post(f"{url}/slack/interactions", content=form, headers=forged)).status_code == 401


async def test_a_chinese_reader_is_answered_in_chinese(harness: Harness) -> None:
    harness.slack.locales["U0ALICE"] = "zh-CN"
    async with connected(harness) as slack:
        await slack.type_command("running")
        await slack.asked("users.info")
        replies = [shown_text(await slack.type_command("running")) for _ in range(20)]  # while the answer is read
        assert replies[-1].startswith("*没有正在运行的任务*")


async def test_a_subscriber_gets_a_message_when_a_task_ends(harness: Harness) -> None:
    await harness.see(running())
    async with connected(harness) as slack:
        assert "direct message when this task ends" in shown_text(await slack.type_command("watch job-1"))
        assert "already waiting" in shown_text(await slack.type_command("watch job-1"))
    await harness.see(completed())
    direct = [message for message in harness.slack.messages if message["channel"] == "U0ALICE"]
    assert [headline(message).partition(" on*")[0] for message in direct] == ["🟢 *Instance creation completed"]
    assert (await harness.app.store.read(lambda q: q.ledger())).unaccounted == ()


async def direct_to(harness: Harness, id_: str) -> list[str]:
    """Return the headlines that somebody, or a channel, has got."""
    return [headline(one).partition(" on*")[0] for one in harness.slack.messages if one["channel"] == id_]


async def test_a_person_gets_each_event_that_fits_once(harness: Harness) -> None:
    async with connected(harness) as slack:
        for text in ("gauss-* failed", "failed", "source=prod"):
            assert "direct message about" in shown_text(await slack.type_command(f"subscribe {text}"))
        assert "direct message about" in shown_text(await slack.type_command("subscribe other-*", user="U0BOB"))
        assert shown_text(await slack.type_command("subscriptions")).startswith("*Your subscriptions: 3*")
        await harness.see(running())
        await harness.see(failed())
        assert await direct_to(harness, "U0ALICE") == ["🔴 *Instance creation failed"]
        assert await direct_to(harness, "U0BOB") == []
        assert "subscriptions have ended" in shown_text(await slack.type_command("unsubscribe all"))
    await harness.see(failed("job-2"))
    assert len(await direct_to(harness, "U0ALICE")) == 1
    assert (await harness.app.store.read(lambda q: q.ledger())).unaccounted == ()


async def test_a_channel_gets_what_it_subscribed_to_unless_its_instance_is_muted(harness: Harness) -> None:
    harness.slack.channels.add("C0OTHER")
    async with connected(harness) as slack:
        reply = await slack.type_command("subscribe here gauss-* failed", channel="C0OTHER")
        assert "This channel will get messages" in shown_text(reply)
        await slack.type_command("subscribe failed")
        await harness.see(failed())
        assert len(await direct_to(harness, "C0OTHER")) == 1
        await slack.type_command(f"mute {INSTANCE} 2h")
        await harness.see(failed("job-2"))
    assert (len(await direct_to(harness, "C0OTHER")), len(await direct_to(harness, "U0ALICE"))) == (1, 2)
    assert (await harness.app.store.read(lambda q: q.ledger())).unaccounted == ()


@pytest.mark.parametrize(("scopes", "told"), [("", "Invite it first"), (",chat:write.public", "This channel will get")])
async def test_a_channel_that_the_bot_may_not_post_to_is_not_subscribed(
    harness: Harness, scopes: str, told: str
) -> None:
    harness.slack.channels.add("C0OTHER")
    harness.slack.member = False
    harness.slack.scopes += scopes
    async with connected(harness) as slack:
        assert told in shown_text(await slack.type_command("subscribe here failed", channel="C0OTHER"))
        assert "Invite it first" in shown_text(await slack.type_command("subscribe here failed", channel="G0PRIVATE"))
        harness.slack.broken_methods["conversations.history"] = HTML_500
        assert "This channel" in shown_text(await slack.type_command("subscribe here failed", channel="G0PRIVATE"))


async def test_a_configured_channel_that_subscribes_gets_nothing_twice(harness: Harness) -> None:
    async with connected(harness) as slack:
        await slack.type_command("subscribe here failed")
    await harness.see(failed())
    assert len(harness.slack.messages) == 1


@pytest.mark.parametrize(
    ("who", "code", "ends"),
    [
        ("U0ALICE", "user_disabled", True),
        ("U0ALICE", "channel_not_found", True),
        ("C0OTHER", "is_archived", True),
        ("C0OTHER", "not_in_channel", False),
        ("C0OTHER", "channel_not_found", False),
    ],
)
async def test_a_subscription_ends_when_its_receiver_is_gone(
    harness: Harness, *, who: str, code: str, ends: bool
) -> None:
    harness.slack.channels.add("C0OTHER")
    async with connected(harness) as slack:
        here = "here " if who.startswith("C") else ""
        await slack.type_command(f"subscribe {here}failed", channel="C0OTHER")
    harness.slack.refusing[who] = code
    await harness.see(failed())
    (dead,) = await harness.app.store.read(lambda q: q.deliveries(DeliveryFilter(channel=f"dm:{who}")))
    assert (dead.state, (dead.reason or "").startswith(f"Slack: {code}")) == (DeliveryState.DEAD, True)
    assert "invite the bot" in (dead.reason or "") or code not in ("not_in_channel", "channel_not_found")
    left = await harness.app.store.read(lambda q: q.event_subscriptions())
    newest = (await harness.app.store.read(lambda q: q.actions(1)))[0]
    assert (len(left), newest.verb, newest.by) == (
        (0, "unsubscribe", "notifier") if ends else (1, "subscribe", newest.by)
    )
    assert (await harness.app.store.read(lambda q: q.ledger())).unaccounted == ()


async def test_a_storm_is_few_messages_to_a_subscriber(harness: Harness) -> None:
    async with connected(harness) as slack:
        await slack.type_command("subscribe failed")
    await harness.see(*(failed(f"job-{n}") for n in range(600)))
    assert len(await direct_to(harness, "U0ALICE")) <= 5
    assert (await harness.app.store.read(lambda q: q.ledger())).unaccounted == ()


async def test_a_lost_connection_is_opened_again(harness: Harness) -> None:
    async with connected(harness) as slack:
        old = slack.sockets[-1]
        await old.send_json({"type": "disconnect", "reason": "refresh_requested"})
        await slack.another_connection(old)
        assert shown_text(await slack.type_command("help")).startswith("*Commands, typed after /gaussdb*")
