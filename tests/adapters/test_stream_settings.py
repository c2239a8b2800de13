"""Settings of channels to brokers: servers, logins, destinations, and the extra that a kind needs."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from factories import make_alert, make_event, make_events, make_render_request, open_channel
from pydantic import ValidationError
from streams import send, stream_context

from notifier.channels.cloudevents import CloudEvent, cloud_event
from notifier.channels.kinds import settings_class
from notifier.channels.stream import StreamChannel, fill
from notifier.channels.stream_settings import StreamSettings
from notifier.core.delivery import Parked, Retry
from notifier.http import HttpClient

LOGIN = {"username": "notifier", "password": "obviously-fake-password"}
OWN: dict[str, dict[str, Any]] = {
    "nats": {"subject": "gaussdb.{type}"},
    "kafka": {"topic": "gaussdb"},
    "rabbitmq": {"routing_key": "gaussdb.{type}"},
}


def settings_of(kind: str, **changes: Any) -> StreamSettings:
    values = {"name": "bus", "kind": kind, "servers": ["broker.example.com"], **OWN[kind]} | changes
    settings = settings_class(kind).model_validate(values)
    assert isinstance(settings, StreamSettings)
    return settings


def problem_of(kind: str, **changes: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        settings_of(kind, **changes)
    return "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in caught.value.errors())


@pytest.mark.parametrize("kind", OWN)
class TestEveryKind:
    def test_servers_are_hosts_with_or_without_a_port(self, kind: str) -> None:
        settings = settings_of(kind, servers=["a.example.com", "10.0.0.1:7000", "[2001:db8::1]:7001"])
        port = {"nats": 4222, "kafka": 9092, "rabbitmq": 5671}[kind]
        assert settings.places == (("a.example.com", port), ("10.0.0.1", 7000), ("2001:db8::1", 7001))

    @pytest.mark.parametrize("server", ["nats://a:4222", "a:", "a:0", "a:65536", "a b", "a,b", "user@a", "", "a:1/x"])
    def test_what_is_no_server_is_refused(self, kind: str, server: str) -> None:
        assert "must be a host with a port" in problem_of(kind, servers=[server])

    def test_a_connection_is_encrypted_unless_it_is_said(self, kind: str) -> None:
        assert settings_of(kind).tls
        assert not settings_of(kind, **LOGIN).exposes_secrets
        assert settings_of(kind, **LOGIN, tls=False).exposes_secrets
        assert not settings_of(kind, **LOGIN, tls=False, servers="127.0.0.1:1").exposes_secrets

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({"servers": []}, "servers: must have at least one entry"),
            ({"username": "notifier"}, "password: is missing: a user and a password go together"),
            ({"password": "x"}, "username: is missing: a user and a password go together"),
            ({"format": "batched"}, "must be one of binary, structured"),
            ({"timeout": "1m"}, "must be at most"),
            ({"templates": {"*": "x"}}, "take no templates"),
        ],
    )
    def test_a_wrong_setting_is_refused(self, kind: str, changes: dict[str, Any], problem: str) -> None:
        assert problem in problem_of(kind, **changes)

    def test_a_certificate_without_tls_is_refused(self, kind: str, certificate: Any) -> None:
        assert "ca_file: has no effect without tls" in problem_of(kind, tls=False, ca_file=certificate.authority)

    def test_a_missing_library_is_one_error_with_the_remedy(self, kind: str, tmp_path: Path) -> None:
        settings = settings_class(kind)
        assert issubclass(settings, StreamSettings)
        config = tmp_path / "notifier.yaml"
        own = "".join(f"\n    {key}: '{value}'" for key, value in OWN[kind].items())
        config.write_text(
            "sources:\n  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: p, auth: {kind: ecs_agency}}\n"
            "routes: [{name: all, channels: [bus]}]\nchannels:\n"
            f"  - name: bus\n    kind: {kind}\n    servers: broker.example.com{own}\n"
        )
        program = (
            "import sys\n"
            "from importlib.machinery import PathFinder\n"
            "found = PathFinder.find_spec\n"
            "def find_spec(name, path=None, target=None):\n"
            f"    return None if name == {settings.library!r} else found(name, path, target)\n"
            "PathFinder.find_spec = find_spec\n"
            "from notifier.cli import main\n"
            f"sys.argv = ['notifier', '--config', {str(config)!r}, 'check']\n"
            "main()\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)  # noqa: S603 - ours
        shown = " ".join((done.stdout + done.stderr).split())
        assert done.returncode != 0
        assert f"install the extra {kind}: make extras, or pip install 'gaussdb-notifier[{kind}]'" in shown
        assert "Traceback" not in shown


@pytest.mark.parametrize(
    ("kind", "changes", "problem"),
    [
        ("nats", {"subject": "gaussdb..events"}, "must be a subject"),
        ("nats", {"subject": "gaussdb.*"}, "must be a subject"),
        ("nats", {"subject": "gaussdb.>"}, "must be a subject"),
        ("nats", {"subject": "gauss db"}, "must be a subject"),
        ("nats", {"subject": "{instance}"}, "has no value for {instance}: use {type}, {source} or {severity}"),
        ("nats", {"subject": "a.{type"}, "has a brace without its other one"),
        ("nats", {**LOGIN, "token": "x"}, "token: takes the place of username and password"),
        ("kafka", {"topic": "gauss db"}, "must match"),
        ("kafka", {"sasl_mechanism": "plain"}, "has no effect without username and password"),
        ("rabbitmq", {"routing_key": "{job}"}, "has no value for {job}"),
        ("rabbitmq", {"routing_key": ""}, "must have at least 1 character"),
    ],
)
def test_a_wrong_destination_is_refused(kind: str, changes: dict[str, Any], problem: str) -> None:
    assert problem in problem_of(kind, **changes)


async def test_a_destination_is_filled_in_from_the_event(http: HttpClient) -> None:
    def filled(*events: Any) -> str:
        body = cloud_event(make_render_request(*events), stream_context(http))
        return fill("{source}.{severity}.{type}", CloudEvent.read(body))

    assert filled(make_event()) == "prod.error.task.failed"
    assert filled(*make_events(3)) == "prod.error.digest"
    assert filled(make_event(), make_event(source="test")) == "gaussdb-notifier.error.digest"
    alert = make_alert()
    assert filled(alert) == f"{alert.channel}.error.{alert.type}"


NATS_INFO = (
    b'INFO {"server_id":"A","version":"2.9.10","proto":1,"host":"127.0.0.1","port":4222,"headers":true,'
    b'"max_payload":1048576,"auth_required":true}\r\n'
)


@pytest.mark.parametrize(("kind", "greeting"), [("nats", NATS_INFO), ("kafka", b""), ("rabbitmq", b"")])
async def test_a_server_without_tls_gets_no_password(http: HttpClient, kind: str, greeting: bytes) -> None:
    """It greets in the clear, as somebody in between would who wants to be given the password."""
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        while data := await reader.read(65536):
            heard.extend(data)
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        values = {"name": "bus", "kind": kind, "servers": f"127.0.0.1:{port}", "timeout": "500ms", **OWN[kind], **LOGIN}
        async with aclosing(open_channel(kind, values, stream_context(http))) as channel:
            outcome = await send(channel)
    assert isinstance(outcome, Retry | Parked)
    assert LOGIN["username"].encode() not in heard
    assert LOGIN["password"].encode() not in heard


async def test_what_closes_a_connection_ends_also_where_it_never_begins(http: HttpClient) -> None:
    """As at the end of the program: the task is cancelled before its first step."""

    async def close() -> None:
        raise AssertionError("it does not begin")

    values = {"name": "bus", "kind": "rabbitmq", "servers": ["broker.example.com"], **OWN["rabbitmq"]}
    channel = open_channel("rabbitmq", values, stream_context(http))
    assert isinstance(channel, StreamChannel)
    closing = close()
    channel.abandon(closing)
    (task,) = channel._closing
    task.cancel()
    await asyncio.wait((task,))
    assert inspect.getcoroutinestate(closing) == inspect.CORO_CLOSED
