"""Settings of a channel that keeps issues on GitLab."""

from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.by_severity import BySeverity
from notifier.channels.ticket_settings import TicketSettings, Word
from notifier.settings.types import AsciiSecret, HttpsUrl, Unquoted

PROJECT_PATTERN = r"^([0-9]+|[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)+)$"
Project = Annotated[str, Unquoted, Field(pattern=PROJECT_PATTERN, max_length=255)]


class GitLabSettings(TicketSettings):
    """Issues of a project."""

    channel_class = "notifier.integrations.gitlab.channel:GitLabChannel"
    own_fields = frozenset({"title", "description"})

    kind: Literal["gitlab"] = "gitlab"
    url: HttpsUrl = "https://gitlab.com"
    """Where people open GitLab. A self-managed one has an address of its own, perhaps with a path."""
    token: AsciiSecret
    """Project access token with the role Reporter and the scope `api`."""
    project: BySeverity[Project]
    """Project of new issues, as `group/name` or its number; or one for each severity, of which the first is for all
    others."""
    marker_label: Annotated[Word, Field(max_length=100, pattern="^[^,]*$")] = "gaussdb-notifier"
    """Label of every issue, by which it is found again after a lost answer."""
    confidential: bool = False
    """Whether new issues are confidential: only members from the role Reporter on see them."""

    @property
    def api_url(self) -> str:
        """URL of the API, without a slash at its end."""
        return f"{self.url.rstrip('/')}/api/v4"
