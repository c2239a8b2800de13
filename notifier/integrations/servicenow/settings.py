"""Settings of a channel that keeps incidents in ServiceNow."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from notifier.channels.auth_settings import BasicUser, OAuth2Client
from notifier.channels.by_severity import BySeverity
from notifier.channels.ticket_settings import FieldValues, TicketSettings, Word
from notifier.settings.explain import setting_error
from notifier.settings.types import AccountPassword, EndpointUrl, HttpsUrl

IMPACT_URGENCY = re.compile(r"([1-9])/([1-9])")
ImpactUrgency = Annotated[str, Field(pattern=rf"^{IMPACT_URGENCY.pattern}$")]

_State = Annotated[str, Field(pattern=r"^-?[0-9]{1,4}$")]
_States = Annotated[tuple[_State, ...], Field(min_length=1, max_length=20)]


class ServiceNowClient(OAuth2Client):
    """A client of the instance, which acts as the user that it belongs to."""

    token_url: HttpsUrl | None = None
    """Token endpoint. null: that of the instance, `/oauth_token.do`."""
    credentials: Literal["header", "body"] = "body"


class ServiceNowSettings(TicketSettings):
    """Incidents of an instance."""

    channel_class = "notifier.integrations.servicenow.channel:ServiceNowChannel"
    has_labels = False

    kind: Literal["servicenow"] = "servicenow"
    url: EndpointUrl
    """URL of the instance, such as https://example.service-now.com."""
    user: BasicUser | None = None
    """Name of the user for the API."""
    password: AccountPassword | None = None
    auth: ServiceNowClient | None = None
    """A client of OAuth 2.0, instead of `user` and `password`, where the instance allows client credentials."""
    priority: BySeverity[ImpactUrgency] | None = None
    """Impact and urgency of new incidents, as `2/1`; or one for each severity. ServiceNow computes the priority from
    both."""
    comment_field: Literal["work_notes", "comments"] = "work_notes"
    """Where comments go: notes for those who work on the incident, or comments that the caller gets too."""
    close_code: Word
    """Resolution code of resolved incidents, one of the instance's own, such as `Solution provided`."""
    close_fields: FieldValues = Field(default_factory=dict)
    """Further fields to set on resolving, by their names in the API."""
    resolved_state: _State = "6"
    """Value of the state of an incident that is resolved."""
    reopened_state: _State = "2"
    """Value of the state of an incident that is opened again."""
    closed_states: _States = ("6", "7", "8")
    """Values of the states that count as closed: Resolved, Closed and Canceled."""
    final_states: _States = ("7", "8")
    """Values of the states that no incident leaves: Closed and Canceled. A new incident follows one of these."""

    @model_validator(mode="after")
    def _has_one_credential(self) -> Self:
        by_password = self.user is not None and self.password is not None
        if (self.user is not None or self.password is not None) and (self.auth is not None or not by_password):
            raise setting_error("auth", "give either user and password, or auth.")
        if not by_password and self.auth is None:
            raise setting_error("user", "give user and password, or auth with client_id and client_secret.")
        return self
