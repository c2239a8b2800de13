"""The simulated lists beside the tasks, over a socket: traces, Cloud Eye, alarms and maintenance of one world."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fakes import FakeClock

from notifier.simulator import Options, Simulator
from notifier.simulator.project import SimulatedProject
from notifier.sources.kinds import SOURCES, settings_class

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)


class Reader:
    """A simulator and a plain client that holds a token for it."""

    def __init__(self, simulator: Simulator, client: httpx.AsyncClient, clock: FakeClock) -> None:
        self.simulator = simulator
        self.clock = clock
        self._client = client

    @property
    def project(self) -> SimulatedProject:
        return self.simulator.cloud.project

    @property
    def now(self) -> datetime:
        return self.simulator.cloud.now()

    async def log_in(self, project: str | None = None) -> httpx.Response:
        known = self.simulator.options
        user = {"domain": {"name": known.domain}, "name": known.username, "password": known.password}
        identity = {"methods": ["password"], "password": {"user": user}}
        auth = {"auth": {"identity": identity, "scope": {"project": {"id": project or known.project_id}}}}
        reply = await self._client.post("/v3/auth/tokens", json=auth)
        self._client.headers["X-Auth-Token"] = reply.headers.get("X-Subject-Token", "")
        return reply

    async def follow(self, url: str) -> httpx.Response:
        return await self._client.get(url)

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self._client.get(path.format(project=self.simulator.options.project_id), params=query)

    async def steer(self, what: str, **command: Any) -> httpx.Response:
        return await self._client.post(f"/_sim/{what}", json=command)

    async def traces(self, **query: Any) -> dict[str, Any]:
        """Return a page of the traces of the last week."""
        period = {"from": ms(self.now - WEEK + HOUR), "to": ms(self.now + HOUR)}
        reply = await self.get("/v3/{project}/traces", **{"trace_type": "system", "limit": 200} | period | query)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found


Open = Callable[..., Any]


@pytest.fixture
async def read() -> AsyncIterator[Open]:
    """Opens a simulator with the given options and logs in."""
    async with AsyncExitStack() as stack:

        async def opened(**chosen: Any) -> Reader:
            clock = FakeClock()
            simulator = await stack.enter_async_context(Simulator(Options(**chosen), clock))
            client = httpx.AsyncClient(base_url=simulator.url, trust_env=False, timeout=10, verify=NO_TLS)
            reader = Reader(simulator, await stack.enter_async_context(client), clock)
            await reader.log_in()
            return reader

        yield opened


def ms(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def from_ms(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC)


LISTS = {
    "gaussdb:instance:list": ("/v3/{project}/tasks", {}),
    "cts:trace:list": ("/v3/{project}/traces", {"trace_type": "system"}),
    "ces:events:list": ("/V1.0/{project}/events", {}),
    "ces:events:get": ("/V1.0/{project}/event/GaussDBV5FaultyDBNode", {"event_type": "EVENT.SYS"}),
    "gaussdb:alarm:list": ("/v3/{project}/alarm-history-record", {}),
    "gaussdb:instance:listScheduleEvents": ("/v3/{project}/schedule-events", {}),
}


@pytest.mark.parametrize("action", LISTS)
async def test_a_denied_right_refuses_its_list_alone(read: Open, action: str) -> None:
    reader = await read(deny=(action,))
    statuses = {name: (await reader.get(path, **query)).status_code for name, (path, query) in LISTS.items()}
    assert statuses == dict.fromkeys(LISTS, 200) | {action: 403}
    assert (await reader.steer("rights", allow=[action], deny=["cts:trace:list"])).json()["denied"] == [
        "cts:trace:list"
    ]
    path, query = LISTS[action]
    assert (await reader.get(path, **query)).status_code == (403 if action == "cts:trace:list" else 200)


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("cts:trace:list", {"error_code": "CTS.0002"}),
        (
            "ces:events:get",
            {
                "http_code": "403",
                "message": {"details": "Policy doesn't allow [ces:events:get] to be performed", "code": "403"},
            },
        ),
        ("gaussdb:alarm:list", {"error_code": "DBS.280015"}),
    ],
)
async def test_each_service_refuses_in_its_own_form(read: Open, action: str, body: dict[str, Any]) -> None:
    reader = await read(static=1, deny=(action,))
    path, query = LISTS[action]
    found = (await reader.get(path, **query)).json()
    assert {name: found[name] for name in body} == body


async def test_a_fault_of_one_service_waits_for_its_next_call(read: Open) -> None:
    reader = await read(static=1)
    reader.simulator.script("408@ces", "500@cts")
    paths = [LISTS[name] for name in ("gaussdb:instance:list", "cts:trace:list", "ces:events:list", "ces:events:list")]
    replies = [await reader.get(path, **query) for path, query in paths]
    assert [reply.status_code for reply in replies] == [200, 500, 408, 200]
    assert replies[2].json() == {
        "http_code": "408",
        "message": {"details": "Internal service error.", "code": "ces.0007"},
    }


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/v3/{project}/traces", {}, "CTS.0003"),
        ("/v3/{project}/traces", {"trace_type": "audit"}, "CTS.0003"),
        ("/v3/{project}/traces", {"trace_type": "system", "limit": "201"}, "CTS.0003"),
        ("/v3/{project}/traces", {"trace_type": "system", "from": "1795860904000"}, "CTS.0003"),
        ("/v3/{project}/traces", {"trace_type": "system", "from": "1795860904", "to": "1795860905"}, "CTS.0003"),
        ("/v3/{project}/traces", {"trace_type": "system", "from": "2026-01-15T08:30:00Z"}, "CTS.0003"),
        ("/v3/another/traces", {"trace_type": "system"}, "CTS.0012"),
        ("/v3/{project}/operations", {"resource_type": "instance"}, "CTS.0003"),
        ("/V1.0/{project}/events", {"limit": "101"}, "ces.0013"),
        ("/V1.0/{project}/events", {"start": "-1"}, "ces.0013"),
        ("/V1.0/{project}/events", {"from": "1795860904000", "to": "1795860904000"}, "ces.0013"),
        ("/V1.0/{project}/event/ProcessStatusAlarm", {}, "ces.0013"),
        ("/V1.0/{project}/event/ProcessStatusAlarm", {"event_type": "EVENT.SYS", "event_level": "major"}, "ces.0013"),
        ("/V1.0/another/events", {}, "ces.0003"),
        ("/v3/{project}/alarm-history-record", {"limit": "51"}, "DBS.280001"),
        ("/v3/{project}/alarm-history-record", {"level": "5"}, "DBS.280001"),
        ("/v3/{project}/alarm-history-record", {"start_time": "1795860904000"}, "DBS.280001"),
        ("/v3/{project}/instances/alarm-statistics", {"top_num": "0"}, "DBS.280001"),
        ("/v3/{project}/schedule-events", {"limit": "0"}, "DBS.280001"),
        ("/v3/{project}/schedule-events", {"status": "done"}, "DBS.200001"),
        ("/v3/{project}/schedule-events", {"sort_field": "status"}, "DBS.200001"),
    ],
)
async def test_what_the_documents_exclude_is_refused(read: Open, path: str, query: dict[str, str], code: str) -> None:
    reader = await read(static=1)
    reply = await reader.get(path, **query)
    assert reply.status_code in {400, 403}
    body = reply.json()
    assert code == (body["message"]["code"] if "message" in body else body["error_code"])


@pytest.mark.parametrize(
    ("path", "name", "count"),
    [
        ("/V1.0/{project}/events?limit=4", "events", lambda body: body["meta_data"]["total"]),
        ("/v3/{project}/schedule-events?limit=4", "events", lambda body: body["total_count"]),
        ("/v3/{project}/alarm-history-record?limit=4&level=2", "history_records", lambda body: body["total_count"]),
    ],
)
async def test_a_list_loses_rows_by_a_fault(read: Open, path: str, name: str, count: Callable[[Any], int]) -> None:
    reader = await read()
    reader.simulator.script("empty", "blank", "short", "pass")
    address = path.format(project=reader.simulator.options.project_id)
    pages = [(await reader.follow(address)).json() for _ in range(4)]
    assert [(len(page[name]), count(page) > 0) for page in pages] == [(0, True), (0, False), (2, True), (4, True)]


@pytest.mark.parametrize("action", LISTS)
async def test_each_list_can_come_in_no_form_at_all(read: Open, action: str) -> None:
    reader = await read(static=3)
    reader.simulator.script("truncate", "html", "pass")
    path, query = LISTS[action]
    replies = [await reader.get(path, **query) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200, 200, 200]
    with pytest.raises(json.JSONDecodeError):
        replies[0].json()
    assert replies[1].headers["content-type"].startswith("text/html")
    assert isinstance(replies[2].json(), dict)


# ---- traces ----


async def test_traces_name_the_tasks_of_the_same_world(read: Open) -> None:
    reader = await read()
    rows = (await reader.traces())["traces"]
    asked = [json.loads(row["response"] or "{}").get("job_id") for row in rows if "user" in row]
    known = {job_id.replace("-", "") for job_id in reader.simulator.cloud.world.timelines}
    started = {job_id for job_id in asked if job_id}
    assert started
    assert started <= known
    assert {row["trace_type"] for row in rows} == {"ConsoleAction", "ApiCall", "SystemAction"}
    assert any(row["user"]["principal_urn"].startswith("sts::") for row in rows if "user" in row)


async def test_an_asynchronous_operation_leaves_two_rows(read: Open) -> None:
    reader = await read()
    rows = (await reader.traces(trace_name="resizeFlavor"))["traces"]
    by_job: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_job.setdefault(json.loads(row["response"]).get("job_id", ""), []).append(row)
    result, request = next(pair for pair in by_job.values() if len(pair) == 2)
    assert (request["trace_type"] != "SystemAction", "user" in request) == (True, True)
    assert (result["trace_type"], result["source_ip"], "user" in result) == ("SystemAction", "", False)
    assert request["time"] < result["time"]


async def test_a_trace_appears_after_its_lag(read: Open) -> None:
    reader = await read(trace_lag=timedelta(minutes=4))
    first = {row["trace_id"] for row in (await reader.traces())["traces"]}
    reader.clock.advance(timedelta(minutes=30))
    later = [row for row in (await reader.traces())["traces"] if row["trace_id"] not in first]
    lags = [from_ms(row["record_time"]) - from_ms(row["time"]) for row in later]
    assert later
    assert timedelta(minutes=2) <= min(lags) < max(lags) <= timedelta(minutes=6)
    assert max(from_ms(row["record_time"]) for row in later) <= reader.now


async def test_next_goes_to_older_rows_until_there_are_none(read: Open) -> None:
    reader = await read()
    whole = [row["trace_id"] for row in (await reader.traces())["traces"]]
    walked: list[str] = []
    query: dict[str, str] = {}
    while True:
        page = await reader.traces(limit=7, **query)
        walked += [row["trace_id"] for row in page["traces"]]
        assert page["meta_data"]["count"] == len(page["traces"])
        if page["meta_data"]["marker"] is None:
            break
        query = {"next": page["meta_data"]["marker"]}
    assert walked == whole


async def test_traces_can_be_asked_for_one_instance_and_one_id(read: Open) -> None:
    reader = await read()
    rows = (await reader.traces())["traces"]
    wanted = rows[0]["resource_id"]
    found = (await reader.traces(resource_id=wanted))["traces"]
    assert found == [row for row in rows if row["resource_id"] == wanted]
    assert (await reader.traces(trace_id=rows[-1]["trace_id"], resource_id="x"))["traces"] == rows[-1:]
    default = (await reader.get("/v3/{project}/traces", trace_type="system")).json()["traces"]
    assert default == [row for row in rows if from_ms(row["time"]) >= reader.now - HOUR][:10]


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({}, lambda job, response: json.loads(response) == {"job_id": job.replace("-", "")}),
        ({"trace_response": "object"}, lambda job, response: response == {"job_id": job.replace("-", "")}),
        ({"trace_response": "null"}, lambda _, response: response is None),
        ({"trace_job": "dashed"}, lambda job, response: json.loads(response) == {"job_id": job}),
        ({"trace_job": "upper"}, lambda job, response: json.loads(response)["job_id"] == job.replace("-", "").upper()),
        ({"trace_job": "absent"}, lambda _, response: json.loads(response) == {}),
    ],
)
async def test_the_response_of_a_trace_has_the_chosen_form(
    read: Open, options: dict[str, Any], form: Callable[[str, Any], bool]
) -> None:
    reader = await read(static=0, trace_lag=timedelta(0), **options)
    created = (reader.now - HOUR).strftime("%Y-%m-%dT%H:%M:%S+0000")
    job = "2b414788-a600-4883-a023-90e2eb0ea227"
    instance = {"instance_id": "ce2dce50f365430abe161bab79495a6ein14", "instance_name": "orders-prod"}
    row = {"job_id": job, "name": "ResizeGaussDBV5Flavor", "status": "Running", "created_at": created}
    reader.simulator.cloud.world.put(row | {"instance_info": instance})
    traces = (await reader.traces(resource_id=instance["instance_id"], trace_name="resizeFlavor"))["traces"]
    (trace,) = [trace for trace in traces if trace["code"] == "202"]
    assert form(job, trace["response"])
    assert trace["user"]["name"]


async def test_an_empty_list_of_traces_may_be_a_404(read: Open) -> None:
    reader = await read(static=0, no_trace="404")
    reply = await reader.get("/v3/{project}/traces", trace_type="system")
    assert (reply.status_code, reply.json()["error_msg"]) == (404, "No trace found.")


async def test_operations_name_what_traces_contain(read: Open) -> None:
    reader = await read()
    listed = (await reader.get("/v3/{project}/operations", service_type="GaussDB")).json()["operations"]
    names = {(row["resource_type"], name) for row in listed for name in row["operation_list"]}
    rows = (await reader.traces())["traces"]
    assert {(row["resource_type"], row["trace_name"]) for row in rows} <= names


# ---- Cloud Eye ----


async def test_events_follow_from_failed_tasks_and_faults_of_instances(read: Open) -> None:
    reader = await read(other_events=False)
    listed = (await reader.get("/V1.0/{project}/events")).json()
    assert listed["meta_data"]["total"] == len(listed["events"])
    for row in listed["events"]:
        detail = (await reader.get(f"/V1.0/{{project}}/event/{row['event_name']}", event_type="EVENT.SYS")).json()
        assert len(detail["event_info"]) == row["event_count"]
        assert max(event["time"] for event in detail["event_info"]) == row["latest_occur_time"]
    failed = {
        from_ms(event["time"])
        for event in (
            await reader.get("/V1.0/{project}/event/GaussDBV5FullBackupFailed", event_type="EVENT.SYS")
        ).json()["event_info"]
    }
    ends = {
        row.ended_at
        for row in reader.simulator.cloud.world.rows.values()
        if row.name == "BackupSnapshotGaussDBV5InInstance" and row.status == "Failed"
    }
    assert {time.replace(microsecond=0) for time in failed} == {end.replace(microsecond=0) for end in ends if end}


async def test_a_fault_recovers_on_the_same_node(read: Open) -> None:
    reader = await read()
    reader.clock.advance(timedelta(minutes=10))

    async def details(name: str) -> list[dict[str, Any]]:
        query = {"event_type": "EVENT.SYS", "event_source": "SYS.GAUSSDBV5"}
        found: list[dict[str, Any]] = (await reader.get(f"/V1.0/{{project}}/event/{name}", **query)).json()[
            "event_info"
        ]
        return found

    faults, ends = await details("GaussDBV5FaultyDBNode"), await details("GaussDBV5FaultyDBNodeRecovered")
    nodes = [event["detail"]["dimensions"][1]["value"] for event in faults]
    assert nodes == [event["detail"]["dimensions"][1]["value"] for event in ends] != []
    assert all(fault["time"] < end["time"] for fault, end in zip(faults, ends, strict=True))
    assert len({event["event_id"] for event in faults + ends}) == 2 * len(faults)


async def test_the_list_of_events_holds_those_of_other_services_and_pages(read: Open) -> None:
    reader = await read()
    whole = (await reader.get("/V1.0/{project}/events")).json()["events"]
    assert {row["latest_event_source"] for row in whole} > {"SYS.GAUSSDBV5", "SYS.ECS"}
    pages = [(await reader.get("/V1.0/{project}/events", start=start, limit=5)).json()["events"] for start in (0, 5)]
    assert pages[0] + pages[1] == whole[:10]


# ---- alarms and maintenance ----


async def test_an_alarm_ends_in_its_own_row(read: Open) -> None:
    reader = await read()

    async def levels() -> dict[tuple[str, str, int], str]:
        found: dict[tuple[str, str, int], str] = {}
        for level in (1, 2, 3, 4):
            body = (await reader.get("/v3/{project}/alarm-history-record", level=level)).json()
            assert {row["level"] for row in body["history_records"]} <= {level}
            assert body["total_count"] == len(body["history_records"])
            rows = body["history_records"]
            found |= {(row["alarm_id"], row["instance_id"], row["begin_time"]): row["status"] for row in rows}
        return found

    before = await levels()
    raised = {key for key, status in before.items() if status == "alarm"}
    reader.clock.advance(timedelta(hours=5))
    after = await levels()
    assert raised
    assert {after[key] for key in raised} <= {"ok", "invalid"}
    default = (await reader.get("/v3/{project}/alarm-history-record")).json()["history_records"]
    assert {row["level"] for row in default} <= {1}
    counts = (await reader.get("/v3/{project}/instances/alarm-statistics", top_num=2)).json()
    assert counts["total_alarm_count"] == len(after)
    assert len(counts["instance_alarm_level_statistics"]) == 2


def test_maintenance_goes_from_the_question_to_its_end() -> None:
    start = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
    project = SimulatedProject(Options(maintenance_every=timedelta(days=300), every=timedelta(days=1)), start)
    seen: dict[str, list[str]] = {}
    for minutes in range(0, 5 * 24 * 60, 3):
        for row in project.maintenance(start + timedelta(minutes=minutes)):
            known = seen.setdefault(row["id"], [])
            if known[-1:] != [row["status"]]:
                known.append(row["status"])
    assert sorted(seen.values()) == [
        ["INQUIRING", "SCHEDULED", "EXECUTING", "COMPLETED"],
        ["SCHEDULED", "EXECUTING", "COMPLETED"],
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"status": "INQUIRING", "type": "RESTAT_NODE", "execute_time": "", "end": "T24:00:00+0800"}),
        (
            {
                "maintenance_case": "lower",
                "maintenance_type": "RESTART_NODE",
                "missing_time": "null",
                "midnight": "00",
            },
            {"status": "inquiring", "type": "RESTART_NODE", "execute_time": None, "end": "T00:00:00+0800"},
        ),
        ({"maintenance_instance": "absent", "missing_time": "absent"}, {"instance_id": "-", "execute_time": "-"}),
    ],
)
async def test_maintenance_has_the_chosen_form(read: Open, options: dict[str, Any], expected: dict[str, Any]) -> None:
    reader = await read(**options)
    body = (await reader.get("/v3/{project}/schedule-events", status="inquiring", limit=1)).json()
    (row,) = body["events"]
    found = {"instance_id": "-", "execute_time": "-"} | row | {"end": row["execution_time_window"]["end_time"][10:]}
    assert {name: found[name] for name in expected} == expected
    assert body["inquiring_count"] == body["total_count"]


async def test_somebody_agrees_to_maintenance_or_cancels_it(read: Open) -> None:
    reader = await read(maintenance_every=timedelta(days=300), every=timedelta(days=1))

    async def statuses() -> list[str]:
        reader.clock.advance(timedelta(minutes=1))
        events = (await reader.get("/v3/{project}/schedule-events", order="asc")).json()["events"]
        return [event["status"] for event in events]

    reader.clock.advance(timedelta(minutes=4))
    assert await statuses() == ["INQUIRING", "SCHEDULED"]
    asked, planned = (event["id"] for event in reader.project.maintenance(reader.now))
    await reader.steer("maintenance", authorise=[asked, planned])
    assert await statuses() == ["SCHEDULED", "SCHEDULED"]
    await reader.steer("maintenance", cancel=[planned])
    assert await statuses() == ["SCHEDULED", "CANCELED"]
    reader.clock.advance(timedelta(days=6))
    await reader.log_in()  # tokens live a day
    assert await statuses() == ["COMPLETED", "CANCELED"]
    await reader.steer("maintenance", cancel=[asked])
    assert await statuses() == ["COMPLETED", "CANCELED"]
    refused = await reader.steer("maintenance", cancel=["m-1"])
    assert (refused.status_code, refused.json()["error_msg"]) == (400, "there is no maintenance event 'm-1'")


# ---- one world ----


async def test_rows_can_be_put_by_hand(read: Open) -> None:
    reader = await read(static=0)
    trace = {"trace_id": "t-1", "time": ms(reader.now - HOUR), "response": {"odd": [None]}}
    event = {"event_name": "ClusterStatusAlarm", "detail": {"resource_id": "i-1", "event_level": "Major"}}
    alarm = {"alarm_id": "al1", "instance_id": "i-1", "level": 2}
    maintenance = {"id": "m-1", "status": "Inquiring", "execution_time_window": None}
    rows = {"traces": [trace], "events": [event], "alarms": [alarm], "maintenance": [maintenance]}
    assert (await reader.steer("rows", **rows)).status_code == 200
    assert (await reader.traces())["traces"] == [trace]
    detail = await reader.get("/V1.0/{project}/event/ClusterStatusAlarm", event_type="EVENT.SYS")
    assert detail.json()["event_info"][0]["detail"]["resource_id"] == "i-1"
    records = (await reader.get("/v3/{project}/alarm-history-record", level=2)).json()["history_records"]
    assert [row["status"] for row in records] == ["alarm"]
    assert (await reader.get("/v3/{project}/schedule-events")).json()["events"] == [maintenance]
    refused = await reader.steer("rows", alarms=[{"level": 1}])
    assert (refused.status_code, refused.json()["error_msg"]) == (
        400,
        "alarms: a row lacks a field or has a wrong one: 'alarm_id'",
    )


def everything(project: SimulatedProject, now: datetime) -> dict[str, Any]:
    period = {"from": str(ms(now - WEEK + HOUR)), "to": str(ms(now))}
    return {
        "traces": project.trace_page({"trace_type": "system", "limit": "200"} | period, now),
        "events": sorted((event.wire() for event in project.events(now)), key=lambda row: str(row["event_id"])),
        "alarms": [alarm.wire() for alarm in project.alarms(now)],
        "maintenance": project.maintenance(now),
    }


@pytest.mark.parametrize("stamps", ["virtual", "real"])
def test_a_seed_gives_the_same_lists_however_often_they_are_read(stamps: Any) -> None:
    start = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
    options = Options(seed=7, speed=60, stamps=stamps, every=timedelta(minutes=10))
    often, once = SimulatedProject(options, start), SimulatedProject(options, start)
    for minutes in range(0, 600, 20):
        everything(often, start + timedelta(minutes=minutes))
    end = start + timedelta(minutes=600)
    assert everything(often, end) == everything(once, end)
    assert all(everything(often, end).values())


# ---- the account ----

PROJECTS = ("cn-north-4_payments", "cn-east-3", "ap-southeast-1", "cn-east-3_old")


async def test_the_account_lists_its_projects_with_their_regions(read: Open) -> None:
    reader = await read(static=1, projects=PROJECTS, disabled_projects=("cn-east-3_old",))
    body = (await reader.get("/v3/projects")).json()
    found = {project["name"]: project for project in body["projects"]}
    assert list(found) == ["cn-north-4", *PROJECTS]
    assert [name for name, project in found.items() if not project["enabled"]] == ["cn-east-3_old"]
    assert found["cn-north-4_payments"]["parent_id"] == found["cn-north-4"]["id"] == reader.simulator.options.project_id
    assert (await reader.get("/v3/auth/projects")).json()["projects"] == body["projects"]
    domains = (await reader.get("/v3/auth/domains")).json()["domains"]
    assert [domain["name"] for domain in domains] == [reader.simulator.options.domain]
    assert {project["domain_id"] for project in body["projects"]} == {domains[0]["id"]}


async def test_links_lead_through_all_pages_of_the_projects(read: Open) -> None:
    reader = await read(static=1, projects=PROJECTS)
    following: str | None = "/v3/projects?page=1&per_page=2"
    names, steps = [], []
    while following:
        body = (await reader.follow(following)).json()
        names += [project["name"] for project in body["projects"]]
        steps.append((body["links"]["previous"] is None, body["links"]["next"] is None))
        following = body["links"]["next"]
    assert names == ["cn-north-4", *PROJECTS]
    assert steps == [(True, False), (False, False), (False, True)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"name": "cn-east-3"}, ["cn-east-3"]),
        ({"enabled": "false"}, ["cn-east-3_old"]),
        ({"name": "cn-south-1"}, []),
        ({"page": "1"}, None),
        ({"page": "1", "per_page": "5001"}, None),
        ({"enabled": "yes"}, None),
    ],
)
async def test_projects_are_filtered_as_documented(read: Open, query: dict[str, str], names: list[str] | None) -> None:
    reader = await read(static=1, projects=PROJECTS, disabled_projects=("cn-east-3_old",))
    reply = await reader.get("/v3/projects", **query)
    if names is None:
        assert (reply.status_code, reply.json()["error"]["title"]) == (400, "Bad Request")
    else:
        assert [project["name"] for project in reply.json()["projects"]] == names


async def test_each_project_has_tasks_of_its_own(read: Open) -> None:
    reader = await read(static=3, projects=PROJECTS, disabled_projects=("cn-east-3_old",))
    ids = {project["name"]: project["id"] for project in (await reader.get("/v3/projects")).json()["projects"]}
    assert (await reader.get(f"/v3/{ids['cn-east-3']}/tasks")).json()["error_code"] == "APIGW.0307"
    seen: set[str] = set()
    for name in ("cn-north-4", *PROJECTS[:3]):
        await reader.log_in(project=ids[name])
        rows = (await reader.get(f"/v3/{ids[name]}/tasks")).json()["tasks"]
        assert len(rows) == 3
        assert seen.isdisjoint(row["job_id"] for row in rows)
        seen |= {row["job_id"] for row in rows}
    assert (await reader.log_in(project=ids["cn-east-3_old"])).status_code == 401


async def test_a_denied_project_list_leaves_the_own_projects(read: Open) -> None:
    reader = await read(static=1, deny=("iam:projects:listProjects",))
    assert (await reader.get("/v3/projects")).json()["error"]["code"] == 403
    assert (await reader.get("/v3/auth/projects")).status_code == 200


async def test_projects_come_and_go(read: Open) -> None:
    reader = await read(static=1, projects=PROJECTS)
    state = await reader.steer("projects", enable=["cn-south-1"], disable=["cn-east-3"], remove=["ap-southeast-1"])
    assert list(state.json()["projects"]) == ["cn-north-4", "cn-north-4_payments", "cn-east-3_old", "cn-south-1"]
    projects = (await reader.get("/v3/projects", enabled="false")).json()["projects"]
    assert [project["name"] for project in projects] == ["cn-east-3"]


@pytest.mark.parametrize("auth", ["aksk", "token", "ecs_agency"])
@pytest.mark.parametrize("kind", SOURCES)
async def test_the_source_of_each_kind_names_every_address(kind: Any, auth: Any) -> None:
    """No call of a source that was printed may leave this machine."""
    async with Simulator(Options(static=0)) as simulator:
        config = simulator.source_config(auth, kind=kind)
        settings = settings_class(kind)(**config)
        named = {name for name in type(settings).model_fields if name.endswith("endpoint")}
        assert {name: config.get(name) for name in named} == dict.fromkeys(named, simulator.url)
