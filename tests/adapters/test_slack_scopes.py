"""The check of the scopes that Slack has granted to the bot."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from servers.slack import HTML_500, TOKEN, Fault, SlackServer, refused, slack_server

from notifier.http import HttpClient
from notifier.integrations.slack.api import WebApi
from notifier.integrations.slack.scopes import SCOPE_COSTS, check, scope_results

EVERY = ",".join(SCOPE_COSTS)


@pytest.fixture
async def slack() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        running.scopes = EVERY
        yield running


@pytest.fixture
async def api(slack: SlackServer) -> AsyncIterator[WebApi]:
    http = HttpClient()
    yield WebApi(http=http, url=slack.api_url, token=TOKEN)
    await http.aclose()


async def test_a_bot_that_may_do_everything_is_well(api: WebApi) -> None:
    (finding,) = await check(api, ["S0DBAS"])
    assert (finding.ok, finding.detail) == (True, "commands, users:read, usergroups:read, im:write")


async def test_groups_are_only_asked_about_where_there_are_any(api: WebApi, slack: SlackServer) -> None:
    slack.scopes = "commands,users:read,im:write"
    assert [finding.ok for finding in await check(api, ["U0ALICE"])] == [True]
    (finding,) = await check(api, ["U0ALICE", "S0DBAS"])
    assert finding.detail.startswith("usergroups:read is missing: of those on the list")


@pytest.mark.parametrize("scope", SCOPE_COSTS)
def test_a_missing_scope_is_reported_with_its_cost_and_remedy(scope: str) -> None:
    granted = SCOPE_COSTS.keys() - {scope}
    (finding,) = scope_results(granted, ["S0DBAS"])
    assert finding.ok is (scope != "commands")
    assert finding.detail == f"{scope} is missing: {SCOPE_COSTS[scope]}"
    assert finding.remedy == f"add the bot scope {scope} under OAuth & Permissions and reinstall the app"


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        (refused("invalid_auth"), "invalid_auth"),
        (HTML_500, "HTTP 500"),
        (
            Fault(then="reset"),
            "connection to 127.0.0.1:PORT lost; if that port speaks TLS, write https:// instead of http://",
        ),
    ],
)
async def test_slack_without_an_answer_proves_nothing(
    api: WebApi, slack: SlackServer, fault: Fault, detail: str
) -> None:
    slack.faults.append(fault)
    (finding,) = await check(api, [])
    assert (finding.ok, finding.detail) == (False, detail.replace("PORT", slack.url.rpartition(":")[2]))


async def test_missing_scope_headers_report_nothing(api: WebApi, slack: SlackServer) -> None:
    slack.faults.append(Fault(body={"ok": True}))
    assert await check(api, []) == ()
