"""The database of the pictures, made as the service would have made it: polled, delivered, muted and acknowledged.

A month passes in virtual time on a store in memory, through the use cases of the service itself; only the cloud and
what the receivers reply is made up (`pages.story`). The result is a SQLite file, the same at every run. A test takes a
copy of it from `Histories` and opens it with `History.open`.
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

from fakes import snapshot_of
from simulation.loop import VirtualLoop

from notifier.channels.base import PROBE_AFTER, BaseChannel
from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.core.delivery import (
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    Parked,
    Retry,
    Unknown,
)
from notifier.core.errors import CredentialsRejected, SourceError, SourceUnreachable
from notifier.core.events import EventType
from notifier.core.health_facts import Replica, Role
from notifier.core.model import Scope, Snapshot, Task
from notifier.core.mutes import MuteScope, MuteTimes
from notifier.core.people import Person
from notifier.core.polling import PollRules
from notifier.core.routing import RoutingConfig
from notifier.core.tickets import Ticket, TicketRules, happened, imagined_visit, operation_of
from notifier.deliver import DeliveryRules, DeliveryWorker
from notifier.http import HttpClient
from notifier.monitor import MonitorRules, run_monitor
from notifier.mutes import MuteRequest, MuteRouting, create, end, sync, take_steps
from notifier.people import acknowledge_task, dismiss_dead, retry
from notifier.poll import poll_once
from notifier.ports import Channel, CheckResult, DeliveryFilter, RenderRequest
from notifier.store.memory import MemoryStore
from notifier.store.transaction import Transaction
from notifier.wiring.app import App, open_app, routing_config
from notifier.wiring.channels import build_channels
from pages import story
from pages.story import ANNA, BEGINS, CHEN, LI, NOW, SEEN_AFTER, Job, at

T = TypeVar("T")

CONFIGURATION = """
language: en
timezone: Asia/Shanghai
store: {url: "sqlite:///DATABASE"}
sources:
  - name: prod
    kind: gaussdb
    region: cn-north-4
    project_id: 0611f1bd8b00d5d32f17c017f15b599f
    environment: production
    auth: {kind: aksk, access_key: obviously-fake, secret_key: obviously-fake}
  - name: staging
    kind: gaussdb
    region: cn-east-3
    project_id: 5b3a91c0de7f4b0c8d1b6a2e9c7d4f10
    environment: staging
    auth: {kind: aksk, access_key: obviously-fake-too, secret_key: obviously-fake-too}
channels:
  - {name: dba, kind: slack, bot_token: xoxb-obviously-fake, channel: C0DBAALERTS, digest_above: 5}
  - {name: mail, kind: email, host: smtp.example.com, from: notifier@example.com, to: [dba-team@example.com]}
  - name: tickets
    kind: jira
    deployment: cloud
    url: https://jira.example.com
    user: notifier@example.com
    token: obviously-fake
    project: OPS
routes:
  - {name: everything, match: ["type=task.*"], channels: [dba]}
  - {name: failures, match: ["type=~task.(failed|unlisted)"], channels: [mail, tickets]}
  - {name: stuck, match: [type=task.stalled], channels: [tickets]}
  - {name: restores, match: ["operation=restore*", type=task.completed, source=staging], channels: [mail]}
mutes:
  - {name: patch-night, match: ["source=staging", "type=~task.(started|progressed)"], cron: "0 2 * * 0", length: 3h,
     reason: "patches of staging, every Sunday"}
rotas:
  - name: dba
    people:
      - {name: Li Wei, mention: [U0LIWEI]}
      - {name: Anna Keller, mention: [U0ANNAKELL]}
      - {name: Chen Jing, mention: [U0CHENJING]}
    hands_over: monday 09:00
    first: "2026-11-09"
    every: 1w
reports:
  - {name: weekly, schedule: "0 9 * * 1", channels: [dba, mail], backup_within: 48h}
web: {listen: "127.0.0.1:8080", password: obviously-fake-password}
delivery: {retry: [15s, 20s, 5m, 30m, 1h, 1h, 90m, 2h]}
"""
"""The configuration of the pictures; DATABASE stands for the file."""

PEOPLE = (CHEN, LI, ANNA)
OWNER = "notifier-1:1:pictures"
_CHECKED_BEFORE_FAILURE = timedelta(seconds=20)


class Variant(StrEnum):
    """What is going on when the picture is taken."""

    USUAL = "usual"
    """The week of the design: four things need somebody."""
    CALM = "calm"
    """The same week, and nobody is needed."""
    BLIND = "blind"
    """The cloud has refused the key of prod since 09:31."""
    STALE = "stale"
    """The service was killed at 09:31."""
    EMPTY = "empty"
    """The database was just made, and nothing was polled."""
    HUGE = "huge"
    """A thousand tasks more have failed since 09:00, and a thousand messages about them wait for the tickets."""
    HOSTILE = "hostile"
    """Names, reasons and replies that try to break the page."""


# ---- texts that try to break the page ----

HOSTILE_TEXTS = (
    '<script>document.title = "taken over"</script><img src=x onerror=alert(1)>',
    "\"'><svg/onload=alert(1)>{{ 7 * 7 }}{% raw %}",
    "\u202egnp.egami\u202c \u2066isolated\u2069 \u200b\u200c\ufeff",
    "\x00\x07\x1b[31mred\x1b[0m\r\nSet-Cookie: a=b",
    "https://example.com/?a=1&b=2#<b>",
    "长" * 400 + "😀" * 100,
    "A" * 5_000,
    "many words " * 450,
)
"""What names, reasons, and replies are in the hostile history, one after the other."""


def _hostile(jobs: Sequence[Job]) -> Sequence[Job]:
    """Return the jobs with such names and reasons. What the API can send has no NUL: sources remove that."""
    texts = [found.replace("\x00", "") for found in HOSTILE_TEXTS]
    changed = []
    for number, job in enumerate(jobs):
        name = f"{texts[number % len(texts)]} {job.instance}"[: 300 if number % 2 else 5_000]
        reason = None if job.reason is None else f"{texts[(number + 3) % len(texts)]} {job.reason}"
        recent = job.starts >= story.WEEK_BEGINS
        changed.append(replace(job, instance=name, reason=reason) if recent else job)
    return changed


def _huge(jobs: Sequence[Job]) -> Sequence[Job]:
    """Return the jobs and a thousand more that have failed this morning."""
    more = [
        Job(
            id=f"00000000-0000-4000-8000-{number:012}",
            source="staging",
            instance=f"staging-load-{number % 40:02}",
            kind=story.BACKUP,
            starts=at(28, "09:00:00") + timedelta(milliseconds=number),
            lasts=timedelta(minutes=3),
            reason=story.UPLOAD,
            watched=False,
        )
        for number in range(1_000)
    ]
    return sorted([*jobs, *more], key=lambda job: (job.starts, job.id))


# ---- the cloud and the receivers ----


class Clock(Protocol):
    """The time of the story."""

    def now(self) -> datetime:
        """Return it."""

    def monotonic(self) -> float:
        """Return it in seconds since the beginning."""

    async def sleep(self, seconds: float) -> None:
        """Let it pass."""


class LoopClock:
    """The time of a loop in virtual time, which begins with the story."""

    def now(self) -> datetime:
        # Milliseconds: a fraction of a float is no time of its own.
        return (BEGINS + timedelta(milliseconds=round(self.monotonic() * 1000))).astimezone(UTC)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Cloud:
    """The list of one source, as its jobs are at the time of the clock."""

    def __init__(self, name: str, jobs: Sequence[Job], clock: Clock) -> None:
        self.name = name
        self.region = story.REGIONS[name]
        self.project_id = story.PROJECTS[name]
        self.error: SourceError | None = None
        self._jobs = [job for job in jobs if job.source == name]
        self._clock = clock
        self._ended: dict[str, tuple[Task, bytes]] = {}
        """The tasks that have ended, which stay as they are, with their fingerprints."""

    async def fetch(self, scope: Scope) -> Snapshot:
        if self.error is not None:
            raise self.error
        now = self._clock.now()
        shown = snapshot_of(self._moving(now), now, source=self.name, scope=scope)
        prints = {id_: print_ for id_, (_, print_) in self._ended.items()}
        known = {id_: task for id_, (task, _) in self._ended.items()}
        fresh = {id_: shown.parse(id_) for id_ in shown.fingerprints}
        for id_, task in fresh.items():
            if task.ended_at is not None:
                self._ended[id_] = (task, shown.fingerprints[id_])
        return replace(
            shown,
            fingerprints={**prints, **shown.fingerprints},
            parse={**known, **fresh}.__getitem__,
            total_count=len(prints) + len(fresh),
        )

    def _moving(self, now: datetime) -> Iterator[Task]:
        for job in self._jobs:
            if job.starts > now:
                return
            if job.id not in self._ended and (job.watched or (job.ends and job.ends <= now)) and (task := job.at(now)):
                yield task

    async def check(self) -> Sequence[CheckResult]:
        return ()

    async def aclose(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a receiver does with a message, and how long that takes."""

    outcome: Outcome
    seconds: float


class ScriptedChannel(BaseChannel[Any]):
    """A channel that renders as the real one does, and whose receiver is made up."""

    kind = "scripted"

    def __init__(self, real: Channel, answer: Callable[[Delivery], Reply]) -> None:
        self.name, self.concurrency, self.deadline = real.name, real.concurrency, real.deadline
        self.keeps_deadline, self.pace, self.resend_policy = real.keeps_deadline, real.pace, real.resend_policy
        self.on_unknown, self.body_key, self.edit_budget = real.on_unknown, real.body_key, real.edit_budget
        self.digest_above, self.digest_size = real.digest_above, real.digest_size
        self.storm_size, self.storm_room = real.storm_size, real.storm_room
        self.threads, self.coalesces, self.tickets = real.threads, real.coalesces, real.tickets
        self.multi_recipient = real.multi_recipient
        self._real = real
        self._answer = answer

    def render(self, request: RenderRequest) -> Any:
        return self._real.render(request)

    async def send(self, delivery: Delivery) -> Outcome:
        reply = self._answer(delivery)
        await asyncio.sleep(reply.seconds)
        return reply.outcome

    async def find_sent(self, delivery: Delivery) -> Outcome | None:  # noqa: ARG002 - whichever it is
        return None


class Receivers:
    """What the three receivers of the story reply. Each is asked by the time of its message alone."""

    def __init__(self, clock: Clock, variant: Variant) -> None:
        self._clock = clock
        self._variant = variant
        self._chance = random.Random(7)
        self._tickets = count(2_231)
        self._tries: dict[str, int] = {}

    def dba(self, delivery: Delivery) -> Reply:
        """Slack: takes everything within a few seconds, but for half an hour of Thursday evening."""
        if at(26, "20:31:00") <= self._clock.now() < at(26, "20:58:00"):
            return Reply(outcome=Retry("HTTP 503", reply="503: upstream connect error"), seconds=0.7)
        number = f"{self._clock.now().timestamp():.6f}"
        opens = delivery.thread is None
        ref = f"C0DBAALERTS/{number}"
        seconds = self._chance.triangular(0.4, 3.2, 1.1)
        return Reply(outcome=Delivered(ref=ref, thread=ref if opens else None, reply="200: ok"), seconds=seconds)

    def mail(self, delivery: Delivery) -> Reply:
        """A mail server that is slow now and then; one address is gone."""
        event = delivery.events[0]
        tries = self._tries[delivery.id] = self._tries.get(delivery.id, 0) + 1
        today = at(26, "00:00") < event.observed_at < at(27, "00:00")
        if today and self._is_about(delivery, "staging-stock", EventType.TASK_COMPLETED):
            refusal = self._quoted("550 5.1.1 no such user: old-dba@example.com")
            return Reply(outcome=GaveUp("550: recipient refused", reply=refusal), seconds=0.9)
        if self._is_about(delivery, "prod-orders", EventType.TASK_FAILED) and event.observed_at > at(28, "00:00"):
            if tries == 1:
                return Reply(outcome=Retry("421: the server refuses service", reply="421 try again later"), seconds=1.2)
            if tries == 2:
                return Reply(outcome=Unknown("no answer from smtp.example.com within 10 s"), seconds=10)
        seconds = self._chance.triangular(0.9, 50, 3) if self._chance.random() < 0.2 else self._chance.uniform(2, 5)
        queued = f"250 2.0.0 queued as {self._chance.randrange(16**5):05X}"
        return Reply(outcome=Delivered(ref=f"<{delivery.id}@example.com>", reply=queued), seconds=seconds)

    def tickets(self, delivery: Delivery) -> Reply:
        """Jira: out of order for two messages, and since this morning without a valid token."""
        now = self._clock.now()
        if at(28, "08:31:00") <= now and self._variant is not Variant.CALM:
            refusal = Parked(
                "HTTP 401; the credential is refused: check user and token;"
                " tokens of service accounts and those with scopes need cloud_id",
                probe_after=PROBE_AFTER,
                reply=self._quoted("401: Client must be authenticated to access this resource."),
            )
            return Reply(outcome=refusal, seconds=0.4)
        day = delivery.created_at.astimezone(story.ZONE).date()
        lost = any(
            self._is_about(delivery, instance, EventType.TASK_FAILED) and day == at(number, "00:00").date()
            for instance, number in (("prod-billing", 25), ("prod-audit", 26), ("staging-stock", 26))
        )
        if lost and self._variant is not Variant.CALM:
            reply = self._quoted("503: The service is unavailable.")
            return Reply(outcome=Retry("HTTP 503", reply=reply), seconds=5.1)
        return Reply(outcome=self._visited(delivery, now), seconds=self._chance.triangular(0.9, 7, 1.8))

    def _visited(self, delivery: Delivery, now: datetime) -> Outcome:
        event = delivery.events[0]
        ticket = delivery.ticket or Ticket(
            channel=delivery.channel,
            operation=operation_of(event) or "",
            wanted_by=delivery.id,
            failed_at=happened(event),
        )
        after, _ = imagined_visit(ticket, event, delivery.id, now, TicketRules())
        if after.ref != ticket.ref:
            label = f"OPS-{next(self._tickets)}"
            after = replace(after, ref=label, label=label)
        after = replace(after, url=f"https://jira.example.com/browse/{after.label}")
        return Delivered(ref=after.ref, ticket=after, reply="201: Created")

    def _is_about(self, delivery: Delivery, instance: str, kind: EventType) -> bool:
        event = delivery.events[0]
        return event.type is kind and event.task is not None and instance in (event.task.instance_name or "")

    def _quoted(self, reply: str) -> str:
        return f"{reply} {HOSTILE_TEXTS[0]}"[:300] if self._variant is Variant.HOSTILE else reply


# ---- the service ----


class Month:
    """The service in virtual time, and everything that happens around it."""

    def __init__(self, config: Config, variant: Variant, clock: LoopClock) -> None:
        self._clock = clock
        self._variant = variant
        self._jobs = _jobs_of(variant)
        self._clouds = {name: Cloud(name, self._jobs, clock) for name in story.REGIONS}
        self.store = MemoryStore(clock.now)
        self._rules = _poll_rules(config)
        self._monitor = MonitorRules(expected=config.expected, fallback=("dba",))
        receivers = Receivers(clock, variant)
        answers = {"dba": receivers.dba, "mail": receivers.mail, "tickets": receivers.tickets}
        real = build_channels(config, HttpClient(), clock)
        self._channels = {name: ScriptedChannel(channel, answers[name]) for name, channel in real.items()}
        self._routing: RoutingConfig = routing_config(config, real)
        self._early = replace(
            self._routing, routes=[route for route in self._routing.routes if route.name != "everything"]
        )
        """What was notified in the first weeks, but for the days of their mutes: failures, and restores of staging."""
        rules = DeliveryRules(schedule=tuple(config.delivery.retry), lease=config.delivery.lease, tickets=True)
        self._workers = {
            name: DeliveryWorker(channel, self.store, clock, random.Random(len(name)), owner=OWNER, rules=rules)
            for name, channel in self._channels.items()
        }
        self._wakes = {name: asyncio.Event() for name in self._workers}
        self._config = config
        self._muting = MuteRouting(routing=self._routing, origins=[one.origin for one in config.expected.sources])
        self._chance = random.Random(11)
        self._due: datetime | None = None
        """When a window of a mute begins or ends next."""

    async def pass_by(self) -> None:
        """Let the month pass."""
        workers = [asyncio.create_task(self._serve(name)) for name in self._workers]
        self._start()
        for moment, act in self._happenings():
            await self._advance(moment)
            await act()
        await self._advance(NOW)
        for worker in workers:
            if worker.done():
                worker.result()
            worker.cancel()

    # -- what happens --

    def _happenings(self) -> Sequence[tuple[datetime, Callable[[], Any]]]:
        """Return what happens when, in order."""
        if self._variant is Variant.EMPTY:
            return ()
        found: list[tuple[datetime, Callable[[], Any]]] = [
            (moment, partial(self._poll, source)) for moment, source in _polls(self._jobs)
        ]
        found += [(moment, partial(self._look_after, moment)) for moment in self._checks()]
        found += [(moment, partial(self._act, act)) for moment, act in self._acts()]
        found += [(moment, partial(self._break, name, error)) for moment, name, error in self._breakdowns()]
        last = NOW - timedelta(minutes=11) if self._variant is Variant.STALE else NOW
        return sorted((one for one in found if one[0] <= last), key=lambda one: one[0])

    def _checks(self) -> Iterator[datetime]:
        """Yield when both sources are polled and the notifier judges itself."""
        yield BEGINS + timedelta(seconds=30)
        yield from (at(27, clock) for clock in ("23:09:40", "23:10:10", "23:16:20", "23:20:20", "23:30:20", "23:40:20"))
        yield at(27, "23:54:50")
        yield from (at(28, clock) for clock in ("08:31:02", "08:31:42", "09:30:20", "09:31:02"))
        if self._variant is Variant.BLIND:
            yield from (at(28, f"09:{minute}:34") for minute in range(31, 42))
        yield NOW - timedelta(seconds=9)

    def _breakdowns(self) -> Iterator[tuple[datetime, str, SourceError | None]]:
        yield (
            at(27, "23:10:00"),
            "staging",
            SourceUnreachable("no answer from gaussdb-opengauss.cn-east-3.myhuaweicloud.com within 10 s"),
        )
        yield at(27, "23:54:40"), "staging", None
        if self._variant is Variant.BLIND:
            yield (
                at(28, "09:31:10"),
                "prod",
                CredentialsRejected("HTTP 401; DBS.280056; Invalid token; request 9f2c1e77"),
            )

    def _acts(self) -> Iterator[tuple[datetime, Callable[[Transaction], object]]]:
        """Yield what people do."""
        yield from self._acknowledgements()
        yield at(9, "01:00:00"), partial(_mute, "operation=backup instance=prod-audit", "8h", LI, "bucket moves")
        yield at(17, "15:00:00"), partial(_mute, "prod-users", "1h", CHEN, "flavor change CHG-1182")
        yield at(20, "13:00:00"), partial(_mute, "source=staging", "4h", ANNA, "region drill")
        yield at(20, "14:12:00"), lambda tx: end(tx, "source=staging", CHEN)
        yield at(24, "21:30:00"), partial(_mute, "prod-payments", "2h", LI, "shards are added in the window")
        yield at(28, "07:00:12"), partial(_mute, "staging-reports", "4h", ANNA, "load test, instance is recreated")
        if self._variant not in {Variant.CALM, Variant.HOSTILE}:
            yield at(28, "08:31:10"), partial(_retry_dead, "tickets", "staging-stock", CHEN)
            for clock in ("08:46:11", "09:01:12", "09:16:13", "09:31:14"):
                yield at(28, clock), lambda tx: tx.channels.unpark_due(tx.now())
        if self._variant is Variant.CALM:
            yield at(28, "08:40:00"), lambda tx: dismiss_dead(tx, None, LI)

    def _acknowledgements(self) -> Iterator[tuple[datetime, Callable[[Transaction], object]]]:
        """Yield who takes charge of which failure: of most after some minutes, of some nobody, of one this morning."""
        for job in self._jobs:
            if job.reason is None or job.ends is None or job.starts > at(28, "09:00"):
                continue
            if job.source == "staging" and job.starts > at(28, "08:00"):
                yield job.ends + timedelta(minutes=6, seconds=8), partial(_acknowledge, job, CHEN)
            elif job.starts < at(27, "02:00") and self._chance.random() < 0.9:
                wait = timedelta(seconds=round(60 * self._chance.triangular(1, 25, 4)))
                yield job.ends + SEEN_AFTER + wait, partial(_acknowledge, job, self._chance.choice(PEOPLE))

    # -- how the service does it --

    def _start(self) -> None:
        def begin(tx: Transaction) -> None:
            sync(tx, self._config.configured_mutes)
            tx.replicas.report(_replica(BEGINS, BEGINS))

        if self._variant is not Variant.EMPTY:
            self.store.run(begin)
            self._changed()

    async def _advance(self, moment: datetime) -> None:
        """Let time pass until a moment. What is due meanwhile is done when it is."""
        while self._due is not None and self._due <= moment:
            await self._sleep_until(self._due)
            self._step()
        await self._sleep_until(moment)

    async def _sleep_until(self, moment: datetime) -> None:
        await asyncio.sleep(max(0.0, (moment - BEGINS).total_seconds() - self._clock.monotonic()))

    def _step(self) -> None:
        """Begin and end the windows of mutes that are due."""
        for mute_id in self.store.run(lambda tx: tx.queries.due_mutes()):
            self.store.run(partial(take_steps, mute_id=mute_id, rules=self._muting))
        self._changed()

    def _changed(self) -> None:
        self._due = self.store.run(lambda tx: tx.queries.next_due_mute())
        self._wake()

    def _wake(self) -> None:
        for name in self.store.run(lambda tx: tx.queries.pending_channels(self._clock.now())):
            self._wakes[name].set()

    async def _serve(self, name: str) -> None:
        """Deliver on a channel whenever something is due on it."""
        wake, worker = self._wakes[name], self._workers[name]
        while True:
            now = self._clock.now()
            due = self.store.run(lambda tx: (tx.queries.next_pending(now), tx.channels.health(name).open_until))  # noqa: B023 - called at once
            times = [moment for moment in due if moment and moment > now]
            wait = (min(times) - now).total_seconds() if times else None
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), wait)
            wake.clear()
            await worker.drain()

    async def _poll(self, source: str) -> None:
        await poll_once(
            self._clouds[source],
            self.store,
            owner=OWNER,
            rules=self._rules[source],
            routing=self._routing if self._clock.now() > at(20, "00:00") or self._muted_today() else self._early,
            force=True,
        )
        self._wake()

    def _muted_today(self) -> bool:
        return self._clock.now().astimezone(story.ZONE).day in {9, 17}

    async def _look_after(self, moment: datetime) -> None:
        """Poll all sources and judge what is recorded."""
        for source in self._clouds:
            await self._poll(source)
        polling_since = BEGINS if moment < at(27, "00:00") else at(27, "00:00")
        await run_monitor(self.store, rules=self._monitor, routing=self._routing, polling_since=polling_since)
        self.store.run(lambda tx: tx.replicas.report(_replica(BEGINS, self._clock.now())))
        self._wake()

    async def _act(self, act: Callable[[Transaction], object]) -> None:
        self.store.run(act)
        self._changed()

    async def _break(self, source: str, error: SourceError | None) -> None:
        self._clouds[source].error = error


def _poll_rules(config: Config) -> Mapping[str, PollRules]:
    """Return how the sources are polled. Polls of this month are far apart, and nothing they find counts as late."""
    return {
        settings.name: replace(
            settings.poll_rules(
                lease=timedelta(minutes=1),
                calls_per_minute=60,
                credential=None,
                configured=frozenset(story.REGIONS),
            ),
            poll_every=timedelta(days=4),
        )
        for settings in config.sources
    }


def _jobs_of(variant: Variant) -> Sequence[Job]:
    match variant:
        case Variant.CALM:
            return story.calm(story.jobs())
        case Variant.HUGE:
            return _huge(story.jobs())
        case Variant.HOSTILE:
            return _hostile(story.jobs())
        case _:
            return story.jobs()


def _polls(jobs: Sequence[Job]) -> Iterator[tuple[datetime, str]]:
    """Yield when which source is polled: nine seconds after a change, or after the last of several within a poll.

    Before the week of the pictures it is once a day, and after each failure.
    """
    for source in story.REGIONS:
        own = [job for job in jobs if job.source == source]
        days = (BEGINS + timedelta(days=number, hours=23.9) for number in range((NOW - BEGINS).days))
        seen = (job for job in own if job.watched or job.reason or job.starts >= story.WEEK_BEGINS)
        moments = sorted({*(moment for job in seen for moment in job.moments), *days})
        for moment, following in zip(moments, [*moments[1:], None], strict=True):
            if following is None or following - moment > timedelta(seconds=20):
                yield moment + SEEN_AFTER, source


def _replica(started_at: datetime, seen_at: datetime) -> Replica:
    return Replica(owner=OWNER, roles=(Role.POLL, Role.DELIVER, Role.WEB), started_at=started_at, seen_at=seen_at)


def _mute(scope: str, length: str, by: Person, reason: str, tx: Transaction) -> None:
    times = MuteTimes(length=timedelta(hours=int(length.removesuffix("h"))))
    create(tx, MuteRequest(scope=MuteScope.parse(scope.split()), times=times, reason=reason), by)


def _acknowledge(job: Job, by: Person, tx: Transaction) -> None:
    task = job.at(tx.now())
    assert task is not None
    acknowledge_task(tx, task, by)


def _retry_dead(channel: str, instance: str, by: Person, tx: Transaction) -> None:
    dead = tx.queries.deliveries(DeliveryFilter(state=DeliveryState.DEAD, channel=channel))
    found = [one.id for one in dead if (task := one.events[0].task) and instance in (task.instance_name or "")]
    retry(tx, found, found[0], by)


# ---- the file ----


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A database file of a test's own, with the configuration that made it."""

    path: Path
    variant: Variant
    config: Config
    now: datetime = NOW

    @asynccontextmanager
    async def open(self) -> AsyncIterator[App]:
        """Open the program on the file, at the time of the picture. It polls and delivers only where a test asks."""
        async with open_app(self.config, clock=StoppedClock(self.now)) as app:
            yield app


class StoppedClock:
    """A clock that shows the time of the picture."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Histories:
    """The histories of a test session, each made once."""

    def __init__(self, directory: Path) -> None:
        """Keep them in a directory of their own."""
        self._directory = directory

    def copy(self, variant: Variant, to: Path) -> History:
        """Return a copy in a directory, made where this is the first of its variant."""
        master = self._directory / f"{variant}.db"
        if not master.exists():
            write_history(master, variant)
        path = to / f"{variant}.db"
        shutil.copyfile(master, path)
        return History(path=path, variant=variant, config=configuration(path))


def configuration(path: Path) -> Config:
    """Return the configuration of the pictures, with its database at a path."""
    return loads(CONFIGURATION.replace("DATABASE", str(path)), {})


def write_history(path: Path, variant: Variant = Variant.USUAL) -> None:
    """Let a month pass, and write its database to a new file. It may be called while a loop runs."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_run, path, variant).result()


def _run(path: Path, variant: Variant) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(_write(path, variant))
    finally:
        loop.close()


async def _write(path: Path, variant: Variant) -> None:
    month = Month(configuration(path), variant, LoopClock())
    try:
        await month.pass_by()
        connection = month.store._connection.connection.driver_connection
        assert connection is not None
        connection.execute("VACUUM INTO ?", (str(path),))
    finally:
        month.store.close()
