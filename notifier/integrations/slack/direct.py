"""Messages to a person in Slack, or to a channel in which somebody asked for them with a command."""

from notifier.core.delivery import GaveUp, Outcome, Parked
from notifier.core.identity import DirectChannel
from notifier.integrations.slack.api import SlackResponse
from notifier.integrations.slack.channel import SlackChannel
from notifier.integrations.slack.errors import ContentRefused, MessageGone, refuses_channel

_GONE = frozenset({"is_archived", "channel_is_archived", "user_not_found", "user_disabled"})
"""Codes with which Slack refuses every message from now on. Others can change: the bot may yet be invited to a channel,
and a private channel is not found by those who are not in it."""


class DirectSlackChannel(SlackChannel):
    """Gives up on what Slack refuses because of the receiver: no configuration that somebody could fix names it."""

    def meaning_of(self, response: SlackResponse) -> Outcome | ContentRefused | MessageGone:
        """Return what a response means for the message."""
        found = super().meaning_of(response)
        if not isinstance(found, Parked) or not refuses_channel(response):
            return found
        unknown_person = response.code == "channel_not_found" and DirectChannel(self._channel).personal
        return GaveUp(found.reason, receiver_gone=response.code in _GONE or unknown_person)
