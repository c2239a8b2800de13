"""The section `routes`: which events go to which channels."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, timedelta
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from notifier.channels.ticket_settings import FieldValues, Word, Words
from notifier.config.calendars import CalendarSettings
from notifier.config.matchers import MatcherText
from notifier.core.calendars import days_of
from notifier.core.durations import DURATION_PATTERN
from notifier.core.matchers import check_field
from notifier.core.routing import MAX_MENTIONS, Otherwise, Route
from notifier.core.severity import Severity
from notifier.core.tickets import TicketFields
from notifier.core.windows import Window, parse_window
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import Duration, MentionText, Name
from notifier.settings.words import FixedMessageError, did_you_mean


def _group_field(text: str) -> str:
    check_field(text)
    return text


GroupField = Annotated[str, AfterValidator(_group_field)]
"""Name of a field of events, or `label.NAME`."""


def _windows(value: object) -> tuple[str, ...]:
    """Read the text of a window, or several."""
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) for text in texts):
        raise FixedMessageError("must be hours of the week such as weekdays 09:00-18:00 Asia/Shanghai, or a list.")
    parse_window(texts)
    return tuple(texts)


SHORTEST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(days=30)
"""Bounds of the waits between reminders, and of those for the steps of an escalation."""
MAX_WAITS = 20
"""Maximum number of different waits between the reminders of a route."""

ReminderWait = Annotated[Duration, Field(ge=SHORTEST_WAIT, le=LONGEST_WAIT)]
_WAIT: Any = {"type": "string", "pattern": DURATION_PATTERN, "examples": ["30m", "4h"]}


def _waits(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


ReminderWaits = Annotated[
    tuple[ReminderWait, ...],
    BeforeValidator(_waits),
    Field(min_length=1, max_length=MAX_WAITS),
    WithJsonSchema({"anyOf": [_WAIT, {"type": "array", "items": _WAIT, "minItems": 1, "maxItems": MAX_WAITS}]}),
]
"""One wait, or several in a row."""

WindowTexts = Annotated[
    tuple[str, ...],
    PlainValidator(_windows),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
            "examples": ["weekdays 09:00-18:00 Asia/Shanghai", "mon-fri 22:00-06:00; weekend"],
        }
    ),
]

_OTHERWISE = (
    "hold keeps the events until the window opens and sends them together then, drop suppresses them, and a list of"
    " channels, such as [oncall], is where they go instead"
)


def _otherwise(value: object) -> Otherwise | tuple[str, ...]:
    if value in list(Otherwise):
        return Otherwise(str(value))
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(dict.fromkeys(value))
    raise FixedMessageError(f"must be hold, drop or a list of channels: {_OTHERWISE}.")


OtherwiseSetting = Annotated[
    Otherwise | tuple[str, ...],
    PlainValidator(_otherwise),
    WithJsonSchema(
        {"anyOf": [{"enum": ["hold", "drop"]}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    ),
]


def _holidays(value: object) -> str | tuple[date, ...]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list | tuple):
        raise FixedMessageError("must be the name of a calendar, or a list of days such as [2027-01-01].")
    return tuple(map(_day, value))


def _day(value: object) -> date:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a day. Write it as 2027-01-01.") from None


HolidaysSetting = Annotated[
    str | tuple[date, ...],
    PlainValidator(_holidays),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "format": "date"}}]}),
]


WITHOUT_ACTIVE = "has no effect without active. Give the hours, for example active: weekdays 09:00-18:00."
"""Why `holidays` or `otherwise` is wrong where there is no window."""


def read_window(
    active: tuple[str, ...],
    holidays: str | tuple[date, ...] | None,
    timezone: str,
    calendars: Iterable[CalendarSettings],
) -> Window:
    """Return the window of `active` and `holidays`. Days of a calendar that is read later are not in it yet."""
    if not isinstance(holidays, str):
        return parse_window(active, timezone, holidays or ())
    days = (days_of(calendar.dates) for calendar in calendars if calendar.name == holidays)
    return parse_window(active, timezone, next(days, ()), holidays)


def unknown_calendar(name: str, calendars: Iterable[CalendarSettings]) -> str:
    """Return that no calendar has a name, and which there are."""
    hint = did_you_mean(name, [calendar.name for calendar in calendars], otherwise="Calendars")
    return f"no calendar is called {name!r}. {hint}"


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
    match: tuple[MatcherText, ...] = ()
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
    repeats: Annotated[Duration, Field(ge=timedelta(minutes=1), le=timedelta(days=30))] | None = None
    """Time within which a failure that repeats an open one (same operation and instance, same reason) is counted on
    the message of the first one instead of sent again, such as `6h`. Tickets get every failure. null sends each."""
    remind: ReminderWaits | None = None
    """Wait before a failure that is still open, and that nobody has acknowledged, is reported again, such as `30m`; or
    a list of waits, `[30m, 1h, 4h]`, the last of which repeats. At most 24 times. null never reminds."""
    escalate: str | None = None
    """Name of the escalation that follows where nobody acknowledges a failure."""
    template: Name | None = None
    """Name of templates that replace the words of its channels: those that a channel has under `@NAME`."""
    active: WindowTexts | None = None
    """Hours at which it leads to `channels`: `weekdays 09:00-18:00 Asia/Shanghai`, `mon-fri 22:00-06:00; weekend`. Days
    are daily, weekdays, weekend, holidays, mon-fri or sat,sun; without a time zone that of the configuration counts."""
    otherwise: OtherwiseSetting | None = None
    """What becomes of its events at all other hours: `hold` (sent together when the window opens), `drop`, or other
    channels: `[oncall]`. Required with `active`."""
    holidays: HolidaysSetting | None = None
    """Days on which the window is closed but for its part for `holidays`: name of one of `calendars`, or a list."""

    @model_validator(mode="after")
    def _groups_wait(self) -> Self:
        if self.group_by is not None and self.wait is None:
            what = "has no effect without wait: add for example wait: 5m, the time to collect events for."
            raise setting_error("group_by", what)
        return self

    @model_validator(mode="after")
    def _windows_are_whole(self) -> Self:
        if self.active is not None and self.otherwise is None:
            raise setting_error("otherwise", f"is missing. Outside the hours of active, {_OTHERWISE}.")
        for name in ("otherwise", "holidays"):
            if self.active is None and getattr(self, name) is not None:
                raise setting_error(name, WITHOUT_ACTIVE)
        return self


def _route(value: object, info: ValidationInfo) -> Route:
    if isinstance(value, Route):
        return value
    found = RouteSettings.model_validate(value, context=info.context)
    given = {name: getattr(found, name) for name in RouteSettings.model_fields if name != "holidays"}
    known: dict[str, Any] = {"ticket": found.ticket and found.ticket.wanted}
    known |= {"group_by": found.group_by or (), "remind": found.remind or ()}
    return Route(**given | known | _window_of(found, info.data))


def _window_of(found: RouteSettings, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the window of a route. `config` has the sections of the configuration that come before the routes."""
    if found.active is None:
        return {"otherwise": Otherwise.HOLD}
    calendars: Sequence[CalendarSettings] = config.get("calendars", ())
    named = found.holidays if isinstance(found.holidays, str) else None
    if named and "calendars" in config and named not in {calendar.name for calendar in calendars}:
        raise setting_error("holidays", unknown_calendar(named, calendars))
    return {"active": read_window(found.active, found.holidays, config.get("timezone", "UTC"), calendars)}


RouteEntry = Annotated[Route, PlainValidator(_route), PlainSerializer(asdict), WithJsonSchema({})]
"""A route of the core, read from `RouteSettings`."""
