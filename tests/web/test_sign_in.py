"""Signing in and out, sessions, roles, tokens and screens on walls: through the whole application."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fakes import START, FakeClock
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from web_site import ORIGIN, make_rules

from notifier import access
from notifier.core.access import ApiToken, TokenScope, WebSession, digest_of, format_token
from notifier.core.errors import StoreUnreachable
from notifier.core.people import NOTIFIER, Action
from notifier.store.engine import SqlStore, admin_engine, open_store
from notifier.store.schema import metadata
from notifier.web.access.addresses import TrustedProxies
from notifier.web.access.gate import SiteAccess
from notifier.web.access.paths import safe_next
from notifier.web.access.proxy import ProxyRules
from notifier.web.access.roles import GroupRoles
from notifier.web.access.rules import AccessRules, PageUser
from notifier.web.access.sign_in import SignInPages, without_role
from notifier.web.access.throttle import PER_ADDRESS, STRANGERS
from notifier.web.access.viewer import AccessRole
from notifier.web.api.stream import StreamLimits
from notifier.web.application import build_application
from notifier.web.pages import SITE
from notifier.web.parts import WebParts
from notifier.web.security import RESPONSE_HEADERS

# Cheap, so that the suite is quick: of "chen's".
CHEN = "$scrypt$ln=2,r=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$yBMBVNbf/rMN8rW/opJTfkJQudRpvlcK5MilvOsKasI"
SHARED = "all of us"
KIOSK = "kiosk-kiosk-kiosk-kiosk-kiosk"
USERS = {"chen jing": PageUser(name="Chen Jing", password=CHEN, role=AccessRole.ADMIN)}
RULES = AccessRules(password=SHARED, users=USERS, kiosk_token=KIOSK)
ROLES = GroupRoles({AccessRole.READ: ("*",), AccessRole.ACT: ("dba",)})
PROXIED = AccessRules(
    proxy=ProxyRules(
        trusted=TrustedProxies((ip_network("10.0.0.5"),)),
        user_header="X-User",
        groups_header="X-Groups",
        roles=GroupRoles({AccessRole.ACT: ("dba",)}),
    ),
    trusted=TrustedProxies((ip_network("10.0.0.5"),)),
)


@dataclass
class Door:
    """The application as strangers see it."""

    store: SqlStore
    app: Starlette
    access: SiteAccess
    clock: FakeClock
    time: list[timedelta]

    def browser(self, address: str = "192.0.2.7", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        sent = {"Origin": ORIGIN, "Accept": "text/html", "User-Agent": "Mozilla/5.0 (X11; Linux) Firefox/140.0"}
        return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers={**sent, **headers})

    def advance(self, span: timedelta) -> None:
        """Let time pass for the database and this process."""
        self.time[0] += span
        self.clock.advance(span)

    async def sessions(self) -> list[WebSession]:
        return list(await self.store.read(lambda q: q.access.sessions()))

    async def actions(self) -> list[Action]:
        return list(reversed(await self.store.read(lambda q: q.actions(1000))))

    async def token(self, *scopes: TokenScope, expires_in: timedelta | None = None) -> str:
        """Make a token of the API, and return it."""
        secret = format_token(bytes(31) + bytes([len(scopes)]))

        def create(tx: Any) -> None:
            made = ApiToken(
                id="k7m2",
                digest=digest_of(secret),
                name="grafana",
                scopes=frozenset(scopes),
                by="cli:chen",
                by_name="chen",
                created_at=tx.now(),
                expires_at=tx.now() + expires_in if expires_in else None,
            )
            access.create_token(tx, made, NOTIFIER)

        await self.store.transact(create)
        return secret


@asynccontextmanager
async def opened(url: str, rules: AccessRules = RULES, *, beside: tuple[BaseRoute, ...] = ()) -> AsyncIterator[Door]:
    passed = [timedelta(0)]

    def now() -> datetime:
        return START + passed[0]

    store, clock, web = open_store(url, now=now), FakeClock(), make_rules()
    site = SiteAccess(rules, store, without_role(web))
    sign_in = SignInPages(site, store, web, clock).routes()
    parts = WebParts(rules=web, store=store, clock=clock, access=site, wake=lambda: None)
    try:
        yield Door(
            store, build_application(parts, beside, sign_in, streams=StreamLimits(lasts=0.0)), site, clock, passed
        )
    finally:
        await store.aclose()


@pytest.fixture
async def door(sqlite_url: str) -> AsyncIterator[Door]:
    async with opened(sqlite_url) as found:
        yield found


async def sign_in(
    browser: httpx.AsyncClient,
    name: str = "Chen Jing",
    password: str = "chen's",  # noqa: S107 - of a test
    **more: str,
) -> httpx.Response:
    return await browser.post("/login", data={"name": name, "password": password, **more})


def change(door: Door, **changes: Any) -> None:
    """Change the configuration, as a reload does."""
    door.access.rules = replace(door.access.rules, **changes)


# ---- who is let in ----


async def test_a_stranger_is_led_to_the_login_page_and_back(door: Door) -> None:
    async with door.browser() as browser:
        asked = await browser.get("/keyboard?x=1")
        assert (asked.status_code, asked.headers["Location"]) == (303, "/login?next=%2Fkeyboard%3Fx%3D1")
        page = await browser.get(asked.headers["Location"])
        (next_,) = re.findall(r'name="next" value="([^"]*)"', page.text)
        done = await sign_in(browser, next=next_)
        assert (done.status_code, done.headers["Location"]) == (303, "/keyboard?x=1")
        assert (await browser.get("/keyboard?x=1")).status_code == 200


@pytest.mark.parametrize(
    ("name", "password", "role", "recorded"),
    [
        ("Chen Jing", "chen's", AccessRole.ADMIN, "Chen Jing"),
        ("chen JING", "chen's", AccessRole.ADMIN, "Chen Jing"),
        ("Li Na", SHARED, AccessRole.ACT, "Li Na"),
        ("陈静", SHARED, AccessRole.ACT, "陈静"),
        ("<script>alert(1)</script>", SHARED, AccessRole.ACT, "<script>alert(1)</script>"),
    ],
)
async def test_who_signs_in_is_the_author(
    door: Door, name: str, password: str, role: AccessRole, recorded: str
) -> None:
    async with door.browser() as browser:
        assert (await sign_in(browser, name, password)).status_code == 303
        page = await browser.get("/sessions")
        found = await door.access.viewer(request_with(browser))
    assert "<script>alert" not in page.text
    assert found.person.id == f"web:{recorded}"  # type: ignore[union-attr]
    assert found.role is role  # type: ignore[union-attr]
    assert [(one.by, one.verb) for one in await door.actions()] == [(f"web:{recorded}", "sign_in")]


def request_with(browser: httpx.AsyncClient) -> Any:
    """Return a request with the cookies of a browser."""
    from starlette.requests import Request  # noqa: PLC0415

    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    headers = [(b"cookie", cookie.encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.7", 1),
    }
    return Request(scope)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("Chen Jing", "Chen's"),
        ("Chen Jing", ""),
        ("Chen Jing", SHARED),  # a name with a password of its own is nobody else's
        ("CHEN jing", SHARED),
        ("Li Na", "chen's"),
        ("Li Na", "x" * 2000),
        ("Li Na", CHEN),  # the hash is not the password
    ],
)
async def test_nobody_gets_in_by_another_password(door: Door, name: str, password: str) -> None:
    async with door.browser() as browser:
        refused = await sign_in(browser, name, password)
        assert refused.status_code == 403
        assert "The name or the password is wrong." in refused.text
        assert 'name="password" type="password" required' in refused.text
        assert (await browser.get("/")).status_code == 303
    assert await door.sessions() == []


@pytest.mark.parametrize("name", ["", "  ", "a\u202eb", "x" * 65])
async def test_a_name_that_cannot_be_shown_is_refused(door: Door, name: str) -> None:
    async with door.browser() as browser:
        assert (await sign_in(browser, name, SHARED)).status_code == 422


async def test_the_login_page_has_no_more_than_it_needs(door: Door) -> None:
    async with door.browser() as browser:
        page = await browser.get("/login")
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    assert "<script" not in page.text
    assert "style=" not in page.text


async def test_the_login_page_speaks_the_language_of_the_browser(door: Door) -> None:
    async with door.browser(**{"Accept-Language": "zh-CN,zh;q=0.9"}) as browser:
        assert "密码" in (await browser.get("/login")).text
        chosen = await browser.get("/login?lang=en")
        assert (chosen.status_code, chosen.headers["Location"]) == (303, "/login")
        assert "Password" in (await browser.get("/login")).text


async def test_the_login_page_says_when_the_database_is_away(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StoreUnreachable

    async with door.browser() as browser:
        await sign_in(browser)
        monkeypatch.setattr(SqlStore, "read", fail)
        for found in (await browser.get("/login"), await sign_in(browser), await browser.post("/logout")):
            assert found.status_code == 503
            assert "The database cannot be reached." in found.text


# ---- throttling ----


async def test_guesses_are_slow_and_the_page_says_how_long(door: Door) -> None:
    async with door.browser() as browser:
        codes = [(await sign_in(browser, password="x")).status_code for _ in range(PER_ADDRESS.burst + 2)]
        assert codes == [403] * PER_ADDRESS.burst + [429] * 2
        slow = await sign_in(browser)  # right, and too early
        assert (slow.status_code, slow.headers["Retry-After"]) == (429, "30")
        assert "30 seconds" in slow.text
        door.advance(timedelta(seconds=30))
        assert (await sign_in(browser)).status_code == 303


async def test_many_strangers_do_not_lock_out_who_is_known(door: Door) -> None:
    async with door.browser("10.0.0.1") as browser:
        await sign_in(browser)
    for number in range(STRANGERS.burst + 5):
        async with door.browser(f"198.51.100.{number}") as stranger:
            await sign_in(stranger, password="x")
    async with door.browser("198.51.101.1") as stranger:
        assert (await sign_in(stranger)).status_code == 429
    for address in ("10.0.0.1", "127.0.0.1"):
        async with door.browser(address) as browser:
            assert (await sign_in(browser)).status_code == 303


async def test_refused_sign_ins_are_recorded_a_limited_number_of_times(door: Door) -> None:
    """What was typed as a name may be a password, and is recorded nowhere."""
    for number in range(60):
        async with door.browser(f"198.51.100.{number}") as stranger:
            await sign_in(stranger, ("Chen Jing", "hunter2 is my password")[number % 2], "x")
        door.advance(timedelta(seconds=2))
    found = await door.actions()
    assert {(one.by, one.verb, one.target) for one in found} == {
        ("web:unknown", "refuse_sign_in", "Chen Jing"),
        ("web:unknown", "refuse_sign_in", "unknown name"),
    }
    assert found[0].detail == "198.51.100.0"
    assert len(found) == 20


# ---- sessions ----


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(door: Door) -> None:
    async with door.browser() as browser:
        header = (await sign_in(browser)).headers["Set-Cookie"]
    assert re.fullmatch(r"notifier=[\w-]{43}; HttpOnly; Max-Age=\d+; Path=/; SameSite=lax", header)
    change(door, secure=True)
    async with door.browser() as browser:
        header = (await sign_in(browser)).headers["Set-Cookie"]
    assert re.fullmatch(r"__Host-notifier=[\w-]{43}; HttpOnly; Max-Age=\d+; Path=/; SameSite=lax; Secure", header)


async def test_the_database_holds_no_secret_of_a_session(door: Door, sqlite_url: str) -> None:
    async with door.browser() as browser:
        await sign_in(browser, "Li Na", SHARED)
        secret = browser.cookies["notifier"]
    async with door.browser() as browser:
        await browser.get("/", params={"kiosk": KIOSK})
    token = await door.token(TokenScope.READ)
    with admin_engine(sqlite_url) as engine, engine.connect() as connection:
        kept = repr([connection.execute(select(table)).all() for table in metadata.sorted_tables])
    assert digest_of(secret) in kept
    assert [one for one in (secret, SHARED, KIOSK, token, "chen's") if one in kept] == []


async def test_signing_in_always_gives_a_new_secret(door: Door) -> None:
    """A cookie that somebody else put there before (session fixation) is worth nothing."""
    async with door.browser() as browser:
        browser.cookies.set("notifier", "f" * 43)
        await sign_in(browser)
        first = browser.cookies.get("notifier", domain="127.0.0.1")
        assert first != "f" * 43
    async with door.browser() as other:
        other.cookies.set("notifier", "f" * 43)
        assert (await other.get("/")).status_code == 303


async def test_signing_in_again_ends_the_session_of_that_browser(door: Door) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        first = browser.cookies["notifier"]
        await sign_in(browser, "Li Na", SHARED)
    async with door.browser() as thief:
        thief.cookies.set("notifier", first)
        assert (await thief.get("/")).status_code == 303
    assert [one.name for one in await door.sessions()] == ["Li Na"]


async def test_signing_out_ends_the_session_and_not_only_the_cookie(door: Door) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        secret = browser.cookies["notifier"]
        out = await browser.post("/logout")
        assert (out.status_code, out.headers["Location"]) == (303, "/login?out=1")
        assert "notifier" not in browser.cookies
        assert "You are signed out." in (await browser.get("/login?out=1")).text
        browser.cookies.set("notifier", secret)
        assert (await browser.get("/")).status_code == 303
    assert [one.verb for one in await door.actions()] == ["sign_in", "sign_out"]


async def test_another_site_can_neither_sign_in_nor_out(door: Door) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        for path in ("/login", "/logout", "/sessions/end-own"):
            found = await browser.post(path, headers={"Origin": "https://evil.example"})
            assert found.status_code == 403
        assert (await browser.get("/logout")).status_code in (404, 405)
        assert (await browser.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("unused", "over"), [(timedelta(days=7) - timedelta(seconds=1), False), (timedelta(days=7), True)]
)
async def test_a_session_that_is_not_used_ends(door: Door, unused: timedelta, over: bool) -> None:  # noqa: FBT001 - a case
    async with door.browser() as browser:
        await sign_in(browser)
        door.advance(unused)
        assert ((await browser.get("/")).status_code == 303) is over


async def test_a_session_ends_after_a_month_of_use(door: Door) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        for _ in range(29):
            door.advance(timedelta(days=1))
            assert (await browser.get("/keyboard")).status_code == 200
        door.advance(timedelta(days=1))
        assert (await browser.get("/keyboard")).status_code == 303


async def test_a_changed_password_ends_the_sessions_that_it_began(door: Door) -> None:
    other = CHEN[:-1] + "A"
    async with door.browser() as chen, door.browser() as li:
        await sign_in(chen)
        await sign_in(li, "Li Na", SHARED)
        change(door, users={"chen jing": PageUser(name="Chen Jing", password=other, role=AccessRole.ADMIN)})
        assert [(await one.get("/")).status_code for one in (chen, li)] == [303, 200]
        change(door, password="another")
        assert (await li.get("/")).status_code == 303


async def test_a_name_that_becomes_a_users_own_ends_its_shared_sessions(door: Door) -> None:
    async with door.browser() as browser:
        await sign_in(browser, "Li Na", SHARED)
        li = PageUser(name="Li Na", password=CHEN, role=AccessRole.ADMIN)
        change(door, users={**USERS, "li na": li})
        assert (await browser.get("/")).status_code == 303


async def test_a_changed_role_holds_from_the_next_request_on(door: Door) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        assert "Sessions of others" in (await browser.get("/sessions")).text
        change(door, users={"chen jing": replace(USERS["chen jing"], role=AccessRole.READ)})
        assert "Sessions of others" not in (await browser.get("/sessions")).text
        assert (await browser.post("/sessions/end-all", data={"name": "Li Na"})).status_code == 403


# ---- the page of sessions ----


async def test_people_end_their_own_sessions_and_no_others(door: Door) -> None:
    async with door.browser() as li, door.browser() as elsewhere, door.browser() as chen:
        await sign_in(li, "Li Na", SHARED)
        await sign_in(elsewhere, "Li Na", SHARED)
        await sign_in(chen)
        theirs = digest_of(elsewhere.cookies["notifier"])
        assert "Firefox, Linux" in (await li.get("/sessions")).text
        await li.post("/sessions/end", data={"session": digest_of(chen.cookies["notifier"])})
        assert (await chen.get("/")).status_code == 200
        await li.post("/sessions/end", data={"session": theirs})
        assert (await elsewhere.get("/")).status_code == 303
        await chen.post("/sessions/end-all", data={"name": "Li Na"})
        assert (await li.get("/")).status_code == 303
    verbs = [(one.name, one.verb, one.target) for one in await door.actions() if one.verb == "end_session"]
    assert verbs == [("Li Na", "end_session", "Li Na"), ("Chen Jing", "end_session", "Li Na")]


async def test_all_own_sessions_end_at_once(door: Door) -> None:
    async with door.browser() as here, door.browser() as there:
        await sign_in(here)
        await sign_in(there)
        await here.post("/sessions/end-own")
        assert [(await one.get("/")).status_code for one in (here, there)] == [303, 303]


async def test_an_administrator_revokes_a_token(door: Door) -> None:
    secret = await door.token(TokenScope.READ)
    async with door.browser() as chen, door.browser() as program:
        await sign_in(chen)
        assert "grafana" in (await chen.get("/sessions")).text
        program.headers["Authorization"] = f"Bearer {secret}"
        assert (await program.get("/api/v1/tasks")).status_code == 200
        await chen.post("/sessions/revoke", data={"token": "k7m2"})
        assert (await program.get("/api/v1/tasks")).status_code == 401


# ---- tokens ----


@pytest.mark.parametrize(
    ("scopes", "reads", "acts"),
    [
        ((TokenScope.READ,), 200, 403),
        ((TokenScope.ACT,), 200, 404),
        ((TokenScope.ADMIN,), 200, 404),
        ((TokenScope.METRICS,), 403, 403),
        ((TokenScope.METRICS, TokenScope.READ), 200, 403),
    ],
)
async def test_a_token_may_do_what_its_scopes_say(
    door: Door, scopes: tuple[TokenScope, ...], reads: int, acts: int
) -> None:
    secret = await door.token(*scopes)
    async with door.browser(Authorization=f"Bearer {secret}", Origin="https://elsewhere.example") as program:
        assert (await program.get("/api/v1/tasks")).status_code == reads
        assert (await program.post("/api/v1/failures/none/acknowledge")).status_code == acts


@pytest.mark.parametrize(
    "header", ["Bearer ", "Bearer x", "Bearer gdbn_" + "0" * 49, "bearer " + format_token(b"\xff" * 32)]
)
async def test_a_wrong_token_is_refused_though_a_session_is_there(door: Door, header: str) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        found = await browser.get("/api/v1/tasks", headers={"Authorization": header})
        assert found.status_code == 401
        assert found.headers["WWW-Authenticate"].startswith("Bearer")


async def test_a_token_expires(door: Door) -> None:
    secret = await door.token(TokenScope.READ, expires_in=timedelta(days=1))
    async with door.browser(Authorization=f"Bearer {secret}") as program:
        assert (await program.get("/api/v1/tasks")).status_code == 200
        door.advance(timedelta(days=1))
        assert (await program.get("/api/v1/tasks")).status_code == 401


async def test_the_api_asks_for_a_token_where_pages_lead_to_the_login(door: Door) -> None:
    async with door.browser() as stranger:
        found = await stranger.get("/api/v1/tasks")
    assert (found.status_code, found.headers["Content-Type"]) == (401, "application/problem+json")


# ---- screens on walls ----


async def test_a_screen_reads_after_it_was_opened_once_with_the_token(door: Door) -> None:
    async with door.browser() as screen:
        opened_once = await screen.get("/", params={"kiosk": KIOSK, "x": "1"})
        assert (opened_once.status_code, opened_once.headers["Location"]) == (303, "/?x=1&kiosk=")
        assert (await screen.get("/?kiosk=")).status_code == 200
        assert (await screen.post("/sessions/end-all", data={"name": "Chen Jing"})).status_code == 403
        for _ in range(40):
            door.advance(timedelta(days=20))
            assert (await screen.get("/keyboard")).status_code == 200
        change(door, kiosk_token="x" * 30)
        assert (await screen.get("/")).status_code == 303


async def test_a_wrong_kiosk_token_is_not_kept_in_the_address(door: Door) -> None:
    async with door.browser() as screen:
        found = await screen.get("/", params={"kiosk": "guess"})
        assert (found.headers["Location"], "Set-Cookie" in found.headers) == ("/?kiosk=", False)
        assert (await screen.get("/?kiosk=")).status_code == 303
    assert await door.sessions() == []


async def test_the_kiosk_token_takes_nothing_from_who_is_signed_in(door: Door) -> None:
    async with door.browser() as browser:
        await sign_in(browser)
        assert "Set-Cookie" not in (await browser.get("/", params={"kiosk": KIOSK})).headers
        assert "Sessions of others" in (await browser.get("/sessions")).text


# ---- a proxy ----


async def test_a_proxy_signs_people_in_with_each_request(sqlite_url: str) -> None:
    async with opened(sqlite_url, PROXIED) as door:
        async with door.browser("10.0.0.5", **{"X-User": "chen", "X-Groups": "dba"}) as browser:
            assert (await browser.get("/")).status_code == 200
        async with door.browser("10.0.0.5", **{"X-User": "guest"}) as browser:
            refused = await browser.get("/")
            assert refused.status_code == 403
            assert "guest" in refused.text
            assert (await browser.get("/api/v1/tasks")).status_code == 403


async def test_a_spoofed_header_is_ignored_and_logged_once(sqlite_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with (
        opened(sqlite_url, PROXIED) as door,
        door.browser("10.0.0.6", **{"X-User": "chen", "X-Groups": "dba"}) as browser,
    ):
        assert [(await browser.get("/")).status_code for _ in range(3)] == [303] * 3
        page = await browser.get("/login")
        assert "proxy" in page.text
        assert 'type="password"' not in page.text
        assert (await sign_in(browser)).status_code == 404
    assert capsys.readouterr().out.count("web.proxy_header_ignored") == 1


# ---- open on loopback ----


async def test_without_a_way_in_everybody_is_the_administrator(sqlite_url: str) -> None:
    async with opened(sqlite_url, AccessRules()) as door, door.browser("127.0.0.1") as browser:
        assert "Sessions of others" in (await browser.get("/sessions")).text
        assert (await browser.get("/login?next=/keyboard")).headers["Location"] == "/keyboard"


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host"]
)
async def test_what_a_proxy_sends_on_is_not_taken_for_this_machine(
    sqlite_url: str, header: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A proxy in front of the routes of a chat may pass on everything."""
    async with opened(sqlite_url, AccessRules()) as door, door.browser("127.0.0.1", **{header: "x"}) as browser:
        for path in ("/", "/sessions", "/api/v1/tasks"):
            assert (await browser.get(path)).status_code == 403
        assert "web.password" in (await browser.get("/")).text
    assert capsys.readouterr().out.count("web.forwarded_refused") == 1


# ---- where people are led ----


@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "\\/evil.example",
        "/\t/evil.example",
        "/x\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
        " /",
        "",
        "x",
        "/login",
        "/login/oidc?next=/",
        "/logout",
        "/api/v1/tasks",
        "/" + "x" * 3000,
    ],
)
async def test_nobody_is_led_elsewhere(door: Door, text: str) -> None:
    assert safe_next(text) == "/"
    async with door.browser() as browser:
        assert (await sign_in(browser, next=text)).headers["Location"] == "/"


async def test_a_broken_referer_leads_a_stranger_to_the_first_page(door: Door) -> None:
    async with door.browser() as browser:
        answer = await browser.post("/now/acknowledge", headers={"Referer": "http://[::1", "Origin": ORIGIN})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/login")


@pytest.mark.parametrize("text", ["/", "/tasks?q=a%20b&x=//evil", "/tasks/prod/1#e3", "/logins", "/任务"])
def test_pages_of_ours_are_led_to(text: str) -> None:
    assert safe_next(text) == text


# ---- every route ----

OPEN_TO_ALL = {"/login", "/static/{name}"}
"""Routes that everybody may ask for."""
NEEDS_NO_ROLE = {"/logout"}


def every_route(routes: Any, before: str = "") -> list[tuple[str, str]]:
    """Return the method and the path of every route, also of mounted applications."""
    found: list[tuple[str, str]] = []
    for route in routes:
        if isinstance(route, Mount):
            inner = inner_application(route.app)
            found += every_route(inner.routes, before + route.path)
        elif isinstance(route, Route):
            found += [(method, before + route.path) for method in sorted(route.methods or ()) if method != "HEAD"]
        else:  # of FastAPI; one of another kind has none, and fails here
            found += every_route(route.original_router.routes, before)
    return found


def inner_application(app: Any) -> Any:
    """Return the application inside those that guard it."""
    while not hasattr(app, "routes"):
        app = app._app
    return app


def filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "x", path)


async def test_a_stranger_reaches_no_route_but_the_login(door: Door) -> None:
    routes = every_route(door.app.routes)
    assert len(routes) > 20
    reached: dict[tuple[str, str], int] = {}
    async with door.browser() as stranger:
        for method, path in routes:
            found = await stranger.request(method, filled(path))
            led = found.status_code == 303 and found.headers["Location"].startswith("/login")
            if not led and found.status_code != 401:
                reached[method, path] = found.status_code
    assert {path for _, path in reached} <= OPEN_TO_ALL | NEEDS_NO_ROLE, reached


async def test_who_may_only_read_changes_nothing(door: Door) -> None:
    change(door, users={"chen jing": replace(USERS["chen jing"], role=AccessRole.READ)})
    own = {"/login", "/logout", "/sessions/end", "/sessions/end-own"}
    async with door.browser() as reader:
        await sign_in(reader)
        changed: dict[tuple[str, str], int] = {}
        for method, path in every_route(door.app.routes):
            if method != "GET" and path not in own and not path.endswith("/preview"):
                status = (await reader.request(method, filled(path))).status_code
                if status != 403:
                    changed[method, path] = status
    assert changed == {}


def test_every_page_asks_for_a_role() -> None:
    assert min(route.role for route in SITE) >= AccessRole.READ


async def test_every_response_has_the_headers_of_security(door: Door) -> None:
    async with door.browser() as browser:
        for signed_in in (False, True):
            if signed_in:
                await sign_in(browser)
            for method, path in every_route(door.app.routes):
                found = await browser.request(method, filled(path))
                missing = {name for name, value in RESPONSE_HEADERS.items() if found.headers.get(name) != value}
                assert not missing, (method, path)
                assert found.headers["Cache-Control"], (method, path)


@pytest.mark.parametrize("path", ["/a%0Ab", "/api/v1/mutes/a%0A/end", "/%0A"])
async def test_a_line_break_in_a_path_is_answered_as_any_other_path(door: Door, path: str) -> None:
    async with door.browser() as browser:
        found = await browser.get(path)
    assert {name: found.headers.get(name) for name in RESPONSE_HEADERS} == dict(RESPONSE_HEADERS)


async def test_routes_beside_the_pages_stay_as_they_are(sqlite_url: str) -> None:
    """A chat proves itself, comes from anywhere, and calls us by any name."""
    from starlette.responses import PlainTextResponse  # noqa: PLC0415

    beside = (Route("/slack/commands", lambda _request: PlainTextResponse("done"), methods=["POST"]),)
    async with opened(sqlite_url, beside=beside) as door, door.browser(Host="slack.example", Origin="null") as chat:
        found = await chat.post("/slack/commands")
    assert (found.status_code, found.text) == (200, "done")
    assert "Content-Security-Policy" not in found.headers
