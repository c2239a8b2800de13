"""A signed POST for machines: the Standard Webhooks envelope, or a body made by a template of your own.

Specification: Standard Webhooks 1.0.0. The body's shape is a contract with receivers; `envelope` is where it is made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from standardwebhooks import Webhook

from notifier.channels.base import PROBE_AFTER, ChannelContext, headline, stored_body
from notifier.channels.http_channel import HttpChannel, address_problem, outcome_of_error, outcome_of_status
from notifier.channels.reply_conditions import ParsedReply
from notifier.channels.reply_rules import known_outcome
from notifier.channels.sealing import MissingSecret, Sealer
from notifier.core.delivery import Body, Delivered, Delivery, Outcome, Parked, ResendPolicy, Retry, Unknown
from notifier.core.model import Event, Task
from notifier.http import HttpError, Reply
from notifier.integrations.webhook.body_template import Renderer, TemplateFailed
from notifier.integrations.webhook.settings import JSON, WebhookSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.settings.types import is_loopback
from notifier.wording.localizer import Localizer

MAX_REPLY = 64 * 1024
"""Bytes of a reply that are read."""
_STANDARD_INSTEAD = f"{JSON}; body=standard"
"""The type of a stored body that is the standard one because the template failed on the event; sent is JSON."""

log = structlog.get_logger(__name__)

# ---- the standard body ----


def envelope(request: RenderRequest, localizer: Localizer) -> dict[str, Any]:
    """Return the standard body of a notice as plain data."""
    events = [_event(event, localizer) for event in request.events]
    if not request.digest:
        return events[0]
    latest = max(event.observed_at for event in request.events)
    return {"type": "digest", "timestamp": _rfc3339(latest), "data": {"events": events}}


def _event(event: Event, localizer: Localizer) -> dict[str, Any]:
    data: dict[str, Any] = {
        "event_id": event.id,
        "source": event.source,
        "region": event.region,
        "project_id": event.project_id,
        "late": event.late,
        "previous_status": event.previous_status,
        "task": _task(event.task, localizer) if event.task else None,
    }
    seldom = {
        "detail": event.detail,
        "channel": event.channel or None,
        "since": _rfc3339(event.since),
        "count": event.count,
    }
    data |= {name: value for name, value in seldom.items() if value is not None}
    return {"type": event.type.value, "timestamp": _rfc3339(event.occurred_at or event.observed_at), "data": data}


def _task(task: Task, localizer: Localizer) -> dict[str, Any]:
    return {
        "job_id": task.job_id,
        "name": task.name,
        "label": localizer.task_label(task.name),
        "status": task.status.value,
        "raw_status": task.raw_status,
        "progress": _number(task.progress),
        "instance": {"id": task.instance_id, "name": task.instance_name, "status": task.instance_status},
        "created_at": _rfc3339(task.created_at),
        "ended_at": _rfc3339(task.ended_at),
        "fail_reason": task.fail_reason,
    }


def _number(value: float | None) -> float | None:
    return int(value) if value is not None and value.is_integer() else value


def _rfc3339(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z" if moment else None


def _json(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a lone surrogate: the edge removes them, and here nothing may depend on that
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


# ---- the channel ----


class WebhookChannel(HttpChannel[WebhookSettings]):
    """Posts to one URL."""

    kind = "webhook"
    Settings = WebhookSettings
    resend_policy = ResendPolicy.IDEMPOTENT

    def __init__(self, settings: WebhookSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        template = settings.body_template
        self._renderer = Renderer(template, settings.content_type) if template else None
        self._sealer = template.sealer if template else Sealer({})
        made_of = (template.source, *sorted(self._sealer.secrets.items())) if template else None
        self.body_key = (self.kind, context.localizer, made_of, settings.content_type)

    def render(self, request: RenderRequest) -> Body:
        """Return the template's body; the standard one without a template, or where it fails on this event.

        Secrets in the template are placeholders in it.
        """
        if self._renderer is None:
            return Body(content=_json(envelope(request, self.context.localizer)), content_type=JSON)
        try:
            return Body(content=self._fill(self._renderer, request), content_type=self.settings.content_type)
        except TemplateFailed:
            return Body(content=_json(envelope(request, self.context.localizer)), content_type=_STANDARD_INSTEAD)

    def render_problem(self, request: RenderRequest) -> str | None:
        """Say why the template would not make the body of a notice; see `BaseChannel.flaw`."""
        try:
            if self._renderer is not None:
                self._fill(self._renderer, request)
        except TemplateFailed as error:
            return f"body_template fails: {error}; the standard body would go out"
        return None

    def _fill(self, renderer: Renderer, request: RenderRequest) -> bytes:
        localizer = self.context.localizer
        return renderer.fill(envelope(request, localizer) | {"headline": headline(request, localizer)})

    async def send(self, delivery: Delivery) -> Outcome:
        """Post the stored body, signed for this attempt."""
        body, now = self._opened(delivery), self.context.clock.now()
        outcome = await self._attempt(delivery.id, body, now)
        return self._noted(outcome, delivery) if stored_body(delivery).content_type == _STANDARD_INSTEAD else outcome

    def _noted(self, outcome: Outcome, delivery: Delivery) -> Outcome:
        """Say aloud that another body was sent than the settings want."""
        types = sorted({event.type.value for event in delivery.events})
        why = self.render_problem(_render_request(delivery)) or "body_template failed; it has changed since"
        log.warning("the standard body was sent", channel=self.name, types=types, reason=why)
        what = "body_template fails for this event, so the standard body was sent: see notifier preview"
        return replace(outcome, reason="; ".join(filter(None, (outcome.reason, what))))

    def _opened(self, delivery: Delivery) -> Body:
        """Return what is to be sent: the stored body with the secrets put in.

        Where the template names one of them no more, it is another template now, which makes the body anew.
        """
        body = stored_body(delivery)
        try:
            return self._open(body)
        except MissingSecret:
            return self._open(self.render(_render_request(delivery)))

    def _open(self, body: Body) -> Body:
        if body.content_type == _STANDARD_INSTEAD:
            return replace(body, content_type=JSON)
        return replace(body, content=self._sealer.open(body.content.decode("utf-8")).encode("utf-8"))

    async def _attempt(self, delivery_id: str, body: Body, now: datetime) -> Outcome:
        try:
            reply = await self._exchange("POST", self._headers(delivery_id, body, now), body.content)
        except HttpError as error:
            return self.with_reply(self._outcome_of_error(error, now), error)
        return self.with_reply(self._outcome(ParsedReply(reply.status, reply.headers, reply.body), now), reply)

    def _outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        success = self.settings.success
        mismatch = success.mismatch(reply) if success else None
        if success and mismatch is None:
            return Delivered()
        if said := known_outcome(self.kind, reply, now):
            return said
        if mismatch and reply.succeeded:
            return Retry(f"HTTP {reply.status}: no success, by `success.{mismatch}`")
        if reply.succeeded and reply.is_login:
            return Parked(f"HTTP {reply.status} with a page to log in: check the URL and its credentials", PROBE_AFTER)
        return outcome_of_status(reply.status, reply.headers, now)

    def _outcome_of_error(self, error: HttpError, now: datetime) -> Outcome:
        """Return what a reply means that was not read whole."""
        success = self.settings.success
        if error.status is None or success is None:
            return outcome_of_error(error, now)
        reply = ParsedReply(error.status, error.headers, error.body)
        if reply.succeeded and success.reads_body:
            return Unknown(str(error))
        return self._outcome(reply, now)

    @cached_property
    def _own_headers(self) -> Mapping[str, str]:
        return {name: value.get_secret_value() for name, value in self.settings.headers.items()}

    @cached_property
    def _signers(self) -> Sequence[Webhook]:
        return [Webhook(secret) for secret in self.settings.signing_secrets]

    def _headers(self, delivery_id: str, body: Body, now: datetime) -> dict[str, str]:
        signed = {"webhook-id": delivery_id, "webhook-timestamp": str(int(now.timestamp()))}
        if self._signers:
            text = body.content.decode("utf-8")
            signed["webhook-signature"] = " ".join(signer.sign(delivery_id, now, text) for signer in self._signers)
        return {**self._own_headers, **signed, "content-type": body.content_type}

    async def _exchange(self, method: str, headers: Mapping[str, str], content: bytes | None = None) -> Reply:
        return await self.context.http.exchange(
            method,
            self.settings.url.get_secret_value(),
            headers=headers,
            content=content,
            deadline=self.settings.timeout.total_seconds(),
            max_bytes=MAX_REPLY,
        )

    async def check(self) -> Sequence[CheckResult]:
        """Ask the receiver for its headers only. That it takes messages, only a message proves."""
        try:
            status = (await self._exchange("HEAD", self._own_headers)).status
        except HttpError as error:
            if error.status is None:
                return [_finding(str(error), ok=False, remedy="check the host, the port and the proxy")]
            status = error.status
        return [self._reached(status), *self._in_the_clear()]

    def _reached(self, status: int) -> CheckResult:
        if refused := address_problem(status):
            return _finding(f"HTTP {status} to HEAD: {refused}", ok=False, remedy="check the URL")
        if status in _TAKES_POSTS or status // 100 == 2:  # noqa: PLR2004 - the class of success
            return _finding(f"answers (HTTP {status} to HEAD)")
        only = f"only sending tells whether it takes messages: notifier test-send {self.name}"
        return _finding(f"answers HTTP {status} to HEAD; {only}", proven=False)

    def _in_the_clear(self) -> Sequence[CheckResult]:
        parts = urlsplit(self.settings.url.get_secret_value())
        if parts.scheme == "https" or is_loopback(parts.hostname or ""):
            return ()
        exposed = bool(self.settings.headers or parts.username)
        return [_finding("what is sent can be read on the way", ok=not exposed, remedy="use https", proven=False)]


_TAKES_POSTS = frozenset({405, 501})
"""What many answer to HEAD that know their one method and that there is something at this address."""


def _finding(detail: str, *, ok: bool = True, remedy: str = "", proven: bool = True) -> CheckResult:
    return CheckResult(ok=ok, what="webhook", detail=detail, remedy=remedy, proven=proven)


def _render_request(delivery: Delivery) -> RenderRequest:
    return RenderRequest(delivery_id=delivery.id, events=delivery.events, digest=delivery.digest)
