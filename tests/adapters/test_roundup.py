"""Tickets in a real Roundup."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

import pytest
from factories import HOSTILE, T0, hostile_event, make_event, make_task, open_channel
from fakes import FakeClock
from memory_tickets import Shop, wait
from servers.roundup import Roundup

from notifier.channels.base import ChannelContext
from notifier.channels.tickets import TicketRefused
from notifier.core.delivery import Delivered, GaveUp, Parked, Skipped
from notifier.core.model import Event, TaskStatus
from notifier.core.tickets import ClosedBy
from notifier.http import HttpClient
from notifier.integrations.roundup.channel import RoundupChannel
from notifier.wording.localizer import Localizer


class Tracker:
    """The tracker as an administrator sees it, with the tickets of one test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen = 0
        self.seen = max([0, *(int(issue["id"]) for issue in self.issues())])

    def request(self, method: str, path: str, values: Mapping[str, object] | None = None) -> Any:
        """Return the data of a reply."""
        parts = urlsplit(self.url)
        headers = {
            "Authorization": f"Basic {b64encode(b'admin:admin').decode()}",
            "X-Requested-With": "rest",
            "Origin": f"{parts.scheme}://{parts.netloc}",
            "Content-Type": "application/json",
        }
        content = json.dumps(values).encode() if values else None
        request = Request(f"{self.url}/rest/data/{path}", content, headers, method=method)  # noqa: S310 - on loopback
        with urlopen(request, timeout=30) as reply:  # noqa: S310 - as above
            return json.load(reply)["data"]

    def issues(self) -> list[dict[str, Any]]:
        """Return the tickets with their titles and the names of their statuses, the oldest first."""
        found = self.request("GET", "issue?@fields=title,status,messages&@verbose=2")["collection"]
        return sorted((one for one in found if int(one["id"]) > self.seen), key=lambda one: int(one["id"]))

    def messages(self, issue: str) -> list[str]:
        """Return the texts of a ticket, in order."""
        linked = self.request("GET", f"issue/{issue}?@fields=messages")["attributes"]["messages"]
        ids = sorted(int(one["id"]) for one in linked)
        return [self.request("GET", f"msg/{id_}/content")["data"] for id_ in ids]

    def delete(self, issue: str) -> None:
        """Delete a ticket."""
        etag = self.request("GET", f"issue/{issue}")["@etag"]
        self.request("PATCH", f"issue/{issue}", {"@op": "action", "@action_name": "retire", "@etag": etag})

    def set_status(self, issue: str, status: str) -> None:
        """Set the status of a ticket, as a person does."""
        etag = self.request("GET", f"issue/{issue}")["@etag"]
        self.request("PUT", f"issue/{issue}", {"status": status, "@etag": etag})


@pytest.fixture
def tracker(roundup: Roundup) -> Tracker:
    return Tracker(roundup.url)


def make_channel(tracker: Tracker, http: HttpClient, clock: FakeClock, **more: object) -> RoundupChannel:
    words = Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
    settings = {
        "name": f"ops-{tracker.seen}",
        "kind": "roundup",
        "url": tracker.url,
        "user": "demo",
        "password": "demo",
    }
    channel = open_channel("roundup", settings | more, ChannelContext(http=http, clock=clock, localizer=words))
    assert isinstance(channel, RoundupChannel)
    return channel


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def shop(tracker: Tracker, http: HttpClient, clock: FakeClock) -> Shop:
    return Shop(make_channel(tracker, http, clock, priority={"error": "urgent"}), clock)


def failure(number: int = 1) -> Event:
    return make_event(make_task(f"job-{number}", ended_at=T0 + timedelta(minutes=number)))


def success(number: int = 9) -> Event:
    ended = T0 + timedelta(minutes=number)
    return make_event(make_task(f"job-{number}", status=TaskStatus.COMPLETED, ended_at=ended))


async def test_one_ticket_from_the_first_failure_to_the_success(shop: Shop, tracker: Tracker) -> None:
    for event in (failure(1), failure(2), failure(3), success()):
        assert isinstance(await shop.attempt(event), Delivered)
    (issue,) = tracker.issues()
    assert issue["title"].startswith("gauss-6568-zzh: instance creation failed [gtb-")
    assert issue["status"]["name"] == "resolved"
    first, second, third, last = tracker.messages(issue["id"])
    assert "The quota of vCPUs is not enough." in first
    assert "job-2" in second
    assert "job-3" in third
    assert "Fixed by job job-9." in last
    attributes = tracker.request("GET", f"issue/{issue['id']}?@verbose=2")["attributes"]
    assert attributes["priority"]["name"] == "urgent"
    assert shop.ticket is not None
    assert (shop.ticket.label, shop.ticket.url) == (f"issue{issue['id']}", f"{tracker.url}/issue{issue['id']}")


async def test_a_comment_leaves_the_status_as_a_person_set_it(shop: Shop, tracker: Tracker) -> None:
    await shop.attempt(failure(1))
    (issue,) = tracker.issues()
    tracker.set_status(issue["id"], "in-progress")
    await shop.attempt(failure(2))
    outcome = await shop.attempt(success())
    assert isinstance(outcome, Delivered)
    assert outcome.reason == f"not closed: somebody has moved issue{issue['id']} to in-progress"
    (issue,) = tracker.issues()
    assert (issue["status"]["name"], len(issue["messages"])) == ("in-progress", 3)


async def test_a_failure_reopens_the_ticket_or_opens_one_that_names_it(
    shop: Shop, tracker: Tracker, clock: FakeClock
) -> None:
    await shop.attempt(failure(1))
    await shop.attempt(success(2))
    wait(clock, 3600)
    await shop.attempt(failure(3))
    (issue,) = tracker.issues()
    assert issue["status"]["name"] == "unread"
    await shop.attempt(success(4))
    wait(clock, 8 * 86_400)
    await shop.attempt(failure(5))
    old, new = tracker.issues()
    assert (old["status"]["name"], new["status"]["name"]) == ("resolved", "unread")
    assert f"see issue{old['id']}" in tracker.messages(new["id"])[0]


async def test_a_ticket_that_a_person_closed_is_left_alone(shop: Shop, tracker: Tracker) -> None:
    await shop.attempt(failure(1))
    (issue,) = tracker.issues()
    tracker.set_status(issue["id"], "done-cbb")
    assert isinstance(await shop.attempt(success(2)), Skipped)
    assert shop.ticket is not None
    assert shop.ticket.closed_by is ClosedBy.PERSON
    await shop.attempt(failure(3))
    assert len(tracker.issues()) == 2


async def test_a_ticket_whose_answer_was_lost_is_found_by_its_key(shop: Shop, tracker: Tracker) -> None:
    delivery = shop.claim(failure(1))
    assert isinstance(await shop.channel.send(delivery), Delivered)  # and the process is killed before it settles
    shop.unknown.add(delivery.id)
    outcome = await shop.attempt(failure(1))
    assert isinstance(outcome, Delivered)
    (issue,) = tracker.issues()
    assert (outcome.ref, len(issue["messages"])) == (issue["id"], 1)


async def test_a_comment_whose_answer_was_lost_is_not_repeated(shop: Shop, tracker: Tracker) -> None:
    await shop.attempt(failure(1))
    delivery = shop.claim(failure(2))
    await shop.channel.send(delivery)
    shop.unknown.add(delivery.id)
    assert isinstance(await shop.attempt(failure(2)), Delivered)
    (issue,) = tracker.issues()
    assert len(issue["messages"]) == 2


async def test_a_key_within_another_one_is_not_taken_for_ours(shop: Shop, tracker: Tracker) -> None:
    channel = shop.channel
    key = "gtb-" + "a" * 20
    tracker.request("POST", "issue", {"title": f"not ours x{key}y", "status": "unread"})
    tracker.request("POST", "issue", {"title": f"ours [{key}]", "status": "unread"})
    found = await channel.find(key, None)
    assert [one.key for one in found] == ["", key]


async def test_a_deleted_ticket_is_followed_by_a_new_one(shop: Shop, tracker: Tracker) -> None:
    await shop.attempt(failure(1))
    (issue,) = tracker.issues()
    tracker.delete(issue["id"])
    await shop.attempt(failure(2))
    (new,) = tracker.issues()
    assert new["id"] != issue["id"]


async def test_a_change_that_another_got_ahead_of_is_tried_again(shop: Shop, tracker: Tracker) -> None:
    await shop.attempt(failure(1))
    (issue,) = tracker.issues()
    channel = shop.channel
    assert isinstance(channel, RoundupChannel)
    tries = []

    def changed(found: object) -> dict[str, object]:
        tries.append(found)
        if len(tries) == 1:
            tracker.set_status(issue["id"], "chatting")
        return {"status": "resolved"}

    assert (await channel._change(issue["id"], changed)).closed
    assert len(tries) == 2


@pytest.mark.parametrize("text", HOSTILE[3:6])
async def test_hostile_text_stays_text(shop: Shop, tracker: Tracker, text: str) -> None:
    assert isinstance(await shop.attempt(hostile_event(text)), Delivered)
    (issue,) = tracker.issues()
    assert "[gtb-" in issue["title"]


class TestRefusals:
    async def test_a_wrong_password_parks_the_channel(
        self, tracker: Tracker, http: HttpClient, clock: FakeClock
    ) -> None:
        shop = Shop(make_channel(tracker, http, clock, password="wrong-secret"), clock)
        outcome = await shop.attempt(failure())
        assert isinstance(outcome, Parked)
        (result,) = await shop.channel.check()
        assert not result.ok
        assert "wrong-secret" not in f"{outcome}{result}"

    async def test_a_value_that_the_tracker_does_not_know_is_given_up(
        self, tracker: Tracker, http: HttpClient, clock: FakeClock
    ) -> None:
        shop = Shop(make_channel(tracker, http, clock, priority="sky-high"), clock)
        outcome = await shop.attempt(failure())
        assert isinstance(outcome, GaveUp)
        assert tracker.issues() == []

    async def test_a_status_that_the_tracker_does_not_have_is_found_by_check(
        self, tracker: Tracker, http: HttpClient, clock: FakeClock
    ) -> None:
        (good,) = await make_channel(tracker, http, clock).check()
        assert good.ok
        channel = make_channel(tracker, http, clock, closed_status="fertig", closed_statuses=["fertig"])
        (result,) = await channel.check()
        assert not result.ok
        assert "fertig" in result.detail
        assert "resolved" in result.remedy

    async def test_a_ticket_that_is_gone_cannot_be_changed(self, shop: Shop) -> None:
        with pytest.raises(TicketRefused):
            await shop.channel.close("4711", "done")
