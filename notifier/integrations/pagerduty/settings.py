"""Settings of an integration of PagerDuty."""

from typing import Literal

from notifier.channels.by_severity import BySeverity
from notifier.channels.keyed_ticket_settings import KeyedTicketSettings
from notifier.settings.types import AsciiSecret, EndpointUrl

PagerDutySeverity = Literal["critical", "error", "warning", "info"]


class PagerDutySettings(KeyedTicketSettings):
    """The Events API v2 integration of a service, or of an orchestration."""

    channel_class = "notifier.integrations.pagerduty.channel:PagerDutyChannel"
    own_fields = frozenset({"summary", "severity"})

    kind: Literal["pagerduty"] = "pagerduty"
    routing_key: AsciiSecret
    """Integration key of the service. Whoever has it can only send events to it."""
    url: EndpointUrl = "https://events.pagerduty.com"
    """Where the Events API is."""
    priority: BySeverity[PagerDutySeverity] | None = None
    """PagerDuty's severity of new alerts, or one for each severity. Default: the same word."""
