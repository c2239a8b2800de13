"""The pages to sign in and out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Final, Literal, TypeAlias
from urllib.parse import parse_qs

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from notifier import access
from notifier.access import AccessReads, AccessTx
from notifier.chat.endpoints import InvalidRequest, read_body
from notifier.core.access import SignedInBy, digest_of
from notifier.core.errors import StoreError
from notifier.logs import RejectionLog
from notifier.ports import Clock, Store
from notifier.web.access.addresses import client_of
from notifier.web.access.checker import PasswordChecker, TooManyWaiting
from notifier.web.access.gate import SiteAccess
from notifier.web.access.names import clean_name, person_of
from notifier.web.access.oidc import FLOW_LASTS, OidcClient, OidcFlow, OidcProblem, OidcRefused
from notifier.web.access.paths import HOME, LOGIN, LOGOUT, safe_next
from notifier.web.access.rules import AccessRules
from notifier.web.access.throttle import LoginThrottle
from notifier.web.access.viewer import AccessRole, Viewer
from notifier.web.parts import WebRules
from notifier.web.preferences import YEAR, chosen, without_choices
from notifier.web.rendering import render_alone
from notifier.web.requests import Page, page_request

log = structlog.get_logger("notifier.web")

VISITOR: Final = Viewer(person=person_of("nobody"), role=AccessRole.NONE)
"""Whoever sees the login page."""
OIDC_START: Final = f"{LOGIN}/oidc"
OIDC_CALLBACK: Final = f"{LOGIN}/oidc/callback"
MAX_LOGIN_FIELDS: Final = 10
MAX_RECORDED: Final = 20
"""Number of refused sign-ins that are recorded as actions within RECORDED_WITHIN; the log counts the others."""
RECORDED_WITHIN: Final = 600.0

LoginProblem: TypeAlias = Literal["", "wrong", "no_name", "slow", "busy", "database"] | OidcProblem
"""Why somebody is not signed in; empty before they try."""
_STATUS: Mapping[str, int] = {"": 200, "slow": 429, "busy": 503, "database": 503, "no_name": 422, "provider": 502}
"""The status of the login page with a problem; 403 for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginView:
    """What the login page shows."""

    next: str
    """Where to lead afterwards."""
    name: str = ""
    """What was typed."""
    problem: LoginProblem = ""
    wait: int = 0
    """Seconds after which the next try is accepted."""
    form: bool = True
    """Whether people can sign in with a password."""
    shared: bool = False
    """Whether people type a name of their own choice, because all share a password."""
    provider: str = ""
    """Name of the provider where people can sign in; empty where there is none."""
    signed_out: bool = False
    provider_logout: str | None = None
    """Where somebody who has signed out here signs out at the provider too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoleView:
    """What somebody sees who is signed in and may see nothing."""

    name: str


class SignInPages:
    """Signs people in and out."""

    def __init__(
        self,
        site: SiteAccess,
        store: Store[AccessTx, AccessReads],
        web: WebRules,
        clock: Clock,
        oidc: OidcClient | None = None,
    ) -> None:
        self._site = site
        self._store = store
        self._web = web
        self._seconds: Callable[[], float] = clock.monotonic
        self._oidc = oidc
        self._throttle = LoginThrottle()
        self._checker = PasswordChecker()
        self._refusals = RejectionLog("web.sign_in_refused", logger="notifier.web", seconds=clock.monotonic)
        self._recorded: list[float] = []

    def routes(self) -> Sequence[Route]:
        """Return the routes. Everybody may ask for them."""
        found = [(LOGIN, self._show, "GET"), (LOGIN, self._sign_in, "POST"), (LOGOUT, self._sign_out, "POST")]
        if self._oidc:
            found += [(OIDC_START, self._begin_oidc, "GET"), (OIDC_CALLBACK, self._finish_oidc, "GET")]
        return [Route(path, partial(self._answer, answer), methods=[method]) for path, answer, method in found]

    async def _answer(self, answer: Callable[[Request], Awaitable[Response]], request: Request) -> Response:
        try:
            return await answer(request)
        except StoreError as error:
            log.warning("web.store_failed", path=request.url.path, error=str(error))
            return self._page(request, HOME, problem="database")

    @property
    def _rules(self) -> AccessRules:
        return self._site.rules

    # ---- passwords ----

    async def _show(self, request: Request) -> Response:
        if choices := chosen(request.query_params):
            response: Response = RedirectResponse(
                without_choices(request.url.path, request.query_params), status_code=303
            )
            for name, value in choices.items():
                response.set_cookie(name, value, max_age=YEAR, httponly=True, samesite="lax")
            return response
        next_ = safe_next(request.query_params.get("next", HOME))
        found = None if self._rules.open else await self._site.session_of(request)
        if self._rules.open or (found and found[1] is not AccessRole.NONE):
            return RedirectResponse(next_, status_code=303)
        signed_out = "out" in request.query_params
        logout = self._oidc.logout_address() if self._oidc and signed_out else None
        return self._page(request, next_, signed_out=signed_out, provider_logout=logout)

    async def _sign_in(self, request: Request) -> Response:
        try:
            form = parse_qs((await read_body(request)).decode(), max_num_fields=MAX_LOGIN_FIELDS)
        except InvalidRequest as error:
            return Response(status_code=error.status)
        except ValueError:
            return Response(status_code=400)
        typed, password = form.get("name", [""])[-1], form.get("password", [""])[-1]
        next_ = safe_next(form.get("next", [HOME])[-1])
        name = clean_name(typed)
        if not self._rules.takes_passwords:
            return self._page(request, next_, status=404)
        if name is None:
            return self._page(request, next_, problem="no_name")
        return await self._try(request, name, password, next_)

    async def _try(self, request: Request, name: str, password: str, next_: str) -> Response:
        address, now = client_of(request, self._rules.trusted), self._seconds()
        known = await self._store.read(lambda q: q.access.is_known(address))
        if wait := self._throttle.wait_of(address, now, known=known):
            return self._slow(request, next_, name, wait)
        try:
            how = await self._way_in(name, password)
        except TooManyWaiting:
            self._throttle.give_back(address, now, known=known)
            self._refusals.count("busy")
            return self._page(request, next_, name=name, problem="busy")
        if how is None:
            await self._record_refusal(request, name)
            return self._page(request, next_, name=name, problem="wrong")
        self._throttle.give_back(address, self._seconds(), known=known)
        user = self._rules.user(name)
        return await self._begin(request, how, user.name if user else name, (), next_)

    def _slow(self, request: Request, next_: str, name: str, wait: float) -> Response:
        self._refusals.count("too many tries")
        found = self._page(request, next_, name=name, problem="slow", wait=ceil(wait))
        found.headers["Retry-After"] = str(ceil(wait))
        return found

    async def _way_in(self, name: str, password: str) -> SignedInBy | None:
        """Return how a name and a password let somebody in; None where they do not.

        A name that has a password of its own is never let in with the shared one: it would be somebody else.
        """
        if user := self._rules.user(name):
            return SignedInBy.USER if await self._checker.accepts(user.password, password) else None
        if self._rules.users:  # so that an unknown name takes as long as a known one
            await self._checker.accepts(next(iter(self._rules.users.values())).password, password)
        if self._rules.password and await self._checker.accepts(self._rules.password, password):
            return SignedInBy.PASSWORD
        return None

    async def _begin(
        self, request: Request, how: SignedInBy, name: str, groups: tuple[str, ...], next_: str
    ) -> Response:
        """Begin a session with a new secret, and end the one that the browser had."""
        secret, _ = await self._site.begin(request, how, name, groups)
        if before := request.cookies.get(self._rules.cookie):
            await self._store.transact(lambda tx: tx.access.end_sessions([digest_of(before)]), short=True)
        response = RedirectResponse(next_, status_code=303)
        self._site.remember(response, secret)
        return response

    async def _record_refusal(self, request: Request, name: str) -> None:
        """Record a refused sign-in, unless many were recorded lately.

        A name that nobody has is not recorded: people type their password into the wrong field.
        """
        self._refusals.count("wrong name or password")
        now = self._seconds()
        self._recorded = [at for at in self._recorded if now - at < RECORDED_WITHIN]
        if len(self._recorded) < MAX_RECORDED:
            self._recorded.append(now)
            user, address = self._rules.user(name), client_of(request, self._rules.trusted)
            await self._store.transact(lambda tx: access.refuse_sign_in(tx, user.name if user else None, address))

    # ---- signing out ----

    async def _sign_out(self, request: Request) -> Response:
        found = await self._site.session_of(request)
        if found is not None:
            session = found[0]
            await self._store.transact(lambda tx: access.sign_out(tx, session.id, person_of(session.name)))
        response = RedirectResponse(f"{LOGIN}?out=1", status_code=303, headers={"Clear-Site-Data": '"cache"'})
        self._site.forget(response)
        return response

    # ---- the provider ----

    @property
    def _flow_cookie(self) -> str:
        return f"{self._rules.cookie}-oidc"

    async def _begin_oidc(self, request: Request) -> Response:
        flow = OidcFlow.begun(safe_next(request.query_params.get("next", HOME)))
        try:
            address = await self._provider.begin(flow)
        except OidcRefused as error:
            return self._refuse_oidc(request, error, flow.next)
        response = RedirectResponse(address, status_code=303)
        response.set_cookie(
            self._flow_cookie,
            flow.cookie,
            max_age=FLOW_LASTS,
            secure=self._rules.secure,
            httponly=True,
            samesite="lax",
        )
        return response

    async def _finish_oidc(self, request: Request) -> Response:
        """Finish signing in. Failures count as tries, for each costs a request to the provider."""
        flow = OidcFlow.parse(request.cookies.get(self._flow_cookie, ""))
        next_ = flow.next if flow else HOME
        address, now = client_of(request, self._rules.trusted), self._seconds()
        known = await self._store.read(lambda q: q.access.is_known(address))
        if wait := self._throttle.wait_of(address, now, known=known):
            return self._slow(request, next_, "", wait)
        try:
            found = await self._provider.finish(flow, request.query_params)
        except OidcRefused as error:
            response = self._refuse_oidc(request, error, next_)
        else:
            self._throttle.give_back(address, self._seconds(), known=known)
            response = await self._begin(request, SignedInBy.OIDC, found.name, found.groups, found.next)
        response.delete_cookie(self._flow_cookie, secure=self._rules.secure, httponly=True, samesite="lax")
        return response

    def _refuse_oidc(self, request: Request, error: OidcRefused, next_: str) -> Response:
        self._refusals.count(f"provider: {error.problem}")
        if error.problem in ("provider", "token", "name") and not error.repeated:
            log.warning("web.oidc_failed", problem=error.problem, error=str(error))
        return self._page(request, next_, problem=error.problem)

    @property
    def _provider(self) -> OidcClient:
        if self._oidc is None:
            raise ValueError("no provider is configured")
        return self._oidc

    # ---- the page ----

    def _page(
        self,
        request: Request,
        next_: str,
        *,
        name: str = "",
        problem: LoginProblem = "",
        wait: int = 0,
        signed_out: bool = False,
        provider_logout: str | None = None,
        status: int | None = None,
    ) -> Response:
        view = LoginView(
            next=next_,
            name=name,
            problem=problem,
            wait=wait,
            form=self._rules.takes_passwords,
            shared=self._rules.password is not None,
            provider=self._rules.oidc.label if self._oidc and self._rules.oidc else "",
            signed_out=signed_out,
            provider_logout=provider_logout,
        )
        return outside_page(
            request,
            self._web,
            Page(template="access_login.html", view=view),
            VISITOR,
            status or _STATUS.get(problem, 403),
        )


def outside_page(request: Request, web: WebRules, page: Page, viewer: Viewer, status: int) -> Response:
    """Return a page for somebody who may not see the others."""
    html = render_alone(page, page_request(request, web, viewer))
    return Response(html, status_code=status, media_type="text/html", headers={"Cache-Control": "no-store"})


def without_role(web: WebRules) -> Callable[[Request, Viewer], Response]:
    """Return what makes the page for somebody who is signed in and may see nothing."""

    def page(request: Request, viewer: Viewer) -> Response:
        view = NoRoleView(name=viewer.person.name)
        return outside_page(request, web, Page(template="access_no_role.html", view=view), viewer, 403)

    return page
