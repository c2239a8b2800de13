"""Answers to commands and clicks, from a real store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from datetime import time, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from factories import PROJECT_ID, REGION, make_event, make_task
from fakes import START, FakeClock
from servers.slack import click_payload, command_form, slack_server
from timeouts import HANG_TIMEOUT

from notifier import lookup
from notifier.chat.requests import Button, ChatReply, ClickRequest, CommandRequest
from notifier.chat.responder import ChatResponder, ResponderRules
from notifier.core.calendars import CalendarEntry
from notifier.core.causes import Cause, CauseCatalogue, Retryable
from notifier.core.delivery import ThreadUpdate
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.errors import StoreUnreachable
from notifier.core.events import EventType
from notifier.core.failures import after_events
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.identity import DirectChannel
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.maintenance_values import MaintenanceRecord, MaintenanceStatus, PlannedMaintenance
from notifier.core.matchers import parse_matchers
from notifier.core.model import Event, Scope, Snapshot, Task, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.people import EventSubscription, Person
from notifier.core.rota import DutyPerson, Rota, Rotation
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.http import HttpClient
from notifier.integrations.slack import chat as slack
from notifier.integrations.slack.chat import SlackChat, SlackChatRules
from notifier.integrations.slack.users import UserDirectory
from notifier.store.engine import SqlStore, open_store
from notifier.store.queries import Queries
from notifier.store.session import Session
from notifier.store.sqlite_driver import sqlite_module
from notifier.store.transaction import Transaction
from notifier.wording.causes import builtin_catalogue
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer
from notifier.wording.marks import without_marks
from notifier.wording.phrases import Language

PEOPLE = ALICE, BOB = Person(id="U0ALICE", name="alice"), Person(id="U0BOB", name="bob")
FAILED = make_task("fa11ed-1", instance_name="gauss-orders", instance_id="in-1", ended_at=START)
RUNNING = make_task(
    "ca11ed-1",
    status="running",
    instance_name="gauss-users",
    instance_id="in-2",
    ended_at=None,
    fail_reason=None,
    progress=40.0,
)
DONE = make_task("d0ne-1", status="completed", instance_name="gauss-users", instance_id="in-3", fail_reason=None)
FAILURE = make_event(FAILED)
LEASE = timedelta(minutes=1)

T = TypeVar("T")


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[SqlStore]:
    async with aclosing(open_store(store_url, now=clock.now)) as opened:
        yield opened


async def record(store: SqlStore, *tasks: Task, events: Collection[Event] = (), source: str = "prod") -> None:
    """Record what a poll found."""

    def write(tx: Transaction) -> None:
        claim = tx.polls.claim(source, "me", START, LEASE, force=True)
        assert claim
        tx.polls.fingerprints(claim)
        updates = [TaskWrite(recorded=RecordedTask(task=task, occurrence="o"), fingerprint=b"1") for task in tasks]
        tx.polls.record_tasks(claim, updates, START)
        tx.events.record([RoutedEvent(event=event, routes=(), channels=()) for event in events])
        snapshot = Snapshot(
            source=source, taken_at=START, fingerprints={}, complete=True, scope=Scope.FULL, total_count=0
        )
        tx.polls.record(claim, snapshot, START, START)

    await store.transact(write)


PROD = ConfiguredSource(
    name="prod", region=REGION, project_id=PROJECT_ID, poll_every=timedelta(seconds=30), environment="production"
)
LAB = replace(PROD, name="lab", environment="staging")


class ChatHarness:
    """A responder, and a person who types and clicks."""

    def __init__(
        self,
        store: SqlStore,
        clock: FakeClock,
        causes: CauseCatalogue | None = None,
        sources: Sequence[ConfiguredSource] = (PROD,),
        rotas: Sequence[Rota] = (),
        *,
        during: Sequence[MaintenanceMute] = (),
    ) -> None:
        self.woken = 0
        self.language: Language = "en"
        self.allow = True
        zone = ZoneInfo("Asia/Shanghai")
        rules = ResponderRules(
            localizers={"en": Localizer(language="en", timezone=zone), "zh": Localizer(language="zh", timezone=zone)},
            expected=Expected(sources=sources, channels=("dba",)),
            causes=causes or builtin_catalogue(),
            live=("dba",),
            rotas={rota.name: rota for rota in rotas},
            links=LinkTemplates(console_url="https://console.example.com/{instance_id}"),
            during_maintenance=during,
        )
        self.responder = ChatResponder(store, clock, rules, self.wake)

    def wake(self) -> None:
        self.woken += 1

    async def allowed(self) -> bool:
        return self.allow

    async def type(self, text: str, person: Person = ALICE, **more: object) -> ChatReply:
        asked = replace(CommandRequest(text=text, person=person), **more)  # type: ignore[arg-type]  # the fields of the value
        answer = await self.responder.answer(asked, self.language, self.allowed)
        assert answer is not None
        return answer

    async def click(
        self, action: str, value: str, person: Person = ALICE, replay_key: str | None = None, message: str = ""
    ) -> ChatReply | None:
        button = Button.parse(action, value)
        assert button
        clicked = ClickRequest(button=button, person=person, message=message, replay_key=replay_key)
        return await self.responder.answer(clicked, "en", self.allowed)


@pytest.fixture
async def chat(store: SqlStore, clock: FakeClock) -> ChatHarness:
    await record(store, FAILED, RUNNING, DONE, events=[FAILURE])
    return ChatHarness(store, clock)


def lines(answer: ChatReply) -> list[str]:
    return [without_marks(line) for line in answer.lines]


# ---- queries ----


async def test_failures_are_listed_with_their_reasons_and_freshness(chat: ChatHarness) -> None:
    answer = await chat.type("failed 24h")
    assert answer.title == "1 task failed in the last 24 h"
    (row,) = answer.rows
    assert (row.label, row.instance, row.subject) == ("Instance creation", "gauss-orders", "prod/fa11ed-1")
    assert (row.emoji, without_marks(row.place)) == ("🔴", "PROD · just now")
    assert without_marks(row.detail) == FAILED.fail_reason
    assert answer.summary == ""
    assert without_marks(answer.note) == "as of 15 Jan 16:30:00 (UTC+8) · prod polled just now"


async def test_an_empty_result_names_what_was_queried_and_when(chat: ChatHarness, clock: FakeClock) -> None:
    clock.advance(timedelta(days=2))
    answer = await chat.type("failed 1h")
    assert (answer.title, answer.rows) == ("No task failed in the last 1 h", [])
    assert without_marks(answer.note) == "as of 17 Jan 16:30:00 (UTC+8) · prod polled 2 d ago"


async def test_a_list_counts_sources_and_names_the_most_frequent_code(store: SqlStore, clock: FakeClock) -> None:
    chat = ChatHarness(store, clock, sources=(PROD, LAB))
    await record(store, FAILED)
    clock.advance(timedelta(minutes=5))
    reason = "Timed out while waiting for the VM to become active. Error code: DBS.280277."
    failed = [replace(FAILED, job_id=f"f-{n}", fail_reason=reason) for n in range(2)]
    cut = replace(FAILED, job_id="f-cut", source="lab", fail_reason="x" * 200 + " Error code: DBS.280300.")
    await record(store, *failed, replace(FAILED, job_id="f-none", fail_reason=None))
    await record(store, cut, source="lab")
    answer = await chat.type("failed 24h")
    assert answer.title == "5 tasks failed in the last 24 h"
    assert without_marks(answer.summary) == "prod 4, lab 1 · most: DBS.280277 (2)"
    rows = {row.subject.partition("/")[2]: row for row in answer.rows}
    assert without_marks(rows["f-0"].place) == "PROD · 5 min ago"
    assert without_marks(rows["f-0"].detail) == reason
    assert (rows["f-cut"].emoji, without_marks(rows["f-cut"].place)) == ("⭕", "staging · 5 min ago")
    assert without_marks(rows["f-cut"].detail).endswith("… · DBS.280300")
    assert without_marks(rows["f-none"].detail).startswith("15 Jan 16:30:00 (UTC+8), took ")
    narrowed = await chat.type("failed 24h lab")
    assert (without_marks(narrowed.title), narrowed.summary) == ("1 task failed in the last 24 h (lab)", "")


@pytest.mark.parametrize(
    ("text", "title", "jobs"),
    [
        (
            "failed 24h gauss-* operation=create",
            "1 task failed in the last 24 h (gauss-* operation=create)",
            ["fa11ed-1"],
        ),
        ("failed 24h gauss-u*", "No task failed in the last 24 h (gauss-u*)", []),
        ("failed 24h orders create", "1 task failed in the last 24 h (orders create)", ["fa11ed-1"]),
        ("running environment=production", "1 task running (environment=production)", ["ca11ed-1"]),
        ("running environment!=production", "No task is running (environment!=production)", []),
        ("recent instance in [gauss-orders, gauss-nobody]", None, ["fa11ed-1"]),
        ("recent gauss-u?ers", None, ["ca11ed-1", "d0ne-1"]),
        ("recent GAUSS-U*", None, ["ca11ed-1", "d0ne-1"]),
        ("recent gauss-%", None, []),
        ("recent instance!=gauss-u*", None, ["fa11ed-1"]),
        ("recent instance_id=in-3", None, ["d0ne-1"]),
        ("recent source=lab", None, []),
        ("recent source=prod operation!=create", None, []),
    ],
)
async def test_a_list_is_narrowed_by_matchers(chat: ChatHarness, text: str, title: str | None, jobs: list[str]) -> None:
    answer = await chat.type(text)
    assert sorted(row.subject.partition("/")[2] for row in answer.rows) == sorted(jobs)
    assert title in (None, without_marks(answer.title))
    assert answer.command == text.replace("24h", "1d")
    again = await chat.click("share", f"0:{answer.command}")
    assert again is not None
    assert (again.title, again.rows) == (answer.title, answer.rows)


async def test_a_narrowed_list_is_paged(chat: ChatHarness, store: SqlStore) -> None:
    await record(store, *(replace(DONE, job_id=f"more-{n}", instance_name=f"gauss-{n % 3}") for n in range(25)))
    seen, answer = [], await chat.type("recent gauss-0 instance=gauss-0")
    answer = await chat.type("recent instance=gauss-0")
    assert answer.after is None
    answer = await chat.type("recent instance in [gauss-0, gauss-1, gauss-2]")
    while True:
        seen += [row.subject for row in answer.rows]
        if answer.after is None:
            break
        page = await chat.click("page_after", f"{answer.after}:{answer.command}")
        assert page is not None
        answer = page
    assert (len(seen), len(set(seen))) == (25, 25)
    assert "21–25 of 25" in without_marks(answer.note)


async def test_what_narrows_no_list_is_explained(chat: ChatHarness) -> None:
    answer = await chat.type("failed 24h duration>30m")
    assert without_marks(answer.title).startswith("duration narrows no list; fields that do are instance")
    assert not answer.ok


async def test_what_is_stuck_or_vanished_has_a_mark_of_its_own(chat: ChatHarness, store: SqlStore) -> None:
    stuck, vanished, moves = (replace(RUNNING, job_id=name) for name in ("stuck", "vanished", "moves"))
    await record(
        store,
        stuck,
        vanished,
        moves,
        events=[
            make_event(stuck, type=EventType.TASK_STALLED, occurrence="s", since=START),
            make_event(moves, type=EventType.TASK_STALLED, occurrence="1", since=START),
            make_event(moves, type=EventType.TASK_PROGRESSED, occurrence="2"),
        ],
    )
    await store.transact(lambda tx: tx.polls.record_missing("prod", {"vanished": 2}, ["vanished"]))
    running = await chat.type("recent")
    shown = {row.subject.partition("/")[2]: (row.emoji, without_marks(row.detail)[:8]) for row in running.rows}
    assert shown["stuck"] == ("🟠", "stuck · ")
    assert shown["vanished"] == ("❔", "vanished")
    assert shown["moves"] == ("🔵", "since 15")
    assert shown["d0ne-1"][0] == "🟢"


async def test_details_offer_what_can_be_done(chat: ChatHarness) -> None:
    async def offered(job_id: str) -> list[tuple[str, str]]:
        return [(one.button.action.value, one.button.target) for one in (await chat.type(f"task {job_id}")).buttons]

    event = FAILURE.id
    assert await offered("fa11ed-1") == [("acknowledge", event), ("mute", ""), ("console", "")]
    (menu,) = [one for one in (await chat.type("task fa11ed-1")).buttons if one.options]
    assert [option.value for option, _ in menu.options][1] == f"2h:{event}"
    acknowledged = await chat.click("acknowledge", event)
    assert acknowledged is not None
    await chat.click("mute", f"2h:{event}")
    assert await offered("fa11ed-1") == [("unacknowledge", event), ("unmute", event), ("console", "")]
    taken_back = await chat.click("unacknowledge", event)
    assert taken_back is not None
    assert taken_back.ok
    assert await offered("ca11ed-1") == []  # no event of it is recorded that a button could name
    details = await chat.click("details", "prod/fa11ed-1")
    assert details is not None
    assert [one.label for one in details.buttons] == ["Acknowledge", "Unmute instance", "Open console"]
    assert details.buttons[2].url == "https://console.example.com/in-1"


async def test_what_runs_is_listed_with_its_progress(chat: ChatHarness) -> None:
    answer = await chat.type("running")
    assert answer.title == "1 task running"
    assert without_marks(answer.rows[0].detail).endswith(" · 40% · about 5 to 45 min left")


async def test_a_long_list_is_shown_in_pages(chat: ChatHarness, store: SqlStore) -> None:
    await record(store, *(replace(RUNNING, job_id=f"more-{n:02}") for n in range(24)))
    first = await chat.type("running")
    assert (len(first.rows), first.before, first.after, first.command) == (10, None, 10, "running")
    assert first.note.startswith("1–10 of 25")
    last = await chat.click("page_after", "20:running")
    assert last is not None
    assert (len(last.rows), last.before, last.after) == (5, 10, None)


async def test_a_list_that_fits_one_page_is_read_once(
    chat: ChatHarness, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted from its rows; only a longer one is counted by the database."""
    run: list[str] = []
    query = Session.query

    def counted(self: Session, name: str, /, **parameters: object) -> Sequence[Any]:
        run.append(name)
        return query(self, name, **parameters)

    monkeypatch.setattr(Session, "query", counted)
    for recorded, counts in ((9, []), (10, ["task_counts", "fail_reasons"])):
        await record(store, *(replace(FAILED, job_id=f"fa11ed-{n}") for n in range(recorded)))
        run.clear()
        answer = await chat.type("failed 24h")
        assert (answer.title, len(answer.rows)) == (f"{recorded} tasks failed in the last 24 h", recorded)
        assert [name for name in run if name in ("tasks", "task_counts", "fail_reasons")] == ["tasks", *counts]


async def test_one_task_is_shown_whole(chat: ChatHarness) -> None:
    answer = await chat.type("task fa11")
    assert without_marks(answer.title) == "Instance creation · gauss-orders: Failed"
    assert answer.quote == FAILED.fail_reason
    assert ("Job", "fa11ed-1", True) in answer.facts
    assert lines(answer) == [
        "Means: The account's quota of servers, vCPUs or memory in this region is used up.",
        "Try: Free unused servers or ask for a higher quota (My Quotas), then submit again.",
        "Retry: helps once that is done",
        "15 Jan 16:30:00 (UTC+8) · Instance creation failed",
    ]


async def test_a_cause_of_the_configuration_explains_a_task(store: SqlStore, clock: FakeClock) -> None:
    await record(store, FAILED, RUNNING)
    own = Cause(id="own", match=("vCPUs",), means={"zh": "本组配额"}, do={}, retry=Retryable.NO, inferred=True)
    chat = ChatHarness(store, clock, CauseCatalogue([own]))
    chat.language = "zh"
    answer = await chat.type("task fa11")
    assert lines(answer)[:2] == ["含义：通常：本组配额", "重试：原样重试仍会失败"]
    assert lines(await chat.type(f"task {RUNNING.job_id}")) == []


async def test_an_unknown_task_is_reported_as_unknown(chat: ChatHarness) -> None:
    answer = await chat.type("task zzz")
    assert without_marks(answer.title) == "No task found whose job ID begins with zzz"
    assert not answer.ok


async def test_an_instance_is_found_by_its_name_and_by_its_id(chat: ChatHarness) -> None:
    assert (await chat.type("instance gauss-orders")).rows == (await chat.type("instance in-1")).rows
    several = await chat.type("instance gauss-users")
    assert lines(several) == ["Did you mean one of these? in-2, in-3"]
    unknown = await chat.type("instance gauss-oders")
    assert lines(unknown) == ["Did you mean one of these? gauss-orders, gauss-users"]


async def test_statistics_count_and_measure(chat: ChatHarness) -> None:
    (line,) = lines(await chat.type("stats 7d"))
    assert line.startswith("Instance creation: 1 completed, 1 failed (50%), 1 running; most took about 12 min, ")


async def test_statistics_begin_with_the_most_frequent_name(chat: ChatHarness, store: SqlStore) -> None:
    resized = [replace(DONE, job_id=f"r-{n}", name="ResizeGaussDBV5Flavor") for n in range(4)]
    old = replace(DONE, job_id="old", name="DeleteGaussDBV5Instance", ended_at=START - timedelta(days=8))
    await record(store, *resized, old)
    shown = [line.partition(";")[0] for line in lines(await chat.type("stats 7d"))]
    assert shown == [
        "Flavor change: 4 completed, 0 failed (0%)",
        "Instance creation: 1 completed, 1 failed (50%), 1 running",
    ]


async def test_the_status_lists_sources_and_channels(chat: ChatHarness, clock: FakeClock) -> None:
    assert (await chat.type("status")).ok
    clock.advance(timedelta(hours=1))
    answer = await chat.type("status")
    assert not answer.ok
    assert without_marks(answer.title) == "Not well: 1 source blind"
    first = lines(answer)[0]
    assert first == "✗ source prod: not polled for 1 h, since 15 Jan 16:30:00 (UTC+8) → notifier check --online"


# ---- who is on duty ----


async def test_on_call_names_who_is_on_duty_and_who_follows(store: SqlStore, clock: FakeClock) -> None:
    chat = ChatHarness(store, clock)
    assert (await chat.type("oncall")).title == "No rota is configured"
    people = (DutyPerson(name="Li Wei"), DutyPerson(name="Ann"))
    rotation = Rotation(first=START.date(), at=time(), days=7)
    zone = ZoneInfo("Asia/Shanghai")
    rotas = [
        Rota(name="dba", zone=zone, people=people, rotation=rotation),
        Rota(name="cal", zone=zone, people=people, calendar="duty"),
    ]
    chat = ChatHarness(store, clock, rotas=rotas)
    answer = await chat.type("oncall")
    assert without_marks(answer.title) == "On duty now"
    assert lines(answer) == ["dba: Li Wei, until 22 Jan 00:00:00 (UTC+8), then Ann", "cal: nobody"]
    assert lines(await chat.type("oncall cal")) == ["cal: nobody"]
    entry = CalendarEntry(summary="Duty: ann", starts_at=START, ends_at=START + timedelta(hours=8))
    await store.transact(lambda tx: tx.calendars.claim_due({"duty": "1"}, START, START))
    await store.transact(lambda tx: tx.calendars.save_copy("duty", "1", [entry], START, START))
    assert lines(await chat.type("oncall CAL")) == ["cal: Ann, until 16 Jan 00:30:00 (UTC+8), then nobody"]


# ---- mutes ----


async def test_a_mute_names_its_end_and_how_to_end_it(chat: ChatHarness, store: SqlStore) -> None:
    answer = await chat.type("mute gauss-orders 2h resizing")
    assert without_marks(answer.title) == "gauss-orders is muted until 15 Jan 18:30:00 (UTC+8)"
    assert lines(answer) == [
        "Nobody will hear about its tasks, failures included. To end it: /gaussdb unmute gauss-orders"
    ]
    (mute,) = await store.read(lambda q: q.mutes(START))
    assert mute == Mute(
        id=mute.id,
        length=timedelta(hours=2),
        due_at=START,
        since=START,
        instance="in-1",
        until=START + timedelta(hours=2),
        by="U0ALICE",
        name="alice",
        created_at=START,
        reason="resizing",
        label="gauss-orders",
    )
    assert chat.woken == 1
    listed = f"{mute.id}: gauss-orders until 15 Jan 18:30:00 (UTC+8), by alice: resizing"
    assert lines(await chat.type("mutes")) == [listed]
    assert lines(await chat.type("instance gauss-orders")) == ["Muted until 15 Jan 18:30:00 (UTC+8) by alice"]
    assert without_marks((await chat.type("unmute gauss-orders")).title) == "gauss-orders is no longer muted"
    assert (await chat.type("mutes")).title == "Nothing is muted"


async def test_mutes_during_maintenance_are_listed_with_what_they_cover_now(store: SqlStore, clock: FakeClock) -> None:
    def write(tx: Transaction) -> None:
        for source, name in (("prod", "orders"), ("lab", "crm")):
            running = PlannedMaintenance(id=name, status=MaintenanceStatus.EXECUTING, instance_name=name)
            ahead = replace(running, id=f"{name}-2", status=MaintenanceStatus.SCHEDULED, instance_name="later")
            records = [
                MaintenanceRecord(source=source, planned=one, first_seen_at=START, changed_at=START)
                for one in (running, ahead)
            ]
            tx.maintenance.save(records)

    await store.transact(write)
    mutes = [
        MaintenanceMute(name="upkeep", match=parse_matchers("source=prod"), except_failures=True, reason="restarts"),
        MaintenanceMute(name="crm", match=parse_matchers("source=prod instance=crm*")),
    ]
    chat = ChatHarness(store, clock, during=mutes)
    listed = await chat.type("mutes")
    assert listed.title == "Mutes: 2"
    assert lines(listed) == [
        "upkeep: source=prod, while a maintenance of the instance is open; now: orders; failures are sent: restarts",
        "crm: source=prod instance=crm*, while a maintenance of the instance is open",
    ]
    chat.language = "zh"
    assert (
        lines(await chat.type("mutes"))[0]
        == "upkeep：source=prod，实例维护期间屏蔽；目前：orders；失败仍会通知（restarts）"
    )


@pytest.mark.parametrize(
    ("text", "title", "rows"),
    [
        ("failed 2d prod", "1 task failed in the last 2 d (prod)", ["fa11ed-1"]),
        ("failed 2d PROD", "1 task failed in the last 2 d (PROD)", ["fa11ed-1"]),
        ("failed 2d orders", "1 task failed in the last 2 d (orders)", ["fa11ed-1"]),
        ("failed 2d gauss-users", "No task failed in the last 2 d (gauss-users)", []),
        ("running gauss-users", "1 task running (gauss-users)", ["ca11ed-1"]),
        ("running orders", "No task is running (orders)", []),
        ("recent in-3", "1 task, the latest change first (in-3)", ["d0ne-1"]),
    ],
)
async def test_a_list_is_narrowed_to_a_source_or_an_instance(
    chat: ChatHarness, text: str, title: str, rows: list[str]
) -> None:
    answer = await chat.type(text)
    assert without_marks(answer.title) == title
    assert [row.subject.partition("/")[2] for row in answer.rows] == rows
    again = await chat.type(answer.command)
    assert again.title == answer.title


@pytest.mark.parametrize("text", ["stats 7d prod", "mutes prod", "status prod"])
async def test_meaningless_words_are_reported_as_ignored(chat: ChatHarness, text: str) -> None:
    assert "prod was ignored: this command takes no name" in without_marks((await chat.type(text)).note)


async def test_what_is_not_known_is_not_muted(chat: ChatHarness, store: SqlStore) -> None:
    for wanted in ("gauss-oders", "gauss-users", "nothing"):
        assert not (await chat.type(f"mute {wanted} 2h")).ok
    assert await store.read(lambda q: q.mutes(START)) == []


async def test_suggestions_are_searched_while_others_can_write(
    chat: ChatHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    where: list[str] = []

    def similar_names(wanted: str, names: Sequence[str]) -> tuple[str, ...]:
        where.append(threading.current_thread().name)
        return lookup_resembling(wanted, names)

    lookup_resembling = lookup.similar_names
    monkeypatch.setattr(lookup, "similar_names", similar_names)
    answer = await chat.type("mute gauss-oders 2h")
    assert lines(answer)[0].startswith("Did you mean one of these? gauss-orders")
    await chat.type("unmute gauss-oders")
    await chat.type("instance gauss-oders")
    assert len(where) == 2
    assert all(name.startswith("store-read") for name in where)


async def test_a_locked_database_delays_nobody_and_the_mute_follows(
    tmp_path: Path, sqlite_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack, "ANSWER_TIMEOUT", 0.05)
    async with (
        aclosing(open_store(sqlite_url, now=clock.now)) as store,
        slack_server() as server,
        aclosing(HttpClient()) as http,
    ):
        await record(store, FAILED, events=[FAILURE])
        rules = SlackChatRules(language="en", response_hosts={"127.0.0.1"})
        people = UserDirectory(None, clock)
        async with aclosing(SlackChat(ChatHarness(store, clock).responder, people, http, rules)) as handler:
            # The same library: of two in one process, neither sees the locks of the other.
            with closing(sqlite_module().connect(tmp_path / "notifier.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                form = command_form("mute gauss-orders 2h", "U0ALICE", server.response_url)
                said = await handler.command(form, "k1")
                assert "the answer follows here" in said["text"]
                await handler.interaction(
                    click_payload("acknowledge", FAILURE.id, "U0ALICE", server.response_url), "k2"
                )
                other.execute("ROLLBACK")
            async with asyncio.timeout(HANG_TIMEOUT):
                replies = {reply["text"] for reply in (await server.replies.get(), await server.replies.get())}
        assert replies == {"gauss-orders is muted until 15 Jan 18:30:00 (UTC+8)", "You have acknowledged this"}
        assert [mute.instance for mute in await store.read(lambda q: q.mutes(START))] == ["in-1"]


async def test_a_person_without_rights_changes_nothing(chat: ChatHarness, store: SqlStore) -> None:
    chat.allow = False
    assert not (await chat.type("mute gauss-orders 2h")).ok
    assert not (await chat.type("unmute gauss-orders")).ok
    answer = await chat.click("acknowledge", FAILURE.id)
    assert answer is not None
    assert not answer.ok
    assert await store.read(lambda q: (q.mutes(START), q.acknowledgement(FAILURE.id))) == ([], None)
    assert (await chat.type("failed")).ok


async def test_a_request_that_is_replayed_does_nothing(chat: ChatHarness, store: SqlStore) -> None:
    await chat.type("mute gauss-orders 2h", replay_key="k1")
    await chat.type("unmute gauss-orders", replay_key="k2")
    answer = await chat.type("mute gauss-orders 2h", replay_key="k1")
    assert not answer.ok
    assert await store.read(lambda q: q.mutes(START)) == []
    first = await chat.click("acknowledge", FAILURE.id, replay_key="k3")
    assert first is not None
    assert first.title == "You have acknowledged this"
    replayed = await chat.click("acknowledge", FAILURE.id, replay_key="k3")
    assert replayed is not None
    assert replayed.title == "This request was made before, so nothing was done again"


# ---- subscriptions to events ----


async def test_people_subscribe_list_and_unsubscribe(chat: ChatHarness) -> None:
    answer = await chat.type("subscribe gauss-*")
    assert without_marks(answer.title) == "You will get a direct message about gauss-*"
    assert lines(answer)[0].startswith("This covers ends of tasks")
    assert lines(answer)[-1] == "To end it: /gaussdb unsubscribe gauss-*"
    assert (await chat.type("subscribe  gauss-*")).title.startswith("You are already subscribed to")
    answer = await chat.type("subscribe failed source=prod", person=BOB)
    assert len(answer.lines) == 1
    assert await listed(chat) == ("Your subscriptions: 1", ["gauss-* · since 15 Jan 16:30:00 (UTC+8), by alice"])
    answer = await chat.type("unsubscribe other-*")
    assert (without_marks(answer.title), answer.ok) == ("There is no subscription to other-*", False)
    assert (await chat.type("unsubscribe gauss-*")).ok
    assert await listed(chat) == ("There are no subscriptions", ["To make one: /gaussdb subscribe prod-* failed"])
    assert (await listed(chat, person=BOB))[0] == "Your subscriptions: 1"


async def listed(chat: ChatHarness, **more: Any) -> tuple[str, list[str]]:
    answer = await chat.type("subscriptions", **more)
    return without_marks(answer.title), lines(answer)


async def test_a_channel_is_subscribed_by_those_who_may_change_things(chat: ChatHarness) -> None:
    chat.allow = False
    answer = await chat.type("subscribe here gauss-* failed", channel="C0OTHER")
    assert (answer.ok, answer.title.startswith("You are not on the list")) == (False, True)
    assert (await chat.type("subscribe gauss-* failed", channel="C0OTHER")).ok
    chat.allow = True
    answer = await chat.type("subscribe here gauss-* failed", channel="C0OTHER", person=BOB)
    assert without_marks(answer.title) == "This channel will get messages about gauss-* failed"
    assert lines(answer) == ["To end it: /gaussdb unsubscribe here gauss-* failed"]
    since = "since 15 Jan 16:30:00 (UTC+8), by"
    assert await listed(chat, channel="C0OTHER") == (
        "Your subscriptions: 1",
        [f"gauss-* failed · {since} alice", "Subscriptions of this channel: 1", f"gauss-* failed · {since} bob"],
    )
    assert (await chat.type("unsubscribe here failed gauss-*", channel="C0OTHER")).ok
    assert (await listed(chat, channel="C0OTHER"))[1] == [f"gauss-* failed · {since} alice"]


@pytest.mark.parametrize(
    ("may_post", "told"),
    [(True, []), (None, ["If no message arrives, invite the bot to this channel"]), (False, None)],
)
async def test_a_channel_that_cannot_be_posted_to_is_not_subscribed(
    chat: ChatHarness,
    *,
    may_post: bool | None,
    told: list[str] | None,
) -> None:
    async def asked() -> bool | None:
        return may_post

    answer = await chat.type("subscribe here failed", channel="C0OTHER", may_post=asked)
    assert answer.ok is (told is not None)
    assert lines(answer)[:-1] == (told or [])
    assert (await listed(chat, channel="C0OTHER"))[0] == (
        "There are no subscriptions" if told is None else "Subscriptions of this channel: 1"
    )


async def test_a_subscription_of_another_version_is_marked_and_can_be_ended(chat: ChatHarness, store: SqlStore) -> None:
    made = EventSubscription(
        id="0123456789",
        channel=str(DirectChannel("U0ALICE")),
        matchers="color=red",
        by="U0ALICE",
        name="alice",
        created_at=START,
    )
    mark = " · this version cannot read it, so nothing is sent for it. Its id: 0123456789"
    await chat.type("subscribe gauss-*")
    for wanted in ("color=red", "0123456789"):
        await store.transact(lambda tx: tx.people.subscribe_to_events(made))
        marked = [line.endswith(mark) for line in (await listed(chat))[1]]
        assert sorted(marked) == [False, True]
        assert (await chat.type(f"unsubscribe {wanted}")).ok
    assert len((await listed(chat))[1]) == 1


async def test_all_subscriptions_end_together(chat: ChatHarness) -> None:
    for text in ("a-*", "b-*", "c-*"):
        await chat.type(f"subscribe {text}")
    await chat.type("subscribe here a-*", channel="C0OTHER")
    assert (await chat.type("unsubscribe all")).title == "3 subscriptions have ended"
    assert not (await chat.type("unsubscribe all")).ok
    assert (await listed(chat, channel="C0OTHER"))[0] == "Subscriptions of this channel: 1"


@pytest.mark.parametrize(
    ("text", "more", "title"),
    [
        ("subscribe failed", {"direct": False}, "Direct messages cannot be sent from here"),
        ("subscribe here failed", {"direct": False}, "Direct messages cannot be sent from here"),
        ("unsubscribe all", {"direct": False}, "Direct messages cannot be sent from here"),
        ("subscribe here failed", {}, "Only a channel can be subscribed with the word here."),
        ("subscriptions", {"direct": False}, "There are no subscriptions"),
        ("subscribe enviroment=prod", {}, "unknown field 'enviroment', did you mean 'environment'?"),
    ],
)
async def test_what_cannot_be_subscribed_is_explained(
    chat: ChatHarness, text: str, more: dict[str, Any], title: str
) -> None:
    assert without_marks((await chat.type(text, **more)).title).startswith(title)
    assert (await listed(chat))[0] == "There are no subscriptions"


# ---- watches ----


async def test_a_wish_is_kept_until_the_task_ends(chat: ChatHarness, store: SqlStore) -> None:
    assert (await chat.type("watch ca11")).title == "You will get a direct message when this task ends"
    assert (await chat.type("watch ca11")).title == "You are already waiting for this task"
    taken = await store.transact(lambda tx: tx.people.pop_subscribers("prod", ["ca11ed-1", "fa11ed-1"]))
    assert taken == {"ca11ed-1": ["U0ALICE"]}
    assert await store.transact(lambda tx: tx.people.pop_subscribers("prod", ["ca11ed-1"])) == {}


async def test_a_task_that_has_ended_is_not_waited_for(chat: ChatHarness) -> None:
    answer = await chat.type("watch fa11")
    assert without_marks(answer.title) == "This task has ended: Failed at 15 Jan 16:30:00 (UTC+8)"


async def test_an_impossible_direct_message_is_reported(chat: ChatHarness) -> None:
    assert (await chat.type("watch ca11", direct=False)).title == "Direct messages cannot be sent from here"


# ---- clicks ----


async def test_an_acknowledgement_is_recorded_once(chat: ChatHarness, store: SqlStore, clock: FakeClock) -> None:
    told = [ThreadUpdate(subject=FAILURE.subject, event_id=FAILURE.id, thread="C:1")]
    await store.transact(lambda tx: tx.threads.update("dba", told, START))
    assert await chat.click("acknowledge", FAILURE.id, message="C:1") is None  # the message shows it
    clock.advance(timedelta(minutes=1))
    second = await chat.click("acknowledge", FAILURE.id, BOB)
    assert second is not None
    assert without_marks(second.title) == "alice has acknowledged this at 15 Jan 16:30:00 (UTC+8)"
    acknowledgement = await store.read(lambda q: q.acknowledgement(FAILURE.id))
    assert acknowledgement is not None
    assert (acknowledgement.by, acknowledgement.at) == ("U0ALICE", START)


async def test_an_acknowledgement_is_taken_back(chat: ChatHarness, store: SqlStore) -> None:
    nobody = await chat.click("unacknowledge", FAILURE.id)
    assert nobody is not None
    assert (nobody.title, nobody.ok) == ("Nobody has acknowledged this", False)
    told = [ThreadUpdate(subject=FAILURE.subject, event_id=FAILURE.id, thread="C:1")]
    await store.transact(lambda tx: tx.threads.update("dba", told, START))
    await chat.click("acknowledge", FAILURE.id, message="C:1")
    assert await chat.click("unacknowledge", FAILURE.id, BOB, message="C:1") is None  # the message shows it
    assert await store.read(lambda q: q.acknowledgement(FAILURE.id)) is None
    await chat.click("acknowledge", FAILURE.id)
    elsewhere = await chat.click("unacknowledge", FAILURE.id, BOB)
    assert elsewhere is not None
    assert without_marks(elsewhere.title) == "The acknowledgement by alice is taken back"
    chat.allow = False
    refused = await chat.click("unacknowledge", FAILURE.id)
    assert refused is not None
    assert not refused.ok


@pytest.mark.parametrize("action", ["acknowledge", "unacknowledge"])
async def test_what_a_task_has_left_behind_is_not_acknowledged(chat: ChatHarness, store: SqlStore, action: str) -> None:
    later = make_event(
        replace(FAILED, status=TaskStatus.RUNNING, ended_at=None),
        type=EventType.TASK_RESTARTED,
        occurrence="again",
    )
    await record(store, events=[later])
    answer = await chat.click(action, FAILURE.id)
    assert answer is not None
    assert without_marks(answer.title) == "This is over: Instance creation restarted at 15 Jan 16:30:00 (UTC+8)"
    assert await store.read(lambda q: q.acknowledgement(FAILURE.id)) is None


@pytest.mark.parametrize("value", ["", "x", "2h:x", "\ue000", "0:failed"])
@pytest.mark.parametrize("action", ["acknowledge", "unacknowledge", "mute", "unmute"])
async def test_a_click_on_a_missing_task_reports_it(chat: ChatHarness, action: str, value: str) -> None:
    answer = await chat.click(action, value)
    assert answer is not None
    assert answer.title == "The task or fault of this message is no longer recorded"


@pytest.mark.parametrize("value", ["0:mute gauss-orders 2h", "0:watch ca11", "0:faild", ":", ""])
async def test_a_page_shows_and_never_changes(chat: ChatHarness, store: SqlStore, value: str) -> None:
    await chat.click("share", value)
    assert await store.read(lambda q: q.mutes(START)) == []
    assert await store.transact(lambda tx: tx.people.pop_subscribers("prod", ["ca11ed-1"])) == {}


async def test_a_link_needs_no_answer(chat: ChatHarness) -> None:
    assert await chat.click("console", "") is None


class Away(SqlStore):
    """A store that cannot be reached."""

    async def read(self, fn: Callable[[Queries], T]) -> T:  # noqa: ARG002 - whatever it is
        raise StoreUnreachable("no answer")

    async def transact(self, fn: Callable[[Transaction], T], *, short: bool = False) -> T:  # noqa: ARG002 - likewise
        raise StoreUnreachable("no answer")


async def test_an_unavailable_store_is_reported_in_words(chat: ChatHarness, store: SqlStore) -> None:
    store.__class__ = Away
    for text in ("failed", "mute gauss-orders 2h", "watch ca11"):
        answer = await chat.type(text)
        assert not answer.ok
        assert "database does not answer" in answer.title
    store.__class__ = SqlStore


# ---- many at once ----


async def test_equal_queries_that_wait_are_read_once(
    chat: ChatHarness, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, reads, read = asyncio.Event(), 0, store.read

    async def held(fn: Callable[[Queries], T]) -> T:
        nonlocal reads
        reads += 1
        await free.wait()
        return await read(fn)

    monkeypatch.setattr(store, "read", held)
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(chat.type(text, person)) for text in ("failed 24h", "running") for person in PEOPLE]
        chinese = group.create_task(
            chat.responder.answer(CommandRequest(text="running", person=BOB), "zh", chat.allowed)
        )
        await yielded()
        free.set()
    titles = [task.result().title for task in asked]
    assert titles == ["1 task failed in the last 24 h"] * len(PEOPLE) + ["1 task running"] * len(PEOPLE)
    assert (found := chinese.result())
    assert not found.title.isascii()
    assert reads == 3


async def test_a_query_after_a_read_began_is_read_by_itself(
    chat: ChatHarness, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, free, read = asyncio.Event(), asyncio.Event(), store.read

    async def slow(fn: Callable[[Queries], T]) -> T:
        result = await read(fn)
        begun.set()
        await free.wait()
        return result

    monkeypatch.setattr(store, "read", slow)
    early = asyncio.create_task(chat.type("mutes"))
    await begun.wait()
    monkeypatch.setattr(store, "read", read)
    await chat.type("mute gauss-orders 2h")
    late = await chat.type("mutes")
    free.set()
    assert ((await early).title, late.title) == ("Nothing is muted", "Mutes: 1")


async def test_a_read_that_one_person_leaves_goes_on_for_the_others(
    chat: ChatHarness, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, read = asyncio.Event(), store.read

    async def held(fn: Callable[[Queries], T]) -> T:
        await free.wait()
        return await read(fn)

    monkeypatch.setattr(store, "read", held)
    leaves, stays = (asyncio.create_task(chat.type("failed 24h", person)) for person in PEOPLE)
    await yielded()
    leaves.cancel()
    free.set()
    assert (await stays).title == "1 task failed in the last 24 h"


async def test_a_database_that_answers_again_is_read_again(
    chat: ChatHarness, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(_: Callable[[Queries], T]) -> T:
        raise StoreUnreachable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store, "read", unreachable)
        assert not (await chat.type("failed 24h")).ok
    assert (await chat.type("failed 24h")).ok


async def yielded() -> None:
    """Let the tasks that were created run until they wait."""
    for _ in range(3):
        await asyncio.sleep(0)


# ---- words ----


async def test_every_answer_can_be_given_in_chinese(chat: ChatHarness) -> None:
    texts: Sequence[str] = ("failed", "running", "recent", "task fa11", "stats", "status", "help", "mutes", "faild")
    for text in texts:
        answer = await chat.responder.answer(CommandRequest(text=text, person=ALICE), "zh", chat.allowed)
        assert answer is not None
        assert not answer.title.isascii()


async def test_a_mute_by_matchers_is_planned_extended_and_ended_by_its_id(chat: ChatHarness, store: SqlStore) -> None:
    planned = await chat.type("mute gauss-* 22:00 4h but failures patch day")
    assert without_marks(planned.title) == (
        "gauss-* will be muted from 15 Jan 22:00:00 (UTC+8) until 16 Jan 02:00:00 (UTC+8)"
    )
    (mute,) = await store.read(lambda q: q.known_mutes())
    assert lines(planned) == [
        f"Failures and whatever else needs somebody are still sent. To end it: /gaussdb unmute {mute.id}"
    ]
    extended = await chat.type(f"extend {mute.id} 1h")
    assert without_marks(extended.title) == (
        "gauss-* will be muted from 15 Jan 22:00:00 (UTC+8) until 16 Jan 03:00:00 (UTC+8)"
    )
    assert lines(await chat.type("mutes")) == [
        (
            f"{mute.id}: gauss-* from 15 Jan 22:00:00 (UTC+8) until 16 Jan 03:00:00 (UTC+8), by alice; "
            "failures are sent: patch day"
        )
    ]
    assert without_marks((await chat.type(f"unmute {mute.id}")).title) == (
        "gauss-* will not be muted from 15 Jan 22:00:00 (UTC+8) on"
    )
    assert not (await chat.type(f"unmute {mute.id}")).ok
    assert not (await chat.type(f"extend {mute.id} 1h")).ok


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("mute gauss-* until 2020-01-01", "That would have ended already."),
        ("mute source=nowhere 2h", "This is nothing that can be muted: source=nowhere."),
        ("mute label.team=nobody 2h", "This is nothing that can be muted: label.team=nobody."),
        ("mute gauss-* 2028-01-01 2h", "That would begin more than a year from now."),
        ("mute gauss-* cron '61 * * * *' 2h", "61 * * * * is not a schedule of five fields such as 0 22 * * 6."),
        ("mute gauss-* every day 02:00 2d", "Its windows would overlap, for each lasts 2d: it would never end."),
        ("mute gauss-* until 2026-03-20", "A mute lasts from 1 minute to 30 days, not 63d7h30m."),
    ],
)
async def test_a_mute_that_cannot_be_is_explained(chat: ChatHarness, store: SqlStore, text: str, title: str) -> None:
    answer = await chat.type(text.replace("'", '"'))
    assert (answer.ok, without_marks(answer.title).startswith(title)) == (False, True), answer.title
    assert await store.read(lambda q: q.known_mutes()) == []


# ---- open failures ----


async def fail(store: SqlStore, *tasks: Task) -> None:
    """Record open failures of these tasks."""
    items = [RoutedEvent(event=make_event(task), routes=(), channels=("dba",)) for task in tasks]
    told = {item.event.id: item.channels for item in items}
    changed = after_events(items, {}, told, RoutingConfig(), START)
    await store.transact(lambda tx: tx.failures.save(changed))


async def test_open_lists_what_is_not_over_and_resolve_closes_it(chat: ChatHarness, store: SqlStore) -> None:
    assert (await chat.type("open")).title == "Nothing is open"
    other = make_task("0ther-1", instance_name="gauss-users", instance_id="in-2", fail_reason=None)
    await fail(store, FAILED, other)
    listed = await chat.type("open")
    assert listed.title == "2 open, 0 acknowledged"
    assert {row.subject for row in listed.rows} == {"prod/fa11ed-1", "prod/0ther-1"}
    assert "nobody takes care of it" in without_marks(listed.rows[0].detail)
    narrowed = await chat.type("open gauss-users")
    assert [row.subject for row in narrowed.rows] == ["prod/0ther-1"]
    await chat.click("acknowledge", FAILURE.id)
    status = await chat.type("status")
    assert status.ok
    assert lines(status)[0] == "– 1 open failure that nobody has acknowledged → /gaussdb open"
    taken = await chat.type("open")
    assert taken.title == "1 open, 1 acknowledged"
    assert [row.emoji for row in taken.rows] == ["🔴", "✅"]
    assert "alice takes care of it" in without_marks(taken.rows[1].detail)
    resolved = await chat.type("resolve gauss-orders quota raised")
    assert without_marks(resolved.title) == "✓ resolved: Instance creation failed on gauss-orders"
    assert not (await chat.type("resolve gauss-orders")).ok
    assert (await chat.type("open")).title == "1 open, 0 acknowledged"


async def test_many_open_failures_are_listed_page_by_page(chat: ChatHarness, store: SqlStore) -> None:
    tasks = [make_task(f"many-{n:02}", instance_name=f"gauss-{n:02}", instance_id=f"id-{n:02}") for n in range(23)]
    await fail(store, *tasks)
    first = await chat.type("open")
    assert (len(first.rows), first.before, first.after) == (10, None, 10)
    last = await chat.click("page_after", "20:open")
    assert last
    assert (len(last.rows), last.before, last.after) == (3, 10, None)


async def test_resolving_is_for_those_who_may_change_things(chat: ChatHarness, store: SqlStore) -> None:
    await fail(store, FAILED)
    chat.allow = False
    assert not (await chat.type("resolve gauss-orders")).ok
    assert (await chat.type("open")).title == "1 open, 0 acknowledged"
    chat.allow = True
    await fail(store, make_task("fa11ed-2", instance_name="other", instance_id="in-9"))
    assert "several jobs" in (await chat.type("resolve fa11")).title
