"""Fixtures of the tests of the page. Those of a browser live on the loop of the session: mark their tests `browser`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Error, Page
from web_site import Site, open_site

from notifier.core.people import Action
from notifier.wiring.web import web_rules
from pages.browser import CHROMIUM, Colours, Served, open_browser, open_context, serve, viewport
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


class Windows:
    """The browser's windows, each used by one test after another: to open one takes longer than most tests."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._kept: dict[tuple[object, ...], list[Page]] = defaultdict(list)
        self._stack = AsyncExitStack()

    async def aclose(self) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def open(
        self,
        url: str,
        *,
        theme: Colours = "light",
        width: int = 1280,
        language: str = "en",
        touch: bool = False,
        scripts: bool = True,
        fresh: bool = False,
    ) -> AsyncIterator[Page]:
        """Open an empty page, as a reader has it who was never here. One that is `fresh` is used by nobody else."""
        kept = self._kept[url, language, touch, scripts]
        page = (
            kept.pop() if kept and not fresh else await self._new(url, language=language, touch=touch, scripts=scripts)
        )
        await page.set_viewport_size(viewport(width))
        await page.emulate_media(color_scheme=theme)
        yield page
        if fresh:
            await page.context.close()
            return
        await page.goto("about:blank")
        await page.unroute_all()
        await page.emulate_media(media="null", forced_colors="null")
        await page.context.clear_cookies()
        kept.append(page)

    async def _new(self, url: str, **options: Any) -> Page:
        context = await self._stack.enter_async_context(open_context(self._browser, url, **options))
        return await context.new_page()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def windows(chromium: Browser) -> AsyncIterator[Windows]:
    async with aclosing(Windows(chromium)) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(windows: Windows, served: Served, request: pytest.FixtureRequest) -> AsyncIterator[OpenPage]:
    """Return a function that opens a page of the served history. What a console says fails the test."""
    said: list[str] = []
    async with AsyncExitStack() as stack:

        async def opened(path: str, *, url: str = served.url, clock: bool = False, **options: Any) -> Page:
            """Open a page. `clock` stops the browser's clock, for a test to advance."""
            page = await stack.enter_async_context(windows.open(url, fresh=clock, **options))

            def hear(message: ConsoleMessage) -> None:
                said.extend(_lines(message, url + path))

            def hear_error(error: Error) -> None:
                said.append(str(error))

            page.on("console", hear)
            page.on("pageerror", hear_error)
            stack.callback(page.remove_listener, "console", hear)
            stack.callback(page.remove_listener, "pageerror", hear_error)
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
