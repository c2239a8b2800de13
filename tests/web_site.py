"""The page in this process, for tests: `async with open_site(store) as site: await site.get("/")`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from fakes import FakeClock

from notifier.core.expectations import MissingRules
from notifier.core.health_facts import Expected
from notifier.core.people import Person
from notifier.core.rota import Rotas
from notifier.core.routing import RoutingConfig
from notifier.schedules import ScheduleRules
from notifier.statistics import TaskMemory
from notifier.store.engine import SqlStore
from notifier.web.access.viewer import AccessRole, Viewer
from notifier.web.application import build_application
from notifier.web.configured import ShownConfiguration
from notifier.web.parts import WebParts, WebRules
from notifier.wording.causes import builtin_catalogue
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer

SHANGHAI = ZoneInfo("Asia/Shanghai")
ORIGIN = "http://127.0.0.1:8080"


def viewer(role: AccessRole = AccessRole.ADMIN, name: str = "Chen Jing") -> Viewer:
    return Viewer(person=Person(id=f"web:{name}", name=name), role=role)


@dataclass
class FixedAccess:
    """Everybody is this viewer."""

    who: Viewer = field(default_factory=viewer)

    async def viewer(self, request: object) -> Viewer:  # noqa: ARG002 - of the protocol
        return self.who


def make_rules(**changes: Any) -> WebRules:
    values: dict[str, Any] = {
        "version": "1.0.0",
        "url": None,
        "language": "en",
        "localizers": {one: Localizer(language=one, timezone=SHANGHAI) for one in ("en", "zh")},
        "expected": Expected(),
        "routing": RoutingConfig(routes=(), policies={}),
        "causes": builtin_catalogue(),
        "links": LinkTemplates(),
        "rotas": Rotas(),
        "schedules": ScheduleRules(),
        "missing": MissingRules(),
        "command": "/gaussdb",
        "configuration": ShownConfiguration(),
        "ended": TaskMemory(SHANGHAI, builtin_catalogue()),
    }
    return WebRules(**values | changes)


@dataclass
class Site:
    """An open page. Requests come from a page of ours."""

    client: httpx.AsyncClient
    access: FixedAccess
    parts: WebParts
    woken: list[None]

    @property
    def program(self) -> httpx.AsyncClient:
        """A client whose requests say that they come from a page of ours, as those of a token need not."""
        self.client.headers["Sec-Fetch-Site"] = "same-origin"
        return self.client

    async def get(self, url: str, **options: Any) -> httpx.Response:
        return await self.client.get(url, **options)

    async def post(self, url: str, **form: str | list[str]) -> httpx.Response:
        """Submit a form as a browser does from a page of ours."""
        headers = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}
        return await self.client.post(url, data=form, headers=headers)


@asynccontextmanager
async def open_site(store: SqlStore, *, access: FixedAccess | None = None, **rules: Any) -> AsyncIterator[Site]:
    """Open the page over a store. `rules` are changes of `make_rules`."""
    access, woken = access or FixedAccess(), list[None]()
    parts = WebParts(
        rules=make_rules(**rules),
        store=store,
        clock=FakeClock(),
        access=access,
        wake=lambda: woken.append(None),
        listen=store.listen,
    )
    transport = httpx.ASGITransport(build_application(parts))
    async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers={"Origin": ORIGIN}) as client:
        yield Site(client, access, parts, woken)
