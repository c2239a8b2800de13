"""The examples of docs/api.md do what the page says."""

from __future__ import annotations

import itertools
import json
import re
import shlex
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_story import EXPECTED, ROUTES, seed
from fakes import START
from web_site import FixedAccess, make_rules, viewer

from notifier.core.routing import RoutingConfig
from notifier.store.engine import SqlStore, open_store
from notifier.web.api.application import build_api
from notifier.web.api.problems import TITLES
from notifier.web.api.stream import StreamLimits
from notifier.web.parts import WebParts

PAGE = Path(__file__).parent.parent.parent / "docs" / "api.md"


@dataclass(frozen=True)
class Example:
    """A command of the page, and the answer that follows it, where one does."""

    command: str
    answer: Any

    @property
    def words(self) -> list[str]:
        text = self.command.replace("$NOTIFIER", "http://127.0.0.1:8080").replace("$TOKEN", "gdbn_x")
        return shlex.split(text)


def examples() -> list[Example]:
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^```sh\n(curl .*?)\n```\n(?:\n```json\n(.*?)^```)?", text, re.MULTILINE | re.DOTALL)
    return [Example(command, json.loads(answer) if answer else None) for command, answer in found]


def test_the_page_has_examples() -> None:
    assert len(examples()) >= 5


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[SqlStore]:
    opened = open_store(sqlite_url, now=lambda: START)
    await seed(opened)
    yield opened
    await opened.aclose()


@pytest.mark.parametrize("example", examples(), ids=lambda one: one.words[-1].partition("/api/v1")[2])
async def test_an_example_gets_the_answer_that_the_page_shows(example: Example, store: SqlStore) -> None:
    rules = make_rules(expected=EXPECTED, routing=RoutingConfig(routes=ROUTES, policies={}))
    access: Any = FixedAccess(viewer(name="deployment"))
    parts = WebParts(rules=rules, store=store, clock=object(), access=access, wake=lambda: None)  # type: ignore[arg-type]
    app = build_api(parts, StreamLimits(lasts=0.0))

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "root_path": "/api/v1"}, receive, send)

    found = await sent(example.words, mounted)
    if example.answer is None:
        assert (found.status_code, found.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
        assert "data: {" in found.text
        return
    status = example.answer.get("status", 201 if "-X" in example.words else 200)
    assert found.status_code == status, found.text
    assert_shown(example.answer, found.json(), "")


async def sent(words: list[str], app: Any) -> httpx.Response:
    """Do what curl does with these words."""
    options = dict(itertools.pairwise(words))
    headers = dict(word.split(": ", 1) for flag, word in itertools.pairwise(words) if flag == "-H")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        return await client.request(options.get("-X", "GET"), words[-1], headers=headers, content=options.get("-d"))


def assert_shown(shown: Any, real: Any, place: str) -> None:
    """Check that all that is shown is there, of the same kind: ids, times and cursors are others."""
    assert type(shown) is type(real) or real is None or shown is None, place
    if isinstance(shown, Mapping):
        assert shown.keys() <= real.keys(), place
        for key, value in shown.items():
            assert_shown(value, real[key], f"{place}.{key}")
    elif isinstance(shown, list):
        assert bool(shown) == bool(real), place
        for one, other in zip(shown, real, strict=False):
            assert_shown(one, other, place)
    elif place.rpartition(".")[2] not in ("id", "next", "since", "until", "source"):
        assert shown == real, place


def test_the_page_names_every_kind_of_problem() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert {word for word in TITLES if f"`{word}`" not in text} == set()
