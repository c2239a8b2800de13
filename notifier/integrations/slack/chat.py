"""Slash commands and clicks from Slack, over HTTP or Socket Mode, and the replies to them."""

import asyncio
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from notifier.channels.base import Json, encode_json
from notifier.chat.ports import ActionDenied, BadRequest, Responder
from notifier.chat.requests import Button, ChatReply, ClickRequest, CommandRequest
from notifier.core.identity import MessageRef
from notifier.core.people import Person
from notifier.http import AddressRefused, HttpClient, HttpError, parse_target
from notifier.integrations.slack.api import MAX_API_REPLY, WebApi
from notifier.integrations.slack.membership import may_post
from notifier.integrations.slack.replies import reply_message
from notifier.integrations.slack.users import UserDirectory
from notifier.wording.phrases import Language, text
from notifier.wording.sanitize import one_line

ANSWER_TIMEOUT = 2.5
"""Maximum time for a direct answer, in seconds; Slack waits for three. A later one is posted to the response_url."""
MAX_RUNNING = 2_000
"""Maximum number of requests being answered. Without a limit, a blocked database would collect them without end."""
REPLY_TIMEOUT = 10.0
"""Maximum time to post a reply to a response_url, in seconds."""
MAX_REPLIES = 50
"""Maximum number of replies being posted. Further ones are dropped: Slack itself has a problem then."""
RESPONSE_HOSTS = frozenset({"hooks.slack.com", "hooks.slack-gov.com"})
"""Hosts of response_urls. A request that names another host is refused."""
MAX_FIELD = 4_000
"""Maximum length of a field, in characters. The text of a command has 3,000 at most."""

_CHANNEL_ID = re.compile(r"[CG][A-Z0-9]{1,30}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackChatRules:
    """The part of the configuration that concerns people in Slack."""

    language: Language
    """Language for people whose own is unknown."""
    allow: tuple[str, ...] = ()
    """Ids of the users and user groups who may make changes; empty for all members of our workspaces."""
    guests: bool = False
    """Whether guests of our workspaces may make changes too. Ignored where `allow` lists somebody."""
    direct: bool = True
    """Whether a bot is configured that can send direct messages."""
    response_hosts: Collection[str] = RESPONSE_HOSTS
    """Hosts of response_urls, reached by https; a loopback host may have any scheme."""


class SlackRequestHandler(Protocol):
    """Handles authenticated requests of Slack in the time it waits. `replay_key` is None where none can be replayed."""

    async def command(self, form: Mapping[str, str], replay_key: str | None) -> Json:
        """Answer a slash command with a message. Raises BadRequest."""

    async def interaction(self, payload: Json, replay_key: str | None) -> None:
        """Accept a click. The reply is posted to its response_url later. Raises BadRequest."""


class SlackChat:
    """Implements `SlackRequestHandler`. The owner calls `aclose` at the end."""

    def __init__(
        self,
        responder: Responder,
        directory: UserDirectory,
        http: HttpClient,
        rules: SlackChatRules,
        api: WebApi | None = None,
    ) -> None:
        """`api` is that of the bot; None where none is configured."""
        self._responder = responder
        self._directory = directory
        self._http = http
        self._rules = rules
        self._api = api
        self._replies: set[asyncio.Task[None]] = set()
        self._working: set[asyncio.Task[ChatReply | None]] = set()

    async def command(self, form: Mapping[str, str], replay_key: str | None) -> Json:
        """Answer a slash command; see `SlackRequestHandler`."""
        _field(form, "command")
        person = _person(_field(form, "user_id"), form.get("user_name"))
        words = _field(form, "text", empty=True)
        channel = _channel(form.get("channel_id", ""))
        command = CommandRequest(
            text=words,
            person=person,
            direct=self._rules.direct,
            channel=channel,
            may_post=partial(may_post, self._api, channel) if self._api and channel else None,
            replay_key=replay_key,
        )
        language = self._language(person.id)
        work = self._start(command, language, _ids(form.get("team_id"), form.get("enterprise_id")))
        if await _ended_in_time(work):
            reply = work.result()
            return reply_message(reply, language) if reply else {}
        url = form.get("response_url", "")
        follows = _is_response_url(url, self._rules.response_hosts)
        if follows:
            work.add_done_callback(lambda ended: self._follow_up(ended, url, language))
        late = ChatReply(title=text(language, "late.follows" if follows else "late.lost"), ok=False)
        return reply_message(late, language)

    async def interaction(self, payload: Json, replay_key: str | None) -> None:
        """Accept a click; see `SlackRequestHandler`. Other kinds of interactions are ignored."""
        if payload.get("type") != "block_actions":
            return
        click = _click(payload, replay_key)
        url = self._response_url(payload)
        if click is None:
            return
        language = self._language(click.person.id)
        work = self._start(click, language, _ids(payload["user"].get("team_id")))
        in_place = click.button.turns_page
        if await _ended_in_time(work):
            self._follow_up(work, url, language, in_place=in_place)
        else:
            work.add_done_callback(lambda ended: self._follow_up(ended, url, language, in_place=in_place))

    async def aclose(self) -> None:
        """Cancel the answers and replies that are under way."""
        for task in (*self._working, *self._replies):
            task.cancel()
        await asyncio.gather(*self._working, *self._replies, return_exceptions=True)

    def _language(self, person: str) -> Language:
        return self._directory.language_of(person) or self._rules.language

    def _start(
        self, request: CommandRequest | ClickRequest, language: Language, workspaces: Collection[str]
    ) -> asyncio.Task[ChatReply | None]:
        """Start to answer. A caller that stops waiting does not cancel it, so a change that has begun is completed."""
        begun = self._answer(request, language, workspaces)
        if len(self._working) >= MAX_RUNNING:
            begun.close()
            begun = _busy_reply(language)
        work = asyncio.create_task(begun, name="answer somebody in Slack")
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        return work

    async def _answer(
        self, request: CommandRequest | ClickRequest, language: Language, workspaces: Collection[str]
    ) -> ChatReply | None:
        person, rules = request.person.id, self._rules

        async def may_change() -> bool:
            if rules.allow:
                return await self._directory.is_listed(person, rules.allow)
            if why := await self._directory.denial_reason(person, workspaces, guests=rules.guests):
                raise ActionDenied(why)
            return True

        outsider = await self._directory.is_outsider(person, workspaces)
        if outsider and not (rules.allow and await self._directory.is_listed(person, rules.allow)):
            return ChatReply(title=text(language, "refused.elsewhere"), ok=False)
        try:
            return await self._responder.answer(request, language, may_change)
        except ActionDenied as error:
            return ChatReply(title=text(language, str(error)), ok=False)

    # -- replies that are posted --

    def _follow_up(
        self, ended: asyncio.Task[ChatReply | None], url: str, language: Language, *, in_place: bool = False
    ) -> None:
        """Post the answer to a click, or to a command that took longer than ANSWER_TIMEOUT."""
        if ended.cancelled():
            return
        if error := ended.exception():
            log.error("chat.request_failed", exc_info=error)
        elif reply := ended.result():
            self._post_soon(url, reply_message(reply, language) | {"replace_original": in_place})

    def _response_url(self, payload: Json) -> str:
        url = payload.get("response_url")
        if not isinstance(url, str) or not url or len(url) > MAX_FIELD:
            raise BadRequest("The field response_url is missing.")
        if not _is_response_url(url, self._rules.response_hosts):
            raise BadRequest("The field response_url leads elsewhere.")
        return url

    def _post_soon(self, url: str, message: Json) -> None:
        if len(self._replies) >= MAX_REPLIES:
            log.warning("chat.reply_dropped", msg="too many replies are being posted", limit=MAX_REPLIES)
            return
        task = asyncio.create_task(self._post(url, message), name="post a reply")
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    async def _post(self, url: str, message: Json) -> None:
        for last in (False, True):
            try:
                response = await self._http.exchange(
                    "POST",
                    url,
                    headers={"content-type": "application/json"},
                    content=encode_json(message),
                    deadline=REPLY_TIMEOUT,
                    max_bytes=MAX_API_REPLY,
                )
            except HttpError as error:
                if last:
                    log.warning("chat.reply_failed", reason=str(error))
                continue
            if response.status >= 400:  # noqa: PLR2004 - the classes of refusals
                log.warning("chat.reply_refused", status=response.status)
            return


async def _ended_in_time(work: asyncio.Task[ChatReply | None]) -> bool:
    done, _ = await asyncio.wait({work}, timeout=ANSWER_TIMEOUT)
    return bool(done)


async def _busy_reply(language: Language) -> ChatReply:
    return ChatReply(title=text(language, "busy"), ok=False)


def _ids(*values: object) -> frozenset[str]:
    return frozenset(value for value in values if isinstance(value, str) and value)


def _is_response_url(url: str, hosts: Collection[str]) -> bool:
    """Return whether a reply may be posted there. Parsed as `HttpClient` parses it, so that both see the same host."""
    try:
        origin, _ = parse_target(url)
    except AddressRefused:
        return False
    if origin.host in RESPONSE_HOSTS:
        return (origin.scheme, origin.port, origin.authorization) == ("https", 443, None)
    return origin.host in hosts


def _field(form: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    value = form.get(name)
    if not isinstance(value, str) or not (value or empty):
        raise BadRequest(f"The field {name} is missing.")
    if len(value) > MAX_FIELD or "\0" in value:
        raise BadRequest(f"The field {name} is too long, or holds a NUL character.")
    return value


def _person(id_: str, name: object) -> Person:
    return Person(id=id_, name=one_line(name) or id_ if isinstance(name, str) else id_)


def _channel(id_: str) -> str:
    """Return the id of a channel; the empty string for a conversation of few people, which has another kind of id."""
    return id_ if _CHANNEL_ID.fullmatch(id_) else ""


def _click(payload: Json, replay_key: str | None) -> ClickRequest | None:
    """Return the click; None for a button that is none of ours."""
    user, actions = payload.get("user"), payload.get("actions")
    if not isinstance(user, dict):
        raise BadRequest("The field user is missing.")
    if not isinstance(actions, list) or not actions or not isinstance(actions[0], dict):
        raise BadRequest("The field actions is missing.")
    chosen = actions[0].get("selected_option")
    value = chosen.get("value") if isinstance(chosen, dict) else actions[0].get("value", "")
    if not isinstance(value, str) or "\0" in value:
        raise BadRequest("The field value is not text.")
    id_ = _field(user, "id")
    name = user.get("username") or user.get("name")
    person = _person(id_, name)
    button = Button.parse(_field(actions[0], "action_id"), value)
    if button is None:
        return None
    return ClickRequest(button=button, person=person, message=_message(payload), replay_key=replay_key)


def _message(payload: Json) -> str:
    """Return the channels' reference of the clicked message; empty for a reply that one person sees."""
    container = payload.get("container")
    if not isinstance(container, dict):
        return ""
    channel, ts = container.get("channel_id"), container.get("message_ts")
    return str(MessageRef(channel, ts)) if isinstance(channel, str) and isinstance(ts, str) else ""
