"""A GitLab with the issues of some projects, in the form of version 4 of its REST API.

It has the traps of the service: lines that begin with a slash are commands, people are mentioned in titles as well,
labels and assignees are dropped without a word below the role Reporter, 404 means a missing right too, `iid` is not
`id`, and a rate limit may be plain text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from servers.http import Request
from servers.tickets import ServedTicket, ServerReply, TicketServer
from servers.tracker import Asked

TOKEN = "glpat-obviously-fake"
API = "/api/v4"
REPORTER, GUEST = 20, 10

_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def refused(status: int, message: Any, **more: Any) -> ServerReply:
    return ServerReply(status=status, value={"message": message} | more)


class GitLabServer(TicketServer):
    """Knows one token, the projects of `projects`, and the user `ann`, who has the id 7."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.projects: dict[str, dict[str, Any]] = {"acme/ops": {}, "acme/urgent": {}, "42": {}}
        """Their properties, such as `archived`."""
        self.level: int | None = REPORTER
        self.token: dict[str, Any] | None = {"scopes": ["api"], "expires_at": "2026-12-31", "active": True}
        """What the token may learn of itself; None: nothing."""
        self.not_modified = False
        """Whether a change of a state to what it is already has the status 304."""
        self.commands: list[str] = []
        """Commands that texts have given."""
        self.mentioned: list[str] = []
        """People and groups that texts have mentioned."""

    def plant(self, key: str) -> ServedTicket:
        return self.open(project="acme/ops", title="theirs", description=f"text\n\n<!-- {key} -->", labels=[], users=[])

    def handle(self, request: Request) -> ServerReply:
        asked = Asked.of(request)
        assert asked.path.startswith(f"{API}/")
        if asked.headers.get("private-token") != TOKEN:
            return refused(401, "401 Unauthorized")
        path = asked.path.removeprefix(f"{API}/")
        if path == "personal_access_tokens/self":
            return ServerReply(value=self.token) if self.token else refused(404, "404 Not Found")
        if path == "users":
            known = asked.query["username"].casefold() == "ann"
            return ServerReply(value=[{"id": 7, "username": "ann"}] if known else [])
        project, _, rest = path.removeprefix("projects/").partition("/issues")
        return self._in_project(asked, project, None if path.endswith(project) else rest.strip("/").split("/"))

    def _in_project(self, asked: Asked, project: str, rest: list[str] | None) -> ServerReply:
        known = self.projects.get(project)
        if known is None:
            return refused(404, "404 Project Not Found")
        if rest is None:
            access = None if self.level is None else {"access_level": self.level}
            rights = {"project_access": access, "group_access": None}
            return ServerReply(value={"id": 42, "path_with_namespace": project, "permissions": rights} | known)
        if rest == [""]:
            return self._create(project, asked.body) if asked.method == "POST" else self._listed(project, asked)
        issue = self.ticket(rest[0])
        if issue is None or issue.fields["project"] != project:
            return refused(404, "404 Not found")
        if len(rest) > 1:
            return self._note(issue, asked.body["body"]) if asked.method == "POST" else self._notes(issue, asked)
        return self._moved(issue, asked.body["state_event"]) if asked.method == "PUT" else self._one(issue)

    def _create(self, project: str, sent: dict[str, Any]) -> ServerReply:
        if not sent.get("title"):
            return ServerReply(status=400, value={"error": "title is missing"})
        if len(sent["title"]) > 255:
            return refused(400, {"title": ["is too long (maximum is 255 characters)"]})
        if not isinstance(sent.get("milestone_id", 1), int):
            return ServerReply(status=400, value={"error": "milestone_id is invalid"})
        self._obey(sent["title"], sent["description"])
        reporter = self.level is None or self.level >= REPORTER
        labels = sent.get("labels", "").split(",") if reporter else []
        fields = {**sent, "labels": labels, "users": sent.get("assignee_ids", []) if reporter else []}
        return ServerReply(status=201, value=self.shown(self.open(**fields | {"project": project})))

    def _obey(self, title: str, text: str) -> None:
        """Execute the commands of a text, and mention whom it names."""
        bare = _CODE.sub("", text)
        self.commands += re.findall(r"^/\w+.*", bare, re.MULTILINE)
        self.mentioned += re.findall(r"(?<![\w.])@[\w.-]+", f"{_CODE.sub('', title)}\n{bare}")

    def _listed(self, project: str, asked: Asked) -> ServerReply:
        label = asked.query.get("labels")
        found = [
            self.shown(issue)
            for issue in self.found[::-1]
            if issue.fields["project"] == project
            and (label is None or label in issue.fields["labels"])
            and (asked.query.get("state") == "all" or not issue.closed)
        ]
        return ServerReply(value=found[: int(asked.query.get("per_page", 20))])

    def _note(self, issue: ServedTicket, body: str) -> ServerReply:
        self._obey("", body)
        issue.comments.append(body)
        return ServerReply(status=201, value={"id": len(issue.comments), "body": body, "system": False})

    def _notes(self, issue: ServedTicket, asked: Asked) -> ServerReply:
        assert asked.query["sort"] == "desc"
        notes = [{"id": n, "body": body, "system": False} for n, body in enumerate(issue.comments)]
        return ServerReply(value=notes[::-1][: int(asked.query.get("per_page", 20))])

    def _moved(self, issue: ServedTicket, event: str) -> ServerReply:
        closed = event == "close"
        if issue.closed is closed and self.not_modified:
            return ServerReply(status=304)
        issue.closed = closed
        issue.fields["closed_at"] = f"{self._now():%Y-%m-%dT%H:%M:%S}.000Z" if closed else None
        return self._one(issue)

    def _one(self, issue: ServedTicket) -> ServerReply:
        return ServerReply(value=self.shown(issue))

    def shown(self, issue: ServedTicket) -> dict[str, Any]:
        """Return an issue as the API writes it."""
        fields, project = issue.fields, issue.fields["project"]
        return {
            "id": 1_000_000 + issue.number,
            "iid": issue.number,
            "web_url": f"https://gitlab.com/{project}/-/issues/{issue.number}",
            "references": {"short": f"#{issue.number}", "full": f"acme/ops#{issue.number}"},
            "state": "closed" if issue.closed else "opened",
            "title": fields["title"],
            "description": fields["description"],
            "labels": fields["labels"],
            "assignees": [{"id": user, "username": "ann"} for user in fields["users"]],
            "closed_at": fields.get("closed_at"),
        }
