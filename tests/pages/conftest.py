"""Fixtures of the tests of the page. Those of a browser live on the loop of the session: mark their tests `browser`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page
from web_site import Site, open_site

from notifier.core.people import Action
from notifier.wiring.web import web_rules
from pages.browser import CHROMIUM, Served, open_browser, open_context, serve
from pages.history import Histories, Variant

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Histories:
    """Return the histories of this session: each is made once, and a test gets a copy."""
    return Histories(tmp_path_factory.mktemp("histories"))


@asynccontextmanager
async def open_history(histories: Histories, folder: Path, variant: Variant = Variant.USUAL) -> AsyncIterator[Site]:
    """Open the page over a copy of a history, without a browser."""
    async with histories.copy(variant, folder).open() as app:
        rules = web_rules(app)
        async with open_site(app.store, **{one.name: getattr(rules, one.name) for one in fields(rules)}) as opened:  # type: ignore[arg-type]  # a store of SQL
            yield opened


@pytest.fixture
async def site(histories: Histories, tmp_path: Path) -> AsyncIterator[Site]:
    """Open the page over a copy of the history of the pictures, without a browser."""
    async with open_history(histories, tmp_path) as opened:
        yield opened


async def last_action(site: Site) -> Action:
    """Return what somebody did last."""
    return (await site.parts.store.read(lambda q: q.actions(1)))[0]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Start the one browser of this session; skip the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    async with open_browser() as browser:
        yield browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def served(histories: Histories, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """Serve the page over the history of the pictures. Tests that use it change nothing in it."""
    history = histories.copy(Variant.USUAL, tmp_path_factory.mktemp("served"))
    async with serve(history) as found:
        yield found


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=[Variant.EMPTY, Variant.HUGE, Variant.HOSTILE])
async def odd(
    request: pytest.FixtureRequest, histories: Histories, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Served]:
    """Serve the page over nothing, over very much, and over texts that try to break it."""
    async with serve(histories.copy(request.param, tmp_path_factory.mktemp("odd"))) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium: Browser, served: Served, request: pytest.FixtureRequest) -> AsyncIterator[OpenPage]:
    """Return a function that opens a page of the served history. What a console says fails the test."""
    said: list[str] = []
    async with AsyncExitStack() as stack:

        async def opened(path: str, *, url: str = served.url, clock: bool = False, **options: object) -> Page:
            """Open a page. `clock` stops the browser's clock, for a test to advance."""
            context = await stack.enter_async_context(open_context(chromium, url, **options))  # type: ignore[arg-type] # those of open_context
            page = await context.new_page()
            page.on("console", lambda message: said.extend(_lines(message, url + path)))
            page.on("pageerror", lambda error: said.append(str(error)))
            if clock:
                await page.clock.install()
            await page.goto(path)
            return page

        yield opened
    if not request.node.get_closest_marker("console"):
        assert said == []


def _lines(message: ConsoleMessage, address: str) -> list[str]:
    """Return what a console says, but for the status of the page itself, which is a page too where nothing is found."""
    is_status = message.text.startswith("Failed to load resource") and message.location["url"] == address
    return [] if is_status else [f"{message.type}: {message.text}"]
