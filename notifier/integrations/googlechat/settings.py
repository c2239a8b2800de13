"""Settings of a space of Google Chat."""

from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from notifier.channels.settings import ChannelSettings
from notifier.integrations.googlechat.mentions import GOOGLE_MENTION_FORMS, is_mention
from notifier.settings.types import Duration, Secret, url_rule
from notifier.settings.words import FixedMessageError


def _has_token(url: SecretStr) -> SecretStr:
    query = parse_qs(urlsplit(url.get_secret_value()).query)
    if missing := [name for name in ("key", "token") if not query.get(name)]:
        raise FixedMessageError(
            f"lacks {' and '.join(missing)} behind the question mark: copy the whole URL, in quotes."
        )
    return url


class GoogleChatSettings(ChannelSettings):
    """The webhook of a space."""

    channel_class = "notifier.integrations.googlechat.channel:GoogleChatChannel"
    mention_forms = GOOGLE_MENTION_FORMS
    takes_templates = True

    kind: Literal["googlechat"] = "googlechat"
    webhook_url: Annotated[
        Secret,
        url_rule("https://chat.googleapis.com/v1/spaces/…/messages?key=…&token=…", https_only=True),
        AfterValidator(_has_token),
    ]
    """URL of the webhook. Whoever knows it can post."""
    style: Literal["thread", "post"] = "thread"
    """`thread`: every step of a task is posted in the thread of its first message. `post`: a message for each event."""
    broadcast: bool = True
    """Whether a failure of a task that has a thread is a message of its own instead."""
    digest_size: int = Field(default=50, ge=2, le=100)
    """Maximum number of events in one digest."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is the id of a user with its prefix, or the one for everybody."""
        return is_mention(text)

    @property
    def threads(self) -> bool:
        """Whether later events of a task are posted in the thread of its first message."""
        return self.style == "thread"
