"""Mattermost on loopback: the part of its API that posts, answers in threads, changes posts, and shows who is where.

It answers as the server does in what matters here: a change of a deleted post is refused like one without the right,
an answer to a deleted post has an error of its own, and a repeat of a pending post returns the first one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from servers.http import Answer, HttpServer, Request, reply

BOT_TOKEN = "obviously-fake-bot-token"
CHANNEL = "channel0000000000000000001"
BOT = "bot00000000000000000000001"
MAX_POST = 16_383


@dataclass
class Post:
    """A post that is shown."""

    id: str
    channel: str
    root: str
    body: dict[str, Any]

    @property
    def text(self) -> str:
        return str(self.body["message"])


@dataclass
class Mattermost:
    """What the server knows and shows."""

    posts: dict[str, Post] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    """Posts of the past half minute by their `pending_post_id`, deleted ones too."""
    posted: int = 0
    member: bool = True
    """Whether the bot is in the channel."""
    may_edit: bool = True
    edit_limit_over: bool = False
    """Whether an administrator lets posts be changed for a time that is over."""
    archived: bool = False
    joined: set[str] = field(default_factory=set)
    """Further channels that the bot is in."""
    people: set[str] = field(default_factory=set)
    """Users who can be written to."""
    refusing: dict[str, str] = field(default_factory=dict)
    """Channels to which nothing is posted, with the error."""

    def answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {BOT_TOKEN}":
            return _error(401, "api.context.session_expired.app_error")
        body = json.loads(request.body or b"{}")
        match request.method, request.target.removeprefix("/api/v4/").split("/"):
            case "GET", asked:
                return self._look(asked)
            case "POST", ["channels", "direct"]:
                return self._direct(body)
            case "POST", ["posts"]:
                return self._post(body)
            case "PUT", ["posts", post, "patch"]:
                return self._patch(post, body)
        return _error(404, "api.context.404.app_error")

    def _look(self, asked: list[str]) -> Answer:
        match asked:
            case ["users", "me"]:
                return _json(200, {"id": BOT, "username": "gaussdb", "is_bot": True})
            case ["channels", channel, *rest]:
                return self._channel(channel, rest)
            case ["posts", post] if post in self.posts:
                return self._shown(200, self.posts[post])
        return _error(404, _GONE)

    def _channel(self, channel: str, rest: list[str]) -> Answer:
        if channel != CHANNEL:
            return _error(404, "app.channel.get.existing.app_error")
        if rest:
            known = self.member and rest == ["members", "me"]
            return _json(200, {"user_id": BOT}) if known else _error(404, "app.channel.get_member.missing.app_error")
        return _json(200, {"id": CHANNEL, "display_name": "DBA", "delete_at": 1 if self.archived else 0})

    def _direct(self, both: list[str]) -> Answer:
        bot, person = both
        if bot != BOT or person not in self.people:
            return _error(404, "app.user.missing_account.const")
        self.joined.add(direct_with(person))
        return _json(201, {"id": direct_with(person), "type": "D"})

    def _post(self, body: dict[str, Any]) -> Answer:
        channel = body.get("channel_id", "")
        joined = channel in self.joined or (channel == CHANNEL and self.member)
        if code := self.refusing.get(channel, "" if joined else "api.context.permissions.app_error"):
            return _error(400 if joined else 403, code)
        if self.archived:
            return _error(400, "api.post.create_post.can_not_post_to_deleted.error")
        if first := self.pending.get(body.get("pending_post_id", "")):
            found = self.posts.get(first)
            return self._shown(201, found) if found else _error(500, "api.post.deduplicate_create_post.failed_to_get")
        root = body.get("root_id", "")
        if root and (root not in self.posts or self.posts[root].root):
            return _error(400, "api.post.create_post.root_id.app_error")
        if len(body["message"]) > MAX_POST:
            return _error(400, "model.post.is_valid.message_length.app_error")
        self.posted += 1
        post = Post(f"post{self.posted:022d}", channel, root, body)
        self.posts[post.id] = post
        self.pending[body.get("pending_post_id", post.id)] = post.id
        return self._shown(201, post)

    def _patch(self, post: str, body: dict[str, Any]) -> Answer:
        if post not in self.posts or not self.may_edit or not self.member:
            return _error(403, "api.context.permissions.app_error")
        if self.edit_limit_over:
            return _error(400, "api.post.update_post.permissions_time_limit.app_error")
        self.posts[post].body |= body
        return self._shown(200, self.posts[post])

    def _shown(self, status: int, post: Post) -> Answer:
        shown = {"id": post.id, "channel_id": post.channel, "root_id": post.root, "user_id": BOT}
        return _json(status, shown | {"message": post.text, "props": post.body.get("props", {})})


def direct_with(person: str) -> str:
    """Return the id of the channel that the bot shares with somebody."""
    return f"direct{person[-20:]}"


_GONE = "app.post.get.app_error"


def _json(status: int, value: dict[str, Any]) -> Answer:
    return reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _error(status: int, error: str) -> Answer:
    return _json(status, {"id": error, "message": "no", "status_code": status})


class MattermostServer(HttpServer):
    """`async with MattermostServer(Mattermost()) as server:` listens on a free port."""

    def __init__(self, service: Mattermost) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)
