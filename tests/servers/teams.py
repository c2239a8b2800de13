"""A workflow of Teams on loopback. It accepts every message, and posts those that Teams would show.

What is wrong with a message is not in its reply: the workflow has already replied when it fails.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jsonschema import Draft6Validator

from servers.http import Answer, HttpServer, Request, reply

SIGNATURE = "obviously-fake-signature"
TARGET = f"/workflows/0a1b2c3d/triggers/manual/paths/invoke?api-version=1&sig={SIGNATURE}"
TEAMS_BYTES = 28_000
VERSION = "1.4"


@cache
def card_schema() -> Draft6Validator:
    """Return the published schema of adaptive cards."""
    schema = json.loads(files("adaptive_cards").joinpath(f"schemas/schema-{VERSION}.json").read_text(encoding="utf-8"))
    return Draft6Validator(schema)


def card_problems(card: dict[str, Any]) -> list[str]:
    """Return what Teams would refuse about a card: what the schema has, and the rules of its own."""
    published = {name: value for name, value in card.items() if name != "msteams"}  # an addition of Teams
    found = [f"{list(error.path)}: {error.message[:300]}" for error in card_schema().iter_errors(published)]
    if card.get("version") != VERSION:
        found.append("a version that is not on every client")
    actions = [action["type"] for action in card.get("actions", ())]
    found += [f"{type_} works for bots alone" for type_ in actions if type_ != "Action.OpenUrl"]
    if len(actions) > 6:
        found.append("more than six actions")
    written = json.dumps(card["body"], ensure_ascii=False)
    entities = card.get("msteams", {}).get("entities", ())
    found += [f"{one['text']} is not in the text" for one in entities if one["text"] not in written]
    return found


@dataclass
class Teams:
    """What the workflow has accepted."""

    enabled: bool = True
    posted: list[dict[str, Any]] = field(default_factory=list)
    """The cards that the channel shows."""
    failed: list[list[str]] = field(default_factory=list)
    """Why runs of the workflow failed, which its owner alone can see."""

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        if request.method != "POST":
            return _error(404, "NotFound")
        if not parts.path.startswith("/workflows/0a1b2c3d/"):
            return _error(404, "WorkflowNotFound")
        if parse_qs(parts.query).get("sig") is None:
            return _error(401, "DirectApiAuthorizationRequired")
        if parse_qs(parts.query)["sig"] != [SIGNATURE]:
            return _error(403, "AuthorizationFailed")
        if not self.enabled:
            return _error(400, "WorkflowTriggerIsNotEnabled")
        self._run(request.body)
        return reply(202, b"")

    def _run(self, body: bytes) -> None:
        message = json.loads(body)
        problems = ["Request Entity too large"] if len(body) > TEAMS_BYTES else []
        attachments = message.get("attachments") or []
        if message.get("type") != "message" or not attachments:
            problems.append("no attachments to loop over")
        for attachment in attachments:
            if attachment["contentType"] != "application/vnd.microsoft.card.adaptive":
                problems.append("not a card")
            problems += card_problems(attachment["content"])
        if problems:
            self.failed.append(problems)
        else:
            self.posted += [attachment["content"] for attachment in attachments]


class TeamsServer(HttpServer):
    """`async with TeamsServer(Teams()) as server:` listens on a free port."""

    def __init__(self, service: Teams) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)


def _error(status: int, code: str) -> Answer:
    return reply(status, json.dumps({"error": {"code": code, "message": "no"}}).encode())
