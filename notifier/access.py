"""Who is signed in, and the tokens of the API: what people do with both, recorded as all that they do.

Each function is one act inside the caller's transaction. The page and the command line call these.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from notifier.core.access import SEEN_EVERY, ApiToken, WebSession
from notifier.core.errors import NotifierError
from notifier.core.people import Action, Person, Verb
from notifier.ports import DatabaseTime


class SessionReads(Protocol):
    """Reads of sessions and tokens."""

    def session(self, session_id: str) -> WebSession | None:
        """Return a session."""

    def sessions(self) -> Sequence[WebSession]:
        """Return the sessions, the one used last first."""

    def is_known(self, address: str) -> bool:
        """Return whether somebody has a session that was used from an address."""

    def token(self, digest: str) -> ApiToken | None:
        """Return the token with this digest."""

    def tokens(self) -> Sequence[ApiToken]:
        """Return the tokens, the newest first."""


class AccessReads(Protocol):
    """One consistent view of the database."""

    def now(self) -> datetime:
        """Return the time of the database."""

    @property
    def access(self) -> SessionReads:
        """Reads of sessions and tokens."""


class AccessRecords(Protocol):
    """Writes of sessions and tokens."""

    def save_session(self, session: WebSession) -> None:
        """Record a new session."""

    def touch_session(self, session_id: str, now: datetime, address: str) -> None:
        """Record that a session was used."""

    def end_sessions(self, ids: Collection[str]) -> Sequence[WebSession]:
        """Delete sessions; return those that were there."""

    def drop_ended(self, now: datetime, idle: timedelta) -> None:
        """Delete the sessions that have ended by themselves: they are too old, or were not used for `idle`."""

    def save_token(self, token: ApiToken) -> None:
        """Record a new token."""

    def touch_token(self, token_id: str, now: datetime) -> None:
        """Record that a token was used."""

    def revoke_token(self, token_id: str) -> bool:
        """Delete a token; return whether it was there."""


class ActionRecord(Protocol):
    """The record of actions."""

    def record_action(self, action: Action) -> None:
        """Record an action of a person."""


class AccessTx(DatabaseTime, Protocol):
    """The parts of a transaction that these functions use."""

    @property
    def queries(self) -> AccessReads:
        """The reads."""

    @property
    def access(self) -> AccessRecords:
        """Sessions and tokens."""

    @property
    def people(self) -> ActionRecord:
        """The record of actions."""


UNKNOWN = Person(id="web:unknown", name="unknown")
"""Somebody who has not shown who they are."""

MAX_SESSIONS = 50
"""Maximum number of sessions with one name. A further one ends the one that was used least lately."""


# ---- sessions ----


def sign_in(tx: AccessTx, session: WebSession, by: Person, idle: timedelta) -> None:
    """Begin a session. Sessions that have ended meanwhile, such as those that nobody used for `idle`, are deleted."""
    tx.access.drop_ended(tx.now(), idle)
    theirs = [one.id for one in tx.queries.access.sessions() if (one.name, one.how) == (session.name, session.how)]
    tx.access.end_sessions(theirs[MAX_SESSIONS - 1 :])
    tx.access.save_session(session)
    _record(tx, by, Verb.SIGN_IN, session.address, str(session.how))


def refuse_sign_in(tx: AccessTx, name: str | None, address: str) -> None:
    """Record that somebody could not sign in as a user of this name, or with a name that nobody has.

    The caller limits how often.
    """
    _record(tx, UNKNOWN, Verb.REFUSE_SIGN_IN, name or "unknown name", address)


def sign_out(tx: AccessTx, session_id: str, by: Person) -> None:
    """End the session of somebody who asks for it."""
    for ended in tx.access.end_sessions([session_id]):
        _record(tx, by, Verb.SIGN_OUT, ended.address)


def end_session(tx: AccessTx, session_id: str, by: Person) -> WebSession | None:
    """End a session, whosever it is; return it, or None where it has ended already."""
    ended = next(iter(tx.access.end_sessions([session_id])), None)
    if ended is not None:
        _record(tx, by, Verb.END_SESSION, ended.name, f"{ended.browser}, {ended.address}")
    return ended


def end_sessions_of(tx: AccessTx, name: str, by: Person) -> int:
    """End all sessions with a name; return how many."""
    theirs = [one.id for one in tx.queries.access.sessions() if one.name == name]
    count = len(tx.access.end_sessions(theirs))
    if count:
        _record(tx, by, Verb.END_SESSION, name, f"{count} {'session' if count == 1 else 'sessions'}")
    return count


def touch_session(tx: AccessTx, session_id: str, address: str) -> None:
    """Record that a session is used, unless that was recorded a moment ago."""
    session, now = tx.queries.access.session(session_id), tx.now()
    if session is not None and now >= session.seen_at + SEEN_EVERY:
        tx.access.touch_session(session_id, now, address)


# ---- tokens ----


def create_token(tx: AccessTx, token: ApiToken, by: Person) -> None:
    """Record a new token. Raises NotifierError where another one has the name."""
    if any(other.name == token.name for other in tx.queries.access.tokens()):
        raise NotifierError(f"a token is called {token.name!r} already; revoke it first, or choose another name")
    tx.access.save_token(token)
    _record(tx, by, Verb.CREATE_TOKEN, token.name, " ".join(sorted(token.scopes)))


def revoke_token(tx: AccessTx, wanted: str, by: Person) -> ApiToken:
    """Delete the token with this id or name, and return it. Raises NotifierError where there is none."""
    found = next((one for one in tx.queries.access.tokens() if wanted in (one.id, one.name)), None)
    if found is None:
        raise NotifierError(f"no token has the id or the name {wanted!r}; see `notifier token list`")
    tx.access.revoke_token(found.id)
    _record(tx, by, Verb.REVOKE_TOKEN, found.name, found.id)
    return found


def touch_token(tx: AccessTx, token: ApiToken) -> None:
    """Record that a token is used, unless that was recorded a moment ago."""
    now = tx.now()
    if token.used_at is None or now >= token.used_at + SEEN_EVERY:
        tx.access.touch_token(token.id, now)


def _record(tx: AccessTx, by: Person, verb: Verb, target: str, detail: str | None = None) -> None:
    tx.people.record_action(Action(at=tx.now(), by=by.id, name=by.name, verb=verb, target=target, detail=detail))
