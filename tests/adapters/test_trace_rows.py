"""Rows of the audit log as values, whatever the bytes are."""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from factories import PROJECT_ID
from fakes import FakeClock
from servers.http import HttpServer, reply

from notifier.core.errors import PermissionDenied, RequestRejected
from notifier.core.origins import TraceQuery, TraceRow
from notifier.http import HttpClient
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.traces import (
    MAX_IDS,
    MAX_PERSON_NAME,
    MAX_TRACE_PAGES,
    TRACE_PAGE_SIZE,
    TraceLog,
    decode_trace_page,
    parse_trace,
    query_of,
)

T0 = datetime(2026, 11, 27, 10, 15, 4, tzinfo=UTC)
INSTANCE = "ce2dce50f365430abe161bab79495a6ein14"
JOB = "2b414788a6004883a02390e2eb0ea227"
ROW: dict[str, Any] = {
    "trace_id": "6f1e0c52-1",
    "trace_name": "resizeFlavor",
    "trace_rating": "normal",
    "trace_type": "ConsoleAction",
    "time": 1795774504000,
    "record_time": 1795774551310,
    "service_type": "GaussDB",
    "resource_type": "instance",
    "resource_id": INSTANCE,
    "resource_name": "orders-prod",
    "code": "202",
    "source_ip": "198.51.100.7",
    "request": '{"flavor_ref":"gaussdb.opengauss.ee.c6.4xlarge.x868.ha","password":"S3cret!"}',
    "response": f'{{"job_id":"{JOB}"}}',
    "user": {
        "id": "a2e8",
        "name": "li.wei",
        "user_name": "li.wei",
        "domain": {"id": "05b2", "name": "acme"},
        "principal_urn": "iam::05b2:user:li.wei",
        "principal_is_root_user": "false",
        "access_key_id": "AKIDNOTSTORED",
        "invoked_by": ["service.console"],
    },
}


def read(**changes: object) -> TraceRow:
    found = parse_trace(ROW | changes)
    assert found is not None
    return found


def page(rows: object, marker: object = None) -> bytes:
    return json.dumps({"traces": rows, "meta_data": {"count": 1, "marker": marker}}).encode()


def test_a_documented_row_is_read() -> None:
    found = decode_trace_page(page([ROW], "6f1e")).traces[0]
    assert (found.trace_id, found.name, found.kind, found.at, found.lag) == (
        "6f1e0c52-1",
        "resizeFlavor",
        "ConsoleAction",
        T0,
        timedelta(seconds=47.31),
    )
    assert (found.status, found.resource_id, found.resource_name) == (202, INSTANCE, "orders-prod")
    assert (found.job_ids, found.instance_ids, found.address) == (frozenset({JOB}), frozenset[str](), "198.51.100.7")
    assert found.user is not None
    assert (found.user.name, found.user.principal_urn, found.user.invoked_by) == (
        "li.wei",
        "iam::05b2:user:li.wei",
        ("service.console",),
    )


@pytest.mark.parametrize(
    "response",
    [
        {"job_id": "2B414788-A600-4883-A023-90E2EB0EA227"},
        {"jobId": JOB},
        {"result": [{"job_id": JOB}]},
        json.dumps({"job_id": JOB}),
        json.dumps([{"job": 1}, {"JOB_ID": JOB.upper()}]),
    ],
)
def test_an_answer_is_an_object_or_a_text(response: object) -> None:
    assert read(response=response).job_ids == {JOB}


@pytest.mark.parametrize("response", [None, "", "accepted", "{", 7, [], {}, {"job_id": None}, {"job_id": {"a": 1}}])
def test_an_answer_without_a_job_gives_none(response: object) -> None:
    assert read(response=response).job_ids == frozenset()


def test_a_request_gives_ids_of_instances_and_nothing_else() -> None:
    request = {"source": {"instance_id": INSTANCE.upper(), "backup_id": "b"}, "target": {"targetInstanceId": "in-2"}}
    for sent in (request, json.dumps(request)):
        assert read(request=sent).instance_ids == {INSTANCE, "in2"}
    assert "S3cret!" not in repr(read())
    assert "AKIDNOTSTORED" not in repr(read())


@pytest.mark.parametrize(
    ("code", "status"),
    [("202", 202), (202, 202), (409, 409), ("DBS.200011", None), (None, None), ("", None), (True, None), ("²00", None)],
)
def test_a_code_is_a_number_or_a_text(code: object, status: int | None) -> None:
    assert read(code=code).status == status


@pytest.mark.parametrize("user", [None, {}, [], "", "li.wei", {"id": "1"}, {"name": ["a"]}, 3])
def test_a_row_without_a_name_has_no_user(user: object) -> None:
    assert read(user=user).user is None


def test_a_user_may_be_a_text_with_an_object() -> None:
    found = read(user=json.dumps({"name": "chen", "invoked_by": "service.console"})).user
    assert found is not None
    assert (found.name, found.invoked_by) == ("chen", ("service.console",))


@pytest.mark.parametrize("address", [None, "", "not an address", "198.51.100.7, 10.0.0.1", {"a": 1}])
def test_what_is_no_address_is_left_out(address: object) -> None:
    assert read(source_ip=address).address == ""


@pytest.mark.parametrize(
    "row",
    [None, [], "row", {}, ROW | {"trace_name": ""}, ROW | {"time": None}, ROW | {"time": "soon"}, ROW | {"time": 7}],
)
def test_a_row_without_a_name_or_a_time_is_left_out(row: object) -> None:
    assert parse_trace(row) is None
    assert len(decode_trace_page(page([row, ROW])).traces) == 1


def test_hostile_texts_are_cut_and_cleaned() -> None:
    found = read(
        trace_id="\x1b[31m\x00",
        resource_name="a\nb",
        user={"name": "x" * 10_000, "principal_urn": "iam::1:user:" + "y" * 10_000, "invoked_by": ["s"] * 1_000},
    )
    assert "\x1b" not in found.trace_id
    assert found.resource_name == "a b"
    assert found.user is not None
    assert len(found.user.name) == MAX_PERSON_NAME
    assert found.user.principal_urn == ""  # its end is what names somebody
    assert len(found.user.invoked_by) == 5


def test_ids_are_bounded_in_number_and_depth() -> None:
    many = [{"job_id": f"job-{n}"} for n in range(1_000)]
    assert len(read(response=many).job_ids) == MAX_IDS
    deep: object = {"job_id": JOB}
    for _ in range(100):
        deep = {"next": deep}
    assert read(response=deep).job_ids == frozenset()
    assert read(response="[" * 100_000).job_ids == frozenset()
    assert read(response="{" + " " * 2_000_000 + "}").job_ids == frozenset()


def test_a_page_has_a_marker_or_is_the_last_one() -> None:
    assert decode_trace_page(page([ROW], "m-1")).marker == "m-1"
    nothing: list[object] = [None, "", {}, []]
    for marker in nothing:
        assert decode_trace_page(page([ROW], marker)).marker == ""
    assert decode_trace_page(b'{"traces": null}').traces == ()
    assert len(decode_trace_page(page([ROW] * 500)).traces) == TRACE_PAGE_SIZE


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"<html>", b'{"error_code":"CTS.0001","error_msg":"no"}', b'{"traces":"no"}'],
)
def test_what_is_no_page_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"answer|list"):
        decode_trace_page(body)


def test_an_error_in_the_place_of_rows_is_no_empty_page() -> None:
    with pytest.raises(ValueError, match="is an error"):
        decode_trace_page(b'{"traces": [], "error_code": "CTS.0001", "error_msg": "failed"}')


def test_a_query_has_both_times_in_milliseconds_and_sorted_names() -> None:
    wanted = TraceQuery(start=T0, end=T0 + timedelta(minutes=1), resource_id=INSTANCE)
    assert query_of(wanted, "a/b") == (
        f"from=1795774504000&limit=200&next=a%2Fb&resource_id={INSTANCE}&to=1795774564000&trace_type=system"
    )
    named = query_of(TraceQuery(start=T0, end=T0, trace_name="createManualSnapshot"))
    assert "trace_name=createManualSnapshot" in named
    assert "resource_id" not in named


def test_a_query_keeps_within_the_times_that_the_log_takes() -> None:
    ancient = TraceQuery(start=datetime(1970, 1, 2, tzinfo=UTC), end=datetime(2190, 1, 1, tzinfo=UTC))
    assert query_of(ancient).startswith("from=946656000000&limit=200&to=4102416000000")


# ---- calls ----


def reader(server: HttpServer, http: HttpClient, clock: FakeClock, **changes: Any) -> TraceLog:
    keys = {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "sksksk"}
    config: dict[str, Any] = {
        "name": "prod",
        "kind": "gaussdb",
        "region": "cn-north-4",
        "project_id": PROJECT_ID,
        "auth": keys,
        "started_by": True,
        "cts_endpoint": server.url(""),
    }
    settings = GaussDBSettings(**config | changes)
    return TraceLog(settings, SourceAccess(settings, SourceRuntime(http=http, clock=clock, rng=Random(1))))


WANTED = TraceQuery(start=T0, end=T0, resource_id=INSTANCE)
NO_TRACE = b'{"error_code":"CTS.0013","error_msg":"no trace found"}'


async def test_pages_are_read_to_the_end(http: HttpClient, clock: FakeClock) -> None:
    pages = (page([ROW], "m1"), page([ROW | {"trace_id": "2"}], "m2"), page([]))
    async with HttpServer(*(reply(200, body) for body in pages)) as server:
        log = reader(server, http, clock)
        found = await log.read(WANTED)
        targets = [request.target for request in server.requests]
    assert ([one.trace_id for one in found.traces], found.whole, log.calls) == (["6f1e0c52-1", "2"], True, 3)
    assert ["next=m1" in target for target in targets] == [False, True, False]
    assert all(target.startswith(f"/v3/{PROJECT_ID}/traces?from=") for target in targets)


async def test_a_list_without_end_is_not_whole(http: HttpClient, clock: FakeClock) -> None:
    pages = [reply(200, page([ROW], f"m{n}")) for n in range(MAX_TRACE_PAGES + 2)]
    async with HttpServer(*pages) as server:
        log = reader(server, http, clock)
        found = await log.read(WANTED)
    assert (found.whole, log.calls) == (False, MAX_TRACE_PAGES)


async def test_a_marker_that_stays_ends_the_list(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(200, page([ROW], "m")), reply(200, page([ROW], "m"))) as server:
        log = reader(server, http, clock)
        assert (await log.read(WANTED)).whole
    assert log.calls == 2


async def test_no_trace_found_is_an_empty_list(http: HttpClient, clock: FakeClock) -> None:
    async with HttpServer(reply(404, NO_TRACE)) as server:
        found = await reader(server, http, clock).read(WANTED)
    assert (found.traces, found.whole) == ([], True)


async def test_a_path_that_the_gateway_does_not_know_is_no_empty_list(http: HttpClient, clock: FakeClock) -> None:
    unknown = b'{"error_code":"APIGW.0101","error_msg":"The API does not exist"}'
    async with HttpServer(reply(404, unknown)) as server:
        log = reader(server, http, clock)
        with pytest.raises(RequestRejected):
            await log.read(WANTED)
        (found,) = await log.check()
    assert not found.ok


async def test_a_refusal_names_the_action(http: HttpClient, clock: FakeClock) -> None:
    refusal = reply(403, b'{"error_code":"CTS.0002","error_msg":"no permission"}')
    async with HttpServer(refusal, refusal) as server:
        log = reader(server, http, clock)
        with pytest.raises(PermissionDenied, match="not allowed to list traces"):
            await log.read(WANTED)
        (found,) = await log.check()
    assert (found.ok, log.action in found.detail) == (False, True)


def test_addresses_without_a_search_are_a_mistake() -> None:
    values: dict[str, Any] = {
        "name": "prod",
        "kind": "gaussdb",
        "region": "cn-north-4",
        "project_id": PROJECT_ID,
        "auth": {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "sksksk"},
    }
    assert GaussDBSettings(**values).traces_url == "https://cts.cn-north-4.myhuaweicloud.com"
    with pytest.raises(ValueError, match="started_by: true"):
        GaussDBSettings(**values, started_by_address=True)
