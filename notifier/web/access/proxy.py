"""Who asks by the headers of a proxy that has authenticated them.

They are believed only in requests from the configured addresses. Anybody else could write them, so that in other
requests they mean nothing.
"""

from dataclasses import dataclass

from starlette.requests import HTTPConnection

from notifier.web.access.addresses import TrustedProxies, peer_of
from notifier.web.access.names import clean_name, person_of
from notifier.web.access.roles import GroupRoles
from notifier.web.access.viewer import Viewer


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRules:
    """Which headers name whom."""

    trusted: TrustedProxies
    user_header: str
    groups_header: str | None = None
    roles: GroupRoles


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoofed:
    """A request that names a user, though it does not come from the proxy."""

    address: str


def viewer_by_proxy(request: HTTPConnection, rules: ProxyRules) -> Viewer | Spoofed | None:
    """Return whom the proxy names; None where it names nobody.

    Several headers of the name are refused: a proxy that adds its own to one of the browser's leaves both.
    """
    names = request.headers.getlist(rules.user_header)
    if not names:
        return None
    if not rules.trusted.include(peer_of(request)):
        return Spoofed(address=peer_of(request))
    name = clean_name(_text_of(names[0])) if len(names) == 1 else None
    if name is None:
        return None
    return Viewer(person=person_of(name), role=rules.roles.role_of(_groups_of(request, rules)), how="proxy")


def _groups_of(request: HTTPConnection, rules: ProxyRules) -> list[str]:
    headers = request.headers.getlist(rules.groups_header) if rules.groups_header else []
    listed = ",".join(map(_text_of, headers)).replace("|", ",").split(",")
    return [group.strip() for group in listed if group.strip()]


def _text_of(value: str) -> str:
    """Return a header's text: Starlette reads Latin-1, and proxies write UTF-8."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeDecodeError:
        return value
