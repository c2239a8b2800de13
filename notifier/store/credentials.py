"""The call budget and the pause of each credential, shared by all sources and replicas that use it."""

from dataclasses import fields
from datetime import timedelta

from sqlalchemy import delete

from notifier.core.credentials import CredentialState
from notifier.store import rows, statements
from notifier.store.schema import credentials
from notifier.store.session import Session
from notifier.store.statements import new_values

UNUSED_CREDENTIAL = timedelta(days=30)
"""A credential without a call for this long is deleted when another one is used for the first time."""

_VALUES = tuple(field.name for field in fields(CredentialState))


class CredentialStates:
    """States of credentials, by a digest of who they stand for."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def state(self, key: str) -> CredentialState:
        """Return what is recorded about a credential; locks its row until the transaction ends."""
        row = self._session.execute(statements.CREDENTIAL, {"key": key}).one_or_none()
        if row is None:
            unused = credentials.c.rate_at < self._session.now() - UNUSED_CREDENTIAL
            self._session.execute(delete(credentials).where(unused))
            self._session.execute(self._session.insert(credentials).values(key=key).on_conflict_do_nothing())
            row = self._session.execute(statements.CREDENTIAL, {"key": key}).one()
        return rows.credential_of(row)

    def save(self, key: str, state: CredentialState) -> None:
        """Record the state of a credential."""
        values = {name: getattr(state, name) for name in _VALUES}  # each poll saves it, and asdict() copies deeply
        self._session.execute(statements.SAVE_CREDENTIAL, new_values(values) | {"of_key": key})
