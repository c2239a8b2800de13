"""Feeds: what feed readers and calendars get, and who may have it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from api_story import EVENTS, EXPECTED, FAILED, HOSTILE, KIM, seed
from fakes import START
from icalendar import Calendar
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from web_site import FixedAccess, Site, open_site, viewer

from notifier import people
from notifier.core.access import TokenScope
from notifier.core.failures import failure_id
from notifier.store.engine import SqlStore, open_store
from notifier.web.access.viewer import AccessRole, Viewer
from notifier.web.api.calendar import SHOWN_AHEAD
from notifier.web.api.feeds import ATOM_PATH, CALENDAR_PATH
from notifier.web.api.problems import TYPE_PREFIX

ATOM = "{http://www.w3.org/2005/Atom}"
PLACES: dict[str, Any] = {"expected": EXPECTED, "url": "https://notifier.example.com"}


@pytest.fixture
async def site(store: SqlStore) -> AsyncIterator[Site]:
    await seed(store)
    async with open_site(store, **PLACES) as opened:
        yield opened


@pytest.fixture
async def lite(sqlite_url: str) -> AsyncIterator[Site]:
    store = open_store(sqlite_url, now=lambda: START)
    await seed(store)
    async with open_site(store, **PLACES) as opened:
        yield opened
    await store.aclose()


async def feed_of(site: Site, **headers: str) -> Element:
    found = await site.get(ATOM_PATH, headers=headers)
    assert (found.status_code, found.headers["Content-Type"]) == (200, "application/atom+xml; charset=utf-8")
    return fromstring(found.text)  # noqa: S314 - it is our own


def texts(element: Element, name: str) -> list[str]:
    return [found.text or "" for found in element.iter(f"{ATOM}{name}")]


def links(element: Element) -> dict[str, str]:
    return {one.get("rel", ""): one.get("href", "") for one in element.findall(f"{ATOM}link")}


async def test_the_feed_has_failures_with_stable_ids_and_links(site: Site) -> None:
    feed = await feed_of(site)
    assert texts(feed, "id")[0] == f"{TYPE_PREFIX}failures"
    assert links(feed)["self"] == f"https://notifier.example.com{ATOM_PATH}"
    entries = {texts(one, "id")[0]: one for one in feed.findall(f"{ATOM}entry")}
    assert len(entries) == 3
    one = entries[f"{TYPE_PREFIX}failure:{failure_id(EVENTS[0].id)}"]
    assert links(one)["alternate"].startswith(f"https://notifier.example.com/tasks/prod/{FAILED.job_id}")
    assert "The quota is not enough" in texts(one, "content")[0]
    assert texts(one, "updated") == ["2026-01-15T08:30:00Z"]


async def test_a_failure_that_is_over_stays_with_a_later_time(lite: Site) -> None:
    await lite.parts.store.transact(lambda tx: people.resolve(tx, FAILED.job_id, KIM, "fixed"))
    feed = await feed_of(lite)
    (entry,) = (one for one in feed.findall(f"{ATOM}entry") if failure_id(EVENTS[0].id) in texts(one, "id")[0])
    assert {one.get("term") for one in entry.findall(f"{ATOM}category")} == {"task.failed", "error", "resolved"}
    assert "fixed" in texts(entry, "content")[0]


@pytest.mark.parametrize(("language", "shown"), [("en", "en"), ("zh", "zh-CN")])
async def test_a_feed_is_in_the_language_of_the_reader(lite: Site, language: str, shown: str) -> None:
    feed = await feed_of(lite, **{"Accept-Language": language})
    assert feed.get("{http://www.w3.org/XML/1998/namespace}lang") == shown
    assert bool(re.search(r"[\u4e00-\u9fff]", texts(feed, "title")[0])) == (language == "zh")


async def test_hostile_texts_are_no_markup(lite: Site) -> None:
    found = await lite.get(ATOM_PATH)
    assert "<script" not in found.text
    assert "\x07" not in found.text
    assert any("alert(1)" in text for text in texts(await feed_of(lite), "content"))
    assert HOSTILE not in found.text


async def test_an_empty_feed_is_a_feed(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    async with open_site(store, **PLACES) as site:
        assert texts(await feed_of(site), "updated") == ["1970-01-01T00:00:00Z"]
        assert Calendar.from_ical((await site.get(CALENDAR_PATH)).text).walk("VEVENT") == []
    await store.aclose()


async def test_a_feed_is_sent_once_while_nothing_changes(lite: Site) -> None:
    for path in (ATOM_PATH, CALENDAR_PATH):
        first = await lite.get(path)
        again = await lite.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


# ---- the calendar ----


async def test_the_calendar_has_windows_in_force_and_repeated_ones(lite: Site) -> None:
    found = await lite.get(CALENDAR_PATH)
    assert found.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert all(len(line.encode()) <= 75 for line in found.text.split("\r\n"))
    events: list[Any] = Calendar.from_ical(found.text).walk("VEVENT")
    now = [one for one in events if one.decoded("DTSTART") == START]
    assert [str(one["SUMMARY"]) for one in now] == ["Muted: prod-2"]
    assert now[0].decoded("DTEND") - START == timedelta(hours=2)
    weekly = sorted(one.decoded("DTSTART") for one in events if one not in now)
    assert len(weekly) == SHOWN_AHEAD.days // 7
    assert {later - earlier for earlier, later in pairwise(weekly)} == {timedelta(weeks=1)}
    assert len({str(one["UID"]) for one in events}) == len(events)
    reasons = {str(one["DESCRIPTION"]) for one in events if one not in now}
    assert len(reasons) == 1
    assert "<script>alert(1)</script>" in reasons.pop()


async def test_an_extended_window_keeps_its_identity(lite: Site) -> None:
    before = Calendar.from_ical((await lite.get(CALENDAR_PATH)).text).walk("VEVENT")[0]
    (mute, *_) = (await lite.get("/api/v1/mutes")).json()["items"]
    await lite.program.post(f"/api/v1/mutes/{mute['id']}/extend", json={"length_seconds": 600})
    after = Calendar.from_ical((await lite.get(CALENDAR_PATH)).text).walk("VEVENT")[0]
    assert before["UID"] == after["UID"]
    assert after.decoded("DTEND") - before.decoded("DTEND") == timedelta(seconds=600)


# ---- who may have it ----


class Tokens(FixedAccess):
    """Knows tokens by the header that shows them, and a session by its cookie."""

    def __init__(self, **known: Viewer) -> None:
        super().__init__()
        self.known = known

    async def viewer(self, request: object) -> Viewer | Response:  # type: ignore[override] # it refuses, too
        assert isinstance(request, Request)
        if "session" in request.cookies:
            return viewer()
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.known.get(token) or RedirectResponse("/login")


def token(*scopes: TokenScope, role: AccessRole = AccessRole.NONE) -> Viewer:
    return replace(viewer(role), scopes=frozenset(scopes), how="token")


A_TOKEN_IN_AN_ADDRESS_HAS_THE_SCOPE_FEED: list[tuple[str, dict[str, str], int]] = [
    ("", {}, 401),
    ("?token=", {}, 401),
    ("?token=wrong", {}, 401),
    ("?token=wrong", {"Cookie": "session=1"}, 401),
    ("?token=feed", {}, 200),
    ("?token=both", {}, 403),
    ("?token=read", {}, 403),
    ("?token=metrics", {}, 403),
    ("?token=x%0d%0aCookie:%20session=1", {}, 401),
    ("?token=" + "x" * 5_000, {}, 401),
    ("", {"Cookie": "session=1"}, 200),
    ("", {"Authorization": "Bearer read"}, 200),
    ("", {"Authorization": "Bearer feed"}, 200),
    ("", {"Authorization": "Bearer metrics"}, 403),
]


async def test_a_token_in_an_address_has_the_scope_feed_alone(lite: Site) -> None:
    for query, headers, status in A_TOKEN_IN_AN_ADDRESS_HAS_THE_SCOPE_FEED:
        access = Tokens(
            feed=token(TokenScope.FEED),
            both=token(TokenScope.FEED, TokenScope.READ, role=AccessRole.READ),
            read=token(TokenScope.READ, role=AccessRole.READ),
            metrics=token(TokenScope.METRICS),
        )
        store: Any = lite.parts.store
        async with open_site(store, access=access, **PLACES) as site:
            for path in (ATOM_PATH, CALENDAR_PATH):
                found = await site.get(path + query, headers=headers)
                assert found.status_code == status, found.text
                assert "token" not in found.text.partition("<entry>")[0] or status != 200
                if status != 200:
                    assert found.headers["Content-Type"] == "application/problem+json"
            assert (await site.get("/api/v1/tasks", headers={"Authorization": "Bearer feed"})).status_code == 403
