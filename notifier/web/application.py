"""The page as a Starlette application: who asks, what they may do, and how a page becomes a response."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qs, quote, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from notifier.chat.endpoints import InvalidRequest, read_body
from notifier.web.assets import serve_asset
from notifier.web.frame import Frame, read_frame
from notifier.web.pages import SITE
from notifier.web.parts import WebParts
from notifier.web.ports import WebReads, WebTx
from notifier.web.preferences import YEAR, chosen, read_preferences, without_choices
from notifier.web.rendering import render
from notifier.web.requests import ActionRoute, Page, PageRequest, PageRoute, Redirect

NOTICE_COOKIE = "notice"
MAX_SUBMITTED_FIELDS = 2_000
"""Maximum number of fields of a submitted form: a list with a tick box for each row."""

T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]


def build_application(parts: WebParts, beside: Sequence[BaseRoute] = ()) -> Starlette:
    """Return the application. `beside` are routes that are no pages, such as those that chats call."""
    static = Route("/static/{name}", serve_asset, methods=["GET"])
    return Starlette(routes=[*beside, static, *(_route(parts, one) for one in SITE)])


def _route(parts: WebParts, route: PageRoute | ActionRoute) -> Route:
    if isinstance(route, PageRoute):
        return Route(route.path, partial(_answer_page, parts, route), methods=["GET"])
    return Route(route.path, partial(_answer_action, parts, route), methods=["POST"])


async def _answer_page(parts: WebParts, route: PageRoute, request: Request) -> Response:
    if choices := chosen(request.query_params):
        return _remember(choices, request)
    asked = await _page_request(parts, request, {})
    if isinstance(asked, Response):
        return asked
    if asked.viewer.role < route.role:
        return Response(status_code=403)

    def read(q: WebReads) -> tuple[Frame, Page | Redirect]:
        return read_frame(q), route.read(asked, q)

    frame, answer = await parts.store.read(read)
    return _respond(answer, asked, frame, route.tab, request)


async def _answer_action(parts: WebParts, route: ActionRoute, request: Request) -> Response:
    try:
        form = parse_qs(
            (await read_body(request)).decode(), keep_blank_values=True, max_num_fields=MAX_SUBMITTED_FIELDS
        )
    except InvalidRequest as error:
        return Response(status_code=error.status)
    except ValueError:
        return Response("The form is not one of this page.", status_code=400)
    asked = await _page_request(parts, request, form)
    if isinstance(asked, Response):
        return asked
    if asked.viewer.role < route.role:
        return Response(status_code=403)

    def act(tx: WebTx) -> tuple[Frame, Page | Redirect]:
        answer = route.act(asked, tx)
        return read_frame(tx.queries), answer

    frame, answer = await parts.store.transact(act)
    parts.wake()
    return _respond(answer, asked, frame, route.tab, request)


async def _page_request(parts: WebParts, request: Request, form: Mapping[str, Sequence[str]]) -> PageRequest | Response:
    viewer = await parts.access.viewer(request)
    if isinstance(viewer, Response):
        return viewer
    wanted = request.headers.get("Accept-Language", "")
    preferences = read_preferences(request.cookies, wanted, parts.rules.language)
    return PageRequest(
        path=request.url.path,
        places=request.path_params,
        query=request.query_params,
        form=form,
        viewer=viewer,
        language=preferences.language,
        theme=preferences.theme,
        keys=preferences.keys,
        rules=parts.rules,
    )


def _remember(choices: Mapping[str, str], request: Request) -> Response:
    """Keep what a reader chose in cookies, and lead to the page again without the choice in its address."""
    response = RedirectResponse(without_choices(request.url.path, request.query_params), status_code=303)
    for name, value in choices.items():
        response.set_cookie(name, value, max_age=YEAR, httponly=True, samesite="lax")
    return response


def _respond(answer: Page | Redirect, asked: PageRequest, frame: Frame, tab: str, request: Request) -> Response:
    if isinstance(answer, Redirect):
        response: Response = RedirectResponse(answer.to, status_code=303)
        if answer.notice:
            response.set_cookie(NOTICE_COOKIE, quote(answer.notice), httponly=True, samesite="lax")
        return response
    notice = unquote(request.cookies.get(NOTICE_COOKIE, ""))
    known = request.headers.get("If-None-Match", "").removeprefix("W/").strip('"')
    rendered = render(answer, asked, frame, tab=tab, notice=notice, known=known)
    headers = {"ETag": f'"{rendered.tag}"', "Cache-Control": "private, no-cache", "Vary": "Cookie, Accept-Language"}
    if rendered.html is None:
        return Response(status_code=304, headers=headers)
    response = Response(rendered.html, status_code=answer.status, media_type="text/html", headers=headers)
    if notice:
        response.delete_cookie(NOTICE_COOKIE)
    return response
