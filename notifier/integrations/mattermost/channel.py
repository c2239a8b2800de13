"""A Mattermost channel. Limits: developers.mattermost.com."""

from typing import ClassVar

from notifier.channels.reply_conditions import ParsedReply
from notifier.integrations.mattermost.markdown import MATTERMOST
from notifier.integrations.mattermost.messages import MessageLimits
from notifier.integrations.mattermost.settings import MattermostSettings
from notifier.integrations.mattermost.webhook_chat import WebhookChat


class MattermostChannel(WebhookChat[MattermostSettings]):
    """Posts to one Mattermost channel."""

    kind: ClassVar[str] = "mattermost"
    tables = ("mattermost", "webhook")
    markup = MATTERMOST
    # A post has 16,383 characters at most, and the attachments of old servers 8,000 together: they divide a message
    # between attachments.
    limits: ClassVar[MessageLimits] = MessageLimits(text=14_000, attachment=6_000)
    storm_size = 400
    storm_room = 12_000

    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether Mattermost posted the message: its reply is `ok` and nothing else."""
        return reply.status == 200 and reply.text == "ok"  # noqa: PLR2004 - the only status of success there
