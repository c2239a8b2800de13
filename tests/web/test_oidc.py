"""Signing in at a real provider of OpenID Connect, over sockets, and everything that one could get wrong or forge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from fakes import START, FakeClock
from servers.oidc import Claims, OidcServer, rsa_key, symmetric, unsigned
from test_sign_in import Door, change
from web_site import ORIGIN, make_rules

from notifier.config.loading import loads
from notifier.core.access import SignedInBy
from notifier.http import HttpClient
from notifier.store.engine import open_store
from notifier.web.access.gate import SiteAccess
from notifier.web.access.oidc import FAILURE_PAUSE, KEYS_PAUSE, METADATA_LASTS, OidcClient, OidcFlow, OidcRefused
from notifier.web.access.roles import GroupRoles
from notifier.web.access.rules import AccessRules, OidcRules
from notifier.web.access.sign_in import SignInPages, without_role
from notifier.web.access.throttle import PER_ADDRESS
from notifier.web.access.viewer import AccessRole
from notifier.web.application import build_application
from notifier.web.parts import WebParts
from notifier.wiring.access import check_access

ROLES = GroupRoles({AccessRole.ACT: ("dba",), AccessRole.ADMIN: ("dba-leads",)})


def rules_of(provider: OidcServer) -> OidcRules:
    return OidcRules(
        issuer=provider.issuer,
        client_id=provider.client_id,
        client_secret=provider.client_secret,
        roles=ROLES,
        label="Example ID",
        redirect_uri=f"{ORIGIN}/login/oidc/callback",
        home=ORIGIN,
    )


async def problem_of(http: HttpClient, provider: OidcServer) -> str:
    """Sign in without the pages around; return what is wrong, or nothing."""
    client, flow = OidcClient(rules_of(provider), http, FakeClock()), OidcFlow.begun("/")
    try:
        back = await at_the_provider(await client.begin(flow))
        await client.finish(flow, dict(parse_qsl(urlsplit(back).query)))
    except OidcRefused as error:
        return error.problem
    return ""


@asynccontextmanager
async def opened(url: str, http: HttpClient, provider: OidcServer) -> AsyncIterator[Door]:
    passed = [timedelta(0)]
    store, clock, web = open_store(url, now=lambda: START + passed[0]), FakeClock(), make_rules()
    oidc = rules_of(provider)
    site = SiteAccess(AccessRules(oidc=oidc), store, without_role(web))
    sign_in = SignInPages(site, store, web, clock, OidcClient(oidc, http, clock)).routes()
    parts = WebParts(rules=web, store=store, clock=clock, access=site, wake=lambda: None)
    try:
        yield Door(store, build_application(parts, (), sign_in), site, clock, passed)
    finally:
        await store.aclose()


@pytest.fixture
async def provider() -> AsyncIterator[OidcServer]:
    async with OidcServer(now=START.timestamp) as found:
        yield found


@pytest.fixture
async def door(sqlite_url: str, http: HttpClient, provider: OidcServer) -> AsyncIterator[Door]:
    async with opened(sqlite_url, http, provider) as found:
        yield found


async def begin(browser: httpx.AsyncClient, next_: str = "/") -> str:
    """Begin to sign in; return the address that the browser is led to at the provider."""
    led = await browser.get("/login/oidc", params={"next": next_})
    assert led.status_code == 303, led.text
    return led.headers["Location"]


async def at_the_provider(address: str) -> str:
    """Sign in at the provider; return the address that the browser is led back to."""
    async with httpx.AsyncClient() as browser:
        back: str = (await browser.get(address)).headers["Location"]
        return back


async def sign_in(browser: httpx.AsyncClient, next_: str = "/") -> httpx.Response:
    return await browser.get(await at_the_provider(await begin(browser, next_)))


# ---- what works ----


@pytest.mark.parametrize("secret", ["oidc secret", "a:b-c.d~e", None])
async def test_somebody_signs_in_with_their_groups(sqlite_url: str, http: HttpClient, secret: str | None) -> None:
    async with (
        OidcServer(now=START.timestamp, client_secret=secret) as provider,
        opened(sqlite_url, http, provider) as door,
        door.browser() as browser,
    ):
        done = await sign_in(browser, "/keyboard?x=1")
        assert (done.status_code, done.headers["Location"]) == (303, "/keyboard?x=1")
        assert (await browser.get("/keyboard")).status_code == 200
        (session,) = await door.sessions()
        assert (session.name, session.how, session.groups) == ("chen", SignedInBy.OIDC, ("dba",))
        assert not [name for name in browser.cookies if name.endswith("-oidc")]


async def test_a_secret_can_be_sent_in_the_form(door: Door, provider: OidcServer) -> None:
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    async with door.browser() as browser:
        assert (await sign_in(browser)).headers["Location"] == "/"


async def test_roles_follow_from_the_groups_at_each_request(door: Door, provider: OidcServer) -> None:
    provider.person["groups"] = ["dba", "dba-leads"]
    async with door.browser() as browser:
        await sign_in(browser)
        assert "Sessions of others" in (await browser.get("/sessions")).text
        oidc = door.access.rules.oidc
        assert oidc is not None
        fewer = OidcRules(**{**{name: getattr(oidc, name) for name in oidc.__slots__}, "roles": GroupRoles({})})
        change(door, oidc=fewer)
        assert (await browser.get("/sessions")).status_code == 403


async def test_somebody_without_a_group_is_told_so(door: Door, provider: OidcServer) -> None:
    provider.person["groups"] = ["others"]
    async with door.browser() as browser:
        await sign_in(browser)
        found = await browser.get("/")
    assert found.status_code == 403
    assert "none of your groups" in found.text


async def test_claims_may_come_from_the_user_info(door: Door, provider: OidcServer) -> None:
    provider.person = {"sub": "42"}
    provider.userinfo = {"sub": "42", "preferred_username": "陈静", "groups": "dba"}
    async with door.browser() as browser:
        assert (await sign_in(browser)).headers["Location"] == "/"
    assert [(one.name, one.groups) for one in await door.sessions()] == [("陈静", ("dba",))]


async def test_another_provider_ends_the_sessions(door: Door) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        oidc = door.access.rules.oidc
        assert oidc is not None
        other = OidcRules(**{**{name: getattr(oidc, name) for name in oidc.__slots__}, "client_id": "another"})
        change(door, oidc=other)
        assert (await browser.get("/")).status_code == 303


async def test_signing_out_offers_to_sign_out_at_the_provider(door: Door, provider: OidcServer) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        page = await browser.get((await browser.post("/logout")).headers["Location"])
        assert (await browser.get("/")).status_code == 303
    assert f'href="{provider.issuer}/logout?client_id=notifier&amp;post_logout_redirect_uri=' in page.text


async def test_the_configuration_is_read_once_an_hour(door: Door, provider: OidcServer) -> None:
    async with door.browser() as browser:
        for _ in range(3):
            await begin(browser)
        assert len(provider.asked) == 2
        door.advance(timedelta(seconds=METADATA_LASTS + 1))
        await begin(browser)
        assert len(provider.asked) == 4


async def test_a_new_key_of_the_provider_is_read(door: Door, provider: OidcServer) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        provider.rotate()
        door.advance(timedelta(seconds=KEYS_PAUSE + 1))
        provider.now = lambda: START.timestamp() + KEYS_PAUSE + 1
        assert (await sign_in(browser)).headers.get("Location") == "/"


async def test_tokens_with_unknown_keys_do_not_make_us_ask_again_and_again(door: Door, provider: OidcServer) -> None:
    foreign = rsa_key("unknown")
    provider.sign = lambda one, claims: one.signed(claims, key=foreign)
    async with door.browser() as browser:
        for _ in range(4):
            assert (await sign_in(browser)).status_code == 403
    assert len(provider.asked) == 2


# ---- what is refused ----


def signed_by_another(provider: OidcServer, claims: Claims) -> str:
    return provider.signed(claims, key=rsa_key("first", 1))


def cut(provider: OidcServer, claims: Claims) -> str:
    return provider.signed(claims)[:-8]


def altered(provider: OidcServer, claims: Claims) -> str:
    header, _, signature = provider.signed(claims).split(".")
    body = provider.signed({**claims, "groups": ["dba-leads"]}).split(".")[1]
    return f"{header}.{body}.{signature}"


@pytest.mark.parametrize(
    "sign",
    [unsigned, symmetric, signed_by_another, cut, altered, lambda *_: "x.y.z", lambda *_: "", lambda *_: 7],
)
async def test_a_token_that_the_provider_did_not_sign_is_refused(
    http: HttpClient, provider: OidcServer, sign: Callable[[OidcServer, Claims], str]
) -> None:
    provider.sign = sign
    assert await problem_of(http, provider) == "token"


async def test_a_refused_token_signs_nobody_in(door: Door, provider: OidcServer) -> None:
    provider.sign = unsigned
    async with door.browser() as browser:
        refused = await sign_in(browser)
        assert refused.status_code == 403
        assert "is not valid" in refused.text
        assert (await browser.get("/")).status_code == 303
    assert await door.sessions() == []


NOW = int(START.timestamp())


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": ["another", "third"]},
        {"aud": ["notifier", "another"]},  # without azp nobody knows for whom it was made
        {"aud": ["notifier", "another"], "azp": "another"},
        {"azp": "another"},
        {"exp": NOW - 61},
        {"exp": None},
        {"exp": "soon"},
        {"iat": NOW + 3600},
        {"iat": None},
        {"nbf": NOW + 3600},
        {"sub": None},
        {"at_hash": "another"},
    ],
)
async def test_a_token_that_is_not_for_this_sign_in_is_refused(
    http: HttpClient, provider: OidcServer, changed: Claims
) -> None:
    provider.changed = changed
    assert await problem_of(http, provider) == "token"


@pytest.mark.parametrize("changed", [{}, {"aud": ["notifier"]}, {"exp": NOW - 30}, {"nbf": NOW + 30}])
async def test_a_token_may_be_a_little_late(http: HttpClient, provider: OidcServer, changed: Claims) -> None:
    provider.changed = changed
    assert await problem_of(http, provider) == ""


@pytest.mark.parametrize("name", [None, "", "a\u202eb", "x" * 65, ["a"], {"a": 1}])
async def test_a_name_that_cannot_be_shown_is_refused(http: HttpClient, provider: OidcServer, name: object) -> None:
    provider.changed = {"preferred_username": name}
    assert await problem_of(http, provider) == "name"


async def test_the_user_info_of_somebody_else_is_refused(door: Door, provider: OidcServer) -> None:
    provider.person = {"sub": "42"}
    provider.userinfo = {"sub": "43", "preferred_username": "admin", "groups": ["dba-leads"]}
    async with door.browser() as browser:
        assert (await sign_in(browser)).status_code == 403


async def test_an_answer_that_another_browser_asked_for_is_refused(door: Door) -> None:
    """Somebody could otherwise be signed in as the attacker, and type secrets into their account."""
    async with door.browser() as attacker, door.browser() as victim:
        back = await at_the_provider(await begin(attacker))
        await begin(victim)
        for browser in (victim, door.browser()):
            refused = await browser.get(back)
            assert refused.status_code == 403
            assert "another browser" in refused.text


async def test_an_answer_is_accepted_once(door: Door) -> None:
    async with door.browser() as browser:
        back = await at_the_provider(await begin(browser))
        assert (await browser.get(back)).status_code == 303
        assert (await browser.get(back)).status_code == 403


async def test_a_code_of_another_sign_in_is_refused(door: Door) -> None:
    """The verifier proves who began (PKCE)."""
    async with door.browser() as attacker, door.browser() as victim:
        stolen = parse_qs(urlsplit(await at_the_provider(await begin(attacker))).query)["code"][0]
        own = parse_qs(urlsplit(await at_the_provider(await begin(victim))).query)["state"][0]
        refused = await victim.get("/login/oidc/callback", params={"code": stolen, "state": own})
    assert refused.status_code == 502
    assert await door.sessions() == []


async def test_an_answer_of_another_issuer_is_refused(door: Door) -> None:
    async with door.browser() as browser:
        back = await at_the_provider(await begin(browser))
        assert (await browser.get(f"{back}&iss=https%3A%2F%2Fevil.example")).status_code == 403


async def test_a_refusal_of_the_provider_is_shown(door: Door, provider: OidcServer) -> None:
    provider.refuses = "access_denied"
    async with door.browser() as browser:
        refused = await sign_in(browser)
    assert refused.status_code == 403
    assert "Example ID did not let you in." in refused.text


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "http://evil.example/authorize"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": "http://evil.example/keys"},
    ],
)
async def test_a_wrong_configuration_of_the_provider_is_refused(
    http: HttpClient, provider: OidcServer, metadata: Claims
) -> None:
    provider.metadata = metadata
    assert await problem_of(http, provider) == "provider"


async def test_a_provider_that_is_down_is_said_and_tried_again(
    door: Door, provider: OidcServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of its failures holds for some seconds: strangers cannot make us ask it, or fill the log."""
    provider.metadata = {"issuer": "https://another.example"}
    async with door.browser() as browser:
        for _ in range(4):
            found = await browser.get("/login/oidc")
            assert found.status_code == 502
            assert "does not work at this moment" in found.text
        assert len(provider.asked) == 1
        assert capsys.readouterr().out.count("web.oidc_failed") == 1
        assert (await browser.get("/login")).status_code == 200
        provider.metadata = {}
        door.advance(timedelta(seconds=FAILURE_PAUSE))
        assert (await sign_in(browser)).headers.get("Location") == "/"


async def test_failed_sign_ins_become_slow(door: Door) -> None:
    async with door.browser() as browser:
        codes = [(await browser.get("/login/oidc/callback?code=x&state=y")).status_code for _ in range(7)]
        assert codes == [403] * PER_ADDRESS.burst + [429] * 2
    async with door.browser("192.0.2.8") as other:
        for _ in range(7):
            assert (await sign_in(other)).headers["Location"] == "/"


async def test_check_says_whether_people_can_sign_in(http: HttpClient, provider: OidcServer) -> None:
    text = f"""
sources:
  - {{name: prod, kind: gaussdb, region: cn-north-4, project_id: p, auth: {{kind: aksk, access_key: a, secret_key: s}}}}
web: {{url: "{ORIGIN}", oidc: {{issuer: "{provider.issuer}", client_id: notifier, roles: {{act: ["*"]}}}}}}
"""
    config = loads(text, {})
    (well,) = await check_access(config, http, FakeClock())
    provider.metadata = {"issuer": "https://another.example"}
    (wrong,) = await check_access(config, http, FakeClock())
    assert (well.ok, wrong.ok) == (True, False)
    assert "another.example" in wrong.detail
    assert "issuer" in wrong.remedy


# ---- the cookie between ----


@pytest.mark.parametrize("cookie", ["", ".", "x", ".Lw", "x.%", "x." + "!" * 50])
def test_a_cookie_that_is_none_begins_nothing(cookie: str) -> None:
    found = OidcFlow.parse(cookie)
    assert found is None or found.next == "/"


def test_the_way_on_is_checked_again_when_it_comes_back() -> None:
    assert OidcFlow.parse(OidcFlow(secret="s", next="//evil.example").cookie) == OidcFlow(secret="s", next="/")
    assert OidcFlow.parse(OidcFlow(secret="s", next="/任务?x=1").cookie) == OidcFlow(secret="s", next="/任务?x=1")


def test_state_nonce_and_verifier_differ_and_follow_from_the_secret() -> None:
    flow, other = OidcFlow.begun("/"), OidcFlow.begun("/")
    values = {one.derived(what) for one in (flow, other) for what in ("state", "nonce", "verifier")}
    assert len(values) == 6
    assert all(len(value) == 43 for value in values)
    again = OidcFlow.parse(flow.cookie)
    assert again is not None
    assert again.derived("nonce") == flow.derived("nonce")
