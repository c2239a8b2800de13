"""The settings that every kind of ticket channel has. Light: reading a configuration imports this."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, model_validator

from notifier.channels.by_severity import BySeverity
from notifier.channels.settings import ChannelSettings
from notifier.core.severity import Severity
from notifier.core.tickets import TicketRules
from notifier.settings.explain import setting_error
from notifier.settings.interpolated import with_values
from notifier.settings.types import Duration, Unquoted

REQUESTS = 4
"""Number of requests that the deadline of an attempt has time for, each as long as `timeout`."""

MAX_LABELS = 20

Word = Annotated[str, Field(min_length=1, max_length=255)]
Words = Annotated[tuple[Word, ...], Field(max_length=MAX_LABELS)]
FieldName = Annotated[str, Field(min_length=1, max_length=100)]
FieldValues = Annotated[Mapping[FieldName, Any], BeforeValidator(with_values)]
"""Names and JSON values. A number or a switch without quotes is one."""

Number = Annotated[str, Unquoted, Field(pattern="^[0-9]{1,20}$")]
"""The number by which a service calls something, written with or without quotes."""

WordBySeverity = BySeverity[Word]
"""One word, or one for each severity: `{critical: Highest, error: High}`."""
WordsBySeverity = BySeverity[Words]
"""A list, or one for each severity."""

T = TypeVar("T")


def for_severity(value: T | Mapping[Severity, T] | None, severity: Severity) -> T | None:
    """Return what a setting that may differ by severity has for one; None where it has nothing for that."""
    return value.get(severity) if isinstance(value, Mapping) else value


def severities_without(value: object) -> str:
    """Return the severities for which a setting that may differ by severity has nothing, with commas between them."""
    return ", ".join(one for one in Severity if one not in value) if isinstance(value, Mapping) else ""


class TicketSettings(ChannelSettings):
    """Settings that every kind of ticket channel has. A kind narrows `kind`, and adds its address and credential."""

    takes_templates = True
    keeps_tickets = True
    has_labels: ClassVar[bool] = True
    """Whether tickets of the service have labels. False makes `labels` an error."""
    own_fields: ClassVar[frozenset[str]] = frozenset()
    """Names in the API of the fields that the program writes, such as the one with the key. `fields` has none of them:
    without its key a ticket would not be found again."""

    digest_above: None = None
    """Always null: each failing operation has a ticket of its own."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one request. An attempt may take four times as long."""
    close: Literal["always", "untouched", "never"] = "untouched"
    """Whether a success closes the ticket. `untouched`: not if a person has moved it to another state; then it gets a
    comment."""
    closed_by_hand: Literal["new", "reopen", "comment"] = "new"
    """What a failure does if a person has closed the ticket: open a new one, open it again, or comment on it."""
    reopen_within: Duration = Field(default=timedelta(days=7), ge=timedelta(0), le=timedelta(days=365))
    """Time after which a closed ticket stays closed, and a failure opens a new one that names it."""
    priority: WordBySeverity | None = None
    """Priority of new tickets, in the words of the service; or one for each severity."""
    assignee: WordBySeverity | None = None
    """Who gets new tickets, as the service calls them; or one for each severity."""
    project: WordBySeverity | None = None
    """Where tickets are opened, as the service calls it; or one place for each severity."""
    labels: WordsBySeverity = ()
    """Labels of new tickets, or a list of them for each severity."""
    fields: FieldValues = Field(default_factory=dict)
    """Further fields of new tickets, by the names that the service's API has for them."""
    fields_by_severity: Mapping[Severity, FieldValues] = Field(default_factory=dict)
    """Fields that only tickets of one severity get. They replace those of `fields`."""

    @property
    def deadline(self) -> timedelta:
        """Maximum time of one attempt, which makes several requests."""
        return self.timeout * REQUESTS

    @property
    def projects(self) -> tuple[str, ...]:
        """Where the channel opens tickets unless a route names another place, each once, in the order of `project`."""
        if self.project is None:
            return ()
        return tuple(dict.fromkeys(self.project.values())) if isinstance(self.project, Mapping) else (self.project,)

    @property
    def rules(self) -> TicketRules:
        """When tickets are closed, and what follows a failure after they were."""
        return TicketRules(close=self.close, closed_by_hand=self.closed_by_hand, reopen_within=self.reopen_within)

    @model_validator(mode="after")
    def _has_use_for_its_labels(self) -> Self:
        if self.labels and not self.has_labels:
            raise setting_error("labels", f"has no effect: tickets of the kind {self.kind} have none; use fields.")
        return self

    @model_validator(mode="after")
    def _leaves_our_fields_alone(self) -> Self:
        for key, names in (("fields", self.fields), *self.fields_by_severity.items()):
            if taken := sorted(self.own_fields & names.keys()):
                what = f"cannot set {', '.join(taken)}: the program writes that itself; see templates"
                raise setting_error("fields" if key == "fields" else "fields_by_severity", what)
        return self
