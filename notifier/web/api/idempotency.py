"""Changes that happen once however often they are asked for: the header `Idempotency-Key`.

The answer is recorded in the transaction of the change, so that a kill leaves both or neither. A change that is refused
is not recorded: it changed nothing, and may be asked for again with the same key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from notifier.ports import StoredAnswer
from notifier.web.access.viewer import Viewer
from notifier.web.api.ports import ApiTx
from notifier.web.api.problems import ApiProblem, refused

KEY_PATTERN: Final = r"^[\x21-\x7e]{1,255}$"
"""What a key looks like: printable ASCII without spaces. A UUID in quotes or without them."""


def key_of(request: Request, viewer: Viewer) -> str | None:
    """Return the digest under which the answer to a request is recorded; None without a key. Raises ApiProblem.

    Two callers who choose the same key do not meet.
    """
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not re.fullmatch(KEY_PATTERN, given, re.ASCII):
        raise refused(
            "header", "Idempotency-Key", "is 1 to 255 printable ASCII characters without spaces, such as a UUID"
        )
    return hashlib.sha256(f"{viewer.person.id}\x1f{viewer.token or ''}\x1f{given}".encode()).hexdigest()


def answer_once(
    tx: ApiTx, key: str | None, fingerprint: str, make: Callable[[], StoredAnswer]
) -> tuple[StoredAnswer, bool]:
    """Return the answer that is recorded for a key, else make and record it; and whether it was recorded before.

    Raises ApiProblem where another request has the key, or is being worked on with it.
    """
    if key is None:
        return make(), False
    if not tx.idempotency.lock(key):
        raise in_progress()
    now = tx.now()
    found = tx.idempotency.find(key, now)
    if found is None:
        made = make()
        tx.idempotency.save(key, made, now)
        return made, False
    if found.fingerprint != fingerprint:
        raise ApiProblem(422, "key-reused", "this Idempotency-Key belongs to another request; use a new one")
    return found, True


def in_progress() -> ApiProblem:
    """Return the error that a request with the same key is being worked on."""
    why = "a request with this Idempotency-Key is in progress; repeat it when that has been answered"
    return ApiProblem(409, "in-progress", why, headers={"Retry-After": "1"})
