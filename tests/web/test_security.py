"""Requests of other sites, other names of this server, and the headers of responses."""

from __future__ import annotations

import httpx
import pytest
from fakes import FakeClock
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notifier.logs import RejectionLog
from notifier.web.security import (
    CONTENT_SECURITY_POLICY,
    RESPONSE_HEADERS,
    GuardedApplication,
    KnownNames,
    comes_from_elsewhere,
    is_known_host,
    known_names,
)

PUBLIC = known_names("0.0.0.0", "https://notifier.example.com", ["notifier.monitoring.svc"])  # noqa: S104 - a name
LOCAL = known_names("127.0.0.1", None, [])
HOST = {"host": "notifier.example.com"}
METHODS = ("POST", "PUT", "PATCH", "DELETE", "PROPFIND", "post")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({}, True),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "Same-Origin"}, True),
        ({"sec-fetch-site": ""}, True),
        ({"origin": "https://notifier.example.com"}, False),
        ({"origin": "HTTPS://Notifier.Example.com"}, False),
        ({"origin": "https://evil.example.com"}, True),
        ({"origin": "https://notifier.example.com.evil.example"}, True),
        ({"origin": "https://notifier.example.com:8443"}, True),
        ({"origin": "https://evil@notifier.example.com"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://[::1"}, True),
        ({"origin": ""}, True),
        ({"referer": "https://notifier.example.com/"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "https://notifier.example.com"}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://evil.example.com"}, False),
        ({"authorization": "Bearer x"}, False),
        ({"authorization": "bearer x"}, False),
        ({"authorization": "Basic Y2hlbjpwYXNzd29yZA=="}, True),  # which browsers add by themselves
        ({"authorization": "Negotiate x"}, True),
        ({"authorization": "Bearerx"}, True),
        ({"cookie": "notifier=x"}, True),
    ],
)
def test_a_change_must_come_from_a_page_of_ours(method: str, headers: dict[str, str], refused: bool) -> None:  # noqa: FBT001 - a case
    assert comes_from_elsewhere(method, HOST | headers, PUBLIC) is refused


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_may_come_from_anywhere(method: str) -> None:
    assert not comes_from_elsewhere(method, HOST | {"sec-fetch-site": "cross-site"}, PUBLIC)


def test_the_origin_of_the_public_address_counts_behind_a_proxy_that_sends_another_host() -> None:
    headers = {"host": "10.0.0.9:8080", "origin": "https://notifier.example.com"}
    assert not comes_from_elsewhere("POST", headers, PUBLIC)
    assert comes_from_elsewhere("POST", headers | {"origin": "http://notifier.example.com"}, PUBLIC)


@pytest.mark.parametrize(
    ("names", "host", "known"),
    [
        (PUBLIC, "notifier.example.com", True),
        (PUBLIC, "NOTIFIER.example.com.", True),
        (PUBLIC, "notifier.example.com:443", True),
        (PUBLIC, "notifier.monitoring.svc:8080", True),
        (PUBLIC, "10.0.0.9:8080", True),
        (PUBLIC, "[fd00::1]:8080", True),
        (PUBLIC, "localhost:8080", True),
        (PUBLIC, "evil.example.com", False),
        (PUBLIC, "notifier.example.com.evil.example", False),
        (PUBLIC, "evil.example.com#notifier.example.com", False),
        (PUBLIC, "notifier.example.com@evil.example.com", False),
        (PUBLIC, "", False),
        (PUBLIC, "[::1", False),
        (LOCAL, "127.0.0.1:8080", True),
        (LOCAL, "localhost", True),
        (LOCAL, "[::1]:8080", True),
        (LOCAL, "10.0.0.9:8080", False),
        (LOCAL, "127.0.0.1.evil.example", False),
        (LOCAL, "localhost.evil.example", False),
        (known_names("10.0.0.9", None, []), "10.0.0.9:8080", True),
        (known_names("10.0.0.9", None, []), "10.0.0.8:8080", False),
    ],
)
def test_a_request_must_name_this_server(names: KnownNames, host: str, known: bool) -> None:  # noqa: FBT001 - a case
    assert is_known_host(host, names) is known


# ---- the application ----


async def answer(request: Request) -> Response:
    cached = {"Cache-Control": "public, max-age=60"} if request.url.path == "/cached" else {}
    return PlainTextResponse("done", headers=cached)


def client() -> httpx.AsyncClient:
    methods = ["GET", "POST"]
    routes = [Route(path, answer, methods=methods) for path in ("/", "/cached")]
    rejections = RejectionLog("test", logger="test", seconds=FakeClock().monotonic)
    app = GuardedApplication(Starlette(routes=routes), PUBLIC, rejections)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://notifier.example.com")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/", {}, 200),
        ("GET", "/none", {}, 404),
        ("POST", "/", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("POST", "/", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/", {}, 403),
        ("GET", "/", {"Host": "evil.example.com"}, 421),
        ("GET", "/", {"Host": "evil.example.com", "Authorization": "Bearer x"}, 200),
        ("POST", "/", {"Host": "evil.example.com", "Sec-Fetch-Site": "same-origin"}, 421),
    ],
)
async def test_every_response_has_the_headers(method: str, path: str, headers: dict[str, str], status: int) -> None:
    async with client() as http:
        found = await http.request(method, path, headers=headers)
    assert found.status_code == status
    assert {name: found.headers[name] for name in RESPONSE_HEADERS} == RESPONSE_HEADERS
    assert found.headers["Cache-Control"] == "no-store"


async def test_a_program_is_refused_with_a_problem() -> None:
    async with client() as http:
        found = await http.post("/api/v1/mutes")
    assert (found.status_code, found.headers["Content-Type"]) == (403, "application/problem+json")
    assert "API token" in found.json()["detail"]


async def test_what_may_be_cached_stays_so() -> None:
    async with client() as http:
        assert (await http.get("/cached")).headers["Cache-Control"] == "public, max-age=60"


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert "*" not in CONTENT_SECURITY_POLICY
