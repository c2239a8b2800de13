"""What holds for every page: everybody can use it, nothing sticks out, and no content breaks it."""

from __future__ import annotations

import gzip
from collections import Counter

import pytest

from notifier.web.pages import SITE
from notifier.web.requests import PageRoute
from pages.browser import Served, example_path, fits, violations
from pages.conftest import OpenPage
from pages.history import Variant

pytestmark = pytest.mark.asyncio(loop_scope="session")

REAL_PAGES = [example_path(route.path) for route in SITE if isinstance(route, PageRoute)]
PAGES = ["/gallery", *REAL_PAGES]
MAX_BYTES = 100_000
MAX_COMPRESSED = 20_000
OF_COLOURS = ("color-contrast", "link-in-text-block")
"""The rules whose verdict depends on the theme."""
NAMED = "(all) => all.every((one) => one.ariaLabel || one.getAttribute('aria-labelledby'))"
"""Whether every section has a name."""


@pytest.mark.parametrize("path", PAGES)
async def test_everybody_can_use_a_page(open_page: OpenPage, path: str) -> None:
    """At every width and in both themes; ids are there once."""
    page = await open_page(path, language="zh")
    wide_and_light = await violations(page)
    too_wide = []
    for width in (320, 700, 860, 861, 1024, 390):
        await page.set_viewport_size({"width": width, "height": 844})
        if not await fits(page):
            too_wide.append(width)
    await page.emulate_media(color_scheme="dark")
    assert (wide_and_light, await violations(page, *OF_COLOURS)) == ([], [])
    ids = Counter(await page.eval_on_selector_all("[id]", "(all) => all.map((one) => one.id)"))
    assert (too_wide, [one for one, times in ids.items() if times > 1]) == ([], [])


async def test_what_is_above_and_below_every_page_fits_in_english(open_page: OpenPage) -> None:
    """The names of the tabs are longer than in Chinese."""
    page = await open_page("/")
    too_wide = []
    for width in (320, 390, 861, 960, 961, 1080, 1240, 1241):
        await page.set_viewport_size({"width": width, "height": 800})
        if not await fits(page):
            too_wide.append(width)
    assert too_wide == []


@pytest.mark.parametrize("path", REAL_PAGES)
async def test_any_content_leaves_a_page_whole(open_page: OpenPage, odd: Served, path: str) -> None:
    """Nothing, very much, or hostile text: the page fits its window, runs no foreign script, and stays small."""
    page = await open_page(path, url=odd.url, width=390, language="zh")
    narrow = await fits(page)
    await page.set_viewport_size({"width": 1280, "height": 800})
    assert (narrow, await fits(page)) == (True, True)
    assert await page.locator("h1").count() == 1
    assert await page.eval_on_selector_all("main section", NAMED)
    assert await page.locator("main :is(script, img, iframe, style), svg[onload], [onerror]").count() == 0
    assert (await page.title()).endswith("· GaussDB notifier")
    content = (await page.content()).encode()
    assert len(content) < MAX_BYTES or odd.variant is Variant.HOSTILE
    assert len(gzip.compress(content)) < MAX_COMPRESSED


async def test_the_check_finds_what_is_wrong(open_page: OpenPage) -> None:
    page = await open_page("/keyboard")
    await page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [found.partition(":")[0] for found in await violations(page)] == ["button-name"]


async def test_the_check_of_colours_finds_what_is_pale(open_page: OpenPage) -> None:
    page = await open_page("/keyboard")
    await page.emulate_media(color_scheme="dark")
    await page.evaluate("document.querySelector('h1').style.color = '#333'")
    assert [found.partition(":")[0] for found in await violations(page, *OF_COLOURS)] == ["color-contrast"]
