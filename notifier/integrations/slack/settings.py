"""Settings of a Slack channel."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from notifier.channels import rate_limits
from notifier.channels.rate_limits import RateLimit
from notifier.channels.settings import ChannelSettings
from notifier.integrations.slack.mentions import SLACK_MENTION_FORMS, is_mention
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, HttpsUrl, Secret, SlackBotToken, url_rule

CHANNEL_ID = re.compile(r"[CDG][A-Z0-9]+")
"""Pattern of a channel's id. A person's id begins with another letter: no history can be read there."""

HISTORY_DELAY = 2.5
"""Time that a message may take to appear in the history of its channel, in seconds."""
SEARCH_TIMEOUT = 10.0
"""Maximum time of a search with all its pages, in seconds. A smaller `timeout` of the channel limits it too."""


class SlackSettings(ChannelSettings):
    """A bot and the channel it posts to, or the URL of an incoming webhook."""

    channel_class = "notifier.integrations.slack.channel:SlackChannel"
    mention_forms = SLACK_MENTION_FORMS
    takes_templates = True

    kind: Literal["slack"] = "slack"
    bot_token: SlackBotToken | None = None
    """`xoxb-…`, with the bot scope chat:write."""
    channel: Annotated[str, Field(pattern=r"^\S{1,100}$")] | None = None
    """The channel's ID (`C0123ABCD`), or `#name`, whose history cannot be searched. The bot must be a member."""
    webhook_url: Annotated[Secret, url_rule("https://hooks.slack.com/services/…", https_only=True)] | None = None
    """Instead of a token. Messages can then be neither edited nor found again after a lost answer."""
    api_url: HttpsUrl = "https://slack.com/api/"
    style: Literal["live", "thread", "post"] | None = None
    """`live`: one message for each task, which changes as the task moves, with every step in its thread. `thread`: the
    same, but the message does not change. `post`: a message for each event, the only style of a webhook. Default:
    `live` with a token."""
    broadcast: bool = True
    """Whether a failure in a thread is shown in the channel too."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt, also when a refused layout is sent again as plain text."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is the id of a user or a user group, or one of the words for everybody."""
        return is_mention(text)

    @property
    def threads(self) -> bool:
        """Whether later events of a task are posted in the thread of its first message."""
        return not self.webhook_url and self.style != "post"

    @property
    def live(self) -> bool:
        """Whether the first message of a task changes as the task moves."""
        return self.threads and self.style != "thread"

    @property
    def limit(self) -> RateLimit:
        """Slack's limit for this way to post."""
        return rate_limits.rate_limit("slack-webhook" if self.webhook_url else "slack-bot")

    @property
    def can_search(self) -> bool:
        """Whether a message can be found again. That takes a token, and a channel given by its ID."""
        return not self.webhook_url and bool(CHANNEL_ID.fullmatch(self.channel or ""))

    @property
    def search_timeout(self) -> timedelta:
        """Maximum time of the requests of a search."""
        return min(self.timeout, timedelta(seconds=SEARCH_TIMEOUT))

    @property
    def deadline(self) -> timedelta:
        """Maximum time of one attempt: the wait for an earlier message to appear, the search for it, and the post."""
        search = timedelta(seconds=HISTORY_DELAY) + self.search_timeout if self.can_search else timedelta()
        return search + self.timeout

    @model_validator(mode="after")
    def _check_mode(self) -> SlackSettings:
        if self.bot_token and self.webhook_url:
            raise setting_error("webhook_url", "give either bot_token or webhook_url, not both")
        if not self.bot_token and not self.webhook_url:
            raise setting_error("bot_token", "is missing; give bot_token and channel, or webhook_url")
        if self.webhook_url and self.style not in (None, "post"):
            what = f"{self.style} needs a bot_token: a webhook does not return the id of a message"
            raise setting_error("style", what)
        if self.bot_token and not self.channel:
            what = "is missing; a bot needs the ID of the channel to post to, for example C0123ABCD"
            raise setting_error("channel", what)
        return self
