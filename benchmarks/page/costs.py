"""What a page costs its process: CPU time of the reads and of the HTML apart, and the number of statements.

It says where the time goes, whatever else the machine does. No poll runs beside it, and nothing is sent.
"""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from time import thread_time
from typing import Any

import httpx
from figures import Measure
from starlette.requests import Request
from starlette.routing import Match, Route

from notifier.cli import garbage
from notifier.core.people import Person
from notifier.store.queries import Queries
from notifier.web.access.viewer import AccessRole, Viewer
from notifier.web.application import build_application
from notifier.web.frame import Frame, read_frame
from notifier.web.pages import SITE
from notifier.web.parts import WebParts, WebRules
from notifier.web.rendering import render
from notifier.web.requests import Page, PageRequest, PageRoute, page_request
from notifier.wiring.app import App, open_app
from notifier.wiring.web import web_rules
from page.serve import configured

COSTS = (
    Measure(name="first read ms", digits=1),
    Measure(name="read ms", digits=1),
    Measure(name="render ms", digits=1),
    Measure(name="together ms", digits=1),
    Measure(name="statements"),
    Measure(name="kB", digits=1),
)
_VIEWER = Viewer(person=Person(id="web:reader", name="Reader"), role=AccessRole.ADMIN)


@dataclass
class Spent:
    """CPU time of one page, in seconds, each time that it was asked for."""

    read: list[float] = field(default_factory=list)
    rendered: list[float] = field(default_factory=list)
    statements: int = 0
    size: int = 0

    def values(self) -> dict[str, float]:
        """Return the measures. The first time is that of a process which remembers nothing yet."""
        read, rendered = (1000 * statistics.median(times[1:] or times) for times in (self.read, self.rendered))
        return {
            "first read ms": 1000 * self.read[0],
            "read ms": read,
            "render ms": rendered,
            "together ms": read + rendered,
            "statements": self.statements,
            "kB": self.size / 1000,
        }


@dataclass
class Everybody:
    """Everybody is the same viewer."""

    async def viewer(self, request: Request) -> Viewer:  # noqa: ARG002 - of the protocol
        """Return the viewer."""
        return _VIEWER


async def costs(
    url: str, find: Callable[[httpx.AsyncClient], Awaitable[Mapping[str, str]]], times: int
) -> Mapping[str, Spent]:
    """Measure every page that `find` names, in the order of a process that has just begun."""
    async with _opened(url) as (app, parts):
        transport = httpx.ASGITransport(build_application(parts))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            found = await find(client)
        garbage.leave_out_what_lasts()
        return {name: await _spent(app, parts.rules, path, times) for name, path in found.items()}


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[tuple[App, WebParts]]:
    async with open_app(configured(url)) as app:
        parts = WebParts(rules=web_rules(app), store=app.store, clock=app.clock, access=Everybody(), wake=lambda: None)
        yield app, parts


async def _spent(app: App, rules: WebRules, path: str, times: int) -> Spent:
    spent = Spent()
    for number in range(times):
        route, asked = _asked(path, ("zh", "en")[number % 2], rules)
        frame, page = await app.store.read(partial(_read, spent, route, asked))
        started = thread_time()
        html = render(page, asked, frame, tab=route.tab).html or ""
        spent.rendered.append(thread_time() - started)
        spent.size = len(html.encode())
    route, asked = _asked(path, "en", rules)
    spent.statements = await app.store.read(partial(_count, route, asked))
    return spent


def _asked(path: str, language: str, rules: WebRules) -> tuple[PageRoute, PageRequest]:
    """Return a page and the request for it."""
    address = httpx.URL(f"http://127.0.0.1{path}")
    scope = {
        "type": "http",
        "method": "GET",
        "path": address.path,
        "query_string": address.query,
        "headers": [(b"host", b"127.0.0.1"), (b"accept-language", language.encode())],
    }
    for route in SITE:
        if isinstance(route, PageRoute):
            match, places = Route(route.path, _nothing).matches(scope)
            if match is Match.FULL:
                return route, page_request(Request({**scope, **places}), rules, _VIEWER)
    raise ValueError(path)


async def _nothing(request: Request) -> Any:  # noqa: ANN401 - it is never called
    raise NotImplementedError


def _read(spent: Spent, route: PageRoute, asked: PageRequest, q: Queries) -> tuple[Frame, Page]:
    started = thread_time()
    found = _facts(route, asked, q)
    spent.read.append(thread_time() - started)
    return found


def _facts(route: PageRoute, asked: PageRequest, q: Queries) -> tuple[Frame, Page]:
    frame, page = read_frame(q, asked.rules.expected), route.read(asked, q)
    if not isinstance(page, Page):
        raise TypeError(asked.path)
    return frame, page


def _count(route: PageRoute, asked: PageRequest, q: Queries) -> int:
    """Return the number of statements; with PostgreSQL 0, whose driver does not tell them."""
    driver: Any = q._session.connection.connection.driver_connection  # noqa: SLF001 - nothing else sees all of them
    statements: list[str] = []
    if not hasattr(driver, "set_trace_callback"):
        return 0
    driver.set_trace_callback(statements.append)
    _facts(route, asked, q)
    driver.set_trace_callback(None)
    return sum(not statement.startswith("--") for statement in statements)  # those of its own are comments


def table(rounds: Sequence[Mapping[str, Spent]]) -> dict[str, dict[str, list[float]]]:
    """Return the measures of each page, one value for each round."""
    names = rounds[0]
    return {
        name: {measure.name: [one[name].values()[measure.name] for one in rounds] for measure in COSTS}
        for name in names
    }
