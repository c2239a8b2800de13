"""Slack's Socket Mode: a connection that we open, so that no address of ours has to be reachable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import structlog
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse

from notifier.chat.doors import BadRequest, Handler
from notifier.http import HttpError
from notifier.ports import Clock, Finding

if TYPE_CHECKING:
    from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
    from slack_sdk.socket_mode.request import SocketModeRequest

    from notifier.slack.api import Answer, WebApi

OPEN_WITHIN = 10.0
"""Seconds to be told where to connect to."""
CONNECT_WITHIN = 15.0
"""Seconds for a connection, after which a new address is asked for: each is good for one connection."""
PING_EVERY = 5.0
"""Seconds; four of them without an answer are a lost connection."""
REJECTED_WAIT = 300.0
"""Seconds after which a token that Slack refuses is tried again: a person has to mend that."""
LONGEST_WAIT = 30.0

_TOKEN_CODES = frozenset(
    {"invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "not_allowed_token_type"}
)
_TOKEN_REMEDY = (
    "set chat.slack.app_token to an app-level token (xapp-…) with the scope connections:write, from the app's page "  # noqa: S105 - advice
    "Basic Information, and switch Socket Mode on"
)

log = structlog.get_logger(__name__)

_silent = logging.Logger("slack_sdk", level=logging.CRITICAL + 1)  # noqa: LOG001 - none that others can configure
"""What the library says: stack traces of every lost connection. What matters of it is said here."""


class NotOpened(Exception):
    """Slack did not say where to connect to. The message says why, and what to do."""


class SocketDoor:
    """Connects to Slack, and again whenever that is lost, and hands on what comes."""

    def __init__(self, handler: Handler, api: WebApi, clock: Clock, *, proxy: str | None = None) -> None:
        """`api` has the app-level token."""
        self._handler = handler
        self._api = api
        self._clock = clock
        self._proxy = proxy
        self._client: _Client | None = None

    @property
    def connected(self) -> bool:
        """Whether requests can reach us now."""
        session = self._client.current_session if self._client else None
        return session is not None and not session.closed

    async def run(self) -> None:
        """Stay connected until cancelled."""
        self._client = client = _Client(self._api, self._clock, self._proxy)
        client.socket_mode_request_listeners.append(self._take)
        try:
            await self._connect(client)
            await asyncio.Event().wait()
        finally:
            await client.close()  # type: ignore[no-untyped-call]  # the library has no type here

    async def _connect(self, client: _Client) -> None:
        wait = 1.0
        while not await client.is_connected():
            try:
                await client.connect_to_new_endpoint(force=True)
            except (NotOpened, TimeoutError):
                await self._clock.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)

    async def _take(self, client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        """Answer a request in time, whatever becomes of it: who waits for nothing is told that nothing works."""
        try:
            if request.type == "slash_commands":
                await _acknowledge(client, request, await self._command(request.payload))
                return
            await _acknowledge(client, request)
            if request.type == "interactive":
                await self._handler.interaction(request.payload, None)
        except BadRequest as error:
            log.warning("a request of Slack's cannot be read", reason=str(error))
        except Exception:
            log.exception("a request of Slack's was not answered")

    async def _command(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return await self._handler.command(payload, None)
        except BadRequest as error:
            log.warning("a command cannot be read", reason=str(error))
        except Exception:
            log.exception("a command was not answered")
        return None


async def check(api: WebApi) -> Sequence[Finding]:
    """Prove that a connection could be opened, without opening one. `api` has the app-level token."""
    what = "Slack Socket Mode"
    try:
        await _open(api)
    except NotOpened as error:
        return (Finding(ok=False, what=what, detail=str(error), remedy=_TOKEN_REMEDY),)
    return (Finding(ok=True, what=what, detail="a connection can be opened"),)


async def _acknowledge(
    client: AsyncBaseSocketModeClient, request: SocketModeRequest, payload: dict[str, Any] | None = None
) -> None:
    await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=payload))


class _Client(SocketModeClient):
    """slack_sdk's client with our own way to ask for an address, and no proxy but the configured one."""

    def __init__(self, api: WebApi, clock: Clock, proxy: str | None) -> None:
        super().__init__(app_token="", logger=_silent, ping_interval=PING_EVERY)
        self.proxy = proxy  # it would take one from the environment
        self._api = api
        self._clock = clock
        self._rejected_until = 0.0
        self._said: str | None = None

    async def issue_new_wss_url(self) -> str:
        """Ask where to connect to. Raises NotOpened."""
        if self._clock.monotonic() < self._rejected_until:
            raise NotOpened("the token was refused")
        try:
            url = await _open(self._api)
        except NotOpened as error:
            self._say(str(error))
            if isinstance(error, _Rejected):
                self._rejected_until = self._clock.monotonic() + REJECTED_WAIT
            raise
        return url

    async def connect(self) -> None:
        """Connect to the address asked for. Raises TimeoutError when that does not come about."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                await super().connect()  # type: ignore[no-untyped-call]  # as above
        finally:
            self.auto_reconnect_enabled = True  # it is off while connecting, and would stay off
        if self._said is not None:
            log.info("connected to Slack again")
        self._said = None

    def _say(self, why: str) -> None:
        """Log a reason once, until it is another or all is well again."""
        if why != self._said:
            log.error("not connected to Slack: commands and clicks do not reach us", reason=why, remedy=_TOKEN_REMEDY)
        self._said = why


class _Rejected(NotOpened):
    """The token was refused."""


async def _open(api: WebApi) -> str:
    try:
        answer = await api.call("apps.connections.open", OPEN_WITHIN, {})
    except HttpError as error:
        raise NotOpened(str(error)) from None
    url = answer.data.get("url")
    if answer.data.get("ok") is True and isinstance(url, str):
        return url
    raise _refusal(answer)


def _refusal(answer: Answer) -> NotOpened:
    why = answer.code or f"HTTP {answer.status}"
    return _Rejected(why) if answer.code in _TOKEN_CODES or answer.code == "missing_scope" else NotOpened(why)
