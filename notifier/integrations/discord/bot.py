"""A channel to Discord with a bot, which begins a thread from the message of a task when it has a step to post."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from notifier.channels.base import Json, encode_json
from notifier.channels.http_chat import Asked, ChatRequest, code_of
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.core.identity import MessageRef
from notifier.integrations.discord.channel import HEADERS, UNKNOWN_CHANNEL, UNKNOWN_MESSAGE, DiscordSender
from notifier.ports import CheckResult
from notifier.wording.sanitize import cut, one_line

NONCE_LIMIT = 25
"""Maximum length of the key by which Discord recognises a repeat for some minutes, in characters."""
_NAME_LIMIT = 90
"""Maximum length of the name of a thread; Discord's is 100."""
_HAS_THREAD = 160004
_ARCHIVED = 50083
_FORUMS = (15, 16)
_WEEK = 7 * 24 * 60
"""Minutes without a message after which Discord archives a thread."""


class DiscordBotChannel(DiscordSender):
    """Posts with a bot to one channel, or to one thread, which has no threads of its own."""

    replies_as = "bot"
    not_valid = "check bot_token and channel_id, and that the bot may view the channel and send messages there"
    elsewhere = "api_url is the address of something else, or a login protects the network: check it from this host"

    @property
    def address(self) -> str:
        """URL of the channel."""
        return f"{self.settings.api_url.rstrip('/')}/channels/{self.settings.channel_id}"

    @property
    def budget_owner(self) -> str:
        """The bot, whose requests Discord limits together."""
        return self._token

    @property
    def _token(self) -> str:
        return self.settings.bot_token.get_secret_value() if self.settings.bot_token else ""

    def post_request(self, message: Json, key: str) -> ChatRequest:
        """Return the request that posts a message. A repeat within minutes returns the first one."""
        return self._request("POST", f"{self.address}/messages", message | _nonce(key))

    def step_request(self, ref: str, message: Json, key: str) -> ChatRequest:
        """Return the request that posts a step in the thread of a message, which has the id of the message."""
        return self._request("POST", f"{self._channel(MessageRef.parse(ref).ts)}/messages", message | _nonce(key))

    def edit_request(self, ref: str, message: Json) -> ChatRequest:
        """Return the request that changes a message."""
        at = MessageRef.parse(ref)
        return self._request("PATCH", f"{self._channel(at.channel)}/messages/{at.ts}", message)

    async def post_step(self, ref: str, message: Json, key: str, end: float) -> Asked:
        """Post a step in the thread of a message; begin the thread where there is none yet.

        Where no thread can be begun, because the channel is a thread or the bot lacks the right, the step is posted in
        the channel.
        """
        outcome, reply = await super().post_step(ref, message, key, end)
        code = code_of(reply, "code") if reply is not None else None
        if code == UNKNOWN_CHANNEL:
            at = MessageRef.parse(ref)
            name = {"name": cut(one_line(_words(message)), _NAME_LIMIT) or "GaussDB", "auto_archive_duration": _WEEK}
            begin = self._request("POST", f"{self._channel(at.channel)}/messages/{at.ts}/threads", name)
            began, begun = await self.ask(begin, end)
            if begun is None:
                return began, None
            if begun.succeeded or code_of(begun, "code") == _HAS_THREAD:
                return await super().post_step(ref, message, key, end)
            if code_of(begun, "code") == UNKNOWN_MESSAGE:
                return began, begun
        if code in (UNKNOWN_CHANNEL, _ARCHIVED):
            return await self.ask(self.post_request(message, key), end)
        return outcome, reply

    def _channel(self, channel: str) -> str:
        return f"{self.settings.api_url.rstrip('/')}/channels/{channel}"

    def _request(self, method: str, url: str, body: Json) -> ChatRequest:
        return ChatRequest(method=method, url=url, content=encode_json(body), headers=HEADERS | self._authorization)

    @property
    def _authorization(self) -> dict[str, str]:
        return {"authorization": f"Bot {self._token}"}

    # -- check --

    async def check(self) -> Sequence[CheckResult]:
        """Ask who the bot is and for the channel. Only a message proves that it may post there."""
        me = await self.look(
            "Discord bot", f"{self.settings.api_url.rstrip('/')}/users/@me", "check bot_token", **self._authorization
        )
        if isinstance(me, CheckResult):
            return (me,)
        bot = CheckResult(ok=True, what="Discord bot", detail=one_line(str(value_at(me.data, "username"))))
        found = await self.look("Discord channel", self.address, "check channel_id", **self._authorization)
        if isinstance(found, CheckResult):
            return bot, found
        return bot, self._found(found)

    def _found(self, reply: ParsedReply) -> CheckResult:
        name = one_line(str(value_at(reply.data, "name")))
        result = CheckResult(ok=True, what="Discord channel", proven=False)
        if value_at(reply.data, "type") in _FORUMS:
            remedy = "set channel_id to the id of a text channel, or of a post of the forum"
            return replace(result, ok=False, detail=f"{name} is a forum, which takes no messages", remedy=remedy)
        detail = f"{name}; only a message proves that the bot may post there: notifier test-send {self.name}"
        return replace(result, detail=detail)


def _nonce(key: str) -> Json:
    return {"nonce": key[:NONCE_LIMIT], "enforce_nonce": True}


def _words(message: Json) -> str:
    """Return the first line of a message without its markup, for the name of a thread."""
    return str(message["content"]).partition("\n")[0].replace("\\", "").replace("**", "").replace("`", "")
