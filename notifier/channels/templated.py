"""The base of a channel whose messages the templates of its settings can replace."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from notifier.channels.base import BaseChannel, ChannelContext, stored_body
from notifier.channels.envelope import facts, message_type
from notifier.channels.settings import ChannelSettings
from notifier.channels.templates import BUILT_IN, ChannelTemplates, FilledTemplate
from notifier.ports import RenderRequest

if TYPE_CHECKING:
    from notifier.core.delivery import Body, Delivery, Outcome

FALLBACK_MARK = "; template=failed"
"""End of the content type of a stored message that is the built-in one because its template failed."""

S = TypeVar("S", bound=ChannelSettings)


def unmarked(body: Body) -> Body:
    """Return a body as its kind made it, also where it is the built-in one of a template that failed."""
    return replace(body, content_type=body.content_type.removesuffix(FALLBACK_MARK))


class TemplatedChannel(BaseChannel[S]):
    """Implements `render` and `send`. A kind has `compose`, `attempt` and `escape`, and its settings take templates.

    A template that fails on an event costs no message: the built-in one is sent, and the log and the delivery have the
    reason.
    """

    def __init__(self, settings: S, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self._templates = ChannelTemplates(settings.templates, self.escape, context.localizer)

    @property
    def template_key(self) -> Hashable:
        """Part of the `body_key` of a kind that has one: equal for equal templates."""
        templates = self.settings.templates.items()
        return tuple((key, name, part.source) for key, one in templates for name, part in one.parts.items())

    @abstractmethod
    def escape(self, text: str) -> str:
        """Return one line of text in the channel's markup, in which nothing is markup, a mention or a link."""

    @abstractmethod
    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the bytes to send, with what the templates replace. Pure; see `ports.Channel.render`."""

    @abstractmethod
    async def attempt(self, delivery: Delivery) -> Outcome:
        """Try once to send; see `ports.Channel.send`."""

    def filled(self, request: RenderRequest) -> FilledTemplate:
        """Return what the templates of the settings make of a message. Those of a storm stay built in: they change."""
        if request.storm or not self.settings.templates:
            return BUILT_IN
        return self._templates.fill(message_type(request), facts(request, self.context), request.routing.template)

    def render(self, request: RenderRequest) -> Body:
        """Return the bytes to send, marked where the built-in message replaces one whose template failed."""
        filled = self.filled(request)
        body = self.compose(request, filled)
        return replace(body, content_type=body.content_type + FALLBACK_MARK) if filled.failure else body

    def render_problem(self, request: RenderRequest) -> str | None:
        """Return why the template fails; see `BaseChannel.render_problem`."""
        failure = self.filled(request).failure
        return f"{failure}; the built-in message would be sent" if failure else None

    async def send(self, delivery: Delivery) -> Outcome:
        """Try once to send, and report where the template of the message failed."""
        body = stored_body(delivery)
        outcome = await self.attempt(replace(delivery, body=unmarked(body)))
        if not body.content_type.endswith(FALLBACK_MARK):
            return outcome
        request = RenderRequest.of(delivery)
        self.log_failure(request, self.filled(request).failure)
        what = "the template fails for this event, so the built-in message was sent: see notifier preview"
        return replace(outcome, reason="; ".join(filter(None, (outcome.reason, what))))

    def log_failure(self, request: RenderRequest, failure: str | None) -> None:
        """Log that the built-in message is sent. `failure` is None where the template has changed since."""
        import structlog  # noqa: PLC0415 - reading settings must not load it

        types = sorted({event.type.value for event in request.events})
        reason = failure or "the template failed; it has changed since"
        msg = "the built-in message was sent"
        log = structlog.get_logger(__name__)
        log.warning("channel.template_failed", msg=msg, channel=self.name, types=types, reason=reason)
