"""Sessions: the browsers in which people are signed in, and the tokens of the API."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from gettext import NullTranslations

from notifier import access
from notifier.core.access import ApiToken, SignedInBy, WebSession
from notifier.web.access.viewer import AccessRole, Viewer
from notifier.web.catalogues import translations
from notifier.web.ports import WebReads, WebTx
from notifier.web.requests import ActionRoute, Page, PageRequest, PageRoute, Redirect

SESSIONS_PATH = "/sessions"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One browser."""

    id: str
    name: str
    how: SignedInBy
    browser: str
    address: str
    created_at: datetime
    seen_at: datetime
    ends_at: datetime
    current: bool
    """Whether it is the one that asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One token of the API."""

    id: str
    name: str
    scopes: tuple[str, ...]
    by: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    expired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsView:
    """What the page shows."""

    mine: tuple[SessionRow, ...]
    others: tuple[SessionRow, ...]
    """Those of others; empty for somebody who may not end them."""
    tokens: tuple[TokenRow, ...]
    """Empty for somebody who may not revoke them."""


def read_sessions(request: PageRequest, q: WebReads) -> Page:
    """Return the page."""
    now = q.now()
    live = [one for one in q.access.sessions() if one.ends_at > now]
    mine = [one for one in live if _is_own(one, request.viewer)]
    administers = request.viewer.may_administer
    view = SessionsView(
        mine=tuple(_row(one, request.viewer) for one in mine),
        others=tuple(_row(one, request.viewer) for one in live if one not in mine) if administers else (),
        tokens=tuple(_token_row(one, now) for one in q.access.tokens()) if administers else (),
    )
    return Page(template="sessions.html", view=view)


def end_session(request: PageRequest, tx: WebTx) -> Redirect:
    """End one session: one's own, or for an administrator any."""
    words, wanted = _words(request), request.field("session")
    session = tx.queries.access.session(wanted)
    if session is None:
        return Redirect(to=SESSIONS_PATH, notice=words.gettext("That session had ended already."))
    if not (_is_own(session, request.viewer) or request.viewer.may_administer):
        return Redirect(to=SESSIONS_PATH, notice=words.gettext("Only an administrator ends sessions of others."))
    access.end_session(tx, wanted, request.viewer.person)
    return Redirect(to=SESSIONS_PATH, notice=words.gettext("The session has ended."))


def end_own_sessions(request: PageRequest, tx: WebTx) -> Redirect:
    """End all sessions of the one who asks, in every browser."""
    return _end_all([one for one in tx.queries.access.sessions() if _is_own(one, request.viewer)], request, tx)


def end_sessions_of(request: PageRequest, tx: WebTx) -> Redirect:
    """End all sessions with a name."""
    name = request.field("name")
    return _end_all([one for one in tx.queries.access.sessions() if one.name == name], request, tx)


def _end_all(found: Sequence[WebSession], request: PageRequest, tx: WebTx) -> Redirect:
    for one in found:
        access.end_session(tx, one.id, request.viewer.person)
    words, count = _words(request), len(found)
    notice = words.ngettext("%(count)s session has ended.", "%(count)s sessions have ended.", count)
    return Redirect(to=SESSIONS_PATH, notice=notice % {"count": count})


def revoke_token(request: PageRequest, tx: WebTx) -> Redirect:
    """Revoke a token of the API."""
    words, wanted = _words(request), request.field("token")
    if all(one.id != wanted for one in tx.queries.access.tokens()):
        return Redirect(to=SESSIONS_PATH, notice=words.gettext("That token had been revoked already."))
    revoked = access.revoke_token(tx, wanted, request.viewer.person)
    notice = words.gettext("The token %(name)s is revoked.") % {"name": revoked.name}
    return Redirect(to=SESSIONS_PATH, notice=notice)


def _is_own(session: WebSession, viewer: Viewer) -> bool:
    """Return whether a session is of the one who asks. A screen on a wall has none to end."""
    return viewer.how == session.how.value and viewer.person.name == session.name and viewer.how != "kiosk"


def _row(session: WebSession, viewer: Viewer) -> SessionRow:
    return SessionRow(
        id=session.id,
        name=session.name,
        how=session.how,
        browser=session.browser,
        address=session.address,
        created_at=session.created_at,
        seen_at=session.seen_at,
        ends_at=session.ends_at,
        current=session.id == viewer.session,
    )


def _token_row(token: ApiToken, now: datetime) -> TokenRow:
    return TokenRow(
        id=token.id,
        name=token.name,
        scopes=tuple(sorted(token.scopes)),
        by=token.by_name,
        created_at=token.created_at,
        expires_at=token.expires_at,
        used_at=token.used_at,
        expired=token.expires_at is not None and now >= token.expires_at,
    )


def _words(request: PageRequest) -> NullTranslations:
    return translations(request.language)


routes = (
    PageRoute(path=SESSIONS_PATH, read=read_sessions),
    ActionRoute(path=f"{SESSIONS_PATH}/end", act=end_session, role=AccessRole.READ),
    ActionRoute(path=f"{SESSIONS_PATH}/end-own", act=end_own_sessions, role=AccessRole.READ),
    ActionRoute(path=f"{SESSIONS_PATH}/end-all", act=end_sessions_of, role=AccessRole.ADMIN),
    ActionRoute(path=f"{SESSIONS_PATH}/revoke", act=revoke_token, role=AccessRole.ADMIN),
)
