"""Settings of a room of Matrix."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from notifier.channels.live_settings import LiveChatSettings
from notifier.integrations.matrix.mentions import MATRIX_MENTION_FORMS, is_mention
from notifier.settings.types import AsciiSecret, Duration, EndpointUrl
from notifier.settings.words import FixedMessageError


def _check_room(room: str) -> str:
    if not re.fullmatch(r"![!-~]{1,254}", room):
        raise FixedMessageError(
            "must be the ID of a room, which begins with `!`: in Element it is under Room settings, Advanced"
        )
    return room


class MatrixSettings(LiveChatSettings):
    """A user on a homeserver, and the room that it posts to."""

    channel_class = "notifier.integrations.matrix.channel:MatrixChannel"
    mention_forms = MATRIX_MENTION_FORMS
    takes_templates = True

    kind: Literal["matrix"] = "matrix"
    homeserver: EndpointUrl
    """Where the client API is: `https://matrix.example.org`."""
    access_token: AsciiSecret
    """Of a user of its own. A homeserver recognises a repeated message by the device of this token."""
    room_id: Annotated[str, AfterValidator(_check_room)]
    """ID of the room (`!…`). The user must have joined it, and it must not be encrypted."""
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """Maximum time of one request. An attempt may take three times as long."""

    @classmethod
    def accepts_mention(cls, text: str) -> bool:
        """Return whether an entry is the id of a user or `@room`."""
        return is_mention(text)

    @property
    def deadline(self) -> timedelta:
        """Maximum time of one attempt."""
        return self.timeout * 3  # whether the room is encrypted, the message in its thread, and outside of it
