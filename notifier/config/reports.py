"""The section `reports`: what is summed up at which times, and for whom."""

from datetime import timedelta
from typing import Annotated, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, WithJsonSchema, model_validator

from notifier.config.timezones import Timezone
from notifier.core.cron import Cron
from notifier.core.matchers import Matcher, parse_matcher
from notifier.core.reports import BACKUP_OVERDUE_AFTER, ReportRules, ReportScope
from notifier.core.schedules import MAX_PERIOD_OF_REPORT, ScheduledReport
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, Name
from notifier.settings.words import FixedMessageError

REPORT_FIELDS = ("source", "environment", "region", "project_id", "name", "operation", "instance", "instance_id")
"""Fields by which a report can be narrowed, besides labels: those that a task always has."""


def _schedule(text: str) -> str:
    return Cron.parse(text, "UTC").text


CronText = Annotated[str, AfterValidator(_schedule)]
"""A schedule of five fields, as in a crontab."""


def _matcher(text: object) -> Matcher:
    if isinstance(text, Matcher):
        return text
    if not isinstance(text, str):
        raise FixedMessageError("must be text such as environment=production.")
    matcher = parse_matcher(text)
    if matcher.field not in REPORT_FIELDS and not matcher.field.startswith("label."):
        known = ", ".join(REPORT_FIELDS)
        raise ValueError(f"{matcher.field} narrows no report; fields that do are {known} and label.NAME.")
    return matcher


class ReportSettings(Settings):
    """A summary that is sent at the times of a schedule."""

    name: Name
    schedule: CronText
    """When: minute, hour, day of month, month, day of week, as in a crontab: `0 9 * * 1` for Mondays at 09:00."""
    timezone: Timezone | None = None
    """Time zone of the schedule and of the days in the report. Default: `timezone` of the configuration."""
    channels: tuple[str, ...] = Field(min_length=1)
    """Names of channels. Channels that keep tickets take no reports."""
    period: Duration | None = Field(default=None, ge=timedelta(hours=1), le=MAX_PERIOD_OF_REPORT)
    """How far back it reaches: `1d`, `7d`. Default: to the report before."""
    sources: tuple[str, ...] = ()
    """Names of the sources that it is about. Default: all."""
    match: tuple[
        Annotated[
            Matcher,
            PlainValidator(_matcher),
            PlainSerializer(str, when_used="json"),
            WithJsonSchema({"type": "string"}),
        ],
        ...,
    ] = ()
    """What the tasks fit that it is about: `environment=production`, `instance=prod-*`, `operation=backup`."""
    backup_within: Duration = Field(default=BACKUP_OVERDUE_AFTER, ge=timedelta(hours=1), le=timedelta(days=31))
    """Age of the last successful backup of an instance from which the report names the instance."""

    @model_validator(mode="after")
    def _names_each_channel_once(self) -> Self:
        if len({*self.channels}) < len(self.channels):
            raise setting_error("channels", "names a channel twice.")
        return self

    def scheduled(self, timezone: str) -> ScheduledReport:
        """Return it as a value of the use case. `timezone` is that of the configuration."""
        zone = ZoneInfo(self.timezone or timezone)
        scope = ReportScope(sources=frozenset(self.sources), match=self.match)
        rules = ReportRules(
            name=self.name,
            zone=zone,
            channels=self.channels,
            period=self.period,
            scope=scope,
            backup_after=self.backup_within,
        )
        return ScheduledReport(rules=rules, cron=Cron.parse(self.schedule, zone))
