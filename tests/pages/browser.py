"""A browser and what it opens, for tests: `open_browser() as browser`, `serve(history) as served`.

There is one Chromium for a test session, and the page is served from this process, so that a test may change what is
behind it. A page that a test opens must stay silent: whatever its console says fails the test.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

from axe_playwright_python.base import AXE_SCRIPT
from jinja2 import ChoiceLoader, FileSystemLoader
from playwright.async_api import Browser, BrowserContext, Page, ViewportSize, async_playwright
from web_site import FixedAccess

from notifier.logs import RejectionLog
from notifier.web import application, rendering
from notifier.web.parts import WebParts
from notifier.web.ports import WebReads
from notifier.web.requests import Page as Answer
from notifier.web.requests import PageRequest, PageRoute
from notifier.web.server import Server
from notifier.wiring.web import web_rules
from notifier.wording.localizer import Localizer
from pages import story
from pages.history import History, Variant

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--renderer-process-limit=1",
)
TEMPLATES = Path(__file__).with_name("templates")
CLOSES_WITHIN = 60.0
"""Seconds after which a window, or the browser, that does not close fails its test: Playwright would wait for good."""
NARROW = 600
"""Windows narrower than this have the height of a phone."""
LENGTHS = (0, 1, 59, 60, 61, 89, 90, 119, 3599, 3600, 5399, 5400, 6000, 86_399, 86_400, 90_000, 172_799, 172_800, 1e6)
"""Lengths at which the text of an age changes its form, in seconds."""
HOSTILE = '<b id="taken">"\'&x</b>{{ 7 * 7 }}'

Colours = Literal["light", "dark"]


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        async with asyncio.timeout(CLOSES_WITHIN):
            await browser.close()


@dataclass
class Gallery:
    """A page of every component in every state, whose facts a test can change while it is open."""

    fact: str = "4 things need somebody"
    rows: Sequence[str] = ("a", "b", "c")
    fails: Exception | None = None
    asked: int = 0
    """How often the page was read."""

    def route(self) -> PageRoute:
        """Return its route."""
        return PageRoute(path="/gallery", read=self._read, tab="now")

    def _read(self, request: PageRequest, q: WebReads) -> Answer:  # noqa: ARG002 - of the route's type
        self.asked += 1
        if self.fails:
            raise self.fails
        now = q.now()
        view = SimpleNamespace(
            fact=self.fact,
            rows=tuple(self.rows),
            hostile=HOSTILE,
            recent=now - timedelta(seconds=9),
            failed=now - timedelta(minutes=20),
            parked=now - timedelta(minutes=71),
            old=now - timedelta(days=2, hours=3),
            moments=[(now - timedelta(seconds=one), now + timedelta(seconds=one)) for one in LENGTHS],
            soon=now + timedelta(minutes=2, seconds=5),
            told=[_told("delivered", "dba"), _told("delivered", "mail", "OPS-2291"), _told("parked", "tickets")],
        )
        return Answer(template="gallery.html", view=view, poll=5)


def _told(state: str, name: str, ref: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(state=state, name=name, ref=ref, url=ref and "/deliveries")


@contextmanager
def _templates_of_tests(localizers: Iterable[Localizer]) -> Iterator[None]:
    """Let templates of the tests be found beside those of the page."""
    made = [rendering.environment(localizer) for localizer in localizers]
    loaders = [one.loader for one in made]
    for one in made:
        assert one.loader is not None
        one.loader = ChoiceLoader([one.loader, FileSystemLoader(TEMPLATES)])
    yield
    for one, loader in zip(made, loaders, strict=True):
        one.loader = loader


@dataclass
class Served:
    """The page, as a browser can open it."""

    url: str
    variant: Variant
    gallery: Gallery
    access: FixedAccess
    parts: WebParts


@asynccontextmanager
async def serve(history: History) -> AsyncIterator[Served]:
    """Serve the page over a history."""
    gallery, access = Gallery(), FixedAccess()
    async with history.open() as app:
        parts = WebParts(rules=web_rules(app), store=app.store, clock=app.clock, access=access, wake=lambda: None)
        asgi = application.build_application(parts, sign_in=application.page_routes(parts, [gallery.route()]))
        rejections = RejectionLog("web.rejected", logger="notifier.web", seconds=app.clock.monotonic)
        with _templates_of_tests(parts.rules.localizers.values()):
            async with Server(asgi, "127.0.0.1", 0, rejections=rejections) as server:
                yield Served(url=server.url, variant=history.variant, gallery=gallery, access=access, parts=parts)


@asynccontextmanager
async def open_context(
    browser: Browser,
    url: str,
    *,
    language: str = "en",
    theme: Colours = "light",
    width: int = 1280,
    touch: bool = False,
    scripts: bool = True,
) -> AsyncIterator[BrowserContext]:
    """Open a browser's window of a width, for a reader of a language. Nothing but the page can be reached."""
    context = await browser.new_context(
        base_url=url,
        locale="zh-CN" if language == "zh" else "en-GB",
        color_scheme=theme,
        viewport=viewport(width),
        has_touch=touch,
        java_script_enabled=scripts,
        reduced_motion="reduce",
    )
    yield context
    async with asyncio.timeout(CLOSES_WITHIN):
        await context.close()


def viewport(width: int) -> ViewportSize:
    """Return the size of a window of a width."""
    return {"width": width, "height": 844 if width < NARROW else 800}


async def fits(page: Page) -> bool:
    """Return whether the page is no wider than its window."""
    width: int = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return width <= 0


async def violations(page: Page, *rules: str) -> list[str]:
    """Return what axe finds wrong, one line for each node; with `rules` by these alone."""
    if not await page.evaluate("typeof axe !== 'undefined'"):
        await page.evaluate(AXE_SCRIPT)
    options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
    found = await page.evaluate("(options) => axe.run(options).then((found) => found.violations)", options)
    return [f"{one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]]


def example_path(path: str) -> str:
    """Return an address of a route that names parts of its path: a task that failed, a message, a report."""
    job = next(one for one in reversed(story.jobs()) if one.instance == "prod-orders")
    if "{event_id}" in path:  # the month has no run that did not appear: what is open stands for its page
        return "/tasks?open=1"
    values = {"source": job.source, "job_id": job.id, "id": story.REFUSED_MAIL, "name": "weekly"}
    return path.replace(":path", "").format(**values)
