"""The cloud's own SDK lists the simulated tasks over a socket, page by page: what it accepts is faithful."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from notifier.simulator import Options, Simulator

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdkcore")  # not ours to mend
PACKAGE = "huaweicloudsdkgaussdbforopengauss"


@pytest.fixture
def sdk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The SDK, kept from writing to the home directory, which it does on import, and from using a proxy."""
    monkeypatch.delenv("HOME", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return importlib.import_module(f"{PACKAGE}.v3")


Connect = Callable[..., Any]


@pytest.fixture
def connect(sdk: Any) -> Iterator[Connect]:
    """Builds SDK clients for a simulator, and closes them."""
    credentials = importlib.import_module("huaweicloudsdkcore.auth.credentials")
    with ExitStack() as closing:

        def build(simulator: Simulator, **changed: Any) -> Any:
            known = simulator.options
            keys = {"ak": known.access_key, "sk": known.secret_key, "project_id": known.project_id} | changed
            builder = sdk.GaussDBforopenGaussClient.new_builder().with_endpoint(simulator.url)
            client = builder.with_credentials(credentials.BasicCredentials(**keys)).build()
            closing.callback(client.close)
            return client

        yield build


@pytest.fixture
async def simulators() -> AsyncIterator[Callable[[Options], Any]]:
    """Starts simulators, and stops them."""
    running: list[Simulator] = []

    async def start(options: Options) -> Simulator:
        running.append(await Simulator(options).__aenter__())
        return running[-1]

    yield start
    for simulator in running:
        await simulator.__aexit__(None, None, None)


Start = Callable[[Options], Any]


def walk(client: Any, sdk: Any, limit: int, **filters: Any) -> list[dict[str, Any]]:
    """List every page as the documentation describes: offset counts rows."""
    rows: list[dict[str, Any]] = []
    while True:
        answer = client.list_tasks(sdk.ListTasksRequest(offset=len(rows), limit=limit, **filters))
        rows += answer.to_json_object()["tasks"]
        if len(rows) >= answer.total_count:
            return rows


@pytest.mark.parametrize("size", [0, 1, 100, 101, 250])
async def test_it_lists_every_task_exactly_once(sdk: Any, connect: Connect, simulators: Start, size: int) -> None:
    simulator = await simulators(Options(static=size))
    rows = await asyncio.to_thread(walk, connect(simulator), sdk, 100)
    assert sorted(row["job_id"] for row in rows) == sorted(row["job_id"] for row in simulator.cloud.rows())
    assert len(rows) == size


async def test_it_reads_every_field(sdk: Any, connect: Connect, simulators: Start) -> None:
    simulator = await simulators(Options(static=50))
    answer = await asyncio.to_thread(connect(simulator).list_tasks, sdk.ListTasksRequest())
    truth = {row["job_id"]: row for row in simulator.cloud.rows()}
    assert [json.loads(json.dumps(row)) for row in answer.to_json_object()["tasks"]] == [
        truth[task.job_id] for task in answer.tasks
    ]


@pytest.mark.parametrize("status", ["Running", "Completed", "Failed"])
async def test_it_filters_by_status(sdk: Any, connect: Connect, simulators: Start, status: str) -> None:
    simulator = await simulators(Options(static=250))
    rows = await asyncio.to_thread(walk, connect(simulator), sdk, 10, status=status)
    expected = {row["job_id"] for row in simulator.cloud.rows() if row["status"] == status}
    assert {row["job_id"] for row in rows} == expected != set()


async def test_it_filters_by_name_and_time(sdk: Any, connect: Connect, simulators: Start) -> None:
    simulator = await simulators(Options(static=250))
    since = simulator.cloud.start - timedelta(days=10)
    filters = {"name": "EnlargeGaussDBV5Volume", "start_time": str(int(since.timestamp() * 1000))}
    rows = await asyncio.to_thread(walk, connect(simulator), sdk, 100, **filters)
    expected = {
        row.job_id
        for row in simulator.cloud.world.rows.values()
        if row.name == "EnlargeGaussDBV5Volume" and row.created_at >= since
    }
    assert {row["job_id"] for row in rows} == expected != set()


async def test_it_gets_reasons_in_chinese_when_it_asks_for_them(sdk: Any, connect: Connect, simulators: Start) -> None:
    simulator = await simulators(Options(static=50))
    client = connect(simulator)
    english = await asyncio.to_thread(walk, client, sdk, 100, status="Failed")
    chinese = await asyncio.to_thread(walk, client, sdk, 100, status="Failed", x_language="zh-cn")
    assert all(row["fail_reason"].isascii() for row in english)
    assert chinese
    assert not any(row["fail_reason"].isascii() for row in chinese)


async def test_it_is_refused_with_a_wrong_secret(sdk: Any, connect: Connect, simulators: Start) -> None:
    simulator = await simulators(Options(static=1))
    client = connect(simulator, sk="not-the-secret")
    errors = importlib.import_module("huaweicloudsdkcore.exceptions.exceptions")
    with pytest.raises(errors.ClientRequestException) as caught:
        await asyncio.to_thread(client.list_tasks, sdk.ListTasksRequest())
    assert (caught.value.status_code, caught.value.error_code) == (401, "APIGW.0301")
    assert caught.value.request_id
    assert "verify aksk signature fail, canonicalRequest:GET|/v3/" in caught.value.error_msg


async def test_it_shows_the_detail_of_a_job(sdk: Any, connect: Connect, simulators: Start) -> None:
    simulator = await simulators(Options(static=50))
    row = next(row for row in simulator.cloud.rows() if row["status"] == "Failed" and "Backup" not in row["name"])
    answer = await asyncio.to_thread(connect(simulator).show_job_detail, sdk.ShowJobDetailRequest(id=row["job_id"]))
    job = answer.to_json_object()["job"]
    assert (job["id"], job["status"], job["fail_reason"]) == (row["job_id"], "Failed", row["fail_reason"])


async def test_it_finds_its_project_by_itself(connect: Connect, simulators: Start) -> None:
    """A client without a project id asks IAM for the project of its region."""
    simulator = await simulators(Options(static=3))
    client = connect(simulator, project_id=None)
    credentials = client._credentials
    credentials.with_iam_endpoint(simulator.url)
    resolved = await asyncio.to_thread(credentials.process_auth_params, client._http_client, simulator.options.region)
    assert resolved.project_id == simulator.options.project_id
    assert [(call.path, call.by) for call in simulator.request_log] == [("/v3/projects", "key")]
