"""The section `routes`: which events go to which channels."""

import json
from dataclasses import asdict
from typing import Annotated

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, WithJsonSchema

from notifier.channels.ticket_settings import FieldValues, Word, Words
from notifier.core.matchers import Matcher, parse_matcher
from notifier.core.routing import MAX_MENTIONS, Route
from notifier.core.severity import Severity
from notifier.core.tickets import TicketFields
from notifier.settings.base import Settings
from notifier.settings.types import MentionText, Name
from notifier.settings.words import FixedMessageError


def _matcher(text: object) -> Matcher:
    if not isinstance(text, str):
        raise FixedMessageError("must be text such as type=task.failed.")
    return parse_matcher(text)


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


def _route(value: object, info: ValidationInfo) -> Route:
    if isinstance(value, Route):
        return value
    found = RouteSettings.model_validate(value, context=info.context)
    given = {name: getattr(found, name) for name in RouteSettings.model_fields}
    return Route(**given | {"ticket": found.ticket and found.ticket.wanted})


RouteEntry = Annotated[Route, PlainValidator(_route), PlainSerializer(asdict), WithJsonSchema({})]
"""A route of the core, read from `RouteSettings`."""
