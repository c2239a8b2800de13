"""Answers of the API that a request with the same key gets again."""

from datetime import datetime, timedelta
from typing import Final

from notifier.ports import StoredAnswer
from notifier.store import statements
from notifier.store.session import Session

KEPT_FOR: Final = timedelta(hours=24)
"""How long an answer is kept."""


class IdempotencyKeys:
    """Finds and records answers, in the transaction of what they answer: a kill leaves both or neither."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def lock(self, key: str) -> bool:
        """Return whether no other transaction works on this key; none does from then on until this one ends.

        `key` is a digest in hexadecimal digits.
        """
        if not self._session.is_postgresql:  # one transaction writes at a time
            return True
        number = int.from_bytes(bytes.fromhex(key)[:8], signed=True)
        return bool(self._session.execute(statements.LOCK_IDEMPOTENCY_KEY, {"number": number}).scalar())

    def find(self, key: str, now: datetime) -> StoredAnswer | None:
        """Return the answer that was recorded for a key; None without one, or where it is a day old."""
        row = self._session.execute(statements.IDEMPOTENCY_KEY, {"key": key}).one_or_none()
        if row is None or row.created_at < now - KEPT_FOR:
            return None
        return StoredAnswer(fingerprint=row.fingerprint, status=row.status, body=row.body)

    def save(self, key: str, answer: StoredAnswer, now: datetime) -> None:
        """Record the answer for a locked key, and delete those that are a day old."""
        self._session.execute(statements.DROP_IDEMPOTENCY_KEYS, {"before": now - KEPT_FOR})
        values = {"key": key, "fingerprint": answer.fingerprint, "status": answer.status, "body": answer.body}
        self._session.execute(statements.RECORD_IDEMPOTENCY_KEY, values | {"created_at": now})
