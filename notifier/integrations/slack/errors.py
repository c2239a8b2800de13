"""The meaning of Slack's responses for a message. Pure. `errors.toml` has the error codes."""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib.resources import files

from notifier.channels.base import Json
from notifier.core.delivery import Delivered, Delivery, Outcome, Parked, Retry, Unknown
from notifier.core.durations import parse_duration
from notifier.core.identity import MessageRef
from notifier.core.retry import retry_after
from notifier.integrations.slack.api import SlackResponse

SLACK_PROBE_AFTER = timedelta(minutes=15)
"""Time after which a channel that Slack refuses to post to is tried again."""
_TOKEN_PROBE = timedelta(minutes=5)
"""The same for a token that Slack refuses."""


@dataclass(frozen=True, slots=True)
class ContentRefused:
    """Slack refuses the text or the layout of the message."""

    reason: str
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""


@dataclass(frozen=True, slots=True)
class MessageGone:
    """The message to change or to reply to does not exist any more, or cannot be changed."""

    reason: str
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""


@dataclass(frozen=True, slots=True)
class NextPage:
    """The message is not on this page of the history, and there are more pages."""

    cursor: str


_POLICY_REMEDY = "ask an administrator of the workspace to let the app post there"
TOKEN_REMEDY = "set a valid bot token (xoxb-…) of an app that is installed in the workspace"  # noqa: S105 - advice

_TABLE = tomllib.loads(files(__package__).joinpath("errors.toml").read_text(encoding="utf-8"))
_WAITS: Mapping[str, timedelta] = {code: parse_duration(wait) for code, wait in _TABLE.pop("wait").items()}
_MEANINGS: Mapping[str, str] = {code: meaning for meaning, codes in _TABLE.items() for code in codes}
_REMEDIES: Mapping[str, str] = {code: remedy for codes in _TABLE.values() for code, remedy in codes.items() if remedy}
_STATUS_REMEDIES = dict.fromkeys((401, 404, 410), "check the URL: a webhook may have been removed")
"""Remedies for a status without a known code."""


def remedy_of(code: str, default: str = _POLICY_REMEDY) -> str:
    """Return the remedy for an error code; `default` for a code that has none of its own."""
    return _REMEDIES.get(code, default)


def token_remedy(data: Json) -> str:
    """Return the remedy for a refused token, from the response that refused it."""
    needed = data.get("needed")
    if isinstance(needed, str) and re.fullmatch(r"[a-z0-9:._,-]{1,200}", needed):
        return scope_remedy(needed)
    return TOKEN_REMEDY


def scope_remedy(scope: str) -> str:
    """Return the remedy for a missing scope of the bot."""
    return f"add the bot scope {scope} under OAuth & Permissions and reinstall the app"


def outcome_of(response: SlackResponse, now: datetime) -> Outcome | ContentRefused | MessageGone:
    """Return what a response means for the message."""
    code = re.sub(r"^restricted_action_.*", "restricted_action", response.code)
    reason = f"Slack: {response.failure}"
    match _MEANINGS.get(code):
        case "gone":
            return MessageGone(reason)
        case "content":
            return ContentRefused(f"{reason}{_pointers(response.data)}")
        case "channel" | "token" as meaning:
            is_token = meaning == "token"
            remedy = token_remedy(response.data) if is_token else remedy_of(code)
            return Parked(f"{reason}; {remedy}", _TOKEN_PROBE if is_token else SLACK_PROBE_AFTER)
        case "unknown":
            return Unknown(reason)
        case "retry":
            return Retry(reason, _WAITS.get(code) or retry_after(response.headers, now))
    return _outcome_of_status(response, reason, now)


def refuses_channel(response: SlackResponse) -> bool:
    """Return whether Slack would refuse any message to this channel or person, whatever its text and the token."""
    return _MEANINGS.get(re.sub(r"^restricted_action_.*", "restricted_action", response.code)) == "channel"


def _outcome_of_status(response: SlackResponse, reason: str, now: datetime) -> Outcome | ContentRefused:
    match response.status:
        case status if 200 <= status < 300 and response.ok:  # noqa: PLR2004 - the class of success
            return Delivered(_reference(response.data))
        case 400 | 413:
            return ContentRefused(reason)
        case 401 | 403 | 404 | 410:
            return Parked(f"{reason}; {_STATUS_REMEDIES.get(response.status, _POLICY_REMEDY)}", SLACK_PROBE_AFTER)
        case status if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
            return Retry(f"{reason}: redirect not followed")
        case status if response.code or 400 <= status < 500:  # noqa: PLR2004 - the class of refusals
            return Retry(reason, retry_after(response.headers, now))
    return Unknown(f"{reason}, and no word on whether the message was taken")


_FAILURE = re.compile(
    r"\b(error|fail(s|ed|ure)?|invalid|denied|refused|rejected|forbidden|unauthori[sz]ed|not found|expired"
    r"|no (service|hooks?|team|text)|bad (token|request|gateway))\b",
    re.IGNORECASE,
)


def is_failure(text: str) -> bool:
    """Return whether the text of a webhook's response reports a failure, as a code of Slack's or in plain words.

    Slack reports success as `ok`; services that stand in for Slack have other words for it.
    """
    return text in _MEANINGS or bool(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", text) or _FAILURE.search(text))


def _reference(data: Json) -> str | None:
    """Return the reference of a posted message, for edits and for replies in its thread."""
    channel, ts = data.get("channel"), data.get("ts")
    return str(MessageRef(channel, ts)) if isinstance(channel, str) and isinstance(ts, str) else None


def _pointers(data: Json) -> str:
    found = re.findall(r"\[json-pointer:(/[a-z0-9_/]{1,80})\]", json.dumps(data.get("errors")))
    return f" at {', '.join(found[:3])}" if found else ""


# ---- the history of a channel or a thread ----


def find_in_history(
    response: SlackResponse, delivery: Delivery, channel: str, now: datetime
) -> Outcome | NextPage | MessageGone | None:
    """Return what a page of a history says about a delivery's message; None when it is on no page.

    MessageGone means that the thread whose history was asked for does not exist any more. Delivered names the thread
    where the message is a reply: a channel's history has the replies that the channel shows.
    """
    if not response.ok:
        return _history_refused(response, channel, now)
    messages = response.data.get("messages")
    if not isinstance(messages, list):
        return Unknown("Slack: an answer without a history")
    found = (message for message in messages if isinstance(message, dict) and key_of(message) == delivery.id)
    if message := next(found, None):
        ref, parent = (_reference({"channel": channel, "ts": message.get(name)}) for name in ("ts", "thread_ts"))
        return Delivered(ref, thread=parent if parent != ref else None)
    cursor = nested_object(response.data, "response_metadata").get("next_cursor")
    if cursor and isinstance(cursor, str):
        return NextPage(cursor)
    return Unknown("Slack: a history that is not whole") if response.data.get("has_more") is True else None


def _history_refused(response: SlackResponse, channel: str, now: datetime) -> Outcome | MessageGone:
    meaning = _MEANINGS.get(response.code)
    if meaning == "gone":
        return MessageGone(f"Slack: {response.code}")
    if response.code and meaning not in ("retry", "unknown"):
        return Unknown(f"Slack: {response.code}; {history_remedy(response, channel)}")
    wait = _WAITS.get(response.code) or retry_after(response.headers, now)
    return Retry(f"searching for an earlier message: Slack: {response.failure}", wait)


_HISTORY_SCOPES = {"D": "im:history", "G": "groups:history"}
_PUBLIC_OR_PRIVATE = ("channels:history", "groups:history")
_USUAL_REMEDIES = {"token": TOKEN_REMEDY, "channel": _POLICY_REMEDY}


def history_remedy(response: SlackResponse, channel: str) -> str:
    """Return the remedy for a history that Slack refuses to show."""
    if response.code != "missing_scope":
        usual = _USUAL_REMEDIES.get(_MEANINGS.get(response.code, ""), "check again later")
        return remedy_of(response.code, usual)
    needed = response.data.get("needed")
    scope = needed if needed in _PUBLIC_OR_PRIVATE else _HISTORY_SCOPES.get(channel[:1])
    return scope_remedy(scope or f"{_PUBLIC_OR_PRIVATE[0]} ({_PUBLIC_OR_PRIVATE[1]} for a private channel)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelVerdict:
    """What is known about a channel without a post to it."""

    detail: str
    error: str = ""
    """The code with which Slack would refuse a post."""
    proven: bool = True
    """False where only a post would tell."""


def channel_verdict(info: SlackResponse, history: SlackResponse, *, posts_anywhere: bool) -> ChannelVerdict:
    """Return what Slack's responses about a channel and about its history say.

    `posts_anywhere`: the bot has chat:write.public, with which it need not be in a public channel.
    """
    about = nested_object(info.data, "channel")
    outside = info.ok and about.get("is_member") is False
    codes = {info.code, history.code, "is_archived" if about.get("is_archived") is True else ""}
    codes |= {"not_in_channel"} if outside else set()
    if posts_anywhere and about.get("is_private") is not True:
        codes.discard("not_in_channel")
    for code in sorted(codes):  # is_archived comes before not_in_channel, whose remedy would not help there
        if _MEANINGS.get(code) == "channel":
            return ChannelVerdict(error=code, detail=code)
    if info.ok:
        return ChannelVerdict(detail="the bot may post without being in it" if outside else "the bot is in it")
    if history.ok:
        return ChannelVerdict(detail="the bot is in it; only posting tells whether it is archived", proven=False)
    return ChannelVerdict(detail="only posting tells whether the bot may post there", proven=False)


def error_text(response: SlackResponse) -> str:
    """Return Slack's words: the error, what is missing, and remarks; empty where the response is not Slack's."""
    if response.ok:
        return "ok"
    data = response.data
    remarks, errors = nested_object(data, "response_metadata").get("messages"), data.get("errors")
    listed = [one for some in (remarks, errors) if isinstance(some, list) for one in some]
    needed = data.get("needed")
    texts = [data.get("error"), needed and f"needed: {needed}", *listed]
    return "; ".join(dict.fromkeys(one for one in texts if isinstance(one, str) and one))


def key_of(message: Json) -> str | None:
    """Return the delivery's id that a message carries; None for a message of somebody else."""
    key = nested_object(nested_object(message, "metadata"), "event_payload").get("key")
    return key if isinstance(key, str) else None


def nested_object(value: Json, key: str) -> Json:
    """Return an object within an object; an empty one where there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else {}
