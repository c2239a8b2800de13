"""Slack messages in Block Kit: with a bot token, or through an incoming webhook, the degraded mode.

`payload` makes a message and `outcome_of` reads Slack's answer: both pure. The body that is stored says nothing of
the channel, the token or the mode, so that what waited for a mended configuration goes out under the new one.

Limits, escaping and error codes: docs.slack.dev. Sizes count characters after escaping, and stay 10 % below a limit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

import structlog
from pydantic import Field, SecretStr, field_validator, model_validator

from notifier.channels import limits
from notifier.channels.base import PROBE_AFTER, BaseChannel, ChannelSettings, Toolbox, stored_body
from notifier.channels.limits import Limit
from notifier.core.model import Body, Delivered, Delivery, Event, GaveUp, Outcome, Parked, Repeat, Retry, Unknown
from notifier.core.retry import retry_after
from notifier.ports import Finding, Notice
from notifier.render import COLOURS, EMOJI, Fact, Message, Wording, by_severity, one_line, state_of
from notifier.settings import Duration, Secret
from notifier.slack.api import MAX_REPLY, Answer, WebApi, encoded
from notifier.slack.blocks import (
    BLOCK_LIMIT,
    FIELD_LIMIT,
    MESSAGE_LIMIT,
    TEXT_LIMIT,
    Json,
    Style,
    bar,
    code,
    date,
    escape,
    fence,
    joined,
    mrkdwn,
    section,
)
from notifier.validation import problem

if TYPE_CHECKING:
    from notifier.http import HttpClient, HttpError

POST_SCOPE = "chat:write"

SETTLES_IN = 2.5
"""Seconds that a message may take to appear in the channel's history."""
LOOK_UP_SECONDS = 10.0
"""Of a look-up, all its pages together; less where the channel's `timeout` is less."""
SKEW = timedelta(minutes=1)
"""How far our clock may be ahead of Slack's: a look-up begins that long before the delivery was planned."""
PAGE_SIZE = 100
MAX_PAGES = 10
MAX_PAGE = 4 * 1024 * 1024
"""Bytes of one page of history: a hundred messages as long as they can be."""

LINE_LIMIT = 300
"""Of a line of a digest."""
PIECE_LIMIT = 8
"""Of a piece of such a line: where there is less room, it is left out."""

log = structlog.get_logger(__name__)

# ---- settings ----


class SlackSettings(ChannelSettings):
    """A bot and the channel it posts to, or the URL of an incoming webhook."""

    kind: Literal["slack"] = "slack"
    bot_token: Secret | None = None
    """`xoxb-…`, with the bot scope chat:write."""
    channel: Annotated[str, Field(pattern=r"^\S{1,100}$")] | None = None
    """The channel's ID (`C0123ABCD`), or `#name`, in which nothing can be looked up. The bot must be a member."""
    webhook_url: Secret | None = None
    """Instead of a token: messages can then never be edited or looked up after a lost answer."""
    api_url: str = "https://slack.com/api/"
    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0), le=timedelta(seconds=30))
    """For one attempt, also when a refused layout is sent again as plain text."""

    @property
    def limit(self) -> Limit:
        """What Slack bears in this mode."""
        return limits.known("slack-webhook" if self.webhook_url else "slack-bot")

    @property
    def can_look_up(self) -> bool:
        """Whether a message can be found again: with a token, and in a channel that is given by its ID."""
        return not self.webhook_url and bool(re.fullmatch(r"[CDG][A-Z0-9]+", self.channel or ""))

    @property
    def look_up_time(self) -> timedelta:
        """How long the requests of a look-up take at most."""
        return min(self.timeout, timedelta(seconds=LOOK_UP_SECONDS))

    @property
    def deadline(self) -> timedelta:
        """How long an attempt takes at most: the wait for a message to appear, the look-up, the post."""
        look_up = timedelta(seconds=SETTLES_IN) + self.look_up_time if self.can_look_up else timedelta()
        return look_up + self.timeout

    @field_validator("bot_token")
    @classmethod
    def _check_token(cls, token: SecretStr | None) -> SecretStr | None:
        text = token.get_secret_value() if token else "xoxb-"
        if text.startswith("xapp-"):
            raise ValueError("this is an app-level token (xapp-…); the bot token begins with xoxb-")
        if not re.fullmatch(r"xox[\x21-\x7e]*", text):
            raise ValueError("this is not a Slack token; the bot token begins with xoxb-")
        return token

    @field_validator("webhook_url")
    @classmethod
    def _check_webhook_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url:
            _check_url(url.get_secret_value(), "https://hooks.slack.com/services/…")
        return url

    @field_validator("api_url")
    @classmethod
    def _check_api_url(cls, url: str) -> str:
        _check_url(url, "https://slack.com/api/")
        return url

    @model_validator(mode="after")
    def _check_mode(self) -> SlackSettings:
        if self.bot_token and self.webhook_url:
            raise problem("webhook_url", "give either bot_token or webhook_url, not both")
        if not self.bot_token and not self.webhook_url:
            raise problem("bot_token", "is missing; give bot_token and channel, or webhook_url")
        if self.bot_token and not self.channel:
            raise problem("channel", "is missing; a bot needs the ID of the channel to post to, for example C0123ABCD")
        return self


def _check_url(url: str, example: str) -> None:
    scheme, host = _split(url)
    if re.search(r"[\x00-\x20\x7f]", url) or scheme not in ("http", "https") or not host:
        raise ValueError(f"this is not a URL; it looks like {example}")
    if scheme == "http" and not _is_loopback(host):
        raise ValueError("must be https://: what is sent is a secret to others on the way")


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        usable = parts.port != 0
    except ValueError:
        return "", ""
    return (parts.scheme, parts.hostname or "") if usable else ("", "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# ---- the message ----

_STORM = "🚨"

_HEADINGS = 700
"""Characters of a digest's headline and of its headings, at most."""


def payload(notice: Notice, wording: Wording) -> Json:
    """Return a message as `chat.postMessage` takes it, but for the channel."""
    events = by_severity(notice.events)
    layout = _digest(events, wording) if notice.digest else _single(events[0], wording)
    key = {"key": notice.delivery_id}
    job = {} if notice.digest else {"job_id": one_line(events[0].job_id)}
    return layout | {
        "metadata": {"event_type": "gaussdb_task", "event_payload": key | job},
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _single(event: Event, wording: Wording) -> Json:
    message = wording.describe(event)
    return {
        "text": escape(f"{EMOJI[message.state]} {message.headline}", TEXT_LIMIT),
        "blocks": [section(_headline(message))],
        "attachments": [{"color": COLOURS[message.state], "blocks": list(_details(message))}],
    }


def _headline(message: Message) -> str:
    label = _label(message)(message.label, LINE_LIMIT) if message.label else ""
    subject = code(message.subject, LINE_LIMIT) if message.subject else ""
    return "  ·  ".join(filter(None, (f"{EMOJI[message.state]} *{message.title}*", label, subject)))


def _label(message: Message) -> Style:
    return escape if message.known else code


def _details(message: Message) -> Iterator[Json]:
    if message.facts:
        yield {"type": "section", "fields": [mrkdwn(_field(fact)) for fact in message.facts[:10]]}
    if message.reason:
        label = f"*{message.reason_label}*\n"
        yield section(label + fence(message.reason, BLOCK_LIMIT - len(label)))
    yield {"type": "context", "elements": [mrkdwn(_footer(message))]}


def _field(fact: Fact) -> str:
    return f"*{fact.label}*\n{_value(fact)}"


def _value(fact: Fact) -> str:
    if fact.at is not None:
        return date(fact.at, fact.value, FIELD_LIMIT)
    if fact.percent is not None:
        return f"`{bar(fact.percent)}` *{fact.value}*"
    return (code if fact.quoted else escape)(fact.value, FIELD_LIMIT)


def _footer(message: Message) -> str:
    job = f"{message.job.label} {code(message.job.value, FIELD_LIMIT)}" if message.job else ""
    return "  ·  ".join(filter(None, (job, escape(message.origin, FIELD_LIMIT))))


def _digest(events: Sequence[Event], wording: Wording) -> Json:
    """Lay out many events in top-level blocks: the body of an attachment would be folded."""
    worst = state_of(events[0])
    mark = _STORM if worst == "failed" else EMOJI[worst]
    counts = wording.digest_headline(events)
    headline = f"{mark} *{escape(counts, LINE_LIMIT)}*"
    return {
        "text": escape(f"{mark} {counts}", TEXT_LIMIT),
        "blocks": [section(headline), *map(section, joined(_lines(events, wording), BLOCK_LIMIT))],
        "attachments": [],
    }


def _lines(events: Sequence[Event], wording: Wording) -> Iterator[str]:
    """Yield a line for each event under a heading for each state: a colour alone does not tell everybody."""
    room = min(LINE_LIMIT, (MESSAGE_LIMIT - _HEADINGS) // len(events) - 1)
    for state, group in groupby(events, key=state_of):
        yield f"*{wording.text(f'verb.{state}').capitalize()}*"
        yield from (_line(wording.describe(event), room) for event in group)


def _line(message: Message, room: int) -> str:
    """Return a line of at most `room` characters. The job id has the first claim on them, then the instance.

    Without a job, what happened comes first and then to which source or channel.
    """
    head = f"• {EMOJI[message.state]} "
    left = room - len(head)
    pieces: list[str] = []
    for style, text in _claims(message):
        if text and left >= PIECE_LIMIT:
            pieces.append(style(text, left))
            left -= len(pieces[-1]) + len(" · ")
    return head + " · ".join(reversed(pieces) if message.job else pieces)


def _claims(message: Message) -> Iterator[tuple[Style, str | None]]:
    if message.job:
        yield code, message.job.value
        yield code, message.subject
        yield _label(message), message.label
    else:
        yield escape, message.title
        yield code, message.subject
        yield code, message.reason


def as_text(message: Json) -> Json:
    """Return the same message without layout, for when Slack refuses the layout: nothing that it says is lost.

    Of the metadata the key stays, by which it can be looked up and which cannot be refused.
    """
    attached = (block for attachment in message["attachments"] for block in attachment["blocks"])
    texts = [text for block in (*message["blocks"], *attached) for text in _texts(block)]
    kept = {key: value for key, value in message.items() if key not in ("blocks", "attachments")}
    metadata = message["metadata"] | {"event_payload": {"key": key_of(message)}}
    return kept | {"text": "\n".join(texts), "metadata": metadata}


def key_of(message: Json) -> str | None:
    """Return the delivery's id that a message carries; None for a message of somebody else."""
    key = _inner(_inner(message, "metadata"), "event_payload").get("key")
    return key if isinstance(key, str) else None


def _inner(value: Json, key: str) -> Json:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _texts(block: Json) -> Iterator[str]:
    parts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
    return (part["text"] for part in parts if part)


# ---- Slack's answers ----


@dataclass(frozen=True, slots=True)
class WrongContent:
    """Slack refuses what the message says or how it is laid out."""

    reason: str


_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "repeat": """
            ratelimited rate_limited request_timeout service_unavailable update_failed external_channel_migrating
        """,
        "slowly": "team_added_to_org org_login_required",
        "full": "message_limit_exceeded",
        "unknown": "internal_error fatal_error rollup_error",
        "content": """
            invalid_blocks invalid_blocks_format invalid_attachments msg_blocks_too_long msg_too_long
            attachment_payload_limit_exceeded too_many_attachments no_text invalid_metadata_format
            invalid_metadata_schema metadata_too_large markdown_text_conflict invalid_arguments invalid_payload
        """,
        "channel": """
            channel_not_found not_in_channel is_archived channel_is_archived restricted_action ekm_access_denied
            messages_tab_disabled team_not_found no_team no_service invalid_token action_prohibited user_not_found
        """,
        "token": """
            invalid_auth not_authed account_inactive token_revoked token_expired missing_scope
            not_allowed_token_type no_permission access_denied accesslimited app_access_restricted
            two_factor_setup_required enterprise_is_restricted
        """,
    }
)
_KIND_OF: Mapping[str, str] = MappingProxyType({code: kind for kind, codes in _KINDS.items() for code in codes.split()})

_INVITE = "invite the bot: type /invite @ and its name in the channel"
_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "channel_not_found": f"check the channel's ID; a private channel is found only by its members, so {_INVITE}",
        "not_in_channel": _INVITE,
        "is_archived": "unarchive the channel or set another one",
        "channel_is_archived": "unarchive the channel or make a webhook for another one",
        "no_service": "the webhook was removed: make a new one",
        "invalid_token": "the webhook is not valid: copy its URL again or make a new one",
    }
)
_POLICY_REMEDY = "ask an administrator of the workspace to let the app post there"
_TOKEN_REMEDY = "set a valid bot token (xoxb-…) of an app that is installed in the workspace"  # noqa: S105 - advice
_TOKEN_PROBE = timedelta(minutes=5)
_WAITS: Mapping[str, timedelta] = MappingProxyType({"slowly": timedelta(minutes=10), "full": timedelta(hours=1)})


def outcome_of(answer: Answer, now: datetime) -> Outcome | WrongContent:
    """Return what an answer means for the message."""
    error = re.sub(r"^restricted_action_.*", "restricted_action", answer.code)
    kind = _KIND_OF.get(error, "")
    reason = f"Slack: {answer.code}" if answer.code else f"Slack: HTTP {answer.status}"
    match kind:
        case "content":
            return WrongContent(f"{reason}{_pointers(answer.data)}")
        case "channel":
            return Parked(f"{reason}; {_REMEDIES.get(error, _POLICY_REMEDY)}", PROBE_AFTER)
        case "token":
            return Parked(f"{reason}; {_token_remedy(answer.data)}", _TOKEN_PROBE)
        case "unknown":
            return Unknown(reason)
        case "repeat" | "slowly" | "full":
            return Retry(reason, _WAITS.get(kind) or retry_after(answer.headers, now))
    return _outcome_of_status(answer, reason, now)


def _outcome_of_status(answer: Answer, reason: str, now: datetime) -> Outcome | WrongContent:
    match answer.status:
        case 200 if answer.data.get("ok") is True:
            return Delivered(_reference(answer.data))
        case 400 | 413:
            return WrongContent(reason)
        case 403 | 410:
            return Parked(f"{reason}; {_POLICY_REMEDY}", PROBE_AFTER)
        case status if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
            return Retry(f"{reason}: redirect not followed")
        case status if answer.code or 400 <= status < 500:  # noqa: PLR2004 - the class of refusals
            return Retry(reason, retry_after(answer.headers, now))
    return Unknown(f"{reason}, and no word on whether the message was taken")


def _reference(data: Json) -> str | None:
    """Return `channel:ts`, which an edit or a reply in its thread needs."""
    channel, ts = data.get("channel"), data.get("ts")
    return f"{channel}:{ts}" if isinstance(channel, str) and isinstance(ts, str) else None


@dataclass(frozen=True, slots=True)
class NextPage:
    """The message is not on this page of the history, and there are more."""

    cursor: str


def looked_up(answer: Answer, delivery: Delivery, channel: str, now: datetime) -> Outcome | NextPage | None:
    """Return what a page of the channel's history says of a delivery's message: None when it is in no page."""
    if answer.data.get("ok") is not True:
        return _not_looked_up(answer, channel, now)
    messages = answer.data.get("messages")
    if not isinstance(messages, list):
        return Unknown("Slack: an answer without a history")
    found = (message for message in messages if isinstance(message, dict) and key_of(message) == delivery.id)
    if message := next(found, None):
        return Delivered(_reference({"channel": channel, "ts": message.get("ts")}))
    cursor = _inner(answer.data, "response_metadata").get("next_cursor")
    if cursor and isinstance(cursor, str):
        return NextPage(cursor)
    return Unknown("Slack: a history that is not whole") if answer.data.get("has_more") is True else None


def _not_looked_up(answer: Answer, channel: str, now: datetime) -> Outcome:
    kind = _KIND_OF.get(answer.code, "")
    if answer.code and kind not in ("repeat", "slowly", "full", "unknown"):
        return Unknown(f"Slack: {answer.code}; {look_up_remedy(answer, channel)}")
    reason = f"Slack: {answer.code}" if answer.code else f"Slack: HTTP {answer.status}"
    return Retry(f"looking for an earlier message, {reason}", _WAITS.get(kind) or retry_after(answer.headers, now))


_CHECK_AGAIN = "check again later"
_KIND_REMEDIES: Mapping[str, str] = MappingProxyType({"token": _TOKEN_REMEDY, "channel": _POLICY_REMEDY})
_HISTORY_SCOPES: Mapping[str, str] = MappingProxyType({"D": "im:history", "G": "groups:history"})
_PUBLIC_OR_PRIVATE = ("channels:history", "groups:history")


def look_up_remedy(answer: Answer, channel: str) -> str:
    """Return what lets the bot read the history of a channel that Slack would not show."""
    if answer.code != "missing_scope":
        return _REMEDIES.get(answer.code) or _KIND_REMEDIES.get(_KIND_OF.get(answer.code, ""), _CHECK_AGAIN)
    needed = answer.data.get("needed")
    scope = needed if needed in _PUBLIC_OR_PRIVATE else _HISTORY_SCOPES.get(channel[:1])
    wanted = scope or f"{_PUBLIC_OR_PRIVATE[0]} ({_PUBLIC_OR_PRIVATE[1]} for a private channel)"
    return f"add the bot scope {wanted} under OAuth & Permissions and reinstall the app"


def _pointers(data: Json) -> str:
    found = re.findall(r"\[json-pointer:(/[a-z0-9_/]{1,80})\]", json.dumps(data.get("errors")))
    return f" at {', '.join(found[:3])}" if found else ""


def _token_remedy(data: Json) -> str:
    needed = data.get("needed")
    if isinstance(needed, str) and re.fullmatch(r"[a-z0-9:._,-]{1,200}", needed):
        return f"add the bot scope {needed} under OAuth & Permissions and reinstall the app"
    return _TOKEN_REMEDY


def _unsent(error: HttpError) -> Outcome:
    from notifier.http import AddressRefused, NotSent  # noqa: PLC0415 - reading settings must not load the network

    if isinstance(error, AddressRefused):
        return Parked(str(error), PROBE_AFTER)
    return Retry(str(error)) if isinstance(error, NotSent) else Unknown(str(error))


# ---- the two modes ----


class Transport(Protocol):
    """A way to hand a message to Slack."""

    async def post(self, message: Json, deadline: float) -> Answer:
        """Post and return the answer. Raises HttpError."""

    async def check(self, deadline: float) -> Sequence[Finding]:
        """Prove that posting could work, without posting. Raises HttpError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bot:
    """Posts with a bot token through the Web API."""

    api: WebApi
    channel: str

    async def post(self, message: Json, deadline: float) -> Answer:
        return await self.api.call("chat.postMessage", deadline, message | {"channel": self.channel})

    async def history(
        self, deadline: float, *, oldest: datetime | None = None, cursor: str = "", limit: int = PAGE_SIZE
    ) -> Answer:
        """Return a page of the channel's history since `oldest`, metadata included. Raises HttpError."""
        query = {
            "channel": self.channel,
            "include_all_metadata": "true",
            "limit": limit,
            "oldest": f"{oldest.timestamp():.6f}" if oldest else None,
            "cursor": cursor or None,
        }
        return await self.api.call("conversations.history", deadline, query=query, max_bytes=MAX_PAGE)

    async def check(self, deadline: float) -> Sequence[Finding]:
        answer = await self.api.call("auth.test", deadline, {})
        if answer.data.get("ok") is not True:
            why = answer.code or f"HTTP {answer.status}"
            return (Finding(ok=False, what="Slack token", detail=why, remedy=_token_remedy(answer.data)),)
        bot = one_line(str(answer.data.get("user", "?")))
        who = f"@{bot} in {one_line(str(answer.data.get('team', '?')))}"
        membership = f"{self.channel}: a member of it may have to type /invite @{bot}; only posting proves it"
        return (
            Finding(ok=True, what="Slack token", detail=who),
            *_scopes(answer.headers.get("x-oauth-scopes")),
            Finding(ok=True, what="Slack channel", detail=membership),
        )


def _scopes(granted: str | None) -> Sequence[Finding]:
    if granted is None or POST_SCOPE in re.split(r"[\s,]+", granted):
        return ()
    remedy = f"add the bot scope {POST_SCOPE} under OAuth & Permissions and reinstall the app"
    return (Finding(ok=False, what="Slack scopes", detail=f"{POST_SCOPE} is missing", remedy=remedy),)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Webhook:
    """Posts through an incoming webhook, whose answer is `ok` and nothing else."""

    http: HttpClient
    url: str = field(repr=False)

    async def post(self, message: Json, deadline: float) -> Answer:
        return await self._send({key: value for key, value in message.items() if key != "metadata"}, deadline)

    async def check(self, deadline: float) -> Sequence[Finding]:
        """Post an empty text: a webhook that works refuses just that."""
        answer = await self._send({"text": ""}, deadline)
        alive = answer.code in ("no_text", "invalid_payload") or answer.data.get("ok") is True
        if alive:
            return (Finding(ok=True, what="Slack webhook", detail="answers"),)
        why = answer.code or f"HTTP {answer.status}"
        return (Finding(ok=False, what="Slack webhook", detail=why, remedy=_REMEDIES.get(answer.code, _HOOK_REMEDY)),)

    async def _send(self, message: Json, deadline: float) -> Answer:
        reply = await self.http.exchange(
            "POST",
            self.url,
            headers={"content-type": "application/json"},
            content=encoded(message),
            deadline=deadline,
            max_bytes=MAX_REPLY,
        )
        word = reply.body.decode("utf-8", "replace").strip()
        return Answer(
            status=reply.status, headers=reply.headers, data={"ok": True} if word == "ok" else {"error": word}
        )


_HOOK_REMEDY = "check the URL against the app's page Incoming Webhooks"


# ---- the channel ----


class SlackChannel(BaseChannel[SlackSettings]):
    """Posts to one Slack channel."""

    kind: ClassVar[str] = "slack"
    Settings: ClassVar[type[ChannelSettings]] = SlackSettings

    def __init__(self, settings: SlackSettings, toolbox: Toolbox) -> None:
        super().__init__(settings, toolbox)
        self.repeat = Repeat.LOOK_UP if settings.can_look_up else Repeat.RISKY

    def render(self, notice: Notice) -> Body:
        """Return the message as JSON; where it goes is added when it is sent."""
        return Body(content=encoded(payload(notice, self.toolbox.wording)), content_type="application/json")

    async def send(self, delivery: Delivery) -> Outcome:
        """Post once; once more as plain text where Slack refuses the layout."""
        clock, seconds = self.toolbox.clock, self.settings.timeout.total_seconds()
        end = clock.monotonic() + seconds
        message = json.loads(stored_body(delivery).content)
        outcome = await self._post(message, seconds)
        if isinstance(outcome, WrongContent):
            log.warning("slack refused the layout; sending plain text", channel=self.name, reason=outcome.reason)
            outcome = await self._post(as_text(message), end - clock.monotonic())
        return GaveUp(f"{outcome.reason}, also as plain text") if isinstance(outcome, WrongContent) else outcome

    async def _post(self, message: Json, deadline: float) -> Outcome | WrongContent:
        from notifier.http import HttpError  # noqa: PLC0415 - reading settings must not load the network

        try:
            answer = await self._transport.post(message, deadline)
        except HttpError as error:
            return _unsent(error)
        return outcome_of(answer, self.toolbox.clock.now())

    async def look_up(self, delivery: Delivery) -> Outcome | None:
        """Search the channel's history since the delivery was planned for the message that carries its id."""
        if not self.settings.can_look_up:
            return Unknown("only a bot can look a message up, and only in a channel that is given by its ID")
        clock = self.toolbox.clock
        await clock.sleep(SETTLES_IN)
        end = clock.monotonic() + self.settings.look_up_time.total_seconds()
        cursor = ""
        for _ in range(MAX_PAGES):
            found = await self._page(delivery, cursor, end - clock.monotonic())
            if not isinstance(found, NextPage):
                return found
            cursor = found.cursor
        return Unknown(f"not among the first {MAX_PAGES * PAGE_SIZE} messages since it was planned, and there are more")

    async def _page(self, delivery: Delivery, cursor: str, deadline: float) -> Outcome | NextPage | None:
        from notifier.http import AddressRefused, HttpError, ReplyTooLarge  # noqa: PLC0415 - as in `_post`

        oldest = delivery.created_at - SKEW
        try:
            answer = await self._bot.history(deadline, oldest=oldest, cursor=cursor)
        except (AddressRefused, ReplyTooLarge) as error:
            return Unknown(str(error))
        except HttpError as error:
            return Retry(f"looking for an earlier message, {error}")
        return looked_up(answer, delivery, self._bot.channel, self.toolbox.clock.now())

    async def check(self) -> Sequence[Finding]:
        """Ask Slack who the bot is and what it may do, or whether the webhook answers. Posts nothing."""
        from notifier.http import HttpError  # noqa: PLC0415 - reading settings must not load the network

        seconds = self.settings.timeout.total_seconds()
        try:
            findings = await self._transport.check(seconds)
            works = all(finding.ok for finding in findings) and not self.settings.webhook_url
            return (*findings, await self._check_look_up(seconds)) if works else findings
        except HttpError as error:
            remedy = "check the address, the network and the proxy"
            return (Finding(ok=False, what="Slack", detail=str(error), remedy=remedy),)

    async def _check_look_up(self, deadline: float) -> Finding:
        """Prove that messages can be looked up. Posting works without: what it costs is a repeat now and then."""
        what, cost = "Slack look-up", _COSTS[self.on_unknown]
        if not self.settings.can_look_up:
            detail = f"needs the channel's ID, and {self.settings.channel} is a name: {cost}"
            return Finding(ok=True, what=what, detail=detail, remedy="set `channel` to its ID, for example C0123ABCD")
        answer = await self._bot.history(deadline, limit=1)
        if answer.data.get("ok") is True:
            return Finding(ok=True, what=what, detail="what was posted can be looked up")
        why = answer.code or f"HTTP {answer.status}"
        return Finding(ok=True, what=what, detail=f"{why}: {cost}", remedy=look_up_remedy(answer, self._bot.channel))

    @cached_property
    def _transport(self) -> Transport:
        url = self.settings.webhook_url
        return _Webhook(http=self.toolbox.http, url=url.get_secret_value()) if url else self._bot

    @cached_property
    def _bot(self) -> _Bot:
        settings = self.settings
        token = settings.bot_token.get_secret_value() if settings.bot_token else ""
        api = WebApi(http=self.toolbox.http, url=settings.api_url, token=token)
        return _Bot(api=api, channel=settings.channel or "")


_COSTS: Mapping[str, str] = MappingProxyType(
    {
        "resend": "a message whose answer is lost is posted again, and may be seen twice",
        "hold": "a message whose answer is lost is held until somebody decides",
    }
)
