"""Builds the doorbell from a configuration."""

from collections.abc import Iterator, Sequence

from starlette.routing import BaseRoute

from notifier.config.doorbell import DoorbellSettings
from notifier.config.web import WebSettings
from notifier.doorbell import Caller
from notifier.http import HttpClient
from notifier.logs import RejectionLog
from notifier.ports import Clock
from notifier.web.doorbell import DoorbellRoutes, DoorbellRules, TokenCaller
from notifier.wiring.access import trusted_proxies
from notifier.wiring.app import App


def doorbell_routes(app: App, web: WebSettings) -> Sequence[BaseRoute]:
    """Return the routes that ring; none where no doorbell is configured."""
    settings = app.config.doorbell
    if settings is None or app.http is None:
        return ()
    rules = DoorbellRules(
        sources=app.config.expected.sources,
        min_interval=settings.min_interval,
        trusted=trusted_proxies(web),
    )
    rejections = RejectionLog("doorbell.requests_refused", logger="notifier.web", seconds=app.clock.monotonic)
    callers = tuple(_callers(settings, app.http, app.clock))
    return DoorbellRoutes(
        rules, callers, app.store, app.clock, rejections=rejections, meters=app.telemetry.meters
    ).routes()


def _callers(settings: DoorbellSettings, http: HttpClient, clock: Clock) -> Iterator[Caller]:
    """Yield what proves requests. A message of SMN and a signed request are known by headers of their own."""
    if settings.smn:
        from notifier.integrations.smn.doorbell import (  # noqa: PLC0415 - an extra: it needs `cryptography`
            SmnCaller,
            SmnRules,
        )

        rules = SmnRules(topics=frozenset(settings.smn.topics), origins=frozenset(settings.smn.origins))
        yield SmnCaller(rules, http, clock)
    if secrets := settings.accepted_secrets:
        from notifier.integrations.webhook.incoming import WebhookCaller  # noqa: PLC0415 - only who needs it pays

        yield WebhookCaller(secrets)
    if tokens := settings.accepted_tokens:
        yield TokenCaller(tokens)
