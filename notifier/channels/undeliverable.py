"""The channel of a recipient who cannot exist: its deliveries fail at once and block no other."""

from typing import ClassVar

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.channels.settings import ChannelSettings
from notifier.core.delivery import Body, Delivery, GaveUp, Outcome
from notifier.ports import RenderRequest


class UndeliverableChannel(BaseChannel[ChannelSettings]):
    """Gives up on every message, for one reason."""

    kind: ClassVar[str] = "undeliverable"

    def __init__(self, reason: str, context: ChannelContext) -> None:
        """`reason` is shown with the dead letters."""
        super().__init__(ChannelSettings(name="undeliverable"), context)
        self._reason = reason

    def render(self, request: RenderRequest) -> Body:  # noqa: ARG002 - the message is never sent
        """Return an empty body."""
        return Body(content=b"", content_type="text/plain")

    async def send(self, delivery: Delivery) -> Outcome:  # noqa: ARG002 - the message is never sent
        """Give up."""
        return GaveUp(self._reason)
