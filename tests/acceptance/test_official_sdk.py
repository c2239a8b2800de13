"""The cloud's own SDKs read the simulated lists over a socket, page by page: what they accept is faithful."""

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
from notifier.simulator.iam import DOMAIN_ID

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdkcore")  # not ours to fix
PACKAGE = "huaweicloudsdkgaussdbforopengauss"


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the SDKs from writing to the home directory, which they do on import, and from using a proxy."""
    monkeypatch.delenv("HOME", raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sdk(_alone: None) -> Any:
    """The SDK of GaussDB."""
    return importlib.import_module(f"{PACKAGE}.v3")


Connect = Callable[..., Any]


@pytest.fixture
def open_client(_alone: None) -> Iterator[Connect]:
    """Builds clients of a class for a simulator, and closes them."""
    credentials = importlib.import_module("huaweicloudsdkcore.auth.credentials")
    with ExitStack() as closing:

        def build(simulator: Simulator, kind: Any, **changed: Any) -> Any:
            known = simulator.options
            whose = {} if "domain_id" in changed else {"project_id": known.project_id}
            make = credentials.GlobalCredentials if "domain_id" in changed else credentials.BasicCredentials
            keys = {"ak": known.access_key, "sk": known.secret_key} | whose | changed
            builder = kind.new_builder().with_endpoint(simulator.url)
            client = builder.with_credentials(make(**keys)).build()
            closing.callback(client.close)
            return client

        yield build


@pytest.fixture
def connect(sdk: Any, open_client: Connect) -> Connect:
    """Builds clients of GaussDB for a simulator."""
    return lambda simulator, **changed: open_client(simulator, sdk.GaussDBforopenGaussClient, **changed)


OfService = Callable[[str], tuple[Any, Any]]


@pytest.fixture
def of_service(_alone: None) -> OfService:
    """Imports the client and the models of a service, `cts.v3.cts`, and nothing else of its package."""

    def imported(module: str) -> tuple[Any, Any]:
        package, _, name = module.rpartition(".")
        client = importlib.import_module(f"huaweicloudsdk{package}.{name}_client")
        return getattr(client, f"{name.capitalize()}Client"), importlib.import_module(f"huaweicloudsdk{package}.model")

    return imported


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


# ---- the lists beside the tasks ----


async def test_cloud_trace_is_read_page_by_page(of_service: OfService, open_client: Connect, simulators: Start) -> None:
    kind, models = of_service("cts.v3.cts")
    simulator = await simulators(Options())
    now = int(simulator.cloud.now().timestamp() * 1000)
    period = {"_from": now - 6 * 86_400_000, "to": now, "trace_type": "system", "limit": 20}
    client = open_client(simulator, kind)
    rows, shown, marker = [], [], None
    while True:
        answer = await asyncio.to_thread(client.list_traces, models.ListTracesRequest(next=marker, **period))
        rows += answer.traces
        shown += answer.to_json_object()["traces"]
        marker = answer.meta_data.marker
        if marker is None:
            break
    whole = simulator.cloud.project.trace_page(
        {"from": str(period["_from"]), "to": str(now), "trace_type": "system", "limit": "200"}, simulator.cloud.now()
    )
    assert shown == whole["traces"]
    known = {job_id.replace("-", "") for job_id in simulator.cloud.world.timelines}
    asked = [row for row in rows if row.user and row.code == "202"]
    assert asked
    assert {json.loads(row.response)["job_id"] for row in asked} <= known
    operations = await asyncio.to_thread(client.list_operations, models.ListOperationsRequest(service_type="GaussDB"))
    names = {name for item in operations.operations for name in item.operation_list}
    assert {row.trace_name for row in rows} <= names


async def test_a_missing_right_to_traces_is_a_403(
    of_service: OfService, open_client: Connect, simulators: Start
) -> None:
    kind, models = of_service("cts.v3.cts")
    simulator = await simulators(Options(static=1, deny=("cts:trace:list",)))
    errors = importlib.import_module("huaweicloudsdkcore.exceptions.exceptions")
    client = open_client(simulator, kind)
    with pytest.raises(errors.ClientRequestException) as caught:
        await asyncio.to_thread(client.list_traces, models.ListTracesRequest(trace_type="system"))
    assert (caught.value.status_code, caught.value.error_code) == (403, "CTS.0002")


async def test_events_of_cloud_eye_and_their_details(
    of_service: OfService, open_client: Connect, simulators: Start
) -> None:
    kind, models = of_service("ces.v1.ces")
    simulator = await simulators(Options())
    client = open_client(simulator, kind)
    listed = await asyncio.to_thread(client.list_events, models.ListEventsRequest(limit=100))
    ours = [event for event in listed.events if event.latest_event_source == "SYS.GAUSSDBV5"]
    assert ours
    assert listed.meta_data.total == len(listed.events) > len(ours)
    for event in ours:
        request = models.ListEventDetailRequest(event_name=event.event_name, event_type="EVENT.SYS")
        found = await asyncio.to_thread(client.list_event_detail, request)
        assert found.meta_data.total == event.event_count == len(found.event_info)
        assert found.event_info[0].time == event.latest_occur_time
        assert found.event_info[0].detail.dimensions[0].name == "gaussdbv5_instance_id"


async def test_alarms_of_each_level(sdk: Any, connect: Connect, simulators: Start) -> None:
    simulator = await simulators(Options())
    client = connect(simulator)
    found = []
    for level in (1, 2, 3, 4):
        answer = await asyncio.to_thread(
            client.show_alarm_history_record, sdk.ShowAlarmHistoryRecordRequest(level=level)
        )
        assert answer.total_count == len(answer.history_records)
        found += answer.to_json_object()["history_records"]
    wire = [record.wire() for record in simulator.cloud.project.alarms(simulator.cloud.now())]
    recent = [row for row in wire if row["begin_time"] > (simulator.cloud.now() - timedelta(days=7)).timestamp() * 1000]
    assert sorted(found, key=str) == sorted(recent, key=str) != []
    counts = await asyncio.to_thread(client.show_alarm_statistics, sdk.ShowAlarmStatisticsRequest())
    assert counts.total_alarm_count == len(found)


async def test_maintenance_events(sdk: Any, connect: Connect, simulators: Start) -> None:
    simulator = await simulators(Options())
    answer = await asyncio.to_thread(connect(simulator).list_events, sdk.ListEventsRequest(limit=100))
    rows = sorted(answer.to_json_object()["events"], key=lambda row: row["id"])
    truth = simulator.cloud.project.maintenance(simulator.cloud.now())
    assert rows == sorted(truth, key=lambda row: str(row["id"])) != []
    assert answer.inquiring_count == sum(event.status == "INQUIRING" for event in answer.events) > 0


async def test_projects_of_the_account(of_service: OfService, open_client: Connect, simulators: Start) -> None:
    kind, models = of_service("iam.v3.iam")
    names = ("cn-north-4_payments", "cn-east-3")
    simulator = await simulators(Options(static=1, projects=names))
    known = simulator.options
    client = open_client(simulator, kind, domain_id=DOMAIN_ID)
    listed = await asyncio.to_thread(client.keystone_list_projects, models.KeystoneListProjectsRequest())
    assert [project.name for project in listed.projects] == [known.region, *names]
    assert listed.projects[1].parent_id == listed.projects[0].id == known.project_id
    mine = await asyncio.to_thread(client.keystone_list_auth_projects, models.KeystoneListAuthProjectsRequest())
    assert [project.id for project in mine.projects] == [project.id for project in listed.projects]
    domains = await asyncio.to_thread(client.keystone_list_auth_domains, models.KeystoneListAuthDomainsRequest())
    assert [domain.name for domain in domains.domains] == [known.domain]


async def test_a_topic_of_smn(of_service: OfService, open_client: Connect, simulators: Start) -> None:
    kind, models = of_service("smn.v2.smn")
    simulator = await simulators(Options(static=1))
    client, topic = open_client(simulator, kind), simulator.cloud.publisher.topic
    body = models.AddSubscriptionRequestBody(protocol="http", endpoint="http://127.0.0.1:9/doorbell/prod")
    added = await asyncio.to_thread(
        client.add_subscription, models.AddSubscriptionRequest(topic_urn=topic.urn, body=body)
    )
    listing = models.ListSubscriptionsByTopicRequest(topic_urn=topic.urn, offset=0, limit=10)
    (asked,) = (await asyncio.to_thread(client.list_subscriptions_by_topic, listing)).subscriptions
    assert (asked.subscription_urn, asked.endpoint, asked.status) == (added.subscription_urn, body.endpoint, 0)
    token = topic.subscriptions[body.endpoint].token
    confirmation = models.ConfirmSubscriptionRequest(token=token, topic_urn=topic.urn, endpoint=body.endpoint)
    confirmed = await asyncio.to_thread(client.confirm_subscription, confirmation)
    assert confirmed.subscription_urn == added.subscription_urn
    (asked,) = (await asyncio.to_thread(client.list_subscriptions_by_topic, listing)).subscriptions
    assert asked.status == 1
    message = models.PublishMessageRequestBody(subject="GaussDB", message="A task has changed.")
    published = await asyncio.to_thread(
        client.publish_message, models.PublishMessageRequest(topic_urn=topic.urn, body=message)
    )
    assert published.message_id
    assert published.request_id
