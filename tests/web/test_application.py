"""What holds for every page: tags, forms, redirects, roles."""

import httpx
import pytest
from web_site import ORIGIN, FixedAccess, open_site, viewer

from notifier.store.engine import SqlStore
from notifier.web.access.viewer import AccessRole
from notifier.web.application import build_application, page_routes
from notifier.web.pages.keyboard import KeyboardView
from notifier.web.requests import ActionRoute, Page


async def test_a_page_is_sent_once_while_nothing_changes(store: SqlStore) -> None:
    async with open_site(store) as site:
        first = await site.get("/")
        again = await site.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_the_language_is_that_of_the_browser(store: SqlStore, language: str) -> None:
    async with open_site(store) as site:
        found = await site.get("/", headers={"Accept-Language": language})
    assert f'<html lang="{language}' in found.text


async def test_a_reader_of_another_language_gets_another_tag(store: SqlStore) -> None:
    async with open_site(store) as site:
        tags = {(await site.get("/", headers={"Accept-Language": one})).headers["ETag"] for one in ("en", "zh")}
    assert len(tags) == 2


@pytest.mark.parametrize("path", ["/deliveries?q=a%00b", "/deliveries/%00", "/tasks/a%00/b", "/tasks?q=%00&source=x"])
async def test_an_address_with_nul_is_refused_and_no_outage(store: SqlStore, path: str) -> None:
    async with open_site(store) as site:
        answer = await site.get(path)
        assert (answer.status_code, "The request was refused" in answer.text) == (400, True)


async def test_a_form_with_nul_is_refused_and_no_outage(store: SqlStore) -> None:
    async with open_site(store) as site:
        answer = await site.post("/now/acknowledge", event="a\0b")
        assert (answer.status_code, "The request was refused" in answer.text) == (400, True)


async def test_an_action_is_not_done_by_get(store: SqlStore) -> None:
    async with open_site(store, access=FixedAccess(viewer(AccessRole.READ))) as site:
        assert (await site.post("/")).status_code == 405


async def test_a_page_is_compressed_for_who_can_read_that(store: SqlStore) -> None:
    async with open_site(store) as site:
        packed = await site.get("/", headers={"Accept-Encoding": "gzip"})
        plain = await site.get("/", headers={"Accept-Encoding": "identity"})
    assert (packed.headers.get("Content-Encoding"), plain.headers.get("Content-Encoding")) == ("gzip", None)
    assert packed.text == plain.text
    assert int(packed.headers["Content-Length"]) < len(plain.content) / 2


async def test_a_refused_form_is_shown_at_the_address_of_its_page(store: SqlStore) -> None:
    async with open_site(store) as site:
        route = ActionRoute(path="/mutes/refuse", act=lambda request, tx: _refused(), tab="mutes")  # noqa: ARG005
        asgi = build_application(site.parts, page_routes(site.parts, [route]))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(asgi), base_url=ORIGIN) as client:
            answer = await client.post("/mutes/refuse", data={}, headers={"Origin": ORIGIN})
    assert (answer.status_code, 'data-poll="0"' in answer.text) == (422, True)
    assert 'href="/mutes?lang=zh"' in answer.text


def _refused() -> Page:
    return Page(template="keyboard.html", view=KeyboardView(enabled=True), status=422)
