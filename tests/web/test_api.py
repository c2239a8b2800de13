"""The API: every path on both databases, its errors, and who may do what."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_story import (
    DONE,
    EVENTS,
    EXPECTED,
    FAILED,
    FAILURE_ID,
    HOSTILE,
    ROUTES,
    RUNNING,
    TASKS,
    delivery_of,
    later,
    seed,
)
from fakes import START
from hypothesis import given
from hypothesis import strategies as st
from web_site import FixedAccess, Site, open_site, viewer

from notifier.core.errors import StoreUnreachable
from notifier.core.routing import RoutedEvent, RoutingConfig
from notifier.ports import TaskCursor
from notifier.store.engine import SqlStore, open_store
from notifier.web.access.viewer import AccessRole
from notifier.web.api.problems import TYPE_PREFIX
from notifier.web.cursors import PageSlice, WrongCursor, decode_cursor, encode_cursor

API = "/api/v1"
RULES: dict[str, Any] = {"expected": EXPECTED, "routing": RoutingConfig(routes=ROUTES, policies={})}
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
async def site(store: SqlStore) -> AsyncIterator[Site]:
    await seed(store)
    async with open_site(store, **RULES) as opened:
        yield opened


@pytest.fixture
async def lite(sqlite_url: str) -> AsyncIterator[Site]:
    """A site for what does not depend on the database."""
    store = open_store(sqlite_url, now=lambda: START)
    await seed(store)
    async with open_site(store, **RULES) as opened:
        yield opened
    await store.aclose()


async def got(site: Site, path: str, **query: str) -> Any:
    found = await site.get(API + path, params=query)
    assert found.status_code == 200, found.text
    return found.json()


async def sent(site: Site, path: str, body: Any = None, **headers: str) -> Any:
    found = await site.program.post(API + path, json=body, headers=headers)
    assert found.status_code in (200, 201), found.text
    return found.json()


def ids(page: Any, key: str) -> list[str]:
    return [one[key] for one in page["items"]]


# ---- reads ----


async def test_tasks_are_listed_with_what_is_known_about_them(site: Site) -> None:
    page = await got(site, "/tasks")
    assert set(ids(page, "job_id")) == {task.job_id for task in TASKS}
    failed = next(one for one in page["items"] if one["job_id"] == FAILED.job_id)
    assert failed["error_code"] == "DBS.280277"
    assert failed["means"]
    running = next(one for one in page["items"] if one["job_id"] == RUNNING.job_id)
    assert running["muted"]["instance"] == "in-2"


FILTERS_NARROW_TASKS: list[tuple[dict[str, str], set[str]]] = [
    ({"status": "failed", "source": "prod"}, {FAILED.job_id, "strange-job"}),
    ({"job_id": "31b8"}, {FAILED.job_id, RUNNING.job_id}),
    ({"match": "lab-*"}, {DONE.job_id}),
    ({"match": "source=lab"}, {DONE.job_id}),
    ({"instance": "prod-2"}, {RUNNING.job_id}),
    ({"unacknowledged": "true"}, {FAILED.job_id, "strange-job"}),
    ({"since": "2026-01-16T00:00:00Z", "status": "completed"}, set()),
]


async def test_filters_narrow_tasks(lite: Site) -> None:
    for query, found in FILTERS_NARROW_TASKS:
        assert set(ids(await got(lite, "/tasks", **query), "job_id")) == found


async def test_one_task_and_why_channels_were_notified(lite: Site) -> None:
    path = f"/tasks/prod/{FAILED.job_id}"
    task = await got(lite, path)
    assert task["fail_reason"] == FAILED.fail_reason
    explained = await got(lite, f"{path}/explanation")
    (event,) = explained["events"]
    assert [one["matched"] for one in event["routes_now"]] == [True]
    states = {one["channel"]: one["delivery"]["state"] for one in event["channels"]}
    assert states == {"dba": "delivered", "mail": "dead", "tickets": "parked"}
    assert [one["id"] for one in explained["failures"]] == [FAILURE_ID]


async def test_the_meaning_of_a_reason_is_in_the_language_of_the_request(lite: Site) -> None:
    found = await lite.get(f"{API}/tasks/prod/{FAILED.job_id}", headers={"Accept-Language": "zh"})
    assert re.search(r"[\u4e00-\u9fff]", found.json()["means"])
    assert "Accept-Language" in found.headers["Vary"]


async def test_events_and_one_of_them(lite: Site) -> None:
    page = await got(lite, "/events", match="failed")
    assert {one["type"] for one in page["items"]} == {"task.failed"}
    (one, *_) = page["items"]
    assert await got(lite, f"/events/{one['event_id']}") == one


async def test_deliveries_and_one_with_its_attempts(lite: Site) -> None:
    page = await got(lite, "/deliveries", state="dead", channel="mail")
    assert len(page["items"]) == 2
    detail = await got(lite, f"/deliveries/{delivery_of(EVENTS[0], 'mail')}")
    assert [one["outcome"] for one in detail["attempts"]] == ["gave-up"]
    of_event = await got(lite, "/deliveries", event_id=EVENTS[0].id)
    assert {one["channel"] for one in of_event["items"]} == {"dba", "mail", "tickets"}


async def test_failures_are_listed_the_worst_first(lite: Site) -> None:
    page = await got(lite, "/failures")
    assert len(page["items"]) == 3
    assert (await got(lite, f"/failures/{FAILURE_ID}"))["job_id"] == FAILED.job_id


async def test_the_notifier_itself(site: Site) -> None:
    channels = {one["name"]: one for one in (await got(site, "/channels"))["items"]}
    assert channels["tickets"]["parked"] == 5
    assert channels["mail"]["dead"] == 2
    assert (await got(site, "/channels/tickets"))["parked_since"]
    health = await got(site, "/health")
    assert {one["kind"] for one in health["findings"]} >= {"channel.parked", "channel.dead"}
    audit = await got(site, "/audit")
    assert (audit["ok"], audit["pairs"]) == (True, 15)
    assert ids(await got(site, "/sources"), "name") == ["lab", "prod"]
    assert [one["verb"] for one in (await got(site, "/actions"))["items"]] == ["mute", "mute"]
    operations = (await got(site, "/stats", since="2026-01-01T00:00:00Z"))["operations"]
    assert sum(one["failed"] for one in operations) == 2


async def test_callers_can_ask_who_they_are(lite: Site) -> None:
    lite.access.who = viewer(AccessRole.READ)
    found = await got(lite, "/me")
    assert (found["id"], found["role"], found["scopes"], found["way"]) == ("web:Chen Jing", "read", [], "open")


# ---- pages ----


PAGES_HAVE_EVERY_ROW_ONCE: list[tuple[str, str]] = [
    ("/tasks", "job_id"),
    ("/events", "event_id"),
    ("/deliveries", "delivery_id"),
    ("/failures", "id"),
    ("/mutes", "id"),
    ("/channels", "name"),
    ("/sources", "name"),
    ("/actions", "target"),
]


async def test_pages_have_every_row_once(site: Site) -> None:
    for path, key in PAGES_HAVE_EVERY_ROW_ONCE:
        every = ids(await got(site, path, limit="500"), key)
        found, cursor = list[str](), None
        while True:
            page = await got(site, path, limit="1", **({"cursor": cursor} if cursor else {}))
            found += ids(page, key)
            if not (cursor := page["next"]):
                break
        assert found == every
        assert len(every) > 1


async def test_rows_that_are_added_meanwhile_repeat_and_hide_none(lite: Site) -> None:
    before = ids(await got(lite, "/events", limit="500"), "event_id")
    first = await got(lite, "/events", limit="2")
    added = [RoutedEvent(event=later(number), routes=(), channels=()) for number in range(3)]
    await lite.parts.store.transact(lambda tx: tx.events.record(added))  # type: ignore[attr-defined]
    rest = await got(lite, "/events", limit="500", cursor=first["next"])
    assert ids(first, "event_id") + ids(rest, "event_id") == before


A_CURSOR_THAT_NO_LIST_GAVE_IS_REFUSED: list[str] = ["x", "", "AAAA", "W10", "é", "Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OV0"]


async def test_a_cursor_that_no_list_gave_is_refused(lite: Site) -> None:
    for cursor in A_CURSOR_THAT_NO_LIST_GAVE_IS_REFUSED:
        for path in ("/tasks", "/events", "/failures", "/channels"):
            found = await lite.get(API + path, params={"cursor": cursor})
            assert (found.status_code, found.json()["errors"][0]["name"]) == (422, "cursor")


async def test_a_cursor_fits_one_list_with_its_filters(lite: Site) -> None:
    page = await got(lite, "/events", limit="1")
    other = await lite.get(f"{API}/events", params={"cursor": page["next"], "source": "prod"})
    assert other.status_code == 422
    assert (await lite.get(f"{API}/deliveries", params={"cursor": page["next"]})).status_code == 422


@given(st.text(max_size=40), st.text(max_size=20), st.datetimes(timezones=st.just(START.tzinfo)))
def test_any_place_of_a_task_survives_its_cursor(job_id: str, source: str, at: Any) -> None:
    job_id, source = (re.sub("[\x00\ud800-\udfff]", "", text) for text in (job_id, source))
    name = PageSlice.of_list("tasks", cursor=None, limit=1).name
    page = PageSlice(name=name, cursor=encode_cursor(name, (at, job_id, source)), limit=1)
    assert page.task == TaskCursor(changed_at=at, job_id=job_id, source=source)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_text_is_a_cursor_or_is_refused(given_: bytes | str) -> None:
    text = given_ if isinstance(given_, str) else given_.hex()
    with pytest.raises(WrongCursor):
        decode_cursor("tasks", text, int)


# ---- tags ----


A_LIST_IS_SENT_ONCE_WHILE_NOTHING_CHANGE: list[str] = [
    "/tasks",
    "/events",
    "/deliveries",
    "/failures",
    "/mutes",
    "/channels",
    "/sources",
]


async def test_a_list_is_sent_once_while_nothing_changes(lite: Site) -> None:
    for path in A_LIST_IS_SENT_ONCE_WHILE_NOTHING_CHANGE:
        first = await lite.get(API + path)
        tag = first.headers["ETag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            again = await lite.get(API + path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        assert (await lite.get(API + path, headers={"If-None-Match": '"other"'})).status_code == 200


# ---- changes ----


async def test_a_failure_is_acknowledged_taken_back_and_resolved(site: Site) -> None:
    taken = await sent(site, f"/failures/{FAILURE_ID}/acknowledge")
    assert (taken["state"], taken["acknowledged"]["by"]) == ("acknowledged", "web:Chen Jing")
    assert (await sent(site, f"/failures/{FAILURE_ID}/unacknowledge"))["state"] == "open"
    over = await sent(site, f"/failures/{FAILURE_ID}/resolve", {"reason": "fixed\nby hand"})
    assert (over["state"], over["history"][-1]["reason"]) == ("resolved", "fixed by hand")
    assert (await site.program.post(f"{API}/failures/{FAILURE_ID}/resolve")).status_code == 404
    verbs = [one["verb"] for one in (await got(site, "/actions"))["items"]]
    assert verbs[:3] == ["resolve", "unacknowledge", "acknowledge"]
    assert len(site.woken) == 3


async def test_resolving_one_failure_leaves_others_of_the_same_task(lite: Site) -> None:
    await sent(lite, f"/failures/{FAILURE_ID}/resolve")
    assert len((await got(lite, "/failures"))["items"]) == 2


async def test_dead_deliveries_are_retried_and_dismissed_once(lite: Site) -> None:
    path = f"/deliveries/{delivery_of(EVENTS[0], 'mail')}"
    assert await sent(lite, f"{path}/dismiss") == {"dismissed": 1}
    assert await sent(lite, f"{path}/dismiss") == {"dismissed": 0}
    assert await sent(lite, f"{path}/retry") == {"released": 1}
    assert (await got(lite, path))["state"] == "pending"
    assert await sent(lite, f"/deliveries/{delivery_of(EVENTS[0], 'dba')}/retry") == {"released": 0}


async def test_a_parked_channel_is_released(lite: Site) -> None:
    assert await sent(lite, "/channels/tickets/release") == {"released": 5}
    assert await sent(lite, "/channels/tickets/release") == {"released": 0}


async def test_a_mute_is_made_extended_and_ended(lite: Site) -> None:
    body = {"covers": "in-3", "length_seconds": 3600, "reason": "resizing"}
    made = await sent(lite, "/mutes", body)
    assert (made["instance"], made["by"], made["reason"]) == ("in-3", "Chen Jing", "resizing")
    later_ = await sent(lite, f"/mutes/{made['id']}/extend", {"length_seconds": 600})
    assert later_["until"] > made["until"]
    assert (await sent(lite, f"/mutes/{made['id']}/end"))["mute"]["id"] == made["id"]
    assert (await lite.program.post(f"{API}/mutes/{made['id']}/end")).status_code == 404


async def test_a_mute_that_recurs(lite: Site) -> None:
    body = {"covers": "prod-* type=task.completed", "length_seconds": 3600, "cron": "0 2 * * *", "timezone": "UTC"}
    made = await sent(lite, "/mutes", body)
    assert (made["cron"], made["timezone"], made["since"]) == ("0 2 * * *", "UTC", "2026-01-16T02:00:00Z")
    zone = await sent(lite, "/mutes", {key: value for key, value in body.items() if key != "timezone"})
    assert zone["timezone"] == "Asia/Shanghai"


async def test_a_preview_shows_what_a_mute_would_have_held_back_and_changes_nothing(lite: Site) -> None:
    before = await got(lite, "/mutes")
    shown = await sent(lite, "/mutes/preview", {"covers": "prod-*", "length_seconds": 3600})
    assert shown["counts"] == {"task.started": 1}
    assert await got(lite, "/mutes") == before


MUTE = {"covers": "in-3", "length_seconds": 3600}


A_MUTE_THAT_CANNOT_BE_IS_EXPLAINED: list[tuple[dict[str, Any], str]] = [
    ({"covers": "nobody"}, "covers"),
    ({"covers": "type=nonsense"}, "covers"),
    ({"until": "2026-01-15T10:00:00Z"}, ""),
    ({"length_seconds": None}, "length_seconds"),
    ({"length_seconds": 1}, "length_seconds"),
    ({"length_seconds": ..., "until": "2026-01-15T08:00:00Z"}, ""),
    ({"length_seconds": ...}, ""),
    ({"since": "2030-01-15T08:00:00Z"}, ""),
    ({"cron": "nonsense"}, "cron"),
    ({"cron": "0 2 * * *", "timezone": "Nowhere"}, "cron"),
    ({"cron": "*/5 * * * *"}, ""),
    ({"timezone": "UTC"}, ""),
    ({"reasn": "misspelt"}, "reasn"),
    ({"reason": "x" * 301}, "reason"),
    ({"reason": "\x00"}, "reason"),
    ({"covers": "\ud800"}, "covers"),
    ({"since": "2026-01-15T09:00:00"}, "since"),
]


async def test_a_mute_that_cannot_be_is_explained(lite: Site) -> None:
    for changes, name in A_MUTE_THAT_CANNOT_BE_IS_EXPLAINED:
        found = await lite.program.post(
            f"{API}/mutes",
            content=json.dumps({key: value for key, value in {**MUTE, **changes}.items() if value is not ...}).encode(),
            headers={"Content-Type": "application/json"},
        )
        assert found.status_code == 422, found.text
        assert found.json()["errors"][0]["name"] == name
        assert found.json()["errors"][0]["message"]


# ---- once for each key ----


async def test_a_repeated_request_gets_the_same_answer_and_changes_nothing(lite: Site) -> None:
    key = {"Idempotency-Key": '"4c1b7b8e-9a51"'}
    first = await lite.program.post(f"{API}/mutes", json=MUTE, headers=key)
    again = await lite.program.post(f"{API}/mutes", json=MUTE, headers=key)
    assert (again.status_code, again.content) == (first.status_code, first.content) == (201, first.content)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(lite.woken) == 1
    assert len((await got(lite, "/actions"))["items"]) == 3


async def test_a_key_belongs_to_one_request_of_one_caller(lite: Site) -> None:
    key = {"Idempotency-Key": "k"}
    await lite.program.post(f"{API}/mutes", json=MUTE, headers=key)
    for path, body in (("/mutes", {**MUTE, "reason": "other"}), (f"/failures/{FAILURE_ID}/acknowledge", None)):
        other = await lite.program.post(API + path, json=body, headers=key)
        assert (other.status_code, other.json()["type"]) == (422, f"{TYPE_PREFIX}key-reused")
    lite.access.who = viewer(name="Li Wei")
    assert (await lite.program.post(f"{API}/mutes", json=MUTE, headers=key)).status_code == 201


async def test_concurrent_requests_with_one_key_act_once(lite: Site) -> None:
    key, path = {"Idempotency-Key": "k"}, f"{API}/deliveries/{delivery_of(EVENTS[0], 'mail')}/retry"
    found = await asyncio.gather(*(lite.program.post(path, headers=key) for _ in range(8)))
    done = [one for one in found if one.status_code == 200]
    assert {one.status_code for one in found} <= {200, 409}
    assert {one.text for one in done} == {'{"released":1}'}
    assert all(one.json()["type"] == f"{TYPE_PREFIX}in-progress" for one in found if one.status_code == 409)
    assert [one["verb"] for one in (await got(lite, "/actions"))["items"]].count("retry") == 1


async def test_two_replicas_with_one_key_act_once(site: Site, store: SqlStore) -> None:
    key, path = {"Idempotency-Key": "k"}, f"{API}/deliveries/{delivery_of(EVENTS[0], 'mail')}/retry"
    async with open_site(store, **RULES) as other:
        clients = (site.program, other.program) * 4
        found = await asyncio.gather(*(client.post(path, headers=key) for client in clients))
    assert {one.status_code for one in found} <= {200, 409}
    assert {one.text for one in found if one.status_code == 200} == {'{"released":1}'}
    assert [one["verb"] for one in (await got(site, "/actions"))["items"]].count("retry") == 1


async def test_a_refused_change_may_be_asked_for_again_with_its_key(lite: Site) -> None:
    key = {"Idempotency-Key": "k"}
    for _ in range(2):
        refused = await lite.program.post(f"{API}/mutes", json={**MUTE, "covers": "nobody"}, headers=key)
        assert refused.status_code == 422
    assert (await lite.program.post(f"{API}/mutes", json=MUTE, headers=key)).status_code == 201


async def test_a_failure_before_the_commit_leaves_neither_change_nor_answer(
    lite: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill does: the transaction of the change and of its answer is one."""
    key, path = {"Idempotency-Key": "k"}, f"{API}/failures/{FAILURE_ID}/acknowledge"
    from notifier.store.idempotency import IdempotencyKeys  # noqa: PLC0415 - what is broken here

    def save(self: IdempotencyKeys, *given: object) -> None:
        real(self, *given)  # type: ignore[arg-type]
        raise StoreUnreachable

    real = IdempotencyKeys.save
    with monkeypatch.context() as broken:
        broken.setattr(IdempotencyKeys, "save", save)
        assert (await lite.program.post(path, headers=key)).status_code == 503
    assert (await got(lite, f"/failures/{FAILURE_ID}"))["state"] == "open"
    assert (await lite.program.post(path, headers=key)).json()["state"] == "acknowledged"


# ---- errors ----


ERRORS_ARE_PROBLEM_DOCUMENTS: list[tuple[str, str, int]] = [
    ("GET", "/nothing", 404),
    ("GET", "/tasks/prod/none", 404),
    ("GET", "/tasks/prod/none/explanation", 404),
    ("GET", "/events/none", 404),
    ("GET", "/deliveries/none", 404),
    ("GET", "/failures/none", 404),
    ("GET", "/mutes/none", 404),
    ("GET", "/channels/none", 404),
    ("POST", "/deliveries/none/retry", 404),
    ("POST", "/deliveries/none/dismiss", 404),
    ("POST", "/failures/none/acknowledge", 404),
    ("POST", "/channels/none/release", 404),
    ("DELETE", "/tasks", 405),
    ("POST", "/tasks", 405),
    ("GET", "/tasks?status=nonsense", 422),
    ("GET", "/tasks?limit=501", 422),
    ("GET", "/tasks?limit=1.0", 422),
    ("GET", "/tasks?statu=failed", 422),
    ("GET", "/health?x=1", 422),
    ("GET", "/tasks?since=yesterday", 422),
    ("GET", "/tasks?since=0", 422),
    ("GET", "/tasks?match=prod-*%20=", 422),
    ("GET", "/tasks?match=progress%3E5", 422),
    ("GET", "/tasks?unacknowledged=yes", 422),
    ("GET", "/tasks?job_id=%00", 422),
    ("GET", "/events?match=status=running", 422),
]


async def test_errors_are_problem_documents(lite: Site) -> None:
    for method, path, status in ERRORS_ARE_PROBLEM_DOCUMENTS:
        found = await lite.program.request(method, API + path)
        assert found.status_code == status, found.text
        assert found.headers["Content-Type"] == "application/problem+json"
        problem = found.json()
        assert problem["type"].startswith(TYPE_PREFIX)
        assert (problem["status"], bool(problem["detail"])) == (status, True)


A_BODY_THAT_IS_NO_DOCUMENT_IS_REFUSED: list[tuple[bytes, str, int]] = [
    (b"{", "application/json", 400),
    (b"x" * 70_000, "application/json", 413),
    (b"{}", "text/plain", 422),
]


async def test_a_body_that_is_no_document_is_refused(lite: Site) -> None:
    for content, kind, status in A_BODY_THAT_IS_NO_DOCUMENT_IS_REFUSED:
        found = await lite.program.post(f"{API}/mutes", content=content, headers={"Content-Type": kind})
        assert (found.status_code, found.headers["Content-Type"]) == (status, "application/problem+json")


async def test_an_unreachable_database_is_said_with_the_time_to_wait(
    lite: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_given: object, **_more: object) -> None:
        raise StoreUnreachable("postgresql://user:secret@host")

    for name in ("read", "transact"):
        monkeypatch.setattr(lite.parts.store, name, fails)
    for found in (await lite.get(f"{API}/tasks"), await lite.program.post(f"{API}/failures/x/acknowledge")):
        assert (found.status_code, found.headers["Retry-After"]) == (503, "5")
        assert found.headers["Content-Type"] == "application/problem+json"
        assert "secret" not in found.text


async def test_a_mistake_of_ours_shows_nothing_of_the_program(lite: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_given: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(lite.parts.store, "read", fails)
    lite.client._transport.raise_app_exceptions = False  # type: ignore[attr-defined] # the server sends the answer too
    found = await lite.get(f"{API}/tasks")
    assert (found.status_code, found.json()["type"]) == (500, f"{TYPE_PREFIX}internal-error")
    assert "secret" not in found.text


# ---- who may do what ----

CHANGES = (
    f"/failures/{FAILURE_ID}/acknowledge",
    f"/failures/{FAILURE_ID}/unacknowledge",
    f"/failures/{FAILURE_ID}/resolve",
    f"/deliveries/{delivery_of(EVENTS[0], 'mail')}/retry",
    f"/deliveries/{delivery_of(EVENTS[0], 'mail')}/dismiss",
    "/channels/tickets/release",
    "/mutes",
    "/mutes/x/extend",
    "/mutes/x/end",
)


@dataclass
class Scopes:
    """Which statuses a role gets."""

    read: int
    act: int


ROLES_DECIDE_WHAT_MAY_BE_READ_AND_CHANGE: list[tuple[AccessRole, Scopes]] = [
    (AccessRole.NONE, Scopes(403, 403)),
    (AccessRole.READ, Scopes(200, 403)),
    (AccessRole.ACT, Scopes(200, 200)),
    (AccessRole.ADMIN, Scopes(200, 200)),
]


async def test_roles_decide_what_may_be_read_and_changed(lite: Site) -> None:
    for role, expected in ROLES_DECIDE_WHAT_MAY_BE_READ_AND_CHANGE:
        lite.access.who = viewer(role)
        description = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
        for path, methods in description["paths"].items():
            if "get" in methods and "{" not in path and path != "/stream":
                assert (await lite.get(API + path)).status_code == expected.read, path
        for path in CHANGES:
            found = await lite.program.post(API + path, json={"length_seconds": 600, "covers": "in-3"})
            allowed = (found.status_code in (200, 201, 404, 422)) if expected.act == 200 else found.status_code == 403
            assert allowed, (path, found.text)


class NobodyComesIn(FixedAccess):
    """Sends everybody to a login page."""

    async def viewer(self, request: object) -> Any:  # noqa: ARG002 - of the protocol
        from starlette.responses import RedirectResponse  # noqa: PLC0415 - for this alone

        return RedirectResponse("/login")


async def test_whoever_is_not_known_gets_a_problem_and_no_page(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    async with open_site(store, access=NobodyComesIn(), **RULES) as site:
        for path in ("/tasks", "/openapi.json", "/health", "/stream"):
            found = await site.get(API + path)
            assert (found.status_code, found.headers["WWW-Authenticate"]) == (401, 'Bearer realm="notifier"')
        assert (await site.get(f"{API}/nothing")).status_code == 401
        wrong = await site.program.post(f"{API}/mutes", content=b"{" * 100_000)
        assert wrong.status_code == 401
    await store.aclose()


# ---- hostile texts ----


async def test_texts_from_outside_arrive_as_they_are_recorded(lite: Site) -> None:
    task = await got(lite, "/tasks/prod/strange-job")
    assert task["name"] == HOSTILE
    assert task["fail_reason"] == HOSTILE
    found = await lite.get(f"{API}/deliveries/{delivery_of(EVENTS[3], 'mail')}")
    assert found.json()["attempts"][0]["reply"] == HOSTILE
    assert found.headers["Content-Type"] == "application/json"


# ---- the description ----


async def test_the_committed_description_is_in_step(lite: Site) -> None:
    """`make openapi` writes it."""
    found = await lite.get(f"{API}/openapi.json")
    assert found.text == (ROOT / "docs/openapi.json").read_text(encoding="utf-8")


def test_every_operation_says_who_may_call_it_and_what_can_go_wrong() -> None:
    description = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
    assert description["openapi"].startswith("3.1")
    operations = [one for path in description["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    assert description["security"]
    for one in operations:
        assert one["description"], one["operationId"]
        assert {"4XX", "503"} <= one["responses"].keys(), one["operationId"]
    undescribed = [
        f"{name}.{key}"
        for name, schema in description["components"]["schemas"].items()
        for key, value in schema.get("properties", {}).items()
        if not schema.get("description") and not value.get("description")
    ]
    assert undescribed == []


def test_the_span_of_an_idempotency_key_is_that_of_its_record() -> None:
    from notifier.store.idempotency import KEPT_FOR  # noqa: PLC0415 - the description names it

    text = (ROOT / "docs/openapi.json").read_text(encoding="utf-8")
    assert timedelta(hours=24) == KEPT_FOR
    assert "within 24 hours" in text
