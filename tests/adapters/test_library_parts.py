"""Parts of libraries that the program uses though they are private or undocumented.

A release without one of them fails here by its name, and `pyproject.toml` bounds each of these libraries by the first
release that has not been tried.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib.metadata import requires
from types import ModuleType
from typing import Any

import aiohttp
import h11
import pytest
import slack_sdk.socket_mode.aiohttp as socket_mode
import uvicorn.protocols.http.h11_impl as uvicorn_http
import uvicorn.server
from aiohttp import base_protocol, client_proto, connector
from aiohttp.http import HttpVersion11, RawResponseMessage
from aiohttp.streams import StreamReader
from httpx_aiohttp import AiohttpTransport
from multidict import CIMultiDict, CIMultiDictProxy
from packaging.requirements import Requirement

CLASSES: dict[str, tuple[type, set[str]]] = {
    "aiohttp.client_proto.ResponseHandler": (
        client_proto.ResponseHandler,
        {
            "_parser",
            "_payload",
            "_tail",
            "_upgraded",
            "_loop",
            "transport",
            "set_exception",
            "feed_data",
            "force_close",
        },
    ),
    "aiohttp.connector.BaseConnector": (connector.BaseConnector, {"_factory", "_loop"}),
    "slack_sdk.socket_mode.aiohttp.SocketModeClient": (
        socket_mode.SocketModeClient,
        {
            "aiohttp_client_session",
            "auto_reconnect_enabled",
            "closed",
            "connect_operation_lock",
            "current_session",
            "proxy",
            "wss_uri",
        },
    ),
    "uvicorn.protocols.http.h11_impl.H11Protocol": (
        uvicorn_http.H11Protocol,
        {"access_log", "client", "conn", "cycle", "logger", "transport", "_unset_keepalive_if_required"},
    ),
    "uvicorn.protocols.http.h11_impl.RequestResponseCycle": (
        uvicorn_http.RequestResponseCycle,
        {"disconnected", "message_event", "response_complete"},
    ),
    "uvicorn.server.ServerState": (uvicorn.server.ServerState, {"connections", "tasks"}),
}


def mentioned(part: type) -> set[str]:
    """Return the names of methods and attributes that a class and its bases set or have."""
    found: set[str] = set()
    for base in part.__mro__[:-1]:
        found |= set(vars(base))
        try:
            tree = ast.parse(inspect.getsource(base).lstrip())
        except (OSError, TypeError):  # written in C
            continue
        targets = (
            node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        )
        found |= {node.attr for node in targets}
    return found


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_the_parts_that_we_use(name: str) -> None:
    part, used = CLASSES[name]
    assert used - mentioned(part) == set(), name


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (connector.BaseConnector.connect, ["self", "req", "traces", "timeout"]),
        (client_proto.ResponseHandler.__init__, ["self", "loop"]),
        (socket_mode.SocketModeClient.connect_to_new_endpoint, ["self", "force"]),
        (socket_mode.SocketModeClient.issue_new_wss_url, ["self"]),
        (socket_mode.SocketModeClient.connect, ["self"]),
        (uvicorn_http.H11Protocol.__init__, ["self", "config", "server_state", "app_state", "_loop"]),
        (uvicorn_http.H11Protocol.send_400_response, ["self", "msg"]),
        (uvicorn_http.H11Protocol.on_response_complete, ["self"]),
    ],
)
def test_a_function_that_we_replace_takes_what_we_expect(function: Any, arguments: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == arguments


def test_what_a_parser_hands_over_can_be_made() -> None:
    """`RawResponseMessage` is made by position: it is written in C."""
    headers = CIMultiDictProxy(CIMultiDict([("A", "b")]))
    message = RawResponseMessage(HttpVersion11, 200, "", headers, ((b"A", b"b"),), True, None, False, False)  # noqa: FBT003
    assert (message.code, message.headers, message.should_close) == (200, headers, True)
    assert {"feed_data", "feed_eof", "is_eof", "set_exception"} <= set(dir(StreamReader))


@pytest.mark.parametrize("module", [client_proto, base_protocol])
def test_no_more_is_asked_of_a_parser_than_ours_can_do(module: ModuleType) -> None:
    asked = set(re.findall(r"self\._parser\.(\w+)", inspect.getsource(module)))
    assert asked <= {"feed_data", "feed_eof", "pause_reading"}


async def test_a_connector_makes_its_protocols_with_our_factory() -> None:
    made = aiohttp.TCPConnector()
    assert isinstance(made._factory(), client_proto.ResponseHandler)
    await made.close()


def test_the_transport_for_httpx_asks_for_a_session_late() -> None:
    """`AiohttpTransport` takes a function that returns a session: a session needs a running loop."""
    assert "client" in inspect.signature(AiohttpTransport.__init__).parameters
    assert "callable(self.client)" in inspect.getsource(AiohttpTransport.get_client)


def test_h11_reports_the_state_of_a_connection() -> None:
    connection = h11.Connection(h11.SERVER)
    assert (connection.their_state, connection.our_state) == (h11.IDLE, h11.IDLE)
    assert connection.trailing_data == (b"", False)


@pytest.mark.parametrize("library", ["aiohttp", "httpx-aiohttp", "slack-sdk", "uvicorn", "h11"])
def test_a_library_with_such_parts_is_bounded(library: str) -> None:
    declared = {found.name: found for found in map(Requirement, requires("gaussdb-notifier") or ())}
    assert any(bound.operator == "<" for bound in declared[library].specifier)
