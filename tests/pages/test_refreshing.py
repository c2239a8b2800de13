"""An open page is refreshed: only where it changed, without taking away what a reader does with it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, Response

from notifier.core.errors import StoreUnreachable
from pages.browser import Served
from pages.conftest import OpenPage

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def page(open_page: OpenPage, served: Served) -> AsyncIterator[Page]:
    """Open the gallery, with a clock that the test advances."""
    yield await open_page("/gallery", clock=True)
    served.gallery.__init__()  # type: ignore[misc] # as it was for the next test


async def refresh(page: Page, seconds: int = 5) -> Response:
    """Let time pass until the page asks again, and wait for the answer to be shown."""
    async with page.expect_response("**/gallery") as answer:
        await page.clock.run_for(seconds * 1000)
    found: Response = await answer.value
    await found.finished()
    await page.wait_for_function("!document.querySelector('.htmx-request')")
    return found


async def test_what_changed_is_shown_and_what_the_reader_did_stays(page: Page, served: Served) -> None:
    await refresh(page)
    await page.fill("#reason", "load test")
    await page.check("#tick-b")
    await page.click("#fold1 summary")
    await page.check('input[name="for"][value="30m"]')
    await page.focus("#tick-b")
    await page.evaluate("getSelection().selectAllChildren(document.querySelector('#n1 .reason'))")
    await page.evaluate("document.querySelector('#row-b').mark = 'the same element'")
    served.gallery.rows, served.gallery.fact = ("new", "a", "b"), "5 things need somebody"
    answer = await refresh(page)
    assert answer.status == 200
    assert await page.inner_text("h1 >> nth=0") == "5 things need somebody"
    assert await page.eval_on_selector_all("[id^=row-]", "(rows) => rows.map((row) => row.id)") == [
        "row-new",
        "row-a",
        "row-b",
    ]
    assert await page.input_value("#reason") == "load test"
    assert await page.is_checked("#tick-b")
    assert await page.is_checked('input[name="for"][value="30m"]')
    assert await page.evaluate("document.querySelector('#fold1').open")
    assert await page.evaluate("document.activeElement.id") == "tick-b"
    assert (await page.evaluate("getSelection().toString()")).startswith("The storage quota is exceeded.")
    assert await page.evaluate("document.querySelector('#row-b').mark") == "the same element"


async def test_an_unchanged_page_is_not_sent_again(page: Page) -> None:
    assert [(await refresh(page)).status for _ in range(3)] == [304, 304, 304]


async def test_a_notice_stays_until_the_reader_goes_on(open_page: OpenPage, served: Served) -> None:
    page = await open_page("/gallery", clock=True)
    await page.context.add_cookies([{"name": "notice", "value": "Muted.", "url": served.url}])
    await refresh(page)
    assert await page.locator(".note.green").count() == 0
    await page.reload()
    assert await page.evaluate("document.activeElement.innerText") == "Muted."
    served.gallery.fact = "3 things need somebody"
    await refresh(page)
    assert await page.inner_text("h1 >> nth=0") == "3 things need somebody"
    assert await page.evaluate("document.activeElement.innerText") == "Muted."
    await page.reload()
    assert await page.locator(".note.green").count() == 0
    served.gallery.__init__()  # type: ignore[misc] # as it was for the next test


async def test_ages_read_the_same_in_the_browser_as_on_the_server(open_page: OpenPage) -> None:
    page = await open_page("/gallery")
    await page.clock.set_fixed_time("2026-11-28T09:42:16+08:00")
    await page.reload()
    made = await page.context.request.get("/gallery")
    texts = re.findall(r'data-tick="\w+">([^<]+)<', await made.text())
    assert len(texts) > 60
    assert await page.eval_on_selector_all("[data-tick]", "(all) => all.map((one) => one.textContent)") == texts


async def test_a_hidden_page_does_not_ask(page: Page, served: Served) -> None:
    await refresh(page)
    asked = served.gallery.asked
    await page.evaluate(
        "Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await page.clock.run_for(60_000)
    assert served.gallery.asked == asked
    async with page.expect_response("**/gallery"):
        await page.evaluate(
            "Object.defineProperty(document, 'visibilityState', {value: 'visible'});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )


async def test_ages_count_on_between_two_answers(page: Page) -> None:
    assert await page.inner_text(".band .age >> nth=0") == "Looked 9 s ago"
    await page.clock.run_for(3_000)
    assert await page.inner_text(".band .age >> nth=0") == "Looked 12 s ago"


@pytest.mark.console
async def test_a_notifier_that_is_silent_is_named_and_the_contents_stay(page: Page, served: Served) -> None:
    await refresh(page)
    served.gallery.fails = StoreUnreachable()
    await refresh(page)
    assert not await page.is_visible("#stale")
    await refresh(page)
    assert await page.inner_text("#stale") == (
        "This page is 10 s old. The notifier does not answer; the next try is in 5 s. Try now"
    )
    assert await page.inner_text("h1 >> nth=0") == "4 things need somebody"
    served.gallery.fails = None
    await refresh(page)
    assert not await page.is_visible("#stale")


@pytest.mark.console
async def test_a_lost_connection_is_named_too(page: Page) -> None:
    await page.route("**/gallery", lambda route: route.abort())
    for _ in range(2):
        async with page.expect_event("requestfailed"):
            await page.clock.run_for(5_000)
        await page.wait_for_function("!document.querySelector('.htmx-request')")
    assert (await page.inner_text("#stale")).startswith("This page is 10 s old.")
    await page.unroute("**/gallery")
    await page.click("#stale >> text=Try now")
    await page.wait_for_selector("#stale", state="hidden")


@pytest.mark.console
async def test_who_is_signed_out_finds_a_link_to_sign_in(page: Page) -> None:
    await refresh(page)
    await page.route("**/gallery", lambda route: asyncio.ensure_future(route.fulfill(status=401)))
    await refresh(page)
    link = page.locator("#stale a:visible")
    assert await page.inner_text("#stale strong") == "This page is 5 s old."
    assert await link.get_attribute("href") == "/login?next=%2Fgallery"
    await page.unroute("**/gallery")
