"""What holds for every page: everybody can use it, nothing sticks out, and it reads without scripts."""

from __future__ import annotations

import pytest

from notifier.web.pages import SITE
from notifier.web.requests import PageRoute
from pages.browser import example_path, fits, violations
from pages.conftest import OpenPage

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGES = ("/gallery", *(example_path(route.path) for route in SITE if isinstance(route, PageRoute)))


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [1280, 390])
async def test_everybody_can_use_a_page(open_page: OpenPage, path: str, width: int) -> None:
    page = await open_page(path, width=width)
    light = await violations(page)
    await page.emulate_media(color_scheme="dark")
    assert (light, await violations(page)) == ([], [])


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_no_wider_than_its_window(open_page: OpenPage, path: str) -> None:
    page = await open_page(path, language="zh")
    wide = []
    for width in (320, 390, 700, 860, 861, 1024, 1280):
        await page.set_viewport_size({"width": width, "height": 800})
        if not await fits(page):
            wide.append(width)
    assert wide == []
