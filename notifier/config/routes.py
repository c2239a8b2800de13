"""The section `routes`: which events go to which channels."""

import json
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from notifier.channels.ticket_settings import FieldValues, Word, Words
from notifier.core.matchers import Matcher, check_field, parse_matcher
from notifier.core.routing import MAX_MENTIONS, Route
from notifier.core.severity import Severity
from notifier.core.tickets import TicketFields
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, MentionText, Name
from notifier.settings.words import FixedMessageError


def _matcher(text: object) -> Matcher:
    if not isinstance(text, str):
        raise FixedMessageError("must be text such as type=task.failed.")
    return parse_matcher(text)


def _group_field(text: str) -> str:
    check_field(text)
    return text


GroupField = Annotated[str, AfterValidator(_group_field)]
"""Name of a field of events, or `label.NAME`."""


class RouteTicketSettings(Settings):
    """What a route wants of the tickets that it opens, instead of what the channel has configured."""

    priority: Word | None = None
    """Priority, in the words of the service."""
    assignee: Word | None = None
    """Who gets the ticket, as the service calls them."""
    project: Word | None = None
    """Where the ticket is opened, as the service calls it."""
    labels: Words = ()
    """Labels besides those of the channel."""
    fields: FieldValues = Field(default_factory=dict)
    """Further fields, by the names that the service's API has for them. They replace those of the channel."""

    @property
    def wanted(self) -> TicketFields:
        """The same as a value of the core."""
        fields = sorted((name, json.dumps(value, ensure_ascii=False)) for name, value in self.fields.items())
        return TicketFields(
            priority=self.priority,
            assignee=self.assignee,
            project=self.project,
            labels=self.labels,
            fields=tuple(fields),
        )


class RouteSettings(Settings):
    """Which events go to which channels. All matching routes apply, up to one with `stop`."""

    name: Name
    match: tuple[Annotated[Matcher, PlainValidator(_matcher), WithJsonSchema({"type": "string"})], ...] = ()
    """All must match: `field=value`, `field!=value`, `field=~regex`, `field!~regex`, `field>number`, `field in [a, b]`,
    `field not in [a, b]`. None matches every event."""
    channels: tuple[str, ...] = Field(min_length=1)
    """Names of channels."""
    stop: bool = False
    """Whether later routes are skipped for an event that matches."""
    severity: Severity | None = None
    """How bad the events are in the messages of this route: `critical`, `error`, `warning` or `info`. Default: failed
    tasks are critical in production, else see `environment` of the source."""
    mention: Annotated[tuple[MentionText, ...], Field(max_length=MAX_MENTIONS)] = ()
    """Whom messages about failures mention while they are loud (critical or error): ids of Slack (U…, S…), @here,
    @channel, @name of Mattermost, mail addresses (Cc). Each channel takes the entries that its kind understands."""
    ticket: RouteTicketSettings | None = None
    """What it wants of the tickets that it opens: `priority`, `assignee`, `project`, `labels` and `fields`. What is not
    given stays as the channel has it."""
    wait: Annotated[Duration, Field(ge=timedelta(seconds=1), le=timedelta(days=1))] | None = None
    """Time for which events are collected, from the first one of a group on: then they go to each channel as one
    message. It holds failures too. A storm is reported at once. null sends each event at once."""
    group_by: tuple[GroupField, ...] | None = None
    """Fields that the events of one group have in common: `[instance]`, `[source, operation]`, `[label.team]`. [] puts
    all events of the route together, which is the default with `wait`."""

    @model_validator(mode="after")
    def _groups_wait(self) -> Self:
        if self.group_by is not None and self.wait is None:
            what = "has no effect without wait: add for example wait: 5m, the time to collect events for."
            raise setting_error("group_by", what)
        return self


def _route(value: object, info: ValidationInfo) -> Route:
    if isinstance(value, Route):
        return value
    found = RouteSettings.model_validate(value, context=info.context)
    given = {name: getattr(found, name) for name in RouteSettings.model_fields}
    return Route(**given | {"ticket": found.ticket and found.ticket.wanted, "group_by": found.group_by or ()})


RouteEntry = Annotated[Route, PlainValidator(_route), PlainSerializer(asdict), WithJsonSchema({})]
"""A route of the core, read from `RouteSettings`."""
