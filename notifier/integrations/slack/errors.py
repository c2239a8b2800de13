"""What Slack's answers mean for a message: pure functions from an answer to a decision. Error codes: docs.slack.dev."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from notifier.core.delivery import Delivered, Delivery, Outcome, Parked, Retry, Unknown
from notifier.core.identity import MessageRef
from notifier.core.retry import retry_after
from notifier.integrations.slack.api import SlackResponse
from notifier.integrations.slack.blockkit import Json

PROBE_AFTER = timedelta(minutes=15)
"""When a channel that Slack refuses to post to is tried again unasked."""


@dataclass(frozen=True, slots=True)
class ContentRefused:
    """Slack refuses what the message says or how it is laid out."""

    reason: str
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""


@dataclass(frozen=True, slots=True)
class MessageGone:
    """The message that was to be changed, or to be replied to, is not there any more, or cannot be changed."""

    reason: str
    reply: str | None = field(default=None, kw_only=True)
    """See `Attempt.reply`."""


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
            attachment_payload_limit_exceeded too_many_attachments no_text missing_text_or_fallback_or_attachments
            invalid_metadata_format
            invalid_metadata_schema metadata_too_large markdown_text_conflict invalid_arguments invalid_payload
        """,
        "channel": """
            channel_not_found not_in_channel is_archived channel_is_archived restricted_action ekm_access_denied
            messages_tab_disabled team_not_found no_team team_disabled team_access_not_granted no_service no_service_id
            no_active_hooks invalid_token action_prohibited posting_to_general_channel_denied user_not_found
            slack_connect_file_link_sharing_blocked
        """,
        "gone": """
            message_not_found cant_update_message edit_window_closed is_inactive block_mismatch thread_not_found
            cannot_reply_to_message
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
REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "channel_not_found": f"check the channel's ID; a private channel is found only by its members, so {_INVITE}",
        "not_in_channel": _INVITE,
        "is_archived": "unarchive the channel or set another one",
        "channel_is_archived": "unarchive the channel or make a webhook for another one",
        "no_service": "the webhook was removed: make a new one",
        "no_service_id": "the webhook's URL is not whole: copy it again",
        "no_active_hooks": "the webhook is switched off: switch Incoming Webhooks on for the app, or make a new one",
        "no_team": "the webhook's workspace is not known: copy its URL again or make a new one",
        "team_disabled": "the workspace is switched off: set another channel",
        "team_access_not_granted": "install the app in that workspace; an organization's administrator approves it",
        "posting_to_general_channel_denied": "make a webhook for another channel than the workspace's general one",
        "invalid_token": "the webhook is not valid: copy its URL again or make a new one",
    }
)
_NO_WORD_REMEDIES: Mapping[int, str] = MappingProxyType(
    dict.fromkeys((401, 404, 410), "check the URL: a webhook may have been removed")
)
"""What helps where a status came without a word that is known."""
_POLICY_REMEDY = "ask an administrator of the workspace to let the app post there"
TOKEN_REMEDY = "set a valid bot token (xoxb-…) of an app that is installed in the workspace"  # noqa: S105 - advice
_TOKEN_PROBE = timedelta(minutes=5)
_WAITS: Mapping[str, timedelta] = MappingProxyType({"slowly": timedelta(minutes=10), "full": timedelta(hours=1)})


def outcome_of(answer: SlackResponse, now: datetime) -> Outcome | ContentRefused | MessageGone:
    """Return what an answer means for the message."""
    error = re.sub(r"^restricted_action_.*", "restricted_action", answer.code)
    kind = _KIND_OF.get(error, "")
    reason = f"Slack: {answer.code}" if answer.code else f"Slack: HTTP {answer.status}"
    match kind:
        case "gone":
            return MessageGone(reason)
        case "content":
            return ContentRefused(f"{reason}{_pointers(answer.data)}")
        case "channel" | "token":
            return _parked(kind, error, reason, answer.data)
        case "unknown":
            return Unknown(reason)
        case "repeat" | "slowly" | "full":
            return Retry(reason, _WAITS.get(kind) or retry_after(answer.headers, now))
    return _outcome_of_status(answer, reason, now)


def _parked(kind: str, error: str, reason: str, data: Json) -> Parked:
    if kind == "token":
        return Parked(f"{reason}; {token_remedy(data)}", _TOKEN_PROBE)
    return Parked(f"{reason}; {channel_remedy(error)}", PROBE_AFTER)


def _outcome_of_status(answer: SlackResponse, reason: str, now: datetime) -> Outcome | ContentRefused:
    match answer.status:
        case status if 200 <= status < 300 and answer.data.get("ok") is True:  # noqa: PLR2004 - the class of success
            return Delivered(_reference(answer.data))
        case 400 | 413:
            return ContentRefused(reason)
        case 401 | 403 | 404 | 410:
            return Parked(f"{reason}; {_NO_WORD_REMEDIES.get(answer.status, _POLICY_REMEDY)}", PROBE_AFTER)
        case status if 300 <= status < 400:  # noqa: PLR2004 - the class of redirects
            return Retry(f"{reason}: redirect not followed")
        case status if answer.code or 400 <= status < 500:  # noqa: PLR2004 - the class of refusals
            return Retry(reason, retry_after(answer.headers, now))
    return Unknown(f"{reason}, and no word on whether the message was taken")


_FAILURE = re.compile(
    r"\b(error|fail(s|ed|ure)?|invalid|denied|refused|rejected|forbidden|unauthori[sz]ed|not found|expired"
    r"|no (service|hooks?|team|text)|bad (token|request|gateway))\b",
    re.IGNORECASE,
)


def is_failure(text: str) -> bool:
    """Tell whether the text of a webhook's answer says that it failed: in a code of Slack's, or in plain words.

    `ok` is Slack's word of success, and what stands in for Slack has others.
    """
    return text in _KIND_OF or bool(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", text) or _FAILURE.search(text))


def _reference(data: Json) -> str | None:
    """Return the reference that an edit or a reply in its thread needs."""
    channel, ts = data.get("channel"), data.get("ts")
    return str(MessageRef(channel, ts)) if isinstance(channel, str) and isinstance(ts, str) else None


@dataclass(frozen=True, slots=True)
class NextPage:
    """The message is not on this page of the history, and there are more."""

    cursor: str


def find_in_history(
    answer: SlackResponse, delivery: Delivery, channel: str, now: datetime
) -> Outcome | NextPage | MessageGone | None:
    """Return what a page of a history says of a delivery's message: None when it is in no page.

    Gone when it was to be the history of a thread, and that is not there any more.
    """
    if answer.data.get("ok") is not True:
        return _history_refused(answer, channel, now)
    messages = answer.data.get("messages")
    if not isinstance(messages, list):
        return Unknown("Slack: an answer without a history")
    found = (message for message in messages if isinstance(message, dict) and key_of(message) == delivery.id)
    if message := next(found, None):
        return Delivered(_reference({"channel": channel, "ts": message.get("ts")}))
    cursor = nested_object(answer.data, "response_metadata").get("next_cursor")
    if cursor and isinstance(cursor, str):
        return NextPage(cursor)
    return Unknown("Slack: a history that is not whole") if answer.data.get("has_more") is True else None


def _history_refused(answer: SlackResponse, channel: str, now: datetime) -> Outcome | MessageGone:
    kind = _KIND_OF.get(answer.code, "")
    if kind == "gone":
        return MessageGone(f"Slack: {answer.code}")
    if answer.code and kind not in ("repeat", "slowly", "full", "unknown"):
        return Unknown(f"Slack: {answer.code}; {history_remedy(answer, channel)}")
    reason = f"Slack: {answer.code}" if answer.code else f"Slack: HTTP {answer.status}"
    return Retry(f"looking for an earlier message, {reason}", _WAITS.get(kind) or retry_after(answer.headers, now))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelVerdict:
    """What is known of a channel without posting to it."""

    detail: str
    wrong: str = ""
    """The code of what posting would be refused with."""
    proven: bool = True
    """False where only posting would tell."""


_ONLY_POSTING = "only posting tells whether the bot may post there"


def channel_verdict(info: SlackResponse, history: SlackResponse, *, posts_anywhere: bool) -> ChannelVerdict:
    """Return what Slack's answers say of a channel: about it, and about its history.

    `posts_anywhere`: the bot has chat:write.public, with which it need not be in a public channel.
    """
    about = nested_object(info.data, "channel")
    outside = info.data.get("ok") is True and about.get("is_member") is False
    codes = {info.code, history.code, "is_archived" if about.get("is_archived") is True else ""}
    codes |= {"not_in_channel"} if outside else set()
    if posts_anywhere and about.get("is_private") is not True:
        codes.discard("not_in_channel")
    for code in sorted(codes):  # that it is archived comes before that the bot is not in it, which helps nobody there
        if _KIND_OF.get(code) == "channel":
            return ChannelVerdict(wrong=code, detail=code)
    if info.data.get("ok") is True:
        return ChannelVerdict(detail="the bot may post without being in it" if outside else "the bot is in it")
    if history.data.get("ok") is True:
        return ChannelVerdict(detail="the bot is in it; only posting tells whether it is archived", proven=False)
    return ChannelVerdict(detail=_ONLY_POSTING, proven=False)


_CHECK_AGAIN = "check again later"
_HISTORY_REMEDIES: Mapping[str, str] = MappingProxyType({"token": TOKEN_REMEDY, "channel": _POLICY_REMEDY})
_HISTORY_SCOPES: Mapping[str, str] = MappingProxyType({"D": "im:history", "G": "groups:history"})
_PUBLIC_OR_PRIVATE = ("channels:history", "groups:history")


def history_remedy(answer: SlackResponse, channel: str) -> str:
    """Return what lets the bot read the history of a channel that Slack would not show."""
    if answer.code != "missing_scope":
        return REMEDIES.get(answer.code) or _HISTORY_REMEDIES.get(_KIND_OF.get(answer.code, ""), _CHECK_AGAIN)
    needed = answer.data.get("needed")
    scope = needed if needed in _PUBLIC_OR_PRIVATE else _HISTORY_SCOPES.get(channel[:1])
    wanted = scope or f"{_PUBLIC_OR_PRIVATE[0]} ({_PUBLIC_OR_PRIVATE[1]} for a private channel)"
    return f"add the bot scope {wanted} under OAuth & Permissions and reinstall the app"


def error_text(answer: SlackResponse) -> str:
    """Return what Slack says: the error, what is missing, and its remarks; empty where the answer is not Slack's."""
    if answer.data.get("ok") is True:
        return "ok"
    remarks = nested_object(answer.data, "response_metadata").get("messages")
    listed = [*(remarks if isinstance(remarks, list) else ()), *_listed(answer.data.get("errors"))]
    needed = answer.data.get("needed")
    said = [answer.data.get("error"), needed and f"needed: {needed}", *listed]
    return "; ".join(dict.fromkeys(one for one in said if isinstance(one, str) and one))


def _listed(errors: object) -> list[object]:
    return errors if isinstance(errors, list) else []


def channel_remedy(code: str) -> str:
    """Return what helps where Slack refuses to post to a channel."""
    return REMEDIES.get(code, _POLICY_REMEDY)


def _pointers(data: Json) -> str:
    found = re.findall(r"\[json-pointer:(/[a-z0-9_/]{1,80})\]", json.dumps(data.get("errors")))
    return f" at {', '.join(found[:3])}" if found else ""


def token_remedy(data: Json) -> str:
    """Return what makes a refused token work."""
    needed = data.get("needed")
    if isinstance(needed, str) and re.fullmatch(r"[a-z0-9:._,-]{1,200}", needed):
        return f"add the bot scope {needed} under OAuth & Permissions and reinstall the app"
    return TOKEN_REMEDY


def key_of(message: Json) -> str | None:
    """Return the delivery's id that a message carries; None for a message of somebody else."""
    key = nested_object(nested_object(message, "metadata"), "event_payload").get("key")
    return key if isinstance(key, str) else None


def nested_object(value: Json, key: str) -> Json:
    """Return an object within an object; an empty one where there is none."""
    found = value.get(key)
    return found if isinstance(found, dict) else {}
