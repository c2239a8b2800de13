"""The door that chats call: Slack's slash commands and clicks, and Mattermost's slash commands, over HTTP.

A request is measured, then proven, then read; what fails at one step costs nothing of the next. Who has proven nothing
is told nothing but a status; what is wrong with a proven request is said in a sentence.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from notifier.chat.ports import BadRequest, Json, Responder, SlackRequestHandler
from notifier.chat.requests import ChatReply, CommandRequest, Language
from notifier.core.model import Person
from notifier.integrations.slack import signature
from notifier.logs import RejectionLog
from notifier.ports import Clock

BODY_LIMIT = 256 * 1024
"""Bytes. A click carries the whole message it was made on, and Slack's largest fits several times."""
MAX_FORM_FIELDS = 100

_FORM = "application/x-www-form-urlencoded"
_LISTS = ("channel_mentions", "channel_mentions_ids", "user_mentions", "user_mentions_ids")
"""What Mattermost gives once for each mention."""


class _Refused(Exception):
    """A request that is sent away: with a status, a word for the record, and nothing said but to who is proven."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


# ---- Slack ----


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackRoutes:
    """What Slack calls."""

    handler: SlackRequestHandler
    signing_secret: str = field(repr=False)
    clock: Clock
    refused: RejectionLog

    def routes(self) -> Sequence[Route]:
        """Return POST /slack/commands and /slack/interactions."""
        return (
            _route("/slack/commands", self._command, self.refused),
            _route("/slack/interactions", self._interaction, self.refused),
        )

    async def _command(self, request: Request) -> Response:
        form, once = await self._proven(request)
        return JSONResponse(await self.handler.command(form, once)) if once else Response()

    async def _interaction(self, request: Request) -> Response:
        form, once = await self._proven(request)
        if once:
            await self.handler.interaction(_payload(form), once)
        return Response()

    async def _proven(self, request: Request) -> tuple[Mapping[str, str], str | None]:
        """Return the form and what makes the request this one.

        None for Slack's look at our certificate, which has no effect and so needs no proof: Slack signs none.
        """
        body = await _body(request)
        signed = _header(request, "X-Slack-Signature")
        why = signature.refusal(
            self.signing_secret,
            timestamp=_header(request, "X-Slack-Request-Timestamp"),
            signature=signed,
            body=body,
            now=self.clock.now(),
        )
        if why is None:
            form = _form(request, body)
            return form, None if _looks_at_tls(form) else sha256(signed).hexdigest()
        try:
            form = _form(request, body)
        except (_Refused, BadRequest):
            form = {}
        if _looks_at_tls(form):
            return form, None
        raise _Refused(401, why)


def _looks_at_tls(form: Mapping[str, str]) -> bool:
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


# ---- Mattermost ----


@dataclass(frozen=True, slots=True, kw_only=True)
class MattermostRoutes:
    """What Mattermost calls. It signs nothing: a token proves it, and nothing proves that a request is new."""

    responder: Responder
    tokens: Collection[str] = field(repr=False)
    allowed: Collection[str]
    """Ids of the users who may change something."""
    language: Language
    render: Callable[[ChatReply], Json]
    refused: RejectionLog

    def routes(self) -> Sequence[Route]:
        """Return POST /mattermost/commands."""
        return (_route("/mattermost/commands", self._command, self.refused),)

    async def _command(self, request: Request) -> Response:
        if not self._knows(_header(request, "Authorization")):
            raise _Refused(401, "wrong token" if "Authorization" in request.headers else "no token")
        form = _form(request, await _body(request))
        user = form.get("user_id")
        if not user:
            raise BadRequest("The field user_id is missing.")
        if "text" not in form:
            raise BadRequest("The field text is missing.")
        command = CommandRequest(
            text=form["text"], person=Person(id=user, name=form.get("user_name") or user), direct=False
        )

        async def allowed() -> bool:
            return user in self.allowed

        answer = await self.responder.answer(command, self.language, allowed)
        # Mattermost takes an empty body for an error.
        return JSONResponse({} if answer is None else self.render(answer))

    def _knows(self, header: bytes) -> bool:
        """Compare with every token, each in constant time: the form's `token` is a field that proxies log."""
        known = [hmac.compare_digest(b"Token " + token.encode(), header) for token in self.tokens]
        return any(known)


# ---- requests ----


def _route(path: str, answer: Callable[[Request], Awaitable[Response]], refused: RejectionLog) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except _Refused as error:
            refused.count(str(error))
            return Response(status_code=error.status)
        except BadRequest as error:
            refused.count("not what a chat sends")
            return Response(str(error), status_code=400, media_type="text/plain")

    return Route(path, endpoint, methods=["POST"])


def _header(request: Request, name: str) -> bytes:
    """Return a header as it came, empty where there is none."""
    return request.headers.get(name, "").encode("latin-1")


async def _body(request: Request) -> bytes:
    """Read a body, and no more of it than the limit."""
    length = request.headers.get("Content-Length")
    if length and "Transfer-Encoding" in request.headers:
        raise _Refused(400, "two lengths")  # a proxy may have believed the other one
    if length and int(length) > BODY_LIMIT:
        raise _Refused(413, "too large")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_LIMIT:
                raise _Refused(413, "too large")
    except ClientDisconnect:
        raise _Refused(400, "broken off") from None
    return bytes(body)


def _form(request: Request, body: bytes) -> dict[str, str]:
    """Read a form of strict UTF-8 in which nothing is said twice."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _FORM:
        raise _Refused(415, "no form")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except UnicodeDecodeError:
        raise BadRequest("The form is not UTF-8.") from None
    except ValueError:
        raise BadRequest(f"The form has more than {MAX_FORM_FIELDS} fields.") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form and name not in _LISTS:
            raise BadRequest("A field of the form is given twice.")
        if "\0" in value:
            raise BadRequest("The form holds a NUL character.")
        form[name] = value
    return form
