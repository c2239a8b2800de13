"""The files of the page that never change while the program runs: styles, scripts and icons.

The address of a file contains a digest of it, so that a browser may keep it for good; each file is read and compressed
once.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

FOREVER = "public, max-age=31536000, immutable"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Media types by the ending of a file's name. Other files are not served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file."""

    name: str
    """`app.css`."""
    content: bytes
    compressed: bytes
    """The content in gzip."""
    media_type: str

    @property
    def path(self) -> str:
        """The address with the digest: `/static/app.3f9a1c2b7d40.css`."""
        stem, _, ending = self.name.rpartition(".")
        return f"/static/{stem}.{hashlib.sha256(self.content).hexdigest()[:12]}.{ending}"


@lru_cache
def assets() -> dict[str, Asset]:
    """Return the files by name."""
    found = {}
    for file in files("notifier.web").joinpath("static").iterdir():
        media_type = _TYPES.get(f".{file.name.rpartition('.')[2]}")
        if media_type:
            content = file.read_bytes()
            compressed = gzip.compress(content, mtime=0)
            found[file.name] = Asset(name=file.name, content=content, compressed=compressed, media_type=media_type)
    return found


@lru_cache
def asset_path(name: str) -> str:
    """Return the address of a file. Raises KeyError for an unknown name."""
    return assets()[name].path


@lru_cache
def _by_path() -> dict[str, Asset]:
    return {asset.path: asset for asset in assets().values()}


async def serve_asset(request: Request) -> Response:
    """Answer a request for a file. An address with another digest is one of another version: it is not found."""
    asset = _by_path().get(f"/static/{request.path_params['name']}")
    if asset is None:
        return Response(status_code=404)
    headers = {"Cache-Control": FOREVER, "Content-Type": asset.media_type, "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return Response(asset.compressed, headers=headers | {"Content-Encoding": "gzip"})
    return Response(asset.content, headers=headers)
