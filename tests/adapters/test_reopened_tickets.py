"""A ticket that is solved, fails again and is solved again, while each request of that is lost, refused or repeated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from servers.github import TOKEN as GITHUB_TOKEN
from servers.github import GitHubServer
from servers.gitlab import TOKEN as GITLAB_TOKEN
from servers.gitlab import GitLabServer
from servers.tickets import Fault, TicketServer
from servers.zendesk import TOKEN as ZENDESK_TOKEN
from servers.zendesk import USER, ZendeskServer
from ticket_cases import FAULTS, Desk, failure, success
from ticket_desks import opened

from notifier.core.delivery import Delivered, Skipped

STORY = (failure(1), success(2), failure(3), failure(4), success(5))
COMMENTS = 4

Make = Callable[[Callable[[], datetime]], TicketServer]
KINDS: dict[str, tuple[Make, dict[str, Any]]] = {
    "github": (GitHubServer, {"token": GITHUB_TOKEN, "project": "acme/ops"}),
    "gitlab": (GitLabServer, {"token": GITLAB_TOKEN, "project": "acme/ops"}),
    "zendesk": (ZendeskServer, {"user": USER, "token": ZENDESK_TOKEN}),
}


async def requests_of(kind: str, fault: tuple[int, Fault] | None = None) -> int:
    """Let the story happen, with a fault of one request. Return the number of requests."""
    make, settings = KINDS[kind]
    async with opened(kind, make, lambda base: settings | {"url": base}) as found:
        desk = Desk(shop=found.shop, server=found.server)
        if fault:
            desk.server.faults[fault[0]] = fault[1]
        for event in STORY:
            assert isinstance(await desk.settle(event), Delivered | Skipped)
        assert desk.state() == [(True, COMMENTS)], fault
        return len(desk.server.requests)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_fault_makes_a_second_ticket_or_comment(kind: str) -> None:
    for number in range(1, await requests_of(kind) + 1):
        for fault in FAULTS:
            await requests_of(kind, (number, fault))
