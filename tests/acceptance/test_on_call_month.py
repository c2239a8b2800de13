"""A month of a team of ten: who got how many messages, and that every failure was reported in time.

The whole program on a store of its own, with Slack, mail, a robot of WeCom and Jira at the far ends, in virtual time.
docs/team.md has the configuration and the figures.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from fakes import FakeClock
from on_call_month import BEGINS, ENDS, SOURCES, ZONE, Month, MonthSource, answered_at
from servers.http import HttpServer, reply
from servers.jira import JiraServer
from servers.slack import CHANNEL, TOKEN, SlackServer, slack_server
from servers.smtp import SmtpServer

from notifier.config import loading as configuration
from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.health_facts import Role
from notifier.core.matchers import parse_matcher
from notifier.core.model import Event
from notifier.core.people import Person
from notifier.core.replays import NIGHT_HOURS, FailureFate, HistoryFigures, RecordedHistory, SentMessage, figures_of
from notifier.core.routing import Route
from notifier.core.windows import parse_window
from notifier.people import acknowledge
from notifier.ports import RenderRequest
from notifier.replay import ReplayRules, VirtualTime, replay
from notifier.schedules import SETTLED_AFTER
from notifier.service.service import Service
from notifier.store.memory import MemoryStore
from notifier.store.transaction import Transaction
from notifier.wiring.app import App, open_app
from notifier.wiring.replays import replay_rules

DOCUMENT = Path(__file__).parents[2] / "docs" / "team.md"
MORNING = timedelta(hours=12)
"""How long after the month what was held is followed."""
DEV_CHANNEL = "C0DEV"
HOOK = "/cgi-bin/webhook/send?key=obviously-fake"

TEAM = """\
timezone: Asia/Shanghai
sources:
  - {name: production, kind: gaussdb, environment: production, region: cn-north-4, project_id: "${PROJECT}",
     auth: {kind: aksk, access_key: "${ACCESS_KEY}", secret_key: "${SECRET_KEY}"}}
  - {name: staging, kind: gaussdb, environment: staging, region: cn-north-4, project_id: "${PROJECT}",
     auth: {kind: aksk, access_key: "${ACCESS_KEY}", secret_key: "${SECRET_KEY}"}}
  - {name: development, kind: gaussdb, environment: development, region: cn-north-4, project_id: "${PROJECT}",
     auth: {kind: aksk, access_key: "${ACCESS_KEY}", secret_key: "${SECRET_KEY}"}}

channels:
  - {name: dba, kind: slack, bot_token: "${SLACK_BOT_TOKEN}", channel: C0GAUSS}
  - {name: developers, kind: slack, bot_token: "${SLACK_BOT_TOKEN}", channel: C0DEV, budget: 10/h}
  - {name: duty, kind: wecom, webhook_url: "${WECOM_URL}"}        # wakes whoever is on duty
  - {name: leads, kind: email, host: mail.example.com, from: gaussdb@example.com,
     to: [lin@example.com, zhao@example.com]}
  - {name: jira, kind: jira, deployment: data_center, url: "${JIRA_URL}", token: "${JIRA_TOKEN}", project: OPS}

rotas:
  - name: dba
    people:
      - {name: Chen, mention: [U0CHEN, "wecom:chen"]}
      - {name: Fang, mention: [U0FANG, "wecom:fang"]}
      - {name: Gao, mention: [U0GAO, "wecom:gao"]}
      - {name: He, mention: [U0HE, "wecom:he"]}
    hands_over: monday 09:00
    first: "2026-06-01"
    announce: [dba]

escalations:
  - name: production
    steps:
      - {after: 30m, channels: [duty], mention: ["@rota:dba"]}
      - {after: 1h, channels: [leads], severity: critical}

routes:
  - name: production            # by day in the channel of the team, at all other hours by a message that wakes
    match: ["environment=production", "type=task.failed"]
    channels: [dba]
    mention: ["@rota:dba"]
    active: weekdays 09:00-18:00
    otherwise: [dba, duty]
    escalate: production
  - name: backups               # a failed backup of production stays a ticket until one succeeds
    match: ["environment=production", "type=task.failed", "name=Backup*"]
    channels: [jira]
  - name: staging               # waits for the morning
    match: ["environment=staging", "type=task.failed"]
    channels: [dba]
    active: weekdays 09:00-18:00
    otherwise: hold
  - name: development           # one message an hour for each instance, in working hours
    match: ["environment=development", "type=task.failed"]
    channels: [developers]
    group_by: [instance]
    wait: 1h
    active: weekdays 09:00-18:00
    otherwise: hold
  - name: changes               # what people have asked for in production, a few at a time
    match: ["environment=production", "type=task.completed", "name!=Backup*"]
    channels: [dba]
    wait: 2h

mutes:
  - name: patches               # staging is restarted while it is patched, so its failures say nothing then
    match: ["environment=staging"]
    cron: "0 1 * * 0"
    length: 3h

reports:
  - {name: week, schedule: "0 9 * * 1", channels: [leads, dba], backup_within: 26h}

alerts: {channels: [dba]}
"""

PLAIN = Route(name="everything", match=(parse_matcher("type=task.*"),), channels=("dba",))
"""The only route of a configuration without any thought."""


@dataclass(frozen=True, kw_only=True)
class Office:
    """The team, its notifier and the far ends of its channels."""

    app: App
    clock: FakeClock
    month: Month
    slack: SlackServer
    smtp: SmtpServer
    robot: HttpServer
    jira: JiraServer

    @property
    def messages(self) -> Mapping[str, int]:
        """How many messages have arrived at each of the far ends; of Jira the tickets."""
        posted = Counter(message["channel"] for message in self.slack.messages)
        return {
            "dba": posted[CHANNEL],
            "developers": posted[DEV_CHANNEL],
            "duty": len(self.robot.requests),
            "leads": len(self.smtp.mails),
            "jira": len(self.jira.tickets),
        }

    async def live_through(self) -> None:
        """Let the month pass: at each moment at which something happens or is due, poll, act and deliver."""
        service = Service(self.app, roles=(Role.POLL, Role.DELIVER))
        await service.start()
        chance = random.Random(7)
        answers: list[tuple[datetime, Event]] = []
        for moment, sources in self.month.moments:
            while (due := await self._due(answers)) < moment:
                self._be_at(due)
                answers = await self._answer(answers)
                await self._work(service)
            self._be_at(moment)
            for name in sources:
                report = await service.polling.poll(self.app.sources[name], force=True, send_heartbeat=False)
                assert report is not None
                answers += called(report.events, chance)
            await self._work(service)
        while (due := await self._due(answers)) < ENDS + MORNING:
            self._be_at(due)
            answers = await self._answer(answers)
            await self._work(service)
        await service.release()

    async def _work(self, service: Service) -> None:
        """Do what a service does every second, and deliver."""
        await service.muting.run()
        await service.reminding.run()
        await service.scheduling.announce_due()
        await service.delivering.drain()

    def _be_at(self, moment: datetime) -> None:
        if moment > self.clock.now():
            self.clock.advance(moment - self.clock.now())

    async def _due(self, answers: list[tuple[datetime, Event]]) -> datetime:
        """Return the next time at which somebody acts or something is due."""
        now = self.clock.now()
        times = await self.app.store.read(lambda q: (q.next_pending(now), q.next_due_failure(), q.next_due_mute()))
        due = [*(at for at in times if at), next_morning(now), next_morning(now) + SETTLED_AFTER]
        return min([*(at for at in due if at > now), *(at for at, _ in answers)], default=ENDS + MORNING)

    async def _answer(self, answers: list[tuple[datetime, Event]]) -> list[tuple[datetime, Event]]:
        now = self.clock.now()
        for at, event in answers:
            if at <= now:
                await self.app.store.transact(partial(_acknowledge, event))
        return [one for one in answers if one[0] > now]


def next_morning(now: datetime) -> datetime:
    """Return when somebody else takes over next, or reports are due: at nine o'clock."""
    today = now.astimezone(ZONE).replace(hour=9, minute=0, second=0, microsecond=0)
    return today if today >= now else today + timedelta(days=1)


def called(events: Iterable[Event], chance: random.Random) -> list[tuple[datetime, Event]]:
    """Return when people acknowledge the failures of production among these events."""
    failed = [one for one in events if one.type is EventType.TASK_FAILED and one.source == "production"]
    found = ((answered_at(event.observed_at, chance), event) for event in failed)
    return [(at, event) for at, event in found if at]


def _acknowledge(event: Event, tx: Transaction) -> None:
    acknowledge(tx, event, Person(id="U0CHEN", name="Chen"))


@asynccontextmanager
async def office(store_url: str) -> AsyncIterator[Office]:
    clock = FakeClock(BEGINS.astimezone(UTC) - timedelta(minutes=10))
    month = Month()
    async with (
        slack_server() as slack,
        SmtpServer() as smtp,
        HttpServer(reply(200, b'{"errcode":0,"errmsg":"ok"}')) as robot,
        JiraServer(clock.now, deployment="data_center") as jira,
    ):
        slack.channels.add(DEV_CHANNEL)
        text = TEAM.replace("kind: slack,", f'kind: slack, api_url: "{slack.url}/api/",')
        text = text.replace("host: mail.example.com,", f"host: 127.0.0.1, port: {smtp.port}, security: none,")
        environ = {
            "PROJECT": "0611f1bd8b00d5d32f17c017f15b599f",
            "ACCESS_KEY": "AKAKAK",
            "SECRET_KEY": "sksksk",
            "SLACK_BOT_TOKEN": TOKEN,
            "WECOM_URL": robot.url(HOOK),
            "JIRA_URL": jira.settings()["url"],
            "JIRA_TOKEN": jira.settings()["token"],
        }
        config = configuration.loads(f'store: {{url: "{store_url}"}}\n{text}', environ)
        async with open_app(config, exclusive=True, clock=clock) as opened:
            sources = {name: MonthSource(name, month, clock) for name in SOURCES}
            app = replace(opened, sources=sources)
            yield Office(app=app, clock=clock, month=month, slack=slack, smtp=smtp, robot=robot, jira=jira)


async def test_a_month_of_a_team_of_ten(sqlite_url: str) -> None:
    """Two thousand failures within a minute, ninety others, and six thousand events that need nobody."""
    async with office(sqlite_url) as at:
        await at.live_through()
        end = at.clock.now() + timedelta(seconds=1)
        history = await at.app.store.read(lambda q: q.recorded_history(BEGINS, end))
        ledger = await at.app.store.read(lambda q: q.ledger())
        messages = [SentMessage(one, RenderRequest.of(one).mention) for one in history.deliveries]
        figures = figures_of(history.events, messages, ZONE, instant=False, tickets=len(at.jira.tickets))

        assert ledger.unaccounted == ()
        assert ledger.by_state[DeliveryState.PENDING] == ledger.by_state[DeliveryState.DEAD] == 0
        check_times(history, figures)
        assert at.messages == {"dba": 97, "developers": 34, "duty": 63, "leads": 9, "jira": 9}
        assert table(figures) in DOCUMENT.read_text(encoding="utf-8")
        assert TEAM in DOCUMENT.read_text(encoding="utf-8")
        check_replay(at, history, figures)


def check_times(history: RecordedHistory, figures: HistoryFigures) -> None:
    """Every failure was reported in time: of production at once, of others in the next working hours, or in a sum."""
    assert figures.unreached == []
    assert {one.event.source for one in figures.muted} <= {"staging"}
    hours = parse_window("weekdays 09:00-18:00 Asia/Shanghai")
    limits = {"production": timedelta(minutes=5), "staging": timedelta(minutes=5), "development": timedelta(minutes=65)}
    first = first_reports(history)
    late = []
    for failure in figures.failures:
        event = failure.event
        if failure.fate is FailureFate.MUTED:
            continue
        opening = hours.next_opening(event.observed_at)
        assert opening is not None
        begins = event.observed_at if event.source == "production" else opening
        if first[event.id] > begins + limits[event.source]:
            late.append((event.source, event.observed_at, first[event.id]))
    assert late == []


def first_reports(history: RecordedHistory) -> Mapping[str, datetime]:
    """Return when the first message about each event was delivered."""
    found: dict[str, datetime] = {}
    for one in history.deliveries:
        for event in one.events if one.settled_at and one.state is DeliveryState.DELIVERED else ():
            found[event.id] = min(found.get(event.id, one.settled_at or ENDS), one.settled_at or ENDS)
    return found


def check_replay(at: Office, history: RecordedHistory, figures: HistoryFigures) -> None:
    """A replay with the same configuration sends the same messages, and one with plain routes sends every event."""
    rules = replay_rules(at.app.config, at.app.channels)
    same = replayed(history, rules)
    assert {one.delivery.id for one in same.messages} == {one.delivery.id for one in figures.messages}
    plain = replayed(history, replace(rules, mutes=(), routing=replace(rules.routing, routes=(PLAIN,))))
    assert f"{plain.total.messages:,} messages" in DOCUMENT.read_text(encoding="utf-8")


def replayed(history: RecordedHistory, rules: ReplayRules) -> HistoryFigures:
    time = VirtualTime(history.since)
    store = MemoryStore(time.now)
    try:
        return replay(history, rules, store, time).now
    finally:
        store.close()


def table(figures: HistoryFigures) -> str:
    """Return the figures as the document has them."""
    head = "| who | messages | of these at night | on the busiest day |\n|---|---|---|---|"
    rows = [
        f"| `{name}` | {of.messages} | {of.at_night} | {of.busiest_day} |" for name, of in figures.by_channel.items()
    ]
    people = {name: (figures.mentioned[name], at_night(figures, name)) for name in sorted(figures.mentioned)}
    calls = "| called by name | messages | of these at night |\n|---|---|---|"
    named = [f"| `{name}` | {count} | {night} |" for name, (count, night) in people.items() if name.startswith("U")]
    return "\n".join([head, *rows, "", calls, *named])


def at_night(figures: HistoryFigures, name: str) -> int:
    hours = (one.at.astimezone(ZONE).hour for one in figures.messages if name in one.mention)
    return sum(hour in NIGHT_HOURS for hour in hours)
