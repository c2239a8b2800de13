"""Slack's Web API, through slack_sdk and our own HTTP client."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, cast
from urllib.parse import urlencode

from notifier.channels.base import Json, encode_json

if TYPE_CHECKING:
    import aiohttp

    from notifier.http import HttpClient, Reply

MAX_API_REPLY = 64 * 1024
"""Maximum size of a response body, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackResponse:
    """A response of the Web API, or of a webhook in the form of one."""

    status: int
    headers: Mapping[str, str]
    data: Json
    """Empty where the body is not a JSON object."""
    body: bytes = b""
    """The bytes as they came."""

    @property
    def ok(self) -> bool:
        """Whether Slack reports success."""
        return self.data.get("ok") is True

    @property
    def code(self) -> str:
        """The error code; empty where the response has none. Any other text of a response is never repeated."""
        found = self.data.get("error")
        return found if isinstance(found, str) and re.fullmatch(r"[a-z0-9_]{1,80}", found) else ""

    @property
    def scopes(self) -> frozenset[str] | None:
        """The scopes of the token, which Slack lists in a header; None where it does not."""
        granted = self.headers.get("x-oauth-scopes")
        return None if granted is None else frozenset(re.split(r"[\s,]+", granted))

    @property
    def failure(self) -> str:
        """The error code, or the HTTP status where there is none."""
        return self.code or f"HTTP {self.status}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebApi:
    """Slack's Web API with one token."""

    http: HttpClient
    url: str
    """Base URL, for example `https://slack.com/api/`."""
    token: str = field(repr=False)

    async def call(
        self,
        method: str,
        deadline: float,
        body: Json | None = None,
        *,
        query: Json | None = None,
        max_bytes: int = MAX_API_REPLY,
    ) -> SlackResponse:
        """Call a method with a JSON body, or with a query. Raises HttpError."""
        from slack_sdk.errors import SlackApiError  # noqa: PLC0415 - reading settings must not load the network
        from slack_sdk.web.async_client import AsyncWebClient  # noqa: PLC0415 - the same

        session = _Session(self.http, deadline, max_bytes)
        client = AsyncWebClient(
            token=self.token, base_url=self.url, session=cast("aiohttp.ClientSession", session), retry_handlers=[]
        )
        try:
            verb = "POST" if query is None else "GET"
            response = await client.api_call(method, http_verb=verb, json=body, params=query)
        except SlackApiError as error:
            response = error.response
        data = cast("Json", response.data)
        return SlackResponse(status=response.status_code, headers=response.headers, data=data, body=session.body)


class _Response:
    """The part of an aiohttp response that slack_sdk reads."""

    content_type = "application/json"

    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self._body = reply.body

    async def json(self) -> Json:
        return _object(self._body)


def _object(body: bytes) -> Json:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):  # the latter for brackets without end
        return {}
    return data if isinstance(data, dict) else {}


@dataclass(slots=True)
class _Session:
    """Stands in for an aiohttp session: one exchange through our own client.

    slack_sdk reads proxies from the environment, follows redirects and reads answers of any length. Here it gets the
    configured proxy, the address rule, one deadline and a cap like everything else does, and errors that say whether
    the request left.
    """

    http: HttpClient
    deadline: float
    max_bytes: int
    body: bytes = b""
    """Body of the response."""
    closed: ClassVar[bool] = False

    @asynccontextmanager
    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], json: Json | None, params: Json | None, **_: object
    ) -> AsyncIterator[_Response]:
        reply = await self.http.exchange(
            method,
            f"{url}?{urlencode(params)}" if params else url,
            headers=headers,
            content=None if json is None else encode_json(json),
            deadline=self.deadline,
            max_bytes=self.max_bytes,
        )
        self.body = reply.body
        yield _Response(reply)
