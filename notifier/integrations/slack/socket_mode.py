"""Slack's Socket Mode: this program opens the connection, so that Slack need not be able to reach it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

from notifier.chat.ports import BadRequest
from notifier.http import AddressRefused, HttpError, describe_handshake_reply
from notifier.http.sessions import describe_failure
from notifier.ports import CheckResult, Clock

if TYPE_CHECKING:
    from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
    from slack_sdk.socket_mode.request import SocketModeRequest

    from notifier.integrations.slack.api import SlackResponse, WebApi
    from notifier.integrations.slack.chat import SlackRequestHandler

OPEN_TIMEOUT = 10.0
"""Maximum time to ask Slack for an address, in seconds."""
CONNECT_TIMEOUT = 15.0
"""Maximum time of an attempt to connect, and minimum time from one that fails to the next, in seconds.

Each address is good for one connection, so another one is asked for then."""
PING_INTERVAL = 5.0
"""Time between pings, in seconds. A connection is lost after four of them without an answer."""
CLOSE_TIMEOUT = 1.0
"""Maximum time to close a connection in order, in seconds."""
REJECTED_WAIT = 300.0
"""Time after which a token that Slack refuses is tried again, in seconds: a person has to replace it."""
MAX_WAIT = 30.0
"""Maximum time between two attempts to connect, in seconds."""
MAX_OPENED = 10
"""Maximum number of connections within a minute, for a Slack that ends each at once."""

# fmt: off
_TOKEN_CODES = frozenset((
    "invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "not_allowed_token_type",
    "missing_scope",
))
# fmt: on
_TOKEN_REMEDY = (
    "set chat.slack.app_token to an app-level token (xapp-…) with the scope connections:write; the app's settings "  # noqa: S105 - advice
    "have them under App-Level Tokens"
)
_SWITCH_REMEDY = "switch Socket Mode on, on the app's page Socket Mode"
_NETWORK_REMEDY = "check the network and the proxy"
_NO_REMEDY = "it is tried again by itself"

log = structlog.get_logger(__name__)

_silent = logging.Logger("slack_sdk", level=logging.CRITICAL + 1)  # noqa: LOG001 - none that others can configure
"""Silences the library, which logs a stack trace for each lost connection. This module logs what matters."""


class ConnectionNotOpened(Exception):
    """No connection to Slack could be opened. The message says why."""

    def __init__(self, why: str, remedy: str, *, wait: float = 0.0) -> None:
        """`wait`: seconds during which another attempt is useless."""
        super().__init__(why)
        self.remedy = remedy
        self.wait = wait


class SocketModeTransport:
    """Keeps a connection to Slack and passes requests to the handler. Implements `ports.ChatTransport`."""

    def __init__(
        self, handler: SlackRequestHandler, api: WebApi, clock: Clock, *, ping_every: float = PING_INTERVAL
    ) -> None:
        """`api` has the app-level token."""
        self._handler = handler
        self._api = api
        self._clock = clock
        self._ping_every = ping_every
        self._client: _Client | None = None
        self._in_flight: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether requests can arrive now."""
        session = self._client.current_session if self._client else None
        return session is not None and not session.closed

    @property
    def trouble(self) -> str | None:
        """Reason why requests cannot arrive now; None while they can."""
        if self.connected:
            return None
        return (self._client.last_error if self._client else None) or "not connected to Slack yet"

    async def run(self) -> None:
        """Stay connected until cancelled."""
        self._client = client = _Client(self._api, self._clock, self._ping_every)
        client.socket_mode_request_listeners.append(self._handle_soon)
        try:
            await client.use_http_client()
            await self._connect(client)
            await asyncio.Event().wait()
        finally:
            await self._close(client)

    async def _close(self, client: _Client) -> None:
        for task in self._in_flight:
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        client.closed = True  # or it would connect again
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await client.disconnect()  # type: ignore[no-untyped-call]  # the library has no type here
        await client.close()  # type: ignore[no-untyped-call]  # as above

    async def _connect(self, client: _Client) -> None:
        wait = 1.0
        while not await client.is_connected():
            try:
                await client.connect_to_new_endpoint(force=True)
            except ConnectionNotOpened:
                await self._clock.sleep(wait)
                wait = min(wait * 2, MAX_WAIT)

    async def _handle_soon(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        task = asyncio.create_task(self._handle(client, request), name="handle a request from Slack")
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _handle(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        """Answer a request in time, whether or not it succeeds: Slack reports a missing answer as a broken app."""
        try:
            if request.type == "slash_commands":
                await _acknowledge(client, request, await self._command(request.payload))
                return
            await _acknowledge(client, request)
            if request.type == "interactive":
                await self._handler.interaction(request.payload, None)
        except BadRequest as error:
            log.warning("chat.request_invalid", reason=str(error))
        except Exception:
            log.exception("chat.request_failed")

    async def _command(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return await self._handler.command(payload, None)
        except BadRequest as error:
            log.warning("chat.request_invalid", reason=str(error))
        except Exception:
            log.exception("chat.request_failed")
        return None


async def check(api: WebApi) -> Sequence[CheckResult]:
    """Return whether a connection could be opened, without opening one. `api` has the app-level token."""
    what = "Slack Socket Mode"
    try:
        await _open(api)
    except ConnectionNotOpened as error:
        return (CheckResult(ok=False, what=what, detail=str(error), remedy=error.remedy),)
    return (CheckResult(ok=True, what=what, detail="a connection can be opened"),)


async def _acknowledge(
    client: AsyncBaseSocketModeClient, request: SocketModeRequest, payload: dict[str, Any] | None = None
) -> None:
    await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=payload))


class _Client(SocketModeClient):
    """slack_sdk's client, with our own way to ask for an address and only the configured proxy."""

    def __init__(self, api: WebApi, clock: Clock, ping_every: float) -> None:
        super().__init__(
            app_token="", logger=_silent, ping_interval=ping_every, on_message_listeners=[self._on_disconnect]
        )
        self.proxy = None  # it would take one from the environment
        self._api = api
        self._clock = clock
        self._not_before = float("-inf")
        self._opened: deque[float] = deque(maxlen=MAX_OPENED)
        self.last_error: str | None = None
        """Reason of the last failure that was logged; None once it is connected."""
        self._failure = ""
        """Reason why the current attempt to connect fails, as far as it is known."""
        self._attempt = asyncio.timeout(None)
        """Ends the current attempt to connect."""

    async def use_http_client(self) -> None:
        """Connect through our HTTP client: the library's session ignores our address rules and certificates."""
        await self.aiohttp_client_session.close()
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._on_response)
        trace.on_request_exception.append(self._on_request_error)
        self.aiohttp_client_session = self._api.http.session(trace)

    async def connect_to_new_endpoint(self, force: bool = False) -> None:  # noqa: FBT001, FBT002 - as the library has it
        """Connect to a new address. Raises ConnectionNotOpened.

        Overrides the library's method, which waits at most five seconds for another attempt to end, and then can leave
        a connection open that nothing reads.
        """
        async with self.connect_operation_lock:
            if force or not await self.is_connected():
                self.wss_uri = await self.issue_new_wss_url()
                await self.connect()

    async def issue_new_wss_url(self) -> str:
        """Ask Slack for an address. Raises ConnectionNotOpened."""
        if self._clock.monotonic() < self._not_before:
            raise ConnectionNotOpened("it is too early to try again", _NO_REMEDY)
        try:
            return await self._ask()
        except ConnectionNotOpened as error:
            self._fail(error)
            raise

    async def _ask(self) -> str:
        now = self._clock.monotonic()
        if len(self._opened) == MAX_OPENED and now - self._opened[0] < 60:  # noqa: PLR2004 - a minute
            raise ConnectionNotOpened("Slack ends every connection at once", _NO_REMEDY)
        url = await _open(self._api)
        self._opened.append(now)
        return url

    async def connect(self) -> None:
        """Connect to the address of `issue_new_wss_url`. Raises ConnectionNotOpened.

        The library would try the same address again and again; it is good for one connection.
        """
        host, begun = _host(self.wss_uri or ""), self._clock.monotonic()
        self._failure = f"no connection to {host} within {CONNECT_TIMEOUT:g} s"
        try:
            self.proxy = self._api.http.proxy_url_for(host)
            async with asyncio.timeout(CONNECT_TIMEOUT) as self._attempt:
                await super().connect()  # type: ignore[no-untyped-call]  # as above
        except (AddressRefused, TimeoutError) as cause:
            wait = begun + CONNECT_TIMEOUT - self._clock.monotonic()
            error = ConnectionNotOpened(str(cause) or self._failure, _NETWORK_REMEDY, wait=max(wait, 0.0))
            self._fail(error)
            raise error from None
        finally:
            self.auto_reconnect_enabled = True  # it is off while connecting, and would stay off
        if self.last_error is not None and not self.closed:
            log.info("chat.recovered")
        self.last_error = None

    async def _on_response(
        self, _session: aiohttp.ClientSession, _context: object, answered: aiohttp.TraceRequestEndParams
    ) -> None:
        status, host = answered.response.status, str(answered.url.host)
        self._failure = describe_handshake_reply(status, host, self._proxy_name)
        if status != HTTPStatus.SWITCHING_PROTOCOLS:
            self._end_attempt()

    async def _on_request_error(
        self, _session: aiohttp.ClientSession, _context: object, failed: aiohttp.TraceRequestExceptionParams
    ) -> None:
        cause, host = failed.exception, str(failed.url.host)
        if isinstance(cause, asyncio.CancelledError):  # the attempt took too long, or the service stops
            return
        is_ours = isinstance(cause, HttpError)
        self._failure = str(cause) if is_ours else describe_failure(cause, host, self._proxy_name)
        self._end_attempt()

    def _end_attempt(self) -> None:
        if not self._attempt.expired():
            self._attempt.reschedule(asyncio.get_running_loop().time())

    @property
    def _proxy_name(self) -> str | None:
        return urlsplit(self.proxy).netloc.rpartition("@")[2] if self.proxy else None

    async def _on_disconnect(self, message: aiohttp.WSMessage) -> None:
        """Recognise a disconnect for good, before the library connects again."""
        with suppress(ValueError, RecursionError):
            frame = json.loads(message.data)
            if isinstance(frame, dict) and (frame.get("type"), frame.get("reason")) == ("disconnect", "link_disabled"):
                self._fail(ConnectionNotOpened("Socket Mode is switched off", _SWITCH_REMEDY, wait=REJECTED_WAIT))

    def _fail(self, error: ConnectionNotOpened) -> None:
        """Log a failure, unless it is the one that was logged last."""
        self._not_before = self._clock.monotonic() + error.wait
        if str(error) != self.last_error:
            msg = "commands and clicks do not arrive"
            log.error("chat.disconnected", msg=msg, reason=str(error), remedy=error.remedy)
        self.last_error = str(error)


def _host(url: str) -> str:
    """Return the host of a WebSocket URL; empty for another URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.scheme in ("ws", "wss") else ""


async def _open(api: WebApi) -> str:
    try:
        response = await api.call("apps.connections.open", OPEN_TIMEOUT, {})
    except HttpError as error:
        raise ConnectionNotOpened(str(error), _NETWORK_REMEDY) from None
    url = response.data.get("url")
    if response.ok and isinstance(url, str) and _host(url):
        return url
    raise _refusal(response)


def _refusal(response: SlackResponse) -> ConnectionNotOpened:
    why = response.failure
    if response.code in _TOKEN_CODES:
        return ConnectionNotOpened(why, _TOKEN_REMEDY, wait=REJECTED_WAIT)
    seconds = response.headers.get("retry-after", "")
    return ConnectionNotOpened(why, _NO_REMEDY, wait=min(float(seconds), REJECTED_WAIT) if seconds.isdecimal() else 0.0)
