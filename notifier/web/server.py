"""An HTTP server that strangers cannot exhaust: `async with Server(app, host, port) as server: server.url`.

uvicorn speaks HTTP, and httptools parses it. This adds absolute deadlines for every stage of a request (uvicorn has a
timeout between two requests only), a limit on connections that closes the longest waiting one for a new one, a limit on
the size of a request's head however it arrives, and one log record a minute whatever is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

import uvicorn
from httptools import HttpParserError
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from notifier.core.errors import ConfigurationError
from notifier.logs import RejectionLog


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a peer may use. Times are in seconds and absolute: single bytes do not prolong them."""

    head: float = 5.0
    """From the connection, or from the first byte of a later request, to the end of the headers."""
    body: float = 10.0
    """From the end of the headers to the end of the body."""
    answer: float = 30.0
    """From the end of the body until the peer has read the whole response."""
    idle: float = 15.0
    """From a response to the next request."""
    stop: float = 3.0
    """For responses in progress when the server stops."""
    connections: int = 512
    """Maximum number at a time. Beyond it, the connection that has waited longest without a whole request is closed."""
    per_peer: int = 128
    """Maximum number from one address. A proxy in front counts as one address."""
    head_bytes: int = 16_384
    """Maximum size of the request line and headers, in bytes, checked every 4 KiB."""
    unread: int = 4 * 2**20
    """Bytes of a request that are discarded after its response, so that the sender can read that."""


Stage = Literal["head", "body", "answer", "idle"]


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Cancel the call."""


CallLater = Callable[[float, Callable[[], None]], Timer]
"""Calls a function after this many seconds."""


class Server:
    """Serves an application while the context lasts. Raises ConfigurationError for an address it cannot take."""

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        limits: ServerLimits | None = None,
        *,
        rejections: RejectionLog,
        later: CallLater | None = None,
    ) -> None:
        """Port 0 takes a free one. `rejections` counts rejected requests; `later` schedules deadlines."""
        self._app = app
        self._address = host, port
        self.limits = limits or ServerLimits()
        self.rejections = rejections
        self.url = ""
        """The address to connect to, without a trailing slash; empty until the server listens."""
        self._later = later
        self._state = ServerState()
        self._waiting: dict[_Connection, None] = {}  # without a whole request, the longest waiting first
        self._peers = Counter[str]()

    async def __aenter__(self) -> Self:
        """Listen."""
        config = uvicorn.Config(
            _ends_when_cancelled(self._app),
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        config.load()
        host, port = self._address
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(config, self._state, self), host, port, backlog=self.limits.connections
            )
        except (OSError, UnicodeError) as error:
            # An impossible host name raises UnicodeError; the message about a port in use begins with a long preface.
            why = str(error.strerror).rpartition(": ")[2] if isinstance(error, OSError) else "no such address"
            raise ConfigurationError(
                f"web.listen: cannot listen on {host}:{port}: {why}; choose an address of this machine and a free port"
            ) from error
        self.url = _url(*self._server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: close waiting connections at once, and give responses in progress `stop` seconds."""
        self._server.close()
        for connection in tuple(self._waiting):
            connection.transport.abort()
        if self._state.tasks:
            await asyncio.wait(tuple(self._state.tasks), timeout=self.limits.stop)
        for answering in tuple(self._state.connections):
            answering.transport.abort()
        while self._state.connections:  # noqa: ASYNC110 - uvicorn keeps a set and tells nobody when one leaves
            await asyncio.sleep(0)
        for task in tuple(self._state.tasks):
            task.cancel()
        await asyncio.gather(*self._state.tasks, return_exceptions=True)

    # -- called by its connections --

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call a function after this many seconds."""
        return (self._later or asyncio.get_running_loop().call_later)(seconds, call)

    def admit(self, connection: _Connection) -> bool:
        """Admit a connection, closing a waiting one where there are too many. Return False where none can be closed."""
        peer = connection.peer
        self._peers[peer] += 1
        if self._peers[peer] > self.limits.per_peer:
            return self._close_waiting(next((other for other in self._waiting if other.peer == peer), None))
        if len(self._state.connections) > self.limits.connections:
            return self._close_waiting(next(iter(self._waiting), None))
        return True

    def _close_waiting(self, other: _Connection | None) -> bool:
        self.rejections.count("too many connections")
        if other:
            self._waiting.pop(other)
            other.transport.abort()
        return other is not None

    def set_stage(self, connection: _Connection, stage: Stage) -> None:
        """Record the stage of a connection."""
        self._waiting.pop(connection, None)
        if stage != "answer":
            self._waiting[connection] = None

    def remove(self, connection: _Connection) -> None:
        """Remove a connection."""
        self._waiting.pop(connection, None)
        self._peers[connection.peer] -= 1
        if not self._peers[connection.peer]:
            del self._peers[connection.peer]


_SLICE = 4096

# uvicorn logs a warning for each bad request. An error is a mistake of ours.
_error_log = logging.getLogger("notifier.web.mistakes")
_error_log.setLevel(logging.ERROR)


class _Connection(HttpToolsProtocol):
    """One connection. It is closed when its stage takes too long."""

    def __init__(self, config: uvicorn.Config, state: ServerState, server: Server) -> None:
        super().__init__(config, state, app_state={})
        self.logger = _error_log
        self.access_log = False  # uvicorn turns it on where the root logger has a handler
        self.peer = ""
        self.unfinished = 0
        """Bytes since the parser last completed a head, or took in a part of a body: of one that is incomplete."""
        self._server = server
        self._stage: tuple[Stage, object] | None = None
        self._timer: Timer | None = None
        self._reading: Literal["head", "body"] | None = None
        """The part of a request that is being read; None between two requests."""
        self._advanced = False
        self._unread = 0
        self._held = b""
        """Received while a request was being answered. The parser cannot stop at the end of a request."""
        self._answered = 0
        self._is_last = False
        """Whether nothing is read after the present request."""
        self._refused = ""
        """The reply to what followed a request that is still being answered, if that is no HTTP."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        if self._server.admit(self):
            self._update_deadline()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._server.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # In slices, so that a long head is measured before it is complete.
        received, at = self._held + data, 0
        while at < len(received) and self._takes_more():
            self._feed(received[at : at + _SLICE])
            at += _SLICE
        self._held = b"" if self._is_last else received[at:]
        if self._held:
            self.flow.pause_reading()
        if not self.transport.is_closing():
            self._update_deadline()

    def _takes_more(self) -> bool:
        is_open = not (self.transport.is_closing() or self._is_last or self._refused)
        return is_open and (self._reading == "body" or not self._is_answering())

    def _feed(self, data: bytes) -> None:
        request, self._advanced = self._request, False
        if request and request.response_complete and self._reading == "body":
            self._unread += len(data)
            if self._unread > self._server.limits.unread:
                self.transport.abort()
                return
        super().data_received(data)
        self.unfinished = 0 if self._advanced else self.unfinished + len(data)
        if self.unfinished > self._server.limits.head_bytes and not self.transport.is_closing():
            self.send_400_response("Too long.")

    @property
    def _request(self) -> RequestResponseCycle | None:
        """The last request. uvicorn's annotation omits that there may be none yet."""
        return self.cycle

    def _is_answering(self) -> bool:
        return bool(self.pipeline) or (self._request is not None and not self._request.response_complete)

    # -- called by the parser --

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = "head"

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading == "head":  # and not behind a body, from where nobody expects one
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        _require_http(self.parser.get_http_version(), self.headers)
        super().on_headers_complete()
        self._reading, self._advanced = "body", True
        if self.parser.should_upgrade():  # the parser does not read its body, and would take that for a request
            self.cycle.keep_alive, self._is_last = False, True

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._advanced = True

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._reading, self._advanced = None, True

    # -- answers --

    def on_response_complete(self) -> None:
        self._answered += 1
        super().on_response_complete()
        self._unset_keepalive_if_required()  # ours is absolute, and closes a peer that does not read its response
        if self.transport.is_closing():
            return
        if self._refused and not self._is_answering():
            super().send_400_response(self._refused)
        else:
            self.data_received(b"")

    def send_400_response(self, msg: str) -> None:
        self._server.rejections.count("not HTTP")
        request = self._request
        if self._reading != "body":
            if self._is_answering():
                self._refused = msg
            else:
                super().send_400_response(msg)
        elif request is None or request.response_started or self.pipeline:
            self.transport.abort()
        else:
            request.disconnected = True  # the application must not answer too
            request.message_event.set()
            super().send_400_response(msg)

    # -- deadlines --

    def _update_deadline(self) -> None:
        """Start a new deadline when the connection enters another stage, and only then."""
        name = self._current_stage()
        stage = name, self._answered if name == "answer" else self._request
        if stage == self._stage:
            return
        self._stage = stage
        if self._timer:
            self._timer.cancel()
        self._timer = self._server.later(getattr(self._server.limits, name), self._expire)
        self._server.set_stage(self, name)

    def _current_stage(self) -> Stage:
        if self._reading == "body" and not self.pipeline:
            return "body"
        if self._is_answering():
            return "answer"
        return "head" if self._reading or self._request is None else "idle"

    def _expire(self) -> None:
        if self._stage and self._stage[0] != "idle":
            self._server.rejections.count(f"slow {self._stage[0]}")
        self.transport.abort()


def _require_http(version: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Raise HttpParserError for a request that the parser takes though it breaks a rule."""
    names = [name for name, _ in headers]
    codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
    if version not in ("1.0", "1.1") or names.count(b"host") > 1 or (version == "1.1" and b"host" not in names):
        raise HttpParserError("no version or no host that we know")
    if codings not in ([], [b"chunked"]):
        raise HttpParserError("a coding of the body that we do not know")


def _ends_when_cancelled(app: ASGIApp) -> ASGIApp:
    """Let an application end quietly when it is cancelled; uvicorn would log that as an error."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return run


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
