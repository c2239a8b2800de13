"""Channels of Mattermost and Rocket.Chat. Their limits: developers.mattermost.com and docs.rocket.chat."""

from typing import ClassVar

from notifier.channels.reply_conditions import ParsedReply
from notifier.integrations.mattermost.settings import MattermostSettings, RocketChatSettings
from notifier.integrations.mattermost.webhook_chat import MessageLimits, WebhookChat


class MattermostChannel(WebhookChat[MattermostSettings]):
    """Posts to one Mattermost channel."""

    kind: ClassVar[str] = "mattermost"
    limits: ClassVar[MessageLimits] = MessageLimits(text=14_000, reason=6_000)  # a post has 16,383 characters at most

    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether Mattermost posted the message: its reply is `ok` and nothing else."""
        return reply.status == 200 and reply.text == "ok"  # noqa: PLR2004 - the only status of success there


class RocketChatChannel(WebhookChat[RocketChatSettings]):
    """Posts to one Rocket.Chat channel."""

    kind: ClassVar[str] = "rocketchat"
    # A message has 5,000 characters at most, unless the server is configured otherwise.
    limits: ClassVar[MessageLimits] = MessageLimits(text=4_800, reason=3_000)

    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether Rocket.Chat posted the message: its reply has a `success` that is true."""
        data = reply.data if isinstance(reply.data, dict) else {}
        return reply.status == 200 and data.get("success") is True  # noqa: PLR2004 - the only status of success there
