"""Spans of the program's work, as a collector gets them."""

from __future__ import annotations

import asyncio
import gzip
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from cloud_sources import open_source
from factories import T0, make_task
from fakes import FakeChannel, FakeClock, FakeSource
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from servers.http import HttpServer, reply
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.chat.observed import ObservedResponder
from notifier.chat.requests import CommandRequest
from notifier.config.loading import loads
from notifier.core.delivery import Delivered, GaveUp
from notifier.core.errors import ConfigurationError, SourceError, SourceUnreachable
from notifier.core.model import Scope
from notifier.core.people import Person
from notifier.http import HttpClient
from notifier.service.service import poll_and_deliver
from notifier.store.engine import open_store
from notifier.telemetry.ports import NoTracer, Telemetry
from notifier.web.observed import Observed
from notifier.wiring import telemetry as wiring_telemetry
from notifier.wiring.app import App, open_app
from notifier.wiring.telemetry import check_traces, open_telemetry

PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
CONFIGURATION = f"""
store:
  url: sqlite:///${{FOLDER}}/notifier.db
sources:
  - {{name: prod, kind: gaussdb, region: cn-north-4, project_id: {PROJECT},
     auth: {{kind: aksk, access_key: AKAKAK, secret_key: sksksk}}}}
channels: [{{name: dba, kind: console}}, {{name: mail, kind: console}}]
routes: [{{name: everything, channels: [dba, mail]}}]
telemetry: {{traces: {{url: "${{URL}}", headers: {{Authorization: Bearer obviously-fake}}}}}}
"""
KNOWN_ATTRIBUTES = {
    "poll": {"source", "outcome", "scope", "listed", "events", "error.type"},
    "api.call": {"source", "outcome", "error.type"},
    "plan": set[str](),
    "deliver": {"channel", "outcome", "state", "attempt", "events"},
    "chat.command": {"command", "outcome", "error.type"},
    "http.request": {"http.request.method", "http.route", "http.response.status_code", "error.type"},
}


@dataclass(frozen=True)
class Collected:
    """A span as it arrived."""

    span: Span
    resource: Mapping[str, object]

    @property
    def attributes(self) -> Mapping[str, object]:
        return {one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in self.span.attributes}

    @property
    def failed(self) -> bool:
        return self.span.status.code == Status.STATUS_CODE_ERROR


@dataclass(frozen=True)
class Collector:
    """A receiver of OTLP over HTTP, which decodes what it gets."""

    server: HttpServer

    @property
    def url(self) -> str:
        return self.server.url("/v1/traces")

    def spans(self) -> list[Collected]:
        found = []
        for request in self.server.requests:
            zipped = request.headers.get("content-encoding") == "gzip"
            body = gzip.decompress(request.body) if zipped else request.body
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = {one.key: one.value.string_value for one in group.resource.attributes}
                found += [Collected(span, resource) for scope in group.scope_spans for span in scope.spans]
        return found

    def named(self, name: str) -> list[Collected]:
        return [one for one in self.spans() if one.span.name == name]


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with HttpServer(reply(200, b"")) as server:
        yield Collector(server)


def config_of(url: str, tmp_path: Path, **changes: object) -> Any:
    config = loads(CONFIGURATION, {"URL": url, "FOLDER": str(tmp_path)})
    traces = config.telemetry.traces
    assert traces is not None
    telemetry = config.telemetry.model_copy(update={"traces": traces.model_copy(update=changes)})
    return config.model_copy(update={"telemetry": telemetry})


async def test_a_poll_and_what_follows_are_spans_without_names_from_outside(
    collector: Collector, tmp_path: Path, sqlite_url: str, clock: FakeClock, http: HttpClient
) -> None:
    config = config_of(collector.url, tmp_path)
    dba, mail = FakeChannel("dba"), FakeChannel("mail")
    mail.answer = lambda _: GaveUp("HTTP 400 from https://secret.example/hook")
    source = FakeSource(clock)
    async with aclosing(open_store(sqlite_url, now=clock.now)) as store, open_telemetry(config, ()) as telemetry:
        app = App(
            config=config,
            store=store,
            sources={"prod": source},
            channels={"dba": dba, "mail": mail},
            clock=clock,
            rng=random.Random(1),
            http=http,
            telemetry=telemetry,
        )
        await poll_and_deliver(app)
        source.tasks = [make_task(job_id="secret-job", instance_name="secret-instance", status="failed")]
        clock.advance(timedelta(minutes=1))
        await poll_and_deliver(app)
        source.error = SourceUnreachable("no answer from https://secret.example")
        clock.advance(timedelta(minutes=1))
        await poll_and_deliver(app)
    polls, plans, attempts = (collector.named(name) for name in ("poll", "plan", "deliver"))
    assert [(one.attributes["source"], one.attributes["outcome"], one.failed) for one in polls] == [
        ("prod", "complete", False),
        ("prod", "complete", False),
        ("prod", "unreachable", True),
    ]
    polled = {one.span.span_id for one in polls}
    assert plans
    assert {one.span.parent_span_id for one in plans} <= polled
    outcomes = {(one.attributes["channel"], one.attributes["outcome"], one.failed) for one in attempts}
    assert outcomes == {("dba", "delivered", False), ("mail", "gave-up", True)}
    assert {one.resource["service.name"] for one in collector.spans()} == {"gaussdb-notifier"}
    assert {request.headers["authorization"] for request in collector.server.requests} == {"Bearer obviously-fake"}
    assert "secret" not in str(collector.spans())
    for one in collector.spans():
        assert set(one.attributes) <= KNOWN_ATTRIBUTES[one.span.name]


async def test_an_attempt_has_the_times_that_were_recorded(collector: Collector, tmp_path: Path) -> None:
    async with open_telemetry(config_of(collector.url, tmp_path), ()) as telemetry:
        telemetry.tracer.record("deliver", T0, T0 + timedelta(seconds=2), channel="dba")
    (one,) = collector.spans()
    assert one.span.start_time_unix_nano == int(T0.timestamp()) * 10**9
    assert one.span.end_time_unix_nano - one.span.start_time_unix_nano == 2 * 10**9


async def test_calls_of_the_api_are_parts_of_a_poll_without_addresses(
    collector: Collector, tmp_path: Path, clock: FakeClock, http: HttpClient
) -> None:
    page = b'{"tasks": [], "total_count": 0}'
    async with (
        HttpServer(reply(200, page), reply(200, page), reply(403, b"{}")) as cloud,
        open_telemetry(config_of(collector.url, tmp_path), ()) as telemetry,
    ):
        source = open_source(
            {
                "name": "prod",
                "kind": "gaussdb",
                "region": "cn-north-4",
                "project_id": PROJECT,
                "endpoint": cloud.url(),
                "auth": {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "sksksk"},
            },
            http,
            clock,
            telemetry=telemetry,
        )
        with telemetry.tracer.span("poll", source="prod"):
            await source.fetch(Scope.FULL)
            with pytest.raises(SourceError):
                await source.fetch(Scope.FULL)
    (poll,), calls = collector.named("poll"), collector.named("api.call")
    assert [(one.attributes["outcome"], one.failed) for one in calls] == [
        ("accepted", False),
        ("accepted", False),  # an empty list is read twice
        ("permission_denied", True),
    ]
    assert {one.span.parent_span_id for one in calls} == {poll.span.span_id}
    assert "127.0.0.1" not in str(calls)
    assert PROJECT not in str(calls)


class Answering:
    async def answer(self, request: CommandRequest, *_: object) -> None:
        if request.text == "failed":
            raise RuntimeError("what was typed: secret-instance")


async def test_commands_and_requests_are_spans_by_their_kind(collector: Collector, tmp_path: Path) -> None:
    async def page(_: Request) -> Response:
        return Response(status_code=503)

    async def may() -> bool:
        return True

    bob = Person(id="U1", name="bob")
    async with open_telemetry(config_of(collector.url, tmp_path), ()) as telemetry:
        responder = ObservedResponder(Answering(), telemetry)  # type: ignore[arg-type]  # it answers commands alone
        await responder.answer(CommandRequest(text="instance secret-instance", person=bob), "en", may)
        with pytest.raises(RuntimeError):
            await responder.answer(CommandRequest(text="failed", person=bob), "en", may)
        served = Observed(Starlette(routes=[Route("/tasks/{id}", page)]), telemetry)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(served), base_url="http://127.0.0.1") as client:
            await client.get("/tasks/secret-instance?q=secret-instance")
    commands = [(one.attributes["command"], one.failed) for one in collector.named("chat.command")]
    assert commands == [("describe_instance", False), ("failed", True)]
    (request,) = collector.named("http.request")
    assert request.attributes == {
        "http.request.method": "GET",
        "http.route": "/tasks/{id}",
        "http.response.status_code": 503,
    }
    assert request.failed
    assert "secret-instance" not in str(collector.spans())


async def test_a_share_of_nothing_sends_nothing(collector: Collector, tmp_path: Path) -> None:
    async with open_telemetry(config_of(collector.url, tmp_path, sample=0.0), ()) as telemetry:
        with telemetry.tracer.span("poll", source="prod"):
            pass
    assert collector.spans() == []


async def test_a_collector_that_refuses_costs_the_spans_and_nothing_else(tmp_path: Path) -> None:
    async with HttpServer(reply(400, b"no")) as server:
        config = config_of(server.url("/v1/traces"), tmp_path)
        async with open_telemetry(config, ()) as telemetry:
            with telemetry.tracer.span("poll", source="prod"):
                pass
        (checked,) = await check_traces(config)
    assert (checked.ok, checked.what) == (False, "telemetry.traces")
    assert server.url() not in checked.detail + checked.remedy.replace("http://127.0.0.1:4318", "")


async def test_a_collector_that_answers_is_found_good(collector: Collector, tmp_path: Path) -> None:
    (checked,) = await check_traces(config_of(collector.url, tmp_path))
    assert (checked.ok, checked.detail) == (True, "the collector answers")


async def test_without_its_library_traces_are_a_mistake_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        wiring_telemetry, "find_spec", lambda name: None if name == "opentelemetry" else find_spec(name)
    )
    config = config_of("http://127.0.0.1:9/v1/traces", tmp_path)
    with pytest.raises(ConfigurationError, match="gaussdb-notifier\\[otel\\]"):
        async with open_app(config):
            pass
    (checked,) = await check_traces(config)
    assert not checked.ok
    assert await check_traces(config.model_copy(update={"telemetry": type(config.telemetry)()})) == ()


def test_a_configuration_without_traces_imports_nothing_for_them(tmp_path: Path) -> None:
    """Nor does one without a web server import what counts."""
    program = f"""
import asyncio, sys
from notifier.config.loading import loads
from notifier.wiring.app import open_app
from notifier.wiring.telemetry import open_telemetry
config = loads({CONFIGURATION.partition("telemetry:")[0]!r}, {{"FOLDER": {str(tmp_path)!r}}})
async def main():
    async with open_telemetry(config, ()) as telemetry, open_app(config, telemetry=telemetry):
        print(sorted(name for name in sys.modules if name.startswith(("opentelemetry", "prometheus_client"))))
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.stdout.splitlines()[-1], done.returncode) == ("[]", 0), done.stderr[-800:]


async def test_work_without_a_tracer_is_left_alone() -> None:
    tracer = NoTracer()
    with tracer.span("poll", source="prod") as span:
        span.set(outcome="complete")
        span.fail()
        await asyncio.sleep(0)
    tracer.record("deliver", T0, T0, channel="dba")
    assert replace(Telemetry()).tracer is not None
    assert Delivered().ref is None
