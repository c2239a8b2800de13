"""Every link of every page leads somewhere."""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest

from pages.browser import Served
from pages.conftest import OpenPage
from pages.test_every_page import REAL_PAGES

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINK = re.compile(r'(?:href|src)="([^"#][^"]*)"')


def kind_of(address: str) -> tuple[str, ...]:
    """Return what an address is like: one of a kind is enough to follow."""
    parts = urlsplit(address)
    path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", parts.path)
    return path, *sorted(parse_qs(parts.query, keep_blank_values=True))


async def test_every_link_leads_somewhere(open_page: OpenPage, served: Served) -> None:
    page = await open_page("/keyboard")
    found: dict[tuple[str, ...], tuple[str, str]] = {}
    for path in REAL_PAGES:
        answer = await page.context.request.get(path)
        for link in LINK.findall(await answer.text()):
            address = urljoin(served.url + path, unescape(link))
            if address.startswith(served.url) and not address.endswith("/login"):  # nobody signs in here
                found.setdefault(kind_of(address), (address, path))
    assert len(found) > len(REAL_PAGES)
    lost = []
    for address, path in found.values():
        answer = await page.context.request.get(address)
        if not answer.ok:
            lost.append(f"{answer.status} {address} on {path}")
    assert not lost, "\n".join(lost)
