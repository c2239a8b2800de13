"""A Mattermost channel. Limits: developers.mattermost.com."""

from typing import ClassVar

from notifier.channels.reply_conditions import ParsedReply
from notifier.integrations.mattermost.settings import MattermostSettings
from notifier.integrations.mattermost.webhook_chat import MessageLimits, WebhookChat


class MattermostChannel(WebhookChat[MattermostSettings]):
    """Posts to one Mattermost channel."""

    kind: ClassVar[str] = "mattermost"
    limits: ClassVar[MessageLimits] = MessageLimits(text=14_000, reason=6_000)  # a post has 16,383 characters at most

    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether Mattermost posted the message: its reply is `ok` and nothing else."""
        return reply.status == 200 and reply.text == "ok"  # noqa: PLR2004 - the only status of success there
