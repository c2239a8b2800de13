"""Roundup's classic tracker over HTTP, run by the interpreter of the environment that has Roundup.

`python roundup_app.py FOLDER PORT` makes a tracker with the users admin (password admin) and demo (demo) where there is
none yet, and serves it at /tracker/. Roundup's own server refuses to run as root, as tests in containers mostly do.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.util import shift_path_info

from roundup import configuration, init, instance, password
from roundup.cgi.wsgi_handler import RequestDispatcher


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """One thread for each connection."""

    daemon_threads = True


class QuietHandler(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: object) -> None:
        pass


def make_tracker(home: Path, url: str) -> None:
    """Make a tracker that sends no mail, on SQLite."""
    init.install(str(home), str(Path(sys.prefix) / "share" / "roundup" / "templates" / "classic"))
    (home / "detectors" / "nosyreaction.py").unlink()
    config = configuration.CoreConfig(settings={"MAIL_DOMAIN": "localhost"})
    config["TRACKER_HOME"] = str(home)
    config["DATABASE"] = "db"
    config["RDBMS_BACKEND"] = "sqlite"
    config["TRACKER_WEB"] = url
    config.save(str(home / config.INI_FILE))
    tracker = instance.open(str(home))
    tracker.init(password.Password("admin", config=config))
    database = tracker.open("admin")
    database.user.create(username="demo", password=password.Password("demo", config=config), roles="User")
    database.commit()
    database.close()


def serve(home: Path, port: int) -> None:
    """Serve a tracker until the process ends."""
    dispatch = RequestDispatcher(str(home))

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        shift_path_info(environ)  # /tracker
        found: Iterable[bytes] = dispatch(environ, start_response)
        return found

    with make_server("127.0.0.1", port, application, ThreadingServer, QuietHandler) as server:
        server.serve_forever()


if __name__ == "__main__":
    place, number = Path(sys.argv[1]) / "tracker", int(sys.argv[2])
    if not place.exists():
        make_tracker(place, f"http://127.0.0.1:{number}/tracker/")
    serve(place, number)
