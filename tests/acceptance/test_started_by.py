"""Who started a task, with the program, the simulated cloud and a group that shows cards: nobody is named wrongly."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock
from servers.feishu import APP_ID, APP_SECRET, CHAT, Feishu, FeishuServer

from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.core.started_by import StartedBy
from notifier.ports import CheckResult, StoredTask, TaskFilter
from notifier.service.service import Service
from notifier.simulator import Options, Simulator
from notifier.simulator.stories import stories
from notifier.simulator.traces import TraceWriter
from notifier.wiring.app import App, open_app
from notifier.wiring.checks import check_online

CONFIGURATION = """
store: {url: "${STORE}", migrate: true}
sources:
  - {name: prod, kind: gaussdb, region: "${REGION}", project_id: "${PROJECT}", endpoint: "${CLOUD}",
     auth: {kind: aksk, access_key: "${AK}", secret_key: "${SK}"}, calls_per_minute: 600,
     started_by: true, started_by_address: "${ADDRESS}", cts_endpoint: "${CLOUD}"}
channels:
  - {name: dba, kind: feishu, app_id: "${APP}", app_secret: "${SECRET}", chat_id: "${CHAT}", api_url: "${API}",
     rate: null}
routes: [{name: everything, channels: [dba]}]
"""
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
INSTANCE = "ce2dce50f365430abe161bab79495a6ein14"
JOB = "2b414788-a600-4883-a023-90e2eb0ea227"


class Cloud:
    """The program, a simulated cloud, and a group that shows its cards. All have one clock."""

    def __init__(self, app: App, simulator: Simulator, group: FeishuServer, clock: FakeClock) -> None:
        self.app = app
        self.simulator = simulator
        self.clock = clock
        self.service = Service(app)
        self._group = group

    async def go_on(self, length: timedelta, *, notify: bool = True) -> None:
        """Let time pass, then poll, search, and notify."""
        self.clock.advance(length)
        await self.service.polling.poll(self.app.sources["prod"], force=True)
        await self.service.searching.run()
        if notify:
            await self.service.delivering.drain()

    def show(self, status: str, created_at: datetime, **more: Any) -> None:
        self.simulator.cloud.world.put(
            {
                "job_id": JOB,
                "name": "ResizeGaussDBV5Flavor",
                "status": status,
                "process": "40",
                "created_at": created_at.isoformat(),
                "instance_info": {
                    "instance_id": INSTANCE,
                    "instance_name": "orders-prod",
                    "instance_status": "normal",
                },
                **more,
            }
        )

    async def tasks(self) -> list[StoredTask]:
        return list(await self.app.store.read(lambda q: q.tasks(TaskFilter(limit=1_000))))

    async def started_by(self) -> StartedBy | None:
        """Return who started the task that was shown."""
        (task,) = (one for one in await self.tasks() if one.task.job_id == JOB)
        return task.started_by

    @property
    def cards(self) -> list[str]:
        """The texts of the cards about the instance."""
        shown = self._group.service.messages.values()
        cards = ("\n".join(texts(message.card)) for message in shown if message.root is None)
        return [card.replace("\u200b", "") for card in cards if "orders-prod" in card]


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (value[key] for key in ("content",) if isinstance(value.get(key), str))
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


def known_of(simulator: Simulator, store: str) -> dict[str, str]:
    """Return what the configuration names, with a group that nobody serves."""
    return {
        "STORE": store,
        "CLOUD": simulator.url,
        "REGION": simulator.options.region,
        "PROJECT": simulator.options.project_id,
        "AK": simulator.options.access_key,
        "SK": simulator.options.secret_key,
        "ADDRESS": "false",
        "APP": APP_ID,
        "SECRET": APP_SECRET,
        "CHAT": CHAT,
        "API": simulator.url,
    }


Open = Callable[..., Any]


@pytest.fixture
async def opened(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Open]:
    """Opens the program with a simulated cloud of the given options."""
    async with AsyncExitStack() as stack:

        async def open_cloud(*, address: str = "false", **options: Any) -> Cloud:
            quiet: dict[str, Any] = {"backlog": 0, "every": timedelta(days=3_000)}
            simulator = await stack.enter_async_context(Simulator(Options(**quiet | options), clock))
            group = await stack.enter_async_context(FeishuServer(Feishu()))
            known = known_of(simulator, sqlite_url) | {"ADDRESS": address, "API": group.url("")}
            app = await stack.enter_async_context(open_app(loads(CONFIGURATION, known), clock=clock))
            cloud = Cloud(app, simulator, group, clock)
            await cloud.go_on(timedelta())
            return cloud

        yield open_cloud


async def test_a_live_message_is_edited_when_its_row_appears(opened: Open, clock: FakeClock, sqlite_url: str) -> None:
    cloud = await opened(trace_lag=3 * MINUTE)
    created = clock.now()
    cloud.show("Running", created)
    name = starters(cloud.simulator)[JOB]
    await cloud.go_on(30 * SECOND)
    assert len(cloud.cards) == 1
    await cloud.go_on(MINUTE)
    assert await cloud.started_by() is None  # the log has nothing yet at the first try
    assert name not in cloud.cards[0]
    await cloud.go_on(4 * MINUTE)
    found = await cloud.started_by()
    assert found is not None
    assert found.name == name
    await cloud.go_on(30 * SECOND)
    (edited,) = cloud.cards
    assert name in edited
    cloud.show("Failed", created, ended_at=clock.now().isoformat(), fail_reason="no capacity")
    await cloud.go_on(30 * SECOND)
    assert len(cloud.cards) == 2
    assert all(name in card for card in cloud.cards)
    # Of what the log says nothing but the name and the way is recorded: no address, no key, no request.
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    recorded = b"".join(part.read_bytes() for part in file.parent.glob(f"{file.name}*"))
    assert name.encode() in recorded
    assert not any(text in recorded for text in (b"198.51.100", b"203.0.113", b"flavor_ref", b"HST"))


async def test_an_empty_list_may_be_answered_with_404(opened: Open, clock: FakeClock) -> None:
    cloud = await opened(no_trace="404", trace_lag=timedelta(days=1))
    cloud.show("Running", clock.now())
    for _ in range(20):
        await cloud.go_on(MINUTE, notify=False)
    assert await cloud.started_by() is None
    figures = await cloud.app.store.read(lambda q: q.origin_figures())
    assert (figures.searched > 0, figures.explained) == (True, 0)
    assert {call.status for call in cloud.simulator.request_log if "/traces" in call.path} == {404}


async def test_a_missing_right_stops_this_alone(opened: Open, clock: FakeClock) -> None:
    cloud = await opened(deny=("cts:trace:list",), trace_lag=SECOND)
    cloud.show("Running", clock.now())
    await cloud.go_on(MINUTE)
    facts = await cloud.app.store.read(lambda q: q.health_facts())
    assert [one.action for one in facts.missing_rights] == ["cts:trace:list"]
    assert len(cloud.cards) == 1
    cloud.simulator.cloud.denied.clear()
    for _ in range(6):
        await cloud.go_on(MINUTE)
    assert await cloud.started_by() is not None
    assert not (await cloud.app.store.read(lambda q: q.health_facts())).missing_rights


async def test_check_names_the_action_that_is_missing(sqlite_url: str) -> None:
    async with Simulator(Options(deny=("cts:trace:list",), static=0)) as simulator:
        config = loads(CONFIGURATION, known_of(simulator, sqlite_url))
        denied = await _check(config)
        simulator.cloud.denied.clear()
        granted = await _check(config)
    assert (denied.ok, "cts:trace:list" in denied.detail) == (False, True)
    assert granted.ok


async def _check(config: Config) -> CheckResult:
    (found,) = (one for one in await check_online(config) if "started by" in one.what)
    return found


@pytest.mark.parametrize("address", ["true", "false"])
async def test_the_address_is_recorded_where_it_is_configured(opened: Open, clock: FakeClock, address: str) -> None:
    cloud = await opened(address=address, trace_lag=SECOND)
    cloud.show("Running", clock.now())
    await cloud.go_on(MINUTE)
    found = await cloud.started_by()
    assert found is not None
    assert bool(found.address) is (address == "true")


FORMS: dict[str, dict[str, Any]] = {
    "as documented": {},
    "objects and upper case": {"trace_response": "object", "trace_job": "upper", "no_trace": "404"},
    "dashes and short users": {"trace_job": "dashed", "trace_user": "short"},
    "late rows": {"trace_lag": 6 * MINUTE},
    "no ids of jobs": {"trace_job": "absent"},
    "no bodies": {"trace_response": "null"},
}


@pytest.mark.parametrize("form", FORMS)
async def test_nobody_is_named_wrongly_and_most_starts_are_explained(opened: Open, form: str) -> None:
    cloud = await opened(every=90 * SECOND, seed=7, **FORMS[form])
    for _ in range(40):
        await cloud.go_on(MINUTE, notify=False)
    for _ in range(3):
        await cloud.go_on(6 * MINUTE, notify=False)
    truth = starters(cloud.simulator)
    tasks = [task for task in await cloud.tasks() if task.task.job_id in truth]
    people = {task.task.job_id: task.started_by for task in tasks if task.started_by and task.started_by.name}
    assert {job_id: by.name for job_id, by in people.items()} == {job_id: truth[job_id] for job_id in people}
    started = [task for task in tasks if truth[task.task.job_id]]
    assert len(started) > 15
    assert len(people) >= (0.5 if form in {"no bodies", "no ids of jobs"} else 0.85) * len(started)


def starters(simulator: Simulator) -> dict[str, str]:
    """Return who the simulated cloud says began each task, by job id; the empty string for nobody."""
    short = simulator.options.trace_user == "short"
    writer = TraceWriter(replace(simulator.options, trace_job="dashed", trace_response="object", trace_user="full"))
    found: dict[str, str] = {}
    for story in stories(simulator.cloud.world):
        found[story.job_id] = ""
        for trace in writer.traces([story], story.created_at - timedelta(days=1)):
            if trace.wire.get("code") == "202" and (user := trace.wire.get("user")):
                named = user["name"] if short or "/" not in user["principal_urn"] else user["principal_urn"]
                found[story.job_id] = named.rpartition("/")[2]
    return found
