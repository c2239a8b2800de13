"""Feeds: failures for feed readers (Atom), mutes and planned maintenance for calendars (iCalendar).

Such programs send no headers, so that a token may be in the address: one of the scope `feed` alone, because addresses
are kept in logs and histories.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.core.access import TokenScope
from notifier.core.errors import StoreError
from notifier.web.access.viewer import Access, AccessRole, Viewer
from notifier.web.api.atom import atom_feed
from notifier.web.api.calendar import mute_calendar
from notifier.web.api.context import has_tag, language_of
from notifier.web.api.entrance import admit
from notifier.web.api.ports import ApiReads
from notifier.web.api.problems import ApiProblem, unreachable
from notifier.web.parts import WebParts
from notifier.wording.events import EventFormatter
from notifier.wording.links import MAINTENANCE_PATH
from notifier.wording.localizer import Localizer

FEED_FAILURES: Final = 50
"""Maximum number of failures of a feed, those that changed last."""
ATOM_PATH, CALENDAR_PATH = "/feeds/failures.atom", "/feeds/mutes.ics"
_MAX_TOKEN: Final = 200


def feed_routes(parts: WebParts) -> Sequence[Route]:
    """Return the routes of the feeds."""
    feeds = (
        (ATOM_PATH, "application/atom+xml", _failures),
        (CALENDAR_PATH, "text/calendar", _mutes),
    )
    return [Route(path, partial(_answer, parts, kind, make), methods=["GET"]) for path, kind, make in feeds]


Make = Callable[[WebParts, Localizer, str], Callable[[ApiReads], str]]
"""Returns what makes a feed for a reader of a language, with links that begin with an address."""


async def _answer(parts: WebParts, kind: str, make: Make, request: Request) -> Response:
    try:
        await _admit(parts.access, request)
        localizer = parts.rules.localizers[language_of(request, parts.rules.language)]
        base = parts.rules.url or str(request.base_url).rstrip("/")
        text = await parts.store.read(make(parts, localizer, base))
    except ApiProblem as problem:
        return problem.response()
    except StoreError:
        return unreachable().response()
    body = text.encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization, Cookie, Accept-Language",
    }
    if has_tag(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=f"{kind}; charset=utf-8")


async def _admit(access: Access, request: Request) -> Viewer:
    """Return who asks, where they may read feeds. Raises ApiProblem."""
    token = request.query_params.get("token")
    found = await admit(access, request if token is None else _with_token(request, token), AccessRole.NONE)
    if token is not None and found.scopes != {TokenScope.FEED}:
        why = "a token in an address has the scope feed and no other: addresses are kept in logs"
        raise ApiProblem(403, "forbidden", why)
    if not found.may_read_feeds:
        raise ApiProblem(403, "forbidden", "this needs the role read or the scope feed")
    return found


def _with_token(request: Request, token: str) -> Request:
    """Return a request that shows a token and nothing else."""
    hidden = (b"authorization", b"cookie")
    kept = [(name, value) for name, value in request.scope["headers"] if name.lower() not in hidden]
    shown = token[:_MAX_TOKEN].encode("ascii", "replace")
    return Request({**request.scope, "headers": [*kept, (b"authorization", b"Bearer " + shown)]})


def _failures(parts: WebParts, localizer: Localizer, base: str) -> Callable[[ApiReads], str]:
    links = replace(parts.rules.links, page_url=base)
    formatter = EventFormatter(localizer, parts.rules.causes, links)
    return lambda q: atom_feed(q.failure_feed.latest(FEED_FAILURES), formatter, f"{base}{ATOM_PATH}", f"{base}/")


def _mutes(_parts: WebParts, localizer: Localizer, base: str) -> Callable[[ApiReads], str]:
    def make(q: ApiReads) -> str:
        now = q.now()
        return mute_calendar(
            q.known_mutes(),
            localizer,
            now,
            f"{base}/mutes",
            maintenance=q.maintenances(now),
            maintenance_page=f"{base}{MAINTENANCE_PATH}",
        )

    return make
