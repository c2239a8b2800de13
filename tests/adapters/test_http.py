"""The one way out, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import aclosing
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from servers.http import Answer, HttpServer, cut_short, drip, flood, gzip_bomb, raw, reply, reset, silence
from servers.tls import Certificate, make_certificate

from notifier import __version__
from notifier.config.network import NetworkSettings
from notifier.http import (
    AddressRefused,
    AddressRule,
    HttpClient,
    HttpError,
    NoAnswer,
    NotSent,
    ProxyException,
    Reply,
    ReplyTooLarge,
    create_tls_context,
    trust,
)

pytestmark = pytest.mark.both_loops

SECRET_PATH = "/services/T0/B0/obviously-fake-token?sig=fake-signature"
SHORT = 0.15
"""Seconds: a deadline that is meant to pass."""


async def get(http: HttpClient, url: str, **options: Any) -> Reply:
    return await http.exchange("GET", url, **{"deadline": 5, "max_bytes": 10_000} | options)


async def failure(http: HttpClient, url: str, **options: Any) -> HttpError:
    with pytest.raises(HttpError) as caught:
        await get(http, url, **options)
    return caught.value


class TestExchange:
    async def test_brings_back_status_headers_and_body(self, http: HttpClient) -> None:
        async with HttpServer(reply(418, b"short and stout", {"X-Kind": "teapot"})) as server:
            got = await http.exchange(
                "POST", server.url("/brew?milk=no"), headers={"X-A": "b"}, content=b"tea", deadline=5, max_bytes=100
            )
        assert (got.status, got.headers["x-kind"], got.body) == (418, "teapot", b"short and stout")
        request = server.requests[0]
        assert (request.method, request.target, request.body) == ("POST", "/brew?milk=no", b"tea")
        assert request.headers["x-a"] == "b"

    async def test_names_itself_and_asks_for_no_compression(self, http: HttpClient) -> None:
        async with HttpServer() as server:
            await get(http, server.url())
        headers = server.requests[0].headers
        assert headers["user-agent"] == f"gaussdb-notifier/{__version__}"
        assert headers["accept-encoding"] == "identity"

    async def test_keeps_its_connection(self, http: HttpClient) -> None:
        async with HttpServer() as server:
            for _ in range(5):
                await get(http, server.url())
        assert server.connections == 1

    @pytest.mark.parametrize(
        "target",
        [
            "/a%2Fb%40%28%7e%29",
            "/%2e%2e/%25/%3F/%23/%C3%A4/%c3%a4",
            "/x?a=%2F%20b+c&d=%26&e=%3d&f=%7E&g",
            "/x;y=1,2:3/@!$&'()*+,;=~?/?:@-._~!$'()*,;=",
            "/webhooks/11/ab%3D%3D?thread=%2Fa%2Fb",
            "/a//b/",
        ],
    )
    async def test_sends_the_path_and_the_query_as_they_are_written(self, http: HttpClient, target: str) -> None:
        async with HttpServer() as server, HttpServer() as proxy, aclosing(HttpClient(proxy=proxy.url())) as other:
            await get(http, server.url(target))
            await get(other, f"http://tickets.invalid{target}")
        assert server.requests[0].target == target
        assert proxy.requests[0].target == f"http://tickets.invalid{target}"

    async def test_follows_no_redirect(self, http: HttpClient) -> None:
        async with HttpServer() as canary, HttpServer(reply(302, headers={"Location": canary.url()})) as server:
            assert (await get(http, server.url())).status == 302
        assert canary.requests == []

    async def test_keeps_no_cookie(self, http: HttpClient) -> None:
        async with HttpServer(reply(headers={"Set-Cookie": "session=1; Path=/"})) as server:
            await get(http, server.url())
            await get(http, server.url())
        assert "cookie" not in server.requests[1].headers

    async def test_takes_nothing_from_the_environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password fake\n")
        async with HttpServer() as canary, HttpServer() as server:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, canary.url())
            monkeypatch.setenv("NETRC", str(netrc))
            async with aclosing(HttpClient()) as http:
                await get(http, server.url())
        assert canary.requests == []
        assert "authorization" not in server.requests[0].headers

    async def test_user_and_password_in_a_url_are_sent_as_authorization(self, http: HttpClient) -> None:
        async with HttpServer() as server:
            url = server.url(host="us%40er:p%C3%A4ss@127.0.0.1")
            await get(http, url)
            await get(http, url, headers={"authorization": "Bearer fake"})
        assert [r.headers["authorization"] for r in server.requests] == ["Basic dXNAZXI6cMOkc3M=", "Bearer fake"]

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
    async def test_repeats_nothing_when_a_kept_connection_breaks(self, http: HttpClient, method: str) -> None:
        async with HttpServer(reply(200, b""), reset(), reply()) as server:
            await http.exchange(method, server.url(), deadline=5, max_bytes=100)
            with pytest.raises(NoAnswer, match=f"^connection to 127.0.0.1:{server.port} lost$"):
                await http.exchange(method, server.url(), deadline=5, max_bytes=100)
        assert (len(server.requests), server.connections) == (2, 1)


class TestLimits:
    async def test_the_deadline_holds_against_a_body_that_drips(self, http: HttpClient) -> None:
        async with HttpServer(drip()) as server:
            error = await failure(http, server.url(), deadline=SHORT, max_bytes=1 << 30)
        assert isinstance(error, NoAnswer)
        assert error.status == 200
        assert str(error) == f"no answer from 127.0.0.1:{server.port} within 0.15 s"

    async def test_the_deadline_holds_against_silence(self, http: HttpClient) -> None:
        async with HttpServer(silence()) as server:
            error = await failure(http, server.url(), deadline=SHORT)
        assert isinstance(error, NoAnswer)
        assert error.status is None

    async def test_a_deadline_before_anything_was_sent_is_reported_as_such(self, http: HttpClient) -> None:
        async with HttpServer(silence()) as server:
            # A plain server never answers the greeting of TLS.
            error = await failure(http, server.url().replace("http:", "https:"), deadline=SHORT)
        assert isinstance(error, NotSent)

    async def test_a_reply_at_the_cap_is_taken(self, http: HttpClient) -> None:
        async with HttpServer(reply(200, b"x" * 1000)) as server:
            assert len((await get(http, server.url(), max_bytes=1000)).body) == 1000

    @pytest.mark.parametrize("answer", [reply(503, b"x" * 1001), flood(503)])
    async def test_a_longer_one_is_not_and_its_status_is_kept(self, http: HttpClient, answer: Answer) -> None:
        async with HttpServer(answer) as server:
            error = await failure(http, server.url(), max_bytes=1000)
        assert isinstance(error, ReplyTooLarge)
        assert error.status == 503

    async def test_a_gzip_bomb_is_never_decoded(self, http: HttpClient) -> None:
        async with HttpServer(gzip_bomb()) as server:
            got = await get(http, server.url(), max_bytes=1 << 20)
        assert got.body.startswith(b"\x1f\x8b")
        assert len(got.body) < 1 << 20


class TestErrors:
    @pytest.mark.parametrize("answer", [reset(), cut_short(), raw(b"220 smtp.example.com\r\n\r\n")])
    async def test_what_was_sent_and_not_answered_has_an_unknown_outcome(
        self, http: HttpClient, answer: Answer
    ) -> None:
        async with HttpServer(answer) as server:
            error = await failure(http, server.url())
        assert isinstance(error, NoAnswer)

    async def test_the_status_is_known_when_only_the_body_was_lost(self, http: HttpClient) -> None:
        async with HttpServer(cut_short(202)) as server:
            error = await failure(http, server.url())
        assert isinstance(error, NoAnswer)
        assert error.status == 202

    async def test_a_refused_connection_was_not_sent(self, http: HttpClient) -> None:
        async with HttpServer() as server:
            pass
        error = await failure(http, server.url(SECRET_PATH))
        assert isinstance(error, NotSent)
        assert str(error) == f"connection refused by 127.0.0.1:{server.port}"

    async def test_a_name_without_address_was_not_sent(self, http: HttpClient) -> None:
        error = await failure(http, f"http://nowhere.invalid{SECRET_PATH}")
        assert isinstance(error, NotSent)
        assert str(error) == "no address found for nowhere.invalid"

    @pytest.mark.parametrize("url", ["ftp://host/x", "http://", "https:///x", "//host", "http://[::1"])
    async def test_what_is_no_address_is_refused(self, http: HttpClient, url: str) -> None:
        error = await failure(http, url)
        assert isinstance(error, AddressRefused)
        assert "not a usable http or https address" in str(error)

    @pytest.mark.parametrize("answer", [reset(), silence(), cut_short(), flood(), raw(b"220 smtp.example.com\r\n\r\n")])
    async def test_no_error_contains_the_path_or_the_query(
        self, http: HttpClient, answer: Answer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        async with HttpServer(answer) as server:
            error = await failure(http, server.url(SECRET_PATH), deadline=SHORT)
        told = repr(error) + str(error) + str(error.__cause__) + caplog.text
        assert error.__suppress_context__ or error.__context__ is None
        assert "fake" not in told

    async def test_nothing_is_logged_of_an_exchange_that_works(
        self, http: HttpClient, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        async with HttpServer() as server:
            await get(http, server.url(SECRET_PATH))
        assert "fake" not in caplog.text


class TestTls:
    async def test_a_certificate_of_a_trusted_authority_is_accepted(self, certificate: Certificate) -> None:
        context = certificate.server_context()
        async with HttpServer(tls=context) as server, aclosing(HttpClient(ca_file=certificate.authority)) as http:
            assert (await get(http, server.url())).body == b"ok"

    async def test_any_other_is_not(self, http: HttpClient, certificate: Certificate) -> None:
        async with HttpServer(tls=certificate.server_context()) as server:
            error = await failure(http, server.url())
        assert isinstance(error, NotSent)
        assert str(error) == (
            f"certificate of 127.0.0.1:{server.port} not accepted (self-signed certificate; where an authority of your "
            "own issued it, name its file as ca_file there or under network)"
        )
        assert server.requests == []

    async def test_a_certificate_for_another_host_is_not_accepted(self, tmp_path: Path) -> None:
        other = make_certificate(tmp_path, "other.example.com")
        context = other.server_context()
        async with HttpServer(tls=context) as server, aclosing(HttpClient(ca_file=other.authority)) as http:
            error = await failure(http, server.url())
        assert "not accepted" in str(error)
        assert "write the host as the certificate names it" in str(error)

    async def test_one_user_of_a_client_may_trust_more_than_others(
        self, http: HttpClient, certificate: Certificate
    ) -> None:
        trusting = http.with_ca_file(certificate.authority)
        async with HttpServer(tls=certificate.server_context()) as server:
            for _ in range(2):  # what one has connected to is not lent to the other
                assert (await get(trusting, server.url())).status == 200
                assert "not accepted" in str(await failure(http, server.url()))
        assert http.with_ca_file(None) is http

    async def test_the_system_store_is_trusted_and_a_variable_may_name_it(
        self, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
        async with HttpServer(tls=certificate.server_context()) as server, aclosing(HttpClient()) as http:
            assert (await get(http, server.url())).status == 200

    async def test_a_system_without_a_store_gets_the_public_one(
        self, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        monkeypatch.setattr(trust, "_BUNDLES", ())
        monkeypatch.setattr("certifi.where", lambda: str(certificate.authority))
        async with HttpServer(tls=certificate.server_context()) as server, aclosing(HttpClient()) as http:
            assert (await get(http, server.url())).status == 200

    def test_old_protocols_are_not_spoken(self) -> None:
        assert create_tls_context().minimum_version is ssl.TLSVersion.TLSv1_2


REFUSED = [
    "169.254.169.254",
    "169.254.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "fe80::1",
    "fe80::1%lo",
    "fd00:ec2::254",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::a9fe:a9fe",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
]
ALLOWED = [
    "127.0.0.1",
    "::1",
    "10.1.2.3",
    "192.168.0.1",
    "172.16.0.1",
    "100.64.0.1",
    "8.8.8.8",
    "2400:3200::1",
    "fc00::1",
]


class TestAddressRule:
    @pytest.mark.parametrize("address", REFUSED)
    def test_metadata_and_link_local_addresses_are_refused_in_any_spelling(self, address: str) -> None:
        assert AddressRule().refusal_reason(ip_address(address)) == "a link-local or metadata address"

    @pytest.mark.parametrize("address", ALLOWED)
    def test_other_addresses_are_trusted(self, address: str) -> None:
        assert AddressRule().refusal_reason(ip_address(address)) is None

    @pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::1"])
    def test_deny_adds_networks(self, address: str) -> None:
        rule = AddressRule(deny=(IPv4Network("10.0.0.0/8"),))
        assert rule.refusal_reason(ip_address(address)) == "an address that network.deny lists"

    @pytest.mark.parametrize("address", ["0.0.0.0", "::"])  # noqa: S104 - an address to refuse, not to listen on
    def test_the_unspecified_address_counts_as_loopback(self, address: str) -> None:
        assert AddressRule(deny=tuple(LOOPBACK)).refusal_reason(ip_address(address))

    def test_allow_leaves_only_what_it_lists(self) -> None:
        rule = AddressRule(allow=(ip_network("10.0.0.0/8"), ip_network("169.254.0.0/16")))
        assert rule.refusal_reason(ip_address("10.1.2.3")) is None
        assert rule.refusal_reason(ip_address("::ffff:10.1.2.3")) is None
        assert rule.refusal_reason(ip_address("127.0.0.1")) == "an address that network.allow does not list"
        assert rule.refusal_reason(ip_address("169.254.169.254")) == "a link-local or metadata address"


LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
LOOPBACK_SPELLINGS = [
    "127.0.0.1",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "localhost",
    "LOCALHOST",
    "0x7f000001",
    "0x7f.1",
    "2130706433",
    "127.1",
    "127.0.0.1.",
    "0177.0.0.1",
    "017700000001",
    "user:password@127.0.0.1",
    "127。0。0。1",
    "①②⑦.⓪.⓪.①",
    "0.0.0.0",  # noqa: S104 - an address to refuse, not to listen on
    "[::]",
    "[::1]",
]


class TestAddressRuleOnTheWire:
    @pytest.mark.parametrize("host", LOOPBACK_SPELLINGS)
    async def test_a_denied_address_is_reached_by_no_spelling(self, host: str) -> None:
        async with HttpServer() as server, aclosing(HttpClient(deny=LOOPBACK)) as http:
            error = await failure(http, server.url(host=host))
        assert isinstance(error, AddressRefused)
        assert server.connections == 0

    async def test_a_name_is_refused_when_any_of_its_addresses_is(self) -> None:
        async with HttpServer() as server, aclosing(HttpClient(allow=[ip_network("10.0.0.0/8")])) as http:
            error = await failure(http, server.url(SECRET_PATH, host="localhost"))
        assert isinstance(error, AddressRefused)
        assert str(error).startswith("localhost refused: ")
        assert str(error).endswith(" is an address that network.allow does not list")
        assert server.connections == 0

    async def test_a_connection_made_without_the_rule_is_not_reused_under_it(self) -> None:
        async with HttpServer() as server, aclosing(HttpClient(deny=LOOPBACK)) as http:
            assert (await get(http, server.url(), guard=False)).status == 200
            assert isinstance(await failure(http, server.url()), AddressRefused)
        assert len(server.requests) == 1

    async def test_without_guard_names_are_still_checked(self) -> None:
        async with HttpServer() as server, aclosing(HttpClient(deny=LOOPBACK)) as http:
            error = await failure(http, server.url(host="localhost"), guard=False)
        assert isinstance(error, AddressRefused)


def with_credentials(proxy: HttpServer) -> str:
    return proxy.url(host="fake-user:fake-pass@127.0.0.1")


class TestProxy:
    async def test_requests_go_through_it_with_its_credentials(self) -> None:
        async with HttpServer() as proxy, aclosing(HttpClient(proxy=with_credentials(proxy))) as http:
            await get(http, "http://tickets.invalid/hook")
        request = proxy.requests[0]
        assert request.target == "http://tickets.invalid/hook"
        assert request.headers["proxy-authorization"] == "Basic ZmFrZS11c2VyOmZha2UtcGFzcw=="

    async def test_https_asks_it_for_a_tunnel(self) -> None:
        async with HttpServer(reply(407)) as proxy, aclosing(HttpClient(proxy=with_credentials(proxy))) as http:
            error = await failure(http, "https://tickets.invalid/hook")
        request = proxy.requests[0]
        assert (request.method, request.target) == ("CONNECT", "tickets.invalid:443")
        assert request.headers["proxy-authorization"] == "Basic ZmFrZS11c2VyOmZha2UtcGFzcw=="
        assert isinstance(error, NotSent)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize(
        ("status", "said"),
        [(407, "it wants a user and a password"), (502, "it cannot reach it"), (504, "it cannot reach it")],
    )
    async def test_what_it_answers_is_its_own(self, scheme: str, *, status: int, said: str) -> None:
        async with HttpServer(reply(status)) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            error = await failure(http, f"{scheme}://tickets.invalid/hook")
        assert isinstance(error, NotSent)
        beginning = f"the proxy 127.0.0.1:{proxy.port} answered HTTP {status} when asked for tickets.invalid: {said}"
        assert str(error).startswith(beginning)

    @pytest.mark.parametrize("mark", [{"X-Squid-Error": "ERR_ACCESS_DENIED 0"}, {"Proxy-Status": "px; error=denied"}])
    async def test_a_refusal_that_it_marks_as_its_own(self, mark: dict[str, str]) -> None:
        async with HttpServer(reply(403, b"", mark)) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            error = await failure(http, "http://tickets.invalid/hook")
        assert isinstance(error, NotSent)
        assert "answered HTTP 403 when asked for tickets.invalid: it does not let this through" in str(error)

    async def test_a_refusal_that_passed_it_is_the_receivers(self) -> None:
        passed = reply(403, b"", {"Proxy-Status": "px", "Via": "1.1 px"})
        async with HttpServer(passed) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            assert (await get(http, "http://tickets.invalid/hook")).status == 403

    async def test_an_answer_of_the_receiver_is_the_receivers(self) -> None:
        async with HttpServer(reply(503)) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            assert (await get(http, "http://tickets.invalid/hook")).status == 503

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_one_that_cannot_be_reached_is_named(self, scheme: str) -> None:
        async with HttpServer() as closed:
            pass
        for proxy, said in (
            (closed.url(), f"connection refused by the proxy 127.0.0.1:{closed.port} on the way to tickets.invalid"),
            ("http://proxy.invalid:3128", "no address found for the proxy proxy.invalid:3128 on the way to"),
        ):
            async with aclosing(HttpClient(proxy=proxy)) as http:
                error = await failure(http, f"{scheme}://tickets.invalid/hook")
            assert isinstance(error, NotSent)
            assert str(error).startswith(said)
            assert str(error).endswith("check network.proxy")

    async def test_one_that_is_silent_or_no_proxy_is_named(self) -> None:
        for answer in (silence(), raw(b"220 smtp\r\n\r\n"), reset()):
            async with HttpServer(answer) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
                error = await failure(http, "https://tickets.invalid/hook", deadline=SHORT)
            assert isinstance(error, NotSent)
            assert f"the proxy 127.0.0.1:{proxy.port}" in str(error)

    @pytest.mark.parametrize(
        ("answer", "said"),
        [
            (raw(b"220 smtp\r\n\r\n"), "the proxy {} does not answer in HTTP"),
            (reset(), "connection to the proxy {} lost"),
        ],
    )
    async def test_one_that_breaks_off_is_at_fault_and_not_the_receiver(self, answer: Answer, said: str) -> None:
        async with HttpServer(answer) as proxy, aclosing(HttpClient(proxy=proxy.url())) as http:
            error = await failure(http, "https://tickets.invalid/hook")
        assert isinstance(error, NotSent)
        where = said.format(f"127.0.0.1:{proxy.port}")
        assert str(error) == f"{where} on the way to tickets.invalid: check network.proxy"

    async def test_the_metadata_service_is_asked_past_it(self) -> None:
        async with (
            HttpServer() as proxy,
            HttpServer() as metadata,
            aclosing(HttpClient(proxy=proxy.url(), deny=LOOPBACK)) as http,
        ):
            await get(http, metadata.url(), guard=False)
            assert isinstance(await failure(http, metadata.url()), AddressRefused)
        assert (len(metadata.requests), len(proxy.requests)) == (1, 0)

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f000001", "0x7f.1", "[::ffff:127.0.0.1]"])
    async def test_this_machine_is_reached_without_it(self, host: str) -> None:
        async with HttpServer() as proxy, HttpServer() as server, aclosing(HttpClient(proxy=proxy.url())) as http:
            await get(http, server.url(host=host))
        assert (len(server.requests), len(proxy.requests)) == (1, 0)

    @pytest.mark.parametrize(
        ("exception", "host", "straight"),
        [
            ("corp.example", "corp.example", True),
            ("corp.example", "chat.corp.example", True),
            (".corp.example", "a.b.CORP.example.", True),
            ("corp.example", "notcorp.example", False),
            ("chat.corp.example", "corp.example", False),
            ("münchen.example", "x.xn--mnchen-3ya.example", True),
            ("*", "anywhere.example", True),
            (ip_network("10.0.0.0/8"), "10.1.2.3", True),
            (ip_network("10.0.0.0/8"), "::ffff:10.1.2.3", True),
            (ip_network("10.0.0.0/8"), "11.1.2.3", False),
            (ip_network("10.0.0.0/8"), "corp.example", False),
            (ip_network("fd00::/8"), "fd00::1", True),
        ],
    )
    def test_what_no_proxy_lists_is_reached_without_it(
        self, exception: ProxyException, host: str, *, straight: bool
    ) -> None:
        http = HttpClient(proxy="http://user:fake@proxy.example:3128", no_proxy=[exception])
        assert http.proxy_url_for(host) == (None if straight else "http://user:fake@proxy.example:3128")

    @pytest.mark.parametrize("written", ["corp.example", ".corp.example", "*.corp.example", "corp.example."])
    def test_a_host_of_no_proxy_may_be_written_in_the_usual_ways(self, written: str) -> None:
        settings = NetworkSettings.model_validate({"proxy": "http://proxy.example:3128", "no_proxy": [written]})
        http = HttpClient(proxy=settings.proxy_url, no_proxy=settings.no_proxy)
        assert http.proxy_url_for("chat.corp.example") is None
        assert http.proxy_url_for("notcorp.example") is not None


class TestScheme:
    async def test_http_to_a_port_that_answers_with_an_alert_of_tls(self, http: HttpClient) -> None:
        async with HttpServer(raw(b"\x15\x03\x01\x00\x02\x02\x46")) as server:
            error = await failure(http, server.url())
        assert isinstance(error, NotSent)
        assert str(error) == f"127.0.0.1:{server.port} speaks TLS: write https:// instead of http://"

    async def test_http_to_a_port_that_hangs_up_for_want_of_tls(
        self, http: HttpClient, certificate: Certificate
    ) -> None:
        async with HttpServer(tls=certificate.server_context()) as server:
            error = await failure(http, server.url().replace("https:", "http:"))
        assert "if that port speaks TLS, write https:// instead of http://" in str(error)

    @pytest.mark.parametrize(
        "said",
        [
            b"<html><h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port</html>",
            b"Client sent an HTTP request to an HTTPS server.\n",
            b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
        ],
    )
    async def test_http_to_a_tls_server_that_reports_it(self, http: HttpClient, said: bytes) -> None:
        async with HttpServer(reply(400, said)) as server:
            error = await failure(http, server.url())
        assert "write https:// instead of http://" in str(error)

    async def test_https_to_a_port_in_the_clear(self, http: HttpClient) -> None:
        async def in_the_clear(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(in_the_clear, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            error = await failure(http, f"https://127.0.0.1:{port}/")
        assert isinstance(error, NotSent)
        assert str(error) == (
            f"no TLS with 127.0.0.1:{port} (it answers, but not in TLS: write http:// if that is meant)"
        )
