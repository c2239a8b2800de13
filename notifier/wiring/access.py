"""Builds what finds out who asks, and the pages to sign in, from a configuration."""

from collections.abc import Sequence

from starlette.routing import Route

from notifier.config.config import Config
from notifier.config.web import OidcSettings, ProxySettings, RoleSettings, WebSettings
from notifier.http import HttpClient
from notifier.ports import CheckResult, Clock
from notifier.web.access.addresses import TrustedProxies
from notifier.web.access.gate import SiteAccess
from notifier.web.access.oidc import OidcClient, OidcRefused
from notifier.web.access.proxy import ProxyRules
from notifier.web.access.roles import GroupRoles
from notifier.web.access.rules import AccessRules, OidcRules, PageUser, fold
from notifier.web.access.sign_in import OIDC_CALLBACK, SignInPages, without_role
from notifier.web.access.viewer import AccessRole, role_of
from notifier.web.parts import WebRules
from notifier.wiring.app import App


def build_access(app: App, web: WebSettings, rules: WebRules) -> tuple[SiteAccess, Sequence[Route]]:
    """Return what finds out who asks, and the routes to sign in and out."""
    access = SiteAccess(access_rules(web), app.store, without_role(rules))
    oidc = _oidc_client(access.rules, web, app)
    return access, SignInPages(access, app.store, rules, app.clock, oidc).routes()


def _oidc_client(rules: AccessRules, web: WebSettings, app: App) -> OidcClient | None:
    """Return what signs people in at the provider."""
    if rules.oidc is None or web.oidc is None or app.http is None:
        return None
    return OidcClient(rules.oidc, app.http.with_ca_file(web.oidc.ca_file), app.clock)


async def check_access(config: Config, http: HttpClient, clock: Clock) -> Sequence[CheckResult]:
    """Check that people can sign in at the provider, if one is configured."""
    web = config.web
    rules = _oidc_rules(web.oidc, web.url) if web else None
    if web is None or web.oidc is None or rules is None:
        return []
    what = f"web.oidc: people can sign in at {rules.issuer}"
    try:
        await OidcClient(rules, http.with_ca_file(web.oidc.ca_file), clock).check()
    except OidcRefused as error:
        remedy = "compare issuer with the configuration of the provider, and see that this machine reaches it"
        return [CheckResult(ok=False, what=what, detail=str(error), remedy=remedy)]
    return [CheckResult(ok=True, what=what)]


def trusted_proxies(web: WebSettings) -> TrustedProxies:
    """Return the proxies whose headers are believed."""
    return TrustedProxies(web.proxy.trusted if web.proxy else ())


def access_rules(web: WebSettings) -> AccessRules:
    """Return what is configured about access."""
    trusted = trusted_proxies(web)
    users = (
        PageUser(name=one.name, password=one.password_hash.get_secret_value(), role=role_of(one.role))
        for one in web.users
    )
    return AccessRules(
        password=web.password.get_secret_value() if web.password else None,
        password_role=role_of(web.password_role),
        users={fold(user.name): user for user in users},
        proxy=_proxy_rules(web.proxy, trusted),
        trusted=trusted,
        oidc=_oidc_rules(web.oidc, web.url),
        kiosk_token=web.kiosk_token.get_secret_value() if web.kiosk_token else None,
        ends_after=web.session_ends_after,
        idle=web.session_idle,
        secure=web.url is not None and web.url.startswith("https://"),
    )


def _proxy_rules(proxy: ProxySettings | None, trusted: TrustedProxies) -> ProxyRules | None:
    if proxy is None or proxy.user_header is None or proxy.roles is None:
        return None
    roles = _group_roles(proxy.roles)
    return ProxyRules(trusted=trusted, user_header=proxy.user_header, groups_header=proxy.groups_header, roles=roles)


def _oidc_rules(oidc: OidcSettings | None, url: str | None) -> OidcRules | None:
    if oidc is None or url is None:
        return None
    return OidcRules(
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        client_secret=oidc.client_secret.get_secret_value() if oidc.client_secret else None,
        scopes=oidc.scopes,
        name_claim=oidc.name_claim,
        groups_claim=oidc.groups_claim,
        roles=_group_roles(oidc.roles),
        label=oidc.label,
        redirect_uri=f"{url}{OIDC_CALLBACK}",
        home=url,
    )


def _group_roles(roles: RoleSettings) -> GroupRoles:
    return GroupRoles({AccessRole.READ: roles.read, AccessRole.ACT: roles.act, AccessRole.ADMIN: roles.admin})
