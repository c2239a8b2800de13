"""What goes wrong is a page with one fact, its cause and a remedy; never a traceback."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fakes import FakeClock
from timeouts import HANG_TIMEOUT
from web_site import FixedAccess, make_rules, viewer

from notifier.core.errors import StoreReplaced, StoreUnreachable
from notifier.store.engine import SqlStore
from notifier.web import application
from notifier.web.access.viewer import AccessRole
from notifier.web.parts import WebParts
from notifier.web.ports import WebTx
from notifier.web.requests import ActionRoute, Page, PageMissing, PageRequest, PageRoute, Redirect

HTML = {"Accept": "text/html"}


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    """Return the URL of a SQLite file: errors are the same on either database."""
    return sqlite_url


class Broken:
    """The page with one route more, that does what a test says."""

    def __init__(self, store: SqlStore, clock: FakeClock) -> None:
        self.access = FixedAccess()
        self.lost: StoreReplaced | None = None
        self.parts = WebParts(
            rules=make_rules(),
            store=store,
            clock=clock,
            access=self.access,
            wake=lambda: None,
            verify=self._verify,
        )
        self.does: Callable[[], Page] = lambda: Page(template="keyboard.html", view=None)
        route = PageRoute(path="/broken", read=lambda request, q: self.does(), role=AccessRole.ACT)  # noqa: ARG005
        asgi = application.build_application(self.parts, application.page_routes(self.parts, [route]))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url="http://127.0.0.1:8080")

    def fail(self, error: Exception) -> None:
        def does() -> Page:
            raise error

        self.does = does

    async def _verify(self) -> None:
        if self.lost:
            raise self.lost

    async def get(self, path: str = "/broken", **headers: str) -> httpx.Response:
        async with self.client as client:
            return await client.get(path, headers=HTML | headers)


@pytest.fixture
def broken(store: SqlStore, clock: FakeClock, records: io.StringIO) -> Broken:  # noqa: ARG001 - logs into memory
    return Broken(store, clock)


async def test_every_page_says_that_the_file_of_the_database_is_lost(broken: Broken) -> None:
    async with broken.client as client:
        whole = await client.get("/tasks", headers=HTML)
        broken.lost = StoreReplaced("the database file n.db was deleted or moved while the service used it")
        known = {"If-None-Match": whole.headers["ETag"]}
        lost = await client.get("/tasks", headers=HTML | known)
    assert (whole.status_code, "n.db was deleted" in whole.text) == (200, False)
    assert (lost.status_code, "n.db was deleted" in lost.text) == (200, True)


@pytest.mark.parametrize(("path", "page"), [("/mutes/create", "/mutes"), ("/now/acknowledge", "/")])
async def test_the_address_of_an_action_leads_to_its_page(broken: Broken, path: str, page: str) -> None:
    answer = await broken.get(path)
    assert (answer.status_code, answer.headers["Location"]) == (303, page)


async def test_a_form_that_is_too_large_is_refused_with_a_sentence(broken: Broken) -> None:
    async with broken.client as client:
        headers = {"Sec-Fetch-Site": "same-origin"}
        large = await client.post("/mutes/create", content=b"x" * 2**21, headers=headers)
        other = await client.post("/tasks", headers=headers)
    assert (large.status_code, "too large" in large.text) == (413, True)
    assert (other.status_code, "GET" in other.headers["Allow"], "does not take" in other.text) == (405, True, True)


async def test_an_unknown_address_is_a_page(broken: Broken) -> None:
    answer = await broken.get("/nothing?x=<script>")
    assert (answer.status_code, "There is nothing at this address" in answer.text) == (404, True)
    assert "<script>" not in answer.text


async def test_a_program_gets_the_status_alone(broken: Broken) -> None:
    answer = await broken.get("/nothing", Accept="application/json")
    assert (answer.status_code, answer.content) == (404, b"")


async def test_what_is_missing_is_named(broken: Broken) -> None:
    broken.fail(PageMissing("no task prod/<b>7c1e"))
    answer = await broken.get()
    assert (answer.status_code, "no task prod/&lt;b&gt;7c1e" in answer.text) == (404, True)


async def test_who_may_not_is_told_what_is_needed(broken: Broken) -> None:
    broken.access.who = viewer(AccessRole.READ, "Anna Keller")
    answer = await broken.get()
    assert (answer.status_code, "Anna Keller may read pages" in answer.text) == (403, True)


async def test_a_mistake_is_logged_and_not_shown(broken: Broken, records: io.StringIO) -> None:
    broken.fail(ZeroDivisionError("secret detail"))
    answer = await broken.get()
    assert (answer.status_code, "This page could not be made" in answer.text) == (500, True)
    assert "secret detail" not in answer.text
    assert "web.page_failed" in records.getvalue()
    assert "ZeroDivisionError" in records.getvalue()


async def test_an_unreachable_database_is_named_with_the_time(broken: Broken, clock: FakeClock) -> None:
    broken.fail(StoreUnreachable("no database at db.example.com:5432"))
    async with broken.client as client:
        await client.get("/broken")
        clock.advance(timedelta(minutes=3))
        answer = await client.get("/broken")
        assert answer.status_code == 503
        assert "3 min ago" in answer.text
        assert "no database at db.example.com:5432" in answer.text
        broken.does = lambda: Page(template="error.html", view=_Nothing())
        await client.get("/broken")
        broken.fail(StoreUnreachable())
        assert "just now" in (await client.get("/broken")).text


async def test_a_silent_database_is_named_before_the_connection_is_closed(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "READ_WITHIN", 0.05)
    answers = threading.Event()

    def does() -> Page:
        answers.wait(HANG_TIMEOUT)
        return Page(template="keyboard.html", view=None)

    broken.does = does
    try:
        found = await broken.get()
    finally:
        answers.set()
    assert (found.status_code, "the database has not answered for" in found.text) == (503, True)


async def test_an_action_on_a_silent_database_is_answered_and_may_still_be_done(
    broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application, "READ_WITHIN", 0.05)
    answers, woken = threading.Event(), asyncio.Event()
    broken.parts = replace(broken.parts, wake=woken.set)

    def act(_: PageRequest, tx: WebTx) -> Redirect:
        answers.wait(HANG_TIMEOUT)
        tx.queries.actions(1)
        return Redirect(to="/")

    route = ActionRoute(path="/act", act=act, tab="now", role=AccessRole.ACT)
    asgi = application.build_application(broken.parts, application.page_routes(broken.parts, [route]))
    origin = "http://127.0.0.1:8080"
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url=origin) as client:
            found = await client.post("/act", headers={"Origin": origin, "Sec-Fetch-Site": "same-origin"})
    finally:
        answers.set()
    assert (found.status_code, "may still do what was asked for" in found.text) == (503, True)
    async with asyncio.timeout(HANG_TIMEOUT):
        await woken.wait()


class _Nothing:
    trouble = "missing"
    detail = ""


async def test_whoever_cannot_be_known_learns_no_detail(broken: Broken) -> None:
    async def unknown(request: object) -> Any:  # noqa: ARG001 - of the protocol
        raise StoreUnreachable("no database at db.example.com:5432")

    broken.access.viewer = unknown  # type: ignore[method-assign] # sessions are in the database
    answer = await broken.get()
    assert (answer.status_code, "The database cannot be reached" in answer.text) == (503, True)
    assert "db.example.com" not in answer.text


async def test_the_page_about_the_database_asks_again(broken: Broken) -> None:
    broken.fail(StoreUnreachable())
    assert 'data-poll="5"' in (await broken.get()).text
