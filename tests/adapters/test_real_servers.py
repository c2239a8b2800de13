"""The real servers that tests of channels talk to: that they start, and speak as those tests expect."""

from __future__ import annotations

import base64
import json
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from servers.roundup import Roundup
from servers.synapse import Synapse


def ask_roundup(roundup: Roundup, method: str, path: str, body: object = None, user: str = "admin") -> tuple[int, str]:
    """Call Roundup's REST interface; return the status and the body."""
    origin = roundup.url.removesuffix("/tracker")
    headers = {
        "Authorization": "Basic " + base64.b64encode(f"{user}:{user}".encode()).decode(),
        "X-Requested-With": "rest",
        "Origin": origin,
        "Content-Type": "application/json",
    }
    content = None if body is None else json.dumps(body).encode()
    request = Request(f"{roundup.url}/rest/data/{path}", content, headers, method=method)  # noqa: S310 - on loopback
    try:
        with urlopen(request, timeout=30) as reply:  # noqa: S310 - as above
            return reply.status, reply.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_roundup_takes_an_issue_once(roundup: Roundup) -> None:
    status, made = ask_roundup(roundup, "POST", "issue/@poe", {})
    assert status == 200
    once = json.loads(made)["data"]["link"].partition("/rest/data/")[2]
    issue = {"title": "orders-prod: backup failed [gtb-1]", "status": "unread", "priority": "urgent"}
    assert [ask_roundup(roundup, "POST", once, issue, user="admin")[0] for _ in "ab"] == [201, 400]
    status, found = ask_roundup(roundup, "GET", "issue?title=gtb-1&@fields=title,status", user="demo")
    assert status == 200
    assert [one["title"] for one in json.loads(found)["data"]["collection"]] == [issue["title"]]


def test_roundup_keeps_its_data_over_a_restart(roundup: Roundup) -> None:
    status, made = ask_roundup(roundup, "POST", "issue", {"title": "kept"})
    assert status == 201
    roundup.process.restart()
    number = json.loads(made)["data"]["id"]
    assert ask_roundup(roundup, "GET", f"issue/{number}")[0] == 200


def test_synapse_takes_a_message_once(synapse: Synapse) -> None:
    bot, reader = synapse.register("bot-of-this-test"), synapse.register("reader-of-this-test")
    room = synapse.make_room(bot, reader)
    path = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/gtb-1"
    message = {"msgtype": "m.notice", "body": "failed", "m.mentions": {}}
    first, again = (synapse.call("PUT", path, message, bot)["event_id"] for _ in "ab")
    assert first == again
    assert synapse.call("GET", f"/_matrix/client/v3/rooms/{room}/event/{first}", user=reader)["content"] == message
    with pytest.raises(AssertionError, match="401"):
        synapse.call("GET", "/_matrix/client/v3/account/whoami")
