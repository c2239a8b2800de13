"""A channel to Mattermost with a bot: one post for each task, which changes, and every step in its thread."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from notifier.channels.base import Json, encode_json
from notifier.channels.edited_chat import EditedChat
from notifier.channels.http_chat import JSON_TYPE, Asked, ChatRequest
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Parked, Thread
from notifier.core.identity import MessageRef
from notifier.http import HttpError
from notifier.integrations.mattermost.markdown import MATTERMOST
from notifier.integrations.mattermost.messages import MATTERMOST_LIMITS, MessageLayout, post_of, short
from notifier.integrations.mattermost.settings import MattermostSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.sanitize import one_line

_ID = re.compile(r"[a-z0-9]{26}")
_CREATED, _FORBIDDEN, _NOT_FOUND = 201, 403, 404
_REFUSED = range(400, 500)
_GONE = frozenset(
    {
        "app.post.get.app_error",
        "api.post.create_post.root_id.app_error",
        "api.post.create_post.channel_root_id.app_error",
        "api.post.update_post.find.app_error",
        "api.post.update_post.permissions_details.app_error",
    }
)
"""Ids of errors that mean that the post to change or to answer does not exist (any more)."""


class MattermostBotChannel(EditedChat[MattermostSettings]):
    """Posts with a bot to one channel."""

    kind = "mattermost"
    tables = ("mattermost-bot",)
    markup = MATTERMOST
    edit_limit = "mattermost-edit"
    replies_as = "bot"
    not_valid = "check server_url, bot_token and channel_id, and that the bot is in the channel"
    elsewhere = "server_url is the address of something else, or a login protects the server: check it from this host"
    storm_size = 400
    storm_room = 12_000

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON, in the form for a webhook, so that settings may change from one to the other."""
        return Body(content=encode_json(self._layout.payload(request, filled)), content_type=_JSON)

    def short(self, message: Json) -> Json:
        """Return what happened alone, in one line that mentions nobody."""
        return short(message)

    def live_message(self, thread: Thread, filled: FilledTemplate, *, replaces: bool) -> Json:
        """Return what the post of a thread shows now."""
        return self._layout.live(thread, filled, replaces=replaces)

    @property
    def _layout(self) -> MessageLayout:
        return MessageLayout(MATTERMOST, MATTERMOST_LIMITS, self.context.formatter)

    # -- requests --

    @property
    def address(self) -> str:
        """URL of the API."""
        return f"{(self.settings.server_url or '').rstrip('/')}/api/v4"

    @property
    def budget_owner(self) -> str:
        """The bot."""
        return self._token

    @property
    def _token(self) -> str:
        return self.settings.bot_token.get_secret_value() if self.settings.bot_token else ""

    def post_request(self, message: Json, key: str) -> ChatRequest:
        """Return the request that posts a message. A repeat within half a minute returns the first one."""
        return self.creation(message, key, self._here)

    def step_request(self, ref: str, message: Json, key: str) -> ChatRequest:
        """Return the request that posts a step in the thread of a post."""
        return self.creation(message, key, {**self._here, "root_id": MessageRef.parse(ref).ts})

    def edit_request(self, ref: str, message: Json) -> ChatRequest:
        """Return the request that changes a post."""
        return self._request("PUT", f"{self._post(MessageRef.parse(ref).ts)}/patch", post_of(message))

    @property
    def _here(self) -> Json:
        return {"channel_id": self.settings.channel_id}

    def creation(self, message: Json, key: str, place: Json) -> ChatRequest:
        """Return the request that posts a message at a place: a channel, and perhaps a thread in it."""
        return self._request("POST", f"{self.address}/posts", post_of(message) | {"pending_post_id": key} | place)

    def _post(self, post: str) -> str:
        return f"{self.address}/posts/{post}"

    def _request(self, method: str, url: str, body: Json) -> ChatRequest:
        return self.calling(method, url, encode_json(body))

    def calling(self, method: str, url: str, content: bytes) -> ChatRequest:
        """Return a request of the bot with JSON."""
        return ChatRequest(method=method, url=url, content=content, headers={**JSON_TYPE, **self._authorized})

    def getting(self, url: str) -> ChatRequest:
        """Return a request of the bot that changes nothing."""
        return ChatRequest(method="GET", url=url, content=b"", headers=self._authorized)

    @property
    def _authorized(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self._token}"}

    # -- replies --

    async def ask(self, request: ChatRequest, end: float) -> Asked:
        """Send a request. A change of a deleted post is refused like one without the right: ask for the post then."""
        outcome, reply = await super().ask(request, end)
        if request.method == "PUT" and reply is not None and reply.status == _FORBIDDEN:
            _, found = await super().ask(self.getting(request.url.removesuffix("/patch")), end)
            if found is not None and self.gone(found):
                return outcome, found
        return outcome, reply

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the channel and the id of the post."""
        ref = MessageRef(channel=id_at(reply, "channel_id"), ts=id_at(reply, "id"))
        return Delivered(str(ref)) if reply.status in (200, _CREATED) and ref.ts and ref.channel else None

    def owns(self, ref: str) -> bool:
        """Return whether a reference is of a post of this channel."""
        at = MessageRef.parse(ref)
        return at.channel == self.settings.channel_id and _ID.fullmatch(at.ts) is not None

    def gone(self, reply: ParsedReply) -> bool:
        """Return whether a reply says that a post does not exist (any more)."""
        return reply.status in _REFUSED and value_at(reply.data, "id") in _GONE

    # -- check --

    async def check(self) -> Sequence[CheckResult]:
        """Ask who the bot is, for the channel, and whether the bot is in it. Only a post proves more."""
        try:
            me = await self._ask(self.getting(f"{self.address}/users/me"))
            if not id_at(me, "id"):
                return (self._failed("Mattermost bot", me),)
            bot = CheckResult(ok=True, what="Mattermost bot", detail=one_line(str(value_at(me.data, "username"))))
            return bot, await self._check_channel()
        except HttpError as error:
            remedy = "check server_url, the network and the proxy"
            return (CheckResult(ok=False, what="Mattermost", detail=str(error), remedy=remedy),)

    async def _check_channel(self) -> CheckResult:
        """Return whether the bot may post to the channel. Raises HttpError."""
        what, url = "Mattermost channel", f"{self.address}/channels/{self.settings.channel_id}"
        channel = await self._ask(self.getting(url))
        if not id_at(channel, "id"):
            return self._failed(what, channel)
        name = one_line(str(value_at(channel.data, "display_name")))
        if value_at(channel.data, "delete_at"):
            remedy = "restore it, or set channel_id to another one"
            return CheckResult(ok=False, what=what, detail=f"{name} is archived", remedy=remedy)
        member = await self._ask(self.getting(f"{url}/members/me"))
        if member.status == _NOT_FOUND:
            remedy = "add the bot to the team, and then to the channel"
            return CheckResult(ok=False, what=what, detail=f"the bot is not in {name}", remedy=remedy)
        if not member.succeeded:
            return self._failed(what, member)
        detail = f"the bot is in {name}; only a message proves that it may post there: notifier test-send {self.name}"
        return CheckResult(ok=True, what=what, detail=detail, proven=False)

    def _failed(self, what: str, reply: ParsedReply) -> CheckResult:
        """Return what is wrong with a reply; one that may be due to the server alone proves nothing."""
        outcome = self.outcome(reply, self.context.clock.now())
        if isinstance(outcome, Parked):
            detail, _, known = outcome.reason.partition("; ")
            return CheckResult(ok=False, what=what, detail=detail, remedy=known or self.not_valid)
        detail = f"HTTP {reply.status}, which proves nothing"
        return CheckResult(ok=True, what=what, detail=detail, proven=False)


_JSON = JSON_TYPE["content-type"]


def id_at(reply: ParsedReply, place: str) -> str:
    """Return an id at a place of a successful reply; the empty string where there is none."""
    value = value_at(reply.data, place) if reply.succeeded else None
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""
