"""The settings of channels whose service knows alerts by our key. Light: reading a configuration imports this."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from notifier.channels.ticket_settings import TicketSettings
from notifier.settings.explain import setting_error


class KeyedTicketSettings(TicketSettings):
    """`TicketSettings` without what takes reading an alert back, or choosing where it is opened."""

    close: Literal["always", "never"] = "always"
    """Whether a success closes the alert."""
    closed_by_hand: Literal["new"] = "new"
    """Always `new`: a failure raises the alert again, also where somebody has closed it."""
    assignee: None = None
    """Always null: the service assigns alerts by its own rules."""
    project: None = None
    """Always null: the key of the channel belongs to one place."""

    @model_validator(mode="after")
    def _check_reopening(self) -> Self:
        if "reopen_within" in self.model_fields_set:
            raise setting_error("reopen_within", f"has no effect: a closed alert of {self.kind} is never opened again")
        return self
