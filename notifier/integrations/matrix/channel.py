"""A channel to a room of Matrix.

A task has one message, which changes as the task moves. Each step is posted in the message's thread. A loud step that
needs care, and the end of what it reported, is posted in the room as a reply to the message, because a change notifies
nobody and a thread is folded. What the room shows of a step that needs care is a copy of the message, and changes with
it.

A homeserver recognises a repeat by the transaction id in its path: for the same device it returns the first event. So
the id is that of the delivery, and a repeat does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from notifier.channels import rate_limits
from notifier.channels.base import PROBE_AFTER, ChannelContext, Json, encode_json, json_body, stored_body
from notifier.channels.http_channel import MAX_REPLY
from notifier.channels.http_chat import ChatRequest, HttpChat
from notifier.channels.live_chat import LiveChat
from notifier.channels.reply_conditions import ParsedReply, value_at
from notifier.channels.templates import FilledTemplate
from notifier.core import dispatch
from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    GaveUp,
    Outcome,
    Parked,
    ResendPolicy,
    Retry,
    Thread,
    Unknown,
)
from notifier.core.retry import retry_after
from notifier.http import HttpError, Reply
from notifier.integrations.matrix.messages import MATRIX, MatrixLayout, in_reply_to, in_thread
from notifier.integrations.matrix.settings import MatrixSettings
from notifier.ports import CheckResult, RenderRequest
from notifier.wording.sanitize import one_line

ENCRYPTION_CHECK_INTERVAL = 300.0
"""Time for which a room that was not encrypted counts as such, in seconds."""
_ID_LIMIT = 255
_LONGEST_WAIT = timedelta(hours=1)
_NOT_FOUND = 404
_CREATORS_RULE = 12
"""Version of rooms from which their creators may do everything, whatever the power levels."""
_ROOM = "Matrix room"
_ENCRYPTED = "the room is encrypted; make a room without encryption: this program does not encrypt"


class MatrixChannel(LiveChat[MatrixSettings], HttpChat[MatrixSettings]):
    """Posts to one room."""

    kind = "matrix"
    markup = MATRIX
    resend_policy = ResendPolicy.IDEMPOTENT
    replies_as = "homeserver"
    not_valid = "check homeserver, access_token and room_id"
    elsewhere = "homeserver is the address of something else, or a login protects it: check it from this host"
    storm_size = 200
    storm_room = 6_000

    def __init__(self, settings: MatrixSettings, context: ChannelContext) -> None:
        super().__init__(settings, context)
        self.threads = self.coalesces = settings.threads
        token = settings.access_token.get_secret_value()
        self.edit_budget = sha256(f"matrix {token}".encode()).hexdigest()[:16] if settings.live else None
        limit = rate_limits.rate_limit("matrix-edit")
        known = settings.rate == rate_limits.AUTO
        self.edit_pace = replace(self.pace, per_second=limit.per_second, burst=limit.burst) if known else self.pace
        self._plain_until = float("-inf")
        """Time on the monotonic clock until which the room counts as not encrypted."""

    def compose(self, request: RenderRequest, filled: FilledTemplate) -> Body:
        """Return the content of the message as JSON. Its relation to another is added when it is sent."""
        message = MatrixLayout(self.context.formatter).message(request, filled)
        return json_body(message)

    @property
    def address(self) -> str:
        """URL of the client API."""
        return f"{self.settings.homeserver}/_matrix/client/v3"

    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        deadline: float | None = None,
    ) -> Coroutine[Any, Any, Reply]:
        """Send one request within `timeout`, with the access token. Raises HttpError when awaited."""
        token, timeout = self.settings.access_token.get_secret_value(), self.settings.timeout.total_seconds()
        return self.context.http.exchange(
            method,
            url,
            headers={**(headers or {}), "authorization": f"Bearer {token}"},
            content=content,
            deadline=timeout if deadline is None else min(timeout, deadline),
            max_bytes=MAX_REPLY,
        )

    # -- posting --

    async def attempt(self, delivery: Delivery) -> Outcome:
        """Post once: in the thread of the task where there is one, in the room where that is gone or too quiet."""
        if (refused := await self._encryption()) is not None:
            return refused
        aloud = self.settings.broadcast and dispatch.is_broadcast(delivery)
        content = json.loads(stored_body(delivery).content)
        if aloud:
            content["msgtype"] = "m.text"
        if delivery.thread and (root := self._event_id(delivery.thread)):
            relation = in_reply_to(root) if aloud else in_thread(root)
            outcome = await self.post(self._put(content | {"m.relates_to": relation}, delivery.id))
            if isinstance(outcome, Delivered):
                changes = aloud and self.edit_budget is not None and not delivery.ends_trouble
                return replace(outcome, copy=outcome.ref) if changes else outcome
            if not isinstance(outcome, GaveUp):
                return outcome
            # A homeserver refuses a relation to an event that it does not know.
            outcome = await self.post(self._put(content, f"{delivery.id}-alone"))
        else:
            outcome = await self.post(self._put(content, delivery.id))
        if isinstance(outcome, Delivered) and self.begins_thread(delivery):
            return replace(outcome, thread=outcome.ref)
        return outcome

    def request(self, delivery: Delivery) -> ChatRequest:
        """Return the request that posts the stored message in the room."""
        return self._put(json.loads(stored_body(delivery).content), delivery.id)

    def _put(self, content: Json, transaction: str) -> ChatRequest:
        url = f"{self._room}/send/m.room.message/{quote(transaction, safe='')}"
        return ChatRequest(method="PUT", url=url, content=encode_json(content))

    @property
    def _room(self) -> str:
        return f"{self.address}/rooms/{quote(self.settings.room_id, safe='')}"

    def _event_id(self, ref: str) -> str | None:
        """Return the event of a message of this room; None for one of another room."""
        room, _, event_id = ref.rpartition("/$")
        return f"${event_id}" if room == self.settings.room_id else None

    # -- changing --

    async def show(self, thread: Thread) -> Outcome:
        """Change a message to its current state. One that cannot be changed any more stays as it is."""
        return await self._change(thread, thread.ref)

    async def show_copy(self, thread: Thread, ref: str) -> Outcome | None:
        """Change a copy of a message to the message's current state."""
        return await self._change(thread, ref)

    async def _change(self, thread: Thread, ref: str) -> Outcome:
        if (event_id := self._event_id(ref)) is None:
            return GaveUp("the message is in another room")
        if (refused := await self._encryption()) is not None:
            return refused
        content = MatrixLayout(self.context.formatter).edit(thread, event_id, self.filled_now(thread))
        # The same state again is the same transaction, also after other states.
        state = f"{event_id} {thread.revision} ".encode() + encode_json(content)
        outcome = await self.post(self._put(content, f"gtb-{sha256(state).hexdigest()[:32]}"))
        return replace(outcome, ref=None) if isinstance(outcome, Delivered) else outcome

    # -- replies --

    def delivered(self, reply: ParsedReply) -> Delivered | None:
        """Return the event of the posted message."""
        event_id = value_at(reply.data, "event_id")
        if not reply.succeeded or not isinstance(event_id, str) or not 1 < len(event_id) <= _ID_LIMIT:
            return None
        usable = event_id.startswith("$") and event_id.isascii() and event_id.isprintable()
        return Delivered(f"{self.settings.room_id}/{event_id}") if usable else None

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what a reply means. Older homeservers say in the body alone how long to wait."""
        outcome = super().outcome(reply, now)
        wait = value_at(reply.data, "retry_after_ms")
        if not isinstance(outcome, Retry) or retry_after(reply.headers, now) is not None:
            return outcome
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < 10**9:
            return outcome
        return replace(outcome, after=min(timedelta(milliseconds=wait), _LONGEST_WAIT))

    # -- encryption --

    async def _encryption(self) -> Outcome | None:
        """Return why nothing is sent to the room: it is encrypted, or that is not known. None where it is not."""
        clock = self.context.clock
        if clock.monotonic() < self._plain_until:
            return None
        try:
            answer = await self.exchange("GET", f"{self._room}/state/m.room.encryption")
        except HttpError as error:
            return self.with_reply(_unsent(self.outcome_of_error(error, clock.now())), error)
        reply = ParsedReply(answer.status, answer.headers, answer.body)
        if _is_absent(reply):
            self._plain_until = clock.monotonic() + ENCRYPTION_CHECK_INTERVAL
            return None
        if reply.succeeded and isinstance(reply.data, dict):
            return Parked(_ENCRYPTED, PROBE_AFTER)
        return self.with_reply(_unsent(self.outcome(reply, clock.now())), answer)

    # -- check --

    async def check(self) -> Sequence[CheckResult]:
        """Ask who the token is of, and whether that user may post to the room."""
        try:
            account = await self._get(f"{self.address}/account/whoami")
            user = value_at(account.data, "user_id")
            if not account.succeeded or not isinstance(user, str):
                return (self.failed_check("Matrix account", account),)
            return (*_described(user, value_at(account.data, "device_id")), await self._check_room(user))
        except HttpError as error:
            remedy = "check homeserver, the network and the proxy"
            return (CheckResult(ok=False, what="Matrix", detail=str(error), remedy=remedy),)

    async def _check_room(self, user: str) -> CheckResult:
        """Return whether a user may post to the room. Raises HttpError."""
        member = await self._get(f"{self._room}/state/m.room.member/{quote(user, safe='')}")
        if not member.succeeded or value_at(member.data, "membership") != "join":
            remedy = f"invite {one_line(user)} to the room and let it join: see docs/channels/matrix.md"
            detail = f"{one_line(user)} is not in the room (HTTP {member.status})"
            return CheckResult(ok=False, what=_ROOM, detail=detail, remedy=remedy)
        encryption = await self._get(f"{self._room}/state/m.room.encryption")
        if encryption.succeeded:
            detail, _, remedy = _ENCRYPTED.partition("; ")
            return CheckResult(ok=False, what=_ROOM, detail=detail, remedy=remedy)
        levels = await self._get(f"{self._room}/state/m.room.power_levels")
        for reply in (encryption, levels):
            if not reply.succeeded and not _is_absent(reply):
                return self.failed_check(_ROOM, reply)
        return await self._check_power(levels, user)

    async def _check_power(self, levels: ParsedReply, user: str) -> CheckResult:
        has, needs = power(levels.data, user)
        if has >= needs:
            return CheckResult(ok=True, what=_ROOM, detail="joined, not encrypted, and the user may post")
        detail = f"the user has the power level {has}, and messages need {needs}"
        version = value_at((await self._get(f"{self._room}/state/m.room.create")).data, "room_version")
        if isinstance(version, str) and version.isdecimal() and int(version) >= _CREATORS_RULE:
            return CheckResult(ok=True, what=_ROOM, detail=f"{detail}, unless it made the room", proven=False)
        remedy = f"raise the power level of {one_line(user)} to {needs}"
        return CheckResult(ok=False, what=_ROOM, detail=detail, remedy=remedy)

    async def _get(self, url: str) -> ParsedReply:
        return await self._ask(ChatRequest(method="GET", url=url, content=b"", headers={}))


def _unsent(outcome: Outcome) -> Outcome:
    """Return the outcome for a message that was not sent, because a request before it failed like this."""
    if isinstance(outcome, Unknown | Delivered):
        return Retry(outcome.reason or "the homeserver does not say whether the room is encrypted")
    return Parked(outcome.reason, PROBE_AFTER) if isinstance(outcome, GaveUp) else outcome


def _is_absent(reply: ParsedReply) -> bool:
    """Return whether a homeserver says that a room lacks this state."""
    return reply.status == _NOT_FOUND and value_at(reply.data, "errcode") == "M_NOT_FOUND"


def _described(user: str, device: object) -> Iterator[CheckResult]:
    """Yield whom the token is of, and whether repeats are recognised."""
    if isinstance(device, str) and device:
        detail = f"{one_line(user)}, device {one_line(device)}: log in as this device whenever the token is renewed"
        yield CheckResult(ok=True, what="Matrix account", detail=detail)
        return
    detail = f"{one_line(user)}: the token has no device, so a repeat after a lost answer may be seen twice"
    yield CheckResult(ok=True, what="Matrix account", detail=detail, proven=False)


def power(levels: object, user: str) -> tuple[int, int]:
    """Return the power level of a user, and the one that a message needs, as a room has them."""

    def level(*places: tuple[str, ...]) -> int:
        for place in places:
            found: object = levels
            for key in place:  # user ids have dots in them
                found = found.get(key) if isinstance(found, dict) else None
            if isinstance(found, int):
                return int(found)
        return 0

    return level(("users", user), ("users_default",)), level(("events", "m.room.message"), ("events_default",))
