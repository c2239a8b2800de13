"""A listener that no stranger can tie up: `async with Server(app, host, port) as server: server.url`.

uvicorn reads HTTP. Added is what it leaves open: absolute deadlines for every stage of a request (its only timeout is
the one between two requests), room for newcomers when all places are taken, a limit to the head of a request however
it arrives, and silence in the log whatever is sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

import h11
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from notifier.core.errors import ConfigurationError
from notifier.logs import RejectionLog


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What a peer may take. Times are in seconds and absolute: a byte now and then does not prolong them."""

    head: float = 5.0
    """From the connection, or from the first byte of a later request, to the end of the headers."""
    body: float = 10.0
    """From there to the end of the body."""
    answer: float = 30.0
    """From there until the whole answer was taken."""
    idle: float = 15.0
    """From an answer to the next request."""
    stop: float = 3.0
    """For answers under way when the server stops."""
    connections: int = 512
    """At a time. When there are more, the one that has waited longest with no whole request is closed."""
    per_peer: int = 128
    """The same, of one address. A proxy in front is one address."""
    head_bytes: int = 16_384
    """More than this is too much for a head; found out with the next 4 KiB at the latest."""
    unread: int = 4 * 2**20
    """Bytes of a request that are taken and thrown away after it has been answered, so that its sender hears that."""


Stage = Literal["head", "body", "answer", "idle"]


class Timer(Protocol):
    """A call that is due."""

    def cancel(self) -> None:
        """Call it off."""


CallLater = Callable[[float, Callable[[], None]], Timer]
"""Calls a function in so many seconds."""


class Server:
    """An application on a socket, for as long as the context lasts.

    Entering raises ConfigurationError when the address cannot be taken.
    """

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
        """Where it listens, without a trailing slash; empty until then."""
        self._later = later
        self._state = ServerState()
        self._waiting: dict[_Connection, None] = {}  # with no whole request, the longest first
        self._peers = Counter[str]()

    async def __aenter__(self) -> Self:
        """Start to listen."""
        config = uvicorn.Config(
            _ending(self._app),
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=self.limits.head_bytes,
        )
        config.load()
        host, port = self._address
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(config, self._state, self), host, port, backlog=self.limits.connections
            )
        except (OSError, UnicodeError) as error:
            # A name that cannot be one is an error of its encoding, and a port that is taken comes with a long preface.
            why = str(error.strerror).rpartition(": ")[2] if isinstance(error, OSError) else "no such address"
            raise ConfigurationError(
                f"web.listen: cannot listen on {host}:{port}: {why}; choose an address of this machine and a free port"
            ) from error
        self.url = _url(*self._server.sockets[0].getsockname()[:2])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: what waits is cut at once, an answer under way gets its time."""
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

    # -- for its connections --

    def later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call a function then."""
        return (self._later or asyncio.get_running_loop().call_later)(seconds, call)

    def admit(self, newcomer: _Connection) -> bool:
        """Take a connection in, if need be in the place of another; return False where none can give way."""
        peer = newcomer.peer
        self._peers[peer] += 1
        if self._peers[peer] > self.limits.per_peer:
            return self._give_way(next((other for other in self._waiting if other.peer == peer), None))
        if len(self._state.connections) > self.limits.connections:
            return self._give_way(next(iter(self._waiting), None))
        return True

    def _give_way(self, other: _Connection | None) -> bool:
        self.rejections.count("too many connections")
        if other:
            self._waiting.pop(other)
            other.transport.abort()
        return other is not None

    def moved(self, connection: _Connection, stage: Stage) -> None:
        """Note where a connection is."""
        self._waiting.pop(connection, None)
        if stage != "answer":
            self._waiting[connection] = None

    def left(self, connection: _Connection) -> None:
        """Forget a connection."""
        self._waiting.pop(connection, None)
        self._peers[connection.peer] -= 1
        if not self._peers[connection.peer]:
            del self._peers[connection.peer]


_SLICE = 4096

# uvicorn remarks on requests in warnings, one each. An error is a mistake of ours.
_mistakes = logging.getLogger("notifier.web.mistakes")
_mistakes.setLevel(logging.ERROR)


class _Connection(H11Protocol):
    """One connection. It is cut when its stage takes too long."""

    def __init__(self, config: uvicorn.Config, state: ServerState, server: Server) -> None:
        super().__init__(config, state, app_state={})
        self.logger = _mistakes
        self.access_log = False  # uvicorn turns it on wherever the root logger has a handler
        self.peer = ""
        self._server = server
        self._stage: tuple[Stage, RequestResponseCycle | None] | None = None
        self._timer: Timer | None = None
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self.peer = self.client[0] if self.client else ""
        if self._server.admit(self):
            self._watch()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._server.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # h11 measures a head only while it is incomplete; in slices no long one is complete before it was measured.
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            self._take(data[start : start + _SLICE])

    def _take(self, data: bytes) -> None:
        request = self._request
        if request and request.response_complete and self.conn.their_state is h11.SEND_BODY:
            self._unread += len(data)
            if self._unread > self._server.limits.unread:
                self.transport.abort()
                return
        super().data_received(data)
        self._watch()

    @property
    def _request(self) -> RequestResponseCycle | None:
        """The last request; uvicorn's own annotation leaves out that there may be none yet."""
        return self.cycle

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # ours is absolute, and cuts a peer that does not take what it asked for
        self._watch()

    def send_400_response(self, msg: str) -> None:
        self._server.rejections.count("not HTTP")
        request = self._request
        if request and not request.response_complete:
            request.disconnected = True  # the application must not answer too
            request.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.abort()

    # -- deadlines --

    def _watch(self) -> None:
        """Begin a new deadline when the connection came to another stage, and only then."""
        stage = self._now_at(), self._request
        if stage == self._stage:
            return
        self._stage = stage
        if self._timer:
            self._timer.cancel()
        self._timer = self._server.later(getattr(self._server.limits, stage[0]), self._expire)
        self._server.moved(self, stage[0])

    def _now_at(self) -> Stage:
        theirs = self.conn.their_state
        if theirs is h11.IDLE:
            return "head" if self._request is None or self.conn.trailing_data[0] else "idle"
        return "body" if theirs is h11.SEND_BODY else "answer"

    def _expire(self) -> None:
        if self._stage and self._stage[0] != "idle":
            self._server.rejections.count(f"slow {self._stage[0]}")
        self.transport.abort()


def _ending(app: ASGIApp) -> ASGIApp:
    """Let an application end when it is cancelled; uvicorn takes that for a mistake and logs it."""

    async def ending(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return ending


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
