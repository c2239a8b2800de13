"""Where people go after they have signed in: a path of ours, and never an address that somebody else chose."""

import re
from typing import Final
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request

HOME: Final = "/"
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
API: Final = "/api"
_PATH = re.compile(r"/(?![/\\])[^\s\\\x00-\x1f\x7f]*")
_NEVER_NEXT = (LOGIN, LOGOUT, API)
MAX_NEXT: Final = 2_000


def safe_next(text: str) -> str:
    """Return a path with its query that leads to a page of ours; the first page where the text leads elsewhere."""
    if len(text) > MAX_NEXT or not _PATH.fullmatch(text):
        return HOME
    path = urlsplit(text).path
    below = any(path == one or path.startswith(f"{one}/") for one in _NEVER_NEXT)
    return HOME if below else text


def login_address(next_: str) -> str:
    """Return the address of the login page that leads on to a page."""
    return LOGIN if next_ == HOME else f"{LOGIN}?{urlencode({'next': next_})}"


def wanted_page(request: Request) -> str:
    """Return the page that somebody wanted to see: the one asked for, or the one whose form was submitted."""
    if request.method in ("GET", "HEAD"):
        return safe_next(f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path)
    try:
        referer = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return HOME
    if referer.netloc != request.headers.get("host"):
        return HOME
    return safe_next(f"{referer.path}?{referer.query}" if referer.query else referer.path)


def is_for_programs(request: Request) -> bool:
    """Return whether a program asks, which reads no page."""
    path = request.url.path
    return path == API or path.startswith(f"{API}/")
