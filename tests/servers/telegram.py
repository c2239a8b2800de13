"""The Bot API of Telegram on loopback: posting, changing, and what `check` asks.

It reads the HTML of a message as the service does: unknown tags, tags that are not closed and texts that are too long
are refused, and what looks like a mention outside of code is one.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

from servers.http import Answer, HttpServer, Request, reply

BOT = 123456789
TOKEN = f"{BOT}:obviously-fake-bot-token"
GROUP = -1001234567890
MOVED = -1009876543210
"""Id of the group after it has moved."""
_MENTION = re.compile(r"(?<!\w)@[A-Za-z]\w{3,}")
_ACTIVE = re.compile(r"(?<!\w)[@#/][A-Za-z]\w*|\$[A-Z]+|https?://\S+|\b\w+\.(?:com|example|org)\b")


class _Html(HTMLParser):
    """Reads a text as Telegram does."""

    TAGS = ("a", "b", "blockquote", "code", "pre")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.shown = ""
        self.outside = ""
        """What is shown outside of code."""
        self.called: list[str] = []
        self.links: list[str] = []
        self.problem = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.TAGS:
            self.problem = f"Unsupported start tag {tag}"
        self.open.append(tag)
        for name, value in attrs:
            if name == "href" and value:
                (self.called if value.startswith("tg://") else self.links).append(value)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.problem = f"Unmatched end tag {tag}"

    def handle_data(self, data: str) -> None:
        self.shown += data
        if not {"code", "pre"} & set(self.open):
            self.outside += data


def read_html(text: str) -> _Html:
    """Return a text as Telegram reads it."""
    parser = _Html()
    parser.feed(text)
    parser.close()
    if parser.open:
        parser.problem = f"Can't find end tag corresponding to {parser.open[-1]}"
    parser.called = [*_MENTION.findall(parser.outside), *parser.called]
    return parser


def active(text: str) -> list[str]:
    """Return what Telegram makes a mention, a tag, a command or a link by itself."""
    return _ACTIVE.findall(read_html(text).outside)


@dataclass
class Message:
    """A message that is shown."""

    id: int
    body: dict[str, Any]
    shown: str
    called: list[str]


@dataclass
class Telegram:
    """What the service knows and shows."""

    chat: dict[str, Any] = field(
        default_factory=lambda: {"id": GROUP, "type": "supergroup", "title": "DBA", "is_forum": True}
    )
    member: dict[str, Any] = field(default_factory=lambda: {"status": "member"})
    topics: set[int] = field(default_factory=lambda: {7})
    messages: dict[int, Message] = field(default_factory=dict)
    moved: bool = False
    """Whether the group has another id now."""
    refuse_html: bool = False

    def answer(self, request: Request) -> Answer:
        parts = urlsplit(request.target)
        if not parts.path.startswith("/bot"):
            return _refused(404, "Not Found")
        token, _, method = parts.path.removeprefix("/bot").partition("/")
        if token != TOKEN:
            return _refused(401, "Unauthorized")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        body = query | json.loads(request.body or b"{}")
        methods = {
            "getMe": self._me,
            "getChat": self._chat,
            "getChatMember": self._member,
            "sendMessage": self._send,
            "editMessageText": self._edit,
        }
        return methods[method](body) if method in methods else _refused(404, "Not Found")

    def _me(self, _body: dict[str, Any]) -> Answer:
        return _ok({"id": BOT, "is_bot": True, "username": "gaussdb_bot"})

    def _chat(self, body: dict[str, Any]) -> Answer:
        return self._problem(body) or _ok(self.chat)

    def _member(self, body: dict[str, Any]) -> Answer:
        return self._problem(body) or _ok(self.member | {"user": {"id": int(body["user_id"])}})

    def _problem(self, body: dict[str, Any]) -> Answer | None:
        """Return why the chat of a request cannot be used."""
        chat = str(body["chat_id"])
        if self.moved and chat == str(GROUP):
            words = "Bad Request: group chat was upgraded to a supergroup chat"
            return _refused(400, words, migrate_to_chat_id=MOVED)
        if chat not in (str(self.chat["id"]), "@dba_alerts", str(MOVED) if self.moved else ""):
            return _refused(400, "Bad Request: chat not found")
        if self.member["status"] in ("left", "kicked"):
            what = "was kicked from" if self.member["status"] == "kicked" else "is not a member of"
            return _refused(403, f"Forbidden: bot {what} the supergroup chat")
        return None

    def _send(self, body: dict[str, Any]) -> Answer:
        if problem := self._problem(body):
            return problem
        topic = body.get("message_thread_id")
        if topic is not None and topic not in self.topics:
            return _refused(400, "Bad Request: message thread not found")
        if answered := body.get("reply_parameters"):
            known = self.messages.get(answered["message_id"])
            elsewhere = known is not None and known.body.get("message_thread_id") != topic
            if elsewhere or (known is None and not answered["allow_sending_without_reply"]):
                return _refused(400, "Bad Request: message to be replied not found")
        return self._show(len(self.messages) + 1, body)

    def _edit(self, body: dict[str, Any]) -> Answer:
        if problem := self._problem(body):
            return problem
        found = self.messages.get(body["message_id"])
        if found is None:
            return _refused(400, "Bad Request: message to edit not found")
        if found.body["text"] == body["text"]:
            return _refused(400, "Bad Request: message is not modified: specified new message content is the same")
        return self._show(found.id, body)

    def _show(self, number: int, body: dict[str, Any]) -> Answer:
        shown, called = body["text"], []
        if body.get("parse_mode") == "HTML":
            parsed = read_html(body["text"])
            if self.refuse_html or parsed.problem:
                return _refused(400, f"Bad Request: can't parse entities: {parsed.problem}")
            shown, called = parsed.shown, parsed.called
        if not 0 < len(shown.encode("utf-16-le")) // 2 <= 4_096:
            return _refused(400, "Bad Request: message is too long")
        self.messages[number] = Message(number, body, shown, called)
        return _ok({"message_id": number, "chat": {"id": MOVED if self.moved else self.chat["id"]}, "text": shown})


class TelegramServer(HttpServer):
    """`async with TelegramServer(Telegram()) as server:` listens on a free port."""

    def __init__(self, service: Telegram) -> None:
        super().__init__()
        self.service = service

    def next_answer(self, request: Request) -> Answer:
        return self.service.answer(request)


def _ok(result: dict[str, Any]) -> Answer:
    return reply(200, json.dumps({"ok": True, "result": result}).encode())


def _refused(status: int, words: str, **parameters: int) -> Answer:
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": words}
    return reply(status, json.dumps(body | ({"parameters": parameters} if parameters else {})).encode())
