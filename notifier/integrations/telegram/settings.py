"""Settings of a Telegram chat."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

from notifier.channels.live_settings import LiveChatSettings
from notifier.integrations.telegram.mentions import TELEGRAM_MENTION_FORMS, is_mention
from notifier.settings.types import AsciiSecret, EndpointUrl, Unquoted
from notifier.settings.words import FixedMessageError


def _check_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9]{3,20}:[A-Za-z0-9_-]{3,100}", token.get_secret_value()):
        raise FixedMessageError("must be the token of a bot as BotFather shows it: a number, a colon and letters.")
    return token


class TelegramSettings(LiveChatSettings):
    """A bot and the chat that it posts to."""

    channel_class = "notifier.integrations.telegram.channel:TelegramChannel"
    mention_forms = TELEGRAM_MENTION_FORMS
    takes_templates = True

    kind: Literal["telegram"] = "telegram"
    bot_token: Annotated[AsciiSecret, AfterValidator(_check_token)]
    """`123456789:…`, from BotFather."""
    chat_id: Annotated[str, Unquoted, Field(pattern=r"^(-?[1-9][0-9]{2,19}|@[A-Za-z][A-Za-z0-9_]{3,31})$")]
    """ID of a group (`-100…`), a channel or a person, or `@name` of a public group or channel."""
    topic_id: int | None = Field(default=None, ge=1, le=2**31)
    """A topic of a group that has topics. null is the general one."""
    api_url: EndpointUrl = "https://api.telegram.org"
    """Where the Bot API is: another address for a server of your own."""
    quiet: bool = True
    """Whether messages that are not loud arrive without a sound."""
    digest_size: int = Field(default=20, ge=2, le=100)
    """Maximum number of events in one digest: a message has little room."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is a user name, or an id with a name, with its prefix."""
        return is_mention(text)
