"""Settings of a channel that keeps issues on GitHub."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field

from notifier.channels.by_severity import BySeverity
from notifier.channels.ticket_settings import TicketSettings, Word
from notifier.settings.types import AsciiSecret, EndpointUrl

REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$"
Repository = Annotated[str, Field(pattern=REPOSITORY_PATTERN, max_length=140)]

_PUBLIC = "github.com"
_TENANTS = ".ghe.com"


class GitHubSettings(TicketSettings):
    """Issues of a repository."""

    channel_class = "notifier.integrations.github.channel:GitHubChannel"
    own_fields = frozenset({"title", "body", "state"})

    kind: Literal["github"] = "github"
    url: EndpointUrl = f"https://{_PUBLIC}"
    """Where people open GitHub. An Enterprise Server has an address of its own."""
    token: AsciiSecret
    """Fine-grained token with the right `Issues: read and write` for the repository."""
    project: BySeverity[Repository]
    """Repository of new issues, as `owner/name`; or one for each severity, of which the first is for all others."""
    marker_label: Annotated[Word, Field(max_length=50, pattern="^[^,]*$")] = "gaussdb-notifier"
    """Label of every issue, by which it is found again after a lost answer."""

    @property
    def api_url(self) -> str:
        """URL of the API, without a slash at its end."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        if host == _PUBLIC or host.endswith(_TENANTS):
            return f"{parts.scheme}://api.{parts.netloc}"
        return f"{self.url}/api/v3"
