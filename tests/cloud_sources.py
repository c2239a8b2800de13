"""Sources of Huawei Cloud for tests."""

from random import Random
from typing import Any

from notifier.http import HttpClient
from notifier.ports import Clock
from notifier.sources.access import SourceAccess, SourceRuntime
from notifier.sources.gaussdb import GaussDBSource
from notifier.sources.gaussdb_settings import GaussDBSettings


def open_source(config: dict[str, Any], http: HttpClient, clock: Clock, seed: int = 1, **runtime: Any) -> GaussDBSource:
    """Return the source that is configured so. `seed` chooses the jitter of its retries."""
    settings = GaussDBSettings(**config)
    shared = SourceRuntime(http=http, clock=clock, rng=Random(seed), **runtime)
    return GaussDBSource(settings, SourceAccess(settings, shared))
