"""The page as a Starlette application: who asks, what they may do, and how a page becomes a response."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from notifier.chat.endpoints import InvalidRequest, read_body
from notifier.core.errors import StoreError, StoreReplaced, StoreUnreachable
from notifier.core.people import Person
from notifier.logs import RejectionLog
from notifier.ports import Clock
from notifier.web.access.viewer import AccessRole, Viewer
from notifier.web.api.application import API_PATH, build_api
from notifier.web.api.feeds import feed_routes
from notifier.web.api.stream import StreamLimits
from notifier.web.assets import serve_asset
from notifier.web.errors import ErrorView, Outage, error_page
from notifier.web.frame import Frame, read_frame, tab_path
from notifier.web.mounts import WholeMount
from notifier.web.pages import SITE
from notifier.web.parts import WebParts
from notifier.web.ports import WebReads, WebTx
from notifier.web.preferences import YEAR, chosen, without_choices
from notifier.web.rendering import render
from notifier.web.requests import (
    ActionRoute,
    DownloadPart,
    DownloadRoute,
    Page,
    PageMissing,
    PageRequest,
    PageRoute,
    Redirect,
    SiteRoute,
    page_request,
)
from notifier.web.security import GuardedApplication

log = structlog.get_logger("notifier.web")

NOBODY = Viewer(person=Person(id="web:unknown", name=""), role=AccessRole.READ)
"""Who asks while sessions cannot be read."""
NOTICE_COOKIE = "notice"
READ_WITHIN = 12
"""Time that the database has for what a page reads, in seconds. The page that says that it does not answer asks once
more who is there, and both are to end before the server closes the connection."""
MAX_SUBMITTED_FIELDS = 2_000
"""Maximum number of fields of a submitted form: a list with a tick box for each row."""

T = TypeVar("T")


def build_application(
    parts: WebParts,
    beside: Sequence[BaseRoute] = (),
    sign_in: Sequence[BaseRoute] = (),
    *,
    streams: StreamLimits | None = None,
) -> Starlette:
    """Return the application.

    `beside` are routes that are no pages, such as those that chats call: they are reached by any name, and judge by
    themselves who may call. `sign_in` are the pages that everybody may open. `streams` are other limits of
    streams than the usual ones.
    """
    static = Route("/static/{name}", serve_asset, methods=["GET"])
    api = WholeMount(API_PATH, build_api(parts, streams))
    routes = [static, api, *feed_routes(parts), *sign_in, *page_routes(parts, SITE)]
    unknown = partial(_answer_unknown, parts)
    pages = Starlette(routes=routes, exception_handlers={404: unknown, 405: _answer_other_method})
    rejections = RejectionLog("web.requests_rejected", logger="notifier.web", seconds=parts.clock.monotonic)
    return Starlette(routes=[*beside, WholeMount("/", GuardedApplication(pages, parts.names, rejections))])


def page_routes(parts: WebParts, site: Sequence[SiteRoute]) -> Sequence[Route]:
    """Return the routes of pages and actions. What goes wrong in one becomes a page too."""
    outage = Outage()
    return [_route(parts, outage, one) for one in site]


def _route(parts: WebParts, outage: Outage, route: SiteRoute) -> Route:
    method = "POST" if isinstance(route, ActionRoute) else "GET"
    return Route(route.path, partial(_answer, parts, outage, route), methods=[method])


async def _answer(parts: WebParts, outage: Outage, route: SiteRoute, request: Request) -> Response:
    request.state.started = parts.clock.monotonic()
    if _has_nul([request.url.path, *request.path_params.values(), *request.query_params.values()]):
        return await _answer_trouble(parts, request, error_page("refused"), route.tab)
    try:
        if isinstance(route, PageRoute):
            response = await _answer_page(parts, route, request)
        elif isinstance(route, DownloadRoute):
            response = await _answer_download(parts, route, request)
        else:
            response = await _answer_action(parts, route, request)
    except PageMissing as error:
        return await _answer_trouble(parts, request, error_page("missing", detail=str(error)), route.tab)
    except StoreError as error:
        since = outage.begin(parts.clock.now())
        log.warning("web.store_failed", path=request.url.path, error=str(error))
        page = error_page("unreachable", detail=str(error), since=since)
        return await _answer_trouble(parts, request, page, route.tab)
    except Exception:
        log.exception("web.page_failed", path=request.url.path)
        return await _answer_trouble(parts, request, error_page("failed"), route.tab)
    outage.end()
    return response


def _has_nul(texts: Iterable[str]) -> bool:
    """Return whether a text has the character NUL: nothing that is recorded does, and PostgreSQL takes none."""
    return any("\0" in text for text in texts)


async def _answer_unknown(parts: WebParts, request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's
    """Answer a request for an address that nothing is at: a page for people, a status for programs."""
    if "text/html" not in request.headers.get("Accept", ""):
        return Response(status_code=404)
    request.state.started = parts.clock.monotonic()
    return await _answer_trouble(parts, request, error_page("missing"), "")


async def _answer_other_method(request: Request, error: Exception) -> Response:
    """Lead whoever opens the address of an action, as after a refused form, to its page."""
    if request.method == "GET":
        for action in SITE:
            if isinstance(action, ActionRoute) and action.path == request.url.path:
                return RedirectResponse(tab_path(action.tab), status_code=303)
    headers = error.headers if isinstance(error, HTTPException) else None
    return PlainTextResponse("This address does not take such requests.\n", status_code=405, headers=headers)


async def _answer_trouble(parts: WebParts, request: Request, page: Page, tab: str) -> Response:
    """Answer with a page about what went wrong, which reads nothing: the database may be what went wrong."""
    try:
        asked = await _page_request(parts, request, {})
    except StoreError:  # nobody knows who asks
        page = replace(page, view=replace(page.view, detail="")) if isinstance(page.view, ErrorView) else page
        asked = page_request(request, parts.rules, NOBODY)
    if isinstance(asked, Response):
        return asked
    if request.method != "GET":
        page, asked = replace(page, poll=0), replace(asked, path=tab_path(tab))
    frame = Frame(now=parts.clock.now(), counts={}, urgent=())
    return _respond(parts, request, page, asked=asked, frame=frame, tab=tab)


async def _answer_page(parts: WebParts, route: PageRoute, request: Request) -> Response:
    if choices := chosen(request.query_params):
        return _remember(choices, request)
    asked = await _admit(parts, request, route, {})
    if isinstance(asked, Response):
        return asked

    def read(q: WebReads) -> tuple[Frame, Page | Redirect]:
        return read_frame(q, parts.rules.expected), route.read(asked, q)

    frame, answer = await _in_time(parts.store.read(read))
    frame = replace(frame, lost=await _lost_file(parts))
    return _respond(parts, request, answer, asked=asked, frame=frame, tab=route.tab)


async def _lost_file(parts: WebParts) -> str:
    """Return what happened to the file of the database while it is in use; empty where nothing did."""
    try:
        await parts.verify()
    except StoreReplaced as error:
        return str(error)
    return ""


async def _in_time(answer: Awaitable[T]) -> T:
    """Wait for an answer of the database, and not until the server closes the connection without a word."""
    try:
        return await asyncio.wait_for(answer, READ_WITHIN)
    except TimeoutError:
        raise StoreUnreachable(f"the database has not answered for {READ_WITHIN} s") from None


async def _act_in_time(parts: WebParts, act: Callable[[WebTx], T]) -> T:
    """Wait for a change for as long as for a read. Nothing can stop one that takes longer: it may still be made."""
    acting = asyncio.ensure_future(parts.store.transact(act))
    try:
        done, _ = await asyncio.wait({acting}, timeout=READ_WITHIN)
    finally:
        if not acting.done():
            acting.add_done_callback(partial(_acted_late, parts))
    if not done:
        raise StoreUnreachable(
            f"the database has not answered for {READ_WITHIN} s, and may still do what was asked for:"
            " see whether it was done before you ask again"
        )
    return acting.result()


def _acted_late(parts: WebParts, acting: asyncio.Future[T]) -> None:
    """Let others know of a change that nobody waited for any more."""
    if acting.cancelled():
        return
    error = acting.exception()
    if error is None:
        parts.wake()
    else:
        log.warning("web.store_failed", error=str(error))


async def _answer_download(parts: WebParts, route: DownloadRoute, request: Request) -> Response:
    """Answer with a file. Its first part is read before anything is sent, so that what fails then becomes a page."""
    asked = await _admit(parts, request, route, {})
    if isinstance(asked, Response):
        return asked

    def read(place: str) -> Callable[[WebReads], DownloadPart]:
        return lambda q: route.read(asked, q, place)

    async def parts_of_file() -> AsyncIterator[str]:
        part = first
        yield part.text
        while part.following:
            part = await parts.store.read(read(part.following))
            yield part.text

    first = await _in_time(parts.store.read(read("")))
    headers = {"Content-Disposition": f'attachment; filename="{route.name}"', "Cache-Control": "private, no-store"}
    return StreamingResponse(parts_of_file(), media_type=route.media_type, headers=headers)


async def _answer_action(parts: WebParts, route: ActionRoute, request: Request) -> Response:
    try:
        form = parse_qs(
            (await read_body(request)).decode(), keep_blank_values=True, max_num_fields=MAX_SUBMITTED_FIELDS
        )
    except InvalidRequest as error:
        return PlainTextResponse(f"The form was refused: {error}. Nothing was done.\n", status_code=error.status)
    except ValueError:
        return await _answer_trouble(parts, request, error_page("refused"), route.tab)
    if _has_nul(value for values in form.values() for value in values):
        return await _answer_trouble(parts, request, error_page("refused"), route.tab)
    sent = await _admit(parts, request, route, form)
    if isinstance(sent, Response):
        return sent
    asked = replace(sent, path=tab_path(route.tab))  # what is shown again is not at the address of the action

    def act(tx: WebTx) -> tuple[Frame, Page | Redirect]:
        answer = route.act(sent, tx)
        return read_frame(tx.queries, parts.rules.expected), answer

    frame, answer = await _act_in_time(parts, act)
    parts.wake()
    if isinstance(answer, Page):  # it would be refreshed without what was typed
        answer = replace(answer, poll=0)
    return _respond(parts, request, answer, asked=asked, frame=frame, tab=route.tab)


async def _admit(
    parts: WebParts, request: Request, route: SiteRoute, form: Mapping[str, Sequence[str]]
) -> PageRequest | Response:
    """Return what a route may depend on; a response for whoever it is not for."""
    asked = await _page_request(parts, request, form)
    if isinstance(asked, Response) or asked.viewer.role >= route.role:
        return asked
    return await _answer_trouble(parts, request, error_page("forbidden"), route.tab)


async def _page_request(parts: WebParts, request: Request, form: Mapping[str, Sequence[str]]) -> PageRequest | Response:
    viewer = await _in_time(parts.access.viewer(request))
    if isinstance(viewer, Response):
        return viewer
    return page_request(request, parts.rules, viewer, form)


def _remember(choices: Mapping[str, str], request: Request) -> Response:
    """Keep what a reader chose in cookies, and lead to the page again without the choice in its address."""
    response = RedirectResponse(without_choices(request.url.path, request.query_params), status_code=303)
    for name, value in choices.items():
        response.set_cookie(name, value, max_age=YEAR, httponly=True, samesite="lax")
    return response


def _respond(
    parts: WebParts, request: Request, answer: Page | Redirect, *, asked: PageRequest, frame: Frame, tab: str
) -> Response:
    if isinstance(answer, Redirect):
        response: Response = RedirectResponse(answer.to, status_code=303)
        if answer.notice:
            response.set_cookie(NOTICE_COOKIE, quote(answer.notice), httponly=True, samesite="lax")
        return response
    # A page that refreshes itself takes away no notice that another one is about to show.
    notice = "" if "HX-Request" in request.headers else unquote(request.cookies.get(NOTICE_COOKIE, ""))
    known = request.headers.get("If-None-Match", "").removeprefix("W/").strip('"')
    elapsed = partial(_seconds_since, request.state.started, parts.clock)
    rendered = render(answer, asked, frame, tab=tab, notice=notice, known=known, seconds=elapsed)
    vary = "Cookie, Accept-Language, Accept-Encoding"
    headers = {"ETag": f'W/"{rendered.tag}"', "Cache-Control": "private, no-cache", "Vary": vary}
    if rendered.html is None:
        return Response(status_code=304, headers=headers)
    content = rendered.html.encode()
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        # What a page contains from outside cannot be aligned with a secret: there is none on a page.
        content = gzip.compress(content, compresslevel=5, mtime=0)
        headers["Content-Encoding"] = "gzip"
    response = Response(content, status_code=answer.status, media_type="text/html", headers=headers)
    if notice:
        response.delete_cookie(NOTICE_COOKIE)
    return response


def _seconds_since(started: float, clock: Clock) -> float:
    return clock.monotonic() - started
