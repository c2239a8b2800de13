"""Parts of libraries that the program uses though they are private or undocumented.

A release without one of them fails here by its name, and `pyproject.toml` bounds each of these libraries by the first
release that has not been tried.
"""

from __future__ import annotations

import ast
import inspect
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import slack_sdk.socket_mode.aiohttp as socket_mode
import uvicorn.protocols.http.httptools_impl as uvicorn_http
import uvicorn.server
from httptools import HttpParserError, HttpRequestParser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import notifier

CLASSES: dict[str, tuple[type, set[str]]] = {
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
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol": (
        uvicorn_http.HttpToolsProtocol,
        {
            "access_log",
            "client",
            "cycle",
            "flow",
            "headers",
            "logger",
            "parser",
            "pipeline",
            "transport",
            "_unset_keepalive_if_required",
        },
    ),
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle": (
        uvicorn_http.RequestResponseCycle,
        {"disconnected", "keep_alive", "message_event", "response_complete", "response_started"},
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
        (socket_mode.SocketModeClient.connect_to_new_endpoint, ["self", "force"]),
        (socket_mode.SocketModeClient.issue_new_wss_url, ["self"]),
        (socket_mode.SocketModeClient.connect, ["self"]),
        (uvicorn_http.HttpToolsProtocol.__init__, ["self", "config", "server_state", "app_state", "_loop"]),
        (uvicorn_http.HttpToolsProtocol.send_400_response, ["self", "msg"]),
        (uvicorn_http.HttpToolsProtocol.on_message_begin, ["self"]),
        (uvicorn_http.HttpToolsProtocol.on_header, ["self", "name", "value"]),
        (uvicorn_http.HttpToolsProtocol.on_headers_complete, ["self"]),
        (uvicorn_http.HttpToolsProtocol.on_body, ["self", "body"]),
        (uvicorn_http.HttpToolsProtocol.on_message_complete, ["self"]),
        (uvicorn_http.HttpToolsProtocol.on_response_complete, ["self"]),
    ],
)
def test_a_function_that_we_replace_takes_what_we_expect(function: Any, arguments: list[str]) -> None:
    assert list(inspect.signature(function).parameters) == arguments


def test_a_parser_reports_what_becomes_of_a_request() -> None:
    """An error in a callback is an error of the parser, to which uvicorn replies with 400."""

    class Strict:
        def on_headers_complete(self) -> None:
            raise HttpParserError("refused")

    parser = HttpRequestParser(Strict())
    with pytest.raises(HttpParserError):
        parser.feed_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


@pytest.mark.parametrize("library", ["slack-sdk", "uvicorn"])
def test_a_library_with_such_parts_is_bounded(library: str) -> None:
    declared = {found.name: found for found in map(Requirement, requires("gaussdb-notifier") or ())}
    assert any(bound.operator == "<" for bound in declared[library].specifier)


PARTS_OF_DECLARED = {"aiormq": "aio_pika", "markupsafe": "jinja2", "pydantic_core": "pydantic"}
"""Modules that come with a library that is declared."""


def test_every_library_that_the_program_imports_is_declared() -> None:
    """What only the tests install would be missing from an installed program."""
    declared = {found.name for found in map(Requirement, requires("gaussdb-notifier") or ())}
    owners = packages_distributions()
    for path in Path(notifier.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"notifier"}
            for top in tops:
                known = {canonicalize_name(name) for name in owners.get(PARTS_OF_DECLARED.get(top, top), [])}
                assert known & declared, f"{path.name} imports {top}"
