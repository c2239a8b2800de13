"""A simulator that listens: `async with Simulator(options) as simulator: simulator.url`."""

import asyncio
import socket
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

import uvicorn
import yaml
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from notifier.clock import SystemClock
from notifier.core.errors import ConfigurationError
from notifier.ports import Clock
from notifier.simulator.api import SimulatedCloud, build_app
from notifier.simulator.gateway import Call
from notifier.simulator.options import Options
from notifier.simulator.replies import SimulatedError

AuthKind = Literal["aksk", "token", "ecs_agency"]
SourceKind = Literal["gaussdb", "gaussdb_events", "gaussdb_account"]
_ENDPOINTS: Mapping[SourceKind, tuple[str, ...]] = {
    "gaussdb": ("endpoint", "cts_endpoint"),
    "gaussdb_events": ("endpoint", "ces_endpoint"),
    "gaussdb_account": ("endpoint", "cts_endpoint", "ces_endpoint", "iam_endpoint"),
}
"""The settings of each kind of source that name an address of the cloud."""


class Simulator:
    """The simulated cloud on a socket, inside a context. Raises ConfigurationError for an address it cannot take."""

    def __init__(self, options: Options | None = None, clock: Clock | None = None) -> None:
        """Keys and tokens are checked against the clock; by default the system's."""
        self.options = options or Options()
        self.cloud = SimulatedCloud(self.options, clock or SystemClock())
        self.url = ""
        """Its URL without a trailing slash; empty until it listens."""
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Start to listen."""
        config = uvicorn.Config(
            build_app(self.cloud, self._abort),
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=75,
        )
        config.load()
        host, port, loop = self.options.host, self.options.port, asyncio.get_running_loop()
        try:
            # asyncio opens the socket: only its own get TCP_NODELAY, without which each answer takes 40 ms.
            self._server = await loop.create_server(lambda: H11Protocol(config, self._state, app_state={}), host, port)
        except OSError as error:
            problem = str(error.strerror).rpartition(": ")[2]
            raise ConfigurationError(
                f"simulator: cannot listen on {host}:{port}: {problem}; choose another port, or 0 for a free one"
            ) from error
        self.url = _url(*self._server.sockets[0].getsockname()[:2])
        self.cloud.publisher.origin = self.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop at once: open connections are cut, and unfinished answers end."""
        if self._server:
            self._server.close()
        await self.cloud.publisher.close()
        for connection in tuple(self._state.connections):
            connection.transport.abort()
        while self._state.connections:  # noqa: ASYNC110 - uvicorn keeps a set and tells nobody when one leaves
            await asyncio.sleep(0)
        await asyncio.gather(*self._state.tasks, return_exceptions=True)

    def _abort(self, scope: Scope) -> None:
        for connection in tuple(self._state.connections):
            if isinstance(connection, H11Protocol) and connection.client == scope["client"]:
                _reset(connection.transport)

    @property
    def request_log(self) -> list[Call]:
        """The last ten thousand answered calls, oldest first."""
        return list(self.cloud.log)

    def script(self, *faults: str) -> None:
        """Apply these faults to the next calls, one each: `simulator.script("429=2", "pass", "truncate")`."""
        self.cloud.faults.script(*faults)

    def ring(self, url: str) -> None:
        """Let SMN push a message to an address whenever a task changes. It is asked until it confirms.

        Raises ConfigurationError for an address that is not HTTP, and without the library that signs.
        """
        try:
            self.cloud.publisher.subscribe(url)
        except SimulatedError as error:
            raise ConfigurationError(f"simulator: cannot ring {url!r}; write http:// or https:// before it") from error
        self.cloud.publisher.ring(self.cloud.now)

    def source_config(
        self, auth: AuthKind = "aksk", name: str = "simulator", kind: SourceKind = "gaussdb"
    ) -> dict[str, Any]:
        """Return the entry of `sources` that reads this simulator. It holds the simulated credentials."""
        chosen = self.options
        project = {} if kind == "gaussdb_account" else {"region": chosen.region, "project_id": chosen.project_id}
        endpoints = dict.fromkeys(_ENDPOINTS[kind], self.url)
        return {
            "name": name,
            "kind": kind,
            **project,
            **endpoints,
            "auth": self._auth_config(auth),
            "poll_every": "30s" if kind == "gaussdb_events" else "5s",  # each poll takes six calls or more
        }

    def _auth_config(self, auth: AuthKind) -> dict[str, Any]:
        chosen = self.options
        if auth == "token":
            return {
                "kind": "token",
                "iam_endpoint": self.url,
                "domain": chosen.domain,
                "username": chosen.username,
                "password": chosen.password,
            }
        if auth == "ecs_agency":
            return {"kind": "ecs_agency", "metadata_url": self.url}
        keys = {"kind": "aksk", "access_key": chosen.access_key, "secret_key": chosen.secret_key}
        return keys if chosen.security_token is None else {**keys, "security_token": chosen.security_token}


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _reset(transport: asyncio.Transport) -> None:
    """Close a connection so that the client sees a reset rather than an end."""
    linger_not = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
    transport.abort()


def source_yaml(simulator: Simulator, auth: AuthKind = "aksk", kind: SourceKind = "gaussdb") -> str:
    """Return the `sources` section of a configuration that reads this simulator, as YAML."""
    return yaml.safe_dump({"sources": [simulator.source_config(auth, kind=kind)]}, sort_keys=False, allow_unicode=True)
