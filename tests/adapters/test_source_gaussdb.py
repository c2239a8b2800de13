from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from cloud_sources import open_source
from fakes import START, FakeClock
from pydantic import ValidationError
from servers.http import Answer, HttpServer, cut_short, flood, gzip_bomb, raw, reply, reset

from notifier.core.errors import (
    ConfigurationError,
    CredentialsRejected,
    MalformedReply,
    PermissionDenied,
    RequestRejected,
    SourceError,
    SourceThrottled,
    SourceUnreachable,
)
from notifier.core.model import Scope, TaskStatus
from notifier.http import HttpClient
from notifier.ports import TaskSource
from notifier.simulator.options import Options
from notifier.simulator.server import Simulator
from notifier.sources.gaussdb import GaussDBSource, TaskQuery
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.kinds import settings_class, source_class
from notifier.sources.regions import ENDPOINTS, gaussdb_endpoint, iam_endpoint

AUTH = {"kind": "aksk", "access_key": "ak", "secret_key": "obviously-fake-secret-key"}
CONFIG: dict[str, Any] = {"name": "prod", "kind": "gaussdb", "region": "cn-north-4", "project_id": "p1", "auth": AUTH}
PAGE = b'{"tasks": [{"job_id": "a", "status": "Running"}], "total_count": 1}'
QUERY = TaskQuery()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def source_at(url: str, http: HttpClient, clock: FakeClock, **changes: Any) -> GaussDBSource:
    return open_source(CONFIG | {"endpoint": url} | changes, http, clock)


def simulated(simulator: Simulator, http: HttpClient, clock: FakeClock, **changes: Any) -> GaussDBSource:
    return open_source(simulator.source_config() | changes, http, clock)


# ---- reading ----


@pytest.mark.parametrize("auth", ["aksk", "token"])
@pytest.mark.parametrize("offset", ["record", "page", "page0"])
@pytest.mark.parametrize("rows", [0, 1, 100, 101, 250])
async def test_every_task_is_read_exactly_once(
    http: HttpClient, clock: FakeClock, rows: int, offset: Any, auth: Any
) -> None:
    async with Simulator(Options(static=rows, offset=offset, order="shuffled"), clock) as simulator:
        source = open_source(simulator.source_config(auth), http, clock)
        snapshot = await source.fetch(Scope.FULL)
        listed = {row["job_id"] for row in simulator.cloud.rows()}
    assert snapshot.fingerprints.keys() == listed
    assert (len(listed), snapshot.complete, snapshot.total_count) == (rows, True, rows)


async def test_ten_thousand_tasks_are_read_within_the_budget_of_calls(http: HttpClient, clock: FakeClock) -> None:
    async with Simulator(Options(static=10_000), clock) as simulator:
        snapshot = await simulated(simulator, http, clock).fetch(Scope.FULL)
    assert (len(snapshot.fingerprints), snapshot.complete, snapshot.calls) == (10_000, True, 111)
    assert sum(clock.slept) == pytest.approx((111 - 40) * 3, abs=3)


@pytest.mark.parametrize("fault", ["insert", "delete", "shift", "short", "empty", "500", "truncate", "html", "reset"])
async def test_a_fault_midway_neither_loses_nor_invents_a_task(http: HttpClient, clock: FakeClock, fault: str) -> None:
    async with Simulator(Options(static=250), clock) as simulator:
        before = {row["job_id"] for row in simulator.cloud.rows()}
        simulator.script("pass", fault)
        snapshot = await simulated(simulator, http, clock).fetch(Scope.FULL)
        after = {row["job_id"] for row in simulator.cloud.rows()}
    assert before & after <= snapshot.fingerprints.keys() <= before | after
    assert snapshot.complete


@pytest.mark.parametrize("fault", ["empty", "short", "500"])
async def test_a_fault_that_lasts_never_makes_a_poll_complete(http: HttpClient, clock: FakeClock, fault: str) -> None:
    async with Simulator(Options(static=250), clock) as simulator:
        simulator.script("pass", *[fault] * 60)
        snapshot = await simulated(simulator, http, clock).fetch(Scope.FULL)
    assert not snapshot.complete
    assert len(snapshot.fingerprints) >= 50


async def test_one_blank_answer_is_not_an_empty_list(http: HttpClient, clock: FakeClock) -> None:
    async with Simulator(Options(static=5), clock) as simulator:
        simulator.script("blank")
        snapshot = await simulated(simulator, http, clock).fetch(Scope.FULL)
    assert (len(snapshot.fingerprints), snapshot.complete) == (5, True)


async def test_an_active_scan_asks_for_running_then_failed_tasks(http: HttpClient, clock: FakeClock) -> None:
    async with Simulator(Options(static=300), clock) as simulator:
        source = simulated(simulator, http, clock)
        snapshot = await source.fetch(Scope.ACTIVE)
        listed = {row["job_id"] for row in simulator.cloud.rows() if row["status"] in ("Running", "Failed")}
        asked = [call.query["status"] for call in simulator.request_log]
    assert snapshot.fingerprints.keys() == listed
    assert {snapshot.parse(job_id).status for job_id in listed} == {TaskStatus.RUNNING, TaskStatus.FAILED}
    assert (snapshot.complete, snapshot.scope, snapshot.calls) == (False, Scope.ACTIVE, len(asked))
    assert asked == sorted(asked, reverse=True)
    assert set(asked) == {"Running", "Failed"}


async def test_of_two_rows_with_one_id_that_of_the_later_page_counts(http: HttpClient, clock: FakeClock) -> None:
    """A task that fails between the two requests of an active look is in both answers."""
    failed = reply(200, PAGE.replace(b"Running", b"Failed"))
    async with HttpServer(reply(200, PAGE), failed) as server:
        snapshot = await source_at(server.url(""), http, clock).fetch(Scope.ACTIVE)
    assert snapshot.parse("a").status is TaskStatus.FAILED
    assert len(snapshot.fingerprints) == 1


async def test_a_snapshot_parses_a_row_when_asked(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(
        reply(200, b'{"tasks": [{"job_id": "a", "status": "Running"}, null], "total_count": 2}')
    ) as server:
        snapshot = await source_at(server.url(""), http, clock).fetch(Scope.FULL)
    assert (snapshot.source, snapshot.taken_at, snapshot.unreadable) == ("prod", START, 1)
    assert (snapshot.parse("a").source, snapshot.parse("a").status) == ("prod", TaskStatus.RUNNING)
    assert snapshot.complete


async def test_every_parameter_of_the_api_is_sent_as_it_is_signed(http: HttpClient, clock: FakeClock) -> None:
    query = TaskQuery(
        status="Failed",
        name="a b+ä",
        start_time=datetime(2026, 1, 1, tzinfo=UTC),
        end_time=datetime(2026, 1, 2, 0, 0, 0, 1999, tzinfo=UTC),
        limit=10,
    )
    async with HttpServer(reply(200, PAGE)) as server:
        await source_at(server.url(""), http, clock, language="zh-cn").list_page(query, 5)
        await source_at(server.url(""), http, clock).list_page(QUERY)
    assert server.requests[0].target == (
        "/v3/p1/tasks?end_time=1767312000001&limit=10&name=a%20b%2B%C3%A4&offset=5&start_time=1767225600000&status=Failed"
    )
    assert server.requests[1].target == "/v3/p1/tasks?limit=100&offset=0"
    assert [request.headers["x-language"] for request in server.requests] == ["zh-cn", "en-us"]


async def test_the_language_of_reasons_is_the_one_configured(http: HttpClient, clock: FakeClock) -> None:
    async with Simulator(Options(static=20), clock) as simulator:
        pages = [
            await simulated(simulator, http, clock, language=language).fetch(Scope.FULL)
            for language in ("en-us", "zh-cn")
        ]
    reasons = [{job: page.parse(job).fail_reason for job in page.fingerprints} for page in pages]
    assert all((reasons[0][job] is None) == (reasons[1][job] is None) for job in reasons[0])
    assert any(reason and not reason.isascii() for reason in reasons[1].values())
    assert all(reason is None or reason.isascii() for reason in reasons[0].values())


# ---- trying again ----


@pytest.mark.parametrize(
    "trouble",
    [
        reply(500),
        reply(503),
        reply(408),
        reply(429),
        reset(),
        cut_short(),
        reply(200, b"<html>"),
        reply(200, b'{"tasks": ['),
        reply(200, b"{}"),
        raw(b"SSH-2.0-OpenSSH_9\r\n\r\n"),
    ],
)
async def test_what_may_pass_is_tried_again_up_to_four_times(
    http: HttpClient, clock: FakeClock, trouble: Answer
) -> None:
    async with HttpServer(trouble, trouble, trouble, reply(200, PAGE)) as server:
        assert (await source_at(server.url(""), http, clock).list_page(QUERY)).total == 1
    async with HttpServer(trouble) as server:
        source = source_at(server.url(""), http, clock)
        with pytest.raises(SourceError):
            await source.list_page(QUERY)
    assert source._api.calls == 4


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, RequestRejected),
        (401, CredentialsRejected),
        (403, PermissionDenied),
        (404, RequestRejected),
        (302, RequestRejected),
    ],
)
async def test_what_will_not_pass_is_asked_once(
    http: HttpClient, clock: FakeClock, status: int, kind: type[SourceError]
) -> None:
    async with HttpServer(reply(status, b"", {"Location": "/elsewhere"})) as server:
        with pytest.raises(kind):
            await source_at(server.url(""), http, clock).list_page(QUERY)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (
            {"error_code": "DBS.200001", "error_msg": "Parameter error"},
            SourceUnreachable,
            "DBS.200001; Parameter error",
        ),
        ({"code": "DBS.200001", "message": "Parameter error"}, SourceUnreachable, "DBS.200001; Parameter error"),
        ({"error": {"code": "DBS.200001", "message": "Busy"}}, SourceUnreachable, "DBS.200001; Busy"),
        ({"error": {"details": {"errCode": "X.1", "errMsg": "Busy"}}}, SourceUnreachable, "X.1; Busy"),
        ({"error_code": "DBS.200001", "message": "Busy"}, SourceUnreachable, "DBS.200001; Busy"),
        ({"error_msg": "Busy"}, SourceUnreachable, "Busy"),
        ({"error": "Busy"}, SourceUnreachable, "Busy"),
        ({"error_code": "DBS.200001"}, SourceUnreachable, "DBS.200001"),
        ({"code": 500, "message": "Busy"}, SourceUnreachable, "500; Busy"),
        ({"code": 403, "message": "No rights"}, PermissionDenied, "403; No rights"),
        ({"error_code": "DBS.280056", "error_msg": "Invalid token"}, CredentialsRejected, "DBS.280056; Invalid token"),
        ({"error_code": "APIGW.0301", "error_msg": "Bad signature"}, CredentialsRejected, "APIGW.0301; Bad signature"),
        ({"error_code": "APIGW.0308", "error_msg": "Too many"}, SourceThrottled, "APIGW.0308; Too many"),
        ({"tasks": [], "total_count": 0, "error_code": "DBS.1", "error_msg": "Busy"}, SourceUnreachable, "DBS.1; Busy"),
        ({"tasks": None, "error": {"message": "Busy"}}, SourceUnreachable, "Busy"),
        ([{"error_code": "DBS.1", "error_msg": "Busy"}], SourceUnreachable, "DBS.1; Busy"),
        ({"errors": [{"code": "DBS.1", "message": "Busy"}]}, SourceUnreachable, "DBS.1; Busy"),
        ({"error": ["Busy", "Later"]}, SourceUnreachable, "Busy; Later"),
        ({"Error": {"Code": "DBS.1", "Message": "Busy"}}, SourceUnreachable, "DBS.1; Busy"),
        ({"errorCode": "DBS.1", "errorMessage": "Busy"}, SourceUnreachable, "DBS.1; Busy"),
    ],
)
async def test_an_error_inside_a_success_is_shown_like_any_error(
    http: HttpClient, clock: FakeClock, content: object, kind: type[SourceError], words: str
) -> None:
    async with HttpServer(reply(200, json.dumps(content).encode(), {"X-Request-Id": "r-1"})) as server:
        with pytest.raises(kind, match=f"source prod: .*\\(HTTP 200; {re.escape(words)}; request r-1\\)"):
            await source_at(server.url(""), http, clock).list_page(QUERY)


@pytest.mark.parametrize("shown", [{"tasks": [], "total_count": 0}, {"tasks": None}, {"tasks": {}}, {"total_count": 0}])
@pytest.mark.parametrize(
    "told",
    [
        {"errorCode": "DBS.1", "errorMsg": "Busy"},
        {"errCode": "DBS.1"},
        {"code": "DBS.1", "message": "Busy"},
        {"err_code": 500},
        {"errors": [{"code": "DBS.1", "message": "Busy"}]},
        {"Error": {"Code": "DBS.1"}},
        {"message": "Busy"},
        {"success": False},
    ],
)
async def test_an_error_beside_an_empty_list_is_no_empty_list(
    http: HttpClient, clock: FakeClock, shown: dict[str, Any], told: dict[str, Any]
) -> None:
    async with HttpServer(reply(200, json.dumps(shown | told).encode())) as server:
        with pytest.raises(SourceError, match=r"source prod: .*(DBS.1|500|Busy|an error, not a list)"):
            await source_at(server.url(""), http, clock).list_page(QUERY)


@pytest.mark.parametrize(
    "extra",
    [
        {"error_code": None},
        {"error_code": "", "error_msg": ""},
        {"error_code": "0", "error_msg": "success"},
        {"code": "200", "message": "Done"},
        {"error": {}},
        {"errors": []},
        {"code": 0},
        {"success": True},
    ],
)
async def test_a_list_whose_error_code_means_success_is_a_list(
    http: HttpClient, clock: FakeClock, extra: dict[str, Any]
) -> None:
    content = {"tasks": [], "total_count": 0} | extra
    async with HttpServer(reply(200, json.dumps(content).encode())) as server:
        assert (await source_at(server.url(""), http, clock).list_page(QUERY)).total == 0


async def test_retries_wait_longer_each_time_and_by_chance(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(500)) as server:
        with pytest.raises(SourceUnreachable):
            await source_at(server.url(""), http, clock).list_page(QUERY)
    first, second, third = clock.slept
    assert 0 < first < 1
    assert 0 < second < 2
    assert 0 < third < 4
    assert len({first, second, third}) == 3


async def test_a_short_wait_that_is_asked_for_is_sat_out_in_full(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(429, b"", {"Retry-After": "7"}), reply(200, PAGE)) as server:
        await source_at(server.url(""), http, clock).list_page(QUERY)
    assert sum(clock.slept) == 7


async def test_a_long_wait_is_left_to_the_schedule_without_early_calls(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(429, b"", {"Retry-After": "120"}), reply(200, PAGE)) as server:
        source = source_at(server.url(""), http, clock)
        for passed, left in ((0, 120), (50, 70)):
            clock.advance(timedelta(seconds=passed))
            with pytest.raises(SourceThrottled, match="source prod: throttled") as caught:
                await source.fetch(Scope.FULL)
            assert caught.value.retry_after == timedelta(seconds=left)
        assert len(server.requests) == 1
        clock.advance(timedelta(seconds=50))
        assert (await source.fetch(Scope.FULL)).complete
    assert clock.slept == [20]


async def test_throttling_during_a_poll_stops_the_other_pages_too(http: HttpClient, clock: FakeClock) -> None:
    async with Simulator(Options(static=5000), clock) as simulator:
        simulator.script("pass", "pass", "429=300")
        source = simulated(simulator, http, clock)
        snapshot = await source.fetch(Scope.FULL)
        assert not snapshot.complete
        assert snapshot.fingerprints
        assert len(simulator.request_log) < 20
        with pytest.raises(SourceThrottled):
            await source.fetch(Scope.FULL)


async def test_refused_credentials_are_left_alone_for_a_growing_time(http: HttpClient, clock: FakeClock) -> None:
    """An access key is locked after five failures in a row."""
    async with HttpServer(reply(401)) as server:
        source = source_at(server.url(""), http, clock)
        waits = []
        for _ in range(4):
            with pytest.raises(CredentialsRejected) as caught:
                await source.fetch(Scope.FULL)
            waits.append(caught.value.retry_after)
            with pytest.raises(CredentialsRejected):
                await source.fetch(Scope.FULL)
            clock.advance(waits[-1] or timedelta())
        assert waits == [timedelta(minutes=minutes) for minutes in (1, 2, 5, 5)]
        assert len(server.requests) == 4
        server.answers = [reply(200, PAGE), reply(401)]
        await source.fetch(Scope.FULL)
        with pytest.raises(CredentialsRejected) as caught:
            await source.fetch(Scope.FULL)
        assert caught.value.retry_after == timedelta(minutes=1)


async def test_a_locked_access_key_is_left_alone_until_the_lock_ends(http: HttpClient, clock: FakeClock) -> None:
    body = b'{"error_code": "APIGW.0301", "error_msg": "AK access failed to reach the limit,forbidden"}'
    async with HttpServer(reply(401, body)) as server:
        with pytest.raises(CredentialsRejected) as caught:
            await source_at(server.url(""), http, clock).fetch(Scope.FULL)
    assert caught.value.retry_after == timedelta(minutes=5)


async def test_calls_are_paced_after_a_burst(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(200, PAGE)) as server:
        source = source_at(server.url(""), http, clock, calls_per_minute=30)
        for _ in range(40):
            await source.list_page(QUERY)
        assert clock.slept == []
        await source.list_page(QUERY)
        await source.list_page(QUERY)
        assert clock.slept == [pytest.approx(2), pytest.approx(2)]
        clock.advance(timedelta(minutes=1))
        for _ in range(30):
            await source.list_page(QUERY)
        assert len(clock.slept) == 2


# ---- limits and messages ----


async def test_no_connection_names_the_source_and_the_host(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer() as server:
        url = server.url("")
    with pytest.raises(SourceUnreachable, match=rf"source prod: connection refused by {url[7:]}. Check endpoint"):
        await source_at(url, http, clock).list_page(QUERY)


@pytest.mark.parametrize("answer", [flood(), gzip_bomb()])
async def test_a_bomb_is_a_malformed_reply(http: HttpClient, clock: FakeClock, answer: Answer) -> None:
    async with HttpServer(answer) as server:
        with pytest.raises(MalformedReply, match="source prod: "):
            await source_at(server.url(""), http, clock).list_page(QUERY)


async def test_an_address_that_the_rules_forbid_is_named_with_the_rule(clock: FakeClock) -> None:
    from ipaddress import ip_network  # noqa: PLC0415 - for this test alone

    client = HttpClient(deny=[ip_network("127.0.0.0/8")])
    with pytest.raises(RequestRejected, match=r"network\.deny"):
        await source_at("http://127.0.0.1:1", client, clock).list_page(QUERY)
    await client.aclose()


async def test_the_secret_key_is_in_no_message_and_no_repr(http: HttpClient, clock: FakeClock) -> None:
    secret = AUTH["secret_key"]
    async with HttpServer(reply(401, f'{{"error_code": "X", "error_msg": "sk={secret}"}}'.encode())) as server:
        source = source_at(server.url(""), http, clock)
        with pytest.raises(CredentialsRejected) as caught:
            await source.list_page(QUERY)
    assert secret not in f"{caught.value!r}{vars(source)!r}{vars(source._api)!r}{vars(source._api._auth)!r}"


# ---- check ----


async def test_a_source_that_works_proves_it_with_one_call(http: HttpClient, clock: FakeClock) -> None:
    async with Simulator(Options(static=7), clock) as simulator:
        findings = await simulated(simulator, http, clock, name="prod").check()
        assert len(simulator.request_log) == 1
    assert [(finding.ok, finding.what, finding.detail) for finding in findings][:3] == [
        (True, "source prod: endpoint", "answers"),
        (True, "source prod: credentials", "accepted"),
        (True, "source prod: rights", "7 tasks are listed"),
    ]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (reply(500), [("endpoint", False)]),
        (reply(401), [("endpoint", True), ("credentials", False)]),
        (reply(403), [("endpoint", True), ("credentials", True), ("rights", False)]),
        (reply(404), [("endpoint", True), ("credentials", True), ("rights", False)]),
    ],
)
async def test_a_check_names_the_failed_step_and_the_remedy(
    http: HttpClient, clock: FakeClock, answer: Answer, outcome: list[tuple[str, bool]]
) -> None:
    async with HttpServer(answer) as server:
        findings = await source_at(server.url(""), http, clock).check()
    assert [(finding.what, finding.ok) for finding in findings] == [
        (f"source prod: {what}", ok) for what, ok in outcome
    ]
    assert "source prod" not in findings[-1].detail


@pytest.mark.parametrize(("minutes", "ok"), [(0, True), (9, True), (11, False), (-30, False)])
async def test_a_check_names_a_clock_that_is_off(http: HttpClient, clock: FakeClock, minutes: int, ok: bool) -> None:  # noqa: FBT001 - a column of a table
    date = format_datetime(clock.now() - timedelta(minutes=minutes), usegmt=True)
    async with HttpServer(reply(200, PAGE, {"Date": date})) as server:
        finding = (await source_at(server.url(""), http, clock).check())[-1]
    assert (finding.what, finding.ok) == ("source prod: clock", ok)
    assert ok or f"{abs(minutes)} minutes {'ahead of' if minutes > 0 else 'behind'} the service's" in finding.detail


# ---- settings ----


def test_the_source_is_found_by_its_kind() -> None:
    assert settings_class("gaussdb") is GaussDBSettings
    assert source_class(GaussDBSettings(**CONFIG)) is GaussDBSource


def test_it_is_a_task_source() -> None:
    def accepts(_source: type[TaskSource]) -> None: ...

    accepts(GaussDBSource)


def test_minimal_settings_are_enough() -> None:
    settings = GaussDBSettings(**CONFIG)
    assert settings.url == "https://gaussdb-opengauss.cn-north-4.myhuaweicloud.com"
    assert (settings.language, settings.paging, settings.page_size) == (None, "auto", 100)
    assert (settings.first_poll, settings.progress_step, settings.calls_per_minute) == ("baseline", 25, 20)
    assert settings.poll_every == timedelta(seconds=30)


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:8080", "https://gaussdb.eu-de.otc.t-systems.com/"],
)
def test_an_explicit_endpoint_serves_any_region(endpoint: str) -> None:
    settings = GaussDBSettings(**(CONFIG | {"region": "eu-de", "endpoint": endpoint}))
    assert settings.url == endpoint.rstrip("/")


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"endpoint": "http://gaussdb.example.com"}, "endpoint", "must begin with https://"),
    ({"endpoint": "http://127.0.0.1.example.com"}, "endpoint", "must begin with https://"),
    ({"endpoint": "gaussdb.example.com"}, "endpoint", "must be a URL such as https://host"),
    ({"endpoint": "ftp://gaussdb.example.com"}, "endpoint", "must be a URL such as https://host"),
    ({"endpoint": "https://user:pw@gaussdb.example.com"}, "endpoint", "without a user, a path"),
    ({"endpoint": "https://gaussdb.example.com/v3"}, "endpoint", "without a user, a path"),
    ({"endpoint": "https://gaussdb.example.com:port"}, "endpoint", "must be a URL such as https://host"),
    ({"region": "cn-north-1"}, "region", "Did you mean cn-north-"),
    ({"region": "eu-west-101"}, "region", "give its endpoint: https://"),
    ({"region": "../x"}, "region", ""),
    ({"project_id": "../../etc"}, "project_id", ""),
    ({"project_id": ""}, "project_id", ""),
    ({"name": "Prod 1"}, "name", ""),
    ({"language": "fr"}, "language", "en-us"),
    ({"paging": "cursor"}, "paging", "auto"),
    ({"first_poll": "maybe"}, "first_poll", "baseline"),
    ({"page_size": 0}, "page_size", ""),
    ({"page_size": 101}, "page_size", ""),
    ({"progress_step": 101}, "progress_step", ""),
    ({"calls_per_minute": 0}, "calls_per_minute", ""),
    ({"poll_every": "0s"}, "poll_every", ""),
    ({"auth": {"kind": "password"}}, "auth", "aksk"),
    ({"auth": {"kind": "aksk", "access_key": "", "secret_key": "s"}}, "access_key", ""),
    ({"auth": {"kind": "aksk", "access_key": "a"}}, "secret_key", "is missing"),
    ({"auth": {"kind": "token", "domain": "d", "username": "u"}}, "password", "is missing"),
    (
        {
            "auth": {
                "kind": "token",
                "domain": "d",
                "username": "u",
                "password": "p",
                "iam_endpoint": "http://iam.example.com",
            }
        },
        "iam_endpoint",
        "must begin with https://",
    ),
    (
        {"auth": {"kind": "ecs_agency", "metadata_url": "169.254.169.254"}},
        "metadata_url",
        "must be a URL such as http://host",
    ),
]


@pytest.mark.parametrize(("changes", "key", "problem"), BAD)
def test_bad_settings_are_refused_at_their_key(changes: dict[str, Any], key: str, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        GaussDBSettings(**(CONFIG | changes))
    (error,) = caught.value.errors()
    assert key in error["loc"]
    assert problem in error["msg"]


# ---- regions ----


@pytest.mark.filterwarnings("ignore::DeprecationWarning:huaweicloudsdkcore")  # not ours to mend
def test_the_regions_are_those_of_the_official_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)  # importing it writes to the home folder otherwise
    from huaweicloudsdkgaussdbforopengauss.v3.region.gaussdbforopengauss_region import (  # noqa: PLC0415
        GaussDBforopenGaussRegion,
    )

    known = {name: region.endpoints[0] for name, region in GaussDBforopenGaussRegion.static_fields.items()}
    assert dict(ENDPOINTS) == known


def test_an_unknown_region_names_the_near_ones_and_the_remedy() -> None:
    with pytest.raises(ConfigurationError) as caught:
        gaussdb_endpoint("cn-nort-4")
    assert str(caught.value) == (
        "no endpoint is known for region 'cn-nort-4'. Did you mean cn-north-4 or cn-north-9 or cn-north-2?"
        " For any other region give its endpoint: https://…"
    )
    with pytest.raises(ConfigurationError, match="Known regions: af-north-1, af-south-1"):
        gaussdb_endpoint("mars")


def test_tokens_come_from_the_regions_own_iam() -> None:
    assert iam_endpoint("cn-north-4") == "https://iam.cn-north-4.myhuaweicloud.com"
    assert iam_endpoint("eu-west-101") == "https://iam.eu-west-101.myhuaweicloud.eu"


def test_the_example_of_a_source_is_valid_json_for_a_program() -> None:
    assert json.loads(GaussDBSettings(**CONFIG).model_dump_json())["poll_every"] == "30s"
