"""Sources from their settings."""

from __future__ import annotations

import hashlib
import random
from functools import cache, partial
from importlib import import_module

from notifier.config import Config, environment
from notifier.core.credentials import Credential
from notifier.http import HttpClient
from notifier.ports import Clock, TaskSource
from notifier.settings.base import settings_digest
from notifier.sources import SOURCES
from notifier.sources.account import CredentialLimiter


def build_sources(config: Config, http: HttpClient, clock: Clock) -> dict[str, TaskSource]:
    """Return the configured sources by name. Those with the same credential share one limiter."""
    limiters = {
        credential: CredentialLimiter(budget.calls_per_minute, clock)
        for credential, budget in config.call_budgets.items()
    }
    built: dict[str, TaskSource] = {}
    for settings in config.sources:
        module, _, name = SOURCES[settings.kind].partition(":")
        built[settings.name] = getattr(import_module(module), name)(
            settings,
            http.with_ca_file(settings.ca_file),
            clock,
            random.Random(),  # noqa: S311 - it spreads retries, it is no secret
            environ=environment(),
            account=limiters[settings.credential],
            language="zh-cn" if config.language == "zh" else "en-us",
        )
    return built


def build_credentials(config: Config) -> dict[str, Credential]:
    """Return the credential of each source, by the source's name."""
    return {
        settings.name: Credential(
            key=hashlib.sha256(settings.credential.encode()).hexdigest(),
            calls_per_minute=config.call_budgets[settings.credential].calls_per_minute,
            version=partial(_digest_once, settings.auth),
        )
        for settings in config.sources
    }


_digest_once = cache(settings_digest)
