"""The settings of a source of alarms of GaussDB: the project's events and alarm history. Light, as the others."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from notifier.core.alarms import AlarmFeed, AlarmLevel
from notifier.core.credentials import Credential
from notifier.core.errors import ConfigurationError
from notifier.core.polling import PollRules
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, EndpointUrl
from notifier.sources.cloud_settings import CloudSettings
from notifier.sources.regions import ces_endpoint, gaussdb_endpoint

ALARM_WINDOW = timedelta(days=7)
"""How far back alarms are read: the alarm history reaches no further."""


class GaussDBEventsSettings(CloudSettings):
    """The alarms of one project: what GaussDB reports about its instances by itself."""

    source_class = "notifier.sources.gaussdb_events:GaussDBEventsSource"
    lists_alarms = True

    kind: Literal["gaussdb_events"]
    feeds: tuple[AlarmFeed, ...] = Field(default=(AlarmFeed.CLOUD_EYE, AlarmFeed.ALARM_HISTORY), min_length=1)
    """The lists to read: `cloud_eye` has faults, failovers and failed operations, `alarm_history` the alarms of your
    own alarm rules. Where both are read, alarms of rules about events are left out: these events are reported."""
    endpoint: EndpointUrl | None = None
    """GaussDB's endpoint, for the alarm history. Default: that of the region. Required for an unknown region."""
    ces_endpoint: EndpointUrl | None = None
    """Cloud Eye's endpoint. Default: that of the region."""
    poll_every: Annotated[Duration, Field(ge=timedelta(milliseconds=100))] = timedelta(minutes=1)

    @property
    def history_url(self) -> str:
        """URL of GaussDB's API."""
        return self.endpoint or gaussdb_endpoint(self.region)

    @property
    def cloud_eye_url(self) -> str:
        """URL of Cloud Eye's API."""
        return self.ces_endpoint or ces_endpoint(self.region)

    @property
    def calls_per_poll(self) -> int:
        """API calls that a poll without new events takes: the names of the events, and each level of the history."""
        names = 1 if AlarmFeed.CLOUD_EYE in self.feeds else 0
        return names + (len(AlarmLevel) if AlarmFeed.ALARM_HISTORY in self.feeds else 0)

    def poll_rules(
        self, *, lease: timedelta, calls_per_minute: float, credential: Credential | None, configured: frozenset[str]
    ) -> PollRules:
        """Return how this source is polled; see `SourceSettings.poll_rules`."""
        rules = super().poll_rules(
            lease=lease, calls_per_minute=calls_per_minute, credential=credential, configured=configured
        )
        feeds = tuple(feed.value for feed in AlarmFeed if feed in self.feeds)
        return replace(rules, feeds=feeds, list_window=ALARM_WINDOW)

    @model_validator(mode="after")
    def _has_endpoints(self) -> Self:
        try:
            _ = self.history_url if AlarmFeed.ALARM_HISTORY in self.feeds else ""
            _ = self.cloud_eye_url if AlarmFeed.CLOUD_EYE in self.feeds else ""
        except ConfigurationError as error:
            raise setting_error("region", str(error)) from None
        return self
