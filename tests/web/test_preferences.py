"""The language, the theme and the keys are the reader's choice."""

from __future__ import annotations

import pytest
from web_site import open_site

from notifier.store.engine import SqlStore
from notifier.web.preferences import accepted_language, read_preferences


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    """Return the URL of a SQLite file: choices are in cookies."""
    return sqlite_url


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de, en;q=0.5, zh;q=0.7", "zh"),
        ("en-GB", "en"),
        ("fr", None),
        ("", None),
        ("zh;q=0", None),
        ("zh;q=many, en;q=0.1", "en"),
    ],
)
def test_the_browser_names_its_language(header: str, language: str | None) -> None:
    assert accepted_language(header) == language


def test_a_choice_counts_before_the_browser_and_the_browser_before_the_configuration() -> None:
    assert read_preferences({"lang": "en"}, "zh", "zh").language == "en"
    assert read_preferences({}, "zh", "en").language == "zh"
    assert read_preferences({}, "fr", "zh").language == "zh"
    assert read_preferences({"lang": "<b>", "theme": "x", "keys": "x"}, "fr", "zh") == read_preferences({}, "", "zh")


async def test_a_choice_is_kept_and_leads_back_to_the_page(store: SqlStore) -> None:
    async with open_site(store) as site:
        answer = await site.get("/?lang=zh&theme=dark&status=failed&status=stuck")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/?status=failed&status=stuck")
        shown = await site.get("/")
    assert '<html lang="zh-CN" class="no-js dark">' in shown.text


async def test_a_choice_that_is_none_is_ignored(store: SqlStore) -> None:
    async with open_site(store) as site:
        assert (await site.get("/?lang=tlh")).status_code == 200
