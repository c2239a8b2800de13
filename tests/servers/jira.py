"""Jira on loopback, of both deployments: a search that lags, transitions with screens, and strict documents."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from servers.tickets import ServedTicket, ServerReply
from servers.tracker import Asked, Json, TrackerServer

USER, TOKEN = "bot@example.com", "obviously-fake-token"
CLOUD_ID = "11111111-2222-3333-4444-555555555555"
CLOSED_AT = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)

CATEGORIES = {"To Do": "new", "In Progress": "indeterminate", "Done": "done", "Won't Do": "done", "Archived": "done"}


@dataclass(frozen=True)
class Way:
    """A transition of the workflow."""

    id: str
    name: str
    to: str
    screen: dict[str, bool] = field(default_factory=dict)
    """Fields, and whether each must be given."""


STANDARD = {
    "To Do": [
        Way("21", "Start", "In Progress"),
        Way("41", "Reject", "Won't Do", {"resolution": True}),
        Way("31", "Finish", "Done"),
    ],
    "In Progress": [Way("31", "Finish", "Done"), Way("11", "Stop", "To Do")],
    "Done": [Way("51", "Reopen", "To Do"), Way("61", "Archive", "Archived")],
    "Won't Do": [Way("51", "Reopen", "To Do")],
    "Archived": [],
}


@dataclass(kw_only=True)
class Issue(ServedTicket):
    """An issue as Jira has it."""

    key: str
    state: str = "To Do"
    bodies: list[Any] = field(default_factory=list)
    """The comments in the form in which they arrived."""

    @property
    def id(self) -> str:
        return str(self.number)

    @property
    def status(self) -> str:
        """The state: what the workflow led to, unless a person has moved it since."""
        if self.closed != (CATEGORIES[self.state] == "done"):
            return "Won't Do" if self.closed else "To Do"
        return "In Progress" if self.touched and not self.closed else self.state

    def move(self, state: str) -> None:
        self.state, self.closed = state, CATEGORIES[state] == "done"


class JiraServer(TrackerServer):
    """One site with the projects OPS and DBA."""

    kind = "jira"

    def __init__(
        self,
        now: Callable[[], datetime],
        lag: timedelta = timedelta(),
        deployment: Literal["cloud", "data_center"] = "cloud",
        *,
        scoped: bool = False,
    ) -> None:
        super().__init__(now, lag)
        self.deployment = deployment
        self.scoped = scoped
        """Whether the token has scopes: it works at the address of the API only."""
        self.workflow = STANDARD
        self.rights = dict.fromkeys(("BROWSE_PROJECTS", "CREATE_ISSUES", "ADD_COMMENTS", "TRANSITION_ISSUES"), True)
        self.required: list[str] = []
        """Further fields that a new issue must have."""
        self.ignores_labels = False
        """Whether the search returns issues whatever their labels."""
        self.reader = True
        """Whether the account may see issues."""

    # -- for tests --

    def settings(self) -> Json:
        common = {"deployment": self.deployment, "url": self.url("/jira"), "token": TOKEN, "project": "OPS"}
        if self.deployment == "data_center":
            return common
        return common | {"user": USER} | ({"cloud_id": CLOUD_ID, "api_url": self.url("")} if self.scoped else {})

    def title(self, ticket: ServedTicket) -> str:
        found: str = ticket.fields["summary"]
        return found

    def text(self, ticket: ServedTicket) -> str:
        return shown(ticket.fields["description"])

    def plant(self, key: str) -> ServedTicket:
        return self.opened({"summary": "of somebody else", "description": "", "labels": [key]})

    def opened(self, fields: Json) -> Issue:
        """Keep a new issue and return it."""
        number = 1 + max((one.number for one in self.tickets), default=9_999)
        project = fields.get("project", {}).get("key", "OPS")
        issue = Issue(number=number, key=f"{project}-{number - 9_999}", fields=fields, created_at=self._now())
        self.tickets.append(issue)
        return issue

    def issue(self, number: int = 0) -> Issue:
        """Return one of the issues, in the order of their creation."""
        found = self.tickets[number]
        assert isinstance(found, Issue)
        return found

    # -- the protocol --

    @property
    def base(self) -> str:
        if self.deployment == "data_center":
            return "/jira/rest/api/2/"
        return f"/ex/jira/{CLOUD_ID}/rest/api/3/" if self.scoped else "/jira/rest/api/3/"

    @property
    def _authorization(self) -> str:
        if self.deployment == "data_center":
            return f"Bearer {TOKEN}"
        return f"Basic {b64encode(f'{USER}:{TOKEN}'.encode()).decode()}"

    def respond(self, asked: Asked) -> ServerReply:
        if self.unauthorized or asked.headers.get("authorization") != self._authorization:
            return _refused(401, "Client must be authenticated to access this resource.")
        if not asked.path.startswith(self.base):
            return _refused(401 if self.scoped else 404, "Unauthorized; scope does not match")
        path = asked.path.removeprefix(self.base)
        if handle := self._calls.get(f"{asked.method} {path}"):
            return handle(asked)
        match path.split("/"):
            case ["issue", "createmeta", *rest]:
                return self._meta(rest)
            case ["issue", ref, *rest] if self.reader and isinstance(issue := self.ticket(ref), Issue):
                return self._about(asked, issue, "/".join(rest))
        return _refused(404, "Issue does not exist or you do not have permission to see it.")

    @property
    def _calls(self) -> Mapping[str, Callable[[Asked], ServerReply]]:
        searches: dict[str, Callable[[Asked], ServerReply]] = {"POST search": self._search}
        if self.deployment == "cloud":
            gone = _refused(410, "The requested API has been removed.")
            searches = {"POST search": lambda _asked: gone, "POST search/jql": self._search}
        me = answered({"displayName": "GaussDB bot", "name": "bot"})
        return {
            "GET myself": lambda _asked: me,
            "GET mypermissions": self._permissions,
            "POST issue": lambda asked: self._create(asked.body["fields"]),
            **searches,
        }

    def _create(self, fields: Json) -> ServerReply:
        errors = {name: f"{name} is required." for name in self.required if name not in fields}
        if fields["project"].get("key") not in ("OPS", "DBA"):
            errors["project"] = "valid project is required"
        if not 0 < len(fields["summary"]) <= 255 or "\n" in fields["summary"]:
            errors["summary"] = "The summary is invalid because it contains newline characters or is too long."
        if any(" " in label for label in fields["labels"]):
            errors["labels"] = "The label can't contain spaces."
        if problem := self._text_problem(fields["description"]):
            errors["description"] = problem
        if "priority" in fields and fields["priority"].get("name") not in ("High", "Low"):
            errors["priority"] = "The priority selected is invalid."
        if errors:
            return answered({"errorMessages": [], "errors": errors}, 400)
        issue = self.opened(fields)
        return answered({"id": issue.id, "key": issue.key, "self": self.url(f"{self.base}issue/{issue.id}")}, 201)

    def _search(self, asked: Asked) -> ServerReply:
        body = asked.body
        found = re.fullmatch(r'labels = "([a-z0-9-]+)" ORDER BY created ASC', body["jql"])
        if not found:
            return answered({"errorMessages": ["Error in the JQL Query"], "errors": {}}, 400)
        labelled = [one for one in self.found if self.ignores_labels or found[1] in one.fields["labels"]]
        matching = labelled if self.reader else []
        issues = [self._shown(one) for one in matching if isinstance(one, Issue)]
        if self.deployment == "cloud":
            return answered({"issues": issues[: body["maxResults"]], "isLast": True})
        return answered({"startAt": 0, "maxResults": 50, "total": len(issues), "issues": issues})

    def _about(self, asked: Asked, issue: Issue, what: str) -> ServerReply:
        match asked.method, what:
            case "GET", "":
                return answered(self._shown(issue))
            case "POST", "comment":
                return self._comment(issue, asked.body["body"])
            case "GET", "comment":
                return self._comments(issue, asked)
            case "GET", "transitions":
                return answered({"transitions": [_way(one) for one in self._ways(issue)]})
            case "POST", "transitions":
                return self._move(issue, asked.body)
        raise AssertionError(asked)

    def _comment(self, issue: Issue, body: Any) -> ServerReply:
        if problem := self._text_problem(body):
            return answered({"errorMessages": [], "errors": {"comment": problem}}, 400)
        issue.comments.append(shown(body))
        issue.bodies.append(body)
        return answered({"id": str(len(issue.comments)), "body": body}, 201)

    def _comments(self, issue: Issue, asked: Asked) -> ServerReply:
        listed = [{"id": str(n), "body": body} for n, body in enumerate(issue.bodies)]
        if asked.query.get("orderBy") == "-created":
            listed.reverse()
        limit = int(asked.query.get("maxResults", 50))
        return answered({"comments": listed[:limit], "maxResults": limit, "total": len(listed)})

    def _ways(self, issue: Issue) -> list[Way]:
        return self.workflow[issue.status] if self.rights["TRANSITION_ISSUES"] else []

    def _move(self, issue: Issue, body: Json) -> ServerReply:
        way = next((one for one in self._ways(issue) if one.id == body["transition"]["id"]), None)
        given = body.get("fields", {})
        if way is None:
            return _refused(400, "It seems that you have tried to perform an illegal workflow operation.")
        errors = {name: "Field cannot be set. It is not on the screen." for name in given if name not in way.screen}
        errors |= {name: f"{name} is required." for name, needed in way.screen.items() if needed and name not in given}
        if errors:
            return answered({"errorMessages": [], "errors": errors}, 400)
        issue.move(way.to)
        return ServerReply(status=204)

    def _shown(self, issue: Issue) -> Json:
        done = CATEGORIES[issue.status] == "done"
        return {
            "id": issue.id,
            "key": issue.key,
            "fields": {
                "status": {"name": issue.status, "statusCategory": {"key": CATEGORIES[issue.status]}},
                "labels": issue.fields["labels"],
                "resolutiondate": CLOSED_AT.strftime("%Y-%m-%dT%H:%M:%S.000+0000") if done else None,
            },
        }

    def _permissions(self, asked: Asked) -> ServerReply:
        if asked.query["projectKey"] not in ("OPS", "DBA"):
            return _refused(404, "No project could be found with key.")
        names = asked.query["permissions"].split(",")
        return answered({"permissions": {name: {"key": name, "havePermission": self.rights[name]} for name in names}})

    def _meta(self, rest: list[str]) -> ServerReply:
        of_types, of_fields = ("issueTypes", "fields") if self.deployment == "cloud" else ("values", "values")
        if len(rest) == 2:
            return answered({of_types: [{"id": "10001", "name": "Task"}, {"id": "10002", "name": "Bug"}]})
        fields = [("summary", "Summary", True), ("labels", "Labels", False)]
        fields += [(name, name.title(), True) for name in self.required]
        listed = [
            {"fieldId": one, "name": name, "required": needed, "hasDefaultValue": False} for one, name, needed in fields
        ]
        return answered({of_fields: listed})

    def _text_problem(self, text: object) -> str:
        if self.deployment == "data_center":
            return "" if isinstance(text, str) and len(text) <= 32_767 else "Operation value must be a string"
        return (
            "" if is_document(text) and len(shown(text)) <= 32_767 else "Operation value must be an Atlassian Document"
        )


def _way(way: Way) -> Json:
    fields = {name: {"required": needed, "hasDefaultValue": False, "name": name} for name, needed in way.screen.items()}
    to = {"name": way.to, "statusCategory": {"key": CATEGORIES[way.to]}}
    return {"id": way.id, "name": way.name, "to": to, "fields": fields}


def answered(value: object, status: int = 200) -> ServerReply:
    """Return a reply with a JSON body."""
    return ServerReply(status=status, value=value, headers={"Content-Type": "application/json;charset=UTF-8"})


def _refused(status: int, text: str) -> ServerReply:
    return answered({"errorMessages": [text], "errors": {}}, status)


# ---- documents ----

WITHIN = {
    "doc": {"paragraph", "blockquote", "bulletList"},
    "blockquote": {"paragraph"},
    "bulletList": {"listItem"},
    "listItem": {"paragraph"},
    "paragraph": {"text", "hardBreak"},
}
"""Which nodes may be within which, of those that the program writes."""
NOT_EMPTY = {"blockquote", "bulletList", "listItem"}


def is_document(value: Any) -> bool:
    """Return whether Jira takes a value as a document."""
    return isinstance(value, dict) and value.get("version") == 1 and value.get("type") == "doc" and _is_node(value)


def _is_node(node: Json) -> bool:
    kind = node["type"]
    if kind == "text":
        marks = [mark["type"] for mark in node.get("marks", ())]
        links = [mark["attrs"]["href"] for mark in node.get("marks", ()) if mark["type"] == "link"]
        usable = all(re.match(r"https?://\S+$", link) for link in links)
        return bool(node["text"]) and set(marks) <= {"code", "strong", "link"} and usable
    content = node.get("content", [])
    allowed = WITHIN.get(kind, set())
    full = bool(content) or kind not in NOT_EMPTY
    return full and all(one["type"] in allowed and _is_node(one) for one in content)


def shown(text: Any) -> str:
    """Return what a reader sees of a document, a line for each block; a text of Data Center as it is."""
    if isinstance(text, str):
        return text
    match text["type"]:
        case "text":
            word: str = text["text"]
            return word
        case "hardBreak":
            return "\n"
        case "paragraph":
            return "".join(map(shown, text.get("content", ())))
    return "\n".join(map(shown, text.get("content", ())))
