"""What a kind of channel brings along to be put through the contract suite.

The suite finds each installed kind by its entry point, and its `SAMPLE` in a module `channels_<kind>` on the path. A
kind over HTTP states in an `HttpService` how its service answers; the suite then puts it through the table of
`http_cases`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html.parser import HTMLParser
from typing import Any, Literal

from servers.http import Answer, Request, reply
from servers.tickets import TicketServer

from notifier.core.delivery import Body, Delivered, Delivery, GaveUp, Parked, Retry, Unknown

SettingsOf = Callable[[str, int], dict[str, Any]]
"""(URL base, port) of a server on loopback to settings, `name` and `kind` left out."""

Means = Literal["delivered", "later", "busy", "misconfigured", "content", "unknown"]
"""What a reply means for a message, in the words of `reply_rules.toml`."""

OUTCOMES: Mapping[Means, type] = {
    "delivered": Delivered,
    "later": Retry,
    "busy": Retry,
    "misconfigured": Parked,
    "content": GaveUp,
    "unknown": Unknown,
}


# ---- how a service over HTTP answers ----


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReply:
    """A complete reply."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def answer(self) -> Answer:
        """The reply as a server writes it."""
        return reply(self.status, self.body, self.headers)


def json_reply(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> ServiceReply:
    """Return a reply with a JSON body."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return ServiceReply(status=status, body=body, headers={"Content-Type": "application/json", **(headers or {})})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """A reply of the service that refuses a message, and what it means."""

    reply: ServiceReply
    means: Means
    wait: float | None = None
    """Seconds that the channel then waits at least; None where the reply asks for no wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpService:
    """How the service answers, beyond what a status means everywhere."""

    success: ServiceReply | None = None
    """Reply to a message that was taken; None where any 2xx means that, whatever its body."""
    around: Mapping[str, ServiceReply] = field(default_factory=dict)
    """Replies to the requests around a message (an access token, a search), by the beginning of `METHOD /path?query`.
    All other requests carry the message."""
    failing: Sequence[Failing] = ()
    """The service's own refusals: errors in a 200, codes that mean other than their status, waits in the body."""
    statuses: Mapping[int, Means] = field(default_factory=dict)
    """Statuses that mean something else here than everywhere, with a body that says nothing."""
    harmless: Callable[[Request], bool] | None = None
    """Which requests other than GET, HEAD and those of `around` have no effect, so that `check` may make them."""
    lacking: Mapping[str, Mapping[str, ServiceReply]] = field(default_factory=dict)
    """Replies to the requests of `check` with a credential that lacks a right, by the words that must name it: as
    `around`."""
    repeat_key: Callable[[Request], str] | None = None
    """The part of a request by which the service recognises a repeat; needed where the kind is IDEMPOTENT."""
    found: Callable[[Delivery], ServiceReply] | None = None
    """Reply to a search that finds the message of a delivery; needed where the kind is RECONCILABLE."""
    tickets: Callable[[Callable[[], datetime]], TicketServer] | None = None
    """Makes a server that speaks the protocol, from a function that returns the time; needed where the kind keeps
    tickets. It goes through `ticket_cases`."""
    absent: ServiceReply | None = None
    """Reply to a search that finds nothing, and proves that nothing is there; needed as `found` is."""


# ---- how much room a service has ----


def characters(text: str) -> int:
    """Return the length in code points."""
    return len(text)


def utf8_bytes(text: str) -> int:
    """Return the length in bytes of UTF-8."""
    return len(text.encode())


def utf16_units(text: str) -> int:
    """Return the length in UTF-16 code units."""
    return len(text.encode("utf-16-le")) // 2


def no_markup(_text: str) -> bool:
    """Return True: without markup there is nothing that could be cut in two."""
    return True


def whole_escapes(text: str) -> bool:
    """Return whether no backslash has lost what it escapes, and each code block and its end are there."""
    last = re.search(r"\\*$", text)
    return last is not None and len(last[0]) % 2 == 0 and text.count("```") % 2 == 0


def whole_entities(text: str) -> bool:
    """Return whether each `&` begins an entity, and each `<` is closed, as in Slack's markup."""
    return not re.search(r"&(?!(amp|lt|gt|quot|#\d+|#x[0-9a-fA-F]+);)", text) and not re.search(r"<[^>]*$", text)


def whole_html(text: str) -> bool:
    """Return whether each tag is complete and closed, and each `&` begins an entity."""
    parser = _Balance()
    parser.feed(text)
    return not parser.open and not parser.rawdata and whole_entities(text)


class _Balance(HTMLParser):
    """Keeps the tags that are open; one that closes another than the last stays open."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's
        if tag not in ("br", "hr", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.open.append(f"/{tag}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A limit of the service to texts of a message."""

    limit: int
    size: Callable[[str], int]
    """The service's unit: `characters`, `utf8_bytes` or `utf16_units`."""
    texts: Callable[[Body], Iterable[str]]
    """The texts that the limit holds for, each by itself."""
    whole: Callable[[str], bool] = no_markup
    """Whether nothing was cut in two: `whole_escapes`, `whole_entities`, `whole_html`, or the kind's own."""


def strings_at(*names: str) -> Callable[[Body], Iterator[str]]:
    """Return a function that yields the texts at keys of these names, anywhere in a JSON body."""

    def within(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in names and isinstance(inner, str):
                    yield inner
                yield from within(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from within(inner)

    return lambda body: within(json.loads(body.content))


def ticket_text(body: Body) -> str:
    """Return the texts of what a ticket channel stores."""
    return "\n".join(strings_at("title", "description", "comment", "resolution", "instance")(body))


def json_text(body: Body) -> str:
    """Return a JSON body with its texts as they read."""
    return json.dumps(json.loads(body.content), ensure_ascii=False)


def event_mentions(body: Body) -> list[str]:
    """Return whom the data of an event mentions."""
    found: list[str] = json.loads(body.content)["data"].get("mention", [])
    return found


# ---- a kind ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Settings to build a channel with, and how to read what it writes."""

    settings: SettingsOf
    more_modes: Sequence[SettingsOf] = ()
    """Settings of the other ways in which the kind works."""
    text: Callable[[Body], str]
    """All that a reader of the message gets to see."""
    secrets: tuple[str, ...] = ()
    """Texts in those settings, and access tokens in replies, that must never be shown."""
    remote: bool = True
    """Whether it talks to a server at all."""
    unreachable: str = "connection refused by 127.0.0.1"
    """Beginning of the reason where nobody listens."""
    can_ask: bool = True
    """Whether anything can be asked of the service without a message."""
    http: Mapping[str, Any] | None = field(default=None)
    """For a kind that posts over HTTP: settings that make it impatient."""
    push: Callable[[Body], str] | None = None
    """What a notification shows; None: the first line of `text`."""
    mentions: Sequence[str] = ()
    """Entries of `routes[].mention` that it understands: one of each form."""
    calls: Sequence[str] | None = None
    """What `called` returns for them; None: the same."""
    called: Callable[[Body], list[str]] | None = None
    """Whom a body calls, in the form of the service. None for a kind that calls nobody."""
    many: str | None = None
    """An entry of `mentions` with {n} for a number; None for a kind whose entries are not limited in number."""

    def pushed(self, body: Body) -> str:
        """Return what a notification shows of a body."""
        return self.push(body) if self.push else self.text(body).split("\n")[0]

    service: HttpService = HttpService()
    """For a kind that posts over HTTP: how the service answers."""
    more_services: Mapping[SettingsOf, HttpService] = field(default_factory=dict)
    """How it answers in those of `more_modes` in which it does so differently: they go through the table too."""
    rooms: Sequence[Room] = ()
    """The limits of the service."""
    digests: bool = True
    """Whether messages about several events exist. A kind that keeps tickets has none."""
    raw: bool = False
    """Whether text from outside is passed on as it is, for programs and not for people."""

    @property
    def services(self) -> Iterator[tuple[SettingsOf, HttpService]]:
        """The modes that answer differently, with how they do."""
        yield self.settings, self.service
        yield from self.more_services.items()
