"""What all paths of the API share: who asks, in which language, and how an answer is made."""

from __future__ import annotations

import hashlib
import re
from asyncio import Semaphore
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from notifier.core.people import Person
from notifier.core.usual_memory import UsualMemory
from notifier.ports import StoredAnswer
from notifier.web.api.entrance import viewer_of
from notifier.web.api.idempotency import answer_once, in_progress, key_of
from notifier.web.api.ports import ApiReads, ApiTx
from notifier.web.api.problems import refused
from notifier.web.api.reads import ReadRules
from notifier.web.api.stream import EventBroadcast, StreamLimits
from notifier.web.cursors import WrongCursor
from notifier.web.parts import WebParts
from notifier.wording.documents import JsonDocument
from notifier.wording.phrases import Language

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_DEAR: Final = 2
"""Number of reads of the whole history that run at a time in a process: each takes a thread of the store."""


class ApiContext:
    """Answers requests of one process."""

    def __init__(self, parts: WebParts, streams: StreamLimits) -> None:
        self.parts = parts
        self.broadcast = EventBroadcast(parts.store, parts.listen, streams)
        self._usual = UsualMemory()
        self._dear = Semaphore(_DEAR)
        self._in_progress: set[str] = set()
        """The keys of the changes that this process is making."""

    def rules(self, request: Request) -> ReadRules:
        """Return what answers depend on, in the language of the request."""
        rules = self.parts.rules
        return ReadRules(
            localizer=rules.localizers[language_of(request, rules.language)],
            expected=rules.expected,
            routes=rules.routing.routes,
            causes=rules.causes,
            usual=self._usual,
        )

    async def read(
        self, request: Request, model: type[M], fn: Callable[[ApiReads], JsonDocument], *, dear: bool = False
    ) -> Response:
        """Answer with the document that a read returns; with status 304 where the caller has it already.

        `dear` is for reads of the whole history: only a few of them run at a time. Raises ApiProblem.
        """
        try:
            if dear:
                async with self._dear:
                    document = await self.parts.store.read(fn)
            else:
                document = await self.parts.store.read(fn)
        except WrongCursor as error:
            raise refused("query", "cursor", str(error)) from None
        return answer(request, model, document)

    async def change(
        self,
        request: Request,
        model: type[M],
        act: Callable[[ApiTx, Person], JsonDocument],
        *,
        status: int = 200,
    ) -> Response:
        """Answer with the document that a change returns, made once for each idempotency key. Raises ApiProblem."""
        viewer = viewer_of(request)
        key, fingerprint = key_of(request, viewer), await _fingerprint(request)

        def run(tx: ApiTx) -> tuple[StoredAnswer, bool]:
            return answer_once(tx, key, fingerprint, lambda: _made(model, act(tx, viewer.person), fingerprint, status))

        if key in self._in_progress:
            raise in_progress()
        self._in_progress |= {key} if key else set()
        try:
            made, repeated = await self.parts.store.transact(run)
        finally:
            self._in_progress.discard(key or "")
        if not repeated:
            self.parts.wake()
        headers = {"Idempotency-Replayed": "true"} if repeated else {}
        return _json(made.body, made.status, headers | {"Cache-Control": "no-store"})


def _made(model: type[M], document: JsonDocument, fingerprint: str, status: int) -> StoredAnswer:
    return StoredAnswer(fingerprint=fingerprint, status=status, body=_written(model, document))


async def _fingerprint(request: Request) -> str:
    """Return a digest of what is asked for."""
    head = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return hashlib.sha256(head + await request.body()).hexdigest()


def answer(request: Request, model: type[M], document: JsonDocument) -> Response:
    """Return the answer to a read, with its tag; with status 304 where the caller has it already."""
    body = _written(model, document)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie, Accept-Language"}
    if has_tag(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    return _json(body, 200, headers)


def has_tag(known: str, tag: str) -> bool:
    """Return whether a caller that knows these tags has what a tag stands for."""
    return known.strip() == "*" or tag in re.findall(r'"[^"]*"', known)


def _written(model: type[M], document: JsonDocument) -> bytes:
    return model.model_validate(document).model_dump_json().encode()


def _json(body: bytes, status: int, headers: Mapping[str, str]) -> Response:
    return Response(body, status, dict(headers), media_type="application/json")


def language_of(request: Request, otherwise: Language) -> Language:
    """Return the language that a caller asks for, where it is one of ours."""
    wanted = request.headers.get("Accept-Language", "")[:2].lower()
    return "zh" if wanted == "zh" else "en" if wanted == "en" else otherwise
