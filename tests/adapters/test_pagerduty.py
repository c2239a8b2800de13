"""Alerts in PagerDuty: what an event says, what a person may do meanwhile, and what a check proves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from memory_tickets import wait
from pydantic import ValidationError
from servers.http import reply
from servers.pagerduty import ROUTING_KEY, PagerDutyServer
from ticket_cases import failure, success
from ticket_desks import ATTACKS, Opened, hostile_texts, opened

from notifier.channels.tickets import Draft
from notifier.core.delivery import Delivered, Parked, Retry, Skipped
from notifier.core.tickets import TicketState
from notifier.integrations.pagerduty.channel import links_of, payload
from notifier.integrations.pagerduty.settings import PagerDutySettings

Desk = Opened[PagerDutyServer]


@asynccontextmanager
async def desk_with(**changes: Any) -> AsyncIterator[Desk]:
    def settings(base: str) -> dict[str, Any]:
        return {"routing_key": ROUTING_KEY, "url": base} | changes

    async with opened("pagerduty", PagerDutyServer, settings) as desk:
        yield desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with desk_with() as found:
        yield found


def sent(desk: Desk) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in desk.server.requests]


async def test_a_failure_triggers_an_alert_with_what_happened() -> None:
    async with desk_with(labels=["dba"], fields={"class": "backup", "group": "gaussdb"}) as desk:
        assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
        (event,) = sent(desk)
        ticket = desk.shop.ticket
        assert ticket is not None
        assert (ticket.ref, ticket.label, ticket.state) == (ticket.key, ticket.key, TicketState.OPEN)
        assert (event["event_action"], event["dedup_key"]) == ("trigger", ticket.key)
        alert = event["payload"]
        assert alert["summary"] == "gauss-6568-zzh: instance creation failed"
        assert (alert["source"], alert["severity"]) == ("gauss-6568-zzh", "error")
        assert (alert["class"], alert["group"]) == ("backup", "gaussdb")
        assert "> The quota of vCPUs is not enough." in alert["custom_details"]["details"]
        assert alert["custom_details"]["labels"] == ["dba"]


async def test_failures_of_one_operation_are_one_alert_that_a_success_resolves(desk: Desk) -> None:
    for event in (failure(1), failure(2), success(3)):
        assert isinstance(await desk.shop.attempt(event), Delivered)
    assert [event["event_action"] for event in sent(desk)] == ["trigger", "trigger", "resolve"]
    assert len({event["dedup_key"] for event in sent(desk)}) == 1
    (alert,) = desk.server.tickets
    assert (alert.closed, len(alert.comments)) == (True, 1)


async def test_a_failure_after_somebody_resolved_the_alert_raises_another(desk: Desk) -> None:
    await desk.shop.attempt(failure(1))
    desk.server.tickets[0].closed = True
    await desk.shop.attempt(failure(2))
    assert [alert.closed for alert in desk.server.tickets] == [True, False]


async def test_a_success_after_somebody_resolved_the_alert_raises_none(desk: Desk) -> None:
    await desk.shop.attempt(failure(1))
    desk.server.tickets[0].closed = True
    await desk.shop.attempt(success(2))
    assert len(desk.server.tickets) == 1
    assert [event["event_action"] for event in desk.server.dropped] == ["resolve"]


async def test_an_alert_that_we_resolved_is_followed_by_one_of_its_own(desk: Desk) -> None:
    for event in (failure(1), success(2), failure(3)):
        await desk.shop.attempt(event)
    first, second = desk.server.tickets
    assert first.fields["dedup_key"] != second.fields["dedup_key"]
    assert "The same operation failed before" in second.fields["payload"]["custom_details"]["details"]


async def test_a_channel_that_never_closes_sends_nothing_for_a_success() -> None:
    async with desk_with(close="never") as desk:
        await desk.shop.attempt(failure(1))
        assert isinstance(await desk.shop.attempt(success(2)), Delivered)
        assert [event["event_action"] for event in sent(desk)] == ["trigger"]


async def test_a_success_without_an_alert_sends_nothing(desk: Desk) -> None:
    assert isinstance(await desk.shop.attempt(success(2)), Skipped)
    assert desk.server.requests == []


@pytest.mark.parametrize(
    ("priority", "severity"), [(None, "error"), ("warning", "warning"), ({"critical": "error"}, "error")]
)
async def test_the_severity_follows_the_event_unless_it_is_configured(priority: object, severity: str) -> None:
    async with desk_with(priority=priority) as desk:
        await desk.shop.attempt(failure(1))
        assert sent(desk)[0]["payload"]["severity"] == severity


def test_what_a_route_names_and_pagerduty_does_not_know_is_left_out() -> None:
    draft = Draft(title="t", description="d", severity="critical", priority="P1")
    assert payload(draft)["severity"] == "critical"
    assert payload(draft)["source"] == "GaussDB notifier"


async def test_too_many_events_pause_the_channel_for_half_a_minute(desk: Desk) -> None:
    desk.server.instead[1] = reply(429, b'{"status": "throttle exceeded"}')
    outcome = await desk.shop.attempt(failure(1))
    assert isinstance(outcome, Retry)
    assert outcome.after
    assert outcome.after.total_seconds() == 30
    wait(desk.clock, 30)
    assert isinstance(await desk.shop.attempt(failure(1)), Delivered)
    assert len(desk.server.tickets) == 1


async def test_a_wrong_key_parks_the_channel_and_is_not_shown() -> None:
    async with desk_with(routing_key="obviously-fake-other-key") as desk:
        outcome = await desk.shop.attempt(failure(1))
        assert isinstance(outcome, Parked)
        assert "check routing_key" in outcome.reason
        assert "obviously-fake" not in repr(outcome)
        found = await desk.check()
        assert (found.ok, found.remedy[:17]) == (False, "check routing_key")


async def test_a_check_raises_no_alert(desk: Desk) -> None:
    found = await desk.check()
    assert (found.ok, found.proven) == (True, False)
    assert desk.server.tickets == []
    assert [event["event_action"] for event in desk.server.dropped] == ["resolve"]


@pytest.mark.parametrize("text", ATTACKS)
def test_text_from_outside_is_plain_and_within_limits(text: str) -> None:
    stored = hostile_texts("pagerduty", {"routing_key": ROUTING_KEY}, text)
    assert 0 < len(stored["title"]) <= 1_024
    assert "\n" not in stored["title"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"priority": "P1"}, "must be one of critical, error"),
        ({"closed_by_hand": "reopen"}, "must be one of new"),
        ({"reopen_within": "1d"}, "is never opened again"),
        ({"close": "untouched"}, "must be one of always"),
        ({"fields": {"summary": "x"}}, "cannot set summary"),
        ({"url": "http://events.example.com"}, "https"),
    ],
)
def test_settings_without_effect_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        PagerDutySettings.model_validate({"name": "pager", "routing_key": ROUTING_KEY} | changes)


def test_an_alert_links_to_the_page_before_the_console() -> None:
    draft = Draft(
        title="t", description="d", url="https://console.example.com/", page="https://notifier.example.com/tasks/prod/1"
    )
    found = links_of(draft, "prod-orders")
    assert found["client_url"] == draft.page
    assert [(link["href"], link["text"]) for link in found["links"]] == [
        (draft.page, "GaussDB notifier"),
        (draft.url, "prod-orders"),
    ]
    assert links_of(Draft(title="t", description="d"), "prod-orders") == {}
    assert links_of(Draft(title="t", description="d", page=f"https://{'x' * 1_000}"), "prod-orders") == {}
