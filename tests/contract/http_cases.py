"""The table that each kind over HTTP goes through: what a service may answer, and what that may come to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from channels_sample import OUTCOMES, HttpService, ServiceReply
from servers.http import Answer, HttpServer, Request, cut_short, drip, flood, gzip_bomb, raw, reply, reset, silence

from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Unknown

Types = tuple[type, ...]

STATUSES = sorted({int(status) for status in HTTPStatus if status >= 200} | {299, 399, 444, 499, 520, 530, 599})

WAITS = (
    ("120", 120),
    ("0", 0),
    ("-5", 0),
    ("1e99", 3600),
    ("999999", 3600),
    ("Thu, 15 Jan 2026 08:35:00 GMT", 300),
    ("Thu, 15 Jan 2026 08:00:00 GMT", 0),
    ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
    ("soon", None),
    ("", None),
    (None, None),
)
"""Values of Retry-After and the seconds that they ask for at half past eight."""

LOGIN = b"""<!DOCTYPE html><html><head><title>Sign in to Example</title></head>
<body><form><input type="password" name="p"></form></body></html>"""
PAGE = b"<html><head><title>Maintenance</title></head><body><h1>We are back soon</h1></body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the service does with a message, and what that may come to."""

    name: str
    answer: Answer
    allowed: Types
    wait: float | None = None
    """Seconds that the outcome asks for; None where any wait will do."""
    at_least: bool = False
    """Whether a longer wait will do too."""

    def deviation(self, outcome: Outcome) -> str | None:
        """Return what is wrong with an outcome; None where nothing is."""
        if not isinstance(outcome, self.allowed):
            wanted = " or ".join(type_.__name__ for type_ in self.allowed)
            return f"{self.name}: {outcome!r}, but not {wanted}"
        if self.wait is None or not isinstance(outcome, Retry):
            return None
        after = (outcome.after or timedelta()).total_seconds()
        if after == self.wait or (self.at_least and after > self.wait):
            return None
        return f"{self.name}: waits {outcome.after}, not {self.wait} s"


def meaning_of(service: HttpService, status: int, body: bytes = b"ok") -> Types:
    """Return what a status may come to, where the body says nothing; a 2xx may not suffice to believe it."""
    if status in service.statuses:
        return (OUTCOMES[service.statuses[status]],)
    match status:
        case _ if 200 <= status < 300:
            return _success(service, status, body)
        case 410:
            return (Parked,)
        case _ if status in (408, 425, 429) or status >= 500:
            return (Retry, Unknown)
        case 400 | 413 | 422:
            return (GaveUp, Retry)
    return (Retry,) if status < 400 else (Retry, Parked)


def _success(service: HttpService, status: int, body: bytes) -> Types:
    """Return what a 2xx may come to: a service that has a reply of its own gives no other to what it took."""
    if service.success is None:
        return (Delivered,)
    own = service.success.status == status and service.success.body in (b"", body)
    return (Delivered,) if own else (Unknown, Parked)


def status_cases(service: HttpService) -> Iterator[Case]:
    """Yield every status there is, and some that are not; the body says nothing."""
    for status in STATUSES:
        bodyless = status in (204, 205, 304)
        head = f"HTTP/1.1 {status} As told\r\nContent-Length: 0\r\n\r\n".encode()
        body = b"" if bodyless else b"ok"
        answer = raw(head) if bodyless else reply(status, body)
        yield Case(name=f"HTTP {status}", answer=answer, allowed=meaning_of(service, status, body))


def wait_cases(service: HttpService) -> Iterator[Case]:
    """Yield 429 with each kind of Retry-After, and without; and 503 with one."""
    for header, seconds in WAITS:
        headers = {} if header is None else {"Retry-After": header}
        allowed = meaning_of(service, 429)
        yield Case(
            name=f"429, Retry-After {header!r}", answer=reply(429, headers=headers), allowed=allowed, wait=seconds
        )
    yield Case(
        name="503 with a wait", answer=reply(503, headers={"Retry-After": "7"}), allowed=(Retry, Unknown), wait=7
    )


def body_cases(service: HttpService) -> Iterator[Case]:
    """Yield the replies whose bodies decide: the service's own, pages, and what no service says."""
    own = service.success
    if own:
        yield Case(name="its own success", answer=own.answer, allowed=(Delivered,))
        yield Case(name="its own success, later cut", answer=_cut(own), allowed=_not_proven(own))
    for known in service.failing:
        name = f"HTTP {known.reply.status} {known.reply.body[:80]!r}"
        wait, answer = known.wait, known.reply.answer
        yield Case(name=name, answer=answer, allowed=(OUTCOMES[known.means],), wait=wait, at_least=True)
    html = {"Content-Type": "text/html; charset=utf-8"}
    for status in (200, 202, 400, 403, 404, 429, 500, 502, 503):
        allowed = meaning_of(service, status, PAGE)
        if status < 300:  # something in front of the service, for a kind whose service has no pages
            allowed = (*allowed, Unknown, Parked)
        yield Case(name=f"page with {status}", answer=reply(status, PAGE, html), allowed=allowed)
        if status >= 300:  # a login instead of the service
            yield Case(name=f"login with {status}", answer=reply(status, LOGIN, html), allowed=allowed)
    yield Case(name="login with 200", answer=reply(200, LOGIN, html), allowed=(Parked, Unknown, Retry))
    for body in (b"", b"null", b"[]", b"{}", b"0", b'"ok"', b"{" * 50_000, b"\xff\xfe\x00", "\u202e成功".encode()):
        allowed = meaning_of(service, 200, body)
        yield Case(name=f"200 with {body[:20]!r}", answer=reply(200, body), allowed=allowed)


def _cut(own: ServiceReply) -> Answer:
    """Return the answer that promises a longer reply than this one and ends."""
    return cut_short(own.status, own.body[: len(own.body) // 2])


def _not_proven(own: ServiceReply) -> Types:
    """Return what half a reply may come to: the status decides where the body is not read."""
    return (Delivered, Unknown) if own.body in (b"", b"ok") or own.status != HTTPStatus.OK else (Unknown,)


def broken_cases(service: HttpService) -> Iterator[Case]:
    """Yield replies that are no HTTP, end too early or never."""
    unproven: Types = (Delivered,) if service.success is None else (Delivered, Unknown, Retry)
    yield Case(name="reset", answer=reset(), allowed=(Unknown,))
    yield Case(name="another protocol", answer=raw(b"SSH-2.0-OpenSSH_9.2p1\r\n"), allowed=(Unknown,))
    yield Case(name="cut in the status", answer=_closing(b"HTTP/1.1 20"), allowed=(Unknown,))
    yield Case(
        name="cut in the headers", answer=_closing(b"HTTP/1.1 200 OK\r\nContent-Ty"), allowed=(Unknown, Delivered)
    )
    yield Case(name="cut in the body, 200", answer=cut_short(200), allowed=(*unproven, Unknown))
    yield Case(name="cut in the body, 500", answer=cut_short(500), allowed=(Retry, Unknown))
    yield Case(name="endless, 200", answer=flood(200), allowed=(*unproven, Unknown))
    yield Case(name="endless, 500", answer=flood(500), allowed=(Retry, Unknown))
    yield Case(name="compressed unasked", answer=gzip_bomb(8), allowed=(*unproven, Unknown))


def slow_cases(service: HttpService) -> Iterator[Case]:
    """Yield what takes longer than the channel's time."""
    unproven: Types = (Delivered, Unknown) if service.success is None else (Unknown, Retry)
    yield Case(name="silence", answer=silence(), allowed=(Unknown,))
    yield Case(name="dripping 200", answer=drip(200), allowed=unproven)
    yield Case(name="dripping 500", answer=drip(500), allowed=(Retry, Unknown))


def _closing(content: bytes) -> Answer:
    write = raw(content)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await write(writer)
        writer.close()

    return answer


class ServiceServer(HttpServer):
    """Answers the requests around a message as the service does, and those that carry it with `answers`."""

    def __init__(self, service: HttpService, *answers: Answer) -> None:
        super().__init__(*answers)
        self._around = service.around

    def is_message(self, request: Request) -> bool:
        """Return whether a request carries the message."""
        return not request_begins(request, *self._around)

    @property
    def messages(self) -> list[Request]:
        """The requests that carried a message."""
        return [request for request in self.requests if self.is_message(request)]

    def next_answer(self, request: Request) -> Answer:
        found = next((known for begin, known in self._around.items() if request_begins(request, begin)), None)
        return found.answer if found else super().next_answer(request)


def request_begins(request: Request, *beginnings: str) -> bool:
    """Return whether `METHOD /path?query` of a request begins with one of these."""
    return f"{request.method} {request.target}".startswith(beginnings)


class EchoServer(ServiceServer):
    """Repeats a whole request in the reply to it, as some services do when they complain."""

    def __init__(self, service: HttpService, status: int) -> None:
        super().__init__(service, self._repeat)
        self._status = status

    async def _repeat(self, writer: asyncio.StreamWriter) -> None:
        request = self.requests[-1]
        content = request.body.decode("utf-8", "replace")
        body = json.dumps({"error": request.target, "headers": dict(request.headers), "body": content}).encode()
        await reply(self._status, body, {"Content-Type": "application/json"})(writer)
