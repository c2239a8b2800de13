"""Settings of a channel that keeps tickets in Zendesk."""

from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.by_severity import BySeverity
from notifier.channels.ticket_settings import FieldValues, Number, TicketSettings
from notifier.settings.types import AsciiSecret, EndpointUrl, KeyId

Priority = Literal["urgent", "high", "normal", "low"]
Tag = Annotated[str, Field(pattern=r"^[^\s,]+$", max_length=80)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=20)]


class ZendeskSettings(TicketSettings):
    """Tickets of an account."""

    channel_class = "notifier.integrations.zendesk.channel:ZendeskChannel"
    own_fields = frozenset({"subject", "comment", "external_id", "status"})

    kind: Literal["zendesk"] = "zendesk"
    url: EndpointUrl
    """Address of the account: `https://acme.zendesk.com`."""
    user: KeyId | None = None
    """Mail address of the agent to whom the API token belongs. Without it `token` is an OAuth access token."""
    token: AsciiSecret
    """OAuth access token with the scopes `tickets:read` and `tickets:write`; or, with `user`, an API token."""
    project: BySeverity[Number] | None = None
    """Number of the group of new tickets, or one for each severity."""
    priority: BySeverity[Priority] | None = None
    """Priority of new tickets, or one for each severity."""
    labels: BySeverity[Tags] = ()
    """Tags of new tickets, or a list of them for each severity."""
    solve_fields: FieldValues = Field(default_factory=dict)
    """Further fields of a ticket that is solved, by their names in the API, such as those that its form requires."""

    @property
    def api_url(self) -> str:
        """URL of the API, without a slash at its end."""
        return f"{self.url}/api/v2"
