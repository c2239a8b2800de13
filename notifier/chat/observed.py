"""A responder that reports how long answers take."""

import re
from time import perf_counter

from notifier.chat.ports import PermissionCheck, Responder
from notifier.chat.requests import ChatReply, ClickRequest, CommandRequest
from notifier.core.commands import parse_command
from notifier.telemetry.ports import Telemetry
from notifier.wording.phrases import Language


def command_name(request: CommandRequest | ClickRequest) -> str:
    """Return what was asked for, in one of the words that the program knows: never what somebody typed."""
    if isinstance(request, ClickRequest):
        return f"button_{request.button.action.name.lower()}"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(parse_command(request.text)).__name__).lower()


class ObservedResponder:
    """Implements `ports.Responder` by another one."""

    def __init__(self, responder: Responder, telemetry: Telemetry) -> None:
        self._responder = responder
        self._telemetry = telemetry

    async def answer(
        self, request: CommandRequest | ClickRequest, language: Language, may_change: PermissionCheck
    ) -> ChatReply | None:
        """Do what was asked for and return the reply; see `ports.Responder`."""
        began, outcome, command = perf_counter(), "failed", command_name(request)
        with self._telemetry.tracer.span("chat.command", command=command) as span:
            try:
                reply = await self._responder.answer(request, language, may_change)
                outcome = "answered"
            finally:
                span.set(outcome=outcome)
                self._telemetry.meters.answered(command, outcome, perf_counter() - began)
        return reply
