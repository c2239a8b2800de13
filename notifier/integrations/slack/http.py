"""Slack's slash commands and clicks over HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.channels.base import Json, encode_json
from notifier.chat.endpoints import InvalidRequest, parse_form, post_route, raw_header, read_body
from notifier.chat.ports import BadRequest
from notifier.integrations.slack import signature
from notifier.integrations.slack.chat import SlackRequestHandler
from notifier.logs import RejectionLog
from notifier.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackRoutes:
    """Endpoints that Slack calls."""

    handler: SlackRequestHandler
    signing_secret: str = field(repr=False)
    clock: Clock
    rejections: RejectionLog

    def routes(self) -> Sequence[Route]:
        """Return POST /slack/commands and /slack/interactions."""
        return (
            post_route("/slack/commands", self._command, self.rejections),
            post_route("/slack/interactions", self._interaction, self.rejections),
        )

    async def _command(self, request: Request) -> Response:
        form, replay_key = await self._authenticated(request)
        if not replay_key:
            return Response()
        message = await self.handler.command(form, replay_key)
        return Response(encode_json(message), media_type="application/json")

    async def _interaction(self, request: Request) -> Response:
        form, replay_key = await self._authenticated(request)
        if replay_key:
            await self.handler.interaction(_payload(form), replay_key)
        return Response()

    async def _authenticated(self, request: Request) -> tuple[Mapping[str, str], str | None]:
        """Return the form and its replay key; None for Slack's unsigned and harmless check of our certificate."""
        body = await read_body(request)
        signed = raw_header(request, "X-Slack-Signature")
        why = signature.rejection_reason(
            self.signing_secret,
            timestamp=raw_header(request, "X-Slack-Request-Timestamp"),
            signature=signed,
            body=body,
            now=self.clock.now(),
        )
        if why is None:
            form = parse_form(request, body)
            return form, None if _is_certificate_check(form) else sha256(signed).hexdigest()
        try:
            form = parse_form(request, body)
        except (InvalidRequest, BadRequest):
            form = {}
        if _is_certificate_check(form):
            return form, None
        raise InvalidRequest(401, why)


def _is_certificate_check(form: Mapping[str, str]) -> bool:
    return form.get("ssl_check") == "1"


def _payload(form: Mapping[str, str]) -> Json:
    if "payload" not in form:
        raise BadRequest("The field payload is missing.")
    try:
        # Stricter than json: no lone surrogates, which a database refuses.
        payload = msgspec.json.decode(form["payload"])
    except (msgspec.DecodeError, RecursionError):
        raise BadRequest("The field payload is not JSON.") from None
    if not isinstance(payload, dict):
        raise BadRequest("The field payload is not a JSON object.")
    return payload
