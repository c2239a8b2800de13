"""Signing in and out in a browser, with the keyboard and without scripts, and the list of sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from fakes import START, FakeClock
from playwright.async_api import Page
from web_site import make_rules

from notifier.core.access import SignedInBy, WebSession, digest_of
from notifier.logs import RejectionLog
from notifier.store.engine import open_store
from notifier.store.transaction import Transaction
from notifier.web.access.gate import SiteAccess
from notifier.web.access.passwords import HashedPassword, ScryptCost
from notifier.web.access.rules import AccessRules, PageUser
from notifier.web.access.sign_in import SignInPages, without_role
from notifier.web.access.viewer import AccessRole
from notifier.web.application import build_application
from notifier.web.parts import WebParts
from notifier.web.server import Server
from pages.browser import fits, violations
from pages.conftest import OpenPage

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHEN = PageUser(
    name="Chen Jing",
    password=str(HashedPassword.of("chen's", cost=ScryptCost(ln=2, r=1, p=1))),
    role=AccessRole.ADMIN,
)
HOSTILE = WebSession(
    id=digest_of("another"),
    name='<b id="taken">"' + "x" * 49,
    how=SignedInBy.PASSWORD,
    proof="",
    created_at=START,
    seen_at=START,
    ends_at=START.replace(year=START.year + 1),
    address="2001:db8:1:2:3:4:5:6",
    browser="",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Serve the page to people with passwords; yield its address."""
    place: Path = tmp_path_factory.mktemp("door")
    store, clock, web = open_store(f"sqlite:///{place}/n.db", now=lambda: START), FakeClock(), make_rules()

    def record(tx: Transaction) -> None:
        tx.access.save_session(HOSTILE)

    await store.transact(record)
    access = SiteAccess(AccessRules(password="all of us", users={"chen jing": CHEN}), store, without_role(web))
    parts = WebParts(rules=web, store=store, clock=clock, access=access, wake=lambda: None)
    app = build_application(parts, (), SignInPages(access, store, web, clock).routes())
    rejections = RejectionLog("test", logger="test", seconds=clock.monotonic)
    async with Server(app, "127.0.0.1", 0, rejections=rejections) as server:
        yield server.url
    await store.aclose()


async def sign_in(page: Page, password: str = "chen's") -> None:  # noqa: S107 - of a test
    """Type with the keyboard alone: the field that comes next has the focus."""
    if await page.evaluate("document.activeElement.id") == "name":
        await page.keyboard.type("Chen Jing")
        await page.keyboard.press("Tab")
    await page.keyboard.type(password)
    async with page.expect_navigation():
        await page.keyboard.press("Enter")


@pytest.mark.console  # a refused sign-in has the status 403, which a console names
@pytest.mark.parametrize("scripts", [True, False])
async def test_people_sign_in_and_out_with_the_keyboard(open_page: OpenPage, door: str, scripts: bool) -> None:  # noqa: FBT001 - a case
    page = await open_page("/keyboard", url=door, scripts=scripts)
    assert page.url.endswith("/login?next=%2Fkeyboard")
    await sign_in(page, "wrong")
    assert await page.get_by_role("alert").inner_text() == "The name or the password is wrong."
    await sign_in(page)
    assert page.url.endswith("/keyboard")
    await page.get_by_text("Chen Jing").click()
    await page.locator("#menu-sign-out").click()
    assert await page.get_by_role("status").inner_text() == "You are signed out."
    await page.goto("/keyboard")
    assert "/login" in page.url


@pytest.mark.console
@pytest.mark.parametrize(("language", "theme", "width"), [("en", "light", 1280), ("zh", "dark", 320)])
async def test_everybody_can_sign_in_and_see_sessions(
    open_page: OpenPage, door: str, language: str, theme: str, width: int
) -> None:
    page = await open_page("/sessions", url=door, language=language, theme=theme, width=width)
    assert (await violations(page), await fits(page)) == ([], True)
    await sign_in(page, "wrong")
    assert (await violations(page), await fits(page)) == ([], True)
    await sign_in(page)
    assert (await violations(page), await fits(page)) == ([], True)
    assert await page.locator("#taken").count() == 0
    await page.locator("#mine li").filter(has=page.locator(".status")).get_by_role("button").click()
    assert "/login" in page.url
