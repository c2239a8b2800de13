"""What is put together follows the configuration as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from servers.http import HttpServer, reply

from notifier.config.loading import loads
from notifier.core.model import Scope
from notifier.wiring.app import open_app


@pytest.mark.parametrize(
    ("top", "own", "asked"), [("zh", None, "zh-cn"), ("en", None, "en-us"), ("zh", "en-us", "en-us")]
)
async def test_reasons_are_in_the_language_of_the_configuration(
    tmp_path: Path, top: str, own: str | None, asked: str
) -> None:
    async with HttpServer(reply(200, b'{"tasks": [], "total_count": 0}')) as server:
        auth = {"kind": "aksk", "access_key": "AK", "secret_key": "SK"}
        place = {"region": "cn-north-4", "endpoint": server.url(""), "project_id": "p"}
        source = {"name": "prod", "kind": "gaussdb", "auth": auth, **place} | ({"language": own} if own else {})
        store = {"url": f"sqlite:///{tmp_path / 'n.db'}"}
        config = loads(json.dumps({"language": top, "sources": [source], "store": store}), {})
        async with open_app(config) as app:
            await app.sources["prod"].fetch(Scope.FULL)
        assert {request.headers["x-language"] for request in server.requests} == {asked}
