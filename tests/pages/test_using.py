"""A reader gets along with keys alone, without scripts, on paper, and with colours of their own."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from pages.browser import fits
from pages.conftest import OpenPage

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def focused(page: Page) -> str:
    text: str = await page.evaluate("document.activeElement.innerText.trim().split('\\n')[0]")
    return text


async def test_tab_leads_through_a_page_in_its_order(open_page: OpenPage) -> None:
    page = await open_page("/gallery")
    names = []
    for _ in range(11):
        await page.keyboard.press("Tab")
        names.append(await focused(page))
    assert names == [
        "Skip to the content",
        "GaussDB notifier",
        "Now",
        "Tasks",
        "Timeline",
        "Statistics",
        "Deliveries",
        "Mutes",
        "Reports",
        "Configuration",
        "中文",
    ]


async def test_the_skip_link_leads_to_the_content(open_page: OpenPage) -> None:
    page = await open_page("/gallery")
    await page.keyboard.press("Tab")
    assert await page.locator(".skip").is_visible()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.querySelector('main').contains(document.activeElement)")


async def test_keys_go_through_rows_and_open_pages(open_page: OpenPage) -> None:
    page = await open_page("/gallery")
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    assert await focused(page) == "Change flavor · prod-search"
    await page.keyboard.press("a")
    assert await page.evaluate("document.activeElement.id") == "ack2"
    await page.keyboard.press("k")
    assert await focused(page) == "Expand storage · prod-orders"
    await page.keyboard.press("?")
    await page.wait_for_url("**/keyboard")
    await page.keyboard.press("g")
    await page.keyboard.press("n")
    await page.wait_for_url(lambda url: url.endswith("/"))


async def test_keys_do_nothing_while_somebody_types(open_page: OpenPage) -> None:
    page = await open_page("/gallery")
    await page.focus("#reason")
    await page.keyboard.type("gn?ja")
    assert await page.input_value("#reason") == "gn?ja"
    assert page.url.endswith("/gallery")


async def test_keys_can_be_switched_off(open_page: OpenPage) -> None:
    page = await open_page("/keyboard")
    await page.click("text=Switch them off")
    await page.keyboard.press("g")
    await page.keyboard.press("n")
    await page.keyboard.press("?")
    assert page.url.endswith("/keyboard")
    await page.click("text=Switch them on")
    assert await page.is_visible("text=Single keys work.")


async def test_language_and_theme_are_chosen_by_links(open_page: OpenPage) -> None:
    page = await open_page("/keyboard", theme="light")
    await page.click(".own summary")
    await page.click(".own >> text=Dark")
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 24)"
    await page.click(".own >> text=中文")
    assert await page.inner_text("h1") == "键盘操作"
    assert await page.get_attribute("html", "lang") == "zh-CN"


async def test_a_page_reads_without_scripts(open_page: OpenPage) -> None:
    page = await open_page("/gallery", scripts=False, width=390)
    assert await page.is_visible("text=The storage quota is exceeded.")
    assert await page.is_visible("text=20 min ago")
    assert not await page.locator("text=Print").is_visible()
    await page.click(".tabs >> text=Now")
    assert page.url.endswith("/")


async def test_paper_has_no_controls_and_everything_unfolded(open_page: OpenPage) -> None:
    page = await open_page("/gallery")
    await page.emulate_media(media="print")
    await page.set_viewport_size({"width": 700, "height": 900})
    await page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for hidden in ("nav.bottom", ".button >> nth=0", ".chips", ".pager"):
        assert not await page.locator(hidden).first.is_visible()
    assert await page.is_visible("#fold1 p")
    assert await fits(page)


async def test_states_differ_without_colours(open_page: OpenPage) -> None:
    """In forced colours every state keeps its icon and its word, and what is current is still marked."""
    page = await open_page("/gallery")
    await page.emulate_media(forced_colors="active")
    shown = await page.eval_on_selector_all(
        "#states .status",
        "(all) => all.map((one) => [one.querySelector('use').getAttribute('href').split('#')[1], one.innerText])",
    )
    assert len({word for _, word in shown}) == len(shown) / 2
    assert await page.evaluate("getComputedStyle(document.querySelector('.chip[aria-current]')).backgroundColor") != (
        await page.evaluate("getComputedStyle(document.querySelector('.chip:not([aria-current])')).backgroundColor")
    )


async def test_a_form_is_sent_once(open_page: OpenPage) -> None:
    page = await open_page("/gallery")
    await page.route("**/tasks/acknowledge", lambda route: route.fulfill(status=204))
    held_back = await page.evaluate(
        """() => {
          const found = [];
          addEventListener("submit", (event) => found.push(event.defaultPrevented));
          for (const _ of [1, 2, 3]) document.querySelector("#ack1").click();
          return found;
        }"""
    )
    assert held_back == [False, True, True]
    assert await page.get_attribute("#ack1", "aria-disabled") == "true"
    assert await page.inner_text("#ack1") == "Acknowledge"


async def test_a_screen_on_a_wall_has_nothing_to_press(open_page: OpenPage) -> None:
    page = await open_page("/?kiosk")
    assert await page.is_visible("h1")
    assert await page.locator("main .button:visible, .own:visible, .foot:visible").count() == 0
