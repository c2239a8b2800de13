"""A channel to nobody: what is addressed to somebody who cannot exist is given up on, and holds up nothing else."""

from __future__ import annotations

from typing import ClassVar

from notifier.channels.base import BaseChannel, ChannelContext
from notifier.channels.settings import ChannelSettings
from notifier.core.delivery import Body, Delivery, GaveUp, Outcome
from notifier.ports import RenderRequest


class UndeliverableChannel(BaseChannel[ChannelSettings]):
    """Gives up on every message, for one reason."""

    kind: ClassVar[str] = "nobody"

    def __init__(self, reason: str, context: ChannelContext) -> None:
        """`reason` is what the dead letters say."""
        super().__init__(ChannelSettings(name="nobody"), context)
        self._reason = reason

    def render(self, request: RenderRequest) -> Body:  # noqa: ARG002 - nobody reads it
        """Return nothing."""
        return Body(content=b"", content_type="text/plain")

    async def send(self, delivery: Delivery) -> Outcome:  # noqa: ARG002 - it goes nowhere
        """Give up."""
        return GaveUp(self._reason)
