"""A Slack to post to: the Web API methods and the incoming webhook that the channel uses, over a real socket.

It refuses what Slack refuses, with Slack's codes and pointers, and misbehaves on request: each fault in `faults`
spoils one request, the first one first.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web
from timeouts import HANG_TIMEOUT

TOKEN = "xoxb-obviously-fake"
APP_TOKEN = "xapp-obviously-fake"
CHANNEL = "C0GAUSS"
HOOK = "/services/T000/B000/obviously-fake"
HELLO = {"type": "hello", "num_connections": 1, "connection_info": {"app_id": "A000"}}
MAX_RESPONSES = 5
"""How often a response_url may be used."""
POSTED_AT = 1768465800.0
"""15 January 2026, 08:30 UTC."""

FIRST_TS = "1768465800.000001"
"""The `ts` of the first message."""

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault that replaces a proper response."""

    status: int = 200
    body: str | Json = ""
    headers: dict[str, str] = field(default_factory=dict)
    accepts: bool = False
    """Whether the message is accepted nevertheless."""
    then: Literal["answer", "hang", "reset"] = "answer"


RATE_LIMITED = Fault(status=429, body={"ok": False, "error": "ratelimited"}, headers={"Retry-After": "7"})
HTML_500 = Fault(status=500, body="<html><h1>Oops</h1></html>", headers={"Content-Type": "text/html"})
NOT_JSON = Fault(body="well, yes", headers={"Content-Type": "application/json"})
ACCEPTED_THEN_500 = Fault(status=500, accepts=True)
ACCEPTED_THEN_SILENT = Fault(accepts=True, then="hang")
ACCEPTED_THEN_RESET = Fault(accepts=True, then="reset")


def refused(code: str, status: int = 200, **more: Any) -> Fault:
    """Return the fault of an answer `{"ok": false, "error": code}`."""
    return Fault(status=status, body={"ok": False, "error": code} | more)


def word(text: str, status: int) -> Fault:
    """Return the fault of a webhook that answers with one word."""
    return Fault(status=status, body=text, headers={"Content-Type": "text/plain"})


# ---- Block Kit, as Slack checks it ----

Problem = tuple[str, str, str]
"""Error code, what is wrong, JSON pointer."""


def problems(message: Json) -> Iterator[Problem]:
    """Yield what Slack would refuse about a message."""
    blocks, attachments = message.get("blocks") or [], message.get("attachments") or []
    inner = [block for attachment in attachments for block in attachment.get("blocks", ())]
    if not blocks and not attachments and not message.get("text"):
        yield "no_text", "no text", "/text"
    if len(message.get("text") or "") > (4_000 if blocks else 40_000):
        yield "msg_too_long", "too long", "/text"
    if len(blocks) + len(inner) > 50:
        yield "invalid_blocks", "no more than 50 items allowed", "/blocks"
    for index, block in enumerate(blocks):
        yield from _block_problems(block, f"/blocks/{index}")
    for index, attachment in enumerate(attachments):
        yield from _attachment_problems(attachment, f"/attachments/{index}")
    ids = [block["block_id"] for block in (*blocks, *inner) if "block_id" in block]
    if len(set(ids)) != len(ids):
        yield "invalid_blocks", "block_id already exists", "/blocks"
    if sum(len(text) for text in shown_texts(message)) > 10_000:
        yield "msg_blocks_too_long", "too long", "/blocks"
    yield from _metadata_problems(message.get("metadata"))


def _block_problems(block: Json, at: str) -> Iterator[Problem]:
    match block.get("type"):
        case "section":
            if "text" not in block and not block.get("fields"):
                yield "invalid_blocks", "missing required field: text", at
            if "text" in block:
                yield from _text_problems(block["text"], f"{at}/text", 3_000)
            yield from _list_problems(block.get("fields"), f"{at}/fields", 2_000)
        case "context":
            yield from _list_problems(block.get("elements", []), f"{at}/elements", 3_000)
        case "actions":
            yield from _actions_problems(block, at)
        case "rich_text":
            yield from _rich_problems(block, at, ("rich_text_section", "rich_text_quote", "rich_text_list"))
        case other:
            yield "invalid_blocks", f"unsupported type: {other}", f"{at}/type"
    if accessory := block.get("accessory"):
        yield from _element_problems(accessory, f"{at}/accessory")


_STYLES = {"bold", "italic", "strike", "code"}


def _rich_problems(element: Json, at: str, within: Sequence[str]) -> Iterator[Problem]:
    """Yield what is wrong with the elements of a rich text, whose types are among `within`."""
    if not element.get("elements"):
        yield "invalid_blocks", "must have at least 1 element", f"{at}/elements"
    for index, one in enumerate(element.get("elements", ())):
        here = f"{at}/elements/{index}"
        if one.get("type") not in within:
            yield "invalid_blocks", f"unsupported type: {one.get('type')}", f"{here}/type"
        elif one["type"] == "text":
            if not one.get("text") or not set(one.get("style", ())) <= _STYLES:
                yield "invalid_blocks", "no text, or an unknown style", here
        elif one["type"] == "rich_text_list":
            if one.get("style") not in ("bullet", "ordered"):
                yield "invalid_blocks", "invalid style", f"{here}/style"
            yield from _rich_problems(one, here, ("rich_text_section",))
        else:
            yield from _rich_problems(one, here, ("text",))


def _actions_problems(block: Json, at: str) -> Iterator[Problem]:
    elements = block.get("elements", [])
    if not 1 <= len(elements) <= 25:
        yield "invalid_blocks", "must have 1 to 25 elements", f"{at}/elements"
    ids = [element.get("action_id") for element in elements]
    if len(set(ids)) != len(ids):
        yield "invalid_blocks", "action_id already exists", f"{at}/elements"
    for index, element in enumerate(elements):
        yield from _element_problems(element, f"{at}/elements/{index}")


def _element_problems(element: Json, at: str) -> Iterator[Problem]:
    if not 1 <= len(element.get("action_id", "")) <= 255:
        yield "invalid_blocks", "missing required field: action_id", at
    if len(element.get("url", "")) > 3_000 or element.get("style", "primary") not in ("primary", "danger"):
        yield "invalid_blocks", "invalid url or style", at
    match element.get("type"):
        case "button":
            yield from _plain_problems(element.get("text"), f"{at}/text", 75)
            if len(element.get("value", "")) > 2_000:
                yield "invalid_blocks", "must be less than 2001 characters", f"{at}/value"
        case "static_select":
            yield from _plain_problems(element.get("placeholder"), f"{at}/placeholder", 150)
            if not 1 <= len(element.get("options", [])) <= 100:
                yield "invalid_blocks", "must have 1 to 100 options", f"{at}/options"
            for index, option in enumerate(element.get("options", ())):
                yield from _plain_problems(option.get("text"), f"{at}/options/{index}/text", 75)
                if not 1 <= len(option.get("value", "")) <= 75:
                    yield "invalid_blocks", "must be less than 76 characters", f"{at}/options/{index}/value"
        case other:
            yield "invalid_blocks", f"unsupported type: {other}", f"{at}/type"


def _plain_problems(text: Json | None, at: str, limit: int) -> Iterator[Problem]:
    if not text or text.get("type") != "plain_text":
        yield "invalid_blocks", "must be plain_text", at
    else:
        yield from _text_problems(text, at, limit)


def _list_problems(texts: list[Json] | None, at: str, limit: int) -> Iterator[Problem]:
    if texts is not None and not 1 <= len(texts) <= 10:
        yield "invalid_blocks", "must have 1 to 10 items", at
    for index, text in enumerate(texts or ()):
        yield from _text_problems(text, f"{at}/{index}", limit)


def _text_problems(text: Json, at: str, limit: int) -> Iterator[Problem]:
    if text.get("type") not in ("mrkdwn", "plain_text"):
        yield "invalid_blocks", "unsupported type", f"{at}/type"
    if not text.get("text"):
        yield "invalid_blocks", "must be more than 0 characters", f"{at}/text"
    if len(text.get("text", "")) > limit:
        yield "invalid_blocks", f"must be less than {limit + 1} characters", f"{at}/text"


def _attachment_problems(attachment: Json, at: str) -> Iterator[Problem]:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}|good|warning|danger", attachment.get("color", "")):
        yield "invalid_attachments", "invalid color", f"{at}/color"
    if not 1 <= len(attachment.get("blocks", [])) <= 20:
        yield "invalid_attachments", "must have 1 to 20 blocks", f"{at}/blocks"
    for index, block in enumerate(attachment.get("blocks", ())):
        yield from _block_problems(block, f"{at}/blocks/{index}")


def _metadata_problems(metadata: Json | None) -> Iterator[Problem]:
    if metadata is None:
        return
    if not re.fullmatch(r"\w+", metadata["event_type"], re.ASCII):
        yield "invalid_metadata_format", "event_type", "/metadata/event_type"
    if not all(isinstance(value, str | int | float | bool) for value in metadata["event_payload"].values()):
        yield "invalid_metadata_schema", "event_payload", "/metadata/event_payload"
    if len(json.dumps(metadata)) > 2_000:
        yield "metadata_too_large", "event_payload", "/metadata/event_payload"


def blocks_of(message: Json) -> Iterator[Json]:
    """Yield every block of a message, in the order they are read."""
    yield from message.get("blocks") or ()
    for attachment in message.get("attachments") or ():
        yield from attachment.get("blocks", ())


def mrkdwn_texts(message: Json) -> Iterator[str]:
    """Yield every text of a message's blocks that Slack reads as markup, in the order they are read."""
    for block in blocks_of(message):
        if block["type"] not in ("actions", "rich_text"):
            yield from _texts(block)


def shown_texts(message: Json) -> Iterator[str]:
    """Yield every text of a message's blocks; those of rich text, which has no markup, as they are."""
    for block in blocks_of(message):
        if block["type"] == "rich_text":
            yield from map(_rich_words, block["elements"])
        elif block["type"] != "actions":
            yield from _texts(block)


def _texts(block: Json) -> Iterator[str]:
    for part in (block.get("text"), *block.get("fields", ()), *block.get("elements", ())):
        if part:
            yield part["text"]


def _rich_words(element: Json) -> str:
    if element["type"] == "text":
        return str(element["text"])
    separator = "\n" if element["type"] == "rich_text_list" else ""
    return separator.join(map(_rich_words, element["elements"]))


# ---- the server ----


@dataclass
class SlackServer:
    """The state of the workspace. `url` is set while it runs."""

    token: str = TOKEN
    scopes: str = "chat:write,commands,channels:history"
    channels: set[str] = field(default_factory=lambda: {CHANNEL})
    member: bool = True
    """Whether the bot is in the channels: it must be to read their history, and here not to post."""
    archived: bool = False
    """Whether the channels are archived."""
    page_size: int = 999
    """Maximum number of messages on a page of history, whatever limit was asked for."""
    now: float = POSTED_AT
    """Time of the next message, by Slack's clock."""
    faults: deque[Fault] = field(default_factory=deque)
    messages: list[Json] = field(default_factory=list)
    """Accepted messages, in order."""
    requests: list[tuple[str, Json]] = field(default_factory=list)
    """Path and body of every request, refused ones too."""
    followed_redirects: int = 0
    """Requests that followed a redirect."""
    edits: list[Json] = field(default_factory=list)
    """Accepted calls of `chat.update`, in order."""
    _times: list[str] = field(default_factory=list)
    """The `ts` of each message."""
    locales: dict[str, str] = field(default_factory=dict)
    """The language of each user."""
    refusing: dict[str, str] = field(default_factory=dict)
    """Channels and people to whom nothing is posted, with the code."""
    users: dict[str, Json] = field(default_factory=dict)
    """Further fields of each user."""
    broken_methods: dict[str, Fault] = field(default_factory=dict)
    """Methods that fail every time, with their fault."""
    groups: dict[str, list[str]] = field(default_factory=dict)
    """The users in each group."""
    app_token: str = APP_TOKEN
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    """The connections in Socket Mode that are open."""
    opened: int = 0
    """Number of connections so far."""
    greeting: tuple[Json, ...] = (HELLO,)
    """Frames sent on each connection when it opens."""
    closed: bool = False
    """Whether every connection is refused."""
    reads_nothing: bool = False
    """Whether the server reads nothing from connections, so that they are not closed in order either."""
    connected: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while a connection is open."""
    replies: asyncio.Queue[Json] = field(default_factory=asyncio.Queue)
    """Messages posted to a response_url."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _acknowledged: dict[str, asyncio.Future[Json | None]] = field(default_factory=dict)
    _tickets: set[str] = field(default_factory=set)
    """Tickets of addresses for Socket Mode that were not used yet."""
    _responses: int = 0
    _count: int = 0
    url: str = ""

    @property
    def api_url(self) -> str:
        return f"{self.url}/api/"

    @property
    def hook_url(self) -> str:
        return f"{self.url}{HOOK}"

    async def _api(self, request: web.Request) -> web.StreamResponse:
        body = dict(request.query) if request.method == "GET" else await self._read(request)
        self.requests.append((request.path, body))
        self._notify()
        if fault := self.broken_methods.get(request.match_info["method"]):
            return await self._misbehave(request, fault, body)
        if self.faults:
            return await self._misbehave(request, self.faults.popleft(), body)
        answer = self._answer(request, body)
        return web.json_response({"ok": "error" not in answer} | answer, headers={"x-oauth-scopes": self.scopes})

    def _answer(self, request: web.Request, body: Json) -> Json:
        authorization = request.headers.get("Authorization", "")
        if not authorization:
            return {"error": "not_authed"}
        method = request.match_info["method"]
        token = self.app_token if method == "apps.connections.open" else self.token
        if authorization != f"Bearer {token}":
            return {"error": "invalid_auth"}
        return self._answer_to(method, body)

    def _answer_to(self, method: str, body: Json) -> Json:
        if method == "apps.connections.open":
            ticket = f"t-{len(self.requests)}"
            self._tickets.add(ticket)
            return {"url": f"{self.url.replace('http', 'ws')}/socket?ticket={ticket}"}
        if method == "auth.test":
            return {"team": "Acme", "user": "gaussdb", "team_id": "T000", "user_id": "U000"}
        about = {"users.info": self._person, "usergroups.users.list": self._person, "conversations.info": self._info}
        if method in about:
            return about[method](method, body)
        reads = method in ("conversations.history", "conversations.replies")
        needed = "channels:history" if reads else "chat:write"
        if needed not in self.scopes.split(","):
            return {"error": "missing_scope", "needed": needed, "provided": self.scopes}
        known = "" if body.get("channel") in self.channels else "channel_not_found"
        if code := self.refusing.get(body.get("channel", ""), known):
            return {"error": code}
        answers = {"chat.update": self._update, "chat.postMessage": self._post}
        return answers.get(method, self._history)(body)

    def _person(self, method: str, query: Json) -> Json:
        scope = {"users.info": "users:read", "usergroups.users.list": "usergroups:read"}[method]
        if scope not in self.scopes.split(","):
            return {"error": "missing_scope", "needed": scope, "provided": self.scopes}
        if method == "users.info":
            who, known = query["user"], self.users.get(query["user"], {})
            return {"user": {"id": who, "team_id": "T000", "locale": self.locales.get(who, "en-US")} | known}
        return {"users": self.groups.get(query["usergroup"], [])}

    # -- Socket Mode --

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if self.closed or request.query["ticket"] not in self._tickets:
            return web.Response(status=403)
        self._tickets.remove(request.query["ticket"])
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for words in self.greeting:
            await socket.send_json(words)
        self.sockets.append(socket)
        self.opened += 1
        self.connected.set()
        self._notify()
        try:
            if self.reads_nothing:
                await asyncio.Event().wait()
            async for message in socket:
                frame = json.loads(message.data)
                self._acknowledged[frame["envelope_id"]].set_result(frame.get("payload"))
        finally:
            self.sockets.remove(socket)
            if not self.sockets:
                self.connected.clear()
            self._notify()
        return socket

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a condition holds that only a request or a connection changes."""
        async with asyncio.timeout(HANG_TIMEOUT):
            while not holds():
                await self._changed.wait()

    async def asked(self, method: str) -> None:
        """Wait until a method was called and its caller has the answer."""
        await self.until(lambda: any(path.endswith(f"/{method}") for path, _ in self.requests))
        await self.ask("interactive", {"type": "shortcut"})

    async def another_connection(self, than: web.WebSocketResponse) -> None:
        """Wait until there is a connection that is not this one."""
        await self.until(lambda: any(socket is not than for socket in self.sockets))

    async def ask(self, kind: str, payload: object, over: web.WebSocketResponse | None = None) -> Json | None:
        """Send an envelope over the latest connection and return what it is acknowledged with, over whichever."""
        envelope = f"e-{len(self._acknowledged)}"
        self._acknowledged[envelope] = asyncio.get_running_loop().create_future()
        known = {"envelope_id": envelope, "type": kind, "accepts_response_payload": True, "payload": payload}
        await (over or self.sockets[-1]).send_json(known)
        async with asyncio.timeout(HANG_TIMEOUT):
            return await self._acknowledged[envelope]

    async def type_command(self, text: str, user: str = "U0ALICE", channel: str = CHANNEL) -> Json | None:
        """Let somebody type a command, and return what they see."""
        return await self.ask("slash_commands", command_form(text, user, self.response_url) | {"channel_id": channel})

    async def click(self, action: str, value: str, user: str = "U0ALICE", ts: str = "") -> Json | None:
        """Let somebody click on a button of a message, and return what that is acknowledged with."""
        return await self.ask("interactive", click_payload(action, value, user, self.response_url, ts or FIRST_TS))

    @property
    def response_url(self) -> str:
        """Where replies to a click go."""
        return f"{self.url}/response/obviously-fake"

    async def _response(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        self.requests.append((request.path, body))
        self._notify()
        if self.faults:
            return await self._misbehave(request, self.faults.popleft(), body)
        self._responses += 1
        if self._responses > MAX_RESPONSES:
            return web.Response(status=404, text="used_url")
        if found := next(problems(body), None):
            return web.Response(status=400, text=found[0])
        await self.replies.put(body)
        return web.Response(text="ok")

    def _info(self, _method: str, query: Json) -> Json:
        if "channels:read" not in self.scopes.split(","):
            return {"error": "missing_scope", "needed": "channels:read", "provided": self.scopes}
        if query["channel"] not in self.channels:
            return {"error": "channel_not_found"}
        about = {"id": query["channel"], "is_archived": self.archived, "is_private": False}
        return {"channel": about | {"is_member": self.member}}

    def _history(self, query: Json) -> Json:
        """Return a page, the newest message first, as Slack has it."""
        if not self.member:
            return {"error": "not_in_channel"}
        since, offset = float(query.get("oldest", 0)), int(query.get("cursor") or 0)
        posted, parent = list(self._posted()), query.get("ts")
        if parent and not any(message["ts"] == parent for message in posted):
            return {"error": "thread_not_found"}
        shown = [message for message in posted if _is_shown(message, parent)]
        found = [message for message in shown if float(message["ts"]) > since][::-1]
        if query.get("include_all_metadata") != "true":
            found = [{key: value for key, value in message.items() if key != "metadata"} for message in found]
        end = offset + min(int(query["limit"]), self.page_size)
        more = len(found) > end
        return {
            "messages": found[offset:end],
            "has_more": more,
            "response_metadata": {"next_cursor": str(end) if more else ""},
        }

    def _update(self, change: Json) -> Json:
        """Change a message. What is not named stays as it was."""
        if change["ts"] not in self._times:
            return {"error": "message_not_found"}
        message = self.at(change["ts"])
        shown: Json = {name: change[name] for name in ("text", "blocks", "attachments", "metadata") if name in change}
        if found := list(problems(message | shown)):
            return {"error": found[0][0]}
        self.edits.append(change)
        message.update(shown)
        return {"channel": change["channel"], "ts": change["ts"], "text": message.get("text", "")}

    def at(self, ts: str) -> Json:
        """Return the message as it looks now."""
        return self.messages[self._times.index(ts)]

    def ts_of(self, index: int) -> str:
        """Return the `ts` of a message."""
        return self._times[index]

    def delete(self, ts: str) -> None:
        """Delete a message, as a person may."""
        index = self._times.index(ts)
        del self.messages[index], self._times[index]

    def _posted(self) -> Iterator[Json]:
        for message, at in zip(self.messages, self._times, strict=True):
            yield {"type": "message", "bot_id": "B000", "ts": at, **message}

    def _post(self, message: Json) -> Json:
        found = list(problems(message))
        if found:
            code = found[0][0]
            return {"error": code, "errors": [f"{what} [json-pointer:{at}]" for _, what, at in found]}
        if "thread_ts" in message and message["thread_ts"] not in self._times:
            return {"error": "thread_not_found"}
        return {"channel": message["channel"], "ts": self.take(message)}

    def take(self, message: Json) -> str:
        """Show a message in the channel and return its `ts`."""
        self.messages.append(message)
        self._count += 1
        self._times.append(f"{self.now:.0f}.{self._count:06}")
        return self._times[-1]

    async def _hook(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        self.requests.append((request.path, body))
        if self.faults:
            return await self._misbehave(request, self.faults.popleft(), body)
        found = next(problems(body), None)
        if found:
            return web.Response(status=400, text=found[0])
        self.take(body)
        return web.Response(text="ok")

    async def _read(self, request: web.Request) -> Json:
        body: Json = json.loads(await request.read() or b"{}")
        return body

    async def _misbehave(self, request: web.Request, fault: Fault, body: Json) -> web.StreamResponse:
        if fault.accepts:
            self.take(body)
        if fault.then == "reset" and request.transport:
            request.transport.abort()
        if fault.then == "hang":
            await asyncio.Event().wait()
        text = fault.body if isinstance(fault.body, str) else json.dumps(fault.body)
        return web.Response(status=fault.status, body=text.encode(), headers=fault.headers)

    async def _elsewhere(self, _request: web.Request) -> web.StreamResponse:
        self.followed_redirects += 1
        return web.json_response({"ok": True})


def command_form(text: str, user: str, response_url: str) -> dict[str, str]:
    """Return what Slack sends for a slash command."""
    return {
        "token": "legacy",
        "team_id": "T000",
        "team_domain": "acme",
        "channel_id": CHANNEL,
        "channel_name": "dba",
        "user_id": user,
        "user_name": user.removeprefix("U0").lower(),
        "command": "/gaussdb",
        "text": text,
        "response_url": response_url,
        "trigger_id": "1.2.abc",
        "api_app_id": "A000",
        "is_enterprise_install": "false",
    }


def click_payload(action: str, value: str, user: str, response_url: str, ts: str = FIRST_TS) -> Json:
    """Return what Slack sends for a click on a button, or for a choice from the menu."""
    menu = action == "mute"
    chosen: Json = {"selected_option": {"value": value}} if menu else {"value": value}
    return {
        "type": "block_actions",
        "user": {"id": user, "username": user.removeprefix("U0").lower(), "team_id": "T000"},
        "api_app_id": "A000",
        "container": {"type": "message", "message_ts": ts, "channel_id": CHANNEL},
        "trigger_id": "1.2.abc",
        "channel": {"id": CHANNEL, "name": "dba"},
        "response_url": response_url,
        "actions": [{"type": "static_select" if menu else "button", "action_id": action, "block_id": "b"} | chosen],
    }


def _is_shown(message: Json, parent: str | None) -> bool:
    """Tell whether a message is in a thread, or, without one, in the channel."""
    if parent:
        return parent in (message["ts"], message.get("thread_ts"))
    return "thread_ts" not in message or message.get("reply_broadcast") is True


@asynccontextmanager
async def slack_server() -> AsyncIterator[SlackServer]:
    """Run a server on a free loopback port."""
    server = SlackServer()
    app = web.Application()
    app.router.add_post("/api/{method}", server._api)
    app.router.add_get(r"/api/{method:conversations\.(history|replies|info)}", server._api)
    app.router.add_get(r"/api/{method:users\.info|usergroups\.users\.list}", server._api)
    app.router.add_get("/socket", server._socket)
    app.router.add_post("/response/obviously-fake", server._response)
    app.router.add_post(HOOK, server._hook)
    app.router.add_route("*", "/elsewhere", server._elsewhere)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
