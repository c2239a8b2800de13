"""What holds for every page: tags, forms, redirects, roles."""

import pytest
from web_site import FixedAccess, open_site, viewer

from notifier.store.engine import SqlStore
from notifier.web.access.viewer import AccessRole


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
