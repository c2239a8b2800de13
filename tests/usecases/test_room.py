"""The room behind the doors of the chat, over a real store."""

from __future__ import annotations

import asyncio
import string
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest
from factories import PROJECT_ID, REGION, make_event, make_task
from fakes import START, FakeClock
from patience import HANG
from servers.slack import click_payload, command_form, slack_server

from notifier import lookup
from notifier.chat.phrases import PHRASES
from notifier.chat.requests import Answer, Asked, Clicked, unmarked
from notifier.chat.responder import ChatRoom, RoomRules
from notifier.core.diff import Recorded
from notifier.core.errors import StoreUnreachable
from notifier.core.health import Expected, WatchedSource
from notifier.core.model import DIRECT, Event, EventType, Mute, Person, Scope, Snapshot, Task, TaskStatus
from notifier.core.outbox import RoutedEvent
from notifier.http import HttpClient
from notifier.integrations.slack import chat as slack
from notifier.integrations.slack import replies as blocks
from notifier.integrations.slack.chat import SlackHandler, SlackRules
from notifier.integrations.slack.users import Directory
from notifier.ports import Queries, ThreadUpdate, Transaction, Update
from notifier.store.engine import SqlStore, open_store
from notifier.store.sqlite import sqlite_module
from notifier.wording.formatter import Localizer

ALICE, BOB = Person(id="U0ALICE", name="alice"), Person(id="U0BOB", name="bob")
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


async def record(store: SqlStore, *tasks: Task, events: Collection[Event] = ()) -> None:
    """Record what a poll found."""

    def write(tx: Transaction) -> None:
        claim = tx.claim_poll("prod", "me", START, LEASE, force=True)
        assert claim
        tx.fingerprints(claim)
        updates = [Update(recorded=Recorded(task=task, occurrence="o"), fingerprint=b"1") for task in tasks]
        tx.record_tasks(claim, updates, START)
        tx.record_events([RoutedEvent(event=event, routes=(), channels=()) for event in events])
        snapshot = Snapshot(
            source="prod", taken_at=START, fingerprints={}, complete=True, scope=Scope.FULL, total_count=0
        )
        tx.record_poll(claim, snapshot, START, START)

    await store.transact(write)


PROD = WatchedSource(name="prod", region=REGION, project_id=PROJECT_ID, poll_every=timedelta(seconds=30))


class Talk:
    """A room, and what is said in it."""

    def __init__(self, store: SqlStore, clock: FakeClock) -> None:
        self.woken = 0
        self.allow = True
        zone = ZoneInfo("Asia/Shanghai")
        rules = RoomRules(
            localizers={"en": Localizer(language="en", timezone=zone), "zh": Localizer(language="zh", timezone=zone)},
            expected=Expected(sources=[PROD], channels=("dba",)),
        )
        self.room = ChatRoom(store, clock, rules, self.wake)

    def wake(self) -> None:
        self.woken += 1

    async def allowed(self) -> bool:
        return self.allow

    async def say(self, text: str, person: Person = ALICE, **more: object) -> Answer:
        asked = replace(Asked(text=text, person=person), **more)  # type: ignore[arg-type]  # the fields of the value
        answer = await self.room.answer(asked, "en", self.allowed)
        assert answer is not None
        return answer

    async def click(
        self, action: str, value: str, person: Person = ALICE, once: str | None = None, message: str = ""
    ) -> Answer | None:
        clicked = Clicked(action=action, value=value, person=person, message=message, once=once)
        return await self.room.answer(clicked, "en", self.allowed)


@pytest.fixture
async def talk(store: SqlStore, clock: FakeClock) -> Talk:
    await record(store, FAILED, RUNNING, DONE, events=[FAILURE])
    return Talk(store, clock)


def lines(answer: Answer) -> list[str]:
    return [unmarked(line) for line in answer.lines]


# ---- look-ups ----


async def test_failures_are_listed_with_their_reasons_and_freshness(talk: Talk) -> None:
    answer = await talk.say("failed 24h")
    assert answer.title == "1 task failed in the last 1 d"
    (row,) = answer.rows
    assert (row.label, row.instance, row.subject) == ("Create instance", "gauss-orders", "prod/fa11ed-1")
    assert unmarked(row.said).startswith("15 Jan 16:30:00 CST, took ")
    assert answer.note == "as of 15 Jan 16:30:00 CST · prod polled under 1 s ago"


async def test_what_is_empty_says_what_was_looked_at_and_when(talk: Talk, clock: FakeClock) -> None:
    clock.advance(timedelta(days=2))
    answer = await talk.say("failed 1h")
    assert (answer.title, answer.rows) == ("No task failed in the last 1 h", [])
    assert answer.note == "as of 17 Jan 16:30:00 CST · prod polled 2 d ago"


async def test_what_runs_is_listed_with_its_progress(talk: Talk) -> None:
    answer = await talk.say("running")
    assert answer.title == "1 task running"
    assert unmarked(answer.rows[0].said).endswith(" · 40%")


async def test_a_long_list_is_shown_in_pages(talk: Talk, store: SqlStore) -> None:
    await record(store, *(replace(RUNNING, job_id=f"more-{n:02}") for n in range(24)))
    first = await talk.say("running")
    assert (len(first.rows), first.before, first.after, first.command) == (10, None, 10, "running")
    assert first.note.startswith("1–10 of 25")
    last = await talk.click("page_after", "20:running")
    assert last is not None
    assert (len(last.rows), last.before, last.after) == (5, 10, None)


async def test_one_task_is_told_whole(talk: Talk) -> None:
    answer = await talk.say("task fa11")
    assert unmarked(answer.title) == "Create instance · gauss-orders: Failed"
    assert answer.quote == FAILED.fail_reason
    assert ("Job", "fa11ed-1", True) in answer.facts
    assert lines(answer) == ["15 Jan 16:30:00 CST · Task failed"]


async def test_a_task_that_nobody_knows_is_said_to_be_unknown(talk: Talk) -> None:
    answer = await talk.say("task zzz")
    assert unmarked(answer.title) == "No task is known whose job id begins with zzz"
    assert not answer.good


async def test_an_instance_is_found_by_its_name_and_by_its_id(talk: Talk) -> None:
    assert (await talk.say("instance gauss-orders")).rows == (await talk.say("instance in-1")).rows
    several = await talk.say("instance gauss-users")
    assert lines(several) == ["Did you mean one of these? in-2, in-3"]
    unknown = await talk.say("instance gauss-oders")
    assert lines(unknown) == ["Did you mean one of these? gauss-orders, gauss-users"]


async def test_statistics_count_and_measure(talk: Talk) -> None:
    (line,) = lines(await talk.say("stats 7d"))
    assert line.startswith("Create instance: 1 completed, 1 failed (50 %), 1 running; took ")


async def test_the_status_tells_of_sources_and_channels(talk: Talk, clock: FakeClock) -> None:
    assert (await talk.say("status")).good
    clock.advance(timedelta(hours=1))
    answer = await talk.say("status")
    assert not answer.good
    assert unmarked(answer.title) == "Not well: 1 source blind"
    assert lines(answer)[0] == "✗ source prod: not polled since 15 Jan 16:30:00 CST (1 h) → notifier check --online"


# ---- mutes ----


async def test_a_mute_names_its_end_and_how_to_end_it(talk: Talk, store: SqlStore) -> None:
    answer = await talk.say("mute gauss-orders 2h resizing")
    assert unmarked(answer.title) == "gauss-orders is muted until 15 Jan 18:30:00 CST"
    assert lines(answer) == ["Nobody is told of its tasks until then. To end it: /gaussdb unmute gauss-orders"]
    (mute,) = await store.read(lambda q: q.mutes(START))
    assert mute == Mute(
        instance="in-1",
        until=START + timedelta(hours=2),
        by="U0ALICE",
        name="alice",
        created_at=START,
        reason="resizing",
        label="gauss-orders",
    )
    assert talk.woken == 1
    assert lines(await talk.say("mutes")) == ["gauss-orders until 15 Jan 18:30:00 CST, by alice: resizing"]
    assert lines(await talk.say("instance gauss-orders")) == ["Muted until 15 Jan 18:30:00 CST by alice"]
    assert unmarked((await talk.say("unmute gauss-orders")).title) == "gauss-orders is not muted any more"
    assert (await talk.say("mutes")).title == "No instance is muted"


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
    talk: Talk, text: str, title: str, rows: list[str]
) -> None:
    answer = await talk.say(text)
    assert unmarked(answer.title) == title
    assert [row.subject.partition("/")[2] for row in answer.rows] == rows
    again = await talk.say(answer.command)
    assert again.title == answer.title


@pytest.mark.parametrize("text", ["stats 7d prod", "mutes prod", "status prod"])
async def test_words_that_mean_nothing_are_said_to_be_ignored(talk: Talk, text: str) -> None:
    assert "prod was ignored: this command takes no name" in unmarked((await talk.say(text)).note)


async def test_what_is_not_known_is_not_muted(talk: Talk, store: SqlStore) -> None:
    for wanted in ("gauss-oders", "gauss-users", "nothing"):
        assert not (await talk.say(f"mute {wanted} 2h")).good
    assert await store.read(lambda q: q.mutes(START)) == []


async def test_suggestions_are_searched_while_others_can_write(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[str] = []

    def resembling(wanted: str, names: Sequence[str]) -> tuple[str, ...]:
        where.append(threading.current_thread().name)
        return lookup_resembling(wanted, names)

    lookup_resembling = lookup.resembling
    monkeypatch.setattr(lookup, "resembling", resembling)
    answer = await talk.say("mute gauss-oders 2h")
    assert lines(answer)[0].startswith("Did you mean one of these? gauss-orders")
    await talk.say("unmute gauss-oders")
    await talk.say("instance gauss-oders")
    assert len(where) == 2
    assert all(name.startswith("store-read") for name in where)


async def test_a_locked_database_delays_nobody_and_the_mute_follows(
    tmp_path: Path, sqlite_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack, "ANSWER_WITHIN", 0.05)
    async with (
        aclosing(open_store(sqlite_url, now=clock.now)) as store,
        slack_server() as server,
        aclosing(HttpClient()) as http,
    ):
        await record(store, FAILED, events=[FAILURE])
        rules = SlackRules(language="en", response_hosts={"127.0.0.1"})
        people = Directory(None, clock)
        async with aclosing(SlackHandler(Talk(store, clock).room, people, http, rules, blocks.payload)) as handler:
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
            async with asyncio.timeout(HANG):
                replies = {reply["text"] for reply in (await server.replies.get(), await server.replies.get())}
        assert replies == {"gauss-orders is muted until 15 Jan 18:30:00 CST", "You have acknowledged this"}
        assert [mute.instance for mute in await store.read(lambda q: q.mutes(START))] == ["in-1"]


async def test_who_may_not_changes_nothing(talk: Talk, store: SqlStore) -> None:
    talk.allow = False
    assert not (await talk.say("mute gauss-orders 2h")).good
    assert not (await talk.say("unmute gauss-orders")).good
    answer = await talk.click("acknowledge", FAILURE.id)
    assert answer is not None
    assert not answer.good
    assert await store.read(lambda q: (q.mutes(START), q.acknowledgement(FAILURE.id))) == ([], None)
    assert (await talk.say("failed")).good


async def test_a_request_that_is_replayed_does_nothing(talk: Talk, store: SqlStore) -> None:
    await talk.say("mute gauss-orders 2h", once="k1")
    await talk.say("unmute gauss-orders", once="k2")
    answer = await talk.say("mute gauss-orders 2h", once="k1")
    assert not answer.good
    assert await store.read(lambda q: q.mutes(START)) == []
    first = await talk.click("acknowledge", FAILURE.id, once="k3")
    assert first is not None
    assert first.title == "You have acknowledged this"
    replayed = await talk.click("acknowledge", FAILURE.id, once="k3")
    assert replayed is not None
    assert replayed.title == "This request was made before: nothing was done again"


# ---- watches ----


async def test_a_wish_is_kept_until_the_task_ends(talk: Talk, store: SqlStore) -> None:
    assert (await talk.say("watch ca11")).title == "You will get a direct message when this task ends"
    assert (await talk.say("watch ca11")).title == "You are already waiting for this task"
    taken = await store.transact(lambda tx: tx.take_watchers("prod", ["ca11ed-1", "fa11ed-1"]))
    assert taken == {"ca11ed-1": ["U0ALICE"]}
    assert await store.transact(lambda tx: tx.take_watchers("prod", ["ca11ed-1"])) == {}


async def test_a_task_that_has_ended_is_not_waited_for(talk: Talk) -> None:
    assert (await talk.say("watch fa11")).title == "This task has ended: Failed at 15 Jan 16:30:00 CST"


async def test_where_no_direct_message_can_be_sent_that_is_said(talk: Talk) -> None:
    assert (await talk.say("watch ca11", direct=False)).title == "Direct messages cannot be sent from here"


# ---- clicks ----


async def test_an_acknowledgement_is_recorded_once(talk: Talk, store: SqlStore, clock: FakeClock) -> None:
    told = [ThreadUpdate(subject=FAILURE.subject, event_id=FAILURE.id, thread="C:1")]
    await store.transact(lambda tx: tx.tell_threads("dba", told, START))
    assert await talk.click("acknowledge", FAILURE.id, message="C:1") is None  # the message shows it
    clock.advance(timedelta(minutes=1))
    second = await talk.click("acknowledge", FAILURE.id, BOB)
    assert second is not None
    assert unmarked(second.title) == "alice has acknowledged this at 15 Jan 16:30:00 CST"
    standing = await store.read(lambda q: q.acknowledgement(FAILURE.id))
    assert standing is not None
    assert (standing.by, standing.at) == ("U0ALICE", START)


async def test_what_a_task_has_left_behind_is_not_acknowledged(talk: Talk, store: SqlStore) -> None:
    later = make_event(
        replace(FAILED, status=TaskStatus.RUNNING, ended_at=None),
        type=EventType.TASK_RESTARTED,
        occurrence="again",
    )
    await record(store, events=[later])
    answer = await talk.click("acknowledge", FAILURE.id)
    assert answer is not None
    assert answer.title == "This is over: Task restarted at 15 Jan 16:30:00 CST"
    assert await store.read(lambda q: q.acknowledgement(FAILURE.id)) is None


@pytest.mark.parametrize("value", ["", "x", "2h:x", "\ue000", "0:failed"])
@pytest.mark.parametrize("action", ["acknowledge", "mute", "unmute"])
async def test_a_click_on_what_is_gone_says_so(talk: Talk, action: str, value: str) -> None:
    answer = await talk.click(action, value)
    assert answer is not None
    assert answer.title == "What this message is about is not recorded any more"


@pytest.mark.parametrize("value", ["0:mute gauss-orders 2h", "0:watch ca11", "0:faild", ":", ""])
async def test_a_page_shows_and_never_changes(talk: Talk, store: SqlStore, value: str) -> None:
    await talk.click("share", value)
    assert await store.read(lambda q: q.mutes(START)) == []
    assert await store.transact(lambda tx: tx.take_watchers("prod", ["ca11ed-1"])) == {}


async def test_a_link_needs_no_answer(talk: Talk) -> None:
    assert await talk.click("console", "") is None


class Away(SqlStore):
    """A store that cannot be reached."""

    async def read(self, fn: Callable[[Queries], T]) -> T:  # noqa: ARG002 - whatever it is
        raise StoreUnreachable("no answer")

    async def transact(self, fn: Callable[[Transaction], T]) -> T:  # noqa: ARG002 - likewise
        raise StoreUnreachable("no answer")


async def test_a_store_that_is_away_is_told_in_words(talk: Talk, store: SqlStore) -> None:
    store.__class__ = Away
    for text in ("failed", "mute gauss-orders 2h", "watch ca11"):
        answer = await talk.say(text)
        assert not answer.good
        assert "database does not answer" in answer.title
    store.__class__ = SqlStore


# ---- words ----


def placeholders(phrase: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(phrase) if name}


def test_both_languages_say_the_same() -> None:
    english, chinese = PHRASES["en"], PHRASES["zh"]
    assert english.keys() == chinese.keys()
    assert {key for key in english if placeholders(english[key]) != placeholders(chinese[key])} == set()


async def test_every_answer_can_be_given_in_chinese(talk: Talk) -> None:
    texts: Sequence[str] = ("failed", "running", "recent", "task fa11", "stats", "status", "help", "mutes", "faild")
    for text in texts:
        answer = await talk.room.answer(Asked(text=text, person=ALICE), "zh", talk.allowed)
        assert answer is not None
        assert not answer.title.isascii()


def test_a_person_is_no_configured_channel() -> None:
    assert ":" in DIRECT
