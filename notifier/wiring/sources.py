"""Sources from their settings."""

import hashlib
import random
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial

from notifier.config.config import Config
from notifier.config.files import environment
from notifier.core.credentials import Credential
from notifier.http import HttpClient
from notifier.ports import Clock, TaskSource
from notifier.settings.base import settings_digest
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.cloud_settings import CloudSettings
from notifier.sources.gaussdb_settings import GaussDBSettings
from notifier.sources.kinds import source_class
from notifier.sources.limiter import CredentialLimiter
from notifier.sources.traces import TraceLog
from notifier.telemetry.ports import SILENT, Telemetry


class Runtimes:
    """Gives each source what the program shares among sources. Those with one credential share one limiter."""

    def __init__(self, config: Config, http: HttpClient, clock: Clock, telemetry: Telemetry = SILENT) -> None:
        self._limiters = {
            credential: CredentialLimiter(budget.calls_per_minute, clock)
            for credential, budget in config.call_budgets.items()
        }
        self._shared = SourceRuntime(
            http=http,
            clock=clock,
            rng=random.Random(),  # noqa: S311 - it spreads retries, it is no secret
            environment=environment(),
            language="zh-cn" if config.language == "zh" else "en-us",
            telemetry=telemetry,
        )

    def of(self, settings: CloudSettings) -> SourceRuntime:
        """Return what a source gets."""
        http = self._shared.http.with_ca_file(settings.ca_file)
        return replace(self._shared, http=http, limiter=self._limiters[settings.credential])


def build_access(config: Config, runtimes: Runtimes) -> dict[str, SourceAccess]:
    """Return what opens the lists of each configured source, by name."""
    return {settings.name: SourceAccess(settings, runtimes.of(settings)) for settings in config.sources}


def build_sources(config: Config, access: Mapping[str, SourceAccess]) -> dict[str, TaskSource]:
    """Return the configured sources by name. `access` opens their lists."""
    return {settings.name: source_class(settings)(settings, access[settings.name]) for settings in config.sources}


def build_trace_logs(config: Config, access: Mapping[str, SourceAccess]) -> dict[str, TraceLog]:
    """Return the audit logs in which it is searched for who started tasks, by the source's name."""
    return {
        settings.name: TraceLog(settings, access[settings.name])
        for settings in config.sources
        if isinstance(settings, GaussDBSettings) and settings.started_by
    }


def build_credentials(config: Config) -> dict[str, Credential]:
    """Return the credential of each source and account, by its name."""
    return {
        settings.name: Credential(
            key=hashlib.sha256(settings.credential.encode()).hexdigest(),
            calls_per_minute=config.call_budgets[settings.credential].calls_per_minute,
            promised_per_minute=config.call_budgets[settings.credential].promised,
            version=partial(_digest_once, settings.auth),
        )
        for settings in (*config.sources, *config.accounts)
    }


_digest_once = cache(settings_digest)
