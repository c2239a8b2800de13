"""The simulator over a socket: the task list, IAM, the metadata service, and everything that goes wrong on request."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
import yaml
from fakes import FakeClock

from notifier.core.errors import ConfigurationError
from notifier.simulator import Options, Simulator, source_yaml

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Everything here is plain HTTP; loading the certificates of the world for each client takes longer than a test."""


class Browser:
    """A simulator and a plain client that holds a token for it."""

    def __init__(self, simulator: Simulator, client: httpx.AsyncClient, clock: FakeClock) -> None:
        self.simulator = simulator
        self.client = client
        self.clock = clock
        self.headers: dict[str, str] = {}

    @property
    def tasks_path(self) -> str:
        return f"/v3/{self.simulator.options.project_id}/tasks"

    async def log_in(self, **changed: Any) -> httpx.Response:
        reply = await self.client.post("/v3/auth/tokens?nocatalog=true", json=login(self.simulator.options, **changed))
        self.headers = {"X-Auth-Token": reply.headers.get("X-Subject-Token", "")}
        return reply

    async def get(self, path: str, **params: Any) -> httpx.Response:
        headers = self.headers | params.pop("headers", {})
        return await self.client.get(path, params=params, headers=headers)

    async def tasks(self, **params: Any) -> httpx.Response:
        return await self.get(self.tasks_path, **params)

    async def ids(self, **params: Any) -> list[str]:
        return [row["job_id"] for row in (await self.tasks(**params)).json()["tasks"]]


def login(options: Options, password: str | None = None, scope: Any = None) -> dict[str, Any]:
    user = {
        "domain": {"name": options.domain},
        "name": options.username,
        "password": password or options.password,
    }
    scope = {"project": {"id": options.project_id}} if scope is None else scope
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}


Open = Callable[..., Any]


@pytest.fixture
async def browse() -> AsyncIterator[Open]:
    """Opens a simulator with the given options and logs in."""
    async with AsyncExitStack() as stack:

        async def opened(**chosen: Any) -> Browser:
            clock = FakeClock()
            simulator = await stack.enter_async_context(Simulator(Options(**{"static": 250} | chosen), clock))
            client = httpx.AsyncClient(base_url=simulator.url, trust_env=False, timeout=10, verify=NO_TLS)
            browser = Browser(simulator, await stack.enter_async_context(client), clock)
            await browser.log_in()
            return browser

        yield opened


# ---- pages ----


@pytest.mark.parametrize("offset", ["record", "page", "page0"])
async def test_pages_hold_every_row_once_under_each_meaning_of_offset(browse: Open, offset: str) -> None:
    browser = await browse(offset=offset)
    offsets = {"record": (0, 100, 200), "page": (1, 2, 3), "page0": (0, 1, 2)}[offset]
    pages = [await browser.ids(offset=number, limit=100) for number in offsets]
    assert [len(page) for page in pages] == [100, 100, 50]
    assert {job_id for page in pages for job_id in page} == set(browser.simulator.cloud.world.rows)
    assert await browser.ids() == pages[0]
    assert await browser.ids(offset=400) == []


async def test_a_large_list_is_read_whole(browse: Open) -> None:
    browser = await browse(static=5000)
    pages = [await browser.ids(offset=first) for first in range(0, 5000, 100)]
    assert len({job_id for page in pages for job_id in page}) == 5000


async def test_total_count_is_that_of_the_filter_and_not_of_the_page(browse: Open) -> None:
    browser = await browse()
    body = (await browser.tasks(status="Running", limit=2)).json()
    assert (len(body["tasks"]), body["total_count"]) == (2, 5)


@pytest.mark.parametrize(
    ("parameter", "value", "code"),
    [
        ("limit", "0", "DBS.280001"),
        ("limit", "101", "DBS.280001"),
        ("limit", "ten", "DBS.280001"),
        ("limit", "", "DBS.280001"),
        ("limit", "٣", "DBS.280001"),
        ("offset", "-1", "DBS.280001"),
        ("offset", "2147483648", "DBS.280001"),
        ("offset", "9" * 5000, "DBS.280001"),
        ("start_time", "yesterday", "DBS.280001"),
        ("end_time", "9" * 30, "DBS.280001"),
        ("status", "running", "DBS.200001"),
        ("name", "CreateDatabase", "DBS.200001"),
    ],
)
async def test_a_parameter_outside_of_the_documentation_is_refused(
    browse: Open, parameter: str, value: str, code: str
) -> None:
    browser = await browse(static=1)
    reply = await browser.tasks(**{parameter: value})
    assert (reply.status_code, reply.json()["error_code"]) == (400, code)
    assert parameter in reply.json()["error_msg"]


async def test_another_project_is_refused(browse: Open) -> None:
    browser = await browse()
    reply = await browser.get("/v3/another/tasks")
    assert (reply.status_code, reply.json()["error_code"]) == (400, "DBS.280408")


async def test_virtual_time_runs_at_the_chosen_speed(browse: Open) -> None:
    browser = await browse(static=None, speed=60)
    first = await browser.ids(status="Running")
    browser.clock.advance(timedelta(minutes=60))
    assert set(first).isdisjoint(await browser.ids(status="Running"))
    assert browser.simulator.cloud.now() == browser.simulator.cloud.start + timedelta(hours=60)


@pytest.mark.parametrize(
    ("language", "asked", "chinese"),
    [
        ("header", {}, False),
        ("header", {"X-Language": "zh-cn"}, True),
        ("header", {"X-Language": "fr-fr"}, False),
        ("zh-cn", {}, True),
        ("en-us", {"X-Language": "zh-cn"}, False),
    ],
)
async def test_reasons_are_in_the_requested_language_unless_forced(
    browse: Open, language: str, asked: dict[str, str], *, chinese: bool
) -> None:
    browser = await browse(language=language)
    rows = (await browser.tasks(status="Failed", headers=asked)).json()["tasks"]
    assert rows
    assert {row["fail_reason"].isascii() for row in rows} == {not chinese}


async def test_every_answer_has_a_request_id_of_its_own_and_the_time(browse: Open) -> None:
    browser = await browse()
    replies = [await browser.tasks(), await browser.get("/nowhere"), await browser.tasks(limit=0)]
    assert len({reply.headers["X-Request-Id"] for reply in replies}) == 3
    assert {parsedate_to_datetime(reply.headers["Date"]) for reply in replies} == {browser.clock.now()}


@pytest.mark.parametrize(("method", "path"), [("GET", "/v3/x/task"), ("POST", "/v3/x/tasks"), ("GET", "/")])
async def test_an_unknown_path_or_method_is_not_published(browse: Open, method: str, path: str) -> None:
    browser = await browse()
    reply = await browser.client.request(method, path)
    assert (reply.status_code, reply.json()["error_code"]) == (404, "APIGW.0101")


# ---- job detail ----


async def test_the_detail_of_a_running_job_carries_a_percent_sign(browse: Open) -> None:
    browser = await browse(static=None)
    (row, *_) = (await browser.tasks(name="ResizeGaussDBV5Flavor", status="Running")).json()["tasks"]
    job = (await browser.get(browser.tasks_path.replace("tasks", "jobs"), id=row["job_id"])).json()["job"]
    assert job == {
        "id": row["job_id"],
        "name": row["name"],
        "status": "Running",
        "created": row["created_at"],
        "ended": "",
        "progress": f"{row['process']}%",
        "instance": {"id": row["instance_info"]["instance_id"], "name": row["instance_info"]["instance_name"]},
        "fail_reason": None,
    }


async def test_a_backup_and_an_unknown_id_have_no_detail(browse: Open) -> None:
    browser = await browse()
    backup = (await browser.ids(name="BackupSnapshotGaussDBV5InInstance"))[0]
    for job_id in (backup, "unknown"):
        reply = await browser.get(browser.tasks_path.replace("tasks", "jobs"), id=job_id)
        assert (reply.status_code, reply.json()["error_code"]) == (400, "DBS.200543")


# ---- tokens ----


async def test_a_login_gives_a_token_for_a_day(browse: Open) -> None:
    browser = await browse()
    reply = await browser.log_in()
    assert reply.status_code == 201
    token = reply.json()["token"]
    assert (token["project"]["id"], token["project"]["name"]) == (browser.simulator.options.project_id, "cn-north-4")
    assert datetime.fromisoformat(token["expires_at"]) == browser.clock.now() + timedelta(hours=24)
    assert len(reply.headers["X-Subject-Token"]) > 1000


async def test_a_project_can_be_given_by_name(browse: Open) -> None:
    browser = await browse()
    await browser.log_in(scope={"project": {"name": "cn-north-4"}})
    assert (await browser.tasks()).status_code == 200


@pytest.mark.parametrize("changed", [{"password": "wrong"}, {"scope": {"project": {"id": "another"}}}])
async def test_a_wrong_login_is_refused_in_the_shape_of_keystone(browse: Open, changed: dict[str, Any]) -> None:
    browser = await browse()
    reply = await browser.log_in(**changed)
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == 401
    assert reply.json()["error"]["title"] == "Unauthorized"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"auth":{}}', b'{"auth":{"identity":{"methods":null}}}'])
async def test_a_login_that_is_none_is_a_bad_request(browse: Open, body: bytes) -> None:
    browser = await browse()
    reply = await browser.client.post("/v3/auth/tokens", content=body)
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "The request body is invalid")


async def test_a_token_ends_with_its_life(browse: Open) -> None:
    browser = await browse(token_life=timedelta(minutes=10))
    browser.clock.advance(timedelta(minutes=10))
    reply = await browser.tasks()
    assert (reply.status_code, reply.json()["error_code"]) == (401, "APIGW.0307")
    assert reply.json()["request_id"] == reply.headers["X-Request-Id"]


async def test_revoked_and_unscoped_tokens_are_stale(browse: Open) -> None:
    browser = await browse()
    browser.simulator.cloud.tokens.revoke()
    assert (await browser.tasks()).json()["error_code"] == "APIGW.0307"
    await browser.log_in(scope={})
    assert (await browser.tasks()).json()["error_code"] == "APIGW.0307"


async def test_a_request_without_credentials_is_refused(browse: Open) -> None:
    browser = await browse()
    reply = await browser.client.get(browser.tasks_path)
    assert (reply.status_code, reply.json()["error_code"]) == (401, "APIGW.0301")
    assert "x-auth-token not found" in reply.json()["error_msg"]


async def test_the_project_of_a_region_is_found_by_its_name(browse: Open) -> None:
    browser = await browse()
    found = (await browser.get("/v3/projects", name="cn-north-4")).json()["projects"]
    assert [project["id"] for project in found] == [browser.simulator.options.project_id]
    assert (await browser.get("/v3/projects", name="cn-south-1")).json()["projects"] == []


# ---- the metadata service ----

KEY_PATH, TOKEN_PATH = "/openstack/latest/securitykey", "/meta-data/latest/api/token"


async def metadata_token(browser: Browser) -> dict[str, str]:
    reply = await browser.client.put(TOKEN_PATH, headers={"X-Metadata-Token-Ttl-Seconds": "21600"})
    return {"X-Metadata-Token": reply.text}


async def test_a_server_gets_temporary_keys_that_are_renewed_in_time(browse: Open) -> None:
    browser = await browse()
    token = await metadata_token(browser)
    first = (await browser.client.get(KEY_PATH, headers=token)).json()["credential"]
    assert datetime.fromisoformat(first["expires_at"]) == browser.clock.now() + timedelta(hours=24)
    assert (await browser.client.get(KEY_PATH, headers=token)).json()["credential"] == first
    browser.clock.advance(timedelta(hours=13))
    second = (await browser.client.get(KEY_PATH, headers=token)).json()["credential"]
    assert {"access", "secret", "securitytoken"} <= {name for name in first if first[name] != second[name]}


async def test_metadata_answers_as_chosen(browse: Open) -> None:
    with_tokens, without, nothing = [await browse(metadata=kind) for kind in ("v2", "v1", "no_agency")]
    assert (await with_tokens.client.get(KEY_PATH)).status_code == 401
    assert (await with_tokens.client.put(TOKEN_PATH)).status_code == 400
    assert (await without.client.put(TOKEN_PATH)).status_code == 404
    assert (await without.client.get(KEY_PATH)).status_code == 200
    refused = await nothing.client.get(KEY_PATH, headers=await metadata_token(nothing))
    assert (refused.status_code, refused.text) == (401, "Please configure Cloud Service Agency first")


# ---- faults ----


@pytest.mark.parametrize(
    ("fault", "status", "code", "retry_after"),
    [
        ("401", 401, "APIGW.0307", None),
        ("403", 403, "APIGW.0302", None),
        ("429", 429, "APIGW.0308", "1"),
        ("429=30", 429, "APIGW.0308", "30"),
        ("429-bare", 429, "APIGW.0308", None),
        ("500", 500, "DBS.200005", None),
        ("502", 502, "APIGW.0201", None),
        ("503", 503, "APIGW.0613", None),
        ("504", 504, "APIGW.0201", None),
    ],
)
async def test_an_error_is_answered_once_and_then_all_is_well(
    browse: Open, fault: str, status: int, code: str, retry_after: str | None
) -> None:
    browser = await browse()
    browser.simulator.script(fault)
    reply = await browser.tasks()
    assert (reply.status_code, reply.json()["error_code"]) == (status, code)
    assert reply.headers.get("Retry-After") == retry_after
    assert (await browser.tasks()).status_code == 200


async def test_bodies_are_spoiled(browse: Open) -> None:
    browser = await browse()
    browser.simulator.script("truncate", "html", "empty", "blank", "short")
    truncated, page, empty, blank, short = [await browser.tasks() for _ in range(5)]
    with pytest.raises(json.JSONDecodeError):
        truncated.json()
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert empty.json() == {"tasks": [], "total_count": 250}
    assert blank.json() == {"tasks": [], "total_count": 0}
    assert (len(short.json()["tasks"]), short.json()["total_count"]) == (50, 250)


async def test_rows_shift_between_pages(browse: Open) -> None:
    browser = await browse()
    before = await browser.ids()
    browser.simulator.script("insert", "delete")
    after_insert = await browser.ids()
    assert after_insert[1:] == before[:-1]
    assert (await browser.tasks()).json()["total_count"] == 250


async def test_a_slow_answer_outlasts_an_impatient_client(browse: Open) -> None:
    browser = await browse()
    browser.simulator.script("slow=600", "drip=600")
    impatient = httpx.Timeout(10, read=0.05)
    for _ in range(2):
        with pytest.raises(httpx.ReadTimeout):
            await browser.client.get(browser.tasks_path, headers=browser.headers, timeout=impatient)
    assert (await browser.tasks()).status_code == 200


async def test_a_dripping_body_arrives_whole(browse: Open) -> None:
    browser = await browse()
    whole = (await browser.tasks()).content
    browser.simulator.script("drip=0.01", "slow=0.01")
    assert (await browser.tasks()).content == whole
    assert (await browser.tasks()).content == whole


async def test_a_reset_connection_gives_no_answer(browse: Open) -> None:
    browser = await browse()
    browser.simulator.script("reset")
    with pytest.raises(httpx.ReadError):
        await browser.tasks()
    assert (await browser.tasks()).status_code == 200
    assert [call.status for call in browser.simulator.request_log][-2:] == [0, 200]


async def test_calls_above_the_limit_are_throttled_for_the_minute(browse: Open) -> None:
    browser = await browse(calls_per_minute=2)
    browser.clock.advance(timedelta(seconds=10))
    assert [(await browser.tasks()).status_code for _ in range(3)] == [200, 200, 429]
    browser.clock.advance(timedelta(seconds=20))
    throttled = await browser.tasks()
    assert "limit:2,time:1 minute" in throttled.json()["error_msg"]
    assert throttled.headers["Retry-After"] == "41"
    browser.clock.advance(timedelta(seconds=41))
    assert (await browser.tasks()).status_code == 200


# ---- steering ----


async def test_faults_and_rows_are_steered_over_the_socket(browse: Open) -> None:
    browser = await browse(static=0)
    row = {"job_id": "a", "name": "Anything", "status": "Odd", "created_at": "2026-01-15T16:30:00+0800", "extra": 1}
    await browser.client.post("/_sim/tasks", json={"put": [row, {"job_id": "b"}], "remove": ["b"]})
    assert (await browser.tasks()).json() == {"tasks": [row], "total_count": 1}
    reply = await browser.client.post("/_sim/faults", json={"script": ["500"], "spec": "503"})
    assert reply.json()["faults_scripted"] == ["500"]
    assert [(await browser.tasks()).status_code for _ in range(3)] == [500, 503, 503]
    await browser.client.post("/_sim/faults", json={"clear": True})
    assert (await browser.tasks()).status_code == 200
    state = (await browser.client.get("/_sim/state")).json()
    assert (state["tasks"], state["by_status"], state["faults_by_chance"]) == (1, {"Odd": 1}, {})


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/_sim/faults", b"{", "clear (bool), script (list), spec (str)"),
        ("/_sim/faults", b'{"speck":"500"}', "clear (bool), script (list), spec (str)"),
        ("/_sim/faults", b'{"spec":"teapot"}', "there is no fault 'teapot'"),
        ("/_sim/faults", b'{"clear":true,"script":["500","teapot"]}', "there is no fault 'teapot'"),
        ("/_sim/tasks", b'{"put":{}}', "put (list)"),
        ("/_sim/tasks", b'{"put":[1]}', "a list of rows"),
    ],
)
async def test_steering_that_cannot_be_read_is_refused(browse: Open, path: str, body: bytes, message: str) -> None:
    browser = await browse()
    reply = await browser.client.post(path, content=body)
    assert reply.status_code == 400
    assert message in reply.json()["error_msg"]


async def test_the_log_has_each_request_and_no_credentials(browse: Open) -> None:
    browser = await browse()
    browser.simulator.script("empty")
    await browser.tasks(limit=7, headers={"X-Language": "zh-cn"})
    call = browser.simulator.request_log[-1]
    assert (call.method, call.path, call.query, call.language) == ("GET", browser.tasks_path, {"limit": "7"}, "zh-cn")
    assert (call.by, call.status, call.fault) == ("token", 200, "empty")
    assert browser.headers["X-Auth-Token"] not in repr(browser.simulator.request_log)


# ---- coming and going ----


async def test_the_server_stops_during_an_answer_and_frees_its_port(browse: Open) -> None:
    async with AsyncExitStack() as stack:
        browser = await browse()
        browser.simulator.script("drip=600")
        reply = await stack.enter_async_context(
            browser.client.stream("GET", browser.tasks_path, headers=browser.headers)
        )
        await browser.simulator.__aexit__(None, None, None)
        with pytest.raises(httpx.RemoteProtocolError):
            await reply.aread()
    with socket.create_server(("127.0.0.1", int(browser.simulator.url.rpartition(":")[2]))):
        pass


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*choose another port"):
            await Simulator(Options(port=port, static=0)).__aenter__()


async def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:0: .*choose another port"):
        await Simulator(Options(host="192.0.2.1", static=0)).__aenter__()


@pytest.mark.parametrize("auth", ["aksk", "token", "ecs_agency"])
async def test_the_configuration_to_paste_is_what_a_program_gets(auth: Any) -> None:
    async with Simulator(Options(static=0)) as simulator:
        pasted = yaml.safe_load(source_yaml(simulator, auth))
        assert pasted == {"sources": [simulator.source_config(auth)]}
        assert pasted["sources"][0]["endpoint"] == simulator.url
