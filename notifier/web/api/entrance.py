"""Who is let in to the API, before anything of a request is read: strangers learn nothing, and cost little."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notifier.core.errors import StoreError
from notifier.web.access.viewer import Access, AccessRole, Viewer
from notifier.web.api.problems import ApiProblem, refused, unreachable

MAX_API_BODY: Final = 64 * 1024
"""Maximum size of the body of a request, in bytes."""
_MAX_NAME: Final = 100
_READING: Final = frozenset({"GET", "HEAD"})
_PREVIEW: Final = "/preview"
"""End of the paths whose POST changes nothing."""


class Entrance:
    """Lets requests in whose sender may read, or change where they change something. The viewer goes with them."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        request = Request(scope)
        try:
            scope["viewer"] = await admit(self._access, request, _needed(request))
            body = b"" if request.method in _READING else await _read(request, receive)
        except ApiProblem as problem:
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, _again(body, receive), send)


def refuse_unknown_parameters(request: Request) -> None:
    """Raise ApiProblem for a parameter that the path has not: a misspelt filter would answer with too much."""
    known = {one.alias for one in request.scope["route"].dependant.query_params}
    for name in request.query_params:
        if name not in known:
            raise refused("query", name[:_MAX_NAME], "is no parameter of this path")


def viewer_of(request: Request) -> Viewer:
    """Return who sent a request that was let in."""
    found: Viewer = request.scope["viewer"]
    return found


def _needed(request: Request) -> AccessRole:
    changes = request.method not in _READING and not request.url.path.endswith(_PREVIEW)
    return AccessRole.ACT if changes else AccessRole.READ


async def admit(access: Access, request: Request, role: AccessRole) -> Viewer:
    """Return who asks, where they have a role. Raises ApiProblem."""
    try:
        found = await access.viewer(request)
    except StoreError:
        raise unreachable() from None
    if isinstance(found, Response):
        raise _not_let_in(found)
    if found.role < role:
        raise ApiProblem(403, "forbidden", f"this needs the role or the scope {role.name.lower()}")
    return found


async def is_admitted(access: Access, request: Request) -> bool:
    """Return whether whoever sent a request may still read. While the database is unreachable, nothing has changed."""
    try:
        await admit(access, request, AccessRole.READ)
    except ApiProblem as problem:
        return problem.status == 503  # noqa: PLR2004 - HTTP's
    return True


def _not_let_in(found: Response) -> ApiProblem:
    """Return the error for whoever is not let in: the page for people would be no answer to a program."""
    if found.status_code == 403:  # noqa: PLR2004 - HTTP's
        return ApiProblem(403, "forbidden", "this may not be asked from here")
    if found.status_code == 429:  # noqa: PLR2004 - HTTP's
        after = found.headers.get("Retry-After", "60")
        return ApiProblem(429, "too-many-attempts", "too many wrong tokens", headers={"Retry-After": after})
    if found.status_code == 503:  # noqa: PLR2004 - HTTP's
        return unreachable()
    detail = "give a token in the header Authorization: Bearer TOKEN; `notifier token create` makes one"
    return ApiProblem(401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="notifier"'})


async def _read(request: Request, receive: Receive) -> bytes:
    """Return the body. Raises ApiProblem where it is too large."""
    if _length(request) > MAX_API_BODY:
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ApiProblem(400, "malformed", "the body broke off")
        body += message.get("body", b"")
        if len(body) > MAX_API_BODY:
            raise _too_large()
        if not message.get("more_body"):
            return bytes(body)


def _length(request: Request) -> int:
    given = request.headers.get("Content-Length", "")
    return int(given) if given.isdecimal() else 0


def _too_large() -> ApiProblem:
    return ApiProblem(413, "too-large", f"the body is larger than {MAX_API_BODY // 1024} KiB")


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what yields a body that was read, and then what follows it."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay
