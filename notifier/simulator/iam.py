"""Tokens of IAM and the temporary keys of the metadata service. Pure: time is an argument."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from notifier.simulator.auth import Key
from notifier.simulator.options import Options
from notifier.simulator.replies import SimulatedError, stale_token

DOMAIN_ID = "d78cbac186b744899480f25bd022f468"
"""Id of the account."""
TOKEN_BYTES = 1536
"""Size of a token before encoding, in bytes: 2,048 characters. Real tokens have several kilobytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A request for a token of a project, by id or name, or of none."""

    domain: str
    username: str
    password: str = field(repr=False)
    project_id: str | None = None
    project_name: str | None = None


def parse_login(body: bytes) -> Login:
    """Read a password login. Raises SimulatedError 400 for anything else."""
    try:
        auth = json.loads(body)["auth"]
        identity = auth["identity"]
        user = identity["password"]["user"]
        project = (auth.get("scope") or {}).get("project") or {}
        login = Login(
            domain=user["domain"]["name"],
            username=user["name"],
            password=user["password"],
            project_id=project.get("id"),
            project_name=project.get("name"),
        )
        understood = "password" in identity["methods"]
    except (ValueError, KeyError, TypeError, AttributeError):
        understood, login = False, None
    if not understood or login is None:
        raise SimulatedError(400, "", "The request body is invalid")
    return login


def check_login(login: Login, options: Options, projects: Mapping[str, str]) -> str | None:
    """Return the id of the project of a login; None for a login to the account.

    Raises SimulatedError 401 unless account and password are those of this simulator, and the project is among
    `projects`: the id of each by its name.
    """
    given = (login.domain, login.username, login.password)
    if given != (options.domain, options.username, options.password):
        raise SimulatedError(401, "", "The username or password is wrong.")
    if not (login.project_id or login.project_name):
        return None
    fitting = [
        project_id
        for name, project_id in projects.items()
        if login.project_id in (None, project_id) and login.project_name in (None, name)
    ]
    if not fitting:
        raise SimulatedError(401, "", "The request you have made requires authentication.")
    return fitting[0]


def token_body(
    options: Options, project: tuple[str, str] | None, now: datetime, expires_at: datetime
) -> dict[str, Any]:
    """Return the body of a reply for a project, by id and name, or for the account. The token itself is a header."""
    domain = {"id": DOMAIN_ID, "name": options.domain}
    token: dict[str, Any] = {
        "methods": ["password"],
        "expires_at": timestamp(expires_at),
        "issued_at": timestamp(now),
        "user": {"domain": domain, "id": "7116d09f88fa41908676fdd4b039e95b", "name": options.username},
        "roles": [{"id": "0", "name": "te_agency"}],
    }
    if project:
        token["project"] = {"domain": domain, "id": project[0], "name": project[1]}
    return {"token": token}


def timestamp(time: datetime) -> str:
    """Return a time as IAM writes it: UTC with microseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _opaque(rng: Random, size: int) -> str:
    return base64.urlsafe_b64encode(rng.randbytes(size)).decode()


class Tokens:
    """The issued tokens, each with its expiry and its project; a token of the account has none."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._issued: dict[str, tuple[datetime, str | None]] = {}

    def issue(self, expires_at: datetime, project_id: str | None) -> str:
        """Issue a token. Earlier ones stay valid."""
        token = _opaque(self._rng, TOKEN_BYTES)
        self._issued[token] = (expires_at, project_id)
        return token

    def project_of(self, token: str, now: datetime) -> str | None:
        """Return the project of a token; None for one of the account. Raises SimulatedError 401 for an invalid one."""
        expires_at, project_id = self._issued.get(token, (now, None))
        if now >= expires_at:
            raise stale_token()
        return project_id

    def revoke(self) -> None:
        """Invalidate every token, as a password change does."""
        self._issued.clear()


class Agency:
    """The temporary keys that the metadata service of a cloud server issues."""

    def __init__(self, rng: Random, timeline: timedelta) -> None:
        self._rng = rng
        self._life = timeline
        self.keys: dict[str, Key] = {}
        self._expires_at: datetime | None = None
        self._current: Key | None = None

    def key(self, now: datetime) -> tuple[Key, datetime]:
        """Return the current key and its expiry. A key is replaced in the second half of its lifetime."""
        if self._current is None or self._expires_at is None or self._expires_at - now < self._life / 2:
            self._expires_at = now + self._life
            self._current = self._new(self._expires_at)
            self.keys[self._current.access] = self._current
        return self._current, self._expires_at

    def _new(self, expires_at: datetime) -> Key:
        return Key(
            access=f"HST{self._rng.getrandbits(68):017X}",
            secret=f"{self._rng.getrandbits(160):040x}",
            token=_opaque(self._rng, 384),
            expires_at=expires_at,
        )
