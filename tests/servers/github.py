"""A GitHub with the issues of some repositories, in the form of version 2022-11-28 of its REST API.

It has the traps of the service: pull requests in the list of issues, labels and assignees that are dropped without a
word where the user may not push, rate limits as 403, 404 where a right is missing, and comments that are listed the
oldest first, 100 on a page.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from servers.http import Request
from servers.tickets import ServedTicket, ServerReply, TicketServer

TOKEN = "github_pat_obviously-fake"
API = "/api/v3"
BODY_LIMIT = 65_536


def refused(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> ServerReply:
    value = {"message": message, "documentation_url": "https://docs.github.com/rest", "status": str(status)}
    return ServerReply(status=status, value=value | more, headers=headers or {})


def invalid(field: str, code: str = "invalid") -> ServerReply:
    errors = [{"resource": "Issue", "field": field, "code": code}]
    return refused(422, "Validation Failed", errors=errors)


class GitHubServer(TicketServer):
    """Knows one token, and the repositories of `repositories`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.repositories: dict[str, dict[str, Any]] = {"acme/ops": {}, "acme/urgent": {}}
        """Their properties: `archived`, `has_issues`, `moved_to`."""
        self.may_push = True
        self.may_write = True
        self.locked = False
        self.limits: list[ServerReply] = []
        """Replies to the next requests, in place of what they ask for."""
        self.headers: dict[str, str] = {}

    def plant(self, key: str) -> ServedTicket:
        self.open_pull_request(key)
        return self.open(repository="acme/ops", title="theirs", body=f"text\n\n<!-- {key} -->", labels=[], assignees=[])

    def open_pull_request(self, key: str) -> None:
        """Have a pull request, which uses up a number, with a key in its text."""
        self.pull_request = {"number": 9_000, "state": "open", "title": "a change", "body": f"<!-- {key} -->"}
        self.pull_request["pull_request"] = {"url": "https://api.github.com/repos/acme/ops/pulls/9000"}

    pull_request: dict[str, Any] | None = None

    def handle(self, request: Request) -> ServerReply:
        if self.limits:
            return self.limits.pop(0)
        if "user-agent" not in request.headers:
            return refused(403, "Request forbidden by administrative rules: no User-Agent header")
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return refused(401, "Bad credentials")
        path, _, query = request.target.partition("?")
        assert path.startswith(f"{API}/repos/")
        owner, name, *rest = path.removeprefix(f"{API}/repos/").split("/")
        repository = f"{owner}/{name}"
        return self._out_of_reach(repository, rest) or (
            self._issues(request, repository, rest[1:], dict(parse_qsl(query)))
            if rest
            else self._repository(repository)
        )

    def _out_of_reach(self, repository: str, rest: list[str]) -> ServerReply | None:
        known = self.repositories.get(repository)
        if known is None:
            return refused(404, "Not Found")
        if moved := known.get("moved_to"):
            return refused(301, "Moved Permanently", {"Location": f"{API}/repositories/{moved}"})
        if rest and known.get("has_issues") is False:
            return refused(410, "Issues are disabled for this repo")
        return None

    def _repository(self, repository: str) -> ServerReply:
        rights = {"pull": True, "push": self.may_push}
        value = {"full_name": repository, "has_issues": True, "permissions": rights} | self.repositories[repository]
        return ServerReply(value=value, headers=self.headers)

    def _issues(self, request: Request, repository: str, path: list[str], query: dict[str, str]) -> ServerReply:
        method, sent = request.method, json.loads(request.body) if request.body else {}
        if method != "GET" and not self.may_write:
            return refused(403, "Resource not accessible by personal access token")
        if not path:
            return self._create(repository, sent) if method == "POST" else self._listed(repository, query)
        issue = self.ticket(path[0])
        if issue is None or issue.fields["repository"] != repository:
            return refused(404, "Not Found")
        if gone := issue.fields.get("gone"):
            return refused(gone, "Moved Permanently" if gone == 301 else "This issue was deleted")
        if len(path) > 1:
            return self._comment(issue, sent["body"]) if method == "POST" else self._comments(issue, query)
        if method == "PATCH":
            issue.closed = sent["state"] == "closed"
            issue.fields["closed_at"] = f"{self._now():%Y-%m-%dT%H:%M:%SZ}"
            issue.fields["state_reason"] = sent.get("state_reason") if issue.closed else "reopened"
        return ServerReply(value=self.shown(issue))

    def _create(self, repository: str, sent: dict[str, Any]) -> ServerReply:
        if not sent.get("title"):
            return invalid("title", "missing_field")
        if len(sent["title"]) > 256 or len(sent.get("body", "")) > BODY_LIMIT:
            return invalid("body", "too_long")
        if "nobody" in sent.get("assignees", ()):
            return invalid("assignees")
        dropped: dict[str, Any] = {} if self.may_push else {"labels": [], "assignees": []}
        fields = {"labels": [], "assignees": [], **sent, **dropped, "repository": repository}
        return ServerReply(status=201, value=self.shown(self.open(**fields)))

    def _listed(self, repository: str, query: dict[str, str]) -> ServerReply:
        label = query.get("labels")
        found = [
            self.shown(issue)
            for issue in self.found[::-1]
            if issue.fields["repository"] == repository
            and (label is None or label in issue.fields["labels"])
            and (query.get("state") == "all" or not issue.closed)
        ]
        changes = [self.pull_request] if self.pull_request and label is None else []
        return ServerReply(value=[*changes, *found][: int(query.get("per_page", 30))], headers=self.headers)

    def _comment(self, issue: ServedTicket, body: str) -> ServerReply:
        if self.locked:
            return refused(403, "Unable to create comment because issue is locked.")
        if len(body) > BODY_LIMIT:
            return invalid("body", "too_long")
        issue.comments.append(body)
        return ServerReply(status=201, value={"id": len(issue.comments), "body": body})

    def _comments(self, issue: ServedTicket, query: dict[str, str]) -> ServerReply:
        size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
        last = -(-len(issue.comments) // size)
        value = [{"id": n, "body": body} for n, body in enumerate(issue.comments)][(page - 1) * size : page * size]
        links = f'<https://api.github.com/x?per_page={size}&page={last}>; rel="last"'
        return ServerReply(value=value, headers={"Link": links} if page < last else {})

    def shown(self, issue: ServedTicket) -> dict[str, Any]:
        """Return an issue as the API writes it."""
        fields, repository = issue.fields, issue.fields["repository"]
        return {
            "number": issue.number,
            "html_url": f"https://github.com/{repository}/issues/{issue.number}",
            "state": "closed" if issue.closed else "open",
            "state_reason": fields.get("state_reason"),
            "title": fields["title"],
            "body": fields["body"],
            "labels": [{"id": 1, "name": label} for label in fields["labels"]],
            "assignees": [{"login": login} for login in fields["assignees"]],
            "comments": len(issue.comments),
            "closed_at": fields.get("closed_at") if issue.closed else None,
        }
