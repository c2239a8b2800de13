"""A Rocket.Chat channel: it takes the same kind of webhook. Limits: docs.rocket.chat."""

from typing import ClassVar

from notifier.channels.reply_conditions import ParsedReply
from notifier.integrations.mattermost.markdown import ROCKETCHAT
from notifier.integrations.mattermost.messages import MessageLimits
from notifier.integrations.mattermost.settings import RocketChatSettings
from notifier.integrations.mattermost.webhook_chat import WebhookChat


class RocketChatChannel(WebhookChat[RocketChatSettings]):
    """Posts to one Rocket.Chat channel."""

    kind: ClassVar[str] = "rocketchat"
    tables = ("rocketchat", "webhook")
    # A message has 5,000 characters at most, unless the server is configured otherwise.
    limits: ClassVar[MessageLimits] = MessageLimits(text=4_800, attachment=4_800)
    markup = ROCKETCHAT
    storm_size = 400
    storm_room = 12_000

    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether Rocket.Chat posted the message: its reply has a `success` that is true."""
        data = reply.data if isinstance(reply.data, dict) else {}
        return reply.status == 200 and data.get("success") is True  # noqa: PLR2004 - the only status of success there
