"""Settings of a channel that keeps incidents in ServiceNow."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from notifier.channels.ticket_settings import FieldValues, TicketSettings, Word
from notifier.core.severity import Severity
from notifier.settings.types import AccountPassword, EndpointUrl, PlainText

IMPACT_URGENCY = re.compile(r"([1-9])/([1-9])")
ImpactUrgency = Annotated[str, Field(pattern=rf"^{IMPACT_URGENCY.pattern}$")]

_State = Annotated[str, Field(pattern=r"^-?[0-9]{1,4}$")]
_States = Annotated[tuple[_State, ...], Field(min_length=1, max_length=20)]


class ServiceNowSettings(TicketSettings):
    """Incidents of an instance."""

    channel_class = "notifier.integrations.servicenow.channel:ServiceNowChannel"
    has_labels = False

    kind: Literal["servicenow"] = "servicenow"
    url: EndpointUrl
    """URL of the instance, such as https://example.service-now.com."""
    user: PlainText
    """Name of the user for the API."""
    password: AccountPassword
    priority: ImpactUrgency | Mapping[Severity, ImpactUrgency] | None = None
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
