"""A Mattermost channel through an incoming webhook. Limits: developers.mattermost.com."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from notifier.channels.base import ChannelContext
from notifier.channels.reply_conditions import ParsedReply
from notifier.integrations.mattermost.markdown import MATTERMOST
from notifier.integrations.mattermost.messages import MATTERMOST_LIMITS, MessageLimits
from notifier.integrations.mattermost.settings import MattermostSettings
from notifier.integrations.mattermost.webhook_chat import WebhookChat

if TYPE_CHECKING:
    from notifier.integrations.mattermost.bot import MattermostBotChannel


class MattermostChannel(WebhookChat[MattermostSettings]):
    """Posts to one Mattermost channel."""

    kind: ClassVar[str] = "mattermost"
    tables = ("mattermost", "webhook")
    markup = MATTERMOST
    limits: ClassVar[MessageLimits] = MATTERMOST_LIMITS
    storm_size = 400
    storm_room = 12_000

    @classmethod
    def open(cls, settings: MattermostSettings, context: ChannelContext) -> Self | MattermostBotChannel:
        """Return a channel for these settings: through a webhook, or with a bot."""
        from notifier.integrations.mattermost.bot import MattermostBotChannel  # noqa: PLC0415 - webhooks need none

        return cls(settings, context) if settings.webhook_url else MattermostBotChannel(settings, context)

    def accepted(self, reply: ParsedReply) -> bool:
        """Return whether Mattermost posted the message: its reply is `ok` and nothing else."""
        return reply.status == 200 and reply.text == "ok"  # noqa: PLR2004 - the only status of success there
