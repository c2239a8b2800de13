"""Messages to a person in Mattermost, or to a channel in which somebody asked for them with a command."""

import json
import re

from notifier.channels.base import ChannelContext, Json, encode_json, stored_body
from notifier.channels.http_chat import Asked
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.core.delivery import Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.identity import DirectChannel
from notifier.integrations.mattermost.bot import MattermostBotChannel, id_at
from notifier.integrations.mattermost.settings import MattermostSettings

MATTERMOST_RECEIVER = re.compile(r"~?[a-z0-9]{26}")
"""Pattern of the id of a direct channel in Mattermost: that of a person, or that of a channel after a tilde."""

_GONE = frozenset(
    {
        "app.channel.get.existing.app_error",
        "app.channel.get.find.app_error",
        "api.post.create_post.can_not_post_to_deleted.error",
        "app.user.missing_account.const",
        "app.user.get.app_error",
    }
)
"""Ids of errors with which Mattermost refuses every message from now on: no such channel, an archived one, no such
user."""
_REFUSED = _GONE | {"api.context.permissions.app_error"}
"""Ids of errors that concern the receiver. The bot may yet be added to a channel that it is not in."""


class DirectMattermostChannel(MattermostBotChannel):
    """Gives up on what Mattermost refuses because of the receiver, which no configuration names."""

    def __init__(self, settings: MattermostSettings, context: ChannelContext, receiver: DirectChannel) -> None:
        """`settings` are those of a configured bot."""
        super().__init__(settings.model_copy(update={"style": "post", "templates": {}}), context)
        self._receiver = receiver
        self._place = "" if receiver.personal else receiver.id.removeprefix("~")
        """The channel that is posted to; empty until that of a person is known."""

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once, to a person after asking for the channel that the bot shares with them."""
        end = self.attempt_end()
        if not self._place and (failed := await self._find_place(end)):
            return failed
        message: Json = json.loads(stored_body(delivery).content)
        place = {"channel_id": self._place}
        return self._final(*await self.ask(self.creation(message, delivery.id, place), end))

    async def _find_place(self, end: float) -> Outcome | None:
        """Ask for the channel of the person; return why it is not known."""
        me = await self.ask(self.getting(f"{self.address}/users/me"), end)
        if not (bot := _id_of(me)):
            return self._unsent(me)
        both = encode_json([bot, self._receiver.id])
        found = await self.ask(self.calling("POST", f"{self.address}/channels/direct", both), end)
        self._place = _id_of(found)
        return None if self._place else self._unsent(found)

    def _unsent(self, asked: Asked) -> Outcome:
        """Return the outcome of a message whose channel is not known: nothing has been posted."""
        outcome = self._final(*asked)
        return Retry(outcome.reason, reply=outcome.reply) if isinstance(outcome, Unknown) else outcome

    def _final(self, outcome: Outcome, reply: ParsedReply | None) -> Outcome:
        code = value_at(reply.data, "id") if reply is not None else None
        if not isinstance(outcome, Parked) or code not in _REFUSED:
            return outcome
        return GaveUp(outcome.reason, reply=outcome.reply, receiver_gone=code in _GONE)


def _id_of(asked: Asked) -> str:
    _, reply = asked
    return "" if reply is None else id_at(reply, "id")
