"""Sessions of browsers and tokens of the API."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, or_, select, update

from notifier.core.access import LONGEST_IDLE, ApiToken, WebSession
from notifier.store import rows
from notifier.store.schema import api_tokens, web_sessions
from notifier.store.session import Session
from notifier.store.statements import recorded

_SESSION = select(web_sessions).where(web_sessions.c.id == bindparam("of_id"))
_TOKEN = select(api_tokens).where(api_tokens.c.digest == bindparam("of_digest"))
_KNOWN_ADDRESS = select(web_sessions.c.id).where(web_sessions.c.address == bindparam("of_address")).limit(1)
_SAVE_SESSION, _SAVE_TOKEN = recorded(web_sessions), recorded(api_tokens)


class StoredAccess:
    """Reads of sessions and tokens."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def session(self, session_id: str) -> WebSession | None:
        """Return a session."""
        row = self._session.execute(_SESSION, {"of_id": session_id}).one_or_none()
        return None if row is None else rows.session_of(row)

    def sessions(self) -> Sequence[WebSession]:
        """Return the sessions, the one used last first."""
        ordered = select(web_sessions).order_by(web_sessions.c.seen_at.desc(), web_sessions.c.id)
        return [rows.session_of(row) for row in self._session.execute(ordered)]

    def is_known(self, address: str) -> bool:
        """Return whether somebody has a session that was used from an address."""
        return self._session.execute(_KNOWN_ADDRESS, {"of_address": address}).first() is not None

    def token(self, digest: str) -> ApiToken | None:
        """Return the token with this digest."""
        row = self._session.execute(_TOKEN, {"of_digest": digest}).one_or_none()
        return None if row is None else rows.token_of(row)

    def tokens(self) -> Sequence[ApiToken]:
        """Return the tokens, the newest first."""
        ordered = select(api_tokens).order_by(api_tokens.c.created_at.desc(), api_tokens.c.id)
        return [rows.token_of(row) for row in self._session.execute(ordered)]


class AccessRecord:
    """Writes of sessions and tokens."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def save_session(self, session: WebSession) -> None:
        """Record a new session."""
        self._session.execute(_SAVE_SESSION, rows.session_values(session))

    def touch_session(self, session_id: str, now: datetime, address: str) -> None:
        """Record that a session was used."""
        used = update(web_sessions).where(web_sessions.c.id == session_id)
        self._session.execute(used.values(seen_at=now, address=address))

    def end_sessions(self, ids: Collection[str]) -> Sequence[WebSession]:
        """Delete sessions; return those that were there."""
        ended = delete(web_sessions).where(web_sessions.c.id.in_(list(ids))).returning(*web_sessions.columns)
        return [rows.session_of(row) for row in self._session.execute(ended)] if ids else []

    def save_token(self, token: ApiToken) -> None:
        """Record a new token."""
        self._session.execute(_SAVE_TOKEN, rows.token_values(token))

    def touch_token(self, token_id: str, now: datetime) -> None:
        """Record that a token was used."""
        self._session.execute(update(api_tokens).where(api_tokens.c.id == token_id).values(used_at=now))

    def revoke_token(self, token_id: str) -> bool:
        """Delete a token; return whether it was there."""
        return self._session.execute(delete(api_tokens).where(api_tokens.c.id == token_id)).rowcount == 1

    def drop_ended(self, now: datetime, idle: timedelta) -> None:
        """Delete the sessions that have ended by themselves: they are too old, or were not used for `idle`."""
        over = or_(web_sessions.c.ends_at <= now, web_sessions.c.seen_at <= now - idle)
        self._session.execute(delete(web_sessions).where(over))

    def prune(self, before: datetime) -> int:
        """Delete sessions that ended before a time at the latest, and tokens that expired; return how many."""
        ended = or_(web_sessions.c.ends_at < before, web_sessions.c.seen_at < before - LONGEST_IDLE)
        expired = api_tokens.c.expires_at < before
        old = (delete(web_sessions).where(ended), delete(api_tokens).where(expired))
        return sum(self._session.execute(statement).rowcount for statement in old)
