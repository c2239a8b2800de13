"""The page of the configuration."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from factories import T0, make_event, make_task
from fakes import FakeClock
from web_site import FixedAccess, open_site, viewer

from notifier.core.health_facts import ConfiguredSource, Expected
from notifier.core.matchers import parse_matchers
from notifier.core.model import ChannelState, Event
from notifier.core.pacing import ChannelHealth
from notifier.core.routing import Route, RoutedEvent, RoutingConfig
from notifier.settings.effective import EffectiveValue, ValueOrigin
from notifier.store.engine import SqlStore
from notifier.web.access.viewer import AccessRole
from notifier.web.configured import ShownConfiguration
from notifier.web.pages.configuration import channel_state

HOSTILE = '<img src=x onerror="alert(1)">{{ 7 * 7 }}'
ROUTES = (
    Route(name="failures", match=tuple(parse_matchers("type=task.failed")), channels=("dba", "mail")),
    Route(name="prod", match=tuple(parse_matchers("source=prod type=task.completed")), channels=("dba",)),
)
EXPECTED = Expected(
    sources=(ConfiguredSource(name="prod", region="r", project_id="p", poll_every=timedelta(seconds=30)),),
    channels=("dba", "mail", "unused"),
)
VALUES = (
    EffectiveValue(path=("language",), value="en", hidden=False, origin=ValueOrigin.FILE, line=2),
    EffectiveValue(path=("web", "listen"), value="127.0.0.1:1", hidden=False, origin=ValueOrigin.DEFAULT),
    EffectiveValue(
        path=("sources", 0, "project_id"),
        value="",
        hidden=True,
        origin=ValueOrigin.ENVIRONMENT,
        line=7,
        variables=("PROJECT",),
    ),
    EffectiveValue(path=("routes", 0, "stop"), value="true", hidden=False, origin=ValueOrigin.FILE, line=9),
)
SHOWN = ShownConfiguration(values=VALUES, kinds={"dba": "slack"}, store="/data/x.db", remarks=lambda _: ("Mind this.",))
RULES: dict[str, Any] = {
    "configuration": SHOWN,
    "expected": EXPECTED,
    "routing": RoutingConfig(routes=ROUTES, policies={}),
}


@pytest.fixture(autouse=True)
def _at(clock: FakeClock) -> None:
    clock.time = T0


async def record(store: SqlStore, *events: Event, channels: tuple[str, ...] = ()) -> None:
    routed = [RoutedEvent(event=one, routes=("failures",) if channels else (), channels=channels) for one in events]
    await store.transact(lambda tx: tx.events.record(routed))


async def test_the_page_names_sources_channels_routes_and_remarks(store: SqlStore) -> None:
    async with open_site(store, **RULES) as site:
        page = (await site.get("/configuration")).text
    for text in ("Mind this.", "not polled yet", "slack", "<code>type=task.failed</code>", "stop: true", "/data/x.db"):
        assert text in page
    assert page.count("no route") == 1


async def test_a_section_lists_its_settings_with_where_they_come_from(store: SqlStore) -> None:
    async with open_site(store, **RULES) as site:
        page = (await site.get("/configuration", params={"section": "sources"})).text
    assert "<code>sources[0].project_id</code>" in page
    assert "line 7, from the environment: PROJECT" in page
    assert "<code>language</code>" not in page


async def test_routes_are_tried_on_the_events_of_the_week(store: SqlStore) -> None:
    failed = make_event(make_task("a"))
    await record(store, failed, channels=("dba",))
    running = make_event(make_task("b", status="running"))
    old = make_event(make_task("c"), observed_at=T0 - timedelta(days=8))
    await record(store, running, old)
    async with open_site(store, **RULES) as site:
        page = (await site.get("/configuration", params={"try": ""})).text
        plain = (await site.get("/configuration")).text
    assert "2 events since" in page
    assert "No route would take 1 of them now." in page
    assert "1 went to nobody then." in page
    table = page.split("Events by channel")[1].split("</table>")[0]
    assert '<th scope="row">dba</th><td class="num">1</td><td class="num">1</td>' in table
    assert '<th scope="row">mail</th><td class="num">1</td><td class="num">0</td>' in table
    assert "Events by channel" not in plain


@pytest.mark.parametrize(
    ("role", "status", "access"), [(AccessRole.READ, 403, 0), (AccessRole.ACT, 200, 0), (AccessRole.ADMIN, 200, 1)]
)
async def test_who_acts_sees_it_and_administrators_who_has_access(
    store: SqlStore, role: AccessRole, status: int, access: int
) -> None:
    async with open_site(store, access=FixedAccess(viewer(role)), **RULES) as site:
        page = await site.get("/configuration", params={"section": "web"})
        now = (await site.get("/")).text
    assert page.status_code == status
    assert page.text.count("<code>web.listen</code>") == access
    assert ('href="/configuration"' in now) is (role >= AccessRole.ACT)


async def test_an_empty_configuration_says_what_to_add(store: SqlStore) -> None:
    async with open_site(store) as site:
        page = (await site.get("/configuration", params={"section": HOSTILE, "try": ""})).text
    assert "“Channels” in docs/channels.md" in page
    assert "“Routing” in docs/routing.md" in page
    assert "Nothing looks unintended" in page
    assert "<img" not in page


async def test_what_others_wrote_stays_text(store: SqlStore) -> None:
    remarks = ShownConfiguration(remarks=lambda _: (HOSTILE,), store=HOSTILE)
    async with open_site(store, **RULES | {"configuration": remarks}) as site:
        page = (await site.get("/configuration")).text
    assert page.count("&lt;img src=x") == 2
    assert "<img src=x" not in page


def test_a_channel_is_parked_before_it_is_failing() -> None:
    at = T0 - timedelta(hours=1)
    failing = ChannelHealth(failures=3, failing_since=at, good_at=at)
    parked = ChannelState(name="dba", parked_since=T0, reason="HTTP 401", health=failing)
    assert channel_state(parked, T0) == ("parked", at, "HTTP 401")
    assert channel_state(ChannelState(name="dba", health=failing), T0) == ("failing", at, None)
    assert channel_state(ChannelState(name="dba", health=ChannelHealth(good_at=at)), T0) == ("delivers", at, None)
    assert channel_state(ChannelState(name="dba"), T0)[0] == "idle"
