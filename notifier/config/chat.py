"""The section `chat`: commands from Slack and Mattermost."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import AsciiSecret, CaFile, HttpsUrl, SlackAppToken, SlackBotToken
from notifier.settings.words import SLACK_ID_PATTERN, SLACK_WORKSPACE_PATTERN


class SlackChatSettings(Settings):
    """Commands from Slack."""

    mode: Literal["socket", "http"] = "socket"
    """`socket` needs no public address; `http` receives requests at /slack/commands and /slack/interactions."""
    app_token: SlackAppToken | None = None
    """Token that begins with xapp-, for socket mode."""
    signing_secret: AsciiSecret | None = None
    """Secret with which Slack signs its requests, for http mode."""
    bot_token: SlackBotToken | None = None
    """Token to read people's languages and send direct messages; absent: that of the first Slack channel with one."""
    api_url: HttpsUrl = "https://slack.com/api/"
    ca_file: CaFile = None
    """PEM file of authorities to trust for `api_url` besides the usual ones."""
    command: str = Field(default="/gaussdb", pattern=r"^/[a-z0-9_-]{1,31}$")
    """The slash command, as replies name it."""
    allow: tuple[Annotated[str, Field(pattern=SLACK_ID_PATTERN)], ...] = ()
    """Ids of users (`U0123ABCD`) and user groups (`S0123ABCD`) who may acknowledge and mute; none: all members of the
    workspaces below."""
    workspaces: tuple[Annotated[str, Field(pattern=SLACK_WORKSPACE_PATTERN)], ...] = ()
    """Ids of workspaces (`T0123ABCD`) and organizations (`E0123ABCD`) whose members get answers; none: the bot's own.
    Members of other workspaces, in a shared channel, get none."""
    guests: bool = False
    """Whether guests of these workspaces may acknowledge and mute too, when `allow` is empty."""

    @model_validator(mode="after")
    def _mode_has_its_secret(self) -> Self:
        if self.mode == "socket" and self.app_token is None:
            raise setting_error("app_token", "is missing or empty; socket mode needs it.")
        if self.mode == "http" and self.signing_secret is None:
            raise setting_error("signing_secret", "is missing or empty; http mode needs it.")
        return self


class MattermostChatSettings(Settings):
    """Commands from Mattermost: its slash command calls /mattermost/commands."""

    token: AsciiSecret | None = None
    """Token that Mattermost sends with each request. It shows the token when the slash command is created."""
    tokens: tuple[AsciiSecret, ...] = ()
    """Further tokens: each slash command has its own, and so has each team."""
    allow: tuple[str, ...] = ()
    """Ids of the users who may acknowledge and mute. Anybody who knows a token can impersonate them."""

    @model_validator(mode="after")
    def _has_a_token(self) -> Self:
        if not self.accepted:
            raise setting_error("token", "is missing or empty. Give token, or token_file with the path of a file.")
        if not all(self.tokens):
            raise setting_error("tokens", "must not hold an empty one.")
        return self

    @property
    def accepted(self) -> tuple[str, ...]:
        """All the tokens."""
        return tuple(token.get_secret_value() for token in (self.token, *self.tokens) if token)


class ChatSettings(Settings):
    """The chats that accept commands."""

    slack: SlackChatSettings | None = None
    mattermost: MattermostChatSettings | None = None
