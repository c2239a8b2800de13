"""Mattermost's slash commands over HTTP. Mattermost signs nothing: a token is the only proof of a request."""

import hmac
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.channels.base import encode_json
from notifier.chat.endpoints import InvalidRequest, parse_form, post_route, raw_header, read_body
from notifier.chat.ports import BadRequest, Responder
from notifier.chat.requests import CommandRequest
from notifier.core.people import Person
from notifier.integrations.mattermost.replies import reply_message
from notifier.logs import RejectionLog
from notifier.wording.phrases import Language

_ID = re.compile(r"[a-z0-9]{26}")
_LISTS = ("channel_mentions", "channel_mentions_ids", "user_mentions", "user_mentions_ids")
"""Fields that Mattermost repeats for each mention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MattermostRoutes:
    """Endpoint that Mattermost calls. Nothing proves that a request is new."""

    responder: Responder
    tokens: Collection[str] = field(repr=False)
    allowed: Collection[str]
    """Ids of the users who may make changes."""
    language: Language
    rejections: RejectionLog
    direct: bool = False
    """Whether a bot is configured that can send direct messages."""

    def routes(self) -> Sequence[Route]:
        """Return POST /mattermost/commands."""
        return (post_route("/mattermost/commands", self._command, self.rejections),)

    async def _command(self, request: Request) -> Response:
        header = raw_header(request, "Authorization")
        # Every token is compared, each in constant time. The form's `token` is not used: proxies log it.
        known = [hmac.compare_digest(b"Token " + token.encode(), header) for token in self.tokens]
        if not any(known):
            raise InvalidRequest(401, "wrong token" if "Authorization" in request.headers else "no token")
        form = parse_form(request, await read_body(request), repeatable=_LISTS)
        user = form.get("user_id")
        if not user:
            raise BadRequest("The field user_id is missing.")
        if "text" not in form:
            raise BadRequest("The field text is missing.")
        person = Person(id=user, name=form.get("user_name") or user)
        channel = _channel(form) if self.direct else ""
        may_post = _unknown if channel else None
        command = CommandRequest(
            text=form["text"], person=person, direct=self.direct, channel=channel, may_post=may_post
        )

        async def may_change() -> bool:
            return user in self.allowed

        reply = await self.responder.answer(command, self.language, may_change)
        # Mattermost takes an empty body for an error.
        message = {} if reply is None else reply_message(reply, self.language)
        return Response(encode_json(message), media_type="application/json")


def _channel(form: Mapping[str, str]) -> str:
    """Return the id of a channel as direct channels have it; the empty string for a conversation of few people."""
    id_, name = form.get("channel_id", ""), form.get("channel_name", "")
    return f"~{id_}" if _ID.fullmatch(id_) and "__" not in name else ""


async def _unknown() -> bool | None:
    """Return that it is not known whether the bot may post to a channel."""
    return None
