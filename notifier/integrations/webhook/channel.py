"""The webhook channel: a signed POST of the Standard Webhooks 1.0.0 envelope, or of a body made by a template."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

import structlog

from notifier.channels.access_tokens import NoAccessToken
from notifier.channels.base import PROBE_AFTER, ChannelContext, encode_json, stored_body
from notifier.channels.envelope import envelope, facts, message_type
from notifier.channels.http_channel import HttpChannel, address_problem, outcome_of_error, outcome_of_status
from notifier.channels.mutual_tls import with_own_certificate
from notifier.channels.placeholders import MissingSecret, Placeholders
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import known_outcome
from notifier.channels.templates import TemplateFailed, template_key
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, Parked, ResendPolicy, Retry, Unknown
from notifier.core.retry import retry_after
from notifier.http import HttpError, Reply
from notifier.integrations.webhook.auth import TokenBearer, static_authorization
from notifier.integrations.webhook.auth_settings import WebhookOAuth2
from notifier.integrations.webhook.body_template import Renderer
from notifier.integrations.webhook.settings import JSON, WebhookSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.settings.types import is_loopback

_STANDARD_INSTEAD = f"{JSON}; body=standard"
"""Content type of a stored standard body that replaces one on which the template failed. It is sent as JSON."""

_ReplyKey = tuple[int, bytes, str | None, str | None]
"""Status, body, Content-Type and Content-Encoding: all that a successful outcome depends on."""

_MAX_KNOWN_REPLIES, _MAX_KNOWN_REPLY = 16, 1024
"""Maximum number of replies whose meaning is remembered, and maximum size of one, in bytes."""

_UNSUPPORTED_MEDIA_TYPE = 415

log = structlog.get_logger(__name__)


BODY_TEMPLATE = "body_template"
"""The template of every message that `templates` have none for."""


def _renderers(settings: WebhookSettings) -> Iterator[tuple[str, Renderer]]:
    """Yield the templates of the settings, by their keys."""
    for key, template in settings.templates.items():
        if template.text is not None:
            yield key, Renderer(template.text, settings.content_type, f"template {key}")
    if settings.body_template is not None:
        yield BODY_TEMPLATE, Renderer(settings.body_template, settings.content_type, BODY_TEMPLATE)


class WebhookChannel(HttpChannel[WebhookSettings]):
    """Posts to one URL."""

    kind = "webhook"
    keeps_deadline = True
    resend_policy = ResendPolicy.IDEMPOTENT
    media_remedy = "the receiver does not take this content type: set content_type, or another format"
    """What a person can do about HTTP 415."""

    def __init__(self, settings: WebhookSettings, context: ChannelContext) -> None:
        super().__init__(settings, with_own_certificate(context, settings))
        self._renderers = dict(_renderers(settings))
        placed = {name: value for one in self._renderers.values() for name, value in one.template.secrets.items()}
        self._placeholders = Placeholders(placed)
        sources = ((key, one.template.source) for key, one in self._renderers.items())
        self.body_key = (self.kind, context.formatter, *sources, *sorted(placed.items()), settings.content_type)
        self.url = settings.url.get_secret_value()
        self._own_headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        for name, value in static_authorization(settings.auth).items():
            self._own_headers[name] = value
            self.mask_too(value.rpartition(" ")[2])
        self._bearer = TokenBearer(settings.auth, self) if isinstance(settings.auth, WebhookOAuth2) else None
        keys = (b64decode(secret.partition("_")[2] + "==") for secret in settings.signing_secrets)
        self._signers = [hmac.new(key, digestmod="sha256") for key in keys]
        """One for each key, to be copied: to set one up costs more than to sign a message."""
        self._known_replies: dict[_ReplyKey, Delivered] = {}

    @classmethod
    def open(cls, settings: WebhookSettings, context: ChannelContext) -> WebhookChannel:
        """Return the channel for the format of the settings."""
        if settings.format == "standard":
            return cls(settings, context)
        from notifier.integrations.webhook import cloudevents_channel  # noqa: PLC0415 - it derives from this class

        return cloudevents_channel.open_channel(settings, context)

    def render(self, request: RenderRequest) -> Body:
        """Return the body, with placeholders for secrets: the template's, or the standard one where that fails."""
        try:
            filled = self._fill(request)
        except TemplateFailed:
            return Body(content=encode_json(envelope(request, self.context)), content_type=_STANDARD_INSTEAD)
        if filled is None:
            return Body(content=encode_json(envelope(request, self.context)), content_type=JSON)
        return Body(content=filled, content_type=self.settings.content_type)

    def render_problem(self, request: RenderRequest) -> str | None:
        """Return why the template would fail; see `BaseChannel.render_problem`."""
        try:
            self._fill(request)
        except TemplateFailed as error:
            return f"{error}; the standard body would go out"
        return None

    def _fill(self, request: RenderRequest) -> bytes | None:
        """Return the body that a template makes; None where none applies. Raises TemplateFailed."""
        renderer = self._renderer_of(request)
        if renderer is None:
            return None
        try:
            return renderer.fill(facts(request, self.context))
        except TemplateFailed as error:
            raise TemplateFailed(f"{renderer.name} fails: {error}") from error

    def _renderer_of(self, request: RenderRequest) -> Renderer | None:
        """Return the template that applies to a message; None where none does."""
        key = template_key(self._renderers, message_type(request), request.routing.template)
        return self._renderers.get(key or BODY_TEMPLATE)

    async def send(self, delivery: Delivery) -> Outcome:
        """Post the stored body, signed for this attempt."""
        now = self.context.clock.now()
        try:
            headers, content = self.request_of(delivery, now)
            exchange = self.exchange if self._bearer is None else self._bearer.exchange
            reply = await exchange("POST", self.url, headers=headers, content=content)
            outcome = self._outcome_of_reply(reply, now)
        except HttpError as error:
            outcome = self.with_reply(self._outcome_of_error(error, now), error)
        except NoAccessToken as error:
            outcome = error.outcome
        replaced = stored_body(delivery).content_type == _STANDARD_INSTEAD
        return self._with_template_failure(outcome, delivery) if replaced else outcome

    def request_of(self, delivery: Delivery, now: datetime) -> tuple[Mapping[str, str], bytes]:
        """Return the headers and the content of the request for a delivery."""
        body = self._revealed(delivery)
        return self._headers(delivery.id, body, now), body.content

    def _with_template_failure(self, outcome: Outcome, delivery: Delivery) -> Outcome:
        """Log that the standard body was sent, and add it to the reason of the outcome."""
        types = sorted({event.type.value for event in delivery.events})
        why = self.render_problem(RenderRequest.of(delivery)) or "the template failed; it has changed since"
        msg = "the standard body was sent"
        log.warning("webhook.template_failed", msg=msg, channel=self.name, types=types, reason=why)
        renderer = self._renderer_of(RenderRequest.of(delivery))
        name = renderer.name if renderer else BODY_TEMPLATE
        what = f"{name} fails for this event, so the standard body was sent: see notifier preview"
        return replace(outcome, reason="; ".join(filter(None, (outcome.reason, what))))

    def _revealed(self, delivery: Delivery) -> Body:
        """Return the stored body with its secrets; rendered again where a changed template no longer has one."""
        body = stored_body(delivery)
        try:
            return self._reveal(body)
        except MissingSecret:
            return self._reveal(self.render(RenderRequest.of(delivery)))

    def _reveal(self, body: Body) -> Body:
        if body.content_type == _STANDARD_INSTEAD:
            return replace(body, content_type=JSON)
        content = self._placeholders.reveal_bytes(body.content)
        return body if content is body.content else replace(body, content=content)

    def _outcome_of_reply(self, reply: Reply, now: datetime) -> Outcome:
        """Return what a complete reply means. Receivers thank for most messages in the same words: read them once."""
        headers = reply.headers
        key = (reply.status, reply.body, headers.get("content-type"), headers.get("content-encoding"))
        if known := self._known_replies.get(key):
            return known
        outcome = self.with_reply(self._outcome(ParsedReply(reply.status, headers, reply.body), now), reply)
        if isinstance(outcome, Delivered) and len(reply.body) <= _MAX_KNOWN_REPLY:
            if len(self._known_replies) == _MAX_KNOWN_REPLIES:
                self._known_replies.clear()
            self._known_replies[key] = outcome
        return outcome

    def _outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        if retry := self._wanted_again(reply, now):
            return retry
        success = self.settings.success
        mismatch = success.mismatch(reply) if success else None
        if success and mismatch is None:
            return Delivered()
        if outcome := known_outcome(self.kind, reply, now):
            return outcome
        if mismatch and reply.succeeded:
            return Retry(f"HTTP {reply.status}: no success, by `success.{mismatch}`")
        if reply.succeeded and reply.is_login:
            return Parked(f"HTTP {reply.status} with a page to log in: check the URL and its credentials", PROBE_AFTER)
        return self._outcome_of_status(reply, now)

    def _outcome_of_status(self, reply: ParsedReply, now: datetime) -> Outcome:
        if reply.status == _UNSUPPORTED_MEDIA_TYPE:
            return Parked(f"HTTP {reply.status}: {self.media_remedy}", PROBE_AFTER)
        return outcome_of_status(reply.status, reply.headers, now)

    def _wanted_again(self, reply: ParsedReply, now: datetime) -> Retry | None:
        """Return Retry where a condition of `retry_if` fits; None where none does."""
        for index, condition in enumerate(self.settings.retry_if):
            if condition.mismatch(reply) is None:
                wait = retry_after(reply.headers, now)
                return Retry(f"HTTP {reply.status}: `retry_if.{index}` fits", condition.wait if wait is None else wait)
        return None

    def _outcome_of_error(self, error: HttpError, now: datetime) -> Outcome:
        """Return what an incomplete reply means."""
        conditions = [*filter(None, (self.settings.success, *self.settings.retry_if))]
        if error.status is None or not conditions:
            return outcome_of_error(error, now)
        reply = ParsedReply(error.status, error.headers, error.body)
        if reply.succeeded and any(condition.reads_body for condition in conditions):
            return Unknown(str(error))
        return self._outcome(reply, now)

    def _headers(self, delivery_id: str, body: Body, now: datetime) -> dict[str, str]:
        timestamp = str(int(now.timestamp()))
        headers = {**self._own_headers, "webhook-id": delivery_id, "webhook-timestamp": timestamp}
        if self._signers:
            signed = f"{delivery_id}.{timestamp}.".encode() + body.content
            headers["webhook-signature"] = " ".join([_signature(signer, signed) for signer in self._signers])
        headers["content-type"] = body.content_type
        return headers

    async def check(self) -> Sequence[CheckResult]:
        """Ask the receiver for its headers. Only a message proves that it accepts messages."""
        headers, found = await self.authorized_headers()
        try:
            status = await self.ask_status("HEAD", self.url, headers=headers)
        except HttpError as error:
            return [*found, check_result(str(error), ok=False, remedy="check the host, the port and the proxy")]
        return [*found, self._reached(status), *self._cleartext_warning()]

    async def authorized_headers(self) -> tuple[Mapping[str, str], list[CheckResult]]:
        """Return the headers of a request without content, and what fetching a token for them proved."""
        if self._bearer is None:
            return self._own_headers, []
        issued, found = await self._bearer.check()
        return {**self._own_headers, **issued}, found

    def _reached(self, status: int) -> CheckResult:
        if refused := address_problem(status):
            return check_result(f"HTTP {status} to HEAD: {refused}", ok=False, remedy="check the URL")
        if status in _TAKES_POSTS or status // 100 == 2:  # noqa: PLR2004 - the class of success
            return check_result(f"answers (HTTP {status} to HEAD)")
        only = f"only a message proves that it accepts messages: notifier test-send {self.name}"
        return check_result(f"answers HTTP {status} to HEAD; {only}", proven=False)

    def _cleartext_warning(self) -> Sequence[CheckResult]:
        parts = urlsplit(self.url)
        if parts.scheme == "https" or is_loopback(parts.hostname or ""):
            return ()
        exposed = bool(self.settings.headers or self.settings.auth or parts.username)
        return [check_result("others can read what is sent", ok=not exposed, remedy="use https", proven=False)]


def _signature(signer: hmac.HMAC, signed: bytes) -> str:
    """Return a signature of Standard Webhooks 1.0.0, of id, timestamp and body with dots between them."""
    code = signer.copy()
    code.update(signed)
    return f"v1,{b64encode(code.digest()).decode()}"


_TAKES_POSTS = frozenset({405, 501})
"""Statuses with which many receivers answer HEAD at an address that accepts POST."""


def check_result(detail: str, *, ok: bool = True, remedy: str = "", proven: bool = True) -> CheckResult:
    """Return a line of `notifier check --online` about a webhook."""
    return CheckResult(ok=ok, what="webhook", detail=detail, remedy=remedy, proven=proven)
