"""The list of an account's projects: what is asked, in which order, and what is made of the answers."""

from __future__ import annotations

import json
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fakes import FakeClock
from servers.http import Answer, HttpServer, reply

from notifier.core.errors import CredentialsRejected, PermissionDenied, SourceError
from notifier.core.projects import ProjectListing
from notifier.discovery import NO_PROJECTS
from notifier.http import HttpClient
from notifier.sources.access import SourceRuntime
from notifier.sources.account_settings import GaussDBAccountSettings
from notifier.sources.huawei_auth import login_body
from notifier.sources.iam import PROJECTS_PER_PAGE, AccountReader, read_projects
from notifier.wording.localizer import Localizer

AKSK = {"kind": "aksk", "access_key": "AK", "secret_key": "obviously-fake"}
TOKEN = {"kind": "token", "domain": "acme", "username": "u", "password": "obviously-fake"}
FORBIDDEN = reply(403, b'{"error_msg": "no permission", "error_code": "IAM.0002"}')
MISSING = reply(404, b'{"error_msg": "no such API", "error_code": "APIGW.0101"}')


def row(number: int = 1, **fields: Any) -> dict[str, Any]:
    listed = {"id": f"{number:032x}", "name": f"cn-north-4_{number}", "enabled": True, "is_domain": False}
    return listed | {"domain_id": "d", "parent_id": "p", "description": "", "links": {"self": "https://iam"}} | fields


def listing(*rows: object, following: str | None = None) -> Answer:
    return reply(200, json.dumps({"projects": rows, "links": {"self": "x", "next": following}}).encode())


def open_reader(server: HttpServer, http: HttpClient, auth: dict[str, Any] = AKSK) -> AccountReader:
    settings = GaussDBAccountSettings.model_validate(
        {"name": "acme", "kind": "gaussdb_account", "auth": auth, "iam_endpoint": server.url("")}
    )
    return AccountReader(settings, SourceRuntime(http=http, clock=FakeClock(), rng=Random(1)))


def asked(server: HttpServer) -> list[str]:
    return [request.target for request in server.requests]


async def test_the_projects_of_the_user_are_listed_by_one_signed_call(http: HttpClient) -> None:
    async with HttpServer(listing(row(1), row(2, enabled=False), row(3, name="MOS"))) as server:
        reader = open_reader(server, http)
        assert await reader.read() == [
            ProjectListing(id=f"{1:032x}", name="cn-north-4_1"),
            ProjectListing(id=f"{2:032x}", name="cn-north-4_2", enabled=False),
            ProjectListing(id=f"{3:032x}", name="MOS"),
        ]
        assert (asked(server), reader.calls) == (["/v3/auth/projects"], 1)
        headers = server.requests[0].headers
    assert headers["authorization"].startswith("SDK-HMAC-SHA256 Access=AK")
    assert "x-project-id" not in headers


@pytest.mark.parametrize("first", [FORBIDDEN, MISSING, listing(row(1), following="https://iam/next")])
async def test_otherwise_those_of_the_account_are_listed_in_pages(http: HttpClient, first: Answer) -> None:
    full = listing(*map(row, range(PROJECTS_PER_PAGE)))
    async with HttpServer(first, full, listing(row(PROJECTS_PER_PAGE), row(1))) as server:
        found = await open_reader(server, http).read()
        assert asked(server) == [
            "/v3/auth/projects",
            f"/v3/projects?page=1&per_page={PROJECTS_PER_PAGE}",
            f"/v3/projects?page=2&per_page={PROJECTS_PER_PAGE}",
        ]
    assert len(found) == len({one.id for one in found}) == PROJECTS_PER_PAGE + 1


async def test_a_service_without_pages_is_asked_no_further(http: HttpClient) -> None:
    full = listing(*map(row, range(PROJECTS_PER_PAGE)))
    async with HttpServer(MISSING, full) as server:
        assert len(await open_reader(server, http).read()) == PROJECTS_PER_PAGE
        assert len(server.requests) == 3


async def test_the_missing_right_is_named(http: HttpClient) -> None:
    async with HttpServer(FORBIDDEN) as server:
        with pytest.raises(PermissionDenied) as caught:
            await open_reader(server, http).read()
        (finding,) = await open_reader(server, http).check()
    remedy = "Grant the user IAM ReadOnlyAccess (action iam:projects:listProjects)."
    assert str(caught.value).startswith("source acme: not allowed to list projects")
    assert str(caught.value).endswith(remedy)
    assert (finding.ok, finding.what) == (False, "source acme")
    assert remedy in finding.detail


async def test_a_refused_key_is_not_tried_on_the_other_list(http: HttpClient) -> None:
    async with HttpServer(reply(401, b'{"error_msg": "aksk signature", "error_code": "APIGW.0301"}')) as server:
        with pytest.raises(CredentialsRejected):
            await open_reader(server, http).read()
        assert len(server.requests) == 1


async def test_a_password_gets_a_token_of_the_whole_account(http: HttpClient) -> None:
    issued = reply(201, b'{"token": {}}', {"X-Subject-Token": "token-of-the-account"})
    async with HttpServer(issued, listing(row(1))) as server:
        assert len(await open_reader(server, http, TOKEN).read()) == 1
        login, read = server.requests
    assert (login.target, login.body) == (
        "/v3/auth/tokens?nocatalog=true",
        login_body("acme", "u", "obviously-fake", ""),
    )
    assert json.loads(login.body)["auth"]["scope"] == {"domain": {"name": "acme"}}
    assert read.headers["x-auth-token"] == "token-of-the-account"


async def test_a_check_says_how_many_projects_there_are(http: HttpClient) -> None:
    rows = (row(1), row(2), row(3, name="cn-east-3"), row(4, name="MOS"), row(5, enabled=False))
    async with HttpServer(listing(*rows)) as server:
        (finding,) = await open_reader(server, http).check()
    assert (finding.ok, finding.detail) == (True, "projects listed: 3, in cn-east-3, cn-north-4")


@pytest.mark.parametrize(
    "wrong",
    [None, [], "text", {"name": "cn-north-4"}, row(id=1), row(id=""), row(id="a b"), row(id="../x"), row(name=None)],
)
def test_a_row_that_is_no_project_is_passed_over(wrong: object) -> None:
    found, complete = read_projects(json.dumps({"projects": [wrong, row(1)]}).encode())
    assert ([one.id for one in found], complete) == ([f"{1:032x}"], True)


def test_names_hold_nothing_that_would_harm_a_terminal_or_a_database() -> None:
    (found,), _ = read_projects(json.dumps({"projects": [row(name="cn-north-4_\x00\x1b[31m" + "x" * 999)]}).encode())
    assert found.name.isprintable()
    assert len(found.name) <= 255


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"projects": {}}', b"<html>", b"[" * 100_000])
async def test_another_answer_is_an_error_and_no_empty_list(http: HttpClient, body: bytes) -> None:
    async with HttpServer(reply(200, body)) as server:
        with pytest.raises(SourceError):
            await open_reader(server, http).read()


@pytest.mark.parametrize(
    "reason",
    [
        (
            "source acme: not allowed to list projects (HTTP 403; IAM.0002)."
            " Grant the user IAM ReadOnlyAccess (action iam:projects:listProjects)."
        ),
        "source acme: the answer is not a project list. Check endpoint if this lasts.",
        NO_PROJECTS,
    ],
)
def test_reasons_have_a_chinese_form(reason: str) -> None:
    shown = Localizer(language="zh", timezone=ZoneInfo("UTC")).reason(reason)
    assert "project" not in shown.replace("iam:projects:listProjects", "")
    assert "。" in shown
