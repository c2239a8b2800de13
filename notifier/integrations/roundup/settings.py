"""Settings of the channel that keeps tickets in Roundup."""

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from notifier.channels.ticket_settings import TicketSettings, Word
from notifier.settings.explain import setting_error
from notifier.settings.types import PlainText, Secret, url_rule


class RoundupSettings(TicketSettings):
    """Settings of a Roundup tracker: its address, the account, and the words for its states."""

    channel_class = "notifier.integrations.roundup.channel:RoundupChannel"

    kind: Literal["roundup"] = "roundup"
    url: Annotated[
        str,
        BeforeValidator(lambda value: value.rstrip("/") if isinstance(value, str) else value),
        url_rule("https://bugs.example.com/tracker", https_only=True),
    ]
    """Address of the tracker, as `web` in its config.ini has it."""
    user: PlainText
    """Name of the account that opens tickets."""
    password: Secret
    """Password of the account."""
    open_status: Word = "unread"
    """Status of a ticket that is opened, or opened again."""
    closed_status: Word = "resolved"
    """Status of a ticket that is closed."""
    closed_statuses: Annotated[tuple[Word, ...], Field(max_length=20)] = ("done-cbb", "resolved")
    """Every status that counts as closed."""
    project: None = None
    """Always null: a tracker has one list of tickets."""

    @model_validator(mode="after")
    def _check_statuses(self) -> Self:
        if self.closed_status not in self.closed_statuses:
            raise setting_error("closed_statuses", f"must name closed_status, which is {self.closed_status!r}")
        if self.open_status in self.closed_statuses:
            raise setting_error("open_status", "must not be one of closed_statuses")
        return self
