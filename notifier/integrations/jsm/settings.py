"""Settings of an API integration of Jira Service Management Operations."""

from collections.abc import Mapping
from typing import Literal

from notifier.channels.by_severity import BySeverity
from notifier.channels.keyed_ticket_settings import KeyedTicketSettings
from notifier.core.severity import Severity
from notifier.settings.types import AsciiSecret, EndpointUrl

AlertPriority = Literal["P1", "P2", "P3", "P4", "P5"]

USUAL_PRIORITIES: Mapping[Severity, AlertPriority] = {
    Severity.CRITICAL: "P1",
    Severity.ERROR: "P2",
    Severity.WARNING: "P3",
    Severity.INFO: "P5",
}
"""Priorities of alerts where the settings name none."""


class JsmSettings(KeyedTicketSettings):
    """An API integration, of a team or of the whole site."""

    channel_class = "notifier.integrations.jsm.channel:JsmChannel"
    own_fields = frozenset({"message", "alias", "description"})

    kind: Literal["jsm"] = "jsm"
    api_key: AsciiSecret
    """API key of the integration. It is no API token of a user."""
    url: EndpointUrl = "https://api.atlassian.com"
    """Where the API is."""
    priority: BySeverity[AlertPriority] | None = None
    """Priority of new alerts, or one for each severity. Default: P1 for critical, P2 for error, P3 for warning."""
