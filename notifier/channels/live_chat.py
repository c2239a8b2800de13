"""What chats with threads share whose messages change as their task moves."""

from __future__ import annotations

from typing import TypeVar

from notifier.channels.settings import ChannelSettings
from notifier.channels.templated import TemplatedChannel
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Delivery, Thread, delivery_id
from notifier.ports import RenderRequest

S = TypeVar("S", bound=ChannelSettings)


class LiveChat(TemplatedChannel[S]):
    """A chat whose first message about a task begins a thread. A kind has `show` and `show_copy` besides."""

    def begins_thread(self, delivery: Delivery) -> bool:
        """Return whether later messages are sent to the thread of this one: it is the first of a task or of a storm."""
        if delivery.storm:
            return self.threads and delivery.storm.opened_by == delivery.id
        return self.threads and not delivery.digest and delivery.events[0].task is not None

    def filled_now(self, thread: Thread) -> FilledTemplate:
        """Return what the templates make of the event that a message shows; log where one fails."""
        about = RenderRequest(
            delivery_id=delivery_id(self.name, thread.event.id),
            events=(thread.event,),
            routing=thread.routing,
            storm=thread.storm,
        )
        filled = self.filled(about)
        if filled.failure:
            self.log_failure(about, filled.failure)
        return filled
