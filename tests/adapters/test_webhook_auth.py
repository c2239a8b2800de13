"""How a webhook channel proves who it is: basic, bearer, OAuth 2.0, and a certificate of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from base64 import b64decode
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

import pytest
from factories import make_delivery, make_event, make_render_request, open_channel
from fakes import FakeClock
from pydantic import ValidationError
from servers.http import Answer, HttpServer, cut_short, reply, reset, silence
from servers.tls import Certificate, make_certificate

from notifier.channels.access_tokens import NoAccessToken
from notifier.channels.base import BaseChannel, ChannelContext
from notifier.core.delivery import Delivered, Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.http import HttpClient
from notifier.integrations.webhook.channel import WebhookChannel
from notifier.integrations.webhook.settings import WebhookSettings
from notifier.wording.localizer import Localizer

CLIENT = "obviously fake client/ü"
CLIENT_SECRET = "obviously-fake:client%secret"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def context(http: HttpClient, clock: FakeClock) -> ChannelContext:
    return ChannelContext(
        http=http, clock=clock, localizer=Localizer(language="en", timezone=ZoneInfo("Asia/Shanghai"))
    )


def open_webhook(context: ChannelContext, url: str, **changes: Any) -> BaseChannel[Any]:
    return open_channel("webhook", {"name": "tickets", "kind": "webhook", "url": url} | changes, context)


def delivery_for(channel: BaseChannel[Any]) -> Delivery:
    request = make_render_request(make_event(), channel="tickets")
    return make_delivery(*request.events, channel="tickets", body=channel.render(request))


async def send(channel: BaseChannel[Any]) -> Outcome:
    return await channel.send(delivery_for(channel))


def problem_of(changes: dict[str, Any]) -> str:
    values = {"name": "tickets", "kind": "webhook", "url": "https://tickets.example.com/hook"} | changes
    with pytest.raises(ValidationError) as caught:
        WebhookSettings.model_validate(values)
    return "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in caught.value.errors())


class TestFixed:
    async def test_basic_sends_the_user_and_the_password(self, context: ChannelContext) -> None:
        async with HttpServer() as server:
            auth = {"kind": "basic", "username": "zoë", "password": "obviously:fake"}
            assert isinstance(await send(open_webhook(context, server.url(), auth=auth)), Delivered)
        scheme, _, pair = server.requests[0].headers["authorization"].partition(" ")
        assert (scheme, b64decode(pair).decode()) == ("Basic", "zoë:obviously:fake")

    async def test_bearer_sends_the_token(self, context: ChannelContext) -> None:
        async with HttpServer() as server:
            auth = {"kind": "bearer", "token": "obviously-fake-token"}
            await send(open_webhook(context, server.url(), auth=auth))
        assert server.requests[0].headers["authorization"] == "Bearer obviously-fake-token"

    @pytest.mark.parametrize(
        "auth",
        [
            {"kind": "basic", "username": "notifier", "password": "obviously-fake"},
            {"kind": "bearer", "token": "obviously-fake-token"},
        ],
    )
    async def test_a_reply_that_repeats_it_is_masked(self, context: ChannelContext, auth: dict[str, str]) -> None:
        async with HttpServer() as server:
            channel = open_webhook(context, server.url(), auth=auth)
            await send(channel)
            sent = server.requests[0].headers["authorization"].partition(" ")[2]
            server.answers = [reply(401, f"who is {sent}?".encode())]
            outcome = await send(channel)
        assert isinstance(outcome, Parked)
        assert outcome.reply == "HTTP 401: who is ***?"

    async def test_the_check_sends_it_too(self, context: ChannelContext) -> None:
        async with HttpServer() as server:
            auth = {"kind": "bearer", "token": "obviously-fake-token"}
            await open_webhook(context, server.url(), auth=auth).check()
        assert server.requests[0].headers["authorization"] == "Bearer obviously-fake-token"

    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            (
                {"auth": {"kind": "basic", "username": "a:b", "password": "x"}},
                "auth.basic.username: must not have a colon",
            ),
            ({"auth": {"kind": "bearer", "token": "a b"}}, "auth.bearer.token: has inside it a space"),
            ({"auth": {"kind": "digest"}}, "must be one of basic, bearer, oauth2"),
            (
                {"auth": {"kind": "bearer", "token": "x"}, "headers": {"AUTHORIZATION": "x"}},
                "auth: makes the header Authorization, which is among headers too",
            ),
            (
                {"auth": {"kind": "bearer", "token": "x"}, "url": "https://me:pw@example.com"},
                "auth: makes the header Authorization, and so does the user in url",
            ),
            (
                {"auth": {"kind": "oauth2", "token_url": "http://example.com", "client_id": "a", "client_secret": "b"}},
                "must begin with https://",
            ),
            ({"format": "cloudevents-binary", "body_template": "x"}, "body_template: makes the whole body"),
            ({"format": "cloudevents-binary", "templates": {"*": "{}"}}, "templates: makes the whole body"),
            ({"format": "cloudevents-structured", "headers": {"Ce-Id": "1"}}, "headers that begin with ce-"),
            ({"retry_if": [{"wait": "1m"}]}, "needs status, json or contains"),
        ],
    )
    def test_a_wrong_setting_is_refused_with_what_would_be_right(self, changes: dict[str, Any], problem: str) -> None:
        assert problem in problem_of(changes)


# ---- OAuth 2.0 ----


def issued(token: str, **changes: Any) -> Answer:
    return reply(
        200, json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3600} | changes).encode()
    )


def oauth2(authority: HttpServer, **changes: Any) -> dict[str, Any]:
    auth = {"kind": "oauth2", "token_url": authority.url("/token"), "client_id": CLIENT, "client_secret": CLIENT_SECRET}
    return auth | changes


class TestOAuth2:
    async def test_a_token_is_fetched_once_and_sent_with_each_message(self, context: ChannelContext) -> None:
        async with HttpServer(issued("token-1")) as authority, HttpServer() as server:
            channel = open_webhook(context, server.url(), auth=oauth2(authority))
            assert [type(await send(channel)) for _ in range(3)] == [Delivered] * 3
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer token-1"] * 3
        (request,) = authority.requests
        assert parse_qs(request.body.decode()) == {"grant_type": ["client_credentials"]}
        pair = b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        assert pair == "obviously+fake+client%2F%C3%BC:obviously-fake%3Aclient%25secret"

    async def test_scopes_parameters_and_credentials_go_into_the_body(self, context: ChannelContext) -> None:
        async with HttpServer(issued("token-1")) as authority, HttpServer() as server:
            auth = oauth2(authority, scopes=["a", "b"], parameters={"audience": "tickets"}, credentials="body")
            await send(open_webhook(context, server.url(), auth=auth))
        assert parse_qs(authority.requests[0].body.decode()) == {
            "grant_type": ["client_credentials"],
            "scope": ["a b"],
            "audience": ["tickets"],
            "client_id": [CLIENT],
            "client_secret": [CLIENT_SECRET],
        }
        assert "authorization" not in authority.requests[0].headers

    async def test_a_token_is_renewed_before_its_end(self, context: ChannelContext, clock: FakeClock) -> None:
        async with (
            HttpServer(issued("token-1"), issued("token-2", expires_in="3600")) as authority,
            HttpServer() as server,
        ):
            channel = open_webhook(context, server.url(), auth=oauth2(authority))
            await send(channel)
            clock.advance(timedelta(minutes=55))
            await send(channel)
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer token-1", "Bearer token-2"]

    async def test_a_token_of_unknown_lifetime_is_kept_for_minutes(
        self, context: ChannelContext, clock: FakeClock
    ) -> None:
        async with HttpServer(issued("token-1", expires_in=None)) as authority, HttpServer() as server:
            channel = open_webhook(context, server.url(), auth=oauth2(authority))
            await send(channel)
            clock.advance(timedelta(minutes=5))
            await send(channel)
        assert len(authority.requests) == 2

    async def test_a_revoked_token_is_replaced_within_the_attempt(self, context: ChannelContext) -> None:
        async with (
            HttpServer(issued("token-1"), issued("token-2")) as authority,
            HttpServer(reply(401), reply(200)) as server,
        ):
            channel = open_webhook(context, server.url(), auth=oauth2(authority))
            assert isinstance(await send(channel), Delivered)
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer token-1", "Bearer token-2"]
        assert server.requests[0].body == server.requests[1].body

    async def test_a_receiver_that_refuses_every_token_parks_the_channel(self, context: ChannelContext) -> None:
        async with (
            HttpServer(issued("token-1"), issued("token-2")) as authority,
            HttpServer(reply(401, b"not token-2")) as server,
        ):
            outcome = await send(open_webhook(context, server.url(), auth=oauth2(authority)))
        assert isinstance(outcome, Parked)
        assert outcome.reply == "HTTP 401: not ***"
        assert (len(authority.requests), len(server.requests)) == (2, 2)

    async def test_a_replacement_that_does_not_come_sends_nothing_more(self, context: ChannelContext) -> None:
        async with HttpServer(issued("token-1"), silence()) as authority, HttpServer(reply(401)) as server:
            channel = open_webhook(context, server.url(), auth=oauth2(authority), timeout="2s")
            outcome = await send(channel)
        assert isinstance(outcome, Retry)
        assert len(server.requests) == 1

    async def test_a_token_that_comes_too_late_sends_nothing(self, context: ChannelContext) -> None:
        async with HttpServer() as authority:
            auth = oauth2(authority)
        async with HttpServer() as server:
            channel = open_webhook(context, server.url(), auth=auth)
            assert isinstance(channel, WebhookChannel)
            assert channel._bearer is not None
            over = asyncio.get_running_loop().time() - 1
            with pytest.raises(NoAccessToken, match="too late"):
                await channel._bearer._attempt(channel.exchange, {}, over)
        assert server.requests == []

    @pytest.mark.parametrize(
        ("answer", "kind", "reason"),
        [
            (reply(401, b'{"error": "invalid_client"}'), Parked, "check auth.client_id and auth.client_secret"),
            (reply(400, b'{"error": "invalid_scope"}'), Parked, "check auth.scopes"),
            (reply(400, b'{"error": "unauthorized_client"}'), Parked, "let the client use the grant"),
            (reply(400, b'{"error": "invalid_request"}'), Parked, "check auth.parameters"),
            (reply(200, b'{"error": "invalid_client"}'), Parked, "check auth.client_id"),
            (reply(400, b"<html>"), Parked, "HTTP 400"),
            (reply(404), Parked, "check auth.token_url"),
            (reply(200, b"<html>welcome"), Parked, "without an access_token"),
            (reply(200, b'{"access_token": "a\\nb"}'), Parked, "without an access_token"),
            (reply(200, b'{"access_token": "a", "token_type": "mac"}'), Parked, "it issues no bearer tokens"),
            (reply(302), Retry, "redirect not followed"),
            (reply(503), Retry, "HTTP 503"),
            (reply(503, b'{"error": "temporarily_unavailable"}'), Retry, "temporarily_unavailable"),
            (reset(), Retry, "lost"),
            (silence(), Retry, "no answer"),
            (cut_short(200), Retry, "lost"),
        ],
    )
    async def test_without_a_token_nothing_is_sent(
        self, context: ChannelContext, answer: Answer, kind: type[Outcome], reason: str
    ) -> None:
        timeout = "300ms" if reason == "no answer" else "20s"
        async with HttpServer(answer) as authority, HttpServer() as server:
            outcome = await send(open_webhook(context, server.url(), auth=oauth2(authority), timeout=timeout))
        assert isinstance(outcome, kind)
        assert outcome.reason is not None
        assert outcome.reason.startswith(f"no access token from 127.0.0.1:{authority.port}: ")
        assert reason in outcome.reason
        assert server.requests == []

    async def test_a_wait_that_the_authority_asks_for_is_passed_on(self, context: ChannelContext) -> None:
        async with HttpServer(reply(429, headers={"Retry-After": "7"})) as authority, HttpServer() as server:
            outcome = await send(open_webhook(context, server.url(), auth=oauth2(authority)))
        assert isinstance(outcome, Retry)
        assert outcome.after == timedelta(seconds=7)

    async def test_a_lost_reply_to_the_message_leaves_its_outcome_open(self, context: ChannelContext) -> None:
        async with HttpServer(issued("token-1")) as authority, HttpServer(reset()) as server:
            assert isinstance(await send(open_webhook(context, server.url(), auth=oauth2(authority))), Unknown)

    async def test_no_secret_is_in_what_is_kept_of_a_refusal(self, context: ChannelContext) -> None:
        echo = reply(400, f'{{"error": "invalid_client", "hint": "{CLIENT_SECRET}"}}'.encode())
        async with HttpServer(echo) as authority, HttpServer() as server:
            outcome = await send(open_webhook(context, server.url(), auth=oauth2(authority)))
        assert outcome.reply is not None
        assert "***" in outcome.reply
        assert CLIENT_SECRET not in repr(outcome)

    async def test_the_check_proves_the_client(self, context: ChannelContext) -> None:
        async with HttpServer(issued("token-1")) as authority, HttpServer() as server:
            found = await open_webhook(context, server.url(), auth=oauth2(authority)).check()
        assert [(one.ok, one.detail) for one in found] == [
            (True, f"127.0.0.1:{authority.port} issued a token"),
            (True, "answers (HTTP 200 to HEAD)"),
        ]
        assert server.requests[0].headers["authorization"] == "Bearer token-1"

    async def test_the_check_names_what_is_wrong_with_the_client(self, context: ChannelContext) -> None:
        async with HttpServer(reply(401, b'{"error": "invalid_client"}')) as authority, HttpServer() as server:
            found = await open_webhook(context, server.url(), auth=oauth2(authority)).check()
        assert [(one.ok, one.proven) for one in found] == [(False, True), (True, True)]
        assert "invalid_client" in found[0].detail
        assert found[0].remedy


# ---- a certificate of its own ----


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A client's certificate, with its key in the same file."""
    made = make_certificate(tmp_path_factory.mktemp("client"), "client.example.com")
    made.chain.chmod(0o600)
    return made


def asking_context(certificate: Certificate, own: Certificate) -> ssl.SSLContext:
    """Return the context of a server that accepts only clients with our certificate."""
    context = certificate.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cafile=own.authority)
    return context


class TestOwnCertificate:
    async def test_it_is_shown_to_a_server_that_asks(
        self, context: ChannelContext, certificate: Certificate, own: Certificate
    ) -> None:
        async with HttpServer(tls=asking_context(certificate, own)) as server:
            channel = open_webhook(context, server.url(), ca_file=certificate.authority, cert_file=own.chain)
            assert isinstance(await send(channel), Delivered)
            stranger = open_webhook(context, server.url(), ca_file=certificate.authority)
            assert not isinstance(await send(stranger), Delivered), "no connection is shared with one that has none"
        assert len(server.requests) == 1

    async def test_the_server_of_tokens_sees_it_too(
        self, context: ChannelContext, certificate: Certificate, own: Certificate
    ) -> None:
        async with HttpServer(issued("a"), tls=asking_context(certificate, own)) as authority, HttpServer() as server:
            files = {"ca_file": certificate.authority, "cert_file": own.chain}
            assert isinstance(
                await send(open_webhook(context, server.url(), auth=oauth2(authority), **files)), Delivered
            )

    async def test_the_key_may_be_in_a_file_of_its_own(
        self, context: ChannelContext, certificate: Certificate, own: Certificate, tmp_path: Path
    ) -> None:
        key = tmp_path / "key.pem"
        key.write_text(own.chain.read_text().removeprefix(own.authority.read_text()))
        key.chmod(0o600)
        files = {"ca_file": certificate.authority, "cert_file": own.authority, "key_file": key}
        async with HttpServer(tls=asking_context(certificate, own)) as server:
            assert isinstance(await send(open_webhook(context, server.url(), **files)), Delivered)

    async def test_the_key_may_be_encrypted(
        self, context: ChannelContext, certificate: Certificate, own: Certificate, tmp_path: Path
    ) -> None:
        openssl = shutil.which("openssl") or pytest.skip("no openssl to encrypt a key with")
        key, password = tmp_path / "key.pem", "obviously-fake-password"
        encrypt = [openssl, "ec", "-in", own.chain, "-out", key, "-aes256", "-passout", f"pass:{password}"]
        done = await asyncio.create_subprocess_exec(*map(str, encrypt), stderr=asyncio.subprocess.DEVNULL)
        assert await done.wait() == 0
        key.chmod(0o600)
        files = {"ca_file": certificate.authority, "cert_file": own.authority, "key_file": key}
        async with HttpServer(tls=asking_context(certificate, own)) as server:
            channel = open_webhook(context, server.url(), **files, key_password=password)
            assert isinstance(await send(channel), Delivered)
        assert "give key_password" in problem_of(files)
        assert "check key_password" in problem_of({**files, "key_password": "another"})

    def test_files_that_cannot_be_used_are_refused(
        self, own: Certificate, certificate: Certificate, tmp_path: Path
    ) -> None:
        text, exposed = tmp_path / "text.pem", tmp_path / "exposed.pem"
        text.write_text("nothing")
        text.chmod(0o600)
        exposed.write_text(own.chain.read_text())
        exposed.chmod(0o644)
        stranger = tmp_path / "stranger.pem"
        stranger.write_text(certificate.chain.read_text().removeprefix(certificate.authority.read_text()))
        stranger.chmod(0o600)
        assert "cannot read" in problem_of({"cert_file": tmp_path / "missing.pem"})
        assert "no certificate with its key can be read from" in problem_of({"cert_file": text})
        assert "can be read by other users. Run: chmod 600" in problem_of({"cert_file": exposed})
        assert "is not that of the certificate" in problem_of({"cert_file": own.authority, "key_file": stranger})
        assert "key_file: has no effect without cert_file" in problem_of({"key_file": text})
        assert "key_password: has no effect without cert_file" in problem_of({"key_password": "x"})

    def test_a_relative_path_starts_at_the_configuration(self, own: Certificate) -> None:
        from notifier.settings.base import Origin  # noqa: PLC0415 - of this test alone

        values = {"name": "tickets", "kind": "webhook", "url": "https://example.com", "cert_file": own.chain.name}
        settings = WebhookSettings.model_validate(values, context=Origin(directory=own.chain.parent))
        assert settings.cert_file == own.chain


# ---- replies that mean: again ----


class TestRetryIf:
    @pytest.mark.parametrize(
        ("answer", "conditions", "wait"),
        [
            (reply(200, b'{"state": "busy"}'), [{"json": {"state": "busy"}}], None),
            (reply(400, b"database is locked"), [{"status": 400, "contains": "locked"}], None),
            (reply(403), [{"status": "5xx"}, {"status": [403, 404], "wait": "2m"}], timedelta(minutes=2)),
            (reply(403, headers={"Retry-After": "9"}), [{"status": 403, "wait": "2m"}], timedelta(seconds=9)),
            (cut_short(409), [{"status": 409}], None),
        ],
    )
    async def test_a_reply_that_fits_is_retried_whatever_its_status(
        self, context: ChannelContext, answer: Answer, conditions: list[dict[str, Any]], wait: timedelta | None
    ) -> None:
        async with HttpServer(answer) as server:
            outcome = await send(open_webhook(context, server.url(), retry_if=conditions, success={"status": "2xx"}))
        assert isinstance(outcome, Retry)
        assert "`retry_if." in outcome.reason
        assert outcome.after == wait

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (reply(200, b'{"state": "done"}'), Delivered),
            (reply(400, b'{"state": "done"}'), GaveUp),
            (cut_short(200), Unknown),
            (cut_short(400), GaveUp),
        ],
    )
    async def test_other_replies_mean_what_they_did(
        self, context: ChannelContext, answer: Answer, kind: type[object]
    ) -> None:
        async with HttpServer(answer) as server:
            outcome = await send(open_webhook(context, server.url(), retry_if=[{"json": {"state": "busy"}}]))
        assert isinstance(outcome, kind)


async def test_a_client_with_a_certificate_is_closed_with_the_one_it_comes_from(own: Certificate) -> None:
    from notifier.http import ClientCertificate  # noqa: PLC0415 - of this test alone

    async with aclosing(HttpClient()) as client:
        other = client.with_certificate(ClientCertificate(cert_file=own.chain))
        assert other is not client
        assert other.tls is not client.tls
        assert client.with_certificate(None) is client
    async with HttpServer() as server:
        with pytest.raises(RuntimeError, match="closed"):
            await other.exchange("GET", server.url(), deadline=1, max_bytes=10)
