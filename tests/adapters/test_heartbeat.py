from __future__ import annotations

import pytest
from servers.http import Answer, HttpServer, cut_short, flood, reply, reset

from notifier.http import HttpClient
from notifier.http.heartbeat import send_heartbeat

SECRET_PATH = "/ping/obviously-fake-token"


async def test_a_sign_of_life_is_one_get(http: HttpClient) -> None:
    async with HttpServer(reply(201)) as server:
        assert await send_heartbeat(http, server.url(SECRET_PATH)) is None
    assert [(request.method, request.target) for request in server.requests] == [("GET", SECRET_PATH)]


@pytest.mark.parametrize("answer", [cut_short(200), flood(204)])
async def test_a_good_status_counts_whatever_follows(http: HttpClient, answer: Answer) -> None:
    async with HttpServer(answer) as server:
        assert await send_heartbeat(http, server.url(SECRET_PATH)) is None


@pytest.mark.parametrize("answer", [reply(404), reply(302), reply(500), reset(), cut_short(500), flood(500)])
async def test_what_went_wrong_is_returned_without_the_secret(http: HttpClient, answer: Answer) -> None:
    async with HttpServer(answer) as server:
        why = await send_heartbeat(http, server.url(SECRET_PATH))
    assert why
    assert "token" not in why
