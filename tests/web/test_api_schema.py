"""Schemathesis: whatever the description allows is answered as it says, and whatever it forbids is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from api_story import EXPECTED, ROUTES, seed
from fakes import START, FakeClock
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance
from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from web_site import FixedAccess, make_rules

from notifier.core.routing import RoutingConfig
from notifier.store.engine import open_store
from notifier.web.api.application import API_PATH, build_api
from notifier.web.api.stream import StreamLimits
from notifier.web.mounts import WholeMount
from notifier.web.parts import WebParts

DESCRIPTION = json.loads((Path(__file__).parent.parent.parent / "docs/openapi.json").read_text(encoding="utf-8"))

OPERATIONS = [one["operationId"] for path in DESCRIPTION["paths"].values() for one in path.values()]
HEADERS = {"Authorization": "Bearer obviously-fake"}
EXAMPLES = 6
"""Number of generated requests of each operation and kind."""

for name, strategy in {
    "matchers": st.sampled_from(["prod-*", "operation=backup", "source in [prod, lab]", "environment!=production"]),
    "mute-scope": st.sampled_from(["in-3", "in-1", "prod-*", "source=lab", "type=task.completed lab-*"]),
    "cron": st.sampled_from(["0 2 * * *", "30 22 * * 6"]),
    "timezone": st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin"]),
    "cursor": st.nothing(),
}.items():
    schemathesis.openapi.format(name, strategy)


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The description, with the application to try it on."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('schema')}/notifier.db", now=lambda: START)
    asyncio.run(seed(store))
    parts = WebParts(
        rules=make_rules(expected=EXPECTED, routing=RoutingConfig(routes=ROUTES, policies={})),
        store=store,
        clock=FakeClock(),
        access=OneToken(),
        wake=lambda: None,
    )
    app = Starlette(routes=[WholeMount(API_PATH, build_api(parts, StreamLimits(lasts=0.0)))])
    yield schemathesis.openapi.from_asgi(f"{API_PATH}/openapi.json", app, headers=HEADERS)
    store.close()


class OneToken(FixedAccess):
    """Lets in whoever shows the token."""

    async def viewer(self, request: Any) -> Any:
        known = request.headers.get("Authorization") == HEADERS["Authorization"]
        return self.who if known else RedirectResponse("/login")


def trial(schema: Any, name: str, mode: GenerationMode) -> None:
    """Try an operation with generated requests."""
    operation = schema.find_operation_by_id(name)

    # Whether a window lies ahead and no other covers it is beyond any description.
    excluded = [positive_data_acceptance] if name in ("createMute", "previewMute") else []

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate])
    def check(case: Any) -> None:
        case.call_and_validate(headers=HEADERS, excluded_checks=excluded)

    check()


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_the_description_allows_is_answered_as_it_says(schema: Any, name: str) -> None:
    trial(schema, name, GenerationMode.POSITIVE)


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_the_description_forbids_is_refused(schema: Any, name: str) -> None:
    trial(schema, name, GenerationMode.NEGATIVE)
