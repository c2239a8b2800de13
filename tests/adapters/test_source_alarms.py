"""The lists of alarms over a socket: what counts as an empty list, and what does not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from factories import PROJECT_ID
from fakes import FakeClock
from servers.http import HttpServer, reply

from notifier.core.errors import RequestRejected
from notifier.core.model import Scope
from notifier.http import HttpClient
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.gaussdb_events import GaussDBEventsSource
from notifier.sources.gaussdb_events_settings import GaussDBEventsSettings

NOTHING = reply(404, b'{"error_code":"CES.0014","error_msg":"The resource does not exist."}')
UNPUBLISHED = reply(404, b'{"error_code":"APIGW.0101","error_msg":"The API does not exist"}')
OF_A_PROXY = reply(404, b"<html>not here</html>")
NAMES = reply(
    200,
    json.dumps(
        {
            "events": [
                {
                    "event_name": "GaussDBV5FaultyDBNode",
                    "event_type": "EVENT.SYS",
                    "event_count": 1,
                    "latest_occur_time": 1767225600000,
                    "latest_event_source": "SYS.GAUSSDBV5",
                }
            ],
            "meta_data": {"total": 1},
        }
    ).encode(),
)


def source(server: HttpServer, http: HttpClient, clock: FakeClock, feeds: Sequence[str]) -> GaussDBEventsSource:
    config: dict[str, Any] = {
        "name": "alarms",
        "kind": "gaussdb_events",
        "region": "cn-north-4",
        "project_id": PROJECT_ID,
        "auth": {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "sksksk"},
        "feeds": feeds,
        "endpoint": server.url(""),
        "ces_endpoint": server.url(""),
    }
    settings = GaussDBEventsSettings(**config)
    return GaussDBEventsSource(settings, SourceAccess(settings, SourceRuntime(http=http, clock=clock, rng=Random(1))))


@pytest.mark.parametrize(
    ("feeds", "answers"),
    [
        (["cloud_eye"], [NOTHING]),
        (["cloud_eye"], [NAMES, NOTHING]),
        (["alarm_history"], [NOTHING]),
        (["cloud_eye", "alarm_history"], [NOTHING]),
    ],
)
async def test_a_service_that_has_nothing_has_an_empty_list(
    http: HttpClient, clock: FakeClock, feeds: list[str], answers: list[Any]
) -> None:
    async with HttpServer(*answers) as server:
        found = await source(server, http, clock, feeds).fetch(Scope.FULL)
        checked = await source(server, http, clock, feeds).check()
    assert (dict(found.fingerprints), found.complete, found.lacking) == ({}, True, ())
    assert all(one.ok for one in checked)


@pytest.mark.parametrize("answer", [UNPUBLISHED, OF_A_PROXY])
@pytest.mark.parametrize(("feeds", "before"), [(["cloud_eye"], []), (["cloud_eye"], [NAMES]), (["alarm_history"], [])])
async def test_an_address_without_a_list_is_no_empty_list(
    http: HttpClient, clock: FakeClock, feeds: list[str], before: list[Any], answer: Any
) -> None:
    async with HttpServer(*before, answer) as server:
        with pytest.raises(RequestRejected):
            await source(server, http, clock, feeds).fetch(Scope.FULL)
