"""The page Now in this process: one count everywhere, what buttons do, who sees them, and texts from outside."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from factories import hostile_event, make_delivery, make_event, make_storm, make_task
from fakes import START, FakeClock
from web_site import FixedAccess, Site, open_site, viewer

from notifier.core.delivery import DeliveryState
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.failures import FailureState, OpenFailure, failure_id
from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.identity import Subject
from notifier.core.model import Event
from notifier.core.people import Verb
from notifier.core.routing import RoutedEvent
from notifier.core.severity import Severity
from notifier.core.tickets import operation_of
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction
from notifier.web.access.viewer import AccessRole

HOUR = timedelta(hours=1)
EXPECTED = Expected(
    sources=[ConfiguredSource(name="prod", region="cn-north-4", project_id="p", poll_every=HOUR)],
    channels=["dba", "mail"],
)


def record(tx: Transaction, *events: Event) -> None:
    """Record failures with their tasks, each with a message to `dba`."""
    claim = tx.polls.claim("prod", "me", START, HOUR, poll_every=HOUR, force=True)
    assert claim
    writes = [
        TaskWrite(recorded=RecordedTask(task=one.task, occurrence="o"), fingerprint=b"1") for one in events if one.task
    ]
    tx.polls.record_tasks(claim, writes, START)
    tx.events.record([RoutedEvent(event=event, routes=(), channels=("dba",)) for event in events])
    tx.deliveries.record([make_delivery(event, channel="dba", state=DeliveryState.DELIVERED) for event in events])
    tx.failures.save([opened(event) for event in events])


def opened(event: Event) -> OpenFailure:
    return OpenFailure(
        id=failure_id(event.id),
        operation=operation_of(event) or "",
        first_event_id=event.id,
        latest=event,
        opened_at=event.occurred_at or START,
        severity=Severity.ERROR,
        changed_at=START,
    )


def failure(job_id: str) -> Event:
    return make_event(make_task(job_id, name=f"Operation{job_id}"))


async def notice(site: Site, url: str, **form: str) -> str:
    """Submit a form; return what the page says afterwards."""
    answer = await site.post(url, **form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    page = (await site.get("/")).text
    found = re.search(r'role="status" tabindex="-1" data-focus>.*?<span>(.*?)</span>', page, re.DOTALL)
    assert found, page
    return found[1]


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    """Return a database of one kind: what is read is tested on both by `test_page_reads`."""
    return sqlite_url


# ---- one count ----


async def test_the_verdict_the_tab_and_the_title_have_one_number(store: SqlStore) -> None:
    def write(tx: Transaction) -> None:
        record(tx, failure("one"), failure("two"))
        tx.channels.park("mail", "HTTP 401: refused", None, START)

    await store.transact(write)
    async with open_site(store, expected=replace(EXPECTED, sources=())) as site:
        page = (await site.get("/")).text
    assert "<title>(3) Now" in page
    assert '<span aria-hidden="true">3</span>' in page
    assert "3 things need somebody" in page
    assert "2 failures, 1 parked channel" in page


async def test_an_empty_database_is_blind_where_a_source_is_configured_and_calm_else(store: SqlStore) -> None:
    async with open_site(store, expected=EXPECTED) as site:
        page = (await site.get("/")).text
        assert "Blind: nothing is watched" in page
        assert "No poll has succeeded yet" in page
    async with open_site(store) as site:
        page = (await site.get("/")).text
        assert "All is well" in page
        assert "Nothing needs you" in page
        assert "一切正常" in (await site.get("/", headers={"Accept-Language": "zh"})).text


# ---- what buttons do ----


async def test_a_failure_is_acknowledged_once_and_others_see_who_did(store: SqlStore) -> None:
    event = failure("one")
    await store.transact(lambda tx: record(tx, event))
    async with open_site(store) as site:
        said = await notice(site, "/now/acknowledge", event=event.id)
        assert said == "You take care of Operationone · gauss-6568-zzh. Everybody who was told sees that."
        site.access.who = viewer(name="Li Wei")
        again = await notice(site, "/now/acknowledge", event=event.id)
        assert again == "Chen Jing takes care of Operationone · gauss-6568-zzh already."
        page = (await site.get("/")).text
        assert site.woken
    assert "Nothing needs you" in page
    assert "Chen Jing, " in page
    (found,) = await store.read(lambda q: q.open_failures())
    assert (found.state, found.acknowledged and found.acknowledged.by) == (FailureState.ACKNOWLEDGED, "web:Chen Jing")
    (action,) = await store.read(lambda q: q.actions(5))
    assert (action.verb, action.name) == (Verb.ACKNOWLEDGE, "Chen Jing")


async def test_what_has_changed_or_is_gone_is_not_acknowledged(store: SqlStore) -> None:
    event = failure("one")
    later = make_event(make_task("one", name="Operationone", status="completed"))

    def write(tx: Transaction) -> None:
        record(tx, event)
        tx.events.record([RoutedEvent(event=later, routes=(), channels=())])

    await store.transact(write)
    async with open_site(store) as site:
        assert "has changed since; nothing was acknowledged" in await notice(site, "/now/acknowledge", event=event.id)
        for unknown in ({"event": "nothing"}, {"event": later.id}, {}):
            assert await notice(site, "/now/acknowledge", **unknown) == "This failure is no longer recorded."
        assert await notice(site, "/now/acknowledge", storm="nothing") == "This storm is no longer recorded."
    assert not await store.read(lambda q: q.actions(5))


async def test_a_storm_is_acknowledged_as_a_whole(store: SqlStore) -> None:
    storm, events = make_storm(id="s"), [failure(str(number)) for number in range(3)]

    def write(tx: Transaction) -> None:
        tx.storms.save(storm, START)
        record(tx, *events)
        subject = str(Subject(storm="s"))
        tx.deliveries.record([make_delivery(event, channel="mail", subject=subject) for event in events])

    await store.transact(write)
    async with open_site(store) as site:
        assert "3 failures of a storm on prod" in (await site.get("/")).text
        assert "You take care of the failures of the storm." in await notice(site, "/now/acknowledge", storm="s")
        assert "Nothing needs you" in (await site.get("/")).text


async def test_what_waits_for_a_parked_channel_is_tried_now(store: SqlStore) -> None:
    event = failure("one")

    def write(tx: Transaction) -> None:
        tx.events.record([RoutedEvent(event=event, routes=(), channels=("mail",))])
        tx.deliveries.record([make_delivery(event, channel="mail")])
        tx.channels.park("mail", "HTTP 401: refused", None, START)

    await store.transact(write)
    async with open_site(store, expected=replace(EXPECTED, sources=())) as site:
        page = (await site.get("/")).text
        assert "HTTP 401: refused" in page
        assert "1 waiting message" in page
        assert await notice(site, "/now/try", channel="mail") == "1 message of mail is being sent."
        assert await notice(site, "/now/try", channel="mail") == "The channel mail is not parked any more."
    assert not await store.read(lambda q: [one for one in q.channels() if one.parked_since])


# ---- who sees them ----


async def test_a_reader_and_a_wall_screen_have_no_buttons(store: SqlStore) -> None:
    await store.transact(lambda tx: record(tx, failure("one")))
    async with open_site(store, access=FixedAccess(viewer(AccessRole.READ))) as site:
        page = (await site.get("/")).text
        refused = await site.post("/now/acknowledge", event=failure("one").id)
    async with open_site(store) as site:
        kiosk = (await site.get("/?kiosk")).text
    assert "/now/acknowledge" not in page
    assert "/now/acknowledge" not in kiosk
    assert refused.status_code == 403
    assert "Operationone" in kiosk


# ---- texts from outside ----

HOSTILE = "<script>alert('x')</script>\"&{{ 7 * 7 }}"


async def test_texts_from_outside_are_texts(store: SqlStore) -> None:
    def write(tx: Transaction) -> None:
        record(tx, hostile_event(HOSTILE))
        tx.channels.park("mail", HOSTILE, None, START)

    await store.transact(write)
    async with open_site(store, expected=replace(EXPECTED, sources=())) as site:
        page = (await site.get("/")).text
        said = await notice(site, "/now/acknowledge", event=hostile_event(HOSTILE).id)
    assert "<script>alert" not in page + said
    assert page.count("&lt;script&gt;alert") >= 3
    assert "{{ 7 * 7 }}" in page


async def test_a_thousand_failures_are_a_page_of_usual_size(store: SqlStore) -> None:
    await store.transact(lambda tx: record(tx, *(failure(f"{number:04}") for number in range(1_000))))
    async with open_site(store) as site:
        page = await site.get("/")
    assert "985 more open failures" in page.text
    assert len(page.content) < 100_000


async def test_a_page_stays_the_same_within_a_minute_while_nothing_happens(store: SqlStore, clock: FakeClock) -> None:
    def write(tx: Transaction) -> None:
        record(tx, failure("one"))
        tx.channels.park("mail", "HTTP 401: refused", None, START)

    await store.transact(write)
    async with open_site(store, expected=EXPECTED) as site:
        tags = {page: (await site.get(page)).headers["ETag"] for page in ("/", "/timeline")}
        clock.advance(timedelta(seconds=50))
        again = {page: await site.get(page, headers={"If-None-Match": tag}) for page, tag in tags.items()}
        assert {page: answer.status_code for page, answer in again.items()} == {"/": 304, "/timeline": 304}
        clock.advance(timedelta(seconds=50))
        assert (await site.get("/timeline", headers={"If-None-Match": tags["/timeline"]})).status_code == 200
