"""A receiver of webhooks that verifies every signature and keeps every request."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from servers.http import HttpServer, Request, reply
from servers.moments import Moments

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
"""Obviously fake: the bytes 0 to 23."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request with a valid signature."""

    id: str
    body: bytes
    path: str
    accepted: bool

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def job_id(self) -> str:
        return str(self.told["data"]["task"]["job_id"])


class Receiver(HttpServer):
    """Answers `status`, or 401 to what is not signed. `request` happens when one has arrived whole, and is kept;
    `answer` when its answer has been written."""

    def __init__(self, moments: Moments) -> None:
        super().__init__(self._take)
        self.received: list[Received] = []
        self.answered: list[Received] = []
        """Accepted requests whose sender was alive to get the answer: no `kill` happened in between."""
        self.forged: list[str] = []
        self.status = 200
        self.moments = moments
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        """Hold back answers from now on."""
        self._open.clear()

    def release(self) -> None:
        """Send the answers that were held back."""
        self._open.set()

    async def _take(self, writer: asyncio.StreamWriter) -> None:
        request = self.requests[-1]
        try:
            received = _verified(request, self.status)
        except WebhookVerificationError as error:
            self.forged.append(str(error))
            await reply(401)(writer)
            return
        self.received.append(received)
        kills = self.moments.count["kill"]
        await self.moments.happen("request")
        await self._open.wait()
        if received.accepted and kills == self.moments.count["kill"]:
            self.answered.append(received)
        await reply(self.status)(writer)
        await self.moments.happen("answer")


def _verified(request: Request, status: int) -> Received:
    Webhook(SECRET).verify(request.body, dict(request.headers))
    name = request.headers["webhook-id"]
    return Received(id=name, body=request.body, path=request.target, accepted=status < HTTPStatus.BAD_REQUEST)
