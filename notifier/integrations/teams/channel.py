"""A channel of Microsoft Teams that a workflow posts to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from notifier.channels.base import json_body, stored_body
from notifier.channels.http_channel import address_problem
from notifier.channels.http_chat import ChatRequest, HttpChat
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import says_failed
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Body, Delivered, Delivery
from notifier.integrations.teams.messages import TEAMS_MARKDOWN, TeamsLayout
from notifier.integrations.teams.settings import TeamsSettings
from notifier.ports import CheckResult

if TYPE_CHECKING:
    from notifier.ports import RenderRequest

_PROXY_LOGIN = 407


class TeamsChannel(HttpChat[TeamsSettings]):
    """Posts to one channel. The workflow accepts a message before it posts it, so it names none."""

    kind = "teams"
    markup = TEAMS_MARKDOWN
    tables = ("teams", "webhook")
    replies_as = "workflow"
    not_valid = "the workflow takes nothing from this URL: copy the URL again or make a new workflow"
    storm_size = 200
    storm_room = 7_000

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the message as JSON."""
        message = TeamsLayout(self.context.formatter).message(request, filled)
        return json_body(message)

    @property
    def address(self) -> str:
        """Origin of the workflow: a request to the workflow itself could start it."""
        parts = urlsplit(self.settings.webhook_url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc}/"

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request with the stored message."""
        return ChatRequest(url=self.settings.webhook_url.get_secret_value(), content=stored_body(delivery).content)

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return that the workflow accepted the message. It replies 202, or whatever its author made it reply."""
        return Delivered() if reply.succeeded and not reply.is_page and not says_failed(reply) else None

    def probe_problem(self, reply: ParsedReply) -> tuple[str, str] | None:
        """Return that a proxy is in the way. What the origin says proves nothing about the workflow."""
        if reply.status == _PROXY_LOGIN:
            return f"HTTP {reply.status}: {address_problem(reply.status)}", "check network.proxy"
        return None

    async def check(self) -> Sequence[CheckResult]:
        """Ask whether something answers, and look at the URL. Only a message proves the workflow."""
        (found,) = await super().check()
        if not found.ok or self.settings.is_signed:
            return (found,)
        detail = "the URL has no sig=: a workflow with such a URL lets only users post who have signed in"
        remedy = "let Anyone trigger the workflow, save it, and copy its URL again"
        return (replace(found, detail=detail, remedy=remedy),)
