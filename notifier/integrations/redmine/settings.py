"""Settings of a channel that keeps issues in Redmine."""

from typing import Annotated, Literal, Self

from pydantic import Field, WithJsonSchema, model_validator

from notifier.channels.by_severity import BySeverity
from notifier.channels.ticket_settings import (
    FieldValues,
    TicketSettings,
    WordBySeverity,
    severities_without,
)
from notifier.settings.explain import setting_error
from notifier.settings.types import AsciiSecret, Unquoted, url_rule

RedmineId = Annotated[int, Field(ge=1, le=2_147_483_647)]

ID_PATTERN = r"[1-9][0-9]{0,9}"
RedmineIdText = Annotated[
    str,
    Unquoted,
    Field(pattern=rf"^{ID_PATTERN}$"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^{ID_PATTERN}$"}]}),
]
"""An id, which may be written as a number."""


class RedmineSettings(TicketSettings):
    """Issues of a server."""

    channel_class = "notifier.integrations.redmine.channel:RedmineChannel"
    has_labels = False

    kind: Literal["redmine"] = "redmine"
    url: Annotated[str, url_rule("https://redmine.example.com", https_only=True)]
    """URL of the server, with its path where it has one."""
    api_key: AsciiSecret
    """API access key of a user: My account shows it."""
    project: WordBySeverity
    """Identifier or id of the project of new issues; or one for each severity."""
    tracker: RedmineId | None = None
    """Id of the tracker of new issues. null: the first one of the project."""
    priority: BySeverity[RedmineIdText] | None = None
    """Id of the priority of new issues; or one for each severity."""
    assignee: BySeverity[RedmineIdText] | None = None
    """Id of the user or the group that gets new issues; or one for each severity."""
    key_field: RedmineId | None = None
    """Id of a custom field for the key of a ticket, by which it is found again: of the format Text, for all projects,
    and used as a filter. null: the key stands at the end of the subject."""
    close_status: RedmineId | None = None
    """Id of the status of solved issues. null: the first closed one that the workflow allows."""
    reopen_status: RedmineId | None = None
    """Id of the status of issues that are opened again. null: the first open one that the workflow allows."""
    close_fields: FieldValues = Field(default_factory=dict)
    """Further fields to set on closing, by their names in the API, such as `{done_ratio: 100}`."""
    text_format: Literal["textile", "markdown"] = "textile"
    """Text formatting of the server: Administration, Settings, General."""

    @property
    def site(self) -> str:
        """URL of the server without a slash at its end."""
        return self.url.rstrip("/")

    @model_validator(mode="after")
    def _has_a_project_for_every_severity(self) -> Self:
        if missing := severities_without(self.project):
            raise setting_error("project", f"has nothing for {missing}: give one for every severity.")
        return self
