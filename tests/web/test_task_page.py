"""The page of a task: what it says of who was told, what people can do on it, and what it does with unknown ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from factories import make_delivery, make_event, make_event_of, make_missing, rows_of
from stored_tasks import T0, Stored, add_event, add_failure, of_kind, stuck_failure, write
from web_site import FixedAccess, make_rules, open_site, viewer

from notifier.core.delivery import Attempt, DeliveryState
from notifier.core.events import EventType
from notifier.core.failures import FailureState, HistoryEntry, HistoryKind
from notifier.core.health_facts import Expected
from notifier.core.matchers import parse_matchers
from notifier.core.model import Event
from notifier.core.routing import Route, RoutedEvent, RouteVerdict, RoutingConfig, explain_routes
from notifier.core.started_by import StartedBy, StartedVia
from notifier.core.task_lists import TaskGroup
from notifier.core.tickets import operation_of_task
from notifier.lookup import ChannelRecord, EventRecord
from notifier.store import rows, schema
from notifier.store.engine import SqlStore, open_store
from notifier.web.access.viewer import AccessRole
from notifier.web.task_moments import TaskMoment, moments_of
from notifier.wording.events import EventFormatter

NOW = T0 + timedelta(minutes=20)
ROUTES = (
    Route(name="all", channels=("dba",)),
    Route(name="failures", match=parse_matchers("type=task.failed"), channels=("mail", "tickets")),
)


@pytest.fixture
def db(sqlite_url: str) -> Iterator[SqlStore]:
    store = open_store(sqlite_url, now=lambda: NOW)
    yield store
    store.close()


def rules() -> dict[str, Any]:
    return {
        "routing": RoutingConfig(routes=ROUTES, policies={}),
        "expected": Expected(channels=["dba", "mail", "tickets"]),
    }


def failed_task(store: SqlStore, number: int = 1, **changes: Any) -> tuple[Stored, Event]:
    """Write a task that failed, with its open failure."""
    values = {"fail_reason": "The storage quota is exceeded. EVS.1042", "changed_at": T0, "ended_at": T0} | changes
    one = of_kind(TaskGroup.FAILED, number, **values)
    write(store, [one])
    event = make_event(
        one.task, type=EventType.TASK_FAILED, id=f"event-{number:03}-of-it", observed_at=T0, occurrence=f"o{number}"
    )
    add_event(store, event, {"dba": (DeliveryState.DELIVERED, None), "mail": (DeliveryState.PARKED, None)})
    failure = stuck_failure(one.task, latest=event, job_id="", first_event_id=event.id)
    add_failure(store, replace(failure, operation=operation_of_task(one.task), id=f"failure-{number}"))
    return one, event


def path(one: Stored) -> str:
    return f"/tasks/{one.task.source}/{one.task.job_id}"


# ---- moments ----


def record(event: Event, channels: dict[str, DeliveryState | None], attempts: tuple[Attempt, ...] = ()) -> EventRecord:
    planned = tuple(name for name, state in channels.items() if state)
    return EventRecord(
        routed=RoutedEvent(event=event, routes=("all",), channels=planned),
        verdicts=tuple(explain_routes(event, ROUTES)),
        channels=tuple(
            ChannelRecord(
                channel=name,
                planned=state is not None,
                delivery=make_delivery(
                    event, channel=name, state=state, settled_at=event.observed_at + timedelta(seconds=2)
                )
                if state
                else None,
                attempts=attempts if state else (),
            )
            for name, state in channels.items()
        ),
    )


def moments(*records: EventRecord) -> tuple[TaskMoment, ...]:
    localizer = make_rules().localizers["en"]
    return moments_of(records, (), EventFormatter(localizer))


def progressed(percent: float, minutes: int) -> Event:
    task = of_kind(TaskGroup.RUNNING, 1, progress=percent).task
    at = T0 + timedelta(minutes=minutes)
    return make_event(task, type=EventType.TASK_PROGRESSED, id=f"progress-{percent}", observed_at=at)


def test_channels_that_were_not_told_are_named_together_with_the_matcher_that_failed() -> None:
    started = make_event(type=EventType.TASK_STARTED)
    (moment,) = moments(record(started, {"dba": DeliveryState.DELIVERED, "mail": None, "tickets": None, "odd": None}))
    by_reason, without_route = moment.untold
    assert by_reason.channels == ("mail", "tickets")
    assert by_reason.miss is not None
    assert (by_reason.miss.route, by_reason.miss.matcher) == ("failures", "type=task.failed")
    assert by_reason.miss.actual == "task.started"
    assert (without_route.channels, without_route.miss) == (("odd",), None)


def test_the_page_judges_as_explain_does() -> None:
    """What it says of a route is what `notifier explain` shows: one function judges for both."""
    stopped = (Route(name="first", channels=("dba",), stop=True), *ROUTES)
    event = make_event(type=EventType.TASK_FAILED)
    verdicts = tuple(explain_routes(event, stopped))
    account = ChannelRecord(channel="mail", planned=False, delivery=None)
    routed = RoutedEvent(event=event, routes=("first",), channels=("dba",))
    (moment,) = moments(EventRecord(routed=routed, verdicts=verdicts, channels=(account,)))
    (untold,) = moment.untold
    verdict: RouteVerdict = next(one for one in verdicts if "mail" in one.route.channels)
    assert untold.miss is not None
    assert (untold.miss.route, untold.miss.skipped_by) == (verdict.route.name, verdict.skipped_by)


def test_a_route_that_was_changed_since_says_so() -> None:
    event = make_event(type=EventType.TASK_FAILED)
    (moment,) = moments(record(event, {"dba": DeliveryState.DELIVERED, "mail": None}))
    (untold,) = moment.untold
    assert untold.miss is not None
    assert untold.miss.changed


def test_of_an_alarm_that_was_there_before_no_route_is_judged() -> None:
    event = make_event_of(EventType.ALARM_RAISED)
    silent = record(event, {"dba": None, "mail": None})
    (moment,) = moments(silent)
    assert (moment.quiet, bool(moment.untold)) == (False, True)
    quiet = replace(silent.routed, event=replace(event, quiet=True), routes=())
    (moment,) = moments(replace(silent, routed=quiet))
    assert (moment.quiet, moment.told, moment.untold) == (True, (), ())


def test_steps_of_progress_are_one_moment_until_one_did_not_arrive() -> None:
    states = (DeliveryState.DELIVERED, DeliveryState.PARKED, DeliveryState.DELIVERED, DeliveryState.SUPERSEDED)
    steps = [record(progressed(25.0 + n, n), {"dba": state}) for n, state in enumerate(states)]
    first, second = moments(*steps)
    assert ([step.progress for step in first.earlier], first.progress) == ([25.0], 26.0)
    assert ([step.progress for step in second.earlier], second.progress) == ([27.0], 28.0)
    assert first.earlier[0].deliveries != second.earlier[0].deliveries


def test_tries_are_unfolded_where_one_failed() -> None:
    event = make_event(type=EventType.TASK_FAILED)
    tries = tuple(
        Attempt("d", n, T0, T0 + timedelta(seconds=1), outcome) for n, outcome in ((1, "retry"), (2, "delivered"))
    )
    (moment,) = moments(record(event, {"dba": DeliveryState.DELIVERED}, tries))
    (told,) = moment.told
    assert (told.troubled, len(told.tries), told.after) == (True, 2, timedelta(seconds=2))
    (quiet,) = moments(record(event, {"dba": DeliveryState.DELIVERED}, tries[1:]))
    assert not quiet.told[0].troubled


def test_an_event_without_a_delivery_that_was_planned_is_no_silence() -> None:
    event = make_event(type=EventType.TASK_FAILED)
    routed = RoutedEvent(event=event, routes=("all",), channels=("dba",))
    lost = ChannelRecord(channel="dba", planned=True, delivery=None)
    (moment,) = moments(EventRecord(routed=routed, verdicts=(), channels=(lost,)))
    assert [one.state for one in moment.told] == ["unknown"]


# ---- the page ----


async def test_it_says_why_it_failed_who_was_told_and_what_to_do(db: SqlStore) -> None:
    one, event = failed_task(db)
    async with open_site(db, **rules()) as site:
        text = (await site.get(path(one))).text
    assert "The storage quota is exceeded. EVS.1042" in text
    assert "The quota of disk space in this region is used up." in text
    assert f'id="e-{event.id[:8]}"' in text
    assert f'id="d-{make_delivery(event, channel="dba").id[:8]}"' in text
    assert "Now: open for" in text
    assert 'action="/tasks/acknowledge"' in text


async def test_it_says_who_started_it(db: SqlStore) -> None:
    one, _ = failed_task(db)
    found = StartedBy(name="li<script>.wei", via=StartedVia.AGENCY, agency="ops", address="198.51.100.7")
    set_started_by(db, one, found)
    async with open_site(db, **rules()) as site:
        page, listed = (await site.get(path(one))).text, (await site.get("/tasks")).text
        chinese = (await site.get(path(one), headers={"Accept-Language": "zh-CN"})).text
    assert "li&lt;script&gt;.wei, agency ops, 198.51.100.7" in page
    assert "started by li&lt;script&gt;.wei" in listed
    assert "li&lt;script&gt;.wei（委托 ops，198.51.100.7）" in chinese


def set_started_by(store: SqlStore, one: Stored, found: StartedBy) -> None:
    own = (schema.tasks.c.source == one.task.source, schema.tasks.c.job_id == one.task.job_id)
    with store.writer.begin() as connection:
        connection.execute(sa.update(schema.tasks).where(*own).values(started_by=rows.started_by_text(found)))


async def test_the_same_cause_before_is_named_with_how_it_ended(db: SqlStore) -> None:
    before, event = failed_task(db, 7, changed_at=T0 - timedelta(days=3), ended_at=T0 - timedelta(days=3))
    ended = HistoryEntry(
        at=T0 - timedelta(days=3, hours=-2), kind=HistoryKind.RESOLVED, name="Li Wei", reason="quota raised"
    )
    over = stuck_failure(before.task, latest=event, job_id="", id="over", state=FailureState.RESOLVED, history=(ended,))
    with db.writer.begin() as connection:
        connection.execute(sa.delete(schema.failures))
    add_failure(db, replace(over, opened_at=T0 - timedelta(days=3), operation=operation_of_task(before.task)))
    one, _ = failed_task(db, 1)
    async with open_site(db, **rules()) as site:
        text = (await site.get(path(one))).text
    assert "1 earlier failure here in 30 days" in text
    assert f'href="{path(before)}"' in text
    assert "Li Wei resolved it 2 h later: quota raised" in text


async def test_somebody_acknowledges_with_a_note_takes_it_back_and_resolves(db: SqlStore) -> None:
    one, event = failed_task(db)
    form = {"event": event.id, "back": path(one), "failure": one.task.job_id}
    async with open_site(db, **rules()) as site:
        taken = await site.post("/tasks/acknowledge", note="raising the quota", **form)
        shown = (await site.get(path(one))).text
        back = await site.post("/tasks/unacknowledge", **form)
        again = (await site.get(path(one))).text
        over = await site.post("/tasks/resolve", note="done by hand", **form)
        final = (await site.get(path(one))).text
    assert [answer.headers["Location"] for answer in (taken, back, over)] == [path(one)] * 3
    assert "You take care of it." in shown
    assert "raising the quota" in shown
    assert "Chen Jing gave it back" in again
    assert ("Chen Jing resolved it" in final, "done by hand" in final, "Now: it is over" in final) == (True, True, True)
    actions = await db.read(lambda q: q.actions(5))
    assert [one.detail for one in actions if one.verb == "acknowledge"] == ["task.failed: raising the quota"]


async def test_a_form_leads_back_to_pages_of_ours_alone(db: SqlStore) -> None:
    _, event = failed_task(db)
    async with open_site(db, **rules()) as site:
        for back in ("https://evil.example.com/", "//evil.example.com/tasks/", "/tasks/\\evil", ""):
            answer = await site.post("/tasks/acknowledge", event=event.id, back=back)
            assert answer.headers["Location"] == "/tasks"


async def test_a_reader_sees_no_forms_and_may_not_act(db: SqlStore) -> None:
    one, event = failed_task(db)
    async with open_site(db, access=FixedAccess(viewer(AccessRole.READ)), **rules()) as site:
        text = (await site.get(path(one))).text
        answer = await site.post("/tasks/acknowledge", event=event.id, back=path(one))
    assert "<form" not in text
    assert answer.status_code == 403


async def test_what_changed_since_is_not_acknowledged(db: SqlStore) -> None:
    one, event = failed_task(db)
    newer = make_event(one.task, type=EventType.TASK_RESTARTED, id="newer", occurrence="newer")
    add_event(db, newer, {})
    async with open_site(db, **rules()) as site:
        await site.post("/tasks/acknowledge", event=event.id, back=path(one))
        text = (await site.get(path(one))).text
    assert "nothing was acknowledged" in text


async def test_a_task_from_the_baseline_has_a_page_too(db: SqlStore) -> None:
    one = of_kind(TaskGroup.COMPLETED, 1)
    write(db, [one])
    async with open_site(db, **rules()) as site:
        text = (await site.get(path(one))).text
    assert "Nothing has changed since the notifier first saw it" in text


async def test_a_long_history_is_cut_and_small(db: SqlStore) -> None:
    one, _ = failed_task(db)
    with db.writer.begin() as connection:
        routed = [
            RoutedEvent(
                event=make_event(one.task, type=EventType.TASK_RESTARTED, id=f"more-{n:04}", occurrence=f"more-{n}"),
                routes=(),
                channels=(),
            )
            for n in range(450)
        ]
        connection.execute(sa.insert(schema.events), rows_of(rows.event_columns(routed)))
    async with open_site(db, **rules()) as site:
        text = (await site.get(path(one))).text
    assert text.count('class="moment ') == 200


# ---- ids ----


async def test_the_beginning_of_an_id_leads_to_its_task(db: SqlStore) -> None:
    write(db, [of_kind(TaskGroup.FAILED, 1, job_id="abcdef-1"), of_kind(TaskGroup.FAILED, 2, job_id="abcxyz-2")])
    async with open_site(db, **rules()) as site:
        found = [
            (await site.get(url)).headers.get("Location")
            for url in ("/tasks/abcd", "/tasks/prod/abcx", "/tasks/prod/abc")
        ]
        short = await site.get("/tasks/abc")
    assert found == ["/tasks/prod/abcdef-1", "/tasks/prod/abcxyz-2", None]
    assert short.status_code == 404


async def test_several_tasks_that_begin_so_are_listed(db: SqlStore) -> None:
    write(db, [of_kind(TaskGroup.FAILED, n, job_id=f"abcd-{n}") for n in range(2)])
    async with open_site(db, **rules()) as site:
        answer = await site.get("/tasks/prod/abcd")
        listed = (await site.get(answer.headers["Location"])).text
    assert answer.headers["Location"] == "/tasks?q=abcd&source=prod&since=all"
    assert set(re.findall(r'href="/tasks/prod/(abcd-\d)"', listed)) == {"abcd-0", "abcd-1"}


async def test_an_id_that_is_the_beginning_of_others_is_its_own_task(db: SqlStore) -> None:
    write(db, [of_kind(TaskGroup.FAILED, n, job_id=f"job1{n or ''}") for n in range(20)])
    async with open_site(db, **rules()) as site:
        answer = await site.get("/tasks/prod/job1")
    assert answer.status_code == 200


async def test_an_unknown_id_is_a_page_with_the_nearest_link(db: SqlStore) -> None:
    write(db, [of_kind(TaskGroup.FAILED, 1, job_id="known-job", source="prod")])
    async with open_site(db, **rules()) as site:
        unknown, renamed = await site.get("/tasks/prod/nobody-has-this"), await site.get("/tasks/old/known-job")
    assert (unknown.status_code, "Search for it" in unknown.text) == (404, True)
    assert (renamed.status_code, 'href="/tasks/prod/known-job"' in renamed.text) == (404, True)


async def test_a_source_alone_leads_to_its_tasks(db: SqlStore) -> None:
    with db.writer.begin() as connection:
        connection.execute(sa.insert(schema.sources), [{"name": "prod"}])
    async with open_site(db, **rules()) as site:
        assert (await site.get("/tasks/prod")).headers["Location"] == "/tasks?source=prod"


async def test_a_job_id_may_hold_anything_that_a_path_can(db: SqlStore) -> None:
    write(db, [of_kind(TaskGroup.FAILED, 1, job_id="a/b c%2F?#é")])
    async with open_site(db, **rules()) as site:
        listed = (await site.get("/tasks")).text
        (link,) = re.findall(r'class="name" href="([^"]+)"', listed)
        answer = await site.get(link)
    assert answer.status_code == 200
    assert "a/b c%2F?#é" in answer.text


# ---- a run that did not appear ----


async def test_a_missing_run_has_a_page_with_what_can_be_done(db: SqlStore) -> None:
    event = make_missing()
    add_event(db, event, {"dba": (DeliveryState.DELIVERED, None)})
    add_failure(
        db, stuck_failure(of_kind(TaskGroup.FAILED, 1).task, latest=event, first_event_id=event.id, job_id="", id="f")
    )
    async with open_site(db, **rules()) as site:
        answer = await site.get(f"/missing/{event.id}")
        unknown = await site.get("/missing/nothing-here")
        beginning = await site.get(f"/missing/{event.id[:8]}")
    assert "The run did not begin" in answer.text
    assert "Missing since" in answer.text
    assert unknown.status_code == 404
    assert beginning.headers["Location"] == f"/missing/{event.id}"
