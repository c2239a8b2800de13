"""Settings of a Teams channel that a workflow posts to."""

import re
from datetime import timedelta
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from notifier.channels.settings import ChannelSettings
from notifier.integrations.teams.mentions import TEAMS_MENTION_FORMS, is_mention
from notifier.settings.types import Duration, Secret, url_rule
from notifier.settings.words import FixedMessageError

_WORKFLOW = (
    "in Teams, open Workflows for the channel, choose the template that posts when a webhook request is received, and "
    "copy its URL."
)
_RETIRED = re.compile(r"(.+\.)?webhook\.office\.com|outlook\.office(365)?\.com")
"""Hosts of the connectors of Office 365."""
_PAGES = re.compile(r"teams\.(microsoft|live|cloud\.microsoft)(\.com)?|make\.power(automate|apps)\.com")
"""Hosts of pages for people."""


def _is_workflow(url: SecretStr) -> SecretStr:
    host = (urlsplit(url.get_secret_value()).hostname or "").lower()
    if _RETIRED.fullmatch(host):
        raise FixedMessageError(
            f"is the URL of an Office 365 connector, and Microsoft has switched those off: {_WORKFLOW}"
        )
    if _PAGES.fullmatch(host):
        raise FixedMessageError(f"is the address of a page, not of a workflow: {_WORKFLOW}")
    return url


class TeamsSettings(ChannelSettings):
    """The workflow that posts to a channel."""

    channel_class = "notifier.integrations.teams.channel:TeamsChannel"
    mention_forms = TEAMS_MENTION_FORMS
    takes_templates = True

    kind: Literal["teams"] = "teams"
    webhook_url: Annotated[
        Secret,
        url_rule("https://….environment.api.powerplatform.com/…&sig=…", https_only=True),
        AfterValidator(_is_workflow),
    ]
    """URL of the workflow. Whoever knows it can post."""
    digest_size: int = Field(default=50, ge=2, le=100)
    """Maximum number of events in one digest."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one attempt."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is the sign-in name or the object id of a user with its prefix."""
        return is_mention(text)

    @property
    def is_signed(self) -> bool:
        """Whether the URL has the signature with which anybody may post."""
        return bool(parse_qs(urlsplit(self.webhook_url.get_secret_value()).query).get("sig"))
