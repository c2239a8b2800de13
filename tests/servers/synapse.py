"""A real Synapse on loopback: a Matrix homeserver without federation."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from servers.processes import ServerProcess, free_port, server_process, server_python

SHARED_SECRET = "obviously-fake"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixUser:
    """A user who is logged in on one device."""

    id: str
    device: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Synapse:
    """A homeserver. Its name is `localhost`."""

    url: str
    process: ServerProcess

    def register(self, name: str, device: str = "D1") -> MatrixUser:
        """Make a user and log it in on a device."""
        path = "/_synapse/admin/v1/register"
        nonce = self.call("GET", path)["nonce"]
        text = f"{nonce}\0{name}\0{name}\0notadmin".encode()
        mac = hmac.new(SHARED_SECRET.encode(), text, "sha1").hexdigest()
        self.call("POST", path, {"nonce": nonce, "username": name, "password": name, "admin": False, "mac": mac})
        return self.login(name, device)

    def login(self, name: str, device: str = "D1") -> MatrixUser:
        """Log a registered user in; a device that it had before gets a new token."""
        who = {"type": "m.id.user", "user": name}
        login = {"type": "m.login.password", "identifier": who, "password": name, "device_id": device}
        found = self.call("POST", "/_matrix/client/v3/login", login)
        return MatrixUser(id=found["user_id"], device=found["device_id"], token=found["access_token"])

    def make_room(self, owner: MatrixUser, *invited: MatrixUser) -> str:
        """Make a room that everybody may join, let those who are invited join it, and return its id."""
        room: str = self.call("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"}, owner)["room_id"]
        for user in invited:
            self.call("POST", f"/_matrix/client/v3/rooms/{room}/join", {}, user)
        return room

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, user: MatrixUser | None = None
    ) -> dict[str, Any]:
        """Call the homeserver and return its reply. Raises AssertionError for any status other than 200."""
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {user.token}"} if user else {})
        request = Request(self.url + path, content, headers, method=method)  # noqa: S310 - on loopback
        try:
            with urlopen(request, timeout=30) as reply:  # noqa: S310 - as above
                found: dict[str, Any] = json.load(reply)
        except HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()!r}") from error
        return found


@contextmanager
def synapse_server(folder: Path, **settings: Any) -> Iterator[Synapse]:
    """Run Synapse with its data in a folder. `settings` are added to its configuration."""
    python, port = server_python("synapse"), free_port()
    place = {"port": port, "bind_addresses": ["127.0.0.1"], "type": "http", "resources": [{"names": ["client"]}]}
    configuration = {
        "server_name": "localhost",
        "listeners": [place],
        "pid_file": f"{folder}/pid",
        "signing_key_path": f"{folder}/signing.key",
        "database": {"name": "sqlite3", "args": {"database": f"{folder}/homeserver.db"}},
        "media_store_path": f"{folder}/media",
        "registration_shared_secret": SHARED_SECRET,
        "macaroon_secret_key": SHARED_SECRET,
        "form_secret": SHARED_SECRET,
        "bcrypt_rounds": 4,
        "report_stats": False,
        "trusted_key_servers": [],
    }
    path = folder / "homeserver.yaml"
    path.write_text(json.dumps(configuration | settings))  # JSON is YAML
    command = [python, "-m", "synapse.app.homeserver", "--config-path", str(path)]
    with server_process(command, port, folder) as process:
        yield Synapse(url=f"http://127.0.0.1:{port}", process=process)
