"""Finds out who asks: by a token, by the proxy, or by the cookie of a session. Roles follow from the configuration."""

import hmac
import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Final
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from notifier import access
from notifier.access import AccessReads, AccessTx
from notifier.core.access import (
    SECRET_BYTES,
    SEEN_EVERY,
    ApiToken,
    SignedInBy,
    TokenScope,
    WebSession,
    digest_of,
    is_expired,
    is_over,
    is_token,
    proof_of,
)
from notifier.core.people import Person
from notifier.ports import Store
from notifier.web.access.addresses import client_of, is_forwarded
from notifier.web.access.browsers import describe_browser
from notifier.web.access.names import person_of
from notifier.web.access.paths import is_for_programs, login_address, safe_next, wanted_page
from notifier.web.access.proxy import Spoofed, viewer_by_proxy
from notifier.web.access.rules import KIOSK_NAME, AccessRules
from notifier.web.access.viewer import LOCAL_VIEWER, AccessRole, Viewer
from notifier.web.security import bearer_of

log = structlog.get_logger("notifier.web")

COOKIE_LASTS: Final = 400 * 86_400
"""Longest time that browsers keep a cookie, in seconds. The session decides when it is over."""
_ROLES = {TokenScope.READ: AccessRole.READ, TokenScope.ACT: AccessRole.ACT, TokenScope.ADMIN: AccessRole.ADMIN}

_FORWARDED: Final = (
    "This page is open to its own machine alone, and this request came through a proxy. Set web.password, web.users,"
    " web.proxy or web.oidc, so that people can sign in."
)

Outsider = Callable[[Request, Viewer], Response]
"""Returns the page for somebody who is signed in and may see nothing."""


class SiteAccess:
    """Finds out who asks."""

    def __init__(self, rules: AccessRules, store: Store[AccessTx, AccessReads], outsider: Outsider) -> None:
        """`outsider` returns the page for somebody who is signed in and may see nothing."""
        self.rules = rules
        self._store = store
        self._outsider = outsider
        self._spoofed = False
        self._forwarded = False

    async def viewer(self, request: Request) -> Viewer | Response:
        """Return who asks; a response where nobody may be let in."""
        if (token := bearer_of(request.headers)) is not None:
            return await self._by_token(token) or _unauthorized("The token is not valid.")
        if kiosk := await self._by_kiosk_token(request):
            return kiosk
        if self.rules.open:
            return self._through_a_proxy() if is_forwarded(request) else LOCAL_VIEWER
        found = self._by_proxy(request) or await self._by_session(request)
        if found is None:
            return self._ask(request)
        if found.role is AccessRole.NONE:
            return (
                _forbidden("Your groups have no role.") if is_for_programs(request) else self._outsider(request, found)
            )
        return found

    def _through_a_proxy(self) -> Response:
        """Refuse a request of which nobody knows where it comes from, where nothing else is asked for."""
        if not self._forwarded:
            self._forwarded = True
            log.warning("web.forwarded_refused", hint=_FORWARDED)
        return PlainTextResponse(f"{_FORWARDED}\n", status_code=403)

    def _ask(self, request: Request) -> Response:
        if is_for_programs(request):
            return _unauthorized("Send a token of the API, or sign in on the page.")
        return RedirectResponse(login_address(wanted_page(request)), status_code=303, headers={"Vary": "Cookie"})

    # ---- tokens ----

    async def _by_token(self, secret: str) -> Viewer | None:
        if not is_token(secret):
            return None

        def find(q: AccessReads) -> tuple[ApiToken | None, datetime]:
            return q.access.token(digest_of(secret)), q.now()

        token, now = await self._store.read(find)
        if token is None or is_expired(token, now):
            return None
        if token.used_at is None or now >= token.used_at + SEEN_EVERY:
            await self._store.transact(lambda tx: access.touch_token(tx, token), short=True)
        role = max((_ROLES[scope] for scope in token.scopes if scope in _ROLES), default=AccessRole.NONE)
        person = Person(id=f"token:{token.name}", name=token.name)
        return Viewer(person=person, role=role, how="token", scopes=token.scopes, token=token.id)

    # ---- the proxy ----

    def _by_proxy(self, request: Request) -> Viewer | None:
        found = viewer_by_proxy(request, self.rules.proxy) if self.rules.proxy else None
        if isinstance(found, Spoofed):
            if not self._spoofed:
                self._spoofed = True
                hint = (
                    "headers of a proxy are believed from web.proxy.from alone; add its address, or ask who sends them"
                )
                log.warning("web.proxy_header_ignored", address=found.address, hint=hint)
            return None
        return found

    # ---- sessions ----

    async def session_of(self, request: Request) -> tuple[WebSession, AccessRole] | None:
        """Return the session of a request's cookie with the role that it has now; None where it is over."""
        secret = request.cookies.get(self.rules.cookie, "")
        if not secret:
            return None

        def find(q: AccessReads) -> tuple[WebSession | None, datetime]:
            return q.access.session(digest_of(secret)), q.now()

        session, now = await self._store.read(find)
        if session is None or is_over(session, now, self.rules.idle_of(session.how)):
            return None
        role = self.rules.role_of(session, secret)
        if role is None:
            return None
        if now >= session.seen_at + SEEN_EVERY:
            address = client_of(request, self.rules.trusted)
            await self._store.transact(lambda tx: access.touch_session(tx, session.id, address), short=True)
        return session, role

    async def _by_session(self, request: Request) -> Viewer | None:
        found = await self.session_of(request)
        if found is None:
            return None
        session, role = found
        return Viewer(person=person_of(session.name), role=role, how=session.how.value, session=session.id)

    async def begin(
        self, request: Request, how: SignedInBy, name: str, groups: tuple[str, ...] = ()
    ) -> tuple[str, WebSession]:
        """Begin a session for somebody who has shown who they are; return the secret for its cookie.

        The secret is always a new one: whatever cookie the browser had before is worth nothing.
        """
        secret, rules = secrets.token_urlsafe(SECRET_BYTES), self.rules
        credential = rules.credential_of(how, name)
        if credential is None:
            raise ValueError(f"nobody can sign in by {how} as this name")
        address, browser = client_of(request, rules.trusted), describe_browser(request.headers.get("user-agent", ""))

        def record(tx: AccessTx) -> WebSession:
            now = tx.now()
            session = WebSession(
                id=digest_of(secret),
                name=name,
                how=how,
                groups=groups,
                proof=proof_of(secret, credential),
                created_at=now,
                seen_at=now,
                ends_at=now + rules.lasts(how),
                address=address,
                browser=browser,
            )
            access.sign_in(tx, session, person_of(name), rules.idle_of(SignedInBy.KIOSK))
            return session

        return secret, await self._store.transact(record)

    def remember(self, response: Response, secret: str) -> None:
        """Give the cookie of a session to a browser."""
        response.set_cookie(
            self.rules.cookie, secret, max_age=COOKIE_LASTS, secure=self.rules.secure, httponly=True, samesite="lax"
        )

    def forget(self, response: Response) -> None:
        """Take the cookie of a session from a browser."""
        response.delete_cookie(self.rules.cookie, secure=self.rules.secure, httponly=True, samesite="lax")

    # ---- screens on walls ----

    async def _by_kiosk_token(self, request: Request) -> Response | None:
        """Begin the session of a screen that was opened with the token, and lead on without it in the address.

        Whoever is signed in stays so.
        """
        given, token = request.query_params.get("kiosk", ""), self.rules.kiosk_token
        if not given or request.method != "GET" or is_for_programs(request):
            return None
        rest = [(name, value) for name, value in request.query_params.multi_items() if name != "kiosk"]
        address = safe_next(f"{request.url.path}?{urlencode([*rest, ('kiosk', '')])}")
        response = RedirectResponse(address, status_code=303)
        if token is None or not hmac.compare_digest(given.encode(), token.encode()):
            return response  # and so the address with something that may be a token is shown and kept nowhere
        if not self.rules.open and await self.session_of(request) is None:
            secret, _ = await self.begin(request, SignedInBy.KIOSK, KIOSK_NAME)
            self.remember(response, secret)
        return response


def _unauthorized(detail: str) -> Response:
    response = _problem(401, "Unauthorized", detail)
    response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _forbidden(detail: str) -> Response:
    return _problem(403, "Forbidden", detail)


def _problem(status: int, title: str, detail: str) -> Response:
    """Return a problem (RFC 9457)."""
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(content, status_code=status, media_type="application/problem+json")
