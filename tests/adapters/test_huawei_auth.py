from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cloud_sources import open_source
from fakes import START, FakeClock
from servers.http import Answer, HttpServer, Request, reply, reset, silence

from notifier.core.errors import (
    ConfigurationError,
    CredentialsRejected,
    MalformedReply,
    PermissionDenied,
    RequestRejected,
    SourceError,
    SourceUnreachable,
)
from notifier.core.model import Scope
from notifier.http import HttpClient
from notifier.http.huawei_signature import Credentials, RequestSigner, canonical_query, canonical_uri
from notifier.simulator.options import Options
from notifier.simulator.server import Simulator
from notifier.sources import huawei_auth
from notifier.sources.credentials import default_credentials
from notifier.sources.gaussdb import GaussDBSource, TaskQuery
from notifier.sources.huawei_auth import ApiRequest, SignedHeaders, login_body, read_securitykey, token_use_period

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "signing_vectors.json").read_text("utf-8"))["vectors"]
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
PROJECT = Options().project_id
PAGE = b'{"tasks": [], "total_count": 1}'


# ---- the signature ----


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_requests_are_signed_as_the_official_sdk_signs_them(vector: dict[str, Any]) -> None:
    query = canonical_query((name, value) for name, value in vector["query"])
    headers = {name.lower(): value for name, value in vector["headers_to_sign"].items()}
    date = headers.pop("x-sdk-date")
    signer = RequestSigner(
        Credentials(access_key=vector["ak"], secret_key=vector["sk"]),
        method=vector["method"],
        path=vector["path"],
        headers=headers,
        body=vector["body"].encode(),
    )
    expected = vector["expected"]
    assert "?".join(filter(None, (vector["path"], query))) == expected["request_uri_sent_by_sdk"]
    assert signer.canonical_request(query, date) == expected["canonical_request"]
    assert signer.string_to_sign(query, date) == expected["string_to_sign"]
    assert signer.authorization(query, date) == expected["authorization"]
    assert expected["authorization"].endswith(expected["signature"])


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if "x-project-id" in str(v["headers_to_sign"]).lower()], ids=lambda v: v["name"]
)
def test_the_headers_that_are_sent_are_those_that_are_signed(vector: dict[str, Any]) -> None:
    signed = {name.lower(): value for name, value in vector["headers_to_sign"].items()}
    request = ApiRequest(
        host=vector["host"],
        path=vector["path"],
        project_id=signed["x-project-id"],
        language=signed.get("x-language", "en-us"),
    )
    credentials = Credentials(
        access_key=vector["ak"], secret_key=vector["sk"], security_token=signed.get("x-security-token")
    )
    query = vector["expected"]["canonical_request"].split("\n")[2]
    sent = dict(SignedHeaders(credentials, request).at(START, query))
    again = RequestSigner(
        credentials,
        method="GET",
        path=vector["path"],
        headers={name: sent[name] for name in sent if name not in ("Authorization", "X-Sdk-Date")},
    )
    assert sent["Authorization"] == again.authorization(query, sent["X-Sdk-Date"])
    assert sent["X-Sdk-Date"] == "20260115T083000Z"
    assert sent.get("X-Security-Token") == credentials.security_token


def test_the_canonical_path_ends_with_a_slash_encoded_once() -> None:
    assert canonical_uri("/v3/a b/中") == "/v3/a%20b/%E4%B8%AD/"
    assert canonical_uri("/v3/a%20b/") == "/v3/a%20b/"


def test_no_secret_shows_in_the_repr_of_credentials() -> None:
    shown = repr(Credentials(access_key="ak", secret_key="hidden-key", security_token="hidden-token"))
    assert "hidden" not in shown


# ---- flows, against servers ----


_QUERY = TaskQuery()


def issued(token: str, life: timedelta = HOUR) -> Any:
    times = {"issued_at": START.isoformat(), "expires_at": (START + life).isoformat()}
    return reply(201, json.dumps({"token": times}).encode(), {"X-Subject-Token": token})


def config_of(server: HttpServer, **auth: str) -> dict[str, Any]:
    place = {"region": "cn-north-4", "endpoint": server.url(""), "project_id": PROJECT}
    return {"name": "prod", "kind": "gaussdb", **place, "auth": auth}


def token_config(server: HttpServer) -> dict[str, Any]:
    secret = {"domain": "account", "username": "user", "password": "pass"}
    return config_of(server, kind="token", iam_endpoint=server.url(""), **secret)


def agency_config(server: HttpServer) -> dict[str, Any]:
    return config_of(server, kind="ecs_agency", metadata_url=server.url(""))


def used_key(request: Request) -> str:
    return request.headers.get("authorization", "").partition("Access=")[2].partition(",")[0]


def write_profile(home: Path, content: str) -> None:
    (home / ".huaweicloud").mkdir()
    (home / ".huaweicloud" / "credentials").write_text(content, "utf-8")


def source_for(
    config: dict[str, Any], http: HttpClient, clock: FakeClock, environ: dict[str, str] | None = None
) -> GaussDBSource:
    return open_source({"poll_every": timedelta(seconds=30), **config}, http, clock, environment=environ or {})


def asked(simulator: Simulator, path: str) -> int:
    return sum(path in call.path for call in simulator.request_log)


@pytest.mark.parametrize("token", [None, "temporary/Token+With==Padding"])
async def test_an_access_key_opens_the_list(http: HttpClient, token: str | None) -> None:
    clock = FakeClock()
    async with Simulator(Options(static=3, security_token=token), clock) as simulator:
        snapshot = await source_for(simulator.source_config("aksk"), http, clock).fetch(Scope.FULL)
    assert (len(snapshot.fingerprints), snapshot.complete) == (3, True)


async def test_one_token_serves_many_polls_and_is_renewed_early(http: HttpClient) -> None:
    clock = FakeClock()
    async with Simulator(Options(static=3), clock) as simulator:
        source = source_for(simulator.source_config("token"), http, clock)
        logins = []
        for wait in (0 * HOUR, HOUR, 16 * HOUR, HOUR, HOUR):
            clock.advance(wait)
            assert (await source.fetch(Scope.FULL)).complete
            logins.append(asked(simulator, "/auth/tokens"))
    assert logins == [1, 1, 1, 2, 2]


async def test_requests_that_need_a_token_at_once_share_one_login(http: HttpClient) -> None:
    clock = FakeClock()
    async with Simulator(Options(static=3), clock) as simulator:
        source = source_for(simulator.source_config("token"), http, clock)
        await asyncio.gather(*(source.fetch(Scope.FULL) for _ in range(8)))
        assert asked(simulator, "/auth/tokens") == 1


@pytest.mark.parametrize(
    "refusal",
    [
        reply(401, b'{"error_code": "APIGW.0307", "error_msg": "The token must be updated."}'),
        reply(403, b'{"error_code": "DBS.280056", "error_msg": "Invalid token."}'),
    ],
)
async def test_a_refused_token_is_renewed_once_and_the_request_repeated(http: HttpClient, refusal: Any) -> None:
    clock = FakeClock()
    async with HttpServer(issued("one"), refusal, issued("two"), reply(200, PAGE)) as server:
        page = await source_for(token_config(server), http, clock).list_page(_QUERY)
        tokens = [request.headers.get("x-auth-token") for request in server.requests]
    assert page.total == 1
    assert tokens == [None, "one", None, "two"]


async def test_a_token_refused_twice_is_not_requested_a_third_time(http: HttpClient) -> None:
    clock = FakeClock()
    refusal = reply(401, b'{"error_code": "APIGW.0307", "error_msg": "The token must be updated."}')
    async with HttpServer(issued("one"), refusal, issued("two"), refusal) as server:
        source = source_for(token_config(server), http, clock)
        with pytest.raises(CredentialsRejected, match="of another region") as caught:
            await source.list_page(_QUERY)
        assert caught.value.retry_after == MINUTE
        assert len(server.requests) == 4


async def test_a_token_is_not_renewed_twice_within_a_minute(http: HttpClient) -> None:
    clock = FakeClock()
    refusal = reply(401, b'{"error_code": "APIGW.0307", "error_msg": "The token must be updated."}')
    async with HttpServer(issued("one"), refusal, issued("two"), reply(200, PAGE), refusal) as server:
        source = source_for(token_config(server), http, clock)
        await source.list_page(_QUERY)
        clock.advance(MINUTE / 2)
        with pytest.raises(CredentialsRejected):
            await source.list_page(_QUERY)
        assert [request.headers.get("x-auth-token") for request in server.requests] == [None, "one", None, "two", "two"]


async def test_a_valid_token_does_not_hide_that_the_password_changed(http: HttpClient) -> None:
    clock = FakeClock()
    wrong = reply(401, b'{"error": {"code": 401, "message": "The username or password is wrong."}}')
    async with HttpServer(issued("one"), reply(200, PAGE), wrong) as server:
        source = source_for(token_config(server), http, clock)
        await source.list_page(_QUERY)
        clock.advance(50 * MINUTE)
        with pytest.raises(CredentialsRejected, match="username or password"):
            await source.list_page(_QUERY)


async def test_login_replies_are_read_raw_whatever_encoding_they_claim(http: HttpClient) -> None:
    claimed = reply(201, b"{}", {"X-Subject-Token": "one", "Content-Encoding": "gzip"})
    async with HttpServer(claimed, reply(200, PAGE)) as server:
        assert (await source_for(token_config(server), http, FakeClock()).list_page(_QUERY)).total == 1


async def test_a_revoked_token_is_renewed_once_for_a_whole_poll(http: HttpClient) -> None:
    clock = FakeClock()
    async with Simulator(Options(static=250), clock) as simulator:
        source = source_for(simulator.source_config("token"), http, clock)
        await source.fetch(Scope.FULL)
        simulator.cloud.tokens.revoke()
        assert (await source.fetch(Scope.FULL)).complete
        assert asked(simulator, "/auth/tokens") == 2


async def test_a_wrong_password_is_tried_less_than_once_a_minute(http: HttpClient) -> None:
    """Twenty-four hours of polling every ten seconds: what the service allows before it locks an account is unknown."""
    clock = FakeClock()
    async with Simulator(Options(static=3), clock) as simulator:
        config = simulator.source_config("token")
        source = source_for(config | {"auth": config["auth"] | {"password": "wrong"}}, http, clock)
        for _ in range(8640):
            with pytest.raises(
                CredentialsRejected, match=r"IAM http://.* Check auth.domain, auth.username and auth.pass"
            ):
                await source.fetch(Scope.FULL)
            clock.advance(timedelta(seconds=10))
        assert asked(simulator, "/auth/tokens") <= 24 * 60 / 5 + 3


async def test_concurrent_requests_do_not_each_try_a_refused_password(http: HttpClient) -> None:
    clock = FakeClock()
    refusal = reply(401, b'{"error": {"code": 401, "message": "The username or password is wrong."}}')
    async with HttpServer(refusal) as server:
        source = source_for(token_config(server), http, clock)
        results = await asyncio.gather(*(source.list_page(_QUERY) for _ in range(8)), return_exceptions=True)
        assert {type(result) for result in results} == {CredentialsRejected}
        assert all("The username or password is wrong." in str(result) for result in results)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (reply(201, b"{}"), MalformedReply, "the answer carries no token"),
        (reply(200, b"{}", {"X-Subject-Token": "t"}), MalformedReply, "the answer carries no token"),
        (reply(403, b""), PermissionDenied, "IAM http://"),
        (reply(503, b'{"error_code": "APIGW.0613", "error_msg": "IAM unavailable"}'), SourceUnreachable, "APIGW.0613"),
    ],
)
async def test_what_iam_answers_becomes_an_error_that_names_it(
    http: HttpClient, answer: Any, kind: type[SourceError], message: str
) -> None:
    async with HttpServer(answer) as server:
        with pytest.raises(kind, match=message):
            await source_for(token_config(server), http, FakeClock()).list_page(_QUERY)


async def test_a_renewal_that_fails_leaves_the_token_in_use(http: HttpClient) -> None:
    clock = FakeClock()
    async with HttpServer(issued("one"), reply(200, PAGE), reply(503), reply(200, PAGE)) as server:
        source = source_for(token_config(server), http, clock)
        await source.list_page(_QUERY)
        clock.advance(50 * MINUTE)
        await source.list_page(_QUERY)
        assert [request.headers.get("x-auth-token") for request in server.requests] == [None, "one", None, "one"]


async def test_agency_keys_are_cached_until_they_expire_soon(http: HttpClient) -> None:
    clock = FakeClock()
    async with Simulator(Options(static=3, credential_life=2 * HOUR), clock) as simulator:
        source = source_for(simulator.source_config("ecs_agency"), http, clock)
        fetched = []
        for wait in (0 * MINUTE, 79 * MINUTE, 2 * MINUTE, MINUTE):
            clock.advance(wait)
            assert (await source.fetch(Scope.FULL)).complete
            fetched.append(asked(simulator, "securitykey"))
    assert fetched == [1, 1, 2, 2]


async def test_an_older_metadata_service_without_tickets_serves_too(http: HttpClient) -> None:
    clock = FakeClock()
    async with Simulator(Options(static=3, metadata="v1"), clock) as simulator:
        assert (await source_for(simulator.source_config("ecs_agency"), http, clock).fetch(Scope.FULL)).complete


async def test_the_metadata_service_is_exempt_from_the_address_rule() -> None:
    """Its real address is link-local; here a rule refuses loopback instead, and with it the API itself."""
    client = HttpClient(deny=[ip_network("127.0.0.0/8")])
    async with HttpServer(reply(404), keys("one")) as server:
        with pytest.raises(RequestRejected, match=r"network\.deny"):
            await source_for(agency_config(server), client, FakeClock()).list_page(_QUERY)
        assert [request.target for request in server.requests] == [
            "/meta-data/latest/api/token",
            "/openstack/latest/securitykey",
        ]
    await client.aclose()


async def test_an_instance_without_an_agency_is_named_in_the_error(http: HttpClient) -> None:
    clock = FakeClock()
    async with Simulator(Options(metadata="no_agency"), clock) as simulator:
        with pytest.raises(CredentialsRejected, match="Give the ECS instance an agency"):
            await source_for(simulator.source_config("ecs_agency"), http, clock).fetch(Scope.FULL)


def keys(access: str, expires_at: str = "2026-01-15T09:00:00.000000Z") -> Any:
    credential = {"access": access, "secret": "s", "securitytoken": "t", "expires_at": expires_at}
    return reply(200, json.dumps({"credential": credential}).encode())


async def test_keys_serve_on_while_their_renewal_fails(http: HttpClient) -> None:
    clock = FakeClock()
    no_ticket = reply(404, b"")
    answers = [no_ticket, keys("one"), reply(200, PAGE), no_ticket, reply(500), reply(200, PAGE), reply(200, PAGE)]
    async with HttpServer(*answers) as server:
        source = source_for(agency_config(server), http, clock)
        await source.list_page(_QUERY)
        clock.advance(2 * MINUTE)
        await source.list_page(_QUERY)
        await source.list_page(_QUERY)
        assert [used_key(request) for request in server.requests] == ["", "", "one", "", "", "one", "one"]


async def test_refused_keys_are_fetched_again(http: HttpClient) -> None:
    clock = FakeClock()
    no_ticket = reply(404, b"")
    answers = [no_ticket, keys("one"), reply(401, b""), no_ticket, keys("two"), reply(200, PAGE)]
    async with HttpServer(*answers) as server:
        source = source_for(agency_config(server), http, clock)
        with pytest.raises(CredentialsRejected):
            await source.list_page(_QUERY)
        clock.advance(MINUTE)
        await source.list_page(_QUERY)
        assert [used_key(request) for request in server.requests if used_key(request)] == ["one", "two"]


async def test_a_metadata_service_without_tickets_is_asked_without_one(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huawei_auth, "TICKET_TIMEOUT", 0.05)
    async with HttpServer(silence(), keys("one"), reply(200, PAGE)) as server:
        source = source_for(agency_config(server), http, FakeClock())
        await source.list_page(_QUERY)
        assert [request.method for request in server.requests] == ["PUT", "GET", "GET"]
        assert "x-metadata-token" not in server.requests[1].headers
        assert used_key(server.requests[2]) == "one"


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ((silence(), silence()), "no answer"),
        ((reset(), reset()), "lost"),
        ((reply(404), silence()), "no answer"),
    ],
)
async def test_a_metadata_service_that_does_not_answer_is_named(
    http: HttpClient, monkeypatch: pytest.MonkeyPatch, answers: tuple[Answer, ...], complaint: str
) -> None:
    monkeypatch.setattr(huawei_auth, "TICKET_TIMEOUT", 0.05)
    monkeypatch.setattr(huawei_auth, "KEYS_TIMEOUT", 0.05)
    async with HttpServer() as server, HttpServer(reply(200, PAGE)) as api:
        server.answers = [*answers] * 4
        config = agency_config(server) | {"endpoint": api.url("")}
        (finding, *more) = await source_for(config, http, FakeClock()).check()
        assert (finding.what, finding.ok, more) == ("source prod: credentials", False, [])
        assert f"metadata service {server.url('')}: " in finding.detail
        assert complaint in finding.detail
        assert "endpoint" not in finding.detail
        assert api.requests == []


async def test_an_iam_that_does_not_answer_is_named(http: HttpClient) -> None:
    async with HttpServer(reset()) as server, HttpServer(reply(200, PAGE)) as api:
        config = token_config(server) | {"endpoint": api.url("")}
        (finding,) = await source_for(config, http, FakeClock()).check()
    assert finding.what == "source prod: credentials"
    assert f"IAM {server.url('')}: " in finding.detail
    assert finding.detail.endswith("Check auth.iam_endpoint, the network and the proxy.")


async def test_an_answer_without_keys_is_malformed(http: HttpClient) -> None:
    async with HttpServer(reply(404), reply(200, b'{"credential": {}}')) as server:
        source = source_for(agency_config(server), http, FakeClock())
        server.answers = [reply(404), reply(200, b'{"credential": {}}')] * 4
        with pytest.raises(MalformedReply, match="the answer holds no keys"):
            await source.list_page(_QUERY)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"credential": 1}', b'{"credential": {"access": "a", "secret": 5}}']
)
def test_broken_keys_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="no credential"):
        read_securitykey(body)


# ---- the default chain ----


def test_the_environment_comes_before_the_credentials_file(tmp_path: Path) -> None:
    write_profile(tmp_path, "[basic]\nak = file-ak\nsk = file-%sk\nsecurity_token = file-token\n")
    home = {"HOME": str(tmp_path)}
    environment = {
        "HUAWEICLOUD_SDK_AK": "env-ak",
        "HUAWEICLOUD_SDK_SK": "env-sk",
        "HUAWEICLOUD_SDK_SECURITY_TOKEN": "env-token",
    }
    assert default_credentials(home | environment) == Credentials(
        access_key="env-ak", secret_key="env-sk", security_token="env-token"
    )
    assert default_credentials(home | {"HUAWEICLOUD_SDK_AK": "alone"}) == Credentials(
        access_key="file-ak", secret_key="file-%sk", security_token="file-token"
    )


def test_another_credentials_file_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere"
    path.write_text("[basic]\nak = a\nsk = s\n", "utf-8")
    found = default_credentials({"HUAWEICLOUD_SDK_CREDENTIALS_FILE": str(path)})
    assert found == Credentials(access_key="a", secret_key="s")


@pytest.mark.parametrize("content", ["", "[global]\nak = a\nsk = s\n", "[basic]\nak = a\n"])
def test_a_file_without_keys_gives_none(tmp_path: Path, content: str) -> None:
    write_profile(tmp_path, content)
    assert default_credentials({"HOME": str(tmp_path)}) is None
    assert default_credentials({}) is None


def test_a_broken_credentials_file_is_refused_without_quoting_it(tmp_path: Path) -> None:
    write_profile(tmp_path, "sk = hidden\n")
    with pytest.raises(ConfigurationError, match=r"credentials: not an INI file with a \[basic\] section") as caught:
        default_credentials({"HOME": str(tmp_path)})
    assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="nowhere: cannot be read: No such file"):
        default_credentials({"HUAWEICLOUD_SDK_CREDENTIALS_FILE": "nowhere"})


@pytest.mark.parametrize("pasted", ["\u200bN0tShown", "N0tShown ", '"N0tShown"', "\ufeffN0tShown", "N0tShown\uff21"])
@pytest.mark.parametrize("position", range(3))
def test_keys_pasted_with_other_characters_are_refused_by_name(tmp_path: Path, position: int, pasted: str) -> None:
    names = ("HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN")
    with pytest.raises(ConfigurationError, match=rf"{names[position]}: (begins|ends) with") as caught:
        default_credentials(dict.fromkeys(names, "good") | {names[position]: pasted})
    assert "N0tShown" not in str(caught.value)
    if pasted.strip() == pasted:  # a file's format drops space at the ends
        keys = ("ak", "sk", "security_token")
        lines = [f"{key} = {pasted if at == position else 'good'}" for at, key in enumerate(keys)]
        write_profile(tmp_path, "\n".join(["\ufeff[basic]", *lines]))
        with pytest.raises(ConfigurationError, match=rf"credentials: {keys[position]}: (begins|ends) with"):
            default_credentials({"HOME": str(tmp_path)})


def test_line_ends_after_keys_of_the_environment_are_dropped() -> None:
    found = default_credentials({"HUAWEICLOUD_SDK_AK": "a\n", "HUAWEICLOUD_SDK_SK": "s\r\n"})
    assert found == Credentials(access_key="a", secret_key="s")


async def test_the_default_chain_signs_with_what_it_finds(http: HttpClient) -> None:
    clock, options = FakeClock(), Options(static=1)
    async with Simulator(options, clock) as simulator:
        config = simulator.source_config() | {"auth": {"kind": "default_chain", "metadata_url": simulator.url}}
        found = {"HUAWEICLOUD_SDK_AK": options.access_key, "HUAWEICLOUD_SDK_SK": options.secret_key}
        assert (await source_for(config, http, clock, found).fetch(Scope.FULL)).complete
        assert asked(simulator, "securitykey") == 0
        assert (await source_for(config, http, clock).fetch(Scope.FULL)).complete
        assert asked(simulator, "securitykey") == 1


async def test_a_default_chain_that_finds_nothing_names_where_it_searched(http: HttpClient) -> None:
    clock = FakeClock()
    async with Simulator(Options(metadata="no_agency"), clock) as simulator:
        config = simulator.source_config() | {"auth": {"kind": "default_chain", "metadata_url": simulator.url}}
        with pytest.raises(CredentialsRejected, match=r"Neither HUAWEICLOUD_SDK_AK .* nor ~/.huaweicloud/credentials"):
            await source_for(config, http, clock).fetch(Scope.FULL)


# ---- details ----


@pytest.mark.parametrize(
    ("life", "use"),
    [(24 * HOUR, 18 * HOUR), (HOUR, 30 * MINUTE), (40 * MINUTE, 20 * MINUTE), (10 * MINUTE, 5 * MINUTE)],
)
def test_a_token_is_used_for_half_to_three_quarters_of_its_life(life: timedelta, use: timedelta) -> None:
    assert token_use_period(life) == use


def test_a_login_is_scoped_to_the_project() -> None:
    auth = json.loads(login_body("account", "user", "pass", "project"))["auth"]
    assert auth["scope"] == {"project": {"id": "project"}}
    assert auth["identity"]["password"]["user"] == {"domain": {"name": "account"}, "name": "user", "password": "pass"}


def hanging(asked: asyncio.Event) -> Answer:
    """Return an answer that never comes; the event is set when it is asked for."""

    async def hang(_: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    return hang


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_request_that_is_abandoned_frees_the_login_for_others(http: HttpClient) -> None:
    asked = asyncio.Event()
    async with HttpServer(hanging(asked), issued("one"), reply(200, PAGE)) as server:
        source = source_for(token_config(server), http, FakeClock())
        abandoned = asyncio.create_task(source.list_page(_QUERY))
        await asked.wait()
        await cancelled(abandoned)
        assert (await source.list_page(_QUERY)).total == 1


async def test_old_keys_are_used_while_new_ones_are_fetched(http: HttpClient) -> None:
    clock, asked = FakeClock(), asyncio.Event()
    async with HttpServer(reply(404), keys("one"), reply(200, PAGE), hanging(asked), reply(200, PAGE)) as server:
        source = source_for(agency_config(server), http, clock)
        await source.list_page(_QUERY)
        clock.advance(2 * MINUTE)
        renewing = asyncio.create_task(source.list_page(_QUERY))
        await asked.wait()
        await source.list_page(_QUERY)
        await cancelled(renewing)
        assert [used_key(request) for request in server.requests] == ["", "", "one", "", "one"]


async def test_a_signature_is_made_for_every_attempt(http: HttpClient) -> None:
    async with HttpServer(reply(429, b"", {"Retry-After": "7"}), reply(200, PAGE)) as server:
        config = config_of(server, kind="aksk", access_key="a", secret_key="s")
        await source_for(config, http, FakeClock()).list_page(_QUERY)
        dates = [request.headers["x-sdk-date"] for request in server.requests]
        signatures = {request.headers["authorization"] for request in server.requests}
    assert dates == ["20260115T083000Z", "20260115T083007Z"]
    assert len(signatures) == 2
