"""Settings of a channel that keeps issues in Jira."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from notifier.channels.auth_settings import BasicUser
from notifier.channels.ticket_settings import (
    FieldValues,
    TicketSettings,
    Word,
    WordBySeverity,
    severities_without,
)
from notifier.settings.explain import setting_error
from notifier.settings.types import AccountPassword, EndpointUrl, url_rule


class JiraSettings(TicketSettings):
    """A site of Jira Cloud, or a server with Jira Data Center."""

    channel_class = "notifier.integrations.jira.channel:JiraChannel"

    kind: Literal["jira"] = "jira"
    deployment: Literal["cloud", "data_center"]
    """Whose Jira it is: `cloud` (version 3 of its API) or `data_center` (version 2)."""
    url: Annotated[str, url_rule("https://example.atlassian.net", https_only=True)]
    """URL of the site as people open it, with its path where a server has one."""
    cloud_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,100}$")] | None = None
    """Id of a site in the cloud. Needed for the tokens of service accounts and for those with scopes: these work at
    `api_url` only."""
    api_url: EndpointUrl = "https://api.atlassian.com"
    """Where the API of a site with a `cloud_id` is."""
    user: BasicUser | None = None
    """Mail address of the account in the cloud. On a server: left out for a personal access token, else the user."""
    token: AccountPassword
    """API token of the account, personal access token, or password of `user` on a server."""
    token_expires: date | None = None
    """Last day of the token. `notifier check --online` warns in the 14 days before it."""
    project: WordBySeverity
    """Key of the project of new issues; or one for each severity."""
    issue_type: Word = "Task"
    """Name or id of the type of new issues."""
    close_transition: Word | None = None
    """Name or id of the transition that closes an issue. null: one that leads to a state of the category Done."""
    reopen_transition: Word | None = None
    """Name or id of the transition that opens an issue again. null: one that leads to a state that is not Done."""
    close_fields: FieldValues = Field(default_factory=dict)
    """Fields to set on closing by their names in the API, such as `{resolution: {name: Done}}`, where the screen of the
    transition has them."""

    @property
    def site(self) -> str:
        """URL of the site without a slash at its end."""
        return self.url.rstrip("/")

    @model_validator(mode="after")
    def _fits_its_deployment(self) -> Self:
        if self.deployment == "cloud" and self.user is None:
            raise setting_error("user", "give the mail address of the account that the token belongs to.")
        if self.deployment == "data_center" and self.cloud_id is not None:
            raise setting_error("cloud_id", "only sites in the cloud have one: leave it out.")
        return self

    @model_validator(mode="after")
    def _has_a_project_for_every_severity(self) -> Self:
        if missing := severities_without(self.project):
            raise setting_error("project", f"has nothing for {missing}: give one for every severity.")
        return self
