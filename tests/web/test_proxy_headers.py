"""Whom a proxy names, whom others pretend to be, and where requests come from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from starlette.requests import Request

from notifier.web.access.addresses import TrustedProxies, client_of
from notifier.web.access.names import clean_name
from notifier.web.access.proxy import ProxyRules, Spoofed, viewer_by_proxy
from notifier.web.access.roles import GroupRoles
from notifier.web.access.viewer import AccessRole, Viewer

TRUSTED = TrustedProxies((ip_network("10.0.0.5"), ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
ROLES = GroupRoles({AccessRole.READ: ("*",), AccessRole.ACT: ("dba",), AccessRole.ADMIN: ("dba-leads", "值班")})
RULES = ProxyRules(trusted=TRUSTED, user_header="X-Forwarded-User", groups_header="X-Forwarded-Groups", roles=ROLES)


def request(peer: str | None, *headers: tuple[str, str]) -> Request:
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
    client = (peer, 4711) if peer else None
    return Request(
        {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": encoded, "client": client}
    )


def named(name: str, groups: str = "", peer: str = "10.0.0.5") -> Viewer | Spoofed | None:
    return viewer_by_proxy(request(peer, ("X-Forwarded-User", name), ("X-Forwarded-Groups", groups)), RULES)


def test_the_proxy_says_who_asks() -> None:
    found = named("chen", "dba,ops")
    assert isinstance(found, Viewer)
    assert (found.person.id, found.person.name, found.role, found.how) == ("web:chen", "chen", AccessRole.ACT, "proxy")


@pytest.mark.parametrize("peer", ["10.0.0.6", "127.0.0.1", "10.2.0.1", "::1", "", "fe80::1%eth0"])
def test_others_who_write_the_header_are_nobody(peer: str) -> None:
    found = named("admin", "dba-leads", peer)
    assert found == Spoofed(address=peer)


@pytest.mark.parametrize("peer", ["10.0.0.5", "::ffff:10.0.0.5", "10.1.255.255", "fd00::7"])
def test_addresses_and_networks_of_the_proxy_are_believed(peer: str) -> None:
    assert isinstance(named("chen", "", peer), Viewer)


def test_a_request_without_the_header_names_nobody() -> None:
    assert viewer_by_proxy(request("10.0.0.5"), RULES) is None
    assert viewer_by_proxy(request("192.0.2.1"), RULES) is None


def test_a_header_beside_that_of_the_proxy_is_not_believed() -> None:
    """A proxy that adds its own header to the browser's sends both."""
    both = request("10.0.0.5", ("X-Forwarded-User", "admin"), ("X-Forwarded-User", "chen"))
    assert viewer_by_proxy(both, RULES) is None


@pytest.mark.parametrize("name", ["", " ", "a\u202eb", "x" * 65, "a\tb"])
def test_a_name_that_cannot_be_shown_is_nobody(name: str) -> None:
    assert named(name) is None


def test_a_name_in_utf_8_is_read() -> None:
    found = named("陈静", "值班")
    assert isinstance(found, Viewer)
    assert (found.person.name, found.role) == ("陈静", AccessRole.ADMIN)


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        ("", AccessRole.READ),
        ("others", AccessRole.READ),
        ("dba", AccessRole.ACT),
        (" dba , dba-leads ", AccessRole.ADMIN),
        ("ops|dba", AccessRole.ACT),
        ("DBA", AccessRole.READ),
        ("dba-leads-not", AccessRole.READ),
    ],
)
def test_the_highest_role_of_the_groups_counts(groups: str, role: AccessRole) -> None:
    found = named("chen", groups)
    assert isinstance(found, Viewer)
    assert found.role is role


def test_without_a_group_that_has_a_role_nobody_may_anything() -> None:
    assert GroupRoles({AccessRole.ADMIN: ("dba-leads",)}).role_of(["dba"]) is AccessRole.NONE


# ---- addresses ----


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["127.0.0.1"], "192.0.2.1"),
        ("10.0.0.5", ["192.0.2.7"], "192.0.2.7"),
        ("10.0.0.5", ["127.0.0.1, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.5", ["127.0.0.1", "192.0.2.7, 10.1.0.9"], "192.0.2.7"),
        ("10.0.0.5", ["192.0.2.7:5555"], "192.0.2.7"),
        ("10.0.0.5", ["[2001:db8::1]:5555"], "2001:db8::1"),
        ("10.0.0.5", ["192.0.2.7, unknown"], "10.0.0.5"),
        ("10.0.0.5", [""], "10.0.0.5"),
        ("10.0.0.5", ["10.1.0.1, 10.1.0.2"], "10.0.0.5"),
        (None, [], ""),
    ],
)
def test_the_address_is_the_last_that_is_no_proxy(peer: str | None, forwarded: list[str], client: str) -> None:
    headers = (("X-Forwarded-For", value) for value in forwarded)
    assert client_of(request(peer, *headers), TRUSTED) == client


# ---- names ----


@pytest.mark.parametrize(
    ("typed", "name"), [("Chen Jing", "Chen Jing"), (" 陈静 ", "陈静"), ("O'Brien <b>", "O'Brien <b>")]
)
def test_a_name_is_taken_as_it_is_typed(typed: str, name: str) -> None:
    assert clean_name(typed) == name


@pytest.mark.parametrize("typed", ["", "  ", "a\nb", "a\u200bb", "\u202eevil", "\ud800", "x" * 65, "a\0"])
def test_a_name_with_hidden_characters_is_none(typed: str) -> None:
    assert clean_name(typed) is None
