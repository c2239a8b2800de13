"""The REST interface of Roundup's classic tracker, as far as tickets need it, for faults that a real one does not have.

It has the traps of the real one: titles are matched by substrings, a change needs the latest ETag, a change from a
browser needs two more headers, and a message changes the status of a closed ticket unless the same request sets it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl

from servers.http import Request
from servers.tickets import ServedTicket, ServerReply, TicketServer

USER, PASSWORD = "bot", "obviously-fake-password"
STATUSES = ("unread", "deferred", "chatting", "need-eg", "in-progress", "testing", "done-cbb", "resolved")
CLOSED = ("done-cbb", "resolved")


def failed(status: int, message: str) -> ServerReply:
    return ServerReply(status=status, value={"error": {"status": status, "msg": message}})


def data(value: object, status: int = 200) -> ServerReply:
    return ServerReply(status=status, value={"data": value})


class RoundupServer(TicketServer):
    """Knows one user."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.texts: list[dict[str, str]] = []
        """The messages, whose ids are their places from 1 on."""

    def plant(self, key: str) -> ServedTicket:
        return self.open(title=f"theirs [{key}x]", status="unread", messages=[])

    def handle(self, request: Request) -> ServerReply:
        known = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {known}":
            return failed(401, "Invalid Login")
        if request.method != "GET" and not {"x-requested-with", "origin"} <= request.headers.keys():
            return failed(400, "Required Header Missing")
        path, _, query = request.target.partition("?")
        collection, _, number = path.partition("/rest/data/")[2].partition("/")
        sent = json.loads(request.body) if request.body else {}
        if collection == "msg":
            return self._message(sent) if request.method == "POST" else self._messages(dict(parse_qsl(query)))
        if collection == "status":
            return data({"collection": [{"id": str(n), "name": name} for n, name in enumerate(STATUSES, 1)]})
        if request.method == "POST":
            return self._create(sent)
        return self._issue(request.method, number, sent) if number else self._listed(dict(parse_qsl(query)))

    def _message(self, sent: dict[str, str]) -> ServerReply:
        self.texts.append(sent)
        return data({"id": str(len(self.texts))}, 201)

    def _messages(self, query: dict[str, str]) -> ServerReply:
        known = [{"id": str(n), "messageid": text.get("messageid")} for n, text in enumerate(self.texts, 1)]
        return data({"collection": [one for one in known if query["messageid"] in (one["messageid"] or "")]})

    def _create(self, sent: dict[str, Any]) -> ServerReply:
        if not sent.get("title"):
            return failed(400, "Required property title not supplied")
        if sent.get("priority") == "sky-high":
            return failed(400, 'property "priority": sky-high is not a priority.')
        return data({"id": str(self.open(**sent).number)}, 201)

    def _listed(self, query: dict[str, str]) -> ServerReply:
        found = [
            {"id": str(one.number), **self._shown(one)}
            for one in self.found
            if query.get("title", "") in one.fields["title"] and query.get("id") in (None, str(one.number))
        ]
        return data({"collection": found})

    def _issue(self, method: str, number: str, sent: dict[str, Any]) -> ServerReply:
        issue = self.ticket(number)
        if issue is None:
            return failed(404, f"no such issue {number}")
        etag = sha256(repr(issue.fields).encode()).hexdigest()
        if method == "GET":
            return data({"id": number, "attributes": self._shown(issue), "@etag": etag})
        if sent.pop("@etag") != etag:
            return failed(412, "Pre-condition failed")
        if "messages" in sent and issue.closed:
            issue.fields["status"] = "chatting"
        issue.fields |= sent
        issue.comments = [self.texts[int(one) - 1]["content"] for one in issue.fields["messages"][1:]]
        issue.closed = issue.fields["status"] in CLOSED
        return data({"id": number, "attribute": sent})

    def _shown(self, issue: ServedTicket) -> dict[str, Any]:
        status = "resolved" if issue.closed else issue.fields["status"]  # a test may close it as a person does
        return {
            "title": issue.fields["title"],
            "status": {"id": str(STATUSES.index(status) + 1), "name": status},
            "messages": [{"id": one} for one in issue.fields["messages"]],
        }
