"""A storm: two thousand failures within five polls, from the cloud's socket to every channel, each task named once."""

from __future__ import annotations

import asyncio
import io
import json
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

from fakes import FakeClock
from servers.http import HttpServer, reply
from servers.moments import Moments
from servers.receiver import SECRET, Receiver
from servers.slack import APP_TOKEN, CHANNEL, TOKEN, Json, SlackServer, blocks_of, shown_texts, slack_server
from servers.smtp import SmtpServer

from notifier.chat.replies import PAGE_ROWS
from notifier.config import loading as configuration
from notifier.core.delivery import DeliveryState
from notifier.ports import EventFilter, Ledger
from notifier.service.service import Service, poll_and_deliver
from notifier.service.stats import Summary
from notifier.simulator import Options, Simulator
from notifier.store.queries import Queries
from notifier.wiring.app import App, open_app, open_endpoints

POLLS, FAILURES, LAST = 5, 400, 3
TOTAL = POLLS * FAILURES + LAST
BACKLOG = 300
INSTANCES = 60
CHANNELS = ("chat", "mail", "team", "tickets")

CONFIGURATION = f"""
language: ${{LANGUAGE}}
timezone: Asia/Shanghai
store: {{url: "${{STORE}}"}}
sources:
  - name: prod
    kind: gaussdb
    environment: production
    region: cn-north-4
    endpoint: ${{CLOUD}}
    project_id: {Options().project_id}
    auth: {{kind: aksk, access_key: {Options().access_key}, secret_key: {Options().secret_key}}}
    poll_every: 30s
    calls_per_minute: 10000
channels:
  - {{name: chat, kind: slack, bot_token: {TOKEN}, channel: {CHANNEL}, api_url: "${{SLACK}}/api/"}}
  - {{name: mail, kind: email, host: 127.0.0.1, port: "${{SMTP}}", security: none,
     from: GaussDB notifier <gaussdb@example.com>, to: [dba@example.com]}}
  - {{name: team, kind: mattermost, webhook_url: "${{TEAM}}"}}
  - {{name: tickets, kind: webhook, url: "${{TICKETS}}", secret: "{SECRET}"}}
routes:
  - {{name: everything, match: ["type=~task[.].*"], channels: [{", ".join(CHANNELS)}]}}
alerts: {{channels: []}}
chat: {{slack: {{app_token: {APP_TOKEN}, api_url: "${{SLACK}}/api/", allow: [U0ALICE]}}}}
"""

REASONS = (
    ("BackupSnapshotGaussDBV5InInstance", "Failed to upload the backup to OBS. Error code: OBS.0503."),
    ("BackupSnapshotGaussDBV5InInstance", "The KMS key is disabled or pending deletion. Error code: KMS.0405."),
    ("CreateGaussDBV5Instance", "The vCPU quota is not enough: {} more are needed."),
)
"""Operations with the reasons of their failures."""
SHARES = (240, 100, 60)
"""How many of a poll's failures have which reason."""

_ID = re.compile(r"\b[0-9a-f]{8}\b")
"""The beginning of a job id, as messages show it."""


def job_id(number: int, kind: str = "failed") -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{kind} {number}"))


ALL = [job_id(number)[:8] for number in range(TOTAL)]
FAILED = frozenset(ALL)
EXPECTED = Counter([*ALL, *(job_id(number, "completed")[:8] for number in range(BACKLOG))])
"""Each task once."""
DIGESTS = BACKLOG // 100
"""Messages that report the completions."""
SOME = 35
"""Failures of a smaller storm."""
LISTS = 2
"""Messages in the thread of Slack's message that list the failures of one poll."""
POST_LIMIT = 16_383
"""Maximum length of a post of Mattermost, in characters."""


def wire_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S+0000")


def failure(number: int, at: datetime) -> Json:
    """Return a failed task as the API writes it. Of the failures of one poll, SHARES have each reason."""
    place = number % FAILURES
    which = sum(place >= sum(SHARES[: n + 1]) for n in range(len(SHARES)))
    operation, reason = REASONS[which]
    return row(job_id(number), operation, "Failed", number, at) | {"fail_reason": reason.format(number)}


def completion(number: int, at: datetime) -> Json:
    return row(job_id(number, "completed"), "ResizeGaussDBV5Flavor", "Completed", number, at)


def row(job: str, operation: str, status: str, number: int, at: datetime) -> Json:
    instance = number % INSTANCES
    return {
        "job_id": job,
        "name": operation,
        "status": status,
        "instance_info": {"instance_id": f"{instance:032x}in14", "instance_name": f"prod-orders-{instance:02}"},
        "created_at": wire_time(at - timedelta(minutes=2)),
        "ended_at": wire_time(at),
    }


# ---- the house ----


@dataclass(frozen=True, kw_only=True)
class Harness:
    """A notifier, the cloud that it polls, and the far ends of its channels."""

    app: App
    clock: FakeClock
    cloud: Simulator
    slack: SlackServer
    smtp: SmtpServer
    team: HttpServer
    tickets: Receiver
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when somebody has changed something from the chat."""

    async def poll(self, rows: Iterable[Json] = (), *, deliver: bool = True) -> Summary:
        """Let the cloud list these tasks too, half a minute later, poll it and deliver."""
        self.clock.advance(timedelta(seconds=30))
        for one in rows:
            self.cloud.cloud.world.put(one)
        return await poll_and_deliver(self.app, deliver=deliver)

    async def poll_failures(self, first: int, count: int) -> Summary:
        """Poll when so many more tasks have failed within the last half minute."""
        ended = [self.clock.now() + timedelta(seconds=30 * n // count) for n in range(count)]
        return await self.poll(failure(first + n, ended[n]) for n in range(count))

    async def ledger(self) -> Ledger:
        return await self.app.store.read(lambda q: q.ledger())

    # -- what was received --

    @property
    def counts(self) -> dict[str, int]:
        """How many messages have come out at each of the far ends."""
        return {
            "chat": len(self.slack.messages),
            "mail": len(self.smtp.mails),
            "team": len(self.team.requests),
            "tickets": len(self.tickets.received),
        }

    @property
    def storm_messages(self) -> list[Json]:
        return [message for message in self.in_channel if "ack_storm" in actions(message)]

    @property
    def in_channel(self) -> list[Json]:
        return [message for message in self.slack.messages if "thread_ts" not in message]

    @property
    def in_thread(self) -> list[Json]:
        return [message for message in self.slack.messages if "thread_ts" in message]

    @property
    def mails(self) -> list[EmailMessage]:
        parser = BytesParser(EmailMessage, policy=policy.default)
        return [parser.parsebytes(mail.content) for mail in self.smtp.mails]

    @property
    def posts(self) -> list[Json]:
        """What Mattermost received."""
        return [json.loads(request.body) for request in self.team.requests]


@asynccontextmanager
async def house(store_url: str, language: str = "en") -> AsyncIterator[Harness]:
    """Open the whole program. Its time begins before the present: receivers refuse what is five minutes from theirs."""
    clock = FakeClock(datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=4))
    async with (
        slack_server() as slack,
        SmtpServer() as smtp,
        HttpServer(reply(200, b"ok")) as team,
        Receiver(Moments()) as tickets,
        Simulator(Options(static=0)) as cloud,
    ):
        environ = {
            "STORE": store_url,
            "CLOUD": cloud.url,
            "LANGUAGE": language,
            "SLACK": slack.url,
            "SMTP": str(smtp.port),
            "TEAM": team.url("/hooks/obviously-fake"),
            "TICKETS": tickets.url("/hooks/gaussdb"),
        }
        async with open_app(configuration.loads(CONFIGURATION, environ), exclusive=True, clock=clock) as app:
            yield Harness(app=app, clock=clock, cloud=cloud, slack=slack, smtp=smtp, team=team, tickets=tickets)


@asynccontextmanager
async def connected(at: Harness) -> AsyncIterator[SlackServer]:
    """Open the chat, and wait until Slack can reach it."""
    async with open_endpoints(at.app, at.changed.set) as transports:
        tasks = [asyncio.ensure_future(transport.run()) for transport in transports]
        try:
            await at.slack.connected.wait()
            yield at.slack
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def part_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content


def post_text(post: Json) -> str:
    """Return everything that Mattermost shows of a post."""
    attachments = [attachment["text"] for attachment in post.get("attachments", ())]
    return "\n".join((post["text"], *attachments))


def shown_text(message: Json) -> str:
    return "\n".join(shown_texts(message))


def elements(message: Json) -> list[Json]:
    """Return the buttons of a message."""
    return [one for block in blocks_of(message) if block["type"] == "actions" for one in block["elements"]]


def actions(message: Json) -> list[str]:
    return [element["action_id"] for element in elements(message)]


def value_of(message: Json, action: str) -> str:
    """Return what a click on a button sends; the empty string where the message has no such button."""
    return next((element["value"] for element in elements(message) if element["action_id"] == action), "")


# ---- the tests ----


async def test_a_storm_reaches_every_channel_and_every_task_is_named_once(
    sqlite_url: str, records: io.StringIO
) -> None:
    async with house(sqlite_url) as at:
        assert (await at.poll()).events == 0
        waiting = await at.poll((completion(n, at.clock.now()) for n in range(BACKLOG)), deliver=False)
        assert (waiting.events, waiting.deliveries) == (BACKLOG, 0)
        for number in range(POLLS):
            summary = await at.poll_failures(number * FAILURES, FAILURES)
            assert (summary.events, summary.failures) == (FAILURES, 0)
            check_storm_message(at, FAILURES * (number + 1), edits=number + 1)
        before = at.counts
        assert (await at.poll_failures(POLLS * FAILURES, LAST)).events == LAST
        check_storm_message(at, POLLS * FAILURES, edits=POLLS + 1, over=True)
        assert at.counts == {name: count + LAST for name, count in before.items()}
        assert (await at.poll()).events == 0
        assert at.counts == {name: count + LAST for name, count in before.items()}
        check_slack(at)
        check_mail(at)
        check_posts(at)
        check_webhooks(at)
        check_ledger(await at.ledger())
    assert "error" not in records.getvalue()


async def test_one_click_lists_a_storm_and_another_takes_charge_of_it(store_url: str) -> None:
    async with house(store_url) as at:
        await at.poll()
        await at.poll_failures(0, SOME)
        (message,) = at.storm_messages
        ts = at.slack.ts_of(at.slack.messages.index(message))
        red = message["attachments"][0]["color"]
        async with connected(at) as slack:
            await slack.click("storm_tasks", value_of(message, "storm_tasks"), user="U0BOB", ts=ts)
            pages = [await slack.replies.get()]
            while following := value_of(pages[-1], "page_after"):
                await slack.click("page_after", following, user="U0BOB", ts=ts)
                pages.append(await slack.replies.get())
            assert len(pages) == -(-SOME // PAGE_ROWS)
            assert Counter(job for page in pages for job in rows_of(page)) == Counter(ALL[:SOME])

            at.changed.clear()
            await slack.click("ack_storm", value_of(message, "ack_storm"), ts=ts)
            await at.changed.wait()
            assert slack.replies.empty()
        await Service(at.app).delivering.drain()
        assert next(shown_texts(message)).startswith("✅ alice, ")
        assert (actions(message), message["attachments"][0]["color"] != red) == (["storm_tasks", "console"], True)
        taken = await at.app.store.read(acknowledged_by)
        assert taken == ["alice"] * SOME

        await at.poll_failures(SOME, SOME)
        assert next(shown_texts(message)).startswith(f"🚨 *{2 * SOME} tasks failed ")
        assert value_of(message, "ack_storm")


def rows_of(page: Json) -> list[str]:
    """Return the beginning of the job id of each row of a list: that of its button for details."""
    accessories = [block["accessory"] for block in blocks_of(page) if "accessory" in block]
    return [job for one in accessories if one["action_id"] == "details" for job in _ID.findall(one["value"])]


def acknowledged_by(queries: Queries) -> list[str]:
    """Return who acknowledged each failure that has been acknowledged."""
    found = [queries.acknowledgement(routed.event.id) for routed in queries.events(EventFilter(limit=TOTAL))]
    return [one.name for one in found if one]


def check_storm_message(at: Harness, total: int, *, edits: int, over: bool = False) -> None:
    """There is one message about the storm, which tells the present state of it, at first sight and in a push."""
    (message,) = at.storm_messages
    assert len(at.slack.edits) == edits
    first, *_ = shown_texts(message)
    assert first.startswith(f"🚨 *{total} tasks failed within ")
    assert [mark in first for mark in ("still rising", "over")] == [not over, over]
    counts = [f"{total * share // FAILURES} ×" for share in SHARES]
    reasons = [f"{counts[0]} OBS.0503", f"{counts[1]} KMS.0405", counts[2]]
    assert message["text"].startswith(f"🚨 PROD: {total} tasks failed within ")
    for text in (message["text"], shown_text(message)):
        found = [text.index(reason) for reason in reasons]
        assert found == sorted(found)
        assert f"{INSTANCES} instances" in text
    assert actions(message) == ["ack_storm", "storm_tasks", "console"]


def check_slack(at: Harness) -> None:
    """One message in the channel, a few lists in its thread; the completions and the last failures beside it."""
    (storm,) = at.storm_messages
    ts = at.slack.ts_of(at.slack.messages.index(storm))
    assert {message["thread_ts"] for message in at.in_thread} == {ts}
    assert not any(message.get("reply_broadcast") for message in at.in_thread)
    assert len(at.in_thread) == POLLS * LISTS
    assert len(at.in_channel) == 1 + DIGESTS + LAST
    check_names([shown_text(message) for message in at.slack.messages])


def check_mail(at: Harness) -> None:
    assert len(at.mails) == POLLS + DIGESTS + LAST
    for kind in ("plain", "html"):
        check_names([part_of(mail, kind) for mail in at.mails])
    first, *later = [
        str(mail["Subject"]) for mail in at.mails if "tasks failed" in mail["Subject"] or "+" in mail["Subject"]
    ]
    assert first.startswith(f"✗ {FAILURES} tasks failed (PROD): {SHARES[0]} × OBS.0503")
    totals = [FAILURES * number for number in range(2, POLLS + 1)]
    for subject, total in zip(later, totals, strict=True):
        assert subject.startswith(f"✗ +{FAILURES} failures, now {total} (PROD): ")


def check_posts(at: Harness) -> None:
    """One post at once with the total, and one for each further poll: Mattermost's limit holds all that one brings."""
    assert len(at.posts) == POLLS + DIGESTS + LAST
    texts = [post_text(post) for post in at.posts]
    check_names(texts)
    assert all(len(text) <= POST_LIMIT for text in texts)
    first, *later = [text.partition("\n")[0] for text in texts if text.startswith("🚨")]
    assert first.startswith(f"🚨 **{FAILURES} tasks failed within ")
    totals = [FAILURES * number for number in range(2, POLLS + 1)]
    for line, total in zip(later, totals, strict=True):
        assert f"+{FAILURES} failures, now {total} since " in line


def check_webhooks(at: Harness) -> None:
    """Each event is posted once, with a valid signature."""
    assert at.tickets.forged == []
    received = at.tickets.received
    assert len(received) == len({one.id for one in received}) == TOTAL + BACKLOG
    jobs = [job_id(number) for number in range(TOTAL)] + [job_id(number, "completed") for number in range(BACKLOG)]
    assert Counter(one.job_id for one in received) == Counter(jobs)
    assert {one.told["type"] for one in received} == {"task.failed", "task.completed"}
    check_failures_first([{one.job_id[:8]} for one in received], in_flight=4)


def check_names(texts: Sequence[str]) -> None:
    """The messages of a channel name each task once, those of the first poll before what had waited longer.

    Only a message about one task may name it more than once.
    """
    names = [_ID.findall(text) for text in texts]
    assert all(len(found) == len(set(found)) or len(set(found)) == 1 for found in names)
    assert Counter(name for found in names for name in set(found)) == EXPECTED
    check_failures_first([set(found) for found in names])


def check_failures_first(names: Sequence[set[str]], in_flight: int = 1) -> None:
    """Before the first completion, the failures of the first poll are named; in_flight - 1 more may overtake them."""
    others = [place for place, found in enumerate(names) if not found <= FAILED]
    before = set().union(*names[: others[in_flight - 1]])
    assert before >= set(ALL[:FAILURES])


def check_ledger(ledger: Ledger) -> None:
    """Every pair is delivered; no route takes the event that monitoring began."""
    events = TOTAL + BACKLOG
    assert (ledger.events, ledger.unrouted, ledger.pairs) == (events + 1, 1, events * len(CHANNELS))
    assert ledger.by_state[DeliveryState.DELIVERED] == ledger.pairs
    assert (ledger.unaccounted, ledger.dead, ledger.oldest_pending) == ((), (), None)
